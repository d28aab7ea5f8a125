/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * top.h - what the parts of adit top share: samples, what is made of two of them, and the ways to show that.
 *
 * cmd_top.c takes samples and prints lines and JSON; top_metrics.c writes OpenMetrics; top_screen.c has the terminal.
 */
#ifndef ADIT_CLI_TOP_H
#define ADIT_CLI_TOP_H

#include <stdio.h>

#include "cli/look.h"

struct top_sample {
	struct cli_looked now;
	int64_t time_ns;  /* CLOCK_REALTIME */
	int64_t clock_ns; /* CLOCK_MONOTONIC */
};

/* What happened between two samples of one incarnation, a second. */
struct top_rates {
	bool known; /* there are two */
	double seconds;
	double calls[ADIT_CALL_KINDS];
	double all, failed, changes; /* calls; those that change something and did */
	double bytes_read, bytes_written;
	double flushed_lines, streamed_lines, streamed_bytes, fences;
	double records, record_bytes, checkpoints;
	double lock_waits;
	double lock_wait_us;			/* of one */
	double lines_a_change, fences_a_change; /* 0: nothing was changed */
};

int top_take(struct cli_look *v, struct top_sample *out);
void top_compare(const struct top_sample *was, const struct top_sample *now, struct top_rates *out);

/* In OpenMetrics, whole. */
void top_print_metrics(FILE *to, const struct cli_look *v, const struct top_sample *s);
/* "-": standard output; else written beside the file and renamed. CLI_OK, or CLI_FAILED with a message. */
int top_write_metrics(const char *file, const struct cli_look *v, const struct top_sample *s);

/* Until q, or a signal, or `count` (0: no end) samples were shown; the interval is the first one. */
int top_screen(struct cli_look *v, double interval, unsigned long count);

#endif
