/* SPDX-License-Identifier: BSD-3-Clause */
/* plan.c - see plan.h. */
#include "plan.h"

#include <stdio.h>
#include <string.h>

#define ITEMS(a) (sizeof(a) / sizeof *(a))

static const char *const words[PLAN_CLASSES] = {
	[PLAN_MAKE] = "make",	[PLAN_MEET] = "meet",	  [PLAN_TURN] = "turn",
	[PLAN_SWEEP] = "sweep", [PLAN_KILL] = "kill",	  [PLAN_SINGLE] = "single",
	[PLAN_PAIR] = "pair",	[PLAN_TRIPLE] = "triple", [PLAN_LONGER] = "longer",
};

/* Of the time, when that is given. */
#define SHARES                                                                                     \
	{                                                                                          \
		[PLAN_MAKE] = 1, [PLAN_MEET] = 6, [PLAN_TURN] = 6, [PLAN_SWEEP] = 4,               \
		[PLAN_KILL] = 4, [PLAN_SINGLE] = 25, [PLAN_PAIR] = 20, [PLAN_TRIPLE] = 30,         \
		[PLAN_LONGER] = 4                                                                  \
	}
#define ONLY_LONGER                                                                                \
	{                                                                                          \
		[PLAN_LONGER] = 1                                                                  \
	}

/* clang-format off */
/* A budget: for each level the largest product, samples, images a point, lines in a set. */
static const struct tier tiers[] = {
	{"quick",
	 {{{48, 12, 56, 1, false}, {24, 8, 24, 1, false}, {8, 4, 8, 1, false}}, {700, 60, 0}, false},
	 {{{16, 6, 16, 1, false}, {16, 8, 16, 1, false}, {8, 4, 8, 1, false}}, {900, 60, 0}, false},
	 {[PLAN_MEET] = 150, [PLAN_TURN] = 1200, [PLAN_SWEEP] = 200, [PLAN_KILL] = 150, [PLAN_PAIR] = 1,
	  [PLAN_TRIPLE] = 300},
	 ONLY_LONGER, 7},
	{"full",
	 {{{4096, 512, 8000, 3, false}, {64, 24, 100, 2, false}, {16, 8, 20, 1, false}}, {1000, 60, 0}, false},
	 {{{256, 64, 256, 2, false}, {32, 12, 40, 1, false}, {8, 4, 10, 1, false}}, {1000, 60, 0}, false},
	 {[PLAN_MEET] = 1000, [PLAN_KILL] = 1000, [PLAN_PAIR] = 2, [PLAN_TRIPLE] = 5000},
	 ONLY_LONGER, 3},
	{"soak",
	 {{{65536, 4096, 100000, 3, false}, {256, 64, 400, 2, false}, {32, 16, 60, 1, false}}, {2000, 60, 0},
	  false},
	 {{{1024, 256, 1024, 2, false}, {64, 24, 100, 2, false}, {16, 8, 20, 1, false}}, {1000, 60, 0}, false},
	 {0},
	 SHARES, 1},
	/* Other memories: lines whose stores have no order, and caches that are flushed on failure. */
	{"weak",
	 {{{4096, 512, 2000, 2, true}, {64, 24, 80, 1, true}, {8, 4, 10, 1, true}}, {1000, 60, 0}, false},
	 {{{64, 32, 64, 1, true}, {32, 12, 40, 1, true}, {8, 4, 10, 1, true}}, {1000, 60, 0}, false},
	 {[PLAN_MEET] = 150, [PLAN_KILL] = 1, [PLAN_PAIR] = 1, [PLAN_TRIPLE] = 1000},
	 SHARES, 5},
	{"inorder",
	 {{{1, 0, 4, 1, false}, {1, 0, 4, 1, false}, {1, 0, 4, 1, false}}, {800, 200, 0}, true},
	 {{{1, 0, 4, 1, false}, {1, 0, 4, 1, false}, {1, 0, 4, 1, false}}, {800, 200, 0}, true},
	 {[PLAN_MEET] = 150, [PLAN_KILL] = 1, [PLAN_PAIR] = 1, [PLAN_TRIPLE] = 1000},
	 SHARES, 5},
};
/* clang-format on */

const struct tier *tier_named(const char *name)
{
	for (unsigned i = 0; i < ITEMS(tiers); i++)
		if (strcmp(tiers[i].name, name) == 0)
			return &tiers[i];
	return NULL;
}

const char *plan_word(enum plan_class class)
{
	return words[class];
}

const struct budget *plan_budget(const struct tier *t, enum plan_class class)
{
	return class == PLAN_PAIR || class == PLAN_TRIPLE || class == PLAN_LONGER ? &t->far
										  : &t->near;
}

/* ---- the sweep: about a word, a line, a block, what fits into an inode ------------------------- */

static const unsigned short sweep_at[] = {0,	1,    4,    7,	  8,	9,   56,  63,
					  64,	65,   104,  111,  112,	113, 120, 127,
					  4088, 4095, 4096, 4097, 4104, 8191};
static const unsigned short sweep_len[] = {1,	3,    7,    8,	  9,	16,   48,   56,	  57,
					   63,	64,   65,   72,	  111,	112,  113,  127,  128,
					   129, 4032, 4088, 4095, 4096, 4097, 4104, 8192, 12289};
static const char *const sweep_states[] = {"block", "inline", "three", "prealloc"};
#define SWEEP (ITEMS(sweep_at) * ITEMS(sweep_len) * 2)

static unsigned state_named(const char *name)
{
	for (unsigned i = 0; i < workload_states_count; i++)
		if (strcmp(workload_states[i].name, name) == 0)
			return i;
	return 0;
}

static void sweep(uint64_t i, struct planned *p)
{
	unsigned at = sweep_at[i / 2 % ITEMS(sweep_at)];
	unsigned len = sweep_len[i / 2 / ITEMS(sweep_at) % ITEMS(sweep_len)];

	p->state = state_named(sweep_states[i / SWEEP % ITEMS(sweep_states)]);
	snprintf(p->text, sizeof p->text, "write /f %u %u %u", at, len, (unsigned)(i % 2));
}

/* ---- the lists --------------------------------------------------------------------------------- */

uint64_t plan_all(enum plan_class class)
{
	uint64_t ops = workload_ops_count, states = workload_states_count;

	switch (class) {
	case PLAN_MAKE:
		return 3;
	case PLAN_SINGLE:
		return states * (ops + 1);
	case PLAN_SWEEP:
		return SWEEP * ITEMS(sweep_states);
	case PLAN_TURN:
	case PLAN_KILL:
		return states * ops;
	case PLAN_MEET:
		return 2 * states * ops;
	case PLAN_PAIR:
		return states * ops * ops;
	case PLAN_TRIPLE:
		return states * ops * ops * ops;
	default:
		return UINT64_MAX / 2;
	}
}

uint64_t plan_count(const struct tier *t, enum plan_class class)
{
	uint64_t all = plan_all(class), count = t->count[class];

	/* So many states for every pair. */
	if (class == PLAN_PAIR)
		count *= (uint64_t)workload_ops_count * workload_ops_count;
	return count && count < all ? count : all;
}

/* The i-th of a list of n in an order that the seed chooses: each once. */
static uint64_t shuffled(uint64_t i, uint64_t n, uint64_t seed)
{
	static const uint64_t steps[] = {1000003, 15485863, 32452843, 49979687, 67867967, 86028121};

	for (unsigned k = 0; k < ITEMS(steps); k++)
		if (n % steps[k])
			return (uint64_t)(((__uint128_t)i * steps[k] + op_random(&seed)) % n);
	return i;
}

/* Now and then by another thread, so that recovery has to merge. */
static const char *choose_lane(uint64_t *rng)
{
	static const char *const lanes[] = {"", "", "lane 1; ", "lane 0; "};

	return lanes[op_random(rng) % 4];
}

static const char *op_text(uint64_t i)
{
	return workload_ops[i % workload_ops_count].text;
}

static void chain(uint64_t i, unsigned n, uint64_t rng, struct planned *p)
{
	size_t at = 0;

	p->text[0] = '\0';
	for (unsigned k = 0; k < n && at < sizeof p->text; k++) {
		at += (size_t)snprintf(p->text + at, sizeof p->text - at, "%s%s%s", k ? "; " : "",
				       k ? choose_lane(&rng) : "", op_text(i));
		i /= workload_ops_count;
	}
}

static void longer(uint64_t rng, struct planned *p)
{
	unsigned n = 3 + (unsigned)(op_random(&rng) % 4);
	size_t at = 0;

	p->state = (unsigned)(op_random(&rng) % workload_states_count);
	p->looked = 2 * (int)n;
	for (unsigned k = 0; k < n && at < sizeof p->text; k++) {
		const char *lane = choose_lane(&rng);

		at += (size_t)snprintf(p->text + at, sizeof p->text - at, "%s%s%s", k ? "; " : "",
				       lane, op_text(op_random(&rng)));
	}
}

void plan_make(const struct tier *t, enum plan_class class, uint64_t i, uint64_t seed,
	       struct planned *p)
{
	uint64_t ops = workload_ops_count, states = workload_states_count, all = plan_all(class);
	uint64_t chance = seed * 0x9e3779b97f4a7c15ull + i, pair;

	memset(p, 0, sizeof *p);
	p->class = class;
	p->looked = 1;
	/* Parts of a list are chosen by the seed; the same number of states for each pair. */
	if (class == PLAN_PAIR && t->count[class]) {
		pair = i % (ops * ops);
		p->state = (unsigned)((op_random(&chance) + i / (ops * ops)) % states);
		chain(pair, 2, chance, p);
		return;
	}
	if (class != PLAN_LONGER && class != PLAN_MAKE)
		i = shuffled(i, all, seed);
	switch (class) {
	case PLAN_MAKE:
		p->state = (unsigned)i;
		break;
	case PLAN_SINGLE:
		p->state = (unsigned)(i % states);
		if (i / states == ops)
			p->looked = 0;
		else
			snprintf(p->text, sizeof p->text, "%s", op_text(i / states));
		break;
	case PLAN_SWEEP:
		sweep(i, p);
		break;
	case PLAN_TURN:
		p->state = (unsigned)(i % states);
		snprintf(p->text, sizeof p->text, "checkpoint; lane 1; %s", op_text(i / states));
		break;
	case PLAN_MEET:
		p->state = (unsigned)(i / 2 % states);
		p->looked = -1;
		snprintf(p->text, sizeof p->text, i % 2 ? "%s; checkpoint" : "checkpoint; %s",
			 op_text(i / 2 / states));
		break;
	case PLAN_KILL:
		p->state = (unsigned)(i % states);
		p->op = (unsigned)(i / states);
		break;
	case PLAN_LONGER:
		longer(chance, p);
		break;
	default:
		p->state = (unsigned)(i % states);
		chain(i / states, class == PLAN_PAIR ? 2 : 3, chance, p);
		break;
	}
}
