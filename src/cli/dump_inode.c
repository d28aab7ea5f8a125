/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dump_inode.c - inodes, their trees, and who holds a block; see dump.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/dump.h"
#include "core/dir.h"
#include "core/extent.h"
#include "core/inode.h"
#include "core/linux_abi.h"
#include "core/namei.h"
#include "core/tree.h"

/* ---- extents, entries, attributes ------------------------------------------------------------------- */

static json_t *extent_object(uint64_t file_block, uint64_t ptr, uint64_t blocks, unsigned flags)
{
	json_t *o = json_object();

	dump_set(o, "file block", file_block);
	dump_set(o, "block", adit_ptr_block(ptr));
	dump_set(o, "blocks", blocks);
	dump_set(o, "born in epoch", adit_ptr_epoch(ptr));
	json_object_set_new(o, "unwritten", json_boolean(flags & ADIT_EXTENT_UNWRITTEN));
	return o;
}

static json_t *inline_extents(const struct adit_inode_pm *ip)
{
	const struct adit_fork_extents_pm *x = &ip->fork.extents;
	json_t *a = json_array();

	for (unsigned i = 0; i < get16(x->count) && i < ADIT_INLINE_EXTENTS; i++)
		json_array_append_new(a, extent_object(get64(x->extent[i].file_block),
						       get64(x->extent[i].ptr),
						       get32(x->extent[i].blocks),
						       get16(x->extent[i].flags)));
	return a;
}

static json_t *entry_object(const void *name, size_t len, uint64_t ino, uint32_t generation,
			    unsigned dtype)
{
	json_t *o = json_object();

	dump_bytes(o, "name", name, len);
	dump_set(o, "inode", ino);
	dump_set(o, "generation", generation);
	json_object_set_new(o, "type", json_string(cli_type_name((mode_t)dtype << 12)));
	return o;
}

static int add_entry(void *arg, uint64_t cookie, const void *name, size_t len,
		     const struct adit_dirent *de)
{
	json_t *o = entry_object(name, len, de->ino, de->generation, de->dtype);

	dump_set(o, "cookie", cookie);
	json_array_append_new(arg, o);
	return 0;
}

static json_t *attribute_object(const struct adit_rec_pm *rec)
{
	const struct adit_xattr_pm *x = (const struct adit_xattr_pm *)rec;
	const struct adit_xattr_run_pm *run = (const struct adit_xattr_run_pm *)x->data;
	size_t at = sizeof *x + rec->b * sizeof *run;
	json_t *o = json_object(), *runs;

	if (at + rec->a > get16(rec->len)) {
		dump_text(o, "name", "impossible");
		return o;
	}
	dump_bytes(o, "name", (const uint8_t *)rec + at, rec->a);
	dump_set(o, "bytes", get32(rec->c));
	if (rec->b == 0) {
		dump_bytes(o, "value", (const uint8_t *)rec + at + rec->a, get16(rec->len) - at - rec->a);
		return o;
	}
	runs = json_array();
	for (unsigned i = 0; i < rec->b; i++) {
		json_t *r = json_object();

		dump_set(r, "block", adit_ptr_block(get64(run[i].ptr)));
		dump_set(r, "blocks", get32(run[i].blocks));
		json_array_append_new(runs, r);
	}
	json_object_set_new(o, "value lies in", runs);
	return o;
}

/* ---- inodes ------------------------------------------------------------------------------------------ */

static void add_contents(struct adit_fs *fs, json_t *o, const struct adit_inode_pm *ip)
{
	static const char *const forks[] = {"nothing", "in the inode", "extents in the inode", "tree"};
	uint32_t fork = adit__inode_fork(ip);
	bool dir = ADIT_S_ISDIR(get32(ip->mode));
	json_t *a;

	json_object_set_new(o, "contents", json_string(fork < 4 ? forks[fork] : "unknown"));
	if (fork == ADIT_FORK_EXTENTS) {
		json_object_set_new(o, "extents", inline_extents(ip));
	} else if (fork == ADIT_FORK_TREE) {
		dump_set(o, "tree's root", adit_ptr_block(get64(ip->fork.tree.root)));
		dump_set(o, "tree's levels", ip->fork.tree.level + 1u);
		dump_set(o, "tree's nodes", get64(ip->fork.tree.nodes));
	} else if (fork == ADIT_FORK_INLINE && dir) {
		a = json_array();
		(void)!adit__dir_read(fs, ip, 0, add_entry, a);
		json_object_set_new(o, "entries", a);
	} else if (fork == ADIT_FORK_INLINE) {
		uint64_t n = min_u64(get64(ip->size), ADIT_FORK_BYTES);

		dump_bytes(o, ADIT_S_ISLNK(get32(ip->mode)) ? "target" : "bytes", ip->fork.bytes, n);
	}
	if (get64(ip->xattr_root)) {
		dump_set(o, "attributes' root", adit_ptr_block(get64(ip->xattr_root)));
		dump_set(o, "attributes' levels", ((get32(ip->flags) & ADIT_IFLAG_XLEVEL_MASK) >>
						    ADIT_IFLAG_XLEVEL_SHIFT) + 1u);
	}
}

static void add_flags(json_t *o, uint32_t flags)
{
	char text[64];

	snprintf(text, sizeof text, "%s%s%s%s", flags & ADIT_IFLAG_ORPHAN ? "orphan " : "",
		 flags & ADIT_IFLAG_ATOMIC ? "atomic " : "",
		 flags & ADIT_IFLAG_IMMUTABLE ? "immutable " : "",
		 flags & ADIT_IFLAG_APPEND ? "append-only " : "");
	if (text[0])
		text[strlen(text) - 1] = '\0';
	json_object_set_new(o, "flags", json_string(text[0] ? text : "none"));
}

static void add_owner(json_t *o, const struct adit_inode_pm *ip, uint32_t mode)
{
	uint64_t word = get64(ip->parent_or_rdev);
	char text[CLI_MODE];

	dump_text(o, "mode", "%s (%06o)", cli_mode_text(text, mode), mode);
	dump_set(o, "uid", get32(ip->uid));
	dump_set(o, "gid", get32(ip->gid));
	dump_set(o, "links", get32(ip->nlink));
	add_flags(o, get32(ip->flags));
	if (get32(ip->flags) & ADIT_IFLAG_ORPHAN) {
		dump_set(o, "next orphan", get64(ip->orphan_next));
		dump_set(o, "previous orphan", get64(ip->orphan_prev));
	}
	if (ADIT_S_ISDIR(mode))
		dump_set(o, "parent", word);
	else if (ADIT_S_TYPE(mode) == S_IFCHR || ADIT_S_TYPE(mode) == S_IFBLK)
		dump_text(o, "device", "%" PRIu64 ":%" PRIu64, word >> 32, word & UINT32_MAX);
	dump_set(o, ADIT_S_ISDIR(mode) ? "number of entries" : "size", get64(ip->size));
	dump_set(o, "blocks", get64(ip->blocks));
	dump_time(o, "modified", get64(ip->mtime_ns));
	dump_time(o, "changed", get64(ip->ctime_ns));
	dump_time(o, "accessed", get64(ip->atime_ns));
	dump_time(o, "born", get64(ip->btime_ns));
}

static json_t *cluster_object(struct adit_fs *fs, uint64_t ino, const struct adit_icluster_pm *c)
{
	json_t *o = json_object();
	const char *why = NULL;

	dump_set(o, "inode cluster", ino);
	dump_set(o, "offset", adit__offset_of(fs, c));
	dump_verdict(o, adit__verify_icluster(fs, c, ino, &why), why);
	dump_set(o, "changed by record", get64(c->dirty_seq));
	dump_text(o, "used", "%#018" PRIx64, get64(c->used));
	dump_set(o, "used slots", (uint64_t)__builtin_popcountll(get64(c->used)));
	dump_set(o, "shard", get32(c->shard));
	if (get64(c->next))
		dump_set(o, "next on the list", get64(c->next) - 1);
	return o;
}

static const struct adit_inode_pm *slot_of(struct adit_fs *fs, uint64_t ino)
{
	const struct adit_inode_pm *ip =
		ino == ADIT_INO_ITABLE ? &fs->root->itable : adit__inode_slot(fs, ino);

	if (!ip)
		cli_error("there are inodes 1 to %" PRIu64, get64(fs->root->next_ino) - 1);
	return ip;
}

json_t *dump_inode(struct adit_fs *fs, uint64_t ino)
{
	const struct adit_inode_pm *ip = slot_of(fs, ino);
	const char *why = NULL;
	uint32_t mode;
	json_t *o;

	if (!ip)
		return NULL;
	if (ino % ADIT_ICLUSTER_INODES == 0)
		return cluster_object(fs, ino, (const struct adit_icluster_pm *)ip);
	o = json_object();
	mode = get32(ip->mode);
	dump_set(o, "inode", ino);
	dump_set(o, "offset", adit__offset_of(fs, ip));
	/* The table's inode is sealed with the root block. */
	if (ino != ADIT_INO_ITABLE)
		dump_verdict(o, adit__verify_inode(fs, ip, ino, &why), why);
	dump_set(o, "changed by record", get64(ip->dirty_seq));
	dump_set(o, "generation", get32(ip->generation));
	if (mode == 0) {
		dump_text(o, "mode", "free");
		return o;
	}
	add_owner(o, ip, mode);
	add_contents(fs, o, ip);
	return o;
}

uint64_t dump_resolve(struct adit_fs *fs, const char *path)
{
	uint64_t ino = ADIT_INO_ROOT;

	while (*path) {
		size_t len = strcspn(path, "/");
		struct adit_id id;
		int err;

		if (len == 0) {
			path++;
			continue;
		}
		err = adit__lookup(fs, ino, path, len, &id);
		if (err) {
			cli_fail(err, "%.*s", (int)len, path);
			return 0;
		}
		ino = id.ino;
		path += len;
	}
	return ino;
}

/* ---- trees ---------------------------------------------------------------------------------------------- */

static json_t *record_object(const struct adit_node_pm *node, const struct adit_rec_pm *rec)
{
	const struct adit_extent_pm *e = (const struct adit_extent_pm *)rec;
	const struct adit_dirent_pm *d = (const struct adit_dirent_pm *)rec;
	json_t *o;

	switch (node->type) {
	case ADIT_TREE_EXTENTS:
		return extent_object(get64(rec->key), get64(e->ptr), get32(rec->c), rec->a);
	case ADIT_TREE_DIR:
		o = entry_object(d->name, rec->a, get64(d->ino), get32(rec->c), rec->b);
		break;
	default:
		o = attribute_object(rec);
	}
	dump_set(o, "key", get64(rec->key));
	return o;
}

static int add_node(void *arg, uint64_t block, const struct adit_node_pm *node, int err, uint64_t low,
		    uint64_t high)
{
	json_t *o = json_object(), *a = json_array();
	uint8_t idx[256];
	unsigned n;

	json_array_append_new(arg, o);
	dump_set(o, "block", block);
	if (err) {
		dump_verdict(o, err, cli_errno_name(err));
		json_decref(a);
		return ADIT_TREE_SKIP;
	}
	dump_set(o, "level", node->level);
	dump_text(o, "keys", "%" PRIu64 " to %" PRIu64, low, high);
	dump_set(o, "born in epoch", get32(node->birth_epoch));
	dump_set(o, "changed by record", get64(node->dirty_seq));
	if (node->level > 0) {
		const struct adit_inner_pm *e = (const struct adit_inner_pm *)node->body;

		for (unsigned i = 0; i < get16(node->count); i++) {
			json_t *child = json_object();

			dump_set(child, "from key", get64(e[i].key));
			dump_set(child, "block", adit_ptr_block(get64(e[i].ptr)));
			json_array_append_new(a, child);
		}
		json_object_set_new(o, "children", a);
		return 0;
	}
	dump_text(o, "room", "%u records, %u bytes of them, heap from %u", get16(node->count),
		  get16(node->live_bytes), get16(node->heap_top));
	n = adit__leaf_sorted(node, idx);
	for (unsigned i = 0; i < n; i++)
		json_array_append_new(a, record_object(node, adit__leaf_rec(node, idx[i])));
	json_object_set_new(o, "records", a);
	return 0;
}

static json_t *tree_object(struct adit_tree *t)
{
	json_t *nodes = json_array();

	(void)!adit__tree_walk_nodes(t, add_node, nodes);
	return nodes;
}

static bool attribute_tree(struct adit_fs *fs, const struct adit_inode_pm *ip, struct adit_tree *t)
{
	*t = (struct adit_tree){.fs = fs, .owner = get64(ip->ino), .type = ADIT_TREE_XATTR,
				.root = get64(ip->xattr_root),
				.level = (uint8_t)((get32(ip->flags) & ADIT_IFLAG_XLEVEL_MASK) >>
						   ADIT_IFLAG_XLEVEL_SHIFT)};
	return t->root != 0;
}

static bool fork_tree(struct adit_fs *fs, const struct adit_inode_pm *ip, struct adit_tree *t)
{
	bool dir = ADIT_S_ISDIR(get32(ip->mode));

	*t = (struct adit_tree){.fs = fs, .owner = get64(ip->ino),
				.type = dir ? ADIT_TREE_DIR : ADIT_TREE_EXTENTS, .ordered = !dir,
				.root = get64(ip->fork.tree.root), .level = ip->fork.tree.level};
	return adit__inode_fork(ip) == ADIT_FORK_TREE;
}

json_t *dump_tree(struct adit_fs *fs, uint64_t ino, const char *which)
{
	const struct adit_inode_pm *ip = slot_of(fs, ino);
	const char *name;
	struct adit_tree t;
	json_t *o;

	if (!ip)
		return NULL;
	name = ADIT_S_ISDIR(get32(ip->mode)) ? "entries" : "extents";
	if (which && strcmp(which, name) != 0 && strcmp(which, "attributes") != 0)
		cli_usage("%s: inode %" PRIu64 " has %s and attributes", which, ino, name);
	o = json_object();
	dump_set(o, "inode", ino);
	if ((!which || strcmp(which, name) == 0) && ino % ADIT_ICLUSTER_INODES &&
	    fork_tree(fs, ip, &t))
		json_object_set_new(o, name, tree_object(&t));
	if ((!which || strcmp(which, "attributes") == 0) && ino % ADIT_ICLUSTER_INODES &&
	    attribute_tree(fs, ip, &t))
		json_object_set_new(o, "attributes", tree_object(&t));
	if (json_object_size(o) == 1)
		dump_text(o, "trees", "none");
	return o;
}

/* ---- who holds a block ------------------------------------------------------------------------------------ */

struct hunt {
	uint64_t block;
	json_t *o;
	uint64_t ino;
	const char *of; /* "entries", ... */
};

static int see_extent(void *arg, const struct adit_extent *e)
{
	struct hunt *h = arg;

	if (h->block - e->block >= e->blocks || h->block < e->block)
		return 0;
	if (h->ino == ADIT_INO_ITABLE) {
		uint64_t first = (e->file_block + h->block - e->block) * (ADIT_BLOCK / ADIT_INODE_BYTES);

		dump_text(h->o, "is", "inodes %" PRIu64 " to %" PRIu64, first,
			  first + ADIT_BLOCK / ADIT_INODE_BYTES - 1);
		return 1;
	}
	dump_text(h->o, "is", "%sdata of inode %" PRIu64 ", file block %" PRIu64,
		  e->flags & ADIT_EXTENT_UNWRITTEN ? "unwritten " : "", h->ino,
		  e->file_block + h->block - e->block);
	return 1;
}

static bool value_holds(const struct adit_rec_pm *rec, uint64_t block)
{
	const struct adit_xattr_pm *x = (const struct adit_xattr_pm *)rec;
	const struct adit_xattr_run_pm *run = (const struct adit_xattr_run_pm *)x->data;

	for (unsigned i = 0; i < rec->b; i++)
		if (block >= adit_ptr_block(get64(run[i].ptr)) &&
		    block - adit_ptr_block(get64(run[i].ptr)) < get32(run[i].blocks))
			return true;
	return false;
}

static int see_node(void *arg, uint64_t block, const struct adit_node_pm *node, int err, uint64_t low,
		    uint64_t high)
{
	struct hunt *h = arg;

	(void)low, (void)high;
	if (block == h->block) {
		dump_text(h->o, "is", "node of the %s of inode %" PRIu64 "%s", h->of, h->ino,
			  err ? ", damaged" : "");
		return 2;
	}
	if (err)
		return ADIT_TREE_SKIP;
	if (node->type != ADIT_TREE_XATTR || node->level > 0)
		return 0;
	for (unsigned i = 0; i < get16(node->count); i++)
		if (value_holds(adit__leaf_rec(node, i), h->block)) {
			dump_text(h->o, "is", "value of an attribute of inode %" PRIu64, h->ino);
			return 2;
		}
	return 0;
}

static bool inode_holds(struct adit_fs *fs, const struct adit_inode_pm *ip, struct hunt *h)
{
	uint32_t fork = adit__inode_fork(ip);
	struct adit_tree t;

	h->of = ADIT_S_ISDIR(get32(ip->mode)) ? "entries" : "extents";
	if (fork_tree(fs, ip, &t) && adit__tree_walk_nodes(&t, see_node, h) == 2)
		return true;
	if (!ADIT_S_ISDIR(get32(ip->mode)) && (fork == ADIT_FORK_EXTENTS || fork == ADIT_FORK_TREE) &&
	    adit__extent_walk(fs, ip, 0, see_extent, h) == 1)
		return true;
	h->of = "attributes";
	return attribute_tree(fs, ip, &t) && adit__tree_walk_nodes(&t, see_node, h) == 2;
}

bool dump_holder(struct adit_fs *fs, uint64_t block, json_t *o)
{
	struct hunt h = {.block = block, .o = o, .ino = ADIT_INO_ITABLE};
	uint64_t end = get64(fs->root->next_ino);

	if (inode_holds(fs, &fs->root->itable, &h))
		return true;
	for (h.ino = ADIT_INO_ROOT; h.ino < end; h.ino++) {
		const struct adit_inode_pm *ip = adit__inode_slot(fs, h.ino);
		const char *why;

		if (!ip || h.ino % ADIT_ICLUSTER_INODES == 0 || get32(ip->mode) == 0 ||
		    adit__verify_inode(fs, ip, h.ino, &why) != 0)
			continue;
		if (inode_holds(fs, ip, &h))
			return true;
		if (h.ino % 65536 == 1)
			cli_progress("inode %" PRIu64 " of %" PRIu64, h.ino, end);
	}
	cli_progress_done();
	return false;
}
