/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * world.h - the model as a process sees it through adit.h: paths with links and dots, descriptors.
 *
 * tests/model knows inodes and plain paths. What the calls add to that is here once more, written down
 * from path_resolution(7) and the manual pages of the calls, so that fuzz_calls.c can say what a call must
 * return.
 */
#ifndef ADIT_TEST_FUZZ_WORLD_H
#define ADIT_TEST_FUZZ_WORLD_H

#include "model.h"

#define WORLD_FDS  64
#define WORLD_PATH 5000u

enum last { LAST_NAME, LAST_ROOT, LAST_DOT, LAST_DOTDOT };

/* Where a path led. */
struct where {
	uint32_t dir;  /* of the last component */
	uint32_t node; /* MODEL_NONE: there is none */
	enum last last;
	bool slash; /* "name/" */
	size_t len;
	char name[4096];
};

/* An open file description. Its number is also the model's slot. */
struct open_file {
	int refs; /* descriptors; 0: not open */
	uint32_t node;
	int flags;
	bool read, write, path, dir;
	bool linkable; /* O_TMPFILE, without a name so far */
	uint64_t pos;
};

struct world {
	struct model m;
	int fd[WORLD_FDS]; /* open file, -1: none */
	struct open_file file[MODEL_SLOTS];
};

void world_init(struct world *);
/* Nothing is open any more; what had no name is gone. */
void world_restart(struct world *);

struct open_file *world_file(struct world *, int fd); /* NULL: not open */
int world_free_file(const struct world *);	      /* -1: none */
int world_free_fd(const struct world *, int from);
/* fd refers to the file, which has one reference more. */
void world_install(struct world *, int fd, int file);
/* The model lets the file go with its last descriptor. */
void world_close(struct world *, int fd, int64_t now);

/* The directory that a path starts in: 0, -EBADF, -ENOTDIR. */
int world_start(struct world *, int dirfd, const char *path, uint32_t *dir);
/* Which last links are followed. */
enum follow {
	FOLLOW_NEVER, /* the name itself is meant, "name/" too */
	FOLLOW_SLASH, /* "name/" only */
	FOLLOW_PLAIN, /* all but "name/": O_CREAT refuses that as soon as a link says so */
	FOLLOW,
};
/* Follows a path. 0, also when only the last name is missing (node is
 * MODEL_NONE), or -ENOENT, -ENOTDIR, -ELOOP, -ENAMETOOLONG. */
int world_walk(struct world *, int dirfd, const char *path, enum follow, struct where *);
/* The same, and something must be there. */
int world_find(struct world *, int dirfd, const char *path, enum follow, struct where *);
/* A plain path of where a walk led, as op.h wants it. False: it has no name any more, or the path is
 * too long. */
bool world_path(const struct world *, const struct where *, char path[OP_PATH_MAX]);
/* Is a directory that was removed in the way? Nobody says what happens there then. */
bool world_is_gone(const struct world *, uint32_t node);

#endif
