/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main.c - the adit command: the table of sub-commands, and which of them is meant.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cli/cli.h"

static int cmd_help(int argc, char **argv);

const struct cli_command cli_commands[] = {
	{"mkfs", adit__cmd_mkfs, "make a pool"},
	{"info", adit__cmd_info, "what a pool is: size, medium, persistence domain, features"},
	{"grow", adit__cmd_grow, "make a pool larger while it is in use"},
	{"fsck", adit__cmd_fsck, "check a pool, repair what can be repaired"},
	{"df", adit__cmd_df, "space and files, used and free"},
	{"ps", adit__cmd_ps, "processes that have a pool open, and what they hold"},
	{"top", adit__cmd_top, "what goes on in a pool: calls, flushes, fences, waits"},
	{"ls", adit__cmd_ls, "list directories"},
	{"tree", adit__cmd_tree, "draw a directory tree"},
	{"find", adit__cmd_find, "find files by name, type, size"},
	{"stat", adit__cmd_stat, "everything about a file but its contents"},
	{"cat", adit__cmd_cat, "print files"},
	{"sum", adit__cmd_sum, "checksums of files (XXH64), in pools and on the host"},
	{"write", adit__cmd_write, "standard input into a file"},
	{"cp", adit__cmd_cp, "copy into, out of and inside pools"},
	{"mv", adit__cmd_mv, "rename"},
	{"ln", adit__cmd_ln, "make hard and symbolic links"},
	{"mkdir", adit__cmd_mkdir, "make directories"},
	{"rm", adit__cmd_rm, "remove files and trees"},
	{"touch", adit__cmd_touch, "make files, set their times to now"},
	{"chmod", adit__cmd_chmod, "change permissions"},
	{"chown", adit__cmd_chown, "change owners"},
	{"dump", adit__cmd_dump, "print the pool's structures in words"},
	{"help", cmd_help, "help on a command"},
	{NULL, NULL, NULL},
};

static const struct cli_command *find_command(const char *name)
{
	for (const struct cli_command *c = cli_commands; c->name != NULL; c++) {
		if (strcmp(c->name, name) == 0)
			return c;
	}
	return NULL;
}

static void print_overview(FILE *to)
{
	fputs("Usage: adit [OPTION...] COMMAND [OPTION...] [POOL:/PATH...]\n\n"
	      "Files in persistent memory. A pool is a file, a tmpfs file or a DAX device; "
	      "POOL:/path\n"
	      "names a file inside it, POOL alone its root directory.\n\nCommands:\n",
	      to);
	for (const struct cli_command *c = cli_commands; c->name != NULL; c++)
		fprintf(to, "  %-8s %s\n", c->name, c->help);
	fputs("\nOptions, before or after the command:\n"
	      "  --assume=DOMAIN  what survives a power failure here: memory, cpu-cache or "
	      "process\n"
	      "  --json           print facts as JSON\n"
	      "  --help           help on a command\n"
	      "  --version        the version\n"
	      "\n'adit help COMMAND' says more.\n",
	      to);
}

/* Runs a command, closes what it opened, makes sure that its output went out. */
static int run_command(const struct cli_command *command, int argc, char **argv)
{
	bool fsck = command->run == adit__cmd_fsck;
	int rc;

	if (fsck)
		cli.usage_code = CLI_FSCK_USAGE;
	rc = command->run(argc, argv);
	cli_progress_done();
	if (cli_close_pools() != CLI_OK)
		rc = fsck ? rc | CLI_FSCK_ERROR : rc != 0 ? rc : CLI_FAILED;
	if (fflush(stdout) != 0 || ferror(stdout)) {
		cli_fail(errno, "cannot write the output");
		rc = fsck ? rc | CLI_FSCK_ERROR : rc != 0 ? rc : CLI_FAILED;
	}
	return rc;
}

static int run_named(const char *name, int argc, char **argv, int prefix_argc, char **prefix_argv)
{
	const struct cli_command *command = find_command(name);
	char **args;
	int rc, n = 0;

	if (command == NULL)
		cli_usage("'%s': no such command; 'adit help' lists them", name);
	/* The options before the command's name go behind it. */
	args = cli_alloc(((size_t)argc + (size_t)prefix_argc + 2) * sizeof *args);
	args[n++] = strcmp(cli.program, "adit") == 0 ? cli_sprintf("adit %s", command->name)
						     : cli_strdup(cli.program);
	for (int i = 0; i < prefix_argc; i++)
		args[n++] = prefix_argv[i];
	for (int i = 0; i < argc; i++)
		args[n++] = argv[i];
	rc = run_command(command, n, args);
	free(args[0]);
	free(args);
	return rc;
}

static int cmd_help(int argc, char **argv)
{
	char help[] = "--help", *help_argv[] = {help, NULL};

	if (argc < 2 || argv[1][0] == '-') {
		print_overview(stdout);
		return CLI_OK;
	}
	return run_named(argv[1], 1, help_argv, 0, NULL);
}

/* Deep trees are walked with a descriptor per level. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(int argc, char **argv)
{
	const char *name = argc > 0 ? strrchr(argv[0], '/') : NULL;
	int at = 1;

	name = name != NULL ? name + 1 : argc > 0 ? argv[0] : "adit";
	raise_descriptor_limit();
	if (strcmp(name, "mkfs.adit") == 0 || strcmp(name, "fsck.adit") == 0) {
		cli.program = strcmp(name, "mkfs.adit") == 0 ? "mkfs.adit" : "fsck.adit";
		return run_named(cli.program[0] == 'm' ? "mkfs" : "fsck", argc - 1, argv + 1, 0,
				 NULL);
	}
	for (; at < argc && argv[at][0] == '-'; at++) {
		if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
			print_overview(stdout);
			return CLI_OK;
		}
		if (strcmp(argv[at], "--version") == 0) {
			printf("adit %s\n", ADIT_VERSION);
			return CLI_OK;
		}
		if (strcmp(argv[at], "--assume") == 0 && at + 1 < argc)
			at++;
		else if (strcmp(argv[at], "--json") != 0 && strncmp(argv[at], "--assume=", 9) != 0)
			cli_usage("'%s': no such option; see 'adit --help'", argv[at]);
	}
	if (at >= argc) {
		print_overview(stderr);
		return CLI_USAGE;
	}
	return run_named(argv[at], argc - at - 1, argv + at + 1, at - 1, argv + 1);
}
