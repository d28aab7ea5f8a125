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
	return block >= fs->first_block && block < fs->pool_blocks && count != 0 &&
	       count <= fs->pool_blocks - block &&
	       (ADIT_LIKELY(block + count <= fs->cluster_blocks) ||
		!adit__touches_cluster(fs, block, count));
}

#endif
