/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pools that grow (core/grow.c): in many steps, over the borders of groups and clusters, into memory full of rubbish;
 * with a power failure at every store, write-back and fence of it, and in the recovery from that; with the grower's
 * death at every step while others have the pool open, and the death of who repairs.  Each time the pool has the
 * old size or the new one, every free block is counted, the check finds nothing, and everybody works on.
 *
 * Several participants are several handles of one process on one piece of memory; dying is a jump.
 */
#include "deaths.h"

#include "core/alloc.h"

#define GROUP	  512u
#define META	  (16u * 5) /* of a cluster of 16 such groups */
#define MIB	  (1ull << 20)
#define BLOCKS(b) ((b) / ADIT_BLOCK)
#define ROOM_MAX  (33 * MIB)

struct shape {
	const char *name;
	uint64_t from, to, room; /* bytes; room: of the medium */
};

static const struct shape shapes[] = {
	{"inside of the last group", 5 * MIB - 12288, 5 * MIB + 4096, 6 * MIB},
	{"to a border", 5 * MIB, 6 * MIB, 6 * MIB},
	{"from a border", 4 * MIB, 6 * MIB, 6 * MIB},
	{"by a block", 4 * MIB, 4 * MIB + 4096, 5 * MIB},
	{"to an odd size, over several groups", 4 * MIB + 4096 * 77, 9 * MIB + 4096 * 3, 10 * MIB},
	{"to a new cluster", 31 * MIB, 33 * MIB, 33 * MIB},
};
#define SHAPES (sizeof shapes / sizeof shapes[0])
/* Where a death or a crash meets another one. */
static const struct shape twice = {"by a group and a half", 4 * MIB + 4096 * 77, 7 * MIB, 7 * MIB};

static unsigned images, deaths;
static uint64_t seed = 1;
static uint8_t nobody[256];

/* ---- a pool that may grow --------------------------------------------------------------------- */

/* The places of groups that are not there may hold anything: the last cluster's. */
static void spoil_places(struct adit_fs *fs)
{
	uint32_t end = (fs->groups + 15) / 16 * 16;

	for (uint32_t g = fs->groups; g < end; g++) {
		memset(adit__block_at(fs, adit__group_header_block(fs, g)), 0xa5, ADIT_BLOCK);
		memset(adit__block_at(fs, adit__group_replica_block(fs, g)), 0xa5, ADIT_BLOCK);
		memset(adit__block_at(fs, adit__group_bitmap_block(fs, g)), 0xa5, ADIT_BLOCK);
		memset(adit__group_vol_bitmap(fs, g), 0xa5, ADIT_BLOCK);
		memset(adit__group_vol(fs, g), 0xa5, ADIT_BLOCK);
	}
}

static uint8_t *pool_of(uint64_t bytes, uint64_t room)
{
	struct adit_mkfs_params params = {.pool_bytes = bytes,
					  .hash_seed = 42,
					  .lanes = 2,
					  .root_mode = 0755,
					  .uuid = {1, 2, 3},
					  .group_blocks = GROUP};
	uint8_t *base = memory(room);
	struct pool p;

	memset(base + bytes, 0xa5, room - bytes);
	pool_on(&p, base, room);
	lane_hint = 0;
	assert_int_equal(adit__core_mkfs(&p.pm, &env, &p.reporter, &params), 0);
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &env, &p.reporter, 0), 0);
	put(p.fs, child(p.fs, ADIT_INO_ROOT, "victim"), 0, 20000);
	put(p.fs, child(p.fs, ADIT_INO_ROOT, "data"), 0, 20000);
	spoil_places(p.fs);
	assert_int_equal(adit__core_close(p.fs), 0);
	return base;
}

static void join_room(struct pool *p, uint8_t *base, uint64_t room, uint32_t me)
{
	pool_on(p, base, room);
	assert_int_equal(adit__core_open(&p->fs, &p->pm, &env, &p->reporter, ADIT_OPEN_JOIN), 0);
	p->fs->me = me;
}

static uint64_t total_of(uint64_t blocks)
{
	uint64_t clusters = (blocks + 16 * GROUP - 1) / (16 * GROUP);

	return blocks - (clusters - 1) * META;
}

static uint64_t free_blocks(struct adit_fs *fs)
{
	struct adit_statfs st;

	adit__core_statfs(fs, &st);
	return st.free;
}

/* What share does, without the kernel's locks. */
static void grow_to(struct pool *p, uint64_t bytes, const uint8_t *gone)
{
	uint64_t blocks = 0;
	uint32_t slots[256];

	adit__follow(p->fs);
	assert_int_equal(adit__grow_fit(p->fs, BLOCKS(bytes), &blocks), 0);
	assert_int_equal(adit__grow_map(p->fs, blocks), 0);
	assert_int_equal(adit__grow_prepare(p->fs, blocks, UINT64_MAX), 0);
	assert_true(adit__is_still(p->fs, gone));
	assert_int_equal(adit__grow(p->fs, blocks, gone, slots), 0);
}

static uint64_t fill_up(struct adit_fs *fs, const char *name)
{
	uint64_t ino = child(fs, ADIT_INO_ROOT, name), pos = 0;

	memset(buffer, 0xa5, sizeof buffer);
	for (uint32_t n = 65536; n >= 4096;) {
		struct adit_iovec v = {buffer, n};
		uint64_t at = pos;
		int64_t done = adit__file_write(fs, ino, &v, 1, &at, 0);

		assert_true(done > 0 || done == -ENOSPC);
		if (done > 0)
			pos += (uint64_t)done;
		else
			n /= 2;
	}
	return pos;
}

static bool data_are_right(struct adit_fs *fs)
{
	uint64_t ino = lookup(fs, ADIT_INO_ROOT, "data");
	struct adit_iovec v = {buffer, 20000};

	assert_int_equal(adit__file_read(fs, ino, &v, 1, 0), 20000);
	for (size_t i = 0; i < 20000; i++)
		if (buffer[i] != (uint8_t)(i * 131 + ino * 17 + (i >> 9)))
			return false;
	return true;
}

/* ---- many steps ---------------------------------------------------------------------------------- */

static void test_many_steps(void **state)
{
	static const uint64_t by[] = {1,   1,	62,   64,   447,  1, 511,
				      512, 513, 1000, 1024, 3000, 7, 145};
	const uint64_t room = 70 * MIB;
	uint8_t *base = pool_of(4 * MIB, room);
	uint64_t blocks = BLOCKS(4 * MIB), free, fit;
	struct pool p, q;
	char name[30];

	(void)state;
	open_on(&p, base, room, "open");
	join_room(&q, base, room, 1);
	free = free_blocks(p.fs);
	for (unsigned i = 0; blocks < BLOCKS(room); i++) {
		uint64_t next = min_u64(blocks + by[i % 14], BLOCKS(room)), was = blocks, had;
		struct pool *grower = i % 2 ? &p : &q, *other = i % 2 ? &q : &p;
		int rc = adit__grow_fit(grower->fs, next, &fit);

		/* The first blocks of a cluster would be all metadata. */
		if (rc == -EINVAL) {
			assert_true(blocks % (16 * GROUP) == 0 && next - blocks < META + 64);
			next = blocks + META + 64;
		}
		grow_to(grower, next * ADIT_BLOCK, nobody);
		blocks = grower->fs->pool_blocks;
		assert_true(blocks == next ||
			    (blocks % (16 * GROUP) == 0 && next - blocks < META + 64));
		free += total_of(blocks) - total_of(was);
		assert_int_equal(free_blocks(other->fs), free);
		assert_int_equal(other->fs->pool_blocks, blocks);
		assert_int_equal(other->fs->groups, (blocks + GROUP - 1) / GROUP);
		assert_int_equal(other->fs->vol->free_blocks, free);
		snprintf(name, sizeof name, "file-%u", i);
		lane_hint = i % 2;
		had = free_blocks(other->fs);
		if (i % 3 == 0)
			put(other->fs, child(other->fs, ADIT_INO_ROOT, name), 0, 300000);
		assert_int_equal(adit__checkpoint(grower->fs), 0);
		free -= had - free_blocks(other->fs);
		if (i % 4 == 0)
			assert_clean(grower->fs, "between");
		if (i % 16 == 5) {
			adit__core_abandon(p.fs);
			assert_int_equal(adit__core_close(q.fs), 0);
			open_on(&p, base, room, "open again");
			join_room(&q, base, room, 1);
			/* The region is what it was. */
			assert_false(p.fs->alone);
			assert_int_equal(p.fs->nops, 256);
			assert_int_equal(free_blocks(p.fs), free);
		}
	}
	assert_clean(p.fs, "at the end");
	for (uint32_t g = 0; g < p.fs->groups; g++) {
		const uint8_t *replica = adit__block_at(p.fs, adit__group_replica_block(p.fs, g));

		for (unsigned i = ADIT_GROUP_SEAL_TO; i < ADIT_BLOCK; i++)
			assert_int_equal(replica[i], 0);
	}
	assert_true(data_are_right(q.fs));
	assert_true(fill_up(q.fs, "all") > 30 * MIB);
	assert_clean(p.fs, "full");
	adit__core_abandon(q.fs);
	adit__core_abandon(p.fs);
	munmap(base, room);
}

/* What cannot be. */
static void test_refused(void **state)
{
	const struct adit_run beyond = {BLOCKS(5 * MIB) + 3, 1};
	uint8_t *base = pool_of(5 * MIB, 6 * MIB);
	struct adit_check_result res;
	uint64_t blocks = 17;
	struct pool p;

	(void)state;
	open_on(&p, base, 6 * MIB, "open");
	assert_int_equal(adit__grow_fit(p.fs, BLOCKS(4 * MIB), &blocks), -EINVAL);
	assert_non_null(strstr(p.report, "shrink"));
	assert_int_equal(adit__grow_fit(p.fs, ADIT_PTR_BLOCK_MASK + 1, &blocks), -EFBIG);
	assert_int_equal(blocks, 17);
	assert_int_equal(adit__grow_fit(p.fs, BLOCKS(5 * MIB), &blocks), 0);
	assert_int_equal(blocks, BLOCKS(5 * MIB));
	/* Rubbish where the bitmap means nothing yet. */
	adit__alloc_apply(p.fs, beyond.block, beyond.count, true, 0);
	assert_int_equal(adit__grow_fit(p.fs, BLOCKS(6 * MIB), &blocks), -EUCLEAN);
	assert_non_null(strstr(p.report, "fsck"));
	adit__bitmap_seal(p.fs, beyond.block);
	assert_int_equal(adit__core_close(p.fs), 0);
	/* The check does what is asked for. */
	pool_on(&p, base, 6 * MIB);
	assert_int_equal(check(&p, 0, &res, false), 0);
	assert_int_equal(res.found, 1);
	assert_int_equal(check(&p, ADIT_CHECK_PREEN, &res, false), 0);
	assert_int_equal(res.left, 0);
	assert_int_equal(check(&p, 0, &res, true), 0);
	assert_int_equal(res.found, 0);
	open_on(&p, base, 6 * MIB, "mended");
	grow_to(&p, 6 * MIB, nobody);
	assert_clean(p.fs, "mended");
	adit__core_abandon(p.fs);
	munmap(base, 6 * MIB);
}

/* Full; another one grows; the first goes on. */
static void test_full(void **state)
{
	const uint64_t room = 8 * MIB;
	uint8_t *base = pool_of(4 * MIB, room);
	uint64_t all, more;
	struct pool p, q;

	(void)state;
	open_on(&p, base, room, "open");
	join_room(&q, base, room, 1);
	all = fill_up(p.fs, "all");
	assert_true(all > 2 * MIB);
	grow_to(&q, 6 * MIB, nobody);
	more = fill_up(p.fs, "more");
	assert_true(more > 2 * MIB - 65536 && more <= 2 * MIB);
	assert_clean(q.fs, "full again");
	adit__core_abandon(p.fs);
	assert_int_equal(adit__core_close(q.fs), 0);
	open_on(&p, base, room, "open again");
	assert_clean(p.fs, "open again");
	assert_int_equal(p.fs->pool_blocks, BLOCKS(6 * MIB));
	adit__core_abandon(p.fs);
	munmap(base, room);
}

/* A process that cannot map what is new does not go on with half of the pool; the others do. */
static bool narrow;

static int extend_or_not(struct adit_pm *pm, uint64_t size_bytes)
{
	(void)pm, (void)size_bytes;
	return narrow ? -ENOMEM : 0;
}

static void test_cannot_map(void **state)
{
	struct adit_pm_ops ops = pool_pm_ops;
	uint8_t *base = pool_of(4 * MIB, 6 * MIB);
	struct pool p, q;
	uint32_t slots[256];
	struct adit_op op;

	(void)state;
	ops.extend = extend_or_not;
	open_on(&p, base, 6 * MIB, "open");
	join_room(&q, base, 6 * MIB, 1);
	q.fs->pm.ops = &ops;
	grow_to(&p, 5 * MIB, nobody);
	narrow = true;
	assert_int_equal(adit__grow_map(q.fs, BLOCKS(6 * MIB)), -ENOMEM);
	assert_int_equal(adit__op_begin_write(&op, q.fs), 0);
	adit__op_end(&op);
	assert_true(adit__has_stopped(q.fs) && !adit__has_stopped(p.fs));
	assert_int_equal(q.reports, 1);
	assert_non_null(strstr(q.report, "open it again"));
	assert_int_equal(adit__op_begin_write(&op, q.fs), -EIO);
	put(p.fs, child(p.fs, ADIT_INO_ROOT, "goes on"), 0, 100000);
	assert_clean(p.fs, "the others");
	/* Whoever has to repair, and cannot, stops the pool: nobody may go on as if it had been done. */
	adit__core_abandon(q.fs);
	narrow = false;
	join_room(&q, base, 6 * MIB, 1);
	q.fs->pm.ops = &ops;
	grow_to(&p, 6 * MIB, nobody);
	narrow = true;
	assert_int_equal(adit__repair(q.fs, nobody, slots), 0);
	assert_true(adit__has_stopped(p.fs));
	adit__core_abandon(q.fs);
	adit__core_abandon(p.fs);
	open_on(&p, base, 6 * MIB, "open again");
	q.fs = NULL;
	join_room(&q, base, 6 * MIB, 1);
	q.fs->pm.ops = &ops;
	(void)adit__grow(q.fs, BLOCKS(6 * MIB), nobody, slots);
	assert_true(adit__has_stopped(p.fs));
	adit__core_abandon(q.fs);
	adit__core_abandon(p.fs);
	narrow = false;
	open_on(&p, base, 6 * MIB, "open again");
	assert_int_equal(p.fs->pool_blocks, BLOCKS(6 * MIB));
	assert_clean(p.fs, "open again");
	adit__core_abandon(p.fs);
	munmap(base, 6 * MIB);
}

/* A parked operation keeps what it has reserved, in what was the last group, too. */
static void test_reservations(void **state)
{
	const uint64_t room = 8 * MIB;
	uint8_t *base = pool_of(5 * MIB, room);
	struct adit_run mine[4], run;
	struct adit_op op, other;
	struct pool p, q;
	uint64_t taken = 0;

	(void)state;
	open_on(&p, base, room, "open");
	join_room(&q, base, room, 1);
	lane_hint = 0;
	assert_int_equal(adit__op_begin_write(&op, p.fs), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(
			adit__alloc_blocks(op.cs, BLOCKS(5 * MIB) - 10 + 2 * i, 2, 2, 0, &mine[i]),
			0);
	adit__op_park(&op);
	adit__current_op = NULL;
	assert_false(adit__is_still(q.fs, nobody) && op.held->state == ADIT_OP_RUNNING);
	grow_to(&q, 7 * MIB + 4096, nobody);
	lane_hint = 1;
	assert_int_equal(adit__op_begin_write(&other, q.fs), 0);
	while (adit__cs_room(other.cs) > 4096 &&
	       adit__alloc_blocks(other.cs, 0, 64, 1, ADIT_ALLOC_RESERVE, &run) == 0) {
		taken += run.count;
		for (unsigned i = 0; i < 4; i++)
			assert_false(run.block < mine[i].block + mine[i].count &&
				     mine[i].block < run.block + run.count);
	}
	assert_true(adit__cs_room(other.cs) > 4096 && taken > BLOCKS(3 * MIB));
	adit__op_end(&other);
	/* It goes on, in the larger pool. */
	adit__current_op = &op;
	adit__op_unpark(&op);
	assert_int_equal(p.fs->pool_blocks, q.fs->pool_blocks);
	assert_int_equal(adit__alloc_blocks(op.cs, BLOCKS(7 * MIB), 1, 1, 0, &run), 0);
	assert_int_equal(run.block, BLOCKS(7 * MIB));
	adit__op_end(&op);
	assert_clean(q.fs, "everything given back");
	assert_int_equal(adit__checkpoint(q.fs), 0);
	assert_int_equal(q.fs->vol->free_blocks, adit__total_free(q.fs));
	adit__core_abandon(q.fs);
	adit__core_abandon(p.fs);
	munmap(base, room);
}

/* ---- power failures -------------------------------------------------------------------------------- */

static const struct shape *shape;
static uint64_t free_before; /* of the pool as it was */
static unsigned each;	     /* images a step */
static struct adit_pm *crashing;

/* Each line as it is certain to be, as it is, or some words of each. The one image that there is. */
static uint8_t *image_of(unsigned way)
{
	static uint8_t *image;
	const uint64_t *now = (const uint64_t *)(const void *)crashing->base;
	const uint64_t *sure = (const uint64_t *)(const void *)least.durable;
	uint64_t *to = (uint64_t *)(void *)image;

	if (!image)
		image = memory(ROOM_MAX);
	memcpy(image, way == 1 ? (const void *)now : (const void *)sure, shape->room);
	for (uint64_t line = 0; way > 1 && line < shape->room / 64; line++) {
		uint64_t r;

		if (memcmp(now + line * 8, sure + line * 8, 64) == 0)
			continue;
		r = pool_random(&seed);
		for (unsigned w = 0; w < 8; w++)
			if (r % 3 == 0 || (r % 3 == 1 && (r >> (8 + w) & 1)))
				to[line * 8 + w] = now[line * 8 + w];
	}
	return image;
}

static void check_fsck(uint8_t *image, const char *when)
{
	struct adit_check_result res;
	struct pool p;

	pool_on(&p, image, shape->room);
	if (check(&p, ADIT_CHECK_REPAIR, &res, false) != 0 || res.left != 0)
		fail_msg("%s: the check cannot mend it", when);
	if (check(&p, 0, &res, true) != 0 || res.found != 0)
		fail_msg("%s: the check finds something once more", when);
}

/* must: -1 either size, 0 the old one, 1 the new one. */
static void recovers(uint8_t *image, int must, const char *when)
{
	uint64_t free;
	struct pool p;
	bool grown;

	images++;
	open_on(&p, image, shape->room, when);
	if (p.reports != 0)
		fail_msg("%s: open says: %s", when, p.report);
	grown = p.fs->pool_blocks == BLOCKS(shape->to);
	if (!grown && p.fs->pool_blocks != BLOCKS(shape->from))
		fail_msg("%s: %llu blocks", when, (unsigned long long)p.fs->pool_blocks);
	if (must >= 0 && grown != must)
		fail_msg("%s: %s", when, grown ? "the new size" : "the old size");
	free = free_before +
	       (grown ? total_of(BLOCKS(shape->to)) - total_of(BLOCKS(shape->from)) : 0);
	if (free_blocks(p.fs) != free || p.fs->vol->free_blocks != free)
		fail_msg("%s: %llu free, not %llu", when, (unsigned long long)free_blocks(p.fs),
			 (unsigned long long)free);
	assert_clean(p.fs, when);
	assert_true(data_are_right(p.fs));
	put(p.fs, child(p.fs, ADIT_INO_ROOT, "new"), 0, 100000);
	/* If it had the old size, what is left over from the attempt does not matter. */
	if (!grown && images % 4 == 0)
		grow_to(&p, shape->to, nobody);
	assert_int_equal(adit__core_close(p.fs), 0);
	assert_memory_equal(image, image + ADIT_SUPER_COPY * ADIT_BLOCK, ADIT_BLOCK);
	assert_int_equal(get32(((const struct adit_super_pm *)(const void *)image)->state),
			 ADIT_STATE_CLEAN);
	open_on(&p, image, shape->room, when);
	assert_clean(p.fs, when);
	adit__core_abandon(p.fs);
}

static unsigned step_no;

static void crash_here(uint64_t offset, uint64_t len)
{
	char when[100];

	(void)offset, (void)len;
	/* A large one takes its time. */
	for (unsigned way = 0; way < each && (shape->room < 16 * MIB || step_no % 2 == 0); way++) {
		uint8_t *image = image_of(way);

		snprintf(when, sizeof when, "%s, step %u, way %u", shape->name, step_no, way);
		if (way == 2 && step_no % 5 == 0)
			check_fsck(image, when);
		recovers(image, -1, when);
	}
	step_no++;
}

static void test_power_failures(void **state)
{
	(void)state;
	for (shape = shapes; shape < shapes + SHAPES; shape++) {
		uint8_t *base = pool_of(shape->from, shape->room), *image;
		struct pool p;

		open_on(&p, base, shape->room, "open");
		p.fs->pm.size_bytes = shape->from; /* as if there were no more */
		free_before = free_blocks(p.fs);
		least_begin(&p.pm);
		crashing = &p.pm;
		each = shape->room > 16 * MIB ? 3 : 5;
		step_no = 0;
		least.step = crash_here;
		grow_to(&p, shape->to, nobody);
		least.step = NULL;
		assert_true(step_no > 20);
		assert_int_equal(p.fs->pm.size_bytes, shape->to);
		/* It is durable when the call returns. */
		image = image_of(0);
		recovers(image, 1, "at the end");
		least_end();
		adit__core_abandon(p.fs);
		munmap(base, shape->room);
	}
}

static void act_grow(struct pool *p)
{
	grow_to(p, shape->to, nobody);
}

/* What a power failure at step n leaves of it, as much or as little as may be; NULL: it has fewer. */
static uint8_t *left_after(unsigned n, unsigned way, bool *growing)
{
	uint8_t *base = pool_of(shape->from, shape->room), *image = NULL;
	const struct adit_super_pm *s;
	struct pool p;

	open_on(&p, base, shape->room, "open");
	free_before = free_blocks(p.fs);
	least_begin(&p.pm);
	crashing = &p.pm;
	if (dies(&p, act_grow, n)) {
		image = image_of(way);
		s = (const struct adit_super_pm *)(const void *)image;
		*growing = get32(s->state) & ADIT_STATE_GROWING;
	}
	least_end();
	adit__core_abandon(p.fs);
	munmap(base, shape->room);
	return image;
}

/* The power fails once more, while the pool is opened. */
static void test_failures_in_recovery(void **state)
{
	bool growing = false;
	uint8_t *image, *again;
	unsigned met = 0;

	(void)state;
	shape = &twice;
	each = 3;
	for (unsigned n = 0; (image = left_after(n, n % 3, &growing)) != NULL; n++) {
		struct pool p;

		if (growing) {
			again = memory(shape->room);
			memcpy(again, image, shape->room);
			pool_on(&p, again, shape->room);
			least_begin(&p.pm);
			crashing = &p.pm;
			step_no = 0;
			least.step = crash_here;
			assert_int_equal(adit__core_open(&p.fs, &p.pm, &env, &p.reporter, 0), 0);
			least_end();
			adit__core_abandon(p.fs);
			munmap(again, shape->room);
			met++;
		}
	}
	assert_true(met > 5);
}

/* ---- deaths -------------------------------------------------------------------------------------------- */

static void act_repair(struct pool *p)
{
	uint32_t slots[256];

	assert_true(adit__is_still(p->fs, dead));
	assert_int_equal(adit__repair(p->fs, dead, slots), 0);
}

static void works(struct pool *p, const char *name, uint32_t lane)
{
	lane_hint = lane;
	put(p->fs, child(p->fs, ADIT_INO_ROOT, name), 0, 100000);
}

/* The living go on, and what they do is durable. */
static void goes_on(struct pool *living, struct pool *third, const char *when)
{
	uint64_t blocks = living->fs->pool_blocks, free = free_before;
	struct pool p;
	uint8_t *image;

	if (blocks != BLOCKS(shape->from) && blocks != BLOCKS(shape->to))
		fail_msg("%s: %llu blocks", when, (unsigned long long)blocks);
	free += total_of(blocks) - total_of(BLOCKS(shape->from));
	if (free_blocks(living->fs) != free || free_blocks(third->fs) != free ||
	    third->fs->pool_blocks != blocks)
		fail_msg("%s: %llu free, not %llu", when,
			 (unsigned long long)free_blocks(living->fs), (unsigned long long)free);
	assert_memory_equal(living->pm.base, living->pm.base + ADIT_SUPER_COPY * ADIT_BLOCK,
			    ADIT_BLOCK);
	works(living, "living", 0);
	if (third != living)
		works(third, "third", 1);
	assert_clean(third->fs, when);
	image = image_of(0);
	open_on(&p, image, shape->room, when);
	if (p.fs->pool_blocks != blocks || !has(&p, "living"))
		fail_msg("%s: the power failure has taken something back", when);
	assert_clean(p.fs, when);
	adit__core_abandon(p.fs);
	/* Once more, by who is left. */
	if (blocks == BLOCKS(shape->from)) {
		grow_to(third, shape->to, dead);
		works(living, "later", 0);
		assert_clean(living->fs, when);
	}
	assert_int_equal(adit__checkpoint(living->fs), 0);
	assert_int_equal(living->fs->vol->free_blocks, adit__total_free(living->fs));
}

/* The grower dies at step n, the repairer at step m (UINT_MAX: it lives). False: fewer steps. */
static bool one(unsigned n, unsigned m)
{
	uint8_t *base = pool_of(shape->from, shape->room);
	struct pool p[3], *living = &p[0];
	bool died, again = false;
	char when[100];

	snprintf(when, sizeof when, "%s, death at %u, of the repairer at %u", shape->name, n, m);
	open_on(&p[0], base, shape->room, when);
	join_room(&p[1], base, shape->room, 1);
	join_room(&p[2], base, shape->room, 2);
	memset(dead, 0, sizeof dead);
	free_before = free_blocks(p[0].fs);
	least_begin(&p[0].pm);
	crashing = &p[0].pm;
	least.actor = 1;
	died = dies(&p[1], act_grow, n);
	dead[1] = died;
	least.actor = 0;
	if (m == UINT32_MAX) {
		if (died)
			act_repair(&p[0]);
	} else {
		again = dies(&p[0], act_repair, m);
		dead[0] = again;
		living = again ? &p[2] : &p[0];
		least.actor = again ? 2 : 0;
		if (again)
			act_repair(living);
	}
	if (!died)
		assert_int_equal((adit__follow(p[0].fs), p[0].fs->pool_blocks), BLOCKS(shape->to));
	goes_on(living, &p[2], when);
	least_end();
	for (unsigned i = 0; i < 3; i++)
		adit__core_abandon(p[i].fs);
	munmap(base, shape->room);
	deaths++;
	return m == UINT32_MAX ? died : again;
}

static void test_deaths(void **state)
{
	(void)state;
	for (shape = shapes; shape < shapes + SHAPES; shape++) {
		unsigned n = 0;

		while (one(n, UINT32_MAX))
			n += shape->room < 16 * MIB ? 1 : 4;
		assert_true(n > 20);
	}
}

static void test_deaths_of_the_repairer(void **state)
{
	unsigned n = 0;

	(void)state;
	shape = &twice;
	while (one(n, UINT32_MAX)) {
		for (unsigned m = 0; n % 3 == 0 && one(n, m); m++) {
		}
		n++;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many_steps),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_cannot_map),
		cmocka_unit_test(test_reservations),
		cmocka_unit_test(test_power_failures),
		cmocka_unit_test(test_failures_in_recovery),
		cmocka_unit_test(test_deaths),
		cmocka_unit_test(test_deaths_of_the_repairer),
	};
	const char *text = getenv("ADIT_SEED");
	uint64_t first = text && *text ? strtoull(text, NULL, 0) | 1 : 1;
	int failed;

	seed = first;
	failed = cmocka_run_group_tests(tests, begin_env, drop_image);
	printf("seed %llu: %u images of power failures, %u deaths\n", (unsigned long long)first,
	       images, deaths);
	return failed;
}
