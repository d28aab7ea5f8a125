/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The check, condition by condition: one field is set to what cannot be, with the seal made right, and the check says
 * just that. Looked at, preened, repaired, looked at again (check_repair.h). Flipped bits and noise everywhere are
 * test_check_damage.c's; here are the values that chance does not find.
 */
#include "check_repair.h"
#include "held.h"

#include <string.h>

#include "core/file_int.h"
#include "core/log.h"
#include "core/namehash.h"
#include "core/tree.h"
#include "core/tree_node.h"

/* ---- finding things in the image --------------------------------------------------- */

static struct adit_inode_pm *inode(struct pool *p, const char *dir, const char *name)
{
	uint64_t at = lookup(p->fs, ADIT_INO_ROOT, dir);
	struct adit_inode_pm *ip = adit__inode_slot(p->fs, name ? lookup(p->fs, at, name) : at);

	assert_non_null(ip);
	return ip;
}

static void seal_inode(struct pool *p, struct adit_inode_pm *ip)
{
	ip->dirty_seq = put64(0);
	ip->crc = put32(
		adit__seal_crc(p->fs, ip, ADIT_INODE_SEAL_FROM, sizeof *ip, ADIT_MAGIC_INODE));
}

static void seal_node(struct pool *p, struct adit_node_pm *n)
{
	n->dirty_seq = put64(0);
	n->crc = put32(adit__seal_crc(p->fs, n, ADIT_NODE_SEAL_FROM, sizeof *n, ADIT_MAGIC_NODE));
}

/* Leaf number `nth` of an inode's tree, as they lie in the pool. */
static struct adit_node_pm *leaf(struct pool *p, const struct adit_inode_pm *ip, uint8_t type,
				 unsigned nth)
{
	for (uint64_t b = 0; b < POOL_BYTES / ADIT_BLOCK; b++) {
		struct adit_node_pm *n = adit__block_at(p->fs, b);

		if (get32(n->magic) == ADIT_MAGIC_NODE && get64(n->owner) == get64(ip->ino) &&
		    get64(n->block) == b && n->type == type && n->level == 0 && nth-- == 0)
			return n;
	}
	fail_msg("no such leaf");
	return NULL;
}

static struct adit_rec_pm *record(struct adit_node_pm *n, unsigned slot)
{
	return (struct adit_rec_pm *)((uint8_t *)n + n->body[2 * slot] * ADIT_RECORD_ALIGN);
}

/* The first record of the leaf with this length of a name, -1: any; its slot. */
static struct adit_rec_pm *named(struct adit_node_pm *n, int len, unsigned *slot)
{
	for (*slot = 0; *slot < get16(n->count); (*slot)++) {
		struct adit_rec_pm *rec = record(n, *slot);

		if (len < 0 || rec->a == len)
			return rec;
	}
	return NULL;
}

static struct adit_root_pm *root_at(struct pool *p, unsigned copy)
{
	return adit__block_at(p->fs,
			      get64(copy ? p->fs->super.root_copy : p->fs->super.root_block));
}

static void seal_roots(struct pool *p)
{
	for (unsigned i = 0; i < 2; i++) {
		struct adit_root_pm *r = root_at(p, i);

		r->crc = put32(
			adit__seal_crc(p->fs, r, ADIT_ROOT_SEAL_FROM, sizeof *r, ADIT_MAGIC_ROOT));
	}
}

static struct adit_super_pm *super_at(struct pool *p, unsigned copy)
{
	return adit__block_at(p->fs, copy ? ADIT_SUPER_COPY : 0);
}

static void seal_supers(struct pool *p)
{
	for (unsigned i = 0; i < 2; i++) {
		struct adit_super_pm *s = super_at(p, i);

		s->crc = put32(adit__crc32c(ADIT_MAGIC_SUPER, (uint8_t *)s + ADIT_SUPER_SEAL_FROM,
					    sizeof *s - ADIT_SUPER_SEAL_FROM));
	}
}

#define BOTH_ROOTS(p, statement)                                                                   \
	do {                                                                                       \
		for (unsigned i_ = 0; i_ < 2; i_++) {                                              \
			struct adit_root_pm *r = root_at(p, i_);                                   \
			statement;                                                                 \
		}                                                                                  \
		seal_roots(p);                                                                     \
	} while (0)

#define BOTH_SUPERS(p, statement)                                                                  \
	do {                                                                                       \
		for (unsigned i_ = 0; i_ < 2; i_++) {                                              \
			struct adit_super_pm *s = super_at(p, i_);                                 \
			statement;                                                                 \
		}                                                                                  \
		seal_supers(p);                                                                    \
	} while (0)

/* ---- names ----------------------------------------------------------------------------- */

static struct adit_rec_pm *entry_in(struct pool *p, const char *dir, unsigned leaf_no, int len,
				    struct adit_node_pm **n)
{
	unsigned slot;

	*n = leaf(p, inode(p, dir, NULL), ADIT_TREE_DIR, leaf_no);
	return named(*n, len, &slot);
}

static void change_name(struct pool *p, const char *dir, int len, unsigned at, char c)
{
	struct adit_node_pm *n;
	struct adit_rec_pm *rec = NULL;

	for (unsigned i = 0; rec == NULL; i++)
		rec = entry_in(p, dir, i, len, &n);
	((struct adit_dirent_pm *)rec)->name[at] = (uint8_t)c;
	seal_node(p, n);
}

static void slash(struct pool *p)
{
	change_name(p, "many", -1, 3, '/');
}
static void nul(struct pool *p)
{
	change_name(p, "many", -1, 3, 0);
}
static void dot(struct pool *p)
{
	change_name(p, "kinds", 1, 0, '.');
}
static void other_name(struct pool *p)
{
	change_name(p, "many", -1, 3, 'Z');
}

/* A second record takes the name and the hash of the first; the ordinal is another one. */
static void twice(struct pool *p)
{
	struct adit_node_pm *n = leaf(p, inode(p, "many", NULL), ADIT_TREE_DIR, 0);
	struct adit_rec_pm *a = record(n, 0), *b = record(n, 1);

	assert_int_equal(a->a, b->a);
	memcpy(((struct adit_dirent_pm *)b)->name, ((struct adit_dirent_pm *)a)->name, a->a);
	b->key = put64(get64(a->key) + 1);
	n->body[3] = n->body[1]; /* its fingerprint */
	seal_node(p, n);
}

static void point_to(struct pool *p, uint64_t ino)
{
	struct adit_node_pm *n;
	struct adit_rec_pm *rec = entry_in(p, "many", 0, -1, &n);

	((struct adit_dirent_pm *)rec)->ino = put64(ino);
	seal_node(p, n);
}
static void to_header(struct pool *p)
{
	point_to(p, 64);
}
static void to_itself(struct pool *p)
{
	point_to(p, get64(inode(p, "many", NULL)->ino));
}
static void to_table(struct pool *p)
{
	point_to(p, ADIT_INO_ITABLE);
}
static void wrong_type(struct pool *p)
{
	struct adit_node_pm *n;

	entry_in(p, "many", 0, -1, &n)->b ^= 2;
	seal_node(p, n);
}

static struct adit_dirent_inline_pm *packed(struct adit_inode_pm *ip, unsigned nth)
{
	uint8_t *at = ip->fork.bytes;

	while (nth-- > 0)
		at += (offsetof(struct adit_dirent_inline_pm, name) + at[0] + 3) & ~3u;
	return (struct adit_dirent_inline_pm *)at;
}

static void packed_name(struct pool *p, unsigned nth, const char *name)
{
	struct adit_inode_pm *ip = inode(p, "few", NULL);

	memcpy(packed(ip, nth)->name, name, strlen(name));
	seal_inode(p, ip);
}
static void packed_slash(struct pool *p)
{
	packed_name(p, 0, "/");
}
static void packed_dot(struct pool *p)
{
	packed_name(p, 1, ".");
}
static void packed_twice(struct pool *p)
{
	packed_name(p, 1, "a");
}
static void packed_dots(struct pool *p)
{
	packed_name(p, 3, "..");
}
static void packed_type(struct pool *p)
{
	struct adit_inode_pm *ip = inode(p, "few", NULL);

	packed(ip, 0)->dtype ^= 2;
	seal_inode(p, ip);
}

/* ---- extents ------------------------------------------------------------------------------ */

static struct adit_rec_pm *extent(struct pool *p, struct adit_node_pm **n)
{
	*n = leaf(p, inode(p, "kinds", "holes"), ADIT_TREE_EXTENTS, 0);
	return record(*n, 4);
}
static void overlap(struct pool *p)
{
	struct adit_node_pm *n;

	extent(p, &n)->c = put32(5);
	seal_node(p, n);
}
static void far_away(struct pool *p)
{
	struct adit_inode_pm *ip = inode(p, "kinds", "few extents");
	unsigned last = get16(ip->fork.extents.count) - 1u;

	ip->fork.extents.extent[last].file_block = put64(ADIT_FILE_BLOCKS_MAX);
	seal_inode(p, ip);
}
static void extent_flags(struct pool *p)
{
	struct adit_node_pm *n;

	extent(p, &n)->a = ADIT_EXTENT_SHARED;
	seal_node(p, n);
}
static void extent_epoch(struct pool *p)
{
	struct adit_node_pm *n;
	struct adit_extent_pm *e = (struct adit_extent_pm *)extent(p, &n);

	e->ptr = put64(adit_ptr_make(adit_ptr_block(get64(e->ptr)), 77));
	seal_node(p, n);
}
static void packed_epoch(struct pool *p)
{
	struct adit_inode_pm *ip = inode(p, "kinds", "few extents");
	struct adit_extent_inline_pm *e = &ip->fork.extents.extent[0];

	e->ptr = put64(adit_ptr_make(adit_ptr_block(get64(e->ptr)), 77));
	e->flags = put16(ADIT_EXTENT_SHARED);
	seal_inode(p, ip);
}
static void strong(struct pool *p)
{
	struct adit_inode_pm *ip = inode(p, "kinds", "few extents");
	struct adit_extent_inline_pm *e = &ip->fork.extents.extent[0];

	/* The log's ring: nobody's to give. */
	e->ptr = put64(adit_ptr_make(get64(p->fs->super.lane_start) + 3, 1));
	seal_inode(p, ip);
}
/* The inode table's last extent ends inside a cluster, or begins inside one. */
static struct adit_rec_pm *last_of_table(struct pool *p, struct adit_node_pm **n)
{
	*n = leaf(p, &p->fs->root->itable, ADIT_TREE_EXTENTS, 0);
	return record(*n, get16((*n)->count) - 1u);
}
static void cluster_cut(struct pool *p)
{
	struct adit_node_pm *n;
	struct adit_rec_pm *rec = last_of_table(p, &n);

	rec->c = put32(get32(rec->c) - 1);
	seal_node(p, n);
}
static void cluster_moved(struct pool *p)
{
	struct adit_node_pm *n;
	struct adit_rec_pm *rec = last_of_table(p, &n);

	rec->key = put64(get64(rec->key) + 1);
	seal_node(p, n);
}

/* An extent over a node of a tree that is looked at later: the node is right. */
static void over_a_node(struct pool *p)
{
	struct adit_inode_pm *ip = inode(p, "kinds", "few extents");
	struct adit_node_pm *n = leaf(p, inode(p, "few", "a"), ADIT_TREE_XATTR, 0);
	struct adit_extent_inline_pm *e = &ip->fork.extents.extent[0];

	e->ptr = put64(adit_ptr_make(get64(n->block), 1));
	e->blocks = put32(1);
	seal_inode(p, ip);
}

/* It points to a file's data; the clusters are found where they lie. */
static void table_points_to_data(struct pool *p)
{
	struct adit_inode_pm *ip = inode(p, "kinds", "few extents");
	struct adit_node_pm *n;
	struct adit_extent_pm *e = (struct adit_extent_pm *)last_of_table(p, &n);

	e->ptr = ip->fork.extents.extent[0].ptr;
	seal_node(p, n);
}
static void table_points_outside(struct pool *p)
{
	struct adit_node_pm *n;
	struct adit_extent_pm *e = (struct adit_extent_pm *)last_of_table(p, &n);

	e->ptr = put64(adit_ptr_make(POOL_BYTES / ADIT_BLOCK - 1, 1));
	seal_node(p, n);
}

/* ---- attributes ---------------------------------------------------------------------------- */

/* An attribute of /few/a whose value lies outside (or not). */
static struct adit_xattr_pm *attribute(struct pool *p, bool outside, struct adit_node_pm **n)
{
	struct adit_inode_pm *ip = inode(p, "few", "a");

	for (unsigned l = 0;; l++) {
		*n = leaf(p, ip, ADIT_TREE_XATTR, l);
		for (unsigned slot = 0; slot < get16((*n)->count); slot++)
			if ((record(*n, slot)->b != 0) == outside)
				return (struct adit_xattr_pm *)record(*n, slot);
	}
}
static void value_too_long(struct pool *p)
{
	struct adit_node_pm *n;

	attribute(p, true, &n)->rec.c = put32(70000);
	seal_node(p, n);
}
static void value_of_two(struct pool *p)
{
	struct adit_node_pm *n;

	attribute(p, true, &n)->rec.c = put32(5000);
	seal_node(p, n);
}
static void value_outside(struct pool *p)
{
	struct adit_node_pm *n;
	struct adit_xattr_pm *x = attribute(p, true, &n);

	((struct adit_xattr_run_pm *)x->data)->ptr =
		put64(adit_ptr_make(POOL_BYTES / ADIT_BLOCK, 1));
	seal_node(p, n);
}
static void value_crc(struct pool *p)
{
	struct adit_node_pm *n;

	attribute(p, true, &n)->value_crc.v ^= 1;
	seal_node(p, n);
}

/* A name without a known prefix, in the range of keys of the leaf that it lies in. */
static void attribute_name(struct pool *p)
{
	struct adit_node_pm *n;
	struct adit_xattr_pm *x = attribute(p, false, &n);
	uint64_t low = UINT64_MAX, high = 0, key = 0;
	unsigned slot = 0;

	while (record(n, slot) != &x->rec)
		slot++;
	for (unsigned i = 0; i < get16(n->count); i++) {
		low = min_u64(low, get64(record(n, i)->key));
		high = max_u64(high, get64(record(n, i)->key));
	}
	for (unsigned c = 0; c < 25 * 25 && (key <= low || key >= high); c++) {
		x->data[0] = (uint8_t)('a' + c % 25); /* never "user" */
		x->data[1] = (uint8_t)('a' + c / 25);
		x->data[2] = 'Q';
		key = adit__name_key(p->fs, x->data, x->rec.a);
	}
	x->rec.key = put64(key);
	n->body[2 * slot + 1] = adit__tree_fingerprint(key);
	seal_node(p, n);
}
static void attribute_twice(struct pool *p)
{
	struct adit_node_pm *n = leaf(p, inode(p, "few", "a"), ADIT_TREE_XATTR, 0);

	for (unsigned i = 0; i < get16(n->count); i++)
		for (unsigned k = 0; k < i; k++) {
			struct adit_xattr_pm *a = (struct adit_xattr_pm *)record(n, i);
			struct adit_xattr_pm *b = (struct adit_xattr_pm *)record(n, k);

			if (a->rec.b || b->rec.b || a->rec.a != b->rec.a)
				continue;
			memcpy(b->data, a->data, a->rec.a);
			b->rec.key = put64(get64(a->rec.key) + 1);
			n->body[2 * k + 1] = n->body[2 * i + 1];
			seal_node(p, n);
			return;
		}
	fail();
}

/* ---- what there is one of ------------------------------------------------------------------- */

static void reserve(struct pool *p)
{
	BOTH_SUPERS(p, s->reserve_blocks = put64(p->fs->pool_blocks / 2));
}
static void super_salvaged(struct pool *p)
{
	BOTH_SUPERS(p, s->reserved[7] = 1);
}
static void super_without_magic(struct pool *p)
{
	BOTH_SUPERS(p, s->magic = put32(5));
}
static void super_of_nobody(struct pool *p)
{
	BOTH_SUPERS(p, s->uuid[0] ^= 1; s->reserved[7] = 1);
}
static void super_without_version(struct pool *p)
{
	BOTH_SUPERS(p, s->magic = put32(5); s->version = put32(5));
}
static void super_newer(struct pool *p)
{
	BOTH_SUPERS(p, s->version = put32(2));
}
static void super_newer_and_worse(struct pool *p)
{
	super_newer(p);
	super_at(p, 0)->crc.v ^= 1;
}
static void super_large(struct pool *p)
{
	BOTH_SUPERS(p, s->pool_blocks = put64(1 << 20); s->group_blocks = put64(5));
}
static void super_larger(struct pool *p)
{
	BOTH_SUPERS(p, s->pool_blocks = put64(1 << 20); s->group_blocks = put64(1 << 30));
}
static void root_shards(struct pool *p)
{
	BOTH_ROOTS(p, r->shards = put32(0));
}
static void root_many_shards(struct pool *p)
{
	BOTH_ROOTS(p, r->shards = put32(65));
}
static void root_two_wrong(struct pool *p)
{
	BOTH_ROOTS(p, r->uuid[0] ^= 1; r->shards = put32(65));
}
static void root_reserved(struct pool *p)
{
	BOTH_ROOTS(p, r->reserved[3] = 1; r->reserved2[4] = 1; r->snapshots = put64(4096));
}
static void root_reserved2(struct pool *p)
{
	BOTH_ROOTS(p, r->reserved2[4] = 1);
}
static void root_snapshots(struct pool *p)
{
	BOTH_ROOTS(p, r->snapshots = put64(4096));
}
static void root_next(struct pool *p)
{
	BOTH_ROOTS(p, r->next_ino = put64(65));
}
static void root_next_none(struct pool *p)
{
	BOTH_ROOTS(p, r->next_ino = put64(0));
}
static void root_next_large(struct pool *p)
{
	BOTH_ROOTS(p, r->next_ino = put64(1ull << 40));
}
static void root_no_size(struct pool *p)
{
	BOTH_ROOTS(p, r->next_ino = put64(0); r->itable.size = put64(0));
}
static void root_odd_size(struct pool *p)
{
	BOTH_ROOTS(p, r->next_ino = put64(0); r->itable.size = put64(65 * 256));
}
static void root_vast_size(struct pool *p)
{
	BOTH_ROOTS(p, r->next_ino = put64(0); r->itable.size = put64(1ull << 50));
}

static void root_many_inodes(struct pool *p)
{
	BOTH_ROOTS(p, r->next_ino = put64(1ull << 40); r->itable.size = put64(1ull << 48));
}

static void store_slots(struct pool *p, uint64_t generation)
{
	static struct adit_ckpt_pm k;

	for (unsigned i = 0; i < 2; i++) {
		k = *adit__ckpt_newest(p->fs);
		k.generation = put64(generation + i);
		adit__ckpt_store(p->fs, &k);
	}
}
static void slot_generation(struct pool *p)
{
	store_slots(p, (1ull << 63) + 2);
}
/* Neither slot, and a ring with records that are none. */
static void no_slot(struct pool *p)
{
	struct adit_record_pm *rec = adit__block_at(p->fs, get64(p->fs->super.lane_start));

	for (unsigned i = 0; i < 2; i++)
		((struct adit_ckpt_pm *)adit__ckpt_slot(p->fs, i))->crc.v ^= 1;
	rec->pos = put64(get64(rec->pos) + 64);
	rec = (struct adit_record_pm *)((uint8_t *)rec + 8192);
	*rec = (struct adit_record_pm){
		.magic = put32(ADIT_MAGIC_RECORD), .len = put32(64), .pos = put64(8192)};
	rec = (struct adit_record_pm *)((uint8_t *)rec + 64);
	*rec = (struct adit_record_pm){.magic = put32(ADIT_MAGIC_RECORD),
				       .len = put32(64),
				       .pos = put64((1ull << 63) -
						    (1ull << 63) % p->fs->ring_bytes +
						    p->fs->ring_bytes + 8192 + 64)};
	BOTH_ROOTS(p, r->dirty_seq = put64(1ull << 63));
}
static void slot_lanes(struct pool *p)
{
	struct adit_ckpt_pm *k = (struct adit_ckpt_pm *)adit__ckpt_slot(p->fs, 0);

	if (k == adit__ckpt_newest(p->fs))
		k = (struct adit_ckpt_pm *)adit__ckpt_slot(p->fs, 1);
	k->lanes = put32(p->fs->lanes + 1);
}
static void slot_crc(struct pool *p)
{
	struct adit_ckpt_pm *k = (struct adit_ckpt_pm *)adit__ckpt_slot(p->fs, 0);

	if (k == adit__ckpt_newest(p->fs))
		k = (struct adit_ckpt_pm *)adit__ckpt_slot(p->fs, 1);
	k->used_inodes.v ^= 1;
}

static void header_reserved(struct pool *p)
{
	struct adit_icluster_pm *c =
		(struct adit_icluster_pm *)(adit__inode_slot(p->fs, ADIT_INO_ROOT) - ADIT_INO_ROOT);

	c->reserved1 = put32(1);
	c->dirty_seq = put64(0);
	c->crc = put32(
		adit__seal_crc(p->fs, c, ADIT_INODE_SEAL_FROM, sizeof *c, ADIT_MAGIC_ICLUSTER));
}
static void replica_magic(struct pool *p)
{
	root_at(p, 1)->magic = put32(1);
}

/* ---- the table --------------------------------------------------------------------------------- */

static const struct row {
	const char *name;
	void (*hurt)(struct pool *);
	const char *says;
	int lost; /* files that are not what they were afterwards; -1: a repair is refused; -2: it is not tried */
	bool harmless; /* preen mends it, too */
} rows[] = {
	{"slash", slash, "name is impossible", 0, false},
	{"nul", nul, "name is impossible", 0, false},
	{"dot", dot, "name is impossible", 0, false},
	{"other name", other_name, "name does not fit its hash", 0, false},
	{"twice", twice, "name is there twice", 0, false},
	{"to a header", to_header, "points to no inode", 0, false},
	{"to itself", to_itself, "points to no inode", 0, false},
	{"to the table", to_table, "points to no inode", 0, false},
	{"wrong type", wrong_type, "says a type that the inode is not of", 0, false},
	{"packed slash", packed_slash, "name", 0, false},
	{"packed dot", packed_dot, "name", 0, false},
	{"packed dots", packed_dots, "name", 0, false},
	{"packed twice", packed_twice, "name is there twice", 0, false},
	{"packed type", packed_type, "says a type that the inode is not of", 0, false},
	{"overlap", overlap, "overlaps the one before, or is empty", 3, false},
	{"far away", far_away, "lies beyond the end of any file", 1, false},
	{"extent flags", extent_flags, "flags or birth epoch are unknown", 0, false},
	{"extent epoch", extent_epoch, "flags or birth epoch are unknown", 0, false},
	{"packed epoch", packed_epoch, "flags or birth epoch are unknown", 0, false},
	{"strong", strong, "an extent lies outside of the pool", 1, false},
	{"over a node", over_a_node, "blocks", 1, false},
	{"cluster cut", cluster_cut, "cuts an inode cluster", 0, false},
	{"cluster moved", cluster_moved, "cuts an inode cluster", 0, false},
	{"table points to data", table_points_to_data, "", 0, false},
	{"table points outside", table_points_outside, "", 0, false},
	{"value too long", value_too_long, "value and blocks do not fit", 0, false},
	{"value of two", value_of_two, "value and blocks do not fit", 0, false},
	{"value outside", value_outside, "blocks lie outside of the pool", 0, false},
	{"value crc", value_crc, "value has a bad checksum", 0, false},
	{"attribute name", attribute_name, "name is impossible", 0, false},
	{"attribute twice", attribute_twice, "name is there twice", 0, false},
	{"reserve", reserve, "more blocks are reserved than is sensible", 0, false},
	{"super salvaged", super_salvaged, "reserved bytes are not zero", 0, false},
	{"super without magic", super_without_magic, "no Adit superblock", 0, false},
	{"super of nobody", super_of_nobody, "reserved bytes are not zero", -1, false},
	{"super without version", super_without_version, "no Adit superblock", -1, false},
	{"super newer", super_newer, NULL, -1, false},
	{"super newer and worse", super_newer_and_worse, NULL, -1, false},
	{"super large", super_large, "the medium ends before the pool does", -1, false},
	{"super larger", super_larger, "the medium ends before the pool does", -1, false},
	{"root shards", root_shards, "number of shards is impossible", 0, false},
	{"root many shards", root_many_shards, "number of shards is impossible", 0, false},
	{"root two wrong", root_two_wrong, "of another pool", -1, false},
	{"root reserved", root_reserved, "fields that must be zero are not", 0, false},
	{"root reserved2", root_reserved2, "fields that must be zero are not", 0, false},
	{"root snapshots", root_snapshots, "fields that must be zero are not", 0, false},
	{"root next", root_next, "size of the inode table is wrong", 0, false},
	{"root next none", root_next_none, "size of the inode table is wrong", 0, false},
	{"root next large", root_next_large, "size of the inode table is wrong", 0, false},
	{"root no size", root_no_size, NULL, -2, false},
	{"root odd size", root_odd_size, "size of the inode table is wrong", -1, false},
	{"root vast size", root_vast_size, "size of the inode table is wrong", -1, false},
	{"root many inodes", root_many_inodes, "more inodes than the pool could hold", -2, false},
	{"slot generation", slot_generation, "what it says is impossible", 0, false},
	{"no slot", no_slot, "both slots are damaged", 0, false},
	{"slot lanes", slot_lanes, NULL, 0, true},
	{"slot crc", slot_crc, NULL, 0, true},
	{"header reserved", header_reserved, "", 0, false},
	{"replica magic", replica_magic, "replica", 0, true},
};

static char said[4000];

static void remember_finding(void *arg, const struct adit_check_finding *f)
{
	size_t at = strlen(said);

	(void)arg;
	snprintf(said + at, sizeof said - at, "%s: %s\n", f->structure, f->message);
}

static int check_and_listen(struct pool *p, unsigned flags, struct adit_check_result *res)
{
	struct adit_check_options o = {.flags = flags, .finding = remember_finding};

	said[0] = '\0';
	return adit__check_media(&p->pm, &adit__env, &p->reporter, &o, res);
}

static void hurt(struct pool *p, const struct row *r)
{
	snprintf(what, sizeof what, "%s", r->name);
	open_image(p);
	r->hurt(p);
	adit__core_abandon(p->fs);
}

static void test_row(const struct row *r)
{
	struct adit_check_result res;
	struct pool p;
	int err;

	hurt(&p, r);
	err = check_and_listen(&p, 0, &res);
	CHECKED(r->lost == -1 || err == 0, "look: error %d", err);
	CHECKED(!r->says || strstr(said, r->says), "look says:\n%s", said);
	CHECKED(!r->says || res.left > 0, "look: nothing is left");
	munmap(p.pm.base, POOL_BYTES);

	hurt(&p, r);
	err = check_and_listen(&p, ADIT_CHECK_PREEN, &res);
	CHECKED(r->harmless || !r->says || err != 0 || res.left > 0, "preen mended it:\n%s", said);
	munmap(p.pm.base, POOL_BYTES);

	hurt(&p, r);
	if (r->lost >= 0) {
		repair_and_verify(&p, (unsigned)r->lost);
	} else if (r->lost == -1) {
		err = check_and_listen(&p, ADIT_CHECK_REPAIR, &res);
		CHECKED(err != 0, "repair: no error");
	}
	munmap(p.pm.base, POOL_BYTES);
}

static void test_fields(void **state)
{
	(void)state;
	case_only = getenv("ADIT_TEST_CASE") != NULL;
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		case_no = i + 1;
		if (!case_only || case_no == (unsigned)atoi(getenv("ADIT_TEST_CASE")))
			test_row(&rows[i]);
	}
	case_only = 0;
}

/* ---- orphans: only a pool in use has some -------------------------------------------------------- */

#define ORPHANS 70

/* Held and unlinked: on their lists. ino[i], with ino[i] and ino[i + 64 or so] on one list. */
static void make_orphans(struct pool *p, uint64_t ino[ORPHANS])
{
	struct adit_attr a;
	char name[16];

	for (unsigned i = 0; i < ORPHANS; i++) {
		snprintf(name, sizeof name, "o%u", i);
		ino[i] = make(p->fs, ADIT_INO_ROOT, name, S_IFREG | 0600, NULL);
		assert_int_equal(adit__getattr(p->fs, ino[i], &a), 0);
		assert_int_equal(hold_ino(p->fs, ino[i], a.generation, &a), 0);
		assert_int_equal(adit__unlink(p->fs, ADIT_INO_ROOT, name, strlen(name)), 0);
	}
	assert_int_equal(adit__checkpoint(p->fs), 0);
}

static uint64_t head_of(struct pool *p, uint64_t ino)
{
	return get64(p->fs->root->orphan[ino % ADIT_SHARDS]);
}

static void orphan_damage(struct pool *p, const uint64_t *ino, unsigned kind)
{
	unsigned list = ino[0] % ADIT_SHARDS;
	struct adit_inode_pm *ip = adit__inode_slot(p->fs, ino[0]);

	switch (kind) {
	case 0:
		p->fs->root->orphan[list] = put64(999999);
		break;
	case 1:
		p->fs->root->orphan[list] = put64(known[3].ino);
		break; /* one with a name */
	case 2:
		p->fs->root->orphan[list] = put64(0);
		break; /* forgotten */
	case 3:
		p->fs->root->orphan[(list + 1) % ADIT_SHARDS] = put64(ino[0]);
		break;
	case 4:
		ip->orphan_prev = put64(ino[1]);
		break;
	case 5:
		ip->orphan_next = put64(ino[0]);
		break; /* a circle */
	case 6:
		ip->orphan_next = put64(ino[1]);
		break; /* of another list */
	default:
		ip->flags = put32(get32(ip->flags) & ~ADIT_IFLAG_ORPHAN);
		break;
	}
	seal_inode(p, ip);
	p->fs->root->dirty_seq = put64(0);
	seal_roots(p);
	adit__forget_verified(p->fs);
}

static void test_orphans(void **state)
{
	struct adit_check_options look = {.finding = remember_finding};
	struct adit_check_options repair = {.flags = ADIT_CHECK_REPAIR,
					    .finding = remember_finding};
	struct adit_check_result res;
	uint64_t ino[ORPHANS], which;
	struct pool p;

	(void)state;
	for (unsigned kind = 0; kind < 8; kind++) {
		open_image(&p);
		make_orphans(&p, ino);
		assert_true(head_of(&p, ino[0]) != 0);
		assert_clean(p.fs, "with orphans");
		orphan_damage(&p, ino, kind);
		case_no = kind;
		snprintf(what, sizeof what, "orphans");
		said[0] = '\0';
		assert_int_equal(adit__check(p.fs, &look, &res), 0);
		CHECKED(res.left > 0, "looks clean");
		assert_int_equal(adit__check(p.fs, &repair, &res), 0);
		CHECKED(res.left == 0 && res.fixed > 0, "%u left:\n%s", (unsigned)res.left, said);
		assert_clean(p.fs, "after the repair");
		assert_int_equal(touched_files(p.fs, &which), 0);
		adit__core_abandon(p.fs);
		pool_open(&p);
		assert_clean(p.fs, "after the next open");
		assert_int_equal(head_of(&p, ino[0]), 0);
		close_image(&p);
	}
}

/* ---- the words ------------------------------------------------------------------------------------ */

static void test_describe(void **state)
{
	struct adit_check_finding f = {.severity = ADIT_CHECK_ERROR,
				       .structure = "entry",
				       .message = "is wrong",
				       .ino = 7,
				       .block = 12,
				       .name = "a\nb",
				       .name_len = 3};
	char text[200], cut[12];

	(void)state;
	adit__check_describe(&f, text, sizeof text);
	assert_non_null(strstr(text, "entry 7"));
	assert_non_null(strstr(text, "12"));
	assert_non_null(strstr(text, "is wrong"));
	assert_null(strchr(text, '\n'));
	f.action = "drop it";
	f.name = NULL;
	f.block = ADIT_CHECK_NO_BLOCK;
	adit__check_describe(&f, text, sizeof text);
	assert_non_null(strstr(text, "drop it"));
	adit__check_describe(&f, cut, sizeof cut);
	assert_int_equal(strlen(cut), sizeof cut - 1);
	assert_memory_equal(cut, text, sizeof cut - 1);
	adit__check_describe(&f, NULL, 0);
}

static void test_quiet_and_read_only(void **state)
{
	struct adit_check_options repair = {.flags = ADIT_CHECK_REPAIR};
	struct adit_check_result res;
	struct pool p;
	char text[100];

	(void)state;
	open_image(&p);
	((struct adit_ckpt_pm *)adit__ckpt_slot(p.fs, 0))->used_inodes.v ^= 4;
	assert_int_equal(adit__check_quiet(p.fs, text, sizeof text), 1);
	assert_non_null(strstr(text, "slot is damaged"));
	assert_int_equal(adit__check_quiet(p.fs, NULL, 0), 1);
	adit__core_abandon(p.fs);
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &adit__env, &p.reporter, ADIT_OPEN_RDONLY),
			 0);
	assert_int_equal(adit__check(p.fs, &repair, &res), -EROFS);
	close_image(&p);
}

/* An earlier check that left something says so to the next look. */
static void test_damaged_mark(void **state)
{
	struct adit_check_result res;
	struct pool p;

	(void)state;
	open_image(&p);
	BOTH_SUPERS(&p, s->state = put32(get32(s->state) | ADIT_STATE_DAMAGED));
	adit__core_abandon(p.fs);
	assert_int_equal(check_and_listen(&p, 0, &res), 0);
	assert_int_equal(res.left, 0);
	assert_non_null(strstr(said, "an earlier check left damage"));
	assert_int_equal(check_and_listen(&p, ADIT_CHECK_REPAIR, &res), 0);
	assert_int_equal(check_and_listen(&p, 0, &res), 0);
	assert_null(strstr(said, "an earlier check"));
	munmap(p.pm.base, POOL_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),	     cmocka_unit_test(test_orphans),
		cmocka_unit_test(test_describe),     cmocka_unit_test(test_quiet_and_read_only),
		cmocka_unit_test(test_damaged_mark),
	};

	return cmocka_run_group_tests(tests, make_image, drop_image);
}
