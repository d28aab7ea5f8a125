/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * What the files of the check share; check.c tells how they work together.
 */
#ifndef ADIT_CORE_CHECK_IMPL_H
#define ADIT_CORE_CHECK_IMPL_H

#include "core/alloc.h"
#include "core/check.h"
#include "core/inode.h"
#include "core/linux_abi.h"
#include "core/log.h"
#include "core/tree.h"

/* One chunk of the claim map is as large as a bitmap block. */
#define ADIT_CK_CHUNK_BITS (8u * ADIT_BLOCK)
#define ADIT_CK_INODES 1024u /* per chunk of the inode array */

/* What is known about an inode (and, for slot 0, about its cluster). */
struct adit_ck_inode {
	uint64_t parent; /* directory: where its name was found */
	uint32_t links;	 /* names found */
	uint32_t subdirs;
	uint32_t flags;
	uint32_t reserved;
};
#define ADIT_CK_USED 1u	      /* in use, and its inode is sound */
#define ADIT_CK_DIR 2u
#define ADIT_CK_LISTED 4u     /* on an orphan list */
#define ADIT_CK_REACHED 8u    /* reachable from the root directory */
#define ADIT_CK_VISITING 16u  /* on the path that is being followed */
#define ADIT_CK_LOST 32u      /* wants a name in lost+found */
#define ADIT_CK_HEADER 64u    /* slot 0: the cluster's header is sound */
#define ADIT_CK_HAS_FREE 128u /* slot 0: the cluster has a free slot */
#define ADIT_CK_ON_LIST 256u  /* slot 0: the cluster is on its shard's list */
#define ADIT_CK_ORPHAN 512u   /* says that it is on an orphan list */

/* A tree on its way through adit__ck_tree. */
struct adit_ck_step {
	uint64_t block;
	uint64_t low, high; /* keys below are in [low, high) */
	uint32_t index;	    /* inner node: next entry */
};
enum adit_ck_verdict { ADIT_CK_KEEP, ADIT_CK_DROP };
struct adit_ck_tree {
	uint64_t owner;
	uint8_t type;
	bool root_gone; /* nothing is left of it */
	bool edited;	/* visit changed the record that it was given */
	bool partial;	/* some of it was passed over */
	uint64_t nodes;
	uint64_t records;
	uint64_t root;
	/* A record in key order, in a private copy of its leaf. */
	enum adit_ck_verdict (*visit)(struct adit_ck_tree *, struct adit_rec_pm *);
	struct adit_check *ck;
	void *arg;
	int depth;
	struct adit_ck_step path[ADIT_TREE_MAX_LEVEL + 1];
};

struct adit_check {
	struct adit_fs *fs;
	const struct adit_check_options *opt;
	struct adit_check_result *res;
	bool may_fix;	/* this pass mends */
	bool say_left;	/* tell findings that stay, too */
	bool looking;	/* this pass only fills `sound` */
	bool marked;	/* the superblock says DAMAGED because of us */
	bool partial;	/* something could not be looked into: what follows from all
			   parts together is not known */
	bool again;	/* this pass learnt something that it cannot go on with */
	bool rebuild_clusters, rebuild_orphans; /* lists found wrong */
	int err;	/* -ENOMEM, ...: stops the check */
	unsigned pass;
	uint64_t fixed, left; /* of this pass */
	const struct adit_check_finding *first; /* for adit__check_quiet */

	uint64_t inos; /* slots of the inode table */
	uint64_t claim_chunks;
	uint64_t **claim;  /* blocks somebody holds */
	uint64_t **sound;  /* blocks that somebody holds whose seal fits, from a look before
			      the first repair: what is made of a damaged structure does
			      not get them */
	uint64_t **strong; /* blocks that belong to a tree node, by the node's own word;
			      kept from pass to pass: data does not get them */
	uint64_t ino_chunks;
	struct adit_ck_inode **ino;
	uint64_t used_inodes, claimed, dirs, files;
	uint64_t lost; /* inodes that want a name in lost+found */

	/* The fork that is being checked. */
	uint64_t cur_ino;
	uint64_t cur_blocks;
	uint64_t next_file_block;
	uint64_t cur_entries;
	uint64_t group_key;  /* names of this hash are in names */
	uint32_t names_len;
	uint8_t *names;	     /* le16-prefixed, one hash's */
	uint8_t *node_copy;  /* a node under repair */
	uint8_t *leaf_copy;  /* the leaf that is being visited */
	uint8_t *value;	     /* an attribute's */
};
/* 128 names of 255 bytes with their lengths. */
#define ADIT_CK_NAMES_BYTES (ADIT_HASH_ORDINALS * (ADIT_NAME_MAX + 1u))

/* ---- check.c: findings --------------------------------------------------- */

/* Fill in, ask, mend if the answer is true, then tell:
 *	f = adit__ck_finding(...);
 *	if (adit__ck_mend(ck, &f)) { ...; }
 *	adit__ck_tell(ck, &f);
 * adit__ck_mend sets f->fixed; clear it again when mending failed. */
struct adit_check_finding adit__ck_finding(enum adit_check_severity, const char *structure,
					   uint64_t ino, uint64_t block, const char *message,
					   const char *action);
bool adit__ck_mend(struct adit_check *, struct adit_check_finding *);
void adit__ck_tell(struct adit_check *, const struct adit_check_finding *);
/* All three in one, for a mending that cannot fail: the answer. */
bool adit__ck_found(struct adit_check *, enum adit_check_severity, const char *structure,
		    uint64_t ino, uint64_t block, const char *message, const char *action);
bool adit__ck_found_value(struct adit_check *, enum adit_check_severity, const char *structure,
			  uint64_t ino, uint64_t block, const char *message, const char *action,
			  uint64_t found, uint64_t expected);
void adit__ck_progress(struct adit_check *, const char *stage, uint64_t done, uint64_t total);

/* ---- check_fix.c: writing --------------------------------------------------- */

void adit__ck_store(struct adit_check *, void *dst, const void *src, size_t len);
/* Seal the private copy and put it into its place, durable on return. */
void adit__ck_store_node(struct adit_check *, uint64_t block, struct adit_node_pm *copy);
void adit__ck_store_inode(struct adit_check *, uint64_t ino, struct adit_inode_pm *copy);
void adit__ck_store_cluster(struct adit_check *, uint64_t ino, struct adit_icluster_pm *copy);
void adit__ck_store_root(struct adit_check *, struct adit_root_pm *copy);
/* Set or clear ADIT_STATE_DAMAGED. */
void adit__ck_mark(struct adit_check *, bool damaged);
/* Names in lost+found for everything that is ADIT_CK_LOST. */
void adit__ck_reconnect(struct adit_check *);
bool adit__ck_zero(const void *, size_t);

/* ---- check_space.c: who holds which block ------------------------------------- */

/* True when the blocks were free and are now the caller's. */
bool adit__ck_claim(struct adit_check *, uint64_t block, uint64_t count);
void adit__ck_unclaim(struct adit_check *, uint64_t block, uint64_t count);
bool adit__ck_is_claimed(struct adit_check *, uint64_t block);
/* What a damaged structure says it holds: does somebody else, whose seal fits? */
bool adit__ck_is_sound(struct adit_check *, uint64_t block, uint64_t count);
bool adit__ck_set_strong(struct adit_check *, uint64_t block);
bool adit__ck_is_strong(struct adit_check *, uint64_t block, uint64_t count);
void adit__ck_fixed_areas(struct adit_check *);
void adit__ck_groups(struct adit_check *);
void adit__ck_bitmaps(struct adit_check *);
void adit__ck_totals(struct adit_check *);
/* A further checkpoint slot with these totals; the log starts from it. */
void adit__ck_new_checkpoint(struct adit_check *, uint64_t free_blocks, uint64_t used_inodes);

/* ---- check_super.c: before the pool is open, and the slots ---------------------- */

void adit__ck_slots(struct adit_check *);

/* ---- check_tree.c ---------------------------------------------------------------- */

/* Walks, claims and, where it may, mends the tree.  What could not be kept is
 * cut out; root_gone: there is no node left. */
void adit__ck_tree(struct adit_check *, struct adit_ck_tree *, uint64_t root, unsigned level);

/* ---- check_table.c ------------------------------------------------------------------ */

void adit__ck_itable(struct adit_check *);
void adit__ck_missing_clusters(struct adit_check *); /* after the bitmaps */

/* ---- check_inode.c, check_fork.c ------------------------------------------------------ */

struct adit_ck_inode *adit__ck_ino(struct adit_check *, uint64_t ino, bool make);
static inline uint32_t adit__ck_ino_flags(struct adit_check *ck, uint64_t ino)
{
	struct adit_ck_inode *i = adit__ck_ino(ck, ino, false);

	return i ? i->flags : 0;
}
/* The next inode in use after ino, or 0. */
uint64_t adit__ck_next_used(struct adit_check *, uint64_t ino);
void adit__ck_root(struct adit_check *);
void adit__ck_clusters(struct adit_check *);
/* Extents, attributes, entries: everything that hangs on the inodes. */
void adit__ck_forks(struct adit_check *);
/* A file's extents; ip: a private copy that is edited, true when it changed. */
bool adit__ck_map(struct adit_check *, struct adit_inode_pm *ip);
/* A run of a file's (or a value's) blocks is claimed: 0.  1: it is not sound, and
 * to be dropped; -1: not sound, but it stays. */
int adit__ck_run(struct adit_check *, const char *structure, uint64_t ptr, uint64_t count);

/* ---- check_dir.c --------------------------------------------------------------------------- */

/* The packed entries of ip, a private copy that is edited: true when it changed. */
bool adit__ck_inline_dir(struct adit_check *, struct adit_inode_pm *ip);
/* An entry in a tree. */
enum adit_ck_verdict adit__ck_visit_entry(struct adit_ck_tree *, struct adit_rec_pm *);
/* Was a name of this hash and these bytes here already?  Keys come in order. */
bool adit__ck_same_name(struct adit_check *, uint64_t key, const void *name, size_t len);
/* Keep the sound entries of an inline directory. */
void adit__ck_scrub_inline_dir(struct adit_inode_pm *ip);

/* ---- check_link.c: what follows from all entries together ----------------------------------- */

void adit__ck_connect(struct adit_check *);
void adit__ck_links(struct adit_check *);

/* ---- check_list.c --------------------------------------------------------------------------- */

void adit__ck_orphan_lists(struct adit_check *);  /* walk and mark */
void adit__ck_orphans(struct adit_check *);	  /* judge, after the links */
void adit__ck_cluster_lists(struct adit_check *);
void adit__ck_intents(struct adit_check *);

#endif
