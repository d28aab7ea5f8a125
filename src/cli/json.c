/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * json.c - see json.h.
 */
#include "cli/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "cli/cli.h"

static unsigned items;

/* Length of the UTF-8 sequence at s, 0 when it is none. Jansson says no more than yes or no. */
static size_t utf8_length(const char *s, size_t room)
{
	const unsigned char *u = (const unsigned char *)s;
	size_t n = u[0] < 0x80 ? 1 : u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
	json_t *probe;

	if (n > room)
		return 0;
	probe = json_stringn(s, n);
	if (probe == NULL)
		return 0;
	json_decref(probe);
	return n;
}

void cli_json_bytes(json_t *object, const char *key, const char *bytes)
{
	size_t len = strlen(bytes), used = 0;
	json_t *value = json_stringn(bytes, len);
	char *text, *hex, *hex_key;

	if (value != NULL) {
		json_object_set_new(object, key, value);
		return;
	}
	text = cli_alloc(len * 3 + 1);
	hex = cli_alloc(len * 2 + 1);
	for (size_t i = 0; i < len;) {
		size_t n = utf8_length(bytes + i, len - i);

		if (n > 0)
			memcpy(text + used, bytes + i, n);
		else
			memcpy(text + used, "\xef\xbf\xbd", 3);
		used += n > 0 ? n : 3;
		i += n > 0 ? n : 1;
	}
	for (size_t i = 0; i < len; i++)
		sprintf(hex + 2 * i, "%02x", (unsigned char)bytes[i]);
	hex_key = cli_sprintf("%s_hex", key);
	json_object_set_new(object, key, json_stringn(text, used));
	json_object_set_new(object, hex_key, json_string(hex));
	free(hex_key);
	free(hex);
	free(text);
}

void cli_json_int(json_t *object, const char *key, uint64_t v)
{
	json_object_set_new(object, key, json_integer((json_int_t)v));
}

static void json_time(json_t *object, const char *key, const struct timespec *t)
{
	char *text = cli_sprintf("%" PRId64 ".%09ld", (int64_t)t->tv_sec, t->tv_nsec);

	json_object_set_new(object, key, json_string(text));
	free(text);
}

void cli_json_stat(json_t *object, const struct stat *st)
{
	char mode[16];

	snprintf(mode, sizeof mode, "%04o", (unsigned)(st->st_mode & 07777));
	json_object_set_new(object, "type", json_string(cli_type_name(st->st_mode)));
	cli_json_int(object, "inode", st->st_ino);
	json_object_set_new(object, "mode", json_string(mode));
	cli_json_int(object, "links", st->st_nlink);
	cli_json_int(object, "uid", st->st_uid);
	cli_json_int(object, "gid", st->st_gid);
	cli_json_int(object, "size", (uint64_t)st->st_size);
	cli_json_int(object, "allocated_bytes", (uint64_t)st->st_blocks * 512);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		cli_json_int(object, "major", major(st->st_rdev));
		cli_json_int(object, "minor", minor(st->st_rdev));
	}
	json_time(object, "atime", &st->st_atim);
	json_time(object, "mtime", &st->st_mtim);
	json_time(object, "ctime", &st->st_ctim);
}

static void dump(json_t *object, size_t flags)
{
	json_dumpf(object, stdout, flags | JSON_PRESERVE_ORDER);
	json_decref(object);
}

void cli_json_print(json_t *object)
{
	dump(object, JSON_INDENT(2));
	putchar('\n');
}

void cli_json_begin(void)
{
	items = 0;
	fputs("[", stdout);
}

void cli_json_item(json_t *object)
{
	fputs(items++ > 0 ? ",\n " : "\n ", stdout);
	dump(object, JSON_COMPACT);
}

void cli_json_end(void)
{
	puts(items > 0 ? "\n]" : "]");
}
