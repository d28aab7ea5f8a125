/* SPDX-License-Identifier: BSD-3-Clause */
/* kill.c - see kill.h. */
#include "kill.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/check.h"
#include "media/record.h"

static uint64_t points, operations;

struct shared {
	uint64_t steps; /* that the whole operation takes */
	int64_t result;
};

/* In the child: everything up to the kill. Exit 0: the operation returned; 2: something failed. */
static void child(uint8_t *pool, const struct state *st, const struct op *before, int n,
		  const struct op *op, uint64_t step, struct shared *shared)
{
	struct subject s;
	int64_t now = st->now;

	subject_attach(&s, pool, st->bytes);
	subject_now = now;
	subject_lane = st->lane;
	subject_full_after = st->full_after;
	subject_full_room = st->full_room;
	if (subject_open(&s))
		_exit(2);
	for (int i = 0; i < n; i++)
		(void)subject_apply(&s, &before[i], ++now);
	adit__step = 0;
	adit__trap_at = step;
	shared->result = subject_apply(&s, op, ++now);
	shared->steps = adit__step;
	_exit(0);
}

struct outcome {
	const struct model *before, *after;
	struct model_torn torn;
	bool has_happened; /* at an earlier step */
};

static const char *judge(uint8_t *pool, const struct state *st, struct outcome *o, bool returned,
			 struct difference *d)
{
	static char text[400];
	const char *wrong = NULL;
	struct difference other;
	struct subject s;

	subject_attach(&s, pool, st->bytes);
	s.quiet = true;
	if (subject_open(&s)) {
		snprintf(d->text, sizeof d->text, "%s", s.report);
		return "does not open";
	}
	if (compare(&s, o->after, NULL, NULL, d) == 0) {
		o->has_happened = true;
	} else if (returned) {
		wrong = "returned, but lost";
	} else if (compare(&s, o->before, NULL, NULL, &other) == 0) {
		if (o->has_happened)
			wrong = "an earlier step had it done";
	} else if (o->torn.node == MODEL_NONE ||
		   compare(&s, o->after, o->before, &o->torn, &other)) {
		wrong = "neither before nor after";
	}
	if (!wrong && adit__check_quiet(s.fs, text, sizeof text)) {
		snprintf(d->text, sizeof d->text, "%s", text);
		wrong = "check";
	}
	subject_abandon(&s);
	return wrong;
}

static uint8_t *shared_pool(uint64_t bytes)
{
	uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static bool one_kill(uint8_t *pool, struct shared *shared, const struct state *st, const struct op *before,
		     int n, const struct op *op, const char *label, uint64_t step, struct outcome *o)
{
	struct difference d = {""};
	char text[OP_TEXT_MAX];
	const char *wrong = NULL;
	int status;
	pid_t pid;

	memcpy(pool, st->image, st->bytes);
	pid = fork();
	if (pid == 0)
		child(pool, st, before, n, op, step, shared);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		abort();
	points++;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		wrong = "the child could not open";
	else if (step == 0 && shared->result == -ENOSPC)
		o->after = o->before; /* a full pool: nothing is to happen */
	if (wrong == NULL)
		wrong = judge(pool, st, o, WIFEXITED(status), &d);
	if (wrong == NULL)
		return true;
	op_print(op, text, sizeof text);
	printf("FAILED kill %s: %.300s: step %llu: %s: %s\n", label, text, (unsigned long long)step,
	       wrong, d.text);
	return false;
}

bool kill_points(const struct state *st, const struct op *before, int n, const struct op *op,
		 const char *label, unsigned stride)
{
	struct shared *shared = (void *)shared_pool(4096);
	uint8_t *pool = shared_pool(st->bytes);
	struct model m, old, new;
	struct outcome o = {&old, &new, {.node = MODEL_NONE}, false};
	int64_t now = st->now;
	bool ok = true;

	operations++;
	model_clone(&m, &st->model);
	for (int i = 0; i < n; i++)
		(void)model_apply(&m, &before[i], ++now);
	model_clone(&old, &m);
	model_restart(&old);
	o.torn = model_may_tear(&m, op);
	(void)model_apply(&m, op, ++now);
	model_clone(&new, &m);
	model_restart(&new);
	/* First without a kill: how many steps there are. */
	ok = one_kill(pool, shared, st, before, n, op, label, 0, &o);
	o.has_happened = o.after == &old;
	for (uint64_t step = 1; ok && step <= shared->steps; step += stride)
		ok = one_kill(pool, shared, st, before, n, op, label, step, &o);
	model_finish(&m);
	model_finish(&old);
	model_finish(&new);
	munmap(pool, st->bytes);
	munmap(shared, 4096);
	return ok;
}

void kill_summary(void)
{
	if (points)
		printf("kill: %llu kills in %llu operations\n", (unsigned long long)points,
		       (unsigned long long)operations);
}
