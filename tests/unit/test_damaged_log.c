/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A log that is damaged, not torn by a crash: what was acknowledged cannot be brought back, so the pool does not
 * open as if nothing had been, and the check says what is lost.
 */
#include "check_image.h"

#include <errno.h>
#include <string.h>

#include "core/log.h"

#define FILES 5u

static const char *name_of(unsigned i)
{
	static const char *const name[FILES] = {"first", "second", "third", "fourth", "fifth"};

	return name[i];
}

static uint32_t lane_of(const struct pool *p, const uint64_t *head)
{
	for (uint32_t i = 0; i < p->fs->lanes; i++)
		if (p->fs->vol->lane[i].head != head[i])
			return i;
	fail_msg("no lane has moved");
	return 0;
}

/* The pool as of the last checkpoint: nothing of what follows has left the caches, but for the rings. */
static uint8_t cut[POOL_BYTES];

static void power_cut(struct pool *p)
{
	uint64_t start = get64(p->fs->super.lane_start) << ADIT_BLOCK_SHIFT;
	uint64_t end = start + p->fs->lanes * p->fs->ring_bytes;

	memcpy(p->pm.base, cut, start);
	memcpy(p->pm.base + end, cut + end, POOL_BYTES - end);
}

/* Files, a record each, in one lane: how many, and where the records lie. */
static unsigned work(struct pool *p, struct adit_record_pm **record)
{
	uint64_t head[ADIT_LANES_MAX], pos;
	unsigned n = 0;
	uint32_t lane;

	assert_int_equal(adit__checkpoint(p->fs), 0);
	memcpy(cut, p->pm.base, POOL_BYTES);
	for (uint32_t i = 0; i < p->fs->lanes; i++)
		head[i] = p->fs->vol->lane[i].head;
	for (unsigned i = 0; i < FILES; i++)
		make(p->fs, ADIT_INO_ROOT, name_of(i), S_IFREG | 0600, NULL);
	lane = lane_of(p, head);
	for (pos = head[lane]; pos < p->fs->vol->lane[lane].head;) {
		const struct adit_record_pm *r = adit__record_at(p->fs, lane, pos, true);

		assert_non_null(r);
		if (!(get16(r->flags) & ADIT_RECORD_PAD)) {
			assert_true(n < FILES);
			record[n++] = (struct adit_record_pm *)(uintptr_t)r;
		}
		pos = adit__record_end(p->fs, r);
	}
	return n;
}

/* Work on other files until the lane is near its ring's end, or in a later round. */
static void go_to(struct pool *p, uint64_t from, uint64_t to)
{
	uint64_t ino = make(p->fs, ADIT_INO_ROOT, "turn", S_IFREG | 0600, NULL);
	uint64_t head[ADIT_LANES_MAX];
	uint32_t lane;

	for (uint32_t i = 0; i < p->fs->lanes; i++)
		head[i] = p->fs->vol->lane[i].head;
	put(p->fs, ino, 0, 1);
	put(p->fs, ino, 1, 1);
	lane = lane_of(p, head);
	for (uint64_t size = 2; p->fs->vol->lane[lane].head < p->fs->ring_bytes ||
				p->fs->vol->lane[lane].head % p->fs->ring_bytes < from ||
				p->fs->vol->lane[lane].head % p->fs->ring_bytes >= to;
	     size++) {
		assert_int_equal(adit__file_truncate(p->fs, ino, size % 64), 0);
		put(p->fs, ino, 0, 40);
	}
}

static unsigned files_there(struct pool *p)
{
	struct adit_id id;
	unsigned n = 0;

	while (n < FILES &&
	       adit__lookup(p->fs, ADIT_INO_ROOT, name_of(n), strlen(name_of(n)), &id) == 0)
		n++;
	return n;
}

/* The i-th record: only the last one looks like a crash. */
static void damage_one(unsigned i, unsigned byte, bool late)
{
	struct adit_record_pm *record[FILES];
	struct adit_check_result res;
	struct pool p;
	int err;

	open_image(&p);
	if (late)
		go_to(&p, p.fs->ring_bytes - 1500, p.fs->ring_bytes - 1000);
	assert_int_equal(work(&p, record), FILES);
	if (late)
		assert_true((uint8_t *)record[FILES - 1] < (uint8_t *)record[0]);
	power_cut(&p);
	adit__core_abandon(p.fs);
	((uint8_t *)record[i])[byte] ^= 0x10;
	err = adit__core_open(&p.fs, &p.pm, &adit__env, &p.reporter, 0);
	if (i == FILES - 1) {
		assert_int_equal(err, 0);
		assert_int_equal(files_there(&p), i);
		assert_clean(p.fs, "without the last one");
		close_image(&p);
		return;
	}
	if (err != -EUCLEAN)
		fail_msg("record %u of %u, byte %u: open says %d", i, FILES, byte, err);
	assert_non_null(strstr(p.report, "is damaged"));
	assert_int_equal(check(&p, 0, &res, false), 0);
	assert_true(res.left > 0);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	assert_int_equal(res.left, 0);
	pool_open(&p);
	assert_int_equal(files_there(&p), i);
	assert_clean(p.fs, "after the repair");
	close_image(&p);
}

static void test_damaged_record(void **state)
{
	static const unsigned byte[] = {0, 4, 9, 17, 24, 28, 30, 41, 50, 100};

	(void)state;
	for (unsigned i = 0; i < FILES; i++)
		for (unsigned b = 0; b < sizeof byte / sizeof *byte; b++)
			damage_one(i, byte[b], false);
}

/* Around the ring's end, with a pad among the records. */
static void test_around_the_end(void **state)
{
	(void)state;
	for (unsigned i = 0; i < FILES; i++)
		damage_one(i, 41, true);
}

/* The newest slot: with work behind it, and torn by a crash before there was any. */
static void damage_slot(bool worked, bool nonce_is_new)
{
	struct adit_record_pm *record[FILES];
	struct adit_check_result res;
	struct adit_ckpt_pm *slot;
	struct pool p;
	int err;

	open_image(&p);
	if (!nonce_is_new) {
		make(p.fs, ADIT_INO_ROOT, "before", S_IFREG | 0600, NULL);
		assert_int_equal(adit__checkpoint(p.fs), 0);
	}
	if (worked)
		work(&p, record);
	slot = (struct adit_ckpt_pm *)(uintptr_t)adit__ckpt_newest(p.fs);
	adit__core_abandon(p.fs);
	slot->free_blocks = put64(get64(slot->free_blocks) ^ 1);
	err = adit__core_open(&p.fs, &p.pm, &adit__env, &p.reporter, 0);
	if (!worked) {
		assert_int_equal(err, 0);
		assert_clean(p.fs, "from the older slot");
		close_image(&p);
		return;
	}
	assert_int_equal(err, -EBADMSG);
	assert_non_null(strstr(p.report, "newest slot is damaged"));
	assert_int_equal(check(&p, 0, &res, false), 0);
	assert_true(res.left > 0);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	assert_int_equal(res.left, 0);
	pool_open(&p);
	assert_clean(p.fs, "after the repair");
	/* Killed, not cut off: everything is in place. */
	assert_int_equal(files_there(&p), FILES);
	close_image(&p);
}

static void test_damaged_slot(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		damage_slot(i & 1, i & 2);
}

/* Somebody stores into a ring while the pool is open: the checkpoint says so, and nothing goes on. */
static void test_overwritten_record(void **state)
{
	struct adit_create c = {.mode = S_IFREG | 0600};
	struct adit_record_pm *record[FILES];
	struct adit_id id;
	struct pool p;

	(void)state;
	open_image(&p);
	work(&p, record);
	record[2]->magic = put32(0);
	assert_int_equal(adit__checkpoint(p.fs), -EIO);
	assert_non_null(strstr(p.report, "overwritten"));
	assert_int_equal(adit__checkpoint(p.fs), -EIO);
	assert_int_equal(adit__create(p.fs, ADIT_INO_ROOT, "x", 1, &c, NULL, &id), -EIO);
	close_image(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_damaged_record),
		cmocka_unit_test(test_around_the_end),
		cmocka_unit_test(test_damaged_slot),
		cmocka_unit_test(test_overwritten_record),
	};

	return cmocka_run_group_tests(tests, make_image, drop_image);
}
