/* SPDX-License-Identifier: BSD-3-Clause */
/* calls_names.c - making, moving and removing names; see same.h. */
#include <linux/fs.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "same.h"

static void do_mkdir(void)
{
	struct pair at = start();
	mode_t mode = mode_not_sticky();
	char name[8192];

	path(name);
	describe("mkdirat(\"%s\", %#o)", name, mode);
	same(host_rc(mkdirat(at.host, name, mode)), adit_mkdirat(t.pool, at.adit, name, mode));
}

static void do_mknod(void)
{
	static const mode_t types[] = {0,	S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR,
				       S_IFBLK, S_IFDIR, S_IFLNK, 0070000};
	struct pair at = start();
	mode_t mode = ONE_OF(types) | pick(010000);
	/* XFS has 9 and 18 bits for it, the others 12 and 20. */
	bool xfs = t.host->kind == HOST_XFS;
	dev_t dev = makedev(pick(xfs ? 512 : 4096), pick(xfs ? 1 << 18 : 1 << 20));
	char name[8192];

	path(name);
	describe("mknodat(\"%s\", %#o)", name, mode);
	same(host_rc(mknodat(at.host, name, mode, dev)),
	     adit_mknodat(t.pool, at.adit, name, mode, dev));
}

static void do_symlink(void)
{
	struct pair at = start();
	char name[8192], to[8192];

	path(name);
	target(to);
	describe("symlinkat(\"%s\", \"%s\")", to, name);
	same(host_rc(symlinkat(to, at.host, name)), adit_symlinkat(t.pool, to, at.adit, name));
}

static void do_readlink(void)
{
	struct pair at = start();
	size_t bytes = chance(50) ? pick(20) : 4096;
	char name[8192];
	long host, adit;

	path(name);
	describe("readlinkat(\"%s\", %zu)", name, bytes);
	host = host_rc(syscall(SYS_readlinkat, at.host, name, host_buf, bytes));
	adit = adit_readlinkat(t.pool, at.adit, name, (char *)adit_buf, bytes);
	same(host, adit);
	same_bytes(host);
}

static void do_link(void)
{
	static const int flags[] = {0, 0, AT_SYMLINK_FOLLOW, AT_EMPTY_PATH, 0x40000000};
	struct pair from = start(), to = start();
	int how = ONE_OF(flags);
	char old[8192], new[8192];

	path(old);
	path(new);
	if (how == AT_EMPTY_PATH && chance(80)) {
		from = *some_fd();
		old[0] = '\0';
	}
	describe("linkat(\"%s\", \"%s\", %#x)", old, new, how);
	same(host_rc(linkat(from.host, old, to.host, new, how)),
	     adit_linkat(t.pool, from.adit, old, to.adit, new, how));
}

static void do_unlink(void)
{
	static const int flags[] = {0, 0, 0, AT_REMOVEDIR, AT_REMOVEDIR, 1};
	struct pair at = start();
	int how = ONE_OF(flags);
	char name[8192];

	path(name);
	describe("unlinkat(\"%s\", %#x)", name, how);
	same(host_rc(unlinkat(at.host, name, how)), adit_unlinkat(t.pool, at.adit, name, how));
}

static void do_rename(void)
{
	static const unsigned flags[] = {0,
					 0,
					 0,
					 RENAME_NOREPLACE,
					 RENAME_EXCHANGE,
					 RENAME_WHITEOUT,
					 RENAME_WHITEOUT | RENAME_NOREPLACE,
					 RENAME_EXCHANGE | RENAME_NOREPLACE,
					 8};
	struct pair from = start(), to = start();
	unsigned how = ONE_OF(flags);
	char old[8192], new[8192];
	long host;

	path(old);
	path(new);
	describe("renameat2(\"%s\", \"%s\", %#x)", old, new, how);
	host = host_rc(syscall(SYS_renameat2, from.host, old, to.host, new, how));
	same(host, adit_renameat2(t.pool, from.adit, old, to.adit, new, how));
	/* XFS leaves the ctime of what it exchanges alone, but for directories that get another
	 * parent: of these it changes the mtime too. ext4 changes every ctime and no mtime. */
	if (how & RENAME_EXCHANGE && t.host->kind == HOST_XFS)
		t.no_ctime = t.no_mtime = true;
	/* ext4 makes the whiteout, finds that the rename cannot be, and leaves the directory touched. */
	if (host < 0 && how & RENAME_WHITEOUT && t.host->kind == HOST_EXT4)
		t.no_ctime = t.no_mtime = true;
}

const struct call name_calls[] = {
	{9, do_mkdir}, {4, do_mknod},  {6, do_symlink}, {2, do_readlink},
	{7, do_link},  {9, do_unlink}, {14, do_rename}, {0, NULL},
};
