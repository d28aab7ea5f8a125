/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd_mkfs.c - adit mkfs.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/pool_info.h"

static char *size_text, *label, *uuid_text, *group_text;
static int force, quiet, lanes;

static const struct poptOption options[] = {
	{"size", 's', POPT_ARG_STRING, &size_text, 0,
	 "size of the pool, such as 4G; default: of the file or device as it is", "SIZE"},
	{"label", 'L', POPT_ARG_STRING, &label, 0, "name for people, up to 63 bytes", "TEXT"},
	{"uuid", 'U', POPT_ARG_STRING, &uuid_text, 0, "default: random", "UUID"},
	{"force", 'f', POPT_ARG_NONE, &force, 0, "overwrite a pool, a file system, a file", NULL},
	{"quiet", 'q', POPT_ARG_NONE, &quiet, 0, "print nothing when all went well", NULL},
	{"lanes", '\0', POPT_ARG_INT, &lanes, 0, "log lanes, 1 to 256; default: by size", "N"},
	{"group-size", '\0', POPT_ARG_STRING, &group_text, 0,
	 "allocation groups: a power of two from 2M to 1G; default: by size", "SIZE"},
	CLI_GLOBAL_OPTIONS};

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

static bool parse_uuid(const char *text, uint8_t uuid[16])
{
	unsigned n = 0;

	for (; *text != '\0'; text++) {
		int digit = hex_digit(*text);

		if (*text == '-' && n % 2 == 0)
			continue;
		if (digit < 0 || n >= 32)
			return false;
		uuid[n / 2] = (uint8_t)(n % 2 == 0 ? digit << 4 : uuid[n / 2] | digit);
		n++;
	}
	return n == 32;
}

static void fill(struct adit_mkfs_options *o, uint8_t uuid[16], const char *path)
{
	if (size_text != NULL && !cli_parse_size(size_text, &o->size_bytes))
		cli_usage("--size %s: no such size; write 4G, 512M, ...", size_text);
	if (size_text != NULL && o->size_bytes == 0)
		cli_usage("--size %s: a pool has at least 4M", size_text);
	if (group_text != NULL && !cli_parse_size(group_text, &o->group_bytes))
		cli_usage("--group-size %s: no such size; write 64M, 1G, ...", group_text);
	if (lanes < 0 || lanes > 256)
		cli_usage("--lanes %d: from 1 to 256", lanes);
	if (label != NULL && strlen(label) > 63)
		cli_usage("--label: longer than 63 bytes");
	if (uuid_text != NULL && !parse_uuid(uuid_text, uuid))
		cli_usage("--uuid %s: 32 hexadecimal digits are needed", uuid_text);
	o->label = label;
	o->uuid = uuid_text != NULL ? uuid : NULL;
	o->force = force;
	o->assume = cli.assume;
	o->lanes = (uint32_t)lanes;
	o->report = cli_report;
	o->report_ctx = (void *)(uintptr_t)path;
}

static int explain(int rc, const char *path)
{
	if (rc != -EINVAL)
		return cli_fail_pool(rc, path, "cannot make the pool");
	if (size_text == NULL)
		return cli_error("%s: give the size of the pool: --size 4G (EINVAL)", path);
	return cli_error(
		"%s: the size, --lanes or --group-size is out of range; a pool has at least "
		"4M (EINVAL)",
		path);
}

static int show(const char *path)
{
	struct cli_path at;
	struct adit_pool_info info;
	char size[CLI_HUMAN], uuid[CLI_UUID];
	int rc = cli_pool_path(path, CLI_READ, &at);

	if (rc != CLI_OK)
		return rc;
	rc = adit_info(at.pool, &info);
	if (rc < 0)
		return cli_fail(rc, "%s", path);
	if (cli.json)
		cli_json_print(cli_info_json(path, &info));
	else
		printf("%s: pool of %s in %llu groups, label '%s', uuid %s, persistence domain "
		       "%s%s\n",
		       path, cli_human(size, info.size_bytes), (unsigned long long)info.groups,
		       info.label, cli_uuid_text(uuid, info.uuid), info.domain_name,
		       info.domain_assumed ? " (assumed)" : "");
	cli_free_path(&at);
	return CLI_OK;
}

int adit__cmd_mkfs(int argc, char **argv)
{
	struct adit_mkfs_options o = {0};
	uint8_t uuid[16] = {0};
	const char **args;
	int count, rc;

	args = cli_parse(
		argc, argv, options, "POOL [--size=SIZE]",
		"Makes an empty pool: a file (created, sparse), or a device-DAX character device.\n"
		"Refuses to overwrite anything unless --force is given.",
		1, 1, &count);
	fill(&o, uuid, args[0]);
	rc = adit_mkfs(args[0], &o);
	if (rc < 0)
		return explain(rc, args[0]);
	return quiet ? CLI_OK : show(args[0]);
}
