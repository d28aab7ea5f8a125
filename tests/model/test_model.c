/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_model - random operations on the core and on the model, every result and the tree compared.
 *
 *	test_model [seed [operations]]	one run with this seed
 *	ADIT_SECONDS=n			how long runs with new seeds go on (default 10)
 *
 * A failure prints the seed and the last operations. Each run closes and reopens, or abandons and
 * recovers, now and then; at its end everything is deleted and the pool must be as empty as it was.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/check.h"
#include "core/linux_abi.h"
#include "core/namei.h"
#include "subject.h"

#define POOL_BYTES (12ull << 20) /* or a half or a third of it: the last is soon full */
#define OPS_A_RUN 3000
#define HISTORY 12

struct run {
	struct subject s;
	struct model m;
	uint64_t seed, rng;
	int64_t now;
	unsigned dirs, files; /* how wide the name space is */
	bool greedy;	      /* much data in a small pool */
	uint64_t done, refused, tried[OP_KINDS], worked[OP_KINDS];
	char history[HISTORY][OP_TEXT_MAX];
};

static uint64_t total_ops, total_refused, total_tried[OP_KINDS], total_worked[OP_KINDS];
static uint64_t total_compares;

static uint64_t below(struct run *r, uint64_t n)
{
	return op_random(&r->rng) % n;
}

static void fail(struct run *r, const char *what)
{
	printf("FAILED: seed %llu, operation %lld: %s\n", (unsigned long long)r->seed,
	       (long long)r->now, what);
	for (unsigned i = 0; i < HISTORY; i++)
		if (r->history[(r->now + 1 + i) % HISTORY][0])
			printf("  %s\n", r->history[(r->now + 1 + i) % HISTORY]);
	printf("again: test_model %llu\n", (unsigned long long)r->seed);
	exit(1);
}

/* ---- choosing ------------------------------------------------------------------------ */

static void choose_path(struct run *r, char *path)
{
	static const char *const pad[] = {"", "", "", "~40", "~255"};
	uint64_t depth = below(r, 3);
	size_t at = 0;

	if (below(r, 12) == 0) {
		snprintf(path, OP_PATH_MAX, "@%u", (unsigned)below(r, 4));
		return;
	}
	for (uint64_t i = 0; i < depth; i++)
		at += (size_t)snprintf(path + at, OP_PATH_MAX - at, "/d%u",
				       (unsigned)below(r, r->dirs));
	if (below(r, 6) == 0)
		snprintf(path + at, OP_PATH_MAX - at, "/d%u", (unsigned)below(r, r->dirs));
	else {
		unsigned f = (unsigned)below(r, r->files);

		/* The pad belongs to the number, so that names are met again. */
		snprintf(path + at, OP_PATH_MAX - at, "/f%u%s", f,
			 below(r, 300) == 0 ? "~256" : pad[f % 5]);
	}
}

/* Down from "/" by chance: something that is there. */
static uint32_t walk_path(struct run *r, char *path, uint32_t type)
{
	uint32_t node = MODEL_NONE;

	for (unsigned tries = 0; tries < 8; tries++) {
		size_t at = 0;

		node = MODEL_ROOT;
		path[0] = '\0';
		while (r->m.node[node].entries && (at == 0 || below(r, 4))) {
			const struct model_node *dir = &r->m.node[node];
			const struct model_dirent *e = &dir->entry[below(r, dir->entries)];

			if (at + e->len + 2 > 1000)
				break;
			at += (size_t)snprintf(path + at, OP_PATH_MAX - at, "/%.*s", (int)e->len,
					       e->name);
			node = e->node;
		}
		if (at == 0)
			strcpy(path, "/");
		if (at && (type == 0 || (r->m.node[node].mode & S_IFMT) == type))
			break;
	}
	return node;
}

/* A name, there or not, in a directory that is there. */
static void new_path(struct run *r, char *path)
{
	char last[OP_PATH_MAX];

	if (below(r, 3) == 0) {
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

static uint64_t choose_offset(struct run *r)
{
	switch (below(r, 8)) {
	case 0:
		return 0;
	case 1:
		return below(r, 120);
	case 2:
		return below(r, 5000);
	case 3:
		return 4096 * below(r, 40);
	case 4:
		return 4096 * below(r, 40) + below(r, 4096);
	case 5:
		return 8 * below(r, 20000);
	case 6:
		return 4096 * below(r, 600);
	default:
		return below(r, 30) ? below(r, 200000) : (1ull << (20 + below(r, 44))) - below(r, 9);
	}
}

static uint64_t choose_length(struct run *r)
{
	switch (below(r, 7)) {
	case 0:
		return below(r, 16);
	case 1:
		return below(r, 130);
	case 2:
		return below(r, 600);
	case 3:
		return 4096 * below(r, 5);
	case 4:
		return below(r, 20000);
	case 5:
		return 4096 + below(r, 3);
	default:
		return below(r, r->greedy ? 3 : 20) ? below(r, 9000) : below(r, 300000);
	}
}

static const char *choose_xattr(struct run *r)
{
	static const char *const names[] = {
		"user.a", "user.b", "user.c~200", "user.d", "user.e~255", "trusted.t", "security.s",
		"security.capability", "system.posix_acl_access", "system.posix_acl_default",
		"user.", "bad.name", "user.f~256", "user.g", "user.h", "user.i",
	};

	return names[below(r, sizeof names / sizeof *names)];
}

static void choose_numbers(struct run *r, struct op *op)
{
	static const uint32_t types[] = {S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK, S_IFREG};
	static const int modes[] = {0, 1, 3, 0x10, 0x11, 3, 8, 0x20, 0x40, 0x41, 2, 9, 0x13, 0x80};

	switch (op->kind) {
	case OP_MKNOD:
		op->n[0] = types[below(r, 5)] | 0644;
		op->n[1] = (op->n[0] & S_IFMT) == S_IFCHR || (op->n[0] & S_IFMT) == S_IFBLK
				   ? below(r, 1ull << 40) : 0;
		break;
	case OP_SYMLINK:
		op->n[0] = below(r, 4) ? below(r, 150) : below(r, 4100);
		break;
	case OP_RENAME:
		op->n[0] = below(r, 2) ? 0 : below(r, 9);
		break;
	case OP_WRITE:
		op->n[0] = choose_offset(r);
		op->n[1] = choose_length(r);
		op->n[2] = below(r, 2);
		break;
	case OP_APPEND:
		op->n[0] = choose_length(r);
		break;
	case OP_TRUNCATE:
		op->n[0] = below(r, 4) ? choose_offset(r) : 0;
		break;
	case OP_FALLOCATE:
		op->n[0] = (uint64_t)modes[below(r, sizeof modes / sizeof *modes)];
		op->n[1] = choose_offset(r) % (1 << 22);
		op->n[2] = choose_length(r);
		if (below(r, 2)) {
			op->n[1] &= ~4095ull;
			op->n[2] = (op->n[2] & ~4095ull) + 4096;
		}
		break;
	case OP_CHOWN:
		op->n[0] = below(r, 3);
		op->n[1] = below(r, 3);
		break;
	case OP_UTIME:
		op->n[0] = op_random(&r->rng) >> 1;
		op->n[1] = below(r, 1000);
		break;
	case OP_IFLAGS: /* mostly back to none */
		op->n[0] = below(r, 4) ? below(r, 3) / 2 << 9 : below(r, 8) << 9;
		break;
	case OP_SETXATTR:
		op->n[0] = below(r, 30) == 0 ? 60000 + below(r, 7000)
					     : below(r, 3) ? below(r, 700) : below(r, 9000);
		op->n[1] = below(r, 2) ? 0 : below(r, 5);
		break;
	default:
		op->n[0] = op->kind == OP_CREATE || op->kind == OP_MKDIR || op->kind == OP_CHMOD
				   ? below(r, 8) ? 0644 : below(r, 010000) : below(r, 4);
		break;
	}
}

static void choose_paths(struct run *r, struct op *op)
{
	uint32_t node = MODEL_NONE;

	new_path(r, op->path2);
	if (op->path2[0] == '@')
		snprintf(op->path2, sizeof op->path2, "/f0");
	if (below(r, 4) == 0)
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
	if (node != MODEL_NONE && r->m.node[node].xattrs && below(r, 2)) {
		const struct model_node *n = &r->m.node[node];

		snprintf(op->path2, sizeof op->path2, "%s", n->xattr[below(r, n->xattrs)].name);
	}
}

static void choose(struct run *r, struct op *op)
{
	static const unsigned char weight[OP_KINDS] = {
		[OP_CREATE] = 14, [OP_MKDIR] = 8, [OP_MKNOD] = 3, [OP_SYMLINK] = 4, [OP_LINK] = 6,
		[OP_UNLINK] = 10, [OP_RMDIR] = 4, [OP_RENAME] = 14, [OP_WRITE] = 20,
		[OP_APPEND] = 8, [OP_TRUNCATE] = 8, [OP_FALLOCATE] = 12, [OP_CHMOD] = 2,
		[OP_CHOWN] = 2, [OP_UTIME] = 2, [OP_IFLAGS] = 3, [OP_SETXATTR] = 8,
		[OP_RMXATTR] = 4, [OP_TMPFILE] = 2, [OP_HOLD] = 4, [OP_RELEASE] = 6,
		[OP_CHECKPOINT] = 1, [OP_LANE] = 2,
	};
	unsigned sum = 0, kind = 0;
	uint64_t at;

	for (unsigned i = 0; i < OP_KINDS; i++)
		sum += weight[i];
	for (at = below(r, sum); at >= weight[kind]; kind++)
		at -= weight[kind];
	memset(op, 0, sizeof *op);
	op->kind = (enum op_kind)kind;
	choose_paths(r, op);
	if (op->kind == OP_TMPFILE && below(r, 2))
		snprintf(op->path, sizeof op->path, "/");
	choose_numbers(r, op);
}

/* Calls that need a name are given one. */
static bool makes_sense(const struct op *op)
{
	switch (op->kind) {
	case OP_CREATE: case OP_MKDIR: case OP_MKNOD: case OP_SYMLINK:
	case OP_UNLINK: case OP_RMDIR: case OP_RENAME: case OP_TMPFILE:
		return op->path[0] != '@';
	default:
		return true;
	}
}

/* ---- running ---------------------------------------------------------------------------- */

static void look(struct run *r)
{
	struct difference d;
	char text[1200], first[400] = "";
	int found;

	total_compares++;
	if (compare(&r->s, &r->m, NULL, NULL, &d)) {
		snprintf(text, sizeof text, "tree differs: %s", d.text);
		fail(r, text);
	}
	found = adit__check_quiet(r->s.fs, first, sizeof first);
	if (found) {
		snprintf(text, sizeof text, "check: %d: %s", found, first);
		fail(r, text);
	}
	if (r->s.reports)
		fail(r, r->s.report);
}

static void one(struct run *r, const struct op *op)
{
	struct adit_statfs before, after;
	char text[200];
	int64_t got, want;

	op_print(op, r->history[++r->now % HISTORY], OP_TEXT_MAX);
	adit__core_statfs(r->s.fs, &before);
	got = subject_apply(&r->s, op, r->now);
	r->done++;
	r->tried[op->kind]++;
	r->worked[op->kind] += got >= 0;
	if (got == -ENOSPC) {
		/* Nothing has happened, and there was not much. Larger calls need more. */
		adit__core_statfs(r->s.fs, &after);
		if (before.available > 64 + (op->n[0] | op->n[1] | op->n[2]) / 4096)
			fail(r, "ENOSPC with enough space");
		r->refused++;
		return;
	}
	want = model_apply(&r->m, op, r->now);
	if (want != got) {
		snprintf(text, sizeof text, "the core says %lld, the model %lld", (long long)got,
			 (long long)want);
		fail(r, text);
	}
}

static void reopen(struct run *r, bool cleanly)
{
	int err;

	if (cleanly) {
		err = subject_close(&r->s);
		if (err)
			fail(r, "close failed");
	} else {
		subject_abandon(&r->s);
	}
	err = subject_open(&r->s);
	if (err)
		fail(r, cleanly ? "open after close failed" : "recovery failed");
	model_restart(&r->m);
	look(r);
}

/* Names here hold no '~': padded ones are ordinary letters. */
static void path_of(struct run *r, char path[OP_PATH_MAX], const char *dir,
		    const struct model_dirent *e)
{
	if (snprintf(path, OP_PATH_MAX, "%s/%.*s", dir, (int)e->len, e->name) >= OP_PATH_MAX)
		fail(r, "path too long");
}

static void delete_below(struct run *r, const char *dir, uint32_t node)
{
	while (r->m.node[node].entries) {
		struct model_dirent e = r->m.node[node].entry[r->m.node[node].entries / 2];
		struct op op = {.kind = OP_UNLINK};

		path_of(r, op.path, dir, &e);
		if ((r->m.node[e.node].mode & S_IFMT) == S_IFDIR) {
			delete_below(r, op.path, e.node);
			op.kind = OP_RMDIR;
		}
		one(r, &op);
		if (r->m.node[e.node].used && r->m.node[e.node].nlink &&
		    model_child(&r->m.node[node], e.name, e.len) != MODEL_NONE)
			fail(r, "cannot delete");
	}
}

static void clear_flags(struct run *r, const char *dir, uint32_t node)
{
	for (uint32_t i = 0; i < r->m.node[node].entries; i++) {
		const struct model_dirent *e = &r->m.node[node].entry[i];
		const struct model_node *n = &r->m.node[e->node];
		struct op op = {.kind = OP_IFLAGS};

		path_of(r, op.path, dir, e);
		if (n->iflags)
			one(r, &op);
		if ((n->mode & S_IFMT) == S_IFDIR)
			clear_flags(r, op.path, e->node);
	}
}

/* Free blocks, and what "/" and the inode table hold: they keep theirs. */
static uint64_t accounted(struct run *r)
{
	struct adit_statfs st;
	struct adit_attr root;

	adit__core_statfs(r->s.fs, &st);
	if (adit__getattr(r->s.fs, ADIT_INO_ROOT, &root))
		fail(r, "getattr of /");
	return st.free + root.blocks + get64(r->s.fs->root->itable.blocks);
}

static void empty(struct run *r, uint64_t before)
{
	const struct op root = {.kind = OP_IFLAGS, .path = "/"};
	char text[100];

	reopen(r, true);
	one(r, &root);
	clear_flags(r, "", MODEL_ROOT);
	delete_below(r, "", MODEL_ROOT);
	reopen(r, true);
	snprintf(text, sizeof text, "%lld blocks are lost", (long long)(before - accounted(r)));
	if (accounted(r) != before)
		fail(r, text);
}

static void run(uint64_t seed, unsigned ops)
{
	struct run r = {.seed = seed, .rng = seed};
	uint64_t blocks;

	subject_weak_hash = seed % 5 == 0 ? 7 : 0;
	/* Room for one change of an extent tree with two levels, not for two. */
	subject_full_after = seed % 7 < 2 ? 2000 + 300 * (uint32_t)(seed % 11) : 0;
	subject_full_room = 17920 + 200;
	r.dirs = 1 + (unsigned)below(&r, 6);
	r.files = seed % 4 == 0 ? 200 : 3 + (unsigned)below(&r, 20);
	r.greedy = seed % 3 == 2;
	subject_init(&r.s, POOL_BYTES / (1 + seed % 3));
	model_init(&r.m, 0755);
	subject_now = r.m.now = 0;
	subject_lane = 0;
	if (subject_mkfs(&r.s, 2) || subject_open(&r.s))
		fail(&r, "mkfs or open failed");
	blocks = accounted(&r);
	look(&r);
	for (unsigned i = 0; i < ops; i++) {
		struct op op;

		choose(&r, &op);
		if (!makes_sense(&op))
			continue;
		one(&r, &op);
		if (below(&r, 200) == 0)
			look(&r);
		if (below(&r, 400) == 0)
			reopen(&r, below(&r, 2));
	}
	look(&r);
	empty(&r, blocks);
	total_ops += r.done;
	total_refused += r.refused;
	for (unsigned i = 0; i < OP_KINDS; i++) {
		total_tried[i] += r.tried[i];
		total_worked[i] += r.worked[i];
	}
	model_finish(&r.m);
	subject_finish(&r.s);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
	const char *limit = getenv("ADIT_SECONDS"), *first = getenv("ADIT_SEED");
	double until = seconds() + (limit ? strtod(limit, NULL) : 10);
	uint64_t seed = first ? strtoull(first, NULL, 0) : 1, runs = 0;
	unsigned ops = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : OPS_A_RUN;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1) {
		run(strtoull(argv[1], NULL, 0), ops);
		runs++;
	}
	for (; argc <= 1 && seconds() < until; runs++)
		run(seed++, ops);
	printf("model: %llu runs, %llu operations (%llu refused for space), %llu trees compared, no "
	       "difference\n", (unsigned long long)runs, (unsigned long long)total_ops,
	       (unsigned long long)total_refused, (unsigned long long)total_compares);
	if (argc <= 1)
		printf("model: seeds %llu to %llu\n", (unsigned long long)(seed - runs),
		       (unsigned long long)(seed - 1));
	for (unsigned i = 0; i < OP_KINDS; i++)
		printf("  %-12s %9llu tried, %9llu succeeded\n", op_word((enum op_kind)i),
		       (unsigned long long)total_tried[i], (unsigned long long)total_worked[i]);
	return 0;
}
