/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * jobs.h - the lists of a tier, shared out to worker processes.
 *
 * A worker takes the next number of a list, from counters that all share; what the number stands for
 * does not depend on who takes it. The parent waits, adds up, and reports a worker that died, or that
 * stands still, with the id of the image it was at.
 */
#ifndef ADIT_TEST_JOBS_H
#define ADIT_TEST_JOBS_H

#include "run.h"

struct jobs {
	const struct tier *tier;
	const char *only; /* NULL: everything; else what the label must contain */
	uint64_t seed;
	double seconds; /* how long the lists without end go on; of a tier in shares: everything */
	unsigned workers;
	uint64_t failures_max; /* stop at so many */
	bool whole;	       /* out: all lists that end were run to their ends */
};

/* The sum of all workers, failures included. */
void jobs_run(struct jobs *, struct tally *sum);
double jobs_now(void);

#endif
