/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * meet.c - two threads at once, step by step; see explore.h.
 *
 * The second thread is a context of its own on the same processor: it is entered from the hook of the
 * first one's K-th step, and left when it has returned or waits for a lock that the first one holds.
 * So the same K gives the same order of all stores, always.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "explore_int.h"
#include "fs/env.h"

#define STACK_BYTES (1u << 20)
#define WAITS_MAX   10000u

/* What the threads do not share. */
struct self {
	struct adit_op *under_way;
	int64_t now;
	uint32_t lane, thread;
};

struct meeting {
	struct explorer *x;
	struct model *m;
	const struct op *second;
	struct expected *change;  /* of the one that changes something, */
	bool change_is_second;	  /* and which that is */
	const struct model *idle; /* expected while the change is not under way */
	int number;		  /* of the operation, for ids */
	uint64_t steps, at;
	bool begun, done, inside; /* of the second; inside: it runs now */
	int64_t got;
	unsigned waits; /* since somebody went on */
	struct self self[2];
	ucontext_t first, other;
};

static void become(struct explorer *x, const struct self *s)
{
	adit__current_op = s->under_way;
	subject_now = s->now;
	subject_lane = s->lane;
	x->level[0].memory.thread = s->thread;
}

static struct self myself(const struct explorer *x)
{
	return (struct self){adit__current_op, subject_now, subject_lane,
			     x->level[0].memory.thread};
}

static void enter_second(struct meeting *t)
{
	t->self[0] = myself(t->x);
	t->inside = true;
	become(t->x, &t->self[1]);
	if (swapcontext(&t->first, &t->other))
		abort();
	t->self[1] = myself(t->x);
	t->inside = false;
	become(t->x, &t->self[0]);
}

static struct meeting *now_meeting;

/* A lock is held by the other one. */
static void blocked(void)
{
	struct meeting *t = now_meeting;

	if (++t->waits > WAITS_MAX) {
		/* Nobody can be stopped here; the parent says where this was. */
		static const char text[] = "crash: deadlock of two threads\n";

		if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
			_exit(4);
		_exit(3);
	}
	if (t->inside) {
		if (swapcontext(&t->other, &t->first))
			abort();
	} else if (t->begun && !t->done) {
		enter_second(t);
	}
}

static void second_main(void)
{
	struct meeting *t = now_meeting;
	struct level *l = &t->x->level[0];

	if (t->change_is_second) {
		t->x->before = &t->change->before;
		t->x->after = &t->change->after;
		l->in_flight = true;
	}
	t->got = subject_apply(&t->x->s, t->second, subject_now);
	if (t->change_is_second) {
		l->in_flight = false;
		if (expect_result(t->x, t->m, t->change, t->got))
			crash_point(l); /* it has returned, and the first is not yet through */
	}
	t->done = true;
	for (;;)
		if (swapcontext(&t->other, &t->first))
			abort();
}

void meet_step(struct explorer *x)
{
	struct meeting *t = x->meeting;

	t->waits = 0;
	if (t->inside || t->done)
		return;
	if (!t->begun) {
		if (++t->steps < t->at)
			return;
		t->begun = true;
		x->level[0].op = t->number;
		x->tally->meetings++;
	}
	enter_second(t);
}

static void *stack_of(struct meeting *t, void (*main)(void))
{
	void *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (stack == MAP_FAILED || getcontext(&t->other))
		abort();
	t->other.uc_stack.ss_sp = stack;
	t->other.uc_stack.ss_size = STACK_BYTES;
	makecontext(&t->other, main, 0);
	return stack;
}

/* Run both. What the first returns. */
static int64_t run_both(struct explorer *x, struct meeting *t, const struct op *first, int64_t now)
{
	void *stack = stack_of(t, second_main);
	int64_t got;

	now_meeting = t;
	x->meeting = t;
	subject_blocked = blocked;
	got = subject_apply(&x->s, first, now);
	while (t->begun && !t->done)
		blocked();
	subject_blocked = NULL;
	x->meeting = NULL;
	now_meeting = NULL;
	munmap(stack, STACK_BYTES);
	return got;
}

bool meet(struct explorer *x, struct model *m, const struct op *op, int number, int64_t now)
{
	const struct op *second = op + 1, *first = op + 2;
	bool change_is_second = second->kind != OP_CHECKPOINT;
	const struct op *change = change_is_second ? second : first;
	struct level *l = &x->level[0];
	struct meeting t = {.x = x,
			    .m = m,
			    .second = second,
			    .change_is_second = change_is_second,
			    .number = number,
			    .at = op->n[0]};
	struct expected e;
	int64_t got;

	if (!sync_volatile(x))
		return false;
	expect(x, m, change, now + (change_is_second ? 1 : 2), &e);
	t.change = &e;
	t.self[1] =
		(struct self){NULL, now + 1, subject_lane ^ 1, (subject_lane ^ 1) % MEMORY_THREADS};
	l->memory.stamp++;
	l->point = 0;
	l->op = -1;
	l->in_flight = !change_is_second;
	if (change_is_second)
		x->before = x->after = &e.before;
	got = run_both(x, &t, first, now + 2);
	l->in_flight = false;
	if (!t.begun)
		x->met = false;
	if (t.begun && !x->failed && !change_is_second)
		(void)expect_result(x, m, &e, got);
	if (t.begun && !x->failed && (change_is_second ? got : t.got) != 0)
		explorer_fail(x, 0, "checkpoint: %lld",
			      (long long)(change_is_second ? got : t.got));
	if (t.begun && !x->failed && x->s.reports)
		explorer_fail(x, 0, "complained: %s", x->s.report);
	if (t.begun && !x->failed && sync_volatile(x))
		crash_point(l);
	expect_finish(&e);
	return t.begun && !x->failed;
}
