/* SPDX-License-Identifier: BSD-3-Clause */
/* pools.c - space, inodes, time and the pool as a whole; see limits.h. */
#include <sys/mman.h>
#include <sys/vfs.h>

#include "core/namei.h"
#include "fs/pool.h"
#include "limits.h"

/* ---- full and empty -------------------------------------------------------------------------- */

/* One more of something. 0, or what refused it. */
static int one_more(uint64_t i)
{
	static uint8_t data[100000];
	char path[60], target[600];
	uint64_t len = chance(3) ? chance(6000) : chance(sizeof data);
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/full/%llu", (unsigned long long)i);
	switch (chance(6)) {
	case 0:
		return adit_mkdir(l.pool, path, 0755);
	case 1:
		memset(target, 't', sizeof target);
		target[1 + chance(sizeof target - 1)] = '\0';
		target[sizeof target - 1] = '\0';
		return adit_symlink(l.pool, target, path);
	default:
		break;
	}
	fd = adit_openat(l.pool, AT_FDCWD, path, O_CREAT | O_RDWR, 0644);
	if (fd < 0)
		return fd;
	n = adit_pwrite(l.pool, fd, data, len, (off_t)chance(3) * 8192);
	if (n >= 0 && chance(5) == 0)
		n = adit_fsetxattr(l.pool, fd, "user.a", data, chance(9000), 0);
	if (n >= 0 && chance(8) == 0)
		n = adit_fallocate(l.pool, fd, 1, 1 << 20, (off_t)(1 + chance(200000)));
	close_file(fd);
	return n < 0 ? (int)n : 0;
}

/* To the last block: what is refused gets smaller, until a byte is. */
static void fill(void)
{
	static const size_t sizes[] = {65536, 4096, 300, 1};
	static uint8_t data[65536];
	uint64_t i = 0;
	struct statfs st;
	int rc = 0, fd;

	SAME(adit_mkdir(l.pool, "/full", 0755), 0);
	while ((rc = one_more(i++)) == 0) {
	}
	SAME(rc, -ENOSPC);
	fd = open_file("/full/last", O_CREAT | O_RDWR | O_APPEND);
	for (unsigned k = 0; k < 4; k++) {
		ssize_t n;

		while ((n = adit_write(l.pool, fd, data, sizes[k])) == (ssize_t)sizes[k]) {
		}
		SAME(n, -ENOSPC);
	}
	close_file(fd);
	SAME(adit_statfs(l.pool, "/", &st), 0);
	/* A block or two may be left where a byte needs more than that. */
	TRUE(st.f_bavail <= 4);
}

/* A full pool still frees: some of it by truncating, some by unlinking, the rest with its directory. */
static void empty(void)
{
	char path[60];
	int dir;

	for (unsigned i = 0; i < 40; i++) {
		struct stat st;

		snprintf(path, sizeof path, "/full/%u", i);
		if (adit_lstat(l.pool, path, &st) != 0)
			continue;
		if (S_ISREG(st.st_mode))
			SAME(adit_truncate(l.pool, path, st.st_size / 2), 0);
		else if (S_ISLNK(st.st_mode))
			SAME(adit_unlink(l.pool, path), 0);
	}
	dir = open_file("/full", O_RDONLY | O_DIRECTORY);
	(void)remove_below(dir);
	close_file(dir);
	SAME(adit_rmdir(l.pool, "/full"), 0);
}

void test_fill(void)
{
	unsigned cycles = l.soak ? 1000 : 20;
	uint64_t blocks = accounted(), inodes = inodes_used();

	for (unsigned i = 0; i < cycles; i++) {
		fill();
		if (i % 4 == 0) {
			clean();
			reopen();
		}
		empty();
		SAME(accounted(), blocks);
		SAME(inodes_used(), inodes);
		if (i % 4 == 1)
			clean();
	}
}

/* ---- inodes ---------------------------------------------------------------------------------- */

/* A number that is used again is another file: handles, descriptors and names of the old one do
 * not reach it. */
void test_inodes(void)
{
	unsigned rounds = l.soak ? 1000000 : 20000, again = 0;
	struct adit_handle old = {0}, now;
	int fd, held;

	for (unsigned i = 0; i < rounds; i++) {
		close_file(open_file("/f", O_CREAT | O_EXCL | O_WRONLY));
		SAME(adit_name_to_handle_at(l.pool, AT_FDCWD, "/f", &now, 0), 0);
		if (now.ino == old.ino) {
			again++;
			TRUE(now.generation != old.generation);
		}
		if (old.ino)
			SAME(adit_open_by_handle_at(l.pool, &old, O_RDONLY), -ESTALE);
		fd = adit_open_by_handle_at(l.pool, &now, O_RDONLY);
		TRUE(fd >= 0);
		close_file(fd);
		SAME(adit_unlink(l.pool, "/f"), 0);
		old = now;
		if (i % 5000 == 4999)
			reopen();
	}
	TRUE(again > rounds / 2);
	/* While somebody has it open its number is not used. */
	held = open_file("/held", O_CREAT | O_RDWR);
	SAME(adit_write(l.pool, held, "mine", 4), 4);
	SAME(adit_name_to_handle_at(l.pool, held, "", &old, AT_EMPTY_PATH), 0);
	SAME(adit_unlink(l.pool, "/held"), 0);
	for (unsigned i = 0; i < 500; i++) {
		char name[20];

		snprintf(name, sizeof name, "/n%u", i);
		close_file(open_file(name, O_CREAT | O_WRONLY));
		SAME(adit_name_to_handle_at(l.pool, AT_FDCWD, name, &now, 0), 0);
		TRUE(now.ino != old.ino);
	}
	SAME(size_of(held), 4);
	close_file(held);
	SAME(adit_open_by_handle_at(l.pool, &old, O_RDONLY), -ESTALE);
}

/* ---- the clock ------------------------------------------------------------------------------- */

static int64_t clock_ns;

static int64_t set_clock(void)
{
	return clock_ns;
}

/* Times go where the clock goes, also back; nothing depends on their order. */
void test_clock(void)
{
	static const int64_t moments[] = {
		2000000000000000000, 1000000000000000000, 5, 0, -5, INT64_MIN,
		INT64_MAX,	     1700000000000000000};
	const struct adit_env *real = l.fs->env;
	static struct adit_env env;
	char name[20];

	env = *real;
	env.now_ns = set_clock;
	for (unsigned i = 0; i < sizeof moments / sizeof *moments; i++) {
		struct adit_attr attr;
		int fd;

		l.fs->env = &env;
		clock_ns = moments[i];
		snprintf(name, sizeof name, "/f%u", i);
		fd = open_file(name, O_CREAT | O_RDWR);
		SAME(adit_write(l.pool, fd, "t", 1), 1);
		close_file(fd);
		if (i > 0) {
			char before[20], moved[20];

			snprintf(before, sizeof before, "/f%u", i - 1);
			snprintf(moved, sizeof moved, "/moved%u", i - 1);
			SAME(adit_truncate(l.pool, before, 9), 0);
			SAME(attr_of(before).mtime_ns, clock_ns);
			SAME(adit_chmod(l.pool, before, 0600), 0);
			SAME(attr_of(before).ctime_ns, clock_ns);
			SAME(adit_rename(l.pool, before, moved), 0);
			SAME(attr_of("/").mtime_ns, clock_ns);
			SAME(attr_of(moved).btime_ns, moments[i - 1]);
		}
		clean();
		l.fs->env = real;
		reopen();
		attr = attr_of(name);
		SAME(attr.mtime_ns, moments[i]);
		SAME(attr.ctime_ns, moments[i]);
		SAME(attr.btime_ns, moments[i]);
	}
	/* What does not fit 64 bits of nanoseconds becomes the nearest that does. */
	struct timespec far[2] = {{.tv_sec = INT64_MAX}, {.tv_sec = INT64_MIN}};

	SAME(adit_utimensat(l.pool, AT_FDCWD, "/f7", far, 0), 0);
	SAME(attr_of("/f7").atime_ns, INT64_MAX);
	SAME(attr_of("/f7").mtime_ns, INT64_MIN);
}

/* ---- statfs ---------------------------------------------------------------------------------- */

void test_statfs(void)
{
	static char data[1 << 20];
	struct statfs empty, st;
	int fd;

	SAME(adit_statfs(l.pool, "/", &empty), 0);
	SAME(empty.f_type, ADIT_STATFS_MAGIC);
	SAME(empty.f_bsize, 4096);
	SAME(empty.f_frsize, 4096);
	SAME(empty.f_namelen, 255);
	TRUE(empty.f_blocks <= 64 * MIB / 4096);
	TRUE(empty.f_bfree <= empty.f_blocks && empty.f_bavail <= empty.f_bfree);
	/* The share that only freeing may use: 0.5 %. */
	TRUE(empty.f_bfree - empty.f_bavail >= 64 * MIB / 4096 / 200);
	TRUE(empty.f_bfree - empty.f_bavail <= 64 * MIB / 4096 / 100);
	TRUE(empty.f_files >= empty.f_ffree);
	fd = open_file("/f", O_CREAT | O_RDWR);
	SAME(adit_write(l.pool, fd, data, sizeof data), sizeof data);
	SAME(adit_fstatfs(l.pool, fd, &st), 0);
	TRUE(empty.f_bfree - st.f_bfree >= sizeof data / 4096);
	TRUE(empty.f_bfree - st.f_bfree <= sizeof data / 4096 + 16);
	SAME(st.f_blocks, empty.f_blocks);
	SAME(adit_ftruncate(l.pool, fd, 0), 0);
	(void)accounted();
	SAME(adit_fstatfs(l.pool, fd, &st), 0);
	TRUE(empty.f_bfree - st.f_bfree <= 16);
	close_file(fd);
	SAME(adit_statfs(l.pool, "/none", &st), -ENOENT);
}

/* ---- mkfs, descriptors ----------------------------------------------------------------------- */

static int try_mkfs(uint64_t bytes, const char *label, uint32_t lanes, uint64_t group)
{
	const struct adit_mkfs_options make = {.size_bytes = bytes,
					       .label = label,
					       .lanes = lanes,
					       .group_bytes = group,
					       .assume = ADIT_ASSUME_PROCESS};
	const struct adit_open_options options = {.assume = ADIT_ASSUME_PROCESS};
	int fd = memfd_create("try", 0), rc = adit_mkfs_fd(fd, &make);
	struct adit_pool *pool;

	if (rc == 0) {
		/* What was made works. */
		SAME(adit_open_fd(fd, &options, &pool), 0);
		SAME(adit_mkdir(pool, "/d", 0755), 0);
		SAME(adit_close(pool), 0);
	}
	close(fd);
	return rc;
}

void test_mkfs(void)
{
	char label[80];

	memset(label, 'L', sizeof label);
	SAME(try_mkfs(4 * MIB, NULL, 0, 0), 0);
	SAME(try_mkfs(4 * MIB - 1, NULL, 0, 0), -EINVAL);
	SAME(try_mkfs(0, NULL, 0, 0), -EINVAL);
	SAME(try_mkfs(4 * MIB + 4096 + 1, NULL, 0, 0), 0);
	label[63] = '\0';
	SAME(try_mkfs(4 * MIB, label, 0, 0), 0);
	label[63] = 'L';
	label[64] = '\0';
	SAME(try_mkfs(4 * MIB, label, 0, 0), -EINVAL);
	SAME(try_mkfs(256 * MIB, NULL, 1, 0), 0);
	SAME(try_mkfs(4096 * MIB, NULL, 256, 0), 0);
	SAME(try_mkfs(4096 * MIB, NULL, 257, 0), -EINVAL);
	SAME(try_mkfs(64 * MIB, NULL, 0, 1 * MIB), -EINVAL);
	SAME(try_mkfs(64 * MIB, NULL, 0, 3 * MIB), -EINVAL);
	/* The logs of all lanes lie in the first group. */
	SAME(try_mkfs(64 * MIB, NULL, 0, 2 * MIB), -ENOSPC);
	SAME(try_mkfs(64 * MIB, NULL, 1, 2 * MIB), 0);
	SAME(try_mkfs(3000 * MIB, NULL, 0, 1024 * MIB), 0);
	SAME(try_mkfs(3000 * MIB, NULL, 0, 2048 * MIB), -EINVAL);
}

/* 2^20 descriptors, of one file and of many. */
void test_descriptors(void)
{
	int fd = open_file("/f", O_CREAT | O_RDWR), n = 1, next;

	while ((next = adit_dup(l.pool, fd)) >= 0)
		SAME(next, n++);
	SAME(next, -EMFILE);
	SAME(n, 1 << 20);
	SAME(adit_openat(l.pool, AT_FDCWD, "/f", O_RDONLY, 0), -EMFILE);
	close_file(77);
	close_file(1 << 19);
	SAME(adit_openat(l.pool, AT_FDCWD, "/f", O_RDONLY, 0), 77);
	SAME(adit_dup(l.pool, fd), 1 << 19);
	SAME(adit_dup2(l.pool, fd, 1 << 20), -EBADF);
	SAME(adit_unlink(l.pool, "/f"), 0);
	/* Closing the pool closes the rest and frees the file. */
	reopen();
}
