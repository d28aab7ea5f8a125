/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Operations: which locks and which lane a call holds, so that they can be let
 * go of from anywhere (a media fault included).
 *
 * Global order of locks (I2): lane, rename_lock, inode stripes ascending,
 * shard_lock, orphan_lock, grow_lock, group locks, ckpt_lock.
 */
#include "core/inode.h"
#include "core/linux_abi.h"
#include "core/log.h"

/* ---- slots ------------------------------------------------------------------- */

uint32_t adit__op_slots(uint64_t pool_blocks, uint64_t vol_bytes, uint32_t lanes, bool *lanes_too)
{
	static const uint32_t sizes[] = {4096, 2048, 256};
	unsigned i = pool_blocks < 16384 ? 2 : pool_blocks < 262144 ? 1 : 0;
	uint64_t n = sizes[i];
	uint64_t sets = lanes * sizeof(struct adit_vol_set);
	uint64_t least = sizeof(struct adit_vol_stripe);
	/* A participant for four slots. */
	uint64_t each = sizeof(struct adit_vol_op) + sizeof(struct adit_vol_participant) / 4;

	for (*lanes_too = false; !*lanes_too && i < 3; i++) {
		*lanes_too = vol_bytes > sets && vol_bytes - sets >= sizes[i] * each + least;
		if (*lanes_too)
			n = sizes[i];
	}
	/* Made before there were slots: a few, for this process alone. */
	if (!*lanes_too)
		n = min_u64(n, max_u64((vol_bytes - least) / 2 / sizeof(struct adit_vol_op), 1));
	return (uint32_t)n;
}

static uint64_t owner_word(const struct adit_fs *fs)
{
	return (uint64_t)fs->incarnation << 32 | (fs->me + 1);
}

/* One of ours that is idle, or one that is nobody's. */
static bool claim_slot(const struct adit_fs *fs, struct adit_vol_op *slot)
{
	uint64_t me = owner_word(fs), owner = __atomic_load_n(&slot->owner, __ATOMIC_RELAXED);
	uint32_t idle = ADIT_OP_IDLE;

	if (owner == me)
		return __atomic_compare_exchange_n(&slot->state, &idle, ADIT_OP_RUNNING, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	if (owner >> 32 == fs->incarnation && owner != (uint64_t)fs->incarnation << 32)
		return false;
	/* Running first: once it is ours, other threads of ours may look for an idle one. */
	if (!__atomic_compare_exchange_n(&slot->owner, &owner, me | ADIT_OP_CLAIMED, false,
					 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	slot->nlocks = 0;
	slot->lane = 0;
	__atomic_store_n(&slot->state, ADIT_OP_RUNNING, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->owner, me, __ATOMIC_SEQ_CST);
	return true;
}

static struct adit_vol_op *find_slot(struct adit_fs *fs, uint32_t *hint)
{
	for (;;) {
		/* Threads of a process begin apart from each other, processes too. */
		uint32_t first = (fs->me * 8 + (uint32_t)(hint - fs->op_of)) % fs->nops;

		for (uint32_t i = 0; i < fs->nops; i++) {
			uint32_t at = first + i < fs->nops ? first + i : first + i - fs->nops;

			if (claim_slot(fs, &fs->ops[at])) {
				__atomic_store_n(hint, at, __ATOMIC_RELAXED);
				return &fs->ops[at];
			}
		}
		fs->env->yield();
	}
}

static void give_slot(struct adit_vol_op *slot)
{
	__atomic_store_n(&slot->state, ADIT_OP_IDLE, __ATOMIC_RELEASE);
}

/* Whoever closes the gate looks at the slots afterwards: it sees that we run, or we see that it is closed. */
static bool gate_is_closed(const struct adit_fs *fs)
{
	return ADIT_UNLIKELY(__atomic_load_n(&fs->vol->gate, __ATOMIC_SEQ_CST) & 1);
}

/* While an operation runs, the gate stays as it is: what was true of the size here stays true (I25). */
static bool may_go_on(struct adit_fs *fs)
{
	if (gate_is_closed(fs))
		return false;
	adit__follow(fs);
	return true;
}

static struct adit_vol_op *take_slot(struct adit_fs *fs)
{
	uint32_t *hint = &fs->op_of[fs->env->thread_hint() % 64];

#ifdef ADIT_PRIVATE /* see core.h */
	return &fs->ops[hint - fs->op_of];
#endif
	for (;;) {
		struct adit_vol_op *slot = &fs->ops[__atomic_load_n(hint, __ATOMIC_RELAXED)];
		uint32_t idle = ADIT_OP_IDLE;

		if (ADIT_UNLIKELY(__atomic_load_n(&slot->owner, __ATOMIC_RELAXED) != owner_word(fs) ||
				  !__atomic_compare_exchange_n(&slot->state, &idle, ADIT_OP_RUNNING,
							       false, __ATOMIC_SEQ_CST,
							       __ATOMIC_RELAXED)))
			slot = find_slot(fs, hint);
		if (ADIT_LIKELY(may_go_on(fs)))
			return slot;
		give_slot(slot);
		fs->env->wait_gate(fs);
	}
}

void adit__op_park(struct adit_op *op)
{
	__atomic_store_n(&op->held->state, ADIT_OP_PARKED, __ATOMIC_SEQ_CST);
}

void adit__op_unpark(struct adit_op *op)
{
	for (;;) {
		__atomic_store_n(&op->held->state, ADIT_OP_RUNNING, __ATOMIC_SEQ_CST);
		if (may_go_on(op->fs))
			return;
		adit__op_park(op);
		op->fs->env->wait_gate(op->fs);
	}
}

/* ---- the operation's memory of its locks ------------------------------------ */

static struct adit_lock *lock_of(const struct adit_op *op, uint32_t i)
{
	return adit__at(op->fs, op->held->lock[i] & ~1ull);
}

static void remember(struct adit_op *op, struct adit_lock *lock, bool exclusive)
{
	op->held->lock[op->held->nlocks++] = adit__offset_of(op->fs, lock) | exclusive;
}

bool adit__op_holds(const struct adit_op *op, const struct adit_lock *lock)
{
	for (uint32_t i = 0; i < op->held->nlocks; i++)
		if (lock_of(op, i) == lock)
			return true;
	return false;
}

void adit__op_lock(struct adit_op *op, struct adit_lock *lock, bool exclusive)
{
	if (adit__op_holds(op, lock))
		return;
	op->fs->env->lock(lock, op->fs->incarnation, exclusive);
	remember(op, lock, exclusive);
}

bool adit__op_trylock(struct adit_op *op, struct adit_lock *lock, bool exclusive)
{
	if (adit__op_holds(op, lock))
		return true;
	if (!op->fs->env->trylock(lock, op->fs->incarnation, exclusive))
		return false;
	remember(op, lock, exclusive);
	return true;
}

static bool is_inode_lock(const struct adit_op *op, const struct adit_lock *lock)
{
	const struct adit_vol_stripe *s = op->fs->stripe;

	return (const void *)lock >= (const void *)s &&
	       (const void *)lock < (const void *)(s + op->fs->stripe_mask + 1);
}

/* The stripe's version is odd while its lock is held exclusively. What a crash
 * left odd is even again after the first holder. */
static void begin_changes(struct adit_lock *lock)
{
	uint64_t *version = &((struct adit_vol_stripe *)lock)->version;

	__atomic_store_n(version, (__atomic_load_n(version, __ATOMIC_RELAXED) + 1) | 1,
			 __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void end_changes(struct adit_lock *lock)
{
	uint64_t *version = &((struct adit_vol_stripe *)lock)->version;

	__atomic_store_n(version, __atomic_load_n(version, __ATOMIC_RELAXED) + 1,
			 __ATOMIC_RELEASE);
}

static void unlock_nth(struct adit_op *op, uint32_t i)
{
	struct adit_lock *lock = lock_of(op, i);
	bool exclusive = op->held->lock[i] & 1;

	op->held->nlocks--;
	op->held->lock[i] = op->held->lock[op->held->nlocks];
	if (exclusive && is_inode_lock(op, lock))
		end_changes(lock);
	op->fs->env->unlock(lock, exclusive);
}

void adit__op_unlock_one(struct adit_op *op, struct adit_lock *lock)
{
	for (uint32_t i = 0; i < op->held->nlocks; i++)
		if (lock_of(op, i) == lock) {
			unlock_nth(op, i);
			return;
		}
}

void adit__lock_below(struct adit_fs *fs, struct adit_lock *lock, bool exclusive)
{
	struct adit_op *op = *fs->env->current_op();

	fs->env->lock(lock, fs->incarnation, exclusive);
	if (op)
		remember(op, lock, exclusive);
}

bool adit__trylock_below(struct adit_fs *fs, struct adit_lock *lock, bool exclusive)
{
	struct adit_op *op = *fs->env->current_op();

	if (!fs->env->trylock(lock, fs->incarnation, exclusive))
		return false;
	if (op)
		remember(op, lock, exclusive);
	return true;
}

void adit__unlock_below(struct adit_fs *fs, struct adit_lock *lock, bool exclusive)
{
	struct adit_op *op = *fs->env->current_op();

	if (op)
		adit__op_unlock_one(op, lock);
	else
		fs->env->unlock(lock, exclusive);
}

void adit__op_unlock_aux(struct adit_op *op)
{
	for (uint32_t i = op->held->nlocks; i-- > 0;)
		if (!is_inode_lock(op, lock_of(op, i)))
			unlock_nth(op, i);
}

void adit__op_unlock(struct adit_op *op)
{
	while (op->held->nlocks > 0)
		unlock_nth(op, op->held->nlocks - 1);
}

/* ---- inode locks --------------------------------------------------------------- */

static uint64_t stripe_of(const struct adit_fs *fs, uint64_t ino)
{
	return ((ino * 0x9e3779b97f4a7c15ull) >> 32) & fs->stripe_mask;
}

struct adit_lock *adit__inode_lock_of(const struct adit_fs *fs, uint64_t ino)
{
	return &fs->stripe[stripe_of(fs, ino)].lock;
}

static void lock_stripe(struct adit_op *op, struct adit_lock *lock, bool exclusive)
{
	op->fs->env->lock(lock, op->fs->incarnation, exclusive);
	remember(op, lock, exclusive);
	if (exclusive)
		begin_changes(lock);
}

#if defined(__SANITIZE_THREAD__)
#define GLANCING false
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GLANCING false
#endif
#endif
#ifndef GLANCING
#define GLANCING true
#endif

bool adit__glance(const struct adit_fs *fs, uint64_t ino, uint64_t *version)
{
	*version = __atomic_load_n(&fs->stripe[stripe_of(fs, ino)].version, __ATOMIC_ACQUIRE);
	/* After the version: who stopped the pool did so before it let go of the lock. */
	return GLANCING && (*version & 1) == 0 && !adit__has_stopped(fs);
}

bool adit__glance_valid(const struct adit_fs *fs, uint64_t ino, uint64_t version)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&fs->stripe[stripe_of(fs, ino)].version, __ATOMIC_RELAXED) ==
	       version;
}

void adit__lock_inode(struct adit_op *op, uint64_t ino, bool exclusive)
{
	struct adit_lock *lock = adit__inode_lock_of(op->fs, ino);

	lock_stripe(op, lock, exclusive);
}

void adit__lock_inodes(struct adit_op *op, const uint64_t *ino, unsigned n,
		       unsigned exclusive_mask)
{
	struct adit_lock *lock[4];
	bool exclusive[4];
	unsigned m = 0;

	for (unsigned i = 0; i < n; i++) {
		struct adit_lock *l;
		bool x = exclusive_mask >> i & 1;
		unsigned at = 0;

		if (ino[i] == ADIT_INO_NONE)
			continue;
		l = adit__inode_lock_of(op->fs, ino[i]);
		while (at < m && lock[at] < l)
			at++;
		if (at < m && lock[at] == l) {
			exclusive[at] |= x;
			continue;
		}
		for (unsigned k = m; k > at; k--) {
			lock[k] = lock[k - 1];
			exclusive[k] = exclusive[k - 1];
		}
		lock[at] = l;
		exclusive[at] = x;
		m++;
	}
	for (unsigned i = 0; i < m; i++)
		lock_stripe(op, lock[i], exclusive[i]);
}

bool adit__trylock_inode(struct adit_op *op, uint64_t ino, bool exclusive)
{
	struct adit_lock *lock = adit__inode_lock_of(op->fs, ino);

	for (uint32_t i = 0; i < op->held->nlocks; i++)
		if (lock_of(op, i) == lock)
			return op->held->lock[i] & 1 || !exclusive;
	if (!adit__op_trylock(op, lock, exclusive))
		return false;
	if (exclusive)
		begin_changes(lock);
	return true;
}

/* ---- begin and end ---------------------------------------------------------------- */

void adit__op_begin(struct adit_op *op, struct adit_fs *fs)
{
	if (ADIT_UNLIKELY(fs->pm.guarded))
		fs->env->stores(fs);
	op->fs = fs;
	op->cs = NULL;
	op->held = take_slot(fs);
	*fs->env->current_op() = op;
}

static void end(struct adit_op *op)
{
	*op->fs->env->current_op() = NULL;
	op->held->lane = 0;
	give_slot(op->held);
}

bool adit__op_need(struct adit_op *op, struct adit_fs *fs)
{
	if (*fs->env->current_op())
		return false;
	adit__op_begin(op, fs);
	return true;
}

/* The lane is locked: its change set becomes the operation's. */
static int use_lane(struct adit_op *op, uint32_t lane)
{
	struct adit_fs *fs = op->fs;

	if (!fs->lane_cs[lane])
		fs->lane_cs[lane] = adit__cs_create(fs, lane);
	if (!fs->lane_cs[lane]) {
		fs->env->unlock(&fs->vol->lane[lane].lock, true);
		return -ENOMEM;
	}
	op->cs = fs->lane_cs[lane];
	op->held->lane = lane + 1;
	return 0;
}

int adit__op_begin_lane(struct adit_op *op, struct adit_fs *fs, uint32_t lane)
{
	int err;

	adit__op_begin(op, fs);
	fs->env->lock(&fs->vol->lane[lane].lock, fs->incarnation, true);
	err = use_lane(op, lane);
	if (err)
		adit__op_end(op);
	return err;
}

int adit__op_begin_inherited(struct adit_op *op, struct adit_fs *fs, uint32_t slot)
{
	int err;

	op->fs = fs;
	op->cs = NULL;
	op->held = &fs->ops[slot];
	adit__op_unpark(op);
	*fs->env->current_op() = op;
	err = use_lane(op, (uint32_t)op->held->lane - 1);
	if (err)
		adit__stop(fs); /* it stays as it is, and with it the locks */
	return err;
}

static int take_lane(struct adit_op *op)
{
	struct adit_fs *fs = op->fs;
	uint32_t first = adit__place_hint(fs) % fs->lanes, lane = first;

	/* Somebody else's lane is as good; when all are busy, wait for ours. */
	for (uint32_t i = 0; i < fs->lanes; i++) {
		lane = first + i < fs->lanes ? first + i : first + i - fs->lanes;
		if (fs->env->trylock(&fs->vol->lane[lane].lock, fs->incarnation, true))
			return use_lane(op, lane);
	}
	fs->env->lock(&fs->vol->lane[first].lock, fs->incarnation, true);
	return use_lane(op, first);
}

#define SHORT_BLOCKS 512u /* and the reserve: what is left then may not do for the next call */

static bool is_short_of_space(const struct adit_fs *fs)
{
	return __atomic_load_n(&fs->vol->free_blocks, __ATOMIC_RELAXED) <
	       get64_relaxed(&fs->super.reserve_blocks) + SHORT_BLOCKS;
}

int adit__op_begin_write(struct adit_op *op, struct adit_fs *fs)
{
	int err;

	if (fs->read_only)
		return -EROFS;
	if (adit__has_stopped(fs))
		return -EIO;
	if (ADIT_UNLIKELY(is_short_of_space(fs)))
		fs->env->short_of_space(fs);
	adit__op_begin(op, fs);
	err = take_lane(op);
	while (!err && !adit__lane_has_room(fs, op->cs->lane)) {
		err = adit__checkpoint(fs);
		if (!adit__lane_has_room(fs, op->cs->lane))
			fs->env->yield();
	}
	if (err)
		adit__op_end(op);
	return err;
}

static bool checkpoint_is_due(const struct adit_fs *fs, uint32_t lane)
{
	const struct adit_vol_lane *vl = &fs->vol->lane[lane];

	return vl->head - __atomic_load_n(&vl->tail, __ATOMIC_RELAXED) > fs->ring_bytes / 2;
}

void adit__op_end_read(struct adit_op *op)
{
	adit__op_unlock(op);
	end(op);
}

void adit__op_abort(struct adit_op *op)
{
	struct adit_fs *fs = op->fs;

	/* What is below takes locks in its name. */
	*fs->env->current_op() = op;
	fs->careful = fs->media_error = true;
	if (op->cs && op->cs->applying)
		adit__stop(fs);
	/* Dropping the set takes group locks, one of which may be held. */
	adit__op_unlock_aux(op);
	adit__op_end(op);
}

void adit__op_end(struct adit_op *op)
{
	struct adit_fs *fs = op->fs;
	bool due = false;

	if (op->cs) {
		if (op->cs->applying)
			adit__stop(fs);
		else
			adit__cs_drop(op->cs);
		due = checkpoint_is_due(fs, op->cs->lane);
	}
	adit__op_unlock(op);
	if (op->cs) {
		op->held->lane = 0;
		fs->env->unlock(&fs->vol->lane[op->cs->lane].lock, true);
		op->cs = NULL;
	}
	if (due)
		adit__checkpoint_due(fs);
	end(op);
}
