/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Readers without locks (core.h, adit__glance) beside writers: what never changes is always found, what
 * never was never is, attributes and short reads are of one moment.
 */
#include "core/file.h"
#include "core/inode.h"
#include "core/namei.h"
#include "pool.h"

#include <pthread.h>
#include <string.h>

#define FIXED 300
#define STEPS 40000
#define FILE_BYTES 96 /* inline at first; grows out of the inode and back */

struct world {
	struct pool pool;
	uint64_t dir;
	struct adit_id fixed[FIXED];
	struct adit_id file;
	int stop;
};

static size_t fixed_name(char *name, int i)
{
	return (size_t)sprintf(name, "fixed-%d", i);
}

/* Names come and go: leaves split, empty, are freed and taken for other things. */
static void *churn(void *arg)
{
	struct world *w = arg;
	struct adit_create c = {.mode = S_IFREG | 0644};
	struct adit_id id;
	char name[32];

	for (int round = 0; round < 6; round++) {
		for (int i = 0; i < 1500; i++) {
			size_t len = (size_t)sprintf(name, "churn-%d", i);

			if (adit__create(w->pool.fs, w->dir, name, len, &c, NULL, &id) != 0)
				return "create";
		}
		for (int i = 0; i < 1500; i++) {
			size_t len = (size_t)sprintf(name, "churn-%d", i);

			if (adit__unlink(w->pool.fs, w->dir, name, len) != 0)
				return "unlink";
		}
	}
	__atomic_store_n(&w->stop, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* The file is always all of one byte; its fork changes form under the readers. */
static void *rewrite(void *arg)
{
	struct world *w = arg;
	uint8_t bytes[8192];

	for (int i = 0; !__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE); i++) {
		struct adit_iovec v = {bytes, i % 3 ? FILE_BYTES : sizeof bytes};
		uint64_t at = 0;

		memset(bytes, i, sizeof bytes);
		if (adit__file_write(w->pool.fs, w->file.ino, &v, 1, &at, ADIT_WRITE_ATOMIC) !=
		    (int64_t)v.len)
			return "write";
		if (i % 7 == 0 && adit__file_truncate(w->pool.fs, w->file.ino, 0) != 0)
			return "truncate";
	}
	return NULL;
}

static const char *read_uniform(struct world *w)
{
	uint8_t got[64];
	struct adit_iovec v = {got, sizeof got};
	int64_t n = adit__file_read(w->pool.fs, w->file.ino, &v, 1, 0);

	if (n != 0 && n != sizeof got)
		return "read";
	for (int i = 1; i < n; i++)
		if (got[i] != got[0])
			return "a read of two moments";
	return NULL;
}

static void *look(void *arg)
{
	struct world *w = arg;
	uint64_t seed = (uint64_t)(uintptr_t)&seed | 1;
	const char *bad;
	char name[32];

	for (int i = 0; i < STEPS || !__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE); i++) {
		int k = (int)(pool_random(&seed) % FIXED);
		size_t len = fixed_name(name, k);
		struct adit_attr a;
		struct adit_id id;

		if (adit__lookup(w->pool.fs, w->dir, name, len, &id) != 0 ||
		    id.ino != w->fixed[k].ino || id.generation != w->fixed[k].generation)
			return "a name that never changes";
		if (adit__getattr(w->pool.fs, id.ino, &a) != 0 || a.ino != id.ino || a.nlink != 1)
			return "attributes that never change";
		len = (size_t)sprintf(name, "never-%d", k);
		if (adit__lookup(w->pool.fs, w->dir, name, len, &id) != -ENOENT)
			return "a name that never was";
		bad = read_uniform(w);
		if (bad)
			return (void *)(uintptr_t)bad;
	}
	return NULL;
}

static void run(uint32_t weak_hash_mask)
{
	static struct world w;
	struct adit_create c = {.mode = S_IFREG | 0644}, d = {.mode = S_IFDIR | 0755};
	void *(*const job[4])(void *) = {churn, rewrite, look, look};
	pthread_t t[4];
	struct adit_id id;
	char name[32];

	memset(&w, 0, sizeof w);
	pool_make(&w.pool, 64ull << 20);
	w.pool.fs->weak_hash_mask = weak_hash_mask;
	assert_int_equal(adit__create(w.pool.fs, ADIT_INO_ROOT, "d", 1, &d, NULL, &id), 0);
	w.dir = id.ino;
	assert_int_equal(adit__create(w.pool.fs, ADIT_INO_ROOT, "f", 1, &c, NULL, &w.file), 0);
	for (int i = 0; i < FIXED; i++) {
		size_t len = fixed_name(name, i);

		assert_int_equal(adit__create(w.pool.fs, w.dir, name, len, &c, NULL, &w.fixed[i]),
				 0);
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, job[i], &w), 0);
	for (int i = 0; i < 4; i++) {
		void *bad;

		pthread_join(t[i], &bad);
		if (bad)
			fail_msg("%s", (const char *)bad);
	}
	assert_int_equal(w.pool.reports, 0);
	pool_destroy(&w.pool);
}

static void test_beside_writers(void **state)
{
	(void)state;
	run(0);
}

/* Hashes shared by dozens of names reach over the leaves' borders. */
static void test_shared_hashes(void **state)
{
	(void)state;
	run(63);
}

/* The locked way and the one without agree, in directories of every form. */
static void test_same_answers(void **state)
{
	struct adit_create c = {.mode = S_IFREG | 0644};
	struct adit_id id;
	struct pool p;
	char name[32];

	(void)state;
	pool_make(&p, 16ull << 20);
	for (int i = 0; i < 2000; i++) {
		struct adit_dirent de;
		size_t len = (size_t)sprintf(name, "n%d", i);
		int err = adit__dir_glance(p.fs, ADIT_INO_ROOT, 0, name, len, &de);

		assert_true(err == -ENOENT || err == -EAGAIN);
		assert_int_equal(adit__create(p.fs, ADIT_INO_ROOT, name, len, &c, NULL, &id), 0);
		err = adit__dir_glance(p.fs, ADIT_INO_ROOT, 0, name, len, &de);
		if (err != -EAGAIN) {
			assert_int_equal(err, 0);
			assert_int_equal(de.ino, id.ino);
			assert_int_equal(de.generation, id.generation);
		}
	}
	pool_destroy(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_answers),
		cmocka_unit_test(test_beside_writers),
		cmocka_unit_test(test_shared_hashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
