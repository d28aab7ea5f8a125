/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * probe.h - is there something on this medium that somebody may miss?
 */
#ifndef ADIT_FS_PROBE_H
#define ADIT_FS_PROBE_H

#include <stddef.h>
#include <stdint.h>

/* What is there, in words ("an ext2, ext3 or ext4 file system"), or NULL. In the first, the contents of a
 * regular file count even when they are not recognised. */
const char *adit__probe_fd(int fd);
const char *adit__probe_memory(const void *base, uint64_t bytes);

#endif
