/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * share.c - what several processes on one pool gain and cost: two beside one, a lock, and the engine beside one
 * that is built for a single process.
 *
 * Workers are processes, each on a processor of its own; this one tells them through pipes what to do and sleeps
 * meanwhile. What is compared takes turns, round after round; rounds in which a worker lost its processor to some
 * other program do not count (the kernel says so), as far as enough others can be had. The best round of each side
 * counts, and the median of the rounds' ratios. "bare copy" is what the memory itself gives to two.
 *
 * The other engine is this program and the library compiled with ADIT_PRIVATE (bench/private): operations say nothing
 * in the pool's slots and look at no gate, locks are not tagged with the incarnation, reservations lie in
 * memory of the process, no participant. Its pool is as large and as full. Instructions of a call are counted by the
 * processor's trap flag: they do not depend on the machine's other work.
 */
#include "bench.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "media/flush.h"
#include "media/media.h"
#include "share/lock.h"

#define POOL_BYTES (512ull << 20)
#define OPS	   1500u
#define BLOCKS	   1024u /* of each worker's file */
#define LOCKS	   200000u

enum kind {
	READ,
	OVERWRITE,
	APPEND,
	CREATE,	     /* in a directory of its own */
	CREATE_HERE, /* in one that others create in */
	BARE,
	LOCK,
	LOCK_SHARED,
	KINDS
};
static const char *const kinds[KINDS] = {
	"read 4 KiB",	"overwrite 4 KiB",	 "append 4 KiB",
	"create",	"create, one directory", "(4 KiB bare copy)",
	"lock, unlock", "the same, shared"};

struct order {
	enum kind kind;
	unsigned total;	   /* how many workers do this now */
	bool instructions; /* count them for one call instead */
};
struct result {
	double begin, end;
	uint64_t ops, instructions;
	bool disturbed; /* another program took the processor meanwhile */
};

/* Of all workers, shared. */
static struct meeting {
	unsigned arrived __attribute__((aligned(64)));
} * meeting;

/* ---- a worker ------------------------------------------------------------------------------------------ */

static struct adit_pool *pool;
static unsigned me;
static int file, grow, own_dir, common_dir;
static struct adit_media bare;
static uint8_t buffer[4096] __attribute__((aligned(4096)));
static struct adit_lock one_lock __attribute__((aligned(64)));

static int64_t one_op(enum kind kind, unsigned i)
{
	off_t at = (off_t)(i % BLOCKS * 4096ull);
	char name[NAME_BYTES];

	switch (kind) {
	case READ:
		return adit_pread(pool, file, buffer, sizeof buffer, at);
	case OVERWRITE:
		return adit_pwrite(pool, file, buffer, sizeof buffer, at);
	case APPEND:
		return adit_pwrite(pool, grow, buffer, sizeof buffer, (off_t)(i * 4096ull));
	case CREATE:
	case CREATE_HERE:
		make_name(name, i * 2 + me);
		return adit_mknodat(pool, kind == CREATE ? own_dir : common_dir, name,
				    S_IFREG | 0644, 0);
	case BARE:
		adit__pm_copy_nt(&bare.pm, bare.pm.base + at, buffer, sizeof buffer);
		adit__pm_fence(&bare.pm);
		return 0;
	default:
		adit__lock(&one_lock, 7, kind == LOCK);
		adit__unlock(&one_lock, kind == LOCK);
		return 0;
	}
}

/* Not measured: as it was before. */
static void undo(enum kind kind, unsigned n)
{
	char name[NAME_BYTES];

	if (kind == APPEND)
		check(adit_ftruncate(pool, grow, 0), "adit_ftruncate");
	if (kind != CREATE && kind != CREATE_HERE)
		return;
	for (unsigned i = 0; i < n; i++) {
		make_name(name, i * 2 + me);
		check(adit_unlinkat(pool, kind == CREATE ? own_dir : common_dir, name, 0),
		      "unlink");
	}
}

static uint64_t traps;

/* A string instruction traps once a byte or line: it is one. */
static void on_trap(int signal, siginfo_t *info, void *context)
{
	static uint64_t last;
	uint64_t at = 0;

	(void)signal;
	(void)info;
#if defined(__x86_64__)
	at = (uint64_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#endif
	traps += at == 0 || at != last;
	last = at;
}

#if defined(__x86_64__)
#define TRAP(flag)                                                                                 \
	__asm__ volatile(                                                                          \
		"lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); orq %0, (%%rsp); popfq; "  \
		"lea 128(%%rsp), %%rsp" ::"r"((uint64_t)(flag))                                    \
		: "memory", "cc")
#else
#define TRAP(flag) ((void)(flag))
#endif

/* The least of a few: a checkpoint falls into one. */
static uint64_t instructions_of(enum kind kind)
{
	struct sigaction trap = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
	uint64_t least = UINT64_MAX;

	sigaction(SIGTRAP, &trap, NULL);
	for (unsigned i = 0; i < 40; i++) {
		int64_t rc;

		traps = 0;
		TRAP(0x100);
		rc = one_op(kind, i);
		TRAP(0);
		check(rc, kinds[kind]);
		if (i >= 20 && traps < least)
			least = traps;
	}
	undo(kind, 40);
	return least;
}

static void meet(unsigned total)
{
	if (total < 2)
		return;
	__atomic_add_fetch(&meeting->arrived, 1, __ATOMIC_SEQ_CST);
	for (unsigned spins = 0; __atomic_load_n(&meeting->arrived, __ATOMIC_SEQ_CST) < total;
	     spins++)
		if (spins > 100000)
			sched_yield();
}

static long preemptions(void)
{
	struct rusage use;

	return getrusage(RUSAGE_SELF, &use) == 0 ? use.ru_nivcsw : 0;
}

/* In one directory, one makes as many names as two would: a larger directory costs more by itself. */
static unsigned ops_of(const struct order *o)
{
	if (o->kind >= LOCK)
		return LOCKS;
	return o->kind == CREATE_HERE && o->total == 1 ? 2 * OPS : OPS;
}

static struct result carry_out(const struct order *o)
{
	struct result r = {.ops = ops_of(o)};
	long before;

	if (o->instructions) {
		r.instructions = instructions_of(o->kind);
		return r;
	}
	meet(o->total);
	before = preemptions();
	r.begin = now_ns();
	for (unsigned i = 0; i < r.ops; i++) {
		int64_t rc = one_op(o->kind, i);

		if (rc < 0)
			check(rc, kinds[o->kind]);
	}
	r.end = now_ns();
	r.disturbed = preemptions() != before;
	undo(o->kind, (unsigned)r.ops);
	return r;
}

static int directory(const char *name)
{
	int rc = adit_mkdir(pool, name, 0755);

	if (rc != -EEXIST)
		check(rc, name);
	rc = adit_openat(pool, AT_FDCWD, name, O_RDONLY | O_DIRECTORY, 0);
	check(rc, name);
	return rc;
}

static int filled(const char *prefix, unsigned blocks)
{
	char name[32];
	int fd;

	snprintf(name, sizeof name, "%s-%u", prefix, me);
	fd = adit_openat(pool, AT_FDCWD, name, O_CREAT | O_RDWR, 0644);
	check(fd, name);
	for (unsigned i = 0; i < blocks; i++)
		check(adit_pwrite(pool, fd, buffer, sizeof buffer, (off_t)(i * 4096ull)), name);
	return fd;
}

static void prepare_bare(void)
{
	const struct adit_flush_variant *const *v;

	adit__flush_variants(&v);
	bare.pm.priv = &bare;
	bare.variant = v[0];
	bare.pm.ops = adit__flush_ops(ADIT_DOMAIN_MEMORY);
	bare.pm.size_bytes = BLOCKS * 4096ull;
	bare.pm.base = mmap(NULL, bare.pm.size_bytes, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (bare.pm.base == MAP_FAILED)
		die("mmap: %s", strerror(errno));
}

static void pin(void)
{
	cpu_set_t allowed, one;
	unsigned left = me;

	if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || left-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		(void)sched_setaffinity(0, sizeof one, &one);
		return;
	}
}

/* share --worker POOL NUMBER: orders on standard input, results on standard output. */
static int work(const char *path, unsigned number)
{
	char name[32];
	struct order o;

	me = number;
	snprintf(bench_pool, sizeof bench_pool, "%s", path);
	meeting = mmap(NULL, sizeof *meeting, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
	if (meeting == MAP_FAILED)
		die("worker: mmap: %s", strerror(errno));
	pin();
	pool = pool_open();
	pool_populate(pool, POOL_BYTES);
	memset(buffer, 's', sizeof buffer);
	prepare_bare();
	file = filled("file", BLOCKS);
	grow = filled("grow", 0);
	snprintf(name, sizeof name, "dir-%u", me);
	own_dir = directory(name);
	common_dir = directory("common");
	while (read(0, &o, sizeof o) == (ssize_t)sizeof o) {
		struct result r = carry_out(&o);

		if (write(1, &r, sizeof r) != (ssize_t)sizeof r)
			return 1;
	}
	check(adit_close(pool), "adit_close");
	return 0;
}

/* ---- the one that tells them ------------------------------------------------------------------------------ */

struct worker {
	pid_t pid;
	int to, from;
};

static struct worker start(const char *program, const char *path, unsigned number)
{
	struct worker w;
	int in[2], out[2];
	char text[16];

	if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
		die("pipe: %s", strerror(errno));
	snprintf(text, sizeof text, "%u", number);
	w.pid = fork();
	if (w.pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		execl(program, program, "--worker", path, text, (char *)NULL);
		die("%s: %s", program, strerror(errno));
	}
	close(in[0]);
	close(out[1]);
	w.to = in[1];
	w.from = out[0];
	return w;
}

static void tell(struct worker *w, enum kind kind, unsigned total, bool instructions)
{
	struct order o = {kind, total, instructions};

	if (write(w->to, &o, sizeof o) != (ssize_t)sizeof o)
		die("a worker has ended");
}

static struct result hear(struct worker *w)
{
	struct result r;

	if (read(w->from, &r, sizeof r) != (ssize_t)sizeof r)
		die("a worker has ended");
	return r;
}

static void end(struct worker *w)
{
	int status;

	close(w->to);
	if (waitpid(w->pid, &status, 0) != w->pid || status != 0)
		die("a worker failed");
	close(w->from);
}

/* ns an operation of one; of both together, as if one had done all. */
static double measure(struct worker *w, unsigned n, enum kind kind, bool *disturbed)
{
	double begin = 1e300, last = 0;
	uint64_t ops = 0;

	__atomic_store_n(&meeting->arrived, 0, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < n; i++)
		tell(&w[i], kind, n, false);
	for (unsigned i = 0; i < n; i++) {
		struct result r = hear(&w[i]);

		begin = r.begin < begin ? r.begin : begin;
		last = r.end > last ? r.end : last;
		ops += r.ops;
		*disturbed |= r.disturbed;
	}
	return (last - begin) / (double)ops;
}

static size_t missed_count;

static void judge(double value, double target, bool reached)
{
	if (target > 0) {
		missed_count += !reached;
		printf(" %7.2f  %s", target, reached ? "reached" : "MISSED");
	}
	putchar('\n');
}

/* ---- two processes beside one ------------------------------------------------------------------------------ */

#define PAIR_ROUNDS 60
#define TRIES	    10 /* rounds for one that counts; disturbed ones, too, when there are only such */

/* Does this round count? */
static bool counts(unsigned round, bool disturbed, unsigned have)
{
	return round > 0 && (!disturbed || round > PAIR_ROUNDS * (TRIES - 1) + have);
}

static void pairs(struct worker *w)
{
	static const double target[KINDS] = {[READ] = 1.8,
					     [OVERWRITE] = 1.8,
					     [APPEND] = 1.8,
					     [CREATE] = 1.8,
					     [CREATE_HERE] = 1.0};

	unsigned calm = 0, rounds = 0;

	printf("\n%-22s %10s %10s %7s %7s %7s\n", "processes, each", "1 process", "2 processes",
	       "ratio", "", "");
	printf("%-22s %10s %10s %7s %7s %7s\n", "with files of its own", "ops/s", "ops/s", "best",
	       "median", "target");
	for (enum kind kind = READ; kind <= BARE; kind++) {
		struct series one = {.n = 0}, two = {.n = 0}, ratio = {.n = 0};
		double best;

		for (unsigned round = 0; two.n < PAIR_ROUNDS; round++) {
			bool disturbed = false;
			double a = measure(&w[round % 2], 1, kind, &disturbed);
			double b = measure(w, 2, kind, &disturbed);

			calm += !disturbed;
			rounds++;
			if (!counts(round, disturbed, two.n))
				continue;
			series_add(&one, a);
			series_add(&two, b);
			series_add(&ratio, a / b);
		}
		best = series_best(&one) / series_best(&two);
		printf("%-22s %10.0f %10.0f %7.2f %7.2f", kinds[kind], 1e9 / series_best(&one),
		       1e9 / series_best(&two), best, series_median(&ratio));
		judge(best, target[kind], best >= target[kind]);
		json_begin_row(kinds[kind]);
		json_number("processes", 2);
		json_number("one_process_ns", series_best(&one));
		json_number("two_processes_ns", series_best(&two));
		json_number("ratio_best", best);
		json_number("ratio_median", series_median(&ratio));
		json_number("target", target[kind]);
		json_end_row();
	}
	printf("(%u of %u rounds were not disturbed)\n", calm, rounds);
}

/* ---- a lock -------------------------------------------------------------------------------------------------- */

static void locks(struct worker *w)
{
	printf("\n%-22s %10s %10s %7s\n", "nobody else wants it", "best, ns", "median, ns", "aim");
	for (enum kind kind = LOCK; kind <= LOCK_SHARED; kind++) {
		struct series ns = {.n = 0};

		for (unsigned round = 0; round < 40; round++) {
			bool disturbed;

			series_add(&ns, measure(w, 1, kind, &disturbed));
		}
		printf("%-22s %10.1f %10.1f", kinds[kind], series_best(&ns), series_median(&ns));
		judge(series_best(&ns), 40, series_best(&ns) < 40);
		json_begin_row(kinds[kind]);
		json_number("best_ns", series_best(&ns));
		json_number("median_ns", series_median(&ns));
		json_number("target", 40);
		json_end_row();
	}
}

/* ---- the cost of sharing --------------------------------------------------------------------------------------- */

static uint64_t instructions(struct worker *w, enum kind kind)
{
	tell(w, kind, 1, true);
	return hear(w).instructions;
}

static void costs(struct worker *shared, struct worker *private)
{
	static const double target[KINDS] = {[READ] = 5, [CREATE] = 5};

	printf("\n%-22s %9s %9s %8s %8s %8s %19s\n", "the cost of sharing", "shared", "private",
	       "best", "median", "target", "instructions");
	printf("%-22s %9s %9s %8s %8s %8s %9s %9s\n", "", "best, ns", "best, ns", "%", "%", "%",
	       "shared", "private");
	for (enum kind kind = READ; kind <= CREATE; kind++) {
		struct series ours = {.n = 0}, theirs = {.n = 0}, ratio = {.n = 0};
		uint64_t n[2];
		double best, median;
		bool reached;

		for (unsigned round = 0; ratio.n < PAIR_ROUNDS; round++) {
			bool disturbed = false;
			double x = measure(round % 2 ? shared : private, 1, kind, &disturbed);
			double y = measure(round % 2 ? private : shared, 1, kind, &disturbed);

			if (!counts(round, disturbed, ratio.n))
				continue;
			series_add(round % 2 ? &ours : &theirs, x);
			series_add(round % 2 ? &theirs : &ours, y);
			series_add(&ratio, round % 2 ? x / y : y / x);
		}
		n[0] = instructions(shared, kind);
		n[1] = instructions(private, kind);
		best = (series_best(&ours) / series_best(&theirs) - 1) * 100;
		median = (series_median(&ratio) - 1) * 100;
		reached = best < target[kind];
		printf("%-22s %9.0f %9.0f %+8.1f %+8.1f", kinds[kind], series_best(&ours),
		       series_best(&theirs), best, median);
		if (target[kind] > 0)
			printf(" %8.0f", target[kind]);
		else
			printf(" %8s", "");
		printf(" %9llu %9llu", (unsigned long long)n[0], (unsigned long long)n[1]);
		if (target[kind] > 0) {
			missed_count += !reached;
			printf("  %s", reached ? "reached" : "MISSED");
		}
		putchar('\n');
		json_begin_row(kinds[kind]);
		json_number("shared_ns", series_best(&ours));
		json_number("private_ns", series_best(&theirs));
		json_number("cost_best_percent", best);
		json_number("cost_median_percent", median);
		json_number("shared_instructions", (double)n[0]);
		json_number("private_instructions", (double)n[1]);
		json_number("target_percent", target[kind]);
		json_end_row();
	}
}

/* ------------------------------------------------------------------------------------------------------------------ */

static void make_meeting(void)
{
	int fd = memfd_create("meeting", 0);

	if (fd < 0 || ftruncate(fd, 4096) != 0 || dup2(fd, 3) != 3)
		die("memfd: %s", strerror(errno));
	meeting = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
	if (meeting == MAP_FAILED)
		die("mmap: %s", strerror(errno));
}

static void find_self(char *self, size_t bytes, char *other, size_t other_bytes)
{
	ssize_t n = readlink("/proc/self/exe", self, bytes - 1);

	if (n < 0)
		die("/proc/self/exe: %s", strerror(errno));
	self[n] = '\0';
	snprintf(other, other_bytes, "%.*s/private/share-private", (int)(strrchr(self, '/') - self),
		 self);
}

int main(int argc, char **argv)
{
	char self[400], other[440];
	struct worker w[2], alone;

	if (argc == 4 && strcmp(argv[1], "--worker") == 0)
		return work(argv[2], (unsigned)atoi(argv[3]));
	bench_begin(argc, argv, "share");
	find_self(self, sizeof self, other, sizeof other);
	make_meeting();
	pool_make(POOL_BYTES);
	w[0] = start(self, bench_pool, 0);
	w[1] = start(self, bench_pool, 1);
	printf("processes on one pool, each on a processor of its own; %d rounds in turns\n",
	       PAIR_ROUNDS);
	pairs(w);
	locks(w);
	end(&w[0]);
	end(&w[1]);

	if (access(other, X_OK) != 0) {
		printf("\nno %s: the cost of sharing is not measured (ninja "
		       "bench/private/share-private)\n",
		       other);
	} else {
		pool_make(POOL_BYTES);
		w[0] = start(self, bench_pool, 0);
		strcat(bench_pool, "-private");
		pool_make(POOL_BYTES);
		alone = start(other, bench_pool, 0);
		costs(&w[0], &alone);
		end(&w[0]);
		end(&alone);
	}
	if (missed_count)
		printf("\n%zu targets missed in this run\n", missed_count);
	bench_end();
	return 0;
}
