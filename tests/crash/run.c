/* SPDX-License-Identifier: BSD-3-Clause */
/* run.c - see run.h. */
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kill.h"

#define POOL_BYTES   (4ull << 20)
#define LABEL_MAX    2000
#define SHRINK_TRIES 400

struct runner {
	const struct tier *tier;
	uint64_t seed;
	const char *only;
	struct tally *tally;
	struct explorer *explorer;
	struct state *states; /* made when first used */
	uint8_t *rubbish;
};

struct runner *runner_create(const struct tier *tier, uint64_t seed, const char *only,
			     struct tally *tally)
{
	struct runner *r = calloc(1, sizeof *r);

	if (r == NULL)
		abort();
	r->tier = tier;
	r->seed = seed;
	r->only = only;
	r->tally = tally;
	r->states = calloc(workload_states_count, sizeof *r->states);
	if (r->states == NULL || workload_states_count > TALLY_STATES)
		abort();
	r->explorer = explorer_create(POOL_BYTES, tally);
	return r;
}

void runner_destroy(struct runner *r)
{
	for (unsigned i = 0; i < workload_states_count; i++)
		if (r->states[i].image)
			state_finish(&r->states[i]);
	free(r->states);
	free(r->rubbish);
	explorer_destroy(r->explorer);
	free(r);
}

/* All at once: other workers print too. */
static void print(const char *text)
{
	size_t len = strlen(text);

	fflush(stdout);
	if (write(STDOUT_FILENO, text, len) != (ssize_t)len)
		abort();
}

static int parse(const char *text, struct op **ops)
{
	int n = workload_parse(text, ops);

	if (n < 0) {
		fprintf(stderr, "crash: what is \"%s\"?\n", text);
		exit(2);
	}
	return n;
}

static const struct state *state_of(struct runner *r, unsigned i)
{
	const struct workload_state *w = &workload_states[i];
	struct op *ops;
	int n;

	if (r->states[i].image)
		return &r->states[i];
	n = parse(w->setup, &ops);
	if (!state_make(&r->states[i], POOL_BYTES, ops, n, &w->special)) {
		fprintf(stderr, "crash: state %s cannot be made\n", w->name);
		exit(2);
	}
	free(ops);
	return &r->states[i];
}

/* ---- a list of operations ------------------------------------------------------------------------ */

/* Its own `before` first, unless the state is named with a '-' behind. */
struct list {
	unsigned state;
	bool bare;
	struct op *ops;
	int n, from;
	enum plan_class class;
	char label[LABEL_MAX];
};

static void name_list(struct list *l, const char *text)
{
	snprintf(l->label, sizeof l->label, "%s%s: %s", workload_states[l->state].name,
		 l->bare ? "-" : "", text);
}

static bool run_list(struct runner *r, const struct list *l, const char *id)
{
	struct workload w = {.state = state_of(r, l->state),
			     .number = l->state,
			     .ops = l->ops,
			     .n = l->n,
			     .from = l->from,
			     .label = l->label,
			     .seed = r->seed,
			     .budget = plan_budget(r->tier, l->class),
			     .only = id};
	char tier[60];

	snprintf(tier, sizeof tier, "%s/%s/%llu", r->tier->name, plan_word(l->class),
		 (unsigned long long)r->seed);
	w.tier = tier;
	snprintf(r->tally->label, sizeof r->tally->label, "%s", l->label);
	snprintf(r->tally->tier, sizeof r->tally->tier, "%s", tier);
	r->tally->busy = true;
	if (explore(r->explorer, &w)) {
		r->tally->busy = false;
		return true;
	}
	r->tally->busy = false;
	return false;
}

static void print_list(const struct list *l, char *text, size_t len)
{
	char one[OP_TEXT_MAX];
	size_t at = 0;

	text[0] = '\0';
	for (int i = 0; i < l->n && at < len; i++) {
		op_print(&l->ops[i], one, sizeof one);
		at += (size_t)snprintf(text + at, len - at, "%s%s", i ? "; " : "", one);
	}
}

/* Without operation i, when that fails too. */
static bool drop(struct runner *r, struct list *l, int i)
{
	struct list less = *l;
	char text[LABEL_MAX - 100];
	bool failed;

	less.ops = malloc((size_t)l->n * sizeof *less.ops);
	if (less.ops == NULL)
		abort();
	memcpy(less.ops, l->ops, (size_t)i * sizeof *less.ops);
	memcpy(less.ops + i, l->ops + i + 1, (size_t)(l->n - i - 1) * sizeof *less.ops);
	less.n--;
	if (i + 1 < less.from)
		less.from--;
	less.bare = true;
	print_list(&less, text, sizeof text);
	name_list(&less, text);
	failed = !run_list(r, &less, NULL);
	if (failed) {
		free(l->ops);
		*l = less;
	} else {
		free(less.ops);
	}
	return failed;
}

/* Drop operations as long as it goes on failing. What it counts is not what was tried. */
static void shrink(struct runner *r, struct list *l)
{
	struct tally *keep = malloc(sizeof *keep);
	int began = l->n, tries = 0;
	char text[100];

	if (keep == NULL)
		abort();
	*keep = *r->tally;
	for (bool any = true; any && l->n > 1 && tries < SHRINK_TRIES;) {
		any = false;
		for (int i = l->n - 1; i >= 0 && tries++ < SHRINK_TRIES; i--)
			any |= l->n > 1 && i < l->n && drop(r, l, i);
	}
	/* The last run may have been one that does not fail. */
	if (l->n < began && !run_list(r, l, NULL)) {
		snprintf(text, sizeof text, "shrunk from %d operations to %d:\n", began, l->n);
		print(text);
		print(explorer_failure(r->explorer));
	}
	*r->tally = *keep;
	free(keep);
}

static bool run_ops(struct runner *r, struct list *l)
{
	if (run_list(r, l, NULL))
		return true;
	print(explorer_failure(r->explorer));
	r->tally->failures++;
	shrink(r, l);
	return false;
}

/* Workload `text` behind the state's own operations. */
static void make_list(struct list *l, unsigned state, enum plan_class class, const char *text,
		      int looked)
{
	const char *before = workload_states[state].before;
	struct op *ops;
	char *all = malloc(strlen(before) + strlen(text) + 4);
	int skip = parse(before, &ops);

	if (all == NULL)
		abort();
	free(ops);
	memset(l, 0, sizeof *l);
	l->state = state;
	l->class = class;
	sprintf(all, "%s; %s", before, text);
	l->n = parse(all, &l->ops);
	free(all);
	/* 0: the open as well; -1: only what a meeting looks at itself. */
	if (looked)
		l->from = looked < 0		 ? l->n + 1
			  : l->n - looked < skip ? skip + 1
						 : l->n - looked + 1;
	name_list(l, text);
}

static bool run_text(struct runner *r, unsigned state, enum plan_class class, const char *text,
		     int looked, bool *met)
{
	struct list l;
	bool ok;

	make_list(&l, state, class, text, looked);
	ok = run_ops(r, &l);
	if (met)
		*met = explorer_met(r->explorer);
	free(l.ops);
	return ok;
}

/* ---- the lists' kinds ------------------------------------------------------------------------------- */

/* A pool is made on empty memory, over another pool, over rubbish. */
static const char *const makes[] = {"mkfs", "mkfs over a pool", "mkfs over rubbish"};

static bool run_make(struct runner *r, unsigned kind, const char *id)
{
	char tier[60];
	struct workload w = {.number = 0,
			     .label = makes[kind],
			     .seed = r->seed,
			     .only = id,
			     .budget = plan_budget(r->tier, PLAN_MAKE),
			     .tier = tier};
	const struct state *over = kind == 1 ? state_of(r, 0) : NULL;
	const uint8_t *old = over ? over->image : NULL;

	snprintf(tier, sizeof tier, "%s/make/%llu", r->tier->name, (unsigned long long)r->seed);
	if (kind == 2) {
		if (r->rubbish == NULL)
			r->rubbish = malloc(POOL_BYTES);
		if (r->rubbish == NULL)
			abort();
		op_fill(7, 0, r->rubbish, POOL_BYTES);
		old = r->rubbish;
	}
	snprintf(r->tally->label, sizeof r->tally->label, "%s", makes[kind]);
	snprintf(r->tally->tier, sizeof r->tally->tier, "%s", tier);
	r->tally->busy = true;
	if (!explore_mkfs(r->explorer, old, over ? &over->model : NULL, &w)) {
		print(explorer_failure(r->explorer));
		r->tally->failures++;
		r->tally->busy = false;
		return false;
	}
	r->tally->busy = false;
	return true;
}

/* At every step (of so many), until the first operation has none left. */
static bool run_meet(struct runner *r, const struct planned *p)
{
	bool met = true, ok = true;

	for (unsigned k = 1 + p->state % r->tier->meet_stride; ok && met;
	     k += r->tier->meet_stride) {
		char text[PLAN_TEXT_MAX + 20];

		snprintf(text, sizeof text, "meet %u; %s", k, p->text);
		ok = run_text(r, p->state, p->class, text, p->looked, &met);
	}
	return ok;
}

static bool run_kill(struct runner *r, unsigned state, const char *text, uint64_t stride,
		     uint64_t only)
{
	const struct workload_state *w = &workload_states[state];
	struct op *before, *op;
	int n = parse(w->before, &before);
	struct kill k = {.state = state_of(r, state),
			 .before = before,
			 .n = n,
			 .name = w->name,
			 .text = text,
			 .stride = stride,
			 .only = only,
			 .tally = r->tally};
	bool ok;

	(void)parse(text, &op);
	k.op = op;
	snprintf(r->tally->label, sizeof r->tally->label, "kill %s: %s", w->name, text);
	r->tally->busy = true;
	ok = kill_points(&k);
	r->tally->busy = false;
	r->tally->failures += !ok;
	free(before);
	free(op);
	return ok;
}

bool run_planned(struct runner *r, const struct planned *p)
{
	char label[PLAN_TEXT_MAX + 100];
	const char *state = p->class == PLAN_MAKE ? "" : workload_states[p->state].name;

	snprintf(label, sizeof label, "%s: %s", p->class == PLAN_MAKE ? makes[p->state] : state,
		 p->class == PLAN_KILL ? workload_ops[p->op].text : p->text);
	if (r->only && !strstr(label, r->only) && strcmp(plan_word(p->class), r->only) != 0)
		return true;
	if (p->class != PLAN_MAKE &&
	    !workload_is_for(&workload_states[p->state],
			     p->class == PLAN_KILL ? workload_ops[p->op].text : p->text))
		return true;
	r->tally->done[p->class]++;
	switch (p->class) {
	case PLAN_MAKE:
		return run_make(r, p->state, NULL);
	case PLAN_KILL:
		return run_kill(r, p->state, workload_ops[p->op].text, 1 + p->op % 7, 0);
	case PLAN_MEET:
		return run_meet(r, p);
	default:
		return run_text(r, p->state, p->class, p->text, p->looked, NULL);
	}
}

/* ---- once more ----------------------------------------------------------------------------------------- */

static bool replay_list(struct runner *r, unsigned state, bool bare, enum plan_class class,
			const char *text, const char *id)
{
	struct list l = {.state = state, .bare = bare, .class = class};
	bool ok;

	if (bare) {
		l.n = parse(text, &l.ops);
		name_list(&l, text);
	} else {
		make_list(&l, state, class, text, 1);
	}
	/* All operations may hold it; an id of the open has number 0. */
	l.from = id[0] == '0' && id[1] == '.' ? 0 : 1;
	ok = run_list(r, &l, id);
	if (!ok)
		print(explorer_failure(r->explorer));
	free(l.ops);
	return ok;
}

bool run_replay(struct runner *r, enum plan_class class, const char *label, const char *id)
{
	bool kill = strncmp(label, "kill ", 5) == 0;
	const char *name = kill ? label + 5 : label, *colon = strchr(name, ':');
	size_t len = colon ? (size_t)(colon - name) : 0;
	bool bare = len && name[len - 1] == '-';
	const char *text = colon ? colon + 1 + strspn(colon + 1, " ") : "";

	for (unsigned i = 0; i < sizeof makes / sizeof *makes; i++)
		if (strcmp(label, makes[i]) == 0)
			return run_make(r, i, id);
	len -= bare;
	for (unsigned s = 0; s < workload_states_count; s++) {
		if (strncmp(workload_states[s].name, name, len) != 0 ||
		    workload_states[s].name[len] != '\0')
			continue;
		if (kill)
			return run_kill(r, s, text, 1, strtoull(id, NULL, 0));
		return replay_list(r, s, bare, class, text, id);
	}
	fprintf(stderr, "crash: no state in \"%s\"\n", label);
	exit(2);
}
