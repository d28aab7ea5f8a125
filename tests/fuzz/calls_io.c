/* SPDX-License-Identifier: BSD-3-Clause */
/* calls_io.c - reading, writing, sizes, space; see fuzz_calls.c. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "calls.h"

static void call_read(bool here)
{
	int fd = some_fd(run.c.fd);
	struct open_file *f = world_file(&run.w, fd);
	size_t len = some_length();
	int64_t at = here ? (f ? (int64_t)f->pos : 0) : some_offset(f ? node_of(f)->size : 0), want,
		got;
	struct iovec v[2] = {{call_got, len / 2}, {call_got + len / 2, len - len / 2}};
	uint64_t size;

	if (!here && at < 0)
		want = -EINVAL;
	else if (!f || !f->read)
		want = -EBADF;
	else if (f->dir && run.c.flags & 1 && len == 0)
		want = 0;
	else if (!(f->dir && here) && len > INT64_MAX - (uint64_t)at)
		want = -EINVAL; /* beyond the last position there is */
	else if (f->dir)
		want = -EISDIR;
	else {
		size = node_of(f)->size;
		want = (uint64_t)at >= size	   ? 0
		       : size - (uint64_t)at < len ? (int64_t)(size - (uint64_t)at)
						   : (int64_t)len;
	}
	if (run.c.flags & 1)
		got = here ? adit_readv(run.pool, fd, v, 2) : adit_preadv(run.pool, fd, v, 2, at);
	else
		got = here ? adit_read(run.pool, fd, call_got, len)
			   : adit_pread(run.pool, fd, call_got, len, at);
	same(here ? "read" : "pread", got, want);
	if (want <= 0)
		return;
	model_read(node_of(f), (uint64_t)at, call_data, (size_t)want);
	if (memcmp(call_data, call_got, (size_t)want) != 0)
		fuzz_fail("call %u: read: other bytes than were written", run.number);
	if (here)
		f->pos += (uint64_t)want;
}

#define RWF_APPEND_BIT	 0x10
#define RWF_NOAPPEND_BIT 0x20
#define RWF_ATOMIC_BIT	 0x40

/* What the call with these arguments says and does, as the model has it. */
static int64_t write_model(struct open_file *f, int64_t got, int64_t at, size_t len, bool append,
			   bool atomic, uint64_t *end)
{
	struct op op = {.kind = append ? OP_APPEND : OP_WRITE,
			.n = {append ? len : (uint64_t)at, len, atomic}};
	int64_t want;

	if (len == 0)
		return 0;
	/* The model's appends are not atomic; nothing but the limit tells. */
	if (append && atomic && !(node_of(f)->iflags & MODEL_IMMUTABLE) &&
	    len > INT64_MAX - node_of(f)->size)
		return -EFBIG;
	slot_path(&op, f);
	*end = append ? node_of(f)->size : (uint64_t)at;
	want = applied(&op, got, len);
	*end += want > 0 ? (uint64_t)want : 0;
	return want;
}

static void call_write(bool here)
{
	static const int all_flags[] = {0,
					0,
					RWF_ATOMIC_BIT,
					RWF_APPEND_BIT,
					RWF_NOAPPEND_BIT,
					RWF_ATOMIC_BIT | RWF_APPEND_BIT,
					0x30,
					0x80,
					2,
					0x46};
	int fd = some_fd(run.c.fd), rwf = all_flags[run.c.flags % 10];
	struct open_file *f = world_file(&run.w, fd);
	size_t len = some_length();
	int64_t at = here ? (f ? (int64_t)f->pos : 0) : some_offset(f ? node_of(f)->size : 0);
	struct iovec v[3] = {{call_data, len / 3},
			     {call_data + len / 3, 0},
			     {call_data + len / 3, len - len / 3}};
	bool append =
		f && ((f->flags & O_APPEND && !(rwf & RWF_NOAPPEND_BIT)) || rwf & RWF_APPEND_BIT);
	int64_t want = 0, got;
	uint64_t end = 0;

	op_fill((uint64_t)run.now, append ? 0 : (uint64_t)(at < 0 ? 0 : at), call_data, len);
	if (rwf == 0 && at >= 0 && run.c.flags < 0x8000)
		got = here ? adit_write(run.pool, fd, call_data, len)
			   : adit_pwrite(run.pool, fd, call_data, len, at);
	else
		got = adit_pwritev2(run.pool, fd, v, 3, here ? -1 : at, rwf);
	if (rwf == 0x80)
		want = -EOPNOTSUPP;
	else if (rwf == 0x30 || at < -1)
		want = -EINVAL;
	else if (!f || !f->write)
		want = -EBADF;
	else if (at >= 0 && len > INT64_MAX - (uint64_t)at)
		want = -EINVAL; /* beyond the last position there is, wherever it goes */
	if (at == -1 && !here && want == 0) {
		here = true;
		at = (int64_t)f->pos;
		/* The bytes are those of -1: nothing to compare them with. */
		if (len && got > 0)
			fuzz_fail("call %u: generated arguments are wrong", run.number);
		return;
	}
	if (want == 0)
		want = write_model(f, got, at, len, append, rwf & RWF_ATOMIC_BIT, &end);
	same(here ? "write" : "pwrite", got, want);
	if (here && want > 0)
		f->pos = end;
}

void call_lseek(void)
{
	int fd = some_fd(run.c.fd), whence = run.c.flags % 6;
	struct open_file *f = world_file(&run.w, fd);
	int64_t offset = some_offset(f ? node_of(f)->size : 0), want, base;
	int64_t got = adit_lseek(run.pool, fd, offset, whence);

	if (!f || f->path) {
		want = -EBADF;
	} else if (f->dir) {
		want = whence == SEEK_SET && offset >= 0   ? offset
		       : whence == SEEK_CUR && offset == 0 ? (int64_t)f->pos
							   : -EINVAL;
	} else if (whence == SEEK_DATA || whence == SEEK_HOLE) {
		/* compare.c looks at holes; here only what cannot be otherwise. */
		want = offset < 0 || (uint64_t)offset >= node_of(f)->size	 ? -ENXIO
		       : got >= offset || (got == -ENXIO && whence == SEEK_DATA) ? got
										 : offset;
	} else {
		base = whence == SEEK_CUR   ? (int64_t)f->pos
		       : whence == SEEK_END ? (int64_t)node_of(f)->size
					    : 0;
		if (whence > SEEK_END || __builtin_add_overflow(base, offset, &want) || want < 0)
			want = -EINVAL;
	}
	same("lseek", got, want);
	if (want >= 0)
		f->pos = (uint64_t)want;
}

void call_truncate(void)
{
	static struct where at;
	struct op op = {.kind = OP_TRUNCATE};
	int fd = some_fd(run.c.fd);
	struct open_file *f = world_file(&run.w, fd);
	bool by_fd = run.c.flags & 1;
	int64_t size = some_offset(f ? node_of(f)->size : 5000), got, want = 0;

	if (!by_fd && starts_nowhere(AT_FDCWD, run.p))
		return;
	got = by_fd ? adit_ftruncate(run.pool, fd, size) : adit_truncate(run.pool, run.p, size);
	op.n[0] = (uint64_t)size;
	if (size < 0) {
		want = -EINVAL;
	} else if (by_fd) {
		want = !f || f->path ? -EBADF : !f->write || f->dir ? -EINVAL : 0;
		if (!want)
			slot_path(&op, f);
	} else {
		want = world_find(&run.w, AT_FDCWD, run.p, FOLLOW, &at);
		if (!want && !S_ISREG(run.w.m.node[at.node].mode))
			want = S_ISDIR(run.w.m.node[at.node].mode) ? -EISDIR : -EINVAL;
		if (!want && !world_path(&run.w, &at, op.path))
			fuzz_fail("a path became too long");
	}
	same("truncate", got, want ? want : applied(&op, got, 0));
}

static int check_fallocate(int mode, int64_t offset, int64_t len)
{
	int kind = mode & ~FALLOC_FL_KEEP_SIZE;

	if (offset < 0 || len <= 0)
		return -EINVAL;
	if (mode & ~0x7b || (kind & (kind - 1)) != 0)
		return -EOPNOTSUPP;
	if (kind == FALLOC_FL_PUNCH_HOLE && !(mode & FALLOC_FL_KEEP_SIZE))
		return -EOPNOTSUPP;
	if ((kind == FALLOC_FL_COLLAPSE_RANGE || kind == FALLOC_FL_INSERT_RANGE) &&
	    mode & FALLOC_FL_KEEP_SIZE)
		return -EOPNOTSUPP;
	return 0;
}

void call_fallocate(void)
{
	static const int modes[] = {0,	  1,	3, 3, 0x10, 0x11, 8, 0x20,
				    0x40, 0x41, 2, 9, 0x13, 0x80, 4, 0x18};
	int fd = some_fd(run.c.fd), mode = modes[run.c.flags % 16];
	struct open_file *f = world_file(&run.w, fd);
	struct op op = {.kind = OP_FALLOCATE};
	int64_t at = some_offset(f ? node_of(f)->size : 0), len = (int64_t)some_length(), got, want;

	/* The model keeps a page for each block. */
	if (at > (1 << 22) && (mode == 0 || mode == 1 || mode & 0x10))
		at %= 1 << 22;
	if (run.c.flags & 0x8000) {
		at &= ~4095ll;
		len = (len & ~4095ll) + 4096;
	}
	got = adit_fallocate(run.pool, fd, mode, at, len);
	op.n[0] = (uint64_t)mode;
	op.n[1] = (uint64_t)at;
	op.n[2] = (uint64_t)len;
	want = !f || f->path ? -EBADF : check_fallocate(mode, at, len);
	if (!want && !f->write)
		want = -EBADF;
	if (!want) {
		slot_path(&op, f);
		want = applied(&op, got, (uint64_t)len);
	}
	same("fallocate", got, want);
}

void call_sync(void)
{
	int fd = some_fd(run.c.fd);
	struct open_file *f = world_file(&run.w, fd);
	int64_t want = f && !f->path ? 0 : -EBADF;
	struct statfs st;

	switch (run.c.flags % 4) {
	case 0:
		same("fsync", adit_fsync(run.pool, fd), want);
		break;
	case 1:
		same("fdatasync", adit_fdatasync(run.pool, fd), want);
		break;
	case 2:
		same("syncfs", adit_syncfs(run.pool, fd), want);
		break;
	default:
		same("fstatfs", adit_fstatfs(run.pool, fd, &st), f ? 0 : -EBADF);
		break;
	}
}

void read_here(void)
{
	call_read(true);
}

void read_at(void)
{
	call_read(false);
}

void write_here(void)
{
	call_write(true);
}

void write_at(void)
{
	call_write(false);
}
