/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kill.h - SIGKILL at every recorded step of an operation.
 *
 * A child opens the pool, which is shared memory, runs what comes before and then the operation, and
 * kills itself at the chosen step (adit__trap_at of the recording build). All its stores up to there
 * survive. The parent opens, compares, checks. Once the operation's effect is seen at one step, every
 * later step must show it.
 */
#ifndef ADIT_TEST_KILL_H
#define ADIT_TEST_KILL_H

#include "explore.h"

struct kill {
	const struct state *state;
	const struct op *before, *op; /* op: the one that is killed in */
	int n;
	const char *name, *text; /* of the state, of the operation */
	uint64_t stride;	 /* every so many steps */
	uint64_t only;		 /* 0, or the step of a failure */
	struct tally *tally;
};

/* False: a failure, printed. */
bool kill_points(const struct kill *);

#endif
