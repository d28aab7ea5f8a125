/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * choice.h - the images of one crash point, by number.
 *
 * Lines with pending stores are *hot* when the operation under way stored to them, else *cold*:
 * changed in place since the last checkpoint and never flushed, hundreds of them. The images:
 *   - the product of what each hot line may hold, when that is at most `product_max`: any subset of its
 *     stores for a line of non-temporal ones (in the weak model: for every line), else any prefix; if
 *     that is too many, any prefix for every line; if that is too many,
 *   - nothing, everything, each set of up to `subset` lines, everything but each such set, each prefix
 *     of each line with nothing else and with everything else, and `samples` by chance;
 *   - in each of these the cold lines are as in none, all, or some of their stores in turn;
 *   - cold lines alone and all but one, `samples` of them.
 * When a point has more than `budget` images, so many are drawn from the list, the extremes always.
 * The same point, limits and number give the same image.
 */
#ifndef ADIT_TEST_CHOICE_H
#define ADIT_TEST_CHOICE_H

#include "memory.h"

struct limits {
	uint64_t product_max;
	uint64_t samples;
	uint64_t budget;
	unsigned subset; /* 1 to 3 */
	bool weak;	 /* of every line any subset of its stores, in program order */
};

struct choices {
	const struct memory *m;
	struct limits limits;
	uint64_t seed;
	uint32_t *hot, hots, *cold, colds;
	uint8_t *hot_full, *cold_full; /* their contents with all that is pending */
	uint64_t product;	       /* 0: too large */
	bool by_subset;		       /* the product is of subsets where a line may hold them */
	uint64_t sets;		       /* sets of 1 to `subset` hot lines */
	uint64_t prefixes;	       /* partial ones of all hot lines */
	uint64_t listed;	       /* images in the list */
	uint64_t count;		       /* images to build: numbers 0 .. count - 1 */
};

/* since: stamp from which on a line is hot. */
void choices_init(struct choices *, const struct memory *, uint32_t since, const struct limits *,
		  uint64_t seed);
void choices_finish(struct choices *);
/* put(arg, line, contents) for each line in which the image differs from `durable`. */
void choices_build(const struct choices *, uint64_t number,
		   void (*put)(void *, uint32_t line, const uint8_t *contents), void *arg);

#endif
