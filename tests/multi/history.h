/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * history.h - what processes did to a few names at the same time, and whether it makes sense: is there an order of it
 * that respects real time and in which the model of tests/model gives every result?
 */
#ifndef ADIT_TEST_HISTORY_H
#define ADIT_TEST_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#define PROCESSES_MAX 4u
#define OPS_MAX	      6u /* of one process */

enum call_kind {
	CREATE,
	OPEN_CREATE,
	MKDIR,
	LINK,
	UNLINK,
	RMDIR,
	RENAME,
	TRUNCATE,
	CHMOD,
	STAT,
	READDIR,
	KINDS
};

#define NAMES 6u
extern const char *const names[NAMES];

struct call {
	uint8_t kind, a, b;
	uint32_t n; /* size, mode, flags */
	/* What happened. */
	uint64_t began, ended; /* by the clock that all share */
	int32_t result;
	uint32_t mode, nlink;
	uint64_t size; /* of readdir: which names */
};

struct history {
	uint64_t seed;
	uint32_t calls[PROCESSES_MAX];
	struct call call[PROCESSES_MAX][OPS_MAX];
};

/* order.c */
bool makes_sense(const struct history *);
extern unsigned processes;
extern uint64_t search_tries;

#endif
