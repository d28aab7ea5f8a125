/* SPDX-License-Identifier: BSD-3-Clause */
/* scene.c - see scene.h. */
#include "scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/scratch.h"
#include "fs/env.h"

#define SPLIT_MAX 4u

/* ---- stages ------------------------------------------------------------------------- */

bool stage_make(struct stage *g, const struct workload_state *of)
{
	struct op *ops;
	int n = workload_parse(of->setup, &ops);
	bool ok = n >= 0 && state_make(&g->state, SCENE_POOL_BYTES, ops, n, &of->special);

	free(ops);
	g->of = of;
	g->nbefore = workload_parse(of->before, &g->before);
	g->fd = memfd_create("state", MFD_CLOEXEC);
	return ok && g->nbefore >= 0 && g->fd >= 0 &&
	       pwrite(g->fd, g->state.image, SCENE_POOL_BYTES, 0) == (ssize_t)SCENE_POOL_BYTES;
}

void stage_finish(struct stage *g)
{
	state_finish(&g->state);
	free(g->before);
	close(g->fd);
}

/* ---- scenes -------------------------------------------------------------------------- */

bool scene_both(struct scene *c, const struct op *op)
{
	int64_t want = model_apply(&c->m, op, ++c->now);

	return subject_apply(&c->s, op, c->now) == want;
}

void scene_begin(struct scene *c, const struct stage *g)
{
	void *base = mmap(NULL, SCENE_POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, g->fd, 0);
	bool ok = base != MAP_FAILED;

	if (!ok)
		abort();
	subject_attach(&c->s, base, SCENE_POOL_BYTES);
	c->s.quiet = true;
	c->now = g->state.now;
	subject_now = c->now;
	subject_lane = g->state.lane;
	subject_full_after = g->state.full_after;
	subject_full_room = g->state.full_room;
	model_clone(&c->m, &g->state.model);
	ok = subject_open(&c->s) == 0;
	for (int i = 0; ok && i < g->nbefore; i++)
		ok = scene_both(c, &g->before[i]);
	if (!ok) {
		fprintf(stderr, "state %s cannot be set up: %s\n", g->of->name, c->s.report);
		exit(2);
	}
	scene_note(c);
}

void scene_end(struct scene *c)
{
	subject_refuse_alloc = 0;
	subject_refuse_trylock = 0;
	subject_refuse_alloc_all = false;
	subject_busy_lock = NULL;
	subject_finish(&c->s);
	model_finish(&c->m);
}

/* Or is lent to the volatile region meanwhile. */
static uint64_t may_be_had(const struct adit_fs *fs)
{
	return fs->vol->free_blocks + adit__scratch_blocks(fs);
}

void scene_note(struct scene *c)
{
	struct adit_fs *fs = c->s.fs;

	adit__core_statfs(fs, &c->usage);
	c->free_blocks = may_be_had(fs);
	c->checkpoints = fs->vol->ckpt_count;
	c->next_ino = get64(fs->root->next_ino);
}

static const char *said(const char *what, const char *detail)
{
	static char text[1400];

	snprintf(text, sizeof text, "%s: %s", what, detail);
	return text;
}

bool scene_reopen(struct scene *c)
{
	subject_abandon(&c->s);
	model_restart(&c->m);
	return subject_open(&c->s) == 0;
}

const char *scene_equal(struct scene *c)
{
	struct difference d;

	if (adit__current_op != NULL)
		return "an operation was left behind";
	return compare(&c->s, &c->m, NULL, NULL, &d)
		       ? said("the pool is not as it should be", d.text)
		       : NULL;
}

/* Steps that were undone may have split nodes of a tree, which are not merged again, or have given up what
 * was reserved beyond the end of the file: all belongs to somebody, and the check finds nothing. */
static bool only_reshaped(struct scene *c, uint64_t now)
{
	char text[400];

	if (now + SPLIT_MAX < c->usage.free || adit__check_quiet(c->s.fs, text, sizeof text) != 0)
		return false;
	c->free_blocks += now - c->usage.free;
	c->reshaped++;
	return true;
}

const char *scene_refused(struct scene *c)
{
	struct adit_fs *fs = c->s.fs;
	/* The inode table grows in a record of its own, which stays. */
	bool grown = get64(fs->root->next_ino) != c->next_ino;
	struct adit_statfs now;

	adit__core_statfs(fs, &now);
	if (now.inodes_used != c->usage.inodes_used)
		return "inodes have leaked";
	if (now.free != c->usage.free && !grown && !only_reshaped(c, now.free))
		return "blocks have leaked (statfs)";
	/* What steps took and gave back again waits for a checkpoint; another one lets go of more. */
	if (may_be_had(fs) < c->free_blocks && adit__checkpoint(fs) != 0)
		return "checkpoint failed";
	if (may_be_had(fs) < c->free_blocks && !grown)
		return "reserved blocks have leaked";
	if (may_be_had(fs) != c->free_blocks && fs->vol->ckpt_count == c->checkpoints && !grown)
		return "blocks came from nowhere";
	scene_note(c);
	return scene_equal(c);
}

const char *scene_whole(struct scene *c)
{
	const char *wrong = scene_equal(c);
	struct adit_fs *fs = c->s.fs;
	char text[400];

	if (wrong)
		return wrong;
	if (adit__check_quiet(fs, text, sizeof text) != 0)
		return said("check", text);
	if (adit__checkpoint(fs) != 0)
		return "checkpoint failed";
	if (may_be_had(fs) != adit__total_free(fs))
		return "reserved blocks have leaked";
	return NULL;
}

/* ---- the run --------------------------------------------------------------------------- */

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void trial_begin(struct trial *t, const char *program, int argc, char **argv)
{
	const char *limit = getenv("ADIT_SECONDS");

	setvbuf(stdout, NULL, _IOLBF, 0);
	memset(t, 0, sizeof *t);
	t->program = program;
	t->began = seconds();
	t->until = t->began + (limit ? strtod(limit, NULL) : 0);
	t->everything = limit != NULL;
	if (argc > 2 && strcmp(argv[1], "--only") == 0)
		t->only = argv[2];
}

double trial_seconds(const struct trial *t)
{
	return seconds() - t->began;
}

bool trial_wants(const struct trial *t, const char *label)
{
	return t->failures < 20 && (t->only == NULL || strstr(label, t->only) != NULL);
}

void trial_failed(struct trial *t, const char *label, const char *wrong)
{
	t->failures++;
	printf("FAILED %s\n  again: %s --only '%s'\n", wrong, t->program, label);
}
