/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * subject.h - the core under test: a pool in memory, the same operations as the model's, and the
 * comparison of the two.
 *
 * The environment is ours: the clock follows from the operation's number, chance is none, memory comes from a
 * cache, the lane is chosen. So a list of operations always makes the same pool.
 */
#ifndef ADIT_TEST_SUBJECT_H
#define ADIT_TEST_SUBJECT_H

#include "core/core.h"
#include "core/hold.h"
#include "model.h"

struct subject {
	struct adit_pm pm;
	struct adit_fs *fs; /* NULL: closed */
	uint64_t slot[MODEL_SLOTS]; /* inode number, 0: none */
	struct adit_hold hold[MODEL_SLOTS];
	bool linkable[MODEL_SLOTS]; /* of O_TMPFILE, and not named yet */
	bool quiet;	    /* do not print what the core reports */
	unsigned reports;
	char report[256]; /* the last one */
	/* Others use the pool as well: in "/" and the directories there whose names begin with 's', which all
	 * share, only names that begin so are compared.  NULL: everything is ours. */
	const char *own;
};

/* Of this thread. */
extern _Thread_local int64_t subject_now;   /* number of the operation; the clock is op_clock of it */
extern _Thread_local uint32_t subject_lane; /* thread_hint */
extern uint64_t subject_random;	/* seed of chance; 0: always the same number, so that no two
				 * openings differ */
extern uint32_t subject_weak_hash; /* forces collisions of names when not 0 */
extern uint32_t subject_full_after; /* forces large operations into steps when not 0 */
extern uint32_t subject_full_room;
/* Called instead of waiting for a lock, when not NULL; then the lock is tried again. */
extern void (*subject_blocked)(void);
/* Refuse the n-th allocation of memory from now on, and with `all` every one after it; 0: none. The
 * counters fall and are 0 once they have struck. */
extern uint64_t subject_refuse_alloc;
extern bool subject_refuse_alloc_all;
/* The same for locks that are only tried: the n-th is busy. */
extern uint64_t subject_refuse_trylock;
/* This lock is busy for everybody who only tries it. */
extern const void *subject_busy_lock;

/* What the core is given; the report's context is the subject. */
const struct adit_env *subject_env(void);

/* Memory of the given size, zeroed; ops of the `process` domain. */
void subject_init(struct subject *, uint64_t bytes);
void subject_finish(struct subject *);
/* The same on somebody else's memory; finish leaves that alone. */
void subject_attach(struct subject *, uint8_t *base, uint64_t bytes);
/* A pool that is open already; it gets the operations' clock. Nothing else of the environment is ours then. */
void subject_adopt(struct subject *, struct adit_fs *, const char *own);
/* Does everybody use it? */
bool subject_shares(const struct subject *, const char *path);
int subject_mkfs(struct subject *, uint32_t lanes);
int subject_open(struct subject *);
int subject_close(struct subject *);
void subject_abandon(struct subject *);

/* The operation on the core; now: its number. */
int64_t subject_apply(struct subject *, const struct op *, int64_t now);

/* The volatile areas, as the superblock has them; false: it is none, and they are left as they were. */
struct area {
	uint64_t offset, end;
};
bool subject_volatile(const struct subject *, struct area area[3]);

/* compare.c */
struct difference {
	char text[1024];
};
/*
 * The whole tree: names, types, attributes, times, link counts, contents, holes, extended attributes,
 * and how many inodes are in use. 0 when equal, else 1 and the first difference.
 * older: NULL, or the state before a write that may be torn.
 */
int compare(struct subject *, const struct model *, const struct model *older,
	    const struct model_torn *, struct difference *);

#endif
