/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calls_names.c - mkdir, mknod, symlink, link, unlink, rmdir, rename, readlink.
 *
 * Which error comes first when several apply follows Linux's namei.c: programs and test suites look.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fs/convert.h"
#include "fs/guard.h"
#include "fs/path.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#define RENAME_WHITEOUT 4
#endif
_Static_assert(RENAME_NOREPLACE == ADIT_RENAME_NOREPLACE &&
		       RENAME_EXCHANGE == ADIT_RENAME_EXCHANGE &&
		       RENAME_WHITEOUT == ADIT_RENAME_WHITEOUT,
	       "passed on as they are");

/* ---- making ---------------------------------------------------------------------------------- */

/* After walk_parent: may a new name be made here? "name/" is for directories only. */
static int check_new_name(struct adit_walk *w, bool is_dir)
{
	struct adit_id id;
	int err;

	if (w->last != ADIT_LAST_NAME)
		return -EEXIST;
	err = adit__walk_check_name(w);
	if (err || !w->slash || is_dir)
		return err;
	err = adit__lookup_at(w->pool->fs, w->at, w->name, w->len, &id);
	return err ? err : -EEXIST;
}

static int make_walked(struct adit_walk *w, const struct adit_create *c)
{
	struct adit_id id;
	int err = adit__walk_parent(w);

	if (!err)
		err = check_new_name(w, S_ISDIR(c->mode));
	if (!err)
		err = adit__create_at(w->pool->fs, w->at, w->name, w->len, c, NULL, &id);
	return err;
}

static unsigned kind_of(const struct adit_create *c)
{
	return S_ISDIR(c->mode) ? ADIT_CALL_MKDIR : S_ISLNK(c->mode) ? ADIT_CALL_SYMLINK : ADIT_CALL_CREATE;
}

static int make(struct adit_pool *pool, int dirfd, const char *path, const struct adit_create *c)
{
	struct adit_walk w;
	int rc = adit__walk_begin(&w, pool, dirfd, path, 0);

	if (rc != 0)
		return rc;
	ADIT_CALL(pool, kind_of(c), rc, make_walked(&w, c));
	adit__walk_end(&w);
	return rc;
}

int adit_mkdirat(struct adit_pool *pool, int dirfd, const char *path, mode_t mode)
{
	/* Set-ID bits are not for the caller to give: mkdir(2). */
	struct adit_create c = adit__new_file(pool, S_IFDIR, mode & 01777u);

	return make(pool, dirfd, path, &c);
}

int adit_mkdir(struct adit_pool *pool, const char *path, mode_t mode)
{
	return adit_mkdirat(pool, AT_FDCWD, path, mode);
}

int adit_mknodat(struct adit_pool *pool, int dirfd, const char *path, mode_t mode, dev_t dev)
{
	uint32_t type = mode & S_IFMT;
	struct adit_create c = adit__new_file(pool, type != 0 ? type : S_IFREG, mode);

	switch (type) {
	case 0: case S_IFREG: case S_IFIFO: case S_IFSOCK:
		break;
	case S_IFCHR: case S_IFBLK:
		c.rdev = adit__rdev_of(dev);
		break;
	case S_IFDIR:
		return -EPERM;
	default:
		return -EINVAL;
	}
	return make(pool, dirfd, path, &c);
}

int adit_mknod(struct adit_pool *pool, const char *path, mode_t mode, dev_t dev)
{
	return adit_mknodat(pool, AT_FDCWD, path, mode, dev);
}

int adit_symlinkat(struct adit_pool *pool, const char *target, int dirfd, const char *path)
{
	struct adit_create c = {
		.mode = S_IFLNK | 0777u,
		.uid = pool->uid,
		.gid = pool->gid,
		.link = target,
		.link_len = strnlen(target, ADIT_PATH_MAX),
	};

	if (c.link_len == 0)
		return -ENOENT;
	if (c.link_len == ADIT_PATH_MAX)
		return -ENAMETOOLONG;
	return make(pool, dirfd, path, &c);
}

int adit_symlink(struct adit_pool *pool, const char *target, const char *path)
{
	return adit_symlinkat(pool, target, AT_FDCWD, path);
}

/* ---- link ------------------------------------------------------------------------------------ */

/* A file without a name gets its first only if it was opened so, and only once. */
static bool is_linkable(const struct adit_walk *old)
{
	return old->empty && old->slot != NULL &&
	       __atomic_load_n(&old->slot->file->linkable, __ATOMIC_RELAXED);
}

static void was_named(const struct adit_walk *old)
{
	if (old->empty && old->slot != NULL)
		__atomic_store_n(&old->slot->file->linkable, false, __ATOMIC_RELAXED);
}

static int link_walked(struct adit_walk *old, struct adit_walk *new, bool follow)
{
	struct adit_fs *fs = old->pool->fs;
	struct adit_attr attr;
	struct adit_hold hold;
	int err = adit__walk_hold(old, follow, &attr, &hold);

	if (err)
		return err;
	err = adit__walk_parent(new);
	if (!err)
		err = check_new_name(new, false);
	if (!err)
		err = adit__link_at(fs, attr.ino, new->at, new->name, new->len, is_linkable(old));
	if (!err)
		was_named(old);
	(void)adit__release(fs, &hold);
	return err;
}

int adit_linkat(struct adit_pool *pool, int old_dirfd, const char *old_path, int new_dirfd,
		const char *new_path, int flags)
{
	struct adit_walk old, new;
	struct adit_id id;
	int rc, bad;

	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	rc = adit__walk_begin(&old, pool, old_dirfd, old_path,
			      flags & AT_EMPTY_PATH ? ADIT_WALK_EMPTY : 0);
	if (rc != 0)
		return rc;
	bad = adit__walk_begin(&new, pool, new_dirfd, new_path, 0);
	if (bad == 0) {
		ADIT_CALL(pool, ADIT_CALL_LINK, rc, link_walked(&old, &new, flags & AT_SYMLINK_FOLLOW));
		adit__walk_end(&new);
	} else {
		/* What is wrong with the old path is said first. */
		ADIT_GUARD(pool, rc, adit__walk_final(&old, flags & AT_SYMLINK_FOLLOW, &id));
	}
	adit__walk_end(&old);
	return rc != 0 ? rc : bad;
}

int adit_link(struct adit_pool *pool, const char *old_path, const char *new_path)
{
	return adit_linkat(pool, AT_FDCWD, old_path, AT_FDCWD, new_path, 0);
}

/* ---- unlink, rmdir --------------------------------------------------------------------------- */

static int unlink_walked(struct adit_walk *w)
{
	struct adit_id id;
	int err = adit__walk_parent(w);

	if (err)
		return err;
	if (w->last != ADIT_LAST_NAME)
		return -EISDIR;
	err = adit__walk_check_name(w);
	if (err)
		return err;
	if (w->slash) {
		err = adit__lookup_at(w->pool->fs, w->at, w->name, w->len, &id);
		return err ? err : S_ISDIR(id.mode) ? -EISDIR : -ENOTDIR;
	}
	return adit__remove_at(w->pool->fs, w->at, w->name, w->len, false);
}

static int rmdir_walked(struct adit_walk *w)
{
	int err = adit__walk_parent(w);

	if (err)
		return err;
	switch (w->last) {
	case ADIT_LAST_ROOT:
		return -EBUSY;
	case ADIT_LAST_DOT:
		return -EINVAL;
	case ADIT_LAST_DOTDOT:
		return -ENOTEMPTY;
	default:
		err = adit__walk_check_name(w);
		return err ? err : adit__remove_at(w->pool->fs, w->at, w->name, w->len, true);
	}
}

int adit_unlinkat(struct adit_pool *pool, int dirfd, const char *path, int flags)
{
	struct adit_walk w;
	int rc;

	if (flags & ~AT_REMOVEDIR)
		return -EINVAL;
	rc = adit__walk_begin(&w, pool, dirfd, path, 0);
	if (rc != 0)
		return rc;
	ADIT_CALL(pool, flags & AT_REMOVEDIR ? ADIT_CALL_RMDIR : ADIT_CALL_UNLINK, rc,
		  flags & AT_REMOVEDIR ? rmdir_walked(&w) : unlink_walked(&w));
	adit__walk_end(&w);
	return rc;
}

int adit_unlink(struct adit_pool *pool, const char *path)
{
	return adit_unlinkat(pool, AT_FDCWD, path, 0);
}

int adit_rmdir(struct adit_pool *pool, const char *path)
{
	return adit_unlinkat(pool, AT_FDCWD, path, AT_REMOVEDIR);
}

/* ---- rename ---------------------------------------------------------------------------------- */

/* "name/" of something that is no directory; and a new name that is too long, which is said only when
 * there is an old one. */
static int check_names(struct adit_walk *old, struct adit_walk *new, unsigned flags)
{
	struct adit_fs *fs = old->pool->fs;
	struct adit_id from, to;
	struct adit_attr dir;
	int err, gone;

	if (ADIT_LIKELY(!old->slash && !new->slash && new->len <= ADIT_NAME_MAX &&
			old->len <= ADIT_NAME_MAX))
		return 0;
	err = adit__walk_check_name(old);
	if (!err)
		err = adit__lookup_at(fs, old->at, old->name, old->len, &from);
	if (!err)
		err = adit__walk_check_name(new);
	if (err)
		return err;
	err = adit__lookup_at(fs, new->at, new->name, new->len, &to);
	if (err && err != -ENOENT)
		return err;
	gone = err ? adit__walk_dir(new, &dir) : 0; /* nothing is made in a removed one */
	if (gone)
		return gone;
	if (!err && flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (flags & RENAME_EXCHANGE) {
		if (err)
			return err;
		if (!S_ISDIR(to.mode) && new->slash)
			return -ENOTDIR;
	}
	if (!S_ISDIR(from.mode) && (old->slash || (new->slash && !(flags & RENAME_EXCHANGE))))
		return -ENOTDIR;
	return 0;
}

static int rename_walked(struct adit_walk *old, struct adit_walk *new, unsigned flags)
{
	int err = adit__walk_parent(old);

	if (!err)
		err = adit__walk_parent(new);
	if (err)
		return err;
	if (old->last != ADIT_LAST_NAME)
		return -EBUSY;
	if (new->last != ADIT_LAST_NAME)
		return flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
	err = check_names(old, new, flags);
	if (err)
		return err;
	return adit__rename_at(old->pool->fs, old->at, old->name, old->len, new->at, new->name,
			    new->len, flags);
}

int adit_renameat2(struct adit_pool *pool, int old_dirfd, const char *old_path, int new_dirfd,
		   const char *new_path, unsigned flags)
{
	struct adit_walk old, new;
	int rc, bad;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT) ||
	    (flags & RENAME_EXCHANGE && flags & (RENAME_NOREPLACE | RENAME_WHITEOUT)))
		return -EINVAL;
	rc = adit__walk_begin(&old, pool, old_dirfd, old_path, 0);
	if (rc != 0)
		return rc;
	bad = adit__walk_begin(&new, pool, new_dirfd, new_path, 0);
	if (bad == 0) {
		ADIT_CALL(pool, ADIT_CALL_RENAME, rc, rename_walked(&old, &new, flags));
		adit__walk_end(&new);
	} else {
		ADIT_GUARD(pool, rc, adit__walk_parent(&old));
	}
	adit__walk_end(&old);
	return rc != 0 ? rc : bad;
}

int adit_renameat(struct adit_pool *pool, int old_dirfd, const char *old_path, int new_dirfd,
		  const char *new_path)
{
	return adit_renameat2(pool, old_dirfd, old_path, new_dirfd, new_path, 0);
}

int adit_rename(struct adit_pool *pool, const char *old_path, const char *new_path)
{
	return adit_renameat2(pool, AT_FDCWD, old_path, AT_FDCWD, new_path, 0);
}

/* ---- readlink -------------------------------------------------------------------------------- */

static int64_t readlink_walked(struct adit_walk *w, char *buf, size_t bytes)
{
	struct adit_attr attr;
	struct adit_hold hold;
	int64_t rc = adit__walk_hold(w, false, &attr, &hold);

	if (rc != 0)
		return rc;
	if (S_ISLNK(attr.mode))
		rc = adit__readlink(w->pool->fs, attr.ino, buf, bytes);
	else
		rc = w->empty ? -ENOENT : -EINVAL;
	(void)adit__release(w->pool->fs, &hold);
	return rc;
}

ssize_t adit_readlinkat(struct adit_pool *pool, int dirfd, const char *path, char *buf, size_t bytes)
{
	struct adit_walk w;
	ssize_t rc;

	if (bytes == 0 || bytes > INT32_MAX)
		return -EINVAL;
	/* An empty path is for a link that was opened with O_PATH | O_NOFOLLOW. */
	rc = adit__walk_begin(&w, pool, dirfd, path, dirfd != AT_FDCWD ? ADIT_WALK_EMPTY : 0);
	if (rc != 0)
		return rc;
	ADIT_CALL(pool, ADIT_CALL_READLINK, rc, readlink_walked(&w, buf, bytes));
	adit__walk_end(&w);
	return rc;
}

ssize_t adit_readlink(struct adit_pool *pool, const char *path, char *buf, size_t bytes)
{
	return adit_readlinkat(pool, AT_FDCWD, path, buf, bytes);
}
