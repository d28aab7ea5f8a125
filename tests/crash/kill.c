/* SPDX-License-Identifier: BSD-3-Clause */
/* kill.c - see kill.h. */
#include "kill.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/check.h"
#include "media/record.h"

struct shared {
	uint64_t steps; /* that the whole operation takes */
	int64_t result;
};

/* In the child: everything up to the kill. Exit 0: the operation returned; 2: something failed. */
static void child(const struct kill *k, uint8_t *pool, uint64_t step, struct shared *shared)
{
	const struct state *st = k->state;
	struct subject s;
	int64_t now = st->now;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	subject_attach(&s, pool, st->bytes);
	subject_now = now;
	subject_lane = st->lane;
	subject_full_after = st->full_after;
	subject_full_room = st->full_room;
	if (subject_open(&s))
		_exit(2);
	for (int i = 0; i < k->n; i++)
		(void)subject_apply(&s, &k->before[i], ++now);
	adit__step = 0;
	adit__trap_at = step;
	shared->result = subject_apply(&s, k->op, ++now);
	shared->steps = adit__step;
	_exit(0);
}

struct outcome {
	const struct model *before, *after;
	struct model_torn torn;
	bool has_happened; /* at an earlier step */
};

static const char *judge_kill(uint8_t *pool, const struct state *st, struct outcome *o,
			      bool returned, struct difference *d)
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

static bool one_kill(const struct kill *k, uint8_t *pool, struct shared *shared, uint64_t step,
		     struct outcome *o)
{
	struct difference d = {""};
	const char *wrong = NULL;
	char text[2000];
	int status;
	pid_t pid;

	memcpy(pool, k->state->image, k->state->bytes);
	pid = fork();
	if (pid == 0)
		child(k, pool, step, shared);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		abort();
	k->tally->kills += step != 0;
	if (WIFEXITED(status) ? WEXITSTATUS(status) != 0 : WTERMSIG(status) != SIGKILL)
		wrong = "the child could not open, or failed";
	else if (step == 0 && shared->result == -ENOSPC)
		o->after = o->before; /* a full pool: nothing is to happen */
	if (wrong == NULL)
		wrong = judge_kill(pool, k->state, o, WIFEXITED(status), &d);
	if (wrong == NULL)
		return true;
	snprintf(text, sizeof text,
		 "FAILED kill %s: %.300s: step %llu: %s: %.600s\n"
		 "  again: crash --replay 'kill %s: %.300s' %llu\n",
		 k->name, k->text, (unsigned long long)step, wrong, d.text, k->name, k->text,
		 (unsigned long long)step);
	fputs(text, stdout);
	fflush(stdout);
	return false;
}

bool kill_points(const struct kill *k)
{
	struct shared *shared = (void *)shared_pool(4096);
	uint8_t *pool = shared_pool(k->state->bytes);
	struct model m, old, new;
	struct outcome o = {&old, &new, {.node = MODEL_NONE}, false};
	int64_t now = k->state->now;
	bool ok = true;

	k->tally->kill_operations++;
	model_clone(&m, &k->state->model);
	for (int i = 0; i < k->n; i++)
		(void)model_apply(&m, &k->before[i], ++now);
	model_clone(&old, &m);
	model_restart(&old);
	o.torn = model_may_tear(&m, k->op);
	(void)model_apply(&m, k->op, ++now);
	model_clone(&new, &m);
	model_restart(&new);
	/* First without a kill: how many steps there are. */
	ok = one_kill(k, pool, shared, 0, &o);
	o.has_happened = o.after == &old;
	for (uint64_t step = k->only ? k->only : 1;
	     ok && step <= (k->only ? k->only : shared->steps); step += k->stride)
		ok = one_kill(k, pool, shared, step, &o);
	model_finish(&m);
	model_finish(&old);
	model_finish(&new);
	munmap(pool, k->state->bytes);
	munmap(shared, 4096);
	return ok;
}
