/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * file_model.h - an array of bytes that behaves as a regular file, the operations on both, random
 * ones, and a medium that counts fences and loses its power at one of them.
 */
#ifndef ADIT_TEST_FILE_MODEL_H
#define ADIT_TEST_FILE_MODEL_H

#include "test_pool.h"

#include <setjmp.h>

#include "core/check.h"
#include "core/file_int.h"
#include "core/namei.h"

#define MODEL_MAX (5u << 20)
#define PENDING_MAX 65536u

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

/* ---- a medium that loses its power ------------------------------------------- */

enum loss { LOSE_UNFENCED, LOSE_UNFLUSHED, LOSE_NOTHING, LOSSES };

static struct {
	uint64_t fences;
	uint64_t stop_at; /* 0: never */
	jmp_buf stop;
	uint8_t *fenced; /* the medium */
	bool recording;	 /* flushed lines wait for the fence */
	unsigned pending;
	struct {
		uint64_t from, len;
	} range[PENDING_MAX];
} medium;

static void settle_pending(struct adit_pm *pm)
{
	for (unsigned i = 0; i < medium.pending; i++)
		memcpy(medium.fenced + medium.range[i].from, pm->base + medium.range[i].from,
		       medium.range[i].len);
	medium.pending = 0;
}

static void medium_flush(struct adit_pm *pm, const void *addr, size_t len)
{
	uint64_t from = (uint64_t)((const uint8_t *)addr - pm->base) & ~63ull;
	uint64_t to = ((uint64_t)((const uint8_t *)addr - pm->base) + len + 63) & ~63ull;

	if (!medium.recording || len == 0)
		return;
	if (medium.pending == PENDING_MAX)
		settle_pending(pm);
	medium.range[medium.pending].from = from;
	medium.range[medium.pending++].len = to - from;
}

static void medium_fence(struct adit_pm *pm)
{
	medium.fences++;
	if (medium.stop_at && medium.fences == medium.stop_at)
		longjmp(medium.stop, 1);
	if (medium.recording)
		settle_pending(pm);
}

static void medium_copy(struct adit_pm *pm, void *dst, const void *src, size_t len)
{
	memcpy(dst, src, len);
	medium_flush(pm, dst, len);
}

static void medium_zero(struct adit_pm *pm, void *dst, size_t len)
{
	memset(dst, 0, len);
	medium_flush(pm, dst, len);
}

static const struct adit_pm_ops medium_ops = {medium_flush, medium_fence, medium_copy, medium_zero};

static void pool_init(struct test_pool *p, uint64_t bytes)
{
	memset(&medium, 0, offsetof(__typeof__(medium), range));
	test_pool_init(p, bytes, false);
	CHECK_EQ(adit__core_close(p->fs), 0);
	p->pm.ops = &medium_ops;
	test_pool_open(p);
}

static inline void pool_lose_power(struct test_pool *p, enum loss loss)
{
	medium.stop_at = 0;
	adit__current_op = NULL; /* the process that was in it is gone */
	adit__core_abandon(p->fs);
	if (loss == LOSE_UNFLUSHED)
		settle_pending(&p->pm);
	if (loss != LOSE_NOTHING)
		memcpy(p->pm.base, medium.fenced, p->pm.size_bytes);
	medium.pending = 0;
	medium.recording = false;
	test_pool_open(p);
}

/* ---- the model ----------------------------------------------------------------- */

struct model {
	uint8_t *data; /* MODEL_MAX; zero beyond size */
	uint64_t size;
};

static void model_init(struct model *m)
{
	m->data = calloc(1, MODEL_MAX);
	m->size = 0;
}

static inline void model_copy(struct model *to, const struct model *from)
{
	uint64_t n = to->size > from->size ? to->size : from->size;

	memcpy(to->data, from->data, n);
	to->size = from->size;
}

static void model_truncate(struct model *m, uint64_t size)
{
	if (size < m->size)
		memset(m->data + size, 0, m->size - size);
	m->size = size;
}

static int model_fallocate(struct model *m, int mode, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;
	bool aligned = (off | len) % ADIT_BLOCK == 0;

	switch (mode & ~FALLOC_FL_KEEP_SIZE) {
	case FALLOC_FL_COLLAPSE_RANGE:
		if (!aligned || end >= m->size)
			return -EINVAL;
		memmove(m->data + off, m->data + end, m->size - end);
		model_truncate(m, m->size - len);
		return 0;
	case FALLOC_FL_INSERT_RANGE:
		if (!aligned || off >= m->size)
			return -EINVAL;
		memmove(m->data + end, m->data + off, m->size - off);
		memset(m->data + off, 0, len);
		m->size += len;
		return 0;
	case FALLOC_FL_PUNCH_HOLE:
	case FALLOC_FL_ZERO_RANGE:
		if (off < m->size)
			memset(m->data + off, 0, (end < m->size ? end : m->size) - off);
		break;
	default:
		break;
	}
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > m->size)
		m->size = end;
	return 0;
}

/* ---- the file ------------------------------------------------------------------- */

static uint64_t make_file(struct test_pool *p, const char *name)
{
	struct adit_create c = {.mode = S_IFREG | 0644};
	struct adit_id id;

	CHECK_EQ(adit__create(p->fs, ADIT_INO_ROOT, name, strlen(name), &c, NULL, &id), 0);
	return id.ino;
}

static void unlink_file(struct test_pool *p, const char *name)
{
	CHECK_EQ(adit__unlink(p->fs, ADIT_INO_ROOT, name, strlen(name)), 0);
}

static inline int64_t put(struct test_pool *p, uint64_t ino, const void *data, size_t len, uint64_t off,
		   unsigned flags)
{
	struct adit_iovec v = {(void *)(uintptr_t)data, len};

	return adit__file_write(p->fs, ino, &v, 1, &off, flags);
}

static int64_t get(struct test_pool *p, uint64_t ino, void *data, size_t len, uint64_t off)
{
	struct adit_iovec v = {data, len};

	return adit__file_read(p->fs, ino, &v, 1, off);
}

static uint64_t file_size(struct test_pool *p, uint64_t ino)
{
	const struct adit_inode_pm *ip;

	CHECK_EQ(adit__inode_get(p->fs, ino, &ip), 0);
	return get64(ip->size);
}

static bool zeros(const uint8_t *p, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* Holes read as zeros and alternate with data up to the end. */
static void check_seek(struct test_pool *p, uint64_t ino, const struct model *m)
{
	uint64_t pos = 0;

	CHECK_EQ(adit__file_seek(p->fs, ino, m->size, SEEK_DATA), -ENXIO);
	CHECK_EQ(adit__file_seek(p->fs, ino, m->size, SEEK_HOLE), -ENXIO);
	while (pos < m->size) {
		int64_t data = adit__file_seek(p->fs, ino, pos, SEEK_DATA), hole;

		if (data == -ENXIO) {
			CHECK_EQ(zeros(m->data + pos, m->size - pos), 1);
			CHECK_EQ(adit__file_seek(p->fs, ino, pos, SEEK_HOLE), pos);
			return;
		}
		CHECK_EQ(data >= (int64_t)pos && data < (int64_t)m->size, 1);
		CHECK_EQ(zeros(m->data + pos, (uint64_t)data - pos), 1);
		if (data > (int64_t)pos)
			CHECK_EQ(adit__file_seek(p->fs, ino, pos, SEEK_HOLE), pos);
		hole = adit__file_seek(p->fs, ino, (uint64_t)data, SEEK_HOLE);
		CHECK_EQ(hole > data && hole <= (int64_t)m->size, 1);
		pos = (uint64_t)hole;
	}
}

static inline bool same(struct test_pool *p, uint64_t ino, const struct model *m)
{
	static uint8_t buf[MODEL_MAX + 100];
	uint64_t size = file_size(p, ino);

	if (size != m->size)
		return false;
	CHECK_EQ(get(p, ino, buf, sizeof buf, 0), size);
	return memcmp(buf, m->data, size) == 0;
}

struct mapped {
	uint64_t blocks;
};

static int count_mapped(void *arg, const struct adit_extent *e)
{
	((struct mapped *)arg)->blocks += e->blocks;
	CHECK_EQ(e->file_block < ADIT_STAGE, 1);
	return 0;
}

/* The inode's own account. */
static void check_inode(struct test_pool *p, uint64_t ino)
{
	const struct adit_inode_pm *ip;
	struct mapped m = {0};
	uint32_t fork;

	CHECK_EQ(adit__inode_get(p->fs, ino, &ip), 0);
	fork = adit__inode_fork(ip);
	if (fork == ADIT_FORK_INLINE) {
		CHECK_EQ(get64(ip->size) <= ADIT_FORK_BYTES, 1);
		CHECK_EQ(zeros(ip->fork.bytes + get64(ip->size),
			       ADIT_FORK_BYTES - get64(ip->size)), 1);
	} else {
		CHECK_EQ(adit__extent_walk(p->fs, ip, 0, count_mapped, &m), 0);
	}
	if (fork == ADIT_FORK_TREE)
		m.blocks += get64(ip->fork.tree.nodes);
	CHECK_EQ(get64(ip->blocks), m.blocks);
}

static void compare(struct test_pool *p, uint64_t ino, const struct model *m)
{
	static uint8_t buf[MODEL_MAX + 100];
	uint64_t size = file_size(p, ino);

	CHECK_EQ(size, m->size);
	CHECK_EQ(get(p, ino, buf, sizeof buf, 0), size);
	for (uint64_t i = 0; memcmp(buf, m->data, size) != 0 && i < size; i++)
		if (buf[i] != m->data[i]) {
			fprintf(stderr, "seed %llu: byte %llu of %llu is %u, not %u\n",
				(unsigned long long)seed_now, (unsigned long long)i,
				(unsigned long long)size, buf[i], m->data[i]);
			fail();
		}
	check_seek(p, ino, m);
	check_inode(p, ino);
}

/* ---- one operation, on both ---------------------------------------------------------- */

enum what { WRITE, APPEND, TRUNCATE, FALLOCATE };
struct todo {
	enum what what;
	unsigned flags; /* of the write */
	int mode;	/* of fallocate */
	uint64_t off, len;
	unsigned parts; /* of the iovec */
	uint64_t salt;
};

static uint8_t todo_data[MODEL_MAX];

static void fill(uint8_t *p, uint64_t len, uint64_t salt)
{
	for (uint64_t i = 0; i < len; i++)
		p[i] = (uint8_t)(1 + (salt + i * 7 + (i >> 9)) % 255);
}

static int64_t run_write(struct test_pool *p, uint64_t ino, const struct todo *t)
{
	struct adit_iovec v[8];
	uint64_t at = 0, off = t->off, seed = t->salt;
	unsigned n = t->parts ? t->parts : 1;
	unsigned flags = t->flags | (t->what == APPEND ? ADIT_WRITE_APPEND : 0);

	for (unsigned i = 0; i < n; i++) {
		uint64_t len = i + 1 == n ? t->len - at : test_rand(&seed) % (t->len - at + 1);

		if (test_rand(&seed) % 3 == 0 && i + 1 < n)
			len = len < 5 ? len : 5;
		v[i] = (struct adit_iovec){todo_data + at, len};
		at += len;
	}
	return adit__file_write(p->fs, ino, v, n, &off, flags);
}

static int64_t run(struct test_pool *p, uint64_t ino, const struct todo *t)
{
	switch (t->what) {
	case WRITE:
	case APPEND:
		return run_write(p, ino, t);
	case TRUNCATE:
		return adit__file_truncate(p->fs, ino, t->len);
	default:
		return adit__file_fallocate(p->fs, ino, t->mode, t->off, t->len);
	}
}

static int64_t run_model(struct model *m, const struct todo *t)
{
	uint64_t off = t->what == APPEND ? m->size : t->off;

	switch (t->what) {
	case WRITE:
	case APPEND:
		if (t->len == 0)
			return 0;
		memcpy(m->data + off, todo_data, t->len);
		if (off + t->len > m->size)
			m->size = off + t->len;
		return (int64_t)t->len;
	case TRUNCATE:
		model_truncate(m, t->len);
		return 0;
	default:
		return model_fallocate(m, t->mode, t->off, t->len);
	}
}

static uint64_t some_len(uint64_t *seed, uint64_t max)
{
	static const uint64_t shapes[] = {8, 64, 120, 513, 4096, 5000, 20000, 70000, 200000};
	uint64_t limit = shapes[test_rand(seed) % 9];

	return test_rand(seed) % ((limit < max ? limit : max) + 1);
}

static const int modes[] = {0,
			    FALLOC_FL_KEEP_SIZE,
			    FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
			    FALLOC_FL_ZERO_RANGE,
			    FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			    FALLOC_FL_COLLAPSE_RANGE,
			    FALLOC_FL_INSERT_RANGE,
			    FALLOC_FL_UNSHARE_RANGE};

static inline struct todo some_todo(const struct model *m, uint64_t *seed)
{
	struct todo t = {.salt = test_rand(seed), .parts = 1 + (unsigned)(test_rand(seed) % 8)};
	uint64_t limit = 400000, what = test_rand(seed) % 20;

	if (test_rand(seed) % 4 == 0 && m->size < 200)
		limit = 300; /* stay small for a while */
	t.off = test_rand(seed) % ((m->size < limit ? m->size + limit / 8 : limit) + 1);
	if (test_rand(seed) % 3 == 0)
		t.off &= ~4095ull;
	t.len = some_len(seed, limit);
	if (test_rand(seed) % 3 == 0)
		t.len = (t.len + 4095) & ~4095ull;
	if (what < 9) {
		t.what = WRITE;
		t.flags = test_rand(seed) % 3 ? 0 : ADIT_WRITE_ATOMIC;
	} else if (what < 12 && m->size < 600000) {
		t.what = APPEND;
	} else if (what < 14) {
		t.what = TRUNCATE;
		t.len = test_rand(seed) % 4 ? t.off : test_rand(seed) % 200;
	} else {
		t.what = FALLOCATE;
		t.mode = modes[test_rand(seed) % 8];
		t.len += t.len == 0;
		if (t.mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) {
			t.off &= ~4095ull;
			t.len = 4096 * (1 + test_rand(seed) % 8);
		}
		if (t.mode == FALLOC_FL_INSERT_RANGE && m->size > 800000)
			t.mode = FALLOC_FL_COLLAPSE_RANGE;
	}
	fill(todo_data, t.len, t.salt);
	return t;
}

static inline uint64_t first_seed(void)
{
	const char *s = getenv("ADIT_TEST_SEED");

	return s ? strtoull(s, NULL, 0) : 1;
}

/* Every structure and every block accounted for. */
static inline void check_pool(struct test_pool *p)
{
	char finding[300] = "";
	int n = adit__check_quiet(p->fs, finding, sizeof finding);

	if (n != 0)
		fprintf(stderr, "seed %llu: check: %d: %s\n", (unsigned long long)seed_now, n,
			finding);
	CHECK_EQ(n, 0);
}

/* After every crash the file can still be used and freed: nothing is lost. */
static inline void check_freed(struct test_pool *p, uint64_t free_before)
{
	unlink_file(p, "f");
	CHECK_EQ(test_pool_free(p), free_before);
}

#endif
