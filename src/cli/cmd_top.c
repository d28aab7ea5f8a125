/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd_top.c - adit top: what goes on in a pool, from outside: on a terminal a screen (top_screen.c), else a line for
 * each interval, or JSON, or OpenMetrics in a file (top_metrics.c).
 *
 * It looks as adit ps does (look.h). Numbers of another incarnation are never compared with these.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/top.h"

/* ---- samples --------------------------------------------------------------------------------------- */

static int64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int top_take(struct cli_look *v, struct top_sample *out)
{
	int rc = cli_look_again(v);

	if (rc == CLI_OK)
		rc = cli_look_stats(v, &out->now);
	out->time_ns = now_ns(CLOCK_REALTIME);
	out->clock_ns = now_ns(CLOCK_MONOTONIC);
	return rc;
}

static bool changes_something(unsigned kind)
{
	switch (kind) {
	case ADIT_CALL_WRITE:
	case ADIT_CALL_CREATE:
	case ADIT_CALL_MKDIR:
	case ADIT_CALL_SYMLINK:
	case ADIT_CALL_LINK:
	case ADIT_CALL_UNLINK:
	case ADIT_CALL_RMDIR:
	case ADIT_CALL_RENAME:
	case ADIT_CALL_SETATTR:
	case ADIT_CALL_TRUNCATE:
	case ADIT_CALL_FALLOCATE:
	case ADIT_CALL_COPY:
	case ADIT_CALL_SETXATTR:
	case ADIT_CALL_REMOVEXATTR:
		return true;
	default:
		return false;
	}
}

void top_compare(const struct top_sample *was, const struct top_sample *now, struct top_rates *out)
{
	const struct adit_pool_stats *a = &was->now.stats, *b = &now->now.stats;
	double seconds = (double)(now->clock_ns - was->clock_ns) / 1e9;
	struct top_rates r = {.known = true, .seconds = seconds};

	*out = (struct top_rates){0};
	if (seconds <= 0 || !was->now.in_use || !now->now.in_use ||
	    a->incarnation != b->incarnation)
		return;
#define RATE(field) r.field = (double)(b->field - a->field) / seconds
	for (unsigned i = 0; i < ADIT_CALL_KINDS; i++) {
		double calls = (double)(b->calls[i] - a->calls[i]) / seconds;
		double failed = (double)(b->failed[i] - a->failed[i]) / seconds;

		r.calls[i] = calls;
		r.all += calls;
		r.failed += failed;
		if (changes_something(i))
			r.changes += calls - failed;
	}
	RATE(bytes_read);
	RATE(bytes_written);
	RATE(flushed_lines);
	RATE(streamed_lines);
	RATE(streamed_bytes);
	RATE(fences);
	RATE(records);
	RATE(record_bytes);
	RATE(checkpoints);
	RATE(lock_waits);
#undef RATE
	if (b->lock_waits != a->lock_waits)
		r.lock_wait_us = (double)(b->lock_wait_ns - a->lock_wait_ns) / 1e3 /
				 (double)(b->lock_waits - a->lock_waits);
	if (r.changes > 0) {
		r.lines_a_change = (r.flushed_lines + r.streamed_lines) / r.changes;
		r.fences_a_change = r.fences / r.changes;
	}
	*out = r;
}

/* ---- lines ------------------------------------------------------------------------------------------- */

#define LINES_A_HEAD 20u

static void print_line(const struct top_sample *s, const struct top_rates *r, unsigned long nth)
{
	const struct adit_pool_stats *st = &s->now.stats;
	time_t t = (time_t)(s->time_ns / 1000000000);
	char clock[16];
	struct tm tm;

	if (nth % LINES_A_HEAD == 0)
		printf("%-8s %5s %9s %9s %9s %8s %8s %9s %9s %6s %6s %8s %6s %9s %8s %6s %5s %5s "
		       "%8s %8s %6s\n",
		       "TIME", "PROCS", "CALLS/S", "READS/S", "WRITES/S", "MB_RD/S", "MB_WR/S",
		       "LINES/S", "FENCES/S", "LN/CHG", "FN/CHG", "RECS/S", "CKPT/S", "FREE_BLK",
		       "QUAR_BLK", "LENT", "RUN", "WAIT", "LOCKWT/S", "US/WAIT", "REPAIR");
	localtime_r(&t, &tm);
	strftime(clock, sizeof clock, "%H:%M:%S", &tm);
	printf("%-8s %5u %9.0f %9.0f %9.0f %8.1f %8.1f %9.0f %9.0f %6.1f %6.2f %8.0f %6.1f "
	       "%9" PRIu64 " %8" PRIu64 " %6" PRIu64 " %5" PRIu64 " %5" PRIu64
	       " %8.0f %8.0f %6" PRIu64 "\n",
	       clock, s->now.alive, r->all, r->calls[ADIT_CALL_READ], r->calls[ADIT_CALL_WRITE],
	       r->bytes_read / 1e6, r->bytes_written / 1e6, r->flushed_lines + r->streamed_lines,
	       r->fences, r->lines_a_change, r->fences_a_change, r->records, r->checkpoints,
	       st->free_blocks, st->quarantined_blocks, st->lent_blocks, st->running, st->waiting,
	       r->lock_waits, r->lock_wait_us, st->repairs);
	fflush(stdout);
}

/* ---- JSON ---------------------------------------------------------------------------------------------- */

static void json_real_rounded(json_t *o, const char *key, double v)
{
	json_object_set_new(o, key, json_real(round(v * 1000) / 1000));
}

static json_t *kinds_json(const uint64_t *n)
{
	json_t *o = json_object();

	for (unsigned i = 0; i < ADIT_CALL_KINDS; i++)
		cli_json_int(o, adit_stats_name(i), n[i]);
	return o;
}

static void add_totals(json_t *o, const struct adit_pool_stats *s)
{
	json_object_set_new(o, "calls", kinds_json(s->calls));
	json_object_set_new(o, "failed", kinds_json(s->failed));
#define TOTAL(field) cli_json_int(o, #field, s->field)
	TOTAL(bytes_read);
	TOTAL(bytes_written);
	TOTAL(records);
	TOTAL(record_bytes);
	TOTAL(checkpoints);
	TOTAL(flushed_lines);
	TOTAL(streamed_lines);
	TOTAL(streamed_bytes);
	TOTAL(fences);
	TOTAL(lock_waits);
	TOTAL(lock_wait_ns);
	TOTAL(repairs);
	TOTAL(no_space);
	TOTAL(media_errors);
	TOTAL(blocks);
	TOTAL(free_blocks);
	TOTAL(quarantined_blocks);
	TOTAL(lent_blocks);
	TOTAL(participants);
	TOTAL(running);
	TOTAL(waiting);
#undef TOTAL
	json_object_set_new(o, "uncounted", json_boolean(s->uncounted));
}

static json_t *rates_json(const struct top_rates *r)
{
	json_t *o = json_object(), *calls = json_object();

#define RATE(field) json_real_rounded(o, #field, r->field)
	RATE(seconds);
	for (unsigned i = 0; i < ADIT_CALL_KINDS; i++)
		json_real_rounded(calls, adit_stats_name(i), r->calls[i]);
	json_object_set_new(o, "calls", calls);
	RATE(all);
	RATE(failed);
	RATE(changes);
	RATE(bytes_read);
	RATE(bytes_written);
	RATE(flushed_lines);
	RATE(streamed_lines);
	RATE(streamed_bytes);
	RATE(fences);
	RATE(lines_a_change);
	RATE(fences_a_change);
	RATE(records);
	RATE(record_bytes);
	RATE(checkpoints);
	RATE(lock_waits);
	RATE(lock_wait_us);
#undef RATE
	return o;
}

static void print_json(const char *path, const struct top_sample *s, const struct top_rates *r)
{
	json_t *o = json_object();
	char *text;

	cli_json_bytes(o, "pool", path);
	cli_json_int(o, "time_ns", (uint64_t)s->time_ns);
	cli_json_int(o, "incarnation", s->now.stats.incarnation);
	json_object_set_new(o, "in_use", json_boolean(s->now.in_use));
	cli_json_int(o, "alive", s->now.alive);
	add_totals(o, &s->now.stats);
	if (r->known)
		json_object_set_new(o, "rates", rates_json(r));
	text = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER);
	puts(text);
	fflush(stdout);
	free(text);
	json_decref(o);
}

/* ---- the command ------------------------------------------------------------------------------------------ */

static double interval;
static int count = -1;
static char *metrics;
static int batch;

static void wait_for(double seconds)
{
	struct timespec t = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};

	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		;
}

static int show(const struct cli_look *v, const struct top_sample *s, const struct top_rates *r,
		unsigned long nth)
{
	if (metrics != NULL)
		return top_write_metrics(metrics, v, s);
	if (cli.json)
		print_json(v->path, s, r);
	else
		print_line(s, r, nth);
	return ferror(stdout) ? CLI_FAILED : CLI_OK;
}

/* Without an interval one sample of totals; with one, `samples` of rates (0: no end). */
static int show_all(struct cli_look *v, double every, unsigned long samples)
{
	struct top_sample was, now;
	struct top_rates r = {0};
	int rc = top_take(v, &now);

	/* What has only totals shows them at once. */
	if (rc == CLI_OK && (every == 0 || metrics != NULL)) {
		rc = show(v, &now, &r, 0);
		if (every == 0 || samples == 1)
			return rc;
		samples -= samples > 0;
	}
	for (unsigned long i = 0; rc == CLI_OK && (samples == 0 || i < samples); i++) {
		wait_for(every);
		was = now;
		rc = top_take(v, &now);
		top_compare(&was, &now, &r);
		if (rc == CLI_OK)
			rc = show(v, &now, &r, i);
	}
	return rc;
}

static int run(struct cli_look *v)
{
	bool screen = !batch && !cli.json && metrics == NULL && isatty(STDOUT_FILENO) &&
		      isatty(STDIN_FILENO);

	if (screen)
		return top_screen(v, interval > 0 ? interval : 1,
				  count > 0 ? (unsigned long)count : 0);
	if (metrics == NULL && !cli.json && interval == 0)
		interval = 1;
	/* One look at JSON and metrics, unless more was asked for. */
	if (count < 0 && cli.json && metrics == NULL)
		count = 1;
	if (count > 1 && interval == 0)
		interval = 1;
	return show_all(v, interval, count > 0 ? (unsigned long)count : 0);
}

int adit__cmd_top(int argc, char **argv)
{
	static const struct poptOption options[] = {
		{"interval", 'd', POPT_ARG_DOUBLE, &interval, 0,
		 "time between samples (default: 1)", "SECONDS"},
		{"count", 'n', POPT_ARG_INT, &count, 0, "end after so many samples", "N"},
		{"batch", 'b', POPT_ARG_NONE, &batch, 0, "lines, on a terminal too", NULL},
		{"metrics", 'm', POPT_ARG_STRING, &metrics, 0,
		 "write OpenMetrics, atomically; -: standard output", "FILE"},
		CLI_GLOBAL_OPTIONS};
	struct cli_look v;
	const char **args;
	int operands, rc;

	args = cli_parse(argc, argv, options, "POOL",
			 "Shows what goes on in a pool, in all processes: calls of each kind, "
			 "bytes, cache lines written\n"
			 "back, fences, the log, space, waiting. A screen on a terminal (q ends "
			 "it, + and - change the\n"
			 "interval), else a line for each interval. With --json one sample of "
			 "totals, and with --interval\n"
			 "rates, an object a line. Disturbs nobody; the permission to read the "
			 "pool is enough.",
			 1, 1, &operands);
	if (interval < 0 || interval > 86400 || interval != interval ||
	    (interval > 0 && interval < 0.01))
		cli_usage("--interval: 0.01 to 86400 seconds");
	if (count == 0 || count < -1)
		cli_usage("--count: at least 1");
	if (metrics != NULL && cli.json)
		cli_usage("--metrics and --json exclude each other");
	rc = cli_look_open(&v, args[0]);
	if (rc != CLI_OK)
		return rc;
	if (v.fs.alone && !cli.json && metrics == NULL)
		fprintf(stderr,
			"%s: %s: made by a version that let one process in, which counts for "
			"itself\n",
			cli.program, args[0]);
	rc = run(&v);
	cli_look_close(&v);
	return rc;
}
