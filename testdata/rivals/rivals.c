// rivals measures process-shared locks, so that a Go benchmark can compare its lock
// with them. One run measures one lock in one way and prints one line of JSON.
// README.md describes the fields.
//
//	gcc -O2 -std=gnu11 -pthread -o rivals rivals.c
//
// All memory is anonymous, and the file of the two file locks is a memfd. So nothing is
// left in a directory or in /dev/shm, even after a kill -9. Children die with their
// parent.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LINE 64       // bytes of a cache line
#define SECOND 1000000000LL
#define MAX_PROCS 1024
#define KILL_TIMEOUT (300 * SECOND / 1000) // a lock that nobody gets within this time is stuck
#define MAX_STUCK 3   // after so many stuck rounds the run ends
#define START_TIMEOUT (30 * SECOND) // a time-out that is reached only if a child fails

// EACH lists the locks: X(name, description).
#define EACH(X)                                                             \
	X(pthread, "pthread_mutex_t, PTHREAD_PROCESS_SHARED")               \
	X(robust, "the same, PTHREAD_MUTEX_ROBUST, EOWNERDEAD handled")     \
	X(futex3, "Drepper's futex mutex of three states, process-shared")  \
	X(xadd, "atomic add without a lock, for scale (no kill)")           \
	X(flock, "flock(2), each process with a description of its own")    \
	X(ofd, "fcntl F_OFD_SETLKW, likewise")                              \
	X(posixsem, "sem_t with pshared 1")

enum kind {
#define X(name, text) K_##name,
	EACH(X)
#undef X
	KINDS
};

static const char *const names[KINDS] = {
#define X(name, text) #name,
	EACH(X)
#undef X
};

// The lock and the counter that it guards share a cache line, as in a struct that a C
// programmer would write. A processor that gets the lock then has the counter as well.
struct cell {
	_Alignas(LINE) union {
		pthread_mutex_t mutex;
		sem_t sem;
		uint32_t word;
	} lock;
	uint64_t n;
};
_Static_assert(sizeof(struct cell) == LINE, "lock and counter share one line");

struct result {
	_Alignas(LINE) uint64_t count;
	int64_t start, end; // ns, CLOCK_MONOTONIC
};

// arena has everything that the processes share. The flags are futex words. None of
// them is in a cache line that is written while a measurement runs.
struct arena {
	struct cell cell;
	_Alignas(LINE) uint32_t ready; // number of processes that are ready
	uint32_t go, held, waiting, done;
	_Alignas(LINE) uint32_t stop;
	struct result results[MAX_PROCS];
};

static struct arena *arena;
static int memfd = -1;  // the lock file; this descriptor is never locked
static int lockfd = -1; // the lock file through an open file description of this process's own
static int cpus[CPU_SETSIZE], ncpus;
static pid_t parent;

static _Noreturn void quit(int status, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	fprintf(stderr, "rivals: %s\n", text);
	if (getpid() != parent)
		_exit(status);
	exit(status);
}

static _Noreturn void fail(const char *what, int err)
{
	quit(1, "%s: %s", what, strerror(err));
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

static struct timespec span(int64_t ns)
{
	return (struct timespec){.tv_sec = ns / SECOND, .tv_nsec = ns % SECOND};
}

static void nap(int64_t ns)
{
	struct timespec t = span(ns);

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
		;
}

// ---- Flags between the processes ----

static long futex(uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, op, value, timeout, NULL, 0); // never FUTEX_PRIVATE_FLAG
}

static void raise_flag(uint32_t *word)
{
	__atomic_fetch_add(word, 1, __ATOMIC_RELEASE);
	futex(word, FUTEX_WAKE, INT_MAX, NULL);
}

// await waits until the flag has been raised n times. It reports whether that happened
// before the time-out.
static bool await(uint32_t *word, uint32_t n, int64_t timeout)
{
	int64_t deadline = now() + timeout;

	for (;;) {
		uint32_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
		if (seen >= n)
			return true;
		int64_t left = deadline - now();
		if (left <= 0)
			return false;
		struct timespec t = span(left);
		futex(word, FUTEX_WAIT, seen, &t);
	}
}

static void must_await(uint32_t *word, uint32_t n, const char *what)
{
	if (!await(word, n, START_TIMEOUT))
		quit(1, "%s: timed out", what);
}

// ---- The locks ----

static void futex3_wait(uint32_t *word, uint32_t seen)
{
	if (seen != 2)
		seen = __atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE);
	while (seen != 0) {
		futex(word, FUTEX_WAIT, 2, NULL);
		seen = __atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE);
	}
}

static void ofd(int cmd, short type)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};

	while (fcntl(lockfd, cmd, &l) != 0)
		if (errno != EINTR)
			fail("fcntl", errno);
}

static void robust_repair(int err)
{
	if (err != EOWNERDEAD)
		fail("pthread_mutex_lock", err);
	err = pthread_mutex_consistent(&arena->cell.lock.mutex);
	if (err != 0)
		fail("pthread_mutex_consistent", err);
}

// acquire, release and add are inlined with a constant kind, so that each lock has a
// loop of its own, without a call through a pointer.
#define INLINE static inline __attribute__((always_inline))

INLINE void acquire(enum kind kind, struct cell *c)
{
	uint32_t free = 0;
	int err;

	switch (kind) {
	case K_pthread:
		err = pthread_mutex_lock(&c->lock.mutex);
		if (__builtin_expect(err != 0, 0))
			fail("pthread_mutex_lock", err);
		break;
	case K_robust:
		err = pthread_mutex_lock(&c->lock.mutex);
		if (__builtin_expect(err != 0, 0))
			robust_repair(err);
		break;
	case K_futex3:
		if (!__atomic_compare_exchange_n(&c->lock.word, &free, 1, false,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			futex3_wait(&c->lock.word, free);
		break;
	case K_flock:
		while (flock(lockfd, LOCK_EX) != 0)
			if (errno != EINTR)
				fail("flock", errno);
		break;
	case K_ofd:
		ofd(F_OFD_SETLKW, F_WRLCK);
		break;
	case K_posixsem:
		while (sem_wait(&c->lock.sem) != 0)
			if (errno != EINTR)
				fail("sem_wait", errno);
		break;
	case K_xadd:
	case KINDS:
		break;
	}
}

INLINE void release(enum kind kind, struct cell *c)
{
	int err;

	switch (kind) {
	case K_pthread:
	case K_robust:
		err = pthread_mutex_unlock(&c->lock.mutex);
		if (__builtin_expect(err != 0, 0))
			fail("pthread_mutex_unlock", err);
		break;
	case K_futex3:
		if (__atomic_exchange_n(&c->lock.word, 0, __ATOMIC_RELEASE) == 2)
			futex(&c->lock.word, FUTEX_WAKE, 1, NULL);
		break;
	case K_flock:
		if (flock(lockfd, LOCK_UN) != 0)
			fail("flock", errno);
		break;
	case K_ofd:
		ofd(F_OFD_SETLK, F_UNLCK);
		break;
	case K_posixsem:
		if (sem_post(&c->lock.sem) != 0)
			fail("sem_post", errno);
		break;
	case K_xadd:
	case KINDS:
		break;
	}
}

INLINE void add(enum kind kind, struct cell *c)
{
	if (kind == K_xadd) {
		uint64_t old = __atomic_fetch_add(&c->n, 1, __ATOMIC_RELAXED);
		__asm__ volatile("" : : "r"(old)); // without this gcc would compile it to a lock add
		return;
	}
	acquire(kind, c);
	c->n++;
	release(kind, c);
}

// The functions of each lock, and a table of them.
#define X(name, text)                                                       \
	static __attribute__((noinline)) void loop_##name(struct cell *c, uint64_t n) \
	{                                                                   \
		for (uint64_t i = 0; i < n; i++)                            \
			add(K_##name, c);                                   \
	}                                                                   \
	static __attribute__((noinline)) uint64_t until_##name(struct cell *c, const uint32_t *stop) \
	{                                                                   \
		uint64_t n = 0;                                             \
		for (; __atomic_load_n(stop, __ATOMIC_RELAXED) == 0; n++)   \
			add(K_##name, c);                                   \
		return n;                                                   \
	}                                                                   \
	static __attribute__((noinline)) void acquire_##name(struct cell *c) \
	{                                                                   \
		acquire(K_##name, c);                                       \
	}                                                                   \
	static __attribute__((noinline)) void release_##name(struct cell *c) \
	{                                                                   \
		release(K_##name, c);                                       \
	}
EACH(X)
#undef X

static const struct {
	void (*loop)(struct cell *, uint64_t);
	uint64_t (*until)(struct cell *, const uint32_t *);
	void (*acquire)(struct cell *);
	void (*release)(struct cell *);
} locks[KINDS] = {
#define X(name, text) {loop_##name, until_##name, acquire_##name, release_##name},
	EACH(X)
#undef X
};

// reset makes a new lock and clears the flags. No child may be running.
static void reset(enum kind kind)
{
	pthread_mutexattr_t attr;
	int err;

	memset(arena, 0, sizeof *arena);
	switch (kind) {
	case K_pthread:
	case K_robust:
		if ((err = pthread_mutexattr_init(&attr)) != 0 ||
		    (err = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED)) != 0 ||
		    (err = pthread_mutexattr_setrobust(&attr, kind == K_robust
			    ? PTHREAD_MUTEX_ROBUST : PTHREAD_MUTEX_STALLED)) != 0 ||
		    (err = pthread_mutex_init(&arena->cell.lock.mutex, &attr)) != 0)
			fail("pthread_mutex_init", err);
		pthread_mutexattr_destroy(&attr);
		break;
	case K_posixsem:
		if (sem_init(&arena->cell.lock.sem, 1, 1) != 0)
			fail("sem_init", errno);
		break;
	case K_flock:
	case K_ofd:
		if (memfd < 0 && (memfd = memfd_create("rivals", MFD_CLOEXEC)) < 0)
			fail("memfd_create", errno);
		break;
	case K_futex3: // a word of zero is free
	case K_xadd:
	case KINDS:
		break;
	}
}

// ---- Processes ----

static void find_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof set, &set) != 0)
		fail("sched_getaffinity", errno);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set))
			cpus[ncpus++] = i;
}

static int cpu_of(int process)
{
	return cpus[process % ncpus];
}

// settle pins the process and opens the lock file again. File locks belong to an open
// file description, so an inherited descriptor would not exclude other processes.
static void settle(int process)
{
	cpu_set_t set;
	char path[64];

	CPU_ZERO(&set);
	CPU_SET(cpu_of(process), &set);
	if (sched_setaffinity(0, sizeof set, &set) != 0)
		fail("sched_setaffinity", errno);
	if (memfd < 0)
		return;
	snprintf(path, sizeof path, "/proc/self/fd/%d", memfd);
	lockfd = open(path, O_RDWR | O_CLOEXEC);
	if (lockfd < 0)
		fail(path, errno);
}

// spawn forks a child. It calls settle in the child, which dies with its parent.
static pid_t spawn(int process)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork", errno);
	if (pid != 0)
		return pid;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		fail("prctl", errno);
	if (getppid() != parent) // the parent died before prctl
		_exit(1);
	settle(process);
	return 0;
}

static int reap(pid_t pid, struct rusage *usage)
{
	int status;

	while (wait4(pid, &status, 0, usage) < 0)
		if (errno != EINTR)
			fail("wait4", errno);
	return status;
}

static void reap_clean(pid_t pid, struct rusage *usage)
{
	int status = reap(pid, usage);

	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		quit(1, "a child failed with wait status %#x", status);
}

static void destroy(pid_t pid)
{
	if (kill(pid, SIGKILL) != 0)
		fail("kill", errno);
	reap(pid, NULL);
}

// ---- alone ----

static void alone(enum kind kind, uint64_t n)
{
	reset(kind);
	settle(0);
	locks[kind].loop(&arena->cell, 1); // warm-up: page faults and symbol binding
	int64_t start = now();
	locks[kind].loop(&arena->cell, n);
	int64_t ns = now() - start;
	if (arena->cell.n != n + 1)
		quit(1, "counter is %" PRIu64 " after %" PRIu64 " increments", arena->cell.n, n + 1);
	printf("{\"impl\":\"%s\",\"mode\":\"alone\",\"iterations\":%" PRIu64 ",\"ns_per_op\":%.3f}\n",
	       names[kind], n, (double)ns / (double)n);
}

// ---- contend ----

static void contend(enum kind kind, int procs, double seconds)
{
	uint64_t total = 0, min = UINT64_MAX, max = 0;
	int64_t first = INT64_MAX, last = 0;
	double cpu = 0;

	reset(kind);
	for (int i = 0; i < procs; i++) {
		if (spawn(i) != 0)
			continue;
		struct result *r = &arena->results[i];
		raise_flag(&arena->ready);
		must_await(&arena->go, 1, "start");
		r->start = now();
		r->count = locks[kind].until(&arena->cell, &arena->stop);
		r->end = now();
		_exit(0);
	}
	must_await(&arena->ready, procs, "start of the children");
	raise_flag(&arena->go);
	nap((int64_t)(seconds * SECOND));
	__atomic_store_n(&arena->stop, 1, __ATOMIC_RELAXED);

	for (int i = 0; i < procs; i++) {
		struct rusage usage;

		reap_clean(-1, &usage); // in any order, as a child that dies with the lock blocks the others
		cpu += usage.ru_utime.tv_sec + usage.ru_utime.tv_usec / 1e6 +
		       usage.ru_stime.tv_sec + usage.ru_stime.tv_usec / 1e6;
	}
	for (int i = 0; i < procs; i++) {
		const struct result *r = &arena->results[i];

		total += r->count;
		min = r->count < min ? r->count : min;
		max = r->count > max ? r->count : max;
		first = r->start < first ? r->start : first;
		last = r->end > last ? r->end : last;
	}
	if (total == 0)
		quit(1, "no increment within %g s", seconds);
	double elapsed = (double)(last - first) / SECOND;
	printf("{\"impl\":\"%s\",\"mode\":\"contend\",\"procs\":%d,\"cpus\":%d,\"seconds\":%.6f,"
	       "\"mops\":%.4f,\"counts\":[", names[kind], procs, procs < ncpus ? procs : ncpus,
	       elapsed, (double)total / elapsed / 1e6);
	for (int i = 0; i < procs; i++)
		printf("%s%" PRIu64, i ? "," : "", arena->results[i].count);
	printf("],\"min_share\":%.4f,\"max_share\":%.4f,\"lost\":%" PRId64 ",\"cpu_seconds\":%.3f}\n",
	       (double)min / (double)total, (double)max / (double)total,
	       (int64_t)(total - arena->cell.n), cpu);
}

// ---- kill ----

// await_asleep waits until the kernel shows that the process sleeps. After the waiter
// has raised `waiting`, it can only sleep in the lock.
static void await_asleep(pid_t pid)
{
	char path[64], text[256];
	int64_t deadline = now() + START_TIMEOUT;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	for (;;) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			fail(path, errno);
		ssize_t n = read(fd, text, sizeof text - 1);
		close(fd);
		text[n > 0 ? n : 0] = 0;
		const char *state = strrchr(text, ')'); // the process name before it may have any character
		if (state != NULL && state[1] == ' ' && state[2] == 'S')
			return;
		if (now() > deadline)
			quit(1, "the waiter does not block");
		nap(20000);
	}
}

// kill_round kills a holder. It returns how long a locker takes to get the lock, or -1
// if the locker does not get it in time. If late is false, the locker is blocked in the
// lock before the kill, and the time starts just before kill(2). If late is true, the
// locker asks for the lock when the holder has been reaped, and the time is that of its
// call.
static int64_t kill_round(enum kind kind, bool late)
{
	struct arena *a = arena;
	struct cell *c = &a->cell;
	pid_t locker, holder;
	int64_t start = 0, ns = -1;

	reset(kind);
	if ((locker = spawn(1)) == 0) {
		struct result *r = &a->results[0];
		locks[kind].acquire(c); // warm-up: page faults and symbol binding
		locks[kind].release(c);
		raise_flag(&a->ready);
		must_await(late ? &a->go : &a->held, 1, "lock to be held");
		raise_flag(&a->waiting);
		r->start = now();
		locks[kind].acquire(c);
		r->end = now();
		locks[kind].release(c);
		raise_flag(&a->done);
		_exit(0);
	}
	must_await(&a->ready, 1, "start of the locker");
	if ((holder = spawn(0)) == 0) {
		locks[kind].acquire(c);
		raise_flag(&a->held);
		for (;;)
			pause();
	}
	must_await(&a->held, 1, "start of the holder");
	if (late) {
		destroy(holder);
		raise_flag(&a->go);
	} else {
		must_await(&a->waiting, 1, "start of the waiter");
		await_asleep(locker);
		start = now();
		if (kill(holder, SIGKILL) != 0)
			fail("kill", errno);
	}
	if (await(&a->done, 1, KILL_TIMEOUT)) {
		const struct result *r = &a->results[0];
		ns = r->end - (late ? r->start : start);
		reap_clean(locker, NULL);
	} else {
		destroy(locker);
	}
	if (!late)
		reap(holder, NULL);
	return ns;
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

// print_times prints the fields of one kind of locker. They are null if no locker got
// the lock.
static void print_times(const char *who, int64_t *ns, int n, int stuck)
{
	qsort(ns, n, sizeof *ns, by_size);
	printf(",\"%s_stuck\":%d", who, stuck);
	if (n == 0)
		printf(",\"%s_median_ns\":null,\"%s_p99_ns\":null", who, who);
	else
		printf(",\"%s_median_ns\":%" PRId64 ",\"%s_p99_ns\":%" PRId64,
		       who, (ns[(n - 1) / 2] + ns[n / 2]) / 2, who, ns[(n * 99LL + 99) / 100 - 1]);
}

static void kill_holder(enum kind kind, int rounds)
{
	int64_t *ns[2];
	int got[2] = {0}, stuck[2] = {0}, done = 0;

	for (int late = 0; late < 2; late++)
		if ((ns[late] = calloc(rounds, sizeof **ns)) == NULL)
			fail("calloc", errno);
	for (; done < rounds && stuck[0] < MAX_STUCK && stuck[1] < MAX_STUCK; done++)
		for (int late = 0; late < 2; late++) {
			int64_t t = kill_round(kind, late);
			if (t < 0)
				stuck[late]++;
			else
				ns[late][got[late]++] = t;
		}
	printf("{\"impl\":\"%s\",\"mode\":\"kill\",\"rounds\":%d,\"timeout_ms\":%lld,\"stuck\":%s",
	       names[kind], done, KILL_TIMEOUT * 1000 / SECOND,
	       stuck[0] + stuck[1] > 0 ? "true" : "false");
	print_times("waiter", ns[0], got[0], stuck[0]);
	print_times("late", ns[1], got[1], stuck[1]);
	printf("}\n");
	free(ns[0]);
	free(ns[1]);
}

// ---- Command line ----

static void usage(void)
{
	printf("usage: rivals IMPL alone N                 lock, increment, unlock N times\n"
	       "       rivals IMPL contend PROCS SECONDS   PROCS processes against each other\n"
	       "       rivals IMPL kill ROUNDS             kill -9 the holder: who gets the lock, when\n"
	       "Each run prints one line of JSON. IMPL is one of\n");
#define X(name, text) printf("  %-9s %s\n", #name, text);
	EACH(X)
#undef X
}

static long long integer(const char *what, const char *text, long long max)
{
	char *end;

	errno = 0;
	long long n = strtoll(text, &end, 10);
	if (end == text || *end != 0 || errno != 0 || n < 1 || n > max)
		quit(2, "%s must be a whole number from 1 to %lld: %.40s", what, max, text);
	return n;
}

static double duration(const char *text)
{
	char *end;
	double s = strtod(text, &end);

	if (end == text || *end != 0 || !(s >= 0.001 && s <= 3600))
		quit(2, "SECONDS must be a number from 0.001 to 3600: %.40s", text);
	return s;
}

int main(int argc, char **argv)
{
	int kind = 0;

	parent = getpid();
	if (argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0)) {
		usage();
		return 0;
	}
	if (argc < 3)
		quit(2, "want IMPL and alone, contend or kill (-h lists usage)");
	while (kind < KINDS && strcmp(argv[1], names[kind]) != 0)
		kind++;
	if (kind == KINDS)
		quit(2, "no such IMPL: %.40s (-h lists them)", argv[1]);

	const char *mode = argv[2];
	long long n = 0;
	double seconds = 0;
	if (strcmp(mode, "alone") == 0 && argc == 4) {
		n = integer("N", argv[3], 1000000000000LL);
	} else if (strcmp(mode, "contend") == 0 && argc == 5) {
		n = integer("PROCS", argv[3], MAX_PROCS);
		seconds = duration(argv[4]);
	} else if (strcmp(mode, "kill") == 0 && argc == 4) {
		n = integer("ROUNDS", argv[3], 1000000);
		if (kind == K_xadd)
			quit(2, "xadd has no lock to die with");
	} else {
		quit(2, "want alone N, contend PROCS SECONDS or kill ROUNDS (-h lists usage)");
	}

	find_cpus();
	arena = mmap(NULL, sizeof *arena, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (arena == MAP_FAILED)
		fail("mmap", errno);
	if (*mode == 'a')
		alone(kind, (uint64_t)n);
	else if (*mode == 'c')
		contend(kind, (int)n, seconds);
	else
		kill_holder(kind, (int)n);
	if (fflush(stdout) != 0)
		fail("stdout", errno);
	return 0;
}
