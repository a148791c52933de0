/*
 * shm.h - typed values in shared memory, shared with the Go package
 * example.org/shm and with Python. It is for Linux, C99 and later or C++11 and later, and
 * gcc or clang, and needs nothing but libc. It does not serve macOS, BSD or Windows: they
 * have no locks of open file descriptions, by which the death of a process is noticed.
 *
 *     shm_segment *seg;
 *     shm_value hits;
 *     int64_t n;
 *     int err = shm_attach(&seg, "stats", NULL);
 *     if (err == 0) err = shm_new_number(seg, "hits", SHM_I64, NULL, &hits);
 *     if (err == 0) err = shm_add_i64(&hits, 1, &n);
 *     if (err != 0) fprintf(stderr, "%s\n", shm_strerror(err));
 *
 * docs/FORMAT.md defines the bytes and the protocols. This header implements them
 * for C, the package internal/format implements the bytes for Go, and header.py,
 * record.py and cell.py in python/shm do so for Python. If you change a byte of the
 * format, change all of them together.
 *
 * CAVEATS, each as a symptom and its fix
 *
 * The compiler says "F_OFD_SETLK undeclared", or stops at the #error below.
 *   Include this header before any other, or compile with -D_GNU_SOURCE (and with
 *   -D_FILE_OFFSET_BITS=64 on 32-bit systems).
 * A thread hangs in shm_lock. It already holds the lock, which is not recursive.
 *   The same happens in a signal handler: a signal handler must not call any
 *   function of this header, nor fork.
 * A lock stays held after its thread has ended, was cancelled or has left by
 *   longjmp. A lock belongs to the process, and a live process never loses its locks.
 *   Unlock in a cleanup handler; any thread of the process may do it.
 * A thread that waits for a lock or a change is not cancelled. All functions hold
 *   cancellation off, so that none leaves anything locked. A thread is cancelled only
 *   while a constructor waits for another process to make its value, while shm_await_exit
 *   sleeps, and in the functions that shm_await and shm_snapshot call. Nothing stays locked
 *   then. Wait with a time-out, as shm_lock_for does. No thread whose cancellation type is
 *   asynchronous may call any function.
 * A lock is held after a longjmp out of a function that shm_update calls, and the thread
 *   cannot be cancelled any more. Return from it instead. A C++ exception may leave it, if
 *   the program is compiled with exceptions: the lock is released, and nothing is changed.
 * SHM_ECLOSED, or a live holder's lock is taken over. The program has closed all
 *   descriptors, also those of this header: closefrom, close_range, or a wrong close.
 *   Its lease is gone with them, so other processes take its locks over. Leave the
 *   descriptors from 3 on open, or attach after that.
 * SHM_ENOLEASE. The process has fewer rights than the one that gave it the descriptor:
 *   it may not open the file itself. It can read values and use raw and atomic ones.
 *   Give it the rights, or let it attach before it gives up its own.
 * SHM_EBLOCKED, or a constructor hangs. Who may only read the file can still lock bytes
 *   of it, and so keep others from new leases and new values. Locks of processes that
 *   have a lease work on. Let only those read who may do that: see mode.
 * SHM_EINSECURE for a file that was fine before. Something has changed its owner, mode
 *   or links since, as fsGroup of Kubernetes adds permissions for a group at each start.
 *   Ask for the mode that the file has now, 0660 there, or restore the file's.
 * A child after fork gets -EPERM from shm_unlock. The parent holds the lock. The
 *   child takes an id of its own when it first uses a lock. A child that was made
 *   with _Fork or clone has to call shm_after_fork, as those run no fork handlers.
 * A struct is half changed after its writer was killed. This can happen only to an
 *   array or to raw memory under a lock: call shm_abandoned after shm_lock, repair
 *   the memory, then call shm_consistent. Published structs and numbers are always
 *   whole.
 * shm_new_struct returns -EINVAL or SHM_ELAYOUT, and the struct looks right. The
 *   format shows all padding, and the padding must be the compiler's: struct {
 *   int8_t a; int32_t b; } is "T{<b:a:3x<i:b:}". shm_describe tells what the
 *   existing value is.
 * A bool from another program is neither true nor false. Other programs can write
 *   any byte. Declare it uint8_t here, with the format SHM_BOOL.
 * The process gets SIGBUS. Somebody has truncated the file, which every user who can
 *   write to it can do. A memfd that is sealed against shrinking is safe; Go's
 *   Anonymous makes one. Or the disk is full, and the filesystem copies on write, as
 *   after cp --reflink or a snapshot: docs/system-calls.md has the list.
 * Readers see a locked number change before shm_unlock. Other processes see a store
 *   through a pointer at once. Put what must change together into one published
 *   struct.
 * A pointer faults after shm_detach. Handles and pointers are valid until
 *   shm_detach. If a lock is still held then, the next process that asks for it takes
 *   it over and sees it as abandoned.
 * SHM_EFORMAT for a file after the power failed, and only for a reader. Its pages reached
 *   the disk in any order. The next process that attaches for writing puts the file in
 *   order; values that came after the last sync may be missing then.
 * The lock of a process that was just killed is still held. The kernel first frees
 *   the process's memory (about 55 ms a GiB) and writes the core dump, and then frees
 *   the lease. After that a sleeping waiter needs up to 20 ms more.
 * A waiting thread wakes up 50 times a second. It does so to find out whether the
 *   holder died, or whether the process that had to wake it died. If hundreds of
 *   threads wait for a long time, let them wait in a queue of your own, and only its
 *   first thread for the lock.
 *
 * RESULTS: 0, or a negative number, which is -errno or one of enum shm_error.
 * shm_strerror returns its text. A function that fails has changed nothing, except
 * shm_set_text of several rows.
 *
 * THREADS: any thread may call any function at any time, with these exceptions. When
 * shm_detach is called, no thread may use the segment or its values any more. One thread at a
 * time uses a shm_reader, a shm_entry or a shm_passing. While shm_inherited and
 * shm_attach_fd read the environment, no thread may change it. Raw values have no order at
 * all. Each waiting thread sleeps on the lock word itself, like a thread of another process.
 *
 * LIFETIME: handles and pointers are valid until shm_detach. A handle is a copy: it may be
 * copied, and need not be freed. What has to be freed says so.
 */
#ifndef SHM_H
#define SHM_H

#ifndef __linux__
#error "shm.h: it serves Linux only: other systems have no file locks by which the death of a process is noticed"
#endif
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#if !defined F_OFD_SETLK || !defined O_TMPFILE
#error "shm.h: include it before any other header, or compile with -D_GNU_SOURCE"
#endif

#ifdef __cplusplus
extern "C" {
#define SHM_ASSERT_ static_assert
#elif __STDC_VERSION__ >= 201112L
#define SHM_ASSERT_ _Static_assert
#else
#define SHM_ASSERT_ __extension__ _Static_assert
#endif

SHM_ASSERT_(sizeof(off_t) == 8, "shm.h: compile with -D_FILE_OFFSET_BITS=64");

enum shm_error {
	SHM_EFORMAT = -5001,   /* not a segment, or corrupt */
	SHM_EVERSION = -5002,  /* a segment of another format version, or of another kind of machine or system */
	SHM_EINSECURE = -5003, /* the file's owner, mode or type lets other users tamper with it */
	SHM_EFULL = -5004,     /* no room is left below the maximum size, or no id for a lock owner */
	SHM_ELAYOUT = -5005,   /* the existing value has another type, access or length: see shm_describe */
	SHM_ETOOLONG = -5006,  /* a text or a name does not fit into its memory */
	SHM_ENOLEASE = -5007,  /* this process cannot open the file anew, so it makes no values and takes no locks */
	SHM_EBLOCKED = -5008,  /* a process that may only read the file has a lock on it, so others get no lease */
	SHM_EFILESYSTEM = -5009, /* the filesystem cannot hold a segment */
	SHM_ECLOSED = -5010    /* a descriptor of the segment was closed, and is no file's or another file's now */
};

/* How the memory of a value is synchronised, and which kind of value it is. */
enum shm_access { SHM_RAW = 1, SHM_ATOMIC = 2, SHM_LOCKED = 3, SHM_PUBLISHED = 4 };
enum shm_kind {
	SHM_SINGLE = 1, SHM_ARRAY = 2, SHM_CHARS = 3, SHM_MUTEX = 4, SHM_GROWTH_ = 5, SHM_INDEX_ = 6,
	SHM_RING = 7, SHM_COUNTER = 8, SHM_GAUGE = 9, SHM_HISTOGRAM = 10
};

/* What a value means to people. It changes how a value is shown, and nothing else. */
enum shm_hint { SHM_HINT_NONE = 0, SHM_HINT_DURATION = 1, SHM_HINT_TIME = 2, SHM_HINT_TEXT = 3, SHM_HINT_COUNTER = 4, SHM_HINT_GAUGE = 5 };

/* Formats of PEP 3118. Write the format of a struct with these:
 * "T{" SHM_I64 ":hits:" SHM_F32 ":load:" "4x}". */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define SHM_ORDER "<"
#else
#define SHM_ORDER ">"
#endif
#define SHM_BOOL SHM_ORDER "?"
#define SHM_I8 SHM_ORDER "b"
#define SHM_U8 SHM_ORDER "B"
#define SHM_CHAR SHM_ORDER "c"
#define SHM_I16 SHM_ORDER "h"
#define SHM_U16 SHM_ORDER "H"
#define SHM_I32 SHM_ORDER "i"
#define SHM_U32 SHM_ORDER "I"
#define SHM_I64 SHM_ORDER "q"
#define SHM_U64 SHM_ORDER "Q"
#define SHM_F32 SHM_ORDER "f"
#define SHM_F64 SHM_ORDER "d"
#define SHM_C64 SHM_ORDER "Zf"
#define SHM_C128 SHM_ORDER "Zd"

/* NULL instead of options means the same as all zeros: attach, or create a segment
 * for this user only. */
typedef struct shm_options {
	mode_t mode;       /* permission bits of a new segment, whatever the umask; 0 means 0600 */
	uint64_t max_size; /* bytes that a new segment can grow to; 0 means 4 GiB (64 MiB on 32-bit systems) */
	bool read_only;    /* map without write permission; the name must exist */
	bool must_exist;   /* return -ENOENT instead of creating a segment */
	bool exclusive;    /* return -EEXIST instead of attaching to an existing segment */
} shm_options;

/* What a value is, for shm_make. Clear it with memset before you set its fields. */
typedef struct shm_type {
	enum shm_access access;
	enum shm_kind kind;
	const char *format;   /* of an element; NULL or "" for a mutex */
	uint64_t count;       /* elements, rows, locks, bytes of a C string, values of a ring, bounds of a histogram; 0 for a single value */
	const void *init;     /* the first value, or the bounds; NULL: zeros. Of a C string, the bytes up to a NUL or to count. NULL for mutexes, tables, rings, counters and gauges */
	const char *unit;     /* of the number, such as "bytes"; at most 255 bytes; may be NULL */
	const char *help;     /* what the value means; at most 4096 bytes; may be NULL */
	enum shm_hint hint;   /* 0: none */
} shm_type;

typedef struct shm_segment shm_segment;

/* A named value. It may be copied, and is valid until shm_detach. Do not write to its
 * fields. */
typedef struct shm_value {
	shm_segment *segment;
	struct shm_cell_ *cell; /* the lock cell, NULL if the value has no lock */
	unsigned char *data;    /* the elements, or the first of two slots */
	uint64_t size;          /* bytes of an element; of a published struct, bytes of the type as declared here */
	uint64_t count;         /* elements of an array, bytes of a C string, 0 for a single value */
	uint64_t capacity;      /* bytes of one slot, or of all elements */
	uint64_t end;           /* bytes up to the end of the last field; 0: a struct has grown into its padding, and no program may publish */
	uint64_t record;        /* offset of the record in the segment */
	uint8_t access, kind;   /* enum shm_access, enum shm_kind */
	uint8_t hint;           /* enum shm_hint; another number means nothing */
	char code;              /* type code of a number, one of b B h H i I q Q f d ? c; otherwise 0 */
	uint64_t claim __attribute__((aligned(8))); /* of a counter, a gauge or a histogram: which cell is this process's, and its id; 0: not known yet */
} shm_value;

/* Reads the values of a ring, one after the other. Do not write to its fields. One thread
 * at a time may use it. */
typedef struct shm_reader {
	shm_value ring;
	uint64_t next;   /* number of the value that comes next */
	uint64_t missed; /* how many values were overwritten before this reader came to them */
} shm_reader;

/* What a child needs to attach to a segment. See shm_pass. */
typedef struct shm_passing {
	int fd, socket; /* descriptors, close-on-exec; socket: -1 if there is none */
	char *variable; /* NAME=VALUE, for the environment of the child */
} shm_passing;

/* A process that has a segment attached, or had. pid and program are what it wrote about
 * itself, for people; 0 and "" if the segment has forgotten them. */
typedef struct shm_process {
	uint32_t id;      /* no other process ever gets it in this segment */
	uint32_t pid;     /* in its own pid namespace */
	uint64_t ns;      /* inode number of that namespace, 0: not known */
	char program[49]; /* base name of its program; any bytes may be there: see shm_quote */
} shm_process;

/* The state of a lock at one moment. */
typedef struct shm_lock_info {
	bool held, alive;   /* alive: its owner lives; a dead owner's lock goes to the next that asks */
	bool reserved;      /* free, but reserved for a process that has waited for long */
	bool waiting;       /* it has waiters, or had some */
	bool abandoned;     /* what shm_abandoned tells */
	uint32_t takeovers; /* how often a dead owner has been replaced */
	shm_process owner;  /* all 0 if the lock is free */
} shm_lock_info;

/* A named value as the directory describes it. The texts are valid until the next
 * shm_next_entry, or shm_free_entry. Unit, help and program may be any bytes. */
typedef struct shm_entry {
	shm_value value;
	const char *name, *format, *unit, *help, *program; /* program: of the process that made it */
	uint32_t pid;             /* of that process */
	uint64_t offset, bytes;   /* of the value, or of the first of its slots, from the start of the segment; bytes: of the value alone */
	struct shm_growth_ *growths_;
	uint64_t next_, end_;
	size_t known_;
	char *texts_;
} shm_entry;

/* ---- The API ----
 *
 * Segments. A name without a slash is the file /dev/shm/NAME, and a name with a slash
 * is a path.
 *
 *     int shm_attach(shm_segment **, const char *name, const shm_options *);
 *     int shm_attach_fd(shm_segment **, int fd, const shm_options *);  the caller keeps the descriptor
 *     void shm_detach(shm_segment *);                                   NULL is allowed
 *     int shm_remove(const char *name);                                 attached processes keep the memory; SHM_EINSECURE for a directory, a device, a pipe or a socket, which stay
 *     int shm_anonymous(shm_segment **, const shm_options *);           a new one without a name, in memory that cannot be cut off
 *     const char *shm_name(seg);     as it was attached; "" if it has none; valid until shm_detach
 *     uint64_t shm_size(seg);        bytes that are allocated
 *     int shm_sync(seg);             write it to the disk; return when it is there
 *     int shm_replaced(seg);         1 if its name leads to another file by now, or to none; otherwise 0
 *
 * Handing a segment to a program that this one starts, in any of the languages. The child
 * needs no right to open the file, and the segment no name. shm_pass makes two descriptors,
 * and a variable for the environment. In a child that was forked and will call exec,
 * shm_pass_on lets it inherit them (it calls putenv). For posix_spawn, add the variable to
 * the environment, and each descriptor that is not -1 to the file actions, with adddup2(fd,
 * fd). When the child has started, call shm_pass_end. A process that was forked from such a
 * child gets SHM_ENOLEASE if it may not open the file.
 *
 *     int shm_pass(seg, shm_passing *p);
 *     int shm_pass_on(const shm_passing *p);
 *     void shm_pass_end(shm_passing *p);
 *     int shm_inherited(shm_segment **, const char *name, const shm_options *);   name "" if it has none; -ENOENT if the parent passed no such segment
 *
 * Values. shm_find finds an existing value. The constructors find a value or make it,
 * as in Go, and the initial value of the first caller stands; an init of NULL means
 * zeros. If a constructor returns SHM_ELAYOUT, *v is the existing value. A count of 0
 * means the length of the existing value, and -ENOENT if there is none. They return
 * -EINVAL for a format that no such value has. A raw value and a struct have any format,
 * but no single character. The elements of an array are numbers, without bools and
 * characters, and those of an array with a lock also without SHM_C128. It is -EINVAL, too,
 * if a published struct or a row of a table has 4 GiB or more, or any value has 512 MiB or
 * more on a 32-bit system.
 *
 *     int shm_find(shm_segment *, const char *name, shm_value *v);      -ENOENT if there is none
 *     int shm_new_raw(seg, name, format, init, v);              RawValue, RawStruct
 *     int shm_new_raw_array(seg, name, format, count, v);       RawArray
 *     int shm_new_chars(seg, name, size, v);                    CharArray
 *     int shm_new_atomic(seg, name, format, init, v);           Atomic: use __atomic on the pointer, sequentially consistent
 *     int shm_new_number(seg, name, format, init, v);           Value
 *     int shm_new_array(seg, name, format, count, v);           Array
 *     int shm_new_struct(seg, name, format, size, init, v);     Struct; size is sizeof the C type
 *     int shm_new_string(seg, name, size, v);                   String
 *     int shm_new_mutex(seg, name, v);                          Mutex
 *     int shm_make(seg, name, const shm_type *type, v);         any of them, also those below, with unit, help and hint, which the maker alone sets
 *
 * Many of one kind under one name. i counts from 0; -EINVAL if it is past the end. A row
 * is a published struct, and a lock a mutex: the functions below take their handles.
 * shm_lock_any takes the lowest lock that is free or whose holder is dead, and waits if
 * there is none: an unlock wakes it at once, and a death is noticed some milliseconds
 * later. shm_abandoned tells whether there was one.
 *
 *     int shm_new_atomic_array(seg, name, format, count, v);    AtomicArray: use __atomic on the pointer
 *     int shm_new_mutexes(seg, name, count, v);                 Mutexes
 *     int shm_mutex_at(v, i, mutex);
 *     int shm_lock_any(v, ns, uint64_t *i);                     -ETIMEDOUT after ns nanoseconds
 *     int shm_new_table(seg, name, format, size, count, v);     Table; rows start as zeros
 *     int shm_row(v, i, row);
 *
 * Counting without waiting for other processes. Each process has a cell of its own, which
 * it claims with its first change. What a dead process has counted stays; its part of a
 * gauge vanishes. T is i64, u64 or f64. SHM_ELAYOUT if the value is another one; SHM_EFULL
 * if all cells of a gauge belong to living processes. Bounds ascend and are finite;
 * SHM_ELAYOUT if the existing ones are others; none (NULL, 0) mean those that exist.
 * counts has room for v->count + 1 numbers: counts[b] is of what is at most bound b, and
 * more than the bound before; the last one of the rest, and NaN.
 *
 *     int shm_new_counter(seg, name, format, v);                Counter
 *     int shm_count_T(v, T d);            int shm_counted_T(v, T *sum);
 *     int shm_new_gauge(seg, name, format, v);                  Gauge
 *     int shm_set_gauge_T(v, T x);        int shm_add_gauge_T(v, T d);
 *     int shm_load_gauge_T(v, T *sum);    the sum of the parts of the living
 *     int shm_gauge_parts_T(v, T *parts, uint32_t *pids, size_t room);   how many there are; pids may be NULL
 *     int shm_new_histogram(seg, name, const double *bounds, size_t n, v);   Histogram
 *     int shm_observe(v, double x);       const double *shm_bounds(v);
 *     int shm_load_histogram(v, uint64_t *counts, double *sum);
 *
 * The last values of a stream. The first value has the number 1. seq may be NULL.
 *
 *     int shm_new_ring(seg, name, format, size, count, v);      Ring; it keeps count values
 *     int shm_append(v, const void *x, size, uint64_t *seq);
 *     int shm_last(v, void *x, size, uint64_t *seq);            -ENOENT if there is none yet
 *     int shm_read_from(v, seq, shm_reader *r);   the first value to read; 0: the oldest; SHM_NEXT: the next one that is appended
 *     int shm_next(shm_reader *r, void *x, size, int64_t ns, uint64_t *seq);   -ETIMEDOUT after ns nanoseconds
 *
 * What there is. shm_next_entry yields the values, the oldest first, as of its first call;
 * clear the entry with memset before that. It returns -ENOENT after the last one, or an
 * error at a damaged one, and has freed the entry then. Free it if you stop before, and
 * after shm_lookup. Names, formats, units, help texts and programs are what other programs
 * have written: show them to people by shm_quote, which escapes all that a terminal could
 * obey. The functions with a buffer write a text as snprintf does, and return its length;
 * buffer may be NULL if n is 0.
 *
 *     int shm_next_entry(seg, shm_entry *e);
 *     int shm_lookup(seg, name, shm_entry *e);          -ENOENT if there is none
 *     void shm_free_entry(shm_entry *e);
 *     int shm_describe(v, char *buffer, size_t n);      what the value is, and who made it
 *     int shm_is(v, access, format);                    0 if the value has this access and format, otherwise SHM_ELAYOUT
 *     int shm_quote(const char *text, char *buffer, size_t n);
 *
 * Values as texts: those of Go's Entry.Text and Parse, whatever the locale. shm_text takes no
 * lock; SHM_ETOOLONG for more than 16 MiB, or for a text of more than 64 MiB. shm_set_text
 * accepts what shm_text writes, and JSON as far as that can describe the value. Elements may
 * be given by index, as in "[3: 7]", and fields by name, as in "{x: 1}": all others keep
 * their value. Strings are in double quotes or backquotes; one that is the whole value needs
 * none. It takes the lock, if there is one, within ns nanoseconds. -EINVAL if the text does
 * not describe such a value, or the value cannot be set so (a mutex, a ring, a counter, a
 * gauge, a histogram), -ERANGE if a number does not fit, SHM_ETOOLONG, -EROFS, -ETIMEDOUT.
 * The rows of a table change one after another: if one cannot be locked in time, those before
 * it have changed.
 *
 *     int shm_text(v, char *buffer, size_t n);
 *     int shm_set_text(v, const char *text, int64_t ns);
 *
 * Who is there, and who holds a lock. A process has an id once it has used a lock, a
 * counter, a gauge or a histogram; no other process ever gets it. It is alive while it holds
 * its lease, a file lock that the kernel drops at its end. pid and program are for people.
 *
 *     int shm_lock_state(v, shm_lock_info *l);                     -EINVAL if the value has no lock
 *     int shm_processes(seg, shm_process *all, size_t room);       how many live; those that have room, by id
 *     bool shm_alive(seg, uint32_t id);
 *     int shm_await_exit(seg, uint32_t id, int64_t ns);            -ETIMEDOUT
 *
 * Typed pointers. They are NULL if the value is of another type or published. *n is
 * the number of elements; n may be NULL. T is i8 to u64, f32 or f64.
 *
 *     T *shm_ptr_T(v, size_t *n);
 *     void *shm_ptr(v, format, size);   any format; size is sizeof the C type
 *
 * Locks, of values that have one. One thread of one process holds a lock at a time.
 *
 *     int shm_lock(v);        wait for the lock; -EROFS, or another error if this process cannot take a lease
 *     int shm_lock_for(v, ns);   wait for at most ns nanoseconds, then return -ETIMEDOUT
 *     int shm_trylock(v);     do not wait; -EBUSY
 *     int shm_unlock(v);      -EPERM if this process does not hold the lock
 *     bool shm_abandoned(v);  true if a holder died and no holder has called shm_consistent since
 *     void shm_consistent(v); the holder has repaired what the lock guards
 *
 * Locked numbers. A load never waits, and the other functions take the lock. The
 * functions with _at are for arrays. They return SHM_ELAYOUT if the value is not a
 * locked number or array of T, and -EINVAL if i is past its end.
 *
 *     int shm_load_T(v, T *x);            int shm_load_T_at(v, i, T *x);
 *     int shm_store_T(v, T x);            int shm_store_T_at(v, i, T x);
 *     int shm_add_T(v, T d, T *sum);      int shm_add_T_at(v, i, T d, T *sum);   sum may be NULL; integers wrap around
 *     int shm_swap_T(v, T x, T *old);     int shm_swap_T_at(v, i, T x, T *old);  old may be NULL
 *     int shm_cas_T(v, T *old, T x);      int shm_cas_T_at(v, i, T *old, T x);   -EAGAIN if the number is not *old; *old is what it is then
 *     int shm_update_T(v, int (*f)(T *x, void *arg), void *arg, int64_t ns);     and shm_update_T_at(v, i, f, arg, ns)
 *
 * shm_update_T calls f with a copy of the number, under the lock, and stores what f makes of
 * it. If f returns something else than 0, nothing is stored and nobody is told, and that is
 * the result. The thread is not cancelled in f. f must not use this lock: if f unlocks it
 * and no other thread of this process has taken it since, nothing is stored, and the result is
 * -EPERM. ns limits the wait for the lock, not f: -ETIMEDOUT.
 *
 * Published values. A read returns one commit as a whole. It does not wait, with one
 * exception: if 64 copies in a row were overtaken by commits, it asks for the lock, and
 * copies again if it does not get the lock within 10 ms. So a holder that is stopped,
 * or that waits for this reader, does not block it. size is sizeof the C type; -EINVAL
 * if it is another one. A handle of shm_find has the type to which the struct has grown,
 * and an older program goes on with its own size. It may read in any case. It may
 * publish if its size tells which fields it has; otherwise a newer program has a field
 * in its padding, and it gets SHM_ELAYOUT: a handle of shm_new_struct always may.
 *
 *     int shm_read(v, void *x, size_t size);
 *     int shm_commit(v, const void *x, size_t size);   the caller holds the lock
 *     int shm_publish(v, const void *x, size_t size);  lock, commit, unlock
 *     int shm_publish_for(v, const void *x, size_t size, int64_t ns);   -ETIMEDOUT
 *     int shm_update(v, int (*f)(void *x, void *arg), void *arg, void *x, size_t size, int64_t ns);   as shm_update_T; x is room for the copy
 *     int shm_read_text(v, char *buffer, size_t n);    returns the length; n must be greater than count; SHM_ETOOLONG if that is 2 GiB or more
 *     int shm_publish_text(v, const char *text);       SHM_ETOOLONG
 *     int shm_publish_text_for(v, const char *text, int64_t ns);
 *
 * shm_next_commit sleeps until the number of commits is another one than *commit, which it
 * sets: begin with UINT64_MAX, and read the value after it. Commits in between are skipped.
 * shm_snapshot calls read until none of the values has changed during the call, so that what
 * read has copied was there at one instant; it stops, too, if read returns something else
 * than 0, and that is its result. The values are published structs, strings, rows, whole
 * tables or rings. It takes no lock at first; if values changed during each of 64 calls, it
 * takes the locks of those, but waits for each 10 ms at most.
 *
 *     int shm_next_commit(v, uint64_t *commit, int64_t ns);            -ETIMEDOUT
 *     int shm_snapshot(const shm_value *const *values, size_t n, int (*read)(void *arg), void *arg);
 *
 * Waiting for a change, asleep. They call ok without the lock, and again after each
 * change under the lock of v. After ns nanoseconds they return -ETIMEDOUT. Here and in
 * shm_lock_for a negative ns means no time-out.
 *
 *     int shm_await(v, bool (*ok)(const shm_value *v, void *arg), void *arg, int64_t ns);
 *     int shm_wait_for(seg, name, ns, v);   shm_find, once a process has made the value; -EINVAL if none can have that name
 *
 * A process that attached for reading only cannot announce that it waits. It asks those who
 * may write to do so; if nobody answers, it looks four times a second. Programs in Go and in
 * Python answer. A C program answers while one of its threads calls shm_answer in a loop.
 * shm_answer sleeps until a process asks, or for ns nanoseconds.
 *
 *     int shm_answer(seg, int64_t ns);      0, or -ETIMEDOUT; both mean: again
 *
 *     void shm_after_fork(void);   in a child that was made without fork handlers
 *     const char *shm_strerror(int);
 */

#define SHM_NEXT UINT64_MAX

#define SHM_USE_ __attribute__((warn_unused_result))
#define SHM_SLOW_ static __attribute__((unused, noinline))
#define SHM_LIKELY_(x) __builtin_expect(!!(x), 1)
#define SHM_EQUAL_(a, b) ((a) <= (b) && (a) >= (b)) /* as ==, about which compilers warn for floats */

/* ---- The format ---- */

enum {
	SHM_LINE_ = 64,
	SHM_TABLE_OFFSET_ = 256,
	SHM_TABLE_LEN_ = 512,
	SHM_HEADER_ = SHM_TABLE_OFFSET_ + SHM_TABLE_LEN_ * SHM_LINE_, /* offset of the first record */
	SHM_FIRST_ = 64 << 10,                                        /* bytes of a new segment's file */
	SHM_INDEX_SLOTS_ = 512,                                       /* of the index of a new segment */
	SHM_INDEX_MOST_ = 1 << 24,
	SHM_TAG_SHIFT_ = 40, /* in a slot of an index: the tag of a name, and the line of a record */
	SHM_ID_GAP_ = 1 << 20, /* an id that far above the next one was never given out */
	SHM_RECORD_FIXED_ = 112,
	SHM_RECORD_CHECK_ = 12,
	SHM_NAME_MAX_ = 255,
	SHM_FORMAT_MAX_ = 32 << 10,
	SHM_HELP_MAX_ = 4 << 10,
	SHM_DEPTH_ = 32, /* nested structs, and dimensions of an array */
	SHM_NAMES_ = 8192, /* of struct shm_names_; a field takes 5 bytes of a format, so there are fewer */
	SHM_NUMBER_ = 48, /* offset of a locked number in the line of its lock */
	SHM_PAIR_ = 128, /* bytes of two lines, which processors fetch together: the cells of counters start on one */
	SHM_BUCKETS_ = 64, /* offset of the buckets of a histogram in a cell */
	SHM_BOUNDS_MAX_ = 1024,
	SHM_CELLS_ = 64, /* cells of a new counter, without the shared one */
	SHM_CELLS_MAX_ = 1 << 16
};
#define SHM_MAGIC_ "\x93SHM\r\n\x1a\n"
#define SHM_MAX_SEGMENT_ (UINT64_C(1) << 45)
#define SHM_MAX_LAYOUT_ (UINT64_C(1) << 40)
#define SHM_LEASE_BASE_ (INT64_C(1) << 62)
#define SHM_CREATION_ (INT64_C(1) << 61) /* the byte that the creator of a file with a temporary name has locked */
#define SHM_EXTENT_MAX_ UINT32_MAX /* bytes of the type of a struct that changes as a whole, or of a row */
#define SHM_SEALED_MAX_ ((UINT64_C(1) << 40) - 1)
#define SHM_ASK_BASE_ INT64_C(0x5000000000000000) /* the byte that stands for the change word of names */
#define SHM_ASK_BYTES_ (INT64_C(1) << 61)
#define SHM_ASK_LINES_ (UINT64_C(1) << 21) /* a lock this far behind its record has no such byte */
#define SHM_SHOWN_MAX_ (UINT64_C(16) << 20) /* bytes of a value that is shown as a text, or set from one */
#define SHM_TEXT_MAX_ (UINT64_C(64) << 20)  /* bytes of that text */

/* The bits of the lock word: the owner's id, and that a waiter sleeps in the kernel. In
 * a word without an owner, the second reserves the lock for such waiters. Bit 30, Go's
 * LocalWaiters, says that a goroutine of the owner's process waits in Go. Only that
 * process sets it, so it is never set here. */
#define SHM_OWNER_MASK_ ((UINT32_C(1) << 30) - 1)
#define SHM_KERNEL_WAITERS_ (UINT32_C(1) << 31)

#define SHM_AWAITED_ UINT32_C(1) /* bit 0 of a change word: somebody awaits the next change */

/* The values of starve: a waiter has waited for long, and sleeps in the kernel, or in Go
 * because its process has no place left in the kernel, so that no wake-up reaches it. */
enum { SHM_STARVE_KERNEL_ = 1, SHM_STARVE_GO_ = 2 };

#define SHM_PROBE_NS_ INT64_C(4000000)   /* between two probes of an owner's lease, by all processes together */
#define SHM_SHORT_NS_ INT64_C(4000000)   /* a first sleep; after it the waiter asks for a reservation */
#define SHM_SLEEP_NS_ INT64_C(20000000)  /* all other sleeps */
#define SHM_BLIND_NS_ INT64_C(1000000000) /* without probes after a probe that failed; other processes probe meanwhile */
#define SHM_LOOK_NS_ INT64_C(4000000000)  /* the longest time-out of a process that awaits a change */
#define SHM_RO_LOOK_NS_ INT64_C(250000000) /* the same in a read-only attachment that nobody has answered */
#define SHM_RO_SHORT_NS_ INT64_C(1000000)  /* its first time-out: a ring that comes while all answerers are awake is lost */
#define SHM_ANSWER_NS_ INT64_C(2000000)    /* between two calls that answer: whoever may only read can ring as often as it likes */
#define SHM_SETTLE_NS_ INT64_C(1000000000) /* the longest wait for the allocation lock when attaching */
#define SHM_READ_NS_ INT64_C(10000000)   /* the longest wait for the lock of a reader that was overtaken */

/* The same memory may be a number of another type. */
typedef uint16_t __attribute__((may_alias)) shm_u16_;
typedef uint32_t __attribute__((may_alias)) shm_u32_;
typedef uint64_t __attribute__((may_alias)) shm_u64_;

struct shm_cell_ {
	uint32_t word, change;
	int64_t probed;
	uint32_t starve, abandoned, takeovers, extent;
	uint64_t commit;
	unsigned char rest[24];
};

/* The cell that a process has of a counter, a gauge or a histogram. Buckets follow. */
struct shm_part_ {
	uint64_t number; /* the count; of a histogram: the sum. The bits, if it is a float */
	uint64_t owner;  /* the id of the process, and SHM_CLEAN_; 0: nobody's */
	int64_t probed;
	unsigned char rest[40];
};
#define SHM_CLEAN_ (UINT64_C(1) << 32) /* of the owner of a gauge's cell: the number is not 0 yet, but will be */

struct shm_entry_ {
	uint32_t id, pid;
	uint64_t ns;
	char program[48];
};

struct shm_header_ {
	char magic[8];
	uint32_t version, order, size, table_len;
	uint64_t max_size, identity;
	uint32_t check;
	unsigned char zero[20];
	uint64_t allocated, used, indexed, dirty, next_id, home, index, values; /* sealed words */
	uint32_t names, bell;
	uint64_t place; /* sealed; where the locks are; 0: on bytes of the file */
	unsigned char zero2[112];
	/* the table follows */
};

SHM_ASSERT_(sizeof(struct shm_cell_) == SHM_LINE_ && offsetof(struct shm_cell_, commit) == 32, "lock cell");
SHM_ASSERT_(sizeof(struct shm_part_) == SHM_BUCKETS_ && offsetof(struct shm_part_, probed) == 16, "cell of a counter");
SHM_ASSERT_(sizeof(struct shm_header_) == SHM_TABLE_OFFSET_ && offsetof(struct shm_header_, allocated) == 64 &&
	offsetof(struct shm_header_, check) == 40 &&
	offsetof(struct shm_header_, names) == 128 && offsetof(struct shm_header_, bell) == 132 && sizeof(struct shm_entry_) == SHM_LINE_, "header");

/* ---- The state of this process ---- */

struct shm_home_;

/* Invariant: while a lock word has the id, this process lives and ctl holds the lease
 * of the id. ctl is the control description. It is opened again, never duplicated, so
 * that a child that execs does not share it. A child that forks shares it, and closes
 * it before anything else. */
struct shm_segment {
	unsigned char *mem; /* the whole reserved address range */
	struct shm_header_ *header;
	uint64_t length;
	uint64_t bytes; /* the file has had so many bytes; only grows */
	uint64_t table; /* the index that was seen last: its line, and the binary logarithm of its slots above that; 0: none */
	uint64_t where; /* the home of this boot and this file, or 0 */
	uint32_t id;    /* 0 if it has none yet, and always in a read-only attachment */
	bool read_only;
	int fd, ctl;    /* ctl is -1 if there is none yet */
	dev_t device;   /* and inode: the segment's file, whatever fd and ctl have become */
	ino_t inode;
	pid_t pid;      /* the process that id and ctl belong to */
	int64_t blind_until; /* no probes before this time, as the last one failed */
	pthread_mutex_t gate; /* held by the thread of this process that appends a record */
	struct shm_home_ *home;
	shm_segment *next;
	char *path, *name;    /* either may be NULL: the segment has none */
	struct shm_asker_ *askers; /* the threads that have asked to be told of a change; the mutex of the home guards it */
	int64_t answered;     /* when it last answered such threads of others */
	uint64_t asked;       /* the byte at which it goes on to look for them */
};

/* A thread that awaits a change and may not write. */
struct shm_asker_ {
	shm_segment *segment;
	int64_t at; /* the byte that stands for the change word, 0: none does */
	bool asks;  /* it is in the list */
	struct shm_asker_ *next;
};

/* A description for leases that the parent of this process has handed over. It stays
 * open: this process may be unable to get another one. */
struct shm_passed_ {
	dev_t device;
	ino_t inode;
	int fd;            /* -1: closed, as this is a child of the process that got it */
	shm_segment *user; /* whose ctl it is; NULL: nobody's */
	struct shm_passed_ *next;
};

/* There is one for all translation units that are linked together. The mutex guards the
 * list. It is also held while ctl and id are taken, so that no fork comes in between. */
struct shm_home_ {
	pthread_mutex_t mutex;
	shm_segment *segments;
	struct shm_passed_ *passed;
	bool handlers;
};
__attribute__((weak, visibility("hidden"))) struct shm_home_ shm_home_ = {PTHREAD_MUTEX_INITIALIZER, NULL, NULL, false};

static inline const char *shm_strerror(int err)
{
	switch (err) {
	case SHM_EFORMAT: return "shm: not a segment, or corrupt";
	case SHM_EVERSION: return "shm: a segment of another format version, or of another kind of machine or system";
	case SHM_EINSECURE: return "shm: not safe to attach";
	case SHM_EFULL: return "shm: segment is full";
	case SHM_ELAYOUT: return "shm: the value has another type, access or length: shm_describe tells which";
	case SHM_ETOOLONG: return "shm: value too long";
	case SHM_ENOLEASE: return "shm: this process may not open the segment's file anew, so it cannot make values or take locks";
	case SHM_EBLOCKED: return "shm: a process that may only read the file has locked it against new leases; end that process, or do not let it read";
	case SHM_EFILESYSTEM: return "shm: this filesystem cannot hold a segment; use /dev/shm or a directory of another filesystem";
	case SHM_ECLOSED: return "shm: the program has closed a descriptor of the segment; attach anew";
	}
	return strerror(err < 0 ? -err : err);
}

/* Returns the id of this process, or 0 if it has none yet. */
static inline uint32_t shm_id_(const shm_segment *s) { return __atomic_load_n(&s->id, __ATOMIC_RELAXED); }

/* Holds off the cancellation of this thread. A thread that is cancelled in the middle of
 * a function would leave what it holds locked or open. Returns what shm_permit_ takes. */
static inline int shm_hold_off_(void)
{
	int state = 0;
#ifdef PTHREAD_CANCEL_DISABLE
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
#endif
	return state;
}

static inline void shm_permit_(int state)
{
#ifdef PTHREAD_CANCEL_DISABLE
	pthread_setcancelstate(state, NULL);
#endif
	(void)state;
}

static inline int64_t shm_now_(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Returns the time ns nanoseconds from now, and a time that never comes if ns is
 * negative. */
static inline int64_t shm_until_(int64_t ns)
{
	int64_t now = shm_now_();
	return ns < 0 || ns > INT64_MAX - now ? INT64_MAX : now + ns;
}

static inline struct shm_entry_ *shm_entry_of_(const shm_segment *s, uint32_t id)
{
	return (struct shm_entry_ *)(void *)(s->mem + SHM_TABLE_OFFSET_) + id % SHM_TABLE_LEN_;
}

static inline uint64_t shm_round_(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }
static inline uint64_t shm_min_(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline int64_t shm_sooner_(int64_t a, int64_t b) { return a < b ? a : b; }
static inline uint64_t shm_max_(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* A sealed word is a 40-bit number and 24 bits that check it. */
static inline uint64_t shm_seal_(uint64_t n)
{
	return n | (n * UINT64_C(0x9E3779B97F4A7C15) + 0x5348) >> 40 << 40;
}

static inline bool shm_unseal_(const uint64_t *p, uint64_t *n)
{
	uint64_t w = __atomic_load_n(p, __ATOMIC_SEQ_CST);
	*n = w & SHM_SEALED_MAX_;
	return shm_seal_(*n) == w;
}

/* Loads a sealed word that counts lines; *n is the size in bytes. */
static inline bool shm_unseal_bytes_(const uint64_t *p, uint64_t *n)
{
	bool ok = shm_unseal_(p, n) && *n <= SHM_MAX_SEGMENT_ / SHM_LINE_;
	*n *= SHM_LINE_;
	return ok;
}

/* Stores a sealed word. The fence keeps later plain stores after it: if the process is
 * killed in between, the stores must have happened in this order. */
static inline void shm_store_sealed_(uint64_t *p, uint64_t n)
{
	__atomic_store_n(p, shm_seal_(n), __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static const uint32_t shm_crc_table_[256] = {
	0x00000000, 0x77073096, 0xee0e612c, 0x990951ba, 0x076dc419, 0x706af48f, 0xe963a535, 0x9e6495a3,
	0x0edb8832, 0x79dcb8a4, 0xe0d5e91e, 0x97d2d988, 0x09b64c2b, 0x7eb17cbd, 0xe7b82d07, 0x90bf1d91,
	0x1db71064, 0x6ab020f2, 0xf3b97148, 0x84be41de, 0x1adad47d, 0x6ddde4eb, 0xf4d4b551, 0x83d385c7,
	0x136c9856, 0x646ba8c0, 0xfd62f97a, 0x8a65c9ec, 0x14015c4f, 0x63066cd9, 0xfa0f3d63, 0x8d080df5,
	0x3b6e20c8, 0x4c69105e, 0xd56041e4, 0xa2677172, 0x3c03e4d1, 0x4b04d447, 0xd20d85fd, 0xa50ab56b,
	0x35b5a8fa, 0x42b2986c, 0xdbbbc9d6, 0xacbcf940, 0x32d86ce3, 0x45df5c75, 0xdcd60dcf, 0xabd13d59,
	0x26d930ac, 0x51de003a, 0xc8d75180, 0xbfd06116, 0x21b4f4b5, 0x56b3c423, 0xcfba9599, 0xb8bda50f,
	0x2802b89e, 0x5f058808, 0xc60cd9b2, 0xb10be924, 0x2f6f7c87, 0x58684c11, 0xc1611dab, 0xb6662d3d,
	0x76dc4190, 0x01db7106, 0x98d220bc, 0xefd5102a, 0x71b18589, 0x06b6b51f, 0x9fbfe4a5, 0xe8b8d433,
	0x7807c9a2, 0x0f00f934, 0x9609a88e, 0xe10e9818, 0x7f6a0dbb, 0x086d3d2d, 0x91646c97, 0xe6635c01,
	0x6b6b51f4, 0x1c6c6162, 0x856530d8, 0xf262004e, 0x6c0695ed, 0x1b01a57b, 0x8208f4c1, 0xf50fc457,
	0x65b0d9c6, 0x12b7e950, 0x8bbeb8ea, 0xfcb9887c, 0x62dd1ddf, 0x15da2d49, 0x8cd37cf3, 0xfbd44c65,
	0x4db26158, 0x3ab551ce, 0xa3bc0074, 0xd4bb30e2, 0x4adfa541, 0x3dd895d7, 0xa4d1c46d, 0xd3d6f4fb,
	0x4369e96a, 0x346ed9fc, 0xad678846, 0xda60b8d0, 0x44042d73, 0x33031de5, 0xaa0a4c5f, 0xdd0d7cc9,
	0x5005713c, 0x270241aa, 0xbe0b1010, 0xc90c2086, 0x5768b525, 0x206f85b3, 0xb966d409, 0xce61e49f,
	0x5edef90e, 0x29d9c998, 0xb0d09822, 0xc7d7a8b4, 0x59b33d17, 0x2eb40d81, 0xb7bd5c3b, 0xc0ba6cad,
	0xedb88320, 0x9abfb3b6, 0x03b6e20c, 0x74b1d29a, 0xead54739, 0x9dd277af, 0x04db2615, 0x73dc1683,
	0xe3630b12, 0x94643b84, 0x0d6d6a3e, 0x7a6a5aa8, 0xe40ecf0b, 0x9309ff9d, 0x0a00ae27, 0x7d079eb1,
	0xf00f9344, 0x8708a3d2, 0x1e01f268, 0x6906c2fe, 0xf762575d, 0x806567cb, 0x196c3671, 0x6e6b06e7,
	0xfed41b76, 0x89d32be0, 0x10da7a5a, 0x67dd4acc, 0xf9b9df6f, 0x8ebeeff9, 0x17b7be43, 0x60b08ed5,
	0xd6d6a3e8, 0xa1d1937e, 0x38d8c2c4, 0x4fdff252, 0xd1bb67f1, 0xa6bc5767, 0x3fb506dd, 0x48b2364b,
	0xd80d2bda, 0xaf0a1b4c, 0x36034af6, 0x41047a60, 0xdf60efc3, 0xa867df55, 0x316e8eef, 0x4669be79,
	0xcb61b38c, 0xbc66831a, 0x256fd2a0, 0x5268e236, 0xcc0c7795, 0xbb0b4703, 0x220216b9, 0x5505262f,
	0xc5ba3bbe, 0xb2bd0b28, 0x2bb45a92, 0x5cb36a04, 0xc2d7ffa7, 0xb5d0cf31, 0x2cd99e8b, 0x5bdeae1d,
	0x9b64c2b0, 0xec63f226, 0x756aa39c, 0x026d930a, 0x9c0906a9, 0xeb0e363f, 0x72076785, 0x05005713,
	0x95bf4a82, 0xe2b87a14, 0x7bb12bae, 0x0cb61b38, 0x92d28e9b, 0xe5d5be0d, 0x7cdcefb7, 0x0bdbdf21,
	0x86d3d2d4, 0xf1d4e242, 0x68ddb3f8, 0x1fda836e, 0x81be16cd, 0xf6b9265b, 0x6fb077e1, 0x18b74777,
	0x88085ae6, 0xff0f6a70, 0x66063bca, 0x11010b5c, 0x8f659eff, 0xf862ae69, 0x616bffd3, 0x166ccf45,
	0xa00ae278, 0xd70dd2ee, 0x4e048354, 0x3903b3c2, 0xa7672661, 0xd06016f7, 0x4969474d, 0x3e6e77db,
	0xaed16a4a, 0xd9d65adc, 0x40df0b66, 0x37d83bf0, 0xa9bcae53, 0xdebb9ec5, 0x47b2cf7f, 0x30b5ffe9,
	0xbdbdf21c, 0xcabac28a, 0x53b39330, 0x24b4a3a6, 0xbad03605, 0xcdd70693, 0x54de5729, 0x23d967bf,
	0xb3667a2e, 0xc4614ab8, 0x5d681b02, 0x2a6f2b94, 0xb40bbe37, 0xc30c8ea1, 0x5a05df1b, 0x2d02ef8d};

/* The remainders of a byte that 1 to 7 others follow, made once from those above. Eight bytes
 * cost about as much then as one does without. */
struct shm_crc_wide_ {
	uint32_t of[7][256];
	uint32_t ready;
};
__attribute__((weak, visibility("hidden"))) struct shm_crc_wide_ shm_crc_wide_ = {{{0}}, 0};

/* The caller holds the mutex of the home. */
static inline void shm_widen_crc_(void)
{
	if (__atomic_load_n(&shm_crc_wide_.ready, __ATOMIC_RELAXED) != 0)
		return;
	for (uint32_t b = 0; b < 256; b++)
		for (uint32_t k = 0, crc = shm_crc_table_[b]; k < 7; k++)
			shm_crc_wide_.of[k][b] = crc = shm_crc_table_[crc & 255] ^ crc >> 8;
	__atomic_store_n(&shm_crc_wide_.ready, 1, __ATOMIC_RELEASE);
}

static inline uint32_t shm_crc_(uint32_t crc, const void *bytes, size_t n)
{
	const unsigned char *b = (const unsigned char *)bytes;
	crc = ~crc;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	if (n >= 8 && __atomic_load_n(&shm_crc_wide_.ready, __ATOMIC_ACQUIRE) != 0)
		for (const uint32_t (*t)[256] = (const uint32_t (*)[256])shm_crc_wide_.of; n >= 8; n -= 8, b += 8) {
			uint32_t w[2];
			memcpy(w, b, sizeof w);
			w[0] ^= crc;
			crc = t[6][w[0] & 255] ^ t[5][w[0] >> 8 & 255] ^ t[4][w[0] >> 16 & 255] ^ t[3][w[0] >> 24] ^
				t[2][w[1] & 255] ^ t[1][w[1] >> 8 & 255] ^ t[0][w[1] >> 16 & 255] ^ shm_crc_table_[w[1] >> 24];
		}
#endif
	for (size_t i = 0; i < n; i++)
		crc = shm_crc_table_[(crc ^ b[i]) & 255] ^ crc >> 8;
	return ~crc;
}

/* ---- Futexes. They are never private, as other processes sleep on the same words. ---- */

/* Sleeps until a point in time. A signal ends the sleep. */
SHM_SLOW_ void shm_futex_wait_(uint32_t *word, uint32_t seen, uint32_t bits, int64_t until)
{
#ifdef SYS_futex_time64
	int64_t wide[2] = {until / 1000000000, until % 1000000000};
	if (syscall(SYS_futex_time64, word, 9 /* FUTEX_WAIT_BITSET */, seen, wide, NULL, bits) == 0 || errno != ENOSYS)
		return;
#endif
#ifdef SYS_futex
	long t[2] = {(long)(until / 1000000000), (long)(until % 1000000000)};
	(void)syscall(SYS_futex, word, 9, seen, t, NULL, bits); /* whatever the result, the caller checks the word again */
#endif
}

/* Wakes up to n sleepers; returns how many it woke. */
SHM_SLOW_ int shm_futex_wake_(uint32_t *word, int n)
{
#ifdef SYS_futex
	long woken = syscall(SYS_futex, word, 10 /* FUTEX_WAKE_BITSET */, n, NULL, NULL, ~UINT32_C(0));
#else
	long woken = syscall(SYS_futex_time64, word, 10, n, NULL, NULL, ~UINT32_C(0));
#endif
	return woken > 0 ? (int)woken : 0;
}

static inline bool shm_cas_(uint32_t *p, uint32_t old, uint32_t now)
{
	return __atomic_compare_exchange_n(p, &old, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static inline bool shm_cas_8_(uint64_t *p, uint64_t old, uint64_t now)
{
	return __atomic_compare_exchange_n(p, &old, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Counts a change, and wakes all processes that await one. */
SHM_SLOW_ void shm_wake_all_(uint32_t *change)
{
	for (;;) {
		uint32_t w = __atomic_load_n(change, __ATOMIC_SEQ_CST);
		if (shm_cas_(change, w, (w & ~SHM_AWAITED_) + 2)) {
			shm_futex_wake_(change, INT32_MAX);
			return;
		}
	}
}

/* Wakes the processes that await a change, if there are any. Call it once other
 * processes can see the change: a waiter sets the bit before it looks at the value. */
static inline void shm_changed_(uint32_t *change)
{
	if (!SHM_LIKELY_((__atomic_load_n(change, __ATOMIC_SEQ_CST) & SHM_AWAITED_) == 0))
		shm_wake_all_(change);
}

/* ---- Formats ---- */

/* Reports whether the bytes are UTF-8 as in RFC 3629, without control characters. */
static inline bool shm_utf8_(const char *s, size_t n)
{
	for (size_t i = 0; i < n;) {
		unsigned char c = (unsigned char)s[i++];
		uint32_t r, min;
		int more;
		if (c < 0x80) {
			if (c < ' ' || c == 0x7f)
				return false;
			continue;
		}
		if (c >= 0xc2 && c < 0xe0) {
			more = 1, r = c & 0x1f, min = 0x80;
		} else if (c >= 0xe0 && c < 0xf0) {
			more = 2, r = c & 0x0f, min = 0x800;
		} else if (c >= 0xf0 && c < 0xf5) {
			more = 3, r = c & 0x07, min = 0x10000;
		} else {
			return false;
		}
		for (; more > 0; more--) {
			if (i == n || ((unsigned char)s[i] & 0xc0) != 0x80)
				return false;
			r = r << 6 | ((unsigned char)s[i++] & 0x3f);
		}
		if (r < min || r > 0x10ffff || (r >= 0xd800 && r < 0xe000))
			return false;
	}
	return true;
}

struct shm_field_ {
	const char *text; /* format and name */
	size_t length, format;
	uint64_t offset, size;
	uint64_t end; /* of its own last field, if it is a struct, and so on inwards */
};

static inline bool shm_digit_(const char *p, const char *end) { return p < end && *p >= '0' && *p <= '9'; }

static inline bool shm_accept_(const char **p, const char *end, const char *token)
{
	size_t n = strlen(token);
	if ((size_t)(end - *p) < n || memcmp(*p, token, n) != 0)
		return false;
	*p += n;
	return true;
}

/* Parses a number from 1 without leading zeros. Returns 0 if there is none. */
static inline uint64_t shm_count_(const char **p, const char *end)
{
	uint64_t n = 0;
	if (!shm_digit_(*p, end) || **p == '0')
		return 0;
	for (; shm_digit_(*p, end); (*p)++)
		if ((n = n * 10 + (uint64_t)(**p - '0')) > SHM_MAX_LAYOUT_)
			return 0;
	return n;
}

/* The field names that a parser has seen, as a hash table. */
struct shm_names_ {
	const char *format;
	uint32_t mask; /* of the entries in use, a power of two minus 1 */
	struct {
		uint16_t name;   /* where the name starts in the format; 0: this entry is free */
		uint16_t fields; /* where the fields of its struct start */
	} seen[SHM_NAMES_];
};

/* Adds a name of n bytes to those of the struct whose fields start there. Returns false
 * if the struct has the name already. A name ends with a colon. */
static inline bool shm_add_name_(struct shm_names_ *t, const char *fields, const char *name, size_t n)
{
	/* The stack's address is random, so nobody can choose many names of one hash. */
	uint32_t h = ((uint32_t)(uintptr_t)t ^ (uint32_t)(fields - t->format)) * 0x9E3779B1U;
	for (size_t i = 0; i < n; i++)
		h = ((h ^ (unsigned char)name[i]) * 0x01000193U) ^ (h >> 15);
	for (h ^= h >> 16;; h++) {
		size_t i = h & t->mask;
		if (t->seen[i].name == 0) {
			t->seen[i].name = (uint16_t)(name - t->format);
			t->seen[i].fields = (uint16_t)(fields - t->format);
			return true;
		}
		if (t->seen[i].fields == fields - t->format && memcmp(t->format + t->seen[i].name, name, n + 1) == 0)
			return false;
	}
}

static inline bool shm_parse_item_(const char **p, const char *end, int depth, struct shm_names_ *names, uint64_t *size, uint64_t *last);

/* Parses the next part of a struct: padding, then a field. Returns 1 for a field, 0 if
 * the struct has ended, with its size in f->offset, and -1 if it is malformed. Padding
 * must be canonical, which means one run. names is NULL if the format is known to be
 * valid. */
static inline int shm_next_field_(const char **p, const char *end, int depth, struct shm_names_ *names, const char *fields, struct shm_field_ *f)
{
	uint64_t pad = 0, last = 0;
	f->offset += f->size;
	f->size = 0;
	if (shm_accept_(p, end, "x")) {
		pad = 1;
	} else if (shm_digit_(*p, end)) {
		pad = shm_count_(p, end);
		if (pad < 2 || !shm_accept_(p, end, "x"))
			return -1;
	}
	if ((f->offset += pad) > SHM_MAX_LAYOUT_)
		return -1;
	if (shm_accept_(p, end, "}"))
		return 0;
	f->text = *p;
	if (!shm_parse_item_(p, end, depth, names, &f->size, &last) || f->size > SHM_MAX_LAYOUT_ - f->offset || !shm_accept_(p, end, ":"))
		return -1;
	const char *name = *p;
	f->format = (size_t)(name - f->text) - 1;
	f->end = f->offset + last;
	for (; *p < end && **p != ':'; (*p)++)
		if (**p == ' ' || **p == '{' || **p == '}')
			return -1;
	size_t n = (size_t)(*p - name);
	f->length = (size_t)(*p - f->text);
	if (n == 0 || !shm_accept_(p, end, ":"))
		return -1;
	return names == NULL || (shm_utf8_(name, n) && shm_add_name_(names, fields, name, n)) ? 1 : -1;
}

/* Parses a type; *last is the end of its last field, and if that is a struct of the last
 * field of that one, and so on. It is 0 for a struct without fields. */
static inline bool shm_parse_item_(const char **p, const char *end, int depth, struct shm_names_ *names, uint64_t *size, uint64_t *last)
{
	static const struct { char code[3]; uint8_t size; } scalars[] = {
		{"?", 1}, {"b", 1}, {"B", 1}, {"c", 1}, {"h", 2}, {"H", 2}, {"i", 4}, {"I", 4},
		{"q", 8}, {"Q", 8}, {"f", 4}, {"d", 8}, {"Zf", 8}, {"Zd", 16}};
	uint64_t n = 1;
	int dims = 0;
	bool fields = false; /* whether it is a struct */
	if (shm_accept_(p, end, "(")) {
		do {
			uint64_t d = shm_count_(p, end);
			if (d == 0 || ++dims > SHM_DEPTH_ || n > SHM_MAX_LAYOUT_ / d)
				return false;
			n *= d;
		} while (shm_accept_(p, end, ","));
		if (!shm_accept_(p, end, ")"))
			return false;
	}
	*size = *last = 0;
	if (shm_accept_(p, end, "T{")) {
		struct shm_field_ f = {NULL, 0, 0, 0, 0, 0};
		const char *begin = *p;
		int more;
		if (depth == 0)
			return false;
		fields = true;
		while ((more = shm_next_field_(p, end, depth - 1, names, begin, &f)) == 1)
			*last = f.end;
		if (more < 0 || f.offset == 0)
			return false;
		*size = f.offset;
	} else if (shm_accept_(p, end, SHM_ORDER)) {
		for (size_t i = 0; i < sizeof scalars / sizeof scalars[0] && *size == 0; i++)
			if (shm_accept_(p, end, scalars[i].code))
				*size = scalars[i].size;
	}
	if (*size == 0 || n > SHM_MAX_LAYOUT_ / *size)
		return false;
	*size *= n;
	if (dims > 0 || !fields)
		*last = *size;
	return true;
}

/* Parses a format that may be malformed. */
static inline bool shm_parse_(const char *format, size_t n, uint64_t *size, uint64_t *last)
{
	const char *p = format, *end = format + n;
	struct shm_names_ names;
	if (n > SHM_FORMAT_MAX_)
		return false;
	names.format = format;
	names.mask = 15;
	while (names.mask + 1 < SHM_NAMES_ && names.mask < n / 4)
		names.mask = names.mask * 2 + 1;
	if (memchr(format, '{', n) != NULL)
		memset(names.seen, 0, (names.mask + 1) * sizeof names.seen[0]);
	return shm_parse_item_(&p, end, SHM_DEPTH_, &names, size, last) && p == end;
}

/* Reports whether the struct a has the fields of the struct b and only appends fields
 * to them. The last field of b may be a struct that a extends in the same way. Both
 * formats are valid. */
static inline bool shm_extends_(const char *a, size_t an, const char *b, size_t bn)
{
	struct shm_field_ f = {NULL, 0, 0, 0, 0, 0}, g = f;
	const char *ae = a + an, *be = b + bn;
	bool grown = false; /* the last field */
	if (!shm_accept_(&a, ae, "T{") || !shm_accept_(&b, be, "T{"))
		return false;
	while (shm_next_field_(&b, be, SHM_DEPTH_, NULL, NULL, &g) == 1) {
		if (grown || shm_next_field_(&a, ae, SHM_DEPTH_, NULL, NULL, &f) != 1 || f.offset != g.offset ||
			f.length - f.format != g.length - g.format || memcmp(f.text + f.format, g.text + g.format, f.length - f.format) != 0)
			return false;
		if (f.format == g.format && memcmp(f.text, g.text, f.format) == 0)
			continue;
		grown = true;
		if (!shm_extends_(f.text, f.format, g.text, g.format))
			return false;
	}
	while (shm_next_field_(&a, ae, SHM_DEPTH_, NULL, NULL, &f) == 1) {
	}
	return f.offset >= g.offset;
}

/* ---- Records ---- */

/* The description of a value. A constructor wants one, and a record has one. */
struct shm_shape_ {
	const char *name, *format;
	size_t name_length, format_length;
	uint64_t size;  /* bytes of an element */
	int64_t count;  /* elements, rows, locks, bytes of a C string, values of a ring, bounds, slots of an index; 0 for a single value, -1 for that of the existing value */
	uint8_t access, kind, hint;
	const char *unit, *help; /* behind the format in a record */
	size_t unit_length, help_length;
};

/* A validated copy of a record. */
struct shm_record_ {
	struct shm_shape_ shape; /* its texts point into meta */
	unsigned char *meta;     /* the caller frees it */
	uint64_t offset, length, data, capacity;
	uint64_t older; /* of a growth record: offset of the struct's own record */
	uint32_t pid;
	uint8_t hint;
	bool grown; /* the shape is that of a growth record */
	char program[41];
};

static inline bool shm_has_lock_(const struct shm_shape_ *s) { return s->access == SHM_LOCKED || s->access == SHM_PUBLISHED; }
static inline bool shm_is_table_(const struct shm_shape_ *s) { return s->access == SHM_PUBLISHED && s->kind == SHM_ARRAY; }
static inline bool shm_grows_(const struct shm_shape_ *s) { return (s->access == SHM_PUBLISHED && s->kind == SHM_SINGLE) || shm_is_table_(s); }

/* Reports whether each process has a cell in the data. */
static inline bool shm_has_cells_(uint8_t kind) { return kind == SHM_COUNTER || kind == SHM_GAUGE || kind == SHM_HISTOGRAM; }

/* Returns the bytes of a slot of a ring, or of a cell. */
static inline uint64_t shm_stride_(uint8_t kind, uint64_t size, uint64_t count)
{
	if (kind == SHM_RING)
		return shm_round_(size, 8);
	return shm_round_(kind == SHM_HISTOGRAM ? SHM_BUCKETS_ + 8 * (count + 1) : 8, SHM_PAIR_);
}

/* Returns the bytes of a row of a table, and of a published struct: a lock cell and two slots. */
static inline uint64_t shm_row_size_(uint64_t capacity) { return SHM_LINE_ + 2 * shm_round_(capacity, SHM_LINE_); }

/* Computes the bytes of all elements; of a table, of a ring and of what has cells, the
 * least capacity. Returns false if such a value cannot exist. */
static inline bool shm_slot_size_(const struct shm_shape_ *s, uint64_t *n)
{
	uint64_t count = s->count > 0 ? (uint64_t)s->count : 1, size = s->size;
	*n = 0;
	if (s->count < 0)
		return false;
	if (s->kind == SHM_MUTEX)
		return count <= SHM_MAX_SEGMENT_ / SHM_LINE_;
	if (s->size == 0 || s->size > SHM_MAX_SEGMENT_ || count > SHM_MAX_SEGMENT_)
		return false;
	if (shm_has_cells_(s->kind)) {
		count = 2; /* the shared one, and one more */
		size = shm_stride_(s->kind, s->size, (uint64_t)s->count);
	} else if (s->kind == SHM_RING) {
		count++;
		size = shm_stride_(s->kind, s->size, count);
	} else if (shm_is_table_(s)) {
		count = 1;
	}
	if (count > SHM_MAX_SEGMENT_ / size)
		return false;
	*n = count * size;
	return *n <= INTPTR_MAX / 4;
}

/* Returns the offset of the elements in the data, or of the first slot or cell. */
static inline uint64_t shm_elements_(const struct shm_shape_ *s)
{
	if (s->kind == SHM_MUTEX)
		return 0;
	if (s->access == SHM_LOCKED && s->kind == SHM_SINGLE)
		return SHM_NUMBER_;
	if (shm_has_cells_(s->kind))
		return SHM_PAIR_ + (s->kind == SHM_HISTOGRAM ? shm_round_(8 * (uint64_t)s->count, SHM_PAIR_) : 0);
	return shm_has_lock_(s) ? SHM_LINE_ : 0;
}

/* Returns the bytes of the data, and more than a segment can have if they are too many.
 * Precondition: the capacity is that of a segment at most, and the shape has a valid count. */
static inline uint64_t shm_data_size_(const struct shm_shape_ *s, uint64_t capacity)
{
	uint64_t count = s->count > 0 ? (uint64_t)s->count : 1, part;
	if (s->kind == SHM_GROWTH_)
		return 0;
	if (s->kind == SHM_MUTEX || shm_is_table_(s)) {
		part = SHM_LINE_;
		if (s->kind != SHM_MUTEX)
			part = shm_row_size_(capacity);
		return count > SHM_MAX_SEGMENT_ / part ? 2 * SHM_MAX_SEGMENT_ : count * part;
	}
	if (s->kind == SHM_RING)
		return SHM_LINE_ + shm_round_(capacity, SHM_LINE_);
	if (s->access == SHM_PUBLISHED)
		return shm_row_size_(capacity);
	if (s->access == SHM_LOCKED && s->kind == SHM_SINGLE)
		return SHM_LINE_;
	if (shm_has_cells_(s->kind))
		return shm_elements_(s) + capacity;
	if (s->access == SHM_LOCKED)
		return SHM_LINE_ + shm_round_(capacity, SHM_LINE_);
	return shm_round_(capacity, SHM_LINE_);
}

/* Reports whether a record of a valid shape may have the capacity. */
static inline bool shm_fits_(const struct shm_shape_ *s, uint64_t capacity)
{
	uint64_t need, stride = shm_stride_(s->kind, s->size, (uint64_t)s->count);
	if (!shm_slot_size_(s, &need) || capacity < need || capacity > SHM_MAX_SEGMENT_)
		return false;
	if (shm_has_cells_(s->kind))
		return capacity % stride == 0 && capacity / stride <= SHM_CELLS_MAX_ + 1;
	if (s->kind == SHM_RING)
		return capacity == need;
	return s->kind == SHM_GROWTH_ || s->kind == SHM_MUTEX || shm_elements_(s) + need <= shm_data_size_(s, capacity);
}

/* Reports whether the format is that of a number, which is what arrays have: no array
 * and no struct. It is one of the codes of valid formats. */
static inline bool shm_number_(const char *format, size_t n)
{
	return n >= 2 && n <= 3 && format[0] == SHM_ORDER[0] && format[1] != 'T' && format[1] != '(';
}

/* Reports whether one store writes a number of the format. Such numbers can be locked. */
static inline bool shm_word_(const char *format, size_t n)
{
	return shm_number_(format, n) && format[1] != '?' && format[1] != 'c' && (n == 2 || format[2] != 'd');
}

/* Reports whether an atomic value of a kind can have the format, which is valid. */
static inline bool shm_atomic_(uint8_t kind, const char *format, size_t n)
{
	const char *codes = kind == SHM_SINGLE || kind == SHM_ARRAY ? "iIqQ" : kind == SHM_HISTOGRAM ? "d" : shm_has_cells_(kind) ? "qQd" : "";
	return n == 2 && strchr(codes, format[1]) != NULL;
}

/* Reports whether a value can be. Its format is valid. */
static inline bool shm_valid_shape_(const struct shm_shape_ *s, size_t unit, size_t help, uint8_t hint)
{
	uint64_t n;
	bool fits, counted = s->kind == SHM_ARRAY || s->kind == SHM_CHARS || s->kind == SHM_RING || s->kind == SHM_HISTOGRAM;
	if (s->count < 0 || !shm_slot_size_(s, &n))
		return false;
	if ((shm_grows_(s) || s->kind == SHM_GROWTH_) && s->size > SHM_EXTENT_MAX_)
		return false;
	if (s->kind == SHM_INDEX_)
		return s->access == SHM_RAW && s->name_length == 0 && unit == 0 && help == 0 && hint == 0 && s->count >= SHM_INDEX_SLOTS_ &&
			s->count <= SHM_INDEX_MOST_ && (s->count & (s->count - 1)) == 0;
	switch (s->access) {
	case SHM_RAW:
		fits = s->kind == SHM_SINGLE || s->kind == SHM_CHARS || (s->kind == SHM_ARRAY && shm_number_(s->format, s->format_length));
		break;
	case SHM_ATOMIC:
		fits = shm_atomic_(s->kind, s->format, s->format_length);
		break;
	case SHM_LOCKED:
		fits = s->kind == SHM_MUTEX || (s->kind <= SHM_ARRAY && shm_word_(s->format, s->format_length));
		break;
	case SHM_PUBLISHED:
		fits = s->kind == SHM_SINGLE || s->kind == SHM_ARRAY || s->kind == SHM_CHARS || s->kind == SHM_RING ||
			(s->kind == SHM_GROWTH_ && unit == 0 && help == 0 && hint == 0);
		break;
	default:
		return false;
	}
	return fits && (s->kind == SHM_MUTEX || counted == (s->count > 0)) && (s->kind != SHM_HISTOGRAM || s->count <= SHM_BOUNDS_MAX_) && (s->kind != SHM_CHARS || (s->format_length == 2 && s->format[1] == 'c')) &&
		s->name_length > 0 && s->name_length <= SHM_NAME_MAX_ && unit <= SHM_NAME_MAX_ && help <= SHM_HELP_MAX_ && shm_utf8_(s->name, s->name_length);
}

/* The fixed part of a record, as it is in memory. */
struct shm_fixed_ {
	uint64_t size;
	uint32_t meta, check;
	uint64_t count, element, capacity;
	uint8_t access, kind;
	uint16_t name;
	uint32_t format;
	uint16_t unit, help;
	uint32_t pid;
	uint64_t older;
	uint8_t hint;
	unsigned char zero[7];
	char program[40];
};
SHM_ASSERT_(sizeof(struct shm_fixed_) == SHM_RECORD_FIXED_ && offsetof(struct shm_fixed_, pid) == 52 && offsetof(struct shm_fixed_, program) == 72, "record");

static inline uint32_t shm_check_record_(const unsigned char *meta, size_t n)
{
	return shm_crc_(shm_crc_(0, meta, SHM_RECORD_CHECK_), meta + SHM_RECORD_CHECK_ + 4, n - SHM_RECORD_CHECK_ - 4);
}

/* Copies the fixed part of a record and checks its sizes against end. */
static inline bool shm_fixed_part_(const shm_segment *s, uint64_t off, uint64_t end, struct shm_fixed_ *f)
{
	if (off < SHM_HEADER_ || off >= end || end - off < SHM_RECORD_FIXED_)
		return false;
	memcpy(f, s->mem + off, sizeof *f);
	return f->size <= end - off && f->size % SHM_LINE_ == 0 && f->meta >= SHM_RECORD_FIXED_ && f->meta % SHM_LINE_ == 0 && f->meta <= f->size &&
		f->format <= SHM_FORMAT_MAX_ && f->meta == shm_round_((uint64_t)SHM_RECORD_FIXED_ + f->name + f->format + f->unit + f->help, SHM_LINE_);
}

static inline bool shm_zeros_(const unsigned char *b, const unsigned char *end)
{
	while (b < end && *b == 0)
		b++;
	return b == end;
}

/* Validates the record at off, which must end at end or before. It validates a copy,
 * which other processes cannot change.
 * Precondition: the file is known to have the bytes up to end. */
SHM_SLOW_ int shm_decode_(const shm_segment *s, uint64_t off, uint64_t end, struct shm_record_ *r)
{
	struct shm_fixed_ f;
	uint64_t size = 0, last;
	memset(r, 0, sizeof *r);
	if (!shm_fixed_part_(s, off, end, &f))
		return SHM_EFORMAT;
	r->meta = (unsigned char *)malloc(f.meta);
	if (r->meta == NULL)
		return -ENOMEM;
	memcpy(r->meta, &f, sizeof f);
	memcpy(r->meta + sizeof f, s->mem + off + sizeof f, f.meta - sizeof f);
	r->shape.name = (const char *)r->meta + SHM_RECORD_FIXED_;
	r->shape.name_length = f.name;
	r->shape.format = r->shape.name + f.name;
	r->shape.format_length = f.format;
	r->shape.size = f.element;
	r->shape.count = f.count > SHM_MAX_SEGMENT_ ? -1 : (int64_t)f.count;
	r->shape.access = f.access;
	r->shape.kind = f.kind;
	r->offset = off;
	r->length = f.size;
	r->data = off + f.meta;
	r->capacity = f.capacity;
	r->pid = f.pid;
	r->hint = r->shape.hint = f.hint;
	r->shape.unit = r->shape.format + f.format;
	r->shape.unit_length = f.unit;
	r->shape.help = r->shape.unit + f.unit;
	r->shape.help_length = f.help;
	memcpy(r->program, f.program, sizeof f.program);
	bool formatted = f.kind != SHM_MUTEX && f.kind != SHM_INDEX_;
	if (f.kind == SHM_INDEX_)
		size = sizeof(uint64_t);
	bool ok = shm_check_record_(r->meta, f.meta) == f.check && shm_zeros_(f.zero, f.zero + sizeof f.zero) &&
		shm_zeros_(r->meta + SHM_RECORD_FIXED_ + f.name + f.format + f.unit + f.help, r->meta + f.meta) &&
		f.older <= off / SHM_LINE_ && (f.older != 0) == (f.kind == SHM_GROWTH_) &&
		(formatted ? shm_parse_(r->shape.format, f.format, &size, &last) : f.format == 0) && size == f.element &&
		shm_valid_shape_(&r->shape, f.unit, f.help, f.hint) && shm_fits_(&r->shape, f.capacity) && f.meta + shm_data_size_(&r->shape, f.capacity) == f.size;
	if (ok) {
		r->older = f.older * SHM_LINE_;
		return 0;
	}
	free(r->meta);
	r->meta = NULL;
	return SHM_EFORMAT;
}

/* ---- Files ---- */

/* Reports whether an error says that the kernel, the filesystem or a filter of system
 * calls does not permit an optional call. Each has a second way. */
static inline bool shm_refused_(int err)
{
	return err == ENOSYS || err == EPERM || err == EACCES || err == EINVAL || err == EOPNOTSUPP || err == EXDEV;
}

/* Applies a lock to n bytes, or queries it. After a query, *l is the lock that conflicts. */
SHM_SLOW_ int shm_file_lock_(int fd, int cmd, short type, int64_t off, int64_t n, struct flock *l)
{
	memset(l, 0, sizeof *l);
	l->l_type = type;
	l->l_whence = SEEK_SET;
	l->l_start = off;
	l->l_len = n;
	while (fcntl(fd, cmd, l) != 0)
		if (errno != EINTR)
			return errno == EBADF ? SHM_ECLOSED : -errno;
	return 0;
}

/* Reads the state of the segment's file through one of its descriptors. Returns
 * SHM_ECLOSED if the descriptor is another file's: a program that closes descriptors
 * which are not its own may have given the number away. */
static inline int shm_stat_(const shm_segment *s, int fd, struct stat *st)
{
	if (fstat(fd, st) != 0)
		return errno == EBADF ? SHM_ECLOSED : -errno;
	return st->st_dev == s->device && st->st_ino == s->inode ? 0 : SHM_ECLOSED;
}

/* Reports whether the lease of an id is held: 1 or 0, or a negative error. It asks for a
 * read lock, which conflicts with write locks only. So a process that can only read the
 * file cannot pretend that an id is alive. A lease that looks free proves nothing if ctl
 * is another file's by now, where no lease is held.
 * Precondition: the lease is not the one of this segment. */
static inline int shm_leased_(const shm_segment *s, uint32_t id)
{
	struct flock l;
	struct stat st;
	int fd = s->ctl >= 0 ? s->ctl : s->fd, err = shm_file_lock_(fd, F_OFD_GETLK, F_RDLCK, SHM_LEASE_BASE_ + id, 1, &l);
	if (err != 0)
		return err;
	return l.l_type != F_UNLCK ? 1 : shm_stat_(s, fd, &st);
}

static inline uint64_t shm_page_(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }

/* Says that a core dump has the bytes between two offsets of the mapping, or that it has
 * not. The kernel would dump the whole reserved range of a file without a name, however
 * little of it is allocated. It is advice: nothing depends on it. */
static inline void shm_dumped_(const shm_segment *s, uint64_t from, uint64_t to, bool dumped)
{
	uint64_t page = shm_page_();
	from = from / page * page;
	to = shm_min_(shm_round_(to, page), s->length);
	if (from < to)
		(void)madvise(s->mem + from, (size_t)(to - from), dumped ? MADV_DODUMP : MADV_DONTDUMP);
}

/* Checks that the first end bytes are mapped and in the file, whatever the header says. */
static inline int shm_reach_(shm_segment *s, uint64_t end)
{
	struct stat st;
	uint64_t had = __atomic_load_n(&s->bytes, __ATOMIC_RELAXED);
	if (end > s->length)
		return SHM_EFULL; /* it has grown beyond the address space that this process could map */
	if (end <= had)
		return 0;
	int err = shm_stat_(s, s->fd, &st);
	if (err != 0)
		return err;
	if ((uint64_t)st.st_size < end)
		return SHM_EFORMAT;
	shm_dumped_(s, had, (uint64_t)st.st_size, true);
	__atomic_store_n(&s->bytes, (uint64_t)st.st_size, __ATOMIC_RELAXED);
	return 0;
}

/* Reserves space on the filesystem, so that a later access cannot fault. Nobody uses the
 * space yet, and if this fails, what there is of it is given back. */
SHM_SLOW_ int shm_reserve_(int fd, uint64_t off, uint64_t end)
{
	const uint64_t step = 16 << 20; /* small, as a signal undoes a whole call of fallocate */
	struct rlimit most;
	struct stat had;
	/* Beyond the limit the system would end the process, by SIGXFSZ. */
	if (getrlimit(RLIMIT_FSIZE, &most) == 0 && most.rlim_cur != RLIM_INFINITY && end > most.rlim_cur &&
	    fstat(fd, &had) == 0 && end > (uint64_t)had.st_size)
		return -EFBIG;
	for (uint64_t at = off; at < end; at += step) {
		uint64_t n = shm_min_(step, end - at);
		int err;
		while ((err = fallocate(fd, 0, (off_t)at, (off_t)n) != 0 ? errno : 0) == EINTR) {
		}
		if (shm_refused_(err)) {
			char zeros[4096];
			struct stat st;
			memset(zeros, 0, sizeof zeros);
			err = fstat(fd, &st) != 0 ? errno : 0;
			uint64_t b = err == 0 && (uint64_t)st.st_size > at ? (uint64_t)st.st_size : at;
			while (err == 0 && b < at + n) {
				ssize_t w = pwrite(fd, zeros, (size_t)shm_min_(sizeof zeros, at + n - b), (off_t)b);
				if (w > 0)
					b += (uint64_t)w;
				else if (w == 0 || errno != EINTR)
					err = w == 0 ? ENOSPC : errno;
			}
		}
		if (err != 0) {
			(void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)(at + n - off));
			return -err;
		}
	}
	return 0;
}

/* The types of filesystems that are memory, which no file outlives. The last one cannot
 * hold a segment: it has neither small pages nor write. */
enum { SHM_TMPFS_ = 0x01021994 };
#define SHM_RAMFS_ UINT32_C(0x858458f6)
#define SHM_HUGETLBFS_ UINT32_C(0x958458f6)
#define SHM_BTRFS_ UINT32_C(0x9123683e)
#define SHM_OVERLAYFS_ UINT32_C(0x794c7630)
#define SHM_NOCOW_ 0x00800000 /* FS_NOCOW_FL of linux/fs.h, which does not go together with all headers of libc */

static inline bool shm_memory_(uint32_t type) { return type == SHM_TMPFS_ || type == SHM_RAMFS_ || type == SHM_HUGETLBFS_; }

/* Finds out the type of the filesystem of a file. Returns SHM_EFILESYSTEM if it cannot
 * hold a segment. */
static inline int shm_filesystem_(int fd, uint32_t *type)
{
	struct statfs st;
	int err;
	while ((err = fstatfs(fd, &st) != 0 ? errno : 0) == EINTR) {
	}
	*type = err == 0 ? (uint32_t)st.f_type : 0; /* after an error a disk is assumed */
	return *type == SHM_HUGETLBFS_ ? SHM_EFILESYSTEM : 0;
}

/* Makes the path of the file of a name. The caller frees it. */
static inline int shm_path_(const char *name, char **path)
{
	const char *slash = strrchr(name, '/'), *last = slash != NULL ? slash + 1 : name;
	size_t n = strlen(name);
	*path = NULL;
	if (*last == 0 || strcmp(last, ".") == 0 || strcmp(last, "..") == 0 || strstr(name, "/../") != NULL)
		return -EINVAL;
	if (strlen(last) > 255 || n > 4095)
		return -ENAMETOOLONG;
	*path = (char *)malloc(n + sizeof "/dev/shm/");
	if (*path == NULL)
		return -ENOMEM;
	memcpy(*path, slash != NULL ? "" : "/dev/shm/", slash != NULL ? 1 : sizeof "/dev/shm/");
	strcat(*path, name);
	return 0;
}

/* Moves a descriptor to a number from 3 on. A program may have closed its standard input,
 * output or error, and what it prints there must not go into a segment. Returns a
 * negative number as it is. */
static inline int shm_beyond_stdio_(int fd)
{
	if (fd < 0 || fd > 2)
		return fd;
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3), err = errno;
	close(fd);
	return own >= 0 ? own : -err;
}

static inline int shm_open_existing_(const char *path, bool read_only)
{
	int fd;
	while ((fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) < 0)
		if (errno != EINTR)
			return errno == ELOOP || errno == EISDIR || errno == ENXIO || errno == ENODEV ? SHM_EINSECURE : -errno;
	return fd;
}

/* Reads a small file; returns its length, 0 if it cannot be read. A NUL follows. */
static inline size_t shm_read_file_(const char *path, char *b, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, b, room - 1);
	if (fd >= 0)
		close(fd);
	b[n > 0 ? n : 0] = 0;
	return n > 0 ? (size_t)n : 0;
}

/* Reports whether an id stands for all that this user namespace does not have. Then a
 * file that has it is nobody's in particular, whoever this process is. */
SHM_SLOW_ bool shm_stranger_(uint32_t id, const char *map, const char *overflow)
{
	char b[4096], *line = b;
	unsigned long long total = 0, n;
	unsigned long strangers = 65534;
	if (shm_read_file_(overflow, b, sizeof b) > 0)
		strangers = strtoul(b, NULL, 10);
	if (id != strangers)
		return false;
	(void)shm_read_file_(map, b, sizeof b);
	while (line != NULL && sscanf(line, "%*u %*u %llu", &n) == 1) {
		total += n;
		if ((line = strchr(line, '\n')) != NULL)
			line++;
	}
	return total < UINT32_MAX; /* the last number is no id */
}

/* Reports whether a file is certainly this process's user's, or root's, who can do
 * anything to this process anyhow. */
static inline bool shm_owns_(const struct stat *st)
{
	return st->st_uid == 0 || (st->st_uid == geteuid() && !shm_stranger_(st->st_uid, "/proc/self/uid_map", "/proc/sys/kernel/overflowuid"));
}

/* Reports whether the group of a file is certainly one of this process's. */
static inline bool shm_shares_(const struct stat *st)
{
	int n = getgroups(0, NULL);
	gid_t *all = n > 0 ? (gid_t *)malloc((size_t)n * sizeof *all) : NULL;
	bool member = st->st_gid == getegid();
	n = all != NULL ? getgroups(n, all) : 0;
	for (int i = 0; i < n; i++)
		member = member || all[i] == st->st_gid;
	free(all);
	return member && !shm_stranger_(st->st_gid, "/proc/self/gid_map", "/proc/sys/kernel/overflowgid");
}

/* Checks that a file is safe to attach to: it is no trap of another user, and no more
 * users can write to it than mode grants. The owner of a file can always write to it and
 * cut it off. So a process that writes trusts another user's file only if mode lets all
 * users write, or lets the file's group write and the process is in it. One that reads
 * does so if mode grants anything to others. */
static inline int shm_trusted_(int fd, const shm_options *o, uint64_t links)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return -errno;
	if (S_ISREG(st.st_mode) && st.st_nlink == 0)
		return -ENOENT; /* it was removed meanwhile */
	if (!S_ISREG(st.st_mode) || links > 1 || (st.st_mode & 0222 & ~o->mode) != 0)
		return SHM_EINSECURE;
	if (shm_owns_(&st))
		return 0;
	bool trusts = o->read_only ? (o->mode & 077) != 0 : (o->mode & 02) != 0 || ((o->mode & 020) != 0 && shm_shares_(&st));
	return trusts ? 0 : SHM_EINSECURE;
}

/* Opens the segment's file again, for an open file description that no child shares. A
 * process may be unable to: another user's, without /proc. It has no second way. A POSIX
 * lock would not do, as any close of the file in the process drops it. */
SHM_SLOW_ int shm_reopen_(const shm_segment *s, bool read_only)
{
	char link[40];
	struct stat st;
	int err = shm_stat_(s, s->fd, &st);
	if (err != 0)
		return err;
	snprintf(link, sizeof link, "/proc/self/fd/%d", s->fd);
	int fd;
	while ((fd = open(link, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC)) < 0 && errno == EINTR) {
	}
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
		return -errno;
	if (fd < 0 && s->path != NULL) /* there is no /proc, or it refuses: the path serves if it leads to the same file */
		fd = shm_open_existing_(s->path, read_only);
	if (fd >= 0 && shm_stat_(s, fd, &st) == 0)
		return shm_beyond_stdio_(fd);
	if (fd >= 0)
		close(fd);
	return SHM_ENOLEASE;
}

static inline uint64_t shm_hash_(uint64_t h, const void *bytes, size_t n) /* FNV-1a */
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ ((const unsigned char *)bytes)[i]) * UINT64_C(1099511628211);
	return h;
}

/* Returns 40 bits that say for which boot of the system and for which file the leases of
 * a segment are valid, or 0 if the system does not tell its boots apart. Memory needs no
 * boot: no reboot leaves it. */
SHM_SLOW_ uint64_t shm_home_of_(uint32_t type, uint64_t inode, uint64_t identity)
{
	char boot[128];
	uint64_t h = UINT64_C(14695981039346656037);
	if (!shm_memory_(type)) {
		int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, boot, sizeof boot);
		if (fd >= 0)
			close(fd);
		if (n <= 0)
			return 0;
		h = shm_hash_(h, boot, (size_t)n);
	}
	h = shm_hash_(shm_hash_(h, &inode, sizeof inode), &identity, sizeof identity);
	return (h & SHM_SEALED_MAX_) | 1;
}

/* ---- Id and lease ---- */

/* Closes a descriptor of the segment, unless its number is another file's by now. */
static inline void shm_close_(const shm_segment *s, int fd)
{
	struct stat st;
	if (fd >= 0 && shm_stat_(s, fd, &st) == 0)
		close(fd);
}

/* Gives up the parent's id and lease in a child. It closes ctl and never unlocks, which
 * would end the lease of the living parent. The caller holds the mutex of the home, or
 * is the only thread. */
static inline void shm_forget_(shm_segment *s)
{
	shm_close_(s, s->ctl);
	s->ctl = -1;
	s->askers = NULL;
	s->pid = getpid();
	pthread_mutex_init(&s->gate, NULL); /* a thread that does not exist in the child may have held it */
	__atomic_store_n(&s->id, 0, __ATOMIC_RELAXED);
}

static inline void shm_before_fork_(void) { pthread_mutex_lock(&shm_home_.mutex); }
static inline void shm_in_parent_(void) { pthread_mutex_unlock(&shm_home_.mutex); }
static inline void shm_in_child_(void)
{
	for (shm_segment *s = shm_home_.segments; s != NULL; s = s->next)
		shm_forget_(s);
	for (struct shm_passed_ *p = shm_home_.passed; p != NULL; p = p->next) {
		struct stat st;
		if (p->fd >= 0 && fstat(p->fd, &st) == 0 && st.st_dev == p->device && st.st_ino == p->inode)
			close(p->fd);
		p->fd = -1;
		p->user = NULL;
	}
	pthread_mutex_init(&shm_home_.mutex, NULL);
}
static inline void shm_after_fork(void) { shm_in_child_(); }

/* Takes the description of the segment's file that the parent of this process has handed
 * over, if there is one that no other attachment uses. Returns it, or NULL. */
static inline struct shm_passed_ *shm_take_passed_(shm_segment *s)
{
	for (struct shm_passed_ *p = s->home->passed; p != NULL; p = p->next)
		if (p->fd >= 0 && p->user == NULL && p->device == s->device && p->inode == s->inode) {
			p->user = s;
			s->ctl = p->fd;
			return p;
		}
	return NULL;
}

/* Opens ctl, unless it is open. The caller holds the mutex of the home. */
static inline int shm_control_(shm_segment *s)
{
	struct stat st;
	if (s->ctl >= 0)
		return 0;
	if (shm_take_passed_(s) != NULL)
		return shm_stat_(s, s->ctl, &st);
	int fd = shm_reopen_(s, false);
	if (fd < 0)
		return fd;
	s->ctl = fd;
	return 0;
}

/* Gives up ctl. A description that was handed over stays open, without locks. */
static inline void shm_drop_control_(shm_segment *s)
{
	struct flock l;
	for (struct shm_passed_ *p = s->home->passed; p != NULL; p = p->next)
		if (p->user == s) {
			p->user = NULL;
			if (shm_file_lock_(s->ctl, F_OFD_SETLK, F_UNLCK, 0, 0, &l) == 0)
				s->ctl = -1;
		}
	shm_close_(s, s->ctl);
	s->ctl = -1;
}

/* Reports whether a process that may only read the file keeps others from the lease of an
 * id: it can take read locks, with which a lease conflicts. */
static inline int shm_blocked_(const shm_segment *s, uint32_t id)
{
	struct flock l;
	int err = shm_file_lock_(s->ctl, F_OFD_GETLK, F_WRLCK, SHM_LEASE_BASE_ + id, 1, &l);
	return err != 0 ? err : l.l_type == F_RDLCK ? SHM_EBLOCKED : 0;
}

/* Takes an id that no process had before, and its lease. It skips some ids whose entry
 * in the table belongs to a living process, so that processes that live long keep their
 * entries. */
SHM_SLOW_ int shm_new_id_(shm_segment *s, uint32_t *id)
{
	const int max_skipped = 32;
	struct flock l;
	struct stat st;
	for (int tries = 0;; tries++) {
		uint64_t n, w;
		if (!shm_unseal_(&s->header->next_id, &n) || n == 0)
			return SHM_EFORMAT;
		if (n > SHM_OWNER_MASK_)
			return SHM_EFULL;
		int err = shm_blocked_(s, (uint32_t)n); /* before the id is taken, as no id is taken twice */
		if (err == 0)
			err = shm_stat_(s, s->ctl, &st);
		if (err != 0)
			return err;
		w = shm_seal_(n);
		if (!__atomic_compare_exchange_n(&s->header->next_id, &w, shm_seal_(n + 1), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			tries--;
			continue;
		}
		*id = (uint32_t)n;
		uint32_t other = __atomic_load_n(&shm_entry_of_(s, *id)->id, __ATOMIC_SEQ_CST) & SHM_OWNER_MASK_;
		if (tries < max_skipped && other != 0 && shm_leased_(s, other) != 0)
			continue;
		err = shm_file_lock_(s->ctl, F_OFD_SETLK, F_WRLCK, SHM_LEASE_BASE_ + *id, 1, &l);
		if (err == 0 || (err != -EAGAIN && err != -EACCES) || (err = shm_blocked_(s, *id)) != 0)
			return err;
		if (tries > 2 * max_skipped) /* only a broken or hostile peer holds leases of new ids */
			return SHM_EFORMAT;
	}
}

/* Gives this process an id and its lease, unless it has them. The order is: id, lease,
 * table, first use of the id. */
SHM_SLOW_ int shm_ready_(shm_segment *s)
{
	uint32_t id = 0;
	struct stat ns;
	if (s->read_only)
		return -EROFS;
	if (__atomic_load_n(&s->id, __ATOMIC_ACQUIRE) != 0 && s->pid == getpid())
		return 0;
	pthread_mutex_lock(&s->home->mutex);
	if (s->pid != getpid())
		shm_forget_(s);
	int err = 0;
	if (s->id == 0 && (err = shm_control_(s)) == 0 && (err = shm_new_id_(s, &id)) == 0) {
		struct shm_entry_ *e = shm_entry_of_(s, id);
		__atomic_store_n(&e->id, 0, __ATOMIC_SEQ_CST);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		e->pid = (uint32_t)getpid();
		e->ns = stat("/proc/self/ns/pid", &ns) == 0 ? ns.st_ino : 0;
		memset(e->program, 0, sizeof e->program);
		memcpy(e->program, program_invocation_short_name, strnlen(program_invocation_short_name, sizeof e->program));
		__atomic_store_n(&e->id, id, __ATOMIC_SEQ_CST);
		__atomic_store_n(&s->id, id, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&s->home->mutex);
	return err;
}

/* ---- The lock ----
 *
 * Invariants: the lock word changes by compare-and-swap only. A process writes its own
 * id into the word. The id leaves the word when the process unlocks, or by a takeover
 * after its death. A thread that has slept in the kernel sets SHM_KERNEL_WAITERS_ in
 * every word that it takes or sleeps on next: the thread that woke it may have cleared
 * the bit, and has woken no other waiter.
 */

/* Reports whether this thread is to probe the owner's lease now, on behalf of all
 * processes and threads. It is if the last probe is at least so many nanoseconds ago. A
 * time in the future counts as long ago. */
static inline bool shm_may_probe_(const shm_segment *s, struct shm_cell_ *c, int64_t every)
{
	int64_t last = __atomic_load_n(&c->probed, __ATOMIC_SEQ_CST), now = shm_now_();
	return now >= __atomic_load_n(&s->blind_until, __ATOMIC_RELAXED) && (uint64_t)now - (uint64_t)last >= (uint64_t)every &&
		__atomic_compare_exchange_n(&c->probed, &last, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Takes over the lock if its owner is dead. The compare-and-swap is from the word that
 * was read before the lease was probed. If another process has taken the lock since, the
 * word has changed and the takeover fails. It sets SHM_KERNEL_WAITERS_, since waiters
 * may sleep. *dead is an owner that is known to be dead, and dead owners stay dead. every
 * is that of shm_may_probe_. */
SHM_SLOW_ bool shm_take_over_(shm_segment *s, struct shm_cell_ *c, uint32_t w, uint32_t *dead, int64_t every)
{
	uint32_t owner = w & SHM_OWNER_MASK_;
	if (owner != *dead) {
		if (!shm_may_probe_(s, c, every))
			return false;
		int leased = shm_leased_(s, owner);
		if (leased < 0) /* after an error the owner counts as alive */
			__atomic_store_n(&s->blind_until, shm_now_() + SHM_BLIND_NS_, __ATOMIC_RELAXED);
		if (leased != 0)
			return false;
		*dead = owner;
	}
	if (!shm_cas_(&c->word, w, shm_id_(s) | SHM_KERNEL_WAITERS_))
		return false;
	__atomic_store_n(&c->abandoned, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&c->takeovers, 1, __ATOMIC_SEQ_CST);
	shm_wake_all_(&c->change); /* the dead owner may have made a change and not woken those who await it */
	return true;
}

/* Wakes one waiter in the kernel. If there is none, the reservation is for nobody and is
 * removed, unless a waiter sleeps in Go for lack of a place in the kernel. After that
 * it wakes again, as a waiter may have come meanwhile and sleep on the reserved word. */
SHM_SLOW_ void shm_wake_one_(struct shm_cell_ *c, uint32_t starve)
{
	if (shm_futex_wake_(&c->word, 1) == 0 && starve != SHM_STARVE_GO_ && shm_cas_(&c->word, SHM_KERNEL_WAITERS_, 0))
		shm_futex_wake_(&c->word, 1);
}

/* Looks at a lock's word so many times, and reports whether it changes. Before each look is a
 * pause of turns of an empty loop, twice as long each time. To sleep and to be woken costs
 * both processes many times the three microseconds of four pauses from 500 turns on. The pauses
 * leave the cache line to the owner, which may take and release the lock in them a hundred times. */
static inline bool shm_moves_(struct shm_cell_ *c, uint32_t w, int pause, int looks)
{
	for (int i = 0; i < looks; i++) {
		for (int turns = pause << (i & 7); turns > 0; turns--)
			__asm__ volatile("");
		if (__atomic_load_n(&c->word, __ATOMIC_SEQ_CST) != w)
			return true;
	}
	return false;
}

/* Waits for a lock that the fast path did not get, or gives up at a point in time. */
static inline int shm_wait_lock_(shm_segment *s, struct shm_cell_ *c, int64_t until)
{
	int err = shm_ready_(s);
	if (err != 0)
		return err;
	uint32_t id = shm_id_(s), dead = 0;
	int64_t since = shm_now_();
	bool slept = false;
	for (;;) {
		uint32_t w = __atomic_load_n(&c->word, __ATOMIC_SEQ_CST), owner = w & SHM_OWNER_MASK_;
		if (owner == 0 && (w == 0 || slept)) { /* a reservation is for a waiter that has slept */
			if (shm_cas_(&c->word, w, id | (w & SHM_KERNEL_WAITERS_) | (slept ? SHM_KERNEL_WAITERS_ : 0)))
				return 0;
			continue;
		}
		if (owner != 0 && owner != id && shm_take_over_(s, c, w, &dead, SHM_PROBE_NS_))
			return 0;
		bool moved = shm_moves_(c, w, owner == id ? 0 : 500, owner == id ? 30 : 4);
		if (until != INT64_MAX && shm_now_() >= until) {
			if (slept) /* a wake-up may have reached this thread: it is passed on to another waiter */
				shm_wake_one_(c, __atomic_load_n(&c->starve, __ATOMIC_SEQ_CST));
			return -ETIMEDOUT;
		}
		if (moved)
			continue;
		if ((w & SHM_KERNEL_WAITERS_) == 0) {
			if (!shm_cas_(&c->word, w, w | SHM_KERNEL_WAITERS_))
				continue;
			w |= SHM_KERNEL_WAITERS_;
		}
		slept = true;
		int64_t now = shm_now_();
		bool patient = now - since >= SHM_SHORT_NS_;
		if (patient)
			__atomic_store_n(&c->starve, SHM_STARVE_KERNEL_, __ATOMIC_SEQ_CST);
		shm_futex_wait_(&c->word, w, UINT32_C(1) << id % 32, shm_sooner_(until, now + (patient ? SHM_SLEEP_NS_ : SHM_SHORT_NS_)));
	}
}

/* Waits for a lock. The thread is not cancelled meanwhile: it may be the one for which
 * the lock is reserved, and the first lock opens files. */
SHM_SLOW_ int shm_lock_slow_(const shm_value *v, int64_t until)
{
	if (v->cell == NULL)
		return -EINVAL;
	int state = shm_hold_off_(), err = shm_wait_lock_(v->segment, v->cell, until);
	shm_permit_(state);
	return err;
}

/* Takes a lock that is free, reserved for a waiter that did not come, or a dead
 * process's. */
static inline int shm_try_lock_(shm_segment *s, struct shm_cell_ *c)
{
	int err = shm_ready_(s);
	if (err != 0)
		return err;
	uint32_t w = __atomic_load_n(&c->word, __ATOMIC_SEQ_CST), owner = w & SHM_OWNER_MASK_, dead = 0;
	bool got = false;
	if (w == 0)
		got = shm_cas_(&c->word, 0, shm_id_(s));
	else if (owner == 0) /* a reservation that no waiter came for */
		got = shm_may_probe_(s, c, SHM_PROBE_NS_) && shm_cas_(&c->word, w, shm_id_(s) | SHM_KERNEL_WAITERS_);
	else if (owner != shm_id_(s))
		got = shm_take_over_(s, c, w, &dead, 0); /* it does not try again, so a probe of before is no answer */
	return got ? 0 : -EBUSY;
}

SHM_SLOW_ int shm_trylock_slow_(const shm_value *v)
{
	if (v->cell == NULL)
		return -EINVAL;
	int state = shm_hold_off_(), err = shm_try_lock_(v->segment, v->cell);
	shm_permit_(state);
	return err;
}

/* Releases a lock word that has waiters, or refuses one of another owner. tell says that
 * there may be a change to tell of. */
SHM_SLOW_ int shm_unlock_slow_(const shm_value *v, bool tell)
{
	struct shm_cell_ *c = v->cell;
	uint32_t id = shm_id_(v->segment), starve = 0, w, free_word;
	if (c == NULL)
		return -EINVAL;
	if (v->segment->pid != getpid())
		id = 0; /* the id is the parent's, and this process holds no lock */
	do {
		w = __atomic_load_n(&c->word, __ATOMIC_SEQ_CST);
		if (id == 0 || (w & SHM_OWNER_MASK_) != id)
			return -EPERM;
		free_word = 0;
		if ((w & SHM_KERNEL_WAITERS_) != 0) {
			/* starve is cleared by the thread that reserves the lock, not by the one that
			 * takes it: others may still starve then. */
			uint32_t asked = __atomic_exchange_n(&c->starve, 0, __ATOMIC_SEQ_CST);
			starve = asked > starve ? asked : starve;
			if (starve != 0)
				free_word = SHM_KERNEL_WAITERS_;
		}
	} while (!shm_cas_(&c->word, w, free_word));
	if ((w & SHM_KERNEL_WAITERS_) != 0)
		shm_wake_one_(c, starve);
	if (tell)
		shm_changed_(&c->change);
	return 0;
}

SHM_USE_ static inline int shm_lock(const shm_value *v)
{
	uint32_t id = shm_id_(v->segment);
	if (SHM_LIKELY_(id != 0 && v->cell != NULL && shm_cas_(&v->cell->word, 0, id)))
		return 0;
	return shm_lock_slow_(v, INT64_MAX);
}

SHM_USE_ static inline int shm_lock_for(const shm_value *v, int64_t ns)
{
	uint32_t id = shm_id_(v->segment);
	if (SHM_LIKELY_(id != 0 && v->cell != NULL && shm_cas_(&v->cell->word, 0, id)))
		return 0;
	return shm_lock_slow_(v, shm_until_(ns));
}

/* Takes a lock, or gives up at a point in time. */
static inline int shm_lock_until_(const shm_value *v, int64_t until)
{
	uint32_t id = shm_id_(v->segment);
	if (SHM_LIKELY_(id != 0 && v->cell != NULL && shm_cas_(&v->cell->word, 0, id)))
		return 0;
	return shm_lock_slow_(v, until);
}

SHM_USE_ static inline int shm_trylock(const shm_value *v)
{
	uint32_t id = shm_id_(v->segment);
	if (SHM_LIKELY_(id != 0 && v->cell != NULL && shm_cas_(&v->cell->word, 0, id)))
		return 0;
	return shm_trylock_slow_(v);
}

static inline int shm_unlock(const shm_value *v)
{
	uint32_t id = shm_id_(v->segment);
	if (!SHM_LIKELY_(id != 0 && v->cell != NULL && shm_cas_(&v->cell->word, id, 0)))
		return shm_unlock_slow_(v, true);
	shm_changed_(&v->cell->change);
	return 0;
}

/* Unlocks after nothing was changed: nobody is told. */
static inline int shm_release_(const shm_value *v)
{
	uint32_t id = shm_id_(v->segment);
	return SHM_LIKELY_(id != 0 && v->cell != NULL && shm_cas_(&v->cell->word, id, 0)) ? 0 : shm_unlock_slow_(v, false);
}

/* Unlocks for a thread that leaves a function of the caller in another way than by its
 * end: it is cancelled, or throws. */
static inline void shm_leave_(void *v) { (void)shm_release_((const shm_value *)v); }

/* Calls a function of the caller, which may end the thread or throw: then it calls leave. */
SHM_SLOW_ int shm_call_(int (*f)(void *x, void *arg), void *x, void *arg, void (*leave)(void *of), void *of)
{
	int result;
	pthread_cleanup_push(leave, of);
	result = f(x, arg);
	pthread_cleanup_pop(0);
	return result;
}

static inline bool shm_abandoned(const shm_value *v)
{
	return v->cell != NULL && __atomic_load_n(&v->cell->abandoned, __ATOMIC_SEQ_CST) != 0;
}

/* Reports whether this process holds the lock. */
static inline bool shm_held_(const shm_value *v)
{
	uint32_t id = shm_id_(v->segment);
	return v->cell != NULL && id != 0 && (__atomic_load_n(&v->cell->word, __ATOMIC_SEQ_CST) & SHM_OWNER_MASK_) == id;
}

static inline void shm_consistent(const shm_value *v)
{
	if (shm_held_(v))
		__atomic_store_n(&v->cell->abandoned, 0, __ATOMIC_SEQ_CST);
}

/* ---- The directory ---- */

/* Loads the end of the last record; the file has that much. */
static inline int shm_used_(shm_segment *s, uint64_t *used)
{
	return !shm_unseal_bytes_(&s->header->used, used) || *used < SHM_HEADER_ ? SHM_EFORMAT : shm_reach_(s, *used);
}

static inline bool shm_same_format_(const struct shm_shape_ *a, const struct shm_shape_ *b)
{
	return a->format_length == b->format_length && memcmp(a->format, b->format, a->format_length) == 0;
}

static inline bool shm_outgrows_(const struct shm_shape_ *want, const struct shm_record_ *r)
{
	return shm_grows_(want) && shm_grows_(&r->shape) && want->kind == r->shape.kind && (want->count < 0 || want->count == r->shape.count) &&
		!shm_same_format_(want, &r->shape) && want->size <= r->capacity &&
		shm_extends_(want->format, want->format_length, r->shape.format, r->shape.format_length);
}

/* The slots of an index. Their number is a power of two. */
struct shm_table_ {
	uint64_t *slots, mask, start; /* start is the offset of its record */
};

/* Returns the tag of a name, at which the search for it begins. */
static inline uint64_t shm_tag_(const char *name, size_t n) { return (uint32_t)(shm_crc_(0, name, n) * 0x9E3779B1U) >> 8; }

static inline uint64_t *shm_slot_at_(const struct shm_table_ *t, uint64_t i) { return t->slots + (i & t->mask); }

/* Makes the table of a valid record of an index. */
static inline void shm_table_of_(const shm_segment *s, const struct shm_record_ *r, struct shm_table_ *t)
{
	t->slots = (uint64_t *)(void *)(s->mem + r->data);
	t->mask = (uint64_t)r->shape.count - 1;
	t->start = r->offset;
}

/* Validates the index at an offset. */
static inline int shm_index_at_(const shm_segment *s, uint64_t start, uint64_t end, struct shm_table_ *t)
{
	struct shm_record_ r;
	int err = shm_decode_(s, start, end, &r);
	if (err != 0)
		return err;
	if (r.shape.kind == SHM_INDEX_)
		shm_table_of_(s, &r, t);
	free(r.meta);
	return r.shape.kind == SHM_INDEX_ ? 0 : SHM_EFORMAT;
}

/* Finds the current index. It validates each once. Its data are 128 bytes behind the
 * start of its record, as it has no texts. */
static inline int shm_index_(shm_segment *s, struct shm_table_ *t)
{
	uint64_t start, used, known = __atomic_load_n(&s->table, __ATOMIC_ACQUIRE);
	if (!shm_unseal_bytes_(&s->header->index, &start))
		return SHM_EFORMAT;
	if (known != 0 && start == (known & SHM_SEALED_MAX_) * SHM_LINE_) {
		t->slots = (uint64_t *)(void *)(s->mem + start + shm_round_(SHM_RECORD_FIXED_, SHM_LINE_));
		t->mask = (UINT64_C(1) << (known >> SHM_TAG_SHIFT_)) - 1;
		t->start = start;
		return 0;
	}
	int err = shm_used_(s, &used);
	if (err == 0 && (err = shm_index_at_(s, start, used, t)) == 0)
		__atomic_store_n(&s->table, start / SHM_LINE_ | (uint64_t)__builtin_ctzll(t->mask + 1) << SHM_TAG_SHIFT_, __ATOMIC_RELEASE);
	return err;
}

/* Searches an index for a name. Returns 0 with the record to which it leads, -ENOENT, or
 * an error. *slot is the slot, or the free one at which the search ended, or NULL if none
 * is free. end is the end of the last record that counts; the records of a table in use
 * may end later, and *used with them. */
SHM_SLOW_ int shm_lookup_(shm_segment *s, const struct shm_table_ *t, const char *name, size_t n, uint64_t end, bool fixed_end, uint64_t **slot, struct shm_record_ *r)
{
	uint64_t tag = shm_tag_(name, n);
	struct shm_fixed_ f;
	r->meta = NULL;
	*slot = NULL;
	for (uint64_t i = 0; i <= t->mask; i++) {
		uint64_t *at = shm_slot_at_(t, tag + i), w = __atomic_load_n(at, __ATOMIC_SEQ_CST), start = (w & SHM_SEALED_MAX_) * SHM_LINE_;
		if (w == 0) {
			*slot = at;
			return -ENOENT;
		}
		if (w >> SHM_TAG_SHIFT_ != tag)
			continue;
		if (start < end) { /* its lines come together, not one after another */
			__builtin_prefetch(s->mem + start);
			__builtin_prefetch(s->mem + start + SHM_LINE_);
			__builtin_prefetch(s->mem + start + 2 * SHM_LINE_);
		}
		int err = start >= end && !fixed_end ? shm_used_(s, &end) : 0; /* it was published since */
		if (err == 0 && !shm_fixed_part_(s, start, end, &f))
			err = SHM_EFORMAT;
		if (err == 0 && f.kind != SHM_INDEX_ && f.name == n && memcmp(s->mem + start + SHM_RECORD_FIXED_, name, n) == 0) {
			*slot = at;
			return shm_decode_(s, start, end, r);
		}
		if (err == 0 && (err = shm_decode_(s, start, end, r)) == 0) { /* another name of the same tag */
			free(r->meta);
			r->meta = NULL;
		}
		if (err != 0)
			return err;
	}
	return -ENOENT;
}

/* Turns a growth record into the record of its struct with the longer layout, if the
 * struct is where it says. Other records stay as they are. Frees r->meta if it fails. */
SHM_SLOW_ int shm_own_(const shm_segment *s, struct shm_record_ *r)
{
	struct shm_record_ own;
	if (r->shape.kind != SHM_GROWTH_)
		return 0;
	int err = shm_decode_(s, r->older, r->offset, &own);
	if (err == 0) {
		r->shape.kind = own.shape.kind;
		r->shape.count = own.shape.count;
		if (own.shape.name_length != r->shape.name_length || memcmp(own.shape.name, r->shape.name, r->shape.name_length) != 0 ||
		    !shm_outgrows_(&r->shape, &own) || own.capacity != r->capacity)
			err = SHM_EFORMAT;
		free(own.meta);
	}
	if (err != 0) {
		free(r->meta);
		r->meta = NULL;
		return err;
	}
	own.meta = r->meta;
	own.shape = r->shape;
	own.grown = true;
	*r = own;
	return 0;
}

/* Finds the newest record of a name, as it is. The order of the loads matters: a name
 * that is not in the index is in a record behind the end of what was indexed before. The
 * first record of a name counts, or the last one of its growth. */
SHM_SLOW_ int shm_newest_(shm_segment *s, const char *name, size_t n, uint64_t **slot, struct shm_record_ *r)
{
	struct shm_table_ t;
	struct shm_record_ next;
	uint64_t indexed, used;
	r->meta = NULL;
	*slot = NULL;
	if (!shm_unseal_bytes_(&s->header->indexed, &indexed))
		return SHM_EFORMAT;
	int err = shm_used_(s, &used);
	if (err != 0 || (err = shm_index_(s, &t)) != 0 || (err = shm_lookup_(s, &t, name, n, used, false, slot, r)) != -ENOENT || (err = shm_used_(s, &used)) != 0)
		return err;
	for (uint64_t off = shm_max_(indexed, SHM_HEADER_); off < used; off += next.length) {
		if ((err = shm_decode_(s, off, used, &next)) != 0)
			break;
		bool same = next.shape.kind != SHM_INDEX_ && next.shape.name_length == n && memcmp(next.shape.name, name, n) == 0;
		if (same && (r->meta == NULL || next.shape.kind == SHM_GROWTH_)) {
			free(r->meta);
			*r = next;
		} else {
			free(next.meta);
		}
	}
	if (err != 0) {
		free(r->meta);
		r->meta = NULL;
	}
	return err != 0 ? err : r->meta == NULL ? -ENOENT : 0;
}

/* Finds the record of a name. If the value has grown, r->meta and r->shape are those of
 * the last growth record. The caller frees r->meta. Returns -ENOENT if there is none. */
SHM_SLOW_ int shm_search_(shm_segment *s, const char *name, struct shm_record_ *r)
{
	uint64_t *slot;
	int err = shm_newest_(s, name, strlen(name), &slot, r);
	return err != 0 ? err : shm_own_(s, r);
}

/* Returns the alignment in C of a valid type: that of its widest number. */
static inline uint64_t shm_align_(const char *p, const char *end, int depth)
{
	struct number { char c; uint64_t n; };
	struct shm_field_ f = {NULL, 0, 0, 0, 0, 0};
	uint64_t align = 1, last, size;
	while (p < end && *p != 'T' && *p != SHM_ORDER[0]) /* dimensions */
		p++;
	if (!shm_accept_(&p, end, "T{")) {
		bool complex_number = end - p > 1 && p[1] == 'Z';
		if (!shm_parse_item_(&p, end, depth, NULL, &size, &last))
			return 1;
		return shm_min_(complex_number ? size / 2 : size, offsetof(struct number, n));
	}
	while (depth > 0 && shm_next_field_(&p, end, depth - 1, NULL, NULL, &f) == 1)
		align = shm_max_(align, shm_align_(f.text, f.text + f.length, depth - 1));
	return align;
}

/* What shm_knows_ asks: which fields does a program know whose type has so many bytes? */
struct shm_known_ {
	uint64_t size, align; /* align is that of the fields before */
	uint64_t end;         /* the answer */
	int answers;
};

/* Looks for answers in a struct that begins base bytes from the start. A program may
 * know some of its fields, and nothing behind it. */
static inline void shm_known_fields_(const char *format, size_t length, uint64_t base, int depth, struct shm_known_ *k)
{
	struct shm_field_ f = {NULL, 0, 0, 0, 0, 0};
	const char *p = format, *last = format + length;
	uint64_t done = 0, end = 0;
	int more = 1;
	if (depth == 0 || !shm_accept_(&p, last, "T{"))
		return;
	while (more == 1) {
		more = shm_next_field_(&p, last, SHM_DEPTH_ - 1, NULL, NULL, &f);
		/* All fields of a struct inside are an answer for the one around it. */
		if (done > 0 && (more == 1 || depth == SHM_DEPTH_) &&
			((base + done <= k->size && k->size <= base + f.offset) || k->size == shm_round_(base + done, k->align))) {
			k->answers++;
			k->end = base + end;
		}
		done = f.offset + f.size;
		end = f.end;
		if (more != 1)
			break;
		if (f.text[0] == 'T')
			shm_known_fields_(f.text, f.format, base + f.offset, depth - 1, k);
		k->align = shm_max_(k->align, shm_align_(f.text, f.text + f.length, SHM_DEPTH_ - 1));
	}
}

/* Finds out which of a struct's fields a program knows whose type has n bytes, as far as
 * that tells: *end is the end of the last one. Returns how many answers there are: a
 * struct of n bytes may end with padding, in which newer programs have a field. */
static inline int shm_knows_(const char *format, size_t length, uint64_t n, uint64_t *end)
{
	struct shm_known_ k = {n, 1, 0, 0};
	shm_known_fields_(format, length, 0, SHM_DEPTH_, &k);
	if (k.answers > 0)
		*end = k.end;
	return k.answers;
}

/* Makes the handle of a record. */
static inline void shm_handle_(shm_segment *s, const struct shm_record_ *r, shm_value *v)
{
	const struct shm_shape_ *h = &r->shape;
	memset(v, 0, sizeof *v);
	v->segment = s;
	bool many = shm_is_table_(h) || (h->kind == SHM_MUTEX && h->count > 0); /* each part has a lock */
	v->cell = shm_has_lock_(h) && !many ? (struct shm_cell_ *)(void *)(s->mem + r->data) : NULL;
	v->data = h->kind == SHM_MUTEX && !many ? NULL : s->mem + r->data + (many ? 0 : shm_elements_(h));
	v->size = h->size;
	v->count = (uint64_t)h->count;
	v->capacity = r->capacity;
	v->record = r->offset;
	v->access = h->access;
	v->kind = h->kind;
	v->hint = r->hint;
	v->code = h->format_length == 2 ? h->format[1] : 0;
	if (h->kind != SHM_MUTEX)
		shm_parse_(h->format, h->format_length, &v->size, &v->end);
	if (r->grown && shm_knows_(h->format, h->format_length, v->size, &v->end) != 1)
		v->end = 0;
}

SHM_USE_ SHM_SLOW_ int shm_find(shm_segment *s, const char *name, shm_value *v)
{
	struct shm_record_ r;
	memset(v, 0, sizeof *v);
	int state = shm_hold_off_(), err = shm_search_(s, name, &r);
	if (err == 0) {
		shm_handle_(s, &r, v);
		free(r.meta);
	}
	shm_permit_(state);
	return err;
}

/* Reports whether a constructor that wants this may attach to the record. */
static inline bool shm_match_(const struct shm_shape_ *want, const struct shm_record_ *r)
{
	const struct shm_shape_ *h = &r->shape;
	if (want->access != h->access || want->kind != h->kind || (want->count >= 0 && want->count != h->count))
		return false;
	return shm_same_format_(want, h) || shm_outgrows_(want, r) ||
		(shm_grows_(h) && shm_extends_(h->format, h->format_length, want->format, want->format_length));
}

/* Allocates the first end bytes of the file. */
SHM_SLOW_ int shm_grow_(shm_segment *s, uint64_t end)
{
	uint64_t page = shm_page_(), allocated;
	struct stat st;
	if (!shm_unseal_bytes_(&s->header->allocated, &allocated))
		return SHM_EFORMAT;
	if (end > s->length)
		return SHM_EFULL;
	if (end > allocated) {
		int err = shm_stat_(s, s->ctl, &st);
		if (err != 0)
			return err;
		/* It allocates an eighth more than needed, and just what is needed if the
		 * filesystem is full. The last page may end beyond the maximum size. */
		uint64_t exact = shm_min_(shm_round_(end, page), s->length), extra = shm_max_(end / 8, SHM_FIRST_);
		uint64_t target = shm_min_((end + extra) / page * page, s->length / page * page);
		target = shm_max_(target, exact);
		err = shm_reserve_(s->ctl, allocated, target);
		if (err != 0 && target > exact)
			err = shm_reserve_(s->ctl, allocated, target = exact);
		if (err != 0)
			return err;
		shm_store_sealed_(&s->header->allocated, target / SHM_LINE_);
	}
	return shm_reach_(s, end);
}

/* Fills a new index with the slots of the old one. */
static inline void shm_fill_index_(const struct shm_table_ *from, const struct shm_table_ *to)
{
	for (uint64_t i = 0; i <= from->mask; i++) {
		uint64_t w = __atomic_load_n(from->slots + i, __ATOMIC_RELAXED), j = w >> SHM_TAG_SHIFT_;
		if (w == 0)
			continue;
		/* a faulty process may fill the new slots meanwhile */
		for (uint64_t tries = 0; tries <= to->mask && __atomic_load_n(shm_slot_at_(to, j), __ATOMIC_RELAXED) != 0; tries++)
			j++;
		__atomic_store_n(shm_slot_at_(to, j), w, __ATOMIC_RELAXED);
	}
}

static inline unsigned char *shm_put_bytes_(unsigned char *at, const char *bytes, size_t n)
{
	if (n > 0)
		memcpy(at, bytes, n);
	return at + n;
}

/* Writes the bytes of a new record before its data. The caller frees *meta. */
static inline int shm_encode_(const struct shm_shape_ *want, uint64_t capacity, uint64_t older, pid_t pid, struct shm_fixed_ *f, unsigned char **meta)
{
	memset(f, 0, sizeof *f);
	f->meta = (uint32_t)shm_round_(SHM_RECORD_FIXED_ + want->name_length + want->format_length + want->unit_length + want->help_length, SHM_LINE_);
	f->size = f->meta + shm_data_size_(want, capacity);
	f->count = (uint64_t)want->count;
	f->element = want->size;
	f->capacity = capacity;
	f->access = want->access;
	f->kind = want->kind;
	f->name = (uint16_t)want->name_length;
	f->format = (uint32_t)want->format_length;
	f->unit = (uint16_t)want->unit_length;
	f->help = (uint16_t)want->help_length;
	f->older = older / SHM_LINE_;
	f->hint = want->hint != 0 ? want->hint : want->kind == SHM_COUNTER ? SHM_HINT_COUNTER : want->kind == SHM_GAUGE ? SHM_HINT_GAUGE : 0;
	if (pid != 0) {
		f->pid = (uint32_t)pid;
		memcpy(f->program, program_invocation_short_name, strnlen(program_invocation_short_name, sizeof f->program));
	}
	*meta = (unsigned char *)calloc(1, f->meta);
	if (*meta == NULL)
		return -ENOMEM;
	memcpy(*meta, f, sizeof *f);
	unsigned char *at = *meta + sizeof *f;
	at = shm_put_bytes_(at, want->name, want->name_length);
	at = shm_put_bytes_(at, want->format, want->format_length);
	at = shm_put_bytes_(at, want->unit, want->unit_length);
	(void)shm_put_bytes_(at, want->help, want->help_length);
	f->check = shm_check_record_(*meta, f->meta);
	memcpy(*meta + SHM_RECORD_CHECK_, &f->check, 4);
	return 0;
}

/* Appends a record at the end of the last one. The caller holds the allocation lock. The
 * store to used publishes the record. If the process dies before that store, there is no
 * new value, and the next process that appends a record clears the bytes that were
 * written above used. from is the old index of a new one, otherwise NULL. */
SHM_SLOW_ int shm_append_(shm_segment *s, const struct shm_shape_ *want, uint64_t capacity, uint64_t older, const void *init, const struct shm_table_ *from, uint64_t *start)
{
	struct shm_fixed_ f;
	struct shm_table_ to;
	uint64_t dirty, n, last, off;
	unsigned char *meta;
	bool filled = init != NULL || from != NULL;
	int err = shm_used_(s, &off);
	if (err != 0 || (err = shm_encode_(want, capacity, older, s->pid, &f, &meta)) != 0)
		return err;
	unsigned char *at = s->mem + off;
	err = shm_grow_(s, off + f.size);
	if (err == 0 && !shm_unseal_bytes_(&s->header->dirty, &dirty))
		err = SHM_EFORMAT;
	if (err == 0 && (err = shm_reach_(s, dirty)) == 0) {
		if (off < dirty)
			memset(at, 0, (size_t)(dirty - off));
		shm_store_sealed_(&s->header->dirty, (off + (filled ? f.size : f.meta)) / SHM_LINE_);
		memcpy(at, meta, f.meta);
		if (from != NULL) {
			to.slots = (uint64_t *)(void *)(at + f.meta);
			to.mask = (uint64_t)want->count - 1;
			shm_fill_index_(from, &to);
		} else if (init != NULL && want->kind == SHM_HISTOGRAM) {
			memcpy(at + f.meta + SHM_PAIR_, init, 8 * (size_t)want->count);
		} else if (init != NULL && shm_slot_size_(want, &n)) {
			if (shm_grows_(want)) { /* tail padding stays zero, as a longer type may have a field there */
				shm_parse_(want->format, want->format_length, &last, &n);
				((struct shm_cell_ *)(void *)(at + f.meta))->extent = (uint32_t)want->size;
			} else if (want->kind == SHM_CHARS) { /* the caller's text may be shorter than its memory here */
				n = strnlen((const char *)init, (size_t)n);
			}
			memcpy(at + f.meta + shm_elements_(want), init, (size_t)n);
		}
		shm_store_sealed_(&s->header->used, (off + f.size) / SHM_LINE_); /* publishes */
		*start = off;
	}
	free(meta);
	return err;
}

/* ---- The index, for the holder of the allocation lock ---- */

static inline uint64_t shm_in_use_(const struct shm_table_ *t)
{
	uint64_t n = 0;
	for (uint64_t i = 0; i <= t->mask; i++)
		n += __atomic_load_n(t->slots + i, __ATOMIC_RELAXED) != 0;
	return n;
}

/* Makes room in the index for one name more than it has: a larger index if more than half
 * of the slots would be in use. If there is no room for one, the old index serves on
 * until only one slot is free. */
SHM_SLOW_ int shm_widen_(shm_segment *s, uint64_t values)
{
	struct shm_table_ t;
	struct shm_shape_ want;
	uint64_t start;
	int err = shm_index_(s, &t);
	if (err != 0)
		return err;
	uint64_t slots = t.mask + 1;
	if (2 * (values + 1) <= slots)
		return 0;
	if (slots < SHM_INDEX_MOST_) {
		memset(&want, 0, sizeof want);
		want.name = want.format = "";
		want.size = sizeof(uint64_t);
		want.count = (int64_t)(2 * slots);
		want.access = SHM_RAW;
		want.kind = SHM_INDEX_;
		if (shm_append_(s, &want, 2 * slots * sizeof(uint64_t), 0, NULL, &t, &start) == 0) {
			shm_store_sealed_(&s->header->index, start / SHM_LINE_);
			return 0;
		}
	}
	return values + 2 > slots ? SHM_EFULL : 0;
}

/* Makes the index lead to a record, unless it leads to that or to a newer one of the name
 * already. A second value of a name, which only a faulty process publishes, stays hidden.
 * Adds 1 to *values if the name is new. */
SHM_SLOW_ int shm_enter_(shm_segment *s, const struct shm_record_ *r, uint64_t *values)
{
	struct shm_table_ t;
	struct shm_record_ old;
	uint64_t used, *slot;
	int err = shm_used_(s, &used);
	if (err != 0 || (err = shm_index_(s, &t)) != 0)
		return err;
	err = shm_lookup_(s, &t, r->shape.name, r->shape.name_length, used, true, &slot, &old);
	if (err != 0 && err != -ENOENT)
		return err;
	bool add = err == -ENOENT, stays = !add && (old.offset >= r->offset || r->shape.kind != SHM_GROWTH_);
	free(old.meta);
	if (stays)
		return 0;
	if (slot == NULL)
		return SHM_EFULL;
	__atomic_store_n(slot, shm_tag_(r->shape.name, r->shape.name_length) << SHM_TAG_SHIFT_ | r->offset / SHM_LINE_, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (add)
		shm_store_sealed_(&s->header->values, ++*values);
	return 0;
}

/* Takes the records into the index that a process has published which died before it
 * could do so. */
SHM_SLOW_ int shm_complete_(shm_segment *s)
{
	struct shm_table_ t;
	struct shm_record_ r;
	uint64_t indexed, used, values;
	if (!shm_unseal_bytes_(&s->header->indexed, &indexed) || indexed < SHM_HEADER_)
		return SHM_EFORMAT;
	int err = shm_used_(s, &used);
	if (err != 0 || indexed >= used || (err = shm_index_(s, &t)) != 0)
		return err;
	values = shm_in_use_(&t); /* the process that died may not have counted a name that it entered */
	while (err == 0 && indexed < used) {
		if ((err = shm_decode_(s, indexed, used, &r)) != 0)
			return err;
		if (r.shape.kind != SHM_INDEX_ && (err = shm_widen_(s, values)) == 0)
			err = shm_enter_(s, &r, &values);
		free(r.meta);
		indexed += r.length;
		if (err == 0)
			err = shm_used_(s, &used); /* a larger index may have come */
	}
	if (err == 0) {
		shm_store_sealed_(&s->header->values, values);
		shm_store_sealed_(&s->header->indexed, used / SHM_LINE_);
	}
	return err;
}

/* ---- After a reboot or a copy ---- */

/* Reports whether the segment was last put in order for another boot or another file. */
static inline bool shm_foreign_(const shm_segment *s)
{
	uint64_t home;
	return s->where != 0 && shm_unseal_(&s->header->home, &home) && home != s->where;
}

/* Reports whether another attachment of this system has a lease, whatever the home is: a
 * container may have a boot id of its own. It has put the segment in order. */
static inline bool shm_in_use_by_others_(const shm_segment *s)
{
	struct flock l;
	struct stat st;
	int fd = s->ctl >= 0 ? s->ctl : s->fd;
	return shm_file_lock_(fd, F_OFD_GETLK, F_RDLCK, SHM_LEASE_BASE_, (int64_t)SHM_OWNER_MASK_ + 1, &l) != 0 || l.l_type != F_UNLCK || shm_stat_(s, fd, &st) != 0;
}

/* Makes this home that of a segment to which nobody has come yet. */
static inline void shm_move_in_(shm_segment *s)
{
	uint64_t next, values, used, indexed, nobody = shm_seal_(0);
	if (s->where != 0 && shm_unseal_(&s->header->next_id, &next) && next == 1 && shm_unseal_(&s->header->values, &values) && values == 0 &&
	    shm_unseal_(&s->header->used, &used) && shm_unseal_(&s->header->indexed, &indexed) && used == indexed)
		__atomic_compare_exchange_n(&s->header->home, &nobody, shm_seal_(s->where), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Makes sure that an id is not given out again. Returns whether its owner is to be removed:
 * an id far beyond the next one was never given out. */
static inline bool shm_adopt_id_(shm_segment *s, uint32_t id)
{
	uint64_t next;
	while (id != 0 && shm_unseal_(&s->header->next_id, &next) && id >= next) {
		if (id >= next + SHM_ID_GAP_ || id > SHM_OWNER_MASK_)
			return shm_leased_(s, id) == 0;
		uint64_t sealed = shm_seal_(next);
		__atomic_compare_exchange_n(&s->header->next_id, &sealed, shm_seal_((uint64_t)id + 1), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
	return false;
}

/* Does so for the owner in a lock word. */
static inline void shm_adopt_(shm_segment *s, struct shm_cell_ *c)
{
	for (;;) {
		uint32_t w = __atomic_load_n(&c->word, __ATOMIC_SEQ_CST);
		if (!shm_adopt_id_(s, w & SHM_OWNER_MASK_))
			return;
		__atomic_store_n(&c->abandoned, 1, __ATOMIC_SEQ_CST);
		if (shm_cas_(&c->word, w, 0))
			return;
	}
}

/* Does so for the owner of a cell of a counter, a gauge or a histogram. Its number stays. */
static inline void shm_adopt_count_(shm_segment *s, struct shm_part_ *c)
{
	for (;;) {
		uint64_t w = __atomic_load_n(&c->owner, __ATOMIC_SEQ_CST);
		if (!shm_adopt_id_(s, (uint32_t)w) || shm_cas_8_(&c->owner, w, 0))
			return;
	}
}

/* Returns the number of locks in the data of a value, and the bytes from one to the next. */
static inline uint64_t shm_locks_in_(const struct shm_record_ *r, uint64_t *step)
{
	const struct shm_shape_ *h = &r->shape;
	*step = shm_is_table_(h) ? shm_row_size_(r->capacity) : (uint64_t)SHM_LINE_;
	if (!shm_has_lock_(h) || h->kind == SHM_GROWTH_)
		return 0;
	return h->kind == SHM_MUTEX || shm_is_table_(h) ? shm_max_((uint64_t)h->count, 1) : 1;
}

static inline void shm_adopt_all_(shm_segment *s)
{
	struct shm_record_ r;
	uint64_t used;
	if (shm_used_(s, &used) != 0)
		return;
	for (uint64_t off = SHM_HEADER_; off < used && shm_decode_(s, off, used, &r) == 0; off += r.length) {
		const struct shm_shape_ *h = &r.shape;
		free(r.meta);
		uint64_t step, locks = shm_locks_in_(&r, &step);
		for (uint64_t i = 0; i < locks; i++)
			shm_adopt_(s, (struct shm_cell_ *)(void *)(s->mem + r.data + i * step));
		if (shm_has_cells_(h->kind)) {
			uint64_t stride = shm_stride_(h->kind, h->size, (uint64_t)h->count);
			uint64_t high = __atomic_load_n((uint64_t *)(void *)(s->mem + r.data), __ATOMIC_SEQ_CST);
			for (uint64_t i = 1; i < r.capacity / stride && i <= high; i++)
				shm_adopt_count_(s, (struct shm_part_ *)(void *)(s->mem + r.data + shm_elements_(h) + i * stride));
		}
	}
}

/* Reads all records up to limit. *end is the end of the last one that is valid. *table is
 * the offset of the index: the one to which the header leads, or else the last one; 0 if
 * there is none. Reports whether exactly these records are in that index, and the header
 * says so. */
SHM_SLOW_ bool shm_survey_(shm_segment *s, uint64_t limit, uint64_t *end, uint64_t *table)
{
	struct shm_table_ t;
	struct shm_record_ r, found;
	uint64_t want, names = 0, indexed, values, *slot, off = SHM_HEADER_;
	bool sound = shm_unseal_bytes_(&s->header->index, &want) && shm_index_at_(s, want, limit, &t) == 0;
	*table = 0;
	while (off < limit && shm_decode_(s, off, limit, &r) == 0) {
		uint8_t kind = r.shape.kind;
		uint64_t length = r.length;
		if (kind == SHM_INDEX_ && *table != want)
			*table = off;
		if (kind != SHM_INDEX_ && sound) {
			sound = shm_lookup_(s, &t, r.shape.name, r.shape.name_length, limit, true, &slot, &found) == 0;
			sound = sound && found.offset >= off;
			free(found.meta);
		}
		names += kind != SHM_INDEX_ && kind != SHM_GROWTH_;
		if (shm_own_(s, &r) != 0)
			break;
		free(r.meta);
		off += length;
	}
	*end = off;
	return sound && *table == want && shm_unseal_bytes_(&s->header->indexed, &indexed) && indexed == off &&
		shm_unseal_(&s->header->values, &values) && values == names && shm_in_use_(&t) == names;
}

/* Puts a segment in order whose pages may have reached the disk in any order, or that was
 * copied while it was in use. No lock word is reset: its owner is dead, and whoever asks
 * for the lock takes it over. A process that is attached already cuts nothing back, as
 * its handles may lead there. The caller holds the allocation lock. A process that dies
 * inside leaves a segment that the next one can repair. */
SHM_SLOW_ int shm_repair_(shm_segment *s, bool attaching)
{
	struct shm_table_ t;
	struct stat st;
	uint64_t used, end, table, page = shm_page_();
	int err = shm_stat_(s, s->ctl, &st);
	if (err != 0)
		return err;
	if (!shm_unseal_bytes_(&s->header->used, &used))
		return SHM_EFORMAT;
	if (used > s->length)
		return SHM_EFULL;
	uint64_t limit = shm_min_((uint64_t)st.st_size, s->length) / SHM_LINE_ * SHM_LINE_; /* no pages: a system with smaller ones may have made the file */
	if ((err = shm_reach_(s, limit)) != 0)
		return err;
	bool sound = shm_survey_(s, shm_min_(used, limit), &end, &table);
	if (table == 0 || (end < used && !attaching))
		return SHM_EFORMAT;
	/* What lies behind is reserved when it is needed: a copy may have holes there. Pages
	 * behind an old used may have reached the disk. */
	uint64_t allocated = shm_min_((end + page - 1) / page * page, limit);
	shm_store_sealed_(&s->header->dirty, allocated / SHM_LINE_);
	shm_store_sealed_(&s->header->allocated, allocated / SHM_LINE_);
	if (!sound) {
		/* From now on nobody trusts the slots. If this process dies, the next one that
		 * completes the index does the rest. */
		shm_store_sealed_(&s->header->indexed, SHM_HEADER_ / SHM_LINE_);
		shm_store_sealed_(&s->header->index, table / SHM_LINE_);
	}
	shm_store_sealed_(&s->header->used, end / SHM_LINE_);
	__atomic_store_n(&s->table, 0, __ATOMIC_RELEASE);
	if (!sound) {
		if ((err = shm_index_(s, &t)) != 0)
			return err;
		for (uint64_t i = 0; i <= t.mask; i++)
			__atomic_store_n(t.slots + i, 0, __ATOMIC_RELAXED);
		shm_store_sealed_(&s->header->values, 0);
		if ((err = shm_complete_(s)) != 0)
			return err;
	}
	shm_adopt_all_(s);
	shm_store_sealed_(&s->header->home, s->where); /* last: if this process dies before, the next one repeats all of it */
	return 0;
}

static inline void shm_unlock_allocation_(void *arg)
{
	shm_segment *s = (shm_segment *)arg;
	struct flock l;
	shm_file_lock_(s->ctl, F_OFD_SETLK, F_UNLCK, 0, 1, &l); /* cannot fail; it does nothing if the lock is not held */
	pthread_mutex_unlock(&s->gate);
}

/* Takes the allocation lock, with the gate. A process that may only read the file can
 * keep it for ever, so the thread can be cancelled while it waits, if the caller's state
 * permits that. It holds nothing then. */
SHM_SLOW_ int shm_lock_allocation_(shm_segment *s, int state, struct stat *st)
{
	struct flock l;
	int err;
	pthread_mutex_lock(&s->gate);
	pthread_cleanup_push(shm_unlock_allocation_, s);
	shm_permit_(state);
	err = shm_file_lock_(s->ctl, F_OFD_SETLKW, F_WRLCK, 0, 1, &l);
	(void)shm_hold_off_();
	pthread_cleanup_pop(0);
	if (err == 0)
		err = shm_stat_(s, s->ctl, st); /* a lock of another file excludes nobody */
	if (err != 0)
		shm_unlock_allocation_(s);
	return err;
}

/* Puts right what others have left: an earlier boot of the system, or a process that died
 * while it made a value. It may have reserved space above allocated. Nobody counts on
 * that, and another program may need it. */
static inline int shm_order_(shm_segment *s, const struct stat *st)
{
	uint64_t used, allocated;
	int err = shm_foreign_(s) && !shm_in_use_by_others_(s) ? shm_repair_(s, false) : 0;
	if (err == 0)
		err = shm_used_(s, &used);
	if (err == 0 && (!shm_unseal_bytes_(&s->header->allocated, &allocated) || allocated < used))
		err = SHM_EFORMAT;
	if (err == 0 && (uint64_t)st->st_size > allocated)
		(void)fallocate(s->ctl, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)allocated, st->st_size - (off_t)allocated);
	return err != 0 ? err : shm_complete_(s);
}

/* Adds a value, or fields to a struct, unless another process was first. The caller holds
 * the allocation lock. */
SHM_SLOW_ int shm_add_(shm_segment *s, const struct shm_shape_ *want, const void *init, struct shm_record_ *r)
{
	struct shm_shape_ growth;
	struct shm_record_ made;
	uint64_t capacity, used, values, start, older = 0;
	int err = shm_search_(s, want->name, r);
	if (err == 0 && !shm_outgrows_(want, r))
		return 0;
	if (err != 0 && err != -ENOENT)
		return err;
	if (err == 0) {
		growth = *want;
		growth.kind = SHM_GROWTH_;
		growth.count = 0;
		growth.hint = 0;
		growth.unit_length = growth.help_length = 0;
		want = &growth;
		init = NULL;
		capacity = r->capacity;
		older = r->offset;
		free(r->meta);
		r->meta = NULL;
	} else {
		shm_slot_size_(want, &capacity);
		if (shm_grows_(want))
			capacity = shm_round_(capacity + capacity / 2, SHM_LINE_); /* room for fields that later programs append */
		else if (shm_has_cells_(want->kind))
			capacity = (SHM_CELLS_ + 1) * shm_stride_(want->kind, want->size, (uint64_t)want->count);
	}
	if (!shm_unseal_(&s->header->values, &values))
		return SHM_EFORMAT;
	if ((older == 0 && (err = shm_widen_(s, values)) != 0) || (err = shm_append_(s, want, capacity, older, init, NULL, &start)) != 0 ||
	    (err = shm_used_(s, &used)) != 0 || (err = shm_decode_(s, start, used, &made)) != 0)
		return err;
	err = shm_enter_(s, &made, &values);
	free(made.meta);
	if (err != 0)
		return err;
	shm_store_sealed_(&s->header->indexed, used / SHM_LINE_);
	shm_changed_(&s->header->names);
	return shm_search_(s, want->name, r);
}

/* Opens ctl, unless it is open. */
static inline int shm_own_control_(shm_segment *s)
{
	pthread_mutex_lock(&s->home->mutex);
	if (s->pid != getpid())
		shm_forget_(s);
	int err = shm_control_(s);
	pthread_mutex_unlock(&s->home->mutex);
	return err;
}

/* Makes a value, or appends fields to a struct, unless another process was first. */
SHM_SLOW_ int shm_create_(shm_segment *s, const struct shm_shape_ *want, const void *init, struct shm_record_ *r, int state)
{
	struct stat st;
	int err = shm_own_control_(s);
	if (err != 0 || (err = shm_lock_allocation_(s, state, &st)) != 0)
		return err;
	if ((err = shm_order_(s, &st)) == 0)
		err = shm_add_(s, want, init, r);
	shm_unlock_allocation_(s);
	return err;
}

/* Finds the value that a constructor wants, or makes it. */
static inline int shm_find_or_make_(shm_segment *s, const char *name, const shm_type *type, int64_t count, shm_value *v, int state)
{
	struct shm_record_ r;
	struct shm_shape_ want;
	uint64_t end = 0;
	const char *format = type->format;
	uint8_t kind = (uint8_t)type->kind;
	memset(v, 0, sizeof *v);
	memset(&want, 0, sizeof want);
	want.name = name;
	want.name_length = strlen(name);
	want.format = format;
	want.format_length = strlen(format);
	want.count = count;
	want.access = (uint8_t)type->access;
	want.kind = kind;
	want.hint = (uint8_t)type->hint;
	want.unit = type->unit;
	want.unit_length = type->unit == NULL ? 0 : strlen(type->unit);
	want.help = type->help;
	want.help_length = type->help == NULL ? 0 : strlen(type->help);
	if (want.unit_length > SHM_NAME_MAX_ || want.help_length > SHM_HELP_MAX_)
		return SHM_ETOOLONG;
	if (kind != SHM_MUTEX && !shm_parse_(format, want.format_length, &want.size, &end))
		return -EINVAL;
	if (want.name_length > SHM_NAME_MAX_)
		return SHM_ETOOLONG;
	int err = shm_search_(s, name, &r);
	if (err == 0 && !shm_match_(&want, &r)) {
		err = SHM_ELAYOUT;
		shm_handle_(s, &r, v);
		free(r.meta);
	}
	if (err == -ENOENT) {
		if (s->read_only)
			return -EROFS;
		if (count < 0)
			return -ENOENT;
		/* Characters are elements of arrays: no single value of any language is one. */
		if (kind == SHM_SINGLE && format[want.format_length - 1] == 'c')
			return -EINVAL;
		if (!shm_valid_shape_(&want, want.unit_length, want.help_length, want.hint))
			return -EINVAL;
		r.meta = NULL;
	} else if (err != 0) {
		return err;
	}
	/* This comes first, so that a process that cannot lock makes no value with a lock. */
	err = shm_has_lock_(&want) && !s->read_only && shm_id_(s) == 0 ? shm_ready_(s) : 0;
	if (err == 0 && (r.meta == NULL || shm_outgrows_(&want, &r)) && !s->read_only) {
		free(r.meta);
		if ((err = shm_create_(s, &want, type->init, &r, state)) != 0)
			return err;
		if (!shm_match_(&want, &r))
			err = SHM_ELAYOUT;
	}
	if (err == 0 || err == SHM_ELAYOUT)
		shm_handle_(s, &r, v);
	if (err == 0 && shm_is_table_(&want)) {
		v->size = want.size;
		v->end = end;
	} else if (err == 0 && shm_grows_(&want)) {
		/* The size is that of the type as declared here. The bytes after it belong to
		 * newer programs. */
		v->size = want.size;
		v->end = end;
		uint32_t old = __atomic_load_n(&v->cell->extent, __ATOMIC_SEQ_CST);
		while (!s->read_only && old < want.size && !shm_cas_(&v->cell->extent, old, (uint32_t)want.size))
			old = __atomic_load_n(&v->cell->extent, __ATOMIC_SEQ_CST);
	}
	free(r.meta);
	return err;
}

SHM_SLOW_ int shm_place_(shm_segment *s, const char *name, uint8_t access, uint8_t kind, const char *format, int64_t count, const void *init, shm_value *v)
{
	shm_type type;
	memset(&type, 0, sizeof type);
	type.access = (enum shm_access)access;
	type.kind = (enum shm_kind)kind;
	type.format = format;
	type.init = init;
	int state = shm_hold_off_(), err = shm_find_or_make_(s, name, &type, count, v, state);
	shm_permit_(state);
	return err;
}

/* Turns the count of a constructor into the count of a shape. 0 becomes -1. */
static inline int64_t shm_as_found_(uint64_t n) { return n == 0 ? -1 : n > SHM_MAX_SEGMENT_ ? (int64_t)SHM_MAX_SEGMENT_ + 1 : (int64_t)n; }

/* Reports whether the elements of an array can have the format: a number that is neither
 * a bool nor a character. */
static inline bool shm_numeric_(const char *format)
{
	size_t n = strlen(format);
	return shm_number_(format, n) && format[1] != '?' && format[1] != 'c';
}

static inline bool shm_lockable_(const char *format) { return shm_word_(format, strlen(format)); }

SHM_USE_ static inline int shm_new_raw(shm_segment *s, const char *name, const char *format, const void *init, shm_value *v)
{
	return shm_place_(s, name, SHM_RAW, SHM_SINGLE, format, 0, init, v);
}

SHM_USE_ static inline int shm_new_raw_array(shm_segment *s, const char *name, const char *format, uint64_t count, shm_value *v)
{
	return !shm_numeric_(format) ? -EINVAL : shm_place_(s, name, SHM_RAW, SHM_ARRAY, format, shm_as_found_(count), NULL, v);
}

SHM_USE_ static inline int shm_new_chars(shm_segment *s, const char *name, uint64_t size, shm_value *v)
{
	return shm_place_(s, name, SHM_RAW, SHM_CHARS, SHM_CHAR, shm_as_found_(size), NULL, v);
}

SHM_USE_ static inline int shm_new_atomic(shm_segment *s, const char *name, const char *format, const void *init, shm_value *v)
{
	if (strlen(format) != 2 || strchr("iIqQ", format[1]) == NULL)
		return -EINVAL;
	return shm_place_(s, name, SHM_ATOMIC, SHM_SINGLE, format, 0, init, v);
}

SHM_USE_ static inline int shm_new_number(shm_segment *s, const char *name, const char *format, const void *init, shm_value *v)
{
	return !shm_lockable_(format) ? -EINVAL : shm_place_(s, name, SHM_LOCKED, SHM_SINGLE, format, 0, init, v);
}

SHM_USE_ static inline int shm_new_array(shm_segment *s, const char *name, const char *format, uint64_t count, shm_value *v)
{
	return !shm_lockable_(format) ? -EINVAL : shm_place_(s, name, SHM_LOCKED, SHM_ARRAY, format, shm_as_found_(count), NULL, v);
}

SHM_USE_ static inline int shm_new_struct(shm_segment *s, const char *name, const char *format, size_t size, const void *init, shm_value *v)
{
	uint64_t have, end;
	if (!shm_parse_(format, strlen(format), &have, &end) || have != size || size > SHM_EXTENT_MAX_)
		return -EINVAL;
	return shm_place_(s, name, SHM_PUBLISHED, SHM_SINGLE, format, 0, init, v);
}

SHM_USE_ static inline int shm_new_string(shm_segment *s, const char *name, uint64_t size, shm_value *v)
{
	return shm_place_(s, name, SHM_PUBLISHED, SHM_CHARS, SHM_CHAR, shm_as_found_(size), NULL, v);
}

SHM_USE_ static inline int shm_new_mutex(shm_segment *s, const char *name, shm_value *v)
{
	return shm_place_(s, name, SHM_LOCKED, SHM_MUTEX, "", 0, NULL, v);
}

SHM_USE_ static inline int shm_new_atomic_array(shm_segment *s, const char *name, const char *format, uint64_t count, shm_value *v)
{
	return !shm_atomic_(SHM_ARRAY, format, strlen(format)) ? -EINVAL : shm_place_(s, name, SHM_ATOMIC, SHM_ARRAY, format, shm_as_found_(count), NULL, v);
}

SHM_USE_ static inline int shm_new_mutexes(shm_segment *s, const char *name, uint64_t count, shm_value *v)
{
	return shm_place_(s, name, SHM_LOCKED, SHM_MUTEX, "", shm_as_found_(count), NULL, v);
}

SHM_USE_ static inline int shm_new_table(shm_segment *s, const char *name, const char *format, size_t size, uint64_t count, shm_value *v)
{
	uint64_t have, end;
	if (!shm_parse_(format, strlen(format), &have, &end) || have != size || size > SHM_EXTENT_MAX_)
		return -EINVAL;
	return shm_place_(s, name, SHM_PUBLISHED, SHM_ARRAY, format, shm_as_found_(count), NULL, v);
}

SHM_USE_ static inline int shm_new_ring(shm_segment *s, const char *name, const char *format, size_t size, uint64_t count, shm_value *v)
{
	uint64_t have, end;
	if (!shm_parse_(format, strlen(format), &have, &end) || have != size)
		return -EINVAL;
	return shm_place_(s, name, SHM_PUBLISHED, SHM_RING, format, shm_as_found_(count), NULL, v);
}

SHM_USE_ static inline int shm_new_counter(shm_segment *s, const char *name, const char *format, shm_value *v)
{
	return !shm_atomic_(SHM_COUNTER, format, strlen(format)) ? -EINVAL : shm_place_(s, name, SHM_ATOMIC, SHM_COUNTER, format, 0, NULL, v);
}

SHM_USE_ static inline int shm_new_gauge(shm_segment *s, const char *name, const char *format, shm_value *v)
{
	return !shm_atomic_(SHM_GAUGE, format, strlen(format)) ? -EINVAL : shm_place_(s, name, SHM_ATOMIC, SHM_GAUGE, format, 0, NULL, v);
}

/* Returns the header of what has cells: its first word is the highest number of a cell
 * that was ever claimed, or was about to be. */
static inline uint64_t *shm_high_(const shm_value *v)
{
	struct shm_shape_ h;
	memset(&h, 0, sizeof h);
	h.access = v->access;
	h.kind = v->kind;
	h.count = (int64_t)v->count;
	return (uint64_t *)(void *)(v->data - shm_elements_(&h));
}

SHM_USE_ static inline const double *shm_bounds(const shm_value *v)
{
	return v->kind != SHM_HISTOGRAM ? NULL : (const double *)(const void *)((const unsigned char *)shm_high_(v) + SHM_PAIR_);
}

SHM_USE_ SHM_SLOW_ int shm_new_histogram(shm_segment *s, const char *name, const double *bounds, size_t n, shm_value *v)
{
	if (n > SHM_BOUNDS_MAX_ || (n > 0 && bounds == NULL))
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (!(bounds[i] - bounds[i] < 1) || (i > 0 && !(bounds[i - 1] < bounds[i]))) /* the first one is of what is not finite */
			return -EINVAL;
	int err = shm_place_(s, name, SHM_ATOMIC, SHM_HISTOGRAM, SHM_F64, n == 0 ? -1 : (int64_t)n, bounds, v);
	for (size_t i = 0; err == 0 && i < n; i++)
		if (!(shm_bounds(v)[i] <= bounds[i] && shm_bounds(v)[i] >= bounds[i]))
			err = SHM_ELAYOUT;
	return err;
}

SHM_USE_ SHM_SLOW_ int shm_make(shm_segment *s, const char *name, const shm_type *type, shm_value *v)
{
	shm_type t = *type;
	uint64_t size, end;
	memset(v, 0, sizeof *v);
	if (t.kind == SHM_HISTOGRAM)
		for (uint64_t i = 0; i < t.count; i++) {
			const double *b = (const double *)t.init;
			if (t.count > SHM_BOUNDS_MAX_ || b == NULL || !(b[i] - b[i] < 1) || (i > 0 && !(b[i - 1] < b[i])))
				return -EINVAL;
		}
	if (t.format == NULL)
		t.format = "";
	if (t.kind == SHM_MUTEX && *t.format != 0) /* a lock has no type */
		return -EINVAL;
	if (t.kind < SHM_SINGLE || t.kind > SHM_HISTOGRAM || t.kind == SHM_GROWTH_ || t.kind == SHM_INDEX_ || t.access < SHM_RAW || t.access > SHM_PUBLISHED ||
	    t.hint > SHM_HINT_GAUGE || (t.kind == SHM_ARRAY && t.access != SHM_PUBLISHED && !shm_numeric_(t.format)))
		return -EINVAL;
	if (t.access == SHM_PUBLISHED && (t.kind == SHM_SINGLE || t.kind == SHM_ARRAY) && (!shm_parse_(t.format, strlen(t.format), &size, &end) || size > SHM_EXTENT_MAX_))
		return -EINVAL;
	if (t.init != NULL && (t.kind == SHM_MUTEX || t.kind == SHM_RING || t.kind == SHM_COUNTER || t.kind == SHM_GAUGE || (t.kind == SHM_ARRAY && t.access == SHM_PUBLISHED)))
		return -EINVAL;
	bool many = t.kind == SHM_ARRAY || t.kind == SHM_CHARS || t.kind == SHM_RING || t.kind == SHM_HISTOGRAM;
	int state = shm_hold_off_(), err = shm_find_or_make_(s, name, &t, many ? shm_as_found_(t.count) : (int64_t)shm_min_(t.count, INT64_MAX), v, state);
	shm_permit_(state);
	for (uint64_t i = 0; err == 0 && t.kind == SHM_HISTOGRAM && i < t.count; i++)
		if (!SHM_EQUAL_(shm_bounds(v)[i], ((const double *)t.init)[i]))
			err = SHM_ELAYOUT;
	return err;
}

/* Finds the record of a value again, with all growth since. */
static inline int shm_record_of_(const shm_value *v, struct shm_record_ *r)
{
	char name[SHM_NAME_MAX_ + 1];
	uint64_t used;
	int state = shm_hold_off_(), err = shm_used_(v->segment, &used);
	if (err == 0 && (err = shm_decode_(v->segment, v->record, used, r)) == 0) {
		memcpy(name, r->shape.name, r->shape.name_length);
		name[r->shape.name_length] = 0;
		free(r->meta);
		err = shm_search_(v->segment, name, r);
	}
	shm_permit_(state);
	return err;
}

SHM_USE_ SHM_SLOW_ int shm_is(const shm_value *v, enum shm_access access, const char *format)
{
	struct shm_record_ r;
	int err = shm_record_of_(v, &r);
	if (err != 0)
		return err;
	bool same = v->access == access && r.shape.format_length == strlen(format) && memcmp(r.shape.format, format, r.shape.format_length) == 0;
	free(r.meta);
	return same ? 0 : SHM_ELAYOUT;
}

SHM_SLOW_ void *shm_ptr(const shm_value *v, const char *format, size_t size)
{
	if (v->data == NULL || v->access == SHM_PUBLISHED || v->kind == SHM_MUTEX || shm_has_cells_(v->kind) || v->size != size || shm_is(v, (enum shm_access)v->access, format) != 0)
		return NULL;
	return v->data;
}

/* ---- Waiting for a change ---- */

/* Returns the byte that stands for the change word of a value's lock, or 0 if none does. */
static inline int64_t shm_ask_byte_(const shm_value *v)
{
	uint64_t record = v->record / SHM_LINE_, cell = (uint64_t)((unsigned char *)v->cell - v->segment->mem) / SHM_LINE_;
	if (cell < record || cell - record >= SHM_ASK_LINES_ || record > SHM_MAX_SEGMENT_ / SHM_LINE_)
		return 0;
	return SHM_ASK_BASE_ + (int64_t)(record * 2 * SHM_ASK_LINES_ + 2 * (cell - record));
}

/* Asks a process that may write to set SHM_AWAITED_ in the stead of this one, which may
 * not: by a read lock on the byte that stands for the change word, and a ring. It must be
 * repeated, as a ring is lost while all answerers are awake. If it fails, this process
 * finds the change by its time-outs. */
SHM_SLOW_ void shm_ask_(struct shm_asker_ *a)
{
	shm_segment *s = a->segment;
	struct flock l;
	int state = shm_hold_off_();
	pthread_mutex_lock(&s->home->mutex);
	if (s->pid != getpid())
		shm_forget_(s);
	if (s->ctl < 0) {
		int fd = shm_reopen_(s, true);
		if (fd >= 0)
			s->ctl = fd;
		else
			(void)shm_take_passed_(s);
	}
	if (s->ctl >= 0 && a->at != 0 && shm_file_lock_(s->ctl, F_OFD_SETLK, F_RDLCK, a->at, 1, &l) == 0) {
		if (!a->asks) {
			a->next = s->askers;
			s->askers = a;
			a->asks = true;
		}
		shm_futex_wake_(&s->header->bell, 1);
	}
	pthread_mutex_unlock(&s->home->mutex);
	shm_permit_(state);
}

/* Ends what shm_ask_ has begun. Another thread of this process may still ask for the same
 * word. */
SHM_SLOW_ void shm_withdraw_(void *arg)
{
	struct shm_asker_ *a = (struct shm_asker_ *)arg;
	shm_segment *s = a->segment;
	struct flock l;
	bool others = false;
	if (!a->asks)
		return;
	int state = shm_hold_off_();
	pthread_mutex_lock(&s->home->mutex);
	for (struct shm_asker_ **p = &s->askers; *p != NULL;) {
		if (*p == a) {
			*p = a->next;
			continue;
		}
		others = others || (*p)->at == a->at;
		p = &(*p)->next;
	}
	if (!others && s->ctl >= 0)
		(void)shm_file_lock_(s->ctl, F_OFD_SETLK, F_UNLCK, a->at, 1, &l);
	a->asks = false;
	pthread_mutex_unlock(&s->home->mutex);
	shm_permit_(state);
}

struct shm_awaits_ {
	uint32_t *change;
	struct shm_asker_ *asker;
	int (*ok)(void *arg);
	int64_t ns;
};

/* Sleeps until ok returns something other than 0. It sets SHM_AWAITED_, or asks somebody to
 * do that, before it calls ok. It calls ok again after time-outs that grow: a process that
 * makes a change may die before it wakes anybody. */
static inline int shm_await_change_(void *awaits, void *arg)
{
	const struct shm_awaits_ *a = (const struct shm_awaits_ *)awaits;
	struct shm_asker_ *asker = a->asker;
	shm_segment *s = asker->segment;
	uint32_t *change = a->change;
	int64_t ns = a->ns, until = shm_until_(ns), first = s->read_only ? SHM_RO_SHORT_NS_ : SHM_SHORT_NS_, pause = first;
	for (;;) {
		uint32_t w = __atomic_load_n(change, __ATOMIC_SEQ_CST);
		if (!s->read_only && (w & SHM_AWAITED_) == 0) {
			if (!shm_cas_(change, w, w | SHM_AWAITED_))
				continue;
			w |= SHM_AWAITED_;
		}
		bool announced = (w & SHM_AWAITED_) != 0;
		if (announced)
			shm_withdraw_(asker);
		int seen = a->ok(arg);
		int64_t now = shm_now_();
		if (seen != 0)
			return seen > 0 ? 0 : seen;
		if (now >= until)
			return -ETIMEDOUT;
		if (!announced)
			shm_ask_(asker);
		shm_futex_wait_(change, w, ~UINT32_C(0), shm_sooner_(until, now + pause));
		pause = __atomic_load_n(change, __ATOMIC_SEQ_CST) == w ? shm_sooner_(2 * pause, announced ? SHM_LOOK_NS_ : SHM_RO_LOOK_NS_) : first;
	}
}

/* at is the byte that stands for the change word, or 0. */
SHM_SLOW_ int shm_await_(shm_segment *s, uint32_t *change, int64_t at, int (*ok)(void *), void *arg, int64_t ns)
{
	struct shm_asker_ asker = {s, at, false, NULL};
	struct shm_awaits_ a = {change, &asker, ok, ns};
	int err = shm_call_(shm_await_change_, &a, arg, shm_withdraw_, &asker);
	shm_withdraw_(&asker);
	return err;
}

struct shm_awaited_ {
	const shm_value *v;
	bool (*ok)(const shm_value *, void *);
	void *arg;
};

static inline int shm_is_ok_(void *arg)
{
	const struct shm_awaited_ *a = (const struct shm_awaited_ *)arg;
	return a->ok(a->v, a->arg);
}

SHM_USE_ static inline int shm_await(const shm_value *v, bool (*ok)(const shm_value *, void *), void *arg, int64_t ns)
{
	struct shm_awaited_ a = {v, ok, arg};
	return v->cell == NULL ? -EINVAL : shm_await_(v->segment, &v->cell->change, shm_ask_byte_(v), shm_is_ok_, &a, ns);
}

struct shm_wanted_ {
	shm_segment *segment;
	const char *name;
	shm_value *v;
};

static inline int shm_is_there_(void *arg)
{
	const struct shm_wanted_ *a = (const struct shm_wanted_ *)arg;
	int err = shm_find(a->segment, a->name, a->v);
	return err == 0 ? 1 : err == -ENOENT ? 0 : err;
}

SHM_USE_ static inline int shm_wait_for(shm_segment *s, const char *name, int64_t ns, shm_value *v)
{
	struct shm_wanted_ a = {s, name, v};
	size_t n = strlen(name);
	if (n == 0 || n > SHM_NAME_MAX_ || !shm_utf8_(name, n))
		return -EINVAL;
	return shm_await_(s, &s->header->names, SHM_ASK_BASE_, shm_is_there_, &a, ns);
}

/* ---- Numbers ---- */

static inline uint64_t shm_length_(const shm_value *v) { return v->kind == SHM_SINGLE ? 1 : v->count; }

/* Loads a number of 1 to 8 bytes, and stores it, by one access of its own size. */
static inline void shm_load_number_(const void *p, size_t size, void *x)
{
	switch (size) {
	case 1: __atomic_load((const uint8_t *)p, (uint8_t *)x, __ATOMIC_RELAXED); break;
	case 2: __atomic_load((const shm_u16_ *)p, (shm_u16_ *)x, __ATOMIC_RELAXED); break;
	case 4: __atomic_load((const shm_u32_ *)p, (shm_u32_ *)x, __ATOMIC_RELAXED); break;
	default: __atomic_load((const shm_u64_ *)p, (shm_u64_ *)x, __ATOMIC_RELAXED); break;
	}
}

static inline void shm_store_number_(void *p, size_t size, void *x)
{
	switch (size) {
	case 1: __atomic_store((uint8_t *)p, (uint8_t *)x, __ATOMIC_RELAXED); break;
	case 2: __atomic_store((shm_u16_ *)p, (shm_u16_ *)x, __ATOMIC_RELAXED); break;
	case 4: __atomic_store((shm_u32_ *)p, (shm_u32_ *)x, __ATOMIC_RELAXED); break;
	default: __atomic_store((shm_u64_ *)p, (shm_u64_ *)x, __ATOMIC_RELAXED); break;
	}
}

/* Calls f with a copy of a number, under the lock, and stores what f makes of it, unless f
 * returns something else than 0. The thread is not cancelled in f. A change that leaves
 * all bits as they were is none. */
SHM_SLOW_ int shm_change_number_(const shm_value *v, void *p, size_t size, int (*f)(void *x, void *arg), void *arg, int64_t ns)
{
	union { uint64_t bits; double d; float f; int32_t i; int16_t h; } x, old;
	int state = shm_hold_off_(), err = shm_lock_for(v, ns);
	if (err != 0) {
		shm_permit_(state);
		return err;
	}
	x.bits = 0;
	shm_load_number_(p, size, &x);
	old = x;
	int result = shm_call_(f, &x, arg, shm_leave_, (void *)(uintptr_t)v);
	if (!shm_held_(v)) { /* f has unlocked it: another process may have it by now */
		shm_permit_(state);
		return result != 0 ? result : -EPERM;
	}
	bool changed = result == 0 && memcmp(&x, &old, size) != 0;
	if (changed)
		shm_store_number_(p, size, &x);
	err = changed ? shm_unlock(v) : shm_release_(v);
	shm_permit_(state);
	return result != 0 ? result : err;
}

#define SHM_NUMBER_OF_(T, type, letter, ADD)                                                        \
	static inline type *shm_ptr_##T(const shm_value *v, size_t *n)                              \
	{                                                                                           \
		bool ok = v->code == letter && v->access != SHM_PUBLISHED && !shm_has_cells_(v->kind); \
		if (n != NULL)                                                                      \
			*n = ok ? (size_t)shm_length_(v) : 0;                                       \
		return ok ? (type *)(void *)v->data : NULL;                                         \
	}                                                                                           \
	static inline int shm_locked_##T##_(const shm_value *v, uint64_t i, type **p)               \
	{                                                                                           \
		if (v->code != letter || v->access != SHM_LOCKED)                                   \
			return SHM_ELAYOUT;                                                         \
		if (i >= shm_length_(v))                                                            \
			return -EINVAL;                                                             \
		*p = (type *)(void *)v->data + i;                                                   \
		return 0;                                                                           \
	}                                                                                           \
	SHM_USE_ static inline int shm_load_##T##_at(const shm_value *v, uint64_t i, type *x)       \
	{                                                                                           \
		type *p;                                                                            \
		int err = shm_locked_##T##_(v, i, &p);                                              \
		if (err == 0)                                                                       \
			__atomic_load(p, x, __ATOMIC_SEQ_CST);                                      \
		return err;                                                                         \
	}                                                                                           \
	SHM_USE_ static inline int shm_store_##T##_at(const shm_value *v, uint64_t i, type x)       \
	{                                                                                           \
		type *p;                                                                            \
		int err = shm_locked_##T##_(v, i, &p);                                              \
		if (err != 0 || (err = shm_lock(v)) != 0)                                           \
			return err;                                                                 \
		__atomic_store(p, &x, __ATOMIC_RELAXED);                                            \
		return shm_unlock(v);                                                               \
	}                                                                                           \
	SHM_USE_ static inline int shm_add_##T##_at(const shm_value *v, uint64_t i, type d, type *sum) \
	{                                                                                           \
		type *p, x;                                                                         \
		int err = shm_locked_##T##_(v, i, &p);                                              \
		if (err != 0 || (err = shm_lock(v)) != 0)                                           \
			return err;                                                                 \
		__atomic_load(p, &x, __ATOMIC_RELAXED);                                             \
		ADD(x, d);                                                                          \
		__atomic_store(p, &x, __ATOMIC_RELAXED);                                            \
		if (sum != NULL)                                                                    \
			*sum = x;                                                                   \
		return shm_unlock(v);                                                               \
	}                                                                                           \
	SHM_USE_ static inline int shm_swap_##T##_at(const shm_value *v, uint64_t i, type x, type *old) \
	{                                                                                           \
		type *p;                                                                            \
		int err = shm_locked_##T##_(v, i, &p);                                              \
		if (err != 0 || (err = shm_lock(v)) != 0)                                           \
			return err;                                                                 \
		if (old != NULL)                                                                    \
			__atomic_load(p, old, __ATOMIC_RELAXED);                                    \
		__atomic_store(p, &x, __ATOMIC_RELAXED);                                            \
		return shm_unlock(v);                                                               \
	}                                                                                           \
	SHM_USE_ static inline int shm_cas_##T##_at(const shm_value *v, uint64_t i, type *old, type x) \
	{                                                                                           \
		type *p, now;                                                                       \
		int err = shm_locked_##T##_(v, i, &p);                                              \
		if (err != 0 || (err = shm_lock(v)) != 0)                                           \
			return err;                                                                 \
		__atomic_load(p, &now, __ATOMIC_RELAXED);                                           \
		if (!SHM_EQUAL_(now, *old)) {                                                       \
			*old = now;                                                                 \
			err = shm_release_(v);                                                      \
			return err != 0 ? err : -EAGAIN;                                            \
		}                                                                                   \
		__atomic_store(p, &x, __ATOMIC_RELAXED);                                            \
		return shm_unlock(v);                                                               \
	}                                                                                           \
	struct shm_changing_##T##_ { int (*f)(type *x, void *arg); void *arg; };                    \
	static inline int shm_change_##T##_(void *x, void *arg)                                     \
	{                                                                                           \
		const struct shm_changing_##T##_ *c = (const struct shm_changing_##T##_ *)arg;      \
		return c->f((type *)x, c->arg);                                                     \
	}                                                                                           \
	SHM_USE_ static inline int shm_update_##T##_at(const shm_value *v, uint64_t i, int (*f)(type *x, void *arg), void *arg, int64_t ns) \
	{                                                                                           \
		type *p;                                                                            \
		struct shm_changing_##T##_ c = {f, arg};                                            \
		int err = shm_locked_##T##_(v, i, &p);                                              \
		return err != 0 ? err : shm_change_number_(v, p, sizeof *p, shm_change_##T##_, &c, ns); \
	}                                                                                           \
	SHM_USE_ static inline int shm_load_##T(const shm_value *v, type *x) { return shm_load_##T##_at(v, 0, x); } \
	SHM_USE_ static inline int shm_store_##T(const shm_value *v, type x) { return shm_store_##T##_at(v, 0, x); } \
	SHM_USE_ static inline int shm_add_##T(const shm_value *v, type d, type *sum) { return shm_add_##T##_at(v, 0, d, sum); } \
	SHM_USE_ static inline int shm_swap_##T(const shm_value *v, type x, type *old) { return shm_swap_##T##_at(v, 0, x, old); } \
	SHM_USE_ static inline int shm_cas_##T(const shm_value *v, type *old, type x) { return shm_cas_##T##_at(v, 0, old, x); } \
	SHM_USE_ static inline int shm_update_##T(const shm_value *v, int (*f)(type *x, void *arg), void *arg, int64_t ns) { return shm_update_##T##_at(v, 0, f, arg, ns); }

#define SHM_WRAP_(x, d) (void)__builtin_add_overflow(x, d, &(x))
#define SHM_PLUS_(x, d) (x) += (d)
SHM_NUMBER_OF_(i8, int8_t, 'b', SHM_WRAP_)
SHM_NUMBER_OF_(u8, uint8_t, 'B', SHM_WRAP_)
SHM_NUMBER_OF_(i16, int16_t, 'h', SHM_WRAP_)
SHM_NUMBER_OF_(u16, uint16_t, 'H', SHM_WRAP_)
SHM_NUMBER_OF_(i32, int32_t, 'i', SHM_WRAP_)
SHM_NUMBER_OF_(u32, uint32_t, 'I', SHM_WRAP_)
SHM_NUMBER_OF_(i64, int64_t, 'q', SHM_WRAP_)
SHM_NUMBER_OF_(u64, uint64_t, 'Q', SHM_WRAP_)
SHM_NUMBER_OF_(f32, float, 'f', SHM_PLUS_)
SHM_NUMBER_OF_(f64, double, 'd', SHM_PLUS_)

/* ---- Published values ----
 *
 * Invariant: the committed slot is never written. A writer holds the lock, fills the
 * other slot, and publishes it with one store of the commit counter, whose low bit names
 * the committed slot. A reader copies the committed slot between two loads of the
 * counter, and the copy is whole if both loads are equal. The whole counter is compared,
 * as two commits later its low bit is the same again.
 *
 * Copies use relaxed atomic words, so that the fences order them: a reader that sees a
 * word that was filled in after commit n also sees commit n. Slots start on a cache line
 * and are padded to one.
 */

/* Returns the slot that a value of the commit counter names. */
static inline uint64_t *shm_slot_(const shm_value *v, uint64_t commit)
{
	return (uint64_t *)(void *)(v->data + (commit & 1) * shm_round_(v->capacity, SHM_LINE_));
}

/* Copies the first n bytes of the slot that a value of the commit counter names. */
static inline void shm_copy_out_(const shm_value *v, uint64_t commit, void *x, size_t n)
{
	const uint64_t *slot = shm_slot_(v, commit);
	for (size_t i = 0; i < n; i += 8) {
		uint64_t w = __atomic_load_n(slot + i / 8, __ATOMIC_RELAXED);
		memcpy((char *)x + i, &w, n - i < 8 ? n - i : 8);
	}
}

/* Copies the first n bytes of the last commit. It never waits for the lock for long:
 * while a holder is stopped, or waits for this reader, it commits nothing, so the next
 * copy succeeds. */
SHM_SLOW_ int shm_snapshot_(const shm_value *v, void *x, size_t n)
{
	for (unsigned tries = 1;; tries++) {
		uint64_t commit = __atomic_load_n(&v->cell->commit, __ATOMIC_ACQUIRE);
		shm_copy_out_(v, commit, x, n);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&v->cell->commit, __ATOMIC_RELAXED) == commit)
			return 0;
		if (tries % 64 != 0)
			continue;
		if (shm_lock_for(v, SHM_READ_NS_) != 0) { /* the time is over, or this process cannot take locks */
			sched_yield();
			continue;
		}
		shm_copy_out_(v, __atomic_load_n(&v->cell->commit, __ATOMIC_RELAXED), x, n);
		return shm_unlock(v);
	}
}

/* Commits the first end bytes of x, and keeps the bytes after them, where newer programs
 * may have fields. The caller holds the lock. */
SHM_SLOW_ void shm_fill_(const shm_value *v, const void *x, uint64_t end)
{
	uint64_t commit = __atomic_load_n(&v->cell->commit, __ATOMIC_RELAXED);
	uint64_t limit = shm_min_(__atomic_load_n(&v->cell->extent, __ATOMIC_SEQ_CST), v->capacity);
	uint64_t *idle = shm_slot_(v, commit + 1);
	const uint64_t *old = shm_slot_(v, commit);
	__atomic_thread_fence(__ATOMIC_RELEASE); /* after the last commit, which may be one of this holder */
	limit = shm_max_(limit, end);
	for (uint64_t i = 0; i < limit; i += 8) {
		uint64_t w = i + 8 <= end ? 0 : __atomic_load_n(old + i / 8, __ATOMIC_RELAXED);
		if (i < end)
			memcpy(&w, (const char *)x + i, (size_t)shm_min_(end - i, 8));
		__atomic_store_n(idle + i / 8, w, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&v->cell->commit, commit + 1, __ATOMIC_RELEASE);
}

/* Finds out which fields a program has whose type is shorter than that of a handle which
 * shm_find returned: the struct has grown since the program was written. *end is 0 if
 * the size does not tell. */
SHM_SLOW_ int shm_shorter_(const shm_value *v, size_t size, uint64_t *end)
{
	struct shm_record_ r;
	if (size == 0 || size > v->size)
		return -EINVAL;
	int err = shm_record_of_(v, &r);
	if (err != 0)
		return err;
	int answers = shm_knows_(r.shape.format, r.shape.format_length, size, end);
	free(r.meta);
	if (answers != 1)
		*end = 0;
	return answers == 0 ? -EINVAL : 0;
}

/* Checks that a program may use a published struct as a type of so many bytes; *end is
 * the end of the last field that it has, or 0 if nobody knows. */
static inline int shm_typed_(const shm_value *v, size_t size, uint64_t *end)
{
	*end = v->end;
	if (v->access != SHM_PUBLISHED || v->kind != SHM_SINGLE)
		return -EINVAL;
	return SHM_LIKELY_(v->size == size) ? 0 : shm_shorter_(v, size, end);
}

SHM_USE_ static inline int shm_read(const shm_value *v, void *x, size_t size)
{
	uint64_t end;
	int err = shm_typed_(v, size, &end);
	return err != 0 ? err : shm_snapshot_(v, x, size);
}

SHM_USE_ static inline int shm_commit(const shm_value *v, const void *x, size_t size)
{
	uint64_t end;
	int err = shm_typed_(v, size, &end);
	if (err != 0 || end == 0)
		return err != 0 ? err : SHM_ELAYOUT;
	if (!shm_held_(v))
		return -EPERM;
	shm_fill_(v, x, end);
	return 0;
}

SHM_USE_ static inline int shm_publish_for(const shm_value *v, const void *x, size_t size, int64_t ns)
{
	uint64_t end;
	int err = shm_typed_(v, size, &end);
	if (err == 0)
		err = end == 0 ? SHM_ELAYOUT : shm_lock_for(v, ns);
	if (err != 0)
		return err;
	shm_fill_(v, x, end);
	return shm_unlock(v);
}

SHM_USE_ static inline int shm_publish(const shm_value *v, const void *x, size_t size) { return shm_publish_for(v, x, size, -1); }

/* Reports whether the first n bytes of x are those of the last commit. The caller holds
 * the lock. */
static inline bool shm_same_(const shm_value *v, const void *x, uint64_t n)
{
	const uint64_t *slot = shm_slot_(v, __atomic_load_n(&v->cell->commit, __ATOMIC_RELAXED));
	for (uint64_t i = 0; i < n; i += 8) {
		uint64_t w = __atomic_load_n(slot + i / 8, __ATOMIC_RELAXED);
		if (memcmp(&w, (const char *)x + i, (size_t)shm_min_(n - i, 8)) != 0)
			return false;
	}
	return true;
}

SHM_USE_ SHM_SLOW_ int shm_update(const shm_value *v, int (*f)(void *x, void *arg), void *arg, void *x, size_t size, int64_t ns)
{
	uint64_t end;
	int result = 0, state = shm_hold_off_(), err = shm_typed_(v, size, &end);
	if (err == 0)
		err = end == 0 ? SHM_ELAYOUT : shm_lock_for(v, ns);
	if (err == 0) {
		shm_copy_out_(v, __atomic_load_n(&v->cell->commit, __ATOMIC_RELAXED), x, size);
		result = shm_call_(f, x, arg, shm_leave_, (void *)(uintptr_t)v);
		if (!shm_held_(v)) { /* f has unlocked it: another process may have it by now */
			err = -EPERM;
		} else if (result == 0 && !shm_same_(v, x, end)) {
			shm_fill_(v, x, end);
			err = shm_unlock(v);
		} else {
			err = shm_release_(v);
		}
	}
	shm_permit_(state);
	return result != 0 ? result : err;
}

SHM_USE_ static inline int shm_read_text(const shm_value *v, char *buffer, size_t n)
{
	if (v->access != SHM_PUBLISHED || v->kind != SHM_CHARS)
		return -EINVAL;
	if (n <= v->count || v->count > INT32_MAX)
		return SHM_ETOOLONG;
	shm_snapshot_(v, buffer, (size_t)v->count);
	buffer[v->count] = 0;
	return (int)strlen(buffer);
}

SHM_USE_ static inline int shm_publish_text_for(const shm_value *v, const char *text, int64_t ns)
{
	size_t n = strlen(text);
	if (v->access != SHM_PUBLISHED || v->kind != SHM_CHARS)
		return -EINVAL;
	if (n > v->count)
		return SHM_ETOOLONG;
	int err = shm_lock_for(v, ns);
	if (err != 0)
		return err;
	shm_fill_(v, text, n < v->capacity ? n + 1 : n); /* with its NUL if there is room */
	return shm_unlock(v);
}

SHM_USE_ static inline int shm_publish_text(const shm_value *v, const char *text) { return shm_publish_text_for(v, text, -1); }

static inline bool shm_has_committed_(const shm_value *v, void *arg)
{
	return __atomic_load_n(&v->cell->commit, __ATOMIC_ACQUIRE) != *(const uint64_t *)arg;
}

SHM_USE_ static inline int shm_next_commit(const shm_value *v, uint64_t *commit, int64_t ns)
{
	if (v->access != SHM_PUBLISHED || v->cell == NULL)
		return -EINVAL;
	int err = shm_await(v, shm_has_committed_, commit, ns);
	if (err == 0)
		*commit = __atomic_load_n(&v->cell->commit, __ATOMIC_ACQUIRE);
	return err;
}

/* ---- Several published values at one instant ----
 *
 * A commit number never comes back. If all of them are the same before and after the
 * reader has read, then what it read was there together.
 */

struct shm_version_ {
	struct shm_cell_ *cell;
	shm_segment *segment;
	uint64_t before;
	bool held; /* its lock, by this thread */
};

struct shm_versions_ {
	struct shm_version_ *all;
	size_t n;
};

static inline uint64_t shm_parts_(const shm_value *v) { return v->cell != NULL ? 1 : v->kind == SHM_ARRAY ? v->count : 0; }

static inline shm_value shm_lock_of_(const struct shm_version_ *of)
{
	shm_value v;
	memset(&v, 0, sizeof v);
	v.segment = of->segment;
	v.cell = of->cell;
	return v;
}

/* Unlocks what a snapshot has locked, and nobody is told: nothing was changed. */
static inline void shm_unlock_versions_(const struct shm_versions_ *vs)
{
	for (size_t i = vs->n; i-- > 0;)
		if (vs->all[i].held) {
			shm_value v = shm_lock_of_(&vs->all[i]);
			(void)shm_release_(&v);
			vs->all[i].held = false;
		}
}

static inline void shm_free_versions_(void *arg)
{
	const struct shm_versions_ *vs = (const struct shm_versions_ *)arg;
	shm_unlock_versions_(vs);
	free(vs->all);
}

/* The order in which all processes lock. It reads no memory that others write: qsort
 * relies on an order that stays. */
static inline int shm_by_place_(const void *a, const void *b)
{
	const struct shm_version_ *x = (const struct shm_version_ *)a, *y = (const struct shm_version_ *)b;
	uint64_t s = x->segment->inode, t = y->segment->inode;
	if (s == t) {
		s = x->segment->device;
		t = y->segment->device;
	}
	uintptr_t p = (uintptr_t)x->cell - (uintptr_t)x->segment->mem, q = (uintptr_t)y->cell - (uintptr_t)y->segment->mem;
	return s != t ? (s > t) - (s < t) : (p > q) - (p < q);
}

static inline bool shm_moved_(const struct shm_version_ *v) { return __atomic_load_n(&v->cell->commit, __ATOMIC_ACQUIRE) != v->before; }

/* Calls read, and reports whether no commit came meanwhile. */
static inline bool shm_unmoved_(const struct shm_versions_ *vs, int (*read)(void *arg), void *arg, int *result)
{
	for (size_t i = 0; i < vs->n; i++)
		vs->all[i].before = __atomic_load_n(&vs->all[i].cell->commit, __ATOMIC_ACQUIRE);
	*result = read(arg);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	for (size_t i = 0; i < vs->n; i++)
		if (shm_moved_(&vs->all[i]))
			return false;
	return true;
}

struct shm_reader_ { int (*read)(void *arg); void *arg; };

/* Calls read until it has read the values at one instant. First it takes no lock. After
 * 64 calls it locks what has changed, for one call, but waits briefly for each. */
static inline int shm_read_together_(void *versions, void *how)
{
	struct shm_versions_ *vs = (struct shm_versions_ *)versions;
	int (*read)(void *arg) = ((const struct shm_reader_ *)how)->read, result = 0;
	void *arg = ((const struct shm_reader_ *)how)->arg;
	for (unsigned tries = 1;; tries++) {
		bool good = shm_unmoved_(vs, read, arg, &result);
		shm_unlock_versions_(vs);
		if (good || result != 0)
			return result;
		if (tries % 64 != 0)
			continue;
		for (size_t i = 0; i < vs->n; i++) {
			shm_value v = shm_lock_of_(&vs->all[i]);
			bool again = i > 0 && vs->all[i].cell == vs->all[i - 1].cell;
			vs->all[i].held = shm_moved_(&vs->all[i]) && !again && shm_lock_for(&v, SHM_READ_NS_) == 0;
		}
		sched_yield();
	}
}

SHM_USE_ SHM_SLOW_ int shm_snapshot(const shm_value *const *values, size_t n, int (*read)(void *arg), void *arg)
{
	struct shm_versions_ vs = {NULL, 0};
	uint64_t cells = 0;
	for (size_t i = 0; i < n; i++) {
		if (values[i]->access != SHM_PUBLISHED)
			return -EINVAL;
		cells += shm_parts_(values[i]);
	}
	if (cells > SIZE_MAX / sizeof *vs.all)
		return -ENOMEM;
	vs.all = (struct shm_version_ *)calloc((size_t)cells + 1, sizeof *vs.all);
	if (vs.all == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		for (uint64_t k = 0; k < shm_parts_(values[i]); k++) {
			const shm_value *v = values[i];
			vs.all[vs.n].segment = v->segment;
			vs.all[vs.n++].cell = v->cell != NULL ? v->cell : (struct shm_cell_ *)(void *)(v->data + k * shm_row_size_(v->capacity));
		}
	qsort(vs.all, vs.n, sizeof *vs.all, shm_by_place_);
	struct shm_reader_ how = {read, arg};
	int err = shm_call_(shm_read_together_, &vs, &how, shm_free_versions_, &vs);
	shm_free_versions_(&vs);
	return err;
}

/* ---- Locks and structs, many of one kind ---- */

/* Makes the handle of a part that starts at an offset in the data. */
static inline int shm_part_at_(const shm_value *v, uint64_t i, uint64_t step, uint8_t kind, shm_value *part)
{
	*part = *v;
	if (v->cell != NULL || i >= v->count)
		return -EINVAL;
	part->cell = (struct shm_cell_ *)(void *)(v->data + i * step);
	part->data = kind == SHM_MUTEX ? NULL : v->data + i * step + SHM_LINE_;
	part->kind = kind;
	part->count = 0;
	return 0;
}

SHM_USE_ static inline int shm_mutex_at(const shm_value *v, uint64_t i, shm_value *mutex)
{
	return v->kind != SHM_MUTEX ? -EINVAL : shm_part_at_(v, i, SHM_LINE_, SHM_MUTEX, mutex);
}

/* The extents of rows are raised here, and not when the program attaches to the table: it
 * may write to a few of many. */
SHM_USE_ static inline int shm_row(const shm_value *v, uint64_t i, shm_value *row)
{
	if (v->access != SHM_PUBLISHED || v->kind != SHM_ARRAY)
		return -EINVAL;
	int err = shm_part_at_(v, i, shm_row_size_(v->capacity), SHM_SINGLE, row);
	if (err != 0 || v->segment->read_only)
		return err;
	uint32_t old = __atomic_load_n(&row->cell->extent, __ATOMIC_SEQ_CST);
	while (old < v->size && !shm_cas_(&row->cell->extent, old, (uint32_t)v->size))
		old = __atomic_load_n(&row->cell->extent, __ATOMIC_SEQ_CST);
	return 0;
}

/* Sleeps until a point in time, or until one of some locks may be free. It sees changes
 * that come after the words in seen were loaded, which say that somebody awaits them. */
SHM_SLOW_ void shm_wait_any_(const shm_value *v, const uint32_t *seen, size_t n, int64_t until)
{
#ifdef SYS_futex_waitv
	struct { uint64_t value, address; uint32_t flags, zero; } all[128];
	int64_t at[2] = {until / 1000000000, until % 1000000000};
	if (n <= sizeof all / sizeof all[0]) {
		for (size_t i = 0; i < n; i++) {
			all[i].value = seen[i];
			all[i].address = (uintptr_t)(v->data + i * SHM_LINE_ + offsetof(struct shm_cell_, change));
			all[i].flags = 2; /* FUTEX_32 */
			all[i].zero = 0;
		}
		if (syscall(SYS_futex_waitv, all, (unsigned)n, 0, at, CLOCK_MONOTONIC) >= 0 || !shm_refused_(errno))
			return;
	}
#endif
	(void)v, (void)seen, (void)n;
	int64_t ns = until - shm_now_();
	struct timespec pause = {0, (long)(ns < 0 ? 0 : ns)};
	nanosleep(&pause, NULL);
}

/* Tries all locks, from the first one on. Returns -EBUSY if none can be had. */
static inline int shm_try_any_(const shm_value *v, uint64_t *i)
{
	shm_value mutex;
	for (*i = 0; *i < v->count; ++*i) {
		int err = shm_mutex_at(v, *i, &mutex);
		if (err != 0 || (err = shm_trylock(&mutex)) != -EBUSY)
			return err;
	}
	return -EBUSY;
}

SHM_USE_ SHM_SLOW_ int shm_lock_any(const shm_value *v, int64_t ns, uint64_t *i)
{
	enum { MOST = 128 };
	uint32_t seen[MOST];
	int64_t until = shm_until_(ns), pause = SHM_SHORT_NS_;
	if (v->kind != SHM_MUTEX || v->count == 0)
		return -EINVAL;
	size_t n = (size_t)shm_min_(v->count, MOST);
	for (;;) {
		int err = shm_try_any_(v, i);
		if (err != -EBUSY)
			return err;
		for (size_t k = 0; k < n; k++) {
			uint32_t *change = &((struct shm_cell_ *)(void *)(v->data + k * SHM_LINE_))->change;
			do
				seen[k] = __atomic_load_n(change, __ATOMIC_SEQ_CST);
			while ((seen[k] & SHM_AWAITED_) == 0 && !shm_cas_(change, seen[k], seen[k] | SHM_AWAITED_));
			seen[k] |= SHM_AWAITED_;
		}
		if ((err = shm_try_any_(v, i)) != -EBUSY)
			return err;
		int64_t now = shm_now_();
		if (now >= until)
			return -ETIMEDOUT;
		int state = shm_hold_off_();
		shm_wait_any_(v, seen, v->count > MOST ? MOST + 1 : n, shm_sooner_(until, now + pause));
		shm_permit_(state);
		pause = shm_sooner_(2 * pause, SHM_SLEEP_NS_);
	}
}

/* ---- Cells ----
 *
 * Invariants: the owner of a cell is a process that has its lease, or a dead one. A claim
 * changes no number of a counter or a histogram, so who claims the cell of a dead process
 * inherits its number by one compare-and-swap. high is raised before a cell above it is
 * claimed, so who adds up the cells from 0 to high misses none. Cell 0 has no owner.
 */

static inline uint64_t shm_cells_of_(const shm_value *v) { return v->capacity / shm_stride_(v->kind, v->size, v->count); }

static inline struct shm_part_ *shm_cell_at_(const shm_value *v, uint64_t i)
{
	return (struct shm_part_ *)(void *)(v->data + i * shm_stride_(v->kind, v->size, v->count));
}

/* Returns the highest number of a cell that may have an owner. */
static inline uint64_t shm_cells_used_(const shm_value *v)
{
	return shm_min_(__atomic_load_n(shm_high_(v), __ATOMIC_SEQ_CST), shm_cells_of_(v) - 1);
}

#define SHM_SHARES_ UINT64_MAX /* a claim of a process that has no lease: it adds to cell 0 */

/* Returns the cell that this process has claimed, or NULL if it has to claim one. */
static inline struct shm_part_ *shm_claimed_(const shm_value *v)
{
	uint64_t claim = __atomic_load_n(&v->claim, __ATOMIC_RELAXED);
	uint32_t id = shm_id_(v->segment);
	if (SHM_LIKELY_(id != 0 && (uint32_t)claim == id))
		return shm_cell_at_(v, claim >> 32);
	return claim == SHM_SHARES_ && !v->segment->read_only ? shm_cell_at_(v, 0) : NULL;
}

/* Claims a cell; returns its number, or 0 if there is none. The caller holds the mutex of
 * the home, so that a process has one cell of a value. */
static inline uint64_t shm_claim_cell_(const shm_value *v, uint64_t clean)
{
	uint64_t me = shm_id_(v->segment), known = shm_cells_used_(v), *high = shm_high_(v), i = 1;
	for (; i <= known; i++) {
		uint64_t *owner = &shm_cell_at_(v, i)->owner, w = __atomic_load_n(owner, __ATOMIC_SEQ_CST);
		if ((uint32_t)w == me)
			return i;
		if (((uint32_t)w == 0 || shm_leased_(v->segment, (uint32_t)w) == 0) && shm_cas_8_(owner, w, me | clean))
			return i;
	}
	for (; i < shm_cells_of_(v); i++) {
		for (uint64_t h; (h = __atomic_load_n(high, __ATOMIC_SEQ_CST)) < i && !shm_cas_8_(high, h, i);) {
		}
		if (shm_cas_8_(&shm_cell_at_(v, i)->owner, 0, me | clean))
			return i;
	}
	return 0;
}

/* Claims the cell of this process. *done says that it is the first change of a gauge, and
 * that the bits are its number now. */
SHM_SLOW_ int shm_claim_(shm_value *v, uint64_t bits, struct shm_part_ **cell, bool *done)
{
	bool gauge = v->kind == SHM_GAUGE;
	int state = shm_hold_off_(), err = shm_ready_(v->segment);
	*done = false;
	if (!gauge && (err == SHM_ENOLEASE || err == SHM_EBLOCKED || err == SHM_EFULL)) {
		__atomic_store_n(&v->claim, SHM_SHARES_, __ATOMIC_RELAXED);
		*cell = shm_cell_at_(v, 0);
		err = 0;
	} else if (err == 0) {
		pthread_mutex_lock(&v->segment->home->mutex);
		uint64_t me = shm_id_(v->segment), i = shm_claim_cell_(v, gauge ? SHM_CLEAN_ : 0);
		*cell = shm_cell_at_(v, i);
		if (gauge && i == 0) {
			err = SHM_EFULL;
		} else if (gauge && __atomic_load_n(&(*cell)->owner, __ATOMIC_SEQ_CST) != me) {
			__atomic_store_n(&(*cell)->number, bits, __ATOMIC_SEQ_CST);
			__atomic_store_n(&(*cell)->owner, me, __ATOMIC_SEQ_CST);
			*done = true;
		}
		if (err == 0)
			__atomic_store_n(&v->claim, i << 32 | me, __ATOMIC_RELAXED);
		pthread_mutex_unlock(&v->segment->home->mutex);
	}
	shm_permit_(state);
	return err;
}

/* Finds the cell of this process, or claims it. */
static inline int shm_own_cell_(shm_value *v, uint64_t bits, struct shm_part_ **cell, bool *done)
{
	*done = false;
	*cell = shm_claimed_(v);
	return SHM_LIKELY_(*cell != NULL) ? 0 : shm_claim_(v, bits, cell, done);
}

/* Reads the cell of a gauge. Returns false if it counts for nothing: nobody has it, or its
 * owner is dead, or has not set it yet. One process probes each owner for all. */
SHM_SLOW_ bool shm_gauge_cell_(const shm_value *v, uint64_t i, uint32_t *id, uint64_t *bits)
{
	shm_segment *s = v->segment;
	struct shm_part_ *c = shm_cell_at_(v, i);
	for (uint64_t owner = __atomic_load_n(&c->owner, __ATOMIC_SEQ_CST), again; owner != 0 && owner <= SHM_OWNER_MASK_; owner = again) {
		*bits = __atomic_load_n(&c->number, __ATOMIC_SEQ_CST);
		*id = (uint32_t)owner;
		if ((again = __atomic_load_n(&c->owner, __ATOMIC_SEQ_CST)) != owner)
			continue;
		if (owner == shm_id_(s))
			return true;
		int64_t last = __atomic_load_n(&c->probed, __ATOMIC_SEQ_CST), now = shm_now_();
		bool probe = s->read_only || ((uint64_t)now - (uint64_t)last >= (uint64_t)SHM_PROBE_NS_ &&
			__atomic_compare_exchange_n(&c->probed, &last, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
		if (!probe || shm_leased_(s, *id) != 0)
			return true;
		if (!s->read_only)
			(void)shm_cas_8_(&c->owner, owner, 0); /* gone for all */
		return false;
	}
	return false;
}

/* Adds by compare-and-swap: other threads, and those who share cell 0, may add as well. */
static inline void shm_add_float_(uint64_t *number, double d)
{
	uint64_t old = __atomic_load_n(number, __ATOMIC_SEQ_CST), bits;
	do {
		double x;
		memcpy(&x, &old, sizeof x);
		x += d;
		memcpy(&bits, &x, sizeof bits);
	} while (!__atomic_compare_exchange_n(number, &old, bits, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
}

static inline void shm_add_whole_(uint64_t *number, uint64_t d) { (void)__atomic_fetch_add(number, d, __ATOMIC_SEQ_CST); }

#define SHM_CELLED_(T, type, letter, add_to, plain)                                                 \
	SHM_USE_ static inline int shm_count_##T(shm_value *v, type d)                              \
	{                                                                                           \
		struct shm_part_ *c;                                                                \
		bool done;                                                                          \
		if (v->kind != SHM_COUNTER || v->code != letter)                                    \
			return SHM_ELAYOUT;                                                         \
		int err = shm_own_cell_(v, 0, &c, &done);                                           \
		if (err == 0)                                                                       \
			add_to(&c->number, (plain)d);                                               \
		return err;                                                                         \
	}                                                                                           \
	SHM_USE_ static inline int shm_counted_##T(const shm_value *v, type *sum)                   \
	{                                                                                           \
		plain all = 0;                                                                      \
		if (v->kind != SHM_COUNTER || v->code != letter)                                    \
			return SHM_ELAYOUT;                                                         \
		for (uint64_t i = 0, n = shm_cells_used_(v); i <= n; i++) {                         \
			uint64_t bits = __atomic_load_n(&shm_cell_at_(v, i)->number, __ATOMIC_SEQ_CST); \
			plain x;                                                                    \
			memcpy(&x, &bits, sizeof x);                                                \
			all += x;                                                                   \
		}                                                                                   \
		*sum = (type)all;                                                                   \
		return 0;                                                                           \
	}                                                                                           \
	static inline int shm_change_gauge_##T##_(shm_value *v, type x, bool add)                   \
	{                                                                                           \
		struct shm_part_ *c;                                                                \
		uint64_t bits;                                                                      \
		bool done;                                                                          \
		if (v->kind != SHM_GAUGE || v->code != letter)                                      \
			return SHM_ELAYOUT;                                                         \
		memcpy(&bits, &x, sizeof bits);                                                     \
		int err = shm_own_cell_(v, bits, &c, &done);                                        \
		if (err != 0 || done)                                                               \
			return err;                                                                 \
		if (add)                                                                            \
			add_to(&c->number, (plain)x);                                               \
		else                                                                                \
			__atomic_store_n(&c->number, bits, __ATOMIC_SEQ_CST);                       \
		return 0;                                                                           \
	}                                                                                           \
	SHM_USE_ static inline int shm_set_gauge_##T(shm_value *v, type x) { return shm_change_gauge_##T##_(v, x, false); } \
	SHM_USE_ static inline int shm_add_gauge_##T(shm_value *v, type d) { return shm_change_gauge_##T##_(v, d, true); } \
	SHM_USE_ static inline int shm_gauge_parts_##T(const shm_value *v, type *parts, uint32_t *pids, size_t room) \
	{                                                                                           \
		size_t found = 0;                                                                   \
		uint64_t bits;                                                                      \
		uint32_t id;                                                                        \
		if (v->kind != SHM_GAUGE || v->code != letter)                                      \
			return SHM_ELAYOUT;                                                         \
		for (uint64_t i = 1, n = shm_cells_used_(v); i <= n; i++) {                         \
			if (!shm_gauge_cell_(v, i, &id, &bits))                                     \
				continue;                                                           \
			if (found < room) {                                                         \
				memcpy(parts + found, &bits, sizeof *parts);                        \
				if (pids != NULL)                                                   \
					pids[found] = shm_pid_of_(v->segment, id);                  \
			}                                                                           \
			found++;                                                                    \
		}                                                                                   \
		return (int)found;                                                                  \
	}                                                                                           \
	SHM_USE_ static inline int shm_load_gauge_##T(const shm_value *v, type *sum)                \
	{                                                                                           \
		plain all = 0, x;                                                                   \
		uint64_t bits;                                                                      \
		uint32_t id;                                                                        \
		if (v->kind != SHM_GAUGE || v->code != letter)                                      \
			return SHM_ELAYOUT;                                                         \
		for (uint64_t i = 1, n = shm_cells_used_(v); i <= n; i++)                           \
			if (shm_gauge_cell_(v, i, &id, &bits)) {                                    \
				memcpy(&x, &bits, sizeof x);                                        \
				all += x;                                                           \
			}                                                                           \
		*sum = (type)all;                                                                   \
		return 0;                                                                           \
	}

/* Returns the process of an id as the table of ids has it, or 0. */
static inline uint32_t shm_pid_of_(const shm_segment *s, uint32_t id)
{
	const struct shm_entry_ *e = shm_entry_of_(s, id);
	if (__atomic_load_n(&e->id, __ATOMIC_SEQ_CST) != id)
		return 0;
	uint32_t pid = __atomic_load_n(&e->pid, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&e->id, __ATOMIC_SEQ_CST) == id ? pid : 0;
}

SHM_CELLED_(i64, int64_t, 'q', shm_add_whole_, uint64_t)
SHM_CELLED_(u64, uint64_t, 'Q', shm_add_whole_, uint64_t)
SHM_CELLED_(f64, double, 'd', shm_add_float_, double)

static inline uint64_t *shm_buckets_(struct shm_part_ *c) { return (uint64_t *)(void *)((unsigned char *)c + SHM_BUCKETS_); }

SHM_USE_ static inline int shm_observe(shm_value *v, double x)
{
	struct shm_part_ *c;
	bool done;
	const double *bounds = shm_bounds(v);
	if (bounds == NULL)
		return SHM_ELAYOUT;
	int err = shm_own_cell_(v, 0, &c, &done);
	if (err != 0)
		return err;
	uint64_t low = 0, high = v->count; /* bucket low or one before high */
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (x <= bounds[middle])
			high = middle;
		else
			low = middle + 1;
	}
	shm_add_float_(&c->number, x);
	shm_add_whole_(shm_buckets_(c) + low, 1);
	return 0;
}

SHM_USE_ static inline int shm_load_histogram(const shm_value *v, uint64_t *counts, double *sum)
{
	if (v->kind != SHM_HISTOGRAM)
		return SHM_ELAYOUT;
	memset(counts, 0, ((size_t)v->count + 1) * sizeof *counts);
	*sum = 0;
	for (uint64_t i = 0, n = shm_cells_used_(v); i <= n; i++) {
		struct shm_part_ *c = shm_cell_at_(v, i);
		uint64_t bits = __atomic_load_n(&c->number, __ATOMIC_SEQ_CST);
		double x;
		memcpy(&x, &bits, sizeof x);
		*sum += x;
		for (uint64_t b = 0; b <= v->count; b++)
			counts[b] += __atomic_load_n(shm_buckets_(c) + b, __ATOMIC_SEQ_CST);
	}
	return 0;
}

/* ---- Rings ----
 *
 * A ring has one slot more than the values that it keeps. So the slot that is filled is not
 * that of a value which a reader may be told of. A reader accepts a copy if the value is
 * still kept after it.
 */

static inline uint64_t *shm_ring_slot_(const shm_value *v, uint64_t seq)
{
	return (uint64_t *)(void *)(v->data + (seq - 1) % (v->count + 1) * shm_stride_(v->kind, v->size, v->count));
}

/* Copies a value. Returns whether it was kept until the copy was complete. The difference
 * is unsigned: a commit that is less than seq keeps nothing. */
static inline bool shm_ring_copy_(const shm_value *v, uint64_t seq, void *x)
{
	const uint64_t *slot = shm_ring_slot_(v, seq);
	size_t n = (size_t)v->size;
	for (size_t i = 0; i < n; i += 8) {
		uint64_t w = __atomic_load_n(slot + i / 8, __ATOMIC_RELAXED);
		memcpy((char *)x + i, &w, n - i < 8 ? n - i : 8);
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&v->cell->commit, __ATOMIC_RELAXED) - seq < v->count;
}

static inline uint64_t shm_ring_oldest_(const shm_value *v, uint64_t commit) { return commit < v->count ? 1 : commit - v->count + 1; }

/* Copies the value with this number, or the oldest one that is kept if that is newer, or the
 * newest one if the number is 0. Returns its number, or 0 if it is not there yet. */
SHM_SLOW_ uint64_t shm_ring_read_(const shm_value *v, uint64_t seq, void *x)
{
	for (unsigned tries = 1;; tries++) {
		uint64_t commit = __atomic_load_n(&v->cell->commit, __ATOMIC_ACQUIRE);
		if (commit == 0 || seq > commit)
			return 0;
		uint64_t at = seq == 0 ? commit : shm_max_(seq, shm_ring_oldest_(v, commit));
		if (shm_ring_copy_(v, at, x))
			return at;
		if (tries % 64 != 0)
			continue;
		if (shm_lock_for(v, SHM_READ_NS_) != 0) { /* the time is over, or this process cannot take locks */
			sched_yield();
			continue;
		}
		commit = __atomic_load_n(&v->cell->commit, __ATOMIC_ACQUIRE);
		at = seq == 0 ? commit : shm_max_(seq, shm_ring_oldest_(v, commit));
		bool good = shm_ring_copy_(v, at, x);
		(void)shm_unlock(v);
		if (good)
			return at;
	}
}

static inline int shm_ring_typed_(const shm_value *v, size_t size) { return v->kind != SHM_RING || v->size != size ? -EINVAL : 0; }

SHM_USE_ static inline int shm_append(const shm_value *v, const void *x, size_t size, uint64_t *seq)
{
	int err = shm_ring_typed_(v, size);
	if (err != 0 || (err = shm_lock(v)) != 0)
		return err;
	uint64_t next = __atomic_load_n(&v->cell->commit, __ATOMIC_RELAXED) + 1, *slot = shm_ring_slot_(v, next);
	__atomic_thread_fence(__ATOMIC_RELEASE); /* after the last commit */
	for (size_t i = 0; i < size; i += 8) {
		uint64_t w = 0;
		memcpy(&w, (const char *)x + i, size - i < 8 ? size - i : 8);
		__atomic_store_n(slot + i / 8, w, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&v->cell->commit, next, __ATOMIC_RELEASE);
	if (seq != NULL)
		*seq = next;
	return shm_unlock(v);
}

SHM_USE_ static inline int shm_last(const shm_value *v, void *x, size_t size, uint64_t *seq)
{
	int err = shm_ring_typed_(v, size);
	if (err != 0)
		return err;
	uint64_t at = shm_ring_read_(v, 0, x);
	if (seq != NULL)
		*seq = at;
	return at == 0 ? -ENOENT : 0;
}

SHM_USE_ static inline int shm_read_from(const shm_value *v, uint64_t seq, shm_reader *r)
{
	memset(r, 0, sizeof *r);
	r->ring = *v;
	if (v->kind != SHM_RING)
		return -EINVAL;
	uint64_t commit = __atomic_load_n(&v->cell->commit, __ATOMIC_ACQUIRE);
	r->next = seq == 0 ? shm_ring_oldest_(v, commit) : seq == SHM_NEXT ? commit + 1 : seq;
	return 0;
}

static inline bool shm_ring_has_(const shm_value *v, void *arg)
{
	return __atomic_load_n(&v->cell->commit, __ATOMIC_ACQUIRE) >= *(const uint64_t *)arg;
}

SHM_USE_ static inline int shm_next(shm_reader *r, void *x, size_t size, int64_t ns, uint64_t *seq)
{
	uint64_t at, wanted = r->next;
	int err = shm_ring_typed_(&r->ring, size);
	while (err == 0 && (at = shm_ring_read_(&r->ring, wanted, x)) == 0)
		err = shm_await(&r->ring, shm_ring_has_, &wanted, ns);
	if (err != 0)
		return err;
	r->missed += at - wanted;
	r->next = at + 1;
	if (seq != NULL)
		*seq = at;
	return 0;
}

/* ---- Text ---- */

/* Takes text as snprintf does: it keeps what has room, and counts all of it. */
struct shm_sink_ {
	char *at;
	size_t room;
	uint64_t length;
};

static inline void shm_put_(struct shm_sink_ *to, const char *text, size_t n)
{
	if (to->length < to->room) {
		size_t fits = (size_t)shm_min_(n, to->room - to->length);
		memcpy(to->at + to->length, text, fits);
	}
	to->length += n;
}

static inline void shm_say_(struct shm_sink_ *to, const char *text) { shm_put_(to, text, strlen(text)); }

__attribute__((format(printf, 2, 3))) SHM_SLOW_ void shm_print_(struct shm_sink_ *to, const char *format, ...)
{
	char b[160];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(b, sizeof b, format, args);
	va_end(args);
	shm_put_(to, b, n < 0 ? 0 : (size_t)shm_min_((uint64_t)n, sizeof b - 1));
}

/* Ends the text with a NUL; returns its whole length, as snprintf does. */
static inline int shm_end_text_(struct shm_sink_ *to)
{
	if (to->room > 0)
		to->at[shm_min_(to->length, to->room - 1)] = 0;
	return to->length > SHM_TEXT_MAX_ ? SHM_ETOOLONG : (int)to->length;
}

/* Decodes the next character. Returns its bytes, or 0 if they are not UTF-8. */
static inline size_t shm_character_(const char *s, size_t n, uint32_t *r)
{
	unsigned char c = (unsigned char)*s;
	size_t length = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
	*r = length == 1 ? c : c & (0x7fU >> length);
	if (length == 0 || length > n)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if (((unsigned char)s[i] & 0xc0) != 0x80)
			return 0;
		*r = *r << 6 | ((unsigned char)s[i] & 0x3f);
	}
	bool odd = (length == 3 && *r < 0x800) || (length == 4 && *r < 0x10000) || *r > 0x10ffff || (*r >= 0xd800 && *r < 0xe000);
	return odd ? 0 : length;
}

/* Reports whether a character changes how a terminal or an editor shows what is around it,
 * or cannot be seen: controls, marks of direction, spaces that look like others. */
static inline bool shm_unseen_(uint32_t r)
{
	static const struct { uint32_t first, last; } all[] = {
		{0, 0x1f}, {0x7f, 0xa0}, {0xad, 0xad}, {0x61c, 0x61c}, {0x115f, 0x1160}, {0x1680, 0x1680}, {0x180e, 0x180e}, {0x2000, 0x200f}, {0x2028, 0x202f},
		{0x205f, 0x206f}, {0x3000, 0x3000}, {0x3164, 0x3164}, {0xe000, 0xf8ff}, {0xfeff, 0xfeff}, {0xfff0, 0xfffb}, {0xfffe, 0xffff}, {0xe0000, 0x10ffff}};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		if (r >= all[i].first && r <= all[i].last)
			return true;
	return false;
}

/* Writes a text with escapes for all that is not to be seen by a terminal as it is. In
 * quotes those are escaped, too. */
SHM_SLOW_ void shm_escape_(struct shm_sink_ *to, const char *text, size_t n, bool quotes)
{
	static const char plain[] = "\a\b\f\n\r\t\v", letters[] = "abfnrtv";
	for (size_t i = 0, length; i < n; i += length) {
		uint32_t r;
		const char *known = text[i] == 0 ? NULL : strchr(plain, text[i]);
		length = shm_character_(text + i, n - i, &r);
		if (length == 0) {
			length = 1;
			shm_print_(to, "\\x%02x", (unsigned)(unsigned char)text[i]);
		} else if (r == '\\' || (quotes && r == '"')) {
			shm_print_(to, "\\%c", text[i]);
		} else if (known != NULL) {
			shm_print_(to, "\\%c", letters[known - plain]);
		} else if (!shm_unseen_(r)) {
			shm_put_(to, text + i, length);
		} else if (r < 0x80) {
			shm_print_(to, "\\x%02x", (unsigned)r);
		} else {
			shm_print_(to, r > 0xffff ? "\\U%08x" : "\\u%04x", (unsigned)r);
		}
	}
}

static inline void shm_quote_(struct shm_sink_ *to, const char *text, size_t n)
{
	shm_say_(to, "\"");
	shm_escape_(to, text, n, true);
	shm_say_(to, "\"");
}

SHM_SLOW_ int shm_quote(const char *text, char *buffer, size_t n)
{
	struct shm_sink_ to = {buffer, n, 0};
	shm_quote_(&to, text, strlen(text));
	return shm_end_text_(&to);
}

SHM_SLOW_ int shm_describe(const shm_value *v, char *buffer, size_t n)
{
	static const char *const access[] = {"", "raw", "atomic", "locked", "published"};
	static const char *const kind[] = {"", "single", "array", "chars", "mutex", "", "", "ring", "counter", "gauge", "histogram"};
	static const char *const hint[] = {"", ", a duration", ", a time", ", text", ", a counter", ", a gauge"};
	struct shm_sink_ to = {buffer, n, 0};
	struct shm_record_ r;
	int err = shm_record_of_(v, &r);
	if (err != 0)
		return err;
	/* Others have written the texts: a terminal must not obey them. */
	shm_print_(&to, "%s %s", access[r.shape.access], kind[r.shape.kind]);
	if (r.shape.format_length > 0) { /* a mutex has none */
		shm_print_(&to, " of ");
		shm_escape_(&to, r.shape.format, r.shape.format_length, false);
		shm_print_(&to, ", %llu bytes each", (unsigned long long)r.shape.size);
	}
	shm_print_(&to, ", count %lld%s, made by ", (long long)r.shape.count,
		r.hint < sizeof hint / sizeof hint[0] ? hint[r.hint] : "");
	shm_escape_(&to, r.program, strlen(r.program), false);
	shm_print_(&to, " (pid %u)", (unsigned)r.pid);
	free(r.meta);
	return shm_end_text_(&to);
}

/* ---- Who is there ---- */

/* Reads what the table of ids tells of an id. It may have forgotten that one. */
SHM_SLOW_ void shm_who_(const shm_segment *s, uint32_t id, shm_process *p)
{
	const struct shm_entry_ *e = shm_entry_of_(s, id);
	memset(p, 0, sizeof *p);
	p->id = id;
	if (id == 0 || __atomic_load_n(&e->id, __ATOMIC_SEQ_CST) != id)
		return;
	p->pid = __atomic_load_n(&e->pid, __ATOMIC_RELAXED);
	p->ns = __atomic_load_n(&e->ns, __ATOMIC_RELAXED);
	for (size_t i = 0; i < sizeof e->program; i++)
		p->program[i] = __atomic_load_n(&e->program[i], __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (__atomic_load_n(&e->id, __ATOMIC_SEQ_CST) == id)
		return;
	memset(p, 0, sizeof *p); /* another process has taken the entry meanwhile */
	p->id = id;
}

/* Asks for a lease through a description that holds none. Of an id of this process, the
 * control description would say that it is free. */
static inline int shm_held_by_(const shm_segment *s, uint32_t id)
{
	struct flock l;
	struct stat st;
	int err = shm_file_lock_(s->fd, F_OFD_GETLK, F_RDLCK, SHM_LEASE_BASE_ + id, 1, &l);
	return err != 0 ? err : l.l_type != F_UNLCK ? 1 : shm_stat_(s, s->fd, &st);
}

SHM_USE_ static inline bool shm_alive(const shm_segment *s, uint32_t id)
{
	return id != 0 && id <= SHM_OWNER_MASK_ && (id == shm_id_(s) || shm_held_by_(s, id) != 0);
}

/* Calls f with each lock in a range of bytes that conflicts with one of a type, until it has
 * looked so often. The system tells of one of them, so the bytes before it and behind it come
 * next, the smaller part first: then the list stays short. *rest is where it stopped. */
SHM_SLOW_ int shm_each_lock_(int fd, short type, int64_t from, int64_t end, size_t looks, void (*f)(void *arg, int64_t at, int64_t n), void *arg, int64_t *rest)
{
	struct { int64_t from, end; } todo[66];
	size_t n = 0;
	todo[n].from = from, todo[n++].end = end;
	*rest = from;
	for (; n > 0 && looks > 0; looks--) {
		struct flock l;
		from = todo[--n].from;
		end = todo[n].end;
		int err = from < end ? shm_file_lock_(fd, F_OFD_GETLK, type, from, end - from, &l) : 0;
		if (err != 0)
			return err;
		if (from >= end || l.l_type == F_UNLCK)
			continue;
		int64_t at = l.l_start < from ? from : l.l_start, past = l.l_len == 0 || l.l_len >= end - l.l_start ? end : l.l_start + l.l_len;
		if (past <= at) /* the system does not answer so */
			continue;
		f(arg, at, past - at);
		bool early = at - from < end - past;
		todo[n].from = early ? past : from, todo[n++].end = early ? end : at;
		todo[n].from = early ? from : past, todo[n++].end = early ? at : end;
	}
	*rest = n > 0 ? todo[n - 1].from : *rest;
	return 0;
}

struct shm_crowd_ {
	const shm_segment *segment;
	shm_process *all;
	size_t room, n;
};

static inline void shm_meet_(struct shm_crowd_ *c, uint32_t id)
{
	if (c->n < c->room)
		shm_who_(c->segment, id, &c->all[c->n]);
	c->n++;
}

static inline int shm_by_id_(const void *a, const void *b)
{
	uint32_t x = ((const shm_process *)a)->id, y = ((const shm_process *)b)->id;
	return (x > y) - (x < y);
}

/* A lock of more than one byte is no process's lease: only the ids that the table has count. */
static inline void shm_found_lease_(void *arg, int64_t at, int64_t n)
{
	struct shm_crowd_ *c = (struct shm_crowd_ *)arg;
	int64_t id = at - SHM_LEASE_BASE_;
	if (n == 1) {
		shm_meet_(c, (uint32_t)id);
		return;
	}
	for (uint32_t i = 0; i < SHM_TABLE_LEN_; i++) {
		uint32_t known = __atomic_load_n(&shm_entry_of_(c->segment, i)->id, __ATOMIC_SEQ_CST);
		if (known >= id && known < id + n)
			shm_meet_(c, known);
	}
}

/* A peer may hold leases that it was not given: it stops looking at some time. */
SHM_USE_ SHM_SLOW_ int shm_processes(const shm_segment *s, shm_process *all, size_t room)
{
	enum { LOOKS = 1 << 17 };
	struct shm_crowd_ c = {s, all, room, 0};
	struct stat st;
	uint64_t next;
	int64_t rest, end;
	if (!shm_unseal_(&s->header->next_id, &next))
		return SHM_EFORMAT;
	end = SHM_LEASE_BASE_ + (int64_t)shm_min_(next, SHM_OWNER_MASK_ + UINT64_C(1));
	int err = shm_each_lock_(s->fd, F_RDLCK, SHM_LEASE_BASE_ + 1, end, LOOKS, shm_found_lease_, &c, &rest);
	if (err == 0)
		err = shm_stat_(s, s->fd, &st);
	if (err != 0)
		return err;
	if (c.n > 0 && room > 0)
		qsort(all, (size_t)shm_min_(c.n, room), sizeof *all, shm_by_id_);
	return (int)c.n;
}

SHM_USE_ SHM_SLOW_ int shm_await_exit(const shm_segment *s, uint32_t id, int64_t ns)
{
	int64_t start = shm_now_(), until = shm_until_(ns);
	if (id == 0 || id > SHM_OWNER_MASK_)
		return -EINVAL;
	for (;;) {
		int64_t now = shm_now_(), pause = now - start < SHM_BLIND_NS_ ? SHM_SHORT_NS_ : SHM_SLEEP_NS_;
		int held = id == shm_id_(s) ? 1 : shm_held_by_(s, id);
		if (held <= 0)
			return held;
		if (now >= until)
			return -ETIMEDOUT;
		pause = shm_sooner_(pause, until - now);
		struct timespec t = {0, (long)pause};
		nanosleep(&t, NULL); /* nothing is held: the thread may be cancelled here */
	}
}

SHM_USE_ SHM_SLOW_ int shm_lock_state(const shm_value *v, shm_lock_info *l)
{
	memset(l, 0, sizeof *l);
	if (v->cell == NULL)
		return -EINVAL;
	uint32_t w = __atomic_load_n(&v->cell->word, __ATOMIC_SEQ_CST), id = w & SHM_OWNER_MASK_;
	l->held = id != 0;
	l->reserved = id == 0 && (w & SHM_KERNEL_WAITERS_) != 0;
	l->waiting = (w & ~SHM_OWNER_MASK_) != 0;
	l->abandoned = __atomic_load_n(&v->cell->abandoned, __ATOMIC_SEQ_CST) != 0;
	l->takeovers = __atomic_load_n(&v->cell->takeovers, __ATOMIC_SEQ_CST);
	shm_who_(v->segment, id, &l->owner);
	l->alive = l->held && shm_alive(v->segment, id);
	return 0;
}

static inline void shm_show_lock_(struct shm_sink_ *to, const shm_lock_info *l)
{
	if (l->reserved) {
		shm_say_(to, "free, reserved for a long-waiting process");
	} else if (!l->held) {
		shm_say_(to, "free");
	} else if (l->owner.pid == 0) {
		shm_print_(to, "held by id %u", (unsigned)l->owner.id);
	} else {
		shm_say_(to, "held by ");
		shm_quote_(to, l->owner.program, strlen(l->owner.program));
		shm_print_(to, " (pid %u)", (unsigned)l->owner.pid);
	}
	shm_say_(to, l->held && !l->alive ? ", which is dead" : "");
	shm_say_(to, l->waiting && l->held ? ", has, or had, waiters" : "");
	shm_say_(to, l->abandoned ? ", abandoned" : "");
	if (l->takeovers > 0)
		shm_print_(to, ", takeovers: %u", (unsigned)l->takeovers);
}

/* ---- Listing ---- */

/* A struct has grown: where its own record is, and its last growth record. */
struct shm_growth_ {
	uint64_t own, last;
};

static inline int shm_by_own_(const void *a, const void *b)
{
	const struct shm_growth_ *x = (const struct shm_growth_ *)a, *y = (const struct shm_growth_ *)b;
	return x->own != y->own ? (x->own > y->own) - (x->own < y->own) : (x->last > y->last) - (x->last < y->last);
}

/* Finds all growth records up to e->end_, and keeps the last one of each struct. A record
 * that is not valid ends the search, as it ends the list. */
static inline int shm_growths_(shm_segment *s, shm_entry *e)
{
	struct shm_fixed_ f;
	struct shm_record_ r;
	size_t n = 0, room = 0;
	for (uint64_t off = SHM_HEADER_; off < e->end_ && shm_fixed_part_(s, off, e->end_, &f); off += f.size) {
		if (f.kind != SHM_GROWTH_)
			continue;
		int err = shm_decode_(s, off, e->end_, &r);
		if (err == -ENOMEM)
			return err;
		if (err != 0)
			break;
		free(r.meta);
		if (n == room) {
			struct shm_growth_ *more = (struct shm_growth_ *)realloc(e->growths_, (room = 2 * room + 16) * sizeof *more);
			if (more == NULL)
				return -ENOMEM;
			e->growths_ = more;
		}
		e->growths_[n].own = r.older;
		e->growths_[n++].last = off;
	}
	if (n > 0)
		qsort(e->growths_, n, sizeof *e->growths_, shm_by_own_);
	for (size_t i = 0; i < n; i++)
		if (i + 1 == n || e->growths_[i].own != e->growths_[i + 1].own)
			e->growths_[e->known_++] = e->growths_[i];
	return 0;
}

/* Replaces a record by the last growth record of its struct, if there is one. */
static inline int shm_grow_record_(shm_segment *s, const shm_entry *e, struct shm_record_ *r)
{
	struct shm_record_ last;
	size_t low = 0, high = e->known_;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (e->growths_[middle].own < r->offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == e->known_ || e->growths_[low].own != r->offset)
		return 0;
	int err = shm_decode_(s, e->growths_[low].last, e->end_, &last);
	if (err == 0)
		err = shm_own_(s, &last);
	free(r->meta);
	r->meta = NULL;
	if (err == 0)
		*r = last;
	return err;
}

static inline const char *shm_keep_text_(char **at, const char *text, size_t n)
{
	char *kept = *at;
	memcpy(kept, text, n);
	kept[n] = 0;
	*at += n + 1;
	return kept;
}

/* Fills an entry from a record. own is the struct's own record, which has unit and help:
 * the record itself if the struct has not grown. */
static inline int shm_fill_entry_(shm_segment *s, const struct shm_record_ *r, const struct shm_shape_ *own, shm_entry *e)
{
	const struct shm_shape_ *h = &r->shape;
	size_t program = strlen(r->program);
	char *at = (char *)realloc(e->texts_, h->name_length + h->format_length + own->unit_length + own->help_length + program + 5);
	if (at == NULL)
		return -ENOMEM;
	e->texts_ = at;
	e->name = shm_keep_text_(&at, h->name, h->name_length);
	e->format = shm_keep_text_(&at, h->format, h->format_length);
	e->unit = shm_keep_text_(&at, own->unit, own->unit_length);
	e->help = shm_keep_text_(&at, own->help, own->help_length);
	e->program = shm_keep_text_(&at, r->program, program);
	e->pid = r->pid;
	shm_handle_(s, r, &e->value);
	uint64_t n = shm_max_((uint64_t)h->count, 1);
	e->offset = r->data + shm_elements_(h);
	e->bytes = h->size * (h->kind == SHM_HISTOGRAM ? (uint64_t)h->count + 1 : n);
	return 0;
}

static inline int shm_entry_of_record_(shm_segment *s, struct shm_record_ *r, shm_entry *e)
{
	struct shm_record_ own;
	own.meta = NULL;
	int err = r->grown ? shm_decode_(s, r->offset, r->offset + r->length, &own) : 0;
	if (err == 0)
		err = shm_fill_entry_(s, r, r->grown ? &own.shape : &r->shape, e);
	free(own.meta);
	return err;
}

static inline void shm_free_entry(shm_entry *e)
{
	free(e->texts_);
	free(e->growths_);
	memset(e, 0, sizeof *e);
}

static inline int shm_step_(shm_segment *s, shm_entry *e)
{
	struct shm_record_ r;
	int err = 0;
	if (e->next_ == 0) {
		if ((err = shm_used_(s, &e->end_)) != 0 || (err = shm_growths_(s, e)) != 0)
			return err;
		e->next_ = SHM_HEADER_;
	}
	while (e->next_ < e->end_) {
		if ((err = shm_decode_(s, e->next_, e->end_, &r)) != 0)
			return err;
		uint64_t length = r.length;
		uint8_t kind = r.shape.kind;
		if (kind == SHM_GROWTH_)
			err = shm_own_(s, &r); /* its struct has been listed; this checks that there is one */
		else
			err = shm_grow_record_(s, e, &r);
		if (err == 0 && kind != SHM_GROWTH_ && kind != SHM_INDEX_)
			err = shm_entry_of_record_(s, &r, e);
		free(r.meta);
		if (err != 0)
			return err;
		e->next_ += length;
		if (kind != SHM_GROWTH_ && kind != SHM_INDEX_)
			return 0;
	}
	return -ENOENT;
}

SHM_USE_ SHM_SLOW_ int shm_next_entry(shm_segment *s, shm_entry *e)
{
	int state = shm_hold_off_(), err = shm_step_(s, e);
	if (err != 0)
		shm_free_entry(e);
	shm_permit_(state);
	return err;
}

SHM_USE_ SHM_SLOW_ int shm_lookup(shm_segment *s, const char *name, shm_entry *e)
{
	struct shm_record_ r;
	memset(e, 0, sizeof *e);
	int state = shm_hold_off_(), err = shm_search_(s, name, &r);
	if (err == 0) {
		err = shm_entry_of_record_(s, &r, e);
		free(r.meta);
	}
	if (err != 0)
		shm_free_entry(e);
	shm_permit_(state);
	return err;
}

/* ---- Values as texts ----
 *
 * The texts are those of Go's Entry.Text and Entry.Parse. Numbers are written and read in
 * the C locale, whatever the locale of the program.
 */

/* A type, taken apart: dimensions, and what they are of. A C string is one element. */
struct shm_parts_of_ {
	uint64_t dims[SHM_DEPTH_ + 1], size; /* size is of an element */
	int n;
	const char *element;
	size_t length;
	char code; /* of a number; 'c': a C string, '{': a struct */
};

/* count is the number of elements of a named array, or 0. The format is valid. */
static inline void shm_take_apart_(const char *format, size_t length, uint64_t count, struct shm_parts_of_ *t)
{
	const char *p = format, *end = format + length;
	uint64_t last;
	t->n = 0;
	if (count > 0)
		t->dims[t->n++] = count;
	if (shm_accept_(&p, end, "(")) {
		do
			t->dims[t->n++] = shm_count_(&p, end);
		while (t->n <= SHM_DEPTH_ && shm_accept_(&p, end, ","));
		(void)shm_accept_(&p, end, ")");
	}
	t->element = p;
	t->length = (size_t)(end - p);
	(void)shm_parse_item_(&p, end, SHM_DEPTH_, NULL, &t->size, &last);
	t->code = *t->element == 'T' ? '{' : t->element[t->length - 1];
	if (t->length == 3 && t->element[1] == 'Z')
		t->code = t->code == 'f' ? 'F' : 'D';
	if (t->code == 'c' && t->n > 0)
		t->size = t->dims[--t->n];
}

/* Returns the bytes of an element of dimension i. */
static inline uint64_t shm_step_of_(const struct shm_parts_of_ *t, int i)
{
	uint64_t n = t->size;
	for (int k = i + 1; k < t->n; k++)
		n *= t->dims[k];
	return n;
}

static inline double shm_double_(const unsigned char *b, bool single)
{
	double d;
	float f;
	memcpy(&f, b, sizeof f);
	if (single)
		return f;
	memcpy(&d, b, sizeof d);
	return d;
}

static inline uint64_t shm_bits_(const unsigned char *b, bool single)
{
	uint64_t all = 0;
	uint32_t word = 0;
	if (!single)
		memcpy(&all, b, sizeof all);
	else
		memcpy(&word, b, sizeof word);
	return single ? word : all;
}

/* Reads a float, with one rounding to its own size. Returns false if it is too large. */
static inline bool shm_float_bytes_(const char *text, bool single, void *b, char **end)
{
	errno = 0;
	if (single) {
		float f = strtof(text, end);
		memcpy(b, &f, sizeof f);
		return errno != ERANGE || (f < 1 && f > -1);
	}
	double d = strtod(text, end);
	memcpy(b, &d, sizeof d);
	return errno != ERANGE || (d < 1 && d > -1);
}

/* Adds 1 to the last digit of a float that printf has written with an exponent. Returns
 * false if that would need another exponent. */
static inline bool shm_raise_digit_(char *text)
{
	for (char *p = strchr(text, 'e'); p != NULL && p-- > text && *p != '-';) {
		if (*p >= '0' && *p < '9')
			return ++*p > 0;
		if (*p == '9')
			*p = '0';
	}
	return false;
}

/* Writes the shortest digits that mean the same float. It has an exponent where
 * encoding/json writes one. */
SHM_SLOW_ void shm_show_float_(struct shm_sink_ *to, const unsigned char *b, bool single)
{
	double x = shm_double_(b, single);
	char text[40], again[8], *digits = text;
	uint64_t bits = shm_bits_(b, single), infinite = single ? UINT64_C(0x7f800000) : UINT64_C(0x7ff0000000000000), sign = (infinite << 1) & ~infinite;
	if ((bits & infinite) == infinite) { /* asked by the bits, whatever the compiler assumes of floats */
		if ((bits & ~sign) == infinite)
			shm_say_(to, (bits & sign) != 0 ? "-Inf" : "+Inf");
		else if (bits == (single ? UINT64_C(0x7fc00000) : UINT64_C(0x7ff8000000000001)))
			shm_say_(to, "NaN");
		else
			shm_print_(to, "NaN(0x%llx)", (unsigned long long)bits);
		return;
	}
	/* Up to 15 digits, or 6, are unique for numbers that are not tiny. */
	int most = single ? 9 : 17, plain = single ? 6 : 15;
	double size = x < 0 ? -x : x, tiny = single ? 1.2e-38 : 2.3e-308;
	bool power = size > 0 && (bits & ((single ? UINT64_C(1) << 23 : UINT64_C(1) << 52) - 1)) == 0;
	for (int n = size < tiny ? 1 : plain; n <= most; n++) {
		snprintf(text, sizeof text, "%.*e", n - 1, x);
		shm_float_bytes_(text, single, again, NULL);
		if (shm_bits_((const unsigned char *)again, single) == bits)
			break;
		/* Floats above a power of two are twice as far apart as those below it. So the digits
		 * above may mean it, though the nearest ones, which are below, mean the float before. */
		if (!power || n == most || !shm_raise_digit_(text))
			continue;
		shm_float_bytes_(text, single, again, NULL);
		if (shm_bits_((const unsigned char *)again, single) == bits)
			break;
	}
	if (*digits == '-') {
		shm_say_(to, "-");
		digits++;
	}
	char *e = strchr(digits, 'e'), all[24];
	int exponent = e == NULL ? 0 : atoi(e + 1), n = 0;
	for (const char *p = digits; p < e && n < 20; p++)
		if (*p >= '0' && *p <= '9')
			all[n++] = *p;
	while (n > 1 && all[n - 1] == '0')
		n--;
	if (size > 0 && (size < 1e-6 || size >= 1e21)) {
		shm_put_(to, all, 1);
		if (n > 1) {
			shm_say_(to, ".");
			shm_put_(to, all + 1, (size_t)n - 1);
		}
		shm_print_(to, "e%c%02d", exponent < 0 ? '-' : '+', exponent < 0 ? -exponent : exponent);
		return;
	}
	if (exponent < 0)
		shm_say_(to, "0.");
	for (int i = -1; i > exponent; i--)
		shm_say_(to, "0");
	for (int i = 0; i < n || i <= exponent; i++) {
		if (exponent >= 0 && i == exponent + 1)
			shm_say_(to, ".");
		shm_put_(to, i < n ? &all[i] : "0", 1);
	}
}

SHM_SLOW_ void shm_show_complex_(struct shm_sink_ *to, const unsigned char *b, bool single)
{
	char re[48], im[48];
	struct shm_sink_ r = {re, sizeof re, 0}, i = {im, sizeof im, 0};
	shm_show_float_(&r, b, single);
	shm_show_float_(&i, b + (single ? 4 : 8), single);
	(void)(shm_end_text_(&r) + shm_end_text_(&i));
	if (strchr(re, '(') != NULL || strchr(im, '(') != NULL)
		shm_print_(to, "complex(%s, %s)", re, im);
	else
		shm_print_(to, "(%s%s%si)", re, *im == '-' || *im == '+' ? "" : "+", im);
}

SHM_SLOW_ void shm_show_number_(struct shm_sink_ *to, char code, const unsigned char *b)
{
	union { int8_t b; int16_t h; int32_t i; int64_t q; uint8_t B; uint16_t H; uint32_t I; uint64_t Q; } x;
	memset(&x, 0, sizeof x);
	switch (code) {
	case '?': shm_say_(to, *b != 0 ? "true" : "false"); return;
	case 'f': case 'd': shm_show_float_(to, b, code == 'f'); return;
	case 'F': case 'D': shm_show_complex_(to, b, code == 'F'); return;
	case 'b': memcpy(&x, b, 1); shm_print_(to, "%d", x.b); return;
	case 'B': memcpy(&x, b, 1); shm_print_(to, "%u", x.B); return;
	case 'h': memcpy(&x, b, 2); shm_print_(to, "%d", x.h); return;
	case 'H': memcpy(&x, b, 2); shm_print_(to, "%u", x.H); return;
	case 'i': memcpy(&x, b, 4); shm_print_(to, "%ld", (long)x.i); return;
	case 'I': memcpy(&x, b, 4); shm_print_(to, "%lu", (unsigned long)x.I); return;
	case 'q': memcpy(&x, b, 8); shm_print_(to, "%lld", (long long)x.q); return;
	default: memcpy(&x, b, 8); shm_print_(to, "%llu", (unsigned long long)x.Q); return;
	}
}

/* Writes the name of a field. It is in quotes if it begins with one, or has a character
 * that is not to be seen by a terminal as it is: others have written it to memory. */
static inline void shm_show_name_(struct shm_sink_ *to, const char *name, size_t n)
{
	bool plain = *name != '"';
	for (size_t i = 0, length; plain && i < n; i += length) {
		uint32_t r;
		length = shm_character_(name + i, n - i, &r);
		plain = length > 0 && !shm_unseen_(r);
	}
	if (plain)
		shm_put_(to, name, n);
	else
		shm_quote_(to, name, n);
}

/* Writes the part of a value that has the dimensions from i on. It stops when the text is
 * too long: a field's name is there once for each element, so a text can be thousands of
 * times as long as the value. */
SHM_SLOW_ void shm_show_(struct shm_sink_ *to, const struct shm_parts_of_ *t, int i, const unsigned char *b)
{
	if (to->length > SHM_TEXT_MAX_)
		return;
	if (i < t->n) {
		uint64_t step = shm_step_of_(t, i);
		shm_say_(to, "[");
		for (uint64_t k = 0; k < t->dims[i] && to->length <= SHM_TEXT_MAX_; k++) {
			shm_say_(to, k > 0 ? ", " : "");
			shm_show_(to, t, i + 1, b + k * step);
		}
		shm_say_(to, "]");
	} else if (t->code == 'c') {
		shm_quote_(to, (const char *)b, strnlen((const char *)b, (size_t)t->size));
	} else if (t->code != '{') {
		shm_show_number_(to, t->code, b);
	} else {
		struct shm_field_ f = {NULL, 0, 0, 0, 0, 0};
		struct shm_parts_of_ part;
		const char *p = t->element, *end = p + t->length;
		(void)shm_accept_(&p, end, "T{");
		shm_say_(to, "{");
		for (bool first = true; shm_next_field_(&p, end, SHM_DEPTH_ - 1, NULL, NULL, &f) == 1; first = false) {
			shm_say_(to, first ? "" : ", ");
			shm_show_name_(to, f.text + f.format + 1, f.length - f.format - 1);
			shm_say_(to, ": ");
			shm_take_apart_(f.text, f.format, 0, &part);
			shm_show_(to, &part, 0, b + f.offset);
		}
		shm_say_(to, "}");
	}
}

/* Makes the handle of a value as its newest record describes it. One that is a row of a
 * table, or one of several locks, stays that. */
static inline int shm_newest_handle_(const shm_value *v, struct shm_record_ *r, shm_value *now)
{
	int err = shm_record_of_(v, r);
	if (err != 0)
		return err;
	shm_handle_(v->segment, r, now);
	if (v->cell != NULL && now->cell == NULL) {
		now->cell = v->cell;
		now->data = v->data;
		now->kind = v->kind;
		now->count = 0;
	}
	return 0;
}

/* Copies memory that others change, word by word, so that each number is whole. Data end
 * at the end of a line, or in a lock cell, so all words are inside. */
static inline void shm_copy_words_(void *to, const void *from, uint64_t n)
{
	for (uint64_t i = 0; i < n; i += 8) {
		uint64_t w = __atomic_load_n((const shm_u64_ *)from + i / 8, __ATOMIC_RELAXED);
		memcpy((char *)to + i, &w, (size_t)shm_min_(n - i, 8));
	}
}

/* Writes the values that a ring keeps, the oldest first. */
static inline void shm_show_ring_(struct shm_sink_ *to, const shm_value *v, const struct shm_parts_of_ *t, unsigned char *x)
{
	uint64_t last = __atomic_load_n(&v->cell->commit, __ATOMIC_ACQUIRE), at = shm_ring_oldest_(v, last);
	shm_say_(to, "[");
	for (uint64_t n = 0; n < v->count && at != 0 && at <= last && last != 0; at++, n++) {
		if ((at = shm_ring_read_(v, at, x)) == 0 || at > last)
			break;
		shm_say_(to, n > 0 ? ", " : "");
		shm_show_(to, t, 0, x);
	}
	shm_say_(to, "]");
}

/* Writes the sum of a counter or a gauge. */
static inline int shm_show_sum_(struct shm_sink_ *to, const shm_value *v)
{
	bool gauge = v->kind == SHM_GAUGE;
	uint64_t bits = 0;
	int64_t i = 0;
	double d = 0;
	int err;
	if (v->code == 'q')
		err = gauge ? shm_load_gauge_i64(v, &i) : shm_counted_i64(v, &i);
	else if (v->code == 'Q')
		err = gauge ? shm_load_gauge_u64(v, &bits) : shm_counted_u64(v, &bits);
	else
		err = gauge ? shm_load_gauge_f64(v, &d) : shm_counted_f64(v, &d);
	if (v->code == 'q')
		memcpy(&bits, &i, sizeof bits);
	else if (v->code == 'd')
		memcpy(&bits, &d, sizeof bits);
	if (err == 0)
		shm_show_number_(to, v->code, (const unsigned char *)&bits);
	return err;
}

static inline int shm_show_histogram_(struct shm_sink_ *to, const shm_value *v)
{
	uint64_t *counts = (uint64_t *)malloc(((size_t)v->count + 1) * sizeof *counts);
	double sum, bound;
	if (counts == NULL)
		return -ENOMEM;
	int err = shm_load_histogram(v, counts, &sum);
	for (uint64_t i = 0; err == 0 && i < v->count; i++) {
		bound = shm_bounds(v)[i];
		shm_say_(to, i == 0 ? "{bounds: [" : ", ");
		shm_show_float_(to, (const unsigned char *)&bound, false);
	}
	for (uint64_t i = 0; err == 0 && i <= v->count; i++) {
		shm_say_(to, i == 0 ? "], counts: [" : ", ");
		shm_print_(to, "%llu", (unsigned long long)counts[i]);
	}
	if (err == 0) {
		shm_say_(to, "], sum: ");
		shm_show_float_(to, (const unsigned char *)&sum, false);
		shm_say_(to, "}");
	}
	free(counts);
	return err;
}

static inline int shm_show_locks_(struct shm_sink_ *to, const shm_value *v)
{
	shm_lock_info l;
	shm_value one;
	if (v->cell != NULL) {
		int err = shm_lock_state(v, &l);
		shm_show_lock_(to, &l);
		return err;
	}
	for (uint64_t i = 0; i < v->count && to->length <= SHM_TEXT_MAX_; i++) {
		int err = shm_mutex_at(v, i, &one);
		if (err != 0 || (err = shm_lock_state(&one, &l)) != 0)
			return err;
		shm_say_(to, i == 0 ? "[" : ", ");
		shm_show_lock_(to, &l);
	}
	shm_say_(to, "]");
	return 0;
}

/* Returns the bytes of what is shown of a value. */
static inline uint64_t shm_shown_(const shm_value *v)
{
	uint64_t n = shm_max_(v->count, 1);
	return v->size > 0 && n > SHM_SHOWN_MAX_ / v->size ? SHM_SHOWN_MAX_ + 1 : n * v->size;
}

/* Copies the bytes of a value that is in one piece, or is a table. */
static inline int shm_copy_value_(const shm_value *v, unsigned char *x)
{
	shm_value row;
	if (v->cell == NULL && v->access == SHM_PUBLISHED) {
		for (uint64_t i = 0; i < v->count; i++) {
			int err = shm_part_at_(v, i, shm_row_size_(v->capacity), SHM_SINGLE, &row);
			if (err != 0 || (err = shm_snapshot_(&row, x + i * v->size, (size_t)v->size)) != 0)
				return err;
		}
		return 0;
	}
	if (v->access == SHM_PUBLISHED)
		return shm_snapshot_(v, x, (size_t)shm_shown_(v));
	shm_copy_words_(x, v->data, shm_shown_(v));
	return 0;
}

static inline int shm_show_value_(struct shm_sink_ *to, const shm_value *v, const struct shm_record_ *r)
{
	struct shm_parts_of_ t;
	if (v->kind == SHM_MUTEX)
		return shm_show_locks_(to, v);
	if (v->kind == SHM_COUNTER || v->kind == SHM_GAUGE)
		return shm_show_sum_(to, v);
	if (v->kind == SHM_HISTOGRAM)
		return shm_show_histogram_(to, v);
	uint64_t n = v->kind == SHM_RING ? shm_min_(v->size, SHM_SHOWN_MAX_ + 1) : shm_shown_(v);
	if (shm_shown_(v) > SHM_SHOWN_MAX_)
		return SHM_ETOOLONG;
	unsigned char *x = (unsigned char *)calloc(1, (size_t)n + 1);
	if (x == NULL)
		return -ENOMEM;
	int err = 0;
	shm_take_apart_(r->shape.format, r->shape.format_length, v->kind == SHM_RING ? 0 : v->count, &t);
	if (v->kind == SHM_RING)
		shm_show_ring_(to, v, &t, x);
	else if ((err = shm_copy_value_(v, x)) == 0)
		shm_show_(to, &t, 0, x);
	free(x);
	return err;
}

/* The C locale, for this thread. */
struct shm_locale_ {
	locale_t own, before;
};

static inline int shm_use_c_locale_(struct shm_locale_ *l)
{
	l->own = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
	if (l->own == (locale_t)0)
		return -ENOMEM;
	l->before = uselocale(l->own);
	return 0;
}

static inline void shm_restore_locale_(struct shm_locale_ *l)
{
	(void)uselocale(l->before);
	freelocale(l->own);
}

SHM_USE_ SHM_SLOW_ int shm_text(const shm_value *v, char *buffer, size_t n)
{
	struct shm_sink_ to = {buffer, n, 0};
	struct shm_record_ r;
	struct shm_locale_ l;
	shm_value now;
	int state = shm_hold_off_(), err = shm_use_c_locale_(&l);
	if (err == 0) {
		if ((err = shm_newest_handle_(v, &r, &now)) == 0) {
			err = shm_show_value_(&to, &now, &r);
			free(r.meta);
		}
		shm_restore_locale_(&l);
	}
	shm_permit_(state);
	return err != 0 ? err : shm_end_text_(&to);
}

/* ---- Values from texts ---- */

/* Reads what shm_show_ writes, and JSON as far as that can describe the value. It fills the
 * bytes that the text names, and marks them in mask. */
struct shm_reading_ {
	const char *p;
	unsigned char *bytes, *mask;
};

static inline void shm_skip_(struct shm_reading_ *in)
{
	while (*in->p != 0 && strchr(" \t\r\n", *in->p) != NULL)
		in->p++;
}

static inline bool shm_token_(struct shm_reading_ *in, char token)
{
	shm_skip_(in);
	if (*in->p != token)
		return false;
	in->p++;
	return true;
}

static inline void shm_set_(struct shm_reading_ *in, uint64_t off, const void *bytes, size_t n)
{
	memcpy(in->bytes + off, bytes, n);
	memset(in->mask + off, 1, n);
}

/* Returns the value of a digit, or -1. */
static inline int shm_hex_(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Reads an integer: decimal, or with a prefix 0x, 0b or 0o. */
static inline int shm_read_integer_(const char *word, bool is_signed, size_t size, uint64_t *bits)
{
	bool minus = *word == '-';
	uint64_t n = 0, limit = size == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * size) - 1;
	unsigned base = 10;
	if (is_signed && (*word == '-' || *word == '+'))
		word++;
	if (is_signed)
		limit = limit / 2 + minus;
	if (word[0] == '0' && word[1] != 0 && strchr("xXbBoO", word[1]) != NULL && word[2] != 0) {
		base = word[1] == 'x' || word[1] == 'X' ? 16 : word[1] == 'b' || word[1] == 'B' ? 2 : 8;
		word += 2;
	}
	if (*word == 0)
		return -EINVAL;
	bool fits = true;
	for (; *word != 0; word++) {
		if (base != 10 && word[0] == '_' && word[1] != 0 && word[1] != '_')
			continue; /* as in Go and Python */
		int digit = shm_hex_(*word);
		if (digit < 0 || (unsigned)digit >= base)
			return -EINVAL;
		fits = fits && n <= (limit - (unsigned)digit) / base;
		n = n * base + (unsigned)digit;
	}
	*bits = minus ? 0 - n : n;
	return fits ? 0 : -ERANGE;
}

/* Reports whether a word is a text, whatever the case of its letters. */
static inline bool shm_word_is_(const char *word, const char *text)
{
	while (*text != 0 && (*word | 0x20) == *text)
		word++, text++;
	return *word == 0 && *text == 0;
}

/* Reads a float as shm_show_float_ writes it, or as C and Go do. */
SHM_SLOW_ int shm_read_float_(const char *word, bool single, unsigned char *b)
{
	const char *plain = word + (*word == '-' || *word == '+');
	uint64_t bits = 0;
	char *end;
	if (strncmp(word, "NaN(0x", 6) == 0) {
		int n = 0;
		for (word += 6; shm_hex_(*word) >= 0 && n < (single ? 8 : 16); word++, n++)
			bits = bits << 4 | (uint64_t)shm_hex_(*word);
		uint64_t infinite = single ? UINT64_C(0x7f800000) : UINT64_C(0x7ff0000000000000), sign = (infinite << 1) & ~infinite;
		if (n == 0 || strcmp(word, ")") != 0 || (bits & infinite) != infinite || (bits & ~sign) == infinite)
			return -EINVAL;
	} else if (shm_word_is_(word, "nan") || shm_word_is_(plain, "nan")) {
		bits = single ? UINT64_C(0x7fc00000) : UINT64_C(0x7ff8000000000001);
	} else if (shm_word_is_(plain, "inf") || shm_word_is_(plain, "infinity")) {
		bits = single ? UINT64_C(0x7f800000) : UINT64_C(0x7ff0000000000000);
		if (*word == '-')
			bits |= single ? UINT64_C(1) << 31 : UINT64_C(1) << 63;
	} else {
		bool hex = plain[0] == '0' && (plain[1] | 0x20) == 'x';
		if (*plain == 0 || plain[strspn(plain, hex ? "0123456789abcdefABCDEFxXpP+-." : "0123456789eE+-.")] != 0 || (hex && strpbrk(plain, "pP") == NULL))
			return -EINVAL;
		bool fits = shm_float_bytes_(word, single, b, &end);
		return *end != 0 || end == word ? -EINVAL : fits ? 0 : -ERANGE;
	}
	uint32_t half = (uint32_t)bits;
	memcpy(b, single ? (const void *)&half : (const void *)&bits, single ? 4 : 8);
	return 0;
}

/* Reads (1+2i), 1+2i, 1, 2i or complex(1, 2). It changes the word. */
SHM_SLOW_ int shm_read_complex_(char *word, bool single, unsigned char *b)
{
	char *re = word, *im = NULL, zero[] = "0";
	size_t n = strlen(word), half = single ? 4 : 8;
	if (strncmp(word, "complex(", 8) == 0 && word[n - 1] == ')') {
		re = word + 8;
		word[n - 1] = 0;
		if ((im = strchr(re, ',')) == NULL)
			return -EINVAL;
		*im++ = 0;
		im += strspn(im, " ");
	} else {
		if (n > 2 && word[0] == '(' && word[n - 1] == ')') {
			word[n - 1] = 0;
			re++;
			n -= 2;
		}
		if (n > 1 && re[n - 1] == 'i') {
			re[--n] = 0;
			size_t at = n - 1;
			while (at > 0 && !((re[at] == '+' || re[at] == '-') && strchr("eEpP", re[at - 1]) == NULL))
				at--;
			/* The sign ends the first word. It is part of the second, which is read first. */
			int err = shm_read_float_(re + at, single, b + half);
			re[at] = 0;
			return err != 0 ? err : shm_read_float_(at == 0 ? zero : re, single, b);
		}
		im = zero;
	}
	int err = shm_read_float_(re, single, b);
	return err != 0 ? err : shm_read_float_(im, single, b + half);
}

SHM_SLOW_ int shm_read_number_(struct shm_reading_ *in, const struct shm_parts_of_ *t, uint64_t off)
{
	char word[160];
	size_t n = 0;
	int depth = 0, err;
	union { uint64_t bits; uint32_t i; uint16_t h; uint8_t b; unsigned char all[16]; } x;
	memset(&x, 0, sizeof x);
	shm_skip_(in);
	for (; in->p[n] != 0; n++) {
		depth += (in->p[n] == '(') - (in->p[n] == ')');
		if (depth <= 0 && strchr(",]} \t\r\n", in->p[n]) != NULL)
			break;
	}
	if (n >= sizeof word)
		return -EINVAL;
	memcpy(word, in->p, n);
	word[n] = 0;
	in->p += n;
	if (t->code == '?') {
		bool yes = strcmp(word, "true") == 0 || strcmp(word, "True") == 0 || strcmp(word, "TRUE") == 0 || shm_word_is_(word, "t") || strcmp(word, "1") == 0;
		bool no = strcmp(word, "false") == 0 || strcmp(word, "False") == 0 || strcmp(word, "FALSE") == 0 || shm_word_is_(word, "f") || strcmp(word, "0") == 0;
		x.b = yes;
		err = yes || no ? 0 : -EINVAL;
	} else if (t->code == 'f' || t->code == 'd') {
		err = shm_read_float_(word, t->code == 'f', x.all);
	} else if (t->code == 'F' || t->code == 'D') {
		err = shm_read_complex_(word, t->code == 'F', x.all);
	} else {
		err = shm_read_integer_(word, strchr("bhiq", t->code) != NULL, (size_t)t->size, &x.bits);
		if (t->size == 1)
			x.b = (uint8_t)x.bits;
		else if (t->size == 2)
			x.h = (uint16_t)x.bits;
		else if (t->size == 4)
			x.i = (uint32_t)x.bits;
	}
	if (err == 0)
		shm_set_(in, off, x.all, (size_t)t->size);
	return err;
}

/* Appends a character in UTF-8. */
static inline size_t shm_utf8_of_(uint32_t r, char *to)
{
	size_t n = r < 0x80 ? 1 : r < 0x800 ? 2 : r < 0x10000 ? 3 : 4;
	static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
	for (size_t i = n; i-- > 1; r >>= 6)
		to[i] = (char)(0x80 | (r & 0x3f));
	to[0] = (char)(n == 1 ? r : first[n] | r);
	return n;
}

/* Reads n digits. Reports false if there are fewer, or if they do not fit. */
static inline bool shm_read_digits_(const char **p, int n, uint32_t base, uint32_t *r)
{
	*r = 0;
	for (; n > 0; n--, (*p)++) {
		int d = shm_hex_(**p);
		if (d < 0 || (uint32_t)d >= base || *r > UINT32_MAX >> 4)
			return false;
		*r = *r * base + (uint32_t)d;
	}
	return true;
}

/* Reads an escape after its backslash. Returns the bytes that it stands for, or 0. */
static inline size_t shm_read_escape_(const char **p, char *to)
{
	static const char letters[] = "abfnrtv\\\"/", plain[] = "\a\b\f\n\r\t\v\\\"/";
	const char *known = strchr(letters, **p);
	uint32_t r;
	if (**p == 0)
		return 0;
	char c = *(*p)++;
	if (known != NULL) {
		*to = plain[known - letters];
		return 1;
	}
	int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : c >= '0' && c <= '7' ? 3 : 0;
	bool octal = digits == 3;
	if (octal)
		(*p)--;
	if (!shm_read_digits_(p, digits, octal ? 8 : 16, &r))
		return 0;
	if (c == 'u' && r >> 10 == 0xd800 >> 10 && (*p)[0] == '\\' && (*p)[1] == 'u') { /* two surrogates are one character, as in JSON */
		uint32_t low;
		*p += 2;
		if (!shm_read_digits_(p, 4, 16, &low) || low >> 10 != 0xdc00 >> 10)
			return 0;
		r = 0x10000 + ((r & 0x3ff) << 10) + (low & 0x3ff);
	}
	if (digits == 0 || (octal && r > 255) || (digits > 3 && (r > 0x10ffff || (r >= 0xd800 && r < 0xe000))))
		return 0;
	if (digits > 3)
		return shm_utf8_of_(r, to);
	*to = (char)r;
	return 1;
}

/* Reads a string literal in double quotes or in backquotes. *n is its bytes, of which those
 * are kept that have room. */
SHM_SLOW_ int shm_read_quoted_(const char **p, char *to, uint64_t room, uint64_t *n)
{
	char quote = **p, b[4];
	*n = 0;
	if (quote != '"' && quote != '`')
		return -EINVAL;
	for ((*p)++; **p != quote;) {
		size_t length = 1;
		if (**p == 0 || (quote == '"' && **p == '\n'))
			return -EINVAL;
		b[0] = *(*p)++;
		if (quote == '`' && b[0] == '\r') /* as in Go */
			continue;
		if (quote == '"' && b[0] == '\\' && (length = shm_read_escape_(p, b)) == 0)
			return -EINVAL;
		for (size_t i = 0; i < length; i++, ++*n)
			if (*n < room)
				to[*n] = b[i];
	}
	(*p)++;
	return 0;
}

/* Sets a C string of size bytes, with a NUL behind it if there is room. */
static inline int shm_set_string_(struct shm_reading_ *in, uint64_t off, uint64_t size, const char *text, uint64_t n)
{
	if (n > size)
		return SHM_ETOOLONG;
	if (n > 0 && memchr(text, 0, (size_t)n) != NULL) /* it would end the string there */
		return -EINVAL;
	if (n > 0)
		shm_set_(in, off, text, (size_t)n);
	if (n < size)
		shm_set_(in, off + n, "", 1);
	return 0;
}

static inline bool shm_marked_(const struct shm_reading_ *in, uint64_t off, uint64_t n) { return memchr(in->mask + off, 1, (size_t)n) != NULL; }

/* Reads an index and its colon, if they are there. Of one that is too large it is the
 * largest. */
static inline bool shm_read_index_(struct shm_reading_ *in, uint64_t *i)
{
	const char *p;
	shm_skip_(in);
	*i = 0;
	for (p = in->p; *p >= '0' && *p <= '9'; p++)
		*i = *i > SHM_SHOWN_MAX_ ? SHM_SHOWN_MAX_ + 1 : *i * 10 + (uint64_t)(*p - '0');
	const char *digits = in->p, *end = p;
	while (*p != 0 && strchr(" \t\r\n", *p) != NULL)
		p++;
	if (end == digits || *p != ':')
		return false;
	in->p = p + 1;
	return true;
}

SHM_SLOW_ int shm_read_(struct shm_reading_ *in, const struct shm_parts_of_ *t, int i, uint64_t off);

static inline int shm_read_array_(struct shm_reading_ *in, const struct shm_parts_of_ *t, int i, uint64_t off)
{
	uint64_t step = shm_step_of_(t, i), k;
	int err = 0;
	if (!shm_token_(in, '['))
		return -EINVAL;
	if (shm_read_index_(in, &k)) {
		for (;;) {
			if (k >= t->dims[i] || shm_marked_(in, off + k * step, step)) /* it is there twice */
				return -EINVAL;
			if ((err = shm_read_(in, t, i + 1, off + k * step)) != 0 || shm_token_(in, ']'))
				return err;
			if (!shm_token_(in, ',') || !shm_read_index_(in, &k))
				return -EINVAL;
		}
	}
	for (k = 0; k < t->dims[i]; k++)
		if ((k > 0 && !shm_token_(in, ',')) || (err = shm_read_(in, t, i + 1, off + k * step)) != 0)
			return err != 0 ? err : -EINVAL;
	return shm_token_(in, ']') ? 0 : -EINVAL;
}

/* Reads the name of a field and its colon, and finds the field. The name may be in quotes. */
static inline bool shm_read_name_(struct shm_reading_ *in, const struct shm_parts_of_ *t, struct shm_field_ *f)
{
	shm_skip_(in);
	const char *name = in->p, *colon = strchr(name, ':'), *after = name;
	uint64_t quoted = 0;
	bool found = false;
	if (colon == NULL)
		return false;
	size_t n = (size_t)(colon - name);
	while (n > 0 && strchr(" \t\r\n", name[n - 1]) != NULL)
		n--;
	char *plain = *name == '"' ? (char *)malloc(n) : NULL;
	bool literal = plain != NULL && shm_read_quoted_(&after, plain, n, &quoted) == 0 && after == name + n;
	in->p = colon + 1;
	for (int round = literal ? 0 : 1; round < 2 && !found; round++) {
		const char *p = t->element, *end = p + t->length, *want = round == 0 ? plain : name;
		size_t length = round == 0 ? (size_t)quoted : n;
		memset(f, 0, sizeof *f);
		(void)shm_accept_(&p, end, "T{");
		while (!found && shm_next_field_(&p, end, SHM_DEPTH_ - 1, NULL, NULL, f) == 1)
			found = f->length - f->format - 1 == length && memcmp(f->text + f->format + 1, want, length) == 0;
	}
	free(plain);
	return found;
}

static inline int shm_read_struct_(struct shm_reading_ *in, const struct shm_parts_of_ *t, uint64_t off)
{
	struct shm_field_ f;
	struct shm_parts_of_ part;
	if (!shm_token_(in, '{'))
		return -EINVAL;
	for (int n = 0; !shm_token_(in, '}'); n++) {
		if ((n > 0 && !shm_token_(in, ',')) || !shm_read_name_(in, t, &f) || shm_marked_(in, off + f.offset, f.size))
			return -EINVAL;
		shm_take_apart_(f.text, f.format, 0, &part);
		int err = shm_read_(in, &part, 0, off + f.offset);
		if (err != 0)
			return err;
	}
	return 0;
}

/* Reads the part of a value that has the dimensions from i on. */
SHM_SLOW_ int shm_read_(struct shm_reading_ *in, const struct shm_parts_of_ *t, int i, uint64_t off)
{
	if (i < t->n)
		return shm_read_array_(in, t, i, off);
	if (t->code == '{')
		return shm_read_struct_(in, t, off);
	if (t->code != 'c')
		return shm_read_number_(in, t, off);
	shm_skip_(in);
	char *text = (char *)malloc((size_t)t->size);
	uint64_t n;
	if (text == NULL)
		return -ENOMEM;
	int err = shm_read_quoted_(&in->p, text, t->size, &n);
	if (err == 0)
		err = shm_set_string_(in, off, t->size, text, n);
	free(text);
	return err;
}

/* Reads a whole value. Characters that are the whole value need no quotes. */
static inline int shm_read_all_(struct shm_reading_ *in, const struct shm_parts_of_ *t)
{
	const char *text = in->p;
	shm_skip_(in);
	if (t->n == 0 && t->code == 'c' && *in->p != '"' && *in->p != '`')
		return shm_set_string_(in, 0, t->size, text, strlen(text));
	int err = shm_read_(in, t, 0, 0);
	if (err != 0)
		return err;
	shm_skip_(in);
	return *in->p != 0 ? -EINVAL : 0;
}

/* Stores the marked bytes of a published struct or string, as one commit, unless they are
 * there already. */
static inline int shm_store_slot_(const shm_value *v, const struct shm_reading_ *in, uint64_t off, uint64_t size, int64_t until)
{
	unsigned char *x = (unsigned char *)malloc((size_t)size);
	if (x == NULL)
		return -ENOMEM;
	int err = shm_lock_until_(v, until);
	if (err == 0) {
		uint32_t old = __atomic_load_n(&v->cell->extent, __ATOMIC_SEQ_CST);
		while (v->kind == SHM_SINGLE && old < size && !shm_cas_(&v->cell->extent, old, (uint32_t)shm_min_(size, UINT32_MAX)))
			old = __atomic_load_n(&v->cell->extent, __ATOMIC_SEQ_CST);
		shm_copy_out_(v, __atomic_load_n(&v->cell->commit, __ATOMIC_RELAXED), x, (size_t)size);
		for (uint64_t i = 0; i < size; i++)
			x[i] = in->mask[off + i] != 0 ? in->bytes[off + i] : x[i];
		if (shm_same_(v, x, size)) {
			err = shm_release_(v);
		} else {
			shm_fill_(v, x, size);
			err = shm_unlock(v);
		}
	}
	free(x);
	return err;
}

/* Stores the marked bytes where they are. Each number of up to 8 bytes is one store; step is
 * its size, or 1 for what consists of several. */
static inline bool shm_store_marked_(const shm_value *v, const struct shm_reading_ *in, uint64_t size, size_t step)
{
	bool changed = false;
	for (uint64_t i = 0; i < size; i += step) {
		if (in->mask[i] == 0 || memcmp(v->data + i, in->bytes + i, step) == 0)
			continue;
		changed = true;
		if (step <= 8)
			shm_store_number_(v->data + i, step, in->bytes + i);
		else
			memcpy(v->data + i, in->bytes + i, step);
	}
	return changed;
}

static inline int shm_store_read_(const shm_value *v, const struct shm_reading_ *in, size_t step, int64_t until)
{
	shm_value row;
	int err = 0;
	if (v->access == SHM_PUBLISHED && v->cell == NULL) { /* each row changes as a whole, one after another */
		for (uint64_t i = 0; err == 0 && i < v->count; i++)
			if (shm_marked_(in, i * v->size, v->size) && (err = shm_part_at_(v, i, shm_row_size_(v->capacity), SHM_SINGLE, &row)) == 0)
				err = shm_store_slot_(&row, in, i * v->size, v->size, until);
		return err;
	}
	if (v->access == SHM_PUBLISHED)
		return shm_store_slot_(v, in, 0, shm_shown_(v), until);
	if (v->cell == NULL) {
		(void)shm_store_marked_(v, in, shm_shown_(v), step);
		return 0;
	}
	if ((err = shm_lock_until_(v, until)) != 0)
		return err;
	return shm_store_marked_(v, in, shm_shown_(v), step) ? shm_unlock(v) : shm_release_(v);
}

static inline int shm_set_from_(const shm_value *v, const struct shm_record_ *r, const char *text, int64_t until)
{
	struct shm_parts_of_ t;
	struct shm_reading_ in = {text, NULL, NULL};
	if (v->segment->read_only)
		return -EROFS;
	if (v->kind == SHM_MUTEX || v->kind == SHM_RING || shm_has_cells_(v->kind))
		return -EINVAL;
	uint64_t size = shm_shown_(v);
	if (size > SHM_SHOWN_MAX_)
		return SHM_ETOOLONG;
	in.bytes = (unsigned char *)calloc(2, (size_t)size);
	if (in.bytes == NULL)
		return -ENOMEM;
	in.mask = in.bytes + size;
	shm_take_apart_(r->shape.format, r->shape.format_length, v->count, &t);
	int err = shm_read_all_(&in, &t);
	if (err == 0)
		err = shm_store_read_(v, &in, t.code == '{' || t.code == 'c' ? 1 : (size_t)t.size, until);
	free(in.bytes);
	return err;
}

SHM_USE_ SHM_SLOW_ int shm_set_text(const shm_value *v, const char *text, int64_t ns)
{
	struct shm_record_ r;
	struct shm_locale_ l;
	shm_value now;
	int64_t until = shm_until_(ns);
	int state = shm_hold_off_(), err = shm_use_c_locale_(&l);
	if (err == 0) {
		if ((err = shm_newest_handle_(v, &r, &now)) == 0) {
			err = shm_set_from_(&now, &r, text, until);
			free(r.meta);
		}
		shm_restore_locale_(&l);
	}
	shm_permit_(state);
	return err;
}

/* ---- Answers to those who may only read ---- */

/* Returns the change word that a byte stands for, or NULL if no value has one there. The
 * bytes of a value may look like a record, and whoever may only read could make this
 * process write to any byte: so the index must lead to the record. */
SHM_SLOW_ uint32_t *shm_asked_(shm_segment *s, int64_t at)
{
	uint64_t n = (uint64_t)(at - SHM_ASK_BASE_), record = n / (2 * SHM_ASK_LINES_) * SHM_LINE_, cell = record + n % (2 * SHM_ASK_LINES_) / 2 * SHM_LINE_, used, step;
	char name[SHM_NAME_MAX_ + 1];
	struct shm_record_ r, found;
	if (n % 2 != 0)
		return NULL;
	if (n == 0)
		return &s->header->names;
	if (shm_used_(s, &used) != 0 || shm_decode_(s, record, used, &r) != 0)
		return NULL;
	uint64_t locks = shm_locks_in_(&r, &step);
	memcpy(name, r.shape.name, r.shape.name_length);
	name[r.shape.name_length] = 0;
	free(r.meta);
	if (cell < r.data || (cell - r.data) % step != 0 || (cell - r.data) / step >= locks || shm_search_(s, name, &found) != 0)
		return NULL;
	free(found.meta);
	return found.offset == record ? &((struct shm_cell_ *)(void *)(s->mem + cell))->change : NULL;
}

static inline void shm_answer_one_(void *arg, int64_t at, int64_t n)
{
	uint32_t *change = n == 1 ? shm_asked_((shm_segment *)arg, at) : NULL, w; /* a longer lock asks for nothing */
	if (change == NULL)
		return;
	do
		w = __atomic_load_n(change, __ATOMIC_SEQ_CST);
	while ((w & SHM_AWAITED_) == 0 && !shm_cas_(change, w, w | SHM_AWAITED_));
	shm_futex_wake_(change, INT32_MAX); /* who sleeps on the word looks again, also if the bit was set */
}

/* Answers all who ask, or many: the next call goes on. */
static inline int shm_answer_all_(shm_segment *s)
{
	enum { LOOKS = 64 };
	int64_t end = SHM_ASK_BASE_ + SHM_ASK_BYTES_, from = SHM_ASK_BASE_ + (int64_t)(__atomic_load_n(&s->asked, __ATOMIC_RELAXED) % (uint64_t)SHM_ASK_BYTES_), rest;
	int fd = s->ctl >= 0 ? s->ctl : s->fd; /* it holds no lock of an asker */
	int err = shm_each_lock_(fd, F_WRLCK, from, end, LOOKS, shm_answer_one_, s, &rest);
	if (err == 0 && from > SHM_ASK_BASE_ && rest == from)
		err = shm_each_lock_(fd, F_WRLCK, SHM_ASK_BASE_, from, LOOKS, shm_answer_one_, s, &rest);
	__atomic_store_n(&s->asked, rest == from ? 0 : (uint64_t)(rest - SHM_ASK_BASE_), __ATOMIC_RELAXED);
	return err;
}

SHM_USE_ SHM_SLOW_ int shm_answer(shm_segment *s, int64_t ns)
{
	int64_t until = shm_until_(ns), now = shm_now_(), next = __atomic_load_n(&s->answered, __ATOMIC_RELAXED) + SHM_ANSWER_NS_;
	if (s->read_only)
		return -EROFS;
	int state = shm_hold_off_();
	if (now < next && next - now <= SHM_ANSWER_NS_) {
		struct timespec pause = {0, (long)(next - now)};
		nanosleep(&pause, NULL);
	}
	int err = shm_answer_all_(s); /* also those whose ring was lost */
	shm_permit_(state);
	__atomic_store_n(&s->answered, shm_now_(), __ATOMIC_RELAXED);
	if (err != 0 || shm_now_() >= until)
		return err != 0 ? err : -ETIMEDOUT;
	shm_futex_wait_(&s->header->bell, 0, ~UINT32_C(0), until);
	if (shm_now_() >= until)
		return -ETIMEDOUT;
	state = shm_hold_off_();
	err = shm_answer_all_(s);
	shm_permit_(state);
	__atomic_store_n(&s->answered, shm_now_(), __ATOMIC_RELAXED);
	return err;
}

/* ---- Segments ---- */

/* Returns a random number. */
static inline uint64_t shm_random_(void)
{
	uint64_t n = 0;
	static uint32_t count;
	struct timespec t;
	if (syscall(SYS_getrandom, &n, sizeof n, 1 /* GRND_NONBLOCK */) == (long)sizeof n)
		return n;
	clock_gettime(CLOCK_REALTIME, &t); /* the system is too young, or too old, for random numbers */
	const uint64_t parts[] = {(uint64_t)t.tv_sec, (uint64_t)t.tv_nsec, (uint64_t)shm_now_(), (uint64_t)getpid(), (uintptr_t)&n, __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED)};
	n = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
		n = (n ^ parts[i]) * UINT64_C(0x9E3779B97F4A7C15);
	return n ^ n >> 32;
}

/* Makes the header of a new segment. The table of ids after it starts as zeros. The first
 * record, of an index, comes behind that. */
static inline void shm_new_header_(struct shm_header_ *h, uint64_t max_size, uint64_t used, uint32_t type, uint64_t inode)
{
	memset(h, 0, sizeof *h);
	memcpy(h->magic, SHM_MAGIC_, sizeof h->magic);
	h->version = 2;
	h->order = 0x01020304;
	h->size = SHM_HEADER_;
	h->table_len = SHM_TABLE_LEN_;
	h->max_size = max_size;
	h->identity = shm_random_();
	h->check = shm_crc_(0, h, offsetof(struct shm_header_, check));
	h->allocated = shm_seal_(SHM_FIRST_ / SHM_LINE_);
	h->used = h->indexed = h->dirty = shm_seal_(used / SHM_LINE_);
	h->next_id = shm_seal_(1);
	h->home = shm_seal_(shm_home_of_(type, inode, h->identity));
	h->index = shm_seal_(SHM_HEADER_ / SHM_LINE_);
}

/* Validates a copy of the header, and its sizes against the size of the file. Returns 1 if
 * only the sizes do not fit each other: its pages may have reached the disk in any order
 * before the power failed. */
static inline int shm_check_header_(const struct shm_header_ *h, uint64_t file_size)
{
	uint64_t allocated, used, indexed, dirty, index, place, other;
	if (memcmp(h->magic, SHM_MAGIC_, sizeof h->magic) != 0)
		return SHM_EFORMAT;
	if (h->order == 0x04030201)
		return SHM_EVERSION;
	if (h->order != 0x01020304)
		return SHM_EFORMAT;
	if (h->version != 2)
		return SHM_EVERSION;
	if (shm_crc_(0, h, offsetof(struct shm_header_, check)) != h->check || !shm_zeros_(h->zero, h->zero + sizeof h->zero) ||
	    h->bell != 0 || !shm_unseal_(&h->place, &place) || !shm_zeros_(h->zero2, h->zero2 + sizeof h->zero2))
		return SHM_EFORMAT;
	if (h->size != SHM_HEADER_ || h->table_len != SHM_TABLE_LEN_ || h->max_size > SHM_MAX_SEGMENT_ || h->max_size < SHM_FIRST_ || h->max_size % SHM_LINE_ != 0 ||
	    !shm_unseal_bytes_(&h->allocated, &allocated) || !shm_unseal_bytes_(&h->used, &used) || !shm_unseal_bytes_(&h->indexed, &indexed) ||
	    !shm_unseal_bytes_(&h->dirty, &dirty) || !shm_unseal_bytes_(&h->index, &index) || !shm_unseal_(&h->next_id, &other) ||
	    !shm_unseal_(&h->home, &other) || !shm_unseal_(&h->values, &other) ||
	    shm_max_(shm_max_(shm_max_(allocated, used), shm_max_(indexed, dirty)), index) > h->max_size || file_size < SHM_FIRST_)
		return SHM_EFORMAT;
	if (place != 0) /* programs of this kind would not see the locks */
		return SHM_EVERSION;
	bool fits = index >= SHM_HEADER_ && index < used && used <= allocated && indexed >= SHM_HEADER_ && indexed <= used && dirty <= allocated && allocated <= file_size;
	return fits ? 0 : 1;
}

/* Reads the header until it is valid, or until two copies are the same. A copy that is
 * made while another process adds values may have an old word next to a new one. */
static inline int shm_read_header_(int fd, uint64_t *file_size, struct shm_header_ *h)
{
	struct shm_header_ now, before;
	struct stat st;
	int err = SHM_EFORMAT;
	memset(h, 0, sizeof *h);
	memset(&before, 0, sizeof before);
	for (int tries = 0; tries < 100; tries++) {
		if (fstat(fd, &st) != 0)
			return -errno;
		if (!S_ISREG(st.st_mode))
			return SHM_EINSECURE;
		ssize_t n = pread(fd, &now, sizeof now, 0);
		if (n < 0 && errno == EINTR)
			continue;
		/* The size is read again after the copy, as the file only grows. */
		if (n < 0 || fstat(fd, &st) != 0)
			return -errno;
		if (n < (ssize_t)sizeof now)
			return SHM_EFORMAT;
		*file_size = (uint64_t)st.st_size;
		*h = now;
		if ((err = shm_check_header_(&now, *file_size)) == 0 || memcmp(&now, &before, sizeof now) == 0)
			return err;
		before = now;
	}
	return err;
}

/* Puts a segment in order that has another home. It waits for the allocation lock no
 * longer than a second: a process that may only read the file can keep it. unfit says
 * that the sizes in the header do not fit each other. */
SHM_SLOW_ int shm_settle_in_(shm_segment *s, bool unfit)
{
	const struct timespec pause = {0, 5000000};
	struct flock l;
	struct stat st;
	shm_move_in_(s);
	bool unknown = s->where == 0;
	if ((!unknown && !shm_foreign_(s)) || shm_in_use_by_others_(s))
		return unfit ? SHM_EFORMAT : 0;
	int err = unknown ? unfit ? SHM_EFORMAT : 0 : shm_own_control_(s);
	if ((unknown && err == 0) || (err == SHM_ENOLEASE && !unfit)) { /* it cannot repair anything, and puts the ids in order */
		shm_adopt_all_(s);
		return 0;
	}
	if (err != 0)
		return err;
	pthread_mutex_lock(&s->gate);
	for (int64_t until = shm_until_(SHM_SETTLE_NS_);;) {
		err = shm_file_lock_(s->ctl, F_OFD_SETLK, F_WRLCK, 0, 1, &l);
		if ((err != -EAGAIN && err != -EACCES) || shm_now_() >= until)
			break;
		nanosleep(&pause, NULL);
	}
	if (err == 0 && (err = shm_stat_(s, s->ctl, &st)) == 0 && shm_foreign_(s) && shm_in_use_by_others_(s))
		err = -EAGAIN; /* of one who came meanwhile, and did without the allocation lock */
	if (err == 0 && shm_foreign_(s)) {
		err = shm_repair_(s, true);
	} else if (err == -EAGAIN || err == -EACCES) {
		err = unfit ? SHM_EFORMAT : 0;
		if (!unfit)
			shm_adopt_all_(s);
	}
	shm_unlock_allocation_(s);
	return err;
}

static inline void shm_free_(shm_segment *s)
{
	if (s == NULL)
		return;
	if (s->mem != NULL)
		munmap(s->mem, (size_t)s->length);
	shm_close_(s, s->ctl);
	shm_close_(s, s->fd);
	free(s->path);
	free(s->name);
	free(s);
}

/* Takes a segment out of the list, and frees it. */
static inline void shm_remove_segment_(shm_segment *s)
{
	pthread_mutex_lock(&s->home->mutex);
	for (shm_segment **p = &s->home->segments; *p != NULL; p = &(*p)->next)
		if (*p == s) {
			*p = s->next;
			break;
		}
	if (s->pid == getpid())
		shm_drop_control_(s);
	pthread_mutex_unlock(&s->home->mutex);
	shm_free_(s);
}

/* Makes a path that stays right if the process changes its directory. */
static inline int shm_absolute_(const char *path, char **out)
{
	char *here = *path == '/' ? NULL : getcwd(NULL, 0);
	size_t n = here == NULL ? 0 : strlen(here);
	*out = (char *)malloc(n + strlen(path) + 2);
	if (*out != NULL) {
		if (here != NULL)
			memcpy(*out, here, n);
		strcpy(*out + n, here != NULL ? "/" : "");
		strcat(*out + n, path);
	}
	free(here);
	return *out == NULL ? -ENOMEM : 0;
}

/* Keeps the name of a segment. */
static inline int shm_call_it_(shm_segment *s, const char *name)
{
	s->name = *name == 0 ? NULL : strdup(name);
	return *name != 0 && s->name == NULL ? -ENOMEM : 0;
}

/* Attaches to the file of fd. The segment owns fd; after an error it is closed. */
SHM_SLOW_ int shm_attach_owned_(shm_segment **out, int fd, const char *path, const shm_options *o)
{
	uint64_t size = 0, page = shm_page_();
	struct shm_header_ header;
	struct shm_table_ t;
	struct stat st;
	uint32_t type;
	if ((fd = shm_beyond_stdio_(fd)) < 0)
		return fd;
	int err = shm_filesystem_(fd, &type);
	bool unfit = false;
	if (err == 0 && (unfit = (err = shm_read_header_(fd, &size, &header)) == 1))
		err = o->read_only ? SHM_EFORMAT : 0;
	if (err == 0 && fstat(fd, &st) != 0)
		err = -errno;
	shm_segment *s = (shm_segment *)calloc(1, sizeof *s);
	if (s == NULL || err != 0) {
		free(s);
		close(fd);
		return err != 0 ? err : -ENOMEM;
	}
	s->fd = fd;
	s->ctl = -1;
	s->device = st.st_dev;
	s->inode = st.st_ino;
	s->pid = getpid();
	s->read_only = o->read_only;
	s->home = &shm_home_;
	s->where = shm_home_of_(type, st.st_ino, header.identity);
	pthread_mutex_init(&s->gate, NULL);
	if (path != NULL)
		err = shm_absolute_(path, &s->path);
	uint64_t need = shm_min_(size, header.max_size);
	for (s->length = header.max_size; err == 0; s->length = shm_round_(s->length / 2, page)) {
		void *mem = s->length > (uint64_t)INTPTR_MAX ? MAP_FAILED : mmap(NULL, (size_t)s->length, o->read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (mem != MAP_FAILED) {
			s->mem = (unsigned char *)mem;
			s->header = (struct shm_header_ *)mem;
			break;
		}
		if (s->length <= (uint64_t)INTPTR_MAX && errno != ENOMEM)
			err = errno == ENODEV ? SHM_EFILESYSTEM : -errno;
		else if (s->length / 2 < need)
			err = s->length > (uint64_t)INTPTR_MAX ? SHM_EFULL : -ENOMEM;
	}
	/* From here on a child that another thread forks closes ctl. */
	pthread_mutex_lock(&s->home->mutex);
	shm_widen_crc_();
	if (err == 0 && !s->home->handlers)
		err = -pthread_atfork(shm_before_fork_, shm_in_parent_, shm_in_child_);
	s->home->handlers = s->home->handlers || err == 0;
	s->next = s->home->segments;
	s->home->segments = s;
	pthread_mutex_unlock(&s->home->mutex);
	if (err == 0) {
		s->bytes = shm_min_(size, s->length);
		shm_dumped_(s, shm_round_(s->bytes, page), s->length, false);
	}
	if (err == 0 && !s->read_only)
		err = shm_settle_in_(s, unfit);
	if (err == 0)
		err = shm_index_(s, &t);
	if (err != 0) {
		shm_remove_segment_(s);
		return err;
	}
	*out = s;
	return 0;
}

static inline int shm_write_(int fd, const void *bytes, size_t n, uint64_t off)
{
	for (size_t done = 0; done < n;) {
		ssize_t w = pwrite(fd, (const char *)bytes + done, n - done, (off_t)(off + done));
		if (w > 0)
			done += (size_t)w;
		else if (w == 0 || errno != EINTR)
			return w == 0 ? -EIO : -errno;
	}
	return 0;
}

/* Gives a new file its mode, its space and its header, and brings them to the disk. So
 * after a power failure a name never leads to a file of zeros. A file that gets no name
 * may keep another mode. */
SHM_SLOW_ int shm_build_(int fd, mode_t mode, uint64_t max_size, bool named)
{
	struct shm_header_ header;
	struct shm_shape_ index;
	struct shm_fixed_ f;
	struct stat st;
	struct flock l;
	uint32_t type;
	unsigned char *meta;
	int flags = 0, err = shm_filesystem_(fd, &type);
	if (err != 0)
		return err;
	/* Copy-on-write would undo the reservation. overlayfs may be on top of btrfs. */
	if ((type == SHM_BTRFS_ || type == SHM_OVERLAYFS_) && ioctl(fd, _IOR('f', 1, long), &flags) == 0 && (flags & SHM_NOCOW_) == 0) {
		flags |= SHM_NOCOW_;
		(void)ioctl(fd, _IOW('f', 2, long), &flags);
	}
	err = fchmod(fd, mode) != 0 ? -errno : 0; /* the umask does not apply */
	if (fstat(fd, &st) != 0)
		return -errno;
	if (named && (st.st_mode & 0777) != mode) /* some filesystems keep no modes */
		return err != 0 ? err : SHM_EFILESYSTEM;
	if (shm_file_lock_(fd, F_OFD_GETLK, F_WRLCK, 0, 1, &l) != 0)
		return SHM_EFILESYSTEM;
	if ((err = shm_reserve_(fd, 0, SHM_FIRST_)) != 0)
		return err;
	memset(&index, 0, sizeof index);
	index.name = index.format = "";
	index.size = sizeof(uint64_t);
	index.count = SHM_INDEX_SLOTS_;
	index.access = SHM_RAW;
	index.kind = SHM_INDEX_;
	if ((err = shm_encode_(&index, SHM_INDEX_SLOTS_ * sizeof(uint64_t), 0, 0, &f, &meta)) != 0)
		return err;
	shm_new_header_(&header, max_size, SHM_HEADER_ + f.size, type, st.st_ino);
	err = shm_write_(fd, meta, f.meta, SHM_HEADER_);
	free(meta);
	if (err == 0)
		err = shm_write_(fd, &header, sizeof header, 0);
	if (err != 0)
		return err;
	void *mem = mmap(NULL, SHM_FIRST_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		return errno == ENODEV || errno == EINVAL ? SHM_EFILESYSTEM : -errno;
	munmap(mem, SHM_FIRST_);
	if (shm_memory_(type))
		return 0;
	while ((err = fsync(fd) != 0 ? errno : 0) == EINTR) {
	}
	return shm_refused_(err) ? 0 : -err;
}

/* ---- Temporary names ----
 *
 * Where a filesystem has no files without a name, or lets nobody name them, a segment is
 * built under a temporary name in the same directory: .NAME.xxxxxxxx.new-segment. Its
 * creator holds the lock of SHM_CREATION_ until the segment has its real name and has
 * lost the temporary one. A temporary name whose file nobody has locked was left by a
 * creator that died, and the next one removes it.
 */

#define SHM_TEMP_END_ ".new-segment"

/* Reports whether a name is one of a file. */
static inline bool shm_leads_to_(const char *name, int fd)
{
	struct stat named, own;
	return lstat(name, &named) == 0 && fstat(fd, &own) == 0 && named.st_dev == own.st_dev && named.st_ino == own.st_ino;
}

/* Calls f with each temporary name of a path that exists. */
SHM_SLOW_ void shm_besides_(const char *path, void (*f)(const char *temp, int fd), int fd)
{
	const char *base = strrchr(path, '/') + 1;
	size_t dir = (size_t)(base - path), n = strnlen(base, 200);
	char *temp = (char *)malloc(dir + 256 + 1);
	if (temp == NULL)
		return;
	memcpy(temp, path, dir);
	strcpy(temp + dir, ".");
	DIR *d = opendir(temp);
	for (struct dirent *e = NULL; d != NULL && (e = readdir(d)) != NULL;) {
		const char *p = e->d_name;
		if (strlen(p) != n + 10 + strlen(SHM_TEMP_END_) || *p != '.' || memcmp(p + 1, base, n) != 0 || p[n + 1] != '.' ||
		    strspn(p + n + 2, "0123456789abcdef") != 8 || strcmp(p + n + 10, SHM_TEMP_END_) != 0)
			continue;
		strcpy(temp + dir, p);
		f(temp, fd);
	}
	if (d != NULL)
		closedir(d);
	free(temp);
}

static inline void shm_remove_if_dead_(const char *temp, int unused)
{
	struct flock l;
	struct stat st;
	int fd = shm_open_existing_(temp, false);
	(void)unused;
	if (fd < 0)
		return;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && shm_file_lock_(fd, F_OFD_SETLK, F_WRLCK, SHM_CREATION_, 1, &l) == 0 && shm_leads_to_(temp, fd))
		(void)unlink(temp);
	close(fd);
}

/* Removes a second name of a file that has its real name. Its creator does not need it any
 * more, and may be dead. */
static inline void shm_remove_second_(const char *temp, int fd)
{
	if (shm_leads_to_(temp, fd))
		(void)unlink(temp);
}

/* Returns how many names a file has. Filesystems that are programs let the kernel keep a
 * number that was true some time ago. */
static inline uint64_t shm_links_(int fd)
{
	struct stat st;
#ifdef STATX_NLINK
	struct statx x;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_NLINK, &x) == 0 && (x.stx_mask & STATX_NLINK) != 0)
		return x.stx_nlink;
#endif
	return fstat(fd, &st) == 0 ? st.st_nlink : 0;
}

/* Opens a new file under a temporary name, and locks it. The caller frees *temp. */
static inline int shm_open_beside_(const char *path, char **temp)
{
	const char *base = strrchr(path, '/') + 1;
	size_t room = strlen(path) + 40;
	struct flock l;
	if ((*temp = (char *)malloc(room)) == NULL)
		return -ENOMEM;
	for (int tries = 0; tries < 100; tries++) {
		snprintf(*temp, room, "%.*s.%.200s.%08x" SHM_TEMP_END_, (int)(base - path), path, base, (unsigned)shm_random_());
		int fd = open(*temp, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0 && errno != EEXIST && errno != EINTR)
			return -errno;
		if (fd < 0)
			continue;
		int err = shm_file_lock_(fd, F_OFD_SETLK, F_WRLCK, SHM_CREATION_, 1, &l);
		if ((err != -EAGAIN && err != -EACCES) && shm_leads_to_(*temp, fd))
			return fd;
		close(fd); /* another creator has taken it for abandoned, before it was locked */
	}
	return -EEXIST;
}

/* Opens a new file without a name in the directory of a path. */
static inline int shm_open_unnamed_(const char *path)
{
	int fd;
	char *dir = strndup(path, (size_t)(strrchr(path, '/') + 1 - path));
	if (dir == NULL)
		return -ENOMEM;
	while ((fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)) < 0 && errno == EINTR) {
	}
	int err = fd < 0 ? -errno : fd;
	free(dir);
	return err;
}

/* Gives a file that has no name its name. Returns 1 if the system refuses, but may let a
 * file with a temporary name have it. */
static inline int shm_link_(int fd, const char *path)
{
	char link[40];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	/* Without /proc the kernel links the descriptor itself, for some processes. */
	if ((errno == ENOENT || shm_refused_(errno)) && linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH) == 0)
		return 0;
	return errno == ENOENT || errno == EMLINK || shm_refused_(errno) ? 1 : -errno;
}

/* Gives a file that has a temporary name its name instead. A filesystem that knows no
 * rename without replacement may know links: for a moment the file has two names then. If
 * the process dies in between, whoever opens the file removes the temporary one. *linked
 * reports whether that way was taken. */
static inline int shm_rename_(const char *temp, const char *path, bool *linked)
{
	*linked = false;
	if (syscall(SYS_renameat2, AT_FDCWD, temp, AT_FDCWD, path, 1 /* RENAME_NOREPLACE */) == 0)
		return 0;
	if (!shm_refused_(errno))
		return -errno;
	if (linkat(AT_FDCWD, temp, AT_FDCWD, path, 0) != 0)
		return errno == EMLINK || shm_refused_(errno) ? SHM_EFILESYSTEM : -errno;
	(void)unlink(temp);
	*linked = true;
	return 0;
}

/* Brings the name of a file to the disk. If that fails, a power failure takes the name of
 * the segment, and no half of it remains. */
static inline void shm_sync_name_(const char *path)
{
	uint32_t type;
	char *dir = strndup(path, (size_t)(strrchr(path, '/') + 1 - path));
	int fd = dir == NULL ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(dir);
	if (fd < 0)
		return;
	if (shm_filesystem_(fd, &type) == 0 && !shm_memory_(type))
		(void)fsync(fd);
	close(fd);
}

/* Makes a file without a name, and names it. Returns its descriptor, or 1 if the system
 * refuses that way. */
static inline int shm_create_unnamed_(const char *path, mode_t mode, uint64_t max_size, int *made)
{
	int fd = shm_open_unnamed_(path);
	if (fd < 0)
		return fd == -EISDIR || shm_refused_(-fd) ? 1 : fd;
	int err = shm_build_(fd, mode, max_size, true);
	if (err == 0)
		err = shm_link_(fd, path);
	if (err != 0)
		close(fd);
	else
		*made = fd;
	return err;
}

/* Makes a file with a temporary name, and gives it the real one. */
static inline int shm_create_beside_(const char *path, mode_t mode, uint64_t max_size, int *made)
{
	char *temp = NULL;
	struct flock l;
	bool linked = false;
	shm_besides_(path, shm_remove_if_dead_, -1);
	int fd = shm_open_beside_(path, &temp), err = fd < 0 ? fd : shm_build_(fd, mode, max_size, true);
	if (err == 0)
		err = shm_rename_(temp, path, &linked);
	if (err != 0 && fd >= 0) {
		(void)unlink(temp);
		close(fd);
	}
	free(temp);
	if (err != 0)
		return err;
	/* Some filesystems that are programs take two names for two files, which share no
	 * memory. All others open the real name. */
	int again = linked ? shm_open_existing_(path, false) : -1;
	if (again >= 0) {
		close(fd);
		fd = again;
	} else {
		(void)shm_file_lock_(fd, F_OFD_SETLK, F_UNLCK, SHM_CREATION_, 1, &l);
	}
	*made = fd;
	return 0;
}

/* Makes a new segment; returns its descriptor. The file gets its name when it is
 * complete. Returns -EEXIST if another process made a file of that name first. */
SHM_SLOW_ int shm_create_named_(const char *path, mode_t mode, uint64_t max_size)
{
	int fd = -1, err = shm_create_unnamed_(path, mode, max_size, &fd);
	if (err == 1)
		err = shm_create_beside_(path, mode, max_size, &fd);
	if (err != 0)
		return err;
	shm_sync_name_(path);
	return fd;
}

static inline int shm_options_(const shm_options *o, shm_options *opt)
{
	uint64_t page = shm_page_();
	memset(opt, 0, sizeof *opt);
	if (o != NULL)
		*opt = *o;
	if (opt->mode == 0)
		opt->mode = 0600;
	if (opt->max_size == 0)
		opt->max_size = sizeof(void *) == 4 ? UINT64_C(64) << 20 : UINT64_C(4) << 30;
	if ((opt->mode & ~(mode_t)0777) != 0 || opt->max_size > SHM_MAX_SEGMENT_ || opt->max_size > (uint64_t)INTPTR_MAX - page ||
	    (opt->exclusive && (opt->must_exist || opt->read_only)))
		return -EINVAL;
	opt->max_size = shm_round_(shm_max_(opt->max_size, SHM_FIRST_), page);
	return 0;
}

/* Opens the file of a path, if it can be trusted. */
static inline int shm_open_trusted_(const char *path, const shm_options *o)
{
	int fd = shm_open_existing_(path, o->read_only);
	if (fd < 0)
		return fd;
	struct stat st;
	uint64_t links = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? st.st_nlink : 1;
	if (links > 1) {
		shm_besides_(path, shm_remove_second_, fd);
		links = shm_links_(fd);
	}
	int err = shm_trusted_(fd, o, links);
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

/* Attaches to the file of a path, or makes it. */
static inline int shm_attach_path_(shm_segment **out, const char *path, const shm_options *o)
{
	int err = 0;
	/* Another process may create and remove the name in turn. It gives up after a number
	 * of rounds. */
	for (int tries = 0; tries < 100; tries++) {
		if (!o->exclusive) {
			int fd = shm_open_trusted_(path, o);
			err = fd < 0 ? fd : shm_attach_owned_(out, fd, path, o);
			if (err != -ENOENT || o->must_exist || o->read_only)
				break;
		}
		int fd = shm_create_named_(path, o->mode, o->max_size);
		err = fd < 0 ? fd : shm_attach_owned_(out, fd, path, o);
		if (err != -EEXIST || o->exclusive)
			break;
	}
	return err;
}

SHM_USE_ SHM_SLOW_ int shm_attach(shm_segment **out, const char *name, const shm_options *o)
{
	shm_options opt;
	char *path = NULL;
	*out = NULL;
	int state = shm_hold_off_(), err = shm_options_(o, &opt);
	if (err == 0)
		err = shm_path_(name, &path);
	if (err == 0)
		err = shm_attach_path_(out, path, &opt);
	if (err == 0 && (err = shm_call_it_(*out, name)) != 0) {
		shm_remove_segment_(*out);
		*out = NULL;
	}
	free(path);
	shm_permit_(state);
	return err;
}

/* ---- Handing a segment over ----
 *
 * The environment of the child has a variable for each segment: SHM_SEGMENT_ and its name
 * in hexadecimal. The value is descriptor:device:inode, and :socket if a description for
 * the child's lease waits in a socket.
 */

#define SHM_PASS_ "SHM_SEGMENT_"

/* Parses the value of such a variable. */
static inline bool shm_parse_passing_(const char *text, uint64_t *numbers, int *n)
{
	const uint64_t limits[] = {INT32_MAX, UINT64_MAX, UINT64_MAX, INT32_MAX};
	numbers[3] = 0;
	for (*n = 0; *n < 4; ++*n) {
		uint64_t x = 0;
		int digits = 0;
		for (; *text >= '0' && *text <= '9'; text++, digits++) {
			uint64_t d = (uint64_t)(*text - '0');
			if (x > (limits[*n] - d) / 10)
				return false;
			x = x * 10 + d;
		}
		if (digits == 0 || (limits[*n] == INT32_MAX && x < 3))
			return false;
		numbers[*n] = x;
		if (*text == 0) {
			++*n;
			break;
		}
		if (*text++ != ':')
			return false;
	}
	return text[-1] != ':' && *text == 0 && *n >= 3;
}

/* Returns the name of the variable, with room for a value behind it. The caller frees it. */
static inline char *shm_variable_(const char *name, size_t room)
{
	size_t n = strlen(name);
	char *v = (char *)malloc(sizeof SHM_PASS_ + 2 * n + room), *at;
	if (v == NULL)
		return NULL;
	memcpy(v, SHM_PASS_, sizeof SHM_PASS_);
	at = v + strlen(v);
	for (size_t i = 0; i < n; i++, at += 2)
		snprintf(at, 3, "%02x", (unsigned)(unsigned char)name[i]);
	return v;
}

/* Receives a descriptor from a socket, or looks at the one that waits there. Returns it if
 * it is one for reading and writing of the file, and otherwise -ENOENT. */
static inline int shm_receive_(int socket, dev_t device, ino_t inode, int flags)
{
	char text[2];
	union { struct cmsghdr align; char bytes[CMSG_SPACE(2 * sizeof(int))]; } control;
	struct iovec part;
	struct msghdr m;
	struct stat st;
	int fds[2] = {-1, -1}, got;
	size_t count = 0;
	memset(&m, 0, sizeof m);
	memset(&control, 0, sizeof control);
	part.iov_base = text;
	part.iov_len = sizeof text;
	m.msg_iov = &part;
	m.msg_iovlen = 1;
	m.msg_control = control.bytes;
	m.msg_controllen = sizeof control.bytes;
	while ((got = (int)recvmsg(socket, &m, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
	}
	if (got < 0)
		return -ENOENT;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len >= CMSG_LEN(0))
		count = (size_t)shm_min_((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), 2);
	if (count > 0)
		memcpy(fds, CMSG_DATA(c), count * sizeof(int));
	bool good = got == 1 && count == 1 && (m.msg_flags & MSG_CTRUNC) == 0 && (fcntl(fds[0], F_GETFL) & O_ACCMODE) == O_RDWR &&
		fstat(fds[0], &st) == 0 && S_ISREG(st.st_mode) && st.st_dev == device && st.st_ino == inode;
	for (size_t i = 0; i < count && !good; i++)
		close(fds[i]);
	return good ? shm_beyond_stdio_(fds[0]) : -ENOENT;
}

/* Keeps the descriptions of a file that the parent of this process has left in sockets, and
 * closes the sockets: no process that this one starts is to find them open. What cannot be
 * received is left alone. */
SHM_SLOW_ void shm_receive_all_(dev_t device, ino_t inode)
{
	pthread_mutex_lock(&shm_home_.mutex);
	for (char **e = environ; e != NULL && *e != NULL; e++) {
		const char *value = strchr(*e, '=');
		uint64_t numbers[4];
		int n, fd;
		if (strncmp(*e, SHM_PASS_, strlen(SHM_PASS_)) != 0 || value == NULL || !shm_parse_passing_(value + 1, numbers, &n) || n != 4 ||
		    numbers[1] != (uint64_t)device || numbers[2] != (uint64_t)inode)
			continue;
		/* The number may be another file's by now: it looks first. */
		if ((fd = shm_receive_((int)numbers[3], device, inode, MSG_PEEK)) < 0)
			continue;
		close(fd);
		if ((fd = shm_receive_((int)numbers[3], device, inode, 0)) < 0)
			continue;
		close((int)numbers[3]);
		struct shm_passed_ *p = shm_home_.passed;
		while (p != NULL && p->fd >= 0 && (p->device != device || p->inode != inode))
			p = p->next;
		bool have = p != NULL && p->fd >= 0; /* one is enough */
		if (p == NULL && (p = (struct shm_passed_ *)calloc(1, sizeof *p)) != NULL) {
			p->next = shm_home_.passed;
			shm_home_.passed = p;
		}
		if (have || p == NULL) {
			close(fd);
			continue;
		}
		p->device = device;
		p->inode = inode;
		p->fd = fd;
		p->user = NULL;
	}
	pthread_mutex_unlock(&shm_home_.mutex);
}

/* Sends a description of the segment's file, which nobody else has, to who has the other
 * end of a socket. Returns that end, or a negative number. */
SHM_SLOW_ int shm_send_(shm_segment *s)
{
	union { struct cmsghdr align; char bytes[CMSG_SPACE(sizeof(int))]; } control;
	struct iovec part;
	struct msghdr m;
	int ends[2], fd = shm_reopen_(s, false);
	if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	char byte = 0;
	memset(&m, 0, sizeof m);
	memset(&control, 0, sizeof control);
	part.iov_base = &byte;
	part.iov_len = 1;
	m.msg_iov = &part;
	m.msg_iovlen = 1;
	m.msg_control = control.bytes;
	m.msg_controllen = sizeof control.bytes;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	ssize_t sent;
	while ((sent = sendmsg(ends[1], &m, MSG_DONTWAIT | MSG_NOSIGNAL)) < 0 && errno == EINTR) {
	}
	close(fd);
	close(ends[1]);
	if (sent == 1)
		return shm_beyond_stdio_(ends[0]);
	close(ends[0]);
	return -1;
}

static inline void shm_pass_end(shm_passing *p)
{
	int state = shm_hold_off_();
	if (p->fd >= 0)
		close(p->fd);
	if (p->socket >= 0)
		close(p->socket);
	free(p->variable);
	p->fd = p->socket = -1;
	p->variable = NULL;
	shm_permit_(state);
}

static inline int shm_describe_passing_(shm_segment *s, shm_passing *p)
{
	struct stat st;
	int err = shm_stat_(s, s->fd, &st);
	if (err != 0)
		return err;
	if ((p->variable = shm_variable_(s->name != NULL ? s->name : "", 100)) == NULL)
		return -ENOMEM;
	if ((p->fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 3)) < 0)
		return -errno;
	/* A child that may open the file does without the socket. A reader has no more to give. */
	p->socket = s->read_only ? -1 : shm_send_(s);
	size_t n = strlen(p->variable);
	snprintf(p->variable + n, 100, p->socket < 0 ? "=%d:%llu:%llu" : "=%d:%llu:%llu:%d", p->fd, (unsigned long long)st.st_dev, (unsigned long long)st.st_ino, p->socket);
	return 0;
}

SHM_USE_ SHM_SLOW_ int shm_pass(shm_segment *s, shm_passing *p)
{
	p->fd = p->socket = -1;
	p->variable = NULL;
	int state = shm_hold_off_(), err = shm_describe_passing_(s, p);
	if (err != 0)
		shm_pass_end(p);
	shm_permit_(state);
	return err;
}

SHM_USE_ static inline int shm_pass_on(const shm_passing *p)
{
	if (fcntl(p->fd, F_SETFD, 0) != 0 || (p->socket >= 0 && fcntl(p->socket, F_SETFD, 0) != 0) || putenv(p->variable) != 0)
		return -errno;
	return 0;
}

/* Attaches to what the parent has handed over under a name. */
static inline int shm_inherit_(shm_segment **out, const char *name, const shm_options *o)
{
	shm_options opt;
	uint64_t numbers[4];
	int n, err = shm_options_(o, &opt);
	struct stat st;
	char *path = NULL, *variable = err != 0 ? NULL : shm_variable_(name, 0);
	if (err != 0)
		return err;
	if (variable == NULL)
		return -ENOMEM;
	const char *value = opt.exclusive ? NULL : getenv(variable);
	free(variable);
	if (value == NULL)
		return opt.exclusive ? -EEXIST : -ENOENT;
	if (!shm_parse_passing_(value, numbers, &n))
		return -EINVAL;
	int fd = (int)numbers[0], flags;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_dev != numbers[1] || (uint64_t)st.st_ino != numbers[2])
		return -ENOENT; /* it may be a grandparent's */
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || (flags = fcntl(fd, F_GETFL)) < 0)
		return -errno;
	if (!opt.read_only && (flags & O_ACCMODE) != O_RDWR)
		return -EACCES;
	shm_receive_all_(st.st_dev, st.st_ino);
	if (*name != 0 && (err = shm_path_(name, &path)) != 0)
		return err;
	if (path != NULL && *path != '/') { /* relative to where the parent is */
		free(path);
		path = NULL;
	}
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	err = own < 0 ? -errno : shm_attach_owned_(out, own, path, &opt);
	free(path);
	return err == 0 && *out != NULL ? shm_call_it_(*out, name) : err;
}

SHM_USE_ SHM_SLOW_ int shm_inherited(shm_segment **out, const char *name, const shm_options *o)
{
	*out = NULL;
	int state = shm_hold_off_(), err = shm_inherit_(out, name, o);
	if (err != 0 && *out != NULL) {
		shm_remove_segment_(*out);
		*out = NULL;
	}
	shm_permit_(state);
	return err;
}

/* Makes a file without a name, in memory. */
static inline int shm_anonymous_file_(const shm_options *o)
{
#ifdef SYS_memfd_create
	const unsigned cloexec = 1, sealing = 2, noexec = 8; /* of linux/memfd.h */
	long fd = syscall(SYS_memfd_create, "shm", cloexec | sealing | noexec);
	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = syscall(SYS_memfd_create, "shm", cloexec | sealing);
#else
	long fd = -1;
	errno = ENOSYS;
#endif
	if (fd < 0 && shm_refused_(errno))
		fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int err = shm_build_((int)fd, o->mode, o->max_size, false);
	if (err == 0 && fcntl((int)fd, 1033 /* F_ADD_SEALS */, 0x2 | 0x1 /* F_SEAL_SHRINK, F_SEAL_SEAL */) != 0 && !shm_refused_(errno))
		err = -errno;
	if (err == 0)
		return (int)fd;
	close((int)fd);
	return err;
}

SHM_USE_ SHM_SLOW_ int shm_anonymous(shm_segment **out, const shm_options *o)
{
	shm_options opt;
	*out = NULL;
	int state = shm_hold_off_(), err = shm_options_(o, &opt);
	if (err == 0 && (opt.read_only || opt.must_exist)) /* it is always new */
		err = -EINVAL;
	if (err == 0) {
		int fd = shm_anonymous_file_(&opt);
		err = fd < 0 ? fd : shm_attach_owned_(out, fd, NULL, &opt);
	}
	shm_permit_(state);
	return err;
}

/* ---- What a segment is ---- */

static inline const char *shm_name(const shm_segment *s) { return s->name != NULL ? s->name : ""; }

static inline uint64_t shm_size(const shm_segment *s)
{
	uint64_t n;
	return shm_unseal_bytes_(&s->header->allocated, &n) ? n : 0;
}

SHM_USE_ SHM_SLOW_ int shm_sync(shm_segment *s)
{
	uint64_t n;
	if (!shm_unseal_bytes_(&s->header->allocated, &n))
		return SHM_EFORMAT;
	n = shm_min_(n, s->length);
	int state = shm_hold_off_(), err = shm_reach_(s, n);
	if (err == 0 && msync(s->mem, (size_t)n, MS_SYNC) != 0)
		err = -errno;
	shm_permit_(state);
	return err;
}

SHM_USE_ SHM_SLOW_ int shm_replaced(const shm_segment *s)
{
	struct stat st;
	if (s->path == NULL)
		return 0;
	if (lstat(s->path, &st) != 0)
		return errno == ENOENT ? 1 : -errno;
	return st.st_dev != s->device || st.st_ino != s->inode;
}

/* Attaches to the file of a descriptor, through a duplicate of it. */
static inline int shm_attach_to_(shm_segment **out, int fd, const shm_options *o)
{
	shm_options opt;
	int err = shm_options_(o, &opt), flags;
	if (err != 0)
		return err;
	if ((flags = fcntl(fd, F_GETFL)) < 0)
		return -errno;
	if (!opt.read_only && (flags & O_ACCMODE) != O_RDWR)
		return -EACCES;
	struct stat st;
	if (fstat(fd, &st) == 0)
		shm_receive_all_(st.st_dev, st.st_ino);
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return own < 0 ? -errno : shm_attach_owned_(out, own, NULL, &opt);
}

SHM_USE_ SHM_SLOW_ int shm_attach_fd(shm_segment **out, int fd, const shm_options *o)
{
	*out = NULL;
	int state = shm_hold_off_(), err = shm_attach_to_(out, fd, o);
	shm_permit_(state);
	return err;
}

/* Precondition: no thread uses the values of the segment any more. */
SHM_SLOW_ void shm_detach(shm_segment *s)
{
	int state = shm_hold_off_();
	if (s != NULL)
		shm_remove_segment_(s);
	shm_permit_(state);
}

static inline int shm_remove(const char *name)
{
	char *path;
	int state = shm_hold_off_(), err = shm_path_(name, &path);
	struct stat st;
	if (err == 0 && lstat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
		err = SHM_EINSECURE;
	if (err == 0 && unlink(path) != 0)
		err = -errno;
	free(path);
	shm_permit_(state);
	return err;
}

#ifdef __cplusplus
}
#endif

#endif
