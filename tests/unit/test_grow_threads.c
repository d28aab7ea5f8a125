/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool grows under threads (and under the thread sanitizer): two work through one handle, one through another
 * handle, each on files of its own whose contents it knows, one looks at sizes, and two make the pool larger, one
 * through either handle.  Nothing but ENOSPC is refused; nobody sees the pool become smaller; in the end all is counted.
 */
#include "api.h"

#include <pthread.h>

#include "core/check.h"
#include "core/scratch.h"
#include "fs/pool.h"

#define FIRST (5ull << 20)
#define STEPS 30
#define FILES 6
#define BYTES 60000u

static struct adit_pool *pools[2];
static int stop; /* atomic */
static uint64_t calls;

/* Who was slower is told that its size is behind. */
static void no_line(void *ctx, const char *line)
{
	(void)ctx, (void)line;
}

static void *worker(void *arg)
{
	unsigned n = (unsigned)(uintptr_t)arg;
	struct adit_pool *pool = pools[n == 2];
	uint8_t *bytes = malloc(BYTES), *found = malloc(BYTES);
	char name[32];

	for (unsigned round = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED) || round < FILES;
	     round++) {
		int fd;
		ssize_t rc;

		snprintf(name, sizeof name, "/thread-%u-%u", n, round % FILES);
		memset(bytes, (int)(round * 7 + n), BYTES);
		fd = adit_openat(pool, AT_FDCWD, name, O_CREAT | O_RDWR | O_TRUNC, 0644);
		assert_true(fd >= 0 || fd == -ENOSPC);
		if (fd < 0)
			continue;
		rc = adit_pwrite(pool, fd, bytes, BYTES, 0);
		assert_true(rc == BYTES || rc == -ENOSPC);
		if (rc == BYTES) {
			assert_int_equal(adit_pread(pool, fd, found, BYTES, 0), BYTES);
			assert_memory_equal(bytes, found, BYTES);
		}
		assert_int_equal(adit_close_fd(pool, fd), 0);
		if (round % 3 == 0)
			assert_int_equal(adit_unlink(pool, name), 0);
		__atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
	}
	free(bytes);
	free(found);
	return NULL;
}

static void *looker(void *arg)
{
	struct adit_pool *pool = pools[(uintptr_t)arg];
	uint64_t last = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		struct adit_pool_info info;
		void *addr;
		uint64_t n;

		assert_int_equal(adit_info(pool, &info), 0);
		assert_true(info.size_bytes >= last && info.free_blocks < info.blocks);
		last = info.size_bytes;
		assert_int_equal(adit_direct_access(pool, last - 4096, 4096, &addr, &n), 0);
		/* It can be read, wherever it is mapped. */
		assert_true(*(volatile uint8_t *)addr <= 255);
		usleep(500);
	}
	return NULL;
}

static void *grower(void *arg)
{
	struct adit_pool *pool = pools[(uintptr_t)arg];

	for (unsigned i = 0; i < STEPS; i++) {
		struct adit_pool_info info;
		int rc;

		assert_int_equal(adit_info(pool, &info), 0);
		/* The other one may have been faster, and further. */
		rc = adit_grow(pool, info.size_bytes + 4096 * (1 + i * 37 % 600));
		assert_true(rc == 0 || rc == -EINVAL);
		usleep(1000);
	}
	return NULL;
}

static void test_threads(void **state)
{
	const struct adit_mkfs_options o = {
		.size_bytes = FIRST, .group_bytes = 2 << 20, .force = 1};
	const struct adit_open_options quiet = {.report = no_line};
	pthread_t worker_thread[3], grower_thread[2], looker_thread[2];
	struct adit_pool_info info;
	struct adit_fs *fs;
	char path[64], text[400];

	(void)state;
	snprintf(path, sizeof path, "/dev/shm/adit-grow-threads-%d", (int)getpid());
	assert_int_equal(adit_mkfs(path, &o), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(adit_open(path, &quiet, &pools[i]), 0);
	for (uintptr_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&worker_thread[i], NULL, worker, (void *)i), 0);
	for (uintptr_t i = 0; i < 2; i++) {
		assert_int_equal(pthread_create(&looker_thread[i], NULL, looker, (void *)i), 0);
		assert_int_equal(pthread_create(&grower_thread[i], NULL, grower, (void *)i), 0);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(grower_thread[i], NULL);
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(worker_thread[i], NULL);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(looker_thread[i], NULL);
	assert_int_equal(adit_close(pools[1]), 0);
	assert_int_equal(adit_info(pools[0], &info), 0);
	assert_true(info.size_bytes > FIRST + (20u << 20));
	fs = adit__pool_fs(pools[0]);
	assert_int_equal(adit__check_quiet(fs, text, sizeof text), 0);
	assert_int_equal(adit__checkpoint(fs), 0);
	assert_int_equal(fs->vol->free_blocks + adit__scratch_blocks(fs), adit__total_free(fs));
	assert_int_equal(adit_close(pools[0]), 0);
	unlink(path);
	printf("%llu calls while it grew to %llu MiB\n", (unsigned long long)calls,
	       (unsigned long long)info.size_bytes >> 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
