/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* The inode table: inode n lies n * 256 bytes into a file of its own. */
#ifndef ADIT_CORE_INODE_H
#define ADIT_CORE_INODE_H

#include "core/core.h"

/* Address of the slot, or NULL beyond the table. No verification. */
struct adit_inode_pm *adit__inode_slot(struct adit_fs *, uint64_t ino);
/* Verified inode in use: 0, -ESTALE (free slot, beyond the table),
 * -EUCLEAN/-EBADMSG with a report.  The inode must be locked (shared is
 * enough) for its fields to hold still. */
int adit__inode_get(struct adit_fs *, uint64_t ino, const struct adit_inode_pm **out)
	ADIT_MUST_CHECK;

/* For readers without the lock (adit__glance): the slot when it was verified
 * before, else NULL. What it holds may change at any moment. */
const struct adit_inode_pm *adit__inode_glance(struct adit_fs *, uint64_t ino);

/* A free slot: the change set marks it used.  Grows the table when there is
 * none (commits a change set of its own, so call it first, before anything
 * was put).  Returns the private copy with ino and generation set and the rest
 * zero.  Takes a shard's lock that the operation keeps to its end. -ENOSPC. */
int adit__inode_alloc(struct adit_op *, struct adit_inode_pm **out) ADIT_MUST_CHECK;
/* Gives the slot back: clears it, keeps the generation. The inode must hold
 * no blocks any more. */
int adit__inode_free(struct adit_op *, struct adit_inode_pm *copy) ADIT_MUST_CHECK;

/* Orphans: on a list while nlink is 0 and somebody has it open. */
int adit__orphan_add(struct adit_op *, struct adit_inode_pm *copy) ADIT_MUST_CHECK;
int adit__orphan_remove(struct adit_op *, struct adit_inode_pm *copy) ADIT_MUST_CHECK;

/* Free an inode whose last name and last opener are gone, with everything it
 * holds, in as many steps as it takes; the intent makes recovery finish it.
 * op: write operation with the inode locked exclusively and nothing put. */
int adit__inode_destroy(struct adit_op *, uint64_t ino) ADIT_MUST_CHECK;

static inline uint32_t adit__inode_fork(const struct adit_inode_pm *ip)
{
	return get32(ip->flags) & ADIT_FORK_MASK;
}
static inline void adit__inode_set_fork(struct adit_inode_pm *ip, uint32_t fork)
{
	ip->flags = put32((get32(ip->flags) & ~ADIT_FORK_MASK) | fork);
}

#endif
