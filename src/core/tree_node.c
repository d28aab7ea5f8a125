/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * One node of the B+tree: searching it, and the few puts that change it.
 *
 * A leaf's slots grow up behind the header, its records grow down from the
 * block's end.  live_bytes counts the records that slots reach, each rounded
 * up to 16; what lies between them is garbage that compacting squeezes out.
 * Nothing looks at bytes that no slot reaches, so they are never cleared.
 *
 * The common changes put as little as possible, because every byte is logged:
 * a record, the word around its slot, the header word at offset 40.
 *
 * Neighbours: tree.c (paths, splits), seal.c (verification), format.h.
 */
#include "core/tree_node.h"

#define HEADER_WORD offsetof(struct adit_node_pm, count)

static inline uint64_t block_offset(uint64_t block)
{
	return block << ADIT_BLOCK_SHIFT;
}

static inline le16 make_slot(uint64_t key, unsigned offset)
{
	return put16((uint16_t)(offset / ADIT_RECORD_ALIGN |
				(unsigned)adit__tree_fingerprint(key) << 8));
}

static inline uint64_t key_at(const struct adit_node_pm *node, unsigned slot)
{
	return get64(adit__leaf_rec(node, slot)->key);
}

/* ---- looking ---------------------------------------------------------- */

/* Ordered: the first slot whose key is >= key. */
static unsigned lower_bound(const struct adit_node_pm *node, uint64_t key)
{
	unsigned low = 0, high = get16(node->count);

	/* Appending is the common case. */
	if (high > 0 && key_at(node, high - 1) < key)
		return high;
	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (key_at(node, mid) < key)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool adit__leaf_find(const struct adit_node_pm *node, bool ordered, uint64_t key, unsigned *slot)
{
	struct adit_leaf_scan scan;

	if (ordered) {
		*slot = lower_bound(node, key);
		return *slot < get16(node->count) && key_at(node, *slot) == key;
	}
	scan = adit__leaf_scan(node, adit__tree_fingerprint(key));
	while (adit__scan_next(&scan, slot)) {
		if (key_at(node, *slot) == key)
			return true;
	}
	*slot = scan.count;
	return false;
}

int adit__leaf_find_ge(const struct adit_node_pm *node, bool ordered, uint64_t key)
{
	unsigned count = get16(node->count);
	uint64_t best = 0;
	int found = -1;
	unsigned i;

	if (ordered) {
		i = lower_bound(node, key);
		return i < count ? (int)i : -1;
	}
	for (i = 0; i < count; i++) {
		uint64_t k = key_at(node, i);

		if (k >= key && (found < 0 || k < best)) {
			best = k;
			found = (int)i;
		}
	}
	return found;
}

int adit__leaf_find_le(const struct adit_node_pm *node, bool ordered, uint64_t key)
{
	unsigned count = get16(node->count);
	uint64_t best = 0;
	int found = -1;
	unsigned i;

	if (ordered) {
		i = lower_bound(node, key);
		if (i < count && key_at(node, i) == key)
			return (int)i;
		return (int)i - 1;
	}
	for (i = 0; i < count; i++) {
		uint64_t k = key_at(node, i);

		if (k <= key && (found < 0 || k > best)) {
			best = k;
			found = (int)i;
		}
	}
	return found;
}

/* Shell sort: in place, and quick on what is sorted already. */
unsigned adit__leaf_sorted(const struct adit_node_pm *node, uint8_t *idx)
{
	static const uint8_t gaps[] = {57, 23, 10, 4, 1};
	unsigned count = get16(node->count);
	unsigned g, i, j;

	if (count > ADIT_LEAF_SLOTS_MAX)
		count = ADIT_LEAF_SLOTS_MAX;
	for (i = 0; i < count; i++)
		idx[i] = (uint8_t)i;
	for (g = 0; g < sizeof gaps; g++) {
		unsigned gap = gaps[g];

		for (i = gap; i < count; i++) {
			uint8_t moving = idx[i];
			uint64_t key = key_at(node, moving);

			for (j = i; j >= gap && key_at(node, idx[j - gap]) > key; j -= gap)
				idx[j] = idx[j - gap];
			idx[j] = moving;
		}
	}
	return count;
}

/* ---- writing ---------------------------------------------------------- */

/*
 * Gathers bytes from the top down, so that few entries carry them.  Copying to
 * a higher address of the node that the bytes come from is safe: what was put
 * lies above everything that is still to be read, and the buffer parts source
 * and put.
 */
#define GATHER_BYTES 512u
struct gather {
	struct adit_cs *cs;
	uint64_t base;	/* pool offset of the node */
	unsigned low;	/* node offset of the lowest byte gathered */
	unsigned high;	/* behind the highest one that is not put yet */
	uint8_t bytes[GATHER_BYTES] __attribute__((aligned(8)));
};

static inline void gather_init(struct gather *g, struct adit_cs *cs, uint64_t block, unsigned high)
{
	g->cs = cs;
	g->base = block_offset(block);
	g->low = g->high = high;
}

static void gather_put(struct gather *g)
{
	unsigned n = g->high - g->low;

	if (n > 0)
		adit__cs_put(g->cs, g->base + g->low, g->bytes + GATHER_BYTES - n, n,
			     ADIT_KIND_NODE);
	g->high = g->low;
}

/* The bytes below what is there; src NULL: zeros. */
static void gather(struct gather *g, const void *src, unsigned len)
{
	while (len > 0) {
		unsigned have = g->high - g->low;
		unsigned n = GATHER_BYTES - have;
		uint8_t *to;

		if (n > len)
			n = len;
		to = g->bytes + GATHER_BYTES - have - n;
		len -= n;
		if (src)
			memcpy(to, (const uint8_t *)src + len, n);
		else
			memset(to, 0, n);
		g->low -= n;
		if (have + n == GATHER_BYTES)
			gather_put(g);
	}
}

/* The same for whole units of a leaf's heap. */
static inline void gather_units(struct gather *g, const void *src, unsigned len)
{
	while (len > 0) {
		if (g->high - g->low == GATHER_BYTES)
			gather_put(g);
		g->low -= ADIT_RECORD_ALIGN;
		len -= ADIT_RECORD_ALIGN;
		memcpy(g->bytes + GATHER_BYTES - (g->high - g->low), (const uint8_t *)src + len,
		       ADIT_RECORD_ALIGN);
	}
}

/* A caller's record has no padding behind it; a leaf's has. */
static void gather_record(struct gather *g, const struct adit_rec_pm *rec, unsigned align)
{
	unsigned len = get16(rec->len);

	gather(g, NULL, (align - len % align) % align);
	gather(g, rec, len);
}

static void put_header(struct adit_cs *cs, uint64_t block, const struct adit_node_pm *node,
		       unsigned count, unsigned heap_top, unsigned live)
{
	struct {
		le16 count, heap_top, live_bytes;
		uint8_t level, type;
	} word = {
		put16((uint16_t)count), put16((uint16_t)heap_top), put16((uint16_t)live),
		node->level, node->type,
	};

	ADIT_STATIC_ASSERT(sizeof word == 8, "one word");
	adit__cs_put(cs, block_offset(block) + HEADER_WORD, &word, sizeof word, ADIT_KIND_NODE);
}

/* Everything of a new node up to the end of its slots; the first word carries
 * the magic, dirty_seq belongs to the log. */
struct new_head {
	le64 first; /* crc 0, magic */
	le64 block;
	le64 owner;
	le32 uuid_tag;
	le32 birth_epoch;
	le16 count, heap_top, live_bytes;
	uint8_t level, type;
	le64 reserved[2];
	le16 slot[ADIT_LEAF_SLOTS_MAX + 4];
};
ADIT_AT(struct new_head, count, HEADER_WORD - 8);
ADIT_AT(struct new_head, slot, ADIT_NODE_BODY - 8);

static void head_init(struct new_head *h, const struct adit_tree *t, uint64_t block)
{
	memset(h, 0, offsetof(struct new_head, slot));
	h->first = put64((uint64_t)ADIT_MAGIC_NODE << 32);
	h->block = put64(block);
	h->owner = put64(t->owner);
	h->uuid_tag = put32(t->fs->uuid_tag);
	h->birth_epoch = t->fs->root->epoch;
	h->type = t->type;
}

static void head_put(struct new_head *h, struct adit_cs *cs, uint64_t block, unsigned slots)
{
	uint64_t at = block_offset(block);
	unsigned tail = slots % 4;
	size_t len;

	for (; tail != 0 && tail < 4; tail++)
		h->slot[slots++] = put16(0);
	len = ADIT_NODE_BODY - ADIT_NODE_SEAL_FROM + 2u * slots;
	adit__cs_put(cs, at, &h->first, 8, ADIT_KIND_NODE);
	adit__cs_put(cs, at + ADIT_NODE_SEAL_FROM, &h->block, len, ADIT_KIND_NODE);
}

/* ---- leaves ------------------------------------------------------------- */

static __attribute__((noinline)) void
create_head(struct adit_tree *t, struct adit_cs *cs, uint64_t block,
	    const struct adit_node_pm *from, const uint8_t *idx, unsigned n,
	    const struct adit_rec_pm *rec, unsigned at)
{
	unsigned total = n + (rec != NULL), top = ADIT_BLOCK;
	struct new_head h;
	unsigned i, k = 0;

	head_init(&h, t, block);
	for (i = 0; i < total && i < ADIT_LEAF_SLOTS_MAX; i++) {
		const struct adit_rec_pm *r =
			rec && i == at ? rec : adit__leaf_rec(from, idx[k++]);

		top -= adit__rec_bytes(r);
		h.slot[i] = make_slot(get64(r->key), top);
	}
	h.count = put16((uint16_t)total);
	h.heap_top = put16((uint16_t)top);
	h.live_bytes = put16((uint16_t)(ADIT_BLOCK - top));
	head_put(&h, cs, block, total);
}

static __attribute__((noinline)) void
create_heap(struct adit_cs *cs, uint64_t block, const struct adit_node_pm *from,
	    const uint8_t *idx, unsigned n, const struct adit_rec_pm *rec, unsigned at)
{
	unsigned total = n + (rec != NULL);
	const struct adit_rec_pm *r;
	struct gather g;
	unsigned i, k = 0;

	gather_init(&g, cs, block, ADIT_BLOCK);
	for (i = 0; i < total && i < ADIT_LEAF_SLOTS_MAX; i++) {
		if (rec && i == at) {
			gather_record(&g, rec, ADIT_RECORD_ALIGN);
			continue;
		}
		r = adit__leaf_rec(from, idx[k++]);
		gather_units(&g, r, adit__rec_bytes(r));
	}
	gather_put(&g);
}

void adit__leaf_create(struct adit_tree *t, struct adit_cs *cs, uint64_t block,
		       const struct adit_node_pm *from, const uint8_t *idx, unsigned n,
		       const struct adit_rec_pm *rec, unsigned at)
{
	create_head(t, cs, block, from, idx, n, rec, at);
	create_heap(cs, block, from, idx, n, rec, at);
}

/* The aligned word around one slot. */
static void put_slot(struct adit_cs *cs, uint64_t block, const struct adit_node_pm *node,
		     unsigned slot, le16 value)
{
	unsigned at = ADIT_NODE_BODY + 2u * (slot & ~3u);
	le16 word[4] __attribute__((aligned(8)));

	memcpy(word, (const uint8_t *)node + at, sizeof word);
	word[slot & 3u] = value;
	adit__cs_put(cs, block_offset(block) + at, word, sizeof word, ADIT_KIND_NODE);
}

/* Ordered leaves: slots from `slot` on move up by one, or down over it. */
static __attribute__((noinline)) void
put_slots_shifted(struct adit_cs *cs, uint64_t block, const struct adit_node_pm *node,
		  unsigned slot, const le16 *added)
{
	le16 s[ADIT_LEAF_SLOTS_MAX + 8] __attribute__((aligned(8)));
	unsigned count = get16(node->count), first = slot & ~3u;
	unsigned n = count - first; /* slots in s */
	unsigned at = ADIT_NODE_BODY + 2u * first;

	/* The last word is read whole: it still lies below the heap. */
	memcpy(s, (const uint8_t *)node + at, ((n + 3) & ~3u) * 2u);
	if (added) {
		memmove(s + (slot - first) + 1, s + (slot - first), (count - slot) * sizeof *s);
		s[slot - first] = *added;
		n++;
	} else {
		memmove(s + (slot - first), s + (slot - first) + 1,
			(count - slot - 1) * sizeof *s);
		n--;
	}
	while (n % 4 != 0)
		s[n++] = put16(0);
	if (n > 0)
		adit__cs_put(cs, block_offset(block) + at, s, n * sizeof *s, ADIT_KIND_NODE);
}

static __attribute__((noinline)) void put_long_record(struct adit_cs *cs, uint64_t block,
						       unsigned offset,
						       const struct adit_rec_pm *rec)
{
	struct gather g;

	gather_init(&g, cs, block, offset + ((get16(rec->len) + 7u) & ~7u));
	gather_record(&g, rec, 8);
	gather_put(&g);
}

static void put_record(struct adit_cs *cs, uint64_t block, unsigned offset,
		       const struct adit_rec_pm *rec)
{
	unsigned len = get16(rec->len), whole = (len + 7u) & ~7u;
	uint8_t padded[GATHER_BYTES] __attribute__((aligned(8)));

	if (len == whole) {
		adit__cs_put(cs, block_offset(block) + offset, rec, len, ADIT_KIND_NODE);
	} else if (whole <= sizeof padded) {
		memset(padded + whole - 8, 0, 8);
		memcpy(padded, rec, len);
		adit__cs_put(cs, block_offset(block) + offset, padded, whole, ADIT_KIND_NODE);
	} else {
		put_long_record(cs, block, offset, rec);
	}
}

unsigned adit__leaf_hole(const struct adit_node_pm *node, unsigned bytes)
{
	unsigned units = bytes / ADIT_RECORD_ALIGN, count = get16(node->count);
	unsigned first = get16(node->heap_top) / ADIT_RECORD_ALIGN, run = 0;
	uint64_t used[4] = {0};

	for (unsigned i = 0; i < count && i < ADIT_LEAF_SLOTS_MAX; i++) {
		unsigned at = adit__leaf_offset(node, i) / ADIT_RECORD_ALIGN;
		unsigned n = adit__rec_bytes(adit__leaf_rec(node, i)) / ADIT_RECORD_ALIGN;

		for (; n > 0 && at < 256; n--, at++)
			used[at / 64] |= 1ull << (at % 64);
	}
	for (unsigned u = first; u < 256; u++) {
		run = used[u / 64] >> (u % 64) & 1 ? 0 : run + 1;
		if (run == units)
			return (u + 1 - units) * ADIT_RECORD_ALIGN;
	}
	return 0;
}

/* Where a record of this size and its slot fit without moving another, or 0. */
static unsigned leaf_offset_for(const struct adit_node_pm *node, unsigned size)
{
	unsigned gap = adit__leaf_gap(node);

	if (ADIT_LIKELY(gap >= size + 2))
		return get16(node->heap_top) - size;
	if (gap < 2 || adit__leaf_slack(node) < size + 2)
		return 0;
	return adit__leaf_hole(node, size);
}

bool adit__leaf_add(struct adit_cs *cs, uint64_t block, const struct adit_node_pm *node,
		    unsigned slot, const struct adit_rec_pm *rec)
{
	unsigned count = get16(node->count), live = get16(node->live_bytes);
	unsigned size = adit__rec_bytes(rec);
	unsigned offset = leaf_offset_for(node, size), top = get16(node->heap_top);
	le16 value = make_slot(get64(rec->key), offset);

	if (offset == 0)
		return false;
	put_record(cs, block, offset, rec);
	if (slot == count)
		put_slot(cs, block, node, slot, value);
	else
		put_slots_shifted(cs, block, node, slot, &value);
	put_header(cs, block, node, count + 1, offset < top ? offset : top, live + size);
	return true;
}

/* Only the words that differ. */
static void put_difference(struct adit_cs *cs, uint64_t block, unsigned offset,
			   const struct adit_rec_pm *old, const struct adit_rec_pm *rec)
{
	const uint8_t *a = (const uint8_t *)old, *b = (const uint8_t *)rec;
	unsigned len = get16(rec->len);
	unsigned first = 0, last = len / 8; /* whole words */

	if (memcmp(a + 8 * last, b + 8 * last, len % 8) != 0) {
		put_record(cs, block, offset, rec);
		return;
	}
	while (first < last && memcmp(a + 8 * first, b + 8 * first, 8) == 0)
		first++;
	while (first < last && memcmp(a + 8 * (last - 1), b + 8 * (last - 1), 8) == 0)
		last--;
	if (first < last)
		adit__cs_put(cs, block_offset(block) + offset + 8 * first, b + 8 * first,
			     8 * (last - first), ADIT_KIND_NODE);
}

bool adit__leaf_change(struct adit_cs *cs, uint64_t block, const struct adit_node_pm *node,
		       unsigned slot, const struct adit_rec_pm *rec)
{
	const struct adit_rec_pm *old = adit__leaf_rec(node, slot);
	unsigned count = get16(node->count), top = get16(node->heap_top);
	unsigned live = get16(node->live_bytes);
	unsigned was = adit__rec_bytes(old), size = adit__rec_bytes(rec);
	unsigned offset = adit__leaf_offset(node, slot);

	if (size <= was) {
		put_difference(cs, block, offset, old, rec);
		if (size != was)
			put_header(cs, block, node, count, top, live - was + size);
		return true;
	}
	if (adit__leaf_gap(node) < size)
		return false;
	offset = top - size;
	put_record(cs, block, offset, rec);
	put_slot(cs, block, node, slot, make_slot(get64(rec->key), offset));
	put_header(cs, block, node, count, offset, live - was + size);
	return true;
}

void adit__leaf_drop(struct adit_cs *cs, uint64_t block, const struct adit_node_pm *node,
		     bool ordered, unsigned slot)
{
	unsigned count = get16(node->count), top = get16(node->heap_top);
	unsigned live = get16(node->live_bytes);
	unsigned size = adit__rec_bytes(adit__leaf_rec(node, slot));

	/* The newest record leaves no hole: create and unlink in turn do not
	 * wear the leaf down. */
	if (adit__leaf_offset(node, slot) == top)
		top += size;
	if (slot != count - 1) {
		if (ordered)
			put_slots_shifted(cs, block, node, slot, NULL);
		else
			put_slot(cs, block, node, slot, adit__leaf_slots(node)[count - 1]);
	}
	put_header(cs, block, node, count - 1, top, live - size);
}

void adit__leaf_trim(struct adit_cs *cs, uint64_t block, const struct adit_node_pm *node,
		     uint64_t limit)
{
	le16 s[ADIT_LEAF_SLOTS_MAX + 4] __attribute__((aligned(8)));
	unsigned count = get16(node->count), kept = 0, live = 0, top = ADIT_BLOCK;
	unsigned same = 0; /* leading slots that stay as they are */
	unsigned i;

	for (i = 0; i < count && i < ADIT_LEAF_SLOTS_MAX; i++) {
		const struct adit_rec_pm *rec = adit__leaf_rec(node, i);
		unsigned offset = adit__leaf_offset(node, i);

		if (get64(rec->key) >= limit)
			continue;
		if (kept == i)
			same++;
		s[kept++] = adit__leaf_slots(node)[i];
		live += adit__rec_bytes(rec);
		if (offset < top)
			top = offset;
	}
	if (kept == count)
		return;
	count = kept;
	while (kept % 4 != 0)
		s[kept++] = put16(0);
	same &= ~3u;
	if (same < count)
		adit__cs_put(cs, block_offset(block) + ADIT_NODE_BODY + 2u * same, s + same,
			     (kept - same) * sizeof *s, ADIT_KIND_NODE);
	put_header(cs, block, node, count, top, live);
}

/* What compacting keeps. */
struct compact {
	const struct adit_node_pm *node;
	const struct adit_rec_pm *rec; /* joins them, or NULL */
	unsigned count;
	uint64_t used[4];   /* bit i: a record at offset 16 * i */
	uint8_t where[256]; /* then its new slot */
};

/* The next record to move, the highest first; NULL when all have been. */
static inline const struct adit_rec_pm *compact_next(const struct compact *c, uint64_t *used,
						     unsigned *unit)
{
	unsigned w = 4, bit;

	while (w > 0 && used[w - 1] == 0)
		w--;
	if (w == 0)
		return NULL;
	bit = 63u - (unsigned)__builtin_clzll(used[--w]);
	used[w] ^= 1ull << bit;
	*unit = w * 64 + bit;
	return (const struct adit_rec_pm *)(const void *)((const uint8_t *)c->node +
							  *unit * ADIT_RECORD_ALIGN);
}

static __attribute__((noinline)) void compact_heap(struct adit_cs *cs, uint64_t block,
						    const struct compact *c)
{
	uint64_t used[4] = {c->used[0], c->used[1], c->used[2], c->used[3]};
	const struct adit_rec_pm *rec;
	struct gather g;
	unsigned unit;

	gather_init(&g, cs, block, ADIT_BLOCK);
	while ((rec = compact_next(c, used, &unit)) != NULL)
		gather_units(&g, rec, adit__rec_bytes(rec));
	if (c->rec)
		gather_record(&g, c->rec, ADIT_RECORD_ALIGN);
	gather_put(&g);
}

/* The node may be what is put to: its records are looked at before they move,
 * and the slots, which may be one more, come last. */
static __attribute__((noinline)) void compact_put(struct adit_cs *cs, uint64_t block,
						   const struct compact *c)
{
	le16 s[ADIT_LEAF_SLOTS_MAX + 4] __attribute__((aligned(8)));
	uint64_t used[4] = {c->used[0], c->used[1], c->used[2], c->used[3]};
	unsigned count = c->count, top = ADIT_BLOCK, unit;
	const struct adit_rec_pm *rec;

	memset(s, 0, sizeof s);
	while ((rec = compact_next(c, used, &unit)) != NULL) {
		top -= adit__rec_bytes(rec);
		s[c->where[unit]] = make_slot(get64(rec->key), top);
	}
	if (c->rec) {
		top -= adit__rec_bytes(c->rec);
		s[count++] = make_slot(get64(c->rec->key), top);
	}
	compact_heap(cs, block, c);
	adit__cs_put(cs, block_offset(block) + ADIT_NODE_BODY, s, ((count + 3) & ~3u) * sizeof *s,
		     ADIT_KIND_NODE);
	put_header(cs, block, c->node, count, top, ADIT_BLOCK - top);
}

void adit__leaf_compact(struct adit_cs *cs, uint64_t block, const struct adit_node_pm *node,
			uint64_t limit, const struct adit_rec_pm *rec)
{
	struct compact c = {.node = node, .rec = rec};
	unsigned count = get16(node->count), i;

	for (i = 0; i < count && i < ADIT_LEAF_SLOTS_MAX; i++) {
		unsigned unit = adit__leaf_offset(node, i) / ADIT_RECORD_ALIGN;

		if (key_at(node, i) >= limit)
			continue;
		c.used[unit / 64] |= 1ull << unit % 64;
		c.where[unit] = (uint8_t)c.count++;
	}
	compact_put(cs, block, &c);
}

/* ---- inner nodes ---------------------------------------------------------- */

static inline uint64_t entry_offset(uint64_t block, unsigned i)
{
	return block_offset(block) + ADIT_NODE_BODY + i * sizeof(struct adit_inner_pm);
}

void adit__inner_create(struct adit_tree *t, struct adit_cs *cs, uint64_t block, unsigned level,
			const struct adit_inner_pm *entry, unsigned n)
{
	struct new_head h;

	head_init(&h, t, block);
	h.count = put16((uint16_t)n);
	h.level = (uint8_t)level;
	head_put(&h, cs, block, 0);
	adit__cs_put(cs, entry_offset(block, 0), entry, n * sizeof *entry, ADIT_KIND_NODE);
}

void adit__inner_insert(struct adit_cs *cs, uint64_t block, const struct adit_node_pm *node,
			unsigned at, const struct adit_inner_pm *entry)
{
	unsigned count = get16(node->count);
	struct gather g;

	gather_init(&g, cs, block, ADIT_NODE_BODY + (count + 1) * (unsigned)sizeof *entry);
	gather(&g, adit__inner_entries(node) + at, (count - at) * (unsigned)sizeof *entry);
	gather(&g, entry, sizeof *entry);
	gather_put(&g);
	put_header(cs, block, node, count + 1, 0, 0);
}

void adit__inner_remove(struct adit_cs *cs, uint64_t block, const struct adit_node_pm *node,
			unsigned at)
{
	struct adit_inner_pm part[32];
	unsigned count = get16(node->count), i;

	/* Upwards, through a buffer: the node may be what is put to. */
	for (i = at; i + 1 < count; i += 32) {
		unsigned n = count - 1 - i;

		if (n > 32)
			n = 32;
		memcpy(part, adit__inner_entries(node) + i + 1, n * sizeof *part);
		adit__cs_put(cs, entry_offset(block, i), part, n * sizeof *part, ADIT_KIND_NODE);
	}
	put_header(cs, block, node, count - 1, 0, 0);
}

void adit__inner_cut(struct adit_cs *cs, uint64_t block, const struct adit_node_pm *node,
		     unsigned n)
{
	put_header(cs, block, node, n, 0, 0);
}
