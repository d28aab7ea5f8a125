/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_lock.c - the reader-writer lock of the volatile region (share/lock.c): states, incarnations,
 * exclusion under load, waiting without starvation, between threads and between processes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "share/lock.h"

#define INC 7u

static uint32_t state_of(const struct adit_lock *lock)
{
	return (uint32_t)lock->word;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void nap_ms(long ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	nanosleep(&t, NULL);
}

static void test_states(void **unused)
{
	struct adit_lock lock = {0};

	(void)unused;
	adit__lock(&lock, INC, true);
	assert_int_equal(lock.word >> 32, INC);
	assert_int_equal(state_of(&lock), ADIT_LOCK_WRITER);
	assert_false(adit__trylock(&lock, INC, true));
	assert_false(adit__trylock(&lock, INC, false));
	adit__unlock(&lock, true);
	assert_int_equal(state_of(&lock), 0);
	adit__lock(&lock, INC, false);
	assert_true(adit__trylock(&lock, INC, false));
	assert_int_equal(state_of(&lock), 2);
	assert_false(adit__trylock(&lock, INC, true));
	adit__unlock(&lock, false);
	assert_false(adit__trylock(&lock, INC, true));
	adit__unlock(&lock, false);
	assert_true(adit__trylock(&lock, INC, true));
	adit__unlock(&lock, true);
}

static void test_other_incarnation_is_free(void **unused)
{
	const uint32_t left[] = {ADIT_LOCK_WRITER, 3,
				 ADIT_LOCK_WRITER | ADIT_LOCK_WAITING | ADIT_LOCK_SLEEPERS, ~0u};

	(void)unused;
	for (unsigned i = 0; i < sizeof left / sizeof left[0]; i++) {
		for (int exclusive = 0; exclusive < 2; exclusive++) {
			struct adit_lock lock = {.word = (uint64_t)INC << 32 | left[i]};

			assert_true(adit__trylock(&lock, INC + 1, exclusive));
			assert_int_equal(lock.word >> 32, INC + 1);
			assert_int_equal(state_of(&lock), exclusive ? ADIT_LOCK_WRITER : 1);
			adit__unlock(&lock, exclusive);
			assert_int_equal(state_of(&lock), 0);
		}
	}
}

/* A writer that died while it waited leaves WAITING behind: readers get through all the same. */
static void test_stale_waiting(void **unused)
{
	struct adit_lock lock = {.word = (uint64_t)INC << 32 | ADIT_LOCK_WAITING};
	double before = now_s();

	(void)unused;
	assert_false(adit__trylock(&lock, INC, false));
	adit__lock(&lock, INC, false);
	assert_true(now_s() - before < 2.0);
	assert_int_equal(state_of(&lock) & (ADIT_LOCK_WAITING | ADIT_LOCK_READERS), 1);
	adit__unlock(&lock, false);
}

#define ROUNDS 30000
struct shared {
	struct adit_lock lock;
	uint64_t pad[7];
	uint64_t a, b; /* equal whenever nobody writes */
	uint64_t torn;
	uint64_t stop;
	uint64_t reads, writes;
};

static void write_once(struct shared *s)
{
	adit__lock(&s->lock, INC, true);
	s->a++;
	if ((s->a & 63) == 0)
		sched_yield();
	s->b++;
	adit__unlock(&s->lock, true);
}

static void read_once(struct shared *s)
{
	adit__lock(&s->lock, INC, false);
	if (s->a != s->b)
		__atomic_add_fetch(&s->torn, 1, __ATOMIC_RELAXED);
	adit__unlock(&s->lock, false);
}

static void *mixed(void *arg)
{
	struct shared *s = arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i % 3 == 0)
			write_once(s);
		else
			read_once(s);
	}
	return NULL;
}

static void test_threads(void **unused)
{
	struct shared s = {0};
	pthread_t thread[4];

	(void)unused;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, mixed, &s), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(s.torn, 0);
	assert_int_equal(s.a, 4 * ((ROUNDS + 2) / 3));
	assert_int_equal(s.b, s.a);
	assert_int_equal(state_of(&s.lock) & ~(ADIT_LOCK_WAITING | ADIT_LOCK_SLEEPERS), 0);
}

static void test_processes(void **unused)
{
	struct shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				-1, 0);
	pid_t child[3];

	(void)unused;
	assert_ptr_not_equal(s, MAP_FAILED);
	for (int i = 0; i < 3; i++) {
		child[i] = fork();
		assert_true(child[i] >= 0);
		if (child[i] == 0) {
			mixed(s);
			_exit(0);
		}
	}
	for (int i = 0; i < 3; i++) {
		int status;

		assert_int_equal(waitpid(child[i], &status, 0), child[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(s->torn, 0);
	assert_int_equal(s->a, 3 * ((ROUNDS + 2) / 3));
	munmap(s, sizeof *s);
}

static void *reads_on(void *arg)
{
	struct shared *s = arg;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		adit__lock(&s->lock, INC, false);
		for (int i = 0; i < 50; i++)
			__atomic_signal_fence(__ATOMIC_SEQ_CST);
		__atomic_add_fetch(&s->reads, 1, __ATOMIC_RELAXED);
		adit__unlock(&s->lock, false);
	}
	return NULL;
}

static void *writes_on(void *arg)
{
	struct shared *s = arg;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		write_once(s);
		__atomic_add_fetch(&s->writes, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Readers that overlap without a gap do not keep a writer out, nor writers a reader. */
static void test_no_starvation(void **unused)
{
	(void)unused;
	for (int writers = 0; writers < 2; writers++) {
		struct shared s = {0};
		pthread_t thread[3];
		double before;

		for (int i = 0; i < 3; i++)
			pthread_create(&thread[i], NULL, writers ? writes_on : reads_on, &s);
		nap_ms(20);
		before = now_s();
		for (int i = 0; i < 20; i++) {
			if (writers)
				read_once(&s);
			else
				write_once(&s);
		}
		/* Starved it would be for as long as they go on: no matter how slow the machine is. */
		assert_true(now_s() - before < 100.0);
		__atomic_store_n(&s.stop, 1, __ATOMIC_RELAXED);
		for (int i = 0; i < 3; i++)
			pthread_join(thread[i], NULL);
		assert_int_equal(s.torn, 0);
		assert_true(writers ? s.writes > 0 : s.reads > 0);
	}
}

static void *locks_late(void *arg)
{
	struct shared *s = arg;

	write_once(s);
	return NULL;
}

/* Who waits for long sleeps, and is woken. */
static void test_sleeps(void **unused)
{
	struct shared s = {0};
	struct timespec used;
	pthread_t thread;
	clockid_t clock;

	(void)unused;
	adit__lock(&s.lock, INC, true);
	pthread_create(&thread, NULL, locks_late, &s);
	nap_ms(200);
	assert_int_equal(pthread_getcpuclockid(thread, &clock), 0);
	assert_int_equal(clock_gettime(clock, &used), 0);
	assert_int_equal(used.tv_sec, 0);
	assert_true(used.tv_nsec < 100000000);
	assert_int_equal(s.a, 0);
	adit__unlock(&s.lock, true);
	pthread_join(thread, NULL);
	assert_int_equal(s.a, 1);
}

/* Printed, not asserted: other work on the machine would make it fail. */
static void test_cost(void **unused)
{
	struct adit_lock lock = {0};
	const int n = 2000000;

	(void)unused;
	for (int exclusive = 0; exclusive < 2; exclusive++) {
		double before = now_s();

		for (int i = 0; i < n; i++) {
			adit__lock(&lock, INC, exclusive);
			adit__unlock(&lock, exclusive);
		}
		print_message("lock + unlock, %s: %.1f ns\n", exclusive ? "exclusive" : "shared",
			      (now_s() - before) / n * 1e9);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_other_incarnation_is_free),
		cmocka_unit_test(test_stale_waiting),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_processes),
		cmocka_unit_test(test_no_starvation),
		cmocka_unit_test(test_sleeps),
		cmocka_unit_test(test_cost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
