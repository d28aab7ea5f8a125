/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd_ps.c - adit ps: who has a pool open for writing, and what they hold and wait for.
 *
 * Looks from outside, at a mapping that is only read: it takes part in nothing and disturbs nobody.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/look.h"
#include "share/participant.h"

/* What a participant's operations say at this moment. */
struct doing {
	uint32_t running, waiting, locks, lanes;
};

static struct doing what_does(const struct adit_fs *fs, uint32_t participant)
{
	uint64_t owner = (uint64_t)fs->incarnation << 32 | (participant + 1);
	struct doing d = {0};

	for (uint32_t i = 0; i < fs->nops; i++) {
		const struct adit_vol_op *op = &fs->ops[i];
		uint32_t state = __atomic_load_n(&op->state, __ATOMIC_RELAXED);

		if (__atomic_load_n(&op->owner, __ATOMIC_RELAXED) != owner || state == ADIT_OP_IDLE)
			continue;
		d.running += state == ADIT_OP_RUNNING;
		d.waiting += state == ADIT_OP_PARKED;
		d.locks += op->nlocks <= ADIT_OP_LOCKS ? op->nlocks : 0;
		d.lanes += op->lane != 0;
	}
	return d;
}

static uint64_t age_seconds(int64_t since_ns)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return since_ns > 0 && now.tv_sec > since_ns / 1000000000 ?
		       (uint64_t)(now.tv_sec - since_ns / 1000000000) : 0;
}

static void print_one(const struct adit_vol_participant *p, uint32_t i, bool alive, const struct doing *d)
{
	char name[sizeof p->name + 1] = "";
	json_t *o;

	memcpy(name, p->name, sizeof p->name);
	if (!cli.json) {
		printf("%11" PRIu32 " %9" PRIu64 " %-16.16s %-5s %9" PRIu64 " %7" PRIu32 " %7" PRIu32 " %5" PRIu32
		       " %5" PRIu32 "\n", i, p->pid, name, alive ? "alive" : "dead", age_seconds(p->since_ns),
		       d->running, d->waiting, d->locks, d->lanes);
		return;
	}
	o = json_object();
	cli_json_int(o, "participant", i);
	cli_json_int(o, "pid", p->pid);
	cli_json_bytes(o, "name", name);
	json_object_set_new(o, "alive", json_boolean(alive));
	cli_json_int(o, "age_seconds", age_seconds(p->since_ns));
	cli_json_int(o, "running", d->running);
	cli_json_int(o, "waiting", d->waiting);
	cli_json_int(o, "locks", d->locks);
	cli_json_int(o, "lanes", d->lanes);
	cli_json_item(o);
}

static void print_all(const struct cli_look *v)
{
	const struct adit_fs *fs = &v->fs;

	if (cli.json)
		cli_json_begin();
	else
		printf("%11s %9s %-16s %-5s %9s %7s %7s %5s %5s\n", "PARTICIPANT", "PID", "NAME", "STATE",
		       "SECONDS", "RUNNING", "WAITING", "LOCKS", "LANES");
	for (uint32_t i = 0; i < fs->nparticipants; i++) {
		const struct adit_vol_participant *p = &fs->participants[i];
		bool alive = adit__participant_is_there(v->media.fd, i);
		struct doing d;

		if (!cli_look_is_taken(v, i))
			continue;
		/* Whatever the last process left when it was killed: nobody is there. */
		if (!alive && !adit__others_are_there(v->media.fd))
			continue;
		d = what_does(fs, i);
		print_one(p, i, alive, &d);
	}
	if (cli.json)
		cli_json_end();
}

int adit__cmd_ps(int argc, char **argv)
{
	static const struct poptOption options[] = {CLI_GLOBAL_OPTIONS};
	struct cli_look v;
	const char **args;
	int count, rc;

	args = cli_parse(argc, argv, options, "POOL",
			 "Prints the processes that have the pool open for writing: how many of their calls run, how\n"
			 "many wait, how many locks and lanes of the log these hold. Disturbs nobody.", 1, 1, &count);
	rc = cli_look_open(&v, args[0]);
	if (rc != CLI_OK)
		return rc;
	if (v.fs.alone && !cli.json)
		printf("%s: made by a version that let one process in\n", args[0]);
	print_all(&v);
	cli_look_close(&v);
	return CLI_OK;
}
