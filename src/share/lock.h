/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock.h - the reader-writer lock of the volatile region, shared by threads and processes.
 */
#ifndef ADIT_SHARE_LOCK_H
#define ADIT_SHARE_LOCK_H

#include "core/core.h"

/*
 * struct adit_lock.word is incarnation:32 | state:32. A word of another incarnation is free: nothing
 * has to be swept when a pool is opened. Locks are not recursive. The state: ADIT_LOCK_*, core.h.
 */
/* The operation that this thread is in, set by the core: what is parked while it waits, and what a media fault ends
 * (fs/guard.h). */
extern _Thread_local struct adit_op *adit__current_op;

void adit__lock(struct adit_lock *lock, uint32_t incarnation, bool exclusive);
bool adit__trylock(struct adit_lock *lock, uint32_t incarnation, bool exclusive);
void adit__unlock(struct adit_lock *lock, bool exclusive);

#endif
