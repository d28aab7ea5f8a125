/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* See hold.h. */
#include "core/hold.h"
#include "core/inode.h"
#include "core/linux_abi.h"
#include "core/log.h"
#include "core/namei.h"
#include "core/namei_int.h"
#include "core/scratch.h"

struct entry {
	uint64_t ino;  /* 0: free, or being filled */
	uint64_t more; /* generation; of a free one: offset of the next free one */
};

#define ENTRIES ((ADIT_BLOCK - sizeof(struct adit_scratch)) / sizeof(struct entry))

static struct entry *entries_of(struct adit_scratch *s)
{
	return (struct entry *)(s + 1);
}

/* ---- counts ---------------------------------------------------------------------------------- */

#define MARK 0x80000000u /* while counting anew */

static uint64_t count_in(const struct adit_fs *fs, uint64_t word)
{
	return word >> 32 == fs->incarnation ? word & UINT32_MAX : 0;
}

/* Volatile: valid for this incarnation, never flushed, not recorded. */
static uint32_t open_add(struct adit_fs *fs, uint64_t ino, int delta)
{
	struct adit_inode_pm *ip = adit__inode_slot(fs, ino);
	uint64_t was, now;

	if (!ip)
		return 0;
	was = __atomic_load_n(&ip->open_word.v, __ATOMIC_RELAXED);
	do {
		now = (uint64_t)fs->incarnation << 32 |
		      (uint32_t)(count_in(fs, was) + (uint64_t)(int64_t)delta);
	} while (!__atomic_compare_exchange_n(&ip->open_word.v, &was, now, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	return (uint32_t)now;
}

uint32_t adit__open_count(struct adit_fs *fs, const struct adit_inode_pm *copy)
{
	const struct adit_inode_pm *ip = adit__inode_slot(fs, get64(copy->ino));

	return ip ? (uint32_t)count_in(fs, __atomic_load_n(&ip->open_word.v, __ATOMIC_ACQUIRE)) : 0;
}

void adit__open_none(struct adit_fs *fs, uint64_t ino)
{
	struct adit_inode_pm *ip = adit__inode_slot(fs, ino);

	if (ip && count_in(fs, __atomic_load_n(&ip->open_word.v, __ATOMIC_RELAXED)) != 0)
		__atomic_store_n(&ip->open_word.v, 0, __ATOMIC_RELAXED);
}

/* ---- free entries: lists of this process, apart by thread ------------------------------------ */

static struct entry *entry_at(const struct adit_fs *fs, uint64_t offset)
{
	return adit__at(fs, offset);
}

static bool shard_trylock(struct adit_hold_shard *shard)
{
	uint64_t idle = 0;

	return __atomic_compare_exchange_n(&shard->busy, &idle, 1, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

static void shard_unlock(struct adit_hold_shard *shard)
{
	__atomic_store_n(&shard->busy, 0, __ATOMIC_RELEASE);
}

/* Another one if ours is busy: nobody waits here. */
static struct adit_hold_shard *lock_any(struct adit_fs *fs)
{
	for (uint32_t i = fs->env->thread_hint();; i++) {
		struct adit_hold_shard *shard = &fs->hold_shard[i % ADIT_HOLD_SHARDS];

		if (shard_trylock(shard))
			return shard;
	}
}

static void put_free(struct adit_fs *fs, struct adit_hold_shard *shard, uint64_t offset)
{
	struct entry *e = entry_at(fs, offset);

	__atomic_store_n(&e->more, shard->first, __ATOMIC_RELAXED);
	shard->first = offset;
}

static uint64_t take_free(struct adit_fs *fs)
{
	uint32_t hint = fs->env->thread_hint();

	for (uint32_t i = 0; i < ADIT_HOLD_SHARDS; i++) {
		struct adit_hold_shard *shard = &fs->hold_shard[(hint + i) % ADIT_HOLD_SHARDS];
		uint64_t first;

		if (!shard_trylock(shard))
			continue;
		first = shard->first;
		if (first != 0)
			shard->first =
				__atomic_load_n(&entry_at(fs, first)->more, __ATOMIC_RELAXED);
		shard_unlock(shard);
		if (first != 0)
			return first;
	}
	return 0;
}

/* But the first. */
static void free_others(struct adit_fs *fs, struct adit_scratch *s)
{
	struct adit_hold_shard *shard = lock_any(fs);

	for (size_t i = 1; i < ENTRIES; i++)
		put_free(fs, shard, adit__offset_of(fs, &entries_of(s)[i]));
	shard_unlock(shard);
}

/* ---- holds ----------------------------------------------------------------------------------- */

void adit__hold_prepare(struct adit_op *op, struct adit_hold *hold)
{
	struct adit_fs *fs = op->fs;
	struct adit_scratch *s;

	*hold = (struct adit_hold){0};
	if (fs->read_only || fs->alone)
		return;
	hold->entry = take_free(fs);
	if (hold->entry != 0)
		return;
	s = adit__scratch_get(fs, ADIT_SCRATCH_HOLDS, fs->me + 1);
	if (!s) {
		__atomic_store_n(&fs->vol->unlisted, 1, __ATOMIC_RELAXED);
		return;
	}
	hold->entry = adit__offset_of(fs, &entries_of(s)[0]);
	free_others(fs, s);
}

void adit__hold_give_back(struct adit_fs *fs, struct adit_hold *hold)
{
	struct adit_hold_shard *shard;

	if (hold->entry == 0)
		return;
	shard = lock_any(fs);
	put_free(fs, shard, hold->entry);
	shard_unlock(shard);
	hold->entry = 0;
}

void adit__hold_list(struct adit_op *op, struct adit_hold *hold, uint64_t ino, uint32_t generation)
{
	hold->ino = ino;
	if (hold->entry == 0)
		return;
	__atomic_store_n(&entry_at(op->fs, hold->entry)->more, generation, __ATOMIC_RELAXED);
	__atomic_store_n(&entry_at(op->fs, hold->entry)->ino, ino, __ATOMIC_RELEASE);
}

/* A death comes between two instructions, and finds what those before it stored. */
static void in_this_order(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void adit__hold_count(struct adit_op *op, const struct adit_hold *hold)
{
	in_this_order();
	open_add(op->fs, hold->ino, 1);
}

void adit__hold_unlist(struct adit_op *op, const struct adit_hold *hold)
{
	if (hold->entry != 0)
		__atomic_store_n(&entry_at(op->fs, hold->entry)->ino, 0, __ATOMIC_RELEASE);
}

void adit__hold_drop(struct adit_op *op, const struct adit_hold *hold)
{
	open_add(op->fs, hold->ino, -1);
	in_this_order();
	adit__hold_unlist(op, hold);
}

/* ---- letting go -------------------------------------------------------------------------------- */

/* An inherited one may name what has been freed since: that took its count with it. */
static bool names(const struct adit_fs *fs, const struct adit_hold *hold,
		  const struct adit_inode_pm *ip)
{
	return hold->entry == 0 ||
	       __atomic_load_n(&entry_at(fs, hold->entry)->more, __ATOMIC_RELAXED) ==
		       get32_relaxed(&ip->generation);
}

static void drop(struct adit_op *op, const struct adit_hold *hold, const struct adit_inode_pm *ip)
{
	if (names(op->fs, hold, ip))
		adit__hold_drop(op, hold);
	else
		adit__hold_unlist(op, hold);
}

/* The last opener of a nameless inode lets go: it is freed. Until the record that says so is written
 * the hold stays where it is, so that a death leaves somebody who has it. */
static int free_orphan(struct adit_op *op, struct adit_hold *hold, struct adit_inode_pm *ip)
{
	struct adit_doomed doomed = {hold->ino, get32(ip->generation)};
	int err = adit__orphan_remove(op, ip);

	if (!err) {
		adit__cs_intent(op->cs, ADIT_INTENT_FREE, doomed.ino, doomed.generation, 0, 0, 0,
				0);
		err = adit__cs_commit(op->cs);
	}
	adit__hold_drop(op, hold);
	if (!err)
		adit__doomed_free(op, &doomed);
	return err;
}

/* Somebody may give it a name or open it again meanwhile; what is looked at under the lock decides. */
static int release_orphan(struct adit_fs *fs, struct adit_hold *hold,
			  const struct adit_inode_pm *slot)
{
	struct adit_inode_pm *ip;
	struct adit_op op;
	int err = adit__op_begin_write(&op, fs);

	if (err) {
		/* It stays on the list of orphans; recovery frees it. */
		adit__op_begin(&op, fs);
		adit__lock_inode(&op, hold->ino, false);
		drop(&op, hold, slot);
		adit__op_end(&op);
		return err == -EROFS ? 0 : err;
	}
	adit__lock_inode(&op, hold->ino, true);
	err = adit__cs_inode(op.cs, hold->ino, &ip);
	if (!err && names(fs, hold, ip) && get32(ip->nlink) == 0 &&
	    get32(ip->flags) & ADIT_IFLAG_ORPHAN && adit__open_count(fs, ip) == 1)
		err = free_orphan(&op, hold, ip);
	else
		drop(&op, hold, slot);
	adit__op_end(&op);
	return err == -ESTALE ? 0 : err;
}

/* The entry is free, but on no list yet. */
static int let_go(struct adit_fs *fs, struct adit_hold *hold)
{
	const struct adit_inode_pm *ip = adit__inode_slot(fs, hold->ino);
	struct adit_op op;
	bool orphan;

	if (!ip)
		return -ESTALE;
	adit__op_begin(&op, fs);
	adit__lock_inode(&op, hold->ino, false);
	/* With a name it stays, whoever else lets go of it; and it keeps it while it is locked. */
	orphan = get32_relaxed(&ip->nlink) == 0 && names(fs, hold, ip);
	if (!orphan)
		drop(&op, hold, ip);
	adit__op_end(&op);
	return orphan ? release_orphan(fs, hold, ip) : 0;
}

int adit__release(struct adit_fs *fs, struct adit_hold *hold)
{
	int err = let_go(fs, hold);

	adit__hold_give_back(fs, hold);
	return err;
}

/* ---- fork ---------------------------------------------------------------------------------- */

static uint64_t entry_for(struct adit_fs *fs, struct adit_heir *heir)
{
	if (!heir->list || heir->used == ENTRIES) {
		heir->list = adit__scratch_get(fs, ADIT_SCRATCH_HOLDS, heir->participant);
		heir->used = 0;
	}
	if (!heir->list) {
		__atomic_store_n(&fs->vol->unlisted, 1, __ATOMIC_RELAXED);
		return 0;
	}
	return adit__offset_of(fs, &entries_of(heir->list)[heir->used++]);
}

void adit__hold_for(struct adit_fs *fs, const struct adit_hold *ours, struct adit_heir *heir,
		    struct adit_hold *out)
{
	const struct adit_inode_pm *ip = adit__inode_slot(fs, ours->ino);
	struct adit_op op;

	*out = (struct adit_hold){ours->ino, 0};
	adit__op_begin(&op, fs);
	if (!fs->read_only && !fs->alone)
		out->entry = entry_for(fs, heir);
	/* It cannot go away: we have it open. */
	adit__lock_inode(&op, ours->ino, false);
	if (ip) {
		adit__hold_list(&op, out, ours->ino, get32_relaxed(&ip->generation));
		adit__hold_count(&op, out);
	}
	adit__op_end(&op);
}

void adit__hold_heir_is_here(struct adit_fs *fs, struct adit_heir *heir)
{
	memset(fs->hold_shard, 0, sizeof fs->hold_shard);
	fs->finishing_holds = 0;
	for (uint32_t i = heir->used; heir->list && i < ENTRIES; i++)
		put_free(fs, &fs->hold_shard[0], adit__offset_of(fs, &entries_of(heir->list)[i]));
}

/* ---- after a death ------------------------------------------------------------------------------- */

typedef void (*entry_fn)(struct adit_fs *, const struct entry *);

static bool is_list(const struct adit_scratch *s)
{
	uint32_t kind = adit__scratch_kind(s);

	return kind == ADIT_SCRATCH_HOLDS || kind == ADIT_SCRATCH_INHERITED;
}

/* all: of the living, too. */
static void each_entry(struct adit_fs *fs, bool all, entry_fn fn)
{
	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));) {
		if (adit__scratch_of(s) == 0 || !is_list(s) ||
		    (!all && adit__scratch_kind(s) != ADIT_SCRATCH_INHERITED))
			continue;
		for (size_t i = 0; i < ENTRIES; i++)
			if (entries_of(s)[i].ino != 0)
				fn(fs, &entries_of(s)[i]);
	}
}

static void set_count(struct adit_fs *fs, uint64_t ino, uint32_t count)
{
	struct adit_inode_pm *ip = adit__inode_slot(fs, ino);

	if (ip)
		__atomic_store_n(&ip->open_word.v, (uint64_t)fs->incarnation << 32 | count,
				 __ATOMIC_RELAXED);
}

static void mark(struct adit_fs *fs, const struct entry *e)
{
	set_count(fs, e->ino, MARK);
}

static void count_marked(struct adit_fs *fs, const struct entry *e)
{
	const struct adit_inode_pm *ip = adit__inode_slot(fs, e->ino);

	if (ip && count_in(fs, ip->open_word.v) & MARK && get32(ip->mode) != 0 &&
	    get32(ip->generation) == e->more)
		open_add(fs, e->ino, 1);
}

static void unmark(struct adit_fs *fs, const struct entry *e)
{
	const struct adit_inode_pm *ip = adit__inode_slot(fs, e->ino);

	if (ip)
		set_count(fs, e->ino, (uint32_t)count_in(fs, ip->open_word.v) & ~MARK);
}

static void inherit_lists(struct adit_fs *fs, const uint8_t *dead)
{
	uint64_t mine = adit__scratch_owner(fs, ADIT_SCRATCH_INHERITED, fs->me + 1);

	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));) {
		uint32_t of = adit__scratch_of(s);

		if (is_list(s) && of != 0 && of <= fs->nparticipants && dead[of - 1])
			__atomic_store_n(&s->owner, mine, __ATOMIC_RELEASE);
	}
}

void adit__holds_take_over(struct adit_fs *fs, uint32_t participant)
{
	uint64_t mine = adit__scratch_owner(fs, ADIT_SCRATCH_INHERITED, fs->me + 1);

	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));)
		if (is_list(s) && adit__scratch_of(s) == participant + 1)
			__atomic_store_n(&s->owner, mine, __ATOMIC_RELEASE);
}

void adit__holds_anew(struct adit_fs *fs, const uint8_t *dead)
{
	inherit_lists(fs, dead);
	/* Not all that count are listed: what others have open must not seem closed. */
	if (fs->vol->unlisted)
		return;
	each_entry(fs, false, mark);
	each_entry(fs, true, count_marked);
	each_entry(fs, false, unmark);
}

bool adit__holds_inherited(const struct adit_fs *fs)
{
	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));)
		if (__atomic_load_n(&s->owner, __ATOMIC_ACQUIRE) ==
		    adit__scratch_owner(fs, ADIT_SCRATCH_INHERITED, fs->me + 1))
			return true;
	return false;
}

static bool finish_list(struct adit_fs *fs, struct adit_scratch *s)
{
	if (fs->vol->unlisted) {
		/* Whether the dead had counted it already, or still, cannot be told: it stays. */
		memset(entries_of(s), 0, ADIT_BLOCK - sizeof *s);
		return true;
	}
	for (size_t i = 0; i < ENTRIES; i++) {
		struct entry *e = &entries_of(s)[i];
		struct adit_hold hold = {__atomic_load_n(&e->ino, __ATOMIC_RELAXED),
					 adit__offset_of(fs, e)};
		int err = hold.ino != 0 ? let_go(fs, &hold) : 0;

		if (err)
			adit__report(fs, "inode %llu, open in a process that died: error %d",
				     (unsigned long long)hold.ino, err);
		if (adit__has_stopped(fs))
			return false;
	}
	return true;
}

/* By one thread at a time: what lies there is nobody else's. */
void adit__holds_finish(struct adit_fs *fs)
{
	uint64_t inherited = adit__scratch_owner(fs, ADIT_SCRATCH_INHERITED, fs->me + 1);
	uint64_t nobodys = adit__scratch_owner(fs, ADIT_SCRATCH_HOLDS, 0);

	while (__atomic_exchange_n(&fs->finishing_holds, 1, __ATOMIC_ACQUIRE) != 0)
		fs->env->yield();
	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));) {
		if (__atomic_load_n(&s->owner, __ATOMIC_ACQUIRE) != inherited)
			continue;
		if (!finish_list(fs, s))
			break;
		__atomic_store_n(&s->owner, nobodys, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&fs->finishing_holds, 0, __ATOMIC_RELEASE);
}
