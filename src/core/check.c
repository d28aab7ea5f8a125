/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The check: passes over the whole pool until nothing is left to mend.
 *
 * One pass, in this order, each stage building on what the ones before found:
 *	check_space.c	fixed areas
 *	check_super.c	checkpoint slots
 *	check_space.c	group headers
 *	check_inode.c	root block
 *	check_table.c	inode table
 *	check_inode.c	clusters, inodes
 *	check_list.c	orphan lists
 *	check_fork.c	extents, attributes (check_tree.c walks the trees) and
 *	check_dir.c	directory entries
 *	check_link.c	connectivity, parents, link counts
 *	check_list.c	orphans, free lists of the shards, intents
 *	check_space.c	bitmaps and totals against what was claimed
 *	check_table.c	clusters that are lost for good
 *	check_fix.c	lost+found
 * check_super.c looks at what must be right before a pool can be opened.
 *
 * Repairs are stored in place by check_fix.c, one structure at a time, sealed,
 * flushed and fenced, not through the log: the pool is ours alone, everything
 * in the lanes is applied and durable (a repair begins with a checkpoint, so
 * no record can be replayed over a repair), and the log would trust the very
 * structures that are in doubt.  Only the inode table's map, and what goes into
 * lost+found, is changed by ordinary change sets.  A repair that is cut short
 * leaves a pool that says ADIT_STATE_DAMAGED and that the next check mends: a
 * structure is whole or fails its seal, and what one structure says of another
 * is compared again from the start.
 *
 * A mended pool is checked again from the start, so a repair is never the last
 * word: the last pass has found nothing, or counts what is left.
 *
 * No recursion; memory only through env->alloc.
 */
#include "core/check_impl.h"

#define PASSES_MAX 24u

/* ---- findings --------------------------------------------------------- */

struct adit_check_finding adit__ck_finding(enum adit_check_severity severity,
					   const char *structure, uint64_t ino, uint64_t block,
					   const char *message, const char *action)
{
	return (struct adit_check_finding){
		.severity = severity, .structure = structure, .ino = ino, .block = block,
		.message = message, .action = action,
	};
}

bool adit__ck_mend(struct adit_check *ck, struct adit_check_finding *f)
{
	f->fixed = false;
	if (!ck->may_fix || !f->action || f->severity == ADIT_CHECK_NOTE || ck->err)
		return false;
	/* Counters are known only when nothing was left out above. */
	if (!(ck->opt->flags & ADIT_CHECK_REPAIR) &&
	    (f->severity > ADIT_CHECK_MINOR || ck->left > 0))
		return false;
	adit__ck_mark(ck, true);
	f->fixed = true;
	return true;
}

void adit__ck_tell(struct adit_check *ck, const struct adit_check_finding *f)
{
	struct adit_check_finding said = *f;
	bool say = f->fixed || ck->say_left;

	said.pass = ck->pass;
	if (f->severity == ADIT_CHECK_NOTE) {
		say = ck->pass == 1 && !ck->looking;
	} else if (f->fixed) {
		ck->fixed++;
		ck->res->fixed++;
	} else {
		ck->left++;
	}
	if (say && ck->opt->finding)
		ck->opt->finding(ck->opt->arg, &said);
}

bool adit__ck_found(struct adit_check *ck, enum adit_check_severity severity,
		    const char *structure, uint64_t ino, uint64_t block, const char *message,
		    const char *action)
{
	struct adit_check_finding f =
		adit__ck_finding(severity, structure, ino, block, message, action);

	adit__ck_mend(ck, &f);
	adit__ck_tell(ck, &f);
	return f.fixed;
}

bool adit__ck_found_value(struct adit_check *ck, enum adit_check_severity severity,
			  const char *structure, uint64_t ino, uint64_t block,
			  const char *message, const char *action, uint64_t found,
			  uint64_t expected)
{
	struct adit_check_finding f =
		adit__ck_finding(severity, structure, ino, block, message, action);

	f.has_values = true;
	f.found = found;
	f.expected = expected;
	adit__ck_mend(ck, &f);
	adit__ck_tell(ck, &f);
	return f.fixed;
}

void adit__ck_progress(struct adit_check *ck, const char *stage, uint64_t done, uint64_t total)
{
	if (ck->opt->progress)
		ck->opt->progress(ck->opt->arg, ck->pass, stage, done, total);
}

/* ---- memory --------------------------------------------------------------- */

static void free_chunks(const struct adit_env *env, void **chunk, uint64_t n)
{
	for (uint64_t i = 0; chunk && i < n; i++)
		env->free(chunk[i]);
	env->free(chunk);
}

/* What one pass knows. */
static void pass_finish(struct adit_check *ck)
{
	const struct adit_env *env = ck->fs->env;

	free_chunks(env, (void **)ck->claim, ck->claim_chunks);
	free_chunks(env, (void **)ck->ino, ck->ino_chunks);
	ck->claim = NULL;
	ck->ino = NULL;
	ck->ino_chunks = 0;
}

static int pass_init(struct adit_check *ck)
{
	const struct adit_env *env = ck->fs->env;

	ck->again = ck->partial = ck->rebuild_clusters = ck->rebuild_orphans = false;
	ck->fixed = ck->left = 0;
	ck->used_inodes = ck->claimed = ck->dirs = ck->files = ck->lost = 0;
	ck->claim = env->alloc(ck->claim_chunks * sizeof *ck->claim);
	return ck->claim ? 0 : -ENOMEM;
}

static void check_finish(struct adit_check *ck)
{
	const struct adit_env *env = ck->fs->env;

	pass_finish(ck);
	free_chunks(env, (void **)ck->sound, ck->claim_chunks);
	free_chunks(env, (void **)ck->strong, ck->claim_chunks);
	env->free(ck->names);
	env->free(ck->node_copy);
	env->free(ck->leaf_copy);
	env->free(ck->value);
}

static int check_init(struct adit_check *ck, struct adit_fs *fs,
		      const struct adit_check_options *opt, struct adit_check_result *res)
{
	const struct adit_env *env = fs->env;

	ck->fs = fs;
	ck->opt = opt;
	ck->res = res;
	ck->claim_chunks = (fs->pool_blocks + ADIT_CK_CHUNK_BITS - 1) / ADIT_CK_CHUNK_BITS;
	ck->strong = env->alloc(ck->claim_chunks * sizeof *ck->strong);
	ck->names = env->alloc(ADIT_CK_NAMES_BYTES);
	ck->node_copy = env->alloc(ADIT_BLOCK);
	ck->leaf_copy = env->alloc(ADIT_BLOCK);
	ck->value = env->alloc(ADIT_XATTR_VALUE_MAX);
	if (ck->strong && ck->names && ck->node_copy && ck->leaf_copy && ck->value)
		return 0;
	check_finish(ck);
	return -ENOMEM;
}

/* ---- passes ------------------------------------------------------------------ */

struct stage {
	void (*run)(struct adit_check *);
	bool whole; /* needs to have seen everything */
};

static void stages(struct adit_check *ck)
{
	static const struct stage stage[] = {
		{adit__ck_fixed_areas, false},
		{adit__ck_slots, false},
		{adit__ck_groups, false},
		{adit__ck_root, false},
		{adit__ck_itable, false},
		{adit__ck_clusters, false},
		{adit__ck_orphan_lists, false},
		{adit__ck_forks, false},
		{adit__ck_connect, true},
		{adit__ck_links, true},
		{adit__ck_orphans, true},
		{adit__ck_cluster_lists, false},
		{adit__ck_intents, false},
		{adit__ck_bitmaps, false},
		{adit__ck_totals, true},
		{adit__ck_missing_clusters, false},
		{adit__ck_reconnect, true},
	};

	for (unsigned i = 0; i < sizeof stage / sizeof *stage && !ck->err && !ck->again; i++)
		if (!stage[i].whole || !ck->partial)
			stage[i].run(ck);
	if (ck->partial && !ck->err)
		adit__ck_found(ck, ADIT_CHECK_NOTE, "pool", 0, ADIT_CHECK_NO_BLOCK,
			       "what follows from the damaged parts is seen once they are mended",
			       NULL);
}

static int one_pass(struct adit_check *ck, bool may_fix, bool say_left)
{
	int err = 0;

	ck->pass++;
	ck->may_fix = may_fix;
	ck->say_left = say_left;
	if (may_fix)
		err = adit__checkpoint(ck->fs);
	if (!err)
		err = pass_init(ck);
	if (!err) {
		stages(ck);
		err = ck->err;
	}
	ck->res->inodes = ck->dirs + ck->files;
	ck->res->dirs = ck->dirs;
	ck->res->files = ck->files;
	ck->res->blocks = ck->claimed;
	ck->res->left = ck->left;
	ck->res->passes = ck->pass;
	if (ck->looking) {
		ck->sound = ck->claim;
		ck->claim = NULL;
	}
	pass_finish(ck);
	/* What was taken for verified may be something else now. */
	if (ck->fixed)
		adit__forget_verified(ck->fs);
	return err;
}

/* I20: who holds what before anything is mended. */
static int look(struct adit_check *ck)
{
	int err = adit__checkpoint(ck->fs); /* no seal counts as stale any more */

	if (err)
		return err;
	ck->looking = true;
	err = one_pass(ck, false, false);
	ck->looking = false;
	if (ck->left)
		ck->pass = 0;
	return err;
}

static int passes(struct adit_check *ck)
{
	bool fix = ck->opt->flags & (ADIT_CHECK_REPAIR | ADIT_CHECK_PREEN);
	int err = 0;

	if (!fix)
		return one_pass(ck, false, true);
	if (ck->opt->flags & ADIT_CHECK_REPAIR)
		err = look(ck);
	if (!err && (ck->left || !ck->sound))
		do {
			err = one_pass(ck, true, false);
		} while (!err && ck->fixed && ck->pass < PASSES_MAX);
	/* The lists that are only half known need a look without hands. */
	if (!err && (ck->left || ck->fixed))
		err = one_pass(ck, false, true);
	if (!err)
		adit__ck_mark(ck, ck->left != 0);
	return err;
}

int adit__check(struct adit_fs *fs, const struct adit_check_options *opt,
		struct adit_check_result *res)
{
	struct adit_check *ck;
	int err;

	memset(res, 0, sizeof *res);
	if (fs->read_only && (opt->flags & (ADIT_CHECK_REPAIR | ADIT_CHECK_PREEN)))
		return -EROFS;
	ck = fs->env->alloc(sizeof *ck);
	if (!ck)
		return -ENOMEM;
	err = check_init(ck, fs, opt, res);
	if (!err) {
		err = passes(ck);
		check_finish(ck);
	}
	fs->env->free(ck);
	res->found = res->fixed + res->left;
	return err;
}

/* ---- words ---------------------------------------------------------------------- */

struct text {
	char *at;
	size_t left; /* the NUL included */
};

static void add_bytes(struct text *t, const char *s, size_t n)
{
	if (t->left == 0)
		return;
	if (n > t->left - 1)
		n = t->left - 1;
	memcpy(t->at, s, n);
	t->at += n;
	t->left -= n;
	*t->at = '\0';
}

static void add(struct text *t, const char *s)
{
	add_bytes(t, s, strlen(s));
}

static void add_number(struct text *t, uint64_t v)
{
	char digits[20];
	unsigned at = sizeof digits;

	do {
		digits[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	add_bytes(t, digits + at, sizeof digits - at);
}

static void add_name(struct text *t, const uint8_t *name, size_t len)
{
	static const char hex[] = "0123456789abcdef";

	add(t, " '");
	for (size_t i = 0; i < len; i++) {
		char escaped[4] = {'\\', 'x', hex[name[i] >> 4], hex[name[i] & 15]};

		if (name[i] < 32 || name[i] >= 127 || name[i] == '\\' || name[i] == '\'')
			add_bytes(t, escaped, sizeof escaped);
		else
			add_bytes(t, (const char *)name + i, 1);
	}
	add(t, "'");
}

void adit__check_describe(const struct adit_check_finding *f, char *text, size_t len)
{
	struct text t = {text, len};

	if (len)
		*text = '\0';
	add(&t, f->structure);
	if (f->ino) {
		add(&t, " ");
		add_number(&t, f->ino);
	}
	if (f->block != ADIT_CHECK_NO_BLOCK) {
		add(&t, f->ino ? " at block " : " ");
		add_number(&t, f->block);
	}
	if (f->name)
		add_name(&t, f->name, f->name_len);
	add(&t, ": ");
	add(&t, f->message);
	if (f->has_values) {
		add(&t, ": ");
		add_number(&t, f->found);
		add(&t, " instead of ");
		add_number(&t, f->expected);
	}
	if (f->severity == ADIT_CHECK_NOTE)
		return;
	if (f->fixed) {
		add(&t, "; mended: ");
		add(&t, f->action);
	} else if (f->action) {
		add(&t, "; to mend: ");
		add(&t, f->action);
	}
}

struct quiet {
	char *text;
	size_t len;
	bool said;
};

static void quiet_finding(void *arg, const struct adit_check_finding *f)
{
	struct quiet *q = arg;

	if (q->said || f->severity == ADIT_CHECK_NOTE)
		return;
	q->said = true;
	adit__check_describe(f, q->text, q->len);
}

int adit__check_quiet(struct adit_fs *fs, char *first_finding, size_t len)
{
	struct quiet q = {.text = first_finding, .len = len};
	struct adit_check_options opt = {.arg = &q, .finding = quiet_finding};
	struct adit_check_result res;
	int err;

	if (len)
		*first_finding = '\0';
	err = adit__check(fs, &opt, &res);
	if (err)
		return err;
	return res.left > INT32_MAX ? INT32_MAX : (int)res.left;
}
