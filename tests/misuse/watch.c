/* SPDX-License-Identifier: BSD-3-Clause */
/* watch.c - see watch.h. */
#include "watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/namei.h"
#include "core/scratch.h"
#include "core/alloc.h"
#include "core/inode.h"
#include "core/log.h"
#include "media/record.h"
#include "stores.h"

/* ---- where ----------------------------------------------------------------------------- */

static const struct adit_super_pm *super(const struct watch *w)
{
	return (const void *)w->s.pm.base;
}

static bool between(uint64_t offset, uint64_t block, uint64_t blocks)
{
	return offset / ADIT_BLOCK >= block && offset / ADIT_BLOCK < block + blocks;
}

void watch_where(const struct watch *w, uint64_t offset, char *text, size_t len)
{
	const struct adit_super_pm *s = super(w);
	const char *what = "block";

	if (offset / ADIT_BLOCK == 0 || offset / ADIT_BLOCK == ADIT_SUPER_COPY)
		what = "superblock";
	else if (between(offset, get64(s->root_block), 1))
		what = "root block";
	else if (between(offset, get64(s->root_copy), 1))
		what = "replica of the root block";
	else if (between(offset, get64(s->ckpt_start), 2))
		what = "checkpoint slot";
	else if (between(offset, get64(s->intent_start), 1))
		what = "intents";
	else if (between(offset, get64(s->lane_start),
			 (uint64_t)get32(s->lanes) * get32(s->lane_blocks)))
		what = "ring";
	else if (between(offset, get64(s->meta_start), get32(s->cluster_groups)))
		what = "group header";
	else if (between(offset, get64(s->meta_start) + get32(s->cluster_groups),
			 get32(s->cluster_groups)))
		what = "replica of a group header";
	else if (between(offset, get64(s->meta_start) + 2ull * get32(s->cluster_groups),
			 get32(s->cluster_groups) * ((get64(s->group_blocks) + 32767) / 32768)))
		what = "bitmap";
	snprintf(text, len, "%s, block %llu + %llu", what,
		 (unsigned long long)(offset / ADIT_BLOCK),
		 (unsigned long long)(offset % ADIT_BLOCK));
}

static bool in_volatile_area(const struct watch *w, uint64_t offset)
{
	for (unsigned i = 0; i < 3; i++)
		if (offset >= w->vol[i].offset && offset < w->vol[i].end)
			return true;
	return false;
}

#define NAMED_VOLATILE UINT64_MAX

/* open_word or data_seq of a slot of the inode table. While the pool is not open, those that were seen before
 * count: no record names such a word. */
static bool is_inode_volatile(const struct watch *w, uint64_t offset)
{
	struct adit_fs *fs = w->s.fs;
	uint64_t at = offset % ADIT_INODE_BYTES / 8 * 8, clusters;

	if (at != offsetof(struct adit_inode_pm, open_word) &&
	    at != offsetof(struct adit_inode_pm, data_seq))
		return false;
	if (!fs)
		return w->named[offset / 8] == NAMED_VOLATILE;
	clusters = get64(fs->root->next_ino) / ADIT_ICLUSTER_INODES;
	for (uint64_t c = 0; c < clusters; c++) {
		const void *slot = adit__inode_slot(fs, c * ADIT_ICLUSTER_INODES);
		uint64_t begin = slot ? adit__offset_of(fs, slot) : UINT64_MAX;

		if (offset >= begin && offset - begin < ADIT_ICLUSTER_BYTES) {
			w->named[offset / 8] = NAMED_VOLATILE;
			return true;
		}
	}
	return false;
}

/* A free block that is lent to the volatile region. */
static bool is_lent(const struct watch *w, uint64_t offset)
{
	if (!w->s.fs)
		return w->named[offset / 8] == NAMED_VOLATILE;
	if (!adit__is_scratch(w->s.fs, offset >> ADIT_BLOCK_SHIFT))
		return false;
	w->named[offset / 8] = NAMED_VOLATILE;
	return true;
}

static bool is_volatile(void *arg, uint64_t offset)
{
	return in_volatile_area(arg, offset) || is_inode_volatile(arg, offset) ||
	       is_lent(arg, offset);
}

/* ---- rules broken ------------------------------------------------------------------------ */

/*
 * What is allowed, and why; so many lines a call.
 */
static const struct allowance {
	enum rule rule;
	const char *where; /* watch_where begins so */
	enum { EVER, REPAIRING, OPENING } when;
	unsigned most;
	const char *why;
} allowances[] = {
	{RULE_EMPTY_FENCE, "fence", EVER, 1,
	 "a checkpoint within the call has fenced its fresh data already"},
	{RULE_EMPTY_FENCE, "fence", OPENING, 8, "what recovery builds on was durable already (I18)"},
	{RULE_STRAY_FLUSH, "bitmap", REPAIRING, 64 * 64,
	 "a bitmap block that was mended is written back whole"},
	{RULE_CLEAN_FLUSH, "bitmap", REPAIRING, 64 * 64, "the same"},
	{RULE_STRAY_FLUSH, "superblock", EVER, 64 * 64,
	 "the copy that stays is made durable before the other is written (I18)"},
	{RULE_CLEAN_FLUSH, "superblock", EVER, 64 * 64, "the same"},
	{RULE_STRAY_FLUSH, "checkpoint slot", OPENING, 64, "what recovery builds on (I18)"},
	{RULE_CLEAN_FLUSH, "checkpoint slot", OPENING, 64, "the same"},
	{RULE_STRAY_FLUSH, "ring", OPENING, 1 << 16, "the same"},
	{RULE_CLEAN_FLUSH, "ring", OPENING, 1 << 16, "the same"},
};

static bool applies(const struct watch *w, const struct allowance *a)
{
	return a->when == EVER || (a->when == REPAIRING ? w->repairs : w->opens);
}

static void broken(void *arg, enum rule rule, uint64_t offset)
{
	struct watch *w = arg;
	char where[100], text[300];

	watch_where(w, offset, where, sizeof where);
	if (rule == RULE_EMPTY_FENCE)
		snprintf(where, sizeof where, "fence");
	for (unsigned i = 0; i < sizeof allowances / sizeof *allowances; i++) {
		const struct allowance *a = &allowances[i];

		if (a->rule != rule || w->spent[i] >= a->most || !applies(w, a) ||
		    strncmp(where, a->where, strlen(a->where)) != 0)
			continue;
		w->spent[i]++;
		w->allowed++;
		return;
	}
	w->failures++;
	snprintf(text, sizeof text, "%s: %s", where, rule_text(rule));
	w->failed(w->arg, text);
}

/* ---- hooks ------------------------------------------------------------------------------- */

static struct watch *watched;

static uint64_t offset_of(const void *p)
{
	return (uint64_t)((const uint8_t *)p - watched->s.pm.base);
}

/* What was stored since the last event, seen by the instrumentation, is what this event records. */
static void seen(const void *dst, size_t len)
{
	uint64_t first;

	if (!stores_recorded(dst ? offset_of(dst) : 0, len, &first))
		broken(watched, RULE_UNRECORDED, first);
}

/* A block that no durable record has given to anybody. */
static bool is_fresh(const struct watch *w, uint64_t offset)
{
	uint64_t bitmap, word, seal, block = offset / ADIT_BLOCK;

	adit__bitmap_where(w->s.fs, block, &bitmap, &word, &seal);
	return !(get64(*(le64 *)adit__at(w->s.fs, word)) >> block % 64 & 1);
}

/* A record is about to count, or (slot) a checkpoint: what it tells of is durable. */
static void look_at_order(struct watch *w, bool slot)
{
	for (uint32_t i = 0; i < w->lines.waitings; i++) {
		uint64_t offset = (uint64_t)w->lines.waiting[i] * LINE;

		if (slot || is_fresh(w, offset))
			broken(w, RULE_ORDER, offset);
	}
	for (uint32_t i = 0; slot && i < w->lines.dirties; i++) {
		uint64_t offset = (uint64_t)w->lines.dirty[i] * LINE;
		uint64_t dirty = w->lines.line[w->lines.dirty[i]].dirty;

		for (unsigned k = 0; k < LINE; k += 8)
			if ((dirty >> k & 0xff) != 0 && !is_volatile(w, offset + k))
				broken(w, RULE_ORDER, offset + k);
	}
}

static void before_store(uint64_t offset)
{
	const struct adit_super_pm *s = super(watched);

	/* mkfs has its own order: nothing counts before the superblock says so. */
	if (get32(s->magic) != ADIT_MAGIC_SUPER || (get32(s->state) & ADIT_STATE_MAKING))
		return;
	if (between(offset, get64(s->ckpt_start), 2))
		look_at_order(watched, true);
	else if (watched->s.fs && between(offset, get64(s->lane_start),
					  (uint64_t)get32(s->lanes) * get32(s->lane_blocks)))
		look_at_order(watched, false);
}

static void on_store(struct adit_pm *pm, const void *dst, size_t len)
{
	seen(dst, len);
	before_store(offset_of(dst));
	if (!in_volatile_area(watched, offset_of(dst)))
		lines_store(&watched->lines, pm->base, offset_of(dst), len, false);
}

static void on_nt(struct adit_pm *pm, const void *dst, size_t len)
{
	seen(dst, len);
	before_store(offset_of(dst));
	/* mkfs clears the volatile areas so: that is no matter, but the copy must follow. */
	lines_store(&watched->lines, pm->base, offset_of(dst), len, true);
}

static void on_flush(struct adit_pm *pm, const void *addr, size_t len)
{
	seen(NULL, 0);
	lines_flush(&watched->lines, pm->base, offset_of(addr), len);
}

static void on_fence(struct adit_pm *pm)
{
	(void)pm;
	seen(NULL, 0);
	lines_fence(&watched->lines);
}

static struct adit_record_hooks hooks = {on_store, on_nt, on_flush, on_fence};

void watch_start(struct watch *w)
{
	watched = w;
	adit__record = &hooks;
	stores_watch(w->s.pm.base, w->s.pm.size_bytes, is_volatile, w);
}

void watch_stop(void)
{
	adit__record = NULL;
	stores_watch(NULL, 0, NULL, NULL);
}

/* ---- beginning ----------------------------------------------------------------------------- */

void watch_init(struct watch *w, uint64_t bytes)
{
	memset(w, 0, sizeof *w);
	subject_init(&w->s, bytes);
	lines_init(&w->lines, bytes);
	w->lines.broken = broken;
	w->lines.is_volatile = is_volatile;
	w->lines.arg = w;
	w->compares = true;
	w->named = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->named == MAP_FAILED)
		abort();
}

void watch_finish(struct watch *w)
{
	munmap(w->named, w->lines.bytes);
	lines_finish(&w->lines);
	subject_finish(&w->s);
}

void watch_begin(struct watch *w, const uint8_t *image)
{
	uint64_t bytes = w->lines.bytes;

	if (image)
		memcpy(w->s.pm.base, image, bytes);
	else
		madvise(w->s.pm.base, bytes, MADV_DONTNEED);
	memset(w->s.slot, 0, sizeof w->s.slot);
	lines_reset(&w->lines, image);
	madvise(w->named, bytes, MADV_DONTNEED);
	memset(w->walked, 0, sizeof w->walked);
	memset(w->spent, 0, sizeof w->spent);
	w->failures = 0;
	/* Empty memory, or damage: as in the pool before, which is as large. */
	(void)subject_volatile(&w->s, w->vol);
}

/* ---- after a call ----------------------------------------------------------------------------- */

static void name_range(struct watch *w, uint64_t offset, uint64_t len, uint64_t seq)
{
	for (uint64_t word = offset / 8; word * 8 < offset + len; word++)
		w->named[word] = seq;
}

static void name_entry(struct watch *w, const struct adit_entry_pm *e, uint64_t seq)
{
	uint64_t where = get64(e->where), len = get32(e->len);

	if (e->kind == ADIT_KIND_BITMAP) {
		for (uint64_t block = where; block < where + len; block++) {
			uint64_t bitmap, word, seal;

			adit__bitmap_where(w->s.fs, block, &bitmap, &word, &seal);
			name_range(w, word, 8, seq);
			name_range(w, seal + offsetof(struct adit_bitmap_seal_pm, dirty_seq), 8,
				   seq);
		}
		return;
	}
	name_range(w, where, len, seq);
	if (e->kind == ADIT_KIND_INODE)
		name_range(w, where / ADIT_INODE_BYTES * ADIT_INODE_BYTES + 8, 8, seq);
	if (e->kind == ADIT_KIND_NODE || e->kind == ADIT_KIND_ROOT)
		name_range(w, where / ADIT_BLOCK * ADIT_BLOCK + 8, 8, seq);
}

/* Records since the last call. */
static void name_records(struct watch *w)
{
	struct adit_fs *fs = w->s.fs;

	for (uint32_t lane = 0; lane < fs->lanes; lane++) {
		const struct adit_vol_lane *vl = &fs->vol->lane[lane];
		uint64_t pos = w->walked[lane] > vl->tail ? w->walked[lane] : vl->tail;

		while (pos < vl->head) {
			const struct adit_record_pm *r = adit__record_at(fs, lane, pos, true);
			bool pad = r && get16(r->flags) & ADIT_RECORD_PAD;

			if (!r) {
				w->failures++;
				w->failed(w->arg, "a record is not whole");
				break;
			}
			for (size_t at = sizeof *r; !pad && at < get32(r->len);) {
				const struct adit_entry_pm *e =
					adit__entry_at((const uint8_t *)r, at);

				name_entry(w, e, get64(r->seq));
				at += adit__entry_bytes(e);
			}
			pos = adit__record_end(fs, r);
		}
		w->walked[lane] = vl->head;
	}
}

static void look_at_dirty(struct watch *w, uint32_t n, uint64_t c)
{
	const struct line_state *s = &w->lines.line[n];

	for (unsigned i = 0; i < LINE; i += 8) {
		uint64_t offset = (uint64_t)n * LINE + i;

		if ((s->dirty >> i & 0xff) == 0)
			continue;
		if (is_volatile(w, offset))
			continue;
		if (w->named[offset / 8] > c)
			w->left_dirty++;
		else
			broken(w, RULE_UNFLUSHED, offset);
	}
}

static void look_at_waiting(struct watch *w)
{
	for (uint32_t i = 0; i < w->lines.waitings; i++)
		broken(w, RULE_UNFENCED, (uint64_t)w->lines.waiting[i] * LINE);
}

static void look(struct watch *w, uint64_t c)
{
	w->calls++;
	seen(NULL, 0);
	for (uint32_t i = 0; i < w->lines.dirties; i++)
		look_at_dirty(w, w->lines.dirty[i], c);
	look_at_waiting(w);
	if (w->compares)
		lines_compare(&w->lines, w->s.pm.base);
	memset(w->spent, 0, sizeof w->spent);
}

void watch_returned(struct watch *w)
{
	name_records(w);
	look(w, w->s.fs->vol->c);
}

/* The first hold lends a block, whose first stores come before anybody can tell that it is lent. */
static void lend_one(struct watch *w)
{
	struct adit_hold hold;

	watch_stop();
	if (adit__hold(w->s.fs, ADIT_INO_ROOT, 0, NULL, &hold) == 0)
		(void)adit__release(w->s.fs, &hold);
	watch_start(w);
}

void watch_opened(struct watch *w)
{
	(void)subject_volatile(&w->s, w->vol);
	lend_one(w);
	memset(w->walked, 0, sizeof w->walked);
	watch_returned(w);
}

void watch_quiet(struct watch *w)
{
	(void)subject_volatile(&w->s, w->vol);
	look(w, UINT64_MAX);
}
