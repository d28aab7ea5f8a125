/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock.h - advisory locks for the calls (calls_lock.c), and for whoever holds them for others, as a mount does for the
 * kernel's clients: by owner, without descriptors.
 *
 * A mount's owners are adit__process_owner(fs, number) with the numbers that the kernel gives; 0 is the process
 * itself.  When a client closes a file: adit__advise_close.
 */
#ifndef ADIT_FS_LOCK_H
#define ADIT_FS_LOCK_H

#include "core/advisory.h"
#include "fs/pool.h"

/*
 * Locks, changes, unlocks.  waits: until it can be had (F_SETLKW), or a signal comes, or given_up, asked every few
 * milliseconds, says so; it may be NULL.
 *
 * -EAGAIN, -ENOLCK, -EDEADLK; -EINTR; -EBADF: given_up.
 */
int adit__advise(struct adit_pool *, const struct adit_advisory *want, bool waits,
		 bool (*given_up)(void *), void *arg);
/* F_GETLK: 0, -ENOLCK. */
int adit__advise_test(struct adit_pool *, const struct adit_advisory *want,
		      struct adit_advisory *answer);
void adit__advise_close(struct adit_pool *, uint64_t ino, const struct adit_lock_owner *);

/*
 * Before fork(2), in a guard: the participant (number + 1), which the child will be, has the open file, too, so that its
 * locks stay until both have closed it or died.  Without room for that the child's copy counts for nothing, before
 * it locks something itself.
 */
void adit__share_description(struct adit_fs *, struct adit_file *, uint32_t participant);

/* Closing: a descriptor of this inode; an open file's last one. */
void adit__drop_record_locks(struct adit_pool *, uint64_t ino);
void adit__drop_description(struct adit_pool *, const struct adit_file *);

#endif
