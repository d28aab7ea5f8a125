/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd_info.c - adit info and adit df.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/vfs.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/pool_info.h"

const char *cli_uuid_text(char *buf, const uint8_t uuid[16])
{
	char *at = buf;

	for (unsigned i = 0; i < 16; i++)
		at += sprintf(at, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
			      uuid[i]);
	return buf;
}

static const char *protection_name(int protection)
{
	switch (protection) {
	case ADIT_PROTECT_KEYS:
		return "keys";
	case ADIT_PROTECT_MPROTECT:
		return "mprotect";
	default:
		return "off";
	}
}

json_t *cli_info_json(const char *path, const struct adit_pool_info *info)
{
	json_t *o = json_object();
	char uuid[CLI_UUID];

	cli_json_bytes(o, "pool", path);
	cli_json_bytes(o, "label", info->label);
	cli_json_bytes(o, "uuid", cli_uuid_text(uuid, info->uuid));
	cli_json_int(o, "format_version", info->version);
	cli_json_int(o, "size_bytes", info->size_bytes);
	cli_json_int(o, "block_bytes", info->block_bytes);
	cli_json_int(o, "blocks", info->blocks);
	cli_json_int(o, "free_blocks", info->free_blocks);
	cli_json_int(o, "inodes_used", info->inodes_used);
	cli_json_int(o, "groups", info->groups);
	cli_json_int(o, "group_bytes", info->group_bytes);
	cli_json_int(o, "lanes", info->lanes);
	cli_json_int(o, "lane_bytes", info->lane_bytes);
	cli_json_int(o, "incarnation", info->incarnation);
	cli_json_int(o, "created_ns", (uint64_t)info->created_ns);
	cli_json_int(o, "compat", info->compat);
	cli_json_int(o, "ro_compat", info->ro_compat);
	cli_json_int(o, "incompat", info->incompat);
	json_object_set_new(o, "was_clean", json_boolean(info->was_clean));
	cli_json_bytes(o, "domain", info->domain_name);
	json_object_set_new(o, "domain_assumed", json_boolean(info->domain_assumed));
	cli_json_bytes(o, "flush", info->flush_name);
	cli_json_bytes(o, "medium", info->medium);
	json_object_set_new(o, "map_sync", json_boolean(info->map_sync));
	cli_json_int(o, "page_bytes", info->page_bytes);
	cli_json_bytes(o, "protection", protection_name(info->protection));
	json_object_set_new(o, "protection_keys", json_boolean(info->keys_supported));
	return o;
}

/* What the domain means to whoever keeps files here. */
static const char *domain_meaning(int domain)
{
	switch (domain) {
	case ADIT_ASSUME_CPU_CACHE:
		return "survives power failure, CPU caches included";
	case ADIT_ASSUME_MEMORY:
		return "survives power failure once lines are flushed";
	case ADIT_ASSUME_FILE:
		return "survives power failure by msync of the page cache";
	default:
		return "survives processes, not power failure";
	}
}

static const char *protection_meaning(int protection)
{
	switch (protection) {
	case ADIT_PROTECT_KEYS:
		return "blocked by protection keys";
	case ADIT_PROTECT_MPROTECT:
		return "blocked by mprotect";
	default:
		return "not blocked";
	}
}

static void size_line(const char *name, uint64_t bytes)
{
	char human[CLI_HUMAN];

	printf("%-19s %s (%" PRIu64 " bytes)\n", name, cli_human(human, bytes), bytes);
}

static void print_info(const char *path, const struct adit_pool_info *info)
{
	char uuid[CLI_UUID], created[CLI_TIME], human[CLI_HUMAN];
	struct timespec t = {info->created_ns / 1000000000, info->created_ns % 1000000000};

	printf("%-19s %s\n", "pool", path);
	printf("%-19s %s\n", "label", info->label[0] != '\0' ? info->label : "(none)");
	printf("%-19s %s\n", "uuid", cli_uuid_text(uuid, info->uuid));
	printf("%-19s %" PRIu32 "\n", "format version", info->version);
	printf("%-19s compatible %#" PRIx64 ", read-only-compatible %#" PRIx64
	       ", incompatible %#" PRIx64 "\n",
	       "features", info->compat, info->ro_compat, info->incompat);
	printf("%-19s %s\n", "created", cli_time_text(created, &t, true));
	size_line("size", info->size_bytes);
	size_line("free", info->free_blocks * info->block_bytes);
	printf("%-19s %" PRIu64 "\n", "files", info->inodes_used);
	printf("%-19s %" PRIu64 " of %s\n", "groups", info->groups,
	       cli_human(human, info->group_bytes));
	printf("%-19s %" PRIu64 " of %s\n", "lanes", info->lanes,
	       cli_human(human, info->lane_bytes));
	printf("%-19s %s, %s%s\n", "medium", info->medium,
	       info->map_sync ? "mapped with MAP_SYNC, pages of " : "pages of ",
	       cli_human(human, info->page_bytes));
	printf("%-19s %s%s: %s\n", "persistence domain", info->domain_name,
	       info->domain_assumed ? " (assumed)" : "", domain_meaning(info->domain));
	printf("%-19s %s\n", "flush", info->flush_name);
	printf("%-19s %s; this CPU has %s\n", "stray stores", protection_meaning(info->protection),
	       info->keys_supported ? "protection keys" : "no protection keys");
	printf("%-19s incarnation %" PRIu64 "; the last user %s\n", "history", info->incarnation,
	       info->was_clean ? "closed it" : "crashed");
}

int adit__cmd_info(int argc, char **argv)
{
	static const struct poptOption options[] = {CLI_GLOBAL_OPTIONS};
	struct adit_pool_info info;
	struct cli_path at;
	const char **args;
	int count, rc;

	args = cli_parse(argc, argv, options, "POOL",
			 "Prints what the pool is and how far its contents survive.", 1, 1, &count);
	if (cli_pool_path(args[0], CLI_READ, &at) != CLI_OK)
		return CLI_FAILED;
	rc = adit_info(at.pool, &info);
	if (rc < 0) {
		rc = cli_fail(rc, "%s", args[0]);
	} else {
		rc = CLI_OK;
		if (cli.json)
			cli_json_print(cli_info_json(at.pool_name, &info));
		else
			print_info(at.pool_name, &info);
	}
	cli_free_path(&at);
	return rc;
}

static int exact_bytes;

static void df_line(const char *name, const struct statfs *st)
{
	uint64_t block = (uint64_t)st->f_bsize, total = st->f_blocks * block;
	uint64_t used = (st->f_blocks - st->f_bfree) * block, available = st->f_bavail * block;
	uint64_t files = st->f_files - st->f_ffree;
	char text[3][CLI_HUMAN];
	unsigned percent = used + available == 0
				   ? 0
				   : (unsigned)(((__uint128_t)used * 100 + used + available - 1) /
						(used + available));

	if (exact_bytes)
		printf("%-24s %14" PRIu64 " %14" PRIu64 " %14" PRIu64 " %3u%% %10" PRIu64 "\n",
		       name, total, used, available, percent, files);
	else
		printf("%-24s %7s %7s %7s %3u%% %10" PRIu64 "\n", name, cli_human(text[0], total),
		       cli_human(text[1], used), cli_human(text[2], available), percent, files);
}

static void df_json(const char *name, const struct statfs *st)
{
	json_t *o = json_object();
	uint64_t block = (uint64_t)st->f_bsize;

	cli_json_bytes(o, "pool", name);
	cli_json_int(o, "size_bytes", st->f_blocks * block);
	cli_json_int(o, "used_bytes", (st->f_blocks - st->f_bfree) * block);
	cli_json_int(o, "free_bytes", st->f_bfree * block);
	cli_json_int(o, "available_bytes", st->f_bavail * block);
	cli_json_int(o, "inodes_used", st->f_files - st->f_ffree);
	cli_json_int(o, "inodes_free", st->f_ffree);
	cli_json_item(o);
}

int adit__cmd_df(int argc, char **argv)
{
	static const struct poptOption options[] = {
		{"bytes", 'b', POPT_ARG_NONE, &exact_bytes, 0, "exact numbers", NULL},
		{"human-readable", 'h', POPT_ARG_NONE, NULL, 0, "such as 1.5G; the default", NULL},
		CLI_GLOBAL_OPTIONS};
	const char **args;
	int count, rc, result = CLI_OK;

	args = cli_parse(argc, argv, options, "POOL...", "Prints the space of pools.", 1, -1,
			 &count);
	if (cli.json)
		cli_json_begin();
	else
		printf(exact_bytes ? "%-24s %14s %14s %14s %4s %10s\n"
				   : "%-24s %7s %7s %7s %4s %10s\n",
		       "Pool", "Size", "Used", "Avail", "Use%", "Files");
	for (int i = 0; i < count; i++) {
		struct cli_path at;
		struct statfs st;

		if (cli_pool_path(args[i], CLI_READ, &at) != CLI_OK) {
			result = CLI_FAILED;
			continue;
		}
		rc = adit_statfs(at.pool, at.path, &st);
		if (rc < 0)
			result = cli_fail(rc, "%s", args[i]);
		else if (cli.json)
			df_json(at.pool_name, &st);
		else
			df_line(at.pool_name, &st);
		cli_free_path(&at);
	}
	if (cli.json)
		cli_json_end();
	return result;
}
