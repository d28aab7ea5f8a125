/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * rename(2) and renameat2(2): move, replace, exchange, leave a whiteout. See namei.c for what holds
 * for all names.
 *
 * Invariants
 *  - The new name is put first, then the old one is taken away, all in one record: no reader and no
 *    crash finds the inode without a name.
 *  - Directories stay a tree. Only a directory that changes its parent could make a cycle; that
 *    takes the pool's rename lock, before any inode lock, and under it no directory's parent
 *    changes, so the walk to the root that looks for the moved directory is exact. The walk locks
 *    one inode at a time, before the inodes of the rename are locked; afterwards names and
 *    generations are compared with what it went by.
 *  - All that change are locked exclusively: both directories, and what both names stand for. Their
 *    numbers are known only after looking, so: lock the directories, look, try the others; if one
 *    would be out of order, start over with all of them in order.
 */
#include "core/dir.h"
#include "core/log.h"
#include "core/namei_int.h"

#define KNOWN_FLAGS (ADIT_RENAME_NOREPLACE | ADIT_RENAME_EXCHANGE | ADIT_RENAME_WHITEOUT)

struct side {
	uint64_t dir;
	const void *name;
	size_t len;
	uint32_t wanted; /* generation of the directory; 0: any */
	uint32_t dir_generation;
	bool found;
	struct adit_dirent entry; /* when found */
	struct adit_dir_place place;
	struct adit_inode_pm *parent, *inode; /* private copies */
};

struct rename {
	struct adit_op op;
	struct side from, to;
	unsigned flags;
	struct adit_doomed doomed;
};

/* ---- looking and locking ------------------------------------------------------- */

static int look(struct rename *r, struct side *s)
{
	const struct adit_inode_pm *dir;
	int err = adit__dir_get_at(r->op.fs, (struct adit_at){s->dir, s->wanted}, &dir);

	if (err)
		return err;
	s->dir_generation = get32(dir->generation);
	err = adit__dir_find(r->op.fs, NULL, dir, s->name, s->len, &s->entry, &s->place);
	s->found = !err;
	if (err)
		return err == -ENOENT ? 0 : err;
	return adit__entry_check(r->op.fs, s->dir, &s->entry);
}

static int look_both(struct rename *r)
{
	int err = look(r, &r->from);

	if (!err)
		err = look(r, &r->to);
	if (err)
		return err;
	if (!r->from.found)
		return -ENOENT;
	if (r->flags & ADIT_RENAME_EXCHANGE && !r->to.found)
		return -ENOENT;
	if (r->flags & ADIT_RENAME_NOREPLACE && r->to.found)
		return -EEXIST;
	return 0;
}

static bool is_dir_entry(const struct side *s)
{
	return s->found && s->entry.dtype == ADIT_DT_OF(S_IFDIR);
}

/* Does a directory change its parent?  (Or would a file replace one: that fails, but Linux tells
 * first whether the directory lies above the file.) */
static bool moves_directory(const struct rename *r)
{
	if (r->from.dir == r->to.dir)
		return false;
	return is_dir_entry(&r->from) || is_dir_entry(&r->to);
}

/* One step up from a directory, 0 above the root. Under the rename lock, without inode locks. */
static int step_up(struct adit_op *op, uint64_t dir, uint64_t *parent, uint32_t *generation)
{
	const struct adit_inode_pm *ip;
	int err;

	adit__lock_inode(op, dir, false);
	err = adit__dir_get(op->fs, dir, &ip);
	if (!err) {
		*generation = get32(ip->generation);
		*parent = dir == ADIT_INO_ROOT ? ADIT_INO_NONE : get64(ip->parent_or_rdev);
	}
	adit__op_unlock_one(op, adit__inode_lock_of(op->fs, dir));
	return err;
}

/* -ELOOP when `above` is `dir` or one of its ancestors. *generation: dir's. */
static int check_not_above(struct adit_op *op, uint64_t above, uint64_t dir, uint32_t *generation)
{
	uint64_t limit = get64_relaxed(&op->fs->root->next_ino);
	uint32_t ignored;

	for (uint64_t at = dir, steps = 0; at != ADIT_INO_NONE; steps++) {
		int err;

		if (at == above)
			return -ELOOP;
		if (steps > limit) {
			adit__report(op->fs, "directory %llu: its parents form a cycle",
				     (unsigned long long)dir);
			return -EUCLEAN;
		}
		err = step_up(op, at, &at, at == dir ? generation : &ignored);
		if (err)
			return err;
	}
	return 0;
}

/* What the walk to the root went by, and what it found. */
struct ancestry {
	struct adit_dirent from, to;
	uint32_t from_generation, to_generation;
	int err;
};

static void walk_up(struct rename *r, struct ancestry *a)
{
	a->from = r->from.entry;
	a->to = r->to.entry;
	a->from_generation = r->from.dir_generation;
	a->to_generation = r->to.dir_generation;
	a->err = 0;
	if (is_dir_entry(&r->from))
		a->err = check_not_above(&r->op, r->from.entry.ino, r->to.dir, &a->to_generation);
	if (a->err == -ELOOP)
		a->err = -EINVAL;
	if (a->err || !is_dir_entry(&r->to))
		return;
	/* A directory above the moved one cannot give way to it, nor take its place. */
	a->err = check_not_above(&r->op, r->to.entry.ino, r->from.dir, &a->from_generation);
	if (a->err == -ELOOP)
		a->err = r->flags & ADIT_RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
}

static bool same_entry(const struct adit_dirent *a, const struct adit_dirent *b)
{
	return a->ino == b->ino && a->generation == b->generation && a->dtype == b->dtype;
}

static bool still_true(const struct rename *r, const struct ancestry *a)
{
	return same_entry(&a->from, &r->from.entry) &&
	       (!r->to.found || same_entry(&a->to, &r->to.entry)) &&
	       a->from_generation == r->from.dir_generation &&
	       a->to_generation == r->to.dir_generation;
}

/* Locks everything that the rename changes, with both sides looked up. */
static int lock_all(struct rename *r)
{
	uint64_t want[4] = {r->from.dir, r->to.dir, ADIT_INO_NONE, ADIT_INO_NONE};
	struct ancestry a;
	bool walked = false;

	for (;;) {
		int err;

		adit__lock_inodes(&r->op, want, 4, 0xf);
		err = look_both(r);
		if (err)
			return err;
		if (moves_directory(r) && !(walked && still_true(r, &a))) {
			adit__op_unlock(&r->op);
			adit__op_lock(&r->op, &r->op.fs->vol->rename_lock, true);
			walk_up(r, &a);
			walked = true;
		} else if (adit__trylock_inode(&r->op, r->from.entry.ino, true) &&
			   (!r->to.found ||
			    adit__trylock_inode(&r->op, r->to.entry.ino, true))) {
			return moves_directory(r) ? a.err : 0;
		} else {
			adit__op_unlock(&r->op);
			walked = false; /* the rename lock has gone too */
		}
		want[2] = r->from.entry.ino;
		want[3] = r->to.found ? r->to.entry.ino : ADIT_INO_NONE;
	}
}

/* ---- what is allowed -------------------------------------------------------------- */

static int may_replace(const struct rename *r)
{
	bool dir = adit__inode_is_dir(r->from.inode);

	if (adit__inode_is_dir(r->to.inode) != dir)
		return dir ? -ENOTDIR : -EISDIR;
	return dir && get64(r->to.inode->size) ? -ENOTEMPTY : 0;
}

static int may_rename(const struct rename *r)
{
	const struct side *from = &r->from, *to = &r->to;
	int err = adit__dir_may_remove(from->parent, from->inode);

	if (!err)
		err = to->found ? adit__dir_may_remove(to->parent, to->inode)
				: adit__dir_may_add(to->parent);
	if (!err && to->found && !(r->flags & ADIT_RENAME_EXCHANGE))
		err = may_replace(r);
	return err;
}

static int edit(struct rename *r, struct side *s)
{
	int err = adit__cs_inode(r->op.cs, s->dir, &s->parent);

	if (!err && s->found)
		err = adit__entry_inode(&r->op, s->dir, &s->entry, &s->inode);
	return err;
}

/* ---- changing ------------------------------------------------------------------------- */

/* Links of both parents when `moved` (and for EXCHANGE `other`, else NULL) change places. */
static int count_links(struct rename *r)
{
	struct adit_inode_pm *p1 = r->from.parent, *p2 = r->to.parent;
	bool exchange = r->flags & ADIT_RENAME_EXCHANGE;
	bool moved = adit__inode_is_dir(r->from.inode);
	bool other = r->to.found && adit__inode_is_dir(r->to.inode);
	int32_t out = moved ? 1 : 0, in = other ? 1 : 0;

	if (p1 != p2) {
		/* To the new parent comes what moves, and goes what was there. */
		if (out > in && get32(p2->nlink) >= ADIT_LINK_MAX)
			return -EMLINK;
		if (exchange && in > out && get32(p1->nlink) >= ADIT_LINK_MAX)
			return -EMLINK;
		adit__add_nlink(p1, (exchange ? in : 0) - out);
		adit__add_nlink(p2, out - in);
		if (moved)
			r->from.inode->parent_or_rdev = p2->ino;
		if (exchange && other)
			r->to.inode->parent_or_rdev = p1->ino;
	} else if (!exchange) {
		adit__add_nlink(p2, -in);
	}
	return 0;
}

static void touch(struct rename *r, int64_t now)
{
	adit__touch_dir(r->from.parent, now);
	adit__touch_dir(r->to.parent, now);
	r->from.inode->ctime_ns = put64((uint64_t)now);
	if (r->to.found)
		r->to.inode->ctime_ns = put64((uint64_t)now);
}

static int exchange_names(struct rename *r)
{
	struct side *from = &r->from, *to = &r->to;
	int err = adit__dir_retarget_at(r->op.cs, to->parent, to->name, to->len, &from->entry,
					&to->place);

	if (!err)
		err = adit__dir_retarget_at(r->op.cs, from->parent, from->name, from->len,
					    &to->entry, &from->place);
	return err;
}

/* The inode that a renamed file leaves behind for overlay file systems: character device 0:0. */
static void fill_whiteout(struct adit_inode_pm *ip, const struct adit_inode_pm *parent, int64_t now,
			  struct adit_dirent *entry)
{
	ip->mode = put32(S_IFCHR);
	if (get32(parent->mode) & S_ISGID)
		ip->gid = parent->gid;
	ip->nlink = put32(1);
	ip->mtime_ns = put64((uint64_t)now);
	ip->ctime_ns = ip->mtime_ns;
	ip->atime_ns = ip->mtime_ns;
	ip->btime_ns = ip->mtime_ns;
	*entry = (struct adit_dirent){get64(ip->ino), get32(ip->generation), ADIT_DT_OF(S_IFCHR)};
}

static int move_name(struct rename *r, const struct adit_dirent *whiteout)
{
	struct side *from = &r->from, *to = &r->to;
	struct adit_cs *cs = r->op.cs;
	int err = to->found ? adit__dir_retarget_at(cs, to->parent, to->name, to->len,
						    &from->entry, &to->place)
			    : adit__dir_insert_at(cs, to->parent, to->name, to->len, &from->entry,
						  &to->place);

	if (err)
		return err;
	return whiteout ? adit__dir_retarget_at(cs, from->parent, from->name, from->len, whiteout,
						&from->place)
			: adit__dir_remove_at(cs, from->parent, from->name, from->len,
					      &from->place);
}

/* The replaced inode loses the name. With a whiteout a shard of the inode table is locked already
 * (the new inode's), and a second one could be out of order: freeing waits for a later record. */
static int unlink_replaced(struct rename *r)
{
	struct adit_inode_pm *ip = r->to.inode;

	if (adit__inode_is_dir(ip))
		ip->nlink = put32(0);
	else
		adit__add_nlink(ip, -1);
	if (get32(ip->nlink))
		return 0;
	return adit__inode_nameless(&r->op, ip, !(r->flags & ADIT_RENAME_WHITEOUT), &r->doomed);
}

static int change(struct rename *r)
{
	struct adit_dirent whiteout;
	bool leave = r->flags & ADIT_RENAME_WHITEOUT;
	int64_t now = r->op.fs->env->now_ns();
	struct adit_inode_pm *ip = NULL;
	int err = 0;

	/* First, because it may grow the inode table with a record of its own. */
	if (leave)
		err = adit__inode_alloc(&r->op, &ip);
	if (!err)
		err = edit(r, &r->from);
	if (!err)
		err = edit(r, &r->to);
	if (!err)
		err = may_rename(r);
	if (!err)
		err = count_links(r);
	if (err)
		return err;
	touch(r, now);
	if (leave)
		fill_whiteout(ip, r->from.parent, now, &whiteout);
	if (r->flags & ADIT_RENAME_EXCHANGE)
		err = exchange_names(r);
	else
		err = move_name(r, leave ? &whiteout : NULL);
	if (!err && r->to.found && !(r->flags & ADIT_RENAME_EXCHANGE))
		err = unlink_replaced(r);
	return err ? err : adit__cs_commit(r->op.cs);
}

int adit__rename_at(struct adit_fs *fs, struct adit_at at1, const void *name1, size_t len1,
		    struct adit_at at2, const void *name2, size_t len2, unsigned flags)
{
	struct rename r;
	int err;

	if (flags & ~KNOWN_FLAGS ||
	    (flags & ADIT_RENAME_EXCHANGE && flags & (ADIT_RENAME_NOREPLACE | ADIT_RENAME_WHITEOUT)))
		return -EINVAL;
	if (len1 == 0 || len2 == 0)
		return -ENOENT;
	if (len1 > ADIT_NAME_MAX || len2 > ADIT_NAME_MAX)
		return -ENAMETOOLONG;
	r.flags = flags;
	r.doomed = (struct adit_doomed){ADIT_INO_NONE, 0};
	r.from = (struct side){.dir = at1.dir, .wanted = at1.generation, .name = name1, .len = len1};
	r.to = (struct side){.dir = at2.dir, .wanted = at2.generation, .name = name2, .len = len2};
	err = adit__op_begin_write(&r.op, fs);
	if (err)
		return err;
	err = lock_all(&r);
	/* Two names of one inode: nothing happens, says POSIX. */
	if (!err && !(r.to.found && r.from.entry.ino == r.to.entry.ino)) {
		err = change(&r);
		if (!err)
			adit__doomed_free(&r.op, &r.doomed);
	}
	adit__op_end(&r.op);
	return err;
}
