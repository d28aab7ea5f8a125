/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Advisory locks: flock(2), and the record locks of fcntl(2), as Linux has them.
 *
 * A lock is of an inode and has an owner: a process (a participant, and a number of its own choosing, so that a
 * server can hold locks for many clients), or an open file description, which several processes may share after a
 * fork.  Range locks are POSIX's (owner: a process) and OFD locks (owner: a description); they exclude each other.
 * Locks of flock are apart from them.
 *
 * They lie in scratch blocks, and are gone with the incarnation.  When a participant dies a repair drops its
 * locks, and those of descriptions that nobody else has.
 *
 * Every change is all or nothing, wherever its process dies: entries that come are NEW, those that go are OLD, and
 * one word of the bucket (its phase) says which of them count.
 */
#ifndef ADIT_CORE_ADVISORY_H
#define ADIT_CORE_ADVISORY_H

#include "core/core.h"

struct adit_lock_owner {
	uint64_t
		number; /* of the process's owners: 0 is the process itself; or the description's */
	uint32_t participant; /* + 1; 0: a description */
};

#define ADIT_ADVISORY_RANGE 1u /* fcntl */
#define ADIT_ADVISORY_FLOCK 2u /* the whole file: start 0, end ADIT_ADVISORY_END */

#define ADIT_ADVISORY_NONE  0u /* unlock */
#define ADIT_ADVISORY_READ  1u
#define ADIT_ADVISORY_WRITE 2u

#define ADIT_ADVISORY_END ((uint64_t)INT64_MAX) /* last byte of a lock that goes on to the end */

struct adit_advisory {
	uint64_t ino;	     /* that somebody has open */
	uint64_t start, end; /* first and last byte */
	struct adit_lock_owner owner;
	uint32_t kind, type;
	int32_t pid;	 /* for whoever asks who holds it */
	uint32_t holder; /* of an answer: a participant (+ 1) that has it; is it alive? */
};

static inline struct adit_lock_owner adit__process_owner(const struct adit_fs *fs, uint64_t number)
{
	return (struct adit_lock_owner){number, fs->me + 1};
}
static inline struct adit_lock_owner adit__description_owner(uint64_t number)
{
	return (struct adit_lock_owner){number, 0};
}

/* Of one thread that waits for one lock; all zero at first. */
struct adit_advisory_wait {
	uint64_t entry; /* pool offset; 0: not waiting */
	uint32_t *word; /* sleep while it is 0, not for long, and in no operation */
	bool impatient; /* nobody woke it in time */
};

/*
 * Lock, change or unlock.
 *
 * 0; -EAGAIN: it conflicts with another's, *holder is a participant (+ 1) that has that one, dead perhaps; -ENOLCK: no
 * room, nothing has changed.
 * With wait: instead of -EAGAIN -EINPROGRESS, sleep on wait->word and call again with the same arguments, or call
 * adit__advisory_cancel; or -EDEADLK, for ranges of processes.
 * As on Linux, flock gives up the lock that it converts before it looks for others.
 */
int adit__advisory_set(struct adit_fs *, const struct adit_advisory *want,
		       struct adit_advisory_wait *wait, uint32_t *holder) ADIT_MUST_CHECK;
void adit__advisory_cancel(struct adit_fs *, const struct adit_advisory *want,
			   struct adit_advisory_wait *wait);

/* What conflicts first?  answer->type is ADIT_ADVISORY_NONE if nothing does.  Asked for type NONE: what of its own
 * lies in the range. */
void adit__advisory_test(struct adit_fs *, const struct adit_advisory *want,
			 struct adit_advisory *answer);

/* A process closes the file, or a client of its; or a description is closed in this process: its locks go when no
 * other process has it. */
void adit__advisory_close(struct adit_fs *, uint64_t ino, const struct adit_lock_owner *);

/* A number for a description, never used before in this incarnation: -ENOLCK. */
int adit__advisory_description(struct adit_fs *, uint64_t *number) ADIT_MUST_CHECK;
/* The participant (number + 1) has this description of the inode, too, as after fork(2): before the one who had it
 * closes it.  -ENOLCK.  Its own participant's first lock does the same. */
int adit__advisory_share(struct adit_fs *, uint64_t ino, uint64_t number,
			 uint32_t participant) ADIT_MUST_CHECK;

/* This participant leaves: everything it has goes. */
void adit__advisory_leave(struct adit_fs *);
/* What a participant (number) has that died in no operation goes, while others work on.  Waits for nobody: false, if
 * that would have to be; then a repair is to do it. */
bool adit__advisory_take_over(struct adit_fs *, uint32_t participant) ADIT_MUST_CHECK;
/* A repair (repair.c): what the dead have goes, the lock words are free. */
void adit__advisory_anew(struct adit_fs *, const uint8_t *dead);

/* How many locks there are, and waiting threads (tests, ps).  Meanwhile they may change. */
void adit__advisory_count(const struct adit_fs *, uint64_t *locks, uint64_t *waiting);

#endif
