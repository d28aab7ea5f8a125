/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Names come and go: lookup, create, link, unlink, rmdir. rename.c moves them, attr.c serves what is
 * known by inode number alone; dir.c keeps the entries, inode.c the inodes.
 *
 * Invariants
 *  - One change set, so one record and one fence, per call: the name, the inode, its parent's times
 *    and link count change together or not at all. What does not fit (blocks of a large file) is
 *    freed by later records under an intent (I9).
 *  - nlink equals the number of entries that name the inode (a directory: 2 and one for each
 *    directory in it). nlink 0 is an orphan (open), or an intent is freeing it.
 *  - A name is looked at and changed under its directory's lock. The inode it names is locked too
 *    when it changes; the entry's generation tells a stale entry from a live one.
 *  - A removed directory has nlink 0 and takes no new names.
 *
 * Order of locks (I2): lane, rename lock, inode stripes ascending, shard or orphan list.
 */
#include "core/alloc.h"
#include "core/dir.h"
#include "core/extent.h"
#include "core/file.h"
#include "core/namei_int.h"
#include "core/xattr.h"

/* ---- shared with rename.c and attr.c --------------------------------------- */

int adit__dir_get_at(struct adit_fs *fs, struct adit_at at, const struct adit_inode_pm **out)
{
	const struct adit_inode_pm *ip;
	int err = adit__inode_get(fs, at.dir, &ip);

	if (ADIT_UNLIKELY(err))
		return err == -ESTALE ? -ENOENT : err;
	if (ADIT_UNLIKELY(at.generation != 0 && get32(ip->generation) != at.generation))
		return -ENOENT;
	if (ADIT_UNLIKELY(!adit__inode_is_dir(ip)))
		return -ENOTDIR;
	if (ADIT_UNLIKELY(get32(ip->nlink) == 0))
		return -ENOENT;
	*out = ip;
	return 0;
}

int adit__dir_may_add(const struct adit_inode_pm *dir)
{
	return get32(dir->flags) & ADIT_IFLAG_IMMUTABLE ? -EPERM : 0;
}

int adit__dir_may_remove(const struct adit_inode_pm *dir, const struct adit_inode_pm *victim)
{
	uint32_t flags = get32(dir->flags) | get32(victim->flags);

	return flags & (ADIT_IFLAG_IMMUTABLE | ADIT_IFLAG_APPEND) ? -EPERM : 0;
}

int adit__entry_check(struct adit_fs *fs, uint64_t dir, const struct adit_dirent *de)
{
	if (ADIT_LIKELY(de->ino >= ADIT_INO_FIRST && de->ino != dir &&
			de->ino % ADIT_ICLUSTER_INODES != 0))
		return 0;
	adit__report(fs, "directory %llu: an entry names inode %llu, which no entry can",
		     (unsigned long long)dir, (unsigned long long)de->ino);
	return -EUCLEAN;
}

int adit__entry_inode(struct adit_op *op, uint64_t dir, const struct adit_dirent *de,
		      struct adit_inode_pm **out)
{
	struct adit_inode_pm *ip;
	int err = adit__cs_inode(op->cs, de->ino, &ip);
	const char *why;

	if (err && err != -ESTALE)
		return err;
	if (err)
		why = "is free";
	else if (get32(ip->generation) != de->generation)
		why = "has another generation";
	else if (ADIT_DT_OF(get32(ip->mode)) != de->dtype)
		why = "is of another type";
	else if (get32(ip->nlink) == 0)
		why = "has no links";
	else {
		*out = ip;
		return 0;
	}
	adit__report(op->fs, "directory %llu: an entry names inode %llu generation %u, which %s",
		     (unsigned long long)dir, (unsigned long long)de->ino, de->generation, why);
	return -EUCLEAN;
}

/* Everything the inode holds is named by the inode itself or one node: one record frees it. */
static bool holds_little(const struct adit_inode_pm *ip)
{
	return adit__inode_fork(ip) != ADIT_FORK_TREE &&
	       (get32(ip->flags) & ADIT_IFLAG_XLEVEL_MASK) == 0;
}

static int free_at_once(struct adit_op *op, struct adit_inode_pm *ip)
{
	int err = 0;

	if (adit__inode_fork(ip) == ADIT_FORK_EXTENTS)
		err = adit__file_destroy_step(op->cs, ip, 0);
	if (!err && get64(ip->xattr_root))
		err = adit__xattr_destroy_step(op->cs, ip);
	return err ? err : adit__inode_free(op, ip);
}

int adit__inode_nameless(struct adit_op *op, struct adit_inode_pm *ip, bool may_free,
			 struct adit_doomed *doomed)
{
	/* The medium's word: holds are taken under the inode's lock, which we have exclusively. */
	const struct adit_inode_pm *slot = adit__inode_slot(op->fs, get64(ip->ino));

	if (adit__open_count(op->fs, slot))
		return adit__orphan_add(op, ip);
	if (may_free && holds_little(ip)) {
		int err = free_at_once(op, ip);

		if (err != -EAGAIN)
			return err;
	}
	doomed->ino = get64(ip->ino);
	doomed->generation = get32(ip->generation);
	adit__cs_intent(op->cs, ADIT_INTENT_FREE, doomed->ino, doomed->generation, 0, 0, 0, 0);
	return 0;
}

void adit__doomed_free(struct adit_op *op, const struct adit_doomed *doomed)
{
	int err;

	if (doomed->ino == ADIT_INO_NONE)
		return;
	/* Freeing may take long; nobody can find the inode any more, so let its directory go. */
	adit__op_unlock(op);
	adit__lock_inode(op, doomed->ino, true);
	err = adit__inode_destroy(op, doomed->ino);
	if (err)
		adit__report(op->fs, "inode %llu: not freed yet, error %d; the next open goes on",
			     (unsigned long long)doomed->ino, -err);
}

/* ---- looking ------------------------------------------------------------------ */

static inline int name_check(size_t len)
{
	if (ADIT_UNLIKELY(len == 0))
		return -ENOENT;
	return ADIT_UNLIKELY(len > ADIT_NAME_MAX) ? -ENAMETOOLONG : 0;
}

static inline void id_of_entry(struct adit_id *id, const struct adit_dirent *de)
{
	*id = (struct adit_id){de->ino, de->generation, (uint32_t)(de->dtype & 15u) << 12};
}

int adit__lookup_at(struct adit_fs *fs, struct adit_at at, const void *name, size_t len,
		    struct adit_id *out)
{
	const struct adit_inode_pm *ip;
	struct adit_dirent de;
	struct adit_op op;
	int err = name_check(len);

	if (ADIT_UNLIKELY(err))
		return err;
	err = adit__dir_glance(fs, at.dir, at.generation, name, len, &de);
	if (ADIT_UNLIKELY(err == -EAGAIN)) {
		adit__op_begin(&op, fs);
		adit__lock_inode(&op, at.dir, false);
		err = adit__dir_get_at(fs, at, &ip);
		if (!err)
			err = adit__dir_lookup(fs, NULL, ip, name, len, &de);
		adit__op_end(&op);
	}
	if (!err)
		err = adit__entry_check(fs, at.dir, &de);
	if (!err)
		id_of_entry(out, &de);
	return err;
}

int adit__parent_at(struct adit_fs *fs, struct adit_at at, struct adit_id *out)
{
	const struct adit_inode_pm *ip, *up;
	uint64_t want[2] = {at.dir, ADIT_INO_NONE};
	struct adit_op op;
	int err;

	adit__op_begin(&op, fs);
	for (;;) {
		uint64_t parent;

		adit__lock_inodes(&op, want, 2, 0);
		err = adit__dir_get_at(fs, at, &ip);
		if (err)
			break;
		parent = get64(ip->parent_or_rdev);
		if (parent != want[1]) {
			/* Not the one we locked: it is not known yet, or a rename came between. */
			adit__op_unlock(&op);
			want[1] = parent;
			continue;
		}
		err = adit__dir_get(fs, parent, &up);
		if (err == -ENOENT || err == -ENOTDIR) {
			adit__report(fs, "directory %llu: its parent %llu is no directory",
				     (unsigned long long)at.dir, (unsigned long long)parent);
			err = -EUCLEAN;
		}
		if (!err)
			*out = (struct adit_id){parent, get32(up->generation), get32(up->mode)};
		break;
	}
	adit__op_end(&op);
	return err;
}

/* ---- create --------------------------------------------------------------------- */

static int create_check(const struct adit_create *c)
{
	switch (ADIT_S_TYPE(c->mode)) {
	case S_IFREG: case S_IFDIR: case S_IFCHR: case S_IFBLK: case S_IFIFO: case S_IFSOCK:
		return 0;
	case S_IFLNK:
		if (c->link_len == 0)
			return -ENOENT;
		return c->link_len > ADIT_LINK_TARGET_MAX ? -ENAMETOOLONG : 0;
	default:
		return -EINVAL;
	}
}

/* The target of a symbolic link: in the inode, or in a block of its own. */
static int put_target(struct adit_cs *cs, struct adit_inode_pm *ip, const void *target, size_t len)
{
	struct adit_fs *fs = adit__cs_fs(cs);
	struct adit_extent extent;
	struct adit_run run;
	uint64_t at;
	int err;

	ip->size = put64(len);
	if (len <= ADIT_FORK_BYTES) {
		adit__inode_set_fork(ip, ADIT_FORK_INLINE);
		memcpy(ip->fork.bytes, target, len);
		return 0;
	}
	err = adit__alloc_blocks(cs, 0, 1, 1, 0, &run);
	if (err)
		return err;
	at = run.block << ADIT_BLOCK_SHIFT;
	adit__cs_fresh(cs, at, target, len);
	adit__cs_fresh_zero(cs, at + len, ADIT_BLOCK - len);
	extent = (struct adit_extent){.block = run.block, .blocks = 1,
				      .epoch = get32(fs->root->epoch)};
	return adit__extent_insert(cs, ip, &extent, 0);
}

/* Everything of a new inode but what its name decides. */
static int fill_inode(struct adit_cs *cs, struct adit_inode_pm *ip,
		      const struct adit_inode_pm *dir, const struct adit_create *c, int64_t now)
{
	uint32_t mode = c->mode & 0177777u, gid = c->gid;

	if (get32(dir->mode) & S_ISGID) {
		gid = get32(dir->gid);
		if (ADIT_S_ISDIR(mode))
			mode |= S_ISGID;
	}
	ip->mode = put32(mode);
	ip->uid = put32(c->uid);
	ip->gid = put32(gid);
	ip->nlink = put32(ADIT_S_ISDIR(mode) ? 2 : 1);
	ip->mtime_ns = put64((uint64_t)now);
	ip->ctime_ns = ip->mtime_ns;
	ip->atime_ns = ip->mtime_ns;
	ip->btime_ns = ip->mtime_ns;
	switch (ADIT_S_TYPE(mode)) {
	case S_IFDIR:
		ip->parent_or_rdev = dir->ino;
		return 0;
	case S_IFCHR: case S_IFBLK:
		ip->parent_or_rdev = put64(c->rdev);
		return 0;
	case S_IFLNK:
		return put_target(cs, ip, c->link, c->link_len);
	default:
		return 0;
	}
}

static int create_locked(struct adit_op *op, struct adit_at at, const void *name, size_t len,
			 const struct adit_create *c, struct adit_id *out)
{
	struct adit_fs *fs = op->fs;
	const struct adit_inode_pm *seen;
	struct adit_inode_pm *ip, *parent;
	struct adit_dirent de;
	struct adit_dir_place place;
	bool is_dir = ADIT_S_ISDIR(c->mode);
	int err = adit__dir_get_at(fs, at, &seen);

	if (err)
		return err;
	err = adit__dir_find(fs, NULL, seen, name, len, &de, &place);
	if (!err) {
		err = adit__entry_check(fs, at.dir, &de);
		if (err)
			return err;
		id_of_entry(out, &de);
		return -EEXIST;
	}
	if (err != -ENOENT)
		return err;
	err = adit__dir_may_add(seen);
	if (!err && is_dir && get32(seen->nlink) >= ADIT_LINK_MAX)
		err = -EMLINK;
	/* First of all, because it may grow the inode table with a record of its own. */
	if (!err)
		err = adit__inode_alloc(op, &ip);
	if (!err)
		err = adit__cs_inode(op->cs, at.dir, &parent);
	if (!err) {
		int64_t now = fs->env->now_ns();

		adit__touch_dir(parent, now);
		err = fill_inode(op->cs, ip, parent, c, now);
	}
	if (err)
		return err;
	if (is_dir)
		adit__add_nlink(parent, 1);
	de = (struct adit_dirent){get64(ip->ino), get32(ip->generation),
				  ADIT_DT_OF(get32(ip->mode))};
	err = adit__dir_insert_at(op->cs, parent, name, len, &de, &place);
	if (!err) {
		struct adit_id id = {de.ino, de.generation, get32(ip->mode)};

		err = adit__cs_commit(op->cs);
		if (!err)
			*out = id;
	}
	return err;
}

int adit__create_at(struct adit_fs *fs, struct adit_at at, const void *name, size_t len,
		    const struct adit_create *c, struct adit_hold *hold, struct adit_id *out)
{
	struct adit_op op;
	int err = name_check(len);

	if (!err)
		err = create_check(c);
	if (err)
		return err;
	err = adit__op_begin_write(&op, fs);
	if (err == -EROFS && adit__lookup_at(fs, at, name, len, out) == 0)
		return -EEXIST;
	if (err)
		return err;
	if (hold)
		adit__hold_prepare(&op, hold);
	adit__lock_inode(&op, at.dir, true);
	err = create_locked(&op, at, name, len, c, out);
	/* While the directory is locked nobody can unlink the new name. */
	if (!err && hold) {
		adit__hold_list(&op, hold, out->ino, out->generation);
		adit__hold_count(&op, hold);
	} else if (hold) {
		adit__hold_give_back(fs, hold);
	}
	adit__op_end(&op);
	return err;
}

/* Listed first: whoever dies behind the record leaves a file that the list names. */
static int commit_held(struct adit_op *op, struct adit_hold *hold, const struct adit_id *id)
{
	int err;

	adit__hold_list(op, hold, id->ino, id->generation);
	err = adit__cs_commit(op->cs);
	if (err)
		adit__hold_unlist(op, hold);
	else
		adit__hold_count(op, hold);
	return err;
}

int adit__create_unnamed_at(struct adit_fs *fs, struct adit_at at, const struct adit_create *c,
			    struct adit_hold *hold, struct adit_id *out)
{
	const struct adit_inode_pm *parent;
	struct adit_inode_pm *ip;
	struct adit_op op;
	int err;

	if (!ADIT_S_ISREG(c->mode))
		return -EINVAL;
	err = adit__op_begin_write(&op, fs);
	if (err)
		return err;
	adit__hold_prepare(&op, hold);
	adit__lock_inode(&op, at.dir, false);
	err = adit__dir_get_at(fs, at, &parent);
	if (!err)
		err = adit__dir_may_add(parent);
	if (!err)
		err = adit__inode_alloc(&op, &ip);
	if (!err)
		err = fill_inode(op.cs, ip, parent, c, fs->env->now_ns());
	if (!err) {
		ip->nlink = put32(0);
		err = adit__orphan_add(&op, ip);
	}
	if (!err) {
		struct adit_id id = {get64(ip->ino), get32(ip->generation), get32(ip->mode)};

		/* Nobody else knows the number, so nobody can have let it go before this. */
		err = commit_held(&op, hold, &id);
		if (!err)
			*out = id;
	}
	if (err)
		adit__hold_give_back(fs, hold);
	adit__op_end(&op);
	return err;
}

/* ---- link --------------------------------------------------------------------------- */

static int link_locked(struct adit_op *op, uint64_t ino, struct adit_at at, const void *name,
		       size_t len, bool unnamed)
{
	struct adit_fs *fs = op->fs;
	const struct adit_inode_pm *seen;
	struct adit_inode_pm *ip, *parent;
	struct adit_dirent de;
	struct adit_dir_place place;
	int64_t now;
	int err = adit__dir_get_at(fs, at, &seen);

	if (err)
		return err;
	err = adit__dir_find(fs, NULL, seen, name, len, &de, &place);
	if (err != -ENOENT)
		return err ? err : -EEXIST;
	err = adit__dir_may_add(seen);
	if (!err)
		err = adit__cs_inode(op->cs, ino, &ip);
	if (err)
		return err == -ESTALE ? -ENOENT : err;
	if (adit__inode_is_dir(ip) ||
	    get32(ip->flags) & (ADIT_IFLAG_IMMUTABLE | ADIT_IFLAG_APPEND))
		return -EPERM;
	if (get32(ip->nlink) >= ADIT_LINK_MAX)
		return -EMLINK;
	if (get32(ip->nlink) == 0) {
		/* Only an unnamed file gets a first name; what lost its last or is being freed does not. */
		if (!unnamed || !(get32(ip->flags) & ADIT_IFLAG_ORPHAN) ||
		    adit__open_count(fs, adit__inode_slot(fs, ino)) == 0)
			return -ENOENT;
		err = adit__orphan_remove(op, ip);
	}
	if (!err)
		err = adit__cs_inode(op->cs, at.dir, &parent);
	if (err)
		return err;
	now = fs->env->now_ns();
	adit__add_nlink(ip, 1);
	ip->ctime_ns = put64((uint64_t)now);
	adit__touch_dir(parent, now);
	de = (struct adit_dirent){ino, get32(ip->generation), ADIT_DT_OF(get32(ip->mode))};
	err = adit__dir_insert_at(op->cs, parent, name, len, &de, &place);
	return err ? err : adit__cs_commit(op->cs);
}

int adit__link_at(struct adit_fs *fs, uint64_t ino, struct adit_at at, const void *name, size_t len,
		  bool unnamed)
{
	const uint64_t want[2] = {at.dir, ino};
	struct adit_op op;
	int err = name_check(len);

	if (!err && ino < ADIT_INO_ROOT)
		err = -ENOENT;
	if (!err)
		err = adit__op_begin_write(&op, fs);
	if (err)
		return err;
	adit__lock_inodes(&op, want, 2, 3);
	err = link_locked(&op, ino, at, name, len, unnamed);
	adit__op_end(&op);
	return err;
}

/* ---- unlink, rmdir ---------------------------------------------------------------------- */

/* Locks the directory and what the name stands for, both exclusively. */
static int lock_entry(struct adit_op *op, struct adit_at at, const void *name, size_t len,
		      struct adit_dirent *de, struct adit_dir_place *place)
{
	uint64_t want[2] = {at.dir, ADIT_INO_NONE};

	for (;;) {
		const struct adit_inode_pm *seen;
		int err;

		adit__lock_inodes(op, want, 2, 3);
		err = adit__dir_get_at(op->fs, at, &seen);
		if (!err)
			err = adit__dir_find(op->fs, NULL, seen, name, len, de, place);
		if (!err)
			err = adit__entry_check(op->fs, at.dir, de);
		if (err)
			return err;
		if (de->ino == want[1] || adit__trylock_inode(op, de->ino, true))
			return 0;
		/* Out of order: take both in order, and see whether the name still fits. */
		adit__op_unlock(op);
		want[1] = de->ino;
	}
}

static int remove_locked(struct adit_op *op, uint64_t dir, const void *name, size_t len,
			 const struct adit_dirent *de, const struct adit_dir_place *place,
			 bool is_rmdir, struct adit_doomed *doomed)
{
	struct adit_inode_pm *ip, *parent;
	int64_t now;
	int err = adit__entry_inode(op, dir, de, &ip);

	if (!err)
		err = adit__cs_inode(op->cs, dir, &parent);
	if (!err)
		err = adit__dir_may_remove(parent, ip);
	if (err)
		return err;
	if (is_rmdir && !adit__inode_is_dir(ip))
		return -ENOTDIR;
	if (!is_rmdir && adit__inode_is_dir(ip))
		return -EISDIR;
	if (is_rmdir && get64(ip->size) != 0)
		return -ENOTEMPTY;
	err = adit__dir_remove_at(op->cs, parent, name, len, place);
	if (err)
		return err;
	now = op->fs->env->now_ns();
	adit__touch_dir(parent, now);
	ip->ctime_ns = put64((uint64_t)now);
	if (is_rmdir) {
		adit__add_nlink(parent, -1);
		ip->nlink = put32(0);
	} else {
		adit__add_nlink(ip, -1);
	}
	if (get32(ip->nlink) == 0)
		err = adit__inode_nameless(op, ip, true, doomed);
	return err ? err : adit__cs_commit(op->cs);
}

int adit__remove_at(struct adit_fs *fs, struct adit_at at, const void *name, size_t len,
		    bool is_rmdir)
{
	struct adit_doomed doomed = {ADIT_INO_NONE, 0};
	struct adit_dir_place place;
	struct adit_dirent de;
	struct adit_op op;
	int err = name_check(len);

	if (!err)
		err = adit__op_begin_write(&op, fs);
	if (err)
		return err;
	err = lock_entry(&op, at, name, len, &de, &place);
	if (!err)
		err = remove_locked(&op, at.dir, name, len, &de, &place, is_rmdir, &doomed);
	if (!err)
		adit__doomed_free(&op, &doomed);
	adit__op_end(&op);
	return err;
}
