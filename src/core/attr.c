/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Operations on an inode that needs no name: attributes, link targets, directory contents, open
 * counts, extended attributes as whole operations. namei.c deals with names.
 *
 * Invariants
 *  - Readers take the inode's lock shared and no lane.
 *  - The open count rises and falls under the inode's lock (shared is enough), and whoever takes
 *    nlink to 0 holds it exclusively: either the unlink sees the opener and makes an orphan, or the
 *    last close sees nlink 0 and frees it. Never both, never neither.
 */
#include "core/extent.h"
#include "core/namei_int.h"
#include "core/xattr.h"

static void fill_attr(struct adit_attr *a, const struct adit_inode_pm *ip)
{
	uint32_t type = ADIT_S_TYPE(get32(ip->mode));

	a->ino = get64(ip->ino);
	a->size = get64(ip->size);
	a->blocks = get64(ip->blocks);
	a->rdev = type == S_IFCHR || type == S_IFBLK ? get64(ip->parent_or_rdev) : 0;
	a->generation = get32(ip->generation);
	a->mode = get32(ip->mode);
	a->uid = get32(ip->uid);
	a->gid = get32(ip->gid);
	a->nlink = get32(ip->nlink);
	a->flags = get32(ip->flags);
	a->mtime_ns = (int64_t)get64(ip->mtime_ns);
	a->ctime_ns = (int64_t)get64(ip->ctime_ns);
	a->atime_ns = (int64_t)get64(ip->atime_ns);
	a->btime_ns = (int64_t)get64(ip->btime_ns);
}

/* Without the lock: false when somebody changes the inode, or it is not known to be sound. */
static bool glance_attr(struct adit_fs *fs, uint64_t ino, struct adit_attr *out)
{
	const struct adit_inode_pm *ip = adit__inode_glance(fs, ino);
	struct adit_attr a;
	uint64_t version;

	if (!ip || !adit__glance(fs, ino, &version))
		return false;
	fill_attr(&a, ip);
	if (a.mode == 0 || !adit__glance_valid(fs, ino, version))
		return false;
	*out = a;
	return true;
}

int adit__getattr(struct adit_fs *fs, uint64_t ino, struct adit_attr *out)
{
	const struct adit_inode_pm *ip;
	struct adit_op op;
	int err;

	if (ADIT_LIKELY(glance_attr(fs, ino, out)))
		return 0;
	adit__op_begin(&op, fs);
	adit__lock_inode(&op, ino, false);
	err = adit__inode_get(fs, ino, &ip);
	if (ADIT_LIKELY(!err))
		fill_attr(out, ip);
	adit__op_end(&op);
	return err;
}

/* ---- setattr --------------------------------------------------------------------- */

#define SET_OWNER (ADIT_SET_UID | ADIT_SET_GID)
#define SET_GIVEN_TIME (ADIT_SET_MTIME | ADIT_SET_ATIME)
#define SET_NOW (ADIT_SET_MTIME_NOW | ADIT_SET_ATIME_NOW)
#define SET_KNOWN                                                                                  \
	(ADIT_SET_MODE | SET_OWNER | SET_GIVEN_TIME | SET_NOW | ADIT_SET_IFLAGS |                  \
	 ADIT_SET_NO_PRIVILEGES)
#define IFLAGS_OF_USER (ADIT_IFLAG_ATOMIC | ADIT_IFLAG_IMMUTABLE | ADIT_IFLAG_APPEND)

/* As notify_change of Linux: an append-only file may be touched, but not changed. */
static int may_set(const struct adit_inode_pm *ip, unsigned what)
{
	uint32_t flags = get32(ip->flags);

	/* Touching is both times, now. One of them is a time that is given. */
	bool gives_time = what & SET_GIVEN_TIME || (what & SET_NOW && (what & SET_NOW) != SET_NOW);

	if ((what & (ADIT_SET_MODE | SET_OWNER) || gives_time) &&
	    flags & (ADIT_IFLAG_IMMUTABLE | ADIT_IFLAG_APPEND))
		return -EPERM;
	if (what & SET_NOW && flags & ADIT_IFLAG_IMMUTABLE)
		return -EPERM;
	/* The mode of a symbolic link means nothing and does not change. */
	if (what & ADIT_SET_MODE && ADIT_S_ISLNK(get32(ip->mode)))
		return -EOPNOTSUPP;
	return 0;
}

/* A new owner must not inherit the old one's privileges: set-user-id goes, set-group-id too where
 * it means that (without group execute it is an old mark for mandatory locking). */
static uint32_t mode_for_new_owner(uint32_t mode)
{
	if (ADIT_S_ISDIR(mode))
		return mode;
	mode &= ~(uint32_t)S_ISUID;
	return mode & 0010u ? mode & ~(uint32_t)S_ISGID : mode;
}

static int change_owner(struct adit_cs *cs, struct adit_inode_pm *ip, unsigned what,
			const struct adit_attr *a)
{
	static const char capability[] = "security.capability";
	int err;

	if (what & ADIT_SET_UID)
		ip->uid = put32(a->uid);
	if (what & ADIT_SET_GID)
		ip->gid = put32(a->gid);
	ip->mode = put32(mode_for_new_owner(get32(ip->mode)));
	if (adit__inode_is_dir(ip) || get64(ip->xattr_root) == 0)
		return 0;
	err = adit__xattr_remove(cs, ip, capability, sizeof capability - 1);
	return err == -ENODATA ? 0 : err;
}

static int set_locked(struct adit_op *op, uint64_t ino, unsigned what, const struct adit_attr *a)
{
	le64 now = put64((uint64_t)op->fs->env->now_ns());
	struct adit_inode_pm *ip;
	int err = adit__cs_inode(op->cs, ino, &ip);

	if (!err)
		err = may_set(ip, what);
	if (!err && what & (SET_OWNER | ADIT_SET_NO_PRIVILEGES))
		err = change_owner(op->cs, ip, what, a);
	if (err)
		return err;
	if (what & ADIT_SET_MODE)
		ip->mode = put32(ADIT_S_TYPE(get32(ip->mode)) | (a->mode & 07777u));
	if (what & ADIT_SET_MTIME)
		ip->mtime_ns = put64((uint64_t)a->mtime_ns);
	if (what & ADIT_SET_ATIME)
		ip->atime_ns = put64((uint64_t)a->atime_ns);
	if (what & ADIT_SET_MTIME_NOW)
		ip->mtime_ns = now;
	if (what & ADIT_SET_ATIME_NOW)
		ip->atime_ns = now;
	if (what & ADIT_SET_IFLAGS)
		ip->flags = put32((get32(ip->flags) & ~IFLAGS_OF_USER) |
				  (a->flags & IFLAGS_OF_USER));
	ip->ctime_ns = now;
	return adit__cs_commit(op->cs);
}

int adit__setattr(struct adit_fs *fs, uint64_t ino, unsigned what, const struct adit_attr *a)
{
	struct adit_op op;
	int err;

	if (what & ~SET_KNOWN)
		return -EINVAL;
	err = adit__op_begin_write(&op, fs);
	if (err)
		return err;
	adit__lock_inode(&op, ino, true);
	err = set_locked(&op, ino, what, a);
	adit__op_end(&op);
	return err;
}

/* ---- readlink, readdir ------------------------------------------------------------- */

/* Where the target's bytes are; they hold still under the inode's lock. */
static int find_target(struct adit_fs *fs, const struct adit_inode_pm *ip, const void **target,
		       size_t *len)
{
	struct adit_extent extent;
	int err;

	if (!ADIT_S_ISLNK(get32(ip->mode)))
		return -EINVAL;
	*len = (size_t)get64(ip->size);
	if (adit__inode_fork(ip) == ADIT_FORK_INLINE) {
		*target = ip->fork.bytes; /* its length was verified with the inode */
		return 0;
	}
	err = adit__extent_at(fs, NULL, ip, 0, &extent);
	if (err)
		return err;
	if (extent.block == 0 || extent.flags & ADIT_EXTENT_UNWRITTEN || *len == 0 ||
	    *len > ADIT_LINK_TARGET_MAX) {
		adit__report(fs, "inode %llu: a symbolic link without a readable target",
			     (unsigned long long)get64(ip->ino));
		return -EUCLEAN;
	}
	*target = adit__block_at(fs, extent.block);
	return 0;
}

int64_t adit__readlink(struct adit_fs *fs, uint64_t ino, void *buf, size_t bytes)
{
	const struct adit_inode_pm *ip;
	const void *target = NULL;
	struct adit_op op;
	size_t len = 0;
	int err;

	adit__op_begin(&op, fs);
	adit__lock_inode(&op, ino, false);
	err = adit__inode_get(fs, ino, &ip);
	if (!err)
		err = find_target(fs, ip, &target, &len);
	if (!err) {
		len = len < bytes ? len : bytes;
		memcpy(buf, target, len);
	}
	adit__op_end(&op);
	return err ? err : (int64_t)len;
}

int adit__readdir(struct adit_fs *fs, uint64_t dir, uint64_t after, adit_dir_visit visit, void *arg)
{
	const struct adit_inode_pm *ip;
	struct adit_op op;
	int err;

	adit__op_begin(&op, fs);
	adit__lock_inode(&op, dir, false);
	err = adit__dir_get(fs, dir, &ip);
	if (!err)
		err = adit__dir_read(fs, ip, after, visit, arg);
	adit__op_end(&op);
	return err;
}

/* ---- open counts --------------------------------------------------------------------- */

/* Nameless and not open, or taken off the list of orphans already: it is being freed. */
static bool is_going(struct adit_fs *fs, const struct adit_inode_pm *ip)
{
	return get32_relaxed(&ip->nlink) == 0 &&
	       (adit__open_count(fs, ip) == 0 || !(get32_relaxed(&ip->flags) & ADIT_IFLAG_ORPHAN));
}

int adit__hold(struct adit_fs *fs, uint64_t ino, uint32_t generation, struct adit_attr *out,
	       struct adit_hold *hold)
{
	const struct adit_inode_pm *ip;
	struct adit_op op;
	int err;

	adit__op_begin(&op, fs);
	adit__hold_prepare(&op, hold);
	adit__lock_inode(&op, ino, false);
	err = adit__inode_get(fs, ino, &ip);
	if (!err &&
	    ((generation && get32_relaxed(&ip->generation) != generation) || is_going(fs, ip)))
		err = -ESTALE;
	if (!err) {
		adit__hold_list(&op, hold, ino, get32_relaxed(&ip->generation));
		adit__hold_count(&op, hold);
		if (out)
			fill_attr(out, ip);
	} else {
		adit__hold_give_back(fs, hold);
	}
	adit__op_end(&op);
	return err;
}

/* ---- extended attributes as whole operations ------------------------------------------ */

static size_t bounded_length(const char *name)
{
	size_t len = 0;

	while (len <= ADIT_NAME_MAX && name[len])
		len++;
	return len;
}

/* Which inodes may have which attributes, as xattr(7) has it; the name itself is xattr.c's. */
static int xattr_fits(const struct adit_inode_pm *ip, const char *name, int err_for_user)
{
	uint32_t type = ADIT_S_TYPE(get32(ip->mode));

	if (memcmp(name, "user.", 5) == 0)
		return type == S_IFREG || type == S_IFDIR ? 0 : err_for_user;
	if (memcmp(name, "system.", 7) == 0 && type == S_IFLNK)
		return -EOPNOTSUPP;
	return 0;
}

int64_t adit__getxattr(struct adit_fs *fs, uint64_t ino, const char *name, void *value,
		       size_t bytes)
{
	size_t len = bounded_length(name);
	const struct adit_inode_pm *ip;
	struct adit_op op;
	int64_t n = adit__xattr_check_name(name, len);

	if (n)
		return n;
	adit__op_begin(&op, fs);
	adit__lock_inode(&op, ino, false);
	n = adit__inode_get(fs, ino, &ip);
	if (!n)
		n = xattr_fits(ip, name, -ENODATA);
	if (!n)
		n = adit__xattr_get(fs, ip, name, len, value, bytes);
	adit__op_end(&op);
	return n;
}

static int change_xattr(struct adit_fs *fs, uint64_t ino, const char *name, const void *value,
			size_t bytes, int flags, bool remove)
{
	size_t len = bounded_length(name);
	struct adit_inode_pm *ip;
	struct adit_op op;
	int err = len == 0 || len > ADIT_NAME_MAX ? -ERANGE : 0;

	if (!err)
		err = adit__op_begin_write(&op, fs);
	if (err)
		return err;
	adit__lock_inode(&op, ino, true);
	err = adit__cs_inode(op.cs, ino, &ip);
	/* As Linux has it: whether anything may change comes before what the name is. */
	if (!err && get32(ip->flags) & (ADIT_IFLAG_IMMUTABLE | ADIT_IFLAG_APPEND))
		err = -EPERM;
	if (!err)
		err = adit__xattr_check_name(name, len);
	if (!err)
		err = xattr_fits(ip, name, -EPERM);
	/* What new entries inherit is of directories only. */
	if (!err && !remove && strcmp(name, "system.posix_acl_default") == 0 &&
	    !adit__inode_is_dir(ip))
		err = -EACCES;
	if (!err)
		err = remove ? adit__xattr_remove(op.cs, ip, name, len)
			     : adit__xattr_set(op.cs, ip, name, len, value, bytes, flags);
	if (!err) {
		ip->ctime_ns = put64((uint64_t)fs->env->now_ns());
		err = adit__cs_commit(op.cs);
	}
	adit__op_end(&op);
	return err;
}

int adit__setxattr(struct adit_fs *fs, uint64_t ino, const char *name, const void *value,
		   size_t bytes, int flags)
{
	return change_xattr(fs, ino, name, value, bytes, flags, false);
}

int adit__removexattr(struct adit_fs *fs, uint64_t ino, const char *name)
{
	return change_xattr(fs, ino, name, NULL, 0, 0, true);
}

int64_t adit__listxattr(struct adit_fs *fs, uint64_t ino, char *list, size_t bytes)
{
	const struct adit_inode_pm *ip;
	struct adit_op op;
	int64_t n;

	adit__op_begin(&op, fs);
	adit__lock_inode(&op, ino, false);
	n = adit__inode_get(fs, ino, &ip);
	if (!n)
		n = adit__xattr_list(fs, ip, list, bytes);
	adit__op_end(&op);
	return n;
}
