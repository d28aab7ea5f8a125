/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counts.h - who counts where: shards (media/counts.h) for the threads of this process.
 *
 * A thread takes a shard with its first call on a pool and gives it back when it ends; the next thread goes on with
 * what is in it.  Shards of a pool that others may have open lie in scratch blocks of this participant.  When it
 * leaves or dies, these are nobody's, and the next participant that wants some goes on with them: so the sums over
 * all blocks never go down while the incarnation lasts.
 *
 * In memory of this process lie the shards of a pool that nobody else can watch (open for reading only, or made by a
 * version for one process), and of threads for which no block was left (vol->uncounted says so).
 */
#ifndef ADIT_SHARE_COUNTS_H
#define ADIT_SHARE_COUNTS_H

#include "core/core.h"
#include "media/counts.h"
#include "media/media.h"

struct adit_counts; /* of one open pool */

/* -ENOMEM.  The pool is open. */
int adit__counts_open(struct adit_fs *) ADIT_MUST_CHECK;
/* Before the participant leaves: nothing is counted any more.  No call is under way. */
void adit__counts_close(struct adit_fs *);
/* In a child of fork, before anything else: the shards are its parent's.  Once, then for each open pool, in which it
 * counts from then on in shards of its own. */
void adit__counts_forked(void);
void adit__counts_again(struct adit_fs *);

/* This thread's shard.  In no operation: it may take a block. */
uint64_t *adit__counts_claim(struct adit_media *);
static inline uint64_t *adit__counts_here(struct adit_media *m)
{
	if (ADIT_LIKELY(adit__counting.id == __atomic_load_n(&m->counts_id, __ATOMIC_RELAXED)))
		return adit__counting.at;
	return adit__counts_claim(m);
}

/* The shard's memory cannot be used any more: a media error lies there.  False: it was not in the shard. */
bool adit__counts_lost(struct adit_media *, const void *at);

/* Adds what lies in memory of this process to sum[ADIT_COUNTS]. */
void adit__counts_add_private(struct adit_media *, uint64_t *sum);

#endif
