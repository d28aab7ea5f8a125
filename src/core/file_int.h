/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * What file.c, file_write.c, fallocate.c and file_steps.c share.  Everything
 * here works on an inode that the operation has locked exclusively.
 */
#ifndef ADIT_CORE_FILE_INT_H
#define ADIT_CORE_FILE_INT_H

#include "core/alloc.h"
#include "core/core.h"
#include "core/extent.h"
#include "core/file.h"
#include "core/inode.h"
#include "core/linux_abi.h"

/*
 * The staging area: file blocks that no file position can name.  A call that
 * needs more extents than one record can hold collects them here, block b at
 * ADIT_STAGE + b, and moves them into place once nothing can fail any more.
 */
#define ADIT_STAGE ADIT_FILE_BLOCKS_MAX
#define ADIT_STAGE_END (2 * ADIT_FILE_BLOCKS_MAX)

#define ADIT_OFFSET_IN_BLOCK(x) ((x) & (ADIT_BLOCK - 1))
static inline uint64_t adit__block_of(uint64_t bytes)
{
	return bytes >> ADIT_BLOCK_SHIFT;
}
static inline uint64_t adit__blocks_for(uint64_t bytes)
{
	return (bytes >> ADIT_BLOCK_SHIFT) + (ADIT_OFFSET_IN_BLOCK(bytes) != 0);
}
static inline uint64_t adit__bytes_of(uint64_t blocks)
{
	return blocks << ADIT_BLOCK_SHIFT;
}

/* extent.c: bytes of record that one change of the map may take. */
size_t adit__extent_room(const struct adit_inode_pm *);
/* The last extent that starts below file_block; -ENOENT. */
int adit__extent_before(struct adit_fs *, struct adit_cs *, const struct adit_inode_pm *,
			uint64_t file_block, struct adit_extent *) ADIT_MUST_CHECK;
/* Free everything, whole leaves at a time; as adit__tree_destroy_step. */
int adit__extent_destroy_step(struct adit_cs *, struct adit_inode_pm *) ADIT_MUST_CHECK;

/* ---- file.c ------------------------------------------------------------- */

/* Begin, lock exclusively, private copy.  On error the operation has ended. */
int adit__file_begin(struct adit_op *, struct adit_fs *, uint64_t ino, struct adit_inode_pm **)
	ADIT_MUST_CHECK;
/* 0, -EISDIR, -EINVAL: is this a regular file? */
int adit__file_is_regular(const struct adit_inode_pm *) ADIT_MUST_CHECK;
/* Commit what was put, then the private copy anew. */
int adit__file_commit(struct adit_op *, uint64_t ino, struct adit_inode_pm **) ADIT_MUST_CHECK;
/* Contents changed now. */
void adit__file_touch(struct adit_fs *, struct adit_inode_pm *);
/* May data be stored in place, or could logged data be replayed over it (I8)? */
bool adit__file_is_settled(struct adit_fs *, const struct adit_inode_pm *);
/* Where the bytes [pos, pos + len) are stored, when the inode itself says so and they lie in one piece
 * that is written; else NULL. Reads everything once and believes it only within bounds, so that the
 * inode may change meanwhile (adit__glance). */
const uint8_t *adit__file_piece(const struct adit_fs *, const struct adit_inode_pm *, uint64_t pos,
				uint64_t len);
/* A run for file block fb; goal 0: near what lies before it in the file. */
int adit__file_alloc(struct adit_cs *, const struct adit_inode_pm *, uint64_t fb, uint64_t want,
		     uint64_t goal, struct adit_run *) ADIT_MUST_CHECK;
/* Put an extent of new blocks into the map. */
int adit__file_map(struct adit_cs *, struct adit_inode_pm *, uint64_t fb, const struct adit_run *,
		   uint32_t flags) ADIT_MUST_CHECK;
/* An inline file's bytes move to a block of its own (an empty one to nothing). */
int adit__file_uninline(struct adit_cs *, struct adit_inode_pm *) ADIT_MUST_CHECK;
/* Log zeros over [from, to), which lies in one block: nothing when that is not
 * written, or is zero already. */
int adit__file_zero_part(struct adit_cs *, struct adit_inode_pm *, uint64_t from, uint64_t to)
	ADIT_MUST_CHECK;
/* The file is about to grow: what its last block holds beyond the end must read
 * as zeros up to `to`.  Commits a record of its own in the rare case that it
 * does not (a mapping stored there, or an append that a crash cut off). */
int adit__file_clean_tail(struct adit_op *, uint64_t ino, struct adit_inode_pm **, uint64_t to)
	ADIT_MUST_CHECK;

/* ---- file_steps.c --------------------------------------------------------- */

/* An operation that goes on over several records: a lane intent in memory. */
struct adit_steps {
	uint32_t type; /* ADIT_INTENT_* */
	bool recorded; /* the medium has it: the last record must clear it */
	bool decided;  /* adit__steps_run has committed its first record */
	uint64_t a, b, c, d;
};
/*
 * Do it, as many records as it takes; the first one carries what the caller has
 * put already.  After a crash: nothing, or all of it once recovery has run.
 */
int adit__steps_run(struct adit_op *, uint64_t ino, struct adit_steps *) ADIT_MUST_CHECK;
/* Commit this step with the intent that undoes it after a crash. */
int adit__steps_guard(struct adit_op *, uint64_t ino, struct adit_steps *) ADIT_MUST_CHECK;
/* Forget the uncommitted step and free what guarded steps committed. */
void adit__steps_undo(struct adit_op *, uint64_t ino, struct adit_steps *);

/* ---- fallocate.c ------------------------------------------------------------ */

/* Unwritten extents for every hole in blocks [fb, lb), all or none; the record
 * (the decisive one, if there are several) carries what `also` puts. */
typedef void (*adit_also)(void *arg, struct adit_fs *, struct adit_inode_pm *);
int adit__file_reserve(struct adit_op *, uint64_t ino, uint64_t fb, uint64_t lb, adit_also,
		       void *arg) ADIT_MUST_CHECK;

#endif
