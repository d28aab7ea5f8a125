/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* See advisory.h; the table's layout is in advisory_int.h. */
#include "core/advisory_int.h"

typedef struct adit_lock_entry entry;
typedef struct adit_lock_scene scene;

/* ---- room ------------------------------------------------------------------------------------- */

/* Locks leave the reserve alone, but for the first block of each kind: what frees space may want a lock. */
struct adit_scratch *adit__lock_block(struct adit_fs *fs, uint32_t kind)
{
	const struct adit_lock_root *root = adit__lock_root(fs);
	bool first = !root ||
		     __atomic_load_n(kind == ADIT_SCRATCH_LOCKS ? &root->blocks : &root->waiters,
				     __ATOMIC_RELAXED) == 0;

	if (!first && __atomic_load_n(&fs->vol->free_blocks, __ATOMIC_RELAXED) <=
			      get64(fs->super.reserve_blocks))
		return NULL;
	return adit__scratch_get(fs, kind, ADIT_SCRATCH_ALL);
}

static struct adit_lock_root *make_root(struct adit_fs *fs)
{
	struct adit_scratch *s = adit__lock_block(fs, ADIT_SCRATCH_LOCK_ROOT);
	uint64_t none = 0;

	/* Somebody else was quicker: it is for nobody. */
	if (s && !__atomic_compare_exchange_n(&fs->vol->advisory, &none,
					      adit__offset_of(fs, s) >> ADIT_BLOCK_SHIFT, false,
					      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		__atomic_store_n(&s->owner, adit__scratch_owner(fs, ADIT_SCRATCH_LOCK_ROOT, 0),
				 __ATOMIC_RELEASE);
	return adit__lock_root(fs);
}

static void lock_bucket(scene *s, uint64_t ino)
{
	s->bucket = adit__lock_bucket(s->root, ino);
	adit__op_lock(&s->op, &s->bucket->lock, true);
	/* A media error threw its last user out. */
	if (ADIT_UNLIKELY(s->bucket->phase != PHASE_IDLE))
		adit__lock_bucket_anew(s->op.fs, s->root, s->bucket);
}

static void unlock_bucket(scene *s)
{
	adit__op_unlock_one(&s->op, &s->bucket->lock);
}

/* make: the table; else false means that there is none. */
static bool begin(scene *s, struct adit_fs *fs, uint64_t ino, bool make)
{
	s->root = adit__lock_root(fs);
	if (!s->root && !make)
		return false;
	adit__op_begin(&s->op, fs);
	if (!s->root)
		s->root = make_root(fs);
	if (s->root)
		lock_bucket(s, ino);
	else
		adit__op_end_read(&s->op);
	return s->root != NULL;
}

/* A new block's entries, with the lock of the free ones. */
static int add_entries(scene *s)
{
	struct adit_fs *fs = s->op.fs;
	struct adit_scratch *block = adit__lock_block(fs, ADIT_SCRATCH_LOCKS);

	if (!block)
		return -ENOLCK;
	__atomic_add_fetch(&s->root->blocks, 1, __ATOMIC_RELAXED);
	for (size_t i = LOCK_ENTRIES; i-- > 0;)
		adit__lock_push_free(fs, &s->root->free, &adit__lock_entries(block)[i]);
	return 0;
}

#define REFILL	8u
#define SURPLUS 64u

static void move_free(scene *s, unsigned n)
{
	for (; n > 0 && s->root->free != 0; n--) {
		entry *e = adit__lock_entry(s->op.fs, s->root->free);

		s->root->free = e->next;
		adit__lock_push_free(s->op.fs, &s->bucket->free, e);
		s->bucket->nfree++;
	}
}

/* So many free entries in the bucket.  Its lock is given up and taken again: everything may have changed. */
static int refill(scene *s, uint64_t ino, unsigned needed)
{
	int err = 0;

	unlock_bucket(s);
	adit__op_lock(&s->op, &s->root->free_lock, true);
	for (;;) {
		lock_bucket(s, ino);
		move_free(s, REFILL);
		if (err || s->bucket->nfree >= needed)
			break;
		unlock_bucket(s);
		err = add_entries(s);
	}
	adit__op_unlock_one(&s->op, &s->root->free_lock);
	return s->bucket->nfree >= needed ? 0 : err;
}

/* Others may use them; not if that means to wait. */
static void give_back_surplus(scene *s)
{
	struct adit_fs *fs = s->op.fs;

	if (s->bucket->nfree <= SURPLUS || !adit__op_trylock(&s->op, &s->root->free_lock, true))
		return;
	while (s->bucket->nfree > SURPLUS / 2) {
		entry *e = adit__lock_entry(fs, s->bucket->free);

		s->bucket->free = e->next;
		s->bucket->nfree--;
		adit__lock_push_free(fs, &s->root->free, e);
	}
	adit__op_unlock_one(&s->op, &s->root->free_lock);
}

/* ---- looking ------------------------------------------------------------------------------------ */

static entry *next_entry(const scene *s, const entry *e)
{
	return adit__lock_entry(s->op.fs, e ? e->next : s->bucket->first);
}

static bool is_of(const entry *e, uint64_t ino, uint32_t kind, const struct adit_lock_owner *o)
{
	return e->ino == ino && e->kind == kind && adit__lock_is_owners(e, o);
}

static bool overlaps(const entry *e, const struct adit_advisory *want)
{
	return e->start <= want->end && e->end >= want->start;
}

/* One end before the other begins, and nothing between. */
static bool touches(const entry *e, const struct adit_advisory *want)
{
	return (want->start > 0 && e->end == want->start - 1) ||
	       (e->start > 0 && want->end == e->start - 1);
}

static entry *conflict(const scene *s, const struct adit_advisory *want)
{
	if (want->type == ADIT_ADVISORY_NONE)
		return NULL;
	for (entry *e = NULL; (e = next_entry(s, e));)
		if (e->ino == want->ino && e->kind == want->kind &&
		    (e->type == ADIT_ADVISORY_WRITE || want->type == ADIT_ADVISORY_WRITE) &&
		    overlaps(e, want) && !adit__lock_is_owners(e, &want->owner))
			return e;
	return NULL;
}

/* Does a participant (+ 1; 0: any) have this description? */
static bool is_referred(const scene *s, uint64_t ino, uint64_t number, uint32_t participant)
{
	for (entry *e = NULL; (e = next_entry(s, e));)
		if (e->ino == ino && e->kind == ADIT_ADVISORY_REF && e->number == number &&
		    adit__lock_state(e) == LOCK_VALID &&
		    (participant == 0 || e->participant == participant))
			return true;
	return false;
}

/* A participant (+ 1) that has it. */
static uint32_t holder_of(const scene *s, const entry *lock)
{
	if (lock->participant != 0)
		return lock->participant;
	for (entry *e = NULL; (e = next_entry(s, e));)
		if (e->ino == lock->ino && e->kind == ADIT_ADVISORY_REF &&
		    e->number == lock->number)
			return e->participant;
	return 0;
}

/* ---- changing ------------------------------------------------------------------------------------- */

/* What a request makes of its owner's locks. */
struct plan {
	const struct adit_advisory *want;
	uint64_t start, end;  /* of the lock, with those of its type that it touches */
	uint64_t left, right; /* first and last byte of what is left of others on both sides */
	uint32_t left_type, right_type; /* NONE: nothing */
	unsigned old;			/* entries that go */
	bool owns;			/* anything of this inode */
	bool same;			/* it is so already */
	bool refer;			/* the description is new in this process */
};

static bool same_type(const struct plan *p, const entry *e)
{
	return e->type == p->want->type;
}

/* Goes, if it is the owner's. */
static bool is_replaced(const struct plan *p, const entry *e)
{
	if (p->want->kind == ADIT_ADVISORY_FLOCK)
		return true;
	return overlaps(e, p->want) || (same_type(p, e) && touches(e, p->want));
}

static void plan_one(struct plan *p, const entry *e)
{
	const struct adit_advisory *want = p->want;

	p->owns = true;
	if (!is_replaced(p, e))
		return;
	p->old++;
	if (same_type(p, e)) {
		p->same |= e->start <= want->start && e->end >= want->end;
		p->start = min_u64(p->start, e->start);
		p->end = max_u64(p->end, e->end);
		return;
	}
	if (e->start < want->start) {
		p->left = e->start;
		p->left_type = e->type;
	}
	if (e->end > want->end) {
		p->right = e->end;
		p->right_type = e->type;
	}
}

static void make_plan(const scene *s, const struct adit_advisory *want, struct plan *p)
{
	*p = (struct plan){.want = want, .start = want->start, .end = want->end};
	for (entry *e = NULL; (e = next_entry(s, e));)
		if (is_of(e, want->ino, want->kind, &want->owner))
			plan_one(p, e);
	p->refer = want->owner.participant == 0 && want->type != ADIT_ADVISORY_NONE &&
		   !is_referred(s, want->ino, want->owner.number, s->op.fs->me + 1);
}

static unsigned needed(const struct plan *p)
{
	return (p->want->type != ADIT_ADVISORY_NONE) + (p->left_type != ADIT_ADVISORY_NONE) +
	       (p->right_type != ADIT_ADVISORY_NONE) + p->refer;
}

/* An owner's locks are together, by position; a new owner's come last. */
static uint64_t *place_of(scene *s, const entry *new)
{
	struct adit_lock_owner owner = {new->number, new->participant};
	uint64_t *at = &s->bucket->first, *place = NULL;

	for (; *at != 0; at = &adit__lock_entry(s->op.fs, *at)->next) {
		const entry *e = adit__lock_entry(s->op.fs, *at);

		if (!is_of(e, new->ino, new->kind, &owner))
			continue;
		if (e->start > new->start)
			return at;
		place = &adit__lock_entry(s->op.fs, *at)->next;
	}
	return place ? place : at;
}

static entry *take_free(scene *s)
{
	entry *e = adit__lock_entry(s->op.fs, s->bucket->free);

	s->bucket->free = e->next;
	s->bucket->nfree--;
	return e;
}

/* Linked at once: it counts when the phase says so, not before. */
static void add_new(scene *s, const struct adit_advisory *l, uint32_t type, uint64_t start,
		    uint64_t end)
{
	entry *e = take_free(s);
	uint64_t *place;

	__atomic_store_n(&e->ino, l->ino, __ATOMIC_RELAXED);
	e->start = start;
	e->end = end;
	e->number = l->owner.number;
	__atomic_store_n(&e->participant, l->owner.participant, __ATOMIC_RELAXED);
	e->kind = l->kind;
	e->type = type;
	e->pid = l->pid;
	adit__lock_set_state(e, LOCK_NEW);
	place = place_of(s, e);
	e->next = *place;
	*place = adit__offset_of(s->op.fs, e);
}

static void add_ref(scene *s, uint64_t ino, uint64_t number, uint32_t participant)
{
	struct adit_advisory ref = {
		.ino = ino, .owner = {number, participant}, .kind = ADIT_ADVISORY_REF};

	add_new(s, &ref, ADIT_ADVISORY_NONE, 0, 0);
}

static void begin_change(scene *s)
{
	adit__lock_set_phase(s->bucket, PHASE_CHANGING);
}

/* From the first store on it has happened. */
static void commit(scene *s)
{
	struct adit_fs *fs = s->op.fs;
	uint64_t *at = &s->bucket->first;

	adit__lock_set_phase(s->bucket, PHASE_COMMITTED);
	while (*at != 0) {
		entry *e = adit__lock_entry(fs, *at);

		if (adit__lock_state(e) == LOCK_OLD) {
			*at = e->next;
			adit__lock_set_state(e, LOCK_FREE);
			adit__lock_push_free(fs, &s->bucket->free, e);
			s->bucket->nfree++;
			continue;
		}
		if (adit__lock_state(e) == LOCK_NEW)
			adit__lock_set_state(e, LOCK_VALID);
		at = &e->next;
	}
	adit__lock_set_phase(s->bucket, PHASE_IDLE);
}

static void change(scene *s, const struct plan *p)
{
	const struct adit_advisory *want = p->want;

	begin_change(s);
	if (p->old > 0)
		for (entry *e = NULL; (e = next_entry(s, e));)
			if (is_of(e, want->ino, want->kind, &want->owner) && is_replaced(p, e))
				adit__lock_set_state(e, LOCK_OLD);
	if (p->left_type != ADIT_ADVISORY_NONE)
		add_new(s, want, p->left_type, p->left, want->start - 1);
	if (p->right_type != ADIT_ADVISORY_NONE)
		add_new(s, want, p->right_type, want->end + 1, p->right);
	if (want->type != ADIT_ADVISORY_NONE)
		add_new(s, want, want->type, p->start, p->end);
	if (p->refer)
		add_ref(s, want->ino, want->owner.number, s->op.fs->me + 1);
	commit(s);
	if (p->old > 0)
		adit__waiters_wake(s, want->ino, want->kind, want->start, want->end);
}

/* ---- requests --------------------------------------------------------------------------------------- */

/* The lock that flock converts goes first, whatever comes of the rest. */
static void give_up_old(scene *s, struct plan *p)
{
	struct adit_advisory none = *p->want;
	struct plan unlock = *p;

	none.type = ADIT_ADVISORY_NONE;
	unlock.want = &none;
	unlock.refer = false;
	change(s, &unlock);
	p->old = 0;
	p->owns = false;
}

static bool can_deadlock(const struct adit_advisory *want, const struct adit_lock_owner *blocker)
{
	return want->kind == ADIT_ADVISORY_RANGE && want->owner.participant != 0 &&
	       blocker->participant != 0;
}

static int must_wait(scene *s, const struct adit_advisory *want, struct adit_advisory_wait *wait,
		     const entry *other)
{
	if (!wait)
		return -EAGAIN;
	adit__waiter_register(s, want, wait);
	if (other) {
		struct adit_lock_owner blocker = {other->number, other->participant};

		if (can_deadlock(want, &blocker) && adit__waiter_blocked(s, want, wait, &blocker))
			return -EDEADLK;
	}
	return -EINPROGRESS;
}

/* What it needs, or -EAGAIN: the bucket's lock was given up for that, look again. */
static int prepare(scene *s, const struct plan *p, struct adit_advisory_wait *wait, bool waits)
{
	int err = 0;

	if (needed(p) > s->bucket->nfree && !(waits && p->want->kind == ADIT_ADVISORY_RANGE)) {
		err = refill(s, p->want->ino, needed(p));
		return err ? err : -EAGAIN;
	}
	if (waits && wait && wait->entry == 0) {
		uint64_t ino = p->want->ino;

		unlock_bucket(s);
		err = adit__waiter_claim(s->op.fs, wait);
		lock_bucket(s, ino);
		return err ? err : -EAGAIN;
	}
	return 0;
}

static int set_locked(scene *s, const struct adit_advisory *want, struct adit_advisory_wait *wait,
		      uint32_t *holder)
{
	struct plan p;
	entry *other;
	bool waits;
	int err;

	do {
		make_plan(s, want, &p);
		if (p.same && want->type != ADIT_ADVISORY_NONE)
			return 0;
		other = conflict(s, want);
		*holder = other ? holder_of(s, other) : 0;
		waits = other || (wait && !p.owns && want->type != ADIT_ADVISORY_NONE &&
				  adit__waiter_first(s, want, wait));
		err = prepare(s, &p, wait, waits);
	} while (err == -EAGAIN);
	if (err)
		return err;
	if (want->kind == ADIT_ADVISORY_FLOCK && p.old > 0 && want->type != ADIT_ADVISORY_NONE)
		give_up_old(s, &p);
	if (waits)
		return must_wait(s, want, wait, other);
	if (p.old > 0 || want->type != ADIT_ADVISORY_NONE)
		change(s, &p);
	return 0;
}

int adit__advisory_set(struct adit_fs *fs, const struct adit_advisory *want,
		       struct adit_advisory_wait *wait, uint32_t *holder)
{
	bool locks = want->type != ADIT_ADVISORY_NONE;
	scene s;
	int err;

	if (!begin(&s, fs, want->ino, locks))
		return locks ? -ENOLCK : 0;
	err = set_locked(&s, want, wait, holder);
	if (err != -EINPROGRESS && wait)
		adit__waiter_leave(&s, wait);
	give_back_surplus(&s);
	adit__op_end_read(&s.op);
	return err;
}

void adit__advisory_cancel(struct adit_fs *fs, const struct adit_advisory *want,
			   struct adit_advisory_wait *wait)
{
	scene s;

	if (wait->entry == 0 || !begin(&s, fs, want->ino, false))
		return;
	adit__waiter_leave(&s, wait);
	adit__op_end_read(&s.op);
}

void adit__advisory_test(struct adit_fs *fs, const struct adit_advisory *want,
			 struct adit_advisory *answer)
{
	const entry *e = NULL;
	scene s;

	answer->type = ADIT_ADVISORY_NONE;
	if (!begin(&s, fs, want->ino, false))
		return;
	if (want->type != ADIT_ADVISORY_NONE)
		e = conflict(&s, want);
	else
		while ((e = next_entry(&s, e)))
			if (is_of(e, want->ino, want->kind, &want->owner) && overlaps(e, want))
				break;
	if (e)
		*answer = (struct adit_advisory){.ino = e->ino,
						 .start = e->start,
						 .end = e->end,
						 .owner = {e->number, e->participant},
						 .kind = e->kind,
						 .type = e->type,
						 .pid = e->pid,
						 .holder = holder_of(&s, e)};
	adit__op_end_read(&s.op);
}

/* ---- letting go ---------------------------------------------------------------------------------------- */

typedef bool (*goes_fn)(const scene *, const entry *, const void *arg);

static unsigned drop_each(scene *s, goes_fn fn, const void *arg)
{
	unsigned old = 0;

	for (entry *e = NULL; (e = next_entry(s, e));)
		if (fn(s, e, arg)) {
			adit__lock_set_state(e, LOCK_OLD);
			old++;
		}
	return old;
}

/* The last answer: an owner's locks are together. */
struct lonely {
	uint64_t number;
	bool is;
};

static bool is_lonely(const scene *s, const entry *e, const void *arg)
{
	struct lonely *last = *(struct lonely *const *)arg;

	if (e->participant != 0)
		return false;
	if (last->number != e->number)
		*last = (struct lonely){e->number, !is_referred(s, e->ino, e->number, 0)};
	return last->is;
}

/* What fn says goes, and then the locks of descriptions that nobody has any more. */
static void drop(scene *s, goes_fn fn, const void *arg)
{
	struct lonely last = {0}, *lonely = &last;

	begin_change(s);
	if (drop_each(s, fn, arg) + drop_each(s, is_lonely, &lonely) > 0)
		commit(s);
	else
		adit__lock_set_phase(s->bucket, PHASE_IDLE);
}

struct closing {
	uint64_t ino;
	struct adit_lock_owner owner;
	uint32_t me;
};

static bool is_closed(const scene *s, const entry *e, const void *arg)
{
	const struct closing *c = arg;

	(void)s;
	if (e->ino != c->ino || e->number != c->owner.number)
		return false;
	if (c->owner.participant == 0)
		return e->kind == ADIT_ADVISORY_REF && e->participant == c->me;
	return e->kind != ADIT_ADVISORY_REF && e->participant == c->owner.participant;
}

void adit__advisory_close(struct adit_fs *fs, uint64_t ino, const struct adit_lock_owner *owner)
{
	struct closing c = {ino, *owner, fs->me + 1};
	scene s;

	if (!begin(&s, fs, ino, false))
		return;
	drop(&s, is_closed, &c);
	adit__waiters_wake(&s, ino, ADIT_ADVISORY_RANGE, 0, ADIT_ADVISORY_END);
	adit__waiters_wake(&s, ino, ADIT_ADVISORY_FLOCK, 0, ADIT_ADVISORY_END);
	give_back_surplus(&s);
	adit__op_end_read(&s.op);
}

static bool is_participants(const scene *s, const entry *e, const void *arg)
{
	(void)s;
	return e->participant == *(const uint32_t *)arg;
}

void adit__advisory_leave(struct adit_fs *fs)
{
	struct adit_lock_root *root = adit__lock_root(fs);
	uint32_t me = fs->me + 1;
	scene s;

	if (!root)
		return;
	adit__waiters_drop(fs, me);
	for (uint32_t i = 0; i < LOCK_BUCKETS; i++) {
		adit__op_begin(&s.op, fs);
		s.root = root;
		s.bucket = &root->bucket[i];
		adit__op_lock(&s.op, &s.bucket->lock, true);
		drop(&s, is_participants, &me);
		adit__waiters_wake_all(&s);
		adit__op_end_read(&s.op);
	}
}

/* Does it have anything? */
static bool has_entries(const struct adit_fs *fs, uint32_t participant)
{
	for (struct adit_scratch *b = NULL; (b = adit__scratch_next(fs, b));)
		for (size_t i = 0; adit__scratch_kind(b) == ADIT_SCRATCH_LOCKS && i < LOCK_ENTRIES;
		     i++) {
			const struct adit_lock_entry *e = &adit__lock_entries(b)[i];

			if (__atomic_load_n(&e->participant, __ATOMIC_RELAXED) == participant &&
			    adit__lock_state(e) != LOCK_FREE)
				return true;
		}
	return false;
}

static bool try_drop(scene *s, uint32_t participant)
{
	for (uint32_t i = 0; i < LOCK_BUCKETS; i++) {
		s->bucket = &s->root->bucket[i];
		if (!adit__op_trylock(&s->op, &s->bucket->lock, true) ||
		    s->bucket->phase != PHASE_IDLE)
			return false;
		drop(s, is_participants, &participant);
		adit__waiters_wake_all(s);
		unlock_bucket(s);
	}
	return true;
}

/* The caller may be in an operation that is parked: this is another one. */
bool adit__advisory_take_over(struct adit_fs *fs, uint32_t participant)
{
	struct adit_op *outer = *fs->env->current_op();
	scene s = {.root = adit__lock_root(fs)};
	bool done;

	if (!s.root)
		return true;
	adit__waiters_drop(fs, participant + 1);
	if (!has_entries(fs, participant + 1))
		return true;
	adit__op_begin(&s.op, fs);
	done = try_drop(&s, participant + 1);
	adit__op_end_read(&s.op);
	*fs->env->current_op() = outer;
	return done;
}

/* ---- descriptions ------------------------------------------------------------------------------------------ */

int adit__advisory_description(struct adit_fs *fs, uint64_t *number)
{
	scene s;

	if (!begin(&s, fs, 0, true))
		return -ENOLCK;
	*number = __atomic_add_fetch(&s.root->description, 1, __ATOMIC_RELAXED);
	adit__op_end_read(&s.op);
	return 0;
}

int adit__advisory_share(struct adit_fs *fs, uint64_t ino, uint64_t number, uint32_t participant)
{
	scene s;
	int err = 0;

	if (!begin(&s, fs, ino, true))
		return -ENOLCK;
	if (s.bucket->nfree == 0)
		err = refill(&s, ino, 1);
	if (!err && !is_referred(&s, ino, number, participant)) {
		begin_change(&s);
		add_ref(&s, ino, number, participant);
		commit(&s);
	}
	adit__op_end_read(&s.op);
	return err;
}

void adit__advisory_count(const struct adit_fs *fs, uint64_t *locks, uint64_t *waiting)
{
	*locks = 0;
	*waiting = adit__waiters_count(fs);
	for (struct adit_scratch *b = NULL; (b = adit__scratch_next(fs, b));)
		for (size_t i = 0; adit__scratch_kind(b) == ADIT_SCRATCH_LOCKS && i < LOCK_ENTRIES;
		     i++)
			*locks += adit__lock_state(&adit__lock_entries(b)[i]) == LOCK_VALID &&
				  adit__lock_entries(b)[i].kind != ADIT_ADVISORY_REF;
}
