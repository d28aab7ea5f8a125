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
#include "chance.h"
#include "proof.h"
#include "subject.h"

#define POOL_BYTES (12ull << 20) /* or a half or a third of it: the last is soon full */
#define OPS_A_RUN 3000
#define HISTORY 12

struct run {
	struct subject s;
	struct model m;
	struct chance chance;
	uint64_t seed;
	int64_t now;
	uint64_t done, refused, tried[OP_KINDS], worked[OP_KINDS];
	char history[HISTORY][OP_TEXT_MAX];
};

static uint64_t total_ops, total_refused, total_tried[OP_KINDS], total_worked[OP_KINDS];
static uint64_t total_compares;
static struct proof *proof;

static void prove(uint64_t runs, unsigned failures)
{
	static const char *const columns[] = {"tried", "succeeded"};

	proof_count(proof, "operations", total_ops);
	proof_count(proof, "refused for space", total_refused);
	proof_count(proof, "whole trees compared", total_compares);
	proof_count(proof, "pools", runs);
	proof_matrix(proof, "operations", columns, 2);
	for (unsigned i = 0; i < OP_KINDS; i++)
		proof_row(proof, op_word((enum op_kind)i),
			  (const uint64_t[]){total_tried[i], total_worked[i]});
	proof_end(proof, failures);
}

static void fail(struct run *r, const char *what)
{
	printf("FAILED: seed %llu, operation %lld: %s\n", (unsigned long long)r->seed,
	       (long long)r->now, what);
	for (unsigned i = 0; i < HISTORY; i++)
		if (r->history[(r->now + 1 + i) % HISTORY][0])
			printf("  %s\n", r->history[(r->now + 1 + i) % HISTORY]);
	printf("again: test_model %llu\n", (unsigned long long)r->seed);
	prove(0, 1);
	exit(1);
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
	struct run r = {.seed = seed, .chance = {.rng = seed}};
	uint64_t blocks;

	subject_weak_hash = seed % 5 == 0 ? 7 : 0;
	/* Room for one change of an extent tree with two levels, not for two. */
	subject_full_after = seed % 7 < 2 ? 2000 + 300 * (uint32_t)(seed % 11) : 0;
	subject_full_room = 17920 + 200;
	r.chance.m = &r.m;
	r.chance.dirs = 1 + (unsigned)chance_below(&r.chance, 6);
	r.chance.files = seed % 4 == 0 ? 200 : 3 + (unsigned)chance_below(&r.chance, 20);
	r.chance.greedy = seed % 3 == 2;
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

		chance_op(&r.chance, &op);
		one(&r, &op);
		if (chance_below(&r.chance, 200) == 0)
			look(&r);
		if (chance_below(&r.chance, 400) == 0)
			reopen(&r, chance_below(&r.chance, 2));
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
	proof = proof_begin("model", "R14", "random operations on the core and on a model of a file system: every result "
					    "equal, whole trees equal now and then, nothing leaked at the end");
	proof_seed(proof, seed);
	if (argc > 1) {
		run(strtoull(argv[1], NULL, 0), ops);
		runs++;
	}
	for (; argc <= 1 && seconds() < until; runs++)
		run(seed++, ops);
	for (unsigned i = 0; i < OP_KINDS; i++)
		printf("  %-12s %9llu tried, %9llu succeeded\n", op_word((enum op_kind)i),
		       (unsigned long long)total_tried[i], (unsigned long long)total_worked[i]);
	if (argc <= 1)
		printf("model: seeds %llu to %llu\n", (unsigned long long)(seed - runs),
		       (unsigned long long)(seed - 1));
	printf("model: %llu runs, %llu operations (%llu refused for space), %llu trees compared, no "
	       "difference\n", (unsigned long long)runs, (unsigned long long)total_ops,
	       (unsigned long long)total_refused, (unsigned long long)total_compares);
	prove(runs, 0);
	return 0;
}
