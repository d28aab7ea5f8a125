/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names: every operation and its errors one by one. test_namei_faults.c has what goes wrong, test_namei_random.c
 * sequences and threads.
 */
#include "names.h"
#include "held.h"

/* ---- create ------------------------------------------------------------------------ */

static void creating(void **state)
{
	struct pool *p = *state;
	struct adit_create c = {.mode = S_IFREG | 0640, .uid = 7, .gid = 8};
	struct adit_id id = {0}, again = {0};
	char longest[257];
	struct adit_attr a;
	uint64_t d, f;

	assert_int_equal(adit__create(p->fs, ROOT, N("a"), &c, NULL, &id), 0);
	assert_int_equal(id.mode, S_IFREG | 0640);
	a = attr(p, id.ino);
	assert_int_equal(a.ino, id.ino);
	assert_int_equal(a.generation, id.generation);
	assert_int_equal(a.mode, S_IFREG | 0640);
	assert_int_equal(a.uid, 7);
	assert_int_equal(a.gid, 8);
	assert_int_equal(a.nlink, 1);
	assert_int_equal(a.size, 0);
	assert_int_equal(a.blocks, 0);
	assert_int_equal(a.rdev, 0);
	assert_true(a.btime_ns > 0);
	assert_true(a.mtime_ns == a.btime_ns && a.ctime_ns == a.btime_ns && a.atime_ns == a.btime_ns);
	assert_int_equal(attr(p, ROOT).mtime_ns, a.btime_ns);
	assert_int_equal(adit__create(p->fs, ROOT, N("a"), &c, NULL, &again), -EEXIST);
	assert_int_equal(again.ino, id.ino);
	assert_int_equal(again.generation, id.generation);
	assert_int_equal(again.mode, S_IFREG);
	assert_int_equal(attr(p, ROOT).size, 1);

	memset(longest, 'n', sizeof longest);
	assert_int_equal(adit__create(p->fs, ROOT, longest, 255, &c, NULL, &id), 0);
	assert_int_equal(adit__create(p->fs, ROOT, longest, 256, &c, NULL, &id), -ENAMETOOLONG);
	assert_int_equal(adit__lookup(p->fs, ROOT, longest, 256, &id), -ENAMETOOLONG);
	assert_int_equal(adit__create(p->fs, ROOT, "", 0, &c, NULL, &id), -ENOENT);
	c.mode = 0644;
	assert_int_equal(adit__create(p->fs, ROOT, N("b"), &c, NULL, &id), -EINVAL);
	c.mode = 0150000;
	assert_int_equal(adit__create(p->fs, ROOT, N("b"), &c, NULL, &id), -EINVAL);

	f = find(p, ROOT, "a");
	assert_int_equal(create(p, f, "x", S_IFREG), -ENOTDIR);
	assert_int_equal(adit__lookup(p->fs, f, N("x"), &id), -ENOTDIR);
	assert_int_equal(create(p, 1000000, "x", S_IFREG), -ENOENT);
	assert_int_equal(create(p, 0, "x", S_IFREG), -ENOENT);
	assert_int_equal(create(p, ADIT_INO_ITABLE, "x", S_IFREG), -ENOENT);
	d = folder(p, ROOT, "d");
	assert_int_equal(adit__rmdir(p->fs, ROOT, N("d")), 0);
	assert_int_equal(create(p, d, "x", S_IFREG), -ENOENT);
}

static void kinds(void **state)
{
	struct pool *p = *state;
	static const uint32_t kind[] = {S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO,
					S_IFSOCK};
	uint64_t dir = folder(p, ROOT, "dir");
	struct adit_attr set = {.mode = 02775, .gid = 99};
	struct adit_id id;

	for (unsigned i = 0; i < 7; i++) {
		struct adit_create c = {.mode = kind[i] | 0601, .rdev = 0x800000012, .link = "go",
					.link_len = 2};
		char name[2] = {(char)('a' + i), 0};
		struct adit_attr a;

		assert_int_equal(adit__create(p->fs, dir, name, 1, &c, NULL, &id), 0);
		a = attr(p, id.ino);
		assert_int_equal(a.mode, kind[i] | 0601);
		assert_int_equal(a.rdev, i == 3 || i == 4 ? 0x800000012 : 0);
		assert_int_equal(a.nlink, kind[i] == S_IFDIR ? 2 : 1);
		assert_int_equal(adit__lookup(p->fs, dir, name, 1, &id), 0);
		assert_int_equal(id.mode, kind[i]);
	}
	assert_int_equal(attr(p, dir).nlink, 3);
	assert_int_equal(attr(p, dir).size, 7);

	/* A set-group-id directory gives its group, and to directories the bit. */
	assert_int_equal(adit__setattr(p->fs, dir, ADIT_SET_MODE, &set), 0);
	assert_int_equal(adit__setattr(p->fs, dir, ADIT_SET_GID, &set), 0);
	assert_int_equal(attr(p, dir).mode, S_IFDIR | 02775);
	assert_int_equal(attr(p, file(p, dir, "new")).gid, 99);
	assert_int_equal(attr(p, find(p, dir, "new")).mode, S_IFREG | 0644);
	assert_int_equal(attr(p, folder(p, dir, "sub")).gid, 99);
	assert_int_equal(attr(p, find(p, dir, "sub")).mode, S_IFDIR | 02755);

	assert_int_equal(adit__parent(p->fs, find(p, dir, "sub"), &id), 0);
	assert_int_equal(id.ino, dir);
	assert_int_equal(adit__parent(p->fs, ROOT, &id), 0);
	assert_int_equal(id.ino, ROOT);
	assert_int_equal(adit__parent(p->fs, find(p, dir, "new"), &id), -ENOTDIR);
	assert_int_equal(adit__parent(p->fs, 99999, &id), -ENOENT);
}

static void symlinks(void **state)
{
	struct pool *p = *state;
	struct adit_statfs before;
	static const size_t length[] = {1, 8, 111, 112, 113, 4000, 4095};
	char target[5000], buf[5000];
	struct adit_id id;

	for (size_t i = 0; i < sizeof target; i++)
		target[i] = (char)('a' + i % 23);
	file(p, ROOT, "f");
	before = pool_usage(p);
	for (unsigned i = 0; i < sizeof length / sizeof *length; i++) {
		struct adit_create c = {.mode = S_IFLNK | 0777, .link = target,
					.link_len = length[i]};

		assert_int_equal(adit__create(p->fs, ROOT, N("l"), &c, NULL, &id), 0);
		assert_int_equal(attr(p, id.ino).size, length[i]);
		assert_int_equal(attr(p, id.ino).blocks, length[i] > 112);
		pool_crash(p);
		assert_int_equal(adit__readlink(p->fs, id.ino, buf, sizeof buf), length[i]);
		assert_memory_equal(buf, target, length[i]);
		assert_int_equal(adit__readlink(p->fs, id.ino, buf, 1), 1);
		assert_int_equal(adit__unlink(p->fs, ROOT, N("l")), 0);
		same_usage(p, before);
	}
	struct adit_create c = {.mode = S_IFLNK | 0777, .link = target, .link_len = 4096};

	assert_int_equal(adit__create(p->fs, ROOT, N("l"), &c, NULL, &id), -ENAMETOOLONG);
	c.link_len = 0;
	assert_int_equal(adit__create(p->fs, ROOT, N("l"), &c, NULL, &id), -ENOENT);
	assert_int_equal(adit__readlink(p->fs, find(p, ROOT, "f"), buf, 9), -EINVAL);
	assert_int_equal(adit__readlink(p->fs, ROOT, buf, 9), -EINVAL);
	assert_int_equal(adit__readlink(p->fs, 77777, buf, 9), -ESTALE);
}

/* ---- unlink, rmdir, open counts ------------------------------------------------------ */

static int count_one(void *arg, uint64_t cookie, const void *name, size_t len,
		     const struct adit_dirent *de)
{
	(void)cookie, (void)name, (void)len, (void)de;
	++*(unsigned *)arg;
	return 0;
}

static void removing(void **state)
{
	struct pool *p = *state;
	uint64_t f = file(p, ROOT, "f"), d = folder(p, ROOT, "d"), e;
	struct adit_statfs before = pool_usage(p);
	unsigned n = 0;

	assert_int_equal(adit__unlink(p->fs, ROOT, N("none")), -ENOENT);
	assert_int_equal(adit__rmdir(p->fs, ROOT, N("none")), -ENOENT);
	assert_int_equal(adit__unlink(p->fs, ROOT, N("d")), -EISDIR);
	assert_int_equal(adit__rmdir(p->fs, ROOT, N("f")), -ENOTDIR);
	assert_int_equal(adit__unlink(p->fs, f, N("x")), -ENOTDIR);
	e = folder(p, d, "e");
	assert_int_equal(attr(p, d).nlink, 3);
	assert_int_equal(adit__rmdir(p->fs, ROOT, N("d")), -ENOTEMPTY);
	assert_int_equal(attr(p, ROOT).nlink, 3);
	assert_int_equal(adit__rmdir(p->fs, d, N("e")), 0);
	assert_int_equal(attr(p, d).nlink, 2);
	assert_int_equal(attr(p, d).size, 0);
	struct adit_attr a;
	assert_int_equal(adit__getattr(p->fs, e, &a), -ESTALE);
	same_usage(p, before);

	/* A directory that grew into a tree and shrank again. */
	for (unsigned i = 0; i < 700; i++) {
		char name[64];

		snprintf(name, sizeof name, "an entry with a rather long name, number %u", i);
		file(p, d, name);
	}
	assert_int_equal(adit__readdir(p->fs, d, 0, count_one, &n), 0);
	assert_int_equal(n, 700);
	for (unsigned i = 0; i < 700; i++) {
		char name[64];

		snprintf(name, sizeof name, "an entry with a rather long name, number %u", i);
		assert_int_equal(adit__unlink(p->fs, d, N(name)), 0);
	}
	assert_int_equal(attr(p, d).blocks, 0);
	assert_int_equal(adit__rmdir(p->fs, ROOT, N("d")), 0);
	assert_int_equal(pool_usage(p).inodes_used, before.inodes_used - 1);
	assert_int_equal(adit__readdir(p->fs, d, 0, count_one, &n), -ENOENT);
}

static void open_and_gone(void **state)
{
	struct adit_hold hold;
	struct pool *p = *state;
	struct adit_statfs before = pool_usage(p);
	struct adit_attr a;
	struct adit_id id, up;
	struct adit_create c = {.mode = S_IFREG | 0600};
	uint64_t d;
	unsigned n = 0;

	assert_int_equal(adit__create(p->fs, ROOT, N("f"), &c, &hold, &id), 0);
	write_at(p, id.ino, 0, 50000);
	assert_int_equal(hold_ino(p->fs, id.ino, id.generation, &a), 0);
	assert_int_equal(hold_ino(p->fs, id.ino, id.generation + 1, &a), -ESTALE);
	assert_int_equal(release_ino(p->fs, id.ino), 0);
	assert_int_equal(adit__unlink(p->fs, ROOT, N("f")), 0);
	assert_int_equal(find(p, ROOT, "f"), 0);
	a = attr(p, id.ino);
	assert_int_equal(a.nlink, 0);
	assert_true(a.flags & ADIT_IFLAG_ORPHAN);
	assert_int_equal(a.size, 50000);
	/* Opened once more by its number, and let go twice. */
	assert_int_equal(hold_ino(p->fs, id.ino, id.generation, NULL), 0);
	assert_int_equal(release_ino(p->fs, id.ino), 0);
	assert_int_equal(attr(p, id.ino).nlink, 0);
	assert_int_equal(release_ino(p->fs, id.ino), 0);
	assert_int_equal(adit__getattr(p->fs, id.ino, &a), -ESTALE);
	assert_int_equal(hold_ino(p->fs, id.ino, 0, &a), -ESTALE);
	same_usage(p, before);

	/* Released while it has a name: stays. */
	assert_int_equal(adit__create(p->fs, ROOT, N("g"), &c, &hold, &id), 0);
	assert_int_equal(release_ino(p->fs, id.ino), 0);
	assert_int_equal(find(p, ROOT, "g"), id.ino);
	assert_int_equal(adit__unlink(p->fs, ROOT, N("g")), 0);
	same_usage(p, before);

	/* A directory too; nothing can come into it any more. */
	d = folder(p, ROOT, "d");
	assert_int_equal(hold_ino(p->fs, d, 0, &a), 0);
	assert_int_equal(adit__rmdir(p->fs, ROOT, N("d")), 0);
	assert_int_equal(attr(p, d).nlink, 0);
	assert_int_equal(create(p, d, "x", S_IFREG), -ENOENT);
	assert_int_equal(adit__lookup(p->fs, d, N("x"), &id), -ENOENT);
	assert_int_equal(adit__readdir(p->fs, d, 0, count_one, &n), -ENOENT);
	assert_int_equal(adit__parent(p->fs, d, &up), -ENOENT);
	assert_int_equal(release_ino(p->fs, d), 0);
	same_usage(p, before);

	/* Nobody closes them: recovery frees them, and all that they hold. */
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(adit__create(p->fs, ROOT, N("h"), &c, &hold, &id), 0);
		write_at(p, id.ino, 0, 5000);
		assert_int_equal(adit__setxattr(p->fs, id.ino, "user.x", &c, sizeof c, 0), 0);
		assert_int_equal(adit__unlink(p->fs, ROOT, N("h")), 0);
	}
	before.inodes_used += 200;
	assert_int_equal(pool_usage(p).inodes_used, before.inodes_used);
	before.inodes_used -= 200;
	pool_crash(p);
	assert_int_equal(pool_usage(p).inodes_used, before.inodes_used);
	/* The inode table has grown by then; a second time it must not. */
	before = pool_usage(p);
	for (unsigned i = 0; i < 200; i++) {
		assert_int_equal(adit__create(p->fs, ROOT, N("h"), &c, &hold, &id), 0);
		write_at(p, id.ino, 0, 5000);
		assert_int_equal(adit__unlink(p->fs, ROOT, N("h")), 0);
	}
	pool_crash(p);
	same_usage(p, before);
}

static void unnamed(void **state)
{
	struct adit_hold hold;
	struct pool *p = *state;
	struct adit_statfs before = pool_usage(p);
	struct adit_create c = {.mode = S_IFREG | 0600};
	uint64_t d = folder(p, ROOT, "d");
	struct adit_id id, id2;

	assert_int_equal(adit__create_unnamed(p->fs, d, &c, &hold, &id), 0);
	assert_int_equal(attr(p, id.ino).nlink, 0);
	assert_int_equal(attr(p, d).size, 0);
	assert_int_equal(release_ino(p->fs, id.ino), 0);
	assert_int_equal(adit__link_unnamed(p->fs, id.ino, d, N("late")), -ENOENT);
	assert_int_equal(adit__create_unnamed(p->fs, d, &c, &hold, &id), 0);
	assert_int_equal(adit__create_unnamed(p->fs, d, &c, &hold, &id2), 0);
	write_at(p, id.ino, 0, 3000);
	assert_int_equal(adit__link(p->fs, id.ino, d, N("named")), -ENOENT);
	assert_int_equal(adit__link_unnamed(p->fs, id.ino, d, N("named")), 0);
	assert_int_equal(attr(p, id.ino).nlink, 1);
	assert_false(attr(p, id.ino).flags & ADIT_IFLAG_ORPHAN);
	pool_crash(p);
	assert_int_equal(find(p, d, "named"), id.ino);
	assert_int_equal(attr(p, id.ino).size, 3000);
	assert_int_equal(adit__unlink(p->fs, d, N("named")), 0);
	c.mode = S_IFDIR | 0700;
	assert_int_equal(adit__create_unnamed(p->fs, d, &c, &hold, &id), -EINVAL);
	c.mode = S_IFREG | 0700;
	assert_int_equal(adit__create_unnamed(p->fs, 99999, &c, &hold, &id), -ENOENT);
	assert_int_equal(adit__rmdir(p->fs, ROOT, N("d")), 0);
	same_usage(p, before);
}

/* Files that one record cannot free. */
static void large(void **state)
{
	struct adit_hold hold;
	struct pool *p = *state;
	struct adit_statfs before = pool_usage(p);
	struct adit_create c = {.mode = S_IFREG | 0600};
	struct adit_id id;
	char name[32];

	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(
			adit__create(p->fs, ROOT, N("big"), &c, round == 1 ? &hold : NULL, &id), 0);
		for (uint64_t i = 0; i < 2000; i++)
			write_at(p, id.ino, i * 8192, 4096);
		for (unsigned i = 0; i < 300; i++) {
			snprintf(name, sizeof name, "user.%u", i);
			assert_int_equal(adit__setxattr(p->fs, id.ino, name, name, 32, 0), 0);
		}
		if (round == 2) {
			file(p, ROOT, "new");
			assert_int_equal(rename_(p, ROOT, "new", ROOT, "big", 0), 0);
		}
		assert_int_equal(adit__unlink(p->fs, ROOT, N("big")), 0);
		if (round == 1)
			assert_int_equal(release_ino(p->fs, id.ino), 0);
		same_usage(p, before);
	}
	pool_crash(p);
	same_usage(p, before);
}

/* ---- link --------------------------------------------------------------------------------- */

static void linking(void **state)
{
	struct pool *p = *state;
	uint64_t f = file(p, ROOT, "f"), d = folder(p, ROOT, "d");

	assert_int_equal(adit__link(p->fs, f, d, N("g")), 0);
	assert_int_equal(find(p, d, "g"), f);
	assert_int_equal(attr(p, f).nlink, 2);
	assert_int_equal(adit__link(p->fs, f, d, N("g")), -EEXIST);
	assert_int_equal(adit__link(p->fs, d, ROOT, N("e")), -EPERM);
	assert_int_equal(adit__link(p->fs, d, d, N("e")), -EPERM);
	assert_int_equal(adit__link(p->fs, ROOT, d, N("e")), -EPERM);
	assert_int_equal(adit__link(p->fs, 99999, d, N("e")), -ENOENT);
	assert_int_equal(adit__link(p->fs, ADIT_INO_ITABLE, d, N("e")), -ENOENT);
	assert_int_equal(adit__link(p->fs, f, f, N("e")), -ENOTDIR);
	assert_int_equal(adit__link(p->fs, f, 99999, N("e")), -ENOENT);
	poke_nlink(p, f, ADIT_LINK_MAX);
	assert_int_equal(adit__link(p->fs, f, d, N("e")), -EMLINK);
	poke_nlink(p, f, 2);
	assert_int_equal(adit__unlink(p->fs, ROOT, N("f")), 0);
	assert_int_equal(attr(p, f).nlink, 1);
	assert_int_equal(adit__unlink(p->fs, d, N("g")), 0);
	assert_int_equal(adit__link(p->fs, f, d, N("e")), -ENOENT);
	poke_nlink(p, d, ADIT_LINK_MAX);
	assert_int_equal(create(p, d, "e", S_IFDIR), -EMLINK);
	poke_nlink(p, d, 2);
}

/* ---- rename ----------------------------------------------------------------------------------- */

#define NOREPLACE ADIT_RENAME_NOREPLACE
#define EXCHANGE ADIT_RENAME_EXCHANGE
#define WHITEOUT ADIT_RENAME_WHITEOUT

static void renaming_errors(void **state)
{
	struct pool *p = *state;
	uint64_t d = folder(p, ROOT, "d"), e = folder(p, d, "e"), f = file(p, ROOT, "f");
	uint64_t g = folder(p, e, "g");
	struct adit_statfs before;
	char longest[256];

	memset(longest, 'n', sizeof longest);
	file(p, d, "f");
	folder(p, ROOT, "empty");
	assert_int_equal(adit__link(p->fs, f, ROOT, N("f2")), 0);
	before = pool_usage(p);
	assert_int_equal(rename_(p, ROOT, "none", ROOT, "x", 0), -ENOENT);
	assert_int_equal(rename_(p, ROOT, "none", ROOT, "f", NOREPLACE), -ENOENT);
	assert_int_equal(rename_(p, ROOT, "f", ROOT, "d", NOREPLACE), -EEXIST);
	assert_int_equal(rename_(p, ROOT, "f", ROOT, "f", NOREPLACE), -EEXIST);
	assert_int_equal(rename_(p, ROOT, "f", ROOT, "x", EXCHANGE), -ENOENT);
	assert_int_equal(rename_(p, ROOT, "f", ROOT, "d", EXCHANGE | NOREPLACE), -EINVAL);
	assert_int_equal(rename_(p, ROOT, "f", ROOT, "d", EXCHANGE | WHITEOUT), -EINVAL);
	assert_int_equal(rename_(p, ROOT, "f", ROOT, "d", 8), -EINVAL);
	assert_int_equal(rename_(p, ROOT, "f", ROOT, "empty", 0), -EISDIR);
	assert_int_equal(rename_(p, ROOT, "empty", ROOT, "f", 0), -ENOTDIR);
	assert_int_equal(rename_(p, ROOT, "empty", ROOT, "d", 0), -ENOTEMPTY);
	assert_int_equal(rename_(p, e, "g", ROOT, "d", 0), -ENOTEMPTY);
	assert_int_equal(rename_(p, e, "g", ROOT, "d", EXCHANGE), -EINVAL);
	assert_int_equal(rename_(p, ROOT, "d", d, "x", 0), -EINVAL);
	assert_int_equal(rename_(p, ROOT, "d", e, "x", 0), -EINVAL);
	assert_int_equal(rename_(p, ROOT, "d", g, "x", WHITEOUT), -EINVAL);
	assert_int_equal(rename_(p, ROOT, "d", d, "e", 0), -EINVAL);
	assert_int_equal(rename_(p, ROOT, "d", d, "e", EXCHANGE), -EINVAL);
	assert_int_equal(rename_(p, ROOT, "d", d, "f", EXCHANGE), -EINVAL);
	assert_int_equal(rename_(p, d, "f", ROOT, "d", EXCHANGE), -EINVAL);
	assert_int_equal(rename_(p, f, "a", ROOT, "d", 0), -ENOTDIR);
	assert_int_equal(rename_(p, ROOT, "f", f, "d", 0), -ENOTDIR);
	assert_int_equal(rename_(p, 99999, "f", ROOT, "d", 0), -ENOENT);
	assert_int_equal(rename_(p, ROOT, "f", 99999, "d", 0), -ENOENT);
	assert_int_equal(rename_(p, ROOT, "", ROOT, "x", 0), -ENOENT);
	assert_int_equal(adit__rename(p->fs, ROOT, N("f"), ROOT, longest, 256, 0), -ENAMETOOLONG);
	/* Two names of one file, and one name twice: nothing happens. */
	assert_int_equal(rename_(p, ROOT, "f", ROOT, "f2", 0), 0);
	assert_int_equal(rename_(p, ROOT, "f", ROOT, "f2", EXCHANGE), 0);
	assert_int_equal(rename_(p, ROOT, "f", ROOT, "f", 0), 0);
	assert_int_equal(rename_(p, ROOT, "d", ROOT, "d", 0), 0);
	assert_int_equal(find(p, ROOT, "f"), f);
	assert_int_equal(find(p, ROOT, "f2"), f);
	assert_int_equal(attr(p, f).nlink, 2);
	assert_int_equal(attr(p, ROOT).nlink, 4);
	assert_int_equal(attr(p, d).nlink, 3);
	poke_nlink(p, d, ADIT_LINK_MAX);
	assert_int_equal(rename_(p, ROOT, "empty", d, "x", 0), -EMLINK);
	poke_nlink(p, d, 3);
	same_usage(p, before);
}

static void renaming(void **state)
{
	struct pool *p = *state;
	uint64_t a = folder(p, ROOT, "a"), b = folder(p, ROOT, "b"), f, g, s, t;
	struct adit_statfs before = pool_usage(p);
	struct adit_id id;

	f = file(p, a, "f");
	assert_int_equal(rename_(p, a, "f", a, "a longer name than before", NOREPLACE), 0);
	assert_int_equal(find(p, a, "f"), 0);
	assert_int_equal(find(p, a, "a longer name than before"), f);
	assert_int_equal(attr(p, a).size, 1);
	assert_int_equal(rename_(p, a, "a longer name than before", b, "f", 0), 0);
	assert_int_equal(attr(p, a).size, 0);
	assert_int_equal(attr(p, b).size, 1);
	assert_int_equal(find(p, b, "f"), f);

	/* A file over a file, here and there. */
	g = file(p, b, "g");
	write_at(p, g, 0, 9000);
	assert_int_equal(rename_(p, b, "f", b, "g", 0), 0);
	assert_int_equal(find(p, b, "g"), f);
	assert_int_equal(attr(p, b).size, 1);
	g = file(p, a, "g");
	assert_int_equal(rename_(p, a, "g", b, "g", 0), 0);
	assert_int_equal(find(p, b, "g"), g);
	/* An open file that is replaced stays for its opener. */
	f = file(p, a, "f");
	assert_int_equal(hold_ino(p->fs, g, 0, NULL), 0);
	assert_int_equal(rename_(p, a, "f", b, "g", 0), 0);
	assert_int_equal(attr(p, g).nlink, 0);
	assert_int_equal(release_ino(p->fs, g), 0);
	assert_int_equal(adit__unlink(p->fs, b, N("g")), 0);
	same_usage(p, before);

	/* Directories: to another parent, over an empty one, link counts follow. */
	s = folder(p, a, "s");
	t = folder(p, s, "t");
	assert_int_equal(rename_(p, a, "s", b, "s", 0), 0);
	assert_int_equal(attr(p, a).nlink, 2);
	assert_int_equal(attr(p, b).nlink, 3);
	assert_int_equal(adit__parent(p->fs, s, &id), 0);
	assert_int_equal(id.ino, b);
	folder(p, a, "s");
	assert_int_equal(rename_(p, b, "s", a, "s", 0), 0);
	assert_int_equal(attr(p, a).nlink, 3);
	assert_int_equal(attr(p, b).nlink, 2);
	folder(p, a, "u");
	assert_int_equal(rename_(p, a, "s", a, "u", 0), 0);
	assert_int_equal(attr(p, a).nlink, 3);
	assert_int_equal(find(p, a, "u"), s);
	assert_int_equal(rename_(p, s, "t", ROOT, "t", 0), 0);
	assert_int_equal(adit__parent(p->fs, t, &id), 0);
	assert_int_equal(id.ino, ROOT);
	assert_int_equal(attr(p, s).nlink, 2);
	assert_int_equal(attr(p, ROOT).nlink, 5);

	/* EXCHANGE: a directory with a file, in two parents, and in one. */
	f = file(p, b, "f");
	assert_int_equal(rename_(p, a, "u", b, "f", EXCHANGE), 0);
	assert_int_equal(find(p, a, "u"), f);
	assert_int_equal(find(p, b, "f"), s);
	assert_int_equal(attr(p, a).nlink, 2);
	assert_int_equal(attr(p, b).nlink, 3);
	assert_int_equal(adit__parent(p->fs, s, &id), 0);
	assert_int_equal(id.ino, b);
	assert_int_equal(rename_(p, a, "u", b, "f", EXCHANGE), 0);
	assert_int_equal(adit__parent(p->fs, s, &id), 0);
	assert_int_equal(id.ino, a);
	assert_int_equal(rename_(p, ROOT, "t", a, "u", EXCHANGE), 0);
	assert_int_equal(find(p, ROOT, "t"), s);
	assert_int_equal(rename_(p, ROOT, "t", ROOT, "b", EXCHANGE), 0);
	assert_int_equal(find(p, ROOT, "b"), s);
	assert_int_equal(find(p, ROOT, "t"), b);
	assert_int_equal(rename_(p, ROOT, "t", ROOT, "b", EXCHANGE), 0);

	/* WHITEOUT leaves a character device 0:0. */
	g = file(p, b, "over");
	assert_int_equal(rename_(p, b, "f", b, "over", WHITEOUT), 0);
	assert_int_equal(find(p, b, "over"), f);
	g = find(p, b, "f");
	assert_int_equal(attr(p, g).mode, S_IFCHR);
	assert_int_equal(attr(p, g).rdev, 0);
	assert_int_equal(attr(p, g).nlink, 1);
	assert_int_equal(rename_(p, b, "over", a, "x", WHITEOUT | NOREPLACE), 0);
	assert_int_equal(rename_(p, a, "u", b, "dir", WHITEOUT), 0);
	assert_int_equal(attr(p, a).nlink, 2);
	assert_int_equal(attr(p, b).nlink, 3);
	pool_crash(p);
	assert_int_equal(find(p, b, "dir"), t);
	assert_int_equal(attr(p, find(p, a, "u")).mode, S_IFCHR);
	assert_int_equal(adit__unlink(p->fs, a, N("u")), 0);
	assert_int_equal(adit__unlink(p->fs, a, N("x")), 0);
	assert_int_equal(adit__unlink(p->fs, b, N("over")), 0);
	assert_int_equal(adit__unlink(p->fs, b, N("f")), 0);
	assert_int_equal(adit__rmdir(p->fs, b, N("dir")), 0);
	assert_int_equal(adit__rmdir(p->fs, ROOT, N("t")), 0);
	same_usage(p, before);
}

/* ---- attributes ----------------------------------------------------------------------------- */

static void attributes(void **state)
{
	struct pool *p = *state;
	uint64_t f = file(p, ROOT, "f"), d = folder(p, ROOT, "d");
	struct adit_attr a = {.mode = 06755, .uid = 11, .gid = 22, .mtime_ns = 33, .atime_ns = -44};

	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_MODE, &a), 0);
	assert_int_equal(attr(p, f).mode, S_IFREG | 06755);
	/* A new owner gets no privileges; a directory keeps its bits. */
	assert_int_equal(adit__setxattr(p->fs, f, "security.capability", "x", 1, 0), 0);
	assert_int_equal(adit__setxattr(p->fs, f, "user.x", "x", 1, 0), 0);
	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_UID, &a), 0);
	assert_int_equal(attr(p, f).mode, S_IFREG | 0755);
	assert_int_equal(attr(p, f).uid, 11);
	assert_int_equal(attr(p, f).gid, 0);
	assert_int_equal(adit__getxattr(p->fs, f, "security.capability", NULL, 0), -ENODATA);
	assert_int_equal(adit__getxattr(p->fs, f, "user.x", NULL, 0), 1);
	a.mode = 02644;
	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_MODE, &a), 0);
	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_GID, &a), 0);
	assert_int_equal(attr(p, f).mode, S_IFREG | 02644);
	assert_int_equal(attr(p, f).gid, 22);
	a.mode = 06755;
	assert_int_equal(adit__setattr(p->fs, d, ADIT_SET_MODE | ADIT_SET_UID, &a), 0);
	assert_int_equal(attr(p, d).mode, S_IFDIR | 06755);

	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_MTIME | ADIT_SET_ATIME, &a), 0);
	assert_int_equal(attr(p, f).mtime_ns, 33);
	assert_int_equal(attr(p, f).atime_ns, -44);
	assert_true(attr(p, f).ctime_ns > 33);
	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_MTIME_NOW, &a), 0);
	assert_true(attr(p, f).mtime_ns > 33);
	assert_int_equal(attr(p, f).atime_ns, -44);
	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_ATIME_NOW, &a), 0);
	assert_true(attr(p, f).atime_ns > 33);
	a.mtime_ns = INT64_MAX;
	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_MTIME, &a), 0);
	pool_crash(p);
	assert_int_equal(attr(p, f).mtime_ns, INT64_MAX);
	assert_int_equal(attr(p, f).gid, 22);

	assert_int_equal(adit__setattr(p->fs, f, 512, &a), -EINVAL);
	assert_int_equal(adit__setattr(p->fs, 99999, ADIT_SET_MODE, &a), -ESTALE);
	assert_int_equal(create(p, ROOT, "l", S_IFLNK | 0777), 0);
	assert_int_equal(adit__setattr(p->fs, find(p, ROOT, "l"), ADIT_SET_MODE, &a), -EOPNOTSUPP);
	assert_int_equal(adit__setattr(p->fs, find(p, ROOT, "l"), ADIT_SET_UID, &a), 0);
	a.flags = UINT32_MAX;
	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_IFLAGS, &a), 0);
	assert_int_equal(attr(p, f).flags & ~ADIT_FORK_MASK & ~ADIT_IFLAG_XLEVEL_MASK,
			 ADIT_IFLAG_ATOMIC | ADIT_IFLAG_IMMUTABLE | ADIT_IFLAG_APPEND);
}

static void immutable(void **state)
{
	struct pool *p = *state;
	uint64_t d = folder(p, ROOT, "d"), f = file(p, d, "f"), g = file(p, ROOT, "g");
	struct adit_attr a = {.mode = 0600};

	set_flags(p, f, ADIT_IFLAG_IMMUTABLE);
	assert_int_equal(adit__unlink(p->fs, d, N("f")), -EPERM);
	assert_int_equal(adit__link(p->fs, f, ROOT, N("x")), -EPERM);
	assert_int_equal(rename_(p, d, "f", ROOT, "x", 0), -EPERM);
	assert_int_equal(rename_(p, ROOT, "g", d, "f", 0), -EPERM);
	assert_int_equal(rename_(p, ROOT, "g", d, "f", EXCHANGE), -EPERM);
	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_MODE, &a), -EPERM);
	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_MTIME_NOW, &a), -EPERM);
	set_flags(p, f, ADIT_IFLAG_APPEND);
	assert_int_equal(adit__unlink(p->fs, d, N("f")), -EPERM);
	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_MTIME, &a), -EPERM);
	/* Touching is both times, now. */
	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_MTIME_NOW, &a), -EPERM);
	assert_int_equal(adit__setattr(p->fs, f, ADIT_SET_MTIME_NOW | ADIT_SET_ATIME_NOW, &a), 0);
	set_flags(p, f, 0);
	set_flags(p, d, ADIT_IFLAG_IMMUTABLE);
	assert_int_equal(create(p, d, "x", S_IFREG), -EPERM);
	assert_int_equal(create(p, d, "f", S_IFREG), -EEXIST);
	assert_int_equal(adit__link(p->fs, g, d, N("x")), -EPERM);
	assert_int_equal(adit__unlink(p->fs, d, N("f")), -EPERM);
	assert_int_equal(rename_(p, ROOT, "g", d, "x", 0), -EPERM);
	assert_int_equal(adit__rmdir(p->fs, ROOT, N("d")), -EPERM);
	set_flags(p, d, ADIT_IFLAG_APPEND);
	assert_int_equal(create(p, d, "x", S_IFREG), 0);
	assert_int_equal(adit__unlink(p->fs, d, N("x")), -EPERM);
	assert_int_equal(rename_(p, d, "f", ROOT, "x", 0), -EPERM);
	assert_int_equal(rename_(p, ROOT, "g", d, "g", 0), 0);
	set_flags(p, d, 0);
	assert_int_equal(adit__unlink(p->fs, d, N("x")), 0);
}

/* Everything that can be asked of a directory that was removed, and whose number another one has. */
static void ask_the_gone(struct pool *p, struct adit_at gone)
{
	struct adit_create c = {.mode = S_IFREG | 0644};
	const struct adit_at root = adit__any(ROOT);
	uint64_t f = find(p, ROOT, "f");
	struct adit_hold hold;
	struct adit_id id;

	assert_int_equal(adit__lookup_at(p->fs, gone, N("in"), &id), -ENOENT);
	assert_int_equal(adit__parent_at(p->fs, gone, &id), -ENOENT);
	assert_int_equal(adit__create_at(p->fs, gone, N("new"), &c, NULL, &id), -ENOENT);
	assert_int_equal(adit__create_unnamed_at(p->fs, gone, &c, &hold, &id), -ENOENT);
	assert_int_equal(adit__link_at(p->fs, f, gone, N("new"), false), -ENOENT);
	assert_int_equal(adit__remove_at(p->fs, gone, N("in"), false), -ENOENT);
	assert_int_equal(adit__remove_at(p->fs, gone, N("dir"), true), -ENOENT);
	assert_int_equal(adit__rename_at(p->fs, gone, N("in"), root, N("new"), 0), -ENOENT);
	assert_int_equal(adit__rename_at(p->fs, root, N("f"), gone, N("new"), 0), -ENOENT);
}

static void number_of_another(void **state)
{
	static const uint32_t kinds[] = {S_IFDIR, S_IFREG};
	struct pool *p = *state;

	file(p, ROOT, "f");
	for (unsigned k = 0; k < 2; k++) {
		struct adit_at gone;
		struct adit_id id;

		folder(p, ROOT, "d");
		assert_int_equal(adit__lookup(p->fs, ROOT, N("d"), &id), 0);
		gone = (struct adit_at){id.ino, id.generation};
		assert_int_equal(adit__lookup_at(p->fs, gone, N("in"), &id), -ENOENT);
		file(p, gone.dir, "in");
		assert_int_equal(adit__lookup_at(p->fs, gone, N("in"), &id), 0);
		assert_int_equal(adit__unlink(p->fs, gone.dir, N("in")), 0);
		assert_int_equal(adit__rmdir(p->fs, ROOT, N("d")), 0);
		ask_the_gone(p, gone);
		assert_int_equal(create(p, ROOT, "other", kinds[k] | 0755), 0);
		assert_int_equal(find(p, ROOT, "other"), gone.dir);
		if (kinds[k] == S_IFDIR) {
			file(p, gone.dir, "in");
			folder(p, gone.dir, "dir");
		}
		ask_the_gone(p, gone);
		if (kinds[k] == S_IFDIR) {
			assert_int_equal(attr(p, gone.dir).size, 2);
			assert_int_equal(adit__rmdir(p->fs, gone.dir, N("dir")), 0);
			assert_int_equal(adit__unlink(p->fs, gone.dir, N("in")), 0);
			assert_int_equal(adit__rmdir(p->fs, ROOT, N("other")), 0);
		}
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(creating), T(kinds), T(symlinks), T(removing), T(open_and_gone), T(unnamed),
		T(large), T(linking), T(renaming_errors), T(renaming), T(attributes), T(immutable),
		T(number_of_another),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
