/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fd.c - the descriptor table.
 *
 * Invariants
 *  - A number whose bit in `used` is set belongs to one opener or one open slot. The bit is cleared
 *    only when the slot is closed and nobody uses it any more.
 *  - slot.state = OPEN | CLOSING | round | users. A call counts itself first and looks at OPEN then. close
 *    turns OPEN into CLOSING; whoever takes the users of a CLOSING slot to 0 begins the next round, alone,
 *    and lets the file go. A round that somebody saw end is not mistaken for a later one.
 *  - slot.ino, access and file change only while seq is even.
 */
#include "fs/fd.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "fs/fork.h"
#include "fs/guard.h"
#include "fs/lock.h"
#include "fs/pool.h"

#define SLOT_OPEN (1ull << 63)
#define SLOT_CLOSING (1ull << 62)
#define SLOT_ROUND   (1ull << 32)
#define SLOT_ROUNDS  (SLOT_CLOSING - SLOT_ROUND)
#define SLOT_USERS   (SLOT_ROUND - 1)

int adit__fds_init(struct adit_fd_table *table)
{
	return -pthread_mutex_init(&table->lock, NULL);
}

void adit__fds_finish(struct adit_pool *pool)
{
	struct adit_fd_table *table = &pool->fds;

	for (uint32_t i = 0; i < ADIT_FD_CHUNKS; i++) {
		if (table->chunk[i] == NULL)
			continue;
		for (uint32_t k = 0; k < ADIT_FD_CHUNK; k++) {
			if (table->chunk[i][k].state & SLOT_OPEN)
				(void)adit__fd_close(pool, (int)(i * ADIT_FD_CHUNK + k));
		}
		free(table->chunk[i]);
		table->chunk[i] = NULL;
	}
	pthread_mutex_destroy(&table->lock);
}

/* Threads of the parent may have been anywhere in here. */
static void slot_forked(struct adit_fd_table *table, struct adit_slot *slot, uint64_t fork)
{
	bool is_open = slot->state & SLOT_OPEN && slot->file->forked == fork;

	slot->state = (slot->state & SLOT_ROUNDS) | (is_open ? SLOT_OPEN : 0);
	slot->seq += (slot->seq & 1) != is_open;
	if (!is_open)
		return;
	slot->file->refs++;
	table->used[slot->fd / 64] |= 1ull << slot->fd % 64;
	table->open++;
}

void adit__fds_forked(struct adit_fd_table *table, uint64_t fork)
{
	pthread_mutex_init(&table->lock, NULL);
	memset(table->used, 0, sizeof table->used);
	table->lowest = table->open = 0;
	for (uint32_t i = 0; i < ADIT_FD_CHUNKS; i++)
		for (uint32_t k = 0; table->chunk[i] != NULL && k < ADIT_FD_CHUNK; k++)
			slot_forked(table, &table->chunk[i][k], fork);
}

/* ---- open files ------------------------------------------------------------------------------ */

struct adit_file *adit__file_new(const struct adit_hold *hold, uint32_t generation, uint32_t mode,
				 int flags, uint32_t access)
{
	struct adit_file *file = malloc(sizeof *file);

	if (file == NULL)
		return NULL;
	*file = (struct adit_file){
		.refs = 1,
		.access = access,
		.ino = hold->ino,
		.hold = *hold,
		.generation = generation,
		.mode = mode,
		.position = &file->own,
		.own = {PTHREAD_MUTEX_INITIALIZER, 0, flags},
	};
	return file;
}

/* It may have moved while we waited. One that died with it in hand was between two calls' effects: an offset
 * is a single word. */
struct adit_position *adit__position_lock(struct adit_file *file)
{
	for (;;) {
		struct adit_position *p = __atomic_load_n(&file->position, __ATOMIC_ACQUIRE);

		if (pthread_mutex_lock(&p->lock) == EOWNERDEAD)
			(void)pthread_mutex_consistent(&p->lock);
		if (ADIT_LIKELY(p == __atomic_load_n(&file->position, __ATOMIC_ACQUIRE)))
			return p;
		pthread_mutex_unlock(&p->lock);
	}
}

void adit__position_unlock(struct adit_position *p)
{
	pthread_mutex_unlock(&p->lock);
}

int adit__file_put(struct adit_pool *pool, struct adit_file *file)
{
	int rc;

	if (__atomic_sub_fetch(&file->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return 0;
	if (file->description != 0)
		adit__drop_description(pool, file);
	rc = adit__let_go(pool, &file->hold);
	adit__fork_forget(file);
	free(file);
	return rc;
}

/* ---- references ------------------------------------------------------------------------------ */

/* The state was this one: if the slot is CLOSING and nobody uses it, finish. Exactly one caller gets there. */
static int finish_close(struct adit_pool *pool, struct adit_slot *slot, uint64_t state)
{
	struct adit_file *file;
	int rc;

	if ((state & (SLOT_CLOSING | SLOT_USERS)) != SLOT_CLOSING)
		return 0;
	/* Before the state is given up: afterwards the slot may be anybody's. */
	file = __atomic_load_n(&slot->file, __ATOMIC_RELAXED);
	if (!__atomic_compare_exchange_n(&slot->state, &state, (state + SLOT_ROUND) & SLOT_ROUNDS,
					 false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return 0;
	rc = adit__file_put(pool, file);
	/* The number last, so that whoever gets it finds the slot done. */
	adit__fd_unreserve(&pool->fds, (int)slot->fd);
	return rc;
}

struct adit_slot *adit__fd_get(struct adit_pool *pool, int fd)
{
	struct adit_slot *slot = adit__slot(&pool->fds, fd);
	uint64_t before;

	if (ADIT_UNLIKELY(slot == NULL || !(__atomic_load_n(&slot->seq, __ATOMIC_RELAXED) & 1)))
		return NULL;
	before = __atomic_fetch_add(&slot->state, 1, __ATOMIC_ACQUIRE);
	if (ADIT_LIKELY(before & SLOT_OPEN))
		return slot;
	(void)adit__fd_put(pool, slot);
	return NULL;
}

int adit__fd_put(struct adit_pool *pool, struct adit_slot *slot)
{
	uint64_t state = __atomic_sub_fetch(&slot->state, 1, __ATOMIC_ACQ_REL);

	return ADIT_LIKELY(!(state & SLOT_CLOSING)) ? 0 : finish_close(pool, slot, state);
}

bool adit__fd_is_closing(const struct adit_slot *slot)
{
	return __atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) & SLOT_CLOSING;
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* With the lock held. */
static int make_chunk(struct adit_fd_table *table, uint32_t fd)
{
	struct adit_slot **where = &table->chunk[fd / ADIT_FD_CHUNK];
	struct adit_slot *chunk;

	if (*where != NULL)
		return 0;
	chunk = aligned_alloc(64, ADIT_FD_CHUNK * sizeof *chunk);
	if (chunk == NULL)
		return -ENOMEM;
	memset(chunk, 0, ADIT_FD_CHUNK * sizeof *chunk);
	for (uint32_t i = 0; i < ADIT_FD_CHUNK; i++)
		chunk[i].fd = fd / ADIT_FD_CHUNK * ADIT_FD_CHUNK + i;
	__atomic_store_n(where, chunk, __ATOMIC_RELEASE);
	return 0;
}

/* The lowest clear bit from `from` on, or ADIT_FD_MAX. */
static uint32_t find_free(struct adit_fd_table *table, uint32_t from)
{
	uint32_t word = from / 64;
	uint64_t skip = (1ull << from % 64) - 1;

	if (word < table->lowest) {
		word = table->lowest;
		skip = 0;
	}
	for (; word < ADIT_FD_MAX / 64; word++, skip = 0) {
		uint64_t clear = ~(table->used[word] | skip);

		if (clear != 0)
			return word * 64 + (uint32_t)__builtin_ctzll(clear);
	}
	return ADIT_FD_MAX;
}

int adit__fd_reserve(struct adit_fd_table *table, uint32_t from)
{
	uint32_t fd;
	int rc;

	pthread_mutex_lock(&table->lock);
	fd = find_free(table, from);
	rc = fd < ADIT_FD_MAX ? make_chunk(table, fd) : -EMFILE;
	if (rc == 0) {
		table->used[fd / 64] |= 1ull << fd % 64;
		/* From 0 means the words below were full: remember that. */
		if (from <= table->lowest * 64)
			table->lowest = fd / 64;
	}
	pthread_mutex_unlock(&table->lock);
	return rc == 0 ? (int)fd : rc;
}

void adit__fd_unreserve(struct adit_fd_table *table, int fd)
{
	uint32_t word = (uint32_t)fd / 64;

	pthread_mutex_lock(&table->lock);
	table->used[word] &= ~(1ull << (uint32_t)fd % 64);
	if (word < table->lowest)
		table->lowest = word;
	pthread_mutex_unlock(&table->lock);
}

void adit__fd_install(struct adit_fd_table *table, int fd, struct adit_file *file)
{
	uint32_t n = (uint32_t)fd;
	struct adit_slot *slot = &table->chunk[n / ADIT_FD_CHUNK][n % ADIT_FD_CHUNK];

	__atomic_store_n(&slot->ino, file->ino, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->access, file->access, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->file, file, __ATOMIC_RELAXED);
	__atomic_add_fetch(&table->open, 1, __ATOMIC_RELAXED);
	/* In this order: once OPEN is set a close may come and make seq even again. */
	__atomic_fetch_add(&slot->seq, 1, __ATOMIC_RELEASE);
	__atomic_fetch_or(&slot->state, SLOT_OPEN, __ATOMIC_RELEASE);
}

int adit__fd_close(struct adit_pool *pool, int fd)
{
	struct adit_slot *slot = adit__slot(&pool->fds, fd);
	uint64_t state, closing;

	if (slot == NULL)
		return -EBADF;
	state = __atomic_load_n(&slot->state, __ATOMIC_RELAXED);
	do {
		if (!(state & SLOT_OPEN))
			return -EBADF;
		closing = ((state & ~SLOT_OPEN) | SLOT_CLOSING) + 1;
	} while (!__atomic_compare_exchange_n(&slot->state, &state, closing, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	/* Only who closed it is here, as one more user: nobody gets the number before the sequence is even. And the
	 * file is let go after this, so that a peek that sees the old number of the sequence has read the old file. */
	__atomic_fetch_add(&slot->seq, 1, __ATOMIC_SEQ_CST);
	__atomic_sub_fetch(&pool->fds.open, 1, __ATOMIC_RELAXED);
	/* Whoever closes any descriptor of a file loses its record locks there, at once. */
	if (__atomic_load_n(&pool->has_record_locks, __ATOMIC_RELAXED) &&
	    !(slot->access & ADIT_FD_PATH))
		adit__drop_record_locks(pool, slot->ino);
	return adit__fd_put(pool, slot);
}

int adit__fd_replace(struct adit_pool *pool, int fd, struct adit_file *file)
{
	struct adit_fd_table *table = &pool->fds;
	int rc = 0;

	if ((unsigned)fd >= ADIT_FD_MAX)
		return -EBADF;
	for (;;) {
		uint64_t bit = 1ull << (uint32_t)fd % 64;
		bool reserved = false;

		(void)adit__fd_close(pool, fd);
		pthread_mutex_lock(&table->lock);
		if (!(table->used[(uint32_t)fd / 64] & bit)) {
			rc = make_chunk(table, (uint32_t)fd);
			reserved = rc == 0;
			if (reserved)
				table->used[(uint32_t)fd / 64] |= bit;
		}
		pthread_mutex_unlock(&table->lock);
		if (rc != 0)
			return rc;
		if (reserved)
			break;
		sched_yield(); /* a call that uses the old one, or an open that is under way */
	}
	adit__fd_install(table, fd, file);
	return fd;
}
