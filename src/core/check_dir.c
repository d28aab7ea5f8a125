/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The check's look at directory entries, packed ones and those in trees: the
 * name, its key, and what it points to.  Each sound entry is counted as a name
 * of its inode and, for a directory, remembered as the way up; check_link.c
 * draws the conclusions.
 */
#include "core/check_impl.h"
#include "core/dir.h"
#include "core/namehash.h"

#define INLINE_HEAD offsetof(struct adit_dirent_inline_pm, name)

/* ---- names ------------------------------------------------------------------ */

bool adit__ck_same_name(struct adit_check *ck, uint64_t key, const void *name, size_t len)
{
	uint32_t at = 0;

	if (ck->names_len == 0 || ck->group_key != key / ADIT_HASH_ORDINALS) {
		ck->group_key = key / ADIT_HASH_ORDINALS;
		ck->names_len = 0;
	}
	while (at < ck->names_len) {
		if (ck->names[at] == len && memcmp(ck->names + at + 1, name, len) == 0)
			return true;
		at += ck->names[at] + 1u;
	}
	if (at + len + 1 <= ADIT_CK_NAMES_BYTES) {
		ck->names[at] = (uint8_t)len;
		memcpy(ck->names + at + 1, name, len);
		ck->names_len = at + (uint32_t)len + 1;
	}
	return false;
}

static bool name_is_possible(const uint8_t *name, size_t len)
{
	if (len == 0 || (len == 1 && name[0] == '.') ||
	    (len == 2 && name[0] == '.' && name[1] == '.'))
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] == '/' || name[i] == 0)
			return false;
	return true;
}

/* ---- what an entry points to --------------------------------------------------- */

struct search {
	uint64_t ino;
};

static int is_it(void *arg, uint64_t cookie, const void *name, size_t len,
		 const struct adit_dirent *de)
{
	const struct search *s = arg;

	return de->ino == s->ino;
}

/* Does directory `dir` name `ino`?  Only asked when something is wrong. */
static bool named_by(struct adit_check *ck, uint64_t dir, uint64_t ino)
{
	const struct adit_inode_pm *slot = adit__inode_slot(ck->fs, dir);
	struct search s = {ino};

	if (!slot || !(adit__ck_ino_flags(ck, dir) & ADIT_CK_DIR))
		return false;
	return adit__dir_read(ck->fs, slot, 0, is_it, &s) == 1;
}

/* What speaks against this entry of the current directory? */
static const char *target_trouble(struct adit_check *ck, const struct adit_dirent *de)
{
	struct adit_ck_inode *i = adit__ck_ino(ck, de->ino, false);
	const struct adit_inode_pm *ip;
	uint64_t parent;

	if (de->ino < ADIT_INO_FIRST || de->ino % ADIT_ICLUSTER_INODES == 0 ||
	    de->ino == ck->cur_ino || !i || !(i->flags & ADIT_CK_USED))
		return "points to no inode";
	ip = adit__inode_slot(ck->fs, de->ino);
	if (!ip || get32(ip->generation) != de->generation)
		return "points to an inode that is gone";
	if (!(i->flags & ADIT_CK_DIR))
		return NULL;
	if (i->links > 0)
		return "is a directory's second name";
	/* Of two names the one that the directory itself knows of is right. */
	parent = get64(ip->parent_or_rdev);
	if (parent != ck->cur_ino && named_by(ck, parent, de->ino))
		return "is a directory's second name";
	return NULL;
}

static void count_name(struct adit_check *ck, uint64_t ino)
{
	struct adit_ck_inode *i = adit__ck_ino(ck, ino, false);
	struct adit_ck_inode *dir = adit__ck_ino(ck, ck->cur_ino, false);

	ck->cur_entries++;
	if (!i || !dir)
		return;
	i->links++;
	if (i->flags & ADIT_CK_DIR) {
		i->parent = ck->cur_ino;
		dir->subdirs++;
	}
}

/* True when the entry goes. *dtype is corrected. */
static bool judge_entry(struct adit_check *ck, const uint8_t *name, size_t len, const char *why,
			const struct adit_dirent *de, uint8_t *dtype)
{
	const struct adit_inode_pm *ip;
	struct adit_check_finding f;

	if (!why)
		why = target_trouble(ck, de);
	f = adit__ck_finding(ADIT_CHECK_LOSS, "entry in directory", ck->cur_ino,
			     ADIT_CHECK_NO_BLOCK, why, "drop it");
	f.name = name;
	f.name_len = len;
	if (why) {
		adit__ck_mend(ck, &f);
		adit__ck_tell(ck, &f);
		if (!f.fixed)
			ck->cur_entries++;
		return f.fixed;
	}
	ip = adit__inode_slot(ck->fs, de->ino);
	if (de->dtype != ADIT_DT_OF(get32(ip->mode))) {
		f.severity = ADIT_CHECK_ERROR;
		f.message = "says a type that the inode is not of";
		f.action = "correct it";
		if (adit__ck_mend(ck, &f))
			*dtype = ADIT_DT_OF(get32(ip->mode));
		adit__ck_tell(ck, &f);
	}
	count_name(ck, de->ino);
	return false;
}

/* ---- entries in a tree ------------------------------------------------------------ */

enum adit_ck_verdict adit__ck_visit_entry(struct adit_ck_tree *t, struct adit_rec_pm *rec)
{
	struct adit_dirent_pm *d = (struct adit_dirent_pm *)rec;
	struct adit_dirent de = {get64(d->ino), get32(rec->c), rec->b};
	uint64_t key = get64(rec->key);
	struct adit_check *ck = t->ck;
	const char *why = NULL;
	uint8_t dtype = rec->b;

	if (!name_is_possible(d->name, rec->a))
		why = "name is impossible";
	else if (adit__name_key(ck->fs, d->name, rec->a) != key - key % ADIT_HASH_ORDINALS)
		why = "name does not fit its hash";
	else if (adit__ck_same_name(ck, key, d->name, rec->a))
		why = "name is there twice";
	if (judge_entry(ck, d->name, rec->a, why, &de, &dtype))
		return ADIT_CK_DROP;
	if (dtype != rec->b) {
		rec->b = dtype;
		t->edited = true;
	}
	return ADIT_CK_KEEP;
}

/* ---- packed entries ------------------------------------------------------------------ */

static unsigned inline_bytes(unsigned namelen)
{
	return (unsigned)(INLINE_HEAD + namelen + 3) & ~3u;
}

/* The packed entry at `at`, or NULL where none can be. */
static struct adit_dirent_inline_pm *inline_at(struct adit_inode_pm *ip, unsigned at)
{
	uint8_t *p = ip->fork.bytes + at;

	if (at + INLINE_HEAD >= ADIT_FORK_BYTES || p[0] == 0 ||
	    at + INLINE_HEAD + p[0] > ADIT_FORK_BYTES)
		return NULL;
	return (struct adit_dirent_inline_pm *)p;
}

static void inline_cut(struct adit_inode_pm *ip, unsigned at)
{
	uint8_t *p = ip->fork.bytes + at;
	unsigned n = inline_bytes(p[0]);

	if (n > ADIT_FORK_BYTES - at)
		n = ADIT_FORK_BYTES - at;
	memmove(p, p + n, ADIT_FORK_BYTES - at - n);
	memset(ip->fork.bytes + ADIT_FORK_BYTES - n, 0, n);
}

void adit__ck_scrub_inline_dir(struct adit_inode_pm *ip)
{
	struct adit_dirent_inline_pm *e;
	unsigned at = 0, n = 0;

	while ((e = inline_at(ip, at)) != NULL) {
		if (!name_is_possible(e->name, e->namelen)) {
			inline_cut(ip, at);
			continue;
		}
		at += inline_bytes(e->namelen);
		n++;
	}
	if (at < ADIT_FORK_BYTES)
		memset(ip->fork.bytes + at, 0, ADIT_FORK_BYTES - at);
	ip->size = put64(n);
}

static bool name_before(struct adit_inode_pm *ip, unsigned limit, const uint8_t *name, unsigned len)
{
	struct adit_dirent_inline_pm *e;

	for (unsigned at = 0; at < limit && (e = inline_at(ip, at)) != NULL;
	     at += inline_bytes(e->namelen))
		if (e->namelen == len && memcmp(e->name, name, len) == 0)
			return true;
	return false;
}

static uint64_t inline_ino(const struct adit_dirent_inline_pm *e)
{
	uint64_t ino = 0;

	for (unsigned i = 6; i-- > 0;)
		ino = ino << 8 | e->ino[i];
	return ino;
}

bool adit__ck_inline_dir(struct adit_check *ck, struct adit_inode_pm *ip)
{
	struct adit_dirent_inline_pm *e;
	bool changed = false;
	unsigned at = 0;

	if (adit__inode_fork(ip) != ADIT_FORK_INLINE)
		return false;
	while ((e = inline_at(ip, at)) != NULL) {
		struct adit_dirent de = {inline_ino(e), get32(e->generation), e->dtype};
		const char *why = NULL;

		if (!name_is_possible(e->name, e->namelen))
			why = "name is impossible";
		else if (name_before(ip, at, e->name, e->namelen))
			why = "name is there twice";
		if (judge_entry(ck, e->name, e->namelen, why, &de, &e->dtype)) {
			inline_cut(ip, at);
			changed = true;
			continue;
		}
		changed |= e->dtype != de.dtype;
		at += inline_bytes(e->namelen);
	}
	if (changed)
		ip->size = put64(ck->cur_entries);
	return changed;
}
