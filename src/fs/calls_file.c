/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calls_file.c - a file's size, space and position; copying; syncing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "fs/guard.h"
#include "fs/path.h"

/* ---- lseek ----------------------------------------------------------------------------------- */

struct seeking {
	struct adit_pool *pool;
	struct adit_file *file;
	off_t offset;
	int whence;
};

static int64_t seek_end(const struct seeking *s, int64_t *base)
{
	struct adit_attr attr;
	int err = adit__getattr(s->pool->fs, s->file->ino, &attr);

	if (!err)
		*base = (int64_t)attr.size;
	return err;
}

/* A directory's position is a cookie: it can be gone back to, not computed with. */
static int64_t seek_directory(const struct seeking *s)
{
	uint64_t at = s->whence == SEEK_CUR ? s->file->position->offset : 0;

	if (s->whence != SEEK_SET && (s->whence != SEEK_CUR || s->offset != 0))
		return -EINVAL;
	at += (uint64_t)s->offset;
	return s->offset < 0 ? -EINVAL : (int64_t)at;
}

/* With the position's lock held. */
static int64_t seek_locked(const struct seeking *s)
{
	int64_t base = 0, at, err = 0;

	if (S_ISDIR(s->file->mode)) {
		at = seek_directory(s);
	} else if (s->whence == SEEK_DATA || s->whence == SEEK_HOLE) {
		at = s->offset < 0 ? -ENXIO
				   : adit__file_seek(s->pool->fs, s->file->ino,
						     (uint64_t)s->offset, s->whence);
	} else {
		if (s->whence == SEEK_CUR)
			base = (int64_t)s->file->position->offset;
		else if (s->whence == SEEK_END)
			err = seek_end(s, &base);
		else if (s->whence != SEEK_SET)
			err = -EINVAL;
		if (!err && (__builtin_add_overflow(base, s->offset, &at) || at < 0))
			err = -EINVAL;
		if (err)
			return err;
	}
	if (at >= 0)
		s->file->position->offset = (uint64_t)at;
	return at;
}

off_t adit_lseek(struct adit_pool *pool, int fd, off_t offset, int whence)
{
	struct adit_slot *slot = adit__fd_get(pool, fd);
	struct adit_position *position;
	struct seeking s;
	off_t rc = -EBADF;

	if (slot == NULL)
		return -EBADF;
	if (!(slot->access & ADIT_FD_PATH)) {
		s = (struct seeking){pool, slot->file, offset, whence};
		position = adit__position_lock(slot->file);
		ADIT_LOOK(pool, ADIT_CALL_SEEK, rc, seek_locked(&s));
		adit__position_unlock(position);
	}
	(void)adit__fd_put(pool, slot);
	return rc;
}

/* ---- size and space -------------------------------------------------------------------------- */

static int truncate_walked(struct adit_walk *w, off_t length)
{
	struct adit_attr attr;
	struct adit_hold hold;
	int err = adit__walk_hold(w, true, &attr, &hold);

	if (err)
		return err;
	if (S_ISDIR(attr.mode))
		err = -EISDIR;
	else if (!S_ISREG(attr.mode))
		err = -EINVAL;
	else
		err = adit__file_truncate(w->pool->fs, attr.ino, (uint64_t)length);
	(void)adit__release(w->pool->fs, &hold);
	return err;
}

int adit_truncate(struct adit_pool *pool, const char *path, off_t length)
{
	struct adit_walk w;
	int rc;

	if (length < 0)
		return -EINVAL;
	rc = adit__walk_begin(&w, pool, AT_FDCWD, path, 0);
	if (rc != 0)
		return rc;
	ADIT_CALL(pool, ADIT_CALL_TRUNCATE, rc, truncate_walked(&w, length));
	adit__walk_end(&w);
	return rc;
}

int adit_ftruncate(struct adit_pool *pool, int fd, off_t length)
{
	struct adit_slot *slot;
	int rc;

	if (length < 0)
		return -EINVAL;
	slot = adit__fd_get(pool, fd);
	if (slot == NULL)
		return -EBADF;
	if (slot->access & ADIT_FD_PATH)
		rc = -EBADF;
	else if (!(slot->access & ADIT_FD_WRITE) || !(slot->access & ADIT_FD_REGULAR))
		rc = -EINVAL;
	else
		ADIT_CALL(pool, ADIT_CALL_TRUNCATE, rc,
			  adit__file_truncate(pool->fs, slot->ino, (uint64_t)length));
	(void)adit__fd_put(pool, slot);
	return rc;
}

static int check_fallocate(int mode, off_t offset, off_t length)
{
	const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE |
			  FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE;
	const int kind = mode & ~FALLOC_FL_KEEP_SIZE;

	if (offset < 0 || length <= 0)
		return -EINVAL;
	if (mode & ~known || (kind & (kind - 1)) != 0)
		return -EOPNOTSUPP;
	if (kind == FALLOC_FL_PUNCH_HOLE && !(mode & FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	if ((kind == FALLOC_FL_COLLAPSE_RANGE || kind == FALLOC_FL_INSERT_RANGE) &&
	    mode & FALLOC_FL_KEEP_SIZE)
		return -EOPNOTSUPP;
	return 0;
}

int adit_fallocate(struct adit_pool *pool, int fd, int mode, off_t offset, off_t length)
{
	struct adit_slot *slot = adit__fd_get(pool, fd);
	int rc;

	if (slot == NULL)
		return -EBADF;
	rc = slot->access & ADIT_FD_PATH ? -EBADF : check_fallocate(mode, offset, length);
	if (rc == 0 && !(slot->access & ADIT_FD_WRITE))
		rc = -EBADF;
	if (rc == 0)
		ADIT_CALL(pool, ADIT_CALL_FALLOCATE, rc,
			  adit__file_fallocate(pool->fs, slot->ino, mode, (uint64_t)offset, (uint64_t)length));
	(void)adit__fd_put(pool, slot);
	return rc;
}

/* ---- copying --------------------------------------------------------------------------------- */

#define COPY_PIECE (1u << 20)

struct copying {
	struct adit_pool *pool;
	struct adit_file *in, *out;
	uint64_t in_at, out_at;
	uint64_t bytes;
	uint64_t done;
	void *buffer;
};

/* As far as it got; an error only when nothing was copied. */
static int64_t copy_pieces(struct copying *c)
{
	while (c->done < c->bytes) {
		struct adit_iovec piece = {c->buffer, min_u64(c->bytes - c->done, COPY_PIECE)};
		uint64_t to = c->out_at + c->done;
		int64_t n = adit__file_read(c->pool->fs, c->in->ino, &piece, 1,
					    c->in_at + c->done);

		if (n > 0) {
			piece.len = (size_t)n;
			n = adit__file_write(c->pool->fs, c->out->ino, &piece, 1, &to,
					     c->pool->write_flags);
		}
		if (n <= 0)
			return c->done > 0 ? (int64_t)c->done : n;
		c->done += (uint64_t)n;
	}
	return (int64_t)c->done;
}

/* The open files first; then the range, which is cut at the end of what is copied from. */
static int check_copy(const struct adit_slot *in, const struct adit_slot *out)
{
	if ((in->access | out->access) & ADIT_FD_PATH)
		return -EBADF;
	if ((in->access | out->access) & ADIT_FD_DIR)
		return -EISDIR;
	if (!(in->access & ADIT_FD_READ) || !(out->access & ADIT_FD_WRITE) ||
	    adit__file_flags(out->file) & O_APPEND)
		return -EBADF;
	return 0;
}

static int check_range(struct copying *c, uint64_t size)
{
	uint64_t end;

	if (__builtin_add_overflow(c->in_at, c->bytes, &end) ||
	    __builtin_add_overflow(c->out_at, c->bytes, &end))
		return -EOVERFLOW;
	if (c->out_at == ADIT_FILE_SIZE_MAX)
		return -EFBIG;
	if (c->in_at > INT64_MAX || c->out_at > INT64_MAX)
		return -EINVAL;
	c->bytes = c->in_at >= size ? 0 : min_u64(c->bytes, size - c->in_at);
	c->bytes = min_u64(c->bytes, ADIT_RW_MAX);
	c->bytes = min_u64(c->bytes, ADIT_FILE_SIZE_MAX - c->out_at);
	if (c->in->ino == c->out->ino && c->out_at + c->bytes > c->in_at &&
	    c->out_at < c->in_at + c->bytes)
		return -EINVAL;
	return 0;
}

/* May it be copied to; and how much there is to copy. */
static ADIT_NOINLINE int look_at_both(struct copying *c, uint64_t *size)
{
	struct adit_attr attr;
	int rc;

	ADIT_GUARD(c->pool, rc, adit__getattr(c->pool->fs, c->out->ino, &attr));
	if (rc == 0 && attr.flags & ADIT_IFLAG_IMMUTABLE)
		rc = -EPERM;
	if (rc == 0)
		ADIT_GUARD(c->pool, rc, adit__getattr(c->pool->fs, c->in->ino, &attr));
	*size = rc == 0 ? attr.size : 0;
	return rc;
}

static ADIT_NOINLINE ssize_t copy_guarded(struct copying *c)
{
	ssize_t rc;

	ADIT_CALL(c->pool, ADIT_CALL_COPY, rc, copy_pieces(c));
	return rc == -EIO && c->done > 0 ? (ssize_t)c->done : rc;
}

static off_t position_of(struct adit_file *file)
{
	struct adit_position *position = adit__position_lock(file);
	off_t at = (off_t)position->offset;

	adit__position_unlock(position);
	return at;
}

static void move_position(struct adit_file *file, off_t to)
{
	struct adit_position *position = adit__position_lock(file);

	position->offset = (uint64_t)to;
	adit__position_unlock(position);
}

static ssize_t copy_between(struct adit_pool *pool, struct adit_slot *in, off_t *offset_in,
			    struct adit_slot *out, off_t *offset_out, size_t bytes)
{
	off_t from = offset_in != NULL ? *offset_in : position_of(in->file);
	off_t to = offset_out != NULL ? *offset_out : position_of(out->file);
	struct copying c = {.pool = pool, .in = in->file, .out = out->file,
			    .in_at = (uint64_t)from, .out_at = (uint64_t)to, .bytes = bytes};
	uint64_t size;
	ssize_t rc = check_copy(in, out);

	if (rc == 0)
		rc = look_at_both(&c, &size);
	if (rc == 0)
		rc = check_range(&c, size);
	if (rc != 0 || c.bytes == 0)
		return rc;
	c.buffer = malloc(min_u64(c.bytes, COPY_PIECE));
	if (c.buffer == NULL)
		return -ENOMEM;
	rc = copy_guarded(&c);
	free(c.buffer);
	if (rc <= 0)
		return rc;
	if (offset_in != NULL)
		*offset_in = from + rc;
	else
		move_position(in->file, from + rc);
	if (offset_out != NULL)
		*offset_out = to + rc;
	else
		move_position(out->file, to + rc);
	return rc;
}

ssize_t adit_copy_file_range(struct adit_pool *pool, int fd_in, off_t *offset_in, int fd_out,
			     off_t *offset_out, size_t bytes, unsigned flags)
{
	struct adit_slot *in, *out;
	ssize_t rc = -EBADF;

	in = adit__fd_get(pool, fd_in);
	if (in == NULL)
		return -EBADF;
	out = adit__fd_get(pool, fd_out);
	if (out != NULL) {
		rc = flags != 0 ? -EINVAL
				: copy_between(pool, in, offset_in, out, offset_out, bytes);
		(void)adit__fd_put(pool, out);
	}
	(void)adit__fd_put(pool, in);
	return rc;
}

/* ---- syncing --------------------------------------------------------------------------------- */

static int sync_error(struct adit_pool *pool, int fd)
{
	struct adit_peek peek;
	int rc;

	if (!adit__peek(&pool->fds, fd, &peek) || peek.access & ADIT_FD_PATH)
		return -EBADF;
	ADIT_CALL(pool, ADIT_CALL_FSYNC, rc, adit__media_error(&pool->media));
	return rc;
}

int adit_fsync(struct adit_pool *pool, int fd)
{
	return sync_error(pool, fd);
}

int adit_fdatasync(struct adit_pool *pool, int fd)
{
	return sync_error(pool, fd);
}

int adit_syncfs(struct adit_pool *pool, int fd)
{
	return sync_error(pool, fd);
}

int adit_sync_file_range(struct adit_pool *pool, int fd, off_t offset, off_t bytes, unsigned flags)
{
	off_t end;

	if (flags & ~(unsigned)(SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
				SYNC_FILE_RANGE_WAIT_AFTER) ||
	    offset < 0 || bytes < 0 || __builtin_add_overflow(offset, bytes, &end))
		return -EINVAL;
	return sync_error(pool, fd);
}
