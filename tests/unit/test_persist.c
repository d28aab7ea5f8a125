/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is certain after a power failure, where tests/crash does not look: in the superblock, of replicas, when a
 * pool is closed, and in the order of single stores. See least.h; test_making.c has making, mending and recovery.
 */
#include "least.h"

/* ---- the superblock (I15) ------------------------------------------------------------------- */

static uint64_t new_incarnation;

static const struct adit_super_pm *durable_super(uint64_t block)
{
	return (const void *)(least.durable + block * ADIT_BLOCK);
}

static bool is_whole(uint64_t block)
{
	const char *why;

	return adit__verify_super(&env, durable_super(block), SMALL, &why) == 0;
}

static uint64_t durable_incarnation(void)
{
	uint64_t block = is_whole(0) ? 0 : ADIT_SUPER_COPY;

	assert_true(is_whole(block));
	return get64(durable_super(block)->incarnation);
}

static void incarnation_first(uint64_t offset, uint64_t len)
{
	uint64_t block = offset / ADIT_BLOCK;

	(void)len;
	if (offset != UINT64_MAX && block != 0 && block != ADIT_SUPER_COPY)
		assert_int_equal(durable_incarnation(), new_incarnation);
}

static void test_incarnation_is_durable_first(void **state)
{
	uint8_t *image = small_image();
	const struct adit_super_pm *s = (const void *)image;
	struct pool p;

	(void)state;
	open_on(&p, image, SMALL, "open");
	act_unlink(&p);
	adit__core_abandon(p.fs); /* with work in the log */
	new_incarnation = get64(s->incarnation) + 1;
	pool_on(&p, image, SMALL);
	least_begin(&p.pm);
	least.step = incarnation_first;
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &env, &p.reporter, 0), 0);
	least.step = NULL;
	assert_int_equal(p.fs->vol->incarnation, new_incarnation);
	assert_int_equal(get32(s->owner), ADIT_OWNER_LIBRARY);
	assert_true(get32(s->state) & ADIT_STATE_OPEN);
	/* Both copies. */
	assert_memory_equal(least.durable, image, sizeof *s);
	assert_memory_equal(least.durable + ADIT_SUPER_COPY * ADIT_BLOCK, image, sizeof *s);
	assert_int_equal(adit__core_close(p.fs), 0);
	assert_memory_equal(least.durable, image, sizeof *s);
	assert_memory_equal(least.durable + ADIT_SUPER_COPY * ADIT_BLOCK, image, sizeof *s);
	assert_true(get32(s->state) & ADIT_STATE_CLEAN);
	assert_int_equal(get32(s->owner), ADIT_OWNER_NONE);
	least_end();
	munmap(image, SMALL);
}

static void other_copy_is_whole(uint64_t offset, uint64_t len)
{
	uint64_t block = offset / ADIT_BLOCK;

	(void)len;
	if (offset != UINT64_MAX && !least.is_flush && (block == 0 || block == ADIT_SUPER_COPY))
		assert_true(is_whole(block == 0 ? ADIT_SUPER_COPY : 0));
}

/* While one copy is written, and may be torn, the other one is whole: also when a crash has torn one before. */
static void test_whole_superblock_is_kept(void **state)
{
	uint8_t *image = small_image(), *live = memory(SMALL);

	(void)state;
	for (int torn = 0; torn < 3; torn++) {
		struct pool p;

		memcpy(live, image, SMALL);
		if (torn)
			live[(torn == 1 ? 0 : ADIT_SUPER_COPY * ADIT_BLOCK) + 24] ^= 1;
		pool_on(&p, live, SMALL);
		least_begin(&p.pm);
		least.step = other_copy_is_whole;
		assert_int_equal(adit__core_open(&p.fs, &p.pm, &env, &p.reporter, 0), 0);
		assert_int_equal(adit__core_close(p.fs), 0);
		assert_true(is_whole(0) && is_whole(ADIT_SUPER_COPY));
		least_end();
	}
	munmap(live, SMALL);
	munmap(image, SMALL);
}

/* ---- checkpoint slots (I14) --------------------------------------------------------------------- */

static struct {
	uint64_t start; /* offset of the first slot */
	unsigned stores;
} slots;

static uint64_t generation_at(const uint8_t *base, unsigned i)
{
	return get64(
		((const struct adit_ckpt_pm *)(base + slots.start + i * ADIT_BLOCK))->generation);
}

/* Only the older slot is stored to, and the newer one is durable by then. */
static void newer_slot_is_kept(uint64_t offset, uint64_t len)
{
	unsigned i = offset >= slots.start + ADIT_BLOCK;

	(void)len;
	if (least.is_flush || offset < slots.start || offset >= slots.start + 2 * ADIT_BLOCK)
		return;
	slots.stores++;
	/* The event is seen when the bytes are there already: `durable` has what was before. */
	assert_true(generation_at(least.durable, i) < generation_at(least.durable, !i));
	assert_true(generation_at(least.pm->base, i) > generation_at(least.durable, !i));
	assert_int_equal(generation_at(least.pm->base, !i), generation_at(least.durable, !i));
}

static void test_slots_in_turn(void **state)
{
	uint8_t *image = small_image();
	struct pool p;

	(void)state;
	slots.start = get64(((const struct adit_super_pm *)image)->ckpt_start) * ADIT_BLOCK;
	pool_on(&p, image, SMALL);
	for (unsigned crash = 0; crash < 3; crash++) {
		slots.stores = 0;
		least_begin(&p.pm);
		least.step = newer_slot_is_kept;
		assert_int_equal(adit__core_open(&p.fs, &p.pm, &env, &p.reporter, 0), 0);
		assert_true(slots.stores > 0);
		if (crash == 0)
			act_create(&p);
		assert_int_equal(adit__checkpoint(p.fs), 0);
		if (crash == 1)
			act_unlink(&p);
		least_end();
		if (crash)
			adit__core_abandon(p.fs);
		else
			assert_int_equal(adit__core_close(p.fs), 0);
	}
	munmap(image, SMALL);
}

/* ---- replicas ---------------------------------------------------------------------------------- */

/* Either of the two root blocks may go at any time, whatever was mended before. */
static void test_restored_root_is_durable(void **state)
{
	uint8_t *image = small_image(), *second = memory(SMALL);
	struct pool p;
	uint64_t root, copy;

	(void)state;
	open_on(&p, image, SMALL, "open");
	root = get64(p.fs->super.root_block) * ADIT_BLOCK;
	copy = get64(p.fs->super.root_copy) * ADIT_BLOCK;
	assert_int_equal(adit__core_close(p.fs), 0);

	memset(image + root + 8, 0xee, ADIT_BLOCK - 8);
	pool_on(&p, image, SMALL);
	least_begin(&p.pm);
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &env, &p.reporter, 0), 0);
	assert_string_equal(p.report, "root block: bad checksum; restored from its replica");
	adit__core_abandon(p.fs);
	memcpy(second, least.durable, SMALL);
	least_end();
	memset(second + copy, 0xee, ADIT_BLOCK);
	open_on(&p, second, SMALL, "the replica lost after the root block was restored");
	assert_int_equal(p.reports, 0);
	assert_true(has(&p, "data"));
	adit__core_abandon(p.fs);

	/* And the replica of what a checkpoint has changed. */
	open_on(&p, image, SMALL, "open again");
	least_begin(&p.pm);
	act_create(&p);
	act_unlink(&p);
	for (unsigned i = 0; i < 150; i++) { /* clusters fill: the root block changes */
		char name[16];

		snprintf(name, sizeof name, "more%u", i);
		child(p.fs, ADIT_INO_ROOT, name);
	}
	assert_int_equal(adit__checkpoint(p.fs), 0);
	memcpy(second, least.durable, SMALL);
	least_end();
	adit__core_abandon(p.fs);
	/* The block itself is what the checkpoint sealed; nothing has to be restored. */
	open_on(&p, second, SMALL, "after a checkpoint");
	assert_int_equal(p.reports, 0);
	adit__core_abandon(p.fs);
	memset(second + root + 8, 0xee, ADIT_BLOCK - 8);
	open_on(&p, second, SMALL, "the root block lost after a checkpoint");
	assert_clean(p.fs, "after a checkpoint");
	assert_true(has(&p, "new") && has(&p, "more149"));
	adit__core_abandon(p.fs);
	munmap(image, SMALL);
	munmap(second, SMALL);
}

static struct {
	uint64_t root, copy;
	unsigned stores;
} roots;

/* The replica is stored to only while the root block is whole, and durable. */
static void root_before_replica(uint64_t offset, uint64_t len)
{
	(void)len;
	if (offset < roots.copy || offset >= roots.copy + ADIT_BLOCK)
		return;
	roots.stores++;
	assert_memory_equal(least.durable + roots.root + 64, least.durable + roots.copy + 64, 448);
}

/* Recovery restores the root block and then changes it: never is neither of the two whole. */
static void test_root_is_restored_before_it_changes(void **state)
{
	uint8_t *image = small_image();
	struct pool p;

	(void)state;
	open_on(&p, image, SMALL, "open");
	roots.root = get64(p.fs->super.root_block) * ADIT_BLOCK;
	roots.copy = get64(p.fs->super.root_copy) * ADIT_BLOCK;
	for (unsigned i = 0; i < 150; i++) { /* clusters fill: the root block changes */
		char name[16];

		snprintf(name, sizeof name, "f%u", i);
		child(p.fs, ADIT_INO_ROOT, name);
	}
	adit__core_abandon(p.fs);
	memset(image + roots.root + 16, 0xee, ADIT_BLOCK - 16);
	pool_on(&p, image, SMALL);
	roots.stores = 0;
	least_begin(&p.pm);
	least.step = root_before_replica;
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &env, &p.reporter, 0), 0);
	least_end();
	assert_true(roots.stores > 0);
	assert_true(has(&p, "f149"));
	adit__core_abandon(p.fs);

	/* Both lost, and the log names only a part of it: refused, with a line. */
	open_on(&p, image, SMALL, "open");
	for (unsigned i = 150; i < 300; i++) {
		char name[16];

		snprintf(name, sizeof name, "f%u", i);
		child(p.fs, ADIT_INO_ROOT, name);
	}
	adit__core_abandon(p.fs);
	for (unsigned i = 0; i < 2; i++)
		((struct adit_root_pm *)(image + (i ? roots.copy : roots.root)))->shards =
			put32(100000);
	pool_on(&p, image, SMALL);
	assert_true(adit__core_open(&p.fs, &p.pm, &env, &p.reporter, 0) < 0);
	assert_true(p.reports > 0);
	munmap(image, SMALL);
}

/* ---- data ------------------------------------------------------------------------------------------ */

static struct {
	uint64_t start, end; /* of the data on the medium */
	unsigned stores;
} words;

/* A word of the medium is stored at once, or it may be torn inside. */
static void whole_words(uint64_t offset, uint64_t len)
{
	uint64_t end = offset + len;

	if (offset == UINT64_MAX || end <= words.start || offset >= words.end)
		return;
	words.stores++;
	assert_true(offset == words.start || offset % 8 == 0);
	assert_true(end == words.end || end % 8 == 0);
}

/* In place, in pieces, in the same tick of the clock: no record, but a fence all the same. */
static void test_gathered_overwrite_is_durable(void **state)
{
	uint8_t *image = small_image(), *copy = memory(SMALL), got[6000];
	struct adit_iovec in[2] = {{buffer, 2000}, {buffer + 2000, 4000}}, out = {got, sizeof got};
	struct adit_extent e;
	struct pool p;

	(void)state;
	open_on(&p, image, SMALL, "open");
	memset(buffer, 0x33, sizeof got);
	for (unsigned n = 1; n <= 2; n++) {
		uint64_t offset = 5000, ino = lookup(p.fs, ADIT_INO_ROOT, "data");

		in[0].len = n == 1 ? 6000 : 2000;
		memset(buffer, 0x33 + (int)n, sizeof got);
		assert_int_equal(adit__extent_at(p.fs, NULL, adit__inode_slot(p.fs, ino), 0, &e),
				 0);
		assert_true(e.blocks >= 3);
		words.start = e.block * ADIT_BLOCK + 5000;
		words.end = words.start + 6000;
		words.stores = 0;
		least_begin(&p.pm);
		least.step = whole_words;
		assert_int_equal(adit__file_write(p.fs, ino, in, n, &offset, 0), 6000);
		memcpy(copy, least.durable, SMALL);
		least_end();
		assert_true(words.stores > 0);
		struct pool q;

		open_on(&q, copy, SMALL, "after an overwrite");
		assert_int_equal(adit__file_read(q.fs, ino, &out, 1, 5000), 6000);
		assert_memory_equal(got, buffer, sizeof got);
		adit__core_abandon(q.fs);
	}
	adit__core_abandon(p.fs);
	munmap(image, SMALL);
	munmap(copy, SMALL);
}

static struct {
	uint64_t start, end;
	bool fenced;
} data;

static void data_is_left_alone(uint64_t offset, uint64_t len)
{
	if (offset == UINT64_MAX)
		data.fenced = true;
	else if (!data.fenced)
		assert_true(offset + len <= data.start || offset >= data.end);
}

/* What is to be written atomically, by the file's flag or the call's, is stored only behind its record (I1). */
static void test_atomic_overwrite_is_logged(void **state)
{
	uint8_t *image = small_image();
	struct adit_attr a = {.flags = ADIT_IFLAG_ATOMIC};
	struct adit_iovec v = {buffer, 300};
	struct adit_extent e;
	struct pool p;

	(void)state;
	open_on(&p, image, SMALL, "open");
	for (int by_flag = 0; by_flag < 2; by_flag++) {
		uint64_t ino = lookup(p.fs, ADIT_INO_ROOT, "data"), offset = 4100;

		/* The first one in this tick leaves nothing but data to change. */
		assert_int_equal(adit__checkpoint(p.fs), 0);
		assert_int_equal(adit__file_write(p.fs, ino, &v, 1, &offset, 0), 300);
		if (by_flag)
			assert_int_equal(adit__setattr(p.fs, ino, ADIT_SET_IFLAGS, &a), 0);
		assert_int_equal(adit__checkpoint(p.fs), 0);
		assert_int_equal(adit__extent_at(p.fs, NULL, adit__inode_slot(p.fs, ino), 1, &e),
				 0);
		data.start = e.block * ADIT_BLOCK;
		data.end = data.start + ADIT_BLOCK;
		data.fenced = false;
		least_begin(&p.pm);
		least.step = data_is_left_alone;
		assert_int_equal(adit__file_write(p.fs, ino, &v, 1, &offset,
						  by_flag ? 0 : ADIT_WRITE_ATOMIC),
				 300);
		least_end();
		assert_true(data.fenced);
	}
	adit__core_abandon(p.fs);
	munmap(image, SMALL);
}

/* ---- the end ------------------------------------------------------------------------------------------ */

static void clean_is_last(uint64_t offset, uint64_t len)
{
	const struct adit_vol *vol =
		(const void *)(least.pm->base + get64(durable_super(0)->vol_start) * ADIT_BLOCK);

	(void)offset, (void)len;
	for (unsigned i = 0; i < 2; i++) {
		const struct adit_super_pm *s =
			(const void *)(least.pm->base + (i ? ADIT_SUPER_COPY * ADIT_BLOCK : 0));

		if (get32(s->state) & ADIT_STATE_CLEAN)
			assert_int_equal(vol->c, vol->seq);
	}
}

/* Marked as closed only when nothing is left in the log. */
static void test_clean_comes_last(void **state)
{
	uint8_t *image = small_image();
	struct pool p;

	(void)state;
	open_on(&p, image, SMALL, "open");
	act_create(&p);
	act_unlink(&p);
	least_begin(&p.pm);
	least.step = clean_is_last;
	assert_int_equal(adit__core_close(p.fs), 0);
	least_end();
	assert_true(get32(((const struct adit_super_pm *)image)->state) & ADIT_STATE_CLEAN);
	munmap(image, SMALL);
}

static jmp_buf away;
static struct adit_fs *faulty;

/* The first store behind the record's fence: as a media fault would, away from it. */
static void fault_while_applying(uint64_t offset, uint64_t len)
{
	(void)len;
	if (offset == UINT64_MAX)
		data.fenced = true;
	if (offset == UINT64_MAX || !data.fenced)
		return;
	adit__op_end(*faulty->env->current_op()); /* lies on the stack that is left */
	longjmp(away, 1);
}

static void test_fault_while_applying(void **state)
{
	struct adit_create c = {.mode = S_IFREG | 0644};
	uint8_t *image = small_image();
	struct adit_id id;
	struct pool p;
	uint64_t was;

	(void)state;
	open_on(&p, image, SMALL, "open");
	faulty = p.fs;
	assert_int_equal(adit__create(faulty, ADIT_INO_ROOT, "before", 6, &c, NULL, &id), 0);
	data.fenced = false;
	least_begin(&p.pm);
	least.step = fault_while_applying;
	if (setjmp(away) == 0) {
		act_create(&p);
		fail_msg("no store behind the fence");
	}
	least_end();
	/* The record may be half applied: nothing goes on from here. */
	assert_int_equal(adit__create(faulty, ADIT_INO_ROOT, "next", 4, &c, NULL, &id), -EIO);
	was = faulty->vol->c;
	assert_true(faulty->vol->seq > was);
	assert_int_equal(adit__checkpoint(faulty), -EIO);
	assert_int_equal(faulty->vol->c, was);
	adit__core_abandon(faulty);
	open_on(&p, image, SMALL, "after the fault");
	assert_clean(p.fs, "after the fault");
	assert_true(has(&p, "new"));
	adit__core_abandon(p.fs);
	munmap(image, SMALL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_incarnation_is_durable_first),
		cmocka_unit_test(test_whole_superblock_is_kept),
		cmocka_unit_test(test_slots_in_turn),
		cmocka_unit_test(test_restored_root_is_durable),
		cmocka_unit_test(test_root_is_restored_before_it_changes),
		cmocka_unit_test(test_gathered_overwrite_is_durable),
		cmocka_unit_test(test_atomic_overwrite_is_logged),
		cmocka_unit_test(test_clean_comes_last),
		cmocka_unit_test(test_fault_while_applying),
	};

	return cmocka_run_group_tests(tests, begin_env, drop_image);
}
