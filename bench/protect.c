/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * protect.c - what keeping stray stores away costs (adit_open_options.protect): calls on a pool without protection,
 * with keys where the CPU has them, and with mprotect.
 *
 * Windows: how often a call gets the right to store, counted in the mprotect mode (both open them at the same
 * places). With keys each window is two WRPKRU.
 */
#include "bench.h"

#include <sys/stat.h>

#include "fs/pool.h"

#define ROUNDS	   40
#define OPS	   500u
#define SLOW_OPS   20u /* with mprotect */
#define POOL_BYTES (256ull << 20)
#define BLOCKS	   4096u

static const char *const modes[] = {"off", "keys", "mprotect"};

static struct side {
	struct adit_pool *pool;
	int dir, file, grow;
} side[3];
static struct side *on;
static uint8_t buffer[4096] __attribute__((aligned(4096)));
static char name[OPS][NAME_BYTES];

static int64_t do_create(unsigned i)
{
	int fd = adit_openat(on->pool, on->dir, name[i], O_CREAT | O_EXCL | O_WRONLY, 0644);

	return fd < 0 ? fd : adit_close_fd(on->pool, fd);
}
static int64_t do_stat(unsigned i)
{
	struct stat st;

	return adit_fstatat(on->pool, on->dir, name[i], &st, 0);
}
static int64_t do_open(unsigned i)
{
	int fd = adit_openat(on->pool, on->dir, name[i], O_RDONLY, 0);

	return fd < 0 ? fd : adit_close_fd(on->pool, fd);
}
static int64_t do_unlink(unsigned i)
{
	return adit_unlinkat(on->pool, on->dir, name[i], 0);
}
static int64_t do_read_64(unsigned i)
{
	return adit_pread(on->pool, on->file, buffer, 64, (off_t)(i * 64ull));
}
static int64_t do_read(unsigned i)
{
	return adit_pread(on->pool, on->file, buffer, 4096, (off_t)(i * 8 % BLOCKS * 4096ull));
}
static int64_t do_overwrite(unsigned i)
{
	return adit_pwrite(on->pool, on->file, buffer, 4096, (off_t)(i * 8 % BLOCKS * 4096ull));
}
static int64_t do_append(unsigned i)
{
	return adit_pwrite(on->pool, on->grow, buffer, 4096, (off_t)(i * 4096ull));
}

static struct row {
	const char *name;
	int64_t (*call)(unsigned i);
	struct series ns[3];
	double windows;
} rows[] = {
	{.name = "create, close", .call = do_create},
	{.name = "open, close", .call = do_open},
	{.name = "stat", .call = do_stat},
	{.name = "unlink", .call = do_unlink},
	{.name = "read 64 B", .call = do_read_64},
	{.name = "read 4 KiB", .call = do_read},
	{.name = "overwrite 4 KiB", .call = do_overwrite},
	{.name = "append 4 KiB", .call = do_append},
};
#define ROWS (sizeof rows / sizeof rows[0])

static void run(struct row *r, unsigned mode, bool counts)
{
	unsigned ops = mode == 2 ? SLOW_OPS : OPS;
	uint64_t windows;
	double begin;

	on = &side[mode];
	windows = on->pool->media.windows;
	begin = now_ns();
	for (unsigned i = 0; i < ops; i++)
		check(r->call(i), r->name);
	if (counts)
		series_add(&r->ns[mode], (now_ns() - begin) / ops);
	if (mode == 2)
		r->windows = (double)(on->pool->media.windows - windows) / ops;
}

static bool prepare(unsigned mode)
{
	struct adit_open_options o = {.assume = ADIT_ASSUME_MEMORY,
				      .protect = ADIT_PROTECT_OFF + (int)mode};
	struct side *s = &side[mode];
	struct adit_pool *first;
	int rc;

	snprintf(strrchr(bench_pool, '/'), 20, "/pool-%s", modes[mode]);
	pool_make(POOL_BYTES);
	/* Page tables are filled by stores: not through a protected mapping. */
	first = pool_open();
	check(adit_close(first), "adit_close");
	rc = adit_open(bench_pool, &o, &s->pool);
	if (rc == -EOPNOTSUPP)
		return false;
	check(rc, "adit_open");
	check(adit_mkdir(s->pool, "names", 0755), "adit_mkdir");
	s->dir = adit_openat(s->pool, AT_FDCWD, "names", O_RDONLY | O_DIRECTORY, 0);
	s->file = adit_openat(s->pool, AT_FDCWD, "file", O_CREAT | O_RDWR, 0644);
	s->grow = adit_openat(s->pool, AT_FDCWD, "grow", O_CREAT | O_RDWR, 0644);
	for (unsigned i = 0; i < BLOCKS; i++)
		check(adit_pwrite(s->pool, s->file, buffer, 4096, (off_t)(i * 4096ull)),
		      "adit_pwrite");
	return true;
}

static void report(const struct row *r)
{
	double best[3];

	for (unsigned mode = 0; mode < 3; mode++)
		best[mode] = series_best(&r->ns[mode]);
	printf("%-18s %9.0f", r->name, best[0]);
	if (side[1].pool != NULL)
		printf(" %9.0f %+8.1f", best[1], (best[1] / best[0] - 1) * 100);
	else
		printf(" %9s %8s", "-", "-");
	printf(" %9.0f %9.1f\n", best[2], r->windows);
	json_begin_row(r->name);
	json_number("off_ns", best[0]);
	if (side[1].pool != NULL)
		json_number("keys_ns", best[1]);
	json_number("mprotect_ns", best[2]);
	json_number("windows", r->windows);
	json_end_row();
}

int main(int argc, char **argv)
{
	bench_begin(argc, argv, "protect");
	for (unsigned i = 0; i < OPS; i++)
		make_name(name[i], i);
	for (unsigned mode = 0; mode < 3; mode++)
		if (!prepare(mode))
			printf("this CPU has no protection keys\n");
	for (unsigned round = 0; round <= ROUNDS; round++)
		for (unsigned mode = 0; mode < 3; mode++) {
			for (size_t i = 0; i < ROWS && side[mode].pool != NULL; i++)
				run(&rows[i], mode, round > 0);
			if (side[mode].pool != NULL)
				check(adit_ftruncate(side[mode].pool, side[mode].grow, 0),
				      "adit_ftruncate");
		}
	printf("stray stores kept away from a pool of %llu MiB, best of %d rounds\n\n",
	       POOL_BYTES >> 20, ROUNDS);
	printf("%-18s %9s %9s %8s %9s %9s\n", "", "off", "keys", "", "mprotect", "windows");
	printf("%-18s %9s %9s %8s %9s %9s\n", "call", "ns", "ns", "%", "ns", "a call");
	for (size_t i = 0; i < ROWS; i++)
		report(&rows[i]);
	for (unsigned mode = 0; mode < 3; mode++)
		check(adit_close(side[mode].pool), "adit_close");
	bench_end();
	return 0;
}
