/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * media_machine.h - media that this machine does not have: device DAX, files with MAP_SYNC, bad blocks; and system
 * calls that fail.
 *
 * The linker sends the media layer's system calls through the functions __wrap_* below (meson.build). They look under a
 * directory of ours for whatever lies in /sys, say that a file of ours is a DAX device or lies on a DAX file system,
 * and refuse the call that a test chose. Everything else is the real call on a real file.
 */
#ifndef ADIT_TESTS_UNIT_MEDIA_MACHINE_H
#define ADIT_TESTS_UNIT_MEDIA_MACHINE_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <pthread.h>
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
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "media/flush.h"
#include "media/media.h"
#include "media/record.h"
#include "media/sigbus.h"
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

static inline bool refused(const char *call)
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

static inline void refuse(const char *call, unsigned after, int error)
{
	fake.refuse = call;
	fake.refuse_after = after;
	fake.refuse_error = error;
}

static inline const char *moved(const char *path, char out[PATH_MAX])
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

static inline void disguise(struct stat *st)
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

void *__real_mremap(void *addr, size_t was, size_t len, int flags, ...);
void *__wrap_mremap(void *addr, size_t was, size_t len, int flags, ...);
void *__wrap_mremap(void *addr, size_t was, size_t len, int flags, ...)
{
	return refused("mremap") ? MAP_FAILED : __real_mremap(addr, was, len, flags);
}

static inline int fiemap(struct fiemap *map)
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

static inline void put_file(const char *path, const char *text)
{
	char at[PATH_MAX];
	FILE *f = fopen(moved(path, at), "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static inline void drop_file(const char *path)
{
	char at[PATH_MAX];

	assert_int_equal(unlink(moved(path, at)), 0);
}

static inline void put_link(const char *path, const char *target)
{
	char at[PATH_MAX], to[PATH_MAX];

	unlink(moved(path, at));
	assert_int_equal(symlink(moved(target, to), at), 0);
}

static inline int setup(void **state)
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

static inline int teardown(void **state)
{
	char command[128];

	(void)state;
	memset(&fake, 0, sizeof fake);
	snprintf(command, sizeof command, "rm -rf '%s'", root);
	return system(command);
}

static inline void make_medium(uint64_t bytes)
{
	int fd = __real_open64(medium, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(__real_ftruncate64(fd, (off_t)bytes), 0);
	close(fd);
}

static inline void be_device(void)
{
	make_medium(8 * MIB);
	fake.type = S_IFCHR;
	fake.rdev = DEVICE;
}

static inline int open_medium(struct adit_media *m, unsigned flags, uint64_t bytes)
{
	return adit__media_open(m, medium, flags, bytes, ADIT_DOMAIN_AUTO);
}

#endif
