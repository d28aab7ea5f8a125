/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Constants of Linux's system-call interface that the core needs, with their
 * ABI values, so that the same files compile with and without libc's headers.
 */
#ifndef ADIT_CORE_LINUX_ABI_H
#define ADIT_CORE_LINUX_ABI_H

#include <errno.h>

#ifndef EUCLEAN
#define EUCLEAN 117
#endif

#ifndef S_IFMT
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFLNK 0120000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFIFO 0010000
#define S_ISUID 0004000
#define S_ISGID 0002000
#define S_ISVTX 0001000
#endif

#define ADIT_S_TYPE(mode) ((mode) & 0170000u)
#define ADIT_S_ISREG(mode) (ADIT_S_TYPE(mode) == 0100000u)
#define ADIT_S_ISDIR(mode) (ADIT_S_TYPE(mode) == 0040000u)
#define ADIT_S_ISLNK(mode) (ADIT_S_TYPE(mode) == 0120000u)
/* DT_* of a mode, as readdir(3) has it. */
#define ADIT_DT_OF(mode) ((uint8_t)(ADIT_S_TYPE(mode) >> 12))

#ifndef FALLOC_FL_KEEP_SIZE
#define FALLOC_FL_KEEP_SIZE 0x01
#define FALLOC_FL_PUNCH_HOLE 0x02
#define FALLOC_FL_COLLAPSE_RANGE 0x08
#define FALLOC_FL_ZERO_RANGE 0x10
#define FALLOC_FL_INSERT_RANGE 0x20
#define FALLOC_FL_UNSHARE_RANGE 0x40
#endif

#ifndef SEEK_DATA
#define SEEK_DATA 3
#define SEEK_HOLE 4
#endif

#endif
