/* SPDX-License-Identifier: BSD-3-Clause */
/* refuse.h - what refuse.c, refuse_full.c and refuse_whole.c share. */
#ifndef ADIT_TEST_REFUSE_H
#define ADIT_TEST_REFUSE_H

#include <stdio.h>

#include "core/log.h"
#include "scene.h"

enum refusal { BLOCK, MEMORY, LANE, RING, FULL, REFUSALS };

struct refusals {
	struct trial trial;
	uint64_t refused[OP_KINDS][REFUSALS];
	uint64_t filled, big, stopped;
};
extern struct refusals refusals;

static inline bool ring_has_room(const struct scene *c)
{
	return adit__lane_has_room(c->s.fs, subject_lane % c->s.fs->lanes);
}

static inline void refuse_failed(const char *label, const char *what, unsigned n, const char *wrong)
{
	char text[2000];

	snprintf(text, sizeof text, "%.300s: %s %u: %.1500s", label, what, n, wrong);
	trial_failed(&refusals.trial, label, text);
}

/* refuse_full.c: the operation on pools with k free blocks. */
void full(const struct stage *, const struct op *, const char *label);
/* refuse_whole.c: mkfs, open, check, repair without memory. */
void whole_pool(void);

#endif
