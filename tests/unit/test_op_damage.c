/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations on damage whose checksums are right: what no verify function can see. Each says so and changes nothing
 * else. And arguments at their limits.
 */
#include "check_image.h"
#include "held.h"

#include <errno.h>
#include <string.h>

#include "core/file_int.h"
#include "core/log.h"

static struct adit_icluster_pm *cluster_of(struct pool *p, uint64_t ino)
{
	return (struct adit_icluster_pm *)adit__inode_slot(p->fs, ino - ino % ADIT_ICLUSTER_INODES);
}

static void seal_cluster(struct pool *p, struct adit_icluster_pm *c)
{
	c->dirty_seq = put64(0);
	c->crc = put32(
		adit__seal_crc(p->fs, c, ADIT_INODE_SEAL_FROM, sizeof *c, ADIT_MAGIC_ICLUSTER));
	adit__forget_verified(p->fs);
}

static void seal_inode(struct pool *p, struct adit_inode_pm *ip)
{
	ip->dirty_seq = put64(0);
	ip->crc = put32(
		adit__seal_crc(p->fs, ip, ADIT_INODE_SEAL_FROM, sizeof *ip, ADIT_MAGIC_INODE));
	adit__forget_verified(p->fs);
}

static int create(struct pool *p, const char *name, uint32_t mode, uint64_t *ino)
{
	struct adit_create c = {.mode = mode};
	struct adit_id id = {0};
	int err = adit__create(p->fs, ADIT_INO_ROOT, name, strlen(name), &c, NULL, &id);

	*ino = id.ino;
	return err;
}

static void no_such_name(struct pool *p, const char *name)
{
	struct adit_id id;

	assert_int_equal(adit__lookup(p->fs, ADIT_INO_ROOT, name, strlen(name), &id), -ENOENT);
}

/* The lists of clusters with free slots, and what the clusters say of their slots. */
static void test_clusters(void **state)
{
	uint64_t ino, which, used;
	struct adit_icluster_pm *c;
	struct pool p;

	(void)state;
	for (unsigned kind = 0; kind < 4; kind++) {
		open_image(&p);
		/* All shards lead to the same: what the first one refuses, the others do. */
		for (unsigned s = 0; s < get32(p.fs->root->shards); s++) {
			uint64_t link = get64(p.fs->root->free_cluster[s]);

			if (kind == 0) {
				p.fs->root->free_cluster[s] = put64(999999 * 64 + 1);
				continue;
			}
			if (link == 0) {
				p.fs->root->free_cluster[s] = put64(1);
				link = 1;
			}
			c = cluster_of(&p, link - 1);
			if (kind == 1)
				c->used = put64(~0ull);
			else if (kind == 2) /* a slot that is in use, said to be free */
				c->used = put64(get64(c->used) & ~(1ull << ADIT_INO_ROOT));
			else
				c->shard = put32(99);
			if (kind == 2 && link != 1)
				p.fs->root->free_cluster[s] = put64(1);
			seal_cluster(&p, c);
		}
		if (kind == 2) {
			c = cluster_of(&p, 0);
			c->used = put64(get64(c->used) & ~(1ull << ADIT_INO_ROOT));
			seal_cluster(&p, c);
		}
		assert_int_equal(create(&p, "n", S_IFREG | 0600, &ino), -EUCLEAN);
		no_such_name(&p, "n");
		assert_int_equal(touched_files(p.fs, &which), 0);
		close_image(&p);
	}

	/* Freed, but its cluster says that it is free. */
	open_image(&p);
	assert_int_equal(create(&p, "n", S_IFREG | 0600, &ino), 0);
	c = cluster_of(&p, ino);
	used = get64(c->used) & ~(1ull << ino % ADIT_ICLUSTER_INODES);
	c->used = put64(used);
	seal_cluster(&p, c);
	assert_int_equal(adit__unlink(p.fs, ADIT_INO_ROOT, "n", 1), -EUCLEAN);
	assert_non_null(strstr(p.report, "freed although its cluster says free"));
	assert_int_equal(lookup(p.fs, ADIT_INO_ROOT, "n"), ino);
	assert_int_equal(get64(c->used), used);
	close_image(&p);
}

/* An orphan whose neighbour does not exist. */
static void test_orphan_neighbours(void **state)
{
	struct adit_inode_pm *ip;
	struct adit_attr a;
	uint64_t ino;
	struct pool p;

	(void)state;
	for (unsigned kind = 0; kind < 2; kind++) {
		open_image(&p);
		assert_int_equal(create(&p, "n", S_IFREG | 0600, &ino), 0);
		assert_int_equal(hold_ino(p.fs, ino, 0, &a), 0);
		assert_int_equal(adit__unlink(p.fs, ADIT_INO_ROOT, "n", 1), 0);
		ip = adit__inode_slot(p.fs, ino);
		if (kind)
			ip->orphan_prev = put64(999999);
		else
			ip->orphan_next = put64(999999);
		seal_inode(&p, ip);
		assert_int_equal(release_ino(p.fs, ino), -EUCLEAN);
		assert_int_equal(hold_ino(p.fs, ino, 0, &a), -ESTALE); /* for fsck */
		close_image(&p);
	}
	open_image(&p);
	assert_int_equal(release_ino(p.fs, 999999), -ESTALE);
	assert_int_equal(hold_ino(p.fs, 999999, 0, &a), -ESTALE);
	close_image(&p);
}

/* Two directories that are each other's parent: a walk to the root would never end. */
static void test_circle(void **state)
{
	struct adit_inode_pm *a, *b;
	uint64_t one, two, other;
	struct pool p;

	(void)state;
	open_image(&p);
	assert_int_equal(create(&p, "one", S_IFDIR | 0700, &one), 0);
	assert_int_equal(create(&p, "two", S_IFDIR | 0700, &two), 0);
	assert_int_equal(create(&p, "other", S_IFDIR | 0700, &other), 0);
	a = adit__inode_slot(p.fs, one);
	b = adit__inode_slot(p.fs, two);
	a->parent_or_rdev = put64(two);
	b->parent_or_rdev = put64(one);
	seal_inode(&p, a);
	seal_inode(&p, b);
	assert_int_equal(adit__rename(p.fs, ADIT_INO_ROOT, "other", 5, one, "x", 1, 0), -EUCLEAN);
	assert_non_null(strstr(p.report, "form a cycle"));
	assert_int_equal(lookup(p.fs, ADIT_INO_ROOT, "other"), other);
	close_image(&p);
}

/* A name whose inode says that it has none. */
static void test_named_without_links(void **state)
{
	struct adit_inode_pm *ip;
	uint64_t ino;
	struct pool p;

	(void)state;
	open_image(&p);
	assert_int_equal(create(&p, "n", S_IFREG | 0600, &ino), 0);
	ip = adit__inode_slot(p.fs, ino);
	ip->nlink = put32(0);
	seal_inode(&p, ip);
	assert_int_equal(adit__unlink(p.fs, ADIT_INO_ROOT, "n", 1), -EUCLEAN);
	assert_int_equal(adit__rename(p.fs, ADIT_INO_ROOT, "n", 1, ADIT_INO_ROOT, "m", 1, 0),
			 -EUCLEAN);
	no_such_name(&p, "m");
	close_image(&p);
}

/* A long link whose map has no first block, or one that nobody wrote. */
static void test_link_target(void **state)
{
	struct adit_inode_pm *ip;
	struct pool p;
	uint64_t ino;

	(void)state;
	for (unsigned kind = 0; kind < 4; kind++) {
		open_image(&p);
		ino = lookup(p.fs, lookup(p.fs, ADIT_INO_ROOT, "kinds"), "long link");
		ip = adit__inode_slot(p.fs, ino);
		switch (kind) {
		case 0:
			ip->fork.extents.extent[0].file_block = put64(1);
			break;
		case 1:
			ip->fork.extents.extent[0].flags = put16(ADIT_EXTENT_UNWRITTEN);
			break;
		case 2:
			ip->size = put64(0);
			break;
		default:
			ip->size = put64(ADIT_BLOCK);
			break;
		}
		seal_inode(&p, ip);
		p.reports = 0;
		assert_int_equal(adit__readlink(p.fs, ino, buffer, sizeof buffer), -EUCLEAN);
		assert_int_equal(p.reports, 1);
		close_image(&p);
	}
}

static int never(void *arg, uint64_t cookie, const void *name, size_t len,
		 const struct adit_dirent *de)
{
	(void)arg, (void)cookie, (void)name, (void)len, (void)de;
	fail_msg("an entry behind the last cookie");
	return 1;
}

static void test_arguments(void **state)
{
	const uint64_t large = (uint64_t)INT64_MAX + 1;
	struct adit_iovec two[2] = {{buffer, INT64_MAX}, {buffer, 10}};
	char name[300] = "user.";
	uint64_t ino, offset = 0;
	struct pool p;

	(void)state;
	open_image(&p);
	assert_int_equal(create(&p, "n", S_IFREG | 0600, &ino), 0);
	put(p.fs, ino, 0, 5000);
	assert_int_equal(adit__file_fallocate(p.fs, ino, 0, large, 1), -EINVAL);
	assert_int_equal(adit__file_fallocate(p.fs, ino, 0, 0, large), -EINVAL);
	assert_int_equal(adit__file_fallocate(p.fs, ino,
					      FALLOC_FL_INSERT_RANGE | FALLOC_FL_KEEP_SIZE, 0,
					      ADIT_BLOCK),
			 -EINVAL);
	assert_int_equal(adit__file_fallocate(p.fs, ino,
					      FALLOC_FL_UNSHARE_RANGE | FALLOC_FL_ZERO_RANGE, 0,
					      ADIT_BLOCK),
			 -EINVAL);
	assert_true(adit__file_write(p.fs, ino, two, 2, &offset, 0) < 0);
	memset(name + 5, 'x', 294);
	assert_true(adit__setxattr(p.fs, ino, name, "v", 1, 0) < 0);
	assert_true(adit__setxattr(p.fs, ino, "system.something_of_the_same", "v", 1, 0) < 0);
	assert_int_equal(adit__rename(p.fs, ADIT_INO_ROOT, "n", 1, ADIT_INO_ROOT, name, 299, 0),
			 -ENAMETOOLONG);
	assert_int_equal(adit__rename(p.fs, ADIT_INO_ROOT, name, 299, ADIT_INO_ROOT, "m", 1, 0),
			 -ENAMETOOLONG);
	assert_int_equal(adit__rename(p.fs, ADIT_INO_ROOT, "n", 1, ADIT_INO_ROOT, "", 0, 0),
			 -ENOENT);
	assert_int_equal(adit__link(p.fs, ino, ADIT_INO_ROOT, name, 299), -ENAMETOOLONG);
	assert_int_equal(adit__unlink(p.fs, ADIT_INO_ROOT, name, 299), -ENAMETOOLONG);
	assert_int_equal(adit__readdir(p.fs, ADIT_INO_ROOT, large - 1, never, NULL), 0);
	assert_int_equal(adit__readdir(p.fs, ADIT_INO_ROOT, UINT64_MAX, never, NULL), 0);
	assert_clean(p.fs, "after all that was refused");
	close_image(&p);
}

/* The inode was found right, and then something else was written over it, as through another file that
 * names the same block: no size makes a search go on for ever. */
static void test_impossible_size(void **state)
{
	static const uint64_t size[] = {1ull << 63, (1ull << 63) + 4096, UINT64_MAX};
	uint64_t ino;
	struct pool p;

	(void)state;
	open_image(&p);
	assert_int_equal(create(&p, "n", S_IFREG | 0600, &ino), 0);
	alarm(60);
	for (unsigned i = 0; i < 3; i++) {
		adit__inode_slot(p.fs, ino)->size = put64(size[i]);
		assert_int_equal(adit__file_seek(p.fs, ino, 0, SEEK_DATA), -EUCLEAN);
		assert_int_equal(adit__file_seek(p.fs, ino, 4096, SEEK_HOLE), -EUCLEAN);
	}
	alarm(0);
	assert_non_null(strstr(p.report, "size is impossible"));
	close_image(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clusters),	cmocka_unit_test(test_orphan_neighbours),
		cmocka_unit_test(test_circle),		cmocka_unit_test(test_named_without_links),
		cmocka_unit_test(test_link_target),	cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_impossible_size),
	};

	return cmocka_run_group_tests(tests, make_image, drop_image);
}
