/* SPDX-License-Identifier: BSD-3-Clause */
/* explore_int.h - what explore.c, judge.c and meet.c share. */
#ifndef ADIT_TEST_EXPLORE_INT_H
#define ADIT_TEST_EXPLORE_INT_H

#include "explore.h"
#include "seen.h"

#define TORN	0x80000000u /* in a state's number: torn by the running operation */
#define REFUSED 0x40000000u /* open said no, which is right while a pool is made */

struct meeting;

struct explorer {
	const struct workload *w;
	struct tally *tally;
	uint64_t bytes;
	struct level level[LEVELS];
	struct subject s; /* level 0's, on its `live` */
	/* Expected. */
	const struct model *before, *after;
	uint32_t before_id, after_id;
	struct model_torn torn;
	bool making;		     /* mkfs: refusing is right as well */
	struct seen inputs, outputs; /* hash -> state */
	uint64_t distinct;	     /* in this workload */
	enum op_kind kind;
	struct area areas[VOLATILE_AREAS];
	int want[LEVELS][3]; /* replay: op, point, number; -1: any */
	bool replay;
	bool failed, met;
	bool cut; /* the time is over: no more images */
	char failure[3000];
	struct meeting *meeting; /* NULL: none is to be */
	uint64_t runs;
	uint8_t *zeros; /* of explore_mkfs */
};

/* Keeps the first. */
void explorer_fail(struct explorer *, unsigned depth, const char *format, ...) ADIT_PRINTF(3, 4);

/* judge.c: recover `work` of the level and say which state it is in (0: failed). */
uint32_t judge(struct level *);
bool judge_allows(const struct explorer *, uint32_t id);

/* Whose stores these are: a level that records, or one that only remembers what to put back. */
struct sink {
	struct level *record, *remember;
};
extern struct sink explorer_sink;
/* All images of this moment. */
void crash_point(struct level *);

/* One operation and what is expected of it. */
struct expected {
	struct model before, after, saved; /* saved: slots and all */
	int64_t want;
};
void expect(struct explorer *, struct model *, const struct op *, int64_t now, struct expected *);
/* It returned; false when the result is not what the model says. */
bool expect_result(struct explorer *, struct model *, struct expected *, int64_t got);
void expect_finish(struct expected *);
/* Nothing is under way but what changes nothing. */
void expect_idle(struct explorer *, const struct model *restarted);

/* meet.c: "meet" with the two operations behind it. */
bool meet(struct explorer *, struct model *, const struct op *meet, int number, int64_t now);
/* At every step of level 0. */
void meet_step(struct explorer *);

/* explore.c */
bool sync_volatile(struct explorer *);

#endif
