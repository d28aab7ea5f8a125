/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Who has which inode open.  A hold keeps a nameless inode alive.  It is counted in the inode's volatile open
 * word, and listed in a scratch block of its participant, so that the holds of one that died can be let go of:
 * they become the repairer's, who closes them as an owner would (repair.c).
 *
 * An entry is written before it is counted and cleared after that: so whatever the dead did not bring to an end, an
 * entry names it, and the repair counts anew what these entries name.  Between operations, and while one is parked,
 * an inode's count is the number of entries with its number and generation.
 *
 * Without room for a list (not a block of the pool is left, the reserve included), and in pools that are private, a
 * hold is counted only.  From then on a death closes nothing: nameless files of the dead stay until the last
 * participant has left.
 */
#ifndef ADIT_CORE_HOLD_H
#define ADIT_CORE_HOLD_H

#include "core/core.h"

struct adit_attr;
struct adit_scratch;

struct adit_hold {
	uint64_t ino;
	uint64_t entry; /* pool offset; 0: not listed */
};

/* An entry, to be used or given back.  In an operation, before anything that must not wait. */
void adit__hold_prepare(struct adit_op *, struct adit_hold *);
void adit__hold_give_back(struct adit_fs *, struct adit_hold *);
/* hold->ino becomes this one: listed first, then counted, since what is listed only is found by a repair.
 * Pre: it cannot go away meanwhile. */
void adit__hold_list(struct adit_op *, struct adit_hold *, uint64_t ino, uint32_t generation);
void adit__hold_count(struct adit_op *, const struct adit_hold *);
/* Listed, but nothing came of it. */
void adit__hold_unlist(struct adit_op *, const struct adit_hold *);
/* Both undone. */
void adit__hold_drop(struct adit_op *, const struct adit_hold *);

uint32_t adit__open_count(struct adit_fs *, const struct adit_inode_pm *);
/* An inode that was just made: whatever its slot was before. */
void adit__open_none(struct adit_fs *, uint64_t ino);

/* What a close does, with all that follows for a nameless file. */
int adit__release(struct adit_fs *, struct adit_hold *);

/* A child that is about to be: what we have open it has open, too, on a list of its own. */
struct adit_heir {
	uint32_t participant; /* number + 1 */
	struct adit_scratch *list;
	uint32_t used; /* entries of it */
};
void adit__hold_for(struct adit_fs *, const struct adit_hold *ours, struct adit_heir *,
		    struct adit_hold *out);
/* In the child, who is that participant now: none of the lists that its parent has free entries of is its own. */
void adit__hold_heir_is_here(struct adit_fs *, struct adit_heir *);

/* A repair: lists of the dead become ours, counts are made anew. */
void adit__holds_anew(struct adit_fs *, const uint8_t *dead);
/* The same for one that died in no operation, while others go on. */
void adit__holds_take_over(struct adit_fs *, uint32_t participant);
/* Lets go of what was taken over; by a thread that holds nothing. */
void adit__holds_finish(struct adit_fs *);
/* Is there anything to let go of? */
bool adit__holds_inherited(const struct adit_fs *);

#endif
