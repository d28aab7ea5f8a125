/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * path.c - walking paths. No allocation, no recursion: a symbolic link's target is put in front of what
 * is left of the path, in the walk's buffer, and the walk goes on with that.
 *
 * Neighbours: core/namei.h (lookup by directory and name), calls_*.c (who walks).
 */
#include "fs/path.h"

#include <errno.h>
#include <fcntl.h>

#include "core/linux_abi.h"

int adit__walk_begin(struct adit_walk *w, struct adit_pool *pool, int dirfd, const char *path,
		     unsigned flags)
{
	bool empty = path == NULL || path[0] == '\0';

	if (ADIT_UNLIKELY(empty && !(flags & ADIT_WALK_EMPTY)))
		return path == NULL ? -EFAULT : -ENOENT;
	if (!empty && ADIT_UNLIKELY(strnlen(path, ADIT_PATH_MAX) == ADIT_PATH_MAX))
		return -ENAMETOOLONG;
	w->pool = pool;
	w->slot = NULL;
	w->path = path;
	w->empty = empty;
	w->start = ADIT_INO_ROOT;
	if (dirfd == AT_FDCWD || (!empty && path[0] == '/'))
		return 0;
	w->slot = adit__fd_get(pool, dirfd);
	if (ADIT_UNLIKELY(w->slot == NULL))
		return -EBADF;
	if (ADIT_UNLIKELY(!empty && !(w->slot->access & ADIT_FD_DIR))) {
		adit__walk_end(w);
		return -ENOTDIR;
	}
	w->start = w->slot->ino;
	return 0;
}

void adit__walk_end(struct adit_walk *w)
{
	if (w->slot != NULL)
		(void)adit__fd_put(w->pool, w->slot);
}

/* Put the target of `link` in front of the rest of the path. */
static int follow(struct adit_walk *w, const struct adit_id *link, const char *rest, bool slash)
{
	char *const end = w->buffer + sizeof w->buffer;
	struct adit_fs *fs = w->pool->fs;
	size_t rest_len = strlen(rest) + 1;
	struct adit_attr now;
	int64_t len;
	char *to;
	int err;

	if (w->links++ >= ADIT_LINKS_MAX)
		return -ELOOP;
	to = end - rest_len;
	/* Room for the longest target before the rest, and the same below to read it into. */
	if (rest_len + 2 * ADIT_PATH_MAX > sizeof w->buffer)
		return -ENAMETOOLONG;
	memmove(to, rest, rest_len);
	len = adit__readlink(fs, link->ino, w->buffer, ADIT_PATH_MAX);
	if (len < 0)
		return len == -EINVAL ? -ESTALE : (int)len;
	/* Still the file that was looked up? */
	err = adit__getattr(fs, link->ino, &now);
	if (err)
		return err;
	if (now.generation != link->generation)
		return -ESTALE;
	if (len == 0 || len >= (int64_t)ADIT_PATH_MAX)
		return -ENOENT;
	if (slash || rest_len > 1)
		*--to = '/';
	to -= len;
	memmove(to, w->buffer, (size_t)len);
	w->rest = to;
	return 0;
}

int adit__walk_dir(const struct adit_walk *w, struct adit_attr *out)
{
	int err = adit__getattr(w->pool->fs, w->at.dir, out);

	if (err)
		return err == -ESTALE ? -ENOENT : err;
	if (out->nlink == 0 || (w->at.generation != 0 && out->generation != w->at.generation))
		return -ENOENT;
	return 0;
}

int adit__walk_check_name(const struct adit_walk *w)
{
	struct adit_attr dir;
	int err;

	if (ADIT_LIKELY(w->len <= ADIT_NAME_MAX))
		return 0;
	err = adit__walk_dir(w, &dir);
	return err ? err : -ENAMETOOLONG;
}

/* "." and ".." in the middle of a path. True when it was one. */
static inline bool step_dots(struct adit_walk *w, const char *name, size_t len, int *err)
{
	struct adit_id up;

	if (ADIT_LIKELY(name[0] != '.') || len > 2 || (len == 2 && name[1] != '.'))
		return false;
	*err = 0;
	if (len == 2 && w->at.dir != ADIT_INO_ROOT) {
		*err = adit__parent_at(w->pool->fs, w->at, &up);
		if (*err == 0)
			w->at = (struct adit_at){up.ino, up.generation};
	}
	return true;
}

/* One directory further, or a link followed. */
static inline int step(struct adit_walk *w, const char *name, size_t len, const char *rest)
{
	struct adit_id id;
	int err;

	if (step_dots(w, name, len, &err)) {
		w->rest = rest;
		return err;
	}
	err = adit__walk_check_name(w);
	if (ADIT_LIKELY(!err))
		err = adit__lookup_at(w->pool->fs, w->at, name, len, &id);
	if (ADIT_UNLIKELY(err))
		return err;
	if (ADIT_LIKELY(ADIT_S_ISDIR(id.mode))) {
		w->at = (struct adit_at){id.ino, id.generation};
		w->rest = rest;
		return 0;
	}
	return ADIT_S_ISLNK(id.mode) ? follow(w, &id, rest, false) : -ENOTDIR;
}

static enum adit_last kind_of(const char *name, size_t len)
{
	if (ADIT_LIKELY(name[0] != '.') || len > 2)
		return ADIT_LAST_NAME;
	if (len == 1)
		return ADIT_LAST_DOT;
	return name[1] == '.' ? ADIT_LAST_DOTDOT : ADIT_LAST_NAME;
}

int adit__walk_more(struct adit_walk *w)
{
	for (;;) {
		const char *name = w->rest, *end, *rest;
		int err;

		if (*name == '/') {
			w->at = adit__any(ADIT_INO_ROOT);
			while (*name == '/')
				name++;
		}
		for (end = name; *end != '\0' && *end != '/'; end++) {
		}
		for (rest = end; *rest == '/'; rest++) {
		}
		if (*rest == '\0') {
			w->name = name;
			w->len = (size_t)(end - name);
			w->slash = rest != end;
			w->last = w->len == 0 ? ADIT_LAST_ROOT : kind_of(name, w->len);
			return 0;
		}
		err = step(w, name, w->len = (size_t)(end - name), rest);
		if (ADIT_UNLIKELY(err))
			return err;
	}
}

int adit__walk_parent(struct adit_walk *w)
{
	w->rest = w->path;
	w->at = adit__any(w->start); /* held, or the root */
	w->links = 0;
	return adit__walk_more(w);
}

int adit__walk_follow(struct adit_walk *w, const struct adit_id *link)
{
	return follow(w, link, "", w->slash);
}

/* "/", "." and "..": by number; the directory is open or was just walked through. */
static int final_dots(struct adit_walk *w, struct adit_id *out)
{
	struct adit_attr attr;
	uint64_t ino = w->last == ADIT_LAST_ROOT ? ADIT_INO_ROOT : w->at.dir;
	int err;

	if (w->last == ADIT_LAST_DOTDOT && w->at.dir != ADIT_INO_ROOT)
		return adit__parent_at(w->pool->fs, w->at, out);
	err = adit__getattr(w->pool->fs, ino, &attr);
	if (err == 0 && ino == w->at.dir && w->at.generation != 0 && attr.generation != w->at.generation)
		err = -ENOENT;
	if (err == 0)
		*out = (struct adit_id){ino, attr.generation, attr.mode};
	return err;
}

int adit__walk_final(struct adit_walk *w, bool follow_last, struct adit_id *out)
{
	int err;

	if (ADIT_UNLIKELY(w->empty)) {
		w->last = ADIT_LAST_DOT;
		w->at = adit__any(w->start); /* held, or the root */
		return final_dots(w, out);
	}
	err = adit__walk_parent(w);
	while (ADIT_LIKELY(!err)) {
		if (ADIT_UNLIKELY(w->last != ADIT_LAST_NAME))
			return final_dots(w, out);
		err = adit__walk_check_name(w);
		if (ADIT_LIKELY(!err))
			err = adit__lookup_at(w->pool->fs, w->at, w->name, w->len, out);
		if (ADIT_UNLIKELY(err))
			return err;
		if (ADIT_UNLIKELY(ADIT_S_ISLNK(out->mode)) && (follow_last || w->slash)) {
			err = follow(w, out, "", w->slash);
			if (!err)
				err = adit__walk_more(w);
			continue;
		}
		return ADIT_UNLIKELY(w->slash) && !ADIT_S_ISDIR(out->mode) ? -ENOTDIR : 0;
	}
	return err;
}

int adit__walk_attr(struct adit_walk *w, bool follow_last, struct adit_attr *out)
{
	unsigned tries = 0;
	struct adit_id id;
	int err;

	do {
		err = adit__walk_final(w, follow_last, &id);
		if (ADIT_LIKELY(!err))
			err = adit__getattr(w->pool->fs, id.ino, out);
		if (!err && ADIT_UNLIKELY(out->generation != id.generation))
			err = -ESTALE;
	} while (ADIT_WALK_AGAIN(err, tries));
	return err;
}

int adit__walk_hold(struct adit_walk *w, bool follow_last, struct adit_attr *out,
		    struct adit_hold *hold)
{
	unsigned tries = 0;
	struct adit_id id;
	int err;

	do {
		err = adit__walk_final(w, follow_last, &id);
		if (ADIT_LIKELY(!err))
			err = adit__hold(w->pool->fs, id.ino, id.generation, out, hold);
	} while (ADIT_WALK_AGAIN(err, tries));
	return err;
}
