/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* What the files that know the log's inside share: log.c, checkpoint.c, op.c,
 * inode.c, alloc.c, fs.c, check. */
#ifndef ADIT_CORE_LOG_H
#define ADIT_CORE_LOG_H

#include "core/core.h"

/* Sequence numbers and positions beyond this were never drawn, says fsck.  Recovery takes twice as much
 * and openers four times, so that a pool that was mended can go on. */
#define ADIT_LOG_SANE (1ull << 61)
#define ADIT_LOG_MENDED (ADIT_LOG_SANE / 2) /* what a repair puts up with: it goes on from there itself */

#define ADIT_CS_TOUCHED 128u /* structures one change set may change */
#define ADIT_CS_INODES 8u

/* A tree node or the root block with entries in this set. */
struct adit_touched {
	uint64_t block;
	uint8_t *shadow; /* NULL until somebody looks */
};

struct adit_cs_inode_copy {
	uint64_t ino;
	uint64_t offset;
	uint8_t kind;
	union adit_cs_words {
		struct adit_inode_pm inode;
		struct adit_icluster_pm cluster;
		uint64_t word[ADIT_INODE_BYTES / 8];
	} was, now;
};

struct adit_cs {
	struct adit_fs *fs;
	uint32_t lane;
	bool fresh;    /* fresh memory waits for a fence */
	bool data;     /* in-place data waits for the record's fence */
	bool applying; /* committed, not yet applied in full */
	int err;
	int64_t d_free_blocks, d_used_inodes;
	struct adit_vol_set *set; /* what whoever ends it for a dead process needs */
	uint32_t ntouched, ninodes, nshadows;
	size_t len; /* bytes of buf in use, record header included */
	uint8_t *buf;
	uint8_t *shadow[ADIT_CS_TOUCHED]; /* kept for reuse */
	struct adit_touched touched[ADIT_CS_TOUCHED];
	struct adit_cs_inode_copy inode[ADIT_CS_INODES];
};

/* Entries of a record or of a set under construction. */
static inline const struct adit_entry_pm *adit__entry_at(const uint8_t *buf, size_t at)
{
	return (const struct adit_entry_pm *)(buf + at);
}
static inline size_t adit__entry_bytes(const struct adit_entry_pm *e)
{
	return sizeof *e + (e->op == ADIT_OP_WRITE ? get32(e->len) : 0);
}

/* This set has no entries in the block: it looks as it does on the medium. */
static inline bool adit__cs_untouched(const struct adit_cs *cs, uint64_t block)
{
	for (uint32_t i = 0; i < cs->ntouched; i++)
		if (cs->touched[i].block == block)
			return false;
	return true;
}

struct adit_cs *adit__cs_create(struct adit_fs *, uint32_t lane);
void adit__cs_destroy(struct adit_cs *);
/* Private copy of an inode-table slot, of either kind, unverified. */
struct adit_cs_inode_copy *adit__cs_slot(struct adit_cs *, uint64_t ino, uint64_t offset,
					 uint8_t kind);
/* The root block as this set sees it. */
const struct adit_root_pm *adit__cs_root(struct adit_cs *);
void adit__cs_alloc_entry(struct adit_cs *, uint8_t op, uint64_t block, uint64_t count);
void adit__cs_count_inodes(struct adit_cs *, int delta);
bool adit__cs_intent_active(const struct adit_cs *);

/* Room for one more record of any size in the lane's ring. */
bool adit__lane_has_room(const struct adit_fs *, uint32_t lane);
void adit__apply_record(struct adit_fs *, const struct adit_record_pm *);
/* By the lane's owner: stats.h. */
void adit__count_record(struct adit_vol_lane *, uint64_t bytes);
/* With it (I8). */
void adit__apply_notes(struct adit_fs *, const struct adit_vol_set *, uint64_t seq);
/* NULL unless a valid record of this lane starts at pos. */
const struct adit_record_pm *adit__record_at(const struct adit_fs *, uint32_t lane, uint64_t pos,
					     bool check_crc);
/* The slot that counts is the older one, and not because a crash tore the newer one: it was whole once.  What
 * was freed before it may be in use again, so nothing is to be replayed over it.  Pre: the lanes' tails. */
bool adit__log_knows_newer(struct adit_fs *, const struct adit_ckpt_pm *newest);
/* Recovery's view of a lane, from vl->head on: where its chain of records ends. */
uint64_t adit__log_end(struct adit_fs *, uint32_t lane);
/* A record behind that end that was acknowledged, so that the one at the end is damaged; NULL: none.  A record
 * is written when the one before it in its lane is durable, so a crash leaves none; damage to the very last one
 * looks like a crash.  Seen across two records' bytes. */
const struct adit_record_pm *adit__log_stray(struct adit_fs *, uint32_t lane, uint64_t end);
uint64_t adit__record_end(const struct adit_fs *, const struct adit_record_pm *);

const struct adit_ckpt_pm *adit__ckpt_slot(const struct adit_fs *, unsigned slot);
/* The slot that counts, or NULL when neither is valid. */
const struct adit_ckpt_pm *adit__ckpt_newest(const struct adit_fs *);
/* Write a slot, durable on return (mkfs, checkpoint, repair). */
void adit__ckpt_store(struct adit_fs *, struct adit_ckpt_pm *);

/* A further slot that differs from the newest one in the total only, and this process's share of it.  Pre: nobody
 * else is at work. */
void adit__ckpt_add_free(struct adit_fs *, uint64_t difference);

/* As adit__op_begin_write, on this lane (recovery of its intent). */
int adit__op_begin_lane(struct adit_op *, struct adit_fs *, uint32_t lane) ADIT_MUST_CHECK;
/* Release one lock that the operation remembers. */
void adit__op_unlock_one(struct adit_op *, struct adit_lock *);
/* Release everything but the inode locks. */
void adit__op_unlock_aux(struct adit_op *);
bool adit__op_holds(const struct adit_op *, const struct adit_lock *);
bool adit__op_trylock(struct adit_op *, struct adit_lock *, bool exclusive);
struct adit_lock *adit__inode_lock_of(const struct adit_fs *, uint64_t ino);

/* Locks taken below an operation (group, checkpoint, table growth): remembered
 * by the one under way, if any, so that a media fault cannot leave them held. */
void adit__lock_below(struct adit_fs *, struct adit_lock *, bool exclusive);
bool adit__trylock_below(struct adit_fs *, struct adit_lock *, bool exclusive);
void adit__unlock_below(struct adit_fs *, struct adit_lock *, bool exclusive);
/* As adit__checkpoint, but leaves when somebody is at it already. */
void adit__checkpoint_due(struct adit_fs *);

/* What a growth adds, if it is known: free blocks, and which group was the last one. */
struct adit_growth {
	uint64_t free;
	uint32_t group;
};
/* The size that the superblock on the medium has becomes ours.  1: somebody died, or the power failed, before
 * what follows from it was done: adit__grow_finish (NULL: nothing is known).  -ENOMEM: it cannot be mapped. */
int adit__grow_look(struct adit_fs *);
void adit__grow_finish(struct adit_fs *, const struct adit_growth *);
uint32_t adit__renew(struct adit_fs *, const uint8_t *dead, uint32_t *slots, const struct adit_growth *);
struct adit_verified *adit__verified_make(const struct adit_fs *, uint64_t blocks);

/* Fixed places by geometry; fs.c. */
void adit__fs_geometry(struct adit_fs *);
/* Write both copies of the superblock from fs->super, durable on return. */
void adit__super_store(struct adit_fs *);

/* In a child of fork: the newest slot is to be read again. */
void adit__log_forked(struct adit_fs *);

#endif
