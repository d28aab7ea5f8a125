/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Looking a name up without the directory's lock (core.h, adit__glance).
 *
 * The directory may change while this reads it: nodes may be split, freed, even
 * hold somebody's data.  So every number is read once and used only within
 * bounds, nothing is verified or reported here, and the answer counts only if
 * the stripe's version is what it was before.  Whatever looks odd is left to the
 * locked way.
 *
 * Neighbours: namei.c (the locked way), dir.c, tree_node.h (the shapes).
 */
#include "core/dir.h"
#include "core/inode.h"
#include "core/linux_abi.h"
#include "core/namehash.h"
#include "core/tree_node.h"

/* A node known to be sound once, of this directory and level; its count. */
static const struct adit_node_pm *node_at(const struct adit_fs *fs, uint64_t block, uint64_t owner,
					  unsigned level, unsigned *count)
{
	const struct adit_node_pm *node;
	uint64_t word;

	if (block == 0 || !adit__block_verified(fs, block))
		return NULL;
	node = adit__block_at(fs, block);
	word = get64_relaxed((const le64 *)(const void *)&node->count);
	*count = (unsigned)(word & 0xffff);
	if (word >> 48 != (level | ADIT_TREE_DIR << 8) || *count == 0 ||
	    *count > (level ? ADIT_INNER_MAX : ADIT_LEAF_SLOTS_MAX) ||
	    get32(node->magic) != ADIT_MAGIC_NODE || get64_relaxed(&node->owner) != owner)
		return NULL;
	return node;
}

static bool is_wanted(const struct adit_node_pm *leaf, unsigned offset, uint64_t key,
		      const void *name, size_t len, struct adit_dirent *out)
{
	const struct adit_dirent_pm *e =
		(const struct adit_dirent_pm *)(const void *)((const uint8_t *)leaf + offset);

	if (offset < ADIT_NODE_BODY || offset + sizeof *e + len > ADIT_BLOCK ||
	    (get64_relaxed(&e->rec.key) ^ key) >= ADIT_HASH_ORDINALS || e->rec.a != len ||
	    memcmp(e->name, name, len) != 0)
		return false;
	out->ino = get64_relaxed(&e->ino);
	out->generation = get32(e->rec.c);
	out->dtype = e->rec.b;
	return true;
}

/* 0, -ENOENT, or -EAGAIN: not to be told from here. */
static int find_in_tree(const struct adit_fs *fs, const struct adit_inode_pm *dir, uint64_t owner,
			const void *name, size_t len, struct adit_dirent *out)
{
	uint64_t key = adit__name_key(fs, name, len), low_key = 0, high = UINT64_MAX;
	uint64_t block = adit_ptr_block(get64_relaxed(&dir->fork.tree.root));
	unsigned level = dir->fork.tree.level, count, slot;
	const struct adit_node_pm *node;
	struct adit_leaf_scan scan;

	if (level > ADIT_TREE_MAX_LEVEL)
		return -EAGAIN;
	for (;; level--) {
		const struct adit_inner_pm *entry;
		unsigned low = 0;

		node = node_at(fs, block, owner, level, &count);
		if (!node)
			return -EAGAIN;
		if (level == 0)
			break;
		entry = adit__inner_entries(node);
		/* Hashes spread evenly: the guess is an entry or two off. */
		if (key > low_key)
			low = (unsigned)min_u64(((key - low_key) >> 9) * count /
							((min_u64(high, 1ull << 63) - low_key) >> 9 | 1),
						count - 1);
		while (low + 1 < count && get64_relaxed(&entry[low + 1].key) <= key)
			low++;
		while (low > 0 && get64_relaxed(&entry[low].key) > key)
			low--;
		if (low + 1 < count)
			high = min_u64(high, get64_relaxed(&entry[low + 1].key));
		if (low > 0)
			low_key = get64_relaxed(&entry[low].key);
		block = adit_ptr_block(get64_relaxed(&entry[low].ptr));
	}
	scan = adit__leaf_scan(node, (uint8_t)(key >> 7));
	scan.count = count;
	while (adit__scan_next(&scan, &slot))
		if (is_wanted(node, adit__leaf_offset(node, slot), key, name, len, out))
			return 0;
	/* The range of a hash that is shared may go on in the next leaf. */
	return high <= adit__name_key_last(key) ? -EAGAIN : -ENOENT;
}

int adit__dir_glance(struct adit_fs *fs, uint64_t ino, uint32_t generation, const void *name,
		     size_t len, struct adit_dirent *out)
{
	const struct adit_inode_pm *ip = adit__inode_glance(fs, ino);
	struct adit_dirent found;
	uint64_t version;
	uint32_t fork;
	int err = -EAGAIN;

	if (!ip || !adit__glance(fs, ino, &version) || !ADIT_S_ISDIR(get32(ip->mode)) ||
	    get32(ip->nlink) == 0 || (generation != 0 && get32(ip->generation) != generation))
		return -EAGAIN;
	fork = adit__inode_fork(ip);
	if (fork == ADIT_FORK_TREE) {
		err = find_in_tree(fs, ip, ino, name, len, &found);
	} else if (fork == ADIT_FORK_INLINE) {
		struct adit_inode_pm copy = *ip;

		if (adit__inode_fork(&copy) == ADIT_FORK_INLINE)
			err = adit__dir_lookup(fs, NULL, &copy, name, len, &found);
	}
	if (err == -EAGAIN || !adit__glance_valid(fs, ino, version))
		return -EAGAIN;
	if (!err)
		*out = found;
	return err;
}
