/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy_file.c - see copy_file.h.
 */
#include "cli/copy_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/vfs.h"

void copy_progress(const struct copy *c)
{
	cli_progress("%" PRIu64 " files, %" PRIu64 " MiB", c->files, c->bytes >> 20);
}

/* ---- contents ------------------------------------------------------------------------------------ */

/* One piece; returns its bytes, 0 at the end. */
static ssize_t copy_piece(struct copy *c, int in, int out, off_t at, off_t end)
{
	size_t want =
		(uint64_t)(end - at) < COPY_PIECE_BYTES ? (size_t)(end - at) : COPY_PIECE_BYTES;
	off_t in_at = at, out_at = at;
	ssize_t n;
	int rc;

	if (c->from != NULL && c->from == c->to)
		return adit_copy_file_range(c->to, in, &in_at, out, &out_at, want, 0);
	n = vfs_pread(c->from, in, c->buf, want, at);
	if (n <= 0)
		return n;
	rc = vfs_pwrite_all(c->to, out, c->buf, (size_t)n, at);
	return rc < 0 ? rc : n;
}

/* From *at to end, or to where the source ends. */
static int copy_range(struct copy *c, int in, int out, off_t *at, off_t end)
{
	while (*at < end) {
		ssize_t n = copy_piece(c, in, out, *at, end);

		if (n <= 0)
			return (int)n;
		*at += n;
		c->bytes += (uint64_t)n;
		copy_progress(c);
	}
	return 0;
}

/* The data only; what lies between is never written and reads as zeros. */
static int copy_data_ranges(struct copy *c, int in, int out, off_t size)
{
	off_t at = 0;
	int rc = 0;

	while (rc == 0 && at < size) {
		off_t data = vfs_lseek(c->from, in, at, SEEK_DATA), hole;

		if (data == -ENXIO)
			break;
		if (data == -EINVAL) /* a file system that does not know */
			return copy_range(c, in, out, &at, INT64_MAX);
		if (data < 0)
			return (int)data;
		hole = vfs_lseek(c->from, in, data, SEEK_HOLE);
		if (hole < 0)
			return (int)hole;
		at = data;
		rc = copy_range(c, in, out, &at, hole);
		if (at < hole) /* the source became shorter meanwhile */
			return rc;
	}
	return rc == 0 ? vfs_ftruncate(c->to, out, size) : rc;
}

static int open_out(struct copy *c, const struct walk_entry *e, const struct copy_to *to,
		    bool *made)
{
	mode_t mode = e->st->st_mode & 0777;
	int fd;

	/* Others may look at it once it has its final mode. */
	if (c->flags & COPY_MODE)
		mode &= 0700;
	*made = true;
	fd = vfs_openat(c->to, to->dirfd, to->name, O_WRONLY | O_CREAT | O_EXCL, mode);
	if (fd != -EEXIST)
		return fd;
	*made = false;
	fd = vfs_openat(c->to, to->dirfd, to->name, O_WRONLY | O_TRUNC, 0);
	if (fd >= 0 || !(c->flags & COPY_FORCE))
		return fd;
	fd = vfs_unlinkat(c->to, to->dirfd, to->name, 0);
	if (fd < 0)
		return fd;
	*made = true;
	return vfs_openat(c->to, to->dirfd, to->name, O_WRONLY | O_CREAT | O_EXCL, mode);
}

int copy_contents(struct copy *c, const struct walk_entry *e, const struct copy_to *to)
{
	bool follow = !(c->flags & COPY_NO_FOLLOW);
	int in = vfs_openat(c->from, e->dirfd, e->name, O_RDONLY | (follow ? 0 : O_NOFOLLOW), 0);
	int out, rc, closed;
	off_t at = 0;
	bool made;

	if (in < 0)
		return in;
	out = open_out(c, e, to, &made);
	if (out < 0) {
		vfs_close(c->from, in);
		return out;
	}
	rc = c->flags & COPY_HOLES ? copy_data_ranges(c, in, out, e->st->st_size)
				   : copy_range(c, in, out, &at, INT64_MAX);
	closed = vfs_close(c->to, out); /* the host may say only now that its disk is full */
	if (rc == 0)
		rc = closed;
	if (rc < 0 && made)
		vfs_unlinkat(c->to, to->dirfd, to->name, 0);
	vfs_close(c->from, in);
	return rc;
}

/* ---- attributes ---------------------------------------------------------------------------------- */

/* A value or a list of names, in new memory. Returns its bytes, or -errno. */
static ssize_t read_attribute(struct adit_pool *pool, const struct walk_entry *e, const char *name,
			      char **out)
{
	bool follow =
		!S_ISLNK(e->st->st_mode); /* what was met, perhaps through a link, is copied */

	for (;;) {
		ssize_t n = name != NULL ? vfs_getxattr(pool, e->path, follow, name, NULL, 0)
					 : vfs_listxattr(pool, e->path, follow, NULL, 0);

		if (n < 0)
			return n;
		*out = cli_realloc(*out, (size_t)n + 1);
		if (n == 0)
			return 0;
		n = name != NULL ? vfs_getxattr(pool, e->path, follow, name, *out, (size_t)n)
				 : vfs_listxattr(pool, e->path, follow, *out, (size_t)n);
		if (n != -ERANGE) /* it may have grown between the two */
			return n;
	}
}

/* Only "user." ones are everybody's: the others are kept where one may. */
static bool may_be_lost(const char *name, int rc)
{
	return strncmp(name, "user.", 5) != 0 &&
	       (rc == -EPERM || rc == -EACCES || rc == -EOPNOTSUPP || rc == -EINVAL);
}

static int copy_xattrs(struct copy *c, const struct walk_entry *e, const char *to)
{
	char *names = NULL, *value = NULL;
	ssize_t bytes = read_attribute(c->from, e, NULL, &names);
	int rc = 0;

	if (bytes == -EOPNOTSUPP) /* the host's file system has none */
		bytes = 0;
	if (bytes < 0)
		rc = (int)bytes;
	for (ssize_t i = 0; rc == 0 && i < bytes; i += (ssize_t)strlen(names + i) + 1) {
		ssize_t n = read_attribute(c->from, e, names + i, &value);

		if (n == -ENODATA)
			continue;
		rc = n < 0 ? (int)n : vfs_lsetxattr(c->to, to, names + i, value, (size_t)n);
		if (rc < 0 && may_be_lost(names + i, rc))
			rc = 0;
		if (rc < 0)
			cli_error("%s: attribute %s is not kept", to, names + i);
	}
	free(names);
	free(value);
	return rc;
}

int copy_attributes(struct copy *c, const struct walk_entry *e, const struct copy_to *to)
{
	const struct stat *st = e->st;
	struct timespec times[2] = {st->st_atim, st->st_mtim};
	bool owner_kept = true;
	int rc = 0;

	if (c->flags & COPY_XATTRS)
		rc = copy_xattrs(c, e, to->path);
	if (rc == 0 && (c->flags & COPY_MODE)) {
		rc = vfs_fchownat(c->to, to->dirfd, to->name, st->st_uid, st->st_gid);
		if (rc == -EPERM && c->to == NULL) {
			owner_kept = false; /* on the host one must be root for that */
			rc = 0;
		}
	}
	/* After chown, which clears set-ID bits; and never give those of somebody else. */
	if (rc == 0 && (c->flags & COPY_MODE) && !S_ISLNK(st->st_mode))
		rc = vfs_fchmodat(c->to, to->dirfd, to->name,
				  st->st_mode & (owner_kept ? 07777 : 01777));
	if (rc == 0 && (c->flags & COPY_TIMES))
		rc = vfs_utimensat(c->to, to->dirfd, to->name, times);
	return rc;
}
