/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool that a fault of the medium has stopped takes no change and writes nothing more; and a checkpoint of more
 * blocks than its table holds.
 */
#include "pool.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "core/check.h"
#include "core/file.h"
#include "core/inode.h"
#include "core/log.h"
#include "core/namei.h"

#define POOL_BYTES (64ull << 20) /* sixteen lanes */
#define MANY	   4500

static uint64_t make(struct adit_fs *fs, const char *name)
{
	struct adit_create c = {.mode = S_IFREG | 0600};
	struct adit_id id = {0};

	assert_int_equal(adit__create(fs, ADIT_INO_ROOT, name, strlen(name), &c, NULL, &id), 0);
	return id.ino;
}

/* What happened before it stopped is in the log: the next open has it. */
static void test_stopped(void **state)
{
	struct adit_create c = {.mode = S_IFREG | 0600};
	struct adit_iovec v = {"late", 4};
	uint64_t ino, offset = 0;
	struct adit_attr a;
	struct adit_inode_pm *ip;
	struct adit_op op;
	struct adit_id id;
	uint8_t *copy;
	struct pool p;

	(void)state;
	pool_make(&p, POOL_BYTES);
	ino = make(p.fs, "before");
	assert_int_equal(adit__op_begin_write(&op, p.fs), 0); /* under way when it happens */
	adit__lock_inode(&op, ino, true);
	assert_int_equal(adit__cs_inode(op.cs, ino, &ip), 0);
	ip->uid = put32(77);
	copy = malloc(POOL_BYTES);
	assert_non_null(copy);
	adit__stop(p.fs);
	memcpy(copy, p.pm.base, POOL_BYTES);
	assert_int_equal(adit__cs_commit(op.cs), -EIO);
	/* Compared before its locks, volatile words, are given back. */
	assert_memory_equal(copy, p.pm.base, POOL_BYTES);
	adit__op_end(&op);
	assert_int_equal(adit__create(p.fs, ADIT_INO_ROOT, "late", 4, &c, NULL, &id), -EIO);
	assert_int_equal(adit__file_write(p.fs, ino, &v, 1, &offset, 0), -EIO);
	assert_int_equal(adit__file_truncate(p.fs, ino, 5), -EIO);
	assert_int_equal(adit__checkpoint(p.fs), -EIO);
	adit__checkpoint_due(p.fs);
	assert_int_equal(adit__core_close(p.fs), -EIO);
	assert_memory_equal(copy, p.pm.base,
			    get64(((struct adit_super_pm *)copy)->vol_start) * ADIT_BLOCK);
	pool_open(&p);
	assert_int_equal(adit__getattr(p.fs, ino, &a), 0);
	assert_int_equal(a.uid, 0);
	assert_int_equal(adit__lookup(p.fs, ADIT_INO_ROOT, "late", 4, &id), -ENOENT);
	assert_int_equal(adit__create(p.fs, ADIT_INO_ROOT, "late", 4, &c, NULL, &id), 0);
	free(copy);
	pool_destroy(&p);
}

static struct adit_env lanes_env;
static uint32_t next_lane;

static uint32_t each_lane(void)
{
	return next_lane++;
}

/* One block of each of many files, written through the log: all are touched between two checkpoints. */
static void test_many_touched(void **state)
{
	static uint64_t ino[MANY];
	struct adit_statfs before;
	uint64_t count;
	char name[16], text[300];
	struct pool p;

	(void)state;
	pool_make(&p, POOL_BYTES);
	assert_int_equal(adit__core_close(p.fs), 0);
	lanes_env = adit__env;
	lanes_env.thread_hint = each_lane;
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &lanes_env, &p.reporter, 0), 0);
	for (unsigned i = 0; i < MANY; i++) {
		uint64_t offset = 0;
		struct adit_iovec v = {"first", 5};

		snprintf(name, sizeof name, "%u", i);
		ino[i] = make(p.fs, name);
		assert_int_equal(adit__file_write(p.fs, ino[i], &v, 1, &offset, 0), 5);
		assert_int_equal(adit__file_truncate(p.fs, ino[i], 4096), 0);
		offset = 0;
		v = (struct adit_iovec){text, 200};
		memset(text, (int)i, sizeof text);
		assert_int_equal(adit__file_write(p.fs, ino[i], &v, 1, &offset, 0), 200);
	}
	assert_int_equal(adit__checkpoint(p.fs), 0);
	count = p.fs->vol->ckpt_count;
	adit__core_statfs(p.fs, &before);
	for (unsigned i = 0; i < MANY; i++) {
		uint64_t offset = 104; /* a whole word: nothing else of the block is logged */
		struct adit_iovec v = {text, 8};

		memset(text, (int)(i + 1), sizeof text);
		assert_int_equal(adit__file_write(p.fs, ino[i], &v, 1, &offset, ADIT_WRITE_ATOMIC),
				 8);
	}
	assert_int_equal(p.fs->vol->ckpt_count, count); /* so they are all in the next one */
	pool_crash(&p);
	for (unsigned i = 0; i < MANY; i++) {
		struct adit_iovec v = {text, sizeof text};

		assert_int_equal(adit__file_read(p.fs, ino[i], &v, 1, 0), sizeof text);
		assert_int_equal((uint8_t)text[103], (uint8_t)i);
		assert_int_equal((uint8_t)text[104], (uint8_t)(i + 1));
		assert_int_equal((uint8_t)text[111], (uint8_t)(i + 1));
		assert_int_equal((uint8_t)text[112], (uint8_t)i);
	}
	assert_int_equal(adit__check_quiet(p.fs, text, sizeof text), 0);
	pool_destroy(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_many_touched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
