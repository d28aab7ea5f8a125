/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log, the checkpoint and recovery, the allocator's quarantine, the replicas: what log.c,
 * checkpoint.c, alloc.c, inode.c and fs.c promise, one invariant at a time.  tests/crash tries all states;
 * here each case is small enough to read.
 */
#include "core/alloc.h"
#include "core/file.h"
#include "core/inode.h"
#include "core/log.h"
#include "core/namei.h"
#include "pool.h"

#include <pthread.h>
#include <string.h>

#define MIB (1024ull * 1024)

static uint64_t make_file(struct pool *p, const char *name)
{
	struct adit_create c = {.mode = S_IFREG | 0644};
	struct adit_id id;

	assert_int_equal(adit__create(p->fs, ADIT_INO_ROOT, name, strlen(name), &c, NULL, &id), 0);
	return id.ino;
}

static int exists(struct pool *p, const char *name)
{
	struct adit_id id;

	return adit__lookup(p->fs, ADIT_INO_ROOT, name, strlen(name), &id);
}

static void remove_file(struct pool *p, const char *name)
{
	assert_int_equal(adit__unlink(p->fs, ADIT_INO_ROOT, name, strlen(name)), 0);
}

static int64_t put(struct pool *p, uint64_t ino, const void *bytes, size_t len, uint64_t offset,
		   unsigned flags)
{
	struct adit_iovec v = {(void *)bytes, len};

	return adit__file_write(p->fs, ino, &v, 1, &offset, flags);
}

static void assert_bytes(struct pool *p, uint64_t ino, const void *bytes, size_t len,
			 uint64_t offset)
{
	uint8_t *got = malloc(len);
	struct adit_iovec v = {got, len};

	assert_int_equal(adit__file_read(p->fs, ino, &v, 1, offset), (int64_t)len);
	assert_memory_equal(got, bytes, len);
	free(got);
}

/* The newest record of the lanes; its lane. */
static struct adit_record_pm *newest_record(struct pool *p)
{
	struct adit_record_pm *best = NULL;

	for (uint32_t lane = 0; lane < p->fs->lanes; lane++) {
		uint64_t pos = p->fs->vol->lane[lane].tail;
		const struct adit_record_pm *r;

		while (pos < p->fs->vol->lane[lane].head &&
		       (r = adit__record_at(p->fs, lane, pos, true)) != NULL) {
			if (!best || get64(r->seq) > get64(best->seq))
				best = (struct adit_record_pm *)r;
			pos = adit__record_end(p->fs, r);
		}
	}
	return best;
}

static void test_record_survives_without_checkpoint(void **state)
{
	struct pool p;

	(void)state;
	pool_make(&p, 8 * MIB);
	make_file(&p, "a");
	assert_true(p.fs->vol->c < p.fs->vol->seq);
	pool_crash(&p);
	assert_int_equal(exists(&p, "a"), 0);
	pool_destroy(&p);
}

/* Applied in place but the record never became whole: recovery must not trust the chain beyond it.
 * (Only the record is torn here, as if the crash came before the fence: nothing was applied.) */
static void test_torn_record_ends_the_chain(void **state)
{
	struct pool p;
	uint8_t *image;

	(void)state;
	pool_make(&p, 8 * MIB);
	make_file(&p, "before");
	assert_int_equal(adit__checkpoint(p.fs), 0);
	image = malloc(p.pm.size_bytes);
	for (size_t cut = 8; cut < 300; cut += 8) {
		struct adit_record_pm *r;
		uint64_t seq_offset;

		memcpy(image, p.pm.base, p.pm.size_bytes);
		make_file(&p, "during");
		r = newest_record(&p);
		seq_offset = adit__offset_of(p.fs, r);
		if (cut < get32(r->len))
			memcpy(image + seq_offset, r,
			       cut); /* a prefix of the record reached the medium */
		else
			cut = 300;
		adit__core_abandon(p.fs);
		if (cut < 300) {
			memcpy(p.pm.base, image, p.pm.size_bytes);
			pool_open(&p);
			assert_int_equal(exists(&p, "before"), 0);
			assert_int_equal(exists(&p, "during"), -ENOENT);
		} else {
			pool_open(&p);
			assert_int_equal(exists(&p, "during"), 0);
		}
	}
	free(image);
	pool_destroy(&p);
}

static void test_ring_wraps_many_times(void **state)
{
	struct pool p;
	char name[32];

	(void)state;
	pool_make(&p, 8 * MIB);
	for (int i = 0; i < 6000; i++) {
		snprintf(name, sizeof name, "f%d", i);
		make_file(&p, name);
		if (i >= 10) {
			snprintf(name, sizeof name, "f%d", i - 10);
			remove_file(&p, name);
		}
		if (i % 1500 == 7) {
			pool_crash(&p);
			snprintf(name, sizeof name, "f%d", i);
			assert_int_equal(exists(&p, name), 0);
		}
	}
	assert_true(p.fs->vol->lane[0].head > 2 * p.fs->ring_bytes ||
		    p.fs->vol->lane[1].head > 2 * p.fs->ring_bytes);
	pool_destroy(&p);
}

/* I5: until a checkpoint, a freed block is nobody's. */
static void test_freed_blocks_wait_for_the_checkpoint(void **state)
{
	struct pool p;
	struct adit_op op;
	struct adit_run run, again;
	uint64_t avail;

	(void)state;
	pool_make(&p, 8 * MIB);
	assert_int_equal(adit__op_begin_write(&op, p.fs), 0);
	assert_int_equal(adit__alloc_blocks(op.cs, 0, 4, 4, 0, &run), 0);
	assert_int_equal(adit__cs_commit(op.cs), 0);
	adit__op_end(&op);
	assert_int_equal(adit__checkpoint(p.fs), 0);
	avail = p.fs->vol->free_blocks;

	assert_int_equal(adit__op_begin_write(&op, p.fs), 0);
	adit__free_blocks(op.cs, run.block, run.count);
	assert_int_equal(adit__cs_commit(op.cs), 0);
	assert_int_equal(p.fs->vol->free_blocks, avail);
	assert_int_equal(adit__alloc_blocks(op.cs, run.block, 4, 4, 0, &again), 0);
	assert_true(again.block >= run.block + 4 || again.block + 4 <= run.block);
	adit__cs_drop(op.cs);
	assert_int_equal(p.fs->vol->free_blocks, avail);
	adit__op_end(&op);

	assert_int_equal(adit__checkpoint(p.fs), 0);
	assert_int_equal(p.fs->vol->free_blocks, avail + 4);
	assert_int_equal(adit__op_begin_write(&op, p.fs), 0);
	assert_int_equal(adit__alloc_blocks(op.cs, run.block, 4, 4, 0, &again), 0);
	assert_int_equal(again.block, run.block);
	adit__op_end(&op); /* drops */
	assert_int_equal(p.fs->vol->free_blocks, avail + 4);
	pool_destroy(&p);
}

/* I8: logged data must not come back over data stored in place later. */
static void test_logged_data_is_not_replayed_over_newer(void **state)
{
	struct pool p;
	uint8_t first[4096], logged[64], newer[4096];
	uint64_t ino;

	(void)state;
	memset(first, 1, sizeof first);
	memset(logged, 2, sizeof logged);
	memset(newer, 3, sizeof newer);
	pool_make(&p, 8 * MIB);
	ino = make_file(&p, "data");
	assert_int_equal(put(&p, ino, first, sizeof first, 0, 0), sizeof first);
	assert_int_equal(put(&p, ino, logged, sizeof logged, 100, ADIT_WRITE_ATOMIC),
			 sizeof logged);
	assert_bytes(&p, ino, logged, sizeof logged, 100);
	assert_int_equal(put(&p, ino, newer, sizeof newer, 0, 0), sizeof newer);
	pool_crash(&p);
	assert_bytes(&p, ino, newer, sizeof newer, 0);
	pool_destroy(&p);
}

/* A record that somebody forged (file contents that a record carried may be left in a ring): right in
 * everything but the nonce. As a control, the same with the nonce counts. */
static void test_forged_record_is_not_replayed(void **state)
{
	struct adit_record_pm *r;
	struct pool p;
	uint64_t head;
	uint32_t len;

	(void)state;
	for (int with_nonce = 0; with_nonce < 2; with_nonce++) {
		uint8_t copy[4096] = {0}, *at;

		pool_make(&p, 8 * MIB);
		make_file(&p, "a");
		r = newest_record(&p);
		len = get32(r->len);
		assert_true(len <= sizeof copy);
		memcpy(copy, r, len);
		pool_reopen(&p);
		r = (struct adit_record_pm *)copy;
		head = p.fs->vol->lane[get16(r->lane)].head;
		r->pos = put64(head);
		r->seq = put64(p.fs->vol->c + 1);
		if (with_nonce)
			r->nonce = put64(p.fs->log_nonce);
		r->crc = put32(adit__env.crc32c(get16(r->lane), copy + 4, len - 4));
		at = adit__at(p.fs, (get64(p.fs->super.lane_start) << ADIT_BLOCK_SHIFT) +
					    get16(r->lane) * p.fs->ring_bytes +
					    head % p.fs->ring_bytes);
		memcpy(at, copy, len);
		adit__core_abandon(p.fs);
		pool_open(&p);
		assert_int_equal(p.fs->vol->c, get64(r->seq) - !with_nonce);
		pool_destroy(&p);
	}
}

/* I14: either checkpoint slot may be lost, not both. */
static void test_checkpoint_slots(void **state)
{
	struct pool p;
	struct adit_ckpt_pm *newest;
	struct adit_fs *fs;

	(void)state;
	pool_make(&p, 8 * MIB);
	make_file(&p, "a");
	assert_int_equal(adit__checkpoint(p.fs), 0);
	make_file(&p, "b");
	/* The slot that does not count may hold anything: a crash while it was written. */
	newest = (struct adit_ckpt_pm *)adit__ckpt_newest(p.fs);
	memset((void *)adit__ckpt_slot(p.fs, newest == adit__ckpt_slot(p.fs, 0)), 0x5a, 100);
	pool_crash(&p);
	assert_int_equal(exists(&p, "a"), 0);
	assert_int_equal(exists(&p, "b"), 0);
	adit__core_abandon(p.fs);
	for (unsigned i = 0; i < 2; i++)
		memset(p.pm.base + (8 + i) * 4096, 0x5a, 100);
	assert_int_equal(adit__core_open(&fs, &p.pm, &adit__env, &p.reporter, 0), -EBADMSG);
	munmap(p.pm.base, p.pm.size_bytes);
}

static void test_superblock_copies(void **state)
{
	struct pool p;
	struct adit_fs *fs;

	(void)state;
	pool_make(&p, 8 * MIB);
	make_file(&p, "a");
	for (unsigned at = 0; at < 4096; at += 8) {
		adit__core_abandon(p.fs);
		*(uint64_t *)(p.pm.base + at) ^= 0x0100000000000001ull;
		pool_open(&p); /* the second copy serves, and mends the first */
		assert_int_equal(exists(&p, "a"), 0);
	}
	adit__core_abandon(p.fs);
	memset(p.pm.base, 0, 4096);
	memset(p.pm.base + 4096 * ADIT_SUPER_COPY, 0, 4096);
	assert_int_equal(adit__core_open(&fs, &p.pm, &adit__env, &p.reporter, 0), -EUCLEAN);
	munmap(p.pm.base, p.pm.size_bytes);
}

static void test_unknown_features_are_refused_by_name(void **state)
{
	struct pool p;
	struct adit_fs *fs;

	(void)state;
	pool_make(&p, 8 * MIB);
	p.fs->super.incompat = put64(ADIT_INCOMPAT_REFLINK);
	adit__super_store(p.fs);
	adit__core_abandon(p.fs);
	assert_int_equal(adit__core_open(&fs, &p.pm, &adit__env, &p.reporter, 0), -EOPNOTSUPP);
	assert_non_null(strstr(p.report, "reflink"));
	munmap(p.pm.base, p.pm.size_bytes);

	pool_make(&p, 8 * MIB);
	p.fs->super.ro_compat = put64(ADIT_ROCOMPAT_SNAPSHOTS);
	adit__super_store(p.fs);
	adit__core_abandon(p.fs);
	assert_int_equal(adit__core_open(&fs, &p.pm, &adit__env, &p.reporter, 0), -EROFS);
	assert_int_equal(adit__core_open(&fs, &p.pm, &adit__env, &p.reporter, ADIT_OPEN_RDONLY), 0);
	adit__core_abandon(fs);
	munmap(p.pm.base, p.pm.size_bytes);
}

/* I16: the root block comes back from its replica, with and without records to replay. */
static void test_root_block_replica(void **state)
{
	struct pool p;

	(void)state;
	for (int crash = 0; crash < 2; crash++) {
		pool_make(&p, 8 * MIB);
		for (int i = 0; i < 200; i++) { /* fills clusters: the root block changes */
			char name[16];

			snprintf(name, sizeof name, "f%d", i);
			make_file(&p, name);
		}
		if (!crash)
			assert_int_equal(adit__checkpoint(p.fs), 0);
		adit__core_abandon(p.fs);
		memset(p.pm.base + 10 * 4096 + 16, 0xff, 1024);
		pool_open(&p);
		assert_int_equal(exists(&p, "f199"), 0);
		make_file(&p, "more");
		pool_reopen(&p);
		assert_int_equal(exists(&p, "more"), 0);
		pool_destroy(&p);
		munmap(p.pm.base, 0);
	}
}

/* mkfs that was cut off at any point leaves something that open refuses. */
static void test_unfinished_mkfs_is_refused(void **state)
{
	struct pool p;
	struct adit_fs *fs;

	(void)state;
	pool_make(&p, 8 * MIB);
	p.fs->super.state = put32(ADIT_STATE_MAKING);
	adit__super_store(p.fs);
	adit__core_abandon(p.fs);
	assert_int_equal(adit__core_open(&fs, &p.pm, &adit__env, &p.reporter, 0), -EUCLEAN);
	munmap(p.pm.base, p.pm.size_bytes);
}

/* A thread's own files, on its own lane. */
struct worker {
	struct pool *p;
	uint64_t dir;
	int id;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct adit_create c = {.mode = S_IFREG | 0644};
	struct adit_id id;
	char name[32];

	for (int i = 0; i < 1500; i++) {
		snprintf(name, sizeof name, "t%d-%d", w->id, i);
		if (adit__create(w->p->fs, w->dir, name, strlen(name), &c, NULL, &id) != 0)
			return "create";
		if (put(w->p, id.ino, name, strlen(name), 0, 0) != (int64_t)strlen(name))
			return "write";
		if (i % 3 == 0 && adit__unlink(w->p->fs, w->dir, name, strlen(name)) != 0)
			return "unlink";
	}
	return NULL;
}

/* Several lanes, checkpoints in between, replay in order of the numbers. */
static void test_lanes_replay_in_order(void **state)
{
	enum { THREADS = 4 };
	struct worker w[THREADS];
	pthread_t t[THREADS];
	struct adit_statfs before, after;
	struct pool p;
	char name[32];

	(void)state;
	pool_make(&p, 64 * MIB);
	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){&p, ADIT_INO_ROOT, i};
		assert_int_equal(pthread_create(&t[i], NULL, work, &w[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		void *failed;

		pthread_join(t[i], &failed);
		assert_null(failed);
	}
	before = pool_usage(&p);
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof name, "last%d", i);
		make_file(&p, name);
	}
	pool_crash(&p);
	after = pool_usage(&p);
	assert_int_equal(after.inodes_used, before.inodes_used + 50);
	for (int i = 0; i < THREADS; i++)
		for (int k = 0; k < 1500; k++) {
			snprintf(name, sizeof name, "t%d-%d", i, k);
			assert_int_equal(exists(&p, name), k % 3 == 0 ? -ENOENT : 0);
		}
	pool_destroy(&p);
}

/* Every single allocation refused: the pool is as before, and works on. */
static void test_no_space_leaves_no_trace(void **state)
{
	struct pool p;
	struct adit_create c = {.mode = S_IFREG | 0644};
	struct adit_statfs before, after;
	struct adit_id id;

	(void)state;
	pool_make(&p, 8 * MIB);
	for (uint64_t n = 1; n < 20; n++) {
		char name[64];
		int err;

		memset(name, 'x', sizeof name);
		snprintf(name + 40, sizeof name - 40, "-%llu", (unsigned long long)n);
		before = pool_usage(&p);
		p.fs->fail_alloc_at = n;
		err = adit__create(p.fs, ADIT_INO_ROOT, name, strlen(name), &c, NULL, &id);
		if (p.fs->fail_alloc_at != 0) { /* not reached: it needed fewer */
			assert_int_equal(err, 0);
			p.fs->fail_alloc_at = 0;
			continue;
		}
		assert_int_equal(err, -ENOSPC);
		after = pool_usage(&p);
		assert_int_equal(after.free, before.free);
		assert_int_equal(after.inodes_used, before.inodes_used);
		assert_int_equal(p.fs->vol->free_blocks, after.free);
		assert_int_equal(exists(&p, name), -ENOENT);
		n--;
		assert_int_equal(
			adit__create(p.fs, ADIT_INO_ROOT, name, strlen(name), &c, NULL, &id), 0);
		n++;
	}
	pool_destroy(&p);
}

/* While no checkpoint can run, a lane ends with room left for the records that it may not overwrite (I6). */
static void test_ring_is_not_overrun(void **state)
{
	struct adit_lock *lock;
	struct pool p;
	char name[32];
	unsigned n = 0;

	(void)state;
	pool_make(&p, 8 * MIB);
	pool_reopen(&p);
	lock = &p.fs->vol->ckpt_lock;
	adit__env.lock(lock, p.fs->incarnation, true);
	while (adit__lane_has_room(p.fs, adit__env.thread_hint() % p.fs->lanes) && n < 20000) {
		snprintf(name, sizeof name, "f%u", n++);
		make_file(&p, name);
	}
	for (uint32_t i = 0; i < p.fs->lanes; i++)
		assert_true(p.fs->vol->lane[i].head - p.fs->vol->lane[i].tail <= p.fs->ring_bytes);
	adit__env.unlock(lock, true);
	pool_crash(&p);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "f%u", i);
		assert_int_equal(exists(&p, name), 0);
	}
	pool_destroy(&p);
}

/* The inode that an intent named is gone, and its number in use again: the intent is dropped. */
static void test_intent_of_another_inode(void **state)
{
	const struct adit_inode_pm *ip;
	struct adit_intent_pm *in;
	uint8_t bytes[20000];
	struct pool p;
	uint64_t ino;

	(void)state;
	pool_make(&p, 8 * MIB);
	memset(bytes, 5, sizeof bytes);
	ino = make_file(&p, "a");
	assert_int_equal(put(&p, ino, bytes, sizeof bytes, 0, 0), sizeof bytes);
	assert_int_equal(adit__checkpoint(p.fs), 0);
	assert_int_equal(adit__inode_get(p.fs, ino, &ip), 0);
	in = adit__block_at(p.fs, get64(p.fs->super.intent_start));
	*in = (struct adit_intent_pm){.type = put32(ADIT_INTENT_TRUNCATE),
				      .ino = put64(ino),
				      .generation = put32(get32(ip->generation) - 1),
				      .b = put64(100)};
	pool_crash(&p);
	assert_bytes(&p, ino, bytes, sizeof bytes, 0);
	in = adit__block_at(p.fs, get64(p.fs->super.intent_start));
	assert_int_equal(get32(in->type), ADIT_INTENT_NONE);

	/* And of one that is there, it is carried out. */
	assert_int_equal(adit__checkpoint(p.fs), 0);
	in += p.fs->lanes - 1;
	*in = (struct adit_intent_pm){.type = put32(ADIT_INTENT_TRUNCATE),
				      .ino = put64(ino),
				      .generation = ip->generation,
				      .b = put64(100)};
	pool_crash(&p);
	memset(bytes, 0, sizeof bytes);
	assert_bytes(&p, ino, bytes, sizeof bytes, 0);

	/* Also for who may only read: in pages of its own. */
	memset(bytes, 6, sizeof bytes);
	assert_int_equal(put(&p, ino, bytes, sizeof bytes, 0, 0), sizeof bytes);
	assert_int_equal(adit__checkpoint(p.fs), 0);
	in = adit__block_at(p.fs, get64(p.fs->super.intent_start));
	*in = (struct adit_intent_pm){.type = put32(ADIT_INTENT_TRUNCATE), .ino = put64(ino),
				      .generation = ip->generation, .b = put64(100)};
	adit__core_abandon(p.fs);
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &adit__env, &p.reporter, ADIT_OPEN_RDONLY), 0);
	memset(bytes, 0, sizeof bytes);
	assert_bytes(&p, ino, bytes, sizeof bytes, 0);
	assert_int_equal(adit__unlink(p.fs, ADIT_INO_ROOT, "a", 1), -EROFS);
	adit__core_abandon(p.fs);
	pool_open(&p);
	pool_destroy(&p);
}

/* The fixed part of a group's header is known from its replica: the group stays in use. */
static void test_group_header_replica(void **state)
{
	uint8_t block[4096] = {7};
	struct pool p;
	uint64_t ino;

	(void)state;
	pool_make(&p, 8 * MIB);
	ino = make_file(&p, "a");
	pool_reopen(&p);
	for (uint32_t g = 0; g < p.fs->groups; g++)
		memset(adit__block_at(p.fs, adit__group_header_block(p.fs, g)), 0x5a, 16);
	assert_int_equal(put(&p, ino, block, sizeof block, 0, 0), sizeof block);
	assert_true(p.reports > 0);
	adit__core_abandon(p.fs);
	munmap(p.pm.base, p.pm.size_bytes);
}

/* A group's bitmap fails its check: nothing is allocated there, the rest works. */
static void test_damaged_bitmap_is_left_alone(void **state)
{
	struct pool p;
	uint64_t ino;
	uint8_t block[4096] = {7};

	(void)state;
	pool_make(&p, 128 * MIB);
	ino = make_file(&p, "a");
	assert_int_equal(put(&p, ino, block, sizeof block, 0, 0), sizeof block);
	pool_reopen(&p);
	adit__core_abandon(p.fs);
	pool_open(&p);
	for (uint32_t g = 1; g < p.fs->groups; g++)
		*(uint8_t *)adit__block_at(p.fs, adit__group_bitmap_block(p.fs, g)) ^= 1;
	for (int i = 0; i < 100; i++) {
		char name[16];

		snprintf(name, sizeof name, "g%d", i);
		ino = make_file(&p, name);
		assert_int_equal(put(&p, ino, block, sizeof block, 0, 0), sizeof block);
	}
	assert_bytes(&p, ino, block, sizeof block, 0);
	pool_destroy(&p);

	/* All of them. */
	pool_make(&p, 8 * MIB);
	ino = make_file(&p, "a");
	pool_reopen(&p);
	for (uint32_t g = 0; g < p.fs->groups; g++)
		*(uint8_t *)adit__block_at(p.fs, adit__group_bitmap_block(p.fs, g)) ^= 1;
	assert_int_equal(put(&p, ino, block, sizeof block, 0, 0), -ENOSPC);
	adit__core_abandon(p.fs);
	munmap(p.pm.base, p.pm.size_bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record_survives_without_checkpoint),
		cmocka_unit_test(test_torn_record_ends_the_chain),
		cmocka_unit_test(test_ring_wraps_many_times),
		cmocka_unit_test(test_freed_blocks_wait_for_the_checkpoint),
		cmocka_unit_test(test_logged_data_is_not_replayed_over_newer),
		cmocka_unit_test(test_forged_record_is_not_replayed),
		cmocka_unit_test(test_checkpoint_slots),
		cmocka_unit_test(test_superblock_copies),
		cmocka_unit_test(test_unknown_features_are_refused_by_name),
		cmocka_unit_test(test_root_block_replica),
		cmocka_unit_test(test_unfinished_mkfs_is_refused),
		cmocka_unit_test(test_lanes_replay_in_order),
		cmocka_unit_test(test_no_space_leaves_no_trace),
		cmocka_unit_test(test_damaged_bitmap_is_left_alone),
		cmocka_unit_test(test_group_header_replica),
		cmocka_unit_test(test_ring_is_not_overrun),
		cmocka_unit_test(test_intent_of_another_inode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
