/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * refuse_whole.c - making, opening, checking and repairing a pool with the n-th allocation of memory
 * refused: -ENOMEM, and the pool is none the worse for it. See refuse.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>

#include "core/check.h"
#include "fs/env.h"
#include "refuse.h"

static const char *const states[] = {"dirty", "stepstree", "orphan", "tree"};

enum whole { MAKE, OPEN, CHECK, LOOK, REPAIR, WHOLES };
static const char *const whole_name[] = {"mkfs", "open", "check", "look", "repair"};

/* A change in many steps that stops half way: its intent waits for recovery, which finishes it, or takes it
 * back when it was not decided. */
static void leave_intent(struct scene *c)
{
	int64_t got = 0;
	struct op op;

	if (!op_parse("fallocate /f 0 0 1300000", &op))
		abort();
	for (unsigned n = 1; !c->s.fs->failed && n < 1000; n++) {
		c->s.fs->fail_alloc_at = n;
		got = subject_apply(&c->s, &op, c->now + 1);
	}
	if (!c->s.fs->failed)
		abort();
	if (got == -EIO)
		(void)model_apply(&c->m, &op, ++c->now);
}

/* What a kill leaves of the state: records, an orphan, an intent. */
static void killed(struct scene *c, const struct stage *g)
{
	static const char *const half[] = {"write /f 100 6000", "truncate /f 10000000",
					   "create /x 0600"};
	struct op op;

	scene_begin(c, g);
	for (unsigned i = 0; i < 3; i++)
		if (op_parse(half[i], &op))
			(void)scene_both(c, &op);
	if (strcmp(g->of->name, "stepstree") == 0)
		leave_intent(c);
	subject_abandon(&c->s);
	model_restart(&c->m);
}

static int attempt(struct scene *c, enum whole what)
{
	struct adit_check_options o = {.flags = what == REPAIR ? ADIT_CHECK_REPAIR : 0};
	struct adit_check_result res;

	switch (what) {
	case MAKE:
		return subject_mkfs(&c->s, 2);
	case OPEN:
		return subject_open(&c->s);
	case CHECK:
		return adit__check(c->s.fs, &o, &res);
	default:
		return adit__check_media(&c->s.pm, subject_env(), &c->s, &o, &res);
	}
}

static void prepare(struct scene *c, const struct stage *g, enum whole what)
{
	killed(c, g);
	if (what == CHECK && subject_open(&c->s) != 0)
		abort();
	if (what == MAKE) {
		model_finish(&c->m);
		model_init(&c->m, 0755);
		c->now = 0; /* the root directory's times */
		subject_now = 0;
	}
	/* A superblock to be restored, so that there is something to do. */
	if (what == REPAIR)
		memset(c->s.pm.base, 0, 4096);
}

static const char *after(struct scene *c)
{
	if (c->s.fs == NULL && subject_open(&c->s) != 0)
		return "does not open afterwards";
	return scene_whole(c);
}

static void one(const struct stage *g, enum whole what)
{
	char label[100];
	bool struck = true;

	snprintf(label, sizeof label, "memory %s: %s", whole_name[what], g->of->name);
	for (unsigned n = 1; struck && trial_wants(&refusals.trial, label); n++) {
		const char *wrong = NULL;
		struct scene c;
		int err;

		prepare(&c, g, what);
		subject_refuse_alloc = n;
		err = attempt(&c, what);
		struck = subject_refuse_alloc == 0;
		subject_refuse_alloc = 0;
		refusals.big += struck;
		if (err != (struck ? -ENOMEM : 0))
			wrong = "wrong result";
		if (adit__current_op != NULL)
			wrong = "an operation was left behind";
		/* Once more, with what is left, on the same memory. */
		if (!wrong && struck && what != OPEN && what != CHECK && attempt(&c, what) != 0)
			wrong = "does not work afterwards";
		if (!wrong)
			wrong = after(&c);
		if (wrong)
			refuse_failed(label, whole_name[what], n, wrong);
		scene_end(&c);
	}
}

void whole_pool(void)
{
	for (unsigned s = 0; s < workload_states_count; s++)
		for (unsigned i = 0; i < sizeof states / sizeof *states; i++) {
			struct stage g;

			if (strcmp(workload_states[s].name, states[i]) != 0)
				continue;
			if (!stage_make(&g, &workload_states[s]))
				return;
			for (unsigned what = 0; what < WHOLES; what++)
				one(&g, (enum whole)what);
			stage_finish(&g);
		}
}
