/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * top_metrics.c - a sample as OpenMetrics text (the format of Prometheus with units and an end mark).
 *
 * Counters begin again at 0 with each incarnation, which readers of counters expect.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/pool_info.h"
#include "cli/top.h"

/* ---- text ------------------------------------------------------------------------------------------ */

/* As a label's value: UTF-8, with \, " and newlines escaped. */
static char *label_value(const char *bytes)
{
	json_t *o = json_object();
	const char *text;
	char *out, *at;

	cli_json_bytes(o, "v", bytes); /* what is not UTF-8 is replaced */
	text = json_string_value(json_object_get(o, "v"));
	at = out = cli_alloc(strlen(text) * 2 + 1);
	for (; *text != '\0'; text++) {
		if (*text == '\\' || *text == '"' || *text == '\n')
			*at++ = '\\';
		*at++ = *text == '\n' ? 'n' : *text;
	}
	json_decref(o);
	return out;
}

struct out {
	FILE *to;
	char *pool; /* escaped */
};

static void head(const struct out *o, const char *name, const char *type, const char *unit,
		 const char *help)
{
	fprintf(o->to, "# TYPE %s %s\n", name, type);
	if (unit != NULL)
		fprintf(o->to, "# UNIT %s %s\n", name, unit);
	fprintf(o->to, "# HELP %s %s\n", name, help);
}

static void counter(const struct out *o, const char *name, const char *unit, const char *help,
		    uint64_t v)
{
	head(o, name, "counter", unit, help);
	fprintf(o->to, "%s_total{pool=\"%s\"} %" PRIu64 "\n", name, o->pool, v);
}

static void gauge(const struct out *o, const char *name, const char *unit, const char *help,
		  uint64_t v)
{
	head(o, name, "gauge", unit, help);
	fprintf(o->to, "%s{pool=\"%s\"} %" PRIu64 "\n", name, o->pool, v);
}

static void by_kind(const struct out *o, const char *name, const char *help, const uint64_t *n)
{
	head(o, name, "counter", NULL, help);
	for (unsigned i = 0; i < ADIT_CALL_KINDS; i++)
		fprintf(o->to, "%s_total{pool=\"%s\",call=\"%s\"} %" PRIu64 "\n", name, o->pool,
			adit_stats_name(i), n[i]);
}

static void info(const struct out *o, const struct cli_look *v)
{
	const struct adit_super_pm *s = &v->fs.super;
	char label[sizeof s->label + 1] = "", uuid[CLI_UUID], *escaped;

	memcpy(label, s->label, sizeof s->label);
	escaped = label_value(label);
	head(o, "adit_pool", "info", NULL, "The pool.");
	fprintf(o->to, "adit_pool_info{pool=\"%s\",label=\"%s\",uuid=\"%s\",version=\"%s\"} 1\n",
		o->pool, escaped, cli_uuid_text(uuid, s->uuid), ADIT_VERSION);
	free(escaped);
}

static void what_happened(const struct out *o, const struct adit_pool_stats *s)
{
	by_kind(o, "adit_calls", "Calls that reached the pool, by kind.", s->calls);
	by_kind(o, "adit_call_errors", "Calls that ended in an error.", s->failed);
	counter(o, "adit_read_bytes", "bytes", "Bytes that calls read.", s->bytes_read);
	counter(o, "adit_written_bytes", "bytes", "Bytes that calls wrote.", s->bytes_written);
	counter(o, "adit_log_records", NULL, "Records committed to the log.", s->records);
	counter(o, "adit_log_bytes", "bytes", "Bytes of records committed to the log.",
		s->record_bytes);
	counter(o, "adit_checkpoints", NULL, "Checkpoints of the log.", s->checkpoints);
	counter(o, "adit_flushed_lines", NULL, "Cache lines given to write-back.",
		s->flushed_lines);
	counter(o, "adit_streamed_lines", NULL, "Cache lines written around the caches.",
		s->streamed_lines);
	counter(o, "adit_streamed_bytes", "bytes", "Bytes written around the caches.",
		s->streamed_bytes);
	counter(o, "adit_fences", NULL, "Store fences.", s->fences);
	counter(o, "adit_lock_waits", NULL, "Waits for a lock that slept.", s->lock_waits);
	head(o, "adit_lock_wait_seconds", "counter", "seconds", "Time slept in waits for locks.");
	fprintf(o->to, "adit_lock_wait_seconds_total{pool=\"%s\"} %" PRIu64 ".%09" PRIu64 "\n",
		o->pool, s->lock_wait_ns / 1000000000, s->lock_wait_ns % 1000000000);
	counter(o, "adit_repairs", NULL, "Repairs after the death of a process.", s->repairs);
	counter(o, "adit_no_space_errors", NULL, "Calls that ended in ENOSPC.", s->no_space);
	counter(o, "adit_media_errors", NULL, "Calls that a media error ended.", s->media_errors);
}

static void what_is(const struct out *o, const struct cli_looked *now)
{
	const struct adit_pool_stats *s = &now->stats;

	gauge(o, "adit_in_use", NULL,
	      "1: somebody has the pool open for writing; else there is nothing to count.",
	      now->in_use);
	gauge(o, "adit_incarnation", NULL,
	      "How often the pool was opened by the first of its users.", s->incarnation);
	gauge(o, "adit_size_bytes", "bytes", "Size of the pool.", s->blocks * ADIT_BLOCK);
	gauge(o, "adit_free_bytes", "bytes", "Free space, the quarantined and lent included.",
	      s->free_blocks * ADIT_BLOCK);
	gauge(o, "adit_quarantined_bytes", "bytes",
	      "Free from the next checkpoint on, or reserved by running calls.",
	      s->quarantined_blocks * ADIT_BLOCK);
	gauge(o, "adit_lent_bytes", "bytes", "Lent to shared tables in memory.",
	      s->lent_blocks * ADIT_BLOCK);
	gauge(o, "adit_participants", NULL, "Live processes that have the pool open for writing.",
	      now->alive);
	gauge(o, "adit_running_calls", NULL, "Calls under way.", s->running);
	gauge(o, "adit_waiting_calls", NULL, "Calls that wait for others.", s->waiting);
}

void top_print_metrics(FILE *to, const struct cli_look *v, const struct top_sample *s)
{
	struct out o = {to, label_value(v->path)};

	info(&o, v);
	what_is(&o, &s->now);
	if (s->now.in_use)
		what_happened(&o, &s->now.stats);
	fputs("# EOF\n", to);
	free(o.pool);
}

/* ---- files --------------------------------------------------------------------------------------------- */

static int write_temporary(int fd, const struct cli_look *v, const struct top_sample *s)
{
	FILE *f = fdopen(fd, "w");
	mode_t mask = umask(0);
	int err = 0;

	umask(mask);
	if (f == NULL) {
		err = errno;
		close(fd);
		return err;
	}
	top_print_metrics(f, v, s);
	/* As open(2) would have made it: its reader may be somebody else. */
	if (fflush(f) != 0 || fchmod(fd, 0666 & ~mask) != 0)
		err = errno;
	if (fclose(f) != 0 && err == 0)
		err = errno;
	return err;
}

int top_write_metrics(const char *file, const struct cli_look *v, const struct top_sample *s)
{
	char *temporary;
	int fd, err;

	if (strcmp(file, "-") == 0) {
		top_print_metrics(stdout, v, s);
		return fflush(stdout) == 0 ? CLI_OK : cli_fail(errno, "standard output");
	}
	temporary = cli_sprintf("%s.XXXXXX", file);
	fd = mkstemp(temporary);
	err = fd < 0 ? errno : write_temporary(fd, v, s);
	if (err == 0 && rename(temporary, file) != 0)
		err = errno;
	if (err != 0 && fd >= 0)
		unlink(temporary);
	free(temporary);
	return err == 0 ? CLI_OK : cli_fail(err, "%s", file);
}
