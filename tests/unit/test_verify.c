/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each verify function of seal.c, field by field: a structure of check_image.h's pool is copied, one field is set
 * to what cannot be, the seal is made right again, and the function says what is wrong. And mkfs with parameters
 * that cannot be.
 */
#include "check_image.h"

#include <string.h>

#include "core/tree_node.h"

/* One field, and what is said of it. */
struct field {
	size_t at;
	unsigned bytes;
	uint64_t value;
	int err;
	const char *why;
};
#define FIELD(type, field, value, err, why)                                                        \
	{                                                                                          \
		offsetof(type, field), sizeof((type *)0)->field, value, err, why                   \
	}

static void set_field(void *structure, const struct field *f)
{
	uint64_t v = f->value;

	for (unsigned i = 0; i < f->bytes; i++, v >>= 8)
		((uint8_t *)structure)[f->at + i] = (uint8_t)v;
}

/* why by its address: nobody says that the call that sets it comes before the argument is read. */
static void expect(const struct field *f, int err, const char **why)
{
	if (err != f->err || (err != 0 && strcmp(*why, f->why) != 0))
		fail_msg("field at %zu = %#llx: error %d, \"%s\"", f->at,
			 (unsigned long long)f->value, err, err != 0 ? *why : "");
}

/* ---- superblock --------------------------------------------------------------- */

#define SUPER(field, value, err, why) FIELD(struct adit_super_pm, field, value, err, why)

static void seal_super(struct adit_super_pm *s)
{
	s->crc = put32(adit__crc32c(ADIT_MAGIC_SUPER, (uint8_t *)s + ADIT_SUPER_SEAL_FROM,
				    sizeof *s - ADIT_SUPER_SEAL_FROM));
}

static void test_super(void **state)
{
	static const struct field row[] = {
		SUPER(label, 'x', 0, NULL),
		SUPER(magic, 1, -EUCLEAN, "no Adit superblock"),
		SUPER(version, 2, -EOPNOTSUPP, "format version is not 1"),
		SUPER(reserved[5], 1, -EUCLEAN, "reserved bytes are not zero"),
		SUPER(block_bytes, 8192, -EUCLEAN, "block size is not 4096"),
		SUPER(pool_blocks, 1023, -EUCLEAN, "size of the pool is impossible"),
		SUPER(pool_blocks, 1ull << 60, -EUCLEAN, "size of the pool is impossible"),
		SUPER(pool_blocks, POOL_BYTES / ADIT_BLOCK + 1, -EUCLEAN,
		      "the medium ends before the pool does (truncated?)"),
		SUPER(group_blocks, 256, -EUCLEAN, "group size is impossible"),
		SUPER(group_blocks, 2 * ADIT_GROUP_BLOCKS_MAX, -EUCLEAN,
		      "group size is impossible"),
		SUPER(group_blocks, 1025, -EUCLEAN, "group size is impossible"),
		SUPER(groups, 4, -EUCLEAN, "number of groups does not fit the size"),
		SUPER(cluster_groups, 0, -EUCLEAN, "groups per cluster are impossible"),
		SUPER(cluster_groups, 1025, -EUCLEAN, "groups per cluster are impossible"),
		SUPER(cluster_groups, 1024, -EUCLEAN, "no room for the groups' metadata"),
		SUPER(lanes, 0, -EUCLEAN, "number of lanes is impossible"),
		SUPER(lanes, ADIT_LANES_MAX + 1, -EUCLEAN, "number of lanes is impossible"),
		SUPER(lane_blocks, 95, -EUCLEAN, "size of a lane is impossible"),
		SUPER(lane_blocks, 65537, -EUCLEAN, "size of a lane is impossible"),
		SUPER(meta_start, 1024, -EUCLEAN, "no room for the groups' metadata"),
		SUPER(meta_start, 1000, -EUCLEAN, "no room for the groups' metadata"),
		SUPER(ckpt_start, 7, -EUCLEAN, "an area lies outside of its place"),
		SUPER(root_copy, 1 << 20, -EUCLEAN, "an area lies outside of its place"),
		SUPER(vol_blocks, 1 << 20, -EUCLEAN, "an area lies outside of its place"),
		SUPER(root_block, 8, -EUCLEAN, "areas overlap"),
		SUPER(vol_blocks, 1, -EUCLEAN, "the volatile region is too small"),
	};
	struct adit_super_pm s;
	const char *why;
	struct pool p;

	(void)state;
	map_image(&p);
	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		memcpy(&s, p.pm.base, sizeof s);
		set_field(&s, &row[i]);
		seal_super(&s);
		expect(&row[i], adit__verify_super(&adit__env, &s, POOL_BYTES, &why), &why);
	}
	memcpy(&s, p.pm.base, sizeof s);
	s.label[0] ^= 1;
	assert_int_equal(adit__verify_super(&adit__env, &s, POOL_BYTES, &why), -EBADMSG);
	assert_string_equal(why, "bad checksum");

	/* Several clusters: all have room for their metadata, but for a short last one. */
	memcpy(&s, p.pm.base, sizeof s);
	s.cluster_groups = put32(1);
	seal_super(&s);
	assert_int_equal(adit__verify_super(&adit__env, &s, POOL_BYTES, &why), 0);
	s.pool_blocks = put64(2 * 1024 + 5);
	seal_super(&s);
	assert_int_equal(adit__verify_super(&adit__env, &s, POOL_BYTES, &why), 0);
	s.pool_blocks = put64(2 * 1024 + 4);
	seal_super(&s);
	assert_int_equal(adit__verify_super(&adit__env, &s, POOL_BYTES, &why), -EUCLEAN);
	assert_string_equal(why, "no room for the groups' metadata");
	munmap(p.pm.base, POOL_BYTES);
}

/* ---- root block, group --------------------------------------------------------- */

#define ROOT(field, value, why) FIELD(struct adit_root_pm, field, value, -EUCLEAN, why)

static void test_root(void **state)
{
	static const struct field row[] = {
		FIELD(struct adit_root_pm, epoch, 5, 0, NULL),
		ROOT(magic, 1, "no root block"),
		ROOT(uuid[0], 99, "of another pool"),
		ROOT(shards, 0, "number of shards is impossible"),
		ROOT(shards, ADIT_SHARDS + 1, "number of shards is impossible"),
		ROOT(itable.ino, 2, "the inode table's inode is wrong"),
		ROOT(itable.flags, ADIT_FORK_INLINE, "the inode table's inode is wrong"),
		FIELD(struct adit_root_pm, itable.flags, ADIT_FORK_TREE, 0, NULL),
		ROOT(next_ino, 65, "size of the inode table is wrong"),
		ROOT(next_ino, 0, "size of the inode table is wrong"),
	};
	static struct adit_root_pm r;
	const char *why;
	struct pool p;

	(void)state;
	open_image(&p);
	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		r = *p.fs->root;
		set_field(&r, &row[i]);
		r.crc = put32(
			adit__seal_crc(p.fs, &r, ADIT_ROOT_SEAL_FROM, sizeof r, ADIT_MAGIC_ROOT));
		expect(&row[i], adit__verify_root(p.fs, &r, &why), &why);
	}
	r = *p.fs->root;
	r.epoch = put32(9);
	assert_int_equal(adit__verify_root(p.fs, &r, &why), -EBADMSG);
	/* Changed since the checkpoint: the checksum is not looked at. */
	p.fs->vol->seq = p.fs->vol->c + 1;
	r.dirty_seq = put64(p.fs->vol->seq);
	assert_int_equal(adit__verify_root(p.fs, &r, &why), 0);
	r.dirty_seq = put64(p.fs->vol->seq + 1);
	assert_int_equal(adit__verify_root(p.fs, &r, &why), -EBADMSG);
	close_image(&p);
}

static void test_group(void **state)
{
	static const struct field row[] = {
		FIELD(struct adit_group_pm, reserved0, 1, 0, NULL),
		FIELD(struct adit_group_pm, magic, 1, -EUCLEAN, "no group header"),
		FIELD(struct adit_group_pm, uuid[0], 99, -EUCLEAN, "of another pool or group"),
		FIELD(struct adit_group_pm, group, 2, -EUCLEAN, "of another pool or group"),
	};
	static struct adit_group_pm g;
	const char *why;
	struct pool p;

	(void)state;
	open_image(&p);
	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		memcpy(&g, adit__block_at(p.fs, adit__group_header_block(p.fs, 1)), sizeof g);
		set_field(&g, &row[i]);
		g.crc = put32(adit__seal_crc(p.fs, &g, ADIT_GROUP_SEAL_FROM, ADIT_GROUP_SEAL_TO,
					     ADIT_MAGIC_GROUP));
		expect(&row[i], adit__verify_group(p.fs, &g, 1, &why), &why);
	}
	g.blocks = put32(7);
	g.magic = put32(ADIT_MAGIC_GROUP);
	assert_int_equal(adit__verify_group(p.fs, &g, 1, &why), -EBADMSG);
	close_image(&p);
}

/* ---- inodes ----------------------------------------------------------------------- */

#define INODE(field, value, why) FIELD(struct adit_inode_pm, field, value, -EUCLEAN, why)
#define INODE_OK(field, value)	 FIELD(struct adit_inode_pm, field, value, 0, NULL)
#define EXTENT(i, field)	 fork.extents.extent[i].field

struct inode_row {
	const char *dir, *name;
	struct field f;
};

static const char inode_magic[] = "no inode";
static const struct inode_row inode_row[] = {
	{"kinds", "few extents", INODE(magic, 1, inode_magic)},
	{"kinds", "few extents", INODE(ino, 77777, "carries another inode number")},
	{"kinds", "few extents", INODE_OK(mode, 0)},
	{"kinds", "few extents", INODE(mode, 0170000, "unknown file type")},
	{"kinds", "few extents", INODE(mode, 0200000 | S_IFREG, "unknown file type")},
	{"kinds", "few extents", INODE(flags, 1 << 12 | ADIT_FORK_EXTENTS, "unknown flags")},
	{"kinds", "few extents", INODE(size, 1ull << 63, "size is impossible")},
	{"kinds", "few extents",
	 INODE(xattr_root, POOL_BYTES / ADIT_BLOCK, "root of the attributes is impossible")},
	{"kinds", "few extents",
	 INODE(flags, ADIT_FORK_EXTENTS | 8 << ADIT_IFLAG_XLEVEL_SHIFT,
	       "root of the attributes is impossible")},
	{"kinds", "few extents", INODE(flags, 4, "unknown fork format")},
	{"kinds", "few extents", INODE(fork.extents.count, 5, "too many extents in the inode")},
	{"kinds", "few extents",
	 INODE(EXTENT(0, blocks), 0, "extents overlap or are out of range")},
	{"kinds", "few extents",
	 INODE(EXTENT(1, file_block), 1, "extents overlap or are out of range")},
	{"kinds", "few extents",
	 INODE(EXTENT(1, file_block), 1ull << 62, "extents overlap or are out of range")},
	{"kinds", "few extents", INODE(EXTENT(0, ptr), 0, "an extent lies outside of the pool")},
	{"kinds", "few extents",
	 INODE(EXTENT(0, ptr), POOL_BYTES / ADIT_BLOCK, "an extent lies outside of the pool")},
	{"kinds", "few extents",
	 INODE(EXTENT(0, ptr), POOL_BYTES / ADIT_BLOCK - 1, "an extent lies outside of the pool")},
	{"kinds", "few extents", INODE_OK(mode, S_IFLNK)},
	{"kinds", "few extents", INODE(mode, S_IFDIR, "extents in an inode that has no data")},
	{"kinds", "few extents", INODE(mode, S_IFSOCK, "extents in an inode that has no data")},
	{"kinds", "short link", INODE(flags, ADIT_FORK_NONE, "a symbolic link without a target")},
	{"kinds", "short link", INODE(size, 0, "contents cannot be inline")},
	{"kinds", "short link", INODE(size, ADIT_FORK_BYTES + 1, "contents cannot be inline")},
	{"kinds", "short link", INODE(mode, S_IFIFO, "contents cannot be inline")},
	{"kinds", "short link", INODE_OK(mode, S_IFREG)},
	{"kinds", "empty", INODE_OK(size, 0)},
	{"kinds", "fifo", INODE_OK(size, 0)},
	{"kinds", "holes", INODE(fork.tree.root, 0, "root of the tree is impossible")},
	{"kinds", "holes",
	 INODE(fork.tree.root, POOL_BYTES / ADIT_BLOCK, "root of the tree is impossible")},
	{"kinds", "holes", INODE(fork.tree.level, 8, "root of the tree is impossible")},
	{"kinds", "holes", INODE(mode, S_IFLNK, "root of the tree is impossible")},
	{"kinds", "holes", INODE_OK(mode, S_IFDIR)},
};

static const struct adit_inode_pm *inode_at(struct pool *p, const char *dir, const char *name)
{
	struct adit_inode_pm *ip =
		adit__inode_slot(p->fs, lookup(p->fs, lookup(p->fs, ADIT_INO_ROOT, dir), name));

	assert_non_null(ip);
	return ip;
}

static void test_inode(void **state)
{
	struct adit_inode_pm i;
	const char *why;
	struct pool p;

	(void)state;
	open_image(&p);
	for (unsigned n = 0; n < sizeof inode_row / sizeof *inode_row; n++) {
		const struct inode_row *r = &inode_row[n];
		const struct adit_inode_pm *was = inode_at(&p, r->dir, r->name);

		i = *was;
		i.dirty_seq = put64(0);
		set_field(&i, &r->f);
		i.crc = put32(
			adit__seal_crc(p.fs, &i, ADIT_INODE_SEAL_FROM, sizeof i, ADIT_MAGIC_INODE));
		expect(&r->f, adit__verify_inode(p.fs, &i, get64(was->ino), &why), &why);
	}
	i = *inode_at(&p, "kinds", "empty");
	i.dirty_seq = put64(0);
	i.uid = put32(12345);
	assert_int_equal(adit__verify_inode(p.fs, &i, get64(i.ino), &why), -EBADMSG);
	/* A slot that was never used. */
	memset(&i, 0, sizeof i);
	assert_int_equal(adit__verify_inode(p.fs, &i, 99, &why), 0);
	i.uid = put32(1);
	assert_int_equal(adit__verify_inode(p.fs, &i, 99, &why), -EUCLEAN);
	close_image(&p);
}

static void test_icluster(void **state)
{
	static const struct field row[] = {
		FIELD(struct adit_icluster_pm, next, 129, 0, NULL),
		FIELD(struct adit_icluster_pm, magic, 1, -EUCLEAN, "no inode cluster"),
		FIELD(struct adit_icluster_pm, ino, 64, -EUCLEAN, "carries another inode number"),
		FIELD(struct adit_icluster_pm, used, 2, -EUCLEAN, "fields are impossible"),
		FIELD(struct adit_icluster_pm, shard, ADIT_SHARDS, -EUCLEAN,
		      "fields are impossible"),
		FIELD(struct adit_icluster_pm, next, 2, -EUCLEAN, "fields are impossible"),
	};
	struct adit_icluster_pm c;
	const char *why;
	struct pool p;

	(void)state;
	open_image(&p);
	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		memcpy(&c,
		       (const struct adit_inode_pm *)adit__inode_slot(p.fs, ADIT_INO_ROOT) -
			       ADIT_INO_ROOT,
		       sizeof c);
		c.dirty_seq = put64(0);
		set_field(&c, &row[i]);
		c.crc = put32(adit__seal_crc(p.fs, &c, ADIT_INODE_SEAL_FROM, sizeof c,
					     ADIT_MAGIC_ICLUSTER));
		expect(&row[i], adit__verify_icluster(p.fs, &c, 0, &why), &why);
	}
	c.magic = put32(ADIT_MAGIC_ICLUSTER);
	c.next = put64(0);
	c.reserved1 = put32(1);
	assert_int_equal(adit__verify_icluster(p.fs, &c, 0, &why), -EBADMSG);
	close_image(&p);
}

/* ---- tree nodes --------------------------------------------------------------------- */

#define NODE(field, value, why) FIELD(struct adit_node_pm, field, value, -EUCLEAN, why)
#define BODY(at, bytes, value, why)                                                                \
	{                                                                                          \
		ADIT_NODE_BODY + (at), bytes, value, -EUCLEAN, why                                 \
	}

static void seal_node(struct adit_fs *fs, struct adit_node_pm *n)
{
	n->dirty_seq = put64(0);
	n->crc = put32(adit__seal_crc(fs, n, ADIT_NODE_SEAL_FROM, sizeof *n, ADIT_MAGIC_NODE));
}

static void check_rows(struct adit_fs *fs, const struct adit_node_pm *was, const struct field *row,
		       unsigned rows)
{
	static struct adit_node_pm n;
	const char *why;

	for (unsigned i = 0; i < rows; i++) {
		n = *was;
		set_field(&n, &row[i]);
		seal_node(fs, &n);
		expect(&row[i],
		       adit__verify_node(fs, &n, get64(was->block), get64(was->owner), was->type,
					 was->level, &why),
		       &why);
		if (row[i].err == 0)
			assert_int_equal(adit__verify_node(fs, &n, get64(was->block),
							   get64(was->owner), was->type, -1, &why),
					 0);
	}
}

static const struct adit_node_pm *root_node(struct pool *p, const struct adit_inode_pm *ip)
{
	return adit__block_at(p->fs, adit_ptr_block(get64(ip->fork.tree.root)));
}

static void test_inner(void **state)
{
	static const struct field row[] = {
		NODE(magic, 1, "no tree node of this pool"),
		NODE(uuid_tag, 1, "no tree node of this pool"),
		NODE(block, 1, "node of another place"),
		NODE(owner, 1, "node of another tree"),
		NODE(type, ADIT_TREE_DIR, "node of another tree"),
		NODE(level, 8, "node of another level"),
		NODE(level, 2, "node of another level"),
		NODE(count, 0, "number of entries is impossible"),
		NODE(count, ADIT_INNER_MAX + 1, "number of entries is impossible"),
		BODY(8, 8, 0, "a child lies outside of the pool"),
		BODY(24, 8, POOL_BYTES / ADIT_BLOCK, "a child lies outside of the pool"),
		BODY(16, 8, 1ull << 62, "keys are not in order"),
		FIELD(struct adit_node_pm, birth_epoch, 1, 0, NULL),
	};
	const struct adit_node_pm *n;
	struct pool p;

	(void)state;
	open_image(&p);
	n = root_node(&p, inode_at(&p, "kinds", "holes"));
	assert_int_equal(n->level, 1);
	assert_true(get16(n->count) > 2);
	check_rows(p.fs, n, row, sizeof row / sizeof *row);
	close_image(&p);
}

/* The first leaf of a tree of two levels, and where its first record lies. */
static const struct adit_node_pm *leaf_of(struct pool *p, const struct adit_inode_pm *ip,
					  unsigned *first)
{
	const struct adit_node_pm *n = root_node(p, ip);

	if (n->level > 0) {
		const struct adit_inner_pm *e = (const struct adit_inner_pm *)n->body;

		n = adit__block_at(p->fs, adit_ptr_block(get64(e[0].ptr)));
	}
	assert_int_equal(n->level, 0);
	*first = n->body[0] * ADIT_RECORD_ALIGN - ADIT_NODE_BODY;
	return n;
}

static void test_leaf_of_extents(void **state)
{
	const struct adit_node_pm *n;
	unsigned at;
	struct pool p;

	(void)state;
	open_image(&p);
	n = leaf_of(&p, inode_at(&p, "kinds", "holes"), &at);
	{
		const struct field row[] = {
			NODE(count, 253, "slots and records overlap"),
			NODE(heap_top, ADIT_BLOCK + 1, "slots and records overlap"),
			NODE(heap_top, 66, "slots and records overlap"),
			NODE(live_bytes, 16, "bytes in use are counted wrongly"),
			BODY(0, 1, 1, "a slot points outside of the records"),
			BODY(2, 1, n->body[0], "records overlap"),
			BODY(at, 8, 1ull << 63, "keys are not in order"),
			BODY(at, 8, 1ull << 62, "keys are not in order"),
			BODY(at + 8, 2, 16, "length of a record is impossible"),
			/* Another tree's records have other lengths. */
			NODE(type, ADIT_TREE_SHARED, "node of another tree"),
		};

		check_rows(p.fs, n, row, sizeof row / sizeof *row);
	}
	close_image(&p);
}

static void test_leaf_of_names(void **state)
{
	const struct adit_node_pm *n;
	static struct adit_node_pm copy;
	const char *why;
	unsigned at;
	struct pool p;

	(void)state;
	open_image(&p);
	n = leaf_of(&p, adit__inode_slot(p.fs, lookup(p.fs, ADIT_INO_ROOT, "many")), &at);
	{
		const struct field row[] = {
			BODY(at + 8, 2, 24, "length of a record is impossible"),
			BODY(at + 10, 1, 0, "length of a record is impossible"),
			BODY(at + 8, 2, 993, "length of a record is impossible"),
			BODY(at, 8, 1ull << 63, "keys are not in order"),
			BODY(at, 8, 1ull << 62, NULL),
		};

		check_rows(p.fs, n, row, sizeof row / sizeof *row - 1);
		/* Names lie in no order. */
		copy = *n;
		set_field(&copy, &row[4]);
		seal_node(p.fs, &copy);
		assert_int_equal(adit__verify_node(p.fs, &copy, get64(n->block), get64(n->owner),
						   ADIT_TREE_DIR, 0, &why),
				 0);
		copy.body[at] ^= 1;
		assert_int_equal(adit__verify_node(p.fs, &copy, get64(n->block), get64(n->owner),
						   ADIT_TREE_DIR, 0, &why),
				 -EBADMSG);
		/* A record without a name, of the length that is right for one. */
		copy = *n;
		set_field(&copy, &row[0]);
		set_field(&copy, &row[1]);
		seal_node(p.fs, &copy);
		assert_int_equal(adit__verify_node(p.fs, &copy, get64(n->block), get64(n->owner),
						   ADIT_TREE_DIR, 0, &why),
				 -EUCLEAN);
	}
	close_image(&p);
}

/* Leaves made by hand: a type with one record of `len` bytes at the end of the block. */
static int verify_record(struct adit_fs *fs, uint8_t type, unsigned at, struct adit_rec_pm rec)
{
	static struct adit_node_pm n;
	unsigned len = get16(rec.len);
	const char *why;

	memset(&n, 0, sizeof n);
	n.magic = put32(ADIT_MAGIC_NODE);
	n.uuid_tag = put32(fs->uuid_tag);
	n.block = put64(20);
	n.owner = put64(9);
	n.type = type;
	n.count = put16(1);
	n.heap_top = put16((uint16_t)(at < 128 ? 128 : at));
	n.live_bytes = put16((uint16_t)round_up_u64(len, ADIT_RECORD_ALIGN));
	n.body[0] = (uint8_t)(at / ADIT_RECORD_ALIGN);
	memcpy((uint8_t *)&n + at, &rec, sizeof rec);
	seal_node(fs, &n);
	return adit__verify_node(fs, &n, 20, 9, type, 0, &why);
}

static void test_records(void **state)
{
	static const struct {
		uint8_t type;
		unsigned at, len, a, b, c;
		int err;
	} row[] = {
		{ADIT_TREE_EXTENTS, 4064, 32, 0, 0, 1, 0},
		{ADIT_TREE_EXTENTS, 4064, 48, 0, 0, 1, -EUCLEAN},
		{ADIT_TREE_EXTENTS, 4080, 32, 0, 0, 1, -EUCLEAN}, /* over the block's end */
		{ADIT_TREE_EXTENTS, 112, 32, 0, 0, 1, -EUCLEAN},  /* before the records */
		{ADIT_TREE_SHARED, 4064, 32, 0, 0, 0, 0},
		{ADIT_TREE_SHARED, 4064, 16, 0, 0, 0, -EUCLEAN},
		{ADIT_TREE_DIR, 4064, 27, 3, 0, 0, 0},
		{ADIT_TREE_DIR, 4064, 27, 4, 0, 0, -EUCLEAN},
		{ADIT_TREE_DIR, 4064, 24, 0, 0, 0, -EUCLEAN},
		{ADIT_TREE_XATTR, 4048, 24 + 3 + 8, 3, 0, 8, 0},
		{ADIT_TREE_XATTR, 4048, 24 + 3 + 16, 3, 1, 4000, 0},
		{ADIT_TREE_XATTR, 4048, 24 + 3 + 8, 3, 0, 9, -EUCLEAN},
		{ADIT_TREE_XATTR, 4048, 24 + 8, 0, 0, 8, -EUCLEAN},
		{ADIT_TREE_XATTR, 3072, 24 + 3 + 900, 3, 0, 900, 0},
		{ADIT_TREE_XATTR, 3072, 24 + 3 + 980, 3, 0, 980, -EUCLEAN}, /* too long a record */
		{ADIT_TREE_SNAPSHOTS, 4064, 20, 0, 0, 0, 0},
		{ADIT_TREE_SNAPSHOTS, 4064, 15, 0, 0, 0, -EUCLEAN},
	};
	struct pool p;

	(void)state;
	open_image(&p);
	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		struct adit_rec_pm rec = {.key = put64(5),
					  .len = put16((uint16_t)row[i].len),
					  .a = (uint8_t)row[i].a,
					  .b = (uint8_t)row[i].b,
					  .c = put32(row[i].c)};
		int err = verify_record(p.fs, row[i].type, row[i].at, rec);

		if (err != row[i].err)
			fail_msg("row %u: error %d", i, err);
	}
	close_image(&p);
}

/* ---- mkfs ---------------------------------------------------------------------------- */

static int mkfs_with(struct pool *p, const struct adit_mkfs_params *params)
{
	return adit__core_mkfs(&p->pm, &adit__env, &p->reporter, params);
}

static void test_mkfs(void **state)
{
	static const struct {
		struct adit_mkfs_params params;
		int err;
	} row[] = {
		{{.pool_bytes = ADIT_POOL_MIN_BYTES - 1}, -EINVAL},
		{{.pool_bytes = POOL_BYTES + ADIT_BLOCK}, -EINVAL},
		{{.pool_bytes = POOL_BYTES, .lanes = ADIT_LANES_MAX + 1}, -EINVAL},
		{{.pool_bytes = POOL_BYTES, .group_blocks = 1000}, -EINVAL},
		{{.pool_bytes = POOL_BYTES, .group_blocks = 256}, -EINVAL},
		{{.pool_bytes = POOL_BYTES, .group_blocks = 2 * ADIT_GROUP_BLOCKS_MAX}, -EINVAL},
		{{.pool_bytes = POOL_BYTES, .lanes = 31}, -ENOSPC}, /* rings beyond the pool */
		{{.pool_bytes = POOL_BYTES, .lanes = 8, .group_blocks = 512}, -ENOSPC},
		{{.pool_bytes = POOL_BYTES}, 0},
	};
	struct adit_attr a;
	struct pool p;

	(void)state;
	map_image(&p);
	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		int err = mkfs_with(&p, &row[i].params);

		if (err != row[i].err)
			fail_msg("row %u: error %d", i, err);
		/* What was refused changed nothing. */
		pool_open(&p);
		if (err != 0)
			assert_int_equal(p.fs->groups, 3);
		adit__core_abandon(p.fs);
	}
	pool_open(&p);
	assert_int_equal(adit__getattr(p.fs, ADIT_INO_ROOT, &a), 0);
	assert_int_equal(a.mode, S_IFDIR | 0755); /* when none is given */
	close_image(&p);
}

/* A last cluster that could not hold its own metadata is left off. */
static void test_mkfs_tail(void **state)
{
	struct adit_mkfs_params params = {.pool_bytes = (16ull * 512 + 20) * ADIT_BLOCK,
					  .group_blocks = 512,
					  .lanes = 1,
					  .zeroed = true};
	struct pool p = {.pm = {.size_bytes = params.pool_bytes, .ops = &pool_pm_ops}};

	(void)state;
	p.reporter = (struct adit_reporter){pool_line, &p};
	p.pm.base = mmap(NULL, params.pool_bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(p.pm.base, MAP_FAILED);
	assert_int_equal(mkfs_with(&p, &params), 0);
	pool_open(&p);
	assert_int_equal(p.fs->pool_blocks, 16 * 512);
	assert_int_equal(p.fs->groups, 16);
	assert_clean(p.fs, "without its tail");
	pool_destroy(&p);
}

/* A medium that ends before the second superblock. */
static void test_wipe_short(void **state)
{
	struct pool p;

	(void)state;
	map_image(&p);
	p.pm.size_bytes = 2 * ADIT_BLOCK;
	adit__core_wipe(&p.pm);
	assert_int_equal(p.pm.base[4], 0);
	assert_int_not_equal(p.pm.base[ADIT_SUPER_COPY * ADIT_BLOCK + 4], 0);
	munmap(p.pm.base, POOL_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_super),		cmocka_unit_test(test_root),
		cmocka_unit_test(test_group),		cmocka_unit_test(test_inode),
		cmocka_unit_test(test_icluster),	cmocka_unit_test(test_inner),
		cmocka_unit_test(test_leaf_of_extents), cmocka_unit_test(test_leaf_of_names),
		cmocka_unit_test(test_records),		cmocka_unit_test(test_mkfs),
		cmocka_unit_test(test_mkfs_tail),	cmocka_unit_test(test_wipe_short),
	};

	return cmocka_run_group_tests(tests, make_image, drop_image);
}
