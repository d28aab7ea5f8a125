/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names at random: sequences beside a small model in memory, with crashes; the same with hashes that
 * collide; and threads that want each other's locks.
 *
 * The model is a graph of nodes. It says for each call what error Linux gives, and what holds
 * afterwards; holds and nameless files are part of it.
 */
#include "pool.h"
#include "held.h"

#include <pthread.h>
#include <unistd.h>

#include "core/dir.h"
#include "core/inode.h"
#include "core/log.h"
#include "core/namei.h"

#define ROOT ADIT_INO_ROOT
#define NODES 64
#define NAMES 7
#define NONE (-1)

/* Some fit into the inode together, some do not. */
static const char *const names[NAMES] = {
	"a", "bb", "a third name", "a name that is rather long, so that few fit", "e", "f%20 \xff",
	"another long name, longer even than the one before, it fills an inode by itself nearly",
};

struct node {
	bool live;
	uint64_t ino;
	uint32_t generation, mode, nlink, holds;
	int parent; /* of a directory */
	int entry[NAMES];
};

struct model {
	struct pool *p;
	struct node n[NODES]; /* 0 is the root */
	uint64_t seed;
	uint64_t base_inodes;
};

static unsigned pick(struct model *m, unsigned below)
{
	return (unsigned)(pool_random(&m->seed) >> 33) % below;
}

static bool is_dir(const struct node *n)
{
	return n->mode == S_IFDIR;
}

static int new_node(struct model *m, uint32_t mode, uint64_t ino, uint32_t generation)
{
	for (int i = 1; i < NODES; i++)
		if (!m->n[i].live) {
			m->n[i] = (struct node){.live = true, .ino = ino, .mode = mode,
						.generation = generation, .parent = NONE};
			for (unsigned k = 0; k < NAMES; k++)
				m->n[i].entry[k] = NONE;
			return i;
		}
	return NONE;
}

static int live_nodes(const struct model *m)
{
	int n = 0;

	for (int i = 0; i < NODES; i++)
		n += m->n[i].live;
	return n;
}

static int pick_live(struct model *m, bool dir)
{
	for (;;) {
		int i = (int)pick(m, NODES);

		if (m->n[i].live && (!dir || is_dir(&m->n[i])))
			return i;
	}
}

static unsigned entries(const struct node *n)
{
	unsigned count = 0;

	for (unsigned k = 0; k < NAMES; k++)
		count += n->entry[k] != NONE;
	return count;
}

static bool is_above(const struct model *m, int above, int n)
{
	for (; n != NONE; n = m->n[n].parent)
		if (n == above)
			return true;
	return false;
}

static void drop_if_unused(struct node *n)
{
	if (n->nlink == 0 && n->holds == 0)
		n->live = false;
}

static void lose_name(struct node *n)
{
	if (is_dir(n)) {
		n->nlink = 0;
		n->parent = NONE;
	} else {
		n->nlink--;
	}
	drop_if_unused(n);
}

/* ---- comparing --------------------------------------------------------------------- */

struct seen {
	struct model *m;
	struct node *dir;
	uint64_t last_cookie;
	unsigned count;
};

static int see(void *arg, uint64_t cookie, const void *name, size_t len,
	       const struct adit_dirent *de)
{
	struct seen *s = arg;

	assert_true(cookie > s->last_cookie && cookie < 1ull << 63);
	s->last_cookie = cookie;
	s->count++;
	for (unsigned k = 0; k < NAMES; k++)
		if (strlen(names[k]) == len && memcmp(names[k], name, len) == 0) {
			assert_int_not_equal(s->dir->entry[k], NONE);
			assert_int_equal(s->m->n[s->dir->entry[k]].ino, de->ino);
			return 0;
		}
	fail_msg("a name that nobody gave");
	return 0;
}

static void compare_dir(struct model *m, struct node *n)
{
	struct adit_fs *fs = m->p->fs;
	struct seen s = {m, n, 0, 0};
	struct adit_id id;

	for (unsigned k = 0; k < NAMES; k++) {
		int err = adit__lookup(fs, n->ino, names[k], strlen(names[k]), &id);

		if (n->nlink == 0 || n->entry[k] == NONE) {
			assert_int_equal(err, -ENOENT);
			continue;
		}
		assert_int_equal(err, 0);
		assert_int_equal(id.ino, m->n[n->entry[k]].ino);
		assert_int_equal(id.generation, m->n[n->entry[k]].generation);
		assert_int_equal(id.mode, m->n[n->entry[k]].mode);
	}
	if (n->nlink == 0)
		return;
	assert_int_equal(adit__readdir(fs, n->ino, 0, see, &s), 0);
	assert_int_equal(s.count, entries(n));
	assert_int_equal(adit__parent(fs, n->ino, &id), 0);
	assert_int_equal(id.ino, n->parent == NONE ? ROOT : m->n[n->parent].ino);
}

static void compare(struct model *m)
{
	struct adit_statfs usage;

	for (int i = 0; i < NODES; i++) {
		struct node *n = &m->n[i];
		struct adit_attr a;

		if (!n->live)
			continue;
		assert_int_equal(adit__getattr(m->p->fs, n->ino, &a), 0);
		assert_int_equal(a.generation, n->generation);
		assert_int_equal(a.mode & S_IFMT, n->mode);
		assert_int_equal(a.nlink, n->nlink);
		if (is_dir(n)) {
			assert_int_equal(a.size, entries(n));
			compare_dir(m, n);
		}
	}
	usage = pool_usage(m->p);
	assert_int_equal(usage.inodes_used, m->base_inodes + (uint64_t)live_nodes(m) - 1);
}

static void crash(struct model *m)
{
	pool_crash(m->p);
	for (int i = 0; i < NODES; i++)
		if (m->n[i].live) {
			m->n[i].holds = 0;
			drop_if_unused(&m->n[i]);
		}
}

/* ---- operations ------------------------------------------------------------------------- */

static void do_create(struct model *m)
{
	static const uint32_t kind[] = {S_IFREG, S_IFDIR, S_IFDIR, S_IFLNK, S_IFIFO, S_IFCHR};
	int d = pick_live(m, true), node;
	unsigned k = pick(m, NAMES);
	struct adit_create c = {.mode = kind[pick(m, 6)] | 0700, .link = names[k], .link_len = 1};
	bool held = pick(m, 4) == 0;
	struct adit_hold hold;
	struct adit_id id;
	int err, want = m->n[d].nlink == 0 ? -ENOENT : m->n[d].entry[k] != NONE ? -EEXIST : 0;

	if (live_nodes(m) == NODES)
		return;
	err = adit__create(m->p->fs, m->n[d].ino, names[k], strlen(names[k]), &c,
			   held ? &hold : NULL, &id);
	assert_int_equal(err, want);
	if (err == -EEXIST)
		assert_int_equal(id.ino, m->n[m->n[d].entry[k]].ino);
	if (err)
		return;
	node = new_node(m, c.mode & S_IFMT, id.ino, id.generation);
	m->n[d].entry[k] = node;
	m->n[node].nlink = is_dir(&m->n[node]) ? 2 : 1;
	m->n[node].holds = held;
	if (is_dir(&m->n[node])) {
		m->n[node].parent = d;
		m->n[d].nlink++;
	}
}

static void do_unnamed(struct model *m)
{
	struct adit_hold hold;
	struct adit_create c = {.mode = S_IFREG | 0600};
	int d = pick_live(m, true), node, err;
	struct adit_id id;

	if (live_nodes(m) == NODES)
		return;
	err = adit__create_unnamed(m->p->fs, m->n[d].ino, &c, &hold, &id);
	assert_int_equal(err, m->n[d].nlink == 0 ? -ENOENT : 0);
	if (err)
		return;
	node = new_node(m, S_IFREG, id.ino, id.generation);
	m->n[node].holds = 1;
}

static void do_link(struct model *m)
{
	int d = pick_live(m, true), node = pick_live(m, false), err, want = 0;
	bool unnamed = pick(m, 2);
	unsigned k = pick(m, NAMES);

	if (m->n[d].nlink == 0)
		want = -ENOENT;
	else if (m->n[d].entry[k] != NONE)
		want = -EEXIST;
	else if (is_dir(&m->n[node]))
		want = -EPERM;
	else if (m->n[node].nlink == 0 && !unnamed)
		want = -ENOENT;
	err = (unnamed ? adit__link_unnamed : adit__link)(m->p->fs, m->n[node].ino, m->n[d].ino, names[k],
							  strlen(names[k]));
	assert_int_equal(err, want);
	if (err)
		return;
	m->n[d].entry[k] = node;
	m->n[node].nlink++;
}

static void do_remove(struct model *m, bool rmdir_)
{
	int d = pick_live(m, true), node, err, want = 0;
	unsigned k = pick(m, NAMES);

	node = m->n[d].entry[k];
	if (m->n[d].nlink == 0 || node == NONE)
		want = -ENOENT;
	else if (rmdir_ && !is_dir(&m->n[node]))
		want = -ENOTDIR;
	else if (!rmdir_ && is_dir(&m->n[node]))
		want = -EISDIR;
	else if (rmdir_ && entries(&m->n[node]))
		want = -ENOTEMPTY;
	err = rmdir_ ? adit__rmdir(m->p->fs, m->n[d].ino, names[k], strlen(names[k]))
		     : adit__unlink(m->p->fs, m->n[d].ino, names[k], strlen(names[k]));
	assert_int_equal(err, want);
	if (err)
		return;
	m->n[d].entry[k] = NONE;
	if (rmdir_)
		m->n[d].nlink--;
	lose_name(&m->n[node]);
}

static int rename_error(const struct model *m, int d1, int a, int d2, int b, unsigned flags)
{
	bool exchange = flags & ADIT_RENAME_EXCHANGE;

	if (m->n[d1].nlink == 0 || m->n[d2].nlink == 0 || a == NONE || (exchange && b == NONE))
		return -ENOENT;
	if (flags & ADIT_RENAME_NOREPLACE && b != NONE)
		return -EEXIST;
	if (d1 != d2) {
		if (is_dir(&m->n[a]) && is_above(m, a, d2))
			return -EINVAL;
		if (b != NONE && is_dir(&m->n[b]) && is_above(m, b, d1))
			return exchange ? -EINVAL : -ENOTEMPTY;
	}
	if (b == NONE || exchange || a == b)
		return 0;
	if (is_dir(&m->n[a]) != is_dir(&m->n[b]))
		return is_dir(&m->n[a]) ? -ENOTDIR : -EISDIR;
	return is_dir(&m->n[b]) && entries(&m->n[b]) ? -ENOTEMPTY : 0;
}

static void move_in_model(struct model *m, int node, int from, int to)
{
	if (node == NONE || !is_dir(&m->n[node]))
		return;
	m->n[from].nlink--;
	m->n[to].nlink++;
	m->n[node].parent = to;
}

static void do_rename(struct model *m)
{
	static const unsigned all[] = {0, 0, 0, ADIT_RENAME_NOREPLACE, ADIT_RENAME_EXCHANGE,
				       ADIT_RENAME_EXCHANGE, ADIT_RENAME_WHITEOUT,
				       ADIT_RENAME_WHITEOUT | ADIT_RENAME_NOREPLACE};
	unsigned flags = all[pick(m, 8)], k1 = pick(m, NAMES), k2 = pick(m, NAMES);
	int d1 = pick_live(m, true), d2 = pick(m, 3) ? pick_live(m, true) : d1;
	int a = m->n[d1].entry[k1], b = m->n[d2].entry[k2], err;

	if (flags & ADIT_RENAME_WHITEOUT && live_nodes(m) == NODES)
		return;
	err = adit__rename(m->p->fs, m->n[d1].ino, names[k1], strlen(names[k1]), m->n[d2].ino,
			   names[k2], strlen(names[k2]), flags);
	assert_int_equal(err, rename_error(m, d1, a, d2, b, flags));
	if (err || a == b)
		return;
	m->n[d2].entry[k2] = a;
	m->n[d1].entry[k1] = NONE;
	move_in_model(m, a, d1, d2);
	if (flags & ADIT_RENAME_EXCHANGE) {
		m->n[d1].entry[k1] = b;
		move_in_model(m, b, d2, d1);
	} else if (b != NONE) {
		if (is_dir(&m->n[b]))
			m->n[d2].nlink--;
		lose_name(&m->n[b]);
	}
	if (flags & ADIT_RENAME_WHITEOUT) {
		struct adit_id id;
		int node;

		assert_int_equal(adit__lookup(m->p->fs, m->n[d1].ino, names[k1], strlen(names[k1]),
					      &id), 0);
		node = new_node(m, S_IFCHR, id.ino, id.generation);
		m->n[node].nlink = 1;
		m->n[d1].entry[k1] = node;
	}
}

static void do_hold(struct model *m)
{
	int i = pick_live(m, false);

	if (pick(m, 2)) {
		assert_int_equal(hold_ino(m->p->fs, m->n[i].ino, m->n[i].generation, NULL), 0);
		m->n[i].holds++;
	} else if (m->n[i].holds) {
		assert_int_equal(release_ino(m->p->fs, m->n[i].ino), 0);
		m->n[i].holds--;
		drop_if_unused(&m->n[i]);
	}
}

static void step(struct model *m)
{
	switch (pick(m, 16)) {
	case 0: case 1: case 2: case 3: do_create(m); break;
	case 4: do_unnamed(m); break;
	case 5: case 6: do_link(m); break;
	case 7: case 8: do_remove(m, false); break;
	case 9: do_remove(m, true); break;
	case 10: case 11: case 12: case 13: do_rename(m); break;
	default: do_hold(m); break;
	}
}

static void random_sequences(void **state)
{
	struct pool p;
	struct model m;

	(void)state;
	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct adit_statfs usage;

		pool_make(&p, 16ull << 20);
		p.fs->weak_hash_mask = seed % 2 ? 1 : 0;
		memset(&m, 0, sizeof m);
		m.p = &p;
		m.seed = seed;
		usage = pool_usage(&p);
		m.base_inodes = usage.inodes_used;
		m.n[0] = (struct node){.live = true, .ino = ROOT, .generation = 1, .mode = S_IFDIR,
				       .nlink = 2, .parent = NONE};
		for (unsigned k = 0; k < NAMES; k++)
			m.n[0].entry[k] = NONE;
		struct adit_attr root;
		assert_int_equal(adit__getattr(p.fs, ROOT, &root), 0);
		m.n[0].generation = root.generation;
		for (unsigned round = 0; round < 60; round++) {
			for (unsigned i = 0; i < 100; i++)
				step(&m);
			compare(&m);
			crash(&m);
			compare(&m);
		}
		pool_destroy(&p);
	}
}

/* ---- threads -------------------------------------------------------------------------------- */

#define THREADS 4
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define TURNS 3000
#else
#define TURNS 30000
#endif

struct thread {
	pthread_t id;
	struct pool *p;
	const uint64_t *dir;
	unsigned dirs;
	uint64_t seed;
	unsigned done;
	int bad; /* an error that nobody may get here */
};

static bool may_happen(int err)
{
	switch (err) {
	case 0: case -ENOENT: case -EEXIST: case -EISDIR: case -ENOTDIR: case -ENOTEMPTY:
	case -EINVAL: case -EPERM: case -ESTALE:
		return true;
	default:
		return false;
	}
}

static int one_turn(struct thread *t)
{
	struct adit_fs *fs = t->p->fs;
	uint64_t r = pool_random(&t->seed);
	uint64_t d1 = t->dir[(r >> 3) % t->dirs], d2 = t->dir[(r >> 11) % t->dirs];
	const char *n1 = names[(r >> 19) % 4], *n2 = names[(r >> 27) % 4];
	size_t l1 = strlen(n1), l2 = strlen(n2);
	struct adit_create c = {.mode = (r >> 35) % 3 ? S_IFREG | 0600 : S_IFDIR | 0700};
	struct adit_id id;
	struct adit_hold hold;
	int err;

	switch ((r >> 43) % 12) {
	case 0: case 1:
		return adit__create(fs, d1, n1, l1, &c, NULL, &id);
	case 2:
		err = adit__create(fs, d1, n1, l1, &c, &hold, &id);
		if (err)
			return err;
		adit__unlink(fs, d1, n1, l1);
		return adit__release(fs, &hold);
	case 3:
		err = adit__lookup(fs, d1, n1, l1, &id);
		return err ? err : adit__link(fs, id.ino, d2, n2, l2);
	case 4:
		return adit__unlink(fs, d1, n1, l1);
	case 5:
		return adit__rmdir(fs, d1, n1, l1);
	case 6:
		err = adit__lookup(fs, d1, n1, l1, &id);
		if (!err)
			err = adit__hold(fs, id.ino, id.generation, NULL, &hold);
		if (err)
			return err;
		adit__unlink(fs, d1, n1, l1);
		return adit__release(fs, &hold);
	case 7:
		c.mode = S_IFREG | 0600;
		err = adit__create_unnamed(fs, d1, &c, &hold, &id);
		if (err)
			return err;
		err = adit__link_unnamed(fs, id.ino, d2, n2, l2);
		return may_happen(err) ? adit__release(fs, &hold) : err;
	case 8:
		return adit__rename(fs, d1, n1, l1, d2, n2, l2, ADIT_RENAME_EXCHANGE);
	case 9:
		return adit__rename(fs, d1, n1, l1, d2, n2, l2, ADIT_RENAME_WHITEOUT);
	default:
		return adit__rename(fs, d1, n1, l1, d2, n2, l2, 0);
	}
}

static void *run(void *arg)
{
	struct thread *t = arg;

	for (t->done = 0; t->done < TURNS; t->done++) {
		int err = one_turn(t);

		if (!may_happen(err)) {
			t->bad = err;
			break;
		}
	}
	return NULL;
}

struct census {
	struct adit_fs *fs;
	uint64_t todo[4096], ino[4096];
	uint32_t names[4096], subdirs;
	unsigned todos, inodes;
};

static int count_entry(void *arg, uint64_t cookie, const void *name, size_t len,
		       const struct adit_dirent *de)
{
	struct census *c = arg;
	unsigned i;

	(void)cookie, (void)name, (void)len;
	for (i = 0; i < c->inodes && c->ino[i] != de->ino; i++)
		;
	assert_true(i < 4096);
	if (i == c->inodes) {
		c->ino[c->inodes++] = de->ino;
		c->names[i] = 0;
		if (de->dtype == ADIT_DT_OF(S_IFDIR)) {
			c->subdirs++;
			c->todo[c->todos++] = de->ino;
		}
	} else {
		assert_int_not_equal(de->dtype, ADIT_DT_OF(S_IFDIR)); /* one parent each */
	}
	c->names[i]++;
	return 0;
}

/* Walks everything: link counts, parents, and that no inode is used without a name. */
static void census(struct pool *p, uint64_t base_inodes)
{
	struct census *c = calloc(1, sizeof *c);

	c->fs = p->fs;
	c->todo[c->todos++] = ROOT;
	while (c->todos) {
		uint64_t dir = c->todo[--c->todos];
		unsigned first = c->todos;
		struct adit_attr a;
		struct adit_id up;

		c->subdirs = 0;
		assert_int_equal(adit__readdir(p->fs, dir, 0, count_entry, c), 0);
		assert_int_equal(adit__getattr(p->fs, dir, &a), 0);
		assert_int_equal(a.nlink, 2 + c->subdirs);
		for (unsigned i = first; i < c->todos; i++) {
			assert_int_equal(adit__parent(p->fs, c->todo[i], &up), 0);
			assert_int_equal(up.ino, dir);
		}
	}
	for (unsigned i = 0; i < c->inodes; i++) {
		struct adit_attr a;

		assert_int_equal(adit__getattr(p->fs, c->ino[i], &a), 0);
		if (!ADIT_S_ISDIR(a.mode))
			assert_int_equal(a.nlink, c->names[i]);
	}
	assert_int_equal(pool_usage(p).inodes_used, base_inodes + c->inodes);
	free(c);
}

static void threads(void **state)
{
	struct adit_hold hold;
	struct thread t[THREADS];
	uint64_t dir[6] = {ROOT}, base;
	struct pool p;
	struct adit_create c = {.mode = S_IFDIR | 0700};
	struct adit_id id;

	(void)state;
	alarm(100); /* a deadlock ends here */
	pool_make(&p, 64ull << 20);
	base = pool_usage(&p).inodes_used;
	/* A chain and a side branch, so that moves into one's own subtree are tried all the time. */
	for (unsigned i = 1; i < 6; i++) {
		assert_int_equal(adit__create(p.fs, dir[i == 5 ? 0 : i - 1], names[i % 3],
					      strlen(names[i % 3]), &c, &hold, &id),
				 0);
		dir[i] = id.ino;
	}
	/* An entry that no thread names keeps them from being removed; they still move. */
	c.mode = S_IFREG | 0600;
	for (unsigned i = 1; i < 6; i++)
		assert_int_equal(adit__create(p.fs, dir[i], names[4], strlen(names[4]), &c, false,
					      &id), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		t[i] = (struct thread){.p = &p, .dir = dir, .dirs = 6, .seed = 11 + i};
		assert_int_equal(pthread_create(&t[i].id, NULL, run, &t[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(t[i].id, NULL);
		assert_int_equal(t[i].bad, 0);
	}
	assert_int_equal(p.reports, 0);
	for (unsigned i = 1; i < 6; i++)
		assert_int_equal(release_ino(p.fs, dir[i]), 0);
	census(&p, base);
	pool_crash(&p);
	census(&p, base);
	alarm(0);
	pool_destroy(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_sequences),
		cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
