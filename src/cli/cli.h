/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cli.h - what the sub-commands of adit share.
 *
 * Each family of sub-commands has a file of its own (cmd_*.c); main.c holds the one table of them.
 * The commands work through the public interface (adit/adit.h); fsck and dump alone look inside.
 * vfs.h is the same set of calls on either side of a copy, walk.h goes through a tree.
 *
 * Conventions: a command gets argv[0] = how it is called ("adit ls"), returns the process's exit code
 * and prints its errors itself, one line each: who, what, why, and what to do about it.
 */
#ifndef ADIT_CLI_CLI_H
#define ADIT_CLI_CLI_H

#include <popt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <adit/adit.h>

#define CLI_OK	   0
#define CLI_FAILED 1
#define CLI_USAGE  2

/* Exit codes of fsck(8). */
#define CLI_FSCK_CORRECTED   1
#define CLI_FSCK_UNCORRECTED 4
#define CLI_FSCK_ERROR	     8
#define CLI_FSCK_USAGE	     16

struct cli_command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help; /* one line */
};
extern const struct cli_command cli_commands[]; /* ends with a NULL name */

int adit__cmd_cat(int argc, char **argv);
int adit__cmd_chmod(int argc, char **argv);
int adit__cmd_chown(int argc, char **argv);
int adit__cmd_cp(int argc, char **argv);
int adit__cmd_df(int argc, char **argv);
int adit__cmd_dump(int argc, char **argv);
int adit__cmd_find(int argc, char **argv);
int adit__cmd_fsck(int argc, char **argv);
int adit__cmd_grow(int argc, char **argv);
int adit__cmd_info(int argc, char **argv);
int adit__cmd_ln(int argc, char **argv);
int adit__cmd_ls(int argc, char **argv);
int adit__cmd_mkdir(int argc, char **argv);
int adit__cmd_mkfs(int argc, char **argv);
int adit__cmd_mv(int argc, char **argv);
int adit__cmd_ps(int argc, char **argv);
int adit__cmd_rm(int argc, char **argv);
int adit__cmd_stat(int argc, char **argv);
int adit__cmd_sum(int argc, char **argv);
int adit__cmd_top(int argc, char **argv);
int adit__cmd_touch(int argc, char **argv);
int adit__cmd_tree(int argc, char **argv);
int adit__cmd_write(int argc, char **argv);

/* Options that every command has. */
struct cli_globals {
	const char *program; /* for messages: adit, mkfs.adit, fsck.adit */
	int json;
	const char *assume_name;
	int assume;	/* ADIT_ASSUME_* */
	int usage_code; /* exit code for a wrong command line */
};
extern struct cli_globals cli;
extern struct poptOption cli_global_options[];
#define CLI_GLOBAL_OPTIONS                                                                         \
	{NULL, '\0', POPT_ARG_INCLUDE_TABLE, cli_global_options, 0, "Common options:", NULL},      \
		POPT_TABLEEND

/*
 * Parse the command line of a sub-command. `operands` and `summary` are for --help, which prints and
 * exits 0; a wrong command line, or not between min and max (-1: any number) operands, prints what is
 * wrong and exits with cli.usage_code. Returns the operands, NULL-terminated, and their number.
 */
const char **cli_parse(int argc, char **argv, const struct poptOption *options,
		       const char *operands, const char *summary, int min, int max, int *count);
/* A wrong command line: says so, exits. */
void cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* ---- messages ----------------------------------------------------------------------------------- */

/* "adit: <what>: <text of err> (ENAME)"; err is positive or negative. Returns CLI_FAILED. */
int cli_fail(int err, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "adit: <what>". Returns CLI_FAILED. */
int cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for what went wrong with a pool as a whole: adds what to do about it. */
int cli_fail_pool(int err, const char *pool_name, const char *doing);
const char *cli_errno_name(int err);

/* Progress of long work: one line on stderr, only when that is a terminal; NULL clears it. */
void cli_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cli_progress_done(void);

/* ---- memory: exits when there is none ----------------------------------------------------------- */

void *cli_alloc(size_t bytes); /* zeroed */
void *cli_realloc(void *p, size_t bytes);
char *cli_strdup(const char *s);
char *cli_sprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- pools and paths ---------------------------------------------------------------------------- */

#define CLI_READ  0
#define CLI_WRITE 1

/* An operand. pool is NULL for a path of the host. */
struct cli_path {
	const char *arg;	/* as given */
	char *pool_name;	/* NULL: host */
	char *path;		/* inside the pool, begins with '/'; or the host's path */
	struct adit_pool *pool; /* set by cli_open_path */
};
/* POOL:/path: the first ':' followed by '/' separates. Without one: a bare POOL when bare_is_pool
 * (its root), else a path of the host. */
void cli_split(const char *arg, bool bare_is_pool, struct cli_path *out);
/* Opens the pool of the path, unless it is open already. 0, or CLI_FAILED with a message. To open one
 * pool for both, open it for writing first. */
int cli_open_path(struct cli_path *path, int mode);
/* Both in one, for commands that work inside pools only. */
int cli_pool_path(const char *arg, int mode, struct cli_path *out);
void cli_free_path(struct cli_path *path);
/* Closes every pool; 0, or CLI_FAILED with a message. */
int cli_close_pools(void);
/* The report callback of every pool opened here; ctx: the pool's name. */
void cli_report(void *ctx, const char *line);

/* Last component, and everything before it ("/" or "." if nothing is), of a path with trailing
 * slashes removed. New strings. */
char *cli_basename(const char *path);
char *cli_join(const char *dir, const char *name);

/* ---- sizes, times, modes ------------------------------------------------------------------------ */

/* "4G", "512K", "1.5T", "4GiB", "4GB" (powers of 1000), "4096". false: no such size. */
bool cli_parse_size(const char *text, uint64_t *out);
/* "4.0G"; buf has CLI_HUMAN bytes. */
#define CLI_HUMAN 16
const char *cli_human(char *buf, uint64_t bytes);
/* "drwxr-xr-x" */
#define CLI_MODE 11
const char *cli_mode_text(char *buf, mode_t mode);
const char *cli_type_name(mode_t mode); /* "directory", ... */
char cli_type_letter(mode_t mode);	/* as ls -l and find -type: f d l b c p s */
/* "2025-01-31 12:00:00", and with nanoseconds and zone. */
#define CLI_TIME 48
const char *cli_time_text(char *buf, const struct timespec *t, bool long_form);
/* Octal, or symbolic as chmod(1): u+x,go-w,a=rX. false: wrong. */
bool cli_parse_mode(const char *text, mode_t old, mode_t *out);

#endif
