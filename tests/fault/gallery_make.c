/* SPDX-License-Identifier: BSD-3-Clause */
/* gallery_make.c - the pool of the gallery, and what its blocks are; see gallery.h. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/extent.h"
#include "core/inode.h"
#include "core/linux_abi.h"
#include "fs/pool.h"
#include "gallery.h"

static uint8_t bytes[1 << 20];

static void must(int64_t got, const char *what)
{
	if (got >= 0)
		return;
	fprintf(stderr, "gallery: %s: error %lld: %s\n", what, (long long)got, gallery.report);
	exit(2);
}

/* ---- contents ------------------------------------------------------------------------ */

static void put(struct adit_pool *pool, const char *path, uint64_t offset, size_t len)
{
	int fd = adit_openat(pool, AT_FDCWD, path, O_CREAT | O_WRONLY, 0644);

	must(fd, path);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)((i + offset) * 131 + strlen(path) * 7 +
				     (uint8_t)path[strlen(path) - 1] + (i >> 9));
	must(adit_pwrite(pool, fd, bytes, len, (off_t)offset), path);
	must(adit_close_fd(pool, fd), path);
}

static void many(struct adit_pool *pool, const char *dir, unsigned n)
{
	char path[200];

	must(adit_mkdir(pool, dir, 0755), dir);
	for (unsigned i = 0; i < n; i++) {
		snprintf(path, sizeof path, "%s/a-file-with-a-longer-name-%06u", dir, i);
		put(pool, path, 0, i % 5 == 0 ? 40 : 1 + i % 9 * 1000);
	}
	/* Slots and blocks that were freed. */
	for (unsigned i = 0; i < n; i += 7) {
		snprintf(path, sizeof path, "%s/a-file-with-a-longer-name-%06u", dir, i);
		must(adit_unlink(pool, path), path);
	}
}

static void attributes(struct adit_pool *pool, const char *path)
{
	char name[64];

	put(pool, path, 0, 100);
	for (unsigned i = 0; i < 60; i++) {
		snprintf(name, sizeof name, "user.attribute-%u", i);
		memset(bytes, (int)i, 3000);
		must(adit_setxattr(pool, path, name, bytes, i % 7 == 0 ? 3000 : 20 + i * 4, 0),
		     name);
	}
}

static void fill(struct adit_pool *pool)
{
	char path[200] = "/deep";
	int fd;

	many(pool, "/many", 300);
	many(pool, "/more", 60);
	must(adit_mkdir(pool, "/kinds", 0755), "kinds");
	for (unsigned i = 0; i < 400; i++)
		put(pool, "/kinds/holes", (uint64_t)i * 3 * ADIT_BLOCK, 1 + i * 7 % 4000);
	put(pool, "/kinds/few extents", 0, 10000);
	put(pool, "/kinds/few extents", 100 * ADIT_BLOCK, 5000);
	put(pool, "/kinds/large", 0, 900000);
	fd = adit_openat(pool, AT_FDCWD, "/kinds/reserved", O_CREAT | O_RDWR, 0600);
	must(fd, "reserved");
	must(adit_fallocate(pool, fd, 0, 0, 100000), "reserved");
	must(adit_close_fd(pool, fd), "reserved");
	must(adit_symlink(pool, "over/there", "/kinds/short link"), "link");
	memset(bytes, 'x', 900);
	bytes[900] = '\0';
	must(adit_symlink(pool, (char *)bytes, "/kinds/long link"), "link");
	must(adit_mknod(pool, "/kinds/fifo", S_IFIFO | 0600, 0), "fifo");
	must(adit_mknod(pool, "/kinds/null", S_IFCHR | 0666, 0x103), "null");
	must(adit_mkdir(pool, "/few", 0700), "few");
	attributes(pool, "/few/attributes");
	must(adit_link(pool, "/few/attributes", "/few/again"), "again");
	for (unsigned i = 0; i < 5; i++) {
		must(adit_mkdir(pool, path, 0755), path);
		strcat(path, "/file");
		put(pool, path, 0, 5000 * i + 50);
		path[strlen(path) - 5] = '\0';
		must(adit_setxattr(pool, path, "user.one", "1", 1, 0), path);
		strcat(path, "/d");
	}
}

/* ---- what there is ------------------------------------------------------------------------ */

static void remember(struct adit_pool *pool, const char *path, const struct gallery_file *up)
{
	struct gallery_file *f = &gallery.file[gallery.files++];
	struct stat st;

	if (gallery.files == GALLERY_FILES_MAX)
		abort();
	must(adit_lstat(pool, path, &st), path);
	if (up)
		*f = *up;
	snprintf(f->path, sizeof f->path, "%s", path);
	f->ino[f->depth++] = st.st_ino;
	f->mode = st.st_mode;
	f->size = (uint64_t)st.st_size;
}

/* gallery.file grows while it is walked: what is found in a directory comes behind it. */
static void walk(struct adit_pool *pool)
{
	static uint8_t list[1 << 17];

	remember(pool, "/", NULL);
	for (unsigned i = 0; i < gallery.files; i++) {
		struct gallery_file up = gallery.file[i];
		int64_t n;
		int fd;

		if (!S_ISDIR(up.mode))
			continue;
		fd = adit_openat(pool, AT_FDCWD, up.path, O_RDONLY | O_DIRECTORY, 0);
		must(fd, up.path);
		n = adit_getdents(pool, fd, list, sizeof list);
		must(n, up.path);
		for (int64_t at = 0; at < n;) {
			struct adit_dirent64 *d = (void *)(list + at);
			char path[500];

			at += d->d_reclen;
			snprintf(path, sizeof path, "%s/%s", up.depth == 1 ? "" : up.path,
				 d->d_name);
			if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
				remember(pool, path, &up);
		}
		must(adit_close_fd(pool, fd), up.path);
	}
}

/* ---- what the blocks are -------------------------------------------------------------------- */

static void set(uint64_t block, uint64_t n, enum place place, uint64_t owner)
{
	for (uint64_t b = block; b < block + n; b++) {
		gallery.place[b] = place;
		gallery.owner[b] = owner;
	}
}

static void fixed(struct adit_fs *fs)
{
	const struct adit_super_pm *s = &fs->super;

	set(0, 1, IN_SUPER, 0);
	set(ADIT_SUPER_COPY, 1, IN_SUPER_COPY, 0);
	set(get64(s->ckpt_start), 2, IN_CHECKPOINT, 0);
	set(get64(s->root_block), 1, IN_ROOT, 0);
	set(get64(s->root_copy), 1, IN_ROOT_COPY, 0);
	set(get64(s->intent_start), 1, IN_INTENTS, 0);
	set(get64(s->lane_start), (uint64_t)fs->lanes * get32(s->lane_blocks), IN_LANE, 0);
	set(get64(s->vol_start), get64(s->vol_blocks), IN_VOLATILE, 0);
	for (uint32_t g = 0; g < fs->groups; g++) {
		set(adit__group_header_block(fs, g), 1, IN_GROUP, 0);
		set(adit__group_replica_block(fs, g), 1, IN_GROUP_COPY, 0);
		set(adit__group_bitmap_block(fs, g), fs->bitmap_blocks, IN_BITMAP, 0);
		set(adit__offset_of(fs, adit__group_vol_bitmap(fs, g)) / ADIT_BLOCK,
		    fs->bitmap_blocks, IN_VOLATILE_BITMAP, 0);
		set(adit__offset_of(fs, adit__group_vol(fs, g)) / ADIT_BLOCK, 1, IN_VOLATILE_BITMAP,
		    0);
	}
}

static void extents(struct adit_fs *fs, const struct adit_inode_pm *ip, enum place place)
{
	uint64_t ino = get64(ip->ino), end = (get64(ip->size) + ADIT_BLOCK - 1) / ADIT_BLOCK;
	uint32_t fork = adit__inode_fork(ip);

	if (fork != ADIT_FORK_EXTENTS && fork != ADIT_FORK_TREE)
		return;
	for (uint64_t lb = 0; lb < end;) {
		struct adit_extent e;

		must(adit__extent_at(fs, NULL, ip, lb, &e), "extent");
		for (uint64_t i = 0; e.block != 0 && i < e.blocks; i++)
			set(e.block + i, 1, place,
			    place == IN_DATA ? ino : (lb + i) * (ADIT_BLOCK / ADIT_INODE_BYTES));
		lb += e.blocks;
	}
}

static bool is_used(struct adit_fs *fs, uint64_t block)
{
	uint64_t bitmap, word, seal;

	adit__bitmap_where(fs, block, &bitmap, &word, &seal);
	return *(uint8_t *)adit__at(fs, bitmap + block % fs->group_blocks / 8) >> block % 8 & 1;
}

static void classify(struct adit_fs *fs, uint64_t attributed)
{
	static const enum place of_type[] = {[ADIT_TREE_EXTENTS] = IN_EXTENT_NODE,
					     [ADIT_TREE_DIR] = IN_DIR_NODE,
					     [ADIT_TREE_XATTR] = IN_XATTR_NODE};

	for (uint64_t b = 0; b < gallery.blocks; b++) {
		const struct adit_node_pm *n = adit__block_at(fs, b);

		set(b, 1, is_used(fs, b) ? IN_XATTR_VALUE : IN_FREE, attributed);
		if (is_used(fs, b) && get32(n->magic) == ADIT_MAGIC_NODE && get64(n->block) == b)
			set(b, 1, of_type[n->type], get64(n->owner));
	}
	set(0, get64(fs->super.meta_start), IN_FREE, 0); /* what nobody uses */
	fixed(fs);
	extents(fs, &fs->root->itable, IN_INODES);
	for (uint64_t ino = ADIT_INO_ROOT; ino < get64(fs->root->next_ino); ino++) {
		const struct adit_inode_pm *ip;

		if (adit__inode_get(fs, ino, &ip) == 0 && !S_ISDIR(get32(ip->mode)))
			extents(fs, ip, IN_DATA);
	}
	for (uint64_t b = 0; b < gallery.blocks; b++)
		gallery.pages[gallery.place[b]]++;
}

void gallery_make(uint64_t size)
{
	struct adit_mkfs_options o = {.size_bytes = size, .lanes = 4, .group_bytes = 4 << 20};
	struct adit_pool *pool;
	struct stat st;

	gallery.bytes = size;
	gallery.blocks = size / ADIT_BLOCK;
	gallery.place = calloc(gallery.blocks, sizeof *gallery.place);
	gallery.owner = calloc(gallery.blocks, sizeof *gallery.owner);
	gallery.fd = memfd_create("gallery", MFD_CLOEXEC);
	must(adit_mkfs_fd(gallery.fd, &o), "mkfs");
	must(gallery_open(0, &pool), "open");
	adit_umask(pool, 0);
	fill(pool);
	must(adit_close(pool), "close");
	must(gallery_open(0, &pool), "open");
	walk(pool);
	must(adit_lstat(pool, "/few/attributes", &st), "attributes");
	gallery_learn(pool);
	classify(adit__pool_fs(pool), st.st_ino);
	must(adit_close(pool), "close");
	gallery.base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, gallery.fd, 0);
	if (gallery.base == MAP_FAILED)
		abort();
}
