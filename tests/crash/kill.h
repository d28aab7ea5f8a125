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

/* Every stride-th step of op. False: a failure, printed. */
bool kill_points(const struct state *, const struct op *before, int n, const struct op *op,
		 const char *label, unsigned stride);
void kill_summary(void);

#endif
