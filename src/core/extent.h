/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * A file's map from file blocks to pool blocks: up to four extents in the
 * inode, then a B+tree. Works on inodes whose fork is NONE, EXTENTS or TREE.
 */
#ifndef ADIT_CORE_EXTENT_H
#define ADIT_CORE_EXTENT_H

#include "core/core.h"

struct adit_extent {
	uint64_t file_block;
	uint64_t block;	 /* pool block; 0 = hole */
	uint64_t blocks; /* length; of a hole: up to the next extent, or to
			    ADIT_FILE_BLOCKS_MAX */
	uint32_t epoch;
	uint32_t flags; /* ADIT_EXTENT_UNWRITTEN, ... */
};
/* File offsets are below 2^63, so blocks below this. */
#define ADIT_FILE_BLOCKS_MAX (1ull << 51)

/* What lies at file_block: an extent trimmed to start there, or a hole. */
int adit__extent_at(struct adit_fs *, struct adit_cs *, const struct adit_inode_pm *,
		    uint64_t file_block, struct adit_extent *out) ADIT_MUST_CHECK;
/* Private copies, exclusively locked, from here on. Update fork and `blocks`
 * (tree nodes); data blocks are counted in `blocks` too. */
/* Where nothing is mapped now; merges with neighbours when they touch. */
int adit__extent_insert(struct adit_cs *, struct adit_inode_pm *, const struct adit_extent *,
			unsigned alloc_flags) ADIT_MUST_CHECK;
/* Unmap [from, to), freeing the blocks (free = true) or not. As long as the
 * record has room: 0 when all is unmapped, -EAGAIN when a further step is
 * needed (it works from the high end down; *done_to is where it got to). */
int adit__extent_remove(struct adit_cs *, struct adit_inode_pm *, uint64_t from, uint64_t to,
			bool free, uint64_t *done_to) ADIT_MUST_CHECK;
/* Unwritten becomes written (or the reverse) in [from, to), all of which is
 * mapped. */
int adit__extent_convert(struct adit_cs *, struct adit_inode_pm *, uint64_t from, uint64_t to,
			 bool unwritten) ADIT_MUST_CHECK;
/* Move every extent at or above `from` by `delta` blocks, a few at a time:
 * upward from the high end, downward from the low end. *at: where to go on
 * (starts as given by the caller), -EAGAIN while there is more. */
int adit__extent_shift(struct adit_cs *, struct adit_inode_pm *, uint64_t from, int64_t delta,
		       uint64_t *at) ADIT_MUST_CHECK;
/* Extents from file_block on, in order; cs may be NULL. */
typedef int (*adit_extent_visit)(void *arg, const struct adit_extent *);
int adit__extent_walk(struct adit_fs *, const struct adit_inode_pm *, uint64_t file_block,
		      adit_extent_visit, void *arg) ADIT_MUST_CHECK;

#endif
