/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_tree.c - the B+tree against a sorted array: random changes with records of every size, both
 * kinds of leaves, several changes in one change set, sets that are dropped, crashes, refused blocks,
 * damaged nodes.  A failure prints the seed; ADIT_TEST_SEED replays it.
 */
#include "test_pool.h"

#include "core/tree_node.h"

#define MODEL_MAX 400000u

struct model_rec {
	uint64_t key;
	uint32_t salt; /* what the payload is made from */
	uint16_t len;
};
struct model {
	struct model_rec *rec; /* ascending */
	unsigned n;
};

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

/* ---- the model ---------------------------------------------------------- */

/* First position with key >= key. */
static unsigned model_at(const struct model *m, uint64_t key)
{
	unsigned low = 0, high = m->n;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (m->rec[mid].key < key)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool model_has(const struct model *m, uint64_t key)
{
	unsigned i = model_at(m, key);

	return i < m->n && m->rec[i].key == key;
}

static void model_insert(struct model *m, const struct model_rec *r)
{
	unsigned i = model_at(m, r->key);

	assert_true(m->n < MODEL_MAX);
	memmove(m->rec + i + 1, m->rec + i, (m->n - i) * sizeof *r);
	m->rec[i] = *r;
	m->n++;
}

static void model_remove(struct model *m, uint64_t key)
{
	unsigned i = model_at(m, key);

	memmove(m->rec + i, m->rec + i + 1, (m->n - i - 1) * sizeof *m->rec);
	m->n--;
}

/* ---- records -------------------------------------------------------------- */

union rec_buf {
	struct adit_rec_pm rec;
	uint8_t bytes[ADIT_RECORD_MAX];
};

/* A record that verification accepts for its type, full of bytes that the salt decides. */
static const struct adit_rec_pm *make_rec(union rec_buf *buf, uint8_t type,
					  const struct model_rec *r)
{
	uint64_t state = r->key * 31 + r->salt, word;
	unsigned i;

	for (i = sizeof buf->rec; i < r->len; i += 8) {
		word = test_rand(&state);
		memcpy(buf->bytes + i, &word, r->len - i < 8 ? r->len - i : 8);
	}
	buf->rec = (struct adit_rec_pm){.key = put64(r->key), .len = put16(r->len)};
	if (type == ADIT_TREE_XATTR) {
		buf->rec.a = 1;
		buf->rec.c = put32(r->len - 24u - 1u);
	} else {
		buf->rec.c = put32(r->salt);
	}
	return &buf->rec;
}

static void check_rec(uint8_t type, const struct adit_rec_pm *rec, const struct model_rec *r)
{
	union rec_buf want;

	CHECK_EQ(get64(rec->key), r->key);
	CHECK_EQ(get16(rec->len), r->len);
	make_rec(&want, type, r);
	CHECK(memcmp(rec, &want, r->len) == 0);
}

/* ---- comparing --------------------------------------------------------------- */

struct walk_check {
	const struct model *m;
	uint8_t type;
	unsigned next, stop;
};

static int check_visit(void *arg, const struct adit_rec_pm *rec)
{
	struct walk_check *w = arg;

	CHECK(w->next < w->m->n);
	check_rec(w->type, rec, &w->m->rec[w->next++]);
	return w->next == w->stop ? 77 : 0;
}

struct node_check {
	struct adit_tree *t;
	unsigned nodes, records, bytes;
};

static int check_node(void *arg, uint64_t block, const struct adit_node_pm *node, int err,
		      uint64_t low, uint64_t high)
{
	struct node_check *c = arg;
	const struct adit_inner_pm *entry = (const struct adit_inner_pm *)(const void *)node->body;
	const char *why = "?";
	unsigned i;

	CHECK_EQ(err, 0);
	err = adit__verify_node(c->t->fs, node, block, c->t->owner, c->t->type, node->level, &why);
	if (err)
		fprintf(stderr, "node %llu: %s\n", (unsigned long long)block, why);
	CHECK_EQ(err, 0);
	c->nodes++;
	CHECK(get16(node->count) > 0);
	for (i = 0; i < get16(node->count); i++) {
		uint64_t key;

		if (node->level > 0) {
			key = i == 0 ? low : get64(entry[i].key);
			CHECK(key >= low && (key < high || high == UINT64_MAX));
			continue;
		}
		key = get64(adit__leaf_rec(node, i)->key);
		CHECK(key >= low && key < high);
		c->records++;
		c->bytes += get16(adit__leaf_rec(node, i)->len);
	}
	return 0;
}

/* Node count of the tree, structure, contents. */
static unsigned check_all(struct adit_tree *t, struct adit_cs *cs, const struct model *m,
			  int64_t nodes)
{
	struct walk_check w = {.m = m, .type = t->type};
	struct node_check c = {.t = t};

	CHECK_EQ(adit__tree_walk(t, cs, 0, check_visit, &w), 0);
	CHECK_EQ(w.next, m->n);
	if (!cs) {
		CHECK_EQ(adit__tree_walk_nodes(t, check_node, &c), 0);
		CHECK_EQ(c.nodes, nodes);
		CHECK_EQ(c.records, m->n);
	}
	if (m->n == 0) {
		CHECK_EQ(t->root, 0);
		CHECK_EQ(t->level, 0);
	}
	return c.nodes;
}

static void check_finds(struct adit_tree *t, struct adit_cs *cs, const struct model *m,
			uint64_t key)
{
	struct adit_tree_pos pos;
	unsigned at = model_at(m, key);
	bool eq = at < m->n && m->rec[at].key == key;
	int err = adit__tree_find(t, cs, ADIT_FIND_EQ, key, &pos);

	CHECK_EQ(err, eq ? 0 : -ENOENT);
	if (!err)
		check_rec(t->type, pos.rec, &m->rec[at]);
	err = adit__tree_find(t, cs, ADIT_FIND_GE, key, &pos);
	CHECK_EQ(err, at < m->n ? 0 : -ENOENT);
	if (!err) {
		check_rec(t->type, pos.rec, &m->rec[at]);
		CHECK(pos.next_key > get64(pos.rec->key));
	}
	at = eq ? at + 1 : at;
	err = adit__tree_find(t, cs, ADIT_FIND_LE, key, &pos);
	CHECK_EQ(err, at > 0 ? 0 : -ENOENT);
	if (!err)
		check_rec(t->type, pos.rec, &m->rec[at - 1]);
}

/* ---- one tree under test --------------------------------------------------------- */

enum keys { KEYS_RANDOM, KEYS_GROUPED, KEYS_UP, KEYS_DOWN, KEYS_WIDE };
enum sizes { SIZES_FIXED, SIZES_SMALL, SIZES_ANY, SIZES_LARGE };

struct bed {
	struct test_pool *pool;
	struct adit_tree t, committed;
	struct model m;
	uint64_t rng, counter;
	enum keys keys;
	enum sizes sizes;
	unsigned target; /* records it hovers around */
	int64_t nodes;	 /* as of the last commit */
};

static void bed_init(struct bed *b, struct test_pool *pool, uint64_t owner, uint8_t type)
{
	memset(b, 0, sizeof *b);
	b->pool = pool;
	b->t = (struct adit_tree){
		.fs = pool->fs,
		.owner = owner,
		.type = type,
		.ordered = type != ADIT_TREE_DIR && type != ADIT_TREE_XATTR,
	};
	b->committed = b->t;
	b->m.rec = calloc(MODEL_MAX, sizeof *b->m.rec);
	assert_non_null(b->m.rec);
}

static uint64_t pick_key(struct bed *b)
{
	uint64_t r = test_rand(&b->rng);

	switch (b->keys) {
	case KEYS_RANDOM:
		return r % (4ull * b->target);
	case KEYS_GROUPED:
		return (r % (b->target / 16 + 1)) << 7 | (r >> 40) % 24;
	case KEYS_UP:
		return b->counter++ + (r % 8 == 0 ? r % 4 : 0);
	case KEYS_DOWN:
		return INT64_MAX - b->counter++;
	default:
		return r >> 1;
	}
}

static uint16_t pick_len(struct bed *b)
{
	uint64_t r = test_rand(&b->rng);

	switch (b->sizes) {
	case SIZES_FIXED:
		return 32;
	case SIZES_SMALL:
		return (uint16_t)(25 + r % 40);
	case SIZES_LARGE:
		return ADIT_RECORD_MAX - (uint16_t)(r % 16);
	default:
		return r & 1 ? (uint16_t)(25 + r / 2 % 64)
			     : (uint16_t)(25 + r / 2 % (ADIT_RECORD_MAX - 25 + 1));
	}
}

static uint64_t existing_key(struct bed *b)
{
	return b->m.rec[test_rand(&b->rng) % b->m.n].key;
}

/* keep: the model follows. */
static void change(struct bed *b, struct adit_cs *cs, bool keep)
{
	uint64_t dice = test_rand(&b->rng) % 100;
	unsigned grow = b->m.n < b->target ? 60 : 35;
	struct model_rec r = {.len = pick_len(b), .salt = (uint32_t)test_rand(&b->rng)};
	union rec_buf buf;
	bool there;
	int err;

	if (dice < grow || b->m.n == 0) {
		r.key = pick_key(b);
		there = model_has(&b->m, r.key);
		err = adit__tree_insert(&b->t, cs, make_rec(&buf, b->t.type, &r));
		if (keep)
			CHECK_EQ(err, there ? -EEXIST : 0);
		if (keep && !there)
			model_insert(&b->m, &r);
	} else if (dice < 85) {
		r.key = dice & 1 ? existing_key(b) : pick_key(b);
		if (b->keys >= KEYS_UP)
			r.key = existing_key(b);
		there = model_has(&b->m, r.key);
		err = adit__tree_remove(&b->t, cs, r.key);
		if (keep)
			CHECK_EQ(err, there ? 0 : -ENOENT);
		if (keep && there)
			model_remove(&b->m, r.key);
	} else {
		r.key = existing_key(b);
		err = adit__tree_replace(&b->t, cs, make_rec(&buf, b->t.type, &r));
		if (keep) {
			CHECK_EQ(err, 0);
			b->m.rec[model_at(&b->m, r.key)] = r;
		}
	}
}

/* One operation of a few changes; now and then it is dropped. */
static void run_op(struct bed *b)
{
	unsigned n = 1 + (unsigned)(test_rand(&b->rng) % 6), i;
	bool keep = test_rand(&b->rng) % 12 != 0;
	uint64_t counter = b->counter;
	struct adit_op op;

	CHECK_EQ(adit__op_begin_write(&op, b->pool->fs), 0);
	b->t.nodes = 0;
	for (i = 0; i < n; i++)
		change(b, op.cs, keep);
	if (keep) {
		if (b->m.n < 20000 && test_rand(&b->rng) % 64 == 0)
			check_all(&b->t, op.cs, &b->m, 0);
		check_finds(&b->t, op.cs, &b->m, pick_key(b));
		CHECK_EQ(adit__cs_commit(op.cs), 0);
		b->nodes += b->t.nodes;
		b->committed = b->t;
	} else {
		adit__cs_drop(op.cs);
		b->t = b->committed;
		b->counter = counter;
	}
	adit__op_end(&op);
}

static void bed_reopened(struct bed *b)
{
	b->t.fs = b->committed.fs = b->pool->fs;
}

static int destroy_visit(void *arg, const struct adit_rec_pm *rec)
{
	(void)rec;
	++*(unsigned *)arg;
	return 0;
}

static void destroy(struct bed *b)
{
	unsigned seen = 0, steps = 0;
	struct adit_op op;
	int err;

	CHECK_EQ(adit__op_begin_write(&op, b->pool->fs), 0);
	b->t.nodes = 0;
	do {
		err = adit__tree_destroy_step(&b->t, op.cs, destroy_visit, &seen);
		CHECK(err == 0 || err == -EAGAIN);
		CHECK_EQ(adit__cs_commit(op.cs), 0);
		steps++;
		if (err) { /* what is left is a tree */
			struct model part = {b->m.rec, b->m.n - seen};

			check_all(&b->t, NULL, &part, b->nodes + b->t.nodes);
		}
	} while (err);
	adit__op_end(&op);
	CHECK_EQ(seen, b->m.n);
	CHECK_EQ(b->nodes + b->t.nodes, 0);
	CHECK_EQ(b->t.root, 0);
	CHECK(steps > 0);
	b->m.n = 0;
	b->nodes = 0;
	b->committed = b->t;
}

static void random_run(uint64_t seed, bool crashes)
{
	struct test_pool pool;
	struct bed bed[3];
	uint64_t rng = seed, before;
	unsigned i, k;

	seed_now = seed;
	test_pool_init(&pool, 48u << 20, crashes);
	before = test_pool_free(&pool);
	for (k = 0; k < 3; k++) {
		uint64_t r = test_rand(&rng);

		bed_init(&bed[k], &pool, 100 + k,
			 r & 1 ? ADIT_TREE_SNAPSHOTS : ADIT_TREE_XATTR);
		bed[k].rng = test_rand(&rng);
		bed[k].keys = (enum keys)(r / 2 % 5);
		bed[k].sizes = (enum sizes)(r / 16 % 4);
		bed[k].target = (unsigned[]){3, 60, 700, 3000}[r / 64 % 4];
	}
	for (i = 0; i < 4000; i++) {
		k = (unsigned)(test_rand(&rng) % 3);
		run_op(&bed[k]);
		if (test_rand(&rng) % 1000 == 0) {
			test_pool_crash(&pool);
			for (k = 0; k < 3; k++) {
				bed_reopened(&bed[k]);
				check_all(&bed[k].t, NULL, &bed[k].m, bed[k].nodes);
			}
		}
	}
	for (k = 0; k < 3; k++) {
		check_all(&bed[k].t, NULL, &bed[k].m, bed[k].nodes);
		for (i = 0; i < 200; i++)
			check_finds(&bed[k].t, NULL, &bed[k].m, pick_key(&bed[k]));
		destroy(&bed[k]);
		free(bed[k].m.rec);
	}
	CHECK_EQ(test_pool_free(&pool), before);
	CHECK_EQ(pool.reports, 0);
	test_pool_crash(&pool);
	CHECK_EQ(test_pool_free(&pool), before);
	test_pool_finish(&pool);
}

static unsigned seeds(unsigned usual)
{
	const char *s = getenv("ADIT_TEST_SEEDS");

	return s ? (unsigned)atoi(s) : usual;
}

static void test_random(void **state)
{
	const char *one = getenv("ADIT_TEST_SEED");
	unsigned n = seeds(60), i;

	(void)state;
	if (one) {
		random_run(strtoull(one, NULL, 0), true);
		return;
	}
	for (i = 1; i <= n; i++)
		random_run(i, i % 2 == 0);
}

/* ---- particular shapes ------------------------------------------------------------ */

static void insert_one(struct bed *b, struct adit_cs *cs, uint64_t key, uint16_t len)
{
	struct model_rec r = {.key = key, .len = len, .salt = (uint32_t)key};
	union rec_buf buf;

	CHECK_EQ(adit__tree_insert(&b->t, cs, make_rec(&buf, b->t.type, &r)), 0);
	model_insert(&b->m, &r);
}

/* n records, `step` apart, a few to a change set. */
static void fill(struct bed *b, unsigned n, uint64_t step, uint16_t len)
{
	struct adit_op op;
	unsigned i, k;

	for (i = 0; i < n;) {
		CHECK_EQ(adit__op_begin_write(&op, b->pool->fs), 0);
		b->t.nodes = 0;
		for (k = 0; k < 8 && i < n; k++, i++)
			insert_one(b, op.cs, i * step, len);
		CHECK_EQ(adit__cs_commit(op.cs), 0);
		b->nodes += b->t.nodes;
		adit__op_end(&op);
	}
}

static void test_ascending_is_dense(void **state)
{
	struct test_pool pool;
	struct bed b;

	(void)state;
	test_pool_init(&pool, 32u << 20, false);
	bed_init(&b, &pool, 9, ADIT_TREE_EXTENTS);
	fill(&b, 20000, 3, 32);
	check_all(&b.t, NULL, &b.m, b.nodes);
	/* 118 records of 32 bytes and their slots fill a leaf. */
	CHECK(b.nodes <= 20000 / 118 + 3);
	CHECK_EQ(b.t.level, 1);
	destroy(&b);
	free(b.m.rec);
	test_pool_finish(&pool);
}

/* Records of a quarter of a node: four levels of nodes. */
static void test_deep(void **state)
{
	struct test_pool pool;
	uint64_t before, rng = 5;
	struct bed b;
	unsigned i;

	(void)state;
	test_pool_init(&pool, 512u << 20, false);
	before = test_pool_free(&pool);
	bed_init(&b, &pool, 9, ADIT_TREE_SNAPSHOTS);
	fill(&b, 4 * 252 * 252 + 5, 2, ADIT_RECORD_MAX);
	CHECK_EQ(b.t.level, 3);
	check_all(&b.t, NULL, &b.m, b.nodes);
	for (i = 0; i < 20000; i++)
		check_finds(&b.t, NULL, &b.m, test_rand(&rng) % (2 * b.m.n + 10));
	b.rng = 11;
	b.target = 1;
	b.keys = KEYS_WIDE;
	b.sizes = SIZES_LARGE;
	for (i = 0; i < 2000; i++)
		run_op(&b);
	destroy(&b);
	CHECK_EQ(test_pool_free(&pool), before);
	free(b.m.rec);
	test_pool_finish(&pool);
}

/* Down to one level again, from either end and from the middle. */
static void test_shrinks(void **state)
{
	struct test_pool pool;
	uint64_t before;
	unsigned way;

	(void)state;
	test_pool_init(&pool, 64u << 20, false);
	before = test_pool_free(&pool);
	for (way = 0; way < 3; way++) {
		struct bed b;
		struct adit_op op;

		bed_init(&b, &pool, 9, way & 1 ? ADIT_TREE_XATTR : ADIT_TREE_EXTENTS);
		fill(&b, 40000, 1ull << 7, 32);
		CHECK_EQ(b.t.level, 2);
		while (b.m.n > 0) {
			unsigned i = way == 0 ? 0 : way == 1 ? b.m.n - 1 : b.m.n / 2;
			uint64_t key = b.m.rec[i].key;

			CHECK_EQ(adit__op_begin_write(&op, pool.fs), 0);
			b.t.nodes = 0;
			CHECK_EQ(adit__tree_remove(&b.t, op.cs, key), 0);
			CHECK_EQ(adit__cs_commit(op.cs), 0);
			adit__op_end(&op);
			b.nodes += b.t.nodes;
			model_remove(&b.m, key);
			if (b.m.n % 4096 == 17)
				check_all(&b.t, NULL, &b.m, b.nodes);
		}
		CHECK_EQ(b.t.root, 0);
		CHECK_EQ(b.nodes, 0);
		CHECK_EQ(test_pool_free(&pool), before);
		free(b.m.rec);
	}
	test_pool_finish(&pool);
}

/* Keys of one hash cross leaves and are still found, and numbered apart. */
static bool match_key(const struct adit_rec_pm *rec, const void *arg)
{
	return get64(rec->key) == *(const uint64_t *)arg;
}

static void test_groups_across_leaves(void **state)
{
	struct test_pool pool;
	struct adit_tree_pos pos;
	struct adit_op op;
	uint64_t group = 77ull << 7, key, i;
	struct bed b;

	(void)state;
	test_pool_init(&pool, 16u << 20, false);
	bed_init(&b, &pool, 9, ADIT_TREE_XATTR);
	fill(&b, 200, 1ull << 7, 100);
	CHECK_EQ(adit__op_begin_write(&op, pool.fs), 0);
	for (i = 1; i < 128; i++) {
		CHECK_EQ(adit__tree_free_key(&b.t, op.cs, group, group + 127, &key), 0);
		CHECK_EQ(key, group + i);
		insert_one(&b, op.cs, key, 300);
		if (i % 16 == 0)
			CHECK_EQ(adit__cs_commit(op.cs), 0);
	}
	CHECK_EQ(adit__tree_free_key(&b.t, op.cs, group, group + 127, &key), -ENOSPC);
	for (i = 0; i < 128; i++) {
		key = group + i;
		CHECK_EQ(adit__tree_find_match(&b.t, op.cs, group, group + 127, match_key, &key,
					       &pos), 0);
		CHECK_EQ(get64(pos.rec->key), key);
	}
	key = group + 128;
	CHECK_EQ(adit__tree_find_match(&b.t, op.cs, group, group + 127, match_key, &key, &pos),
		 -ENOENT);
	for (i = 5; i < 128; i += 50) {
		CHECK_EQ(adit__tree_remove(&b.t, op.cs, group + i), 0);
		CHECK_EQ(adit__tree_free_key(&b.t, op.cs, group, group + 127, &key), 0);
		CHECK_EQ(key, group + i);
		model_remove(&b.m, key);
		insert_one(&b, op.cs, key, 300);
	}
	CHECK_EQ(adit__cs_commit(op.cs), 0);
	adit__op_end(&op);
	free(b.m.rec);
	test_pool_finish(&pool);
}

/* Where a walk begins and that it stops when told. */
static void test_walk(void **state)
{
	struct test_pool pool;
	struct bed b;
	unsigned i;

	(void)state;
	test_pool_init(&pool, 16u << 20, false);
	bed_init(&b, &pool, 9, ADIT_TREE_XATTR);
	fill(&b, 3000, 5, 60);
	for (i = 0; i < 15010; i += 7) {
		unsigned at = model_at(&b.m, i);
		struct walk_check w = {.m = &b.m, .type = b.t.type, .next = at, .stop = at + 3};
		int err = adit__tree_walk(&b.t, NULL, i, check_visit, &w);

		CHECK_EQ(err, at + 3 <= b.m.n ? 77 : 0);
	}
	free(b.m.rec);
	test_pool_finish(&pool);
}

/* What an insert, a removal, a replacement put into the record. */
static size_t cost(struct bed *b, int what, uint64_t key, uint16_t len)
{
	struct model_rec r = {.key = key, .len = len, .salt = 1};
	union rec_buf buf;
	struct adit_op op;
	size_t room;

	CHECK_EQ(adit__op_begin_write(&op, b->pool->fs), 0);
	room = adit__cs_room(op.cs);
	make_rec(&buf, b->t.type, &r);
	if (what == 0)
		CHECK_EQ(adit__tree_insert(&b->t, op.cs, &buf.rec), 0);
	else if (what == 1)
		CHECK_EQ(adit__tree_remove(&b->t, op.cs, key), 0);
	else
		CHECK_EQ(adit__tree_replace(&b->t, op.cs, &buf.rec), 0);
	room -= adit__cs_room(op.cs);
	CHECK_EQ(adit__cs_commit(op.cs), 0);
	adit__op_end(&op);
	return room;
}

static void test_cost(void **state)
{
	struct test_pool pool;
	struct bed b;

	(void)state;
	test_pool_init(&pool, 16u << 20, false);
	bed_init(&b, &pool, 9, ADIT_TREE_XATTR);
	fill(&b, 40, 1ull << 20, 40);
	/* entry headers of 16 bytes: record, slot word, header word */
	CHECK_EQ(cost(&b, 0, 5ull << 9, 40), 16 + 40 + 16 + 8 + 16 + 8);
	CHECK_EQ(cost(&b, 1, 5ull << 9, 40), 16 + 8);
	CHECK_EQ(cost(&b, 1, 7ull << 20, 40), 16 + 8 + 16 + 8);
	/* the salt differs: the payload, not the header */
	CHECK_EQ(cost(&b, 2, 9ull << 20, 40), 16 + 40 - 16);
	CHECK_EQ(cost(&b, 2, 9ull << 20, 40), 0);
	free(b.m.rec);

	bed_init(&b, &pool, 10, ADIT_TREE_EXTENTS);
	fill(&b, 41, 4, 32);
	CHECK_EQ(cost(&b, 0, 41 * 4, 32), 16 + 32 + 16 + 8 + 16 + 8);
	free(b.m.rec);
	test_pool_finish(&pool);
}

/* The scan finds every slot with the fingerprint, once, and none behind the last. */
static void test_scan(void **state)
{
	struct adit_node_pm node;
	uint64_t rng = 7;
	unsigned round, i, slot;

	(void)state;
	for (round = 0; round < 20000; round++) {
		unsigned kinds = round % 3 == 0 ? 2 : round % 3 == 1 ? 8 : 256;
		unsigned count = (unsigned)(test_rand(&rng) % (ADIT_LEAF_SLOTS_MAX + 1));
		uint8_t fingerprint = (uint8_t)(test_rand(&rng) % kinds), met[256] = {0};
		struct adit_leaf_scan scan;

		for (i = 0; i < 256; i++) {
			uint16_t value = (uint16_t)(test_rand(&rng) % kinds << 8 |
						    test_rand(&rng) % 256);
			le16 v = put16(value);

			memcpy(node.body + 2 * i, &v, 2);
		}
		node.count = put16((uint16_t)count);
		scan = adit__leaf_scan(&node, fingerprint);
		while (adit__scan_next(&scan, &slot)) {
			CHECK(slot < count);
			met[slot]++;
		}
		for (i = 0; i < count; i++) {
			bool same = node.body[2 * i + 1] == fingerprint;

			CHECK(met[i] <= 1 && (!same || met[i] == 1));
		}
	}
}

/* Leaves of names stay well filled: hashes in every part of the range, and crowded in one. */
static void test_split_fills(void **state)
{
	unsigned crowded;

	(void)state;
	for (crowded = 0; crowded < 2; crowded++) {
		struct test_pool pool;
		struct bed b;
		struct adit_op op;
		uint64_t rng = 3;
		unsigned i;

		test_pool_init(&pool, 16u << 20, false);
		bed_init(&b, &pool, 9, ADIT_TREE_XATTR);
		for (i = 0; i < 6000; i++) {
			uint64_t key = test_rand(&rng) >> (crowded && i > 0 ? 24 : 1);

			CHECK_EQ(adit__op_begin_write(&op, pool.fs), 0);
			b.t.nodes = 0;
			insert_one(&b, op.cs, key, 32 + (uint16_t)(i % 40));
			CHECK_EQ(adit__cs_commit(op.cs), 0);
			b.nodes += b.t.nodes;
			adit__op_end(&op);
		}
		check_all(&b.t, NULL, &b.m, b.nodes);
		/* 56 bytes of heap and a slot each: 6000 of them fill 87 leaves. */
		CHECK(b.nodes < 87 * 2);
		free(b.m.rec);
		test_pool_finish(&pool);
	}
}

/* ---- trouble ------------------------------------------------------------------------- */

/* Refuse each allocation in turn: the tree is as it was, and removal still works. */
static void test_no_space(void **state)
{
	struct test_pool pool;
	uint64_t before;
	unsigned n;

	(void)state;
	test_pool_init(&pool, 32u << 20, false);
	before = test_pool_free(&pool);
	for (n = 1; n < 6; n++) {
		unsigned refused = 0, i;
		struct bed b;

		bed_init(&b, &pool, 9, n & 1 ? ADIT_TREE_XATTR : ADIT_TREE_SNAPSHOTS);
		b.rng = n;
		for (i = 0; i < 3000; i++) {
			struct model_rec r = {.key = test_rand(&b.rng) >> 1, .salt = i,
					      .len = (uint16_t)(25 + test_rand(&b.rng) % 960)};
			union rec_buf buf;
			struct adit_op op;
			int err;

			CHECK_EQ(adit__op_begin_write(&op, pool.fs), 0);
			b.t.nodes = 0;
			pool.fs->fail_alloc_at = n;
			err = adit__tree_insert(&b.t, op.cs, make_rec(&buf, b.t.type, &r));
			pool.fs->fail_alloc_at = 0;
			CHECK(err == 0 || err == -ENOSPC);
			if (err == 0)
				model_insert(&b.m, &r);
			else
				refused++;
			CHECK_EQ(err && b.t.nodes, 0);
			check_finds(&b.t, op.cs, &b.m, r.key);
			CHECK_EQ(adit__cs_commit(op.cs), 0);
			b.nodes += b.t.nodes;
			adit__op_end(&op);
			if (i % 500 == 0)
				check_all(&b.t, NULL, &b.m, b.nodes);
		}
		CHECK(n > 3 || refused > 0 || b.t.level > 0);
		check_all(&b.t, NULL, &b.m, b.nodes);
		destroy(&b);
		free(b.m.rec);
		CHECK_EQ(test_pool_free(&pool), before);
	}
	test_pool_finish(&pool);
}

static int any_visit(void *arg, const struct adit_rec_pm *rec)
{
	(void)arg;
	return get16(rec->len) == 0 ? -1 : 0;
}

static int any_node(void *arg, uint64_t block, const struct adit_node_pm *node, int err,
		    uint64_t low, uint64_t high)
{
	unsigned *n = arg;

	(void)block;
	(void)node;
	(void)low;
	(void)high;
	return err ? 0 : ++*n > 5000 ? 1 : 0;
}

/* Everything once; whatever comes out, it comes out. */
static void poke(struct bed *b, uint64_t *rng)
{
	struct adit_tree_pos pos;
	struct adit_tree t;
	struct adit_op op;
	union rec_buf buf;
	unsigned i, n = 0;

	for (i = 0; i < 40; i++) {
		uint64_t key = test_rand(rng) % (8ull * b->target);
		struct model_rec r = {.key = key, .len = 60, .salt = 3};
		int err = 0;

		CHECK_EQ(adit__op_begin_write(&op, b->pool->fs), 0);
		t = b->t;
		for (unsigned k = 0; k < 4; k++) {
			err |= adit__tree_find(&t, op.cs, (enum adit_tree_find)(k % 3), key, &pos);
			err |= adit__tree_insert(&t, op.cs, make_rec(&buf, t.type, &r));
			err |= adit__tree_replace(&t, op.cs, make_rec(&buf, t.type, &r));
			err |= adit__tree_remove(&t, op.cs, existing_key(b));
		}
		(void)err;
		adit__cs_drop(op.cs);
		adit__op_end(&op);
	}
	CHECK(adit__tree_walk(&b->t, NULL, 0, any_visit, NULL) <= 0);
	CHECK(adit__tree_walk_nodes(&b->t, any_node, &n) >= 0);
	CHECK_EQ(adit__op_begin_write(&op, b->pool->fs), 0);
	t = b->t;
	for (i = 0; i < 10 && adit__tree_destroy_step(&t, op.cs, any_visit, NULL) == -EAGAIN; i++)
		;
	adit__cs_drop(op.cs);
	adit__op_end(&op);
}

static int count_records(void *arg, const struct adit_rec_pm *rec)
{
	(void)rec;
	++*(unsigned *)arg;
	return 0;
}

/* A leaf that says one key twice, with the right checksum: an error, not a cookie given twice. */
static void test_key_twice(void **state)
{
	struct test_pool pool;
	struct adit_node_pm *leaf;
	struct adit_rec_pm *rec;
	unsigned n = 0;
	uint64_t key;
	struct bed b;

	(void)state;
	test_pool_init(&pool, 16u << 20, false);
	bed_init(&b, &pool, 9, ADIT_TREE_XATTR);
	b.rng = 3;
	b.keys = KEYS_RANDOM;
	b.sizes = SIZES_SMALL;
	b.target = 20;
	while (b.m.n < 20)
		run_op(&b);
	assert_int_equal(b.t.level, 0);
	assert_int_equal(adit__tree_walk(&b.t, NULL, 0, count_records, &n), 0);
	assert_int_equal(n, 20);
	leaf = adit__block_at(pool.fs, adit_ptr_block(b.t.root));
	rec = (struct adit_rec_pm *)((uint8_t *)leaf + adit__leaf_offset(leaf, 7));
	key = get64(rec->key);
	rec->key = adit__leaf_rec(leaf, 3)->key;
	pool.quiet = true;
	assert_int_equal(adit__tree_walk(&b.t, NULL, 0, count_records, &n), -EUCLEAN);
	assert_true(n < 40);
	rec->key = put64(key);
	pool.quiet = false;
	pool.reports = 0;
	destroy(&b);
	free(b.m.rec);
	test_pool_finish(&pool);
}

/* Every block of the tree, damaged: with and without a checksum that agrees. */
static void test_damage(void **state)
{
	uint64_t rng = 99, blocks[256];
	struct test_pool pool;
	struct bed b;
	unsigned round, n = 0;
	uint8_t *saved;

	(void)state;
	test_pool_init(&pool, 16u << 20, false);
	bed_init(&b, &pool, 9, ADIT_TREE_XATTR);
	b.rng = 3;
	b.keys = KEYS_RANDOM;
	b.sizes = SIZES_SMALL;
	b.target = 2000;
	while (b.m.n < 2000)
		run_op(&b);
	assert_int_equal(b.t.level, 1);
	assert_int_equal(adit__checkpoint(pool.fs), 0);
	blocks[n++] = adit_ptr_block(b.t.root);
	{
		const struct adit_node_pm *root = adit__block_at(pool.fs, blocks[0]);
		const struct adit_inner_pm *e = (const struct adit_inner_pm *)(const void *)root->body;

		for (; n < 256 && n <= get16(root->count); n++)
			blocks[n] = adit_ptr_block(get64(e[n - 1].ptr));
	}
	pool.quiet = true;
	saved = malloc(ADIT_BLOCK);
	assert_non_null(saved);
	for (round = 0; round < 600; round++) {
		uint64_t block = blocks[round % 3 == 0 ? 0 : test_rand(&rng) % n];
		struct adit_node_pm *node = adit__block_at(pool.fs, block);
		unsigned edits = 1 + (unsigned)(test_rand(&rng) % 3), i;
		struct adit_tree_pos pos;

		memcpy(saved, node, ADIT_BLOCK);
		for (i = 0; i < edits; i++) {
			unsigned limit = test_rand(&rng) & 1 ? 160 : ADIT_BLOCK;

			((uint8_t *)node)[16 + test_rand(&rng) % (limit - 16)] ^=
				(uint8_t)(1 + test_rand(&rng) % 255);
		}
		adit__clear_verified(pool.fs, block << ADIT_BLOCK_SHIFT);
		if (block == blocks[0]) {
			int err = adit__tree_find(&b.t, NULL, ADIT_FIND_EQ, 1, &pos);

			CHECK(err == -EBADMSG || err == -EUCLEAN);
		}
		node->crc = put32(adit__seal_crc(pool.fs, node, ADIT_NODE_SEAL_FROM, ADIT_BLOCK,
						 ADIT_MAGIC_NODE));
		poke(&b, &rng);
		memcpy(node, saved, ADIT_BLOCK);
		adit__clear_verified(pool.fs, block << ADIT_BLOCK_SHIFT);
	}
	CHECK(pool.reports > 0);
	pool.quiet = false;
	pool.reports = 0;
	check_all(&b.t, NULL, &b.m, b.nodes);
	destroy(&b);
	free(saved);
	free(b.m.rec);
	test_pool_finish(&pool);
}

static void test_arguments(void **state)
{
	struct test_pool pool;
	struct adit_tree_pos pos;
	union rec_buf buf = {.rec = {.key = put64(1)}};
	struct adit_op op;
	struct bed b;

	(void)state;
	test_pool_init(&pool, 16u << 20, false);
	bed_init(&b, &pool, 9, ADIT_TREE_SNAPSHOTS);
	CHECK_EQ(adit__op_begin_write(&op, pool.fs), 0);
	CHECK_EQ(adit__tree_find(&b.t, op.cs, ADIT_FIND_GE, 0, &pos), -ENOENT);
	CHECK_EQ(adit__tree_remove(&b.t, op.cs, 1), -ENOENT);
	buf.rec.len = put16(15);
	CHECK_EQ(adit__tree_insert(&b.t, op.cs, &buf.rec), -EINVAL);
	buf.rec.len = put16(ADIT_RECORD_MAX + 1);
	CHECK_EQ(adit__tree_insert(&b.t, op.cs, &buf.rec), -EINVAL);
	CHECK_EQ(adit__tree_replace(&b.t, op.cs, &buf.rec), -EINVAL);
	buf.rec.len = put16(16);
	CHECK_EQ(adit__tree_replace(&b.t, op.cs, &buf.rec), -ENOENT);
	CHECK_EQ(adit__tree_insert(&b.t, op.cs, &buf.rec), 0);
	CHECK_EQ(adit__tree_insert(&b.t, op.cs, &buf.rec), -EEXIST);
	/* A single record may become the largest there is. */
	buf.rec.len = put16(ADIT_RECORD_MAX);
	for (int i = 0; i < 12; i++) {
		CHECK_EQ(adit__tree_replace(&b.t, op.cs, &buf.rec), 0);
		buf.rec.len = put16(i & 1 ? ADIT_RECORD_MAX : 16);
	}
	CHECK_EQ(adit__tree_remove(&b.t, op.cs, 1), 0);
	CHECK_EQ(b.t.root, 0);
	CHECK_EQ(b.t.nodes, 0);
	adit__op_end(&op);
	free(b.m.rec);
	test_pool_finish(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_scan),
		cmocka_unit_test(test_split_fills),
		cmocka_unit_test(test_cost),
		cmocka_unit_test(test_ascending_is_dense),
		cmocka_unit_test(test_groups_across_leaves),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_shrinks),
		cmocka_unit_test(test_no_space),
		cmocka_unit_test(test_key_twice),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_deep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
