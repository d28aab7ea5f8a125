/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * steps - a process is killed, or stopped, at every step of every operation, while others work on the same files.
 *
 * peers	two processes work on the same files all the while: they go on, see the operation done or not begun and
 *		never undone, and how long one of them waited at most is printed
 * helper	who repairs what the dead left is killed at a step of that, or after a while; a third goes on
 * opener	all are dead; who opens the pool next is killed at a step of its recovery, then two open it at once
 * stopped	it is stopped (SIGSTOP) at that step, and another one is killed beside it: nothing is taken from it, others
 *		wait, and go on when it does; at step 0 it is in no call, and nobody waits
 *
 * After each no block and no inode is lost or kept, and the check has nothing to say.  A step is one that is
 * recorded (store, flush, fence), or an instruction after one (x86).
 *
 *	steps				some of all, by chance
 *	ADIT_SECONDS=n ADIT_SEED=n	for so long; half of the scenes are every recorded step with peers, in turn
 *	ADIT_JOBS=n			so many scenes at once: more are tried, but peers wait for the processor, too
 *	steps --only KIND OPERATION STEP FURTHER HELPERS-STEP [TIMES]
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proof.h"
#include "scene.h"

#define TIMEOUT 120u /* of one scene: it hangs */

enum kind { PEERS_WORK, HELPER_DIES, OPENER_DIES, STOPPED, KINDS };
static const char *const kinds[KINDS] = {"peers", "helper", "opener", "stopped"};

static struct lesson *lessons;
static unsigned jobs = 4;

/* One scene. */
struct scene {
	enum kind kind;
	unsigned act;
	struct moment at;
	uint64_t helper; /* step of the helper, 0: it lives */
	uint64_t random;
};

static uint64_t chance(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 20;
}

static void on_alarm(int signal)
{
	(void)signal;
	(void)!write(2, "HANGS: ", 7);
	(void)!write(2, what, strlen(what));
	(void)!write(2, "\n", 1);
	_exit(9);
}

/* ---- scenes ------------------------------------------------------------------------------------------ */

static uint32_t repairs(void)
{
	return (uint32_t)__atomic_load_n(&adit__pool_fs(pool)->vol->repairs, __ATOMIC_ACQUIRE);
}

static void peers_work(const struct scene *s)
{
	const char *tears = acts[s->act].tears;
	pid_t others[PEERS], one;
	bool killed;

	open_it();
	one = victim(s->act, s->at, FATE_DIES);
	wait_for(&stage->ready[PEERS]);
	for (unsigned i = 0; i < PEERS; i++)
		others[i] = peer(i, (s->random >> i) & 1, tears);
	for (unsigned i = 0; i < PEERS; i++)
		wait_for(&stage->ready[i]);
	say(&stage->go);
	killed = reap(one);
	say(&stage->over);
	for (unsigned i = 0; i < PEERS; i++)
		(void)reap(others[i]);
	judge_files(s->act, killed);
	judge_pool("check by the other one");
	judge_end(s->act, killed, s->random & 4);
}

static void help(void)
{
	settle_pool();
	work_on(1);
}

/* Killed at its step, or, without one, at any moment. */
static bool ends(pid_t pid, const struct scene *s)
{
	say(&stage->helper_go);
	if (s->helper == 0) {
		usleep((useconds_t)(s->random >> 3) % 1500);
		kill(pid, SIGKILL);
	}
	return reap(pid);
}

static void helper_dies(const struct scene *s)
{
	pid_t one, other;
	bool killed;

	open_it();
	other = helper(open_it, help, s->helper);
	one = victim(s->act, s->at, FATE_DIES);
	wait_for(&stage->ready[PEERS]);
	say(&stage->go);
	killed = reap(one);
	(void)ends(other, s);
	work_on(0);
	judge_files(s->act, killed);
	judge_pool("check by the third");
	judge_end(s->act, killed, s->random & 4);
}

static void open_and_work(void)
{
	open_it();
	work_on(1);
	close_it();
}

static void opener_dies(const struct scene *s)
{
	pid_t one = victim(s->act, s->at, FATE_DIES), other;
	bool killed;

	wait_for(&stage->ready[PEERS]);
	say(&stage->go);
	killed = reap(one);
	other = helper(NULL, open_it, s->helper);
	(void)ends(other, s);
	/* Two at once; one does what is to be done. */
	stage->helper_ready = 0;
	other = helper(NULL, open_and_work, 0);
	open_it();
	judge_files(s->act, killed);
	if (reap(other))
		fail("it was not to be killed", 0, 0);
	judge_pool("check by the next opener");
	judge_end(s->act, killed, s->random & 4);
}

/* Somebody else, who is killed in the middle of something while one is stopped. */
static void die_in_a_call(void)
{
	(void)adit_mkdir(pool, "/e/of-the-dead", 0700);
	(void)adit_rmdir(pool, "/e/of-the-dead");
	kill(getpid(), SIGKILL);
}

/* Is it in a call, and not waiting for somebody? */
static bool is_inside(const struct adit_fs *fs, pid_t pid)
{
	for (uint32_t i = 0; i < fs->nparticipants; i++) {
		uint64_t owner = (uint64_t)fs->incarnation << 32 | (i + 1);

		if (fs->participants[i].owner != ((uint64_t)fs->incarnation << 32 | 1) ||
		    fs->participants[i].pid != (uint64_t)pid)
			continue;
		for (uint32_t k = 0; k < fs->nops; k++)
			if (fs->ops[k].owner == owner && fs->ops[k].state == ADIT_OP_RUNNING)
				return true;
	}
	return false;
}

/* While one is stopped in a call: nothing is repaired under its hands. */
static void stands_still(const struct scene *s, pid_t one, uint32_t before)
{
	usleep(s->random % 8 == 0 ? 250000 : 20000);
	if (repairs() != before)
		fail("repaired beside somebody who is in a call", repairs(), before);
	if (!is_inside(adit__pool_fs(pool), one))
		fail("the call of the stopped one was taken away", 0, 0);
}

static void both_end(pid_t dead, pid_t worker)
{
	if (!reap(dead))
		fail("who was to be killed lives", 0, 0);
	if (reap(worker))
		fail("who was to live is dead", 0, 0);
}

static void stopped(const struct scene *s)
{
	pid_t one, worker, dead;
	uint32_t before;
	enum end end;
	bool inside;

	open_it();
	worker = helper(open_it, help, 0);
	stage->helper_ready = 0;
	dead = helper(open_it, die_in_a_call, 1 + s->helper);
	before = repairs();
	one = victim(s->act, s->at, FATE_STOPS);
	wait_for(&stage->ready[PEERS]);
	say(&stage->go);
	end = reap_stopped(one);
	inside = end == END_STOPPED && is_inside(adit__pool_fs(pool), one);
	say(&stage->helper_go);
	if (inside)
		stands_still(s, one, before);
	else
		both_end(dead, worker); /* nobody waits for somebody who is in no call */
	if (end == END_STOPPED) {
		kill(one, SIGCONT);
		if (reap(one))
			fail("the stopped one is dead", 0, 0);
	}
	if (inside)
		both_end(dead, worker);
	judge_files(s->act, end == END_KILLED);
	judge_pool("check beside");
	judge_end(s->act, end == END_KILLED, s->random & 4);
}

static void run_scene(const struct scene *s)
{
	static void (*const run[KINDS])(const struct scene *) = {peers_work, helper_dies,
								 opener_dies, stopped};

	snprintf(what, sizeof what, "--only %s %s %llu %llu %llu", kinds[s->kind],
		 acts[s->act].name, (unsigned long long)s->at.step,
		 (unsigned long long)s->at.further, (unsigned long long)s->helper);
	alarm(TIMEOUT);
	stage_set(&lessons[s->act]);
	fresh_pool();
	run[s->kind](s);
	alarm(0);
}

/* ---- all ------------------------------------------------------------------------------------------------ */

/* Every recorded step of every operation, in an order by chance. */
struct place {
	uint16_t act, step;
};
static struct place *places;
static uint64_t places_count;

static struct sums {
	/* Atomic. */
	uint64_t next; /* place */
	uint64_t scenes[KINDS], further, killed_helpers;
	uint64_t longest_ns, calls, failures;
	uint64_t most[KINDS]; /* steps of a helper */
} * sums;

static void *shared_memory(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		_exit(2);
	return p;
}

static void raise_to(uint64_t *to, uint64_t n)
{
	uint64_t now = __atomic_load_n(to, __ATOMIC_RELAXED);

	while (n > now && !__atomic_compare_exchange_n(to, &now, n, true, __ATOMIC_RELAXED,
						       __ATOMIC_RELAXED)) {
	}
}

static void make_places(uint64_t seed)
{
	for (unsigned i = 0; i < acts_count; i++)
		places_count += lessons[i].steps + 1;
	places = calloc(places_count, sizeof *places);
	if (places == NULL)
		_exit(2);
	for (uint64_t i = 0, n = 0; i < acts_count; i++)
		for (uint64_t k = 0; k <= lessons[i].steps; k++)
			places[n++] = (struct place){(uint16_t)i, (uint16_t)k};
	for (uint64_t i = places_count; i > 1; i--) {
		uint64_t k = chance(&seed) % i;
		struct place p = places[k];

		places[k] = places[i - 1];
		places[i - 1] = p;
	}
}

/* Half of them the next place on the list, until that is through; the others by chance. */
static struct scene choose(uint64_t *random)
{
	struct scene s = {.random = chance(random)};
	uint64_t next = places_count, turn = chance(random) % 8;

	if (turn < 4)
		next = __atomic_fetch_add(&sums->next, 1, __ATOMIC_RELAXED);
	if (next >= places_count)
		next = chance(random) % places_count;
	s.act = places[next].act;
	s.at.step = places[next].step;
	if (turn < 4)
		return s;
	/* Operations with few steps as often as those with many. */
	s.act = (unsigned)(chance(random) % acts_count);
	s.at.step = chance(random) % (lessons[s.act].steps + 1);
	if (chance(random) % 2)
		s.at.further = 1 + chance(random) % (1ull << (1 + chance(random) % 14));
	s.kind = (enum kind)(turn % KINDS);
	if (s.kind == STOPPED && chance(random) % 4 == 0)
		s.at = (struct moment){0, 0};
	if (s.kind != PEERS_WORK && chance(random) % 4 != 0)
		s.helper = 1 + chance(random) % (sums->most[s.kind] + 8);
	return s;
}

static void add_up(const struct scene *s)
{
	__atomic_add_fetch(&sums->scenes[s->kind], 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&sums->calls, stage->calls, __ATOMIC_RELAXED);
	if (s->at.further)
		__atomic_add_fetch(&sums->further, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < PEERS && s->kind == PEERS_WORK; i++)
		raise_to(&sums->longest_ns, stage->longest_ns[i]);
	if (s->kind == HELPER_DIES || s->kind == OPENER_DIES)
		raise_to(&sums->most[s->kind], stage->count);
}

static void in_jobs(void (*work)(unsigned job, double until, uint64_t seed), double until,
		    uint64_t seed)
{
	for (unsigned job = 0; job < jobs; job++)
		if (fork() == 0) {
			scene_begin();
			work(job, until, seed);
			__atomic_add_fetch(&sums->failures, failures, __ATOMIC_RELAXED);
			scene_end();
			_exit(0);
		}
	for (unsigned job = 0; job < jobs; job++) {
		int status;

		wait(&status);
		sums->failures += status != 0;
	}
}

static void learn_some(unsigned job, double until, uint64_t seed)
{
	(void)until, (void)seed;
	for (unsigned i = job; i < acts_count; i += jobs) {
		alarm(TIMEOUT);
		learn(i, &lessons[i]);
		alarm(0);
	}
}

static void play(unsigned job, double until, uint64_t seed)
{
	uint64_t random = seed * 0x9e3779b97f4a7c15ull + job;

	while (seconds() < until && failures < 5) {
		struct scene s = choose(&random);

		run_scene(&s);
		add_up(&s);
	}
}

static int only(int argc, char **argv)
{
	struct scene s = {.random = 1};

	for (unsigned i = 0; i < KINDS; i++)
		if (strcmp(argv[2], kinds[i]) == 0)
			s.kind = (enum kind)i;
	for (unsigned i = 0; i < acts_count; i++)
		if (strcmp(argv[3], acts[i].name) == 0)
			s.act = i;
	s.at.step = strtoull(argv[4], NULL, 0);
	s.at.further = strtoull(argv[5], NULL, 0);
	s.helper = strtoull(argv[6], NULL, 0);
	learn(s.act, &lessons[s.act]);
	for (unsigned n = argc > 7 ? (unsigned)atoi(argv[7]) : 1; n > 0 && failures == 0; n--) {
		run_scene(&s);
		s.random = s.random * 5 + 1;
	}
	scene_end();
	printf("%s: %u failures\n", what, failures);
	return failures != 0;
}

static void conclude(struct proof *proof, uint64_t seed)
{
	uint64_t all = 0, covered = sums->next < places_count ? sums->next : places_count;
	char note[200];

	for (unsigned i = 0; i < KINDS; i++) {
		snprintf(note, sizeof note, "deaths or stops: %s", kinds[i]);
		proof_count(proof, note, sums->scenes[i]);
		all += sums->scenes[i];
	}
	proof_seed(proof, seed);
	proof_count(proof, "deaths and stops, all", all);
	proof_count(proof, "recorded steps", places_count);
	proof_count(proof, "of these, with peers", covered);
	proof_count(proof, "longest wait of a peer, ms", sums->longest_ns / 1000000);
	printf("steps: %llu peers, %llu helpers killed, %llu openers killed, %llu stopped (%llu of "
	       "them between recorded "
	       "steps); %llu of %llu steps of %u operations with peers, who waited %.1f ms at most "
	       "in %llu calls; seed "
	       "%llu: %llu failures\n",
	       (unsigned long long)sums->scenes[0], (unsigned long long)sums->scenes[1],
	       (unsigned long long)sums->scenes[2], (unsigned long long)sums->scenes[3],
	       (unsigned long long)sums->further, (unsigned long long)covered,
	       (unsigned long long)places_count, acts_count, (double)sums->longest_ns / 1e6,
	       (unsigned long long)sums->calls, (unsigned long long)seed,
	       (unsigned long long)sums->failures);
}

int main(int argc, char **argv)
{
	const char *limit = getenv("ADIT_SECONDS"), *chosen = getenv("ADIT_SEED");
	uint64_t seed = chosen ? strtoull(chosen, NULL, 0) : 1;
	double until = seconds() + (limit ? strtod(limit, NULL) : 12);
	struct proof *proof = proof_begin(
		"multi-steps", "R9",
		"a process is killed at a step of an operation while others work on the "
		"same files: they go on, and find it done or not begun");

	if (!can_step())
		return 77;
	if (getenv("ADIT_JOBS"))
		jobs = (unsigned)atoi(getenv("ADIT_JOBS"));
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, on_alarm);
	sums = shared_memory(sizeof *sums);
	lessons = shared_memory(acts_count * sizeof *lessons);
	scene_begin();
	if (argc > 6 && strcmp(argv[1], "--only") == 0)
		return only(argc, argv);
	in_jobs(learn_some, 0, 0);
	make_places(seed);
	if (getenv("ADIT_SAY"))
		for (unsigned i = 0; i < acts_count; i++)
			printf("%s: %llu steps\n", acts[i].name,
			       (unsigned long long)lessons[i].steps);
	if (sums->failures == 0)
		in_jobs(play, until, seed);
	scene_end();
	conclude(proof, seed);
	proof_end(proof, sums->failures);
	return sums->failures != 0;
}
