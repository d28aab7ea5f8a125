/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A change set that holds too much: the commit says so (E2BIG), and nothing has happened.
 */
#include "pool.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "core/check.h"
#include "core/inode.h"
#include "core/log.h"
#include "core/namei.h"

#define POOL_BYTES (16ull << 20)
#define FILES	   12

static uint64_t ino[FILES];
static uint8_t *before;

enum excess {
	BYTES,
	ZEROS,
	BLOCKS, /* ALLOC and FREE entries */
	NODES,	/* different blocks with a seal of their own */
	ZEROED_NODES,
	INODES,
	NEW_INODES,
	NOTES,
	EXCESSES
};

/* A block that is free, for entries that nobody will apply. */
static uint64_t spare(struct pool *p, unsigned i)
{
	return p->fs->pool_blocks - 200 + i;
}

static void exceed(struct pool *p, struct adit_cs *cs, enum excess what)
{
	static const uint8_t bytes[4096];
	struct adit_inode_pm *ip;
	uint64_t at = spare(p, 0) << ADIT_BLOCK_SHIFT;
	int err = 0;

	switch (what) {
	case BYTES:
		for (unsigned i = 0; i < ADIT_REC_MAX / sizeof bytes + 1; i++)
			adit__cs_put(cs, at + i * sizeof bytes, bytes, sizeof bytes,
				     ADIT_KIND_DATA);
		assert_true(adit__cs_room(cs) < sizeof bytes);
		break;
	case ZEROS:
		for (unsigned i = 0; i < ADIT_REC_MAX / 16 + 1; i++)
			adit__cs_zero(cs, at, 64, ADIT_KIND_DATA);
		break;
	case BLOCKS:
		for (unsigned i = 0; i < ADIT_REC_MAX / 16 + 1; i++)
			adit__cs_alloc_entry(cs, ADIT_OP_FREE, spare(p, 0), 0);
		break;
	case NODES:
		for (unsigned i = 0; i <= ADIT_CS_TOUCHED; i++)
			adit__cs_put(cs, (spare(p, 0) + i) << ADIT_BLOCK_SHIFT, bytes, 8,
				     ADIT_KIND_NODE);
		assert_int_equal(adit__cs_room(cs), 0);
		break;
	case ZEROED_NODES:
		for (unsigned i = 0; i <= ADIT_CS_TOUCHED; i++)
			adit__cs_zero(cs, (spare(p, 0) + i) << ADIT_BLOCK_SHIFT, 64,
				      ADIT_KIND_NODE);
		break;
	case INODES:
		for (unsigned i = 0; i <= ADIT_CS_INODES; i++) {
			err = adit__cs_inode(cs, ino[i], &ip);
			if (i < ADIT_CS_INODES) {
				assert_int_equal(err, 0);
				ip->uid = put32(5);
			}
		}
		assert_int_equal(err, -E2BIG);
		break;
	case NEW_INODES:
		for (unsigned i = 0; i < ADIT_CS_INODES; i++)
			assert_non_null(adit__cs_new_inode(cs, ino[i]));
		assert_null(adit__cs_new_inode(cs, ino[ADIT_CS_INODES]));
		break;
	default:
		adit__cs_note_data(cs, ino[0]);
		adit__cs_note_data(cs, ino[1]);
		adit__cs_note_data(cs, ino[0]); /* known */
		adit__cs_note_data(cs, ino[2]);
	}
}

static void test_too_much(void **state)
{
	uint64_t vol, head;
	struct adit_statfs s, was;
	struct adit_op op;
	char text[200];
	struct pool p;

	(void)state;
	pool_make(&p, POOL_BYTES);
	for (unsigned i = 0; i < FILES; i++) {
		struct adit_create c = {.mode = S_IFREG | 0600};
		struct adit_id id;
		char name = (char)('a' + i);

		assert_int_equal(adit__create(p.fs, ADIT_INO_ROOT, &name, 1, &c, NULL, &id), 0);
		ino[i] = id.ino;
	}
	was = pool_usage(&p);
	vol = get64(p.fs->super.vol_start) * ADIT_BLOCK;
	before = malloc(vol);
	assert_non_null(before);
	for (enum excess what = 0; what < EXCESSES; what++) {
		memcpy(before, p.pm.base, vol);
		head = p.fs->vol->lane[0].head + p.fs->vol->lane[1].head;
		assert_int_equal(adit__op_begin_write(&op, p.fs), 0);
		exceed(&p, op.cs, what);
		assert_int_equal(adit__cs_commit(op.cs), -E2BIG);
		adit__op_end(&op);
		assert_int_equal(p.fs->vol->lane[0].head + p.fs->vol->lane[1].head, head);
		assert_memory_equal(before, p.pm.base, vol);
		s = pool_usage(&p);
		assert_memory_equal(&s, &was, sizeof s);
		assert_int_equal(adit__check_quiet(p.fs, text, sizeof text), 0);
	}
	free(before);
	pool_destroy(&p);
}

/* A view shows what was put into the block before somebody looked, and after: bytes and zeros. */
static void test_view(void **state)
{
	const uint8_t *seen;
	struct adit_op op;
	uint64_t at, block;
	struct pool p;

	(void)state;
	pool_make(&p, POOL_BYTES);
	block = spare(&p, 3);
	at = block << ADIT_BLOCK_SHIFT;
	memset(p.pm.base + at, 7, ADIT_BLOCK);
	assert_int_equal(adit__op_begin_write(&op, p.fs), 0);
	adit__cs_put(op.cs, at + 8, "12345678", 8, ADIT_KIND_NODE);
	adit__cs_zero(op.cs, at + 64, 16, ADIT_KIND_NODE);
	seen = adit__cs_view_block(op.cs, p.fs, block);
	assert_memory_equal(seen + 8, "12345678", 8);
	assert_int_equal(seen[63], 7);
	assert_int_equal(seen[64] | seen[79], 0);
	assert_int_equal(seen[80], 7);
	adit__cs_zero(op.cs, at + 8, 8, ADIT_KIND_NODE);
	seen = adit__cs_view_block(op.cs, p.fs, block);
	assert_int_equal(seen[8] | seen[15], 0);
	assert_ptr_equal(adit__cs_view_block(NULL, p.fs, block), p.pm.base + at);
	assert_int_equal(p.pm.base[at + 8], 7); /* the medium does not know */
	adit__op_end(&op);
	pool_destroy(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_too_much),
		cmocka_unit_test(test_view),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
