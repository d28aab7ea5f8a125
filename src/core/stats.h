/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Statistics that everybody who has the pool open keeps together: shards (media/counts.h) in scratch blocks of the
 * kind ADIT_SCRATCH_STATS, one for each thread, and what lanes and the volatile region count for themselves.
 *
 * A block goes from a participant that left or died to the next that wants one, with what is in it, so the sums only
 * grow while the incarnation lasts.
 */
#ifndef ADIT_CORE_STATS_H
#define ADIT_CORE_STATS_H

#include "core/core.h"
#include "core/scratch.h"
#include "media/counts.h"

#define ADIT_SHARDS_OF_BLOCK                                                                       \
	((unsigned)((ADIT_BLOCK - sizeof(struct adit_scratch)) / (ADIT_COUNTS * sizeof(uint64_t))))

static inline uint64_t *adit__stats_shard(struct adit_scratch *s, unsigned i)
{
	return (uint64_t *)(s + 1) + i * ADIT_COUNTS;
}

/* Adds all shards to sum[ADIT_COUNTS]; others go on counting.  Stores nothing: fs may be a view of a pool that
 * somebody else has open (its geometry and its incarnation).  False: the list makes no sense, or a media error lies
 * in it; then the sum means nothing. */
bool adit__stats_sum(const struct adit_fs *, uint64_t *sum);

/* Records that were committed, and their bytes. */
void adit__stats_records(const struct adit_fs *, uint64_t *records, uint64_t *bytes);

/* Blocks of the dead become nobody's: in a repair, and of one that died in no operation. */
void adit__stats_bury(struct adit_fs *, const uint8_t *dead);
void adit__stats_take_over(struct adit_fs *, uint32_t participant);

#endif
