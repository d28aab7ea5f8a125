/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crashed.c - images of a pool after a power failure, for reader.py: what was flushed and fenced, and
 * nothing else, so that everything since the last checkpoint is in the log only.
 *
 *	crashed POOL OUT	opens POOL, works on it, writes OUT.0, OUT.1, ...
 *	crashed POOL OUT small	small changes only, one image: OUT.0
 *
 * An image is written at some fences inside of operations: also where a call that takes many records
 * is half done and an intent says so. The recording build's hooks (media/record.h) see every flush and
 * fence; one thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <adit/adit.h>

#include "media/pmem.h"
#include "media/record.h"

#ifndef RWF_ATOMIC
#define RWF_ATOMIC 0x40 /* since Linux 6.11 */
#endif

#define BLOCK 4096
#define PIECES 1200 /* extents of the file that is collapsed */
#define RANGES_MAX 65536u

static struct {
	uint8_t *durable;
	const uint8_t *base;
	uint64_t bytes;
	struct { uint64_t offset, len; } range[RANGES_MAX]; /* on their way */
	unsigned ranges;
	unsigned every;	/* write an image at each n-th fence; 0: none */
	unsigned fences, images;
	const char *out;
} record;

static _Noreturn void die(const char *what, int err)
{
	fprintf(stderr, "crashed: %s: %s\n", what, strerror(err));
	exit(1);
}

static long check(long rc, const char *what)
{
	if (rc < 0)
		die(what, (int)-rc);
	return rc;
}

static void write_image(void)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof path, "%s.%u", record.out, record.images++);
	f = fopen(path, "wb");
	if (f == NULL || fwrite(record.durable, 1, record.bytes, f) != record.bytes || fclose(f) != 0)
		die(path, errno);
}

static void on_lines(struct adit_pm *pm, const void *addr, size_t len)
{
	uint64_t offset = (uint64_t)((const uint8_t *)addr - pm->base);

	record.base = pm->base;
	if (record.ranges == RANGES_MAX)
		die("more ranges than expected", ENOSPC);
	/* A flush takes whole lines. */
	record.range[record.ranges].offset = offset & ~63ull;
	record.range[record.ranges++].len = ((offset + len + 63) & ~63ull) - (offset & ~63ull);
}

static void on_nt(struct adit_pm *pm, const void *addr, size_t len)
{
	uint64_t offset = (uint64_t)((const uint8_t *)addr - pm->base);

	record.base = pm->base;
	if (record.ranges == RANGES_MAX)
		die("more ranges than expected", ENOSPC);
	record.range[record.ranges].offset = offset;
	record.range[record.ranges++].len = len;
}

static void on_fence(struct adit_pm *pm)
{
	for (unsigned i = 0; i < record.ranges; i++)
		memcpy(record.durable + record.range[i].offset, pm->base + record.range[i].offset,
		       record.range[i].len);
	record.ranges = 0;
	if (record.every != 0 && ++record.fences % record.every == 0)
		write_image();
}

static void on_store(struct adit_pm *pm, const void *addr, size_t len)
{
	(void)pm;
	(void)addr;
	(void)len;
}

static struct adit_record_hooks hooks = {on_store, on_nt, on_lines, on_fence};

/* What the pool holds when recording begins. */
static void begin(const char *path)
{
	FILE *f = fopen(path, "rb");

	if (f == NULL || fseek(f, 0, SEEK_END) != 0)
		die(path, errno);
	record.bytes = (uint64_t)ftell(f);
	rewind(f);
	record.durable = malloc(record.bytes);
	if (record.durable == NULL || fread(record.durable, 1, record.bytes, f) != record.bytes)
		die(path, errno);
	fclose(f);
	adit__record = &hooks;
}

static int make(struct adit_pool *pool, const char *path)
{
	return (int)check(adit_openat(pool, AT_FDCWD, path, O_RDWR | O_CREAT, 0640), path);
}

/* Each kind of small change. */
static void small_changes(struct adit_pool *pool)
{
	char name[64], value[5000];
	int fd;

	memset(value, 'v', sizeof value);
	check(adit_mkdir(pool, "/many", 0755), "mkdir");
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof name, "/many/name-%d", i);
		fd = make(pool, name);
		check(adit_pwrite(pool, fd, value, (size_t)i * 20, 0), "pwrite");
		check(adit_close_fd(pool, fd), "close");
	}
	for (int i = 0; i < 200; i += 3) {
		snprintf(name, sizeof name, "/many/name-%d", i);
		check(adit_unlink(pool, name), "unlink");
	}
	check(adit_rename(pool, "/many/name-1", "/many/name-2"), "rename");
	check(adit_link(pool, "/many/name-4", "/another"), "link");
	check(adit_symlink(pool, "many/name-4", "/short"), "symlink");
	memset(name, 't', sizeof name);
	value[300] = 0;
	check(adit_symlink(pool, value, "/long"), "symlink");
	check(adit_mknod(pool, "/device", S_IFCHR | 0600, 0x103), "mknod");
	check(adit_setxattr(pool, "/another", "user.small", "x", 1, 0), "setxattr");
	value[300] = 'v';
	check(adit_setxattr(pool, "/another", "user.large", value, sizeof value, 0), "setxattr");
	fd = make(pool, "/orphan");
	check(adit_pwrite(pool, fd, value, sizeof value, 0), "pwrite");
	check(adit_unlink(pool, "/orphan"), "unlink");
	fd = make(pool, "/overwritten");
	check(adit_pwrite(pool, fd, value, sizeof value, 0), "pwrite");
	check(adit_pwritev2(pool, fd, &(struct iovec){name, sizeof name}, 1, 1000, RWF_ATOMIC), "pwritev2");
	check(adit_fallocate(pool, fd, FALLOC_FL_KEEP_SIZE, 0, 20 * BLOCK), "fallocate");
}

/* Changes that take many records. */
static void large_changes(struct adit_pool *pool, int fd)
{
	record.every = 3;
	check(adit_fallocate(pool, fd, FALLOC_FL_COLLAPSE_RANGE, BLOCK, 2 * BLOCK), "collapse");
	check(adit_fallocate(pool, fd, FALLOC_FL_INSERT_RANGE, 10 * BLOCK, BLOCK), "insert");
	check(adit_fallocate(pool, fd, FALLOC_FL_ZERO_RANGE, 100 * BLOCK, 1800l * BLOCK), "zero");
	check(adit_ftruncate(pool, fd, 3 * BLOCK + 17), "truncate");
	record.every = 0;
}

int main(int argc, char **argv)
{
	struct adit_open_options options = {.assume = ADIT_ASSUME_MEMORY};
	struct adit_pool *pool;
	char block[BLOCK];
	bool small = argc == 4 && strcmp(argv[3], "small") == 0;
	int fd;

	if (argc != 3 && !small)
		die("usage: crashed POOL OUT [small]", EINVAL);
	record.out = argv[2];
	check(adit_open(argv[1], &options, &pool), argv[1]);
	begin(argv[1]);
	fd = make(pool, "/pieces");
	for (int i = 0; i < (small ? 6 : PIECES); i++) {
		memset(block, 'a' + i % 26, sizeof block);
		check(adit_pwrite(pool, fd, block, sizeof block, (off_t)i * 2 * BLOCK), "pwrite");
	}
	record.every = small ? 0 : 200;
	small_changes(pool);
	write_image();
	if (!small) {
		large_changes(pool, fd);
		write_image();
	}
	printf("%u images\n", record.images);
	adit__record = NULL;
	check(adit_close(pool), "close");
	free(record.durable);
	return 0;
}
