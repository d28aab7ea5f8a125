/* SPDX-License-Identifier: BSD-3-Clause */
/* selftest.c - see selftest.h. */
#include "selftest.h"

#include <stdio.h>
#include <string.h>

#include "stores.h"

/*
 * Events on a pool that is closed, at places in its first free block, by their first letter: Store, Nt
 * store, Flush, Barrier (fence), Raw store (past pmem.h), Hidden store (past pmem.h, of the value that is
 * there), Call returned. Then offset and length.
 */
static const struct mistake {
	const char *events;
	enum rule rule; /* RULES: none is broken */
} mistakes[] = {
	{"S0,8 F0,8 B C", RULES},
	{"N0,8 B C", RULES},
	{"N0,40 N40,100 B C", RULES},
	{"S0,8 S8,8 S64,64 F0,128 B S0,8 F0,8 B C", RULES},
	{"S0,8 C", RULE_UNFLUSHED},
	{"S60,8 F0,64 B C", RULE_UNFLUSHED}, /* of two lines only one */
	{"S0,8 F0,8 B S1,1 C", RULE_UNFLUSHED},
	{"S0,8 F0,8 C", RULE_UNFENCED},
	{"N0,64 C", RULE_UNFENCED},
	{"S0,8 B F0,8 C", RULE_UNFENCED}, /* and the fence came too early */
	{"S0,8 F0,8 S8,8 F0,8 B C", RULE_OVERWRITTEN},
	{"N0,64 N32,8 B C", RULE_OVERWRITTEN},
	{"S0,8 F0,8 N0,8 B C", RULE_OVERWRITTEN},
	{"N0,8 S8,8 F0,8 B C", RULE_MIXED},
	{"S0,8 N8,8 F0,8 B C", RULE_MIXED},
	{"S0,8 F0,8 B F0,8 C", RULE_CLEAN_FLUSH},
	{"S0,8 F0,8 F0,8 B C", RULE_CLEAN_FLUSH},
	{"F0,8 C", RULE_STRAY_FLUSH},
	{"S0,64 F0,65 B C", RULE_STRAY_FLUSH},
	{"B C", RULES}, /* one a call is in the table */
	{"B B C", RULE_EMPTY_FENCE},
	{"R0,8 C", RULE_UNRECORDED},
	{"R4088,1 C", RULE_UNRECORDED},
	{"S0,8 R8,1 F0,8 B C", RULE_UNRECORDED},
	{"H0,8 C", RULE_UNRECORDED}, /* these are seen by the instrumentation only */
	{"H64,8 S0,8 F0,8 B C", RULE_UNRECORDED},
};

static bool seen[RULES];
static unsigned made;

static void on_broken(void *arg, const char *what)
{
	(void)arg;
	for (unsigned i = 0; i < RULES; i++)
		if (strstr(what, rule_text((enum rule)i)))
			seen[i] = true;
}

#ifdef MISUSE_CALLS
void __asan_storeN_noabort(void *, size_t);

/* As compiled code does it. */
static void hidden(uint8_t *at, size_t len)
{
	__asan_storeN_noabort(at, len);
}
#else
static void hidden(uint8_t *at, size_t len)
{
	(void)at, (void)len;
}
#endif

static void event(struct watch *w, uint8_t *at, char kind, unsigned len)
{
	struct adit_pm *pm = &w->s.pm;

	switch (kind) {
	case 'S':
		adit__pm_zero(pm, at, len);
		break;
	case 'N':
		adit__pm_zero_nt(pm, at, len);
		break;
	case 'F':
		adit__pm_flush(pm, at, len);
		break;
	case 'B':
		adit__pm_fence(pm);
		break;
	case 'R':
		for (unsigned i = 0; i < len; i++)
			((volatile uint8_t *)at)[i] ^= 1;
		break;
	case 'H':
		hidden(at, len);
		break;
	default:
		watch_quiet(w);
		break;
	}
}

static bool is_seen(struct watch *w, const struct mistake *m, const uint8_t *image, uint64_t block)
{
	memset(seen, 0, sizeof seen);
	watch_begin(w, image);
	watch_start(w);
	for (const char *p = m->events; *p;) {
		unsigned offset = 0, len = 0;
		char kind = *p;

		(void)sscanf(p + 1, "%u,%u", &offset, &len);
		event(w, w->s.pm.base + block * ADIT_BLOCK + offset, kind, len);
		p += strcspn(p, " ");
		p += strspn(p, " ");
	}
	watch_stop();
	for (unsigned i = 0; i < RULES; i++) {
		/* What is wrong may be wrong in a second way. */
		if (m->rule == RULES ? seen[i] : i == m->rule && !seen[i])
			return false;
	}
	return true;
}

unsigned selftest(struct watch *w, const uint8_t *image)
{
	void (*failed)(void *, const char *) = w->failed;
	uint64_t block = w->s.pm.size_bytes / ADIT_BLOCK - 2;
	unsigned missed = 0;

	w->failed = on_broken;
	for (unsigned i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
		if (mistakes[i].events[0] == 'H' && stores_seen() == 0)
			continue;
		made++;
		if (is_seen(w, &mistakes[i], image, block))
			continue;
		missed++;
		printf("FAILED self-test \"%s\": %s\n", mistakes[i].events,
		       mistakes[i].rule == RULES ? "nothing is wrong, but something is seen"
						 : rule_text(mistakes[i].rule));
	}
	w->failed = failed;
	return missed;
}

unsigned selftest_count(void)
{
	return made;
}
