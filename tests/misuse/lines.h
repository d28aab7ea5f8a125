/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lines.h - the state of every cache line of a pool, and the rules of its use.
 *
 * Fed with every store, non-temporal store, flush and fence (media/record.h). For each line of 64 bytes
 * three masks, one bit a byte:
 *
 *	dirty    stored, not flushed          --flush--> waiting --fence--> nothing
 *	nt       stored past the caches       --fence--> nothing
 *
 * and a copy of the pool that changes only by what was recorded. A rule that is broken is told to
 * lines.broken at once, with the line.
 */
#ifndef ADIT_TEST_LINES_H
#define ADIT_TEST_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE 64u

enum rule {
	RULE_UNFLUSHED, /* the call has returned: stored, not flushed, and no record above C names it */
	RULE_UNFENCED,	  /* the call has returned: flushed or past the caches, no fence since */
	RULE_OVERWRITTEN, /* stored to between a flush (or a non-temporal store) and the fence */
	RULE_MIXED,	  /* cached and non-temporal stores to one line with no fence between */
	RULE_CLEAN_FLUSH, /* flushed, with nothing stored since the last flush */
	RULE_STRAY_FLUSH, /* flushed, never stored to */
	RULE_EMPTY_FENCE, /* a fence with nothing to wait for */
	RULE_ORDER, /* a record or a checkpoint slot stored before what it tells of was durable */
	RULE_UNRECORDED, /* the pool changed by a store that is not in pmem.h */
	RULES
};

struct line_state {
	uint64_t dirty, waiting, nt;
	bool ever;		   /* stored to since the reset */
	bool in_dirty, in_waiting; /* in the lists below */
};

struct lines {
	uint8_t *copy;
	uint64_t bytes;
	struct line_state *line;
	uint32_t *dirty, dirties; /* lines with dirty bytes; may name some that are clean again */
	uint32_t *waiting, waitings; /* lines that wait for a fence */
	uint64_t stores, nts, flushed, fences;
	void (*broken)(void *arg, enum rule, uint64_t offset);
	bool (*is_volatile)(void *arg,
			    uint64_t offset); /* of a word: it may differ from the copy */
	void *arg;
};

const char *rule_text(enum rule);

void lines_init(struct lines *, uint64_t bytes);
void lines_finish(struct lines *);
/* Everything is clean, nothing was ever stored to; the pool holds this. */
void lines_reset(struct lines *, const uint8_t *pool);

/* base: the pool, after the event. */
void lines_store(struct lines *, const uint8_t *base, uint64_t offset, uint64_t len, bool nt);
void lines_flush(struct lines *, const uint8_t *base, uint64_t offset, uint64_t len);
void lines_fence(struct lines *);

/* Bytes of the pool that differ from the copy, volatile words aside, break RULE_UNRECORDED; the copy then
 * has them. */
void lines_compare(struct lines *, const uint8_t *base);

#endif
