/*
 * shm.h - typed values in shared memory, the same that Go's package shm and
 * Python's see. Linux, C11 or C++17, gcc or clang; nothing but libc. The bytes
 * and the protocols are those of docs/FORMAT.md.
 *
 *     shm_segment *seg;
 *     shm_value hits;
 *     int64_t n;
 *     int err = shm_attach(&seg, "stats", NULL);
 *     if (err == 0) err = shm_new_number(seg, "hits", SHM_I64, NULL, &hits);
 *     if (err == 0) err = shm_add_i64(&hits, 1, &n);
 *     if (err != 0) fprintf(stderr, "%s\n", shm_strerror(err));
 *
 * CAVEATS, each as symptom and fix
 *
 * "F_OFD_SETLK undeclared", or the #error below. Include this header before any
 *   other, or compile with -D_GNU_SOURCE (and -D_FILE_OFFSET_BITS=64 on 32-bit
 *   systems).
 * A thread hangs in shm_lock for ever. It holds the lock already: it is not
 *   recursive. The same happens in a signal handler: no function here may be
 *   called from one.
 * A lock stays held after its thread has ended, was cancelled or jumped out. A
 *   lock belongs to the process: one that lives is never robbed. Unlock in a
 *   cleanup handler; any thread of the process may.
 * A child after fork gets -EPERM from shm_unlock. The parent holds the lock, not
 *   the child, which has an identity of its own from its first use on. Call
 *   shm_after_fork in a child made by _Fork or clone, which run no handlers.
 * A struct that a holder was killed in is half changed. Only an array or raw
 *   memory under a lock can be: ask shm_abandoned after shm_lock, repair, then
 *   call shm_consistent. Published structs and numbers are always whole.
 * shm_new_struct says -EINVAL, or SHM_ELAYOUT, and the struct looks right. The
 *   format's padding is explicit and must be the compiler's: struct { int8_t a;
 *   int32_t b; } is "T{<b:a:3x<i:b:}". shm_describe says what is there.
 * A bool that another program wrote is neither true nor false. Nothing forces 0
 *   or 1 into shared memory: declare it uint8_t here, format SHM_BOOL.
 * SIGBUS. Somebody has truncated the file: whoever may write it can. The descriptor
 *   of a memfd that is sealed against shrinking, as Go's Anonymous makes it, is safe.
 * Readers see a locked number change before shm_unlock. A store through a pointer
 *   is seen at once; what must change together is one published struct.
 * After shm_detach a pointer faults. Handles and pointers are valid until then; a
 *   lock still held is taken over by the next, who is told that it was abandoned.
 * The lock of a process that was just killed is held still. The kernel frees its
 *   memory first (some 55 ms a GiB) and writes the core dump: the lease goes last.
 *   Afterwards a sleeping waiter needs up to 20 ms more.
 * shm_find takes long where there are many values. It reads the directory from its
 *   start, as do the constructors: find a value once, and keep it.
 * A thread that waits wakes up 50 times a second. That is how it finds out that
 *   the holder died, or that its wake-up died with somebody: hundreds of threads
 *   that wait for long are better served by a queue of their own.
 *
 * RESULTS: 0, or a negative number: -errno or one of enum shm_error;
 * shm_strerror words it. What fails has changed nothing.
 *
 * THREADS: all functions but shm_detach may be called from any thread. Each
 * waiting thread sleeps on the lock word itself, as another process would.
 */
#ifndef SHM_H
#define SHM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if !defined __linux__ || !defined F_OFD_SETLK || !defined O_TMPFILE
#error "shm.h: include it before any other header, or compile with -D_GNU_SOURCE, on Linux"
#endif

#ifdef __cplusplus
extern "C" {
#define SHM_ASSERT_ static_assert
#else
#define SHM_ASSERT_ _Static_assert
#endif

SHM_ASSERT_(sizeof(off_t) == 8, "shm.h: compile with -D_FILE_OFFSET_BITS=64");

enum shm_error {
	SHM_EFORMAT = -5001,   /* not a segment, or a damaged one */
	SHM_EVERSION = -5002,  /* a segment of another version or kind of machine */
	SHM_EINSECURE = -5003, /* its owner, mode or file type lets others tamper with it */
	SHM_EFULL = -5004,     /* no room below its maximum size, or no lock owner's id */
	SHM_ELAYOUT = -5005,   /* the name stands for something else: see shm_describe */
	SHM_ETOOLONG = -5006   /* a text or a name does not fit */
};

/* How the memory of a value is synchronised, and what it is. */
enum shm_access { SHM_RAW = 1, SHM_ATOMIC = 2, SHM_LOCKED = 3, SHM_PUBLISHED = 4 };
enum shm_kind { SHM_SINGLE = 1, SHM_ARRAY = 2, SHM_CHARS = 3, SHM_MUTEX = 4, SHM_GROWTH_ = 5 };

/* Formats of PEP 3118. A struct's is written by hand from these:
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

/* NULL options, and zeros, mean: attach, or create for this user alone. */
typedef struct shm_options {
	mode_t mode;       /* permission bits of a new segment, whatever the umask; 0: 0600 */
	uint64_t max_size; /* bytes that a new segment can grow to; 0: 4 GiB (64 MiB on 32-bit systems) */
	bool read_only;    /* the name must exist */
	bool must_exist;   /* -ENOENT instead of creating */
	bool exclusive;    /* -EEXIST instead of attaching */
} shm_options;

typedef struct shm_segment shm_segment;

/* A named value: copied freely, valid until shm_detach. Look, don't write. */
typedef struct shm_value {
	shm_segment *segment;
	struct shm_cell_ *cell; /* NULL: no lock */
	unsigned char *data;    /* the elements, or the first of two slots */
	uint64_t size;          /* bytes of an element; of a published struct as its attacher declared it */
	uint64_t count;         /* elements of an array, bytes of a C string, 0: one value */
	uint64_t capacity;      /* bytes of one slot, or of the value */
	uint64_t end;           /* bytes up to the end of the last field */
	uint64_t record;        /* offset in the segment */
	uint8_t access, kind;   /* enum shm_access, enum shm_kind */
	char code;              /* of a plain number: b B h H i I q Q f d ? c; else 0 */
} shm_value;

/* ---- The API ----
 *
 * Segments: a name without a slash is /dev/shm/NAME, else a path.
 *
 *     int shm_attach(shm_segment **, const char *name, const shm_options *);
 *     int shm_attach_fd(shm_segment **, int fd, const shm_options *);  the descriptor stays the caller's
 *     void shm_detach(shm_segment *);                                   NULL is fine
 *     int shm_remove(const char *name);                                 attached processes keep the memory
 *
 * Values: find what is there, or find-or-create as Go's constructors do, where
 * the first one's init stands (NULL: zeros). On SHM_ELAYOUT *v is what was found.
 * A count of 0 is the length found (else -ENOENT).
 *
 *     int shm_find(shm_segment *, const char *name, shm_value *v);      -ENOENT
 *     int shm_new_raw(seg, name, format, init, v);              RawValue, RawStruct
 *     int shm_new_raw_array(seg, name, format, count, v);       RawArray
 *     int shm_new_chars(seg, name, size, v);                    CharArray
 *     int shm_new_atomic(seg, name, format, init, v);           Atomic: use __atomic on the pointer, sequentially consistent
 *     int shm_new_number(seg, name, format, init, v);           Value
 *     int shm_new_array(seg, name, format, count, v);           Array
 *     int shm_new_struct(seg, name, format, size, init, v);     Struct; size is sizeof the C type
 *     int shm_new_string(seg, name, size, v);                   String
 *     int shm_new_mutex(seg, name, v);                          Mutex
 *
 *     int shm_describe(v, buffer, n);   words a value as snprintf does; its maker, too
 *     int shm_is(v, access, format);    0 if it is that, else SHM_ELAYOUT
 *
 * Typed pointers: NULL unless the value is of that type, and not published.
 * *n (may be NULL) is the number of elements. T is i8 … u64, f32, f64.
 *
 *     T *shm_ptr_T(v, size_t *n);
 *     void *shm_ptr(v, format, size);   any format; size is sizeof the C type
 *
 * Locks, for values that have one. One process at a time, one thread of it.
 *
 *     int shm_lock(v);        waits; fails with -EROFS, or where no lease can be had
 *     int shm_lock_for(v, ns);   waits for at most so many nanoseconds: -ETIMEDOUT
 *     int shm_trylock(v);     -EBUSY
 *     int shm_unlock(v);      -EPERM if this process does not hold it
 *     bool shm_abandoned(v);  somebody died inside since shm_consistent was called
 *     void shm_consistent(v); by the holder, once what the lock guards is in order
 *
 * Locked numbers: load never waits; the others take the lock. _at is for arrays.
 * SHM_ELAYOUT where the value is not a locked one of T, -EINVAL behind its end.
 *
 *     int shm_load_T(v, T *x);            int shm_load_T_at(v, i, T *x);
 *     int shm_store_T(v, T x);            int shm_store_T_at(v, i, T x);
 *     int shm_add_T(v, T d, T *sum);      int shm_add_T_at(v, i, T d, T *sum);   sum may be NULL; integers wrap
 *
 * Published values: read sees one commit whole. It does not wait, with one exception:
 * under writers that never rest it asks for the lock after 64 copies that were
 * overtaken, and copies again if it has to wait for 10 ms. So a holder that is
 * stopped, or waits for this reader, does not keep it.
 *
 *     int shm_read(v, void *x, size_t size);
 *     int shm_commit(v, const void *x, size_t size);   under the lock
 *     int shm_publish(v, const void *x, size_t size);  lock, commit, unlock
 *     int shm_read_text(v, char *buffer, size_t n);    n > count; the length
 *     int shm_publish_text(v, const char *text);       SHM_ETOOLONG
 *
 * Waiting for a change, asleep. ok looks, without the lock, and again after each
 * change under the lock of v. -ETIMEDOUT after ns nanoseconds. Here and in
 * shm_lock_for a negative ns is as long as it takes.
 *
 *     int shm_await(v, bool (*ok)(const shm_value *v, void *arg), void *arg, int64_t ns);
 *     int shm_wait_for(seg, name, ns, v);   shm_find, once somebody has made it
 *
 *     void shm_after_fork(void);   in a child that fork's handlers did not see
 *     const char *shm_strerror(int);
 */

#define SHM_USE_ __attribute__((warn_unused_result))
#define SHM_SLOW_ static __attribute__((unused, noinline))
#define SHM_LIKELY_(x) __builtin_expect(!!(x), 1)

/* ---- The format ---- */

enum {
	SHM_LINE_ = 64,
	SHM_TABLE_OFFSET_ = 256,
	SHM_TABLE_LEN_ = 512,
	SHM_HEADER_ = SHM_TABLE_OFFSET_ + SHM_TABLE_LEN_ * SHM_LINE_, /* offset of the first record */
	SHM_FIRST_ = 64 << 10,                                        /* allocated at first */
	SHM_RECORD_FIXED_ = 112,
	SHM_RECORD_CHECK_ = 12,
	SHM_NAME_MAX_ = 255,
	SHM_FORMAT_MAX_ = 32 << 10,
	SHM_HELP_MAX_ = 4 << 10,
	SHM_DEPTH_ = 32, /* structs in structs, dimensions of an array */
	SHM_NUMBER_ = 48 /* offset of a locked number in the line of its lock */
};
#define SHM_MAGIC_ "\x93SHM\r\n\x1a\n"
#define SHM_MAX_SEGMENT_ (UINT64_C(1) << 45)
#define SHM_MAX_LAYOUT_ (UINT64_C(1) << 40)
#define SHM_LEASE_BASE_ (INT64_C(1) << 62)
#define SHM_SEALED_MAX_ ((UINT64_C(1) << 40) - 1)

/* The lock word. L is a Go process's own: only the owner's process sets it. */
#define SHM_OWNER_ ((UINT32_C(1) << 30) - 1)
#define SHM_W_ (UINT32_C(1) << 31)
#define SHM_AWAITED_ UINT32_C(1)

enum { SHM_STARVE_KERNEL_ = 1, SHM_STARVE_GO_ = 2 };

#define SHM_PROBE_NS_ INT64_C(4000000)   /* between two looks at a lease, for all processes together */
#define SHM_SHORT_NS_ INT64_C(4000000)   /* the first sleep; then the lock is to be reserved */
#define SHM_SLEEP_NS_ INT64_C(20000000)  /* the others */
#define SHM_BLIND_NS_ INT64_C(1000000000) /* a probe failed: till then others compete */
#define SHM_LOOK_NS_ INT64_C(4000000000)  /* between two looks of who awaits a change, at most */
#define SHM_RO_LOOK_NS_ INT64_C(250000000) /* the same, of who cannot say that it does */
#define SHM_READ_NS_ INT64_C(10000000)   /* a reader that is overtaken waits for the lock, at most */

struct shm_cell_ {
	uint32_t word, change;
	int64_t probed;
	uint32_t starve, abandoned, takeovers, extent;
	uint64_t commit;
	unsigned char rest[24];
};

struct shm_entry_ {
	uint32_t id, pid;
	uint64_t ns;
	char program[48];
};

struct shm_header_ {
	char magic[8];
	uint32_t version, order, size, table_len;
	uint64_t max_size;
	uint32_t check;
	unsigned char zero[28];
	uint64_t allocated, used, dirty, next_id, boot; /* sealed */
	uint32_t names;
	unsigned char zero2[148];
	/* the table follows */
};

SHM_ASSERT_(sizeof(struct shm_cell_) == SHM_LINE_ && offsetof(struct shm_cell_, commit) == 32, "lock cell");
SHM_ASSERT_(sizeof(struct shm_header_) == SHM_TABLE_OFFSET_ && offsetof(struct shm_header_, allocated) == 64 &&
	offsetof(struct shm_header_, names) == 104 && sizeof(struct shm_entry_) == SHM_LINE_, "header");

/* ---- This process's side ---- */

struct shm_home_;

/* Invariant: while a lock word holds id, this process lives and ctl holds the
 * lease of id. ctl is opened anew, never duplicated, so that no exec'ed child
 * shares it; what a fork shares, the child closes first of all. */
struct shm_segment {
	unsigned char *mem; /* the whole reserved address range */
	struct shm_header_ *header;
	uint64_t length;
	uint64_t seen;  /* records below are valid; only grows */
	uint64_t bytes; /* the file was seen to have these; only grows */
	uint32_t id;    /* 0: none yet; always so in a read-only attachment */
	bool read_only;
	int fd, ctl;    /* ctl -1: none yet */
	pid_t pid;      /* to whom id and ctl belong */
	int64_t blind_until;
	pthread_mutex_t gate; /* appending records, within this process */
	struct shm_home_ *home;
	shm_segment *next;
	char *path;
};

/* One for all translation units that were linked together. Its mutex guards the
 * list, and the taking of ctl and id, so that no fork comes in between. */
struct shm_home_ {
	pthread_mutex_t mutex;
	shm_segment *segments;
	bool handlers;
};
__attribute__((weak, visibility("hidden"))) struct shm_home_ shm_home_ = {PTHREAD_MUTEX_INITIALIZER, NULL, false};

static inline const char *shm_strerror(int err)
{
	switch (err) {
	case SHM_EFORMAT: return "shm: not a segment, or a damaged one";
	case SHM_EVERSION: return "shm: incompatible format version";
	case SHM_EINSECURE: return "shm: not safe to attach";
	case SHM_EFULL: return "shm: segment is full";
	case SHM_ELAYOUT: return "shm: the name stands for something else";
	case SHM_ETOOLONG: return "shm: longer than the memory it is for";
	}
	return strerror(err < 0 ? -err : err);
}

static inline int64_t shm_now_(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail for this clock */
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The time in ns from now; never, if that is negative. */
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

/* A sealed word is a 40-bit number and 24 bits of check. */
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

/* A size that is kept in lines. */
static inline bool shm_unseal_bytes_(const uint64_t *p, uint64_t *n)
{
	bool ok = shm_unseal_(p, n) && *n <= SHM_MAX_SEGMENT_ / SHM_LINE_;
	*n *= SHM_LINE_;
	return ok;
}

/* The fence keeps later plain stores behind it: whoever is killed in between
 * must have left them in this order. */
static inline void shm_store_sealed_(uint64_t *p, uint64_t n)
{
	__atomic_store_n(p, shm_seal_(n), __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline uint32_t shm_crc_(uint32_t crc, const void *bytes, size_t n)
{
	static const uint32_t table[16] = {
		0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
		0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
	const unsigned char *b = (const unsigned char *)bytes;
	crc = ~crc;
	for (size_t i = 0; i < n; i++) {
		crc = table[(crc ^ b[i]) & 15] ^ crc >> 4;
		crc = table[(crc ^ b[i] >> 4) & 15] ^ crc >> 4;
	}
	return ~crc;
}

/* ---- Futexes: never private, the words are shared ---- */

/* Until a point in time: what a signal interrupts does not start again. */
SHM_SLOW_ void shm_futex_wait_(uint32_t *word, uint32_t seen, uint32_t bits, int64_t until)
{
#ifdef SYS_futex_time64
	int64_t wide[2] = {until / 1000000000, until % 1000000000};
	if (syscall(SYS_futex_time64, word, 9 /* FUTEX_WAIT_BITSET */, seen, wide, NULL, bits) == 0 || errno != ENOSYS)
		return;
#endif
#ifdef SYS_futex
	long t[2] = {(long)(until / 1000000000), (long)(until % 1000000000)};
	(void)syscall(SYS_futex, word, 9, seen, t, NULL, bits); /* whatever it returns, the caller looks again */
#endif
}

/* Returns how many it woke. */
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

/* Wakes those who await a change. It comes after the change can be seen, since
 * who awaits one sets its bit before it looks. */
static inline void shm_changed_(uint32_t *change)
{
	if (!SHM_LIKELY_((__atomic_load_n(change, __ATOMIC_SEQ_CST) & SHM_AWAITED_) == 0))
		shm_wake_all_(change);
}

/* ---- Formats ---- */

struct shm_field_ {
	const char *text; /* format and name */
	size_t length;
	uint64_t offset, size;
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

/* Reads a number from 1 on without leading zeros; 0 if there is none. */
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

static inline bool shm_parse_item_(const char **p, const char *end, int depth, bool strict, uint64_t *size, uint64_t *last);

/* Reads the next member of a struct, or of what is left of one: padding, then a
 * field. 1: a field; 0: the struct has ended, and f->offset is its size; -1:
 * malformed. Padding that is not one run, as it is canonical, is malformed. */
static inline int shm_next_field_(const char **p, const char *end, int depth, bool strict, struct shm_field_ *f)
{
	uint64_t pad = 0, last;
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
	if (!shm_parse_item_(p, end, depth, strict, &f->size, &last) || f->size > SHM_MAX_LAYOUT_ - f->offset || !shm_accept_(p, end, ":"))
		return -1;
	const char *name = *p;
	for (; *p < end && **p != ':'; (*p)++) {
		unsigned char c = (unsigned char)**p;
		if (c <= ' ' || c == 0x7f || c == '{' || c == '}' || (strict && c > 0x7f))
			return -1;
	}
	f->length = (size_t)(*p - f->text);
	if (*p == name || !shm_accept_(p, end, ":"))
		return -1;
	return 1;
}

/* Whether a field before the given one has its name. */
static inline bool shm_name_again_(const char *begin, const char *end, int depth, const struct shm_field_ *f)
{
	struct shm_field_ g = {NULL, 0, 0, 0};
	const char *name = f->text + f->length;
	while (name[-1] != ':')
		name--;
	size_t n = (size_t)(f->text + f->length - name);
	while (shm_next_field_(&begin, end, depth, false, &g) == 1 && g.text != f->text)
		if (g.length > n && memcmp(g.text + g.length - n, name, n) == 0 && g.text[g.length - n - 1] == ':')
			return true;
	return false;
}

/* Reads a type; *last is where its last field ends. strict: as a new value must
 * be, so that Go accepts it, too. */
static inline bool shm_parse_item_(const char **p, const char *end, int depth, bool strict, uint64_t *size, uint64_t *last)
{
	static const struct { char code[3]; uint8_t size; } scalars[] = {
		{"?", 1}, {"b", 1}, {"B", 1}, {"c", 1}, {"h", 2}, {"H", 2}, {"i", 4}, {"I", 4},
		{"q", 8}, {"Q", 8}, {"f", 4}, {"d", 8}, {"Zf", 8}, {"Zd", 16}};
	uint64_t n = 1;
	int dims = 0;
	bool fields = false;
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
		struct shm_field_ f = {NULL, 0, 0, 0};
		const char *begin = *p;
		int more;
		if (depth == 0)
			return false;
		while ((more = shm_next_field_(p, end, depth - 1, strict, &f)) == 1) {
			fields = true;
			*last = f.offset + f.size;
			if (strict && shm_name_again_(begin, end, depth - 1, &f))
				return false;
		}
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

static inline bool shm_parse_(const char *format, size_t n, bool strict, uint64_t *size, uint64_t *last)
{
	const char *p = format, *end = format + n;
	return n <= SHM_FORMAT_MAX_ && shm_parse_item_(&p, end, SHM_DEPTH_, strict, size, last) && p == end;
}

/* Whether a struct begins with the fields of a shorter one and only appends to
 * them. Both are valid. */
static inline bool shm_extends_(const char *a, size_t an, const char *b, size_t bn)
{
	struct shm_field_ f = {NULL, 0, 0, 0}, g = {NULL, 0, 0, 0};
	const char *ae = a + an, *be = b + bn;
	if (!shm_accept_(&a, ae, "T{") || !shm_accept_(&b, be, "T{"))
		return false;
	while (shm_next_field_(&b, be, SHM_DEPTH_, false, &g) == 1)
		if (shm_next_field_(&a, ae, SHM_DEPTH_, false, &f) != 1 || f.offset != g.offset || f.length != g.length || memcmp(f.text, g.text, f.length) != 0)
			return false;
	while (shm_next_field_(&a, ae, SHM_DEPTH_, false, &f) == 1) {
	}
	return f.offset >= g.offset;
}

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

/* ---- Records ---- */

/* What a constructor asks for and a record answers. */
struct shm_shape_ {
	const char *name, *format;
	size_t name_length, format_length;
	uint64_t size;  /* bytes of an element */
	int64_t count;  /* elements of an array, bytes of a C string; 0: one value; -1: as found */
	uint8_t access, kind;
};

/* A validated copy of a record. */
struct shm_record_ {
	struct shm_shape_ shape; /* pointing into meta */
	unsigned char *meta;     /* to be freed */
	uint64_t offset, length, data, capacity;
	uint32_t pid;
	char program[57];
};

static inline bool shm_has_lock_(const struct shm_shape_ *s) { return s->access == SHM_LOCKED || s->access == SHM_PUBLISHED; }
static inline bool shm_grows_(const struct shm_shape_ *s) { return s->access == SHM_PUBLISHED && s->kind == SHM_SINGLE; }

/* Bytes of all elements; false if they can't exist. */
static inline bool shm_slot_size_(const struct shm_shape_ *s, uint64_t *n)
{
	uint64_t count = s->count > 0 ? (uint64_t)s->count : 1;
	*n = 0;
	if (s->format_length == 0)
		return true;
	if (s->count < 0 || s->size == 0 || count > SHM_MAX_SEGMENT_ / s->size)
		return false;
	*n = count * s->size;
	return *n <= INTPTR_MAX / 4;
}

static inline uint64_t shm_data_size_(const struct shm_shape_ *s, uint64_t capacity)
{
	if (s->kind == SHM_GROWTH_)
		return 0;
	if (s->access == SHM_PUBLISHED)
		return SHM_LINE_ + 2 * shm_round_(capacity, SHM_LINE_);
	if (s->kind == SHM_MUTEX || (s->access == SHM_LOCKED && s->kind == SHM_SINGLE))
		return SHM_LINE_;
	if (s->access == SHM_LOCKED)
		return SHM_LINE_ + shm_round_(capacity, SHM_LINE_);
	return shm_round_(capacity, SHM_LINE_);
}

/* Where the elements are in the data. */
static inline uint64_t shm_elements_(const struct shm_shape_ *s)
{
	if (s->access == SHM_LOCKED && s->kind == SHM_SINGLE)
		return SHM_NUMBER_;
	return shm_has_lock_(s) ? SHM_LINE_ : 0;
}

static inline bool shm_valid_texts_(const struct shm_shape_ *s, size_t unit, size_t help)
{
	uint64_t n;
	return s->name_length > 0 && s->name_length <= SHM_NAME_MAX_ && unit <= SHM_NAME_MAX_ && help <= SHM_HELP_MAX_ &&
		s->count >= 0 && shm_utf8_(s->name, s->name_length) && shm_slot_size_(s, &n);
}

/* The fields of a record's fixed part, as they are in memory. */
struct shm_fixed_ {
	uint64_t size;
	uint32_t meta, check;
	uint64_t count, element, capacity;
	uint8_t access, kind;
	uint16_t name;
	uint32_t format;
	uint16_t unit, help;
	uint32_t pid;
	char program[56];
};
SHM_ASSERT_(sizeof(struct shm_fixed_) == SHM_RECORD_FIXED_ && offsetof(struct shm_fixed_, pid) == 52, "record");

static inline uint32_t shm_check_record_(const unsigned char *meta, size_t n)
{
	return shm_crc_(shm_crc_(0, meta, SHM_RECORD_CHECK_), meta + SHM_RECORD_CHECK_ + 4, n - SHM_RECORD_CHECK_ - 4);
}

/* Copies a record's fixed part and checks the sizes in it against end. */
static inline bool shm_fixed_part_(const shm_segment *s, uint64_t off, uint64_t end, struct shm_fixed_ *f)
{
	if (end - off < SHM_RECORD_FIXED_)
		return false;
	memcpy(f, s->mem + off, sizeof *f);
	return f->size <= end - off && f->size % SHM_LINE_ == 0 && f->meta >= SHM_RECORD_FIXED_ && f->meta % SHM_LINE_ == 0 && f->meta <= f->size &&
		f->format <= SHM_FORMAT_MAX_ && f->meta == shm_round_((uint64_t)SHM_RECORD_FIXED_ + f->name + f->format + f->unit + f->help, SHM_LINE_);
}

/* Validates the record at off that ends by end, on a copy that nobody can
 * change any more. */
SHM_SLOW_ int shm_decode_(const shm_segment *s, uint64_t off, uint64_t end, struct shm_record_ *r)
{
	struct shm_fixed_ f;
	uint64_t size = 0, last, need;
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
	memcpy(r->program, f.program, sizeof f.program);
	if (shm_check_record_(r->meta, f.meta) == f.check && f.kind >= SHM_SINGLE && f.kind <= SHM_GROWTH_ &&
	    f.access >= SHM_RAW && f.access <= SHM_PUBLISHED &&
	    (f.kind == SHM_MUTEX ? f.format == 0 : shm_parse_(r->shape.format, f.format, false, &size, &last)) && size == f.element &&
	    shm_valid_texts_(&r->shape, f.unit, f.help) && shm_slot_size_(&r->shape, &need) && f.capacity >= need && f.capacity <= SHM_MAX_SEGMENT_ &&
	    f.meta + shm_data_size_(&r->shape, f.capacity) == f.size &&
	    (f.kind == SHM_GROWTH_ || f.kind == SHM_MUTEX || shm_elements_(&r->shape) + need <= shm_data_size_(&r->shape, f.capacity)))
		return 0;
	free(r->meta);
	r->meta = NULL;
	return SHM_EFORMAT;
}

/* ---- Files ---- */

/* Applies a lock to one byte, or asks for one; on return l says who is in the way. */
SHM_SLOW_ int shm_file_lock_(int fd, int cmd, short type, int64_t off, int64_t n, struct flock *l)
{
	memset(l, 0, sizeof *l);
	l->l_type = type;
	l->l_whence = SEEK_SET;
	l->l_start = off;
	l->l_len = n;
	while (fcntl(fd, cmd, l) != 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* Whether an id's lease is held. It asks as a reader, with whom only a write
 * lock conflicts, so that whoever may only read the file cannot fake life.
 * Precondition: it is not held through fd itself. */
static inline int shm_leased_(int fd, uint32_t id)
{
	struct flock l;
	int err = shm_file_lock_(fd, F_OFD_GETLK, F_RDLCK, SHM_LEASE_BASE_ + id, 1, &l);
	return err != 0 ? err : l.l_type != F_UNLCK;
}

/* Makes sure that the first end bytes can be touched here, whatever the header says. */
static inline int shm_reach_(shm_segment *s, uint64_t end)
{
	struct stat st;
	if (end > s->length)
		return SHM_EFULL; /* it has grown beyond what this process could map */
	if (end <= __atomic_load_n(&s->bytes, __ATOMIC_RELAXED))
		return 0;
	if (fstat(s->fd, &st) != 0)
		return -errno;
	if ((uint64_t)st.st_size < end)
		return SHM_EFORMAT;
	__atomic_store_n(&s->bytes, (uint64_t)st.st_size, __ATOMIC_RELAXED);
	return 0;
}

/* Reserves space on the filesystem, so that touching it later cannot fault. */
SHM_SLOW_ int shm_reserve_(int fd, uint64_t off, uint64_t end)
{
	const uint64_t step = 16 << 20; /* a signal undoes a whole call */
	for (uint64_t at = off; at < end; at += step) {
		uint64_t n = shm_min_(step, end - at);
		int err;
		while ((err = fallocate(fd, 0, (off_t)at, (off_t)n) != 0 ? errno : 0) == EINTR) {
		}
		if (err == EOPNOTSUPP || err == ENOSYS) {
			char zeros[4096];
			struct stat st;
			memset(zeros, 0, sizeof zeros);
			err = fstat(fd, &st) != 0 ? errno : 0;
			uint64_t b = err == 0 && (uint64_t)st.st_size > at ? (uint64_t)st.st_size : at;
			while (err == 0 && b < at + n) {
				ssize_t w = pwrite(fd, zeros, shm_min_(sizeof zeros, at + n - b), (off_t)b);
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

/* Says in path what file is behind a name. */
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

static inline int shm_open_existing_(const char *path, bool read_only)
{
	int fd;
	while ((fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)) < 0)
		if (errno != EINTR)
			return errno == ELOOP || errno == EISDIR || errno == ENXIO || errno == ENODEV ? SHM_EINSECURE : -errno;
	return fd;
}

/* Says why a named file must not be attached: somebody else may have laid it
 * there, or may write to it beyond what mode grants. */
static inline int shm_trusted_(int fd, mode_t mode)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return -errno;
	if (S_ISREG(st.st_mode) && st.st_nlink == 0)
		return -ENOENT; /* removed meanwhile */
	if (!S_ISREG(st.st_mode) || st.st_nlink > 1 || (st.st_uid != geteuid() && st.st_uid != 0 && (mode & 077) == 0) || (st.st_mode & 0222 & ~mode) != 0)
		return SHM_EINSECURE;
	return 0;
}

/* Opens the segment's file anew: a description of our own. */
SHM_SLOW_ int shm_reopen_(const shm_segment *s)
{
	char link[40];
	struct stat have, want;
	snprintf(link, sizeof link, "/proc/self/fd/%d", s->fd);
	int fd = open(link, O_RDWR | O_CLOEXEC);
	if (fd >= 0 || s->path == NULL)
		return fd >= 0 ? fd : -errno;
	int err = -errno; /* no /proc, or it refuses: by name, if that leads to the same file */
	if ((fd = shm_open_existing_(s->path, false)) < 0)
		return err;
	if (fstat(fd, &have) == 0 && fstat(s->fd, &want) == 0 && have.st_dev == want.st_dev && have.st_ino == want.st_ino)
		return fd;
	close(fd);
	return err;
}

/* 40 bits that tell this boot from others; 0 where the system does not say. */
SHM_SLOW_ uint64_t shm_boot_id_(void)
{
	unsigned char b[128];
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, b, sizeof b);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	for (ssize_t i = 0; i < n; i++)
		h = (h ^ b[i]) * UINT64_C(1099511628211);
	return (h & SHM_SEALED_MAX_) | 1;
}

/* ---- Id and lease ---- */

/* Gives up what a fork has left here: it closes, and never unlocks, which would
 * drop the living parent's lease. The home's mutex is held, or there is one
 * thread. */
static inline void shm_forget_(shm_segment *s)
{
	if (s->ctl >= 0)
		close(s->ctl);
	s->ctl = -1;
	s->pid = getpid();
	pthread_mutex_init(&s->gate, NULL); /* a thread that is not here may have held it */
	__atomic_store_n(&s->id, 0, __ATOMIC_RELAXED);
}

static inline void shm_before_fork_(void) { pthread_mutex_lock(&shm_home_.mutex); }
static inline void shm_in_parent_(void) { pthread_mutex_unlock(&shm_home_.mutex); }
static inline void shm_in_child_(void)
{
	for (shm_segment *s = shm_home_.segments; s != NULL; s = s->next)
		shm_forget_(s);
	pthread_mutex_init(&shm_home_.mutex, NULL);
}
static inline void shm_after_fork(void) { shm_in_child_(); }

static inline int shm_control_(shm_segment *s)
{
	if (s->ctl < 0) {
		int fd = shm_reopen_(s);
		if (fd < 0)
			return fd;
		s->ctl = fd;
	}
	return 0;
}

/* Takes an id that nobody had before, and its lease. It passes over a few whose
 * place in the table belongs to a living process. */
SHM_SLOW_ int shm_new_id_(shm_segment *s, uint32_t *id)
{
	const int polite = 32;
	struct flock l;
	for (int tries = 0;; tries++) {
		uint64_t n, w;
		if (!shm_unseal_(&s->header->next_id, &n) || n == 0)
			return SHM_EFORMAT;
		if (n > SHM_OWNER_)
			return SHM_EFULL;
		w = shm_seal_(n);
		if (!__atomic_compare_exchange_n(&s->header->next_id, &w, shm_seal_(n + 1), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			tries--;
			continue;
		}
		*id = (uint32_t)n;
		uint32_t other = __atomic_load_n(&shm_entry_of_(s, *id)->id, __ATOMIC_SEQ_CST) & SHM_OWNER_;
		if (tries < polite && other != 0 && shm_leased_(s->ctl, other) != 0)
			continue;
		int err = shm_file_lock_(s->ctl, F_OFD_SETLK, F_WRLCK, SHM_LEASE_BASE_ + *id, 1, &l);
		if (err == 0 || (err != -EAGAIN && err != -EACCES))
			return err;
		if (tries > 2 * polite) /* a peer that holds leases it has no right to */
			return SHM_EFORMAT;
	}
}

/* Gives this process an id and its lease. Order: id, lease, table, first use. */
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
 * Invariants: the word is changed only by compare-and-swap; an owner's id is put
 * there by its own process and taken away by it, or by a takeover after its
 * death. Whoever has slept in the kernel leaves W wherever it goes next: who
 * woke it may have cleared the bit, and woken nobody else.
 */

/* One of all processes and threads looks at the owner's lease, if the last look
 * is long enough ago. A stamp from the future is as good as an old one. */
static inline bool shm_may_probe_(const shm_segment *s, struct shm_cell_ *c)
{
	int64_t last = __atomic_load_n(&c->probed, __ATOMIC_SEQ_CST), now = shm_now_();
	return now >= __atomic_load_n(&s->blind_until, __ATOMIC_RELAXED) && (uint64_t)now - (uint64_t)last >= (uint64_t)SHM_PROBE_NS_ &&
		__atomic_compare_exchange_n(&c->probed, &last, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Replaces a dead owner: from the very word that was seen before its lease was
 * found free, so that nobody who has got it since is robbed. W is set, since
 * nobody knows who sleeps. *dead is an owner known to be dead, which is for ever. */
SHM_SLOW_ bool shm_take_over_(shm_segment *s, struct shm_cell_ *c, uint32_t w, uint32_t *dead)
{
	uint32_t owner = w & SHM_OWNER_;
	if (owner != *dead) {
		if (!shm_may_probe_(s, c))
			return false;
		int leased = shm_leased_(s->ctl, owner);
		if (leased < 0) /* an error means alive */
			__atomic_store_n(&s->blind_until, shm_now_() + SHM_BLIND_NS_, __ATOMIC_RELAXED);
		if (leased != 0)
			return false;
		*dead = owner;
	}
	if (!shm_cas_(&c->word, w, s->id | SHM_W_))
		return false;
	__atomic_store_n(&c->abandoned, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&c->takeovers, 1, __ATOMIC_SEQ_CST);
	shm_wake_all_(&c->change); /* the dead one may have changed something and told nobody */
	return true;
}

/* Wakes one of the kernel's sleepers. Where nobody sleeps, a reservation is for
 * nobody, unless somebody sleeps in Go for lack of a place in the kernel. One may
 * have come meanwhile, and sleep on the reservation. */
SHM_SLOW_ void shm_wake_one_(struct shm_cell_ *c, uint32_t starve)
{
	if (shm_futex_wake_(&c->word, 1) == 0 && starve != SHM_STARVE_GO_ && shm_cas_(&c->word, SHM_W_, 0))
		shm_futex_wake_(&c->word, 1);
}

SHM_SLOW_ int shm_lock_slow_(const shm_value *v, int64_t until)
{
	shm_segment *s = v->segment;
	struct shm_cell_ *c = v->cell;
	if (c == NULL)
		return -EINVAL;
	int err = shm_ready_(s);
	if (err != 0)
		return err;
	uint32_t id = s->id, dead = 0;
	int64_t since = shm_now_();
	bool slept = false;
	for (;;) {
		uint32_t w = __atomic_load_n(&c->word, __ATOMIC_SEQ_CST), owner = w & SHM_OWNER_;
		if (owner == 0 && (w == 0 || slept)) { /* a reservation is for who has slept */
			if (shm_cas_(&c->word, w, id | (w & SHM_W_) | (slept ? SHM_W_ : 0)))
				return 0;
			continue;
		}
		if (owner != 0 && owner != id && shm_take_over_(s, c, w, &dead))
			return 0;
		bool moved = false;
		for (int i = 0; i < (owner == id ? 30 : 4) && !moved; i++)
			moved = __atomic_load_n(&c->word, __ATOMIC_SEQ_CST) != w;
		if (until != INT64_MAX && shm_now_() >= until) {
			if (slept) /* whatever woke this thread, it passes on */
				shm_wake_one_(c, __atomic_load_n(&c->starve, __ATOMIC_SEQ_CST));
			return -ETIMEDOUT;
		}
		if (moved)
			continue;
		if ((w & SHM_W_) == 0) {
			if (!shm_cas_(&c->word, w, w | SHM_W_))
				continue;
			w |= SHM_W_;
		}
		slept = true;
		int64_t now = shm_now_();
		bool patient = now - since >= SHM_SHORT_NS_;
		if (patient)
			__atomic_store_n(&c->starve, SHM_STARVE_KERNEL_, __ATOMIC_SEQ_CST);
		shm_futex_wait_(&c->word, w, UINT32_C(1) << id % 32, shm_sooner_(until, now + (patient ? SHM_SLEEP_NS_ : SHM_SHORT_NS_)));
	}
}

SHM_SLOW_ int shm_trylock_slow_(const shm_value *v)
{
	shm_segment *s = v->segment;
	struct shm_cell_ *c = v->cell;
	if (c == NULL)
		return -EINVAL;
	int err = shm_ready_(s);
	if (err != 0)
		return err;
	uint32_t w = __atomic_load_n(&c->word, __ATOMIC_SEQ_CST), owner = w & SHM_OWNER_, dead = 0;
	bool got = false;
	if (w == 0)
		got = shm_cas_(&c->word, 0, s->id);
	else if (owner == 0) /* a reservation that nobody came for */
		got = shm_may_probe_(s, c) && shm_cas_(&c->word, w, s->id | SHM_W_);
	else if (owner != s->id)
		got = shm_take_over_(s, c, w, &dead);
	return got ? 0 : -EBUSY;
}

/* Releases a word that has W, or refuses one that is not ours. */
SHM_SLOW_ int shm_unlock_slow_(const shm_value *v)
{
	struct shm_cell_ *c = v->cell;
	uint32_t id = v->segment->id, starve = 0, w, free_word;
	if (c == NULL)
		return -EINVAL;
	if (v->segment->pid != getpid())
		id = 0; /* of the parent, which holds what this process does not */
	do {
		w = __atomic_load_n(&c->word, __ATOMIC_SEQ_CST);
		if (id == 0 || (w & SHM_OWNER_) != id)
			return -EPERM;
		free_word = 0;
		if ((w & SHM_W_) != 0) {
			/* Cleared by who reserves, not by who takes: then others may starve still. */
			uint32_t asked = __atomic_exchange_n(&c->starve, 0, __ATOMIC_SEQ_CST);
			starve = asked > starve ? asked : starve;
			if (starve != 0)
				free_word = SHM_W_;
		}
	} while (!shm_cas_(&c->word, w, free_word));
	if ((w & SHM_W_) != 0)
		shm_wake_one_(c, starve);
	shm_changed_(&c->change);
	return 0;
}

SHM_USE_ static inline int shm_lock(const shm_value *v)
{
	uint32_t id = __atomic_load_n(&v->segment->id, __ATOMIC_RELAXED);
	if (SHM_LIKELY_(id != 0 && v->cell != NULL && shm_cas_(&v->cell->word, 0, id)))
		return 0;
	return shm_lock_slow_(v, INT64_MAX);
}

SHM_USE_ static inline int shm_lock_for(const shm_value *v, int64_t ns)
{
	uint32_t id = __atomic_load_n(&v->segment->id, __ATOMIC_RELAXED);
	if (SHM_LIKELY_(id != 0 && v->cell != NULL && shm_cas_(&v->cell->word, 0, id)))
		return 0;
	return shm_lock_slow_(v, shm_until_(ns));
}

SHM_USE_ static inline int shm_trylock(const shm_value *v)
{
	uint32_t id = __atomic_load_n(&v->segment->id, __ATOMIC_RELAXED);
	if (SHM_LIKELY_(id != 0 && v->cell != NULL && shm_cas_(&v->cell->word, 0, id)))
		return 0;
	return shm_trylock_slow_(v);
}

static inline int shm_unlock(const shm_value *v)
{
	uint32_t id = __atomic_load_n(&v->segment->id, __ATOMIC_RELAXED);
	if (!SHM_LIKELY_(id != 0 && v->cell != NULL && shm_cas_(&v->cell->word, id, 0)))
		return shm_unlock_slow_(v);
	shm_changed_(&v->cell->change);
	return 0;
}

static inline bool shm_abandoned(const shm_value *v)
{
	return v->cell != NULL && __atomic_load_n(&v->cell->abandoned, __ATOMIC_SEQ_CST) != 0;
}

/* Whether this process holds the lock. */
static inline bool shm_held_(const shm_value *v)
{
	uint32_t id = v->segment->id;
	return v->cell != NULL && id != 0 && (__atomic_load_n(&v->cell->word, __ATOMIC_SEQ_CST) & SHM_OWNER_) == id;
}

static inline void shm_consistent(const shm_value *v)
{
	if (shm_held_(v))
		__atomic_store_n(&v->cell->abandoned, 0, __ATOMIC_SEQ_CST);
}

/* ---- The directory ---- */

/* Validates the records that were published since the last time, each once. */
SHM_SLOW_ int shm_extend_(shm_segment *s, uint64_t *used)
{
	struct shm_record_ r;
	uint64_t off = __atomic_load_n(&s->seen, __ATOMIC_ACQUIRE);
	if (!shm_unseal_bytes_(&s->header->used, used) || *used < off)
		return SHM_EFORMAT;
	int err = shm_reach_(s, *used);
	for (; err == 0 && off < *used; off += r.length)
		if ((err = shm_decode_(s, off, *used, &r)) == 0)
			free(r.meta);
	if (err == 0)
		__atomic_store_n(&s->seen, *used, __ATOMIC_RELEASE);
	return err;
}

static inline bool shm_same_format_(const struct shm_shape_ *a, const struct shm_shape_ *b)
{
	return a->format_length == b->format_length && memcmp(a->format, b->format, a->format_length) == 0;
}

static inline bool shm_outgrows_(const struct shm_shape_ *want, const struct shm_record_ *r)
{
	return shm_grows_(want) && shm_grows_(&r->shape) && !shm_same_format_(want, &r->shape) && want->size <= r->capacity &&
		shm_extends_(want->format, want->format_length, r->shape.format, r->shape.format_length);
}

/* Finds the record of a name, as it has grown: r->meta, which is to be freed, is
 * then of the last growth. -ENOENT: there is none. */
SHM_SLOW_ int shm_search_(shm_segment *s, const char *name, struct shm_record_ *r)
{
	size_t n = strlen(name);
	uint64_t used, off = SHM_HEADER_;
	struct shm_fixed_ f;
	bool found = false;
	r->meta = NULL;
	int err = shm_extend_(s, &used);
	for (; err == 0 && off < used; off += f.size) {
		struct shm_record_ next;
		if (!shm_fixed_part_(s, off, used, &f)) { /* again: a peer may have broken it since */
			err = SHM_EFORMAT;
		} else if (f.name == n && memcmp(s->mem + off + SHM_RECORD_FIXED_, name, n) == 0 && (err = shm_decode_(s, off, off + f.size, &next)) == 0) {
			bool growth = next.shape.kind == SHM_GROWTH_;
			next.shape.kind = growth ? (uint8_t)SHM_SINGLE : next.shape.kind;
			if (growth != found || (found && (!shm_outgrows_(&next.shape, r) || next.capacity != r->capacity))) {
				free(next.meta);
				err = SHM_EFORMAT;
			} else if (found) {
				free(r->meta);
				r->meta = next.meta;
				r->shape = next.shape;
			} else {
				*r = next;
				found = true;
			}
		}
	}
	if (err != 0)
		free(r->meta);
	return err != 0 ? err : found ? 0 : -ENOENT;
}

static inline void shm_handle_(shm_segment *s, const struct shm_record_ *r, shm_value *v)
{
	const struct shm_shape_ *h = &r->shape;
	memset(v, 0, sizeof *v);
	v->segment = s;
	v->cell = shm_has_lock_(h) ? (struct shm_cell_ *)(void *)(s->mem + r->data) : NULL;
	v->data = h->kind == SHM_MUTEX ? NULL : s->mem + r->data + shm_elements_(h);
	v->size = h->size;
	v->count = (uint64_t)h->count;
	v->capacity = r->capacity;
	v->record = r->offset;
	v->access = h->access;
	v->kind = h->kind;
	v->code = h->format_length == 2 ? h->format[1] : 0;
	if (h->kind != SHM_MUTEX)
		shm_parse_(h->format, h->format_length, false, &v->size, &v->end);
}

SHM_USE_ SHM_SLOW_ int shm_find(shm_segment *s, const char *name, shm_value *v)
{
	struct shm_record_ r;
	memset(v, 0, sizeof *v);
	int err = shm_search_(s, name, &r);
	if (err != 0)
		return err;
	shm_handle_(s, &r, v);
	free(r.meta);
	return 0;
}

/* Compares what is there with what is wanted. */
static inline bool shm_match_(const struct shm_shape_ *want, const struct shm_record_ *r)
{
	const struct shm_shape_ *h = &r->shape;
	if (want->access != h->access || want->kind != h->kind || (want->count >= 0 && want->count != h->count))
		return false;
	return shm_same_format_(want, h) || shm_outgrows_(want, r) ||
		(shm_grows_(h) && shm_extends_(h->format, h->format_length, want->format, want->format_length));
}

/* Makes sure that the first end bytes are allocated. */
SHM_SLOW_ int shm_grow_(shm_segment *s, uint64_t end)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), allocated;
	if (!shm_unseal_bytes_(&s->header->allocated, &allocated))
		return SHM_EFORMAT;
	if (end > s->length)
		return SHM_EFULL;
	if (end > allocated) {
		/* An eighth more than needed; just what is needed where there is no more. */
		uint64_t exact = shm_round_(end, page), extra = shm_max_(end / 8, SHM_FIRST_);
		uint64_t target = shm_min_((end + extra) / page * page, s->length / page * page);
		target = shm_max_(target, exact);
		int err = shm_reserve_(s->fd, allocated, target);
		if (err != 0 && target > exact)
			err = shm_reserve_(s->fd, allocated, target = exact);
		if (err != 0)
			return err;
		shm_store_sealed_(&s->header->allocated, target / SHM_LINE_);
	}
	return shm_reach_(s, end);
}

/* Appends a record at off, which is the end of all; the allocation lock is held.
 * Whoever dies inside leaves nothing: the store to used publishes, and what was
 * written above it is cleared by the next one to come. */
SHM_SLOW_ int shm_append_(shm_segment *s, const struct shm_shape_ *want, uint64_t capacity, const void *init, uint64_t off)
{
	struct shm_fixed_ f;
	uint64_t dirty, n, last;
	memset(&f, 0, sizeof f);
	f.meta = (uint32_t)shm_round_(SHM_RECORD_FIXED_ + want->name_length + want->format_length, SHM_LINE_);
	f.size = f.meta + shm_data_size_(want, capacity);
	f.count = (uint64_t)want->count;
	f.element = want->size;
	f.capacity = capacity;
	f.access = want->access;
	f.kind = want->kind;
	f.name = (uint16_t)want->name_length;
	f.format = (uint32_t)want->format_length;
	f.pid = (uint32_t)getpid();
	memcpy(f.program, program_invocation_short_name, strnlen(program_invocation_short_name, sizeof f.program));
	unsigned char *meta = (unsigned char *)calloc(1, f.meta), *at = s->mem + off;
	if (meta == NULL)
		return -ENOMEM;
	memcpy(meta, &f, sizeof f);
	memcpy(meta + sizeof f, want->name, want->name_length);
	if (want->format_length > 0)
		memcpy(meta + sizeof f + want->name_length, want->format, want->format_length);
	f.check = shm_check_record_(meta, f.meta);
	memcpy(meta + SHM_RECORD_CHECK_, &f.check, 4);
	int err = shm_grow_(s, off + f.size);
	if (err == 0 && !shm_unseal_bytes_(&s->header->dirty, &dirty))
		err = SHM_EFORMAT;
	if (err == 0 && (err = shm_reach_(s, dirty)) == 0) {
		if (off < dirty)
			memset(at, 0, dirty - off);
		shm_store_sealed_(&s->header->dirty, (off + (init != NULL ? f.size : f.meta)) / SHM_LINE_);
		memcpy(at, meta, f.meta);
		if (init != NULL && shm_slot_size_(want, &n)) {
			if (shm_grows_(want)) { /* tail padding stays zero: a longer type may have a field there */
				shm_parse_(want->format, want->format_length, true, &last, &n);
				((struct shm_cell_ *)(void *)(at + f.meta))->extent = (uint32_t)want->size;
			}
			memcpy(at + f.meta + shm_elements_(want), init, n);
		}
		shm_store_sealed_(&s->header->used, (off + f.size) / SHM_LINE_); /* publishes */
		shm_changed_(&s->header->names);
	}
	free(meta);
	return err;
}

/* Makes a value, or appends to a struct's fields, unless somebody was first. */
SHM_SLOW_ int shm_create_(shm_segment *s, const struct shm_shape_ *want, const void *init, struct shm_record_ *r)
{
	struct shm_shape_ growth;
	struct flock l;
	uint64_t capacity, used;
	pthread_mutex_lock(&s->home->mutex);
	if (s->pid != getpid())
		shm_forget_(s);
	int err = shm_control_(s);
	pthread_mutex_unlock(&s->home->mutex);
	if (err != 0)
		return err;
	pthread_mutex_lock(&s->gate);
	if ((err = shm_file_lock_(s->ctl, F_OFD_SETLKW, F_WRLCK, 0, 1, &l)) == 0) {
		err = shm_search_(s, want->name, r);
		bool absent = err == -ENOENT, outgrows = err == 0 && shm_outgrows_(want, r);
		if (absent || outgrows) {
			shm_slot_size_(want, &capacity);
			if (absent && shm_grows_(want))
				capacity = shm_round_(capacity + capacity / 2, SHM_LINE_); /* room for later programs' fields */
			if (outgrows) {
				growth = *want;
				growth.kind = SHM_GROWTH_;
				want = &growth;
				init = NULL;
				capacity = r->capacity;
				free(r->meta);
			}
			if ((err = shm_extend_(s, &used)) == 0 && (err = shm_append_(s, want, capacity, init, used)) == 0)
				err = shm_search_(s, want->name, r);
		}
		shm_file_lock_(s->ctl, F_OFD_SETLK, F_UNLCK, 0, 1, &l); /* cannot fail */
	}
	pthread_mutex_unlock(&s->gate);
	return err;
}

/* Finds the value that is asked for, or makes it. */
SHM_SLOW_ int shm_place_(shm_segment *s, const char *name, uint8_t access, uint8_t kind, const char *format, int64_t count, const void *init, shm_value *v)
{
	struct shm_record_ r;
	struct shm_shape_ want;
	uint64_t end = 0, n;
	memset(v, 0, sizeof *v);
	memset(&want, 0, sizeof want);
	want.name = name;
	want.name_length = strlen(name);
	want.format = format;
	want.format_length = strlen(format);
	want.count = count;
	want.access = access;
	want.kind = kind;
	if (kind != SHM_MUTEX && !shm_parse_(format, want.format_length, true, &want.size, &end))
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
		if (!shm_valid_texts_(&want, 0, 0) || !shm_slot_size_(&want, &n) || (access == SHM_LOCKED && kind == SHM_SINGLE && want.size > SHM_LINE_ - SHM_NUMBER_))
			return -EINVAL;
		r.meta = NULL;
	} else if (err != 0) {
		return err;
	}
	/* Before the value is made: who cannot lock leaves none behind. */
	err = shm_has_lock_(&want) && !s->read_only && __atomic_load_n(&s->id, __ATOMIC_RELAXED) == 0 ? shm_ready_(s) : 0;
	if (err == 0 && (r.meta == NULL || shm_outgrows_(&want, &r)) && !s->read_only) {
		free(r.meta);
		if ((err = shm_create_(s, &want, init, &r)) != 0)
			return err;
		if (!shm_match_(&want, &r))
			err = SHM_ELAYOUT;
	}
	if (err == 0 || err == SHM_ELAYOUT)
		shm_handle_(s, &r, v);
	if (err == 0 && shm_grows_(&want)) {
		/* As declared here: what is behind belongs to newer programs. */
		v->size = want.size;
		v->end = end;
		uint32_t old = __atomic_load_n(&v->cell->extent, __ATOMIC_SEQ_CST);
		while (!s->read_only && old < want.size && !shm_cas_(&v->cell->extent, old, (uint32_t)want.size))
			old = __atomic_load_n(&v->cell->extent, __ATOMIC_SEQ_CST);
	}
	free(r.meta);
	return err;
}

/* Turns a constructor's count into a shape's; 0 is as found. */
static inline int64_t shm_as_found_(uint64_t n) { return n == 0 ? -1 : n > SHM_MAX_SEGMENT_ ? (int64_t)SHM_MAX_SEGMENT_ + 1 : (int64_t)n; }

/* Whether one store commits a number of the format. */
static inline bool shm_word_(const char *format)
{
	return format[0] == SHM_ORDER[0] && format[1] != 0 && strcmp(format + 1, "Zd") != 0 && format[1] != '?' && format[1] != 'c';
}

SHM_USE_ static inline int shm_new_raw(shm_segment *s, const char *name, const char *format, const void *init, shm_value *v)
{
	return shm_place_(s, name, SHM_RAW, SHM_SINGLE, format, 0, init, v);
}

SHM_USE_ static inline int shm_new_raw_array(shm_segment *s, const char *name, const char *format, uint64_t count, shm_value *v)
{
	return shm_place_(s, name, SHM_RAW, SHM_ARRAY, format, shm_as_found_(count), NULL, v);
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
	return !shm_word_(format) ? -EINVAL : shm_place_(s, name, SHM_LOCKED, SHM_SINGLE, format, 0, init, v);
}

SHM_USE_ static inline int shm_new_array(shm_segment *s, const char *name, const char *format, uint64_t count, shm_value *v)
{
	return !shm_word_(format) ? -EINVAL : shm_place_(s, name, SHM_LOCKED, SHM_ARRAY, format, shm_as_found_(count), NULL, v);
}

SHM_USE_ static inline int shm_new_struct(shm_segment *s, const char *name, const char *format, size_t size, const void *init, shm_value *v)
{
	uint64_t have, end;
	if (!shm_parse_(format, strlen(format), true, &have, &end) || have != size || size > UINT32_MAX)
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

/* Reads the value's record anew, as it has grown. */
static inline int shm_record_of_(const shm_value *v, struct shm_record_ *r)
{
	char name[SHM_NAME_MAX_ + 1];
	uint64_t used;
	int err = shm_extend_(v->segment, &used);
	if (err != 0 || (err = shm_decode_(v->segment, v->record, used, r)) != 0)
		return err;
	memcpy(name, r->shape.name, r->shape.name_length);
	name[r->shape.name_length] = 0;
	free(r->meta);
	return shm_search_(v->segment, name, r);
}

SHM_SLOW_ int shm_describe(const shm_value *v, char *buffer, size_t n)
{
	static const char *const access[] = {"", "raw", "atomic", "locked", "published"};
	static const char *const kind[] = {"", "single", "array", "chars", "mutex", ""};
	struct shm_record_ r;
	int err = shm_record_of_(v, &r);
	if (err != 0)
		return err;
	int length = snprintf(buffer, n, "%s %s of %.*s, %llu bytes each, count %lld, made by %s (pid %u)", access[r.shape.access], kind[r.shape.kind],
		(int)r.shape.format_length, r.shape.format, (unsigned long long)r.shape.size, (long long)r.shape.count, r.program, (unsigned)r.pid);
	free(r.meta);
	return length;
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
	if (v->data == NULL || v->access == SHM_PUBLISHED || v->size != size || shm_is(v, (enum shm_access)v->access, format) != 0)
		return NULL;
	return v->data;
}

/* ---- Waiting for a change ---- */

/* Sleeps until ok. It says that it awaits a change before it looks, and looks
 * again after time-outs that grow: who makes a change may die before it wakes. */
SHM_SLOW_ int shm_await_(shm_segment *s, uint32_t *change, int (*ok)(void *), void *arg, int64_t ns)
{
	int64_t until = shm_until_(ns), pause = SHM_SHORT_NS_, longest = s->read_only ? SHM_RO_LOOK_NS_ : SHM_LOOK_NS_;
	for (;;) {
		uint32_t w = __atomic_load_n(change, __ATOMIC_SEQ_CST);
		if (!s->read_only && (w & SHM_AWAITED_) == 0) {
			if (!shm_cas_(change, w, w | SHM_AWAITED_))
				continue;
			w |= SHM_AWAITED_;
		}
		int seen = ok(arg);
		int64_t now = shm_now_();
		if (seen != 0)
			return seen > 0 ? 0 : seen;
		if (now >= until)
			return -ETIMEDOUT;
		shm_futex_wait_(change, w, ~UINT32_C(0), shm_sooner_(until, now + pause));
		pause = __atomic_load_n(change, __ATOMIC_SEQ_CST) == w ? shm_sooner_(2 * pause, longest) : SHM_SHORT_NS_;
	}
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
	return v->cell == NULL ? -EINVAL : shm_await_(v->segment, &v->cell->change, shm_is_ok_, &a, ns);
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
	return shm_await_(s, &s->header->names, shm_is_there_, &a, ns);
}

/* ---- Numbers ---- */

static inline uint64_t shm_length_(const shm_value *v) { return v->kind == SHM_SINGLE ? 1 : v->count; }

#define SHM_NUMBER_OF_(T, type, letter, ADD)                                                        \
	static inline type *shm_ptr_##T(const shm_value *v, size_t *n)                              \
	{                                                                                           \
		bool ok = v->code == letter && v->access != SHM_PUBLISHED;                          \
		if (n != NULL)                                                                      \
			*n = ok ? (size_t)shm_length_(v) : 0;                                       \
		return ok ? (type *)(void *)v->data : NULL;                                         \
	}                                                                                           \
	static inline int shm_locked_##T##_(const shm_value *v, uint64_t i, type **p)               \
	{                                                                                           \
		if (v->code != letter || v->access != SHM_LOCKED)                                   \
			return SHM_ELAYOUT;                                                         \
		*p = (type *)(void *)v->data + i;                                                   \
		return i < shm_length_(v) ? 0 : -EINVAL;                                            \
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
	SHM_USE_ static inline int shm_load_##T(const shm_value *v, type *x) { return shm_load_##T##_at(v, 0, x); } \
	SHM_USE_ static inline int shm_store_##T(const shm_value *v, type x) { return shm_store_##T##_at(v, 0, x); } \
	SHM_USE_ static inline int shm_add_##T(const shm_value *v, type d, type *sum) { return shm_add_##T##_at(v, 0, d, sum); }

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
 * Invariant: the committed slot is never written. A writer, under the lock, fills
 * the other one and publishes it by one store of the counter, whose low bit names
 * the slot. A reader takes a copy made between two loads of the same count: all
 * of it, since the low bit is the same again two commits later.
 *
 * The copies are made of relaxed atomic words, so that the fences order them: a
 * reader that sees a word of the fill after commit n sees commit n, too. Slots
 * start on a cache line and are padded to one.
 */

static inline uint64_t *shm_slot_(const shm_value *v, uint64_t commit)
{
	return (uint64_t *)(void *)(v->data + (commit & 1) * shm_round_(v->capacity, SHM_LINE_));
}

/* Copies the first n bytes of the slot that commit names. */
static inline void shm_copy_out_(const shm_value *v, uint64_t commit, void *x, size_t n)
{
	const uint64_t *slot = shm_slot_(v, commit);
	for (size_t i = 0; i < n; i += 8) {
		uint64_t w = __atomic_load_n(slot + i / 8, __ATOMIC_RELAXED);
		memcpy((char *)x + i, &w, n - i < 8 ? n - i : 8);
	}
}

/* Copies the first n bytes of what was committed last. It never waits long for the
 * lock: a holder that has stopped, or that waits for this very reader, commits no
 * more, so that the next copy is good. */
SHM_SLOW_ int shm_snapshot_(const shm_value *v, void *x, size_t n)
{
	for (int tries = 1;; tries++) {
		uint64_t commit = __atomic_load_n(&v->cell->commit, __ATOMIC_ACQUIRE);
		shm_copy_out_(v, commit, x, n);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&v->cell->commit, __ATOMIC_RELAXED) == commit)
			return 0;
		if (tries % 64 != 0)
			continue;
		if (shm_lock_for(v, SHM_READ_NS_) != 0) { /* or it cannot lock at all */
			sched_yield();
			continue;
		}
		shm_copy_out_(v, __atomic_load_n(&v->cell->commit, __ATOMIC_RELAXED), x, n);
		return shm_unlock(v);
	}
}

/* Commits x, end bytes of it, and what a newer program may keep behind them. */
SHM_SLOW_ void shm_fill_(const shm_value *v, const void *x, uint64_t end)
{
	uint64_t commit = __atomic_load_n(&v->cell->commit, __ATOMIC_RELAXED);
	uint64_t limit = shm_min_(__atomic_load_n(&v->cell->extent, __ATOMIC_SEQ_CST), v->capacity);
	uint64_t *idle = shm_slot_(v, commit + 1);
	const uint64_t *old = shm_slot_(v, commit);
	__atomic_thread_fence(__ATOMIC_RELEASE); /* behind the last commit, also one in this hold */
	limit = shm_max_(limit, end);
	for (uint64_t i = 0; i < limit; i += 8) {
		uint64_t w = i + 8 <= end ? 0 : __atomic_load_n(old + i / 8, __ATOMIC_RELAXED);
		if (i < end)
			memcpy(&w, (const char *)x + i, shm_min_(end - i, 8));
		__atomic_store_n(idle + i / 8, w, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&v->cell->commit, commit + 1, __ATOMIC_RELEASE);
}

static inline bool shm_published_(const shm_value *v, size_t size)
{
	return v->access == SHM_PUBLISHED && v->kind == SHM_SINGLE && v->size == size;
}

SHM_USE_ static inline int shm_read(const shm_value *v, void *x, size_t size)
{
	return shm_published_(v, size) ? shm_snapshot_(v, x, size) : -EINVAL;
}

SHM_USE_ static inline int shm_commit(const shm_value *v, const void *x, size_t size)
{
	if (!shm_published_(v, size))
		return -EINVAL;
	if (!shm_held_(v))
		return -EPERM;
	shm_fill_(v, x, v->end);
	return 0;
}

SHM_USE_ static inline int shm_publish(const shm_value *v, const void *x, size_t size)
{
	int err = shm_published_(v, size) ? shm_lock(v) : -EINVAL;
	if (err != 0)
		return err;
	shm_fill_(v, x, v->end);
	return shm_unlock(v);
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

SHM_USE_ static inline int shm_publish_text(const shm_value *v, const char *text)
{
	size_t n = strlen(text);
	if (v->access != SHM_PUBLISHED || v->kind != SHM_CHARS)
		return -EINVAL;
	if (n > v->count)
		return SHM_ETOOLONG;
	int err = shm_lock(v);
	if (err != 0)
		return err;
	shm_fill_(v, text, n < v->capacity ? n + 1 : n); /* with its NUL, if there is room */
	return shm_unlock(v);
}

/* ---- Segments ---- */

/* Writes the first bytes of a new segment; the table behind them starts as zeros. */
static inline void shm_new_header_(struct shm_header_ *h, uint64_t max_size)
{
	memset(h, 0, sizeof *h);
	memcpy(h->magic, SHM_MAGIC_, sizeof h->magic);
	h->version = 1;
	h->order = 0x01020304;
	h->size = SHM_HEADER_;
	h->table_len = SHM_TABLE_LEN_;
	h->max_size = max_size;
	h->check = shm_crc_(0, h, offsetof(struct shm_header_, check));
	h->allocated = shm_seal_(SHM_FIRST_ / SHM_LINE_);
	h->used = h->dirty = shm_seal_(SHM_HEADER_ / SHM_LINE_);
	h->next_id = shm_seal_(1);
	h->boot = shm_seal_(shm_boot_id_());
}

/* Validates a copy of a segment's first bytes against the size of its file. */
static inline int shm_check_header_(const struct shm_header_ *h, uint64_t file_size)
{
	const unsigned char *b = (const unsigned char *)h;
	uint64_t allocated, used, dirty, other;
	if (memcmp(h->magic, SHM_MAGIC_, sizeof h->magic) != 0)
		return SHM_EFORMAT;
	if (h->order == 0x04030201)
		return SHM_EVERSION;
	if (h->order != 0x01020304 || shm_crc_(0, h, offsetof(struct shm_header_, check)) != h->check)
		return SHM_EFORMAT;
	if (h->version != 1)
		return SHM_EVERSION;
	for (size_t i = offsetof(struct shm_header_, zero); i < sizeof *h; i++)
		if (b[i] != 0 && (i < offsetof(struct shm_header_, allocated) || i >= offsetof(struct shm_header_, zero2)))
			return SHM_EFORMAT;
	bool ok = h->size == SHM_HEADER_ && h->table_len == SHM_TABLE_LEN_ &&
		h->max_size <= SHM_MAX_SEGMENT_ && h->max_size >= SHM_HEADER_ && h->max_size % SHM_LINE_ == 0 &&
		shm_unseal_bytes_(&h->allocated, &allocated) && shm_unseal_bytes_(&h->used, &used) && shm_unseal_bytes_(&h->dirty, &dirty) &&
		shm_unseal_(&h->next_id, &other) && shm_unseal_(&h->boot, &other) &&
		allocated <= h->max_size && allocated <= file_size && used <= allocated && used >= SHM_HEADER_ && dirty <= allocated;
	return ok ? 0 : SHM_EFORMAT;
}

/* Reads the header until it is valid, or stays invalid: a copy made while
 * another process adds values may have an old word beside a new one. */
static inline int shm_read_header_(int fd, uint64_t *file_size, uint64_t *max_size)
{
	struct shm_header_ now, before;
	struct stat st;
	int err = SHM_EFORMAT;
	memset(&before, 0, sizeof before);
	for (int tries = 0; tries < 100; tries++) {
		if (fstat(fd, &st) != 0)
			return -errno;
		if (!S_ISREG(st.st_mode))
			return SHM_EINSECURE;
		ssize_t n = pread(fd, &now, sizeof now, 0);
		if (n < 0 && errno == EINTR)
			continue;
		/* Again, and the size after the copy: the file only grows. */
		if (n < 0 || fstat(fd, &st) != 0)
			return -errno;
		if (n < (ssize_t)sizeof now)
			return SHM_EFORMAT;
		*file_size = (uint64_t)st.st_size;
		*max_size = now.max_size;
		if ((err = shm_check_header_(&now, *file_size)) == 0 || memcmp(&now, &before, sizeof now) == 0)
			return err;
		before = now;
	}
	return err;
}

/* Brings the locks of a file that outlived a reboot in order: no owner of then
 * lives. It leaves them alone while anybody holds a lease, which then is on
 * another host that shares the file. */
SHM_SLOW_ int shm_recover_boot_(shm_segment *s)
{
	uint64_t mine = shm_boot_id_(), boot, used, n;
	struct shm_record_ r;
	struct flock l;
	if (mine == 0 || (shm_unseal_(&s->header->boot, &boot) && boot == mine))
		return 0;
	int err = shm_control_(s);
	if (err != 0 || (err = shm_file_lock_(s->ctl, F_OFD_SETLKW, F_WRLCK, 0, 1, &l)) != 0)
		return err;
	if (!(shm_unseal_(&s->header->boot, &boot) && boot == mine) &&
	    shm_file_lock_(s->ctl, F_OFD_GETLK, F_RDLCK, SHM_LEASE_BASE_, (int64_t)SHM_OWNER_ + 1, &l) == 0 && l.l_type == F_UNLCK &&
	    (err = shm_extend_(s, &used)) == 0) {
		for (uint64_t off = SHM_HEADER_; err == 0 && off < used; off += r.length) {
			if ((err = shm_decode_(s, off, used, &r)) != 0)
				break;
			free(r.meta);
			if (!shm_has_lock_(&r.shape) || r.shape.kind == SHM_GROWTH_)
				continue;
			struct shm_cell_ *c = (struct shm_cell_ *)(void *)(s->mem + r.data);
			if ((__atomic_load_n(&c->word, __ATOMIC_SEQ_CST) & SHM_OWNER_) != 0)
				__atomic_store_n(&c->abandoned, 1, __ATOMIC_SEQ_CST);
			__atomic_store_n(&c->word, 0, __ATOMIC_SEQ_CST);
			__atomic_store_n(&c->probed, 0, __ATOMIC_SEQ_CST);
			__atomic_store_n(&c->starve, 0, __ATOMIC_SEQ_CST);
		}
		if (err == 0) {
			if (shm_unseal_(&s->header->next_id, &n))
				shm_store_sealed_(&s->header->next_id, shm_min_(n + (1 << 20), (uint64_t)SHM_OWNER_ + 1));
			shm_store_sealed_(&s->header->boot, mine); /* last: whoever dies before leaves all to the next */
		}
	}
	shm_file_lock_(s->ctl, F_OFD_SETLK, F_UNLCK, 0, 1, &l);
	return err;
}

static inline void shm_free_(shm_segment *s)
{
	if (s == NULL)
		return;
	if (s->mem != NULL)
		munmap(s->mem, s->length);
	if (s->ctl >= 0)
		close(s->ctl);
	if (s->fd >= 0)
		close(s->fd);
	free(s->path);
	free(s);
}

/* Attaches to fd, which becomes the segment's, or is closed. */
SHM_SLOW_ int shm_attach_owned_(shm_segment **out, int fd, const char *path, const shm_options *o)
{
	uint64_t size = 0, max_size = 0, used, page = (uint64_t)sysconf(_SC_PAGESIZE);
	int err = shm_read_header_(fd, &size, &max_size);
	shm_segment *s = (shm_segment *)calloc(1, sizeof *s);
	if (s == NULL || err != 0) {
		free(s);
		close(fd);
		return err != 0 ? err : -ENOMEM;
	}
	s->fd = fd;
	s->ctl = -1;
	s->pid = getpid();
	s->read_only = o->read_only;
	s->home = &shm_home_;
	s->seen = SHM_HEADER_;
	pthread_mutex_init(&s->gate, NULL);
	if (path != NULL && (s->path = strdup(path)) == NULL)
		err = -ENOMEM;
	uint64_t need = shm_min_(size, max_size);
	for (s->length = max_size; err == 0; s->length = shm_round_(s->length / 2, page)) {
		void *mem = s->length > (uint64_t)INTPTR_MAX ? MAP_FAILED : mmap(NULL, s->length, o->read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (mem != MAP_FAILED) {
			s->mem = (unsigned char *)mem;
			s->header = (struct shm_header_ *)mem;
			break;
		}
		if (s->length <= (uint64_t)INTPTR_MAX && errno != ENOMEM)
			err = -errno;
		else if (s->length / 2 < need)
			err = s->length > (uint64_t)INTPTR_MAX ? SHM_EFULL : -ENOMEM;
	}
	if (err == 0 && !s->read_only)
		err = shm_recover_boot_(s);
	if (err == 0)
		err = shm_extend_(s, &used);
	if (err == 0) {
		pthread_mutex_lock(&s->home->mutex);
		if (!s->home->handlers)
			err = -pthread_atfork(shm_before_fork_, shm_in_parent_, shm_in_child_);
		s->home->handlers = s->home->handlers || err == 0;
		if (err == 0) {
			s->next = s->home->segments;
			s->home->segments = s;
		}
		pthread_mutex_unlock(&s->home->mutex);
	}
	if (err != 0) {
		shm_free_(s);
		return err;
	}
	*out = s;
	return 0;
}

/* Builds a segment under no name and links it into place. Returns its
 * descriptor, or -EEXIST where somebody else was first. */
SHM_SLOW_ int shm_create_named_(const char *path, mode_t mode, uint64_t max_size)
{
	struct shm_header_ header;
	char link[40], *dir = strdup(path), *temp = NULL;
	int fd, err = 0;
	if (dir == NULL)
		return -ENOMEM;
	char *last = strrchr(dir, '/') + 1;
	*last = 0;
	while ((fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)) < 0 && errno == EINTR) {
	}
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		/* A filesystem without O_TMPFILE: a temporary name beside the real one. */
		if ((temp = (char *)malloc(strlen(path) + 40)) != NULL) {
			sprintf(temp, "%s.%.200s.%08llx", dir, path + (last - dir), (unsigned long long)shm_now_() & 0xffffffff);
			fd = open(temp, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);
		}
	}
	if (fd < 0) {
		err = -errno;
	} else {
		shm_new_header_(&header, max_size);
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		if (fchmod(fd, mode) != 0) /* the umask does not apply */
			err = -errno;
		else if ((err = shm_reserve_(fd, 0, SHM_FIRST_)) != 0)
			;
		else if (pwrite(fd, &header, sizeof header, 0) != (ssize_t)sizeof header)
			err = errno != 0 ? -errno : -EIO;
		else if (temp != NULL)
			err = syscall(SYS_renameat2, AT_FDCWD, temp, AT_FDCWD, path, 1 /* RENAME_NOREPLACE */) == 0 ? 0 : -errno;
		else if (linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0)
			err = errno != ENOENT ? -errno : linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH) == 0 ? 0 : -errno; /* no /proc */
		if (err != 0) {
			if (temp != NULL)
				unlink(temp);
			close(fd);
		}
	}
	free(temp);
	free(dir);
	return err != 0 ? err : fd;
}

static inline int shm_options_(const shm_options *o, shm_options *opt)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
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

SHM_USE_ SHM_SLOW_ int shm_attach(shm_segment **out, const char *name, const shm_options *o)
{
	shm_options opt;
	char *path = NULL;
	*out = NULL;
	int err = shm_options_(o, &opt);
	if (err == 0)
		err = shm_path_(name, &path);
	if (err != 0)
		return err;
	/* Somebody may create and remove the name in turn; a few rounds are as good as
	 * for ever. */
	for (int tries = 0; tries < 100; tries++) {
		if (!opt.exclusive) {
			int fd = shm_open_existing_(path, opt.read_only);
			err = fd < 0 ? fd : shm_trusted_(fd, opt.mode);
			if (err == 0)
				err = shm_attach_owned_(out, fd, path, &opt);
			else if (fd >= 0)
				close(fd);
			if (err != -ENOENT || opt.must_exist || opt.read_only)
				break;
		}
		int fd = shm_create_named_(path, opt.mode, opt.max_size);
		err = fd < 0 ? fd : shm_attach_owned_(out, fd, path, &opt);
		if (err != -EEXIST || opt.exclusive)
			break;
	}
	free(path);
	return err;
}

SHM_USE_ SHM_SLOW_ int shm_attach_fd(shm_segment **out, int fd, const shm_options *o)
{
	shm_options opt;
	*out = NULL;
	int err = shm_options_(o, &opt), flags;
	if (err != 0)
		return err;
	if ((flags = fcntl(fd, F_GETFL)) < 0)
		return -errno;
	if (!opt.read_only && (flags & O_ACCMODE) != O_RDWR)
		return -EACCES;
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return own < 0 ? -errno : shm_attach_owned_(out, own, NULL, &opt);
}

/* Precondition: no thread uses the segment's values any more. */
SHM_SLOW_ void shm_detach(shm_segment *s)
{
	if (s == NULL)
		return;
	pthread_mutex_lock(&s->home->mutex);
	for (shm_segment **p = &s->home->segments; *p != NULL; p = &(*p)->next)
		if (*p == s) {
			*p = s->next;
			break;
		}
	pthread_mutex_unlock(&s->home->mutex);
	shm_free_(s);
}

static inline int shm_remove(const char *name)
{
	char *path;
	int err = shm_path_(name, &path);
	if (err == 0 && unlink(path) != 0)
		err = -errno;
	free(path);
	return err;
}

#ifdef __cplusplus
}
#endif

#endif
