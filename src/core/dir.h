/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Directories: a few entries packed in the inode, then a B+tree by name hash.
 * "." and ".." are not stored. Names are bytes, 1..255, without '/' and NUL;
 * callers have checked that.
 */
#ifndef ADIT_CORE_DIR_H
#define ADIT_CORE_DIR_H

#include "core/core.h"

struct adit_dirent {
	uint64_t ino;
	uint32_t generation;
	uint8_t dtype; /* DT_* */
};

/* dir: the locked directory's inode (medium or private copy); cs may be NULL.
 * 0, -ENOENT, -EUCLEAN... */
int adit__dir_lookup(struct adit_fs *, struct adit_cs *, const struct adit_inode_pm *dir,
		     const void *name, size_t len, struct adit_dirent *out) ADIT_MUST_CHECK;
/* Where a lookup ended, so that a change that follows need not search again. Good as long as the
 * directory stays locked: of a name that was not found until anything else is inserted, of one that
 * was found until another name is removed. All zero: nowhere. */
struct adit_dir_place {
	uint64_t first;	  /* key of the name with ordinal 0; 0: not in a tree */
	uint64_t used[2]; /* not found: ordinals that are taken */
	uint64_t key;	  /* found */
	uint64_t leaf;
	uint32_t slot;
};
/* As adit__dir_lookup. */
int adit__dir_find(struct adit_fs *, struct adit_cs *, const struct adit_inode_pm *dir,
		   const void *name, size_t len, struct adit_dirent *out,
		   struct adit_dir_place *place) ADIT_MUST_CHECK;
/* As adit__dir_insert, _retarget and _remove below. */
int adit__dir_insert_at(struct adit_cs *, struct adit_inode_pm *dir, const void *name, size_t len,
			const struct adit_dirent *, const struct adit_dir_place *) ADIT_MUST_CHECK;
int adit__dir_retarget_at(struct adit_cs *, struct adit_inode_pm *dir, const void *name, size_t len,
			  const struct adit_dirent *, const struct adit_dir_place *)
	ADIT_MUST_CHECK;
int adit__dir_remove_at(struct adit_cs *, struct adit_inode_pm *dir, const void *name, size_t len,
			const struct adit_dir_place *) ADIT_MUST_CHECK;

/* Without the lock (glance.c): 0 or -ENOENT when that is certain, else -EAGAIN. */
int adit__dir_glance(struct adit_fs *, uint64_t dir, uint32_t generation, const void *name,
		     size_t len, struct adit_dirent *out) ADIT_MUST_CHECK;
/* dir: private copy of the exclusively locked directory. The name must not be
 * there (-EEXIST). Updates size (entries), blocks, fork; not times, not nlink.
 * -ENOSPC. */
int adit__dir_insert(struct adit_cs *, struct adit_inode_pm *dir, const void *name, size_t len,
		     const struct adit_dirent *) ADIT_MUST_CHECK;
int adit__dir_remove(struct adit_cs *, struct adit_inode_pm *dir, const void *name, size_t len)
	ADIT_MUST_CHECK;
/* The entry with this name points elsewhere; no space needed. */
int adit__dir_retarget(struct adit_cs *, struct adit_inode_pm *dir, const void *name, size_t len,
		       const struct adit_dirent *) ADIT_MUST_CHECK;

/* Entries with cookie > after, in cookie order, until visit returns nonzero
 * (then returned). Cookies are stable while entries come and go, 3..2^63-1;
 * an entry keeps its cookie when the directory grows out of the inode. */
typedef int (*adit_dir_visit)(void *arg, uint64_t cookie, const void *name, size_t len,
			      const struct adit_dirent *);
int adit__dir_read(struct adit_fs *, const struct adit_inode_pm *dir, uint64_t after,
		   adit_dir_visit, void *arg) ADIT_MUST_CHECK;
/* Structural check of an inline directory's bytes (verify for its type). */
int adit__dir_verify_inline(const struct adit_inode_pm *dir, const char **why);
/* Free the (empty or condemned) directory's nodes step by step, as
 * adit__tree_destroy_step. */
int adit__dir_destroy_step(struct adit_cs *, struct adit_inode_pm *dir) ADIT_MUST_CHECK;

#endif
