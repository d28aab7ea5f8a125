/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * refuse - the n-th of everything an operation asks for is refused, n = 1, 2, ... until it succeeds: each
 * operation of tests/crash/workload.c in each of its states.
 *
 *	block	  an allocation of blocks: -ENOSPC (or a way without it), and nothing has changed
 *	memory	  an allocation of memory, that one or all from then on: -ENOMEM, nothing has changed
 *	lane	  a lock or lane that is only tried is busy: the call succeeds
 *	ring	  the lane's ring has no room left and nobody made some: the call succeeds
 *	full	  k free blocks are left, k = 0, 1, ... until it succeeds; with 0, 1, 2 free inodes: -ENOSPC,
 *		  nothing has changed; freeing works at once, and what was refused works after it
 *
 * After each refusal the pool equals the model as it was before, nothing is missing in the counts, and the
 * call is made again on the same pool. At the end the check finds nothing. Also: mkfs, open, the check and
 * the repair with the n-th allocation of memory refused.
 *
 *	refuse				a sample of the states for each operation
 *	ADIT_SECONDS=n refuse		all states; ends after n seconds at the latest
 *	refuse --only TEXT		cases whose label contains it
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/check.h"
#include "core/linux_abi.h"
#include "proof.h"
#include "refuse.h"

struct refusals refusals;
static uint64_t cases[OP_KINDS];

static bool time_is_up(void)
{
	return trial_seconds(&refusals.trial) > refusals.trial.until - refusals.trial.began;
}

/* Does the pool have space for it, when nothing is refused? */
static bool has_room(const struct stage *g, const struct op *op)
{
	struct scene c;
	bool room;

	scene_begin(&c, g);
	room = subject_apply(&c.s, op, c.now + 1) != -ENOSPC;
	scene_end(&c);
	return room;
}

/* ---- one operation, refused again and again ------------------------------------------ */

/* A change in many steps that could not go on: everything is refused now, and opening again finishes it
 * or takes it back. */
static const char *judge_stopped(struct scene *c, const struct op *op, int64_t got, bool *done)
{
	const struct op try = {.kind = OP_CREATE, .path = "/x", .n = {0600}};
	const char *wrong;

	*done = true;
	refusals.stopped++;
	if (got != -EIO && got != -ENOSPC && got != -ENOMEM)
		return "the pool stopped, and the call says it did not";
	if (subject_apply(&c->s, &try, c->now + 1) != -EIO)
		return "the pool stopped, and takes new files";
	subject_refuse_alloc = 0;
	if (!scene_reopen(c))
		return "the pool stopped, and does not open again";
	wrong = scene_whole(c);
	if (!wrong || got != -EIO)
		return wrong;
	(void)model_apply(&c->m, op, ++c->now);
	return scene_whole(c);
}

/* What the refused call returned is as it must be; *done: it succeeded all the same. */
static const char *judge(struct scene *c, const struct op *op, int64_t got, int64_t error,
			 bool *done)
{
	static char text[100];
	struct model after;
	int64_t want;

	*done = false;
	if (c->s.fs->failed)
		return judge_stopped(c, op, got, done);
	if (got == error)
		return scene_refused(c);
	model_clone(&after, &c->m);
	want = model_apply(&after, op, c->now + 1);
	if (got != want) {
		model_finish(&after);
		snprintf(text, sizeof text, "returned %lld, should %lld or %lld", (long long)got,
			 (long long)want, (long long)error);
		return text;
	}
	model_finish(&c->m);
	c->m = after;
	c->now++;
	*done = true;
	return scene_whole(c);
}

static void blocks(const struct stage *g, const struct op *op, const char *label, bool room)
{
	struct scene c;
	bool done = false, struck = true;

	scene_begin(&c, g);
	for (unsigned n = 1; struck; n++) {
		const char *wrong;
		int64_t got;

		if (done) {
			scene_end(&c);
			scene_begin(&c, g);
		}
		c.s.fs->fail_alloc_at = n;
		got = subject_apply(&c.s, op, c.now + 1);
		struck = c.s.fs->fail_alloc_at == 0;
		c.s.fs->fail_alloc_at = 0;
		wrong = judge(&c, op, got, -ENOSPC, &done);
		if (!wrong && !struck && !done && room)
			wrong = "refused although nothing was";
		refusals.refused[op->kind][BLOCK] += struck;
		if (wrong) {
			refuse_failed(label, "block", n, wrong);
			break;
		}
	}
	scene_end(&c);
}

/* Memory that was got before is kept for later calls, so each n has a pool of its own. */
static void memory(const struct stage *g, const struct op *op, const char *label)
{
	bool done, struck = true;

	for (unsigned n = 1; struck && n < 200; n++) {
		const char *wrong;
		struct scene c;
		int64_t got;

		scene_begin(&c, g);
		subject_refuse_alloc = n;
		subject_refuse_alloc_all = n & 1;
		got = subject_apply(&c.s, op, c.now + 1);
		struck = got == -ENOMEM || subject_refuse_alloc == 0;
		subject_refuse_alloc = 0;
		wrong = judge(&c, op, got, struck ? -ENOMEM : -ENOSPC, &done);
		/* Then the same call on the same pool. */
		if (!wrong && struck && !done)
			wrong = judge(&c, op, subject_apply(&c.s, op, c.now + 1), -ENOSPC, &done);
		refusals.refused[op->kind][MEMORY] += struck;
		if (wrong)
			refuse_failed(label, "memory", n, wrong);
		scene_end(&c);
		if (wrong)
			return;
	}
}

/* Nothing may come of it. */
static void lanes(const struct stage *g, const struct op *op, const char *label, bool room)
{
	bool struck = true, done;

	for (unsigned n = 1; struck; n++) {
		const char *wrong;
		struct scene c;
		int64_t got;

		scene_begin(&c, g);
		subject_refuse_trylock = n;
		got = subject_apply(&c.s, op, c.now + 1);
		struck = subject_refuse_trylock == 0;
		subject_refuse_trylock = 0;
		wrong = judge(&c, op, got, room ? 1 : -ENOSPC, &done);
		refusals.refused[op->kind][LANE] += struck;
		if (wrong)
			refuse_failed(label, "lane", n, wrong);
		scene_end(&c);
		if (wrong)
			return;
	}
}

/* Operations go on until the lane has no room, while the lock that a checkpoint in passing tries is busy. */
static void ring(const struct stage *g, const struct op *op, const char *label, bool room)
{
	const struct op fill = {.kind = OP_CHMOD, .path = "/", .n = {0755}};
	const char *wrong = NULL;
	struct scene c;
	bool done;

	scene_begin(&c, g);
	subject_busy_lock = &c.s.fs->vol->ckpt_lock;
	while (wrong == NULL && ring_has_room(&c))
		if (!scene_both(&c, &fill))
			wrong = "the ring cannot be filled";
	scene_note(&c);
	if (wrong == NULL)
		wrong = judge(&c, op, subject_apply(&c.s, op, c.now + 1), room ? 1 : -ENOSPC,
			      &done);
	refusals.refused[op->kind][RING]++;
	if (wrong)
		refuse_failed(label, "ring", 1, wrong);
	scene_end(&c);
}

/* ---- the tables ------------------------------------------------------------------------- */

static void one(const struct stage *g, const char *text)
{
	char label[2 * OP_PATH_MAX];
	struct op *op;
	bool room;

	snprintf(label, sizeof label, "%s: %s", g->of->name, text);
	if (!trial_wants(&refusals.trial, label))
		return;
	if (workload_parse(text, &op) != 1)
		abort();
	cases[op->kind]++;
	room = has_room(g, op);
	blocks(g, op, label, room);
	memory(g, op, label);
	lanes(g, op, label, room);
	ring(g, op, label, room);
	free(op);
}

static void one_full(const struct stage *g, const char *text)
{
	char label[2 * OP_PATH_MAX];
	struct op *op;

	snprintf(label, sizeof label, "full %s: %s", g->of->name, text);
	if (!trial_wants(&refusals.trial, label))
		return;
	if (workload_parse(text, &op) != 1)
		abort();
	if (has_room(g, op))
		full(g, op, label);
	free(op);
}

/* Quick: a sample that has every operation in several states and every state with several operations. */
static bool chosen(unsigned s, unsigned o, unsigned stride)
{
	return refusals.trial.everything || refusals.trial.only || (s * 5 + o) % stride == 0;
}

static void all_states(void)
{
	for (unsigned s = 0; s < workload_states_count; s++) {
		const struct workload_state *of = &workload_states[s];
		struct stage g;

		if (!stage_make(&g, of))
			exit(2);
		for (unsigned o = 0;
		     o < workload_ops_count && !(refusals.trial.everything && time_is_up()); o++) {
			if (chosen(s, o, 4))
				one(&g, workload_ops[o].text);
			if (of->special.leave_blocks == 0 && chosen(s, o, 31))
				one_full(&g, workload_ops[o].text);
		}
		stage_finish(&g);
	}
}

/* ---- the end ------------------------------------------------------------------------------ */

static uint64_t write_proof(void)
{
	static const char *const columns[] = {"cases", "block", "memory", "lane", "ring", "full"};
	struct proof *p = proof_begin(
		"fault-refuse", "R20 R21",
		"the n-th block, inode, lock, ring or allocation of memory refused, and "
		"pools with 0, 1, 2, ... free blocks: nothing changed, nothing leaked");
	uint64_t sum = 0;

	proof_matrix(p, "refusals per operation", columns, 6);
	for (unsigned k = 0; k < OP_KINDS; k++) {
		uint64_t row[6] = {cases[k]};

		for (unsigned i = 0; i < REFUSALS; i++) {
			row[1 + i] = refusals.refused[k][i];
			sum += row[1 + i];
		}
		if (cases[k])
			proof_row(p, op_word((enum op_kind)k), row);
	}
	proof_count(p, "refusals", sum);
	proof_count(p, "pools filled to the brim", refusals.filled);
	proof_count(p, "refusals of memory in mkfs, open, check, repair", refusals.big);
	proof_count(p, "pools that stopped in the middle of a change, whole after opening again",
		    refusals.stopped);
	proof_note(p, "A lane or a ring cannot be refused for good: the call waits, or runs a "
		      "checkpoint; "
		      "shown is that it then succeeds.");
	proof_end(p, refusals.trial.failures);
	return sum;
}

int main(int argc, char **argv)
{
	uint64_t sum;

	trial_begin(&refusals.trial, "fault_refuse", argc, argv);
	all_states();
	if (refusals.trial.only == NULL || strncmp(refusals.trial.only, "memory ", 7) == 0)
		whole_pool();
	sum = write_proof();
	printf("fault_refuse: %llu refusals of blocks, memory, locks, rings; %llu full pools; %llu "
	       "stopped; "
	       "%llu refusals in mkfs, open, check, repair in %.1f s: %u failures\n",
	       (unsigned long long)sum, (unsigned long long)refusals.filled,
	       (unsigned long long)refusals.stopped, (unsigned long long)refusals.big,
	       trial_seconds(&refusals.trial), refusals.trial.failures);
	return refusals.trial.failures != 0;
}
