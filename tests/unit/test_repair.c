/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A participant dies in the middle of an operation, another one repairs (core/repair.c), goes on, and then the power
 * fails: what the living had seen is still so.  The repairer may die as well, and a third one takes over.
 *
 * The participants are three handles of one process on one piece of memory; dying is a jump.
 */
#include "deaths.h"

#include <fcntl.h>

#include "core/alloc.h"

/* ---- operations ------------------------------------------------------------------------ */

static uint64_t named(struct pool *p, const char *name)
{
	return lookup(p->fs, ADIT_INO_ROOT, name);
}

static void act_append(struct pool *p)
{
	put(p->fs, named(p, "data"), 20000, 3000);
}

static bool appended(struct pool *p)
{
	struct adit_attr a;

	assert_int_equal(adit__getattr(p->fs, named(p, "data"), &a), 0);
	assert_true(a.size == 20000 || a.size == 23000);
	return a.size == 23000;
}

static void act_atomic(struct pool *p)
{
	struct adit_iovec v = {(uint8_t *)(uintptr_t) "0123456789abcdef", 16};
	uint64_t pos = 5000;

	assert_int_equal(adit__file_write(p->fs, named(p, "data"), &v, 1, &pos, ADIT_WRITE_ATOMIC),
			 16);
}

static bool replaced(struct pool *p)
{
	uint8_t found[16];
	struct adit_iovec v = {found, 16};
	uint64_t ino = named(p, "data");

	assert_int_equal(adit__file_read(p->fs, ino, &v, 1, 5000), 16);
	if (memcmp(found, "0123456789abcdef", 16) == 0)
		return true;
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(found[i],
				 (uint8_t)((5000 + i) * 131 + ino * 17 + ((5000 + i) >> 9)));
	return false;
}

static void act_rename(struct pool *p)
{
	assert_int_equal(
		adit__rename(p->fs, ADIT_INO_ROOT, "victim", 6, named(p, "other"), "moved", 5, 0),
		0);
}

static bool renamed(struct pool *p)
{
	struct adit_id id;
	bool there = adit__lookup(p->fs, named(p, "other"), "moved", 5, &id) == 0;

	assert_int_equal(has(p, "victim"), !there);
	return there;
}

static void act_checkpoint(struct pool *p)
{
	assert_int_equal(adit__checkpoint(p->fs), 0);
}

static bool nothing_changed(struct pool *p)
{
	return has(p, "before");
}

static const struct act {
	const char *name;
	void (*run)(struct pool *);
	bool (*done)(struct pool *);
} acts[] = {
	{"create", act_create, created},  {"unlink", act_unlink, unlinked},
	{"append", act_append, appended}, {"atomic write", act_atomic, replaced},
	{"rename", act_rename, renamed},  {"checkpoint", act_checkpoint, nothing_changed},
};

/* ---- participants ------------------------------------------------------------------------ */

static struct adit_fs *repairing;

static bool is_durable(uint64_t offset, uint64_t len)
{
	return memcmp(least.durable + offset, repairing->pm.base + offset, len) == 0;
}

static bool slots_are_durable(void)
{
	return is_durable(get64(repairing->super.ckpt_start) << ADIT_BLOCK_SHIFT, 2 * ADIT_BLOCK);
}

static bool rings_are_durable(void)
{
	return is_durable(get64(repairing->super.lane_start) << ADIT_BLOCK_SHIFT,
			  repairing->lanes * repairing->ring_bytes);
}

/* I1, I18: nothing is stored in its place before what says so is durable. */
static void log_first(uint64_t offset, uint64_t len)
{
	uint64_t start = get64(repairing->super.root_block) << ADIT_BLOCK_SHIFT;
	uint64_t rings = get64(repairing->super.lane_start) << ADIT_BLOCK_SHIFT;

	(void)len;
	if (least.is_flush || offset == UINT64_MAX || offset < start)
		return;
	if (offset < rings || offset >= get64(repairing->super.meta_start) << ADIT_BLOCK_SHIFT)
		assert_true(slots_are_durable() && rings_are_durable());
}

static void repair(struct pool *p)
{
	uint32_t slots[256], n;
	bool alone = least.step == NULL; /* else the repairer is to die */

	assert_true(adit__is_still(p->fs, dead));
	repairing = p->fs;
	if (alone)
		least.step = log_first;
	n = adit__repair(p->fs, dead, slots);
	if (alone)
		least.step = NULL;
	if (least.pm)
		assert_true(slots_are_durable());
	finish_repair(p, slots, n);
}

static void check_living(struct pool *p, const char *when)
{
	assert_clean(p->fs, when);
	assert_int_equal(adit__checkpoint(p->fs), 0);
	assert_int_equal(p->fs->vol->free_blocks, adit__total_free(p->fs));
}

/* The power fails: is what the living knew still so? */
static void power_fails(const struct act *a, bool done, bool peer, const char *when)
{
	uint8_t *image = memory(SMALL);
	struct pool p;

	memcpy(image, least.durable, SMALL);
	open_on(&p, image, SMALL, when);
	assert_clean(p.fs, when);
	if (!has(&p, "before") || has(&p, "peer") != peer || a->done(&p) != done)
		fail_msg("%s: the power failure has taken something back", when);
	adit__core_abandon(p.fs);
	munmap(image, SMALL);
}

/* The lane's next record does not fit behind the last one: there will be a pad. */
static void to_the_end(struct pool *p, uint32_t lane)
{
	struct adit_attr a = {.mode = 0600};

	while (p->fs->ring_bytes - p->fs->vol->lane[lane].head % p->fs->ring_bytes > 400) {
		a.mode ^= 1;
		assert_int_equal(adit__setattr(p->fs, ADIT_INO_ROOT, ADIT_SET_MODE, &a), 0);
	}
}

/* Participant 1 dies at step n of the operation, 0 at step m of the repair (UINT_MAX: it lives), then 2 repairs.
 * False: the operation, or the repair, has fewer steps. */
static bool one(const struct act *a, unsigned n, unsigned m, bool late)
{
	uint8_t *image = small_image();
	struct pool p[3], *living = &p[0];
	char when[100];
	bool died, again = false, done;

	snprintf(when, sizeof when, "%s, death at %u, of the repairer at %u", a->name, n, m);
	snprintf(what, sizeof what, "%s", when);
	open_on(&p[0], image, SMALL, "open");
	join(&p[1], image, 1);
	join(&p[2], image, 2);
	lane_hint = 0;
	child(p[0].fs, ADIT_INO_ROOT, "before");
	lane_hint = 1;
	if (late)
		to_the_end(&p[1], 1);
	least_begin(&p[0].pm);
	least.actor = 1; /* a fence of the others is none of its stores' */
	died = dies(&p[1], a->run, n);
	least.actor = 0;
	memset(dead, 0, sizeof dead);
	dead[1] = died;
	lane_hint = 0;
	if (m == UINT32_MAX) {
		repair(&p[0]);
	} else {
		again = dies(&p[0], repair, m);
		dead[0] = again;
		if (again) {
			living = &p[2];
			least.actor = 2;
			repair(living);
		}
	}
	done = a->done(living);
	if (!died)
		assert_true(done);
	power_fails(a, done, false, when);
	child(living->fs, ADIT_INO_ROOT, "peer");
	power_fails(a, done, true, when);
	check_living(living, when);
	least_end();
	for (unsigned i = 0; i < 3; i++)
		adit__core_abandon(p[i].fs);
	munmap(image, SMALL);
	return m == UINT32_MAX ? died : again;
}

static unsigned cases;

static void test_deaths(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof acts / sizeof acts[0]; i++) {
		unsigned n = 0;

		while (one(&acts[i], n, UINT32_MAX, false))
			n++;
		assert_true(n > 3);
		cases += n;
	}
}

/* Where the record and the pad before it are made durable together. */
static void test_deaths_at_the_end_of_the_ring(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		unsigned n = 0;

		while (one(&acts[i], n, UINT32_MAX, true))
			n++;
		cases += n;
	}
}

static uint32_t fill_pool(struct pool *p)
{
	uint64_t ino = child(p->fs, ADIT_INO_ROOT, "all"), pos = 0;

	memset(buffer, 0xa5, sizeof buffer);
	for (uint32_t n = 65536; n >= 4096;) {
		struct adit_iovec v = {buffer, n};
		uint64_t at = pos;
		int64_t done = adit__file_write(p->fs, ino, &v, 1, &at, 0);

		if (done > 0)
			pos += (uint64_t)done;
		else
			n /= 2;
	}
	return (uint32_t)pos;
}

/* The slot that a dead checkpointer wrote may be in the caches only: blocks that were freed before it are
 * used by the living, and no older slot may bring back what was in them. */
static void test_slot_in_the_caches(void **state)
{
	(void)state;
	for (unsigned n = 0, died = true; died; n++) {
		uint8_t *image = small_image(), *after = memory(SMALL);
		struct pool p, q, r;
		uint64_t ino;
		uint32_t all;

		open_on(&p, image, SMALL, "open");
		join(&q, image, 1);
		lane_hint = 0;
		assert_int_equal(adit__checkpoint(p.fs), 0);
		least_begin(&p.pm);
		act_atomic(&p);
		assert_int_equal(adit__unlink(p.fs, ADIT_INO_ROOT, "data", 4), 0);
		lane_hint = 1;
		least.actor = 1;
		died = dies(&q, act_checkpoint, n);
		least.actor = 0;
		memset(dead, 0, sizeof dead);
		dead[1] = (uint8_t)died;
		lane_hint = 0;
		repair(&p);
		all = fill_pool(&p);
		assert_true(all > 1u << 20);
		memcpy(after, least.durable, SMALL);
		least_end();
		open_on(&r, after, SMALL, "after the power failure");
		assert_clean(r.fs, "after the power failure");
		ino = lookup(r.fs, ADIT_INO_ROOT, "all");
		for (uint32_t at = 0; at < all;) {
			struct adit_iovec v = {buffer, sizeof buffer};
			int64_t got = adit__file_read(r.fs, ino, &v, 1, at);

			assert_true(got > 0);
			for (int64_t k = 0; k < got; k++)
				if (buffer[k] != 0xa5)
					fail_msg(
						"death at %u: byte %lld of a file is another one's",
						n, (long long)(at + k));
			at += (uint32_t)got;
		}
		adit__core_abandon(r.fs);
		adit__core_abandon(q.fs);
		adit__core_abandon(p.fs);
		munmap(image, SMALL);
		munmap(after, SMALL);
		cases++;
	}
}

static void test_deaths_of_the_repairer(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof acts / sizeof acts[0]; i++)
		for (unsigned n = 0; n < 40; n += 3) {
			unsigned m = 0;

			while (one(&acts[i], n, m, false))
				m++;
			cases += m;
		}
}

/* What a dead one had written through the log is not replayed over what a living one stores there (I8). */
static void test_data_after_logged(void **state)
{
	static const char mine[] = "ffffffffffffffff";

	(void)state;
	for (unsigned n = 0, died = true; died; n++) {
		uint8_t *image = small_image(), *after = memory(SMALL);
		struct adit_iovec v = {(uint8_t *)(uintptr_t)mine, 16};
		uint8_t found[16];
		struct adit_iovec w = {found, 16};
		uint64_t pos = 5000;
		struct pool p, q, r;

		open_on(&p, image, SMALL, "open");
		join(&q, image, 1);
		least_begin(&p.pm);
		lane_hint = least.actor = 1;
		died = dies(&q, act_atomic, n);
		memset(dead, 0, sizeof dead);
		dead[1] = (uint8_t)died;
		lane_hint = least.actor = 0;
		repair(&p);
		assert_int_equal(adit__file_write(p.fs, named(&p, "data"), &v, 1, &pos, 0), 16);
		memcpy(after, least.durable, SMALL);
		least_end();
		open_on(&r, after, SMALL, "after the power failure");
		assert_int_equal(adit__file_read(r.fs, named(&r, "data"), &w, 1, 5000), 16);
		if (memcmp(found, mine, 16) != 0)
			fail_msg("death at %u: older data have come back", n);
		adit__core_abandon(r.fs);
		adit__core_abandon(q.fs);
		adit__core_abandon(p.fs);
		munmap(image, SMALL);
		munmap(after, SMALL);
		cases++;
	}
}

/* Blocks that a living one has taken and not yet recorded stay taken. */
static void test_reservations(void **state)
{
	uint8_t *image = small_image();
	struct adit_run mine[3], run;
	struct adit_op op, other;
	struct pool p, q;

	(void)state;
	open_on(&p, image, SMALL, "open");
	join(&q, image, 1);
	lane_hint = 0;
	assert_int_equal(adit__op_begin_write(&op, p.fs), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(adit__alloc_blocks(op.cs, 0, 5 + i, 5 + i, 0, &mine[i]), 0);
	adit__op_park(&op);
	adit__current_op = NULL;
	memset(dead, 0, sizeof dead);
	dead[2] = 1; /* somebody who held nothing */
	repair(&q);
	lane_hint = 1;
	assert_int_equal(adit__op_begin_write(&other, q.fs), 0);
	while (adit__cs_room(other.cs) > 4096 &&
	       adit__alloc_blocks(other.cs, 0, 64, 1, ADIT_ALLOC_RESERVE, &run) == 0)
		for (unsigned i = 0; i < 3; i++)
			assert_false(run.block < mine[i].block + mine[i].count &&
				     mine[i].block < run.block + run.count);
	assert_true(adit__cs_room(other.cs) > 4096);
	adit__op_end(&other);
	adit__current_op = &op;
	adit__op_unpark(&op);
	adit__op_end(&op);
	check_living(&q, "everything given back");
	adit__core_abandon(q.fs);
	adit__core_abandon(p.fs);
	munmap(image, SMALL);
}

/* A checkpointer waits for a group while it gives freed blocks back; meanwhile somebody repairs, which gives them
 * back, and somebody takes them. */
static struct {
	struct pool *other;
	struct adit_op op;
	struct adit_run run[8];
	unsigned runs;
	uint64_t left;
} meanwhile;

static void lock_and_wait(struct adit_lock *lock, uint32_t incarnation, bool exclusive)
{
	struct adit_op *mine = adit__current_op;
	struct adit_fs *fs = meanwhile.other->fs;

	if (lock == &adit__group_vol(fs, 0)->lock && meanwhile.runs == 0) {
		env.lock = adit__env.lock;
		adit__op_park(mine);
		adit__current_op = NULL;
		memset(dead, 0, sizeof dead);
		dead[2] = 1;
		repair(meanwhile.other);
		lane_hint = 1;
		assert_int_equal(adit__op_begin_write(&meanwhile.op, fs), 0);
		while (meanwhile.runs < 8 &&
		       adit__alloc_blocks(meanwhile.op.cs, 0, 512, 1, ADIT_ALLOC_RESERVE,
					  &meanwhile.run[meanwhile.runs]) == 0)
			meanwhile.runs++;
		meanwhile.left = fs->vol->free_blocks;
		adit__current_op = mine;
		adit__op_unpark(mine);
	}
	adit__env.lock(lock, incarnation, exclusive);
}

static void test_checkpointer_waits(void **state)
{
	uint8_t *image = small_image();
	struct pool p, q;

	(void)state;
	open_on(&p, image, SMALL, "open");
	join(&q, image, 1);
	memset(&meanwhile, 0, sizeof meanwhile);
	meanwhile.other = &q;
	lane_hint = 0;
	act_unlink(&p); /* frees five blocks */
	env.lock = lock_and_wait;
	assert_int_equal(adit__checkpoint(p.fs), 0);
	env.lock = adit__env.lock;
	assert_true(meanwhile.runs > 0);
	assert_int_equal(p.fs->vol->free_blocks, meanwhile.left);
	adit__current_op = &meanwhile.op;
	adit__op_end(&meanwhile.op);
	check_living(&q, "everything given back");
	adit__core_abandon(q.fs);
	adit__core_abandon(p.fs);
	munmap(image, SMALL);
}

/* Locks that the living hold stay held, shared ones as often as they are; versions are even again. */
static void test_locks(void **state)
{
	uint8_t *image = small_image();
	struct adit_op mine[2], theirs[2];
	struct pool p, q;
	struct adit_lock *lock;
	uint64_t version;

	(void)state;
	open_on(&p, image, SMALL, "open");
	join(&q, image, 1);
	lock = adit__inode_lock_of(p.fs, ADIT_INO_ROOT);
	for (unsigned i = 0; i < 2; i++) {
		adit__current_op = NULL;
		adit__op_begin(&mine[i], p.fs);
		adit__lock_inode(&mine[i], ADIT_INO_ROOT, false);
		adit__current_op = NULL;
		adit__op_begin(&theirs[i], q.fs);
		adit__lock_inode(&theirs[i], i ? 17 : ADIT_INO_ROOT, i);
	}
	adit__op_park(&mine[0]);
	adit__op_park(&mine[1]);
	adit__current_op = NULL;
	assert_false(adit__glance(p.fs, 17, &version));
	memset(dead, 0, sizeof dead);
	dead[1] = 1;
	repair(&p);
	assert_true(adit__glance(p.fs, 17, &version));
	assert_int_equal((uint32_t)lock->word, 2);
	assert_true(is_held(p.fs, lock));
	for (unsigned i = 0; i < 2; i++) {
		adit__current_op = &mine[i];
		adit__op_unpark(&mine[i]);
		adit__op_end(&mine[i]);
	}
	assert_false(is_held(p.fs, lock));
	adit__core_abandon(q.fs);
	adit__core_abandon(p.fs);
	munmap(image, SMALL);
}

/* Nothing is repaired while somebody living is in the middle of something; and nobody begins meanwhile. */
static uint32_t looks;

static void open_the_gate(struct adit_fs *fs)
{
	if (++looks == 3)
		fs->vol->gate++;
}

static void test_gate(void **state)
{
	uint8_t *image = small_image();
	struct adit_op op;
	struct pool p;

	(void)state;
	env.wait_gate = open_the_gate;
	open_on(&p, image, SMALL, "open");
	memset(dead, 0, sizeof dead);
	adit__op_begin(&op, p.fs);
	assert_false(adit__is_still(p.fs, dead));
	adit__op_park(&op);
	assert_true(adit__is_still(p.fs, dead));
	p.fs->vol->gate++;
	looks = 0;
	adit__op_unpark(&op);
	assert_int_equal(looks, 3);
	assert_false(adit__is_still(p.fs, dead));
	adit__op_end(&op);
	assert_true(adit__is_still(p.fs, dead));
	p.fs->vol->gate++;
	looks = 0;
	adit__op_begin(&op, p.fs);
	assert_int_equal(looks, 3);
	adit__op_end(&op);
	env.wait_gate = adit__env.wait_gate;
	adit__core_abandon(p.fs);
	munmap(image, SMALL);
}

/* A slot that somebody is claiming is nobody else's; and whoever dies in that leaves it free. */
static void test_claimed_slots(void **state)
{
	uint8_t *image = small_image();
	struct pool p, q;
	uint64_t claimed;

	(void)state;
	memset(dead, 0, sizeof dead);
	open_on(&p, image, SMALL, "open");
	join(&q, image, 1);
	claimed = (uint64_t)p.fs->incarnation << 32 | ADIT_OP_CLAIMED | 2;
	for (uint32_t i = 1; i < p.fs->nops; i++)
		p.fs->ops[i].owner = claimed;
	child(p.fs, ADIT_INO_ROOT, "new");
	for (uint32_t i = 1; i < p.fs->nops; i++)
		assert_int_equal(p.fs->ops[i].owner, claimed);
	assert_true(adit__died_idle(p.fs, 1));
	dead[1] = 1;
	repair(&p);
	for (uint32_t i = 1; i < p.fs->nops; i++)
		assert_int_equal(p.fs->ops[i].owner, 0);
	/* The same without stopping anybody. */
	p.fs->ops[7].owner = claimed;
	assert_true(adit__take_over(p.fs, 1));
	assert_int_equal(p.fs->ops[7].owner, 0);
	assert_clean(p.fs, "after it");
	adit__core_abandon(p.fs);
	adit__core_abandon(q.fs);
	munmap(image, SMALL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deaths),
		cmocka_unit_test(test_deaths_at_the_end_of_the_ring),
		cmocka_unit_test(test_slot_in_the_caches),
		cmocka_unit_test(test_deaths_of_the_repairer),
		cmocka_unit_test(test_data_after_logged),
		cmocka_unit_test(test_reservations),
		cmocka_unit_test(test_checkpointer_waits),
		cmocka_unit_test(test_locks),
		cmocka_unit_test(test_gate),
		cmocka_unit_test(test_claimed_slots),
	};
	int failed = cmocka_run_group_tests(tests, begin_deaths, drop_image);

	printf("%u deaths\n", cases);
	return failed;
}
