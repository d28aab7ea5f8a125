/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * level.h - one level of the enumeration: a pool that runs recorded (`live`), what is certain of it
 * (`memory.durable`), and a copy on which images are built and recovered one after the other (`work`).
 *
 * All three begin as copies of a base: a state's image at level 0, the `durable` below at the others.
 * Nothing is allocated or mapped for an image, and only what was touched is copied back: `stale` says
 * which pages of the three may differ from the base, `touched` what of `work` differs from `durable`.
 */
#ifndef ADIT_TEST_LEVEL_H
#define ADIT_TEST_LEVEL_H

#include "choice.h"
#include "memory.h"
#include "subject.h"
#include "tally.h"

struct explorer;

struct range {
	uint64_t offset, len;
};
#define VOLATILE_AREAS 3

struct level {
	struct explorer *x;
	struct level *above; /* the recovery of this one's images, or NULL */
	unsigned depth;
	struct memory memory;
	uint8_t *work, *live;
	const uint8_t *base;
	uint64_t *stale; /* bit a page */
	struct range *touched;
	size_t touches, touch_room;
	uint32_t *hashed, round; /* level_hash: lines that are in */
	uint64_t image_hash;	 /* of `work` now */
	/* Where we are: crash point `point` of operation `op` (-1: not looked at). */
	int op;
	unsigned point;
	bool in_flight;	 /* the operation has not returned */
	uint64_t number; /* of the image */
};

void level_init(struct level *, struct explorer *, unsigned depth, uint64_t bytes);
void level_finish(struct level *);
/* Differs from the base now, although nobody has said so. */
void level_stale(struct level *, uint64_t offset, uint64_t len);
/* All three as `base` is, nothing pending; areas: volatile ones, always copied. */
void level_reset(struct level *, const uint8_t *base, const struct area *areas);
/* The base is another one, or was changed behind our back. */
void level_forget(struct level *);
/* A store of the live pool. */
void level_store(struct level *, uint64_t offset, const uint8_t *bytes, uint64_t len, bool nt);
void level_fence(struct level *);
/* `durable` and `work` get the live pool's bytes. */
void level_patch(struct level *, uint64_t offset, uint64_t len);

/* Images: a line of `work`; a range that recovery stored to; everything back. */
void level_put_line(void *level, uint32_t line, const uint8_t *contents);
void level_touch(struct level *, uint64_t offset, uint64_t len);
void level_put_back(struct level *, const struct area *areas);
uint64_t level_hash(struct level *);
/* The level above becomes the image that `work` is now. */
void level_raise(struct level *, const struct area *areas);

#endif
