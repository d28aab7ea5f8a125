/* SPDX-License-Identifier: BSD-3-Clause */
/* chance.c - see chance.h. */
#include "chance.h"

#include <stdio.h>
#include <string.h>

#include "core/linux_abi.h"

uint64_t chance_below(struct chance *r, uint64_t n)
{
	return op_random(&r->rng) % n;
}

static void choose_path(struct chance *r, char *path)
{
	static const char *const pad[] = {"", "", "", "~40", "~255"};
	uint64_t depth = chance_below(r, 3);
	size_t at = 0;

	if (chance_below(r, 12) == 0) {
		snprintf(path, OP_PATH_MAX, "@%u", (unsigned)chance_below(r, 4));
		return;
	}
	for (uint64_t i = 0; i < depth; i++)
		at += (size_t)snprintf(path + at, OP_PATH_MAX - at, "/d%u",
				       (unsigned)chance_below(r, r->dirs));
	if (chance_below(r, 6) == 0)
		snprintf(path + at, OP_PATH_MAX - at, "/d%u", (unsigned)chance_below(r, r->dirs));
	else {
		unsigned f = (unsigned)chance_below(r, r->files);

		/* The pad belongs to the number, so that names are met again. */
		snprintf(path + at, OP_PATH_MAX - at, "/f%u%s", f,
			 chance_below(r, 300) == 0 ? "~256" : pad[f % 5]);
	}
}

/* Down from "/" by chance: something that is there. */
static uint32_t walk_path(struct chance *r, char *path, uint32_t type)
{
	uint32_t node = MODEL_NONE;

	for (unsigned tries = 0; tries < 8; tries++) {
		size_t at = 0;

		node = MODEL_ROOT;
		path[0] = '\0';
		while (r->m->node[node].entries && (at == 0 || chance_below(r, 4))) {
			const struct model_node *dir = &r->m->node[node];
			const struct model_dirent *e = &dir->entry[chance_below(r, dir->entries)];

			if (at + e->len + 2 > 1000)
				break;
			at += (size_t)snprintf(path + at, OP_PATH_MAX - at, "/%.*s", (int)e->len,
					       e->name);
			node = e->node;
		}
		if (at == 0)
			strcpy(path, "/");
		if (at && (type == 0 || (r->m->node[node].mode & S_IFMT) == type))
			break;
	}
	return node;
}

/* A name, there or not, in a directory that is there. */
static void new_path(struct chance *r, char *path)
{
	char last[OP_PATH_MAX];

	if (chance_below(r, 3) == 0) {
		choose_path(r, path);
		return;
	}
	if (walk_path(r, path, S_IFDIR) == MODEL_NONE)
		path[0] = '\0';
	choose_path(r, last);
	if (strcmp(path, "/") == 0)
		path[0] = '\0';
	if (last[0] != '@' && strlen(path) + strlen(last) < OP_PATH_MAX)
		strcat(path, strrchr(last, '/'));
	else
		strcat(path, "/x");
}

static uint64_t choose_offset(struct chance *r)
{
	switch (chance_below(r, 8)) {
	case 0:
		return 0;
	case 1:
		return chance_below(r, 120);
	case 2:
		return chance_below(r, 5000);
	case 3:
		return 4096 * chance_below(r, 40);
	case 4:
		return 4096 * chance_below(r, 40) + chance_below(r, 4096);
	case 5:
		return 8 * chance_below(r, 20000);
	case 6:
		return 4096 * chance_below(r, 600);
	default:
		return chance_below(r, 30)
			       ? chance_below(r, 200000)
			       : (1ull << (20 + chance_below(r, 44))) - chance_below(r, 9);
	}
}

static uint64_t choose_length(struct chance *r)
{
	switch (chance_below(r, 7)) {
	case 0:
		return chance_below(r, 16);
	case 1:
		return chance_below(r, 130);
	case 2:
		return chance_below(r, 600);
	case 3:
		return 4096 * chance_below(r, 5);
	case 4:
		return chance_below(r, 20000);
	case 5:
		return 4096 + chance_below(r, 3);
	default:
		return chance_below(r, r->greedy ? 3 : 20) ? chance_below(r, 9000)
							   : chance_below(r, 300000);
	}
}

static const char *choose_xattr(struct chance *r)
{
	static const char *const names[] = {
		"user.a",
		"user.b",
		"user.c~200",
		"user.d",
		"user.e~255",
		"trusted.t",
		"security.s",
		"security.capability",
		"system.posix_acl_access",
		"system.posix_acl_default",
		"user.",
		"bad.name",
		"user.f~256",
		"user.g",
		"user.h",
		"user.i",
	};

	return names[chance_below(r, sizeof names / sizeof *names)];
}

static void choose_numbers(struct chance *r, struct op *op)
{
	static const uint32_t types[] = {S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK, S_IFREG};
	static const int modes[] = {0, 1, 3, 0x10, 0x11, 3, 8, 0x20, 0x40, 0x41, 2, 9, 0x13, 0x80};

	switch (op->kind) {
	case OP_MKNOD:
		op->n[0] = types[chance_below(r, 5)] | 0644;
		op->n[1] = (op->n[0] & S_IFMT) == S_IFCHR || (op->n[0] & S_IFMT) == S_IFBLK
				   ? chance_below(r, 1ull << 40)
				   : 0;
		break;
	case OP_SYMLINK:
		op->n[0] = chance_below(r, 4) ? chance_below(r, 150) : chance_below(r, 4100);
		break;
	case OP_RENAME:
		op->n[0] = chance_below(r, 2) ? 0 : chance_below(r, 9);
		break;
	case OP_WRITE:
		op->n[0] = choose_offset(r);
		op->n[1] = choose_length(r);
		op->n[2] = chance_below(r, 2);
		break;
	case OP_APPEND:
		op->n[0] = choose_length(r);
		break;
	case OP_TRUNCATE:
		op->n[0] = chance_below(r, 4) ? choose_offset(r) : 0;
		break;
	case OP_FALLOCATE:
		op->n[0] = (uint64_t)modes[chance_below(r, sizeof modes / sizeof *modes)];
		op->n[1] = choose_offset(r) % (1 << 22);
		op->n[2] = choose_length(r);
		if (chance_below(r, 2)) {
			op->n[1] &= ~4095ull;
			op->n[2] = (op->n[2] & ~4095ull) + 4096;
		}
		break;
	case OP_CHOWN:
		op->n[0] = chance_below(r, 3);
		op->n[1] = chance_below(r, 3);
		break;
	case OP_UTIME:
		op->n[0] = op_random(&r->rng) >> 1;
		op->n[1] = chance_below(r, 1000);
		break;
	case OP_IFLAGS: /* mostly back to none */
		op->n[0] =
			chance_below(r, 4) ? chance_below(r, 3) / 2 << 9 : chance_below(r, 8) << 9;
		break;
	case OP_SETXATTR:
		op->n[0] = chance_below(r, 30) == 0 ? 60000 + chance_below(r, 7000)
			   : chance_below(r, 3)	    ? chance_below(r, 700)
						    : chance_below(r, 9000);
		op->n[1] = chance_below(r, 2) ? 0 : chance_below(r, 5);
		break;
	default:
		op->n[0] = op->kind == OP_CREATE || op->kind == OP_MKDIR || op->kind == OP_CHMOD
				   ? chance_below(r, 8) ? 0644 : chance_below(r, 010000)
				   : chance_below(r, 4);
		break;
	}
}

static void choose_paths(struct chance *r, struct op *op)
{
	uint32_t node = MODEL_NONE;

	new_path(r, op->path2);
	if (op->path2[0] == '@')
		snprintf(op->path2, sizeof op->path2, "/f0");
	if (chance_below(r, 4) == 0)
		choose_path(r, op->path);
	else if (op->kind <= OP_SYMLINK)
		new_path(r, op->path);
	else if (op->kind >= OP_WRITE && op->kind <= OP_FALLOCATE)
		node = walk_path(r, op->path, S_IFREG);
	else
		node = walk_path(r, op->path, op->kind == OP_RMDIR ? S_IFDIR : 0);
	if (op->kind != OP_SETXATTR && op->kind != OP_RMXATTR)
		return;
	snprintf(op->path2, sizeof op->path2, "%s", choose_xattr(r));
	if (node != MODEL_NONE && r->m->node[node].xattrs && chance_below(r, 2)) {
		const struct model_node *n = &r->m->node[node];

		snprintf(op->path2, sizeof op->path2, "%s",
			 n->xattr[chance_below(r, n->xattrs)].name);
	}
}

/* Calls that need a name are given one. */
static bool makes_sense(const struct op *op)
{
	switch (op->kind) {
	case OP_CREATE:
	case OP_MKDIR:
	case OP_MKNOD:
	case OP_SYMLINK:
	case OP_UNLINK:
	case OP_RMDIR:
	case OP_RENAME:
	case OP_TMPFILE:
		return op->path[0] != '@';
	default:
		return true;
	}
}

static void choose(struct chance *r, struct op *op)
{
	static const unsigned char weight[OP_KINDS] = {
		[OP_CREATE] = 14,  [OP_MKDIR] = 8,	[OP_MKNOD] = 3,	   [OP_SYMLINK] = 4,
		[OP_LINK] = 6,	   [OP_UNLINK] = 10,	[OP_RMDIR] = 4,	   [OP_RENAME] = 14,
		[OP_WRITE] = 20,   [OP_APPEND] = 8,	[OP_TRUNCATE] = 8, [OP_FALLOCATE] = 12,
		[OP_CHMOD] = 2,	   [OP_CHOWN] = 2,	[OP_UTIME] = 2,	   [OP_IFLAGS] = 3,
		[OP_SETXATTR] = 8, [OP_RMXATTR] = 4,	[OP_TMPFILE] = 2,  [OP_HOLD] = 4,
		[OP_RELEASE] = 6,  [OP_CHECKPOINT] = 1, [OP_LANE] = 2,
	};
	unsigned sum = 0, kind = 0;
	uint64_t at;

	for (unsigned i = 0; i < OP_KINDS; i++)
		sum += weight[i];
	for (at = chance_below(r, sum); at >= weight[kind]; kind++)
		at -= weight[kind];
	memset(op, 0, sizeof *op);
	op->kind = (enum op_kind)kind;
	choose_paths(r, op);
	if (op->kind == OP_TMPFILE && chance_below(r, 2))
		snprintf(op->path, sizeof op->path, "/");
	choose_numbers(r, op);
}

void chance_op(struct chance *r, struct op *op)
{
	do
		choose(r, op);
	while (!makes_sense(op));
}
