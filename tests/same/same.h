/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * same.h - the calls of adit.h beside the same system calls of Linux: lists of calls, chosen by
 * chance, must return the same values and errors, and leave the same tree.
 *
 *	same.c		lists, replaying, making a failing list shorter
 *	host.c		the directories of the host: tmpfs, ext4 and XFS, in a mount namespace of its own
 *	calls_data.c	descriptors and contents
 *	calls_names.c	names
 *	calls_attr.c	attributes, extended attributes, flags
 *	tree.c		comparing whole trees, emptying them
 *	known.c		the differences that are by design, each with its reason
 *
 * A list is a number: every step draws from a sequence of its own, made from the list's number and the
 * step's, so that steps can be left out without changing the others.
 */
#ifndef ADIT_TESTS_SAME_H
#define ADIT_TESTS_SAME_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adit/adit.h"

#define FDS	       12
#define FILE_MAX_BYTES 300000
#define EPOCHS	       8
#define STEPS_MAX      4096

enum host_kind { HOST_TMPFS = 1, HOST_EXT4 = 2, HOST_XFS = 4, HOST_ALL = 7 };

struct host {
	enum host_kind kind;
	const char *name;
	char path[64]; /* where lists may work; "": cannot be had */
	const char *why_not;
};

struct pair {
	int host, adit; /* -1: not open */
};

enum outcome { LIST_SAME, LIST_CUT, LIST_DIFFERS };

/* One list under way. */
struct list {
	const struct host *host;
	struct adit_pool *pool;
	struct pair root; /* of the list's trees */
	char host_root[80];
	struct pair fd[FDS];
	uint64_t seed, state;
	unsigned step;
	bool verbose;
	const char *call; /* name of the call under way */
	char what[12400]; /* it with its arguments */
	char failure[13000];
	char kind[200]; /* of the failure: a shorter list must fail in the same way */
	/* Moments in the middle of pauses: time stamps are compared by the pauses they lie between. */
	struct timespec epoch[EPOCHS];
	unsigned epochs;
	bool flags; /* of files are set in this list: few, since many a list ends there (known.c) */
	bool pauses;		 /* there may be some in this list */
	bool no_ctime, no_mtime; /* not compared in the rest of this list */
	struct timespec began;
	jmp_buf out;
};
extern struct list t;

/* ---- chance ---------------------------------------------------------------------------------- */

uint64_t rnd(void);
unsigned pick(unsigned n);
bool chance(unsigned percent);
#define ONE_OF(array) ((array)[pick(sizeof(array) / sizeof((array)[0]))])

/* ---- saying and comparing -------------------------------------------------------------------- */

/* The call under way: its name up to the bracket is what known.c is asked with. */
void describe(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The host's result as Adit gives it. */
long host_rc(long rc);
/* Ends the list when they differ and known.c has no reason. */
void same(long host, long adit);
/* The same for things that were made: any number that is not negative is success. */
bool same_made(long host, long adit);
void same_bytes(long n);
/* Ends the list: this is a difference. */
void differ(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
extern uint8_t host_buf[FILE_MAX_BYTES + 65536], adit_buf[FILE_MAX_BYTES + 65536];
void fill(uint8_t *buf, size_t bytes);

/* ---- choosing -------------------------------------------------------------------------------- */

const char *path(char *out);
const char *target(char *out);
struct pair start(void);
struct pair *some_fd(void);
off_t some_offset(void);
size_t some_length(void);
/* Whole paths, for calls that have no *at form. */
const char *host_path(char *out, const char *name);
const char *adit_path(char *out, const char *name);
/* Not sticky: in such directories Linux restricts O_CREAT for others' files (fs.protected_regular). */
mode_t mode_not_sticky(void);

/* ---- calls ----------------------------------------------------------------------------------- */

struct call {
	unsigned weight;
	void (*run)(void);
};
/* Each ends with a weight of 0. */
extern const struct call data_calls[], name_calls[], attr_calls[];
/* A file, most often open, or a directory. */
void make_something(void);

void close_pair(struct pair *p);
void close_all(void);
void same_stat(const struct stat *host, const struct stat *adit);

/* ---- trees ----------------------------------------------------------------------------------- */

void same_trees(void);
/* Holes and data of an open regular file. */
void same_layout(struct pair p, off_t size);
/* lseek on the host, for SEEK_DATA and SEEK_HOLE. */
long host_seek(int fd, off_t pos, int whence, off_t size);
/* Both trees are made, and removed with all that is in them. */
void make_trees(void);
void remove_trees(void);

/* ---- the host -------------------------------------------------------------------------------- */

/* tmpfs, ext4, XFS in this order; what cannot be had says why. */
#define HOSTS 3
extern struct host hosts[HOSTS];
void hosts_begin(unsigned wanted);
void hosts_end(void);

/* ---- known.c --------------------------------------------------------------------------------- */

struct known {
	unsigned hosts;	  /* enum host_kind */
	const char *call; /* its name */
	long host, adit;  /* results; KNOWN_SUCCESS stands for all that are not errors */
	const char *why;
	uint64_t met;
};
#define KNOWN_SUCCESS 1000000000
extern struct known known[];
extern const size_t knowns;
/* NULL: it is not. */
struct known *known_difference(enum host_kind kind, const char *call, long host, long adit);

#endif
