/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * path.h - from a path to an inode, as path_resolution(7) has it.
 *
 *	struct adit_walk w;
 *
 *	rc = adit__walk_begin(&w, pool, dirfd, path, flags);	takes the descriptor, checks the path
 *	if (rc == 0) {
 *		ADIT_GUARD(pool, rc, work(&w, ...));		calls the functions below
 *		adit__walk_end(&w);
 *	}
 *
 * Between finding an inode and using it the file may be removed and its number given to another. Who
 * finds out (-ESTALE, another generation) walks again: ADIT_WALK_AGAIN.
 */
#ifndef ADIT_FS_PATH_H
#define ADIT_FS_PATH_H

#include "core/namei.h"
#include "fs/pool.h"

#define ADIT_PATH_MAX 4096u /* with the NUL, as PATH_MAX */
#define ADIT_LINKS_MAX 40u  /* symbolic links followed in one walk */

enum adit_last {
	ADIT_LAST_NAME,
	ADIT_LAST_ROOT, /* nothing but slashes */
	ADIT_LAST_DOT,
	ADIT_LAST_DOTDOT,
};

/* walk_begin */
#define ADIT_WALK_EMPTY 1u /* an empty (or NULL) path means the start itself */

struct adit_walk {
	struct adit_pool *pool;
	struct adit_slot *slot; /* of dirfd, or NULL */
	const char *path;	/* as the caller gave it */
	uint64_t start;		/* directory that relative paths start in */
	bool empty;		/* the start itself is meant */
	/* During and after a walk: */
	const char *rest;	/* not yet walked */
	struct adit_at at;	/* directory that `name` is looked up in */
	const char *name;	/* last component, not NUL-terminated */
	size_t len;
	enum adit_last last;
	bool slash;		/* something like "name/" */
	unsigned links;		/* followed so far */
	/* Link targets and what came behind them, at its end; not initialised. */
	char buffer[4 * ADIT_PATH_MAX];
};

/* -EBADF, -ENOENT (empty path), -ENAMETOOLONG. */
int adit__walk_begin(struct adit_walk *, struct adit_pool *, int dirfd, const char *path,
		     unsigned flags);
void adit__walk_end(struct adit_walk *);

/* All but the last component. */
int adit__walk_parent(struct adit_walk *);
/* After walk_parent: the attributes of the directory; -ENOENT when it was removed. */
int adit__walk_dir(const struct adit_walk *, struct adit_attr *out);
/* After walk_parent: 0, -ENAMETOOLONG, or -ENOENT when the directory is gone as well. */
int adit__walk_check_name(const struct adit_walk *);
/* After walk_parent: go on behind the symbolic link `ino` that the last component is. The next
 * adit__walk_more then does what walk_parent did. */
int adit__walk_follow(struct adit_walk *, const struct adit_id *link);
int adit__walk_more(struct adit_walk *);
/* To the end. follow: a last symbolic link too. */
int adit__walk_final(struct adit_walk *, bool follow, struct adit_id *out);
/* The same, and its attributes, which are of the very file that was found. */
int adit__walk_attr(struct adit_walk *, bool follow, struct adit_attr *out);
/* The same, and hold it: adit__release when done. */
int adit__walk_hold(struct adit_walk *, bool follow, struct adit_attr *out, struct adit_hold *);

/* True while it makes sense to walk once more; count starts at 0. */
#define ADIT_WALK_AGAIN(err, count) (ADIT_UNLIKELY((err) == -ESTALE) && (count)++ < 100)

#endif
