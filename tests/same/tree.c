/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tree.c - whole trees: compared, made, removed; see same.h.
 *
 * Compared are names, types, modes, owners, sizes, link counts, devices, times, contents, targets, extended
 * attributes, and holes as far as lseek(2) promises any. Not compared, since every file system has its own:
 * inode numbers, allocated blocks, sizes of directories.
 */
#include <dirent.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <time.h>

#include "same.h"

#define WHERE_MAX 3500

/* ---- entries --------------------------------------------------------------------------------- */

#define ENTRIES_MAX 1024
struct entries {
	unsigned n;
	char *name[ENTRIES_MAX];
	unsigned char type[ENTRIES_MAX];
};

/* "." and ".." are expected and left out. */
static void add_entry(struct entries *e, const char *name, unsigned char type)
{
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return;
	if (e->n == ENTRIES_MAX)
		abort();
	e->type[e->n] = type;
	e->name[e->n++] = strdup(name);
}

static void free_entries(struct entries *e)
{
	for (unsigned i = 0; i < e->n; i++)
		free(e->name[i]);
	free(e);
}

static struct entries *adit_entries(int fd)
{
	struct entries *e = calloc(1, sizeof *e);
	size_t room = 300 + pick(3000);
	char buf[4096];
	ssize_t n;

	while ((n = adit_getdents(t.pool, fd, buf, room)) > 0) {
		for (ssize_t at = 0; at < n;) {
			struct adit_dirent64 *d = (void *)(buf + at);

			add_entry(e, d->d_name, d->d_type);
			at += d->d_reclen;
		}
	}
	same(0, n);
	return e;
}

static struct entries *host_entries(int fd)
{
	struct entries *e = calloc(1, sizeof *e);
	DIR *dir = fdopendir(dup(fd));
	struct dirent *d;

	rewinddir(dir);
	while ((d = readdir(dir)) != NULL)
		add_entry(e, d->d_name, d->d_type);
	closedir(dir);
	return e;
}

/* ---- attributes ------------------------------------------------------------------------------ */

/* How many pauses of the list lie before. */
static unsigned pauses_before(const struct statx_timestamp *ts)
{
	unsigned n = 0;

	while (n < t.epochs &&
	       (ts->tv_sec > t.epoch[n].tv_sec ||
		(ts->tv_sec == t.epoch[n].tv_sec && ts->tv_nsec > t.epoch[n].tv_nsec)))
		n++;
	return n;
}

static bool in_this_list(const struct statx_timestamp *ts)
{
	return ts->tv_sec >= t.began.tv_sec - 1 && ts->tv_sec <= time(NULL) + 1;
}

/* What was set is the same to the nanosecond; what the clock gave lies between the same pauses. */
static void same_time(const char *name, const struct statx_timestamp *host,
		      const struct statx_timestamp *adit)
{
	if (host->tv_sec == adit->tv_sec && host->tv_nsec == adit->tv_nsec)
		return;
	if (!in_this_list(host) || !in_this_list(adit))
		differ("%s: host %lld.%09u, adit %lld.%09u", name, (long long)host->tv_sec,
		       host->tv_nsec, (long long)adit->tv_sec, adit->tv_nsec);
	if (pauses_before(host) != pauses_before(adit))
		differ("%s: host after %u pauses, adit after %u", name, pauses_before(host),
		       pauses_before(adit));
}

static bool is_whiteout(const struct statx *st)
{
	return S_ISCHR(st->stx_mode) && st->stx_rdev_major == 0 && st->stx_rdev_minor == 0;
}

static void same_attributes(const struct statx *host, const struct statx *adit)
{
	same(host->stx_mode, adit->stx_mode);
	same(host->stx_nlink, adit->stx_nlink);
	same(host->stx_uid, adit->stx_uid);
	/* XFS gives a whiteout the group of the directory that the other name goes to. */
	if (t.host->kind != HOST_XFS || !is_whiteout(host))
		same(host->stx_gid, adit->stx_gid);
	if (!S_ISDIR(host->stx_mode))
		same((long)host->stx_size, (long)adit->stx_size);
	same(host->stx_rdev_major, adit->stx_rdev_major);
	same(host->stx_rdev_minor, adit->stx_rdev_minor);
	if (!t.no_mtime)
		same_time("mtime", &host->stx_mtime, &adit->stx_mtime);
	if (!t.no_ctime)
		same_time("ctime", &host->stx_ctime, &adit->stx_ctime);
	same_time("atime", &host->stx_atime, &adit->stx_atime);
	same_time("btime", &host->stx_btime, &adit->stx_btime);
}

static bool is_listed(const char *list, long bytes, const char *name)
{
	for (const char *p = list; p < list + bytes; p += strlen(p) + 1)
		if (strcmp(p, name) == 0)
			return true;
	return false;
}

static void same_xattrs(const char *where)
{
	char host_name[WHERE_MAX + 100], adit_name[WHERE_MAX + 100], hl[4096], al[4096];
	long n, a;

	host_path(host_name, where);
	adit_path(adit_name, where);
	n = host_rc(llistxattr(host_name, hl, sizeof hl));
	a = adit_llistxattr(t.pool, adit_name, al, sizeof al);
	same(n, a);
	for (const char *p = hl; p < hl + n; p += strlen(p) + 1) {
		if (!is_listed(al, a, p))
			differ("attribute %s is missing", p);
		a = host_rc(lgetxattr(host_name, p, host_buf, sizeof host_buf));
		same(a, adit_lgetxattr(t.pool, adit_name, p, adit_buf, sizeof adit_buf));
		same_bytes(a);
		a = n;
	}
}

/* ---- contents -------------------------------------------------------------------------------- */

/* Linux's search wraps around in the last page that a file position reaches: then there is nothing more. */
long host_seek(int fd, off_t pos, int whence, off_t size)
{
	off_t at = lseek(fd, pos, whence);

	return at < -1 ? (long)size : host_rc(at);
}

/* The first data at or after pos, SIZE when there is none; `end`: where it ends. */
static off_t next_data(struct pair p, bool adit, off_t pos, off_t size, off_t *end)
{
	off_t data = adit ? adit_lseek(t.pool, p.adit, pos, SEEK_DATA)
			  : host_seek(p.host, pos, SEEK_DATA, size);

	*end = size;
	if (data == -ENXIO || data >= size)
		return size;
	if (data < pos)
		differ("%s finds data at %lld from %lld on", adit ? "adit" : "host",
		       (long long)data, (long long)pos);
	*end = adit ? adit_lseek(t.pool, p.adit, data, SEEK_HOLE)
		    : host_seek(p.host, data, SEEK_HOLE, size);
	if (*end <= data || *end > size)
		differ("%s finds the hole behind data at %lld at %lld", adit ? "adit" : "host",
		       (long long)data, (long long)*end);
	return data;
}

static bool host_has_zeros(struct pair p, off_t from, off_t to)
{
	static uint8_t buf[65536];

	while (from < to) {
		size_t want = to - from < (off_t)sizeof buf ? (size_t)(to - from) : sizeof buf;

		ssize_t n = pread(p.host, buf, want, from);

		/* Open for writing only: same_trees looks. */
		if (n < 0 && errno == EBADF)
			return true;
		if (n != (ssize_t)want)
			return false;
		for (size_t i = 0; i < want; i++)
			if (buf[i])
				return false;
		from += (off_t)want;
	}
	return true;
}

/* A file system may call zeros data, so the layouts need not be equal (lseek(2)). But where the host has
 * a hole of whole blocks Adit has one, and where Adit has a hole the host reads zeros. */
void same_layout(struct pair p, off_t size)
{
	off_t pos = 0, h, h_end, a, a_end, before = lseek(p.host, 0, SEEK_CUR);

	while (pos < size) {
		h = next_data(p, false, pos, size, &h_end);
		a = next_data(p, true, pos, size, &a_end);
		if (a < 4096 && a < (h & ~4095ll)) {
			/* A small file lives in its inode: all of it is data, and its block when it grows.
			 * */
			pos = 4096;
			continue;
		}
		if (a < (h & ~4095ll))
			differ("adit has data at %lld, the host a hole up to %lld", (long long)a,
			       (long long)h);
		if (h < a && !host_has_zeros(p, h, a < h_end ? a : h_end))
			differ("adit has a hole up to %lld, the host contents at %lld",
			       (long long)a, (long long)h);
		pos = h == a ? (h_end < a_end ? h_end : a_end) : (a < h_end ? a : h_end);
		/* Adit's data may begin in the block in which the host's begin. */
		if (a < h)
			pos = h;
	}
	lseek(p.host, before, SEEK_SET);
	same(before, adit_lseek(t.pool, p.adit, before, SEEK_SET));
}

static void same_range(struct pair p, off_t from, off_t to)
{
	while (from < to) {
		size_t want = to - from < FILE_MAX_BYTES ? (size_t)(to - from) : FILE_MAX_BYTES;
		long n = host_rc(pread(p.host, host_buf, want, from));

		same(n, adit_pread(t.pool, p.adit, adit_buf, want, from));
		same_bytes(n);
		if (n <= 0)
			differ("pread at %lld returned %ld", (long long)from, n);
		from += n;
	}
}

/* Small files are read from end to end, of others what either calls data. */
static void same_contents(struct pair p, off_t size)
{
	off_t pos = 0, h, h_end, a, a_end;

	same_layout(p, size);
	if (size <= 8 << 20) {
		same_range(p, 0, size);
		return;
	}
	while (pos < size) {
		h = next_data(p, false, pos, size, &h_end);
		a = next_data(p, true, pos, size, &a_end);
		pos = h < a ? h_end : a_end;
		same_range(p, h < a ? h : a, pos);
	}
}

/* ---- comparing ------------------------------------------------------------------------------- */

static void same_directory(struct pair dir, const char *where);

static struct pair open_both(struct pair dir, const char *name, int flags)
{
	struct pair p = {openat(dir.host, name, flags | O_NOFOLLOW), -1};

	p.adit = adit_openat(t.pool, dir.adit, name, flags | O_NOFOLLOW, 0);
	if (!same_made(p.host < 0 ? -errno : 0, p.adit))
		differ("cannot be opened");
	return p;
}

static void close_both(struct pair p)
{
	close(p.host);
	same(0, adit_close_fd(t.pool, p.adit));
}

static void same_entry(struct pair dir, const char *name, const char *where)
{
	const unsigned mask = STATX_BASIC_STATS | STATX_BTIME;
	struct statx host, adit;
	struct pair p;
	long n;

	describe("tree at %.2000s", where);
	if (statx(dir.host, name, AT_SYMLINK_NOFOLLOW, mask, &host))
		differ("statx: %s", strerror(errno));
	same(0, adit_statx(t.pool, dir.adit, name, AT_SYMLINK_NOFOLLOW, mask, &adit));
	same_attributes(&host, &adit);
	same_xattrs(where);
	if (S_ISREG(host.stx_mode)) {
		p = open_both(dir, name, O_RDONLY);
		same_contents(p, (off_t)host.stx_size);
		close_both(p);
	} else if (S_ISLNK(host.stx_mode)) {
		n = readlinkat(dir.host, name, (char *)host_buf, 4096);
		same(n, adit_readlinkat(t.pool, dir.adit, name, (char *)adit_buf, 4096));
		same_bytes(n);
	} else if (S_ISDIR(host.stx_mode)) {
		p = open_both(dir, name, O_RDONLY | O_DIRECTORY);
		same_directory(p, where);
		close_both(p);
	}
}

static void same_directory(struct pair dir, const char *where)
{
	struct entries *h = host_entries(dir.host), *a = adit_entries(dir.adit);
	char deeper[WHERE_MAX];
	unsigned k;

	describe("entries of %.2000s", where);
	same(h->n, a->n);
	for (unsigned i = 0; i < h->n; i++) {
		for (k = 0; k < a->n && strcmp(h->name[i], a->name[k]) != 0; k++) {
		}
		if (k == a->n)
			differ("%s is missing", h->name[i]);
		same(h->type[i], a->type[k]);
		if (snprintf(deeper, sizeof deeper, "%s/%s", where, h->name[i]) <
		    (int)sizeof deeper)
			same_entry(dir, h->name[i], deeper);
	}
	free_entries(h);
	free_entries(a);
}

void same_trees(void)
{
	struct pair root = open_both(t.root, ".", O_RDONLY | O_DIRECTORY);

	t.call = "tree";
	same_entry(root, ".", ".");
	close_both(root);
}

/* ---- making and removing --------------------------------------------------------------------- */

/* The same calls, of the host and of Adit. */
struct side {
	const char *name;
	int (*open)(int dir, const char *name);
	void (*close)(int fd);
	int (*remove)(int dir, const char *name, int flags); /* 0 or -errno */
	void (*clear_flags)(int fd);
	struct entries *(*list)(int fd);
};

static int host_open(int dir, const char *name)
{
	return openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
}

static void host_close(int fd)
{
	close(fd);
}

static int host_remove(int dir, const char *name, int flags)
{
	return (int)host_rc(unlinkat(dir, name, flags));
}

static void host_clear_flags(int fd)
{
	int flags = 0;

	if (ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)) {
		flags &= ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
		ioctl(fd, FS_IOC_SETFLAGS, &flags);
	}
}

static int adit_open_plainly(int dir, const char *name)
{
	return adit_openat(t.pool, dir, name, O_RDONLY | O_NOFOLLOW, 0);
}

static void adit_close_plainly(int fd)
{
	(void)adit_close_fd(t.pool, fd);
}

static int adit_remove(int dir, const char *name, int flags)
{
	return adit_unlinkat(t.pool, dir, name, flags);
}

static void adit_clear_flags(int fd)
{
	unsigned flags;

	if (adit_getflags(t.pool, fd, &flags) == 0 && flags & (ADIT_FL_IMMUTABLE | ADIT_FL_APPEND))
		(void)adit_setflags(t.pool, fd, flags & ~(ADIT_FL_IMMUTABLE | ADIT_FL_APPEND));
}

static const struct side host_side = {"host",	   host_open,	     host_close,
				      host_remove, host_clear_flags, host_entries};
static const struct side adit_side = {"adit",	   adit_open_plainly, adit_close_plainly,
				      adit_remove, adit_clear_flags,  adit_entries};

static void remove_one(const struct side *s, int dir, const char *name, bool is_dir);

static void empty_directory(const struct side *s, int fd)
{
	struct entries *e;

	s->clear_flags(fd);
	e = s->list(fd);
	for (unsigned i = 0; i < e->n; i++)
		remove_one(s, fd, e->name[i], e->type[i] == DT_DIR);
	free_entries(e);
}

static void remove_one(const struct side *s, int dir, const char *name, bool is_dir)
{
	int fd, err = is_dir ? -EISDIR : s->remove(dir, name, 0);

	if (err == 0)
		return;
	fd = s->open(dir, name);
	if (fd >= 0 && is_dir)
		empty_directory(s, fd);
	else if (fd >= 0)
		s->clear_flags(fd);
	if (fd >= 0)
		s->close(fd);
	err = s->remove(dir, name, is_dir ? AT_REMOVEDIR : 0);
	if (err) {
		fprintf(stderr, "same: %s: cannot remove \"%s\" after a list: %s\n", s->name, name,
			strerror(-err));
		abort();
	}
}

void make_trees(void)
{
	int err;

	snprintf(t.host_root, sizeof t.host_root, "%s/r", t.host->path);
	err = adit_mkdirat(t.pool, AT_FDCWD, "/r", 0755);
	if (err || mkdir(t.host_root, 0755) != 0)
		abort();
	t.root.host = open(t.host_root, O_RDONLY | O_DIRECTORY);
	t.root.adit = adit_openat(t.pool, AT_FDCWD, "/r", O_RDONLY | O_DIRECTORY, 0);
	if (t.root.host < 0 || t.root.adit < 0)
		abort();
}

void remove_trees(void)
{
	int top = open(t.host->path, O_RDONLY | O_DIRECTORY);

	close(t.root.host);
	adit_close_plainly(t.root.adit);
	remove_one(&host_side, top, "r", true);
	remove_one(&adit_side, AT_FDCWD, "/r", true);
	close(top);
}
