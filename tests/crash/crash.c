/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crash - every crash, by enumeration (explore.h), over the tables of workload.c; and kill points
 * (kill.h).
 *
 *	crash				the quick tier: singles, a sample of pairs, mkfs, kills
 *	crash --list			states and operations
 *	crash --only TEXT		workloads whose label contains it
 *	crash --replay LABEL ID TIER	one image of a failure
 *	ADIT_TIER=soak, ADIT_SECONDS=n	more images a point, all pairs, then chance, for n seconds
 *	ADIT_SEED=n			what chance begins with
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
	{"quick", {{256, 48, 400, false}, {32, 12, 40, false}, {8, 4, 10, false}}, {400, 60, 0}, false},
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
		if (!explore(explorer, state_of(i), ops, n, looked ? n - looked + 1 : 0, label, id))
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

static void pair(unsigned s, unsigned a, unsigned b)
{
	char text[2 * OP_PATH_MAX];

	snprintf(text, sizeof text, "%s; %s", workload_ops[a].text, workload_ops[b].text);
	run(s, text, 1, NULL);
}

/* Bounded by count (0: all of them in all states), then by time. */
static void pairs(uint64_t *rng, uint64_t count)
{
	for (uint64_t i = 0; i < count && failures < 20; i++) {
		unsigned s = (unsigned)(op_random(rng) % workload_states_count);
		unsigned a, b;

		do
			a = (unsigned)(op_random(rng) % workload_ops_count);
		while (!workload_ops[a].core);
		do
			b = (unsigned)(op_random(rng) % workload_ops_count);
		while (!workload_ops[b].core);
		pair(s, a, b);
	}
}

/* Three operations by chance, crashed in all of them. */
static void triples(uint64_t *rng)
{
	while (seconds() < until && failures < 20) {
		char text[3 * OP_PATH_MAX];
		const char *t[3];

		for (unsigned i = 0; i < 3; i++)
			t[i] = workload_ops[op_random(rng) % workload_ops_count].text;
		snprintf(text, sizeof text, "%s; %s; %s", t[0], t[1], t[2]);
		run((unsigned)(op_random(rng) % workload_states_count), text, 3, NULL);
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

static void replay(const char *label, const char *id)
{
	const char *colon = strchr(label, ':');

	if (strncmp(label, "mkfs", 4) == 0) {
		failures += !explore_mkfs(explorer, old_contents(label), label, id);
		return;
	}
	for (unsigned s = 0; colon && s < workload_states_count; s++) {
		if (strncmp(workload_states[s].name, label, (size_t)(colon - label)) == 0 &&
		    workload_states[s].name[colon - label] == '\0') {
			/* All operations may hold it; an id of the open has number 0. */
			int looked = id[0] == '0' && id[1] == '.' ? 0 : 1000000;
			struct op *ops;
			int n = workload_parse(colon + 1, &ops);

			run(s, colon + 1, looked && n < looked ? n : looked, id);
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
				failures += !explore_mkfs(explorer, old_contents(makes[i]), makes[i],
							  NULL);
		singles();
		pairs(&rng, tier == &tiers[0] ? QUICK_PAIRS : QUICK_PAIRS * 20);
		if (only == NULL)
			kills(tier != &tiers[0], &rng);
		triples(&rng);
	}
	summary(began);
	for (unsigned i = 0; i < workload_states_count; i++)
		state_finish(&states[i]);
	free(states);
	explorer_destroy(explorer);
	return failures != 0;
}
