/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * participant.c - coming and going, and what is done when somebody has died: see participant.h.
 *
 * Invariants
 *  - A participant's byte is locked before its entry says that it is there, and its entry says that it is gone before
 *    the byte is given up: an entry without a lock is somebody who died.
 *  - Entries change, and repairs are made, with the gate's lock only.
 */
#include "share/participant.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/hold.h"
#include "core/scratch.h"
#include "media/media.h"
#include "media/sigbus.h"
#include "share/counts.h"

/* Bytes of the pool file, behind every file's end. */
#define GATE_BYTE	 (1ull << 62)
#define PARTICIPANT_BYTE (GATE_BYTE + 16)
#define PARTICIPANTS_MAX 4096u
#define GATE_WAIT_MS	 60000u

struct adit_share {
	int fd;
	pthread_mutex_t repairing; /* the kernel's locks do not part our threads */
	uint8_t *dead;
	uint32_t *slots;
	uint32_t threads; /* atomic: that finish what was inherited */
	int64_t looked_ns; /* atomic: when somebody was short of space */
};

struct inherited {
	struct adit_fs *fs;
	uint32_t n;
	uint32_t slot[];
};

static void sleep_ms(unsigned ms)
{
	const struct timespec t = {ms / 1000, ms % 1000 * 1000000l};

	nanosleep(&t, NULL);
}

/* ---- the kernel's locks ------------------------------------------------------------------------ */

int adit__gate_lock(int fd)
{
	for (unsigned waited = 0; waited < GATE_WAIT_MS; waited++) {
		int rc = adit__fd_lock(fd, true, GATE_BYTE, 1);

		if (rc != -EBUSY)
			return rc;
		/* A lock of everything, or the gate's alone? */
		if (adit__fd_lock_probe(fd, true, GATE_BYTE + 1, 1) != 0)
			return -EBUSY;
		sleep_ms(1);
	}
	return -EBUSY;
}

void adit__gate_unlock(int fd)
{
	(void)adit__fd_unlock(fd, GATE_BYTE, 1);
}

bool adit__others_are_there(int fd)
{
	return adit__fd_lock_probe(fd, true, PARTICIPANT_BYTE, PARTICIPANTS_MAX) != 0;
}

bool adit__participant_is_there(int fd, uint32_t participant)
{
	return adit__fd_lock_probe(fd, true, PARTICIPANT_BYTE + participant, 1) != 0;
}

static bool is_alive(const struct adit_fs *fs, uint32_t participant)
{
	return participant == fs->me ||
	       adit__participant_is_there(fs->share->fd, participant);
}

static uint64_t taken(const struct adit_fs *fs)
{
	return (uint64_t)fs->incarnation << 32 | 1;
}

/* ---- death ------------------------------------------------------------------------------------------- */

static bool find_dead(struct adit_fs *fs)
{
	bool any = false;

	for (uint32_t i = 0; i < fs->nparticipants; i++) {
		fs->share->dead[i] = __atomic_load_n(&fs->participants[i].owner, __ATOMIC_ACQUIRE) ==
					     taken(fs) &&
				     !is_alive(fs, i);
		any |= fs->share->dead[i];
	}
	return any;
}

/* False: it took longer than that. */
static bool is_still_within(struct adit_fs *fs, unsigned looks_max)
{
	for (unsigned looks = 0; !adit__is_still(fs, fs->share->dead); looks++) {
		if (looks == looks_max)
			return false;
		if (looks < 100) {
			const struct timespec t = {0, 50000};

			nanosleep(&t, NULL);
			continue;
		}
		/* Somebody does not come to an end: has it died, too? */
		sleep_ms(1);
		(void)find_dead(fs);
	}
	return true;
}

static void wait_until_still(struct adit_fs *fs)
{
	while (!is_still_within(fs, UINT_MAX)) {
	}
}

static void bury(struct adit_fs *fs)
{
	for (uint32_t i = 0; i < fs->nparticipants; i++)
		if (fs->share->dead[i])
			__atomic_store_n(&fs->participants[i].owner, 0, __ATOMIC_RELEASE);
}

static void stop_guarded(struct adit_fs *fs)
{
	struct adit_sigbus_frame frame;

	if (!ADIT_SIGBUS_TRY(&frame, (struct adit_media *)fs->pm.priv)) {
		adit__allow_stores(&frame);
		adit__stop(fs);
		ADIT_SIGBUS_END(&frame);
	}
}

/* Media errors in what we do for others: the pool stops, as it would have for them. */
#define GUARDED(fs, work)                                                             \
	do {                                                                          \
		struct adit_sigbus_frame frame_;                                      \
                                                                                      \
		if (ADIT_SIGBUS_TRY(&frame_, (struct adit_media *)(fs)->pm.priv)) {   \
			adit__report((fs), "media error while repairing: pool stopped"); \
			stop_guarded(fs);                                             \
		} else {                                                              \
			adit__allow_stores(&frame_);                                  \
			work;                                                         \
			ADIT_SIGBUS_END(&frame_);                                     \
		}                                                                     \
	} while (0)

static void finish_each(const struct inherited *in)
{
	if (in->fs->counted != NULL)
		(void)adit__counts_here(in->fs->counted);
	for (uint32_t i = 0; i < in->n; i++)
		(void)adit__finish_inherited(in->fs, in->slot[i]);
	adit__holds_finish(in->fs);
}

static void *finish_inherited(void *arg)
{
	struct inherited *in = arg;

	GUARDED(in->fs, finish_each(in));
	__atomic_sub_fetch(&in->fs->share->threads, 1, __ATOMIC_RELEASE);
	free(in);
	return NULL;
}

/* By a thread that holds nothing: what they wait for may be held by the operation that waits here.  adit_close
 * waits for it, as for every operation. */
static void finish_beside(struct adit_fs *fs, uint32_t n)
{
	struct inherited *in = malloc(sizeof *in + n * sizeof in->slot[0]);
	sigset_t none, were;
	pthread_t thread;
	int rc;

	if (in == NULL)
		goto stop;
	in->fs = fs;
	in->n = n;
	memcpy(in->slot, fs->share->slots, n * sizeof in->slot[0]);
	__atomic_add_fetch(&fs->share->threads, 1, __ATOMIC_RELAXED);
	/* The program's signals are not for this thread. */
	sigfillset(&none);
	sigdelset(&none, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &none, &were);
	rc = pthread_create(&thread, NULL, finish_inherited, in);
	pthread_sigmask(SIG_SETMASK, &were, NULL);
	if (rc != 0) {
		__atomic_sub_fetch(&fs->share->threads, 1, __ATOMIC_RELAXED);
		free(in);
		goto stop;
	}
	pthread_detach(thread);
	return;
stop:
	adit__report(fs, "an operation of a process that died cannot be finished: pool stopped");
	adit__stop(fs);
}

static void close_gate(struct adit_fs *fs)
{
	uint32_t gate = __atomic_load_n(&fs->vol->gate, __ATOMIC_SEQ_CST);

	/* Odd already: who closed it died. */
	if (!(gate & 1))
		__atomic_store_n(&fs->vol->gate, gate + 1, __ATOMIC_SEQ_CST);
}

static void open_gate(struct adit_fs *fs)
{
	__atomic_fetch_add(&fs->vol->gate, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &fs->vol->gate, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static bool no_threads(const struct adit_fs *fs)
{
	return __atomic_load_n(&fs->share->threads, __ATOMIC_ACQUIRE) == 0;
}

static bool gate_is_closed(const struct adit_fs *fs)
{
	return __atomic_load_n(&fs->vol->gate, __ATOMIC_SEQ_CST) & 1;
}

/* Those whom find_dead found, or a repairer: was anybody of them in an operation? */
static bool all_died_idle(const struct adit_fs *fs)
{
	for (uint32_t i = 0; i < fs->nparticipants; i++)
		if (fs->share->dead[i] && !adit__died_idle(fs, i))
			return false;
	return !gate_is_closed(fs);
}

/* They hold nothing that anybody waits for: no reason to stop the others. */
static bool take_over_idle(struct adit_fs *fs)
{
	for (uint32_t i = 0; i < fs->nparticipants; i++)
		if (fs->share->dead[i] && !adit__take_over(fs, i))
			return false;
	return true;
}

/* With the gate's lock. */
static void repair(struct adit_fs *fs)
{
	volatile uint32_t n = 0;
	volatile bool over = false;

	GUARDED(fs, adit__follow(fs));
	(void)find_dead(fs);
	if (all_died_idle(fs))
		GUARDED(fs, over = take_over_idle(fs));
	if (over) {
		bury(fs);
	} else {
		close_gate(fs);
		wait_until_still(fs);
		GUARDED(fs, n = adit__repair(fs, fs->share->dead, fs->share->slots));
		bury(fs);
		open_gate(fs);
	}
	if (n > 0 || (no_threads(fs) && adit__holds_inherited(fs)))
		finish_beside(fs, n);
}

static bool has_work(struct adit_fs *fs)
{
	return find_dead(fs) || gate_is_closed(fs) || (no_threads(fs) && adit__holds_inherited(fs));
}

/* With the gate's lock, by somebody who comes: those who died idle need not wait until somebody misses what they had. */
static void greet(struct adit_fs *fs)
{
	if (has_work(fs) && all_died_idle(fs))
		repair(fs);
}

void adit__share_repair(struct adit_fs *fs)
{
	struct adit_share *s = fs->share;

	/* Kept to the end: a thread of ours that looked for itself would give up the gate's lock with its own. So
	 * it is for us to look meanwhile. */
	pthread_mutex_lock(&s->repairing);
	for (;;) {
		repair(fs);
		if (no_threads(fs) && (!adit__holds_inherited(fs) || adit__has_stopped(fs)))
			break;
		sleep_ms(1);
	}
	pthread_mutex_unlock(&s->repairing);
}

static void look(struct adit_fs *fs)
{
	int fd = fs->share->fd;

	if (has_work(fs) && adit__fd_lock(fd, true, GATE_BYTE, 1) == 0) {
		repair(fs);
		adit__gate_unlock(fd);
	}
}

void adit__share_look(struct adit_fs *fs)
{
	struct adit_share *s = fs->share;

	if (s == NULL || pthread_mutex_trylock(&s->repairing) != 0)
		return;
	/* The caller may be in no call's work: waiting for an advisory lock. */
	GUARDED(fs, look(fs));
	if (adit__has_stopped(fs))
		adit__gate_unlock(s->fd); /* a fault came between */
	pthread_mutex_unlock(&s->repairing);
}

/* ---- coming and going ------------------------------------------------------------------------------ */

static int make_share(struct adit_fs *fs, int fd)
{
	struct adit_share *s = calloc(1, sizeof *s);

	if (s == NULL)
		return -ENOMEM;
	s->fd = fd;
	s->dead = calloc(fs->nparticipants, 1);
	s->slots = calloc(fs->nops, sizeof *s->slots);
	if (s->dead == NULL || s->slots == NULL || pthread_mutex_init(&s->repairing, NULL) != 0) {
		free(s->dead);
		free(s->slots);
		free(s);
		return -ENOMEM;
	}
	fs->share = s;
	return 0;
}

static void drop_share(struct adit_fs *fs)
{
	pthread_mutex_destroy(&fs->share->repairing);
	free(fs->share->dead);
	free(fs->share->slots);
	free(fs->share);
	fs->share = NULL;
}

static void wait_for_threads(struct adit_share *s)
{
	while (__atomic_load_n(&s->threads, __ATOMIC_ACQUIRE) != 0)
		sleep_ms(1);
}

static struct adit_media *medium_of(const struct adit_fs *fs)
{
	return fs->pm.priv;
}

static void introduce(const struct adit_fs *fs, struct adit_vol_participant *p)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	p->pid = (uint64_t)getpid();
	p->since_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	p->room_blocks = medium_of(fs)->room_bytes >> ADIT_BLOCK_SHIFT;
	memset(p->name, 0, sizeof p->name);
	(void)prctl(PR_GET_NAME, p->name);
}

/* A place that somebody left who died: what it held must be looked after by a repair, or it held nothing but open
 * files, which become ours. */
static bool is_free(struct adit_fs *fs, uint32_t place, bool of_the_dead)
{
	if (fs->participants[place].owner != taken(fs))
		return true;
	/* Before the gate somebody would have to wait, who holds the gate's lock. */
	return of_the_dead && !gate_is_closed(fs) && adit__died_idle(fs, place) &&
	       adit__take_over(fs, place);
}

static bool try_place(struct adit_fs *fs, int fd, uint32_t place, bool of_the_dead)
{
	struct adit_vol_participant *p = &fs->participants[place];

	if (p->owner == taken(fs) && !of_the_dead)
		return false;
	if (adit__fd_lock(fd, true, PARTICIPANT_BYTE + place, 1) != 0)
		return false;
	if (!is_free(fs, place, of_the_dead)) {
		(void)adit__fd_unlock(fd, PARTICIPANT_BYTE + place, 1);
		return false;
	}
	introduce(fs, p);
	__atomic_store_n(&p->owner, taken(fs), __ATOMIC_RELEASE);
	return true;
}

/* With the gate's lock. */
static int take_place(struct adit_fs *fs, int fd, uint32_t *place)
{
	uint32_t n = fs->nparticipants < PARTICIPANTS_MAX ? fs->nparticipants : PARTICIPANTS_MAX;

	for (uint32_t i = 0; i < 2 * n; i++) {
		/* Who joins does even this in the place's name. */
		*place = i % n;
		if (try_place(fs, fd, i % n, i >= n))
			return 0;
	}
	return -EMFILE;
}

int adit__share_join(struct adit_fs *fs, int fd)
{
	int rc = make_share(fs, fd);

	if (rc != 0)
		return rc;
	rc = take_place(fs, fd, &fs->me);
	if (rc != 0)
		drop_share(fs);
	else
		greet(fs);
	return rc;
}

int adit__share_expect(struct adit_fs *fs, int child_fd, uint32_t *child)
{
	struct adit_share *s = fs->share;
	int rc;

	pthread_mutex_lock(&s->repairing);
	rc = adit__gate_lock(s->fd);
	if (rc == 0) {
		greet(fs);
		rc = take_place(fs, child_fd, child);
		adit__gate_unlock(s->fd);
	}
	pthread_mutex_unlock(&s->repairing);
	return rc;
}

void adit__share_forked(struct adit_fs *fs, int fd)
{
	struct adit_share *s = fs->share;

	s->fd = fd;
	s->threads = 0;
	pthread_mutex_init(&s->repairing, NULL);
	introduce(fs, &fs->participants[fs->me]);
}

void adit__share_disown(struct adit_fs *fs)
{
	if (fs->share == NULL)
		return;
	fs->share->threads = 0;
	pthread_mutex_init(&fs->share->repairing, NULL);
	drop_share(fs);
}

void adit__share_leave(struct adit_fs *fs)
{
	uint64_t mine = (uint64_t)fs->incarnation << 32 | (fs->me + 1);

	wait_for_threads(fs->share);
	adit__counts_close(fs);
	for (uint32_t i = 0; i < fs->nops; i++)
		if (fs->ops[i].owner == mine)
			__atomic_store_n(&fs->ops[i].owner, 0, __ATOMIC_RELEASE);
	adit__scratch_leave(fs, fs->me + 1);
	__atomic_store_n(&fs->participants[fs->me].owner, 0, __ATOMIC_RELEASE);
	adit__share_drop(fs);
}

void adit__share_drop(struct adit_fs *fs)
{
	if (fs->share == NULL)
		return;
	wait_for_threads(fs->share);
	adit__counts_close(fs);
	(void)adit__fd_unlock(fs->share->fd, PARTICIPANT_BYTE + fs->me, 1);
	drop_share(fs);
}

bool adit__share_look_at(struct adit_fs *fs, uint32_t participant)
{
	if (fs->share == NULL || participant == 0 || participant > fs->nparticipants ||
	    __atomic_load_n(&fs->participants[participant - 1].owner, __ATOMIC_ACQUIRE) != taken(fs) ||
	    is_alive(fs, participant - 1))
		return false;
	adit__share_look(fs);
	return true;
}

void adit__share_wait_gate(struct adit_fs *fs)
{
	const struct timespec bound = {.tv_nsec = 10000000};
	uint32_t gate;

	while ((gate = __atomic_load_n(&fs->vol->gate, __ATOMIC_SEQ_CST)) & 1) {
		if (syscall(SYS_futex, &fs->vol->gate, FUTEX_WAIT, gate, &bound, NULL, 0) != 0 &&
		    errno == ETIMEDOUT)
			adit__share_look(fs);
	}
}

#define LOOK_NS 10000000

void adit__share_short_of_space(struct adit_fs *fs)
{
	struct adit_share *s = fs->share;
	struct timespec now;
	int64_t ns, was;

	if (s == NULL)
		return;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	was = __atomic_load_n(&s->looked_ns, __ATOMIC_RELAXED);
	if (ns - was < LOOK_NS || !__atomic_compare_exchange_n(&s->looked_ns, &was, ns, false,
							       __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return;
	adit__share_look(fs);
	wait_for_threads(s);
}

/* ---- growing ------------------------------------------------------------------------------------------- */

/* Nobody may be left with a pool that it cannot map. */
static int everybody_has_room(struct adit_fs *fs, uint64_t blocks)
{
	for (uint32_t i = 0; i < fs->nparticipants; i++) {
		const struct adit_vol_participant *p = &fs->participants[i];
		char name[sizeof p->name + 1] = "";

		if (__atomic_load_n(&p->owner, __ATOMIC_ACQUIRE) != taken(fs) || p->room_blocks >= blocks)
			continue;
		memcpy(name, p->name, sizeof p->name);
		adit__report(fs, "process %llu (%s) has address space for %llu blocks of 4 KiB of this pool, not for "
			     "%llu: let it close the pool, or grow in smaller steps, or when nobody has it open",
			     (unsigned long long)p->pid, name, (unsigned long long)p->room_blocks,
			     (unsigned long long)blocks);
		return -ENOMEM;
	}
	return 0;
}

static uint64_t blocks_of(uint64_t bytes)
{
	return bytes >> ADIT_BLOCK_SHIFT;
}

/* The medium is long enough and mapped, and what will be needed beyond the end is there. */
static int make_ready(struct adit_fs *fs, uint64_t size_bytes, uint64_t *blocks)
{
	struct adit_media *m = medium_of(fs);
	uint64_t zero_from;
	int rc = size_bytes == 0 ? adit__media_size(m, &size_bytes) : 0;

	if (rc == 0 && size_bytes > (uint64_t)INT64_MAX)
		rc = -EFBIG;
	if (rc == 0)
		rc = adit__grow_fit(fs, blocks_of(size_bytes), blocks);
	if (rc == 0 && *blocks > fs->pool_blocks)
		rc = everybody_has_room(fs, blocks_of(size_bytes));
	if (rc == 0)
		rc = adit__media_grow(m, size_bytes, &zero_from);
	if (rc != 0 || *blocks == fs->pool_blocks)
		return rc;
	rc = adit__grow_map(fs, *blocks);
	return rc == 0 ? adit__grow_prepare(fs, *blocks, blocks_of(zero_from) + 1) : rc;
}

/* What is written beyond the end may find no room on the file system of the pool's file, or a media error:
 * nothing has changed by then. */
static int make_ready_guarded(struct adit_fs *fs, uint64_t size_bytes, uint64_t *blocks)
{
	struct adit_sigbus_frame frame;
	int rc;

	if (ADIT_SIGBUS_TRY(&frame, medium_of(fs))) {
		adit__report(fs, "the pool cannot grow: no space in the file system of its file, or a media error");
		return -ENOSPC;
	}
	rc = make_ready(fs, size_bytes, blocks);
	ADIT_SIGBUS_END(&frame);
	return rc;
}

/* With the gate's lock. */
static int grow(struct adit_fs *fs, uint64_t size_bytes)
{
	uint64_t blocks = 0;
	volatile uint32_t n = 0;
	int rc;

	repair(fs);
	rc = adit__has_stopped(fs) ? -EIO : make_ready_guarded(fs, size_bytes, &blocks);
	if (rc != 0 || blocks == fs->pool_blocks)
		return rc;
	close_gate(fs);
	(void)find_dead(fs);
	if (!is_still_within(fs, GATE_WAIT_MS)) {
		open_gate(fs);
		adit__report(fs, "a call of another process or thread has not come to an end for a minute");
		return -EBUSY;
	}
	GUARDED(fs, n = adit__grow(fs, blocks, fs->share->dead, fs->share->slots));
	bury(fs);
	open_gate(fs);
	if (n > 0 || (no_threads(fs) && adit__holds_inherited(fs)))
		finish_beside(fs, n);
	return adit__has_stopped(fs) ? -EIO : 0;
}

int adit__share_grow(struct adit_fs *fs, uint64_t size_bytes)
{
	struct adit_share *s = fs->share;
	volatile int rc = -EIO;

	if (s == NULL) {
		adit__report(fs, "made by a version that let one process in: copy what it holds into a new pool");
		return -EOPNOTSUPP;
	}
	/* The kernel's locks do not part our threads. */
	pthread_mutex_lock(&s->repairing);
	rc = adit__gate_lock(s->fd);
	if (rc == 0) {
		rc = -EIO;
		GUARDED(fs, rc = grow(fs, size_bytes));
		/* What this thread, in no operation, has read of the size is over for those that follow next time. */
		GUARDED(fs, adit__follow_now(fs));
		adit__gate_unlock(s->fd);
	}
	pthread_mutex_unlock(&s->repairing);
	return rc;
}
