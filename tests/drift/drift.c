/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * drift - one pool, mixed operations, and the power fails again and again: does anything add up?
 *
 * Every thousand or so operations the power fails at some store, flush or fence: of each line that was not
 * durable, the memory keeps as much as chance wants (tests/crash/memory.h). The pool is opened, which recovers it;
 * of these recoveries some are cut off in the same way, up to three times. Then the whole tree must equal the
 * model, before or after the operation that was under way, the check must find nothing, and the same pool goes
 * on: what a failure leaves behind, the thousandth one finds.
 *
 *	drift			ADIT_SECONDS (5) of that; ADIT_SEED
 *	drift SEED FAILURES	so many failures
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chance.h"
#include "core/check.h"
#include "media/record.h"
#include "memory.h"
#include "proof.h"
#include "subject.h"

#define POOL_BYTES	(8ull << 20)
#define NODES_MAX	600 /* then it is time to delete */
#define EVENTS_MAX	60  /* a failure is at one of so many */
#define RECOVERY_EVENTS 400

struct drift {
	struct subject s;
	struct memory memory;
	struct model m;
	struct chance chance;
	struct area vol[3];
	uint8_t *image;
	uint64_t seed;
	int64_t now;
	bool deleting;
	/* The failure to come: at which event from now, 0: none. */
	uint64_t at, events;
	bool failed;  /* `image` is what is left */
	struct op op; /* the last one */
	uint64_t failures, inside, happened, torn, in_recovery, operations, refused, full;
};

static struct drift d;
static struct proof *proof;

static void prove(unsigned failures)
{
	proof_seed(proof, d.seed);
	proof_count(proof, "power failures", d.failures);
	proof_count(proof, "with an operation under way", d.inside);
	proof_count(proof, "of these it had happened", d.happened);
	proof_count(proof, "of these it was torn, as an overwrite in place may be", d.torn);
	proof_count(proof, "power failures in recovery, besides", d.in_recovery);
	proof_count(proof, "operations", d.operations);
	proof_count(proof, "operations refused for space", d.full);
	proof_count(proof, "whole trees compared, and checks that found nothing", d.failures);
	proof_end(proof, failures);
}

static void fail(const char *what, const char *text)
{
	char op[OP_TEXT_MAX];

	op_print(&d.op, op, sizeof op);
	printf("FAILED: seed %llu, failure %llu, operation %lld (%.300s): %s: %s\n",
	       (unsigned long long)d.seed, (unsigned long long)d.failures, (long long)d.now, op,
	       what, text);
	printf("  again: drift %llu %llu\n", (unsigned long long)d.seed,
	       (unsigned long long)d.failures + 1);
	prove(1);
	exit(1);
}

static uint64_t below(uint64_t n)
{
	return chance_below(&d.chance, n);
}

/* ---- the power fails ------------------------------------------------------------------------ */

/* How much of a line's pending stores is left. */
static void put_line(uint32_t n, unsigned luck)
{
	const struct line *l = &d.memory.line[n];
	uint8_t *at = d.image + (uint64_t)n * LINE_BYTES;

	switch (luck) {
	case 0: /* nothing */
		break;
	case 1: /* everything */
		memory_line_prefix(&d.memory, n, l->pending, at);
		break;
	case 2: /* all of it, or nothing */
		memory_line_prefix(&d.memory, n, below(2) ? l->pending : 0, at);
		break;
	case 3: /* nearly everything */
		memory_line_prefix(&d.memory, n, below(8) ? l->pending : 0, at);
		break;
	default:
		if (l->all_nt && l->pending <= 64)
			memory_line_subset(&d.memory, n, op_random(&d.chance.rng), at);
		else
			memory_line_prefix(&d.memory, n, (uint32_t)below(l->pending + 1ull), at);
		break;
	}
}

static void power_fails(void)
{
	unsigned luck = (unsigned)below(7);

	memcpy(d.image, d.memory.durable, POOL_BYTES);
	for (uint32_t i = 0; i < d.memory.actives; i++)
		put_line(d.memory.active[i], luck);
	/* Volatile areas may hold what they held at any time. */
	for (unsigned i = 0; i < 3; i++)
		if (below(2))
			memcpy(d.image + d.vol[i].offset, d.s.pm.base + d.vol[i].offset,
			       d.vol[i].end - d.vol[i].offset);
	d.failed = true;
}

static void event(void)
{
	if (d.at != 0 && ++d.events == d.at)
		power_fails();
}

static void on_store(struct adit_pm *pm, const void *dst, size_t len)
{
	memory_store(&d.memory, (uint64_t)((const uint8_t *)dst - pm->base), dst, len, false);
	event();
}

static void on_nt(struct adit_pm *pm, const void *dst, size_t len)
{
	memory_store(&d.memory, (uint64_t)((const uint8_t *)dst - pm->base), dst, len, true);
	event();
}

static void on_flush(struct adit_pm *pm, const void *addr, size_t len)
{
	memory_flush(&d.memory, (uint64_t)((const uint8_t *)addr - pm->base), len);
	event();
}

static void on_fence(struct adit_pm *pm)
{
	(void)pm;
	memory_fence(&d.memory, NULL, NULL);
	event();
}

static struct adit_record_hooks hooks = {on_store, on_nt, on_flush, on_fence};

/* Nothing else, and all of that durable. */
static void memory_holds(const uint8_t *pool)
{
	if (d.memory.durable)
		memory_finish(&d.memory);
	memory_init(&d.memory, POOL_BYTES);
	memory_patch(&d.memory, 0, pool, POOL_BYTES);
}

/* The image is the pool now, and it is opened; that may be cut off as well. */
static void recover(void)
{
	for (unsigned round = 0;; round++) {
		int err;

		memcpy(d.s.pm.base, d.image, POOL_BYTES);
		memory_holds(d.image);
		d.failed = false;
		d.events = 0;
		d.at = round < 3 && below(3) == 0 ? 1 + below(RECOVERY_EVENTS) : 0;
		err = subject_open(&d.s);
		d.at = 0;
		if (err)
			fail("open", d.s.report);
		if (!d.failed)
			return;
		d.in_recovery++;
		subject_abandon(&d.s);
	}
}

/* ---- between failures -------------------------------------------------------------------------- */

/* Deleting is a choice of what chance offers. */
static void choose(struct op *op)
{
	if (d.m.used > NODES_MAX || d.full > d.refused) {
		d.deleting = true;
		d.refused = d.full;
	} else if (d.m.used < NODES_MAX / 4) {
		d.deleting = false;
	}
	for (unsigned tries = 0; tries < 100; tries++) {
		chance_op(&d.chance, op);
		if (!d.deleting || op->kind == OP_UNLINK || op->kind == OP_RMDIR)
			return;
		if (op->kind == OP_IFLAGS) {
			op->n[0] = 0;
			return;
		}
	}
}

static void apply_to_model(int64_t got)
{
	char text[100];
	int64_t want;

	if (got == -ENOSPC) {
		d.full++; /* nothing has happened */
		return;
	}
	want = model_apply(&d.m, &d.op, d.now);
	snprintf(text, sizeof text, "the core says %lld, the model %lld", (long long)got,
		 (long long)want);
	if (got != want)
		fail("result", text);
}

static void work(uint64_t operations)
{
	for (uint64_t i = 0; i < operations; i++) {
		choose(&d.op);
		d.operations++;
		apply_to_model(subject_apply(&d.s, &d.op, ++d.now));
	}
}

/* ---- one failure ---------------------------------------------------------------------------------- */

static bool equals(const struct model *m, const struct model *older, const struct model_torn *torn,
		   struct difference *diff)
{
	struct model now;
	bool equal;

	model_clone(&now, m);
	model_restart(&now);
	if (older) {
		struct model before;

		model_clone(&before, older);
		model_restart(&before);
		equal = compare(&d.s, &now, &before, torn, diff) == 0;
		model_finish(&before);
	} else {
		equal = compare(&d.s, &now, NULL, NULL, diff) == 0;
	}
	model_finish(&now);
	return equal;
}

/* d.m: with the operation under way; which is it? Afterwards d.m is what the pool is. */
static void decide(const struct model *before, struct model_torn torn, bool inside)
{
	struct difference first, second;

	d.inside += inside;
	if (equals(&d.m, NULL, NULL, &first)) {
		d.happened += inside;
	} else if (!inside) {
		fail("returned, but", first.text);
	} else if (equals(before, NULL, NULL, &second)) {
		model_finish(&d.m);
		model_clone(&d.m, before);
	} else if (torn.node != MODEL_NONE && equals(&d.m, before, &torn, &second)) {
		d.torn++;
		/* Once more, and it is whole; by name only: open files are gone. */
		if (d.op.path[0] == '@' || subject_apply(&d.s, &d.op, d.now) < 0)
			fail("cannot be written again", first.text);
	} else {
		fail("neither after nor before", first.text);
	}
	model_restart(&d.m);
}

static void look(void)
{
	char text[400] = "";

	if (adit__check_quiet(d.s.fs, text, sizeof text) != 0)
		fail("check", text);
	if (d.s.reports)
		fail("it complained", d.s.report);
}

static void one_failure(void)
{
	struct model before;
	struct model_torn torn;
	bool inside;
	int64_t got;

	work(100 + below(1000));
	d.events = 0;
	d.at = 1 + below(EVENTS_MAX);
	/* Now and then between two operations. */
	inside = below(10) != 0;
	for (;;) {
		do
			choose(&d.op);
		while (d.op.path[0] == '@');
		model_clone(&before, &d.m);
		torn = model_may_tear(&d.m, &d.op);
		d.operations++;
		got = subject_apply(&d.s, &d.op, ++d.now);
		if (d.failed)
			break;
		apply_to_model(got);
		model_finish(&before);
	}
	d.at = 0;
	if (!inside)
		power_fails();
	apply_to_model(got);
	subject_abandon(&d.s);
	recover();
	decide(&before, torn, inside);
	look();
	model_finish(&before);
	d.failures++;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void begin(uint64_t seed)
{
	d.seed = seed;
	d.chance =
		(struct chance){.m = &d.m, .rng = seed, .dirs = 4, .files = 30, .greedy = seed % 2};
	d.image = malloc(POOL_BYTES);
	subject_init(&d.s, POOL_BYTES);
	d.s.quiet = true;
	model_init(&d.m, 0755);
	if (!d.image || subject_mkfs(&d.s, 2) || !subject_volatile(&d.s, d.vol))
		abort();
	memory_holds(d.s.pm.base);
	adit__record = &hooks;
	if (subject_open(&d.s))
		fail("open", d.s.report);
}

int main(int argc, char **argv)
{
	const char *limit = getenv("ADIT_SECONDS"), *chance = getenv("ADIT_SEED");
	uint64_t seed = chance ? strtoull(chance, NULL, 0) : 1;
	uint64_t most = argc > 2 ? strtoull(argv[2], NULL, 0) : UINT64_MAX;
	double began = seconds(), until = began + (limit ? strtod(limit, NULL) : 5);

	setvbuf(stdout, NULL, _IOLBF, 0);
	proof = proof_begin(
		"drift", "R26",
		"one pool, mixed operations, thousands of power failures one after the other, "
		"some of them in recovery: whole tree and check after each");
	begin(argc > 1 ? strtoull(argv[1], NULL, 0) : seed);
	while (d.failures < most && (most != UINT64_MAX || seconds() < until))
		one_failure();
	adit__record = NULL;
	printf("drift: %llu power failures (%llu with an operation under way, %llu more in "
	       "recovery) in one pool, %llu "
	       "operations (%llu refused for space), in %.1f s: 0 failures\n",
	       (unsigned long long)d.failures, (unsigned long long)d.inside,
	       (unsigned long long)d.in_recovery, (unsigned long long)d.operations,
	       (unsigned long long)d.full, seconds() - began);
	prove(0);
	model_finish(&d.m);
	memory_finish(&d.memory);
	subject_finish(&d.s);
	free(d.image);
	return 0;
}
