/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a participant that dies had open (core/hold.h): nameless files that it alone kept go away, those that others
 * have open stay until these close them, and nothing is counted twice or not at all, wherever in opening and
 * closing it died, and the repairer after it.
 */
#include "deaths.h"
#include "held.h"

#include "core/alloc.h"

struct setting {
	uint8_t *image;
	struct pool p[3];
	uint64_t inodes;
};

static uint64_t used_inodes(struct pool *p)
{
	struct adit_statfs s;

	adit__core_statfs(p->fs, &s);
	return s.inodes_used;
}

static void begin(struct setting *s)
{
	s->image = small_image();
	open_on(&s->p[0], s->image, SMALL, "open");
	join(&s->p[1], s->image, 1);
	join(&s->p[2], s->image, 2);
	s->inodes = used_inodes(&s->p[0]);
	memset(dead, 0, sizeof dead);
	lane_hint = 0;
}

static void end(struct setting *s)
{
	for (unsigned i = 0; i < 3; i++)
		adit__core_abandon(s->p[i].fs);
	munmap(s->image, SMALL);
}

static uint32_t repair(struct pool *p, uint32_t *slots)
{
	assert_true(adit__is_still(p->fs, dead));
	return adit__repair(p->fs, dead, slots);
}

/* Participant 1 is dead; 0 looks after it. */
static void bury(struct setting *s)
{
	uint32_t slots[256];

	dead[1] = 1;
	finish_repair(&s->p[0], slots, repair(&s->p[0], slots));
}

static unsigned count_of(struct pool *p, uint64_t ino)
{
	return adit__open_count(p->fs, adit__inode_slot(p->fs, ino));
}

/* Nothing of the file is left, and nothing else is missing. */
static void check_gone(struct setting *s, uint64_t ino)
{
	struct pool *p = &s->p[0];
	struct adit_attr a;

	assert_int_equal(adit__getattr(p->fs, ino, &a), -ESTALE);
	assert_int_equal(used_inodes(p), s->inodes - 1);
	assert_clean(p->fs, "after the death");
	assert_int_equal(adit__checkpoint(p->fs), 0);
	assert_int_equal(p->fs->vol->free_blocks + adit__scratch_blocks(p->fs),
			 adit__total_free(p->fs));
}

static void unlink_victim(struct pool *p)
{
	assert_int_equal(adit__unlink(p->fs, ADIT_INO_ROOT, "victim", 6), 0);
}

/* ---- whose holds they are --------------------------------------------------------------------- */

static void test_only_the_dead_had_it(void **state)
{
	struct adit_hold hold[3];
	struct setting s;
	uint64_t ino;

	(void)state;
	begin(&s);
	ino = lookup(s.p[1].fs, ADIT_INO_ROOT, "victim");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(adit__hold(s.p[1].fs, ino, 0, NULL, &hold[i]), 0);
	assert_int_equal(adit__release(s.p[1].fs, &hold[1]), 0);
	unlink_victim(&s.p[0]);
	assert_int_equal(count_of(&s.p[0], ino), 2);
	bury(&s);
	check_gone(&s, ino);
	end(&s);
}

static void test_others_have_it_too(void **state)
{
	struct adit_hold theirs, ours[2];
	struct adit_attr a;
	struct setting s;
	uint64_t ino;

	(void)state;
	begin(&s);
	ino = lookup(s.p[1].fs, ADIT_INO_ROOT, "victim");
	assert_int_equal(adit__hold(s.p[1].fs, ino, 0, NULL, &theirs), 0);
	assert_int_equal(adit__hold(s.p[0].fs, ino, 0, NULL, &ours[0]), 0);
	assert_int_equal(adit__hold(s.p[2].fs, ino, 0, NULL, &ours[1]), 0);
	unlink_victim(&s.p[1]);
	bury(&s);
	assert_int_equal(count_of(&s.p[0], ino), 2);
	assert_int_equal(adit__release(s.p[0].fs, &ours[0]), 0);
	assert_int_equal(adit__getattr(s.p[0].fs, ino, &a), 0);
	assert_int_equal(a.size, 20000);
	assert_int_equal(adit__release(s.p[2].fs, &ours[1]), 0);
	check_gone(&s, ino);
	end(&s);
}

/* A file that has its name keeps it; one that was closed is none of the dead's. */
static void test_named_files_stay(void **state)
{
	struct adit_hold hold;
	struct setting s;
	uint64_t ino;

	(void)state;
	begin(&s);
	ino = lookup(s.p[1].fs, ADIT_INO_ROOT, "victim");
	assert_int_equal(adit__hold(s.p[1].fs, ino, 0, NULL, &hold), 0);
	bury(&s);
	assert_int_equal(count_of(&s.p[0], ino), 0);
	assert_int_equal(lookup(s.p[0].fs, ADIT_INO_ROOT, "victim"), ino);
	unlink_victim(&s.p[0]);
	check_gone(&s, ino);
	end(&s);
}

/* ---- in the middle of opening and closing ------------------------------------------------------ */

/* Dead when it was listed (0), counted (1), not counted any more (2), closed (3). */
static void die_between(struct pool *p, uint64_t ino, uint32_t generation, unsigned where)
{
	struct adit_hold hold;
	struct adit_op op;

	adit__op_begin(&op, p->fs);
	adit__hold_prepare(&op, &hold);
	adit__lock_inode(&op, ino, false);
	adit__hold_list(&op, &hold, ino, generation);
	if (where > 0)
		adit__hold_count(&op, &hold);
	if (where == 2) /* the first half of a drop: as one that has no entry */
		adit__hold_drop(&op, &(struct adit_hold){ino, 0});
	if (where == 3)
		adit__hold_drop(&op, &hold);
	adit__current_op = NULL;
}

static void test_in_between(void **state)
{
	(void)state;
	for (unsigned where = 0; where < 4; where++)
		for (unsigned others = 0; others < 2; others++) {
			struct adit_hold hold;
			struct adit_attr a;
			struct setting s;
			uint64_t ino;

			begin(&s);
			ino = lookup(s.p[0].fs, ADIT_INO_ROOT, "victim");
			assert_int_equal(adit__getattr(s.p[0].fs, ino, &a), 0);
			if (others)
				assert_int_equal(adit__hold(s.p[0].fs, ino, 0, NULL, &hold), 0);
			die_between(&s.p[1], ino, a.generation, where);
			bury(&s);
			assert_int_equal(count_of(&s.p[0], ino), others);
			unlink_victim(&s.p[0]);
			if (others) {
				assert_int_equal(adit__getattr(s.p[0].fs, ino, &a), 0);
				assert_int_equal(adit__release(s.p[0].fs, &hold), 0);
			}
			check_gone(&s, ino);
			end(&s);
		}
}

static struct adit_hold last_hold;

static void act_tmpfile(struct pool *p)
{
	struct adit_create c = {.mode = S_IFREG | 0600};
	struct adit_id id;

	assert_int_equal(adit__create_unnamed(p->fs, ADIT_INO_ROOT, &c, &last_hold, &id), 0);
}

static void act_close(struct pool *p)
{
	assert_int_equal(adit__release(p->fs, &last_hold), 0);
}

/* At every store, flush and fence of making a file without a name, and of closing it. */
static void test_steps_of_nameless_files(void **state)
{
	(void)state;
	for (unsigned closing = 0; closing < 2; closing++)
		for (unsigned n = 0, died = true; died; n++) {
			struct setting s;

			begin(&s);
			lane_hint = 1;
			least_begin(&s.p[0].pm);
			if (closing)
				act_tmpfile(&s.p[1]);
			died = dies(&s.p[1], closing ? act_close : act_tmpfile, n);
			lane_hint = 0;
			bury(&s);
			least_end();
			assert_int_equal(used_inodes(&s.p[0]), s.inodes);
			assert_clean(s.p[0].fs, "after the death");
			end(&s);
		}
}

static void act_finish(struct pool *p)
{
	uint32_t slots[256];

	finish_repair(p, slots, repair(p, slots));
}

/* The repairer dies at every step, of closing what it took over, too; a third one goes on. */
static void test_the_repairer_dies(void **state)
{
	unsigned n = 0;

	(void)state;
	for (bool died = true; died; n++) {
		struct adit_hold hold[300];
		struct setting s;
		uint64_t ino, more;

		begin(&s);
		ino = lookup(s.p[1].fs, ADIT_INO_ROOT, "victim");
		more = lookup(s.p[1].fs, ADIT_INO_ROOT, "data");
		/* More than one block lists. */
		for (unsigned i = 0; i < 300; i++)
			assert_int_equal(
				adit__hold(s.p[1].fs, i % 2 ? ino : more, 0, NULL, &hold[i]), 0);
		unlink_victim(&s.p[1]);
		least_begin(&s.p[0].pm);
		dead[1] = 1;
		died = dies(&s.p[0], act_finish, n);
		if (died) {
			dead[0] = 1;
			act_finish(&s.p[2]);
		}
		least_end();
		assert_int_equal(used_inodes(&s.p[2]), s.inodes - 1);
		assert_int_equal(count_of(&s.p[2], more), 0);
		assert_clean(s.p[2].fs, "after both deaths");
		assert_int_equal(adit__checkpoint(s.p[2].fs), 0);
		assert_int_equal(s.p[2].fs->vol->free_blocks + adit__scratch_blocks(s.p[2].fs),
				 adit__total_free(s.p[2].fs));
		end(&s);
	}
	assert_true(n > 10);
}

/* ---- room for lists ----------------------------------------------------------------------------- */

/* Blocks of the dead are used again: a thousand deaths take no more than a few. */
static void test_blocks_are_used_again(void **state)
{
	struct setting s;
	uint64_t ino;

	(void)state;
	begin(&s);
	ino = lookup(s.p[0].fs, ADIT_INO_ROOT, "victim");
	for (unsigned i = 0; i < 1000; i++) {
		struct adit_hold hold;

		assert_int_equal(adit__hold(s.p[1].fs, ino, 0, NULL, &hold), 0);
		bury(&s);
		adit__core_abandon(s.p[1].fs);
		join(&s.p[1], s.image, 1);
	}
	assert_int_equal(count_of(&s.p[0], ino), 0);
	assert_in_range(adit__scratch_blocks(s.p[0].fs), 1, 3);
	end(&s);
}

/* A pool without a free block: files can be opened, and after a death rather one too many is kept than one
 * too few. */
static void test_full_pool(void **state)
{
	struct adit_hold hold, theirs;
	struct adit_attr a;
	struct setting s;
	uint64_t ino;

	(void)state;
	begin(&s);
	ino = lookup(s.p[0].fs, ADIT_INO_ROOT, "victim");
	s.p[0].fs->vol->free_blocks = 0;
	assert_int_equal(adit__hold(s.p[0].fs, ino, 0, NULL, &hold), 0);
	assert_int_equal(hold.entry, 0);
	assert_int_equal(adit__hold(s.p[1].fs, ino, 0, NULL, &theirs), 0);
	die_between(&s.p[1], ino, 1, 0);
	bury(&s);
	unlink_victim(&s.p[2]);
	assert_true(count_of(&s.p[0], ino) >= 1);
	assert_int_equal(adit__getattr(s.p[0].fs, ino, &a), 0);
	assert_int_equal(adit__release(s.p[0].fs, &hold), 0);
	end(&s);
}

/* What was lent before a crash is nobody's after it. */
static void test_after_a_crash(void **state)
{
	struct adit_hold hold;
	struct setting s;
	uint64_t ino;

	(void)state;
	begin(&s);
	ino = lookup(s.p[0].fs, ADIT_INO_ROOT, "victim");
	assert_int_equal(adit__hold(s.p[1].fs, ino, 0, NULL, &hold), 0);
	unlink_victim(&s.p[0]);
	for (unsigned i = 0; i < 3; i++)
		adit__core_abandon(s.p[i].fs);
	open_on(&s.p[0], s.image, SMALL, "open");
	join(&s.p[1], s.image, 1);
	join(&s.p[2], s.image, 2);
	bury(&s);
	assert_int_equal(adit__scratch_blocks(s.p[0].fs), 0);
	check_gone(&s, ino);
	end(&s);
}

static void nobody_waits(struct adit_fs *fs)
{
	(void)fs;
	fail_msg("the repairer waits at its own gate");
}

static void no_lock(struct adit_lock *lock, uint32_t incarnation, bool exclusive)
{
	if (!adit__env.trylock(lock, incarnation, exclusive))
		fail_msg("the repairer waits for a lock");
}

/* Where the inode lies may be new to the repairer, and the lock for looking a dead process's. */
static void test_inode_new_to_the_repairer(void **state)
{
	struct adit_hold hold;
	struct setting s;
	struct adit_op op;
	uint64_t ino;

	(void)state;
	begin(&s);
	ino = lookup(s.p[1].fs, ADIT_INO_ROOT, "victim");
	assert_int_equal(adit__hold(s.p[1].fs, ino, 0, NULL, &hold), 0);
	unlink_victim(&s.p[0]);
	adit__op_begin(&op, s.p[1].fs);
	adit__op_lock(&op, &s.p[1].fs->vol->grow_lock, true);
	adit__current_op = NULL;
	memset(s.p[0].fs->cluster_cache, 0, ADIT_CLUSTER_CACHE * sizeof *s.p[0].fs->cluster_cache);
	env.wait_gate = nobody_waits;
	env.lock = no_lock;
	s.p[0].fs->vol->gate++;
	dead[1] = 1;
	{
		uint32_t slots[256], n = repair(&s.p[0], slots);

		s.p[0].fs->vol->gate++;
		finish_repair(&s.p[0], slots, n);
	}
	env.wait_gate = adit__env.wait_gate;
	env.lock = adit__env.lock;
	check_gone(&s, ino);
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_the_dead_had_it),
		cmocka_unit_test(test_others_have_it_too),
		cmocka_unit_test(test_named_files_stay),
		cmocka_unit_test(test_in_between),
		cmocka_unit_test(test_steps_of_nameless_files),
		cmocka_unit_test(test_the_repairer_dies),
		cmocka_unit_test(test_blocks_are_used_again),
		cmocka_unit_test(test_full_pool),
		cmocka_unit_test(test_after_a_crash),
		cmocka_unit_test(test_inode_new_to_the_repairer),
	};

	return cmocka_run_group_tests(tests, begin_deaths, NULL);
}
