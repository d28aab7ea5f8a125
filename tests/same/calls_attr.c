/* SPDX-License-Identifier: BSD-3-Clause */
/* calls_attr.c - attributes, extended attributes, flags of files; see same.h. */
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "same.h"

/* ---- attributes ------------------------------------------------------------------------------ */

void same_stat(const struct stat *host, const struct stat *adit)
{
	same(host->st_mode, adit->st_mode);
	same((long)host->st_nlink, (long)adit->st_nlink);
	same(host->st_uid, adit->st_uid);
	same(host->st_gid, adit->st_gid);
	if (!S_ISDIR(host->st_mode))
		same(host->st_size, adit->st_size);
	if (S_ISCHR(host->st_mode) || S_ISBLK(host->st_mode))
		same((long)host->st_rdev, (long)adit->st_rdev);
}

static void do_stat(void)
{
	static const int flags[] = {0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH};
	struct pair at = start(), *p = some_fd();
	struct stat host_st, adit_st;
	int how = ONE_OF(flags);
	char name[8192];
	long host;

	path(name);
	if (chance(50)) {
		describe("fstatat(\"%s\", %#x)", name, how);
		host = host_rc(fstatat(at.host, name, &host_st, how));
		same(host, adit_fstatat(t.pool, at.adit, name, &adit_st, how));
	} else {
		describe("fstat(%d)", (int)(p - t.fd));
		host = host_rc(fstat(p->host, &host_st));
		same(host, adit_fstat(t.pool, p->adit, &adit_st));
	}
	if (host == 0)
		same_stat(&host_st, &adit_st);
}

static void do_statx(void)
{
	struct pair at = start();
	struct statx host_st, adit_st;
	int how = chance(50) ? AT_SYMLINK_NOFOLLOW : AT_STATX_DONT_SYNC;
	char name[8192];
	long host;

	path(name);
	describe("statx(\"%s\", %#x)", name, how);
	host = host_rc(statx(at.host, name, how, STATX_BASIC_STATS | STATX_BTIME, &host_st));
	same(host,
	     adit_statx(t.pool, at.adit, name, how, STATX_BASIC_STATS | STATX_BTIME, &adit_st));
	if (host != 0)
		return;
	same(host_st.stx_mode, adit_st.stx_mode);
	same(host_st.stx_nlink, adit_st.stx_nlink);
	same(host_st.stx_uid, adit_st.stx_uid);
	same(host_st.stx_gid, adit_st.stx_gid);
	same(host_st.stx_rdev_major, adit_st.stx_rdev_major);
	same(host_st.stx_rdev_minor, adit_st.stx_rdev_minor);
	if (!S_ISDIR(host_st.stx_mode))
		same((long)host_st.stx_size, (long)adit_st.stx_size);
}

static void do_chmod(void)
{
	struct pair at = start(), *p = some_fd();
	mode_t mode = mode_not_sticky();
	char name[8192];

	path(name);
	if (chance(50)) {
		describe("fchmodat(\"%s\", %#o)", name, mode);
		same(host_rc(syscall(SYS_fchmodat, at.host, name, mode)),
		     adit_fchmodat(t.pool, at.adit, name, mode, 0));
	} else {
		describe("fchmod(%d, %#o)", (int)(p - t.fd), mode);
		same(host_rc(fchmod(p->host, mode)), adit_fchmod(t.pool, p->adit, mode));
	}
}

static void do_chown(void)
{
	static const int flags[] = {0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH};
	struct pair at = start(), *p = some_fd();
	uid_t uid = chance(30) ? (uid_t)-1 : pick(3);
	gid_t gid = chance(30) ? (gid_t)-1 : pick(3);
	int how = ONE_OF(flags);
	char name[8192];

	path(name);
	if (chance(50)) {
		describe("fchownat(\"%s\", %d, %d, %#x)", name, (int)uid, (int)gid, how);
		same(host_rc(fchownat(at.host, name, uid, gid, how)),
		     adit_fchownat(t.pool, at.adit, name, uid, gid, how));
	} else {
		describe("fchown(%d, %d, %d)", (int)(p - t.fd), (int)uid, (int)gid);
		same(host_rc(fchown(p->host, uid, gid)), adit_fchown(t.pool, p->adit, uid, gid));
	}
}

static void do_utimens(void)
{
	static const long special[] = {UTIME_NOW, UTIME_OMIT, 1000000000, -1, 0, 999999999};
	struct pair at = start();
	struct timespec times[2];
	struct stat host_st, adit_st;
	int how = chance(50) ? AT_SYMLINK_NOFOLLOW : 0;
	char name[8192];
	long host;

	path(name);
	for (int i = 0; i < 2; i++) {
		times[i].tv_sec = chance(20) ? -(time_t)pick(100000) : (time_t)pick(2000000000);
		times[i].tv_nsec = chance(50) ? ONE_OF(special) : (long)pick(1000000000);
	}
	describe("utimensat(\"%s\", %lld.%ld %lld.%ld, %#x)", name, (long long)times[0].tv_sec,
		 times[0].tv_nsec, (long long)times[1].tv_sec, times[1].tv_nsec, how);
	/* The system call: glibc's wrapper refuses what Linux allows. */
	host = host_rc(syscall(SYS_utimensat, at.host, name, times, how));
	same(host, adit_utimensat(t.pool, at.adit, name, times, how));
	if (host != 0 || fstatat(at.host, name, &host_st, how) != 0)
		return;
	same(0, adit_fstatat(t.pool, at.adit, name, &adit_st, how));
	if (times[0].tv_nsec < 1000000000) {
		same(host_st.st_atim.tv_sec, adit_st.st_atim.tv_sec);
		same(host_st.st_atim.tv_nsec, adit_st.st_atim.tv_nsec);
	}
	if (times[1].tv_nsec < 1000000000) {
		same(host_st.st_mtim.tv_sec, adit_st.st_mtim.tv_sec);
		same(host_st.st_mtim.tv_nsec, adit_st.st_mtim.tv_nsec);
	}
}

static void do_access(void)
{
	struct pair at = start();
	int mode = (int)pick(chance(90) ? 8 : 20), how = chance(50) ? AT_SYMLINK_NOFOLLOW : 0;
	char name[8192];

	path(name);
	describe("faccessat(\"%s\", %#o, %#x)", name, mode, how);
	same(host_rc(syscall(SYS_faccessat2, at.host, name, mode, how)),
	     adit_faccessat(t.pool, at.adit, name, mode, how));
}

/* Immutable and append-only. */
static void do_setflags(void)
{
	static const unsigned some[] = {
		0, 0, 0, ADIT_FL_IMMUTABLE, ADIT_FL_APPEND, ADIT_FL_IMMUTABLE | ADIT_FL_APPEND};
	const unsigned both = ADIT_FL_IMMUTABLE | ADIT_FL_APPEND;
	struct pair *p = some_fd();
	unsigned set = ONE_OF(some), host_has = 0, adit_has = 0;
	int value;
	long host;

	describe("getflags(%d)", (int)(p - t.fd));
	host = host_rc(ioctl(p->host, FS_IOC_GETFLAGS, &host_has));
	same(host, adit_getflags(t.pool, p->adit, &adit_has));
	if (host != 0)
		return;
	same(host_has & both, adit_has & both);
	if (!t.flags)
		return;
	describe("setflags(%d, %#x)", (int)(p - t.fd), set);
	value = (int)((host_has & ~both) | set);
	same(host_rc(ioctl(p->host, FS_IOC_SETFLAGS, &value)),
	     adit_setflags(t.pool, p->adit, (adit_has & ~both) | set));
}

/* ---- extended attributes --------------------------------------------------------------------- */

static const char *const attributes[] = {"trusted.a", "trusted.b",  "user.x",
					 "user.long", "security.z", "nonsense",
					 "user.",     "",	    "trusted."};

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static size_t sort_names(char *list, size_t bytes, char **out)
{
	size_t n = 0;

	for (char *p = list; p < list + bytes; p += strlen(p) + 1)
		out[n++] = p;
	qsort(out, n, sizeof *out, compare_names);
	return n;
}

static void same_lists(char *host, char *adit, long bytes)
{
	char *a[64], *b[64];
	size_t n = sort_names(host, (size_t)bytes, a);

	same((long)n, (long)sort_names(adit, (size_t)bytes, b));
	for (size_t i = 0; i < n; i++)
		same(0, strcmp(a[i], b[i]));
}

static void do_setxattr(void)
{
	static const int flags[] = {0, 0, XATTR_CREATE, XATTR_REPLACE, 4};
	struct pair *p = some_fd();
	const char *attr = ONE_OF(attributes);
	size_t bytes = chance(60) ? pick(100) : chance(50) ? pick(3000) : 65530 + pick(10);
	int how = ONE_OF(flags);
	char name[8192], full[9000], apath[9000];

	fill(host_buf, bytes);
	path(name);
	if (chance(50)) {
		describe("lsetxattr(\"%s\", \"%s\", %zu, %#x)", name, attr, bytes, how);
		same(host_rc(lsetxattr(host_path(full, name), attr, host_buf, bytes, how)),
		     adit_lsetxattr(t.pool, adit_path(apath, name), attr, host_buf, bytes, how));
	} else {
		describe("fsetxattr(%d, \"%s\", %zu, %#x)", (int)(p - t.fd), attr, bytes, how);
		same(host_rc(fsetxattr(p->host, attr, host_buf, bytes, how)),
		     adit_fsetxattr(t.pool, p->adit, attr, host_buf, bytes, how));
	}
}

static void do_getxattr(void)
{
	struct pair *p = some_fd();
	const char *attr = ONE_OF(attributes);
	size_t bytes = chance(30) ? 0 : chance(50) ? pick(200) : 65536;
	char name[8192], full[9000], apath[9000];
	long host, adit;

	path(name);
	if (chance(50)) {
		describe("getxattr(\"%s\", \"%s\", %zu)", name, attr, bytes);
		host = host_rc(getxattr(host_path(full, name), attr, host_buf, bytes));
		adit = adit_getxattr(t.pool, adit_path(apath, name), attr, adit_buf, bytes);
	} else {
		describe("fgetxattr(%d, \"%s\", %zu)", (int)(p - t.fd), attr, bytes);
		host = host_rc(fgetxattr(p->host, attr, host_buf, bytes));
		adit = adit_fgetxattr(t.pool, p->adit, attr, adit_buf, bytes);
	}
	same(host, adit);
	if (bytes > 0)
		same_bytes(host);
}

static void do_listxattr(void)
{
	struct pair *p = some_fd();
	size_t bytes = chance(30) ? 0 : chance(50) ? pick(40) : 4096;
	long host, adit;

	describe("flistxattr(%d, %zu)", (int)(p - t.fd), bytes);
	host = host_rc(flistxattr(p->host, (char *)host_buf, bytes));
	adit = adit_flistxattr(t.pool, p->adit, (char *)adit_buf, bytes);
	same(host, adit);
	if (host > 0 && bytes > 0)
		same_lists((char *)host_buf, (char *)adit_buf, host);
}

static void do_removexattr(void)
{
	const char *attr = ONE_OF(attributes);
	char name[8192], full[9000], apath[9000];

	path(name);
	describe("lremovexattr(\"%s\", \"%s\")", name, attr);
	same(host_rc(lremovexattr(host_path(full, name), attr)),
	     adit_lremovexattr(t.pool, adit_path(apath, name), attr));
}

const struct call attr_calls[] = {
	{6, do_stat},	  {2, do_statx},     {4, do_chmod},	  {4, do_chown},
	{3, do_utimens},  {3, do_access},    {2, do_setflags},	  {5, do_setxattr},
	{3, do_getxattr}, {2, do_listxattr}, {2, do_removexattr}, {0, NULL},
};
