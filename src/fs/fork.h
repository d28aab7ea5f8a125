/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork.h - a process with open pools forks.
 *
 * The child is a participant of its own: it has a place, a lock of the kernel's, and holds on all that is open,
 * before it exists, so that nothing of that depends on who runs first or dies first. What the parent's other threads
 * were doing is not the child's. Offsets and flags of open files are shared from then on, as fork(2) says.
 */
#ifndef ADIT_FS_FORK_H
#define ADIT_FS_FORK_H

#include "fs/pool.h"

/* Around all of opening, and of closing: a fork waits meanwhile, lest the child inherits descriptors that nobody
 * knows of. */
void adit__fork_wait(void);
void adit__fork_go_on(void);
/* Pools that a child gets. In between wait and go_on. */
void adit__fork_add(struct adit_pool *);
void adit__fork_remove(struct adit_pool *);

/* The file goes: so does its part of what is shared. */
void adit__fork_forget(struct adit_file *);

#endif
