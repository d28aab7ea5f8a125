/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The check's look at what hangs on an inode: extents, attributes, and (by
 * check_dir.c) entries.  Every block is claimed here, and an inode's `blocks`
 * is compared with what it was found to hold.
 */
#include "core/check_impl.h"
#include "core/extent.h"
#include "core/namehash.h"
#include "core/xattr.h"

/* ---- runs of blocks --------------------------------------------------------- */

int adit__ck_run(struct adit_check *ck, const char *structure, uint64_t ptr, uint64_t count)
{
	uint64_t block = adit_ptr_block(ptr);
	const char *why = NULL;

	if (!adit__run_is_sane(ck->fs, block, count))
		why = "blocks lie outside of the pool";
	else if (adit__ck_is_strong(ck, block, count) || !adit__ck_claim(ck, block, count))
		why = "blocks belong to something else";
	if (!why) {
		ck->cur_blocks += count;
		return 0;
	}
	return adit__ck_found(ck, ADIT_CHECK_LOSS, structure, ck->cur_ino, block, why,
			      "drop it") ? 1 : -1;
}

static bool epoch_is_known(const struct adit_check *ck, uint64_t ptr)
{
	return adit_ptr_epoch(ptr) <= get32(ck->fs->root->epoch);
}

static uint64_t in_this_epoch(const struct adit_check *ck, uint64_t ptr)
{
	return adit_ptr_make(adit_ptr_block(ptr), get32(ck->fs->root->epoch));
}

/* ---- extents -------------------------------------------------------------------- */

/* The parts of either form. */
struct extent_ref {
	uint64_t file_block, blocks, ptr;
	uint32_t flags;
	bool reserved_zero;
};

/* True when the extent goes; *tidy: harmless fields are to be made right. */
static bool judge_extent(struct adit_check *ck, const struct extent_ref *e, bool *tidy)
{
	const char *why = NULL;
	int bad;

	*tidy = false;
	if (e->blocks == 0 || e->file_block < ck->next_file_block)
		why = "overlaps the one before, or is empty";
	else if (e->file_block > ADIT_FILE_BLOCKS_MAX - e->blocks)
		why = "lies beyond the end of any file";
	else if (ck->cur_ino == ADIT_INO_ITABLE && (e->file_block % 4 || e->blocks % 4))
		why = "cuts an inode cluster";
	if (why)
		return adit__ck_found(ck, ADIT_CHECK_LOSS, "extent of inode", ck->cur_ino,
				      adit_ptr_block(e->ptr), why, "drop it");
	bad = adit__ck_run(ck, "extent of inode", e->ptr, e->blocks);
	if (bad)
		return bad > 0;
	ck->next_file_block = e->file_block + e->blocks;
	if ((e->flags & ~ADIT_EXTENT_UNWRITTEN) || !e->reserved_zero ||
	    !epoch_is_known(ck, e->ptr))
		*tidy = adit__ck_found(ck, ADIT_CHECK_ERROR, "extent of inode", ck->cur_ino,
				       adit_ptr_block(e->ptr), "flags or birth epoch are unknown",
				       "correct them");
	return false;
}

static enum adit_ck_verdict visit_extent(struct adit_ck_tree *t, struct adit_rec_pm *rec)
{
	struct adit_extent_pm *p = (struct adit_extent_pm *)rec;
	struct adit_check *ck = t->ck;
	struct extent_ref e = {get64(rec->key), get32(rec->c), get64(p->ptr), rec->a,
			       get64(p->reserved) == 0 && rec->b == 0};
	bool tidy;

	if (judge_extent(ck, &e, &tidy))
		return ADIT_CK_DROP;
	if (tidy) {
		rec->a &= ADIT_EXTENT_UNWRITTEN;
		rec->b = 0;
		p->reserved = put64(0);
		if (!epoch_is_known(ck, e.ptr))
			p->ptr = put64(in_this_epoch(ck, e.ptr));
		t->edited = true;
	}
	return ADIT_CK_KEEP;
}

static bool inline_extents(struct adit_check *ck, struct adit_inode_pm *ip)
{
	struct adit_fork_extents_pm *x = &ip->fork.extents;
	unsigned count = get16(x->count), kept = 0;
	bool changed = false, tidy;

	if (count > ADIT_INLINE_EXTENTS)
		count = ADIT_INLINE_EXTENTS;
	for (unsigned i = 0; i < count; i++) {
		struct adit_extent_inline_pm p = x->extent[i];
		struct extent_ref e = {get64(p.file_block), get32(p.blocks), get64(p.ptr),
				       get16(p.flags), get16(p.reserved) == 0};

		if (judge_extent(ck, &e, &tidy)) {
			changed = true;
			continue;
		}
		if (tidy) {
			p.flags = put16(e.flags & ADIT_EXTENT_UNWRITTEN);
			p.reserved = put16(0);
			if (!epoch_is_known(ck, e.ptr))
				p.ptr = put64(in_this_epoch(ck, e.ptr));
			changed = true;
		}
		x->extent[kept++] = p;
	}
	if (!changed)
		return false;
	for (unsigned i = kept; i < ADIT_INLINE_EXTENTS; i++)
		memset(&x->extent[i], 0, sizeof x->extent[i]);
	x->count = put16((uint16_t)kept);
	if (kept == 0 && ck->cur_ino != ADIT_INO_ITABLE)
		adit__inode_set_fork(ip, ADIT_FORK_NONE);
	return true;
}

/* The fork's tree: walk it, then keep the fork in step. */
static bool fork_tree(struct adit_check *ck, struct adit_inode_pm *ip, struct adit_ck_tree *t)
{
	struct adit_fork_tree_pm *f = &ip->fork.tree;

	adit__ck_tree(ck, t, get64(f->root), f->level);
	ck->cur_blocks += t->nodes;
	if (t->root_gone) {
		memset(&ip->fork, 0, sizeof ip->fork);
		adit__inode_set_fork(ip, ck->cur_ino == ADIT_INO_ITABLE ? ADIT_FORK_EXTENTS :
									  ADIT_FORK_NONE);
		return true;
	}
	if (ck->again || ck->err || ck->partial || get64(f->nodes) == t->nodes ||
	    !adit__ck_found_value(ck, ADIT_CHECK_MINOR, "inode", ck->cur_ino, t->root,
				  "nodes of its tree are counted wrongly", "correct the number",
				  get64(f->nodes), t->nodes))
		return false;
	f->nodes = put64(t->nodes);
	return true;
}

bool adit__ck_map(struct adit_check *ck, struct adit_inode_pm *ip)
{
	struct adit_ck_tree t = {.owner = get64(ip->ino), .type = ADIT_TREE_EXTENTS,
				 .visit = visit_extent};

	ck->cur_ino = get64(ip->ino);
	ck->cur_blocks = ck->next_file_block = 0;
	switch (adit__inode_fork(ip)) {
	case ADIT_FORK_EXTENTS:
		return inline_extents(ck, ip);
	case ADIT_FORK_TREE:
		return fork_tree(ck, ip, &t);
	default:
		return false;
	}
}

/* ---- attributes ---------------------------------------------------------------------- */

static const uint8_t *attribute_name(const struct adit_xattr_pm *x)
{
	return x->data + x->rec.b * sizeof(struct adit_xattr_run_pm);
}

/* An external value's blocks and its checksum.  *claimed: the blocks are all
 * ours.  1: a run is somebody else's, the attribute goes. */
static int check_value(struct adit_check *ck, struct adit_xattr_pm *x, bool *claimed,
		       const char **why)
{
	struct adit_xattr_run_pm *run = (struct adit_xattr_run_pm *)x->data;
	uint32_t bytes = get32(x->rec.c), at = 0;
	uint64_t blocks = 0;

	for (unsigned i = 0; i < x->rec.b; i++)
		blocks += get32(run[i].blocks);
	if (bytes > ADIT_XATTR_VALUE_MAX || x->rec.b > ADIT_XATTR_RUNS_MAX ||
	    blocks != round_up_u64(bytes, ADIT_BLOCK) / ADIT_BLOCK) {
		*why = "value and blocks do not fit";
		return 0;
	}
	for (unsigned i = 0; i < x->rec.b; i++) {
		uint64_t n = get32(run[i].blocks), block = adit_ptr_block(get64(run[i].ptr));
		int bad = adit__ck_run(ck, "attribute of inode", get64(run[i].ptr), n);

		if (bad)
			return bad;
		n = min_u64(n << ADIT_BLOCK_SHIFT, bytes - at);
		memcpy(ck->value + at, adit__block_at(ck->fs, block), n);
		at += (uint32_t)n;
	}
	*claimed = true;
	if (ck->fs->env->crc32c(0, ck->value, bytes) != get32(x->value_crc))
		*why = "value has a bad checksum";
	return 0;
}

static void give_back_value(struct adit_check *ck, const struct adit_xattr_pm *x)
{
	const struct adit_xattr_run_pm *run = (const struct adit_xattr_run_pm *)x->data;

	for (unsigned i = 0; i < x->rec.b; i++) {
		adit__ck_unclaim(ck, adit_ptr_block(get64(run[i].ptr)), get32(run[i].blocks));
		ck->cur_blocks -= get32(run[i].blocks);
	}
}

static enum adit_ck_verdict visit_attribute(struct adit_ck_tree *t, struct adit_rec_pm *rec)
{
	struct adit_xattr_pm *x = (struct adit_xattr_pm *)rec;
	struct adit_check *ck = t->ck;
	const uint8_t *name = attribute_name(x);
	uint64_t key = get64(rec->key);
	const char *why = NULL;
	bool claimed = false;
	struct adit_check_finding f;
	int bad = 0;

	if (adit__name_key(ck->fs, name, rec->a) != key - key % ADIT_HASH_ORDINALS)
		why = "name does not fit its hash";
	else if (adit__xattr_check_name((const char *)name, rec->a) != 0)
		why = "name is impossible";
	else if (rec->b == 0 && get32(rec->c) > ADIT_XATTR_INLINE_MAX)
		why = "value is too long";
	else if (adit__ck_same_name(ck, key, name, rec->a))
		why = "name is there twice";
	if (!why && rec->b)
		bad = check_value(ck, x, &claimed, &why);
	/* Runs of it that were claimed are found to be nobody's by the next pass. */
	if (bad || !why)
		return bad > 0 ? ADIT_CK_DROP : ADIT_CK_KEEP;
	f = adit__ck_finding(ADIT_CHECK_LOSS, "attribute of inode", ck->cur_ino,
			     ADIT_CHECK_NO_BLOCK, why, "drop it");
	f.name = name;
	f.name_len = rec->a;
	adit__ck_mend(ck, &f);
	adit__ck_tell(ck, &f);
	if (f.fixed && claimed)
		give_back_value(ck, x);
	return f.fixed ? ADIT_CK_DROP : ADIT_CK_KEEP;
}

static bool check_attributes(struct adit_check *ck, struct adit_inode_pm *ip)
{
	struct adit_ck_tree t = {.owner = get64(ip->ino), .type = ADIT_TREE_XATTR,
				 .visit = visit_attribute};
	uint32_t flags = get32(ip->flags);

	if (get64(ip->xattr_root) == 0)
		return false;
	ck->names_len = 0;
	adit__ck_tree(ck, &t, get64(ip->xattr_root),
		      (flags & ADIT_IFLAG_XLEVEL_MASK) >> ADIT_IFLAG_XLEVEL_SHIFT);
	ck->cur_blocks += t.nodes;
	if (!t.root_gone)
		return false;
	ip->xattr_root = put64(0);
	ip->flags = put32(flags & ~ADIT_IFLAG_XLEVEL_MASK);
	return true;
}

/* ---- everything that hangs on one inode ------------------------------------------------- */

static bool check_fork(struct adit_check *ck, struct adit_inode_pm *ip)
{
	struct adit_ck_tree t = {.owner = get64(ip->ino), .type = ADIT_TREE_DIR,
				 .visit = adit__ck_visit_entry};
	bool changed;

	if (!ADIT_S_ISDIR(get32(ip->mode)))
		return adit__ck_map(ck, ip);
	ck->cur_ino = get64(ip->ino);
	ck->cur_blocks = ck->cur_entries = 0;
	ck->names_len = 0;
	if (adit__inode_fork(ip) == ADIT_FORK_TREE)
		changed = fork_tree(ck, ip, &t);
	else
		changed = adit__ck_inline_dir(ck, ip);
	if (ck->again || ck->err || ck->partial || get64(ip->size) == ck->cur_entries ||
	    !adit__ck_found_value(ck, ADIT_CHECK_MINOR, "directory", ck->cur_ino,
				  ADIT_CHECK_NO_BLOCK, "entries are counted wrongly",
				  "correct the number", get64(ip->size), ck->cur_entries))
		return changed;
	ip->size = put64(ck->cur_entries);
	return true;
}

static bool check_link_target(struct adit_check *ck, struct adit_inode_pm *ip)
{
	uint64_t size = get64(ip->size);
	struct adit_extent e;

	if (!ADIT_S_ISLNK(get32(ip->mode)) || adit__inode_fork(ip) == ADIT_FORK_INLINE)
		return false;
	if (size > ADIT_FORK_BYTES && size < ADIT_BLOCK &&
	    adit__extent_at(ck->fs, NULL, ip, 0, &e) == 0 && e.block != 0)
		return false;
	if (!adit__ck_found(ck, ADIT_CHECK_LOSS, "inode", ck->cur_ino, ADIT_CHECK_NO_BLOCK,
			    "the target of the symbolic link is lost", "let it point to '?'"))
		return false;
	memset(&ip->fork, 0, sizeof ip->fork);
	ip->fork.bytes[0] = '?';
	ip->size = put64(1);
	adit__inode_set_fork(ip, ADIT_FORK_INLINE);
	return true;
}

static void check_one(struct adit_check *ck, uint64_t ino)
{
	struct adit_inode_pm *slot = adit__inode_slot(ck->fs, ino);
	struct adit_inode_pm copy;
	bool changed;

	if (!slot)
		return;
	copy = *slot;
	changed = check_fork(ck, &copy);
	if (!ck->err && !ck->again)
		changed |= check_link_target(ck, &copy);
	if (!ck->err && !ck->again)
		changed |= check_attributes(ck, &copy);
	if (!ck->err && !ck->again && !ck->partial && get64(copy.blocks) != ck->cur_blocks &&
	    adit__ck_found_value(ck, ADIT_CHECK_MINOR, "inode", ino, ADIT_CHECK_NO_BLOCK,
				 "blocks are counted wrongly", "correct the number",
				 get64(copy.blocks), ck->cur_blocks)) {
		copy.blocks = put64(ck->cur_blocks);
		changed = true;
	}
	if (changed)
		adit__ck_store_inode(ck, ino, &copy);
}

void adit__ck_forks(struct adit_check *ck)
{
	uint64_t done = 0;

	for (uint64_t ino = 0; (ino = adit__ck_next_used(ck, ino)) != 0;) {
		const struct adit_inode_pm *slot = adit__inode_slot(ck->fs, ino);
		const char *why;

		/* Not mended: nothing on it can be trusted. */
		if (!slot || adit__verify_inode(ck->fs, slot, ino, &why) != 0) {
			ck->partial = true;
			continue;
		}
		check_one(ck, ino);
		if (ck->err || ck->again)
			return;
		if (++done % 4096 == 0)
			adit__ck_progress(ck, "contents", done, ck->used_inodes);
	}
}
