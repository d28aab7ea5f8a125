/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * refuse_full.c - pools with k free blocks and i free inodes, k and i from 0 on: see refuse.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/inode.h"
#include "core/linux_abi.h"
#include "refuse.h"

/* Up to here every k; behind it, unless everything is asked for, twice as many each time. */
#define EACH_UP_TO   12u
#define INODES_UP_TO 2u

static uint64_t available(struct scene *c)
{
	struct adit_statfs s;

	adit__core_statfs(c->s.fs, &s);
	return s.available;
}

static unsigned free_slots(struct adit_fs *fs)
{
	unsigned n = 0;

	for (uint64_t ino = 0; ino < get64(fs->root->next_ino); ino += ADIT_ICLUSTER_INODES) {
		const struct adit_icluster_pm *c = (const void *)adit__inode_slot(fs, ino);

		n += (unsigned)__builtin_popcountll(~get64(c->used));
	}
	return n;
}

static bool use_up_inodes(struct scene *c, unsigned leave)
{
	struct op op = {.kind = OP_MKDIR, .path = "/fill", .n = {0755}};
	bool ok = scene_both(c, &op);

	op.kind = OP_CREATE;
	for (unsigned i = 0; ok && free_slots(c->s.fs) > leave; i++) {
		snprintf(op.path, sizeof op.path, "/fill/%u", i);
		ok = scene_both(c, &op);
	}
	return ok;
}

/* Blocks go to /big until k are left; false when a tree node came in between. */
static bool use_up_blocks(struct scene *c, uint64_t k)
{
	struct op op = {.kind = OP_CREATE, .path = "/big", .n = {0644}};
	const struct op checkpoint = {.kind = OP_CHECKPOINT};
	uint64_t at = 0, n;
	bool ok = scene_both(c, &op) && scene_both(c, &checkpoint);

	op.kind = OP_FALLOCATE;
	for (n = available(c); ok && n > 0 && available(c) > k;) {
		n = n < available(c) - k ? n : available(c) - k;
		op.n[0] = 0;
		op.n[1] = at * ADIT_BLOCK;
		op.n[2] = n * ADIT_BLOCK;
		if (subject_apply(&c->s, &op, c->now + 1) == 0) {
			(void)model_apply(&c->m, &op, ++c->now);
			at += n;
		} else {
			n /= 2;
		}
	}
	return ok && available(c) == k && scene_both(c, &checkpoint);
}

/* These must work however full the pool is (docs/guarantees.md, G6). */
static bool frees(const struct scene *c, const struct op *op)
{
	uint32_t node;
	uint64_t size;

	switch (op->kind) {
	case OP_UNLINK:
	case OP_RMDIR:
	case OP_RMXATTR:
	case OP_RELEASE:
	case OP_CHMOD:
	case OP_CHECKPOINT:
		return true;
	case OP_TRUNCATE: /* but what moves out of its inode needs a block */
		if (model_resolve(&c->m, op->path, &node) != 0)
			return true;
		size = c->m.node[node].size;
		return size == 0 || size > MODEL_INLINE || op->n[0] <= MODEL_INLINE;
	case OP_FALLOCATE: /* a hole */
		return op->n[0] == 3;
	case OP_RENAME: /* onto what is there */
		return op->n[0] == 0 && model_resolve(&c->m, op->path, &node) == 0 &&
		       model_resolve(&c->m, op->path2, &node) == 0;
	default:
		return false;
	}
}

/* On a full pool: removing something works, and then so does what did not. */
static const char *free_and_retry(struct scene *c, const struct op *op)
{
	const struct op unlink = {.kind = OP_UNLINK, .path = "/big"};
	const struct op again = {.kind = OP_CREATE, .path = "/afterwards", .n = {0600}};

	if (!scene_both(c, &unlink))
		return "unlink of the large file failed";
	if (!scene_both(c, op))
		return "it does not work after space was freed";
	/* The inode table may have to grow by a cluster and its neighbours; /big may have been smaller. */
	if (available(c) >= 64 && !scene_both(c, &again))
		return "no new file after space was freed";
	return scene_whole(c);
}

/* *enough: it succeeded. */
static const char *with_blocks(const struct stage *g, const struct op *op, uint64_t k,
			       unsigned inodes, bool *enough)
{
	const char *wrong = NULL;
	struct scene c;
	int64_t got;

	*enough = false;
	scene_begin(&c, g);
	if ((inodes <= INODES_UP_TO && !use_up_inodes(&c, inodes)) || !use_up_blocks(&c, k)) {
		scene_end(&c);
		return NULL;
	}
	refusals.filled++;
	scene_note(&c);
	got = subject_apply(&c.s, op, c.now + 1);
	if (got == -ENOSPC) {
		refusals.refused[op->kind][FULL]++;
		wrong = frees(&c, op) ? "a call that frees was refused" : scene_refused(&c);
		if (!wrong)
			wrong = free_and_retry(&c, op);
	} else {
		int64_t want = model_apply(&c.m, op, ++c.now);

		*enough = true;
		wrong = got == want ? scene_whole(&c) : "wrong result on a full pool";
	}
	scene_end(&c);
	return wrong;
}

void full(const struct stage *g, const struct op *op, const char *label)
{
	/* All inodes free, then 0, 1, 2 of them. */
	for (unsigned i = 0; i <= INODES_UP_TO + 1; i++) {
		unsigned inodes = i == 0 ? INODES_UP_TO + 1 : i - 1;
		bool enough = false;

		for (uint64_t k = 0; !enough && k < 700;) {
			const char *wrong = with_blocks(g, op, k, inodes, &enough);

			if (wrong) {
				char text[1600];

				snprintf(text, sizeof text, "%llu blocks, %u inodes: %.1500s",
					 (unsigned long long)k, inodes, wrong);
				refuse_failed(label, "full", (unsigned)k, text);
				return;
			}
			k += k < EACH_UP_TO || refusals.trial.everything ? 1 : k;
		}
		/* Without new inodes, one such round is enough. */
		if (op->kind > OP_LINK && op->kind != OP_TMPFILE)
			break;
	}
}
