/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The check's look at the inodes: root block, cluster headers, each slot by
 * itself.  Where they lie is check_table.c's, what hangs on them check_fork.c's.
 *
 * An inode that fails its seal is kept when it still says who it is and what
 * it is makes sense: its parts are then checked like everybody's.  Otherwise
 * its slot is cleared; names that point there go (check_dir.c), and so do the
 * blocks it held (nobody claims them).
 */
#include "core/check_impl.h"
#include "core/dir.h"
#include "core/extent.h"

/* ---- the array of what is known ------------------------------------------ */

struct adit_ck_inode *adit__ck_ino(struct adit_check *ck, uint64_t ino, bool make)
{
	struct adit_ck_inode **chunk;

	if (ino >= ck->inos)
		return NULL;
	chunk = &ck->ino[ino / ADIT_CK_INODES];
	if (!*chunk && make) {
		*chunk = ck->fs->env->alloc(ADIT_CK_INODES * sizeof **chunk);
		if (!*chunk)
			ck->err = -ENOMEM;
	}
	return *chunk ? &(*chunk)[ino % ADIT_CK_INODES] : NULL;
}

uint64_t adit__ck_next_used(struct adit_check *ck, uint64_t ino)
{
	for (ino++; ino < ck->inos; ino++) {
		const struct adit_ck_inode *chunk = ck->ino[ino / ADIT_CK_INODES];

		if (!chunk) {
			ino |= ADIT_CK_INODES - 1;
			continue;
		}
		if (chunk[ino % ADIT_CK_INODES].flags & ADIT_CK_USED)
			return ino;
	}
	return 0;
}

/* ---- root block ------------------------------------------------------------- */

static bool from_the_future(const struct adit_check *ck, const le64 *dirty_seq)
{
	return get64(*dirty_seq) > ck->fs->vol->seq;
}

static void check_replica(struct adit_check *ck)
{
	struct adit_fs *fs = ck->fs;
	const struct adit_root_pm *r = fs->root, *copy;

	/* Brought up to date by checkpoints. */
	if (get64(r->dirty_seq) > fs->vol->c && !from_the_future(ck, &r->dirty_seq))
		return;
	copy = adit__block_at(fs, get64(fs->super.root_copy));
	if (memcmp((const uint8_t *)copy + ADIT_ROOT_SEAL_FROM,
		   (const uint8_t *)r + ADIT_ROOT_SEAL_FROM,
		   sizeof *r - ADIT_ROOT_SEAL_FROM) == 0 &&
	    get32(copy->crc) == get32(r->crc) && get32(copy->magic) == get32(r->magic))
		return;
	if (adit__ck_found(ck, ADIT_CHECK_ERROR, "replica of the root block", 0,
			   get64(fs->super.root_copy), "is not the root block's copy",
			   "copy it anew")) {
		memcpy(ck->node_copy, r, sizeof *r);
		adit__ck_store_root(ck, (struct adit_root_pm *)ck->node_copy);
	}
}

void adit__ck_root(struct adit_check *ck)
{
	struct adit_fs *fs = ck->fs;
	struct adit_root_pm *r = fs->root;
	uint64_t block = get64(fs->super.root_block), most = fs->pool_blocks * 16;
	const char *why = NULL;
	struct adit_root_pm *copy = (struct adit_root_pm *)ck->node_copy;

	if (adit__verify_root(fs, r, &why) != 0)
		adit__ck_found(ck, ADIT_CHECK_ERROR, "root block", 0, block, why, NULL);
	if ((!adit__ck_zero(r->reserved, sizeof r->reserved) ||
	     !adit__ck_zero(r->reserved2, sizeof r->reserved2) ||
	     from_the_future(ck, &r->dirty_seq) || get64(r->snapshots) || get64(r->shared)) &&
	    adit__ck_found(ck, ADIT_CHECK_ERROR, "root block", 0, block,
			   "fields that must be zero are not", "zero them")) {
		memcpy(copy, r, sizeof *r);
		memset(copy->reserved, 0, sizeof copy->reserved);
		memset(copy->reserved2, 0, sizeof copy->reserved2);
		copy->snapshots = copy->shared = put64(0);
		adit__ck_store_root(ck, copy);
	}
	check_replica(ck);
	ck->inos = get64(r->next_ino);
	if (ck->inos > most) {
		adit__ck_found_value(ck, ADIT_CHECK_LOSS, "root block", 0, block,
				     "more inodes than the pool could hold", NULL, ck->inos, most);
		ck->inos = most;
	}
	ck->ino_chunks = (ck->inos + ADIT_CK_INODES - 1) / ADIT_CK_INODES;
	ck->ino = fs->env->alloc((ck->ino_chunks + 1) * sizeof *ck->ino);
	if (!ck->ino)
		ck->err = -ENOMEM;
}

/* ---- one inode -------------------------------------------------------------------- */

static bool type_is_known(uint32_t mode)
{
	switch (ADIT_S_TYPE(mode)) {
	case S_IFREG: case S_IFDIR: case S_IFLNK: case S_IFCHR:
	case S_IFBLK: case S_IFIFO: case S_IFSOCK:
		return (mode >> 16) == 0;
	default:
		return false;
	}
}

/* Keep the inline extents that make sense. */
static void scrub_extents(struct adit_check *ck, struct adit_inode_pm *ip)
{
	struct adit_fork_extents_pm *x = &ip->fork.extents;
	unsigned count = get16(x->count), kept = 0;
	uint64_t at = 0;

	if (count > ADIT_INLINE_EXTENTS)
		count = ADIT_INLINE_EXTENTS;
	for (unsigned i = 0; i < count; i++) {
		struct adit_extent_inline_pm e = x->extent[i];
		uint64_t block = adit_ptr_block(get64(e.ptr)), n = get32(e.blocks);

		if (n == 0 || get64(e.file_block) < at ||
		    get64(e.file_block) > ADIT_FILE_BLOCKS_MAX - n ||
		    !adit__run_is_sane(ck->fs, block, n) || adit__ck_is_sound(ck, block, n))
			continue;
		at = get64(e.file_block) + n;
		x->extent[kept++] = e;
	}
	x->count = put16((uint16_t)kept);
}

static void fork_none(struct adit_inode_pm *ip)
{
	memset(&ip->fork, 0, sizeof ip->fork);
	adit__inode_set_fork(ip, ADIT_FORK_NONE);
}

static void scrub_fork(struct adit_check *ck, struct adit_inode_pm *ip)
{
	uint32_t mode = get32(ip->mode);
	bool dir = ADIT_S_ISDIR(mode), data = ADIT_S_ISREG(mode) || ADIT_S_ISLNK(mode);
	uint64_t root = adit_ptr_block(get64(ip->fork.tree.root));

	switch (adit__inode_fork(ip)) {
	case ADIT_FORK_INLINE:
		if (dir)
			adit__ck_scrub_inline_dir(ip);
		else if (!data)
			fork_none(ip);
		else if (get64(ip->size) > ADIT_FORK_BYTES)
			ip->size = put64(ADIT_FORK_BYTES);
		return;
	case ADIT_FORK_EXTENTS:
		if (data)
			scrub_extents(ck, ip);
		else
			fork_none(ip);
		return;
	case ADIT_FORK_TREE:
		if ((!dir && !ADIT_S_ISREG(mode)) || !adit__run_is_sane(ck->fs, root, 1) ||
		    ip->fork.tree.level > ADIT_TREE_MAX_LEVEL)
			fork_none(ip);
		return;
	default:
		fork_none(ip);
	}
}

/* Make a sound inode of this copy; false: nothing to be made of it. */
static bool scrub_inode(struct adit_check *ck, struct adit_inode_pm *ip, uint64_t ino)
{
	unsigned wrong = (get32(ip->magic) != ADIT_MAGIC_INODE) + (get64(ip->ino) != ino);
	uint32_t flags = get32(ip->flags), level;
	uint64_t root;
	const char *why;

	if (ino == ADIT_INO_ROOT && !ADIT_S_ISDIR(get32(ip->mode)) && wrong == 0)
		ip->mode = put32(S_IFDIR | 0755);
	if (wrong > 1 || !type_is_known(get32(ip->mode)))
		return false;
	ip->magic = put32(ADIT_MAGIC_INODE);
	ip->ino = put64(ino);
	ip->dirty_seq = put64(0);
	if (get64(ip->size) > INT64_MAX)
		ip->size = put64(min_u64(get64(ip->blocks), ck->fs->pool_blocks) * ADIT_BLOCK);
	level = (flags & ADIT_IFLAG_XLEVEL_MASK) >> ADIT_IFLAG_XLEVEL_SHIFT;
	root = adit_ptr_block(get64(ip->xattr_root));
	if ((root && !adit__run_is_sane(ck->fs, root, 1)) || level > ADIT_TREE_MAX_LEVEL) {
		ip->xattr_root = put64(0);
		flags &= ~ADIT_IFLAG_XLEVEL_MASK;
	}
	ip->flags = put32(flags & ADIT_IFLAG_KNOWN);
	scrub_fork(ck, ip);
	ip->crc = put32(adit__seal_crc(ck->fs, ip, ADIT_INODE_SEAL_FROM, sizeof *ip,
				       ADIT_MAGIC_INODE));
	return adit__verify_inode(ck->fs, ip, ino, &why) == 0;
}

/* Bytes that mean nothing are zero. Makes them so; true when they were not. */
static bool zero_unused(struct adit_inode_pm *ip)
{
	struct adit_inode_pm was = *ip;
	uint32_t mode = get32(ip->mode), type = ADIT_S_TYPE(mode);
	struct adit_fork_extents_pm *x = &ip->fork.extents;
	uint64_t size = get64(ip->size);

	if (type != S_IFDIR && type != S_IFCHR && type != S_IFBLK)
		ip->parent_or_rdev = put64(0);
	if (!(get32(ip->flags) & ADIT_IFLAG_ORPHAN))
		ip->orphan_next = ip->orphan_prev = put64(0);
	if (get64(ip->xattr_root) == 0)
		ip->flags = put32(get32(ip->flags) & ~ADIT_IFLAG_XLEVEL_MASK);
	if (type != S_IFDIR && type != S_IFREG && type != S_IFLNK)
		ip->size = put64(0);
	switch (adit__inode_fork(ip)) {
	case ADIT_FORK_NONE:
		fork_none(ip);
		break;
	case ADIT_FORK_INLINE:
		if (type != S_IFDIR && size < ADIT_FORK_BYTES)
			memset(ip->fork.bytes + size, 0, ADIT_FORK_BYTES - size);
		break;
	case ADIT_FORK_EXTENTS:
		memset(x->reserved, 0, sizeof x->reserved);
		memset(x->reserved2, 0, sizeof x->reserved2);
		for (unsigned i = 0; i < ADIT_INLINE_EXTENTS; i++)
			if (i >= get16(x->count))
				memset(&x->extent[i], 0, sizeof x->extent[i]);
			else
				x->extent[i].reserved = put16(0);
		break;
	default:
		memset(ip->fork.tree.reserved, 0, sizeof ip->fork.tree.reserved);
		memset(ip->fork.tree.reserved2, 0, sizeof ip->fork.tree.reserved2);
	}
	return memcmp(&was, ip, sizeof was) != 0;
}

static void note_inode(struct adit_check *ck, const struct adit_inode_pm *ip, uint64_t ino)
{
	struct adit_ck_inode *i = adit__ck_ino(ck, ino, true);

	if (!i)
		return;
	i->flags |= ADIT_CK_USED;
	if (get32(ip->flags) & ADIT_IFLAG_ORPHAN)
		i->flags |= ADIT_CK_ORPHAN;
	ck->used_inodes++;
	if (ADIT_S_ISDIR(get32(ip->mode))) {
		i->flags |= ADIT_CK_DIR;
		ck->dirs++;
	} else {
		ck->files++;
	}
}

static void clear_slot(struct adit_check *ck, const struct adit_inode_pm *slot, uint64_t ino)
{
	struct adit_inode_pm clear = {.ino = put64(ino), .generation = slot->generation};

	adit__ck_store_inode(ck, ino, &clear);
}

/* A slot that its cluster calls used; false: it is free (now). */
static bool check_inode(struct adit_check *ck, struct adit_inode_pm *slot, uint64_t ino)
{
	struct adit_inode_pm copy = *slot;
	struct adit_check_finding f;
	const char *why = NULL;
	bool can = true;

	if (adit__verify_inode(ck->fs, slot, ino, &why) != 0) {
		can = scrub_inode(ck, &copy, ino);
		f = adit__ck_finding(can ? ADIT_CHECK_ERROR : ADIT_CHECK_LOSS, "inode", ino,
				     ADIT_CHECK_NO_BLOCK, why,
				     can ? "keep what makes sense of it" : "clear it");
		if (adit__ck_mend(ck, &f)) {
			if (can)
				adit__ck_store_inode(ck, ino, &copy);
			else
				clear_slot(ck, slot, ino);
		}
		adit__ck_tell(ck, &f);
		/* Without hands: taken for what it could be, if anything. */
		if (!f.fixed && can)
			note_inode(ck, &copy, ino);
		ck->partial |= !f.fixed;
		if (!f.fixed || !can)
			return !f.fixed;
	}
	if (get32(copy.mode) == 0)
		return false;
	if ((zero_unused(&copy) || from_the_future(ck, &copy.dirty_seq)) &&
	    adit__ck_found(ck, ADIT_CHECK_ERROR, "inode", ino, ADIT_CHECK_NO_BLOCK,
			   "fields that must be zero are not", "zero them"))
		adit__ck_store_inode(ck, ino, &copy);
	note_inode(ck, &copy, ino);
	return true;
}

/* A slot that its cluster calls free; true: it is in use after all. */
static bool check_free_slot(struct adit_check *ck, struct adit_inode_pm *slot, uint64_t ino)
{
	struct adit_inode_pm copy = *slot;
	const char *why = "holds what a free one cannot";
	bool bad;

	if (get32(slot->magic) == 0 && adit__ck_zero(slot, sizeof *slot))
		return false;
	bad = adit__verify_inode(ck->fs, slot, ino, &why) != 0;
	if (!bad && get32(slot->mode) != 0)
		return adit__ck_found(ck, ADIT_CHECK_ERROR, "inode", ino, ADIT_CHECK_NO_BLOCK,
				      "in use although its cluster says free", "mark it used");
	copy.ino = put64(0);
	copy.generation = put32(0);
	bad |= !adit__ck_zero((const uint8_t *)&copy + ADIT_INODE_SEAL_FROM,
			      sizeof copy - ADIT_INODE_SEAL_FROM);
	bad |= from_the_future(ck, &copy.dirty_seq);
	if (bad && adit__ck_found(ck, ADIT_CHECK_ERROR, "free inode", ino, ADIT_CHECK_NO_BLOCK, why,
				  "clear it"))
		clear_slot(ck, slot, ino);
	return false;
}

/* ---- clusters ----------------------------------------------------------------------- */

/* A header made of what the slots say. */
static __attribute__((noinline)) void
rebuild_header(struct adit_check *ck, struct adit_icluster_pm *h, uint64_t base)
{
	uint32_t shards = get32(ck->fs->root->shards), shard = get32(h->shard);
	struct adit_inode_pm *first = (struct adit_inode_pm *)adit__inode_slot(ck->fs, base);
	uint64_t used = 1;
	const char *why;

	for (unsigned i = 1; i < ADIT_ICLUSTER_INODES; i++) {
		struct adit_inode_pm copy = first[i];

		if (get32(copy.mode) == 0 && base + i != ADIT_INO_ITABLE)
			continue;
		if (adit__verify_inode(ck->fs, &copy, base + i, &why) == 0 ||
		    scrub_inode(ck, &copy, base + i))
			used |= 1ull << i;
	}
	memset(h, 0, sizeof *h);
	h->magic = put32(ADIT_MAGIC_ICLUSTER);
	h->ino = put64(base);
	h->used = put64(used);
	h->shard = put32(shard < shards ? shard :
			 (uint32_t)(base / ADIT_ICLUSTER_INODES % shards));
}

static const char *header_trouble(struct adit_check *ck, const struct adit_icluster_pm *h,
				  uint64_t base)
{
	const char *why = NULL;

	if (adit__verify_icluster(ck->fs, h, base, &why) != 0)
		return why;
	if (get32(h->shard) >= get32(ck->fs->root->shards))
		return "shard is impossible";
	if (from_the_future(ck, &h->dirty_seq) || get64(h->reserved0[0]) ||
	    get64(h->reserved0[1]) || get32(h->reserved1) ||
	    !adit__ck_zero(h->reserved, sizeof h->reserved))
		return "fields that must be zero are not";
	return NULL;
}

/* One slot of the cluster; true: used. */
static bool check_slot(struct adit_check *ck, struct adit_inode_pm *slot, uint64_t ino, bool used)
{
	if (ino == ADIT_INO_ITABLE) {
		/* A number without an inode, see mkfs.c. */
		ck->used_inodes++;
		return true;
	}
	if (!used)
		used = check_free_slot(ck, slot, ino);
	return used && check_inode(ck, slot, ino);
}

static void store_used(struct adit_check *ck, struct adit_icluster_pm *h, uint64_t base,
		       uint64_t used, uint64_t is)
{
	if (is == used || !ck->may_fix)
		return;
	/* What the slots' findings said is written here; only slots that are
	 * free by themselves have no finding yet. */
	if ((used & ~is) == 0 || adit__ck_found(ck, ADIT_CHECK_ERROR, "inode cluster", base,
						ADIT_CHECK_NO_BLOCK,
						"free slots are marked as used", "mark them free")) {
		h->used = put64(is);
		adit__ck_store_cluster(ck, base, h);
		if (~used == 0 || ~is == 0)
			ck->rebuild_clusters = true;
	}
}

static void check_cluster(struct adit_check *ck, uint64_t base)
{
	struct adit_inode_pm *first = adit__inode_slot(ck->fs, base);
	struct adit_icluster_pm h;
	struct adit_ck_inode *i;
	const char *why;
	uint64_t used, is = 1;

	if (!first) { /* adit__ck_missing_clusters */
		ck->partial |= !ck->may_fix;
		return;
	}
	memcpy(&h, first, sizeof h);
	why = header_trouble(ck, &h, base);
	if (why) {
		rebuild_header(ck, &h, base);
		if (adit__ck_found(ck, ADIT_CHECK_ERROR, "inode cluster", base,
				   ADIT_CHECK_NO_BLOCK, why, "rebuild it from its inodes")) {
			adit__ck_store_cluster(ck, base, &h);
			ck->rebuild_clusters = true;
		}
	}
	used = get64(h.used);
	for (unsigned s = 1; s < ADIT_ICLUSTER_INODES && !ck->err; s++)
		if (check_slot(ck, first + s, base + s, used >> s & 1))
			is |= 1ull << s;
	if (!ck->may_fix && used & ~is)
		adit__ck_found(ck, ADIT_CHECK_ERROR, "inode cluster", base, ADIT_CHECK_NO_BLOCK,
			       "free slots are marked as used", "mark them free");
	store_used(ck, &h, base, used, is);
	i = adit__ck_ino(ck, base, true);
	if (i)
		i->flags |= ADIT_CK_HEADER | (~is ? ADIT_CK_HAS_FREE : 0);
}

/* Without a root directory nothing can be reached: an empty one, and all that
 * was in the old one goes to lost+found. */
static __attribute__((noinline)) void need_root(struct adit_check *ck)
{
	uint32_t flags = adit__ck_ino_flags(ck, ADIT_INO_ROOT);
	struct adit_inode_pm *first = adit__inode_slot(ck->fs, 0), root;
	uint64_t now = (uint64_t)ck->fs->env->now_ns();
	struct adit_icluster_pm h;

	if (ck->err || ((flags & ADIT_CK_USED) && (flags & ADIT_CK_DIR)))
		return;
	if (!adit__ck_found(ck, ADIT_CHECK_LOSS, "root directory", ADIT_INO_ROOT,
			    ADIT_CHECK_NO_BLOCK, "is gone", first ? "make an empty one" : NULL))
		return;
	root = (struct adit_inode_pm){
		.ino = put64(ADIT_INO_ROOT), .generation = first[ADIT_INO_ROOT].generation,
		.mode = put32(S_IFDIR | 0755), .nlink = put32(2), .mtime_ns = put64(now),
		.ctime_ns = put64(now), .atime_ns = put64(now), .btime_ns = put64(now),
		.parent_or_rdev = put64(ADIT_INO_ROOT),
	};
	adit__ck_store_inode(ck, ADIT_INO_ROOT, &root);
	memcpy(&h, first, sizeof h);
	h.used = put64(get64(h.used) | 1ull << ADIT_INO_ROOT);
	adit__ck_store_cluster(ck, 0, &h);
	ck->again = true;
}

void adit__ck_clusters(struct adit_check *ck)
{
	for (uint64_t base = 0; base < ck->inos && !ck->err; base += ADIT_ICLUSTER_INODES) {
		check_cluster(ck, base);
		if (base % 65536 == 0)
			adit__ck_progress(ck, "inodes", base, ck->inos);
	}
	need_root(ck);
}
