/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The inode table (inode.h): a file whose extents are found through the root
 * block.  64 slots make a cluster, whose first slot says which of the others
 * are in use and links clusters with free slots into one list a shard; a
 * thread allocates from its own shard.  The table grows and never shrinks, so
 * that where a cluster lies can be remembered without being invalidated.
 */
#include "core/inode.h"
#include "core/hold.h"
#include "core/alloc.h"
#include "core/dir.h"
#include "core/extent.h"
#include "core/file.h"
#include "core/linux_abi.h"
#include "core/log.h"
#include "core/xattr.h"

#define INODES_PER_BLOCK (ADIT_BLOCK / ADIT_INODE_BYTES)
#define CLUSTER_BLOCKS (ADIT_ICLUSTER_BYTES / ADIT_BLOCK)

/* ---- where a slot lies ------------------------------------------------------ */

static uint64_t cluster_mapped(struct adit_fs *fs, uint64_t cluster)
{
	struct adit_extent e;

	if (adit__extent_at(fs, NULL, &fs->root->itable, cluster * CLUSTER_BLOCKS, &e) == 0 &&
	    e.block != 0 && e.blocks >= CLUSTER_BLOCKS)
		return e.block;
	return 0;
}

/* Pool block of a cluster, 0 when the map says nothing sane. */
static uint64_t cluster_block_slow(struct adit_fs *fs, uint64_t cluster)
{
	struct adit_op op;
	uint64_t block;
	bool own;

	/* It waits for nobody: the gate is its own, and the lock may be a dead process's. */
	if (__atomic_load_n(&fs->repairer, __ATOMIC_RELAXED) == fs->env->current_op())
		return cluster_mapped(fs, cluster);
	own = adit__op_need(&op, fs);
	adit__lock_below(fs, &fs->vol->grow_lock, false);
	block = cluster_mapped(fs, cluster);
	adit__unlock_below(fs, &fs->vol->grow_lock, false);
	if (own)
		adit__op_end_read(&op);
	return block;
}

/* Where the cluster lies if that is known, else 0. An entry: tag of the cluster in the high 24 bits,
 * block in the low 40. */
static inline uint64_t cluster_cached(const struct adit_fs *fs, uint64_t cluster)
{
	uint64_t got = __atomic_load_n(&fs->cluster_cache[cluster % ADIT_CLUSTER_CACHE],
				       __ATOMIC_RELAXED);

	return got >> ADIT_PTR_BLOCK_BITS == cluster / ADIT_CLUSTER_CACHE
		       ? got & ADIT_PTR_BLOCK_MASK
		       : 0;
}

static uint64_t cluster_block(struct adit_fs *fs, uint64_t cluster)
{
	uint64_t tag = cluster / ADIT_CLUSTER_CACHE, block = cluster_cached(fs, cluster);

	if (ADIT_LIKELY(block != 0))
		return block;
	block = cluster_block_slow(fs, cluster);
	if (block != 0 && tag < 1u << 24)
		__atomic_store_n(&fs->cluster_cache[cluster % ADIT_CLUSTER_CACHE],
				 block | tag << ADIT_PTR_BLOCK_BITS, __ATOMIC_RELAXED);
	return block;
}

static struct adit_inode_pm *slot_in(const struct adit_fs *fs, uint64_t block, uint64_t ino)
{
	return (struct adit_inode_pm *)((uint8_t *)adit__block_at(fs, block) +
					ino % ADIT_ICLUSTER_INODES * ADIT_INODE_BYTES);
}

struct adit_inode_pm *adit__inode_slot(struct adit_fs *fs, uint64_t ino)
{
	uint64_t block;

	if (ADIT_UNLIKELY(ino >= get64_relaxed(&fs->root->next_ino)))
		return NULL;
	block = cluster_block(fs, ino / ADIT_ICLUSTER_INODES);
	if (ADIT_UNLIKELY(block == 0))
		return NULL;
	return slot_in(fs, block, ino);
}

/* Anybody may ask for a file that is gone; but not for a root directory that is. */
static int no_inode(struct adit_fs *fs, uint64_t ino)
{
	if (ino != ADIT_INO_ROOT)
		return -ESTALE;
	adit__report(fs, "inode %llu: the root directory is not there", (unsigned long long)ino);
	return -EUCLEAN;
}

int adit__inode_get(struct adit_fs *fs, uint64_t ino, const struct adit_inode_pm **out)
{
	struct adit_inode_pm *ip = adit__inode_slot(fs, ino);
	const char *why = NULL;
	uint64_t offset;

	/* Who waited for the lock while its holder met a media fault. */
	if (ADIT_UNLIKELY(adit__has_stopped(fs)))
		return -EIO;
	if (ino % ADIT_ICLUSTER_INODES == 0 || ino < ADIT_INO_ROOT ||
	    ino >= get64_relaxed(&fs->root->next_ino))
		return no_inode(fs, ino);
	if (!ip) {
		adit__report(fs, "inode %llu: the inode table has lost its part",
			     (unsigned long long)ino);
		return -EUCLEAN;
	}
	offset = adit__offset_of(fs, ip);
	if (ADIT_UNLIKELY(!adit__verified(fs, offset))) {
		int err = adit__verify_inode(fs, ip, ino, &why);

		if (err) {
			adit__report(fs, "inode %llu: %s", (unsigned long long)ino, why);
			return err;
		}
		adit__set_verified(fs, offset);
	}
	/* Of a slot that is free a creation may make something meanwhile: it takes no lock of it. */
	if (get32_relaxed(&ip->mode) == 0)
		return no_inode(fs, ino);
	*out = ip;
	return 0;
}

const struct adit_inode_pm *adit__inode_glance(struct adit_fs *fs, uint64_t ino)
{
	const struct adit_inode_pm *ip;
	uint64_t block;

	if (ino % ADIT_ICLUSTER_INODES == 0 || ino < ADIT_INO_ROOT ||
	    ino >= get64_relaxed(&fs->root->next_ino))
		return NULL;
	/* Only where the cluster is known: looking it up takes locks. */
	block = cluster_cached(fs, ino / ADIT_ICLUSTER_INODES);
	if (block == 0)
		return NULL;
	ip = slot_in(fs, block, ino);
	return adit__verified(fs, adit__offset_of(fs, ip)) ? ip : NULL;
}

/* ---- clusters ------------------------------------------------------------------- */

static int cluster_copy(struct adit_cs *cs, uint64_t ino, struct adit_icluster_pm **out)
{
	struct adit_fs *fs = adit__cs_fs(cs);
	struct adit_cs_inode_copy *c;
	struct adit_inode_pm *slot;
	const char *why = NULL;
	uint64_t offset;
	int err;

	ino -= ino % ADIT_ICLUSTER_INODES;
	slot = adit__inode_slot(fs, ino);
	if (!slot) {
		adit__report(fs, "inode cluster %llu: the inode table has no such part",
			     (unsigned long long)ino);
		return -EUCLEAN;
	}
	offset = adit__offset_of(fs, slot);
	if (!adit__verified(fs, offset)) {
		err = adit__verify_icluster(fs, (struct adit_icluster_pm *)slot, ino, &why);
		if (err) {
			adit__report(fs, "inode cluster %llu: %s", (unsigned long long)ino, why);
			return err;
		}
		adit__set_verified(fs, offset);
	}
	c = adit__cs_slot(cs, ino, offset, ADIT_KIND_INODE);
	if (!c)
		return -E2BIG;
	*out = &c->now.cluster;
	return 0;
}

static void put_head(struct adit_cs *cs, size_t field, uint32_t shard, uint64_t ino)
{
	struct adit_fs *fs = adit__cs_fs(cs);

	adit__cs_put64(cs, (get64(fs->super.root_block) << ADIT_BLOCK_SHIFT) + field + 8ull * shard,
		       ino, ADIT_KIND_ROOT);
}
#define FREE_CLUSTER offsetof(struct adit_root_pm, free_cluster)
#define ORPHAN offsetof(struct adit_root_pm, orphan)

static uint32_t shards(const struct adit_fs *fs)
{
	return get32(fs->root->shards);
}

/* Write the headers of new clusters, all of one shard, each naming the next. */
static void init_clusters(struct adit_cs *cs, uint64_t block, uint64_t first_ino, uint64_t n,
			  uint32_t shard, uint64_t then)
{
	struct adit_fs *fs = adit__cs_fs(cs);

	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = (block << ADIT_BLOCK_SHIFT) + i * ADIT_ICLUSTER_BYTES;
		struct adit_icluster_pm c = {
			.magic = put32(ADIT_MAGIC_ICLUSTER),
			.ino = put64(first_ino + i * ADIT_ICLUSTER_INODES), .used = put64(1),
			.next = put64(i + 1 < n ? first_ino + (i + 1) * ADIT_ICLUSTER_INODES + 1 :
					       then),
			.shard = put32(shard)};

		c.crc = put32(adit__seal_crc(fs, &c, ADIT_INODE_SEAL_FROM, sizeof c,
					     ADIT_MAGIC_ICLUSTER));
		/* No line twice: nothing orders two streams of stores before the fence. */
		adit__cs_fresh(cs, at, &c, sizeof c);
		adit__cs_fresh_zero(cs, at + sizeof c, ADIT_ICLUSTER_BYTES - sizeof c);
	}
}

/* Add clusters to the shard's empty list. Commits at: its own record.
 * After a crash: the table is as before, or longer by empty clusters. */
static int grow(struct adit_op *op, uint32_t shard)
{
	struct adit_fs *fs = op->fs;
	struct adit_cs *cs = op->cs;
	uint64_t want = min_u64(max_u64(fs->pool_blocks / 2048, CLUSTER_BLOCKS), ADIT_HUGE_BLOCKS);
	uint64_t next, clusters;
	struct adit_inode_pm *table;
	struct adit_extent e;
	struct adit_run run;
	int err;

	adit__op_lock(op, &fs->vol->grow_lock, true);
	next = get64(fs->root->next_ino);
	want = round_down_u64(want, CLUSTER_BLOCKS);
	err = adit__cs_itable(cs, &table);
	if (!err)
		err = adit__alloc_blocks(cs, 0, want, CLUSTER_BLOCKS,
					 want == ADIT_HUGE_BLOCKS ? ADIT_ALLOC_HUGE : 0, &run);
	if (err)
		goto out;
	clusters = run.count / CLUSTER_BLOCKS;
	if (run.count % CLUSTER_BLOCKS)
		adit__free_blocks(cs, run.block + clusters * CLUSTER_BLOCKS,
				  run.count % CLUSTER_BLOCKS);
	init_clusters(cs, run.block, next, clusters, shard, 0);
	e = (struct adit_extent){.file_block = next / INODES_PER_BLOCK, .block = run.block,
				 .blocks = clusters * CLUSTER_BLOCKS,
				 .epoch = get32(fs->root->epoch)};
	err = adit__extent_insert(cs, table, &e, 0);
	if (err)
		goto out;
	put_head(cs, FREE_CLUSTER, shard, next + 1);
	next += clusters * ADIT_ICLUSTER_INODES;
	table->size = put64(next * ADIT_INODE_BYTES);
	adit__cs_put64(cs, (get64(fs->super.root_block) << ADIT_BLOCK_SHIFT) +
			       offsetof(struct adit_root_pm, next_ino), next, ADIT_KIND_ROOT);
	err = adit__cs_commit(cs);
out:
	if (err)
		adit__cs_drop(cs);
	adit__op_unlock_one(op, &fs->vol->grow_lock);
	return err;
}

static int alloc_in_shard(struct adit_op *op, uint32_t shard, struct adit_inode_pm **out)
{
	struct adit_fs *fs = op->fs;
	uint64_t link = get64(adit__cs_root(op->cs)->free_cluster[shard]), head, ino, used;
	struct adit_icluster_pm *c;
	struct adit_inode_pm *ip;
	unsigned bit;
	int err;

	if (link == 0 && adit__cs_dirty(op->cs))
		return -ENOSPC; /* cannot grow now */
	if (link == 0) {
		err = grow(op, shard);
		if (err)
			return err;
		link = get64(fs->root->free_cluster[shard]);
	}
	head = link - 1;
	err = cluster_copy(op->cs, head, &c);
	if (err)
		return err;
	used = get64(c->used);
	if (~used == 0) {
		adit__report(fs, "inode cluster %llu: full, and on the list of those that are not",
			     (unsigned long long)head);
		return -EUCLEAN;
	}
	bit = (unsigned)__builtin_ctzll(~used);
	ino = head + bit;
	ip = adit__cs_new_inode(op->cs, ino);
	if (!ip)
		return -E2BIG;
	if (get32(ip->mode) != 0) {
		adit__report(fs, "inode %llu: in use although its cluster says free",
			     (unsigned long long)ino);
		return -EUCLEAN;
	}
	used |= 1ull << bit;
	c->used = put64(used);
	if (~used == 0)
		put_head(op->cs, FREE_CLUSTER, shard, get64(c->next));
	adit__cs_count_inodes(op->cs, 1);
	ip->magic = put32(ADIT_MAGIC_INODE);
	ip->ino = put64(ino);
	ip->generation = put32(get32(ip->generation) + 1);
	adit__set_verified(fs, adit__offset_of(fs, adit__inode_slot(fs, ino)));
	*out = ip;
	return 0;
}

int adit__inode_alloc(struct adit_op *op, struct adit_inode_pm **out)
{
	struct adit_fs *fs = op->fs;
	uint32_t n = shards(fs), first = adit__place_hint(fs) % n;
	int err = -ENOSPC, last = -ENOSPC;

	/* Our own shard, waiting if need be; when it has nothing, the others. */
	for (uint32_t i = 0; i < n; i++) {
		uint32_t shard = (first + i) % n;
		struct adit_lock *lock = adit__shard_lock(fs, shard);
		bool held = adit__op_holds(op, lock);

		if (i == 0)
			adit__op_lock(op, lock, true);
		else if (!adit__op_trylock(op, lock, true))
			continue;
		err = alloc_in_shard(op, shard, out);
		if (!err) {
			adit__open_none(fs, get64((*out)->ino));
			return 0;
		}
		if (err != -ENOSPC)
			last = err;
		if (!held)
			adit__op_unlock_one(op, lock);
	}
	return last;
}

int adit__inode_free(struct adit_op *op, struct adit_inode_pm *ip)
{
	uint64_t ino = get64(ip->ino), used;
	struct adit_icluster_pm *c;
	le32 crc = ip->crc;
	uint32_t shard, generation = get32(ip->generation);
	int err;

	/* The shard never changes: safe to read before its lock is held. */
	err = cluster_copy(op->cs, ino, &c);
	if (err)
		return err;
	shard = get32(c->shard);
	if (!adit__op_holds(op, adit__shard_lock(op->fs, shard))) {
		adit__op_lock(op, adit__shard_lock(op->fs, shard), true);
		/* The copy was taken without the lock: take it again. */
		struct adit_cs_inode_copy *copy = adit__cs_slot(
			op->cs, 0, adit__offset_of(op->fs, adit__inode_slot(op->fs,
				ino - ino % ADIT_ICLUSTER_INODES)), ADIT_KIND_INODE);

		memcpy(&copy->was, adit__at(op->fs, copy->offset), ADIT_INODE_BYTES);
		copy->now = copy->was;
		c = &copy->now.cluster;
	}
	used = get64(c->used);
	if (!(used >> (ino % ADIT_ICLUSTER_INODES) & 1)) {
		adit__report(op->fs, "inode %llu: freed although its cluster says free",
			     (unsigned long long)ino);
		return -EUCLEAN;
	}
	if (~used == 0) {
		c->next = adit__cs_root(op->cs)->free_cluster[shard];
		put_head(op->cs, FREE_CLUSTER, shard, ino - ino % ADIT_ICLUSTER_INODES + 1);
	}
	c->used = put64(used & ~(1ull << (ino % ADIT_ICLUSTER_INODES)));
	adit__cs_count_inodes(op->cs, -1);
	memset((uint8_t *)ip + ADIT_INODE_SEAL_FROM, 0, sizeof *ip - ADIT_INODE_SEAL_FROM);
	ip->crc = crc;
	ip->ino = put64(ino);
	ip->generation = put32(generation);
	return 0;
}

/* ---- orphans ----------------------------------------------------------------------- */

static struct adit_lock *orphan_lock(struct adit_op *op, uint64_t ino)
{
	return adit__orphan_lock(op->fs, ino % ADIT_SHARDS);
}

/* A neighbour on the list; only its links change, under the list's lock. */
static int put_link(struct adit_op *op, uint64_t ino, size_t field, uint64_t value)
{
	struct adit_cs *cs = op->cs;
	struct adit_inode_pm *slot = adit__inode_slot(op->fs, ino);

	for (unsigned i = 0; i < cs->ninodes; i++)
		if (cs->inode[i].ino == ino) {
			*(le64 *)((uint8_t *)&cs->inode[i].now + field) = put64(value);
			return 0;
		}
	if (!slot)
		return -EUCLEAN;
	adit__cs_put64(cs, adit__offset_of(op->fs, slot) + field, value, ADIT_KIND_INODE);
	return 0;
}

int adit__orphan_add(struct adit_op *op, struct adit_inode_pm *ip)
{
	uint64_t ino = get64(ip->ino), head;
	uint32_t list = (uint32_t)(ino % ADIT_SHARDS);
	int err = 0;

	adit__op_lock(op, orphan_lock(op, ino), true);
	head = get64(adit__cs_root(op->cs)->orphan[list]);
	ip->orphan_next = put64(head);
	ip->orphan_prev = put64(0);
	ip->flags = put32(get32(ip->flags) | ADIT_IFLAG_ORPHAN);
	if (head)
		err = put_link(op, head, offsetof(struct adit_inode_pm, orphan_prev), ino);
	put_head(op->cs, ORPHAN, list, ino);
	return err;
}

int adit__orphan_remove(struct adit_op *op, struct adit_inode_pm *ip)
{
	uint64_t ino = get64(ip->ino), next, prev;
	uint32_t list = (uint32_t)(ino % ADIT_SHARDS);
	const struct adit_inode_pm *slot = adit__inode_slot(op->fs, ino);
	int err = 0;

	adit__op_lock(op, orphan_lock(op, ino), true);
	/* Neighbours may have changed the links since the copy was made. */
	next = get64(slot->orphan_next);
	prev = get64(slot->orphan_prev);
	for (unsigned i = 0; i < op->cs->ninodes; i++)
		if (op->cs->inode[i].ino == ino) {
			op->cs->inode[i].was.inode.orphan_next = slot->orphan_next;
			op->cs->inode[i].was.inode.orphan_prev = slot->orphan_prev;
		}
	if (next)
		err = put_link(op, next, offsetof(struct adit_inode_pm, orphan_prev), prev);
	if (prev && !err)
		err = put_link(op, prev, offsetof(struct adit_inode_pm, orphan_next), next);
	if (!prev)
		put_head(op->cs, ORPHAN, list, next);
	ip->orphan_next = ip->orphan_prev = put64(0);
	ip->flags = put32(get32(ip->flags) & ~ADIT_IFLAG_ORPHAN);
	return err;
}

/* ---- the end of an inode ---------------------------------------------------------------- */

static int destroy_contents_step(struct adit_cs *cs, struct adit_inode_pm *ip)
{
	int err = ADIT_S_ISDIR(get32(ip->mode)) ? adit__dir_destroy_step(cs, ip) :
						  adit__file_destroy_step(cs, ip, 0);

	return err ? err : adit__xattr_destroy_step(cs, ip);
}

int adit__inode_destroy(struct adit_op *op, uint64_t ino)
{
	struct adit_cs *cs = op->cs;
	int err;

	adit__op_unlock_aux(op);
	for (;;) {
		struct adit_inode_pm *ip;
		bool more;

		err = adit__cs_inode(cs, ino, &ip);
		if (err)
			break;
		err = destroy_contents_step(cs, ip);
		more = err == -EAGAIN;
		if (err && !more)
			break;
		if (more) {
			if (!adit__cs_intent_active(cs))
				adit__cs_intent(cs, ADIT_INTENT_FREE, ino,
						get32(ip->generation), 0, 0, 0, 0);
		} else {
			err = adit__inode_free(op, ip);
			if (err)
				break;
			if (adit__cs_intent_active(cs))
				adit__cs_intent(cs, ADIT_INTENT_NONE, 0, 0, 0, 0, 0, 0);
		}
		err = adit__cs_commit(cs);
		adit__op_unlock_aux(op);
		if (err || !more)
			return err;
	}
	adit__cs_drop(cs);
	/* Without memory nothing of it can be finished here: recovery does. */
	if (err == -ENOMEM && adit__cs_intent_active(cs)) {
		adit__report(op->fs, "inode %llu: cannot be freed (error %d): pool stopped",
			     (unsigned long long)ino, err);
		adit__stop(op->fs);
		err = -EIO;
	}
	return err;
}
