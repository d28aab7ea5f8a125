/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dump.c - adit dump: a structure of a pool in words.
 *
 * The pool is mapped privately and opened without recovery, so that nothing is changed and what is
 * shown is what the medium holds now: records that the lanes keep for the next open are not applied.
 * Superblock and checkpoint are shown even when the pool is too damaged to be opened.
 *
 * Each structure becomes a JSON object first (dump.h); text is that object, line by line.
 */
#include "cli/dump.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/pool_info.h"
#include "core/alloc.h"
#include "core/log.h"
#include "fs/env.h"
#include "media/media.h"
#include "media/sigbus.h"

/* ---- values ----------------------------------------------------------------------------------------- */

json_t *dump_word(uint64_t v)
{
	char text[24];

	if (v <= INT64_MAX)
		return json_integer((json_int_t)v);
	snprintf(text, sizeof text, "%" PRIu64, v);
	return json_string(text);
}

void dump_set(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, dump_word(v));
}

void dump_text(json_t *o, const char *key, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	cli_json_bytes(o, key, text);
}

void dump_time(json_t *o, const char *key, uint64_t ns)
{
	int64_t v = (int64_t)ns;
	struct timespec t = {v / 1000000000, v % 1000000000};
	char text[CLI_TIME];

	if (t.tv_nsec < 0) {
		t.tv_sec--;
		t.tv_nsec += 1000000000;
	}
	dump_text(o, key, "%s", cli_time_text(text, &t, true));
}

void dump_verdict(json_t *o, int err, const char *why)
{
	json_object_set_new(o, "verdict", json_string(err ? why : "right"));
}

void dump_bytes(json_t *o, const char *key, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	char *text = cli_alloc(4 * len + 1), *at = text;

	for (size_t i = 0; i < len; i++)
		if (p[i] < 32 || p[i] >= 127 || p[i] == '\\')
			at += sprintf(at, "\\x%02x", p[i]);
		else
			*at++ = (char)p[i];
	json_object_set_new(o, key, json_string(text));
	free(text);
}

static const char *flag_words(char *text, size_t len, uint64_t flags, const char *const *name,
			      unsigned n)
{
	size_t used = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < n && used < len; i++)
		if (flags >> i & 1)
			used += (size_t)snprintf(text + used, len - used, "%s%s", used ? " " : "",
						 name[i]);
	return used ? text : "none";
}

/* ---- superblock ------------------------------------------------------------------------------------- */

static void super_geometry(json_t *o, const struct adit_super_pm *s)
{
	dump_set(o, "pool blocks", get64(s->pool_blocks));
	dump_set(o, "group blocks", get64(s->group_blocks));
	dump_set(o, "groups", get32(s->groups));
	dump_set(o, "groups per cluster", get32(s->cluster_groups));
	dump_set(o, "lanes", get32(s->lanes));
	dump_set(o, "blocks per lane", get32(s->lane_blocks));
	dump_set(o, "lanes start", get64(s->lane_start));
	dump_set(o, "intents start", get64(s->intent_start));
	dump_set(o, "volatile region start", get64(s->vol_start));
	dump_set(o, "volatile region blocks", get64(s->vol_blocks));
	dump_set(o, "root block", get64(s->root_block));
	dump_set(o, "replica of the root block", get64(s->root_copy));
	dump_set(o, "checkpoint slots start", get64(s->ckpt_start));
	dump_set(o, "group metadata start", get64(s->meta_start));
	dump_set(o, "reserved blocks", get64(s->reserve_blocks));
}

static json_t *dump_super_at(const struct adit_media *m, uint64_t block)
{
	static const char *const states[] = {"clean", "open", "damaged", "being made", "growing"};
	static const char *const owners[] = {"nobody", "library", "kernel"};
	struct adit_super_pm s;
	json_t *o = json_object();
	const char *why = NULL;
	char text[CLI_UUID + 64];
	int err;

	memcpy(&s, m->pm.base + block * ADIT_BLOCK, sizeof s);
	err = adit__verify_super(&adit__env, &s, m->pm.size_bytes, &why);
	dump_set(o, "block", block);
	dump_verdict(o, err, why);
	dump_text(o, "uuid", "%s", cli_uuid_text(text, s.uuid));
	dump_text(o, "label", "%.*s", (int)sizeof s.label, (const char *)s.label);
	dump_set(o, "format version", get32(s.version));
	dump_text(o, "features", "compatible %#" PRIx64 ", read-only %#" PRIx64 ", incompatible %#" PRIx64,
		  get64(s.compat), get64(s.ro_compat), get64(s.incompat));
	dump_text(o, "state", "%s", flag_words(text, sizeof text, get32(s.state), states, 5));
	dump_text(o, "owner", "%s", get32(s.owner) < 3 ? owners[get32(s.owner)] : "unknown");
	dump_set(o, "incarnation", get64(s.incarnation));
	dump_text(o, "hash seed", "%#" PRIx64, get64(s.hash_seed));
	dump_time(o, "made", get64(s.created_ns));
	super_geometry(o, &s);
	return o;
}

static json_t *dump_super(const struct adit_media *m)
{
	json_t *o = json_object(), *copies = json_array();

	json_array_append_new(copies, dump_super_at(m, 0));
	json_array_append_new(copies, dump_super_at(m, ADIT_SUPER_COPY));
	json_object_set_new(o, "superblocks", copies);
	return o;
}

/* ---- checkpoint, root, lanes ------------------------------------------------------------------------- */

/* Enough of a handle for what lies in fixed places, from the first whole superblock. */
static bool makeshift(struct adit_fs *fs, const struct adit_media *m)
{
	static const uint64_t place[2] = {0, ADIT_SUPER_COPY};
	const char *why;

	memset(fs, 0, sizeof *fs);
	fs->pm = m->pm;
	fs->env = &adit__env;
	for (unsigned i = 0; i < 2; i++) {
		memcpy(&fs->super, m->pm.base + place[i] * ADIT_BLOCK, sizeof fs->super);
		if (adit__verify_super(&adit__env, &fs->super, m->pm.size_bytes, &why) == 0) {
			adit__fs_geometry(fs);
			return true;
		}
	}
	return false;
}

static json_t *dump_checkpoint(const struct adit_fs *fs)
{
	const struct adit_ckpt_pm *newest = adit__ckpt_newest(fs);
	json_t *o = json_object(), *slots = json_array();

	for (unsigned i = 0; i < 2; i++) {
		const struct adit_ckpt_pm *k = adit__ckpt_slot(fs, i);
		json_t *slot = json_object(), *tails = json_array();

		dump_set(slot, "block", get64(fs->super.ckpt_start) + i);
		json_object_set_new(slot, "counts", json_boolean(k == newest));
		dump_set(slot, "C", get64(k->c));
		dump_set(slot, "generation", get64(k->generation));
		dump_set(slot, "free blocks", get64(k->free_blocks));
		dump_set(slot, "used inodes", get64(k->used_inodes));
		for (uint32_t lane = 0; lane < fs->lanes; lane++)
			json_array_append_new(tails, dump_word(get64(k->tail[lane])));
		json_object_set_new(slot, "lane tails", tails);
		json_array_append_new(slots, slot);
	}
	json_object_set_new(o, "checkpoint slots", slots);
	return o;
}

static json_t *heads(const le64 *head, uint64_t minus)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < ADIT_SHARDS; i++) {
		json_t *h;

		if (get64(head[i]) == 0)
			continue;
		h = json_object();
		dump_set(h, "list", i);
		dump_set(h, "first inode", get64(head[i]) - minus);
		json_array_append_new(a, h);
	}
	return a;
}

static json_t *dump_root(struct adit_fs *fs)
{
	const struct adit_root_pm *r = fs->root;
	json_t *o = json_object();
	const char *why = NULL;
	int err = adit__verify_root(fs, r, &why);

	dump_set(o, "block", get64(fs->super.root_block));
	dump_verdict(o, err, why);
	dump_set(o, "changed by record", get64(r->dirty_seq));
	dump_set(o, "birth epoch", get32(r->epoch));
	dump_set(o, "shards", get32(r->shards));
	dump_set(o, "inode slots", get64(r->next_ino));
	json_object_set_new(o, "clusters with free inodes", heads(r->free_cluster, 1));
	json_object_set_new(o, "orphans", heads(r->orphan, 0));
	json_object_set_new(o, "inode table", dump_inode(fs, ADIT_INO_ITABLE));
	return o;
}

static json_t *dump_entries(const struct adit_record_pm *r)
{
	static const char *const ops[] = {"?", "write", "zero", "allocate", "free"};
	static const char *const kinds[] = {"none", "data", "inode", "node", "root", "intent", "bitmap"};
	json_t *a = json_array();

	for (size_t at = sizeof *r; at + sizeof(struct adit_entry_pm) <= get32(r->len);) {
		const struct adit_entry_pm *e = adit__entry_at((const uint8_t *)r, at);
		bool blocks = e->op == ADIT_OP_ALLOC || e->op == ADIT_OP_FREE;
		json_t *o = json_object();

		json_object_set_new(o, "op", json_string(e->op < 5 ? ops[e->op] : "?"));
		dump_set(o, blocks ? "block" : "offset", get64(e->where));
		dump_set(o, blocks ? "blocks" : "bytes", get32(e->len));
		json_object_set_new(o, "kind", json_string(e->kind < 7 ? kinds[e->kind] : "?"));
		json_array_append_new(a, o);
		at += adit__entry_bytes(e);
	}
	return a;
}

static json_t *dump_record(const struct adit_fs *fs, const struct adit_record_pm *r, uint64_t c,
			   uint64_t tail)
{
	json_t *o = json_object();
	bool pad = get16(r->flags) & ADIT_RECORD_PAD;

	(void)fs;
	dump_set(o, "position", get64(r->pos));
	if (pad) {
		json_object_set_new(o, "pad", json_true());
		return o;
	}
	dump_set(o, "sequence", get64(r->seq));
	dump_set(o, "bytes", get32(r->len));
	dump_text(o, "free blocks", "%+d", (int)get32(r->free_blocks));
	dump_text(o, "used inodes", "%+d", (int)get32(r->used_inodes));
	json_object_set_new(o, "applied", json_boolean(get64(r->seq) <= c || get64(r->pos) < tail));
	json_object_set_new(o, "entries", dump_entries(r));
	return o;
}

static int by_position(const void *a, const void *b)
{
	const struct adit_record_pm *x = *(const struct adit_record_pm *const *)a;
	const struct adit_record_pm *y = *(const struct adit_record_pm *const *)b;

	return (get64(x->pos) > get64(y->pos)) - (get64(x->pos) < get64(y->pos));
}

static json_t *dump_lane(const struct adit_fs *fs, uint64_t lane)
{
	const struct adit_ckpt_pm *k = adit__ckpt_newest(fs);
	uint64_t places = fs->ring_bytes / ADIT_LINE, c = k ? get64(k->c) : 0, tail;
	const struct adit_record_pm **record;
	json_t *o, *a = json_array();
	const uint8_t *ring;
	size_t n = 0;

	if (lane >= fs->lanes) {
		cli_error("there are lanes 0 to %u", fs->lanes - 1);
		json_decref(a);
		return NULL;
	}
	o = json_object();
	tail = k ? get64(k->tail[lane]) : 0;
	record = cli_alloc(places * sizeof *record);
	ring = (const uint8_t *)adit__block_at(fs, get64(fs->super.lane_start)) + lane * fs->ring_bytes;
	for (uint64_t i = 0; i < places; i++) {
		const struct adit_record_pm *r = (const void *)(ring + i * ADIT_LINE);

		if (get32(r->magic) == ADIT_MAGIC_RECORD &&
		    get64(r->pos) % fs->ring_bytes == i * ADIT_LINE &&
		    adit__record_at(fs, (uint32_t)lane, get64(r->pos), true) != NULL)
			record[n++] = r;
	}
	qsort(record, n, sizeof *record, by_position);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, dump_record(fs, record[i], c, tail));
	free(record);
	dump_set(o, "lane", lane);
	dump_set(o, "ring bytes", fs->ring_bytes);
	dump_set(o, "tail", tail);
	dump_set(o, "C", c);
	json_object_set_new(o, "records", a);
	return o;
}

/* ---- groups ---------------------------------------------------------------------------------------- */

static bool bit_is_set(struct adit_fs *fs, uint64_t block)
{
	uint64_t bitmap, word, seal;

	adit__bitmap_where(fs, block, &bitmap, &word, &seal);
	return get64(*(const le64 *)adit__at(fs, word)) >> (block % 64) & 1;
}

static json_t *free_runs(struct adit_fs *fs, uint64_t first, uint64_t end, uint64_t *free_blocks)
{
	json_t *a = json_array();

	*free_blocks = 0;
	for (uint64_t b = first; b < end;) {
		uint64_t from = b;
		json_t *o;

		while (b < end && !bit_is_set(fs, b))
			b++;
		if (b == from) {
			b++;
			continue;
		}
		*free_blocks += b - from;
		o = json_object();
		dump_set(o, "block", from);
		dump_set(o, "blocks", b - from);
		json_array_append_new(a, o);
	}
	return a;
}

static json_t *dump_group(struct adit_fs *fs, uint64_t group)
{
	uint64_t block, first, end, free_blocks;
	const struct adit_group_pm *g;
	json_t *o, *seals, *runs;
	const char *why = NULL;

	if (group >= fs->groups) {
		cli_error("there are groups 0 to %u", fs->groups - 1);
		return NULL;
	}
	o = json_object();
	seals = json_array();
	block = adit__group_header_block(fs, (uint32_t)group);
	first = group * fs->group_blocks;
	end = first + adit__group_blocks_of(fs, (uint32_t)group);
	g = adit__block_at(fs, block);
	dump_set(o, "group", group);
	dump_set(o, "header", block);
	dump_verdict(o, adit__verify_group(fs, g, (uint32_t)group, &why), why);
	dump_set(o, "replica", adit__group_replica_block(fs, (uint32_t)group));
	dump_set(o, "first block", get64(g->start));
	dump_set(o, "blocks", get32(g->blocks));
	dump_set(o, "bitmap", get64(g->bitmap));
	for (uint32_t i = 0; i < fs->bitmap_blocks; i++) {
		uint64_t at = adit__group_bitmap_block(fs, (uint32_t)group) + i;
		json_t *s = json_object();
		bool right = get32(g->seal[i].crc) ==
			     adit__crc32c(0, adit__block_at(fs, at), ADIT_BLOCK);

		dump_set(s, "bitmap block", at);
		dump_set(s, "changed by record", get64(g->seal[i].dirty_seq));
		json_object_set_new(s, "checksum", json_string(right ? "right" : "wrong"));
		json_array_append_new(seals, s);
	}
	json_object_set_new(o, "seals", seals);
	runs = free_runs(fs, first, end, &free_blocks);
	dump_set(o, "free blocks", free_blocks);
	json_object_set_new(o, "free runs", runs);
	return o;
}

/* ---- what is where ------------------------------------------------------------------------------------ */

/* Fixed areas that every pool has once. */
static bool in_fixed(const struct adit_fs *fs, uint64_t block, json_t *o)
{
	const struct adit_super_pm *s = &fs->super;
	uint64_t lane = block - get64(s->lane_start), per = get32(s->lane_blocks);
	uint64_t intents = (get32(s->lanes) * sizeof(struct adit_intent_pm) + ADIT_BLOCK - 1) / ADIT_BLOCK;

	if (block == 0 || block == ADIT_SUPER_COPY)
		dump_text(o, "is", block ? "copy of the superblock" : "superblock");
	else if (block < 8)
		dump_text(o, "is", "unused, between the superblocks");
	else if (block - get64(s->ckpt_start) < 2)
		dump_text(o, "is", "checkpoint slot %d", (int)(block - get64(s->ckpt_start)));
	else if (block == get64(s->root_block))
		dump_text(o, "is", "root block");
	else if (block == get64(s->root_copy))
		dump_text(o, "is", "replica of the root block");
	else if (block - get64(s->intent_start) < intents)
		dump_text(o, "is", "intents of the lanes");
	else if (lane < per * get32(s->lanes))
		dump_text(o, "is", "lane %" PRIu64 ", block %" PRIu64 " of its ring", lane / per, lane % per);
	else if (block - get64(s->vol_start) < get64(s->vol_blocks))
		dump_text(o, "is", "volatile region");
	else
		return false;
	return true;
}

static bool in_group_metadata(const struct adit_fs *fs, uint64_t block, json_t *o)
{
	uint32_t bitmaps = fs->bitmap_blocks;

	for (uint32_t g = 0; g < fs->groups; g++) {
		uint64_t bitmap = adit__group_bitmap_block(fs, g);
		uint64_t vol = adit__offset_of(fs, adit__group_vol_bitmap(fs, g)) / ADIT_BLOCK;
		const char *is = NULL;

		if (block == adit__group_header_block(fs, g))
			is = "header";
		else if (block == adit__group_replica_block(fs, g))
			is = "replica of the header";
		else if (block >= bitmap && block < bitmap + bitmaps)
			is = "bitmap";
		else if (block >= vol && block < vol + bitmaps)
			is = "volatile bitmap";
		else if (block == adit__offset_of(fs, adit__group_vol(fs, g)) / ADIT_BLOCK)
			is = "volatile summary";
		if (is) {
			dump_text(o, "is", "%s of group %u", is, g);
			return true;
		}
	}
	return false;
}

static json_t *dump_block(struct adit_fs *fs, uint64_t block)
{
	const struct adit_node_pm *n;
	json_t *o;
	bool used;

	if (block >= fs->pool_blocks) {
		cli_error("there are blocks 0 to %" PRIu64, fs->pool_blocks - 1);
		return NULL;
	}
	o = json_object();
	used = bit_is_set(fs, block);
	dump_set(o, "block", block);
	dump_set(o, "offset", block << ADIT_BLOCK_SHIFT);
	dump_set(o, "group", block >> fs->group_shift);
	json_object_set_new(o, "bitmap says", json_string(used ? "used" : "free"));
	if (in_fixed(fs, block, o) || in_group_metadata(fs, block, o))
		return o;
	if (!dump_holder(fs, block, o))
		dump_text(o, "is", used ? "used, but nobody's (run fsck)" : "free");
	n = adit__block_at(fs, block);
	if (get32(n->magic) == ADIT_MAGIC_NODE && get64(n->block) == block)
		dump_text(o, "looks like", "tree node, level %u, type %u, of inode %" PRIu64, n->level,
			  n->type, get64(n->owner));
	return o;
}

/* ---- printing ------------------------------------------------------------------------------------------ */

static void print_scalar(const json_t *v)
{
	if (json_is_string(v))
		printf("%s", json_string_value(v));
	else if (json_is_integer(v))
		printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_boolean(v))
		printf("%s", json_is_true(v) ? "yes" : "no");
}

/* Fits in a line. */
static bool is_flat(const json_t *o)
{
	const char *key;
	json_t *v;

	if (json_object_size(o) > 8)
		return false;
	json_object_foreach((json_t *)(uintptr_t)o, key, v)
		if (json_is_object(v) || json_is_array(v))
			return false;
	return true;
}

static void print_in_words(const json_t *o, int indent);

static void print_list(const char *key, const json_t *list, int indent)
{
	size_t i;
	json_t *v;

	printf("%*s%s:%s\n", indent, "", key, json_array_size(list) ? "" : " none");
	if (json_array_size(list) && !json_is_object(json_array_get(list, 0))) {
		printf("%*s", indent + 1, "");
		json_array_foreach(list, i, v) {
			putchar(' ');
			print_scalar(v);
		}
		putchar('\n');
		return;
	}
	json_array_foreach(list, i, v) {
		const char *k;
		json_t *field;
		bool first = true;

		if (!is_flat(v)) {
			print_in_words(v, indent + 2);
			if (i + 1 < json_array_size(list))
				putchar('\n');
			continue;
		}
		printf("%*s", indent + 2, "");
		json_object_foreach(v, k, field) {
			printf("%s%s ", first ? "" : ", ", k);
			print_scalar(field);
			first = false;
		}
		putchar('\n');
	}
}

static void print_in_words(const json_t *o, int indent)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)o, key, v) {
		if (json_is_array(v)) {
			print_list(key, v, indent);
		} else if (json_is_object(v)) {
			printf("%*s%s:\n", indent, "", key);
			print_in_words(v, indent + 2);
		} else {
			printf("%*s%s: ", indent, "", key);
			print_scalar(v);
			putchar('\n');
		}
	}
}

/* ---- the command ---------------------------------------------------------------------------------------- */

struct request {
	const char *pool, *what, *arg, *type;
	struct adit_media media;
};

static bool number(const char *text, uint64_t *out)
{
	char *end;

	if (text == NULL || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, 0);
	return errno == 0 && *end == '\0';
}

static uint64_t number_of(const struct request *q)
{
	uint64_t n;

	if (!number(q->arg, &n))
		cli_usage("%s: which one? A number is missing", q->what);
	return n;
}

static uint64_t inode_of(const struct request *q, struct adit_fs *fs)
{
	uint64_t n;

	if (q->arg == NULL)
		cli_usage("%s: which one? An inode number or a path is missing", q->what);
	return number(q->arg, &n) ? n : dump_resolve(fs, q->arg);
}

static json_t *describe_opened(const struct request *q, struct adit_fs *fs)
{
	uint64_t ino;

	if (strcmp(q->what, "root") == 0)
		return dump_root(fs);
	if (strcmp(q->what, "group") == 0)
		return dump_group(fs, number_of(q));
	if (strcmp(q->what, "block") == 0)
		return dump_block(fs, number_of(q));
	ino = inode_of(q, fs);
	if (ino == 0)
		return NULL;
	return strcmp(q->what, "inode") == 0 ? dump_inode(fs, ino) : dump_tree(fs, ino, q->type);
}

static json_t *describe(const struct request *q)
{
	struct adit_reporter reporter = {cli_report, (void *)(uintptr_t)q->pool};
	struct adit_fs *fs = NULL;
	struct adit_fs plain;
	json_t *o;
	int err;

	if (strcmp(q->what, "superblock") == 0)
		return dump_super(&q->media);
	if (!makeshift(&plain, &q->media)) {
		cli_error("%s: no whole superblock: see 'adit dump %s superblock'", q->pool, q->pool);
		return NULL;
	}
	if (strcmp(q->what, "checkpoint") == 0)
		return dump_checkpoint(&plain);
	if (strcmp(q->what, "lane") == 0)
		return dump_lane(&plain, number_of(q));
	err = adit__core_open(&fs, &q->media.pm, &adit__env, &reporter,
			      ADIT_OPEN_RDONLY | ADIT_OPEN_NO_RECOVERY);
	if (err) {
		cli_fail_pool(err, q->pool, "cannot open the pool");
		return NULL;
	}
	o = describe_opened(q, fs);
	adit__core_abandon(fs);
	return o;
}

static json_t *describe_guarded(struct request *q)
{
	struct adit_sigbus_frame frame;
	json_t *o;

	if (ADIT_SIGBUS_TRY(&frame, &q->media)) {
		cli_error("%s: the medium cannot be read at offset %#tx", q->pool,
			  (uint8_t *)frame.fault_addr - q->media.pm.base);
		return NULL;
	}
	o = describe(q);
	ADIT_SIGBUS_END(&frame);
	return o;
}

static bool what_is_known(const char *what)
{
	static const char *const known[] = {"superblock", "checkpoint", "root", "lane",
					    "group", "inode", "tree", "block"};

	for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(what, known[i]) == 0)
			return true;
	return false;
}

int adit__cmd_dump(int argc, char **argv)
{
	static const struct poptOption options[] = {CLI_GLOBAL_OPTIONS};
	struct request q = {0};
	const char **args;
	json_t *o;
	int count, rc;

	args = cli_parse(argc, argv, options, "POOL WHAT",
			 "Prints a structure of the pool as the medium holds it; changes nothing. WHAT is\n"
			 "  superblock          both copies\n"
			 "  checkpoint          both slots\n"
			 "  root                the root block: inode table, lists\n"
			 "  lane N              the records in a lane's ring\n"
			 "  group N             a group's header and free space\n"
			 "  inode N|PATH        an inode\n"
			 "  tree N|PATH [TYPE]  the trees of an inode: extents, entries, attributes\n"
			 "  block N             what is there", 2, 4, &count);
	q.pool = args[0];
	q.what = args[1];
	q.arg = count > 2 ? args[2] : NULL;
	q.type = count > 3 ? args[3] : NULL;
	if (!what_is_known(q.what))
		cli_usage("%s: no such structure", q.what);
	rc = adit__media_open(&q.media, q.pool, ADIT_MEDIA_RDONLY, 0, (enum adit_domain)cli.assume);
	if (rc < 0)
		return cli_fail_pool(rc, q.pool, "cannot open the pool");
	if (q.media.pm.size_bytes < (ADIT_SUPER_COPY + 1) * (uint64_t)ADIT_BLOCK) {
		adit__media_close(&q.media);
		return cli_error("%s: too small for a pool", q.pool);
	}
	/* A device has no private mapping: opening it would disturb whoever works on it. */
	if (q.media.is_device && adit__media_lock(&q.media, false, 0, 0) != 0) {
		adit__media_close(&q.media);
		return cli_fail_pool(-EBUSY, q.pool, "cannot look into it");
	}
	o = describe_guarded(&q);
	adit__media_close(&q.media);
	if (o == NULL)
		return CLI_FAILED;
	if (cli.json) {
		cli_json_print(o);
	} else {
		print_in_words(o, 0);
		json_decref(o);
	}
	return CLI_OK;
}
