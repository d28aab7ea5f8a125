/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * image.h - pools to damage: made once in memory, with a list of their structures.
 *
 * Each image is a private mapping between pages that nobody may touch, so that a stray pointer faults.
 * image_restore makes it what it was: pages that were written are dropped, the rest costs nothing.
 */
#ifndef ADIT_TEST_FUZZ_IMAGE_H
#define ADIT_TEST_FUZZ_IMAGE_H

#include "subject.h"

#define IMAGE_BYTES (4ull << 20)
#define IMAGES	    6u

enum part_kind {
	PART_SUPER,
	PART_CKPT,
	PART_ROOT,
	PART_GROUP,
	PART_BITMAP,
	PART_INTENT,
	PART_INODE,
	PART_CLUSTER,
	PART_NODE,
	PART_RECORD,
	PART_DATA,     /* contents, link targets, long attribute values: anything else in use */
	PART_VOLATILE, /* what means something only with the right incarnation */
	PART_KINDS
};

struct part {
	enum part_kind kind;
	uint32_t offset, bytes;
};

struct image {
	const char *name;
	bool closed;   /* cleanly: every seal is right, nothing is to be replayed */
	uint8_t *pool; /* IMAGE_BYTES, may be written */
	struct part *part;
	uint32_t parts, first[PART_KINDS + 1]; /* parts of a kind lie together */
	struct adit_super_pm super;
};

extern struct image images[IMAGES];

void images_make(void);
void image_restore(struct image *);
/* Number n of those that fields are likely to be checked against. */
uint64_t image_limit(const struct image *, uint64_t n);
/* Make the part's checksum right, where it has one. */
void image_mend(struct image *, const struct part *);

#endif
