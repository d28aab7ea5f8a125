/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_calls.c - sequences of the calls of adit.h, beside the model (world.h).
 *
 * Input: calls of 16 bytes (struct call), up to CALLS_MAX of them, on an empty pool of 4 MiB. How many
 * there are says whether names collide and whether changes take many steps. What each
 * returns must be what the model says; where the model cannot say, the call is left out. At the end
 * the trees are compared, the check finds nothing, and after closing and opening again both hold once
 * more.
 *
 * The pool handle is put together here, around memory: no file, no mapping a run.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "calls.h"
#include "core/check.h"

#define CALLS_MAX 64u

const char *const fuzz_name = "calls";

struct run run;
uint8_t call_data[CALL_DATA_MAX], call_got[CALL_DATA_MAX];

/* ---- the pool ----------------------------------------------------------------------------- */

static void open_pool(void)
{
	run.s.reports = 0;
	if (subject_open(&run.s))
		fuzz_fail("the pool cannot be opened: %s", run.s.report);
	memset(run.pool, 0, sizeof *run.pool);
	run.pool->media.pm = run.s.pm;
	run.pool->media.fd = -1;
	run.pool->media.domain = ADIT_DOMAIN_PROCESS;
	run.pool->media.flush_name = "none";
	run.pool->fs = run.s.fs;
	run.pool->dev = makedev(1, 2);
	if (adit__fds_init(&run.pool->fds))
		abort();
}

/* As adit_close; what a dying process leaves, unless cleanly. */
static void close_pool(bool cleanly)
{
	struct adit_fd_table *t = &run.pool->fds;

	if (cleanly) {
		adit__fds_finish(run.pool);
		if (subject_close(&run.s))
			fuzz_fail("the pool cannot be closed");
		return;
	}
	/* The process's memory goes, and nothing else. */
	for (unsigned i = 0; i < ADIT_FD_CHUNKS; i++) {
		for (unsigned k = 0; t->chunk[i] && k < ADIT_FD_CHUNK; k++)
			if (t->chunk[i][k].seq & 1 && --t->chunk[i][k].file->refs == 0)
				free(t->chunk[i][k].file);
		free(t->chunk[i]);
	}
	subject_abandon(&run.s);
}

static void must_be_same(const char *when)
{
	struct difference d;
	char text[400];
	int n;

	if (compare(&run.s, &run.w.m, NULL, NULL, &d))
		fuzz_fail("%s: %s", when, d.text);
	n = adit__check_quiet(run.s.fs, text, sizeof text);
	if (n)
		fuzz_fail("%s: check: %d: %s", when, n, text);
	if (run.s.reports)
		fuzz_fail("%s: %s", when, run.s.report);
}

static void reopen(bool cleanly)
{
	close_pool(cleanly);
	open_pool();
	world_restart(&run.w);
	must_be_same(cleanly ? "after closing" : "after a kill");
}

/* ---- results --------------------------------------------------------------------------------- */

void same(const char *call, int64_t got, int64_t want)
{
	if (run.say)
		fprintf(stderr, "%u: %s(%d %s %s flags %#x len %u v %#x) = %lld\n", run.number,
			call, run.c.fd, run.p, run.q, run.c.flags, run.c.len, run.c.v,
			(long long)got);
	if (got != want)
		fuzz_fail("call %u, %s: %lld, but the model says %lld", run.number, call,
			  (long long)got, (long long)want);
}

/* No room: nothing has happened, and there was little. */
bool refused(int64_t rc, uint64_t bytes)
{
	if (rc != -ENOSPC)
		return false;
	if (run.before.available > 64 + bytes / ADIT_BLOCK)
		fuzz_fail("call %u: ENOSPC with %llu blocks free", run.number,
			  (unsigned long long)run.before.available);
	fuzz_count("refused for space", 1);
	return true;
}

/* The model's answer to an operation, unless the pool was full. */
int64_t applied(struct op *op, int64_t got, uint64_t bytes)
{
	return refused(got, bytes) ? got : model_apply(&run.w.m, op, run.now);
}

/* ---- arguments ---------------------------------------------------------------------------------- */

static const char *name_of(unsigned n)
{
	static char long_name[256], too_long[257];
	static const char *const names[] = {"a", "b",  "c",  "d", "e",	"f", "g",
					    "h", "l1", "l2", ".", "..", "",  "n"};

	memset(long_name, 'L', 255);
	memset(too_long, 'T', 256);
	return n == 14 ? long_name : n == 15 ? too_long : names[n];
}

static void make_path(const uint8_t p[3], char path[8192])
{
	static const unsigned char depths[] = {1, 1, 1, 2, 2, 2, 3, 0};
	unsigned depth = depths[p[0] >> 5];

	path[0] = '\0';
	if (p[0] & 16)
		strcat(path, "/");
	for (unsigned i = 0; i < depth; i++) {
		strcat(path, i ? "/" : "");
		strcat(path, name_of(p[i] & 15));
	}
	if (p[2] >= 0xe0)
		strcat(path, "/");
	/* About as long as a path may be. */
	if (p[1] == 0xff)
		while (strlen(path) < 4085u + p[2] % 16)
			strcat(path, "/.");
}

int some_fd(uint8_t n)
{
	return n >= 0xf0 ? -1 - (n & 3) : n % 10;
}

int some_dirfd(void)
{
	return run.c.fd >= 160 ? AT_FDCWD : some_fd(run.c.fd);
}

size_t some_length(void)
{
	static const uint32_t lengths[] = {0,	 1,    7,    8,	    111,   112,	  113,	  4095,
					   4096, 4097, 8192, 12288, 65536, 65537, 131072, 300000};

	return run.c.len < 0x8000 ? run.c.len % 9000 : lengths[run.c.len % 16];
}

int64_t some_offset(uint64_t size)
{
	uint64_t n = run.c.v >> 3;

	switch (run.c.v & 7) {
	case 0:
		return (int64_t)(n % 200);
	case 1:
		return (int64_t)(n % 9000);
	case 2:
		return (int64_t)(n % 600 * 4096);
	case 3:
		return (int64_t)(n % 200000);
	case 4:
		return (int64_t)(size - n % 20 < size ? size - n % 20 : size + n % 20);
	case 5:
		return (int64_t)((1ull << (20 + n % 43)) - n / 64 % 9);
	case 6:
		return (int64_t)(INT64_MAX - n % 9000);
	default:
		return n % 8 ? (int64_t)(n % 3000000) : -(int64_t)n;
	}
}

struct model_node *node_of(const struct open_file *f)
{
	return &run.w.m.node[f->node];
}

void slot_path(struct op *op, const struct open_file *f)
{
	snprintf(op->path, sizeof op->path, "@%u", (unsigned)(f - run.w.file));
}

/* Nobody says what happens in a directory that was removed. */
bool starts_nowhere(int dirfd, const char *path)
{
	uint32_t dir;

	return world_start(&run.w, dirfd, path, &dir) == 0 && world_is_gone(&run.w, dir);
}

/* ---- the sequence ---------------------------------------------------------------------------------------------------- */

static void call_reopen(void)
{
	if (run.c.flags & 1) {
		if (adit__checkpoint(run.s.fs))
			fuzz_fail("checkpoint");
	} else if (run.c.v % 4 == 0) {
		reopen(run.c.flags & 2);
	}
	subject_lane = run.c.len % 2;
}

static void (*const calls[])(void) = {
	call_open,     call_open,      call_open,      call_close,  call_dup,	  call_fcntl,
	read_here,     read_at,	       write_here,     write_at,    write_at,	  call_lseek,
	call_truncate, call_fallocate, call_fallocate, call_sync,   call_make,	  call_make,
	call_symlink,  call_link,      call_remove,    call_rename, call_rename,  call_readlink,
	call_getdents, call_stat,      call_chmod,     call_chown,  call_utimens, call_flags,
	call_setxattr, call_getxattr,  call_handle,    call_reopen,
};
#define CALLS (sizeof calls / sizeof *calls)

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	images_make();
	for (unsigned i = 0; i < IMAGES; i++)
		if (strcmp(images[i].name, "empty") == 0)
			run.im = &images[i];
	run.pool = malloc(sizeof *run.pool);
	run.say = getenv("ADIT_FUZZ_SAY") != NULL;
	return run.pool && run.im ? 0 : 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	subject_attach(&run.s, run.im->pool, IMAGE_BYTES);
	subject_random = 1;
	subject_lane = 0;
	/* As the image was made: its directory's times are 0. */
	subject_now = run.now = 0;
	run.s.quiet = !run.say;
	/* As tests/model has it. */
	subject_weak_hash = size / sizeof run.c % 5 == 1 ? 7 : 0;
	subject_full_after = size / sizeof run.c % 7 < 2 ? 2000 : 0;
	subject_full_room = 17920 + 200;
	open_pool();
	world_init(&run.w);
	for (run.number = 0; run.number < CALLS_MAX && size >= sizeof run.c; run.number++) {
		memcpy(&run.c, bytes, sizeof run.c);
		bytes += sizeof run.c;
		size -= sizeof run.c;
		make_path(run.c.p, run.p);
		make_path(run.c.q, run.q);
		subject_now = ++run.now;
		adit__core_statfs(run.s.fs, &run.before);
		calls[run.c.what % CALLS]();
	}
	fuzz_count("calls", run.number);
	must_be_same("at the end");
	reopen(true);
	close_pool(true);
	model_finish(&run.w.m);
	image_restore(run.im);
	return 0;
}

/* ---- inputs ------------------------------------------------------------------------------------------------------------ */

/* Few names, so that they are met again. */
static void random_path(uint8_t p[3])
{
	p[0] = (uint8_t)(fuzz_below(5) + (fuzz_below(8) ? 0 : fuzz_below(256)) +
			 32 * fuzz_below(7));
	p[1] = (uint8_t)(fuzz_below(8) ? fuzz_below(10) : fuzz_below(256));
	p[2] = (uint8_t)(fuzz_below(8) ? fuzz_below(5) : fuzz_below(256));
}

static struct call random_call(void)
{
	struct call c = {
		.what = (uint8_t)fuzz_below(CALLS),
		.fd = (uint8_t)(fuzz_below(3) ? fuzz_below(3) : fuzz_below(256)),
		.flags = (uint16_t)fuzz_below(UINT64_MAX),
		.len = (uint16_t)fuzz_below(UINT64_MAX),
		.v = (uint32_t)fuzz_below(UINT64_MAX),
	};

	if (c.what < 3) {
		/* Mostly what succeeds. */
		c.fd = fuzz_below(3) ? 255 : c.fd;
		if (fuzz_below(3))
			c.flags = (uint16_t)(2 | (fuzz_below(4) ? 4 : 0) |
					     (fuzz_below(5) ? 0 : 16) | (fuzz_below(5) ? 0 : 32));
	}
	random_path(c.p);
	random_path(c.q);
	return c;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed)
{
	size_t n = size / sizeof(struct call), at;
	struct call c;

	fuzz_seed(seed);
	if (max < 4 * sizeof c || fuzz_below(4) == 0)
		return LLVMFuzzerMutate(bytes, size, max);
	size = n * sizeof c;
	c = random_call();
	at = fuzz_below(n + 1) * sizeof c;
	if (n && fuzz_below(5) == 0) { /* one less */
		at %= size;
		memmove(bytes + at, bytes + at + sizeof c, size - at - sizeof c);
		return size - sizeof c;
	}
	if (n && fuzz_below(3) == 0) { /* another */
		at %= size;
	} else if (n && fuzz_below(4) == 0 && size + sizeof c <= max) { /* one once more */
		memcpy(&c, bytes + fuzz_below(n) * sizeof c, sizeof c);
		memmove(bytes + at + sizeof c, bytes + at, size - at);
		size += sizeof c;
	} else if (size + sizeof c <= max) { /* one more */
		memmove(bytes + at + sizeof c, bytes + at, size - at);
		size += sizeof c;
	} else {
		at %= size;
	}
	memcpy(bytes + at, &c, sizeof c);
	return size;
}
