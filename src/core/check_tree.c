/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The check's walk over a B+tree, depth first with an explicit path, mending
 * as it goes.
 *
 *  - A node that fails its seal or its shape is rebuilt from what in it makes
 *    sense, when it still says who it is (magic, place, owner, type and level:
 *    one of them may be wrong); otherwise it is cut out of its parent, and with it
 *    what lies below.
 *  - Separators are compared with the keys below them and made from these when
 *    they do not fit.  A leaf's records must lie in the range that all of its
 *    ancestors promise.
 *  - A node without contents is cut out, upwards to the root.
 *
 * A node's place, owner and type are its own word for what it is; data has no
 * such word.  So when a node's block is claimed already, the other claimer is
 * asked to give way: the block becomes *strong* and the pass begins again.
 */
#include "core/check_impl.h"
#include "core/tree_node.h"

static struct adit_node_pm *node_at(const struct adit_check *ck, uint64_t block)
{
	return adit__block_at(ck->fs, block);
}

static struct adit_inner_pm *entries_of(struct adit_node_pm *n)
{
	return (struct adit_inner_pm *)n->body;
}

static bool is_ordered(uint8_t type)
{
	return type != ADIT_TREE_DIR && type != ADIT_TREE_XATTR;
}

/* ---- rebuilding one node from what makes sense in it --------------------- */

/* Make the node say what it should; how many of its words said otherwise. */
static unsigned claim_identity(struct adit_check *ck, const struct adit_ck_tree *t,
			       struct adit_node_pm *n, uint64_t block, unsigned level)
{
	unsigned wrong = 0;

	wrong += get32(n->magic) != ADIT_MAGIC_NODE;
	wrong += get64(n->block) != block;
	wrong += get64(n->owner) != t->owner;
	wrong += get32(n->uuid_tag) != ck->fs->uuid_tag;
	wrong += n->type != t->type || n->level != level; /* one word */
	n->magic = put32(ADIT_MAGIC_NODE);
	n->block = put64(block);
	n->owner = put64(t->owner);
	n->uuid_tag = put32(ck->fs->uuid_tag);
	n->type = t->type;
	n->level = (uint8_t)level;
	return wrong;
}

/* A slot that one record could have, apart from its neighbours. */
static bool slot_is_sane(const struct adit_node_pm *n, unsigned slot, unsigned count)
{
	unsigned at = adit__leaf_offset(n, slot), len;
	const struct adit_rec_pm *rec;

	if (at < ADIT_NODE_BODY + 2 * count || at + sizeof *rec > ADIT_BLOCK)
		return false;
	rec = adit__leaf_rec(n, slot);
	len = get16(rec->len);
	return adit__record_len_fits(rec, n->type) && len <= ADIT_RECORD_MAX &&
	       at + len <= ADIT_BLOCK && get64(rec->key) <= INT64_MAX;
}

static bool units_take(uint64_t taken[4], unsigned at, unsigned len)
{
	unsigned end = (at + len + ADIT_RECORD_ALIGN - 1) / ADIT_RECORD_ALIGN;

	for (unsigned u = at / ADIT_RECORD_ALIGN; u < end; u++)
		if (taken[u / 64] >> (u % 64) & 1)
			return false;
	for (unsigned u = at / ADIT_RECORD_ALIGN; u < end; u++)
		taken[u / 64] |= 1ull << (u % 64);
	return true;
}

/* The slots that are not in drop, and the header's counts to go with them. */
static void keep_slots(struct adit_node_pm *n, const uint64_t drop[4])
{
	le16 *slot = (le16 *)n->body;
	unsigned count = get16(n->count), kept = 0, live = 0, top = ADIT_BLOCK;

	for (unsigned i = 0; i < count; i++) {
		unsigned at = adit__leaf_offset(n, i);

		if (drop[i / 64] >> (i % 64) & 1)
			continue;
		live += adit__rec_bytes(adit__leaf_rec(n, i));
		top = at < top ? at : top;
		slot[kept++] = slot[i];
	}
	n->count = put16((uint16_t)kept);
	n->live_bytes = put16((uint16_t)live);
	n->heap_top = put16((uint16_t)top);
}

static void scrub_leaf(struct adit_node_pm *n)
{
	uint64_t taken[4] = {0}, drop[4] = {0}, before = 0;
	unsigned count = get16(n->count);
	bool any = false;

	if (count > ADIT_LEAF_SLOTS_MAX)
		count = ADIT_LEAF_SLOTS_MAX;
	n->count = put16((uint16_t)count);
	for (unsigned i = 0; i < count; i++) {
		const struct adit_rec_pm *rec = adit__leaf_rec(n, i);
		bool sane = slot_is_sane(n, i, count);

		if (sane && is_ordered(n->type) && any && get64(rec->key) <= before)
			sane = false;
		if (sane)
			sane = units_take(taken, adit__leaf_offset(n, i), get16(rec->len));
		if (!sane) {
			drop[i / 64] |= 1ull << (i % 64);
			continue;
		}
		any = true;
		before = get64(rec->key);
	}
	keep_slots(n, drop);
}

static void scrub_inner(struct adit_check *ck, struct adit_node_pm *n)
{
	struct adit_inner_pm *e = entries_of(n);
	unsigned count = get16(n->count), kept = 0;

	if (count > ADIT_INNER_MAX)
		count = ADIT_INNER_MAX;
	for (unsigned i = 0; i < count; i++) {
		if (adit__run_is_sane(ck->fs, adit_ptr_block(get64(e[i].ptr)), 1))
			e[kept++] = e[i];
	}
	n->count = put16((uint16_t)kept);
}

/* Is a run of this record's blocks held by somebody whose seal fits? */
static bool claims_sound(struct adit_check *ck, uint8_t type, const struct adit_rec_pm *rec)
{
	const struct adit_extent_pm *e = (const struct adit_extent_pm *)rec;
	const struct adit_xattr_pm *x = (const struct adit_xattr_pm *)rec;
	const struct adit_xattr_run_pm *run = (const struct adit_xattr_run_pm *)x->data;

	if (type == ADIT_TREE_EXTENTS)
		return adit__ck_is_sound(ck, adit_ptr_block(get64(e->ptr)), get32(rec->c));
	for (unsigned i = 0; type == ADIT_TREE_XATTR && i < rec->b; i++)
		if (adit__ck_is_sound(ck, adit_ptr_block(get64(run[i].ptr)), get32(run[i].blocks)))
			return true;
	return false;
}

/* I20: a sound leaf, made of a damaged one, takes nothing away from anybody. */
static void yield_to_sound(struct adit_check *ck, struct adit_node_pm *n)
{
	uint64_t drop[4] = {0};

	for (unsigned i = 0; i < get16(n->count); i++)
		if (claims_sound(ck, n->type, adit__leaf_rec(n, i)))
			drop[i / 64] |= 1ull << (i % 64);
	keep_slots(n, drop);
}

/* ---- separators ------------------------------------------------------------- */

/* Would we walk into this node?  Cheap: its seal is looked at when we get there. */
static bool looks_like(const struct adit_check *ck, const struct adit_ck_tree *t, uint64_t block,
		       unsigned level)
{
	const struct adit_node_pm *n;

	if (!adit__run_is_sane(ck->fs, block, 1))
		return false;
	n = node_at(ck, block);
	return get32(n->magic) == ADIT_MAGIC_NODE && get64(n->block) == block &&
	       get64(n->owner) == t->owner && n->type == t->type && n->level == level &&
	       get16(n->count) > 0 &&
	       get16(n->count) <= (level ? ADIT_INNER_MAX : ADIT_LEAF_SLOTS_MAX);
}

/* The smallest (greatest) key below block; false when it cannot be told. */
static bool bound(const struct adit_check *ck, const struct adit_ck_tree *t, uint64_t block,
		  unsigned level, bool greatest, uint64_t *key)
{
	struct adit_node_pm *n;
	bool any = false;

	for (;; level--) {
		if (!looks_like(ck, t, block, level))
			return false;
		n = node_at(ck, block);
		if (level == 0)
			break;
		block = adit_ptr_block(get64(entries_of(n)[greatest ? get16(n->count) - 1 : 0].ptr));
	}
	for (unsigned i = 0; i < get16(n->count); i++) {
		uint64_t k;

		if (!slot_is_sane(n, i, get16(n->count)))
			continue;
		k = get64(adit__leaf_rec(n, i)->key);
		if (!any || (greatest ? k > *key : k < *key))
			*key = k;
		any = true;
	}
	return any;
}

/* Does a separator part what lies on its sides?  If not, what would? */
static bool separator_fits(const struct adit_check *ck, const struct adit_ck_tree *t,
			   struct adit_node_pm *n, unsigned i, uint64_t *better)
{
	const struct adit_inner_pm *e = entries_of(n);
	uint64_t key = get64(e[i].key), low, high;
	unsigned level = n->level - 1u;

	if (!bound(ck, t, adit_ptr_block(get64(e[i].ptr)), level, false, &low))
		return true; /* judged when we get there */
	*better = low;
	if (key > low)
		return false;
	return !bound(ck, t, adit_ptr_block(get64(e[i - 1].ptr)), level, true, &high) ||
	       high < key || high >= low;
}

/* n: a private copy; true when a separator was changed. */
static bool mend_separators(const struct adit_check *ck, const struct adit_ck_tree *t,
			    struct adit_node_pm *n)
{
	struct adit_inner_pm *e = entries_of(n);
	bool changed = false;
	uint64_t better;

	for (unsigned i = 1; i < get16(n->count); i++)
		if (!separator_fits(ck, t, n, i, &better)) {
			e[i].key = put64(better);
			changed = true;
		}
	return changed;
}

/* Entries whose separators are still out of order or range go. */
static void order_inner(struct adit_node_pm *n, uint64_t low, uint64_t high)
{
	struct adit_inner_pm *e = entries_of(n);
	unsigned count = get16(n->count), kept = count ? 1 : 0;
	uint64_t before = low;

	for (unsigned i = 1; i < count; i++) {
		uint64_t key = get64(e[i].key);

		if (key <= before || key >= high)
			continue;
		e[kept++] = e[i];
		before = key;
	}
	n->count = put16((uint16_t)kept);
}

/* ---- entering a node ----------------------------------------------------------- */

/* Is this private copy a sound node? */
static bool seal_copy(struct adit_check *ck, const struct adit_ck_tree *t, struct adit_node_pm *n,
		      unsigned level)
{
	const char *why;

	n->dirty_seq = put64(0);
	n->crc = put32(adit__seal_crc(ck->fs, n, ADIT_NODE_SEAL_FROM, ADIT_BLOCK, ADIT_MAGIC_NODE));
	return adit__verify_node(ck->fs, n, get64(n->block), t->owner, t->type, (int)level,
				 &why) == 0;
}

/* A sound node made of this one, in ck->node_copy. */
static bool rebuild(struct adit_check *ck, const struct adit_ck_tree *t, uint64_t block,
		    unsigned level, uint64_t low, uint64_t high)
{
	struct adit_node_pm *n = (struct adit_node_pm *)ck->node_copy;

	memcpy(n, node_at(ck, block), ADIT_BLOCK);
	if (claim_identity(ck, t, n, block, level) > 1)
		return false;
	n->reserved[0] = n->reserved[1] = put64(0);
	if (get32(n->birth_epoch) > get32(ck->fs->root->epoch))
		n->birth_epoch = ck->fs->root->epoch;
	if (level == 0) {
		scrub_leaf(n);
	} else {
		scrub_inner(ck, n);
		mend_separators(ck, t, n);
		order_inner(n, low, high);
	}
	if (!seal_copy(ck, t, n, level))
		return false;
	if (level == 0)
		yield_to_sound(ck, n);
	return get16(n->count) > 0 && seal_copy(ck, t, n, level);
}

/* What verify does not say: is it where the parent wants it? */
static const char *misplaced(struct adit_check *ck, const struct adit_ck_tree *t,
			     struct adit_node_pm *n, uint64_t low, uint64_t high)
{
	const struct adit_inner_pm *e = entries_of(n);
	uint64_t better;

	if (get16(n->count) == 0)
		return "is empty";
	if (get64(n->reserved[0]) || get64(n->reserved[1]))
		return "reserved bytes are not zero";
	if (get32(n->birth_epoch) > get32(ck->fs->root->epoch))
		return "is of a birth epoch to come";
	/* Its seal would not be believed to be stale when it is. */
	if (get64(n->dirty_seq) > ck->fs->vol->seq)
		return "was changed by a record to come";
	for (unsigned i = 1; n->level > 0 && i < get16(n->count); i++) {
		if (get64(e[i].key) <= low || get64(e[i].key) >= high)
			return "has keys that its parent does not promise";
		if (!separator_fits(ck, t, n, i, &better))
			return "its separators do not part the keys below";
	}
	return NULL;
}

/* Sound, perhaps after mending?  false: to be cut out (*cut) or passed over. */
static bool make_sound(struct adit_check *ck, struct adit_ck_tree *t, uint64_t block,
		       unsigned level, uint64_t low, uint64_t high, bool *cut)
{
	struct adit_node_pm *n = node_at(ck, block);
	struct adit_check_finding f;
	const char *why = NULL;
	int err = adit__verify_node(ck->fs, n, block, t->owner, t->type, (int)level, &why);
	bool can;

	if (!err) {
		why = misplaced(ck, t, n, low, high);
		if (!why)
			return true;
	}
	can = rebuild(ck, t, block, level, low, high);
	f = adit__ck_finding(can ? ADIT_CHECK_ERROR : ADIT_CHECK_LOSS, "tree node of inode",
			     t->owner, block, why,
			     can ? "rebuild it from what makes sense in it" :
				   "cut it out, with what lies below");
	if (adit__ck_mend(ck, &f)) {
		if (can)
			adit__ck_store_node(ck, block, (struct adit_node_pm *)ck->node_copy);
		else
			*cut = true;
	}
	adit__ck_tell(ck, &f);
	if (f.fixed)
		return can;
	/* Without hands: go on where that is safe, to see the rest. */
	t->partial |= err || get16(n->count) == 0;
	return !err && get16(n->count) > 0;
}

static bool has_key_in(struct adit_node_pm *n, uint64_t low, uint64_t high)
{
	for (unsigned i = 0; i < get16(n->count); i++) {
		uint64_t key = get64(adit__leaf_rec(n, i)->key);

		if (key >= low && key < high)
			return true;
	}
	return n->level > 0;
}

static bool claim_node(struct adit_check *ck, const struct adit_ck_tree *t, uint64_t block,
		       bool *cut)
{
	struct adit_check_finding f;

	if (adit__ck_claim(ck, block, 1))
		return true;
	f = adit__ck_finding(ADIT_CHECK_LOSS, "tree node of inode", t->owner, block,
			     "something else holds its block", "take it away from data");
	if (adit__ck_mend(ck, &f)) {
		if (adit__ck_set_strong(ck, block)) {
			ck->again = true;
		} else {
			f.action = "cut it out, with what lies below";
			*cut = true;
		}
	}
	adit__ck_tell(ck, &f);
	return !f.fixed;
}

/* Step into a node: true when it is now the path's last one. */
static bool enter(struct adit_check *ck, struct adit_ck_tree *t, uint64_t ptr, unsigned level,
		  uint64_t low, uint64_t high, bool *cut)
{
	uint64_t block = adit_ptr_block(ptr);

	*cut = false;
	if (!adit__run_is_sane(ck->fs, block, 1)) {
		*cut = adit__ck_found(ck, ADIT_CHECK_LOSS, "tree node of inode", t->owner, block,
				      "lies outside of the pool", "cut it out");
		t->partial |= !*cut;
		return false;
	}
	if (!make_sound(ck, t, block, level, low, high, cut))
		return false;
	if (!has_key_in(node_at(ck, block), low, high)) {
		*cut = adit__ck_found(ck, ADIT_CHECK_LOSS, "tree node of inode", t->owner, block,
				      "has no key that its parent promises", "cut it out");
		t->partial |= !*cut;
		return false;
	}
	if (!claim_node(ck, t, block, cut))
		return false;
	t->nodes++;
	t->path[++t->depth] = (struct adit_ck_step){.block = block, .low = low, .high = high};
	return true;
}

/* ---- contents ------------------------------------------------------------------------ */

/* Take entry `index` out of the path's node at depth. */
static void remove_child(struct adit_check *ck, struct adit_ck_tree *t, int depth, unsigned index)
{
	struct adit_node_pm *n = (struct adit_node_pm *)ck->node_copy;
	struct adit_inner_pm *e = entries_of(n);
	unsigned count;

	memcpy(n, node_at(ck, t->path[depth].block), ADIT_BLOCK);
	count = get16(n->count);
	memmove(e + index, e + index + 1, (count - index - 1) * sizeof *e);
	n->count = put16((uint16_t)(count - 1));
	adit__ck_store_node(ck, t->path[depth].block, n);
}

/* The path's last node is done with; an empty one goes. */
static void leave(struct adit_check *ck, struct adit_ck_tree *t)
{
	struct adit_ck_step *s = &t->path[t->depth--];

	if (get16(node_at(ck, s->block)->count) > 0 || !ck->may_fix)
		return;
	adit__ck_unclaim(ck, s->block, 1);
	t->nodes--;
	if (t->depth < 0) {
		t->root_gone = true;
		return;
	}
	remove_child(ck, t, t->depth, --t->path[t->depth].index);
}

/* One record: true when it goes. */
static bool judge_record(struct adit_check *ck, struct adit_ck_tree *t,
			 const struct adit_ck_step *s, struct adit_node_pm *n, unsigned slot,
			 const uint64_t *before)
{
	struct adit_rec_pm *rec = (struct adit_rec_pm *)((uint8_t *)n + adit__leaf_offset(n, slot));
	le16 *word = (le16 *)n->body + slot;
	uint64_t key = get64(rec->key);

	if (key < s->low || key >= s->high || (before && *before == key))
		return adit__ck_found_value(ck, ADIT_CHECK_LOSS, "tree node of inode", t->owner,
					    s->block, "a record's key is misplaced",
					    "drop the record", key, s->low);
	if (get16(*word) >> 8 != adit__tree_fingerprint(key) &&
	    adit__ck_found(ck, ADIT_CHECK_ERROR, "tree node of inode", t->owner, s->block,
			   "a fingerprint is wrong", "correct it")) {
		*word = put16((uint16_t)((get16(*word) & 0xff) |
					 (unsigned)adit__tree_fingerprint(key) << 8));
		t->edited = true;
	}
	return t->visit && t->visit(t, rec) == ADIT_CK_DROP;
}

static void visit_leaf(struct adit_check *ck, struct adit_ck_tree *t, struct adit_ck_step *s)
{
	struct adit_node_pm *n = (struct adit_node_pm *)ck->leaf_copy;
	uint64_t drop[4] = {0}, before = 0;
	bool any = false, dropped = false;
	uint8_t idx[256];
	unsigned count;

	memcpy(n, node_at(ck, s->block), ADIT_BLOCK);
	count = adit__leaf_sorted(n, idx);
	t->edited = false;
	for (unsigned i = 0; i < count && !ck->err && !ck->again; i++) {
		uint64_t key = get64(adit__leaf_rec(n, idx[i])->key);

		if (judge_record(ck, t, s, n, idx[i], any ? &before : NULL)) {
			drop[idx[i] / 64] |= 1ull << (idx[i] % 64);
			dropped = true;
			continue;
		}
		t->records++;
		any = true;
		before = key;
	}
	if (!dropped && !t->edited)
		return;
	if (dropped)
		keep_slots(n, drop);
	adit__ck_store_node(ck, s->block, n);
}

static void visit_inner(struct adit_check *ck, struct adit_ck_tree *t, struct adit_ck_step *s)
{
	struct adit_node_pm *n = node_at(ck, s->block);
	const struct adit_inner_pm *e = entries_of(n);
	unsigned i = s->index, count = get16(n->count);
	uint64_t low = i ? get64(e[i].key) : s->low;
	uint64_t high = i + 1 < count ? get64(e[i + 1].key) : s->high;
	int depth = t->depth;
	bool cut;

	s->index++;
	/* Bounds only tighten, whatever the separators say. */
	low = max_u64(low, s->low);
	high = min_u64(high, s->high);
	if (!enter(ck, t, get64(e[i].ptr), n->level - 1u, low, high, &cut) && cut)
		remove_child(ck, t, depth, --s->index);
}

void adit__ck_tree(struct adit_check *ck, struct adit_ck_tree *t, uint64_t root, unsigned level)
{
	bool cut;

	t->ck = ck;
	t->root = adit_ptr_block(root);
	t->depth = -1;
	t->nodes = t->records = 0;
	t->root_gone = t->partial = false;
	if (!enter(ck, t, root, level, 0, UINT64_MAX, &cut))
		t->root_gone = cut;
	while (t->depth >= 0 && !ck->err && !ck->again) {
		struct adit_ck_step *s = &t->path[t->depth];
		const struct adit_node_pm *n = node_at(ck, s->block);

		if (n->level > 0 && s->index < get16(n->count)) {
			visit_inner(ck, t, s);
			continue;
		}
		if (n->level == 0)
			visit_leaf(ck, t, s);
		leave(ck, t);
	}
	ck->partial |= t->partial;
}
