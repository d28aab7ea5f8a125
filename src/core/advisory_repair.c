/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * What a death leaves of the advisory locks: see advisory_int.h.
 *
 * A bucket whose phase is idle has a chain that is whole.  One that somebody was changing is made anew from the
 * entries: those that count by its phase.  Then what belongs to the dead goes, and after that the locks of
 * descriptions that no living participant has.  Free entries are collected anew.  All of it may be cut short and
 * done again.
 */
#include "core/advisory_int.h"

typedef struct adit_lock_entry entry;

/* The entry of a bucket that was being changed. */
static void settle(entry *e, uint32_t phase)
{
	uint32_t state = adit__lock_state(e);

	if (state == LOCK_NEW)
		adit__lock_set_state(e, phase == PHASE_COMMITTED ? LOCK_VALID : LOCK_FREE);
	else if (state == LOCK_OLD)
		adit__lock_set_state(e, phase == PHASE_COMMITTED ? LOCK_FREE : LOCK_VALID);
}

/* Entries that a change had taken or given up, and has no more. */
static void collect(struct adit_fs *fs, struct adit_lock_root *root, struct adit_lock_bucket *b,
		    entry *e)
{
	if (adit__lock_state(e) == LOCK_FREE ||
	    adit__lock_bucket(root, __atomic_load_n(&e->ino, __ATOMIC_RELAXED)) != b)
		return;
	settle(e, b->phase);
	if (adit__lock_state(e) == LOCK_VALID) {
		e->next = b->first;
		b->first = adit__offset_of(fs, e);
	} else {
		adit__lock_push_free(fs, &b->free, e);
		b->nfree++;
	}
}

void adit__lock_bucket_anew(struct adit_fs *fs, struct adit_lock_root *root,
			    struct adit_lock_bucket *b)
{
	b->first = 0;
	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));)
		for (size_t i = 0; adit__scratch_kind(s) == ADIT_SCRATCH_LOCKS && i < LOCK_ENTRIES;
		     i++)
			collect(fs, root, b, &adit__lock_entries(s)[i]);
	adit__lock_set_phase(b, PHASE_IDLE);
}

/* ---- a repair -------------------------------------------------------------------------------- */

static bool is_dead(const struct adit_fs *fs, uint32_t participant, const uint8_t *dead)
{
	return participant != 0 && participant <= fs->nparticipants && dead[participant - 1];
}

static bool has_reference(const struct adit_fs *fs, const struct adit_lock_bucket *b,
			  const entry *lock)
{
	for (const entry *e = adit__lock_entry(fs, b->first); e; e = adit__lock_entry(fs, e->next))
		if (e->kind == ADIT_ADVISORY_REF && e->number == lock->number &&
		    e->ino == lock->ino)
			return true;
	return false;
}

/* First it is free, then it is unlinked in one store: the chain stays whole, and who is cut short in between leaves a
 * free entry in it for the next one. */
static void unlink_if(const struct adit_fs *fs, struct adit_lock_bucket *b, const uint8_t *dead)
{
	uint64_t had = 0; /* neighbours are mostly of one description */

	for (uint64_t *at = &b->first; *at != 0;) {
		entry *e = adit__lock_entry(fs, *at);
		bool goes =
			dead ? is_dead(fs, e->participant, dead) || adit__lock_state(e) == LOCK_FREE
			     : e->participant == 0 && e->number != had;

		if (goes && !dead && has_reference(fs, b, e)) {
			had = e->number;
			goes = false;
		}
		if (!goes) {
			at = &e->next;
			continue;
		}
		adit__lock_set_state(e, LOCK_FREE);
		*at = e->next;
	}
}

static void free_anew(struct adit_fs *fs, struct adit_lock_root *root)
{
	root->free = 0;
	root->blocks = 0;
	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));) {
		if (adit__scratch_kind(s) != ADIT_SCRATCH_LOCKS)
			continue;
		root->blocks++;
		for (size_t i = LOCK_ENTRIES; i-- > 0;)
			if (adit__lock_state(&adit__lock_entries(s)[i]) == LOCK_FREE)
				adit__lock_push_free(fs, &root->free, &adit__lock_entries(s)[i]);
	}
}

static void bucket_anew(struct adit_fs *fs, struct adit_lock_root *root, struct adit_lock_bucket *b,
			const uint8_t *dead)
{
	b->lock.word = 0;
	if (b->phase != PHASE_IDLE)
		adit__lock_bucket_anew(fs, root, b);
	b->free = 0;
	b->nfree = 0;
	unlink_if(fs, b, dead);
	unlink_if(fs, b, NULL);
}

void adit__advisory_anew(struct adit_fs *fs, const uint8_t *dead)
{
	struct adit_lock_root *root = adit__lock_root(fs);

	if (!root)
		return;
	root->free_lock.word = 0;
	root->wait_lock.word = 0;
	for (uint32_t i = 0; i < LOCK_BUCKETS; i++)
		bucket_anew(fs, root, &root->bucket[i], dead);
	free_anew(fs, root);
	adit__waiters_anew(fs, root, dead);
}
