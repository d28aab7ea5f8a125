/* SPDX-License-Identifier: BSD-3-Clause */
/* exercise.c - see exercise.h. */
#include "exercise.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/file.h"
#include "core/linux_abi.h"
#include "core/namei.h"
#include "core/xattr.h"
#include "fs/env.h"
#include "fuzz.h"

/* What a run reaches is counted in the engine, not here: that would only be slow. */
#if defined(__clang__)
#pragma clang attribute push(__attribute__((no_sanitize("coverage"))), apply_to = function)
#endif

#define VIEW_MAX   4096u
#define VIEW_SLOTS 8192u
#define READ_BYTES 65536u
#define PIECES_MAX 64u /* of data that are read of a file */

static uint8_t buffer[READ_BYTES + 1];

/* ADIT_FUZZ_SAY: everything that happens, for whoever looks at one input. */
static bool say(void)
{
	static int wanted = -1;

	if (wanted < 0)
		wanted = getenv("ADIT_FUZZ_SAY") != NULL;
	return wanted;
}

/* "Damaged" is said with a line that says what. */
static void said(struct subject *s, int64_t rc, const char *what)
{
	if ((rc == -EUCLEAN || rc == -EBADMSG) && s->reports == 0)
		fuzz_fail("%s: error %d and not a word", what, (int)rc);
}

/* ---- looking ------------------------------------------------------------------------- */

static uint32_t find_node(const struct view *v, uint64_t ino, uint32_t *slot)
{
	uint32_t at = (uint32_t)(ino * 0x9e3779b97f4a7c15ull >> 51);

	while (v->slot[at % VIEW_SLOTS] && v->node[v->slot[at % VIEW_SLOTS] - 1].ino != ino)
		at++;
	*slot = at % VIEW_SLOTS;
	return v->slot[*slot] ? v->slot[*slot] - 1u : VIEW_MAX;
}

static void add_node(struct view *v, uint64_t ino)
{
	uint32_t slot;

	if (find_node(v, ino, &slot) != VIEW_MAX || v->nodes == VIEW_MAX)
		return;
	v->node[v->nodes] = (struct seen_node){.ino = ino};
	v->slot[slot] = (uint16_t)++v->nodes;
}

static void note(struct seen_node *n, unsigned what, const void *bytes, size_t len)
{
	unsigned i = (unsigned)__builtin_ctz(what);

	n->known |= what;
	n->hash[i] = n->hash[i] << 32 | adit__crc32c((uint32_t)n->hash[i], bytes, len);
}

static void look_at_attributes(struct subject *s, struct seen_node *n, uint64_t *size)
{
	struct adit_attr a;
	int err;

	memset(&a, 0, sizeof a);
	err = adit__getattr(s->fs, n->ino, &a);
	said(s, err, "getattr");
	if (err)
		return;
	n->mode = a.mode;
	*size = a.size;
	note(n, SEEN_ATTR, &a, sizeof a);
}

struct visiting {
	struct view *v;
	uint32_t node;
	uint64_t last;
};

static int visit(void *arg, uint64_t cookie, const void *name, size_t len,
		 const struct adit_dirent *de)
{
	struct visiting *w = arg;
	struct seen_node *n = &w->v->node[w->node];
	struct seen_entry *e;
	const uint64_t all[] = {cookie, de->ino, de->generation, de->dtype, len};

	if (len == 0 || len > ADIT_NAME_MAX)
		fuzz_fail("readdir gave a name of %zu bytes", len);
	if (cookie <= w->last && w->last)
		fuzz_fail("readdir: cookie %llu after %llu", (unsigned long long)cookie,
			  (unsigned long long)w->last);
	w->last = cookie;
	note(n, SEEN_ENTRIES, all, sizeof all);
	note(n, SEEN_ENTRIES, name, len);
	if (w->v->entries == VIEW_MAX)
		return 1;
	e = &w->v->entry[w->v->entries++];
	*e = (struct seen_entry){.dir = n->ino, .ino = de->ino, .len = (uint16_t)len};
	memcpy(e->name, name, len);
	return 0;
}

static void look_at_entries(struct subject *s, struct view *v, uint32_t node)
{
	struct seen_node *n = &v->node[node];
	struct visiting w = {.v = v, .node = node};
	uint32_t first = v->entries;
	int err;

	note(n, SEEN_ENTRIES, "", 0);
	err = adit__readdir(s->fs, n->ino, 0, visit, &w);
	said(s, err, "readdir");
	if (err)
		n->known &= ~SEEN_ENTRIES;
	for (uint32_t i = first; i < v->entries; i++) {
		struct adit_id id;

		err = adit__lookup(s->fs, n->ino, v->entry[i].name, v->entry[i].len, &id);
		said(s, err, "lookup");
		if (err == 0)
			add_node(v, id.ino);
	}
}

static void look_at_xattrs(struct subject *s, struct seen_node *n)
{
	static char list[ADIT_XATTR_VALUE_MAX];
	int64_t len = adit__listxattr(s->fs, n->ino, list, sizeof list), got;

	said(s, len, "listxattr");
	if (len < 0)
		return;
	note(n, SEEN_XATTRS, list, (size_t)len);
	for (int64_t at = 0; at < len; at += (int64_t)strlen(list + at) + 1) {
		got = adit__getxattr(s->fs, n->ino, list + at, buffer, READ_BYTES);
		said(s, got, "getxattr");
		if (got >= 0)
			note(n, SEEN_XATTRS, buffer, (size_t)got);
		else
			n->hash[2] = 0, n->known &= ~SEEN_XATTRS, len = 0;
	}
}

/* All data, by SEEK_DATA, so that huge holes cost nothing. */
static void look_at_data(struct subject *s, struct seen_node *n, uint64_t size)
{
	uint64_t at = 0;

	note(n, SEEN_DATA, &size, sizeof size);
	for (unsigned i = 0; at < size && i < PIECES_MAX; i++) {
		struct adit_iovec v = {buffer, READ_BYTES};
		int64_t data = adit__file_seek(s->fs, n->ino, at, SEEK_DATA), got;

		said(s, data, "seek");
		if (data == -ENXIO)
			return;
		got = data < 0 ? data : adit__file_read(s->fs, n->ino, &v, 1, (uint64_t)data);
		said(s, got, "read");
		if (got < 0) {
			n->known &= ~SEEN_DATA;
			return;
		}
		if (data < (int64_t)at)
			fuzz_fail("SEEK_DATA goes back");
		if (got == 0)
			return;
		note(n, SEEN_DATA, &data, sizeof data);
		note(n, SEEN_DATA, buffer, (size_t)got);
		at = (uint64_t)data + (uint64_t)got;
	}
}

static void look_at(struct subject *s, struct view *v, uint32_t i)
{
	struct seen_node *n = &v->node[i];
	uint64_t size = 0;
	int64_t len;

	look_at_attributes(s, n, &size);
	if (!(n->known & SEEN_ATTR))
		return;
	look_at_xattrs(s, n);
	switch (ADIT_S_TYPE(n->mode)) {
	case S_IFDIR:
		look_at_entries(s, v, i);
		break;
	case S_IFREG:
		look_at_data(s, n, size);
		break;
	case S_IFLNK:
		len = adit__readlink(s->fs, n->ino, buffer, READ_BYTES);
		said(s, len, "readlink");
		if (len >= 0)
			note(n, SEEN_LINK, buffer, (size_t)len);
		break;
	default:
		break;
	}
}

void view_take(struct subject *s, struct view *v)
{
	if (v->node == NULL) {
		v->node = malloc(VIEW_MAX * sizeof *v->node);
		v->entry = malloc(VIEW_MAX * sizeof *v->entry);
		v->slot = malloc(VIEW_SLOTS * sizeof *v->slot);
		if (v->node == NULL || v->entry == NULL || v->slot == NULL)
			abort();
	}
	v->nodes = v->entries = 0;
	memset(v->slot, 0, VIEW_SLOTS * sizeof *v->slot);
	add_node(v, ADIT_INO_ROOT);
	for (uint32_t i = 0; i < v->nodes; i++)
		look_at(s, v, i);
}

void view_free(struct view *v)
{
	free(v->node);
	free(v->entry);
	free(v->slot);
	memset(v, 0, sizeof *v);
}

static void compare_node(const struct view *was, const struct seen_node *n, unsigned ignore)
{
	static const char *const what[] = {"attributes", "names", "attributes' values",
					   "link target", "contents"};
	uint32_t slot, i = find_node(was, n->ino, &slot);
	const struct seen_node *w = &was->node[i];

	if (i == VIEW_MAX)
		fuzz_fail("SILENT: inode %llu was not there", (unsigned long long)n->ino);
	for (unsigned k = 0; k < SEEN_HASHES; k++)
		if (n->known & ~ignore & 1u << k && n->hash[k] != w->hash[k])
			fuzz_fail("SILENT: the %s of inode %llu differ", what[k],
				  (unsigned long long)n->ino);
}

void view_compare(struct subject *s, const struct view *was, const struct view *now,
		  unsigned ignore)
{
	struct adit_id id;

	for (uint32_t i = 0; i < now->nodes; i++)
		compare_node(was, &now->node[i], ignore);
	for (uint32_t i = 0; i < was->entries; i++) {
		const struct seen_entry *e = &was->entry[i];
		int err = adit__lookup(s->fs, e->dir, e->name, e->len, &id);

		if (err == -ENOENT || (err == 0 && id.ino != e->ino))
			fuzz_fail("SILENT: %.*s in %llu: error %d, inode %llu instead of %llu",
				  e->len, e->name, (unsigned long long)e->dir, err,
				  err ? 0ull : (unsigned long long)id.ino,
				  (unsigned long long)e->ino);
	}
	for (uint32_t i = 0; i < was->nodes; i++)
		if (ADIT_S_ISDIR(was->node[i].mode) &&
		    adit__lookup(s->fs, was->node[i].ino, "no such name", 12, &id) == 0)
			fuzz_fail("SILENT: a name that was never made is there");
}

/* ---- working --------------------------------------------------------------------------- */

struct step {
	uint8_t what, a, b, c;
	uint32_t v;
};

struct work {
	struct subject *s;
	const struct view *v;
	struct step p;
	struct adit_hold held[8];
	unsigned nheld;
};

static uint64_t some_ino(const struct work *w, uint8_t which)
{
	if (which == 255)
		return w->p.v;
	return w->v->nodes ? w->v->node[which * 7u % w->v->nodes].ino : ADIT_INO_ROOT;
}

static uint64_t some_dir(const struct work *w, uint8_t which)
{
	for (uint32_t i = 0; i < w->v->nodes; i++) {
		const struct seen_node *n = &w->v->node[(which + i) % w->v->nodes];

		if (ADIT_S_ISDIR(n->mode))
			return n->ino;
	}
	return ADIT_INO_ROOT;
}

struct place {
	uint64_t dir;
	char name[256];
	size_t len;
};

/* One that is there, or a new one. */
static struct place some_place(const struct work *w, uint8_t which, bool fresh)
{
	struct place p = {.dir = some_dir(w, which)};

	if (!fresh && w->v->entries) {
		const struct seen_entry *e = &w->v->entry[which * 5u % w->v->entries];

		p.dir = e->dir;
		p.len = e->len;
		memcpy(p.name, e->name, e->len);
		return p;
	}
	p.len = (size_t)snprintf(p.name, sizeof p.name, "new%u", w->p.c % 16u);
	if (w->p.c & 64) {
		memset(p.name + p.len, 'n', 255 - p.len);
		p.len = 255;
	}
	return p;
}

static uint64_t some_offset(const struct work *w)
{
	uint64_t v = w->p.v;

	switch (w->p.b % 8) {
	case 0:
		return v % 200;
	case 1:
		return v % 8192;
	case 2:
		return v % 1000 * ADIT_BLOCK;
	case 3:
		return v;
	case 4:
		return v << 24;
	case 5:
		return (uint64_t)INT64_MAX - v % 8192;
	case 6:
		return ~(uint64_t)v;
	default:
		return v % 300000;
	}
}

static size_t some_length(const struct work *w)
{
	static const uint32_t lengths[] = {0,	 1,	8,     100, 4095, 4096,
					   4097, 20000, 65536, 112, 113,  12288};

	return lengths[w->p.c % (sizeof lengths / sizeof *lengths)];
}

static int64_t work_on_file(struct work *w, uint64_t ino)
{
	struct adit_iovec v = {buffer, some_length(w)};
	static const int modes[] = {0, 1, 3, 0x10, 0x11, 8, 0x20, 0x40};
	uint64_t offset = some_offset(w);

	switch (w->p.what % 8) {
	case 0:
		return adit__file_write(w->s->fs, ino, &v, 1, &offset, 0);
	case 1:
		return adit__file_write(w->s->fs, ino, &v, 1, &offset, ADIT_WRITE_APPEND);
	case 2:
		return adit__file_write(w->s->fs, ino, &v, 1, &offset, ADIT_WRITE_ATOMIC);
	case 3:
		return adit__file_truncate(w->s->fs, ino, offset);
	case 4:
	case 5:
		if (w->p.v & 1)
			offset = offset / ADIT_BLOCK * ADIT_BLOCK;
		return adit__file_fallocate(w->s->fs, ino, modes[w->p.b / 8 % 8], offset,
					    w->p.v & 2 ? v.len : (w->p.c % 40 + 1) * ADIT_BLOCK);
	case 6:
		return adit__file_read(w->s->fs, ino, &v, 1, offset);
	default:
		return adit__file_seek(w->s->fs, ino, offset, 3 + w->p.c % 2);
	}
}

static int64_t make_some(struct work *w, uint32_t mode)
{
	struct adit_create c = {.mode = mode,
				.rdev = w->p.v,
				.link = buffer,
				.link_len = mode == (S_IFLNK | 0777) ? 1 + w->p.v % 4095 : 0};
	struct adit_id id;
	int err = 0;

	memset(buffer, 't', 4096);
	for (unsigned i = 0; i < (w->p.b == 255 ? 30u : 1u) && !err; i++) {
		struct place p = some_place(w, w->p.a, true);

		if (i)
			p.len = (size_t)snprintf(p.name, sizeof p.name, "%ubulk%u", i, w->p.v % 8);
		err = adit__create(w->s->fs, p.dir, p.name, p.len, &c, NULL, &id);
		said(w->s, err, "create");
	}
	return err;
}

static int64_t work_on_names(struct work *w)
{
	static const uint32_t modes[] = {S_IFREG | 0644, S_IFDIR | 0755, S_IFLNK | 0777,
					 S_IFCHR | 0600};
	struct place p = some_place(w, w->p.a, false), q = some_place(w, w->p.b, w->p.c & 128);
	struct adit_fs *fs = w->s->fs;
	struct adit_id id;

	switch (w->p.what % 8) {
	case 0:
		return make_some(w, modes[w->p.v % 4]);
	case 1:
		return adit__link(fs, some_ino(w, w->p.a), q.dir, q.name, q.len);
	case 2:
		return adit__unlink(fs, p.dir, p.name, p.len);
	case 3:
		return adit__rmdir(fs, p.dir, p.name, p.len);
	case 4:
	case 5:
		return adit__rename(fs, p.dir, p.name, p.len, q.dir, q.name, q.len,
				    w->p.c & 1 ? w->p.v % 8 : 0);
	case 6:
		return adit__lookup(fs, some_ino(w, w->p.b), p.name, p.len, &id);
	default:
		return adit__parent(fs, some_ino(w, w->p.a), &id);
	}
}

static int64_t work_on_attributes(struct work *w, uint64_t ino)
{
	struct adit_attr a = {.mode = w->p.v & 07777,
			      .uid = w->p.v,
			      .gid = w->p.b,
			      .mtime_ns = w->p.v,
			      .flags = (w->p.v & 7) << 9};
	struct adit_fs *fs = w->s->fs;
	char name[300];
	size_t len = 5;

	/* One that is there, or a new one. */
	snprintf(name, sizeof name, "user.attribute-%u", w->p.b % 50u);
	if (w->p.b & 64) {
		memset(name + len, 'x', 250);
		name[255] = '\0';
	}
	switch (w->p.what % 8) {
	case 0:
	case 1:
		return adit__setxattr(fs, ino, name, buffer, some_length(w), w->p.v % 3);
	case 2:
		return adit__removexattr(fs, ino, name);
	case 3:
		return adit__getxattr(fs, ino, name, buffer, READ_BYTES);
	case 4:
		return adit__setattr(fs, ino, w->p.c, &a);
	case 5:
		return adit__readlink(fs, ino, buffer, 4096);
	case 6:
		return adit__listxattr(fs, ino, (char *)buffer, READ_BYTES);
	default:
		return adit__getattr(fs, ino, &a);
	}
}

static int ignore_entry(void *arg, uint64_t cookie, const void *name, size_t len,
			const struct adit_dirent *de)
{
	(void)arg, (void)cookie, (void)name, (void)len, (void)de;
	return 0;
}

static int64_t work_otherwise(struct work *w, uint64_t ino)
{
	struct adit_create c = {.mode = S_IFREG | 0600};
	struct adit_fs *fs = w->s->fs;
	struct adit_statfs st;
	struct adit_id id;
	char text[400];
	int err;

	switch (w->p.what % 8) {
	case 0:
		err = w->nheld == 8 ? -EMFILE : adit__hold(fs, ino, 0, NULL, &w->held[w->nheld]);
		if (!err)
			w->nheld++;
		return err;
	case 1:
		return w->nheld ? adit__release(fs, &w->held[--w->nheld]) : 0;
	case 2:
		return adit__checkpoint(fs);
	case 3:
		return adit__readdir(fs, ino, (uint64_t)w->p.v << (w->p.b % 32), ignore_entry,
				     NULL);
	case 4:
		err = w->nheld == 8 ? -EMFILE
				    : adit__create_unnamed(fs, some_dir(w, w->p.a), &c,
							   &w->held[w->nheld], &id);
		if (!err)
			w->nheld++;
		return err;
	case 5:
		adit__core_statfs(fs, &st);
		return adit__check_quiet(fs, text, sizeof text) < 0 ? -ENOMEM : 0;
	case 6:
		subject_lane = w->p.b % 2;
		return 0;
	default:
		return adit__getattr(fs, w->p.v, &(struct adit_attr){0});
	}
}

void exercise_steps(struct subject *s, const struct view *v, const uint8_t *steps, size_t bytes)
{
	struct work w = {.s = s, .v = v};

	for (unsigned i = 0; i < STEPS_MAX && bytes >= STEP_BYTES; i++) {
		int64_t rc;

		memcpy(&w.p, steps, STEP_BYTES);
		subject_now++;
		switch (w.p.what / 8 % 4) {
		case 0:
			rc = work_on_file(&w, some_ino(&w, w.p.a));
			break;
		case 1:
			rc = work_on_names(&w);
			break;
		case 2:
			rc = work_on_attributes(&w, some_ino(&w, w.p.a));
			break;
		default:
			rc = work_otherwise(&w, some_ino(&w, w.p.a));
			break;
		}
		said(s, rc, "a change");
		if (say())
			fprintf(stderr, "step %u: what %u %u, a %u, b %u, c %u, v %u: %lld\n", i,
				w.p.what / 8u % 4, w.p.what % 8u, w.p.a, w.p.b, w.p.c, w.p.v,
				(long long)rc);
		steps += STEP_BYTES;
		bytes -= STEP_BYTES;
	}
	/* What is still held stays so: as when a process dies. */
}

void exercise_in_steps(bool wanted)
{
	subject_full_after = wanted ? 600 : 0;
	subject_full_room = 18200;
}

/* ---- all of it ---------------------------------------------------------------------------- */

static struct view view;

static bool open_it(struct subject *s)
{
	int err = subject_open(s);

	said(s, err, "open");
	return err == 0;
}

bool exercise(struct subject *s, const struct view *was, unsigned ignore, bool abandon,
	      const uint8_t *steps, size_t bytes)
{
	char text[400];

	s->reports = 0;
	s->quiet = !say();
	subject_lane = 0;
	if (!open_it(s))
		return false;
	view_take(s, &view);
	if (was)
		view_compare(s, was, &view, ignore);
	exercise_steps(s, &view, steps, bytes);
	view_take(s, &view);
	(void)adit__check_quiet(s->fs, text, sizeof text);
	if (abandon)
		subject_abandon(s);
	else
		(void)subject_close(s);
	if (!open_it(s))
		return false;
	view_take(s, &view);
	subject_abandon(s);
	return true;
}

struct finding {
	char *text;
	size_t len;
};

static void first_finding(void *arg, const struct adit_check_finding *f)
{
	struct finding *to = arg;

	char text[400];

	if (say()) {
		adit__check_describe(f, text, sizeof text);
		fprintf(stderr, "  pass %u: %s\n", f->pass, text);
	}
	if (to->text[0] == '\0' && f->severity != ADIT_CHECK_NOTE && !f->fixed)
		adit__check_describe(f, to->text, to->len);
}

static int check(struct subject *s, unsigned flags, struct adit_check_result *res, char *first,
		 size_t len)
{
	struct finding to = {first, len};
	struct adit_check_options o = {.flags = flags, .arg = &to, .finding = first_finding};

	first[0] = '\0';
	s->quiet = !say();
	if (say())
		fprintf(stderr, "fsck, flags %u\n", flags);
	return adit__check_media(&s->pm, subject_env(), s, &o, res);
}

void exercise_check(struct subject *s)
{
	struct adit_check_result res;
	char text[400];
	int err = check(s, 0, &res, text, sizeof text);

	/* A version to come is not for us to look at. */
	if (err && err != -EOPNOTSUPP && res.left == 0)
		fuzz_fail("fsck -n: error %d and nothing found", err);
}

static void must_be_clean(struct subject *s, const char *when)
{
	char text[400];
	int n = adit__check_quiet(s->fs, text, sizeof text);

	if (n != 0)
		fuzz_fail("%s: check: %d: %s", when, n, text);
}

bool exercise_repair(struct subject *s, const uint8_t *steps, size_t bytes)
{
	struct adit_check_result res;
	char text[400];
	int err = check(s, ADIT_CHECK_REPAIR, &res, text, sizeof text);

	if (err && err != -EOPNOTSUPP && res.left == 0)
		fuzz_fail("fsck -y: error %d and nothing left", err);
	if (err)
		return false;
	if (res.left)
		fuzz_fail("fsck -y: %llu left, after %u passes: %s", (unsigned long long)res.left,
			  res.passes, text);
	err = check(s, 0, &res, text, sizeof text);
	if (err || res.found)
		fuzz_fail("fsck -n after fsck -y: error %d, %llu found: %s", err,
			  (unsigned long long)res.found, text);
	s->reports = 0;
	err = subject_open(s);
	if (err)
		fuzz_fail("open after fsck -y: error %d: %s", err, s->report);
	view_take(s, &view);
	if (s->reports)
		fuzz_fail("looking after fsck -y: %s", s->report);
	exercise_steps(s, &view, steps, bytes);
	must_be_clean(s, "work after fsck -y");
	if (s->reports)
		fuzz_fail("work after fsck -y: %s", s->report);
	err = subject_close(s);
	if (err)
		fuzz_fail("close after fsck -y: error %d", err);
	err = check(s, 0, &res, text, sizeof text);
	if (err || res.found)
		fuzz_fail("fsck -n at the end: error %d, %llu found: %s", err,
			  (unsigned long long)res.found, text);
	return true;
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
