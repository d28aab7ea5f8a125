/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * protect - stray stores into the mapping of a protected pool: every one faults, no byte changes, the pool works on.
 *
 * The stores are of all kinds and sizes, at random places of the mapping as /proc/self/maps shows it. Between
 * them the library works, so that a window left open would be found. With keys also: while other threads are in
 * calls, from signal handlers in the middle of calls, and in threads that are older than the key. Then media errors,
 * a child of fork, processes that die, a pool opened for reading, and what the options say.
 *
 *	protect [keys | mprotect]	what this CPU can do
 *	ADIT_SECONDS=n ADIT_SEED=n protect
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <adit/adit.h>

#include "core/check.h"
#include "fs/pool.h"
#include "media/sigbus.h"
#include "proof.h"

#define POOL_BYTES (8ull << 20)
#define STRAYS	   100000u
#define FILES	   8u
#define FILE_BYTES 70000u
#define SPAN_MAX   20000u /* of one stray store */

static char path[96];
static struct adit_pool *pool;
static uint8_t *base; /* of the mapping */
static uint64_t map_bytes, random_state, seed;
static uint64_t strays, calls, handled, deaths;
static unsigned failures;
static int how;
static pid_t main_process;

static const char *name_of_how(int h)
{
	return h == ADIT_PROTECT_KEYS ? "keys" : "mprotect";
}

static __attribute__((format(printf, 1, 2))) void fail(const char *format, ...)
{
	va_list args;

	if (__atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED) > 10)
		return;
	printf("protect (%s, seed %llu): ", name_of_how(how), (unsigned long long)seed);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

static void must(bool right, const char *what)
{
	if (right)
		return;
	fail("%s", what);
	fflush(stdout);
	if (getpid() != main_process)
		_exit(1);
	exit(1);
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- the stray stores ----------------------------------------------------------------------------- */

static _Thread_local sigjmp_buf back;
static _Thread_local volatile bool expecting;
static _Thread_local void *volatile fault_at;

static void on_segv(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	if (!expecting) {
		char text[100];
		int n = snprintf(text, sizeof text,
				 "protect: SIGSEGV in a call of the library, pool offset %#llx\n",
				 (unsigned long long)((uint8_t *)info->si_addr - base));
		ssize_t rc = write(2, text, (size_t)n);

		(void)rc;
		_exit(3);
	}
	expecting = false;
	fault_at = info->si_addr;
	siglongjmp(back, 1);
}

static void catch_segv(void)
{
	struct sigaction a = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigaction(SIGSEGV, &a, NULL);
}

enum kind {
	BYTE,
	WORD16,
	WORD32,
	WORD64,
	ADD,
	EXCHANGE,
	COPY,
	FILL,
	STRING,
	VECTOR,
	STREAM,
	KINDS
};

static uint64_t length_of(enum kind kind, uint64_t *state)
{
	static const uint16_t fixed[KINDS] = {
		[BYTE] = 1, [WORD16] = 2,   [WORD32] = 4,  [WORD64] = 8,
		[ADD] = 8,  [EXCHANGE] = 8, [VECTOR] = 16, [STREAM] = 8};

	return fixed[kind] != 0 ? fixed[kind] : 1 + next_random(state) % (SPAN_MAX - 1);
}

static uint8_t rubbish[SPAN_MAX];

static void vector_store(uint8_t *at)
{
#if defined(__x86_64__)
	_mm_storeu_si128((__m128i *)(void *)at, _mm_set1_epi8((char)0xa5));
#else
	memset(at, 0xa5, 16);
#endif
}

static void stream_store(uint8_t *at)
{
#if defined(__x86_64__)
	_mm_stream_si64((long long *)(void *)at, (long long)0xa5a5a5a5a5a5a5a5);
#else
	memset(at, 0xa5, 8);
#endif
}

static void string_store(uint8_t *at, uint64_t len)
{
#if defined(__x86_64__)
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(len) : "a"(0xa5) : "memory");
#else
	memset(at, 0xa5, len);
#endif
}

static __attribute__((noinline)) void store(enum kind kind, uint8_t *at, uint64_t len)
{
	uint64_t word = 0xa5a5a5a5a5a5a5a5;
	uint64_t *aligned = (uint64_t *)((uintptr_t)at & ~(uintptr_t)7);

	switch (kind) {
	case BYTE:
		*(volatile uint8_t *)at = (uint8_t)word;
		return;
	case WORD16:
	case WORD32:
	case WORD64:
		memcpy(at, &word, len); /* unaligned ones too */
		__asm__ volatile("" : : "r"(at) : "memory");
		return;
	case ADD:
		__atomic_fetch_add(aligned, 1, __ATOMIC_RELAXED);
		return;
	case EXCHANGE:
		__atomic_exchange_n(aligned, word, __ATOMIC_RELAXED);
		return;
	case COPY:
		memcpy(at, rubbish, len);
		__asm__ volatile("" : : "r"(at) : "memory");
		return;
	case FILL:
		memset(at, 0xa5, len);
		__asm__ volatile("" : : "r"(at) : "memory");
		return;
	case STRING:
		string_store(at, len);
		return;
	case VECTOR:
		vector_store(at);
		return;
	default:
		stream_store(at);
		return;
	}
}

/* True when it faulted in the mapping. In a handler too. */
static __attribute__((noinline)) bool stray_is_blocked(enum kind kind, uint8_t *at, uint64_t len)
{
	if (sigsetjmp(back, 1) != 0)
		return (uint8_t *)fault_at + 8 > at && (uint8_t *)fault_at < at + len;
	expecting = true;
	store(kind, at, len);
	expecting = false;
	return false;
}

/* A random one. Half of them go where most of the metadata is: the first MiB. */
static bool stray(uint64_t *state)
{
	enum kind kind = (enum kind)(next_random(state) % KINDS);
	uint64_t len = length_of(kind, state);
	uint64_t room = (next_random(state) & 1 ? map_bytes : 1ull << 20) - len - 8;
	uint8_t *at = base + next_random(state) % room;

	__atomic_fetch_add(&strays, 1, __ATOMIC_RELAXED);
	if (stray_is_blocked(kind, at, len))
		return true;
	fail("a store of %llu bytes (kind %d) at offset %#llx went through (last fault at %#llx)",
	     (unsigned long long)len, (int)kind, (unsigned long long)(at - base),
	     (unsigned long long)((uint8_t *)fault_at - base));
	return false;
}

/* ---- the pool ------------------------------------------------------------------------------------- */

/* Where the pool file is mapped, as a program that goes wild would find it. */
static void find_mapping(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long long from, to;
	char line[400];

	base = NULL;
	while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
		if (strstr(line, path) == NULL || sscanf(line, "%llx-%llx", &from, &to) != 2)
			continue;
		must(base == NULL, "the pool is mapped in two pieces");
		base = (uint8_t *)(uintptr_t)from;
		map_bytes = to - from;
	}
	must(maps != NULL && base != NULL && map_bytes == POOL_BYTES, "the mapping is not found");
	fclose(maps);
}

static void quiet(void *ctx, const char *line)
{
	(void)ctx;
	(void)line;
}

static int try_open(int protect, unsigned flags)
{
	struct adit_open_options o = {.flags = flags, .protect = protect, .report = quiet};

	return adit_open(path, &o, &pool);
}

static void open_pool(int protect, unsigned flags)
{
	struct adit_pool_info info;

	must(try_open(protect, flags) == 0, "adit_open");
	must(adit_info(pool, &info) == 0 && info.protection == protect, "adit_info");
	find_mapping();
}

/* The thread may look at the mapping after this, whatever happened to its rights. */
static const uint8_t *look(void)
{
	uint64_t n;
	void *p;

	must(adit_direct_access(pool, 0, POOL_BYTES, &p, &n) == 0 && p == base && n == POOL_BYTES,
	     "adit_direct_access");
	return p;
}

static uint8_t pattern(unsigned file, uint64_t at)
{
	return (uint8_t)(file * 37 + at * 11 + at / 251);
}

static void file_name(char *name, unsigned file)
{
	sprintf(name, "/file-%u", file);
}

static void make_files(void)
{
	static uint8_t bytes[FILE_BYTES];
	char name[32];

	for (unsigned f = 0; f < FILES; f++) {
		int fd;

		for (uint64_t i = 0; i < FILE_BYTES; i++)
			bytes[i] = pattern(f, i);
		file_name(name, f);
		fd = adit_openat(pool, AT_FDCWD, name, O_CREAT | O_RDWR, 0644);
		must(fd >= 0 && adit_write(pool, fd, bytes, FILE_BYTES) == FILE_BYTES &&
			     adit_close_fd(pool, fd) == 0,
		     "making files");
	}
}

static void make_pool(void)
{
	struct adit_mkfs_options o = {.size_bytes = POOL_BYTES, .force = 1};

	must(adit_mkfs(path, &o) == 0, "adit_mkfs");
	open_pool(how, 0);
	make_files();
}

static void read_back(unsigned file)
{
	uint8_t bytes[FILE_BYTES];
	struct stat st;
	char name[32];
	int fd;

	file_name(name, file);
	fd = adit_openat(pool, AT_FDCWD, name, O_RDONLY, 0);
	must(fd >= 0 && adit_fstat(pool, fd, &st) == 0 && st.st_size == FILE_BYTES, "fstat");
	must(adit_pread(pool, fd, bytes, FILE_BYTES, 0) == FILE_BYTES, "pread");
	for (uint64_t i = 0; i < FILE_BYTES; i++)
		must(bytes[i] == pattern(file, i), "a file's contents");
	must(adit_close_fd(pool, fd) == 0, "close");
	calls += 4;
}

/* Calls of all sorts, by one thread on names of its own. */
static void work(unsigned who, uint64_t *state)
{
	char name[32], other[32], value[100];
	struct stat st;
	int fd;

	sprintf(name, "/work-%u", who);
	sprintf(other, "/moved-%u", who);
	fd = adit_openat(pool, AT_FDCWD, name, O_CREAT | O_EXCL | O_RDWR, 0644);
	must(fd >= 0, "create");
	memset(value, (int)who, sizeof value);
	must(adit_pwrite(pool, fd, rubbish, 1 + next_random(state) % 9000,
			 (off_t)(next_random(state) % 5000)) > 0,
	     "pwrite");
	must(adit_fsetxattr(pool, fd, "user.x", value, sizeof value, 0) == 0, "setxattr");
	must(adit_ftruncate(pool, fd, (off_t)(next_random(state) % 6000)) == 0, "ftruncate");
	must(adit_rename(pool, name, other) == 0, "rename");
	must(adit_stat(pool, other, &st) == 0 && st.st_nlink == 1, "stat");
	must(adit_stat(pool, name, &st) == -ENOENT, "stat of what is gone");
	must(adit_pread(pool, fd, value, sizeof value, 0) >= 0, "pread");
	must(adit_unlink(pool, other) == 0, "unlink");
	must(adit_close_fd(pool, fd) == 0, "close");
	__atomic_fetch_add(&calls, 10, __ATOMIC_RELAXED);
}

/* The core looks at all of it; its seals are made right first. */
static void check_pool(void)
{
	struct adit_sigbus_frame frame;
	char text[400];
	int n;

	for (unsigned f = 0; f < FILES; f++)
		read_back(f);
	must(adit_close(pool) == 0, "adit_close");
	open_pool(how, 0);
	adit__sigbus_push(&frame, &pool->media);
	adit__allow_stores(&frame);
	n = adit__check_quiet(adit__pool_fs(pool), text, sizeof text);
	adit__sigbus_pop(&frame);
	if (n != 0)
		fail("check: %d findings, the first: %s", n, text);
}

/* ---- by one thread ---------------------------------------------------------------------------------- */

#define BATCH 500u

/* No byte of the pool changes; then calls, which may have to change any. */
static void scribble(uint64_t n)
{
	uint8_t *before = malloc(POOL_BYTES);

	must(before != NULL, "malloc");
	for (uint64_t done = 0; done < n && failures == 0; done += BATCH) {
		memcpy(before, look(), POOL_BYTES);
		for (unsigned i = 0; i < BATCH; i++)
			if (!stray(&random_state))
				break;
		if (memcmp(before, look(), POOL_BYTES) != 0)
			fail("bytes of the pool have changed");
		work(0, &random_state);
		read_back((unsigned)(done / BATCH % FILES));
	}
	free(before);
}

/* ---- threads ------------------------------------------------------------------------------------------ */

#define THREADS 2u

static unsigned stage; /* atomic: 1: the pool is open, 2: stop */

static void *older_thread(void *arg)
{
	uint64_t state = 1 + (uint64_t)(uintptr_t)arg;

	while (__atomic_load_n(&stage, __ATOMIC_ACQUIRE) == 0)
		usleep(100);
	while (__atomic_load_n(&stage, __ATOMIC_ACQUIRE) == 1) {
		work(1 + (unsigned)(uintptr_t)arg, &state);
		/* Between two calls of its own, while others are in theirs. */
		if (how == ADIT_PROTECT_KEYS)
			(void)stray(&state);
	}
	return NULL;
}

static volatile sig_atomic_t in_handler_blocked, in_handler_open;

/* In the middle of whatever the thread does, a call most of the time. */
static void on_usr1(int sig)
{
	static _Thread_local uint64_t state;
	/* The thread may be in a stray store of its own. */
	bool expected = expecting;
	void *fault = fault_at;
	sigjmp_buf there;

	(void)sig;
	memcpy(&there, &back, sizeof there);
	state = state != 0 ? state : 77;
	if (stray(&state))
		in_handler_blocked++;
	else
		in_handler_open++;
	memcpy(&back, &there, sizeof there);
	fault_at = fault;
	expecting = expected;
}

static void with_threads(pthread_t *thread, uint64_t ms)
{
	uint64_t end = now_ns() + ms * 1000000;

	__atomic_store_n(&stage, 1, __ATOMIC_RELEASE);
	while (now_ns() < end && failures == 0) {
		work(9, &random_state);
		if (how != ADIT_PROTECT_KEYS)
			continue;
		for (unsigned i = 0; i < 50; i++)
			(void)stray(&random_state);
		pthread_kill(thread[next_random(&random_state) % THREADS], SIGUSR1);
	}
	__atomic_store_n(&stage, 2, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	handled += (uint64_t)in_handler_blocked;
	if (in_handler_open != 0)
		fail("a handler in the middle of a call stored to the pool");
	scribble(BATCH); /* no window has stayed open */
}

/* ---- signal handlers that call ------------------------------------------------------------------------- */

static int handler_fd;
static volatile sig_atomic_t handler_right;

static void on_usr2(int sig)
{
	char byte = 'h', got = 0;

	(void)sig;
	handler_right = adit_pwrite(pool, handler_fd, &byte, 1, 5) == 1 &&
			adit_pread(pool, handler_fd, &got, 1, 5) == 1 && got == 'h' &&
			memcmp(look() + 4, "ADIT", 4) == 0 &&
			stray_is_blocked(WORD64, base + 4096, 8);
}

static void calls_in_handlers(void)
{
	signal(SIGUSR2, on_usr2);
	handler_fd = adit_openat(pool, AT_FDCWD, "/handler", O_CREAT | O_RDWR, 0644);
	must(handler_fd >= 0, "open");
	for (unsigned i = 0; i < 20; i++) {
		handler_right = 0;
		raise(SIGUSR2);
		if (!handler_right)
			fail("calls in a signal handler");
		if (!stray_is_blocked(BYTE, base + next_random(&random_state) % map_bytes, 1))
			fail("a store after a signal handler went through");
		work(0, &random_state);
	}
	must(adit_close_fd(pool, handler_fd) == 0 && adit_unlink(pool, "/handler") == 0, "close");
}

/* ---- media errors ----------------------------------------------------------------------------------------- */

/* The block that holds a file's second 4 KiB. */
static uint8_t *block_of(unsigned file)
{
	const uint8_t *p = look();

	for (uint64_t at = 0; at < map_bytes; at += 4096) {
		unsigned i = 0;

		while (i < 4096 && p[at + i] == pattern(file, 4096 + i))
			i++;
		if (i == 4096)
			return base + at;
	}
	must(false, "a file's block is not found");
	return NULL;
}

/* Touching the block is a SIGBUS: in a read without locks, in a change, and in a copy inside the pool. */
static void media_errors(void)
{
	int nothing = memfd_create("nothing", MFD_CLOEXEC), fd;
	uint8_t *block = block_of(3), bytes[8192];
	off_t from = 4096;

	must(nothing >= 0 && mmap(block, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
				  nothing, 0) == block,
	     "mmap");
	fd = adit_openat(pool, AT_FDCWD, "/file-3", O_RDWR, 0);
	must(fd >= 0, "open");
	for (unsigned i = 0; i < 50; i++) {
		if (adit_pread(pool, fd, bytes, 100, 4200) != -EIO)
			fail("a read of what is lost");
		if (!stray_is_blocked(WORD64, base + 8192 + i * 64, 8))
			fail("a store after a media error in a read went through");
		if (adit_pread(pool, fd, bytes, 100, 0) != 100)
			fail("a read beside what is lost");
		if (adit_pwrite(pool, fd, bytes, 100, 4200) != -EIO)
			fail("a write to what is lost");
		if (!stray_is_blocked(WORD64, base + 8192 + i * 64, 8))
			fail("a store after a media error in a write went through");
		if (adit_copy_file_range(pool, fd, &from, fd, &(off_t){40960}, 4096, 0) != -EIO)
			fail("a copy of what is lost");
		work(0, &random_state);
	}
	must(adit_close_fd(pool, fd) == 0 && adit_close(pool) == 0, "close");
	close(nothing);
	open_pool(how, 0);
	/* Half of the block may have been written. */
	must(adit_unlink(pool, "/file-3") == 0, "unlink");
	make_files();
}

/* ---- processes ------------------------------------------------------------------------------------------------ */

static void wait_for(pid_t pid, bool killed)
{
	int status;

	must(waitpid(pid, &status, 0) == pid, "waitpid");
	if (killed ? !WIFSIGNALED(status) : status != 0)
		fail("a child ended with status %#x", (unsigned)status);
}

static void in_child_of_fork(void)
{
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (pid > 0) {
		wait_for(pid, false);
		return;
	}
	failures = 0;
	for (unsigned i = 0; i < BATCH; i++)
		(void)stray(&random_state);
	_exit(failures != 0);
}

/* They are killed in the middle of calls; this process repairs what they leave, from inside its own. */
static void deaths_of_others(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		pid_t pid = fork();

		must(pid >= 0, "fork");
		if (pid == 0) {
			uint64_t state = random_state + i;

			munmap(base, map_bytes); /* the parent's */
			open_pool(how, 0);
			for (unsigned who = 100 + i * 2000;; who++)
				work(who, &state);
		}
		for (uint64_t end = now_ns() + 20000000 + next_random(&random_state) % 20000000;
		     now_ns() < end;)
			work(0, &random_state);
		kill(pid, SIGKILL);
		wait_for(pid, true);
		for (unsigned k = 0; k < 20; k++)
			work(0, &random_state);
		deaths++;
	}
	/* A thread of the library may still be finishing what they left: the pool is closed when it has. */
	must(adit_close(pool) == 0, "adit_close");
	open_pool(how, 0);
	scribble(BATCH);
}

/* ---- options ------------------------------------------------------------------------------------------------------ */

static void read_only(void)
{
	must(adit_close(pool) == 0, "adit_close");
	open_pool(how, ADIT_OPEN_RDONLY);
	for (unsigned i = 0; i < BATCH; i++)
		(void)stray(&random_state);
	for (unsigned f = 0; f < FILES; f++)
		read_back(f);
	must(adit_mkdir(pool, "/d", 0755) == -EROFS, "mkdir in a read-only pool");
	must(adit_close(pool) == 0, "adit_close");
	open_pool(how, 0);
}

static void environment(const char *value, int rc, int protection)
{
	struct adit_pool_info info;
	int got;

	setenv("ADIT_PROTECT", value, 1);
	got = try_open(ADIT_PROTECT_DEFAULT, 0);
	if (got != rc)
		fail("ADIT_PROTECT=%s: %d", value, got);
	if (got == 0) {
		must(adit_info(pool, &info) == 0, "adit_info");
		if (info.protection != protection)
			fail("ADIT_PROTECT=%s gives %d", value, info.protection);
		must(adit_close(pool) == 0, "adit_close");
	}
	unsetenv("ADIT_PROTECT");
}

/* Returns whether this CPU has keys. */
static bool options(void)
{
	struct adit_pool_info info;
	bool keys;

	must(try_open(ADIT_PROTECT_MPROTECT + 1, 0) == -EINVAL, "a protection that is none");
	must(try_open(-1, 0) == -EINVAL, "a negative protection");
	environment("", 0, ADIT_PROTECT_OFF);
	environment("off", 0, ADIT_PROTECT_OFF);
	environment("mprotect", 0, ADIT_PROTECT_MPROTECT);
	environment("sometimes", -EINVAL, 0);
	setenv("ADIT_PROTECT", "mprotect", 1);
	open_pool(ADIT_PROTECT_OFF, 0);
	unsetenv("ADIT_PROTECT");
	must(adit_info(pool, &info) == 0, "adit_info");
	keys = info.keys_supported;
	/* Without protection a store does go through: what this suite sees is no accident. */
	if (stray_is_blocked(ADD, base + map_bytes - 8, 8))
		fail("a store into a pool that nothing protects was blocked");
	must(adit_close(pool) == 0, "adit_close");
	environment("keys", keys ? 0 : -EOPNOTSUPP, ADIT_PROTECT_KEYS);
	return keys;
}

/* ------------------------------------------------------------------------------------------------------------------- */

static void run(int mode, uint64_t n, pthread_t *thread)
{
	how = mode;
	make_pool();
	scribble(n);
	with_threads(thread, 1000);
	calls_in_handlers();
	in_child_of_fork();
	media_errors();
	read_only();
	deaths_of_others(8);
	check_pool();
	must(adit_close(pool) == 0, "adit_close");
}

static void remove_pool(void)
{
	unlink(path);
}

static void start_threads(pthread_t *thread)
{
	__atomic_store_n(&stage, 0, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < THREADS; i++)
		must(pthread_create(&thread[i], NULL, older_thread, (void *)(uintptr_t)i) == 0,
		     "pthread_create");
}

int main(int argc, char **argv)
{
	const char *limit = getenv("ADIT_SECONDS"), *chosen = getenv("ADIT_SEED");
	struct adit_mkfs_options o = {.size_bytes = POOL_BYTES, .force = 1};
	uint64_t end = now_ns() + (uint64_t)((limit ? strtod(limit, NULL) : 0) * 1e9), rounds = 0;
	struct proof *proof =
		proof_begin("protect", "R19", "stray stores into the mapping of a protected pool");
	bool only_keys = argc > 1 && strcmp(argv[1], "keys") == 0, keys;
	bool only_mprotect = argc > 1 && strcmp(argv[1], "mprotect") == 0;
	pthread_t thread[THREADS];

	seed = random_state = chosen && strtoull(chosen, NULL, 0) ? strtoull(chosen, NULL, 0) : 19;
	main_process = getpid();
	snprintf(path, sizeof path, "%s/adit-protect-%d.adit",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
	atexit(remove_pool);
	memset(rubbish, 0x5a, sizeof rubbish);
	catch_segv();
	signal(SIGUSR1, on_usr1);
	start_threads(thread); /* before there is a key */
	must(adit_mkfs(path, &o) == 0, "adit_mkfs");
	keys = options();
	if (only_keys && !keys) {
		printf("protect: this CPU or kernel has no protection keys\n");
		return 77;
	}
	do {
		if (keys && !only_mprotect) {
			run(ADIT_PROTECT_KEYS, STRAYS, thread);
			start_threads(thread);
		}
		if (!only_keys) {
			run(ADIT_PROTECT_MPROTECT, STRAYS, thread);
			start_threads(thread);
		}
		rounds++;
	} while (failures == 0 && now_ns() < end);
	proof_seed(proof, seed);
	proof_count(proof, "stray stores", strays);
	proof_count(proof, "calls between them", calls);
	proof_count(proof, "processes killed", deaths);
	if (!keys)
		proof_note(proof, "mprotect only: this CPU has no protection keys");
	proof_end(proof, failures);
	printf("protect: %s%s%s: %llu stray stores, of them %llu in signal handlers amid calls, "
	       "%llu calls, "
	       "%llu processes killed, seed %llu: %u failures\n",
	       keys && !only_mprotect ? "keys" : "", keys && argc < 2 ? " and " : "",
	       only_keys ? "" : "mprotect", (unsigned long long)strays, (unsigned long long)handled,
	       (unsigned long long)calls, (unsigned long long)deaths, (unsigned long long)seed,
	       failures);
	return failures != 0;
}
