/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Threads that wait for an advisory lock: who is to be woken, who comes first, and who waits in a circle.  See
 * advisory_int.h; the sleeping itself is the caller's.
 */
#include "core/advisory_int.h"

typedef struct adit_lock_waiter waiter;

static waiter *waiter_at(const struct adit_fs *fs, const struct adit_advisory_wait *wait)
{
	return wait->entry != 0 ? adit__at(fs, wait->entry) : NULL;
}

static uint64_t ino_of(const waiter *w)
{
	return __atomic_load_n(&w->ino, __ATOMIC_ACQUIRE);
}

/* All there are: NULL begins, NULL ends. */
static waiter *next_waiter(const struct adit_fs *fs, const struct adit_lock_root *root, waiter *w)
{
	struct adit_scratch *s = NULL;

	if (w) {
		uint64_t at = adit__offset_of(fs, w + 1);

		if (at % ADIT_BLOCK != 0 && ADIT_BLOCK - at % ADIT_BLOCK >= sizeof *w)
			return w + 1;
		s = adit__block_at(fs, adit__offset_of(fs, w) >> ADIT_BLOCK_SHIFT);
	}
	s = adit__lock_wait_block(fs, root, s);
	return s ? adit__lock_waiters(s) : NULL;
}

/* ---- coming and going ------------------------------------------------------------------------ */

static bool claim(waiter *w, uint32_t participant)
{
	uint32_t nobody = 0;

	return __atomic_load_n(&w->claim, __ATOMIC_RELAXED) == 0 &&
	       __atomic_compare_exchange_n(&w->claim, &nobody, participant, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

static struct adit_scratch *add_block(struct adit_fs *fs, struct adit_lock_root *root)
{
	struct adit_scratch *s = adit__lock_block(fs, ADIT_SCRATCH_WAITERS);

	if (!s)
		return NULL;
	s->pad[0] = __atomic_load_n(&root->waiters, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&root->waiters, &s->pad[0], adit__offset_of(fs, s),
					    true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		;
	return s;
}

int adit__waiter_claim(struct adit_fs *fs, struct adit_advisory_wait *wait)
{
	struct adit_lock_root *root = adit__lock_root(fs);
	waiter *w = NULL;

	for (;;) {
		while ((w = next_waiter(fs, root, w)))
			if (claim(w, fs->me + 1)) {
				*wait = (struct adit_advisory_wait){adit__offset_of(fs, w),
								    &w->word, false};
				return 0;
			}
		if (!add_block(fs, root))
			return -ENOLCK;
	}
}

void adit__waiter_register(struct adit_lock_scene *s, const struct adit_advisory *want,
			   struct adit_advisory_wait *wait)
{
	waiter *w = waiter_at(s->op.fs, wait);

	__atomic_store_n(&w->word, 0, __ATOMIC_RELAXED);
	if (ino_of(w) != 0)
		return;
	w->start = want->start;
	w->end = want->end;
	w->kind = want->kind;
	w->type = want->type;
	w->ticket = __atomic_add_fetch(&s->root->ticket, 1, __ATOMIC_RELAXED);
	s->bucket->waiters++;
	__atomic_store_n(&w->ino, want->ino, __ATOMIC_RELEASE);
}

void adit__waiter_leave(struct adit_lock_scene *s, struct adit_advisory_wait *wait)
{
	waiter *w = waiter_at(s->op.fs, wait);

	if (!w)
		return;
	__atomic_store_n(&w->blocked, 0, __ATOMIC_RELEASE);
	if (ino_of(w) != 0) {
		__atomic_store_n(&w->ino, 0, __ATOMIC_RELEASE);
		s->bucket->waiters--;
	}
	__atomic_store_n(&w->claim, 0, __ATOMIC_RELEASE);
	wait->entry = 0;
}

/* ---- waking ------------------------------------------------------------------------------------ */

static bool is_about(const waiter *w, uint64_t ino, uint32_t kind, uint64_t start, uint64_t end)
{
	return ino_of(w) == ino && w->kind == kind && w->start <= end && w->end >= start;
}

static void wake(struct adit_fs *fs, waiter *w)
{
	__atomic_store_n(&w->blocked, 0, __ATOMIC_RELEASE);
	if (__atomic_exchange_n(&w->word, 1, __ATOMIC_RELEASE) == 0)
		fs->env->wake(&w->word);
}

void adit__waiters_wake(struct adit_lock_scene *s, uint64_t ino, uint32_t kind, uint64_t start,
			uint64_t end)
{
	if (s->bucket->waiters == 0)
		return;
	for (waiter *w = NULL; (w = next_waiter(s->op.fs, s->root, w));)
		if (is_about(w, ino, kind, start, end))
			wake(s->op.fs, w);
}

void adit__waiters_wake_all(struct adit_lock_scene *s)
{
	for (waiter *w = NULL; s->bucket->waiters > 0 && (w = next_waiter(s->op.fs, s->root, w));) {
		uint64_t ino = ino_of(w);

		if (ino != 0 && adit__lock_bucket(s->root, ino) == s->bucket)
			wake(s->op.fs, w);
	}
}

/*
 * What is given up goes to whoever was woken for it, even when somebody else is quicker: or it would always be the
 * one who had it.  Not for long: who was passed once (it is stopped, perhaps) is not waited for again.
 */
bool adit__waiter_first(struct adit_lock_scene *s, const struct adit_advisory *want,
			const struct adit_advisory_wait *wait)
{
	const waiter *mine = waiter_at(s->op.fs, wait);
	uint64_t ticket = mine && ino_of(mine) != 0 ? mine->ticket : UINT64_MAX;
	bool first = false;

	if (s->bucket->waiters == (ticket != UINT64_MAX))
		return false;
	for (waiter *w = NULL; (w = next_waiter(s->op.fs, s->root, w));) {
		if (w == mine || !is_about(w, want->ino, want->kind, want->start, want->end) ||
		    w->ticket > ticket ||
		    (w->type != ADIT_ADVISORY_WRITE && want->type != ADIT_ADVISORY_WRITE) ||
		    __atomic_load_n(&w->word, __ATOMIC_RELAXED) != 1)
			continue;
		if (wait->impatient)
			__atomic_store_n(&w->word, 2, __ATOMIC_RELAXED);
		else
			first = true;
	}
	return first;
}

/* ---- circles ------------------------------------------------------------------------------------- */

static const waiter *what_it_waits_for(struct adit_lock_scene *s, const struct adit_lock_owner *o)
{
	for (waiter *w = NULL; (w = next_waiter(s->op.fs, s->root, w));)
		if (__atomic_load_n(&w->blocked, __ATOMIC_ACQUIRE) &&
		    w->owner_number == o->number && w->owner_participant == o->participant)
			return w;
	return NULL;
}

/* As Linux does it, with a bound. */
static bool is_circle(struct adit_lock_scene *s, const struct adit_lock_owner *me,
		      struct adit_lock_owner blocker)
{
	for (unsigned i = 0; i < 100; i++) {
		const waiter *w;

		if (blocker.number == me->number && blocker.participant == me->participant)
			return true;
		w = what_it_waits_for(s, &blocker);
		if (!w)
			break;
		blocker = (struct adit_lock_owner){w->blocker_number, w->blocker_participant};
	}
	return false;
}

/* One at a time, so that of a circle one alone is told. */
bool adit__waiter_blocked(struct adit_lock_scene *s, const struct adit_advisory *want,
			  struct adit_advisory_wait *wait, const struct adit_lock_owner *blocker)
{
	waiter *w = waiter_at(s->op.fs, wait);
	bool circle;

	adit__op_lock(&s->op, &s->root->wait_lock, true);
	circle = is_circle(s, &want->owner, *blocker);
	if (!circle) {
		w->owner_number = want->owner.number;
		w->owner_participant = want->owner.participant;
		w->blocker_number = blocker->number;
		w->blocker_participant = blocker->participant;
		__atomic_store_n(&w->blocked, 1, __ATOMIC_RELEASE);
	}
	adit__op_unlock_one(&s->op, &s->root->wait_lock);
	return circle;
}

/* ---- after a death --------------------------------------------------------------------------------- */

static void waiter_anew(struct adit_fs *fs, struct adit_lock_root *root, waiter *w,
			const uint8_t *dead)
{
	if (w->claim == 0)
		return;
	if (w->claim <= fs->nparticipants && dead[w->claim - 1]) {
		w->blocked = 0;
		w->ino = 0;
		w->claim = 0;
	} else if (w->ino != 0) {
		adit__lock_bucket(root, w->ino)->waiters++;
		wake(fs, w);
	}
}

/* The bucket's count stays: it is only a reason to look. */
void adit__waiters_drop(struct adit_fs *fs, uint32_t participant)
{
	const struct adit_lock_root *root = adit__lock_root(fs);

	for (waiter *w = NULL; (w = next_waiter(fs, root, w));)
		if (__atomic_load_n(&w->claim, __ATOMIC_RELAXED) == participant) {
			__atomic_store_n(&w->blocked, 0, __ATOMIC_RELEASE);
			__atomic_store_n(&w->ino, 0, __ATOMIC_RELEASE);
			__atomic_store_n(&w->claim, 0, __ATOMIC_RELEASE);
		}
}

/* Everybody who waits looks again. */
void adit__waiters_anew(struct adit_fs *fs, struct adit_lock_root *root, const uint8_t *dead)
{
	uint64_t first = 0;

	for (uint32_t i = 0; i < LOCK_BUCKETS; i++)
		root->bucket[i].waiters = 0;
	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));) {
		if (adit__scratch_kind(s) != ADIT_SCRATCH_WAITERS)
			continue;
		s->pad[0] = first;
		first = adit__offset_of(fs, s);
		for (size_t i = 0; i < LOCK_WAITERS; i++)
			waiter_anew(fs, root, &adit__lock_waiters(s)[i], dead);
	}
	__atomic_store_n(&root->waiters, first, __ATOMIC_RELEASE);
}

uint64_t adit__waiters_count(const struct adit_fs *fs)
{
	const struct adit_lock_root *root = adit__lock_root(fs);
	uint64_t n = 0;

	for (waiter *w = NULL; root && (w = next_waiter(fs, root, w));)
		n += ino_of(w) != 0;
	return n;
}
