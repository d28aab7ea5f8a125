/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * locks_same - advisory locks beside the kernel's: processes make the same random calls on files of a pool and on files
 * of tmpfs, and every result, every errno and every answer of F_GETLK is the same.  Processes are killed, too.
 *
 * Calls are made one after the other, so that there is one right answer.  Waiting forms are called where the kernel's
 * would not have to wait.
 *
 *	locks_same				120,000 calls
 *	ADIT_SECONDS=n ADIT_SEED=n		others, for so long
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <adit/adit.h>

#include "proof.h"

#define WORKERS 3
#define FILES	3
#define SLOTS	7
#define BURST	12
#define CALLS	120000u

static char pool_path[100], dir[100];
static struct {
	uint64_t calls, granted, refused, answers;
} * count; /* shared; one worker at a time */
static uint64_t state;

static uint64_t below(uint64_t n)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 0x2545f4914f6cdd1dull >> 11) % n;
}

/* ---- a worker ---------------------------------------------------------------------------------- */

static struct adit_pool *pool;
static unsigned worker;
static uint64_t call_no;
static struct slot {
	int ours, theirs; /* -1: not open */
} slots[SLOTS];

static void differ(const char *what, long ours, long theirs)
{
	fprintf(stderr, "FAILED worker %u, call %llu: %s: %ld, the kernel %ld\n", worker,
		(unsigned long long)call_no, what, ours, theirs);
	_exit(3);
}

/* The kernel's, as ours are returned. */
static long of(long rc)
{
	return rc < 0 ? -errno : rc;
}

static void same(const char *what, long ours, long theirs)
{
	if (ours != theirs)
		differ(what, ours, theirs);
}

static int theirs_of(const struct slot *s)
{
	return s->theirs < 0 ? 999999 : s->theirs;
}

static int ours_of(const struct slot *s)
{
	return s->ours < 0 ? 999999 : s->ours;
}

static void open_one(struct slot *s)
{
	static const int how[] = {O_RDWR, O_RDWR, O_RDWR, O_RDONLY, O_WRONLY, O_PATH};
	int flags = how[below(6)];
	char name[120];

	if (s->ours >= 0)
		return;
	snprintf(name, sizeof name, "%s/f%d", dir, (int)below(FILES));
	s->theirs = open(name, flags);
	s->ours = adit_openat(pool, AT_FDCWD, name + strlen(dir), flags, 0);
	if (s->theirs < 0 || s->ours < 0)
		differ("open", s->ours, s->theirs);
}

static void close_one(struct slot *s)
{
	same("close", adit_close_fd(pool, ours_of(s)), of(close(theirs_of(s))));
	s->ours = s->theirs = -1;
}

static void dup_one(const struct slot *from, struct slot *to)
{
	if (from == to || from->ours < 0)
		return;
	if (to->ours < 0) {
		to->ours = adit_dup(pool, from->ours);
		to->theirs = dup(from->theirs);
	} else {
		same("dup2", adit_dup2(pool, from->ours, to->ours) == to->ours,
		     dup2(from->theirs, to->theirs) == to->theirs);
	}
}

static int64_t position(void)
{
	static const int64_t odd[] = {INT64_MAX,      INT64_MAX - 1, INT64_MIN,
				      INT64_MAX - 30, INT64_MIN + 1, 1ll << 40};

	switch (below(20)) {
	case 0:
		return odd[below(6)];
	case 1:
		return -(int64_t)below(40);
	default:
		return (int64_t)below(below(3) ? 40 : 12);
	}
}

static struct flock request(bool ofd)
{
	static const short whence[] = {SEEK_SET, SEEK_SET, SEEK_SET, SEEK_SET, SEEK_CUR, SEEK_END};
	struct flock l = {.l_type = (short)below(3), .l_whence = whence[below(6)]};

	if (below(60) == 0)
		l.l_type = (short)(3 + below(4));
	if (below(60) == 0)
		l.l_whence = 7;
	l.l_start = position();
	l.l_len = below(4) == 0	  ? -(int64_t)below(20)
		  : below(8) == 0 ? position()
				  : (int64_t)below(20);
	l.l_pid = ofd ? (below(40) == 0) : (int)below(3);
	return l;
}

static void set_lock(const struct slot *s)
{
	bool ofd = below(3) == 0;
	struct flock l = request(ofd), ours = l;
	int command = ofd ? F_OFD_SETLK : F_SETLK, rc;

	rc = (int)of(fcntl(theirs_of(s), command, &l));
	if (rc == 0 && below(2))
		command = ofd ? F_OFD_SETLKW : F_SETLKW;
	same(ofd ? "F_OFD_SETLK" : "F_SETLK", adit_fcntl_lock(pool, ours_of(s), command, &ours),
	     rc);
	count->granted += rc == 0;
	count->refused += rc == -EAGAIN;
	if (memcmp(&l, &ours, sizeof l) != 0)
		differ("what F_SETLK left", ours.l_type, l.l_type);
}

static void get_lock(const struct slot *s)
{
	bool ofd = below(3) == 0;
	struct flock l = request(ofd), ours = l;
	int command = ofd ? F_OFD_GETLK : F_GETLK;

	if (ofd && l.l_type == F_UNLCK)
		l.l_type = ours.l_type = F_RDLCK; /* not on older kernels */
	same("F_GETLK", adit_fcntl(pool, ours_of(s), command, (long)&ours),
	     of(fcntl(theirs_of(s), command, &l)));
	count->answers += l.l_type == F_RDLCK || l.l_type == F_WRLCK;
	same("l_type", ours.l_type, l.l_type);
	same("l_pid", ours.l_pid, l.l_pid);
	same("l_whence", ours.l_whence, l.l_whence);
	same("l_start", ours.l_start, l.l_start);
	same("l_len", ours.l_len, l.l_len);
}

static void flock_one(const struct slot *s)
{
	static const int operation[] = {LOCK_SH, LOCK_EX, LOCK_UN};
	int op = below(40) == 0 ? (int)below(16) : operation[below(3)], rc;

	rc = (int)of(flock(theirs_of(s), op | LOCK_NB));
	count->granted += rc == 0;
	count->refused += rc == -EAGAIN;
	same("flock", adit_flock(pool, ours_of(s), op | (rc == 0 && below(2) ? 0 : LOCK_NB)), rc);
}

static void move_one(const struct slot *s)
{
	long at = (long)below(40);

	if (below(2))
		same("lseek", adit_lseek(pool, ours_of(s), at, SEEK_SET),
		     of(lseek(theirs_of(s), at, SEEK_SET)));
	else
		same("ftruncate", adit_ftruncate(pool, ours_of(s), at),
		     of(ftruncate(theirs_of(s), at)));
}

static void one_call(void)
{
	struct slot *s = &slots[below(SLOTS)];
	uint64_t what = below(100);

	if (what < 50)
		set_lock(s);
	else if (what < 65)
		get_lock(s);
	else if (what < 80)
		flock_one(s);
	else if (what < 91)
		open_one(s);
	else if (what < 94)
		close_one(s);
	else if (what < 97)
		dup_one(s, &slots[below(SLOTS)]);
	else
		move_one(s);
}

struct turn {
	uint64_t seed, first;
	uint32_t calls;
};

static void on_alarm(int signal)
{
	(void)signal;
	(void)!write(2, "HANGS\n", 6);
	_exit(9);
}

static void work(int in, int out)
{
	struct turn t;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGALRM, on_alarm);
	if (adit_open(pool_path, NULL, &pool) != 0)
		differ("adit_open", -1, 0);
	for (unsigned i = 0; i < SLOTS; i++)
		slots[i].ours = slots[i].theirs = -1;
	while (read(in, &t, sizeof t) == (ssize_t)sizeof t) {
		state = t.seed;
		call_no = t.first;
		alarm(60);
		for (uint32_t i = 0; i < t.calls; i++, call_no++)
			one_call();
		if (write(out, "", 1) != 1)
			break;
	}
	for (unsigned i = 0; i < SLOTS; i++)
		if (slots[i].ours >= 0)
			close_one(&slots[i]);
	_exit(adit_close(pool) == 0 ? 0 : 4);
}

/* ---- all ------------------------------------------------------------------------------------------- */

static struct {
	pid_t pid;
	int to, from;
} workers[WORKERS];

static void begin(unsigned w)
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
		exit(2);
	worker = w;
	workers[w].pid = fork();
	if (workers[w].pid == 0) {
		close(to[1]);
		close(from[0]);
		for (unsigned i = 0; i < WORKERS; i++)
			if (i != w && workers[i].pid > 0)
				close(workers[i].to);
		work(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	workers[w].to = to[1];
	workers[w].from = from[0];
}

/* how: SIGKILL, or 0: it closes all and goes. */
static int end(unsigned w, int how)
{
	int status = 0;

	if (how != 0)
		kill(workers[w].pid, how);
	close(workers[w].to);
	waitpid(workers[w].pid, &status, 0);
	close(workers[w].from);
	workers[w].pid = 0;
	return how != 0 ? 0 : status;
}

static void make_files(void)
{
	struct adit_mkfs_options o = {.size_bytes = 8 << 20, .force = 1};
	char name[120];

	if (mkdir(dir, 0700) != 0 || adit_mkfs(pool_path, &o) != 0 ||
	    adit_open(pool_path, NULL, &pool) != 0)
		exit(2);
	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "%s/f%d", dir, i);
		close(open(name, O_CREAT | O_RDWR, 0600));
		adit_close_fd(pool, adit_openat(pool, AT_FDCWD, name + strlen(dir),
						O_CREAT | O_RDWR, 0600));
	}
	if (adit_close(pool) != 0)
		exit(2);
}

static void remove_files(void)
{
	char name[120];

	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof name, "%s/f%d", dir, i);
		unlink(name);
	}
	rmdir(dir);
	unlink(pool_path);
}

static bool turn(void)
{
	struct turn t = {below(UINT64_MAX - 1) + 1, count->calls, 1 + (uint32_t)below(BURST)};
	unsigned w = (unsigned)below(WORKERS);
	char done;

	count->calls += t.calls;
	return write(workers[w].to, &t, sizeof t) == (ssize_t)sizeof t &&
	       read(workers[w].from, &done, 1) == 1;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(void)
{
	const char *limit = getenv("ADIT_SECONDS"), *chosen = getenv("ADIT_SEED");
	const char *where = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	uint64_t seed = chosen ? strtoull(chosen, NULL, 0) : 1, deaths = 0, failures = 0;
	struct proof *proof =
		proof_begin("locks", "R10", "advisory locks answer as the kernel's do");
	double until = limit ? seconds() + strtod(limit, NULL) : 0;

	count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	signal(SIGPIPE, SIG_IGN);
	state = seed * 0x9e3779b97f4a7c15ull | 1;
	snprintf(pool_path, sizeof pool_path, "%s/adit-locks-%d.adit", where, (int)getpid());
	snprintf(dir, sizeof dir, "%s/adit-locks-%d.d", where, (int)getpid());
	make_files();
	for (unsigned w = 0; w < WORKERS; w++)
		begin(w);
	while (failures == 0 && (limit ? seconds() < until : count->calls < CALLS)) {
		if (!turn())
			failures++;
		if (below(150) == 0) {
			unsigned w = (unsigned)below(WORKERS);
			bool killed = below(3) != 0;

			failures += end(w, killed ? SIGKILL : 0) != 0;
			deaths += killed;
			begin(w);
		}
	}
	for (unsigned w = 0; w < WORKERS; w++)
		failures += end(w, 0) != 0;
	remove_files();
	proof_seed(proof, seed);
	proof_count(proof, "calls", count->calls);
	proof_count(proof, "deaths", deaths);
	proof_end(proof, failures);
	printf("locks_same: %llu calls (%llu locks granted, %llu refused, %llu found by F_GETLK) "
	       "and %llu "
	       "deaths of %d processes, as the kernel does it, seed %llu: %llu failures\n",
	       (unsigned long long)count->calls, (unsigned long long)count->granted,
	       (unsigned long long)count->refused, (unsigned long long)count->answers,
	       (unsigned long long)deaths, WORKERS, (unsigned long long)seed,
	       (unsigned long long)failures);
	return failures != 0;
}
