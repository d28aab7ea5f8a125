/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_media_corners.c - pieces of lines that are streamed, the recorder without memory, SIGBUS of others, and what is
 * rare about opening (media_machine.h).
 */
#include "media_machine.h"

/* ---- flush variants with other bounds ------------------------------------------------------------- */

static unsigned flushes, fences, streams;

static void count_flush(const void *addr, size_t len)
{
	(void)addr, (void)len;
	flushes++;
}
static void count_fence(void)
{
	fences++;
}
static void stream_copy(void *dst, const void *src, size_t lines)
{
	streams++;
	memcpy(dst, src, lines * 64);
}
static void stream_zero(void *dst, size_t lines)
{
	streams++;
	memset(dst, 0, lines * 64);
}

/* Streaming from the first byte on: pieces without a whole line, and without an end. */
static void test_pieces(void **state)
{
	static const struct adit_flush_variant eager = {.name = "eager",
							.flush_name = "none",
							.flush = count_flush,
							.fence = count_fence,
							.stream_copy = stream_copy,
							.stream_zero = stream_zero,
							.stream_min_bytes = 1};
	static const struct adit_flush_variant plain = {.name = "plain",
							.flush_name = "none",
							.flush = count_flush,
							.fence = count_fence,
							.stream_min_bytes = SIZE_MAX};
	static const struct {
		unsigned at, len, lines, edges;
	} row[] = {{64, 64, 1, 0},  {64, 10, 0, 1},  {70, 10, 0, 1}, {70, 58, 0, 1},
		   {70, 122, 1, 1}, {70, 130, 1, 2}, {64, 130, 1, 1}};
	static uint8_t from[1 << 16], want[1 << 16];
	struct adit_media m;

	(void)state;
	memset(from, 0xab, sizeof from);
	make_medium(MIB);
	assert_int_equal(adit__media_open(&m, medium, 0, 0, ADIT_DOMAIN_MEMORY), 0);
	m.variant = &eager;
	for (unsigned i = 0; i < 2 * (sizeof row / sizeof *row); i++) {
		unsigned r = i / 2, at = row[r].at, len = row[r].len;

		memset(m.pm.base, 1, 512);
		memset(want, 1, 512);
		memset(want + at, i % 2 ? 0 : 0xab, len);
		streams = flushes = 0;
		if (i % 2)
			adit__pm_zero_nt(&m.pm, m.pm.base + at, len);
		else
			adit__pm_copy_nt(&m.pm, m.pm.base + at, from, len);
		assert_memory_equal(m.pm.base, want, 512);
		assert_int_equal(streams, row[r].lines);
		assert_int_equal(flushes, row[r].edges);
	}
	fences = 0;
	adit__pm_fence(&m.pm);
	assert_int_equal(fences, 1);
	adit__media_close(&m);

	/* A CPU without streaming stores, and a domain that needs no flush. */
	assert_int_equal(adit__media_open(&m, medium, 0, 0, ADIT_DOMAIN_CPU_CACHE), 0);
	m.variant = &plain;
	flushes = 0;
	adit__pm_copy_nt(&m.pm, m.pm.base + 3, from, sizeof from);
	memset(want, 0xab, sizeof want);
	assert_memory_equal(m.pm.base + 3, want, sizeof want);
	assert_int_equal(flushes, 0);
	adit__media_close(&m);
	assert_ptr_equal(adit__flush_ops(ADIT_DOMAIN_AUTO), adit__flush_ops(ADIT_DOMAIN_FILE));
	assert_ptr_equal(adit__flush_ops((enum adit_domain)99), adit__flush_ops(ADIT_DOMAIN_FILE));
}

/* ---- odds and ends ----------------------------------------------------------------------------------- */

static void test_corners(void **state)
{
	struct adit_media m, none = {0};
	int fd;

	(void)state;
	/* What was never opened has no descriptor, though its number says 0. */
	assert_true(fcntl(0, F_GETFD) >= 0);
	adit__media_close(&none);
	assert_true(fcntl(0, F_GETFD) >= 0);
	assert_int_equal(none.fd, -1);

	make_medium(4 * MIB);
	setenv("ADIT_ASSUME", "", 1);
	assert_int_equal(open_medium(&m, ADIT_MEDIA_RDONLY, 0), 0);
	assert_false(m.assumed);
	unsetenv("ADIT_ASSUME");
	fd = adit__media_reopen(&m);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(fd);
	adit__media_close(&m);

	/* A device that grants MAP_SYNC is a device still. */
	be_device();
	fake.map_sync = true;
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_string_equal(m.kind, "devdax");
	adit__media_close(&m);

	fake.type = 0;
	fake.fs_type = HUGETLBFS_MAGIC;
	fake.fs_page = 2 * MIB;
	fd = memfd_create("huge", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(adit__media_open_fd(&m, fd, ADIT_MEDIA_CREATE, 2 * MIB, ADIT_DOMAIN_AUTO),
			 0);
	assert_string_equal(m.kind, "memfd");
	assert_int_equal(m.page_size, 2 * MIB);
	adit__media_close(&m);
}

/* Files of sysfs without a newline, and longer than anybody reads. */
static void test_sysfs_text(void **state)
{
	struct adit_bad_range bad[1];
	static char text[8000];
	unsigned at = 0;

	(void)state;
	put_file(REGION "/persistence_domain", "cpu_cache");
	assert_true(adit__sysfs_caches_persist(true, DEVICE));
	while (at < sizeof text - 16)
		at += (unsigned)sprintf(text + at, "%u 1\n", 2048 + at);
	put_file(REGION "/badblocks", text);
	assert_true(adit__sysfs_bad_dax(DEVICE, 8 * MIB, bad, 1) > 100);
	assert_int_equal(bad[0].offset, 0);
}

/* ---- the recorder ------------------------------------------------------------------------------------- */

static void test_recorder(void **state)
{
	struct adit_media m;
	struct adit_event e;
	uint64_t step;

	(void)state;
	make_medium(4 * MIB);
	assert_int_equal(open_medium(&m, 0, 0), 0);
	adit__trace_mark(1); /* nobody listens */
	assert_int_equal(adit__trace_start(&m.pm), 0);
	assert_int_equal(adit__record_ignore(4096, 4096), 0);
	assert_int_equal(adit__record_ignore(4096, 4096), 0); /* known */
	step = adit__step;
	adit__pm_store64(&m.pm, m.pm.base + 4096, 1);
	adit__record_store(&m.pm, m.pm.base - 64, 8);
	adit__record_store(&m.pm, m.pm.base + m.pm.size_bytes, 8);
	adit__record_store(&m.pm, m.pm.base, 0);
	assert_int_equal(adit__step, step);
	assert_int_equal(adit__trace_count(), 0);
	adit__pm_store(&m.pm, m.pm.base + 5, "odd", 3); /* ends within a word */
	assert_true(adit__trace_get(0, &e));
	assert_int_equal(e.offset, 5);
	assert_memory_equal(e.bytes, "odd", 3);
	adit__pm_flush(&m.pm, m.pm.base, 0);
	for (unsigned i = 1; i < 16; i++)
		assert_int_equal(adit__record_ignore(i * 8192, 8), 0);
	assert_int_equal(adit__record_ignore(1 << 20, 8), -ENOSPC);
	adit__record_ignore_clear();

	/* No memory: the trace says that it is not whole. */
	assert_false(adit__trace_failed());
	refuse("mremap", 0, ENOMEM);
	for (unsigned i = 0; i < 600; i++)
		adit__pm_zero(&m.pm, m.pm.base, 4096);
	assert_true(adit__trace_failed());
	adit__trace_free();
	refuse("mmap", 0, ENOMEM);
	assert_int_equal(adit__trace_start(&m.pm), 0);
	adit__pm_store64(&m.pm, m.pm.base, 1);
	assert_true(adit__trace_failed());
	refuse("mmap", 1, ENOMEM); /* the log has room, its index has not */
	assert_int_equal(adit__trace_start(&m.pm), 0);
	adit__pm_store64(&m.pm, m.pm.base, 1);
	assert_true(adit__trace_failed());
	assert_int_equal(adit__trace_count(), 0);
	adit__trace_free();
	fake.refuse = NULL;
	adit__media_close(&m);
}

/* ---- SIGBUS that is not ours -------------------------------------------------------------------------- */

static volatile sig_atomic_t heard;

static void hear(int sig)
{
	(void)sig;
	heard++;
}
static void hear_more(int sig, siginfo_t *info, void *context)
{
	(void)context;
	heard += info->si_signo == sig ? 10 : 0;
}
/* A badly behaved neighbour: passes back what it was passed. */
static void hear_and_raise(int sig)
{
	heard++;
	raise(sig);
}

static void hold_sigbus(void (*handler)(int), void (*action)(int, siginfo_t *, void *))
{
	struct sigaction a = {.sa_flags = SA_NODEFER};

	if (action) {
		a.sa_sigaction = action;
		a.sa_flags |= SA_SIGINFO;
	} else {
		a.sa_handler = handler;
	}
	sigaction(SIGBUS, &a, NULL);
	if (adit__sigbus_install() != 0)
		_exit(90);
}

static void send_to_self(int code)
{
	siginfo_t info = {.si_signo = SIGBUS, .si_code = code};

	if (syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &info) != 0)
		_exit(91);
}

/* In a child. Its exit status; 0 is right. */
static int sigbus_case(unsigned n)
{
	struct adit_sigbus_frame frame, nobody;
	struct adit_media m;
	volatile char *low;
	int fd;

	switch (n) {
	case 0: /* sent by a process, to a plain handler */
		hold_sigbus(hear, NULL);
		raise(SIGBUS);
		return heard != 1;
	case 1: /* to one that wants more */
		hold_sigbus(NULL, hear_more);
		raise(SIGBUS);
		return heard != 10;
	case 2: /* ignored before we came */
		hold_sigbus(SIG_IGN, NULL);
		raise(SIGBUS);
		return heard != 0;
	case 3: /* ignored, but a fault: it would come again for ever */
		hold_sigbus(SIG_IGN, NULL);
		send_to_self(BUS_ADRERR);
		raise(SIGBUS); /* back at the default: this kills */
		return 1;
	case 4: /* passed back: ended, by what the default does */
		hold_sigbus(hear_and_raise, NULL);
		raise(SIGBUS);
		return 1;
	case 5: /* poison that nobody has touched yet */
		hold_sigbus(hear, NULL);
		send_to_self(BUS_MCEERR_AO);
		return heard != 0;
	case 6: /* again and again somebody takes the signal after us */
		for (unsigned i = 0; i < 100; i++)
			hold_sigbus(hear, NULL);
		if (adit__sigbus_install() != 0) /* nobody did: nothing to remember */
			return 2;
		raise(SIGBUS);
		return heard != 1;
	default: /* a fault below the medium, and a frame that guards none */
		fd = memfd_create("low", MFD_CLOEXEC);
		hold_sigbus(SIG_DFL, NULL);
		if (open_medium(&m, 0, 0) != 0 || ftruncate(fd, 4096) != 0)
			return 3;
		low = mmap(m.pm.base - (64 << 20), 8192, PROT_READ, MAP_SHARED, fd, 0);
		if (low > (char *)m.pm.base || ADIT_SIGBUS_TRY(&frame, &m) ||
		    ADIT_SIGBUS_TRY(&nobody, NULL))
			return 4;
		(void)low[4096];
		return 5;
	}
}

static void test_sigbus_of_others(void **state)
{
	(void)state;
	make_medium(MIB);
	for (unsigned n = 0; n < 8; n++) {
		int status, killed = n == 3 || n == 4 || n == 7;
		pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0) {
			dup2(__real_open64("/dev/null", O_WRONLY | O_CLOEXEC), 2);
			_exit(sigbus_case(n));
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		/* A sanitizer makes an exit of the kill. */
		if (killed ? WIFEXITED(status) && WEXITSTATUS(status) < 10
			   : !WIFEXITED(status) || WEXITSTATUS(status) != 0)
			fail_msg("case %u: status %#x", n, (unsigned)status);
	}
	refuse("sigaction", 1, EINVAL); /* it may be asked for, and not be set */
	signal(SIGBUS, SIG_DFL);
	assert_int_equal(adit__sigbus_install(), -EINVAL);
	fake.refuse = NULL;
	assert_int_equal(adit__sigbus_install(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_corners, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sysfs_text, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recorder, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sigbus_of_others, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
