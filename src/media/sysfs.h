/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * sysfs.h - what sysfs knows about DAX devices, persistence domains and bad blocks.
 *
 * libndctl would tell the same; sysfs needs no library, and these files are kernel ABI. "Nothing known" is
 * never an error here: the answers are then 0, false, or no ranges.
 */
#ifndef ADIT_MEDIA_SYSFS_H
#define ADIT_MEDIA_SYSFS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "media/media.h"

bool adit__sysfs_is_dax(dev_t device);
uint64_t adit__sysfs_dax_size(dev_t device);
uint64_t adit__sysfs_dax_align(dev_t device);

/* Does the NVDIMM region under this character or block device say that CPU caches survive? */
bool adit__sysfs_caches_persist(bool is_char, dev_t device);

/* Bad ranges of a whole device-DAX device, or of a file on the block device `device`. As adit__media_bad_ranges. */
int adit__sysfs_bad_dax(dev_t device, uint64_t size_bytes, struct adit_bad_range *out, size_t max);
int adit__sysfs_bad_file(int fd, dev_t device, uint64_t size_bytes, struct adit_bad_range *out,
			 size_t max);

/*
 * A run of bad bytes [start, end) of a device, cut to what lies in [from, to) and moved so that `from`
 * becomes `offset`; false: nothing of it does. Apart for testing.
 */
bool adit__bad_clip(uint64_t start, uint64_t end, uint64_t from, uint64_t to, uint64_t offset,
		    struct adit_bad_range *out);

/* Next "sector count" line of a badblocks file's text, as bytes; false at the end. Apart for testing. */
bool adit__badblocks_next(const char **text, uint64_t *start, uint64_t *end);

#endif
