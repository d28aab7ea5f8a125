/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * op.h - operations as data: what the model and the core are both asked to do.
 *
 * An operation has a text form ("rename /a /d/b 0x1"), which is what tables of workloads are written
 * in and what a failure prints. A path's component may end in ~N: it is padded to N bytes. "@k"
 * instead of a path is the file that slot k holds open.
 *
 * Contents and times follow from the operation's number: number t writes bytes that nobody else writes,
 * and everything it touches gets time op_clock(t). So two runs of one list make the same pool.
 */
#ifndef ADIT_TEST_OP_H
#define ADIT_TEST_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum op_kind {
	OP_CREATE,     /* path mode */
	OP_MKDIR,      /* path mode */
	OP_MKNOD,      /* path mode(with type) rdev */
	OP_SYMLINK,    /* path length-of-target */
	OP_LINK,       /* path new-path */
	OP_UNLINK,     /* path */
	OP_RMDIR,      /* path */
	OP_RENAME,     /* path new-path flags */
	OP_WRITE,      /* path offset length flags(1: atomic) */
	OP_APPEND,     /* path length */
	OP_TRUNCATE,   /* path size */
	OP_FALLOCATE,  /* path mode offset length */
	OP_CHMOD,      /* path mode */
	OP_CHOWN,      /* path uid gid */
	OP_UTIME,      /* path mtime atime */
	OP_IFLAGS,     /* path flags */
	OP_SETXATTR,   /* path name length flags */
	OP_RMXATTR,    /* path name */
	OP_TMPFILE,    /* directory slot */
	OP_HOLD,       /* path slot */
	OP_RELEASE,    /* slot */
	OP_CHECKPOINT, /* */
	OP_LANE,       /* number: which lane later operations use */
	OP_MEET,       /* number: nothing by itself; see tests/crash/explore.h */
	OP_KINDS
};

#define OP_PATH_MAX 6000
#define OP_NUMBERS 3
#define OP_NAME_MAX 300 /* one too long must be expressible */

struct op {
	enum op_kind kind;
	char path[OP_PATH_MAX], path2[OP_PATH_MAX];
	uint64_t n[OP_NUMBERS];
};

#define OP_TEXT_MAX (2 * OP_PATH_MAX + 100)

const char *op_word(enum op_kind);
/* One operation from text; false when it makes no sense. */
bool op_parse(const char *text, struct op *out);
void op_print(const struct op *, char *text, size_t len);
/* Operations separated by ';' or newlines. How many, or -1. */
int op_parse_list(const char *text, struct op *out, int max);

/* The next component of a path, expanded: its length, 0 at the end. *path moves behind it. */
size_t op_component(const char **path, char name[OP_NAME_MAX]);
/* Slot number of "@k", or -1 for an ordinary path. */
int op_slot(const char *path);

/* Coarse, as the clock of file systems is: a tick is two operations long, because what happens within
 * the tick of the last change may go another way. */
static inline int64_t op_clock(int64_t number)
{
	return number - number % 2;
}

/* The bytes of [pos, pos + len) as operation `seed` writes them. */
void op_fill(uint64_t seed, uint64_t pos, void *to, size_t len);

/* splitmix64: the same sequence everywhere. */
uint64_t op_random(uint64_t *state);

#endif
