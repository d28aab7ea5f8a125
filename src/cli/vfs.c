/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfs.c - see vfs.h.
 */
#include "cli/vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/cli.h"

/* What a call of libc returned, as adit.h has it. */
#define HOST(call)                                                                                 \
	({                                                                                         \
		ssize_t host_rc = (call);                                                          \
		host_rc < 0 ? -errno : host_rc;                                                    \
	})

int vfs_openat(struct adit_pool *pool, int dirfd, const char *path, int flags, mode_t mode)
{
	if (pool != NULL)
		return adit_openat(pool, dirfd, path, flags, mode);
	return (int)HOST(openat(dirfd, path, flags | O_CLOEXEC, mode));
}

int vfs_close(struct adit_pool *pool, int fd)
{
	return pool != NULL ? adit_close_fd(pool, fd) : (int)HOST(close(fd));
}

ssize_t vfs_pread(struct adit_pool *pool, int fd, void *buf, size_t bytes, off_t offset)
{
	return pool != NULL ? adit_pread(pool, fd, buf, bytes, offset)
			    : HOST(pread(fd, buf, bytes, offset));
}

int vfs_pwrite_all(struct adit_pool *pool, int fd, const void *buf, size_t bytes, off_t offset)
{
	while (bytes > 0) {
		ssize_t n = pool != NULL ? adit_pwrite(pool, fd, buf, bytes, offset)
					 : HOST(pwrite(fd, buf, bytes, offset));

		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		buf = (const char *)buf + n;
		bytes -= (size_t)n;
		offset += n;
	}
	return 0;
}

off_t vfs_lseek(struct adit_pool *pool, int fd, off_t offset, int whence)
{
	return pool != NULL ? adit_lseek(pool, fd, offset, whence)
			    : (off_t)HOST(lseek(fd, offset, whence));
}

int vfs_ftruncate(struct adit_pool *pool, int fd, off_t length)
{
	return pool != NULL ? adit_ftruncate(pool, fd, length) : (int)HOST(ftruncate(fd, length));
}

int vfs_fstat(struct adit_pool *pool, int fd, struct stat *out)
{
	return pool != NULL ? adit_fstat(pool, fd, out) : (int)HOST(fstat(fd, out));
}

int vfs_fstatat(struct adit_pool *pool, int dirfd, const char *path, struct stat *out, int flags)
{
	return pool != NULL ? adit_fstatat(pool, dirfd, path, out, flags)
			    : (int)HOST(fstatat(dirfd, path, out, flags));
}

ssize_t vfs_readlinkat(struct adit_pool *pool, int dirfd, const char *path, char *buf, size_t bytes)
{
	return pool != NULL ? adit_readlinkat(pool, dirfd, path, buf, bytes)
			    : HOST(readlinkat(dirfd, path, buf, bytes));
}

char *vfs_readlink_alloc(struct adit_pool *pool, int dirfd, const char *path, int *err)
{
	size_t room = 256;
	char *buf = NULL;

	for (;;) {
		ssize_t n;

		buf = cli_realloc(buf, room);
		n = vfs_readlinkat(pool, dirfd, path, buf, room);
		if (n < 0) {
			*err = (int)n;
			free(buf);
			return NULL;
		}
		if ((size_t)n < room) {
			buf[n] = '\0';
			return buf;
		}
		room *= 2;
	}
}

int vfs_mkdirat(struct adit_pool *pool, int dirfd, const char *path, mode_t mode)
{
	return pool != NULL ? adit_mkdirat(pool, dirfd, path, mode)
			    : (int)HOST(mkdirat(dirfd, path, mode));
}

int vfs_mknodat(struct adit_pool *pool, int dirfd, const char *path, mode_t mode, dev_t dev)
{
	return pool != NULL ? adit_mknodat(pool, dirfd, path, mode, dev)
			    : (int)HOST(mknodat(dirfd, path, mode, dev));
}

int vfs_symlinkat(struct adit_pool *pool, const char *target, int dirfd, const char *path)
{
	return pool != NULL ? adit_symlinkat(pool, target, dirfd, path)
			    : (int)HOST(symlinkat(target, dirfd, path));
}

int vfs_linkat(struct adit_pool *pool, int old_dirfd, const char *old_path, int dirfd,
	       const char *path)
{
	return pool != NULL ? adit_linkat(pool, old_dirfd, old_path, dirfd, path, 0)
			    : (int)HOST(linkat(old_dirfd, old_path, dirfd, path, 0));
}

int vfs_unlinkat(struct adit_pool *pool, int dirfd, const char *path, int flags)
{
	return pool != NULL ? adit_unlinkat(pool, dirfd, path, flags)
			    : (int)HOST(unlinkat(dirfd, path, flags));
}

int vfs_fchownat(struct adit_pool *pool, int dirfd, const char *path, uid_t uid, gid_t gid)
{
	return pool != NULL ? adit_fchownat(pool, dirfd, path, uid, gid, AT_SYMLINK_NOFOLLOW)
			    : (int)HOST(fchownat(dirfd, path, uid, gid, AT_SYMLINK_NOFOLLOW));
}

int vfs_fchmodat(struct adit_pool *pool, int dirfd, const char *path, mode_t mode)
{
	return pool != NULL ? adit_fchmodat(pool, dirfd, path, mode, 0)
			    : (int)HOST(fchmodat(dirfd, path, mode, 0));
}

int vfs_utimensat(struct adit_pool *pool, int dirfd, const char *path,
		  const struct timespec times[2])
{
	return pool != NULL ? adit_utimensat(pool, dirfd, path, times, AT_SYMLINK_NOFOLLOW)
			    : (int)HOST(utimensat(dirfd, path, times, AT_SYMLINK_NOFOLLOW));
}

ssize_t vfs_listxattr(struct adit_pool *pool, const char *path, bool follow, char *list,
		      size_t bytes)
{
	if (pool != NULL)
		return follow ? adit_listxattr(pool, path, list, bytes)
			      : adit_llistxattr(pool, path, list, bytes);
	return HOST(follow ? listxattr(path, list, bytes) : llistxattr(path, list, bytes));
}

ssize_t vfs_getxattr(struct adit_pool *pool, const char *path, bool follow, const char *name,
		     void *value, size_t bytes)
{
	if (pool != NULL)
		return follow ? adit_getxattr(pool, path, name, value, bytes)
			      : adit_lgetxattr(pool, path, name, value, bytes);
	return HOST(follow ? getxattr(path, name, value, bytes)
			   : lgetxattr(path, name, value, bytes));
}

int vfs_lsetxattr(struct adit_pool *pool, const char *path, const char *name, const void *value,
		  size_t bytes)
{
	return pool != NULL ? adit_lsetxattr(pool, path, name, value, bytes, 0)
			    : (int)HOST(lsetxattr(path, name, value, bytes, 0));
}

void vfs_dir_init(struct vfs_dir *dir, struct adit_pool *pool, int fd)
{
	dir->pool = pool;
	dir->fd = fd;
	dir->used = dir->filled = 0;
}

static bool is_dot(const char *name)
{
	return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

int vfs_dir_next(struct vfs_dir *dir, const struct adit_dirent64 **out)
{
	for (;;) {
		const struct adit_dirent64 *entry;

		if (dir->used >= dir->filled) {
			ssize_t n = dir->pool != NULL ? adit_getdents(dir->pool, dir->fd, dir->buf,
								      sizeof dir->buf)
						      : HOST(syscall(SYS_getdents64, dir->fd,
								     dir->buf, sizeof dir->buf));

			if (n <= 0)
				return (int)n;
			dir->used = 0;
			dir->filled = (size_t)n;
		}
		entry = (const void *)(dir->buf + dir->used);
		dir->used += entry->d_reclen;
		if (!is_dot(entry->d_name)) {
			*out = entry;
			return 1;
		}
	}
}
