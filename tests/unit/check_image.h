/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool with something of everything, made once as an image; private copies of it to damage, and
 * what its files read like. For the tests of the check: test_check.c, test_check_damage.c.
 */
#ifndef ADIT_TESTS_UNIT_CHECK_IMAGE_H
#define ADIT_TESTS_UNIT_CHECK_IMAGE_H

#include "pool.h"

#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/check.h"
#include "core/file.h"
#include "core/inode.h"
#include "core/namei.h"
#include "core/tree.h"
#include "core/xattr.h"

#define POOL_BYTES (12u << 20)
#define FILES_MAX 1024

/* ---- a pool with something of everything ------------------------------------ */

struct known {
	uint64_t ino;
	uint32_t generation;
	uint32_t mode;
	uint64_t size;
	uint32_t crc; /* of contents, or of the link's target */
};
static struct known known[FILES_MAX];
static unsigned nknown;
static uint8_t buffer[1 << 20];
static int image_fd = -1;
/* What the damage was, for whoever reads a failure. */
static char what[200];

static inline uint64_t make(struct adit_fs *fs, uint64_t dir, const char *name, uint32_t mode,
		     const char *link)
{
	struct adit_create c = {.mode = mode, .uid = 7, .gid = 8, .rdev = 0x100000003ull,
				.link = link, .link_len = link ? strlen(link) : 0};
	struct adit_id id = {0};
	int err = adit__create(fs, dir, name, strlen(name), &c, NULL, &id);

	if (err)
		fail_msg("create: error %d %s", err, what);
	return id.ino;
}

static inline void put(struct adit_fs *fs, uint64_t ino, uint64_t offset, size_t len)
{
	struct adit_iovec v = {buffer, len};

	for (size_t i = 0; i < len; i++)
		buffer[i] = (uint8_t)((i + offset) * 131 + ino * 17 + (i >> 9));
	if (adit__file_write(fs, ino, &v, 1, &offset, 0) != (int64_t)len)
		fail_msg("write of %zu bytes failed %s", len, what);
}

static inline void fill_names(struct adit_fs *fs, uint64_t dir, unsigned n)
{
	char name[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "file-with-a-longer-name-%06u", i);
		put(fs, make(fs, dir, name, S_IFREG | 0644, NULL), 0, i % 5 == 0 ? 40 : 1 + i % 90);
	}
}

static inline void fill_files(struct adit_fs *fs, uint64_t dir)
{
	static char target[1000];
	uint64_t ino = make(fs, dir, "holes", S_IFREG | 0600, NULL);

	for (unsigned i = 0; i < 400; i++)
		put(fs, ino, (uint64_t)i * 3 * ADIT_BLOCK, 1 + i * 7 % 4000);
	ino = make(fs, dir, "few extents", S_IFREG | 0600, NULL);
	put(fs, ino, 0, 10000);
	put(fs, ino, 100 * ADIT_BLOCK, 5000);
	assert_int_equal(adit__file_fallocate(fs, ino, FALLOC_FL_KEEP_SIZE, 200 * ADIT_BLOCK,
					      8 * ADIT_BLOCK), 0);
	put(fs, make(fs, dir, "large", S_IFREG | 0600, NULL), 0, 700000);
	make(fs, dir, "empty", S_IFREG | 0600, NULL);
	make(fs, dir, "short link", S_IFLNK | 0777, "over/there");
	memset(target, 'x', sizeof target - 1);
	make(fs, dir, "long link", S_IFLNK | 0777, target);
	make(fs, dir, "fifo", S_IFIFO | 0600, NULL);
	make(fs, dir, "null", S_IFCHR | 0666, NULL);
	make(fs, dir, "disk", S_IFBLK | 0660, NULL);
}

static inline void fill_attributes(struct adit_fs *fs, uint64_t ino)
{
	char name[64];

	for (unsigned i = 0; i < 60; i++) {
		snprintf(name, sizeof name, "user.attribute-%u", i);
		memset(buffer, (int)i, 3000);
		assert_int_equal(adit__setxattr(fs, ino, name, buffer, i % 7 == 0 ? 3000 : 20 + i * 4,
						0), 0);
	}
}

static inline int remember(void *arg, uint64_t cookie, const void *name, size_t len,
		    const struct adit_dirent *de)
{
	struct adit_fs *fs = arg;
	struct adit_attr a;
	struct known *k;

	(void)cookie, (void)name, (void)len;
	assert_true(nknown < FILES_MAX);
	assert_int_equal(adit__getattr(fs, de->ino, &a), 0);
	k = &known[nknown++];
	*k = (struct known){.ino = a.ino, .generation = a.generation, .mode = a.mode,
			    .size = a.size};
	return 0;
}

/* 0: reads as it did. */
static inline int contents(struct adit_fs *fs, const struct known *k, uint32_t *crc)
{
	struct adit_iovec v = {buffer, sizeof buffer};
	uint64_t at = 0;
	int64_t n = 0;

	*crc = 0;
	if (ADIT_S_ISLNK(k->mode)) {
		n = adit__readlink(fs, k->ino, buffer, sizeof buffer);
		*crc = n > 0 ? adit__crc32c(0, buffer, (size_t)n) : 0;
		return n < 0 ? (int)n : 0;
	}
	if (!ADIT_S_ISREG(k->mode))
		return 0;
	while (at < k->size && (n = adit__file_read(fs, k->ino, &v, 1, at)) > 0) {
		*crc = adit__crc32c(*crc, buffer, (size_t)n);
		at += (uint64_t)n;
	}
	return n < 0 ? (int)n : 0;
}

static inline void fill(struct adit_fs *fs)
{
	uint64_t dir[6], ino;
	char name[8];

	dir[0] = make(fs, ADIT_INO_ROOT, "many", S_IFDIR | 0755, NULL);
	fill_names(fs, dir[0], 300);
	dir[1] = make(fs, ADIT_INO_ROOT, "kinds", S_IFDIR | 02755, NULL);
	fill_files(fs, dir[1]);
	dir[2] = make(fs, ADIT_INO_ROOT, "few", S_IFDIR | 0700, NULL);
	ino = make(fs, dir[2], "a", S_IFREG | 0600, NULL);
	put(fs, ino, 0, 100);
	make(fs, dir[2], "b", S_IFREG | 0600, NULL);
	assert_int_equal(adit__link(fs, ino, dir[2], "c", 1), 0);
	assert_int_equal(adit__link(fs, ino, dir[1], "c", 1), 0);
	fill_attributes(fs, ino);
	for (unsigned i = 3; i < 6; i++) {
		snprintf(name, sizeof name, "d%u", i);
		dir[i] = make(fs, dir[i - 1], name, S_IFDIR | 0755, NULL);
		put(fs, make(fs, dir[i], "file", S_IFREG | 0644, NULL), 0, 5000 * i);
	}
	assert_int_equal(adit__setxattr(fs, dir[4], "user.one", "1", 1, 0), 0);
	/* Freed slots and blocks. */
	for (unsigned i = 0; i < 60; i += 3) {
		char gone[64];

		snprintf(gone, sizeof gone, "file-with-a-longer-name-%06u", i);
		assert_int_equal(adit__unlink(fs, dir[0], gone, strlen(gone)), 0);
	}
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(adit__readdir(fs, dir[i], 0, remember, fs), 0);
	for (unsigned i = 0; i < nknown; i++)
		assert_int_equal(contents(fs, &known[i], &known[i].crc), 0);
}

static inline void say_finding(void *arg, const struct adit_check_finding *f)
{
	char text[400];

	(void)arg;
	adit__check_describe(f, text, sizeof text);
	fprintf(stderr, "  pass %u: %s\n", f->pass, text);
}

static inline void assert_clean(struct adit_fs *fs, const char *when)
{
	char text[400];
	int n = adit__check_quiet(fs, text, sizeof text);

	if (n != 0)
		fail_msg("%s: %d findings, the first: %s", when, n, text);
}

/* Three groups of 4 MiB. */
static inline int make_image(void **state)
{
	struct adit_mkfs_params params = {.pool_bytes = POOL_BYTES, .hash_seed = 42,
					  .root_mode = 0755, .uuid = {1, 2, 3}, .group_blocks = 1024};
	struct pool p = {.pm = {.size_bytes = POOL_BYTES, .ops = &pool_pm_ops}};

	(void)state;
	p.reporter = (struct adit_reporter){pool_line, &p};
	p.pm.base = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(p.pm.base, MAP_FAILED);
	assert_int_equal(adit__core_mkfs(&p.pm, &adit__env, &p.reporter, &params), 0);
	pool_open(&p);
	assert_int_equal(p.fs->groups, 3);
	fill(p.fs);
	assert_clean(p.fs, "before the checkpoint");
	assert_int_equal(adit__core_close(p.fs), 0);
	image_fd = memfd_create("image", 0);
	assert_true(image_fd >= 0);
	assert_int_equal(pwrite(image_fd, p.pm.base, POOL_BYTES, 0), POOL_BYTES);
	munmap(p.pm.base, POOL_BYTES);
	return 0;
}

static inline int drop_image(void **state)
{
	(void)state;
	close(image_fd);
	return 0;
}

/* ---- one damaged pool --------------------------------------------------------- */

static inline void map_image(struct pool *p)
{
	memset(p, 0, sizeof *p);
	p->reporter = (struct adit_reporter){pool_line, p};
	p->pm.base = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, image_fd, 0);
	assert_ptr_not_equal(p->pm.base, MAP_FAILED);
	p->pm.size_bytes = POOL_BYTES;
	p->pm.ops = &pool_pm_ops;
}

static inline int check(struct pool *p, unsigned flags, struct adit_check_result *res, bool say)
{
	struct adit_check_options o = {.flags = flags, .finding = say ? say_finding : NULL};

	return adit__check_media(&p->pm, &adit__env, &p->reporter, &o, res);
}

static inline void open_image(struct pool *p)
{
	map_image(p);
	pool_open(p);
}

static inline void close_image(struct pool *p)
{
	adit__core_abandon(p->fs);
	munmap(p->pm.base, POOL_BYTES);
}

/* How many known files are not what they were; *which: one of them. */
static inline unsigned touched_files(struct adit_fs *fs, uint64_t *which)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nknown; i++) {
		struct adit_attr a;
		uint32_t crc;

		if (adit__getattr(fs, known[i].ino, &a) == 0 &&
		    a.generation == known[i].generation && a.mode == known[i].mode &&
		    (ADIT_S_ISDIR(a.mode) ||
		     (a.size == known[i].size && contents(fs, &known[i], &crc) == 0 &&
		      crc == known[i].crc)))
			continue;
		*which = known[i].ino;
		n++;
	}
	return n;
}

static inline void work_on_it(struct adit_fs *fs)
{
	uint64_t dir = make(fs, ADIT_INO_ROOT, "made afterwards", S_IFDIR | 0755, NULL);

	for (unsigned i = 0; i < 20; i++) {
		char name[16];

		snprintf(name, sizeof name, "%u", i);
		put(fs, make(fs, dir, name, S_IFREG | 0644, NULL), 0, 1 + i * 999);
	}
	assert_int_equal(adit__unlink(fs, dir, "7", 1), 0);
}


static inline uint64_t lookup(struct adit_fs *fs, uint64_t dir, const char *name)
{
	struct adit_id id;

	assert_int_equal(adit__lookup(fs, dir, name, strlen(name), &id), 0);
	return id.ino;
}

#endif
