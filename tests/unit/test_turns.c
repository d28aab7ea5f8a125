/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Another thread's work takes its turn at every step of an operation, and then the power fails: what tests of one
 * operation at a time do not reach.
 *
 * The turns are taken in one thread: a hook at each step of the recorder (least.h) runs the other one's operation,
 * on another lane, with fences that count for that one only.
 */
#include "least.h"

/* ---- the work that goes on and the one that comes in between ------------------------------- */

static void act_mkdir(struct pool *p)
{
	make(p->fs, ADIT_INO_ROOT, "new", S_IFDIR | 0755, NULL);
}

static void act_log_data(struct pool *p)
{
	uint64_t ino = lookup(p->fs, ADIT_INO_ROOT, "data"), offset = 100;
	struct adit_iovec v = {buffer, 5000};

	memset(buffer, 0x77, 5000);
	assert_int_equal(adit__file_write(p->fs, ino, &v, 1, &offset, ADIT_WRITE_ATOMIC), 5000);
}

static bool data_logged(struct pool *p)
{
	uint8_t got[5000];
	struct adit_iovec v = {got, sizeof got};
	unsigned n = 0;

	assert_int_equal(adit__file_read(p->fs, lookup(p->fs, ADIT_INO_ROOT, "data"), &v, 1, 100),
			 5000);
	for (unsigned i = 0; i < sizeof got; i++)
		n += got[i] == 0x77;
	assert_true(n == sizeof got || n < 100);
	return n == sizeof got;
}

static const struct act {
	const char *name;
	void (*run)(struct pool *);
	bool (*done)(struct pool *);
} acts[] = {
	{"create", act_create, created},
	{"unlink", act_unlink, unlinked},
	{"mkdir", act_mkdir, created},
	{"atomic write", act_log_data, data_logged},
};

static struct {
	struct pool *p;
	unsigned at, now; /* the step to come in at, and where we are */
	bool writes, did;
	uint64_t seq;	  /* before the operation */
	uint64_t dir;	  /* the other one's directory */
	uint8_t *crashed; /* what was certain when the other one was through */
} turn;

/* The other thread: perhaps a new file, and a checkpoint. */
static void other_turn(uint64_t offset, uint64_t len)
{
	struct adit_fs *fs = turn.p->fs;
	struct adit_op *under_way = *fs->env->current_op();

	(void)offset, (void)len;
	if (turn.now++ != turn.at)
		return;
	*fs->env->current_op() = NULL;
	least.actor = 1;
	lane_hint = 1;
	if (turn.writes && !is_held(fs, adit__inode_lock_of(fs, turn.dir)) &&
	    !is_held(fs, &fs->vol->ckpt_lock)) {
		child(fs, turn.dir, "meanwhile");
		turn.did = true;
	}
	adit__checkpoint_due(fs);
	/* What was complete before is not held up by who is in the middle. */
	assert_true(is_held(fs, &fs->vol->ckpt_lock) || fs->vol->c >= turn.seq);
	least.actor = 0;
	lane_hint = 0;
	*fs->env->current_op() = under_way;
	memcpy(turn.crashed, least.durable, SMALL);
}

static void assert_recovers(uint8_t *image, const struct act *act, bool returned, const char *when)
{
	char text[200];
	struct pool p;
	struct adit_id id;

	snprintf(text, sizeof text, "%s, another's turn %sat step %u, power failure %s", act->name,
		 turn.writes ? "with a file " : "", turn.at, when);
	open_on(&p, image, SMALL, text);
	assert_clean(p.fs, text);
	if (turn.did &&
	    adit__lookup(p.fs, lookup(p.fs, ADIT_INO_ROOT, "other"), "meanwhile", 9, &id))
		fail_msg("%s: the other one's file is lost", text);
	if (!act->done(&p) && returned)
		fail_msg("%s: it had returned, and is lost", text);
	adit__core_abandon(p.fs);
}

/* At each step of each operation; C must not pass what is not applied (I4). */
static void run_turns(bool writes)
{
	uint8_t *image = small_image(), *live = memory(SMALL);
	unsigned turns = 0;

	turn.writes = writes;
	turn.crashed = memory(SMALL);
	for (unsigned a = 0; a < sizeof acts / sizeof *acts; a++)
		for (turn.at = 0;; turn.at++) {
			struct pool p;

			memcpy(live, image, SMALL);
			open_on(&p, live, SMALL, "before");
			least_begin(&p.pm);
			/* One that is complete, for the checkpoint to pass. */
			child(p.fs, ADIT_INO_ROOT, "before");
			turn.p = &p;
			turn.now = 0;
			turn.did = false;
			turn.seq = p.fs->vol->seq;
			turn.dir = lookup(p.fs, ADIT_INO_ROOT, "other");
			least.step = other_turn;
			acts[a].run(&p);
			least.step = NULL;
			adit__core_abandon(p.fs);
			if (turn.now > turn.at) {
				assert_recovers(turn.crashed, &acts[a], false, "then");
				assert_recovers(least.durable, &acts[a], true, "at the end");
			}
			least_end();
			if (turn.now <= turn.at)
				break;
			turns++;
		}
	assert_true(turns > 40);
	munmap(turn.crashed, SMALL);
	munmap(live, SMALL);
	munmap(image, SMALL);
}

static void test_checkpoint_in_between(void **state)
{
	(void)state;
	run_turns(false);
}

static void test_operation_and_checkpoint_in_between(void **state)
{
	(void)state;
	run_turns(true);
}

/* ---- a checkpoint gives nothing back before its slot is durable (I5, I6) -------------------- */

static struct {
	struct pool *p;
	uint64_t c, free_blocks, tail[2];
	bool stored, durable;
	unsigned steps;
} slot;

static void nothing_moves(uint64_t offset, uint64_t len)
{
	struct adit_fs *fs = slot.p->fs;
	uint64_t start = get64(fs->super.ckpt_start) * ADIT_BLOCK;

	if (slot.durable)
		return;
	slot.steps++;
	assert_int_equal(fs->vol->c, slot.c);
	assert_int_equal(fs->vol->free_blocks, slot.free_blocks);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(fs->vol->lane[i].tail, slot.tail[i]);
	if (offset == UINT64_MAX)
		slot.durable = slot.stored;
	else if (offset >= start && offset < start + 2 * ADIT_BLOCK)
		slot.stored = true;
	(void)len;
}

static void test_nothing_moves_before_the_slot(void **state)
{
	uint8_t *image = small_image();
	struct pool p;

	(void)state;
	open_on(&p, image, SMALL, "open");
	act_unlink(&p);
	lane_hint = 1;
	act_create(&p);
	lane_hint = 0;
	memset(&slot, 0, sizeof slot);
	slot.p = &p;
	slot.c = p.fs->vol->c;
	slot.free_blocks = p.fs->vol->free_blocks;
	for (unsigned i = 0; i < 2; i++)
		slot.tail[i] = p.fs->vol->lane[i].tail;
	least_begin(&p.pm);
	least.step = nothing_moves;
	assert_int_equal(adit__checkpoint(p.fs), 0);
	least_end();
	assert_true(slot.durable && slot.steps > 5);
	assert_true(p.fs->vol->c > slot.c && p.fs->vol->free_blocks > slot.free_blocks);
	assert_true(p.fs->vol->lane[0].tail > slot.tail[0] &&
		    p.fs->vol->lane[1].tail > slot.tail[1]);
	adit__core_abandon(p.fs);
	munmap(image, SMALL);
}

/* ---- who reads without the lock (adit__glance) -------------------------------------------- */

static struct {
	struct adit_fs *fs;
	uint64_t ino, version, steps;
} reader;

/* While the inode changes nobody may begin to read it so, and who has begun finds out. */
static void reader_turn(uint64_t offset, uint64_t len)
{
	uint64_t now;

	(void)offset, (void)len;
	if (!is_held(reader.fs, adit__inode_lock_of(reader.fs, reader.ino)))
		return;
	reader.steps++;
	assert_false(adit__glance(reader.fs, reader.ino, &now));
	assert_false(adit__glance_valid(reader.fs, reader.ino, reader.version));
}

static void test_no_glance_in_between(void **state)
{
	uint8_t *image = small_image();
	uint64_t now;
	struct pool p;

	(void)state;
	open_on(&p, image, SMALL, "open");
	reader.fs = p.fs;
	reader.ino = ADIT_INO_ROOT;
	reader.steps = 0;
	for (unsigned a = 0; a < 2; a++) {
		assert_true(adit__glance(p.fs, reader.ino, &reader.version));
		assert_true(adit__glance_valid(p.fs, reader.ino, reader.version));
		least_begin(&p.pm);
		least.step = reader_turn;
		acts[a].run(&p);
		least_end();
		assert_true(reader.steps > 0);
		assert_false(adit__glance_valid(p.fs, reader.ino, reader.version));
		/* Free again. */
		assert_true(adit__glance(p.fs, reader.ino, &now));
		assert_true(adit__glance_valid(p.fs, reader.ino, now));
	}
	adit__core_abandon(p.fs);
	munmap(image, SMALL);
}

/* ---- the order of locks (I2) ---------------------------------------------------------------- */

static void test_inode_locks_ascend(void **state)
{
	uint8_t *image = small_image();
	uint64_t random = 3;
	struct adit_op op;
	struct pool p;

	(void)state;
	open_on(&p, image, SMALL, "open");
	for (unsigned i = 0; i < 500; i++) {
		uint64_t ino[4];

		for (unsigned k = 0; k < 4; k++)
			ino[k] = 2 + pool_random(&random) % 1000;
		adit__op_begin(&op, p.fs);
		adit__lock_inodes(&op, ino, 4, 0x5);
		assert_true(op.held->nlocks > 0);
		for (unsigned k = 1; k < op.held->nlocks; k++)
			assert_true(op.held->lock[k - 1] < op.held->lock[k]);
		adit__op_end(&op);
	}
	adit__core_abandon(p.fs);
	munmap(image, SMALL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_checkpoint_in_between),
		cmocka_unit_test(test_operation_and_checkpoint_in_between),
		cmocka_unit_test(test_nothing_moves_before_the_slot),
		cmocka_unit_test(test_no_glance_in_between),
		cmocka_unit_test(test_inode_locks_ascend),
	};

	return cmocka_run_group_tests(tests, begin_env, drop_image);
}
