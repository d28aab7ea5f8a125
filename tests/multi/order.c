/* SPDX-License-Identifier: BSD-3-Clause */
/* order.c - the search for an order that explains a history: see history.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/env.h"

#include "history.h"
#include "model.h"

uint64_t search_tries;

/*
 * A call takes steps, each of them at one moment: it finds the directory that a name is in (A, B for the second name),
 * if that is not one of those that stay; what the name stands for (L), where that is then used; and does what it does
 * (X).  Between them others may go on, as they may on Linux.
 */
static const char *const steps[KINDS] = {"AX",	"AX",  "AX",  "ALBX", "AX", "AX",
					 "ABX", "ALX", "ALX", "ALX",  "X"};

/* Where each process is: so many calls are over, and so many steps of the next. */
struct at {
	uint8_t call[PROCESSES_MAX], step[PROCESSES_MAX];
};

#define SEEN_SLOTS (1u << 14)
static struct search {
	const struct history *h;
	uint64_t seen[SEEN_SLOTS]; /* states that were looked at: a table of hashes */
} search;

static const char *name_of(const struct call *c, bool second)
{
	return names[second ? c->b : c->a];
}

static bool is_deep(const char *name)
{
	return strlen(name) > 4;
}

static int hold_it(struct model *m, const char *name, unsigned slot)
{
	struct op op = {.kind = OP_HOLD, .n = {slot}};

	snprintf(op.path, sizeof op.path, "%s", name);
	return (int)model_apply(m, &op, 1);
}

static void let_go(struct model *m, unsigned slot)
{
	const struct op op = {.kind = OP_RELEASE, .n = {slot}};

	if (m->slot[slot] != MODEL_NONE)
		(void)model_apply(m, &op, 1);
}

/* The directory of a deep name: found and kept.  Slots of a process: one for each name. */
static int find_dir(struct model *m, const char *name, unsigned slot)
{
	char dir[40];
	int rc;

	if (!is_deep(name))
		return 0;
	snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(name, '/') - name), name);
	rc = hold_it(m, dir, slot);
	if (rc == 0 && (m->node[m->slot[slot]].mode & S_IFMT) != S_IFDIR)
		rc = -ENOTDIR;
	return rc;
}

/* How the name is reached now: its directory may have been moved. False: it is gone. */
static bool path_now(const struct model *m, const char *name, unsigned slot,
		     char path_[OP_PATH_MAX])
{
	char rest[OP_PATH_MAX], more[OP_PATH_MAX];
	uint32_t node;

	if (!is_deep(name)) {
		snprintf(path_, OP_PATH_MAX, "%s", name);
		return true;
	}
	snprintf(rest, sizeof rest, "%s", strrchr(name, '/'));
	for (node = m->slot[slot]; node != MODEL_ROOT; node = m->node[node].parent) {
		const struct model_node *up = &m->node[m->node[node].parent];

		if (m->node[node].nlink == 0)
			return false;
		for (uint32_t i = 0; i < up->entries; i++)
			if (up->entry[i].node == node) {
				snprintf(more, sizeof more, "/%s%.1000s", up->entry[i].name, rest);
				memcpy(rest, more, sizeof rest);
			}
	}
	memcpy(path_, rest, sizeof rest);
	return true;
}

/* What the name stands for, in the place of its directory. */
static int find_last(struct model *m, const char *name, unsigned slot)
{
	char now[OP_PATH_MAX];

	if (!path_now(m, name, slot, now))
		return -ENOENT;
	let_go(m, slot);
	return hold_it(m, now, slot);
}

static int64_t model_says(struct model *m, const struct call *c, unsigned slot, struct call *saw)
{
	static const enum op_kind kinds[KINDS] = {OP_CREATE, OP_CREATE,	  OP_MKDIR,
						  OP_LINK,   OP_UNLINK,	  OP_RMDIR,
						  OP_RENAME, OP_TRUNCATE, OP_CHMOD};
	bool held = strchr(steps[c->kind], 'L') != NULL;
	struct op op = {.kind = kinds[c->kind]};
	uint32_t node;

	if (c->kind == READDIR) {
		(void)model_resolve(m, c->a % 2 ? "/y" : "/x", &node);
		for (uint32_t i = 0; i < m->node[node].entries; i++)
			saw->size |= 1ull << (m->node[node].entry[i].name[0] - 'a');
		return 0;
	}
	if (c->kind == STAT) {
		const struct model_node *n = &m->node[m->slot[slot]];

		saw->mode = n->mode;
		saw->nlink = n->nlink;
		saw->size = (n->mode & S_IFMT) == S_IFREG ? n->size : 0;
		return 0;
	}
	if (held)
		snprintf(op.path, sizeof op.path, "@%u", slot);
	else if (!path_now(m, name_of(c, false), slot, op.path))
		return -ENOENT;
	if (strchr(steps[c->kind], 'B') && !path_now(m, name_of(c, true), slot + 1, op.path2))
		return -ENOENT;
	if (c->kind == OPEN_CREATE && model_resolve(m, op.path, &node) == 0)
		return (m->node[node].mode & S_IFMT) == S_IFDIR ? -EISDIR : 0;
	op.n[0] = c->kind == CREATE || c->kind == OPEN_CREATE ? 0644
		  : c->kind == MKDIR			      ? 0755
							      : c->n;
	return model_apply(m, &op, 1);
}

/* One step of a process. False: it would have had another result. *over: it was the last. */
static bool take_step(struct model *m, const struct call *c, unsigned process, char step,
		      bool *over)
{
	unsigned slot = 2 * process;
	struct call saw = {0};
	int64_t rc = 0;
	bool same = true;

	switch (step) {
	case 'A':
		rc = find_dir(m, name_of(c, false), slot);
		break;
	case 'B':
		rc = find_dir(m, name_of(c, true), slot + 1);
		break;
	case 'L':
		rc = find_last(m, name_of(c, false), slot);
		break;
	default:
		rc = model_says(m, c, slot, &saw);
		same = saw.mode == c->mode && saw.nlink == c->nlink && saw.size == c->size;
	}
	*over = rc != 0 || step == 'X';
	if (!*over)
		return true;
	let_go(m, slot);
	let_go(m, slot + 1);
	return rc == c->result && (rc != 0 || same);
}

/* Nodes in a number, the same however they came about: they are numbered as they are met. */
struct numbering {
	uint32_t queue[64], number[64];
	unsigned n;
};

static uint32_t number_of(struct numbering *q, uint32_t node)
{
	if (node >= 64)
		abort();
	if (q->number[node] == UINT32_MAX) {
		q->number[node] = q->n;
		q->queue[q->n++] = node;
	}
	return q->number[node];
}

static uint64_t fingerprint(const struct model *m, const struct at *at)
{
	uint64_t h = adit__hash64(1, at, sizeof *at);
	struct numbering q = {.n = 0};

	memset(q.number, 0xff, sizeof q.number);
	(void)number_of(&q, MODEL_ROOT);
	for (unsigned i = 0; i < MODEL_SLOTS; i++) {
		uint32_t n = m->slot[i] == MODEL_NONE ? UINT32_MAX : number_of(&q, m->slot[i]);

		h = adit__hash64(h, &n, sizeof n);
	}
	for (unsigned i = 0; i < q.n; i++) {
		const struct model_node *x = &m->node[q.queue[i]];
		const uint64_t facts[] = {x->mode, x->nlink, x->size, x->entries};

		h = adit__hash64(h, facts, sizeof facts);
		for (uint32_t k = 0; k < x->entries; k++) {
			uint32_t child = number_of(&q, x->entry[k].node);

			h = adit__hash64(h, &child, sizeof child);
			h = adit__hash64(h, x->entry[k].name, x->entry[k].len);
		}
	}
	return h | 1;
}

/* True: it is new. */
static bool remember(uint64_t state)
{
	for (unsigned i = 0; i < 64; i++) {
		uint64_t *slot = &search.seen[(state + i) % SEEN_SLOTS];

		if (*slot == state)
			return false;
		if (*slot == 0) {
			*slot = state;
			return true;
		}
	}
	return true; /* the table is full here: looked at again, perhaps */
}

/* May this one go on?  Not if another one that is not over had returned before it began. */
static bool may_go_on(const struct at *at, unsigned process)
{
	const struct history *h = search.h;

	for (unsigned q = 0; q < processes; q++)
		if (at->call[q] < h->calls[q] &&
		    h->call[q][at->call[q]].ended < h->call[process][at->call[process]].began)
			return false;
	return at->call[process] < h->calls[process];
}

static bool all_over(const struct at *at)
{
	for (unsigned q = 0; q < processes; q++)
		if (at->call[q] < search.h->calls[q])
			return false;
	return true;
}

/* Depth: at most four steps a call. */
static bool find_order(const struct model *m, const struct at *at)
{
	if (all_over(at))
		return true;
	for (unsigned p = 0; p < processes; p++) {
		const struct call *c = &search.h->call[p][at->call[p]];
		struct at next_at = *at;
		struct model next;
		bool found, over;

		if (!may_go_on(at, p))
			continue;
		search_tries++;
		model_clone(&next, m);
		found = take_step(&next, c, p, steps[c->kind][at->step[p]], &over);
		next_at.step[p] = over ? 0 : at->step[p] + 1;
		next_at.call[p] += over;
		found = found && remember(fingerprint(&next, &next_at)) &&
			find_order(&next, &next_at);
		model_finish(&next);
		if (found)
			return true;
	}
	return false;
}

bool makes_sense(const struct history *h)
{
	struct op op = {.kind = OP_MKDIR, .n = {0755}};
	struct at begin = {0};
	struct model m;
	bool found;

	search.h = h;
	memset(search.seen, 0, sizeof search.seen);
	model_init(&m, 0755);
	strcpy(op.path, "/x");
	(void)model_apply(&m, &op, 0);
	strcpy(op.path, "/y");
	(void)model_apply(&m, &op, 0);
	found = find_order(&m, &begin);
	model_finish(&m);
	return found;
}
