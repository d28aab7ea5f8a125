/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_dir.c - directories against a table of names: packed in the inode, in the tree, with names
 * of one hash, read while entries come and go, through crashes, at 200,000 entries.
 * A failure prints the seed; ADIT_TEST_SEED replays it.
 */
#include "test_pool.h"

#include "core/dir.h"
#include "core/linux_abi.h"
#include "core/namehash.h"

static uint64_t seed_now;

#define CHECK(cond)                                                                         \
	do {                                                                                \
		if (!(cond)) {                                                              \
			fprintf(stderr, "%s:%d: seed %llu: %s\n", __FILE__, __LINE__,       \
				(unsigned long long)seed_now, #cond);                       \
			fail();                                                             \
		}                                                                           \
	} while (0)
#define CHECK_EQ(a, b)                                                                      \
	do {                                                                                \
		long long a_ = (long long)(a), b_ = (long long)(b);                         \
		if (a_ != b_) {                                                             \
			fprintf(stderr, "%s:%d: seed %llu: %s is %lld, not %lld\n",         \
				__FILE__, __LINE__, (unsigned long long)seed_now, #a, a_, b_); \
			fail();                                                             \
		}                                                                           \
	} while (0)

#define DIR_INO ADIT_INO_ROOT

/* ---- one operation each ---------------------------------------------------- */

enum what { INSERT, REMOVE, RETARGET };

static const struct adit_inode_pm *dir_inode(struct test_pool *p)
{
	const struct adit_inode_pm *dir;

	CHECK_EQ(adit__inode_get(p->fs, DIR_INO, &dir), 0);
	return dir;
}

/* Begin, lock, change, commit (or drop when it failed, or was not meant). */
static int one(struct test_pool *p, enum what what, const void *name, size_t len,
	       const struct adit_dirent *de, bool keep)
{
	struct adit_inode_pm *dir;
	struct adit_op op;
	int err;
	static unsigned turn;
	struct adit_dir_place place = {0};
	struct adit_dirent was;

	CHECK_EQ(adit__op_begin_write(&op, p->fs), 0);
	adit__lock_inode(&op, DIR_INO, true);
	err = adit__cs_inode(op.cs, DIR_INO, &dir);
	CHECK_EQ(err, 0);
	/* Looked before, nowhere, or not at all. */
	if (++turn % 3 == 0)
		(void)!adit__dir_find(p->fs, NULL, dir_inode(p), name, len, &was, &place);
	if (what == INSERT)
		err = turn % 3 == 1 ? adit__dir_insert(op.cs, dir, name, len, de)
				    : adit__dir_insert_at(op.cs, dir, name, len, de, &place);
	else if (what == REMOVE)
		err = turn % 3 == 1 ? adit__dir_remove(op.cs, dir, name, len)
				    : adit__dir_remove_at(op.cs, dir, name, len, &place);
	else
		err = turn % 3 == 1 ? adit__dir_retarget(op.cs, dir, name, len, de)
				    : adit__dir_retarget_at(op.cs, dir, name, len, de, &place);
	if (err == 0) { /* the set shows what it did */
		struct adit_dirent got;
		int again = adit__dir_lookup(p->fs, op.cs, dir, name, len, &got);

		CHECK_EQ(again, what == REMOVE ? -ENOENT : 0);
		CHECK(what == REMOVE || got.ino == de->ino);
	}
	if (err == 0 && keep)
		CHECK_EQ(adit__cs_commit(op.cs), 0);
	adit__op_end(&op);
	return err;
}

static int find(struct test_pool *p, const void *name, size_t len, struct adit_dirent *out)
{
	struct adit_op op;
	int err;

	adit__op_begin(&op, p->fs);
	adit__lock_inode(&op, DIR_INO, false);
	err = adit__dir_lookup(p->fs, NULL, dir_inode(p), name, len, out);
	adit__op_end(&op);
	return err;
}

static void destroy(struct test_pool *p)
{
	struct adit_inode_pm *dir;
	struct adit_op op;
	int err;

	CHECK_EQ(adit__op_begin_write(&op, p->fs), 0);
	adit__lock_inode(&op, DIR_INO, true);
	do {
		CHECK_EQ(adit__cs_inode(op.cs, DIR_INO, &dir), 0);
		err = adit__dir_destroy_step(op.cs, dir);
		CHECK(err == 0 || err == -EAGAIN);
		CHECK_EQ(adit__cs_commit(op.cs), 0);
	} while (err);
	adit__op_end(&op);
	CHECK_EQ(get64(dir_inode(p)->size), 0);
	CHECK_EQ(get64(dir_inode(p)->blocks), 0);
	CHECK_EQ(adit__inode_fork(dir_inode(p)), ADIT_FORK_NONE);
}

/* ---- the model ----------------------------------------------------------------- */

#define NAMES 3000u
struct name {
	uint8_t bytes[ADIT_NAME_MAX];
	uint8_t len;
	bool there;
	struct adit_dirent de;
	uint64_t cookie; /* once read; 0 when it went */
};
struct model {
	struct name *name;
	unsigned n, there;
};

static void model_init(struct model *m, uint64_t seed, unsigned n, unsigned longest)
{
	uint64_t rng = seed;
	unsigned i, k;

	m->name = calloc(n, sizeof *m->name);
	assert_non_null(m->name);
	m->n = n;
	m->there = 0;
	for (i = 0; i < n; i++) {
		struct name *e = &m->name[i];
		char number[16];
		int digits = snprintf(number, sizeof number, "%x", i);

		/* The number makes it unique, at the end. */
		k = (unsigned)(test_rand(&rng) % longest) + 1;
		if (k < (unsigned)digits)
			k = (unsigned)digits;
		e->len = (uint8_t)k;
		memset(e->bytes, 'a' + (int)(test_rand(&rng) % 20) + 6, k);
		memcpy(e->bytes + k - (unsigned)digits, number, (unsigned)digits);
	}
}

struct reading {
	struct model *m;
	unsigned seen, stop;
	uint64_t last;
};

static int read_visit(void *arg, uint64_t cookie, const void *name, size_t len,
		      const struct adit_dirent *de)
{
	struct reading *r = arg;
	unsigned i;

	CHECK(cookie > r->last && cookie >= ADIT_COOKIE_FIRST && cookie <= INT64_MAX);
	r->last = cookie;
	r->seen++;
	CHECK(de->ino >= 1000 && de->ino < 1000 + r->m->n);
	i = (unsigned)(de->ino - 1000);
	CHECK(r->m->name[i].there);
	CHECK_EQ(len, r->m->name[i].len);
	CHECK(memcmp(name, r->m->name[i].bytes, len) == 0);
	CHECK_EQ(de->generation, r->m->name[i].de.generation);
	CHECK_EQ(de->dtype, r->m->name[i].de.dtype);
	CHECK(r->m->name[i].cookie == 0 || r->m->name[i].cookie == cookie);
	r->m->name[i].cookie = cookie;
	return r->seen == r->stop ? 5 : 0;
}

/* All of it, in one go or in parts of `part` entries. */
static void read_all(struct test_pool *p, struct model *m, unsigned part)
{
	struct reading r = {.m = m};
	int err;

	do {
		r.stop = part ? r.seen + part : 0;
		err = adit__dir_read(p->fs, dir_inode(p), r.last, read_visit, &r);
		CHECK(err == 0 || err == 5);
	} while (err);
	CHECK_EQ(r.seen, m->there);
	CHECK_EQ(get64(dir_inode(p)->size), m->there);
}

struct counting {
	uint64_t nodes;
};
static int count_node(void *arg, uint64_t block, const struct adit_node_pm *node, int err,
		      uint64_t low, uint64_t high)
{
	(void)block;
	(void)node;
	(void)low;
	(void)high;
	CHECK_EQ(err, 0);
	((struct counting *)arg)->nodes++;
	return 0;
}

static void check_shape(struct test_pool *p)
{
	const struct adit_inode_pm *dir = dir_inode(p);
	struct counting c = {0};
	const char *why = "?";

	if (adit__inode_fork(dir) == ADIT_FORK_INLINE)
		CHECK_EQ(adit__dir_verify_inline(dir, &why), 0);
	if (adit__inode_fork(dir) == ADIT_FORK_TREE) {
		struct adit_tree t = {.fs = p->fs, .owner = DIR_INO, .type = ADIT_TREE_DIR,
				      .level = dir->fork.tree.level,
				      .root = get64(dir->fork.tree.root)};

		CHECK_EQ(adit__tree_walk_nodes(&t, count_node, &c), 0);
		CHECK_EQ(get64(dir->fork.tree.nodes), c.nodes);
	}
	CHECK_EQ(get64(dir->blocks), c.nodes);
	CHECK_EQ(get64(dir->size) == 0, adit__inode_fork(dir) == ADIT_FORK_NONE);
}

static void check_all(struct test_pool *p, struct model *m)
{
	unsigned i;

	for (i = 0; i < m->n; i++) {
		struct adit_dirent de;
		int err = find(p, m->name[i].bytes, m->name[i].len, &de);

		CHECK_EQ(err, m->name[i].there ? 0 : -ENOENT);
		if (err)
			continue;
		CHECK_EQ(de.ino, m->name[i].de.ino);
		CHECK_EQ(de.generation, m->name[i].de.generation);
		CHECK_EQ(de.dtype, m->name[i].de.dtype);
	}
	read_all(p, m, 0);
	check_shape(p);
}

/* ---- random operations ------------------------------------------------------------ */

static void step(struct test_pool *p, struct model *m, uint64_t *rng, unsigned target)
{
	unsigned i = (unsigned)(test_rand(rng) % m->n);
	struct name *e = &m->name[i];
	bool keep = test_rand(rng) % 10 != 0;
	struct adit_dirent de = {.ino = 1000 + i, .generation = (uint32_t)test_rand(rng),
				 .dtype = (uint8_t)(test_rand(rng) % 15)};
	unsigned dice = (unsigned)(test_rand(rng) % 10);
	int err;

	if (e->there && dice < 2) {
		err = one(p, RETARGET, e->bytes, e->len, &de, keep);
		CHECK_EQ(err, 0);
		if (keep)
			e->de = de;
	} else if (e->there && (m->there > target || dice < 5)) {
		CHECK_EQ(one(p, REMOVE, e->bytes, e->len, NULL, keep), 0);
		if (keep) {
			e->there = false;
			e->cookie = 0;
			m->there--;
		}
	} else if (e->there) {
		CHECK_EQ(one(p, INSERT, e->bytes, e->len, &de, keep), -EEXIST);
	} else if (dice < 1) {
		CHECK_EQ(one(p, REMOVE, e->bytes, e->len, NULL, keep), -ENOENT);
		CHECK_EQ(one(p, RETARGET, e->bytes, e->len, &de, keep), -ENOENT);
	} else if (m->there <= target) {
		err = one(p, INSERT, e->bytes, e->len, &de, keep);
		CHECK_EQ(err, 0);
		if (keep) {
			e->there = true;
			e->de = de;
			e->cookie = 0;
			m->there++;
		}
	}
}

/* As a rename does: both names are looked up, then one comes and one goes, in one change set. */
static void rename_step(struct test_pool *p, struct model *m, uint64_t *rng)
{
	unsigned i = (unsigned)(test_rand(rng) % m->n), k = (unsigned)(test_rand(rng) % m->n);
	struct name *from = &m->name[i], *to = &m->name[k];
	struct adit_dirent de, to_de = {.ino = 1000 + k, .generation = (uint32_t)test_rand(rng)};
	struct adit_dir_place from_at, to_at;
	struct adit_inode_pm *dir;
	struct adit_op op;

	if (!from->there || to->there)
		return;
	CHECK_EQ(adit__op_begin_write(&op, p->fs), 0);
	adit__lock_inode(&op, DIR_INO, true);
	CHECK_EQ(adit__dir_find(p->fs, NULL, dir_inode(p), from->bytes, from->len, &de, &from_at),
		 0);
	CHECK_EQ(de.ino, from->de.ino);
	CHECK_EQ(adit__dir_find(p->fs, NULL, dir_inode(p), to->bytes, to->len, &de, &to_at),
		 -ENOENT);
	CHECK_EQ(adit__cs_inode(op.cs, DIR_INO, &dir), 0);
	CHECK_EQ(adit__dir_insert_at(op.cs, dir, to->bytes, to->len, &to_de, &to_at), 0);
	if (test_rand(rng) % 2)
		CHECK_EQ(adit__dir_retarget_at(op.cs, dir, from->bytes, from->len, &from->de,
					       &from_at), 0);
	CHECK_EQ(adit__dir_remove_at(op.cs, dir, from->bytes, from->len, &from_at), 0);
	CHECK_EQ(adit__dir_lookup(p->fs, op.cs, dir, from->bytes, from->len, &de), -ENOENT);
	CHECK_EQ(adit__dir_lookup(p->fs, op.cs, dir, to->bytes, to->len, &de), 0);
	CHECK_EQ(de.ino, to_de.ino);
	CHECK_EQ(adit__cs_commit(op.cs), 0);
	adit__op_end(&op);
	from->there = false;
	to->there = true;
	to->de = to_de;
	from->cookie = to->cookie = 0;
}

static void random_run(uint64_t seed)
{
	struct test_pool p;
	struct model m;
	uint64_t rng = seed, before;
	unsigned i, target, longest;

	seed_now = seed;
	test_pool_init(&p, 24u << 20, seed & 1);
	before = test_pool_free(&p);
	target = (unsigned[]){2, 6, 40, 400, 2000}[test_rand(&rng) % 5];
	longest = (unsigned[]){3, 12, 40, 255}[test_rand(&rng) % 4];
	/* At most 128 names may share a hash. */
	if (seed % 3 == 0)
		p.fs->weak_hash_mask = target <= 6 ? 1 : target <= 40 ? 3 : 127;
	model_init(&m, seed, target * 2 < NAMES ? target * 2 : NAMES, longest);
	for (i = 0; i < 3000; i++) {
		step(&p, &m, &rng, target);
		if (i % 4 == 0)
			rename_step(&p, &m, &rng);
		if (test_rand(&rng) % 300 == 0)
			read_all(&p, &m, 1 + (unsigned)(test_rand(&rng) % 9));
		if (test_rand(&rng) % 700 == 0) {
			test_pool_crash(&p);
			check_all(&p, &m);
		}
	}
	check_all(&p, &m);
	if (seed & 2) {
		destroy(&p);
	} else {
		for (i = 0; i < m.n; i++) {
			if (m.name[i].there)
				CHECK_EQ(one(&p, REMOVE, m.name[i].bytes, m.name[i].len, NULL,
					     true), 0);
		}
		m.there = 0;
		check_shape(&p);
	}
	CHECK_EQ(test_pool_free(&p), before);
	test_pool_crash(&p);
	CHECK_EQ(test_pool_free(&p), before);
	CHECK_EQ(p.reports, 0);
	free(m.name);
	test_pool_finish(&p);
}

static void test_random(void **state)
{
	const char *one_seed = getenv("ADIT_TEST_SEED"), *s = getenv("ADIT_TEST_SEEDS");
	unsigned n = s ? (unsigned)atoi(s) : 30, i;

	(void)state;
	if (one_seed) {
		random_run(strtoull(one_seed, NULL, 0));
		return;
	}
	for (i = 1; i <= n; i++)
		random_run(i);
}

static int count_entry(void *arg, uint64_t cookie, const void *name, size_t len,
		       const struct adit_dirent *de)
{
	(void)cookie;
	(void)name;
	(void)len;
	(void)de;
	++*(unsigned *)arg;
	return 0;
}

/* ---- particular cases --------------------------------------------------------------- */

static void insert(struct test_pool *p, struct model *m, unsigned i)
{
	struct name *e = &m->name[i];

	e->de = (struct adit_dirent){.ino = 1000 + i, .generation = i, .dtype = 8};
	CHECK_EQ(one(p, INSERT, e->bytes, e->len, &e->de, true), 0);
	e->there = true;
	m->there++;
}

/* Out of the inode, into the tree: cookies stay; and down to nothing again. */
static void test_grows_out_of_the_inode(void **state)
{
	struct test_pool p;
	struct model m;
	uint64_t before;
	unsigned i, packed = 0;

	(void)state;
	test_pool_init(&p, 16u << 20, true);
	before = test_pool_free(&p);
	model_init(&m, 4, 20, 4);
	for (i = 0; i < 20; i++) {
		insert(&p, &m, i);
		packed += adit__inode_fork(dir_inode(&p)) == ADIT_FORK_INLINE;
		read_all(&p, &m, i % 3);
		test_pool_crash(&p);
		check_all(&p, &m);
	}
	CHECK_EQ(packed, 7);
	CHECK_EQ(adit__inode_fork(dir_inode(&p)), ADIT_FORK_TREE);
	CHECK_EQ(get64(dir_inode(&p)->blocks), 1);
	for (i = 0; i < 20; i++) {
		CHECK_EQ(one(&p, REMOVE, m.name[i].bytes, m.name[i].len, NULL, true), 0);
		m.name[i].there = false;
		m.there--;
		check_all(&p, &m);
	}
	CHECK_EQ(adit__inode_fork(dir_inode(&p)), ADIT_FORK_NONE);
	CHECK_EQ(test_pool_free(&p), before);
	free(m.name);
	test_pool_finish(&p);
}

/* The longest name, an inode number that 48 bits cannot hold, all names of one hash. */
static void test_limits(void **state)
{
	struct adit_dirent de = {.ino = 1ull << 48, .dtype = 8}, got;
	struct test_pool p;
	uint8_t name[ADIT_NAME_MAX];
	struct model m;
	unsigned i;

	(void)state;
	test_pool_init(&p, 16u << 20, false);
	memset(name, 'x', sizeof name);
	CHECK_EQ(one(&p, INSERT, "big", 3, &de, true), 0);
	CHECK_EQ(adit__inode_fork(dir_inode(&p)), ADIT_FORK_TREE);
	CHECK_EQ(one(&p, INSERT, name, sizeof name, &de, true), 0);
	CHECK_EQ(find(&p, name, sizeof name, &got), 0);
	CHECK_EQ(got.ino, 1ull << 48);
	CHECK_EQ(find(&p, name, sizeof name - 1, &got), -ENOENT);
	destroy(&p);

	p.fs->weak_hash_mask = 1; /* every hash is 1 then */
	model_init(&m, 4, 129, 255);
	for (i = 0; i < 128; i++)
		insert(&p, &m, i);
	check_all(&p, &m);
	CHECK_EQ(one(&p, INSERT, m.name[128].bytes, m.name[128].len, &de, true), -ENOSPC);
	check_all(&p, &m);
	/* A number that is free again is used again. */
	CHECK_EQ(one(&p, REMOVE, m.name[50].bytes, m.name[50].len, NULL, true), 0);
	m.name[50].there = false;
	m.there--;
	insert(&p, &m, 128);
	check_all(&p, &m);
	CHECK_EQ(m.name[128].cookie, m.name[50].cookie);
	destroy(&p);
	free(m.name);
	test_pool_finish(&p);
}

/* Read in parts while other entries come and go: what stays is seen exactly once. */
static void test_read_while_changing(void **state)
{
	struct test_pool p;
	struct model m;
	uint64_t rng = 8;
	unsigned round, i;

	(void)state;
	test_pool_init(&p, 24u << 20, false);
	model_init(&m, 4, 1200, 30);
	for (i = 0; i < 600; i++)
		insert(&p, &m, i);
	for (round = 0; round < 6; round++) {
		struct reading r = {.m = &m};
		uint8_t *stayed = calloc(m.n, 1);
		unsigned stays = 0, seen_stayed = 0;
		int err;

		assert_non_null(stayed);
		/* The even ones that are there stay; only odd ones come and go. */
		for (i = 0; i < m.n; i++)
			stays += stayed[i] = i % 2 == 0 && m.name[i].there;
		do {
			r.stop = r.seen + 7;
			err = adit__dir_read(p.fs, dir_inode(&p), r.last, read_visit, &r);
			for (i = 0; i < 5; i++) {
				struct name *e = &m.name[(test_rand(&rng) % (m.n / 2)) * 2 + 1];

				if (e->there) {
					CHECK_EQ(one(&p, REMOVE, e->bytes, e->len, NULL, true), 0);
					e->there = false;
					e->cookie = 0;
					m.there--;
				} else {
					insert(&p, &m, (unsigned)(e - m.name));
				}
			}
		} while (err);
		for (i = 0; i < m.n; i++)
			seen_stayed += stayed[i] && m.name[i].cookie != 0;
		CHECK_EQ(seen_stayed, stays);
		free(stayed);
	}
	check_all(&p, &m);
	free(m.name);
	test_pool_finish(&p);
}

static void test_verify_inline(void **state)
{
	struct adit_dirent de = {.ino = 5, .dtype = 4};
	struct adit_inode_pm copy;
	struct test_pool p;
	const char *why;
	uint64_t rng = 1;
	unsigned i, n;

	(void)state;
	test_pool_init(&p, 16u << 20, false);
	CHECK_EQ(one(&p, INSERT, "one", 3, &de, true), 0);
	CHECK_EQ(one(&p, INSERT, "three", 5, &de, true), 0);
	copy = *dir_inode(&p);
	CHECK_EQ(adit__dir_verify_inline(&copy, &why), 0);
	copy.fork.bytes[0] = 200;
	CHECK_EQ(adit__dir_verify_inline(&copy, &why), -EUCLEAN);
	copy = *dir_inode(&p);
	copy.fork.bytes[13] = '/';
	CHECK_EQ(adit__dir_verify_inline(&copy, &why), -EUCLEAN);
	copy = *dir_inode(&p);
	copy.fork.bytes[111] = 1;
	CHECK_EQ(adit__dir_verify_inline(&copy, &why), -EUCLEAN);
	copy = *dir_inode(&p);
	copy.size = put64(3);
	CHECK_EQ(adit__dir_verify_inline(&copy, &why), -EUCLEAN);
	/* Anything at all: an answer, and lookups that stay inside. */
	for (i = 0; i < 20000; i++) {
		struct adit_dirent got;
		unsigned k;

		copy = *dir_inode(&p);
		for (k = 0; k < 3; k++)
			copy.fork.bytes[test_rand(&rng) % ADIT_FORK_BYTES] =
				(uint8_t)test_rand(&rng);
		(void)adit__dir_verify_inline(&copy, &why);
		(void)!adit__dir_lookup(p.fs, NULL, &copy, "three", 5, &got);
		n = 0;
		(void)!adit__dir_read(p.fs, &copy, 0, count_entry, &n);
		CHECK(n <= 7);
	}
	test_pool_finish(&p);
}

/* An insert that is refused a block leaves nothing behind. */
static void test_no_space(void **state)
{
	struct test_pool p;
	struct model m;
	uint64_t before;
	unsigned i, refused = 0;

	(void)state;
	test_pool_init(&p, 16u << 20, false);
	before = test_pool_free(&p);
	model_init(&m, 4, 1500, 60);
	for (i = 0; i < m.n; i++) {
		struct adit_dirent de = {.ino = 1000 + i, .generation = i, .dtype = 8};
		unsigned nth;
		int err;

		for (nth = 1;; nth++) {
			p.fs->fail_alloc_at = nth;
			err = one(&p, INSERT, m.name[i].bytes, m.name[i].len, &de, false);
			p.fs->fail_alloc_at = 0;
			if (!err)
				break;
			CHECK_EQ(err, -ENOSPC);
			refused++;
		}
		insert(&p, &m, i);
	}
	CHECK(refused > 20);
	check_all(&p, &m);
	destroy(&p);
	CHECK_EQ(test_pool_free(&p), before);
	free(m.name);
	test_pool_finish(&p);
}

/* ---- size ------------------------------------------------------------------------------ */

static void test_many(void **state)
{
	const char *s = getenv("ADIT_TEST_ENTRIES");
	unsigned n = s ? (unsigned)atoi(s) : 200000, i, seen = 0, probes = 400000;
	uint64_t rng = 1, t0, before;
	struct test_pool p;
	char name[32];

	(void)state;
	test_pool_init(&p, (64ull << 20) + n * 128ull, false);
	before = test_pool_free(&p);
	t0 = test_cpu_ns();
	for (i = 0; i < n; i++) {
		struct adit_dirent de = {.ino = 3 + i, .dtype = 8};
		int len = snprintf(name, sizeof name, "file-%08u", i);
		struct adit_inode_pm *dir;
		struct adit_op op;

		CHECK_EQ(adit__op_begin_write(&op, p.fs), 0);
		adit__lock_inode(&op, DIR_INO, true);
		CHECK_EQ(adit__cs_inode(op.cs, DIR_INO, &dir), 0);
		CHECK_EQ(adit__dir_insert(op.cs, dir, name, (size_t)len, &de), 0);
		CHECK_EQ(adit__cs_commit(op.cs), 0);
		adit__op_end(&op);
	}
	printf("insert %u: %.0f ns each\n", n, (double)(test_cpu_ns() - t0) / n);
	CHECK_EQ(get64(dir_inode(&p)->size), n);
	t0 = test_cpu_ns();
	for (i = 0; i < probes; i++) {
		unsigned k = (unsigned)(test_rand(&rng) % n);
		int len = snprintf(name, sizeof name, "file-%08u", k);
		struct adit_dirent de;

		CHECK_EQ(adit__dir_lookup(p.fs, NULL, dir_inode(&p), name, (size_t)len, &de), 0);
		CHECK_EQ(de.ino, 3 + k);
	}
	printf("lookup: %.0f ns each\n", (double)(test_cpu_ns() - t0) / probes);
	t0 = test_cpu_ns();
	CHECK_EQ(adit__dir_read(p.fs, dir_inode(&p), 0, count_entry, &seen), 0);
	CHECK_EQ(seen, n);
	printf("readdir: %.0f ns each, level %u, %llu nodes\n", (double)(test_cpu_ns() - t0) / n,
	       dir_inode(&p)->fork.tree.level,
	       (unsigned long long)get64(dir_inode(&p)->fork.tree.nodes));
	check_shape(&p);
	t0 = test_cpu_ns();
	for (i = 0; i < n / 2; i++) {
		int len = snprintf(name, sizeof name, "file-%08u", i * 2);

		CHECK_EQ(one(&p, REMOVE, name, (size_t)len, NULL, true), 0);
	}
	printf("remove: %.0f ns each\n", (double)(test_cpu_ns() - t0) / (n / 2));
	check_shape(&p);
	destroy(&p);
	CHECK_EQ(test_pool_free(&p), before);
	test_pool_finish(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows_out_of_the_inode),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_read_while_changing),
		cmocka_unit_test(test_verify_inline),
		cmocka_unit_test(test_no_space),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
