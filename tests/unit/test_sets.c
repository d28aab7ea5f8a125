/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Change sets used directly, in ways in which no operation happens to use them today, and what several operations
 * share: full records, many blocks in one checkpoint, long lists of orphans, an inode table that grows in pieces,
 * sums over the lanes.
 */
#include "held.h"
#include "least.h"

#include "core/extent.h"

#define MIB (1024ull * 1024)

static uint8_t chunk[90000];

/* A file with one run of blocks; where it lies. */
static uint64_t run_of(struct pool *p, const char *name, uint64_t bytes)
{
	uint64_t ino = child(p->fs, ADIT_INO_ROOT, name);
	struct adit_extent e;

	for (uint64_t at = 0; at < bytes; at += sizeof buffer)
		put(p->fs, ino, at, sizeof buffer);
	assert_int_equal(adit__extent_at(p->fs, NULL, adit__inode_slot(p->fs, ino), 0, &e), 0);
	assert_true(e.blocks * ADIT_BLOCK >= bytes);
	return e.block;
}

/* ---- what a set leaves behind ----------------------------------------------------------- */

/* A set that became too large: nothing has happened, and what it had reserved is free again. */
static void test_too_large(void **state)
{
	struct adit_statfs before, after;
	struct adit_run run;
	struct adit_op op;
	struct pool p;
	uint64_t block;

	(void)state;
	pool_make(&p, 8 * MIB);
	block = run_of(&p, "data", MIB);
	before = pool_usage(&p);
	assert_int_equal(adit__op_begin_write(&op, p.fs), 0);
	adit__cs_put(op.cs, block * ADIT_BLOCK, chunk, sizeof chunk, ADIT_KIND_DATA);
	while (op.cs->len + sizeof(struct adit_entry_pm) + 8 <= ADIT_REC_MAX)
		adit__cs_put64(op.cs, block * ADIT_BLOCK, 0, ADIT_KIND_DATA);
	for (int i = 0; i < 3; i++)
		(void)!adit__alloc_blocks(op.cs, 0, 7, 7, 0, &run);
	assert_int_equal(adit__cs_commit(op.cs), -E2BIG);
	assert_false(adit__cs_dirty(op.cs));
	assert_int_equal(op.cs->ninodes, 0);
	assert_int_equal(op.cs->err, 0);
	adit__op_end(&op);
	after = pool_usage(&p);
	assert_int_equal(after.free, before.free);
	assert_int_equal(p.fs->vol->free_blocks, before.free);
	assert_clean(p.fs, "after a set that was too large");
	pool_destroy(&p);
}

/* A set that changed nothing: durable data, no record, and nothing is left in it. */
static void test_no_record(void **state)
{
	struct adit_inode_pm *ip;
	struct adit_op op;
	struct pool p;
	uint64_t block, seq, ino;

	(void)state;
	pool_make(&p, 8 * MIB);
	block = run_of(&p, "data", MIB);
	ino = lookup(p.fs, ADIT_INO_ROOT, "data");
	assert_int_equal(adit__checkpoint(p.fs), 0);
	seq = p.fs->vol->seq;
	memset(chunk, 0x21, 100);
	least_begin(&p.pm);
	assert_int_equal(adit__op_begin_write(&op, p.fs), 0);
	adit__lock_inode(&op, ino, true);
	assert_int_equal(adit__cs_inode(op.cs, ino, &ip), 0);
	adit__cs_data(op.cs, block * ADIT_BLOCK + 50, chunk, 100);
	assert_int_equal(adit__cs_commit(op.cs), 0);
	assert_memory_equal(least.durable + block * ADIT_BLOCK + 50, chunk, 100);
	assert_int_equal(op.cs->ninodes, 0);
	assert_false(op.cs->data);
	adit__op_end(&op);
	least_end();
	assert_int_equal(p.fs->vol->seq, seq);
	pool_destroy(&p);
}

static struct {
	uint64_t from, len, ring, ring_end;
	unsigned records;
} fresh;

static void fresh_before_record(uint64_t offset, uint64_t len)
{
	(void)len;
	if (offset < fresh.ring || offset >= fresh.ring_end)
		return;
	fresh.records++;
	assert_memory_equal(least.durable + fresh.from, least.pm->base + fresh.from, fresh.len);
}

/* Memory that nothing points to yet is durable before the record that points to it is begun. */
static void test_fresh_comes_first(void **state)
{
	struct adit_run run;
	struct adit_op op;
	struct pool p;

	(void)state;
	for (int zero = 0; zero < 2; zero++) {
		pool_make(&p, 8 * MIB);
		run_of(&p, "data", MIB);
		assert_int_equal(adit__checkpoint(p.fs), 0);
		fresh.ring = get64(p.fs->super.lane_start) * ADIT_BLOCK;
		fresh.ring_end = fresh.ring + p.fs->lanes * p.fs->ring_bytes;
		fresh.len = ADIT_BLOCK;
		fresh.records = 0;
		assert_int_equal(adit__op_begin_write(&op, p.fs), 0);
		assert_int_equal(adit__alloc_blocks(op.cs, 0, 1, 1, 0, &run), 0);
		fresh.from = run.block * ADIT_BLOCK;
		memset(p.pm.base + fresh.from, 0xd0, ADIT_BLOCK);
		least_begin(&p.pm);
		least.step = fresh_before_record;
		if (zero)
			adit__cs_fresh_zero(op.cs, fresh.from, ADIT_BLOCK);
		else
			adit__cs_fresh(op.cs, fresh.from, buffer, ADIT_BLOCK);
		assert_int_equal(adit__cs_commit(op.cs), 0);
		least_end();
		assert_true(fresh.records > 0);
		adit__op_end(&op);
		adit__core_abandon(p.fs);
		munmap(p.pm.base, p.pm.size_bytes);
	}
}

/* What a set stored that is then dropped does not arrive later, over what the blocks' next owner stores. */
static void test_dropped_stores_do_not_linger(void **state)
{
	struct adit_run run;
	struct adit_op op;
	struct pool p;

	(void)state;
	pool_make(&p, 8 * MIB);
	least_begin(&p.pm);
	for (int in_place = 0; in_place < 2; in_place++) {
		uint8_t *at;

		assert_int_equal(adit__op_begin_write(&op, p.fs), 0);
		assert_int_equal(adit__alloc_blocks(op.cs, 0, 1, 1, 0, &run), 0);
		at = p.pm.base + run.block * ADIT_BLOCK;
		memset(chunk, 0x41 + in_place, ADIT_BLOCK);
		if (in_place)
			adit__cs_data(op.cs, run.block * ADIT_BLOCK, chunk, ADIT_BLOCK);
		else
			adit__cs_fresh(op.cs, run.block * ADIT_BLOCK, chunk, ADIT_BLOCK);
		adit__op_end(&op); /* nothing was committed */
		assert_memory_equal(least.durable + (at - p.pm.base), chunk, ADIT_BLOCK);
	}
	least_end();
	pool_destroy(&p);
}

/* Zeroing a part of a sealed structure makes its seal stale like any change (I7). */
static void test_zero_in_a_sealed_structure(void **state)
{
	uint64_t ino, offset;
	uint8_t got[8];
	struct adit_iovec v = {got, sizeof got};
	struct adit_op op;
	struct pool p;

	(void)state;
	pool_make(&p, 8 * MIB);
	ino = child(p.fs, ADIT_INO_ROOT, "tiny");
	put(p.fs, ino, 0, 40);
	assert_int_equal(adit__checkpoint(p.fs), 0);
	offset = adit__offset_of(p.fs, adit__inode_slot(p.fs, ino)->fork.bytes);
	assert_int_equal(offset % 8, 0);
	assert_int_equal(adit__op_begin_write(&op, p.fs), 0);
	adit__lock_inode(&op, ino, true);
	adit__cs_zero(op.cs, offset, 8, ADIT_KIND_INODE);
	assert_int_equal(adit__cs_commit(op.cs), 0);
	adit__op_end(&op);
	adit__forget_verified(p.fs);
	assert_int_equal(adit__file_read(p.fs, ino, &v, 1, 0), 8);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(got[i], 0);
	pool_crash(&p);
	assert_clean(p.fs, "an inode's bytes zeroed");
	pool_destroy(&p);
}

/* ---- much at once ---------------------------------------------------------------------------- */

/* One operation's records fill the ring that was nearly full when it began: room is made between them. */
static void test_room_between_records(void **state)
{
	struct adit_lock *lock;
	struct adit_op op;
	struct pool p;
	uint64_t block, before;
	char name[32];
	unsigned n = 0;

	(void)state;
	pool_make(&p, 16 * MIB);
	block = run_of(&p, "data", MIB);
	pool_reopen(&p);
	lock = &p.fs->vol->ckpt_lock;
	adit__env.lock(lock, p.fs->incarnation, true);
	while (adit__lane_has_room(p.fs, adit__env.thread_hint() % p.fs->lanes)) {
		before = p.fs->vol->seq;
		snprintf(name, sizeof name, "f%u", n++);
		child(p.fs, ADIT_INO_ROOT, name);
	}
	(void)before;
	adit__env.unlock(lock, true);
	assert_int_equal(adit__op_begin_write(&op, p.fs), 0);
	for (uint64_t i = 0; i < 40; i++) {
		memset(chunk, (int)i, sizeof chunk);
		adit__cs_put(op.cs, block * ADIT_BLOCK, chunk, sizeof chunk, ADIT_KIND_DATA);
		assert_int_equal(adit__cs_commit(op.cs), 0);
		for (uint32_t lane = 0; lane < p.fs->lanes; lane++)
			assert_true(p.fs->vol->lane[lane].head - p.fs->vol->lane[lane].tail <=
				    p.fs->ring_bytes);
	}
	adit__op_end(&op);
	assert_false(p.fs->failed);
	pool_crash(&p);
	assert_memory_equal(p.pm.base + block * ADIT_BLOCK, chunk, sizeof chunk);
	while (n-- > 0) {
		snprintf(name, sizeof name, "f%u", n);
		lookup(p.fs, ADIT_INO_ROOT, name);
	}
	pool_destroy(&p);
}

/* More blocks between two checkpoints than the checkpoint's table holds. */
static void test_many_blocks_in_one_checkpoint(void **state)
{
	uint64_t block, n = 6000, done = 0, c;
	struct adit_op op;
	struct pool p;

	(void)state;
	pool_make(&p, 64 * MIB);
	block = run_of(&p, "data", 24 * MIB);
	assert_int_equal(adit__checkpoint(p.fs), 0);
	c = p.fs->vol->c;
	least_begin(&p.pm);
	assert_int_equal(adit__op_begin_write(&op, p.fs), 0);
	while (done < n) {
		for (unsigned i = 0; i < 2000 && done < n; i++, done++)
			adit__cs_put64(op.cs, (block + done) * ADIT_BLOCK, 0x1234567 + done,
				       ADIT_KIND_DATA);
		assert_int_equal(adit__cs_commit(op.cs), 0);
	}
	assert_int_equal(p.fs->vol->c, c); /* no checkpoint so far */
	assert_int_equal(adit__checkpoint(p.fs), 0);
	assert_true(p.fs->vol->c > c);
	for (uint64_t i = 0; i < n; i++)
		assert_true(*(uint64_t *)(least.durable + (block + i) * ADIT_BLOCK) ==
			    0x1234567 + i);
	least_end();
	adit__op_end(&op);
	adit__core_abandon(p.fs);
	munmap(p.pm.base, p.pm.size_bytes);
}

static struct {
	uint64_t ring;
	uint8_t *image;		/* the pad without its record */
	uint8_t *both, *medium; /* a kill then: what the caches have, what is certain */
	unsigned pads;
	uint64_t pad_len;
} end_of_ring;

/* All that was stored so far, but not what is stored now: of a pad and its record, the pad. */
static void pad_alone(uint64_t offset, uint64_t len)
{
	uint64_t lane = end_of_ring.ring;
	const struct adit_record_pm *r = (const void *)(least.pm->base + offset);

	if (offset == UINT64_MAX || offset < lane || len < sizeof *r ||
	    get32(r->magic) != ADIT_MAGIC_RECORD)
		return;
	if (get16(r->flags) & ADIT_RECORD_PAD) {
		end_of_ring.pad_len = len;
	} else if (end_of_ring.pad_len) {
		memcpy(end_of_ring.image, least.pm->base, SMALL);
		memcpy(end_of_ring.image + offset, least.durable + offset, len);
		memcpy(end_of_ring.both, least.pm->base, SMALL);
		memcpy(end_of_ring.medium, least.durable, SMALL);
		end_of_ring.pad_len = 0;
		end_of_ring.pads++;
	}
}

static void fail_in_recovery(uint64_t offset, uint64_t len)
{
	struct pool p;

	(void)offset, (void)len;
	memcpy(end_of_ring.image, least.durable, SMALL);
	open_on(&p, end_of_ring.image, SMALL, "power failure in recovery after a kill");
	assert_clean(p.fs, "power failure in recovery after a kill");
	adit__core_abandon(p.fs);
}

/* A kill leaves pad and record in the caches; the power fails while recovery works with them. */
static void recover_what_caches_have(void)
{
	struct pool p;

	pool_on(&p, end_of_ring.both, SMALL);
	least_begin(&p.pm);
	memcpy(least.durable, end_of_ring.medium, SMALL);
	least.step = fail_in_recovery;
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &env, &p.reporter, 0), 0);
	least_end();
	adit__core_abandon(p.fs);
}

/* The pad at the end of the ring is there and the record behind it is not: what is written after recovery counts. */
static void test_pad_without_its_record(void **state)
{
	uint8_t *image = small_image();
	struct pool p;
	char name[32];

	(void)state;
	end_of_ring.image = memory(SMALL);
	end_of_ring.both = memory(SMALL);
	end_of_ring.medium = memory(SMALL);
	end_of_ring.pads = 0;
	open_on(&p, image, SMALL, "open");
	end_of_ring.ring = get64(p.fs->super.lane_start) * ADIT_BLOCK;
	least_begin(&p.pm);
	least.step = pad_alone;
	for (unsigned i = 0; end_of_ring.pads == 0 && i < 20000; i++) {
		/* Now and then one more, so that no whole number of them fits. */
		if (i % 100 == 0) {
			snprintf(name, sizeof name, "stays%u", i);
			child(p.fs, ADIT_INO_ROOT, name);
		}
		memset(name, 'n', sizeof name);
		name[1 + i % 30] = '\0';
		child(p.fs, ADIT_INO_ROOT, name);
		assert_int_equal(adit__unlink(p.fs, ADIT_INO_ROOT, name, strlen(name)), 0);
	}
	least_end();
	adit__core_abandon(p.fs);
	assert_int_equal(end_of_ring.pads, 1);
	for (unsigned i = 0; i < 3; i++) {
		open_on(&p, end_of_ring.image, SMALL, "a pad without its record");
		assert_clean(p.fs, "a pad without its record");
		for (unsigned k = 0; k < i; k++) {
			snprintf(name, sizeof name, "after%u", k);
			lookup(p.fs, ADIT_INO_ROOT, name);
		}
		snprintf(name, sizeof name, "after%u", i);
		child(p.fs, ADIT_INO_ROOT, name);
		adit__core_abandon(p.fs);
	}
	recover_what_caches_have();
	munmap(image, SMALL);
	munmap(end_of_ring.image, SMALL);
	munmap(end_of_ring.both, SMALL);
	munmap(end_of_ring.medium, SMALL);
}

static unsigned refuse_at, refuse_behind, fence_no;
static bool refuse_all; /* from then on */
static struct adit_cs *refuse_set;

static void *refusing_alloc(size_t bytes)
{
	if (refuse_at != 0 && (refuse_all || --refuse_at == 0))
		return NULL;
	return adit__env.alloc(bytes);
}

/* Behind the n-th fence there is no memory for the next record: the set's private copies are gone too. */
static void refuse_step(uint64_t offset, uint64_t len)
{
	(void)len;
	if (offset != UINT64_MAX || ++fence_no < refuse_behind ||
	    (!refuse_all && fence_no != refuse_behind))
		return;
	for (unsigned i = 0; i < ADIT_CS_TOUCHED; i++) {
		env.free(refuse_set->shadow[i]);
		refuse_set->shadow[i] = NULL;
	}
	refuse_at = 1;
}

static size_t new_bytes(struct pool *p, uint64_t ino, size_t len)
{
	struct adit_iovec v = {buffer, len};
	size_t n = 0;

	assert_int_equal(adit__file_read(p->fs, ino, &v, 1, 100), (int64_t)len);
	for (size_t i = 0; i < len; i++)
		n += buffer[i] == 0xa7;
	return n;
}

static int64_t write_pieces(struct pool *p, uint64_t ino)
{
	struct adit_iovec v = {buffer, 600000};
	uint64_t offset = 100;

	memset(buffer, 0xa7, v.len);
	return adit__file_write(p->fs, ino, &v, 1, &offset, ADIT_WRITE_ATOMIC);
}

static int64_t unlink_pieces(struct pool *p, uint64_t ino)
{
	(void)ino;
	return adit__unlink(p->fs, ADIT_INO_ROOT, "pieces", 6);
}

/* Without memory behind the n-th fence. What is left unfinished stops the pool: nobody may look. */
static int64_t refused(struct pool *p, uint64_t ino, int64_t (*act)(struct pool *, uint64_t))
{
	const struct adit_intent_pm *in;
	int64_t got;

	child(p->fs, ADIT_INO_ROOT, "first"); /* makes the lane's set */
	refuse_set = p->fs->lane_cs[0];
	p->fs->full_after = 4000;
	p->fs->full_room = 17920 + 200;
	fence_no = 0;
	least_begin(&p->pm);
	least.step = refuse_step;
	got = act(p, ino);
	least_end();
	refuse_at = 0;
	in = adit__block_at(p->fs, get64(p->fs->super.intent_start));
	assert_true(get32(in->type) == ADIT_INTENT_NONE || p->fs->failed);
	return got;
}

/* An atomic write of many records, and the end of a large file, with no memory behind one of the records: after
 * recovery it has happened, or nothing has. */
static void refuse_each(const uint8_t *image, uint64_t ino, bool write)
{
	uint8_t *live = memory(SMALL);
	unsigned refusals = 0;

	for (refuse_behind = 1; refuse_behind < 200; refuse_behind++) {
		const size_t len = 600000;
		struct pool p;
		int64_t got;

		memcpy(live, image, SMALL);
		open_on(&p, live, SMALL, "refused memory");
		got = refused(&p, ino, write ? write_pieces : unlink_pieces);
		refusals += got < 0;
		pool_crash(&p);
		if (write) {
			size_t found = new_bytes(&p, ino, len);

			if (found != len && (got >= 0 || found > len / 10))
				fail_msg("no memory behind fence %u: returned %lld, %zu bytes of "
					 "%zu are new",
					 refuse_behind, (long long)got, found, len);
		} else {
			assert_true(got < 0 || !has(&p, "pieces"));
		}
		assert_clean(p.fs, "refused memory, crash");
		adit__core_abandon(p.fs);
		if (fence_no < refuse_behind)
			break;
	}
	assert_true(!write || refusals > 2);
	munmap(live, SMALL);
}

static void test_refused_memory_between_records(void **state)
{
	uint8_t *image = small_image();
	uint64_t ino;
	struct pool p;

	(void)state;
	open_on(&p, image, SMALL, "open");
	ino = child(p.fs, ADIT_INO_ROOT, "pieces");
	for (unsigned i = 0; i < 150; i++) { /* extents of one block */
		put(p.fs, ino, i * 4096ull, 3000);
		put(p.fs, lookup(p.fs, ADIT_INO_ROOT, "data"), 40960 + i * 4096ull, 10);
	}
	assert_int_equal(adit__core_close(p.fs), 0);
	env.alloc = refusing_alloc;
	for (unsigned all = 0; all < 2; all++) {
		refuse_all = all;
		refuse_each(image, ino, true);
		refuse_each(image, ino, false);
	}
	env.alloc = adit__env.alloc;
	munmap(image, SMALL);
}

/* ---- lists, the inode table, sums ------------------------------------------------------------- */

#define NAMELESS 300u

/* Lists with several orphans each; taken out in the middle, at either end, freed and given names again. */
static void test_many_orphans(void **state)
{
	struct adit_hold hold;
	struct adit_create c = {.mode = S_IFREG | 0644};
	struct adit_id id[NAMELESS];
	uint64_t used, random = 5;
	bool gone[NAMELESS];
	unsigned order[NAMELESS];
	char name[32];
	struct pool p;

	(void)state;
	pool_make(&p, 16 * MIB);
	used = pool_usage(&p).inodes_used;
	for (unsigned round = 0; round < 3; round++) {
		unsigned named = 0;

		for (unsigned i = 0; i < NAMELESS; i++) {
			assert_int_equal(
				adit__create_unnamed(p.fs, ADIT_INO_ROOT, &c, &hold, &id[i]), 0);
			put(p.fs, id[i].ino, 0, 5000);
			order[i] = i;
			gone[i] = false;
		}
		assert_clean(p.fs, "with orphans");
		if (round == 1) /* the lists as they lie, seals and all */
			assert_int_equal(adit__checkpoint(p.fs), 0);
		for (unsigned i = 0; i < NAMELESS; i++) {
			unsigned k = i + (unsigned)(pool_random(&random) % (NAMELESS - i)),
				 n = order[k];

			order[k] = order[i];
			if (i % 50 == 0)
				assert_clean(p.fs, "orphans taken out");
			if (round == 2 && i > NAMELESS / 2)
				break; /* the rest is for recovery */
			if (i % 3 == 0) {
				snprintf(name, sizeof name, "r%u-%u", round, n);
				assert_int_equal(adit__link_unnamed(p.fs, id[n].ino, ADIT_INO_ROOT,
								    name, strlen(name)),
						 0);
				named++;
			}
			assert_int_equal(release_ino(p.fs, id[n].ino), 0);
			gone[n] = true;
		}
		assert_clean(p.fs, "orphans gone");
		pool_crash(&p);
		assert_clean(p.fs, "after recovery");
		used += named;
		assert_int_equal(pool_usage(&p).inodes_used, used);
	}
	(void)gone;
	pool_destroy(&p);
}

#define PIECES (64 * MIB)

/* Free space in pieces that are no whole number of clusters: what is left of each is given back; and each
 * allocation refused in turn, with inodes free in other shards. */
static void test_table_grows_in_pieces(void **state)
{
	struct adit_mkfs_params params = {
		.pool_bytes = PIECES, .hash_seed = 42, .root_mode = 0755, .uuid = {1, 2, 3}};
	struct adit_create c = {.mode = S_IFREG | 0644};
	uint64_t ino, n = 0, blocks;
	struct adit_statfs st;
	struct adit_id id;
	char name[32];
	struct pool p;

	(void)state;
	pool_on(&p, memory(PIECES), PIECES);
	assert_int_equal(adit__core_mkfs(&p.pm, &env, &p.reporter, &params), 0);
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &env, &p.reporter, 0), 0);
	ino = child(p.fs, ADIT_INO_ROOT, "big");
	adit__core_statfs(p.fs, &st);
	blocks = st.available - 20;
	assert_int_equal(adit__file_fallocate(p.fs, ino, 0, 0, blocks * ADIT_BLOCK), 0);
	for (uint64_t at = 0; at + 12 < blocks; at += 12)
		assert_int_equal(adit__file_fallocate(p.fs, ino,
						      FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
						      at * ADIT_BLOCK, 5 * ADIT_BLOCK),
				 0);
	assert_int_equal(adit__checkpoint(p.fs), 0);
	assert_clean(p.fs, "with holes");
	for (unsigned i = 0; i < 5000; i++) {
		int err;

		lane_hint = i / 7 % 4;
		p.fs->fail_alloc_at = i % 5;
		snprintf(name, sizeof name, "file%llu", (unsigned long long)n);
		err = adit__create(p.fs, ADIT_INO_ROOT, name, strlen(name), &c, NULL, &id);
		p.fs->fail_alloc_at = 0;
		if (err == 0)
			n++;
		else
			assert_int_equal(err, -ENOSPC);
		if (i % 1000 == 0)
			assert_clean(p.fs, "the table grows");
	}
	lane_hint = 0;
	assert_true(n > 1000);
	assert_clean(p.fs, "the table has grown");
	adit__core_abandon(p.fs);
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &env, &p.reporter, 0), 0);
	assert_clean(p.fs, "after recovery");
	adit__core_abandon(p.fs);
	munmap(p.pm.base, PIECES);
}

/* What may be allocated and what statfs says, after recovery and after the sums were set anew. */
static void test_sums(void **state)
{
	uint8_t *image = small_image();
	uint64_t free_blocks, inodes;
	struct pool p;

	(void)state;
	open_on(&p, image, SMALL, "open");
	act_unlink(&p);
	lane_hint = 1;
	act_create(&p);
	put(p.fs, child(p.fs, ADIT_INO_ROOT, "more"), 0, 30000);
	lane_hint = 0;
	free_blocks = adit__total_free(p.fs);
	inodes = adit__total_inodes(p.fs);
	adit__core_abandon(p.fs);
	open_on(&p, image, SMALL, "after a crash");
	assert_int_equal(adit__total_free(p.fs), free_blocks);
	assert_int_equal(p.fs->vol->free_blocks, free_blocks);
	assert_int_equal(adit__total_inodes(p.fs), inodes);

	lane_hint = 1;
	put(p.fs, child(p.fs, ADIT_INO_ROOT, "again"), 0, 30000);
	lane_hint = 0;
	assert_int_equal(adit__checkpoint(p.fs), 0);
	free_blocks = adit__total_free(p.fs);
	inodes = adit__total_inodes(p.fs);
	adit__log_finish(p.fs); /* as a repair of the sums does */
	assert_int_equal(adit__log_init(p.fs), 0);
	assert_int_equal(adit__total_free(p.fs), free_blocks);
	assert_int_equal(p.fs->vol->free_blocks, free_blocks);
	assert_int_equal(adit__total_inodes(p.fs), inodes);
	assert_int_equal(adit__core_close(p.fs), 0);
	munmap(image, SMALL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_no_record),
		cmocka_unit_test(test_fresh_comes_first),
		cmocka_unit_test(test_dropped_stores_do_not_linger),
		cmocka_unit_test(test_zero_in_a_sealed_structure),
		cmocka_unit_test(test_room_between_records),
		cmocka_unit_test(test_many_blocks_in_one_checkpoint),
		cmocka_unit_test(test_pad_without_its_record),
		cmocka_unit_test(test_refused_memory_between_records),
		cmocka_unit_test(test_many_orphans),
		cmocka_unit_test(test_table_grows_in_pieces),
		cmocka_unit_test(test_sums),
	};

	return cmocka_run_group_tests(tests, begin_env, drop_image);
}
