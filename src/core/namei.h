/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Operations on names, by inode number. Each is a whole operation: begins,
 * locks, commits, ends. Names: 1..255 bytes, no '/' or NUL, not "." or "..".
 * Errors as the man page of the call says.
 */
#ifndef ADIT_CORE_NAMEI_H
#define ADIT_CORE_NAMEI_H

#include "core/core.h"
#include "core/dir.h"
#include "core/hold.h"

struct adit_create {
	uint32_t mode;	/* S_IFMT and permissions, umask applied */
	uint32_t uid, gid; /* gid is the parent's when it has S_ISGID */
	uint64_t rdev;	/* major:32|minor:32 */
	const void *link; /* target of a symbolic link */
	size_t link_len;
};
/* A directory that was found a while ago and is not held: it may be gone, and its number given to another one.
 * Calls then say -ENOENT.  generation 0: whatever has the number now. */
struct adit_at {
	uint64_t dir;
	uint32_t generation;
};
static inline struct adit_at adit__any(uint64_t dir)
{
	return (struct adit_at){dir, 0};
}
struct adit_id {
	uint64_t ino;
	uint32_t generation;
	uint32_t mode; /* by a lookup (or -EEXIST): the S_IFMT bits alone */
};
/* Attributes as statx shows them. */
struct adit_attr {
	uint64_t ino, size, blocks /* 4 KiB */, rdev;
	uint32_t generation, mode, uid, gid, nlink, flags;
	int64_t mtime_ns, ctime_ns, atime_ns, btime_ns;
};
#define ADIT_SET_MODE 1u
#define ADIT_SET_UID 2u
#define ADIT_SET_GID 4u
#define ADIT_SET_MTIME 8u
#define ADIT_SET_ATIME 16u
#define ADIT_SET_MTIME_NOW 32u
#define ADIT_SET_ATIME_NOW 64u
#define ADIT_SET_IFLAGS 128u /* IMMUTABLE, APPEND, ATOMIC */
/* What a new owner does to set-ID bits and capabilities, without one: chown(-1, -1). */
#define ADIT_SET_NO_PRIVILEGES 256u

int adit__lookup_at(struct adit_fs *, struct adit_at, const void *name, size_t len,
		    struct adit_id *out);
/* ".." */
int adit__parent_at(struct adit_fs *, struct adit_at, struct adit_id *out);
/* Regular, directory, link, device, FIFO, socket. -EEXIST fills *out too (so
 * that O_CREAT without O_EXCL needs one call). hold: it is opened, too; NULL: not. */
int adit__create_at(struct adit_fs *, struct adit_at, const void *name, size_t len,
		    const struct adit_create *, struct adit_hold *hold, struct adit_id *out);
/* O_TMPFILE: no name, an orphan that is held. */
int adit__create_unnamed_at(struct adit_fs *, struct adit_at, const struct adit_create *,
			    struct adit_hold *hold, struct adit_id *out);
/* A further name: -ENOENT for a file that has none.  unnamed: it may be one of adit__create_unnamed that the
 * caller holds, and gets its first. */
int adit__link_at(struct adit_fs *, uint64_t ino, struct adit_at, const void *name, size_t len,
		  bool unnamed);
int adit__remove_at(struct adit_fs *, struct adit_at, const void *name, size_t len, bool is_rmdir);
#define ADIT_RENAME_NOREPLACE 1u
#define ADIT_RENAME_EXCHANGE 2u
#define ADIT_RENAME_WHITEOUT 4u
int adit__rename_at(struct adit_fs *, struct adit_at, const void *name1, size_t len1,
		    struct adit_at to, const void *name2, size_t len2, unsigned flags);
/* The same in whatever directory has the number. */
static inline int adit__lookup(struct adit_fs *fs, uint64_t dir, const void *name, size_t len,
			       struct adit_id *out)
{
	return adit__lookup_at(fs, adit__any(dir), name, len, out);
}
static inline int adit__parent(struct adit_fs *fs, uint64_t dir, struct adit_id *out)
{
	return adit__parent_at(fs, adit__any(dir), out);
}
static inline int adit__create(struct adit_fs *fs, uint64_t dir, const void *name, size_t len,
			       const struct adit_create *c, struct adit_hold *hold,
			       struct adit_id *out)
{
	return adit__create_at(fs, adit__any(dir), name, len, c, hold, out);
}
static inline int adit__create_unnamed(struct adit_fs *fs, uint64_t dir, const struct adit_create *c,
				       struct adit_hold *hold, struct adit_id *out)
{
	return adit__create_unnamed_at(fs, adit__any(dir), c, hold, out);
}
static inline int adit__link(struct adit_fs *fs, uint64_t ino, uint64_t dir, const void *name,
			     size_t len)
{
	return adit__link_at(fs, ino, adit__any(dir), name, len, false);
}
static inline int adit__link_unnamed(struct adit_fs *fs, uint64_t ino, uint64_t dir,
				     const void *name, size_t len)
{
	return adit__link_at(fs, ino, adit__any(dir), name, len, true);
}
static inline int adit__unlink(struct adit_fs *fs, uint64_t dir, const void *name, size_t len)
{
	return adit__remove_at(fs, adit__any(dir), name, len, false);
}
static inline int adit__rmdir(struct adit_fs *fs, uint64_t dir, const void *name, size_t len)
{
	return adit__remove_at(fs, adit__any(dir), name, len, true);
}
static inline int adit__rename(struct adit_fs *fs, uint64_t dir1, const void *name1, size_t len1,
			       uint64_t dir2, const void *name2, size_t len2, unsigned flags)
{
	return adit__rename_at(fs, adit__any(dir1), name1, len1, adit__any(dir2), name2, len2,
			       flags);
}
int adit__getattr(struct adit_fs *, uint64_t ino, struct adit_attr *out);
int adit__setattr(struct adit_fs *, uint64_t ino, unsigned what, const struct adit_attr *);
int64_t adit__readlink(struct adit_fs *, uint64_t ino, void *buf, size_t bytes);
/* Opens: until adit__release (hold.h). -ESTALE when generation differs (0: any). out: may be NULL. */
int adit__hold(struct adit_fs *, uint64_t ino, uint32_t generation, struct adit_attr *out,
	       struct adit_hold *hold);
int adit__readdir(struct adit_fs *, uint64_t dir, uint64_t after, adit_dir_visit, void *arg);
/* Whole operations around xattr.h. */
int64_t adit__getxattr(struct adit_fs *, uint64_t ino, const char *name, void *value, size_t bytes);
int adit__setxattr(struct adit_fs *, uint64_t ino, const char *name, const void *value,
		   size_t bytes, int flags);
int adit__removexattr(struct adit_fs *, uint64_t ino, const char *name);
int64_t adit__listxattr(struct adit_fs *, uint64_t ino, char *list, size_t bytes);

#endif
