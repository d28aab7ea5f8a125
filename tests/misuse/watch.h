/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * watch.h - a pool under watch: its calls, and after each of them what must hold of its lines.
 *
 * What a returned call may leave behind, from docs/design.md and the checkpoint:
 *   - dirty words that a record above C names: what the record says is durable, so the word need not be; the
 *     checkpoint that moves C past the record writes it back. With the words that applying raises:
 *     dirty_seq of the structure, the bitmap's word and the dirty_seq of its seal;
 *   - volatile words: the volatile region, the groups' volatile summaries and bitmaps, open_word and data_seq
 *     of inode slots.
 * Nothing else, and so after a checkpoint nothing but the volatile words.
 *
 * And within a call: when a record is stored, the fresh blocks that it gives an owner are fenced; when a checkpoint
 * slot is, everything is.
 */
#ifndef ADIT_TEST_WATCH_H
#define ADIT_TEST_WATCH_H

#include "lines.h"
#include "subject.h"

#define WATCH_ALLOWANCES 16

struct watch {
	struct subject s;
	struct lines lines;
	uint64_t *named;		 /* of each word: the newest record that names it */
	struct area vol[3];		 /* volatile */
	uint64_t walked[ADIT_LANES_MAX]; /* records before this position were looked at */
	bool compares;			 /* the whole pool with the copy, after each call */
	/* The call under way. */
	bool repairs;			  /* it is fsck -y */
	bool opens;			  /* it is open, recovery included */
	unsigned spent[WATCH_ALLOWANCES]; /* what it has used of each allowance, see watch.c */
	unsigned failures;
	uint64_t calls, left_dirty, allowed;
	void (*failed)(void *arg, const char *what);
	void *arg;
};

void watch_init(struct watch *, uint64_t bytes);
void watch_finish(struct watch *);
/* The pool holds this (NULL: zeros), all of it durable; closed. Where its volatile areas lie is read from it, if
 * it is a pool. */
void watch_begin(struct watch *, const uint8_t *image);
/* Hooks on, and off. */
void watch_start(struct watch *);
void watch_stop(void);

/* After a call has returned. */
void watch_returned(struct watch *);
/* After open: the rings were empty when recovery ended; what freeing orphans wrote since may lie there. */
void watch_opened(struct watch *);
/* After mkfs, fsck, a checkpoint or close: nothing may be left. */
void watch_quiet(struct watch *);

/* Which structure: "bitmap of group 3". */
void watch_where(const struct watch *, uint64_t offset, char *text, size_t len);

#endif
