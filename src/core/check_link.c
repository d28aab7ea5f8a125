/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * What follows from all directory entries together: which directories hang on
 * the root, who has no name at all, link counts, the way up.
 *
 * A directory whose chain of parents does not end at the root ends at one
 * without a name, or runs in a circle; that one (one of the circle) goes into
 * lost+found and takes the others with it.  The circle's own entry is then a
 * second name of a directory that knows another parent, and the next pass
 * drops it.
 */
#include "core/check_impl.h"

/* Unlinked, but open when the pool was last used: not lost. */
static bool is_orphan(struct adit_check *ck, uint64_t ino, const struct adit_ck_inode *i)
{
	const struct adit_inode_pm *ip = adit__inode_slot(ck->fs, ino);

	return (i->flags & ADIT_CK_ORPHAN) && i->links == 0 && ip && get32(ip->nlink) == 0;
}

static void lose(struct adit_check *ck, struct adit_ck_inode *i)
{
	if (!(i->flags & ADIT_CK_LOST))
		ck->lost++;
	i->flags |= ADIT_CK_LOST | ADIT_CK_REACHED;
}

/* Follow the way up from a directory; all on it is reached afterwards. */
static void climb(struct adit_check *ck, uint64_t ino)
{
	struct adit_ck_inode *i = adit__ck_ino(ck, ino, false);
	uint64_t at = ino;

	while (i && !(i->flags & (ADIT_CK_REACHED | ADIT_CK_VISITING)) && i->links > 0) {
		i->flags |= ADIT_CK_VISITING;
		at = i->parent;
		i = adit__ck_ino(ck, at, false);
	}
	if (i && !(i->flags & ADIT_CK_REACHED)) {
		if (is_orphan(ck, at, i))
			i->flags |= ADIT_CK_REACHED;
		else
			lose(ck, i);
	}
	for (at = ino; (i = adit__ck_ino(ck, at, false)) != NULL; at = i->parent) {
		bool visiting = i->flags & ADIT_CK_VISITING;

		i->flags = (i->flags & ~ADIT_CK_VISITING) | ADIT_CK_REACHED;
		if (!visiting)
			break;
	}
}

void adit__ck_connect(struct adit_check *ck)
{
	struct adit_ck_inode *root = adit__ck_ino(ck, ADIT_INO_ROOT, false);

	if (!root || !(root->flags & ADIT_CK_DIR))
		return; /* told already; everything would be lost */
	root->flags |= ADIT_CK_REACHED;
	root->parent = ADIT_INO_ROOT;
	for (uint64_t ino = 0; (ino = adit__ck_next_used(ck, ino)) != 0;)
		if (adit__ck_ino_flags(ck, ino) & ADIT_CK_DIR)
			climb(ck, ino);
}

/* ---- one inode --------------------------------------------------------------- */

static bool mend_parent(struct adit_check *ck, uint64_t ino, const struct adit_ck_inode *i,
			struct adit_inode_pm *copy)
{
	uint64_t parent = get64(copy->parent_or_rdev);

	if (!(i->flags & ADIT_CK_DIR) || parent == i->parent ||
	    (i->links == 0 && ino != ADIT_INO_ROOT))
		return false;
	if (!adit__ck_found_value(ck, ADIT_CHECK_ERROR, "directory", ino, ADIT_CHECK_NO_BLOCK,
				  "parent is wrong", "correct it", parent, i->parent))
		return false;
	copy->parent_or_rdev = put64(i->parent);
	return true;
}

static bool mend_nlink(struct adit_check *ck, uint64_t ino, const struct adit_ck_inode *i,
		       struct adit_inode_pm *copy)
{
	uint32_t want = i->flags & ADIT_CK_DIR ? 2 + i->subdirs : i->links;

	if (get32(copy->nlink) == want ||
	    !adit__ck_found_value(ck, ADIT_CHECK_MINOR, "inode", ino, ADIT_CHECK_NO_BLOCK,
				  "link count is wrong", "correct it", get32(copy->nlink), want))
		return false;
	copy->nlink = put32(want);
	return true;
}

/* It has a name: no orphan. */
static bool mend_orphan_flag(struct adit_check *ck, uint64_t ino, struct adit_ck_inode *i,
			     struct adit_inode_pm *copy)
{
	if (!(i->flags & ADIT_CK_ORPHAN) ||
	    !adit__ck_found(ck, ADIT_CHECK_ERROR, "inode", ino, ADIT_CHECK_NO_BLOCK,
			    "says that it is an orphan, but has a name", "correct it"))
		return false;
	copy->flags = put32(get32(copy->flags) & ~ADIT_IFLAG_ORPHAN);
	copy->orphan_next = copy->orphan_prev = put64(0);
	i->flags &= ~ADIT_CK_ORPHAN;
	ck->rebuild_orphans = true;
	return true;
}

static void check_links(struct adit_check *ck, uint64_t ino, struct adit_ck_inode *i)
{
	struct adit_inode_pm *slot = adit__inode_slot(ck->fs, ino);
	struct adit_inode_pm copy;
	bool changed;

	if (!slot || is_orphan(ck, ino, i))
		return;
	if (i->links == 0 && ino != ADIT_INO_ROOT && !(i->flags & ADIT_CK_DIR))
		lose(ck, i);
	copy = *slot;
	/* A lost one's count follows from its new name. */
	changed = !(i->flags & ADIT_CK_LOST) && mend_nlink(ck, ino, i, &copy);
	changed |= mend_parent(ck, ino, i, &copy);
	changed |= mend_orphan_flag(ck, ino, i, &copy);
	if (changed)
		adit__ck_store_inode(ck, ino, &copy);
}

void adit__ck_links(struct adit_check *ck)
{
	for (uint64_t ino = 0; (ino = adit__ck_next_used(ck, ino)) != 0;)
		check_links(ck, ino, adit__ck_ino(ck, ino, false));
}
