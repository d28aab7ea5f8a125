/* SPDX-License-Identifier: BSD-3-Clause */
/* subject.c - see subject.h. */
#include "subject.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/alloc.h"
#include "core/file.h"
#include "core/linux_abi.h"
#include "core/log.h"
#include "core/namei.h"
#include "core/xattr.h"
#include "fs/env.h"

_Thread_local int64_t subject_now;
_Thread_local uint32_t subject_lane;
uint64_t subject_random;
uint32_t subject_weak_hash;
uint32_t subject_full_after;
uint32_t subject_full_room;
void (*subject_blocked)(void);
uint64_t subject_refuse_alloc;
bool subject_refuse_alloc_all;
uint64_t subject_refuse_trylock;
const void *subject_busy_lock;

#define ITEMS(a) (sizeof(a) / sizeof *(a))

/* ---- environment ------------------------------------------------------------------ */

/* Pools are opened ten thousands of times a second here: freed blocks are kept by size, with their
 * pages. */
struct block {
	size_t bytes;
	struct block *next;
};
static struct block *cache[64];

static struct block **bin_of(size_t bytes)
{
	return &cache[63u - (unsigned)__builtin_clzll(bytes | 64)];
}

static bool refused(void)
{
	if (subject_refuse_alloc == 0 || --subject_refuse_alloc > 0)
		return false;
	if (subject_refuse_alloc_all)
		subject_refuse_alloc = 1;
	return true;
}

#define LARGE (128u * 1024)

/* The address sanitizer is to see what is small: it is not kept. */
#if defined(__SANITIZE_ADDRESS__)
#define KEEP_SMALL false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KEEP_SMALL false
#endif
#endif
#ifndef KEEP_SMALL
#define KEEP_SMALL true
#endif

static void *env_alloc(size_t bytes)
{
	struct block *b;

	if (refused())
		return NULL;
	for (struct block **at = bin_of(bytes); (b = *at) != NULL; at = &b->next) {
		if (b->bytes != bytes)
			continue;
		*at = b->next;
		memset(b + 1, 0, bytes);
		return b + 1;
	}
	b = calloc(1, sizeof *b + bytes);
	if (b == NULL)
		return NULL;
	b->bytes = bytes;
	return b + 1;
}

static void env_free(void *p)
{
	struct block *b, **at;

	if (p == NULL)
		return;
	b = (struct block *)p - 1;
	if (!KEEP_SMALL && b->bytes < LARGE) {
		free(b);
		return;
	}
	at = bin_of(b->bytes);
	b->next = *at;
	*at = b;
}

static void env_lock(struct adit_lock *lock, uint32_t incarnation, bool exclusive)
{
	if (subject_blocked == NULL) {
		adit__env.lock(lock, incarnation, exclusive);
		return;
	}
	while (!adit__env.trylock(lock, incarnation, exclusive))
		subject_blocked();
}

static void env_yield(void)
{
	if (subject_blocked)
		subject_blocked();
	else
		adit__env.yield();
}

static bool env_trylock(struct adit_lock *lock, uint32_t incarnation, bool exclusive)
{
	if (subject_refuse_trylock != 0 && --subject_refuse_trylock == 0)
		return false;
	return lock != subject_busy_lock && adit__env.trylock(lock, incarnation, exclusive);
}

static int64_t env_now(void)
{
	return op_clock(subject_now);
}

static uint64_t env_random(void)
{
	return subject_random ? op_random(&subject_random) : 0x5eed;
}

static uint32_t env_thread_hint(void)
{
	return subject_lane;
}

static ADIT_PRINTF(2, 3) void env_report(void *ctx, const char *format, ...)
{
	struct subject *s = ctx;
	va_list args;

	va_start(args, format);
	vsnprintf(s->report, sizeof s->report, format, args);
	va_end(args);
	s->reports++;
	if (!s->quiet)
		fprintf(stderr, "report: %s\n", s->report);
}

static struct adit_env env;

const struct adit_env *subject_env(void)
{
	env = adit__env;
	env.alloc = env_alloc;
	env.free = env_free;
	env.trylock = env_trylock;
	env.now_ns = env_now;
	env.random64 = env_random;
	env.thread_hint = env_thread_hint;
	env.report = env_report;
	env.lock = env_lock;
	env.yield = env_yield;
	return &env;
}

static struct adit_env adopted;

static void make_adopted(void)
{
	adopted = adit__env;
	adopted.now_ns = env_now;
}

void subject_adopt(struct subject *s, struct adit_fs *fs, const char *own)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_adopted);
	memset(s, 0, sizeof *s);
	s->pm = fs->pm;
	s->fs = fs;
	s->own = own;
	if (fs->env != &adopted)
		fs->env = &adopted;
}

bool subject_shares(const struct subject *s, const char *path)
{
	return s->own != NULL && (path[strspn(path, "/")] == '\0' ||
				  (path[1] == 's' && strchr(path + 1, '/') == NULL));
}

/* ---- memory: nothing to do for flush and fence ---------------------------------------- */

static void pm_flush(struct adit_pm *pm, const void *addr, size_t len)
{
	(void)pm, (void)addr, (void)len;
}

static void pm_fence(struct adit_pm *pm)
{
	(void)pm;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void pm_copy(struct adit_pm *pm, void *dst, const void *src, size_t len)
{
	(void)pm;
	adit__pm_put_bytes(dst, src, len);
}

static void pm_zero(struct adit_pm *pm, void *dst, size_t len)
{
	(void)pm;
	adit__pm_put_zeros(dst, len);
}

void subject_attach(struct subject *s, uint8_t *base, uint64_t bytes)
{
	static const struct adit_pm_ops ops = {pm_flush, pm_fence, pm_copy, pm_zero};

	memset(s, 0, sizeof *s);
	s->pm.base = base;
	s->pm.size_bytes = bytes;
	s->pm.ops = &ops;
}

void subject_init(struct subject *s, uint64_t bytes)
{
	uint8_t *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		abort();
	subject_attach(s, base, bytes);
}

void subject_finish(struct subject *s)
{
	if (s->fs)
		subject_abandon(s);
	munmap(s->pm.base, s->pm.size_bytes);
}

int subject_mkfs(struct subject *s, uint32_t lanes)
{
	struct adit_mkfs_params p = {.pool_bytes = s->pm.size_bytes, .hash_seed = 42,
				     .root_mode = 0755, .lanes = lanes,
				     .uuid = "adit-test-pool!"};

	return adit__core_mkfs(&s->pm, subject_env(), s, &p);
}

int subject_open(struct subject *s)
{
	struct adit_fs *fs = NULL; /* s->fs says that it is open */
	int err = adit__core_open(&fs, &s->pm, subject_env(), s, 0);

	s->fs = err ? NULL : fs;
	if (!err) {
		s->fs->weak_hash_mask = subject_weak_hash;
		s->fs->full_after = subject_full_after;
		s->fs->full_room = subject_full_room;
	}
	memset(s->slot, 0, sizeof s->slot);
	return err;
}

int subject_close(struct subject *s)
{
	int err = adit__core_close(s->fs);

	s->fs = NULL;
	return err;
}

void subject_abandon(struct subject *s)
{
	adit__core_abandon(s->fs);
	s->fs = NULL;
}

bool subject_volatile(const struct subject *s, struct area area[3])
{
	const struct adit_super_pm *super = (const void *)s->pm.base;
	struct adit_fs fs = {.pm = s->pm, .super = *super};
	const char *why;

	if (adit__verify_super(&adit__env, super, s->pm.size_bytes, &why) != 0)
		return false;
	adit__fs_geometry(&fs);
	area[0].offset = get64(super->vol_start) * ADIT_BLOCK;
	area[0].end = area[0].offset + get64(super->vol_blocks) * ADIT_BLOCK;
	area[1].offset = adit__offset_of(&fs, adit__group_vol(&fs, 0));
	area[1].end = area[1].offset + (uint64_t)fs.groups * ADIT_BLOCK;
	area[2].offset = adit__offset_of(&fs, adit__group_vol_bitmap(&fs, 0));
	area[2].end = area[2].offset + (uint64_t)fs.groups * fs.bitmap_blocks * ADIT_BLOCK;
	return true;
}

/* ---- paths ------------------------------------------------------------------------------ */

static int resolve(struct subject *s, const char *path, uint64_t *ino)
{
	int slot = op_slot(path), err;
	struct adit_id id = {.ino = ADIT_INO_ROOT};
	char name[OP_NAME_MAX];
	size_t len;

	if (slot >= 0) {
		*ino = slot < MODEL_SLOTS ? s->slot[slot] : 0;
		return *ino ? 0 : -EBADF;
	}
	while ((len = op_component(&path, name)) > 0) {
		err = adit__lookup(s->fs, id.ino, name, len, &id);
		if (err)
			return err;
	}
	*ino = id.ino;
	return 0;
}

struct place {
	uint64_t dir;
	char name[OP_NAME_MAX];
	size_t len;
};

static int resolve_place(struct subject *s, const char *path, struct place *p)
{
	struct adit_id id = {.ino = ADIT_INO_ROOT};
	char next[OP_NAME_MAX];
	size_t len;

	p->len = op_component(&path, p->name);
	while ((len = op_component(&path, next)) > 0) {
		int err = adit__lookup(s->fs, id.ino, p->name, p->len, &id);

		if (err)
			return err;
		memcpy(p->name, next, sizeof next);
		p->len = len;
	}
	p->dir = id.ino;
	/* The core says so too, but only after the second path of a rename was looked at. */
	if (p->len == 0)
		return -ENOENT;
	return p->len > ADIT_NAME_MAX ? -ENAMETOOLONG : 0;
}

/* What the operation writes. Of its own: while it runs, an enumerator may run others. */
static uint8_t *contents(uint64_t pos, size_t len)
{
	uint8_t *p = malloc(len + 1);

	if (p == NULL)
		abort();
	op_fill((uint64_t)subject_now, pos, p, len);
	return p;
}

/* ---- operations ---------------------------------------------------------------------------- */

static int do_create(struct subject *s, const struct op *op, uint32_t mode, uint64_t rdev,
		     size_t target)
{
	uint8_t *link = contents(0, target);
	struct adit_create c = {.mode = mode, .rdev = rdev, .link = link, .link_len = target};
	struct adit_id id;
	struct place p;
	int err = resolve_place(s, op->path, &p);

	if (!err)
		err = adit__create(s->fs, p.dir, p.name, p.len, &c, NULL, &id);
	free(link);
	return err;
}

static int do_link(struct subject *s, const struct op *op)
{
	struct place p;
	uint64_t ino;
	int err = resolve(s, op->path, &ino), slot;

	if (!err)
		err = resolve_place(s, op->path2, &p);
	if (err)
		return err;
	slot = op_slot(op->path);
	err = (slot >= 0 && s->linkable[slot] ? adit__link_unnamed : adit__link)(s->fs, ino, p.dir, p.name,
										  p.len);
	if (!err && slot >= 0)
		s->linkable[slot] = false;
	return err;
}

static int do_remove(struct subject *s, const struct op *op)
{
	struct place p;
	int err = resolve_place(s, op->path, &p);

	if (err)
		return err;
	return op->kind == OP_RMDIR ? adit__rmdir(s->fs, p.dir, p.name, p.len) :
				      adit__unlink(s->fs, p.dir, p.name, p.len);
}

static int do_rename(struct subject *s, const struct op *op)
{
	unsigned flags = (unsigned)op->n[0];
	struct place a, b;
	int err;

	if (flags > 7 || (flags & 2 && flags & 5))
		return adit__rename(s->fs, ADIT_INO_ROOT, "a", 1, ADIT_INO_ROOT, "b", 1, flags);
	err = resolve_place(s, op->path, &a);
	if (!err)
		err = resolve_place(s, op->path2, &b);
	return err ? err : adit__rename(s->fs, a.dir, a.name, a.len, b.dir, b.name, b.len, flags);
}

static int64_t do_write(struct subject *s, const struct op *op)
{
	bool append = op->kind == OP_APPEND;
	uint64_t pos = op->n[0], len = append ? op->n[0] : op->n[1], ino;
	struct adit_iovec iov[3];
	unsigned flags = append ? ADIT_WRITE_APPEND : op->n[2] & 1 ? ADIT_WRITE_ATOMIC : 0;
	uint64_t a = len / 3 + subject_now % 7, b;
	uint8_t *data;
	int64_t done;
	int err = resolve(s, op->path, &ino);

	if (err)
		return err;
	data = contents(append ? 0 : pos, len);
	/* In one, two or three parts, some of them empty. */
	a = a < len ? a : len;
	b = subject_now % 3 == 0 ? len - a : (len - a) / 2;
	iov[0] = (struct adit_iovec){data, a};
	iov[1] = (struct adit_iovec){data + a, b};
	iov[2] = (struct adit_iovec){data + a + b, len - a - b};
	if (subject_now % 2)
		iov[0] = (struct adit_iovec){data, len};
	done = adit__file_write(s->fs, ino, iov, subject_now % 2 ? 1 : 3, &pos, flags);
	free(data);
	return done;
}

static int do_setattr(struct subject *s, const struct op *op)
{
	struct adit_attr a = {0};
	unsigned what;
	uint64_t ino;
	int err = resolve(s, op->path, &ino);

	if (err)
		return err;
	switch (op->kind) {
	case OP_CHMOD:
		what = ADIT_SET_MODE;
		a.mode = (uint32_t)op->n[0];
		break;
	case OP_CHOWN:
		what = ADIT_SET_UID | ADIT_SET_GID;
		a.uid = (uint32_t)op->n[0];
		a.gid = (uint32_t)op->n[1];
		break;
	case OP_UTIME:
		what = ADIT_SET_MTIME | ADIT_SET_ATIME;
		a.mtime_ns = (int64_t)op->n[0];
		a.atime_ns = (int64_t)op->n[1];
		break;
	default:
		what = ADIT_SET_IFLAGS;
		a.flags = (uint32_t)op->n[0];
		break;
	}
	return adit__setattr(s->fs, ino, what, &a);
}

static int do_xattr(struct subject *s, const struct op *op)
{
	char name[OP_NAME_MAX];
	const char *path = op->path2;
	uint8_t *value;
	uint64_t ino;
	int err = resolve(s, op->path, &ino);

	if (err)
		return err;
	(void)op_component(&path, name);
	if (op->kind == OP_RMXATTR)
		return adit__removexattr(s->fs, ino, name);
	value = contents(0, op->n[0]);
	err = adit__setxattr(s->fs, ino, name, value, op->n[0], (int)op->n[1]);
	free(value);
	return err;
}

static int do_open(struct subject *s, const struct op *op)
{
	struct adit_create c = {.mode = S_IFREG | 0600};
	struct adit_hold hold;
	struct adit_id id;
	uint64_t ino;
	int err = resolve(s, op->path, &ino);

	if (!err && op->n[0] >= MODEL_SLOTS)
		err = -EBADF;
	if (!err && s->slot[op->n[0]])
		err = -EBUSY;
	if (!err && op->kind == OP_HOLD)
		err = adit__hold(s->fs, ino, 0, NULL, &hold);
	if (!err && op->kind == OP_TMPFILE) {
		err = adit__create_unnamed(s->fs, ino, &c, &hold, &id);
		ino = id.ino;
	}
	if (!err) {
		s->slot[op->n[0]] = ino;
		s->hold[op->n[0]] = hold;
		s->linkable[op->n[0]] = op->kind == OP_TMPFILE;
	}
	return err;
}

static int do_release(struct subject *s, const struct op *op)
{
	uint64_t ino = op->n[0] < MODEL_SLOTS ? s->slot[op->n[0]] : 0;

	if (ino == 0)
		return -EBADF;
	s->slot[op->n[0]] = 0;
	return adit__release(s->fs, &s->hold[op->n[0]]);
}

int64_t subject_apply(struct subject *s, const struct op *op, int64_t now)
{
	uint32_t mode = (uint32_t)op->n[0];
	uint64_t ino;
	int err;

	subject_now = now;
	switch (op->kind) {
	case OP_CREATE:
		return do_create(s, op, S_IFREG | (mode & 07777), 0, 0);
	case OP_MKDIR:
		return do_create(s, op, S_IFDIR | (mode & 07777), 0, 0);
	case OP_MKNOD:
		return do_create(s, op, mode, op->n[1], 0);
	case OP_SYMLINK:
		return do_create(s, op, S_IFLNK | 0777, 0, op->n[0]);
	case OP_LINK:
		return do_link(s, op);
	case OP_UNLINK:
	case OP_RMDIR:
		return do_remove(s, op);
	case OP_RENAME:
		return do_rename(s, op);
	case OP_WRITE:
	case OP_APPEND:
		return do_write(s, op);
	case OP_TRUNCATE:
		err = resolve(s, op->path, &ino);
		return err ? err : adit__file_truncate(s->fs, ino, op->n[0]);
	case OP_FALLOCATE:
		err = resolve(s, op->path, &ino);
		return err ? err : adit__file_fallocate(s->fs, ino, (int)op->n[0], op->n[1],
							op->n[2]);
	case OP_CHMOD:
	case OP_CHOWN:
	case OP_UTIME:
	case OP_IFLAGS:
		return do_setattr(s, op);
	case OP_SETXATTR:
	case OP_RMXATTR:
		return do_xattr(s, op);
	case OP_TMPFILE:
	case OP_HOLD:
		return do_open(s, op);
	case OP_RELEASE:
		return do_release(s, op);
	case OP_CHECKPOINT:
		return adit__checkpoint(s->fs);
	case OP_LANE:
		subject_lane = (uint32_t)op->n[0];
		return 0;
	case OP_MEET:
		return 0;
	default:
		return -EINVAL;
	}
}
