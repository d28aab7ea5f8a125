/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * limits.c - the tests of limits.h, one after the other.
 *
 *	limits [-t TEST] [-s SEED] [-L]
 *
 * -t: only this one; -L: the large sizes (environment: ADIT_TIER=soak); -s: ADIT_SEED.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <time.h>

#include "core/check.h"
#include "core/inode.h"
#include "core/namei.h"
#include "fs/pool.h"
#include "limits.h"
#include "proof.h"

static const struct test {
	const char *name;
	void (*run)(void);
	uint64_t mib, large_mib; /* of its pool */
	const char *what;
} tests[] = {
	{"offsets", test_offsets, 64, 64, "file positions up to 2^63 - 1"},
	{"fragments", test_fragments, 768, 1024, "files in very many pieces"},
	{"xattrs", test_xattrs, 128, 512, "extended attributes: names, values, how many"},
	{"depth", test_depth, 64, 512, "directories in directories"},
	{"names", test_names, 64, 64, "names of all lengths and bytes"},
	{"directories", test_directories, 256, 14336, "directories of every size"},
	{"collisions", test_collisions, 64, 64, "names with one hash"},
	{"links", test_links, 64, 64, "links of a file, directories in one"},
	{"symlinks", test_symlinks, 64, 64, "targets, and links that lead to links"},
	{"fill", test_fill, 16, 64, "filled and emptied, again and again"},
	{"inodes", test_inodes, 64, 64, "inodes that are used again"},
	{"clock", test_clock, 64, 64, "a clock that goes back"},
	{"statfs", test_statfs, 64, 64, "the numbers of statfs"},
	{"mkfs", test_mkfs, 64, 64, "the smallest and the largest of mkfs"},
	{"descriptors", test_descriptors, 64, 64, "open files"},
};
#define TESTS (sizeof tests / sizeof *tests)

struct limits l;
static const char *test_name;
static jmp_buf out;
static uint64_t rng;

void wrong(const char *file, int line, const char *format, ...)
{
	va_list args;

	printf("limits: FAILED: %s: %s:%d: ", test_name, file, line);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\nagain: limits -t %s -s %llu%s\n", test_name, (unsigned long long)l.seed,
	       l.soak ? " -L" : "");
	longjmp(out, 1);
}

/* ---- what tests share ------------------------------------------------------------------------ */

int open_file(const char *path, int flags)
{
	int fd = adit_openat(l.pool, AT_FDCWD, path, flags, 0644);

	if (fd < 0)
		wrong(__FILE__, __LINE__, "open of %.100s: %s", path, strerror(-fd));
	return fd;
}

void close_file(int fd)
{
	SAME(adit_close_fd(l.pool, fd), 0);
}

uint64_t size_of(int fd)
{
	struct stat st;

	SAME(adit_fstat(l.pool, fd, &st), 0);
	return (uint64_t)st.st_size;
}

struct adit_attr attr_of(const char *path)
{
	struct adit_attr attr;
	struct stat st;

	SAME(adit_lstat(l.pool, path, &st), 0);
	SAME(adit__getattr(l.fs, st.st_ino, &attr), 0);
	return attr;
}

uint64_t blocks_of(const char *path)
{
	return attr_of(path).blocks;
}

static void open_pool(void)
{
	const struct adit_open_options options = {.assume = ADIT_ASSUME_PROCESS};

	SAME(adit_open_fd(l.memfd, &options, &l.pool), 0);
	l.fs = adit__pool_fs(l.pool);
	(void)adit_umask(l.pool, 0);
}

void reopen(void)
{
	uint32_t weak = l.fs->weak_hash_mask;

	SAME(adit_close(l.pool), 0);
	open_pool();
	l.fs->weak_hash_mask = weak;
}

void clean(void)
{
	char text[400];
	int n = adit__check_quiet(l.fs, text, sizeof text);

	l.cases++;
	if (n != 0)
		wrong(__FILE__, __LINE__, "check: %d findings, the first: %s", n, text);
}

uint64_t accounted(void)
{
	struct adit_statfs st;

	SAME(adit__checkpoint(l.fs), 0);
	adit__core_statfs(l.fs, &st);
	return st.free + blocks_of("/") + get64(l.fs->root->itable.blocks);
}

uint64_t inodes_used(void)
{
	struct adit_statfs st;

	adit__core_statfs(l.fs, &st);
	return st.inodes_used;
}

uint64_t chance(uint64_t n)
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return (rng * 0x2545f4914f6cdd1dull >> 11) % n;
}

uint64_t remove_below(int dirfd)
{
	char buf[8192];
	uint64_t removed = 0;
	ssize_t n;

	while ((n = adit_getdents(l.pool, dirfd, buf, sizeof buf)) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct adit_dirent64 *d = (const void *)(buf + at);
			bool is_dir = d->d_type == 4;

			at += d->d_reclen;
			if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
				continue;
			if (is_dir) {
				int fd = adit_openat(l.pool, dirfd, d->d_name,
						     O_RDONLY | O_DIRECTORY, 0);

				TRUE(fd >= 0);
				removed += remove_below(fd);
				close_file(fd);
			}
			SAME(adit_unlinkat(l.pool, dirfd, d->d_name, is_dir ? AT_REMOVEDIR : 0), 0);
			removed++;
		}
	}
	SAME(n, 0);
	return removed;
}

static int compare_hashes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* By their hashes: 10^7 names are too many to keep. */
uint64_t count_entries(int dirfd)
{
	uint64_t room = 1024, n = 0, *hash = malloc(room * sizeof *hash);
	static char buf[1 << 16];
	ssize_t got;

	SAME(adit_lseek(l.pool, dirfd, 0, SEEK_SET), 0);
	while ((got = adit_getdents(l.pool, dirfd, buf, sizeof buf)) > 0) {
		for (ssize_t at = 0; at < got;) {
			const struct adit_dirent64 *d = (const void *)(buf + at);

			at += d->d_reclen;
			if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
				continue;
			if (n == room)
				hash = realloc(hash, (room *= 2) * sizeof *hash);
			if (!hash)
				abort();
			hash[n++] = adit__hash64(1, d->d_name, strlen(d->d_name));
		}
	}
	SAME(got, 0);
	qsort(hash, n, sizeof *hash, compare_hashes);
	for (uint64_t i = 1; i < n; i++)
		if (hash[i] == hash[i - 1])
			wrong(__FILE__, __LINE__, "a name is there twice");
	free(hash);
	return n;
}

void set_nlink(const char *path, uint32_t nlink)
{
	uint64_t ino = attr_of(path).ino;
	struct adit_inode_pm *ip;
	struct adit_op op;

	SAME(adit__op_begin_write(&op, l.fs), 0);
	adit__lock_inode(&op, ino, true);
	SAME(adit__cs_inode(op.cs, ino, &ip), 0);
	ip->nlink = put32(nlink);
	SAME(adit__cs_commit(op.cs), 0);
	adit__op_end(&op);
}

/* ---- the frame ------------------------------------------------------------------------------- */

static void make_pool(uint64_t bytes)
{
	const struct adit_mkfs_options options = {.size_bytes = bytes,
						  .assume = ADIT_ASSUME_PROCESS};

	l.memfd = memfd_create("limits", 0);
	TRUE(l.memfd >= 0);
	SAME(adit_mkfs_fd(l.memfd, &options), 0);
	open_pool();
}

/* Everything goes; then the pool is as empty as it was. */
static void nothing_lost(uint64_t blocks, uint64_t inodes)
{
	int root;

	l.fs->weak_hash_mask = 0;
	clean();
	reopen();
	root = open_file("/", O_RDONLY | O_DIRECTORY);
	(void)remove_below(root);
	close_file(root);
	reopen();
	clean();
	SAME(inodes_used(), inodes);
	SAME(accounted(), blocks);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static bool run(const struct test *t)
{
	double began = now();
	uint64_t blocks, inodes;
	bool failed;

	test_name = t->name;
	l.cases = 0;
	l.pool = NULL;
	rng = (l.seed * 0x9e3779b97f4a7c15ull + 1) | 1;
	failed = setjmp(out) != 0;
	if (!failed) {
		make_pool((l.soak ? t->large_mib : t->mib) * MIB);
		blocks = accounted();
		inodes = inodes_used();
		t->run();
		nothing_lost(blocks, inodes);
	}
	if (!failed)
		(void)adit_close(l.pool);
	close(l.memfd);
	printf("  %-12s %-50s %9llu cases %6.1f s%s\n", t->name, t->what,
	       (unsigned long long)l.cases, now() - began, failed ? "  FAILED" : "");
	return !failed;
}

int main(int argc, char **argv)
{
	const char *tier = getenv("ADIT_TIER"), *seed = getenv("ADIT_SEED"), *only = NULL;
	uint64_t ran = 0, failures = 0, cases = 0;
	struct proof *proof;
	int c;

	setvbuf(stdout, NULL, _IOLBF, 0);
	l.soak = tier && strcmp(tier, "soak") == 0;
	l.seed = seed ? strtoull(seed, NULL, 0) : 1;
	while ((c = getopt(argc, argv, "t:s:L")) != -1) {
		switch (c) {
		case 't':
			only = optarg;
			break;
		case 's':
			l.seed = strtoull(optarg, NULL, 0);
			break;
		case 'L':
			l.soak = true;
			break;
		default:
			return 2;
		}
	}
	proof = proof_begin("limits", "R27",
			    "every limit is reached, what lies beyond it is refused, and "
			    "nothing is lost afterwards");
	proof_seed(proof, l.seed);
	for (size_t i = 0; i < TESTS; i++) {
		if (only && strcmp(only, tests[i].name) != 0)
			continue;
		ran++;
		failures += !run(&tests[i]);
		proof_count(proof, tests[i].what, l.cases);
		cases += l.cases;
	}
	printf("limits: %llu kinds of limits, %llu results as they should be, %llu failures\n",
	       (unsigned long long)ran, (unsigned long long)cases, (unsigned long long)failures);
	if (!l.soak)
		proof_note(
			proof,
			"directories of 10^6 and 10^7 files and 1,000 fillings: scripts/soak only");
	return proof_end(proof, failures) || failures || !ran;
}
