/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * same.c - lists of calls on Adit and on the host; see same.h.
 *
 *	same [-f HOST]... [-l LISTS] [-s SEED] [-n STEPS] [-k FROM-TO,...] [-e EVERY] [-v]
 *
 * -f tmpfs, ext4 or XFS (all of them without); -l: how many lists (environment: ADIT_LISTS); -s:
 * number of the first (ADIT_SEED); -n: steps, else each list has its own length; -k: steps to
 * leave out; -e: compare the trees after so many steps, not only at the end; -v: say every call.
 * ADIT_SECONDS: as many as fit into that.
 *
 * A list that differs is made shorter, printed, and replayed by what is printed last. The pool
 * lies in memory (a memfd). Now and then it is closed and opened again, and checked.
 */
#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "core/check.h"
#include "fs/pool.h"
#include "proof.h"
#include "same.h"

#define POOL_BYTES    (128ull << 20)
#define SHORTER_TRIES 400
#define FIRST_STEPS   14

struct list t;
uint8_t host_buf[FILE_MAX_BYTES + 65536], adit_buf[FILE_MAX_BYTES + 65536];

static struct {
	unsigned wanted, steps, every;
	uint64_t lists, seed;
	bool verbose, say_calls;
	double until;
	int pool_fd;
	bool skip[STEPS_MAX];
	uint64_t done, runs, cut, calls, refused, trees, failures;
} all = {.lists = 1000, .seed = 1};

/* ---- saying and comparing -------------------------------------------------------------------- */

void describe(const char *format, ...)
{
	static char call[40];
	va_list args;

	va_start(args, format);
	vsnprintf(t.what, sizeof t.what, format, args);
	va_end(args);
	snprintf(call, sizeof call, "%.*s", (int)strcspn(t.what, "( "), t.what);
	t.call = call;
	all.calls++;
	if (t.verbose)
		printf("  %4u: %.300s\n", t.step, t.what);
}

void differ(const char *format, ...)
{
	char how[600];
	va_list args;

	va_start(args, format);
	vsnprintf(how, sizeof how, format, args);
	va_end(args);
	snprintf(t.kind, sizeof t.kind, "%s %.*s", t.call, (int)strcspn(how, "0123456789"), how);
	snprintf(t.failure, sizeof t.failure, "step %u: %.300s: %s", t.step, t.what, how);
	longjmp(t.out, LIST_DIFFERS);
}

long host_rc(long rc)
{
	return rc < 0 ? -errno : rc;
}

void same(long host, long adit)
{
	struct known *k;

	if (host < 0)
		all.refused++;
	if (t.verbose)
		printf("        %ld\n", host);
	if (host == adit)
		return;
	k = known_difference(t.host->kind, t.call, host, adit);
	if (!k)
		differ("%s %ld (%s), adit %ld (%s)", t.host->name, host,
		       host < 0 ? strerror((int)-host) : "ok", adit,
		       adit < 0 ? strerror((int)-adit) : "ok");
	k->met++;
	if (host >= 0 || adit >= 0)
		longjmp(t.out, LIST_CUT);
}

bool same_made(long host, long adit)
{
	same(host < 0 ? host : 0, adit < 0 ? adit : 0);
	return host >= 0 && adit >= 0;
}

void same_bytes(long n)
{
	for (long i = 0; i < n; i++)
		if (host_buf[i] != adit_buf[i])
			differ("byte %ld of %ld: host %#x, adit %#x", i, n, host_buf[i],
			       adit_buf[i]);
}

/* ---- one list -------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static void one_call(void)
{
	static const struct call *const tables[] = {data_calls, name_calls, attr_calls};
	unsigned total = 0, at;

	/* At first there must be something to work on. */
	if (t.step < FIRST_STEPS) {
		make_something();
		return;
	}

	for (unsigned i = 0; i < 3; i++)
		for (const struct call *c = tables[i]; c->weight; c++)
			total += c->weight;
	at = pick(total);
	for (unsigned i = 0; i < 3; i++) {
		for (const struct call *c = tables[i]; c->weight; c++) {
			if (at < c->weight) {
				c->run();
				return;
			}
			at -= c->weight;
		}
	}
}

/* Long enough for the coarsest clock to tick well before its end. */
static void pause_between(void)
{
	const struct timespec nap = {.tv_nsec = 3000000}, rest = {.tv_nsec = 13000000};

	if (t.epochs == EPOCHS)
		return;
	nanosleep(&nap, NULL);
	clock_gettime(CLOCK_REALTIME, &t.epoch[t.epochs++]);
	nanosleep(&rest, NULL);
}

void close_all(void)
{
	for (unsigned i = 0; i < FDS; i++)
		if (t.fd[i].host >= 0)
			close_pair(&t.fd[i]);
}

static void open_pool(void)
{
	const struct adit_open_options options = {.assume = ADIT_ASSUME_PROCESS};
	int err = adit_open_fd(all.pool_fd, &options, &t.pool);

	if (err) {
		fprintf(stderr, "same: cannot open the pool: %s\n", strerror(-err));
		exit(1);
	}
	adit_umask(t.pool, 0);
}

/* Its damage, if any, is no matter of one call: it ends everything. */
static void check_pool(void)
{
	char text[400];
	int n = adit__check_quiet(adit__pool_fs(t.pool), text, sizeof text);

	if (n != 0)
		differ("check: %d findings, the first: %s", n, text);
}

/* Between the lists: the pool closed and opened. */
static void reopen_pool(void)
{
	if (adit_close(t.pool) != 0) {
		fprintf(stderr, "same: cannot close the pool\n");
		exit(1);
	}
	open_pool();
}

static void abandon_descriptors(void)
{
	for (unsigned i = 0; i < FDS; i++) {
		if (t.fd[i].host >= 0)
			close(t.fd[i].host);
		if (t.fd[i].adit >= 0)
			(void)adit_close_fd(t.pool, t.fd[i].adit);
		t.fd[i] = (struct pair){-1, -1};
	}
}

static void begin_list(const struct host *host, uint64_t seed)
{
	t.host = host;
	t.seed = seed;
	t.step = 0;
	t.epochs = 0;
	t.flags = mix(seed * 11) % 4 == 0;
	t.pauses = mix(seed * 7) % 32 == 0;
	t.no_ctime = t.no_mtime = false;
	clock_gettime(CLOCK_REALTIME, &t.began);
	for (unsigned i = 0; i < FDS; i++)
		t.fd[i] = (struct pair){-1, -1};
	make_trees();
}

static unsigned steps_of(uint64_t seed)
{
	return all.steps ? all.steps : 40 + (unsigned)(mix(seed) % 160);
}

/* volatile: what longjmp leaves alone. */
static enum outcome run_list(const struct host *host, uint64_t seed, unsigned steps,
			     const bool *skip)
{
	volatile enum outcome how = LIST_SAME;

	begin_list(host, seed);
	how = (enum outcome)setjmp(t.out);
	if (how == LIST_SAME) {
		for (t.step = 0; t.step < steps; t.step++) {
			t.state = mix(seed * 0x9e3779b97f4a7c15ull + t.step) | 1;
			if (skip[t.step])
				continue;
			if (t.pauses && chance(5))
				pause_between();
			one_call();
			if (all.every && t.step % all.every == all.every - 1)
				same_trees();
		}
		same_trees();
		close_all();
		if (mix(seed * 3) % 32 == 0)
			check_pool();
		all.trees++;
	}
	abandon_descriptors();
	remove_trees();
	if (mix(seed * 5) % 16 == 0)
		reopen_pool();
	return how;
}

/* ---- a list that differs --------------------------------------------------------------------- */

/* Leave out as many steps as possible, in pieces that get smaller. */
static unsigned make_shorter(const struct host *host, uint64_t seed, unsigned steps, bool *skip)
{
	unsigned tries = 0;
	char kind[sizeof t.kind];

	memcpy(kind, t.kind, sizeof kind);
	t.verbose = false;
	for (unsigned piece = steps / 2; piece >= 1 && tries < SHORTER_TRIES; piece /= 2) {
		for (unsigned from = 0; from < steps && tries < SHORTER_TRIES; from += piece) {
			bool with[STEPS_MAX];

			memcpy(with, skip, sizeof with);
			for (unsigned i = from; i < from + piece && i < steps; i++)
				with[i] = true;
			if (memcmp(with, skip, sizeof with) == 0)
				continue;
			tries++;
			if (run_list(host, seed, steps, with) == LIST_DIFFERS &&
			    strcmp(kind, t.kind) == 0)
				memcpy(skip, with, sizeof with);
		}
	}
	return steps;
}

static void say_failure(const struct host *host, uint64_t seed, unsigned steps)
{
	bool skip[STEPS_MAX];
	char first[sizeof t.failure];

	memcpy(first, t.failure, sizeof first);
	memcpy(skip, all.skip, sizeof skip);
	if (t.step + 1 < steps)
		steps = t.step + 1;
	steps = make_shorter(host, seed, steps, skip);
	printf("same: FAILED: %s, list %llu, %s\n  made shorter:\n", host->name,
	       (unsigned long long)seed, first);
	t.verbose = true;
	if (run_list(host, seed, steps, skip) == LIST_DIFFERS)
		printf("  %s\n", t.failure);
	else
		printf("  (the shorter list does not differ every time)\n");
	t.verbose = all.verbose;
	printf("again: same -f %s -l 1 -s %llu -n %u", host->name, (unsigned long long)seed, steps);
	for (unsigned i = 0, n = 0, to; i < steps; i = to) {
		for (to = i + 1; to < steps && skip[to] == skip[i]; to++) {
		}
		if (skip[i])
			printf("%s%u-%u", n++ ? "," : " -k ", i, to - 1);
	}
	printf("\n");
}

/* ---- all of them ----------------------------------------------------------------------------- */

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void run_beside(const struct host *host, uint64_t seed)
{
	unsigned steps = steps_of(seed);

	switch (run_list(host, seed, steps, all.skip)) {
	case LIST_DIFFERS:
		all.failures++;
		say_failure(host, seed, steps);
		break;
	case LIST_CUT:
		all.cut++;
		break;
	default:
		break;
	}
	all.runs++;
}

/* Each list beside every host, then the next. */
static void run_lists(void)
{
	for (; all.done < all.lists && all.failures < 10; all.done++) {
		if (all.until > 0 && now() > all.until)
			break;
		for (unsigned i = 0; i < HOSTS; i++)
			if (hosts[i].path[0])
				run_beside(&hosts[i], all.seed + all.done);
	}
}

static unsigned host_of(const char *name)
{
	for (unsigned i = 0; i < HOSTS; i++)
		if (strcasecmp(hosts[i].name, name) == 0)
			return hosts[i].kind;
	fprintf(stderr, "same: %s? tmpfs, ext4 or XFS\n", name);
	exit(2);
}

static void skip_steps(const char *list)
{
	unsigned from, to;
	int used;

	for (; sscanf(list, "%u-%u%n", &from, &to, &used) == 2;
	     list += used + (list[used] == ',')) {
		if (from > to || to >= STEPS_MAX)
			exit(2);
		memset(all.skip + from, true, to - from + 1);
	}
	if (*list)
		exit(2);
}

static void read_arguments(int argc, char **argv)
{
	const char *lists = getenv("ADIT_LISTS"), *seed = getenv("ADIT_SEED");
	const char *seconds = getenv("ADIT_SECONDS");
	int c;

	if (lists)
		all.lists = strtoull(lists, NULL, 0);
	if (seed)
		all.seed = strtoull(seed, NULL, 0);
	if (seconds) {
		all.until = now() + strtod(seconds, NULL);
		if (!lists)
			all.lists = UINT64_MAX;
	}
	while ((c = getopt(argc, argv, "f:l:s:n:k:e:v")) != -1) {
		switch (c) {
		case 'f':
			all.wanted |= host_of(optarg);
			break;
		case 'l':
			all.lists = strtoull(optarg, NULL, 0);
			break;
		case 's':
			all.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			all.steps = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'k':
			skip_steps(optarg);
			break;
		case 'e':
			all.every = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'v':
			all.verbose = t.verbose = true;
			break;
		default:
			exit(2);
		}
	}
	if (all.steps > STEPS_MAX)
		exit(2);
	if (!all.wanted)
		all.wanted = HOST_ALL;
}

static void make_pool(void)
{
	const struct adit_mkfs_options options = {.size_bytes = POOL_BYTES,
						  .assume = ADIT_ASSUME_PROCESS};
	int err;

	all.pool_fd = memfd_create("same", 0);
	err = adit_mkfs_fd(all.pool_fd, &options);
	if (err) {
		fprintf(stderr, "same: cannot make the pool: %s\n", strerror(-err));
		exit(1);
	}
	open_pool();
}

/* The last line, and the page's. */
static void conclude(struct proof *proof)
{
	char beside[200] = "", without[400] = "", note[300];

	for (unsigned i = 0; i < HOSTS; i++) {
		if (hosts[i].path[0]) {
			snprintf(beside + strlen(beside), sizeof beside - strlen(beside), "%s%s",
				 beside[0] ? ", " : "", hosts[i].name);
		} else if (hosts[i].kind & all.wanted) {
			snprintf(note, sizeof note, "without %s: %s", hosts[i].name,
				 hosts[i].why_not);
			snprintf(without + strlen(without), sizeof without - strlen(without),
				 "; %s", note);
			proof_note(proof, note);
		}
	}
	for (size_t i = 0; i < knowns; i++) {
		for (size_t k = i + 1; k < knowns; k++) {
			if (strcmp(known[i].why, known[k].why) == 0) {
				known[i].met += known[k].met;
				known[k].met = 0;
			}
		}
		if (!known[i].met)
			continue;
		printf("  by design, %llu times: %s\n", (unsigned long long)known[i].met,
		       known[i].why);
		proof_note(proof, known[i].why);
	}
	proof_seed(proof, all.seed);
	proof_count(proof, "lists", all.done);
	proof_count(proof, "lists times file systems beside which they ran", all.runs);
	proof_count(proof, "calls", all.calls);
	proof_count(proof, "calls refused by both with the same error", all.refused);
	proof_count(proof, "whole trees compared", all.trees);
	proof_count(proof, "lists ended early by a difference that is by design", all.cut);
	printf("same: %llu lists beside %s from %llu on, %llu calls (%llu refused, with the same "
	       "error), %llu "
	       "trees compared, %llu differences%s\n",
	       (unsigned long long)all.done, beside[0] ? beside : "nothing",
	       (unsigned long long)all.seed, (unsigned long long)all.calls,
	       (unsigned long long)all.refused, (unsigned long long)all.trees,
	       (unsigned long long)all.failures, without);
}

int main(int argc, char **argv)
{
	struct proof *proof;
	bool any = false;

	setvbuf(stdout, NULL, _IOLBF, 0);
	read_arguments(argc, argv);
	proof = proof_begin("same", "R14",
			    "lists of calls on Adit and on other file systems of Linux: every "
			    "return value, error and the whole tree are equal");
	umask(0);
	hosts_begin(all.wanted);
	make_pool();
	for (unsigned i = 0; i < HOSTS; i++)
		any |= hosts[i].path[0] != '\0';
	if (any)
		run_lists();
	conclude(proof);
	(void)adit_close(t.pool);
	hosts_end();
	if (proof_end(proof, all.failures) || all.failures)
		return 1;
	return any ? 0 : 77; /* 77: skipped */
}
