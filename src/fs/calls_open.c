/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calls_open.c - openat and its kin, close, dup, fcntl, handles.
 *
 * An open file holds its inode (adit__hold): unlinked, it stays until adit__release. A hold that was
 * taken is in `struct opening` at once, so that every way out, a media fault included, can give it back.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/file.h"
#include "fs/convert.h"
#include "fs/guard.h"
#include "fs/path.h"

#define O_TMPFILE_BIT (O_TMPFILE & ~O_DIRECTORY)
/* Kept with O_PATH; kept for F_GETFL. */
#define PATH_FLAGS (O_DIRECTORY | O_NOFOLLOW | O_PATH)
#define KEPT_FLAGS (O_ACCMODE | O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME | O_SYNC | O_DSYNC | \
		    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_LARGEFILE)

struct opening {
	struct adit_pool *pool;
	int flags;
	mode_t mode;
	bool created;
	struct adit_hold hold;
	bool held;
	struct adit_attr attr; /* of what was found: ino, generation, mode, flags */
};

/* The fourth mode, 3, asks for the right to write but gives neither reading nor writing: open(2). */
static bool wants_write(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

static int check_flags(struct opening *o)
{
	if (o->flags & O_PATH)
		o->flags &= PATH_FLAGS;
	if ((o->flags & O_TMPFILE) == O_TMPFILE)
		return o->flags & O_CREAT || !wants_write(o->flags) ? -EINVAL : 0;
	if (o->flags & O_TMPFILE_BIT)
		return -EINVAL;
	/* Ambiguous, and refused by Linux since 6.4. */
	return (o->flags & O_CREAT) && (o->flags & O_DIRECTORY) ? -EINVAL : 0;
}

static int hold(struct opening *o, const struct adit_id *id)
{
	int err = adit__hold(o->pool->fs, id->ino, id->generation, &o->attr, &o->hold);

	if (!err)
		o->held = true;
	return err;
}

/* A file that was just made, with a hold. */
static void take_new(struct opening *o, const struct adit_id *id)
{
	o->attr = (struct adit_attr){
		.ino = id->ino,
		.generation = id->generation,
		.mode = id->mode,
	};
	o->held = true;
	o->created = true;
}

/* What was there already: may it be opened so? As do_open and may_open of Linux, for root. */
static int may_open(const struct opening *o)
{
	const struct adit_attr *a = &o->attr;
	bool writes = wants_write(o->flags) || (o->flags & O_TRUNC);

	if ((o->flags & O_CREAT) && S_ISDIR(a->mode))
		return -EISDIR;
	if ((o->flags & O_DIRECTORY) && !S_ISDIR(a->mode))
		return -ENOTDIR;
	if (o->flags & O_PATH)
		return 0;
	if (S_ISLNK(a->mode))
		return -ELOOP;
	if (S_ISDIR(a->mode) && writes)
		return -EISDIR;
	if (!S_ISDIR(a->mode) && !S_ISREG(a->mode))
		return -ENXIO;
	if (!writes)
		return 0;
	if (o->pool->fs->read_only)
		return -EROFS;
	if (a->flags & ADIT_IFLAG_IMMUTABLE)
		return -EPERM;
	if ((a->flags & ADIT_IFLAG_APPEND) &&
	    ((wants_write(o->flags) && !(o->flags & O_APPEND)) || (o->flags & O_TRUNC)))
		return -EPERM;
	return 0;
}

/* Held: check it, and empty it if asked to. */
static int open_held(struct opening *o)
{
	int err = may_open(o);

	if (!err && (o->flags & O_TRUNC) && S_ISREG(o->attr.mode))
		err = adit__file_truncate(o->pool->fs, o->attr.ino, 0);
	return err;
}

static int open_tmpfile(struct adit_walk *w, struct opening *o)
{
	struct adit_create c = adit__new_file(o->pool, S_IFREG, o->mode);
	struct adit_id id;
	int err = adit__walk_final(w, !(o->flags & O_NOFOLLOW), &id);

	if (!err && !S_ISDIR(id.mode))
		err = -ENOTDIR;
	if (!err)
		err = adit__create_unnamed_at(o->pool->fs, (struct adit_at){id.ino, id.generation}, &c, &o->hold, &id);
	if (!err)
		take_new(o, &id);
	return err;
}

static int open_existing(struct adit_walk *w, struct opening *o)
{
	struct adit_id id;
	int err = adit__walk_final(w, !(o->flags & O_NOFOLLOW), &id);

	if (!err)
		err = hold(o, &id);
	return err ? err : open_held(o);
}

/* O_CREAT: make it, or open what is there, behind symbolic links too. */
static int open_create(struct adit_walk *w, struct opening *o)
{
	struct adit_create c = adit__new_file(o->pool, S_IFREG, o->mode);
	struct adit_id id;
	int err = adit__walk_parent(w);

	while (!err) {
		if (w->last != ADIT_LAST_NAME)
			return o->flags & O_EXCL ? -EEXIST : -EISDIR;
		if (w->slash)
			return -EISDIR;
		err = adit__walk_check_name(w);
		if (!err)
			err = adit__create_at(o->pool->fs, w->at, w->name, w->len, &c, &o->hold, &id);
		if (!err) {
			take_new(o, &id);
			return 0;
		}
		if (err != -EEXIST || (o->flags & O_EXCL))
			return err;
		if (!S_ISLNK(id.mode) || (o->flags & O_NOFOLLOW)) {
			err = hold(o, &id);
			return err ? err : open_held(o);
		}
		err = adit__walk_follow(w, &id);
		if (!err)
			err = adit__walk_more(w);
	}
	return err;
}

static int open_walked(struct adit_walk *w, struct opening *o)
{
	unsigned tries = 0;
	int err;

	do {
		if (o->flags & O_TMPFILE_BIT)
			err = open_tmpfile(w, o);
		else if (o->flags & O_CREAT)
			err = open_create(w, o);
		else
			err = open_existing(w, o);
	} while (!o->held && ADIT_WALK_AGAIN(err, tries));
	if (o->created)
		(void)adit__count_call(o->pool, ADIT_CALL_CREATE);
	return err;
}

static int open_handle(struct opening *o, const struct adit_handle *handle)
{
	struct adit_id id = {handle->ino, handle->generation, 0};
	int err = hold(o, &id);

	return err ? err : open_held(o);
}

static uint32_t access_of(const struct opening *o)
{
	uint32_t access = 0;

	if (S_ISDIR(o->attr.mode))
		access |= ADIT_FD_DIR;
	if (o->flags & O_PATH)
		return access | ADIT_FD_PATH;
	if (S_ISREG(o->attr.mode))
		access |= ADIT_FD_REGULAR;
	if ((o->flags & O_ACCMODE) == O_RDONLY || (o->flags & O_ACCMODE) == O_RDWR)
		access |= ADIT_FD_READ;
	if ((o->flags & O_ACCMODE) == O_WRONLY || (o->flags & O_ACCMODE) == O_RDWR)
		access |= ADIT_FD_WRITE;
	return access;
}

/* The reserved number gets what was opened, or everything is given back. */
static int finish_open(struct opening *o, int fd, int err)
{
	struct adit_file *file = NULL;

	if (!err) {
		file = adit__file_new(&o->hold, o->attr.generation, o->attr.mode,
				      o->flags & KEPT_FLAGS, access_of(o));
		if (file == NULL)
			err = -ENOMEM;
	}
	if (err) {
		if (o->held)
			(void)adit__let_go(o->pool, &o->hold);
		adit__fd_unreserve(&o->pool->fds, fd);
		return err;
	}
	file->linkable = (o->flags & O_TMPFILE_BIT) && !(o->flags & O_EXCL);
	adit__fd_install(&o->pool->fds, fd, file);
	return fd;
}

int adit_openat(struct adit_pool *pool, int dirfd, const char *path, int flags, mode_t mode)
{
	struct opening o = {.pool = pool, .flags = flags, .mode = mode};
	struct adit_walk w;
	int fd, rc = check_flags(&o);

	if (rc != 0)
		return rc;
	fd = adit__fd_reserve(&pool->fds, 0);
	if (fd < 0)
		return fd;
	rc = adit__walk_begin(&w, pool, dirfd, path, 0);
	if (rc == 0) {
		ADIT_CALL(pool, ADIT_CALL_OPEN, rc, open_walked(&w, &o));
		adit__walk_end(&w);
	}
	return finish_open(&o, fd, rc);
}

int adit_creat(struct adit_pool *pool, const char *path, mode_t mode)
{
	return adit_openat(pool, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int adit_close_fd(struct adit_pool *pool, int fd)
{
	return adit__fd_close(pool, fd);
}

/* ---- duplicates ------------------------------------------------------------------------------ */

/* A further reference to the open file behind fd. */
static int file_of(struct adit_pool *pool, int fd, struct adit_file **out)
{
	struct adit_slot *slot = adit__fd_get(pool, fd);

	if (slot == NULL)
		return -EBADF;
	*out = slot->file;
	__atomic_add_fetch(&slot->file->refs, 1, __ATOMIC_RELAXED);
	(void)adit__fd_put(pool, slot);
	return 0;
}

static int dup_from(struct adit_pool *pool, int fd, uint32_t from)
{
	struct adit_file *file;
	int new_fd, rc = file_of(pool, fd, &file);

	if (rc != 0)
		return rc;
	new_fd = adit__fd_reserve(&pool->fds, from);
	if (new_fd < 0)
		(void)adit__file_put(pool, file);
	else
		adit__fd_install(&pool->fds, new_fd, file);
	return new_fd;
}

int adit_dup(struct adit_pool *pool, int fd)
{
	return dup_from(pool, fd, 0);
}

int adit_dup2(struct adit_pool *pool, int fd, int new_fd)
{
	struct adit_file *file;
	int rc = file_of(pool, fd, &file);

	if (rc != 0)
		return rc;
	rc = fd == new_fd ? fd : adit__fd_replace(pool, new_fd, file);
	if (rc < 0 || fd == new_fd)
		(void)adit__file_put(pool, file);
	return rc;
}

#define SETTABLE_FLAGS (O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME)

static ADIT_NOINLINE int may_change_append(struct adit_pool *pool, const struct adit_file *file)
{
	struct adit_attr attr;
	int rc;

	ADIT_GUARD_READ(pool, rc, adit__getattr(pool->fs, file->ino, &attr));
	return rc == 0 && attr.flags & ADIT_IFLAG_APPEND ? -EPERM : rc;
}

/* O_APPEND of an append-only file cannot be cleared. */
static int set_flags(struct adit_pool *pool, struct adit_file *file, int flags)
{
	struct adit_position *position;
	int rc = 0;

	if ((adit__file_flags(file) ^ flags) & O_APPEND)
		rc = may_change_append(pool, file);
	if (rc != 0)
		return rc;
	position = adit__position_lock(file);
	flags = (position->flags & ~SETTABLE_FLAGS) | (flags & SETTABLE_FLAGS);
	__atomic_store_n(&position->flags, flags, __ATOMIC_RELAXED);
	adit__position_unlock(position);
	return 0;
}

static bool is_lock(int command)
{
	return command == F_SETLK || command == F_SETLKW || command == F_GETLK ||
	       command == F_OFD_SETLK || command == F_OFD_SETLKW || command == F_OFD_GETLK;
}

int adit_fcntl(struct adit_pool *pool, int fd, int command, long arg)
{
	struct adit_slot *slot;
	int rc;

	if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) {
		if (arg >= 0 && arg < (long)ADIT_FD_MAX)
			return dup_from(pool, fd, (uint32_t)arg);
	}
	if (is_lock(command))
		return adit_fcntl_lock(pool, fd, command, (struct flock *)arg);
	slot = adit__fd_get(pool, fd);
	if (slot == NULL)
		return -EBADF;
	switch (command) {
	case F_GETFL:
		rc = adit__file_flags(slot->file);
		break;
	case F_SETFL:
		rc = slot->access & ADIT_FD_PATH ? -EBADF
						 : set_flags(pool, slot->file, (int)arg);
		break;
	case F_GETFD:
		rc = FD_CLOEXEC; /* nothing here survives exec */
		break;
	case F_SETFD:
		rc = 0;
		break;
	default:
		rc = -EINVAL;
	}
	(void)adit__fd_put(pool, slot);
	return rc;
}

/* ---- handles --------------------------------------------------------------------------------- */

int adit_name_to_handle_at(struct adit_pool *pool, int dirfd, const char *path,
			   struct adit_handle *out, int flags)
{
	struct adit_attr attr;
	struct adit_walk w;
	int rc;

	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	rc = adit__walk_begin(&w, pool, dirfd, path, flags & AT_EMPTY_PATH ? ADIT_WALK_EMPTY : 0);
	if (rc != 0)
		return rc;
	ADIT_LOOK(pool, ADIT_CALL_GETATTR, rc, adit__walk_attr(&w, flags & AT_SYMLINK_FOLLOW, &attr));
	adit__walk_end(&w);
	if (rc == 0)
		*out = (struct adit_handle){attr.ino, attr.generation, 0};
	return rc;
}

int adit_open_by_handle_at(struct adit_pool *pool, const struct adit_handle *handle, int flags)
{
	struct opening o = {.pool = pool, .flags = flags};
	int fd, rc = check_flags(&o);

	if (rc != 0 || flags & (O_CREAT | O_TMPFILE_BIT) || handle->reserved != 0)
		return -EINVAL;
	if (handle->ino < ADIT_INO_ROOT || handle->generation == 0)
		return -ESTALE;
	fd = adit__fd_reserve(&pool->fds, 0);
	if (fd < 0)
		return fd;
	ADIT_CALL(pool, ADIT_CALL_OPEN, rc, open_handle(&o, handle));
	return finish_open(&o, fd, rc);
}
