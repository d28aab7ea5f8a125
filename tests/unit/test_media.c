/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_media.c - opening media, domains, every flush variant, SIGBUS, locks, and (in the recording
 * build) the recorder.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "media/flush.h"
#include "media/media.h"
#include "media/record.h"
#include "media/sigbus.h"
#include "media/sysfs.h"

#define MIB ((uint64_t)1 << 20)

static char shm_dir[64], file_dir[PATH_MAX];

static const char *in(const char *dir, const char *name)
{
	static char path[PATH_MAX + 64];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static int remove_dir(const char *dir)
{
	char command[PATH_MAX + 16];

	snprintf(command, sizeof command, "rm -rf '%s'", dir);
	return system(command);
}

static int group_setup(void **state)
{
	const char *tmp = getenv("TMPDIR"), *shm = getenv("ADIT_TEST_SHM");
	struct statfs sfs;

	unsetenv("ADIT_ASSUME");
	snprintf(shm_dir, sizeof shm_dir, "%s/adit-test-XXXXXX", shm != NULL ? shm : "/dev/shm");
	if (mkdtemp(shm_dir) == NULL)
		return -1;
	snprintf(file_dir, sizeof file_dir, "%s/adit-test-XXXXXX", tmp != NULL ? tmp : "/var/tmp");
	if (mkdtemp(file_dir) == NULL || statfs(file_dir, &sfs) != 0)
		return -1;
	if (sfs.f_type == TMPFS_MAGIC) { /* no ordinary file there: beside the test then */
		remove_dir(file_dir);
		snprintf(file_dir, sizeof file_dir, "adit-test-XXXXXX");
		if (mkdtemp(file_dir) == NULL)
			return -1;
	}
	return 0;
}

static int group_teardown(void **state)
{
	return remove_dir(shm_dir) | remove_dir(file_dir);
}

static void open_new(struct adit_media *m, const char *path, uint64_t size, enum adit_domain assume)
{
	int rc = adit__media_open(m, path, ADIT_MEDIA_CREATE | ADIT_MEDIA_EXCL, size, assume);

	if (rc != 0)
		fail_msg("open %s: %d", path, rc);
}

/* --- opening ----------------------------------------------------------------------------- */

static void test_tmpfs(void **state)
{
	struct adit_media m, again;
	const char *path = in(shm_dir, "pool");

	open_new(&m, path, 3 * MIB + 100, ADIT_DOMAIN_AUTO);
	assert_string_equal(m.kind, "tmpfs");
	assert_int_equal(m.domain, ADIT_DOMAIN_PROCESS);
	assert_false(m.assumed);
	assert_false(m.map_sync);
	assert_false(m.is_device);
	assert_int_equal(m.pm.size_bytes, 3 * MIB + 100);
	assert_int_equal(m.map_bytes, 3 * MIB + 4096);
	assert_int_equal((uintptr_t)m.pm.base % (2 * MIB), 0);
	assert_string_equal(m.flush_name, "none");
	assert_ptr_equal(m.pm.priv, &m);

	adit__pm_store(&m.pm, m.pm.base + 12345, "persistent", 10);
	assert_int_equal(adit__media_open(&again, path, ADIT_MEDIA_CREATE | ADIT_MEDIA_EXCL, MIB,
					  ADIT_DOMAIN_AUTO),
			 -EEXIST);
	assert_int_equal(adit__media_open(&again, path, ADIT_MEDIA_RDONLY, 0, ADIT_DOMAIN_AUTO), 0);
	assert_true(again.read_only);
	assert_memory_equal(again.pm.base + 12345, "persistent", 10);
	adit__media_close(&again);
	adit__media_close(&m);
	assert_int_equal(m.fd, -1);
	adit__media_close(&m);
}

static void test_large_is_giant_aligned(void **state)
{
	struct adit_media m;

	open_new(&m, in(shm_dir, "large"), (uint64_t)5 << 30, ADIT_DOMAIN_AUTO);
	assert_int_equal((uintptr_t)m.pm.base % ((uint64_t)1 << 30), 0);
	adit__pm_store64(&m.pm, m.pm.base + ((uint64_t)5 << 30) - 8, 7);
	adit__media_close(&m);
	unlink(in(shm_dir, "large"));
}

static void test_file(void **state)
{
	struct adit_media m;

	open_new(&m, in(file_dir, "pool"), MIB, ADIT_DOMAIN_AUTO);
	if (m.map_sync)
		assert_string_equal(m.kind, "fsdax");
	else
		assert_int_equal(m.domain, ADIT_DOMAIN_FILE);
	adit__media_close(&m);
}

static void test_memfd(void **state)
{
	struct adit_media m;
	int fd = memfd_create("adit-test", MFD_CLOEXEC), other;

	assert_true(fd >= 0);
	assert_int_equal(adit__media_open_fd(&m, fd, ADIT_MEDIA_CREATE, MIB, ADIT_DOMAIN_AUTO), 0);
	assert_string_equal(m.kind, "memfd");
	assert_int_equal(m.domain, ADIT_DOMAIN_PROCESS);
	other = adit__media_reopen(&m);
	assert_true(other >= 0);
	assert_int_equal(adit__media_lock(&m, true, 5, 1), 0);
	assert_int_equal(adit__fd_lock(other, true, 5, 1), -EBUSY);
	close(other);
	adit__media_close(&m);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_open_errors(void **state)
{
	struct adit_media m;
	int fd;

	assert_int_equal(adit__media_open(&m, in(shm_dir, "none"), 0, 0, 0), -ENOENT);
	assert_int_equal(m.fd, -1);
	assert_int_equal(adit__media_open(&m, shm_dir, ADIT_MEDIA_RDONLY, 0, 0), -EISDIR);
	assert_int_equal(adit__media_open(&m, "/dev/zero", 0, 0, 0), -EINVAL);
	assert_int_equal(adit__media_open(&m, "/dev/null", ADIT_MEDIA_CREATE, MIB, 0), -EINVAL);

	fd = open(in(shm_dir, "empty"), O_CREAT | O_RDWR, 0600);
	assert_true(fd >= 0);
	assert_int_equal(adit__media_open(&m, in(shm_dir, "empty"), 0, 0, 0), -EINVAL);
	/* On failure the descriptor stays the caller's. */
	assert_int_equal(adit__media_open_fd(&m, fd, 0, 0, 0), -EINVAL);
	assert_int_equal(close(fd), 0);

	/* A failed creation leaves no file behind. */
	assert_true(adit__media_open(&m, in(shm_dir, "zero"), ADIT_MEDIA_CREATE, 0, 0) < 0);
	assert_int_equal(access(in(shm_dir, "zero"), F_OK), -1);
	assert_true(adit__media_open(&m, in(shm_dir, "vast"), ADIT_MEDIA_CREATE, UINT64_MAX, 0) <
		    0);
	assert_int_equal(access(in(shm_dir, "vast"), F_OK), -1);
	assert_int_equal(adit__media_open(&m, in(shm_dir, "ro"),
					  ADIT_MEDIA_CREATE | ADIT_MEDIA_RDONLY, MIB, 0),
			 -EINVAL);
	assert_int_equal(m.fd, -1);
}

static void test_assume(void **state)
{
	struct adit_media m;
	const struct adit_flush_variant *const *variants;

	adit__flush_variants(&variants);
	open_new(&m, in(shm_dir, "assume"), MIB, ADIT_DOMAIN_MEMORY);
	assert_int_equal(m.domain, ADIT_DOMAIN_MEMORY);
	assert_true(m.assumed);
	assert_string_equal(m.flush_name, variants[0]->flush_name);
	adit__media_close(&m);

	setenv("ADIT_ASSUME", "cpu-cache", 1);
	assert_int_equal(adit__media_open(&m, in(shm_dir, "assume"), 0, 0, ADIT_DOMAIN_AUTO), 0);
	assert_int_equal(m.domain, ADIT_DOMAIN_CPU_CACHE);
	assert_true(m.assumed);
	adit__media_close(&m);
	/* What is so anyway is not assumed; the argument wins. */
	assert_int_equal(adit__media_open(&m, in(shm_dir, "assume"), 0, 0, ADIT_DOMAIN_PROCESS), 0);
	assert_int_equal(m.domain, ADIT_DOMAIN_PROCESS);
	assert_false(m.assumed);
	adit__media_close(&m);
	setenv("ADIT_ASSUME", "wishful", 1);
	assert_int_equal(adit__media_open(&m, in(shm_dir, "assume"), 0, 0, 0), -EINVAL);
	unsetenv("ADIT_ASSUME");
}

static void test_domain_names(void **state)
{
	for (int d = ADIT_DOMAIN_AUTO; d <= ADIT_DOMAIN_PROCESS; d++) {
		enum adit_domain back = (enum adit_domain)99;

		assert_int_equal(adit__domain_parse(adit__domain_name((enum adit_domain)d), &back),
				 0);
		assert_int_equal(back, d);
	}
	assert_string_equal(adit__domain_name((enum adit_domain)77), "unknown");
}

static void test_direct_access(void **state)
{
	struct adit_media m;
	void *addr = NULL;
	uint64_t contiguous = 0;

	open_new(&m, in(shm_dir, "direct"), MIB, ADIT_DOMAIN_AUTO);
	assert_int_equal(adit__media_direct_access(&m, 4096, 8192, &addr, &contiguous), 0);
	assert_ptr_equal(addr, m.pm.base + 4096);
	assert_int_equal(contiguous, 8192);
	assert_int_equal(adit__media_direct_access(&m, MIB - 1, UINT64_MAX, &addr, &contiguous), 0);
	assert_int_equal(contiguous, 1);
	assert_int_equal(adit__media_direct_access(&m, MIB, 1, &addr, &contiguous), -ERANGE);
	assert_int_equal(adit__media_direct_access(&m, UINT64_MAX, 1, &addr, &contiguous), -ERANGE);
	assert_int_equal(adit__media_bad_ranges(&m, NULL, 0), 0);
	adit__media_close(&m);
}

static void test_locks(void **state)
{
	struct adit_media a, b;

	open_new(&a, in(shm_dir, "locks"), MIB, ADIT_DOMAIN_AUTO);
	assert_int_equal(adit__media_open(&b, in(shm_dir, "locks"), 0, 0, 0), 0);
	assert_int_equal(adit__media_lock_probe(&b, true, 7, 1), 0);
	assert_int_equal(adit__media_lock(&a, true, 7, 1), 0);
	assert_int_equal(adit__media_lock(&b, true, 8, 1), 0);
	assert_int_equal(adit__media_lock(&b, true, 7, 1), -EBUSY);
	assert_int_equal(adit__media_lock(&b, false, 7, 1), -EBUSY);
	assert_int_equal(adit__media_lock_probe(&b, false, 7, 1), -EBUSY);
	assert_int_equal(adit__media_lock_probe(&a, true, 7, 1), 0);
	assert_int_equal(adit__media_unlock(&a, 7, 1), 0);
	assert_int_equal(adit__media_lock(&a, false, 7, 1), 0);
	assert_int_equal(adit__media_lock(&b, false, 7, 1), 0);
	assert_int_equal(adit__media_lock(&b, true, UINT64_MAX, 1), -EINVAL);
	adit__media_close(&a);
	assert_int_equal(adit__media_lock(&b, true, 7, 1), 0);
	adit__media_close(&b);
}

/* --- copies ------------------------------------------------------------------------------ */

static const size_t lengths[] = {0,    1,    2,	   3,	 7,    8,    9,	   15,	 16,
				 31,   32,   63,   64,	 65,   100,  127,  128,	 129,
				 255,  256,  257,  511,	 512,  513,  640,  1000, 1023,
				 1024, 1025, 2047, 4095, 4096, 4097, 5000, 8192, 10000};
#define LENGTHS (sizeof lengths / sizeof lengths[0])

static void check_copies(struct adit_media *m, const uint8_t *source)
{
	uint8_t *area = m->pm.base + 4096;
	const size_t room = 12288;

	for (size_t i = 0; i < LENGTHS; i++) {
		for (size_t to = 0; to < 72; to += to < 10 ? 1 : 7) {
			size_t from = (to * 5 + i) % 67, len = lengths[i];

			memset(area, 0xa5, room);
			adit__pm_copy_nt(&m->pm, area + 64 + to, source + from, len);
			adit__pm_fence(&m->pm);
			assert_memory_equal(area + 64 + to, source + from, len);
			assert_int_equal(area[64 + to - 1], 0xa5);
			assert_int_equal(area[64 + to + len], 0xa5);

			adit__pm_zero_nt(&m->pm, area + 64 + to, len);
			adit__pm_fence(&m->pm);
			for (size_t k = 0; k < len; k++)
				assert_int_equal(area[64 + to + k], 0);
			assert_int_equal(area[64 + to - 1], 0xa5);
			assert_int_equal(area[64 + to + len], 0xa5);

			adit__pm_store(&m->pm, area + 64 + to, source + from, len);
			adit__pm_flush(&m->pm, area + 64 + to, len);
			adit__pm_fence(&m->pm);
			assert_memory_equal(area + 64 + to, source + from, len);
			assert_int_equal(area[64 + to - 1], 0xa5);
			assert_int_equal(area[64 + to + len], 0xa5);
			adit__pm_zero(&m->pm, area + 64 + to, len);
			assert_int_equal(area[64 + to - 1], 0xa5);
			assert_int_equal(area[64 + to + len], 0xa5);
			assert_true(len == 0 ||
				    (area[64 + to] == 0 && area[64 + to + len - 1] == 0));
		}
	}
}

static void test_copies(void **state)
{
	const enum adit_domain domains[] = {ADIT_DOMAIN_PROCESS, ADIT_DOMAIN_CPU_CACHE,
					    ADIT_DOMAIN_MEMORY};
	const struct adit_flush_variant *const *variants;
	size_t n = adit__flush_variants(&variants);
	uint8_t source[10240];
	struct adit_media m;

	assert_true(n > 0);
	srand(1);
	for (size_t i = 0; i < sizeof source; i++)
		source[i] = (uint8_t)(rand() >> 7);
	for (size_t d = 0; d < 3; d++) {
		unlink(in(shm_dir, "copies"));
		open_new(&m, in(shm_dir, "copies"), MIB, domains[d]);
		for (size_t i = 0; i < n; i++) {
			m.variant = variants[i];
			check_copies(&m, source);
		}
		adit__media_close(&m);
	}
}

static void test_words(void **state)
{
	struct adit_media m;
	uint64_t *w;

	open_new(&m, in(shm_dir, "words"), MIB, ADIT_DOMAIN_MEMORY);
	w = (uint64_t *)(void *)m.pm.base;
	adit__pm_store64(&m.pm, w, 0x1122334455667788);
	assert_true(*w == 0x1122334455667788);
	adit__pm_store32(&m.pm, w, 0xaabbccdd);
	assert_int_equal(*(uint32_t *)(void *)w, 0xaabbccdd);
	adit__pm_store64(&m.pm, w, 0xf0);
	adit__pm_or64(&m.pm, w, 0x0f);
	assert_int_equal(*w, 0xff);
	adit__pm_andnot64(&m.pm, w, 0x3c);
	assert_int_equal(*w, 0xc3);
	adit__pm_max64(&m.pm, w, 5);
	assert_int_equal(*w, 0xc3);
	adit__pm_max64(&m.pm, w, 500);
	assert_int_equal(*w, 500);
	adit__media_close(&m);
}

#define BUMPS 2000
static void *bump(void *arg)
{
	struct adit_media *m = arg;

	for (uint64_t i = 1; i <= BUMPS; i++) {
		adit__pm_max64(&m->pm, m->pm.base, i);
		adit__pm_or64(&m->pm, m->pm.base + 8, (uint64_t)1 << (i % 64));
		adit__pm_store64(&m->pm, m->pm.base + 16, i);
		adit__pm_flush(&m->pm, m->pm.base, 24);
		adit__pm_fence(&m->pm);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct adit_media m;
	pthread_t t[3];

	open_new(&m, in(shm_dir, "threads"), MIB, ADIT_DOMAIN_MEMORY);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, bump, &m), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(*(uint64_t *)(void *)m.pm.base, BUMPS);
	assert_true(*(uint64_t *)(void *)(m.pm.base + 8) == UINT64_MAX);
	adit__media_close(&m);
}

/* --- the file domain --------------------------------------------------------------------- */

static void test_file_fence(void **state)
{
	struct adit_media m, other;
	uint8_t big[9000];

	memset(big, 0x5a, sizeof big);
	unlink(in(file_dir, "fence"));
	unlink(in(file_dir, "other"));
	open_new(&m, in(file_dir, "fence"), 64 * MIB, ADIT_DOMAIN_FILE);
	assert_string_equal(m.flush_name, "msync");
	open_new(&other, in(file_dir, "other"), MIB, ADIT_DOMAIN_FILE);

	/* Far apart and more than the notes hold: the oldest are synced early. */
	for (uint64_t i = 0; i < 60; i++) {
		adit__pm_store64(&m.pm, m.pm.base + i * MIB + 8, i);
		adit__pm_flush(&m.pm, m.pm.base + i * MIB + 8, 8);
	}
	adit__pm_copy_nt(&m.pm, m.pm.base + 4090, big, sizeof big);
	adit__pm_fence(&m.pm);
	assert_int_equal(adit__media_error(&m), 0);

	/* Two media in turn. */
	adit__pm_store64(&m.pm, m.pm.base, 1);
	adit__pm_flush(&m.pm, m.pm.base, 8);
	adit__pm_store64(&other.pm, other.pm.base, 2);
	adit__pm_flush(&other.pm, other.pm.base, 8);
	adit__pm_fence(&m.pm);
	adit__pm_fence(&other.pm);
	assert_int_equal(adit__media_error(&m) | adit__media_error(&other), 0);

	/* A write-back that fails is remembered, and belongs to its own medium. */
	munmap(m.pm.base + 32 * MIB, 4096);
	adit__pm_flush(&m.pm, m.pm.base + 32 * MIB, 8);
	adit__pm_fence(&m.pm);
	assert_int_equal(adit__media_error(&m), -ENOMEM);
	adit__pm_fence(&m.pm);
	assert_int_equal(adit__media_error(&m), -ENOMEM);
	assert_int_equal(adit__media_error(&other), 0);

	/* Notes left behind do not reach whoever comes next. */
	adit__pm_flush(&m.pm, m.pm.base + 32 * MIB, 8);
	adit__media_close(&m);
	assert_int_equal(adit__media_open(&m, in(file_dir, "fence"), 0, 0, ADIT_DOMAIN_FILE), 0);
	assert_int_equal(*(uint64_t *)(void *)(m.pm.base + 59 * MIB + 8), 59);
	adit__pm_fence(&m.pm);
	assert_int_equal(adit__media_error(&m), 0);
	adit__media_close(&m);
	adit__media_close(&other);
}

static void *flush_and_leave(void *arg)
{
	struct adit_media *m = arg;

	adit__pm_store64(&m->pm, m->pm.base + 4096, 3);
	adit__pm_flush(&m->pm, m->pm.base + 4096, 8);
	return NULL;
}

static void test_file_many(void **state)
{
	struct adit_media m;

	for (int i = 0; i < 2000; i++) { /* more than the table: slots come back */
		unlink(in(file_dir, "many"));
		open_new(&m, in(file_dir, "many"), 65536, ADIT_DOMAIN_FILE);
		if (i % 100 == 0) {
			pthread_t t;

			assert_int_equal(pthread_create(&t, NULL, flush_and_leave, &m), 0);
			pthread_join(t, NULL);
		}
		adit__media_close(&m);
	}
}

/* --- SIGBUS ------------------------------------------------------------------------------ */

static int read_byte(struct adit_media *m, uint64_t offset, uint8_t *out)
{
	struct adit_sigbus_frame frame;

	if (ADIT_SIGBUS_TRY(&frame, m)) {
		assert_ptr_equal(frame.fault_addr, m->pm.base + offset);
		return -EIO;
	}
	*out = *(volatile uint8_t *)(m->pm.base + offset);
	ADIT_SIGBUS_END(&frame);
	return 0;
}

static void test_sigbus(void **state)
{
	struct adit_media m, n;
	struct adit_sigbus_frame outer;
	uint8_t byte = 9;
	int rc;

	open_new(&m, in(shm_dir, "bus"), MIB, ADIT_DOMAIN_AUTO);
	open_new(&n, in(shm_dir, "bus2"), MIB, ADIT_DOMAIN_AUTO);
	assert_int_equal(read_byte(&m, MIB / 2, &byte), 0);
	assert_int_equal(byte, 0);
	assert_int_equal(ftruncate(m.fd, 4096), 0);
	for (int i = 0; i < 3; i++) { /* again and again: the signal is not left blocked */
		byte = 9;
		assert_int_equal(read_byte(&m, MIB / 2, &byte), -EIO);
		assert_int_equal(byte, 9);
		assert_null(adit__sigbus_top);
	}
	/* Inner frames of another medium pass a fault on to the outer one. */
	if (ADIT_SIGBUS_TRY(&outer, &m)) {
		assert_ptr_equal(outer.fault_addr, m.pm.base + 8192);
	} else {
		struct adit_sigbus_frame inner;

		if (ADIT_SIGBUS_TRY(&inner, &n))
			fail();
		byte = *(volatile uint8_t *)(m.pm.base + 8192);
		fail();
	}
	assert_null(adit__sigbus_top);
	assert_int_equal(read_byte(&n, 0, &byte), 0);
	rc = ftruncate(m.fd, (off_t)MIB);
	assert_int_equal(rc, 0);
	assert_int_equal(read_byte(&m, MIB / 2, &byte), 0);
	adit__media_close(&m);
	adit__media_close(&n);
}

static void *sigbus_thread(void *arg)
{
	uint8_t byte;

	for (int i = 0; i < 200; i++) {
		if (read_byte(arg, MIB / 2, &byte) != -EIO || read_byte(arg, 0, &byte) != 0)
			return arg;
	}
	return NULL;
}

static void test_sigbus_threads(void **state)
{
	struct adit_media m;
	pthread_t t[3];
	void *bad;

	open_new(&m, in(shm_dir, "bus3"), MIB, ADIT_DOMAIN_AUTO);
	assert_int_equal(ftruncate(m.fd, 4096), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, sigbus_thread, &m), 0);
	for (int i = 0; i < 3; i++) {
		pthread_join(t[i], &bad);
		assert_null(bad);
	}
	adit__media_close(&m);
}

/* In a child: a SIGBUS outside the frame's medium. Returns only if it went wrong. */
static void stray_sigbus(bool sent)
{
	struct adit_media m;
	struct adit_sigbus_frame frame;
	int fd = memfd_create("stray", MFD_CLOEXEC);
	volatile char *p;

	signal(SIGBUS, SIG_DFL);
	if (fd < 0 || ftruncate(fd, 4096) != 0 ||
	    adit__media_open(&m, in(shm_dir, "bus"), 0, 0, 0) != 0)
		return;
	p = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
	if (ADIT_SIGBUS_TRY(&frame, &m))
		return;
	if (sent)
		raise(SIGBUS);
	else
		(void)p[4096];
}

/* It does what it did before we came: it kills (or a sanitizer reports it). */
static void test_sigbus_elsewhere(void **state)
{
	for (int sent = 0; sent < 2; sent++) {
		int status;
		pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0) {
			dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 2);
			stray_sigbus(sent);
			_exit(0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
	}
}

/* --- bad blocks -------------------------------------------------------------------------- */

static void test_badblocks_text(void **state)
{
	const char *text = "8 8\n100 1\n\n";
	struct adit_bad_range r;
	uint64_t start, end;

	assert_true(adit__badblocks_next(&text, &start, &end));
	assert_int_equal(start, 4096);
	assert_int_equal(end, 8192);
	assert_true(adit__badblocks_next(&text, &start, &end));
	assert_int_equal(start, 51200);
	assert_int_equal(end, 51712);
	assert_false(adit__badblocks_next(&text, &start, &end));
	text = "junk";
	assert_false(adit__badblocks_next(&text, &start, &end));
	text = "18446744073709551615 9";
	assert_false(adit__badblocks_next(&text, &start, &end));

	assert_true(adit__bad_clip(4096, 8192, 6000, 10000, 100, &r));
	assert_int_equal(r.offset, 100);
	assert_int_equal(r.len_bytes, 2192);
	assert_true(adit__bad_clip(4096, 8192, 0, 5000, 0, &r));
	assert_int_equal(r.offset, 4096);
	assert_int_equal(r.len_bytes, 904);
	assert_false(adit__bad_clip(4096, 8192, 8192, 10000, 0, &r));
}

/* --- the recorder ------------------------------------------------------------------------ */

#ifdef ADIT_RECORD
static unsigned seen_stores;
static void see_store(struct adit_pm *pm, const void *dst, size_t len_bytes)
{
	seen_stores++;
}

static void test_counts(void **state)
{
	struct adit_record_hooks hooks = {.store = see_store};
	struct adit_pm_counts c;
	struct adit_media m;
	uint8_t page[4096] = {0};

	open_new(&m, in(shm_dir, "counts"), MIB, ADIT_DOMAIN_MEMORY);
	adit__record = &hooks;
	adit__counts_reset();
	adit__pm_store(&m.pm, m.pm.base + 60, page, 8);
	adit__pm_store64(&m.pm, m.pm.base, 1);
	adit__pm_flush(&m.pm, m.pm.base + 60, 8);
	adit__pm_copy_nt(&m.pm, m.pm.base + 4096, page, 4096);
	adit__pm_zero_nt(&m.pm, m.pm.base + 8200, 1);
	adit__pm_fence(&m.pm);
	adit__pm_flush(&m.pm, m.pm.base, 0); /* nothing */
	adit__counts_get(&c);
	adit__record = NULL;
	assert_int_equal(seen_stores, 2);
	assert_int_equal(c.stores, 2);
	assert_int_equal(c.store_bytes, 16);
	assert_int_equal(c.flushed_lines, 2);
	assert_int_equal(c.nt_lines, 65);
	assert_int_equal(c.fences, 1);
	adit__media_close(&m);
}

static void expect_event(size_t i, enum adit_event_kind kind, uint64_t offset, uint64_t len,
			 const void *bytes)
{
	struct adit_event e;

	assert_true(adit__trace_get(i, &e));
	assert_int_equal(e.kind, kind);
	assert_int_equal(e.offset, offset);
	assert_int_equal(e.len_bytes, len);
	if (bytes != NULL)
		assert_memory_equal(e.bytes, bytes, len);
	else
		assert_null(e.bytes);
}

static void test_trace(void **state)
{
	struct adit_media m, other;
	struct adit_event e;
	uint64_t word = 0x0102030405060708, bits = 0x0102030405060708 | 0xf0;
	uint8_t big[3000];

	memset(big, 7, sizeof big);
	unlink(in(shm_dir, "trace2"));
	open_new(&m, in(shm_dir, "trace"), 4 * MIB, ADIT_DOMAIN_MEMORY);
	open_new(&other, in(shm_dir, "trace2"), MIB, ADIT_DOMAIN_MEMORY);
	assert_int_equal(adit__record_ignore(65536, 65536), 0);
	assert_int_equal(adit__trace_start(&m.pm), 0);
	adit__trace_mark(42);
	adit__pm_store64(&m.pm, m.pm.base + 64, word);
	adit__pm_or64(&m.pm, m.pm.base + 64, 0xf0);
	adit__pm_store(&m.pm, m.pm.base + 65536 + 8, "ignored", 7);
	adit__pm_store(&other.pm, other.pm.base, "elsewhere", 9);
	adit__pm_store(&m.pm, m.pm.base + 131072, "seen", 4);
	adit__pm_flush(&m.pm, m.pm.base + 64, 8);
	adit__pm_copy_nt(&m.pm, m.pm.base + 1003, big, sizeof big);
	adit__pm_fence(&m.pm);
	adit__pm_fence(&other.pm);
	adit__trace_stop();
	adit__pm_store64(&m.pm, m.pm.base, 1);

	assert_false(adit__trace_failed());
	assert_int_equal(adit__trace_count(), 7);
	expect_event(0, ADIT_EVENT_MARK, 42, 0, NULL);
	expect_event(1, ADIT_EVENT_STORE, 64, 8, &word);
	expect_event(2, ADIT_EVENT_STORE, 64, 8, &bits);
	expect_event(3, ADIT_EVENT_STORE, 131072, 4, "seen");
	expect_event(4, ADIT_EVENT_FLUSH, 64, 8, NULL);
	expect_event(5, ADIT_EVENT_NT, 1003, 3000, big);
	expect_event(6, ADIT_EVENT_FENCE, 0, 0, NULL);
	assert_false(adit__trace_get(7, &e));

	adit__record_ignore_clear();
	/* Long enough to grow several times; a new start forgets. */
	assert_int_equal(adit__trace_start(&m.pm), 0);
	for (uint64_t i = 0; i < 100000; i++)
		adit__pm_store64(&m.pm, m.pm.base + i * 8, i);
	adit__trace_stop();
	assert_int_equal(adit__trace_count(), 100000);
	for (uint64_t i = 0; i < 100000; i += 999)
		expect_event(i, ADIT_EVENT_STORE, i * 8, 8, m.pm.base + i * 8);
	adit__trace_free();
	assert_int_equal(adit__trace_count(), 0);
	adit__media_close(&m);
	adit__media_close(&other);
}

static void test_trap(void **state)
{
	struct adit_media m;
	int status;
	pid_t child;

	open_new(&m, in(shm_dir, "trap"), MIB, ADIT_DOMAIN_MEMORY);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		adit__step = 0;
		adit__trap_at = 3;
		adit__pm_store64(&m.pm, m.pm.base, 1);
		adit__pm_fence(&m.pm);
		adit__pm_store64(&m.pm, m.pm.base + 8, 2);
		adit__pm_store64(&m.pm, m.pm.base + 16, 3);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_int_equal(*(uint64_t *)(void *)(m.pm.base + 8), 2);
	assert_int_equal(*(uint64_t *)(void *)(m.pm.base + 16), 0);
	adit__media_close(&m);
}
#else
static void test_counts(void **state)
{
	skip();
}
static void test_trace(void **state)
{
	skip();
}
static void test_trap(void **state)
{
	skip();
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tmpfs),
		cmocka_unit_test(test_large_is_giant_aligned),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_memfd),
		cmocka_unit_test(test_open_errors),
		cmocka_unit_test(test_assume),
		cmocka_unit_test(test_domain_names),
		cmocka_unit_test(test_direct_access),
		cmocka_unit_test(test_locks),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_file_fence),
		cmocka_unit_test(test_file_many),
		cmocka_unit_test(test_sigbus),
		cmocka_unit_test(test_sigbus_threads),
		cmocka_unit_test(test_sigbus_elsewhere),
		cmocka_unit_test(test_badblocks_text),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_trace),
		cmocka_unit_test(test_trap),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
