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
 */
#ifndef ADIT_TEST_EXPLORE_H
#define ADIT_TEST_EXPLORE_H

#include "choice.h"
#include "subject.h"

#define LEVELS 3
#define ID_MAX 64

struct tier {
	const char *name;
	struct limits limits[LEVELS];
	unsigned nest[LEVELS]; /* of so many images, one is recovered with recording; 0: none */
	bool in_order; /* stores are durable at once, as with flush-on-fail caches */
};

struct counters {
	uint64_t images, distinct, recovered, points, nested;
};

struct explorer;

struct explorer *explorer_create(uint64_t pool_bytes, const struct tier *);
void explorer_destroy(struct explorer *);

/* A closed pool and what it holds: workloads start here. */
struct state {
	uint8_t *image;
	uint64_t bytes;
	struct model model;
	int64_t now;
	uint32_t lane, full_after, full_room;
};
/* Special needs of a state, at its end. */
struct special {
	uint64_t ring_left;    /* bytes before the end of the first lane's ring, 0: as it comes */
	uint64_t leave_blocks; /* of free space: the rest goes to /big; 0: all */
	uint32_t full_after, full_room; /* subject_full_after: many steps */
};
/* Makes one: mkfs, the operations, close. False: something went wrong (printed). */
bool state_make(struct state *, uint64_t pool_bytes, const struct op *, int n,
		const struct special *);
void state_finish(struct state *);

/*
 * Open the state and run operations; images are looked at from operation `from` on (0: the open as
 * well). label: printed with failures. only: NULL, or the id of the one image to build.
 * False when something failed: it was printed.
 */
bool explore(struct explorer *, const struct state *, const struct op *, int n, int from,
	     const char *label, const char *only);
/* Crashes while a pool is made: it opens empty, or is refused, or is what was there before (was: NULL
 * when `old` is no pool; old NULL: zeros). */
bool explore_mkfs(struct explorer *, const uint8_t *old, const struct model *was, const char *label,
		  const char *only);

const struct counters *explorer_counters(const struct explorer *);
/* kind: enum op_kind, or OP_KINDS for mkfs and open. */
const struct counters *explorer_by_op(const struct explorer *, unsigned kind);

#endif
