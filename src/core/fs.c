/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Opening and closing a pool.
 *
 * Open: superblock (either copy) -> new incarnation, durable -> volatile region
 * -> root block (or its replica) -> checkpoint slot -> recovery of the log ->
 * unfinished intents -> orphans.  None of it depends on how much is stored.
 */
#include "core/alloc.h"
#include "core/file.h"
#include "core/inode.h"
#include "core/linux_abi.h"
#include "core/log.h"

void adit__fs_geometry(struct adit_fs *fs)
{
	const struct adit_super_pm *s = &fs->super;
	uint64_t stripes, bytes;
	bool lanes_too;

	memcpy(&fs->uuid_tag, s->uuid, 4);
	fs->uuid_tag = get32((le32){fs->uuid_tag});
	fs->pool_blocks = get64(s->pool_blocks);
	fs->group_blocks = get64(s->group_blocks);
	fs->group_shift = (uint32_t)__builtin_ctzll(fs->group_blocks);
	fs->groups = get32(s->groups);
	fs->bitmap_blocks = (uint32_t)((fs->group_blocks + 8 * ADIT_BLOCK - 1) / (8 * ADIT_BLOCK));
	fs->first_block = get64(s->meta_start) +
			  (uint64_t)get32(s->cluster_groups) * (3 + 2 * fs->bitmap_blocks);
	fs->cluster_blocks = get32(s->cluster_groups) * fs->group_blocks;
	fs->lanes = get32(s->lanes);
	fs->ring_bytes = (uint64_t)get32(s->lane_blocks) * ADIT_BLOCK;
	fs->hash_seed = get64(s->hash_seed);
	fs->root = adit__block_at(fs, get64(s->root_block));
	fs->vol = adit__block_at(fs, get64(s->vol_start));
	bytes = get64(s->vol_blocks) * ADIT_BLOCK - sizeof(struct adit_vol);
	fs->nops = adit__op_slots(fs->pool_blocks, bytes, fs->lanes, &lanes_too);
	fs->ops = (struct adit_vol_op *)(fs->vol + 1);
	fs->alone = ADIT_IS_PRIVATE || !lanes_too;
	fs->stripe = (struct adit_vol_stripe *)(fs->ops + fs->nops);
	if (lanes_too) {
		fs->sets = (struct adit_vol_set *)(fs->ops + fs->nops);
		fs->participants = (struct adit_vol_participant *)(fs->sets + fs->lanes);
		fs->nparticipants = fs->nops / 4;
		fs->stripe = (struct adit_vol_stripe *)(fs->participants + fs->nparticipants);
	}
	bytes -= (uint64_t)((uint8_t *)fs->stripe - (uint8_t *)fs->ops);
	for (stripes = 1; stripes * 2 * sizeof(struct adit_vol_stripe) <= bytes; stripes *= 2)
		;
	fs->stripe_mask = stripes - 1;
}

static bool super_is_readable(const struct adit_fs *fs, uint64_t block)
{
	return fs->env->readable(adit__block_at(fs, block), ADIT_BLOCK);
}

void adit__super_store(struct adit_fs *fs)
{
	static const uint64_t order[2][2] = {{ADIT_SUPER_COPY, 0}, {0, ADIT_SUPER_COPY}};
	const char *why = NULL;
	/* The copy that is whole stays whole until the other one is: on the medium, too, although a
	 * killed process may have left it in the caches only. */
	bool first_is_bad = !super_is_readable(fs, 0) ||
			    adit__verify_super(fs->env, adit__block_at(fs, 0),
					       fs->pm.size_bytes, &why) != 0;
	const uint64_t *place = order[first_is_bad];

	fs->super.crc = put32(adit__seal_crc(fs, &fs->super, ADIT_SUPER_SEAL_FROM,
					     sizeof fs->super, ADIT_MAGIC_SUPER));
	if (super_is_readable(fs, place[1]))
		adit__pm_flush(&fs->pm, adit__block_at(fs, place[1]), sizeof fs->super);
	adit__pm_fence(&fs->pm);
	for (unsigned i = 0; i < 2; i++) {
		void *at = adit__block_at(fs, place[i]);

		if (!super_is_readable(fs, place[i]))
			continue;
		adit__pm_store(&fs->pm, at, &fs->super, sizeof fs->super);
		adit__pm_flush(&fs->pm, at, sizeof fs->super);
		adit__pm_fence(&fs->pm);
	}
}

/* ---- open ----------------------------------------------------------------- */

static int check_features(struct adit_fs *fs, bool *read_only)
{
	const struct adit_super_pm *s = &fs->super;
	uint64_t incompat = get64(s->incompat) & ~ADIT_INCOMPAT_KNOWN;
	uint64_t ro = get64(s->ro_compat) & ~ADIT_ROCOMPAT_KNOWN;

	if (incompat) {
		adit__report(fs, "superblock: needs incompatible features %#llx%s "
			     "that this version does not know",
			     (unsigned long long)incompat,
			     incompat & ADIT_INCOMPAT_REFLINK ? " (reflink)" : "");
		return -EOPNOTSUPP;
	}
	if (get32(s->owner) == ADIT_OWNER_KERNEL) {
		adit__report(fs, "superblock: the pool is in use by a kernel");
		return -EBUSY;
	}
	if (ro && !*read_only) {
		adit__report(fs, "superblock: features %#llx%s are unknown: open it read-only",
			     (unsigned long long)ro,
			     ro & ADIT_ROCOMPAT_SNAPSHOTS ? " (snapshots)" : "");
		return -EROFS;
	}
	return 0;
}

static bool same_part(const struct adit_super_pm *a, const struct adit_super_pm *b, size_t from,
		      size_t to)
{
	return memcmp((const uint8_t *)a + from, (const uint8_t *)b + from, to - from) == 0;
}

/* A crash while it was written tears a copy in what opening, growing and closing change (checksum, size,
 * incarnation, reserve, owner, state); that is no damage. */
static bool super_is_torn(const struct adit_super_pm *s, const struct adit_super_pm *whole)
{
	return same_part(s, whole, 4, offsetof(struct adit_super_pm, pool_blocks)) &&
	       get64(s->group_blocks) == get64(whole->group_blocks) &&
	       same_part(s, whole, offsetof(struct adit_super_pm, cluster_groups),
			 offsetof(struct adit_super_pm, incarnation)) &&
	       same_part(s, whole, offsetof(struct adit_super_pm, hash_seed),
			 offsetof(struct adit_super_pm, reserve_blocks)) &&
	       same_part(s, whole, offsetof(struct adit_super_pm, label), sizeof *s);
}

/* A media error took one copy (or both).  The other will do for reading; whoever writes needs two, one of
 * which is whole while the other one is written. */
static int read_one_super(struct adit_fs *fs)
{
	uint64_t left = super_is_readable(fs, 0) ? 0 : ADIT_SUPER_COPY;
	const struct adit_super_pm *s = adit__block_at(fs, left);
	const char *why = NULL;
	int err = -EIO;

	if (super_is_readable(fs, left))
		err = adit__verify_super(fs->env, s, fs->pm.size_bytes, &why);
	else
		why = "cannot be read either";
	if (err) {
		adit__report(fs, "superblock: media error; its other copy: %s", why);
		return err;
	}
	adit__report(fs, "%s: media error%s", left ? "superblock" : "superblock (second copy)",
		     fs->read_only ? "" : "; the pool can be opened read-only");
	fs->super = *s;
	return fs->read_only ? 0 : -EIO;
}

static int read_super(struct adit_fs *fs)
{
	const struct adit_super_pm *s = adit__block_at(fs, 0);
	const struct adit_super_pm *copy = adit__block_at(fs, ADIT_SUPER_COPY);
	const char *why = NULL, *why_copy = NULL;
	int err, err_copy;

	if (fs->pm.size_bytes < ADIT_POOL_MIN_BYTES) {
		adit__report(fs, "the medium is too small for a pool (%llu bytes)",
			     (unsigned long long)fs->pm.size_bytes);
		return -EUCLEAN;
	}
	if (!super_is_readable(fs, 0) || !super_is_readable(fs, ADIT_SUPER_COPY))
		return read_one_super(fs);
	err = adit__verify_super(fs->env, s, fs->pm.size_bytes, &why);
	if (err == 0) {
		fs->super = *s;
		return 0;
	}
	err_copy = adit__verify_super(fs->env, copy, fs->pm.size_bytes, &why_copy);
	if (err_copy || !super_is_torn(s, copy))
		adit__report(fs, "superblock: %s", why);
	if (err_copy == 0) {
		fs->super = *copy;
		return 0;
	}
	adit__report(fs, "superblock (second copy): %s", why_copy);
	return err == -EUCLEAN ? err_copy : err;
}

static int alloc_private(struct adit_fs *fs)
{
	fs->verified = fs->env->alloc(ADIT_VERIFIED_SLOTS * sizeof *fs->verified);
	fs->verified_block = adit__verified_make(fs, fs->pool_blocks);
	fs->cluster_cache = fs->env->alloc(ADIT_CLUSTER_CACHE * sizeof *fs->cluster_cache);
	if (fs->alone)
		fs->sets = fs->env->alloc(fs->lanes * sizeof *fs->sets);
	return fs->verified && fs->verified_block && fs->cluster_cache && fs->sets ? 0 : -ENOMEM;
}

/* Words of the region that are not tagged with the incarnation start here. */
static void volatile_init(struct adit_fs *fs)
{
	struct adit_vol *v = fs->vol;

	memset(v, 0, sizeof *v);
	v->incarnation = fs->incarnation;
	v->pool_blocks = fs->pool_blocks;
}

static bool record_names_root(const struct adit_record_pm *r)
{
	for (size_t at = sizeof *r; at < get32(r->len);) {
		const struct adit_entry_pm *e = adit__entry_at((const uint8_t *)r, at);

		if (e->kind == ADIT_KIND_ROOT)
			return true;
		at += adit__entry_bytes(e);
	}
	return false;
}

/* Will replay change the root block?  Its own dirty_seq cannot tell: it lies in another line than what
 * changed, and either line may have reached the medium alone. */
static bool log_names_root(const struct adit_fs *fs)
{
	for (uint32_t lane = 0; lane < fs->lanes; lane++) {
		uint64_t pos = fs->vol->lane[lane].tail, limit = pos + fs->ring_bytes;

		while (pos < limit) {
			const struct adit_record_pm *r = adit__record_at(fs, lane, pos, true);
			bool pad;

			if (!r)
				break;
			pad = get16(r->flags) & ADIT_RECORD_PAD;
			if (!pad && get64(r->seq) <= fs->vol->c)
				break;
			if (!pad && record_names_root(r))
				return true;
			pos = adit__record_end(fs, r);
		}
	}
	return false;
}

/* A media error took the root block: its replica is as good where nothing is replayed to it, for reading. */
static int read_replica_only(struct adit_fs *fs, struct adit_root_pm *copy)
{
	const char *why = NULL;

	if (fs->read_only && !log_names_root(fs) && adit__verify_root(fs, copy, &why) == 0) {
		adit__report(fs, "root block: media error; its replica serves");
		fs->root = copy;
		return 0;
	}
	adit__report(fs, "root block: media error%s", fs->read_only ? "" :
		     "; a pool that was closed can be opened read-only");
	return -EIO;
}

/*
 * The root block, before the log is replayed.  A crash leaves its seal stale
 * when records above C changed it; the replica, written by checkpoints, then
 * serves, and replay brings it up to date.  A crash inside a checkpoint may
 * leave the replica torn as well: then the primary's own bytes are what replay
 * starts from, as for every other structure.
 */
static int read_root(struct adit_fs *fs)
{
	struct adit_root_pm *copy = adit__block_at(fs, get64(fs->super.root_copy));
	const char *why = NULL, *why_copy = NULL;
	bool stale;
	int err;

	if (!fs->env->readable(fs->root, ADIT_BLOCK))
		return read_replica_only(fs, copy);
	err = adit__verify_root(fs, fs->root, &why);
	stale = err == -EBADMSG && log_names_root(fs);
	if (err == 0)
		return 0;
	if (adit__verify_root(fs, copy, &why_copy) != 0) {
		if (stale)
			return 0;
		adit__report(fs, "root block: %s; its replica: %s", why, why_copy);
		return err;
	}
	adit__pm_store(&fs->pm, fs->root, copy, sizeof *copy);
	adit__pm_flush(&fs->pm, fs->root, sizeof *copy); /* the fence is claim_log's */
	if (!stale)
		adit__report(fs, "root block: %s; restored from its replica", why);
	return 0;
}

static int recover(struct adit_fs *fs)
{
	const char *why = NULL;
	int err = read_root(fs);

	if (!err)
		err = adit__log_recover(fs);
	if (!err && get32(fs->super.state) & ADIT_STATE_GROWING) {
		adit__grow_finish(fs, NULL);
		fs->vol->free_blocks = adit__total_free(fs);
	}
	if (!err) {
		err = adit__verify_root(fs, fs->root, &why);
		if (err)
			adit__report(fs, "root block: %s", why);
	}
	return err;
}

static int resume_intents(struct adit_fs *fs)
{
	const struct adit_intent_pm *table = adit__block_at(fs, get64(fs->super.intent_start));

	for (uint32_t lane = 0; lane < fs->lanes; lane++) {
		struct adit_intent_pm in = table[lane];
		struct adit_op op;
		int err;

		if (get32(in.type) == ADIT_INTENT_NONE)
			continue;
		err = adit__op_begin_lane(&op, fs, lane);
		if (err)
			return err;
		adit__lock_inode(&op, get64(in.ino), true);
		err = adit__file_resume(&op, &in);
		if (err) {
			/* Damage must not keep the rest from opening. */
			adit__report(fs, "lane %u: unfinished operation on inode %llu: error %d; "
				     "run fsck", lane, (unsigned long long)get64(in.ino), err);
		}
		adit__op_end(&op);
		if (err == -EIO || err == -ENOMEM)
			return err;
	}
	return 0;
}

static int free_orphan(struct adit_fs *fs, uint64_t ino)
{
	struct adit_inode_pm *ip;
	struct adit_op op;
	int err = adit__op_begin_write(&op, fs);

	if (err)
		return err;
	adit__lock_inode(&op, ino, true);
	err = adit__cs_inode(op.cs, ino, &ip);
	if (!err && get32(ip->nlink) != 0)
		err = -EUCLEAN;
	if (!err)
		err = adit__orphan_remove(&op, ip);
	if (!err) {
		adit__cs_intent(op.cs, ADIT_INTENT_FREE, ino, get32(ip->generation), 0, 0, 0, 0);
		err = adit__cs_commit(op.cs);
	}
	if (!err)
		err = adit__inode_destroy(&op, ino);
	adit__op_end(&op);
	return err;
}

/* Nobody has them open any more. A damaged list is left to fsck. */
static int free_orphans(struct adit_fs *fs)
{
	for (unsigned list = 0; list < ADIT_SHARDS; list++) {
		uint64_t ino;

		while ((ino = get64(fs->root->orphan[list])) != 0) {
			int err = free_orphan(fs, ino);

			if (err == -EIO || err == -ENOMEM)
				return err;
			if (err) {
				adit__report(fs, "orphan list %u: inode %llu: error %d; run fsck",
					     list, (unsigned long long)ino, err);
				break;
			}
		}
	}
	return 0;
}

static void fs_free(struct adit_fs *fs)
{
	const struct adit_env *env = fs->env;

	adit__log_finish(fs);
	env->free(fs->verified);
	while (fs->verified_block) {
		struct adit_verified *v = fs->verified_block;

		fs->verified_block = v->older;
		env->free(v);
	}
	env->free(fs->cluster_cache);
	if (fs->alone)
		env->free(fs->sets);
	env->free(fs);
}

/* Others have it open: it is whole, and what is volatile means something.  Pre: the gate's lock. */
static int join(struct adit_fs *fs)
{
	int err;

	fs->incarnation = (uint32_t)get64(fs->super.incarnation);
	if (fs->vol->incarnation != fs->incarnation || fs->alone) {
		adit__report(fs, "volatile region: of another incarnation than the superblock");
		return -EUCLEAN;
	}
	/* The first one in was of a version that knew no growth. */
	if (fs->vol->pool_blocks == 0)
		fs->vol->pool_blocks = fs->pool_blocks;
	err = alloc_private(fs);
	return err ? err : adit__log_join(fs);
}

static int open_checked(struct adit_fs *fs, unsigned flags)
{
	bool no_recovery = flags & ADIT_OPEN_NO_RECOVERY;
	int err;

	err = read_super(fs);
	if (!err)
		err = check_features(fs, &fs->read_only);
	if (!err && (get32(fs->super.state) & ADIT_STATE_MAKING) && !(flags & ADIT_OPEN_MAKING)) {
		adit__report(fs, "superblock: mkfs of this pool did not finish");
		err = -EUCLEAN;
	}
	if (err)
		return err;
	adit__fs_geometry(fs);
	if (flags & ADIT_OPEN_JOIN)
		return join(fs);
	fs->was_clean = get32(fs->super.state) & ADIT_STATE_CLEAN;
	fs->incarnation = (uint32_t)get64(fs->super.incarnation) + 1;
	fs->super.incarnation = put64(get64(fs->super.incarnation) + 1);
	/* Whoever only reads leaves the pool as closed as it was. */
	if (!fs->read_only) {
		fs->super.owner = put32(ADIT_OWNER_LIBRARY);
		fs->super.state = put32((get32(fs->super.state) & ~ADIT_STATE_CLEAN) |
					ADIT_STATE_OPEN);
	}
	if (!no_recovery)
		adit__super_store(fs);
	volatile_init(fs);
	err = alloc_private(fs);
	if (!err)
		err = adit__log_init(fs);
	if (err)
		return err;
	if (no_recovery)
		return read_root(fs);
	/* A fault that stopped the pool may lie under what is replayed. */
	fs->careful = true;
	err = recover(fs);
	if (!err) {
		/* Read-only: in private pages, as the replay. */
		bool read_only = fs->read_only;

		fs->read_only = false;
		err = resume_intents(fs);
		fs->read_only = read_only;
		if (!err && !read_only)
			err = free_orphans(fs);
	}
	fs->careful = fs->media_error;
	return err;
}

int adit__core_open(struct adit_fs **out, const struct adit_pm *pm, const struct adit_env *env,
		    void *report_ctx, unsigned flags)
{
	struct adit_fs *fs = env->alloc(sizeof *fs);
	int err;

	if (!fs)
		return -ENOMEM;
	fs->pm = *pm;
	fs->env = env;
	fs->report_ctx = report_ctx;
	fs->read_only = flags & (ADIT_OPEN_RDONLY | ADIT_OPEN_NO_RECOVERY);
	*out = fs;
	err = open_checked(fs, flags);
	if (err) {
		*out = NULL;
		fs_free(fs);
	}
	return err;
}

int adit__core_settle(struct adit_fs *fs)
{
	int err = 0;

	adit__follow(fs);
	if (!fs->read_only) {
		err = adit__checkpoint(fs);
		if (!err) {
			fs->super.owner = put32(ADIT_OWNER_NONE);
			fs->super.state = put32((get32(fs->super.state) & ADIT_STATE_DAMAGED) |
						ADIT_STATE_CLEAN);
			adit__super_store(fs);
		}
	}
	return err;
}

int adit__core_close(struct adit_fs *fs)
{
	int err = adit__core_settle(fs);

	fs_free(fs);
	return err;
}

void adit__core_forked(struct adit_fs *fs, uint32_t me)
{
	/* A thread of the parent's may have been filling any of these sets when it forked. Their memory is lost:
	 * nobody knows what state it is in. */
	memset(fs->lane_cs, 0, fs->lanes * sizeof(struct adit_cs *));
	adit__log_forked(fs);
	memset(fs->op_of, 0, sizeof fs->op_of);
	fs->following = 0;
	*fs->env->current_op() = NULL;
	fs->me = me;
}

void adit__core_abandon(struct adit_fs *fs)
{
	fs_free(fs);
}

uint64_t adit__total_free(const struct adit_fs *fs)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < fs->lanes; i++)
		sum += __atomic_load_n(&fs->vol->lane[i].free_blocks, __ATOMIC_RELAXED);
	return sum;
}

uint64_t adit__total_inodes(const struct adit_fs *fs)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < fs->lanes; i++)
		sum += __atomic_load_n(&fs->vol->lane[i].used_inodes, __ATOMIC_RELAXED);
	return sum;
}

void adit__core_statfs(struct adit_fs *fs, struct adit_statfs *out)
{
	struct adit_op op;
	bool own = adit__op_need(&op, fs); /* not while they are made anew; and of the size as it is now */
	uint64_t free = adit__total_free(fs);
	uint64_t keep = get64(fs->super.reserve_blocks);

	out->blocks = fs->pool_blocks;
	out->free = free;
	out->available = free > keep ? free - keep : 0;
	out->inodes_used = adit__total_inodes(fs);
	if (own)
		adit__op_end_read(&op);
}
