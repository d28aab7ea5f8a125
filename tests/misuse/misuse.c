/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * misuse - is persistent memory used as it must be: every store flushed and fenced when it has to be,
 * nothing flushed in vain, no store past the one header that records (watch.h, lines.h).
 *
 *	misuse				self-test, mkfs, fsck, singles, a sample of pairs, chance
 *	misuse --list			states and operations
 *	misuse --only TEXT		workloads whose label contains it
 *	misuse --replay LABEL		one workload: "dirty: rename /f /d/f2 0; unlink /o"
 *	ADIT_SECONDS=n			all pairs, then longer lists, until n seconds have passed
 *	ADIT_SEED=n			what chance begins with
 *
 * States and operations are those of tests/crash. Each workload is one of: the operations, a checkpoint,
 * close; or the operations, the process dies, open, close.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/check.h"
#include "fs/env.h"
#include "proof.h"
#include "selftest.h"
#include "stores.h"
#include "watch.h"
#include "workload.h"

#define POOL_BYTES   (4ull << 20)
#define LARGE_BYTES  (4ull << 30)
#define QUICK_PAIRS  1500
#define QUICK_LONG   60
#define FAILURES_MAX 20

static struct watch watch;
static struct state *states;   /* made when first used */
static uint64_t (*matrix)[64]; /* [operation kind][state]: calls */
static const char *only;
static unsigned failures;
static uint64_t workloads;
static char label[8 * OP_PATH_MAX]; /* of the workload that runs */
static char call[200];		    /* in it */
static double began, until;

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One workload: its first few broken rules are printed. */
static void on_broken(void *arg, const char *what)
{
	const struct watch *w = arg;

	if (w->failures == 1) {
		failures++;
		printf("FAILED %s\n  again: misuse --replay '%s'\n", label, label);
	}
	if (w->failures <= 6)
		printf("  %s: %s\n", call, what);
	if (w->failures == 7)
		printf("  ...\n");
}

static void now_calling(const char *text)
{
	snprintf(call, sizeof call, "%.190s", text);
}

/* ---- the life of a pool -------------------------------------------------------------------- */

static struct state *state_of(unsigned i)
{
	const struct workload_state *w = &workload_states[i];
	struct op *ops;
	int n;

	if (states[i].image)
		return &states[i];
	n = workload_parse(w->setup, &ops);
	if (n < 0 || !state_make(&states[i], POOL_BYTES, ops, n, &w->special)) {
		fprintf(stderr, "misuse: state %s cannot be made\n", w->name);
		exit(2);
	}
	free(ops);
	return &states[i];
}

/* False: it failed. */
static bool open_it(void)
{
	int err;

	now_calling("open");
	watch.opens = true;
	err = subject_open(&watch.s);
	watch.opens = false;
	if (err) {
		failures++;
		printf("FAILED %s: open: %s\n", label, watch.s.report);
		return false;
	}
	watch_opened(&watch);
	return true;
}

static void close_it(void)
{
	now_calling("close");
	if (subject_close(&watch.s) != 0) {
		failures++;
		printf("FAILED %s: close: %s\n", label, watch.s.report);
	}
	watch_quiet(&watch);
}

static void apply(const struct op *op, int64_t now, unsigned state)
{
	char text[OP_TEXT_MAX];

	op_print(op, text, sizeof text);
	now_calling(text);
	(void)subject_apply(&watch.s, op, now);
	if (op->kind == OP_CHECKPOINT)
		watch_quiet(&watch);
	else
		watch_returned(&watch);
	matrix[op->kind][state]++;
}

static void run_ops(unsigned state, const struct op *ops, int n, bool dies)
{
	static const struct op checkpoint = {.kind = OP_CHECKPOINT};
	struct state *st = state_of(state);

	watch_begin(&watch, st->image);
	subject_lane = st->lane;
	subject_full_after = st->full_after;
	subject_full_room = st->full_room;
	subject_now = st->now;
	watch.s.quiet = true;
	watch_start(&watch);
	if (open_it()) {
		for (int i = 0; i < n; i++)
			apply(&ops[i], st->now + 1 + i, state);
		if (dies) {
			subject_abandon(&watch.s);
			dies = open_it();
		} else {
			apply(&checkpoint, st->now + 1 + n, state);
		}
		if (watch.s.fs)
			close_it();
	}
	watch_stop();
	subject_full_after = 0;
	workloads++;
}

static void run(unsigned state, const char *text, bool dies)
{
	const struct workload_state *w = &workload_states[state];
	char all[sizeof label];
	struct op *ops;
	int n;

	snprintf(label, sizeof label, "%s: %s%s", w->name, text, dies ? "; dies" : "");
	if (only && !strstr(label, only))
		return;
	snprintf(all, sizeof all, "%s; %s", w->before, text);
	n = workload_parse(all, &ops);
	if (n < 0) {
		fprintf(stderr, "misuse: what is \"%s\"?\n", all);
		exit(2);
	}
	run_ops(state, ops, n, dies);
	free(ops);
}

/* ---- workloads ------------------------------------------------------------------------------- */

static void singles(void)
{
	for (unsigned s = 0; s < workload_states_count; s++)
		for (unsigned o = 0; o < workload_ops_count && failures < FAILURES_MAX; o++)
			run(s, workload_ops[o].text, (s + o) % 3 == 0);
}

static const char *choose_op(uint64_t *rng)
{
	return workload_ops[op_random(rng) % workload_ops_count].text;
}

static const char *choose_lane(uint64_t *rng)
{
	static const char *const lanes[] = {"", "", "lane 1; ", "lane 0; "};

	return lanes[op_random(rng) % 4];
}

static void pairs_by_chance(uint64_t *rng, unsigned count)
{
	char text[2 * OP_PATH_MAX];

	for (unsigned i = 0; i < count && failures < FAILURES_MAX; i++) {
		unsigned s = (unsigned)(op_random(rng) % workload_states_count);

		snprintf(text, sizeof text, "%s; %s%s", choose_op(rng), choose_lane(rng),
			 choose_op(rng));
		run(s, text, op_random(rng) % 3 == 0);
	}
}

/* All of them, from one by chance on: several runs see several parts. */
static void all_pairs(uint64_t *rng)
{
	uint64_t n = workload_ops_count, total = n * n * workload_states_count;
	uint64_t at = op_random(rng) % total;
	char text[2 * OP_PATH_MAX];

	for (uint64_t i = 0; i < total && seconds() < until && failures < FAILURES_MAX; i++) {
		/* Next to each other: different states. */
		uint64_t k = (at + i) % total, pair = k / workload_states_count;

		snprintf(text, sizeof text, "%s; %s", workload_ops[pair / n].text,
			 workload_ops[pair % n].text);
		run((unsigned)(k % workload_states_count), text, op_random(rng) % 3 == 0);
	}
}

static void longer(uint64_t *rng, uint64_t count)
{
	for (uint64_t i = 0; i < count || (count == 0 && seconds() < until); i++) {
		unsigned s = (unsigned)(op_random(rng) % workload_states_count);
		unsigned n = 3 + (unsigned)(op_random(rng) % 60);
		char text[sizeof label];
		size_t at = 0;

		text[0] = '\0';
		for (unsigned k = 0; k < n && at + OP_TEXT_MAX / 20 < sizeof text; k++)
			at += (size_t)snprintf(text + at, sizeof text - at, "%s%s%s", k ? "; " : "",
					       choose_lane(rng), choose_op(rng));
		run(s, text, op_random(rng) % 2);
		if (failures >= FAILURES_MAX)
			return;
	}
}

/* ---- pools made, mended ------------------------------------------------------------------------ */

static void make(const char *name, const uint8_t *over)
{
	snprintf(label, sizeof label, "%s", name);
	if (only && !strstr(label, only))
		return;
	watch_begin(&watch, state_of(0)->image);
	watch_begin(&watch, over);
	watch_start(&watch);
	now_calling("mkfs");
	watch.opens = true; /* at its end */
	if (subject_mkfs(&watch.s, 2) != 0) {
		failures++;
		printf("FAILED %s\n", label);
	}
	watch.opens = false;
	watch_quiet(&watch);
	if (open_it())
		close_it();
	watch_stop();
	workloads++;
}

static void drop_line(void *ctx, const char *line)
{
	(void)ctx, (void)line;
}

static void drop_broken(void *arg, const char *what)
{
	(void)arg, (void)what;
}

/* Groups so large that one has two bitmap blocks, whose seals share a line. Too large to compare whole. */
static void large_groups(void)
{
	static const char list[] =
		"create /a 0644; fallocate /a 0 0 200000000; write /a 100000000 9000; checkpoint;"
		"truncate /a 50000000; create /b 0644; fallocate /b 1 0 180000000; checkpoint;"
		"unlink /a; unlink /b; checkpoint";
	static struct watch large;
	struct op *ops;
	int n;

	snprintf(label, sizeof label, "large groups");
	if (only && !strstr(label, only))
		return;
	n = workload_parse(list, &ops);
	watch_init(&large, LARGE_BYTES);
	large.compares = false;
	large.failed = drop_broken; /* where its volatile areas are is not known before */
	watch_begin(&large, NULL);
	watch_start(&large);
	if (n < 0 || subject_mkfs(&large.s, 2) != 0 || subject_open(&large.s) != 0)
		failures++;
	watch_opened(&large);
	large.failed = on_broken;
	large.arg = &large;
	large.failures = 0;
	for (int i = 0; i < n; i++) {
		char text[OP_TEXT_MAX];

		op_print(&ops[i], text, sizeof text);
		now_calling(text);
		failures += subject_apply(&large.s, &ops[i], 1 + i) < 0;
		watch_returned(&large);
	}
	now_calling("close");
	failures += subject_close(&large.s) != 0;
	watch_quiet(&large);
	watch_stop();
	watch_finish(&large);
	free(ops);
	workloads++;
}

/* Some bytes of the pool are changed; the repair must leave nothing that is not durable. */
static void mend(unsigned state, uint64_t seed)
{
	struct state *st = state_of(state);
	uint8_t *image;
	struct adit_check_options o = {.flags = ADIT_CHECK_REPAIR};
	struct adit_check_result res;
	struct adit_env env = adit__env;
	struct adit_reporter silent = {.line = drop_line};
	uint64_t rng = seed;
	int err;

	snprintf(label, sizeof label, "fsck %s %llu", workload_states[state].name,
		 (unsigned long long)seed);
	if (only && !strstr(label, only))
		return;
	image = malloc(POOL_BYTES);
	if (!image)
		abort();
	memcpy(image, st->image, POOL_BYTES);
	for (unsigned i = 0; i < 6; i++) {
		uint64_t at = 4096 * (op_random(&rng) % (POOL_BYTES / 4096));

		for (unsigned k = 0; k < 200 && image[at] == 0; k++)
			at = 4096 * (op_random(&rng) % (POOL_BYTES / 4096));
		image[at + op_random(&rng) % (i % 2 ? 300 : 4096)] ^=
			(uint8_t)(1u << op_random(&rng) % 8);
	}
	watch_begin(&watch, st->image);
	watch_begin(&watch, image);
	watch_start(&watch);
	now_calling("fsck -y");
	watch.repairs = watch.opens = true;
	err = adit__check_media(&watch.s.pm, &env, &silent, &o, &res);
	matrix[OP_KINDS][state] += err == 0 && res.fixed > 0;
	watch_quiet(&watch);
	watch.repairs = watch.opens = false;
	watch_stop();
	free(image);
	workloads++;
}

static void replay(const char *text)
{
	char name[100], list[sizeof label], *colon, *dies;
	unsigned long long seed;

	if (strncmp(text, "mkfs", 4) == 0) {
		make(text, strstr(text, "over") ? state_of(0)->image : NULL);
		return;
	}
	for (unsigned s = 0; s < workload_states_count; s++) {
		if (sscanf(text, "fsck %99s %llu", name, &seed) == 2 &&
		    strcmp(name, workload_states[s].name) == 0)
			mend(s, seed);
		snprintf(list, sizeof list, "%s", text);
		colon = strchr(list, ':');
		if (!colon)
			continue;
		*colon = '\0';
		dies = strstr(colon + 1, "; dies");
		if (dies)
			*dies = '\0';
		if (strcmp(list, workload_states[s].name) == 0)
			run(s, colon + 1, dies != NULL);
	}
}

/* ---- results -------------------------------------------------------------------------------------- */

static void summary(void)
{
	const struct lines *l = &watch.lines;

	printf("misuse: %u mistakes made on purpose, all of them seen but for the failures; %llu "
	       "stores of the compiled "
	       "core followed\n",
	       selftest_count(), (unsigned long long)stores_seen());
	printf("misuse: %llu workloads, %llu calls looked at; %llu stores, %llu non-temporal, %llu "
	       "lines flushed, "
	       "%llu fences; %llu lines allowed by the table; in %.1f s: %u failures\n",
	       (unsigned long long)workloads, (unsigned long long)watch.calls,
	       (unsigned long long)l->stores, (unsigned long long)l->nts,
	       (unsigned long long)l->flushed, (unsigned long long)l->fences,
	       (unsigned long long)watch.allowed, seconds() - began, failures);
}

static void prove(struct proof *proof)
{
	const char *names[64];

	proof_count(proof, "workloads", workloads);
	proof_count(proof, "calls looked at", watch.calls);
	proof_count(proof, "mistakes made on purpose and seen", selftest_count());
	proof_count(proof,
		    "stores to the pool by the compiled core, each matched with a recorded one",
		    stores_seen());
	proof_count(proof, "stores", watch.lines.stores);
	proof_count(proof, "non-temporal stores", watch.lines.nts);
	proof_count(proof, "lines flushed", watch.lines.flushed);
	proof_count(proof, "fences", watch.lines.fences);
	proof_count(proof, "words left dirty, each named by a durable record above C",
		    watch.left_dirty);
	for (unsigned s = 0; s < workload_states_count; s++)
		names[s] = workload_states[s].name;
	proof_matrix(proof, "calls looked at, per operation and state", names,
		     workload_states_count);
	for (unsigned k = 0; k < OP_KINDS; k++)
		proof_row(proof, op_word((enum op_kind)k), matrix[k]);
	proof_row(proof, "fsck -y", matrix[OP_KINDS]);
	proof_note(proof,
		   "one thread; what several do to one line is left to the thread sanitizer");
	proof_note(proof, "allowed: one fence a call with nothing to wait for, where a checkpoint "
			  "in the middle of the "
			  "call has fenced its data already; fsck -y writes a mended bitmap block "
			  "back whole");
	proof_end(proof, failures);
}

static void everything(uint64_t *rng)
{
	make("mkfs", NULL);
	make("mkfs over a pool", state_of(0)->image);
	large_groups();
	singles();
	failures += selftest(&watch, state_of(0)->image);
	for (uint64_t i = 0; i < 200 && failures < FAILURES_MAX; i++)
		mend((unsigned)(i % workload_states_count), op_random(rng) % 1000000);
	pairs_by_chance(rng, QUICK_PAIRS);
	longer(rng, QUICK_LONG);
	if (until > seconds()) {
		all_pairs(rng);
		longer(rng, 0);
	}
}

int main(int argc, char **argv)
{
	const char *limit = getenv("ADIT_SECONDS"), *chance = getenv("ADIT_SEED");
	uint64_t seed = chance ? strtoull(chance, NULL, 0) : 1, rng = seed;
	struct proof *proof;

	setvbuf(stdout, NULL, _IOLBF, 0);
	began = seconds();
	until = began + (limit ? strtod(limit, NULL) : 0);
	proof = proof_begin("misuse", "R8",
			    "After every call, every line of the pool: stored, flushed and fenced "
			    "as it must be, and by nothing but the one header");
	proof_seed(proof, seed);
	states = calloc(workload_states_count, sizeof *states);
	matrix = calloc(OP_KINDS + 1, sizeof *matrix);
	if (!states || !matrix || workload_states_count > 64)
		abort();
	if (argc > 1 && strcmp(argv[1], "--list") == 0) {
		for (unsigned i = 0; i < workload_states_count; i++)
			printf("state %s\n", workload_states[i].name);
		for (unsigned i = 0; i < workload_ops_count; i++)
			printf("op    %s\n", workload_ops[i].text);
		return 0;
	}
	watch_init(&watch, POOL_BYTES);
	watch.failed = on_broken;
	watch.arg = &watch;
	if (argc > 2 && strcmp(argv[1], "--only") == 0)
		only = argv[2];
	if (argc > 2 && strcmp(argv[1], "--replay") == 0)
		replay(argv[2]);
	else
		everything(&rng);
	summary();
	prove(proof);
	watch_finish(&watch);
	return failures != 0;
}
