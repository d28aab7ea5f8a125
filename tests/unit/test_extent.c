/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_extent.c - the map from file blocks to pool blocks against an array: random insertions,
 * removals, conversions and shifts, several in one change set, sets that are dropped, crashes, both
 * forms of the fork, damaged maps.  A failure prints the seed; ADIT_TEST_SEED replays it.
 */
#include "test_pool.h"

#include "core/file_int.h"
#include "core/namei.h"

#define BLOCKS 600u /* of the file that the model covers */
#define POOL (64u << 20)

static uint64_t seed_now;

#define CHECK_EQ(a, b)                                                                      \
	do {                                                                                \
		long long a_ = (long long)(a), b_ = (long long)(b);                         \
		if (a_ != b_) {                                                             \
			fprintf(stderr, "%s:%d: seed %llu: %s is %lld, not %lld\n",         \
				__FILE__, __LINE__, (unsigned long long)seed_now, #a, a_, b_); \
			fail();                                                             \
		}                                                                           \
	} while (0)

struct cell {
	uint64_t block; /* 0: hole */
	bool unwritten;
};
struct map {
	struct cell cell[BLOCKS];
};

static uint64_t make_file(struct test_pool *p, const char *name)
{
	struct adit_create c = {.mode = S_IFREG | 0644};
	struct adit_id id;

	CHECK_EQ(adit__create(p->fs, ADIT_INO_ROOT, name, strlen(name), &c, NULL, &id), 0);
	return id.ino;
}

static uint64_t first_seed(void)
{
	const char *s = getenv("ADIT_TEST_SEED");

	return s ? strtoull(s, NULL, 0) : 1;
}

/* ---- comparing ------------------------------------------------------------- */

struct walked {
	const struct map *map;
	uint64_t at, mapped;
	struct adit_extent last;
	uint64_t max;
};

static int compare_extent(void *arg, const struct adit_extent *e)
{
	struct walked *w = arg;

	CHECK_EQ(e->file_block >= w->at, 1);
	for (; w->at < e->file_block; w->at++)
		CHECK_EQ(w->map->cell[w->at].block, 0);
	/* What could be one extent is one. */
	if (w->last.blocks && w->last.file_block + w->last.blocks == e->file_block &&
	    w->last.block + w->last.blocks == e->block && w->last.flags == e->flags)
		CHECK_EQ(w->last.blocks + e->blocks > w->max, 1);
	for (uint64_t i = 0; i < e->blocks; i++, w->at++) {
		CHECK_EQ(w->at < BLOCKS, 1);
		CHECK_EQ(w->map->cell[w->at].block, e->block + i);
		CHECK_EQ(w->map->cell[w->at].unwritten, e->flags & ADIT_EXTENT_UNWRITTEN);
	}
	w->mapped += e->blocks;
	w->last = *e;
	return 0;
}

static void compare_at(struct test_pool *p, struct adit_cs *cs, const struct adit_inode_pm *ip,
		       const struct map *m, uint64_t fb)
{
	struct adit_extent e;
	uint64_t n = 0;

	CHECK_EQ(adit__extent_at(p->fs, cs, ip, fb, &e), 0);
	CHECK_EQ(e.file_block, fb);
	CHECK_EQ(e.block, m->cell[fb].block);
	if (e.block) {
		CHECK_EQ(e.flags & ADIT_EXTENT_UNWRITTEN, m->cell[fb].unwritten);
		return;
	}
	while (fb + n < BLOCKS && m->cell[fb + n].block == 0)
		n++;
	CHECK_EQ(e.blocks, fb + n < BLOCKS ? n : ADIT_FILE_BLOCKS_MAX - fb);
}

static void compare(struct test_pool *p, uint64_t ino, const struct map *m)
{
	struct walked w = {.map = m, .max = 4 * p->fs->group_blocks};
	const struct adit_inode_pm *ip;
	uint64_t nodes = 0;

	CHECK_EQ(adit__inode_get(p->fs, ino, &ip), 0);
	CHECK_EQ(adit__extent_walk(p->fs, ip, 0, compare_extent, &w), 0);
	for (; w.at < BLOCKS; w.at++)
		CHECK_EQ(m->cell[w.at].block, 0);
	if (adit__inode_fork(ip) == ADIT_FORK_TREE)
		nodes = get64(ip->fork.tree.nodes);
	CHECK_EQ(get64(ip->blocks), w.mapped + nodes);
	if (w.mapped == 0)
		CHECK_EQ(adit__inode_fork(ip), ADIT_FORK_NONE);
	for (unsigned i = 0; i < 40; i++)
		compare_at(p, NULL, ip, m, i * (BLOCKS / 40));
}

/* ---- random changes ---------------------------------------------------------- */

static int do_insert(struct adit_cs *cs, struct adit_inode_pm *ip, struct map *m, uint64_t *seed)
{
	uint64_t fb = test_rand(seed) % BLOCKS, n = 0, want = 1 + test_rand(seed) % 12;
	struct adit_run run;
	uint64_t goal = 0;
	bool unwritten = test_rand(seed) & 1;
	int err;

	while (n < want && fb + n < BLOCKS && m->cell[fb + n].block == 0)
		n++;
	if (n == 0)
		return 0;
	if (fb > 0 && m->cell[fb - 1].block && test_rand(seed) % 2) {
		goal = m->cell[fb - 1].block + 1;
		unwritten = m->cell[fb - 1].unwritten;
	}
	if (adit__cs_room(cs) < adit__extent_room(ip) + 64)
		return -E2BIG;
	err = adit__alloc_blocks(cs, goal, n, 1, 0, &run);
	if (err)
		return err;
	err = adit__file_map(cs, ip, fb, &run, unwritten ? ADIT_EXTENT_UNWRITTEN : 0);
	if (err)
		return err;
	for (uint64_t i = 0; i < run.count; i++)
		m->cell[fb + i] = (struct cell){run.block + i, unwritten};
	return 0;
}

static int do_remove(struct adit_cs *cs, struct adit_inode_pm *ip, struct map *m, uint64_t *seed)
{
	uint64_t from = test_rand(seed) % BLOCKS, done;
	uint64_t to = from + test_rand(seed) % (test_rand(seed) % 8 ? 10 : 200);
	int err;

	to = to < BLOCKS ? to : BLOCKS;
	err = adit__extent_remove(cs, ip, from, to, true, &done);
	if (err && err != -EAGAIN)
		return err;
	CHECK_EQ(done >= from && done <= to, 1);
	if (!err)
		CHECK_EQ(done, from);
	for (uint64_t i = done; i < to; i++)
		m->cell[i] = (struct cell){0, false};
	return err ? -E2BIG : 0;
}

static int do_convert(struct adit_cs *cs, struct adit_inode_pm *ip, struct map *m, uint64_t *seed)
{
	uint64_t from = test_rand(seed) % BLOCKS, to = from;
	bool unwritten = test_rand(seed) & 1;
	uint64_t want = test_rand(seed) % 10;
	int err;

	while (to < BLOCKS && to - from < want && m->cell[to].block)
		to++;
	for (uint64_t i = from; i < to;) {
		uint64_t end = i;

		/* Piece by piece, as callers do: what is reported undone is. */
		while (end < to && m->cell[end].unwritten == m->cell[i].unwritten)
			end++;
		err = adit__extent_convert(cs, ip, i, end, unwritten);
		if (err)
			return err;
		for (; i < end; i++)
			m->cell[i].unwritten = unwritten;
	}
	return 0;
}

/* In as many records as it takes; what the model does at once. */
static int do_shift(struct test_pool *p, struct adit_op *op, uint64_t ino, struct map *m,
		    uint64_t *seed)
{
	uint64_t from = test_rand(seed) % BLOCKS, n = 1 + test_rand(seed) % 50, at;
	bool up = test_rand(seed) & 1;
	int err;

	if (up) {
		for (uint64_t i = BLOCKS - n; i < BLOCKS; i++)
			if (m->cell[i].block)
				return 0;
		if (from > BLOCKS - n)
			return 0;
		memmove(&m->cell[from + n], &m->cell[from],
			(BLOCKS - from - n) * sizeof m->cell[0]);
		memset(&m->cell[from], 0, n * sizeof m->cell[0]);
		at = ADIT_FILE_BLOCKS_MAX;
	} else {
		if (from < n)
			return 0;
		for (uint64_t i = from - n; i < from; i++)
			if (m->cell[i].block)
				return 0;
		/* Nothing straddles `from`: a hole lies before it. */
		memmove(&m->cell[from - n], &m->cell[from], (BLOCKS - from) * sizeof m->cell[0]);
		memset(&m->cell[BLOCKS - n], 0, n * sizeof m->cell[0]);
		at = from;
	}
	do {
		struct adit_inode_pm *ip;

		CHECK_EQ(adit__cs_inode(op->cs, ino, &ip), 0);
		err = adit__extent_shift(op->cs, ip, from, up ? (int64_t)n : -(int64_t)n, &at);
		if (err && err != -EAGAIN)
			return err;
		CHECK_EQ(adit__cs_commit(op->cs), 0);
	} while (err);
	(void)p;
	return 0;
}

static void one_op(struct test_pool *p, uint64_t ino, struct map *m, uint64_t *seed)
{
	unsigned n = 1 + (unsigned)(test_rand(seed) % 12);
	struct map before = *m;
	struct adit_inode_pm *ip;
	struct adit_op op;
	int err = 0;

	CHECK_EQ(adit__file_begin(&op, p->fs, ino, &ip), 0);
	for (unsigned i = 0; i < n && !err; i++) {
		unsigned what = (unsigned)(test_rand(seed) % 16);

		if (what < 8)
			err = do_insert(op.cs, ip, m, seed);
		else if (what < 12)
			err = do_convert(op.cs, ip, m, seed);
		else
			err = do_remove(op.cs, ip, m, seed);
		compare_at(p, op.cs, ip, m, test_rand(seed) % BLOCKS);
	}
	if (err)
		CHECK_EQ(err, -E2BIG);
	if (test_rand(seed) % 8 == 0) {
		adit__cs_drop(op.cs);
		*m = before;
	} else {
		CHECK_EQ(adit__cs_commit(op.cs), 0);
	}
	if (test_rand(seed) % 8 == 0)
		CHECK_EQ(do_shift(p, &op, ino, m, seed), 0);
	adit__op_end(&op);
}

static void run_seed(uint64_t seed, unsigned rounds)
{
	struct test_pool p;
	struct map *m = calloc(1, sizeof *m);
	uint64_t ino, free_before;

	seed_now = seed;
	test_pool_init(&p, POOL, true);
	make_file(&p, "other");
	free_before = test_pool_free(&p);
	ino = make_file(&p, "f");
	for (unsigned i = 0; i < rounds; i++) {
		one_op(&p, ino, m, &seed);
		if (i % 16 == 15)
			compare(&p, ino, m);
		if (i % 64 == 63) {
			test_pool_crash(&p);
			compare(&p, ino, m);
		}
	}
	compare(&p, ino, m);
	CHECK_EQ(adit__unlink(p.fs, ADIT_INO_ROOT, "f", 1), 0);
	CHECK_EQ(test_pool_free(&p), free_before);
	CHECK_EQ(p.reports, 0);
	test_pool_finish(&p);
	free(m);
}

static void test_random(void **state)
{
	uint64_t first = first_seed();

	(void)state;
	for (uint64_t s = first; s < first + (getenv("ADIT_TEST_SEED") ? 1 : 6); s++)
		run_seed(s, 700);
}

/* ---- edges ------------------------------------------------------------------- */

/* Contiguous insertions in any order end as one extent. */
static void test_merge(void **state)
{
	static const unsigned order[][3] = {{0, 1, 2}, {2, 1, 0}, {0, 2, 1}, {1, 0, 2}};
	struct test_pool p;

	(void)state;
	test_pool_init(&p, POOL, false);
	for (unsigned o = 0; o < 4; o++) {
		uint64_t ino = make_file(&p, (char[]){'a' + (char)o, 0});
		struct adit_inode_pm *ip;
		struct adit_run run;
		struct adit_op op;

		CHECK_EQ(adit__file_begin(&op, p.fs, ino, &ip), 0);
		CHECK_EQ(adit__alloc_blocks(op.cs, 0, 9, 9, 0, &run), 0);
		for (unsigned i = 0; i < 3; i++) {
			struct adit_run r = {run.block + 3 * order[o][i], 3};

			CHECK_EQ(adit__file_map(op.cs, ip, 100 + 3 * order[o][i], &r, 0), 0);
		}
		CHECK_EQ(get16(ip->fork.extents.count), 1);
		CHECK_EQ(get32(ip->fork.extents.extent[0].blocks), 9);
		CHECK_EQ(get64(ip->blocks), 9);
		CHECK_EQ(adit__cs_commit(op.cs), 0);
		adit__op_end(&op);
	}
	test_pool_finish(&p);
}

/* Where something is mapped already. */
static void test_overlap(void **state)
{
	struct test_pool p;
	struct adit_inode_pm *ip;
	struct adit_run run;
	struct adit_op op;
	uint64_t ino;

	(void)state;
	test_pool_init(&p, POOL, false);
	p.quiet = true;
	ino = make_file(&p, "f");
	CHECK_EQ(adit__file_begin(&op, p.fs, ino, &ip), 0);
	CHECK_EQ(adit__alloc_blocks(op.cs, 0, 8, 8, 0, &run), 0);
	CHECK_EQ(adit__file_map(op.cs, ip, 10, &run, 0), 0);
	CHECK_EQ(adit__file_map(op.cs, ip, 17, &(struct adit_run){run.block, 1}, 0), -EUCLEAN);
	CHECK_EQ(adit__file_map(op.cs, ip, 9, &(struct adit_run){run.block, 2}, 0), -EUCLEAN);
	CHECK_EQ(adit__file_map(op.cs, ip, 10, &(struct adit_run){run.block, 1}, 0), -EUCLEAN);
	CHECK_EQ(p.reports, 3);
	adit__op_end(&op);
	test_pool_finish(&p);
}

/* A pointer out of the pool is an error, whoever made the checksum. */
static void test_damage(void **state)
{
	static const struct {
		uint64_t file_block, block, blocks;
	} bad[] = {{0, 0, 1},
		   {0, 10, 0},
		   {0, ADIT_PTR_BLOCK_MASK, 1},
		   {0, (POOL >> 12) - 1, 2},
		   {~0ull, 100, 1},
		   {2 * ADIT_FILE_BLOCKS_MAX - 1, 100, 2}};
	struct test_pool p;
	uint64_t ino;

	(void)state;
	test_pool_init(&p, POOL, false);
	p.quiet = true;
	ino = make_file(&p, "f");
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct adit_inode_pm *ip;
		struct adit_extent e;
		struct adit_op op;
		uint64_t done;

		CHECK_EQ(adit__file_begin(&op, p.fs, ino, &ip), 0);
		adit__inode_set_fork(ip, ADIT_FORK_EXTENTS);
		ip->fork.extents.count = put16(1);
		ip->fork.extents.extent[0] = (struct adit_extent_inline_pm){
			.file_block = put64(bad[i].file_block), .ptr = put64(bad[i].block),
			.blocks = put32((uint32_t)bad[i].blocks)};
		CHECK_EQ(adit__extent_at(p.fs, op.cs, ip, bad[i].file_block, &e), -EUCLEAN);
		if (bad[i].file_block != ~0ull)
			CHECK_EQ(adit__extent_remove(op.cs, ip, 0, ~0ull, true, &done), -EUCLEAN);
		ip->fork.extents.count = put16(5);
		CHECK_EQ(adit__extent_at(p.fs, op.cs, ip, 0, &e), -EUCLEAN);
		adit__op_end(&op);
	}
	test_pool_finish(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
