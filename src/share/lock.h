/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock.h - the reader-writer lock of the volatile region, shared by threads and processes.
 */
#ifndef ADIT_SHARE_LOCK_H
#define ADIT_SHARE_LOCK_H

#include "core/core.h"

/*
 * struct adit_lock.word is incarnation:32 | state:32. A word of another incarnation is free: nothing
 * has to be swept when a pool is opened. Locks are not recursive.
 */
#define ADIT_LOCK_WRITER 0x80000000u	/* held exclusively */
#define ADIT_LOCK_WAITING 0x40000000u	/* a writer waits: no new readers */
#define ADIT_LOCK_SLEEPERS 0x20000000u	/* somebody may sleep in the futex */
#define ADIT_LOCK_READERS 0x1fffffffu	/* how many hold it shared */

void adit__lock(struct adit_lock *lock, uint32_t incarnation, bool exclusive);
bool adit__trylock(struct adit_lock *lock, uint32_t incarnation, bool exclusive);
void adit__unlock(struct adit_lock *lock, bool exclusive);

#endif
