/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calls_attr.c - stat and its kin, statfs, chmod, chown, times, flags, access, umask.
 *
 * What changes a file found by path holds it meanwhile, so that its number cannot become another's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "fs/convert.h"
#include "fs/guard.h"
#include "fs/path.h"

/* ---- stat ------------------------------------------------------------------------------------ */

static struct timespec timespec_of(int64_t ns)
{
	return (struct timespec){.tv_sec = adit__seconds_of(ns),
				 .tv_nsec = (long)adit__nanoseconds_of(ns)};
}

static void fill_stat(const struct adit_pool *pool, const struct adit_attr *a, struct stat *out)
{
	*out = (struct stat){
		.st_dev = pool->dev,
		.st_ino = a->ino,
		.st_mode = a->mode,
		.st_nlink = a->nlink,
		.st_uid = a->uid,
		.st_gid = a->gid,
		.st_rdev = adit__dev_of(a->rdev),
		.st_size = (off_t)a->size,
		.st_blksize = ADIT_BLOCK,
		.st_blocks = (blkcnt_t)(a->blocks * (ADIT_BLOCK / 512)),
		.st_atim = timespec_of(a->atime_ns),
		.st_mtim = timespec_of(a->mtime_ns),
		.st_ctim = timespec_of(a->ctime_ns),
	};
}

/* Attributes by path or, with an empty one, by descriptor. */
static int attr_at(struct adit_pool *pool, int dirfd, const char *path, bool follow,
		   unsigned walk_flags, struct adit_attr *out)
{
	struct adit_walk w;
	int rc = adit__walk_begin(&w, pool, dirfd, path, walk_flags);

	if (rc != 0)
		return rc;
	ADIT_LOOK(pool, ADIT_CALL_GETATTR, rc, adit__walk_attr(&w, follow, out));
	adit__walk_end(&w);
	return rc;
}

/* Reading only: without a reference, as pread does. */
static int attr_of_fd(struct adit_pool *pool, int fd, struct adit_attr *out)
{
	struct adit_peek peek;
	int rc;

	if (!adit__peek(&pool->fds, fd, &peek))
		return -EBADF;
	ADIT_LOOK(pool, ADIT_CALL_GETATTR, rc, adit__getattr(pool->fs, peek.ino, out));
	return adit__peek_still(&peek) ? rc : -EBADF;
}

#define STAT_FLAGS (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT)

int adit_fstatat(struct adit_pool *pool, int dirfd, const char *path, struct stat *out, int flags)
{
	struct adit_attr attr;
	int rc;

	if (flags & ~STAT_FLAGS)
		return -EINVAL;
	rc = attr_at(pool, dirfd, path, !(flags & AT_SYMLINK_NOFOLLOW),
		     flags & AT_EMPTY_PATH ? ADIT_WALK_EMPTY : 0, &attr);
	if (rc == 0)
		fill_stat(pool, &attr, out);
	return rc;
}

int adit_stat(struct adit_pool *pool, const char *path, struct stat *out)
{
	return adit_fstatat(pool, AT_FDCWD, path, out, 0);
}

int adit_lstat(struct adit_pool *pool, const char *path, struct stat *out)
{
	return adit_fstatat(pool, AT_FDCWD, path, out, AT_SYMLINK_NOFOLLOW);
}

int adit_fstat(struct adit_pool *pool, int fd, struct stat *out)
{
	struct adit_attr attr;
	int rc = attr_of_fd(pool, fd, &attr);

	if (rc == 0)
		fill_stat(pool, &attr, out);
	return rc;
}

static struct statx_timestamp statx_time(int64_t ns)
{
	return (struct statx_timestamp){.tv_sec = adit__seconds_of(ns),
					.tv_nsec = adit__nanoseconds_of(ns)};
}

static void fill_statx(const struct adit_pool *pool, const struct adit_attr *a, struct statx *out)
{
	dev_t rdev = adit__dev_of(a->rdev);

	*out = (struct statx){
		.stx_mask = STATX_BASIC_STATS | STATX_BTIME,
		.stx_blksize = ADIT_BLOCK,
		.stx_attributes = (a->flags & ADIT_IFLAG_IMMUTABLE ? STATX_ATTR_IMMUTABLE : 0) |
				  (a->flags & ADIT_IFLAG_APPEND ? STATX_ATTR_APPEND : 0),
		.stx_nlink = a->nlink,
		.stx_uid = a->uid,
		.stx_gid = a->gid,
		.stx_mode = (uint16_t)a->mode,
		.stx_ino = a->ino,
		.stx_size = a->size,
		.stx_blocks = a->blocks * (ADIT_BLOCK / 512),
		.stx_attributes_mask = STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND,
		.stx_atime = statx_time(a->atime_ns),
		.stx_btime = statx_time(a->btime_ns),
		.stx_ctime = statx_time(a->ctime_ns),
		.stx_mtime = statx_time(a->mtime_ns),
		.stx_rdev_major = major(rdev),
		.stx_rdev_minor = minor(rdev),
		.stx_dev_major = major(pool->dev),
		.stx_dev_minor = minor(pool->dev),
	};
}

int adit_statx(struct adit_pool *pool, int dirfd, const char *path, int flags, unsigned mask,
	       struct statx *out)
{
	struct adit_attr attr;
	int rc;

	if (flags & ~(STAT_FLAGS | AT_STATX_SYNC_TYPE) || mask & STATX__RESERVED ||
	    (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE)
		return -EINVAL;
	rc = attr_at(pool, dirfd, path, !(flags & AT_SYMLINK_NOFOLLOW),
		     flags & AT_EMPTY_PATH ? ADIT_WALK_EMPTY : 0, &attr);
	if (rc == 0)
		fill_statx(pool, &attr, out);
	return rc;
}

/* As for root: everything is allowed but to execute what nobody may execute. */
int adit_faccessat(struct adit_pool *pool, int dirfd, const char *path, int mode, int flags)
{
	struct adit_attr attr;
	int rc;

	if (mode & ~(R_OK | W_OK | X_OK) ||
	    flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	rc = attr_at(pool, dirfd, path, !(flags & AT_SYMLINK_NOFOLLOW),
		     flags & AT_EMPTY_PATH ? ADIT_WALK_EMPTY : 0, &attr);
	if (rc != 0)
		return rc;
	if (mode & W_OK) {
		if (pool->fs->read_only && (S_ISREG(attr.mode) || S_ISDIR(attr.mode) ||
					    S_ISLNK(attr.mode)))
			return -EROFS;
		if (attr.flags & ADIT_IFLAG_IMMUTABLE)
			return -EPERM;
	}
	return mode & X_OK && !S_ISDIR(attr.mode) && !(attr.mode & 0111) ? -EACCES : 0;
}

int adit_access(struct adit_pool *pool, const char *path, int mode)
{
	return adit_faccessat(pool, AT_FDCWD, path, mode, 0);
}

/* ---- statfs ---------------------------------------------------------------------------------- */

/* An empty block can hold this many inodes: what f_ffree promises. */
#define INODES_OF_BLOCK (ADIT_BLOCK / ADIT_INODE_BYTES)
#ifndef ST_RDONLY
#define ST_RDONLY 1
#endif
#ifndef ST_NOATIME
#define ST_NOATIME 1024
#endif
#define ST_VALID 0x20

static int count_free(struct adit_fs *fs, struct adit_statfs *out)
{
	adit__core_statfs(fs, out);
	return 0;
}

static int fill_statfs(struct adit_pool *pool, struct statfs *out)
{
	struct adit_statfs s;
	int rc;

	ADIT_GUARD_READ(pool, rc, count_free(pool->fs, &s));
	if (rc != 0)
		return rc;
	*out = (struct statfs){
		.f_type = ADIT_STATFS_MAGIC,
		.f_bsize = ADIT_BLOCK,
		.f_blocks = s.blocks,
		.f_bfree = s.free,
		.f_bavail = s.available,
		.f_files = s.inodes_used - 1 + s.available * INODES_OF_BLOCK,
		.f_ffree = s.available * INODES_OF_BLOCK,
		.f_namelen = ADIT_NAME_MAX,
		.f_frsize = ADIT_BLOCK,
		.f_flags = ST_VALID | ST_NOATIME | (pool->fs->read_only ? ST_RDONLY : 0),
	};
	memcpy(&out->f_fsid, &pool->fsid, sizeof out->f_fsid);
	return 0;
}

int adit_statfs(struct adit_pool *pool, const char *path, struct statfs *out)
{
	struct adit_attr attr;
	int rc = attr_at(pool, AT_FDCWD, path, true, 0, &attr);

	return rc == 0 ? fill_statfs(pool, out) : rc;
}

int adit_fstatfs(struct adit_pool *pool, int fd, struct statfs *out)
{
	struct adit_peek peek;

	if (!adit__peek(&pool->fds, fd, &peek))
		return -EBADF;
	return fill_statfs(pool, out);
}

/* ---- changing attributes --------------------------------------------------------------------- */

struct change {
	unsigned what; /* ADIT_SET_* */
	struct adit_attr to;
};

static int change_walked(struct adit_walk *w, bool follow, struct change *c)
{
	struct adit_attr attr;
	struct adit_hold hold;
	int err = adit__walk_hold(w, follow, &attr, &hold);

	if (err)
		return err;
	err = adit__setattr(w->pool->fs, attr.ino, c->what, &c->to);
	(void)adit__release(w->pool->fs, &hold);
	return err;
}

static int change_at(struct adit_pool *pool, int dirfd, const char *path, bool follow,
		     unsigned walk_flags, struct change *c)
{
	struct adit_walk w;
	int rc = adit__walk_begin(&w, pool, dirfd, path, walk_flags);

	if (rc != 0)
		return rc;
	ADIT_CALL(pool, ADIT_CALL_SETATTR, rc, change_walked(&w, follow, c));
	adit__walk_end(&w);
	return rc;
}

static int change_fd(struct adit_pool *pool, int fd, struct change *c)
{
	struct adit_slot *slot = adit__fd_get(pool, fd);
	int rc = -EBADF;

	if (slot == NULL)
		return -EBADF;
	if (!(slot->access & ADIT_FD_PATH))
		ADIT_CALL(pool, ADIT_CALL_SETATTR, rc, adit__setattr(pool->fs, slot->ino, c->what, &c->to));
	(void)adit__fd_put(pool, slot);
	return rc;
}

int adit_fchmodat(struct adit_pool *pool, int dirfd, const char *path, mode_t mode, int flags)
{
	struct change c = {.what = ADIT_SET_MODE, .to = {.mode = mode & 07777u}};

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	return change_at(pool, dirfd, path, !(flags & AT_SYMLINK_NOFOLLOW),
			 flags & AT_EMPTY_PATH ? ADIT_WALK_EMPTY : 0, &c);
}

int adit_chmod(struct adit_pool *pool, const char *path, mode_t mode)
{
	return adit_fchmodat(pool, AT_FDCWD, path, mode, 0);
}

int adit_fchmod(struct adit_pool *pool, int fd, mode_t mode)
{
	struct change c = {.what = ADIT_SET_MODE, .to = {.mode = mode & 07777u}};

	return change_fd(pool, fd, &c);
}

static struct change owner_change(uid_t uid, gid_t gid)
{
	/* chown(-1, -1) changes no owner but takes set-ID bits away. */
	return (struct change){
		.what = ADIT_SET_NO_PRIVILEGES | (uid != (uid_t)-1 ? ADIT_SET_UID : 0) |
			(gid != (gid_t)-1 ? ADIT_SET_GID : 0),
		.to = {.uid = uid, .gid = gid},
	};
}

int adit_fchownat(struct adit_pool *pool, int dirfd, const char *path, uid_t uid, gid_t gid, int flags)
{
	struct change c = owner_change(uid, gid);

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	return change_at(pool, dirfd, path, !(flags & AT_SYMLINK_NOFOLLOW),
			 flags & AT_EMPTY_PATH ? ADIT_WALK_EMPTY : 0, &c);
}

int adit_chown(struct adit_pool *pool, const char *path, uid_t uid, gid_t gid)
{
	return adit_fchownat(pool, AT_FDCWD, path, uid, gid, 0);
}

int adit_lchown(struct adit_pool *pool, const char *path, uid_t uid, gid_t gid)
{
	return adit_fchownat(pool, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
}

int adit_fchown(struct adit_pool *pool, int fd, uid_t uid, gid_t gid)
{
	struct change c = owner_change(uid, gid);

	return change_fd(pool, fd, &c);
}

/* ---- times ----------------------------------------------------------------------------------- */

/* Nanoseconds since 1970 in 64 bits: from 1677 to 2262; beyond, the nearest there is. */
static int64_t ns_of(const struct timespec *t)
{
	int64_t ns;

	if (__builtin_mul_overflow((int64_t)t->tv_sec, (int64_t)1000000000, &ns) ||
	    __builtin_add_overflow(ns, (int64_t)t->tv_nsec, &ns))
		return t->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

static bool bad_time(const struct timespec *t)
{
	return t->tv_nsec != UTIME_NOW && t->tv_nsec != UTIME_OMIT &&
	       (t->tv_nsec < 0 || t->tv_nsec > 999999999);
}

/* c->what stays 0 when nothing is to be done. */
static int time_change(const struct timespec *times, struct change *c)
{
	*c = (struct change){0};
	if (times == NULL) {
		c->what = ADIT_SET_ATIME_NOW | ADIT_SET_MTIME_NOW;
		return 0;
	}
	if (bad_time(&times[0]) || bad_time(&times[1]))
		return -EINVAL;
	if (times[0].tv_nsec == UTIME_NOW)
		c->what |= ADIT_SET_ATIME_NOW;
	else if (times[0].tv_nsec != UTIME_OMIT)
		c->what |= ADIT_SET_ATIME;
	if (times[1].tv_nsec == UTIME_NOW)
		c->what |= ADIT_SET_MTIME_NOW;
	else if (times[1].tv_nsec != UTIME_OMIT)
		c->what |= ADIT_SET_MTIME;
	c->to.atime_ns = ns_of(&times[0]);
	c->to.mtime_ns = ns_of(&times[1]);
	return 0;
}

int adit_futimens(struct adit_pool *pool, int fd, const struct timespec *times)
{
	struct adit_peek peek;
	struct change c;
	int rc = time_change(times, &c);

	if (rc != 0)
		return adit__peek(&pool->fds, fd, &peek) ? rc : -EBADF;
	return c.what == 0 ? 0 : change_fd(pool, fd, &c);
}

int adit_utimensat(struct adit_pool *pool, int dirfd, const char *path, const struct timespec *times,
		   int flags)
{
	const bool follow = !(flags & AT_SYMLINK_NOFOLLOW);
	const unsigned walk_flags = flags & AT_EMPTY_PATH ? ADIT_WALK_EMPTY : 0;
	struct adit_attr attr;
	struct change c;
	int rc, bad;

	if (path == NULL && dirfd != AT_FDCWD)
		return flags != 0 ? -EINVAL : adit_futimens(pool, dirfd, times);
	bad = time_change(times, &c);
	if (bad == 0 && c.what == 0)
		return 0;
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (bad == 0)
		return change_at(pool, dirfd, path, follow, walk_flags, &c);
	/* A path that is not there is the more important news. */
	rc = attr_at(pool, dirfd, path, follow, walk_flags, &attr);
	return rc != 0 ? rc : bad;
}

/* ---- flags, umask ---------------------------------------------------------------------------- */

int adit_getflags(struct adit_pool *pool, int fd, unsigned *flags)
{
	struct adit_attr attr;
	struct adit_peek peek;
	int rc;

	if (!adit__peek(&pool->fds, fd, &peek) || peek.access & ADIT_FD_PATH)
		return -EBADF;
	rc = attr_of_fd(pool, fd, &attr);
	if (rc != 0)
		return rc;
	*flags = (attr.flags & ADIT_IFLAG_IMMUTABLE ? ADIT_FL_IMMUTABLE : 0) |
		 (attr.flags & ADIT_IFLAG_APPEND ? ADIT_FL_APPEND : 0) |
		 (attr.flags & ADIT_IFLAG_ATOMIC ? ADIT_FL_ATOMIC : 0);
	return 0;
}

int adit_setflags(struct adit_pool *pool, int fd, unsigned flags)
{
	struct change c = {.what = ADIT_SET_IFLAGS};

	if (flags & ~(ADIT_FL_IMMUTABLE | ADIT_FL_APPEND | ADIT_FL_ATOMIC))
		return -EOPNOTSUPP;
	c.to.flags = (flags & ADIT_FL_IMMUTABLE ? ADIT_IFLAG_IMMUTABLE : 0) |
		     (flags & ADIT_FL_APPEND ? ADIT_IFLAG_APPEND : 0) |
		     (flags & ADIT_FL_ATOMIC ? ADIT_IFLAG_ATOMIC : 0);
	return change_fd(pool, fd, &c);
}

mode_t adit_umask(struct adit_pool *pool, mode_t mask)
{
	return __atomic_exchange_n(&pool->umask, mask & 0777u, __ATOMIC_RELAXED);
}
