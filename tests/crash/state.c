/* SPDX-License-Identifier: BSD-3-Clause */
/* state.c - pools that workloads start from; see explore.h. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "explore.h"

/* The operation on both; they must agree. */
static bool both(struct subject *s, struct state *st, const struct op *op)
{
	int64_t got = subject_apply(s, op, ++st->now), want = model_apply(&st->model, op, st->now);
	char text[OP_TEXT_MAX];

	if (got == want)
		return true;
	op_print(op, text, sizeof text);
	printf("FAILED setup: %.300s: %lld, model %lld\n", text, (long long)got, (long long)want);
	return false;
}

static bool fill_ring(struct subject *s, struct state *st, uint64_t left)
{
	const struct op op = {.kind = OP_CHMOD, .path = "/", .n = {0755}};

	for (;;) {
		uint64_t ring = s->fs->ring_bytes, now = ring - s->fs->vol->lane[0].head % ring;

		if (now <= left)
			return true;
		if (!both(s, st, &op))
			return false;
	}
}

static bool fill_pool(struct subject *s, struct state *st, uint64_t leave)
{
	struct op op = {.kind = OP_CREATE, .path = "/big", .n = {0644}};
	struct adit_statfs fs;

	if (!both(s, st, &op))
		return false;
	adit__core_statfs(s->fs, &fs);
	op = (struct op){.kind = OP_FALLOCATE,
			 .path = "/big",
			 .n = {0, 0, (fs.available - leave) * ADIT_BLOCK}};
	return both(s, st, &op);
}

/* Open counts in them change past the header that records. */
static uint64_t *find_inodes(const uint8_t *image, uint64_t bytes)
{
	uint64_t pages = bytes / ADIT_BLOCK, *found = calloc(pages / 64 + 1, sizeof *found);

	if (found == NULL)
		abort();
	for (uint64_t at = 0; at < bytes; at += ADIT_INODE_BYTES)
		if (get32(((const struct adit_inode_pm *)(const void *)(image + at))->magic) ==
		    ADIT_MAGIC_INODE)
			found[at / ADIT_BLOCK / 64] |= 1ull << at / ADIT_BLOCK % 64;
	return found;
}

bool state_make(struct state *st, uint64_t bytes, const struct op *ops, int n,
		const struct special *special)
{
	uint8_t *newborn = special->newborn ? malloc(bytes) : NULL;
	struct subject s;
	bool ok;

	if (special->newborn && newborn == NULL)
		abort();
	memset(st, 0, sizeof *st);
	subject_init(&s, bytes);
	subject_now = 0;
	subject_lane = 0;
	model_init(&st->model, 0755);
	s.quiet = true;
	ok = subject_mkfs(&s, special->lanes ? special->lanes : 2) == 0;
	if (ok && special->newborn)
		memcpy(newborn, s.pm.base, bytes);
	ok = ok && subject_open(&s) == 0;
	ok = ok && subject_volatile(&s, st->areas);
	for (int i = 0; ok && i < n; i++)
		ok = both(&s, st, &ops[i]);
	if (ok && special->leave_blocks)
		ok = fill_pool(&s, st, special->leave_blocks);
	if (ok && special->ring_left)
		ok = fill_ring(&s, st, special->ring_left);
	st->lane = subject_lane;
	st->full_after = special->full_after;
	st->full_room = special->full_room;
	model_restart(&st->model);
	ok = ok && subject_close(&s) == 0;
	if (ok && newborn)
		memcpy(s.pm.base, newborn, bytes);
	free(newborn);
	st->image = s.pm.base;
	if (madvise(st->image, bytes, MADV_DONTFORK)) /* see level.c */
		abort();
	st->inode_pages = find_inodes(st->image, bytes);
	st->bytes = bytes;
	return ok;
}

void state_finish(struct state *st)
{
	model_finish(&st->model);
	free(st->inode_pages);
	st->inode_pages = NULL;
	if (st->image)
		munmap(st->image, st->bytes);
	st->image = NULL;
}
