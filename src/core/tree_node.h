/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * One node of the B+tree: what is in it and how a change set changes it.
 * Private to the tree*.c; everybody else goes through tree.h.
 *
 * The functions take `node`, the node as the change set sees it now.  Puts may
 * show through that pointer or not (tree.h), so a caller asks again after a
 * change.  The functions themselves read what they need before they put, or
 * copy in a direction in which it does not matter.
 */
#ifndef ADIT_CORE_TREE_NODE_H
#define ADIT_CORE_TREE_NODE_H

#include "core/tree.h"

#define ADIT_NODE_BODY 64u
/* (4096 - 64) / (16 + 2): the smallest record and its slot. */
#define ADIT_LEAF_SLOTS_MAX 224u

static inline const le16 *adit__leaf_slots(const struct adit_node_pm *node)
{
	return (const le16 *)(const void *)node->body;
}
static inline const struct adit_inner_pm *adit__inner_entries(const struct adit_node_pm *node)
{
	return (const struct adit_inner_pm *)(const void *)node->body;
}
/* Heap bytes of a record. */
static inline unsigned adit__rec_bytes(const struct adit_rec_pm *rec)
{
	return (get16(rec->len) + ADIT_RECORD_ALIGN - 1) & ~(ADIT_RECORD_ALIGN - 1);
}
static inline unsigned adit__leaf_offset(const struct adit_node_pm *node, unsigned slot)
{
	return (get16(adit__leaf_slots(node)[slot]) & 0xffu) * ADIT_RECORD_ALIGN;
}
/* Bytes between the slots and the heap. */
static inline unsigned adit__leaf_gap(const struct adit_node_pm *node)
{
	return get16(node->heap_top) - (ADIT_NODE_BODY + 2u * get16(node->count));
}
/* The gap that compacting would give; 0 when the fields contradict each other. */
static inline unsigned adit__leaf_slack(const struct adit_node_pm *node)
{
	unsigned used = ADIT_NODE_BODY + 2u * get16(node->count) + get16(node->live_bytes);

	return used < ADIT_BLOCK ? ADIT_BLOCK - used : 0;
}

/* ---- looking ---------------------------------------------------------- */

/*
 * The slots that carry a fingerprint, in no particular order, and rarely one
 * that does not: whoever asks compares keys anyway.
 *
 * Sixteen slots at a time, four to a word.  Where a lane's high byte equals the
 * fingerprint it becomes zero and subtracting one from it borrows, which may
 * flag the next lane up as well.  Two words go together through each step: that
 * is what compilers make vectors of.
 */
struct adit_leaf_scan {
	const struct adit_node_pm *node;
	uint64_t pattern;
	uint64_t found; /* of the 16 slots before next: bit 16 * lane + place of the word */
	unsigned next, count;
};
#define ADIT_SCAN_SLOTS 16u

static inline struct adit_leaf_scan adit__leaf_scan(const struct adit_node_pm *node,
						    uint8_t fingerprint)
{
	return (struct adit_leaf_scan){
		.node = node,
		.pattern = fingerprint * 0x0100010001000100ull,
		.count = get16(node->count),
	};
}
static inline uint64_t adit__scan_word(const uint8_t *slots, uint64_t pattern)
{
	uint64_t x;

	memcpy(&x, slots, sizeof x);
	x = ADIT_SWAP64(x) ^ pattern;
	return (x - 0x0100010001000100ull) & ~x & 0x8000800080008000ull;
}
static inline bool adit__scan_next(struct adit_leaf_scan *s, unsigned *slot)
{
	for (;;) {
		unsigned bit;

		while (s->found == 0) {
			/* Past the last slot these are other bytes of the block. */
			const uint8_t *slots = s->node->body + 2u * s->next;
			uint64_t part[2];

			if (s->next >= s->count)
				return false;
			for (unsigned i = 0; i < 2; i++)
				part[i] = adit__scan_word(slots + 8 * i, s->pattern) >> 15 |
					  adit__scan_word(slots + 16 + 8 * i, s->pattern) >> 14;
			s->found = part[0] | part[1] << 2;
			s->next += ADIT_SCAN_SLOTS;
		}
		bit = (unsigned)__builtin_ctzll(s->found);
		s->found &= s->found - 1;
		/* Bits 0 and 1 of its place name the word in the order 0, 2, 1, 3. */
		*slot = s->next - ADIT_SCAN_SLOTS + (bit % 2 * 2 + bit / 2 % 2) * 4 + bit / 16;
		if (*slot < s->count)
			return true;
	}
}
/* Slot of this key; false: not there, and *slot is where it belongs. */
bool adit__leaf_find(const struct adit_node_pm *, bool ordered, uint64_t key, unsigned *slot);
/* Slot of the smallest record with key >= key, or -1; greatest <= key, or -1. */
int adit__leaf_find_ge(const struct adit_node_pm *, bool ordered, uint64_t key);
int adit__leaf_find_le(const struct adit_node_pm *, bool ordered, uint64_t key);
/*
 * Hashes spread evenly, so a guess by proportion lands a line or two from the
 * right entry, where halving would wait for a miss at every step.  From the
 * guess in doubling strides, then halving: never worse than twice that.
 */
static inline unsigned adit__inner_bracket(const struct adit_inner_pm *entry, unsigned *n,
					   uint64_t key, uint64_t from, uint64_t to)
{
	unsigned at = 0, step = 1;

	if (key > from && to > from)
		at = (unsigned)min_u64(((key - from) >> 9) * *n / ((to - from) >> 9 | 1), *n - 1);
	if (at == 0 || get64(entry[at].key) <= key) {
		while (at + step < *n && get64(entry[at + step].key) <= key) {
			at += step;
			step *= 2;
		}
		*n = (unsigned)min_u64(step, *n - at);
		return at;
	}
	while (at > step && get64(entry[at - step].key) > key) {
		at -= step;
		step *= 2;
	}
	*n = (unsigned)min_u64(step, at);
	return at - *n;
}

/* The entry below which key lives.  even: the node's keys are spread evenly over
 * [from, to), as hashes are; only a hint. */
static inline unsigned adit__inner_find(const struct adit_node_pm *node, bool even, uint64_t key,
					uint64_t from, uint64_t to)
{
	const struct adit_inner_pm *entry = adit__inner_entries(node);
	unsigned low = 0, n = get16(node->count);

	if (even && n > 8)
		low = adit__inner_bracket(entry, &n, key, from, min_u64(to, 1ull << 63));
	/* entry[low].key <= key, or low is 0. */
	while (n > 1) {
		unsigned half = n / 2;

		low = get64(entry[low + half].key) <= key ? low + half : low;
		n -= half;
	}
	return low;
}

/* ---- changing --------------------------------------------------------- */

/* A new leaf with the records of `from` whose slots are idx[0..n), in that
 * order, and `rec` (may be NULL) put in at position `at`. */
void adit__leaf_create(struct adit_tree *, struct adit_cs *, uint64_t block,
		       const struct adit_node_pm *from, const uint8_t *idx, unsigned n,
		       const struct adit_rec_pm *rec, unsigned at);
/* A hole between the records, of at least so many bytes (a multiple of 16):
 * its offset, or 0. */
unsigned adit__leaf_hole(const struct adit_node_pm *, unsigned bytes);
/* Into the gap, or into a hole that removed records left; false when neither is
 * big enough, and nothing is put. slot: where it belongs (ordered), else the
 * end. */
bool adit__leaf_add(struct adit_cs *, uint64_t block, const struct adit_node_pm *, unsigned slot,
		    const struct adit_rec_pm *rec);
/* The record keeps its slot; false when the gap is too small. */
bool adit__leaf_change(struct adit_cs *, uint64_t block, const struct adit_node_pm *,
		       unsigned slot, const struct adit_rec_pm *rec);
void adit__leaf_drop(struct adit_cs *, uint64_t block, const struct adit_node_pm *, bool ordered,
		     unsigned slot);
/* Keep the records with key < limit: what a split leaves in the left node. */
void adit__leaf_trim(struct adit_cs *, uint64_t block, const struct adit_node_pm *,
		     uint64_t limit);
/* Push the records with key < limit together at the block's end, forget the
 * others, and add rec (may be NULL) behind the last slot. */
void adit__leaf_compact(struct adit_cs *, uint64_t block, const struct adit_node_pm *,
			uint64_t limit, const struct adit_rec_pm *rec);

void adit__inner_create(struct adit_tree *, struct adit_cs *, uint64_t block, unsigned level,
			const struct adit_inner_pm *entry, unsigned n);
/* There is room. */
void adit__inner_insert(struct adit_cs *, uint64_t block, const struct adit_node_pm *, unsigned at,
			const struct adit_inner_pm *entry);
void adit__inner_remove(struct adit_cs *, uint64_t block, const struct adit_node_pm *,
			unsigned at);
/* Forget the entries from n on. */
void adit__inner_cut(struct adit_cs *, uint64_t block, const struct adit_node_pm *, unsigned n);

#endif
