/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The check's view of space: who claims which block, group headers, bitmaps
 * against the claims, totals.
 *
 * A claim map is a sparse bit map in chunks of one bitmap block; a chunk that
 * nobody touched is not there, so a large empty pool costs one pointer for
 * 128 MiB and a look at each group's header and bitmap.
 */
#include "core/check_impl.h"

/* ---- claim maps --------------------------------------------------------- */

static uint64_t *chunk_of(struct adit_check *ck, uint64_t **map, uint64_t block, bool make)
{
	uint64_t **chunk = &map[block / ADIT_CK_CHUNK_BITS];

	if (!*chunk && make) {
		*chunk = ck->fs->env->alloc(ADIT_BLOCK);
		if (!*chunk)
			ck->err = -ENOMEM;
	}
	return *chunk;
}

/* The bits of block's word, at most count from block on; how many. */
static uint64_t bits_of(uint64_t block, uint64_t count, uint64_t *mask)
{
	uint64_t shift = block % 64, n = min_u64(count, 64 - shift);

	*mask = (n == 64 ? ~0ull : (1ull << n) - 1) << shift;
	return n;
}

static bool any_set(struct adit_check *ck, uint64_t **map, uint64_t block, uint64_t count)
{
	while (count > 0) {
		const uint64_t *chunk = chunk_of(ck, map, block, false);
		uint64_t mask, n;

		if (!chunk) {
			n = min_u64(count, ADIT_CK_CHUNK_BITS - block % ADIT_CK_CHUNK_BITS);
		} else {
			n = bits_of(block, count, &mask);
			if (chunk[block % ADIT_CK_CHUNK_BITS / 64] & mask)
				return true;
		}
		block += n;
		count -= n;
	}
	return false;
}

static void change(struct adit_check *ck, uint64_t **map, uint64_t block, uint64_t count, bool set)
{
	while (count > 0 && !ck->err) {
		uint64_t *chunk = chunk_of(ck, map, block, true);
		uint64_t mask, n = bits_of(block, count, &mask);

		if (!chunk)
			return;
		if (set)
			chunk[block % ADIT_CK_CHUNK_BITS / 64] |= mask;
		else
			chunk[block % ADIT_CK_CHUNK_BITS / 64] &= ~mask;
		block += n;
		count -= n;
	}
}

static bool in_pool(const struct adit_check *ck, uint64_t block, uint64_t count)
{
	return adit__run_is_sane(ck->fs, block, count);
}

bool adit__ck_claim(struct adit_check *ck, uint64_t block, uint64_t count)
{
	if (!in_pool(ck, block, count) || any_set(ck, ck->claim, block, count))
		return false;
	change(ck, ck->claim, block, count, true);
	ck->claimed += count;
	return true;
}

void adit__ck_unclaim(struct adit_check *ck, uint64_t block, uint64_t count)
{
	change(ck, ck->claim, block, count, false);
	ck->claimed -= count;
}

bool adit__ck_is_claimed(struct adit_check *ck, uint64_t block)
{
	return any_set(ck, ck->claim, block, 1);
}

bool adit__ck_is_sound(struct adit_check *ck, uint64_t block, uint64_t count)
{
	return ck->sound && in_pool(ck, block, count) && any_set(ck, ck->sound, block, count);
}

bool adit__ck_set_strong(struct adit_check *ck, uint64_t block)
{
	if (any_set(ck, ck->strong, block, 1))
		return false;
	change(ck, ck->strong, block, 1, true);
	return true;
}

bool adit__ck_is_strong(struct adit_check *ck, uint64_t block, uint64_t count)
{
	return in_pool(ck, block, count) && any_set(ck, ck->strong, block, count);
}

void adit__ck_fixed_areas(struct adit_check *ck)
{
	struct adit_run run;

	for (uint32_t i = 0; adit__fixed_area(ck->fs, i, &run) == 0; i++)
		change(ck, ck->claim, run.block, run.count, true);
}

/* ---- group headers ---------------------------------------------------------- */

static void check_header(struct adit_check *ck, uint32_t group, uint64_t block,
			 const struct adit_group_pm *want, const char *what)
{
	struct adit_group_pm *g = adit__block_at(ck->fs, block);
	const char *why = "fields do not fit the geometry";
	struct adit_check_finding f;

	if (memcmp(g, want, ADIT_GROUP_SEAL_TO) == 0)
		return;
	adit__verify_group(ck->fs, g, group, &why);
	f = adit__ck_finding(ADIT_CHECK_ERROR, what, 0, block, why, "write it anew");
	if (adit__ck_mend(ck, &f))
		adit__ck_store(ck, g, want, ADIT_GROUP_SEAL_TO);
	adit__ck_tell(ck, &f);
}

void adit__ck_groups(struct adit_check *ck)
{
	struct adit_fs *fs = ck->fs;
	struct adit_group_pm *want = (struct adit_group_pm *)ck->node_copy;

	for (uint32_t i = 0; i < fs->groups; i++) {
		uint64_t block = adit__group_header_block(fs, i);
		struct adit_group_pm *g = adit__block_at(fs, block);

		adit__group_fixed(fs, i, want);
		check_header(ck, i, block, want, "group header");
		check_header(ck, i, adit__group_replica_block(fs, i), want,
			     "replica of a group header");
		if (!adit__ck_zero(g->reserved, sizeof g->reserved) &&
		    adit__ck_found(ck, ADIT_CHECK_ERROR, "group header", 0, block,
				   "reserved bytes are not zero", "zero them")) {
			memset(ck->leaf_copy, 0, sizeof g->reserved);
			adit__ck_store(ck, g->reserved, ck->leaf_copy, sizeof g->reserved);
		}
		if (i % 64 == 0)
			adit__ck_progress(ck, "groups", i, fs->groups);
	}
}

/* ---- bitmaps -------------------------------------------------------------------- */

struct diff {
	uint64_t leaked, missing;
	uint64_t first_leaked, first_missing;
};

static uint64_t want_word(struct adit_check *ck, uint64_t block)
{
	const uint64_t *chunk = ck->claim[block / ADIT_CK_CHUNK_BITS];

	return chunk ? chunk[block % ADIT_CK_CHUNK_BITS / 64] : 0;
}

/* Blocks [start, end) against their bitmap words; which: what to correct. */
#define FIX_LEAKED 1u
#define FIX_MISSING 2u
static void compare_words(struct adit_check *ck, uint64_t start, uint64_t end, le64 *word,
			  struct diff *d, unsigned which)
{
	for (uint64_t block = start; block < end; block += 64, word++) {
		uint64_t mask, have = get64(*word), want = want_word(ck, block), leaked, missing;

		if (have == want)
			continue;
		bits_of(block, end - block, &mask);
		leaked = have & ~want & mask;
		missing = want & ~have & mask;
		if (leaked && d->leaked == 0)
			d->first_leaked = block + (uint64_t)__builtin_ctzll(leaked);
		if (missing && d->missing == 0)
			d->first_missing = block + (uint64_t)__builtin_ctzll(missing);
		d->leaked += (uint64_t)popcount_u64(leaked);
		d->missing += (uint64_t)popcount_u64(missing);
		if (which & FIX_LEAKED)
			have &= ~leaked;
		if (which & FIX_MISSING)
			have |= missing;
		if (have != get64(*word))
			adit__pm_store64(&ck->fs->pm, word, put64(have).v);
	}
}

/* A bitmap block was corrected: seal it, forget the volatile copy. */
static void seal_bitmap(struct adit_check *ck, uint32_t group, uint64_t start)
{
	struct adit_fs *fs = ck->fs;
	uint64_t bitmap, word, seal;
	struct adit_bitmap_seal_pm fresh = {0};

	adit__bitmap_where(fs, start, &bitmap, &word, &seal);
	fresh.crc = put32(fs->env->crc32c(0, adit__at(fs, bitmap), ADIT_BLOCK));
	adit__pm_flush(&fs->pm, adit__at(fs, bitmap), ADIT_BLOCK);
	adit__ck_store(ck, adit__at(fs, seal), &fresh, sizeof fresh);
	adit__pm_store64(&fs->pm, &adit__group_vol(fs, group)->incarnation, 0);
}

static bool seal_fits(struct adit_check *ck, uint64_t start)
{
	struct adit_fs *fs = ck->fs;
	uint64_t bitmap, word, seal, dirty;
	const struct adit_bitmap_seal_pm *s;

	adit__bitmap_where(fs, start, &bitmap, &word, &seal);
	s = adit__at(fs, seal);
	dirty = get64_relaxed(&s->dirty_seq);
	if (dirty > fs->vol->c && dirty <= fs->vol->seq)
		return true;
	return dirty <= fs->vol->seq && get32(s->reserved) == 0 &&
	       get32(s->crc) == fs->env->crc32c(0, adit__at(fs, bitmap), ADIT_BLOCK);
}

static unsigned judge(struct adit_check *ck, const struct diff *d)
{
	unsigned which = 0;

	if (d->missing &&
	    adit__ck_found_value(ck, ADIT_CHECK_ERROR, "bitmap from block", 0, d->first_missing,
				 "blocks in use are marked free", "mark them", d->missing, 0))
		which |= FIX_MISSING;
	/* Whose they are is known only when everything was seen. */
	if (d->leaked && !ck->partial &&
	    adit__ck_found_value(ck, ADIT_CHECK_MINOR, "bitmap from block", 0, d->first_leaked,
				 "blocks that nobody holds are marked as used", "free them",
				 d->leaked, 0))
		which |= FIX_LEAKED;
	return which;
}

static void check_bitmap(struct adit_check *ck, uint32_t group, uint64_t start, uint64_t end)
{
	struct adit_fs *fs = ck->fs;
	uint64_t bitmap, word, seal;
	struct diff d = {0}, again = {0};
	unsigned which;
	bool reseal = false;

	adit__bitmap_where(fs, start, &bitmap, &word, &seal);
	if (!seal_fits(ck, start))
		reseal = adit__ck_found(ck, ADIT_CHECK_ERROR, "bitmap", 0,
					bitmap >> ADIT_BLOCK_SHIFT, "seal does not fit",
					"make it anew from what is in use");
	compare_words(ck, start, end, adit__at(fs, word), &d, 0);
	which = judge(ck, &d);
	if (which)
		compare_words(ck, start, end, adit__at(fs, word), &again, which);
	if (which || reseal)
		seal_bitmap(ck, group, start);
}

/* Bits of the last group beyond its blocks, which mean nothing until the pool grows. */
static void check_beyond(struct adit_check *ck, uint32_t group)
{
	struct adit_fs *fs = ck->fs;
	uint64_t first = (uint64_t)group * fs->group_blocks, end = first + fs->group_blocks;
	uint64_t at = first + adit__group_blocks_of(fs, group), bitmap, word, seal, next;

	for (; at < end; at = next) {
		bool set = false;

		next = min_u64(end, first + round_down_u64(at - first, ADIT_CK_CHUNK_BITS) + ADIT_CK_CHUNK_BITS);
		for (uint64_t b = at; b < next; b += 64 - b % 64) {
			adit__bitmap_where(fs, b, &bitmap, &word, &seal);
			set |= get64(*(const le64 *)adit__at(fs, word)) >> b % 64 != 0;
		}
		if (!set || !adit__ck_found(ck, ADIT_CHECK_MINOR, "bitmap", 0, bitmap >> ADIT_BLOCK_SHIFT,
					    "bits beyond the pool's end are set", "clear them"))
			continue;
		for (uint64_t b = at; b < next; b += 64 - b % 64) {
			uint64_t keep = (1ull << b % 64) - 1;
			le64 *w;

			adit__bitmap_where(fs, b, &bitmap, &word, &seal);
			w = adit__at(fs, word);
			adit__pm_store64(&fs->pm, w, put64(get64(*w) & keep).v);
		}
		seal_bitmap(ck, group, at);
	}
}

void adit__ck_bitmaps(struct adit_check *ck)
{
	struct adit_fs *fs = ck->fs;

	for (uint32_t i = 0; i < fs->groups; i++) {
		uint64_t first = (uint64_t)i * fs->group_blocks;
		uint64_t end = first + adit__group_blocks_of(fs, i);

		for (uint64_t at = first; at < end; at += ADIT_CK_CHUNK_BITS)
			check_bitmap(ck, i, at, min_u64(end, at + ADIT_CK_CHUNK_BITS));
		/* Recovery may have sealed since then what was found to be bad. */
		if ((ck->may_fix || ck->looking) && adit__group_vol(fs, i)->bad)
			adit__pm_store64(&fs->pm, &adit__group_vol(fs, i)->incarnation, 0);
		if (i % 16 == 0)
			adit__ck_progress(ck, "bitmaps", i, fs->groups);
	}
	check_beyond(ck, fs->groups - 1);
}

/* ---- totals ------------------------------------------------------------------------ */

static uint64_t fixed_blocks(const struct adit_check *ck)
{
	struct adit_run run;
	uint64_t sum = 0;

	for (uint32_t i = 0; adit__fixed_area(ck->fs, i, &run) == 0; i++)
		sum += run.count;
	return sum;
}

void adit__ck_new_checkpoint(struct adit_check *ck, uint64_t free_blocks, uint64_t used_inodes)
{
	struct adit_fs *fs = ck->fs;
	const struct adit_ckpt_pm *newest = adit__ckpt_newest(fs);
	struct adit_ckpt_pm *k = (struct adit_ckpt_pm *)ck->node_copy;

	if (!newest)
		return;
	memcpy(k, newest, sizeof *k);
	k->free_blocks = put64(free_blocks);
	k->used_inodes = put64(used_inodes);
	k->generation = put64(get64(k->generation) + 1);
	adit__ckpt_store(fs, k);
	adit__log_finish(fs);
	ck->err = adit__log_init(fs);
}

void adit__ck_totals(struct adit_check *ck)
{
	struct adit_fs *fs = ck->fs;
	uint64_t free_blocks = fs->pool_blocks - fixed_blocks(ck) - ck->claimed;
	bool fix = false;

	if (adit__total_free(fs) != free_blocks)
		fix |= adit__ck_found_value(ck, ADIT_CHECK_MINOR, "checkpoint", 0,
					    ADIT_CHECK_NO_BLOCK, "number of free blocks is wrong",
					    "correct it", adit__total_free(fs), free_blocks);
	if (adit__total_inodes(fs) != ck->used_inodes)
		fix |= adit__ck_found_value(ck, ADIT_CHECK_MINOR, "checkpoint", 0,
					    ADIT_CHECK_NO_BLOCK, "number of inodes is wrong",
					    "correct it", adit__total_inodes(fs), ck->used_inodes);
	if (fix)
		adit__ck_new_checkpoint(ck, free_blocks, ck->used_inodes);
}
