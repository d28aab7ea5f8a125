/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The check's hands: every store that a repair makes.
 *
 * Pre, for all of it: the pool is the caller's alone and the lanes hold nothing
 * above C (check.c).  So a structure is stored where it lies, with a seal that
 * fits and dirty_seq 0, and is durable when the function returns.  After a
 * crash in between it fails its seal, or contradicts its neighbours, and the
 * superblock says ADIT_STATE_DAMAGED.
 *
 * adit__ck_reconnect is the exception: an ordinary change set.
 */
#include "core/check_impl.h"
#include "core/dir.h"
#include "core/namei.h"

bool adit__ck_zero(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t any = 0;

	for (size_t i = 0; i < n; i++)
		any |= b[i];
	return any == 0;
}

void adit__ck_store(struct adit_check *ck, void *dst, const void *src, size_t len)
{
	struct adit_pm *pm = &ck->fs->pm;

	adit__pm_store(pm, dst, src, len);
	adit__pm_flush(pm, dst, len);
	adit__pm_fence(pm);
}

void adit__ck_store_node(struct adit_check *ck, uint64_t block, struct adit_node_pm *copy)
{
	copy->dirty_seq = put64(0);
	copy->magic = put32(ADIT_MAGIC_NODE);
	copy->crc = put32(adit__seal_crc(ck->fs, copy, ADIT_NODE_SEAL_FROM, sizeof *copy,
					 ADIT_MAGIC_NODE));
	adit__ck_store(ck, adit__block_at(ck->fs, block), copy, sizeof *copy);
}

/* Inodes and cluster headers begin alike. */
static void store_slot(struct adit_check *ck, uint64_t ino, struct adit_inode_pm *copy,
		       uint32_t magic)
{
	struct adit_inode_pm *slot = adit__inode_slot(ck->fs, ino);

	if (!slot)
		return;
	copy->magic = put32(magic);
	copy->dirty_seq = put64(0);
	copy->crc = put32(adit__seal_crc(ck->fs, copy, ADIT_INODE_SEAL_FROM, sizeof *copy, magic));
	adit__ck_store(ck, slot, copy, sizeof *copy);
	adit__clear_verified(ck->fs, adit__offset_of(ck->fs, slot));
}

void adit__ck_store_inode(struct adit_check *ck, uint64_t ino, struct adit_inode_pm *copy)
{
	store_slot(ck, ino, copy, ADIT_MAGIC_INODE);
}

void adit__ck_store_cluster(struct adit_check *ck, uint64_t ino, struct adit_icluster_pm *copy)
{
	store_slot(ck, ino, (struct adit_inode_pm *)copy, ADIT_MAGIC_ICLUSTER);
}

void adit__ck_store_root(struct adit_check *ck, struct adit_root_pm *copy)
{
	struct adit_fs *fs = ck->fs;

	copy->dirty_seq = put64(0);
	copy->magic = put32(ADIT_MAGIC_ROOT);
	copy->crc = put32(adit__seal_crc(fs, copy, ADIT_ROOT_SEAL_FROM, sizeof *copy,
					 ADIT_MAGIC_ROOT));
	/* One after the other: one of them is whole at any time. */
	adit__ck_store(ck, adit__block_at(fs, get64(fs->super.root_copy)), copy, sizeof *copy);
	adit__ck_store(ck, fs->root, copy, sizeof *copy);
}

void adit__ck_mark(struct adit_check *ck, bool damaged)
{
	struct adit_fs *fs = ck->fs;
	uint32_t state = get32(fs->super.state);
	uint32_t want = damaged ? state | ADIT_STATE_DAMAGED : state & ~ADIT_STATE_DAMAGED;

	if (state == want)
		return;
	fs->super.state = put32(want);
	adit__super_store(fs);
}

/* ---- lost+found ----------------------------------------------------------- */

/* The first that is there, or can be, and is a directory. */
static const char *const lost_name[] = {"lost+found", "lost+found.1", "lost+found.2",
					"lost+found.3"};

/* An immutable root directory takes no lost+found. */
static int open_root(struct adit_check *ck)
{
	struct adit_inode_pm copy = *adit__inode_slot(ck->fs, ADIT_INO_ROOT);
	uint32_t flags = get32(copy.flags) & ~(ADIT_IFLAG_IMMUTABLE | ADIT_IFLAG_APPEND);
	int err;

	if (flags == get32(copy.flags) ||
	    !adit__ck_found(ck, ADIT_CHECK_ERROR, "root directory", ADIT_INO_ROOT,
			    ADIT_CHECK_NO_BLOCK, "is immutable, and lost+found is needed",
			    "clear the flag"))
		return 0;
	err = adit__checkpoint(ck->fs);
	if (err)
		return err;
	copy = *adit__inode_slot(ck->fs, ADIT_INO_ROOT);
	copy.flags = put32(flags);
	adit__ck_store_inode(ck, ADIT_INO_ROOT, &copy);
	return 0;
}

static int lost_and_found(struct adit_check *ck, uint64_t *ino)
{
	struct adit_create c = {.mode = S_IFDIR | 0700};
	struct adit_id id;
	int err = -ENOTDIR;

	for (unsigned i = 0; i < sizeof lost_name / sizeof *lost_name && err == -ENOTDIR; i++) {
		size_t len = strlen(lost_name[i]);

		err = adit__lookup(ck->fs, ADIT_INO_ROOT, lost_name[i], len, &id);
		if (err == -ENOENT) {
			err = open_root(ck);
			if (err)
				return err;
			err = adit__create(ck->fs, ADIT_INO_ROOT, lost_name[i], len, &c, NULL, &id);
		}
		if (!err && !ADIT_S_ISDIR(id.mode))
			err = -ENOTDIR;
	}
	if (!err)
		*ino = id.ino;
	return err;
}

/* "#INO", or "#INO.N" when that is taken. */
static size_t lost_file_name(char *name, uint64_t ino, unsigned n)
{
	char digits[20];
	unsigned at = sizeof digits;
	size_t len = 0;

	do {
		digits[--at] = (char)('0' + ino % 10);
		ino /= 10;
	} while (ino);
	name[len++] = '#';
	memcpy(name + len, digits + at, sizeof digits - at);
	len += sizeof digits - at;
	if (n) {
		name[len++] = '.';
		name[len++] = (char)('0' + n);
	}
	return len;
}

/* Pre: both inodes locked. Commits at: its own record. */
static int name_inode(struct adit_op *op, struct adit_check *ck, uint64_t dir, uint64_t ino)
{
	struct adit_ck_inode *i = adit__ck_ino(ck, ino, false);
	struct adit_inode_pm *parent, *ip;
	struct adit_dirent de;
	char name[32];
	int err = adit__cs_inode(op->cs, dir, &parent);

	if (!err)
		err = adit__cs_inode(op->cs, ino, &ip);
	if (err)
		return err;
	ip->flags = put32(get32(ip->flags) & ~ADIT_IFLAG_ORPHAN);
	ip->orphan_next = ip->orphan_prev = put64(0);
	ip->nlink = put32(1);
	if (ADIT_S_ISDIR(get32(ip->mode))) {
		ip->parent_or_rdev = put64(dir);
		ip->nlink = put32(2 + i->subdirs);
		parent->nlink = put32(get32(parent->nlink) + 1);
	}
	de = (struct adit_dirent){ino, get32(ip->generation), ADIT_DT_OF(get32(ip->mode))};
	err = -EEXIST;
	for (unsigned n = 0; n < 10 && err == -EEXIST; n++)
		err = adit__dir_insert(op->cs, parent, name, lost_file_name(name, ino, n), &de);
	return err ? err : adit__cs_commit(op->cs);
}

static int reconnect(struct adit_check *ck, uint64_t ino)
{
	uint64_t want[2] = {ADIT_INO_NONE, ino};
	struct adit_op op;
	int err = lost_and_found(ck, &want[0]);

	if (!err && want[0] == ino)
		err = -EINVAL;
	if (!err)
		err = adit__op_begin_write(&op, ck->fs);
	if (err)
		return err;
	adit__lock_inodes(&op, want, 2, 3);
	err = name_inode(&op, ck, want[0], ino);
	adit__op_end(&op);
	return err;
}

void adit__ck_reconnect(struct adit_check *ck)
{
	/* Ordinary operations from here on: nothing from before the repairs
	 * may count as verified. */
	if (ck->may_fix && ck->lost)
		adit__forget_verified(ck->fs);
	for (uint64_t ino = 0; ck->lost && (ino = adit__ck_next_used(ck, ino)) != 0;) {
		struct adit_check_finding f;

		if (!(adit__ck_ino_flags(ck, ino) & ADIT_CK_LOST))
			continue;
		f = adit__ck_finding(ADIT_CHECK_ERROR, "inode", ino, ADIT_CHECK_NO_BLOCK,
				     "nothing names it", "give it a name in lost+found");
		if (adit__ck_mend(ck, &f) && reconnect(ck, ino) != 0)
			f.fixed = false;
		adit__ck_tell(ck, &f);
	}
}
