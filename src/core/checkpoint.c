/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Checkpoint and recovery: the other half of the log (log.c).
 *
 * A checkpoint chooses C below every record that is not yet applied (I4), makes
 * the seals right and writes back every line that the records up to C named,
 * fences, writes the other checkpoint slot { C, totals, lane tails } and fences
 * again.  Only then do freed blocks leave quarantine (I5) and ring space
 * become free (I6).
 *
 * Recovery takes the newest valid slot, walks each lane's chain of records
 * from its tail, applies what lies above C in sequence order and ends with a
 * checkpoint.  It is idempotent: until the new slot is durable the old one
 * counts, and entries say "these bytes", never "add".
 *
 * The checkpoint walks records while their lanes go on: only records up to C,
 * which are complete, and under ckpt_lock, so that there is one walker.
 */
#include "core/log.h"
#include "core/alloc.h"
#include "core/linux_abi.h"

/*
 * What the records walked so far name, block by block: sealed and written back
 * together when the walk ends or the table is full.  Early is fine, because all
 * that lies up to C is applied; it only means that a block named again later is
 * done twice.
 */
#define TOUCHED_MAX 4096u
#define TOUCHED_SLOTS 8192u
struct ckpt_touched {
	uint64_t block;
	uint64_t lines; /* bit i: line i of the block is to be written back */
	uint64_t bitmap_of; /* BITMAP: a block whose bit lies in here */
	uint16_t inodes; /* bit i: slot i of the inode table's block is to be sealed */
	uint8_t kinds; /* bit ADIT_KIND_*: node, root, bitmap to be sealed */
};

struct adit_ckpt_work {
	uint32_t ntouched;
	bool frees; /* some record frees blocks */
	uint64_t repairs; /* vol->repairs when this checkpoint began */
	struct ckpt_touched touched[TOUCHED_MAX];
	uint16_t slot_of[TOUCHED_SLOTS]; /* hash of the block: index in touched + 1, 0 none */
	struct adit_ckpt_pm slot;	     /* the newest, as stored */
	struct adit_ckpt_pm making;	     /* the one that is to follow */
	struct adit_root_pm root;	     /* the root block at one moment */
	int64_t d_free_blocks, d_used_inodes; /* of the records walked */
	const struct adit_record_pm *next[ADIT_LANES_MAX]; /* recovery: each lane's */
};

/* ---- records in a ring ---------------------------------------------------- */

static const uint8_t *ring_at(const struct adit_fs *fs, uint32_t lane, uint64_t pos)
{
	return adit__at(fs, (get64(fs->super.lane_start) << ADIT_BLOCK_SHIFT) +
				    lane * fs->ring_bytes + pos % fs->ring_bytes);
}

static bool lies_in(uint64_t where, uint64_t n, uint64_t start, uint64_t bytes)
{
	return where >= start && where - start < bytes && n <= bytes - (where - start);
}

/* Does an entry of this kind belong there?  Each kind has its places, and what is sealed is changed
 * one structure at a time. */
static bool place_is_sane(const struct adit_fs *fs, uint8_t kind, uint64_t where, uint64_t n)
{
	uint64_t unit = kind == ADIT_KIND_INODE ? ADIT_INODE_BYTES : ADIT_BLOCK;

	if (where % 8 || n % 8 ||
	    !lies_in(where, n, 0, fs->pool_blocks << ADIT_BLOCK_SHIFT))
		return false;
	if (n == 0)
		return kind == ADIT_KIND_DATA;
	switch (kind) {
	case ADIT_KIND_ROOT:
		return lies_in(where, n, get64(fs->super.root_block) << ADIT_BLOCK_SHIFT,
			       ADIT_BLOCK);
	case ADIT_KIND_INTENT:
		return lies_in(where, n, get64(fs->super.intent_start) << ADIT_BLOCK_SHIFT,
			       fs->lanes * sizeof(struct adit_intent_pm));
	case ADIT_KIND_INODE:
	case ADIT_KIND_NODE:
		if (where / unit != (where + n - 1) / unit)
			return false;
		/* fall through */
	case ADIT_KIND_DATA:
		return adit__run_is_sane(fs, where >> ADIT_BLOCK_SHIFT,
					 ((where + n - 1) >> ADIT_BLOCK_SHIFT) -
						 (where >> ADIT_BLOCK_SHIFT) + 1);
	default:
		return false;
	}
}

static bool entries_are_sane(const struct adit_fs *fs, const struct adit_record_pm *r)
{
	const uint8_t *buf = (const uint8_t *)r;
	size_t len = get32(r->len), at;

	for (at = sizeof *r; at + sizeof(struct adit_entry_pm) <= len;) {
		const struct adit_entry_pm *e = adit__entry_at(buf, at);
		uint64_t where = get64(e->where), n = get32(e->len);

		if (e->op == ADIT_OP_ALLOC || e->op == ADIT_OP_FREE) {
			if (e->kind != ADIT_KIND_BITMAP || !adit__run_is_sane(fs, where, n))
				return false;
		} else if (e->op == ADIT_OP_WRITE || e->op == ADIT_OP_ZERO) {
			if (!place_is_sane(fs, e->kind, where, n))
				return false;
		} else {
			return false;
		}
		if (adit__entry_bytes(e) > len - at)
			return false;
		at += adit__entry_bytes(e);
	}
	return at == len;
}

const struct adit_record_pm *adit__record_at(const struct adit_fs *fs, uint32_t lane, uint64_t pos,
					     bool check_crc)
{
	const struct adit_record_pm *r = (const struct adit_record_pm *)ring_at(fs, lane, pos);
	uint64_t left = fs->ring_bytes - pos % fs->ring_bytes, len = get32(r->len);
	bool pad = get16(r->flags) & ADIT_RECORD_PAD;

	if (get32(r->magic) != ADIT_MAGIC_RECORD || get64(r->pos) != pos ||
	    get16(r->lane) != lane || get64(r->nonce) != fs->log_nonce || len < sizeof *r ||
	    len > left || (check_crc && get64(r->seq) > 2 * ADIT_LOG_SANE))
		return NULL;
	if (pad && (len != left || get64(r->seq) != 0))
		return NULL;
	if (check_crc && get32(r->crc) != fs->env->crc32c(lane, (const uint8_t *)r + 4,
							  (pad ? sizeof *r : len) - 4))
		return NULL;
	if (check_crc && !pad && !entries_are_sane(fs, r))
		return NULL;
	return r;
}

uint64_t adit__record_end(const struct adit_fs *fs, const struct adit_record_pm *r)
{
	(void)fs;
	return round_up_u64(get64(r->pos) + get32(r->len), ADIT_LINE);
}

bool adit__lane_has_room(const struct adit_fs *fs, uint32_t lane)
{
	const struct adit_vol_lane *vl = &fs->vol->lane[lane];
	uint64_t used = vl->head - __atomic_load_n(&vl->tail, __ATOMIC_ACQUIRE);

	return used + 2ull * ADIT_REC_MAX <= fs->ring_bytes;
}

/* ---- checkpoint slots ------------------------------------------------------- */

const struct adit_ckpt_pm *adit__ckpt_slot(const struct adit_fs *fs, unsigned slot)
{
	return adit__block_at(fs, get64(fs->super.ckpt_start) + slot);
}

static size_t ckpt_bytes(const struct adit_fs *fs)
{
	return offsetof(struct adit_ckpt_pm, tail) + 8ull * fs->lanes;
}

static bool ckpt_is_valid(const struct adit_fs *fs, const struct adit_ckpt_pm *k)
{
	if (get32(k->magic) != ADIT_MAGIC_CKPT || get32(k->lanes) != fs->lanes ||
	    get32(k->crc) != adit__seal_crc(fs, k, 16, ckpt_bytes(fs), ADIT_MAGIC_CKPT) ||
	    get64(k->c) > INT64_MAX)
		return false;
	for (uint32_t i = 0; i < fs->lanes; i++)
		if (get64(k->tail[i]) % ADIT_LINE != 0 || get64(k->tail[i]) > INT64_MAX)
			return false;
	return true;
}

/* A media error took the slot.  Of a pool that was closed the other one does as well: no record was written
 * since, and replaying older ones again changes nothing.  Who writes needs both. */
static bool slot_is_lost(const struct adit_fs *fs, const struct adit_ckpt_pm *k, unsigned slot)
{
	if (!fs->read_only || !(get32(fs->super.state) & ADIT_STATE_CLEAN) ||
	    fs->env->readable(k, ADIT_BLOCK))
		return false;
	adit__report(fs, "checkpoint: slot %u: media error, the other one serves", slot);
	return true;
}

const struct adit_ckpt_pm *adit__ckpt_newest(const struct adit_fs *fs)
{
	const struct adit_ckpt_pm *best = NULL;

	for (unsigned i = 0; i < 2; i++) {
		const struct adit_ckpt_pm *k = adit__ckpt_slot(fs, i);

		if (slot_is_lost(fs, k, i))
			continue;
		if (ckpt_is_valid(fs, k) &&
		    (!best || get64(k->generation) > get64(best->generation)))
			best = k;
	}
	return best;
}

void adit__ckpt_store(struct adit_fs *fs, struct adit_ckpt_pm *k)
{
	uint64_t slot = get64(fs->super.ckpt_start) + get64(k->generation) % 2;

	k->magic = put32(ADIT_MAGIC_CKPT);
	k->lanes = put32(fs->lanes);
	k->crc = put32(adit__seal_crc(fs, k, 16, ckpt_bytes(fs), ADIT_MAGIC_CKPT));
	if (fs->read_only && !adit__reachable(fs, slot << ADIT_BLOCK_SHIFT, ADIT_BLOCK, "checkpoint"))
		return; /* it would go to a private page */
	adit__pm_store(&fs->pm, adit__block_at(fs, slot), k, ckpt_bytes(fs));
	adit__pm_flush(&fs->pm, adit__block_at(fs, slot), ckpt_bytes(fs));
	adit__pm_fence(&fs->pm);
}

void adit__ckpt_add_free(struct adit_fs *fs, uint64_t difference)
{
	struct adit_ckpt_work *w = fs->ckpt_work;
	const struct adit_ckpt_pm *newest = adit__ckpt_newest(fs);

	if (!newest || difference == 0)
		return;
	memcpy(&w->slot, newest, ckpt_bytes(fs));
	w->slot.free_blocks = put64(get64(w->slot.free_blocks) + difference);
	w->slot.generation = put64(get64(w->slot.generation) + 1);
	adit__ckpt_store(fs, &w->slot);
	__atomic_store_n(&fs->vol->generation, get64(w->slot.generation), __ATOMIC_RELEASE);
	fs->vol->lane[0].free_blocks += difference;
}

/* ---- walking what lies between the tails and C ------------------------------- */

typedef void (*record_visit)(struct adit_fs *, const struct adit_record_pm *);
typedef void (*entry_visit)(struct adit_fs *, const struct adit_entry_pm *);

/* Visit complete records of a lane up to C; returns where the next one starts. */
static uint64_t lane_walk(struct adit_fs *fs, uint32_t lane, uint64_t c, record_visit record,
			  entry_visit entry)
{
	struct adit_vol_lane *vl = &fs->vol->lane[lane];
	uint64_t pos = __atomic_load_n(&vl->tail, __ATOMIC_ACQUIRE);
	uint64_t head = __atomic_load_n(&vl->head, __ATOMIC_ACQUIRE);

	while (pos < head) {
		const struct adit_record_pm *r = adit__record_at(fs, lane, pos, false);

		if (!r) {
			adit__report(fs, "lane %u: record at %llu was overwritten: pool stopped",
				     lane, (unsigned long long)pos);
			adit__stop(fs);
			return pos;
		}
		if (get64(r->seq) > c)
			break;
		if (!(get16(r->flags) & ADIT_RECORD_PAD)) {
			if (record)
				record(fs, r);
			for (size_t at = sizeof *r; entry && at < get32(r->len);) {
				const struct adit_entry_pm *e =
					adit__entry_at((const uint8_t *)r, at);

				entry(fs, e);
				at += adit__entry_bytes(e);
			}
		}
		pos = adit__record_end(fs, r);
	}
	return pos;
}

/* ---- sealing and writing back --------------------------------------------------- */

/* Others may be applying records above C to the root block: seal one moment's
 * words, so that at least the replica carries the seal of its own bytes. */
static void seal_root(struct adit_fs *fs)
{
	struct adit_root_pm *image = &fs->ckpt_work->root;
	const uint64_t *from = (const uint64_t *)fs->root;
	uint64_t *to = (uint64_t *)image;

	for (unsigned i = 0; i < sizeof *image / 8; i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	image->crc = put32(adit__seal_crc(fs, image, ADIT_ROOT_SEAL_FROM, sizeof *image,
					  ADIT_MAGIC_ROOT));
	adit__pm_store32(&fs->pm, &fs->root->crc, image->crc.v);
	if (!adit__reachable(fs, get64(fs->super.root_copy) << ADIT_BLOCK_SHIFT, ADIT_BLOCK,
			     "replica of the root block"))
		return;
	adit__pm_copy_nt(&fs->pm, adit__block_at(fs, get64(fs->super.root_copy)), image,
			 sizeof *image);
}

static void seal_structure(struct adit_fs *fs, uint8_t *p, size_t from, size_t bytes)
{
	uint32_t magic =
		get32((le32){__atomic_load_n((const uint32_t *)(p + 4), __ATOMIC_RELAXED)});

	adit__pm_store32(&fs->pm, p, put32(adit__seal_crc(fs, p, from, bytes, magic)).v);
}

static void seal_touched(struct adit_fs *fs, const struct ckpt_touched *t)
{
	uint8_t *base = adit__block_at(fs, t->block);

	if (!adit__reachable(fs, t->block << ADIT_BLOCK_SHIFT, ADIT_BLOCK, "what was changed"))
		return;
	for (unsigned inodes = t->inodes; inodes != 0; inodes &= inodes - 1)
		seal_structure(fs, base + (unsigned)__builtin_ctz(inodes) * ADIT_INODE_BYTES,
			       ADIT_INODE_SEAL_FROM, ADIT_INODE_BYTES);
	if (t->kinds & 1u << ADIT_KIND_NODE)
		seal_structure(fs, base, ADIT_NODE_SEAL_FROM, ADIT_BLOCK);
	if (t->kinds & 1u << ADIT_KIND_ROOT)
		seal_root(fs);
	if (t->kinds & 1u << ADIT_KIND_BITMAP) {
		uint64_t bitmap, word, seal;

		adit__bitmap_where(fs, t->bitmap_of, &bitmap, &word, &seal);
		if (adit__reachable(fs, seal, sizeof(struct adit_bitmap_seal_pm), "group header"))
			adit__bitmap_seal(fs, t->bitmap_of);
	}
}

static void flush_touched(struct adit_fs *fs, const struct ckpt_touched *t)
{
	uint8_t *base = adit__block_at(fs, t->block);
	uint64_t lines = t->lines;

	if (ADIT_UNLIKELY(fs->careful) && !fs->env->readable(base, ADIT_BLOCK))
		return; /* said by seal_touched */
	while (lines != 0) {
		unsigned from = (unsigned)__builtin_ctzll(lines);
		uint64_t run = ~(lines >> from);
		unsigned n = run ? (unsigned)__builtin_ctzll(run) : 64;

		adit__pm_flush(&fs->pm, base + from * ADIT_LINE, n * ADIT_LINE);
		lines = n + from < 64 ? lines >> (from + n) << (from + n) : 0;
	}
}

static void touched_forget(struct adit_ckpt_work *w)
{
	w->ntouched = 0;
	memset(w->slot_of, 0, sizeof w->slot_of);
}

/* What is to be sealed was changed some time ago and may have left the nearer caches. */
static void prefetch_touched(struct adit_fs *fs, const struct ckpt_touched *t)
{
	const uint8_t *base = adit__block_at(fs, t->block);

	for (unsigned inodes = t->inodes; inodes != 0; inodes &= inodes - 1)
		for (unsigned i = 0; i < ADIT_INODE_BYTES; i += ADIT_LINE)
			__builtin_prefetch(base + (unsigned)__builtin_ctz(inodes) * ADIT_INODE_BYTES + i);
	if (t->kinds)
		for (unsigned i = 0; i < 16 * ADIT_LINE; i += ADIT_LINE)
			__builtin_prefetch(base + i);
}

/* All stores first: several seals may lie in one line. */
static void write_back_all(struct adit_fs *fs)
{
	struct adit_ckpt_work *w = fs->ckpt_work;

	for (uint32_t i = 0; i < w->ntouched; i++) {
		if (i + 1 < w->ntouched)
			prefetch_touched(fs, &w->touched[i + 1]);
		seal_touched(fs, &w->touched[i]);
	}
	for (uint32_t i = 0; i < w->ntouched; i++)
		flush_touched(fs, &w->touched[i]);
	touched_forget(w);
}

static struct ckpt_touched *touch(struct adit_fs *fs, uint64_t block)
{
	struct adit_ckpt_work *w = fs->ckpt_work;
	uint32_t at;

	if (w->ntouched == TOUCHED_MAX)
		write_back_all(fs);
	at = (uint32_t)((block * 0x9e3779b97f4a7c15ull) >> 40) % TOUCHED_SLOTS;
	while (w->slot_of[at] != 0) {
		struct ckpt_touched *t = &w->touched[w->slot_of[at] - 1];

		if (t->block == block)
			return t;
		at = (at + 1) % TOUCHED_SLOTS;
	}
	w->touched[w->ntouched] = (struct ckpt_touched){.block = block};
	w->slot_of[at] = (uint16_t)++w->ntouched;
	return &w->touched[w->ntouched - 1];
}

static void touch_range(struct adit_fs *fs, uint64_t from, uint64_t bytes, uint8_t kind)
{
	uint64_t end = from + bytes;

	while (from < end) {
		struct ckpt_touched *t = touch(fs, from >> ADIT_BLOCK_SHIFT);
		unsigned first = (unsigned)(from % ADIT_BLOCK), slot = first / ADIT_INODE_BYTES;
		unsigned n = (unsigned)min_u64(end - from, ADIT_BLOCK - first);
		unsigned low = first / ADIT_LINE, high = (first + n - 1) / ADIT_LINE;

		t->lines |= ~0ull >> (63 - (high - low)) << low;
		/* The line with the seal and dirty_seq too. */
		if (kind == ADIT_KIND_INODE) {
			t->inodes |= (uint16_t)(1u << slot);
			t->lines |= 1ull << slot * (ADIT_INODE_BYTES / ADIT_LINE);
		} else if (kind == ADIT_KIND_NODE || kind == ADIT_KIND_ROOT) {
			t->kinds |= (uint8_t)(1u << kind);
			t->lines |= 1;
		}
		from += n;
	}
}

static void touch_bitmaps(struct adit_fs *fs, uint64_t block, uint64_t count)
{
	uint64_t end = block + count, bitmap, word, seal;

	while (block < end) {
		struct ckpt_touched *t;
		uint64_t n = min_u64(end - block, 64 - block % 64);

		adit__bitmap_where(fs, block, &bitmap, &word, &seal);
		t = touch(fs, bitmap >> ADIT_BLOCK_SHIFT);
		t->lines |= 1ull << word % ADIT_BLOCK / ADIT_LINE;
		t->kinds |= 1u << ADIT_KIND_BITMAP;
		t->bitmap_of = block;
		/* Last: this may write back and forget the above, and is to be flushed after its seal. */
		touch(fs, seal >> ADIT_BLOCK_SHIFT)->lines |= 1ull << seal % ADIT_BLOCK / ADIT_LINE;
		block += n;
	}
}

static void touch_entry(struct adit_fs *fs, const struct adit_entry_pm *e)
{
	if (e->kind != ADIT_KIND_BITMAP) {
		touch_range(fs, get64(e->where), get32(e->len), e->kind);
		return;
	}
	touch_bitmaps(fs, get64(e->where), get32(e->len));
	fs->ckpt_work->frees |= e->op == ADIT_OP_FREE;
}

static void release_entry(struct adit_fs *fs, const struct adit_entry_pm *e)
{
	if (e->op == ADIT_OP_FREE)
		adit__alloc_release(fs, get64(e->where), get32(e->len), fs->ckpt_work->repairs);
}

static void total_record(struct adit_fs *fs, const struct adit_record_pm *r)
{
	fs->ckpt_work->d_free_blocks += (int32_t)get32(r->free_blocks);
	fs->ckpt_work->d_used_inodes += (int32_t)get32(r->used_inodes);
}

/* 1: the lane is about to know its number. Worth a few looks, or C would stay where it is. */
static uint64_t active_low(const struct adit_fs *fs, uint32_t lane)
{
	uint64_t low;

	for (int look = 0; look < 100; look++) {
		low = __atomic_load_n(&fs->vol->lane[lane].active_low, __ATOMIC_SEQ_CST);
		if (low != 1)
			break;
	}
	return low;
}

/* The largest C that no unapplied record lies at or below (I4). */
static uint64_t choose_c(struct adit_fs *fs)
{
	uint64_t c = __atomic_load_n(&fs->vol->seq, __ATOMIC_SEQ_CST);

	for (uint32_t i = 0; i < fs->lanes; i++) {
		uint64_t low = active_low(fs, i);

		if (low <= c)
			c = low - 1;
	}
	return c;
}

static void checkpoint_to(struct adit_fs *fs, uint64_t c)
{
	struct adit_ckpt_work *w = fs->ckpt_work;
	struct adit_ckpt_pm *k = &w->making;

	/* Another process may have written it. */
	if (get64(w->slot.generation) != fs->vol->generation)
		memcpy(&w->slot, adit__ckpt_slot(fs, fs->vol->generation % 2), ckpt_bytes(fs));
	*k = w->slot;
	w->repairs = fs->vol->repairs;
	w->frees = false;
	w->d_free_blocks = w->d_used_inodes = 0;
	touched_forget(w); /* a media fault may have left something */
	for (uint32_t i = 0; i < fs->lanes; i++)
		k->tail[i] = put64(lane_walk(fs, i, c, total_record, touch_entry));
	write_back_all(fs);
	if (adit__has_stopped(fs))
		return;
	adit__pm_fence(&fs->pm);
	k->c = put64(c);
	k->free_blocks = put64(get64(k->free_blocks) + (uint64_t)w->d_free_blocks);
	k->used_inodes = put64(get64(k->used_inodes) + (uint64_t)w->d_used_inodes);
	k->generation = put64(get64(k->generation) + 1);
	adit__ckpt_store(fs, k);
	w->slot = *k;
	/* I19: before ring space and blocks are given back. */
	__atomic_store_n(&fs->vol->generation, get64(k->generation), __ATOMIC_RELEASE);
	__atomic_store_n(&fs->vol->c, c, __ATOMIC_RELEASE);
	for (uint32_t i = 0; w->frees && i < fs->lanes; i++)
		lane_walk(fs, i, c, NULL, release_entry);
	for (uint32_t i = 0; i < fs->lanes; i++)
		__atomic_store_n(&fs->vol->lane[i].tail, get64(k->tail[i]), __ATOMIC_RELEASE);
	__atomic_fetch_add(&fs->vol->ckpt_count, 1, __ATOMIC_RELAXED);
}

int adit__checkpoint(struct adit_fs *fs)
{
	struct adit_vol *v = fs->vol;
	struct adit_op op;
	bool own;
	uint64_t c;

	if (adit__has_stopped(fs))
		return -EIO;
	if (__atomic_load_n(&v->seq, __ATOMIC_ACQUIRE) == __atomic_load_n(&v->c, __ATOMIC_ACQUIRE))
		return 0;
	own = adit__op_need(&op, fs);
	adit__lock_below(fs, &v->ckpt_lock, true);
	c = choose_c(fs);
	if (c > v->c)
		checkpoint_to(fs, c);
	adit__unlock_below(fs, &v->ckpt_lock, true);
	if (own)
		adit__op_end_read(&op);
	return adit__has_stopped(fs) ? -EIO : 0;
}

void adit__checkpoint_due(struct adit_fs *fs)
{
	uint64_t c;

	if (adit__has_stopped(fs) || !adit__trylock_below(fs, &fs->vol->ckpt_lock, true))
		return;
	c = choose_c(fs);
	if (c > fs->vol->c)
		checkpoint_to(fs, c);
	adit__unlock_below(fs, &fs->vol->ckpt_lock, true);
}

int adit__data_settled(struct adit_fs *fs, const struct adit_inode_pm *ip)
{
	uint64_t seq = get64_relaxed(&ip->data_seq);

	/* A number that was never drawn is left over from nothing. */
	if (ADIT_LIKELY(seq <= __atomic_load_n(&fs->vol->c, __ATOMIC_ACQUIRE)) ||
	    seq > __atomic_load_n(&fs->vol->seq, __ATOMIC_ACQUIRE))
		return 0;
	while (seq > __atomic_load_n(&fs->vol->c, __ATOMIC_ACQUIRE)) {
		int err = adit__checkpoint(fs);

		if (err)
			return err;
		if (seq > __atomic_load_n(&fs->vol->c, __ATOMIC_ACQUIRE))
			fs->env->yield();
	}
	return 0;
}

/* ---- opening and recovery ------------------------------------------------------ */

int adit__log_join(struct adit_fs *fs)
{
	const struct adit_ckpt_pm *k = adit__ckpt_newest(fs);

	if (!k) {
		adit__report(fs, "checkpoint: both slots are damaged: run fsck");
		return -EBADMSG;
	}
	fs->ckpt_work = fs->env->alloc(sizeof *fs->ckpt_work);
	fs->lane_cs = fs->env->alloc(fs->lanes * sizeof *fs->lane_cs);
	if (!fs->ckpt_work || !fs->lane_cs)
		return -ENOMEM;
	memcpy(&fs->ckpt_work->slot, k, ckpt_bytes(fs));
	fs->log_nonce = get64(k->nonce);
	return 0;
}

int adit__log_init(struct adit_fs *fs)
{
	const struct adit_ckpt_pm *k;
	int err = adit__log_join(fs);

	if (err)
		return err;
	k = &fs->ckpt_work->slot;
	fs->vol->seq = fs->vol->c = get64(k->c);
	fs->vol->ckpt_count = 0;
	fs->vol->generation = get64(k->generation);
	fs->vol->free_blocks = get64(k->free_blocks);
	for (uint32_t i = 0; i < fs->lanes; i++) {
		struct adit_vol_lane *vl = &fs->vol->lane[i];

		vl->head = vl->tail = get64(k->tail[i]);
		vl->active_low = UINT64_MAX;
		vl->free_blocks = vl->used_inodes = 0;
	}
	fs->vol->lane[0].free_blocks = get64(k->free_blocks);
	fs->vol->lane[0].used_inodes = get64(k->used_inodes);
	return 0;
}

void adit__log_forked(struct adit_fs *fs)
{
	memset(&fs->ckpt_work->slot, 0, sizeof fs->ckpt_work->slot);
}

void adit__log_finish(struct adit_fs *fs)
{
	for (uint32_t i = 0; fs->lane_cs && i < fs->lanes; i++)
		adit__cs_destroy(fs->lane_cs[i]);
	fs->env->free(fs->lane_cs);
	fs->env->free(fs->ckpt_work);
	fs->lane_cs = NULL;
	fs->ckpt_work = NULL;
}

/* A lane's numbers rise: at first beyond C, then beyond the record of this lane that was applied last.
 * They are drawn without gaps, and what lies above C is in the rings still. */
static bool is_due(const struct adit_fs *fs, uint64_t seq)
{
	return seq > fs->vol->seq &&
	       seq - fs->vol->c <= fs->lanes * (fs->ring_bytes / ADIT_LINE);
}

/* The next record of a lane that recovery has to apply, or NULL: the chain
 * ends at the first one that is not whole (it was never acknowledged). */
static const struct adit_record_pm *next_record(struct adit_fs *fs, uint32_t lane)
{
	const struct adit_vol_lane *vl = &fs->vol->lane[lane];
	uint64_t pos = vl->head, limit = vl->tail + fs->ring_bytes;

	while (pos < limit) {
		const struct adit_record_pm *r = adit__record_at(fs, lane, pos, true);

		if (!r)
			return NULL;
		/* A pad counts only with the record behind it. */
		if (!(get16(r->flags) & ADIT_RECORD_PAD))
			return is_due(fs, get64(r->seq)) ? r : NULL;
		pos = adit__record_end(fs, r);
	}
	return NULL;
}

/* A record of this lane that was drawn when the slot after that of `generation` was durable already.  It
 * may carry that slot's nonce, or be of a later round than those that the older slot knows. */
static bool lane_knows_newer(struct adit_fs *fs, uint32_t lane, uint64_t generation)
{
	uint64_t nonce = fs->log_nonce;
	bool found = false;

	for (uint64_t at = 0; at < fs->ring_bytes && !found; at += ADIT_LINE) {
		const struct adit_record_pm *r = (const struct adit_record_pm *)ring_at(fs, lane, at);
		uint64_t pos;

		if (at % ADIT_BLOCK == 0 &&
		    !adit__reachable(fs, adit__offset_of(fs, r), ADIT_BLOCK, "log")) {
			at += ADIT_BLOCK - ADIT_LINE;
			continue;
		}
		pos = get64(r->pos);
		if (get32(r->magic) != ADIT_MAGIC_RECORD || pos % fs->ring_bytes != at ||
		    pos < fs->vol->lane[lane].tail || pos > ADIT_LOG_MENDED ||
		    get16(r->flags) >> ADIT_RECORD_SLOT_SHIFT != ((generation + 1) & 0xff))
			continue;
		fs->log_nonce = get64(r->nonce);
		found = adit__record_at(fs, lane, pos, true);
	}
	fs->log_nonce = nonce;
	return found;
}

bool adit__log_knows_newer(struct adit_fs *fs, const struct adit_ckpt_pm *newest)
{
	uint64_t generation = get64(newest->generation);
	bool both = true;

	for (unsigned i = 0; i < 2; i++)
		both &= !fs->env->readable(adit__ckpt_slot(fs, i), ADIT_BLOCK) ||
			ckpt_is_valid(fs, adit__ckpt_slot(fs, i));
	for (uint32_t i = 0; !both && i < fs->lanes; i++)
		if (lane_knows_newer(fs, i, generation))
			return true;
	return false;
}

uint64_t adit__log_end(struct adit_fs *fs, uint32_t lane)
{
	struct adit_vol_lane *vl = &fs->vol->lane[lane];
	const struct adit_record_pm *r;
	uint64_t was = vl->head, end;

	while ((r = next_record(fs, lane)) != NULL)
		vl->head = adit__record_end(fs, r);
	end = vl->head;
	vl->head = was;
	return end;
}

static bool page_is_zero(const uint8_t *page)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < ADIT_BLOCK; i += 8)
		any |= *(const uint64_t *)(page + i);
	return any == 0;
}

/* What is written together with a pad may have arrived without it. */
static bool is_stray(const struct adit_fs *fs, uint32_t lane, uint64_t end,
		     const struct adit_record_pm *r)
{
	uint64_t pos = get64(r->pos);

	return get32(r->magic) == ADIT_MAGIC_RECORD && get64(r->nonce) == fs->log_nonce &&
	       pos > end && pos <= ADIT_LOG_MENDED - fs->ring_bytes &&
	       pos != round_up_u64(end + 1, fs->ring_bytes) &&
	       (const struct adit_record_pm *)ring_at(fs, lane, pos) == r &&
	       adit__record_at(fs, lane, pos, true);
}

const struct adit_record_pm *adit__log_stray(struct adit_fs *fs, uint32_t lane, uint64_t end)
{
	uint64_t reach = min_u64(2ull * ADIT_REC_MAX, fs->ring_bytes);

	for (uint64_t pos = end; pos < end + reach; pos += ADIT_LINE) {
		const uint8_t *at = ring_at(fs, lane, pos);

		if (pos == end || pos % ADIT_BLOCK == 0) {
			const uint8_t *page = at - pos % ADIT_BLOCK;

			if (!adit__reachable(fs, adit__offset_of(fs, page), ADIT_BLOCK, "log")) {
				pos |= ADIT_BLOCK - ADIT_LINE;
				continue;
			}
			/* Not reached yet in the first round: nor is what follows. */
			if (pos < fs->ring_bytes && page_is_zero(page))
				return NULL;
		}
		if (is_stray(fs, lane, end, (const struct adit_record_pm *)at))
			return (const struct adit_record_pm *)at;
	}
	return NULL;
}

/* Whoever was killed may have left a record, or the slot itself, in the caches only; if the power fails
 * later, either is lost.  So what recovery builds on is durable before it stores anything. */
static int claim_log(struct adit_fs *fs)
{
	unsigned slot = get64(fs->ckpt_work->slot.generation) % 2;

	if (adit__log_knows_newer(fs, &fs->ckpt_work->slot)) {
		adit__report(fs, "checkpoint: the newest slot is damaged: run fsck");
		return -EBADMSG;
	}
	adit__pm_flush(&fs->pm, adit__ckpt_slot(fs, slot), ckpt_bytes(fs));
	for (uint32_t i = 0; i < fs->lanes; i++) {
		struct adit_vol_lane *vl = &fs->vol->lane[i];
		const struct adit_record_pm *r;
		uint64_t pos = vl->head;

		while ((r = next_record(fs, i)) != NULL) {
			if (get64(r->pos) != pos) /* past a pad */
				adit__pm_flush(&fs->pm, ring_at(fs, i, pos), sizeof *r);
			adit__pm_flush(&fs->pm, r, get32(r->len));
			vl->head = pos = adit__record_end(fs, r);
		}
		vl->head = vl->tail;
		r = fs->was_clean ? NULL : adit__log_stray(fs, i, pos);
		if (r) {
			adit__report(fs, "lane %u: a record at %llu is damaged, and what was "
				     "acknowledged after it cannot be applied: run fsck",
				     i, (unsigned long long)pos);
			return -EUCLEAN;
		}
	}
	adit__pm_fence(&fs->pm);
	return 0;
}

/* Everything is in place and the rings are empty: from here on records carry
 * another number, so that nothing that lies in the rings counts any more. */
static void renew_nonce(struct adit_fs *fs)
{
	struct adit_ckpt_work *w = fs->ckpt_work;

	w->making = w->slot;
	w->making.nonce = put64(fs->env->random64());
	w->making.generation = put64(get64(w->slot.generation) + 1);
	adit__ckpt_store(fs, &w->making);
	w->slot = w->making;
	fs->vol->generation = get64(w->slot.generation);
	fs->log_nonce = get64(w->slot.nonce);
}

int adit__log_recover(struct adit_fs *fs)
{
	const struct adit_record_pm **next = fs->ckpt_work->next;
	uint64_t applied = 0;
	int err = claim_log(fs);

	if (err)
		return err;
	for (uint32_t i = 0; i < fs->lanes; i++)
		next[i] = next_record(fs, i);
	for (;;) {
		const struct adit_record_pm *first = NULL;
		uint32_t lane = 0;

		for (uint32_t i = 0; i < fs->lanes; i++) {
			if (next[i] && (!first || get64(next[i]->seq) < get64(first->seq))) {
				first = next[i];
				lane = i;
			}
		}
		if (!first)
			break;
		adit__apply_record(fs, first);
		fs->vol->seq = get64(first->seq);
		fs->vol->lane[lane].head = adit__record_end(fs, first);
		next[lane] = next_record(fs, lane);
		applied++;
	}
	if (applied != 0) {
		checkpoint_to(fs, fs->vol->seq);
		fs->vol->free_blocks = adit__total_free(fs);
	}
	if (adit__has_stopped(fs))
		return -EIO;
	renew_nonce(fs);
	return 0;
}
