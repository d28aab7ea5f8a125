/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fd.h - descriptors: numbers, and the open files behind them.
 *
 * A descriptor is a slot; slots lie in chunks that never move. Reads by position look at the slot
 * without taking a reference: they work by inode number and look again afterwards (peek, still).
 * Everything else takes a reference (get, put) that keeps slot and open file alive; a close during a
 * call takes effect when the call is over.
 */
#ifndef ADIT_FS_FD_H
#define ADIT_FS_FD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/hold.h"

struct adit_pool;

#define ADIT_FD_CHUNK 256u
#define ADIT_FD_CHUNKS 4096u
#define ADIT_FD_MAX (ADIT_FD_CHUNK * ADIT_FD_CHUNKS)

/* access */
#define ADIT_FD_READ 1u
#define ADIT_FD_WRITE 2u
#define ADIT_FD_PATH 4u /* O_PATH: good for its place only */
#define ADIT_FD_DIR 8u
#define ADIT_FD_REGULAR 16u

/*
 * What all processes that share an open file description see: duplicates are one process's, but a child of fork
 * has the description, too. Then it lies in memory that both map (fork.c), and is found there by whoever locks it.
 */
struct adit_position {
	pthread_mutex_t lock;
	uint64_t offset;
	int flags; /* O_* as F_GETFL shows them; read without the lock, atomic */
};

struct adit_shared_positions; /* fork.c */

/* An open file description: shared by duplicates. */
struct adit_file {
	uint32_t refs;	     /* atomic: slots */
	uint32_t access;     /* ADIT_FD_*, never changes */
	uint64_t ino;
	struct adit_hold hold;
	uint32_t generation;
	uint32_t mode;	     /* as it was at open: the type counts */
	bool linkable;	     /* atomic: O_TMPFILE, and may still get its first name */
	uint64_t description; /* atomic: its number as an owner of advisory locks; 0: none so far */
	struct adit_position *position; /* atomic: &own, until the process forks */
	struct adit_position own;
	struct adit_shared_positions *shared; /* where position lies; NULL: in own */
	uint64_t forked;		      /* the last fork that took it along */
};

struct adit_slot {
	uint64_t state; /* OPEN, CLOSING, users: fd.c */
	uint64_t seq;	/* odd while open */
	uint64_t ino;
	uint32_t access;
	uint32_t fd;	/* its own number */
	struct adit_file *file;
	uint64_t pad[3];
};
ADIT_STATIC_ASSERT(sizeof(struct adit_slot) == 64, "a slot is a line");

struct adit_fd_table {
	pthread_mutex_t lock; /* of the bitmap and of making chunks */
	uint32_t lowest;      /* no word below this one has a clear bit */
	uint32_t open;	      /* atomic: how many are open */
	uint64_t used[ADIT_FD_MAX / 64];
	struct adit_slot *chunk[ADIT_FD_CHUNKS];
};

int adit__fds_init(struct adit_fd_table *);
/* Closes what is open. */
void adit__fds_finish(struct adit_pool *);
/* In a child of fork: as if nobody were using a slot; open are those whose file this fork took along. */
void adit__fds_forked(struct adit_fd_table *, uint64_t fork);

static inline struct adit_slot *adit__slot(struct adit_fd_table *table, int fd)
{
	struct adit_slot *chunk;

	if (ADIT_UNLIKELY((unsigned)fd >= ADIT_FD_MAX))
		return NULL;
	chunk = __atomic_load_n(&table->chunk[(unsigned)fd / ADIT_FD_CHUNK], __ATOMIC_ACQUIRE);
	return ADIT_LIKELY(chunk != NULL) ? &chunk[(unsigned)fd % ADIT_FD_CHUNK] : NULL;
}

/* ---- looking without a reference -------------------------------------------------------- */

struct adit_peek {
	struct adit_slot *slot;
	uint64_t seq;
	uint64_t ino;
	uint32_t access;
};

/* False: not open. */
static inline bool adit__peek(struct adit_fd_table *table, int fd, struct adit_peek *out)
{
	out->slot = adit__slot(table, fd);
	if (ADIT_UNLIKELY(out->slot == NULL))
		return false;
	out->seq = __atomic_load_n(&out->slot->seq, __ATOMIC_ACQUIRE);
	out->ino = __atomic_load_n(&out->slot->ino, __ATOMIC_RELAXED);
	out->access = __atomic_load_n(&out->slot->access, __ATOMIC_RELAXED);
	return out->seq & 1;
}

/* Was it the same open descriptor all the time since the peek? Else what was read by its inode
 * number may have been another file's. */
static inline bool adit__peek_still(const struct adit_peek *peek)
{
#if defined(__SANITIZE_THREAD__)
	/* It knows no fences; what was peeked at is atomic, so there is no race to report. */
	__atomic_signal_fence(__ATOMIC_ACQUIRE);
#else
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
	return ADIT_LIKELY(__atomic_load_n(&peek->slot->seq, __ATOMIC_RELAXED) == peek->seq);
}

/* ---- references ---------------------------------------------------------------------------- */

/* NULL: not open. put may close the file: call it outside any guard. */
struct adit_slot *adit__fd_get(struct adit_pool *, int fd);
int adit__fd_put(struct adit_pool *, struct adit_slot *);
/* Somebody has closed it while we use it. */
bool adit__fd_is_closing(const struct adit_slot *);

/* Reserve the lowest free number from `from` on: -EMFILE, -ENOMEM. Then install or give back. */
int adit__fd_reserve(struct adit_fd_table *, uint32_t from);
void adit__fd_unreserve(struct adit_fd_table *, int fd);
/* Takes over one reference to the file. */
void adit__fd_install(struct adit_fd_table *, int fd, struct adit_file *file);
/* Make fd, which may be open, refer to the file (dup2). */
int adit__fd_replace(struct adit_pool *, int fd, struct adit_file *file);
int adit__fd_close(struct adit_pool *, int fd);

/* An open file with one reference; NULL when memory ran out. Takes over the hold. */
struct adit_file *adit__file_new(const struct adit_hold *, uint32_t generation, uint32_t mode,
				 int flags, uint32_t access);
static inline int adit__file_flags(const struct adit_file *file)
{
	const struct adit_position *p = __atomic_load_n(&file->position, __ATOMIC_ACQUIRE);

	return __atomic_load_n(&p->flags, __ATOMIC_RELAXED);
}
struct adit_position *adit__position_lock(struct adit_file *);
void adit__position_unlock(struct adit_position *);
/* Drop a reference; the last one lets the inode go. */
int adit__file_put(struct adit_pool *, struct adit_file *);

#endif
