/* SPDX-License-Identifier: BSD-3-Clause */
/* gallery.c - see gallery.h: copies, reading and comparing. gallery_make.c makes the image. */
#include "gallery.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/check.h"
#include "fs/guard.h"
#include "fs/pool.h"

struct gallery gallery;

const char *const gallery_place_name[PLACES] = {
	"superblock",
	"copy of the superblock",
	"checkpoint slot",
	"root block",
	"replica of the root block",
	"intents",
	"lane",
	"volatile region",
	"group header",
	"replica of a group header",
	"bitmap",
	"volatile bitmap",
	"inode table",
	"directory node",
	"extent node",
	"attribute node",
	"attribute value",
	"data",
	"free block",
};

/* ---- the library's mapping is ours --------------------------------------------------- */

void *__real_mmap64(void *, size_t, int, int, int, off_t);
void *__wrap_mmap64(void *, size_t, int, int, int, off_t);
int __real_munmap(void *, size_t);
int __wrap_munmap(void *, size_t);

void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	struct stat mine, theirs;

	if (gallery.base == NULL || fd < 0 || len != gallery.bytes || fstat(fd, &theirs) != 0 ||
	    fstat(gallery.fd, &mine) != 0 || mine.st_ino != theirs.st_ino ||
	    mine.st_dev != theirs.st_dev)
		return __real_mmap64(at, len, prot, flags, fd, offset);
	if (flags & MAP_FIXED)
		__real_munmap(at, len);
	return gallery.base;
}

int __wrap_munmap(void *at, size_t len)
{
	return gallery.base != NULL && at == gallery.base ? 0 : __real_munmap(at, len);
}

/* The same pool each time. */
ssize_t __wrap_getrandom(void *, size_t, unsigned);
ssize_t __wrap_getrandom(void *to, size_t len, unsigned flags)
{
	static uint64_t state;

	(void)flags;
	for (size_t i = 0; i < len; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		((uint8_t *)to)[i] = (uint8_t)(state >> 40);
	}
	return (ssize_t)len;
}

/* ---- copies ------------------------------------------------------------------------------ */

static void map(void *at, uint64_t bytes, int flags, int fd)
{
	if (__real_mmap64(at, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) != at)
		abort();
}

void gallery_reset(void)
{
	map(gallery.base, gallery.bytes, MAP_PRIVATE, gallery.fd);
	for (unsigned i = 0; i < gallery.files; i++)
		gallery.file[i].changed = false;
}

void gallery_keep(void)
{
	if (pwrite(gallery.fd, gallery.base, gallery.bytes, 0) != (ssize_t)gallery.bytes)
		abort();
}

/* Linux 6.6; not in older headers. */
struct poison_range {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#define POISON_FEATURE (1u << 14)
#define POISON_IOCTL   _IOWR(UFFDIO, 0x08, struct poison_range)

bool gallery_kernel_poison(void)
{
	struct uffdio_api api = {.api = UFFD_API, .features = POISON_FEATURE};

	gallery.uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);
	if (gallery.uffd >= 0 && ioctl(gallery.uffd, UFFDIO_API, &api) == 0)
		return true;
	gallery.uffd = 0;
	return false;
}

static void poison(uint8_t *page)
{
	struct uffdio_range range = {.start = (uintptr_t)page, .len = ADIT_BLOCK};
	struct uffdio_register what = {.range = range, .mode = UFFDIO_REGISTER_MODE_MISSING};
	struct poison_range p = {.range = range};

	if (ioctl(gallery.uffd, UFFDIO_REGISTER, &what) != 0 ||
	    madvise(page, ADIT_BLOCK, MADV_DONTNEED) != 0 ||
	    ioctl(gallery.uffd, POISON_IOCTL, &p) != 0)
		abort();
}

void gallery_spoil(uint64_t block)
{
	static int empty = -1;

	if (gallery.uffd > 0) {
		poison(gallery.base + block * ADIT_BLOCK);
		return;
	}
	if (empty < 0)
		empty = memfd_create("nothing", MFD_CLOEXEC);
	map(gallery.base + block * ADIT_BLOCK, ADIT_BLOCK, MAP_SHARED, empty);
}

void gallery_heal(uint64_t block)
{
	map(gallery.base + block * ADIT_BLOCK, ADIT_BLOCK, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static void on_report(void *ctx, const char *line)
{
	(void)ctx;
	gallery.reports++;
	snprintf(gallery.report, sizeof gallery.report, "%s", line);
}

int gallery_open(unsigned flags, struct adit_pool **pool)
{
	struct adit_open_options o = {.flags = flags, .report = on_report};

	gallery.reports = 0;
	return adit_open_fd(gallery.fd, &o, pool);
}

void gallery_abandon(struct adit_pool *pool)
{
	/* adit_close leaves a stopped pool as it is. */
	pool->fs->failed = true;
	(void)adit_close(pool);
}

/* ---- what a block's loss explains ------------------------------------------------------ */

bool gallery_shadow(const struct gallery_file *f, uint64_t block)
{
	uint64_t first = gallery.owner[block], n = 1;

	switch (gallery.place[block]) {
	case IN_VOLATILE: /* any file's lock may lie there */
		return true;
	case IN_INODES:
		n = ADIT_BLOCK / ADIT_INODE_BYTES;
		break;
	case IN_DIR_NODE:
	case IN_EXTENT_NODE:
	case IN_XATTR_NODE:
	case IN_XATTR_VALUE:
	case IN_DATA:
		break;
	default:
		return false;
	}
	if (gallery.owner[block] == ADIT_INO_ITABLE && gallery.place[block] == IN_EXTENT_NODE)
		return true; /* the inode table's own tree */
	for (unsigned i = 0; i < f->depth; i++)
		if (f->ino[i] >= first && f->ino[i] < first + n)
			return true;
	return false;
}

bool gallery_error_is_right(int64_t error)
{
	return error == -EIO || error == -EUCLEAN || error == -EBADMSG;
}

/* ---- reading --------------------------------------------------------------------------------- */

static uint8_t buffer[1 << 20];

/* Checksum of what is read; 0 or the error. */
static int64_t read_contents(struct adit_pool *pool, const struct gallery_file *f, uint32_t *crc)
{
	int64_t n, at = 0;
	int fd;

	*crc = 0;
	if (S_ISLNK(f->mode)) {
		n = adit_readlink(pool, f->path, (char *)buffer, sizeof buffer);
		*crc = n > 0 ? adit__crc32c(0, buffer, (size_t)n) : 0;
		return n < 0 ? n : 0;
	}
	if (!S_ISREG(f->mode) && !S_ISDIR(f->mode))
		return 0;
	fd = adit_openat(pool, AT_FDCWD, f->path, O_RDONLY, 0);
	if (fd < 0)
		return fd;
	do {
		n = S_ISDIR(f->mode) ? adit_getdents(pool, fd, buffer, sizeof buffer)
				     : adit_pread(pool, fd, buffer, sizeof buffer, at);
		if (n > 0)
			*crc = adit__crc32c(*crc, buffer, (size_t)n);
		at += n;
	} while (n > 0);
	(void)adit_close_fd(pool, fd);
	return n;
}

static int64_t read_attributes(struct adit_pool *pool, const struct gallery_file *f, uint32_t *crc)
{
	static char names[65536];
	int64_t len = adit_llistxattr(pool, f->path, names, sizeof names), n;

	*crc = 0;
	if (len < 0)
		return len;
	for (char *name = names; name < names + len; name += strlen(name) + 1) {
		n = adit_lgetxattr(pool, f->path, name, buffer, sizeof buffer);
		if (n < 0)
			return n;
		*crc = adit__crc32c(*crc, name, strlen(name));
		*crc = adit__crc32c(*crc, buffer, (size_t)n);
	}
	return 0;
}

void gallery_learn(struct adit_pool *pool)
{
	for (unsigned i = 0; i < gallery.files; i++) {
		struct gallery_file *f = &gallery.file[i];

		if (read_contents(pool, f, &f->contents) != 0 ||
		    read_attributes(pool, f, &f->attributes) != 0)
			abort();
	}
}

/* 0: as it was; 1: different; or the error. */
static int64_t read_file(struct adit_pool *pool, const struct gallery_file *f)
{
	uint32_t contents, attributes;
	int64_t err, err2;
	struct stat st;

	err = adit_lstat(pool, f->path, &st);
	if (err)
		return err;
	if (st.st_mode != f->mode || st.st_ino != f->ino[f->depth - 1] ||
	    (!S_ISDIR(f->mode) && (uint64_t)st.st_size != f->size))
		return 1;
	err = read_contents(pool, f, &contents);
	err2 = read_attributes(pool, f, &attributes);
	if ((!err && contents != f->contents) || (!err2 && attributes != f->attributes))
		return 1;
	return err ? err : err2;
}

void gallery_verify(struct adit_pool *pool, const uint64_t *hit, unsigned nhit,
		    struct gallery_verdict *v)
{
	*v = (struct gallery_verdict){0};
	for (unsigned i = 0; i < gallery.files; i++) {
		const struct gallery_file *f = &gallery.file[i];
		int64_t got = f->changed ? 0 : read_file(pool, f);
		bool expected = false;

		for (unsigned k = 0; k < nhit; k++)
			expected |= gallery_shadow(f, hit[k]);
		if (got == 0) {
			v->equal++;
			continue;
		}
		v->failed++;
		if (expected && gallery_error_is_right(got))
			continue;
		if (v->wrong++ == 0)
			snprintf(v->first, sizeof v->first, "%s: %s (%lld)", f->path,
				 got == 1 ? "reads differently" : "cannot be read", (long long)got);
	}
}

/* ---- the check ------------------------------------------------------------------------------ */

static void say(void *arg, const struct adit_check_finding *f)
{
	char text[400];

	(void)arg;
	adit__check_describe(f, text, sizeof text);
	printf("  check, pass %u: %s\n", f->pass, text);
}

static int check_media(struct adit_pool *p, unsigned flags, struct adit_check_result *res)
{
	struct adit_check_options o = {.flags = flags, .finding = getenv("ADIT_SAY") ? say : NULL};

	return adit__check_media(&p->media.pm, &adit__env, &p->reporter, &o, res);
}

static ADIT_NOINLINE int check_guarded(struct adit_pool *p, unsigned flags,
				       struct adit_check_result *res)
{
	int rc;

	ADIT_GUARD(p, rc, check_media(p, flags, res));
	return rc;
}

/* Of the leak checker, where there is one. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

int gallery_check(bool repair, uint64_t *left)
{
	struct adit_check_result res = {0};
	struct adit_pool p = {.reporter = {on_report, NULL}};
	int rc, fd = adit__fd_own(gallery.fd, false);

	gallery.reports = 0;
	/* Whoever jumps out of the check goes, and its memory with it. */
	if (__lsan_disable != NULL)
		__lsan_disable();
	rc = adit__media_open_fd(&p.media, fd, 0, 0, ADIT_DOMAIN_PROCESS);
	if (rc == 0) {
		rc = check_guarded(&p, repair ? ADIT_CHECK_REPAIR : 0, &res);
		adit__media_close(&p.media);
	}
	if (__lsan_enable != NULL)
		__lsan_enable();
	*left = res.left;
	return rc;
}
