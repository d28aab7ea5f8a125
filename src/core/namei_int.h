/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* What namei.c, rename.c and attr.c share: looking at a locked directory, editing the inode behind
 * an entry, and what happens when the last name of an inode goes. */
#ifndef ADIT_CORE_NAMEI_INT_H
#define ADIT_CORE_NAMEI_INT_H

#include "core/inode.h"
#include "core/linux_abi.h"
#include "core/namei.h"

#define ADIT_LINK_MAX 0x7fffffffu
#define ADIT_LINK_TARGET_MAX 4095u /* PATH_MAX with its NUL */

/* An inode whose last name and last opener are gone, to be freed after the commit. */
struct adit_doomed {
	uint64_t ino; /* ADIT_INO_NONE: nothing is left to do */
	uint32_t generation;
};

/* The verified directory, locked by the caller. -ENOENT when it was removed (its slot may be free
 * by now), -ENOTDIR. */
int adit__dir_get_at(struct adit_fs *, struct adit_at, const struct adit_inode_pm **out)
	ADIT_MUST_CHECK;
static inline ADIT_MUST_CHECK int adit__dir_get(struct adit_fs *fs, uint64_t dir,
						const struct adit_inode_pm **out)
{
	return adit__dir_get_at(fs, adit__any(dir), out);
}
/* Is the directory open to a new name, or to losing one (a flag of adit_inode_pm forbids it)? */
int adit__dir_may_add(const struct adit_inode_pm *dir) ADIT_MUST_CHECK;
int adit__dir_may_remove(const struct adit_inode_pm *dir, const struct adit_inode_pm *victim)
	ADIT_MUST_CHECK;
/* Private copy of the inode that an entry names; the inode is locked exclusively. An entry that
 * does not match its inode is damage: -EUCLEAN with a report. */
int adit__entry_inode(struct adit_op *, uint64_t dir, const struct adit_dirent *,
		      struct adit_inode_pm **out) ADIT_MUST_CHECK;
/* Number and generation that may stand in an entry; -EUCLEAN with a report. */
int adit__entry_check(struct adit_fs *, uint64_t dir, const struct adit_dirent *) ADIT_MUST_CHECK;

/* Puts into the change set what becomes of an inode with nlink 0: freed when that is small and
 * may_free, else put on the orphan list (open) or left to adit__doomed_free with an intent. */
int adit__inode_nameless(struct adit_op *, struct adit_inode_pm *, bool may_free,
			 struct adit_doomed *) ADIT_MUST_CHECK;
/* After the commit: takes the locks it needs, dropping the others. Never fails the operation: what
 * it cannot finish the intent finishes at the next open. */
void adit__doomed_free(struct adit_op *, const struct adit_doomed *);

/* Attributes that change with every name that comes or goes. */
static inline void adit__touch_dir(struct adit_inode_pm *dir, int64_t now)
{
	dir->mtime_ns = put64((uint64_t)now);
	dir->ctime_ns = dir->mtime_ns;
}
static inline void adit__add_nlink(struct adit_inode_pm *ip, int32_t n)
{
	ip->nlink = put32(get32(ip->nlink) + (uint32_t)n);
}
static inline bool adit__inode_is_dir(const struct adit_inode_pm *ip)
{
	return ADIT_S_ISDIR(get32(ip->mode));
}

#endif
