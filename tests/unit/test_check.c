/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Particular repairs of the check: lost+found, circles of directories, orphans, preen, a medium that
 * ends early, both copies of what there are two of.
 */
#include "check_image.h"
#include "held.h"
#include "core/tree_node.h"

static void test_clean(void **state)
{
	struct adit_check_result res;
	struct pool p;

	(void)state;
	map_image(&p);
	assert_int_equal(check(&p, 0, &res, true), 0);
	assert_int_equal(res.found, 0);
	assert_int_equal(res.passes, 1);
	assert_true(res.files >= nknown - 10);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, true), 0);
	assert_int_equal(res.found, 0);
	assert_int_equal(check(&p, ADIT_CHECK_PREEN, &res, true), 0);
	assert_int_equal(res.found, 0);
	pool_open(&p);
	work_on_it(p.fs);
	assert_clean(p.fs, "with work in the log");
	adit__core_abandon(p.fs);
	assert_int_equal(check(&p, 0, &res, true), 0);
	assert_int_equal(res.found, 0);
	munmap(p.pm.base, POOL_BYTES);
}

static unsigned entries_in(struct adit_fs *fs, uint64_t dir)
{
	struct adit_attr a;

	assert_int_equal(adit__getattr(fs, dir, &a), 0);
	return (unsigned)a.size;
}

/* The root directory is cleared: what was in it is found in lost+found. */
static void test_lost_and_found(void **state)
{
	struct adit_check_result res;
	struct adit_inode_pm *root;
	struct pool p;
	uint64_t lost, which;

	(void)state;
	open_image(&p);
	root = adit__inode_slot(p.fs, ADIT_INO_ROOT);
	adit__core_abandon(p.fs);
	memset((uint8_t *)root + ADIT_INODE_SEAL_FROM, 0, ADIT_INODE_BYTES - ADIT_INODE_SEAL_FROM);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	assert_int_equal(res.left, 0);
	pool_open(&p);
	lost = lookup(p.fs, ADIT_INO_ROOT, "lost+found");
	assert_int_equal(entries_in(p.fs, lost), 3);
	assert_int_equal(touched_files(p.fs, &which), 0);
	assert_clean(p.fs, "after the repair");
	close_image(&p);
}

/* A file has taken the name already. */
static void test_lost_and_found_is_a_file(void **state)
{
	struct adit_check_result res;
	struct adit_inode_pm *few;
	struct pool p;
	uint64_t which;

	(void)state;
	open_image(&p);
	make(p.fs, ADIT_INO_ROOT, "lost+found", S_IFREG | 0644, NULL);
	few = adit__inode_slot(p.fs, lookup(p.fs, ADIT_INO_ROOT, "few"));
	assert_int_equal(adit__core_close(p.fs), 0);
	memset((uint8_t *)few + ADIT_INODE_SEAL_FROM, 0, ADIT_INODE_BYTES - ADIT_INODE_SEAL_FROM);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	assert_int_equal(res.left, 0);
	pool_open(&p);
	assert_true(entries_in(p.fs, lookup(p.fs, ADIT_INO_ROOT, "lost+found.1")) > 0);
	assert_int_equal(touched_files(p.fs, &which), 0);
	assert_clean(p.fs, "after the repair");
	close_image(&p);
}

/* The i-th extent of a file's last leaf, from the end, or in its inode, grows over what lies behind it; false:
 * none. */
static bool grow_extent(struct adit_fs *fs, uint64_t ino, unsigned i)
{
	struct adit_inode_pm *ip = adit__inode_slot(fs, ino);
	struct adit_extent_inline_pm *e = &ip->fork.extents.extent[i];
	struct adit_node_pm *node;
	struct adit_rec_pm *rec;

	if (adit__inode_fork(ip) == ADIT_FORK_EXTENTS) {
		if (i >= get16(ip->fork.extents.count))
			return false;
		e->blocks = put32(get32(e->blocks) ^ 0x20);
		return true;
	}
	if (adit__inode_fork(ip) != ADIT_FORK_TREE || !ADIT_S_ISREG(get32(ip->mode)))
		return false;
	node = adit__block_at(fs, adit_ptr_block(get64(ip->fork.tree.root)));
	while (node->level > 0)
		node = adit__block_at(
			fs, adit_ptr_block(get64(adit__inner_entries(node)[get16(node->count) - 1].ptr)));
	if (i >= get16(node->count))
		return false;
	rec = (struct adit_rec_pm *)((uint8_t *)node +
				     adit__leaf_offset(node, get16(node->count) - 1 - i));
	rec->c = put32(get32(rec->c) ^ 0x20);
	return true;
}

/* One flipped bit, which the seal tells: only that file may lose something (I20). */
static void test_grown_extents(void **state)
{
	struct adit_check_result res;
	unsigned in_inode = 0, in_leaf = 0;
	uint64_t which = 0;
	struct pool p;

	(void)state;
	for (unsigned k = 0; k < nknown; k++) {
		for (unsigned i = 0; i < 4; i++) {
			uint64_t ino = known[k].ino;

			open_image(&p);
			if (adit__inode_fork(adit__inode_slot(p.fs, ino)) == ADIT_FORK_TREE)
				in_leaf++;
			else
				in_inode++;
			assert_int_equal(adit__core_settle(p.fs), 0);
			if (!grow_extent(p.fs, ino, i)) {
				close_image(&p);
				break;
			}
			adit__core_abandon(p.fs);
			assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
			assert_int_equal(res.left, 0);
			pool_open(&p);
			if (touched_files(p.fs, &which) > 1 || (which && which != ino))
				fail_msg("extent %u of inode %llu grew: inode %llu has lost something",
					 i, (unsigned long long)ino, (unsigned long long)which);
			which = 0;
			close_image(&p);
		}
	}
	assert_true(in_inode > 20);
	assert_true(in_leaf >= 4);
}

/* Two directories that contain each other. */
static void test_circle(void **state)
{
	struct adit_check_result res;
	uint64_t few, d3, d4, which;
	struct adit_inode_pm *dir;
	struct pool p;
	le64 ino;

	(void)state;
	open_image(&p);
	few = lookup(p.fs, ADIT_INO_ROOT, "few");
	d3 = lookup(p.fs, few, "d3");
	d4 = lookup(p.fs, d3, "d4");
	assert_int_equal(adit__rename(p.fs, few, "d3", 2, d3, "self", 4, 0), -EINVAL);
	adit__inode_slot(p.fs, d3)->parent_or_rdev = put64(d4);
	dir = adit__inode_slot(p.fs, d4);
	assert_int_equal(adit__inode_fork(dir), ADIT_FORK_INLINE);
	/* Its second packed entry (d5) now points to d3. */
	assert_memory_equal(dir->fork.bytes + 16 + 12, "d5", 2);
	ino = put64(d3);
	memcpy(dir->fork.bytes + 16 + 2, &ino, 6);
	memcpy(dir->fork.bytes + 16 + 8, &adit__inode_slot(p.fs, d3)->generation, 4);
	dir->crc = put32(adit__crc32c(ADIT_MAGIC_INODE, (uint8_t *)dir + 32, 256 - 32));
	dir = adit__inode_slot(p.fs, d3);
	dir->crc = put32(adit__crc32c(ADIT_MAGIC_INODE, (uint8_t *)dir + 32, 256 - 32));
	adit__core_abandon(p.fs);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	assert_int_equal(res.left, 0);
	pool_open(&p);
	assert_int_equal(touched_files(p.fs, &which), 0);
	/* d3 and d5 have lost their names. */
	few = lookup(p.fs, ADIT_INO_ROOT, "lost+found");
	assert_int_equal(entries_in(p.fs, few), 2);
	assert_clean(p.fs, "after the repair");
	close_image(&p);
}

/* A file unlinked while open is no finding, a deleted one that no list knows is put back on one. */
static void test_orphans(void **state)
{
	struct adit_hold hold;
	struct adit_create c = {.mode = S_IFREG | 0600};
	struct adit_check_result res;
	struct adit_id id[3];
	struct pool p;

	(void)state;
	open_image(&p);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(adit__create_unnamed(p.fs, ADIT_INO_ROOT, &c, &hold, &id[i]), 0);
		put(p.fs, id[i].ino, 0, 20000);
	}
	assert_clean(p.fs, "with orphans");
	assert_int_equal(adit__checkpoint(p.fs), 0);
	for (unsigned i = 0; i < ADIT_SHARDS; i++)
		p.fs->root->orphan[i] = put64(0);
	p.fs->root->crc = put32(adit__crc32c(ADIT_MAGIC_ROOT, (uint8_t *)p.fs->root + 16, 4096 - 16));
	adit__core_abandon(p.fs);
	assert_int_equal(check(&p, 0, &res, false), 0);
	assert_true(res.left >= 3);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	assert_int_equal(res.left, 0);
	pool_open(&p);
	assert_int_not_equal(adit__getattr(p.fs, id[0].ino, &(struct adit_attr){0}), 0);
	assert_clean(p.fs, "after the repair");
	close_image(&p);
}

/* Preen mends counters and leaked blocks, and leaves the rest alone. */
static void test_preen(void **state)
{
	struct adit_check_result res;
	struct adit_inode_pm *ip;
	uint64_t bitmap, word, seal, block;
	struct pool p;

	(void)state;
	open_image(&p);
	ip = adit__inode_slot(p.fs, lookup(p.fs, ADIT_INO_ROOT, "few"));
	block = p.fs->pool_blocks - 3;
	adit__bitmap_where(p.fs, block, &bitmap, &word, &seal);
	*(uint64_t *)(p.pm.base + word) |= 1ull << block % 64;
	adit__bitmap_seal(p.fs, block);
	adit__core_abandon(p.fs);
	ip->nlink = put32(77);
	ip->crc = put32(adit__crc32c(ADIT_MAGIC_INODE, (uint8_t *)ip + 32, 256 - 32));
	assert_int_equal(check(&p, ADIT_CHECK_PREEN, &res, false), 0);
	assert_int_equal(res.left, 0);
	assert_true(res.fixed >= 2);
	ip->crc = put32(~get32(ip->crc));
	assert_int_equal(check(&p, ADIT_CHECK_PREEN, &res, false), 0);
	assert_int_equal(res.fixed, 0);
	assert_true(res.left > 0);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	assert_int_equal(res.left, 0);
	munmap(p.pm.base, POOL_BYTES);
}

/* The medium ends before the pool does. */
static void test_truncated(void **state)
{
	static const unsigned keep[] = {99, 90, 75, 60};
	struct adit_check_result res;

	(void)state;
	for (unsigned i = 0; i < sizeof keep / sizeof *keep; i++) {
		struct pool p;
		int err;

		map_image(&p);
		p.pm.size_bytes = (uint64_t)POOL_BYTES * keep[i] / 100 / ADIT_BLOCK * ADIT_BLOCK;
		assert_int_equal(adit__core_open(&p.fs, &p.pm, &adit__env, &p.reporter, 0), -EUCLEAN);
		assert_int_equal(check(&p, 0, &res, false), 0);
		assert_true(res.left > 0);
		munmap(p.pm.base, POOL_BYTES);
		map_image(&p);
		p.pm.size_bytes = (uint64_t)POOL_BYTES * keep[i] / 100 / ADIT_BLOCK * ADIT_BLOCK;
		err = check(&p, ADIT_CHECK_REPAIR, &res, false);
		assert_int_equal(err, 0);
		assert_int_equal(res.left, 0);
		pool_open(&p);
		assert_int_equal(p.fs->pool_blocks, p.pm.size_bytes / ADIT_BLOCK);
		assert_clean(p.fs, "after the repair");
		adit__core_abandon(p.fs);
		munmap(p.pm.base, POOL_BYTES);
	}
}

/* Both copies of what there are two of. */
static void test_both_copies(void **state)
{
	struct adit_check_result res;
	uint64_t root, copy, ckpt, which;
	struct pool p;

	(void)state;
	open_image(&p);
	root = get64(p.fs->super.root_block) * ADIT_BLOCK;
	copy = get64(p.fs->super.root_copy) * ADIT_BLOCK;
	ckpt = get64(p.fs->super.ckpt_start) * ADIT_BLOCK;
	close_image(&p);
	map_image(&p);
	for (unsigned i = 0; i < 2; i++) {
		p.pm.base[i * ADIT_SUPER_COPY * ADIT_BLOCK + 3] ^= 1;
		p.pm.base[(i ? root : copy) + 1] ^= 1;
		p.pm.base[ckpt + i * ADIT_BLOCK + 20] ^= 1;
	}
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &adit__env, &p.reporter, 0), -EBADMSG);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	assert_int_equal(res.left, 0);
	pool_open(&p);
	assert_int_equal(touched_files(p.fs, &which), 0);
	assert_clean(p.fs, "after the repair");
	close_image(&p);
}

/* Nothing that is no pool crashes it. */
static void test_no_pool(void **state)
{
	struct adit_check_result res;
	struct pool p;
	uint64_t random = 5;

	(void)state;
	map_image(&p);
	for (unsigned i = 0; i < POOL_BYTES; i += 8) {
		uint64_t word = pool_random(&random);

		memcpy(p.pm.base + i, &word, 8);
	}
	assert_int_not_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	memset(p.pm.base, 0, POOL_BYTES);
	assert_int_not_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	p.pm.size_bytes = 4096;
	assert_int_not_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	munmap(p.pm.base, POOL_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean),	  cmocka_unit_test(test_lost_and_found),
		cmocka_unit_test(test_lost_and_found_is_a_file),
		cmocka_unit_test(test_grown_extents),
		cmocka_unit_test(test_circle),	  cmocka_unit_test(test_orphans),
		cmocka_unit_test(test_preen),	  cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_both_copies), cmocka_unit_test(test_no_pool),
	};

	return cmocka_run_group_tests(tests, make_image, drop_image);
}
