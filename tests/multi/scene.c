/* SPDX-License-Identifier: BSD-3-Clause */
/* scene.c - see scene.h. */
#include "scene.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "media/record.h"

struct stage *stage;
static char path[100];
static uint8_t *image; /* of the prepared pool, closed */
struct left empty_pool;

/* ---- the pool -------------------------------------------------------------------------------------- */

void open_it(void)
{
	int rc = adit_open(path, NULL, &pool);

	if (rc != 0) {
		fprintf(stderr, "FAILED %s: open: %d\n", what, rc);
		_exit(1);
	}
}

void close_it(void)
{
	int rc = adit_close(pool);

	if (rc != 0)
		fail("close", rc, 0);
}

/* Only what is not zero. */
void fresh_pool(void)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)ACTS_POOL_BYTES) != 0)
		_exit(2);
	for (uint64_t at = 0; at < ACTS_POOL_BYTES; at += 4096)
		if ((image[at] || memcmp(image + at, image + at + 1, 4095) != 0) &&
		    pwrite(fd, image + at, 4096, (off_t)at) != 4096)
			_exit(2);
	close(fd);
}

static void read_image(void)
{
	int fd = open(path, O_RDONLY);

	image = malloc(ACTS_POOL_BYTES);
	if (image == NULL || read(fd, image, ACTS_POOL_BYTES) != (ssize_t)ACTS_POOL_BYTES)
		_exit(2);
	close(fd);
}

void scene_begin(void)
{
	const char *dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	struct adit_mkfs_options o = {.size_bytes = ACTS_POOL_BYTES, .force = 1};

	snprintf(path, sizeof path, "%s/adit-scene-%d.adit", dir, (int)getpid());
	stage = mmap(NULL, sizeof *stage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (stage == MAP_FAILED)
		_exit(2);
	if (image != NULL)
		return; /* of the parent */
	if (adit_mkfs(path, &o) != 0)
		_exit(2);
	open_it();
	acts_prepare();
	close_it();
	read_image();
	open_it();
	empty_pool = remove_all();
	close_it();
}

void scene_end(void)
{
	unlink(path);
	munmap(stage, sizeof *stage);
}

void stage_set(const struct lesson *lesson)
{
	memset(stage, 0, sizeof *stage);
	stage->lesson = lesson;
}

/* ---- steps and instructions -------------------------------------------------------------------------- */

static uint64_t last, instructions;
static enum fate fate;

static void meet_fate(void)
{
	if (fate == FATE_STOPS)
		raise(SIGSTOP);
	else
		kill(getpid(), SIGKILL);
}

static void on_trap(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)info;
	if (++instructions < last)
		return;
	meet_fate();
	/* Stopped, and woken: no further step is of interest. */
#if defined(__x86_64__)
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~0x100ll;
#endif
}

/* Not a function: it would trap on its way out, too, which does not matter, but on its way in it must not. */
#if defined(__x86_64__)
#define TRAP(flag)                                                                                 \
	__asm__ volatile(                                                                          \
		"lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); orq %0, (%%rsp); popfq; "  \
		"lea 128(%%rsp), %%rsp" ::"r"((uint64_t)(flag))                                    \
		: "memory", "cc")
#define CAN_TRAP true
#else
#define TRAP(flag) ((void)(flag))
#define CAN_TRAP   false
#endif

bool can_step(void)
{
	return CAN_TRAP;
}

/* At the chosen recorded step. */
static void at_step(void)
{
	adit__trap_at = 0;
	if (last == 0)
		meet_fate();
	else
		TRAP(0x100);
}

static void set_trap(struct moment at, enum fate how)
{
	const struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};

	fate = how;
	last = at.further;
	instructions = 0;
	sigaction(SIGTRAP, &action, NULL);
	adit__trap = at_step;
	adit__trap_at = at.step == NEVER ? 0 : adit__step + at.step;
}

/* ---- whom it happens to --------------------------------------------------------------------------------- */

void wait_for(const int *flag)
{
	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
		usleep(50);
}

void say(int *flag)
{
	__atomic_store_n(flag, 1, __ATOMIC_RELEASE);
}

/* What only the first call of a process does (memory, checksums looked at, bitmaps built) is not what is stepped
 * through. */
static void warm_up(void)
{
	int fd = open_at("/e/warm", O_CREAT | O_WRONLY);

	if (adit_write(pool, fd, bytes, 5000) != 5000 || adit_close_fd(pool, fd) != 0 ||
	    adit_unlink(pool, "/e/warm") != 0)
		_exit(4);
	for (unsigned i = 0; i < ACTS_NAMES; i++)
		(void)look_at(i);
}

void begin_child(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	failures = 0;
}

static void be_victim(const struct act *a, struct moment at, enum fate how)
{
	uint64_t began;
	int64_t rc;

	begin_child();
	open_it();
	warm_up();
	if (a->before != NULL && a->before() < 0)
		_exit(5);
	say(&stage->ready[PEERS]);
	wait_for(&stage->go);
	set_trap(at, how);
	if (at.step == 0)
		at_step();
	began = adit__step;
	rc = a->run();
	TRAP(0);
	adit__trap_at = 0;
	stage->count = adit__step - began;
	if (rc < 0)
		_exit(3);
	if (how == FATE_STOPS && adit_close(pool) != 0)
		_exit(6);
	_exit(0);
}

pid_t victim(unsigned act, struct moment at, enum fate how)
{
	pid_t pid = fork();

	if (pid == 0)
		be_victim(&acts[act], at, how);
	if (pid < 0)
		fail("fork", errno, 0);
	return pid;
}

/* SIGTRAP: it was stepped through where all signals are blocked (a thread is made). */
static bool was_killed(int status)
{
	return WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTRAP);
}

bool reap(pid_t pid)
{
	int status = 0;

	if (waitpid(pid, &status, 0) != pid)
		fail("wait", errno, 0);
	if (was_killed(status))
		return true;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail("a process ended so", status, 0);
	return false;
}

enum end reap_stopped(pid_t pid)
{
	int status = 0;

	if (waitpid(pid, &status, WUNTRACED) != pid)
		fail("wait", errno, 0);
	if (WIFSTOPPED(status))
		return END_STOPPED;
	if (was_killed(status))
		return END_KILLED;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail("a process ended so", status, 0);
	return END_EXITED;
}

pid_t helper(void (*prepare)(void), void (*work)(void), uint64_t dies_at)
{
	pid_t pid = fork();

	if (pid == 0) {
		uint64_t began;

		begin_child();
		if (prepare)
			prepare();
		say(&stage->helper_ready);
		wait_for(&stage->helper_go);
		began = adit__step;
		if (dies_at)
			set_trap((struct moment){dies_at, 0}, FATE_DIES);
		work();
		stage->count = adit__step - began;
		_exit(failures != 0);
	}
	if (pid < 0)
		fail("fork", errno, 0);
	wait_for(&stage->helper_ready);
	return pid;
}

/* ---- learning -------------------------------------------------------------------------------------------- */

const char *const held_files[HELD_FILES] = {"/d/file", "/d/holes"};
static void look_at_all(uint64_t *look)
{
	for (unsigned i = 0; i < ACTS_NAMES; i++)
		look[i] = look_at(i);
}

/* Killed before it began: as before. */
static void learn_before(unsigned act, struct lesson *lesson)
{
	const struct moment begin = {0, 0};
	const char *tears = acts[act].tears;

	stage_set(lesson);
	fresh_pool();
	open_it();
	for (unsigned i = 0; i < HELD_FILES; i++) {
		int fd = open_at(held_files[i], O_RDONLY);

		lesson->held_before[i] = contents_of(fd);
		adit_close_fd(pool, fd);
	}
	say(&stage->go);
	if (!reap(victim(act, begin, FATE_DIES)))
		fail("it was to be killed", 0, 0);
	look_at_all(lesson->before);
	if (tears)
		(void)read_all(tears, lesson->torn_before, sizeof lesson->torn_before);
	close_it();
}

/* Not killed: as after.  held: others have files open, which may have no name afterwards. */
static void learn_after(unsigned act, struct lesson *lesson, bool held)
{
	const struct moment never = {NEVER, 0};
	const char *tears = acts[act].tears;
	int fd[HELD_FILES];

	stage_set(lesson);
	fresh_pool();
	open_it();
	for (unsigned i = 0; held && i < HELD_FILES; i++)
		fd[i] = open_at(held_files[i], O_RDONLY);
	say(&stage->go);
	if (reap(victim(act, never, FATE_DIES)))
		fail("it was not to be killed", 0, 0);
	for (unsigned i = 0; held && i < HELD_FILES; i++) {
		lesson->held_after[i] = contents_of(fd[i]);
		adit_close_fd(pool, fd[i]);
	}
	lesson->steps = stage->count;
	look_at_all(lesson->after);
	if (tears)
		lesson->torn_bytes = read_all(tears, lesson->torn_after, sizeof lesson->torn_after);
	close_it();
}

void learn(unsigned act, struct lesson *lesson)
{
	snprintf(what, sizeof what, "learning %s", acts[act].name);
	memset(lesson, 0, sizeof *lesson);
	learn_before(act, lesson);
	learn_after(act, lesson, true);
	learn_after(act, lesson, false); /* its steps are those that count */
}
