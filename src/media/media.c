/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * media.c - open a medium, find out what it is and how durable, map it. See media.h.
 *
 * The honest domain is the default (G8): MAP_SYNC that the kernel grants, or device DAX, is memory, and
 * cpu-cache where the region says that the platform flushes its caches at power failure; tmpfs, hugetlbfs,
 * ramfs and memfd are process; everything else is page cache, thus file.
 */
#include "media/media.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "media/flush.h"
#include "media/sigbus.h"
#include "media/sysfs.h"
#include "media/protect.h"

#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 0x03
#endif
#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif

static const struct {
	enum adit_domain domain;
	const char *name;
} domain_names[] = {
	{ADIT_DOMAIN_CPU_CACHE, "cpu-cache"}, {ADIT_DOMAIN_MEMORY, "memory"},
	{ADIT_DOMAIN_FILE, "file"},	      {ADIT_DOMAIN_PROCESS, "process"},
	{ADIT_DOMAIN_AUTO, "auto"},
};

#define DOMAIN_COUNT (sizeof domain_names / sizeof domain_names[0])

const char *adit__domain_name(enum adit_domain domain)
{
	for (size_t i = 0; i < DOMAIN_COUNT; i++) {
		if (domain_names[i].domain == domain)
			return domain_names[i].name;
	}
	return "unknown";
}

int adit__domain_parse(const char *name, enum adit_domain *out)
{
	for (size_t i = 0; i < DOMAIN_COUNT; i++) {
		if (strcmp(domain_names[i].name, name) == 0) {
			*out = domain_names[i].domain;
			return 0;
		}
	}
	return -EINVAL;
}

/* --- what is it -------------------------------------------------------------------------- */

static void set_kind(struct adit_media *m, const char *kind)
{
	snprintf(m->kind, sizeof m->kind, "%s", kind);
}

static bool is_memfd(int fd)
{
	char link[64], target[64];
	ssize_t n;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	n = readlink(link, target, sizeof target - 1);
	if (n < 0)
		return false;
	target[n] = '\0';
	return strncmp(target, "/memfd:", 7) == 0;
}

/* Kind, page size and the domain of what is on no DAX. */
static int classify_regular(struct adit_media *m)
{
	struct statfs sfs;

	if (fstatfs(m->fd, &sfs) != 0)
		return -errno;
	m->domain = ADIT_DOMAIN_PROCESS;
	switch ((unsigned long)sfs.f_type) {
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
		set_kind(m, is_memfd(m->fd) ? "memfd" : "tmpfs");
		break;
	case HUGETLBFS_MAGIC:
		set_kind(m, is_memfd(m->fd) ? "memfd" : "hugetlbfs");
		m->page_size = (size_t)sfs.f_bsize;
		break;
	default:
		set_kind(m, "file");
		m->domain = ADIT_DOMAIN_FILE;
	}
	return 0;
}

static int classify(struct adit_media *m, const struct stat *st)
{
	m->page_size = (size_t)sysconf(_SC_PAGESIZE);
	if (S_ISREG(st->st_mode))
		return classify_regular(m);
	if (S_ISBLK(st->st_mode)) {
		set_kind(m, "block");
		m->domain = ADIT_DOMAIN_FILE;
		return 0;
	}
	if (S_ISCHR(st->st_mode) && adit__sysfs_is_dax(st->st_rdev)) {
		uint64_t align = adit__sysfs_dax_align(st->st_rdev);

		set_kind(m, "devdax");
		m->is_device = true;
		m->domain = ADIT_DOMAIN_MEMORY;
		if (align >= m->page_size && (align & (align - 1)) == 0)
			m->page_size = (size_t)align;
		return 0;
	}
	return S_ISDIR(st->st_mode) ? -EISDIR : -EINVAL;
}

/* --- size -------------------------------------------------------------------------------- */

static int device_size(const struct adit_media *m, const struct stat *st, uint64_t *size_bytes)
{
	if (m->is_device) {
		*size_bytes = adit__sysfs_dax_size(st->st_rdev);
		return *size_bytes != 0 ? 0 : -EINVAL;
	}
	return ioctl(m->fd, BLKGETSIZE64, size_bytes) == 0 ? 0 : -errno;
}

static int set_file_size(struct adit_media *m, unsigned flags, uint64_t size_bytes)
{
	int rc;

	if (size_bytes == 0 || size_bytes > (uint64_t)INT64_MAX - m->page_size)
		return -EINVAL;
	if (m->page_size > 65536) /* hugetlbfs takes whole pages only */
		size_bytes = (size_bytes + m->page_size - 1) & ~((uint64_t)m->page_size - 1);
	if (ftruncate(m->fd, (off_t)size_bytes) != 0)
		return -errno;
	if (flags & ADIT_MEDIA_ALLOC) {
		rc = posix_fallocate(m->fd, 0, (off_t)size_bytes);
		if (rc != 0)
			return -rc;
	}
	return 0;
}

static int find_size(struct adit_media *m, const struct stat *st, unsigned flags,
		     uint64_t size_bytes)
{
	struct stat now;
	uint64_t have = 0;
	int rc;

	if (!S_ISREG(st->st_mode)) {
		rc = device_size(m, st, &have);
		if (rc != 0)
			return rc;
		if ((flags & ADIT_MEDIA_CREATE) && size_bytes > have)
			return -ENOSPC;
		m->pm.size_bytes =
			(flags & ADIT_MEDIA_CREATE) && size_bytes != 0 ? size_bytes : have;
	} else {
		if (flags & ADIT_MEDIA_CREATE) {
			rc = set_file_size(m, flags, size_bytes);
			if (rc != 0)
				return rc;
		}
		if (fstat(m->fd, &now) != 0)
			return -errno;
		m->pm.size_bytes = (uint64_t)now.st_size;
	}
	if (m->pm.size_bytes == 0 || m->pm.size_bytes > (uint64_t)SIZE_MAX - m->page_size)
		return -EINVAL;
	m->map_bytes = (m->pm.size_bytes + m->page_size - 1) & ~((uint64_t)m->page_size - 1);
	return 0;
}

/* --- mapping ----------------------------------------------------------------------------- */

/*
 * Reserve address space that begins at a multiple of `align_bytes`, so that huge pages fit. NULL: let the
 * kernel choose.
 */
static uint8_t *reserve(size_t len_bytes, size_t align_bytes)
{
	uint8_t *raw, *aligned;
	size_t raw_bytes, before;

	if (__builtin_add_overflow(len_bytes, align_bytes, &raw_bytes))
		return NULL;
	raw = mmap(NULL, raw_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (raw == MAP_FAILED)
		return NULL;
	aligned = (uint8_t *)(((uintptr_t)raw + align_bytes - 1) & ~(uintptr_t)(align_bytes - 1));
	before = (size_t)(aligned - raw);
	if (before > 0)
		munmap(raw, before);
	munmap(aligned + len_bytes, align_bytes - before); /* before < align_bytes */
	return aligned;
}

/* How much to reserve for a mapping of so many bytes, so that it can grow. */
static size_t wanted_room(const struct adit_media *m)
{
	const uint64_t least = (uint64_t)64 << 30, most = (uint64_t)16 << 40;
	uint64_t room = m->map_bytes < most / 16 ? m->map_bytes * 16 : most;
	struct rlimit limit;

	/* A device has its size, what is mapped privately does not change; and whoever counts address space has other
	 * plans for it. */
	if (m->is_device || m->read_only ||
	    (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY))
		return (size_t)m->map_bytes;
	if (room < least)
		room = least;
	if (room < m->map_bytes)
		room = m->map_bytes;
	return (size_t)((room + m->page_size - 1) & ~((uint64_t)m->page_size - 1));
}

/* Ever less, as long as it is refused, down to what is mapped now. */
static uint8_t *reserve_room(struct adit_media *m, size_t align)
{
	size_t len_bytes = (size_t)m->map_bytes, room = wanted_room(m);
	uint8_t *at = reserve(room, align);

	while (at == NULL && room > len_bytes) {
		room = room / 2 > len_bytes && room > (size_t)1 << 30 ? room / 2 : len_bytes;
		room = (room + m->page_size - 1) & ~(m->page_size - 1);
		at = reserve(room, align);
	}
	m->room_bytes = at != NULL ? room : len_bytes;
	return at;
}

/*
 * Would this mapping be granted? Asked with one page anywhere, because a MAP_FIXED that the file system
 * refuses may already have given the reserved addresses away.
 */
static int probe(const struct adit_media *m, int prot, int flags)
{
	void *p = mmap(NULL, m->page_size, prot, flags, m->fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, m->page_size);
	return 0;
}

static int map_medium(struct adit_media *m, bool try_sync)
{
	const size_t huge = (size_t)2 << 20, giant = (size_t)1 << 30;
	size_t len_bytes = (size_t)m->map_bytes;
	size_t align = len_bytes >= giant ? giant : huge;
	int prot = PROT_READ | PROT_WRITE;
	int flags = MAP_SHARED, rc;
	uint8_t *at;
	void *p;

	if (m->read_only && !m->is_device)
		prot = PROT_READ; /* what an O_RDONLY descriptor may ask of MAP_SHARED */
	if (try_sync && probe(m, prot, MAP_SHARED_VALIDATE | MAP_SYNC) == 0) {
		flags = MAP_SHARED_VALIDATE | MAP_SYNC;
	} else {
		rc = probe(m, prot, flags);
		if (rc != 0)
			return rc;
	}
	m->map_sync = flags & MAP_SYNC;
	/* Read-only: the engine still replays the log and keeps its volatile state in the
	 * mapping, so both go to private copies of the pages. */
	if (m->read_only && !m->is_device)
		flags = MAP_PRIVATE | MAP_NORESERVE;
	prot = PROT_READ | PROT_WRITE;
	if (align < m->page_size)
		align = m->page_size;
	at = reserve_room(m, align);
	p = mmap(at, len_bytes, prot, flags | (at != NULL ? MAP_FIXED : 0), m->fd, 0);
	if (p == MAP_FAILED) {
		rc = -errno;
		if (at != NULL)
			munmap(at, m->room_bytes);
		return rc;
	}
	m->pm.base = p;
	m->map_prot = prot;
	m->map_flags = flags;
	madvise(p, len_bytes, MADV_HUGEPAGE); /* advice: refused where it has no meaning */
	return 0;
}

/* --- growing ----------------------------------------------------------------------------- */

int adit__media_size(const struct adit_media *m, uint64_t *size_bytes)
{
	struct stat st;

	if (fstat(m->fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return device_size(m, &st, size_bytes);
	*size_bytes = (uint64_t)st.st_size;
	return 0;
}

int adit__media_grow(struct adit_media *m, uint64_t size_bytes, uint64_t *zero_from)
{
	struct stat st;
	uint64_t have = 0;
	int rc = adit__media_size(m, &have);

	if (rc != 0)
		return rc;
	if (fstat(m->fd, &st) != 0)
		return -errno;
	*zero_from = S_ISREG(st.st_mode) ? have : UINT64_MAX;
	if (!S_ISREG(st.st_mode) || size_bytes <= have)
		return size_bytes <= have ? 0 : -ENOSPC;
	rc = set_file_size(m, 0, size_bytes);
	/* The size that the pool relies on is durable before it is relied on. */
	if (rc == 0 && fsync(m->fd) != 0 && errno != EINVAL)
		rc = -errno;
	return rc;
}

int adit__media_extend(struct adit_media *m, uint64_t size_bytes)
{
	uint64_t have = m->map_bytes, want = (size_bytes + m->page_size - 1) & ~((uint64_t)m->page_size - 1);
	uint8_t *at = m->pm.base + have;
	int rc;

	if (size_bytes <= m->pm.size_bytes)
		return 0;
	if (want > m->room_bytes)
		return -ENOMEM;
	if (want > have) {
		if (mmap(at, (size_t)(want - have), m->map_prot, m->map_flags | MAP_FIXED, m->fd,
			 (off_t)have) == MAP_FAILED) {
			rc = -errno;
			/* It may have given the place away. */
			(void)mmap(at, (size_t)(want - have), PROT_NONE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
			return rc;
		}
		madvise(at, (size_t)(want - have), MADV_HUGEPAGE);
		__atomic_store_n(&m->map_bytes, want, __ATOMIC_RELEASE);
		rc = adit__protect(m, m->protection);
		if (rc != 0)
			return rc;
	}
	__atomic_store_n(&m->pm.size_bytes, size_bytes, __ATOMIC_RELEASE);
	return 0;
}

/* --- domain ------------------------------------------------------------------------------ */

static int assumed_domain(enum adit_domain told, enum adit_domain *out)
{
	const char *name;

	*out = told;
	if (told != ADIT_DOMAIN_AUTO)
		return 0;
	name = secure_getenv("ADIT_ASSUME");
	return name != NULL && name[0] != '\0' ? adit__domain_parse(name, out) : 0;
}

/* After mapping: what was granted decides. */
static int choose_domain(struct adit_media *m, const struct stat *st, enum adit_domain assume)
{
	const struct adit_flush_variant *const *variants;

	if (m->map_sync && !m->is_device) {
		set_kind(m, "fsdax");
		m->domain = ADIT_DOMAIN_MEMORY;
	}
	if (m->domain == ADIT_DOMAIN_MEMORY &&
	    adit__sysfs_caches_persist(m->is_device, m->is_device ? st->st_rdev : st->st_dev))
		m->domain = ADIT_DOMAIN_CPU_CACHE;
	if (assume != ADIT_DOMAIN_AUTO && assume != m->domain) {
		m->domain = assume;
		m->assumed = true;
	}

	adit__flush_variants(&variants);
	m->variant = variants[0];
	m->flush_name = "none";
	if (m->domain == ADIT_DOMAIN_MEMORY) {
		m->flush_name = m->variant->flush_name;
		if (strcmp(m->flush_name, "none") == 0)
			return -EOPNOTSUPP;
	}
	if (m->domain == ADIT_DOMAIN_FILE) {
		m->flush_name = "msync";
		return adit__notes_attach(m);
	}
	return 0;
}

/* --- open and close ---------------------------------------------------------------------- */

int adit__media_open_fd(struct adit_media *m, int fd, unsigned flags, uint64_t size_bytes,
			enum adit_domain assume)
{
	struct stat st;
	int rc;

	memset(m, 0, sizeof *m);
	m->fd = fd;
	m->read_only = flags & ADIT_MEDIA_RDONLY;
	rc = m->read_only && (flags & ADIT_MEDIA_CREATE) ? -EINVAL : 0;
	if (rc == 0)
		rc = assumed_domain(assume, &assume);
	if (rc == 0 && fstat(fd, &st) != 0)
		rc = -errno;
	if (rc == 0)
		rc = classify(m, &st);
	if (rc == 0)
		rc = find_size(m, &st, flags, size_bytes);
	if (rc == 0)
		rc = adit__sigbus_install();
	if (rc == 0)
		rc = map_medium(m, m->is_device || strcmp(m->kind, "file") == 0);
	if (rc != 0)
		goto fail;
	rc = choose_domain(m, &st, assume);
	if (rc != 0)
		goto fail;
	m->pm.ops = adit__flush_ops(m->domain);
	m->pm.priv = m;
	return 0;
fail:
	if (m->pm.base != NULL)
		munmap(m->pm.base, m->room_bytes);
	memset(m, 0, sizeof *m);
	m->fd = -1;
	return rc;
}

int adit__media_open(struct adit_media *m, const char *path, unsigned flags, uint64_t size_bytes,
		     enum adit_domain assume)
{
	int oflags = O_CLOEXEC | (flags & ADIT_MEDIA_RDONLY ? O_RDONLY : O_RDWR);
	bool made = false;
	int fd, rc;

	memset(m, 0, sizeof *m);
	m->fd = -1;
	if (flags & ADIT_MEDIA_CREATE) {
		fd = open(path, oflags | O_CREAT | O_EXCL, 0600);
		made = fd >= 0;
		if (fd < 0 && (errno != EEXIST || (flags & ADIT_MEDIA_EXCL)))
			return -errno;
		if (fd < 0)
			fd = open(path, oflags | O_CREAT, 0600);
	} else {
		struct stat st;

		/* A device has no private mappings: see ADIT_MEDIA_RDONLY. */
		if (stat(path, &st) == 0 && S_ISCHR(st.st_mode))
			oflags = O_CLOEXEC | O_RDWR;
		fd = open(path, oflags);
	}
	if (fd < 0)
		return -errno;
	rc = adit__media_open_fd(m, fd, flags, size_bytes, assume);
	if (rc != 0) {
		close(fd);
		if (made)
			unlink(path);
	}
	return rc;
}

void adit__media_close(struct adit_media *m)
{
	if (m->pm.base != NULL)
		munmap(m->pm.base, m->room_bytes);
	adit__notes_detach(m);
	if (m->fd >= 0 && m->pm.ops != NULL)
		close(m->fd);
	memset(m, 0, sizeof *m);
	m->fd = -1;
}

int adit__media_reopen(const struct adit_media *m)
{
	char path[64];
	int fd;

	snprintf(path, sizeof path, "/proc/self/fd/%d", m->fd);
	fd = open(path, (m->read_only && !m->is_device ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	return fd >= 0 ? fd : -errno;
}

/* --- locks ------------------------------------------------------------------------------- */

static int lock_command(int fd, int command, short type, uint64_t offset, uint64_t len_bytes,
			struct flock *lock)
{
	if (offset > INT64_MAX || len_bytes > INT64_MAX)
		return -EINVAL;
	*lock = (struct flock){
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)offset,
		.l_len = (off_t)len_bytes,
	};
	if (fcntl(fd, command, lock) != 0)
		return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
	return 0;
}

int adit__fd_lock(int fd, bool exclusive, uint64_t offset, uint64_t len_bytes)
{
	struct flock lock;

	return lock_command(fd, F_OFD_SETLK, exclusive ? F_WRLCK : F_RDLCK, offset, len_bytes,
			    &lock);
}

int adit__fd_unlock(int fd, uint64_t offset, uint64_t len_bytes)
{
	struct flock lock;

	return lock_command(fd, F_OFD_SETLK, F_UNLCK, offset, len_bytes, &lock);
}

int adit__fd_lock_probe(int fd, bool exclusive, uint64_t offset, uint64_t len_bytes)
{
	struct flock lock;
	int rc = lock_command(fd, F_OFD_GETLK, exclusive ? F_WRLCK : F_RDLCK, offset, len_bytes,
			      &lock);

	if (rc != 0)
		return rc;
	return lock.l_type == F_UNLCK ? 0 : -EBUSY;
}

int adit__media_lock(struct adit_media *m, bool exclusive, uint64_t offset, uint64_t len_bytes)
{
	return adit__fd_lock(m->fd, exclusive, offset, len_bytes);
}

int adit__media_unlock(struct adit_media *m, uint64_t offset, uint64_t len_bytes)
{
	return adit__fd_unlock(m->fd, offset, len_bytes);
}

int adit__media_lock_probe(struct adit_media *m, bool exclusive, uint64_t offset,
			   uint64_t len_bytes)
{
	return adit__fd_lock_probe(m->fd, exclusive, offset, len_bytes);
}

/* --- the rest ---------------------------------------------------------------------------- */

int adit__media_direct_access(struct adit_media *m, uint64_t offset, uint64_t len_bytes,
			      void **addr, uint64_t *contiguous)
{
	uint64_t left, size_bytes = __atomic_load_n(&m->pm.size_bytes, __ATOMIC_ACQUIRE);

	if (offset >= size_bytes)
		return -ERANGE;
	left = size_bytes - offset;
	*addr = m->pm.base + offset;
	*contiguous = len_bytes < left ? len_bytes : left;
	return 0;
}

int adit__media_error(struct adit_media *m)
{
	return adit__notes_error(m);
}

int adit__media_bad_ranges(struct adit_media *m, struct adit_bad_range *out, size_t max)
{
	struct stat st;

	if (fstat(m->fd, &st) != 0)
		return -errno;
	if (m->is_device)
		return adit__sysfs_bad_dax(st.st_rdev, m->pm.size_bytes, out, max);
	if (S_ISREG(st.st_mode) && m->map_sync)
		return adit__sysfs_bad_file(m->fd, st.st_dev, m->pm.size_bytes, out, max);
	return 0;
}
