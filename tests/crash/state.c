/* SPDX-License-Identifier: BSD-3-Clause */
/* state.c - pools that workloads start from; see explore.h. */
#include <stdio.h>
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
	op = (struct op){.kind = OP_FALLOCATE, .path = "/big",
			 .n = {0, 0, (fs.available - leave) * ADIT_BLOCK}};
	return both(s, st, &op);
}

bool state_make(struct state *st, uint64_t bytes, const struct op *ops, int n,
		const struct special *special)
{
	struct subject s;
	bool ok;

	memset(st, 0, sizeof *st);
	subject_init(&s, bytes);
	subject_now = 0;
	subject_lane = 0;
	model_init(&st->model, 0755);
	ok = subject_mkfs(&s, 2) == 0 && subject_open(&s) == 0;
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
	st->image = s.pm.base;
	st->bytes = bytes;
	return ok;
}

void state_finish(struct state *st)
{
	model_finish(&st->model);
	if (st->image)
		munmap(st->image, st->bytes);
	st->image = NULL;
}
