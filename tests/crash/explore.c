/* SPDX-License-Identifier: BSD-3-Clause */
/* explore.c - see explore.h. */
#include "explore.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/scratch.h"
#include "core/linux_abi.h"
#include "explore_int.h"
#include "fs/env.h"

#define WHOLE_CHECK_EVERY 16u

/* ---- failures ------------------------------------------------------------------------- */

void tally_where(const struct tally *t, char *text, size_t len)
{
	size_t at = 0;

	for (int i = 0; i <= t->depth && at < len; i++)
		at += (size_t)snprintf(text + at, len - at, "%s%d.%u.%llu", i ? "/" : "",
				       t->at[i].op, t->at[i].point,
				       (unsigned long long)t->at[i].number);
}

static void tell_where(const struct level *l)
{
	struct tally *t = l->x->tally;

	t->depth = (int)l->depth;
	t->at[l->depth].op = l->op;
	t->at[l->depth].point = l->point;
	t->at[l->depth].number = l->number;
}

void explorer_fail(struct explorer *x, unsigned depth, const char *format, ...)
{
	char id[ID_MAX * LEVELS], text[1500], op[OP_TEXT_MAX] = "";
	const struct level *l = &x->level[0];
	va_list args;

	if (x->failed)
		return;
	x->failed = true;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	for (unsigned i = 0; i <= depth; i++)
		tell_where(&x->level[i]);
	tally_where(x->tally, id, sizeof id);
	if (l->op > 0 && l->op <= x->w->n)
		op_print(&x->w->ops[l->op - 1], op, sizeof op);
	snprintf(x->failure, sizeof x->failure,
		 "FAILED %s: %s\n  %s: %.300s\n  again: crash --replay '%s' %s %s\n", x->w->label,
		 text, l->in_flight ? "in" : "after", op[0] ? op : "open", x->w->label, id,
		 x->w->tier);
}

const char *explorer_failure(const struct explorer *x)
{
	return x->failure;
}

bool explorer_met(const struct explorer *x)
{
	return x->met;
}

/* ---- recording -------------------------------------------------------------------------- */

struct sink explorer_sink;

/* A store, word by word durable at once (of a long one, line by line): a crash point behind each. */
static void store_in_order(struct level *l, uint64_t offset, const uint8_t *bytes, uint64_t len)
{
	uint64_t step = len > 1024 ? LINE_BYTES : 8;

	while (len > 0) {
		uint64_t now = step - offset % step < len ? step - offset % step : len;

		level_store(l, offset, bytes, now, true);
		level_fence(l);
		crash_point(l);
		offset += now;
		bytes += now;
		len -= now;
	}
}

static void stepped(const struct level *l)
{
	if (l->depth == 0 && l->x->meeting)
		meet_step(l->x);
}

static void stored(struct adit_pm *pm, const void *dst, size_t len, bool nt)
{
	uint64_t offset = (uint64_t)((const uint8_t *)dst - pm->base);
	struct level *l = explorer_sink.record;

	if (l == NULL) {
		if (explorer_sink.remember)
			level_touch(explorer_sink.remember, offset, len);
		return;
	}
	if (l->x->w->budget->in_order)
		store_in_order(l, offset, dst, len);
	else
		level_store(l, offset, dst, len, nt);
	stepped(l);
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
	struct level *l = explorer_sink.record;

	if (l == NULL)
		return;
	memory_flush(&l->memory, (uint64_t)((const uint8_t *)addr - pm->base), len);
	stepped(l);
}

static void on_fence(struct adit_pm *pm)
{
	struct level *l = explorer_sink.record;

	(void)pm;
	if (l == NULL)
		return;
	if (!l->x->w->budget->in_order) {
		crash_point(l);
		level_fence(l);
	}
	stepped(l);
}

static struct adit_record_hooks hooks = {on_store, on_nt, on_flush, on_fence};

/* ---- one image ---------------------------------------------------------------------------- */

/* The same image, its recovery recorded: crash points of the next level. */
static void recover_recorded(struct level *l)
{
	struct explorer *x = l->x;
	struct level *next = l->above;
	uint32_t lane = subject_lane;
	struct subject s;

	level_raise(l, x->areas);
	next->op = 0;
	subject_attach(&s, next->live, x->bytes);
	s.quiet = true;
	explorer_sink.record = next;
	explorer_sink.remember = NULL;
	subject_lane = (uint32_t)(l->number / 2 % 3);
	x->tally->total.nested++;
	x->tally->by_op[x->kind].nested++;
	if (subject_open(&s) == 0) {
		crash_point(next); /* opened, and nothing done yet */
		subject_abandon(&s);
	}
	subject_lane = lane;
}

static bool is_wanted(const struct level *l)
{
	const int *want = l->x->want[l->depth];

	return !l->x->replay ||
	       (want[0] == l->op && want[1] == (int)l->point && want[2] == (int)l->number);
}

static bool wants_nested(const struct level *l)
{
	const struct explorer *x = l->x;
	/* Opening and making a pool are short: look closer. */
	unsigned closer = x->kind == TALLY_MAKING ? 20 : 1, nest = x->w->budget->nest[l->depth];

	if (l->above == NULL)
		return false;
	if (x->replay)
		return x->want[l->depth + 1][1] >= 0;
	/* Chosen by what the image is, so that every workload and point has its share. */
	return nest && (l->image_hash >> 7) % nest < closer;
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

static void count_distinct(const struct level *l)
{
	struct explorer *x = l->x;
	struct tally *t = x->tally;
	unsigned fence = x->level[0].point;

	x->distinct++;
	t->total.distinct++;
	t->by_op[x->kind].distinct++;
	t->by_fence[fence < TALLY_FENCES ? fence : TALLY_FENCES - 1]++;
	t->by_level[l->depth]++;
	t->matrix[x->kind][x->w->number]++;
}

static void one_image(struct level *l, const struct choices *c)
{
	struct explorer *x = l->x;
	uint32_t id;
	bool nested;

	tell_where(l);
	l->image_hash = l->memory.hash;
	choices_build(c, l->number, level_put_line, l);
	x->tally->total.images++;
	x->tally->by_op[x->kind].images++;
	id = seen_get(&x->inputs, l->image_hash);
	/* Not allowed: to be looked at again, see judge. */
	if (id && !x->replay && judge_allows(x, id)) {
		level_put_back(l, x->areas);
		return;
	}
	count_distinct(l);
	nested = wants_nested(l);
	if (x->replay)
		keep_image(l);
	if (nested)
		recover_recorded(l);
	tell_where(l);
	if (!nested || !x->replay)
		id = judge(l);
	if (id && !judge_allows(x, id))
		explorer_fail(x, l->depth, "recovers to a state that is not allowed here");
	seen_put(&x->inputs, l->image_hash, id);
	level_put_back(l, x->areas);
}

static void look_at_the_clock(struct explorer *x)
{
	struct timespec t;

	if (x->tally->until == 0 || x->replay)
		return;
	clock_gettime(CLOCK_MONOTONIC, &t);
	if ((double)t.tv_sec < x->tally->until)
		return;
	x->cut = true;
	x->tally->cut++;
}

/* Called from within a fence of the core: its operation under way is put aside meanwhile. */
void crash_point(struct level *l)
{
	struct explorer *x = l->x;
	struct sink sink = explorer_sink;
	struct adit_op *under_way = adit__current_op;
	void (*blocked)(void) = subject_blocked;
	struct choices c;

	if ((l->depth == 0 && l->op < 0) || x->cut)
		return; /* not asked for */
	l->point++;
	adit__current_op = NULL;
	subject_blocked = NULL;
	choices_init(&c, &l->memory, l->memory.stamp, &x->w->budget->limits[l->depth],
		     x->w->seed ^ ((uint64_t)l->op << 32 | l->point) * 0x9e3779b9u);
	x->tally->total.points++;
	x->tally->by_op[x->kind].points++;
	for (l->number = 0; l->number < c.count && !x->failed && !x->cut; l->number++) {
		if (is_wanted(l))
			one_image(l, &c);
		if (l->number % 256 == 255 && !x->cut)
			look_at_the_clock(x);
	}
	choices_finish(&c);
	adit__current_op = under_way;
	subject_blocked = blocked;
	explorer_sink = sink;
}

/* ---- running -------------------------------------------------------------------------------- */

/* The volatile word of an inode: its open count. */
static bool only_open_count(const struct level *l, uint64_t line, const uint8_t *live,
			    const uint8_t *contents)
{
	const struct adit_inode_pm *ip = (const void *)live;
	uint8_t with[LINE_BYTES];

	(void)l;
	memcpy(with, contents, LINE_BYTES);
	memcpy(with + 16, live + 16, 8);
	return line % 4 == 0 && get32(ip->magic) == ADIT_MAGIC_INODE &&
	       memcmp(with, live, LINE_BYTES) == 0;
}

/* The images get what the live pool has there. */
static void sync_line(struct level *l, uint64_t offset, uint64_t bytes)
{
	uint32_t line = (uint32_t)(offset / LINE_BYTES);

	l->memory.hash -= memory_durable_hash(&l->memory, line);
	level_patch(l, offset, bytes);
	l->memory.hash += memory_durable_hash(&l->memory, line);
}

static bool is_lent(const struct explorer *x, uint64_t page)
{
	return x->s.fs && adit__is_scratch(x->s.fs, page * MEMORY_PAGE / ADIT_BLOCK);
}

static bool sync_page(struct explorer *x, uint64_t page)
{
	struct level *l = &x->level[0];
	const uint64_t lines = MEMORY_PAGE / LINE_BYTES;
	uint8_t contents[LINE_BYTES];

	if (memcmp(l->memory.durable + page * MEMORY_PAGE, l->live + page * MEMORY_PAGE,
		   MEMORY_PAGE) == 0)
		return true;
	if (is_lent(x, page)) {
		for (uint64_t line = page * lines; line < (page + 1) * lines; line++)
			sync_line(l, line * LINE_BYTES, LINE_BYTES);
		return true;
	}
	for (uint64_t line = page * lines; line < (page + 1) * lines; line++) {
		const uint8_t *live = l->live + line * LINE_BYTES;

		memory_line_prefix(&l->memory, (uint32_t)line, l->memory.line[line].pending,
				   contents);
		if (memcmp(contents, live, LINE_BYTES) == 0)
			continue;
		if (!only_open_count(l, line, live, contents)) {
			explorer_fail(x, 0, "a store to %#llx was not recorded",
				      (unsigned long long)(line * LINE_BYTES));
			return false;
		}
		sync_line(l, line * LINE_BYTES + 16, 8);
	}
	return true;
}

/* Volatile words that no hook sees: what the live pool has there, the images get. Anything else that
 * differs was stored past the header that records: looked for where something was stored, or inodes
 * are, and now and then everywhere. */
bool sync_volatile(struct explorer *x)
{
	struct level *l = &x->level[0];
	bool everywhere = x->runs % WHOLE_CHECK_EVERY == 0;
	const uint64_t *inodes = x->w->state ? x->w->state->inode_pages : NULL;

	for (unsigned i = 0; i < VOLATILE_AREAS; i++)
		level_patch(l, x->areas[i].offset, x->areas[i].end - x->areas[i].offset);
	for (uint64_t page = 0; page < x->bytes / MEMORY_PAGE; page++)
		if ((everywhere || l->stale[page / 64] >> page % 64 & 1 ||
		     (inodes && inodes[page / 64] >> page % 64 & 1)) &&
		    !sync_page(x, page))
			return false;
	return true;
}

/* Nothing was left behind between images. */
static void check_put_back(struct explorer *x)
{
	struct level *l = &x->level[0];

	for (uint64_t page = 0; page < x->bytes / MEMORY_PAGE; page++)
		if ((x->runs % WHOLE_CHECK_EVERY == 0 || l->stale[page / 64] >> page % 64 & 1) &&
		    memcmp(l->work + page * MEMORY_PAGE, l->memory.durable + page * MEMORY_PAGE,
			   MEMORY_PAGE) != 0) {
			explorer_fail(x, 0, "recovery stored past the header that records");
			level_forget(l);
			return;
		}
}

static void want(struct explorer *x, const char *only)
{
	for (unsigned i = 0; i < LEVELS; i++)
		x->want[i][0] = x->want[i][1] = x->want[i][2] = -1;
	x->replay = only != NULL;
	for (unsigned i = 0; i < LEVELS && only && *only; i++) {
		if (sscanf(only, "%d.%d.%d", &x->want[i][0], &x->want[i][1], &x->want[i][2]) != 3)
			abort();
		only = strchr(only, '/') ? strchr(only, '/') + 1 : "";
	}
}

static void begin(struct explorer *x, const struct workload *w, const uint8_t *image)
{
	struct level *l = &x->level[0];

	x->w = w;
	want(x, w->only);
	seen_clear(&x->inputs);
	seen_clear(&x->outputs);
	level_reset(l, image, x->areas);
	subject_attach(&x->s, l->live, x->bytes);
	x->s.quiet = true;
	x->failed = x->making = x->cut = false;
	x->met = true;
	x->failure[0] = '\0';
	x->distinct = 0;
	x->torn.node = MODEL_NONE;
	x->kind = (enum op_kind)TALLY_MAKING;
	x->runs++;
	l->memory.stamp = 0;
	l->op = -1;
	explorer_sink = (struct sink){.record = l};
	adit__record = &hooks;
}

/* What nobody sees stored is put back from the base all the same. */
static void forget_lent(struct explorer *x)
{
	for (const struct adit_scratch *s = NULL; (s = adit__scratch_next(x->s.fs, s));)
		level_stale(&x->level[0], adit__offset_of(x->s.fs, s), ADIT_BLOCK);
}

static bool finish(struct explorer *x)
{
	explorer_sink = (struct sink){0};
	adit__record = NULL;
	if (x->s.fs) {
		forget_lent(x);
		subject_abandon(&x->s);
	}
	return !x->failed;
}

/* ---- what is expected --------------------------------------------------------------------- */

/* A restart leaves nothing open. */
static void restarted(struct model *to, const struct model *m)
{
	model_clone(to, m);
	model_restart(to);
}

void expect(struct explorer *x, struct model *m, const struct op *op, int64_t now,
	    struct expected *e)
{
	uint64_t version = m->version;

	model_clone(&e->saved, m);
	restarted(&e->before, m);
	x->torn = model_may_tear(m, op);
	e->want = model_apply(m, op, now);
	restarted(&e->after, m);
	x->before = &e->before;
	x->after = &e->after;
	if (m->version != version)
		x->before_id = x->after_id++;
	else
		x->before_id = x->after_id;
	x->kind = op->kind;
}

bool expect_result(struct explorer *x, struct model *m, struct expected *e, int64_t got)
{
	if (got == -ENOSPC && e->want >= 0) {
		/* Nothing has happened. What was taken for "after" may look just the same (times
		 * are coarse), so look again. */
		seen_clear(&x->inputs);
		seen_clear(&x->outputs);
		model_finish(m);
		model_clone(m, &e->saved);
		x->after = &e->before;
		x->after_id = x->before_id;
		e->want = got;
	}
	if (got != e->want)
		explorer_fail(x, 0, "the core says %lld, the model %lld", (long long)got,
			      (long long)e->want);
	return got == e->want;
}

void expect_finish(struct expected *e)
{
	model_finish(&e->before);
	model_finish(&e->after);
	model_finish(&e->saved);
}

static bool step(struct explorer *x, struct model *m, int i, bool looked)
{
	const struct op *op = &x->w->ops[i];
	int64_t now = x->w->state->now + 1 + i, got;
	struct level *l = &x->level[0];
	struct expected e;

	expect(x, m, op, now, &e);
	l->op = looked ? i + 1 : -1;
	if (looked && !sync_volatile(x))
		goto out;
	l->memory.stamp++;
	l->point = 0;
	l->in_flight = true;
	got = subject_apply(&x->s, op, now);
	l->memory.thread = subject_lane % MEMORY_THREADS;
	l->in_flight = false;
	if (x->failed)
		goto out;
	if (expect_result(x, m, &e, got)) {
		if (x->s.reports)
			explorer_fail(x, 0, "complained: %s", x->s.report);
		else if (looked && sync_volatile(x))
			crash_point(l);
	}
out:
	expect_finish(&e);
	return !x->failed;
}

/* "meet", and the two behind it. */
static bool is_meeting(const struct workload *w, int i)
{
	return w->ops[i].kind == OP_MEET && i + 2 < w->n &&
	       (w->ops[i + 1].kind == OP_CHECKPOINT || w->ops[i + 2].kind == OP_CHECKPOINT);
}

static void run_all(struct explorer *x, struct model *m)
{
	const struct workload *w = x->w;

	for (int i = 0; i < w->n; i++) {
		if (is_meeting(w, i)) {
			if (!meet(x, m, &w->ops[i], i + 1, w->state->now + 1 + i))
				return;
			i += 2;
		} else if (!step(x, m, i, i + 1 >= w->from)) {
			return;
		}
	}
}

bool explore(struct explorer *x, const struct workload *w)
{
	const struct state *state = w->state;
	struct level *l = &x->level[0];
	struct model m, start;

	memcpy(x->areas, state->areas, sizeof x->areas);
	begin(x, w, state->image);
	subject_now = state->now;
	subject_lane = state->lane;
	subject_full_after = state->full_after;
	subject_full_room = state->full_room;
	l->memory.thread = subject_lane % MEMORY_THREADS;
	model_clone(&m, &state->model);
	restarted(&start, &m);
	x->before = x->after = &start;
	x->before_id = x->after_id = 1;
	l->in_flight = true;
	l->op = w->from == 0 ? 0 : -1;
	if (subject_open(&x->s) != 0) {
		explorer_fail(x, 0, "open: %s", x->s.report);
	} else if (sync_volatile(x)) {
		if (w->from == 0)
			crash_point(l);
		run_all(x, &m);
	}
	if (!x->failed)
		check_put_back(x);
	model_finish(&start);
	model_finish(&m);
	return finish(x);
}

bool explore_mkfs(struct explorer *x, const uint8_t *old, const struct model *was,
		  const struct workload *w)
{
	struct level *l = &x->level[0];
	struct model empty;
	int err;

	if (x->zeros == NULL)
		x->zeros = calloc(1, x->bytes);
	if (x->zeros == NULL)
		abort();
	/* Where the volatile areas will be. */
	subject_attach(&x->s, l->live, x->bytes);
	if (subject_mkfs(&x->s, 2) || !subject_volatile(&x->s, x->areas))
		abort();
	level_forget(l);
	begin(x, w, old ? old : x->zeros);
	subject_now = 0;
	subject_lane = 0;
	model_init(&empty, 0755);
	x->before = was ? was : &empty;
	x->after = &empty;
	x->before_id = was ? 2 : 1;
	x->after_id = 1;
	x->making = true;
	l->op = 0;
	l->in_flight = true;
	err = subject_mkfs(&x->s, 2);
	l->in_flight = false;
	if (err)
		explorer_fail(x, 0, "mkfs: error %d", -err);
	else if (!x->failed)
		crash_point(l);
	model_finish(&empty);
	return finish(x);
}

/* ---- the explorer itself ---------------------------------------------------------------------- */

struct explorer *explorer_create(uint64_t bytes, struct tally *tally)
{
	struct explorer *x = calloc(1, sizeof *x);

	if (x == NULL)
		abort();
	x->tally = tally;
	x->bytes = bytes;
	for (unsigned i = 0; i < LEVELS; i++) {
		level_init(&x->level[i], x, i, bytes);
		if (i)
			x->level[i - 1].above = &x->level[i];
	}
	return x;
}

void explorer_destroy(struct explorer *x)
{
	for (unsigned i = 0; i < LEVELS; i++)
		level_finish(&x->level[i]);
	seen_finish(&x->inputs);
	seen_finish(&x->outputs);
	free(x->zeros);
	free(x);
}
