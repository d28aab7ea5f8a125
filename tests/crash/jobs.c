/* SPDX-License-Identifier: BSD-3-Clause */
/* jobs.c - see jobs.h. */
#include "jobs.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STANDS_STILL_S 120.0

struct shared {
	uint64_t next[PLAN_CLASSES];
	uint64_t used_us[PLAN_CLASSES]; /* time spent, for the shares */
	uint64_t failures;
	bool stop;
	struct tally tally[];
};

struct worker {
	pid_t pid;     /* 0: ended */
	uint64_t seen; /* progress */
	double since;
};

double jobs_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *shared_memory(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

/* ---- in a worker --------------------------------------------------------------------------------- */

/* Of a time that is given, each list gets its share; else lists are run to their ends. */
static bool in_shares(const struct jobs *j)
{
	return j->seconds > 0 && j->tier->share[PLAN_SINGLE] != 0;
}

/* The list of which least of its share was used; -1: none is left. */
static int choose_class(const struct jobs *j, struct shared *s)
{
	double least = 0;
	int best = -1;

	for (int c = 0; c < PLAN_CLASSES; c++) {
		double used = (double)__atomic_load_n(&s->used_us[c], __ATOMIC_RELAXED);
		unsigned share = j->tier->share[c];

		if (in_shares(j) ? share == 0 : c == PLAN_LONGER && best >= 0)
			continue;
		if (__atomic_load_n(&s->next[c], __ATOMIC_RELAXED) >= plan_count(j->tier, c))
			continue;
		if (!in_shares(j))
			return c;
		if (best < 0 || used / share < least) {
			least = used / share;
			best = c;
		}
	}
	return best;
}

static void work(const struct jobs *j, struct shared *s, struct tally *tally, double until)
{
	struct runner *r = runner_create(j->tier, j->seed, j->only, tally);
	int c;

	tally->until = in_shares(j) ? until : 0;
	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED) && (c = choose_class(j, s)) >= 0) {
		double began = jobs_now();
		struct planned p;
		uint64_t i;

		if ((c == PLAN_LONGER || in_shares(j)) && began >= until)
			break;
		i = __atomic_fetch_add(&s->next[c], 1, __ATOMIC_RELAXED);
		if (i >= plan_count(j->tier, (enum plan_class)c))
			continue;
		plan_make(j->tier, (enum plan_class)c, i, j->seed, &p);
		if (!run_planned(r, &p) &&
		    __atomic_add_fetch(&s->failures, 1, __ATOMIC_RELAXED) >= j->failures_max)
			__atomic_store_n(&s->stop, true, __ATOMIC_RELAXED);
		__atomic_fetch_add(&s->used_us[c], (uint64_t)((jobs_now() - began) * 1e6),
				   __ATOMIC_RELAXED);
	}
	runner_destroy(r);
}

/* ---- in the parent ------------------------------------------------------------------------------- */

static void start(struct jobs *j, struct shared *s, struct worker *w, struct tally *tally,
		  double until)
{
	fflush(stdout);
	w->pid = fork();
	if (w->pid < 0)
		abort();
	if (w->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		work(j, s, tally, until);
		fflush(stdout);
		_exit(0);
	}
	w->since = jobs_now();
}

static void died(struct shared *s, struct tally *t, const char *how, int number)
{
	char id[ID_MAX * LEVELS];

	tally_where(t, id, sizeof id);
	printf("FAILED %s: %s %d\n  again: crash --replay '%s' %s %s\n",
	       t->busy ? t->label : "at the end", how, number, t->label, id, t->tier);
	fflush(stdout);
	t->failures++;
	s->failures++;
	s->stop = true;
}

static void look_after(struct shared *s, struct worker *w, struct tally *t)
{
	uint64_t progress = t->total.images + t->kills + t->total.points;
	int status;

	if (waitpid(w->pid, &status, WNOHANG) == w->pid) {
		w->pid = 0;
		if (WIFSIGNALED(status))
			died(s, t, "killed by signal", WTERMSIG(status));
		else if (WEXITSTATUS(status) != 0)
			died(s, t, "ended with status", WEXITSTATUS(status));
		return;
	}
	if (progress != w->seen) {
		w->seen = progress;
		w->since = jobs_now();
	} else if (jobs_now() - w->since > STANDS_STILL_S) {
		kill(w->pid, SIGKILL);
		waitpid(w->pid, &status, 0);
		w->pid = 0;
		died(s, t, "stands still, seconds:", (int)STANDS_STILL_S);
	}
}

static void add(struct counters *to, const struct counters *from)
{
	to->points += from->points;
	to->images += from->images;
	to->distinct += from->distinct;
	to->compared += from->compared;
	to->nested += from->nested;
}

static void add_tally(struct tally *sum, const struct tally *t)
{
	add(&sum->total, &t->total);
	for (unsigned i = 0; i <= OP_KINDS; i++) {
		add(&sum->by_op[i], &t->by_op[i]);
		for (unsigned k = 0; k < TALLY_STATES; k++)
			sum->matrix[i][k] += t->matrix[i][k];
	}
	for (unsigned i = 0; i < TALLY_FENCES; i++)
		sum->by_fence[i] += t->by_fence[i];
	for (unsigned i = 0; i < LEVELS; i++)
		sum->by_level[i] += t->by_level[i];
	for (unsigned i = 0; i < PLAN_CLASSES; i++)
		sum->done[i] += t->done[i];
	sum->lane_changed += t->lane_changed;
	sum->meetings += t->meetings;
	sum->cut += t->cut;
	sum->kills += t->kills;
	sum->kill_operations += t->kill_operations;
	sum->failures += t->failures;
}

static bool anybody(const struct worker *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (w[i].pid)
			return true;
	return false;
}

void jobs_run(struct jobs *j, struct tally *sum)
{
	static const struct timespec nap = {.tv_nsec = 50000000};
	size_t bytes = sizeof(struct shared) + j->workers * sizeof(struct tally);
	struct shared *s = shared_memory(bytes);
	struct worker *w = calloc(j->workers, sizeof *w);
	double until = jobs_now() + j->seconds;

	if (w == NULL)
		abort();
	for (unsigned i = 0; i < j->workers; i++)
		start(j, s, &w[i], &s->tally[i], until);
	while (anybody(w, j->workers)) {
		nanosleep(&nap, NULL);
		for (unsigned i = 0; i < j->workers; i++)
			if (w[i].pid)
				look_after(s, &w[i], &s->tally[i]);
	}
	for (unsigned i = 0; i < j->workers; i++)
		add_tally(sum, &s->tally[i]);
	j->whole = true;
	for (int c = 0; c < PLAN_LONGER; c++)
		j->whole &= s->next[c] >= plan_count(j->tier, (enum plan_class)c);
	free(w);
	munmap(s, bytes);
}
