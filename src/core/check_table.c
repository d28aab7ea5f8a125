/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The check's look at the inode table: where the clusters lie.
 *
 * Everything hangs on this map, and a wrong word in it hides thousands of
 * sound inodes.  But clusters know which they are: what the map points to is
 * unmapped when nothing there says that it is the cluster, and a cluster that
 * the map does not know is looked for in all blocks in use.  Only what is not
 * found becomes an empty cluster, at the end of a pass, when the bitmaps are
 * right.
 *
 * The map changes by ordinary change sets; the pass then begins again.
 */
#include "core/check_impl.h"
#include "core/extent.h"

#define CLUSTER_BLOCKS (ADIT_ICLUSTER_BYTES / ADIT_BLOCK)
/* File block of a cluster in the table. */
#define AT_BLOCK(base) ((base) * ADIT_INODE_BYTES / ADIT_BLOCK)

/* ---- the table's inode ---------------------------------------------------- */

static bool in_pool(const struct adit_check *ck, uint64_t ptr)
{
	return adit__run_is_sane(ck->fs, adit_ptr_block(ptr), 1);
}

/* It lies in the root block and has no seal of its own; its fork can only be
 * one of two things. */
static bool mend_table_inode(struct adit_check *ck, struct adit_inode_pm *ip)
{
	uint32_t fork = adit__inode_fork(ip);
	struct adit_inode_pm want = {
		.crc = ip->crc, .magic = put32(ADIT_MAGIC_INODE), .dirty_seq = ip->dirty_seq,
		.open_word = ip->open_word, .data_seq = ip->data_seq,
		.ino = put64(ADIT_INO_ITABLE), .generation = ip->generation,
		.mode = put32(S_IFREG), .nlink = put32(1), .size = put64(ck->inos * ADIT_INODE_BYTES),
		.blocks = ip->blocks,
	};

	want.fork = ip->fork;
	if (fork != ADIT_FORK_EXTENTS && fork != ADIT_FORK_TREE)
		fork = get16(ip->fork.extents.count) <= ADIT_INLINE_EXTENTS &&
		       get64(ip->fork.extents.extent[0].file_block) == 0 &&
		       in_pool(ck, get64(ip->fork.extents.extent[0].ptr)) ?
			ADIT_FORK_EXTENTS : ADIT_FORK_TREE;
	want.flags = put32(fork);
	if (memcmp(&want, ip, sizeof want) == 0 ||
	    !adit__ck_found(ck, ADIT_CHECK_ERROR, "inode table", ADIT_INO_ITABLE,
			    get64(ck->fs->super.root_block), "fields of its inode are impossible",
			    "correct them"))
		return false;
	*ip = want;
	return true;
}

static void check_map(struct adit_check *ck)
{
	struct adit_fs *fs = ck->fs;
	struct adit_inode_pm copy = fs->root->itable;
	struct adit_root_pm *root = (struct adit_root_pm *)ck->node_copy;
	bool changed = mend_table_inode(ck, &copy);

	changed |= adit__ck_map(ck, &copy);
	if (!ck->err && !ck->again && !ck->partial && get64(copy.blocks) != ck->cur_blocks &&
	    adit__ck_found_value(ck, ADIT_CHECK_MINOR, "inode table", ADIT_INO_ITABLE,
				 ADIT_CHECK_NO_BLOCK, "blocks are counted wrongly",
				 "correct the number", get64(copy.blocks), ck->cur_blocks)) {
		copy.blocks = put64(ck->cur_blocks);
		changed = true;
	}
	if (!changed)
		return;
	memcpy(root, fs->root, sizeof *root);
	root->itable = copy;
	adit__ck_store_root(ck, root);
	memset(fs->cluster_cache, 0, ADIT_CLUSTER_CACHE * sizeof *fs->cluster_cache);
}

/* ---- changing the map -------------------------------------------------------- */

static int map_cluster(struct adit_op *op, uint64_t base, uint64_t block)
{
	struct adit_extent e = {.file_block = AT_BLOCK(base), .block = block,
				.blocks = CLUSTER_BLOCKS, .epoch = get32(op->fs->root->epoch)};
	struct adit_inode_pm *table;
	int err = adit__cs_itable(op->cs, &table);

	return err ? err : adit__extent_insert(op->cs, table, &e, ADIT_ALLOC_RESERVE);
}

/* One change of the table by a change set of its own. */
typedef int (*change_fn)(struct adit_op *, uint64_t base, uint64_t block);
static int change_table(struct adit_check *ck, change_fn change, uint64_t base, uint64_t block)
{
	struct adit_fs *fs = ck->fs;
	struct adit_op op;
	int err = adit__op_begin_write(&op, fs);

	if (err)
		return err;
	err = change(&op, base, block);
	if (!err)
		err = adit__cs_commit(op.cs);
	adit__op_end(&op);
	memset(fs->cluster_cache, 0, ADIT_CLUSTER_CACHE * sizeof *fs->cluster_cache);
	return err;
}

/* ---- strangers ------------------------------------------------------------------ */

/* Does anything in there say that it is this cluster? */
static bool is_cluster(const struct adit_inode_pm *slot, uint64_t base)
{
	const struct adit_icluster_pm *h = (const struct adit_icluster_pm *)slot;

	if (get32(h->magic) == ADIT_MAGIC_ICLUSTER && get64(h->ino) == base)
		return true;
	for (unsigned i = 1; i < ADIT_ICLUSTER_INODES; i++)
		if (get32(slot[i].magic) == ADIT_MAGIC_INODE && get64(slot[i].ino) == base + i)
			return true;
	return false;
}

/* The blocks are not ours: they are not freed. */
static int unmap_cluster(struct adit_op *op, uint64_t base, uint64_t block)
{
	struct adit_inode_pm *table;
	uint64_t done;
	int err = adit__cs_itable(op->cs, &table);

	(void)block;
	if (!err)
		err = adit__extent_remove(op->cs, table, AT_BLOCK(base),
					  AT_BLOCK(base) + CLUSTER_BLOCKS, false, &done);
	return err;
}

static void unmap_strangers(struct adit_check *ck)
{
	for (uint64_t base = 0; base < ck->inos && !ck->err; base += ADIT_ICLUSTER_INODES) {
		const struct adit_inode_pm *slot = adit__inode_slot(ck->fs, base);
		struct adit_check_finding f;

		if (!slot || is_cluster(slot, base))
			continue;
		f = adit__ck_finding(ADIT_CHECK_ERROR, "inode table", ADIT_INO_ITABLE,
				     adit__offset_of(ck->fs, slot) >> ADIT_BLOCK_SHIFT,
				     "maps what is no inode cluster", "unmap it");
		if (adit__ck_mend(ck, &f)) {
			f.fixed = change_table(ck, unmap_cluster, base, 0) == 0;
			ck->again |= f.fixed;
		} else {
			ck->partial = true;
		}
		adit__ck_tell(ck, &f);
	}
}

/* ---- lost clusters ----------------------------------------------------------------- */

static bool any_missing(struct adit_check *ck)
{
	for (uint64_t base = 0; base < ck->inos; base += ADIT_ICLUSTER_INODES)
		if (!adit__inode_slot(ck->fs, base))
			return true;
	return false;
}

/* Which missing cluster begins in this block?  UINT64_MAX: none. */
static uint64_t cluster_in(struct adit_check *ck, uint64_t block)
{
	const struct adit_icluster_pm *h = adit__block_at(ck->fs, block);
	uint64_t base = get64(h->ino);
	const char *why;

	if (get32(h->magic) != ADIT_MAGIC_ICLUSTER || base % ADIT_ICLUSTER_INODES ||
	    base >= ck->inos || adit__inode_slot(ck->fs, base) ||
	    adit__verify_icluster(ck->fs, h, base, &why) != 0)
		return UINT64_MAX;
	return base;
}

static void look_in_block(struct adit_check *ck, uint64_t block)
{
	uint64_t base = cluster_in(ck, block);
	struct adit_check_finding f;

	if (base == UINT64_MAX)
		return;
	f = adit__ck_finding(ADIT_CHECK_ERROR, "inode cluster", base, block,
			     "the inode table has lost it", "map it again");
	if (adit__ck_mend(ck, &f)) {
		f.fixed = change_table(ck, map_cluster, base, block) == 0;
		ck->again |= f.fixed;
	}
	adit__ck_tell(ck, &f);
}

/* Could the table hold them?  What belongs to something else would be dropped again. */
static bool are_nobodys(struct adit_check *ck, uint64_t block)
{
	for (uint64_t i = 0; i < CLUSTER_BLOCKS; i++)
		if (adit__ck_is_claimed(ck, block + i))
			return false;
	return !adit__ck_is_strong(ck, block, CLUSTER_BLOCKS);
}

/* Every block in use: slow, but all inodes of a cluster depend on it. */
static void find_missing(struct adit_check *ck)
{
	struct adit_fs *fs = ck->fs;
	uint64_t last = fs->pool_blocks - CLUSTER_BLOCKS;

	for (uint64_t block = 1; block <= last && !ck->err; block++) {
		uint64_t bitmap, word, seal;

		adit__bitmap_where(fs, block, &bitmap, &word, &seal);
		if (block % 64 == 0 && *(const uint64_t *)adit__at(fs, word) == 0) {
			block += 63;
			continue;
		}
		if ((get64(*(const le64 *)adit__at(fs, word)) >> (block % 64) & 1) &&
		    are_nobodys(ck, block))
			look_in_block(ck, block);
		if (block % 65536 == 0)
			adit__ck_progress(ck, "lost inodes", block, fs->pool_blocks);
	}
}

void adit__ck_itable(struct adit_check *ck)
{
	check_map(ck);
	if (ck->err || ck->again)
		return;
	unmap_strangers(ck);
	if (ck->may_fix && (ck->opt->flags & ADIT_CHECK_REPAIR) && any_missing(ck))
		find_missing(ck);
}

/* ---- clusters that are lost for good -------------------------------------------------- */

/* An empty cluster where the table has a hole. */
static int fill_hole(struct adit_op *op, uint64_t base, uint64_t block)
{
	struct adit_fs *fs = op->fs;
	struct adit_icluster_pm h = {.magic = put32(ADIT_MAGIC_ICLUSTER), .ino = put64(base),
				     .used = put64(1), .next = fs->root->free_cluster[0]};
	uint64_t heads = (get64(fs->super.root_block) << ADIT_BLOCK_SHIFT) +
			 offsetof(struct adit_root_pm, free_cluster);
	struct adit_run run;
	int err = adit__alloc_blocks(op->cs, 0, CLUSTER_BLOCKS, CLUSTER_BLOCKS, ADIT_ALLOC_RESERVE,
				     &run);

	(void)block;
	if (err)
		return err;
	h.crc = put32(adit__seal_crc(fs, &h, ADIT_INODE_SEAL_FROM, sizeof h, ADIT_MAGIC_ICLUSTER));
	adit__cs_fresh(op->cs, run.block << ADIT_BLOCK_SHIFT, &h, sizeof h);
	adit__cs_fresh_zero(op->cs, (run.block << ADIT_BLOCK_SHIFT) + sizeof h,
			    ADIT_ICLUSTER_BYTES - sizeof h);
	adit__cs_put64(op->cs, heads, base + 1, ADIT_KIND_ROOT);
	return map_cluster(op, base, run.block);
}

void adit__ck_missing_clusters(struct adit_check *ck)
{
	for (uint64_t base = 0; base < ck->inos && !ck->err; base += ADIT_ICLUSTER_INODES) {
		struct adit_check_finding f;

		if (adit__inode_slot(ck->fs, base))
			continue;
		f = adit__ck_finding(ADIT_CHECK_LOSS, "inode cluster", base, ADIT_CHECK_NO_BLOCK,
				     "the inode table has lost it", "put an empty one there");
		if (adit__ck_mend(ck, &f)) {
			f.fixed = change_table(ck, fill_hole, base, 0) == 0;
			ck->again |= f.fixed;
		}
		adit__ck_tell(ck, &f);
	}
}
