/* SPDX-License-Identifier: BSD-3-Clause */
/* names.c - names, directories of every size and depth, links; see limits.h. */
#include "core/namei.h"
#include "core/namei_int.h"
#include "limits.h"

/* ---- depth ----------------------------------------------------------------------------------- */

/* Down from dir: how deep it gets. The descriptor of the lowest is the caller's. */
static int make_deep(int dir, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++) {
		int next;

		SAME(adit_mkdirat(l.pool, dir, "d", 0755), 0);
		next = adit_openat(l.pool, dir, "d", O_RDONLY | O_DIRECTORY, 0);
		TRUE(next >= 0);
		close_file(dir);
		dir = next;
	}
	return dir;
}

/* Down to the end and, by "..", up again. */
static void there_and_back(unsigned depth)
{
	int dir = open_file("/x", O_RDONLY | O_DIRECTORY);
	struct stat st, root;
	unsigned up = 0;

	for (int next; (next = adit_openat(l.pool, dir, "d", O_RDONLY | O_DIRECTORY, 0)) >= 0;
	     dir = next)
		close_file(dir);
	SAME(adit_fstatat(l.pool, dir, "file", &st, 0), 0);
	SAME(st.st_size, 4);
	SAME(adit_stat(l.pool, "/", &root), 0);
	SAME(adit_fstat(l.pool, dir, &st), 0);
	for (; st.st_ino != root.st_ino; up++) {
		int next = adit_openat(l.pool, dir, "..", O_RDONLY | O_DIRECTORY, 0);

		TRUE(next >= 0);
		close_file(dir);
		dir = next;
		SAME(adit_fstat(l.pool, dir, &st), 0);
	}
	close_file(dir);
	SAME(up, depth + 1);
}

/* Removed from the top, since no stack is that deep: what hangs below moves up. */
static void take_apart(void)
{
	int dir;

	for (;;) {
		int lower;

		dir = open_file("/x", O_RDONLY | O_DIRECTORY);
		lower = adit_openat(l.pool, dir, "d", O_RDONLY | O_DIRECTORY, 0);
		if (lower == -ENOENT)
			break;
		SAME(adit_renameat(l.pool, dir, "d", AT_FDCWD, "/gone"), 0);
		(void)adit_renameat(l.pool, lower, "d", dir, "d");
		(void)adit_unlinkat(l.pool, lower, "file", 0);
		SAME(adit_rmdir(l.pool, "/gone"), 0);
		close_file(lower);
		close_file(dir);
	}
	close_file(dir);
}

void test_depth(void)
{
	unsigned depth = l.soak ? 100000 : 3000;
	int dir = make_deep(open_file("/", O_RDONLY | O_DIRECTORY), depth), fd;
	char path[5000] = "", name[] = "/d";
	struct stat st;

	fd = adit_openat(l.pool, dir, "file", O_CREAT | O_RDWR, 0644);
	SAME(adit_write(l.pool, fd, "deep", 4), 4);
	close_file(fd);
	close_file(dir);
	clean();
	reopen();
	/* A path may have 4095 bytes. */
	for (unsigned i = 0; i < 2047; i++)
		strcat(path, name);
	SAME(adit_stat(l.pool, path, &st), 0);
	strcat(path, "/d");
	SAME(adit_stat(l.pool, path, &st), -ENAMETOOLONG);
	/* No directory goes into its own child, however deep. */
	path[4000] = '\0';
	SAME(adit_mkdir(l.pool, "/x", 0755), 0);
	strcat(path, "/x");
	SAME(adit_rename(l.pool, "/d", path), -EINVAL);
	SAME(adit_rename(l.pool, "/d", "/x/d"), 0);
	clean();
	there_and_back(depth);
	take_apart();
}

/* ---- names ----------------------------------------------------------------------------------- */

/* A name of this length in which byte b is, and most others; never the same for two pairs. */
static void make_name(char *name, unsigned len, unsigned b)
{
	for (unsigned i = 0; i < len; i++) {
		name[i] = (char)(1 + (b - 1 + i * (1 + len % 3)) % 255);
		if (name[i] == '/')
			name[i] = (char)0xff;
	}
	name[0] = (char)b;
	name[len] = '\0';
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static void refused_names(int dir)
{
	char name[300];

	memset(name, 'l', 256);
	name[256] = '\0';
	SAME(adit_mkdirat(l.pool, dir, name, 0755), -ENAMETOOLONG);
	SAME(adit_openat(l.pool, dir, name, O_CREAT | O_WRONLY, 0644), -ENAMETOOLONG);
	SAME(adit_symlinkat(l.pool, "x", dir, name), -ENAMETOOLONG);
	SAME(adit_unlinkat(l.pool, dir, name, 0), -ENAMETOOLONG);
	SAME(adit_mkdirat(l.pool, dir, ".", 0755), -EEXIST);
	SAME(adit_mkdirat(l.pool, dir, "..", 0755), -EEXIST);
	SAME(adit_mkdirat(l.pool, dir, "", 0755), -ENOENT);
	SAME(adit_mkdirat(l.pool, dir, "...", 0755), 0);
}

void test_names(void)
{
	char name[300], other[310];
	uint64_t made = 0;
	int dir, fd;

	SAME(adit_mkdir(l.pool, "/n", 0755), 0);
	dir = open_file("/n", O_RDONLY | O_DIRECTORY);
	/* Every byte alone, then every length. */
	for (unsigned b = 1; b < 256; b++) {
		for (unsigned len = 1; len <= 255; len += len == 1 ? b % 7 + 1 : 37) {
			make_name(name, len, b);
			if (b == '/' || is_dots(name))
				continue;
			fd = adit_openat(l.pool, dir, name, O_CREAT | O_EXCL | O_WRONLY, 0644);
			TRUE(fd >= 0);
			SAME(adit_write(l.pool, fd, name, len), len);
			close_file(fd);
			made++;
		}
	}
	for (unsigned len = 2; len <= 255; len++) {
		memset(name, 'l', len);
		name[len] = '\0';
		SAME(adit_mkdirat(l.pool, dir, name, 0755), 0);
		made++;
	}
	SAME(count_entries(dir), made);
	clean();
	close_file(dir);
	reopen();
	dir = open_file("/n", O_RDONLY | O_DIRECTORY);
	for (unsigned b = 1; b < 256; b++) {
		for (unsigned len = 1; len <= 255; len += len == 1 ? b % 7 + 1 : 37) {
			struct stat st;

			make_name(name, len, b);
			if (b == '/' || is_dots(name))
				continue;
			SAME(adit_fstatat(l.pool, dir, name, &st, 0), 0);
			SAME(st.st_size, len);
			/* To a name one longer and back. */
			snprintf(other, sizeof other, "%s~", name);
			SAME(adit_renameat(l.pool, dir, name, dir, other),
			     len < 255 ? 0 : -ENAMETOOLONG);
			SAME(adit_fstatat(l.pool, dir, name, &st, 0), len < 255 ? -ENOENT : 0);
			if (len < 255)
				SAME(adit_renameat(l.pool, dir, other, dir, name), 0);
		}
	}
	refused_names(dir);
	SAME(count_entries(dir), made + 1);
	close_file(dir);
}

/* ---- directories of every size --------------------------------------------------------------- */

static void numbered(char *name, uint64_t i, unsigned pad)
{
	int at = sprintf(name, "%llu-", (unsigned long long)i);

	memset(name + at, 'p', pad);
	name[(unsigned)at + pad] = '\0';
}

static void some_are_there(int dir, uint64_t n, unsigned pad)
{
	char name[300];
	struct stat st;

	for (unsigned i = 0; i < 20 && n > 0; i++) {
		numbered(name, i == 0 ? n - 1 : chance(n), pad);
		SAME(adit_fstatat(l.pool, dir, name, &st, 0), 0);
	}
	numbered(name, n, pad);
	SAME(adit_fstatat(l.pool, dir, name, &st, 0), -ENOENT);
}

static void add(int dir, uint64_t i, unsigned pad)
{
	char name[300];

	numbered(name, i, pad);
	SAME(adit_mknodat(l.pool, dir, name, S_IFIFO | 0644, 0), 0);
}

static void drop(int dir, uint64_t i, unsigned pad)
{
	char name[300];

	numbered(name, i, pad);
	SAME(adit_unlinkat(l.pool, dir, name, 0), 0);
}

/* Grows one by one; where the number of its blocks changes it is looked at, and goes back and
 * forth across that border. Then it shrinks the same way. */
static void grow_and_shrink(const char *path, uint64_t max, unsigned pad)
{
	uint64_t blocks = 0, splits = 0;
	int dir;

	SAME(adit_mkdir(l.pool, path, 0755), 0);
	dir = open_file(path, O_RDONLY | O_DIRECTORY);
	for (uint64_t n = 0; n < max; n++) {
		add(dir, n, pad);
		if (blocks_of(path) == blocks && n > 4)
			continue;
		blocks = blocks_of(path);
		splits++;
		SAME(count_entries(dir), n + 1);
		drop(dir, n, pad);
		some_are_there(dir, n, pad);
		add(dir, n, pad);
		some_are_there(dir, n + 1, pad);
		if (splits % 16 == 0)
			clean();
	}
	TRUE(splits > 5);
	clean();
	for (uint64_t n = max; n-- > 0;) {
		drop(dir, n, pad);
		if (blocks_of(path) == blocks && n > 4)
			continue;
		blocks = blocks_of(path);
		SAME(count_entries(dir), n);
		some_are_there(dir, n, pad);
	}
	SAME(adit_rmdir(l.pool, path), 0);
	close_file(dir);
	clean();
}

/* No look at each border: that many entries have too many. */
static void very_large(uint64_t n)
{
	uint64_t blocks = accounted();
	int dir;

	SAME(adit_mkdir(l.pool, "/large", 0755), 0);
	dir = open_file("/large", O_RDONLY | O_DIRECTORY);
	for (uint64_t i = 0; i < n; i++)
		add(dir, i, 3);
	SAME(count_entries(dir), n);
	some_are_there(dir, n, 3);
	clean();
	for (uint64_t i = 0; i < n; i++)
		drop(dir, i, 3);
	SAME(count_entries(dir), 0);
	SAME(adit_rmdir(l.pool, "/large"), 0);
	close_file(dir);
	clean();
	SAME(accounted(), blocks);
}

void test_directories(void)
{
	grow_and_shrink("/short", 10000, 0);
	grow_and_shrink("/long", 2500, 240);
	if (l.soak) {
		very_large(1000000);
		very_large(10000000);
	}
}

/* ---- collisions ------------------------------------------------------------------------------ */

/* One hash for all names, then four. A hash has room for 128 names in a directory. */
void test_collisions(void)
{
	static const uint32_t masks[] = {1u << 31, 3u << 30};
	uint64_t limit;
	int dir;

	for (unsigned m = 0; m < 2; m++) {
		l.fs->weak_hash_mask = masks[m];
		SAME(adit_mkdir(l.pool, "/c", 0755), 0);
		dir = open_file("/c", O_RDONLY | O_DIRECTORY);
		for (limit = 0; limit < 10000; limit++) {
			char name[300];
			int rc;

			numbered(name, limit, (unsigned)(limit * 37 % 200));
			rc = adit_mknodat(l.pool, dir, name, S_IFIFO | 0644, 0);
			if (rc < 0) {
				SAME(rc, -ENOSPC);
				break;
			}
		}
		/* Names share hashes by chance: the first hash is full between 128 and 128 for each. */
		TRUE(limit >= 128 && limit <= 128u << (m + 1));
		SAME(count_entries(dir), limit);
		clean();
		/* Every other one goes and comes again: its place is used again. */
		for (uint64_t i = 0; i < limit; i += 2)
			drop(dir, i, (unsigned)(i * 37 % 200));
		SAME(count_entries(dir), limit / 2);
		for (uint64_t i = 0; i < limit; i += 2)
			add(dir, i, (unsigned)(i * 37 % 200));
		SAME(count_entries(dir), limit);
		reopen();
		dir = open_file("/c", O_RDONLY | O_DIRECTORY);
		SAME(count_entries(dir), limit);
		for (uint64_t i = 0; i < limit; i++)
			drop(dir, i, (unsigned)(i * 37 % 200));
		close_file(dir);
		SAME(adit_rmdir(l.pool, "/c"), 0);
		clean();
	}
}

/* ---- links ----------------------------------------------------------------------------------- */

void test_links(void)
{
	uint64_t n = l.soak ? 1000000 : 20000;
	char name[300];
	int dir;

	close_file(open_file("/f", O_CREAT | O_WRONLY));
	SAME(adit_mkdir(l.pool, "/d", 0755), 0);
	SAME(adit_mkdir(l.pool, "/other", 0755), 0);
	SAME(adit_mkdir(l.pool, "/other/sub", 0755), 0);
	dir = open_file("/d", O_RDONLY | O_DIRECTORY);
	for (uint64_t i = 0; i < n; i++) {
		numbered(name, i, 0);
		SAME(adit_linkat(l.pool, AT_FDCWD, "/f", dir, name, 0), 0);
	}
	SAME(attr_of("/f").nlink, n + 1);
	clean();
	for (uint64_t i = 0; i < n; i++)
		drop(dir, i, 0);
	SAME(attr_of("/f").nlink, 1);
	/* As many as there may be. */
	set_nlink("/f", ADIT_LINK_MAX - 1);
	SAME(adit_link(l.pool, "/f", "/last"), 0);
	SAME(attr_of("/f").nlink, ADIT_LINK_MAX);
	SAME(adit_link(l.pool, "/f", "/beyond"), -EMLINK);
	SAME(adit_unlink(l.pool, "/last"), 0);
	set_nlink("/f", 1);
	/* The same for directories in a directory, made or moved there. */
	set_nlink("/d", ADIT_LINK_MAX);
	SAME(adit_mkdir(l.pool, "/d/sub", 0755), -EMLINK);
	SAME(adit_rename(l.pool, "/other/sub", "/d/sub"), -EMLINK);
	SAME(adit_mknod(l.pool, "/d/file", S_IFREG | 0644, 0), 0);
	set_nlink("/d", 2);
	SAME(adit_mkdir(l.pool, "/d/sub", 0755), 0);
	close_file(dir);
}

/* A chain of so many links, each of which leads to the one before. */
static void chain(unsigned n)
{
	char name[40], target[40] = "end";

	close_file(open_file("/end", O_CREAT | O_WRONLY));
	for (unsigned i = 1; i <= n; i++) {
		snprintf(name, sizeof name, "/l%u", i);
		SAME(adit_symlink(l.pool, target, name), 0);
		snprintf(target, sizeof target, "l%u", i);
	}
}

void test_symlinks(void)
{
	static char target[4200], got[4200];
	struct stat st;

	memset(target, 't', sizeof target);
	for (unsigned i = 200; i < 4096; i += 201)
		target[i] = '/';
	for (unsigned len = 1; len <= 4096; len += len < 120 || len > 4090 ? 1 : 61) {
		char c = target[len];

		target[len] = '\0';
		SAME(adit_symlink(l.pool, target, "/s"), len < 4096 ? 0 : -ENAMETOOLONG);
		target[len] = c;
		if (len == 4096)
			break;
		SAME(adit_readlink(l.pool, "/s", got, sizeof got), len);
		SAME(memcmp(got, target, len), 0);
		SAME(adit_readlink(l.pool, "/s", got, 1), 1);
		SAME(adit_lstat(l.pool, "/s", &st), 0);
		SAME(st.st_size, len);
		SAME(adit_unlink(l.pool, "/s"), 0);
	}
	SAME(adit_symlink(l.pool, "", "/s"), -ENOENT);
	chain(41);
	SAME(adit_stat(l.pool, "/l40", &st), 0);
	SAME(adit_stat(l.pool, "/l41", &st), -ELOOP);
	SAME(adit_lstat(l.pool, "/l41", &st), 0);
	SAME(adit_symlink(l.pool, "/self", "/self"), 0);
	SAME(adit_stat(l.pool, "/self", &st), -ELOOP);
	SAME(adit_stat(l.pool, "/self/x", &st), -ELOOP);
	SAME(adit_openat(l.pool, AT_FDCWD, "/self", O_CREAT | O_RDWR, 0644), -ELOOP);
	SAME(adit_openat(l.pool, AT_FDCWD, "/end", O_NOFOLLOW, 0) >= 0, 1);
	SAME(adit_openat(l.pool, AT_FDCWD, "/l1", O_NOFOLLOW, 0), -ELOOP);
	clean();
}
