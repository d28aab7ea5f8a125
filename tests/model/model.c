/* SPDX-License-Identifier: BSD-3-Clause */
/* model.c - names, attributes and the operations of the model; see model.h. */
#include "model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/linux_abi.h"

#define NAME_MAX_BYTES 255u
#define TARGET_MAX 4095u

#define NOREPLACE 1u
#define EXCHANGE 2u
#define WHITEOUT 4u

/* ---- nodes and clones ---------------------------------------------------------- */

static uint32_t node_new(struct model *m, uint32_t mode)
{
	uint32_t i = 0;
	struct model_node *n;

	while (i < m->nodes && m->node[i].used)
		i++;
	if (i == m->nodes) {
		m->node = realloc(m->node, (m->nodes + 1) * sizeof *m->node);
		if (m->node == NULL)
			abort();
		m->nodes++;
	}
	n = &m->node[i];
	memset(n, 0, sizeof *n);
	n->used = true;
	n->mode = mode;
	n->nlink = ADIT_S_ISDIR(mode) ? 2 : 1;
	n->mtime = n->ctime = n->atime = n->btime = m->now;
	m->used++;
	return i;
}

static void node_drop(struct model *m, uint32_t i)
{
	struct model_node *n = &m->node[i];

	model_drop_contents(n);
	for (uint32_t k = 0; k < n->xattrs; k++)
		model_bytes_drop(n->xattr[k].value);
	free(n->xattr);
	free(n->entry);
	model_bytes_drop(n->target);
	memset(n, 0, sizeof *n);
	m->used--;
}

/* Without a name and not open: it is no more. */
static void node_settle(struct model *m, uint32_t i)
{
	if (m->node[i].nlink == 0 && m->node[i].holds == 0)
		node_drop(m, i);
}

void model_init(struct model *m, uint32_t root_mode)
{
	memset(m, 0, sizeof *m);
	for (unsigned i = 0; i < MODEL_SLOTS; i++)
		m->slot[i] = MODEL_NONE;
	(void)node_new(m, S_IFDIR | root_mode);
}

void model_finish(struct model *m)
{
	for (uint32_t i = 0; i < m->nodes; i++)
		if (m->node[i].used)
			node_drop(m, i);
	free(m->node);
	memset(m, 0, sizeof *m);
}

static void *copy_array(const void *from, size_t bytes)
{
	void *to;

	if (bytes == 0)
		return NULL;
	to = malloc(bytes);
	if (to == NULL)
		abort();
	return memcpy(to, from, bytes);
}

void model_clone(struct model *to, const struct model *from)
{
	*to = *from;
	to->node = copy_array(from->node, from->nodes * sizeof *from->node);
	for (uint32_t i = 0; i < to->nodes; i++) {
		struct model_node *n = &to->node[i];

		if (!n->used)
			continue;
		n->block = copy_array(n->block, n->blocks * sizeof *n->block);
		n->xattr = copy_array(n->xattr, n->xattrs * sizeof *n->xattr);
		n->entry = copy_array(n->entry, n->entries * sizeof *n->entry);
		if (n->target)
			n->target->refs++;
		for (uint32_t k = 0; k < n->blocks; k++)
			if (n->block[k].page)
				n->block[k].page->refs++;
		for (uint32_t k = 0; k < n->xattrs; k++)
			n->xattr[k].value->refs++;
	}
}

void model_restart(struct model *m)
{
	for (unsigned i = 0; i < MODEL_SLOTS; i++)
		m->slot[i] = MODEL_NONE;
	for (uint32_t i = 0; i < m->nodes; i++) {
		if (!m->node[i].used)
			continue;
		m->node[i].holds = 0;
		node_settle(m, i);
	}
	m->version++;
}

/* ---- directories ------------------------------------------------------------------ */

static int compare_names(const char *a, size_t alen, const char *b, size_t blen)
{
	int c = memcmp(a, b, alen < blen ? alen : blen);

	return c ? c : (alen > blen) - (alen < blen);
}

static uint32_t entry_find(const struct model_node *dir, const char *name, size_t len)
{
	uint32_t lo = 0, hi = dir->entries;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;
		const struct model_dirent *e = &dir->entry[mid];

		if (compare_names(e->name, e->len, name, len) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct model_dirent *entry_at(const struct model_node *dir, const char *name, size_t len)
{
	uint32_t i = entry_find(dir, name, len);
	struct model_dirent *e = i < dir->entries ? &dir->entry[i] : NULL;

	return e && compare_names(e->name, e->len, name, len) == 0 ? e : NULL;
}

uint32_t model_child(const struct model_node *dir, const char *name, size_t len)
{
	const struct model_dirent *e = entry_at(dir, name, len);

	return e ? e->node : MODEL_NONE;
}

static void entry_add(struct model *m, uint32_t d, const char *name, size_t len, uint32_t node)
{
	struct model_node *dir = &m->node[d];
	uint32_t i = entry_find(dir, name, len);

	dir->entry = realloc(dir->entry, (dir->entries + 1) * sizeof *dir->entry);
	if (dir->entry == NULL)
		abort();
	memmove(&dir->entry[i + 1], &dir->entry[i], (dir->entries - i) * sizeof *dir->entry);
	memset(&dir->entry[i], 0, sizeof *dir->entry);
	dir->entry[i].len = (uint16_t)len;
	memcpy(dir->entry[i].name, name, len);
	dir->entry[i].node = node;
	dir->entries++;
	dir->size = dir->entries;
	dir->mtime = dir->ctime = m->now;
}

static void entry_remove(struct model *m, uint32_t d, const char *name, size_t len)
{
	struct model_node *dir = &m->node[d];
	uint32_t i = entry_find(dir, name, len);

	memmove(&dir->entry[i], &dir->entry[i + 1], (dir->entries - i - 1) * sizeof *dir->entry);
	dir->entries--;
	dir->size = dir->entries;
	dir->mtime = dir->ctime = m->now;
}

/* ---- paths -------------------------------------------------------------------------- */

static bool is_dir(const struct model *m, uint32_t i)
{
	return ADIT_S_ISDIR(m->node[i].mode);
}

int model_resolve(const struct model *m, const char *path, uint32_t *node)
{
	int slot = op_slot(path);
	char name[OP_NAME_MAX];
	uint32_t at = MODEL_ROOT;
	size_t len;

	if (slot >= 0) {
		*node = slot < MODEL_SLOTS ? m->slot[slot] : MODEL_NONE;
		return *node == MODEL_NONE ? -EBADF : 0;
	}
	while ((len = op_component(&path, name)) > 0) {
		if (len > NAME_MAX_BYTES)
			return -ENAMETOOLONG;
		if (!is_dir(m, at))
			return -ENOTDIR;
		at = model_child(&m->node[at], name, len);
		if (at == MODEL_NONE)
			return -ENOENT;
	}
	*node = at;
	return 0;
}

/* The directory of the last component, and that component. */
struct place {
	uint32_t dir;
	char name[OP_NAME_MAX];
	size_t len;
	uint32_t node; /* MODEL_NONE: not there */
};

static int resolve_place(const struct model *m, const char *path, struct place *p)
{
	uint32_t at = MODEL_ROOT;
	char next[OP_NAME_MAX];
	size_t len;

	p->len = op_component(&path, p->name);
	while ((len = op_component(&path, next)) > 0) {
		if (p->len > NAME_MAX_BYTES)
			return -ENAMETOOLONG;
		if (!is_dir(m, at))
			return -ENOTDIR;
		at = model_child(&m->node[at], p->name, p->len);
		if (at == MODEL_NONE)
			return -ENOENT;
		memcpy(p->name, next, sizeof next);
		p->len = len;
	}
	if (p->len == 0)
		return -ENOENT;
	if (p->len > NAME_MAX_BYTES)
		return -ENAMETOOLONG;
	p->dir = at;
	return 0;
}

static int look(const struct model *m, struct place *p)
{
	if (!is_dir(m, p->dir))
		return -ENOTDIR;
	p->node = model_child(&m->node[p->dir], p->name, p->len);
	return 0;
}

/* ---- names come ------------------------------------------------------------------------ */

static int do_create(struct model *m, const struct op *op, uint32_t mode, uint64_t rdev,
		     uint32_t target_len)
{
	struct place p;
	uint32_t i;
	int err = resolve_place(m, op->path, &p);

	if (!err && ADIT_S_ISLNK(mode) && target_len == 0)
		err = -ENOENT;
	if (!err && target_len > TARGET_MAX)
		err = -ENAMETOOLONG;
	if (!err)
		err = look(m, &p);
	if (err)
		return err;
	if (p.node != MODEL_NONE)
		return -EEXIST;
	if (m->node[p.dir].iflags & MODEL_IMMUTABLE)
		return -EPERM;
	if (m->node[p.dir].mode & S_ISGID && ADIT_S_ISDIR(mode))
		mode |= S_ISGID;
	i = node_new(m, mode);
	m->node[i].gid = m->node[p.dir].mode & S_ISGID ? m->node[p.dir].gid : 0;
	m->node[i].parent = p.dir;
	m->node[i].rdev = rdev;
	if (ADIT_S_ISLNK(mode)) {
		m->node[i].target = model_bytes_make(target_len);
		op_fill((uint64_t)m->number, 0, m->node[i].target->b, target_len);
		m->node[i].size = target_len;
	}
	entry_add(m, p.dir, p.name, p.len, i);
	if (ADIT_S_ISDIR(mode))
		m->node[p.dir].nlink++;
	return 0;
}

static int do_link(struct model *m, const struct op *op)
{
	struct model_node *n;
	struct place p;
	uint32_t i;
	int err = model_resolve(m, op->path, &i), slot;

	if (!err)
		err = resolve_place(m, op->path2, &p);
	if (!err)
		err = look(m, &p);
	if (err)
		return err;
	n = &m->node[i];
	slot = op_slot(op->path);
	if (p.node != MODEL_NONE)
		return -EEXIST;
	if (m->node[p.dir].iflags & MODEL_IMMUTABLE)
		return -EPERM;
	if (ADIT_S_ISDIR(n->mode) || n->iflags & (MODEL_IMMUTABLE | MODEL_APPEND_ONLY))
		return -EPERM;
	/* What lost its last name gets no new one. */
	if (n->nlink == 0 && (slot < 0 || !m->linkable[slot]))
		return -ENOENT;
	if (slot >= 0)
		m->linkable[slot] = false;
	n->nlink++;
	n->ctime = m->now;
	entry_add(m, p.dir, p.name, p.len, i);
	return 0;
}

/* ---- names go ---------------------------------------------------------------------------- */

static bool may_remove(const struct model *m, uint32_t dir, uint32_t victim)
{
	return !((m->node[dir].iflags | m->node[victim].iflags) & (MODEL_IMMUTABLE | MODEL_APPEND_ONLY));
}

/* The entry is gone (or points elsewhere): the node has one name less. */
static void lose_name(struct model *m, uint32_t dir, uint32_t i)
{
	struct model_node *n = &m->node[i];

	n->ctime = m->now;
	if (ADIT_S_ISDIR(n->mode)) {
		n->nlink = 0;
		m->node[dir].nlink--;
	} else {
		n->nlink--;
	}
	node_settle(m, i);
}

static int do_remove(struct model *m, const struct op *op, bool rmdir)
{
	struct place p;
	int err = resolve_place(m, op->path, &p);

	if (!err)
		err = look(m, &p);
	if (!err && p.node == MODEL_NONE)
		err = -ENOENT;
	if (!err && !may_remove(m, p.dir, p.node))
		err = -EPERM;
	if (!err && rmdir != is_dir(m, p.node))
		err = rmdir ? -ENOTDIR : -EISDIR;
	if (!err && rmdir && m->node[p.node].entries)
		err = -ENOTEMPTY;
	if (err)
		return err;
	entry_remove(m, p.dir, p.name, p.len);
	lose_name(m, p.dir, p.node);
	return 0;
}

/* ---- rename -------------------------------------------------------------------------------- */

static bool is_above(const struct model *m, uint32_t above, uint32_t at)
{
	while (at != above && at != MODEL_ROOT)
		at = m->node[at].parent;
	return at == above;
}

static int rename_error(const struct model *m, const struct place *a, const struct place *b,
			uint64_t flags)
{
	bool there = b->node != MODEL_NONE;
	bool adir, bdir;

	if (a->node == MODEL_NONE || (flags & EXCHANGE && !there))
		return -ENOENT;
	if (flags & NOREPLACE && there)
		return -EEXIST;
	adir = is_dir(m, a->node);
	bdir = there && is_dir(m, b->node);
	if (adir && is_above(m, a->node, b->dir))
		return -EINVAL;
	if (bdir && is_above(m, b->node, a->dir))
		return flags & EXCHANGE ? -EINVAL : -ENOTEMPTY;
	if (there && a->node == b->node)
		return 0;
	if (!may_remove(m, a->dir, a->node))
		return -EPERM;
	if (there ? !may_remove(m, b->dir, b->node) : m->node[b->dir].iflags & MODEL_IMMUTABLE)
		return -EPERM;
	if (!there || flags & EXCHANGE)
		return 0;
	if (adir != bdir)
		return adir ? -ENOTDIR : -EISDIR;
	return bdir && m->node[b->node].entries ? -ENOTEMPTY : 0;
}

static void change_parent(struct model *m, uint32_t i, uint32_t from, uint32_t to)
{
	if (!is_dir(m, i))
		return;
	m->node[i].parent = to;
	m->node[from].nlink--;
	m->node[to].nlink++;
}

static void touch_dirs(struct model *m, const struct place *a, const struct place *b)
{
	m->node[a->dir].mtime = m->node[a->dir].ctime = m->now;
	m->node[b->dir].mtime = m->node[b->dir].ctime = m->now;
}

static int do_rename(struct model *m, const struct op *op)
{
	uint64_t flags = op->n[0];
	struct place a, b;
	int err;

	if (flags & ~7ull || (flags & EXCHANGE && flags & (NOREPLACE | WHITEOUT)))
		return -EINVAL;
	err = resolve_place(m, op->path, &a);
	if (!err)
		err = resolve_place(m, op->path2, &b);
	if (!err)
		err = look(m, &a);
	if (!err)
		err = look(m, &b);
	if (!err)
		err = rename_error(m, &a, &b, flags);
	m->idle = !err && a.node == b.node;
	if (err || m->idle)
		return err;
	m->node[a.node].ctime = m->now;
	if (flags & EXCHANGE) {
		m->node[b.node].ctime = m->now;
		entry_at(&m->node[a.dir], a.name, a.len)->node = b.node;
		entry_at(&m->node[b.dir], b.name, b.len)->node = a.node;
		change_parent(m, a.node, a.dir, b.dir);
		change_parent(m, b.node, b.dir, a.dir);
		touch_dirs(m, &a, &b);
		return 0;
	}
	if (b.node != MODEL_NONE) {
		entry_remove(m, b.dir, b.name, b.len);
		lose_name(m, b.dir, b.node);
	}
	entry_remove(m, a.dir, a.name, a.len);
	entry_add(m, b.dir, b.name, b.len, a.node);
	change_parent(m, a.node, a.dir, b.dir);
	if (flags & WHITEOUT) {
		uint32_t w = node_new(m, S_IFCHR);

		m->node[w].parent = a.dir;
		if (m->node[a.dir].mode & S_ISGID)
			m->node[w].gid = m->node[a.dir].gid;
		entry_add(m, a.dir, a.name, a.len, w);
	}
	touch_dirs(m, &a, &b);
	return 0;
}

/* ---- contents ------------------------------------------------------------------------------- */

static int regular(const struct model_node *n)
{
	if (ADIT_S_ISREG(n->mode))
		return 0;
	return ADIT_S_ISDIR(n->mode) ? -EISDIR : -EINVAL;
}

static int64_t do_write(struct model *m, const struct op *op)
{
	bool append = op->kind == OP_APPEND;
	uint64_t len = append ? op->n[0] : op->n[1], pos = op->n[0];
	struct model_node *n;
	uint32_t i;
	int err = model_resolve(m, op->path, &i);

	if (err)
		return err;
	n = &m->node[i];
	if (!append && pos > MODEL_SIZE_MAX)
		return -EINVAL;
	err = regular(n);
	if (err)
		return err;
	if (n->iflags & MODEL_IMMUTABLE || (n->iflags & MODEL_APPEND_ONLY && !append))
		return -EPERM;
	if (append)
		pos = n->size;
	if (pos >= MODEL_SIZE_MAX)
		return len ? -EFBIG : 0;
	if (len > MODEL_SIZE_MAX - pos) {
		if (!append && op->n[2] & 1)
			return -EFBIG;
		len = MODEL_SIZE_MAX - pos;
	}
	m->idle = len == 0;
	if (m->idle)
		return 0;
	model_write(n, pos, len, (uint64_t)m->number, append ? pos : 0);
	n->mtime = n->ctime = m->now;
	return (int64_t)len;
}

static int do_truncate(struct model *m, const struct op *op)
{
	struct model_node *n;
	uint32_t i;
	int err;

	err = model_resolve(m, op->path, &i);
	if (err)
		return err;
	if (op->n[0] > MODEL_SIZE_MAX)
		return -EFBIG;
	n = &m->node[i];
	err = regular(n);
	if (!err && n->iflags & (MODEL_IMMUTABLE | MODEL_APPEND_ONLY))
		err = -EPERM;
	if (err)
		return err;
	model_truncate(n, op->n[0]);
	n->mtime = n->ctime = m->now;
	return 0;
}

struct model_torn model_may_tear(const struct model *m, const struct op *op)
{
	struct model_torn t = {MODEL_NONE, op->n[0], op->n[0] + op->n[1]};
	const struct model_node *n;
	uint32_t i;

	if (op->kind != OP_WRITE || op->n[2] & 1 || model_resolve(m, op->path, &i) != 0)
		return t;
	n = &m->node[i];
	if (!(n->iflags & MODEL_ATOMIC) && t.from < n->size && op->n[1] <= n->size - t.from)
		t.node = i;
	return t;
}

/* ---- open files ----------------------------------------------------------------------------------- */

static int do_tmpfile(struct model *m, const struct op *op)
{
	uint32_t dir, i;
	int err = model_resolve(m, op->path, &dir);

	if (!err && op->n[0] >= MODEL_SLOTS)
		err = -EBADF;
	if (!err && m->slot[op->n[0]] != MODEL_NONE)
		err = -EBUSY;
	if (!err && !is_dir(m, dir))
		err = -ENOTDIR;
	if (!err && m->node[dir].iflags & MODEL_IMMUTABLE)
		err = -EPERM;
	if (err)
		return err;
	i = node_new(m, S_IFREG | 0600);
	m->node[i].gid = m->node[dir].mode & S_ISGID ? m->node[dir].gid : 0;
	m->node[i].nlink = 0;
	m->node[i].holds = 1;
	m->slot[op->n[0]] = i;
	m->linkable[op->n[0]] = true;
	return 0;
}

static int do_hold(struct model *m, const struct op *op)
{
	uint32_t i;
	int err = model_resolve(m, op->path, &i);

	if (!err && op->n[0] >= MODEL_SLOTS)
		err = -EBADF;
	if (!err && m->slot[op->n[0]] != MODEL_NONE)
		err = -EBUSY;
	if (err)
		return err;
	m->node[i].holds++;
	m->slot[op->n[0]] = i;
	m->linkable[op->n[0]] = false;
	return 0;
}

static int do_release(struct model *m, const struct op *op)
{
	uint32_t i = op->n[0] < MODEL_SLOTS ? m->slot[op->n[0]] : MODEL_NONE;

	if (i == MODEL_NONE)
		return -EBADF;
	m->slot[op->n[0]] = MODEL_NONE;
	m->node[i].holds--;
	node_settle(m, i);
	return 0;
}

/* ---- the table ---------------------------------------------------------------------------------------- */

static int64_t dispatch(struct model *m, const struct op *op)
{
	uint32_t mode = (uint32_t)op->n[0];

	switch (op->kind) {
	case OP_CREATE:
		return do_create(m, op, S_IFREG | (mode & 07777), 0, 0);
	case OP_MKDIR:
		return do_create(m, op, S_IFDIR | (mode & 07777), 0, 0);
	case OP_MKNOD:
		return do_create(m, op, mode, op->n[1], 0);
	case OP_SYMLINK:
		return do_create(m, op, S_IFLNK | 0777, 0, (uint32_t)op->n[0]);
	case OP_LINK:
		return do_link(m, op);
	case OP_UNLINK:
	case OP_RMDIR:
		return do_remove(m, op, op->kind == OP_RMDIR);
	case OP_RENAME:
		return do_rename(m, op);
	case OP_WRITE:
	case OP_APPEND:
		return do_write(m, op);
	case OP_TRUNCATE:
		return do_truncate(m, op);
	case OP_FALLOCATE: {
		uint32_t i;
		int err = model_resolve(m, op->path, &i);

		return err ? err : model_fallocate(&m->node[i], (int)op->n[0], op->n[1], op->n[2],
						   m->now);
	}
	case OP_CHMOD:
	case OP_CHOWN:
	case OP_UTIME:
	case OP_IFLAGS:
		return model_setattr(m, op);
	case OP_SETXATTR:
		return model_setxattr(m, op);
	case OP_RMXATTR:
		return model_rmxattr(m, op);
	case OP_TMPFILE:
		return do_tmpfile(m, op);
	case OP_HOLD:
		return do_hold(m, op);
	case OP_RELEASE:
		return do_release(m, op);
	default:
		return 0;
	}
}

int64_t model_apply(struct model *m, const struct op *op, int64_t number)
{
	int64_t result;

	m->number = number;
	m->now = op_clock(number);
	m->idle = false;
	result = dispatch(m, op);
	if (result >= 0 && !m->idle && op->kind != OP_CHECKPOINT && op->kind != OP_LANE &&
	    op->kind != OP_MEET)
		m->version++;
	return result;
}
