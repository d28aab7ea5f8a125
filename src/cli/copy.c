/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy.c - see copy.h. copy_file.c has what concerns a single file: contents and attributes.
 */
#include "cli/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/copy_file.h"
#include "cli/vfs.h"
#include "cli/walk.h"

/* ---- files with several names -------------------------------------------------------------------- */

struct copy_link {
	uint64_t dev, ino;
	char *path; /* of the copy; NULL: this place is free */
};

static struct copy_link *link_place(struct copy_link *links, size_t room, uint64_t dev,
				    uint64_t ino)
{
	size_t at = (size_t)((ino * UINT64_C(0x9e3779b97f4a7c15) + dev) >> 20) & (room - 1);

	while (links[at].path != NULL && (links[at].dev != dev || links[at].ino != ino))
		at = (at + 1) & (room - 1);
	return &links[at];
}

static void grow_links(struct copy *c)
{
	size_t room = c->links_room == 0 ? 256 : c->links_room * 2;
	struct copy_link *grown = cli_alloc(room * sizeof *grown);

	for (size_t i = 0; i < c->links_room; i++) {
		if (c->links[i].path != NULL)
			*link_place(grown, room, c->links[i].dev, c->links[i].ino) = c->links[i];
	}
	free(c->links);
	c->links = grown;
	c->links_room = room;
}

/* Where the file was copied to before; else notes that it goes to `path`, NULL. */
static const char *earlier_copy(struct copy *c, const struct stat *st, const char *path)
{
	struct copy_link *place;

	if (c->links_used * 2 >= c->links_room)
		grow_links(c);
	place = link_place(c->links, c->links_room, st->st_dev, st->st_ino);
	if (place->path != NULL)
		return place->path;
	*place = (struct copy_link){st->st_dev, st->st_ino, cli_strdup(path)};
	c->links_used++;
	return NULL;
}

/* ---- directories ---------------------------------------------------------------------------------- */

static void forget_dir(struct copy *c, size_t depth)
{
	if (c->dirs[depth] >= 0)
		vfs_close(c->to, c->dirs[depth]);
	free(c->dir_paths[depth]);
	c->dirs[depth] = -1;
	c->dir_paths[depth] = NULL;
}

static void remember_dir(struct copy *c, size_t depth, int fd, const char *path, bool made)
{
	if (depth >= c->dirs_room) {
		size_t room = c->dirs_room == 0 ? 32 : c->dirs_room * 2;

		c->dirs = cli_realloc(c->dirs, room * sizeof *c->dirs);
		c->dir_paths = cli_realloc(c->dir_paths, room * sizeof *c->dir_paths);
		c->dir_made = cli_realloc(c->dir_made, room * sizeof *c->dir_made);
		for (size_t i = c->dirs_room; i < room; i++) {
			c->dirs[i] = -1;
			c->dir_paths[i] = NULL;
		}
		c->dirs_room = room;
	}
	forget_dir(c, depth);
	c->dirs[depth] = fd;
	c->dir_paths[depth] = cli_strdup(path);
	c->dir_made[depth] = made;
}

static int make_dir(struct copy *c, const struct walk_entry *e, const struct copy_to *to)
{
	struct stat st;
	bool made;
	int fd, rc = vfs_mkdirat(c->to, to->dirfd, to->name, (e->st->st_mode & 0777) | 0700);

	made = rc == 0;
	if (rc < 0 && rc != -EEXIST)
		return rc;
	/* A symbolic link to a directory will do, where one is asked for by its name. */
	fd = vfs_openat(c->to, to->dirfd, to->name,
			O_RDONLY | O_DIRECTORY | (e->depth > 0 ? O_NOFOLLOW : 0), 0);
	if (fd < 0)
		return fd == -ENOTDIR || fd == -ELOOP ? -EEXIST : fd;
	if (e->depth == 0 && vfs_fstat(c->to, fd, &st) == 0) {
		c->root_dev = st.st_dev;
		c->root_ino = st.st_ino;
	}
	remember_dir(c, e->depth, fd, to->path, made);
	if (made && (c->flags & COPY_VERBOSE))
		printf("%s -> %s\n", e->path, to->path);
	return 0;
}

/* The copy lies inside what is copied, and is met on the way: it would never end. */
static bool is_own_copy(const struct copy *c, const struct walk_entry *e)
{
	return c->from == c->to && e->depth > 0 && e->st->st_dev == c->root_dev &&
	       e->st->st_ino == c->root_ino;
}

static int visit_dir(struct copy *c, const struct walk_entry *e, const struct copy_to *to)
{
	int rc;

	if (!(c->flags & COPY_RECURSIVE)) {
		cli_error("%s: is a directory; --recursive copies it", e->path);
		return WALK_FAILED;
	}
	if (is_own_copy(c, e)) {
		cli_error("%s: is not copied into itself", e->path);
		return WALK_FAILED;
	}
	rc = make_dir(c, e, to);
	if (rc < 0) {
		cli_fail(rc, rc == -EEXIST ? "%s: there is something that is no directory" : "%s",
			 to->path);
		return WALK_FAILED;
	}
	return 0;
}

static int finish_dir(struct copy *c, const struct walk_entry *e, const struct copy_to *to)
{
	int rc = 0;

	if (c->flags & (COPY_MODE | COPY_TIMES | COPY_XATTRS))
		rc = copy_attributes(c, e, to);
	else if (c->dir_made[e->depth] && (e->st->st_mode & 0700) != 0700)
		rc = vfs_fchmodat(c->to, to->dirfd, to->name, e->st->st_mode & 0777);
	forget_dir(c, e->depth);
	if (rc < 0) {
		cli_fail(rc, "%s: cannot set its attributes", to->path);
		return WALK_FAILED;
	}
	return 0;
}

/* ---- everything else ------------------------------------------------------------------------------ */

static int make_other(struct copy *c, const struct walk_entry *e, const struct copy_to *to)
{
	char *target;
	int rc = 0;

	if (!S_ISLNK(e->st->st_mode))
		return vfs_mknodat(c->to, to->dirfd, to->name, e->st->st_mode & (S_IFMT | 0777),
				   e->st->st_rdev);
	target = vfs_readlink_alloc(c->from, e->dirfd, e->name, &rc);
	if (target == NULL)
		return rc;
	rc = vfs_symlinkat(c->to, target, to->dirfd, to->name);
	free(target);
	return rc;
}

/* Links and special files replace what is there, directories excepted. */
static int replace(struct copy *c, const struct walk_entry *e, const struct copy_to *to,
		   const char *link_to)
{
	for (bool again = false;; again = true) {
		struct stat st;
		int rc = link_to != NULL ? vfs_linkat(c->to, AT_FDCWD, link_to, to->dirfd, to->name)
					 : make_other(c, e, to);

		if (rc != -EEXIST || again)
			return rc;
		rc = vfs_fstatat(c->to, to->dirfd, to->name, &st, AT_SYMLINK_NOFOLLOW);
		if (rc < 0)
			return rc;
		if (S_ISDIR(st.st_mode))
			return -EISDIR;
		rc = vfs_unlinkat(c->to, to->dirfd, to->name, 0);
		if (rc < 0)
			return rc;
	}
}

static int visit_other(struct copy *c, const struct walk_entry *e, const struct copy_to *to)
{
	const char *earlier = NULL;
	int rc;

	if (!S_ISREG(e->st->st_mode) && !S_ISLNK(e->st->st_mode) && !(c->flags & COPY_RECURSIVE)) {
		cli_error("%s: is a %s; --recursive copies it as such", e->path,
			  cli_type_name(e->st->st_mode));
		return WALK_FAILED;
	}
	if ((c->flags & COPY_LINKS) && e->st->st_nlink > 1)
		earlier = earlier_copy(c, e->st, to->path);
	if (earlier != NULL)
		rc = replace(c, e, to, earlier);
	else if (S_ISREG(e->st->st_mode))
		rc = copy_contents(c, e, to);
	else
		rc = replace(c, e, to, NULL);
	if (rc == 0 && earlier == NULL)
		rc = copy_attributes(c, e, to);
	if (rc < 0) {
		cli_fail(rc, "%s -> %s", e->path, to->path);
		return WALK_FAILED;
	}
	c->files++;
	if (c->flags & COPY_VERBOSE)
		printf("%s -> %s\n", e->path, to->path);
	return 0;
}

static bool same_file(const struct copy *c, const struct walk_entry *e, const struct copy_to *to)
{
	struct stat st;

	return c->from == c->to && vfs_fstatat(c->to, to->dirfd, to->name, &st, 0) == 0 &&
	       st.st_dev == e->st->st_dev && st.st_ino == e->st->st_ino;
}

static bool exists(const struct copy *c, const struct copy_to *to)
{
	struct stat st;

	return vfs_fstatat(c->to, to->dirfd, to->name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int visit_to(struct copy *c, const struct walk_entry *e, const struct copy_to *to)
{
	if (S_ISDIR(e->st->st_mode))
		return e->post ? finish_dir(c, e, to) : visit_dir(c, e, to);
	if (same_file(c, e, to)) {
		cli_error("%s and %s are the same file", e->path, to->path);
		return WALK_FAILED;
	}
	if ((c->flags & COPY_NO_CLOBBER) && exists(c, to))
		return 0;
	return visit_other(c, e, to);
}

static int visit(const struct walk_entry *e, void *ctx)
{
	struct copy *c = ctx;
	struct copy_to to = {AT_FDCWD, c->target, c->target};
	char *path = NULL;
	int rc;

	if (e->depth > 0) {
		path = cli_join(c->dir_paths[e->depth - 1], e->name);
		to = (struct copy_to){c->dirs[e->depth - 1], e->name, path};
	}
	rc = visit_to(c, e, &to);
	free(path);
	copy_progress(c);
	return rc;
}

/* ---- whole copies --------------------------------------------------------------------------------- */

void copy_init(struct copy *c, struct adit_pool *from, struct adit_pool *to, unsigned flags)
{
	*c = (struct copy){.from = from, .to = to, .flags = flags};
	c->buf = cli_alloc(COPY_PIECE_BYTES);
}

void copy_finish(struct copy *c)
{
	for (size_t i = 0; i < c->dirs_room; i++)
		forget_dir(c, i);
	for (size_t i = 0; i < c->links_room; i++)
		free(c->links[i].path);
	free(c->dirs);
	free(c->dir_paths);
	free(c->dir_made);
	free(c->links);
	free(c->buf);
}

int copy_tree(struct copy *c, const char *source, const char *target)
{
	unsigned flags = WALK_POST;

	if (c->flags & COPY_FOLLOW)
		flags |= WALK_FOLLOW_ALL;
	else if (!(c->flags & (COPY_NO_FOLLOW | COPY_RECURSIVE)))
		flags |= WALK_FOLLOW_START;
	c->target = target;
	return cli_walk(c->from, source, flags, UINT32_MAX, visit, c) == 0 ? CLI_OK : CLI_FAILED;
}
