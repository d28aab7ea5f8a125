/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* See counts.h. */
#include "media/counts.h"

#include "media/media.h"

/* No medium has this number. */
_Thread_local struct adit_counting adit__counting
	__attribute__((tls_model("initial-exec"))) = {.id = UINT64_MAX};

uint64_t *adit__counts_elsewhere(struct adit_media *m, uint64_t id)
{
	return id != 0 ? m->counts_find(m, id) : NULL;
}

void adit__count_media(struct adit_media *m, unsigned what, uint64_t n)
{
	uint64_t *at = adit__counts_of(m, __atomic_load_n(&m->counts_id, __ATOMIC_RELAXED));

	if (at != NULL)
		adit__count_in(at, what, n);
}
