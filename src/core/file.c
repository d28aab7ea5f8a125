/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Contents of regular files: reading, truncating, seeking, and what the other
 * files of the group share.  Writing is in file_write.c, fallocate in
 * fallocate.c, changes in several records in file_steps.c, the map in extent.c.
 *
 * Where contents lie:
 *	ADIT_FORK_NONE		nowhere: all zeros
 *	ADIT_FORK_INLINE	in the inode; size <= ADIT_FORK_BYTES, the bytes
 *				of the fork beyond the size are zero
 *	EXTENTS, TREE		in blocks; a hole or an unwritten extent is zeros
 *
 * Bytes of a written block beyond the end of the file are normally zero:
 * truncating logs zeros over them.  Nobody relies on it: a program may store
 * there through a mapping, and an append that did not commit may have left its
 * data there.  So whoever moves the end up looks first (adit__file_clean_tail).
 *
 * The inode's lock, shared for readers, covers the copy too: blocks do not move
 * under a reader.
 */
#include "core/file_int.h"

/* Blocks between an extent and what is written behind it that are left free for
 * what may come between, when the file is filled out of order. */
#define GOAL_GAP_MAX 8192u

/* Longer reads take the lock: copying twice would cost more than that. */
#define GLANCE_MAX 16384u

/* ---- shared with file_write.c and fallocate.c --------------------------------- */

int adit__file_begin(struct adit_op *op, struct adit_fs *fs, uint64_t ino,
		     struct adit_inode_pm **ip)
{
	int err = adit__op_begin_write(op, fs);

	if (err)
		return err;
	adit__lock_inode(op, ino, true);
	err = adit__cs_inode(op->cs, ino, ip);
	if (err)
		adit__op_end(op);
	return err;
}

int adit__file_is_regular(const struct adit_inode_pm *ip)
{
	uint32_t mode = get32(ip->mode);

	if (ADIT_LIKELY(ADIT_S_ISREG(mode)))
		return 0;
	return ADIT_S_ISDIR(mode) ? -EISDIR : -EINVAL;
}

int adit__file_commit(struct adit_op *op, uint64_t ino, struct adit_inode_pm **ip)
{
	int err = adit__cs_commit(op->cs);

	return err ? err : adit__cs_inode(op->cs, ino, ip);
}

void adit__file_touch(struct adit_fs *fs, struct adit_inode_pm *ip)
{
	ip->mtime_ns = put64((uint64_t)fs->env->now_ns());
	ip->ctime_ns = ip->mtime_ns;
}

bool adit__file_is_settled(struct adit_fs *fs, const struct adit_inode_pm *ip)
{
	uint64_t seq = get64_relaxed(&ip->data_seq);

	/* As adit__data_settled: a number never drawn is left over from nothing. */
	return seq <= __atomic_load_n(&fs->vol->c, __ATOMIC_ACQUIRE) ||
	       seq > __atomic_load_n(&fs->vol->seq, __ATOMIC_ACQUIRE);
}

/* Near the block that lies before fb in the file, at the same distance when that
 * is short, so that a file filled out of order still ends up in one piece. */
static int near_goal(struct adit_cs *cs, const struct adit_inode_pm *ip, uint64_t fb,
		     uint64_t *goal)
{
	struct adit_extent e;
	int err;

	*goal = 0;
	if (fb == 0)
		return 0;
	err = adit__extent_before(adit__cs_fs(cs), cs, ip, fb, &e);
	if (err)
		return err == -ENOENT ? 0 : err;
	uint64_t gap = fb - (e.file_block + e.blocks);

	*goal = e.block + e.blocks + (gap <= GOAL_GAP_MAX ? gap : 0);
	return 0;
}

int adit__file_alloc(struct adit_cs *cs, const struct adit_inode_pm *ip, uint64_t fb, uint64_t want,
		     uint64_t goal, struct adit_run *run)
{
	uint64_t head = fb % ADIT_HUGE_BLOCKS;
	unsigned flags = 0;
	int err = goal ? 0 : near_goal(cs, ip, fb, &goal);

	if (err)
		return err;
	if (want >= 2 * ADIT_HUGE_BLOCKS && head != 0) {
		/* Only to the next boundary, so that what follows is aligned. */
		want = ADIT_HUGE_BLOCKS - head;
	} else if (want >= ADIT_HUGE_BLOCKS && head == 0) {
		/* Huge pages need the same alignment in file and pool. */
		flags = ADIT_ALLOC_HUGE;
		goal = round_up_u64(goal, ADIT_HUGE_BLOCKS);
	}
	return adit__alloc_blocks(cs, goal, want, 1, flags, run);
}

int adit__file_map(struct adit_cs *cs, struct adit_inode_pm *ip, uint64_t fb,
		   const struct adit_run *run, uint32_t flags)
{
	struct adit_extent e = {.file_block = fb, .block = run->block, .blocks = run->count,
				.epoch = get32(adit__cs_fs(cs)->root->epoch), .flags = flags};

	return adit__extent_insert(cs, ip, &e, 0);
}

int adit__file_uninline(struct adit_cs *cs, struct adit_inode_pm *ip)
{
	uint8_t bytes[ADIT_FORK_BYTES];
	struct adit_run run;
	int err;

	if (adit__inode_fork(ip) != ADIT_FORK_INLINE)
		return 0;
	memcpy(bytes, ip->fork.bytes, sizeof bytes);
	memset(&ip->fork, 0, sizeof ip->fork);
	adit__inode_set_fork(ip, ADIT_FORK_NONE);
	if (get64(ip->size) == 0)
		return 0;
	err = adit__alloc_blocks(cs, 0, 1, 1, 0, &run);
	if (err)
		return err;
	adit__cs_fresh(cs, adit__bytes_of(run.block), bytes, sizeof bytes);
	adit__cs_fresh_zero(cs, adit__bytes_of(run.block) + sizeof bytes,
			    ADIT_BLOCK - sizeof bytes);
	return adit__file_map(cs, ip, 0, &run, 0);
}

static bool is_zero(const uint8_t *p, size_t len)
{
	/* The first byte is zero, and each is equal to the one before it. */
	return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

int adit__file_zero_part(struct adit_cs *cs, struct adit_inode_pm *ip, uint64_t from, uint64_t to)
{
	struct adit_fs *fs = adit__cs_fs(cs);
	struct adit_extent e;
	uint64_t pool, end, word;
	int err;

	if (from >= to)
		return 0;
	err = adit__extent_at(fs, cs, ip, adit__block_of(from), &e);
	if (err || e.block == 0 || (e.flags & ADIT_EXTENT_UNWRITTEN))
		return err;
	pool = adit__bytes_of(e.block) + ADIT_OFFSET_IN_BLOCK(from);
	end = pool + (to - from);
	if (is_zero(adit__at(fs, pool), to - from))
		return 0;
	adit__cs_note_data(cs, get64(ip->ino));
	if (pool % 8 != 0) {
		unsigned keep = pool % 8, n = (unsigned)min_u64(8 - keep, end - pool);

		memcpy(&word, adit__at(fs, pool - keep), 8);
		memset((uint8_t *)&word + keep, 0, n);
		adit__cs_put(cs, pool - keep, &word, 8, ADIT_KIND_DATA);
		pool += n;
	}
	if (end - pool >= 8) {
		adit__cs_zero(cs, pool, (end - pool) & ~7ull, ADIT_KIND_DATA);
		pool += (end - pool) & ~7ull;
	}
	if (pool < end) {
		memcpy(&word, adit__at(fs, pool), 8);
		memset(&word, 0, end - pool);
		adit__cs_put(cs, pool, &word, 8, ADIT_KIND_DATA);
	}
	return 0;
}

int adit__file_clean_tail(struct adit_op *op, uint64_t ino, struct adit_inode_pm **ip, uint64_t to)
{
	uint64_t size = get64((*ip)->size);
	uint32_t fork = adit__inode_fork(*ip);
	int err;

	if (to <= size || ADIT_OFFSET_IN_BLOCK(size) == 0 ||
	    (fork != ADIT_FORK_EXTENTS && fork != ADIT_FORK_TREE))
		return 0;
	to = min_u64(to, round_down_u64(size, ADIT_BLOCK) + ADIT_BLOCK);
	err = adit__file_zero_part(op->cs, *ip, size, to);
	if (err || !adit__cs_dirty(op->cs))
		return err;
	return adit__file_commit(op, ino, ip);
}

/* ---- reading ------------------------------------------------------------------ */

/* Where the bytes at pos lie, and how many: NULL for zeros. */
static int locate(struct adit_fs *fs, const struct adit_inode_pm *ip, uint64_t pos,
		  const uint8_t **from, uint64_t *len)
{
	uint32_t fork = adit__inode_fork(ip);
	struct adit_extent e;
	int err;

	*from = NULL;
	if (fork == ADIT_FORK_INLINE && pos < ADIT_FORK_BYTES) {
		*from = ip->fork.bytes + pos;
		*len = ADIT_FORK_BYTES - pos;
		return 0;
	}
	if (fork == ADIT_FORK_NONE || fork == ADIT_FORK_INLINE) {
		*len = ADIT_FILE_SIZE_MAX;
		return 0;
	}
	err = adit__extent_at(fs, NULL, ip, adit__block_of(pos), &e);
	if (err)
		return err;
	if (e.block != 0 && !(e.flags & ADIT_EXTENT_UNWRITTEN))
		*from = (const uint8_t *)adit__block_at(fs, e.block) + ADIT_OFFSET_IN_BLOCK(pos);
	*len = adit__bytes_of(e.blocks) - ADIT_OFFSET_IN_BLOCK(pos);
	return 0;
}

int64_t adit__file_read_locked(struct adit_fs *fs, const struct adit_inode_pm *ip,
			       const struct adit_iovec *iov, unsigned n, uint64_t offset)
{
	uint64_t size = get64(ip->size), pos = offset, run = 0;
	const uint8_t *from = NULL;

	if (pos >= size)
		return 0;
	for (unsigned i = 0; i < n && pos < size; i++) {
		uint8_t *to = iov[i].base;
		uint64_t left = min_u64(iov[i].len, size - pos);

		while (left > 0) {
			uint64_t now;
			int err = run ? 0 : locate(fs, ip, pos, &from, &run);

			if (err)
				return err;
			now = min_u64(run, left);
			if (from) {
				memcpy(to, from, now);
				from += now;
			} else {
				memset(to, 0, now);
			}
			run -= now;
			to += now;
			pos += now;
			left -= now;
		}
	}
	return (int64_t)(pos - offset);
}

const uint8_t *adit__file_piece(const struct adit_fs *fs, const struct adit_inode_pm *ip,
				uint64_t pos, uint64_t len)
{
	uint32_t fork = adit__inode_fork(ip);
	unsigned count;

	if (fork == ADIT_FORK_INLINE)
		return pos <= ADIT_FORK_BYTES && len <= ADIT_FORK_BYTES - pos ? ip->fork.bytes + pos :
										NULL;
	if (fork != ADIT_FORK_EXTENTS)
		return NULL;
	count = get16(ip->fork.extents.count);
	for (unsigned i = 0; i < count && i < ADIT_INLINE_EXTENTS; i++) {
		const struct adit_extent_inline_pm *e = &ip->fork.extents.extent[i];
		uint64_t first = get64_relaxed(&e->file_block), blocks = get32(e->blocks);
		uint64_t block = adit_ptr_block(get64_relaxed(&e->ptr)), fb = adit__block_of(pos);
		uint64_t end = adit__pool_end(fs);

		if (fb < first || fb - first >= blocks)
			continue;
		if (get16(e->flags) & ADIT_EXTENT_UNWRITTEN ||
		    adit__block_of(pos + len - 1) - first >= blocks ||
		    block >= end || blocks > end - block)
			return NULL;
		return (const uint8_t *)adit__block_at(fs, block + (fb - first)) +
		       ADIT_OFFSET_IN_BLOCK(pos);
	}
	return NULL;
}

/* A short read without the lock: false when it has to be done with it. */
static bool glance_read(struct adit_fs *fs, uint64_t ino, const struct adit_iovec *v, uint64_t offset,
		      int64_t *got)
{
	const struct adit_inode_pm *ip = adit__inode_glance(fs, ino);
	uint64_t version, size, len;
	const uint8_t *from;

	if (!ip || !adit__glance(fs, ino, &version) || !ADIT_S_ISREG(get32(ip->mode)))
		return false;
	size = get64_relaxed(&ip->size);
	if (offset >= size)
		return false;
	len = min_u64(v->len, size - offset);
	from = len ? adit__file_piece(fs, ip, offset, len) : NULL;
	if (!from)
		return false;
	memcpy(v->base, from, len);
	if (!adit__glance_valid(fs, ino, version))
		return false;
	*got = (int64_t)len;
	return true;
}

int64_t adit__file_read(struct adit_fs *fs, uint64_t ino, const struct adit_iovec *iov, unsigned n,
			uint64_t offset)
{
	const struct adit_inode_pm *ip;
	struct adit_op op;
	int64_t got;

	if (offset > ADIT_FILE_SIZE_MAX)
		return -EINVAL;
	if (n == 1 && iov->len <= GLANCE_MAX && glance_read(fs, ino, iov, offset, &got))
		return got;
	adit__op_begin(&op, fs);
	adit__lock_inode(&op, ino, false);
	got = adit__inode_get(fs, ino, &ip);
	if (!got)
		got = adit__file_is_regular(ip);
	if (!got)
		got = adit__file_read_locked(fs, ip, iov, n, offset);
	adit__op_end(&op);
	return got;
}

/* ---- truncate ------------------------------------------------------------------- */

static int grow(struct adit_op *op, uint64_t ino, struct adit_inode_pm *ip, uint64_t size)
{
	int err = adit__file_clean_tail(op, ino, &ip, size);

	if (!err && size > ADIT_FORK_BYTES)
		err = adit__file_uninline(op->cs, ip);
	if (err)
		return err;
	ip->size = put64(size);
	adit__file_touch(op->fs, ip);
	return adit__cs_commit(op->cs);
}

/* Also for the same size: what is allocated beyond the end goes. */
static int shrink(struct adit_op *op, uint64_t ino, struct adit_inode_pm *ip, uint64_t size)
{
	struct adit_steps s = {.type = ADIT_INTENT_TRUNCATE, .a = adit__blocks_for(size),
			       .b = ADIT_FILE_BLOCKS_MAX};
	uint32_t fork = adit__inode_fork(ip);
	int err = 0;

	ip->size = put64(size);
	adit__file_touch(op->fs, ip);
	if (fork == ADIT_FORK_INLINE && size < ADIT_FORK_BYTES) {
		memset(ip->fork.bytes + size, 0, ADIT_FORK_BYTES - size);
		if (size == 0)
			adit__inode_set_fork(ip, ADIT_FORK_NONE);
	}
	if (fork != ADIT_FORK_EXTENTS && fork != ADIT_FORK_TREE)
		return adit__cs_commit(op->cs);
	if (ADIT_OFFSET_IN_BLOCK(size) != 0)
		err = adit__file_zero_part(op->cs, ip, size, round_down_u64(size, ADIT_BLOCK) +
								     ADIT_BLOCK);
	return err ? err : adit__steps_run(op, ino, &s);
}

int adit__file_truncate(struct adit_fs *fs, uint64_t ino, uint64_t size)
{
	struct adit_inode_pm *ip;
	struct adit_op op;
	int err;

	if (size > ADIT_FILE_SIZE_MAX)
		return -EFBIG;
	err = adit__file_begin(&op, fs, ino, &ip);
	if (err)
		return err;
	err = adit__file_is_regular(ip);
	if (!err && (get32(ip->flags) & (ADIT_IFLAG_IMMUTABLE | ADIT_IFLAG_APPEND)))
		err = -EPERM;
	if (!err)
		err = size > get64(ip->size) ? grow(&op, ino, ip, size) :
					       shrink(&op, ino, ip, size);
	adit__op_end(&op);
	return err;
}

int adit__file_destroy_step(struct adit_cs *cs, struct adit_inode_pm *ip, uint64_t from)
{
	uint64_t done;

	if (adit__inode_fork(ip) == ADIT_FORK_INLINE) {
		memset(&ip->fork, 0, sizeof ip->fork);
		adit__inode_set_fork(ip, ADIT_FORK_NONE);
		return 0;
	}
	if (from == 0)
		return adit__extent_destroy_step(cs, ip);
	return adit__extent_remove(cs, ip, from, ADIT_STAGE_END, true, &done);
}

/* ---- seek ----------------------------------------------------------------------- */

static int64_t seek(struct adit_fs *fs, const struct adit_inode_pm *ip, uint64_t offset, int whence)
{
	uint64_t size = get64(ip->size), pos = offset;
	uint32_t fork = adit__inode_fork(ip);

	/* Behind the largest one the numbers of blocks wrap. */
	if (ADIT_UNLIKELY(size > INT64_MAX)) {
		adit__report(fs, "inode %llu: size is impossible",
			     (unsigned long long)get64(ip->ino));
		return -EUCLEAN;
	}
	if (offset >= size)
		return -ENXIO;
	if (fork == ADIT_FORK_INLINE)
		return (int64_t)(whence == SEEK_DATA ? offset : size);
	while (pos < size) {
		struct adit_extent e;
		bool data;
		int err = adit__extent_at(fs, NULL, ip, adit__block_of(pos), &e);

		if (err)
			return err;
		data = e.block != 0 && !(e.flags & ADIT_EXTENT_UNWRITTEN);
		if (data == (whence == SEEK_DATA))
			return (int64_t)pos;
		pos = adit__bytes_of(e.file_block + e.blocks);
	}
	return whence == SEEK_DATA ? -ENXIO : (int64_t)size;
}

int64_t adit__file_seek(struct adit_fs *fs, uint64_t ino, uint64_t offset, int whence)
{
	const struct adit_inode_pm *ip;
	struct adit_op op;
	int64_t at;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	adit__op_begin(&op, fs);
	adit__lock_inode(&op, ino, false);
	at = adit__inode_get(fs, ino, &ip);
	if (!at)
		at = adit__file_is_regular(ip);
	if (!at)
		at = seek(fs, ip, offset, whence);
	adit__op_end(&op);
	return at;
}
