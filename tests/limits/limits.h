/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * limits.h - every limit that docs/guarantees.md names is reached, and what lies beyond is refused.
 *
 *	limits.c	the list of tests, a pool for each, and after each: clean, and nothing lost
 *	files.c		offsets, fragments, extended attributes
 *	names.c		depth, names, directories of every size, collisions, links
 *	pools.c		filling and emptying, used inodes, the clock, statfs, mkfs, descriptors
 *
 * A pool lies in a memfd. A test leaves what it made; the frame removes all of it and compares the
 * free blocks and inodes with those of the empty pool.
 */
#ifndef ADIT_TESTS_LIMITS_H
#define ADIT_TESTS_LIMITS_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adit/adit.h"
#include "core/core.h"

#define MIB (1ull << 20)

struct limits {
	struct adit_pool *pool;
	struct adit_fs *fs; /* its engine */
	int memfd;
	bool soak; /* the large sizes */
	uint64_t seed;
	uint64_t cases; /* of the test under way: limits reached, results compared */
};
extern struct limits l;

/* Ends the test: prints where, what, and how to run it again. */
void wrong(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4), noreturn));
/* A result that is not what it should be. */
#define SAME(got, want)                                                                            \
	do {                                                                                       \
		long long got_ = (long long)(got), want_ = (long long)(want);                      \
		l.cases++;                                                                         \
		if (got_ != want_)                                                                 \
			wrong(__FILE__, __LINE__, "%s is %lld, not %lld", #got, got_, want_);      \
	} while (0)
#define TRUE(what)                                                                                 \
	do {                                                                                       \
		l.cases++;                                                                         \
		if (!(what))                                                                       \
			wrong(__FILE__, __LINE__, "not so: %s", #what);                            \
	} while (0)

/* ---- what tests share (limits.c) ------------------------------------------------------------- */

int open_file(const char *path, int flags); /* created when O_CREAT; must succeed */
void close_file(int fd);
uint64_t size_of(int fd);
uint64_t blocks_of(const char *path); /* of 4096 bytes */
struct adit_attr attr_of(const char *path);
/* Closed and opened again. */
void reopen(void);
/* The check finds nothing. */
void clean(void);
/* Free blocks, with what "/" and the inode table have taken for good. */
uint64_t accounted(void);
uint64_t inodes_used(void);
/* All that is in a directory; how many files that were. */
uint64_t remove_below(int dirfd);
/* Entries but "." and ".."; each name once, or the test ends. */
uint64_t count_entries(int dirfd);
uint64_t chance(uint64_t n);
/* The link count of a file, by force. */
void set_nlink(const char *path, uint32_t nlink);

/* ---- tests ----------------------------------------------------------------------------------- */

void test_offsets(void);
void test_fragments(void);
void test_xattrs(void);
void test_depth(void);
void test_names(void);
void test_directories(void);
void test_collisions(void);
void test_links(void);
void test_symlinks(void);
void test_fill(void);
void test_inodes(void);
void test_clock(void);
void test_statfs(void);
void test_mkfs(void);
void test_descriptors(void);

#endif
