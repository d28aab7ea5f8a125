/* SPDX-License-Identifier: BSD-3-Clause */
/* workload.c - see workload.h. */
#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMON                                                                                     \
	"create /f 0644; mkdir /d 0755; create /d/f2 0644; write /d/f2 0 5000; mkdir /e 0755;"     \
	"symlink /l 20; create /o 0600; write /o 0 20;"

const struct workload_state workload_states[] = {
	/* Nothing was ever done: as mkfs leaves it, and opened once. */
	{"newborn", "", "", {.newborn = true}},
	{"fresh", "", "", {0}},
	{"empty", COMMON, "", {0}},
	{"inline", COMMON "write /f 0 50", "", {0}},
	{"inlinefull", COMMON "write /f 0 112", "", {0}},
	{"block", COMMON "write /f 0 4096", "", {0}},
	{"part", COMMON "write /f 0 3000", "", {0}},
	{"three", COMMON "3 write /f #0000 5000", "", {0}},
	{"fourextents", COMMON "4 write /f #00000 4096", "", {0}},
	{"tree", COMMON "20 write /f #00000 4096", "", {0}},
	{"unwritten", COMMON "fallocate /f 0 0 40960; write /f 9000 5000", "", {0}},
	{"prealloc", COMMON "write /f 0 100; fallocate /f 1 0 20000", "", {0}},
	{"sparse", COMMON "truncate /f 1000000; write /f 500000 10", "", {0}},
	{"linked", COMMON "write /f 0 4096; link /f /d/g; link /f /k", "", {0}},
	{"xattrs",
	 COMMON "write /f 0 100; 3 setxattr /f user.x# 100; setxattr /f user.big 9000;"
		"setxattr /d user.d 30",
	 "",
	 {0}},
	{"dirinline", COMMON "2 create /d/x# 0644", "", {0}},
	{"dirtree", COMMON "60 create /d/entry# 0644", "", {0}},
	{"dirsplit", COMMON "68 create /d/entry-with-a-name# 0644", "", {0}},
	{"dirtwo", COMMON "150 create /d/entry-with-a-name# 0644; write /f 0 10", "", {0}},
	{"deep",
	 COMMON "write /f 0 4096; mkdir /d/1 0755; mkdir /d/1/2 0755; mkdir /d/1/2/3 0755;"
		"mkdir /d/1/2/3/4 0755; rename /o /d/1/2/3/4/o 0; create /o 0644",
	 "",
	 {0}},
	{"orphan",
	 COMMON "write /f 0 20000",
	 "hold /f 0; unlink /f; create /f 0644; write /f 0 9000",
	 {0}},
	{"tmpfile", COMMON "write /f 0 4096", "tmpfile /d 0; write @0 0 10000", {0}},
	{"dirty",
	 COMMON "write /f 0 4096",
	 "20 create /d/y# 0644; 10 unlink /d/y#; write /f 100 50 1; write /f 8192 3000;"
	 "3 mkdir /d/z# 0755; rename /d/z0 /e/z0 0; truncate /d/f2 100",
	 {0}},
	{"dirtydata", COMMON "write /f 0 20000", "write /f 10 5000 1; write /f 6000 300 1", {0}},
	{"lanes",
	 COMMON "write /f 0 4096",
	 "lane 1; write /f 0 100 1; lane 0; write /f 50 100 1; lane 1; create /d/w 0644; lane 0;"
	 "write /d/w 0 8000; lane 1",
	 {0}},
	/* Others have been here before: more lanes than recovery needs, or just one. */
	{"onelane",
	 COMMON "write /f 0 4096",
	 "write /f 100 50 1; create /d/y 0644; unlink /o; create /o 0600",
	 {.lanes = 1}},
	{"sixlanes",
	 COMMON "write /f 0 4096",
	 "lane 5; write /f 0 100 1; lane 3; write /f 50 100 1; lane 1; create /d/w 0644; lane 4;"
	 "write /d/w 0 8000; lane 2; unlink /d/f2; create /d/f2 0644; lane 0; rename /d/w /e/w 0; "
	 "lane 5",
	 {.lanes = 6}},
	/* Two handles on one file, one on another that has no name any more. */
	{"held",
	 COMMON "write /f 0 9000; create /g 0644; write /g 0 5000",
	 "hold /f 0; hold /f 1; write @0 100 5000 1; hold /g 2; unlink /g",
	 {0}},
	{"ringend", COMMON "write /f 0 4096", "", {300, 0, 0, 0}},
	{"ringpad", COMMON "write /f 0 4096", "chmod /d 0711; chmod /o 0611", {1000, 0, 0, 0}},
	{"half", COMMON "write /f 0 8192", "3 write /f 0 60000 1", {0}},
	{"full", COMMON "write /f 0 9000", "", {0, 3, 0, 0}},
	{"brimful", COMMON "write /f 0 9000; 3 create /d/x# 0644", "", {0, 1, 0, 0}},
	{"checkpointed",
	 COMMON "write /f 0 8192",
	 "5 create /d/y# 0644; checkpoint; 3 unlink /d/y#; write /f 0 100 1",
	 {0}},
	/* Records that are soon full: operations in many steps. */
	{"steps", COMMON "40 write /f #0000 4096", "", {0, 0, 4000, 13312 + 200}},
	/* Room falls to none at once, not little by little: only operations that take away go on. */
	{"stepsfree", COMMON "40 write /f #0000 4096", "", {0, 0, 3000, 0}, "fallocate"},
	{"stepstree",
	 COMMON "130 write /f #0000 3000; fallocate /f 1 2000000 100000",
	 "",
	 {0, 0, 4000, 17920 + 200}},
	/* Nothing free but what records in the log still name: it must not be written to. */
	{"reuse", COMMON "write /f 0 16384", "write /f 10 16000 1; truncate /f 0", {0, 1, 0, 0}},
	{"reusenode",
	 COMMON "70 create /d/entry# 0644; write /f 0 4096",
	 "5 create /d/more# 0644; 5 unlink /d/more#; 70 unlink /d/entry#",
	 {0, 1, 0, 0}},
	{"reusepart",
	 COMMON "write /f 0 30000; write /o 0 9000",
	 "write /f 0 30000 1; fallocate /f 3 0 8192; write /o 100 8000 1; unlink /o; create /o "
	 "0600",
	 {0, 1, 0, 0}},
	{"freed",
	 COMMON "write /f 0 65536; write /o 0 30000",
	 "unlink /o; create /o 0644;"
	 "truncate /f 10; write /f 10 20000",
	 {0}},
};
const unsigned workload_states_count = sizeof workload_states / sizeof *workload_states;

const struct workload_op workload_ops[] = {
	{"create /n 0644"},
	{"create /d/n~100 0600"},
	{"create /d/n~255 04755"},
	{"mkdir /m 0755"},
	{"mkdir /d/m 02755"},
	{"mknod /p 0010644 0"},
	{"mknod /d/c 0020600 0x100000003"},
	{"symlink /s 30"},
	{"symlink /d/s 300"},
	{"symlink /s 4000"},
	{"link /f /h"},
	{"link /f /d/h"},
	{"link /l /d/h2"},
	{"unlink /f"},
	{"unlink /d/f2"},
	{"unlink /l"},
	{"unlink /n"},
	{"unlink /k"},
	{"rmdir /d"},
	{"rmdir /m"},
	{"create /f 0644"},
	{"rmdir /e"},
	{"rename /f /g 0"},
	{"rename /f /f 0"},
	{"rename /f /k 0"},
	{"rename /f /e 0"},
	{"rename /e /f 0"},
	{"rename /f /o 1"},
	{"rename /f /n 1"},
	{"rename /d/f2 /d/f3 0"},
	{"rename /d/f2 /d/f2 0"},
	{"rename /d/f2 /e/f2 0"},
	{"rename /d/f2 /o 0"},
	{"rename /e /m2 0"},
	{"rename /d /d/x 0"},
	{"rename /e /d 0"},
	{"rename /f /f 2"},
	{"rename /f /e 2"},
	{"rename /f /o 2"},
	{"rename /d/f2 /o 2"},
	{"rename /e /d 2"},
	{"rename /e /m2 4"},
	{"rename /d/f2 /e/f2 4"},
	{"rename /d/f2 /f 4"},
	{"rename /l /o 0"},
	{"rename /f /d/g 0"},
	{"rename /f /o 0"},
	{"rename /f /d/f2 0"},
	{"rename /d/f2 /f 0"},
	{"rename /f /d/f2 2"},
	{"rename /f /l 2"},
	{"rename /d /e/d 0"},
	{"rename /d /e 2"},
	{"rename /e /d/e 0"},
	{"rename /e /d/e 1"},
	{"rename /f /d/g 4"},
	{"rename /f /o 4"},
	{"rename /d /e 0"},
	{"rename /l /e/l 0"},
	{"write /f 0 50"},
	{"write /f 60 100"},
	{"write /f 100 5000"},
	{"write /f 0 4096"},
	{"write /f 3 2000 1"},
	{"write /f 4090 20 1"},
	{"write /f 0 30000"},
	{"write /f 1000 30000 1"},
	{"write /f 100000 100"},
	{"write /f 0 70000 1"},
	{"append /f 10"},
	{"append /f 5000"},
	{"append /f 40000"},
	{"truncate /f 0"},
	{"truncate /f 40"},
	{"truncate /f 2000"},
	{"truncate /f 10000"},
	{"truncate /f 1000000"},
	{"fallocate /f 0 0 30000"},
	{"fallocate /f 1 50000 9000"},
	{"fallocate /f 3 100 3000"},
	{"fallocate /f 3 0 30000"},
	{"fallocate /f 3 4096 4096"},
	{"fallocate /f 0x10 50 9000"},
	{"fallocate /f 0x11 0 100000"},
	{"fallocate /f 0 0 1300000"},
	{"fallocate /f 0x10 5000 1000000"},
	{"fallocate /f 3 5000 1000000"},
	{"fallocate /f 8 8192 81920"},
	{"fallocate /f 0x20 8192 81920"},
	{"write /f 100 900000"},
	{"write /f 100 600000 1"},
	{"write /f 100 2000000"},
	{"fallocate /f 8 0 4096"},
	{"fallocate /f 8 4096 4096"},
	{"fallocate /f 0x20 0 8192"},
	{"fallocate /f 0x20 4096 4096"},
	{"chmod /f 0600"},
	{"chmod /d 01777"},
	{"chown /f 7 8"},
	{"utime /f 123456789 987654321"},
	{"chown /d 9 10"},
	{"utime /l 1234567890 1"},
	{"iflags /f 0x200"},
	{"setxattr /f user.a 40"},
	{"setxattr /f user.x1 500"},
	{"setxattr /f user.big 10000"},
	{"setxattr /d user.a~200 512"},
	{"rmxattr /f user.x1"},
	{"rmxattr /f user.big"},
	{"tmpfile /d 1"},
	{"release 0"},
	{"link @0 /d/linked"},
	{"write @0 100 8000"},
	{"truncate @0 5"},
	{"write @1 0 3000 1"},
	{"append @1 5000"},
	{"fallocate @1 1 20000 9000"},
	{"fallocate @1 3 0 4096"},
	{"truncate @1 200"},
	{"hold /f 3"},
	{"hold /o 0"},
	{"release 1"},
	{"release 2"},
	{"checkpoint"},
};
const unsigned workload_ops_count = sizeof workload_ops / sizeof *workload_ops;

bool workload_is_for(const struct workload_state *state, const char *text)
{
	size_t len = state->without ? strlen(state->without) : 0;

	for (; len && text; text = strchr(text, ';')) {
		text += strspn(text, "; ");
		if (strncmp(text, state->without, len) == 0 && text[len] == ' ')
			return false;
	}
	return true;
}

/* "N op # ...": how many times, and where the operation begins. */
static unsigned long repeat_of(const char **text)
{
	char *end;
	unsigned long n = strtoul(*text, &end, 10);

	if (end == *text || *end != ' ')
		return 1;
	*text = end + 1;
	return n;
}

static void expand(const char *text, size_t len, unsigned long i, char *out, size_t room)
{
	size_t at = 0;

	for (size_t k = 0; k < len && at + 12 < room; k++) {
		if (text[k] == '#')
			at += (size_t)snprintf(out + at, room - at, "%lu", i);
		else
			out[at++] = text[k];
	}
	out[at] = '\0';
}

int workload_parse(const char *text, struct op **out)
{
	char one[OP_TEXT_MAX];
	int n = 0, room = 0;

	*out = NULL;
	for (;;) {
		unsigned long times;
		size_t len;

		text += strspn(text, " \t\n;");
		if (*text == '\0')
			return n;
		times = repeat_of(&text);
		len = strcspn(text, ";\n");
		for (unsigned long i = 0; i < times; i++) {
			if (n == room) {
				room = room ? 2 * room : 16;
				*out = realloc(*out, (size_t)room * sizeof **out);
				if (*out == NULL)
					abort();
			}
			expand(text, len, i, one, sizeof one);
			if (!op_parse(one, &(*out)[n++]))
				return -1;
		}
		text += len;
	}
}
