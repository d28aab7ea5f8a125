/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * broken - each operation meets each structure with a bad checksum.
 *
 * For every state of tests/crash/workload.c, every operation of its table and every inode, inode cluster, tree node and
 * group and bitmap of that pool: the structure's checksum is made wrong, the pool opened, the operation called. It either never
 * looks there, and does what the model says; or it says EBADMSG or EUCLEAN and has changed nothing: with the checksum
 * right again the pool is as it was (or, where the operation works in steps and was decided, as it should become), the
 * check finds nothing, and the operation then succeeds. Every inode is read in every way as well.
 *
 *	broken			all of it
 *	broken TEXT		cases whose label contains it; a label is "state: operation: structure at offset"
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/file.h"
#include "core/linux_abi.h"
#include "core/namei.h"
#include "core/xattr.h"
#include "fs/env.h"
#include "proof.h"
#include "workload.h"

#define POOL_BYTES  (4ull << 20)
#define TARGETS_MAX 400
#define READ_INODES 24 /* the first so many */
#define READINGS    11
#define INODES_MAX  10 /* of a state: those that the operations name come first */

struct target {
	const char *name;
	uint64_t offset;
};

struct stage {
	const struct workload_state *of;
	struct state state;
	int fd;
	struct target target[TARGETS_MAX];
	unsigned targets;
};

static const char *only;
static unsigned failures;
static uint64_t tried, met, untouched, in_steps, readings;

/* ---- a state, closed ------------------------------------------------------------------ */

/* Holds end with the close: states that are about them are left out. */
static bool usable(const struct workload_state *w)
{
	return strstr(w->before, "hold ") == NULL && strstr(w->before, "tmpfile ") == NULL;
}

static void add_target(struct stage *g, const char *name, uint64_t offset)
{
	if (g->targets < TARGETS_MAX)
		g->target[g->targets++] = (struct target){name, offset};
}

/* The structures of the pool, found by their magic numbers and right checksums. */
static void find_targets(struct stage *g)
{
	const uint8_t *image = g->state.image;
	unsigned inodes = 0;

	for (uint64_t at = 0; at < POOL_BYTES; at += ADIT_INODE_BYTES) {
		const struct adit_inode_pm *i = (const struct adit_inode_pm *)(image + at);
		uint32_t magic = get32(i->magic);

		if (magic == ADIT_MAGIC_INODE && get32(i->mode) != 0 && get64(i->ino) > 1 &&
		    inodes < INODES_MAX) {
			add_target(g, "inode", at);
			inodes++;
		} else if (magic == ADIT_MAGIC_ICLUSTER && at % ADIT_BLOCK == 0) {
			add_target(g, "cluster", at);
		} else if (magic == ADIT_MAGIC_NODE && at % ADIT_BLOCK == 0) {
			add_target(g, "node", at);
		} else if (magic == ADIT_MAGIC_GROUP && at % ADIT_BLOCK == 0) {
			const struct adit_group_pm *group =
				(const struct adit_group_pm *)(image + at);

			add_target(g, "group", at);
			if (get32(group->seal[0].crc) != 0) /* a replica has none */
				add_target(g, "bitmap",
					   at + offsetof(struct adit_group_pm, seal[0].crc));
		}
	}
}

static bool stage_make(struct stage *g, const struct workload_state *w)
{
	char text[2000];
	struct op *ops;
	int n;
	bool ok;

	memset(g, 0, sizeof *g);
	g->of = w;
	snprintf(text, sizeof text, "%s; %s", w->setup, w->before);
	n = workload_parse(text, &ops);
	ok = n >= 0 && state_make(&g->state, POOL_BYTES, ops, n, &w->special);
	free(ops);
	g->fd = memfd_create("state", MFD_CLOEXEC);
	if (!ok || g->fd < 0 ||
	    pwrite(g->fd, g->state.image, POOL_BYTES, 0) != (ssize_t)POOL_BYTES) {
		fprintf(stderr, "broken: state %s cannot be made\n", w->name);
		return false;
	}
	find_targets(g);
	return true;
}

static void stage_finish(struct stage *g)
{
	state_finish(&g->state);
	close(g->fd);
}

/* ---- one case ----------------------------------------------------------------------------- */

struct scene {
	struct subject s;
	struct model old, new;
	struct model_torn torn;
	int64_t now, want;
	const struct op *op;
};

static void turn(struct scene *c, const struct target *t)
{
	c->s.pm.base[t->offset] ^= 0x5a; /* a byte of the checksum */
}

static bool is_damage(int64_t err)
{
	return err == -EBADMSG || err == -EUCLEAN;
}

/* Nothing is allocated from a group with a bad bitmap: to the caller it is full. */
static bool is_refusal(const struct target *t, int64_t err)
{
	return is_damage(err) || (err == -ENOSPC && strcmp(t->name, "bitmap") == 0);
}

static const char *said(const char *what, const char *detail)
{
	static char text[1400];

	snprintf(text, sizeof text, "%s: %s", what, detail);
	return text;
}

/* As before the operation, or after it, or between where an overwrite may tear. */
static const char *compare_either(struct scene *c, bool *done)
{
	struct difference d, d2;

	*done = false;
	if (compare(&c->s, &c->old, NULL, NULL, &d) == 0)
		return NULL;
	in_steps++;
	if (compare(&c->s, &c->new, NULL, NULL, &d2) == 0) {
		*done = true;
		return NULL;
	}
	if (c->torn.node != MODEL_NONE && compare(&c->s, &c->new, &c->old, &c->torn, &d2) == 0)
		return NULL;
	return said("neither as it was nor as it should become", d.text);
}

/* The structure is whole again. */
static const char *afterwards(struct scene *c)
{
	const char *wrong;
	char text[400];
	bool done;
	int64_t got;

	subject_abandon(&c->s);
	model_restart(&c->old);
	model_restart(&c->new);
	if (subject_open(&c->s) != 0)
		return said("the pool does not open", c->s.report);
	wrong = compare_either(c, &done);
	if (wrong)
		return wrong;
	if (adit__check_quiet(c->s.fs, text, sizeof text) != 0)
		return said("the check finds", text);
	if (done)
		return NULL;
	got = subject_apply(&c->s, c->op, c->now);
	if (got != c->want) {
		snprintf(text, sizeof text, "%lld, not %lld", (long long)got, (long long)c->want);
		return said("once more gives", text);
	}
	return NULL;
}

static const char *run_case(struct scene *c, const struct target *t)
{
	unsigned reports;
	int64_t got;

	turn(c, t);
	if (subject_open(&c->s) != 0) {
		untouched++; /* opening says so itself: test_check.c */
		return NULL;
	}
	reports = c->s.reports;
	got = subject_apply(&c->s, c->op, c->now);
	if (got == c->want && !is_refusal(t, got)) {
		untouched++;
		return NULL;
	}
	if (!is_refusal(t, got)) {
		static char text[100];

		snprintf(text, sizeof text, "gives %lld, not %lld", (long long)got,
			 (long long)c->want);
		return text;
	}
	met++;
	if (c->s.reports == reports)
		return "an error without a word";
	turn(c, t);
	return afterwards(c);
}

static void scene_begin(struct scene *c, const struct stage *g, const struct op *op)
{
	void *base = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, g->fd, 0);

	if (base == MAP_FAILED)
		abort();
	memset(c, 0, sizeof *c);
	subject_attach(&c->s, base, POOL_BYTES);
	c->s.quiet = true;
	c->op = op;
	c->now = g->state.now + 1;
	subject_now = c->now;
	subject_lane = g->state.lane;
	subject_full_after = g->state.full_after;
	subject_full_room = g->state.full_room;
	model_clone(&c->old, &g->state.model);
	model_clone(&c->new, &g->state.model);
	c->torn = model_may_tear(&c->old, op);
	c->want = model_apply(&c->new, op, c->now);
}

static void scene_end(struct scene *c)
{
	if (c->s.fs)
		subject_abandon(&c->s);
	munmap(c->s.pm.base, POOL_BYTES);
	model_finish(&c->old);
	model_finish(&c->new);
}

static void try_case(const struct stage *g, const char *text, const struct op *op,
		     const struct target *t)
{
	char label[300];
	struct scene c;
	const char *wrong;

	snprintf(label, sizeof label, "%s: %s: %s at %#llx", g->of->name, text, t->name,
		 (unsigned long long)t->offset);
	if (only && !strstr(label, only))
		return;
	tried++;
	scene_begin(&c, g, op);
	wrong = run_case(&c, t);
	if (wrong) {
		printf("FAILED %s: %s\n  again: broken '%s'\n", label, wrong, label);
		failures++;
	}
	scene_end(&c);
}

/* What the operation does in the whole pool; false: not what the model says, or nothing (no space). */
static bool is_sound(const struct stage *g, const struct op *op)
{
	struct scene c;
	bool ok;

	scene_begin(&c, g, op);
	ok = subject_open(&c.s) == 0 && subject_apply(&c.s, op, c.now) == c.want;
	scene_end(&c);
	return ok;
}

static void try_state(const struct stage *g)
{
	for (unsigned o = 0; o < workload_ops_count; o++) {
		struct op op;

		if (!op_parse(workload_ops[o].text, &op) || op.kind == OP_CHECKPOINT ||
		    op.kind == OP_RELEASE || strchr(workload_ops[o].text, '@') || !is_sound(g, &op))
			continue;
		for (unsigned i = 0; i < g->targets && failures < 20; i++)
			try_case(g, workload_ops[o].text, &op, &g->target[i]);
	}
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* What reading one inode in every way gives: results, and a sum over what was read. */
struct reading {
	int64_t result[READINGS];
	uint32_t sum[READINGS];
};

struct sum_up {
	uint32_t sum;
	struct adit_fs *fs;
	uint64_t dir;
	int err;
};

static int sum_entry(void *arg, uint64_t cookie, const void *name, size_t len,
		     const struct adit_dirent *de)
{
	struct sum_up *s = arg;
	struct adit_id id;

	(void)cookie;
	s->sum = s->sum * 31 + (uint32_t)de->ino + adit__crc32c(0, name, len);
	/* ".." is no entry: its directory says it. */
	if (len > 2 && s->err == 0)
		s->err = adit__lookup(s->fs, s->dir, name, len, &id);
	return 0;
}

static void read_inode(struct adit_fs *fs, uint64_t ino, struct reading *r)
{
	static uint8_t buffer[1 << 16];
	struct adit_iovec v = {buffer, sizeof buffer};
	struct sum_up s = {0, fs, ino, 0};
	struct adit_attr a = {0};
	unsigned n = 0;

	memset(r, 0, sizeof *r);
	r->result[n++] = adit__getattr(fs, ino, &a);
	r->sum[0] = adit__crc32c(0, &a, sizeof a);
	r->result[n] = adit__file_read(fs, ino, &v, 1, 0);
	if (r->result[n] > 0)
		r->sum[n] = adit__crc32c(0, buffer, (size_t)r->result[n]);
	n++;
	r->result[n++] = adit__file_read(fs, ino, &(struct adit_iovec){buffer, 8}, 1, 2000);
	r->result[n++] = adit__file_seek(fs, ino, 1, SEEK_DATA);
	r->result[n++] = adit__file_seek(fs, ino, 1, SEEK_HOLE);
	r->result[n++] = adit__readlink(fs, ino, buffer, sizeof buffer);
	r->result[n] = adit__readdir(fs, ino, 0, sum_entry, &s);
	r->sum[n++] = s.sum;
	r->result[n++] = s.err;
	r->result[n] = adit__listxattr(fs, ino, (char *)buffer, sizeof buffer);
	if (r->result[n] > 0)
		r->sum[n] = adit__crc32c(0, buffer, (size_t)r->result[n]);
	n++;
	r->result[n++] = adit__getxattr(fs, ino, "user.big", buffer, sizeof buffer);
	r->result[n++] = adit__getxattr(fs, ino, "user.none", buffer, sizeof buffer);
}

static bool reads_alike(const struct reading *want, const struct reading *got, unsigned *n)
{
	for (*n = 0; *n < READINGS; (*n)++)
		if (!is_damage(got->result[*n]) &&
		    (got->result[*n] != want->result[*n] || got->sum[*n] != want->sum[*n]))
			return false;
	return true;
}

/* Every inode read in every way, with this structure broken: as it was, or an error that says so. */
static void read_broken(const struct stage *g, const struct target *t, const struct reading *want)
{
	const struct op none = {.kind = OP_CHECKPOINT};
	struct reading got;
	struct scene c;
	unsigned n;

	scene_begin(&c, g, &none);
	turn(&c, t);
	if (subject_open(&c.s) == 0)
		for (unsigned i = 0; i < READ_INODES; i++) {
			read_inode(c.s.fs, i, &got);
			readings++;
			if (reads_alike(&want[i], &got, &n))
				continue;
			printf("FAILED %s: %s at %#llx broken: inode %u, way %u of reading it: "
			       "%lld, not %lld\n",
			       g->of->name, t->name, (unsigned long long)t->offset, i, n,
			       (long long)got.result[n], (long long)want[i].result[n]);
			failures++;
		}
	scene_end(&c);
}

static void try_reads(const struct stage *g)
{
	static struct reading want[READ_INODES];
	const struct op none = {.kind = OP_CHECKPOINT};
	struct scene c;

	if (only)
		return;
	scene_begin(&c, g, &none);
	if (subject_open(&c.s) != 0)
		abort();
	for (unsigned i = 0; i < READ_INODES; i++)
		read_inode(c.s.fs, i, &want[i]);
	scene_end(&c);
	for (unsigned i = 0; i < g->targets && failures < 20; i++)
		read_broken(g, &g->target[i], want);
}

static void write_proof(void)
{
	struct proof *proof = proof_begin(
		"broken", "R18",
		"Each operation meets each inode, cluster, tree node and "
		"group with a bad checksum: an error that changes nothing, or no notice.");

	proof_count(proof, "cases", tried);
	proof_count(proof, "of them refused", met);
	proof_count(proof, "of them not concerned", untouched);
	proof_count(proof, "inodes read", readings);
	if (proof_end(proof, failures) != 0)
		failures++;
}

int main(int argc, char **argv)
{
	struct timespec t0, t1;

	only = argc > 1 ? argv[1] : NULL;
	clock_gettime(CLOCK_MONOTONIC, &t0);
	for (unsigned i = 0; i < workload_states_count; i++) {
		static struct stage g;

		if (!usable(&workload_states[i]))
			continue;
		if (!stage_make(&g, &workload_states[i]))
			return 2;
		try_state(&g);
		try_reads(&g);
		stage_finish(&g);
	}
	write_proof();
	clock_gettime(CLOCK_MONOTONIC, &t1);
	printf("broken: %llu cases, %llu refused, %llu not concerned, %llu decided already; "
	       "%llu inodes read; %u failures; %.1f s\n",
	       (unsigned long long)tried, (unsigned long long)met, (unsigned long long)untouched,
	       (unsigned long long)in_steps, (unsigned long long)readings, failures,
	       (double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec));
	return failures > 0 || tried == 0;
}
