/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Blocks.  A group's volatile bitmap is the persistent one plus what is
 * reserved by running change sets plus what is freed but may still be named
 * by a record above C (quarantine, I5).  Allocation looks only at the volatile
 * one, under the group's lock, briefly; the record carries the bits.
 */
#ifndef ADIT_CORE_ALLOC_H
#define ADIT_CORE_ALLOC_H

#include "core/core.h"

struct adit_run {
	uint64_t block;
	uint64_t count;
};

#define ADIT_ALLOC_RESERVE 1u /* may use the reserve: needed to free space */
#define ADIT_ALLOC_HUGE 2u    /* wants 2 MiB-aligned runs */

/* One run of between min and want blocks, preferably starting at goal (0:
 * anywhere).  Reserved at once; the change set carries ALLOC, and dropping the
 * set gives it back.  -ENOSPC after a checkpoint did not help; -EIO. */
int adit__alloc_blocks(struct adit_cs *, uint64_t goal, uint64_t want, uint64_t min,
		       unsigned flags, struct adit_run *out) ADIT_MUST_CHECK;
/* The blocks are free once the change set's record lies below C. */
void adit__free_blocks(struct adit_cs *, uint64_t block, uint64_t count);
/* One block, taken in the volatile bitmap only (scratch.h); 0: there is none. */
uint64_t adit__alloc_scratch(struct adit_fs *);

/* For the log: what the entries mean. */
void adit__alloc_apply(struct adit_fs *, uint64_t block, uint64_t count, bool set,
		       uint64_t seq);
void adit__alloc_unreserve(struct adit_fs *, uint64_t block, uint64_t count);
/* Out of quarantine (I5), unless vol->repairs is another number by then. */
void adit__alloc_release(struct adit_fs *, uint64_t block, uint64_t count, uint64_t repairs);
/* Recompute the seals of the bitmap blocks that hold these bits. The caller
 * flushes what adit__bitmap_lines names. */
void adit__bitmap_seal(struct adit_fs *, uint64_t block);
void adit__bitmap_where(struct adit_fs *, uint64_t block, uint64_t *bitmap_block_offset,
			uint64_t *word_offset, uint64_t *seal_offset);

/* The volatile bitmaps anew, of groups that have one: what the persistent ones say, then what else is not to be
 * given away (that is taken off vol->free_blocks), then the counts. */
void adit__vol_reset(struct adit_fs *);
void adit__vol_keep(struct adit_fs *, uint64_t block, uint64_t count);
void adit__vol_count(struct adit_fs *);

/* How large a pool may be on a medium of so many blocks: a cluster that could not hold its own metadata, and some
 * more, is left off. */
uint64_t adit__fit_blocks(const struct adit_super_pm *, uint64_t blocks);
/* The size and what follows from it; the reserve never falls. */
void adit__super_resize(struct adit_super_pm *, uint64_t blocks);
static inline uint64_t adit__usual_reserve(uint64_t pool_blocks)
{
	return min_u64(max_u64(pool_blocks / 200, 16), 65536);
}
/* The first ADIT_GROUP_SEAL_TO bytes of a header and of its replica, which follow from the geometry. */
void adit__group_fixed(const struct adit_fs *, uint32_t group, struct adit_group_pm *);
/* Header and replica of an empty group; g: scratch, zeroed but for what the last call left.  Durable with the next
 * fence. */
void adit__group_write(struct adit_fs *, struct adit_group_pm *g, uint32_t group);
/* Set the bits of an area and write them back, their seals' lines too: durable with the next fence. */
void adit__mark_area(struct adit_fs *, const struct adit_run *);

/* Geometry. */
uint64_t adit__group_header_block(const struct adit_fs *, uint32_t group);
uint64_t adit__group_replica_block(const struct adit_fs *, uint32_t group);
uint64_t adit__group_bitmap_block(const struct adit_fs *, uint32_t group);
struct adit_vol_group *adit__group_vol(const struct adit_fs *, uint32_t group);
uint64_t *adit__group_vol_bitmap(const struct adit_fs *, uint32_t group);
uint32_t adit__group_blocks_of(const struct adit_fs *, uint32_t group);
/* Blocks that hold fixed metadata: [start, start + count) of area i, -ENOENT
 * behind the last.  fsck and mkfs mark these as used. */
int adit__fixed_area(const struct adit_fs *, uint32_t i, struct adit_run *out);
/* Part of it lies in the fixed area of a later cluster. */
bool adit__touches_cluster(const struct adit_fs *, uint64_t block, uint64_t count);
/* May something that is allocated lie there?  Every pointer on the medium is asked that before
 * anybody follows it: what is written through a pointer into the rings would be taken for records. */
static inline bool adit__run_is_sane(const struct adit_fs *fs, uint64_t block, uint64_t count)
{
	uint64_t end = adit__pool_end(fs); /* somebody in no operation may ask */

	return block >= fs->first_block && block < end && count != 0 && count <= end - block &&
	       (ADIT_LIKELY(block + count <= fs->cluster_blocks) ||
		!adit__touches_cluster(fs, block, count));
}

#endif
