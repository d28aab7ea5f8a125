/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crash - every crash, by enumeration (explore.h), over the tables of workload.c; and kill points
 * (kill.h).
 *
 * A new operation or state is one line of a table in workload.c: alone in every state, in pairs and
 * triples with all others, beside a checkpoint of another thread, and killed at its steps, it is then
 * tried without more being said.
 *
 *	crash				the quick tier
 *	crash --list			states and operations
 *	crash --only TEXT		workloads whose label contains it, or a list: single, pair, meet, ...
 *	crash --replay LABEL ID TIER	one image of a failure, as the failure prints it
 *	--jobs N, ADIT_JOBS=N		worker processes; the processors that are online
 *	ADIT_TIER=full|soak|weak|inorder	more images a point, or other memories: plan.c
 *	ADIT_SECONDS=n			soak, weak, inorder: how long, each list its share; else
 *					longer lists by chance until then
 *	ADIT_SEED=n			what chance begins with
 *	ADIT_FAILURES=n			stop after so many; 1
 *	ADIT_CRASH_IMAGE=path		a replay leaves its image there, before recovery
 *
 * A label is a state and operations: "dirty: rename /f /d/f2 0; unlink /o"; with a '-' behind the
 * state's name, what the state does after opening is left out. Exit: 0 when nothing failed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs.h"
#include "proof.h"

#define SOAK_SECONDS 600

typedef unsigned long long ull;

static const char *op_row(unsigned i)
{
	return i == TALLY_MAKING ? "open, mkfs" : op_word((enum op_kind)i);
}

static void print_tables(const struct tally *t)
{
	printf("%-12s %9s %11s %11s %10s %8s\n", "in", "points", "images", "distinct", "compared",
	       "nested");
	for (unsigned i = 0; i <= OP_KINDS; i++) {
		const struct counters *c = &t->by_op[i];

		if (c->images)
			printf("%-12s %9llu %11llu %11llu %10llu %8llu\n", op_row(i),
			       (ull)c->points, (ull)c->images, (ull)c->distinct, (ull)c->compared,
			       (ull)c->nested);
	}
	printf("distinct images at an operation's n-th point:");
	for (unsigned i = 1; i < TALLY_FENCES; i++)
		printf(" %u%s:%llu", i, i + 1 == TALLY_FENCES ? "+" : "", (ull)t->by_fence[i]);
	printf("\ndistinct images of crashes in recovery: %llu, in the recovery of those: %llu; "
	       "recovered with another lane: %llu\n",
	       (ull)t->by_level[1], (ull)t->by_level[2], (ull)t->lane_changed);
}

static void print_lists(const struct jobs *j, const struct tally *t)
{
	printf("workloads:");
	for (int c = 0; c < PLAN_CLASSES; c++) {
		if (c == PLAN_LONGER)
			printf(" %s %llu", plan_word(c), (ull)t->done[c]);
		else
			printf(" %s %llu of %llu,", plan_word(c), (ull)t->done[c],
			       (ull)plan_all(c));
	}
	printf("; %llu meetings of two threads; %llu kills in %llu operations", (ull)t->meetings,
	       (ull)t->kills, (ull)t->kill_operations);
	if (!j->whole)
		printf(" (the time ended before the lists, %llu workloads were cut short)",
		       (ull)t->cut);
	printf("\n");
}

static void write_matrix(struct proof *proof, const struct tally *t)
{
	const char *columns[TALLY_STATES];

	for (unsigned i = 0; i < workload_states_count; i++)
		columns[i] = workload_states[i].name;
	proof_matrix(proof, "distinct crash images per operation and state", columns,
		     workload_states_count);
	for (unsigned i = 0; i <= OP_KINDS; i++)
		if (t->by_op[i].images)
			proof_row(proof, op_row(i), t->matrix[i]);
}

/* It measures the time from here. */
static struct proof *begin_proof(const struct jobs *j)
{
	bool other = strcmp(j->tier->name, "weak") == 0 || strcmp(j->tier->name, "inorder") == 0;
	struct proof *proof;
	char name[40];

	snprintf(name, sizeof name, other ? "crash-%s" : "crash", j->tier->name);
	proof = proof_begin(
		name, other ? "R6" : "R1 R2 R3 R4 R5",
		"every image that memory may hold at a crash is recovered and compared with "
		"the model");
	proof_seed(proof, j->seed);
	return proof;
}

static void write_proof(struct proof *proof, const struct jobs *j, const struct tally *t)
{
	char text[200];

	proof_count(proof, "crash points", t->total.points);
	proof_count(proof, "images built", t->total.images);
	proof_count(proof, "distinct within their workload, each recovered", t->total.distinct);
	proof_count(proof, "distinct outcomes, each compared, checked and written to",
		    t->total.compared);
	proof_count(proof, "recoveries that were crashed in", t->total.nested);
	proof_count(proof, "images of crashes in recovery", t->by_level[1]);
	proof_count(proof, "images of crashes in the recovery of those", t->by_level[2]);
	proof_count(proof, "recovered with another lane than crashed", t->lane_changed);
	proof_count(proof, "points at which two threads met", t->meetings);
	proof_count(proof, "kills at a step", t->kills);
	for (int c = 0; c < PLAN_CLASSES; c++) {
		snprintf(text, sizeof text, "workloads: %s", plan_word(c));
		proof_count(proof, text, t->done[c]);
	}
	snprintf(text, sizeof text, "tier %s: see tests/crash/plan.c for the images a point",
		 j->tier->name);
	proof_note(proof, text);
	if (!j->whole)
		proof_note(
			proof,
			"the time ended before the lists: a part of each was tried, chosen by the "
			"seed");
	write_matrix(proof, t);
	(void)proof_end(proof, t->failures);
}

static void list(void)
{
	for (unsigned i = 0; i < workload_states_count; i++)
		printf("state %s\n", workload_states[i].name);
	for (unsigned i = 0; i < workload_ops_count; i++)
		printf("op    %s\n", workload_ops[i].text);
}

static const struct tier *need_tier(const char *name)
{
	const struct tier *t = tier_named(name);

	if (t == NULL) {
		fprintf(stderr, "crash: no tier %s\n", name);
		exit(2);
	}
	return t;
}

/* "quick/pair/1": tier, list, seed. */
static int replay(const char *label, const char *id, const char *from)
{
	static struct tally tally;
	char tier[20] = "quick", class[20] = "single";
	ull seed = 1;
	struct runner *r;
	int c = 0;
	bool ok;

	if (from)
		(void)sscanf(from, "%19[^/]/%19[^/]/%llu", tier, class, &seed);
	while (c < PLAN_LONGER && strcmp(plan_word(c), class) != 0)
		c++;
	r = runner_create(need_tier(tier), seed, NULL, &tally);
	ok = run_replay(r, c, label, id);
	runner_destroy(r);
	printf("%s: %llu images recovered, %llu kills\n", ok ? "passed" : "failed",
	       (ull)tally.total.distinct, (ull)tally.kills);
	return !ok;
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

int main(int argc, char **argv)
{
	static struct tally sum;
	const char *name = getenv("ADIT_TIER");
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	struct jobs j = {.tier = need_tier(name && *name ? name : "quick")};
	double began = jobs_now(), took;
	struct proof *proof;

	j.seed = from_environment("ADIT_SEED", 1);
	j.failures_max = from_environment("ADIT_FAILURES", 1);
	j.seconds = (double)from_environment("ADIT_SECONDS",
					     strcmp(j.tier->name, "soak") == 0 ? SOAK_SECONDS : 0);
	j.workers = (unsigned)from_environment("ADIT_JOBS", online > 0 ? (uint64_t)online : 1);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--list") == 0) {
			list();
			return 0;
		}
		if (strcmp(argv[i], "--replay") == 0 && i + 2 < argc)
			return replay(argv[i + 1], argv[i + 2], argv[i + 3]);
		if (i + 1 < argc && strcmp(argv[i], "--only") == 0) {
			j.only = argv[++i];
		} else if (i + 1 < argc && strcmp(argv[i], "--jobs") == 0) {
			j.workers = (unsigned)strtoul(argv[++i], NULL, 0);
		} else {
			fprintf(stderr,
				"crash: what is %s? See the first lines of tests/crash/crash.c.\n",
				argv[i]);
			return 2;
		}
	}
	if (j.workers == 0)
		j.workers = 1;
	proof = begin_proof(&j);
	jobs_run(&j, &sum);
	took = jobs_now() - began;
	print_tables(&sum);
	print_lists(&j, &sum);
	write_proof(proof, &j, &sum);
	printf("crash: %s tier, seed %llu, %u workers: %llu images at %llu points, %llu of them "
	       "distinct "
	       "and recovered, %llu outcomes compared and checked, %llu recoveries crashed in; "
	       "%.1f s, "
	       "%.0f images a second: %llu failures\n",
	       j.tier->name, (ull)j.seed, j.workers, (ull)sum.total.images, (ull)sum.total.points,
	       (ull)sum.total.distinct, (ull)sum.total.compared, (ull)sum.total.nested, took,
	       (double)sum.total.images / took, (ull)sum.failures);
	return sum.failures != 0;
}
