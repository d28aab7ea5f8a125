/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calls_io.c - reading and writing.
 *
 * Reads by position do not touch the descriptor's reference count: they work by inode number and look
 * afterwards whether the descriptor was still the same (fd.h). Everything else holds a reference.
 * A position is changed under its open file's lock, which covers the call (POSIX: reads and writes
 * through one description do not overlap).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/uio.h>

#include "core/file.h"
#include "fs/guard.h"
#include "fs/pool.h"

#ifndef RWF_HIPRI
#define RWF_HIPRI 0x01
#endif
#ifndef RWF_DSYNC
#define RWF_DSYNC 0x02
#endif
#ifndef RWF_SYNC
#define RWF_SYNC 0x04
#endif
#ifndef RWF_APPEND
#define RWF_APPEND 0x10
#endif
#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20
#endif
#ifndef RWF_ATOMIC
#define RWF_ATOMIC 0x40
#endif

#define READ_FLAGS (RWF_HIPRI | RWF_DSYNC | RWF_SYNC)
#define WRITE_FLAGS (READ_FLAGS | RWF_APPEND | RWF_NOAPPEND | RWF_ATOMIC)

_Static_assert(sizeof(struct iovec) == sizeof(struct adit_iovec) &&
		       offsetof(struct iovec, iov_base) == offsetof(struct adit_iovec, base) &&
		       offsetof(struct iovec, iov_len) == offsetof(struct adit_iovec, len),
	       "one is used for the other");

/* What to move, checked: at most ADIT_RW_MAX bytes. */
struct span {
	const struct adit_iovec *iov;
	unsigned n;
	uint64_t bytes;
	bool vector; /* given as one */
};

static inline int span_of_buffer(struct span *s, struct adit_iovec *one, const void *buf, size_t bytes)
{
	if (ADIT_UNLIKELY(bytes > ADIT_RW_MAX)) {
		if (bytes > SSIZE_MAX)
			return -EINVAL;
		bytes = ADIT_RW_MAX;
	}
	*one = (struct adit_iovec){(void *)(uintptr_t)buf, bytes};
	*s = (struct span){one, 1, bytes, false};
	return 0;
}

/* A prefix of `limit` bytes; `cut` has room for all of the vector. */
static void span_cut(struct span *s, struct adit_iovec *cut, uint64_t limit)
{
	uint64_t left = limit;
	unsigned i;

	for (i = 0; i < s->n && left > 0; i++) {
		cut[i] = s->iov[i];
		if (cut[i].len > left)
			cut[i].len = left;
		left -= cut[i].len;
	}
	*s = (struct span){cut, i, limit - left, s->vector};
}

static int span_of_vector(struct span *s, const struct iovec *iov, int iovcnt)
{
	uint64_t bytes = 0;

	if (iovcnt < 0 || iovcnt > IOV_MAX)
		return -EINVAL;
	for (int i = 0; i < iovcnt; i++) {
		if (iov[i].iov_len > SSIZE_MAX - bytes)
			return -EINVAL;
		bytes += iov[i].iov_len;
	}
	*s = (struct span){(const struct adit_iovec *)(const void *)iov, (unsigned)iovcnt, bytes,
			   true};
	return 0;
}

/* ---- by position ----------------------------------------------------------------------------- */

/* No range may reach beyond the last file position, wherever the file ends and wherever an append goes. */
static inline bool beyond_positions(uint64_t offset, uint64_t bytes)
{
	return ADIT_UNLIKELY(bytes > (uint64_t)INT64_MAX - offset);
}

/* Linux reads an empty vector, though not an empty buffer, from a directory. */
static inline int may_read(uint32_t access, const struct span *s, uint64_t offset)
{
	if (ADIT_LIKELY((access & (ADIT_FD_READ | ADIT_FD_REGULAR)) ==
			(ADIT_FD_READ | ADIT_FD_REGULAR)))
		return beyond_positions(offset, s->bytes) ? -EINVAL : 0;
	if (!(access & ADIT_FD_READ))
		return -EBADF;
	if (s->vector && s->bytes == 0)
		return 0;
	if (beyond_positions(offset, s->bytes))
		return -EINVAL;
	return access & ADIT_FD_DIR ? -EISDIR : -EINVAL;
}

static inline int may_write(uint32_t access)
{
	return ADIT_LIKELY(access & ADIT_FD_WRITE) ? 0 : -EBADF;
}

static inline ssize_t read_at(struct adit_pool *pool, int fd, const struct span *s, off_t offset)
{
	struct adit_peek peek;
	ssize_t rc;

	if (ADIT_UNLIKELY(!adit__peek(&pool->fds, fd, &peek)))
		return -EBADF;
	rc = may_read(peek.access, s, (uint64_t)offset);
	if (ADIT_UNLIKELY(rc != 0 || s->bytes == 0))
		return rc;
	ADIT_LOOK(pool, ADIT_CALL_READ, rc, adit__file_read(pool->fs, peek.ino, s->iov, s->n, (uint64_t)offset));
	if (ADIT_UNLIKELY(!adit__peek_still(&peek)))
		return -EBADF;
	return rc;
}

/* The longest call: its vector cut to ADIT_RW_MAX bytes. */
static ADIT_NOINLINE ssize_t read_cut_at(struct adit_pool *pool, int fd, struct span s, off_t offset)
{
	struct adit_iovec cut[IOV_MAX];

	span_cut(&s, cut, ADIT_RW_MAX);
	return read_at(pool, fd, &s, offset);
}

ssize_t adit_pread(struct adit_pool *pool, int fd, void *buf, size_t bytes, off_t offset)
{
	struct adit_iovec one;
	struct span s;

	if (ADIT_UNLIKELY(offset < 0) || ADIT_UNLIKELY(span_of_buffer(&s, &one, buf, bytes)))
		return -EINVAL;
	return read_at(pool, fd, &s, offset);
}

ssize_t adit_preadv(struct adit_pool *pool, int fd, const struct iovec *iov, int iovcnt, off_t offset)
{
	struct span s;

	if (offset < 0 || span_of_vector(&s, iov, iovcnt))
		return -EINVAL;
	if (ADIT_UNLIKELY(s.bytes > ADIT_RW_MAX))
		return read_cut_at(pool, fd, s, offset);
	return read_at(pool, fd, &s, offset);
}

/* Where a write goes and how. */
struct target {
	struct adit_pool *pool;
	uint64_t ino;
	uint64_t offset; /* after the write: where it went */
	unsigned flags;	 /* ADIT_WRITE_* */
};

/* The end of what a file can hold: the part that fits is written. */
static ADIT_NOINLINE int64_t write_near_limit(struct target *t, struct span s)
{
	struct adit_iovec cut[IOV_MAX];

	if (t->offset >= ADIT_FILE_SIZE_MAX)
		return -EFBIG;
	span_cut(&s, cut, min_u64(ADIT_RW_MAX, ADIT_FILE_SIZE_MAX - t->offset));
	return adit__file_write(t->pool->fs, t->ino, s.iov, s.n, &t->offset, t->flags);
}

static int64_t write_span(struct target *t, const struct span *s)
{
	if (s->bytes == 0)
		return 0;
	if (ADIT_UNLIKELY(s->bytes > ADIT_RW_MAX) ||
	    (!(t->flags & ADIT_WRITE_APPEND) &&
	     ADIT_UNLIKELY(s->bytes > ADIT_FILE_SIZE_MAX - t->offset)))
		return write_near_limit(t, *s);
	return adit__file_write(t->pool->fs, t->ino, s->iov, s->n, &t->offset, t->flags);
}

/* ADIT_WRITE_* of a call with these RWF_* flags. */
static inline unsigned write_flags(struct adit_pool *pool, struct adit_file *file, int rwf)
{
	int flags = adit__file_flags(file);
	unsigned out = pool->write_flags;

	if ((flags & O_APPEND && !(rwf & RWF_NOAPPEND)) || rwf & RWF_APPEND)
		out |= ADIT_WRITE_APPEND;
	if (rwf & RWF_ATOMIC)
		out |= ADIT_WRITE_ATOMIC;
	return out;
}

static ssize_t write_at(struct adit_pool *pool, int fd, const struct span *s, off_t offset, int rwf)
{
	struct adit_slot *slot = adit__fd_get(pool, fd);
	struct target t;
	ssize_t rc;

	if (ADIT_UNLIKELY(slot == NULL))
		return -EBADF;
	rc = may_write(slot->access);
	if (rc == 0 && beyond_positions((uint64_t)offset, s->bytes))
		rc = -EINVAL;
	if (ADIT_LIKELY(rc == 0)) {
		t = (struct target){pool, slot->ino, (uint64_t)offset,
				    write_flags(pool, slot->file, rwf)};
		ADIT_CALL(pool, ADIT_CALL_WRITE, rc, write_span(&t, s));
	}
	(void)adit__fd_put(pool, slot);
	return rc;
}

ssize_t adit_pwrite(struct adit_pool *pool, int fd, const void *buf, size_t bytes, off_t offset)
{
	struct adit_iovec one;
	struct span s;

	if (ADIT_UNLIKELY(offset < 0) || ADIT_UNLIKELY(span_of_buffer(&s, &one, buf, bytes)))
		return -EINVAL;
	return write_at(pool, fd, &s, offset, 0);
}

ssize_t adit_pwritev(struct adit_pool *pool, int fd, const struct iovec *iov, int iovcnt,
		     off_t offset)
{
	struct span s;

	if (offset < 0 || span_of_vector(&s, iov, iovcnt))
		return -EINVAL;
	return write_at(pool, fd, &s, offset, 0);
}

/* ---- at the open file's position ------------------------------------------------------------- */

/* With the position's lock held. */
static int64_t read_here(struct adit_pool *pool, struct adit_file *file, const struct span *s)
{
	int64_t got;

	if (beyond_positions(file->position->offset, s->bytes))
		return -EINVAL;
	got = adit__file_read(pool->fs, file->ino, s->iov, s->n, file->position->offset);
	if (got > 0)
		file->position->offset += (uint64_t)got;
	return got;
}

static int64_t write_here(struct target *t, struct adit_file *file, const struct span *s)
{
	int64_t done;

	if (beyond_positions(file->position->offset, s->bytes))
		return -EINVAL;
	t->offset = file->position->offset;
	done = write_span(t, s);
	if (done > 0)
		file->position->offset = t->offset + (uint64_t)done;
	return done;
}

static ssize_t read_span(struct adit_pool *pool, int fd, const struct span *s)
{
	struct adit_slot *slot = adit__fd_get(pool, fd);
	struct adit_position *position;
	ssize_t rc;

	if (slot == NULL)
		return -EBADF;
	rc = may_read(slot->access, s, 0);
	if (rc == 0 && s->bytes > 0) {
		position = adit__position_lock(slot->file);
		ADIT_LOOK(pool, ADIT_CALL_READ, rc, read_here(pool, slot->file, s));
		adit__position_unlock(position);
	}
	(void)adit__fd_put(pool, slot);
	return rc;
}

static ADIT_NOINLINE ssize_t read_cut(struct adit_pool *pool, int fd, struct span s)
{
	struct adit_iovec cut[IOV_MAX];

	span_cut(&s, cut, ADIT_RW_MAX);
	return read_span(pool, fd, &s);
}

ssize_t adit_read(struct adit_pool *pool, int fd, void *buf, size_t bytes)
{
	struct adit_iovec one;
	struct span s;

	if (span_of_buffer(&s, &one, buf, bytes))
		return -EINVAL;
	return read_span(pool, fd, &s);
}

ssize_t adit_readv(struct adit_pool *pool, int fd, const struct iovec *iov, int iovcnt)
{
	struct span s;

	if (span_of_vector(&s, iov, iovcnt))
		return -EINVAL;
	return s.bytes > ADIT_RW_MAX ? read_cut(pool, fd, s) : read_span(pool, fd, &s);
}

static ssize_t write_file(struct adit_pool *pool, int fd, const struct span *s, int rwf)
{
	struct adit_slot *slot = adit__fd_get(pool, fd);
	struct adit_position *position;
	struct target t;
	ssize_t rc;

	if (slot == NULL)
		return -EBADF;
	rc = may_write(slot->access);
	if (rc == 0) {
		t = (struct target){pool, slot->ino, 0, write_flags(pool, slot->file, rwf)};
		position = adit__position_lock(slot->file);
		ADIT_CALL(pool, ADIT_CALL_WRITE, rc, write_here(&t, slot->file, s));
		adit__position_unlock(position);
	}
	(void)adit__fd_put(pool, slot);
	return rc;
}

ssize_t adit_write(struct adit_pool *pool, int fd, const void *buf, size_t bytes)
{
	struct adit_iovec one;
	struct span s;

	if (span_of_buffer(&s, &one, buf, bytes))
		return -EINVAL;
	return write_file(pool, fd, &s, 0);
}

ssize_t adit_writev(struct adit_pool *pool, int fd, const struct iovec *iov, int iovcnt)
{
	struct span s;

	if (span_of_vector(&s, iov, iovcnt))
		return -EINVAL;
	return write_file(pool, fd, &s, 0);
}

/* ---- with flags ------------------------------------------------------------------------------ */

ssize_t adit_preadv2(struct adit_pool *pool, int fd, const struct iovec *iov, int iovcnt, off_t offset,
		     int flags)
{
	if (flags & ~READ_FLAGS)
		return -EOPNOTSUPP;
	return offset == -1 ? adit_readv(pool, fd, iov, iovcnt)
			    : adit_preadv(pool, fd, iov, iovcnt, offset);
}

ssize_t adit_pwritev2(struct adit_pool *pool, int fd, const struct iovec *iov, int iovcnt,
		      off_t offset, int flags)
{
	struct span s;

	if (flags & ~WRITE_FLAGS)
		return -EOPNOTSUPP;
	if ((flags & (RWF_APPEND | RWF_NOAPPEND)) == (RWF_APPEND | RWF_NOAPPEND))
		return -EINVAL;
	if (offset < -1 || span_of_vector(&s, iov, iovcnt))
		return -EINVAL;
	return offset == -1 ? write_file(pool, fd, &s, flags)
			    : write_at(pool, fd, &s, offset, flags);
}
