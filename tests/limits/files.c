/* SPDX-License-Identifier: BSD-3-Clause */
/* files.c - positions, pieces and attributes of files; see limits.h. */
#include <linux/falloc.h>
#include <sys/xattr.h>

#include "limits.h"

#define LAST  INT64_MAX /* the size of the largest file */
#define BLOCK 4096ll
#define KEEP  FALLOC_FL_KEEP_SIZE
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static int falloc(int fd, int mode, off_t from, off_t len)
{
	return adit_fallocate(l.pool, fd, mode, from, len);
}

/* ---- offsets --------------------------------------------------------------------------------- */

/* As write(2), lseek(2), truncate(2) and fallocate(2) have it; tests/same compares the same with tmpfs. */
static void the_last_byte(int fd)
{
	int end = open_file("/last", O_WRONLY | O_APPEND);
	char c = 'x';

	SAME(adit_pwrite(l.pool, fd, "z", 1, LAST - 1), 1);
	SAME(size_of(fd), LAST);
	SAME(adit_pread(l.pool, fd, &c, 1, LAST - 1), 1);
	SAME(c, 'z');
	SAME(adit_pread(l.pool, fd, &c, 1, LAST), -EINVAL);
	SAME(adit_pwrite(l.pool, fd, "zz", 2, LAST - 1), -EINVAL);
	SAME(adit_pwrite(l.pool, fd, "z", 1, LAST), -EINVAL);
	SAME(adit_pwrite(l.pool, fd, "z", 0, LAST), 0);
	SAME(adit_write(l.pool, end, "z", 1), -EFBIG);
	SAME(adit_pwrite(l.pool, fd, "z", 1, -1), -EINVAL);
	SAME(adit_pwrite(l.pool, fd, "z", 1, INT64_MIN), -EINVAL);
	SAME(adit_lseek(l.pool, fd, LAST, SEEK_SET), LAST);
	SAME(adit_lseek(l.pool, fd, 1, SEEK_CUR), -EINVAL);
	SAME(adit_lseek(l.pool, fd, 1, SEEK_END), -EINVAL);
	SAME(adit_lseek(l.pool, fd, -LAST, SEEK_END), 0);
	SAME(adit_lseek(l.pool, fd, 0, SEEK_DATA), LAST & ~(BLOCK - 1));
	SAME(adit_lseek(l.pool, fd, LAST - 1, SEEK_DATA), LAST - 1);
	SAME(adit_lseek(l.pool, fd, LAST - 1, SEEK_HOLE), LAST);
	SAME(adit_lseek(l.pool, fd, LAST, SEEK_DATA), -ENXIO);
	SAME(adit_lseek(l.pool, fd, LAST, SEEK_HOLE), -ENXIO);
	close_file(end);
}

static void allocation_at_the_end(int fd)
{
	off_t last_block = LAST & ~(BLOCK - 1);

	SAME(falloc(fd, 0, LAST - 1, 1), 0);
	SAME(falloc(fd, 0, LAST, 1), -EFBIG);
	SAME(falloc(fd, 0, 1, LAST), -EFBIG);
	SAME(falloc(fd, KEEP, LAST - 10, 11), -EFBIG);
	SAME(falloc(fd, PUNCH, LAST, LAST), -EFBIG);
	SAME(falloc(fd, 0, 0, LAST), -ENOSPC);
	SAME(falloc(fd, 0, -1, 1), -EINVAL);
	SAME(falloc(fd, 0, 0, 0), -EINVAL);
	SAME(falloc(fd, 0, 0, -1), -EINVAL);
	SAME(falloc(fd, FALLOC_FL_INSERT_RANGE, 0, BLOCK), -EFBIG);
	SAME(falloc(fd, FALLOC_FL_COLLAPSE_RANGE, last_block, BLOCK), -EFBIG);
	SAME(falloc(fd, FALLOC_FL_COLLAPSE_RANGE, last_block - BLOCK, BLOCK), 0);
	SAME(size_of(fd), LAST - BLOCK);
	SAME(falloc(fd, FALLOC_FL_INSERT_RANGE, last_block - BLOCK, BLOCK), 0);
	SAME(size_of(fd), LAST);
	SAME(falloc(fd, FALLOC_FL_ZERO_RANGE, LAST - 5000, 5000), 0);
	SAME(falloc(fd, PUNCH, 0, LAST), 0);
	SAME(adit_lseek(l.pool, fd, 0, SEEK_DATA), -ENXIO);
	SAME(size_of(fd), LAST);
	SAME(blocks_of("/last"), 0);
}

/* 7 bytes across every power of two, from the first block to the last. */
static void every_power(int fd)
{
	char text[8], read[8];

	SAME(adit_ftruncate(l.pool, fd, 0), 0);
	for (int k = 3; k < 63; k++) {
		snprintf(text, sizeof text, "power%02d", k);
		SAME(adit_pwrite(l.pool, fd, text, 7, (1ll << k) - 3), 7);
		SAME(size_of(fd), (1ll << k) + 4);
	}
	for (int k = 12; k < 63; k++) {
		snprintf(text, sizeof text, "power%02d", k);
		SAME(adit_pread(l.pool, fd, read, 7, (1ll << k) - 3), 7);
		SAME(memcmp(text, read, 7), 0);
	}
	clean();
	reopen();
	fd = open_file("/last", O_RDWR);
	for (int k = 62; k > 13; k--) {
		snprintf(text, sizeof text, "power%02d", k);
		SAME(adit_ftruncate(l.pool, fd, 1ll << k), 0);
		SAME(adit_pread(l.pool, fd, read, 7, (1ll << k) - 3), 3);
		SAME(memcmp(text, read, 3), 0);
		SAME(falloc(fd, PUNCH, (1ll << k) - 4096, 1ll << k), 0);
		SAME(adit_pread(l.pool, fd, read, 3, (1ll << k) - 3), 3);
		SAME(memcmp(read, "\0\0\0", 3), 0);
	}
	clean();
	SAME(adit_ftruncate(l.pool, fd, 0), 0);
	SAME(blocks_of("/last"), 0);
	close_file(fd);
}

static void copies(int fd)
{
	int from = open_file("/from", O_CREAT | O_RDWR);
	off_t in = 0, at = LAST - 2;

	SAME(adit_write(l.pool, from, "abcd", 4), 4);
	SAME(adit_copy_file_range(l.pool, from, &in, fd, &at, SIZE_MAX, 0), -EOVERFLOW);
	in = 0, at = LAST;
	SAME(adit_copy_file_range(l.pool, from, &in, fd, &at, 0, 0), -EFBIG);
	in = 2, at = LAST - 2;
	SAME(adit_copy_file_range(l.pool, from, &in, fd, &at, 2, 0), 2);
	SAME(at, LAST);
	SAME(size_of(fd), LAST);
	close_file(from);
}

void test_offsets(void)
{
	int fd = open_file("/last", O_CREAT | O_RDWR);

	SAME(adit_ftruncate(l.pool, fd, LAST), 0);
	SAME(size_of(fd), LAST);
	SAME(adit_ftruncate(l.pool, fd, -1), -EINVAL);
	SAME(adit_ftruncate(l.pool, fd, INT64_MIN), -EINVAL);
	SAME(adit_truncate(l.pool, "/last", 0), 0);
	the_last_byte(fd);
	clean();
	allocation_at_the_end(fd);
	clean();
	copies(fd);
	every_power(fd);
}

/* ---- fragments ------------------------------------------------------------------------------- */

/* Piece i holds its number; a block and a hole each. */
static off_t place_of(uint64_t i)
{
	return (off_t)i * 2 * BLOCK;
}

static void piece_is(int fd, off_t at, uint64_t want)
{
	uint64_t have = ~0ull;

	SAME(adit_pread(l.pool, fd, &have, sizeof have, at), sizeof have);
	SAME(have, want);
}

static void some_pieces_are(int fd, uint64_t from, uint64_t to, off_t moved)
{
	for (unsigned i = 0; i < 200 && from < to; i++) {
		uint64_t k = i == 0 ? from : i == 1 ? to - 1 : from + chance(to - from);

		piece_is(fd, place_of(k) + moved, k + 1);
		SAME(adit_lseek(l.pool, fd, place_of(k) + moved, SEEK_HOLE),
		     place_of(k) + moved + BLOCK);
	}
}

void test_fragments(void)
{
	uint64_t n = 100000, k;
	int fd = open_file("/pieces", O_CREAT | O_RDWR);
	uint64_t free_before = accounted();

	for (uint64_t i = 0; i < n; i++) {
		k = i + 1;
		if (adit_pwrite(l.pool, fd, &k, sizeof k, place_of(i)) != sizeof k)
			wrong(__FILE__, __LINE__, "piece %llu cannot be written",
			      (unsigned long long)i);
	}
	SAME(adit_ftruncate(l.pool, fd, place_of(n)), 0);
	TRUE(blocks_of("/pieces") >= n);
	some_pieces_are(fd, 0, n, 0);
	clean();
	/* The first thousand go, all others move; and back again. */
	SAME(falloc(fd, FALLOC_FL_COLLAPSE_RANGE, 0, place_of(1000)), 0);
	SAME(size_of(fd), place_of(n - 1000));
	some_pieces_are(fd, 1000, n, -place_of(1000));
	SAME(falloc(fd, FALLOC_FL_INSERT_RANGE, 0, place_of(1000)), 0);
	some_pieces_are(fd, 1000, n, 0);
	SAME(adit_lseek(l.pool, fd, 0, SEEK_DATA), place_of(1000));
	/* One block in the middle, that everything behind it makes room for. */
	SAME(falloc(fd, FALLOC_FL_INSERT_RANGE, place_of(n / 2), BLOCK), 0);
	some_pieces_are(fd, 1000, n / 2, 0);
	some_pieces_are(fd, n / 2, n, BLOCK);
	clean();
	SAME(falloc(fd, FALLOC_FL_COLLAPSE_RANGE, place_of(n / 2), BLOCK), 0);
	SAME(falloc(fd, PUNCH, place_of(n / 3), place_of(n / 3)), 0);
	some_pieces_are(fd, 1000, n / 3, 0);
	some_pieces_are(fd, n / 3 * 2, n, 0);
	SAME(adit_lseek(l.pool, fd, place_of(n / 3), SEEK_DATA), place_of(n / 3 * 2));
	clean();
	SAME(falloc(fd, FALLOC_FL_ZERO_RANGE, place_of(2000), place_of(1000)), 0);
	piece_is(fd, place_of(2500), 0);
	some_pieces_are(fd, 3000, n / 3, 0);
	SAME(adit_ftruncate(l.pool, fd, place_of(n / 4) + 8), 0);
	piece_is(fd, place_of(n / 4), n / 4 + 1);
	clean();
	SAME(adit_ftruncate(l.pool, fd, 0), 0);
	SAME(blocks_of("/pieces"), 0);
	SAME(accounted(), free_before);
	close_file(fd);
}

/* ---- extended attributes --------------------------------------------------------------------- */

static void value_and_name(void)
{
	static char value[65537], got[65537];
	char name[300] = "user.";

	memset(value, 'v', sizeof value);
	value[65535] = 'w';
	SAME(adit_setxattr(l.pool, "/f", "user.value", value, 65536, 0), 0);
	SAME(adit_getxattr(l.pool, "/f", "user.value", got, sizeof got), 65536);
	SAME(memcmp(value, got, 65536), 0);
	SAME(adit_getxattr(l.pool, "/f", "user.value", NULL, 0), 65536);
	SAME(adit_getxattr(l.pool, "/f", "user.value", got, 65535), -ERANGE);
	SAME(adit_setxattr(l.pool, "/f", "user.value", value, 65537, 0), -E2BIG);
	SAME(adit_setxattr(l.pool, "/f", "user.value", value, 0, XATTR_REPLACE), 0);
	SAME(adit_getxattr(l.pool, "/f", "user.value", got, sizeof got), 0);
	SAME(adit_setxattr(l.pool, "/f", "user.value", value, 1, XATTR_CREATE), -EEXIST);
	SAME(adit_setxattr(l.pool, "/f", "user.none", value, 1, XATTR_REPLACE), -ENODATA);
	/* Every length of a name, with every byte in it. */
	for (unsigned len = 6; len <= 256; len++) {
		for (unsigned i = 5; i < len; i++)
			name[i] = (char)(1 + (i * 7 + len) % 255);
		name[len] = '\0';
		SAME(adit_setxattr(l.pool, "/f", name, value, len, 0), len <= 255 ? 0 : -ERANGE);
		SAME(adit_getxattr(l.pool, "/f", name, got, sizeof got),
		     len <= 255 ? (int)len : -ERANGE);
	}
	SAME(adit_setxattr(l.pool, "/f", "user.", value, 1, 0), -EINVAL);
	SAME(adit_setxattr(l.pool, "/f", "", value, 1, 0), -ERANGE);
	SAME(adit_setxattr(l.pool, "/f", "nobody.a", value, 1, 0), -EOPNOTSUPP);
	clean();
}

/* There is no limit to their number but space. */
static void very_many(uint64_t n)
{
	char name[40], value[40], got[40];
	ssize_t list;

	for (uint64_t i = 0; i < n; i++) {
		snprintf(name, sizeof name, "user.attribute-%llu", (unsigned long long)i);
		snprintf(value, sizeof value, "%llu", (unsigned long long)i * i);
		SAME(adit_setxattr(l.pool, "/many", name, value, strlen(value), 0), 0);
	}
	clean();
	list = adit_listxattr(l.pool, "/many", NULL, 0);
	TRUE(list > (ssize_t)(n * 17));
	for (unsigned i = 0; i < 500; i++) {
		uint64_t k = chance(n);

		snprintf(name, sizeof name, "user.attribute-%llu", (unsigned long long)k);
		snprintf(value, sizeof value, "%llu", (unsigned long long)k * k);
		SAME(adit_getxattr(l.pool, "/many", name, got, sizeof got), strlen(value));
		SAME(memcmp(value, got, strlen(value)), 0);
	}
	for (uint64_t i = 0; i < n; i++) {
		snprintf(name, sizeof name, "user.attribute-%llu", (unsigned long long)(i * 7 % n));
		SAME(adit_removexattr(l.pool, "/many", name), 0);
	}
	SAME(adit_listxattr(l.pool, "/many", NULL, 0), 0);
}

void test_xattrs(void)
{
	close_file(open_file("/f", O_CREAT | O_RDWR));
	close_file(open_file("/many", O_CREAT | O_RDWR));
	value_and_name();
	very_many(l.soak ? 100003 : 10007);
}
