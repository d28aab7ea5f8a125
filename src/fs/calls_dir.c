/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calls_dir.c - getdents.
 *
 * A directory's position is the cookie of the entry that was given last: 0 at the beginning, 1 and 2
 * after "." and "..", which are not stored; then the entries' own, which never change.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/types.h>

#include "core/dir.h"
#include "fs/guard.h"
#include "fs/path.h"

_Static_assert(offsetof(struct adit_dirent64, d_name) == 19 &&
		       offsetof(struct adit_dirent64, d_type) == 18 &&
		       offsetof(struct adit_dirent64, d_reclen) == 16,
	       "the layout of struct linux_dirent64");

#define AFTER_DOT 1
#define AFTER_DOTDOT 2

struct filling {
	struct adit_pool *pool;
	struct adit_file *file;
	uint8_t *buf;
	size_t bytes;
	size_t used;
	uint64_t position; /* of the entry that was put last */
};

/* Nonzero: there is no room for it. */
static int put(struct filling *f, uint64_t ino, uint64_t cookie, uint8_t type, const void *name,
	       size_t len)
{
	size_t record = (offsetof(struct adit_dirent64, d_name) + len + 1 + 7) & ~(size_t)7;
	uint8_t *at = f->buf + f->used;
	struct adit_dirent64 head = {
		.d_ino = ino,
		.d_off = (int64_t)cookie,
		.d_reclen = (uint16_t)record,
		.d_type = type,
	};

	if (record > f->bytes - f->used)
		return 1;
	/* The caller's buffer may lie anyhow. */
	memcpy(at, &head, offsetof(struct adit_dirent64, d_name));
	at += offsetof(struct adit_dirent64, d_name);
	memcpy(at, name, len);
	memset(at + len, 0, record - offsetof(struct adit_dirent64, d_name) - len);
	f->used += record;
	f->position = cookie;
	return 0;
}

static int visit(void *arg, uint64_t cookie, const void *name, size_t len,
		 const struct adit_dirent *de)
{
	return put(arg, de->ino, cookie, de->dtype, name, len);
}

static int put_dotdot(struct filling *f)
{
	uint64_t dir = f->file->ino;
	struct adit_id up = {.ino = dir};
	int err = dir == ADIT_INO_ROOT ? 0 : adit__parent(f->pool->fs, dir, &up);

	return err ? err : put(f, up.ino, AFTER_DOTDOT, DT_DIR, "..", 2);
}

/* 0 at the end, 1 when the buffer is full, -errno. */
static int fill(struct filling *f)
{
	int rc = 0;

	if (f->position < AFTER_DOT)
		rc = put(f, f->file->ino, AFTER_DOT, DT_DIR, ".", 1);
	if (rc == 0 && f->position < AFTER_DOTDOT)
		rc = put_dotdot(f);
	if (rc == 0)
		rc = adit__readdir(f->pool->fs, f->file->ino, f->position, visit, f);
	return rc;
}

/* With the position's lock held. */
static ssize_t fill_locked(struct filling *f)
{
	int rc;

	f->position = f->file->position->offset;
	rc = fill(f);
	if (f->used > 0)
		rc = 0;
	if (rc == 0)
		f->file->position->offset = f->position;
	return rc > 0 ? -EINVAL : rc < 0 ? rc : (ssize_t)f->used;
}

ssize_t adit_getdents(struct adit_pool *pool, int fd, void *buf, size_t bytes)
{
	struct adit_slot *slot = adit__fd_get(pool, fd);
	struct adit_position *position;
	struct filling f;
	ssize_t rc;

	if (slot == NULL)
		return -EBADF;
	if (slot->access & ADIT_FD_PATH) {
		rc = -EBADF;
	} else if (!(slot->access & ADIT_FD_DIR)) {
		rc = -ENOTDIR;
	} else {
		f = (struct filling){.pool = pool, .file = slot->file, .buf = buf,
				     .bytes = bytes < INT32_MAX ? bytes : INT32_MAX};
		position = adit__position_lock(slot->file);
		ADIT_LOOK(pool, ADIT_CALL_READDIR, rc, fill_locked(&f));
		adit__position_unlock(position);
	}
	(void)adit__fd_put(pool, slot);
	return rc;
}
