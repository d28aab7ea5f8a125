/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * What a participant left behind that died while others work on: the death of a process is a small power
 * failure.
 *
 * Pre, for adit__repair: the gate is closed and the world stands still.  Every operation of a living participant
 * is over or parked: it waits, holds what its slot says, and is between two changes.  So everything volatile can
 * be made anew from what is certain:
 *
 *	records that the dead wrote in full		applied, as recovery does; others never were
 *	C, tails, generation				the newest checkpoint slot
 *	totals						that slot's, and the records above C
 *	volatile bitmaps				the persistent ones, and what records above C freed (I5),
 *							and what the living have reserved
 *	locks						what the living hold
 *	open counts					the lists of who has what open (hold.h); those of the dead
 *							become ours, to be closed
 *	advisory locks					those of the living (advisory.h)
 *
 * Whatever the dead were in the middle of, none of it is looked at.  An operation of several records whose intent
 * is on the medium is taken over with its lane and its locks, to be finished when the world moves again.
 *
 * It may be cut short at any point by a further death and is then done again from the start.
 */
#include "core/advisory.h"
#include "core/alloc.h"
#include "core/file.h"
#include "core/hold.h"
#include "core/inode.h"
#include "core/log.h"
#include "core/scratch.h"
#include "core/stats.h"

static bool is_of(const struct adit_fs *fs, const struct adit_vol_op *slot, uint32_t *participant)
{
	uint64_t owner = __atomic_load_n(&slot->owner, __ATOMIC_ACQUIRE);

	if (owner >> 32 != fs->incarnation || (uint32_t)owner == 0 || owner & ADIT_OP_CLAIMED)
		return false;
	*participant = (uint32_t)owner - 1;
	return true;
}

/* It was claiming the slot when it died: nothing in there is its doing. */
static void unclaim(struct adit_fs *fs, uint32_t participant)
{
	uint64_t owner = (uint64_t)fs->incarnation << 32 | (participant + 1) | ADIT_OP_CLAIMED;

	for (uint32_t i = 0; i < fs->nops; i++) {
		uint64_t was = owner;

		(void)__atomic_compare_exchange_n(&fs->ops[i].owner, &was, 0, false,
						  __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
	}
}

static bool is_dead(const struct adit_fs *fs, const struct adit_vol_op *slot, const uint8_t *dead)
{
	uint32_t participant;

	return is_of(fs, slot, &participant) && participant < fs->nparticipants && dead[participant];
}

bool adit__is_still(const struct adit_fs *fs, const uint8_t *dead)
{
	for (uint32_t i = 0; i < fs->nops; i++) {
		uint32_t participant;

		if (is_of(fs, &fs->ops[i], &participant) &&
		    __atomic_load_n(&fs->ops[i].state, __ATOMIC_SEQ_CST) == ADIT_OP_RUNNING &&
		    !is_dead(fs, &fs->ops[i], dead))
			return false;
	}
	return true;
}

/* ---- who died in no operation ------------------------------------------------------ */

bool adit__died_idle(const struct adit_fs *fs, uint32_t participant)
{
	for (uint32_t i = 0; i < fs->nops; i++) {
		uint32_t of;

		if (is_of(fs, &fs->ops[i], &of) && of == participant &&
		    __atomic_load_n(&fs->ops[i].state, __ATOMIC_SEQ_CST) != ADIT_OP_IDLE)
			return false;
	}
	return true;
}

bool adit__take_over(struct adit_fs *fs, uint32_t participant)
{
	if (!adit__advisory_take_over(fs, participant))
		return false;
	adit__holds_take_over(fs, participant);
	adit__stats_take_over(fs, participant);
	unclaim(fs, participant);
	for (uint32_t i = 0; i < fs->nops; i++) {
		uint32_t of;

		if (is_of(fs, &fs->ops[i], &of) && of == participant)
			__atomic_store_n(&fs->ops[i].owner, 0, __ATOMIC_RELEASE);
	}
	return true;
}

/* ---- records -------------------------------------------------------------------- */

typedef void (*record_fn)(struct adit_fs *, uint32_t lane, const struct adit_record_pm *);

/* Every complete record above C. */
static void each_record(struct adit_fs *fs, record_fn fn)
{
	for (uint32_t lane = 0; lane < fs->lanes; lane++) {
		const struct adit_vol_lane *vl = &fs->vol->lane[lane];

		for (uint64_t pos = vl->tail; pos < vl->head;) {
			const struct adit_record_pm *r = adit__record_at(fs, lane, pos, false);

			if (!r) {
				adit__report(fs, "lane %u: record at %llu was overwritten: pool stopped",
					     lane, (unsigned long long)pos);
				adit__stop(fs);
				break;
			}
			if (!(get16(r->flags) & ADIT_RECORD_PAD) && get64(r->seq) > fs->vol->c)
				fn(fs, lane, r);
			pos = adit__record_end(fs, r);
		}
	}
}

static uint64_t newest_in(struct adit_fs *fs, uint32_t lane)
{
	uint64_t newest = fs->vol->c, pos = fs->vol->lane[lane].tail;

	while (pos < fs->vol->lane[lane].head) {
		const struct adit_record_pm *r = adit__record_at(fs, lane, pos, false);

		if (!r)
			break;
		newest = max_u64(newest, get64(r->seq));
		pos = adit__record_end(fs, r);
	}
	return newest;
}

/* The record that the owner of this lane was about to apply, or applying; NULL: none that is whole.  One with an
 * older number was left where the ring begins by somebody who died with the pad before it half written. */
static const struct adit_record_pm *unfinished(struct adit_fs *fs, uint32_t lane)
{
	uint64_t pos = fs->vol->lane[lane].head;

	for (unsigned i = 0; i < 2; i++) {
		const struct adit_record_pm *r = adit__record_at(fs, lane, pos, true);

		if (!r || !(get16(r->flags) & ADIT_RECORD_PAD))
			return r && get64(r->seq) > newest_in(fs, lane) ? r : NULL;
		pos = adit__record_end(fs, r);
	}
	return NULL;
}

/* Its owner may have died before the fence. */
static void claim_record(struct adit_fs *fs, uint32_t lane, const struct adit_record_pm *r)
{
	const struct adit_record_pm *pad = adit__record_at(fs, lane, fs->vol->lane[lane].head, true);

	if (pad && pad != r)
		adit__pm_flush(&fs->pm, pad, sizeof *pad);
	adit__pm_flush(&fs->pm, r, get32(r->len));
	adit__pm_fence(&fs->pm);
}

static void finish_record(struct adit_fs *fs, uint32_t lane, const struct adit_record_pm *r)
{
	struct adit_vol_lane *vl = &fs->vol->lane[lane];

	claim_record(fs, lane, r);
	adit__apply_notes(fs, &fs->sets[lane], get64(r->seq));
	adit__apply_record(fs, r);
	__atomic_store_n(&vl->head, adit__record_end(fs, r), __ATOMIC_RELEASE);
	adit__count_record(vl, get32(r->len));
}

/* In the order of their numbers: they cannot conflict, since each was drawn under its locks, but nothing is
 * lost by being sure. */
static void finish_records(struct adit_fs *fs, const uint8_t *dead)
{
	for (;;) {
		const struct adit_record_pm *first = NULL;
		uint32_t lane = 0;

		for (uint32_t i = 0; i < fs->nops; i++) {
			const struct adit_vol_op *slot = &fs->ops[i];
			const struct adit_record_pm *r;

			if (!is_dead(fs, slot, dead) || slot->lane == 0 || slot->lane > fs->lanes)
				continue;
			r = unfinished(fs, (uint32_t)slot->lane - 1);
			if (r && (!first || get64(r->seq) < get64(first->seq))) {
				first = r;
				lane = (uint32_t)slot->lane - 1;
			}
		}
		if (!first)
			return;
		finish_record(fs, lane, first);
	}
}

/* ---- the log's volatile part ------------------------------------------------------- */

/* It may be in the caches only, and what follows relies on it (I18). */
static const struct adit_ckpt_pm *claim_slot(struct adit_fs *fs)
{
	const struct adit_ckpt_pm *k = adit__ckpt_newest(fs);

	if (!k) {
		adit__stop(fs);
		return NULL;
	}
	adit__pm_flush(&fs->pm, k, sizeof *k);
	adit__pm_fence(&fs->pm);
	return k;
}

static void checkpoint_anew(struct adit_fs *fs, const struct adit_ckpt_pm *k)
{
	struct adit_vol *v = fs->vol;

	v->generation = get64(k->generation);
	__atomic_store_n(&v->c, get64(k->c), __ATOMIC_RELEASE);
	for (uint32_t i = 0; i < fs->lanes; i++) {
		v->lane[i].tail = max_u64(v->lane[i].tail, get64(k->tail[i]));
		v->lane[i].free_blocks = v->lane[i].used_inodes = 0;
	}
	v->lane[0].free_blocks = get64(k->free_blocks);
	v->lane[0].used_inodes = get64(k->used_inodes);
}

static void add_totals(struct adit_fs *fs, uint32_t lane, const struct adit_record_pm *r)
{
	struct adit_vol_lane *vl = &fs->vol->lane[lane];

	vl->free_blocks += (uint64_t)(int64_t)(int32_t)get32(r->free_blocks);
	vl->used_inodes += (uint64_t)(int64_t)(int32_t)get32(r->used_inodes);
}

/* ---- space ------------------------------------------------------------------------------ */

static void keep_quarantine(struct adit_fs *fs, uint32_t lane, const struct adit_record_pm *r)
{
	(void)lane;
	for (size_t at = sizeof *r; at < get32(r->len);) {
		const struct adit_entry_pm *e = adit__entry_at((const uint8_t *)r, at);

		if (e->op == ADIT_OP_FREE)
			adit__vol_keep(fs, get64(e->where), get32(e->len));
		at += adit__entry_bytes(e);
	}
}

/* Lanes of the living keep their reservations; the others' sets are forgotten. */
static void keep_reservations(struct adit_fs *fs, const uint8_t *dead)
{
	uint8_t living[ADIT_LANES_MAX] = {0};

	for (uint32_t i = 0; i < fs->nops; i++) {
		const struct adit_vol_op *slot = &fs->ops[i];
		uint32_t participant;

		if (is_of(fs, slot, &participant) && !is_dead(fs, slot, dead) && slot->lane != 0 &&
		    slot->lane <= fs->lanes)
			living[slot->lane - 1] = 1;
	}
	for (uint32_t lane = 0; lane < fs->lanes; lane++) {
		struct adit_vol_set *set = &fs->sets[lane];

		if (!living[lane]) {
			set->nruns = set->notes = set->claimed = 0;
			fs->vol->lane[lane].active_low = UINT64_MAX;
			continue;
		}
		for (uint64_t i = 0; i < set->nruns; i++)
			adit__vol_keep(fs, set->run[i] >> 24, set->run[i] & 0xffffff);
		__atomic_fetch_sub(&fs->vol->free_blocks, set->claimed, __ATOMIC_RELAXED);
	}
}

static void keep_scratch(struct adit_fs *fs)
{
	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));)
		adit__vol_keep(fs, adit__offset_of(fs, s) >> ADIT_BLOCK_SHIFT, 1);
}

static void space_anew(struct adit_fs *fs, const uint8_t *dead)
{
	/* Looked at by who is in no operation. */
	__atomic_store_n(&fs->vol->free_blocks, adit__total_free(fs), __ATOMIC_RELAXED);
	adit__vol_reset(fs);
	each_record(fs, keep_quarantine);
	keep_reservations(fs, dead);
	keep_scratch(fs);
	adit__vol_count(fs);
}

/* ---- locks ---------------------------------------------------------------------------------- */

static void free_lock(const struct adit_fs *fs, struct adit_lock *lock)
{
	if (lock->word >> 32 == fs->incarnation)
		__atomic_store_n(&lock->word, 0, __ATOMIC_RELAXED);
}

static void free_locks(struct adit_fs *fs)
{
	struct adit_vol *v = fs->vol;

	free_lock(fs, &v->ckpt_lock);
	free_lock(fs, &v->rename_lock);
	free_lock(fs, &v->grow_lock);
	for (unsigned i = 0; i < ADIT_SHARDS; i++) {
		free_lock(fs, &v->shard_lock[i]);
		free_lock(fs, &v->orphan_lock[i]);
	}
	for (uint32_t i = 0; i < fs->lanes; i++)
		free_lock(fs, &v->lane[i].lock);
	for (uint64_t i = 0; i <= fs->stripe_mask; i++)
		free_lock(fs, &fs->stripe[i].lock);
	for (uint32_t i = 0; i < fs->groups; i++)
		free_lock(fs, &adit__group_vol(fs, i)->lock);
}

static void hold_lock(const struct adit_fs *fs, struct adit_lock *lock, bool exclusive)
{
	uint32_t state = lock->word >> 32 == fs->incarnation ? (uint32_t)lock->word : 0;

	state = exclusive ? ADIT_LOCK_WRITER : state + 1;
	__atomic_store_n(&lock->word, (uint64_t)fs->incarnation << 32 | state, __ATOMIC_RELEASE);
}

static void hold_locks(struct adit_fs *fs, const uint8_t *dead)
{
	for (uint32_t i = 0; i < fs->nops; i++) {
		const struct adit_vol_op *slot = &fs->ops[i];
		uint32_t participant;

		if (!is_of(fs, slot, &participant) || is_dead(fs, slot, dead))
			continue;
		for (uint32_t k = 0; k < slot->nlocks && k < ADIT_OP_LOCKS; k++)
			hold_lock(fs, adit__at(fs, slot->lock[k] & ~1ull), slot->lock[k] & 1);
		if (slot->lane != 0 && slot->lane <= fs->lanes)
			hold_lock(fs, &fs->vol->lane[slot->lane - 1].lock, true);
	}
}

/* Odd means that somebody changes what the stripe covers. */
static void versions_anew(struct adit_fs *fs)
{
	for (uint64_t i = 0; i <= fs->stripe_mask; i++) {
		struct adit_vol_stripe *s = &fs->stripe[i];

		if ((s->version & 1) && !((uint32_t)s->lock.word & ADIT_LOCK_WRITER))
			__atomic_store_n(&s->version, s->version + 1, __ATOMIC_RELEASE);
	}
}

/* ---- operations ---------------------------------------------------------------------------------- */

static bool has_intent(const struct adit_fs *fs, uint64_t lane)
{
	const struct adit_intent_pm *table = adit__block_at(fs, get64(fs->super.intent_start));

	return lane != 0 && lane <= fs->lanes && get32(table[lane - 1].type) != ADIT_INTENT_NONE;
}

/* What has an intent becomes ours, parked; the rest is over. */
static uint32_t inherit(struct adit_fs *fs, const uint8_t *dead, uint32_t *slots)
{
	uint64_t me = (uint64_t)fs->incarnation << 32 | (fs->me + 1);
	uint32_t n = 0;

	for (uint32_t i = 0; i < fs->nparticipants; i++)
		if (dead[i])
			unclaim(fs, i);
	for (uint32_t i = 0; i < fs->nops; i++) {
		struct adit_vol_op *slot = &fs->ops[i];

		if (!is_dead(fs, slot, dead))
			continue;
		if (has_intent(fs, slot->lane)) {
			slot->state = ADIT_OP_PARKED;
			__atomic_store_n(&slot->owner, me, __ATOMIC_RELEASE);
			slots[n++] = i;
			continue;
		}
		slot->nlocks = 0;
		slot->lane = 0;
		slot->state = ADIT_OP_IDLE;
		__atomic_store_n(&slot->owner, 0, __ATOMIC_RELEASE);
	}
	return n;
}

static void set_repairer(struct adit_fs *fs, struct adit_op **thread)
{
	__atomic_store_n(&fs->repairer, thread, __ATOMIC_RELAXED);
}

uint32_t adit__renew(struct adit_fs *fs, const uint8_t *dead, uint32_t *slots,
		     const struct adit_growth *growth)
{
	const struct adit_ckpt_pm *k = claim_slot(fs);
	int growing = adit__grow_look(fs);
	uint32_t n;

	if (!k || growing < 0)
		return 0;
	set_repairer(fs, fs->env->current_op());
	fs->vol->repairs++;
	checkpoint_anew(fs, k);
	finish_records(fs, dead);
	checkpoint_anew(fs, k); /* without what applying has added */
	each_record(fs, add_totals);
	if (growing > 0)
		adit__grow_finish(fs, growth);
	space_anew(fs, dead);
	adit__holds_anew(fs, dead);
	adit__stats_bury(fs, dead);
	n = inherit(fs, dead, slots);
	free_locks(fs);
	adit__advisory_anew(fs, dead);
	hold_locks(fs, dead);
	versions_anew(fs);
	set_repairer(fs, NULL);
	return n;
}

uint32_t adit__repair(struct adit_fs *fs, const uint8_t *dead, uint32_t *slots)
{
	return adit__renew(fs, dead, slots, NULL);
}

void adit__forget_operations(struct adit_fs *fs)
{
	for (uint32_t i = 0; i < fs->nops; i++)
		fs->ops[i] = (struct adit_vol_op){0};
	free_locks(fs);
	versions_anew(fs);
}

int adit__finish_inherited(struct adit_fs *fs, uint32_t slot)
{
	struct adit_op op;
	struct adit_intent_pm in;
	int err = adit__op_begin_inherited(&op, fs, slot);

	if (err)
		return err;
	in = ((const struct adit_intent_pm *)adit__block_at(fs, get64(fs->super.intent_start)))[op.cs->lane];
	if (get32(in.type) != ADIT_INTENT_NONE)
		err = adit__file_resume(&op, &in);
	if (err)
		adit__report(fs, "lane %u: unfinished operation on inode %llu: error %d; run fsck",
			     op.cs->lane, (unsigned long long)get64(in.ino), err);
	adit__op_end(&op);
	return err;
}
