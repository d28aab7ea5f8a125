/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * scene.h - one process in the middle of an operation (acts.h), others on the same files, and what must be right
 * afterwards.
 *
 * Where it is in the middle is a recorded step (store, flush, fence: media/record.h), and so many processor
 * instructions further (the processor traps after each: x86).
 */
#ifndef ADIT_TEST_SCENE_H
#define ADIT_TEST_SCENE_H

#include <sys/types.h>

#include "acts.h"
#include "core/core.h"

#define PEERS	   2u
#define NEVER	   UINT64_MAX
#define HELD_FILES 2u
#define TORN_MAX   (512u << 10)

/* Where an operation is cut short: step 0 is its begin. */
struct moment {
	uint64_t step, further;
};

/* What is known of an operation: learned by looking at it without a death. */
struct lesson {
	uint64_t before[ACTS_NAMES], after[ACTS_NAMES];
	uint64_t held_before[HELD_FILES],
		held_after[HELD_FILES]; /* contents of what others have open */
	/* Of the file that is overwritten in place. */
	uint8_t torn_before[TORN_MAX], torn_after[TORN_MAX];
	int64_t torn_bytes;
	uint64_t steps;
};

/* What the processes of a scene tell each other. */
struct stage {
	const struct lesson *lesson;
	/* Atomic. */
	int ready[PEERS + 1], go, over, helper_ready, helper_go;
	uint64_t longest_ns[PEERS]; /* somebody waited for one call */
	uint8_t seen[ACTS_NAMES];   /* as after the operation */
	uint64_t count;		    /* steps of who was not killed */
	uint64_t calls;
};
extern struct stage *stage; /* shared memory */

/* Once: makes the pool that every scene begins with, in a file of its own. */
void scene_begin(void);
void scene_end(void);
/* The pool as it was made; closed. */
void fresh_pool(void);
void open_it(void);
void close_it(void);
/* The lesson lies in shared memory. */
void learn(unsigned act, struct lesson *lesson);
void stage_set(const struct lesson *lesson);

/* A process that runs the operation up to that moment, and then meets its fate: */
enum fate {
	FATE_DIES,
	FATE_STOPS, /* to be woken by SIGCONT; then it goes on and closes the pool */
};
pid_t victim(unsigned act, struct moment at, enum fate fate);
/* Who works on the same files until stage->over, and two rounds longer; tears: not looked at.  holds: has some open
 * all the time. */
pid_t peer(unsigned number, bool holds, const char *tears);
bool can_step(void);
void begin_child(void);
void wait_for(const int *flag);
void say(int *flag);

/* A process that prepares, waits for stage->helper_go, works and ends; killed at a recorded step of its work, 0: not. */
pid_t helper(void (*prepare)(void), void (*work)(void), uint64_t dies_at);
/* True: killed.  Any other end than exit(0) is a failure. */
bool reap(pid_t pid);
/* Of who was to be stopped: that, or its end came first. */
enum end { END_STOPPED, END_KILLED, END_EXITED };
enum end reap_stopped(pid_t pid);

/* Work that needs whatever somebody may have held; each of those who live at a time has a number below PEERS. */
void work_on(unsigned me);
/* The dead are looked after, and what they had begun is finished. */
void settle_pool(void);

extern const char *const held_files[HELD_FILES];
extern struct left empty_pool; /* when all of it was removed and nobody had died */
/* The pool is open here: files are as before or as after; not killed: as after. */
void judge_files(unsigned act, bool killed);
void judge_pool(const char *when);
/* Closed and opened again, if so wanted, it is still right; emptied, it has as much space as one in which nobody died.
 * Closes. */
void judge_end(unsigned act, bool killed, bool reopen);

#endif
