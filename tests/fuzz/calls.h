/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calls.h - what the parts of fuzz_calls.c share: the run, what a call's arguments mean, and the
 * comparison of its result with the model's.
 */
#ifndef ADIT_TEST_FUZZ_CALLS_H
#define ADIT_TEST_FUZZ_CALLS_H

#include <stdio.h>

#include "fs/pool.h"
#include "fuzz.h"
#include "image.h"
#include "world.h"

#define CALL_DATA_MAX 300000u

/* As it lies in the input. */
struct call {
	uint8_t what;
	uint8_t fd;
	uint8_t p[3], q[3]; /* paths */
	uint16_t flags, len;
	uint32_t v;
};
_Static_assert(sizeof(struct call) == 16, "calls lie one after the other");

struct run {
	struct image *im;
	struct subject s;
	struct adit_pool *pool;
	struct world w;
	int64_t now;
	struct adit_statfs before;
	struct call c;
	char p[8192], q[8192]; /* the call's paths */
	unsigned number;
	bool say;
};
extern struct run run;
extern uint8_t call_data[CALL_DATA_MAX], call_got[CALL_DATA_MAX];

/* Fails unless the call returned what the model says. */
void same(const char *call, int64_t got, int64_t want);
/* The pool was full, and was it? */
bool refused(int64_t rc, uint64_t bytes);
/* The model's answer to an operation, unless the pool was full. */
int64_t applied(struct op *op, int64_t got, uint64_t bytes);

/* The call's arguments. */
int some_fd(uint8_t n);
int some_dirfd(void);
size_t some_length(void);
int64_t some_offset(uint64_t size);
struct model_node *node_of(const struct open_file *);
/* "@k", as op.h has it. */
void slot_path(struct op *op, const struct open_file *);
/* Nobody says what happens in a directory that was removed. */
bool starts_nowhere(int dirfd, const char *path);

/* Each runs run.c. */
void call_open(void);
void call_close(void);
void call_dup(void);
void call_fcntl(void);
void call_lseek(void);
void call_truncate(void);
void call_fallocate(void);
void call_sync(void);
void call_make(void);
void call_symlink(void);
void call_link(void);
void call_remove(void);
void call_rename(void);
void call_readlink(void);
void call_getdents(void);
void call_stat(void);
void call_chmod(void);
void call_chown(void);
void call_utimens(void);
void call_flags(void);
void call_setxattr(void);
void call_getxattr(void);
void call_handle(void);
void read_here(void);
void read_at(void);
void write_here(void);
void write_at(void);

#endif
