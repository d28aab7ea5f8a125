/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * acts.h - the operations whose deaths are tried, the files that they and others work on, and what these look like.
 *
 * Each starts from the same pool, acts_prepare.  How a file looks is a number: type, mode, owner, links, contents,
 * attributes, none of which others change who work on the same files (peers.h).
 */
#ifndef ADIT_TEST_ACTS_H
#define ADIT_TEST_ACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "fs/pool.h"

#define ACTS_POOL_BYTES (8ull << 20)
#define ACTS_NAMES	18u

struct act {
	const char *name;
	/* In the same process, before its steps count. */
	int64_t (*before)(void);
	int64_t (*run)(void); /* negative: it failed */
	const char *tears;    /* a file that is overwritten in place: word by word old or new */
};
extern const struct act acts[];
extern const unsigned acts_count;

extern struct adit_pool *pool;
extern uint8_t bytes[1 << 20]; /* what is written */

extern const char *const act_names[ACTS_NAMES];

/* Says what was being done; counted. */
extern char what[160];
extern unsigned failures;
void fail(const char *why, long long a, long long b);

double seconds(void);
int open_at(const char *name, int flags);
void acts_prepare(void);
/* How a file looks, 0: it is not there.  Others may be changing it: then as it looked at one moment. */
uint64_t look_at(unsigned name);
/* Of an open one: its contents. */
uint64_t contents_of(int fd);
/* All of a file: how many bytes, -1: it is not there. */
int64_t read_all(const char *name, uint8_t *to, uint64_t room);

/* What was there is removed, all of it: free blocks and used inodes then. */
struct left {
	uint64_t free, inodes;
};
struct left remove_all(void);

#endif
