/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * protect.c - protection keys and mprotect: see protect.h.
 *
 * Invariants
 *  - A frame leaves the thread's rights as it found them, but for the right to read, which stays.
 *  - With mprotect, m->inside counts the frames that may store, of all threads; the mapping is writable
 *    exactly while it is not 0.  Nobody touches the pool while it counts, so a fault cannot meet it.
 */
#include "media/protect.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "media/media.h"
#include "media/sigbus.h"

static const char *const names[] = {
	[ADIT_PROTECTION_NONE] = "off",
	[ADIT_PROTECTION_KEYS] = "keys",
	[ADIT_PROTECTION_MPROTECT] = "mprotect",
};

int adit__protection_wanted(enum adit_protection *how)
{
	const char *name = secure_getenv("ADIT_PROTECT");

	*how = ADIT_PROTECTION_NONE;
	if (name == NULL || name[0] == '\0')
		return 0;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (strcmp(name, names[i]) == 0) {
			*how = (enum adit_protection)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- keys ---------------------------------------------------------------------------------------- */

/* The process's; it is never given back: threads would keep its rights for whoever has it next. */
static int key = -1;

#if defined(__x86_64__)

/* The kernel answers alike when there are no keys and when all are taken.  OSPKE: it uses the CPU's. */
bool adit__cpu_has_keys(void)
{
	unsigned a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && c >> 4 & 1;
}

static inline uint32_t rights(void)
{
	uint32_t now, zero;

	__asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(now), "=d"(zero) : "c"(0) : "memory");
	return now;
}

static inline void set_rights(uint32_t to)
{
	__asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(to), "c"(0), "d"(0) : "memory");
}

#else

bool adit__cpu_has_keys(void)
{
	return false;
}

static inline uint32_t rights(void)
{
	return 0;
}

static inline void set_rights(uint32_t to)
{
	(void)to;
}

#endif

/* The key's two bits: nothing at all; no storing. */
static inline uint32_t no_access(void)
{
	return (uint32_t)PKEY_DISABLE_ACCESS << 2 * key;
}

static inline uint32_t no_stores(void)
{
	return (uint32_t)PKEY_DISABLE_WRITE << 2 * key;
}

static int find_key(void)
{
	static pthread_mutex_t finding = PTHREAD_MUTEX_INITIALIZER;
	int rc = 0;

	if (!adit__cpu_has_keys())
		return -EOPNOTSUPP;
	pthread_mutex_lock(&finding);
	if (key < 0) {
		int got = pkey_alloc(0, PKEY_DISABLE_WRITE);

		if (got >= 0)
			key = got;
		else
			rc = errno == ENOSPC ? -ENOSPC : -EOPNOTSUPP;
	}
	pthread_mutex_unlock(&finding);
	return rc;
}

static int protect_with_key(struct adit_media *m)
{
	int rc = find_key();

	if (rc == 0 && pkey_mprotect(m->pm.base, m->map_bytes, PROT_READ | PROT_WRITE, key) != 0)
		rc = -errno;
	return rc;
}

/* ---- mprotect -------------------------------------------------------------------------------------- */

/* The process whose thread counts now, or 0. After a fork it may be the parent: then it is nobody. */
static pid_t counting;

static pid_t begin_counting(void)
{
	pid_t me = getpid();

	for (;;) {
		pid_t was = 0;

		while (was != me)
			if (__atomic_compare_exchange_n(&counting, &was, me, false,
							__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
				return me;
		sched_yield();
	}
}

static void end_counting(void)
{
	__atomic_store_n(&counting, 0, __ATOMIC_RELEASE);
}

/* All of the mapping, so that nothing is split and nothing can be refused. */
static int make_writable(struct adit_media *m, bool writable)
{
	int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;

	return mprotect(m->pm.base, m->map_bytes, prot) == 0 ? 0 : -errno;
}

static int protect_pages(struct adit_media *m)
{
	int rc;

	begin_counting();
	rc = make_writable(m, m->inside > 0);
	end_counting();
	return rc;
}

static void count(struct adit_media *m, bool in)
{
	pid_t me = begin_counting();
	unsigned was;

	/* A child has none of its parent's calls under way. */
	if (m->inside_process != me) {
		m->inside = 0;
		m->inside_process = me;
	}
	was = m->inside;
	if (in) {
		m->inside++;
		m->windows++;
	} else if (was > 0) {
		m->inside--;
	}
	if (was == 0 || m->inside == 0)
		(void)make_writable(m, m->inside > 0);
	end_counting();
}

/* ---- both -------------------------------------------------------------------------------------------- */

int adit__protect(struct adit_media *m, enum adit_protection how)
{
	int rc = how == ADIT_PROTECTION_KEYS	   ? protect_with_key(m)
		 : how == ADIT_PROTECTION_MPROTECT ? protect_pages(m)
						   : 0;

	/* As before: others read it meanwhile. */
	if (rc == 0 && m->protection != how) {
		m->protection = how;
		m->pm.guarded = how != ADIT_PROTECTION_NONE;
	}
	return rc;
}

void adit__protect_enter(struct adit_sigbus_frame *frame)
{
	if (frame->protection != ADIT_PROTECTION_KEYS)
		return;
	frame->rights = rights();
	if (frame->rights & no_access()) {
		frame->rights = (frame->rights & ~no_access()) | no_stores();
		set_rights(frame->rights);
	}
}

void adit__protect_open(struct adit_sigbus_frame *frame)
{
	if (frame->stores)
		return;
	frame->stores = true;
	if (frame->media->protection == ADIT_PROTECTION_KEYS)
		set_rights(rights() & ~(no_access() | no_stores()));
	else
		count(frame->media, true);
}

void adit__protect_leave(struct adit_sigbus_frame *frame)
{
	uint32_t ours;

	if (!frame->stores)
		return;
	frame->stores = false;
	if (frame->media->protection == ADIT_PROTECTION_KEYS) {
		ours = no_access() | no_stores();
		set_rights((rights() & ~ours) | (frame->rights & ours));
	} else {
		count(frame->media, false);
	}
}

void adit__protect_after_fault(struct adit_sigbus_frame *frame)
{
	/* A handler begins with the rights of a new thread, and keeps them when it jumps. */
	if (frame->protection == ADIT_PROTECTION_KEYS)
		set_rights(frame->rights);
	else
		adit__protect_leave(frame);
	frame->stores = false;
}
