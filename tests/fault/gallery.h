/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gallery.h - a pool with something of everything, made once through the public interface; what each of its
 * pages holds and what each of its files reads like; and private copies of it to spoil.
 *
 * The library maps the pool where the gallery says (mmap is wrapped by the linker): a private mapping of
 * the image that outlives the handle, so that a pool can be closed or abandoned, and opened again as it was
 * left. A spoiled page is one behind the end of a file: touching it is SIGBUS, as with poisoned memory.
 */
#ifndef ADIT_TEST_GALLERY_H
#define ADIT_TEST_GALLERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "adit/adit.h"

#define GALLERY_FILES_MAX 1024
#define GALLERY_DEPTH	  8

/* What a block of the image is. */
enum place {
	IN_SUPER,
	IN_SUPER_COPY,
	IN_CHECKPOINT,
	IN_ROOT,
	IN_ROOT_COPY,
	IN_INTENTS,
	IN_LANE,
	IN_VOLATILE,
	IN_GROUP,
	IN_GROUP_COPY,
	IN_BITMAP,
	IN_VOLATILE_BITMAP,
	IN_INODES,
	IN_DIR_NODE,
	IN_EXTENT_NODE,
	IN_XATTR_NODE,
	IN_XATTR_VALUE,
	IN_DATA,
	IN_FREE,
	PLACES
};
extern const char *const gallery_place_name[PLACES];

struct gallery_file {
	char path[200];
	uint32_t mode;
	uint64_t size;
	uint32_t contents, attributes; /* checksums */
	uint64_t ino[GALLERY_DEPTH];   /* from the root down to itself */
	unsigned depth;
	bool changed; /* by the case under way: not compared */
};

struct gallery {
	uint8_t *base;
	uint64_t bytes, blocks;
	int fd;	  /* the image */
	int uffd; /* 0: pages are spoiled by mapping */
	struct gallery_file file[GALLERY_FILES_MAX];
	unsigned files;
	enum place *place; /* by block */
	uint64_t *owner;   /* inode number; of a block of the inode table: its first inode */
	unsigned reports;  /* of the handle under way */
	char report[512];  /* the last */
	uint64_t pages[PLACES];
};
extern struct gallery gallery;

void gallery_make(uint64_t bytes);
/* Its part: checksums, by reading once with nothing spoiled. */
void gallery_learn(struct adit_pool *);
/* As it was made; nothing spoiled. */
void gallery_reset(void);
/* From now on the gallery starts from what the copy holds: a pool that was not closed. */
void gallery_keep(void);
void gallery_spoil(uint64_t block);
/* From now on by the kernel's own poison marks (UFFDIO_POISON, Linux 6.6), which an access meets as it meets
 * poisoned memory. False: not here. */
bool gallery_kernel_poison(void);
/* A good page again, of zeros. */
void gallery_heal(uint64_t block);
int gallery_open(unsigned flags, struct adit_pool **);
/* As a kill leaves it. */
void gallery_abandon(struct adit_pool *);

/* May the file be lost with this block? */
bool gallery_shadow(const struct gallery_file *, uint64_t block);

struct gallery_verdict {
	unsigned equal, failed;
	unsigned
		wrong; /* reads differently, or fails though nothing of it was hit, or with another error */
	char first[400];
};
/* Everything is read and compared; hit: the spoiled blocks. */
void gallery_verify(struct adit_pool *, const uint64_t *hit, unsigned nhit,
		    struct gallery_verdict *);
bool gallery_error_is_right(int64_t error);

/* -n (repair: -y) on the copy as it is: adit__check_media behind a guard, as the command does it. left: how many
 * findings stay. ADIT_SAY=1 prints them. */
int gallery_check(bool repair, uint64_t *left);

#endif
