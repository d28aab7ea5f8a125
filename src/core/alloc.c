/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Block allocation: see alloc.h for the idea, docs/format.md for the groups'
 * layout.  Persistent bitmaps change only when a record is applied; the
 * volatile ones change at once and are rebuilt from the persistent ones when a
 * group is first touched in an incarnation.
 *
 * A group is always touched (its volatile bitmap built) before a record that
 * frees its blocks is committed; otherwise the build would take quarantined
 * blocks for free ones (I5).
 */
#include "core/alloc.h"
#include "core/linux_abi.h"
#include "core/log.h"

/* ---- geometry --------------------------------------------------------- */

static uint32_t cluster_groups(const struct adit_fs *fs)
{
	return get32(fs->super.cluster_groups);
}

static uint64_t cluster_meta(const struct adit_fs *fs, uint32_t group)
{
	uint32_t cluster = group / cluster_groups(fs);

	return cluster == 0 ? get64(fs->super.meta_start) :
			      (uint64_t)cluster * cluster_groups(fs) * fs->group_blocks;
}

static uint64_t cluster_meta_blocks(const struct adit_fs *fs)
{
	return (uint64_t)cluster_groups(fs) * (3 + 2 * fs->bitmap_blocks);
}

uint64_t adit__group_header_block(const struct adit_fs *fs, uint32_t group)
{
	return cluster_meta(fs, group) + group % cluster_groups(fs);
}

uint64_t adit__group_replica_block(const struct adit_fs *fs, uint32_t group)
{
	return cluster_meta(fs, group) + cluster_groups(fs) + group % cluster_groups(fs);
}

uint64_t adit__group_bitmap_block(const struct adit_fs *fs, uint32_t group)
{
	return cluster_meta(fs, group) + 2ull * cluster_groups(fs) +
	       (uint64_t)(group % cluster_groups(fs)) * fs->bitmap_blocks;
}

uint64_t *adit__group_vol_bitmap(const struct adit_fs *fs, uint32_t group)
{
	uint64_t block = adit__group_bitmap_block(fs, group) +
			 (uint64_t)cluster_groups(fs) * fs->bitmap_blocks;

	return adit__block_at(fs, block);
}

struct adit_vol_group *adit__group_vol(const struct adit_fs *fs, uint32_t group)
{
	uint64_t block = cluster_meta(fs, group) +
			 (uint64_t)cluster_groups(fs) * (2 + 2 * fs->bitmap_blocks) +
			 group % cluster_groups(fs);

	return adit__block_at(fs, block);
}

uint32_t adit__group_blocks_of(const struct adit_fs *fs, uint32_t group)
{
	return (uint32_t)min_u64(fs->group_blocks,
				 fs->pool_blocks - (uint64_t)group * fs->group_blocks);
}

int adit__fixed_area(const struct adit_fs *fs, uint32_t i, struct adit_run *out)
{
	const struct adit_super_pm *s = &fs->super;
	uint32_t clusters = (fs->groups + cluster_groups(fs) - 1) / cluster_groups(fs);
	/* mkfs puts everything of the first cluster in one piece from block 0. */
	uint64_t first_end = get64(s->meta_start) + cluster_meta_blocks(fs);

	if (i == 0) {
		*out = (struct adit_run){0, first_end};
		return 0;
	}
	if (i >= clusters)
		return -ENOENT;
	out->block = (uint64_t)i * cluster_groups(fs) * fs->group_blocks;
	out->count = min_u64(cluster_meta_blocks(fs), fs->pool_blocks - out->block);
	return 0;
}

bool adit__touches_cluster(const struct adit_fs *fs, uint64_t block, uint64_t count)
{
	uint64_t cluster = (block + count - 1) / fs->cluster_blocks;

	return cluster > 0 && block < cluster * fs->cluster_blocks + cluster_meta_blocks(fs);
}

/* ---- persistent bitmaps ------------------------------------------------ */

static uint32_t group_of(const struct adit_fs *fs, uint64_t block)
{
	return (uint32_t)(block >> fs->group_shift);
}

void adit__bitmap_where(struct adit_fs *fs, uint64_t block, uint64_t *bitmap_block_offset,
			uint64_t *word_offset, uint64_t *seal_offset)
{
	uint32_t group = group_of(fs, block);
	uint64_t bit = block & (fs->group_blocks - 1);
	uint64_t nth = bit / (8 * ADIT_BLOCK);
	uint64_t base = (adit__group_bitmap_block(fs, group) + nth) << ADIT_BLOCK_SHIFT;

	*bitmap_block_offset = base;
	*word_offset = base + bit % (8 * ADIT_BLOCK) / 64 * 8;
	*seal_offset = (adit__group_header_block(fs, group) << ADIT_BLOCK_SHIFT) +
		       offsetof(struct adit_group_pm, seal) + nth * 16;
}

void adit__bitmap_seal(struct adit_fs *fs, uint64_t block)
{
	uint64_t bitmap, word, seal;
	struct adit_bitmap_seal_pm *s;

	adit__bitmap_where(fs, block, &bitmap, &word, &seal);
	s = adit__at(fs, seal);
	adit__pm_store32(&fs->pm, &s->crc,
			 put32(fs->env->crc32c(0, adit__at(fs, bitmap), ADIT_BLOCK)).v);
}

/* The bits of one 64-bit word from bit on, at most count; how many. */
static uint64_t word_mask(uint64_t bit, uint64_t count, uint64_t *mask)
{
	uint64_t shift = bit % 64, n = min_u64(count, 64 - shift);

	*mask = (n == 64 ? ~0ull : (1ull << n) - 1) << shift;
	return n;
}

void adit__alloc_apply(struct adit_fs *fs, uint64_t block, uint64_t count, bool set, uint64_t seq)
{
	while (count > 0) {
		uint64_t bitmap, word, seal, mask, n;

		adit__bitmap_where(fs, block, &bitmap, &word, &seal);
		adit__pm_max64(&fs->pm,
			       adit__at(fs, seal + offsetof(struct adit_bitmap_seal_pm, dirty_seq)),
			       seq);
		n = word_mask(block, count, &mask);
		if (set)
			adit__pm_or64(&fs->pm, adit__at(fs, word), put64(mask).v);
		else
			adit__pm_andnot64(&fs->pm, adit__at(fs, word), put64(mask).v);
		block += n;
		count -= n;
	}
}

/* ---- volatile bitmaps -------------------------------------------------- */

static void vol_group_count(struct adit_fs *fs, uint32_t group, struct adit_vol_group *v)
{
	const uint64_t *map = adit__group_vol_bitmap(fs, group);
	uint32_t chunks = (uint32_t)(fs->group_blocks / ADIT_HUGE_BLOCKS);

	v->free = v->free_huge = 0;
	for (uint32_t c = 0; c < chunks; c++) {
		unsigned used = 0;

		for (unsigned w = 0; w < ADIT_HUGE_BLOCKS / 64; w++)
			used += popcount_u64(map[c * 8 + w]);
		v->chunk_free[c] = (uint16_t)(ADIT_HUGE_BLOCKS - used);
		v->free += v->chunk_free[c];
		v->free_huge += used == 0;
	}
}

static bool group_bitmap_is_right(struct adit_fs *fs, uint32_t group)
{
	const struct adit_group_pm *g = adit__block_at(fs, adit__group_header_block(fs, group));
	uint64_t c = __atomic_load_n(&fs->vol->c, __ATOMIC_ACQUIRE);
	uint64_t seq = __atomic_load_n(&fs->vol->seq, __ATOMIC_ACQUIRE);
	const char *why = NULL;

	if (adit__verify_group(fs, g, group, &why) != 0) {
		const struct adit_group_pm *r =
			adit__block_at(fs, adit__group_replica_block(fs, group));

		adit__report(fs, "group %u: header: %s", group, why);
		if (adit__verify_group(fs, r, group, &why) != 0) {
			adit__report(fs, "group %u: replica of the header: %s", group, why);
			return false;
		}
		/* The fixed part is known by geometry; only the seals matter. */
	}
	for (uint32_t i = 0; i < fs->bitmap_blocks; i++) {
		uint64_t dirty = get64_relaxed(&g->seal[i].dirty_seq);

		if (dirty > c && dirty <= seq)
			continue;
		if (get32(g->seal[i].crc) !=
		    fs->env->crc32c(0, adit__block_at(fs, adit__group_bitmap_block(fs, group) + i),
				    ADIT_BLOCK)) {
			adit__report(fs, "group %u: bitmap block %u: bad checksum; "
				     "nothing is allocated from this group, run fsck", group, i);
			return false;
		}
	}
	return true;
}

/* The group's fixed area is never free, whatever its bitmap says. */
static uint64_t fixed_blocks_of(const struct adit_fs *fs, uint32_t group)
{
	if (group % cluster_groups(fs) != 0)
		return 0;
	return group == 0 ? fs->first_block :
			    min_u64(cluster_meta_blocks(fs), adit__group_blocks_of(fs, group));
}

static void fill_bits(uint64_t *map, uint64_t from, uint64_t to)
{
	while (from < to) {
		uint64_t mask, n = word_mask(from, to - from, &mask);

		map[from / 64] |= mask;
		from += n;
	}
}

/* A media error under the header's seals or under the bitmap itself: the group is left alone. */
static bool group_is_readable(struct adit_fs *fs, uint32_t group)
{
	if (fs->env->readable(adit__block_at(fs, adit__group_header_block(fs, group)), ADIT_BLOCK) &&
	    fs->env->readable(adit__block_at(fs, adit__group_bitmap_block(fs, group)),
			      fs->bitmap_blocks * (size_t)ADIT_BLOCK))
		return true;
	fs->careful = fs->media_error = true;
	adit__report(fs, "group %u: header or bitmap cannot be read (media error); "
		     "nothing is allocated from this group", group);
	return false;
}

static void vol_from_medium(struct adit_fs *fs, uint32_t group, const struct adit_vol_group *v)
{
	uint64_t *map = adit__group_vol_bitmap(fs, group);
	const le64 *from = adit__block_at(fs, adit__group_bitmap_block(fs, group));

	for (uint32_t i = 0; i < fs->group_blocks / 64; i++)
		map[i] = v->bad ? ~0ull : get64_relaxed(&from[i]);
	fill_bits(map, 0, fixed_blocks_of(fs, group));
	fill_bits(map, adit__group_blocks_of(fs, group), fs->group_blocks);
}

/* Build the volatile bitmap on first touch; group locked. */
static void vol_group_build(struct adit_fs *fs, uint32_t group, struct adit_vol_group *v)
{
	v->bad = !group_is_readable(fs, group) || !group_bitmap_is_right(fs, group);
	vol_from_medium(fs, group, v);
	vol_group_count(fs, group, v);
	v->cursor = 0;
	__atomic_store_n(&v->incarnation, fs->incarnation, __ATOMIC_RELEASE);
}

static bool vol_is_built(const struct adit_fs *fs, uint32_t group)
{
	return __atomic_load_n(&adit__group_vol(fs, group)->incarnation, __ATOMIC_ACQUIRE) ==
	       fs->incarnation;
}

void adit__vol_reset(struct adit_fs *fs)
{
	for (uint32_t i = 0; i < fs->groups; i++)
		if (vol_is_built(fs, i))
			vol_from_medium(fs, i, adit__group_vol(fs, i));
}

void adit__vol_keep(struct adit_fs *fs, uint64_t block, uint64_t count)
{
	__atomic_fetch_sub(&fs->vol->free_blocks, count, __ATOMIC_RELAXED);
	while (count > 0) {
		uint64_t bit = block & (fs->group_blocks - 1);
		uint64_t n = min_u64(count, fs->group_blocks - bit);

		if (vol_is_built(fs, group_of(fs, block)))
			fill_bits(adit__group_vol_bitmap(fs, group_of(fs, block)), bit, bit + n);
		block += n;
		count -= n;
	}
}

void adit__vol_count(struct adit_fs *fs)
{
	for (uint32_t i = 0; i < fs->groups; i++)
		if (vol_is_built(fs, i))
			vol_group_count(fs, i, adit__group_vol(fs, i));
}

static struct adit_vol_group *group_lock(struct adit_fs *fs, uint32_t group)
{
	struct adit_vol_group *v = adit__group_vol(fs, group);

	adit__lock_below(fs, &v->lock, true);
	if (v->incarnation != fs->incarnation)
		vol_group_build(fs, group, v);
	return v;
}

static void group_unlock(struct adit_fs *fs, struct adit_vol_group *v)
{
	adit__unlock_below(fs, &v->lock, true);
}

static void group_touch(struct adit_fs *fs, uint32_t group)
{
	struct adit_vol_group *v = adit__group_vol(fs, group);

	if (__atomic_load_n(&v->incarnation, __ATOMIC_ACQUIRE) != fs->incarnation)
		group_unlock(fs, group_lock(fs, group));
}

/* Change count bits; group locked, bits known to be in the other state. */
static void vol_bits(struct adit_fs *fs, uint32_t group, struct adit_vol_group *v, uint64_t bit,
		     uint64_t count, bool set)
{
	uint64_t *map = adit__group_vol_bitmap(fs, group);

	while (count > 0) {
		uint64_t mask, n = word_mask(bit, count, &mask);
		uint16_t *chunk = &v->chunk_free[bit / ADIT_HUGE_BLOCKS];

		if (set) {
			map[bit / 64] |= mask;
			v->free_huge -= *chunk == ADIT_HUGE_BLOCKS;
			*chunk = (uint16_t)(*chunk - n);
			v->free -= (uint32_t)n;
		} else {
			map[bit / 64] &= ~mask;
			*chunk = (uint16_t)(*chunk + n);
			v->free_huge += *chunk == ADIT_HUGE_BLOCKS;
			v->free += (uint32_t)n;
		}
		bit += n;
		count -= n;
	}
}

static bool vol_is_reachable(struct adit_fs *fs, uint32_t group)
{
	return ADIT_LIKELY(!fs->careful) ||
	       (adit__reachable(fs, adit__offset_of(fs, adit__group_vol(fs, group)), ADIT_BLOCK,
				"volatile bitmap") &&
		adit__reachable(fs, adit__offset_of(fs, adit__group_vol_bitmap(fs, group)),
				fs->bitmap_blocks * (uint64_t)ADIT_BLOCK, "volatile bitmap"));
}

/* repairs: not if there was another one since, which may have come while this waits for the group: it has
 * given back all that lies below C, and somebody may have it.  NULL: whatever happened, they are ours. */
static void unreserve(struct adit_fs *fs, uint64_t block, uint64_t count, const uint64_t *repairs)
{
	while (count > 0) {
		uint32_t group = group_of(fs, block);
		uint64_t bit = block & (fs->group_blocks - 1);
		uint64_t n = min_u64(count, fs->group_blocks - bit);
		struct adit_vol_group *v = adit__group_vol(fs, group);

		if (!vol_is_reachable(fs, group)) {
			block += n;
			count -= n;
			continue;
		}
		/* Never touched: its bitmap will be built from the persistent
		 * one, in which these bits are clear already. */
		if (__atomic_load_n(&v->incarnation, __ATOMIC_ACQUIRE) == fs->incarnation) {
			v = group_lock(fs, group);
			if (!v->bad && (!repairs || *repairs == fs->vol->repairs)) {
				vol_bits(fs, group, v, bit, n, false);
				__atomic_fetch_add(&fs->vol->free_blocks, n, __ATOMIC_RELAXED);
			}
			group_unlock(fs, v);
		}
		block += n;
		count -= n;
	}
}

void adit__alloc_unreserve(struct adit_fs *fs, uint64_t block, uint64_t count)
{
	unreserve(fs, block, count, NULL);
}

void adit__alloc_release(struct adit_fs *fs, uint64_t block, uint64_t count, uint64_t repairs)
{
	unreserve(fs, block, count, &repairs);
}

/* ---- finding space ------------------------------------------------------- */

struct search {
	const uint64_t *map;
	uint32_t bits; /* of the group */
	uint64_t want, need;
	uint64_t best, best_len;
};

static uint64_t free_run(const struct search *s, uint64_t bit, uint64_t limit)
{
	uint64_t start = bit;

	while (bit < s->bits && bit - start < limit) {
		uint64_t word = s->map[bit / 64] >> (bit % 64);

		if (word != 0) {
			bit += (uint64_t)__builtin_ctzll(word);
			break;
		}
		bit += 64 - bit % 64;
	}
	return min_u64(min_u64(bit, s->bits) - start, limit);
}

/* First clear bit at or after bit, or s->bits. */
static uint64_t next_free(const struct search *s, uint64_t bit)
{
	while (bit < s->bits) {
		uint64_t word = ~s->map[bit / 64] >> (bit % 64);

		if (word != 0)
			return min_u64(bit + (uint64_t)__builtin_ctzll(word), s->bits);
		bit += 64 - bit % 64;
	}
	return s->bits;
}

/* Scan [from, to) for a run of want; keep the longest. True when satisfied. */
static bool scan(struct search *s, const struct adit_vol_group *v, uint64_t from, uint64_t to,
		 bool spare_huge)
{
	for (uint64_t bit = from; bit < to;) {
		uint64_t chunk = bit / ADIT_HUGE_BLOCKS, len;

		if (v->chunk_free[chunk] == 0 ||
		    (spare_huge && v->chunk_free[chunk] == ADIT_HUGE_BLOCKS)) {
			bit = (chunk + 1) * ADIT_HUGE_BLOCKS;
			continue;
		}
		bit = next_free(s, bit);
		if (bit >= to)
			break;
		len = free_run(s, bit, s->want);
		if (len > s->best_len) {
			s->best = bit;
			s->best_len = len;
			if (len >= s->want)
				return true;
		}
		bit += len;
	}
	return false;
}

/* Whole free chunks in a row, aligned. */
static bool scan_huge(struct search *s, const struct adit_vol_group *v)
{
	uint32_t chunks = s->bits / ADIT_HUGE_BLOCKS;

	if (v->free_huge == 0)
		return false;
	for (uint32_t c = 0; c < chunks; c++) {
		uint64_t len = 0;
		uint32_t first = c;

		while (c < chunks && v->chunk_free[c] == ADIT_HUGE_BLOCKS && len < s->want) {
			len += ADIT_HUGE_BLOCKS;
			c++;
		}
		len = min_u64(len, s->want);
		if (len > s->best_len) {
			s->best = (uint64_t)first * ADIT_HUGE_BLOCKS;
			s->best_len = len;
			if (len >= s->want)
				return true;
		}
	}
	return s->best_len > 0;
}

static bool search_group(struct search *s, const struct adit_vol_group *v, unsigned flags)
{
	uint64_t cursor = min_u64(v->cursor, s->bits);

	if ((flags & ADIT_ALLOC_HUGE) && scan_huge(s, v) && s->best_len >= s->need)
		return true;
	if (s->want < ADIT_HUGE_BLOCKS && v->free > v->free_huge * ADIT_HUGE_BLOCKS) {
		if (scan(s, v, cursor, s->bits, true) || scan(s, v, 0, cursor, true))
			return true;
		if (s->best_len >= s->need)
			return true;
	}
	if (scan(s, v, cursor, s->bits, false) || scan(s, v, 0, cursor, false))
		return true;
	return s->best_len >= s->need;
}

/* Take a run from this group: one of at least min at the goal (a goal of 0, or
 * of another group, is none), or one of at least need anywhere. */
static bool take_from_group(struct adit_cs *cs, uint32_t group, uint64_t goal, uint64_t want,
			    uint64_t min, uint64_t need, unsigned flags, struct adit_run *out)
{
	struct adit_fs *fs = adit__cs_fs(cs);
	struct adit_vol_group *v = group_lock(fs, group);
	struct search s = {.map = adit__group_vol_bitmap(fs, group),
			   .bits = adit__group_blocks_of(fs, group), .want = want, .need = need};
	bool found = false;

	if (v->bad || v->free < min)
		goto out;
	if (goal != 0 && group_of(fs, goal) == group) {
		s.best = goal & (fs->group_blocks - 1);
		s.best_len = free_run(&s, s.best, want);
		found = s.best_len >= min;
		if (!found)
			s.best_len = 0;
	}
	if (!found && v->free >= need)
		found = search_group(&s, v, flags);
	if (found) {
		vol_bits(fs, group, v, s.best, s.best_len, true);
		if (want < ADIT_HUGE_BLOCKS)
			v->cursor = (uint32_t)(s.best + s.best_len);
		out->block = ((uint64_t)group << fs->group_shift) + s.best;
		out->count = s.best_len;
	}
out:
	group_unlock(fs, v);
	return found;
}

static bool take(struct adit_cs *cs, uint64_t goal, uint64_t want, uint64_t min, unsigned flags,
		 struct adit_run *out)
{
	struct adit_fs *fs = adit__cs_fs(cs);
	uint32_t first = goal ? group_of(fs, goal) :
				(adit__place_hint(fs) * 7919u) % fs->groups;
	uint64_t need = max_u64(min, min_u64(want, ADIT_HUGE_BLOCKS));

	for (;;) {
		for (uint32_t i = 0; i < fs->groups; i++) {
			uint32_t group = first + i;

			if (group >= fs->groups)
				group -= fs->groups;
			if (take_from_group(cs, group, goal, want, min, need, flags, out))
				return true;
		}
		if (need == min)
			return false;
		need = min;
	}
}

/* Claim count of the pool's free blocks, leaving the reserve alone. */
static bool claim(struct adit_cs *cs, uint64_t *count, uint64_t min, unsigned flags)
{
	struct adit_fs *fs = cs->fs;
	uint64_t keep = flags & ADIT_ALLOC_RESERVE ? 0 : get64(fs->super.reserve_blocks);
	uint64_t have = __atomic_load_n(&fs->vol->free_blocks, __ATOMIC_RELAXED), n;

	do {
		if (have < keep + min)
			return false;
		n = min_u64(*count, have - keep);
	} while (!__atomic_compare_exchange_n(&fs->vol->free_blocks, &have, have - n, true,
					      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	cs->set->claimed = n;
	*count = n;
	return true;
}

static void unclaim(struct adit_cs *cs, uint64_t count)
{
	__atomic_fetch_add(&cs->fs->vol->free_blocks, count, __ATOMIC_RELAXED);
	cs->set->claimed = 0;
}

static bool refused(struct adit_fs *fs)
{
	return ADIT_UNLIKELY(fs->fail_alloc_at != 0) && --fs->fail_alloc_at == 0;
}

int adit__alloc_blocks(struct adit_cs *cs, uint64_t goal, uint64_t want, uint64_t min,
		       unsigned flags, struct adit_run *out)
{
	struct adit_fs *fs = adit__cs_fs(cs);
	int err;

	if (refused(fs))
		return -ENOSPC;
	if (goal >= fs->pool_blocks)
		goal = 0;
	want = min_u64(max_u64(want, min), fs->group_blocks);
	for (int try = 0; try < 2; try++) {
		uint64_t count = want;

		if (claim(cs, &count, min, flags)) {
			struct adit_run run;

			if (take(cs, goal, count, min, flags, &run)) {
				unclaim(cs, count - run.count);
				adit__cs_alloc_entry(cs, ADIT_OP_ALLOC, run.block, run.count);
				*out = run;
				return 0;
			}
			unclaim(cs, count);
		}
		/* Freed blocks wait for the checkpoint (quarantine). */
		if (try == 0) {
			err = adit__checkpoint(fs);
			if (err)
				return err;
		}
	}
	return -ENOSPC;
}

/* ---- a block for the volatile region ------------------------------------------ */

/* Off the pool's free blocks, unless others have claimed them all. */
static bool claim_one(struct adit_fs *fs)
{
	uint64_t have = __atomic_load_n(&fs->vol->free_blocks, __ATOMIC_RELAXED);

	do {
		if (have == 0)
			return false;
	} while (!__atomic_compare_exchange_n(&fs->vol->free_blocks, &have, have - 1, true,
					      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return true;
}

/* Claimed with the group locked: in between nobody waits, so that a repair finds either both or none. */
static uint64_t take_one(struct adit_fs *fs, uint32_t group)
{
	struct adit_vol_group *v = group_lock(fs, group);
	struct search s = {.map = adit__group_vol_bitmap(fs, group),
			   .bits = adit__group_blocks_of(fs, group)};
	uint64_t bit = s.bits, block;

	if (!v->bad && v->free > 0)
		bit = next_free(&s, 0);
	block = ((uint64_t)group << fs->group_shift) + bit;
	if (bit < s.bits && fs->env->readable(adit__block_at(fs, block), ADIT_BLOCK) &&
	    claim_one(fs))
		vol_bits(fs, group, v, bit, 1, true);
	else
		block = 0;
	group_unlock(fs, v);
	return block;
}

/* Whoever only reads must not meet a media error here that it would not have met otherwise. */
static bool can_take_from(struct adit_fs *fs, uint32_t group)
{
	return fs->env->readable(adit__group_vol(fs, group), ADIT_BLOCK) &&
	       fs->env->readable(adit__group_vol_bitmap(fs, group),
				 fs->bitmap_blocks * (size_t)ADIT_BLOCK);
}

uint64_t adit__alloc_scratch(struct adit_fs *fs)
{
	uint64_t block = 0;

	/* From the end: files begin elsewhere. */
	for (uint32_t group = fs->groups; group-- > 0 && block == 0;)
		if (can_take_from(fs, group))
			block = take_one(fs, group);
	return block;
}

void adit__free_blocks(struct adit_cs *cs, uint64_t block, uint64_t count)
{
	struct adit_fs *fs = adit__cs_fs(cs);

	while (count > 0) {
		uint64_t n = min_u64(count, fs->group_blocks - (block & (fs->group_blocks - 1)));

		group_touch(fs, group_of(fs, block));
		adit__cs_alloc_entry(cs, ADIT_OP_FREE, block, n);
		block += n;
		count -= n;
	}
}
