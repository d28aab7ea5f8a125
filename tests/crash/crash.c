/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crash - every crash, by enumeration (explore.h), over the tables of workload.c; and kill points
 * (kill.h).
 *
 *	crash				the quick tier: singles, a sample of pairs, mkfs, kills
 *	crash --list			states and operations
 *	crash --only TEXT		workloads whose label contains it
 *	crash --replay LABEL ID TIER	one image of a failure
 *	ADIT_TIER=soak|full|weak|inorder	more images a point, or other memories
 *	ADIT_SECONDS=n			afterwards longer lists by chance, until n seconds have passed
 *	ADIT_SEED=n			what chance begins with
 *	ADIT_CRASH_IMAGE=path		a replay leaves its image there, before recovery
 *
 * A label is a state and operations: "dirty: rename /f /d/f2 0; unlink /o".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kill.h"
#include "workload.h"

#define POOL_BYTES (4ull << 20)
#define QUICK_PAIRS 120

static const struct tier tiers[] = {
	{"quick", {{128, 24, 140, false}, {32, 12, 40, false}, {8, 4, 10, false}}, {400, 60, 0}, false},
	{"soak", {{65536, 4096, 100000, false}, {256, 64, 400, false}, {32, 16, 60, false}},
	 {200, 50, 0}, false},
	/* Between the two: minutes. */
	{"full", {{4096, 512, 8000, false}, {64, 24, 100, false}, {16, 8, 20, false}}, {300, 60, 0}, false},
	/* Other memories: lines whose stores have no order, and caches that are flushed on failure. */
	{"weak", {{256, 150, 500, true}, {32, 12, 40, true}, {8, 4, 10, true}}, {400, 60, 0}, false},
	{"inorder", {{1, 0, 4, false}, {1, 0, 4, false}, {1, 0, 4, false}}, {800, 200, 0}, true},
};

static struct explorer *explorer;
static const struct tier *tier;
static struct state *states; /* made when first used */
static const char *only;
static unsigned failures;
static double until;

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static const struct tier *tier_named(const char *name)
{
	for (unsigned i = 0; i < sizeof tiers / sizeof *tiers; i++)
		if (strcmp(tiers[i].name, name) == 0)
			return &tiers[i];
	fprintf(stderr, "crash: no tier %s\n", name);
	exit(2);
}

static struct state *state_of(unsigned i)
{
	const struct workload_state *w = &workload_states[i];
	struct op *ops;
	int n;

	if (states[i].image)
		return &states[i];
	n = workload_parse(w->setup, &ops);
	if (n < 0 || !state_make(&states[i], POOL_BYTES, ops, n, &w->special)) {
		fprintf(stderr, "crash: state %s cannot be made\n", w->name);
		exit(2);
	}
	free(ops);
	return &states[i];
}

/* 0: the open as well. */
static int first_looked(int n, int looked, const char *before)
{
	struct op *ops;
	int skip = workload_parse(before, &ops);

	free(ops);
	if (looked == 0)
		return 0;
	return n - looked < skip ? skip + 1 : n - looked + 1;
}

/* State i, then the operations; only the last `looked` of them are crashed in. */
static void run(unsigned i, const char *text, int looked, const char *id)
{
	const struct workload_state *w = &workload_states[i];
	char *all = malloc(strlen(w->before) + strlen(text) + 4);
	char *label = malloc(strlen(w->name) + strlen(text) + 4);
	struct op *ops;
	int n;

	if (all == NULL || label == NULL)
		abort();
	sprintf(all, "%s; %s", w->before, text);
	sprintf(label, "%s: %s", w->name, text);
	if (only == NULL || strstr(label, only)) {
		n = workload_parse(all, &ops);
		if (n < 0) {
			fprintf(stderr, "crash: what is \"%s\"?\n", all);
			exit(2);
		}
		if (!explore(explorer, state_of(i), ops, n, first_looked(n, looked, w->before), label, id))
			failures++;
		free(ops);
	}
	free(all);
	free(label);
}

static void singles(void)
{
	for (unsigned s = 0; s < workload_states_count; s++) {
		run(s, "", 0, NULL); /* what the state left in the log, and the open */
		for (unsigned o = 0; o < workload_ops_count && failures < 20; o++)
			run(s, workload_ops[o].text, 1, NULL);
	}
}

/* Now and then from another lane, so that recovery has to merge. */
static const char *choose_lane(uint64_t *rng)
{
	static const char *const lanes[] = {"", "", "lane 1; ", "lane 0; "};

	return lanes[op_random(rng) % 4];
}

static const char *choose_op(uint64_t *rng, bool core)
{
	unsigned i;

	do
		i = (unsigned)(op_random(rng) % workload_ops_count);
	while (core && !workload_ops[i].core);
	return workload_ops[i].text;
}

/* Crashed in the second one: the first is a single's. */
static void pairs(uint64_t *rng, uint64_t count)
{
	for (uint64_t i = 0; i < count && failures < 20; i++) {
		unsigned s = (unsigned)(op_random(rng) % workload_states_count);
		const char *first = choose_op(rng, tier == &tiers[0]);
		char text[2 * OP_PATH_MAX];

		snprintf(text, sizeof text, "%s; %s%s", first, choose_lane(rng),
			 choose_op(rng, tier == &tiers[0]));
		run(s, text, 1, NULL);
	}
}

static void join(char *text, size_t len, char part[][OP_PATH_MAX], unsigned n, unsigned without)
{
	size_t at = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < n && at < len; i++)
		if (i != without)
			at += (size_t)snprintf(text + at, len - at, "%s%s", at ? "; " : "", part[i]);
}

/* Operations by chance, crashed in all of them; of what fails, the shortest that still does. */
static void longer(uint64_t *rng, unsigned most)
{
	char part[8][OP_PATH_MAX], text[8 * OP_PATH_MAX];

	while (seconds() < until && failures < 20) {
		unsigned s = (unsigned)(op_random(rng) % workload_states_count);
		unsigned n = 2 + (unsigned)(op_random(rng) % (most - 1)), failed = failures;

		for (unsigned i = 0; i < n; i++)
			snprintf(part[i], sizeof part[i], "%s%s", choose_lane(rng),
				 choose_op(rng, false));
		join(text, sizeof text, part, n, n);
		run(s, text, 2 * (int)n, NULL);
		for (unsigned i = 0; failures > failed && i < n && n > 1;) {
			unsigned before = failures;

			join(text, sizeof text, part, n, i);
			run(s, text, 2 * (int)n, NULL);
			if (failures == before) {
				i++;
				continue;
			}
			memmove(part[i], part[i + 1], (n - i - 1) * sizeof part[0]);
			n--;
		}
	}
}

static void kills(bool all, uint64_t *rng)
{
	for (unsigned s = 0; s < workload_states_count && failures < 20; s++)
		for (unsigned o = 0; o < workload_ops_count; o++) {
			struct op *before, *op;
			int n;

			/* Quick: each operation in one state, each state with a few. */
			if (!all && op_random(rng) % 12)
				continue;
			n = workload_parse(workload_states[s].before, &before);
			(void)workload_parse(workload_ops[o].text, &op);
			if (!kill_points(state_of(s), before, n, op, workload_states[s].name,
					 all ? 1 : 1 + op_random(rng) % 7))
				failures++;
			free(before);
			free(op);
		}
}

/* A pool is made on empty memory, over another pool, over rubbish. */
static const char *const makes[] = {"mkfs", "mkfs over a pool", "mkfs over rubbish"};

static const uint8_t *old_contents(const char *label)
{
	static uint8_t *rubbish;

	if (strcmp(label, makes[1]) == 0)
		return state_of(0)->image;
	if (strcmp(label, makes[2]) != 0)
		return NULL;
	if (rubbish == NULL)
		rubbish = malloc(POOL_BYTES);
	if (rubbish == NULL)
		abort();
	op_fill(7, 0, rubbish, POOL_BYTES);
	return rubbish;
}

static void make(const char *label, const char *id)
{
	const struct model *was = strcmp(label, makes[1]) == 0 ? &state_of(0)->model : NULL;

	failures += !explore_mkfs(explorer, old_contents(label), was, label, id);
}

static void replay(const char *label, const char *id)
{
	const char *colon = strchr(label, ':');

	if (strncmp(label, "mkfs", 4) == 0) {
		make(label, id);
		return;
	}
	for (unsigned s = 0; colon && s < workload_states_count; s++) {
		if (strncmp(workload_states[s].name, label, (size_t)(colon - label)) == 0 &&
		    workload_states[s].name[colon - label] == '\0') {
			/* All operations may hold it; an id of the open has number 0. */
			int looked = id[0] == '0' && id[1] == '.' ? 0 : 1000000;
			struct op *ops;
			const char *text = colon + 1 + strspn(colon + 1, " ");
			int n = workload_parse(text, &ops);

			run(s, text, looked && n < looked ? n : looked, id);
			free(ops);
		}
	}
}

static void summary(double began)
{
	const struct counters *t = explorer_counters(explorer);
	double took = seconds() - began;

	printf("%-12s %9s %10s %10s %10s\n", "in", "points", "images", "distinct", "outcomes");
	for (unsigned i = 0; i <= OP_KINDS; i++) {
		const struct counters *c = explorer_by_op(explorer, i);

		if (c->images)
			printf("%-12s %9llu %10llu %10llu %10llu\n",
			       i == OP_KINDS ? "open, mkfs" : op_word((enum op_kind)i),
			       (unsigned long long)c->points, (unsigned long long)c->images,
			       (unsigned long long)c->distinct, (unsigned long long)c->recovered);
	}
	kill_summary();
	printf("crash: %s tier: %llu images at %llu points (%llu distinct and recovered, %llu outcomes "
	       "compared and checked, %llu recoveries crashed in) in %.1f s, %.0f a second: %u failures\n",
	       tier->name, (unsigned long long)t->images, (unsigned long long)t->points,
	       (unsigned long long)t->distinct, (unsigned long long)t->recovered,
	       (unsigned long long)t->nested, took, (double)t->distinct / took, failures);
}

static void list(void)
{
	for (unsigned i = 0; i < workload_states_count; i++)
		printf("state %s\n", workload_states[i].name);
	for (unsigned i = 0; i < workload_ops_count; i++)
		printf("op    %s\n", workload_ops[i].text);
}

int main(int argc, char **argv)
{
	const char *name = getenv("ADIT_TIER"), *limit = getenv("ADIT_SECONDS"),
		   *chance = getenv("ADIT_SEED");
	uint64_t rng = chance ? strtoull(chance, NULL, 0) : 1;
	double began = seconds();

	setvbuf(stdout, NULL, _IOLBF, 0);
	tier = tier_named(argc > 4 ? argv[4] : name ? name : "quick");
	until = began + (limit ? strtod(limit, NULL) : 0);
	states = calloc(workload_states_count, sizeof *states);
	explorer = explorer_create(POOL_BYTES, tier);
	if (argc > 1 && strcmp(argv[1], "--list") == 0) {
		list();
		return 0;
	}
	if (argc > 3 && strcmp(argv[1], "--replay") == 0) {
		replay(argv[2], argv[3]);
	} else {
		if (argc > 2 && strcmp(argv[1], "--only") == 0)
			only = argv[2];
		if (only == NULL)
			for (unsigned i = 0; i < 3; i++)
				make(makes[i], NULL);
		singles();
		pairs(&rng, tier == &tiers[0] ? QUICK_PAIRS : QUICK_PAIRS * 20);
		if (only == NULL)
			kills(tier != &tiers[0], &rng);
		longer(&rng, 6);
	}
	summary(began);
	for (unsigned i = 0; i < workload_states_count; i++)
		state_finish(&states[i]);
	free(states);
	explorer_destroy(explorer);
	return failures != 0;
}
