/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ops.h - what the demo's writer does, and what must be there afterwards.
 *
 * Operation i follows from the seed, i, and the state that the operations before it made. So writer and
 * verifier need to agree on nothing but the seed and a number: the verifier makes the same operations
 * on a model in memory, as many as were acknowledged, and compares.
 *
 * The model: DIRS directories below one base directory (the first is that directory itself), NAMES
 * places for a name in each, holding files (with several names, perhaps) and symbolic links.
 */
#ifndef ADIT_DEMO_OPS_H
#define ADIT_DEMO_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <adit/adit.h>

#define DIRS	   6u
#define NAMES	   20u
#define FILE_MAX   ((uint64_t)1 << 20) /* bytes of a file */
#define TOTAL_MAX  ((uint64_t)6 << 20) /* bytes of all files */
#define TARGET_MAX 24u

enum op_kind {
	OP_CREATE,
	OP_APPEND,
	OP_OVERWRITE, /* atomic */
	OP_TRUNCATE,
	OP_PUNCH,
	OP_RENAME,
	OP_EXCHANGE,
	OP_LINK,
	OP_SYMLINK,
	OP_UNLINK,
	OP_MKDIR,
	OP_RMDIR,
	OP_SETXATTR,
	OP_KINDS
};

struct op {
	enum op_kind kind;
	unsigned dir, name;		/* what it works on */
	unsigned other_dir, other_name; /* where it goes to */
	uint64_t offset, length;
	uint64_t data; /* seed of the bytes written, value of the attribute */
};

struct object;
struct model {
	uint64_t seed;
	uint64_t done; /* operations that were applied: the next one's number */
	uint64_t total_bytes;
	bool dir[DIRS];
	struct object *at[DIRS][NAMES];
};

void model_init(struct model *m, uint64_t seed);
void model_finish(struct model *m);
/* The operation that comes next; it is certain to succeed. */
void model_next(const struct model *m, struct op *op);
void model_apply(struct model *m, const struct op *op);
/* Next and apply until `done` operations are done. */
void model_advance(struct model *m, uint64_t done);

const char *op_name(enum op_kind kind);
/* Does it: one call that changes the pool. 0 or -errno. */
int pool_apply(struct adit_pool *pool, const char *base, const struct op *op);

/* Is the tree below base what the model says: names, types, contents, lengths, links, attributes, and
 * nothing else? false: why says what differs. */
bool model_matches(const struct model *m, struct adit_pool *pool, const char *base, char *why,
		   size_t why_bytes);

/* A small generator of random numbers. */
uint64_t random_next(uint64_t *state);

#endif
