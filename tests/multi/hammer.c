/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hammer - processes, or threads, that do random operations (tests/model) in the same directories at once, each on
 * names of its own and with a model of its own: every result and every error is the model's, and so is the
 * tree, whatever the others do.
 *
 *	hammer				processes; some of them are killed at random moments, and whoever takes a dead one's
 *					place finds all that was done, and the operation that was under way done or not begun
 *	hammer --threads		threads, each of which has opened the pool for itself
 *	hammer --together		threads that share one handle
 *	hammer --live			processes, nobody is killed
 *	hammer WAY WORKERS
 *	ADIT_SECONDS=n ADIT_SEED=n
 *
 * A worker's operations follow from numbers that lie in shared memory (struct worker), so its heir makes the model
 * anew.  In the end all is removed, the check has nothing to say and no block is lost.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "core/core.h"
#include "core/linux_abi.h"
#include "core/namei.h"
#include "fs/pool.h"
#include "share/participant.h"

#include "chance.h"
#include "proof.h"
#include "subject.h"

#define WORKERS_MAX 64u
#define SHARED_DIRS 4u
#define OPS_MAX	    1500u /* a round: then all is removed */
#define LIVES_MAX   100u
#define POOL_BYTES  (192ull << 20)

enum result { UNDER_WAY, APPLIED, NOT_APPLIED };

/* In shared memory: what a worker has done in this round. */
struct worker {
	pid_t pid;
	uint32_t number;
	uint64_t random; /* of the next life */
	uint32_t lives, ops;
	struct {
		uint64_t seed;
		uint32_t first; /* operation */
	} life[LIVES_MAX];
	uint8_t result[OPS_MAX];
	bool removes;						   /* the round is over */
	uint64_t done, refused, compared, rounds, settled, undone; /* atomic, for the page */
};

static struct shared {
	struct worker worker[WORKERS_MAX];
	int stop, failed; /* atomic */
} * shared;

static char path[100];
static unsigned workers = 4;

/* What a worker has for itself. */
struct self {
	struct worker *w;
	struct adit_pool *pool;
	struct subject s;
	struct model m;
	struct chance chance;
	char own[8];
	uint32_t op; /* its number in this round */
};

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool over(void)
{
	return __atomic_load_n(&shared->stop, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&shared->failed, __ATOMIC_RELAXED);
}

static void __attribute__((format(printf, 2, 3), noreturn))
fail(const struct self *me, const char *format, ...)
{
	char text[1500];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (me)
		fprintf(stderr, "FAILED worker %u, life %u, operation %u: %s\n", me->w->number,
			me->w->lives, me->op, text);
	else
		fprintf(stderr, "FAILED: %s\n", text);
	__atomic_store_n(&shared->failed, 1, __ATOMIC_RELAXED);
	_exit(1);
}

static void count(uint64_t *n)
{
	__atomic_add_fetch(n, 1, __ATOMIC_RELAXED);
}

/* ---- operations ------------------------------------------------------------------------------------ */

/* The name of a component in a shared directory becomes one of ours. */
static void make_own(const struct self *me, char *p)
{
	char old[OP_PATH_MAX];
	char *at = p;

	if (*p == '@')
		return;
	at += strspn(at, "/");
	if (at[0] == 's' && at[1] >= '0' && at[1] <= '9' && (at[2] == '/' || at[2] == '\0')) {
		at += 2;
		at += strspn(at, "/");
	}
	if (*at == '\0' || strncmp(at, me->own, strlen(me->own)) == 0)
		return;
	snprintf(old, sizeof old, "%s", at);
	snprintf(at, OP_PATH_MAX - (size_t)(at - p), "%s%s", me->own, old);
}

/* What would change what all share, or would find names of others there. */
static bool is_allowed(const struct self *me, const struct op *op)
{
	bool second = op->kind == OP_LINK || op->kind == OP_RENAME;

	return op->kind == OP_TMPFILE || (!subject_shares(&me->s, op->path) &&
					  !(second && subject_shares(&me->s, op->path2)));
}

static void next_op(struct self *me, struct op *op)
{
	do {
		chance_op(&me->chance, op);
		make_own(me, op->path);
		if (op->kind == OP_LINK || op->kind == OP_RENAME)
			make_own(me, op->path2);
	} while (!is_allowed(me, op));
}

static int64_t number_of(const struct self *me)
{
	return 100 + (int64_t)me->op;
}

static void compare_all(struct self *me)
{
	struct difference d;

	if (compare(&me->s, &me->m, NULL, NULL, &d))
		fail(me, "the tree differs: %s", d.text);
	count(&me->w->compared);
}

static void expect(struct self *me, const struct op *op, int64_t got)
{
	char text[OP_TEXT_MAX];
	int64_t want = model_apply(&me->m, op, number_of(me));

	if (got == want)
		return;
	op_print(op, text, sizeof text);
	fail(me, "%.600s: %lld, the model says %lld", text, (long long)got, (long long)want);
}

static void one_op(struct self *me)
{
	struct worker *w = me->w;
	struct op op;
	int64_t got;

	next_op(me, &op);
	me->op = w->ops;
	w->result[me->op] = UNDER_WAY;
	__atomic_store_n(&w->ops, me->op + 1, __ATOMIC_RELEASE);
	got = subject_apply(&me->s, &op, number_of(me));
	if (got == -ENOSPC) {
		count(&w->refused);
		__atomic_store_n(&w->result[me->op], NOT_APPLIED, __ATOMIC_RELEASE);
		return;
	}
	expect(me, &op, got);
	__atomic_store_n(&w->result[me->op], APPLIED, __ATOMIC_RELEASE);
	count(&w->done);
}

/* ---- a round ----------------------------------------------------------------------------------------- */

static void first_model(struct model *m)
{
	struct op op = {.kind = OP_MKDIR, .n = {0755}};

	model_init(m, 0755);
	for (unsigned i = 0; i < SHARED_DIRS; i++) {
		snprintf(op.path, sizeof op.path, "/s%u", i);
		(void)model_apply(m, &op, i);
	}
}

static void begin_model(struct self *me)
{
	first_model(&me->m);
	me->chance = (struct chance){.m = &me->m, .dirs = 3, .files = 12};
}

static void begin_life(struct self *me)
{
	struct worker *w = me->w;

	w->life[w->lives].seed = w->random =
		w->random * 6364136223846793005ull + 1442695040888963407ull;
	w->life[w->lives].first = w->ops;
	me->chance.rng = w->random;
	w->lives++;
	model_restart(&me->m);
}

static void begin_round(struct self *me)
{
	struct worker *w = me->w;

	w->lives = w->ops = 0;
	w->removes = false;
	begin_model(me);
	begin_life(me);
	count(&w->rounds);
}

static void release_all(struct self *me)
{
	for (unsigned i = 0; i < MODEL_SLOTS; i++)
		if (me->s.slot[i]) {
			const struct op op = {.kind = OP_RELEASE, .n = {i}};
			int64_t rc = subject_apply(&me->s, &op, number_of(me));

			if (rc != 0)
				fail(me, "release: %lld", (long long)rc);
		}
}

/* Names in a directory: ours, in those that all share. */
struct names {
	unsigned n;
	struct {
		uint64_t ino;
		uint8_t dtype;
		char name[256];
	} e[40];
};
struct reading {
	struct names *names;
	const char *own; /* NULL: all */
};

static int note_name(void *arg, uint64_t cookie, const void *name, size_t len,
		     const struct adit_dirent *e)
{
	struct reading *r = arg;
	struct names *l = r->names;

	(void)cookie;
	if (r->own && strncmp(name, r->own, strlen(r->own)) != 0)
		return 0;
	if (l->n == sizeof l->e / sizeof l->e[0])
		return 1;
	l->e[l->n].ino = e->ino;
	l->e[l->n].dtype = e->dtype;
	memcpy(l->e[l->n].name, name, len);
	l->e[l->n].name[len] = '\0';
	l->n++;
	return 0;
}

static void remove_below(struct self *me, uint64_t dir, bool shares)
{
	struct names *l = calloc(1, sizeof *l);
	const struct adit_attr none = {0};
	struct reading r = {l, shares ? me->own : NULL};

	do {
		l->n = 0;
		if (adit__readdir(me->s.fs, dir, 0, note_name, &r) < 0)
			fail(me, "readdir of inode %llu", (unsigned long long)dir);
		for (unsigned i = 0; i < l->n; i++) {
			const char *name = l->e[i].name;
			int err = adit__setattr(me->s.fs, l->e[i].ino, ADIT_SET_IFLAGS, &none);

			if (!err && l->e[i].dtype == ADIT_DT_OF(S_IFDIR)) {
				remove_below(me, l->e[i].ino, false);
				err = adit__rmdir(me->s.fs, dir, name, strlen(name));
			} else if (!err) {
				err = adit__unlink(me->s.fs, dir, name, strlen(name));
			}
			if (err)
				fail(me, "cannot remove %s: %d", name, err);
		}
	} while (l->n > 0);
	free(l);
}

static void remove_own(struct self *me)
{
	struct adit_id id;
	char name[8];

	me->w->removes = true;
	release_all(me);
	remove_below(me, ADIT_INO_ROOT, true);
	for (unsigned i = 0; i < SHARED_DIRS; i++) {
		snprintf(name, sizeof name, "s%u", i);
		if (adit__lookup(me->s.fs, ADIT_INO_ROOT, name, 2, &id) != 0)
			fail(me, "%s is gone", name);
		remove_below(me, id.ino, true);
	}
	model_finish(&me->m);
	memset(me->s.slot, 0, sizeof me->s.slot);
}

/* ---- after a death ----------------------------------------------------------------------------------- */

static bool is_like(struct self *me, const struct model *older, const struct model_torn *torn,
		    struct difference *d)
{
	return compare(&me->s, &me->m, older, torn, d) == 0;
}

/* The last operation was under way: done or not begun. */
static void settle(struct self *me, const struct op *op)
{
	struct worker *w = me->w;
	struct model_torn torn = model_may_tear(&me->m, op);
	struct difference before, after;
	struct model older;

	model_clone(&older, &me->m);
	model_restart(&me->m);
	count(&w->settled);
	if (is_like(me, NULL, NULL, &before)) {
		w->result[me->op] = NOT_APPLIED;
		count(&w->undone);
		model_finish(&older);
		return;
	}
	model_finish(&me->m);
	model_clone(&me->m, &older);
	(void)model_apply(&me->m, op, number_of(me));
	model_restart(&me->m);
	model_restart(&older);
	if (!is_like(me, &older, &torn, &after)) {
		char text[OP_TEXT_MAX];

		op_print(op, text, sizeof text);
		fail(me, "%.300s was under way; not begun: %.400s; done: %.400s", text, before.text,
		     after.text);
	}
	/* Torn: make it whole. */
	if (torn.node != MODEL_NONE && !is_like(me, NULL, NULL, &after) &&
	    subject_apply(&me->s, op, number_of(me)) < 0)
		fail(me, "writing what was torn once more");
	model_finish(&older);
	w->result[me->op] = APPLIED;
}

/* The model as the dead one had it. */
static void inherit(struct self *me)
{
	struct worker *w = me->w;
	uint32_t ops = w->ops;

	begin_model(me);
	for (uint32_t life = 0, i = 0; life < w->lives; life++) {
		uint32_t end = life + 1 < w->lives ? w->life[life + 1].first : ops;

		model_restart(&me->m);
		me->chance.rng = w->life[life].seed;
		for (; i < end; i++) {
			struct op op;

			next_op(me, &op);
			me->op = i;
			if (w->result[i] == APPLIED)
				(void)model_apply(&me->m, &op, number_of(me));
			else if (w->result[i] == UNDER_WAY)
				settle(me, &op);
		}
	}
	model_restart(&me->m);
	compare_all(me);
}

/* ---- workers ------------------------------------------------------------------------------------------ */

static void become(struct self *me, struct worker *w, struct adit_pool *p)
{
	memset(me, 0, sizeof *me);
	me->w = w;
	me->pool = p;
	snprintf(me->own, sizeof me->own, "p%02u", w->number);
	subject_adopt(&me->s, adit__pool_fs(p), me->own);
}

static void work(struct self *me)
{
	struct worker *w = me->w;

	if (w->lives == 0) {
		begin_round(me);
	} else if (w->removes) {
		remove_own(me);
		begin_round(me);
	} else {
		inherit(me);
		if (w->lives == LIVES_MAX || w->ops == OPS_MAX) {
			remove_own(me);
			begin_round(me);
		} else {
			begin_life(me);
		}
	}
	while (!over()) {
		one_op(me);
		if (w->ops % 150 == 149)
			compare_all(me);
		if (w->ops == OPS_MAX) {
			compare_all(me);
			remove_own(me);
			begin_round(me);
		}
	}
	compare_all(me);
	remove_own(me);
	w->lives = 0;
}

static struct adit_pool *open_it(void)
{
	struct adit_pool *p;
	int rc = adit_open(path, NULL, &p);

	if (rc != 0)
		fail(NULL, "open: %d", rc);
	return p;
}

static void start(struct worker *w)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct self *me = calloc(1, sizeof *me);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		become(me, w, open_it());
		work(me);
		if (adit_close(me->pool) != 0)
			fail(me, "close");
		_exit(0);
	}
	if (pid < 0)
		fail(NULL, "fork");
	w->pid = pid;
}

static uint64_t kill_some(double until, uint64_t random, bool kills)
{
	uint64_t n = 0;

	while (seconds() < until && !__atomic_load_n(&shared->failed, __ATOMIC_RELAXED)) {
		struct worker *w = &shared->worker[op_random(&random) % workers];
		int status;

		usleep((useconds_t)(op_random(&random) % 40000));
		if (!kills)
			continue;
		kill(w->pid, SIGKILL);
		if (waitpid(w->pid, &status, 0) < 0 || !WIFSIGNALED(status)) {
			__atomic_store_n(&shared->failed, 1, __ATOMIC_RELAXED);
			break;
		}
		n++;
		start(w);
	}
	__atomic_store_n(&shared->stop, 1, __ATOMIC_RELAXED);
	return n;
}

static void wait_for_workers(void)
{
	for (unsigned i = 0; i < workers; i++) {
		int status;

		if (waitpid(shared->worker[i].pid, &status, 0) < 0 || status != 0)
			__atomic_store_n(&shared->failed, 1, __ATOMIC_RELAXED);
	}
}

/* ---- threads -------------------------------------------------------------------------------------------- */

static struct adit_pool *together; /* the one handle, or NULL */

static void *thread_main(void *arg)
{
	struct self *me = calloc(1, sizeof *me);

	become(me, arg, together ? together : open_it());
	work(me);
	if (!together && adit_close(me->pool) != 0)
		fail(me, "close");
	free(me);
	return NULL;
}

static void run_threads(double until)
{
	pthread_t thread[WORKERS_MAX];

	for (unsigned i = 0; i < workers; i++)
		if (pthread_create(&thread[i], NULL, thread_main, &shared->worker[i]) != 0)
			fail(NULL, "thread");
	while (seconds() < until && !over())
		usleep(10000);
	__atomic_store_n(&shared->stop, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < workers; i++)
		pthread_join(thread[i], NULL);
}

/* ---- all --------------------------------------------------------------------------------------------------- */

static uint64_t make_pool(void)
{
	struct adit_mkfs_options o = {.size_bytes = POOL_BYTES, .force = 1};
	struct adit_statfs st;
	struct adit_pool *p;
	struct subject s;

	if (adit_mkfs(path, &o) != 0)
		fail(NULL, "mkfs");
	p = open_it();
	subject_adopt(&s, adit__pool_fs(p), NULL);
	for (unsigned i = 0; i < SHARED_DIRS; i++) {
		struct op op = {.kind = OP_MKDIR, .n = {0755}};

		snprintf(op.path, sizeof op.path, "/s%u", i);
		if (subject_apply(&s, &op, i) != 0)
			fail(NULL, "mkdir");
	}
	adit__core_statfs(s.fs, &st);
	if (adit_close(p) != 0)
		fail(NULL, "close");
	return st.free;
}

/* Directories that all share and the inode table keep their blocks. */
static uint64_t kept(struct adit_fs *fs)
{
	uint64_t sum = get64(fs->root->itable.blocks);
	struct adit_attr a;
	struct adit_id id;
	char name[8];

	if (adit__getattr(fs, ADIT_INO_ROOT, &a) == 0)
		sum += a.blocks;
	for (unsigned i = 0; i < SHARED_DIRS; i++) {
		snprintf(name, sizeof name, "s%u", i);
		if (adit__lookup(fs, ADIT_INO_ROOT, name, 2, &id) == 0 &&
		    adit__getattr(fs, id.ino, &a) == 0)
			sum += a.blocks;
	}
	return sum;
}

/* Also while somebody has had the pool open all the time: nothing is kept for the dead. */
static void check_end(struct adit_pool *p, uint64_t whole)
{
	struct adit_fs *fs = adit__pool_fs(p);
	struct adit_statfs st;
	char text[400];
	int n = adit__gate_lock(p->media.fd);

	if (n != 0)
		fail(NULL, "the gate: %d", n);
	adit__share_repair(fs);
	adit__gate_unlock(p->media.fd);
	n = adit__check_quiet(fs, text, sizeof text);
	if (n != 0)
		fail(NULL, "check: %d: %s", n, text);
	if (adit__checkpoint(fs) != 0)
		fail(NULL, "checkpoint");
	adit__core_statfs(fs, &st);
	if (st.free + kept(fs) != whole)
		fail(NULL, "%lld blocks are lost", (long long)(whole - st.free - kept(fs)));
	if (st.inodes_used != 2 + SHARED_DIRS)
		fail(NULL, "%llu inodes are in use", (unsigned long long)st.inodes_used);
	if (adit_close(p) != 0)
		fail(NULL, "close");
}

static uint64_t sum_of(size_t at)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < workers; i++)
		sum += *(const uint64_t *)(const void *)((const char *)&shared->worker[i] + at);
	return sum;
}
#define SUM(field) sum_of(offsetof(struct worker, field))

static void conclude(struct proof *proof, const char *who, uint64_t kills, uint64_t seed)
{
	bool failed = shared->failed;

	proof_seed(proof, seed);
	proof_count(proof, "operations beside others, every result the model's", SUM(done));
	proof_count(proof, "refused for space", SUM(refused));
	proof_count(proof, "trees compared", SUM(compared));
	proof_count(proof, "kills of workers that a model follows", kills);
	proof_count(proof, "operations that were under way", SUM(settled));
	proof_end(proof, failed);
	printf("hammer: %u %s, %llu operations (%llu refused for space), %llu trees compared, %llu "
	       "kills, %llu of them "
	       "in an operation (%llu not begun), seed %llu: %s\n",
	       workers, who, (unsigned long long)SUM(done), (unsigned long long)SUM(refused),
	       (unsigned long long)SUM(compared), (unsigned long long)kills,
	       (unsigned long long)SUM(settled), (unsigned long long)SUM(undone),
	       (unsigned long long)seed, failed ? "FAILED" : "no difference");
}

int main(int argc, char **argv)
{
	const char *limit = getenv("ADIT_SECONDS"), *chosen = getenv("ADIT_SEED");
	const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	const char *how = argc > 1 ? argv[1] : "";
	bool threads = strcmp(how, "--threads") == 0 || strcmp(how, "--together") == 0;
	uint64_t seed = chosen ? strtoull(chosen, NULL, 0) : 1, kills = 0, whole;
	double until = seconds() + (limit ? strtod(limit, NULL) : 4);
	struct proof *proof;
	struct adit_pool *p;
	char suite[40];

	setvbuf(stdout, NULL, _IOLBF, 0);
	snprintf(suite, sizeof suite, "multi-%s", threads ? how + 2 : "hammer");
	proof = proof_begin(suite, "R10 R22",
			    "processes and threads do random operations in the same directories, "
			    "each with a model of "
			    "its own; processes are killed");
	if (argc > 2)
		workers = (unsigned)atoi(argv[2]);
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED || workers < 1 || workers > WORKERS_MAX)
		return 2;
	snprintf(path, sizeof path, "%s/adit-hammer-%d.adit", dir, (int)getpid());
	whole = make_pool();
	p = open_it(); /* nobody is the last to close it */
	whole += kept(adit__pool_fs(p));
	if (strcmp(how, "--together") == 0) {
		struct subject s;

		subject_adopt(&s, adit__pool_fs(p), NULL); /* before there are threads */
		together = p;
	}
	for (unsigned i = 0; i < workers; i++) {
		shared->worker[i].number = i;
		shared->worker[i].random = seed * 1000 + i;
	}
	if (threads) {
		run_threads(until);
	} else {
		for (unsigned i = 0; i < workers; i++)
			start(&shared->worker[i]);
		kills = kill_some(until, seed, strcmp(how, "--live") != 0);
		wait_for_workers();
	}
	if (!shared->failed) {
		check_end(p, whole);
		check_end(open_it(), whole);
	}
	unlink(path);
	conclude(proof, threads ? "threads" : "processes", kills, seed);
	return shared->failed != 0;
}
