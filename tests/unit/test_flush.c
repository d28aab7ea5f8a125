/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the operations of each persistence domain (flush.c) do to memory: every byte that was copied, zeroed or
 * flushed has been written back, or synced, when the fence returns. The CPU's instructions and msync are replaced
 * by ones that keep a list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "media/flush.h"
#include "media/media.h"
#include "media/pmem.h"

#define MIB  (1024ull * 1024)
#define LINE ADIT_PM_LINE_BYTES

/* ---- instructions that remember ------------------------------------------------------- */

static struct range {
	uintptr_t start, end;
} written[4096]; /* since the last fence */
static unsigned writes;
static struct range certain[4096]; /* before the last fence */
static unsigned certains, fences;

static void remember(const void *addr, size_t len)
{
	assert_true(writes < sizeof written / sizeof *written);
	written[writes++] = (struct range){(uintptr_t)addr, (uintptr_t)addr + len};
}

static void fake_flush(const void *addr, size_t len)
{
	uintptr_t start = (uintptr_t)addr & ~(uintptr_t)(LINE - 1);

	remember((const void *)start, ((uintptr_t)addr + len + LINE - 1) / LINE * LINE - start);
}

static void fake_fence(void)
{
	memcpy(certain + certains, written, writes * sizeof *written);
	certains += writes;
	writes = 0;
	fences++;
}

static void fake_stream_copy(void *dst, const void *src, size_t lines)
{
	assert_int_equal((uintptr_t)dst % LINE, 0);
	memcpy(dst, src, lines * LINE);
	remember(dst, lines * LINE);
}

static void fake_stream_zero(void *dst, size_t lines)
{
	assert_int_equal((uintptr_t)dst % LINE, 0);
	memset(dst, 0, lines * LINE);
	remember(dst, lines * LINE);
}

static struct adit_flush_variant fake = {
	.name = "fake",
	.flush_name = "fake",
	.flush = fake_flush,
	.fence = fake_fence,
	.stream_copy = fake_stream_copy,
	.stream_zero = fake_stream_zero,
};

/* The library's calls come here. */
int msync(void *addr, size_t len, int flags)
{
	assert_int_equal(flags, MS_SYNC);
	certain[certains++] = (struct range){(uintptr_t)addr, (uintptr_t)addr + len};
	return (int)syscall(SYS_msync, addr, len, flags);
}

static void forget(void)
{
	writes = certains = fences = 0;
}

static void assert_certain(const uint8_t *p, size_t len)
{
	for (uintptr_t at = (uintptr_t)p, end = at + len; at < end;) {
		uintptr_t was = at;

		for (unsigned i = 0; i < certains; i++)
			if (certain[i].start <= at && at < certain[i].end)
				at = certain[i].end;
		if (at == was)
			fail_msg(
				"byte %zu of %zu at line offset %u was not written back before the "
				"fence returned",
				(size_t)(at - (uintptr_t)p), len, (unsigned)((uintptr_t)p % LINE));
	}
}

static void open_memory(struct adit_media *m, uint64_t size, enum adit_domain domain)
{
	int fd = memfd_create("adit-test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(adit__media_open_fd(m, fd, ADIT_MEDIA_CREATE, size, domain), 0);
	assert_int_equal(m->domain, domain);
	m->variant = &fake;
}

/* ---- each domain -------------------------------------------------------------------------- */

static const size_t lengths[] = {1,   7,   8,	9,   63,  64,  65,  100,  127,
				 128, 129, 200, 640, 767, 768, 800, 4096, 5000};

/* Whole lines, parts of the first and the last, with and without streaming. */
static void each_length(struct adit_media *m, uint8_t *area, bool must_be_certain)
{
	static uint8_t source[8192];

	for (size_t i = 0; i < sizeof source; i++)
		source[i] = (uint8_t)(i * 7 + 1);
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
		for (size_t to = 0; to < 70; to += to < 10 ? 1 : 9)
			for (int how = 0; how < 3; how++) {
				uint8_t *at = area + to;

				forget();
				if (how == 0)
					adit__pm_copy_nt(&m->pm, at, source, lengths[i]);
				else if (how == 1)
					adit__pm_zero_nt(&m->pm, at, lengths[i]);
				else
					adit__pm_store(&m->pm, at, source, lengths[i]);
				if (how == 2)
					adit__pm_flush(&m->pm, at, lengths[i]);
				assert_int_equal(fences, 0);
				adit__pm_fence(&m->pm);
				assert_int_equal(fences, 1);
				if (must_be_certain)
					assert_certain(at, lengths[i]);
			}
}

static void test_memory(void **state)
{
	static const size_t streams[] = {1, 128, 768, 1u << 20};
	struct adit_media m;

	(void)state;
	open_memory(&m, MIB, ADIT_DOMAIN_MEMORY);
	for (unsigned i = 0; i < sizeof streams / sizeof *streams; i++) {
		fake.stream_min_bytes = streams[i];
		each_length(&m, m.pm.base + 8192, true);
	}
	adit__media_close(&m);
}

/* Caches that keep their contents: nothing but the fence. */
static void test_durable_caches(void **state)
{
	struct adit_media m;

	(void)state;
	open_memory(&m, MIB, ADIT_DOMAIN_CPU_CACHE);
	each_length(&m, m.pm.base + 8192, false);
	forget();
	adit__pm_flush(&m.pm, m.pm.base, 4096);
	assert_int_equal(writes, 0);
	adit__media_close(&m);
}

static void test_file(void **state)
{
	struct adit_media m;

	(void)state;
	open_memory(&m, MIB, ADIT_DOMAIN_FILE);
	each_length(&m, m.pm.base + 2 * 4096 - 30, true);
	adit__media_close(&m);
}

/* Ranges far apart, near each other in either order, and more than are remembered; two files in turn. */
static void test_file_ranges(void **state)
{
	struct adit_media m, other;
	uint8_t *at[80];

	(void)state;
	open_memory(&m, 128 * MIB, ADIT_DOMAIN_FILE);
	open_memory(&other, MIB, ADIT_DOMAIN_FILE);
	forget();
	for (unsigned i = 0; i < 80; i++) {
		at[i] = m.pm.base + i * MIB + i % 3 * 4000;
		adit__pm_flush(&m.pm, at[i], 5000);
	}
	adit__pm_fence(&m.pm);
	for (unsigned i = 0; i < 80; i++)
		assert_certain(at[i], 5000);

	forget();
	adit__pm_flush(&m.pm, m.pm.base + 40960, 100);
	adit__pm_flush(&m.pm, m.pm.base + 90000, 9000);
	adit__pm_flush(&m.pm, m.pm.base + 100, 100);
	adit__pm_fence(&m.pm);
	assert_certain(m.pm.base + 40960, 100);
	assert_certain(m.pm.base + 90000, 9000);
	assert_certain(m.pm.base + 100, 100);

	forget();
	adit__pm_flush(&m.pm, m.pm.base + 8192, 8);
	adit__pm_flush(&other.pm, other.pm.base + 4096, 8);
	adit__pm_fence(&other.pm);
	adit__pm_fence(&m.pm);
	assert_certain(m.pm.base + 8192, 8);
	assert_certain(other.pm.base + 4096, 8);

	/* What was synced is not synced again. */
	forget();
	adit__pm_fence(&m.pm);
	adit__pm_fence(&other.pm);
	assert_int_equal(certains, 0);
	adit__media_close(&other);
	adit__media_close(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_durable_caches),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_file_ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
