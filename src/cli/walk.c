/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * walk.c - see walk.h. Levels are kept in a list on the heap, not on the stack.
 */
#include "cli/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

struct level {
	struct level *up;
	int parent_fd;
	int fd;
	char *name; /* in parent_fd */
	char *path;
	struct stat st;
	bool failed;
	struct vfs_dir dir;
};

struct walk {
	struct adit_pool *pool;
	unsigned flags;
	unsigned max_depth;
	walk_fn fn;
	void *ctx;
	struct level *top;
	unsigned depth; /* of the entries in top */
	bool failed;
};

static void note_failure(struct walk *w)
{
	w->failed = true;
	if (w->top != NULL)
		w->top->failed = true;
}

/* Opens the directory and makes it the top level. */
static int enter(struct walk *w, int parent_fd, const char *name, const char *path,
		 const struct stat *st, bool follow)
{
	int fd = vfs_openat(w->pool, parent_fd, name,
			    O_RDONLY | O_DIRECTORY | (follow ? 0 : O_NOFOLLOW), 0);
	struct level *l;

	if (fd < 0)
		return fd;
	l = cli_alloc(sizeof *l);
	l->up = w->top;
	l->parent_fd = parent_fd;
	l->fd = fd;
	l->name = cli_strdup(name);
	l->path = cli_strdup(path);
	l->st = *st;
	vfs_dir_init(&l->dir, w->pool, fd);
	w->top = l;
	w->depth++;
	return 0;
}

/* Leaves the top level: the post call, unless the walk stops. */
static int leave(struct walk *w, bool stopping)
{
	struct level *l = w->top;
	int rc = 0;

	w->top = l->up;
	w->depth--;
	if (l->failed)
		note_failure(w);
	vfs_close(w->pool, l->fd);
	if (!stopping && (w->flags & WALK_POST)) {
		struct walk_entry e = {
			.pool = w->pool,
			.dirfd = l->parent_fd,
			.name = l->name,
			.path = l->path,
			.st = &l->st,
			.depth = w->depth,
			.post = true,
			.failed = l->failed,
		};

		rc = w->fn(&e, w->ctx);
		if (rc == WALK_FAILED)
			note_failure(w);
	}
	free(l->name);
	free(l->path);
	free(l);
	return rc < 0 ? rc : 0;
}

/* A directory that is its own ancestor, which following links can make. */
static bool is_ancestor(const struct walk *w, const struct stat *st)
{
	for (const struct level *l = w->top; l != NULL; l = l->up) {
		if (l->st.st_dev == st->st_dev && l->st.st_ino == st->st_ino)
			return true;
	}
	return false;
}

static int visit(struct walk *w, int dirfd, const char *name, const char *path, bool follow)
{
	struct stat st;
	struct walk_entry e = {
		.pool = w->pool,
		.dirfd = dirfd,
		.name = name,
		.path = path,
		.st = &st,
		.depth = w->depth,
	};
	int rc = vfs_fstatat(w->pool, dirfd, name, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW);

	if (rc == -ENOENT && follow && w->depth > 0) /* a dangling link stands for itself */
		rc = vfs_fstatat(w->pool, dirfd, name, &st, AT_SYMLINK_NOFOLLOW);
	if (rc == 0 && S_ISDIR(st.st_mode) && follow && is_ancestor(w, &st))
		rc = -ELOOP;
	if (rc < 0) {
		cli_fail(rc, "%s", path);
		note_failure(w);
		return 0;
	}
	rc = w->fn(&e, w->ctx);
	if (rc == WALK_FAILED)
		note_failure(w);
	if (rc != 0 || !S_ISDIR(st.st_mode) || w->depth >= w->max_depth)
		return rc < 0 ? rc : 0;
	rc = enter(w, dirfd, name, path, &st, follow);
	if (rc < 0) {
		cli_fail(rc, "%s: cannot read the directory", path);
		note_failure(w);
	}
	return 0;
}

int cli_walk(struct adit_pool *pool, const char *path, unsigned flags, unsigned max_depth,
	     walk_fn fn, void *ctx)
{
	struct walk w = {
		.pool = pool, .flags = flags, .max_depth = max_depth, .fn = fn, .ctx = ctx};
	bool follow = (flags & WALK_FOLLOW_ALL) != 0;
	int rc = visit(&w, AT_FDCWD, path, path, follow || (flags & WALK_FOLLOW_START));

	while (w.top != NULL) {
		const struct adit_dirent64 *entry;
		int got = rc < 0 ? rc : vfs_dir_next(&w.top->dir, &entry);

		if (got == 1) {
			char *child = cli_join(w.top->path, entry->d_name);

			rc = visit(&w, w.top->fd, entry->d_name, child, follow);
			free(child);
			continue;
		}
		if (got < 0 && rc >= 0) {
			cli_fail(got, "%s: cannot read the directory", w.top->path);
			note_failure(&w);
		}
		got = leave(&w, rc < 0);
		if (rc >= 0)
			rc = got;
	}
	return rc < 0 ? rc : w.failed ? WALK_FAILED : 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct walk_name *)a)->name, ((const struct walk_name *)b)->name);
}

int cli_read_names(struct adit_pool *pool, int fd, struct walk_name **names, size_t *count)
{
	struct vfs_dir *dir = cli_alloc(sizeof *dir);
	const struct adit_dirent64 *entry;
	struct walk_name *list = NULL;
	size_t n = 0, room = 0;
	int rc;

	vfs_dir_init(dir, pool, fd);
	while ((rc = vfs_dir_next(dir, &entry)) == 1) {
		if (n == room) {
			room = room == 0 ? 64 : room * 2;
			list = cli_realloc(list, room * sizeof *list);
		}
		list[n++] =
			(struct walk_name){cli_strdup(entry->d_name), entry->d_type, entry->d_ino};
	}
	free(dir);
	if (rc < 0) {
		cli_free_names(list, n);
		return rc;
	}
	if (n > 1)
		qsort(list, n, sizeof *list, by_name);
	*names = list;
	*count = n;
	return 0;
}

void cli_free_names(struct walk_name *names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i].name);
	free(names);
}
