/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cli_helper.c - what the cases need beside the command.
 *
 *	hold POOL          opens it, prints "held", keeps it until standard input ends
 *	crash POOL         opens it, makes /crashed and an unlinked open file, dies without closing
 *	setxattr POOL PATH NAME VALUE
 *	getxattr POOL PATH NAME
 *	mknod POOL PATH c|b|p|s
 *	sparse POOL PATH   1 MiB, with data at 64 KiB and at the end only
 *	damage POOL OFFSET BYTES   inverts bytes of the pool's file
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <adit/adit.h>

static int check(int rc, const char *what)
{
	if (rc >= 0)
		return rc;
	fprintf(stderr, "cli_helper: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static void hold(void)
{
	puts("held");
	fflush(stdout);
	while (getchar() != EOF) {
	}
}

static void crash(struct adit_pool *pool)
{
	int fd = check(adit_openat(pool, AT_FDCWD, "/crashed", O_WRONLY | O_CREAT, 0644), "create");

	check((int)adit_write(pool, fd, "all of it", 9), "write");
	fd = check(adit_openat(pool, AT_FDCWD, "/gone", O_WRONLY | O_CREAT, 0644), "create");
	check((int)adit_write(pool, fd, "nobody has its name", 19), "write");
	check(adit_unlink(pool, "/gone"), "unlink");
	kill(getpid(), SIGKILL);
}

static mode_t node_type(const char *letter)
{
	return *letter == 'c'	? S_IFCHR
	       : *letter == 'b' ? S_IFBLK
	       : *letter == 'p' ? S_IFIFO
				: S_IFSOCK;
}

static void sparse(struct adit_pool *pool, const char *path)
{
	int fd = check(adit_openat(pool, AT_FDCWD, path, O_WRONLY | O_CREAT, 0644), path);

	check((int)adit_pwrite(pool, fd, "data", 4, 65536), "write");
	check((int)adit_pwrite(pool, fd, "end", 3, (1 << 20) - 3), "write");
	adit_close_fd(pool, fd);
}

static int damage(const char *path, const char *offset, const char *bytes)
{
	unsigned long at = strtoul(offset, NULL, 0), count = strtoul(bytes, NULL, 0);
	int fd = open(path, O_RDWR);

	for (; fd >= 0 && count > 0; count--, at++) {
		unsigned char c;

		if (pread(fd, &c, 1, (off_t)at) != 1)
			return 1;
		c = (unsigned char)~c;
		if (pwrite(fd, &c, 1, (off_t)at) != 1)
			return 1;
	}
	return fd < 0 || close(fd) < 0;
}

int main(int argc, char **argv)
{
	struct adit_pool *pool;
	char value[256];
	ssize_t n;

	if (argc < 3)
		return 2;
	if (strcmp(argv[1], "damage") == 0)
		return argc == 5 ? damage(argv[2], argv[3], argv[4]) : 2;
	check(adit_open(argv[2], NULL, &pool), argv[2]);
	if (strcmp(argv[1], "hold") == 0) {
		hold();
	} else if (strcmp(argv[1], "crash") == 0) {
		crash(pool);
	} else if (strcmp(argv[1], "setxattr") == 0 && argc == 6) {
		check(adit_lsetxattr(pool, argv[3], argv[4], argv[5], strlen(argv[5]), 0), argv[4]);
	} else if (strcmp(argv[1], "getxattr") == 0 && argc == 5) {
		n = adit_lgetxattr(pool, argv[3], argv[4], value, sizeof value);
		check((int)n, argv[4]);
		printf("%.*s\n", (int)n, value);
	} else if (strcmp(argv[1], "mknod") == 0 && argc == 5) {
		check(adit_mknod(pool, argv[3], node_type(argv[4]) | 0640, makedev(5, 7)), argv[3]);
	} else if (strcmp(argv[1], "sparse") == 0 && argc == 4) {
		sparse(pool, argv[3]);
	} else {
		return 2;
	}
	return check(adit_close(pool), "close");
}
