/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * top_screen.c - adit top on a terminal.
 */
#include <curses.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/top.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = sig;
}

/* ---- numbers ------------------------------------------------------------------------------------------ */

#define NUMBER 16

/* In at most seven places: "950", "12.3k", "4.56M". */
static const char *number(char *buf, double v)
{
	static const char units[] = " kMGTPE";
	unsigned u = 0;

	while (v >= 9999.5 && u < sizeof units - 2) {
		v /= 1000;
		u++;
	}
	if (u == 0)
		snprintf(buf, NUMBER, v > 0 && v < 9.95 ? "%.1f" : "%.0f", v);
	else
		snprintf(buf, NUMBER, v < 99.95 ? "%.1f%c" : "%.0f%c", v, units[u]);
	return buf;
}

static void put(const char *name, double v, const char *unit)
{
	char buf[NUMBER];

	printw("  %s ", name);
	attron(A_BOLD);
	printw("%s", number(buf, v));
	attroff(A_BOLD);
	printw("%s", unit);
}

/* ---- what is shown --------------------------------------------------------------------------------------- */

static void show_head(const struct cli_look *v, const struct top_sample *s, double interval)
{
	const struct cli_looked *now = &s->now;
	time_t t = (time_t)(s->time_ns / 1000000000);
	char clock[16];
	struct tm tm;

	localtime_r(&t, &tm);
	strftime(clock, sizeof clock, "%H:%M:%S", &tm);
	mvprintw(0, 0, "adit top  %s  %s  every %g s", v->path, clock, interval);
	move(1, 0);
	if (!now->in_use) {
		printw("nobody has it open for writing");
		return;
	}
	printw("incarnation %" PRIu64 ", %u process%s", now->stats.incarnation, now->alive,
	       now->alive == 1 ? "" : "es");
	if (now->stats.participants > now->alive)
		printw(", and %" PRIu64 " dead", now->stats.participants - now->alive);
	if (v->fs.alone)
		printw("; made by a version that let one in, which counts for itself");
	else if (now->stats.uncounted)
		printw("; the pool was full, and some threads count where nobody sees it");
}

static void show_space(const struct adit_pool_stats *s)
{
	char human[4][CLI_HUMAN];

	mvprintw(2, 0, "space   size %s  free %s  quarantined %s  lent %s",
		 cli_human(human[0], s->blocks * ADIT_BLOCK),
		 cli_human(human[1], s->free_blocks * ADIT_BLOCK),
		 cli_human(human[2], s->quarantined_blocks * ADIT_BLOCK),
		 cli_human(human[3], s->lent_blocks * ADIT_BLOCK));
}

static void show_rates(const struct adit_pool_stats *s, const struct top_rates *r)
{
	mvprintw(3, 0, "calls ");
	put("all", r->all, "/s");
	put("failed", r->failed, "/s");
	put("changes", r->changes, "/s");
	put("running", (double)s->running, "");
	put("waiting", (double)s->waiting, "");
	mvprintw(4, 0, "data  ");
	put("read", r->bytes_read, "B/s");
	put("written", r->bytes_written, "B/s");
	mvprintw(5, 0, "medium");
	put("flushed", r->flushed_lines, " lines/s");
	put("streamed", r->streamed_lines, " lines/s");
	put("fences", r->fences, "/s");
	put("a change:", r->lines_a_change, " lines,");
	put("", r->fences_a_change, " fences");
	mvprintw(6, 0, "log   ");
	put("records", r->records, "/s");
	put("bytes", r->record_bytes, "B/s");
	put("checkpoints", r->checkpoints, "/s");
	mvprintw(7, 0, "locks ");
	put("waits", r->lock_waits, "/s");
	put("of", r->lock_wait_us, " us");
	put("repairs", (double)s->repairs, "");
	put("out of space", (double)s->no_space, "");
	put("media errors", (double)s->media_errors, "");
}

struct row {
	unsigned kind;
	double rate;
	uint64_t total, failed;
};

static int by_rate(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->rate != y->rate)
		return x->rate < y->rate ? 1 : -1;
	if (x->total != y->total)
		return x->total < y->total ? 1 : -1;
	return x->kind < y->kind ? -1 : 1;
}

static void show_calls(const struct adit_pool_stats *s, const struct top_rates *r)
{
	struct row row[ADIT_CALL_KINDS];
	char buf[NUMBER];

	for (unsigned i = 0; i < ADIT_CALL_KINDS; i++)
		row[i] = (struct row){i, r->calls[i], s->calls[i], s->failed[i]};
	qsort(row, ADIT_CALL_KINDS, sizeof row[0], by_rate);
	attron(A_REVERSE);
	mvprintw(9, 0, "%-14s %10s %20s %16s", "CALL", "PER SECOND", "ALL", "FAILED");
	attroff(A_REVERSE);
	for (unsigned i = 0; i < ADIT_CALL_KINDS && row[i].total != 0; i++)
		mvprintw(10 + (int)i, 0, "%-14s %10s %20" PRIu64 " %16" PRIu64,
			 adit_stats_name(row[i].kind), number(buf, row[i].rate), row[i].total,
			 row[i].failed);
}

static void show(const struct cli_look *v, const struct top_sample *s, const struct top_rates *r,
		 double interval)
{
	erase();
	show_head(v, s, interval);
	show_space(&s->now.stats);
	show_rates(&s->now.stats, r);
	show_calls(&s->now.stats, r);
	attron(A_DIM);
	mvprintw(LINES - 1, 0, "q quit   + - interval");
	attroff(A_DIM);
	refresh();
}

/* ---- keys, time --------------------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static double other_interval(double now, bool longer)
{
	static const double steps[] = {0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60};
	const unsigned n = sizeof steps / sizeof steps[0];

	for (unsigned i = 0; longer && i < n; i++)
		if (steps[i] > now)
			return steps[i];
	for (unsigned i = n; !longer && i-- > 0;)
		if (steps[i] < now)
			return steps[i];
	return now;
}

/* Until the interval is over. False: it was asked to end. */
static bool wait_for_keys(const struct cli_look *v, const struct top_sample *s,
			  const struct top_rates *r, double *interval)
{
	int64_t began = now_ms(), left;
	unsigned at_once = 0; /* nothing came, and no time passed: the terminal has gone */

	while (!interrupted && (left = began + (int64_t)(*interval * 1000) - now_ms()) > 0) {
		int64_t asked = now_ms();
		int key;

		timeout((int)left);
		key = getch();
		if (key == 'q' || key == 'Q')
			return false;
		if (key == '+' || key == '=' || key == '-')
			*interval = other_interval(*interval, key != '-');
		if (key != ERR)
			show(v, s, r, *interval);
		at_once = key == ERR && left > 2 && now_ms() - asked < left / 2 ? at_once + 1 : 0;
		if (at_once > 20)
			return false;
	}
	return !interrupted;
}

/* The message is for the terminal as it was. */
static int take_again(struct cli_look *v, struct top_sample *s)
{
	int rc;

	endwin();
	rc = top_take(v, s);
	if (rc == CLI_OK)
		refresh();
	return rc;
}

static int loop(struct cli_look *v, double interval, unsigned long count)
{
	struct top_sample was, now;
	struct top_rates r = {0};
	int rc = top_take(v, &now);

	for (unsigned long i = 1; rc == CLI_OK; i++) {
		show(v, &now, &r, interval);
		if (!wait_for_keys(v, &now, &r, &interval) || i == count)
			break;
		was = now;
		rc = top_take(v, &now);
		if (rc != CLI_OK)
			rc = take_again(v, &now);
		if (rc == CLI_OK)
			top_compare(&was, &now, &r);
	}
	return rc;
}

int top_screen(struct cli_look *v, double interval, unsigned long count)
{
	const struct sigaction action = {.sa_handler = on_signal};
	SCREEN *screen = newterm(NULL, stdout, stdin);
	int rc;

	if (screen == NULL)
		return cli_error("the terminal type '%s' is not known; use --batch",
				 getenv("TERM") != NULL ? getenv("TERM") : "");
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	rc = loop(v, interval, count);
	endwin();
	delscreen(screen);
	return rc;
}
