/* SPDX-License-Identifier: BSD-3-Clause */
/* choice.c - see choice.h. */
#include "choice.h"

#include <stdlib.h>
#include <string.h>

#include "op.h"

#define EXTREMES 4u /* nothing and everything, of hot and cold lines */

enum part { NONE, ALL, SOME };

static uint8_t *full_contents(const struct memory *m, const uint32_t *line, uint32_t n)
{
	uint8_t *full = malloc((n + 1) * LINE_BYTES);

	if (full == NULL)
		abort();
	for (uint32_t i = 0; i < n; i++)
		memory_line_prefix(m, line[i], m->line[line[i]].pending, full + i * LINE_BYTES);
	return full;
}

/* In how many ways the line may be. */
static uint64_t ways(const struct choices *c, uint32_t hot)
{
	const struct line *line = &c->m->line[c->hot[hot]];

	if (c->by_subset && (line->all_nt || c->limits.weak) && line->pending < 17)
		return 1ull << line->pending;
	return line->pending + 1u;
}

/* 0: more than product_max. */
static uint64_t product_of(const struct choices *c)
{
	uint64_t product = 1;

	for (uint32_t i = 0; i < c->hots && product; i++) {
		product *= ways(c, i);
		if (product > c->limits.product_max)
			product = 0;
	}
	return product;
}

static uint64_t sets_of(uint64_t n, unsigned most)
{
	uint64_t sets = n;

	if (most > 1 && n > 1)
		sets += n * (n - 1) / 2;
	if (most > 2 && n > 2)
		sets += n * (n - 1) * (n - 2) / 6;
	return sets;
}

/* The k-th set of lines below n: 1 to 3 of them, none twice. */
static unsigned set_number(uint64_t k, uint32_t n, uint32_t set[3])
{
	uint64_t pairs = (uint64_t)n * (n - 1) / 2;
	uint32_t a, b;

	if (k < n) {
		set[0] = (uint32_t)k;
		return 1;
	}
	k -= n;
	if (k < pairs) {
		for (a = 0; k >= n - 1 - a; a++)
			k -= n - 1 - a;
		set[0] = a;
		set[1] = a + 1 + (uint32_t)k;
		return 2;
	}
	k -= pairs;
	for (a = 0; k >= (uint64_t)(n - 1 - a) * (n - 2 - a) / 2; a++)
		k -= (uint64_t)(n - 1 - a) * (n - 2 - a) / 2;
	for (b = a + 1; k >= n - 1 - b; b++)
		k -= n - 1 - b;
	set[0] = a;
	set[1] = b;
	set[2] = b + 1 + (uint32_t)k;
	return 3;
}

void choices_init(struct choices *c, const struct memory *m, uint32_t since,
		  const struct limits *limits, uint64_t seed)
{
	memset(c, 0, sizeof *c);
	c->m = m;
	c->limits = *limits;
	c->seed = seed;
	c->hot = malloc((m->actives + 1) * sizeof *c->hot);
	c->cold = malloc((m->actives + 1) * sizeof *c->cold);
	if (c->hot == NULL || c->cold == NULL)
		abort();
	for (uint32_t i = 0; i < m->actives; i++) {
		uint32_t line = m->active[i], n = m->line[line].pending;

		if (m->line[line].stamp < since) {
			c->cold[c->colds++] = line;
			continue;
		}
		c->hot[c->hots++] = line;
		c->prefixes += n - 1;
	}
	c->by_subset = true;
	c->product = product_of(c);
	if (c->product == 0) {
		c->by_subset = false;
		c->product = product_of(c);
	}
	c->sets = sets_of(c->hots, limits->subset);
	c->hot_full = full_contents(m, c->hot, c->hots);
	c->cold_full = full_contents(m, c->cold, c->colds);
	c->listed = EXTREMES +
		    (c->product ? c->product : 2 * c->sets + 2 * c->prefixes + limits->samples);
	if (c->colds)
		c->listed += limits->samples;
	c->count = c->listed < limits->budget ? c->listed : limits->budget;
}

void choices_finish(struct choices *c)
{
	free(c->hot);
	free(c->cold);
	free(c->hot_full);
	free(c->cold_full);
}

/* ---- one image --------------------------------------------------------------------------- */

struct build {
	const struct choices *c;
	void (*put)(void *, uint32_t line, const uint8_t *contents);
	void *arg;
	uint64_t rng;
};

/* Hot or cold lines, and which of them. */
struct lines {
	const uint32_t *line;
	const uint8_t *full;
	uint32_t n;
};

static struct lines hot_lines(const struct build *b)
{
	return (struct lines){b->c->hot, b->c->hot_full, b->c->hots};
}

static struct lines cold_lines(const struct build *b)
{
	return (struct lines){b->c->cold, b->c->cold_full, b->c->colds};
}

static void put_all(struct build *b, struct lines l, uint32_t i)
{
	b->put(b->arg, l.line[i], l.full + i * LINE_BYTES);
}

static void put_prefix(struct build *b, struct lines l, uint32_t i, uint32_t n)
{
	uint8_t contents[LINE_BYTES];

	if (n == 0)
		return;
	if (n == b->c->m->line[l.line[i]].pending) {
		put_all(b, l, i);
		return;
	}
	memory_line_prefix(b->c->m, l.line[i], n, contents);
	b->put(b->arg, l.line[i], contents);
}

/* Something the line may hold, by chance. */
static void put_some(struct build *b, struct lines l, uint32_t i)
{
	const struct line *line = &b->c->m->line[l.line[i]];
	uint64_t r = op_random(&b->rng);
	uint8_t contents[LINE_BYTES];

	if (r % 4 == 0)
		return;
	if (r % 4 == 1) {
		put_all(b, l, i);
	} else if ((line->all_nt || b->c->limits.weak) && line->pending <= 64) {
		memory_line_subset(b->c->m, l.line[i], op_random(&b->rng), contents);
		b->put(b->arg, l.line[i], contents);
	} else {
		put_prefix(b, l, i, (uint32_t)((r >> 8) % (line->pending + 1)));
	}
}

static void put_lines(struct build *b, struct lines l, enum part part)
{
	for (uint32_t i = 0; i < l.n && part != NONE; i++) {
		if (part == ALL)
			put_all(b, l, i);
		else
			put_some(b, l, i);
	}
}

/* All hot lines as in part, but one that has n of its stores. */
static void put_but_one(struct build *b, enum part part, uint32_t which, uint32_t n)
{
	struct lines hot = hot_lines(b);

	for (uint32_t i = 0; i < hot.n; i++) {
		if (i == which)
			put_prefix(b, hot, i, n);
		else if (part == ALL)
			put_all(b, hot, i);
	}
}

/* Of the lines in the set all, of the others nothing; or the other way round. */
static void put_set(struct build *b, enum part part, uint64_t k)
{
	struct lines hot = hot_lines(b);
	uint32_t set[3];
	unsigned n = set_number(k, hot.n, set);

	if (part == NONE) {
		for (unsigned i = 0; i < n; i++)
			put_all(b, hot, set[i]);
		return;
	}
	for (uint32_t i = 0, in = 0; i < hot.n; i++) {
		if (in < n && set[in] == i)
			in++;
		else
			put_all(b, hot, i);
	}
}

static void put_product(struct build *b, uint64_t number)
{
	const struct choices *c = b->c;
	uint8_t contents[LINE_BYTES];

	for (uint32_t i = 0; i < c->hots; i++) {
		uint64_t n = ways(c, i), which = number % n;

		number /= n;
		if (n == c->m->line[c->hot[i]].pending + 1u) {
			put_prefix(b, hot_lines(b), i, (uint32_t)which);
		} else if (which == n - 1) {
			put_all(b, hot_lines(b), i);
		} else if (which) {
			memory_line_subset(c->m, c->hot[i], which, contents);
			b->put(b->arg, c->hot[i], contents);
		}
	}
}

/* Number k of the partial prefixes: which line, how many of its stores. */
static uint32_t prefix_of(const struct choices *c, uint64_t k, uint32_t *n)
{
	for (uint32_t i = 0;; i++) {
		uint32_t partial = c->m->line[c->hot[i]].pending - 1;

		if (k < partial) {
			*n = (uint32_t)k + 1;
			return i;
		}
		k -= partial;
	}
}

static void put_hot(struct build *b, uint64_t k)
{
	const struct choices *c = b->c;
	uint32_t which, n;

	if (c->product) {
		put_product(b, k);
	} else if (k < 2 * c->sets) {
		put_set(b, k % 2 ? ALL : NONE, k / 2);
	} else if (k < 2 * c->sets + 2 * c->prefixes) {
		k -= 2 * c->sets;
		which = prefix_of(c, k / 2, &n);
		put_but_one(b, k % 2 ? ALL : NONE, which, n);
	} else {
		put_lines(b, hot_lines(b), SOME);
	}
}

static void put_cold_sample(struct build *b, uint64_t k)
{
	const struct choices *c = b->c;
	uint32_t one = (uint32_t)(op_random(&b->rng) % c->colds);

	put_lines(b, hot_lines(b), k % 4 / 2 ? ALL : NONE);
	if (k % 8 >= 4) {
		put_lines(b, cold_lines(b), SOME);
		return;
	}
	for (uint32_t i = 0; i < c->colds; i++)
		if ((i == one) == (k % 2 == 0))
			put_all(b, cold_lines(b), i);
}

void choices_build(const struct choices *c, uint64_t number,
		   void (*put)(void *, uint32_t line, const uint8_t *contents), void *arg)
{
	struct build b = {c, put, arg, c->seed ^ number * 0x2545f4914f6cdd1dull};
	uint64_t hot_end = c->listed - (c->colds ? c->limits.samples : 0);

	/* Not all: the extremes, and others by chance. */
	if (number >= EXTREMES && c->count < c->listed)
		number = EXTREMES + op_random(&b.rng) % (c->listed - EXTREMES);
	if (number < EXTREMES) {
		put_lines(&b, hot_lines(&b), number & 1 ? ALL : NONE);
		put_lines(&b, cold_lines(&b), number & 2 ? ALL : NONE);
	} else if (number < hot_end) {
		put_hot(&b, number - EXTREMES);
		put_lines(&b, cold_lines(&b), (enum part)(number % 3));
	} else {
		put_cold_sample(&b, number - hot_end);
	}
}
