/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Advisory locks of participants that die (core/advisory.h): after every instruction of every kind of change, and the
 * repairer after every so many of its own.  A description that a living participant shares has the locks it had before
 * the change or those after it; the dead have none; the living have all theirs; and every entry is on a list.
 */
#include "deaths.h"

#include <signal.h>

#include "core/advisory_int.h"

#include "../multi/trap.h"

#define INO   77u
#define OTHER 78u

struct setting {
	uint8_t *image;
	struct pool p[3];
	uint64_t shared; /* a description of participants 1 and 2 */
};

static struct setting setting;

static void begin(struct setting *s)
{
	memset(dead, 0, sizeof dead);
	lane_hint = 0;
	s->image = small_image();
	open_on(&s->p[0], s->image, SMALL, "open");
	join(&s->p[1], s->image, 1);
	join(&s->p[2], s->image, 2);
}

static void end(struct setting *s)
{
	for (unsigned i = 0; i < 3; i++)
		adit__core_abandon(s->p[i].fs);
	munmap(s->image, SMALL);
}

static int set_wait(struct pool *p, uint64_t ino, struct adit_lock_owner owner, uint32_t kind,
		    uint32_t type, uint64_t start, uint64_t end, struct adit_advisory_wait *wait)
{
	struct adit_advisory want = {.ino = ino,
				     .start = start,
				     .end = end,
				     .owner = owner,
				     .kind = kind,
				     .type = type,
				     .pid = (int32_t)p->fs->me};
	uint32_t holder;

	return adit__advisory_set(p->fs, &want, wait, &holder);
}

static int set(struct pool *p, uint64_t ino, struct adit_lock_owner owner, uint32_t type,
	       uint64_t start, uint64_t end)
{
	return set_wait(p, ino, owner, ADIT_ADVISORY_RANGE, type, start, end, NULL);
}

static struct adit_lock_owner process(const struct pool *p)
{
	return adit__process_owner(p->fs, 0);
}

/* ---- what there is --------------------------------------------------------------------------------- */

struct lock {
	uint64_t start, end;
	uint32_t kind, type;
};
struct locks {
	unsigned n;
	struct lock lock[40];
};

static int by_place(const void *a, const void *b)
{
	const struct lock *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

/* Of this owner, sorted. */
static struct locks locks_of(struct pool *p, uint64_t ino, struct adit_lock_owner o)
{
	struct locks l = {0};

	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(p->fs, s));)
		for (size_t i = 0; adit__scratch_kind(s) == ADIT_SCRATCH_LOCKS && i < LOCK_ENTRIES;
		     i++) {
			const struct adit_lock_entry *e = &adit__lock_entries(s)[i];

			if (e->state == LOCK_VALID && e->ino == ino &&
			    e->kind != ADIT_ADVISORY_REF && adit__lock_is_owners(e, &o)) {
				assert_true(l.n < 40);
				l.lock[l.n++] = (struct lock){e->start, e->end, e->kind, e->type};
			}
		}
	qsort(l.lock, l.n, sizeof l.lock[0], by_place);
	return l;
}

static bool are_same(const struct locks *a, const struct locks *b)
{
	return a->n == b->n && memcmp(a->lock, b->lock, a->n * sizeof a->lock[0]) == 0;
}

static uint64_t count_list(struct pool *p, uint64_t first, uint32_t state)
{
	uint64_t n = 0;

	for (const struct adit_lock_entry *e = adit__lock_entry(p->fs, first); e;
	     e = adit__lock_entry(p->fs, e->next)) {
		assert_int_equal(e->state, state);
		assert_true(n++ < 10000);
	}
	return n;
}

/* Every entry is on one list; nobody is in a change, nothing is locked. */
static void check_table(struct pool *p)
{
	struct adit_lock_root *root = adit__lock_root(p->fs);
	uint64_t listed, blocks = 0;

	if (!root)
		return;
	listed = count_list(p, root->free, LOCK_FREE);
	for (unsigned i = 0; i < LOCK_BUCKETS; i++) {
		const struct adit_lock_bucket *b = &root->bucket[i];
		uint64_t n = count_list(p, b->free, LOCK_FREE);

		assert_int_equal(b->phase, PHASE_IDLE);
		assert_int_equal((uint32_t)b->lock.word, 0);
		assert_int_equal(n, b->nfree);
		listed += n + count_list(p, b->first, LOCK_VALID);
	}
	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(p->fs, s));)
		blocks += adit__scratch_kind(s) == ADIT_SCRATCH_LOCKS;
	assert_int_equal(listed, blocks * LOCK_ENTRIES);
	assert_int_equal(blocks, root->blocks);
}

static void check_none(struct pool *p)
{
	uint64_t locks, waiting;

	adit__advisory_count(p->fs, &locks, &waiting);
	assert_int_equal(locks, 0);
	assert_int_equal(waiting, 0);
	check_table(p);
}

/* ---- changes ------------------------------------------------------------------------------------------ */

static struct adit_lock_owner shared_owner(void)
{
	return adit__description_owner(setting.shared);
}

static void on_shared(struct pool *p, uint32_t kind, uint32_t type, uint64_t start, uint64_t end)
{
	assert_int_equal(set_wait(p, INO, shared_owner(), kind, type, start, end, NULL), 0);
}

/* What the description has before each change. */
static void prepare(struct pool *p)
{
	on_shared(p, ADIT_ADVISORY_RANGE, ADIT_ADVISORY_WRITE, 0, 99);
	on_shared(p, ADIT_ADVISORY_RANGE, ADIT_ADVISORY_READ, 200, 209);
	on_shared(p, ADIT_ADVISORY_RANGE, ADIT_ADVISORY_READ, 220, 229);
	on_shared(p, ADIT_ADVISORY_RANGE, ADIT_ADVISORY_WRITE, 210, 214);
	on_shared(p, ADIT_ADVISORY_FLOCK, ADIT_ADVISORY_READ, 0, ADIT_ADVISORY_END);
}

static void change_add(struct pool *p)
{
	on_shared(p, ADIT_ADVISORY_RANGE, ADIT_ADVISORY_WRITE, 500, 510);
}
static void change_split(struct pool *p)
{
	on_shared(p, ADIT_ADVISORY_RANGE, ADIT_ADVISORY_NONE, 40, 60);
}
static void change_downgrade(struct pool *p)
{
	on_shared(p, ADIT_ADVISORY_RANGE, ADIT_ADVISORY_READ, 10, 20);
}
static void change_join(struct pool *p)
{
	on_shared(p, ADIT_ADVISORY_RANGE, ADIT_ADVISORY_READ, 210, 219);
}
static void change_cover(struct pool *p)
{
	on_shared(p, ADIT_ADVISORY_RANGE, ADIT_ADVISORY_WRITE, 0, 3999);
}
static void change_unlock_all(struct pool *p)
{
	on_shared(p, ADIT_ADVISORY_RANGE, ADIT_ADVISORY_NONE, 0, ADIT_ADVISORY_END);
}
static void change_unflock(struct pool *p)
{
	on_shared(p, ADIT_ADVISORY_FLOCK, ADIT_ADVISORY_NONE, 0, ADIT_ADVISORY_END);
}
static void change_close(struct pool *p)
{
	struct adit_lock_owner o = shared_owner();

	adit__advisory_close(p->fs, INO, &o);
}
static void change_own(struct pool *p)
{
	for (uint64_t i = 0; i < 9; i++)
		assert_int_equal(
			set(p, INO, process(p), ADIT_ADVISORY_READ, 1000 + 3 * i, 1000 + 3 * i), 0);
}
static void change_wait(struct pool *p)
{
	struct adit_advisory_wait wait = {0};

	assert_int_equal(set_wait(p, INO, process(p), ADIT_ADVISORY_RANGE, ADIT_ADVISORY_WRITE,
				  4000, 4001, &wait),
			 -EINPROGRESS);
}

static const struct change {
	const char *name;
	void (*run)(struct pool *);
} changes[] = {
	{"add", change_add},	     {"split", change_split}, {"downgrade", change_downgrade},
	{"join", change_join},	     {"cover", change_cover}, {"unlock all", change_unlock_all},
	{"unflock", change_unflock}, {"close", change_close}, {"its own", change_own},
	{"wait", change_wait},
};
#define CHANGES (sizeof changes / sizeof changes[0])

/* ---- after every instruction ----------------------------------------------------------------------------- */

/*
 * At each instruction all that is shared is copied to a second image, whose participants find one dead: what
 * others would find if it had been killed there.
 */
static sigjmp_buf out;
static volatile uint64_t done, last;

static void on_trap(int signal)
{
	(void)signal;
	if (++done == last)
		siglongjmp(out, 1);
}

/* Up to its n-th instruction: false when it was over before. */
static bool dies_after(struct pool *p, void (*run)(struct pool *), uint64_t n)
{
	volatile bool died = true;

	done = 0;
	last = n;
	signal(SIGTRAP, on_trap);
	if (sigsetjmp(out, 1) == 0) {
		TRAP(0x100);
		run(p);
		TRAP(0);
		died = false;
	}
	adit__current_op = NULL;
	return died;
}

/* Sanitizers need many instructions for one. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STRIDE 41u
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
	__has_feature(undefined_behavior_sanitizer)
#define STRIDE 41u
#endif
#endif
#ifndef STRIDE
#define STRIDE 1u
#endif

static void repair_by(struct setting *s, unsigned who)
{
	uint32_t slots[256];

	assert_true(adit__is_still(s->p[who].fs, dead));
	finish_repair(&s->p[who], slots, adit__repair(s->p[who].fs, dead, slots));
}

/* Participants 0 and 2 have locks of their own, too. */
static void set_out(struct setting *s)
{
	assert_int_equal(adit__advisory_description(s->p[1].fs, &s->shared), 0);
	assert_int_equal(adit__advisory_share(s->p[1].fs, INO, s->shared, 2), 0);
	assert_int_equal(adit__advisory_share(s->p[1].fs, INO, s->shared, 3), 0);
	prepare(&s->p[1]);
	assert_int_equal(set(&s->p[1], OTHER, process(&s->p[1]), ADIT_ADVISORY_READ, 1, 2), 0);
	assert_int_equal(set(&s->p[0], INO, process(&s->p[0]), ADIT_ADVISORY_WRITE, 4000, 4000), 0);
	assert_int_equal(set(&s->p[2], INO, process(&s->p[2]), ADIT_ADVISORY_READ, 4001, 4001), 0);
}

static void clear(struct setting *s)
{
	struct adit_lock_owner o = shared_owner();

	adit__advisory_close(s->p[2].fs, INO, &o);
	adit__advisory_leave(s->p[0].fs);
	adit__advisory_leave(s->p[2].fs);
	check_none(&s->p[0]);
}

static void rejoin(struct setting *s, unsigned who)
{
	adit__core_abandon(s->p[who].fs);
	join(&s->p[who], s->image, who);
	dead[who] = 0;
}

/* Participant 1 is dead, 0 has repaired. */
static void check_living(struct setting *s, const struct locks *before, const struct locks *after)
{
	struct locks now = locks_of(&s->p[0], INO, shared_owner());

	check_table(&s->p[0]);
	assert_true(are_same(&now, before) || are_same(&now, after));
	assert_int_equal(locks_of(&s->p[0], INO, process(&s->p[1])).n, 0);
	assert_int_equal(locks_of(&s->p[0], OTHER, process(&s->p[1])).n, 0);
	assert_int_equal(locks_of(&s->p[0], INO, process(&s->p[0])).n, 1);
	assert_int_equal(locks_of(&s->p[0], INO, process(&s->p[2])).n, 1);
	/* Nothing is in the way. */
	assert_int_equal(set(&s->p[0], OTHER, process(&s->p[0]), ADIT_ADVISORY_WRITE, 0, 9), 0);
	assert_int_equal(set(&s->p[2], INO, process(&s->p[2]), ADIT_ADVISORY_WRITE, 4000, 4001),
			 -EAGAIN);
	assert_int_equal(set(&s->p[2], INO, process(&s->p[2]), ADIT_ADVISORY_NONE, 0, 4000), 0);
}

static void what_it_does(struct setting *s, const struct change *c, struct locks *before,
			 struct locks *after)
{
	set_out(s);
	*before = locks_of(&s->p[1], INO, shared_owner());
	c->run(&s->p[1]);
	*after = locks_of(&s->p[1], INO, shared_owner());
	dead[1] = 1;
	repair_by(s, 0);
	check_living(s, after, after);
	clear(s);
	rejoin(s, 1);
}

static struct setting second;
static struct locks before, after;
static uint64_t deaths, stride;
static void (*look)(struct setting *);

/* Metadata, with what is volatile in it, and scratch blocks. */
static void copy_shared(void)
{
	const struct adit_fs *fs = setting.p[1].fs;

	memcpy(second.image, setting.image, fs->first_block * ADIT_BLOCK);
	for (struct adit_scratch *b = NULL; (b = adit__scratch_next(fs, b));)
		memcpy(second.image + adit__offset_of(fs, b), b, ADIT_BLOCK);
}

static void on_step(int signal)
{
	struct adit_op *op = adit__current_op;
	uint8_t were_dead[sizeof dead];

	(void)signal;
	if (++done % stride != 0)
		return;
	memcpy(were_dead, dead, sizeof dead);
	adit__current_op = NULL;
	copy_shared();
	look(&second);
	memcpy(dead, were_dead, sizeof dead);
	deaths++;
	adit__current_op = op;
}

static void step_through(struct pool *p, void (*run)(struct pool *), void (*then)(struct setting *),
			 uint64_t every)
{
	look = then;
	stride = every;
	done = 0;
	signal(SIGTRAP, on_step);
	TRAP(0x100);
	run(p);
	TRAP(0);
	assert_in_range(done, 50, 1000000);
}

/* The second image has participants, too. */
static void begin_two(void)
{
	begin(&setting);
	begin(&second);
}

static void end_two(void)
{
	end(&setting);
	end(&second);
}

static void one_died(struct setting *s)
{
	dead[1] = 1;
	repair_by(s, 0);
	check_living(s, &before, &after);
}

static void test_every_instruction(void **state)
{
	(void)state;
	if (!CAN_TRAP)
		skip();
	begin_two();
	deaths = 0;
	for (unsigned i = 0; i < CHANGES; i++) {
		struct setting *s = &setting;

		what_it_does(s, &changes[i], &before, &after);
		set_out(s);
		second.shared = s->shared;
		step_through(&s->p[1], changes[i].run, one_died, STRIDE);
		dead[1] = 1;
		repair_by(s, 0);
		check_living(s, &after, &after);
		clear(s);
		rejoin(s, 1);
	}
	print_message("%llu deaths\n", (unsigned long long)deaths);
	end_two();
}

static void act_anew(struct pool *p)
{
	dead[1] = 1;
	adit__advisory_anew(p->fs, dead);
}

static void both_died(struct setting *s)
{
	struct locks now;

	dead[0] = dead[1] = 1;
	repair_by(s, 2);
	check_table(&s->p[2]);
	now = locks_of(&s->p[2], INO, shared_owner());
	assert_true(are_same(&now, &before) || are_same(&now, &after));
	assert_int_equal(locks_of(&s->p[2], INO, process(&s->p[0])).n, 0);
	assert_int_equal(locks_of(&s->p[2], INO, process(&s->p[1])).n, 0);
	assert_int_equal(locks_of(&s->p[2], INO, process(&s->p[2])).n, 1);
}

/* The repairer dies, and a third one begins again.  The first had died in the middle of a change, committed or not. */
static void test_the_repairer_dies(void **state)
{
	struct setting *s = &setting;

	(void)state;
	if (!CAN_TRAP)
		skip();
	begin_two();
	deaths = 0;
	what_it_does(s, &changes[3], &before, &after);
	for (uint64_t first = 100; first < 1000; first += 43) {
		set_out(s);
		second.shared = s->shared;
		(void)dies_after(&s->p[1], changes[3].run, first);
		step_through(&s->p[0], act_anew, both_died, 7 * STRIDE);
		dead[0] = dead[1] = 1;
		repair_by(s, 2);
		rejoin(s, 0);
		rejoin(s, 1);
		clear(s);
	}
	print_message("%llu deaths of repairers\n", (unsigned long long)deaths);
	end_two();
}

/* ---- owners ------------------------------------------------------------------------------------------------- */

/* A description's locks stay as long as somebody has it; clients of one process are owners of their own. */
static void test_owners(void **state)
{
	struct setting *s = &setting;
	struct adit_lock_owner client[2], o;
	struct adit_advisory answer, ask;

	(void)state;
	begin(s);
	set_out(s);
	o = shared_owner();
	adit__advisory_close(s->p[1].fs, INO, &o);
	assert_int_equal(locks_of(&s->p[0], INO, o).n, 5);
	dead[1] = 1;
	repair_by(s, 0);
	assert_int_equal(locks_of(&s->p[0], INO, o).n, 5);
	dead[1] = 0;
	dead[2] = 1;
	repair_by(s, 0);
	assert_int_equal(locks_of(&s->p[0], INO, o).n, 0);
	dead[2] = 0;
	for (unsigned i = 0; i < 2; i++)
		client[i] = adit__process_owner(s->p[0].fs, 1000 + i);
	assert_int_equal(set(&s->p[0], OTHER, client[0], ADIT_ADVISORY_WRITE, 0, 9), 0);
	assert_int_equal(set(&s->p[0], OTHER, client[1], ADIT_ADVISORY_READ, 9, 9), -EAGAIN);
	ask = (struct adit_advisory){.ino = OTHER,
				     .start = 5,
				     .end = 50,
				     .owner = client[1],
				     .kind = ADIT_ADVISORY_RANGE,
				     .type = ADIT_ADVISORY_READ};
	adit__advisory_test(s->p[2].fs, &ask, &answer);
	assert_int_equal(answer.type, ADIT_ADVISORY_WRITE);
	assert_int_equal(answer.owner.number, 1000);
	assert_int_equal(answer.holder, 1);
	adit__advisory_close(s->p[0].fs, OTHER, &client[0]);
	assert_int_equal(set(&s->p[0], OTHER, client[1], ADIT_ADVISORY_READ, 9, 9), 0);
	adit__advisory_leave(s->p[0].fs);
	check_none(&s->p[0]);
	end(s);
}

/* Whoever died asleep is taken over while others work on, unless one of these has a bucket's lock just now. */
static void test_taken_over(void **state)
{
	struct setting *s = &setting;
	struct adit_lock_bucket *b;
	struct adit_op op;

	(void)state;
	begin(s);
	set_out(s);
	change_wait(&s->p[1]);
	b = adit__lock_bucket(adit__lock_root(s->p[2].fs), INO);
	adit__op_begin(&op, s->p[2].fs);
	adit__op_lock(&op, &b->lock, true);
	assert_false(adit__advisory_take_over(s->p[0].fs, 1));
	adit__op_end_read(&op);
	assert_true(adit__advisory_take_over(s->p[0].fs, 1));
	assert_int_equal(adit__waiters_count(s->p[0].fs), 0);
	before = locks_of(&s->p[0], INO, shared_owner());
	assert_int_equal(before.n, 5);
	check_living(s, &before, &before);
	assert_true(adit__advisory_take_over(s->p[0].fs, 2));
	assert_int_equal(locks_of(&s->p[0], INO, shared_owner()).n, 0);
	assert_int_equal(locks_of(&s->p[0], INO, process(&s->p[2])).n, 0);
	assert_int_equal(locks_of(&s->p[0], INO, process(&s->p[0])).n, 1);
	clear(s);
	end(s);
}

static void forget(struct pool *p, uint64_t blocks)
{
	__atomic_store_n(&p->fs->vol->free_blocks, blocks, __ATOMIC_RELAXED);
}

/* Not a block: -ENOLCK, wherever it is found, and nothing is there that was not before. */
static void test_full_pool(void **state)
{
	struct setting *s = &setting;
	struct adit_advisory_wait wait = {0};
	uint64_t had, number, n = 0;
	struct pool *p;

	(void)state;
	begin(s);
	p = &s->p[0];
	had = p->fs->vol->free_blocks;
	forget(p, 0);
	assert_int_equal(set(p, INO, process(p), ADIT_ADVISORY_WRITE, 0, 9), -ENOLCK);
	assert_int_equal(set(p, INO, process(p), ADIT_ADVISORY_NONE, 0, 9), 0);
	assert_int_equal(adit__advisory_description(p->fs, &number), -ENOLCK);
	assert_int_equal(adit__advisory_share(p->fs, INO, 5, 1), -ENOLCK);
	/* The root only. */
	forget(p, 1);
	assert_int_equal(set(p, INO, process(p), ADIT_ADVISORY_WRITE, 0, 9), -ENOLCK);
	check_none(p);
	assert_int_equal(set(p, INO, process(p), ADIT_ADVISORY_NONE, 0, 9), 0);
	assert_int_equal(adit__advisory_share(p->fs, INO, 5, 1), -ENOLCK);
	/* One block of entries, none for who waits. */
	forget(p, 1);
	while (set(p, INO, process(p), ADIT_ADVISORY_WRITE, 4 * n, 4 * n + 1) == 0)
		n++;
	assert_int_equal(n, LOCK_ENTRIES);
	assert_int_equal(set(p, INO, process(p), ADIT_ADVISORY_READ, 0, 0), -ENOLCK);
	assert_int_equal(locks_of(p, INO, adit__process_owner(p->fs, 1)).n, 0);
	assert_int_equal(set_wait(&s->p[1], INO, process(&s->p[1]), ADIT_ADVISORY_RANGE,
				  ADIT_ADVISORY_WRITE, 0, 9, &wait),
			 -ENOLCK);
	assert_int_equal(wait.entry, 0);
	check_table(p);
	forget(p, had);
	assert_int_equal(set_wait(&s->p[1], INO, process(&s->p[1]), ADIT_ADVISORY_RANGE,
				  ADIT_ADVISORY_WRITE, 0, 9, &wait),
			 -EINPROGRESS);
	adit__advisory_leave(s->p[1].fs);
	adit__advisory_leave(p->fs);
	check_none(p);
	end(s);
}

/* A media error in the middle of a change ends the call; who comes next makes the bucket whole. */
static void test_left_in_the_middle(void **state)
{
	struct setting *s = &setting;
	uint64_t n = 1;

	(void)state;
	if (!CAN_TRAP)
		skip();
	begin(s);
	what_it_does(s, &changes[1], &before, &after);
	for (bool left = true; left; n += 7 * STRIDE) {
		struct adit_op op;
		struct locks now;

		set_out(s);
		left = dies_after(&s->p[1], changes[1].run, n);
		/* What guard.c does, if it was in an operation by then. */
		for (uint32_t i = 0; left && i < s->p[1].fs->nops; i++) {
			struct adit_vol_op *slot = &s->p[1].fs->ops[i];

			if (slot->owner == ((uint64_t)s->p[1].fs->incarnation << 32 | 2) &&
			    slot->state == ADIT_OP_RUNNING) {
				op = (struct adit_op){s->p[1].fs, NULL, slot};
				adit__op_abort(&op);
			}
		}
		/* Between taking a lock and saying so nothing can fail. */
		if ((uint32_t)adit__lock_bucket(adit__lock_root(s->p[1].fs), INO)->lock.word) {
			dead[1] = 1;
			repair_by(s, 0);
			rejoin(s, 1);
			clear(s);
			continue;
		}
		assert_int_equal(
			set(&s->p[2], INO, process(&s->p[2]), ADIT_ADVISORY_READ, 7000, 7000), 0);
		now = locks_of(&s->p[2], INO, shared_owner());
		assert_true(are_same(&now, &before) || are_same(&now, &after));
		change_unlock_all(&s->p[1]);
		assert_int_equal(locks_of(&s->p[2], INO, shared_owner()).n, 1); /* flock's */
		dead[1] = 1;
		repair_by(s, 0);
		rejoin(s, 1);
		clear(s);
	}
	assert_true(n > 100);
	end(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_instruction),
		cmocka_unit_test(test_the_repairer_dies),
		cmocka_unit_test(test_owners),
		cmocka_unit_test(test_full_pool),
		cmocka_unit_test(test_taken_over),
		cmocka_unit_test(test_left_in_the_middle),
	};

	return cmocka_run_group_tests(tests, begin_deaths, NULL);
}
