/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run.h - one planned workload: text into operations, explored; of what fails, the shortest that still
 * does.
 */
#ifndef ADIT_TEST_RUN_H
#define ADIT_TEST_RUN_H

#include "plan.h"

struct runner;

/* replay: the lists' limits and samples are those of a failure that is looked at again. */
struct runner *runner_create(const struct tier *, uint64_t seed, const char *only, struct tally *);
void runner_destroy(struct runner *);
/* False: it failed; printed, shrunk. True also for what `only` leaves out. */
bool run_planned(struct runner *, const struct planned *);
/* One image, or one kill. */
bool run_replay(struct runner *, enum plan_class, const char *label, const char *id);

#endif
