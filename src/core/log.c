/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Change sets: collect what changes, write it as one record of the lane, apply.
 *
 * States of a set, and the functions that lead from one to the next:
 *
 *	idle --op_begin_write--> collecting --cs_put...--> collecting
 *	collecting --cs_drop--> collecting (empty)
 *	collecting --cs_commit: record durable--> applying --> collecting (empty)
 *	collecting --op_end--> idle
 *
 * Invariants (docs/invariants.md): I1 nothing reachable is stored to before
 * the record is durable; I3 sequence numbers are drawn under the operation's
 * locks; I4 active_low is published before the number is drawn, so that C
 * never passes a record that is not applied; I7 dirty_seq rises before the
 * bytes change.
 */
#include "core/log.h"
#include "core/alloc.h"
#include "core/inode.h"
#include "core/linux_abi.h"

#define CS_BUF_BYTES (ADIT_REC_MAX + 4096u)
#define HEADER_BYTES sizeof(struct adit_record_pm)
#define RUN_ROOM (ADIT_REC_MAX / ADIT_CS_RUNS + 1u)

struct adit_cs *adit__cs_create(struct adit_fs *fs, uint32_t lane)
{
	struct adit_cs *cs = fs->env->alloc(sizeof *cs);

	if (!cs)
		return NULL;
	cs->buf = fs->env->alloc(CS_BUF_BYTES);
	if (!cs->buf) {
		fs->env->free(cs);
		return NULL;
	}
	cs->fs = fs;
	cs->lane = lane;
	cs->len = HEADER_BYTES;
	cs->set = &fs->sets[lane];
	cs->set->nruns = cs->set->notes = cs->set->claimed = 0;
	return cs;
}

void adit__cs_destroy(struct adit_cs *cs)
{
	if (!cs)
		return;
	for (unsigned i = 0; i < ADIT_CS_TOUCHED; i++)
		cs->fs->env->free(cs->shadow[i]);
	cs->fs->env->free(cs->buf);
	cs->fs->env->free(cs);
}

struct adit_fs *adit__cs_fs(const struct adit_cs *cs)
{
	return cs->fs;
}

size_t adit__cs_room(const struct adit_cs *cs)
{
	/* The inode copies' differences are still to come. */
	size_t used = cs->len + cs->ninodes * (ADIT_INODE_BYTES + 64u);

	if (cs->ntouched + 24 > ADIT_CS_TOUCHED || used >= ADIT_REC_MAX)
		return 0;
	if (ADIT_UNLIKELY(cs->fs->full_after != 0) && used > cs->fs->full_after)
		return cs->fs->full_room;
	/* A run costs room in the set as well; counted so, each takes as little as a small entry. */
	return min_u64(ADIT_REC_MAX - used, (ADIT_CS_RUNS - cs->set->nruns) * RUN_ROOM);
}

bool adit__cs_dirty(const struct adit_cs *cs)
{
	return cs->len > HEADER_BYTES;
}

/* ---- entries ----------------------------------------------------------- */

static struct adit_entry_pm *entry_new(struct adit_cs *cs, size_t payload)
{
	struct adit_entry_pm *e;

	if (cs->len + sizeof *e + payload > ADIT_REC_MAX) {
		cs->err = -E2BIG;
		return NULL;
	}
	e = (struct adit_entry_pm *)(cs->buf + cs->len);
	cs->len += sizeof *e + payload;
	return e;
}

static bool kind_has_shadow(uint8_t kind)
{
	return kind == ADIT_KIND_NODE || kind == ADIT_KIND_ROOT;
}

static struct adit_touched *touched_find(struct adit_cs *cs, uint64_t block)
{
	for (unsigned i = cs->ntouched; i-- > 0;)
		if (cs->touched[i].block == block)
			return &cs->touched[i];
	return NULL;
}

static struct adit_touched *touch(struct adit_cs *cs, uint64_t block)
{
	struct adit_touched *t = touched_find(cs, block);

	if (t)
		return t;
	if (cs->ntouched == ADIT_CS_TOUCHED) {
		cs->err = -E2BIG;
		return NULL;
	}
	t = &cs->touched[cs->ntouched++];
	t->block = block;
	t->shadow = NULL;
	return t;
}

/* Most entries are a few words: not worth a call. */
static inline void copy_words(void *to, const void *from, size_t len)
{
	if (len > 64) {
		memcpy(to, from, len);
		return;
	}
	for (size_t i = 0; i < len; i += 8)
		memcpy((uint8_t *)to + i, (const uint8_t *)from + i, 8);
}

void adit__cs_put(struct adit_cs *cs, uint64_t offset, const void *bytes, size_t len, uint8_t kind)
{
	struct adit_entry_pm *e = entry_new(cs, len);

	if (!e)
		return;
	*e = (struct adit_entry_pm){.where = put64(offset), .len = put32((uint32_t)len),
				    .op = ADIT_OP_WRITE, .kind = kind};
	copy_words(e + 1, bytes, len);
	if (kind_has_shadow(kind)) {
		struct adit_touched *t = touch(cs, offset >> ADIT_BLOCK_SHIFT);

		if (t && t->shadow)
			memcpy(t->shadow + (offset & (ADIT_BLOCK - 1)), bytes, len);
	}
}

void adit__cs_zero(struct adit_cs *cs, uint64_t offset, size_t len, uint8_t kind)
{
	struct adit_entry_pm *e = entry_new(cs, 0);

	if (!e)
		return;
	*e = (struct adit_entry_pm){.where = put64(offset), .len = put32((uint32_t)len),
				    .op = ADIT_OP_ZERO, .kind = kind};
	if (kind_has_shadow(kind)) {
		struct adit_touched *t = touch(cs, offset >> ADIT_BLOCK_SHIFT);

		if (t && t->shadow)
			memset(t->shadow + (offset & (ADIT_BLOCK - 1)), 0, len);
	}
}

void adit__cs_alloc_entry(struct adit_cs *cs, uint8_t op, uint64_t block, uint64_t count)
{
	struct adit_entry_pm *e = NULL;

	if (op == ADIT_OP_ALLOC && cs->set->nruns == ADIT_CS_RUNS)
		cs->err = -E2BIG;
	else
		e = entry_new(cs, 0);
	if (!e) {
		if (op == ADIT_OP_ALLOC)
			adit__alloc_unreserve(cs->fs, block, count);
		return;
	}
	if (op == ADIT_OP_ALLOC)
		cs->set->run[cs->set->nruns++] = adit__run_word(block, count);
	*e = (struct adit_entry_pm){.where = put64(block), .len = put32((uint32_t)count),
				    .op = op, .kind = ADIT_KIND_BITMAP};
	cs->d_free_blocks += op == ADIT_OP_FREE ? (int64_t)count : -(int64_t)count;
}

void adit__cs_count_inodes(struct adit_cs *cs, int delta)
{
	cs->d_used_inodes += delta;
}

void adit__cs_note_data(struct adit_cs *cs, uint64_t ino)
{
	struct adit_vol_set *set = cs->set;
	const struct adit_inode_pm *ip = adit__inode_slot(cs->fs, ino);
	uint64_t at = ip ? adit__offset_of(cs->fs, ip) : 0;

	for (unsigned i = 0; i < set->notes; i++)
		if (set->note[i] == at)
			return;
	if (set->notes == 2) {
		cs->err = -E2BIG;
		return;
	}
	set->note[set->notes++] = at;
}

static uint64_t intent_offset(const struct adit_fs *fs, uint32_t lane)
{
	return (get64(fs->super.intent_start) << ADIT_BLOCK_SHIFT) +
	       lane * sizeof(struct adit_intent_pm);
}

void adit__cs_intent(struct adit_cs *cs, uint32_t type, uint64_t ino, uint32_t generation,
		     uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	struct adit_intent_pm in = {.type = put32(type), .generation = put32(generation),
				    .ino = put64(ino), .a = put64(a), .b = put64(b),
				    .c = put64(c), .d = put64(d)};

	adit__cs_put(cs, intent_offset(cs->fs, cs->lane), &in, sizeof in, ADIT_KIND_INTENT);
}

bool adit__cs_intent_active(const struct adit_cs *cs)
{
	const struct adit_intent_pm *in = adit__at(cs->fs, intent_offset(cs->fs, cs->lane));

	return get32(in->type) != ADIT_INTENT_NONE;
}

/* ---- views ---------------------------------------------------------------- */

static uint8_t *shadow_make(struct adit_cs *cs, struct adit_touched *t)
{
	uint64_t base = t->block << ADIT_BLOCK_SHIFT;
	uint8_t **slot = &cs->shadow[cs->nshadows];

	if (!*slot)
		*slot = cs->fs->env->alloc(ADIT_BLOCK);
	if (!*slot)
		return NULL;
	cs->nshadows++;
	t->shadow = *slot;
	memcpy(t->shadow, adit__at(cs->fs, base), ADIT_BLOCK);
	for (size_t at = HEADER_BYTES; at < cs->len;) {
		const struct adit_entry_pm *e = adit__entry_at(cs->buf, at);
		uint64_t where = get64(e->where);

		at += adit__entry_bytes(e);
		if (!kind_has_shadow(e->kind) || where < base || where >= base + ADIT_BLOCK)
			continue;
		if (e->op == ADIT_OP_WRITE)
			memcpy(t->shadow + (where - base), e + 1, get32(e->len));
		else
			memset(t->shadow + (where - base), 0, get32(e->len));
	}
	return t->shadow;
}

const void *adit__cs_view_block(struct adit_cs *cs, struct adit_fs *fs, uint64_t block)
{
	struct adit_touched *t = cs ? touched_find(cs, block) : NULL;

	if (!t)
		return adit__block_at(fs, block);
	if (!t->shadow && !shadow_make(cs, t)) {
		cs->err = -ENOMEM;
		return adit__block_at(fs, block);
	}
	return t->shadow;
}

const struct adit_root_pm *adit__cs_root(struct adit_cs *cs)
{
	return adit__cs_view_block(cs, cs->fs, get64(cs->fs->super.root_block));
}

struct adit_cs_inode_copy *adit__cs_slot(struct adit_cs *cs, uint64_t ino, uint64_t offset,
					 uint8_t kind)
{
	struct adit_cs_inode_copy *c;

	for (unsigned i = 0; i < cs->ninodes; i++)
		if (cs->inode[i].offset == offset)
			return &cs->inode[i];
	if (cs->ninodes == ADIT_CS_INODES) {
		cs->err = -E2BIG;
		return NULL;
	}
	c = &cs->inode[cs->ninodes++];
	c->ino = ino;
	c->offset = offset;
	c->kind = kind;
	memcpy(&c->was, adit__at(cs->fs, offset), ADIT_INODE_BYTES);
	c->now = c->was;
	return c;
}

int adit__cs_inode(struct adit_cs *cs, uint64_t ino, struct adit_inode_pm **out)
{
	struct adit_fs *fs = cs->fs;
	struct adit_cs_inode_copy *c;
	const struct adit_inode_pm *ip;
	int err;

	if (ino == ADIT_INO_ITABLE)
		return -ESTALE;
	for (unsigned i = 0; i < cs->ninodes; i++)
		if (cs->inode[i].ino == ino) {
			*out = &cs->inode[i].now.inode;
			return 0;
		}
	err = adit__inode_get(fs, ino, &ip);
	if (err)
		return err;
	c = adit__cs_slot(cs, ino, adit__offset_of(fs, ip), ADIT_KIND_INODE);
	if (!c)
		return -E2BIG;
	*out = &c->now.inode;
	return 0;
}

int adit__cs_itable(struct adit_cs *cs, struct adit_inode_pm **out)
{
	struct adit_cs_inode_copy *c =
		adit__cs_slot(cs, ADIT_INO_ITABLE, adit__offset_of(cs->fs, &cs->fs->root->itable),
			      ADIT_KIND_ROOT);

	if (!c)
		return -E2BIG;
	*out = &c->now.inode;
	return 0;
}

struct adit_inode_pm *adit__cs_new_inode(struct adit_cs *cs, uint64_t ino)
{
	struct adit_inode_pm *slot = adit__inode_slot(cs->fs, ino);
	struct adit_cs_inode_copy *c =
		adit__cs_slot(cs, ino, adit__offset_of(cs->fs, slot), ADIT_KIND_INODE);

	return c ? &c->now.inode : NULL;
}

/* One bit for each word that differs; words 1-3 are volatile. */
static uint32_t differences(const struct adit_cs_inode_copy *c)
{
	uint32_t mask = c->was.word[0] != c->now.word[0];

	for (unsigned line = 0; line < ADIT_INODE_BYTES / 8; line += 8) {
		const uint64_t *a = &c->was.word[line], *b = &c->now.word[line];
		uint64_t any = 0;

		for (unsigned i = 0; i < 8; i++)
			any |= a[i] ^ b[i];
		for (unsigned i = 0; any != 0 && i < 8; i++)
			mask |= (uint32_t)(a[i] != b[i]) << (line + i);
	}
	return mask & ~0xeu;
}

/* Log the words that differ; runs no further apart than an entry's header are
 * joined, but never across the volatile words. */
static void put_differences(struct adit_cs *cs, const struct adit_cs_inode_copy *c)
{
	uint32_t mask = differences(c);

	while (mask != 0) {
		unsigned first = (unsigned)__builtin_ctz(mask), last = first;

		mask &= mask - 1;
		while (mask != 0 && first != 0 && (unsigned)__builtin_ctz(mask) - last <= 3) {
			last = (unsigned)__builtin_ctz(mask);
			mask &= mask - 1;
		}
		adit__cs_put(cs, c->offset + first * 8ull, &c->now.word[first],
			     (last - first + 1) * 8ull, c->kind);
	}
}

/* ---- fresh memory and data in place ---------------------------------------- */

void adit__cs_fresh(struct adit_cs *cs, uint64_t offset, const void *bytes, size_t len)
{
	cs->fresh = true;
	adit__pm_copy_nt(&cs->fs->pm, adit__at(cs->fs, offset), bytes, len);
}

void adit__cs_fresh_zero(struct adit_cs *cs, uint64_t offset, size_t len)
{
	cs->fresh = true;
	adit__pm_zero_nt(&cs->fs->pm, adit__at(cs->fs, offset), len);
}

void adit__cs_data(struct adit_cs *cs, uint64_t offset, const void *bytes, size_t len)
{
	cs->data = true;
	adit__pm_copy_nt(&cs->fs->pm, adit__at(cs->fs, offset), bytes, len);
}

/* ---- applying -------------------------------------------------------------- */

static void raise_dirty(struct adit_fs *fs, const struct adit_entry_pm *e, uint64_t seq)
{
	uint64_t where = get64(e->where), base;

	switch (e->kind) {
	case ADIT_KIND_INODE:
		base = where & ~(uint64_t)(ADIT_INODE_BYTES - 1);
		adit__pm_max64(&fs->pm, adit__at(fs, base + 8), seq);
		break;
	case ADIT_KIND_NODE:
		/* One writer at a time, by its owner's lock. A new node: what stood there before
		 * means nothing. */
		base = where & ~(uint64_t)(ADIT_BLOCK - 1);
		if (where == base || get64_relaxed(adit__at(fs, base + 8)) < seq)
			adit__pm_store64(&fs->pm, adit__at(fs, base + 8), put64(seq).v);
		break;
	case ADIT_KIND_ROOT:
		base = where & ~(uint64_t)(ADIT_BLOCK - 1);
		adit__pm_max64(&fs->pm, adit__at(fs, base + 8), seq);
		break;
	default:
		break;
	}
}

static void apply_entry(struct adit_fs *fs, const struct adit_entry_pm *e, uint64_t seq)
{
	uint64_t where = get64(e->where);

	switch (e->op) {
	case ADIT_OP_WRITE:
		raise_dirty(fs, e, seq);
		__atomic_thread_fence(__ATOMIC_RELEASE);
		adit__pm_store(&fs->pm, adit__at(fs, where), e + 1, get32(e->len));
		break;
	case ADIT_OP_ZERO:
		raise_dirty(fs, e, seq);
		__atomic_thread_fence(__ATOMIC_RELEASE);
		adit__pm_zero(&fs->pm, adit__at(fs, where), get32(e->len));
		break;
	default:
		adit__alloc_apply(fs, where, get32(e->len), e->op == ADIT_OP_ALLOC, seq);
		break;
	}
}

/* The lane's own sums: one writer at a time, read by anybody. */
static void add_to(uint64_t *sum, le32 change)
{
	if (get32(change) != 0)
		__atomic_store_n(sum,
				 __atomic_load_n(sum, __ATOMIC_RELAXED) +
					 (uint64_t)(int64_t)(int32_t)get32(change),
				 __ATOMIC_RELAXED);
}

static bool entry_is_reachable(struct adit_fs *fs, const struct adit_entry_pm *e)
{
	uint64_t where = get64(e->where), n = get32(e->len), bitmap, word, seal;

	if (e->op == ADIT_OP_WRITE || e->op == ADIT_OP_ZERO)
		return adit__reachable(fs, where, n, "what a record changes");
	for (uint64_t b = where; b < where + n; b += 8 * ADIT_BLOCK - b % (8 * ADIT_BLOCK)) {
		adit__bitmap_where(fs, b, &bitmap, &word, &seal);
		if (!adit__reachable(fs, bitmap, ADIT_BLOCK, "bitmap") ||
		    !adit__reachable(fs, seal, 16, "group header"))
			return false;
	}
	return true;
}

void adit__count_record(struct adit_vol_lane *vl, uint64_t bytes)
{
	__atomic_store_n(&vl->records, vl->records + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&vl->record_bytes, vl->record_bytes + bytes, __ATOMIC_RELAXED);
}

void adit__apply_record(struct adit_fs *fs, const struct adit_record_pm *r)
{
	struct adit_vol_lane *vl = &fs->vol->lane[get16(r->lane)];
	const uint8_t *buf = (const uint8_t *)r;
	size_t len = get32(r->len);

	for (size_t at = HEADER_BYTES; at < len;) {
		const struct adit_entry_pm *e = adit__entry_at(buf, at);

		if (ADIT_LIKELY(!fs->careful) || entry_is_reachable(fs, e))
			apply_entry(fs, e, get64(r->seq));
		at += adit__entry_bytes(e);
	}
	add_to(&vl->free_blocks, r->free_blocks);
	add_to(&vl->used_inodes, r->used_inodes);
}

/* ---- commit ------------------------------------------------------------------ */

static void forget(struct adit_cs *cs)
{
	cs->len = HEADER_BYTES;
	cs->err = 0;
	cs->fresh = cs->data = false;
	cs->d_free_blocks = cs->d_used_inodes = 0;
	cs->ntouched = cs->ninodes = cs->nshadows = 0;
	cs->set->nruns = cs->set->notes = 0;
}

void adit__cs_drop(struct adit_cs *cs)
{
	/* What was stored already must not arrive after what the blocks' next owner stores. */
	if (cs->fresh || cs->data)
		adit__pm_fence(&cs->fs->pm);
	while (cs->set->nruns > 0) {
		uint64_t run = cs->set->run[cs->set->nruns - 1];

		adit__alloc_unreserve(cs->fs, run >> 24, run & 0xffffff);
		cs->set->nruns--;
	}
	forget(cs);
}

static uint8_t *ring_at(const struct adit_fs *fs, uint32_t lane, uint64_t pos)
{
	return adit__at(fs, (get64(fs->super.lane_start) << ADIT_BLOCK_SHIFT) +
				    lane * fs->ring_bytes + pos % fs->ring_bytes);
}

/* A record never wraps: fill what is left of the ring with a pad. Flushed with
 * the record that follows, before the same fence. */
/* I19 */
static uint16_t record_flags(const struct adit_fs *fs)
{
	return (uint16_t)(__atomic_load_n(&fs->vol->generation, __ATOMIC_RELAXED)
			  << ADIT_RECORD_SLOT_SHIFT);
}

static void write_pad(struct adit_cs *cs, uint64_t pos, uint64_t bytes)
{
	struct adit_fs *fs = cs->fs;
	struct adit_record_pm r = {.magic = put32(ADIT_MAGIC_RECORD), .pos = put64(pos),
				   .len = put32((uint32_t)bytes),
				   .lane = put16((uint16_t)cs->lane),
				   .flags = put16(record_flags(fs) | ADIT_RECORD_PAD),
				   .nonce = put64(fs->log_nonce)};

	r.crc = put32(fs->env->crc32c(cs->lane, (uint8_t *)&r + 4, sizeof r - 4));
	adit__pm_copy_nt(&fs->pm, ring_at(fs, cs->lane, pos), &r, sizeof r);
}

/* The wait for the fence is a good time to fetch what is changed after it. */
static void prefetch_targets(const struct adit_cs *cs)
{
	for (size_t at = HEADER_BYTES, n = 0; at < cs->len && n < 16; n++) {
		const struct adit_entry_pm *e = adit__entry_at(cs->buf, at);

		if (e->kind != ADIT_KIND_BITMAP)
			__builtin_prefetch(adit__at(cs->fs, get64(e->where)), 1);
		at += adit__entry_bytes(e);
	}
}

/* Pre: ring has room; locks of everything the set names are held.
 * Commits at: the fence.  After a crash: before it, nothing or the whole
 * record; after it, the whole record. */
static uint64_t write_record(struct adit_cs *cs, struct adit_vol_lane *vl, uint64_t *end)
{
	struct adit_fs *fs = cs->fs;
	struct adit_record_pm *r = (struct adit_record_pm *)cs->buf;
	uint64_t pos = vl->head, seq;
	uint64_t left = fs->ring_bytes - pos % fs->ring_bytes;

	/* I4: a bound first, then the number: whoever reads the number (choose_c) sees the bound,
	 * because drawing it releases what was stored before. The bound is loose only until the
	 * number is known; reading the number first would move its line twice. */
	__atomic_store_n(&vl->active_low, 1, __ATOMIC_RELAXED);
	seq = __atomic_add_fetch(&fs->vol->seq, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&vl->active_low, seq, __ATOMIC_RELAXED);
	if (left < cs->len) {
		write_pad(cs, pos, left);
		pos += left;
	}
	*r = (struct adit_record_pm){.magic = put32(ADIT_MAGIC_RECORD), .seq = put64(seq),
				     .pos = put64(pos), .len = put32((uint32_t)cs->len),
				     .lane = put16((uint16_t)cs->lane),
				     .flags = put16(record_flags(fs)),
				     .free_blocks = put32((uint32_t)(int32_t)cs->d_free_blocks),
				     .used_inodes = put32((uint32_t)(int32_t)cs->d_used_inodes),
				     .nonce = put64(fs->log_nonce)};
	r->crc = put32(fs->env->crc32c(cs->lane, cs->buf + 4, cs->len - 4));
	adit__pm_copy_nt(&fs->pm, ring_at(fs, cs->lane, pos), cs->buf, cs->len);
	prefetch_targets(cs);
	adit__pm_fence(&fs->pm);
	*end = round_up_u64(pos + cs->len, ADIT_LINE);
	return seq;
}

void adit__apply_notes(struct adit_fs *fs, const struct adit_vol_set *set, uint64_t seq)
{
	for (unsigned i = 0; i < set->notes && i < 2; i++) {
		struct adit_inode_pm *ip = adit__at(fs, set->note[i]);

		if (set->note[i] != 0)
			adit__pm_max64(&fs->pm, &ip->data_seq, seq);
	}
}

static int make_room(struct adit_fs *fs, uint32_t lane)
{
	while (!adit__lane_has_room(fs, lane)) {
		int err = adit__checkpoint(fs);

		if (err)
			return err;
		if (!adit__lane_has_room(fs, lane))
			fs->env->yield(); /* somebody is between draw and apply */
	}
	return 0;
}

int adit__cs_commit(struct adit_cs *cs)
{
	struct adit_fs *fs = cs->fs;
	struct adit_vol_lane *vl = &fs->vol->lane[cs->lane];
	uint64_t seq, end;
	int err;

	for (unsigned i = 0; i < cs->ninodes; i++)
		put_differences(cs, &cs->inode[i]);
	err = cs->err;
	if (!err && adit__has_stopped(fs))
		err = -EIO;
	if (!err)
		err = make_room(fs, cs->lane);
	if (err) {
		adit__cs_drop(cs);
		return err;
	}
	if (!adit__cs_dirty(cs)) {
		if (cs->fresh || cs->data)
			adit__pm_fence(&fs->pm);
		forget(cs);
		return 0;
	}
	if (cs->fresh)
		adit__pm_fence(&fs->pm);
	/* A media fault from here on leaves a record that may or may not count:
	 * the pool has to be opened again (adit__op_end). */
	cs->applying = true;
	seq = write_record(cs, vl, &end);
	adit__apply_notes(fs, cs->set, seq);
	adit__apply_record(fs, (const struct adit_record_pm *)cs->buf);
	__atomic_store_n(&vl->head, end, __ATOMIC_RELEASE);
	__atomic_store_n(&vl->active_low, UINT64_MAX, __ATOMIC_RELEASE);
	adit__count_record(vl, cs->len);
	cs->applying = false;
	forget(cs);
	return 0;
}
