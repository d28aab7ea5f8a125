/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The check and its repairs.
 *
 * A pool with something of everything is made once. Then, for each structure in it and each word of
 * that structure: a private copy of the pool is damaged there (a bit flipped, zeroed, all ones, noise;
 * with the seal as it was, and with the seal made right again), looked at, repaired, looked at again.
 * A look changes nothing on the medium; the repaired pool is clean, can be worked on, is still clean
 * after that, and every file that the damage cannot have touched reads as before.
 *
 * ADIT_TEST_CASE=N runs only case N and says what is found; ADIT_TEST_STRIDE=N takes every N-th case
 * (1: all, a minute; unless set: every fifth).
 */
#include "pool.h"

#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/check.h"
#include "core/file.h"
#include "core/inode.h"
#include "core/namei.h"
#include "core/tree.h"
#include "core/xattr.h"

#define POOL_BYTES (12u << 20)
#define FILES_MAX 1024

/* ---- a pool with something of everything ------------------------------------ */

struct known {
	uint64_t ino;
	uint32_t generation;
	uint32_t mode;
	uint64_t size;
	uint32_t crc; /* of contents, or of the link's target */
};
static struct known known[FILES_MAX];
static unsigned nknown;
static uint8_t buffer[1 << 20];
static int image_fd = -1;

static uint64_t make(struct adit_fs *fs, uint64_t dir, const char *name, uint32_t mode,
		     const char *link)
{
	struct adit_create c = {.mode = mode, .uid = 7, .gid = 8, .rdev = 0x100000003ull,
				.link = link, .link_len = link ? strlen(link) : 0};
	struct adit_id id = {0};
	int err = adit__create(fs, dir, name, strlen(name), &c, false, &id);

	assert_int_equal(err, 0);
	return id.ino;
}

static void put(struct adit_fs *fs, uint64_t ino, uint64_t offset, size_t len)
{
	struct adit_iovec v = {buffer, len};

	for (size_t i = 0; i < len; i++)
		buffer[i] = (uint8_t)((i + offset) * 131 + ino * 17 + (i >> 9));
	assert_int_equal(adit__file_write(fs, ino, &v, 1, &offset, 0), len);
}

static void fill_names(struct adit_fs *fs, uint64_t dir, unsigned n)
{
	char name[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "file-with-a-longer-name-%06u", i);
		put(fs, make(fs, dir, name, S_IFREG | 0644, NULL), 0, i % 5 == 0 ? 40 : 1 + i % 90);
	}
}

static void fill_files(struct adit_fs *fs, uint64_t dir)
{
	static char target[1000];
	uint64_t ino = make(fs, dir, "holes", S_IFREG | 0600, NULL);

	for (unsigned i = 0; i < 400; i++)
		put(fs, ino, (uint64_t)i * 3 * ADIT_BLOCK, 1 + i * 7 % 4000);
	ino = make(fs, dir, "few extents", S_IFREG | 0600, NULL);
	put(fs, ino, 0, 10000);
	put(fs, ino, 100 * ADIT_BLOCK, 5000);
	assert_int_equal(adit__file_fallocate(fs, ino, FALLOC_FL_KEEP_SIZE, 200 * ADIT_BLOCK,
					      8 * ADIT_BLOCK), 0);
	put(fs, make(fs, dir, "large", S_IFREG | 0600, NULL), 0, 700000);
	make(fs, dir, "empty", S_IFREG | 0600, NULL);
	make(fs, dir, "short link", S_IFLNK | 0777, "over/there");
	memset(target, 'x', sizeof target - 1);
	make(fs, dir, "long link", S_IFLNK | 0777, target);
	make(fs, dir, "fifo", S_IFIFO | 0600, NULL);
	make(fs, dir, "null", S_IFCHR | 0666, NULL);
	make(fs, dir, "disk", S_IFBLK | 0660, NULL);
}

static void fill_attributes(struct adit_fs *fs, uint64_t ino)
{
	char name[64];

	for (unsigned i = 0; i < 60; i++) {
		snprintf(name, sizeof name, "user.attribute-%u", i);
		memset(buffer, (int)i, 3000);
		assert_int_equal(adit__setxattr(fs, ino, name, buffer, i % 7 == 0 ? 3000 : 20 + i * 4,
						0), 0);
	}
}

static int remember(void *arg, uint64_t cookie, const void *name, size_t len,
		    const struct adit_dirent *de)
{
	struct adit_fs *fs = arg;
	struct adit_attr a;
	struct known *k;

	(void)cookie, (void)name, (void)len;
	assert_true(nknown < FILES_MAX);
	assert_int_equal(adit__getattr(fs, de->ino, &a), 0);
	k = &known[nknown++];
	*k = (struct known){.ino = a.ino, .generation = a.generation, .mode = a.mode,
			    .size = a.size};
	return 0;
}

/* 0: reads as it did. */
static int contents(struct adit_fs *fs, const struct known *k, uint32_t *crc)
{
	struct adit_iovec v = {buffer, sizeof buffer};
	uint64_t at = 0;
	int64_t n = 0;

	*crc = 0;
	if (ADIT_S_ISLNK(k->mode)) {
		n = adit__readlink(fs, k->ino, buffer, sizeof buffer);
		*crc = n > 0 ? adit__crc32c(0, buffer, (size_t)n) : 0;
		return n < 0 ? (int)n : 0;
	}
	if (!ADIT_S_ISREG(k->mode))
		return 0;
	while (at < k->size && (n = adit__file_read(fs, k->ino, &v, 1, at)) > 0) {
		*crc = adit__crc32c(*crc, buffer, (size_t)n);
		at += (uint64_t)n;
	}
	return n < 0 ? (int)n : 0;
}

static void fill(struct adit_fs *fs)
{
	uint64_t dir[6], ino;
	char name[8];

	dir[0] = make(fs, ADIT_INO_ROOT, "many", S_IFDIR | 0755, NULL);
	fill_names(fs, dir[0], 300);
	dir[1] = make(fs, ADIT_INO_ROOT, "kinds", S_IFDIR | 02755, NULL);
	fill_files(fs, dir[1]);
	dir[2] = make(fs, ADIT_INO_ROOT, "few", S_IFDIR | 0700, NULL);
	ino = make(fs, dir[2], "a", S_IFREG | 0600, NULL);
	put(fs, ino, 0, 100);
	make(fs, dir[2], "b", S_IFREG | 0600, NULL);
	assert_int_equal(adit__link(fs, ino, dir[2], "c", 1), 0);
	assert_int_equal(adit__link(fs, ino, dir[1], "c", 1), 0);
	fill_attributes(fs, ino);
	for (unsigned i = 3; i < 6; i++) {
		snprintf(name, sizeof name, "d%u", i);
		dir[i] = make(fs, dir[i - 1], name, S_IFDIR | 0755, NULL);
		put(fs, make(fs, dir[i], "file", S_IFREG | 0644, NULL), 0, 5000 * i);
	}
	assert_int_equal(adit__setxattr(fs, dir[4], "user.one", "1", 1, 0), 0);
	/* Freed slots and blocks. */
	for (unsigned i = 0; i < 60; i += 3) {
		char gone[64];

		snprintf(gone, sizeof gone, "file-with-a-longer-name-%06u", i);
		assert_int_equal(adit__unlink(fs, dir[0], gone, strlen(gone)), 0);
	}
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(adit__readdir(fs, dir[i], 0, remember, fs), 0);
	for (unsigned i = 0; i < nknown; i++)
		assert_int_equal(contents(fs, &known[i], &known[i].crc), 0);
}

static void say_finding(void *arg, const struct adit_check_finding *f)
{
	char text[400];

	(void)arg;
	adit__check_describe(f, text, sizeof text);
	fprintf(stderr, "  pass %u: %s\n", f->pass, text);
}

static void assert_clean(struct adit_fs *fs, const char *when)
{
	char text[400];
	int n = adit__check_quiet(fs, text, sizeof text);

	if (n != 0)
		fail_msg("%s: %d findings, the first: %s", when, n, text);
}

static int make_image(void **state)
{
	struct pool p;

	(void)state;
	pool_make(&p, POOL_BYTES);
	fill(p.fs);
	assert_clean(p.fs, "before the checkpoint");
	assert_int_equal(adit__core_close(p.fs), 0);
	image_fd = memfd_create("image", 0);
	assert_true(image_fd >= 0);
	assert_int_equal(pwrite(image_fd, p.pm.base, POOL_BYTES, 0), POOL_BYTES);
	munmap(p.pm.base, POOL_BYTES);
	return 0;
}

static int drop_image(void **state)
{
	(void)state;
	close(image_fd);
	return 0;
}

/* ---- one damaged pool --------------------------------------------------------- */

static void map_image(struct pool *p)
{
	memset(p, 0, sizeof *p);
	p->reporter = (struct adit_reporter){pool_line, p};
	p->pm.base = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE, image_fd, 0);
	assert_ptr_not_equal(p->pm.base, MAP_FAILED);
	p->pm.size_bytes = POOL_BYTES;
	p->pm.ops = &pool_pm_ops;
}

static int check(struct pool *p, unsigned flags, struct adit_check_result *res, bool say)
{
	struct adit_check_options o = {.flags = flags, .finding = say ? say_finding : NULL};

	return adit__check_media(&p->pm, &adit__env, &p->reporter, &o, res);
}

/* How many known files are not what they were; *which: one of them. */
static unsigned touched_files(struct adit_fs *fs, uint64_t *which)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nknown; i++) {
		struct adit_attr a;
		uint32_t crc;

		if (adit__getattr(fs, known[i].ino, &a) == 0 &&
		    a.generation == known[i].generation && a.mode == known[i].mode &&
		    (ADIT_S_ISDIR(a.mode) ||
		     (a.size == known[i].size && contents(fs, &known[i], &crc) == 0 &&
		      crc == known[i].crc)))
			continue;
		*which = known[i].ino;
		n++;
	}
	return n;
}

static void work_on_it(struct adit_fs *fs)
{
	uint64_t dir = make(fs, ADIT_INO_ROOT, "made afterwards", S_IFDIR | 0755, NULL);

	for (unsigned i = 0; i < 20; i++) {
		char name[16];

		snprintf(name, sizeof name, "%u", i);
		put(fs, make(fs, dir, name, S_IFREG | 0644, NULL), 0, 1 + i * 999);
	}
	assert_int_equal(adit__unlink(fs, dir, "7", 1), 0);
}

/* What the damage was, for whoever reads a failure. */
static char what[200];
static unsigned case_no, case_only, case_stride, cases;

#define CHECKED(cond, ...)                                                                         \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "case %u: %s\n", case_no, what);                           \
			fail_msg(__VA_ARGS__);                                                     \
		}                                                                                  \
	} while (0)

static void look_only(struct pool *p)
{
	struct adit_check_result res;
	int err = check(p, 0, &res, case_only != 0);

	CHECKED(err == 0 || res.left > 0, "look: error %d and nothing said", err);
}

static void repair_and_verify(struct pool *p, unsigned may_touch)
{
	struct adit_check_result res;
	bool say = case_only != 0;
	uint64_t which = 0;
	unsigned touched;
	char text[400];
	int n, err = check(p, ADIT_CHECK_REPAIR, &res, say);

	CHECKED(err == 0, "repair: error %d", err);
	CHECKED(res.left == 0, "repair: %u left", (unsigned)res.left);
	err = check(p, 0, &res, say);
	CHECKED(err == 0 && res.found == 0, "after the repair: error %d, %u found", err,
		(unsigned)res.found);
	err = adit__core_open(&p->fs, &p->pm, &adit__env, &p->reporter, 0);
	CHECKED(err == 0, "open after the repair: %d", err);
	touched = touched_files(p->fs, &which);
	CHECKED(touched <= may_touch, "%u files are not what they were, one of them inode %llu",
		touched, (unsigned long long)which);
	work_on_it(p->fs);
	n = adit__check_quiet(p->fs, text, sizeof text);
	CHECKED(n == 0, "after some work: %s", text);
	err = adit__core_close(p->fs);
	CHECKED(err == 0, "close: %d", err);
}

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

static void open_image(struct pool *p)
{
	map_image(p);
	pool_open(p);
}

static void close_image(struct pool *p)
{
	adit__core_abandon(p->fs);
	munmap(p->pm.base, POOL_BYTES);
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

static void test_clean(void **state)
{
	struct adit_check_result res;
	struct pool p;

	(void)state;
	map_image(&p);
	assert_int_equal(check(&p, 0, &res, true), 0);
	assert_int_equal(res.found, 0);
	assert_int_equal(res.passes, 1);
	assert_true(res.files >= nknown - 10);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, true), 0);
	assert_int_equal(res.found, 0);
	assert_int_equal(check(&p, ADIT_CHECK_PREEN, &res, true), 0);
	assert_int_equal(res.found, 0);
	pool_open(&p);
	work_on_it(p.fs);
	assert_clean(p.fs, "with work in the log");
	adit__core_abandon(p.fs);
	assert_int_equal(check(&p, 0, &res, true), 0);
	assert_int_equal(res.found, 0);
	munmap(p.pm.base, POOL_BYTES);
}

static void test_super(void **state)
{
	struct target t = {"superblock", 0, ADIT_BLOCK, ADIT_SUPER_SEAL_FROM, 0, 0};
	struct target copy = {"copy of the superblock", ADIT_SUPER_COPY * ADIT_BLOCK, ADIT_BLOCK,
			      ADIT_SUPER_SEAL_FROM, 0, 0};

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
		ckpt[i] = (struct target){"checkpoint", (get64(p.fs->super.ckpt_start) + i) * ADIT_BLOCK,
					  64 + 8 * p.fs->lanes, 16, 0, 0};
	root = (struct target){"root block", get64(p.fs->super.root_block) * ADIT_BLOCK, ADIT_BLOCK,
			       ADIT_ROOT_SEAL_FROM, 0, 0};
	replica = root;
	replica.name = "replica of the root block";
	replica.offset = get64(p.fs->super.root_copy) * ADIT_BLOCK;
	replica.seal_to = ADIT_BLOCK;
	group = (struct target){"group header", adit__group_header_block(p.fs, 0) * ADIT_BLOCK,
				ADIT_BLOCK, ADIT_GROUP_SEAL_FROM, ADIT_GROUP_SEAL_TO, 0};
	group_replica = group;
	group_replica.name = "replica of a group header";
	group_replica.offset = adit__group_replica_block(p.fs, 0) * ADIT_BLOCK;
	group_replica.bytes = ADIT_GROUP_SEAL_TO;
	bitmap = (struct target){"bitmap", adit__group_bitmap_block(p.fs, 0) * ADIT_BLOCK, ADIT_BLOCK,
				 0, 0, 0};
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
	t = (struct target){"root block", get64(p.fs->super.root_block) * ADIT_BLOCK, ADIT_BLOCK,
			    ADIT_ROOT_SEAL_FROM, ADIT_BLOCK, 0};
	close_image(&p);
	begin_cases();
	for (unsigned i = 0; i < 6; i++)
		for (unsigned k = 0; k < KINDS; k++) {
			one_case(&t, (unsigned)offsetof(struct adit_root_pm, free_cluster) + 8 * i, k,
				 true);
			one_case(&t, (unsigned)offsetof(struct adit_root_pm, orphan) + 8 * i, k, true);
		}
}

/* The same for the inode table's inode and what says how large it is: clusters get lost. */
static void test_root_table(void **state)
{
	struct target t;
	struct pool p;

	(void)state;
	open_image(&p);
	t = (struct target){"root block", get64(p.fs->super.root_block) * ADIT_BLOCK, ADIT_BLOCK,
			    ADIT_ROOT_SEAL_FROM, ADIT_BLOCK, FILES_MAX};
	close_image(&p);
	begin_cases();
	for (unsigned at = 32; at < 64; at += 8)
		for (unsigned k = 0; k < KINDS; k++)
			one_case(&t, at, k, true);
	for (unsigned at = offsetof(struct adit_root_pm, itable); at < 512; at += 8)
		for (unsigned k = 0; k < KINDS; k++)
			one_case(&t, at, k, true);
}

static uint64_t lookup(struct adit_fs *fs, uint64_t dir, const char *name)
{
	struct adit_id id;

	assert_int_equal(adit__lookup(fs, dir, name, strlen(name), &id), 0);
	return id.ino;
}

static void inode_target(struct pool *p, struct target *t, const char *name, uint64_t ino)
{
	*t = (struct target){name, adit__offset_of(p->fs, adit__inode_slot(p->fs, ino)),
			     ADIT_INODE_BYTES, ADIT_INODE_SEAL_FROM, ADIT_INODE_BYTES, 1};
}

static void test_inodes(void **state)
{
	static const char *const of_kinds[] = {"holes", "few extents", "large", "empty",
					       "short link", "long link", "fifo", "null"};
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
	s->t[s->n++] = (struct target){s->name, block * ADIT_BLOCK, ADIT_BLOCK, ADIT_NODE_SEAL_FROM,
				       ADIT_BLOCK, 2};
	return 0;
}

static void note_tree(struct pool *p, struct nodes *s, const char *name, uint64_t ino, uint8_t type)
{
	const struct adit_inode_pm *ip = adit__inode_slot(p->fs, ino);
	struct adit_tree tree = {.fs = p->fs, .owner = ino, .type = type,
				 .ordered = type == ADIT_TREE_EXTENTS};

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

/* ---- particular repairs ---------------------------------------------------------------- */

static unsigned entries_in(struct adit_fs *fs, uint64_t dir)
{
	struct adit_attr a;

	assert_int_equal(adit__getattr(fs, dir, &a), 0);
	return (unsigned)a.size;
}

/* The root directory is cleared: what was in it is found in lost+found. */
static void test_lost_and_found(void **state)
{
	struct adit_check_result res;
	struct adit_inode_pm *root;
	struct pool p;
	uint64_t lost, which;

	(void)state;
	open_image(&p);
	root = adit__inode_slot(p.fs, ADIT_INO_ROOT);
	adit__core_abandon(p.fs);
	memset((uint8_t *)root + ADIT_INODE_SEAL_FROM, 0, ADIT_INODE_BYTES - ADIT_INODE_SEAL_FROM);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	assert_int_equal(res.left, 0);
	pool_open(&p);
	lost = lookup(p.fs, ADIT_INO_ROOT, "lost+found");
	assert_int_equal(entries_in(p.fs, lost), 3);
	assert_int_equal(touched_files(p.fs, &which), 0);
	assert_clean(p.fs, "after the repair");
	close_image(&p);
}

/* Two directories that contain each other. */
static void test_circle(void **state)
{
	struct adit_check_result res;
	uint64_t few, d3, d4, which;
	struct adit_inode_pm *dir;
	struct pool p;
	le64 ino;

	(void)state;
	open_image(&p);
	few = lookup(p.fs, ADIT_INO_ROOT, "few");
	d3 = lookup(p.fs, few, "d3");
	d4 = lookup(p.fs, d3, "d4");
	assert_int_equal(adit__rename(p.fs, few, "d3", 2, d3, "self", 4, 0), -EINVAL);
	adit__inode_slot(p.fs, d3)->parent_or_rdev = put64(d4);
	dir = adit__inode_slot(p.fs, d4);
	assert_int_equal(adit__inode_fork(dir), ADIT_FORK_INLINE);
	/* Its second packed entry (d5) now points to d3. */
	assert_memory_equal(dir->fork.bytes + 16 + 12, "d5", 2);
	ino = put64(d3);
	memcpy(dir->fork.bytes + 16 + 2, &ino, 6);
	memcpy(dir->fork.bytes + 16 + 8, &adit__inode_slot(p.fs, d3)->generation, 4);
	dir->crc = put32(adit__crc32c(ADIT_MAGIC_INODE, (uint8_t *)dir + 32, 256 - 32));
	dir = adit__inode_slot(p.fs, d3);
	dir->crc = put32(adit__crc32c(ADIT_MAGIC_INODE, (uint8_t *)dir + 32, 256 - 32));
	adit__core_abandon(p.fs);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	assert_int_equal(res.left, 0);
	pool_open(&p);
	assert_int_equal(touched_files(p.fs, &which), 0);
	/* d3 and d5 have lost their names. */
	few = lookup(p.fs, ADIT_INO_ROOT, "lost+found");
	assert_int_equal(entries_in(p.fs, few), 2);
	assert_clean(p.fs, "after the repair");
	close_image(&p);
}

/* A file unlinked while open is no finding, a deleted one that no list knows is put back on one. */
static void test_orphans(void **state)
{
	struct adit_create c = {.mode = S_IFREG | 0600};
	struct adit_check_result res;
	struct adit_id id[3];
	struct pool p;

	(void)state;
	open_image(&p);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(adit__create_unnamed(p.fs, ADIT_INO_ROOT, &c, &id[i]), 0);
		put(p.fs, id[i].ino, 0, 20000);
	}
	assert_clean(p.fs, "with orphans");
	assert_int_equal(adit__checkpoint(p.fs), 0);
	for (unsigned i = 0; i < ADIT_SHARDS; i++)
		p.fs->root->orphan[i] = put64(0);
	p.fs->root->crc = put32(adit__crc32c(ADIT_MAGIC_ROOT, (uint8_t *)p.fs->root + 16, 4096 - 16));
	adit__core_abandon(p.fs);
	assert_int_equal(check(&p, 0, &res, false), 0);
	assert_true(res.left >= 3);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	assert_int_equal(res.left, 0);
	pool_open(&p);
	assert_int_not_equal(adit__getattr(p.fs, id[0].ino, &(struct adit_attr){0}), 0);
	assert_clean(p.fs, "after the repair");
	close_image(&p);
}

/* Preen mends counters and leaked blocks, and leaves the rest alone. */
static void test_preen(void **state)
{
	struct adit_check_result res;
	struct adit_inode_pm *ip;
	uint64_t bitmap, word, seal, block;
	struct pool p;

	(void)state;
	open_image(&p);
	ip = adit__inode_slot(p.fs, lookup(p.fs, ADIT_INO_ROOT, "few"));
	block = p.fs->pool_blocks - 3;
	adit__bitmap_where(p.fs, block, &bitmap, &word, &seal);
	*(uint64_t *)(p.pm.base + word) |= 1ull << block % 64;
	adit__bitmap_seal(p.fs, block);
	adit__core_abandon(p.fs);
	ip->nlink = put32(77);
	ip->crc = put32(adit__crc32c(ADIT_MAGIC_INODE, (uint8_t *)ip + 32, 256 - 32));
	assert_int_equal(check(&p, ADIT_CHECK_PREEN, &res, false), 0);
	assert_int_equal(res.left, 0);
	assert_true(res.fixed >= 2);
	ip->crc = put32(~get32(ip->crc));
	assert_int_equal(check(&p, ADIT_CHECK_PREEN, &res, false), 0);
	assert_int_equal(res.fixed, 0);
	assert_true(res.left > 0);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	assert_int_equal(res.left, 0);
	munmap(p.pm.base, POOL_BYTES);
}

/* The medium ends before the pool does. */
static void test_truncated(void **state)
{
	static const unsigned keep[] = {99, 90, 75, 60};
	struct adit_check_result res;

	(void)state;
	for (unsigned i = 0; i < sizeof keep / sizeof *keep; i++) {
		struct pool p;
		int err;

		map_image(&p);
		p.pm.size_bytes = (uint64_t)POOL_BYTES * keep[i] / 100 / ADIT_BLOCK * ADIT_BLOCK;
		assert_int_equal(adit__core_open(&p.fs, &p.pm, &adit__env, &p.reporter, 0), -EUCLEAN);
		assert_int_equal(check(&p, 0, &res, false), 0);
		assert_true(res.left > 0);
		munmap(p.pm.base, POOL_BYTES);
		map_image(&p);
		p.pm.size_bytes = (uint64_t)POOL_BYTES * keep[i] / 100 / ADIT_BLOCK * ADIT_BLOCK;
		err = check(&p, ADIT_CHECK_REPAIR, &res, false);
		assert_int_equal(err, 0);
		assert_int_equal(res.left, 0);
		pool_open(&p);
		assert_int_equal(p.fs->pool_blocks, p.pm.size_bytes / ADIT_BLOCK);
		assert_clean(p.fs, "after the repair");
		adit__core_abandon(p.fs);
		munmap(p.pm.base, POOL_BYTES);
	}
}

/* Both copies of what there are two of. */
static void test_both_copies(void **state)
{
	struct adit_check_result res;
	uint64_t root, copy, ckpt, which;
	struct pool p;

	(void)state;
	open_image(&p);
	root = get64(p.fs->super.root_block) * ADIT_BLOCK;
	copy = get64(p.fs->super.root_copy) * ADIT_BLOCK;
	ckpt = get64(p.fs->super.ckpt_start) * ADIT_BLOCK;
	close_image(&p);
	map_image(&p);
	for (unsigned i = 0; i < 2; i++) {
		p.pm.base[i * ADIT_SUPER_COPY * ADIT_BLOCK + 3] ^= 1;
		p.pm.base[(i ? root : copy) + 1] ^= 1;
		p.pm.base[ckpt + i * ADIT_BLOCK + 20] ^= 1;
	}
	assert_int_equal(adit__core_open(&p.fs, &p.pm, &adit__env, &p.reporter, 0), -EBADMSG);
	assert_int_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	assert_int_equal(res.left, 0);
	pool_open(&p);
	assert_int_equal(touched_files(p.fs, &which), 0);
	assert_clean(p.fs, "after the repair");
	close_image(&p);
}

/* Nothing that is no pool crashes it. */
static void test_no_pool(void **state)
{
	struct adit_check_result res;
	struct pool p;
	uint64_t random = 5;

	(void)state;
	map_image(&p);
	for (unsigned i = 0; i < POOL_BYTES; i += 8) {
		uint64_t word = pool_random(&random);

		memcpy(p.pm.base + i, &word, 8);
	}
	assert_int_not_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	memset(p.pm.base, 0, POOL_BYTES);
	assert_int_not_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	p.pm.size_bytes = 4096;
	assert_int_not_equal(check(&p, ADIT_CHECK_REPAIR, &res, false), 0);
	munmap(p.pm.base, POOL_BYTES);
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
	all[nall++] = (struct target){"root", get64(s->root_block) * ADIT_BLOCK, 600, 16, ADIT_BLOCK, 0};
	all[nall++] = (struct target){"root", get64(s->root_copy) * ADIT_BLOCK, 600, 16, ADIT_BLOCK, 0};
	all[nall++] = (struct target){"checkpoint", get64(s->ckpt_start) * ADIT_BLOCK, 80, 16,
				      64 + 8 * p->fs->lanes, 0};
	all[nall++] = (struct target){"checkpoint", get64(s->ckpt_start) * ADIT_BLOCK + ADIT_BLOCK, 80,
				      16, 64 + 8 * p->fs->lanes, 0};
	all[nall++] = (struct target){"group", adit__group_header_block(p->fs, 0) * ADIT_BLOCK, 208, 16,
				      64, 0};
	all[nall++] = (struct target){"bitmap", adit__group_bitmap_block(p->fs, 0) * ADIT_BLOCK, 384, 0,
				      0, 0};
	all[nall++] = (struct target){"intents", get64(s->intent_start) * ADIT_BLOCK, 128, 0, 0, 0};
	for (uint32_t lane = 0; lane < p->fs->lanes; lane++)
		all[nall++] = (struct target){"lane", get64(s->lane_start) * ADIT_BLOCK +
						      lane * p->fs->ring_bytes, 8192, 0, 0, 0};
}

/* Everything that is sealed, by looking at every block. */
static void note_all(struct pool *p)
{
	nall = 0;
	note_fixed(p);
	for (uint64_t ino = 0; ino < get64(p->fs->root->next_ino) && nall < 700; ino++) {
		struct adit_inode_pm *ip = adit__inode_slot(p->fs, ino);

		if (get32(ip->magic) != 0)
			all[nall++] = (struct target){"inode", adit__offset_of(p->fs, ip), 256, 32, 256, 0};
	}
	for (uint64_t b = 0; b < p->fs->pool_blocks && nall < 1000; b++) {
		const struct adit_node_pm *n = adit__block_at(p->fs, b);

		if (get32(n->magic) == ADIT_MAGIC_NODE && get64(n->block) == b)
			all[nall++] = (struct target){"node", b * ADIT_BLOCK, ADIT_BLOCK, 16, ADIT_BLOCK, 0};
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
				(unsigned long long)t->offset, at, kind_name[kind], mend ? ", mended" : "");
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
				fail_msg("seed %llu, after some work: %s", (unsigned long long)seed, text);
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
		cmocka_unit_test(test_clean),	     cmocka_unit_test(test_super),
		cmocka_unit_test(test_fixed),	     cmocka_unit_test(test_root_lists),
		cmocka_unit_test(test_inodes),	     cmocka_unit_test(test_clusters),
		cmocka_unit_test(test_nodes),	     cmocka_unit_test(test_lost_and_found),
		cmocka_unit_test(test_circle),	     cmocka_unit_test(test_orphans),
		cmocka_unit_test(test_preen),	     cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_both_copies),  cmocka_unit_test(test_no_pool),
		cmocka_unit_test(test_noise),	     cmocka_unit_test(test_many),
		cmocka_unit_test(test_root_table),
	};

	int failed = cmocka_run_group_tests(tests, make_image, drop_image);

	fprintf(stderr, "%u damaged pools\n", case_stride ? cases / case_stride : 0);
	return failed;
}
