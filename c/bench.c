//go:build ignore

/*
 * Measures c/shm.h: bench [cpu] [NUMBER OF VALUES]. Without a number it is 1,000,000. It prints
 * the medians of rounds in which what is compared takes turns, in this order: a lock beside
 * pthread's robust mutex, then what takes time in a segment with so many values. With cpu it
 * counts the processor's time of this thread only: that is for a busy machine.
 */
#include "shm.h"

static void must(int err, const char *what)
{
	if (err == 0)
		return;
	fprintf(stderr, "bench: %s: %s\n", what, shm_strerror(err));
	exit(1);
}

#define MUST(call) must(call, #call)

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *all, size_t n)
{
	qsort(all, n, sizeof *all, by_size);
	return all[n / 2];
}

static clockid_t clock_id = CLOCK_MONOTONIC;

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(clock_id, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double since(int64_t start, double n) { return (double)(now() - start) / n; }

/* ---- Locks ---- */

struct robust {
	pthread_mutex_t m;
	int64_t n;
};

static struct robust *robust_mutex(void)
{
	pthread_mutexattr_t attr;
	void *mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		must(-errno, "mmap");
	struct robust *r = (struct robust *)mem;
	MUST(-pthread_mutexattr_init(&attr));
	MUST(-pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED));
	MUST(-pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST));
	MUST(-pthread_mutex_init(&r->m, &attr));
	return r;
}

enum { TURNS = 31, ROUNDS = 100000 };

/* Each lock shares a cache line with its number. The compiler may not join two rounds. */
#define TIMED(ns, lock, change, unlock)                       \
	do {                                                  \
		int64_t start = now();                   \
		for (int i = 0; i < ROUNDS; i++) {            \
			if ((lock) != 0)                      \
				abort();                      \
			change;                               \
			if ((unlock) != 0)                    \
				abort();                      \
			__asm__ volatile("" ::: "memory");    \
		}                                             \
		(ns) = since(start, ROUNDS);                  \
	} while (0)

static void locks(shm_segment *s)
{
	double ours[TURNS], theirs[TURNS], ratio[TURNS], add[TURNS], bare[TURNS];
	uint32_t word = 0;
	struct robust *r = robust_mutex();
	shm_value v;
	MUST(shm_new_number(s, "n", SHM_I64, NULL, &v));
	int64_t *n = shm_ptr_i64(&v, NULL);
	for (int turn = 0; turn < TURNS; turn++) {
		TIMED(ours[turn], shm_lock(&v), ++*n, shm_unlock(&v));
		TIMED(theirs[turn], pthread_mutex_lock(&r->m), ++r->n, pthread_mutex_unlock(&r->m));
		TIMED(add[turn], shm_add_i64(&v, 1, NULL), (void)0, 0);
		TIMED(bare[turn], !shm_cas_(&word, 0, 1), ++*n, !shm_cas_(&word, 1, 0));
		ratio[turn] = ours[turn] / theirs[turn];
	}
	double a = median(ours, TURNS), b = median(theirs, TURNS), c = median(add, TURNS), d = median(bare, TURNS), e = median(ratio, TURNS);
	printf("lock, add, unlock: shm %.2f ns, pthread robust %.2f ns, ratio %.3f (wanted: at most 0.5)\n", a, b, e);
	printf("shm_add_i64 %.2f ns; two bare compare-and-swaps, as every lock needs, %.2f ns\n", c, d);
}

/* ---- A segment with many values ---- */

static uint64_t seed = 88172645463325252;

static uint64_t dice(uint64_t n) /* xorshift64* */
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * UINT64_C(2685821657736338717) % n;
}

static void value_name(char *b, size_t room, uint64_t i) { snprintf(b, room, "service.requests.%08llu", (unsigned long long)i); }

static void many(const char *name, uint64_t n)
{
	enum { ASKED = 2000 };
	static char names[ASKED][40];
	double open_us[TURNS], close_us[TURNS], first[TURNS], again[TURNS], bound[TURNS], made[TURNS];
	shm_options o;
	shm_segment *s;
	shm_value v;
	char value[40];
	memset(&o, 0, sizeof o);
	o.max_size = UINT64_C(1) << 30;
	MUST(shm_attach(&s, name, &o));
	int64_t start = now();
	for (uint64_t i = 0; i < n; i++) {
		value_name(value, sizeof value, i);
		MUST(shm_new_raw(s, value, SHM_I64, NULL, &v));
	}
	printf("making %llu values: %.2f us each\n", (unsigned long long)n, since(start, 1000.0 * (double)n));
	fflush(stdout);
	for (int turn = 0; turn < TURNS; turn++) {
		shm_segment *other;
		for (int i = 0; i < ASKED; i++)
			value_name(names[i], sizeof names[i], dice(n));
		start = now();
		MUST(shm_attach(&other, name, NULL));
		open_us[turn] = since(start, 1000);
		/* The pages that a process has not read yet are mapped by the first find. */
		start = now();
		for (int i = 0; i < ASKED; i++)
			MUST(shm_find(other, names[i], &v));
		first[turn] = since(start, 1000 * (double)ASKED);
		start = now();
		for (int i = 0; i < ASKED; i++)
			MUST(shm_find(other, names[i], &v));
		again[turn] = since(start, 1000 * (double)ASKED);
		start = now();
		for (int i = 0; i < ASKED; i++)
			MUST(shm_new_raw(other, names[i], SHM_I64, NULL, &v));
		bound[turn] = since(start, 1000 * (double)ASKED);
		start = now();
		for (int i = 0; i < 100; i++) {
			value_name(value, sizeof value, n++);
			MUST(shm_new_raw(other, value, SHM_I64, NULL, &v));
		}
		made[turn] = since(start, 100000);
		start = now();
		shm_detach(other);
		close_us[turn] = since(start, 1000);
	}
	printf("shm_attach %.1f us (wanted: at most 1000), shm_detach %.1f us\n", median(open_us, TURNS), median(close_us, TURNS));
	printf("shm_find of a random name: the first time %.2f us, again %.2f us (wanted: at most 1)\n", median(first, TURNS), median(again, TURNS));
	printf("shm_new_raw of one that is there %.2f us, of a new one %.2f us\n", median(bound, TURNS), median(made, TURNS));
	shm_detach(s);
}

int main(int argc, char **argv)
{
	char name[64];
	shm_segment *s;
	if (argc > 1 && strcmp(argv[1], "cpu") == 0) {
		clock_id = CLOCK_THREAD_CPUTIME_ID;
		argc--, argv++;
	}
	uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
	if (n == 0) {
		fprintf(stderr, "usage: bench [cpu] [NUMBER OF VALUES]\n");
		return 2;
	}
	snprintf(name, sizeof name, "shm-c-bench-%d", (int)getpid());
	MUST(shm_attach(&s, name, NULL));
	locks(s);
	shm_detach(s);
	MUST(shm_remove(name));
	many(name, n);
	MUST(shm_remove(name));
	return 0;
}
