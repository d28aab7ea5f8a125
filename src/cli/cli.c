/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cli.c - command lines, messages, memory and paths of the sub-commands; see cli.h. Sizes, times and
 * modes are in text.c, open pools in pools.c.
 */
#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct cli_globals cli = {.program = "adit", .usage_code = CLI_USAGE};

/* ---- command lines ------------------------------------------------------------------------------ */

static int want_help, want_version;

struct poptOption cli_global_options[] = {
	{"assume", '\0', POPT_ARG_STRING, &cli.assume_name, 0,
	 "what survives a power failure here: memory, cpu-cache or process", "DOMAIN"},
	{"json", '\0', POPT_ARG_NONE, &cli.json, 0, "print facts as JSON", NULL},
	{"help", '\0', POPT_ARG_NONE, &want_help, 0, "show this help", NULL},
	{"version", '\0', POPT_ARG_NONE, &want_version, 0, "show the version", NULL},
	POPT_TABLEEND};

void cli_usage(const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", cli.program);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputs("\n", stderr);
	exit(cli.usage_code);
}

static void parse_assume(void)
{
	static const struct {
		const char *name;
		int value;
	} known[] = {
		{"cpu-cache", ADIT_ASSUME_CPU_CACHE},
		{"memory", ADIT_ASSUME_MEMORY},
		{"file", ADIT_ASSUME_FILE},
		{"process", ADIT_ASSUME_PROCESS},
	};

	if (cli.assume_name == NULL)
		return;
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		if (strcmp(cli.assume_name, known[i].name) == 0) {
			cli.assume = known[i].value;
			return;
		}
	}
	cli_usage("--assume %s: no such persistence domain; use memory, cpu-cache, process or file",
		  cli.assume_name);
}

static poptContext context; /* the strings that commands keep belong to it */

static void free_context(void)
{
	if (context != NULL)
		context = poptFreeContext(context);
}

const char **cli_parse(int argc, char **argv, const struct poptOption *options,
		       const char *operands, const char *summary, int min, int max, int *count)
{
	static const char *none[1];
	const char **rest;
	int rc;

	context = poptGetContext(argv[0], argc, (const char **)argv, options, 0);
	if (context == NULL)
		cli_usage("no memory");
	atexit(free_context);
	poptSetOtherOptionHelp(context, operands);
	rc = poptGetNextOpt(context);
	if (rc < -1)
		cli_usage("%s: %s; see '%s --help'", poptBadOption(context, POPT_BADOPTION_NOALIAS),
			  poptStrerror(rc), argv[0]);
	if (want_help) {
		poptPrintHelp(context, stdout, 0);
		printf("\n%s\n", summary);
		exit(0);
	}
	if (want_version) {
		printf("adit %s\n", ADIT_VERSION);
		exit(0);
	}
	parse_assume();
	rest = poptGetArgs(context);
	if (rest == NULL)
		rest = none;
	for (*count = 0; rest[*count] != NULL; (*count)++) {
	}
	if (*count < min)
		cli_usage("%s missing; see '%s --help'", *count == 0 ? "operand" : "an operand is",
			  argv[0]);
	if (max >= 0 && *count > max)
		cli_usage("'%s': one operand too many; see '%s --help'", rest[max], argv[0]);
	return rest;
}

/* ---- messages ----------------------------------------------------------------------------------- */

const char *cli_errno_name(int err)
{
	const char *name = strerrorname_np(err < 0 ? -err : err);

	return name != NULL ? name : "unknown error";
}

/* What the error means here, where strerror would not say it. */
static const char *errno_text(int err)
{
	switch (err) {
	case EUCLEAN:
		return "a structure of the pool is damaged; run 'adit fsck'";
	case EBADMSG:
		return "a checksum is wrong; run 'adit fsck'";
	case EROFS:
		return "the pool is open for reading only";
	case EIO:
		return "the medium failed";
	default:
		return strerror(err);
	}
}

int cli_fail(int err, const char *format, ...)
{
	va_list ap;

	cli_progress_done();
	if (err < 0)
		err = -err;
	fflush(stdout);
	fprintf(stderr, "%s: ", cli.program);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, ": %s (%s)\n", errno_text(err), cli_errno_name(err));
	return CLI_FAILED;
}

int cli_error(const char *format, ...)
{
	va_list ap;

	cli_progress_done();
	fflush(stdout);
	fprintf(stderr, "%s: ", cli.program);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputs("\n", stderr);
	return CLI_FAILED;
}

static const char *pool_error_text(int err)
{
	switch (err) {
	case EBUSY:
		return "is in use by another process; close it there first";
	case EMEDIUMTYPE:
		return "is no Adit pool; 'adit mkfs' makes one";
	case EUCLEAN:
		return "is damaged; run 'adit fsck'";
	case EBADMSG:
		return "is damaged (a checksum is wrong); run 'adit fsck'";
	case EOPNOTSUPP:
		return "uses a feature or a version that this program does not know; use a newer "
		       "one";
	case EROFS:
		return "can only be read: a feature is not known here, or the file is "
		       "write-protected";
	case ENOENT:
		return "does not exist; 'adit mkfs' makes a pool";
	case EEXIST:
		return "has contents already; --force overwrites them";
	case ENOSPC:
		return "not enough space for a pool of that size";
	case EACCES:
	case EPERM:
		return "no permission";
	case EISDIR:
		return "is a directory; a pool is a file or a device";
	default:
		return NULL;
	}
}

int cli_fail_pool(int err, const char *pool_name, const char *doing)
{
	const char *text = pool_error_text(err < 0 ? -err : err);

	if (text == NULL)
		return cli_fail(err, "%s: %s", pool_name, doing);
	return cli_error("%s: %s (%s)", pool_name, text, cli_errno_name(err));
}

/* ---- progress ----------------------------------------------------------------------------------- */

static bool progress_shown;

void cli_progress(const char *format, ...)
{
	static int terminal = -1;
	static struct timespec last;
	struct timespec now;
	va_list ap;

	if (terminal < 0)
		terminal = isatty(STDERR_FILENO);
	if (!terminal)
		return;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if ((now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000 < 100)
		return;
	last = now;
	fputs("\r\033[K", stderr);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fflush(stderr);
	progress_shown = true;
}

void cli_progress_done(void)
{
	if (progress_shown)
		fputs("\r\033[K", stderr);
	progress_shown = false;
}

/* ---- memory ------------------------------------------------------------------------------------- */

static void *checked(void *p)
{
	if (p == NULL) {
		cli_error("out of memory (ENOMEM)");
		exit(cli.usage_code == CLI_FSCK_USAGE ? CLI_FSCK_ERROR : CLI_FAILED);
	}
	return p;
}

void *cli_alloc(size_t bytes)
{
	return checked(calloc(1, bytes));
}

void *cli_realloc(void *p, size_t bytes)
{
	return checked(realloc(p, bytes));
}

char *cli_strdup(const char *s)
{
	return checked(strdup(s));
}

char *cli_sprintf(const char *format, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vasprintf(&text, format, ap);
	va_end(ap);
	return checked(n < 0 ? NULL : text);
}

/* ---- paths -------------------------------------------------------------------------------------- */

void cli_split(const char *arg, bool bare_is_pool, struct cli_path *out)
{
	const char *colon = strstr(arg, ":/");

	*out = (struct cli_path){.arg = arg};
	if (colon != NULL && colon != arg) {
		out->pool_name = cli_strdup(arg);
		out->pool_name[colon - arg] = '\0';
		out->path = cli_strdup(colon + 1);
	} else if (bare_is_pool) {
		out->pool_name = cli_strdup(arg);
		out->path = cli_strdup("/");
	} else {
		out->path = cli_strdup(arg);
	}
}

void cli_free_path(struct cli_path *path)
{
	free(path->pool_name);
	free(path->path);
	*path = (struct cli_path){0};
}

char *cli_basename(const char *path)
{
	size_t end = strlen(path), start;
	char *name;

	while (end > 1 && path[end - 1] == '/')
		end--;
	for (start = end; start > 0 && path[start - 1] != '/'; start--) {
	}
	if (start == end && end > 0) /* the root */
		start = 0;
	name = cli_alloc(end - start + 1);
	memcpy(name, path + start, end - start);
	return name;
}

char *cli_join(const char *dir, const char *name)
{
	size_t n = strlen(dir);

	return cli_sprintf("%s%s%s", dir, n > 0 && dir[n - 1] == '/' ? "" : "/", name);
}
