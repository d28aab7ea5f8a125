/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * images.c - what today's code does with the golden images: it opens them for writing, changes
 * them, and they are clean; it refuses, by name, features it does not know, as docs/format.md
 * section 13 says; an image that was cut short, or lost what lies behind some border, is refused
 * or served without a crash and without an invented name.
 *
 *	images OUT_DIRECTORY IMAGE.img.gz...
 *
 * The changed images go to OUT_DIRECTORY, for the second reader (golden.sh).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "adit/adit.h"
#include "core/check.h"
#include "core/core.h"
#include "fs/env.h"
#include "fs/pool.h"
#include "proof.h"
#include "subject.h"

#define NAMES_MAX 4096

static struct {
	const char *name; /* of the image under way */
	uint8_t *bytes;	  /* as it is kept */
	size_t size;
	char *path[NAMES_MAX]; /* what is in it */
	unsigned paths;
	char report[512];
	uint64_t features, cuts, refused, served, damaged, changes;
} g;

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...)
{
	va_list args;

	printf("images: FAILED: %s: ", g.name);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\nagain: images OUT_DIRECTORY %s\n", g.name);
	exit(1);
}

static void need(long rc, const char *what)
{
	if (rc < 0)
		die("%s: %s", what, strerror((int)-rc));
}

static void keep_report(void *ctx, const char *line)
{
	(void)ctx;
	snprintf(g.report, sizeof g.report, "%s", line);
}

/* ---- images ---------------------------------------------------------------------------------- */

static void load(const char *path)
{
	char command[4200];
	size_t room = 64 << 20, n;
	FILE *f;

	g.name = path;
	g.size = 0;
	g.bytes = realloc(g.bytes, room);
	snprintf(command, sizeof command, "gunzip -c '%s'", path);
	f = popen(command, "r");
	if (!f || !g.bytes)
		die("cannot be read");
	while ((n = fread(g.bytes + g.size, 1, room - g.size, f)) > 0)
		g.size += n;
	if (pclose(f) != 0 || g.size < ADIT_POOL_MIN_BYTES)
		die("cannot be unpacked");
}

/* A copy to work on: the first `keep` bytes, then zeros up to `size`. */
static int copy_image(size_t keep, size_t size)
{
	int fd = memfd_create("image", 0);

	if (fd < 0 || ftruncate(fd, (off_t)size) != 0 ||
	    pwrite(fd, g.bytes, keep, 0) != (ssize_t)keep)
		die("no memory for a copy");
	return fd;
}

static int open_image(int fd, unsigned flags, struct adit_pool **pool)
{
	const struct adit_open_options options = {
		.flags = flags, .assume = ADIT_ASSUME_PROCESS, .report = keep_report};

	g.report[0] = '\0';
	return adit_open_fd(fd, &options, pool);
}

static void must_be_clean(struct adit_pool *pool, const char *when)
{
	char text[400];
	int n = adit__check_quiet(adit__pool_fs(pool), text, sizeof text);

	if (n != 0)
		die("%s: check: %d findings, the first: %s", when, n, text);
}

/* ---- every path ------------------------------------------------------------------------------ */

/* Called for each path; errors of the walk itself go to `damage`. */
typedef void (*visit_fn)(struct adit_pool *, const char *path, unsigned char type);
typedef void (*damage_fn)(const char *path, long error);

static void walk(struct adit_pool *pool, const char *path, visit_fn visit, damage_fn damage)
{
	int fd = adit_openat(pool, AT_FDCWD, path[0] ? path : "/", O_RDONLY | O_DIRECTORY, 0);
	char buf[4096];
	ssize_t n = fd;

	while (fd >= 0 && (n = adit_getdents(pool, fd, buf, sizeof buf)) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct adit_dirent64 *d = (const void *)(buf + at);
			char below[4096];

			at += d->d_reclen;
			if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
				continue;
			if (snprintf(below, sizeof below, "%s/%s", path, d->d_name) >=
			    (int)sizeof below)
				die("a path that never ends");
			visit(pool, below, d->d_type);
			if (d->d_type == 4)
				walk(pool, below, visit, damage);
		}
	}
	if (n < 0)
		damage(path, n);
	if (fd >= 0)
		(void)adit_close_fd(pool, fd);
}

static void no_damage(const char *path, long error)
{
	die("%s: %s", path, strerror((int)-error));
}

static void remember(struct adit_pool *pool, const char *path, unsigned char type)
{
	(void)pool, (void)type;
	if (g.paths == NAMES_MAX)
		die("more than %u files", NAMES_MAX);
	g.path[g.paths++] = strdup(path);
}

static void remember_paths(void)
{
	struct adit_pool *pool;
	int fd = copy_image(g.size, g.size);

	for (unsigned i = 0; i < g.paths; i++)
		free(g.path[i]);
	g.paths = 0;
	need(open_image(fd, ADIT_OPEN_RDONLY, &pool), "open");
	walk(pool, "", remember, no_damage);
	need(adit_close(pool), "close");
	close(fd);
}

/* ---- changed --------------------------------------------------------------------------------- */

/* Something to each of the old files, whatever it is; errors must be what its type has. */
static void change(struct adit_pool *pool, const char *path, unsigned i)
{
	char other[4200];
	struct stat st;
	int fd;

	need(adit_lstat(pool, path, &st), path);
	snprintf(other, sizeof other, "/moved/%u", i);
	if (S_ISREG(st.st_mode)) {
		fd = adit_openat(pool, AT_FDCWD, path, O_RDWR, 0);
		need(fd, path);
		need(adit_pwrite(pool, fd, "changed", 7, st.st_size / 2), "pwrite");
		need(adit_pwrite(pool, fd, "longer", 6, st.st_size + 5000),
		     "pwrite beyond the end");
		need(adit_fallocate(pool, fd, 0x20, 0, 4096), "insert");
		need(adit_fsetxattr(pool, fd, "user.added", path, strlen(path), 0), "setxattr");
		need(adit_close_fd(pool, fd), "close");
		need(adit_link(pool, path, other), "link");
	} else if (!S_ISDIR(st.st_mode)) {
		need(adit_rename(pool, path, other), "rename");
	}
	if (i % 3 == 0 && S_ISREG(st.st_mode))
		need(adit_unlink(pool, path), "unlink");
	g.changes++;
}

static void make_more(struct adit_pool *pool)
{
	char name[60];

	need(adit_mkdir(pool, "/more", 0755), "mkdir");
	for (unsigned i = 0; i < 300; i++) {
		int fd;

		snprintf(name, sizeof name, "/more/a file of today, number %u", i);
		fd = adit_openat(pool, AT_FDCWD, name, O_CREAT | O_WRONLY, 0644);
		need(fd, name);
		need(adit_write(pool, fd, name, strlen(name)), "write");
		need(adit_close_fd(pool, fd), "close");
		g.changes++;
	}
}

static void save(int fd, const char *directory)
{
	const char *base = strrchr(g.name, '/') ? strrchr(g.name, '/') + 1 : g.name;
	uint8_t *bytes = malloc(g.size);
	char path[4200];
	FILE *f;

	snprintf(path, sizeof path, "%s/%.*s-changed.img", directory, (int)strcspn(base, "."),
		 base);
	f = fopen(path, "w");
	if (!f || !bytes || pread(fd, bytes, g.size, 0) != (ssize_t)g.size ||
	    fwrite(bytes, 1, g.size, f) != g.size || fclose(f) != 0)
		die("cannot write %s", path);
	free(bytes);
}

static void test_changed(const char *directory)
{
	int fd = copy_image(g.size, g.size);
	struct adit_pool *pool;

	need(open_image(fd, 0, &pool), "open for writing");
	must_be_clean(pool, "opened for writing");
	need(adit_mkdir(pool, "/moved", 0755), "mkdir");
	for (unsigned i = 0; i < g.paths; i++)
		change(pool, g.path[i], i);
	make_more(pool);
	must_be_clean(pool, "changed");
	need(adit_close(pool), "close");
	save(fd, directory);
	need(open_image(fd, 0, &pool), "open what was changed");
	must_be_clean(pool, "changed and opened again");
	need(adit_close(pool), "close");
	close(fd);
}

/* ---- features -------------------------------------------------------------------------------- */

/* Both copies of the superblock, changed and sealed again. */
static int with_super(size_t offset, uint64_t set, size_t len)
{
	int fd = copy_image(g.size, g.size);

	for (unsigned i = 0; i < 2; i++) {
		off_t at = i ? (off_t)ADIT_SUPER_COPY * ADIT_BLOCK : 0;
		uint8_t super[ADIT_BLOCK];
		uint32_t crc;

		memcpy(super, g.bytes + at, sizeof super);
		for (size_t k = 0; k < len; k++)
			super[offset + k] = (uint8_t)(set >> (8 * k));
		crc = adit__crc32c(ADIT_MAGIC_SUPER, super + ADIT_SUPER_SEAL_FROM,
				   sizeof super - ADIT_SUPER_SEAL_FROM);
		for (unsigned k = 0; k < 4; k++)
			super[k] = (uint8_t)(crc >> (8 * k));
		if (pwrite(fd, super, sizeof super, at) != sizeof super)
			die("pwrite");
	}
	return fd;
}

static uint32_t sum_of(int fd)
{
	uint8_t *bytes = mmap(NULL, g.size, PROT_READ, MAP_SHARED, fd, 0);
	uint32_t crc;

	if (bytes == MAP_FAILED)
		die("mmap");
	crc = adit__crc32c(0, bytes, g.size);
	munmap(bytes, g.size);
	return crc;
}

/* want: what opening says; a refusal names the feature and changes nothing. */
static void try_feature(size_t offset, unsigned bit, unsigned flags, int want)
{
	int fd = with_super(offset, 1ull << bit, 8), rc;
	uint32_t before = sum_of(fd);
	struct adit_pool *pool;
	char number[40];

	rc = open_image(fd, flags, &pool);
	if (rc != want)
		die("word at %zu, bit %u: open returns %d, not %d", offset, bit, rc, want);
	snprintf(number, sizeof number, "%#llx", 1ull << bit);
	if (rc < 0 && !strstr(g.report, number))
		die("word at %zu, bit %u: \"%s\" does not name it", offset, bit, g.report);
	if (rc == 0) {
		struct adit_pool_info info;

		if (!(flags & ADIT_OPEN_RDONLY))
			need(adit_mkdir(pool, "/made", 0755), "mkdir");
		must_be_clean(pool, "with a feature");
		need(adit_info(pool, &info), "info");
		if ((info.compat | info.ro_compat | info.incompat) != 1ull << bit)
			die("word at %zu, bit %u: info does not show it", offset, bit);
		need(adit_close(pool), "close");
	}
	if ((rc < 0 || flags & ADIT_OPEN_RDONLY) && sum_of(fd) != before)
		die("word at %zu, bit %u: the image was changed", offset, bit);
	close(fd);
	g.features++;
}

static void test_features(void)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		try_feature(offsetof(struct adit_super_pm, compat), bit, 0, 0);
		try_feature(offsetof(struct adit_super_pm, compat), bit, ADIT_OPEN_RDONLY, 0);
		try_feature(offsetof(struct adit_super_pm, ro_compat), bit, 0, -EROFS);
		try_feature(offsetof(struct adit_super_pm, ro_compat), bit, ADIT_OPEN_RDONLY, 0);
		try_feature(offsetof(struct adit_super_pm, incompat), bit, 0, -EOPNOTSUPP);
		try_feature(offsetof(struct adit_super_pm, incompat), bit, ADIT_OPEN_RDONLY,
			    -EOPNOTSUPP);
	}
}

/* Later versions of the whole format, and a kernel that has the pool. */
static void test_version(void)
{
	struct adit_pool *pool;
	int fd, rc;

	for (unsigned bit = 1; bit < 32; bit++) {
		fd = with_super(offsetof(struct adit_super_pm, version), 1 | 1ull << bit, 4);
		rc = open_image(fd, bit % 2 ? ADIT_OPEN_RDONLY : 0, &pool);
		if (rc != -EOPNOTSUPP || !strstr(g.report, "version"))
			die("version with bit %u: open returns %d, \"%s\"", bit, rc, g.report);
		close(fd);
		g.features++;
	}
	fd = with_super(offsetof(struct adit_super_pm, owner), ADIT_OWNER_KERNEL, 4);
	rc = open_image(fd, 0, &pool);
	if (rc != -EBUSY)
		die("owned by a kernel: open returns %d", rc);
	close(fd);
}

/* ---- cut ------------------------------------------------------------------------------------- */

static bool is_refusal(long rc)
{
	return rc == -EUCLEAN || rc == -EBADMSG || rc == -EMEDIUMTYPE || rc == -EIO;
}

static size_t cut_at;
static bool names_may_be_older;

static void damaged(const char *path, long error)
{
	if (!is_refusal(error))
		die("cut at %zu: %s: %s", cut_at, path, strerror((int)-error));
	g.damaged++;
}

/* Everything that can be asked of a path gives an answer or says what is damaged. */
static void ask(struct adit_pool *pool, const char *path, unsigned char type)
{
	static uint8_t buf[65536];
	struct stat st;
	unsigned i;
	long rc;
	int fd;

	for (i = 0; i < g.paths && strcmp(g.path[i], path) != 0; i++) {
	}
	if (i == g.paths && !names_may_be_older)
		die("cut at %zu: \"%s\" was never there", cut_at, path);
	rc = adit_lstat(pool, path, &st);
	if (rc < 0)
		damaged(path, rc);
	rc = adit_llistxattr(pool, path, (char *)buf, sizeof buf);
	if (rc < 0)
		damaged(path, rc);
	if (type != 8)
		return;
	fd = adit_openat(pool, AT_FDCWD, path, O_RDONLY, 0);
	for (rc = fd; fd >= 0 && (rc = adit_read(pool, fd, buf, sizeof buf)) > 0;) {
	}
	if (rc < 0)
		damaged(path, rc);
	if (fd >= 0)
		(void)adit_close_fd(pool, fd);
}

static void try_open(int fd, unsigned flags, bool must_refuse)
{
	struct adit_pool *pool;
	int rc = open_image(fd, flags, &pool);

	g.cuts++;
	if (rc < 0) {
		if (!is_refusal(rc) && !(rc == -EINVAL && must_refuse))
			die("cut at %zu: open returns %s", cut_at, strerror(-rc));
		g.refused++;
		return;
	}
	if (must_refuse)
		die("cut at %zu: a file that is shorter than its pool was opened", cut_at);
	g.served++;
	walk(pool, "", ask, damaged);
	(void)adit_close(pool);
}

/* fsck's own way in, which does not need the pool to open: it ends, whatever it finds. */
static void check_it(int fd)
{
	struct adit_reporter reporter = {keep_report, NULL};
	struct adit_check_options options = {0};
	struct adit_check_result result;
	struct subject subject;
	uint8_t *base = mmap(NULL, g.size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	int rc;

	if (base == MAP_FAILED)
		die("mmap");
	subject_attach(&subject, base, g.size);
	rc = adit__check_media(&subject.pm, &adit__env, &reporter, &options, &result);
	if (rc < 0 && !is_refusal(rc))
		die("cut at %zu: check returns %s", cut_at, strerror(-rc));
	munmap(base, g.size);
}

/* From the end to the beginning, so that each image is made from the one before. */
struct cuts {
	int shorter; /* the file ends there */
	int zeros;   /* what lay behind reads as zeros */
	unsigned n;
};

static void try_cut(struct cuts *c, size_t at)
{
	uint8_t *bytes;
	int fd;

	cut_at = at;
	if (ftruncate(c->shorter, (off_t)at) != 0 ||
	    fallocate(c->zeros, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
		      (off_t)(g.size - at)) != 0)
		die("cannot cut");
	try_open(c->shorter, 0, true);
	try_open(c->shorter, ADIT_OPEN_RDONLY, true);
	try_open(c->zeros, ADIT_OPEN_RDONLY, false);
	check_it(c->zeros);
	if (c->n++ % 4 != 0)
		return;
	/* Opened for writing it changes: a copy. */
	bytes = mmap(NULL, g.size, PROT_READ, MAP_SHARED, c->zeros, 0);
	fd = memfd_create("copy", 0);
	if (bytes == MAP_FAILED || ftruncate(fd, (off_t)g.size) != 0 ||
	    pwrite(fd, bytes, at, 0) != (ssize_t)at)
		die("no memory for a copy");
	munmap(bytes, g.size);
	try_open(fd, 0, false);
	close(fd);
}

/* Every block, and within the first ones, where superblock, slots and root block lie, every fourth line. */
static void test_cuts(void)
{
	struct cuts c = {copy_image(g.size, g.size), copy_image(g.size, g.size), 0};

	names_may_be_older = strstr(g.name, "crashed") != NULL;
	for (size_t at = g.size - ADIT_BLOCK; at >= 12 * ADIT_BLOCK; at -= ADIT_BLOCK) {
		if (at / ADIT_BLOCK % 16 == 0)
			try_cut(&c, at + 256);
		try_cut(&c, at);
	}
	for (size_t at = 12 * ADIT_BLOCK; at > 0; at -= 4 * ADIT_LINE)
		try_cut(&c, at - 4 * ADIT_LINE);
	close(c.shorter);
	close(c.zeros);
}

int main(int argc, char **argv)
{
	struct proof *proof;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3) {
		fprintf(stderr, "usage: images OUT_DIRECTORY IMAGE.img.gz...\n");
		return 2;
	}
	proof = proof_begin("golden", "R28",
			    "pools of every format version are changed by today's code; unknown "
			    "features are refused by name; cut images are refused or served");
	for (int i = 2; i < argc; i++) {
		load(argv[i]);
		remember_paths();
		test_changed(argv[1]);
		test_features();
		test_version();
		test_cuts();
	}
	proof_count(proof, "golden images", (uint64_t)argc - 2);
	proof_count(proof, "changes made to them", g.changes);
	proof_count(proof, "feature bits and versions", g.features);
	proof_count(proof, "openings of cut images", g.cuts);
	proof_count(proof, "of these refused", g.refused);
	proof_count(proof, "of these served", g.served);
	proof_count(proof, "files of them that say they are damaged", g.damaged);
	printf("images: %d golden images: %llu changes, clean; %llu unknown features and versions; "
	       "%llu openings of "
	       "cut images: %llu refused, %llu served, %llu damaged files said so\n",
	       argc - 2, (unsigned long long)g.changes, (unsigned long long)g.features,
	       (unsigned long long)g.cuts, (unsigned long long)g.refused,
	       (unsigned long long)g.served, (unsigned long long)g.damaged);
	return proof_end(proof, 0) ? 1 : 0;
}
