/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * sysfs.c - see sysfs.h.
 */
#include "media/sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SECTOR_BYTES 512u

/* --- reading ----------------------------------------------------------------------------- */

/* Contents of dir/name with a NUL, without a final newline. Length or -errno. */
static ssize_t read_text(const char *dir, const char *name, char *buf, size_t size)
{
	char path[PATH_MAX];
	size_t used = 0;
	ssize_t n;
	int fd;

	if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (used < size - 1 && (n = read(fd, buf + used, size - 1 - used)) > 0)
		used += (size_t)n;
	close(fd);
	if (used > 0 && buf[used - 1] == '\n')
		used--;
	buf[used] = '\0';
	return (ssize_t)used;
}

static bool read_number(const char *dir, const char *name, uint64_t *out)
{
	char text[64], *end;

	if (read_text(dir, name, text, sizeof text) <= 0)
		return false;
	errno = 0;
	*out = strtoull(text, &end, 0);
	return errno == 0 && end != text;
}

/* The device's directory, links resolved: /sys/devices/.../regionN/... for NVDIMMs. */
static bool device_dir(bool is_char, dev_t device, char out[PATH_MAX])
{
	char link[64];

	snprintf(link, sizeof link, "/sys/dev/%s/%u:%u", is_char ? "char" : "block", major(device),
		 minor(device));
	return realpath(link, out) != NULL;
}

/* Shorten `dir` to the nearest directory above (or at) it that has a file `name`. */
static bool climb_to(char *dir, const char *name)
{
	char path[PATH_MAX], *slash;

	while (strlen(dir) > strlen("/sys/devices")) {
		if (snprintf(path, sizeof path, "%s/%s", dir, name) < (int)sizeof path &&
		    access(path, R_OK) == 0)
			return true;
		slash = strrchr(dir, '/'); /* dir is absolute */
		*slash = '\0';
	}
	return false;
}

/* --- device DAX and domains -------------------------------------------------------------- */

bool adit__sysfs_is_dax(dev_t device)
{
	char dir[PATH_MAX], path[PATH_MAX + 16], target[PATH_MAX], *name;

	if (!device_dir(true, device, dir))
		return false;
	snprintf(path, sizeof path, "%s/subsystem", dir);
	if (realpath(path, target) == NULL)
		return false;
	name = strrchr(target, '/'); /* there is one: the path is absolute */
	return strcmp(name, "/dax") == 0;
}

uint64_t adit__sysfs_dax_size(dev_t device)
{
	char dir[PATH_MAX];
	uint64_t size = 0;

	return device_dir(true, device, dir) && read_number(dir, "size", &size) ? size : 0;
}

uint64_t adit__sysfs_dax_align(dev_t device)
{
	char dir[PATH_MAX];
	uint64_t align = 0;

	if (!device_dir(true, device, dir))
		return 0;
	/* Linux 5.10 and later; before, and still, the instance above has one. */
	if (read_number(dir, "align", &align))
		return align;
	return climb_to(dir, "align") && read_number(dir, "align", &align) ? align : 0;
}

bool adit__sysfs_caches_persist(bool is_char, dev_t device)
{
	char dir[PATH_MAX], text[64];

	return device_dir(is_char, device, dir) && climb_to(dir, "persistence_domain") &&
	       read_text(dir, "persistence_domain", text, sizeof text) > 0 &&
	       strcmp(text, "cpu_cache") == 0;
}

/* --- bad blocks -------------------------------------------------------------------------- */

bool adit__bad_clip(uint64_t start, uint64_t end, uint64_t from, uint64_t to, uint64_t offset,
		    struct adit_bad_range *out)
{
	if (start < from)
		start = from;
	if (end > to)
		end = to;
	if (start >= end)
		return false;
	out->offset = offset + (start - from);
	out->len_bytes = end - start;
	return true;
}

bool adit__badblocks_next(const char **text, uint64_t *start, uint64_t *end)
{
	char *after;
	uint64_t sector, count;

	sector = strtoull(*text, &after, 10);
	if (after == *text)
		return false;
	*text = after;
	count = strtoull(*text, &after, 10);
	if (after == *text)
		return false;
	*text = after;
	if (count == 0 || sector > UINT64_MAX / SECTOR_BYTES - count)
		return false;
	*start = sector * SECTOR_BYTES;
	*end = (sector + count) * SECTOR_BYTES;
	return true;
}

struct collector {
	struct adit_bad_range *out;
	size_t max;
	int count;
};

static void collect(struct collector *c, const char *text, uint64_t from, uint64_t to,
		    uint64_t offset)
{
	uint64_t start, end;
	struct adit_bad_range range;

	while (adit__badblocks_next(&text, &start, &end)) {
		if (!adit__bad_clip(start, end, from, to, offset, &range))
			continue;
		if ((size_t)c->count < c->max)
			c->out[c->count] = range;
		if (c->count < INT_MAX)
			c->count++;
	}
}

int adit__sysfs_bad_dax(dev_t device, uint64_t size_bytes, struct adit_bad_range *out, size_t max)
{
	struct collector c = {.out = out, .max = max};
	char dir[PATH_MAX], text[4096];
	uint64_t dax_at = 0, region_at = 0, from = 0;

	if (!device_dir(true, device, dir))
		return 0;
	if (!read_number(dir, "resource", &dax_at))
		return 0; /* its place is shown to root only, and without it we know nothing */
	if (!climb_to(dir, "badblocks") || read_text(dir, "badblocks", text, sizeof text) <= 0)
		return 0;
	if (!read_number(dir, "resource", &region_at) || dax_at < region_at)
		return 0;
	from = dax_at - region_at;
	collect(&c, text, from, from + size_bytes, 0);
	return c.count;
}

/* Calls collect for every extent of the file. */
static int collect_extents(struct collector *c, int fd, const char *text, uint64_t part_at,
			   uint64_t size_bytes)
{
	enum { BATCH = 64 };
	union {
		struct fiemap map;
		uint8_t room[sizeof(struct fiemap) + BATCH * sizeof(struct fiemap_extent)];
	} u;
	uint64_t at = 0;

	while (at < size_bytes) {
		memset(&u, 0, sizeof u.map);
		u.map.fm_start = at;
		u.map.fm_length = size_bytes - at;
		u.map.fm_extent_count = BATCH;
		if (ioctl(fd, FS_IOC_FIEMAP, &u.map) != 0)
			return errno == EOPNOTSUPP || errno == ENOTTY ? 0 : -errno;
		if (u.map.fm_mapped_extents == 0)
			return 0;
		for (unsigned i = 0; i < u.map.fm_mapped_extents; i++) {
			const struct fiemap_extent *e = &u.map.fm_extents[i];
			uint64_t from = e->fe_physical + part_at;

			if (!(e->fe_flags & FIEMAP_EXTENT_UNKNOWN))
				collect(c, text, from, from + e->fe_length, e->fe_logical);
			if (e->fe_flags & FIEMAP_EXTENT_LAST)
				return 0;
			at = e->fe_logical + e->fe_length;
		}
	}
	return 0;
}

int adit__sysfs_bad_file(int fd, dev_t device, uint64_t size_bytes, struct adit_bad_range *out,
			 size_t max)
{
	struct collector c = {.out = out, .max = max};
	char dir[PATH_MAX], text[4096];
	uint64_t part_sector = 0;
	int rc;

	if (!device_dir(false, device, dir))
		return 0;
	read_number(dir, "start", &part_sector); /* a partition's place on its disk */
	if (!climb_to(dir, "badblocks") || read_text(dir, "badblocks", text, sizeof text) <= 0)
		return 0;
	rc = collect_extents(&c, fd, text, part_sector * SECTOR_BYTES, size_bytes);
	return rc != 0 ? rc : c.count;
}
