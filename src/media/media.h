/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * media.h - opening a pool's medium: mapping, persistence domain, locks, bad ranges.
 *
 * Neighbours: pmem.h (stores, flushes and fences on the mapping), sigbus.h (poison and truncated
 * files), protect.h (stray stores), flush.h (the instructions). All functions return 0 or -errno.
 */
#ifndef ADIT_MEDIA_MEDIA_H
#define ADIT_MEDIA_MEDIA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "media/pmem.h"
#include "media/protect.h"

/* How far a flush and a fence carry: docs/design.md, "Media and persistence domains". */
enum adit_domain {
	ADIT_DOMAIN_AUTO = 0,
	ADIT_DOMAIN_CPU_CACHE, /* eADR, CXL GPF: caches survive power failure; fence only */
	ADIT_DOMAIN_MEMORY,    /* ADR: flush the lines and fence */
	ADIT_DOMAIN_FILE,      /* page cache: msync */
	ADIT_DOMAIN_PROCESS,   /* survives processes, not power */
};

/* Stores go to private pages and never to the medium. A device cannot be mapped privately: there
 * they do reach it, so recovery happens in place, as ext4 replays its journal when mounted
 * read-only. */
#define ADIT_MEDIA_RDONLY 0x1u
#define ADIT_MEDIA_CREATE 0x2u /* create, or reuse what exists, and set the size */
#define ADIT_MEDIA_EXCL	  0x4u /* with CREATE: -EEXIST when there is one */
#define ADIT_MEDIA_ALLOC  0x8u /* with CREATE: allocate all of it now, not sparse */

struct adit_flush_variant;
struct adit_counts; /* share/counts.h */

struct adit_media {
	struct adit_pm pm; /* pm.priv points back here: do not copy a medium */
	int fd;
	enum adit_domain domain;
	bool assumed; /* domain was told, not found */
	bool read_only;
	bool map_sync;		/* mapped with MAP_SYNC */
	bool is_device;		/* device DAX */
	char kind[32];		/* tmpfs hugetlbfs memfd fsdax devdax file */
	size_t page_size;	/* of the mapping's pages; a huge page on hugetlbfs */
	uint64_t map_bytes;	/* mapped: size_bytes rounded up to page_size; grows, read by anybody */
	uint64_t room_bytes;	/* of address space, what is mapped included: how far it may grow in place */
	int map_prot, map_flags; /* of what is mapped when it grows */
	const char *flush_name; /* clwb clflushopt clflush "dc cvap" msync none ... */
	const struct adit_flush_variant *variant; /* set at open; a test may set another */
	uint64_t notes_id;			  /* file domain, flush.c */
	unsigned notes_slot;
	enum adit_protection protection; /* protect.h; the rest of it with mprotect only: */
	unsigned inside;		 /* frames that may store */
	int inside_process;		 /* of which process */
	uint64_t windows;		 /* how often one began to */
	/* counts.h.  No two media ever have the same number; 0: not counted. */
	uint64_t counts_id;
	struct adit_counts *counts;
	uint64_t *(*counts_find)(struct adit_media *, uint64_t id); /* of a thread that has counted elsewhere */
};

/*
 * Open and map. `size_bytes` is used with CREATE only (the file is made sparse; a device's size is
 * its own, and -ENOSPC says it is smaller). `assume` overrides the domain; when it is AUTO, the
 * environment variable ADIT_ASSUME=cpu-cache|memory|file|process does; else it is found out.
 * On failure *m holds nothing.
 *
 * With open_fd the medium takes over `fd` on success, and only then; CREATE then only sets the size.
 *
 * -EINVAL not a mappable file, its size is 0, or ADIT_ASSUME is no such name; -EACCES, -ENOENT, ...
 * as open(2); -ENOSPC;
 * -EOPNOTSUPP the memory domain on an architecture whose flush we do not know.
 */
int adit__media_open(struct adit_media *m, const char *path, unsigned flags, uint64_t size_bytes,
		     enum adit_domain assume);
int adit__media_open_fd(struct adit_media *m, int fd, unsigned flags, uint64_t size_bytes,
			enum adit_domain assume);
void adit__media_close(struct adit_media *m);

/*
 * Growing. The mapping stays where it is: address space is reserved behind it when the medium is opened (sixteen times
 * the size, at least 64 GiB, at most 16 TiB, as far as there is any; nothing under RLIMIT_AS). adit__media_grow makes
 * the medium, not the mapping, size_bytes long, durably, and says from where on it reads as zeros; it never shortens
 * one. -ENOSPC: a device that is smaller; -EFBIG and others as ftruncate(2). adit__media_extend maps, and counts as
 * m->pm.size_bytes, what has been added. -ENOMEM: beyond room_bytes. One caller at a time; readers may go on.
 */
int adit__media_size(const struct adit_media *m, uint64_t *size_bytes);
int adit__media_grow(struct adit_media *m, uint64_t size_bytes, uint64_t *zero_from);
int adit__media_extend(struct adit_media *m, uint64_t size_bytes);

/*
 * An open-file-description lock on a byte range of the medium, never waiting. It belongs to m->fd:
 * it goes when the last duplicate of that descriptor is closed, in whatever process. -EBUSY: taken.
 * A shared lock needs a readable, an exclusive one a writable descriptor. len 0: to the end.
 */
int adit__media_lock(struct adit_media *m, bool exclusive, uint64_t offset, uint64_t len_bytes);
/* As above on another descriptor: a participant's own description, see adit__media_reopen. */
int adit__fd_lock(int fd, bool exclusive, uint64_t offset, uint64_t len_bytes);
int adit__fd_unlock(int fd, uint64_t offset, uint64_t len_bytes);
int adit__fd_lock_probe(int fd, bool exclusive, uint64_t offset, uint64_t len_bytes);
int adit__media_unlock(struct adit_media *m, uint64_t offset, uint64_t len_bytes);
/* Would such a lock be refused? 0 free, -EBUSY taken by another description, else -errno. */
int adit__media_lock_probe(struct adit_media *m, bool exclusive, uint64_t offset,
			   uint64_t len_bytes);

/*
 * A new open file description of the same medium (works for unlinked files and memfds too), close-on-exec:
 * its locks are its own, apart from m->fd's. Returns the descriptor or -errno.
 */
int adit__media_reopen(const struct adit_media *m);

/*
 * The address of pool offset `offset`, and how many bytes from there are contiguous (may be less than
 * len_bytes, never more). -ERANGE: beyond the end.
 */
int adit__media_direct_access(struct adit_media *m, uint64_t offset, uint64_t len_bytes,
			      void **addr, uint64_t *contiguous);

/* Ranges of the pool known to be poisoned. Returns how many there are (at most max are stored), or -errno. */
struct adit_bad_range {
	uint64_t offset;
	uint64_t len_bytes;
};
int adit__media_bad_ranges(struct adit_media *m, struct adit_bad_range *out, size_t max);

/* 0, or the -errno of the first write-back that failed. Sticky: what was noted then may be lost. */
int adit__media_error(struct adit_media *m);

const char *adit__domain_name(enum adit_domain domain);		 /* "cpu-cache", ... */
int adit__domain_parse(const char *name, enum adit_domain *out); /* -EINVAL */

#endif
