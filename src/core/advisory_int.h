/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * What the files of the advisory locks share: the table's layout in scratch blocks.
 *
 * One block is the root: two locks, and buckets by inode number, each with a lock and a chain of entries.  Entries
 * and waiting threads lie in blocks of their own.
 *
 * Order of locks: the list of free entries, a bucket, the waiters' lock.  Between the first store of a change and
 * the last nothing is waited for, so that a repair finds the changes of the living done or not begun.
 */
#ifndef ADIT_CORE_ADVISORY_INT_H
#define ADIT_CORE_ADVISORY_INT_H

#include "core/advisory.h"
#include "core/linux_abi.h"
#include "core/log.h"
#include "core/scratch.h"

#define ADIT_ADVISORY_REF 3u /* kind: the participant has this description */

/* state of an entry */
#define LOCK_FREE  0u
#define LOCK_VALID 1u
#define LOCK_NEW   2u /* counts once its bucket's phase is COMMITTED */
#define LOCK_OLD   3u /* counts until then */

struct adit_lock_entry {
	uint64_t ino;
	uint64_t start, end;
	uint64_t number;
	uint64_t next; /* offset: in the bucket's chain, or of the next free one; 0: the last */
	uint32_t participant;
	uint32_t state;
	uint32_t kind, type;
	int32_t pid;
	uint32_t pad;
};
ADIT_STATIC_ASSERT(sizeof(struct adit_lock_entry) == 64, "a line");
#define LOCK_ENTRIES ((ADIT_BLOCK - sizeof(struct adit_scratch)) / sizeof(struct adit_lock_entry))

/* A thread that waits.  Fields change with the bucket's lock of the inode it names, those of the deadlock search with
 * the waiters' lock. */
struct adit_lock_waiter {
	uint32_t claim; /* participant + 1; 0: free */
	uint32_t word;	/* futex: 0 asleep, 1 woken, 2 woken, and others have passed it since */
	uint64_t ino;	/* 0: nothing yet; written last, cleared first */
	uint64_t start, end;
	uint64_t ticket; /* older ones are smaller */
	uint32_t kind, type;
	uint64_t owner_number; /* from here on: the search's */
	uint64_t blocker_number;
	uint32_t owner_participant, blocker_participant;
	uint32_t blocked; /* by that one; anybody may clear it */
	uint32_t pad[13];
};
ADIT_STATIC_ASSERT(sizeof(struct adit_lock_waiter) == 128, "two lines");
#define LOCK_WAITERS ((ADIT_BLOCK - sizeof(struct adit_scratch)) / sizeof(struct adit_lock_waiter))

/* phase of a bucket */
#define PHASE_IDLE	0u
#define PHASE_CHANGING	1u
#define PHASE_COMMITTED 2u

struct adit_lock_bucket {
	struct adit_lock lock;
	uint64_t first; /* offset of an entry; 0: none */
	uint64_t free;
	uint32_t nfree;
	uint32_t phase;
	uint32_t waiters; /* that name an inode of this bucket */
	uint32_t pad[7];
};
ADIT_STATIC_ASSERT(sizeof(struct adit_lock_bucket) == 64, "a line");

#define LOCK_BUCKETS 61u
struct adit_lock_root {
	struct adit_scratch scratch;
	struct adit_lock free_lock;
	uint64_t free;
	uint64_t blocks;  /* of entries */
	uint64_t waiters; /* offset of the first block of waiters: listed apart, by pad[0] */
	uint64_t pad[4];
	struct adit_lock wait_lock;
	uint64_t ticket;
	uint64_t description;
	uint64_t pad2[5];
	struct adit_lock_bucket bucket[LOCK_BUCKETS];
};
ADIT_STATIC_ASSERT(sizeof(struct adit_lock_root) == ADIT_BLOCK, "a block");

/* An operation on one bucket. */
struct adit_lock_scene {
	struct adit_op op;
	struct adit_lock_root *root;
	struct adit_lock_bucket *bucket;
};

static inline struct adit_lock_root *adit__lock_root(const struct adit_fs *fs)
{
	uint64_t block = __atomic_load_n(&fs->vol->advisory, __ATOMIC_ACQUIRE);

	return block != 0 && block < fs->pool_blocks ? adit__block_at(fs, block) : NULL;
}
static inline struct adit_lock_bucket *adit__lock_bucket(struct adit_lock_root *root, uint64_t ino)
{
	return &root->bucket[(ino * 0x9e3779b97f4a7c15ull >> 32) % LOCK_BUCKETS];
}
static inline struct adit_lock_entry *adit__lock_entries(struct adit_scratch *s)
{
	return (struct adit_lock_entry *)(s + 1);
}
static inline struct adit_lock_waiter *adit__lock_waiters(struct adit_scratch *s)
{
	return (struct adit_lock_waiter *)(s + 1);
}
static inline struct adit_lock_entry *adit__lock_entry(const struct adit_fs *fs, uint64_t offset)
{
	return offset != 0 ? adit__at(fs, offset) : NULL;
}
static inline uint32_t adit__lock_state(const struct adit_lock_entry *e)
{
	return __atomic_load_n(&e->state, __ATOMIC_RELAXED);
}
/* A death comes between two instructions, and finds what those before it stored. */
static inline void adit__lock_set_state(struct adit_lock_entry *e, uint32_t state)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&e->state, state, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}
static inline void adit__lock_set_phase(struct adit_lock_bucket *b, uint32_t phase)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&b->phase, phase, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}
static inline bool adit__lock_is_owners(const struct adit_lock_entry *e,
					const struct adit_lock_owner *o)
{
	return e->number == o->number && e->participant == o->participant;
}
/* With the bucket's lock, or in a repair. */
static inline void adit__lock_push_free(const struct adit_fs *fs, uint64_t *list,
					struct adit_lock_entry *e)
{
	e->next = *list;
	*list = adit__offset_of(fs, e);
}

static inline struct adit_scratch *adit__lock_wait_block(const struct adit_fs *fs,
							 const struct adit_lock_root *root,
							 const struct adit_scratch *s)
{
	uint64_t next = __atomic_load_n(s ? &s->pad[0] : &root->waiters, __ATOMIC_ACQUIRE);

	return next != 0 ? adit__at(fs, next) : NULL;
}

/* A block of the table's own; NULL: there is no room. */
struct adit_scratch *adit__lock_block(struct adit_fs *, uint32_t kind);

/* One that was left in the middle of a change (advisory_repair.c); with its lock. */
void adit__lock_bucket_anew(struct adit_fs *, struct adit_lock_root *, struct adit_lock_bucket *);

/* ---- waiting (advisory_wait.c); with the bucket's lock ------------------------------------------ */

/* Not with the bucket's lock.  -ENOLCK. */
int adit__waiter_claim(struct adit_fs *, struct adit_advisory_wait *);
/* Named in the bucket from now on; asleep again. */
void adit__waiter_register(struct adit_lock_scene *, const struct adit_advisory *want,
			   struct adit_advisory_wait *);
/* It waits for this one.  True: in a circle. */
bool adit__waiter_blocked(struct adit_lock_scene *, const struct adit_advisory *want,
			  struct adit_advisory_wait *, const struct adit_lock_owner *blocker);
void adit__waiter_leave(struct adit_lock_scene *, struct adit_advisory_wait *);
/* Somebody was woken for the same and has not come yet. */
bool adit__waiter_first(struct adit_lock_scene *, const struct adit_advisory *want,
			const struct adit_advisory_wait *);
/* Whoever waits for something there is to look again. */
void adit__waiters_wake(struct adit_lock_scene *, uint64_t ino, uint32_t kind, uint64_t start,
			uint64_t end);
void adit__waiters_wake_all(struct adit_lock_scene *); /* of the bucket */
/* That calls of this participant (number + 1) left: a media error, or a death in its sleep, ended them. */
void adit__waiters_drop(struct adit_fs *, uint32_t participant);
void adit__waiters_anew(struct adit_fs *, struct adit_lock_root *, const uint8_t *dead);
uint64_t adit__waiters_count(const struct adit_fs *);

#endif
