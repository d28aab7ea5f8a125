/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * text.c - sizes, times and modes, to and from text; see cli.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

bool cli_parse_size(const char *text, uint64_t *out)
{
	static const char units[] = "KMGTPE";
	long double value, limit = 18446744073709551616.0L;
	unsigned power = 0;
	uint64_t base = 1024, unit = 1;
	const char *at;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	if (strncasecmp(text, "0x", 2) == 0) {
		errno = 0;
		*out = strtoull(text, &end, 16);
		return errno == 0 && *end == '\0' && end != text + 2;
	}
	value = strtold(text, &end);
	if (*end != '\0' &&
	    (at = strchr(units, *end >= 'a' && *end <= 'z' ? *end - 32 : *end)) != NULL) {
		power = (unsigned)(at - units) + 1;
		end++;
	}
	if (power > 0 && strcasecmp(end, "B") == 0) {
		base = 1000;
		end++;
	} else if (power > 0 && strcasecmp(end, "iB") == 0) {
		end += 2;
	} else if (power == 0 && strcasecmp(end, "B") == 0) {
		end++;
	}
	if (*end != '\0')
		return false;
	while (power-- > 0)
		unit *= base;
	value *= (long double)unit;
	if (!(value >= 0 && value < limit))
		return false;
	*out = (uint64_t)value;
	return true;
}

const char *cli_human(char *buf, uint64_t bytes)
{
	static const char units[] = " KMGTPE";
	double value = (double)bytes;
	unsigned unit = 0;

	while (value >= 1023.95 && units[unit + 1] != '\0') {
		value /= 1024;
		unit++;
	}
	if (unit == 0)
		snprintf(buf, CLI_HUMAN, "%u", (unsigned)bytes);
	else
		snprintf(buf, CLI_HUMAN, value < 99.95 ? "%.1f%c" : "%.0f%c", value, units[unit]);
	return buf;
}

char cli_type_letter(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return 'f';
	case S_IFDIR:
		return 'd';
	case S_IFLNK:
		return 'l';
	case S_IFBLK:
		return 'b';
	case S_IFCHR:
		return 'c';
	case S_IFIFO:
		return 'p';
	case S_IFSOCK:
		return 's';
	default:
		return '?';
	}
}

const char *cli_type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "directory";
	case S_IFLNK:
		return "symlink";
	case S_IFBLK:
		return "block-device";
	case S_IFCHR:
		return "char-device";
	case S_IFIFO:
		return "fifo";
	case S_IFSOCK:
		return "socket";
	default:
		return "unknown";
	}
}

const char *cli_mode_text(char *buf, mode_t mode)
{
	static const char letters[] = "rwxrwxrwx";
	char type = cli_type_letter(mode);

	buf[0] = type == 'f' ? '-' : type;
	for (unsigned i = 0; i < 9; i++)
		buf[1 + i] = mode & (0400u >> i) ? letters[i] : '-';
	if (mode & S_ISUID)
		buf[3] = mode & S_IXUSR ? 's' : 'S';
	if (mode & S_ISGID)
		buf[6] = mode & S_IXGRP ? 's' : 'S';
	if (mode & S_ISVTX)
		buf[9] = mode & S_IXOTH ? 't' : 'T';
	buf[10] = '\0';
	return buf;
}

const char *cli_time_text(char *buf, const struct timespec *t, bool long_form)
{
	struct tm tm;
	char date[24], zone[8] = "";

	if (localtime_r(&t->tv_sec, &tm) == NULL) {
		snprintf(buf, CLI_TIME, "%lld", (long long)t->tv_sec);
		return buf;
	}
	strftime(date, sizeof date, long_form ? "%Y-%m-%d %H:%M:%S" : "%Y-%m-%d %H:%M", &tm);
	strftime(zone, sizeof zone, "%z", &tm);
	if (long_form)
		snprintf(buf, CLI_TIME, "%s.%09ld %s", date, t->tv_nsec, zone);
	else
		snprintf(buf, CLI_TIME, "%s", date);
	return buf;
}

/* ---- modes -------------------------------------------------------------------------------------- */

/* Permission letters behind one operator, as bits for user, group and others together. */
static bool permission_bits(const char **text, mode_t old, mode_t *bits)
{
	mode_t out = 0;

	for (;; (*text)++) {
		switch (**text) {
		case 'r':
			out |= 0444;
			break;
		case 'w':
			out |= 0222;
			break;
		case 'x':
			out |= 0111;
			break;
		case 'X':
			if (S_ISDIR(old) || (old & 0111))
				out |= 0111;
			break;
		case 's':
			out |= S_ISUID | S_ISGID;
			break;
		case 't':
			out |= S_ISVTX;
			break;
		case '\0':
		case ',':
		case '+':
		case '-':
		case '=':
			*bits = out;
			return true;
		default:
			return false;
		}
	}
}

/* [ugoa]*([-+=][rwxXst]*)+ */
static bool apply_clause(const char **text, mode_t *mode)
{
	mode_t who = 0, bits;

	for (; **text != '\0' && strchr("ugoa", **text) != NULL; (*text)++) {
		who |= **text == 'u'   ? 04700
		       : **text == 'g' ? 02070
		       : **text == 'o' ? 01007
				       : 07777;
	}
	if (who == 0)
		who = 07777;
	if (**text != '+' && **text != '-' && **text != '=')
		return false;
	while (**text == '+' || **text == '-' || **text == '=') {
		char operator= *(*text)++;

		if (!permission_bits(text, *mode, &bits))
			return false;
		/* 't' is not bound to "others" when somebody else is named. */
		bits &= who | ((bits & S_ISVTX) && (who & 07) ? S_ISVTX : 0);
		if (operator== '=')
			*mode &= ~(who & (S_ISDIR(*mode) ? 01777 : 07777));
		*mode = operator== '-' ? *mode & ~bits : * mode | bits;
	}
	return true;
}

bool cli_parse_mode(const char *text, mode_t old, mode_t *out)
{
	mode_t mode = old & (S_IFMT | 07777);

	if (*text >= '0' && *text <= '7') {
		char *end;
		unsigned long v = strtoul(text, &end, 8);

		if (*end != '\0' || v > 07777)
			return false;
		*out = (mode_t)v;
		return true;
	}
	do {
		if (!apply_clause(&text, &mode))
			return false;
	} while (*text++ == ',');
	if (text[-1] != '\0')
		return false;
	*out = mode & 07777;
	return true;
}
