/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The check's look at lists: orphans, clusters with free slots, and the lanes'
 * intents.
 *
 * A list is believed as long as each member is what it should be, is on no list
 * yet and (orphans) names its predecessor.  One wrong member condemns all lists
 * of the kind: they are made anew from the members themselves.
 */
#include "core/check_impl.h"

static void store_heads(struct adit_check *ck, size_t field, const uint64_t *head)
{
	struct adit_root_pm *root = (struct adit_root_pm *)ck->node_copy;
	le64 *at;

	memcpy(root, ck->fs->root, sizeof *root);
	at = (le64 *)((uint8_t *)root + field);
	for (unsigned i = 0; i < ADIT_SHARDS; i++)
		at[i] = put64(head[i]);
	adit__ck_store_root(ck, root);
}

/* ---- orphans --------------------------------------------------------------- */

static bool orphan_list_is_sound(struct adit_check *ck, unsigned list)
{
	uint64_t ino = get64(ck->fs->root->orphan[list]), prev = 0;

	while (ino != 0) {
		struct adit_ck_inode *i = adit__ck_ino(ck, ino, false);
		const struct adit_inode_pm *ip = adit__inode_slot(ck->fs, ino);

		if (!ip || !i || !(i->flags & ADIT_CK_ORPHAN) || (i->flags & ADIT_CK_LISTED) ||
		    ino % ADIT_SHARDS != list || get64(ip->orphan_prev) != prev)
			return false;
		i->flags |= ADIT_CK_LISTED;
		prev = ino;
		ino = get64(ip->orphan_next);
	}
	return true;
}

void adit__ck_orphan_lists(struct adit_check *ck)
{
	for (unsigned list = 0; list < ADIT_SHARDS; list++)
		if (!orphan_list_is_sound(ck, list))
			ck->rebuild_orphans |=
				adit__ck_found(ck, ADIT_CHECK_MINOR, "orphan list", 0,
					       get64(ck->fs->super.root_block),
					       "does not hold together", "make it anew");
}

static void link_orphan(struct adit_check *ck, uint64_t ino, uint64_t prev)
{
	struct adit_inode_pm copy = *adit__inode_slot(ck->fs, ino);

	copy.orphan_prev = put64(prev);
	copy.orphan_next = put64(0);
	adit__ck_store_inode(ck, ino, &copy);
	if (!prev)
		return;
	copy = *adit__inode_slot(ck->fs, prev);
	copy.orphan_next = put64(ino);
	adit__ck_store_inode(ck, prev, &copy);
}

static bool still_orphan(struct adit_check *ck, uint64_t ino)
{
	uint32_t flags = adit__ck_ino_flags(ck, ino);

	return (flags & ADIT_CK_ORPHAN) && !(flags & ADIT_CK_LOST) &&
	       adit__inode_slot(ck->fs, ino) != NULL;
}

/* Orphans that no list knows: their lists are to be made anew. */
static void unlisted_orphans(struct adit_check *ck)
{
	for (uint64_t ino = 0; (ino = adit__ck_next_used(ck, ino)) != 0;) {
		if (!still_orphan(ck, ino) || (adit__ck_ino_flags(ck, ino) & ADIT_CK_LISTED))
			continue;
		ck->rebuild_orphans |= adit__ck_found(ck, ADIT_CHECK_MINOR, "inode", ino,
						      ADIT_CHECK_NO_BLOCK,
						      "is an orphan, but on no list",
						      "put it on one");
	}
}

void adit__ck_orphans(struct adit_check *ck)
{
	uint64_t head[ADIT_SHARDS] = {0}, ino = 0;
	uint64_t *last = (uint64_t *)ck->leaf_copy;

	if (!ck->rebuild_orphans || !ck->may_fix)
		unlisted_orphans(ck);
	if (!ck->rebuild_orphans || !ck->may_fix)
		return;
	memset(last, 0, ADIT_SHARDS * sizeof *last);
	while ((ino = adit__ck_next_used(ck, ino)) != 0) {
		unsigned list = ino % ADIT_SHARDS;

		if (!still_orphan(ck, ino))
			continue;
		link_orphan(ck, ino, last[list]);
		last[list] = ino;
		if (!head[list])
			head[list] = ino;
	}
	store_heads(ck, offsetof(struct adit_root_pm, orphan), head);
}

/* ---- clusters with free slots ------------------------------------------------- */

static struct adit_icluster_pm *header_at(struct adit_check *ck, uint64_t base)
{
	return (struct adit_icluster_pm *)adit__inode_slot(ck->fs, base);
}

/* A link is the number of the cluster's first slot plus one. */
static bool cluster_list_is_sound(struct adit_check *ck, unsigned shard)
{
	uint64_t link = get64(ck->fs->root->free_cluster[shard]);

	while (link != 0) {
		uint64_t base = link - 1;
		struct adit_ck_inode *i = base % ADIT_ICLUSTER_INODES ?
			NULL : adit__ck_ino(ck, base, false);
		struct adit_icluster_pm *h = i ? header_at(ck, base) : NULL;

		if (!h || !(i->flags & ADIT_CK_HAS_FREE) || (i->flags & ADIT_CK_ON_LIST) ||
		    get32(h->shard) != shard)
			return false;
		i->flags |= ADIT_CK_ON_LIST;
		link = get64(h->next);
	}
	return true;
}

static bool cluster_lists_are_sound(struct adit_check *ck)
{
	uint32_t shards = get32(ck->fs->root->shards);
	bool sound = true;

	for (unsigned s = 0; s < ADIT_SHARDS && sound; s++)
		sound = s < shards ? cluster_list_is_sound(ck, s) :
				     get64(ck->fs->root->free_cluster[s]) == 0;
	for (uint64_t base = 0; base < ck->inos && sound; base += ADIT_ICLUSTER_INODES) {
		uint32_t flags = adit__ck_ino_flags(ck, base);

		if ((flags & ADIT_CK_HAS_FREE) && !(flags & ADIT_CK_ON_LIST))
			sound = false;
	}
	return sound;
}

void adit__ck_cluster_lists(struct adit_check *ck)
{
	uint32_t shards = get32(ck->fs->root->shards);
	uint64_t head[ADIT_SHARDS] = {0}, base = ck->inos;

	if (!ck->rebuild_clusters && !cluster_lists_are_sound(ck) &&
	    adit__ck_found(ck, ADIT_CHECK_ERROR, "list of free inodes", 0,
			   get64(ck->fs->super.root_block), "does not hold together",
			   "make it anew"))
		ck->rebuild_clusters = true;
	if (!ck->rebuild_clusters || !ck->may_fix || shards == 0 || shards > ADIT_SHARDS)
		return;
	while (base >= ADIT_ICLUSTER_INODES) {
		struct adit_icluster_pm h;

		base -= ADIT_ICLUSTER_INODES;
		if (!(adit__ck_ino_flags(ck, base) & ADIT_CK_HAS_FREE) || !header_at(ck, base))
			continue;
		memcpy(&h, header_at(ck, base), sizeof h);
		if (get32(h.shard) >= shards)
			continue; /* the next pass mends the header */
		if (get64(h.next) != head[get32(h.shard)]) {
			h.next = put64(head[get32(h.shard)]);
			adit__ck_store_cluster(ck, base, &h);
		}
		head[get32(h.shard)] = base + 1;
	}
	store_heads(ck, offsetof(struct adit_root_pm, free_cluster), head);
}

/* ---- intents ---------------------------------------------------------------------- */

void adit__ck_intents(struct adit_check *ck)
{
	uint64_t block = get64(ck->fs->super.intent_start);
	struct adit_intent_pm *table = adit__block_at(ck->fs, block);
	static const struct adit_intent_pm none;

	for (uint32_t lane = 0; lane < ck->fs->lanes; lane++)
		if (get32(table[lane].type) != ADIT_INTENT_NONE &&
		    adit__ck_found(ck, ADIT_CHECK_ERROR, "intent of a lane", get64(table[lane].ino),
				   block, "an operation is unfinished", "forget it"))
			adit__ck_store(ck, &table[lane], &none, sizeof none);
}
