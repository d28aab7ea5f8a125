/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * adit.h - Adit's public C interface: a file system in persistent memory, used as a library.
 *
 * Caveats first
 *
 *  - Errors. Every function returns what the system call of that name returns, or a negative errno
 *    value (-ENOENT); errno itself is not touched. Out-parameters are untouched on failure, unless
 *    said otherwise. Besides what the man page of the call lists, any call may return
 *	-EIO	   the medium failed (a poisoned line, a pool file cut short under us) or, after such
 *		   a fault in the middle of a change, the pool must be closed and opened again
 *	-EUCLEAN   a structure of the pool is damaged; one line that says which, where and why went
 *	-EBADMSG   to the report callback (EBADMSG: its checksum is wrong)
 *	-EROFS	   the pool is open for reading only (calls that change it)
 *	-ENOMEM	   memory (RAM) ran out
 *	-EFAULT	   is not returned: a bad pointer kills the caller, as in any library
 *  - Durability. When a call that changes the pool returns success the change is durable, as far as
 *    the medium's persistence domain carries (adit_info tells; design: "process" survives the death
 *    of processes, not of power). No fsync is needed. A call either happened or did not, whatever
 *    happens in the middle; only an overwrite in place may be torn, at 8-byte granularity, unless
 *    it is atomic (RWF_ATOMIC, ADIT_FL_ATOMIC, ADIT_OPEN_ATOMIC).
 *  - Trust. Whoever can open the pool may do everything in it. Modes, owners and ACLs are kept but
 *    not enforced; adit_faccessat answers existence (and the execute bit) as for root. The immutable
 *    and append-only flags are obeyed. A mount (FUSE) is the place where permissions are enforced.
 *  - Threads. Every function may be called from any thread at any time, adit_close excepted: no other
 *    call on that pool may be under way or begin. Calls on different files and directories do not
 *    wait for each other.
 *  - Processes. Any number of processes (1,024 from a pool of 1 GiB on, 512 from 64 MiB on, else 64; a
 *    process that opens twice counts twice) have a pool open for writing and work on it as threads do. A
 *    process may die at any moment: whoever waits for what it held looks after that, within some tens of
 *    milliseconds. Who opens for reading only does so while nobody writes, and the other way round
 *    (-EBUSY otherwise).
 *  - fork(2). The child has every pool that the parent has open, as a process of its own, with the descriptors that
 *    were open; offsets and file status flags are shared from then on. It need not call anything, and should call
 *    adit_close before it ends, as everybody (else it counts as having died). If it cannot have the pool (no place
 *    is left, memory ran out, a pool that is too small to be shared), its calls return -EIO; the parent's go on. Not from
 *    within the report callback or a signal handler. vfork, posix_spawn and clone(2) make no such child: it must not
 *    touch the pool; and one that shares neither memory with the parent nor has called execve keeps the parent's
 *    death from being noticed.
 *  - execve(2). The new program has neither the pools nor their descriptors: to the others, the process has died.
 *  - Descriptors belong to a pool handle; they are not file descriptors of the process. The lowest
 *    free number is taken, from 0. They are gone after adit_close.
 *  - Paths. AT_FDCWD, absolute paths and absolute symbolic links start at the pool's root, and ".." at
 *    the root stays there. Names are bytes: anything but '/' and NUL, up to 255.
 *  - New files belong to the effective user and group the process had at adit_open; a directory with
 *    the set-group-ID bit hands its group down. The umask is the pool handle's (adit_umask).
 *  - Times. atime changes only by adit_utimensat and the like (as with the noatime mount option).
 *    Time stamps have nanoseconds and the granularity of CLOCK_REALTIME_COARSE.
 *  - SIGBUS. adit_open installs a handler for it, to turn media errors into -EIO; faults elsewhere go
 *    to the handler that was there before. A program that sets its own handler afterwards should chain.
 */
#ifndef ADIT_ADIT_H
#define ADIT_ADIT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct iovec;	 /* <sys/uio.h> */
struct stat;	 /* <sys/stat.h> */
struct statfs;	 /* <sys/vfs.h> */
struct flock;	 /* <fcntl.h> */
struct statx;	 /* <sys/stat.h> with _GNU_SOURCE, or <linux/stat.h> */
struct timespec; /* <time.h> */

struct adit_pool; /* an open pool */

/* f_type of adit_statfs: "ADIT". */
#define ADIT_STATFS_MAGIC 0x54494441

/* ---- pools ----------------------------------------------------------------------------------- */

/* Persistence domains: what survives when a flush and a fence are done. AUTO finds out. */
#define ADIT_ASSUME_AUTO 0
#define ADIT_ASSUME_CPU_CACHE 1 /* power failure, without flushing (eADR, CXL GPF) */
#define ADIT_ASSUME_MEMORY 2	/* power failure, lines flushed (ADR) */
#define ADIT_ASSUME_FILE 3	/* power failure, by msync of the page cache */
#define ADIT_ASSUME_PROCESS 4	/* the death of processes only */

/* One line without newline: which structure, where, why. Called from any thread. */
typedef void (*adit_report_fn)(void *ctx, const char *line);

/* All zero is a good default, except for a regular file's size_bytes. */
struct adit_mkfs_options {
	uint64_t size_bytes;  /* of the pool; 0: the file's or device's present size */
	const char *label;    /* up to 63 bytes; NULL: none */
	const uint8_t *uuid;  /* 16 bytes; NULL: random */
	int force;	      /* overwrite a pool, a file system or other contents */
	int assume;	      /* ADIT_ASSUME_* */
	uint32_t lanes;	      /* 0: by size; at most 256 */
	uint64_t group_bytes; /* allocation group; power of two, 2 MiB to 1 GiB; 0: by size */
	adit_report_fn report; /* NULL: lines go to stderr */
	void *report_ctx;
	uint64_t reserved[4]; /* zero */
};

/*
 * Make an empty pool in a regular file (created, mode 0666 & ~umask, sparse), a device-DAX character
 * device or an open descriptor (a memfd, ...). The descriptor stays the caller's.
 *
 * Durable on return. A failure leaves no pool: a file that was made is removed again, one that was
 * there (force) no longer holds a pool.
 *
 * -EEXIST	there is a pool, another file system, or a regular file with contents: see force
 * -EINVAL	size not given, or below 4 MiB; label too long; lanes or group_bytes out of range
 * -ENOSPC	the device is smaller than size_bytes; the file system is full
 * -EBUSY	somebody has the pool open
 */
int adit_mkfs(const char *path, const struct adit_mkfs_options *options);
int adit_mkfs_fd(int fd, const struct adit_mkfs_options *options);

#define ADIT_OPEN_RDONLY 1u	 /* change nothing */
#define ADIT_OPEN_NO_RECOVERY 2u /* with RDONLY: do not even look at the log (what a crash left) */
#define ADIT_OPEN_ATOMIC 4u	 /* every write as if with RWF_ATOMIC */

/*
 * Stray stores. The pool is mapped into the program, so a wild pointer can change it without any call. With
 * protection, such a store gets SIGSEGV instead:
 *
 *  - KEYS (pkeys(7)): a thread can store to the pool only inside its own calls. A call that changes something
 *    costs some tens of nanoseconds more, one that only looks next to nothing. Takes one of the process's
 *    fifteen keys, for all pools, until it exits.
 *  - MPROTECT: for CPUs without keys. The mapping is writable while any thread's call is under way, for all of
 *    them; two mprotect(2) a call, which cost microseconds to milliseconds, the more pages of the pool are in use.
 *
 * Not kept away: what the program lets a call store (a read into memory of the pool), writes through
 * /proc/self/mem and by other processes, stray stores in the report callback. With keys, pointers of
 * adit_direct_access can be read by a thread that was there before the pool was opened, and by a signal handler,
 * after a call of its own.
 */
#define ADIT_PROTECT_DEFAULT 0 /* what the environment variable ADIT_PROTECT says: off, keys, mprotect; else off */
#define ADIT_PROTECT_OFF 1
#define ADIT_PROTECT_KEYS 2
#define ADIT_PROTECT_MPROTECT 3

struct adit_open_options {
	unsigned flags;	       /* ADIT_OPEN_* */
	int assume;	       /* ADIT_ASSUME_* */
	adit_report_fn report; /* NULL: lines go to stderr */
	void *report_ctx;
	int protect;	      /* ADIT_PROTECT_* */
	int reserved0;	      /* zero */
	uint64_t reserved[3]; /* zero */
};

/*
 * Open a pool. A pool that was not closed (a crash) is recovered first; that takes milliseconds
 * whatever the pool's size. options may be NULL. *out is set on success only.
 *
 * adit_open_fd takes an open descriptor instead (a memfd, ...) and opens it anew for itself, with its
 * own locks; the caller's stays the caller's.
 *
 * While another process opens, closes or repairs the pool, this one waits.
 *
 * -EBUSY	fsck or mkfs works on it; open for writing elsewhere and RDONLY asked for, or for reading
 *		only elsewhere; owned by a kernel; another process has been opening it for a minute
 * -EMFILE	as many processes as can have it open
 * -EMEDIUMTYPE	this is no Adit pool
 * -EUCLEAN	both superblocks, or another structure without which nothing works, are damaged
 * -EOPNOTSUPP	a version or an incompatible feature that this library does not know (reported by name)
 * -EROFS	a read-only-compatible feature that it does not know, and RDONLY was not asked for;
 *		or the file is not writable and recovery is needed
 * -EOPNOTSUPP	also: protection by keys was asked for, and the CPU or the kernel has none (reported)
 * -ENOSPC	the same, and the program uses all keys itself
 * -EINVAL	unknown flags or protection
 */
int adit_open(const char *path, const struct adit_open_options *options, struct adit_pool **out);
int adit_open_fd(int fd, const struct adit_open_options *options, struct adit_pool **out);

/*
 * Close: descriptors that are still open are closed (unlinked files among them are freed), the log is
 * emptied, the pool marked clean, the handle freed, whatever is returned. NULL is fine.
 * Returns 0, or -EIO: the medium reported errors and what was written last may not be durable.
 */
int adit_close(struct adit_pool *pool);

struct adit_pool_info {
	uint8_t uuid[16];
	char label[72];		   /* NUL-terminated */
	uint64_t size_bytes;	   /* that the pool spans */
	uint64_t block_bytes;	   /* 4096 */
	uint64_t blocks;	   /* size_bytes / block_bytes */
	uint64_t free_blocks;
	uint64_t inodes_used;	   /* files of all kinds, the root included */
	uint64_t group_bytes;
	uint64_t groups;
	uint64_t lanes;
	uint64_t lane_bytes;	   /* of one lane's ring */
	uint64_t incarnation;	   /* times the pool has been opened for writing */
	int64_t created_ns;	   /* since 1970 */
	uint64_t checkpoints;	   /* since it was opened */
	uint64_t compat, ro_compat, incompat; /* feature bits */
	uint32_t version;	   /* of the format */
	uint32_t was_clean;	   /* 0: the last user crashed; this opener recovered it */
	uint32_t read_only;
	uint32_t failed;	   /* a media fault in the middle of a change: close and open again */
	int domain;		   /* ADIT_ASSUME_*, never AUTO */
	int domain_assumed;	   /* it was told, not found out */
	char domain_name[16];	   /* "cpu-cache" "memory" "file" "process" */
	char flush_name[24];	   /* "clwb" "clflushopt" "clflush" "msync" "none" "dc cvap" ... */
	char medium[32];	   /* "tmpfs" "hugetlbfs" "memfd" "fsdax" "devdax" "file" */
	int map_sync;		   /* mapped with MAP_SYNC */
	uint64_t page_bytes;	   /* smallest page of the mapping */
	uint64_t open_files;	   /* descriptors in use */
	int protection;		   /* ADIT_PROTECT_*, never DEFAULT */
	int keys_supported;	   /* could it be KEYS here? */
	uint64_t reserved[7];
};
int adit_info(struct adit_pool *pool, struct adit_pool_info *out);

/*
 * Make the pool size_bytes large (0: as large as its file or device is now) while this and other processes work on
 * it; all see the space with their next call, without reopening. It never shrinks. A file is extended, with a hole; a
 * device has its size, which a pool can fill up. The size may end a little below what was asked for, where the rest
 * would hold metadata only: see adit_info. The groups, the log, and how many processes may have the pool open stay as
 * mkfs chose them for its first size.
 *
 * Durable on return, and all or nothing: after a crash at any moment the pool has the old size or the new one, with
 * every free block counted. Everybody's calls wait while the size changes (milliseconds), and the change waits for the
 * calls that are running. Nothing is moved: addresses stay. Not while a call of the same thread runs (a callback).
 *
 * Each process maps the pool at one place, and reserves address space behind it when it opens the pool: sixteen times
 * the file's size then, at least 64 GiB, at most 16 TiB; none where RLIMIT_AS is set. A pool does not outgrow that while
 * the process has it open.
 *
 * The line given to the report function says more.
 * -EINVAL	smaller than it is; or what is added would hold metadata only
 * -EFBIG	above 4 PiB, or more than the file system can do
 * -ENOSPC	the device is smaller; the file system has no room for the new metadata
 * -ENOMEM	a process that has the pool open has not enough address space reserved
 * -EBUSY	fsck works on it; or a call of somebody has not come to an end for a minute
 * -EUCLEAN	fsck has to look at it first
 * -EROFS	opened with RDONLY
 * -EOPNOTSUPP	a pool of a version that let one process in only
 * -EIO		the pool has stopped (adit_info: failed)
 */
int adit_grow(struct adit_pool *pool, uint64_t size_bytes);

/*
 * The address of the pool's byte `offset`, and how many bytes from there are contiguous: may be less
 * than len_bytes, never more. For looking, not for storing: what lies there is the pool's format.
 * Valid until adit_close. -ERANGE: beyond the end.
 */
int adit_direct_access(struct adit_pool *pool, uint64_t offset, uint64_t len_bytes, void **addr,
		       uint64_t *contiguous);

/* ---- statistics ------------------------------------------------------------------------------ */

/*
 * Kinds of call that are counted.  What is refused before it reaches the pool (a bad descriptor or argument, nothing
 * to be read) is not counted; adit_stats_name(kind) is the name in words, NULL for a number that is no kind.
 */
#define ADIT_CALL_READ 0  /* read, readv, pread, preadv, preadv2 */
#define ADIT_CALL_WRITE 1 /* likewise */
#define ADIT_CALL_GETATTR 2 /* stat, lstat, fstat, statx, access, statfs, getflags, name_to_handle_at */
#define ADIT_CALL_OPEN 3  /* openat, creat, open_by_handle_at */
#define ADIT_CALL_CLOSE 4 /* open files closed: with their last descriptor */
#define ADIT_CALL_CREATE 5 /* files made, by openat or mknod; openat counts as open too */
#define ADIT_CALL_MKDIR 6
#define ADIT_CALL_SYMLINK 7
#define ADIT_CALL_LINK 8
#define ADIT_CALL_UNLINK 9
#define ADIT_CALL_RMDIR 10
#define ADIT_CALL_RENAME 11
#define ADIT_CALL_READLINK 12
#define ADIT_CALL_SETATTR 13 /* chmod, chown, times, setflags */
#define ADIT_CALL_TRUNCATE 14
#define ADIT_CALL_FALLOCATE 15
#define ADIT_CALL_SEEK 16
#define ADIT_CALL_COPY 17 /* copy_file_range; its bytes count as read and as written */
#define ADIT_CALL_READDIR 18 /* getdents */
#define ADIT_CALL_GETXATTR 19
#define ADIT_CALL_SETXATTR 20
#define ADIT_CALL_LISTXATTR 21
#define ADIT_CALL_REMOVEXATTR 22
#define ADIT_CALL_FSYNC 23 /* fsync, fdatasync, syncfs, sync_file_range */
#define ADIT_CALL_KINDS 24
const char *adit_stats_name(unsigned kind);

/*
 * What has happened in the pool since the incarnation began, that is, since the first of those who have it open opened
 * it: in all processes, those included that have closed it or died (but for what they were in the middle of).  These
 * numbers never go down while the incarnation stays the same.  They are read one by one while others go on: they are
 * exact when nobody works, and a moment apart from each other otherwise.
 *
 * A handle that is open for reading only counts for itself, and knows nothing of others.
 */
struct adit_pool_stats {
	uint64_t incarnation;
	uint64_t calls[32];	 /* by kind, those included that failed */
	uint64_t failed[32];	 /* of them, those that ended in an error other than a media fault */
	uint64_t bytes_read;
	uint64_t bytes_written;	 /* by write calls, not by the log */
	uint64_t records;	 /* committed to the log */
	uint64_t record_bytes;
	uint64_t checkpoints;
	uint64_t flushed_lines;	 /* of 64 bytes, given to the medium's write-back */
	uint64_t streamed_lines; /* written around the caches, or stored and written back at once */
	uint64_t streamed_bytes;
	uint64_t fences;
	uint64_t lock_waits;	 /* that had to sleep */
	uint64_t lock_wait_ns;	 /* how long, all together */
	uint64_t repairs;	 /* after the death of a process */
	uint64_t no_space;	 /* calls that ended in ENOSPC */
	uint64_t media_errors;	 /* calls that a media fault ended */
	/* At this moment: */
	uint64_t blocks;	 /* of 4096 bytes, that the pool has */
	uint64_t free_blocks;	 /* what statfs calls free: those below are in it */
	uint64_t quarantined_blocks; /* free from the next checkpoint on, or reserved by running calls */
	uint64_t lent_blocks;	 /* lent to shared tables in memory, until everybody has closed the pool */
	uint64_t participants;	 /* who have the pool open for writing, those included whose death nobody has noticed */
	uint64_t running, waiting; /* calls */
	uint64_t uncounted;	 /* 1: there was no room, and some process counts some threads for itself only */
	uint64_t reserved[16];
};
/*
 * Returns 0, or -EIO, -EUCLEAN: the counters cannot be read.  Adds up one 64-byte line for each eight counters of each
 * thread that has ever worked at the same time as others: microseconds.  May be called at any time.
 */
int adit_stats(struct adit_pool *pool, struct adit_pool_stats *out);

/* ---- descriptors ----------------------------------------------------------------------------- */

/*
 * openat(2). Flags: O_RDONLY O_WRONLY O_RDWR O_CREAT O_EXCL O_TRUNC O_APPEND O_DIRECTORY O_NOFOLLOW
 * O_PATH O_TMPFILE. Accepted without effect: O_CLOEXEC O_LARGEFILE O_NOCTTY O_NONBLOCK O_DIRECT
 * O_NOATIME O_SYNC O_DSYNC (everything is durable on return already).
 * Device nodes, FIFOs and sockets can be opened with O_PATH only, else -ENXIO.
 * A file that is unlinked stays until its last descriptor is closed; after a crash it is freed by
 * the next opener. -EMFILE: 2^20 descriptors are open.
 */
int adit_openat(struct adit_pool *pool, int dirfd, const char *path, int flags, mode_t mode);
int adit_creat(struct adit_pool *pool, const char *path, mode_t mode);
/* close(2). The descriptor is free afterwards whatever is returned; freeing an unlinked file may fail. */
int adit_close_fd(struct adit_pool *pool, int fd);
/* A second descriptor for the same open file: position and flags are shared. */
int adit_dup(struct adit_pool *pool, int fd);
int adit_dup2(struct adit_pool *pool, int fd, int new_fd);
/* F_GETFL, F_SETFL (O_APPEND; others are ignored), F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD; and the commands of
 * adit_fcntl_lock, with the pointer in arg. */
int adit_fcntl(struct adit_pool *pool, int fd, int command, long arg);

/* ---- advisory locks -------------------------------------------------------------------------- */

/*
 * Between threads and processes that have the pool open, as flock(2) and fcntl(2) have them on Linux. A lock is
 * gone when its owner is: closed, or dead, which whoever waits finds out within 100 ms. None is left after a crash.
 *
 * adit_flock: LOCK_SH, LOCK_EX, LOCK_UN, LOCK_NB. The owner is the open file (adit_openat), shared by duplicates. A
 * conversion gives up the old lock first.
 *
 * adit_fcntl_lock: F_SETLK, F_SETLKW and F_GETLK, whose owner is the process: closing any descriptor of the file
 * drops all that it has there; a process that opens the pool twice is two. F_OFD_SETLK, F_OFD_SETLKW, F_OFD_GETLK:
 * the owner is the open file. A child of fork(2) has the locks of open files, too, until both have closed them, and none
 * of the process's. l_pid is the holder's process in its own namespace, or -1 for open files.
 * struct flock has 64-bit offsets (-D_FILE_OFFSET_BITS=64 on 32-bit systems).
 *
 * Locks of adit_flock and of adit_fcntl_lock do not see each other. They say nothing about reading and writing.
 *
 * A signal that comes while a thread waits is handled up to 40 ms later, and ends the wait with -EINTR unless its
 * handler has SA_RESTART. Closing the descriptor in another thread ends it with -EBADF. A lock that is given up
 * goes to somebody who waits for it, ahead of whoever asks later and would wait; who does not wait (F_SETLK,
 * LOCK_NB) may be quicker.
 *
 * -EAGAIN	somebody else has a lock that conflicts, and it is not to wait
 * -EDEADLK	F_SETLKW: processes would wait for each other (for up to 100 of them; not for open files)
 * -ENOLCK	no free block in the pool for the table (nothing has changed); or the pool is open for reading only:
 *		then locks cannot be had, nor asked about, and unlocking does nothing
 * -EBADF	not open for reading (F_RDLCK) or writing (F_WRLCK); O_PATH
 * -EINVAL	-EOVERFLOW as in the man pages
 */
int adit_flock(struct adit_pool *pool, int fd, int operation);
int adit_fcntl_lock(struct adit_pool *pool, int fd, int command, struct flock *lock);

/* ---- reading and writing --------------------------------------------------------------------- */

/*
 * As read(2), readv(2), pread(2), preadv(2) and preadv2(2). A read sees a concurrent write of one call
 * whole or not at all, as POSIX has it. At most 0x7ffff000 bytes a call. preadv2 and pwritev2 take
 * offset -1 as "at the position".
 */
ssize_t adit_read(struct adit_pool *pool, int fd, void *buf, size_t bytes);
ssize_t adit_readv(struct adit_pool *pool, int fd, const struct iovec *iov, int iovcnt);
ssize_t adit_pread(struct adit_pool *pool, int fd, void *buf, size_t bytes, off_t offset);
ssize_t adit_preadv(struct adit_pool *pool, int fd, const struct iovec *iov, int iovcnt, off_t offset);
ssize_t adit_preadv2(struct adit_pool *pool, int fd, const struct iovec *iov, int iovcnt, off_t offset,
		     int flags);
/*
 * The writing ones write all or fail: a short count happens only at the limit above. What extends the
 * file or fills holes is all-or-nothing at any size. -ENOSPC: nothing was written. -EFBIG.
 *
 * Flags of pwritev2: RWF_ATOMIC (0x40) makes this write all-or-nothing at any offset and any size, in
 * place data included, for crashes and for readers; RWF_APPEND (0x10) writes at the end; RWF_DSYNC,
 * RWF_SYNC, RWF_HIPRI change nothing; RWF_NOAPPEND (0x20) undoes O_APPEND for this call. Others:
 * -EOPNOTSUPP, RWF_NOWAIT among them. As on Linux, a pwrite to an O_APPEND descriptor appends.
 */
ssize_t adit_write(struct adit_pool *pool, int fd, const void *buf, size_t bytes);
ssize_t adit_writev(struct adit_pool *pool, int fd, const struct iovec *iov, int iovcnt);
ssize_t adit_pwrite(struct adit_pool *pool, int fd, const void *buf, size_t bytes, off_t offset);
ssize_t adit_pwritev(struct adit_pool *pool, int fd, const struct iovec *iov, int iovcnt,
		     off_t offset);
ssize_t adit_pwritev2(struct adit_pool *pool, int fd, const struct iovec *iov, int iovcnt,
		      off_t offset, int flags);

/* lseek(2), with SEEK_DATA and SEEK_HOLE. In a directory the position is the cookie (d_off) of an
 * entry: SEEK_SET to one that getdents gave, or to 0. */
off_t adit_lseek(struct adit_pool *pool, int fd, off_t offset, int whence);
int adit_truncate(struct adit_pool *pool, const char *path, off_t length);
int adit_ftruncate(struct adit_pool *pool, int fd, off_t length);
/* All modes of fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE, COLLAPSE_RANGE, INSERT_RANGE,
 * UNSHARE_RANGE. Collapse and insert: multiples of 4096 bytes. */
int adit_fallocate(struct adit_pool *pool, int fd, int mode, off_t offset, off_t length);
/*
 * Copy a range inside the pool; NULL offsets use and move the descriptors' positions. Each piece of up
 * to 1 MiB is durable and all-or-nothing by itself. -EINVAL: overlap within one file.
 */
ssize_t adit_copy_file_range(struct adit_pool *pool, int fd_in, off_t *offset_in, int fd_out,
			     off_t *offset_out, size_t bytes, unsigned flags);

/*
 * Nothing is left to be done for durability by these: they report errors of the medium (-EIO, a
 * failed msync in the "file" domain), once it has happened, for good.
 */
int adit_fsync(struct adit_pool *pool, int fd);
int adit_fdatasync(struct adit_pool *pool, int fd);
int adit_sync_file_range(struct adit_pool *pool, int fd, off_t offset, off_t bytes, unsigned flags);
int adit_syncfs(struct adit_pool *pool, int fd);

/* ---- attributes ------------------------------------------------------------------------------ */

/* st_dev is made from the pool's UUID: the same in every process. Inode numbers are never 0 and are
 * used again after a file is gone; adit_name_to_handle_at gives the generation too. */
int adit_stat(struct adit_pool *pool, const char *path, struct stat *out);
int adit_lstat(struct adit_pool *pool, const char *path, struct stat *out);
int adit_fstat(struct adit_pool *pool, int fd, struct stat *out);
int adit_fstatat(struct adit_pool *pool, int dirfd, const char *path, struct stat *out, int flags);
int adit_statx(struct adit_pool *pool, int dirfd, const char *path, int flags, unsigned mask,
	       struct statx *out);
int adit_statfs(struct adit_pool *pool, const char *path, struct statfs *out);
int adit_fstatfs(struct adit_pool *pool, int fd, struct statfs *out);

int adit_chmod(struct adit_pool *pool, const char *path, mode_t mode);
int adit_fchmod(struct adit_pool *pool, int fd, mode_t mode);
/* AT_SYMLINK_NOFOLLOW on a symbolic link: -EOPNOTSUPP. AT_EMPTY_PATH is known. */
int adit_fchmodat(struct adit_pool *pool, int dirfd, const char *path, mode_t mode, int flags);
/* (uid_t)-1 and (gid_t)-1 leave alone. As for root: set-ID bits are cleared on regular files. */
int adit_chown(struct adit_pool *pool, const char *path, uid_t uid, gid_t gid);
int adit_lchown(struct adit_pool *pool, const char *path, uid_t uid, gid_t gid);
int adit_fchown(struct adit_pool *pool, int fd, uid_t uid, gid_t gid);
int adit_fchownat(struct adit_pool *pool, int dirfd, const char *path, uid_t uid, gid_t gid, int flags);
/* times: two, atime and mtime; NULL: both now; UTIME_NOW, UTIME_OMIT. A NULL path: dirfd itself. */
int adit_utimensat(struct adit_pool *pool, int dirfd, const char *path, const struct timespec *times,
		   int flags);
int adit_futimens(struct adit_pool *pool, int fd, const struct timespec *times);
/* 0 or -ENOENT ...; X_OK of what is no directory and has no execute bit: -EACCES. */
int adit_faccessat(struct adit_pool *pool, int dirfd, const char *path, int mode, int flags);
int adit_access(struct adit_pool *pool, const char *path, int mode);
/* The handle's umask, shared by its threads; returns the old one. At first: the process's. */
mode_t adit_umask(struct adit_pool *pool, mode_t mask);

/* Flags of a file, with the values of FS_IOC_GETFLAGS. */
#define ADIT_FL_IMMUTABLE 0x00000010u /* nothing may change */
#define ADIT_FL_APPEND 0x00000020u    /* may only grow */
#define ADIT_FL_ATOMIC 0x01000000u    /* every write all-or-nothing (as with RWF_ATOMIC) */
int adit_getflags(struct adit_pool *pool, int fd, unsigned *flags);
int adit_setflags(struct adit_pool *pool, int fd, unsigned flags); /* -EOPNOTSUPP: others */

/* ---- names ----------------------------------------------------------------------------------- */

int adit_mkdir(struct adit_pool *pool, const char *path, mode_t mode);
int adit_mkdirat(struct adit_pool *pool, int dirfd, const char *path, mode_t mode);
/* S_IFREG S_IFCHR S_IFBLK S_IFIFO S_IFSOCK; no type bits: S_IFREG. */
int adit_mknod(struct adit_pool *pool, const char *path, mode_t mode, dev_t dev);
int adit_mknodat(struct adit_pool *pool, int dirfd, const char *path, mode_t mode, dev_t dev);
/* AT_SYMLINK_FOLLOW, AT_EMPTY_PATH. An O_TMPFILE file gets its name by AT_EMPTY_PATH and "";
 * with O_EXCL it never does (-ENOENT). */
int adit_link(struct adit_pool *pool, const char *old_path, const char *new_path);
int adit_linkat(struct adit_pool *pool, int old_dirfd, const char *old_path, int new_dirfd,
		const char *new_path, int flags);
int adit_symlink(struct adit_pool *pool, const char *target, const char *path);
int adit_symlinkat(struct adit_pool *pool, const char *target, int dirfd, const char *path);
/* Bytes stored, no NUL; cut to `bytes`. */
ssize_t adit_readlink(struct adit_pool *pool, const char *path, char *buf, size_t bytes);
ssize_t adit_readlinkat(struct adit_pool *pool, int dirfd, const char *path, char *buf, size_t bytes);
int adit_unlink(struct adit_pool *pool, const char *path);
int adit_rmdir(struct adit_pool *pool, const char *path);
int adit_unlinkat(struct adit_pool *pool, int dirfd, const char *path, int flags); /* AT_REMOVEDIR */
int adit_rename(struct adit_pool *pool, const char *old_path, const char *new_path);
int adit_renameat(struct adit_pool *pool, int old_dirfd, const char *old_path, int new_dirfd,
		  const char *new_path);
/* RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT. */
int adit_renameat2(struct adit_pool *pool, int old_dirfd, const char *old_path, int new_dirfd,
		   const char *new_path, unsigned flags);

/* The layout of struct linux_dirent64. */
struct adit_dirent64 {
	uint64_t d_ino;
	int64_t d_off;	   /* cookie: adit_lseek to it and go on behind this entry */
	uint16_t d_reclen; /* of this record */
	uint8_t d_type;	   /* DT_* */
	char d_name[];	   /* NUL-terminated */
};
/*
 * getdents64(2): fills buf with whole records, "." and ".." first. Returns bytes filled, 0 at the end.
 * An entry that is there all the time is given exactly once, whatever is created and removed
 * meanwhile. -EINVAL: the buffer is too small for the next record.
 */
ssize_t adit_getdents(struct adit_pool *pool, int fd, void *buf, size_t bytes);

/* A name for a file that survives renames and reopening the pool. */
struct adit_handle {
	uint64_t ino;
	uint32_t generation;
	uint32_t reserved;
};
/* flags: AT_SYMLINK_FOLLOW, AT_EMPTY_PATH (as name_to_handle_at(2): links are not followed). */
int adit_name_to_handle_at(struct adit_pool *pool, int dirfd, const char *path,
			   struct adit_handle *out, int flags);
/* flags as for adit_openat without O_CREAT, O_TMPFILE. -ESTALE: that file is gone. */
int adit_open_by_handle_at(struct adit_pool *pool, const struct adit_handle *handle, int flags);

/* ---- extended attributes --------------------------------------------------------------------- */

/*
 * Names "user.", "trusted.", "security." and "system.posix_acl_access|default"; else -EOPNOTSUPP.
 * Values up to 64 KiB. bytes 0 asks for the length. "user." is for regular files and directories only
 * (-EPERM). flags: XATTR_CREATE, XATTR_REPLACE. The l forms do not follow a last symbolic link.
 */
ssize_t adit_getxattr(struct adit_pool *pool, const char *path, const char *name, void *value,
		      size_t bytes);
ssize_t adit_lgetxattr(struct adit_pool *pool, const char *path, const char *name, void *value,
		       size_t bytes);
ssize_t adit_fgetxattr(struct adit_pool *pool, int fd, const char *name, void *value, size_t bytes);
int adit_setxattr(struct adit_pool *pool, const char *path, const char *name, const void *value,
		  size_t bytes, int flags);
int adit_lsetxattr(struct adit_pool *pool, const char *path, const char *name, const void *value,
		   size_t bytes, int flags);
int adit_fsetxattr(struct adit_pool *pool, int fd, const char *name, const void *value, size_t bytes,
		   int flags);
ssize_t adit_listxattr(struct adit_pool *pool, const char *path, char *list, size_t bytes);
ssize_t adit_llistxattr(struct adit_pool *pool, const char *path, char *list, size_t bytes);
ssize_t adit_flistxattr(struct adit_pool *pool, int fd, char *list, size_t bytes);
int adit_removexattr(struct adit_pool *pool, const char *path, const char *name);
int adit_lremovexattr(struct adit_pool *pool, const char *path, const char *name);
int adit_fremovexattr(struct adit_pool *pool, int fd, const char *name);

#ifdef __cplusplus
}
#endif
#endif
