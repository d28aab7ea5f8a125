/* SPDX-License-Identifier: BSD-3-Clause */
/* world.c - see world.h. */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "core/linux_abi.h"

#define LINKS_MAX 40
/* Linux keeps what is left behind each link apart; the walk of src/fs has this much room for all of it. */
#define REST_MAX  8192u

void world_init(struct world *w)
{
	memset(w, 0, sizeof *w);
	model_init(&w->m, 0755);
	for (unsigned i = 0; i < WORLD_FDS; i++)
		w->fd[i] = -1;
}

void world_restart(struct world *w)
{
	model_restart(&w->m);
	for (unsigned i = 0; i < WORLD_FDS; i++)
		w->fd[i] = -1;
	memset(w->file, 0, sizeof w->file);
}

/* ---- descriptors -------------------------------------------------------------------------- */

struct open_file *world_file(struct world *w, int fd)
{
	return fd >= 0 && fd < WORLD_FDS && w->fd[fd] >= 0 ? &w->file[w->fd[fd]] : NULL;
}

int world_free_file(const struct world *w)
{
	for (int i = 0; i < MODEL_SLOTS; i++)
		if (w->file[i].refs == 0)
			return i;
	return -1;
}

int world_free_fd(const struct world *w, int from)
{
	for (int i = from; i < WORLD_FDS; i++)
		if (w->fd[i] < 0)
			return i;
	return -1;
}

void world_install(struct world *w, int fd, int file)
{
	w->fd[fd] = file;
	w->file[file].refs++;
}

void world_close(struct world *w, int fd, int64_t now)
{
	int file = w->fd[fd];
	struct op op = {.kind = OP_RELEASE};

	w->fd[fd] = -1;
	if (--w->file[file].refs)
		return;
	op.n[0] = (uint64_t)file;
	(void)model_apply(&w->m, &op, now);
}

/* ---- paths ----------------------------------------------------------------------------------- */

static bool is_dir(const struct world *w, uint32_t node)
{
	return ADIT_S_ISDIR(w->m.node[node].mode);
}

static bool is_link(const struct world *w, uint32_t node)
{
	return ADIT_S_ISLNK(w->m.node[node].mode);
}

bool world_is_gone(const struct world *w, uint32_t node)
{
	return is_dir(w, node) && w->m.node[node].nlink == 0;
}

int world_start(struct world *w, int dirfd, const char *path, uint32_t *dir)
{
	struct open_file *f;

	*dir = MODEL_ROOT;
	if (dirfd == AT_FDCWD || path[0] == '/')
		return 0;
	f = world_file(w, dirfd);
	if (f == NULL)
		return -EBADF;
	*dir = f->node;
	return is_dir(w, f->node) || path[0] == '\0' ? 0 : -ENOTDIR;
}

/* The target of the link, then what is left of the path. */
static bool splice_link(const struct world *w, uint32_t link, const char *rest, bool slash,
			char buf[4 * 4096])
{
	const struct model_bytes *t = w->m.node[link].target;
	static char next[4 * 4096];

	if (strlen(rest) + 1 > REST_MAX)
		return false;
	memcpy(next, t->b, t->len);
	next[t->len] = '\0';
	if (slash || rest[0])
		strcat(next, "/");
	strcat(next, rest);
	strcpy(buf, next);
	return true;
}

/* A component in the middle: 0 and *dir is the next one; 1: a link was put in front. */
static int step(struct world *w, const char *name, size_t len, const char *rest, uint32_t *dir,
		int *links, char *buf)
{
	uint32_t next;

	if (len == 1 && name[0] == '.')
		return 0;
	if (len == 2 && memcmp(name, "..", 2) == 0) {
		*dir = w->m.node[*dir].parent;
		return 0;
	}
	if (len > 255)
		return -ENAMETOOLONG;
	next = model_child(&w->m.node[*dir], name, len);
	if (next == MODEL_NONE)
		return -ENOENT;
	if (is_link(w, next)) {
		if ((*links)++ >= LINKS_MAX)
			return -ELOOP;
		return splice_link(w, next, rest, false, buf) ? 1 : -ENAMETOOLONG;
	}
	*dir = next;
	return is_dir(w, next) ? 0 : -ENOTDIR;
}

static void end_at(struct world *w, uint32_t dir, const char *name, size_t len, struct where *out)
{
	out->dir = dir;
	out->len = len;
	memcpy(out->name, name, len);
	out->name[len] = '\0';
	out->last = len == 0				 ? LAST_ROOT
		    : len == 1 && name[0] == '.'	 ? LAST_DOT
		    : len == 2 && !memcmp(name, "..", 2) ? LAST_DOTDOT
							 : LAST_NAME;
	out->node = out->last == LAST_ROOT     ? MODEL_ROOT
		    : out->last == LAST_DOT    ? dir
		    : out->last == LAST_DOTDOT ? w->m.node[dir].parent
		    : len > 255		       ? MODEL_NONE
					       : model_child(&w->m.node[dir], name, len);
}

int world_walk(struct world *w, int dirfd, const char *path, enum follow follow, struct where *out)
{
	char buf[4 * 4096], *at = buf;
	uint32_t dir;
	int links = 0, err;

	if (path[0] == '\0')
		return -ENOENT;
	if (strlen(path) >= 4096)
		return -ENAMETOOLONG;
	err = world_start(w, dirfd, path, &dir);
	strcpy(buf, path);
	while (!err) {
		size_t len;
		char *rest;

		if (*at == '/')
			dir = at == buf ? MODEL_ROOT : dir;
		at += strspn(at, "/");
		len = strcspn(at, "/");
		rest = at + len + strspn(at + len, "/");
		if (*rest) {
			err = step(w, at, len, rest, &dir, &links, buf);
			at = err == 1 ? buf : rest;
			err = err == 1 ? 0 : err;
			continue;
		}
		out->slash = rest != at + len;
		end_at(w, dir, at, len, out);
		if (out->last != LAST_NAME || out->node == MODEL_NONE || !is_link(w, out->node) ||
		    !(follow == FOLLOW || follow == (out->slash ? FOLLOW_SLASH : FOLLOW_PLAIN)))
			return 0;
		if (links++ >= LINKS_MAX)
			return -ELOOP;
		if (!splice_link(w, out->node, "", out->slash, buf))
			return -ENAMETOOLONG;
		at = buf;
	}
	return err;
}

int world_find(struct world *w, int dirfd, const char *path, enum follow follow, struct where *at)
{
	int err = world_walk(w, dirfd, path, follow, at);

	if (err)
		return err;
	if (at->node == MODEL_NONE)
		return at->len > 255 ? -ENAMETOOLONG : -ENOENT;
	return at->slash && at->last == LAST_NAME && !is_dir(w, at->node) ? -ENOTDIR : 0;
}

/* ---- back to plain paths ------------------------------------------------------------------------ */

static const struct model_dirent *entry_of(const struct world *w, uint32_t node)
{
	const struct model_node *up = &w->m.node[w->m.node[node].parent];

	for (uint32_t i = 0; i < up->entries; i++)
		if (up->entry[i].node == node)
			return &up->entry[i];
	return NULL;
}

static bool prepend(char path[OP_PATH_MAX], const char *name, size_t len)
{
	size_t have = strlen(path);

	if (have + len + 2 > WORLD_PATH)
		return false;
	memmove(path + len + 1, path, have + 1);
	memcpy(path + 1, name, len);
	path[0] = '/';
	return true;
}

bool world_path(const struct world *w, const struct where *at, char path[OP_PATH_MAX])
{
	uint32_t dir = at->last == LAST_NAME ? at->dir : at->node;

	path[0] = '\0';
	if (at->last == LAST_NAME && !prepend(path, at->name, at->len))
		return false;
	while (dir != MODEL_ROOT) {
		const struct model_dirent *e = world_is_gone(w, dir) ? NULL : entry_of(w, dir);

		if (e == NULL || !prepend(path, e->name, e->len))
			return false;
		dir = w->m.node[dir].parent;
	}
	if (path[0] == '\0')
		strcpy(path, "/");
	return true;
}
