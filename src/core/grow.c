/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Groups are made here: by mkfs, and when a pool grows while it is in use.
 *
 * Growing, with the gate's lock (share), so that nobody opens, closes, repairs or grows meanwhile:
 *
 *	prepare		headers, replicas and bitmaps of the new groups, the fixed areas of new clusters: beyond the
 *			pool's end, or in places that were kept for them.  Durable; nothing of it counts yet.
 *	close the gate	the world stands still
 *	the superblock	the new size, and ADIT_STATE_GROWING: the size has changed, what follows from it has not
 *	what follows	the header of what was the last group, a checkpoint slot with the new total
 *	the superblock	without the mark
 *	repair		everything volatile is made anew (repair.c), for the new size
 *	open the gate
 *
 * After a crash the superblock has the old size, and nothing happened; or the new size and the mark, and whoever opens
 * the pool, or repairs it if a process died, does the rest: the free blocks are then counted in the bitmaps, so that
 * it does not matter how far the other one came.  Not a record of the log: what a record may name is judged by the
 * pool's size, so that one that changes the size would decide about its neighbours, and the superblock is read, and
 * changed, before there is a log.
 *
 * Each process has the size in its handle, and follows (adit__follow) at the begin of its next operation, or when one
 * wakes that was parked: I25.
 */
#include "core/alloc.h"
#include "core/linux_abi.h"
#include "core/log.h"

/* ---- geometry ------------------------------------------------------------------------------------- */

static uint64_t cluster_meta_blocks(const struct adit_super_pm *s)
{
	uint64_t bitmaps = (get64(s->group_blocks) + 8 * ADIT_BLOCK - 1) / (8 * ADIT_BLOCK);

	return get32(s->cluster_groups) * (3 + 2 * bitmaps);
}

uint64_t adit__fit_blocks(const struct adit_super_pm *s, uint64_t blocks)
{
	uint64_t span = get64(s->group_blocks) * get32(s->cluster_groups);

	if (span && blocks > span && blocks % span < cluster_meta_blocks(s) + 64)
		blocks -= blocks % span;
	return blocks;
}

void adit__super_resize(struct adit_super_pm *s, uint64_t blocks)
{
	uint64_t group = get64(s->group_blocks);

	s->pool_blocks = put64(blocks);
	s->groups = put32((uint32_t)((blocks + group - 1) / group));
	/* Looked at by who is in no operation. */
	if (get64(s->reserve_blocks) < adit__usual_reserve(blocks))
		__atomic_store_n(&s->reserve_blocks.v, put64(adit__usual_reserve(blocks)).v,
				 __ATOMIC_RELAXED);
}

/* ---- groups ----------------------------------------------------------------------------------------- */

void adit__group_fixed(const struct adit_fs *fs, uint32_t group, struct adit_group_pm *g)
{
	memset(g, 0, ADIT_GROUP_SEAL_TO);
	g->magic = put32(ADIT_MAGIC_GROUP);
	memcpy(g->uuid, fs->super.uuid, sizeof g->uuid);
	g->group = put32(group);
	g->blocks = put32(adit__group_blocks_of(fs, group));
	g->start = put64((uint64_t)group * fs->group_blocks);
	g->bitmap = put64(adit__group_bitmap_block(fs, group));
	g->crc = put32(
		adit__seal_crc(fs, g, ADIT_GROUP_SEAL_FROM, ADIT_GROUP_SEAL_TO, ADIT_MAGIC_GROUP));
}

void adit__group_write(struct adit_fs *fs, struct adit_group_pm *g, uint32_t group)
{
	uint64_t bitmap = adit__group_bitmap_block(fs, group);

	adit__group_fixed(fs, group, g);
	for (uint32_t i = 0; i < fs->bitmap_blocks; i++)
		g->seal[i].crc =
			put32(fs->env->crc32c(0, adit__block_at(fs, bitmap + i), ADIT_BLOCK));
	/* The replica carries the fixed part only. */
	adit__pm_copy_nt(&fs->pm, adit__block_at(fs, adit__group_replica_block(fs, group)), g,
			 ADIT_GROUP_SEAL_TO);
	adit__pm_copy_nt(&fs->pm, adit__block_at(fs, adit__group_header_block(fs, group)), g,
			 offsetof(struct adit_group_pm, reserved));
}

#define BITS_A_LINE (8 * ADIT_LINE)

void adit__mark_area(struct adit_fs *fs, const struct adit_run *run)
{
	uint64_t end = run->block + run->count, bitmap, word, seal, last_seal;

	adit__alloc_apply(fs, run->block, run->count, true, 0);
	for (uint64_t b = run->block; b < end; b = round_down_u64(b, BITS_A_LINE) + BITS_A_LINE) {
		adit__bitmap_where(fs, b, &bitmap, &word, &seal);
		adit__pm_flush(&fs->pm, adit__at(fs, word), 8);
	}
	adit__bitmap_where(fs, run->block, &bitmap, &word, &seal);
	adit__bitmap_where(fs, end - 1, &bitmap, &word, &last_seal);
	adit__pm_flush(&fs->pm, adit__at(fs, seal),
		       last_seal - seal + sizeof(struct adit_bitmap_seal_pm));
}

/* ---- may it? ---------------------------------------------------------------------------------------- */

/* Bits beyond the last group's blocks, which are about to mean something. */
static bool bits_are_clear(const struct adit_fs *fs)
{
	uint32_t last = fs->groups - 1;
	const le64 *map = adit__block_at(fs, adit__group_bitmap_block(fs, last));
	uint64_t any = 0;

	for (uint64_t bit = adit__group_blocks_of(fs, last); bit < fs->group_blocks;) {
		any |= get64_relaxed(&map[bit / 64]) >> bit % 64;
		bit += 64 - bit % 64;
	}
	return any == 0;
}

int adit__grow_fit(struct adit_fs *fs, uint64_t blocks, uint64_t *out)
{
	uint64_t fit = adit__fit_blocks(&fs->super, blocks);

	if (blocks < fs->pool_blocks) {
		adit__report(fs,
			     "the pool has %llu blocks: it grows, it does not shrink; copy what it "
			     "holds "
			     "into a smaller one",
			     (unsigned long long)fs->pool_blocks);
		return -EINVAL;
	}
	if (blocks > ADIT_PTR_BLOCK_MASK) {
		adit__report(fs, "a pool has at most %llu blocks",
			     (unsigned long long)ADIT_PTR_BLOCK_MASK);
		return -EFBIG;
	}
	if (blocks > fs->pool_blocks && fit <= fs->pool_blocks) {
		adit__report(fs,
			     "what is added would hold nothing but the metadata of new groups: the "
			     "next larger "
			     "pool has %llu blocks of 4 KiB",
			     (unsigned long long)(fs->pool_blocks +
						  cluster_meta_blocks(&fs->super) + 64));
		return -EINVAL;
	}
	if (!bits_are_clear(fs)) {
		adit__report(
			fs,
			"group %u: blocks beyond the pool's end are marked as used: run fsck -y",
			fs->groups - 1);
		return -EUCLEAN;
	}
	*out = max_u64(fit, fs->pool_blocks);
	return 0;
}

/* ---- what lies beyond the end ------------------------------------------------------------------------ */

static void zero_blocks(struct adit_fs *fs, uint64_t block, uint64_t count, uint64_t zero_from)
{
	count = block < zero_from ? min_u64(count, zero_from - block) : 0;
	if (count > 0)
		adit__pm_zero_nt(&fs->pm, adit__block_at(fs, block), count << ADIT_BLOCK_SHIFT);
}

static void zero_places(struct adit_fs *fs, uint32_t group)
{
	zero_blocks(fs, adit__group_header_block(fs, group), 1, UINT64_MAX);
	zero_blocks(fs, adit__group_replica_block(fs, group), 1, UINT64_MAX);
	zero_blocks(fs, adit__group_bitmap_block(fs, group), fs->bitmap_blocks, UINT64_MAX);
}

/* fs has the new size. */
static void write_groups(struct adit_fs *fs, uint64_t old_blocks, struct adit_group_pm *scratch,
			 uint64_t zero_from)
{
	uint64_t first = (old_blocks + fs->group_blocks - 1) >> fs->group_shift;
	struct adit_run area;

	/* In a cluster that was there: whatever lies in their places. */
	for (uint64_t g = first; g < fs->groups && g % get32(fs->super.cluster_groups) != 0; g++)
		zero_places(fs, (uint32_t)g);
	for (uint32_t i = 1; adit__fixed_area(fs, i, &area) == 0; i++)
		if (area.block >= old_blocks)
			zero_blocks(fs, area.block, area.count, zero_from);
	adit__pm_fence(&fs->pm); /* ordinary stores to the same lines follow */
	for (uint32_t i = 1; adit__fixed_area(fs, i, &area) == 0; i++)
		if (area.block >= old_blocks)
			adit__mark_area(fs, &area);
	for (uint64_t g = first; g < fs->groups; g++)
		adit__group_write(fs, scratch, (uint32_t)g);
	adit__pm_fence(&fs->pm);
}

int adit__grow_prepare(struct adit_fs *fs, uint64_t blocks, uint64_t zero_from)
{
	struct adit_fs *after = fs->env->alloc(sizeof *after);
	struct adit_group_pm *scratch = fs->env->alloc(sizeof *scratch);
	int err = after && scratch ? 0 : -ENOMEM;

	if (!err) {
		/* Our threads go on with the handle. */
		after->pm = fs->pm;
		after->pm.size_bytes = max_u64(fs->pm.size_bytes, blocks << ADIT_BLOCK_SHIFT);
		after->env = fs->env;
		after->super = fs->super;
		adit__super_resize(&after->super, blocks);
		adit__fs_geometry(after);
		write_groups(after, fs->pool_blocks, scratch, zero_from);
	}
	fs->env->free(after);
	fs->env->free(scratch);
	return err;
}

/* ---- the size in a process's handle ------------------------------------------------------------------- */

struct adit_verified *adit__verified_make(const struct adit_fs *fs, uint64_t blocks)
{
	uint64_t words = (blocks + 63) / 64;
	struct adit_verified *v = fs->env->alloc(sizeof *v + words * sizeof v->bits[0]);

	if (v)
		v->blocks = words * 64;
	return v;
}

/* Nobody is in an operation; who glances may be reading the old one. */
static void more_verified(struct adit_fs *fs, uint64_t blocks)
{
	struct adit_verified *was = fs->verified_block, *v;

	if (blocks <= was->blocks)
		return;
	/* Many small steps: not a copy for each.  Without memory, what is new is remembered elsewhere. */
	v = adit__verified_make(fs, max_u64(blocks, 2 * was->blocks));
	if (!v)
		return;
	for (uint64_t i = 0; i < was->blocks / 64; i++)
		if (was->bits[i] != 0) /* untouched memory stays untouched */
			v->bits[i] = was->bits[i];
	v->older = was;
	__atomic_store_n(&fs->verified_block, v, __ATOMIC_RELEASE);
}

/* Pre: nobody of this process is in an operation, or goes on with one before this is done. */
static int adopt(struct adit_fs *fs, uint64_t blocks)
{
	uint64_t bytes = blocks << ADIT_BLOCK_SHIFT;
	int err = fs->pm.ops->extend ? fs->pm.ops->extend(&fs->pm, bytes) : 0;

	if (err)
		return err;
	more_verified(fs, blocks);
	fs->pm.size_bytes = max_u64(fs->pm.size_bytes, bytes);
	adit__super_resize(&fs->super, blocks);
	fs->groups = get32(fs->super.groups);
	/* Last: who glances reads it first. */
	__atomic_store_n(&fs->pool_blocks, blocks, __ATOMIC_RELEASE);
	return 0;
}

static void lock_size(struct adit_fs *fs)
{
	struct adit_op **current = fs->env->current_op(), *mine = *current;

	/* Nothing is waited for but a thread of ours that is about to be done. */
	*current = NULL;
	while (__atomic_exchange_n(&fs->following, 1, __ATOMIC_ACQUIRE))
		fs->env->yield();
	*current = mine;
}

static void unlock_size(struct adit_fs *fs)
{
	__atomic_store_n(&fs->following, 0, __ATOMIC_RELEASE);
}

void adit__follow_now(struct adit_fs *fs)
{
	uint64_t blocks = __atomic_load_n(&fs->vol->pool_blocks, __ATOMIC_RELAXED);
	uint64_t me = (uint64_t)fs->incarnation << 32 | (fs->me + 1);
	int err = 0;

	/* What our threads did before they came to an end is over: the grower saw that, now we do. */
	for (uint32_t i = 0; i < fs->nops; i++)
		if (__atomic_load_n(&fs->ops[i].owner, __ATOMIC_ACQUIRE) == me)
			(void)__atomic_load_n(&fs->ops[i].state, __ATOMIC_ACQUIRE);
	lock_size(fs); /* nothing in here meets a media error */
	if (blocks > fs->pool_blocks)
		err = adopt(fs, blocks);
	unlock_size(fs);
	if (err && !__atomic_exchange_n(&fs->failed, true, __ATOMIC_RELAXED))
		adit__report(fs,
			     "the pool has grown to %llu blocks, which cannot be mapped here "
			     "(error %d): "
			     "close it and open it again",
			     (unsigned long long)blocks, err);
}

int adit__grow_map(struct adit_fs *fs, uint64_t blocks)
{
	int err = 0;

	lock_size(fs);
	if (fs->pm.ops->extend)
		err = fs->pm.ops->extend(&fs->pm, blocks << ADIT_BLOCK_SHIFT);
	unlock_size(fs);
	return err;
}

/* ---- what follows from the size ---------------------------------------------------------------------- */

/* One that a crash tore while it was written is not valid, the other one is. */
static const struct adit_super_pm *super_on_medium(struct adit_fs *fs)
{
	static const uint64_t place[2] = {0, ADIT_SUPER_COPY};
	const char *why;

	for (unsigned i = 0; i < 2; i++) {
		const struct adit_super_pm *s = adit__block_at(fs, place[i]);

		/* As large as the medium is: whoever wrote it has seen to that. */
		if (fs->env->readable(s, ADIT_BLOCK) &&
		    adit__verify_super(fs->env, s, UINT64_MAX, &why) == 0)
			return s;
	}
	return NULL;
}

int adit__grow_look(struct adit_fs *fs)
{
	const struct adit_super_pm *s = super_on_medium(fs), *other;
	bool growing;

	if (!s)
		return 0;
	if (get64(s->pool_blocks) > fs->pool_blocks && adopt(fs, get64(s->pool_blocks)) != 0) {
		adit__report(fs, "the pool has grown, and cannot be mapped here: pool stopped");
		adit__stop(fs);
		return -ENOMEM;
	}
	growing = get32(s->state) & ADIT_STATE_GROWING;
	fs->super.state = s->state;
	/* A grower died between the two. */
	other = adit__block_at(fs, s == adit__block_at(fs, 0) ? ADIT_SUPER_COPY : 0);
	if (fs->env->readable(other, ADIT_BLOCK) && memcmp(s, other, sizeof *s) != 0)
		adit__super_store(fs);
	__atomic_store_n(&fs->vol->pool_blocks, fs->pool_blocks, __ATOMIC_RELAXED);
	return growing;
}

/* The header and the replica say how many blocks the group has; anything else that is wrong there is fsck's. */
static void fit_header(struct adit_fs *fs, uint32_t group, uint64_t block)
{
	struct adit_group_pm *g = adit__block_at(fs, block);
	uint32_t want = adit__group_blocks_of(fs, group);

	if (!adit__reachable(fs, block << ADIT_BLOCK_SHIFT, ADIT_BLOCK, "group header") ||
	    get32(g->magic) != ADIT_MAGIC_GROUP || get32(g->group) != group ||
	    memcmp(g->uuid, fs->super.uuid, sizeof g->uuid) != 0 ||
	    get64(g->start) != (uint64_t)group * fs->group_blocks ||
	    get64(g->bitmap) != adit__group_bitmap_block(fs, group) || get64(g->reserved0) != 0)
		return;
	adit__pm_store32(&fs->pm, &g->blocks, put32(want).v);
	adit__pm_store32(&fs->pm, &g->crc,
			 put32(adit__seal_crc(fs, g, ADIT_GROUP_SEAL_FROM, ADIT_GROUP_SEAL_TO,
					      ADIT_MAGIC_GROUP))
				 .v);
	adit__pm_flush(&fs->pm, g, ADIT_GROUP_SEAL_TO);
}

/* Free by the persistent bitmap. */
static uint64_t free_in(struct adit_fs *fs, uint32_t group)
{
	uint64_t first = adit__group_bitmap_block(fs, group), free = 0;
	uint32_t bits = adit__group_blocks_of(fs, group);
	const le64 *map = adit__block_at(fs, first);

	if (!adit__reachable(fs, first << ADIT_BLOCK_SHIFT,
			     (uint64_t)fs->bitmap_blocks * ADIT_BLOCK, "bitmap"))
		return 0;
	for (uint32_t bit = 0; bit < bits; bit += 64) {
		uint64_t clear = ~get64_relaxed(&map[bit / 64]);

		if (bits - bit < 64)
			clear &= (1ull << (bits - bit)) - 1;
		free += popcount_u64(clear);
	}
	return free;
}

void adit__grow_finish(struct adit_fs *fs, const struct adit_growth *known)
{
	uint64_t free = 0;

	for (uint32_t g = known ? known->group : 0; g < (known ? known->group + 1 : fs->groups);
	     g++) {
		fit_header(fs, g, adit__group_header_block(fs, g));
		fit_header(fs, g, adit__group_replica_block(fs, g));
		free += known ? 0 : free_in(fs, g);
	}
	adit__pm_fence(&fs->pm);
	adit__ckpt_add_free(fs, known ? known->free : free - adit__total_free(fs));
	fs->super.state = put32(get32(fs->super.state) & ~ADIT_STATE_GROWING);
	adit__super_store(fs);
}

static uint64_t fixed_blocks(const struct adit_fs *fs)
{
	uint64_t sum = 0;
	struct adit_run area;

	for (uint32_t i = 0; adit__fixed_area(fs, i, &area) == 0; i++)
		sum += area.count;
	return sum;
}

uint32_t adit__grow(struct adit_fs *fs, uint64_t blocks, const uint8_t *dead, uint32_t *slots)
{
	struct adit_growth growth = {.group = fs->groups - 1,
				     .free = fixed_blocks(fs) - fs->pool_blocks};

	if (adopt(fs, blocks) != 0) {
		adit__report(fs, "the pool cannot be mapped any more: pool stopped");
		adit__stop(fs);
		return 0;
	}
	growth.free += fs->pool_blocks - fixed_blocks(fs);
	fs->super.state = put32(get32(fs->super.state) | ADIT_STATE_GROWING);
	adit__super_store(fs);
	return adit__renew(fs, dead, slots, &growth);
}
