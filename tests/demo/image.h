/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * image.h - what is on the medium, and what may be: pool images after a power failure.
 *
 * The model of memory: an aligned 8-byte store is whole or not there. The stores to one line reach the
 * medium in order, and may do so at any time; after a flush of the line and a fence they are there.
 * Lines are independent of each other. Stores past the cache are there after a fence; before that, each
 * word on its own.
 */
#ifndef ADIT_DEMO_IMAGE_H
#define ADIT_DEMO_IMAGE_H

#include <stdint.h>

#include "media/record.h"

enum image_chance {
	IMAGE_NOTHING,	  /* only what was fenced */
	IMAGE_EVERYTHING, /* all that was stored */
	IMAGE_LINES,	  /* whole lines, by chance */
	IMAGE_MOST_LINES, /* a few are missing */
	IMAGE_PREFIXES,	  /* of each line the first stores, as many as chance wants */
};

struct image;

/* Exits when memory runs out. */
struct image *image_create(const uint8_t *base, uint64_t bytes);
void image_destroy(struct image *image);
/* The events of one thread, in order. */
void image_event(struct image *image, const struct adit_event *event);
/* Writes one possible image to `to`. */
void image_build(struct image *image, uint8_t *to, enum image_chance chance,
		 uint64_t *random_state);

#endif
