/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fork.c - see fork.h.
 *
 * Invariants
 *  - The child's lock of its participant's byte is taken through a description that the parent opened, and lives as long
 *    as one of the two has it: from before the child exists until it ends.
 *  - A child never keeps the parent's description: else the parent's death would not be seen.
 *  - An open file is in the child if a slot of the descriptor table was open when the fork was prepared, and is still.
 */
#include "fs/fork.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/hold.h"
#include "fs/guard.h"
#include "fs/lock.h"
#include "share/participant.h"

/* Positions that processes share: one mapping for all files of a fork. */
struct adit_shared_positions {
	size_t bytes;
	uint32_t users; /* atomic: files of this process */
	struct adit_position *position;
};

/* An open file that a fork takes along. */
struct taken {
	struct adit_file *file;
	struct adit_hold hold; /* the child's */
};

/* What a fork under way does with one pool. */
struct adit_fork {
	int fd; /* the child's; -1: it cannot have the pool */
	uint32_t participant;
	struct adit_heir heir;
	struct taken *taken;
	size_t n, room;
};

/* A fork holds it from before to behind, while nobody opens or closes. (No rwlock: a child cannot unlock what its
 * parent has.) */
static pthread_mutex_t forking = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER;
static unsigned busy; /* how many open or close */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct adit_pool *pools;
static uint64_t forks;

void adit__fork_forget(struct adit_file *file)
{
	struct adit_shared_positions *s = file->shared;

	if (s == NULL || __atomic_sub_fetch(&s->users, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	munmap(s->position, s->bytes);
	free(s);
}

/* ---- before: in the parent --------------------------------------------------------------------- */

static bool take_file(struct adit_fork *f, struct adit_file *file)
{
	if (f->n == f->room) {
		size_t room = f->room * 2 + 64;
		struct taken *more = realloc(f->taken, room * sizeof *more);

		if (more == NULL)
			return false;
		f->taken = more;
		f->room = room;
	}
	file->forked = forks;
	__atomic_add_fetch(&file->refs, 1, __ATOMIC_RELAXED);
	f->taken[f->n++] = (struct taken){.file = file};
	return true;
}

/* Each file once, with a reference. What other threads open meanwhile, the child need not have. */
static bool take_files(struct adit_pool *pool, struct adit_fork *f)
{
	bool ok = true;

	for (uint32_t fd = 0; ok && fd < ADIT_FD_MAX; fd++) {
		struct adit_slot *slot = adit__slot(&pool->fds, (int)fd);

		if (slot == NULL) {
			fd += ADIT_FD_CHUNK - 1;
			continue;
		}
		slot = adit__fd_get(pool, (int)fd);
		if (slot == NULL)
			continue;
		if (slot->file->forked != forks)
			ok = take_file(f, slot->file);
		(void)adit__fd_put(pool, slot);
	}
	return ok;
}

static void move_position(struct adit_file *file, struct adit_position *to,
			  const pthread_mutexattr_t *attr)
{
	struct adit_position *from = adit__position_lock(file);

	pthread_mutex_init(&to->lock, attr);
	to->offset = from->offset;
	to->flags = from->flags;
	__atomic_store_n(&file->position, to, __ATOMIC_RELEASE);
	adit__position_unlock(from);
}

/* False: the child would have positions of its own. */
static bool share_positions(struct adit_fork *f)
{
	struct adit_shared_positions *s;
	pthread_mutexattr_t attr;
	size_t n = 0;

	for (size_t i = 0; i < f->n; i++)
		n += f->taken[i].file->shared == NULL;
	if (n == 0)
		return true;
	s = calloc(1, sizeof *s);
	if (s == NULL)
		return false;
	s->bytes = n * sizeof *s->position;
	s->position =
		mmap(NULL, s->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s->position == MAP_FAILED) {
		free(s);
		return false;
	}
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	for (size_t i = 0; i < f->n; i++) {
		struct adit_file *file = f->taken[i].file;

		if (file->shared != NULL)
			continue;
		move_position(file, &s->position[s->users++], &attr);
		file->shared = s;
	}
	pthread_mutexattr_destroy(&attr);
	return true;
}

static int hold_all(struct adit_pool *pool, struct adit_fork *f)
{
	f->heir.participant = f->participant + 1;
	for (size_t i = 0; i < f->n; i++) {
		adit__hold_for(pool->fs, &f->taken[i].file->hold, &f->heir, &f->taken[i].hold);
		adit__share_description(pool->fs, f->taken[i].file, f->heir.participant);
	}
	return 0;
}

/* A place, a lock and holds for a child that shares the pool; whoever has it apart has nothing to prepare. */
static bool make_participant(struct adit_pool *pool, struct adit_fork *f)
{
	int rc;

	if (pool->fs->share == NULL)
		return pool->fs->read_only;
	f->fd = adit__media_reopen(&pool->media);
	if (f->fd < 0)
		return false;
	ADIT_GUARD(pool, rc, adit__share_expect(pool->fs, f->fd, &f->participant));
	if (rc != 0)
		return false;
	ADIT_GUARD(pool, rc, hold_all(pool, f));
	return rc == 0;
}

static void give_up(struct adit_pool *pool, struct adit_fork *f)
{
	if (pool->fs->share != NULL)
		adit__env.report(&pool->reporter, "fork: the child cannot have this pool");
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	f->participant = UINT32_MAX;
}

static void prepare_pool(struct adit_pool *pool)
{
	struct adit_fork *f = calloc(1, sizeof *f);

	pool->fork = f;
	if (f == NULL)
		return;
	f->fd = -1;
	if (!take_files(pool, f) || !share_positions(f) || !make_participant(pool, f))
		give_up(pool, f);
}

static void prepare(void)
{
	pthread_mutex_lock(&forking);
	while (busy > 0)
		pthread_cond_wait(&idle, &forking);
	forks++;
	for (struct adit_pool *p = pools; p != NULL; p = p->next)
		prepare_pool(p);
}

/* ---- after: in the parent --------------------------------------------------------------------- */

static void parent_pool(struct adit_pool *pool)
{
	struct adit_fork *f = pool->fork;

	pool->fork = NULL;
	if (f == NULL)
		return;
	/* The child has it, if there is one; if not, its place is that of one that died. */
	if (f->fd >= 0)
		close(f->fd);
	for (size_t i = 0; i < f->n; i++)
		(void)adit__file_put(pool, f->taken[i].file);
	free(f->taken);
	free(f);
}

static void parent(void)
{
	for (struct adit_pool *p = pools; p != NULL; p = p->next)
		parent_pool(p);
	pthread_mutex_unlock(&forking);
}

/* ---- after: in the child ----------------------------------------------------------------------- */

static int drop_unused(struct adit_pool *pool, struct adit_fork *f)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct adit_file *file = f->taken[i].file;
		struct adit_lock_owner owner = adit__description_owner(file->description);

		if (file->refs != 0)
			continue;
		if (file->description != 0)
			adit__advisory_close(pool->fs, file->ino, &owner);
		(void)adit__release(pool->fs, &f->taken[i].hold);
	}
	return 0;
}

/* Files with a descriptor here are ours. */
static void keep_files(struct adit_pool *pool, struct adit_fork *f)
{
	int rc;

	for (size_t i = 0; i < f->n; i++) {
		f->taken[i].file->refs = 0;
		if (f->taken[i].hold.ino != 0)
			f->taken[i].file->hold = f->taken[i].hold;
	}
	adit__fds_forked(&pool->fds, forks);
	if (pool->fs->share != NULL)
		ADIT_GUARD(pool, rc, drop_unused(pool, f));
	for (size_t i = 0; i < f->n; i++) {
		if (f->taken[i].file->refs != 0)
			continue;
		adit__fork_forget(f->taken[i].file);
		free(f->taken[i].file);
	}
	(void)rc;
}

/* Others may have it open; we have not, and every call says so. */
static void disown(struct adit_pool *pool)
{
	if (pool->lock_fd >= 0)
		close(pool->lock_fd);
	adit__share_disown(pool->fs);
	pool->lock_fd = -1;
	__atomic_store_n(&pool->fs->failed, true, __ATOMIC_RELAXED);
}

static int become(struct adit_pool *pool, struct adit_fork *f)
{
	adit__core_forked(pool->fs, f->participant);
	adit__hold_heir_is_here(pool->fs, &f->heir);
	adit__share_forked(pool->fs, pool->lock_fd);
	return 0;
}

static int forget_operations(struct adit_pool *pool)
{
	adit__forget_operations(pool->fs);
	return 0;
}

static void child_pool(struct adit_pool *pool)
{
	struct adit_fork *f = pool->fork;
	int rc = 0;

	pool->fork = NULL;
	pthread_mutex_init(&pool->fds.lock, NULL);
	if (f == NULL || f->participant == UINT32_MAX) {
		disown(pool);
	} else if (pool->fs->share != NULL) {
		close(pool->lock_fd);
		pool->lock_fd = f->fd;
		ADIT_GUARD(pool, rc, become(pool, f));
	} else {
		ADIT_GUARD(pool, rc, forget_operations(pool));
	}
	(void)rc;
	if (f == NULL)
		return;
	keep_files(pool, f);
	free(f->taken);
	free(f);
}

static void child(void)
{
	/* Threads of the parent's may wait for it. */
	pthread_cond_init(&idle, NULL);
	adit__counts_forked();
	for (struct adit_pool *p = pools; p != NULL; p = p->next)
		adit__counts_again(p->fs);
	for (struct adit_pool *p = pools; p != NULL; p = p->next)
		child_pool(p);
	pthread_mutex_unlock(&forking);
}

/* ---- pools ----------------------------------------------------------------------------------------- */

static void install(void)
{
	(void)pthread_atfork(prepare, parent, child);
}

void adit__fork_wait(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, install);
	pthread_mutex_lock(&forking);
	busy++;
	pthread_mutex_unlock(&forking);
}

void adit__fork_go_on(void)
{
	pthread_mutex_lock(&forking);
	if (--busy == 0)
		pthread_cond_broadcast(&idle);
	pthread_mutex_unlock(&forking);
}

void adit__fork_add(struct adit_pool *pool)
{
	pthread_mutex_lock(&list_lock);
	pool->next = pools;
	pools = pool;
	pthread_mutex_unlock(&list_lock);
}

void adit__fork_remove(struct adit_pool *pool)
{
	struct adit_pool **at = &pools;

	pthread_mutex_lock(&list_lock);
	while (*at != pool)
		at = &(*at)->next;
	*at = pool->next;
	pthread_mutex_unlock(&list_lock);
}
