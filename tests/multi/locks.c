/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * locks - waiting for advisory locks, and the deaths of those who hold them.
 *
 *  - who waits goes on when the lock is given up, in the order in which they came; closing the file, a signal and a
 *    circle of processes end a wait with the right error
 *  - holders of each kind are killed: who waits goes on (how soon is printed)
 *  - threads and processes take and give up locks of all kinds for a while, and are killed at random moments: what
 *    a lock guards is never seen half done, and in the end no lock is left and none is refused
 *  - without a free block for the table locks are refused and nothing has changed
 *
 *	locks				some seconds
 *	ADIT_SECONDS=n ADIT_SEED=n	the random part for so long
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <adit/adit.h>

#include "core/advisory.h"
#include "core/alloc.h"
#include "core/check.h"
#include "core/scratch.h"
#include "fs/pool.h"
#include "proof.h"
#include "share/participant.h"

#define POOL_BYTES (16ull << 20)

static char path[100];
static struct adit_pool *pool;
static const char *what = "";
static struct shared {
	uint64_t failures, deaths, locks; /* atomic */
	uint64_t longest_ns;
	uint32_t step; /* of a scene in several processes */
	uint32_t came[8], ncame;
	int32_t rc[8];
	uint64_t guarded[2][4]; /* two words that are always equal, of each file */
} * shared;

static void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "FAILED %s: ", what);
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	__atomic_add_fetch(&shared->failures, 1, __ATOMIC_RELAXED);
}

static void expect(const char *call, long have, long want)
{
	if (have != want)
		fail("%s: %ld, not %ld", call, have, want);
}

static void on_alarm(int signal)
{
	(void)signal;
	(void)!write(2, "HANGS: ", 7);
	(void)!write(2, what, strlen(what));
	(void)!write(2, "\n", 1);
	_exit(9);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void open_it(void)
{
	int rc = adit_open(path, NULL, &pool);

	if (rc != 0) {
		fail("open: %d", rc);
		_exit(1);
	}
}

static int file(const char *name)
{
	int fd = adit_openat(pool, AT_FDCWD, name, O_CREAT | O_RDWR, 0600);

	if (fd < 0)
		fail("%s: %d", name, fd);
	return fd;
}

static int record(int fd, int command, int type, long start, long len)
{
	struct flock l = {.l_type = (short)type, .l_start = start, .l_len = len};

	return adit_fcntl_lock(pool, fd, command, &l);
}

/* Until a scene has got there. */
static void reach(uint32_t step)
{
	while (__atomic_load_n(&shared->step, __ATOMIC_ACQUIRE) < step)
		usleep(200);
}

static void at(uint32_t step)
{
	__atomic_store_n(&shared->step, step, __ATOMIC_RELEASE);
}

static pid_t begin(void (*run)(unsigned), unsigned arg)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(60);
		open_it();
		run(arg);
		_exit(adit_close(pool) == 0 ? 0 : 1);
	}
	return pid;
}

static void finish(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status != 0)
		fail("a process: status %#x", status);
}

/* So many threads wait, of whatever process. */
static void until_waiting(uint64_t n)
{
	uint64_t locks, waiting = 0;

	while (waiting != n) {
		usleep(300);
		adit__advisory_count(adit__pool_fs(pool), &locks, &waiting);
	}
}

static void none_left(void)
{
	uint64_t locks, waiting;

	/* A child that has ended had what is open here, too. */
	adit__share_look(adit__pool_fs(pool));
	adit__advisory_count(adit__pool_fs(pool), &locks, &waiting);
	if (locks != 0 || waiting != 0)
		fail("%llu locks and %llu who wait are left", (unsigned long long)locks,
		     (unsigned long long)waiting);
}

/* ---- order ------------------------------------------------------------------------------------- */

static void wait_in_turn(unsigned me)
{
	int fd = file("/f");

	expect("F_SETLKW", record(fd, F_SETLKW, F_WRLCK, 0, 0), 0);
	shared->came[__atomic_fetch_add(&shared->ncame, 1, __ATOMIC_RELAXED)] = me;
	expect("F_UNLCK", record(fd, F_SETLK, F_UNLCK, 0, 0), 0);
}

static void order(void)
{
	pid_t pid[4];
	int fd;

	what = "order";
	open_it();
	fd = file("/f");
	expect("F_SETLK", record(fd, F_SETLK, F_WRLCK, 0, 0), 0);
	shared->ncame = 0;
	for (unsigned i = 0; i < 4; i++) {
		pid[i] = begin(wait_in_turn, i);
		until_waiting(i + 1);
	}
	expect("F_UNLCK", record(fd, F_SETLK, F_UNLCK, 0, 0), 0);
	/* Asked for at once by who had it: mostly the others are first. */
	expect("F_SETLKW", record(fd, F_SETLKW, F_WRLCK, 0, 0), 0);
	printf("locks: %u of 4 who waited came before the holder had it again\n", shared->ncame);
	expect("F_UNLCK", record(fd, F_SETLK, F_UNLCK, 0, 0), 0);
	for (unsigned i = 0; i < 4; i++)
		finish(pid[i]);
	if (shared->ncame != 4)
		fail("%u of 4 came", shared->ncame);
	adit_close_fd(pool, fd);
	none_left();
	expect("close", adit_close(pool), 0);
}

/* ---- signals ------------------------------------------------------------------------------------- */

static volatile sig_atomic_t signals;

static void on_signal(int signal)
{
	(void)signal;
	signals++;
}

static void interrupted(unsigned restart)
{
	struct sigaction a = {.sa_handler = on_signal, .sa_flags = restart ? SA_RESTART : 0};
	int fd = file("/f"), rc;

	sigaction(SIGUSR1, &a, NULL);
	at(1);
	rc = record(fd, F_OFD_SETLKW, F_RDLCK, 5, 1);
	shared->rc[0] = rc;
	shared->rc[1] = signals;
}

static void signals_while_waiting(void)
{
	for (unsigned restart = 0; restart < 2; restart++) {
		pid_t pid;
		int fd;

		what = restart ? "a signal whose handler has SA_RESTART" : "a signal";
		open_it();
		fd = file("/f");
		expect("flock of the same file", adit_flock(pool, fd, LOCK_EX), 0);
		expect("F_SETLK", record(fd, F_SETLK, F_WRLCK, 0, 10), 0);
		pid = begin(interrupted, restart);
		until_waiting(1);
		usleep(30000);
		kill(pid, SIGUSR1);
		if (restart) {
			usleep(30000);
			expect("F_UNLCK", record(fd, F_SETLK, F_UNLCK, 0, 6), 0);
		}
		finish(pid);
		expect("it", shared->rc[0], restart ? 0 : -EINTR);
		expect("signals", shared->rc[1], 1);
		adit_close_fd(pool, fd);
		none_left();
		expect("close", adit_close(pool), 0);
	}
}

static void *close_it(void *arg)
{
	until_waiting(1);
	expect("close", adit_close_fd(pool, *(int *)arg), 0);
	return NULL;
}

static void closed_while_waiting(void)
{
	int fd, held;
	pthread_t t;

	what = "closed while waiting";
	open_it();
	held = file("/f");
	fd = file("/f");
	expect("flock", adit_flock(pool, held, LOCK_SH), 0);
	pthread_create(&t, NULL, close_it, &fd);
	expect("flock", adit_flock(pool, fd, LOCK_EX), -EBADF);
	pthread_join(t, NULL);
	expect("flock", adit_flock(pool, held, LOCK_UN), 0);
	none_left();
	expect("close", adit_close(pool), 0);
}

/* ---- circles --------------------------------------------------------------------------------------- */

static unsigned circle;

/* Each has a byte and wants the next one's. */
static void in_a_circle(unsigned me)
{
	int fd = file("/f"), other = file("/g"), *of[2] = {&fd, &other};
	unsigned next = (me + 1) % circle;

	expect("F_SETLK", record(*of[me % 2], F_SETLK, F_WRLCK, me, 1), 0);
	__atomic_add_fetch(&shared->step, 1, __ATOMIC_ACQ_REL);
	reach(circle);
	shared->rc[me] = record(*of[next % 2], F_SETLKW, F_WRLCK, next, 1);
	if (shared->rc[me] != 0 && shared->rc[me] != -EDEADLK)
		fail("process %u of a circle: %d", me, shared->rc[me]);
}

static void circles(void)
{
	for (circle = 2; circle < 6; circle++) {
		unsigned told = 0;
		pid_t pid[6];

		what = "circle";
		at(0);
		for (unsigned i = 0; i < circle; i++)
			pid[i] = begin(in_a_circle, i);
		for (unsigned i = 0; i < circle; i++)
			finish(pid[i]);
		for (unsigned i = 0; i < circle; i++)
			told += shared->rc[i] == -EDEADLK;
		if (told != 1)
			fail("%u of %u were told", told, circle);
	}
}

/* Locks that go round without anybody waiting in a circle: nobody is told. */
static void no_circle(unsigned me)
{
	int fd = file("/f");
	int rc = 0;

	for (unsigned i = 0; i < 300 && rc == 0; i++) {
		rc = record(fd, F_SETLKW, F_WRLCK, (i + me) % 4, 1);
		if (rc == 0)
			rc = record(fd, F_SETLK, F_UNLCK, 0, 0);
	}
	expect("without a circle", rc, 0);
}

static void no_circles(void)
{
	pid_t pid[4];

	what = "no circle";
	for (unsigned i = 0; i < 4; i++)
		pid[i] = begin(no_circle, i);
	for (unsigned i = 0; i < 4; i++)
		finish(pid[i]);
}

/* ---- death -------------------------------------------------------------------------------------------- */

static void hold_and_die(unsigned kind)
{
	int fd = file("/f");

	if (kind == 0)
		expect("F_SETLK", record(fd, F_SETLK, F_WRLCK, 0, 0), 0);
	else if (kind == 1)
		expect("F_OFD_SETLK", record(fd, F_OFD_SETLK, F_RDLCK, 3, 1), 0);
	else
		expect("flock", adit_flock(pool, fd, LOCK_EX), 0);
	at(1);
	pause();
}

static int wait_for_it(int fd, unsigned kind)
{
	return kind == 2 ? adit_flock(pool, fd, LOCK_EX) : record(fd, F_SETLKW, F_WRLCK, 0, 0);
}

static void holders_die(void)
{
	static const char *const name[] = {"F_SETLK", "F_OFD_SETLK", "flock"};
	double ms[3];

	for (unsigned kind = 0; kind < 3; kind++) {
		uint64_t began;
		pid_t pid;
		int fd;

		what = name[kind];
		at(0);
		open_it();
		fd = file("/f");
		pid = begin(hold_and_die, kind);
		reach(1);
		expect("while it is held",
		       kind == 2 ? adit_flock(pool, fd, LOCK_SH | LOCK_NB)
				 : record(fd, F_SETLK, F_WRLCK, 3, 1),
		       -EAGAIN);
		if (fork() == 0) {
			usleep(25000);
			kill(pid, SIGKILL);
			_exit(0);
		}
		began = now_ns();
		expect("after its death", wait_for_it(fd, kind), 0);
		ms[kind] = (double)(now_ns() - began) / 1e6 - 25;
		wait(NULL);
		wait(NULL);
		if (ms[kind] > 30000)
			fail("it took %.0f ms", ms[kind]);
		shared->deaths++;
		adit_close_fd(pool, fd);
		none_left();
		expect("close", adit_close(pool), 0);
	}
	printf("locks: the holder killed, who waited went on after %.0f (%s), %.0f (%s), %.0f ms "
	       "(%s)\n",
	       ms[0], name[0], ms[1], name[1], ms[2], name[2]);
}

/* Who does not wait sees at once that the holder is dead; and so does who asks. */
static void nobody_waits(void)
{
	for (unsigned kind = 0; kind < 3; kind++) {
		struct flock l = {.l_type = F_WRLCK};
		pid_t pid;
		int fd;

		what = "a dead holder, not waited for";
		at(0);
		open_it();
		fd = file("/f");
		pid = begin(hold_and_die, kind);
		reach(1);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		if (kind == 2) {
			expect("flock", adit_flock(pool, fd, LOCK_EX | LOCK_NB), 0);
		} else {
			expect("F_GETLK", adit_fcntl_lock(pool, fd, F_GETLK, &l), 0);
			expect("l_type", l.l_type, F_UNLCK);
			expect("F_SETLK", record(fd, F_SETLK, F_WRLCK, 0, 0), 0);
		}
		shared->deaths++;
		adit_close_fd(pool, fd);
		none_left();
		expect("close", adit_close(pool), 0);
	}
}

/* ---- at random ------------------------------------------------------------------------------------------- */

#define RANDOM_FILES 3u

static uint64_t mix(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 33;
}

/* Alone with two words: both are raised, or found equal.  A death in between leaves them apart: who comes next, alone
 * with them, makes them equal again. */
static void use(unsigned f, bool alone, uint64_t *state)
{
	uint64_t *a = &shared->guarded[0][f], *b = &shared->guarded[1][f];
	uint64_t x, y;

	if (!alone) {
		x = __atomic_load_n(a, __ATOMIC_RELAXED);
		for (unsigned i = mix(state) % 50; i > 0; i--)
			__atomic_load_n(b, __ATOMIC_RELAXED);
		if (x != __atomic_load_n(a, __ATOMIC_RELAXED))
			fail("file %u changes while it is locked for reading", f);
		return;
	}
	x = __atomic_load_n(a, __ATOMIC_RELAXED);
	y = __atomic_load_n(b, __ATOMIC_RELAXED);
	if (y > x)
		fail("file %u: %llu and %llu", f, (unsigned long long)x, (unsigned long long)y);
	__atomic_store_n(a, x + 1, __ATOMIC_RELAXED);
	for (unsigned i = mix(state) % 50; i > 0; i--)
		__atomic_load_n(b, __ATOMIC_RELAXED);
	if (__atomic_load_n(a, __ATOMIC_RELAXED) != x + 1 ||
	    __atomic_load_n(b, __ATOMIC_RELAXED) != y)
		fail("file %u changes while it is locked", f);
	__atomic_store_n(b, x + 1, __ATOMIC_RELAXED);
}

/* File 0: flock, 1: open files, 2: processes.  Around the byte that counts all kinds of ranges. */
static int take(int fd, unsigned f, bool alone, bool waits)
{
	int type = alone ? F_WRLCK : F_RDLCK;

	if (f == 0)
		return adit_flock(pool, fd, (alone ? LOCK_EX : LOCK_SH) | (waits ? 0 : LOCK_NB));
	return record(fd,
		      f == 1  ? waits ? F_OFD_SETLKW : F_OFD_SETLK
		      : waits ? F_SETLKW
			      : F_SETLK,
		      type, 20, 10);
}

static void give_up(int fd, unsigned f)
{
	int rc = f == 0 ? adit_flock(pool, fd, LOCK_UN)
			: record(fd, f == 1 ? F_OFD_SETLK : F_SETLK, F_UNLCK, 0, 0);

	if (rc != 0)
		fail("unlocking: %d", rc);
}

/* What others do not notice: ranges beside, split and joined. */
static void fidget(int fd, unsigned f, uint64_t *state)
{
	for (unsigned i = mix(state) % 4; f != 0 && i > 0; i--) {
		long start = (long)(mix(state) % 20), len = 1 + (long)(mix(state) % 20);
		int type = (int)(mix(state) % 3);

		if (start + len > 20)
			start += 30;
		(void)record(fd, f == 1 ? F_OFD_SETLK : F_SETLK, type, start, len);
	}
}

static void one_lock(int *fd, uint64_t *state)
{
	unsigned f = mix(state) % RANDOM_FILES;
	bool alone = mix(state) % 2, waits = mix(state) % 3;
	int rc = take(fd[f], f, alone, waits);

	if (rc == 0) {
		fidget(fd[f], f, state);
		use(f, alone, state);
		fidget(fd[f], f, state);
		__atomic_add_fetch(&shared->locks, 1, __ATOMIC_RELAXED);
	} else if (rc != -EAGAIN && rc != -EDEADLK) {
		fail("locking: %d", rc);
	}
	if (mix(state) % 8 == 0) { /* closing does it, too */
		static const char *const name[] = {"/flock", "/open", "/process"};

		adit_close_fd(pool, fd[f]);
		fd[f] = file(name[f]);
	} else {
		give_up(fd[f], f);
	}
}

static double until_s;

static void random_work(unsigned seed)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15ull + 12345;
	int fd[RANDOM_FILES] = {file("/flock"), file("/open"), file("/process")};

	while ((double)now_ns() / 1e9 < until_s &&
	       __atomic_load_n(&shared->failures, __ATOMIC_RELAXED) == 0) {
		uint64_t began = now_ns(), took;

		alarm(60);
		one_lock(fd, &state);
		took = now_ns() - began;
		if (took > __atomic_load_n(&shared->longest_ns, __ATOMIC_RELAXED))
			__atomic_store_n(&shared->longest_ns, took, __ATOMIC_RELAXED);
	}
}

#define WORKERS 4

static void killed_at_random(uint64_t seed, double seconds)
{
	pid_t pid[WORKERS];
	uint64_t state = seed;
	unsigned next = (unsigned)seed * 100000;

	what = "killed at random";
	until_s = (double)now_ns() / 1e9 + seconds;
	open_it();
	for (unsigned i = 0; i < WORKERS; i++)
		pid[i] = begin(random_work, next++);
	while ((double)now_ns() / 1e9 < until_s && shared->failures == 0) {
		unsigned w = (unsigned)(mix(&state) % WORKERS);

		usleep(3000 + (useconds_t)(mix(&state) % 20000));
		kill(pid[w], SIGKILL);
		waitpid(pid[w], NULL, 0);
		shared->deaths++;
		pid[w] = begin(random_work, next++);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		finish(pid[i]);
	adit__share_look(adit__pool_fs(pool));
	none_left();
	expect("close", adit_close(pool), 0);
}

/* ---- no room -------------------------------------------------------------------------------------------------- */

static void no_room(void)
{
	struct adit_fs *fs;
	uint64_t locks, waiting, had;
	long i = 0;
	int fd, rc;

	what = "no room";
	open_it();
	fs = adit__pool_fs(pool);
	fd = file("/f");
	/* What is left is the reserve: not for more than the first block. */
	had = __atomic_exchange_n(&fs->vol->free_blocks, get64(fs->super.reserve_blocks),
				  __ATOMIC_RELAXED);
	while ((rc = record(fd, F_SETLK, F_WRLCK, 4 * i, 2)) == 0)
		i++;
	expect("F_SETLK", rc, -ENOLCK);
	if (i < 10 || i > 1000)
		fail("%ld locks in one block", i);
	adit__advisory_count(fs, &locks, &waiting);
	expect("locks", (long)locks, i);
	expect("splitting", record(fd, F_SETLK, F_RDLCK, 4, 1), -ENOLCK);
	adit__advisory_count(fs, &locks, &waiting);
	expect("locks", (long)locks, i);
	/* Unlocking needs none, and makes some. */
	expect("unlocking", record(fd, F_SETLK, F_UNLCK, 8, 2), 0);
	expect("joining", record(fd, F_SETLK, F_WRLCK, 0, 6), 0);
	adit__advisory_count(fs, &locks, &waiting);
	expect("locks", (long)locks, i - 2);
	expect("another", record(fd, F_SETLK, F_RDLCK, 8, 2), 0);
	__atomic_add_fetch(&fs->vol->free_blocks, had - get64(fs->super.reserve_blocks),
			   __ATOMIC_RELAXED);
	for (; i < 5000; i++)
		expect("with room", record(fd, F_SETLK, F_WRLCK, 4 * i, 2), 0);
	adit_close_fd(pool, fd);
	none_left();
	expect("close", adit_close(pool), 0);
}

static void last_check(void)
{
	struct adit_fs *fs;
	char text[400];
	int n;

	what = "in the end";
	open_it();
	fs = adit__pool_fs(pool);
	n = adit__check_quiet(fs, text, sizeof text);
	if (n != 0)
		fail("check: %d: %s", n, text);
	expect("checkpoint", adit__checkpoint(fs), 0);
	expect("free blocks", (long)(fs->vol->free_blocks + adit__scratch_blocks(fs)),
	       (long)adit__total_free(fs));
	none_left();
	expect("close", adit_close(pool), 0);
}

int main(void)
{
	const char *limit = getenv("ADIT_SECONDS"), *chosen = getenv("ADIT_SEED");
	const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	uint64_t seed = chosen ? strtoull(chosen, NULL, 0) : 1;
	struct adit_mkfs_options o = {.size_bytes = POOL_BYTES, .force = 1};
	struct proof *proof = proof_begin("locks-waiting", "R10",
					  "who waits for an advisory lock goes on, also after its "
					  "holder was killed");

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, on_alarm);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	snprintf(path, sizeof path, "%s/adit-locks-waiting-%d.adit", dir, (int)getpid());
	alarm(120);
	if (adit_mkfs(path, &o) != 0)
		return 2;
	order();
	signals_while_waiting();
	closed_while_waiting();
	circles();
	no_circles();
	holders_die();
	nobody_waits();
	no_room();
	alarm(0);
	killed_at_random(seed, limit ? strtod(limit, NULL) : 4);
	last_check();
	unlink(path);
	proof_seed(proof, seed);
	proof_count(proof, "locks", shared->locks);
	proof_count(proof, "kills", shared->deaths);
	proof_end(proof, shared->failures);
	printf("locks: %llu locks in %d processes, %llu deaths, longest call %.1f ms, seed %llu: "
	       "%llu "
	       "failures\n",
	       (unsigned long long)shared->locks, WORKERS, (unsigned long long)shared->deaths,
	       (double)shared->longest_ns / 1e6, (unsigned long long)seed,
	       (unsigned long long)shared->failures);
	return shared->failures != 0;
}
