/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * scene.h - a pool in one of the states of tests/crash/workload.c, private and cheap to make again, with
 * the model beside it; and what must hold after an operation that was refused, or that succeeded.
 */
#ifndef ADIT_TEST_SCENE_H
#define ADIT_TEST_SCENE_H

#include "workload.h"

#define SCENE_POOL_BYTES (4ull << 20)

/* A state of the table as an image that scenes map privately. */
struct stage {
	const struct workload_state *of;
	struct state state;
	struct op *before;
	int nbefore;
	int fd; /* the image */
};

bool stage_make(struct stage *, const struct workload_state *);
void stage_finish(struct stage *);

struct scene {
	struct subject s;
	struct model m;
	int64_t now;
	struct adit_statfs usage; /* as of scene_note */
	uint64_t free_blocks, checkpoints, next_ino;
	unsigned reshaped; /* refusals after which a file held other blocks */
};

/* Open, and do what comes before: the pool and the model are equal. */
void scene_begin(struct scene *, const struct stage *);
void scene_end(struct scene *);
/* Operation on both; they must agree. */
bool scene_both(struct scene *, const struct op *);
/* Remember what is free now. */
void scene_note(struct scene *);

/*
 * NULL, or what is wrong. The model is what the pool must be equal to.
 * refused: what was noted is free again; the inode table may have grown, steps that were undone may
 * have left a tree with more nodes, or without what was reserved beyond the end.
 */
const char *scene_refused(struct scene *);
/* As after a kill. */
bool scene_reopen(struct scene *);
const char *scene_equal(struct scene *);
/* The end: equal, nothing leaked, the check finds nothing. */
const char *scene_whole(struct scene *);

/* ---- the run: what to try, and how failures are told -------------------------------- */

struct trial {
	const char *program;
	const char *only; /* a label, or a part of one; NULL: all */
	unsigned failures;
	double began, until;
	bool everything;
};
void trial_begin(struct trial *, const char *program, int argc, char **argv);
double trial_seconds(const struct trial *);
bool trial_wants(const struct trial *, const char *label);
/* Prints a line that says how to run just that case. */
void trial_failed(struct trial *, const char *label, const char *wrong);

#endif
