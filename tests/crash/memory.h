/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * memory.h - what persistent memory may hold after a power failure.
 *
 * Fed with every store, non-temporal store, flush and fence of a run, it keeps for each line of 64
 * bytes what is certain to have reached the medium (`durable`) and the stores behind that, cut at
 * 8-byte words (parts of words into bytes), in program order. At any moment a line may hold:
 *   - of ordinary stores: any prefix (a line goes out as a whole, at any time, flushed or not);
 *   - of non-temporal stores that no ordinary one is mixed with: any subset of the words.
 * A flush marks what the next fence of the same thread makes certain; a non-temporal store is marked
 * at once. A fence of another thread makes nothing of that certain. Which thread runs is told by
 * `thread`: operations run in turns, so that one is enough at a time.
 *
 * Hashes: a sum over all lines of a hash of (line number, contents), so that an image's can be told
 * from the lines in which it differs from `durable`.
 */
#ifndef ADIT_TEST_MEMORY_H
#define ADIT_TEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_BYTES     64u
#define NO_PIECE       UINT32_MAX
#define MEMORY_THREADS 4u

struct piece { /* a store to one word of one line */
	uint32_t next;
	uint8_t at, len, nt, thread;
	uint8_t bytes[8];
};

struct line {
	uint32_t first, last;		 /* pieces, in program order */
	uint32_t pending;		 /* how many */
	uint32_t marked[MEMORY_THREADS]; /* certain after that thread's next fence */
	uint32_t stamp;			 /* of the last store */
	bool all_nt;
	bool active;	 /* in the list below */
	uint8_t flushed; /* in which threads' lists */
	uint8_t nt_by;	 /* threads with non-temporal stores among the pending */
};

struct memory {
	uint8_t *durable;
	uint64_t bytes;
	struct line *line;
	struct piece *piece;
	uint32_t pieces, room, free;
	uint32_t *active, actives; /* lines with pending stores, oldest first */
	uint32_t *flushed[MEMORY_THREADS], flusheds[MEMORY_THREADS];
	uint32_t thread;   /* that runs now */
	uint32_t stamp;	   /* given to lines that are stored to: the operation */
	uint64_t hash;	   /* of durable */
	uint64_t *hash_of; /* of each line of durable, 0: not known */
};

void memory_init(struct memory *, uint64_t bytes);
void memory_finish(struct memory *);
/* Nothing pending; the medium holds this. */
void memory_reset(struct memory *, const uint8_t *image);
/* Nothing pending. `durable` is then the caller's to set: page by page, each with memory_page. */
void memory_forget(struct memory *);
#define MEMORY_PAGE 4096u
void memory_page(struct memory *, uint64_t page, const uint8_t *contents);
void memory_store(struct memory *, uint64_t offset, const uint8_t *bytes, uint64_t len, bool nt);
void memory_flush(struct memory *, uint64_t offset, uint64_t len);
/* merged(arg, line) is told of every line of `durable` that changes. */
void memory_fence(struct memory *, void (*merged)(void *, uint32_t line), void *arg);
/* These bytes are in `durable` from now on. */
void memory_patch(struct memory *, uint64_t offset, const void *bytes, uint64_t len);

/* Contents of a line after the first n pieces, or after the pieces in a mask. */
void memory_line_prefix(const struct memory *, uint32_t line, uint32_t n, uint8_t out[LINE_BYTES]);
void memory_line_subset(const struct memory *, uint32_t line, uint64_t mask,
			uint8_t out[LINE_BYTES]);
uint64_t memory_line_hash(uint32_t line, const uint8_t *contents);
/* Of the line of `durable`. */
static inline uint64_t memory_durable_hash(struct memory *m, uint32_t line)
{
	uint64_t *h = &m->hash_of[line];

	if (*h == 0)
		*h = memory_line_hash(line, m->durable + (uint64_t)line * LINE_BYTES);
	return *h;
}

#endif
