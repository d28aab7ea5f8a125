/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * history - short histories of processes that use the same few names at once, and a search for an order in which they
 * make sense: one that respects real time (what had returned comes before what began later) and in which the model of
 * tests/model gives every result, error and attribute that was seen.  If there is none, the operations are not
 * linearizable.
 *
 *	history				some seconds
 *	ADIT_SECONDS=n ADIT_SEED=n history [PROCESSES]
 *
 * Of a hundred histories one is falsified in one result before it is looked at, so that it shows whether the
 * search can say no.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/core.h"
#include "fs/env.h"
#include "fs/pool.h"
#include "media/record.h"

#include "history.h"
#include "op.h"
#include "proof.h"

#define BLOCK	   100u /* histories between two looks */
#define POOL_BYTES (16ull << 20)

static const char *const words[KINDS] = {"create", "open-create", "mkdir",  "link",
					 "unlink", "rmdir",	  "rename", "truncate",
					 "chmod",  "stat",	  "readdir"};

const char *const names[NAMES] = {"/x/a", "/x/b", "/y/a", "/x/a/c", "/y/a/c", "/x/b/c"};

static struct shared {
	uint64_t clock;	  /* atomic */
	uint64_t arrived; /* atomic: at one of the meeting points */
	uint64_t block;	  /* atomic: to be run */
	int stop, failed; /* atomic */
	struct history history[2][BLOCK];
} * shared;

unsigned processes = 3;
static char path[100];
static struct adit_pool *pool;

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void __attribute__((noreturn)) stop_all(const char *why, long long rc)
{
	fprintf(stderr, "FAILED: %s: %lld\n", why, rc);
	__atomic_store_n(&shared->failed, 1, __ATOMIC_SEQ_CST);
	_exit(1);
}

/* ---- making histories ----------------------------------------------------------------------------- */

static void make_call(struct call *c, uint64_t *random)
{
	/* What makes names is wanted more often: otherwise there is nothing to argue about. */
	static const uint8_t kinds[] = {CREATE, CREATE,	  OPEN_CREATE, MKDIR,  MKDIR,  LINK,
					LINK,	UNLINK,	  RMDIR,       RENAME, RENAME, RENAME,
					RENAME, TRUNCATE, CHMOD,       STAT,   STAT,   READDIR};
	static const uint32_t flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};

	memset(c, 0, sizeof *c);
	c->kind = kinds[op_random(random) % sizeof kinds];
	/* Mostly three names. */
	c->a = (uint8_t)(op_random(random) % (op_random(random) % 4 ? 3 : NAMES));
	c->b = (uint8_t)(op_random(random) % (op_random(random) % 4 ? 3 : NAMES));
	switch (c->kind) {
	case RENAME:
		c->n = flags[op_random(random) % 5];
		break;
	case TRUNCATE:
		c->n = 1 + (uint32_t)(op_random(random) % 200);
		break;
	case CHMOD:
		c->n = (uint32_t)(op_random(random) % 01000);
		break;
	default:
		break;
	}
}

static void make_history(struct history *h, uint64_t seed)
{
	uint64_t random = seed;

	h->seed = seed;
	for (unsigned p = 0; p < processes; p++) {
		h->calls[p] = 3 + (uint32_t)(op_random(&random) % (OPS_MAX - 2));
		for (unsigned i = 0; i < h->calls[p]; i++)
			make_call(&h->call[p][i], &random);
	}
}

/* ---- running them ------------------------------------------------------------------------------------ */

static int dirs[2]; /* of this process */

static uint64_t read_dir(int which)
{
	char buffer[1000];
	uint64_t seen = 0;
	ssize_t n;

	if (adit_lseek(pool, dirs[which], 0, SEEK_SET) != 0)
		stop_all("lseek", 0);
	n = adit_getdents(pool, dirs[which], buffer, sizeof buffer);
	if (n < 0)
		stop_all("getdents", n);
	for (ssize_t at = 0; at < n;) {
		const struct adit_dirent64 *e = (const void *)(buffer + at);

		at += e->d_reclen;
		if (e->d_name[0] != '.')
			seen |= 1ull << (e->d_name[0] - 'a');
	}
	return seen;
}

static void note_stat(struct call *c)
{
	struct stat st;

	c->result = adit_lstat(pool, names[c->a], &st);
	if (c->result != 0)
		return;
	c->mode = st.st_mode;
	c->nlink = (uint32_t)st.st_nlink;
	c->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

static int open_and_close(const char *name, int flags)
{
	int fd = adit_openat(pool, AT_FDCWD, name, flags, 0644);

	return fd < 0 ? fd : adit_close_fd(pool, fd);
}

static void do_call(struct call *c)
{
	const char *a = names[c->a], *b = names[c->b];

	switch (c->kind) {
	case CREATE:
		c->result = open_and_close(a, O_CREAT | O_EXCL | O_RDWR);
		break;
	case OPEN_CREATE:
		c->result = open_and_close(a, O_CREAT | O_RDWR);
		break;
	case MKDIR:
		c->result = adit_mkdir(pool, a, 0755);
		break;
	case LINK:
		c->result = adit_link(pool, a, b);
		break;
	case UNLINK:
		c->result = adit_unlink(pool, a);
		break;
	case RMDIR:
		c->result = adit_rmdir(pool, a);
		break;
	case RENAME:
		c->result = adit_renameat2(pool, AT_FDCWD, a, AT_FDCWD, b, c->n);
		break;
	case TRUNCATE:
		c->result = adit_truncate(pool, a, c->n);
		break;
	case CHMOD:
		c->result = adit_chmod(pool, a, c->n);
		break;
	case STAT:
		note_stat(c);
		break;
	default:
		c->size = read_dir(c->a % 2);
	}
}

static void run_call(struct call *c)
{
	c->began = __atomic_fetch_add(&shared->clock, 1, __ATOMIC_SEQ_CST);
	do_call(c);
	c->ended = __atomic_fetch_add(&shared->clock, 1, __ATOMIC_SEQ_CST);
}

static void empty_dir(const char *dir)
{
	static const char *const entries[] = {"a", "b", "c"};
	char name[200];

	for (unsigned i = 0; i < 3; i++) {
		int rc;

		snprintf(name, sizeof name, "%s/%s", dir, entries[i]);
		rc = adit_unlink(pool, name);
		if (rc == -EISDIR && strlen(name) < 60) {
			empty_dir(name);
			rc = adit_rmdir(pool, name);
		}
		if (rc != 0 && rc != -ENOENT)
			stop_all(name, rc);
	}
}

/* All meet here, for the n-th time. */
static void meet(uint64_t *meetings)
{
	uint64_t wanted = processes * ++*meetings;

	__atomic_add_fetch(&shared->arrived, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&shared->arrived, __ATOMIC_SEQ_CST) < wanted) {
		if (__atomic_load_n(&shared->failed, __ATOMIC_RELAXED))
			_exit(1);
		sched_yield();
	}
}

static uint64_t jitter;

/* In the middle of an operation: let the others go on. */
static void pause_a_while(void)
{
	uint64_t n = op_random(&jitter);

	if (n % 8 == 0)
		sched_yield();
	else if (n % 8 == 1)
		for (volatile unsigned i = 0; i < n % 3000; i++) {
		}
}

static void at_range(struct adit_pm *pm, const void *addr, size_t len_bytes)
{
	(void)pm, (void)addr, (void)len_bytes;
	pause_a_while();
}

static void at_fence(struct adit_pm *pm)
{
	(void)pm;
	pause_a_while();
}

static void open_dirs(void)
{
	for (unsigned i = 0; i < 2; i++) {
		dirs[i] = adit_openat(pool, AT_FDCWD, i ? "/y" : "/x", O_RDONLY | O_DIRECTORY, 0);
		if (dirs[i] < 0)
			stop_all("open of a directory", dirs[i]);
	}
}

static void be_process(unsigned me)
{
	static struct adit_record_hooks hooks = {at_range, at_range, at_range, at_fence};
	uint64_t meetings = 0, block = 0;
	int rc;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	rc = adit_open(path, NULL, &pool);
	if (rc != 0)
		stop_all("open", rc);
	open_dirs();
	jitter = me + 1;
	adit__record = &hooks;
	for (;; block++) {
		while (__atomic_load_n(&shared->block, __ATOMIC_SEQ_CST) <= block) {
			if (__atomic_load_n(&shared->stop, __ATOMIC_SEQ_CST)) {
				rc = adit_close(pool);
				_exit(rc != 0);
			}
			usleep(100);
		}
		for (unsigned i = 0; i < BLOCK; i++) {
			struct history *h = &shared->history[block % 2][i];

			if (me == i % processes) {
				empty_dir("/x");
				empty_dir("/y");
			}
			meet(&meetings);
			for (unsigned k = 0; k < h->calls[me]; k++)
				run_call(&h->call[me][k]);
			meet(&meetings);
		}
	}
}

static void print_history(const struct history *h)
{
	for (unsigned p = 0; p < processes; p++)
		for (unsigned i = 0; i < h->calls[p]; i++) {
			const struct call *c = &h->call[p][i];

			printf("  process %u: [%llu, %llu] %s %s %s %#x: %d, mode %o, %u links, "
			       "size %llu\n",
			       p, (unsigned long long)c->began, (unsigned long long)c->ended,
			       words[c->kind], names[c->a], names[c->b], c->n, c->result, c->mode,
			       c->nlink, (unsigned long long)c->size);
		}
}

/* ---- all ------------------------------------------------------------------------------------------------ */

static struct {
	uint64_t histories, calls, overlaps, refused, falsified, noticed, failures, tries;
} sums;

static void add_up(const struct history *h)
{
	for (unsigned p = 0; p < processes; p++)
		for (unsigned i = 0; i < h->calls[p]; i++) {
			const struct call *c = &h->call[p][i];

			sums.calls++;
			sums.refused += c->result < 0;
			for (unsigned q = p + 1; q < processes; q++)
				for (unsigned k = 0; k < h->calls[q]; k++)
					sums.overlaps += h->call[q][k].began < c->ended &&
							 c->began < h->call[q][k].ended;
		}
	sums.histories++;
}

static void falsify(struct history *h, uint64_t *random)
{
	unsigned p = (unsigned)(op_random(random) % processes);
	struct call *c = &h->call[p][op_random(random) % h->calls[p]];

	if (c->kind == READDIR)
		c->size ^= 1;
	else
		c->result = c->result == 0 ? -ENOENT : 0;
	sums.falsified++;
	sums.noticed += !makes_sense(h);
}

static void look_at(struct history *h, uint64_t *random)
{
	bool found = makes_sense(h);

	sums.tries += search_tries;
	search_tries = 0;
	add_up(h);
	if (!found && sums.failures++ < 3) {
		printf("FAILED: no order explains history %llu:\n", (unsigned long long)h->seed);
		print_history(h);
	} else if (sums.histories % 100 == 0) {
		falsify(h, random);
	}
}

static void make_pool(void)
{
	struct adit_mkfs_options o = {.size_bytes = POOL_BYTES, .force = 1};

	if (adit_mkfs(path, &o) != 0 || adit_open(path, NULL, &pool) != 0 ||
	    adit_mkdir(pool, "/x", 0755) != 0 || adit_mkdir(pool, "/y", 0755) != 0 ||
	    adit_close(pool) != 0)
		stop_all("mkfs", 0);
}

static void fill_block(uint64_t block, uint64_t seed)
{
	for (unsigned i = 0; i < BLOCK; i++)
		make_history(&shared->history[block % 2][i], seed + block * BLOCK + i);
}

static bool failed(void)
{
	return __atomic_load_n(&shared->failed, __ATOMIC_SEQ_CST);
}

/* They run one block while the one before is looked at. */
static void run_blocks(uint64_t seed, double until)
{
	uint64_t random = seed, block = 0;

	fill_block(0, seed);
	__atomic_store_n(&shared->block, 1, __ATOMIC_SEQ_CST);
	for (; !failed() && sums.failures == 0; block++) {
		uint64_t met = (block + 1) * BLOCK * 2 * processes;

		fill_block(block + 1, seed);
		while (__atomic_load_n(&shared->arrived, __ATOMIC_SEQ_CST) < met && !failed())
			usleep(200);
		if (seconds() > until || failed())
			break;
		__atomic_store_n(&shared->block, block + 2, __ATOMIC_SEQ_CST);
		for (unsigned i = 0; i < BLOCK; i++)
			look_at(&shared->history[block % 2][i], &random);
	}
	for (unsigned i = 0; i < BLOCK && !failed() && sums.failures == 0; i++)
		look_at(&shared->history[block % 2][i], &random);
}

static void check_pool(void)
{
	char text[400];
	int n;

	if (adit_open(path, NULL, &pool) != 0)
		stop_all("open", 0);
	n = adit__check_quiet(adit__pool_fs(pool), text, sizeof text);
	if (n != 0)
		stop_all(text, n);
	if (adit_close(pool) != 0)
		stop_all("close", 0);
}

static void conclude(struct proof *proof, uint64_t seed, bool bad)
{
	proof_seed(proof, seed);
	proof_count(proof, "histories", sums.histories);
	proof_count(proof, "calls", sums.calls);
	proof_count(proof, "calls that were refused", sums.refused);
	proof_count(proof, "pairs of calls that overlapped", sums.overlaps);
	proof_count(proof, "falsified histories", sums.falsified);
	proof_count(proof, "falsified histories that were noticed", sums.noticed);
	proof_end(proof, bad);
	printf("history: %llu histories of %u processes, %llu calls (%llu refused), %llu pairs "
	       "overlapped, %llu steps "
	       "of search; %llu of %llu falsified ones noticed; seed %llu: %llu without an order\n",
	       (unsigned long long)sums.histories, processes, (unsigned long long)sums.calls,
	       (unsigned long long)sums.refused, (unsigned long long)sums.overlaps,
	       (unsigned long long)sums.tries, (unsigned long long)sums.noticed,
	       (unsigned long long)sums.falsified, (unsigned long long)seed,
	       (unsigned long long)sums.failures);
}

int main(int argc, char **argv)
{
	const char *limit = getenv("ADIT_SECONDS"), *chosen = getenv("ADIT_SEED");
	const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	uint64_t seed = chosen ? strtoull(chosen, NULL, 0) : 1;
	double until = seconds() + (limit ? strtod(limit, NULL) : 5);
	struct proof *proof;
	char suite[40];
	bool bad;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1)
		processes = (unsigned)atoi(argv[1]);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED || processes < 1 || processes > PROCESSES_MAX)
		return 2;
	snprintf(suite, sizeof suite, "multi-history-%u", processes);
	proof = proof_begin(suite, "R23",
			    "histories of processes on the same names: an order in real time "
			    "explains every result");
	snprintf(path, sizeof path, "%s/adit-history-%d.adit", dir, (int)getpid());
	make_pool();
	for (unsigned i = 0; i < processes; i++)
		if (fork() == 0)
			be_process(i);
	run_blocks(seed, until);
	__atomic_store_n(&shared->stop, 1, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < processes; i++) {
		int status;

		if (wait(&status) < 0 || status != 0)
			__atomic_store_n(&shared->failed, 1, __ATOMIC_SEQ_CST);
	}
	if (!failed())
		check_pool();
	unlink(path);
	bad = failed() || sums.failures > 0 ||
	      (sums.falsified > 20 && sums.noticed * 2 < sums.falsified);
	conclude(proof, seed, bad);
	return bad;
}
