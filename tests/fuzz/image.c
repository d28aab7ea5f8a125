/* SPDX-License-Identifier: BSD-3-Clause */
/* image.c - see image.h. */
#include "image.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/inode.h"
#include "core/log.h"
#include "fs/env.h"

#define GUARD (64ull << 30)

struct image images[IMAGES];

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "fuzz: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* ---- making them --------------------------------------------------------------------- */

static int64_t clock_now;

static int64_t attempt(struct subject *s, const char *format, va_list args)
{
	char text[OP_TEXT_MAX];
	static struct op op;

	vsnprintf(text, sizeof text, format, args);
	if (!op_parse(text, &op)) {
		errno = EINVAL;
		die(text);
	}
	return subject_apply(s, &op, ++clock_now);
}

static void go(struct subject *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void go(struct subject *s, const char *format, ...)
{
	va_list args;
	int64_t rc;

	va_start(args, format);
	rc = attempt(s, format, args);
	va_end(args);
	if (rc < 0) {
		errno = (int)-rc;
		die(format);
	}
}

static void fill_names(struct subject *s, const char *dir, unsigned n)
{
	go(s, "mkdir %s 0755", dir);
	for (unsigned i = 0; i < n; i++) {
		go(s, "create %s/file-with-a-longer-name-%04u 0644", dir, i);
		go(s, "write %s/file-with-a-longer-name-%04u 0 %u", dir, i, 1 + i % 110);
	}
	for (unsigned i = 0; i < n; i += 5)
		go(s, "unlink %s/file-with-a-longer-name-%04u", dir, i);
}

static void fill_kinds(struct subject *s)
{
	go(s, "mkdir /kinds 02755");
	go(s, "symlink /kinds/short 20");
	go(s, "symlink /kinds/long 900");
	go(s, "mknod /kinds/fifo 010644");
	go(s, "mknod /kinds/socket 0140644");
	go(s, "mknod /kinds/null 020666 0x100000003");
	go(s, "mknod /kinds/disk 060660 0x800000001");
	go(s, "create /kinds/empty 0600");
	go(s, "create /kinds/name~255 0600");
	go(s, "create /kinds/extents 0600");
	go(s, "write /kinds/extents 0 10000");
	go(s, "write /kinds/extents 400000 5000");
	go(s, "fallocate /kinds/extents 1 900000 32768");
	go(s, "truncate /kinds/extents 0x7ffffffffff");
	go(s, "iflags /kinds/empty 0x400");
	go(s, "create /kinds/atomic 0600");
	go(s, "iflags /kinds/atomic 0x200");
}

static void fill_attributes(struct subject *s, const char *path, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		go(s, "setxattr %s user.attribute-%u %u 0", path, i,
		   i % 9 == 0 ? 700 + i * 150 : 5 + i * 6);
	go(s, "setxattr %s trusted.long~255 30 0", path);
	go(s, "setxattr %s system.posix_acl_access 44 0", path);
}

static void fill_tree(struct subject *s)
{
	fill_names(s, "/many", 140);
	fill_kinds(s);
	go(s, "create /holes 0600");
	for (unsigned i = 0; i < 140; i++)
		go(s, "write /holes %u %u", i * 3 * 4096, 120 + i);
	go(s, "mkdir /few 0700");
	go(s, "create /few/a 0600");
	go(s, "write /few/a 0 200");
	go(s, "link /few/a /few/b");
	go(s, "link /few/a /kinds/c");
	fill_attributes(s, "/few/a", 45);
	go(s, "mkdir /few/d 0755");
	go(s, "mkdir /few/d/e 0755");
	go(s, "create /few/d/e/f 0755");
	go(s, "write /few/d/e/f 0 20000");
	go(s, "setxattr /few/d user.one 1 0");
}

static void fill_little(struct subject *s)
{
	go(s, "mkdir /d 0755");
	go(s, "create /d/f 0644");
	go(s, "write /d/f 0 50");
	go(s, "create /g 0644");
	for (unsigned i = 0; i < 12; i++)
		go(s, "write /g %u 4096", i * 8192);
	go(s, "symlink /l 10");
	fill_attributes(s, "/g", 6);
	fill_names(s, "/n", 30);
}

/* Work that is in the log only when the process dies: records of every kind, on two lanes. */
static void leave_records(struct subject *s)
{
	go(s, "checkpoint");
	go(s, "tmpfile / 0");
	go(s, "write @0 0 9000");
	go(s, "hold /n/file-with-a-longer-name-0001 1");
	go(s, "unlink /n/file-with-a-longer-name-0001");
	go(s, "lane 1");
	for (unsigned i = 0; i < 8; i++) {
		go(s, "lane %u", i % 2);
		go(s, "create /d/new%u 0644", i);
		go(s, "append /d/new%u %u", i, 10 + i * 1500);
		go(s, "rename /d/new%u /n/moved%u", i, i);
	}
	go(s, "setxattr /d user.x 600 0");
	go(s, "write /g 4000 200 1");
	go(s, "truncate /g 30000");
	go(s, "fallocate /g 3 8192 8192");
	go(s, "mkdir /d/sub 0755");
	go(s, "rename /d /n/d");
	go(s, "unlink /l");
	go(s, "chmod /g 0600");
}

/* ---- a process that dies in the middle of an operation ---------------------------------- */

static uint8_t *snapshot;

/* At a fence: keep the first image that has an unfinished operation in it. */
static void snapshot_fence(struct adit_pm *pm)
{
	const struct adit_super_pm *s = (const void *)pm->base;
	const struct adit_intent_pm *in =
		(const void *)(pm->base + get64(s->intent_start) * ADIT_BLOCK);

	if (snapshot == NULL && (get32(in[0].type) | get32(in[1].type)) != 0) {
		snapshot = malloc(IMAGE_BYTES);
		if (snapshot == NULL)
			die("memory");
		memcpy(snapshot, pm->base, IMAGE_BYTES);
	}
}

static void die_in(struct subject *s, const char *op)
{
	struct adit_pm_ops ops = *s->pm.ops;

	ops.fence = snapshot_fence;
	go(s, "lane 0");
	s->fs->full_after = 600;
	s->fs->full_room = 18200;
	s->fs->pm.ops = &ops;
	go(s, "%s", op);
	if (snapshot == NULL)
		die("no operation was unfinished at any fence");
	memcpy(s->pm.base, snapshot, IMAGE_BYTES);
	free(snapshot);
	snapshot = NULL;
	s->fs->pm.ops = s->pm.ops;
}

/* ---- the list ------------------------------------------------------------------------------ */

struct recipe {
	const char *name;
	uint32_t lanes;
	uint64_t group_blocks;
	void (*fill)(struct subject *);
	void (*then)(struct subject *);
	const char *die_in;
	bool closed;
};

static void fill_up(struct subject *s)
{
	fill_little(s);
	go(s, "create /full 0644");
	for (unsigned i = 0; i < 150; i++)
		go(s, "write /full %u 4096", i * 3 * 4096);
	fill_names(s, "/more", 60);
	for (unsigned i = 0; i < 40; i++)
		go(s, "create /f%u 0644", i);
	for (unsigned i = 0; i < 40; i++)
		go(s, "append /f%u 4097", i);
}

static void fill_pieces(struct subject *s)
{
	fill_little(s);
	go(s, "create /pieces 0644");
	for (unsigned i = 0; i < 300; i++)
		go(s, "write /pieces %u 1", i * 2 * 4096 + 5);
}

static void fill_nothing(struct subject *s)
{
	(void)s;
}

static const struct recipe recipes[IMAGES] = {
	{"tree", 2, 0, fill_tree, NULL, NULL, true},
	{"log", 2, 0, fill_little, leave_records, NULL, false},
	{"collapse", 1, 0, fill_pieces, NULL, "fallocate /pieces 8 8192 4096", false},
	{"groups", 1, 512, fill_up, NULL, NULL, true},
	{"empty", 2, 0, fill_nothing, NULL, NULL, true},
	{"free", 2, 512, fill_pieces, NULL, "unlink /pieces", false},
};

static void fill_by(const struct recipe *r, struct subject *s)
{
	struct adit_mkfs_params p = {.pool_bytes = IMAGE_BYTES,
				     .hash_seed = 42,
				     .root_mode = 0755,
				     .lanes = r->lanes,
				     .group_blocks = r->group_blocks,
				     .uuid = "adit-fuzz-pool!"};

	clock_now = 0;
	subject_now = 0;
	subject_lane = 0;
	if (adit__core_mkfs(&s->pm, subject_env(), s, &p) || subject_open(s))
		die("a pool cannot be made");
	r->fill(s);
	if (subject_close(s) || subject_open(s))
		die("a pool cannot be closed");
	if (r->then)
		r->then(s);
	if (r->die_in)
		die_in(s, r->die_in);
	if (!r->closed)
		subject_abandon(s);
	else if (subject_close(s))
		die("a pool cannot be closed");
	subject_lane = 0;
}

/* ---- what is where --------------------------------------------------------------------------- */

static void add(struct image *im, enum part_kind kind, uint64_t offset, uint64_t bytes)
{
	if (offset >= IMAGE_BYTES || bytes > IMAGE_BYTES - offset)
		return;
	im->part = realloc(im->part, (im->parts + 1) * sizeof *im->part);
	if (im->part == NULL)
		die("memory");
	im->part[im->parts++] = (struct part){kind, (uint32_t)offset, (uint32_t)bytes};
}

static bool in_area(uint64_t block, uint64_t start, uint64_t count)
{
	return block >= start && block - start < count;
}

static void add_fixed(struct image *im, struct adit_fs *fs)
{
	const struct adit_super_pm *s = &im->super;

	add(im, PART_SUPER, 0, ADIT_BLOCK);
	add(im, PART_SUPER, ADIT_SUPER_COPY * ADIT_BLOCK, ADIT_BLOCK);
	add(im, PART_ROOT, get64(s->root_block) * ADIT_BLOCK, ADIT_BLOCK);
	add(im, PART_ROOT, get64(s->root_copy) * ADIT_BLOCK, ADIT_BLOCK);
	for (unsigned i = 0; i < 2; i++)
		add(im, PART_CKPT, (get64(s->ckpt_start) + i) * ADIT_BLOCK, 64 + 8 * fs->lanes);
	for (uint32_t i = 0; i < fs->lanes; i++)
		add(im, PART_INTENT, get64(s->intent_start) * ADIT_BLOCK + i * 64, 64);
	add(im, PART_VOLATILE, get64(s->vol_start) * ADIT_BLOCK, get64(s->vol_blocks) * ADIT_BLOCK);
	for (uint32_t g = 0; g < fs->groups; g++) {
		add(im, PART_GROUP, adit__group_header_block(fs, g) * ADIT_BLOCK, 208);
		add(im, PART_GROUP, adit__group_replica_block(fs, g) * ADIT_BLOCK, 64);
		for (uint32_t i = 0; i < fs->bitmap_blocks; i++)
			add(im, PART_BITMAP, (adit__group_bitmap_block(fs, g) + i) * ADIT_BLOCK,
			    ADIT_BLOCK);
		add(im, PART_VOLATILE, adit__offset_of(fs, adit__group_vol(fs, g)), 128);
		add(im, PART_VOLATILE, adit__offset_of(fs, adit__group_vol_bitmap(fs, g)),
		    ADIT_BLOCK);
	}
}

static void add_records(struct image *im)
{
	uint64_t start = get64(im->super.lane_start) * ADIT_BLOCK;
	uint64_t bytes =
		(uint64_t)get32(im->super.lanes) * get32(im->super.lane_blocks) * ADIT_BLOCK;

	for (uint64_t at = start; at < start + bytes; at += ADIT_LINE) {
		const struct adit_record_pm *r = (const void *)(im->pool + at);

		if (get32(r->magic) == ADIT_MAGIC_RECORD && get32(r->len) >= sizeof *r)
			add(im, PART_RECORD, at,
			    get16(r->flags) & ADIT_RECORD_PAD ? sizeof *r : get32(r->len));
	}
}

static bool block_in_use(struct adit_fs *fs, uint64_t block)
{
	uint64_t bitmap, word, seal;
	le64 bits;

	adit__bitmap_where(fs, block, &bitmap, &word, &seal);
	memcpy(&bits, adit__at(fs, word), sizeof bits);
	return get64(bits) >> block % 64 & 1;
}

static void add_inodes(struct image *im, struct adit_fs *fs, bool *inode_block)
{
	for (uint64_t ino = 0; ino < get64(fs->root->next_ino); ino++) {
		struct adit_inode_pm *ip = adit__inode_slot(fs, ino);
		uint64_t at = adit__offset_of(fs, ip);

		inode_block[at / ADIT_BLOCK] = true;
		/* Slots that were never used: two are enough. */
		if (get32(ip->magic) == ADIT_MAGIC_ICLUSTER)
			add(im, PART_CLUSTER, at, ADIT_INODE_BYTES);
		else if (get32(ip->magic) == ADIT_MAGIC_INODE || ino % 64 > 61)
			add(im, PART_INODE, at, ADIT_INODE_BYTES);
	}
}

static void add_blocks(struct image *im, struct adit_fs *fs, const bool *inode_block)
{
	struct adit_run fixed;

	for (uint64_t b = 0; b < fs->pool_blocks; b++) {
		const struct adit_node_pm *n = adit__block_at(fs, b);
		bool taken = inode_block[b];

		for (uint32_t i = 0; adit__fixed_area(fs, i, &fixed) == 0; i++)
			taken |= in_area(b, fixed.block, fixed.count);
		if (taken || !block_in_use(fs, b))
			continue;
		add(im,
		    get32(n->magic) == ADIT_MAGIC_NODE && get64(n->block) == b ? PART_NODE
									       : PART_DATA,
		    b * ADIT_BLOCK, ADIT_BLOCK);
	}
}

static int by_kind(const void *a, const void *b)
{
	const struct part *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void list_parts(struct image *im)
{
	static bool inode_block[IMAGE_BYTES / ADIT_BLOCK];
	struct subject s;

	memcpy(&im->super, im->pool, sizeof im->super);
	/* Before recovery, for the records; after it, for where everything is. */
	add_records(im);
	subject_attach(&s, im->pool, IMAGE_BYTES);
	if (subject_open(&s))
		die("an image cannot be opened");
	memset(inode_block, 0, sizeof inode_block);
	add_fixed(im, s.fs);
	add_inodes(im, s.fs, inode_block);
	add_blocks(im, s.fs, inode_block);
	subject_abandon(&s);
	image_restore(im);
	qsort(im->part, im->parts, sizeof *im->part, by_kind);
	for (uint32_t k = 0, i = 0; k <= PART_KINDS; k++) {
		while (i < im->parts && im->part[i].kind < k)
			i++;
		im->first[k] = i;
	}
}

static uint8_t *map_between_guards(int fd)
{
	uint8_t *at = mmap(NULL, 2 * GUARD + IMAGE_BYTES, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		die("mmap");
	at = mmap(at + GUARD, IMAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0);
	if (at == MAP_FAILED)
		die("mmap");
	return at;
}

void images_make(void)
{
	for (unsigned i = 0; i < IMAGES; i++) {
		struct image *im = &images[i];
		int fd = memfd_create("image", MFD_CLOEXEC);
		struct subject s;

		subject_init(&s, IMAGE_BYTES);
		fill_by(&recipes[i], &s);
		if (fd < 0 || pwrite(fd, s.pm.base, IMAGE_BYTES, 0) != (ssize_t)IMAGE_BYTES)
			die("memfd");
		subject_finish(&s);
		im->name = recipes[i].name;
		im->closed = recipes[i].closed;
		im->pool = map_between_guards(fd);
		close(fd);
		list_parts(im);
	}
}

void image_restore(struct image *im)
{
	if (madvise(im->pool, IMAGE_BYTES, MADV_DONTNEED))
		die("madvise");
}

uint64_t image_limit(const struct image *im, uint64_t n)
{
	static const uint64_t limits[] = {
		0,
		1,
		2,
		3,
		63,
		64,
		65,
		127,
		128,
		252,
		253,
		255,
		256,
		511,
		512,
		4095,
		4096,
		4097,
		IMAGE_BYTES,
		IMAGE_BYTES - 8,
		0x7fff,
		0x8000,
		0xffff,
		0x10000,
		INT32_MAX,
		0x80000000u,
		UINT32_MAX,
		1ull << 32,
		1ull << 40,
		(1ull << 40) - 1,
		1ull << 51,
		1ull << 52,
		1ull << 62,
		INT64_MAX,
		1ull << 63,
		UINT64_MAX,
		UINT64_MAX - 1,
		(uint64_t)INT64_MAX - 4095,
	};
	const uint64_t own[] = {
		get64(im->super.pool_blocks) - 1, get64(im->super.pool_blocks),
		get64(im->super.pool_blocks) + 1, get64(im->super.incarnation),
		get64(im->super.incarnation) + 1, get64(im->super.vol_start),
		get64(im->super.lane_start),	  get64(im->super.meta_start),
	};
	const unsigned nlimits = sizeof limits / sizeof *limits, nown = sizeof own / sizeof *own;

	n %= nlimits + nown;
	return n < nlimits ? limits[n] : own[n - nlimits];
}

/* ---- checksums --------------------------------------------------------------------------------- */

static void seal(uint8_t *p, size_t from, size_t to, uint32_t magic)
{
	le32 crc = put32(adit__crc32c(magic, p + from, to - from));

	memcpy(p, &crc, sizeof crc);
}

static void seal_bitmap(struct image *im, const struct part *p)
{
	uint64_t meta = get64(im->super.meta_start), per = get32(im->super.cluster_groups);
	uint64_t group = p->offset / ADIT_BLOCK - meta - 2 * per; /* small groups: one block each */
	uint8_t *header = im->pool + (meta + group) * ADIT_BLOCK;
	le32 crc = put32(adit__crc32c(0, im->pool + p->offset, ADIT_BLOCK));

	memcpy(header + offsetof(struct adit_group_pm, seal), &crc, sizeof crc);
}

static void seal_record(uint8_t *p, uint64_t most)
{
	struct adit_record_pm r;
	uint64_t len;

	memcpy(&r, p, sizeof r);
	len = get16(r.flags) & ADIT_RECORD_PAD ? sizeof r : get32(r.len);
	if (len >= sizeof r && len <= most)
		seal(p, 4, len, get16(r.lane));
}

void image_mend(struct image *im, const struct part *part)
{
	uint8_t *p = im->pool + part->offset;
	struct adit_ckpt_pm *k = (struct adit_ckpt_pm *)p;
	struct adit_icluster_pm *c = (struct adit_icluster_pm *)p;

	switch (part->kind) {
	case PART_SUPER:
		seal(p, ADIT_SUPER_SEAL_FROM, ADIT_BLOCK, ADIT_MAGIC_SUPER);
		break;
	case PART_CKPT:
		seal(p, 16, 64 + 8ull * min_u64(get32(k->lanes), ADIT_LANES_MAX), ADIT_MAGIC_CKPT);
		break;
	case PART_ROOT:
		seal(p, ADIT_ROOT_SEAL_FROM, ADIT_BLOCK, ADIT_MAGIC_ROOT);
		break;
	case PART_GROUP:
		seal(p, ADIT_GROUP_SEAL_FROM, ADIT_GROUP_SEAL_TO, ADIT_MAGIC_GROUP);
		break;
	case PART_BITMAP:
		seal_bitmap(im, part);
		break;
	case PART_INODE:
	case PART_CLUSTER:
		seal(p, ADIT_INODE_SEAL_FROM, ADIT_INODE_BYTES, get32(c->magic));
		break;
	case PART_NODE:
		seal(p, ADIT_NODE_SEAL_FROM, ADIT_BLOCK, ADIT_MAGIC_NODE);
		break;
	case PART_RECORD:
		seal_record(p, IMAGE_BYTES - part->offset);
		break;
	default:
		break;
	}
}
