/* SPDX-License-Identifier: BSD-3-Clause */
/* seen.h - 64-bit hashes that were met, each with a number that is not 0. */
#ifndef ADIT_TEST_SEEN_H
#define ADIT_TEST_SEEN_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct seen {
	struct {
		uint64_t hash;
		uint32_t value;
		uint32_t round; /* another: empty */
	} * slot;
	uint64_t slots, used;
	uint32_t round;
};

static inline uint64_t seen_at(const struct seen *s, uint64_t hash)
{
	uint64_t at = hash * 0x9e3779b97f4a7c15ull & (s->slots - 1);

	while (s->slot[at].round == s->round && s->slot[at].hash != hash)
		at = (at + 1) & (s->slots - 1);
	return at;
}

static inline uint32_t seen_get(const struct seen *s, uint64_t hash)
{
	uint64_t at;

	if (s->slots == 0)
		return 0;
	at = seen_at(s, hash);
	return s->slot[at].round == s->round ? s->slot[at].value : 0;
}

static inline void seen_put(struct seen *s, uint64_t hash, uint32_t value)
{
	uint64_t at;

	if (value == 0)
		return;
	if (2 * s->used >= s->slots) {
		struct seen bigger = {.slots = s->slots ? 2 * s->slots : 4096, .round = 1};

		bigger.slot = calloc(bigger.slots, sizeof *bigger.slot);
		if (bigger.slot == NULL)
			abort();
		for (uint64_t i = 0; i < s->slots; i++) {
			if (s->slot[i].round != s->round)
				continue;
			at = seen_at(&bigger, s->slot[i].hash);
			bigger.slot[at] = s->slot[i];
			bigger.slot[at].round = 1;
		}
		bigger.used = s->used;
		free(s->slot);
		*s = bigger;
	}
	at = seen_at(s, hash);
	s->used += s->slot[at].round != s->round;
	s->slot[at].hash = hash;
	s->slot[at].value = value;
	s->slot[at].round = s->round;
}

static inline void seen_clear(struct seen *s)
{
	s->used = 0;
	if (++s->round)
		return;
	/* After 2^32 of them. */
	if (s->slots)
		memset(s->slot, 0, s->slots * sizeof *s->slot);
	s->round = 1;
}

static inline void seen_finish(struct seen *s)
{
	free(s->slot);
	memset(s, 0, sizeof *s);
}

#endif
