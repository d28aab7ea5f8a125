/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfs.h - the same calls on a pool and on the host, so that a copy has two sides and one code.
 *
 * `pool` NULL means the host. Results are those of adit.h: negative errno on failure. A pool's
 * AT_FDCWD is its root.
 */
#ifndef ADIT_CLI_VFS_H
#define ADIT_CLI_VFS_H

#include <adit/adit.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

int vfs_openat(struct adit_pool *pool, int dirfd, const char *path, int flags, mode_t mode);
int vfs_close(struct adit_pool *pool, int fd);
ssize_t vfs_pread(struct adit_pool *pool, int fd, void *buf, size_t bytes, off_t offset);
/* Writes all of it, or returns an error. */
int vfs_pwrite_all(struct adit_pool *pool, int fd, const void *buf, size_t bytes, off_t offset);
off_t vfs_lseek(struct adit_pool *pool, int fd, off_t offset, int whence);
int vfs_ftruncate(struct adit_pool *pool, int fd, off_t length);
int vfs_fstat(struct adit_pool *pool, int fd, struct stat *out);
int vfs_fstatat(struct adit_pool *pool, int dirfd, const char *path, struct stat *out, int flags);
ssize_t vfs_readlinkat(struct adit_pool *pool, int dirfd, const char *path, char *buf,
		       size_t bytes);
/* The whole target, NUL-terminated; free it. NULL: *err is set. */
char *vfs_readlink_alloc(struct adit_pool *pool, int dirfd, const char *path, int *err);
int vfs_mkdirat(struct adit_pool *pool, int dirfd, const char *path, mode_t mode);
int vfs_mknodat(struct adit_pool *pool, int dirfd, const char *path, mode_t mode, dev_t dev);
int vfs_symlinkat(struct adit_pool *pool, const char *target, int dirfd, const char *path);
int vfs_linkat(struct adit_pool *pool, int old_dirfd, const char *old_path, int dirfd,
	       const char *path);
int vfs_unlinkat(struct adit_pool *pool, int dirfd, const char *path, int flags);
int vfs_fchownat(struct adit_pool *pool, int dirfd, const char *path, uid_t uid, gid_t gid);
int vfs_fchmodat(struct adit_pool *pool, int dirfd, const char *path, mode_t mode);
int vfs_utimensat(struct adit_pool *pool, int dirfd, const char *path,
		  const struct timespec times[2]);

/* Attributes: `path` is the whole path, as they have no *at calls. follow: look through a last symbolic
 * link. */
ssize_t vfs_listxattr(struct adit_pool *pool, const char *path, bool follow, char *list,
		      size_t bytes);
ssize_t vfs_getxattr(struct adit_pool *pool, const char *path, bool follow, const char *name,
		     void *value, size_t bytes);
int vfs_lsetxattr(struct adit_pool *pool, const char *path, const char *name, const void *value,
		  size_t bytes);

/* Reading a directory: "." and ".." are left out. */
struct vfs_dir {
	struct adit_pool *pool;
	int fd; /* the caller's */
	size_t used, filled;
	_Alignas(8) char buf[8192];
};
void vfs_dir_init(struct vfs_dir *dir, struct adit_pool *pool, int fd);
/* 1 and *out (valid until the next call), 0 at the end, -errno. */
int vfs_dir_next(struct vfs_dir *dir, const struct adit_dirent64 **out);

#endif
