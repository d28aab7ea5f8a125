/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * top_worker.c POOL: a program that somebody watches. It obeys lines on standard input and answers each with one:
 *
 *   open, close, quit
 *   work N      N rounds: 5 bytes written, 3 read, one file made, moved and removed
 *   stats       what adit_stats says: "name value" pairs, separated by commas
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <adit/adit.h>

static struct adit_pool *pool;
static int fd;

static int work(unsigned long rounds)
{
	char buf[8] = "";

	for (unsigned long i = 0; i < rounds; i++) {
		int made = adit_openat(pool, AT_FDCWD, "made", O_CREAT | O_EXCL | O_WRONLY, 0600);

		if (made < 0 || adit_close_fd(pool, made) != 0 ||
		    adit_rename(pool, "made", "moved") != 0 || adit_unlink(pool, "moved") != 0 ||
		    adit_pwrite(pool, fd, buf, 5, (off_t)(i % 5000)) != 5 ||
		    adit_pread(pool, fd, buf, 3, 0) != 3)
			return -1;
	}
	return 0;
}

static void print_stats(void)
{
	struct adit_pool_stats s;

	if (adit_stats(pool, &s) != 0)
		exit(3);
	for (unsigned i = 0; i < ADIT_CALL_KINDS; i++)
		printf("calls.%s %" PRIu64 ",failed.%s %" PRIu64 ",", adit_stats_name(i),
		       s.calls[i], adit_stats_name(i), s.failed[i]);
#define SAY(field) printf(#field " %" PRIu64 ",", s.field)
	SAY(bytes_read);
	SAY(bytes_written);
	SAY(records);
	SAY(record_bytes);
	SAY(checkpoints);
	SAY(flushed_lines);
	SAY(streamed_lines);
	SAY(streamed_bytes);
	SAY(fences);
	SAY(lock_waits);
	SAY(lock_wait_ns);
	SAY(repairs);
	SAY(no_space);
	SAY(media_errors);
	SAY(blocks);
	SAY(free_blocks);
	SAY(quarantined_blocks);
	SAY(lent_blocks);
	SAY(participants);
	SAY(running);
	SAY(waiting);
	printf("incarnation %" PRIu64 "\n", s.incarnation);
}

int main(int argc, char **argv)
{
	char line[64];
	int rc = 0;

	while (argc == 2 && fgets(line, sizeof line, stdin) != NULL) {
		if (strncmp(line, "stats", 5) == 0) {
			print_stats();
		} else {
			if (strncmp(line, "open", 4) == 0) {
				rc = adit_open(argv[1], NULL, &pool);
				fd = rc == 0 ? adit_openat(pool, AT_FDCWD, "f", O_CREAT | O_RDWR,
							   0600)
					     : -1;
				if (fd < 0)
					return 2;
			} else if (strncmp(line, "work", 4) == 0) {
				rc = work(strtoul(line + 4, NULL, 10));
			} else if (strncmp(line, "close", 5) == 0) {
				rc = adit_close(pool);
			} else {
				return rc;
			}
			if (rc != 0)
				return 2;
			puts("done");
		}
		fflush(stdout);
	}
	return rc;
}
