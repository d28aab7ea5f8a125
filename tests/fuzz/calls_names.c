/* SPDX-License-Identifier: BSD-3-Clause */
/* calls_names.c - names come, go and are listed; see fuzz_calls.c. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <string.h>
#include <unistd.h>

#include "calls.h"
#include "fs/convert.h"

/* A new name: where it would be, or why it cannot be. */
static int64_t new_name(const char *path, int dirfd, bool is_dir, struct where *at)
{
	int err = world_walk(&run.w, dirfd, path, FOLLOW_NEVER, at);

	if (err)
		return err;
	if (at->last != LAST_NAME)
		return -EEXIST;
	if (at->len > 255)
		return -ENAMETOOLONG;
	if (at->slash && !is_dir)
		return at->node == MODEL_NONE ? -ENOENT : -EEXIST;
	return 0;
}

void call_make(void)
{
	static struct where at;
	static const uint32_t types[] = {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR,
					 S_IFBLK, 0,	   S_IFDIR,  0x3000};
	struct op op = {.kind = run.c.flags & 1 ? OP_MKDIR : OP_MKNOD};
	uint32_t type = types[run.c.flags >> 1 & 7], mode = run.c.v & 07777;
	int dirfd = some_dirfd();
	dev_t dev = makedev(run.c.v >> 24, run.c.v >> 12 & 0xff);
	int64_t want, got;

	if (starts_nowhere(dirfd, run.p))
		return;
	if (op.kind == OP_MKDIR) {
		got = adit_mkdirat(run.pool, dirfd, run.p, mode);
		op.n[0] = mode & 01777;
		want = new_name(run.p, dirfd, true, &at);
	} else {
		got = adit_mknodat(run.pool, dirfd, run.p, type | mode, dev);
		op.n[0] = (type ? type : S_IFREG) | mode;
		op.n[1] = type == S_IFCHR || type == S_IFBLK ? adit__rdev_of(dev) : 0;
		want = type == S_IFDIR	? -EPERM
		       : type == 0x3000 ? -EINVAL
					: new_name(run.p, dirfd, false, &at);
	}
	if (!want && !world_path(&run.w, &at, op.path))
		fuzz_fail("a path became too long");
	same(op.kind == OP_MKDIR ? "mkdir" : "mknod", got, want ? want : applied(&op, got, 0));
}

void call_symlink(void)
{
	static struct where at;
	struct op op = {.kind = OP_SYMLINK, .n = {strlen(run.q)}};
	int64_t want, got;
	uint32_t made;

	if (starts_nowhere(AT_FDCWD, run.p))
		return;
	got = adit_symlinkat(run.pool, run.q, AT_FDCWD, run.p);
	want = run.q[0] == '\0'	       ? -ENOENT
	       : strlen(run.q) >= 4096 ? -ENAMETOOLONG
				       : new_name(run.p, AT_FDCWD, false, &at);
	if (!want && !world_path(&run.w, &at, op.path))
		fuzz_fail("a path became too long");
	if (!want) {
		want = applied(&op, got, 0);
		/* The model's own targets are not meant to be followed. */
		made = model_child(&run.w.m.node[at.dir], at.name, at.len);
		if (want == 0)
			memcpy(run.w.m.node[made].target->b, run.q, strlen(run.q));
	}
	same("symlink", got, want);
}

void call_link(void)
{
	static struct where from, to;
	struct op op = {.kind = OP_LINK};
	bool follow = run.c.flags & 1;
	int64_t want, got;

	got = adit_linkat(run.pool, AT_FDCWD, run.p, AT_FDCWD, run.q,
			  follow ? AT_SYMLINK_FOLLOW : 0);
	want = world_find(&run.w, AT_FDCWD, run.p, follow ? FOLLOW : FOLLOW_SLASH, &from);
	if (!want)
		want = new_name(run.q, AT_FDCWD, false, &to);
	if (!want) {
		if (!world_path(&run.w, &from, op.path) || !world_path(&run.w, &to, op.path2))
			fuzz_fail("a path became too long");
		want = applied(&op, got, 0);
	}
	same("link", got, want);
}

void call_remove(void)
{
	static struct where at;
	struct op op = {.kind = run.c.flags & 1 ? OP_RMDIR : OP_UNLINK};
	int dirfd = some_dirfd();
	int64_t want, got;

	if (starts_nowhere(dirfd, run.p))
		return;
	got = adit_unlinkat(run.pool, dirfd, run.p, run.c.flags & 1 ? AT_REMOVEDIR : 0);
	want = world_walk(&run.w, dirfd, run.p, FOLLOW_NEVER, &at);
	if (!want && op.kind == OP_RMDIR)
		want = at.last == LAST_ROOT	? -EBUSY
		       : at.last == LAST_DOT	? -EINVAL
		       : at.last == LAST_DOTDOT ? -ENOTEMPTY
						: 0;
	else if (!want && at.last != LAST_NAME)
		want = -EISDIR;
	if (!want && at.len > 255)
		want = -ENAMETOOLONG;
	if (!want && op.kind == OP_UNLINK && at.slash)
		want = at.node == MODEL_NONE		     ? -ENOENT
		       : S_ISDIR(run.w.m.node[at.node].mode) ? -EISDIR
							     : -ENOTDIR;
	if (!want && !world_path(&run.w, &at, op.path))
		fuzz_fail("a path became too long");
	same(op.kind == OP_RMDIR ? "rmdir" : "unlink", got, want ? want : applied(&op, got, 0));
}

void call_rename(void)
{
	static struct where from, to;
	struct op op = {.kind = OP_RENAME, .n = {run.c.flags & 16 ? run.c.flags % 16 : 0}};
	unsigned flags = (unsigned)op.n[0];
	int64_t want = 0, got;

	got = adit_renameat2(run.pool, AT_FDCWD, run.p, AT_FDCWD, run.q, flags);
	if (flags & ~7u || (flags & 2 && flags & 5))
		want = -EINVAL;
	if (!want)
		want = world_walk(&run.w, AT_FDCWD, run.p, FOLLOW_NEVER, &from);
	if (!want)
		want = world_walk(&run.w, AT_FDCWD, run.q, FOLLOW_NEVER, &to);
	if (!want && from.last != LAST_NAME)
		want = -EBUSY;
	else if (!want && to.last != LAST_NAME)
		want = flags & 1 ? -EEXIST : -EBUSY;
	/* "name/" and long names: which error comes first is not the model's. */
	if (!want && (from.slash || to.slash || from.len > 255 || to.len > 255) && got < 0)
		return;
	if (!want) {
		if (!world_path(&run.w, &from, op.path) || !world_path(&run.w, &to, op.path2))
			fuzz_fail("a path became too long");
		want = applied(&op, got, 0);
	}
	same("rename", got, want);
}

void call_readlink(void)
{
	static struct where at;
	const struct model_bytes *t;
	size_t room = some_length() % 5000;
	int64_t want, got;

	got = adit_readlink(run.pool, run.p, (char *)call_got, room);
	want = room == 0 ? -EINVAL : world_find(&run.w, AT_FDCWD, run.p, FOLLOW_SLASH, &at);
	if (!want && !S_ISLNK(run.w.m.node[at.node].mode))
		want = -EINVAL;
	if (!want) {
		t = run.w.m.node[at.node].target;
		want = (int64_t)(t->len < room ? t->len : room);
		if (got == want && memcmp(call_got, t->b, (size_t)got) != 0)
			fuzz_fail("call %u: another link target", run.number);
	}
	same("readlink", got, want);
}

void call_getdents(void)
{
	int fd = some_fd(run.c.fd);
	struct open_file *f = world_file(&run.w, fd);
	size_t room = 300 + some_length() % 9000;
	uint32_t n = 0;
	int64_t got;

	if (!f || f->path || !f->dir) {
		same("getdents", adit_getdents(run.pool, fd, call_got, room),
		     !f || f->path ? -EBADF : -ENOTDIR);
		return;
	}
	if (world_is_gone(&run.w, f->node))
		return;
	same("lseek to 0", adit_lseek(run.pool, fd, 0, SEEK_SET), 0);
	while ((got = adit_getdents(run.pool, fd, call_got, room)) > 0)
		for (int64_t at = 0; at < got; n++) {
			const struct adit_dirent64 *d = (const void *)(call_got + at);

			if (n >= 2 &&
			    model_child(node_of(f), d->d_name, strlen(d->d_name)) == MODEL_NONE)
				fuzz_fail("getdents gives '%s', which is not there", d->d_name);
			at += d->d_reclen;
		}
	same("getdents", got, 0);
	same("getdents: entries", n, node_of(f)->entries + 2);
	same("lseek to 0", adit_lseek(run.pool, fd, 0, SEEK_SET), 0);
	f->pos = 0;
}
