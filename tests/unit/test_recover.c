/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What opening a pool makes of forged or damaged records, checkpoint slots, intents and orphan lists. Their checksums
 * are right: only the conditions on what they say protect the rest of the pool.
 */
#include "check_image.h"

#include <errno.h>
#include <string.h>

#include "core/file_int.h"
#include "core/log.h"

/* ---- records ------------------------------------------------------------------- */

struct entry_row {
	uint8_t op;
	uint64_t where;
	uint32_t len;
	bool payload; /* present in full */
	bool counts;
};

static struct adit_record_pm *ring(struct pool *p, uint32_t lane, uint64_t pos)
{
	return (struct adit_record_pm *)((uint8_t *)adit__block_at(p->fs,
								   get64(p->fs->super.lane_start)) +
					 lane * p->fs->ring_bytes + pos % p->fs->ring_bytes);
}

static void seal_record(struct adit_record_pm *r, uint32_t lane)
{
	size_t len = get16(r->flags) & ADIT_RECORD_PAD ? sizeof *r : get32(r->len);

	r->crc = put32(adit__crc32c(lane, (uint8_t *)r + 4, len - 4));
}

/* At `pos` of lane 0: a record with one entry, with the newest sequence number. */
static struct adit_record_pm *forge(struct pool *p, uint64_t pos, const struct entry_row *row)
{
	struct adit_record_pm *r = ring(p, 0, pos);
	struct adit_entry_pm *e = (struct adit_entry_pm *)(r + 1);

	memset(r, 0, 4096);
	r->magic = put32(ADIT_MAGIC_RECORD);
	r->seq = put64(p->fs->vol->seq + 1);
	r->pos = put64(pos);
	r->nonce = put64(p->fs->log_nonce);
	r->len = put32((uint32_t)(sizeof *r + sizeof *e + (row->payload ? row->len : 0)));
	e->op = row->op;
	e->kind = row->op == ADIT_OP_ALLOC || row->op == ADIT_OP_FREE ? ADIT_KIND_BITMAP
								       : ADIT_KIND_DATA;
	e->where = put64(row->where);
	e->len = put32(row->len);
	seal_record(r, 0);
	return r;
}

#define BLOCKS (POOL_BYTES / ADIT_BLOCK)

static const struct entry_row good = {ADIT_OP_ZERO, POOL_BYTES - 8, 8, false, true};

static void test_entries(void **state)
{
	static const struct entry_row row[] = {
		{ADIT_OP_WRITE, POOL_BYTES - 64, 64, true, true},
		{ADIT_OP_ZERO, POOL_BYTES - 64, 64, false, true},
		{ADIT_OP_ALLOC, BLOCKS - 2, 2, false, true},
		{ADIT_OP_FREE, BLOCKS - 2, 2, false, true},
		{ADIT_OP_ALLOC, BLOCKS, 0, false, false},
		{ADIT_OP_ALLOC, BLOCKS - 2, 3, false, false},
		{ADIT_OP_FREE, 1ull << 63, 1, false, false},
		{ADIT_OP_ZERO, 12, 8, false, false},
		{ADIT_OP_ZERO, 16, 4, false, false},
		{ADIT_OP_ZERO, POOL_BYTES, 8, false, false},
		{ADIT_OP_ZERO, POOL_BYTES - 8, 16, false, false},
		{ADIT_OP_WRITE, 4096, 64, false, false}, /* ends before its payload does */
		{ADIT_OP_ZERO, 4096, 64, true, false},	 /* bytes that no entry claims */
		{0, 4096, 64, false, false},
		{5, 4096, 64, false, false},
	};
	struct pool p;
	uint64_t pos;

	(void)state;
	open_image(&p);
	pos = p.fs->vol->lane[0].head;
	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		struct adit_record_pm *r = forge(&p, pos, &row[i]);
		bool counts = adit__record_at(p.fs, 0, pos, true) == r;

		if (counts != row[i].counts)
			fail_msg("row %u counts: %d", i, counts);
		/* The checkpoint has looked at it before. */
		assert_ptr_equal(adit__record_at(p.fs, 0, pos, false), r);
	}
	close_image(&p);
}

static void test_headers(void **state)
{
	struct adit_record_pm *r, was;
	struct pool p;
	uint64_t pos;

	(void)state;
	open_image(&p);
	pos = p.fs->vol->lane[0].head;
	r = forge(&p, pos, &good);
	was = *r;
	for (unsigned field = 0; field < 8; field++) {
		*r = was;
		switch (field) {
		case 0:
			r->magic = put32(1);
			break;
		case 1:
			r->pos = put64(pos + p.fs->ring_bytes);
			break;
		case 2:
			r->lane = put16(1);
			break;
		case 3:
			r->nonce = put64(get64(r->nonce) + 1);
			break;
		case 4:
			r->len = put32(sizeof *r - 8);
			break;
		case 5:
			r->len = put32((uint32_t)p.fs->ring_bytes + 64);
			break;
		case 6:
			r->flags = put16(ADIT_RECORD_PAD);
			break; /* not up to the ring's end */
		default:
			r->used_inodes = put32(1);
		}
		if (field < 4 || field == 6)
			seal_record(r, 0);
		assert_null(adit__record_at(p.fs, 0, pos, true));
	}
	*r = was;
	assert_ptr_equal(adit__record_at(p.fs, 0, pos, true), r);
	close_image(&p);
}

/* What replay made of 8 zeros at the pool's end. */
static bool applied(struct pool *p)
{
	uint64_t word;

	memcpy(&word, p->pm.base + POOL_BYTES - 8, 8);
	return word == 0;
}

static void reopen(struct pool *p)
{
	adit__core_abandon(p->fs);
	pool_open(p);
}

static void mark_end(struct pool *p)
{
	memset(p->pm.base + POOL_BYTES - 8, 0xee, 8);
}

static void test_replay(void **state)
{
	struct adit_record_pm *r;
	struct pool p;
	uint64_t pos, pad;

	(void)state;
	open_image(&p);
	mark_end(&p);
	pos = p.fs->vol->lane[0].head;
	forge(&p, pos, &good);
	reopen(&p);
	assert_true(applied(&p));

	/* A sequence number that C has passed. */
	mark_end(&p);
	pos = p.fs->vol->lane[0].head;
	r = forge(&p, pos, &good);
	r->seq = put64(p.fs->vol->c);
	seal_record(r, 0);
	reopen(&p);
	assert_false(applied(&p));

	/* A pad alone is no reason to go on. */
	pos = p.fs->vol->lane[0].head;
	r = forge(&p, pos, &good);
	pad = p.fs->ring_bytes - pos % p.fs->ring_bytes;
	r->flags = put16(ADIT_RECORD_PAD);
	r->len = put32((uint32_t)pad);
	r->seq = put64(0);
	seal_record(r, 0);
	reopen(&p);
	assert_int_equal(p.fs->vol->lane[0].head, pos);
	assert_false(applied(&p));
	/* With a record behind it both count. */
	r = forge(&p, pos, &good);
	r->flags = put16(ADIT_RECORD_PAD);
	r->len = put32((uint32_t)pad);
	r->seq = put64(0);
	seal_record(r, 0);
	forge(&p, pos + pad, &good);
	reopen(&p);
	assert_true(applied(&p));
	assert_clean(p.fs, "after the replay");
	close_image(&p);
}

/* The root block's seal is broken. Only records that will be replayed over it explain that. */
static void test_root_and_log(void **state)
{
	static const struct entry_row to_root = {ADIT_OP_ZERO, 10 * ADIT_BLOCK + 64, 8, false,
						 true};
	struct adit_record_pm *r;
	struct pool p;

	(void)state;
	for (int old = 0; old < 2; old++) {
		open_image(&p);
		r = forge(&p, p.fs->vol->lane[0].head, &to_root);
		((struct adit_entry_pm *)(r + 1))->kind = ADIT_KIND_ROOT;
		if (old)
			r->seq = put64(p.fs->vol->c);
		seal_record(r, 0);
		p.fs->root->crc = put32(get32(p.fs->root->crc) ^ 1);
		p.reports = 0;
		reopen(&p);
		assert_int_equal(p.reports, old); /* restored, and said so */
		if (old)
			assert_non_null(strstr(p.report, "restored from its replica"));
		close_image(&p);
	}
	/* A ring that is one pad from end to end: looked at once. */
	open_image(&p);
	{
		static struct adit_ckpt_pm k;

		k = p.fs->ckpt_work == NULL ? k : *adit__ckpt_newest(p.fs);
		k.generation = put64(get64(k.generation) + 1);
		k.tail[0] = put64(0);
		adit__ckpt_store(p.fs, &k);
		r = forge(&p, 0, &good);
		r->flags = put16(ADIT_RECORD_PAD);
		r->len = put32((uint32_t)p.fs->ring_bytes);
		seal_record(r, 0);
	}
	p.fs->root->crc = put32(get32(p.fs->root->crc) ^ 1);
	reopen(&p);
	assert_non_null(strstr(p.report, "restored from its replica"));
	close_image(&p);
}

/* ---- checkpoint slots ------------------------------------------------------------ */

static void test_slots(void **state)
{
	static struct adit_ckpt_pm was, k;
	struct pool p;

	(void)state;
	for (unsigned bad = 0; bad < 6; bad++) {
		for (unsigned both = 0; both < 2; both++) {
			struct adit_ckpt_pm *slot[2];
			size_t bytes;
			int err;

			open_image(&p);
			bytes = offsetof(struct adit_ckpt_pm, tail) + 8ull * p.fs->lanes;
			was = k = *adit__ckpt_newest(p.fs);
			switch (bad) {
			case 0:
				k.magic = put32(1);
				break;
			case 1:
				k.lanes = put32(p.fs->lanes + 1);
				break;
			case 2:
				k.c = put64(1ull << 63);
				break;
			case 3:
				k.tail[1] = put64(32);
				break;
			case 4:
				k.tail[0] = put64(1ull << 63);
				break;
			default:
				break;
			}
			k.generation = put64(get64(k.generation) + 1);
			k.crc = put32(adit__seal_crc(p.fs, &k, 16, bytes, ADIT_MAGIC_CKPT));
			if (bad == 5)
				k.free_blocks = put64(1);
			for (unsigned i = 0; i < 2; i++)
				slot[i] = (struct adit_ckpt_pm *)adit__ckpt_slot(p.fs, i);
			*slot[0] = both ? k : was;
			*slot[1] = k;
			adit__core_abandon(p.fs);
			err = adit__core_open(&p.fs, &p.pm, &adit__env, &p.reporter, 0);
			assert_int_equal(err, both ? -EBADMSG : 0);
			if (both) {
				assert_non_null(strstr(p.report, "both slots are damaged"));
				munmap(p.pm.base, POOL_BYTES);
			} else {
				work_on_it(p.fs); /* the next checkpoints write both */
				assert_int_equal(adit__checkpoint(p.fs), 0);
				assert_clean(p.fs, "from the older slot");
				close_image(&p);
			}
		}
	}
}

/* ---- intents ------------------------------------------------------------------------- */

static struct adit_intent_pm *intent_of(struct pool *p, uint32_t lane)
{
	return (struct adit_intent_pm *)adit__block_at(p->fs, get64(p->fs->super.intent_start)) +
	       lane;
}

static void put_intent(struct pool *p, uint64_t ino, uint32_t type, uint64_t a, uint64_t b,
		       uint64_t c)
{
	struct adit_attr at = {0};

	(void)adit__getattr(p->fs, ino, &at);
	*intent_of(p, 1) = (struct adit_intent_pm){.type = put32(type),
						   .ino = put64(ino),
						   .generation = put32(at.generation),
						   .a = put64(a),
						   .b = put64(b),
						   .c = put64(c)};
}

/* What makes no sense is said, not done, and keeps nobody from the rest. */
static void test_senseless_intents(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t a, b, c;
	} row[] = {
		{ADIT_INTENT_TRUNCATE, 2, 1, 0},
		{ADIT_INTENT_TRUNCATE, 0, ADIT_STAGE_END + 1, 0},
		{ADIT_INTENT_ZERO, 2, 1, 0},
		{ADIT_INTENT_ZERO, 0, ADIT_STAGE + 1, 0},
		{ADIT_INTENT_REPLACE, 2, 1, 0},
		{ADIT_INTENT_REPLACE, 0, ADIT_STAGE + 1, 0},
		{ADIT_INTENT_REPLACE, 0, 1, ADIT_STAGE_END + 1},
		{ADIT_INTENT_COLLAPSE, ADIT_STAGE + 1, 1, 0},
		{ADIT_INTENT_COLLAPSE, 0, 0, 0},
		{ADIT_INTENT_COLLAPSE, 1, ADIT_STAGE, 0},
		{ADIT_INTENT_INSERT, 0, 1, ADIT_STAGE_END + 1},
		{7, 0, 1, 0},
	};
	uint64_t ino, which;
	struct pool p;

	(void)state;
	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		open_image(&p);
		ino = lookup(p.fs, lookup(p.fs, ADIT_INO_ROOT, "kinds"), "few extents");
		put_intent(&p, ino, row[i].type, row[i].a, row[i].b, row[i].c);
		p.reports = 0;
		reopen(&p);
		assert_int_equal(p.reports, 2); /* that it makes no sense; which lane, and fsck */
		assert_non_null(strstr(p.report, "run fsck"));
		assert_int_equal(touched_files(p.fs, &which), 0);
		assert_int_equal(get32(intent_of(&p, 1)->type), row[i].type);
		work_on_it(p.fs);
		close_image(&p);
	}
}

/* An intent on an inode that is gone, or was made anew: nothing is left to do. */
static void test_intents_of_nobody(void **state)
{
	static const uint32_t type[] = {ADIT_INTENT_TRUNCATE, ADIT_INTENT_FREE};
	uint64_t ino, which;
	struct pool p;

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		open_image(&p);
		ino = lookup(p.fs, lookup(p.fs, ADIT_INO_ROOT, "kinds"), "few extents");
		put_intent(&p, i / 2 == 1 ? 999999 : ino, type[i % 2], 0, 1, 0);
		if (i / 2 == 0)
			intent_of(&p, 1)->generation = put32(77);
		else if (i / 2 == 2)
			intent_of(&p, 1)->ino = put64(known[nknown - 1].ino + 40); /* a free slot */
		p.reports = 0;
		reopen(&p);
		assert_int_equal(p.reports, 0);
		assert_int_equal(get32(intent_of(&p, 1)->type), ADIT_INTENT_NONE);
		assert_int_equal(touched_files(p.fs, &which), 0);
		assert_clean(p.fs, "with nothing to do");
		close_image(&p);
	}
}

/* To free an inode that has names would leave them without one. */
static void test_intent_to_free_a_named_file(void **state)
{
	uint64_t ino, which;
	struct pool p;

	(void)state;
	open_image(&p);
	ino = lookup(p.fs, lookup(p.fs, ADIT_INO_ROOT, "kinds"), "few extents");
	put_intent(&p, ino, ADIT_INTENT_FREE, 0, 0, 0);
	p.reports = 0;
	reopen(&p);
	assert_true(p.reports > 0);
	assert_non_null(strstr(p.report, "run fsck"));
	assert_int_equal(touched_files(p.fs, &which), 0);
	close_image(&p);
}

static void test_intent_on_damage(void **state)
{
	struct adit_inode_pm *ip;
	uint64_t ino;
	struct pool p;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		open_image(&p);
		ino = lookup(p.fs, lookup(p.fs, ADIT_INO_ROOT, "kinds"), "few extents");
		put_intent(&p, ino, i ? ADIT_INTENT_FREE : ADIT_INTENT_TRUNCATE, 0, 1, 0);
		ip = adit__inode_slot(p.fs, ino);
		ip->uid = put32(get32(ip->uid) ^ 1);
		reopen(&p);
		assert_non_null(strstr(p.report, "run fsck"));
		work_on_it(p.fs);
		close_image(&p);
	}
}

/* ---- orphans ------------------------------------------------------------------------------ */

static void test_named_orphan(void **state)
{
	uint64_t ino, which;
	struct pool p;

	(void)state;
	open_image(&p);
	ino = lookup(p.fs, lookup(p.fs, ADIT_INO_ROOT, "kinds"), "few extents");
	p.fs->root->orphan[ino % ADIT_SHARDS] = put64(ino);
	p.fs->root->orphan[(ino + 1) % ADIT_SHARDS] = put64(999999);
	p.fs->root->crc = put32(adit__seal_crc(p.fs, p.fs->root, ADIT_ROOT_SEAL_FROM,
					       sizeof *p.fs->root, ADIT_MAGIC_ROOT));
	p.reports = 0;
	reopen(&p);
	assert_true(p.reports >= 2);
	assert_non_null(strstr(p.report, "orphan list"));
	assert_int_equal(touched_files(p.fs, &which), 0);
	close_image(&p);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void seal_super(struct adit_super_pm *s)
{
	s->crc = put32(adit__crc32c(ADIT_MAGIC_SUPER, (uint8_t *)s + ADIT_SUPER_SEAL_FROM,
				    sizeof *s - ADIT_SUPER_SEAL_FROM));
}

static void test_kernel_has_it(void **state)
{
	struct adit_super_pm *s;
	struct pool p;

	(void)state;
	map_image(&p);
	s = (struct adit_super_pm *)p.pm.base;
	s->owner = put32(ADIT_OWNER_KERNEL);
	seal_super(s);
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &adit__env, &p.reporter, 0), -EBUSY);
	assert_non_null(strstr(p.report, "in use by a kernel"));
	munmap(p.pm.base, POOL_BYTES);
}

/* Looking without recovery: nothing but the volatile region changes, and nothing can be changed. */
static void test_no_recovery(void **state)
{
	struct adit_create c = {.mode = S_IFREG | 0600};
	uint64_t vol, vol_bytes, id_ino;
	struct adit_id id;
	uint8_t *copy;
	struct pool p;

	(void)state;
	open_image(&p);
	vol = get64(p.fs->super.vol_start) * ADIT_BLOCK;
	vol_bytes = get64(p.fs->super.vol_blocks) * ADIT_BLOCK;
	mark_end(&p);
	forge(&p, p.fs->vol->lane[0].head, &good);
	adit__core_abandon(p.fs);
	copy = malloc(POOL_BYTES);
	assert_non_null(copy);
	memcpy(copy, p.pm.base, POOL_BYTES);
	assert_int_equal(
		adit__core_open(&p.fs, &p.pm, &adit__env, &p.reporter, ADIT_OPEN_NO_RECOVERY), 0);
	id_ino = lookup(p.fs, lookup(p.fs, ADIT_INO_ROOT, "kinds"), "few extents");
	assert_true(id_ino > ADIT_INO_ROOT);
	assert_int_equal(adit__create(p.fs, ADIT_INO_ROOT, "x", 1, &c, NULL, &id), -EROFS);
	assert_int_equal(adit__core_close(p.fs), 0);
	assert_false(applied(&p));
	assert_memory_equal(copy, p.pm.base, vol);
	assert_memory_equal(copy + vol + vol_bytes, p.pm.base + vol + vol_bytes,
			    POOL_BYTES - vol - vol_bytes);
	free(copy);
	munmap(p.pm.base, POOL_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_replay),
		cmocka_unit_test(test_root_and_log),
		cmocka_unit_test(test_slots),
		cmocka_unit_test(test_senseless_intents),
		cmocka_unit_test(test_intents_of_nobody),
		cmocka_unit_test(test_intent_to_free_a_named_file),
		cmocka_unit_test(test_intent_on_damage),
		cmocka_unit_test(test_named_orphan),
		cmocka_unit_test(test_kernel_has_it),
		cmocka_unit_test(test_no_recovery),
	};

	return cmocka_run_group_tests(tests, make_image, drop_image);
}
