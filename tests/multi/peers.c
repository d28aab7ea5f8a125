/* SPDX-License-Identifier: BSD-3-Clause */
/* peers.c - who works on beside somebody who dies, and who judges: see scene.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/alloc.h"
#include "core/check.h"
#include "core/scratch.h"
#include "scene.h"
#include "share/participant.h"

/* ---- others ------------------------------------------------------------------------------------------------ */

/* A call, and how long it took. */
#define TIMED(number, call)                                                                        \
	({                                                                                         \
		double timed_from_ = seconds();                                                    \
		int64_t timed_rc_ = (call);                                                        \
		uint64_t timed_ns_ = (uint64_t)((seconds() - timed_from_) * 1e9);                  \
                                                                                                   \
		if (timed_ns_ > stage->longest_ns[number])                                         \
			stage->longest_ns[number] = timed_ns_;                                     \
		__atomic_add_fetch(&stage->calls, 1, __ATOMIC_RELAXED);                            \
		timed_rc_;                                                                         \
	})

static void must(int64_t rc, const char *call)
{
	if (rc < 0)
		fail(call, rc, 0);
}

/* Directories and files that nobody else knows, in the directories that all use. */
static void make_and_remove(unsigned me)
{
	char a[40], b[40], c[40], d[40];
	int fd;

	snprintf(a, sizeof a, "/d/peer-%u", me);
	snprintf(b, sizeof b, "/e/peer-%u", me);
	snprintf(c, sizeof c, "/d/peer-file-%u", me);
	snprintf(d, sizeof d, "/e/peer-file-%u", me);
	must(TIMED(me, adit_mkdir(pool, a, 0700)), "mkdir by a peer");
	must(TIMED(me, adit_rename(pool, a, b)), "rename by a peer");
	must(TIMED(me, adit_rmdir(pool, b)), "rmdir by a peer");
	fd = (int)TIMED(me, open_at(c, O_CREAT | O_EXCL | O_RDWR));
	must(fd, "create by a peer");
	must(TIMED(me, adit_write(pool, fd, bytes, 3000)), "write by a peer");
	must(TIMED(me, adit_write(pool, fd, bytes, 6000)), "append by a peer");
	must(TIMED(me, adit_link(pool, c, d)), "link by a peer");
	must(TIMED(me, adit_unlink(pool, c)), "unlink by a peer");
	must(TIMED(me, adit_ftruncate(pool, fd, 100)), "truncate by a peer");
	must(TIMED(me, adit_unlink(pool, d)), "unlink by a peer");
	must(TIMED(me, adit_close_fd(pool, fd)), "close by a peer");
}

/* Something on every file that comes and goes again and is not looked at. */
static void touch_files(unsigned me)
{
	static const unsigned files[] = {0, 1, 2, 3, 4, 6};
	char key[20];

	snprintf(key, sizeof key, "user.peer-%u", me);
	for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
		int64_t fd = TIMED(me, open_at(act_names[files[i]], O_RDWR));
		struct stat st;

		/* It has been removed, or is a directory, or a device now. */
		if (fd == -ENOENT || fd == -EISDIR || fd == -ENXIO)
			continue;
		must(fd, "open by a peer");
		if (fd < 0)
			return;
		must(TIMED(me, adit_fsetxattr(pool, (int)fd, key, key, sizeof key, 0)),
		     "setxattr by a peer");
		must(TIMED(me, adit_fstat(pool, (int)fd, &st)), "stat by a peer");
		must(TIMED(me, adit_fremovexattr(pool, (int)fd, key)), "removexattr by a peer");
		must(TIMED(me, adit_close_fd(pool, (int)fd)), "close by a peer");
	}
}

/* As before, or as after, and never as before again. */
static void look_around(unsigned me, const char *tears, uint8_t *seen)
{
	const struct lesson *l = stage->lesson;

	for (unsigned i = 0; i < ACTS_NAMES; i++) {
		uint64_t now;

		if (tears && strcmp(tears, act_names[i]) == 0)
			continue;
		now = (uint64_t)TIMED(me, (int64_t)look_at(i));
		if (now != l->before[i] && now != l->after[i])
			fail(act_names[i], (long long)now, (long long)l->after[i]);
		if (l->before[i] == l->after[i])
			continue;
		if (now == l->before[i] && seen[i])
			fail("it was done already", i, 0);
		if (now == l->after[i])
			seen[i] = stage->seen[i] = 1;
	}
}

static void look_at_held(const int *fd, const char *tears)
{
	for (unsigned i = 0; i < HELD_FILES; i++) {
		uint64_t now;

		if (fd[i] < 0 || (tears && strcmp(tears, held_files[i]) == 0))
			continue;
		now = contents_of(fd[i]);
		if (now != stage->lesson->held_before[i] && now != stage->lesson->held_after[i])
			fail("an open file", i, (long long)now);
	}
}

static void be_peer(unsigned me, bool holds, const char *tears)
{
	uint8_t seen[ACTS_NAMES] = {0};
	int fd[HELD_FILES] = {-1, -1};
	unsigned more = 2; /* rounds when all is over */

	begin_child();
	open_it();
	for (unsigned i = 0; holds && i < HELD_FILES; i++)
		fd[i] = open_at(held_files[i], O_RDONLY);
	while (more > 0) {
		if (__atomic_load_n(&stage->over, __ATOMIC_ACQUIRE))
			more--;
		make_and_remove(me);
		touch_files(me);
		look_around(me, tears, seen);
		look_at_held(fd, tears);
		say(&stage->ready[me]);
		if (failures)
			_exit(1);
	}
	for (unsigned i = 0; i < HELD_FILES; i++)
		if (fd[i] >= 0)
			must(adit_close_fd(pool, fd[i]), "close of an open file");
	close_it();
	_exit(failures != 0);
}

pid_t peer(unsigned me, bool holds, const char *tears)
{
	pid_t pid = fork();

	if (pid == 0)
		be_peer(me, holds, tears);
	if (pid < 0)
		fail("fork", errno, 0);
	return pid;
}

void work_on(unsigned me)
{
	make_and_remove(me);
	touch_files(me);
}

/* ---- judgement ------------------------------------------------------------------------------------------ */

/* Each word is old or new, whole if the write covered it. */
static void judge_torn(const char *name, const struct lesson *l)
{
	static uint8_t now[sizeof l->torn_after];
	int64_t n = read_all(name, now, sizeof now);

	if (n != l->torn_bytes)
		fail("size of what may be torn", n, l->torn_bytes);
	for (int64_t i = 0; i < n; i++) {
		bool old = now[i] == l->torn_before[i], new = now[i] == l->torn_after[i];

		if (!old && !new) {
			fail("a byte neither old nor new, at", i, now[i]);
			return;
		}
	}
}

void judge_files(unsigned act, bool killed)
{
	const struct lesson *l = stage->lesson;
	const char *tears = acts[act].tears;
	bool all_before = true, all_after = true;

	for (unsigned i = 0; i < ACTS_NAMES; i++) {
		uint64_t now;

		if (killed && tears && strcmp(tears, act_names[i]) == 0) {
			judge_torn(tears, l);
			continue;
		}
		now = look_at(i);
		all_before &= now == l->before[i] && !stage->seen[i];
		all_after &= now == l->after[i];
	}
	if (!all_after && (!killed || !all_before))
		fail("neither done nor not begun", killed, all_before);
}

void settle_pool(void)
{
	int fd = pool->media.fd;

	if (adit__gate_lock(fd) != 0) {
		fail("the gate is closed", 0, 0);
		return;
	}
	adit__share_repair(adit__pool_fs(pool));
	adit__gate_unlock(fd);
}

/* All that is free can be had: nothing is kept for the dead, neither counted nor in a group's bitmap. */
static void judge_space(struct adit_fs *fs)
{
	uint64_t sum = adit__scratch_blocks(fs), may = fs->vol->free_blocks + sum;

	if (may != adit__total_free(fs))
		fail("blocks that can be had, and that are free", (long long)may,
		     (long long)adit__total_free(fs));
	for (uint32_t i = 0; i < fs->groups; i++) {
		const struct adit_vol_group *v = adit__group_vol(fs, i);

		if (v->incarnation != fs->incarnation)
			return; /* its share is not known: never touched */
		sum += v->free;
	}
	if (sum != may)
		fail("blocks that can be had, and that the groups have", (long long)may,
		     (long long)sum);
}

void judge_pool(const char *when)
{
	struct adit_fs *fs = adit__pool_fs(pool);
	char text[400];
	int n;

	/* Perhaps nobody needed what the dead held. */
	settle_pool();
	n = adit__check_quiet(fs, text, sizeof text);
	if (n != 0) {
		fail(when, n, 0);
		fprintf(stderr, "  %s\n", text);
	}
	if (adit__checkpoint(fs) != 0)
		fail("checkpoint", 0, 0);
	judge_space(fs);
}

void judge_end(unsigned act, bool killed, bool reopen)
{
	struct left now;

	if (reopen) {
		close_it();
		open_it();
		judge_files(act, killed);
		judge_pool("check by the next one");
	}
	now = remove_all();
	if (now.free != empty_pool.free)
		fail("blocks are lost", (long long)now.free, (long long)empty_pool.free);
	if (now.inodes != empty_pool.inodes)
		fail("inodes are lost", (long long)now.inodes, (long long)empty_pool.inodes);
	judge_pool("check of the emptied pool");
	close_it();
}
