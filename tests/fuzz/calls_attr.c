/* SPDX-License-Identifier: BSD-3-Clause */
/* calls_attr.c - attributes, extended ones too; see fuzz_calls.c. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "calls.h"

static void same_stat(const struct stat *st, const struct model_node *n)
{
	same("st_mode", st->st_mode, n->mode);
	same("st_nlink", (int64_t)st->st_nlink, n->nlink);
	same("st_size", st->st_size, (int64_t)n->size);
	same("st_uid", st->st_uid, n->uid);
	same("st_gid", st->st_gid, n->gid);
	same("st_mtim", st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec, n->mtime);
}

void call_stat(void)
{
	static struct where at;
	int fd = some_fd(run.c.fd), dirfd = some_dirfd(),
	    flags = run.c.flags & 2 ? AT_SYMLINK_NOFOLLOW : 0;
	struct open_file *f = world_file(&run.w, fd);
	enum follow follow = flags ? FOLLOW_SLASH : FOLLOW;
	struct statx sx;
	struct stat st;
	int64_t want;

	if (run.c.flags & 1) {
		same("fstat", adit_fstat(run.pool, fd, &st), f ? 0 : -EBADF);
		if (f)
			same_stat(&st, node_of(f));
		return;
	}
	if (starts_nowhere(dirfd, run.p))
		return;
	want = world_find(&run.w, dirfd, run.p, follow, &at);
	same("stat", adit_fstatat(run.pool, dirfd, run.p, &st, flags), want);
	if (!want)
		same_stat(&st, &run.w.m.node[at.node]);
	same("statx", adit_statx(run.pool, dirfd, run.p, flags, 0xfff, &sx), want);
	same("access", adit_faccessat(run.pool, dirfd, run.p, F_OK, flags), want);
}

/* The file that an attribute call is about: by descriptor or by path. */
static int64_t subject_of(bool by_fd, bool follow, struct op *op, uint32_t *node)
{
	static struct where at;
	struct open_file *f = world_file(&run.w, some_fd(run.c.fd));
	int64_t want;

	if (by_fd) {
		if (!f || f->path)
			return -EBADF;
		slot_path(op, f);
		*node = f->node;
		return 0;
	}
	want = world_find(&run.w, AT_FDCWD, run.p, follow ? FOLLOW : FOLLOW_SLASH, &at);
	if (want)
		return want;
	if (!world_path(&run.w, &at, op->path))
		fuzz_fail("a path became too long");
	*node = at.node;
	return 0;
}

void call_chmod(void)
{
	struct op op = {.kind = OP_CHMOD, .n = {run.c.v & 07777}};
	bool by_fd = run.c.flags & 1, follow = !(run.c.flags & 2);
	uint32_t node;
	int64_t got, want;

	got = by_fd ? adit_fchmod(run.pool, some_fd(run.c.fd), run.c.v & 07777)
		    : adit_fchmodat(run.pool, AT_FDCWD, run.p, run.c.v & 07777,
				    follow ? 0 : AT_SYMLINK_NOFOLLOW);
	want = subject_of(by_fd, follow, &op, &node);
	same("chmod", got, want ? want : applied(&op, got, 0));
}

void call_chown(void)
{
	struct op op = {.kind = OP_CHOWN};
	bool by_fd = run.c.flags & 1, follow = !(run.c.flags & 2);
	uid_t uid = run.c.flags & 4 ? (uid_t)-1 : run.c.v % 3;
	gid_t gid = run.c.flags & 8 ? (gid_t)-1 : run.c.v / 3 % 3;
	uint32_t node;
	int64_t got, want;

	got = by_fd    ? adit_fchown(run.pool, some_fd(run.c.fd), uid, gid)
	      : follow ? adit_chown(run.pool, run.p, uid, gid)
		       : adit_lchown(run.pool, run.p, uid, gid);
	want = subject_of(by_fd, follow, &op, &node);
	if (!want) {
		struct model_node *n = &run.w.m.node[node];
		uint32_t iflags = n->iflags;

		op.n[0] = uid == (uid_t)-1 ? n->uid : uid;
		op.n[1] = gid == (gid_t)-1 ? n->gid : gid;
		/* Nothing but set-ID bits goes: that asks nobody. */
		if (uid == (uid_t)-1 && gid == (gid_t)-1)
			n->iflags = 0;
		want = applied(&op, got, 0);
		n->iflags = iflags;
	}
	same("chown", got, want);
}

void call_utimens(void)
{
	struct op op = {.kind = OP_UTIME};
	bool by_fd = run.c.flags & 1, follow = !(run.c.flags & 2);
	struct timespec t[2] = {{run.c.v, run.c.len}, {-(time_t)(run.c.v % 1000), 999999999}};
	uint32_t node;
	int64_t got, want;

	if (run.c.flags & 4)
		t[0].tv_nsec = UTIME_OMIT;
	if (run.c.flags & 8)
		t[1].tv_nsec = run.c.flags & 4 ? 1000000000 : UTIME_OMIT;
	got = by_fd ? adit_futimens(run.pool, some_fd(run.c.fd), t)
		    : adit_utimensat(run.pool, AT_FDCWD, run.p, t,
				     follow ? 0 : AT_SYMLINK_NOFOLLOW);
	want = subject_of(by_fd, follow, &op, &node);
	if (!want && t[1].tv_nsec == 1000000000)
		want = -EINVAL;
	/* A bad time of an O_PATH descriptor: either error will do. */
	if (by_fd && want < 0 && got < 0)
		return;
	if (!want) {
		op.n[1] = t[0].tv_nsec == UTIME_OMIT
				  ? (uint64_t)run.w.m.node[node].atime
				  : (uint64_t)(t[0].tv_sec * 1000000000 + t[0].tv_nsec);
		op.n[0] = t[1].tv_nsec == UTIME_OMIT
				  ? (uint64_t)run.w.m.node[node].mtime
				  : (uint64_t)(t[1].tv_sec * 1000000000 + t[1].tv_nsec);
		want = applied(&op, got, 0);
	}
	same("utimens", got, want);
}

void call_flags(void)
{
	static const unsigned flags[] = {0,
					 0,
					 0,
					 ADIT_FL_ATOMIC,
					 ADIT_FL_IMMUTABLE,
					 ADIT_FL_APPEND,
					 ADIT_FL_ATOMIC | ADIT_FL_APPEND,
					 1};
	unsigned want_flags = flags[run.c.flags % 8];
	struct op op = {.kind = OP_IFLAGS};
	uint32_t node;
	int64_t got = adit_setflags(run.pool, some_fd(run.c.fd), want_flags), want;

	op.n[0] = (want_flags & ADIT_FL_IMMUTABLE ? MODEL_IMMUTABLE : 0) |
		  (want_flags & ADIT_FL_APPEND ? MODEL_APPEND_ONLY : 0) |
		  (want_flags & ADIT_FL_ATOMIC ? MODEL_ATOMIC : 0);
	want = want_flags == 1 ? -EOPNOTSUPP : subject_of(true, true, &op, &node);
	same("setflags", got, want ? want : applied(&op, got, 0));
}

/* ---- extended attributes ------------------------------------------------------------------------------------------ */

static const char *xattr_name(void)
{
	static char long_name[256], too_long[270];
	static const char *const names[] = {"user.a",
					    "user.b",
					    "user.c",
					    "trusted.t",
					    "security.s",
					    "security.capability",
					    "system.posix_acl_access",
					    "system.posix_acl_default",
					    "user.",
					    "bad.name",
					    "",
					    "user.d"};
	unsigned n = run.c.q[0] % 14;

	memset(long_name, 'x', 255);
	memcpy(long_name, "user.", 5);
	memset(too_long, 'y', 256);
	memcpy(too_long, "user.", 5);
	return n == 12 ? long_name : n == 13 ? too_long : names[n];
}

void call_setxattr(void)
{
	struct op op = {.kind = run.c.flags & 4 ? OP_RMXATTR : OP_SETXATTR};
	const char *name = xattr_name();
	bool by_fd = run.c.flags & 1, follow = !(run.c.flags & 2);
	int flags = run.c.flags >> 3 & 7, fd = some_fd(run.c.fd);
	size_t len = some_length() % 70000;
	int64_t got, want = 0;
	uint32_t node;

	op_fill((uint64_t)run.now, 0, call_data, len);
	snprintf(op.path2, sizeof op.path2, "%s", name);
	if (op.kind == OP_RMXATTR)
		got = by_fd    ? adit_fremovexattr(run.pool, fd, name)
		      : follow ? adit_removexattr(run.pool, run.p, name)
			       : adit_lremovexattr(run.pool, run.p, name);
	else
		got = by_fd    ? adit_fsetxattr(run.pool, fd, name, call_data, len, flags)
		      : follow ? adit_setxattr(run.pool, run.p, name, call_data, len, flags)
			       : adit_lsetxattr(run.pool, run.p, name, call_data, len, flags);
	op.n[0] = len;
	op.n[1] = (uint64_t)flags;
	if (op.kind == OP_SETXATTR && flags > 3)
		want = -EINVAL;
	else if (name[0] == '\0' || strlen(name) > 255)
		want = -ERANGE;
	else if (op.kind == OP_SETXATTR && len > 65536)
		want = -E2BIG;
	if (!want)
		want = subject_of(by_fd, follow, &op, &node);
	if (!want && strncmp(name, "user.", 5) == 0 && !S_ISREG(run.w.m.node[node].mode) &&
	    !S_ISDIR(run.w.m.node[node].mode))
		want = -EPERM;
	same(op.kind == OP_RMXATTR ? "removexattr" : "setxattr", got,
	     want ? want : applied(&op, got, len));
}

void call_getxattr(void)
{
	struct op op = {.kind = OP_SETXATTR};
	const char *name = xattr_name();
	bool by_fd = run.c.flags & 1, follow = !(run.c.flags & 2);
	size_t room = some_length() % 70000, names = 0;
	int64_t got, want;
	uint32_t node;
	const struct model_node *n;

	want = subject_of(by_fd, follow, &op, &node);
	got = by_fd    ? adit_flistxattr(run.pool, some_fd(run.c.fd), NULL, 0)
	      : follow ? adit_listxattr(run.pool, run.p, NULL, 0)
		       : adit_llistxattr(run.pool, run.p, NULL, 0);
	if (want) {
		same("listxattr", got, want);
		return;
	}
	n = &run.w.m.node[node];
	for (uint32_t i = 0; i < n->xattrs; i++)
		names += strlen(n->xattr[i].name) + 1;
	same("listxattr", got, (int64_t)names);
	got = by_fd    ? adit_fgetxattr(run.pool, some_fd(run.c.fd), name, call_got, room)
	      : follow ? adit_getxattr(run.pool, run.p, name, call_got, room)
		       : adit_lgetxattr(run.pool, run.p, name, call_got, room);
	for (uint32_t i = 0; i < n->xattrs; i++) {
		const struct model_bytes *v = n->xattr[i].value;

		if (strcmp(n->xattr[i].name, name) != 0)
			continue;
		same("getxattr", got, room && room < v->len ? -ERANGE : (int64_t)v->len);
		if (room && got >= 0 && memcmp(v->b, call_got, v->len) != 0)
			fuzz_fail("call %u: another attribute value", run.number);
		return;
	}
	if (got >= 0)
		fuzz_fail("call %u: getxattr of what is not there: %lld", run.number,
			  (long long)got);
}
