/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ops.c - operations, the model, and doing them on a pool; see ops.h. match.c compares.
 */
#include "ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "model.h"

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif
#ifndef FALLOC_FL_KEEP_SIZE
#define FALLOC_FL_KEEP_SIZE  1
#define FALLOC_FL_PUNCH_HOLE 2
#endif
#define ATOMIC 0x40 /* RWF_ATOMIC */

/* splitmix64 */
uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void *checked(void *p)
{
	if (p == NULL) {
		fputs("out of memory\n", stderr);
		exit(2);
	}
	return p;
}

const char *op_name(enum op_kind kind)
{
	static const char *const names[OP_KINDS] = {
		"create", "append",  "overwrite", "truncate", "punch-hole", "rename",	"exchange",
		"link",	  "symlink", "unlink",	  "mkdir",    "rmdir",	    "setxattr",
	};

	return names[kind];
}

/* ---- the model ----------------------------------------------------------------------------------- */

void model_init(struct model *m, uint64_t seed)
{
	memset(m, 0, sizeof *m);
	m->seed = seed;
	m->dir[0] = true;
}

static struct object *new_object(struct model *m, unsigned dir, unsigned name)
{
	struct object *o = checked(calloc(1, sizeof *o));

	o->names = 1;
	m->at[dir][name] = o;
	return o;
}

static void drop_name(struct model *m, unsigned dir, unsigned name)
{
	struct object *o = m->at[dir][name];

	m->at[dir][name] = NULL;
	if (o == NULL || --o->names > 0)
		return;
	m->total_bytes -= o->size;
	free(o->bytes);
	free(o);
}

void model_finish(struct model *m)
{
	for (unsigned d = 0; d < DIRS; d++) {
		for (unsigned n = 0; n < NAMES; n++)
			drop_name(m, d, n);
	}
}

static void resize(struct model *m, struct object *o, uint64_t size)
{
	if (size > o->room) {
		o->room = size + size / 2;
		o->bytes = checked(realloc(o->bytes, o->room));
	}
	if (size > o->size)
		memset(o->bytes + o->size, 0, size - o->size);
	m->total_bytes += size - o->size;
	o->size = size;
}

static void fill(uint8_t *to, uint64_t bytes, uint64_t seed)
{
	uint64_t word;

	for (; bytes >= 8; bytes -= 8, to += 8) {
		word = random_next(&seed);
		memcpy(to, &word, 8);
	}
	word = random_next(&seed);
	memcpy(to, &word, bytes);
}

static void target_text(char *text, uint64_t data)
{
	snprintf(text, TARGET_MAX, "to-%llx", (unsigned long long)(data & 0xffffffff));
}

void model_apply(struct model *m, const struct op *op)
{
	struct object **from = &m->at[op->dir][op->name];
	struct object **to = &m->at[op->other_dir][op->other_name];
	struct object *swap;

	switch (op->kind) {
	case OP_CREATE:
		new_object(m, op->dir, op->name);
		break;
	case OP_APPEND:
	case OP_OVERWRITE:
		if (op->offset + op->length > (*from)->size)
			resize(m, *from, op->offset + op->length);
		fill((*from)->bytes + op->offset, op->length, op->data);
		break;
	case OP_TRUNCATE:
		resize(m, *from, op->length);
		break;
	case OP_PUNCH:
		memset((*from)->bytes + op->offset, 0, op->length);
		break;
	case OP_RENAME:
		if (*from == *to) /* two names of one file: POSIX says nothing happens */
			break;
		drop_name(m, op->other_dir, op->other_name);
		*to = *from;
		*from = NULL;
		break;
	case OP_EXCHANGE:
		swap = *from;
		*from = *to;
		*to = swap;
		break;
	case OP_LINK:
		*to = *from;
		(*from)->names++;
		break;
	case OP_SYMLINK:
		target_text(new_object(m, op->dir, op->name)->target, op->data);
		break;
	case OP_UNLINK:
		drop_name(m, op->dir, op->name);
		break;
	case OP_MKDIR:
		m->dir[op->dir] = true;
		break;
	case OP_RMDIR:
		m->dir[op->dir] = false;
		break;
	case OP_SETXATTR:
		(*from)->attribute = op->data;
		break;
	case OP_KINDS:
		break;
	}
	m->done++;
}

/* ---- choosing ------------------------------------------------------------------------------------- */

static uint64_t below(uint64_t *state, uint64_t limit)
{
	return random_next(state) % limit;
}

static bool is_file(const struct object *o)
{
	return o != NULL && o->target[0] == '\0';
}

static bool dir_is_empty(const struct model *m, unsigned dir)
{
	for (unsigned n = 0; n < NAMES; n++) {
		if (m->at[dir][n] != NULL)
			return false;
	}
	return true;
}

/* Mostly small, now and then large. */
static uint64_t random_length(uint64_t *state)
{
	switch (below(state, 16)) {
	case 0:
		return 1 + below(state, 256 << 10);
	case 1:
	case 2:
		return 1 + below(state, 64 << 10);
	case 3:
	case 4:
		return 4096 * (1 + below(state, 8));
	default:
		return 1 + below(state, 4096);
	}
}

static enum op_kind random_kind(uint64_t *state)
{
	static const struct {
		enum op_kind kind;
		unsigned weight;
	} mix[] = {
		{OP_CREATE, 18},  {OP_APPEND, 24}, {OP_OVERWRITE, 8}, {OP_TRUNCATE, 4},
		{OP_PUNCH, 2},	  {OP_RENAME, 14}, {OP_EXCHANGE, 2},  {OP_LINK, 4},
		{OP_SYMLINK, 2},  {OP_UNLINK, 16}, {OP_MKDIR, 2},     {OP_RMDIR, 1},
		{OP_SETXATTR, 3},
	};
	unsigned total = 0, pick;

	for (size_t i = 0; i < sizeof mix / sizeof mix[0]; i++)
		total += mix[i].weight;
	pick = (unsigned)below(state, total);
	for (size_t i = 0;; i++) {
		if (pick < mix[i].weight)
			return mix[i].kind;
		pick -= mix[i].weight;
	}
}

/* Sets offset and length of what changes contents. */
static bool choose_range(const struct model *m, const struct object *o, struct op *op,
			 uint64_t *state)
{
	switch (op->kind) {
	case OP_APPEND:
		op->offset = o->size;
		op->length = random_length(state);
		return o->size + op->length <= FILE_MAX && m->total_bytes + op->length <= TOTAL_MAX;
	case OP_OVERWRITE:
		if (o->size == 0)
			return false;
		op->offset = below(state, o->size);
		op->length = random_length(state) & 0xffff;
		if (op->length > o->size - op->offset)
			op->length = o->size - op->offset;
		return op->length > 0;
	case OP_TRUNCATE:
		op->length = below(state, o->size + 8192);
		return op->length <= FILE_MAX && m->total_bytes + 8192 <= TOTAL_MAX;
	case OP_PUNCH:
		if (o->size == 0)
			return false;
		op->offset = below(state, o->size);
		op->length = 1 + below(state, o->size - op->offset);
		return true;
	default:
		return true;
	}
}

static bool is_valid(const struct model *m, struct op *op, uint64_t *state)
{
	const struct object *from = m->at[op->dir][op->name];
	const struct object *to = m->at[op->other_dir][op->other_name];
	bool same = op->dir == op->other_dir && op->name == op->other_name;

	if (op->kind == OP_MKDIR)
		return op->dir > 0 && !m->dir[op->dir];
	if (!m->dir[op->dir] || !m->dir[op->other_dir])
		return false;
	switch (op->kind) {
	case OP_CREATE:
	case OP_SYMLINK:
		return from == NULL;
	case OP_RENAME:
		return from != NULL && !same;
	case OP_EXCHANGE:
		return from != NULL && to != NULL && !same;
	case OP_LINK:
		return is_file(from) && to == NULL;
	case OP_UNLINK:
		return from != NULL;
	case OP_RMDIR:
		return op->dir > 0 && dir_is_empty(m, op->dir);
	default:
		return is_file(from) && choose_range(m, from, op, state);
	}
}

void model_next(const struct model *m, struct op *op)
{
	uint64_t state = m->seed ^ m->done * UINT64_C(0xd1342543de82ef95);

	do {
		op->kind = random_kind(&state);
		op->dir = (unsigned)below(&state, DIRS);
		op->name = (unsigned)below(&state, NAMES);
		op->other_dir = (unsigned)below(&state, DIRS);
		op->other_name = (unsigned)below(&state, NAMES);
		op->offset = op->length = 0;
		op->data = random_next(&state) | 1;
	} while (!is_valid(m, op, &state));
}

void model_advance(struct model *m, uint64_t done)
{
	struct op op;

	while (m->done < done) {
		model_next(m, &op);
		model_apply(m, &op);
	}
}

/* ---- on a pool ------------------------------------------------------------------------------------- */

static int write_range(struct adit_pool *pool, const char *path, const struct op *op)
{
	struct iovec iov = {checked(malloc(op->length)), op->length};
	int flags = O_WRONLY | (op->kind == OP_APPEND ? O_APPEND : 0), fd;
	ssize_t n;

	fill(iov.iov_base, op->length, op->data);
	fd = adit_openat(pool, AT_FDCWD, path, flags, 0);
	n = fd < 0 ? fd
		   : adit_pwritev2(pool, fd, &iov, 1, (off_t)op->offset,
				   op->kind == OP_OVERWRITE ? ATOMIC : 0);
	if (fd >= 0)
		adit_close_fd(pool, fd);
	free(iov.iov_base);
	return n < 0 ? (int)n : (uint64_t)n == op->length ? 0 : -EIO;
}

static int create(struct adit_pool *pool, const char *path)
{
	int fd = adit_openat(pool, AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL, 0644);

	return fd < 0 ? fd : adit_close_fd(pool, fd);
}

static int punch(struct adit_pool *pool, const char *path, const struct op *op)
{
	int rc, fd = adit_openat(pool, AT_FDCWD, path, O_WRONLY, 0);

	if (fd < 0)
		return fd;
	rc = adit_fallocate(pool, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)op->offset,
			    (off_t)op->length);
	adit_close_fd(pool, fd);
	return rc;
}

int pool_apply(struct adit_pool *pool, const char *base, const struct op *op)
{
	char path[PATH_BYTES], other[PATH_BYTES], target[TARGET_MAX];
	uint64_t value = op->data;

	name_path(path, base, op->dir, op->name);
	name_path(other, base, op->other_dir, op->other_name);
	switch (op->kind) {
	case OP_CREATE:
		return create(pool, path);
	case OP_APPEND:
	case OP_OVERWRITE:
		return write_range(pool, path, op);
	case OP_TRUNCATE:
		return adit_truncate(pool, path, (off_t)op->length);
	case OP_PUNCH:
		return punch(pool, path, op);
	case OP_RENAME:
		return adit_rename(pool, path, other);
	case OP_EXCHANGE:
		return adit_renameat2(pool, AT_FDCWD, path, AT_FDCWD, other, RENAME_EXCHANGE);
	case OP_LINK:
		return adit_link(pool, path, other);
	case OP_SYMLINK:
		target_text(target, op->data);
		return adit_symlink(pool, target, path);
	case OP_UNLINK:
		return adit_unlink(pool, path);
	case OP_MKDIR:
		dir_path(path, base, op->dir);
		return adit_mkdir(pool, path, 0755);
	case OP_RMDIR:
		dir_path(path, base, op->dir);
		return adit_rmdir(pool, path);
	case OP_SETXATTR:
		return adit_setxattr(pool, path, ATTRIBUTE, &value, sizeof value, 0);
	default:
		return -EINVAL;
	}
}
