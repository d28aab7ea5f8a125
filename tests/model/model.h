/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * model.h - a small file system in memory, obviously right: what the core is compared with.
 *
 * It knows no blocks to run out of, no log, no locks; nodes are numbers in an array, contents are
 * 4 KiB pages by number, directories are sorted arrays. Limits of Linux and of Adit are here once
 * more, written down from the manual pages and not from the core.
 *
 * A model can be cloned cheaply (pages and values are shared and counted): one clone a moment that
 * a crash may go back to.
 */
#ifndef ADIT_TEST_MODEL_H
#define ADIT_TEST_MODEL_H

#include "op.h"

#define MODEL_PAGE 4096u
#define MODEL_SLOTS 8
#define MODEL_INLINE 112u /* files this small may live in their inode */
#define MODEL_SIZE_MAX INT64_MAX
/* iflags, as the inode has them */
#define MODEL_ATOMIC (1u << 9)
#define MODEL_IMMUTABLE (1u << 10)
#define MODEL_APPEND_ONLY (1u << 11)

/* Bytes that several clones share. */
struct model_bytes {
	int refs;
	uint32_t len;
	uint8_t b[];
};

enum model_state {
	MODEL_HOLE, /* never in the array */
	MODEL_UNWRITTEN,
	MODEL_WRITTEN,
	MODEL_EITHER, /* zeros, and seeking may call it data or a hole */
};
struct model_block {
	uint64_t index;
	enum model_state state;
	struct model_bytes *page; /* NULL: zeros */
};
struct model_xattr {
	char name[256];
	struct model_bytes *value;
};
struct model_dirent {
	uint16_t len;
	char name[256];
	uint32_t node;
};

struct model_node {
	bool used;
	uint32_t mode, uid, gid, nlink, iflags;
	uint64_t rdev, size;
	int64_t mtime, ctime, atime, btime;
	uint32_t parent; /* of a directory */
	unsigned holds;
	struct model_bytes *target; /* of a symbolic link */
	/* Sorted by index, name, name. */
	struct model_block *block;
	struct model_xattr *xattr;
	struct model_dirent *entry;
	uint32_t blocks, xattrs, entries;
};

#define MODEL_ROOT 0u
#define MODEL_NONE UINT32_MAX

struct model {
	struct model_node *node;
	uint32_t nodes, used;
	uint32_t slot[MODEL_SLOTS];
	bool linkable[MODEL_SLOTS]; /* of O_TMPFILE, and not named yet */
	int64_t number;	  /* of the operation */
	int64_t now;	  /* its time */
	uint64_t version; /* rises with every change */
	bool idle;	  /* the last operation had nothing to do */
};

void model_init(struct model *, uint32_t root_mode);
void model_finish(struct model *);
void model_clone(struct model *to, const struct model *from);
/* What a restart leaves: nothing is open, what had no name is gone. */
void model_restart(struct model *);

/* The operation's result: 0, bytes, or -errno. */
int64_t model_apply(struct model *, const struct op *, int64_t number);
/* An overwrite in place: a crash may leave each word of the range, whole, old or new; of words that
 * are only in part in the range, each byte. node is MODEL_NONE where nothing may tear. */
struct model_torn {
	uint32_t node;
	uint64_t from, to;
};
/* Before the call. */
struct model_torn model_may_tear(const struct model *, const struct op *);

/* 0 and the node, or -errno. */
int model_resolve(const struct model *, const char *path, uint32_t *node);
/* MODEL_NONE when it is not there. */
uint32_t model_child(const struct model_node *dir, const char *name, size_t len);
enum model_state model_state_at(const struct model_node *, uint64_t index);
/* NULL: zeros. */
const struct model_bytes *model_page_at(const struct model_node *, uint64_t index);
void model_read(const struct model_node *, uint64_t pos, void *to, size_t len);

/* model_attr.c */
int model_setattr(struct model *, const struct op *);
int model_setxattr(struct model *, const struct op *);
int model_rmxattr(struct model *, const struct op *);

/* model_data.c */
void model_write(struct model_node *, uint64_t pos, uint64_t len, uint64_t seed, uint64_t shift);
void model_truncate(struct model_node *, uint64_t size);
int model_fallocate(struct model_node *, int mode, uint64_t from, uint64_t len, int64_t now);
void model_drop_contents(struct model_node *);
struct model_bytes *model_bytes_make(uint32_t len);
void model_bytes_drop(struct model_bytes *);

#endif
