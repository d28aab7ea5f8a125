/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * fallocate(2) in all its modes.
 *
 *	(none)		unwritten extents for the holes, all or none
 *	PUNCH_HOLE	whole blocks are freed, the edges logged as zeros
 *	ZERO_RANGE	holes are reserved, whole blocks become unwritten, edges zero
 *	COLLAPSE_RANGE	blocks are freed, what follows moves down
 *	INSERT_RANGE	what follows moves up
 *	UNSHARE_RANGE	nothing to do: no extent is shared
 *
 * One record where the map's change fits, else steps (file_steps.c): after a
 * crash the call has happened or not.  Space that ZERO_RANGE reserved before the
 * crash may stay reserved; contents and size do not show it.
 */
#include "core/file_int.h"

/* An ALLOC entry and an intent. */
#define ROOM_SLACK 512u

#define MODES_KNOWN                                                                                \
	(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE |                   \
	 FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE)

struct range {
	struct adit_op op;
	struct adit_fs *fs;
	struct adit_inode_pm *ip;
	uint64_t ino;
	uint64_t from, to; /* bytes */
	uint64_t size;	   /* afterwards */
};

/* ---- reserving ------------------------------------------------------------------ */

/* Unwritten extents for the holes from *at on, shift blocks higher up in the map.
 * -E2BIG: the record is full, *at says how far it got. */
static int reserve_some(struct adit_cs *cs, struct adit_inode_pm *ip, uint64_t lb, uint64_t shift,
			uint64_t *at)
{
	uint64_t goal = 0;

	while (*at < lb) {
		struct adit_extent e;
		struct adit_run run;
		int err = adit__extent_at(adit__cs_fs(cs), cs, ip, *at, &e);

		if (err)
			return err;
		if (e.block != 0) {
			*at += min_u64(e.blocks, lb - *at);
			goal = e.block + e.blocks;
			continue;
		}
		if (adit__cs_room(cs) < adit__extent_room(ip) + ROOM_SLACK)
			return -E2BIG;
		err = adit__file_alloc(cs, ip, *at, min_u64(e.blocks, lb - *at), goal, &run);
		if (!err)
			err = adit__file_map(cs, ip, shift + *at, &run, ADIT_EXTENT_UNWRITTEN);
		if (err)
			return err;
		*at += run.count;
		goal = run.block + run.count;
	}
	return 0;
}

/* The decisive record: what the staged extents are reserved for, and the rest. */
static int reserve_decide(struct adit_op *op, uint64_t ino, struct adit_steps *guard,
			  struct adit_steps *s, adit_also also, void *arg)
{
	struct adit_inode_pm *ip;
	int err = adit__cs_inode(op->cs, ino, &ip);

	if (err)
		return err;
	if (also)
		also(arg, op->fs, ip);
	err = adit__steps_run(op, ino, s);
	if (s->decided)
		guard->recorded = false;
	return err;
}

/* More extents than a record holds: collected in the staging area. */
static int reserve_staged(struct adit_op *op, uint64_t ino, uint64_t fb, uint64_t lb,
			  adit_also also, void *arg)
{
	struct adit_steps guard = {.type = ADIT_INTENT_TRUNCATE, .a = ADIT_STAGE,
				   .b = ADIT_STAGE_END};
	struct adit_steps s = {.type = ADIT_INTENT_REPLACE, .recorded = true, .a = fb, .b = lb,
			       .c = ADIT_STAGE + fb};
	int err = 0;

	while (!err && fb < lb) {
		struct adit_inode_pm *ip;
		uint64_t at = fb;

		err = adit__cs_inode(op->cs, ino, &ip);
		if (!err)
			err = adit__file_uninline(op->cs, ip);
		if (!err)
			err = reserve_some(op->cs, ip, lb, ADIT_STAGE, &at);
		if (err == -E2BIG && at > fb)
			err = 0;
		if (!err)
			err = adit__steps_guard(op, ino, &guard);
		fb = at;
	}
	if (!err)
		err = reserve_decide(op, ino, &guard, &s, also, arg);
	if (err)
		adit__steps_undo(op, ino, &guard);
	return err;
}

/*
 * Pre: inode locked exclusively, nothing put.  Commits at: the one record, or
 * the decisive one and the steps after it.  After a crash: all or nothing.
 */
int adit__file_reserve(struct adit_op *op, uint64_t ino, uint64_t fb, uint64_t lb, adit_also also,
		       void *arg)
{
	struct adit_inode_pm *ip;
	uint64_t at = fb;
	int err = adit__cs_inode(op->cs, ino, &ip);

	/* What cannot be is not tried: others need the space meanwhile. */
	if (!err && lb - fb > get64(ip->blocks) + adit__total_free(op->fs))
		err = -ENOSPC;
	if (!err)
		err = adit__file_uninline(op->cs, ip);
	if (!err)
		err = reserve_some(op->cs, ip, lb, 0, &at);
	if (err == -E2BIG) {
		adit__cs_drop(op->cs);
		return reserve_staged(op, ino, fb, lb, also, arg);
	}
	if (err) {
		adit__cs_drop(op->cs);
		return err;
	}
	if (also)
		also(arg, op->fs, ip);
	return adit__cs_commit(op->cs);
}

/* ---- the modes ------------------------------------------------------------------ */

static void put_size(void *arg, struct adit_fs *fs, struct adit_inode_pm *ip)
{
	const struct range *r = arg;

	ip->size = put64(r->size);
	adit__file_touch(fs, ip);
}

static int only_size(struct range *r)
{
	put_size(r, r->fs, r->ip);
	return adit__cs_commit(r->op.cs);
}

/* Does the file live in the inode, and the range too? */
static bool stays_inline(const struct range *r)
{
	uint32_t fork = adit__inode_fork(r->ip);

	return (fork == ADIT_FORK_NONE || fork == ADIT_FORK_INLINE) &&
	       get64(r->ip->size) <= ADIT_FORK_BYTES && r->to <= ADIT_FORK_BYTES;
}

static void zero_inline(struct range *r)
{
	uint64_t to = min_u64(r->to, ADIT_FORK_BYTES);

	if (adit__inode_fork(r->ip) == ADIT_FORK_INLINE && r->from < to)
		memset(r->ip->fork.bytes + r->from, 0, to - r->from);
}

static int allocate(struct range *r)
{
	int err;

	if (stays_inline(r))
		return only_size(r);
	err = adit__file_clean_tail(&r->op, r->ino, &r->ip, r->size);
	if (err)
		return err;
	return adit__file_reserve(&r->op, r->ino, adit__block_of(r->from), adit__blocks_for(r->to),
				  put_size, r);
}

/* The parts of the range that are not whole blocks; [lo, hi) are. */
static int zero_edges(struct range *r, uint64_t lo, uint64_t hi)
{
	int err = adit__file_zero_part(r->op.cs, r->ip, r->from,
				       min_u64(r->to, adit__bytes_of(lo)));

	if (!err && hi >= lo)
		err = adit__file_zero_part(r->op.cs, r->ip, adit__bytes_of(hi), r->to);
	return err;
}

static int punch(struct range *r)
{
	uint64_t lo = adit__blocks_for(r->from), hi = adit__block_of(r->to);
	struct adit_steps s = {.type = ADIT_INTENT_TRUNCATE, .a = lo};
	uint32_t fork = adit__inode_fork(r->ip);
	int err;

	adit__file_touch(r->fs, r->ip);
	if (fork == ADIT_FORK_NONE || fork == ADIT_FORK_INLINE) {
		zero_inline(r);
		return adit__cs_commit(r->op.cs);
	}
	/* The rest of the last block is beyond the end: it goes too. */
	if (r->to >= get64(r->ip->size))
		hi = adit__blocks_for(r->to);
	err = zero_edges(r, lo, hi);
	s.b = max_u64(lo, hi);
	return err ? err : adit__steps_run(&r->op, r->ino, &s);
}

static int zero_range(struct range *r)
{
	uint64_t lo = adit__blocks_for(r->from), hi = adit__block_of(r->to);
	struct adit_steps s = {.type = ADIT_INTENT_ZERO, .a = lo, .b = max_u64(lo, hi)};
	int err;

	if (stays_inline(r)) {
		zero_inline(r);
		adit__file_touch(r->fs, r->ip);
		return only_size(r);
	}
	err = adit__file_clean_tail(&r->op, r->ino, &r->ip, r->size);
	if (!err)
		err = adit__file_reserve(&r->op, r->ino, adit__block_of(r->from),
					 adit__blocks_for(r->to), NULL, NULL);
	if (!err)
		err = adit__cs_inode(r->op.cs, r->ino, &r->ip);
	if (!err)
		err = zero_edges(r, lo, hi);
	if (err)
		return err;
	r->ip->size = put64(r->size);
	adit__file_touch(r->fs, r->ip);
	return adit__steps_run(&r->op, r->ino, &s);
}

static int collapse(struct range *r)
{
	uint64_t len = r->to - r->from;
	struct adit_steps s = {.type = ADIT_INTENT_COLLAPSE, .a = adit__block_of(r->from),
			       .b = adit__block_of(len)};
	uint64_t size = get64(r->ip->size);

	if (ADIT_OFFSET_IN_BLOCK(r->from | len) != 0 || r->to >= size)
		return -EINVAL;
	r->ip->size = put64(size - len);
	adit__file_touch(r->fs, r->ip);
	return adit__steps_run(&r->op, r->ino, &s);
}

static int insert(struct range *r)
{
	uint64_t len = r->to - r->from, size = get64(r->ip->size);
	struct adit_steps s = {.type = ADIT_INTENT_INSERT, .a = adit__block_of(r->from),
			       .b = adit__block_of(len), .c = ADIT_STAGE};
	struct adit_extent last;
	int err;

	if (ADIT_OFFSET_IN_BLOCK(r->from | len) != 0 || r->from >= size)
		return -EINVAL;
	if (len > ADIT_FILE_SIZE_MAX - size)
		return -EFBIG;
	err = adit__file_uninline(r->op.cs, r->ip);
	if (err)
		return err;
	err = adit__extent_before(r->fs, r->op.cs, r->ip, ADIT_STAGE, &last);
	if (err && err != -ENOENT)
		return err;
	/* Reserved beyond the end, so far up that it cannot move. */
	if (!err && s.b > ADIT_STAGE - (last.file_block + last.blocks))
		return -EFBIG;
	r->ip->size = put64(size + len);
	adit__file_touch(r->fs, r->ip);
	return adit__steps_run(&r->op, r->ino, &s);
}

/* ---- the call --------------------------------------------------------------------- */

/* As vfs_fallocate. */
static int check_mode(int mode, uint64_t offset, uint64_t len)
{
	int what = mode & ~FALLOC_FL_KEEP_SIZE;

	if (offset > (uint64_t)INT64_MAX || len == 0 || len > (uint64_t)INT64_MAX)
		return -EINVAL;
	if (mode & ~MODES_KNOWN)
		return -EOPNOTSUPP;
	if ((what & FALLOC_FL_PUNCH_HOLE) && (what & FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if ((what & FALLOC_FL_PUNCH_HOLE) && !(mode & FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	if ((what & FALLOC_FL_COLLAPSE_RANGE) && mode != FALLOC_FL_COLLAPSE_RANGE)
		return -EINVAL;
	if ((what & FALLOC_FL_INSERT_RANGE) && mode != FALLOC_FL_INSERT_RANGE)
		return -EINVAL;
	if ((what & FALLOC_FL_UNSHARE_RANGE) && what != FALLOC_FL_UNSHARE_RANGE)
		return -EINVAL;
	return 0;
}

static int check_file(const struct range *r, int mode)
{
	uint32_t type = ADIT_S_TYPE(get32(r->ip->mode)), flags = get32(r->ip->flags);

	if ((flags & ADIT_IFLAG_IMMUTABLE) ||
	    ((flags & ADIT_IFLAG_APPEND) && (mode & ~FALLOC_FL_KEEP_SIZE)))
		return -EPERM;
	if (type == S_IFIFO)
		return -ESPIPE;
	if (type == S_IFDIR)
		return -EISDIR;
	if (type != S_IFREG)
		return -ENODEV;
	return r->to > ADIT_FILE_SIZE_MAX ? -EFBIG : 0;
}

static int run_mode(struct range *r, int mode)
{
	switch (mode & ~FALLOC_FL_KEEP_SIZE) {
	case FALLOC_FL_PUNCH_HOLE:
		return punch(r);
	case FALLOC_FL_ZERO_RANGE:
		return zero_range(r);
	case FALLOC_FL_COLLAPSE_RANGE:
		return collapse(r);
	case FALLOC_FL_INSERT_RANGE:
		return insert(r);
	default:
		return allocate(r);
	}
}

static int unshare(struct range *r)
{
	int err = adit__file_clean_tail(&r->op, r->ino, &r->ip, r->size);

	if (!err && r->size > ADIT_FORK_BYTES)
		err = adit__file_uninline(r->op.cs, r->ip);
	return err ? err : only_size(r);
}

int adit__file_fallocate(struct adit_fs *fs, uint64_t ino, int mode, uint64_t offset, uint64_t len)
{
	struct range r = {.fs = fs, .ino = ino, .from = offset, .to = offset + len};
	int err = check_mode(mode, offset, len);

	if (!err)
		err = adit__file_begin(&r.op, fs, ino, &r.ip);
	if (err)
		return err;
	r.size = get64(r.ip->size);
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		r.size = max_u64(r.size, r.to);
	err = check_file(&r, mode);
	if (!err)
		err = mode & FALLOC_FL_UNSHARE_RANGE ? unshare(&r) : run_mode(&r, mode);
	adit__op_end(&r.op);
	return err;
}
