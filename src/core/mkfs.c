/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Making a pool.  Everything of the first cluster lies in one piece from block
 * 0 on:
 *
 *	0       superblock         7   its second copy
 *	8, 9    checkpoint slots   10  root block
 *	11...   intents, replica of the root block, lanes, volatile region,
 *	        metadata of cluster 0 (headers, replicas, bitmaps, volatile
 *	        bitmaps and summaries)
 *
 * The superblocks are written last and say "being made"; the inode table and
 * "/" are then made by ordinary change sets.  Closing takes the mark away: a
 * crash before that leaves something that open refuses.
 */
#include "core/alloc.h"
#include "core/extent.h"
#include "core/inode.h"
#include "core/linux_abi.h"
#include "core/log.h"

#define FIRST_FREE 11u

static uint64_t pow2_at_least(uint64_t x)
{
	uint64_t p = 1;

	while (p < x)
		p *= 2;
	return p;
}

static void choose_sizes(const struct adit_mkfs_params *p, struct adit_super_pm *s)
{
	uint64_t blocks = p->pool_bytes / ADIT_BLOCK, group = p->group_blocks;
	uint32_t lanes = p->lanes;

	/* Small pools are one group; larger ones have at least sixteen, so that
	 * threads can allocate apart, of at most 1 GiB. */
	if (group == 0 && blocks <= 16384)
		group = pow2_at_least(blocks);
	else if (group == 0)
		group = max_u64(pow2_at_least(blocks / 16), 16384);
	group = min_u64(max_u64(group, ADIT_HUGE_BLOCKS), ADIT_GROUP_BLOCKS_MAX);
	if (lanes == 0)
		lanes = blocks < 16384 ? 2 : blocks < 262144 ? 16 : 64;
	s->group_blocks = put64(group);
	s->cluster_groups = put32(blocks <= 16384 ? 16 : 64);
	blocks = adit__fit_blocks(s, blocks);
	adit__super_resize(s, blocks);
	s->lanes = put32(lanes);
	s->lane_blocks = put32(blocks < 262144 ? 96 : 128);
}

static void lay_out(struct adit_super_pm *s)
{
	uint64_t blocks = get64(s->pool_blocks), at = FIRST_FREE;
	uint64_t stripes = blocks < 16384 ? 64 : blocks < 262144 ? 512 : 4096;
	uint32_t lanes = get32(s->lanes);
	uint64_t vol = sizeof(struct adit_vol) + lanes * sizeof(struct adit_vol_set) +
		       stripes * sizeof(struct adit_vol_stripe);
	bool lanes_too;

	vol += adit__op_slots(blocks, UINT64_MAX, lanes, &lanes_too) *
	       (sizeof(struct adit_vol_op) + sizeof(struct adit_vol_participant) / 4);

	s->ckpt_start = put64(8);
	s->root_block = put64(10);
	s->intent_start = put64(at);
	at += (get32(s->lanes) * sizeof(struct adit_intent_pm) + ADIT_BLOCK - 1) / ADIT_BLOCK;
	s->root_copy = put64(at++);
	s->lane_start = put64(at);
	at += (uint64_t)get32(s->lanes) * get32(s->lane_blocks);
	s->vol_start = put64(at);
	s->vol_blocks = put64((vol + ADIT_BLOCK - 1) / ADIT_BLOCK);
	at += get64(s->vol_blocks);
	s->meta_start = put64(at);
}

static int write_groups(struct adit_fs *fs)
{
	struct adit_group_pm *g = fs->env->alloc(sizeof *g);

	if (!g)
		return -ENOMEM;
	for (uint32_t i = 0; i < fs->groups; i++)
		adit__group_write(fs, g, i);
	fs->env->free(g);
	return 0;
}

/* Set the bits of the fixed areas, durable on return; returns how many blocks they take. */
static uint64_t mark_fixed(struct adit_fs *fs)
{
	uint64_t used = 0;
	struct adit_run run;

	for (uint32_t i = 0; adit__fixed_area(fs, i, &run) == 0; i++) {
		adit__mark_area(fs, &run);
		used += run.count;
	}
	adit__pm_fence(&fs->pm);
	return used;
}

static void zero_area(struct adit_fs *fs, const struct adit_mkfs_params *p, uint64_t block,
		      uint64_t count)
{
	if (!p->zeroed)
		adit__pm_zero_nt(&fs->pm, adit__block_at(fs, block), count << ADIT_BLOCK_SHIFT);
}

static void write_root(struct adit_fs *fs)
{
	struct adit_root_pm *r = fs->root;
	uint32_t n = fs->pool_blocks < 16384 ? 2 : fs->pool_blocks < 262144 ? 16 : ADIT_SHARDS;
	struct adit_inode_pm table = {.magic = put32(ADIT_MAGIC_INODE),
				      .ino = put64(ADIT_INO_ITABLE), .mode = put32(S_IFREG),
				      .nlink = put32(1), .flags = put32(ADIT_FORK_EXTENTS)};
	le32 head[2] = {{0}, put32(ADIT_MAGIC_ROOT)}, mid[2] = {put32(1), put32(n)};

	adit__pm_store(&fs->pm, r, head, sizeof head);
	adit__pm_store(&fs->pm, r->uuid, fs->super.uuid, 16);
	adit__pm_store(&fs->pm, &r->epoch, mid, sizeof mid);
	adit__pm_store(&fs->pm, &r->itable, &table, sizeof table);
	adit__pm_store32(&fs->pm, &r->crc, put32(adit__seal_crc(fs, r, ADIT_ROOT_SEAL_FROM,
								sizeof *r, ADIT_MAGIC_ROOT)).v);
	adit__pm_flush(&fs->pm, r, offsetof(struct adit_root_pm, next_ino));
	adit__pm_flush(&fs->pm, &r->itable, sizeof r->itable);
	adit__pm_copy_nt(&fs->pm, adit__block_at(fs, get64(fs->super.root_copy)), r, sizeof *r);
}

/* The first inodes, through the ordinary way: the table's first clusters, the
 * unused slot 1 (the table itself lives in the root block) and "/". */
static int make_root_directory(struct adit_fs *fs, const struct adit_mkfs_params *p)
{
	struct adit_inode_pm *unused, *dir;
	int64_t now = fs->env->now_ns();
	struct adit_op op;
	int err = adit__op_begin_write(&op, fs);

	if (err)
		return err;
	err = adit__inode_alloc(&op, &unused);
	if (!err)
		err = adit__inode_alloc(&op, &dir);
	if (!err && (get64(unused->ino) != ADIT_INO_ITABLE || get64(dir->ino) != ADIT_INO_ROOT))
		err = -EUCLEAN;
	if (err)
		goto out;
	/* Slot 1 stays marked used for ever: the number belongs to the table. */
	dir->mode = put32(S_IFDIR | (p->root_mode ? p->root_mode & 07777 : 0755));
	dir->uid = put32(p->root_uid);
	dir->gid = put32(p->root_gid);
	dir->nlink = put32(2);
	dir->mtime_ns = dir->ctime_ns = dir->atime_ns = dir->btime_ns = put64((uint64_t)now);
	dir->parent_or_rdev = put64(ADIT_INO_ROOT);
	err = adit__cs_commit(op.cs);
out:
	adit__op_end(&op);
	return err;
}

static int check_params(struct adit_fs *fs, const struct adit_mkfs_params *p)
{
	struct adit_run run;

	if (p->pool_bytes < ADIT_POOL_MIN_BYTES || p->pool_bytes > fs->pm.size_bytes ||
	    p->pool_bytes / ADIT_BLOCK > ADIT_PTR_BLOCK_MASK)
		return -EINVAL;
	if (p->lanes > ADIT_LANES_MAX ||
	    (p->group_blocks & (p->group_blocks - 1)) ||
	    (p->group_blocks && p->group_blocks < ADIT_HUGE_BLOCKS) ||
	    p->group_blocks > ADIT_GROUP_BLOCKS_MAX)
		return -EINVAL;
	(void)adit__fixed_area(fs, 0, &run);
	/* The first cluster's metadata must lie in group 0, and leave room. */
	if (run.count + 64 > fs->pool_blocks || run.count > fs->group_blocks)
		return -ENOSPC;
	return 0;
}

int adit__core_mkfs(struct adit_pm *pm, const struct adit_env *env, void *report_ctx,
		    const struct adit_mkfs_params *p)
{
	struct adit_fs *fs = env->alloc(sizeof *fs), *made;
	struct adit_super_pm *s;
	struct adit_ckpt_pm *ckpt;
	struct adit_run fixed;
	uint64_t used;
	int err;

	if (!fs)
		return -ENOMEM;
	fs->pm = *pm;
	fs->env = env;
	fs->report_ctx = report_ctx;
	s = &fs->super;
	s->magic = put32(ADIT_MAGIC_SUPER);
	s->version = put32(ADIT_FORMAT_VERSION);
	s->block_bytes = put32(ADIT_BLOCK);
	memcpy(s->uuid, p->uuid, 16);
	memcpy(s->label, p->label, sizeof s->label);
	s->hash_seed = put64(p->hash_seed);
	s->state = put32(ADIT_STATE_MAKING);
	s->created_ns = put64((uint64_t)env->now_ns());
	choose_sizes(p, s);
	lay_out(s);
	adit__fs_geometry(fs);
	err = check_params(fs, p);
	if (err)
		goto out;

	/* What was a pool here must not look like one while it is overwritten. */
	if (!p->zeroed)
		adit__core_wipe(&fs->pm);
	(void)adit__fixed_area(fs, 0, &fixed);
	zero_area(fs, p, 0, fixed.count);
	for (uint32_t i = 1; adit__fixed_area(fs, i, &fixed) == 0; i++)
		zero_area(fs, p, fixed.block, fixed.count);
	if (!p->zeroed)
		adit__pm_fence(&fs->pm); /* ordinary stores to the same lines follow */
	used = mark_fixed(fs);
	err = write_groups(fs);
	if (err)
		goto out;
	write_root(fs);
	ckpt = env->alloc(sizeof *ckpt);
	if (!ckpt) {
		err = -ENOMEM;
		goto out;
	}
	ckpt->generation = put64(1);
	ckpt->nonce = put64(env->random64());
	ckpt->free_blocks = put64(fs->pool_blocks - used);
	adit__ckpt_store(fs, ckpt);
	env->free(ckpt);

	/* Complete but for "/": open it as a pool to make that, then close. */
	adit__super_store(fs);
	err = adit__core_open(&made, pm, env, report_ctx, ADIT_OPEN_MAKING);
	if (err)
		goto out;
	err = make_root_directory(made, p);
	if (err) {
		adit__core_abandon(made);
		adit__core_wipe(pm);
		goto out;
	}
	err = adit__core_close(made);
out:
	env->free(fs);
	return err;
}

void adit__core_wipe(struct adit_pm *pm)
{
	static const uint64_t place[2] = {0, ADIT_SUPER_COPY};

	for (unsigned i = 0; i < 2; i++) {
		uint64_t offset = place[i] << ADIT_BLOCK_SHIFT;

		if (offset + ADIT_BLOCK > pm->size_bytes)
			break;
		adit__pm_zero_nt(pm, pm->base + offset, ADIT_BLOCK);
		adit__pm_fence(pm);
	}
}
