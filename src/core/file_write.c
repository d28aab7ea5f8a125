/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Writing to regular files (G1, G2).
 *
 * What is done with a piece of the range depends on what lies there:
 *
 *	hole		new blocks, written as fresh memory, mapped by the record
 *	unwritten	written like fresh memory (nobody can read it), made
 *			written by the record
 *	written		beyond the end of the file: likewise
 *			below it, may tear: stored in place, flushed with the record
 *			below it, must not tear: carried by the record when that is
 *			at most ADIT_ATOMIC_MAX (LOG_EXTEND_MAX in a write that
 *			extends the file), else new blocks replace the old
 *
 * What must not tear: everything below the old end when the write extends the
 * file (so that an extending write happens or does not, at any size), when it
 * asks for ADIT_WRITE_ATOMIC, or when the file has ADIT_IFLAG_ATOMIC.
 *
 * Blocks are found before anything reachable is stored to, so -ENOSPC leaves no
 * trace.  One record does it all in practice.  When there are so many extents
 * that it cannot (write_steps):
 *  - may tear: holes are reserved first, all or none; then the range is written
 *    piece by piece, each piece durable;
 *  - must not: what lies beyond the end is built in place, where nobody sees it;
 *    what lies below is tried in one record, else built in the staging area; the
 *    decisive record moves the end and starts the exchange (file_steps.c).  When
 *    that is undone, space reserved beyond the end goes too.
 *
 * Data that a record carries may be replayed after a crash until the checkpoint
 * has passed it (I8).  So nothing is stored in place while the file is not
 * settled: a small write is carried by its record then, a large one waits.
 *
 * Set-user-ID bits are not cleared: that takes a caller's credentials, which the
 * ways in know and the core does not.
 */
#include "core/file_int.h"

#define LOG_APPEND_MAX 512u	     /* an append this small costs one fence */
#define LOG_EXTEND_MAX (32u * 1024)    /* below the old end; leaves room for the map */
#define LOG_UNSETTLED_MAX (16u * 1024) /* larger ones wait for the checkpoint */
#define LOG_CHUNK 512u		     /* gathered at a time from small pieces */
#define ROOM_SLACK 512u		     /* an ALLOC, an intent, the inode's tail */

struct write {
	struct adit_op op;
	struct adit_fs *fs;
	struct adit_inode_pm *ip; /* private copy; new after each commit */
	uint64_t ino;
	uint64_t from, to; /* the range, in bytes of the file */
	uint64_t size;	   /* before */
	bool whole;	   /* must not tear below size */
	bool copy;	   /* ... and is too large for the record: new blocks */
	bool log;	   /* the record carries what is written already */
	bool settled;	   /* data may be stored in place (I8) */
	bool partly;	   /* put_range may stop half way */
	size_t log_bytes;  /* of record that this will take at most */
	/* Where the data come from. */
	const struct adit_iovec *iov;
	unsigned n, i;
	uint64_t iov_pos; /* file position of iov[i] */
	/* What was inline and moves to block 0. */
	unsigned inline_len;
	uint8_t inline_bytes[ADIT_FORK_BYTES];
};

/* ---- data --------------------------------------------------------------------- */

/* The caller's bytes for file position pos, and how many lie there. */
static const uint8_t *source(struct write *w, uint64_t pos, uint64_t *len)
{
	if (pos < w->iov_pos) {
		w->i = 0;
		w->iov_pos = w->from;
	}
	while (pos - w->iov_pos >= w->iov[w->i].len)
		w->iov_pos += w->iov[w->i++].len;
	*len = w->iov[w->i].len - (pos - w->iov_pos);
	return (const uint8_t *)w->iov[w->i].base + (pos - w->iov_pos);
}

static void gather(struct write *w, uint64_t pos, uint8_t *to, uint64_t len)
{
	while (len > 0) {
		uint64_t now;
		const uint8_t *p = source(w, pos, &now);

		now = min_u64(now, len);
		memcpy(to, p, now);
		pos += now;
		to += now;
		len -= now;
	}
}

typedef void (*store)(struct adit_cs *, uint64_t offset, const void *, size_t);

/* No word is stored in two parts where the caller's data go on in the next piece: then a crash could
 * tear it. */
static void copy_to(struct write *w, store how, uint64_t pool, uint64_t pos, uint64_t len)
{
	while (len > 0) {
		uint64_t now, part;
		const uint8_t *p = source(w, pos, &now);
		uint8_t word[8];

		now = min_u64(now, len);
		part = now < len ? (pool + now) % 8 : 0;
		if (now > part) {
			now -= part;
		} else if (part) {
			now = min_u64(len, 8 - pool % 8);
			gather(w, pos, word, now);
			p = word;
		}
		how(w->op.cs, pool, p, now);
		pos += now;
		pool += now;
		len -= now;
	}
}

/*
 * The record carries these bytes.  Entries are made of whole words: the rest of
 * the first and the last one is what is there now, or zero.
 */
static void log_data(struct write *w, uint64_t pool, uint64_t pos, uint64_t len, bool zero_edges)
{
	uint8_t chunk[LOG_CHUNK];

	while (len > 0) {
		unsigned head = pool % 8;
		uint64_t now, span;
		const uint8_t *p = source(w, pos, &now);

		now = min_u64(now, len) & ~7ull;
		if (head == 0 && now >= LOG_CHUNK) {
			adit__cs_put(w->op.cs, pool, p, now, ADIT_KIND_DATA);
		} else {
			now = min_u64(len, LOG_CHUNK - head);
			span = round_up_u64(head + now, 8);
			if (zero_edges) {
				memset(chunk, 0, span);
			} else {
				memcpy(chunk, adit__at(w->fs, pool - head), 8);
				memcpy(chunk + span - 8, adit__at(w->fs, pool - head + span - 8), 8);
			}
			gather(w, pos, chunk + head, now);
			adit__cs_put(w->op.cs, pool - head, chunk, span, ADIT_KIND_DATA);
		}
		pool += now;
		pos += now;
		len -= now;
	}
	adit__cs_note_data(w->op.cs, w->ino);
}

/* Bytes of record that log_data takes at most. */
static size_t log_cost(uint64_t len)
{
	return len + (2 * (len / LOG_CHUNK) + 4) * 32;
}

/* Old contents of [lo, hi), in one block, for fresh memory at pool. */
static int copy_old(struct write *w, const struct adit_inode_pm *old, uint64_t pool, uint64_t lo,
		    uint64_t hi)
{
	uint64_t end = max_u64(lo, min_u64(hi, w->size));
	struct adit_extent e;
	int err;

	if (lo < end) {
		err = adit__extent_at(w->fs, NULL, old, adit__block_of(lo), &e);
		if (err)
			return err;
		if (e.block == 0 || (e.flags & ADIT_EXTENT_UNWRITTEN))
			end = lo;
		else
			adit__cs_fresh(w->op.cs, pool,
				       adit__at(w->fs, adit__bytes_of(e.block) +
							       ADIT_OFFSET_IN_BLOCK(lo)), end - lo);
	}
	if (end < hi)
		adit__cs_fresh_zero(w->op.cs, pool + (end - lo), hi - end);
	return 0;
}

/* Zeros for [lo, hi) of new memory at pool; what was inline lies in block 0. */
static void fill_edge(struct write *w, uint64_t pool, uint64_t lo, uint64_t hi)
{
	if (lo < w->inline_len && lo < hi) {
		uint64_t n = min_u64(hi, w->inline_len) - lo;

		adit__cs_fresh(w->op.cs, pool, w->inline_bytes + lo, n);
		pool += n;
		lo += n;
	}
	if (lo < hi)
		adit__cs_fresh_zero(w->op.cs, pool, hi - lo);
}

/* Blocks [fb, lb) lie at pool block `block` and are nobody's: fill all of them.
 * old: what is outside the range keeps its contents; NULL: it is zeros. */
static int fill_blocks(struct write *w, const struct adit_inode_pm *old, uint64_t fb, uint64_t lb,
		       uint64_t block)
{
	uint64_t start = adit__bytes_of(fb), end = adit__bytes_of(lb);
	uint64_t pos = max_u64(start, w->from), stop = min_u64(end, w->to);
	uint64_t pool = adit__bytes_of(block);
	int err = 0;

	if (old) {
		err = copy_old(w, old, pool, start, pos);
		if (!err && stop < end)
			err = copy_old(w, old, pool + (stop - start), stop, end);
	} else {
		fill_edge(w, pool, start, pos);
		fill_edge(w, pool + (stop - start), stop, end);
	}
	if (!err)
		copy_to(w, adit__cs_fresh, pool + (pos - start), pos, stop - pos);
	return err;
}

/* ---- pieces of the range ---------------------------------------------------------- */

static bool room_for(struct write *w, unsigned changes)
{
	return adit__cs_room(w->op.cs) >=
	       w->log_bytes + ROOM_SLACK + changes * adit__extent_room(w->ip);
}

/* New blocks for [fb, lb); at: the block up to which it is done. shift: 0, or
 * ADIT_STAGE.  -E2BIG: the record is full, *at says how far it got. */
static int new_blocks(struct write *w, const struct adit_inode_pm *old, uint64_t lb, uint64_t shift,
		      uint64_t *at)
{
	uint64_t goal = 0;

	while (*at < lb) {
		struct adit_run run;
		int err;

		if (!room_for(w, 1))
			return -E2BIG;
		err = adit__file_alloc(w->op.cs, w->ip, *at, lb - *at, goal, &run);
		if (!err)
			err = fill_blocks(w, old, *at, *at + run.count, run.block);
		if (!err)
			err = adit__file_map(w->op.cs, w->ip, shift + *at, &run, 0);
		if (err)
			return err;
		*at += run.count;
		goal = run.block + run.count;
	}
	return 0;
}

/* Below the end, too large for the record: new blocks in place of the old. */
static int replace_blocks(struct write *w, const struct adit_inode_pm *old, uint64_t lb,
			  uint64_t *at)
{
	uint64_t done;
	int err;

	if (!room_for(w, 2))
		return -E2BIG;
	err = adit__extent_remove(w->op.cs, w->ip, *at, lb, true, &done);
	if (err)
		return err == -EAGAIN ? -E2BIG : err;
	return new_blocks(w, old, lb, 0, at);
}

static int fill_unwritten(struct write *w, const struct adit_extent *e, uint64_t lb, uint64_t *at)
{
	uint64_t start = adit__bytes_of(*at), end = adit__bytes_of(lb);
	uint64_t pool = adit__bytes_of(e->block);
	int err;

	if (!room_for(w, 2))
		return -E2BIG;
	if (!w->settled) {
		uint64_t pos = max_u64(start, w->from), stop = min_u64(end, w->to);

		if (start < pos || stop < end)
			adit__cs_zero(w->op.cs, pool, end - start, ADIT_KIND_DATA);
		log_data(w, pool + (pos - start), pos, stop - pos, true);
	} else {
		err = fill_blocks(w, NULL, *at, lb, e->block);
		if (err)
			return err;
	}
	err = adit__extent_convert(w->op.cs, w->ip, *at, lb, false);
	if (!err)
		*at = lb;
	return err;
}

/* Stored to at once, or carried by the record; the file's own blocks. */
static void overwrite(struct write *w, const struct adit_extent *e, uint64_t pos, uint64_t end)
{
	uint64_t pool = adit__bytes_of(e->block) + ADIT_OFFSET_IN_BLOCK(pos);

	if (w->log) {
		/* The block in which the file ends, and no more. */
		uint64_t stop = w->settled ? round_up_u64(w->size, ADIT_BLOCK) : end;
		uint64_t len = max_u64(pos, min_u64(end, stop)) - pos;

		log_data(w, pool, pos, len, false);
		pool += len;
		pos += len;
	}
	if (pos < end)
		copy_to(w, pos < w->size ? adit__cs_data : adit__cs_fresh, pool, pos, end - pos);
}

/* Overwrite what the medium's map has as written in [pos, to). */
static int overwrite_all(struct write *w, const struct adit_inode_pm *old, uint64_t pos,
			 uint64_t to)
{
	while (pos < to) {
		struct adit_extent e;
		uint64_t end;
		int err = adit__extent_at(w->fs, NULL, old, adit__block_of(pos), &e);

		if (err)
			return err;
		end = min_u64(to, adit__bytes_of(e.file_block + e.blocks));
		if (e.block != 0 && !(e.flags & ADIT_EXTENT_UNWRITTEN))
			overwrite(w, &e, pos, end);
		pos = end;
	}
	return 0;
}

/*
 * Put the range [from, to), part of the call's, into the change set.  -E2BIG:
 * what lies before *done is in, the rest did not fit.  Block by block aligned
 * except at the ends of the call's range.
 */
static int put_range(struct write *w, uint64_t from, uint64_t to, uint64_t *done)
{
	const struct adit_inode_pm *old = adit__inode_slot(w->fs, w->ino);
	uint64_t pos = from;
	bool over = false;
	int err = 0, more;

	while (!err && pos < to) {
		uint64_t at = adit__block_of(pos), end;
		struct adit_extent e;

		err = adit__extent_at(w->fs, w->op.cs, w->ip, at, &e);
		if (err)
			break;
		end = min_u64(to, adit__bytes_of(e.file_block + e.blocks));
		if (e.block == 0) {
			err = new_blocks(w, NULL, adit__blocks_for(end), 0, &at);
		} else if (e.flags & ADIT_EXTENT_UNWRITTEN) {
			err = fill_unwritten(w, &e, adit__blocks_for(end), &at);
		} else if (w->copy && pos < w->size) {
			err = replace_blocks(w, old, adit__blocks_for(end), &at);
		} else {
			at = adit__blocks_for(end);
			over = true;
		}
		if (at > adit__block_of(pos))
			pos = min_u64(to, adit__bytes_of(at));
	}
	*done = pos;
	if (err && (err != -E2BIG || !w->partly))
		return err;
	/* Only now is all the space found. */
	more = err;
	err = over && !w->copy ? overwrite_all(w, old, from, pos) : 0;
	return err ? err : more;
}

/* ---- the call ------------------------------------------------------------------ */

static void put_inode(struct write *w, uint64_t size)
{
	if (size > get64(w->ip->size))
		w->ip->size = put64(size);
	adit__file_touch(w->fs, w->ip);
}

/* Up to ADIT_FORK_BYTES bytes live in the inode. */
static bool fits_inline(const struct write *w)
{
	uint32_t fork = adit__inode_fork(w->ip);

	return (fork == ADIT_FORK_NONE || fork == ADIT_FORK_INLINE) &&
	       w->to <= ADIT_FORK_BYTES && w->size <= ADIT_FORK_BYTES;
}

static int write_inline(struct write *w)
{
	if (adit__inode_fork(w->ip) == ADIT_FORK_NONE)
		memset(&w->ip->fork, 0, sizeof w->ip->fork);
	adit__inode_set_fork(w->ip, ADIT_FORK_INLINE);
	gather(w, w->from, w->ip->fork.bytes + w->from, w->to - w->from);
	put_inode(w, w->to);
	return adit__cs_commit(w->op.cs);
}

/* The contents leave the inode: into block 0, which this write may fill too. */
static int leave_inline(struct write *w)
{
	if (adit__inode_fork(w->ip) != ADIT_FORK_INLINE)
		return 0;
	if (w->from >= ADIT_BLOCK)
		return adit__file_uninline(w->op.cs, w->ip);
	w->inline_len = (unsigned)min_u64(w->size, ADIT_FORK_BYTES);
	memcpy(w->inline_bytes, w->ip->fork.bytes, w->inline_len);
	memset(&w->ip->fork, 0, sizeof w->ip->fork);
	adit__inode_set_fork(w->ip, ADIT_FORK_NONE);
	return 0;
}

/* Decide how what is mapped already is written.  Nothing is put yet. */
static int choose(struct write *w, unsigned flags)
{
	uint64_t len = w->to - w->from;
	uint64_t below = w->from < w->size ? min_u64(w->to, w->size) - w->from : 0;
	bool in_tail = w->from >= w->size && ADIT_OFFSET_IN_BLOCK(w->from) != 0 &&
		       adit__block_of(w->from) == adit__block_of(w->to - 1);

	w->whole = below > 0 && (w->to > w->size || (flags & ADIT_WRITE_ATOMIC) ||
				 (get32(w->ip->flags) & ADIT_IFLAG_ATOMIC));
	w->copy = w->whole && below > (w->to > w->size ? LOG_EXTEND_MAX : ADIT_ATOMIC_MAX);
	w->settled = adit__file_is_settled(w->fs, w->ip);
	if (!w->settled && len > LOG_UNSETTLED_MAX) {
		int err = adit__data_settled(w->fs, w->ip);

		if (err)
			return err;
		w->settled = true;
	}
	w->log = !w->copy && (w->whole || !w->settled || (in_tail && len <= LOG_APPEND_MAX));
	if (w->log)
		w->log_bytes = log_cost(w->settled ? min_u64(len, below + ADIT_BLOCK) : len);
	return 0;
}

static int64_t write_steps(struct write *w);

/*
 * Pre: inode locked, nothing put.  Commits at: adit__cs_commit, the one record.
 * After a crash: all or nothing; an overwrite in place may be torn.
 */
static int64_t write_range(struct write *w, unsigned flags)
{
	uint64_t done;
	int err;

	if (fits_inline(w))
		return write_inline(w);
	err = adit__file_clean_tail(&w->op, w->ino, &w->ip, w->from);
	if (!err)
		err = choose(w, flags);
	if (!err)
		err = leave_inline(w);
	if (err)
		return err;
	err = put_range(w, w->from, w->to, &done);
	if (err == -E2BIG)
		return write_steps(w);
	if (err)
		return err;
	put_inode(w, w->to);
	return adit__cs_commit(w->op.cs);
}

static int check_write(struct write *w, uint64_t *offset, uint64_t len, unsigned flags)
{
	uint32_t iflags = get32(w->ip->flags);
	int err = adit__file_is_regular(w->ip);

	if (err)
		return err;
	if ((iflags & ADIT_IFLAG_IMMUTABLE) ||
	    ((iflags & ADIT_IFLAG_APPEND) && !(flags & ADIT_WRITE_APPEND)))
		return -EPERM;
	w->size = get64(w->ip->size);
	if (flags & ADIT_WRITE_APPEND)
		*offset = w->size;
	if (*offset >= ADIT_FILE_SIZE_MAX)
		return len ? -EFBIG : 0;
	if (len > ADIT_FILE_SIZE_MAX - *offset && (flags & ADIT_WRITE_ATOMIC))
		return -EFBIG;
	w->from = w->iov_pos = *offset;
	/* As everywhere on Linux: what fits below the limit is written. */
	w->to = *offset + min_u64(len, ADIT_FILE_SIZE_MAX - *offset);
	return 0;
}

/* May this write be done in place and change nothing but data? Inode locked. */
static bool changes_only_data(struct adit_fs *fs, const struct adit_inode_pm *ip, uint64_t offset,
			      uint64_t len)
{
	uint64_t size = get64(ip->size), now = (uint64_t)fs->env->now_ns();

	return !adit__has_stopped(fs) && ADIT_S_ISREG(get32(ip->mode)) && offset < size &&
	       len <= size - offset && get64(ip->mtime_ns) == now && get64(ip->ctime_ns) == now &&
	       (get32(ip->flags) &
		(ADIT_IFLAG_IMMUTABLE | ADIT_IFLAG_APPEND | ADIT_IFLAG_ATOMIC)) == 0 &&
	       adit__inode_fork(ip) != ADIT_FORK_INLINE && adit__file_is_settled(fs, ip);
}

/*
 * The commonest write: within the file, within one written extent, in place, and in the same tick of
 * the clock as the last one, so that nothing but data changes. It needs no lane and no record. False:
 * nothing was done, take the long way.
 *
 * Commits at: the fence.  After a crash: may be torn (G2).
 */
static bool overwrite_at_once(struct adit_fs *fs, uint64_t ino, const struct adit_iovec *v,
			      uint64_t offset)
{
	const struct adit_inode_pm *ip = adit__inode_glance(fs, ino);
	const uint8_t *to = NULL;
	struct adit_op op;
	uint64_t version;

	if (!ip || fs->read_only || v->len == 0)
		return false;
	/* Not to be relied on before the lock is held, but then the address is known to the TLB. */
	if (adit__glance(fs, ino, &version)) {
		to = adit__file_piece(fs, ip, offset, v->len);
		if (!to)
			return false;
		__builtin_prefetch(to, 0, 0);
	}
	adit__op_begin(&op, fs);
	adit__lock_inode(&op, ino, true);
	to = changes_only_data(fs, ip, offset, v->len) ? adit__file_piece(fs, ip, offset, v->len)
						       : NULL;
	if (to) {
		adit__pm_copy_nt(&fs->pm, (uint8_t *)(uintptr_t)to, v->base, v->len);
		adit__pm_fence(&fs->pm);
	}
	adit__op_end_read(&op);
	return to != NULL;
}

static ADIT_NOINLINE int64_t write_any(struct adit_fs *fs, uint64_t ino,
				       const struct adit_iovec *iov, unsigned n, uint64_t *offset,
				       unsigned flags)
{
	struct write w = {.fs = fs, .ino = ino, .iov = iov, .n = n};
	uint64_t len = 0;
	int64_t err;

	for (unsigned i = 0; i < n; i++) {
		if (iov[i].len > ADIT_FILE_SIZE_MAX - len)
			return -EINVAL;
		len += iov[i].len;
	}
	if (!(flags & ADIT_WRITE_APPEND) && *offset > ADIT_FILE_SIZE_MAX)
		return -EINVAL;
	err = adit__file_begin(&w.op, fs, ino, &w.ip);
	if (err)
		return err;
	err = check_write(&w, offset, len, flags);
	if (!err && w.from < w.to)
		err = write_range(&w, flags);
	adit__op_end(&w.op);
	return err ? err : (int64_t)(w.to - w.from);
}

int64_t adit__file_write(struct adit_fs *fs, uint64_t ino, const struct adit_iovec *iov, unsigned n,
			 uint64_t *offset, unsigned flags)
{
	if (n == 1 && flags == 0 && overwrite_at_once(fs, ino, iov, *offset))
		return (int64_t)iov->len;
	return write_any(fs, ino, iov, n, offset, flags);
}

/* ---- more extents than one record holds ----------------------------------------- */

static int fresh_copy(struct write *w)
{
	return adit__cs_inode(w->op.cs, w->ino, &w->ip);
}

/* May tear: space for all of it first, then piece by piece. */
static int write_pieces(struct write *w)
{
	uint64_t pos = w->from;
	int err = adit__file_reserve(&w->op, w->ino, adit__block_of(w->from),
				     adit__blocks_for(w->to), NULL, NULL);

	w->partly = true;
	while (!err && pos < w->to) {
		uint64_t done = pos;

		err = fresh_copy(w);
		if (!err)
			err = put_range(w, pos, w->to, &done);
		if (err == -E2BIG && done > pos)
			err = 0;
		if (err)
			break;
		put_inode(w, done);
		err = adit__cs_commit(w->op.cs);
		pos = done;
	}
	return err;
}

/* Beyond the end: new blocks in their place, each step guarded. */
static int build_beyond(struct write *w, uint64_t from, struct adit_steps *s)
{
	size_t log_bytes = w->log_bytes;
	uint64_t pos = from;

	w->log_bytes = 0; /* that is below */
	w->partly = true;
	while (pos < w->to) {
		uint64_t done = pos;
		int err = fresh_copy(w);

		if (!err)
			err = put_range(w, pos, w->to, &done);
		if (err == -E2BIG && done > pos)
			err = 0;
		if (!err)
			err = adit__steps_guard(&w->op, w->ino, s);
		if (err)
			return err;
		pos = done;
	}
	w->partly = false;
	w->log_bytes = log_bytes;
	return 0;
}

/* Blocks [fb, lb), which hold everything below the end that is written, anew in
 * the staging area. */
static int build_staged(struct write *w, uint64_t fb, uint64_t lb, struct adit_steps *s)
{
	while (fb < lb) {
		int err = fresh_copy(w);
		uint64_t at = fb;

		if (!err)
			err = new_blocks(w, adit__inode_slot(w->fs, w->ino), lb, ADIT_STAGE, &at);
		if (err == -E2BIG && at > fb)
			err = 0;
		if (!err)
			err = adit__steps_guard(&w->op, w->ino, s);
		if (err)
			return err;
		fb = at;
	}
	return 0;
}

/* What lies below the end, [from, edge), and the decisive record. */
static int write_below(struct write *w, uint64_t edge, struct adit_steps *guard)
{
	struct adit_steps s = {.type = ADIT_INTENT_REPLACE, .recorded = true,
			       .a = adit__block_of(w->from), .b = adit__blocks_for(edge)};
	uint64_t done = w->from;
	int err = fresh_copy(w);

	if (!err && w->from < edge)
		err = put_range(w, w->from, edge, &done);
	if (err == -E2BIG) {
		adit__cs_drop(w->op.cs);
		w->log_bytes = 0;
		w->log = false;
		err = build_staged(w, s.a, s.b, guard);
		if (!err)
			err = fresh_copy(w);
		if (err)
			return err;
		put_inode(w, w->to);
		err = adit__steps_run(&w->op, w->ino, &s);
		if (s.decided)
			guard->recorded = false;
		return err;
	}
	if (err)
		return err;
	put_inode(w, w->to);
	if (guard->recorded)
		adit__cs_intent(w->op.cs, ADIT_INTENT_NONE, w->ino, get32(w->ip->generation),
				0, 0, 0, 0);
	return adit__cs_commit(w->op.cs);
}

/*
 * Commits at: each step; the decisive record is the one that moves the end, or
 * the one that starts the exchange.  After a crash: see the head of the file.
 */
static int64_t write_steps(struct write *w)
{
	struct adit_steps guard = {.type = ADIT_INTENT_TRUNCATE, .b = ADIT_STAGE_END};
	uint64_t edge = min_u64(w->to, max_u64(w->from, round_up_u64(w->size, ADIT_BLOCK)));
	int err;

	adit__cs_drop(w->op.cs);
	w->inline_len = 0;
	err = fresh_copy(w);
	if (!err && adit__inode_fork(w->ip) == ADIT_FORK_INLINE) {
		err = adit__file_uninline(w->op.cs, w->ip);
		if (!err)
			err = adit__file_commit(&w->op, w->ino, &w->ip);
	}
	if (!err)
		err = adit__data_settled(w->fs, w->ip);
	if (err)
		return err;
	w->settled = true;
	if (!w->whole && w->to <= w->size)
		return write_pieces(w);
	guard.a = w->to > w->size ? adit__blocks_for(w->size) : ADIT_STAGE;
	if (w->to > w->size)
		err = build_beyond(w, edge, &guard);
	if (!err)
		err = write_below(w, edge, &guard);
	if (err)
		adit__steps_undo(&w->op, w->ino, &guard);
	return err;
}
