/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * calls_lock.c - flock(2), and the record locks of fcntl(2).
 */
#include "fs/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "core/namei.h"
#include "fs/guard.h"
#include "share/participant.h"
#include "share/sleep.h"

#define LOOKS 1000u

/* ---- by owner --------------------------------------------------------------------------------- */

static ADIT_NOINLINE int set_once(struct adit_pool *pool, const struct adit_advisory *want,
				  struct adit_advisory_wait *wait, uint32_t *holder)
{
	int rc;

	ADIT_GUARD(pool, rc, adit__advisory_set(pool->fs, want, wait, holder));
	return rc;
}

/* Has the holder died?  Its locks went with it: look again. */
static bool was_dead(struct adit_pool *pool, uint32_t holder, unsigned *looks)
{
	const struct timespec t = {.tv_nsec = 1000000};

	if (*looks >= LOOKS || !adit__share_look_at(pool->fs, holder))
		return false;
	/* Somebody else is looking after it, perhaps. */
	if ((*looks)++ > 0)
		nanosleep(&t, NULL);
	return true;
}

static int set(struct adit_pool *pool, const struct adit_advisory *want,
	       struct adit_advisory_wait *wait)
{
	uint32_t holder = 0;
	unsigned looks = 0;
	int rc;

	do {
		rc = set_once(pool, want, wait, &holder);
	} while (rc == -EAGAIN && was_dead(pool, holder, &looks));
	return rc;
}

static int cancelled(struct adit_fs *fs, const struct adit_advisory *want,
		     struct adit_advisory_wait *wait)
{
	adit__advisory_cancel(fs, want, wait);
	return 0;
}

static ADIT_NOINLINE void cancel(struct adit_pool *pool, const struct adit_advisory *want,
				 struct adit_advisory_wait *wait)
{
	int rc;

	ADIT_GUARD(pool, rc, cancelled(pool->fs, want, wait));
	(void)rc;
}

static int wait_for(struct adit_pool *pool, const struct adit_advisory *want,
		    struct adit_advisory_wait *wait, bool (*given_up)(void *), void *arg)
{
	struct adit_sleep sleep;
	int rc;

	adit__sleep_begin(&sleep);
	do {
		rc = adit__sleep(&sleep, pool->fs, wait->word);
		wait->impatient = rc == -ETIMEDOUT;
		if (rc != -EINTR && given_up != NULL && given_up(arg))
			rc = -EBADF;
		if (rc == -EINTR || rc == -EBADF) {
			cancel(pool, want, wait);
			break;
		}
		rc = set(pool, want, wait);
	} while (rc == -EINPROGRESS);
	adit__sleep_end(&sleep);
	return rc;
}

int adit__advise(struct adit_pool *pool, const struct adit_advisory *want, bool waits,
		 bool (*given_up)(void *), void *arg)
{
	struct adit_advisory_wait wait = {0};
	int rc;

	if (pool->fs->read_only)
		return want->type == ADIT_ADVISORY_NONE ? 0 : -ENOLCK;
	rc = set(pool, want, waits ? &wait : NULL);
	return rc == -EINPROGRESS ? wait_for(pool, want, &wait, given_up, arg) : rc;
}

static int tested(struct adit_fs *fs, const struct adit_advisory *want,
		  struct adit_advisory *answer)
{
	adit__advisory_test(fs, want, answer);
	return 0;
}

static ADIT_NOINLINE int test_once(struct adit_pool *pool, const struct adit_advisory *want,
				   struct adit_advisory *answer)
{
	int rc;

	ADIT_GUARD(pool, rc, tested(pool->fs, want, answer));
	return rc;
}

int adit__advise_test(struct adit_pool *pool, const struct adit_advisory *want,
		      struct adit_advisory *answer)
{
	unsigned looks = 0;
	int rc;

	if (pool->fs->read_only)
		return -ENOLCK;
	do {
		rc = test_once(pool, want, answer);
	} while (rc == 0 && answer->type != ADIT_ADVISORY_NONE &&
		 was_dead(pool, answer->holder, &looks));
	return rc;
}

static int closed(struct adit_fs *fs, uint64_t ino, const struct adit_lock_owner *owner)
{
	adit__advisory_close(fs, ino, owner);
	return 0;
}

ADIT_NOINLINE void adit__advise_close(struct adit_pool *pool, uint64_t ino,
				      const struct adit_lock_owner *owner)
{
	int rc;

	ADIT_GUARD(pool, rc, closed(pool->fs, ino, owner));
	(void)rc;
}

/* ---- descriptors -------------------------------------------------------------------------------- */

/* Inodes of which this process has, or had, record locks. */
static uint64_t *record_word(struct adit_pool *pool, uint64_t ino)
{
	return &pool->record_locks[ino / 64 % ADIT_RECORD_WORDS];
}

static void note_record_lock(struct adit_pool *pool, uint64_t ino)
{
	uint64_t *word = record_word(pool, ino), bit = 1ull << ino % 64;

	if (!(__atomic_load_n(word, __ATOMIC_RELAXED) & bit))
		__atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
	__atomic_store_n(&pool->has_record_locks, true, __ATOMIC_RELAXED);
}

void adit__drop_record_locks(struct adit_pool *pool, uint64_t ino)
{
	struct adit_lock_owner me = adit__process_owner(pool->fs, 0);

	if (__atomic_load_n(record_word(pool, ino), __ATOMIC_RELAXED) >> ino % 64 & 1)
		adit__advise_close(pool, ino, &me);
}

void adit__drop_description(struct adit_pool *pool, const struct adit_file *file)
{
	struct adit_lock_owner me = adit__description_owner(file->description);

	adit__advise_close(pool, file->ino, &me);
}

static ADIT_NOINLINE int new_description(struct adit_pool *pool, uint64_t *number)
{
	int rc;

	ADIT_GUARD(pool, rc, adit__advisory_description(pool->fs, number));
	return rc;
}

/* The open file's number, from its first lock on. */
static int description_of(struct adit_pool *pool, struct adit_file *file,
			  struct adit_lock_owner *out)
{
	uint64_t number = __atomic_load_n(&file->description, __ATOMIC_ACQUIRE), mine;
	int rc;

	if (number == 0 && !pool->fs->read_only) {
		rc = new_description(pool, &mine);
		if (rc != 0)
			return rc;
		if (__atomic_compare_exchange_n(&file->description, &number, mine, false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			number = mine;
	}
	*out = adit__description_owner(number);
	return 0;
}

/* Both: it is not listed for us before its first lock. */
void adit__share_description(struct adit_fs *fs, struct adit_file *file, uint32_t participant)
{
	uint64_t number = __atomic_load_n(&file->description, __ATOMIC_ACQUIRE), mine;

	if (file->access & ADIT_FD_PATH)
		return;
	if (number == 0) {
		if (adit__advisory_description(fs, &mine) != 0)
			return;
		if (__atomic_compare_exchange_n(&file->description, &number, mine, false,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			number = mine;
	}
	if (adit__advisory_share(fs, file->ino, number, fs->me + 1) == 0)
		(void)!adit__advisory_share(fs, file->ino, number, participant);
}

static bool is_closing(void *slot)
{
	return adit__fd_is_closing(slot);
}

static int32_t pid_of(const struct adit_fs *fs)
{
	return fs->share != NULL ? (int32_t)fs->participants[fs->me].pid : (int32_t)getpid();
}

/* ---- flock ------------------------------------------------------------------------------------------ */

static int flock_slot(struct adit_pool *pool, struct adit_slot *slot, uint32_t type, bool waits)
{
	struct adit_advisory want = {.ino = slot->ino,
				     .end = ADIT_ADVISORY_END,
				     .kind = ADIT_ADVISORY_FLOCK,
				     .type = type,
				     .pid = pid_of(pool->fs)};
	int rc;

	if (slot->access & ADIT_FD_PATH)
		return -EBADF;
	/* Nothing to give up. */
	if (type == ADIT_ADVISORY_NONE &&
	    __atomic_load_n(&slot->file->description, __ATOMIC_RELAXED) == 0)
		return 0;
	rc = description_of(pool, slot->file, &want.owner);
	return rc == 0 ? adit__advise(pool, &want, waits, is_closing, slot) : rc;
}

int adit_flock(struct adit_pool *pool, int fd, int operation)
{
	struct adit_slot *slot;
	uint32_t type;
	int rc;

	if (operation & LOCK_MAND) /* as Linux has it since 5.18 */
		return 0;
	switch (operation & ~LOCK_NB) {
	case LOCK_SH:
		type = ADIT_ADVISORY_READ;
		break;
	case LOCK_EX:
		type = ADIT_ADVISORY_WRITE;
		break;
	case LOCK_UN:
		type = ADIT_ADVISORY_NONE;
		break;
	default:
		return -EINVAL;
	}
	slot = adit__fd_get(pool, fd);
	if (slot == NULL)
		return -EBADF;
	rc = flock_slot(pool, slot, type, !(operation & LOCK_NB));
	(void)adit__fd_put(pool, slot);
	return rc;
}

/* ---- fcntl -------------------------------------------------------------------------------------------- */

static ADIT_NOINLINE int size_of(struct adit_pool *pool, uint64_t ino, int64_t *size)
{
	struct adit_attr attr;
	int rc;

	ADIT_GUARD(pool, rc, adit__getattr(pool->fs, ino, &attr));
	if (rc == 0)
		*size = (int64_t)attr.size;
	return rc;
}

static int base_of(struct adit_pool *pool, struct adit_slot *slot, int whence, int64_t *base)
{
	struct adit_position *p;

	switch (whence) {
	case SEEK_SET:
		*base = 0;
		return 0;
	case SEEK_CUR:
		p = adit__position_lock(slot->file);
		*base = (int64_t)p->offset;
		adit__position_unlock(p);
		return 0;
	case SEEK_END:
		return size_of(pool, slot->ino, base);
	default:
		return -EINVAL;
	}
}

/* As Linux does it, and with its errors in its order. */
static int range_of(int64_t base, const struct flock *l, struct adit_advisory *want)
{
	int64_t start;

	if (l->l_start > INT64_MAX - base)
		return -EOVERFLOW;
	start = base + l->l_start;
	if (start < 0)
		return -EINVAL;
	want->start = (uint64_t)start;
	want->end = ADIT_ADVISORY_END;
	if (l->l_len > 0) {
		if (l->l_len - 1 > INT64_MAX - start)
			return -EOVERFLOW;
		want->end = (uint64_t)(start + (l->l_len - 1));
	} else if (l->l_len < 0) {
		if (start + l->l_len < 0)
			return -EINVAL;
		want->end = (uint64_t)(start - 1);
		want->start = (uint64_t)(start + l->l_len);
	}
	switch (l->l_type) {
	case F_RDLCK:
		want->type = ADIT_ADVISORY_READ;
		return 0;
	case F_WRLCK:
		want->type = ADIT_ADVISORY_WRITE;
		return 0;
	case F_UNLCK:
		want->type = ADIT_ADVISORY_NONE;
		return 0;
	default:
		return -EINVAL;
	}
}

static bool is_ofd(int command)
{
	return command == F_OFD_SETLK || command == F_OFD_SETLKW || command == F_OFD_GETLK;
}

static bool is_get(int command)
{
	return command == F_GETLK || command == F_OFD_GETLK;
}

static int owner_of(struct adit_pool *pool, struct adit_slot *slot, bool ofd,
		    struct adit_advisory *want)
{
	want->pid = ofd ? -1 : pid_of(pool->fs);
	if (ofd)
		return description_of(pool, slot->file, &want->owner);
	want->owner = adit__process_owner(pool->fs, 0);
	if (want->type != ADIT_ADVISORY_NONE)
		note_record_lock(pool, slot->ino);
	return 0;
}

static bool has_the_mode(const struct adit_slot *slot, uint32_t type)
{
	return type == ADIT_ADVISORY_READ    ? slot->access & ADIT_FD_READ
	       : type == ADIT_ADVISORY_WRITE ? slot->access & ADIT_FD_WRITE
					     : true;
}

static void tell(struct flock *l, const struct adit_advisory *answer)
{
	l->l_type = answer->type == ADIT_ADVISORY_NONE	 ? F_UNLCK
		    : answer->type == ADIT_ADVISORY_READ ? F_RDLCK
							 : F_WRLCK;
	if (answer->type == ADIT_ADVISORY_NONE)
		return;
	l->l_pid = answer->pid;
	l->l_whence = SEEK_SET;
	l->l_start = (off_t)answer->start;
	l->l_len = answer->end == ADIT_ADVISORY_END ? 0 : (off_t)(answer->end - answer->start + 1);
}

static int test_slot(struct adit_pool *pool, const struct adit_advisory *want, struct flock *l)
{
	struct adit_advisory answer;
	int rc = adit__advise_test(pool, want, &answer);

	if (rc == 0)
		tell(l, &answer);
	return rc;
}

static int lock_slot(struct adit_pool *pool, struct adit_slot *slot, int command, struct flock *l)
{
	struct adit_advisory want = {.ino = slot->ino, .kind = ADIT_ADVISORY_RANGE};
	int64_t base;
	int rc;

	if (slot->access & ADIT_FD_PATH)
		return -EBADF;
	if (command == F_GETLK && l->l_type != F_RDLCK && l->l_type != F_WRLCK)
		return -EINVAL;
	rc = base_of(pool, slot, l->l_whence, &base);
	if (rc == 0)
		rc = range_of(base, l, &want);
	if (rc == 0 && !is_get(command) && !has_the_mode(slot, want.type))
		rc = -EBADF;
	if (rc == 0 && is_ofd(command) && l->l_pid != 0)
		rc = -EINVAL;
	if (rc == 0)
		rc = owner_of(pool, slot, is_ofd(command), &want);
	if (rc != 0)
		return rc;
	if (is_get(command))
		return test_slot(pool, &want, l);
	return adit__advise(pool, &want, command == F_SETLKW || command == F_OFD_SETLKW, is_closing,
			    slot);
}

int adit_fcntl_lock(struct adit_pool *pool, int fd, int command, struct flock *lock)
{
	struct adit_slot *slot;
	int rc;

	if (command != F_SETLK && command != F_SETLKW && !is_get(command) && !is_ofd(command))
		return -EINVAL;
	slot = adit__fd_get(pool, fd);
	if (slot == NULL)
		return -EBADF;
	rc = lock_slot(pool, slot, command, lock);
	(void)adit__fd_put(pool, slot);
	return rc;
}
