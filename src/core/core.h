/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The engine's handle and what every file of the core shares: environment,
 * volatile region, operation context, change set.
 *
 * The core is kernel-clean: C11, memory and string functions only, no floating
 * point, no recursion, small frames; everything else comes through adit_env.
 * Errors are negative errno values; out-parameters are untouched on failure.
 *
 * How an operation runs (docs/design.md):
 *
 *	adit__op_begin(&op, fs)            reading: no lane
 *	adit__op_begin_write(&op, fs)      takes a lane, ring space is certain
 *	adit__lock_inode[s](...)           in the one global order (I2)
 *	look, decide, find space
 *	adit__cs_*(op.cs, ...)             says what changes; nothing reachable
 *	                                   is touched yet (I1)
 *	adit__cs_commit(op.cs)             record, flush, fence; then applied
 *	adit__op_end(&op)                  unlocks, gives the lane back; an
 *	                                   uncommitted change set is dropped
 */
#ifndef ADIT_CORE_CORE_H
#define ADIT_CORE_CORE_H

#include "core/format.h"
#include "media/pmem.h"

struct adit_fs;
struct adit_op;
struct adit_cs;

/* A build to compare with: what an engine for one process alone would leave out (bench/share.c). */
#ifdef ADIT_PRIVATE
#define ADIT_IS_PRIVATE true
#else
#define ADIT_IS_PRIVATE false
#endif

/* ---- environment ------------------------------------------------------ */

/* A word of the volatile region: incarnation:32 | state:32. */
struct adit_lock {
	uint64_t word;
};

struct adit_env {
	void *(*alloc)(size_t bytes); /* zeroed; NULL when refused */
	void (*free)(void *);	      /* NULL is fine */
	int64_t (*now_ns)(void);      /* CLOCK_REALTIME, coarse is enough */
	uint64_t (*random64)(void);
	uint32_t (*crc32c)(uint32_t seed, const void *data, size_t bytes);
	uint64_t (*hash64)(uint64_t seed, const void *data, size_t bytes); /* XXH64 */
	void (*lock)(struct adit_lock *, uint32_t incarnation, bool exclusive);
	bool (*trylock)(struct adit_lock *, uint32_t incarnation, bool exclusive);
	void (*unlock)(struct adit_lock *, bool exclusive);
	void (*yield)(void);
	/* Until vol->gate is even. */
	void (*wait_gate)(struct adit_fs *);
	/* Perhaps somebody has died who kept some.  In no operation. */
	void (*short_of_space)(struct adit_fs *);
	/* Whoever sleeps while this word of the pool is what it was. */
	void (*wake)(uint32_t *word);
	/* May these bytes of the pool be touched?  False: a media error lies there. */
	bool (*readable)(const void *, size_t bytes);
	uint32_t (*thread_hint)(void); /* small number, stable per thread */
	/* This thread's slot for the operation under way (op.c sets it at begin, clears it at end), so
	 * that whoever jumps out of one after a media fault can end it. */
	struct adit_op **(*current_op)(void);
	/* Of a pool whose pm.guarded is set: this thread's stores follow, until its call is over. */
	void (*stores)(const struct adit_fs *);
	/* One line, without newline: which structure, where, why. */
	void (*report)(void *ctx, const char *format, ...) ADIT_PRINTF(2, 3);
};

/* The state of a lock word; share/lock.c tells how it is used. */
#define ADIT_LOCK_WRITER 0x80000000u	/* held exclusively */
#define ADIT_LOCK_WAITING 0x40000000u	/* a writer waits: no new readers */
#define ADIT_LOCK_SLEEPERS 0x20000000u	/* somebody may sleep in the futex */
#define ADIT_LOCK_READERS 0x1fffffffu	/* how many hold it shared */

/* ---- volatile region ---------------------------------------------------- */

/*
 * Never flushed, valid for one incarnation, shared by everyone who has the
 * pool open.  Each hot word has a line of its own.
 */
struct adit_vol_lane {
	struct adit_lock lock;
	uint64_t active_low; /* lower bound of the record being committed, or ~0 */
	uint64_t head;	     /* position of the next record */
	uint64_t tail;	     /* ring space before this position is free */
	uint64_t free_blocks; /* this lane's share of the pool's free blocks and used inodes; */
	uint64_t used_inodes; /* only the sums over all lanes mean something */
	uint64_t records;     /* committed in this incarnation, */
	uint64_t record_bytes; /* and their bytes (stats.h) */
};
struct adit_vol {
	uint64_t incarnation;
	uint32_t gate;	  /* odd while somebody repairs what a dead participant left (share.h) */
	uint32_t stopped; /* see adit__has_stopped */
	uint64_t repairs; /* how many there were */
	uint64_t scratch; /* first block of the list; 0: none (scratch.h) */
	uint32_t unlisted; /* holds were taken that are on no list (hold.h) */
	uint32_t uncounted; /* somebody counts where nobody else can see it (stats.h) */
	uint64_t pool_blocks; /* the pool's size: changes while the gate is closed (grow.c) */
	uint64_t advisory; /* block; 0: no locks yet (advisory.h) */
	uint64_t pad0[1];
	uint64_t seq; /* last sequence number drawn */
	uint64_t pad1[7];
	uint64_t c;	      /* checkpoint's C */
	uint64_t ckpt_count;  /* checkpoints since open */
	uint64_t generation;  /* of the newest slot: raised before anything relies on it */
	uint64_t pad2[5];
	uint64_t free_blocks; /* that may be allocated now (reserve included) */
	uint64_t pad3[7];
	struct adit_lock ckpt_lock;
	uint64_t pad4[7];
	struct adit_lock rename_lock; /* directories changing parents */
	uint64_t pad5[7];
	struct adit_lock grow_lock; /* the inode table grows */
	uint64_t pad6[7];
	uint64_t pad7[8];
	/* By shard, see adit__shard_lock and adit__orphan_lock. */
	struct adit_lock shard_lock[ADIT_SHARDS]; /* inode allocation */
	struct adit_lock orphan_lock[ADIT_SHARDS];
	struct adit_vol_lane lane[ADIT_LANES_MAX];
	/* then the inode locks, one line each: struct adit_vol_stripe[] */
};

/* Who has the pool open for writing.  Alive as long as it holds the kernel's lock of its byte (share). */
struct adit_vol_participant {
	uint64_t owner; /* incarnation:32 | 1; of another incarnation: free */
	uint64_t pid;	/* in its own namespace: for people */
	int64_t since_ns;
	char name[24];
	uint64_t room_blocks; /* how large the pool may grow with it: what it has address space for */
	uint64_t pad;
};
ADIT_STATIC_ASSERT(sizeof(struct adit_vol_participant) == 64, "a line");

/*
 * What the operation of one thread holds, for whoever has to end it after its process died.  Claimed by
 * adit__op_begin, given back by adit__op_end.
 */
#define ADIT_OP_LOCKS 12
#define ADIT_OP_IDLE 0u
#define ADIT_OP_RUNNING 1u
#define ADIT_OP_PARKED 2u /* waits: holds what it says and changes nothing */
#define ADIT_OP_CLAIMED                                                                            \
	0x80000000ull /* in owner: by it, but nothing else in the slot means anything yet */
struct adit_vol_op {
	uint64_t owner;	  /* incarnation:32 | participant + 1; of another incarnation: free */
	uint32_t state;	  /* ADIT_OP_*, with the owner's */
	uint32_t nlocks;
	uint64_t lane;	  /* + 1; 0: none */
	uint64_t pad[5];
	uint64_t lock[ADIT_OP_LOCKS]; /* pool offset | 1 if exclusive */
	uint64_t pad2[4];
};
ADIT_STATIC_ASSERT(sizeof(struct adit_vol_op) == 192, "three lines");
/* What a lane's change set has taken from the volatile bitmaps and what is to be done when its record is
 * applied.  A run is block:40 | count:24. */
#define ADIT_CS_RUNS 500u
struct adit_vol_set {
	uint64_t claimed; /* blocks that are counted as taken and not yet in a run */
	uint64_t notes;
	uint64_t note[2]; /* where inodes lie whose data the record holds (I8) */
	uint64_t nruns;
	uint64_t run[ADIT_CS_RUNS];
	uint64_t pad[7];
};
ADIT_STATIC_ASSERT(sizeof(struct adit_vol_set) == ADIT_BLOCK, "a block");
static inline uint64_t adit__run_word(uint64_t block, uint64_t count)
{
	return block << 24 | count;
}

struct adit_vol_stripe {
	struct adit_lock lock;
	uint64_t version; /* odd while somebody holds the lock exclusively */
	uint64_t pad[6];
};
/* One block a group, beside its volatile bitmap. */
struct adit_vol_group {
	struct adit_lock lock;
	uint64_t incarnation; /* valid when it is the pool's */
	uint32_t free;	      /* clear bits of the volatile bitmap */
	uint32_t cursor;      /* where small allocations go on */
	uint32_t bad;	      /* its bitmap failed the check: not used */
	uint32_t free_huge;   /* chunks of 512 blocks that are wholly free */
	uint64_t pad[4];
	uint16_t chunk_free[ADIT_GROUP_BLOCKS_MAX / ADIT_HUGE_BLOCKS];
};
ADIT_STATIC_ASSERT(sizeof(struct adit_vol_group) <= ADIT_BLOCK, "one block");

/* ---- the handle ---------------------------------------------------------- */

#define ADIT_REC_MAX (96u * 1024) /* bytes of the largest record */
#define ADIT_ATOMIC_MAX (64u * 1024) /* data bytes that one record may carry */
/* Caches; a build for tests that open many pools makes them smaller. */
#ifndef ADIT_VERIFIED_SLOTS
#define ADIT_VERIFIED_SLOTS 65536u
#endif
#ifndef ADIT_CLUSTER_CACHE
#define ADIT_CLUSTER_CACHE 8192u
#endif

/* Of hold.c, each with a line of its own. */
#define ADIT_HOLD_SHARDS 8u
struct adit_hold_shard {
	uint64_t busy;
	uint64_t first; /* offset of a free entry; 0: none */
	uint64_t pad[6];
};

/* A bit for each block of the pool. Replaced by a larger one when the pool grows. */
struct adit_verified {
	uint64_t blocks;
	struct adit_verified *older; /* somebody who glances may still look there: freed at the end */
	uint64_t bits[];
};

struct adit_ckpt_work; /* log.c */
struct adit_share;
struct adit_media;

struct adit_fs {
	struct adit_pm pm; /* first: base and size of the mapping */
	const struct adit_env *env;
	void *report_ctx;
	bool read_only;
	bool failed; /* as vol->stopped: that may not be readable any more */
	bool was_clean; /* when it was opened: closed, not killed */
	bool careful; /* look before touching, and leave out what media errors took: in recovery, and
			 once one was met */
	bool media_error; /* one was met */
	uint32_t incarnation;
	/* From the superblock, checked. */
	struct adit_super_pm super; /* a copy */
	uint32_t uuid_tag;
	uint64_t pool_blocks; /* as far as this process has followed: grow.c */
	uint64_t group_blocks;
	uint32_t group_shift;
	uint32_t groups;
	uint32_t bitmap_blocks; /* of one group */
	uint64_t first_block; /* that may hold anything: behind the fixed area of the first cluster */
	uint64_t cluster_blocks; /* of all groups of one cluster */
	uint32_t lanes;
	uint64_t ring_bytes;
	uint64_t hash_seed;
	uint64_t stripe_mask;
	/* Addresses. */
	struct adit_root_pm *root;
	struct adit_vol *vol;
	struct adit_vol_stripe *stripe;
	struct adit_vol_op *ops;
	struct adit_vol_set *sets; /* by lane */
	bool alone; /* the region is too small for sets: they are private, nobody can join */
	uint32_t nops;
	uint32_t nparticipants;
	struct adit_vol_participant *participants;
	struct adit_share *share; /* who looks after the others; NULL: nobody else is there */
	struct adit_media *counted; /* what threads do here is counted there (share/counts.h); or NULL */
	/* Private to this process. */
	struct adit_cs **lane_cs; /* change set of each lane, made when first used */
	uint64_t *verified;	  /* offsets whose CRC was found right */
	struct adit_verified *verified_block; /* the same for offsets of blocks */
	uint32_t following; /* a thread takes over the pool's new size */
	uint64_t *cluster_cache;  /* where inode clusters lie; they never move */
	uint64_t log_nonce;	  /* of the records of this opening */
	uint32_t me;		  /* participant */
	uint32_t op_of[64];	  /* slots used last, by thread: a hint */
	struct adit_hold_shard hold_shard[ADIT_HOLD_SHARDS]; /* free entries, by thread */
	uint32_t finishing_holds; /* a thread of ours closes what somebody left open */
	struct adit_ckpt_work *ckpt_work;
	/* adit_env.current_op() of the thread that repairs: the world stands still for it, and locks may be those
	 * of the dead. */
	struct adit_op **repairer;
	uint32_t weak_hash_mask; /* tests: forces name collisions; 0 = off */
	uint32_t full_after; /* tests: after so many bytes change sets have only full_room left; 0 = off */
	uint32_t full_room;
	/* Tests and the fault suite: refuse the n-th allocation from now. */
	uint64_t fail_alloc_at;
};

/* A stopped pool holds half a change, which the log will make whole when it is opened again: until then
 * nobody may look. Read by anybody at any time. */
static inline bool adit__has_stopped(const struct adit_fs *fs)
{
	return __atomic_load_n(&fs->failed, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&fs->vol->stopped, __ATOMIC_RELAXED);
}
static inline void adit__stop(struct adit_fs *fs)
{
	__atomic_store_n(&fs->failed, true, __ATOMIC_RELAXED);
	if (fs->env->readable(fs->vol, sizeof(uint64_t)))
		__atomic_store_n(&fs->vol->stopped, 1, __ATOMIC_RELAXED);
}

/* Neighbours are in use at the same time: they get lines of their own as far as there are lines. */
static inline unsigned adit__spread(unsigned shard)
{
	return shard % 8 * (ADIT_SHARDS / 8) + shard / 8;
}
static inline struct adit_lock *adit__shard_lock(const struct adit_fs *fs, unsigned shard)
{
	return &fs->vol->shard_lock[adit__spread(shard)];
}
static inline struct adit_lock *adit__orphan_lock(const struct adit_fs *fs, unsigned list)
{
	return &fs->vol->orphan_lock[adit__spread(list)];
}

/* Where a thread begins to look for what is its own most of the time: apart from others, in all processes. */
static inline uint32_t adit__place_hint(const struct adit_fs *fs)
{
	return fs->env->thread_hint() + fs->me * 6;
}

static inline void *adit__at(const struct adit_fs *fs, uint64_t offset)
{
	return fs->pm.base + offset;
}
static inline void *adit__block_at(const struct adit_fs *fs, uint64_t block)
{
	return fs->pm.base + (block << ADIT_BLOCK_SHIFT);
}
static inline uint64_t adit__offset_of(const struct adit_fs *fs, const void *p)
{
	return (uint64_t)((const uint8_t *)p - fs->pm.base);
}
#define adit__report(fs, ...) ((fs)->env->report((fs)->report_ctx, __VA_ARGS__))

/* ---- operations and locks (op.c) ----------------------------------------- */

struct adit_op {
	struct adit_fs *fs;
	struct adit_cs *cs; /* NULL while reading */
	struct adit_vol_op *held;
};

/* Waiting, in an operation: others may take it that nothing changes (repair.c). */
void adit__op_park(struct adit_op *);
void adit__op_unpark(struct adit_op *);
/* One that was inherited: see adit__repair. */
int adit__op_begin_inherited(struct adit_op *, struct adit_fs *, uint32_t slot) ADIT_MUST_CHECK;
/* Locks are held by operations: one for somebody who may be in none.  True: to be ended by adit__op_end_read. */
bool adit__op_need(struct adit_op *, struct adit_fs *);
/* Slots for operations and lanes' reservations in a volatile region of so many bytes (mkfs, open); the rest
 * are stripes.  *lanes_too: there is room for the reservations.  A pool that has grown keeps its region: as many
 * slots as fit. */
uint32_t adit__op_slots(uint64_t pool_blocks, uint64_t vol_bytes, uint32_t lanes, bool *lanes_too);

void adit__op_begin(struct adit_op *, struct adit_fs *);
/* Takes a lane; may run a checkpoint to make room.  Call with no lock held.
 * -EROFS on a read-only pool, -EIO on a failed one, -ENOMEM. */
int adit__op_begin_write(struct adit_op *, struct adit_fs *) ADIT_MUST_CHECK;
/* Releases locks and lane, drops an uncommitted change set (also after a
 * media fault, from anywhere), runs a checkpoint when one is due. */
void adit__op_end(struct adit_op *);
/* The same for an operation without a lane. */
void adit__op_end_read(struct adit_op *);
/* The same after a media fault, which may have hit anywhere. */
void adit__op_abort(struct adit_op *);
/* Drop the locks only (to take others in order); the lane stays. */
void adit__op_unlock(struct adit_op *);

/* Inode locks: striped by inode number, taken in ascending stripe order.
 * lock_inodes takes up to 4 distinct-or-equal inode numbers at once;
 * exclusive is a bit mask.  ADIT_INO_NONE entries are skipped.  Call with no
 * inode lock held. */
void adit__lock_inode(struct adit_op *, uint64_t ino, bool exclusive);
void adit__lock_inodes(struct adit_op *, const uint64_t *ino, unsigned n,
		       unsigned exclusive_mask);
/* With others held already: true when taken (or when its stripe is held
 * exclusively by this operation), false when that would break the order. */
bool adit__trylock_inode(struct adit_op *, uint64_t ino, bool exclusive);
/*
 * Reading without the lock: what was read counts only if adit__peek_valid says
 * so afterwards; otherwise take the lock.  Between the two everything may change
 * under the reader's eyes, so it checks every bound and believes nothing; what
 * has not been verified before is left to the locked way.  adit__glance is false
 * while the inode is locked exclusively (always under the thread sanitizer,
 * which cannot follow this).
 */
bool adit__glance(const struct adit_fs *, uint64_t ino, uint64_t *version);
bool adit__glance_valid(const struct adit_fs *, uint64_t ino, uint64_t version);
/* Any other lock of the volatile region, remembered by the operation. */
void adit__op_lock(struct adit_op *, struct adit_lock *, bool exclusive);

/* ---- change sets (log.c) ---------------------------------------------------- */

/* What changes.  Sticky errors: an overflow makes commit fail with -E2BIG and
 * nothing happened.  `len` is a multiple of 8, `offset` 8-byte aligned. */
void adit__cs_put(struct adit_cs *, uint64_t offset, const void *bytes,
		  size_t len, uint8_t kind);
void adit__cs_zero(struct adit_cs *, uint64_t offset, size_t len, uint8_t kind);
static inline void adit__cs_put64(struct adit_cs *cs, uint64_t offset, uint64_t v,
				  uint8_t kind)
{
	le64 x = put64(v);
	adit__cs_put(cs, offset, &x, 8, kind);
}

/* A tree node as this change set sees it: the medium's bytes when the set has
 * not changed it, else a private copy with the changes.  The pointer stays
 * valid until the set is committed or dropped; later puts show through it
 * once it is a private copy (call again after a put to be sure). cs may be
 * NULL: the medium's bytes.  Does not verify: adit__node_get (tree.h) does. */
const void *adit__cs_view_block(struct adit_cs *, struct adit_fs *, uint64_t block);

/* A private copy of an inode to change freely; commit logs the words that
 * differ from what it was at the time of this call.  The inode must be locked
 * exclusively.  The same inode gives the same copy.  Verifies the inode:
 * -EUCLEAN/-EBADMSG with a report, -ESTALE when the slot is free. */
int adit__cs_inode(struct adit_cs *, uint64_t ino, struct adit_inode_pm **out)
	ADIT_MUST_CHECK;
/* The inode table's own inode, which nobody else's number leads to. */
int adit__cs_itable(struct adit_cs *, struct adit_inode_pm **out) ADIT_MUST_CHECK;
/* The same for a slot that was just allocated (no verification). */
struct adit_inode_pm *adit__cs_new_inode(struct adit_cs *, uint64_t ino);

/* Fresh memory: blocks that this change set allocated and nothing points to.
 * The bytes are durable at commit, before the record is. */
void adit__cs_fresh(struct adit_cs *, uint64_t offset, const void *bytes, size_t len);
void adit__cs_fresh_zero(struct adit_cs *, uint64_t offset, size_t len);

/* In-place data (G2's exception): durable with the record's fence, torn at 8
 * bytes at worst.  Only after adit__data_settled (I8). */
void adit__cs_data(struct adit_cs *, uint64_t offset, const void *bytes, size_t len);

/* This change set logs data (kind DATA) of the inode: its data_seq becomes the
 * record's sequence number when it is applied (I8). */
void adit__cs_note_data(struct adit_cs *, uint64_t ino);

/* Bytes that may still be added before the record is full. */
size_t adit__cs_room(const struct adit_cs *);
/* True when anything was put. */
bool adit__cs_dirty(const struct adit_cs *);

/* The record is durable and applied when this returns 0.  The set is then
 * empty and may be filled again (a further step of a big operation); the
 * inode copies are forgotten: ask again.  On error nothing has happened. */
int adit__cs_commit(struct adit_cs *) ADIT_MUST_CHECK;
/* Forget everything put so far, give back reservations. */
void adit__cs_drop(struct adit_cs *);
struct adit_fs *adit__cs_fs(const struct adit_cs *);

/* The lane's intent (I9), written with the record. type NONE clears it. */
void adit__cs_intent(struct adit_cs *, uint32_t type, uint64_t ino, uint32_t generation,
		     uint64_t a, uint64_t b, uint64_t c, uint64_t d);

/* Everything committed so far becomes applied, durable in place, and its
 * ring space and quarantined blocks free.  Safe with inode locks held, not
 * with group or shard locks. */
int adit__checkpoint(struct adit_fs *);
/* ---- others' deaths (repair.c) ------------------------------------------------ */

/* dead: a byte for each participant. */
bool adit__is_still(const struct adit_fs *, const uint8_t *dead);
/* Pre: the gate is closed, adit__is_still.  Returns how many operations were inherited; slots: up to one
 * a lane, each to be given to adit__finish_inherited when the gate is open again, by a thread that holds nothing. */
uint32_t adit__repair(struct adit_fs *, const uint8_t *dead, uint32_t *slots);
int adit__finish_inherited(struct adit_fs *, uint32_t slot);
/* Was the participant in no operation when it died?  Then nothing stands still for it: */
bool adit__died_idle(const struct adit_fs *, uint32_t participant);
/* its slots and advisory locks are free and what it had open is ours to close (adit__holds_finish).  False: its locks are
 * in use just now; a repair is to do it. */
bool adit__take_over(struct adit_fs *, uint32_t participant) ADIT_MUST_CHECK;
/* In a child of fork that has a private copy of everything: what other threads held is free. */
void adit__forget_operations(struct adit_fs *);

/* ---- growing (grow.c) -------------------------------------------------------------- */

/* As many of these blocks as a pool can have, or why it cannot grow to them: -EINVAL it would shrink, or what is
 * added could hold nothing; -EFBIG; -EUCLEAN run fsck first. */
int adit__grow_fit(struct adit_fs *, uint64_t blocks, uint64_t *out) ADIT_MUST_CHECK;
/* Map so much, which is not part of the pool yet. */
int adit__grow_map(struct adit_fs *, uint64_t blocks) ADIT_MUST_CHECK;
/* Write, durably, what the pool will need beyond its end, which the medium reaches and which is mapped; blocks from
 * zero_from on read as zeros.  Nothing that counts is changed. */
int adit__grow_prepare(struct adit_fs *, uint64_t blocks, uint64_t zero_from) ADIT_MUST_CHECK;
/* Pre: prepared; as adit__repair, which it is for the rest. */
uint32_t adit__grow(struct adit_fs *, uint64_t blocks, const uint8_t *dead, uint32_t *slots);
/* Has the pool grown?  Then this process gets to know.  Within an operation, or with the gate's lock. */
void adit__follow_now(struct adit_fs *);
static inline void adit__follow(struct adit_fs *fs)
{
	uint64_t blocks = __atomic_load_n(&fs->vol->pool_blocks, __ATOMIC_RELAXED);

	if (ADIT_UNLIKELY(blocks != __atomic_load_n(&fs->pool_blocks, __ATOMIC_ACQUIRE)))
		adit__follow_now(fs);
}
/* The end of the pool for who reads without an operation. */
static inline uint64_t adit__pool_end(const struct adit_fs *fs)
{
	return __atomic_load_n(&fs->pool_blocks, __ATOMIC_ACQUIRE);
}

/* Replays what is above C.  Called once by open, before anyone else. */
int adit__log_recover(struct adit_fs *) ADIT_MUST_CHECK;
int adit__log_init(struct adit_fs *) ADIT_MUST_CHECK; /* volatile part */
int adit__log_join(struct adit_fs *) ADIT_MUST_CHECK; /* of a pool that others have open */
void adit__log_finish(struct adit_fs *);
/* After this no logged data of the file can be replayed over in-place
 * stores: runs a checkpoint when needed (I8). */
int adit__data_settled(struct adit_fs *, const struct adit_inode_pm *);

/* ---- seals and verification (seal.c) ---------------------------------------- */

/* Not careful, or no media error in these bytes; else says that what lies there is left as it is. */
bool adit__reachable(struct adit_fs *, uint64_t offset, uint64_t bytes, const char *what);

uint32_t adit__seal_crc(const struct adit_fs *, const void *structure, size_t from,
			size_t bytes, uint32_t magic);
/* Checked already in this process, or not yet: */
bool adit__verified(const struct adit_fs *, uint64_t offset);
/* The same for what begins a block; false beyond the pool. */
static inline bool adit__block_verified(const struct adit_fs *fs, uint64_t block)
{
	const struct adit_verified *v = __atomic_load_n(&fs->verified_block, __ATOMIC_ACQUIRE);

	return block < v->blocks &&
	       (__atomic_load_n(&v->bits[block / 64], __ATOMIC_RELAXED) >> block % 64 & 1);
}
void adit__set_verified(struct adit_fs *, uint64_t offset);
void adit__clear_verified(struct adit_fs *, uint64_t offset);
void adit__forget_verified(struct adit_fs *); /* all of it */
/* 0, -EUCLEAN (not such a structure), -EBADMSG (bad checksum); *why says what.
 * Each reader of a structure goes through these (style: one verify per type). */
int adit__verify_super(const struct adit_env *, const struct adit_super_pm *,
		       uint64_t pool_bytes, const char **why);
int adit__verify_root(struct adit_fs *, const struct adit_root_pm *, const char **why);
int adit__verify_inode(struct adit_fs *, const struct adit_inode_pm *, uint64_t ino,
		       const char **why);
int adit__verify_icluster(struct adit_fs *, const struct adit_icluster_pm *,
			  uint64_t ino, const char **why);
int adit__verify_group(struct adit_fs *, const struct adit_group_pm *, uint32_t group,
		       const char **why);
/* Is a record as long as its parts say?  For a look at one record apart from its leaf. */
bool adit__record_len_fits(const struct adit_rec_pm *, uint8_t tree_type);
int adit__verify_node(struct adit_fs *, const struct adit_node_pm *, uint64_t block,
		      uint64_t owner, uint8_t type, int level /* -1: any */,
		      const char **why);

/* ---- the pool (fs.c, mkfs.c) ------------------------------------------------ */

struct adit_mkfs_params {
	uint64_t pool_bytes;
	char label[ADIT_LABEL_MAX];
	uint8_t uuid[16];
	uint64_t hash_seed;
	uint32_t lanes;	       /* 0: by size */
	uint64_t group_blocks; /* 0: by size; power of two, at least 512 */
	uint32_t root_uid, root_gid, root_mode;
	bool zeroed; /* the range is known to read as zeros: skip clearing */
};
#define ADIT_POOL_MIN_BYTES (4ull << 20)
/* A crash before it returns leaves something that open refuses. */
int adit__core_mkfs(struct adit_pm *, const struct adit_env *, void *report_ctx,
		    const struct adit_mkfs_params *) ADIT_MUST_CHECK;
/* Clear both superblocks: no pool any more. */
void adit__core_wipe(struct adit_pm *);
#define ADIT_OPEN_RDONLY 1u
#define ADIT_OPEN_NO_RECOVERY 2u /* dump: look, change nothing but the volatile region */
#define ADIT_OPEN_MAKING 4u	 /* mkfs itself */
#define ADIT_OPEN_JOIN 8u	 /* others have it open: nothing is recovered, nothing begins anew */
/* While it runs *out is the handle already, so that whoever jumps out of it after a media fault can abandon
 * it; NULL after an error. */
int adit__core_open(struct adit_fs **out, const struct adit_pm *, const struct adit_env *,
		    void *report_ctx, unsigned flags) ADIT_MUST_CHECK;
/* Checkpoint, mark clean, free.  No operation may be under way. */
int adit__core_close(struct adit_fs *);
/* Without freeing the handle: adit__core_abandon follows. */
int adit__core_settle(struct adit_fs *) ADIT_MUST_CHECK;
/* In a child of fork, which is the participant `me`: gives up what is private and may have been in use by a
 * thread of the parent's, which is not here. */
void adit__core_forked(struct adit_fs *, uint32_t me);
/* Close without the checkpoint or the mark: what a kill leaves (tests). */
void adit__core_abandon(struct adit_fs *);

struct adit_statfs {
	uint64_t blocks, free, available, inodes_used;
};
void adit__core_statfs(struct adit_fs *, struct adit_statfs *);
/* Sums over the lanes: free blocks that no record uses, quarantine included; used inodes. */
uint64_t adit__total_free(const struct adit_fs *);
uint64_t adit__total_inodes(const struct adit_fs *);

#endif
