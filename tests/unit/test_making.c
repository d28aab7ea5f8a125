/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The power fails while a pool is made, mended or recovered: at every step, with only what is certain, with all that
 * was stored, and with parts of either. See least.h.
 */
#include "least.h"

/* ---- making and mending ------------------------------------------------------------------------- */

/* Of a pool made over rubbish, all that mkfs relies on is certain. */
static void make_over_rubbish(uint64_t bytes, uint64_t group_blocks)
{
	struct adit_mkfs_params params = {.pool_bytes = bytes,
					  .hash_seed = 42,
					  .root_mode = 0755,
					  .uuid = {1, 2, 3},
					  .group_blocks = group_blocks};
	uint8_t *base = memory(bytes), *copy = memory(bytes);
	struct adit_check_result res;
	struct pool p;

	memset(base, 0x5a, bytes);
	pool_on(&p, base, bytes);
	least_begin(&p.pm);
	assert_int_equal(adit__core_mkfs(&p.pm, &env, &p.reporter, &params), 0);
	memcpy(copy, least.durable, bytes);
	least_end();
	pool_on(&p, copy, bytes);
	assert_int_equal(check(&p, 0, &res, true), 0);
	assert_int_equal(res.found, 0);
	open_on(&p, copy, bytes, "made over rubbish");
	work_on_it(p.fs);
	assert_clean(p.fs, "made over rubbish");
	assert_int_equal(p.reports, 0);
	adit__core_abandon(p.fs);
	munmap(base, bytes);
	munmap(copy, bytes);
}

static void test_made_pool_is_durable(void **state)
{
	(void)state;
	make_over_rubbish(POOL_BYTES, 1024);
	make_over_rubbish(64u << 20, 0); /* fixed areas in several lines of a bitmap */
}

/* Groups' metadata lie together, in a small pool for 16 groups; those of the second 16 are cleared too. */
static void test_second_cluster_of_groups(void **state)
{
	uint64_t bytes = (16 + 3) * 512 * ADIT_BLOCK, second = 16 * 512 * ADIT_BLOCK;
	struct adit_mkfs_params params = {.pool_bytes = bytes,
					  .hash_seed = 42,
					  .root_mode = 0755,
					  .uuid = {1, 2, 3},
					  .group_blocks = 512};
	struct adit_check_result res;
	struct pool p;

	(void)state;
	pool_on(&p, memory(bytes), bytes);
	memset(p.pm.base + second, 0x5a, 1 << 20);
	assert_int_equal(adit__core_mkfs(&p.pm, &env, &p.reporter, &params), 0);
	assert_int_equal(check(&p, 0, &res, true), 0);
	assert_int_equal(res.found, 0);
	munmap(p.pm.base, bytes);
}

/* What memory may hold at a step: what is certain, all that was stored, and of each line either. */
static struct {
	uint8_t *image;
	uint64_t random;
	unsigned opened;
	bool over_a_pool;
} making;

/* 0: what is certain; 1: all that was stored; then of each line either, or the one up to some block and the other
 * from there on. */
static bool takes_durable(unsigned mix, uint64_t line, uint64_t border)
{
	switch (mix) {
	case 0:
		return true;
	case 1:
		return false;
	case 2:
		return pool_random(&making.random) & 1;
	default:
		return (line / 64 < border) == (mix % 2 == 0);
	}
}

static void made_or_refused(unsigned mix)
{
	uint64_t border = pool_random(&making.random) % 400;
	struct pool p;

	for (uint64_t line = 0; line < SMALL / 64; line++) {
		const uint8_t *from =
			takes_durable(mix, line, border) ? least.durable : least.pm->base;

		memcpy(making.image + line * 64, from + line * 64, 64);
	}
	pool_on(&p, making.image, SMALL);
	if (adit__core_open(&p.fs, &p.pm, &env, &p.reporter, 0) != 0)
		return;
	making.opened++;
	/* What was there before, whole, or the new one. */
	assert_clean(p.fs, "opened before mkfs was through");
	if (!making.over_a_pool || !has(&p, "data"))
		assert_int_equal(pool_usage(&p).inodes_used, 2);
	adit__core_abandon(p.fs);
}

static void making_step(uint64_t offset, uint64_t len)
{
	bool large = offset != UINT64_MAX && len > ADIT_BLOCK;

	for (unsigned mix = 0; mix < (large ? 60 : 5); mix++)
		made_or_refused(mix);
}

/* Cut off at any point, mkfs leaves what was there, or something that is refused, or the finished pool. */
static void test_making_step_by_step(void **state)
{
	struct adit_mkfs_params params = {.pool_bytes = SMALL,
					  .hash_seed = 43,
					  .lanes = 2,
					  .root_mode = 0755,
					  .uuid = {3, 2, 1}};

	(void)state;
	making.image = memory(SMALL);
	making.random = 99;
	for (int over = 0; over < 2; over++) {
		uint8_t *base = over ? small_image() : memory(SMALL);
		struct pool p;

		making.over_a_pool = over;
		making.opened = 0;
		if (!over)
			memset(base, 0x5a, SMALL);
		pool_on(&p, base, SMALL);
		least_begin(&p.pm);
		least.step = making_step;
		assert_int_equal(adit__core_mkfs(&p.pm, &env, &p.reporter, &params), 0);
		least.step = NULL;
		made_or_refused(0);
		assert_true(making.opened > 0);
		least_end();
		munmap(base, SMALL);
	}
	munmap(making.image, SMALL);
}

static struct {
	uint8_t *image;
	unsigned looks;
	bool known; /* the superblock has said that it is damaged */
} mending;

/* The superblock stops saying that a repair is under way only when all that was mended is durable. */
static void damaged_until_durable(uint64_t offset, uint64_t len)
{
	uint64_t block = offset / ADIT_BLOCK;
	struct adit_check_result res;
	struct pool p;

	(void)len;
	if (offset == UINT64_MAX || (block != 0 && block != ADIT_SUPER_COPY))
		return;
	if (get32(((const struct adit_super_pm *)(least.pm->base + block * ADIT_BLOCK))->state) &
	    ADIT_STATE_DAMAGED) {
		mending.known = true;
		return;
	}
	if (!mending.known)
		return;
	mending.looks++;
	memcpy(mending.image, least.durable, POOL_BYTES);
	memcpy(mending.image + block * ADIT_BLOCK, least.pm->base + block * ADIT_BLOCK, ADIT_BLOCK);
	if (block != 0) /* the one that is read */
		memcpy(mending.image, least.pm->base + block * ADIT_BLOCK, ADIT_BLOCK);
	pool_on(&p, mending.image, POOL_BYTES);
	if (check(&p, 0, &res, false) != 0 || res.found != 0)
		fail_msg("said to be mended before it is: %llu findings",
			 (unsigned long long)res.found);
}

static void test_damaged_until_durable(void **state)
{
	struct adit_check_result res;
	uint64_t offset[3];
	struct pool p;

	(void)state;
	open_image(&p);
	offset[0] = adit__group_bitmap_block(p.fs, 1) * ADIT_BLOCK;
	offset[1] = adit__group_header_block(p.fs, 2) * ADIT_BLOCK;
	offset[2] = adit__offset_of(p.fs, adit__inode_slot(p.fs, 40)) + 40;
	close_image(&p);
	mending.image = memory(POOL_BYTES);
	for (unsigned i = 0; i < 3; i++) {
		map_image(&p);
		memset(p.pm.base + offset[i], 0x5a, 24);
		least_begin(&p.pm);
		mending.looks = 0;
		mending.known = false;
		least.step = damaged_until_durable;
		assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
		assert_true(res.fixed > 0);
		assert_true(mending.looks > 0);
		least_end();
		munmap(p.pm.base, POOL_BYTES);
	}
	munmap(mending.image, POOL_BYTES);
}

/* ---- recovery, interrupted ------------------------------------------------------------------- */

static struct {
	uint8_t *image;
	uint64_t inodes, free_blocks;
	unsigned steps;
} again;

static void recover_again(uint64_t offset, uint64_t len)
{
	(void)offset, (void)len;
	for (unsigned all = 0; all < 2; all++) {
		struct pool p;
		char when[64];

		snprintf(when, sizeof when, "power failure at step %u of recovery", again.steps);
		memcpy(again.image, all ? least.pm->base : least.durable, SMALL);
		open_on(&p, again.image, SMALL, when);
		assert_clean(p.fs, when);
		assert_int_equal(adit__total_inodes(p.fs), again.inodes);
		assert_int_equal(adit__total_free(p.fs), again.free_blocks);
		adit__core_abandon(p.fs);
	}
	again.steps++;
}

/* Orphans, small and with a tree, a file half deleted, records in both lanes: at every step of recovery the power
 * fails, and what the next recovery makes of it is the same. */
static void test_recovery_step_by_step(void **state)
{
	struct adit_hold hold;
	struct adit_create c = {.mode = S_IFREG | 0644};
	uint8_t *image = small_image(), *crashed = memory(SMALL);
	struct adit_id id[4];
	struct pool p;

	(void)state;
	again.image = memory(SMALL);
	open_on(&p, image, SMALL, "open");
	for (unsigned i = 0; i < 4; i++) {
		lane_hint = i % 2;
		assert_int_equal(adit__create_unnamed(p.fs, ADIT_INO_ROOT, &c, &hold, &id[i]), 0);
		for (unsigned k = 0; k < (i < 2 ? 1 : 20); k++)
			put(p.fs, id[i].ino, k * 3 * ADIT_BLOCK, 5000);
	}
	act_create(&p);
	lane_hint = 0;
	adit__core_abandon(p.fs);
	memcpy(crashed, image, SMALL);
	open_on(&p, image, SMALL, "undisturbed");
	again.inodes = adit__total_inodes(p.fs);
	again.free_blocks = adit__total_free(p.fs);
	adit__core_abandon(p.fs);

	pool_on(&p, crashed, SMALL);
	least_begin(&p.pm);
	least.step = recover_again;
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &env, &p.reporter, 0), 0);
	least_end();
	assert_true(again.steps > 40);
	adit__core_abandon(p.fs);
	munmap(image, SMALL);
	munmap(crashed, SMALL);
	munmap(again.image, SMALL);
}

/* Blocks of which one is whole at any time. */
static uint64_t twin[2];

static void one_at_a_time(uint64_t offset, uint64_t len)
{
	unsigned open = 0;

	(void)offset, (void)len;
	for (unsigned i = 0; i < 2; i++)
		open += memcmp(least.pm->base + twin[i] * ADIT_BLOCK,
			       least.durable + twin[i] * ADIT_BLOCK, ADIT_BLOCK) != 0;
	if (open == 2)
		fail_msg("blocks %llu and %llu are both on their way",
			 (unsigned long long)twin[0], (unsigned long long)twin[1]);
}

/* The pool of check_image.h, broken in one place and mended: what is certain then is clean. */
static void assert_mended_for_good(uint64_t offset, size_t len, const char *where)
{
	uint8_t *copy = memory(POOL_BYTES);
	struct adit_check_result res;
	struct pool p;

	map_image(&p);
	memset(p.pm.base + offset, 0x5a, len);
	least_begin(&p.pm);
	least.step = one_at_a_time;
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	memcpy(copy, least.durable, POOL_BYTES);
	least_end();
	munmap(p.pm.base, POOL_BYTES);
	pool_on(&p, copy, POOL_BYTES);
	if (check(&p, 0, &res, true) != 0 || res.found != 0)
		fail_msg("%s: mended, but not for good: %llu findings after a power failure", where,
			 (unsigned long long)res.found);
	munmap(copy, POOL_BYTES);
}

static void test_repairs_are_durable(void **state)
{
	uint64_t ckpt, root, copy, header[2], replica, bitmap, intent, cluster;
	struct pool p;

	(void)state;
	open_image(&p);
	ckpt = get64(p.fs->super.ckpt_start);
	root = get64(p.fs->super.root_block);
	copy = get64(p.fs->super.root_copy);
	intent = get64(p.fs->super.intent_start);
	header[0] = adit__group_header_block(p.fs, 0);
	header[1] = adit__group_header_block(p.fs, 2);
	replica = adit__group_replica_block(p.fs, 1);
	bitmap = adit__group_bitmap_block(p.fs, 1);
	cluster = adit__offset_of(p.fs, adit__inode_slot(p.fs, 0));
	close_image(&p);
	twin[1] = ADIT_SUPER_COPY;
	assert_mended_for_good(0, 300, "superblock");
	assert_mended_for_good(ADIT_SUPER_COPY * ADIT_BLOCK, 300, "copy of the superblock");
	assert_mended_for_good(ckpt * ADIT_BLOCK, 200, "first checkpoint slot");
	assert_mended_for_good((ckpt + 1) * ADIT_BLOCK, 200, "second checkpoint slot");
	twin[0] = root;
	twin[1] = copy;
	assert_mended_for_good(root * ADIT_BLOCK, 300, "root block");
	assert_mended_for_good(copy * ADIT_BLOCK + 8, 4000, "replica of the root block");
	assert_mended_for_good(header[0] * ADIT_BLOCK, 200, "header of group 0");
	assert_mended_for_good(header[1] * ADIT_BLOCK, 200, "header of group 2");
	assert_mended_for_good(replica * ADIT_BLOCK, 60, "replica of a header");
	assert_mended_for_good(bitmap * ADIT_BLOCK, 64, "first line of a bitmap");
	assert_mended_for_good(bitmap * ADIT_BLOCK + 64, 64, "second line of a bitmap");
	assert_mended_for_good(intent * ADIT_BLOCK, 64, "intent");
	assert_mended_for_good(cluster + 32, 64, "inode cluster");
}

/* A repair of an open pool: what it found to be free can be allocated at once. */
static void test_mended_bitmap_is_used(void **state)
{
	struct adit_check_options o = {.flags = ADIT_CHECK_REPAIR};
	uint8_t *image = small_image();
	uint64_t bitmap, word, seal, block, ino;
	struct adit_check_result res;
	struct adit_statfs st;
	struct pool p;

	(void)state;
	open_on(&p, image, SMALL, "open");
	assert_int_equal(adit__checkpoint(p.fs), 0);
	block = round_down_u64(p.fs->pool_blocks - 40, 64); /* more than the reserve */
	adit__bitmap_where(p.fs, block, &bitmap, &word, &seal);
	*(uint64_t *)(image + word) |= 0x3fffffff;
	adit__bitmap_seal(p.fs, block);
	ino = child(p.fs, ADIT_INO_ROOT, "all");
	put(p.fs, ino, 0, 5000); /* the volatile bitmap is made, with the leak */
	assert_int_equal(adit__check(p.fs, &o, &res), 0);
	assert_true(res.fixed > 0);
	adit__core_statfs(p.fs, &st);
	assert_int_equal(adit__file_fallocate(p.fs, ino, 0, 8192, (st.available - 1) * ADIT_BLOCK),
			 0);
	adit__core_statfs(p.fs, &st);
	assert_true(st.available <= 1);
	assert_clean(p.fs, "full after a repair");
	adit__core_abandon(p.fs);
	munmap(image, SMALL);

	/* The bitmap did not fit its seal and was not used: after the repair it is. */
	image = small_image();
	open_on(&p, image, SMALL, "open");
	ino = child(p.fs, ADIT_INO_ROOT, "more");
	assert_int_equal(adit__core_close(p.fs), 0);
	*(uint64_t *)(image + word) |= 0xff;
	open_on(&p, image, SMALL, "with a damaged bitmap");
	assert_int_equal(adit__file_fallocate(p.fs, ino, 0, 0, 4096), -ENOSPC);
	assert_int_equal(adit__check(p.fs, &o, &res), 0);
	assert_true(res.fixed > 0);
	assert_int_equal(adit__file_fallocate(p.fs, ino, 0, 0, 4096), 0);
	assert_clean(p.fs, "after the repair of a bitmap");
	assert_int_equal(adit__core_close(p.fs), 0);

	/* The same, where the seal has been made right since it was looked at. */
	*(uint8_t *)(image + seal) ^= 1;
	open_on(&p, image, SMALL, "with a damaged seal");
	assert_int_equal(adit__file_fallocate(p.fs, ino, 0, 4096, 4096), -ENOSPC);
	*(uint8_t *)(image + seal) ^= 1;
	assert_int_equal(adit__check(p.fs, &o, &res), 0);
	assert_int_equal(adit__file_fallocate(p.fs, ino, 0, 4096, 4096), 0);
	assert_clean(p.fs, "after the seal was made right");
	adit__core_abandon(p.fs);
	munmap(image, SMALL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_made_pool_is_durable),
		cmocka_unit_test(test_second_cluster_of_groups),
		cmocka_unit_test(test_making_step_by_step),
		cmocka_unit_test(test_damaged_until_durable),
		cmocka_unit_test(test_recovery_step_by_step),
		cmocka_unit_test(test_repairs_are_durable),
		cmocka_unit_test(test_mended_bitmap_is_used),
	};

	return cmocka_run_group_tests(tests, begin_env, drop_image);
}
