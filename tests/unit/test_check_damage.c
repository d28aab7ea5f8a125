/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The check on damaged pools. For each structure of check_image.h's pool and each word of that
 * structure: a private copy of the pool is damaged there (a bit flipped, zeroed, all ones, noise; with
 * the seal as it was, and with the seal made right again), looked at, repaired, looked at again. The
 * repaired pool is clean, can be worked on, is still clean after that, and every file that the damage
 * cannot have touched reads as before. Then many of these at once, and noise over whole blocks.
 *
 * ADIT_TEST_CASE=N runs only case N and says what is found; ADIT_TEST_STRIDE=N takes every N-th case
 * (1: all, a minute; unless set: every fifth). ADIT_TEST_SEEDS=N, ADIT_TEST_SEED=N: see test_many.
 */
#include "check_repair.h"

static unsigned case_stride, cases;

/* ---- damage --------------------------------------------------------------------- */

enum kind { FLIP, ZERO, ONES, NOISE, KINDS };
static const char *const kind_name[] = {"flip", "zero", "ones", "noise"};
static uint64_t noise = 0x1234567;

static void damage_word(uint8_t *at, enum kind kind, uint64_t random)
{
	uint64_t word;

	memcpy(&word, at, 8);
	switch (kind) {
	case FLIP:
		word ^= 1ull << random % 64;
		break;
	case ZERO:
		word = 0;
		break;
	case ONES:
		word = ~0ull;
		break;
	default:
		word = random;
	}
	memcpy(at, &word, 8);
}

/* A structure that may be damaged. */
struct target {
	const char *name;
	uint64_t offset;
	unsigned bytes, seal_from, seal_to; /* seal_to 0: not sealed here */
	unsigned may_touch;
};

static void reseal(struct pool *p, const struct target *t)
{
	uint8_t *s = p->pm.base + t->offset;
	le32 magic, crc;

	memcpy(&magic, s + 4, 4);
	crc = put32(adit__crc32c(get32(magic), s + t->seal_from, t->seal_to - t->seal_from));
	memcpy(s, &crc, 4);
}

static void damage_image(struct pool *p, const struct target *t, unsigned at, enum kind kind,
			 bool mend, uint64_t random)
{
	map_image(p);
	damage_word(p->pm.base + t->offset + at, kind, random);
	if (mend)
		reseal(p, t);
}

static void one_case(const struct target *t, unsigned at, enum kind kind, bool mend)
{
	uint64_t random = pool_random(&noise);
	struct pool p;

	case_no++;
	cases++;
	if (case_only ? case_no != case_only : case_no % case_stride != 0)
		return;
	snprintf(what, sizeof what, "%s at %llu: %s at byte %u%s", t->name,
		 (unsigned long long)t->offset, kind_name[kind], at,
		 mend ? ", seal made right" : "");
	if (case_only)
		fprintf(stderr, "case %u: %s\n", case_no, what);
	damage_image(&p, t, at, kind, mend, random);
	look_only(&p);
	munmap(p.pm.base, POOL_BYTES);
	damage_image(&p, t, at, kind, mend, random);
	repair_and_verify(&p, t->may_touch);
	munmap(p.pm.base, POOL_BYTES);
}

/* Every word up to `all`, then a sample of the rest. */
static void damage(const struct target *t, unsigned all, unsigned sample)
{
	uint64_t random = t->offset + 99;

	for (unsigned at = 0; at < all && at < t->bytes; at += 8)
		for (unsigned k = 0; k < 2 * KINDS; k++)
			if (k < KINDS || t->seal_to)
				one_case(t, at, k % KINDS, k >= KINDS);
	for (unsigned i = 0; i < sample && all < t->bytes; i++) {
		unsigned at = all + (unsigned)(pool_random(&random) % (t->bytes - all)) / 8 * 8;

		for (unsigned k = 0; k < 2 * KINDS; k++)
			if (k < KINDS || t->seal_to)
				one_case(t, at, k % KINDS, k >= KINDS);
	}
}

static void begin_cases(void)
{
	const char *only = getenv("ADIT_TEST_CASE"), *stride = getenv("ADIT_TEST_STRIDE");

	case_no = 0;
	case_only = only ? (unsigned)atoi(only) : 0;
	case_stride = stride && atoi(stride) > 0 ? (unsigned)atoi(stride) : 5;
	noise = 0x1234567;
}

/* ---- the structures --------------------------------------------------------------- */

static void test_super(void **state)
{
	struct target t = {"superblock", 0, ADIT_BLOCK, ADIT_SUPER_SEAL_FROM, 0, 0};
	struct target copy = {"copy of the superblock",
			      ADIT_SUPER_COPY * ADIT_BLOCK,
			      ADIT_BLOCK,
			      ADIT_SUPER_SEAL_FROM,
			      0,
			      0};

	(void)state;
	begin_cases();
	damage(&t, 272, 4);
	damage(&copy, 272, 4);
}

static void test_fixed(void **state)
{
	struct target ckpt[2], root, replica, group, group_replica, bitmap;
	struct pool p;

	(void)state;
	open_image(&p);
	for (unsigned i = 0; i < 2; i++)
		ckpt[i] = (struct target){"checkpoint",
					  (get64(p.fs->super.ckpt_start) + i) * ADIT_BLOCK,
					  64 + 8 * p.fs->lanes,
					  16,
					  0,
					  0};
	root = (struct target){"root block",
			       get64(p.fs->super.root_block) * ADIT_BLOCK,
			       ADIT_BLOCK,
			       ADIT_ROOT_SEAL_FROM,
			       0,
			       0};
	replica = root;
	replica.name = "replica of the root block";
	replica.offset = get64(p.fs->super.root_copy) * ADIT_BLOCK;
	replica.seal_to = ADIT_BLOCK;
	group = (struct target){"group header",	    adit__group_header_block(p.fs, 0) * ADIT_BLOCK,
				ADIT_BLOCK,	    ADIT_GROUP_SEAL_FROM,
				ADIT_GROUP_SEAL_TO, 0};
	group_replica = group;
	group_replica.name = "replica of a group header";
	group_replica.offset = adit__group_replica_block(p.fs, 0) * ADIT_BLOCK;
	group_replica.bytes = ADIT_GROUP_SEAL_TO;
	bitmap = (struct target){
		"bitmap", adit__group_bitmap_block(p.fs, 0) * ADIT_BLOCK, ADIT_BLOCK, 0, 0, 0};
	close_image(&p);
	begin_cases();
	damage(&ckpt[0], 80, 0);
	damage(&ckpt[1], 80, 0);
	damage(&root, 64, 6);
	damage(&replica, 64, 6);
	damage(&group, 208, 2);
	damage(&group_replica, 64, 0);
	damage(&bitmap, 0, 16);
}

/* A root block that lies with a right seal, of which the replica is no better: free lists, orphans. */
static void test_root_lists(void **state)
{
	struct target t;
	struct pool p;

	(void)state;
	open_image(&p);
	t = (struct target){"root block", get64(p.fs->super.root_block) * ADIT_BLOCK,
			    ADIT_BLOCK,	  ADIT_ROOT_SEAL_FROM,
			    ADIT_BLOCK,	  0};
	close_image(&p);
	begin_cases();
	for (unsigned i = 0; i < 6; i++)
		for (unsigned k = 0; k < KINDS; k++) {
			one_case(&t, (unsigned)offsetof(struct adit_root_pm, free_cluster) + 8 * i,
				 k, true);
			one_case(&t, (unsigned)offsetof(struct adit_root_pm, orphan) + 8 * i, k,
				 true);
		}
}

/* The same for the inode table's inode and what says how large it is: clusters get lost. */
static void test_root_table(void **state)
{
	struct target t;
	struct pool p;

	(void)state;
	open_image(&p);
	t = (struct target){"root block", get64(p.fs->super.root_block) * ADIT_BLOCK,
			    ADIT_BLOCK,	  ADIT_ROOT_SEAL_FROM,
			    ADIT_BLOCK,	  0};
	close_image(&p);
	begin_cases();
	for (unsigned at = 32; at < 64; at += 8)
		for (unsigned k = 0; k < KINDS; k++)
			one_case(&t, at, k, true);
	for (unsigned at = offsetof(struct adit_root_pm, itable); at < 512; at += 8)
		for (unsigned k = 0; k < KINDS; k++)
			one_case(&t, at, k, true);
}

static void inode_target(struct pool *p, struct target *t, const char *name, uint64_t ino)
{
	*t = (struct target){name,
			     adit__offset_of(p->fs, adit__inode_slot(p->fs, ino)),
			     ADIT_INODE_BYTES,
			     ADIT_INODE_SEAL_FROM,
			     ADIT_INODE_BYTES,
			     1};
}

static void test_inodes(void **state)
{
	static const char *const of_kinds[] = {"holes",	     "few extents", "large", "empty",
					       "short link", "long link",   "fifo",  "null"};
	struct target t[20];
	uint64_t kinds, few;
	unsigned n = 0;
	struct pool p;

	(void)state;
	open_image(&p);
	kinds = lookup(p.fs, ADIT_INO_ROOT, "kinds");
	few = lookup(p.fs, ADIT_INO_ROOT, "few");
	inode_target(&p, &t[n++], "root directory", ADIT_INO_ROOT);
	inode_target(&p, &t[n++], "inode with a directory tree", kinds);
	inode_target(&p, &t[n++], "inode with packed entries", few);
	inode_target(&p, &t[n++], "inode with attributes", lookup(p.fs, few, "a"));
	inode_target(&p, &t[n++], "directory with an attribute",
		     lookup(p.fs, lookup(p.fs, few, "d3"), "d4"));
	inode_target(&p, &t[n++], "the unused slot 1", ADIT_INO_ITABLE);
	for (unsigned i = 0; i < sizeof of_kinds / sizeof *of_kinds; i++)
		inode_target(&p, &t[n++], of_kinds[i], lookup(p.fs, kinds, of_kinds[i]));
	close_image(&p);
	begin_cases();
	for (unsigned i = 0; i < n; i++) {
		/* An extent moved onto another file's blocks takes them from that. */
		t[i].may_touch = 3;
		damage(&t[i], ADIT_INODE_BYTES, 0);
	}
}

static void test_clusters(void **state)
{
	struct target t[4];
	struct pool p;

	(void)state;
	open_image(&p);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t base = i * 2 * ADIT_ICLUSTER_INODES;

		if (base >= get64(p.fs->root->next_ino))
			base = 0;
		inode_target(&p, &t[i], "inode cluster", base);
		t[i].may_touch = 0;
	}
	close_image(&p);
	begin_cases();
	for (unsigned i = 0; i < 4; i++)
		damage(&t[i], 72, 4);
}

struct nodes {
	struct target t[40];
	unsigned n, leaves;
	const char *name;
};

static int note_node(void *arg, uint64_t block, const struct adit_node_pm *node, int err,
		     uint64_t low, uint64_t high)
{
	struct nodes *s = arg;

	(void)low, (void)high;
	assert_int_equal(err, 0);
	if (node->level == 0 && s->leaves++ >= 2)
		return 0;
	assert_true(s->n < 40);
	s->t[s->n++] = (struct target){
		s->name, block * ADIT_BLOCK, ADIT_BLOCK, ADIT_NODE_SEAL_FROM, ADIT_BLOCK, 2};
	return 0;
}

static void note_tree(struct pool *p, struct nodes *s, const char *name, uint64_t ino, uint8_t type)
{
	const struct adit_inode_pm *ip = adit__inode_slot(p->fs, ino);
	struct adit_tree tree = {
		.fs = p->fs, .owner = ino, .type = type, .ordered = type == ADIT_TREE_EXTENTS};

	if (type == ADIT_TREE_XATTR) {
		tree.root = get64(ip->xattr_root);
		tree.level = (get32(ip->flags) & ADIT_IFLAG_XLEVEL_MASK) >> ADIT_IFLAG_XLEVEL_SHIFT;
	} else {
		assert_int_equal(adit__inode_fork(ip), ADIT_FORK_TREE);
		tree.root = get64(ip->fork.tree.root);
		tree.level = ip->fork.tree.level;
	}
	assert_true(tree.level > 0);
	s->name = name;
	s->leaves = 0;
	assert_int_equal(adit__tree_walk_nodes(&tree, note_node, s), 0);
}

static void test_nodes(void **state)
{
	struct nodes s = {.n = 0};
	struct pool p;
	uint64_t few;

	(void)state;
	open_image(&p);
	few = lookup(p.fs, ADIT_INO_ROOT, "few");
	note_tree(&p, &s, "directory node", lookup(p.fs, ADIT_INO_ROOT, "many"), ADIT_TREE_DIR);
	note_tree(&p, &s, "extent node",
		  lookup(p.fs, lookup(p.fs, ADIT_INO_ROOT, "kinds"), "holes"), ADIT_TREE_EXTENTS);
	note_tree(&p, &s, "attribute node", lookup(p.fs, few, "a"), ADIT_TREE_XATTR);
	close_image(&p);
	begin_cases();
	for (unsigned i = 0; i < s.n; i++) {
		damage(&s.t[i], 96, 4);
		s.t[i].bytes = ADIT_BLOCK;
		/* The records' end. */
		for (unsigned at = ADIT_BLOCK - 128; at < ADIT_BLOCK; at += 8)
			for (unsigned k = 0; k < 2 * KINDS; k++)
				one_case(&s.t[i], at, k % KINDS, k >= KINDS);
	}
}

/* Noise over whole blocks, anywhere: no crash, and what opens is clean after a repair. */
static void spoil_blocks(struct pool *p, unsigned round)
{
	uint64_t random = 77 + round;

	map_image(p);
	for (unsigned i = 0; i < 1 + round % 8; i++) {
		uint64_t block = pool_random(&random) % (POOL_BYTES / ADIT_BLOCK);

		for (unsigned at = 0; at < ADIT_BLOCK; at += 8) {
			uint64_t word = round % 2 ? pool_random(&random) : 0;

			memcpy(p->pm.base + block * ADIT_BLOCK + at, &word, 8);
		}
	}
}

static void test_noise(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 60; round++) {
		struct adit_check_result res;
		struct pool p;
		char text[400];

		spoil_blocks(&p, round);
		check(&p, 0, &res, false);
		munmap(p.pm.base, POOL_BYTES);
		spoil_blocks(&p, round);
		if (check(&p, ADIT_CHECK_REPAIR, &res, false) == 0) {
			assert_int_equal(res.left, 0);
			pool_open(&p);
			if (adit__check_quiet(p.fs, text, sizeof text) != 0)
				fail_msg("round %u: %s", round, text);
			adit__core_abandon(p.fs);
		}
		munmap(p.pm.base, POOL_BYTES);
	}
}

/* ---- many at once --------------------------------------------------------------------------- */

static struct target all[1024];
static unsigned nall;

static void note_fixed(struct pool *p)
{
	const struct adit_super_pm *s = &p->fs->super;

	all[nall++] = (struct target){"superblock", 0, 272, 16, ADIT_BLOCK, 0};
	all[nall++] = (struct target){"superblock", ADIT_SUPER_COPY * ADIT_BLOCK, 272, 16, 0, 0};
	all[nall++] =
		(struct target){"root", get64(s->root_block) * ADIT_BLOCK, 600, 16, ADIT_BLOCK, 0};
	all[nall++] =
		(struct target){"root", get64(s->root_copy) * ADIT_BLOCK, 600, 16, ADIT_BLOCK, 0};
	all[nall++] = (struct target){
		"checkpoint", get64(s->ckpt_start) * ADIT_BLOCK, 80, 16, 64 + 8 * p->fs->lanes, 0};
	all[nall++] = (struct target){"checkpoint",
				      get64(s->ckpt_start) * ADIT_BLOCK + ADIT_BLOCK,
				      80,
				      16,
				      64 + 8 * p->fs->lanes,
				      0};
	all[nall++] = (struct target){
		"group", adit__group_header_block(p->fs, 0) * ADIT_BLOCK, 208, 16, 64, 0};
	all[nall++] = (struct target){
		"bitmap", adit__group_bitmap_block(p->fs, 0) * ADIT_BLOCK, 384, 0, 0, 0};
	all[nall++] = (struct target){"intents", get64(s->intent_start) * ADIT_BLOCK, 128, 0, 0, 0};
	for (uint32_t lane = 0; lane < p->fs->lanes; lane++)
		all[nall++] = (struct target){
			"lane", get64(s->lane_start) * ADIT_BLOCK + lane * p->fs->ring_bytes,
			8192,	0,
			0,	0};
}

/* Everything that is sealed, by looking at every block. */
static void note_all(struct pool *p)
{
	nall = 0;
	note_fixed(p);
	for (uint64_t ino = 0; ino < get64(p->fs->root->next_ino) && nall < 700; ino++) {
		struct adit_inode_pm *ip = adit__inode_slot(p->fs, ino);

		if (get32(ip->magic) != 0)
			all[nall++] = (struct target){
				"inode", adit__offset_of(p->fs, ip), 256, 32, 256, 0};
	}
	for (uint64_t b = 0; b < p->fs->pool_blocks && nall < 1000; b++) {
		const struct adit_node_pm *n = adit__block_at(p->fs, b);

		if (get32(n->magic) == ADIT_MAGIC_NODE && get64(n->block) == b)
			all[nall++] = (struct target){"node", b * ADIT_BLOCK, ADIT_BLOCK,
						      16,     ADIT_BLOCK,     0};
	}
}

static void damage_many(struct pool *p, uint64_t seed, bool say)
{
	uint64_t random = seed * 0x9e3779b97f4a7c15ull + 1;
	unsigned n = 1 + (unsigned)(pool_random(&random) % 12);

	map_image(p);
	while (n-- > 0) {
		const struct target *t = &all[pool_random(&random) % nall];
		unsigned at = (unsigned)(pool_random(&random) % t->bytes) & ~7u;
		enum kind kind = pool_random(&random) % KINDS;
		uint64_t word = pool_random(&random);
		bool mend = word & 1 && t->seal_to;

		if (pool_random(&random) % 2)
			at %= 256; /* headers are denser */
		if (at >= t->bytes)
			at = 0;
		damage_word(p->pm.base + t->offset + at, kind, word >> 8);
		if (mend)
			reseal(p, t);
		if (say)
			fprintf(stderr, "%s at %llu, byte %u: %s%s\n", t->name,
				(unsigned long long)t->offset, at, kind_name[kind],
				mend ? ", mended" : "");
	}
}

/* No crash, no hang; what can be opened is clean after a repair. ADIT_TEST_SEEDS=N: more of them. */
static void test_many(void **state)
{
	const char *only = getenv("ADIT_TEST_SEED"), *seeds = getenv("ADIT_TEST_SEEDS");
	uint64_t first = only ? strtoull(only, NULL, 10) : 1;
	uint64_t last = only ? first : seeds ? strtoull(seeds, NULL, 10) : 200;
	unsigned mended = 0;
	struct pool p;

	(void)state;
	open_image(&p);
	note_all(&p);
	close_image(&p);
	for (uint64_t seed = first; seed <= last; seed++) {
		struct adit_check_result res;
		char text[400];

		snprintf(what, sizeof what, "seed %llu", (unsigned long long)seed);
		damage_many(&p, seed, only != NULL);
		check(&p, 0, &res, only != NULL);
		munmap(p.pm.base, POOL_BYTES);
		damage_many(&p, seed, false);
		if (check(&p, ADIT_CHECK_REPAIR, &res, only != NULL) == 0) {
			mended++;
			if (res.left != 0)
				fail_msg("seed %llu: %llu left", (unsigned long long)seed,
					 (unsigned long long)res.left);
			pool_open(&p);
			if (adit__check_quiet(p.fs, text, sizeof text) != 0)
				fail_msg("seed %llu: %s", (unsigned long long)seed, text);
			work_on_it(p.fs);
			if (adit__check_quiet(p.fs, text, sizeof text) != 0)
				fail_msg("seed %llu, after some work: %s", (unsigned long long)seed,
					 text);
			assert_int_equal(adit__core_close(p.fs), 0);
		}
		munmap(p.pm.base, POOL_BYTES);
	}
	/* Both superblocks are rarely hit at once. */
	assert_true(only || mended > last * 9 / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_super),	   cmocka_unit_test(test_fixed),
		cmocka_unit_test(test_root_lists), cmocka_unit_test(test_root_table),
		cmocka_unit_test(test_inodes),	   cmocka_unit_test(test_clusters),
		cmocka_unit_test(test_nodes),	   cmocka_unit_test(test_noise),
		cmocka_unit_test(test_many),
	};
	int failed = cmocka_run_group_tests(tests, make_image, drop_image);

	fprintf(stderr, "%u damaged pools\n", case_stride ? cases / case_stride : 0);
	return failed;
}
