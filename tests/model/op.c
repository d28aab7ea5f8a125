/* SPDX-License-Identifier: BSD-3-Clause */
/* op.c - see op.h. */
#include "op.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line an operation: its word, and what follows (p, q: paths or names; n: a number). */
static const struct {
	const char *word, *args;
} forms[OP_KINDS] = {
	[OP_CREATE] = {"create", "pn"},
	[OP_MKDIR] = {"mkdir", "pn"},
	[OP_MKNOD] = {"mknod", "pnn"},
	[OP_SYMLINK] = {"symlink", "pn"},
	[OP_LINK] = {"link", "pq"},
	[OP_UNLINK] = {"unlink", "p"},
	[OP_RMDIR] = {"rmdir", "p"},
	[OP_RENAME] = {"rename", "pqn"},
	[OP_WRITE] = {"write", "pnnn"},
	[OP_APPEND] = {"append", "pn"},
	[OP_TRUNCATE] = {"truncate", "pn"},
	[OP_FALLOCATE] = {"fallocate", "pnnn"},
	[OP_CHMOD] = {"chmod", "pn"},
	[OP_CHOWN] = {"chown", "pnn"},
	[OP_UTIME] = {"utime", "pnn"},
	[OP_IFLAGS] = {"iflags", "pn"},
	[OP_SETXATTR] = {"setxattr", "pqnn"},
	[OP_RMXATTR] = {"rmxattr", "pq"},
	[OP_TMPFILE] = {"tmpfile", "pn"},
	[OP_HOLD] = {"hold", "pn"},
	[OP_RELEASE] = {"release", "n"},
	[OP_CHECKPOINT] = {"checkpoint", ""},
	[OP_LANE] = {"lane", "n"},
	[OP_MEET] = {"meet", "n"},
};

const char *op_word(enum op_kind kind)
{
	return forms[kind].word;
}

static bool take_word(const char **text, char *to, size_t room)
{
	size_t len;

	*text += strspn(*text, " \t");
	len = strcspn(*text, " \t\n;");
	if (len == 0 || len >= room)
		return false;
	memcpy(to, *text, len);
	to[len] = '\0';
	*text += len;
	return true;
}

bool op_parse(const char *text, struct op *out)
{
	char word[OP_PATH_MAX];
	unsigned numbers = 0;
	int kind = 0;

	memset(out, 0, sizeof *out);
	if (!take_word(&text, word, sizeof word))
		return false;
	while (kind < OP_KINDS && strcmp(word, forms[kind].word) != 0)
		kind++;
	if (kind == OP_KINDS)
		return false;
	out->kind = (enum op_kind)kind;
	for (const char *arg = forms[kind].args; *arg; arg++) {
		if (*arg == 'n') {
			/* Numbers left out at the end are 0. */
			if (take_word(&text, word, sizeof word))
				out->n[numbers] = strtoull(word, NULL, 0);
			numbers++;
		} else if (!take_word(&text, *arg == 'p' ? out->path : out->path2, OP_PATH_MAX)) {
			return false;
		}
	}
	return text[strspn(text, " \t")] == '\0' || strchr("\n;", text[strspn(text, " \t")]);
}

void op_print(const struct op *op, char *text, size_t len)
{
	unsigned numbers = 0;
	size_t at = (size_t)snprintf(text, len, "%s", forms[op->kind].word);

	for (const char *arg = forms[op->kind].args; *arg && at < len; arg++) {
		if (*arg == 'n')
			at += (size_t)snprintf(text + at, len - at, " %#" PRIx64, op->n[numbers++]);
		else
			at += (size_t)snprintf(text + at, len - at, " %s",
					       *arg == 'p' ? op->path : op->path2);
	}
}

int op_parse_list(const char *text, struct op *out, int max)
{
	int n = 0;

	for (;;) {
		text += strspn(text, " \t\n;");
		if (*text == '\0')
			return n;
		if (n == max || !op_parse(text, &out[n]))
			return -1;
		n++;
		text += strcspn(text, "\n;");
	}
}

size_t op_component(const char **path, char name[OP_NAME_MAX])
{
	const char *tilde;
	size_t len, want;

	*path += strspn(*path, "/");
	len = strcspn(*path, "/");
	tilde = memchr(*path, '~', len);
	if (len == 0 || len >= OP_NAME_MAX)
		return 0;
	memcpy(name, *path, len);
	if (tilde) {
		want = strtoul(tilde + 1, NULL, 10);
		len = (size_t)(tilde - *path);
		if (want >= OP_NAME_MAX)
			want = OP_NAME_MAX - 1;
		for (; len < want; len++)
			name[len] = (char)('A' + len % 26);
	}
	name[len] = '\0';
	*path += strcspn(*path, "/");
	return len;
}

int op_slot(const char *path)
{
	return path[0] == '@' ? (int)strtol(path + 1, NULL, 10) : -1;
}

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

uint64_t op_random(uint64_t *state)
{
	return mix(*state += 0x9e3779b97f4a7c15ull);
}

void op_fill(uint64_t seed, uint64_t pos, void *to, size_t len)
{
	uint8_t *p = to;

	while (len > 0) {
		uint64_t word = mix((seed + 1) * 0x9e3779b97f4a7c15ull + pos / 8) | 1;
		size_t skip = pos % 8, n = 8 - skip < len ? 8 - skip : len;

		memcpy(p, (const uint8_t *)&word + skip, n);
		p += n;
		pos += n;
		len -= n;
	}
}
