/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_env.c - the environment the core gets in a process (fs/env.c): checksums by their published
 * values, chaining, thread numbers, reports.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "fs/env.h"

static void test_crc32c(void **unused)
{
	uint8_t bytes[1000];
	uint32_t whole;

	(void)unused;
	/* RFC 3720, B.4. */
	assert_int_equal(adit__crc32c(0, "123456789", 9), 0xe3069283u);
	memset(bytes, 0, 32);
	assert_int_equal(adit__crc32c(0, bytes, 32), 0x8a9136aau);
	memset(bytes, 0xff, 32);
	assert_int_equal(adit__crc32c(0, bytes, 32), 0x62a8ab43u);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(adit__crc32c(0, bytes, 32), 0x46dd794eu);
	assert_int_equal(adit__crc32c(0, "", 0), 0);
	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 13 >> 2);
	whole = adit__crc32c(77, bytes, sizeof bytes);
	for (unsigned cut = 0; cut <= sizeof bytes; cut += 37)
		assert_int_equal(adit__crc32c(adit__crc32c(77, bytes, cut), bytes + cut,
					      sizeof bytes - cut), whole);
}

static void test_hash64(void **unused)
{
	(void)unused;
	/* Published values of XXH64. */
	assert_true(adit__hash64(0, "", 0) == 0xef46db3751d8e999ull);
	assert_true(adit__hash64(0, "a", 1) == 0xd24ec4f1a98c6e5bull);
	assert_true(adit__hash64(0, "abc", 3) == 0x44bc2cf5ad770999ull);
	assert_true(adit__hash64(0, "Nobody inspects the spammish repetition", 39) ==
		    0xfbcea83c8a378bf1ull);
	assert_true(adit__hash64(20141025, "xxhash", 6) == 0xb559b98d844e0635ull);
}

static void *hint_of(void *out)
{
	*(uint32_t *)out = adit__env.thread_hint();
	return NULL;
}

static void test_thread_hint(void **unused)
{
	uint32_t mine = adit__env.thread_hint(), other;
	pthread_t thread;

	(void)unused;
	assert_int_equal(adit__env.thread_hint(), mine);
	assert_int_equal(pthread_create(&thread, NULL, hint_of, &other), 0);
	pthread_join(thread, NULL);
	assert_int_not_equal(other, mine);
}

static char last[64];

static void keep(void *ctx, const char *line)
{
	snprintf(last, sizeof last, "%s%s", (const char *)ctx, line);
}

static void test_report(void **unused)
{
	struct adit_reporter to = {keep, "> "};

	(void)unused;
	adit__env.report(&to, "inode %d: %s", 5, "odd");
	assert_string_equal(last, "> inode 5: odd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc32c),
		cmocka_unit_test(test_hash64),
		cmocka_unit_test(test_thread_hint),
		cmocka_unit_test(test_report),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
