/* SPDX-License-Identifier: BSD-3-Clause */
/* calls_open.c - open, close, dup, fcntl, handles; see fuzz_calls.c. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "calls.h"

static int some_open_flags(void)
{
	static const int bits[] = {O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW};
	int flags = run.c.flags & 3;

	for (unsigned i = 0; i < 6; i++)
		if (run.c.flags >> (i + 2) & 1)
			flags |= bits[i];
	if ((run.c.flags >> 8 & 7) == 7)
		flags |= O_PATH;
	if ((run.c.flags >> 11 & 7) == 7)
		flags |= O_TMPFILE;
	return flags;
}

static bool wants_write(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

static int may_open(const struct model_node *n, int flags)
{
	bool writes = wants_write(flags) || flags & O_TRUNC;

	if (flags & O_CREAT && S_ISDIR(n->mode))
		return -EISDIR;
	if (flags & O_DIRECTORY && !S_ISDIR(n->mode))
		return -ENOTDIR;
	if (flags & O_PATH)
		return 0;
	if (S_ISLNK(n->mode))
		return -ELOOP;
	if (S_ISDIR(n->mode))
		return writes ? -EISDIR : 0;
	if (!S_ISREG(n->mode))
		return -ENXIO;
	if (writes && n->iflags & MODEL_IMMUTABLE)
		return -EPERM;
	if (n->iflags & MODEL_APPEND_ONLY &&
	    ((wants_write(flags) && !(flags & O_APPEND)) || flags & O_TRUNC))
		return -EPERM;
	return 0;
}

/* The call gave fd: note what it means. */
static void opened(int fd, int slot, uint32_t node, int flags, bool held)
{
	struct open_file *f = &run.w.file[slot];
	struct stat st;

	*f = (struct open_file){.node = node, .flags = flags, .path = flags & O_PATH};
	f->dir = S_ISDIR(run.w.m.node[node].mode);
	f->read = !f->path && ((flags & O_ACCMODE) == O_RDONLY || (flags & O_ACCMODE) == O_RDWR);
	f->write = !f->path && ((flags & O_ACCMODE) == O_WRONLY || (flags & O_ACCMODE) == O_RDWR);
	if (!held) {
		run.w.m.slot[slot] = node;
		run.w.m.node[node].holds++;
	}
	world_install(&run.w, fd, slot);
	if (adit_fstat(run.pool, fd, &st))
		fuzz_fail("fstat of what was just opened");
	run.s.slot[slot] = st.st_ino;
}

/* What open makes of an existing file. */
static int64_t open_existing(int64_t fd, int slot, const struct where *at, int flags)
{
	struct op op = {.kind = OP_TRUNCATE};
	int err = may_open(&run.w.m.node[at->node], flags);

	if (err)
		return err;
	if (flags & O_TRUNC && !(flags & O_PATH) && S_ISREG(run.w.m.node[at->node].mode)) {
		if (refused(fd, 0))
			return fd;
		if (!world_path(&run.w, at, op.path))
			return fd;
		err = (int)model_apply(&run.w.m, &op, run.now);
		if (err)
			return err;
	}
	if (fd >= 0)
		opened((int)fd, slot, at->node, flags, false);
	return world_free_fd(&run.w, 0) < (int)fd ? world_free_fd(&run.w, 0) : fd;
}

static int64_t open_new(int64_t fd, int slot, const struct where *at, int flags)
{
	struct op op = {.kind = OP_CREATE, .n = {run.c.v & 07777}};
	struct where made = *at;
	int64_t want;

	if (at->last != LAST_NAME)
		return flags & O_EXCL ? -EEXIST : -EISDIR;
	if (at->slash)
		return -EISDIR;
	if (at->len > 255)
		return -ENAMETOOLONG;
	if (at->node != MODEL_NONE)
		return flags & O_EXCL ? -EEXIST : open_existing(fd, slot, at, flags);
	if (!world_path(&run.w, at, op.path))
		return fd;
	want = applied(&op, fd, 0);
	if (want < 0)
		return want;
	made.node = model_child(&run.w.m.node[at->dir], at->name, at->len);
	if (fd >= 0)
		opened((int)fd, slot, made.node, flags, false);
	return fd;
}

static int64_t open_unnamed(int64_t fd, int slot, const struct where *at, int flags)
{
	struct op op = {.kind = OP_TMPFILE, .n = {(uint64_t)slot}};
	int64_t want;

	if (!S_ISDIR(run.w.m.node[at->node].mode))
		return -ENOTDIR;
	if (!world_path(&run.w, at, op.path))
		return fd;
	want = applied(&op, fd, 0);
	if (want < 0)
		return want;
	if (fd >= 0) {
		opened((int)fd, slot, run.w.m.slot[slot], flags, true);
		run.w.file[slot].linkable = !(flags & O_EXCL);
	}
	return fd;
}

static int64_t open_model(int64_t fd, int slot, int dirfd, const char *path, int flags)
{
	static struct where at;
	int err;

	if (flags & O_PATH)
		flags &= O_DIRECTORY | O_NOFOLLOW | O_PATH;
	if ((flags & O_TMPFILE) == O_TMPFILE) {
		if (flags & O_CREAT || !wants_write(flags))
			return -EINVAL;
		err = world_find(&run.w, dirfd, path, flags & O_NOFOLLOW ? FOLLOW_SLASH : FOLLOW,
				 &at);
		return err ? err : open_unnamed(fd, slot, &at, flags);
	}
	if (flags & O_CREAT) {
		if (flags & O_DIRECTORY)
			return -EINVAL;
		err = world_walk(&run.w, dirfd, path,
				 flags & (O_EXCL | O_NOFOLLOW) ? FOLLOW_NEVER : FOLLOW_PLAIN, &at);
		return err ? err : open_new(fd, slot, &at, flags);
	}
	err = world_find(&run.w, dirfd, path, flags & O_NOFOLLOW ? FOLLOW_SLASH : FOLLOW, &at);
	return err ? err : open_existing(fd, slot, &at, flags);
}

void call_open(void)
{
	int flags = some_open_flags(), dirfd = some_dirfd(), slot = world_free_file(&run.w);
	int lowest = world_free_fd(&run.w, 0);
	size_t len = strlen(run.p);
	int64_t fd;

	if (slot < 0 || starts_nowhere(dirfd, run.p))
		return;
	/* Which error "name/" gives with O_CREAT depends on links: left out. */
	if (flags & O_CREAT && len > 1 && run.p[len - 1] == '/')
		return;
	fd = adit_openat(run.pool, dirfd, run.p, flags,
			 (flags & O_TMPFILE) == O_TMPFILE ? 0600 : run.c.v & 07777);
	if (fd >= 0)
		same("open: the lowest number", fd, lowest);
	same("open", fd, open_model(fd, slot, dirfd, run.p, flags));
}

void call_close(void)
{
	int fd = some_fd(run.c.fd);
	struct open_file *f = world_file(&run.w, fd);

	same("close", adit_close_fd(run.pool, fd), f ? 0 : -EBADF);
	if (!f)
		return;
	if (f->refs == 1)
		run.s.slot[f - run.w.file] = 0;
	world_close(&run.w, fd, run.now);
}

void call_dup(void)
{
	int fd = some_fd(run.c.fd), to = (int)(run.c.v % WORLD_FDS), lowest;
	struct open_file *f = world_file(&run.w, fd), *old = world_file(&run.w, to);

	if (run.c.flags & 1) {
		same("dup2", adit_dup2(run.pool, fd, to), f ? to : -EBADF);
		if (!f || fd == to)
			return;
		if (old && old->refs == 1)
			run.s.slot[old - run.w.file] = 0;
		f->refs++; /* it may be the same file */
		if (old)
			world_close(&run.w, to, run.now);
		f->refs--;
	} else {
		lowest = world_free_fd(&run.w, run.c.flags & 2 ? to : 0);
		if (lowest < 0)
			return;
		to = lowest;
		same("dup",
		     run.c.flags & 2 ? adit_fcntl(run.pool, fd, F_DUPFD, (int)(run.c.v % WORLD_FDS))
				     : adit_dup(run.pool, fd),
		     f ? lowest : -EBADF);
	}
	if (f)
		world_install(&run.w, to, (int)(f - run.w.file));
}

void call_fcntl(void)
{
	int fd = some_fd(run.c.fd), flags = run.c.v & 1 ? O_APPEND : 0;
	struct open_file *f = world_file(&run.w, fd);
	int64_t want = !f ? -EBADF : f->path ? -EBADF : 0;

	if (run.c.flags & 1) {
		same("F_SETFD", adit_fcntl(run.pool, fd, F_SETFD, 1), f ? 0 : -EBADF);
		return;
	}
	if (want == 0 && (f->flags ^ flags) & O_APPEND && node_of(f)->iflags & MODEL_APPEND_ONLY)
		want = -EPERM;
	same("F_SETFL", adit_fcntl(run.pool, fd, F_SETFL, flags), want);
	if (want == 0)
		f->flags = (f->flags & ~O_APPEND) | flags;
	if (f && !!(adit_fcntl(run.pool, fd, F_GETFL, 0) & O_APPEND) != !!(f->flags & O_APPEND) &&
	    !f->path)
		fuzz_fail("F_GETFL does not show O_APPEND as it is");
}

void call_handle(void)
{
	static struct where at;
	int flags = some_open_flags() & (O_ACCMODE | O_PATH | O_DIRECTORY);
	struct adit_handle h = {0};
	int64_t want = world_find(&run.w, AT_FDCWD, run.p, FOLLOW_SLASH, &at), fd;

	same("name_to_handle_at", adit_name_to_handle_at(run.pool, AT_FDCWD, run.p, &h, 0), want);
	if (want) {
		h = (struct adit_handle){run.c.v % 300, run.c.len % 4, run.c.flags & 1};
		fd = adit_open_by_handle_at(run.pool, &h, flags);
	} else {
		fd = adit_open_by_handle_at(run.pool, &h, flags);
		want = may_open(&run.w.m.node[at.node],
				flags & O_PATH ? flags & ~O_ACCMODE : flags);
		same("open_by_handle_at", fd < 0 ? fd : 0, want);
	}
	if (fd >= 0)
		same("close", adit_close_fd(run.pool, (int)fd), 0);
}
