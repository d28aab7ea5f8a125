/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * participant.h - several processes on one pool: who is there, who has died, and what is done about it.
 *
 * A participant holds the kernel's lock (an open file description lock) of a byte far behind the pool file's end,
 * and is alive as long as it does: no process numbers, no heartbeat, the same in every container.  One more
 * byte is the gate's: whoever opens, closes or repairs holds it.  fsck, mkfs and who opens for reading lock all bytes.
 *
 * Death.  Whoever waits too long looks whether a participant has died.  If so it takes the gate's lock, makes
 * vol->gate odd, so that no operation begins, waits until every operation of the living is over or waits for
 * something itself (parked), and repairs (core/repair.c).  A repairer that dies gives up the gate's lock with
 * everything else: the next one begins again.
 */
#ifndef ADIT_SHARE_PARTICIPANT_H
#define ADIT_SHARE_PARTICIPANT_H

#include "core/core.h"

/* 0: the gate's lock is ours. -EBUSY: a program has all of the pool (fsck, mkfs, a reader). */
int adit__gate_lock(int fd);
void adit__gate_unlock(int fd);
/* Is anybody else there?  Pre: the gate's lock. */
bool adit__others_are_there(int fd);

/* One of them, or, asked through its own descriptor, nobody. */
bool adit__participant_is_there(int fd, uint32_t participant);

/* Become a participant, with the gate's lock held: -ENOMEM, -EMFILE (no place left). */
int adit__share_join(struct adit_fs *, int fd) ADIT_MUST_CHECK;
/* For a child that is about to be, whose descriptor child_fd is: *child is a participant from now on, alive as long as
 * somebody has child_fd.  -EBUSY, -EMFILE. */
int adit__share_expect(struct adit_fs *, int child_fd, uint32_t *child) ADIT_MUST_CHECK;
/* In the child: we are it.  Before that, adit__core_forked. */
void adit__share_forked(struct adit_fs *, int fd);
/* In a child that is none: nothing of the parent's is ours. */
void adit__share_disown(struct adit_fs *);
/* What others left that have died, with the gate's lock held; its unfinished operations, too, are over then. */
void adit__share_repair(struct adit_fs *);
/* Stop being one: nothing of ours is under way.  Frees fs->share. */
void adit__share_leave(struct adit_fs *);

/* The same without a word in the pool, which may not be there to be written any more: as if we had died. */
void adit__share_drop(struct adit_fs *);

/* Has somebody died?  If so repair it; also when a repairer has died.  The caller's operation, if any, is parked. */
void adit__share_look(struct adit_fs *);
/* The same if this one (number + 1) has.  False: it lives, or is not there any more. */
bool adit__share_look_at(struct adit_fs *, uint32_t participant);
void adit__share_wait_gate(struct adit_fs *);
/* The same for somebody who finds the pool full, now and then; what the dead had open is closed when it returns. */
void adit__share_short_of_space(struct adit_fs *);

/* Make the pool as large as that, 0: as its medium is, while everybody works (adit_grow).  Not within an operation. */
int adit__share_grow(struct adit_fs *, uint64_t size_bytes) ADIT_MUST_CHECK;

#endif
