/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * match.c - is the pool's tree what the model says? Everything is looked at from both sides: what must
 * be there, and, by counting names, what must not.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "model.h"

struct match {
	const struct model *m;
	struct adit_pool *pool;
	const char *base;
	char *why;
	size_t why_bytes;
};

static bool differs(struct match *x, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool differs(struct match *x, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(x->why, x->why_bytes, format, ap);
	va_end(ap);
	return false;
}

/* Names in a directory, "." and ".." left out; -errno. */
static int count_names(struct adit_pool *pool, const char *path)
{
	_Alignas(8) char buf[4096];
	int fd = adit_openat(pool, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0), count = 0;
	ssize_t n;

	if (fd < 0)
		return fd;
	while ((n = adit_getdents(pool, fd, buf, sizeof buf)) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct adit_dirent64 *e = (const void *)(buf + at);

			count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
			at += e->d_reclen;
		}
	}
	adit_close_fd(pool, fd);
	return n < 0 ? (int)n : count;
}

static bool match_contents(struct match *x, const struct object *o, const char *path)
{
	int fd = adit_openat(x->pool, AT_FDCWD, path, O_RDONLY, 0);
	uint8_t *bytes = malloc(o->size + 1);
	bool same = false;
	ssize_t n;

	if (fd < 0 || bytes == NULL) {
		free(bytes);
		return differs(x, "%s: cannot be opened: %s", path,
			       strerror(fd < 0 ? -fd : ENOMEM));
	}
	n = adit_pread(x->pool, fd, bytes, o->size + 1, 0);
	adit_close_fd(x->pool, fd);
	if (n != (ssize_t)o->size) {
		differs(x, "%s: read %zd bytes, not %" PRIu64, path, n, o->size);
	} else {
		uint64_t at = 0;

		while (at < o->size && bytes[at] == o->bytes[at])
			at++;
		same = at == o->size;
		if (!same)
			differs(x, "%s: contents differ at byte %" PRIu64 " of %" PRIu64, path, at,
				o->size);
	}
	free(bytes);
	return same;
}

static bool match_attribute(struct match *x, const struct object *o, const char *path)
{
	uint64_t value = 0;
	ssize_t n = adit_getxattr(x->pool, path, ATTRIBUTE, &value, sizeof value);

	if (o->attribute == 0 && n == -ENODATA)
		return true;
	if (n != (ssize_t)sizeof value || value != o->attribute)
		return differs(x, "%s: attribute %s is not what was set (%zd)", path, ATTRIBUTE, n);
	return true;
}

static bool match_object(struct match *x, struct object *o, const char *path)
{
	char target[TARGET_MAX] = "";
	struct stat st;
	int rc = adit_lstat(x->pool, path, &st);
	ssize_t n;

	if (rc < 0)
		return differs(x, "%s: is missing: %s", path, strerror(-rc));
	if (st.st_nlink != o->names)
		return differs(x, "%s: %ju links, not %u", path, (uintmax_t)st.st_nlink, o->names);
	if (o->seen_ino != 0 && o->seen_ino != st.st_ino)
		return differs(x, "%s: is not the file that has its other name", path);
	if (o->target[0] != '\0') {
		n = adit_readlink(x->pool, path, target, sizeof target - 1);
		if (!S_ISLNK(st.st_mode) || n < 0 || strcmp(target, o->target) != 0)
			return differs(x, "%s: is no symbolic link to %s", path, o->target);
	} else if (!S_ISREG(st.st_mode)) {
		return differs(x, "%s: is no regular file", path);
	} else if ((uint64_t)st.st_size != o->size) {
		return differs(x, "%s: %jd bytes, not %" PRIu64, path, (intmax_t)st.st_size,
			       o->size);
	} else if (o->seen_ino == 0 &&
		   (!match_contents(x, o, path) || !match_attribute(x, o, path))) {
		return false;
	}
	o->seen_ino = st.st_ino;
	return true;
}

static bool match_dir(struct match *x, unsigned dir)
{
	char path[PATH_BYTES];
	unsigned expected = 0;
	struct stat st;
	int count;

	dir_path(path, x->base, dir);
	if (!x->m->dir[dir])
		return adit_lstat(x->pool, path, &st) == -ENOENT ||
		       differs(x, "%s: is there, but should not be", path);
	for (unsigned n = 0; n < NAMES; n++) {
		char name[PATH_BYTES];

		if (x->m->at[dir][n] == NULL)
			continue;
		expected++;
		name_path(name, x->base, dir, n);
		if (!match_object(x, x->m->at[dir][n], name))
			return false;
	}
	for (unsigned d = 1; dir == 0 && d < DIRS; d++)
		expected += x->m->dir[d];
	count = count_names(x->pool, path);
	if (count != (int)expected)
		return differs(x, "%s: %d names, not %u", path, count, expected);
	return true;
}

bool model_matches(const struct model *m, struct adit_pool *pool, const char *base, char *why,
		   size_t why_bytes)
{
	struct match x = {m, pool, base, why, why_bytes};

	for (unsigned d = 0; d < DIRS; d++) {
		for (unsigned n = 0; n < NAMES; n++) {
			if (m->at[d][n] != NULL)
				m->at[d][n]->seen_ino = 0;
		}
	}
	for (unsigned d = 0; d < DIRS; d++) {
		if (!match_dir(&x, d))
			return false;
	}
	return true;
}
