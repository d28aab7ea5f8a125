/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plan.h - which workloads a tier tries: numbered lists, made from the tables of workload.h. Number i
 * of a list is the same workload whoever runs it, and when.
 */
#ifndef ADIT_TEST_PLAN_H
#define ADIT_TEST_PLAN_H

#include "explore.h"
#include "workload.h"

/* In the order in which they are run: first what is soon done and finds much. */
enum plan_class {
	PLAN_MAKE,   /* mkfs */
	PLAN_MEET,   /* a checkpoint and an operation at once, every order of steps */
	PLAN_TURN,   /* a checkpoint by one thread, then the operation by another */
	PLAN_SWEEP,  /* writes of many offsets and lengths */
	PLAN_KILL,   /* SIGKILL at recorded steps */
	PLAN_SINGLE, /* every state and operation; what the state left in the log */
	PLAN_PAIR,   /* ordered pairs, crashed in the second */
	PLAN_TRIPLE, /* ordered triples by chance, crashed in the third */
	PLAN_LONGER, /* three to six by chance, crashed in all of them; without end */
	PLAN_CLASSES
};

struct tier {
	const char *name;
	struct budget near, far;      /* far: pairs, triples and longer ones */
	uint64_t count[PLAN_CLASSES]; /* of each list so many, 0: all there are */
	unsigned share[PLAN_CLASSES]; /* of the time, when that is what limits; 0: not run */
	unsigned meet_stride;	      /* of the steps at which two threads meet */
};

const struct tier *tier_named(const char *name); /* NULL */
const char *plan_word(enum plan_class);
const struct budget *plan_budget(const struct tier *, enum plan_class);
/* How many there are. */
uint64_t plan_all(enum plan_class);
/* How many the tier tries. */
uint64_t plan_count(const struct tier *, enum plan_class);

#define PLAN_TEXT_MAX 1000
struct planned {
	enum plan_class class;
	unsigned state; /* PLAN_MAKE: which kind */
	unsigned op;	/* PLAN_KILL */
	int looked; /* at the last so many operations; 0: the open as well, -1: none but a meeting */
	char text[PLAN_TEXT_MAX];
};
/* Number i of the list; seed: of chance. */
void plan_make(const struct tier *, enum plan_class, uint64_t i, uint64_t seed, struct planned *);

#endif
