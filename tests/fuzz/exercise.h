/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * exercise.h - everything that can be done with a pool that may be damaged: look at all of it, change
 * it, check it, repair it.
 *
 * What must hold whatever the damage: no crash, no hang; an error that says "damaged" comes with a
 * line that says what; a repair that says it is done leaves a pool in which a check finds nothing, which
 * opens, can be worked on, and in which the check finds nothing after that either.
 */
#ifndef ADIT_TEST_FUZZ_EXERCISE_H
#define ADIT_TEST_FUZZ_EXERCISE_H

#include "subject.h"

/* Everything that can be seen of a pool, short: attributes, names and contents as hashes. */
#define SEEN_ATTR    1u
#define SEEN_ENTRIES 2u
#define SEEN_XATTRS  4u
#define SEEN_LINK    8u
#define SEEN_DATA    16u
#define SEEN_HASHES  5

struct seen_node {
	uint64_t ino;
	uint32_t mode;
	unsigned known; /* SEEN_*: read without an error */
	uint64_t hash[SEEN_HASHES];
};
struct seen_entry {
	uint64_t dir, ino;
	uint16_t len;
	char name[256];
};
struct view {
	struct seen_node *node;
	struct seen_entry *entry;
	uint16_t *slot; /* by inode number: where its node is, counted from 1 */
	uint32_t nodes, entries;
};

void view_take(struct subject *, struct view *);
void view_free(struct view *);
/* What was read without an error is what it was; `ignore`: SEEN_* not to compare. Looks up all old names
 * too. fuzz_fail if not. */
void view_compare(struct subject *, const struct view *was, const struct view *now,
		  unsigned ignore);

/* Work from now on in records that hold little, so that it takes many steps. */
void exercise_in_steps(bool wanted);
/* Bytes of one step; see exercise.c. */
#define STEP_BYTES 8u
#define STEPS_MAX  24u
/* Work on an open pool; what fails, fails. */
void exercise_steps(struct subject *, const struct view *, const uint8_t *steps, size_t bytes);

/* A pool as it lies there, any bytes: open it, look, compare with `was` unless NULL, work, close (or
 * abandon) it, open it again. Returns whether it could be opened. */
bool exercise(struct subject *, const struct view *was, unsigned ignore, bool abandon,
	      const uint8_t *steps, size_t bytes);
/* The same for fsck -n, and for fsck -y with all that must hold after it. Returns whether it could
 * be repaired. */
void exercise_check(struct subject *);
bool exercise_repair(struct subject *, const uint8_t *steps, size_t bytes);

#endif
