/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tally.h - what one worker has tried, in memory that it shares with its parent: the parent adds up,
 * and knows where a worker was that died.
 *
 * An *image* is one assignment of contents to all lines of the pool that the memory model allows at one
 * point of one workload. `images` counts those that were built; `distinct` those of them that differ
 * from all others of their workload (by a 64-bit hash of all lines): each is recovered. `compared`
 * counts the distinct outcomes of recovery, which are compared with the model, checked and written to.
 */
#ifndef ADIT_TEST_TALLY_H
#define ADIT_TEST_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "op.h"

#define LEVELS	      3 /* workload, recovery, recovery of that one */
#define TALLY_FENCES  12
#define TALLY_STATES  64
#define TALLY_CLASSES 12
#define TALLY_MAKING  OP_KINDS /* row of by_op: opening and mkfs */

struct counters {
	uint64_t points, images, distinct, compared, nested;
};

struct tally {
	struct counters total, by_op[OP_KINDS + 1];
	uint64_t by_fence[TALLY_FENCES]; /* distinct images at an operation's n-th point */
	uint64_t by_level[LEVELS];	 /* distinct images */
	uint64_t matrix[OP_KINDS + 1][TALLY_STATES]; /* distinct images */
	uint64_t lane_changed;	      /* recovered with another lane than the crash had */
	uint64_t meetings;	      /* points at which two threads met */
	uint64_t done[TALLY_CLASSES]; /* workloads, by enum plan_class */
	uint64_t kills, kill_operations;
	uint64_t cut; /* workloads that the end of the time cut short */
	double until; /* which is then; 0: none */
	uint64_t failures;
	/* Now. */
	bool busy;
	char label[2000], tier[60];
	int depth;
	struct {
		int op;
		unsigned point;
		uint64_t number;
	} at[LEVELS];
};

#endif
