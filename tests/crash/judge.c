/* SPDX-License-Identifier: BSD-3-Clause */
/* judge.c - an image is recovered: which state is that, and is it whole? See explore.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "core/linux_abi.h"
#include "explore_int.h"

#define ITEMS(a) (sizeof(a) / sizeof *(a))

bool judge_allows(const struct explorer *x, uint32_t id)
{
	bool in_flight = x->level[0].in_flight;

	if (id & REFUSED)
		return in_flight && x->making;
	if (id & TORN)
		return in_flight && x->torn.node != MODEL_NONE && id == (TORN | x->after_id);
	return id == x->after_id || (in_flight && id == x->before_id);
}

/* New files can be made, and go again. */
static bool lives(struct explorer *x, struct subject *s, unsigned depth)
{
	static const char *const steps[] = {"create /live~30 0644", "write /live~30 0 5000",
					    "setxattr /live~30 user.l 20", "unlink /live~30"};
	static struct op op[ITEMS(steps)];
	struct adit_statfs st;

	adit__core_statfs(s->fs, &st);
	for (unsigned i = 0; i < ITEMS(steps); i++) {
		int64_t got;

		if (op[i].path[0] == '\0' && !op_parse(steps[i], &op[i]))
			abort();
		got = subject_apply(s, &op[i], subject_now + 1);
		if (got < 0 && !(got == -ENOSPC && st.available < 16)) {
			explorer_fail(x, depth, "after recovery: %s: error %lld", steps[i],
				      (long long)-got);
			return false;
		}
		if (got < 0)
			break;
	}
	return true;
}

/* Which state the recovered pool is in; 0 and a message when it is none. */
static uint32_t identify(struct explorer *x, struct subject *s, unsigned depth)
{
	struct difference first, second;

	if (compare(s, x->after, NULL, NULL, &first) == 0)
		return x->after_id;
	if (x->level[0].in_flight) {
		if (compare(s, x->before, NULL, NULL, &second) == 0)
			return x->before_id;
		if (x->torn.node != MODEL_NONE &&
		    compare(s, x->after, x->before, &x->torn, &second) == 0)
			return TORN | x->after_id;
		explorer_fail(x, depth, "neither after (%s) nor before (%s)", first.text,
			      second.text);
	} else {
		explorer_fail(x, depth, "returned, but: %s", first.text);
	}
	return 0;
}

static uint32_t look(struct explorer *x, struct subject *s, unsigned depth)
{
	int64_t now = subject_now;
	char text[400] = "";
	uint32_t id = identify(x, s, depth);
	int found = id ? adit__check_quiet(s->fs, text, sizeof text) : 0;

	x->tally->total.compared++;
	x->tally->by_op[x->kind].compared++;
	if (found) {
		explorer_fail(x, depth, "check after recovery: %d: %s", found, text);
		id = 0;
	}
	/* Half a mkfs has every reason to be spoken of. */
	if (id && s->reports && !(x->making && x->level[0].in_flight)) {
		explorer_fail(x, depth, "recovery complained: %s", s->report);
		id = 0;
	}
	if (id && !lives(x, s, depth))
		id = 0;
	subject_now = now;
	return id;
}

/* The lane that recovery uses for its own records need not be the one that crashed, nor exist. */
static uint32_t lane_for(const struct level *l)
{
	static const uint32_t lanes[] = {0, 1, 5};

	return lanes[l->number % ITEMS(lanes)];
}

uint32_t judge(struct level *l)
{
	struct explorer *x = l->x;
	uint32_t lane = subject_lane, id = 0;
	struct subject s;
	uint64_t out;
	int err;

	subject_attach(&s, l->work, x->bytes);
	s.quiet = true;
	explorer_sink.record = NULL;
	explorer_sink.remember = l;
	subject_lane = lane_for(l);
	x->tally->lane_changed += subject_lane != lane;
	err = subject_open(&s);
	if (err && x->making && x->level[0].in_flight) {
		id = REFUSED;
	} else if (err) {
		explorer_fail(x, l->depth, "open: error %d: %s", -err, s.report);
	} else {
		out = level_hash(l);
		id = seen_get(&x->outputs, out);
		/* Not allowed may mean that a later state looks the same as the one it was taken for. */
		if (id == 0 || s.reports || !judge_allows(x, id))
			id = look(x, &s, l->depth);
		seen_put(&x->outputs, out, id);
		subject_abandon(&s);
	}
	subject_lane = lane;
	return id;
}
