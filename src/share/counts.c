/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * counts.c - see counts.h.
 *
 * Invariants
 *  - A place is on its home's list of all places from when it is made until the home is freed, and is on at most one
 *    of: a thread's list, the home's list of free ones.
 *  - A home is freed when the pool is closed and no thread has a place of it.
 *  - Media get numbers that no other ever had: a thread's adit__counting of a closed one fits none.
 */
#include "share/counts.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/scratch.h"
#include "core/stats.h"

struct place {
	struct place *next; /* of a thread, or of the free ones */
	struct place *next_all;
	struct adit_counts *home;
	uint64_t *at;
	uint64_t *own;	  /* memory of this process, or NULL */
	bool provisional; /* taken by somebody who could not take a block then */
};

struct adit_counts {
	pthread_mutex_t lock;
	uint64_t id;
	struct adit_fs *fs; /* NULL: closed */
	uint32_t threads;   /* that have a place */
	bool shared;	    /* the shards lie in the pool */
	struct place *free, *all;
};

static pthread_key_t key; /* a thread's list */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool have_key;
static uint64_t last_id;

/* For when even memory for a place is refused: sums that nobody looks at. */
static uint64_t nowhere[ADIT_COUNTS];

static void free_home(struct adit_counts *home)
{
	while (home->all != NULL) {
		struct place *p = home->all;

		home->all = p->next_all;
		free(p->own);
		free(p);
	}
	pthread_mutex_destroy(&home->lock);
	free(home);
}

/* A thread's place goes back; the home may be gone afterwards. */
static void put_back(struct place *p)
{
	struct adit_counts *home = p->home;
	bool last;

	pthread_mutex_lock(&home->lock);
	p->next = home->free;
	home->free = p;
	last = --home->threads == 0 && home->fs == NULL;
	pthread_mutex_unlock(&home->lock);
	if (last)
		free_home(home);
}

static void forget_thread(void *list)
{
	adit__counting.id = UINT64_MAX;
	for (struct place *p = list, *next; p != NULL; p = next) {
		next = p->next;
		put_back(p);
	}
}

static void make_key(void)
{
	have_key = pthread_key_create(&key, forget_thread) == 0;
}

/* ---- places ------------------------------------------------------------------------------------ */

static uint64_t *private_shard(void)
{
	uint64_t *at = aligned_alloc(64, ADIT_COUNTS * sizeof *at);

	if (at != NULL)
		memset(at, 0, ADIT_COUNTS * sizeof *at);
	return at;
}

/* With the home's lock.  NULL: in memory of this process. */
static struct place *add_place(struct adit_counts *home, uint64_t *at)
{
	struct place *p = calloc(1, sizeof *p);

	if (p == NULL)
		return NULL;
	if (at == NULL) {
		at = p->own = private_shard();
		if (at == NULL) {
			free(p);
			return NULL;
		}
	}
	p->home = home;
	p->at = at;
	p->next_all = home->all;
	home->all = p;
	return p;
}

/* Every shard of a block becomes a free place. */
static void add_block(struct adit_counts *home, struct adit_scratch *s)
{
	for (unsigned i = 0; i < ADIT_SHARDS_OF_BLOCK; i++) {
		struct place *p = add_place(home, adit__stats_shard(s, i));

		if (p == NULL)
			return; /* the rest is not used */
		p->next = home->free;
		home->free = p;
	}
}

/* Without the home's lock: a media fault may jump out of it. */
static struct adit_scratch *get_block(struct adit_fs *fs)
{
	/* A fault came in here before: this thread does without. */
	static _Thread_local bool trying;
	struct adit_scratch *s = NULL;
	struct adit_op op;

	if (!trying) {
		bool own = adit__op_need(&op, fs);

		trying = true;
		s = adit__scratch_get(fs, ADIT_SCRATCH_STATS, fs->me + 1);
		trying = false;
		if (own)
			adit__op_end_read(&op);
	}
	if (s == NULL)
		__atomic_store_n(&fs->vol->uncounted, 1, __ATOMIC_RELAXED);
	return s;
}

/* With the home's lock. */
static struct place *pop_free(struct adit_counts *home, bool in_pool)
{
	for (struct place **at = &home->free; *at != NULL; at = &(*at)->next) {
		struct place *p = *at;

		if (in_pool == (p->own == NULL)) {
			*at = p->next;
			return p;
		}
	}
	return NULL;
}

/* ---- threads ------------------------------------------------------------------------------------- */

/* This thread's place in that pool, or NULL. Drops what it has in pools that were closed. */
static struct place *find_place(uint64_t id)
{
	struct place **at, *found = NULL, *list;

	if (!have_key)
		return NULL;
	list = pthread_getspecific(key);
	for (at = &list; *at != NULL;) {
		struct place *p = *at;
		bool closed;

		pthread_mutex_lock(&p->home->lock);
		closed = p->home->fs == NULL;
		pthread_mutex_unlock(&p->home->lock);
		if (closed) {
			*at = p->next;
			put_back(p);
			continue;
		}
		if (p->home->id == id)
			found = p;
		at = &p->next;
	}
	(void)pthread_setspecific(key, list);
	return found;
}

static bool keep(struct place *p)
{
	p->next = pthread_getspecific(key);
	return pthread_setspecific(key, p) == 0;
}

/* With the home's lock. */
static struct place *take_private(struct adit_counts *home)
{
	struct place *p = pop_free(home, false);

	return p != NULL ? p : add_place(home, NULL);
}

static struct place *take(struct adit_counts *home, bool in_pool)
{
	struct place *p;

	pthread_mutex_lock(&home->lock);
	p = in_pool ? pop_free(home, true) : take_private(home);
	if (p != NULL)
		home->threads++;
	pthread_mutex_unlock(&home->lock);
	return p;
}

/* For somebody who may be in an operation, with locks that a block must not be taken under. */
static uint64_t *find(struct adit_media *m, uint64_t id)
{
	struct adit_counts *home = m->counts;
	struct place *p = find_place(id);

	if (p != NULL)
		return p->at;
	p = home->shared ? take(home, true) : NULL;
	if (p == NULL) {
		p = take(home, false);
		if (p != NULL)
			p->provisional = home->shared;
	}
	if (p == NULL)
		return nowhere;
	if (!keep(p)) {
		put_back(p);
		return nowhere;
	}
	return p->at;
}

static struct place *take_shared(struct adit_counts *home)
{
	struct place *p = take(home, true);
	struct adit_scratch *s;

	if (p != NULL)
		return p;
	s = get_block(home->fs);
	if (s == NULL)
		return NULL;
	pthread_mutex_lock(&home->lock);
	add_block(home, s);
	pthread_mutex_unlock(&home->lock);
	return take(home, true);
}

/* What was counted provisionally goes where others see it. */
static void replace(struct place *old, const struct place *new)
{
	struct place *list = pthread_getspecific(key);

	for (unsigned i = 0; i < ADIT_COUNTS; i++) {
		adit__count_in(new->at, i, old->at[i]);
		__atomic_store_n(&old->at[i], 0, __ATOMIC_RELAXED);
	}
	for (struct place **at = &list; *at != NULL; at = &(*at)->next)
		if (*at == old) {
			*at = old->next;
			break;
		}
	(void)pthread_setspecific(key, list);
	old->provisional = false;
	put_back(old);
}

/* To be kept; NULL: there is no memory. */
static struct place *claim(struct adit_counts *home)
{
	struct place *old = find_place(home->id), *p = NULL;

	if (old != NULL && !old->provisional)
		return old;
	if (home->shared)
		p = take_shared(home);
	if (p == NULL && old != NULL) {
		old->provisional = false;
		return old;
	}
	if (p == NULL)
		p = take(home, false);
	if (p == NULL)
		return NULL;
	if (!keep(p)) {
		put_back(p);
		return NULL;
	}
	if (old != NULL)
		replace(old, p);
	return p;
}

uint64_t *adit__counts_claim(struct adit_media *m)
{
	struct place *p = NULL;

	if (m->counts != NULL && have_key)
		p = claim(m->counts);
	if (p == NULL)
		return nowhere;
	adit__counting.at = p->at;
	adit__counting.id = p->home->id;
	return p->at;
}

bool adit__counts_lost(struct adit_media *m, const void *at)
{
	struct adit_counts *home = m->counts;
	struct place *p = home != NULL ? find_place(home->id) : NULL;
	uint64_t *own;

	if (p == NULL || (const uint64_t *)at < p->at ||
	    (const uint64_t *)at >= p->at + ADIT_COUNTS)
		return false;
	adit__counting.id = UINT64_MAX;
	own = private_shard();
	pthread_mutex_lock(&home->lock);
	p->own = own;
	p->at = own != NULL ? own : nowhere;
	pthread_mutex_unlock(&home->lock);
	return true;
}

/* ---- pools ----------------------------------------------------------------------------------------- */

int adit__counts_open(struct adit_fs *fs)
{
	struct adit_media *m = fs->pm.priv;
	struct adit_counts *home = calloc(1, sizeof *home);

	if (home == NULL || pthread_mutex_init(&home->lock, NULL) != 0) {
		free(home);
		return -ENOMEM;
	}
	pthread_once(&once, make_key);
	home->fs = fs;
	home->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
	/* In a protected pool calls that only look may not store: not even what they count. */
	home->shared = fs->share != NULL && !fs->read_only && !fs->pm.guarded;
	m->counts = home;
	m->counts_find = find;
	__atomic_store_n(&m->counts_id, home->id, __ATOMIC_RELEASE);
	fs->counted = m;
	return 0;
}

void adit__counts_close(struct adit_fs *fs)
{
	struct adit_media *m = fs->counted;
	struct adit_counts *home;
	bool last;

	if (m == NULL)
		return;
	home = m->counts;
	fs->counted = NULL;
	__atomic_store_n(&m->counts_id, 0, __ATOMIC_RELEASE);
	m->counts = NULL;
	pthread_mutex_lock(&home->lock);
	home->fs = NULL;
	last = home->threads == 0;
	pthread_mutex_unlock(&home->lock);
	if (last)
		free_home(home);
	else
		(void)find_place(0); /* gives back what this thread has */
}

/* Nobody else is here: a thread of the parent's may have had the lock. */
static void close_in_child(struct adit_counts *home, uint32_t threads)
{
	pthread_mutex_init(&home->lock, NULL);
	home->fs = NULL;
	home->threads = threads;
}

void adit__counts_forked(void)
{
	adit__counting.id = UINT64_MAX;
	for (struct place *p = have_key ? pthread_getspecific(key) : NULL; p != NULL; p = p->next)
		close_in_child(p->home, 1);
}

void adit__counts_again(struct adit_fs *fs)
{
	struct adit_media *m = fs->counted;
	struct adit_counts *home;

	if (m == NULL)
		return;
	home = m->counts;
	fs->counted = NULL;
	m->counts = NULL;
	m->counts_id = 0;
	/* This thread's place, if it has one, is given back when it looks for another. */
	if (home->fs != NULL) {
		close_in_child(home, 0);
		free_home(home);
	}
	if (adit__counts_open(fs) != 0)
		return; /* nothing is counted */
}

void adit__counts_add_private(struct adit_media *m, uint64_t *sum)
{
	struct adit_counts *home = m->counts;

	if (home == NULL)
		return;
	pthread_mutex_lock(&home->lock);
	for (const struct place *p = home->all; p != NULL; p = p->next_all)
		for (unsigned i = 0; p->own != NULL && i < ADIT_COUNTS; i++)
			sum[i] += __atomic_load_n(&p->own[i], __ATOMIC_RELAXED);
	pthread_mutex_unlock(&home->lock);
}
