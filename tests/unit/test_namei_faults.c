/* SPDX-License-Identifier: BSD-3-Clause */
/* Names when something is wrong: no space, damaged entries, a read-only pool; and what an operation
 * costs in fences. */
#include "names.h"
#include "held.h"

/* ---- trouble -------------------------------------------------------------------------------- */

/* Every allocation of every operation refused in turn: an error, and nothing has changed. */
static void no_space(void **state)
{
	struct pool *p = *state;
	uint64_t d = folder(p, ROOT, "d"), f = file(p, ROOT, "f");
	char target[200];
	struct adit_create link = {.mode = S_IFLNK | 0777, .link = target, .link_len = sizeof target};
	struct adit_statfs before;
	struct adit_id id;
	char name[64];

	memset(target, 'x', sizeof target);
	/* A directory that is just about to outgrow its inode, and then its leaves, again and again. */
	for (unsigned i = 0; i < 300; i++) {
		int err = 0;

		snprintf(name, sizeof name, "the name of an entry that takes some room %u", i);
		before = pool_usage(p);
		for (unsigned n = 1;; n++) {
			struct adit_attr was = attr(p, d);

			p->fs->fail_alloc_at = n;
			switch (i % 4) {
			case 0: err = create(p, d, name, S_IFREG); break;
			case 1:
				err = adit__create(p->fs, d, N(name), &link, NULL, &id);
				break;
			case 2: err = adit__link(p->fs, f, d, N(name)); break;
			case 3: err = rename_(p, ROOT, "moving", d, name, ADIT_RENAME_WHITEOUT); break;
			}
			if (p->fs->fail_alloc_at == 0 && err) {
				assert_int_equal(err, i % 4 == 3 && !find(p, ROOT, "moving") ?
							 -ENOENT : -ENOSPC);
			}
			p->fs->fail_alloc_at = 0;
			if (!err)
				break;
			if (err == -ENOENT) {
				file(p, ROOT, "moving");
				before = pool_usage(p);
				n = 0;
				continue;
			}
			assert_int_equal(find(p, d, name), 0);
			assert_memory_equal(&was.size, &(uint64_t){attr(p, d).size}, 8);
			assert_int_equal(attr(p, d).blocks, was.blocks);
			same_usage(p, before);
			assert_true(n < 50);
		}
		assert_int_not_equal(find(p, d, name), 0);
		if (i % 4 == 3)
			assert_int_equal(adit__unlink(p->fs, ROOT, N("moving")), 0);
	}
	pool_crash(p);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof name, "the name of an entry that takes some room %u", i);
		assert_int_equal(adit__unlink(p->fs, d, N(name)), 0);
	}
	assert_int_equal(attr(p, d).blocks, 0);
}

/* A pool filled to the brim: removing works, and gives everything back. */
static void full(void **state)
{
	struct pool *p = *state;
	uint64_t d = folder(p, ROOT, "d"), f = file(p, ROOT, "fill");
	char name[64];
	unsigned n = 0;
	int err;

	assert_int_equal(adit__file_fallocate(p->fs, f, 0, 0, POOL_BYTES), -ENOSPC);
	for (uint64_t at = 0, step = 1 << 20; step >= 4096;) {
		if (adit__file_fallocate(p->fs, f, 0, at, step) == 0)
			at += step;
		else
			step /= 2;
	}
	do {
		snprintf(name, sizeof name, "there are many entries like this one %u", n);
		err = create(p, d, name, S_IFREG | 0600);
		n++;
	} while (!err);
	assert_int_equal(err, -ENOSPC);
	n--;
	pool_crash(p);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "there are many entries like this one %u", i);
		assert_int_equal(adit__unlink(p->fs, d, N(name)), 0);
	}
	assert_int_equal(adit__unlink(p->fs, ROOT, N("fill")), 0);
	assert_int_equal(attr(p, d).blocks, 0);
	pool_usage(p);
	assert_int_equal(create(p, ROOT, "one more", S_IFDIR), 0);
}

/* Entries that do not match their inodes are reported and change nothing. */
static void damaged_entries(void **state)
{
	struct pool *p = *state;
	static const struct {
		uint64_t ino;
		uint32_t generation;
		uint8_t dtype;
	} bad[] = {
		{0, 1, 8}, {1, 1, 8}, {2, 1, 4}, {64, 1, 8}, {60, 1, 8}, {1ull << 40, 1, 8},
		{0, 0, 0}, /* the file itself with another generation; below */
		{0, 0, 1}, /* ... with another type */
	};
	uint64_t f = file(p, ROOT, "good");

	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct adit_dirent de = {bad[i].ino, bad[i].generation, bad[i].dtype};
		struct adit_inode_pm *dir;
		struct adit_op op;

		if (i == 6)
			de = (struct adit_dirent){f, attr(p, f).generation + 1, 8};
		if (i == 7)
			de = (struct adit_dirent){f, attr(p, f).generation, 4};
		assert_int_equal(adit__op_begin_write(&op, p->fs), 0);
		adit__lock_inode(&op, ROOT, true);
		assert_int_equal(adit__cs_inode(op.cs, ROOT, &dir), 0);
		assert_int_equal(adit__dir_insert(op.cs, dir, N("bad"), &de), 0);
		assert_int_equal(adit__cs_commit(op.cs), 0);
		adit__op_end(&op);
		p->reports = 0;
		assert_int_equal(adit__unlink(p->fs, ROOT, N("bad")), -EUCLEAN);
		assert_int_equal(p->reports, 1);
		assert_int_equal(adit__rmdir(p->fs, ROOT, N("bad")), -EUCLEAN);
		assert_int_equal(rename_(p, ROOT, "bad", ROOT, "worse", 0), -EUCLEAN);
		assert_int_equal(rename_(p, ROOT, "good", ROOT, "bad", ADIT_RENAME_EXCHANGE),
				 i < 6 ? -EUCLEAN : 0); /* one inode number: nothing to do */
		assert_int_equal(adit__op_begin_write(&op, p->fs), 0);
		adit__lock_inode(&op, ROOT, true);
		assert_int_equal(adit__cs_inode(op.cs, ROOT, &dir), 0);
		assert_int_equal(adit__dir_remove(op.cs, dir, N("bad")), 0);
		assert_int_equal(adit__cs_commit(op.cs), 0);
		adit__op_end(&op);
	}
	assert_int_equal(attr(p, f).nlink, 1);
	assert_int_equal(attr(p, ROOT).size, 1);
}

static void read_only(void **state)
{
	struct adit_hold hold;
	struct pool *p = *state;
	struct adit_create c = {.mode = S_IFREG | 0600};
	uint64_t f = file(p, ROOT, "f");
	struct adit_attr a = {0};
	struct adit_id id;

	p->fs->read_only = true;
	assert_int_equal(create(p, ROOT, "x", S_IFREG), -EROFS);
	assert_int_equal(adit__create(p->fs, ROOT, N("f"), &c, NULL, &id), -EEXIST);
	assert_int_equal(id.ino, f);
	assert_int_equal(adit__unlink(p->fs, ROOT, N("f")), -EROFS);
	assert_int_equal(adit__link(p->fs, f, ROOT, N("g")), -EROFS);
	assert_int_equal(rename_(p, ROOT, "f", ROOT, "g", 0), -EROFS);
	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_MODE, &a), -EROFS);
	assert_int_equal(adit__create_unnamed(p->fs, ROOT, &c, &hold, &id), -EROFS);
	assert_int_equal(adit__setxattr(p->fs, f, "user.a", "b", 1, 0), -EROFS);
	assert_int_equal(hold_ino(p->fs, f, 0, &a), 0);
	assert_int_equal(release_ino(p->fs, f), 0);
	p->fs->read_only = false;
}

#ifdef ADIT_RECORD
static uint64_t fences_since(void)
{
	struct adit_pm_counts c;

	adit__counts_get(&c);
	adit__counts_reset();
	return c.fences;
}

static void fences(void **state)
{
	struct pool *p = *state;
	uint64_t d = folder(p, ROOT, "d"), f = file(p, ROOT, "f");
	struct adit_attr a = {.mode = 0600};
	struct adit_id id;

	pool_usage(p);
	fences_since();
	assert_int_equal(create(p, ROOT, "g", S_IFREG), 0);
	assert_int_equal(fences_since(), 1);
	assert_int_equal(create(p, ROOT, "e", S_IFDIR), 0);
	assert_int_equal(fences_since(), 1);
	assert_int_equal(create(p, ROOT, "l", S_IFLNK), 0);
	assert_int_equal(fences_since(), 1);
	assert_int_equal(adit__link(p->fs, f, d, N("f")), 0);
	assert_int_equal(fences_since(), 1);
	assert_int_equal(rename_(p, d, "f", ROOT, "g", 0), 0);
	assert_int_equal(fences_since(), 1);
	assert_int_equal(rename_(p, ROOT, "e", d, "e", 0), 0);
	assert_int_equal(fences_since(), 1);
	assert_int_equal(adit__unlink(p->fs, ROOT, N("l")), 0);
	assert_int_equal(fences_since(), 1);
	assert_int_equal(adit__rmdir(p->fs, d, N("e")), 0);
	assert_int_equal(fences_since(), 1);
	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_MODE, &a), 0);
	assert_int_equal(fences_since(), 1);
	assert_int_equal(adit__lookup(p->fs, ROOT, N("f"), &id), 0);
	assert_int_equal(hold_ino(p->fs, f, id.generation, &a), 0);
	assert_int_equal(release_ino(p->fs, f), 0);
	assert_int_equal(fences_since(), 0);
}
#endif

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(no_space), T(full), T(damaged_entries), T(read_only),
#ifdef ADIT_RECORD
		T(fences),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
