/* SPDX-License-Identifier: BSD-3-Clause */
/* workload.h - the tables: states of a pool, and operations on it. A new one of either is a line. */
#ifndef ADIT_TEST_WORKLOAD_H
#define ADIT_TEST_WORKLOAD_H

#include "explore.h"

/*
 * Every state but the first two has: /f, the file that the state is about; /d, a directory with /d/f2; /e, an empty
 * directory; /l, a symbolic link; /o, another small file. In a list, "N op # ..." stands for N
 * operations, '#' replaced by 0 .. N-1.
 */
struct workload_state {
	const char *name;
	const char *setup;  /* before the close: durable */
	const char *before; /* after the open: in the log, not yet written back */
	struct special special;
	const char *without; /* operations whose word this is are not for this state; NULL */
};
extern const struct workload_state workload_states[];
extern const unsigned workload_states_count;

struct workload_op {
	const char *text;
};
extern const struct workload_op workload_ops[];
extern const unsigned workload_ops_count;

/* Does the state take all operations of the list? See `without`. */
bool workload_is_for(const struct workload_state *, const char *text);
/* A list as text into operations, '#' lines expanded: allocated; -1 when it makes no sense. */
int workload_parse(const char *text, struct op **out);

#endif
