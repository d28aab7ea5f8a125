/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_media_dax.c - media that this machine does not have: device DAX, files with MAP_SYNC, bad blocks,
 * and system calls that fail.
 *
 * The linker sends the media layer's system calls through the functions __wrap_* below (meson.build). They
 * look under a directory of ours for whatever lies in /sys, say that a file of ours is a DAX device or lies on a DAX
 * file system, and refuse the call that a test chose. Everything else is the real call on a real file.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cmocka.h>

#include "media/flush.h"
#include "media/media.h"
#include "media/sysfs.h"

#define MIB	   ((uint64_t)1 << 20)
#define EXT4_MAGIC 0xEF53

/* --- the machine that there is not -------------------------------------------------------- */

static char root[64]; /* holds sys/ and the file that plays the medium */
static char medium[96];

static struct {
	mode_t type; /* 0: as it is */
	dev_t rdev, dev;
	long fs_type, fs_page;
	bool map_sync;	      /* granted */
	uint64_t block_bytes; /* BLKGETSIZE64; 0: fails */
	const struct fiemap_extent *extents;
	unsigned nextents;
	int fiemap_error;
	const char *refuse;    /* this call fails with refuse_error ... */
	unsigned refuse_after; /* ... but for so many times before */
	int refuse_error;
} fake;

static bool refused(const char *call)
{
	if (fake.refuse == NULL || strcmp(fake.refuse, call) != 0)
		return false;
	if (fake.refuse_after > 0) {
		fake.refuse_after--;
		return false;
	}
	errno = fake.refuse_error;
	return true;
}

static void refuse(const char *call, unsigned after, int error)
{
	fake.refuse = call;
	fake.refuse_after = after;
	fake.refuse_error = error;
}

static const char *moved(const char *path, char out[PATH_MAX])
{
	if (strncmp(path, "/sys/", 5) != 0)
		return path;
	snprintf(out, PATH_MAX, "%s%s", root, path);
	return out;
}

char *__real_realpath(const char *path, char *out);
char *__wrap_realpath(const char *path, char *out);
char *__wrap_realpath(const char *path, char *out)
{
	char at[PATH_MAX], found[PATH_MAX];
	size_t skip = strncmp(path, "/sys/", 5) == 0 ? strlen(root) : 0;

	if (refused("realpath") || __real_realpath(moved(path, at), found) == NULL)
		return NULL;
	return strcpy(out, found + skip);
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	char at[PATH_MAX];
	va_list args;
	mode_t mode = 0;

	if (flags & O_CREAT) {
		va_start(args, flags);
		mode = (mode_t)va_arg(args, int);
		va_end(args);
	}
	return refused("open") ? -1 : __real_open64(moved(path, at), flags, mode);
}

int __real_access(const char *path, int mode);
int __wrap_access(const char *path, int mode);
int __wrap_access(const char *path, int mode)
{
	char at[PATH_MAX];

	return __real_access(moved(path, at), mode);
}

static void disguise(struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return;
	if (fake.type != 0)
		st->st_mode = fake.type | 0600;
	if (fake.rdev != 0)
		st->st_rdev = fake.rdev;
	if (fake.dev != 0)
		st->st_dev = fake.dev;
}

int __real_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st)
{
	int rc = refused("fstat") ? -1 : __real_fstat64(fd, st);

	if (rc == 0)
		disguise(st);
	return rc;
}

int __real_stat64(const char *path, struct stat *st);
int __wrap_stat64(const char *path, struct stat *st);
int __wrap_stat64(const char *path, struct stat *st)
{
	int rc = __real_stat64(path, st);

	if (rc == 0)
		disguise(st);
	return rc;
}

int __real_fstatfs64(int fd, struct statfs *sfs);
int __wrap_fstatfs64(int fd, struct statfs *sfs);
int __wrap_fstatfs64(int fd, struct statfs *sfs)
{
	int rc = refused("fstatfs") ? -1 : __real_fstatfs64(fd, sfs);

	if (rc == 0 && fake.fs_type != 0)
		sfs->f_type = fake.fs_type;
	if (rc == 0 && fake.fs_page != 0)
		sfs->f_bsize = fake.fs_page;
	return rc;
}

int __real_ftruncate64(int fd, off_t size);
int __wrap_ftruncate64(int fd, off_t size);
int __wrap_ftruncate64(int fd, off_t size)
{
	return refused("ftruncate") ? -1 : __real_ftruncate64(fd, size);
}

int __real_posix_fallocate64(int fd, off_t offset, off_t len);
int __wrap_posix_fallocate64(int fd, off_t offset, off_t len);
int __wrap_posix_fallocate64(int fd, off_t offset, off_t len)
{
	return refused("posix_fallocate") ? fake.refuse_error
					  : __real_posix_fallocate64(fd, offset, len);
}

ssize_t __real_readlink(const char *path, char *out, size_t size);
ssize_t __wrap_readlink(const char *path, char *out, size_t size);
ssize_t __wrap_readlink(const char *path, char *out, size_t size)
{
	return refused("readlink") ? -1 : __real_readlink(path, out, size);
}

int __real_sigaction(int sig, const struct sigaction *new, struct sigaction *old);
int __wrap_sigaction(int sig, const struct sigaction *new, struct sigaction *old);
int __wrap_sigaction(int sig, const struct sigaction *new, struct sigaction *old)
{
	return refused("sigaction") ? -1 : __real_sigaction(sig, new, old);
}

int __real_msync(void *addr, size_t len, int flags);
int __wrap_msync(void *addr, size_t len, int flags);
int __wrap_msync(void *addr, size_t len, int flags)
{
	if (refused("msync")) {
		if (fake.refuse_error == EINTR) /* once */
			fake.refuse = NULL;
		return -1;
	}
	return __real_msync(addr, len, flags);
}

void *__real_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	if (refused("mmap"))
		return MAP_FAILED;
	if (fd >= 0 && (flags & MAP_SYNC)) {
		if (!fake.map_sync) {
			errno = EOPNOTSUPP;
			return MAP_FAILED;
		}
		flags = (flags & ~(MAP_SHARED_VALIDATE | MAP_SYNC)) | MAP_SHARED;
	}
	return __real_mmap64(addr, len, prot, flags, fd, offset);
}

static int fiemap(struct fiemap *map)
{
	if (fake.fiemap_error != 0) {
		errno = fake.fiemap_error;
		return -1;
	}
	map->fm_mapped_extents = 0;
	/* Two at a time, so that the caller has to come back. */
	for (unsigned i = 0; i < fake.nextents && map->fm_mapped_extents < 2; i++) {
		if (fake.extents[i].fe_logical >= map->fm_start)
			map->fm_extents[map->fm_mapped_extents++] = fake.extents[i];
	}
	return 0;
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (request == FS_IOC_FIEMAP)
		return fiemap(arg);
	if (request == BLKGETSIZE64) {
		*(uint64_t *)arg = fake.block_bytes;
		errno = EIO;
		return fake.block_bytes != 0 ? 0 : -1;
	}
	return __real_ioctl(fd, request, arg);
}

/* --- a tree like that of a kernel with one NVDIMM region ------------------------------------ */

#define REGION "/sys/devices/LNXSYSTM:00/ndbus0/region0"
#define DAX    REGION "/dax0.0/dax/dax0.0"
#define PMEM   REGION "/namespace0.0/block/pmem0"
#define DEVICE makedev(252, 5)
#define DISK   makedev(259, 1)

static void put_file(const char *path, const char *text)
{
	char at[PATH_MAX];
	FILE *f = fopen(moved(path, at), "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void drop_file(const char *path)
{
	char at[PATH_MAX];

	assert_int_equal(unlink(moved(path, at)), 0);
}

static void put_link(const char *path, const char *target)
{
	char at[PATH_MAX], to[PATH_MAX];

	unlink(moved(path, at));
	assert_int_equal(symlink(moved(target, to), at), 0);
}

static int setup(void **state)
{
	char command[2048];

	(void)state;
	memset(&fake, 0, sizeof fake);
	unsetenv("ADIT_ASSUME");
	snprintf(root, sizeof root, "/dev/shm/adit-dax-XXXXXX");
	if (mkdtemp(root) == NULL)
		return -1;
	snprintf(medium, sizeof medium, "%s/medium", root);
	snprintf(command, sizeof command,
		 "cd %s && mkdir -p .%s .%s/pmem0p1 sys/class/dax sys/class/mem sys/dev/char "
		 "sys/dev/block",
		 root, DAX, PMEM);
	if (system(command) != 0)
		return -1;
	put_file(REGION "/persistence_domain", "memory_controller\n");
	put_file(REGION "/resource", "0x100000000\n");
	put_file(REGION "/badblocks", "0 8\n2064 8\n");
	put_file(DAX "/size", "8388608\n");
	put_file(DAX "/resource", "0x100100000\n");
	put_file(DAX "/align", "2097152\n");
	put_file(PMEM "/pmem0p1/start", "2048\n");
	put_link(DAX "/subsystem", "/sys/class/dax");
	put_link("/sys/dev/char/252:5", DAX);
	put_link("/sys/dev/block/259:1", PMEM "/pmem0p1");
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	memset(&fake, 0, sizeof fake);
	snprintf(command, sizeof command, "rm -rf '%s'", root);
	return system(command);
}

static void make_medium(uint64_t bytes)
{
	int fd = __real_open64(medium, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(__real_ftruncate64(fd, (off_t)bytes), 0);
	close(fd);
}

static void be_device(void)
{
	make_medium(8 * MIB);
	fake.type = S_IFCHR;
	fake.rdev = DEVICE;
}

static int open_medium(struct adit_media *m, unsigned flags, uint64_t bytes)
{
	return adit__media_open(m, medium, flags, bytes, ADIT_DOMAIN_AUTO);
}

/* --- device DAX ------------------------------------------------------------------------------ */

static void test_device(void **state)
{
	struct adit_media m;
	uint8_t text[8] = "kept";

	(void)state;
	be_device();
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_string_equal(m.kind, "devdax");
	assert_true(m.is_device);
	assert_int_equal(m.domain, ADIT_DOMAIN_MEMORY);
	assert_int_equal(m.page_size, 2 * MIB);
	assert_int_equal(m.pm.size_bytes, 8 * MIB);
	adit__pm_copy_nt(&m.pm, m.pm.base + 4096, text, sizeof text);
	adit__pm_fence(&m.pm);
	adit__media_close(&m);

	/* Read-only, and still in place: a device has no private mappings. */
	assert_int_equal(open_medium(&m, ADIT_MEDIA_RDONLY, 0), 0);
	assert_memory_equal(m.pm.base + 4096, text, sizeof text);
	assert_int_equal(fcntl(m.fd, F_GETFL) & O_ACCMODE, O_RDWR);
	adit__pm_store(&m.pm, m.pm.base + 4096, "gone", 4);
	adit__media_close(&m);
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_memory_equal(m.pm.base + 4096, "gone", 4);
	adit__media_close(&m);
}

static void test_device_size(void **state)
{
	struct adit_media m;

	(void)state;
	be_device();
	assert_int_equal(open_medium(&m, ADIT_MEDIA_CREATE, 8 * MIB + 1), -ENOSPC);
	assert_int_equal(open_medium(&m, ADIT_MEDIA_CREATE, 4 * MIB), 0);
	assert_int_equal(m.pm.size_bytes, 4 * MIB);
	adit__media_close(&m);
	assert_int_equal(open_medium(&m, ADIT_MEDIA_CREATE, 0), 0);
	assert_int_equal(m.pm.size_bytes, 8 * MIB);
	adit__media_close(&m);
	put_file(DAX "/size", "many\n");
	assert_int_equal(open_medium(&m, 0, 0), -EINVAL);
	put_file(DAX "/size", "99999999999999999999999\n");
	assert_int_equal(open_medium(&m, 0, 0), -EINVAL);
	put_file(DAX "/size", "\n");
	assert_int_equal(open_medium(&m, 0, 0), -EINVAL);
	drop_file(DAX "/size");
	assert_int_equal(open_medium(&m, 0, 0), -EINVAL);
	assert_int_equal(m.fd, -1);
}

/* Before Linux 5.10 the instance above the device said it; nonsense is not believed. */
static void test_device_align(void **state)
{
	static const struct {
		const char *file, *text;
		size_t page;
	} row[] = {
		{DAX "/align", "1048576\n", MIB},
		{DAX "/align", "3145728\n", 4096},
		{DAX "/align", "16\n", 4096},
		{NULL, NULL, 4096},
		{REGION "/dax0.0/align", "2097152\n", 2 * MIB},
		{REGION "/dax0.0/align", "x\n", 4096},
	};
	struct adit_media m;

	(void)state;
	be_device();
	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		if (row[i].file != NULL)
			put_file(row[i].file, row[i].text);
		else
			drop_file(DAX "/align");
		assert_int_equal(open_medium(&m, 0, 0), 0);
		assert_int_equal(m.page_size, row[i].page);
		adit__media_close(&m);
	}
}

static void test_device_unknown(void **state)
{
	struct adit_media m;

	(void)state;
	be_device();
	put_link(DAX "/subsystem", "/sys/class/mem");
	assert_int_equal(open_medium(&m, 0, 0), -EINVAL);
	drop_file(DAX "/subsystem");
	assert_int_equal(open_medium(&m, 0, 0), -EINVAL);
	drop_file("/sys/dev/char/252:5");
	assert_int_equal(open_medium(&m, 0, 0), -EINVAL);
	assert_int_equal(adit__sysfs_dax_size(DEVICE), 0);
	assert_int_equal(adit__sysfs_dax_align(DEVICE), 0);
	fake.type = S_IFDIR;
	assert_int_equal(open_medium(&m, 0, 0), -EISDIR);
}

static void test_caches_persist(void **state)
{
	struct adit_media m;

	(void)state;
	be_device();
	put_file(REGION "/persistence_domain", "cpu_cache\n");
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_int_equal(m.domain, ADIT_DOMAIN_CPU_CACHE);
	assert_string_equal(m.flush_name, "none");
	assert_false(m.assumed);
	adit__media_close(&m);
	assert_true(adit__sysfs_caches_persist(false, DISK));
	put_file(REGION "/persistence_domain", "\n");
	assert_false(adit__sysfs_caches_persist(false, DISK));
	drop_file(REGION "/persistence_domain");
	assert_false(adit__sysfs_caches_persist(true, DEVICE));
	assert_false(adit__sysfs_caches_persist(true, DISK));
	/* A device straight below /sys/devices: nothing above it to ask. */
	put_link("/sys/dev/char/252:5", "/sys/devices");
	assert_false(adit__sysfs_caches_persist(true, DEVICE));
}

/* The region begins 1 MiB (2048 sectors) before the device. */
static void test_device_bad(void **state)
{
	struct adit_media m;
	struct adit_bad_range bad[2];

	(void)state;
	be_device();
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 1);
	assert_int_equal(bad[0].offset, 16 * 512);
	assert_int_equal(bad[0].len_bytes, 8 * 512);
	put_file(REGION "/badblocks", "2048 1\n2050 1\n2052 1\n");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 3);
	assert_int_equal(bad[1].offset, 1024);
	put_file(REGION "/badblocks", "");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	put_file(REGION "/badblocks", "2048 1\n");
	put_file(REGION "/resource", "0x200000000\n"); /* behind the device */
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	drop_file(REGION "/resource");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	drop_file(REGION "/badblocks");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	drop_file(DAX "/resource"); /* as anybody but root finds it */
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	drop_file("/sys/dev/char/252:5");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	refuse("fstat", 0, EIO);
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), -EIO);
	adit__media_close(&m);
}

static void test_badblocks_lines(void **state)
{
	const char *text = "5";
	uint64_t start, end;

	(void)state;
	assert_false(adit__badblocks_next(&text, &start, &end));
	text = "5 0\n";
	assert_false(adit__badblocks_next(&text, &start, &end));
}

/* --- files on a DAX file system ---------------------------------------------------------------- */

static void be_fsdax(void)
{
	make_medium(4 * MIB);
	fake.fs_type = EXT4_MAGIC;
	fake.map_sync = true;
	fake.dev = DISK;
}

static void test_fsdax(void **state)
{
	struct adit_media m;
	const struct adit_flush_variant *const *variants;

	(void)state;
	be_fsdax();
	adit__flush_variants(&variants);
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_string_equal(m.kind, "fsdax");
	assert_true(m.map_sync);
	assert_int_equal(m.domain, ADIT_DOMAIN_MEMORY);
	assert_string_equal(m.flush_name, variants[0]->flush_name);
	assert_int_equal(adit__media_error(&m), 0);
	adit__media_close(&m);

	/* Granted to nobody: the page cache. */
	fake.map_sync = false;
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_string_equal(m.kind, "file");
	assert_int_equal(m.domain, ADIT_DOMAIN_FILE);
	adit__media_close(&m);
}

/* The partition begins at sector 2048; sectors 2064 to 2071 are bad: its bytes 8192 to 12287. */
static void test_fsdax_bad(void **state)
{
	static const struct fiemap_extent extents[] = {
		{.fe_logical = 0, .fe_physical = 0, .fe_length = 8192},
		{.fe_logical = 8192,
		 .fe_physical = 0,
		 .fe_length = 8192,
		 .fe_flags = FIEMAP_EXTENT_UNKNOWN},
		{.fe_logical = 16384,
		 .fe_physical = 10240,
		 .fe_length = 4096,
		 .fe_flags = FIEMAP_EXTENT_LAST},
	};
	struct adit_media m;
	struct adit_bad_range bad[2];

	(void)state;
	be_fsdax();
	fake.extents = extents;
	fake.nextents = 3;
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 1);
	assert_int_equal(bad[0].offset, 16384);
	assert_int_equal(bad[0].len_bytes, 2048);
	fake.nextents = 2; /* no last one: asked until there are no more */
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	fake.fiemap_error = EOPNOTSUPP;
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	fake.fiemap_error = ENOTTY;
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	fake.fiemap_error = EIO;
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), -EIO);
	put_file(REGION "/badblocks", "");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	drop_file(REGION "/badblocks");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	drop_file("/sys/dev/block/259:1");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	adit__media_close(&m);

	/* An extent that ends where the file does. */
	assert_int_equal(setup(state), 0);
	be_fsdax();
	fake.extents =
		&(struct fiemap_extent){.fe_logical = 0, .fe_physical = 8192, .fe_length = 4 * MIB};
	fake.nextents = 1;
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 1);
	assert_int_equal(bad[0].offset, 0);
	adit__media_close(&m);
}

/* --- other kinds --------------------------------------------------------------------------------- */

static void test_kinds(void **state)
{
	struct adit_media m;

	(void)state;
	make_medium(4 * MIB);
	fake.fs_type = RAMFS_MAGIC;
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_string_equal(m.kind, "tmpfs");
	adit__media_close(&m);

	fake.fs_type = HUGETLBFS_MAGIC;
	fake.fs_page = 2 * MIB;
	assert_int_equal(open_medium(&m, ADIT_MEDIA_CREATE, 3 * MIB), 0);
	assert_string_equal(m.kind, "hugetlbfs");
	assert_int_equal(m.domain, ADIT_DOMAIN_PROCESS);
	assert_int_equal(m.pm.size_bytes, 4 * MIB);
	adit__media_close(&m);
	fake.fs_page = 4 * MIB; /* its pages are larger than what we align to */
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_int_equal((uintptr_t)m.pm.base % (4 * MIB), 0);
	adit__media_close(&m);

	fake.fs_type = fake.fs_page = 0;
	fake.type = S_IFBLK;
	fake.block_bytes = 2 * MIB;
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_string_equal(m.kind, "block");
	assert_int_equal(m.domain, ADIT_DOMAIN_FILE);
	assert_int_equal(m.pm.size_bytes, 2 * MIB);
	assert_int_equal(adit__media_bad_ranges(&m, NULL, 0), 0);
	adit__media_close(&m);
	fake.block_bytes = 0;
	assert_int_equal(open_medium(&m, 0, 0), -EIO);
}

/* --- calls that fail ------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
	static const struct {
		const char *call;
		unsigned after, flags;
		int error;
	} row[] = {
		{"open", 0, 0, EACCES},
		{"open", 0, ADIT_MEDIA_CREATE, EACCES},
		{"fstat", 0, 0, EIO},
		{"fstat", 1, 0, EIO},
		{"fstatfs", 0, 0, EIO},
		{"ftruncate", 0, ADIT_MEDIA_CREATE, EFBIG},
		{"posix_fallocate", 0, ADIT_MEDIA_CREATE | ADIT_MEDIA_ALLOC, ENOSPC},
		{"sigaction", 0, 0, EINVAL},
		{"mmap", 0, 0, ENODEV},
		{"mmap", 1, 0, ENOMEM}, /* from here on: the reserved range too */
	};
	struct adit_media m;

	(void)state;
	make_medium(4 * MIB);
	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		refuse(row[i].call, row[i].after, row[i].error);
		assert_int_equal(open_medium(&m, row[i].flags, 4 * MIB), -row[i].error);
		assert_int_equal(m.fd, -1);
		assert_null(m.pm.base);
	}
	/* A file that it made, it takes away again. */
	assert_int_equal(unlink(medium), 0);
	refuse("fstatfs", 0, EIO);
	assert_int_equal(open_medium(&m, ADIT_MEDIA_CREATE, 4 * MIB), -EIO);
	assert_int_equal(__real_access(medium, F_OK), -1);
	fake.refuse = NULL;
	assert_int_equal(open_medium(&m, ADIT_MEDIA_CREATE | ADIT_MEDIA_ALLOC, 4 * MIB), 0);
	refuse("open", 0, EMFILE);
	assert_int_equal(adit__media_reopen(&m), -EMFILE);
	adit__media_close(&m);

	/* The last mapping of the three alone: what was reserved is given back. */
	refuse("mmap", 2, ENOMEM);
	assert_int_equal(open_medium(&m, 0, 0), -ENOMEM);
	/* Only the name is not known: a memfd's looks like a tmpfs's then. */
	refuse("readlink", 0, EACCES);
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_string_equal(m.kind, "tmpfs");
	adit__media_close(&m);
}

static void test_locks(void **state)
{
	struct adit_media m;

	(void)state;
	make_medium(MIB);
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_int_equal(adit__media_lock(&m, true, (uint64_t)INT64_MAX + 1, 1), -EINVAL);
	assert_int_equal(adit__media_lock(&m, true, 0, (uint64_t)INT64_MAX + 1), -EINVAL);
	assert_int_equal(adit__fd_lock(-1, true, 0, 1), -EBADF);
	assert_int_equal(adit__fd_lock_probe(-1, true, 0, 1), -EBADF);
	adit__media_close(&m);
	/* A second close does nothing; neither does one of what was never open. */
	adit__media_close(&m);
}

/* The page cache's media: what was written back badly is said, and stays said. */
static void test_msync(void **state)
{
	struct adit_media m;
	uint8_t *bytes;

	(void)state;
	make_medium(4 * MIB);
	fake.fs_type = EXT4_MAGIC;
	assert_int_equal(open_medium(&m, 0, 0), 0);
	bytes = malloc(MIB);
	assert_non_null(bytes);
	memset(bytes, 7, MIB);
	adit__pm_copy_nt(&m.pm, m.pm.base, bytes, MIB);
	adit__pm_flush(&m.pm, m.pm.base, 0);
	adit__pm_zero_nt(&m.pm, m.pm.base + 100, MIB / 2);
	assert_int_equal(m.pm.base[99], 7);
	assert_int_equal(m.pm.base[100], 0);
	assert_int_equal(m.pm.base[99 + MIB / 2], 0);
	assert_int_equal(m.pm.base[100 + MIB / 2], 7);
	refuse("msync", 0, EINTR);
	adit__pm_fence(&m.pm);
	assert_int_equal(adit__media_error(&m), 0);
	adit__pm_store(&m.pm, m.pm.base, "x", 1);
	adit__pm_flush(&m.pm, m.pm.base, 1);
	refuse("msync", 0, EIO);
	adit__pm_fence(&m.pm);
	fake.refuse = NULL;
	assert_int_equal(adit__media_error(&m), -EIO);
	adit__pm_flush(&m.pm, m.pm.base, 1);
	adit__pm_fence(&m.pm);
	assert_int_equal(adit__media_error(&m), -EIO);
	adit__media_close(&m);
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_device, setup, teardown),
		cmocka_unit_test_setup_teardown(test_device_size, setup, teardown),
		cmocka_unit_test_setup_teardown(test_device_align, setup, teardown),
		cmocka_unit_test_setup_teardown(test_device_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_caches_persist, setup, teardown),
		cmocka_unit_test_setup_teardown(test_device_bad, setup, teardown),
		cmocka_unit_test_setup_teardown(test_badblocks_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fsdax, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fsdax_bad, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_locks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msync, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
