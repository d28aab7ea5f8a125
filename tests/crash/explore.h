/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explore.h - run operations on a recorded pool, and at every fence recover every image that the
 * memory may hold then.
 *
 * Levels: 0 runs the workload. An image of level L is recovered on a copy; for some images that
 * recovery is itself recorded (level L + 1), and the images at its fences are recovered in turn.
 *
 * Every recovered pool must equal the model before or after the running operation (after every
 * fence), or after it (when it has returned); the check must find nothing; and it must take new
 * files. Pools that are equal bit by bit outside the volatile region are looked at once.
 *
 * Threads: operations behind "lane N" are of thread N, and a fence orders only its own thread's
 * stores, so a list with several lanes is threads in turns. "meet K; B; A" is two at once: A runs, and
 * when it has made K steps (stores, flushes, fences) another thread runs B, as far as A's locks let it;
 * then A goes on. One of the two is a checkpoint, so that one change at a time is under way.
 */
#ifndef ADIT_TEST_EXPLORE_H
#define ADIT_TEST_EXPLORE_H

#include "choice.h"
#include "level.h"
#include "subject.h"
#include "tally.h"

#define ID_MAX 64

/* How many images, at each level. */
struct budget {
	struct limits limits[LEVELS];
	unsigned nest[LEVELS]; /* of so many images, one is recovered with recording; 0: none */
	bool in_order;	       /* stores are durable at once, as with flush-on-fail caches */
};

/* A closed pool and what it holds: workloads start here. */
struct state {
	uint8_t *image;
	uint64_t bytes;
	struct model model;
	int64_t now;
	uint32_t lane, full_after, full_room;
	struct area areas[VOLATILE_AREAS];
	uint64_t *inode_pages; /* bit a page: has inodes */
};
/* Special needs of a state. */
struct special {
	uint64_t ring_left;    /* bytes before the end of the first lane's ring, 0: as it comes */
	uint64_t leave_blocks; /* of free space: the rest goes to /big; 0: all */
	uint32_t full_after, full_room; /* subject_full_after: many steps */
	uint32_t lanes;			/* 0: two */
	bool newborn;			/* as mkfs leaves it: never opened */
};
/* Makes one: mkfs, the operations, close. False: something went wrong (printed). */
bool state_make(struct state *, uint64_t pool_bytes, const struct op *, int n,
		const struct special *);
void state_finish(struct state *);

struct explorer;

struct explorer *explorer_create(uint64_t pool_bytes, struct tally *);
void explorer_destroy(struct explorer *);

struct workload {
	const struct state *state;
	unsigned number; /* the state's, for the tally */
	const struct op *ops;
	int n, from; /* images are looked at from operation `from` on (0: the open as well) */
	const char *label, *tier; /* both are printed with a failure */
	const struct budget *budget;
	uint64_t seed;	  /* of samples */
	const char *only; /* NULL, or the id of the one image to build */
};

/* Open the state and run the operations. False when something failed: see explorer_failure. */
bool explore(struct explorer *, const struct workload *);
/* Crashes while a pool is made: it opens empty, or is refused, or is what was there before (was: NULL
 * when `old` is no pool; old NULL: zeros). Of the workload, state and operations are not used. */
bool explore_mkfs(struct explorer *, const uint8_t *old, const struct model *was,
		  const struct workload *);

/* The first failure of the last workload, in words, and how to see it again. */
const char *explorer_failure(const struct explorer *);
/* Every "meet" of the last workload came to pass. */
bool explorer_met(const struct explorer *);
/* The id of the image that is being looked at. */
void tally_where(const struct tally *, char *text, size_t len);

#endif
