/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Scratch blocks: free blocks of the pool lent to the volatile region, for shared tables whose size nobody
 * knows beforehand.  They are taken in the volatile bitmaps only: on the medium they stay free, nothing is
 * flushed, and with the incarnation they are gone.  All of them are on one list (vol->scratch), from which a
 * repair knows them (repair.c); none is given back before the last participant has left, but one that
 * nobody owns any more is given to the next who wants one of its kind.
 */
#ifndef ADIT_CORE_SCRATCH_H
#define ADIT_CORE_SCRATCH_H

#include "core/core.h"

/* What a block is used for. */
#define ADIT_SCRATCH_HOLDS     1u /* hold.c */
#define ADIT_SCRATCH_INHERITED 2u /* the same, of somebody who died */
#define ADIT_SCRATCH_LOCK_ROOT 3u /* advisory.c; these are everybody's */
#define ADIT_SCRATCH_LOCKS     4u
#define ADIT_SCRATCH_WAITERS   5u
#define ADIT_SCRATCH_STATS     6u /* stats.c */

#define ADIT_SCRATCH_ALL 0xffffffu /* instead of a participant: everybody's */

struct adit_scratch {
	uint64_t next;	/* block; 0: the last */
	uint64_t owner; /* adit__scratch_owner; of participant 0: nobody's */
	uint64_t pad[6];
};
ADIT_STATIC_ASSERT(sizeof(struct adit_scratch) == 64, "a line, before what the block holds");

/* kind:8 | participant + 1:24, below the incarnation. */
static inline uint64_t adit__scratch_owner(const struct adit_fs *fs, uint32_t kind,
					   uint32_t participant)
{
	return (uint64_t)fs->incarnation << 32 | kind << 24 | participant;
}
static inline uint32_t adit__scratch_kind(const struct adit_scratch *s)
{
	return (uint32_t)__atomic_load_n(&s->owner, __ATOMIC_ACQUIRE) >> 24;
}
/* + 1; 0: nobody */
static inline uint32_t adit__scratch_of(const struct adit_scratch *s)
{
	return (uint32_t)__atomic_load_n(&s->owner, __ATOMIC_ACQUIRE) & 0xffffff;
}

/* One for the participant (number + 1), zeroed behind its header unless somebody used it for the same before.
 * NULL: the pool is full.  In an operation that holds no group's lock, or, in a pool of our own, in none. */
struct adit_scratch *adit__scratch_get(struct adit_fs *, uint32_t kind, uint32_t participant);
/* All of a participant's become nobody's. */
void adit__scratch_leave(struct adit_fs *, uint32_t participant);

/* The list, while others add to it: NULL begins, NULL ends. */
struct adit_scratch *adit__scratch_next(const struct adit_fs *, const struct adit_scratch *);
/* How many there are: so many fewer blocks can be had than are free. */
uint64_t adit__scratch_blocks(const struct adit_fs *);
bool adit__is_scratch(const struct adit_fs *, uint64_t block);

#endif
