/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chance.h - operations by chance, on what the model holds and on what it does not: mostly calls that work,
 * sometimes calls that must be refused.
 */
#ifndef ADIT_TEST_CHANCE_H
#define ADIT_TEST_CHANCE_H

#include "model.h"

struct chance {
	const struct model *m;
	uint64_t rng;	      /* splitmix64 */
	unsigned dirs, files; /* how wide the name space is */
	bool greedy;	      /* much data in a small pool */
};

uint64_t chance_below(struct chance *, uint64_t n);
void chance_op(struct chance *, struct op *);

#endif
