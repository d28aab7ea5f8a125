/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * walk.h - going through a tree, of a pool or of the host, by descriptors: no limit on depth or on the
 * length of paths, and a renamed directory above does not lead astray.
 */
#ifndef ADIT_CLI_WALK_H
#define ADIT_CLI_WALK_H

#include <stdbool.h>
#include <sys/stat.h>

#include "cli/vfs.h"

struct walk_entry {
	struct adit_pool *pool;
	int dirfd;	       /* of the directory that holds it; AT_FDCWD for the start */
	const char *name;      /* relative to dirfd */
	const char *path;      /* the whole path, for messages and attributes */
	const struct stat *st; /* not followed, except the start with WALK_FOLLOW_START */
	unsigned depth;	       /* 0: the start */
	bool post;	       /* a directory, after its contents */
	bool failed;	       /* with post: something below could not be done */
};

/* 0: go on; WALK_SKIP: do not go into this directory (no post call either); WALK_FAILED: a message was
 * printed, go on (and not into this directory); -errno: stop at once, silently. */
#define WALK_SKIP   1
#define WALK_FAILED 2
typedef int (*walk_fn)(const struct walk_entry *entry, void *ctx);

#define WALK_FOLLOW_START 1u /* the start may be a symbolic link: look through it */
#define WALK_POST	  2u /* call directories again, after their contents */
#define WALK_FOLLOW_ALL	  4u /* look through every symbolic link (a loop ends in ELOOP) */

/* 0: everything went well, WALK_FAILED: not everything, messages were printed; -errno: stopped. */
int cli_walk(struct adit_pool *pool, const char *path, unsigned flags, unsigned max_depth,
	     walk_fn fn, void *ctx);

/* A directory's names in order. */
struct walk_name {
	char *name;
	unsigned char type; /* DT_* */
	uint64_t ino;
};
int cli_read_names(struct adit_pool *pool, int fd, struct walk_name **names, size_t *count);
void cli_free_names(struct walk_name *names, size_t count);

#endif
