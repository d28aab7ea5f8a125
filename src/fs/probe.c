/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * probe.c - recognising what is on a medium, by the marks the usual formats carry at its beginning. Not
 * libblkid: a handful of marks is enough to ask "are you sure", and one dependency less.
 */
#include "fs/probe.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/format.h"

/* All marks below lie within this. */
#define HEAD_BYTES (128u << 10)

struct mark {
	uint32_t at;
	uint32_t len;
	const char *bytes;
	const char *what;
};

static const struct mark marks[] = {
	{4, 4, "ADIT", "an Adit pool"},
	{ADIT_SUPER_COPY * ADIT_BLOCK + 4, 4, "ADIT", "an Adit pool"},
	{1080, 2, "\x53\xef", "an ext2, ext3 or ext4 file system"},
	{0, 4, "XFSB", "an XFS file system"},
	{65600, 8, "_BHRfS_M", "a btrfs file system"},
	{4086, 10, "SWAPSPACE2", "swap space"},
	{4086, 10, "SWAP-SPACE", "swap space"},
	{54, 5, "FAT12", "a FAT file system"},
	{54, 5, "FAT16", "a FAT file system"},
	{82, 5, "FAT32", "a FAT file system"},
	{3, 8, "NTFS    ", "an NTFS file system"},
	{3, 8, "EXFAT   ", "an exFAT file system"},
	{0, 4, "hsqs", "a squashfs file system"},
	{32769, 5, "CD001", "an ISO 9660 file system"},
	{1024, 4, "\xe2\xe1\xf5\xe0", "an EROFS file system"},
	{1024, 4, "\x10\x20\xf5\xf2", "an F2FS file system"},
	{0, 6, "LUKS\xba\xbe", "a LUKS volume"},
	{536, 8, "LVM2 001", "an LVM2 volume"},
	{512, 8, "EFI PART", "a partition table"},
	{4096, 8, "EFI PART", "a partition table"},
	{510, 2, "\x55\xaa", "a boot sector or partition table"},
};

static const char *recognise(const uint8_t *head, size_t bytes)
{
	for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
		const struct mark *m = &marks[i];

		if (m->at + m->len <= bytes && memcmp(head + m->at, m->bytes, m->len) == 0)
			return m->what;
	}
	return NULL;
}

const char *adit__probe_memory(const void *base, uint64_t bytes)
{
	return recognise(base, bytes < HEAD_BYTES ? (size_t)bytes : HEAD_BYTES);
}

static bool all_zero(const uint8_t *p, size_t bytes)
{
	return bytes == 0 || (p[0] == 0 && memcmp(p, p + 1, bytes - 1) == 0);
}

const char *adit__probe_fd(int fd)
{
	uint8_t *head = malloc(HEAD_BYTES);
	const char *what;
	ssize_t n;

	if (head == NULL)
		return "something that there is no memory to look at";
	n = pread(fd, head, HEAD_BYTES, 0);
	if (n < 0)
		what = "something that cannot be read";
	else
		what = recognise(head, (size_t)n);
	if (what == NULL && !all_zero(head, (size_t)n))
		what = "a file with contents";
	free(head);
	return what;
}
