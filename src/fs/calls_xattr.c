/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calls_xattr.c - extended attributes: by path, by path without following, by descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "fs/guard.h"
#include "fs/path.h"

struct xattr_call {
	enum { XATTR_GET, XATTR_SET, XATTR_LIST, XATTR_REMOVE } what;
	const char *name;
	void *out;
	const void *value;
	size_t bytes;
	int flags;
};

static unsigned kind_of(const struct xattr_call *c)
{
	static const uint8_t kinds[] = {[XATTR_GET] = ADIT_CALL_GETXATTR, [XATTR_SET] = ADIT_CALL_SETXATTR,
					[XATTR_LIST] = ADIT_CALL_LISTXATTR, [XATTR_REMOVE] = ADIT_CALL_REMOVEXATTR};

	return kinds[c->what];
}

/* What needs no file to be refused; the core checks the name's prefix. */
static int check(struct xattr_call *c)
{
	if (c->what == XATTR_SET && c->flags & ~(XATTR_CREATE | XATTR_REPLACE))
		return -EINVAL;
	if (c->what != XATTR_LIST) {
		size_t len = strnlen(c->name, XATTR_NAME_MAX + 1);

		if (len == 0 || len > XATTR_NAME_MAX)
			return -ERANGE;
	}
	return c->what == XATTR_SET && c->bytes > XATTR_SIZE_MAX ? -E2BIG : 0;
}

static int64_t call_on(struct adit_fs *fs, uint64_t ino, uint32_t mode, const struct xattr_call *c)
{
	/* The core knows this too; but Linux looks at the kind of file before the rest of the name. */
	if (c->what != XATTR_LIST && strncmp(c->name, "user.", 5) == 0 && !S_ISREG(mode) &&
	    !S_ISDIR(mode))
		return c->what == XATTR_GET ? -ENODATA : -EPERM;
	switch (c->what) {
	case XATTR_GET:
		return adit__getxattr(fs, ino, c->name, c->out, c->bytes);
	case XATTR_SET:
		return adit__setxattr(fs, ino, c->name, c->value, c->bytes, c->flags);
	case XATTR_LIST:
		return adit__listxattr(fs, ino, c->out, c->bytes);
	default:
		return adit__removexattr(fs, ino, c->name);
	}
}

static int64_t call_walked(struct adit_walk *w, bool follow, const struct xattr_call *c)
{
	struct adit_attr attr;
	struct adit_hold hold;
	int64_t rc = adit__walk_hold(w, follow, &attr, &hold);

	if (rc != 0)
		return rc;
	rc = call_on(w->pool->fs, attr.ino, attr.mode, c);
	(void)adit__release(w->pool->fs, &hold);
	return rc;
}

static ssize_t call_path(struct adit_pool *pool, const char *path, bool follow, struct xattr_call *c)
{
	struct adit_walk w;
	ssize_t rc = check(c);

	if (rc == 0)
		rc = adit__walk_begin(&w, pool, AT_FDCWD, path, 0);
	if (rc != 0)
		return rc;
	ADIT_CALL(pool, kind_of(c), rc, call_walked(&w, follow, c));
	adit__walk_end(&w);
	return rc;
}

static ssize_t call_fd(struct adit_pool *pool, int fd, struct xattr_call *c)
{
	struct adit_slot *slot;
	ssize_t rc = check(c);

	if (rc != 0)
		return rc;
	slot = adit__fd_get(pool, fd);
	if (slot == NULL)
		return -EBADF;
	rc = -EBADF;
	if (!(slot->access & ADIT_FD_PATH))
		ADIT_CALL(pool, kind_of(c), rc, call_on(pool->fs, slot->ino, slot->file->mode, c));
	(void)adit__fd_put(pool, slot);
	return rc;
}

#define GET_CALL {.what = XATTR_GET, .name = name, .out = value, .bytes = bytes}
#define SET_CALL {.what = XATTR_SET, .name = name, .value = value, .bytes = bytes, .flags = flags}
#define LIST_CALL {.what = XATTR_LIST, .out = list, .bytes = bytes}
#define REMOVE_CALL {.what = XATTR_REMOVE, .name = name}

ssize_t adit_getxattr(struct adit_pool *pool, const char *path, const char *name, void *value,
		      size_t bytes)
{
	struct xattr_call c = GET_CALL;

	return call_path(pool, path, true, &c);
}

ssize_t adit_lgetxattr(struct adit_pool *pool, const char *path, const char *name, void *value,
		       size_t bytes)
{
	struct xattr_call c = GET_CALL;

	return call_path(pool, path, false, &c);
}

ssize_t adit_fgetxattr(struct adit_pool *pool, int fd, const char *name, void *value, size_t bytes)
{
	struct xattr_call c = GET_CALL;

	return call_fd(pool, fd, &c);
}

int adit_setxattr(struct adit_pool *pool, const char *path, const char *name, const void *value,
		  size_t bytes, int flags)
{
	struct xattr_call c = SET_CALL;

	return (int)call_path(pool, path, true, &c);
}

int adit_lsetxattr(struct adit_pool *pool, const char *path, const char *name, const void *value,
		   size_t bytes, int flags)
{
	struct xattr_call c = SET_CALL;

	return (int)call_path(pool, path, false, &c);
}

int adit_fsetxattr(struct adit_pool *pool, int fd, const char *name, const void *value, size_t bytes,
		   int flags)
{
	struct xattr_call c = SET_CALL;

	return (int)call_fd(pool, fd, &c);
}

ssize_t adit_listxattr(struct adit_pool *pool, const char *path, char *list, size_t bytes)
{
	struct xattr_call c = LIST_CALL;

	return call_path(pool, path, true, &c);
}

ssize_t adit_llistxattr(struct adit_pool *pool, const char *path, char *list, size_t bytes)
{
	struct xattr_call c = LIST_CALL;

	return call_path(pool, path, false, &c);
}

ssize_t adit_flistxattr(struct adit_pool *pool, int fd, char *list, size_t bytes)
{
	struct xattr_call c = LIST_CALL;

	return call_fd(pool, fd, &c);
}

int adit_removexattr(struct adit_pool *pool, const char *path, const char *name)
{
	struct xattr_call c = REMOVE_CALL;

	return (int)call_path(pool, path, true, &c);
}

int adit_lremovexattr(struct adit_pool *pool, const char *path, const char *name)
{
	struct xattr_call c = REMOVE_CALL;

	return (int)call_path(pool, path, false, &c);
}

int adit_fremovexattr(struct adit_pool *pool, int fd, const char *name)
{
	struct xattr_call c = REMOVE_CALL;

	return (int)call_fd(pool, fd, &c);
}
