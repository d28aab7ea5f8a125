/* SPDX-License-Identifier: BSD-3-Clause */
/* explore.c - see explore.h. */
#include "explore.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/alloc.h"
#include "core/check.h"
#include "core/linux_abi.h"
#include "fs/env.h"
#include "seen.h"

#define TORN 0x80000000u /* in a state's number: torn by the running operation */
#define REFUSED 0x40000000u /* open said no, which is right while a pool is made */

struct range {
	uint64_t offset, len;
};

struct level {
	struct explorer *x;
	unsigned depth;
	struct memory memory;
	uint8_t *work;	 /* equal to memory.durable, but while an image is looked at */
	uint8_t *live;	 /* depth > 0: where recovery runs recorded */
	struct range *touched;
	size_t touches, touch_room;
	uint32_t *hashed, round; /* hash_now: lines that are in */
	uint64_t image_hash; /* of `work` now */
	/* Where we are: crash point `point` of operation `op`. */
	int op;
	unsigned point;
	bool in_flight; /* the operation has not returned */
	uint64_t number; /* of the image */
};

struct explorer {
	struct tier tier;
	uint64_t bytes;
	struct level level[LEVELS];
	struct subject s; /* level 0's */
	/* Expected. */
	const struct model *before, *after;
	uint32_t before_id, after_id;
	struct model_torn torn;
	bool making; /* mkfs: refusing is right as well */
	struct seen inputs, outputs; /* hash -> state */
	struct counters total, by_op[OP_KINDS + 1]; /* the last: mkfs and open */
	enum op_kind kind;
	/* Volatile areas, as the superblock has them. */
	struct range vol[3];
	/* Replay. */
	int want[LEVELS][3]; /* op, point, number; -1: any */
	bool replay;
	const char *label;
	const struct op *ops;
	int nops;
	unsigned failures;
};

/* ---- failures ------------------------------------------------------------------------- */

static void where(const struct explorer *x, unsigned depth, char *text, size_t len)
{
	size_t at = 0;

	for (unsigned i = 0; i <= depth && at < len; i++) {
		const struct level *l = &x->level[i];

		at += (size_t)snprintf(text + at, len - at, "%s%d.%u.%llu", i ? "/" : "", l->op,
				       l->point, (unsigned long long)l->number);
	}
}

static ADIT_PRINTF(3, 4) void fail(struct explorer *x, unsigned depth, const char *format, ...)
{
	char id[ID_MAX * LEVELS], text[1500], op[OP_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	where(x, depth, id, sizeof id);
	x->failures++;
	printf("FAILED %s: %s\n", x->label, text);
	if (x->level[0].op > 0 && x->level[0].op <= x->nops) {
		op_print(&x->ops[x->level[0].op - 1], op, sizeof op);
		printf("  %s: %.300s\n", x->level[0].in_flight ? "in" : "after", op);
	}
	printf("  again: crash --replay '%s' %s %s\n", x->label, id, x->tier.name);
	fflush(stdout);
}

/* ---- recording -------------------------------------------------------------------------- */

/* Whose stores these are: a level that records, or one that only remembers what to put back. */
static struct {
	struct level *record, *remember;
} sink;

static void touch(struct level *l, uint64_t offset, uint64_t len)
{
	if (l->touches == l->touch_room) {
		l->touch_room = l->touch_room ? 2 * l->touch_room : 4096;
		l->touched = realloc(l->touched, l->touch_room * sizeof *l->touched);
		if (l->touched == NULL)
			abort();
	}
	l->touched[l->touches++] = (struct range){offset, len};
}

static void crash_point(struct level *l);
static void merged(void *arg, uint32_t line);

/* A store, word by word durable at once (of a long one, line by line): a crash point behind each. */
static void store_in_order(struct level *l, uint64_t offset, const uint8_t *bytes, uint64_t len)
{
	uint64_t step = len > 1024 ? LINE_BYTES : 8;

	while (len > 0) {
		uint64_t now = step - offset % step < len ? step - offset % step : len;

		memory_store(&l->memory, offset, bytes, now, true);
		memory_fence(&l->memory, merged, l);
		crash_point(l);
		offset += now;
		bytes += now;
		len -= now;
	}
}

static void stored(struct adit_pm *pm, const void *dst, size_t len, bool nt)
{
	uint64_t offset = (uint64_t)((const uint8_t *)dst - pm->base);

	if (sink.record && sink.record->x->tier.in_order)
		store_in_order(sink.record, offset, dst, len);
	else if (sink.record)
		memory_store(&sink.record->memory, offset, dst, len, nt);
	else if (sink.remember)
		touch(sink.remember, offset, len);
}

static void on_store(struct adit_pm *pm, const void *dst, size_t len)
{
	stored(pm, dst, len, false);
}

static void on_nt(struct adit_pm *pm, const void *dst, size_t len)
{
	stored(pm, dst, len, true);
}

static void on_flush(struct adit_pm *pm, const void *addr, size_t len)
{
	if (sink.record)
		memory_flush(&sink.record->memory, (uint64_t)((const uint8_t *)addr - pm->base),
			     len);
}

static void merged(void *arg, uint32_t line)
{
	struct level *l = arg;
	uint64_t at = (uint64_t)line * LINE_BYTES;

	memcpy(l->work + at, l->memory.durable + at, LINE_BYTES);
}

static void on_fence(struct adit_pm *pm)
{
	struct level *l = sink.record;

	(void)pm;
	if (l == NULL || l->x->tier.in_order)
		return;
	crash_point(l);
	memory_fence(&l->memory, merged, l);
}

static struct adit_record_hooks hooks = {on_store, on_nt, on_flush, on_fence};

/* ---- one image ---------------------------------------------------------------------------- */

static void put_line(void *arg, uint32_t line, const uint8_t *contents)
{
	struct level *l = arg;
	uint8_t *at = l->work + (uint64_t)line * LINE_BYTES;

	l->image_hash -= memory_line_hash(line, at);
	l->image_hash += memory_line_hash(line, contents);
	memcpy(at, contents, LINE_BYTES);
	touch(l, (uint64_t)line * LINE_BYTES, LINE_BYTES);
}

/* `work` is `durable` again. */
static void put_back(struct level *l)
{
	for (size_t i = 0; i < l->touches; i++)
		memcpy(l->work + l->touched[i].offset, l->memory.durable + l->touched[i].offset,
		       l->touched[i].len);
	l->touches = 0;
	for (unsigned i = 0; i < sizeof l->x->vol / sizeof *l->x->vol; i++)
		memcpy(l->work + l->x->vol[i].offset, l->memory.durable + l->x->vol[i].offset,
		       l->x->vol[i].len);
}

/* The hash of `work` as it is now, from what was touched. */
static uint64_t hash_now(struct level *l)
{
	uint64_t h = l->memory.hash;

	l->round++;
	for (size_t i = 0; i < l->touches; i++) {
		uint64_t line = l->touched[i].offset / LINE_BYTES;
		uint64_t last = (l->touched[i].offset + l->touched[i].len - 1) / LINE_BYTES;

		for (; line <= last; line++) {
			if (l->hashed[line] == l->round)
				continue;
			l->hashed[line] = l->round;
			h -= memory_line_hash((uint32_t)line, l->memory.durable + line * LINE_BYTES);
			h += memory_line_hash((uint32_t)line, l->work + line * LINE_BYTES);
		}
	}
	return h;
}

static bool allowed(const struct explorer *x, uint32_t id)
{
	bool in_flight = x->level[0].in_flight;

	if (id & REFUSED)
		return in_flight && x->making;
	if (id & TORN)
		return in_flight && x->torn.node != MODEL_NONE && id == (TORN | x->after_id);
	return id == x->after_id || (in_flight && id == x->before_id);
}

/* New files can be made, and go again. */
static bool lives(struct explorer *x, struct subject *s, unsigned depth)
{
	static const char *const steps[] = {"create /live~30 0644", "write /live~30 0 5000",
					    "setxattr /live~30 user.l 20", "unlink /live~30"};
	struct adit_statfs st;
	struct op op;

	adit__core_statfs(s->fs, &st);
	for (unsigned i = 0; i < sizeof steps / sizeof *steps; i++) {
		int64_t got;

		if (!op_parse(steps[i], &op))
			abort();
		got = subject_apply(s, &op, subject_now + 1);
		if (got < 0 && !(got == -ENOSPC && st.available < 16)) {
			fail(x, depth, "after recovery: %s: error %lld", steps[i], (long long)-got);
			return false;
		}
		if (got < 0)
			break;
	}
	return true;
}

/* Which state the recovered pool is in; 0 and a message when it is none. */
static uint32_t identify(struct explorer *x, struct subject *s, unsigned depth)
{
	struct difference first, second;

	if (compare(s, x->after, NULL, NULL, &first) == 0)
		return x->after_id;
	if (x->level[0].in_flight) {
		if (compare(s, x->before, NULL, NULL, &second) == 0)
			return x->before_id;
		if (x->torn.node != MODEL_NONE &&
		    compare(s, x->after, x->before, &x->torn, &second) == 0)
			return TORN | x->after_id;
		fail(x, depth, "neither after (%s) nor before (%s)", first.text, second.text);
	} else {
		fail(x, depth, "returned, but: %s", first.text);
	}
	return 0;
}

static uint32_t look(struct explorer *x, struct subject *s, unsigned depth)
{
	int64_t now = subject_now;
	uint32_t lane = subject_lane;
	char text[400] = "";
	uint32_t id = identify(x, s, depth);
	int found = id ? adit__check_quiet(s->fs, text, sizeof text) : 0;

	x->total.recovered++;
	x->by_op[x->kind].recovered++;
	if (found) {
		fail(x, depth, "check after recovery: %d: %s", found, text);
		id = 0;
	}
	/* Half a mkfs has every reason to be spoken of. */
	if (id && s->reports && !(x->making && x->level[0].in_flight)) {
		fail(x, depth, "recovery complained: %s", s->report);
		id = 0;
	}
	if (id && !lives(x, s, depth))
		id = 0;
	subject_now = now;
	subject_lane = lane;
	return id;
}

/* Recover `work` and say which state it is in (0: failed). */
static uint32_t recover(struct level *l)
{
	struct explorer *x = l->x;
	struct subject s;
	uint64_t out;
	uint32_t id;
	int err;

	subject_attach(&s, l->work, x->bytes);
	s.quiet = true;
	sink.record = NULL;
	sink.remember = l;
	err = subject_open(&s);
	if (err) {
		if (x->making && l->x->level[0].in_flight)
			return REFUSED;
		fail(x, l->depth, "open: error %d: %s", -err, s.report);
		return 0;
	}
	out = hash_now(l);
	id = seen_get(&x->outputs, out);
	if (id == 0 || s.reports)
		id = look(x, &s, l->depth);
	seen_put(&x->outputs, out, id);
	subject_abandon(&s);
	return id;
}

/* The same image, its recovery recorded: crash points of the next level. */
static void recover_recorded(struct level *l)
{
	struct explorer *x = l->x;
	struct level *next = &x->level[l->depth + 1];
	struct subject s;

	memcpy(next->live, l->memory.durable, x->bytes);
	for (size_t i = 0; i < l->touches; i++)
		memcpy(next->live + l->touched[i].offset, l->work + l->touched[i].offset,
		       l->touched[i].len);
	memory_reset(&next->memory, next->live);
	next->memory.hash = l->image_hash;
	memcpy(next->work, next->live, x->bytes);
	next->op = 0;
	next->point = 0;
	subject_attach(&s, next->live, x->bytes);
	s.quiet = true;
	sink.record = next;
	sink.remember = NULL;
	x->total.nested++;
	if (subject_open(&s) == 0) {
		crash_point(next); /* opened, and nothing done yet */
		subject_abandon(&s);
	}
}

static bool is_wanted(const struct level *l)
{
	const int *want = l->x->want[l->depth];

	return !l->x->replay ||
	       (want[0] == l->op && want[1] == (int)l->point && want[2] == (int)l->number);
}

static bool wants_nested(const struct level *l, uint64_t distinct)
{
	const struct explorer *x = l->x;
	/* Opening and making a pool are short: look closer. */
	unsigned closer = x->kind == OP_KINDS ? 20 : 1;

	if (l->depth + 1 == LEVELS)
		return false;
	if (x->replay)
		return x->want[l->depth + 1][1] >= 0;
	return x->tier.nest[l->depth] && distinct * closer % x->tier.nest[l->depth] < closer;
}

/* For a look with other tools. */
static void keep_image(const struct level *l)
{
	const char *path = getenv("ADIT_CRASH_IMAGE");
	FILE *f = path ? fopen(path, "wb") : NULL;

	if (f == NULL)
		return;
	if (fwrite(l->work, 1, l->x->bytes, f) != l->x->bytes)
		printf("%s is not whole\n", path);
	fclose(f);
}

static void one_image(struct level *l, const struct choices *c)
{
	struct explorer *x = l->x;
	uint32_t id;
	bool nested;

	l->image_hash = l->memory.hash;
	choices_build(c, l->number, put_line, l);
	x->total.images++;
	x->by_op[x->kind].images++;
	id = seen_get(&x->inputs, l->image_hash);
	if (id && !x->replay) {
		if (!allowed(x, id))
			fail(x, l->depth, "recovers to a state that is not allowed here");
		put_back(l);
		return;
	}
	x->total.distinct++;
	x->by_op[x->kind].distinct++;
	nested = wants_nested(l, x->total.distinct);
	if (x->replay)
		keep_image(l);
	if (nested)
		recover_recorded(l);
	if (!nested || !x->replay)
		id = recover(l);
	if (id && !allowed(x, id))
		fail(x, l->depth, "recovers to a state that is not allowed here");
	seen_put(&x->inputs, l->image_hash, id);
	put_back(l);
}

/*
 * All images of this moment. Called from within a fence of the core: its operation under way is put
 * aside meanwhile.
 */
static void crash_point(struct level *l)
{
	struct explorer *x = l->x;
	struct level *record = sink.record, *remember = sink.remember;
	struct adit_op *under_way = adit__current_op;
	struct choices c;

	l->point++;
	if (l->depth == 0 && l->op < 0)
		return; /* not asked for */
	adit__current_op = NULL;
	choices_init(&c, &l->memory, l->memory.stamp, &x->tier.limits[l->depth],
		     ((uint64_t)l->op << 32 | l->point) * 0x9e3779b9u);
	x->total.points++;
	x->by_op[x->kind].points++;
	for (l->number = 0; l->number < c.count && x->failures < 5; l->number++)
		if (is_wanted(l))
			one_image(l, &c);
	choices_finish(&c);
	adit__current_op = under_way;
	sink.record = record;
	sink.remember = remember;
}

/* ---- running -------------------------------------------------------------------------------- */

/* Volatile words that no hook sees: what the live pool has there, the images get. Anything else that
 * differs was stored past the header that records. */
static bool sync_volatile(struct explorer *x)
{
	struct level *l = &x->level[0];
	uint8_t contents[LINE_BYTES];

	for (unsigned i = 0; i < sizeof x->vol / sizeof *x->vol; i++) {
		memory_patch(&l->memory, x->vol[i].offset, x->s.pm.base + x->vol[i].offset,
			     x->vol[i].len);
		memcpy(l->work + x->vol[i].offset, x->s.pm.base + x->vol[i].offset, x->vol[i].len);
	}
	for (uint64_t line = 0; line < x->bytes / LINE_BYTES; line++) {
		const uint8_t *live = x->s.pm.base + line * LINE_BYTES;
		const struct adit_inode_pm *ip = (const void *)live;
		uint32_t pending = l->memory.line[line].pending;

		if (line % 64 == 0 && memcmp(l->memory.durable + line * LINE_BYTES, live, 4096) == 0) {
			line += 63;
			continue;
		}
		if (pending == 0 &&
		    memcmp(l->memory.durable + line * LINE_BYTES, live, LINE_BYTES) == 0)
			continue;
		memory_line_prefix(&l->memory, (uint32_t)line, pending, contents);
		if (memcmp(contents, live, LINE_BYTES) == 0)
			continue;
		memcpy(contents + 16, live + 16, 8);
		if (line % 4 || get32(ip->magic) != ADIT_MAGIC_INODE ||
		    memcmp(contents, live, LINE_BYTES) != 0) {
			fail(x, 0, "a store to %#llx was not recorded",
			     (unsigned long long)(line * LINE_BYTES));
			return false;
		}
		l->memory.hash -= memory_line_hash((uint32_t)line, l->memory.durable + line * 64);
		memory_patch(&l->memory, line * LINE_BYTES + 16, live + 16, 8);
		l->memory.hash += memory_line_hash((uint32_t)line, l->memory.durable + line * 64);
		memcpy(l->work + line * LINE_BYTES + 16, live + 16, 8);
	}
	return true;
}

static void find_volatile(struct explorer *x, const struct adit_fs *fs)
{
	x->vol[0] = (struct range){get64(fs->super.vol_start) * ADIT_BLOCK,
				   get64(fs->super.vol_blocks) * ADIT_BLOCK};
	x->vol[1] = (struct range){(uint64_t)((uint8_t *)adit__group_vol(fs, 0) - fs->pm.base),
				   ADIT_BLOCK * fs->groups};
	x->vol[2] = (struct range){
		(uint64_t)((uint8_t *)adit__group_vol_bitmap(fs, 0) - fs->pm.base),
		ADIT_BLOCK * (uint64_t)fs->groups * fs->bitmap_blocks};
}

static void begin(struct explorer *x, const uint8_t *image, const char *label, const char *only)
{
	struct level *l = &x->level[0];

	for (unsigned i = 0; i < LEVELS; i++)
		x->want[i][0] = x->want[i][1] = x->want[i][2] = -1;
	x->replay = only != NULL;
	for (unsigned i = 0; i < LEVELS && only && *only; i++) {
		if (sscanf(only, "%d.%d.%d", &x->want[i][0], &x->want[i][1], &x->want[i][2]) != 3)
			abort();
		only = strchr(only, '/') ? strchr(only, '/') + 1 : "";
	}
	x->label = label;
	seen_clear(&x->inputs);
	seen_clear(&x->outputs);
	memory_reset(&l->memory, image);
	memcpy(l->work, image, x->bytes);
	memcpy(x->s.pm.base, image, x->bytes);
	memset(x->s.slot, 0, sizeof x->s.slot);
	x->s.reports = 0;
	x->making = false;
	x->torn.node = MODEL_NONE;
	l->memory.stamp = 0;
	l->op = -1;
	l->point = 0;
	sink.record = l;
	sink.remember = NULL;
	adit__record = &hooks;
}

/* What is compared with: a restart leaves nothing open. */
static void expect(struct model *restarted, const struct model *m)
{
	model_clone(restarted, m);
	model_restart(restarted);
}

static bool step(struct explorer *x, struct model *m, const struct op *op, int64_t now, bool looked)
{
	struct level *l = &x->level[0];
	uint64_t version = m->version;
	struct model before, after, saved;
	int64_t want, got;

	model_clone(&saved, m);
	expect(&before, m);
	x->torn = model_may_tear(m, op);
	want = model_apply(m, op, now);
	expect(&after, m);
	x->before = &before;
	x->after = &after;
	if (m->version != version)
		x->before_id = x->after_id++;
	else
		x->before_id = x->after_id;
	x->kind = op->kind;
	if (looked && !sync_volatile(x))
		goto out;
	l->memory.stamp++;
	l->point = 0;
	l->in_flight = true;
	if (!looked)
		l->op = -1;
	got = subject_apply(&x->s, op, now);
	if (got == -ENOSPC && want >= 0) {
		/* Nothing has happened. */
		model_finish(m);
		model_clone(m, &saved);
		x->after = &before;
		x->after_id = x->before_id;
		want = got;
	}
	if (got != want)
		fail(x, 0, "the core says %lld, the model %lld", (long long)got, (long long)want);
	l->in_flight = false;
	if (x->s.reports)
		fail(x, 0, "complained: %s", x->s.report);
	else if (looked && sync_volatile(x) && got == want)
		crash_point(l);
out:
	model_finish(&before);
	model_finish(&after);
	model_finish(&saved);
	return x->failures == 0;
}

bool explore(struct explorer *x, const struct state *state, const struct op *ops, int n, int from,
	     const char *label, const char *only)
{
	struct level *l = &x->level[0];
	struct model m, start;

	begin(x, state->image, label, only);
	x->failures = 0;
	x->ops = ops;
	x->nops = n;
	subject_now = state->now;
	subject_lane = state->lane;
	subject_full_after = state->full_after;
	subject_full_room = state->full_room;
	model_clone(&m, &state->model);
	expect(&start, &m);
	x->before = x->after = &start;
	x->before_id = x->after_id = 1;
	x->kind = OP_KINDS;
	l->in_flight = true;
	l->op = from == 0 ? 0 : -1;
	x->s.quiet = true;
	if (subject_open(&x->s) != 0) {
		fail(x, 0, "open: %s", x->s.report);
		goto out;
	}
	find_volatile(x, x->s.fs);
	if (!sync_volatile(x))
		goto out;
	if (from == 0)
		crash_point(l);
	for (int i = 0; i < n; i++) {
		bool looked = i + 1 >= from;

		l->op = i + 1;
		if (!step(x, &m, &ops[i], state->now + 1 + i, looked))
			break;
	}
	/* Nothing was left behind between images. */
	if (!x->failures && memcmp(l->work, l->memory.durable, x->bytes) != 0)
		fail(x, 0, "recovery stored past the header that records");
out:
	sink.record = NULL;
	adit__record = NULL;
	if (x->s.fs)
		subject_abandon(&x->s);
	model_finish(&start);
	model_finish(&m);
	return x->failures == 0;
}

bool explore_mkfs(struct explorer *x, const uint8_t *old, const struct model *was, const char *label,
		  const char *only)
{
	struct level *l = &x->level[0];
	uint8_t *zeros = calloc(1, x->bytes);
	struct model empty;
	int err;

	if (zeros == NULL)
		abort();
	/* Where the volatile areas will be. */
	x->s.quiet = true;
	if (subject_mkfs(&x->s, 2) || subject_open(&x->s))
		abort();
	find_volatile(x, x->s.fs);
	subject_abandon(&x->s);
	begin(x, old ? old : zeros, label, only);
	free(zeros);
	x->failures = 0;
	x->ops = NULL;
	x->nops = 0;
	subject_now = 0;
	subject_lane = 0;
	model_init(&empty, 0755);
	x->before = was ? was : &empty;
	x->after = &empty;
	x->before_id = was ? 2 : 1;
	x->after_id = 1;
	x->making = true;
	x->kind = OP_KINDS;
	l->op = 0;
	l->in_flight = true;
	err = subject_mkfs(&x->s, 2);
	l->in_flight = false;
	if (err)
		fail(x, 0, "mkfs: error %d", -err);
	else
		crash_point(l);
	sink.record = NULL;
	adit__record = NULL;
	model_finish(&empty);
	return x->failures == 0;
}

/* ---- the explorer itself ---------------------------------------------------------------------- */

struct explorer *explorer_create(uint64_t bytes, const struct tier *tier)
{
	struct explorer *x = calloc(1, sizeof *x);

	if (x == NULL)
		abort();
	x->tier = *tier;
	x->bytes = bytes;
	subject_init(&x->s, bytes);
	for (unsigned i = 0; i < LEVELS; i++) {
		struct level *l = &x->level[i];

		l->x = x;
		l->depth = i;
		memory_init(&l->memory, bytes);
		l->work = malloc(bytes);
		l->hashed = calloc(bytes / LINE_BYTES, sizeof *l->hashed);
		l->live = malloc(bytes);
		if (l->work == NULL || l->live == NULL || l->hashed == NULL)
			abort();
	}
	return x;
}

void explorer_destroy(struct explorer *x)
{
	for (unsigned i = 0; i < LEVELS; i++) {
		memory_finish(&x->level[i].memory);
		free(x->level[i].work);
		free(x->level[i].live);
		free(x->level[i].touched);
		free(x->level[i].hashed);
	}
	seen_finish(&x->inputs);
	seen_finish(&x->outputs);
	subject_finish(&x->s);
	free(x);
}

const struct counters *explorer_counters(const struct explorer *x)
{
	return &x->total;
}

const struct counters *explorer_by_op(const struct explorer *x, unsigned kind)
{
	return &x->by_op[kind];
}
