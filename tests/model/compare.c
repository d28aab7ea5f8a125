/* SPDX-License-Identifier: BSD-3-Clause */
/* compare.c - does the pool hold exactly what the model says? See subject.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/file.h"
#include "core/linux_abi.h"
#include "core/namei.h"
#include "core/xattr.h"
#include "subject.h"

#define USER_FLAGS (ADIT_IFLAG_IMMUTABLE | ADIT_IFLAG_APPEND | ADIT_IFLAG_ATOMIC)

#define FIRST_PART (256u << 10) /* of a file's contents: read whether there is something or not */

struct walk {
	struct subject *s;
	const struct model *m, *older;
	struct model_torn torn;
	struct difference *diff;
	uint64_t *ino; /* by node: 0 not met yet */
	uint32_t met;
	char path[4096];
};

static int differs(struct walk *w, const char *what, int64_t pool, int64_t model)
{
	snprintf(w->diff->text, sizeof w->diff->text, "%.600s: %.280s: pool %lld, model %lld",
		 w->path[0] ? w->path : "/", what, (long long)pool, (long long)model);
	return 1;
}

#define SAME(what, a, b)                                                                           \
	do {                                                                                       \
		if ((a) != (b))                                                                    \
			return differs(w, what, (int64_t)(a), (int64_t)(b));                       \
	} while (0)

static int same_attributes(struct walk *w, uint32_t node, const struct adit_attr *a)
{
	const struct model_node *n = &w->m->node[node];
	const struct model_node *old = node == w->torn.node ? &w->older->node[node] : n;

	SAME("mode", a->mode, n->mode);
	if (subject_shares(w->s, w->path))
		return 0;
	SAME("nlink", a->nlink, n->nlink);
	SAME("size", a->size, n->size);
	SAME("uid", a->uid, n->uid);
	SAME("gid", a->gid, n->gid);
	SAME("rdev", a->rdev, n->rdev);
	SAME("flags", a->flags & USER_FLAGS, n->iflags);
	if (a->mtime_ns != old->mtime)
		SAME("mtime", a->mtime_ns, n->mtime);
	if (a->ctime_ns != old->ctime)
		SAME("ctime", a->ctime_ns, n->ctime);
	SAME("atime", a->atime_ns, n->atime);
	SAME("btime", a->btime_ns, n->btime);
	return 0;
}

/* ---- contents ----------------------------------------------------------------------- */

static bool may_be_torn(const struct walk *w, uint64_t pos, const uint8_t *got, const uint8_t *want,
			const uint8_t *old, size_t len)
{
	bool whole = len == 8 && pos >= w->torn.from && pos + len <= w->torn.to;

	for (size_t i = 0; !whole && i < len; i++)
		if (got[i] != want[i] && got[i] != old[i])
			return false;
	return !whole || memcmp(got, old, len) == 0;
}

static bool all_zero(const uint8_t *p, size_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* As model_read and memcmp, without the copy. */
static bool equals_pages(const struct model_node *n, uint64_t pos, const uint8_t *got, size_t len)
{
	while (len > 0) {
		const struct model_bytes *page = model_page_at(n, pos / MODEL_PAGE);
		size_t skip = pos % MODEL_PAGE,
		       now = MODEL_PAGE - skip < len ? MODEL_PAGE - skip : len;

		if (page ? memcmp(got, page->b + skip, now) != 0 : !all_zero(got, now))
			return false;
		got += now;
		pos += now;
		len -= now;
	}
	return true;
}

static int same_bytes(struct walk *w, uint32_t node, uint64_t ino, uint64_t pos, size_t len)
{
	static _Thread_local uint8_t got[65536], want[65536], old[65536];
	struct adit_iovec iov = {got, len};
	int64_t n = adit__file_read(w->s->fs, ino, &iov, 1, pos);

	SAME("read", n, (int64_t)len);
	if (equals_pages(&w->m->node[node], pos, got, len))
		return 0;
	model_read(&w->m->node[node], pos, want, len);
	if (node == w->torn.node)
		model_read(&w->older->node[node], pos, old, len);
	for (size_t i = 0; i < len; i += 8) {
		size_t k = len - i < 8 ? len - i : 8;
		char what[80];

		if (memcmp(got + i, want + i, k) == 0)
			continue;
		if (node == w->torn.node && may_be_torn(w, pos + i, got + i, want + i, old + i, k))
			continue;
		snprintf(what, sizeof what, "contents at %llu", (unsigned long long)(pos + i));
		return differs(w, what, got[i], want[i]);
	}
	return 0;
}

/* Data or hole, as SEEK_DATA tells: block by block where the model has something. */
static int same_kind(struct walk *w, uint32_t node, uint64_t ino, uint64_t index)
{
	enum model_state state = model_state_at(&w->m->node[node], index);
	uint64_t pos = index * MODEL_PAGE, size = w->m->node[node].size;
	int64_t data;

	if (pos >= size || state == MODEL_EITHER || node == w->torn.node)
		return 0;
	data = adit__file_seek(w->s->fs, ino, pos, SEEK_DATA);
	if (state == MODEL_WRITTEN)
		SAME("SEEK_DATA in data", data, (int64_t)pos);
	else if (data == (int64_t)pos)
		return differs(w, "data where a hole should be, at", data, (int64_t)pos);
	return 0;
}

/* Of blocks that hold nothing in a row, at once. */
static int same_run(struct walk *w, uint32_t node, uint64_t ino, uint64_t index, uint64_t count)
{
	uint64_t pos = index * MODEL_PAGE, end = (index + count) * MODEL_PAGE;
	uint64_t size = w->m->node[node].size;
	int64_t data;

	if (pos >= size || node == w->torn.node)
		return 0;
	data = adit__file_seek(w->s->fs, ino, pos, SEEK_DATA);
	if (data >= 0 && (uint64_t)data < end)
		return differs(w, "data where nothing was written, at", data, (int64_t)pos);
	return 0;
}

/* How many blocks from the i-th on lie in a row and hold nothing. */
static uint32_t empty_run(const struct model_node *n, uint32_t i)
{
	uint32_t k = i;

	while (k < n->blocks && n->block[k].state == MODEL_UNWRITTEN &&
	       n->block[k].index == n->block[i].index + (k - i))
		k++;
	return k - i;
}

static int same_contents(struct walk *w, uint32_t node, uint64_t ino)
{
	const struct model_node *n = &w->m->node[node];
	uint64_t pos = 0, end = n->size < FIRST_PART ? n->size : FIRST_PART;
	int err = 0;

	/* The first part as a whole, so that nothing hides in a hole. */
	for (; !err && pos < end; pos += 65536)
		err = same_bytes(w, node, ino, pos, end - pos < 65536 ? end - pos : 65536);
	for (uint32_t i = 0, run; !err && i < n->blocks; i += run) {
		uint64_t index = n->block[i].index, at = index * MODEL_PAGE, next;

		run = empty_run(n, i);
		if (at >= end && at < n->size)
			err = same_bytes(w, node, ino, at,
					 n->size - at < MODEL_PAGE ? n->size - at : MODEL_PAGE);
		if (!err)
			err = run ? same_run(w, node, ino, index, run)
				  : same_kind(w, node, ino, index);
		if (run == 0)
			run = 1;
		next = index + run;
		if (!err && (i + run == n->blocks || n->block[i + run].index != next))
			err = same_kind(w, node, ino, next);
	}
	if (!err && n->blocks && n->block[0].index)
		err = same_kind(w, node, ino, 0);
	return err;
}

static int same_target(struct walk *w, uint32_t node, uint64_t ino)
{
	const struct model_bytes *t = w->m->node[node].target;
	static _Thread_local uint8_t got[8192];
	int64_t n = adit__readlink(w->s->fs, ino, got, sizeof got);

	SAME("readlink", n, (int64_t)t->len);
	if (memcmp(got, t->b, t->len) != 0)
		return differs(w, "target", got[0], t->b[0]);
	return 0;
}

static int same_xattrs(struct walk *w, uint32_t node, uint64_t ino)
{
	const struct model_node *n = &w->m->node[node];
	static _Thread_local uint8_t value[ADIT_XATTR_VALUE_MAX];
	uint64_t names = 0;

	for (uint32_t i = 0; i < n->xattrs; i++) {
		const struct model_bytes *v = n->xattr[i].value;
		int64_t got = adit__getxattr(w->s->fs, ino, n->xattr[i].name, value, sizeof value);

		SAME(n->xattr[i].name, got, (int64_t)v->len);
		if (memcmp(value, v->b, v->len) != 0)
			return differs(w, n->xattr[i].name, value[0], v->b[0]);
		names += strlen(n->xattr[i].name) + 1;
	}
	SAME("listxattr", adit__listxattr(w->s->fs, ino, NULL, 0), (int64_t)names);
	return 0;
}

/* ---- directories ------------------------------------------------------------------------ */

struct listed {
	uint64_t ino, cookie;
	uint32_t generation;
	uint8_t dtype;
	uint16_t len;
	char name[256];
};
struct listing {
	struct listed *e;
	size_t n, room;
};

static int visit(void *arg, uint64_t cookie, const void *name, size_t len,
		 const struct adit_dirent *de)
{
	struct listing *l = arg;

	if (l->n == l->room) {
		l->room = l->room ? 2 * l->room : 64;
		l->e = realloc(l->e, l->room * sizeof *l->e);
		if (l->e == NULL)
			abort();
	}
	l->e[l->n] = (struct listed){.ino = de->ino,
				     .cookie = cookie,
				     .generation = de->generation,
				     .dtype = de->dtype,
				     .len = (uint16_t)len};
	memcpy(l->e[l->n].name, name, len < 256 ? len : 255);
	l->n++;
	return 0;
}

/* What others have made is none of ours. */
static void drop_others(struct listing *l, const char *own)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++)
		if (l->e[i].name[0] == 's' || strncmp(l->e[i].name, own, strlen(own)) == 0)
			l->e[n++] = l->e[i];
	l->n = n;
}

static int same_node(struct walk *w, uint32_t node, uint64_t ino);

static int same_entry(struct walk *w, uint32_t dir, uint64_t dir_ino, const struct listed *e)
{
	uint32_t node = model_child(&w->m->node[dir], e->name, e->len);
	size_t at = strlen(w->path);
	struct adit_id id;
	int err;

	snprintf(w->path + at, sizeof w->path - at, "/%s", e->name);
	if (node == MODEL_NONE)
		return differs(w, "an entry the model does not have: inode", (int64_t)e->ino, 0);
	SAME("lookup", adit__lookup(w->s->fs, dir_ino, e->name, e->len, &id), 0);
	SAME("inode of lookup", id.ino, e->ino);
	SAME("generation of lookup", id.generation, e->generation);
	SAME("type in the entry", e->dtype, ADIT_DT_OF(w->m->node[node].mode));
	if (w->ino[node])
		SAME("inode of a second name", e->ino, w->ino[node]);
	err = w->ino[node] ? 0 : same_node(w, node, e->ino);
	w->path[at] = '\0';
	return err;
}

static int same_entries(struct walk *w, uint32_t node, uint64_t ino)
{
	const struct model_node *n = &w->m->node[node];
	struct listing l = {0};
	int err = adit__readdir(w->s->fs, ino, 0, visit, &l);
	struct adit_id up;
	uint64_t last = 2;

	if (subject_shares(w->s, w->path))
		drop_others(&l, w->s->own);
	if (err)
		err = differs(w, "readdir", err, 0);
	else if (l.n != n->entries)
		err = differs(w, "number of entries", (int64_t)l.n, n->entries);
	for (size_t i = 0; !err && i < l.n; i++) {
		if (l.e[i].cookie <= last)
			err = differs(w, "cookie does not rise", (int64_t)l.e[i].cookie,
				      (int64_t)last);
		last = l.e[i].cookie;
		if (!err)
			err = same_entry(w, node, ino, &l.e[i]);
	}
	free(l.e);
	if (err)
		return err;
	SAME("parent", adit__parent(w->s->fs, ino, &up), 0);
	SAME("inode of ..", up.ino, w->ino[n->parent]);
	return 0;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static int same_node(struct walk *w, uint32_t node, uint64_t ino)
{
	struct adit_attr a;
	int err = adit__getattr(w->s->fs, ino, &a);

	if (err)
		return differs(w, "getattr", err, 0);
	w->ino[node] = ino;
	w->met++;
	err = same_attributes(w, node, &a);
	if (!err)
		err = same_xattrs(w, node, ino);
	if (err)
		return err;
	switch (ADIT_S_TYPE(a.mode)) {
	case S_IFREG:
		return same_contents(w, node, ino);
	case S_IFDIR:
		return same_entries(w, node, ino);
	case S_IFLNK:
		return same_target(w, node, ino);
	default:
		return 0;
	}
}

/* Files that only a slot holds. */
static int same_slots(struct walk *w)
{
	for (unsigned i = 0; i < MODEL_SLOTS; i++) {
		uint32_t node = w->m->slot[i];
		int err;

		if (node == MODEL_NONE || w->s->slot[i] == 0)
			continue;
		snprintf(w->path, sizeof w->path, "@%u", i);
		if (w->ino[node])
			SAME("inode of an open file", w->s->slot[i], w->ino[node]);
		/* A removed directory cannot be read any more. */
		if (w->ino[node] || ADIT_S_ISDIR(w->m->node[node].mode))
			continue;
		err = same_node(w, node, w->s->slot[i]);
		if (err)
			return err;
	}
	return 0;
}

int compare(struct subject *s, const struct model *m, const struct model *older,
	    const struct model_torn *torn, struct difference *diff)
{
	struct walk walk = {.s = s,
			    .m = m,
			    .older = older,
			    .diff = diff,
			    .torn = {.node = MODEL_NONE}},
		    *w = &walk;
	struct adit_statfs st;
	int err;

	if (torn)
		w->torn = *torn;
	w->ino = calloc(m->nodes, sizeof *w->ino);
	if (w->ino == NULL)
		abort();
	err = same_node(w, MODEL_ROOT, ADIT_INO_ROOT);
	if (!err)
		err = same_slots(w);
	free(w->ino);
	if (err || s->own)
		return err;
	adit__core_statfs(s->fs, &st);
	snprintf(w->path, sizeof w->path, "pool");
	/* Besides the tree's: the inode table itself. */
	SAME("inodes in use", st.inodes_used, m->used + 1u);
	return 0;
}
