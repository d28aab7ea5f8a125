/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The whole of fsck on a mapped pool: what must be right before a pool can be
 * opened (superblock, checkpoint, root block), then open, check, close.
 *
 * A structure with a whole copy is restored from it.  Where no copy is whole,
 * what makes sense is kept and sealed anew; the check that follows finds what
 * does not fit together.  A pool whose medium ends early is cut to what is
 * there.
 *
 * Looking only, the same is done: the mapping is private, nothing of it stays.
 *
 * Until the pool is open there is no handle; a makeshift one serves, with the
 * superblock's geometry and a volatile region of its own (all zero: no record
 * is above C, every seal counts).
 */
#include "core/check_impl.h"

struct opening {
	struct adit_check ck;
	struct adit_fs fs;
	struct adit_vol *vol;
	struct adit_super_pm cand;
	struct adit_check_result res;
};

static bool looking(const struct adit_check *ck)
{
	return !(ck->opt->flags & (ADIT_CHECK_REPAIR | ADIT_CHECK_PREEN));
}

/* As adit__ck_found; true also when only looking: mend the private copy. */
static bool found(struct adit_check *ck, enum adit_check_severity severity, const char *structure,
		  uint64_t block, const char *message, const char *action)
{
	bool fixed = adit__ck_found(ck, severity, structure, 0, block, message, action);

	return fixed || (looking(ck) && action);
}

/* ---- superblock ------------------------------------------------------------ */

static const uint64_t super_place[2] = {0, ADIT_SUPER_COPY};

/* The largest pool of this layout that the medium holds (mkfs.c). */
static void cut_short(struct adit_super_pm *s, uint64_t medium_blocks)
{
	uint64_t group = get64(s->group_blocks), blocks = adit__fit_blocks(s, medium_blocks);

	s->pool_blocks = put64(blocks);
	s->groups = put32((uint32_t)((blocks + group - 1) / group));
}

/* Does the pool bear this superblock out?  Its first group and its root say whose they are. */
static bool borne_out(const struct adit_fs *fs, const struct adit_super_pm *s)
{
	const struct adit_group_pm *g = adit__block_at(fs, get64(s->meta_start));
	const struct adit_root_pm *r = adit__block_at(fs, get64(s->root_block));

	return (get32(g->magic) == ADIT_MAGIC_GROUP && memcmp(g->uuid, s->uuid, 16) == 0) ||
	       (get32(r->magic) == ADIT_MAGIC_ROOT && memcmp(r->uuid, s->uuid, 16) == 0);
}

static bool salvage_super(struct opening *o, uint64_t place, bool *early)
{
	struct adit_super_pm *s = &o->cand;
	uint64_t medium = o->fs.pm.size_bytes / ADIT_BLOCK, group;
	const char *why;

	*s = *(const struct adit_super_pm *)adit__block_at(&o->fs, place);
	if (get32(s->magic) != ADIT_MAGIC_SUPER && get32(s->version) != ADIT_FORMAT_VERSION)
		return false;
	s->magic = put32(ADIT_MAGIC_SUPER);
	s->version = put32(ADIT_FORMAT_VERSION);
	s->block_bytes = put32(ADIT_BLOCK);
	memset(s->reserved, 0, sizeof s->reserved);
	group = get64(s->group_blocks);
	*early = get64(s->pool_blocks) > medium;
	if (*early && group >= ADIT_HUGE_BLOCKS && group <= ADIT_GROUP_BLOCKS_MAX)
		cut_short(s, medium);
	s->crc = put32(adit__seal_crc(&o->fs, s, ADIT_SUPER_SEAL_FROM, sizeof *s,
				      ADIT_MAGIC_SUPER));
	return adit__verify_super(o->fs.env, s, o->fs.pm.size_bytes, &why) == 0 &&
	       borne_out(&o->fs, s);
}

/* Neither copy will do. */
static int rescue_super(struct opening *o, const char *why)
{
	bool early = false;

	for (unsigned i = 0; i < 2; i++) {
		if (!salvage_super(o, super_place[i], &early))
			continue;
		o->fs.super = o->cand;
		adit__fs_geometry(&o->fs);
		if (!found(&o->ck, early ? ADIT_CHECK_LOSS : ADIT_CHECK_ERROR, "superblock",
			   super_place[i], why,
			   early ? "cut the pool to what is there" :
				   "keep what makes sense of it"))
			return -EUCLEAN;
		adit__super_store(&o->fs);
		return 0;
	}
	adit__ck_found(&o->ck, ADIT_CHECK_LOSS, "superblock", 0, 0, why, NULL);
	return -EUCLEAN;
}

static int check_super(struct opening *o)
{
	const char *why[2] = {NULL, NULL};
	int err[2], good;

	if (o->fs.pm.size_bytes < ADIT_POOL_MIN_BYTES) {
		adit__ck_found(&o->ck, ADIT_CHECK_LOSS, "superblock", 0, 0,
			       "the medium is too small for a pool", NULL);
		return -EUCLEAN;
	}
	for (unsigned i = 0; i < 2; i++)
		err[i] = adit__verify_super(o->fs.env, adit__block_at(&o->fs, super_place[i]),
					    o->fs.pm.size_bytes, &why[i]);
	if (err[0] && err[1])
		return err[0] == -EOPNOTSUPP || err[1] == -EOPNOTSUPP ? -EOPNOTSUPP :
									rescue_super(o, why[0]);
	good = err[0] ? 1 : 0;
	o->fs.super = *(const struct adit_super_pm *)adit__block_at(&o->fs, super_place[good]);
	adit__fs_geometry(&o->fs);
	if (!err[!good])
		return 0;
	/* Open writes both copies anyhow. */
	if (found(&o->ck, ADIT_CHECK_MINOR, good ? "superblock" : "copy of the superblock",
		  super_place[!good], why[!good], "restore it from the other copy"))
		adit__super_store(&o->fs);
	return 0;
}

/* ---- checkpoint --------------------------------------------------------------- */

/* The newest record of a lane, by looking at every place where one may start. */
static uint64_t lane_end(struct adit_fs *fs, uint32_t lane, uint64_t *seq)
{
	const uint8_t *ring = (const uint8_t *)adit__block_at(fs, get64(fs->super.lane_start)) +
			      lane * fs->ring_bytes;
	uint64_t end = 0;

	for (uint64_t at = 0; at < fs->ring_bytes; at += ADIT_LINE) {
		const struct adit_record_pm *r = (const struct adit_record_pm *)(ring + at);
		uint64_t pos = get64(r->pos);

		/* Whose opening it is from does not matter here. */
		fs->log_nonce = get64(r->nonce);
		if (get32(r->magic) != ADIT_MAGIC_RECORD || pos % fs->ring_bytes != at ||
		    pos > ADIT_LOG_MENDED - fs->ring_bytes || get64(r->seq) > ADIT_LOG_MENDED ||
		    !adit__record_at(fs, lane, pos, true))
			continue;
		end = max_u64(end, adit__record_end(fs, r));
		*seq = max_u64(*seq, get64(r->seq));
	}
	return end;
}

/* What ckpt_is_valid does not say: that there is room to go on. */
static bool slot_is_sane(const struct adit_fs *fs, const struct adit_ckpt_pm *k, uint64_t limit)
{
	for (uint32_t i = 0; i < fs->lanes; i++)
		if (get64(k->tail[i]) > limit)
			return false;
	return get64(k->c) <= limit && get64(k->generation) <= limit;
}

static void log_from(struct adit_fs *fs, const struct adit_ckpt_pm *k)
{
	fs->log_nonce = get64(k->nonce);
	fs->vol->seq = fs->vol->c = get64(k->c);
	for (uint32_t i = 0; i < fs->lanes; i++)
		fs->vol->lane[i].head = fs->vol->lane[i].tail = get64(k->tail[i]);
}

static const char *checkpoint_trouble(struct opening *o, const struct adit_ckpt_pm *newest)
{
	if (!newest)
		return "both slots are damaged";
	if (!slot_is_sane(&o->fs, newest, o->ck.may_fix ? ADIT_LOG_MENDED : ADIT_LOG_SANE))
		return "what it says is impossible";
	log_from(&o->fs, newest);
	return adit__log_knows_newer(&o->fs, newest) ? "the newest slot is damaged" : NULL;
}

/* The newest slot is gone, or both are.  Nothing is replayed: of a pool that was closed nothing
 * has to be, and of another one nobody knows any more where to begin. */
static int check_checkpoint(struct opening *o)
{
	struct adit_fs *fs = &o->fs;
	const struct adit_ckpt_pm *newest = adit__ckpt_newest(fs);
	uint64_t seq = get64(fs->root->dirty_seq);
	const char *why = checkpoint_trouble(o, newest);
	struct adit_ckpt_pm *k;

	if (!why)
		return 0;
	if (!found(&o->ck, ADIT_CHECK_LOSS, "checkpoint", get64(fs->super.ckpt_start), why,
		   "begin behind the newest record"))
		return -EUCLEAN;
	k = fs->env->alloc(sizeof *k);
	if (!k)
		return -ENOMEM;
	if (seq > ADIT_LOG_MENDED)
		seq = 0;
	for (uint32_t i = 0; i < fs->lanes; i++)
		k->tail[i] = put64(lane_end(fs, i, &seq));
	k->c = put64(seq);
	for (uint64_t generation = 1; generation <= 2; generation++) {
		k->generation = put64(generation);
		adit__ckpt_store(fs, k);
	}
	fs->env->free(k);
	return 0;
}

/* ---- log ----------------------------------------------------------------------- */

/* Acknowledged records behind a damaged one: what they change depends on what it changed. */
static int check_lane(struct opening *o, uint32_t lane)
{
	struct adit_fs *fs = &o->fs;
	const struct adit_record_pm *stray;
	struct adit_record_pm nothing = {0};
	uint64_t end = adit__log_end(fs, lane);

	while ((stray = adit__log_stray(fs, lane, end)) != NULL) {
		if (!found(&o->ck, ADIT_CHECK_LOSS, "log record",
			   adit__offset_of(fs, stray) >> ADIT_BLOCK_SHIFT,
			   "the one before it is damaged: what it acknowledged cannot be applied",
			   "drop it"))
			return -EUCLEAN;
		adit__ck_store(&o->ck, (void *)(uintptr_t)stray, &nothing, sizeof nothing);
	}
	return 0;
}

static int check_log(struct opening *o)
{
	struct adit_fs *fs = &o->fs;
	const struct adit_ckpt_pm *k = adit__ckpt_newest(fs);
	int err = 0;

	if (!(get32(fs->super.state) & ADIT_STATE_CLEAN)) {
		log_from(fs, k);
		for (uint32_t i = 0; i < fs->lanes && !err; i++)
			err = check_lane(o, i);
	}
	/* As above: all seals count. */
	fs->vol->seq = fs->vol->c = 0;
	return err;
}

/* ---- root block ------------------------------------------------------------------ */

static bool salvage_root(struct opening *o, uint64_t block, struct adit_root_pm *r)
{
	struct adit_fs *fs = &o->fs;
	uint64_t most = fs->pool_blocks * 16, next, by_size;
	unsigned wrong = 0;
	const char *why;

	memcpy(r, adit__block_at(fs, block), sizeof *r);
	wrong += get32(r->magic) != ADIT_MAGIC_ROOT;
	wrong += memcmp(r->uuid, fs->super.uuid, 16) != 0;
	wrong += get64(r->itable.ino) != ADIT_INO_ITABLE;
	wrong += get32(r->shards) == 0 || get32(r->shards) > ADIT_SHARDS;
	if (wrong > 1)
		return false;
	r->magic = put32(ADIT_MAGIC_ROOT);
	memcpy(r->uuid, fs->super.uuid, 16);
	r->itable.magic = put32(ADIT_MAGIC_INODE);
	r->itable.ino = put64(ADIT_INO_ITABLE);
	if (get32(r->shards) == 0 || get32(r->shards) > ADIT_SHARDS)
		r->shards = put32(ADIT_SHARDS);
	next = get64(r->next_ino);
	by_size = get64(r->itable.size) / ADIT_INODE_BYTES;
	if (next == 0 || next > most || next % ADIT_ICLUSTER_INODES)
		next = by_size;
	if (next == 0 || next > most || next % ADIT_ICLUSTER_INODES)
		return false;
	r->next_ino = put64(next);
	r->itable.size = put64(next * ADIT_INODE_BYTES);
	r->dirty_seq = put64(0);
	r->crc = put32(adit__seal_crc(fs, r, ADIT_ROOT_SEAL_FROM, sizeof *r, ADIT_MAGIC_ROOT));
	return adit__verify_root(fs, r, &why) == 0;
}

/* The pool does not open: is it the root block, and is there a way? */
static int rescue_root(struct opening *o, int err)
{
	struct adit_fs *fs = &o->fs;
	uint64_t place[2] = {get64(fs->super.root_block), get64(fs->super.root_copy)};
	const char *why = NULL;
	int bad = adit__verify_root(fs, fs->root, &why);

	if (!bad || (err != -EUCLEAN && err != -EBADMSG))
		return err;
	for (unsigned i = 0; i < 2; i++) {
		if (!salvage_root(o, place[i], (struct adit_root_pm *)o->ck.node_copy))
			continue;
		if (!found(&o->ck, ADIT_CHECK_ERROR, "root block", place[0], why,
			   "keep what makes sense of it and its replica"))
			return err;
		adit__ck_store_root(&o->ck, (struct adit_root_pm *)o->ck.node_copy);
		return 0;
	}
	adit__ck_found(&o->ck, ADIT_CHECK_LOSS, "root block", 0, place[0], why, NULL);
	return err;
}

/* ---- all of it -------------------------------------------------------------------- */

static int open_pool(struct opening *o, struct adit_fs **out)
{
	const struct adit_env *env = o->fs.env;
	int err = check_super(o);

	if (err)
		return err;
	o->fs.vol = o->vol;
	err = check_checkpoint(o);
	if (!err)
		err = check_log(o);
	if (err)
		return err;
	err = adit__core_open(out, &o->fs.pm, env, o->fs.report_ctx, 0);
	if (err && rescue_root(o, err) == 0)
		err = adit__core_open(out, &o->fs.pm, env, o->fs.report_ctx, 0);
	if (err && o->ck.left == 0)
		adit__ck_found(&o->ck, ADIT_CHECK_LOSS, "pool", 0, ADIT_CHECK_NO_BLOCK,
			       "cannot be opened", NULL);
	return err;
}

static int check_and_close(struct opening *o, struct adit_fs *fs,
			   const struct adit_check_options *opt, struct adit_check_result *res)
{
	int err = adit__check(fs, opt, res), close_err;

	/* A look leaves nothing behind. */
	if (looking(&o->ck)) {
		adit__core_abandon(fs);
		return err;
	}
	close_err = adit__core_close(fs);
	return err ? err : close_err;
}

int adit__check_media(struct adit_pm *pm, const struct adit_env *env, void *report_ctx,
		      const struct adit_check_options *opt, struct adit_check_result *res)
{
	struct opening *o = env->alloc(sizeof *o);
	struct adit_fs *fs = NULL;
	int err = -ENOMEM;

	memset(res, 0, sizeof *res);
	if (!o)
		return err;
	o->vol = env->alloc(sizeof *o->vol);
	o->ck.node_copy = env->alloc(ADIT_BLOCK);
	if (!o->vol || !o->ck.node_copy)
		goto out;
	o->fs.pm = *pm;
	o->fs.env = env;
	o->fs.report_ctx = report_ctx;
	o->fs.vol = o->vol;
	o->ck.fs = &o->fs;
	o->ck.opt = opt;
	o->ck.res = &o->res;
	o->ck.pass = 1;
	o->ck.may_fix = !looking(&o->ck);
	o->ck.say_left = true;
	err = open_pool(o, &fs);
	if (!err)
		err = check_and_close(o, fs, opt, res);
	res->fixed += o->ck.fixed;
	res->left += o->ck.left;
	res->found = res->fixed + res->left;
out:
	env->free(o->ck.node_copy);
	env->free(o->vol);
	env->free(o);
	return err;
}

/* ---- after opening: what open does not ask of the superblock, the checkpoint's slots ---- */

static void check_reserve(struct adit_check *ck)
{
	struct adit_fs *fs = ck->fs;
	uint64_t usual = adit__usual_reserve(fs->pool_blocks);

	if (get64(fs->super.reserve_blocks) <= fs->pool_blocks / 4 ||
	    !adit__ck_found_value(ck, ADIT_CHECK_ERROR, "superblock", 0, 0,
				  "more blocks are reserved than is sensible", "correct it",
				  get64(fs->super.reserve_blocks), usual))
		return;
	fs->super.reserve_blocks = put64(usual);
	adit__super_store(fs);
}

static bool slot_is_valid(const struct adit_fs *fs, const struct adit_ckpt_pm *k)
{
	size_t bytes = offsetof(struct adit_ckpt_pm, tail) + 8ull * fs->lanes;

	return get32(k->magic) == ADIT_MAGIC_CKPT && get32(k->lanes) == fs->lanes &&
	       get32(k->crc) == adit__seal_crc(fs, k, 16, bytes, ADIT_MAGIC_CKPT);
}

void adit__ck_slots(struct adit_check *ck)
{
	struct adit_fs *fs = ck->fs;

	if (ck->pass == 1 && !ck->may_fix && (get32(fs->super.state) & ADIT_STATE_DAMAGED))
		adit__ck_found(ck, ADIT_CHECK_NOTE, "superblock", 0, 0,
			       "says that an earlier check left damage", NULL);
	check_reserve(ck);
	for (unsigned i = 0; i < 2; i++) {
		if (slot_is_valid(fs, adit__ckpt_slot(fs, i)))
			continue;
		if (adit__ck_found(ck, ADIT_CHECK_MINOR, "checkpoint", 0,
				   get64(fs->super.ckpt_start) + i, "a slot is damaged",
				   "write it anew"))
			adit__ck_new_checkpoint(ck, adit__total_free(fs),
						adit__total_inodes(fs));
	}
}
