//go:build ignore

/*
 * The C side of the Go tests: test MODE ARGUMENTS. It exchanges lines with the Go
 * side. If a check fails, it prints a line to standard error and exits with status 1.
 */
#include "shm.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void fail(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fprintf(stderr, "test.c: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}

static void must(int err, const char *what)
{
	if (err < 0)
		fail("%s: %s", what, shm_strerror(err));
}

#define MUST(call) must(call, #call)

static void want(bool ok, const char *what)
{
	if (!ok)
		fail("not true: %s", what);
}

#define WANT(ok) want(ok, #ok)

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

static shm_segment *attach(const char *name)
{
	shm_segment *s = NULL;
	MUST(shm_attach(&s, name, NULL));
	return s;
}

static shm_value number(shm_segment *s, const char *name)
{
	shm_value v;
	MUST(shm_new_number(s, name, SHM_I64, NULL, &v));
	return v;
}

/* ---- Values of all kinds ---- */

struct status {
	int64_t hits;
	float load;
	uint8_t flags[4];
	char host[16];
	uint8_t ok, pad[7]; /* explicit, as 32-bit x86 would have three bytes of padding */
};
#define STATUS "T{" SHM_I64 ":hits:" SHM_F32 ":load:(4)" SHM_U8 ":flags:(16)" SHM_CHAR ":host:" SHM_BOOL ":ok:7x}"

struct longer {
	int64_t hits;
	float load;
	uint8_t flags[4];
	char host[16];
	uint8_t ok;
	uint8_t level, pad[6]; /* these bytes are padding of the shorter struct */
	int64_t extra;
};
#define LONGER "T{" SHM_I64 ":hits:" SHM_F32 ":load:(4)" SHM_U8 ":flags:(16)" SHM_CHAR ":host:" SHM_BOOL ":ok:" SHM_U8 ":level:6x" SHM_I64 ":extra:}"

struct nested {
	int8_t a;
	struct { int16_t x, y; } p[2][3];
	uint8_t pad[6];
	double d;
	uint8_t c, rest[7];
};
#define NESTED "T{" SHM_I8 ":a:x(2,3)T{" SHM_I16 ":x:" SHM_I16 ":y:}:p:6x" SHM_F64 ":d:" SHM_U8 ":c:7x}"

static void layouts(void)
{
	say("status %zu %s", sizeof(struct status), STATUS);
	say("longer %zu %s", sizeof(struct longer), LONGER);
	say("nested %zu %s", sizeof(struct nested), NESTED);
	const char *const all[] = {SHM_BOOL, SHM_I8, SHM_U8, SHM_I16, SHM_U16, SHM_I32, SHM_U32, SHM_I64, SHM_U64, SHM_F32, SHM_F64, SHM_C64, SHM_C128};
	const size_t sizes[] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8, 8, 16};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		say("%zu %zu %s", i, sizes[i], all[i]);
	say("end");
}

/* Parses the formats on the lines of standard input, and prints what the parser found. */
static void parse(void)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	while ((n = getline(&line, &room, stdin)) > 0) {
		uint64_t size, end;
		if (line[n - 1] == '\n')
			n--;
		if (shm_parse_(line, (size_t)n, &size, &end))
			say("%" PRIu64 " %" PRIu64, size, end);
		else
			say("no");
	}
	free(line);
}

/* Finds or makes values of all kinds, checks that k rounds have changed them, and changes
 * them once more. The Go tests have the same function, visit. */
static void visit(const char *name, int k)
{
	shm_segment *s = attach(name);
	shm_value v;
	size_t n;
	char text[65], wanted[65];
	int index = 0;

#define EACH(X) X(i8, int8_t, SHM_I8) X(u8, uint8_t, SHM_U8) X(i16, int16_t, SHM_I16) X(u16, uint16_t, SHM_U16) X(i32, int32_t, SHM_I32) \
	X(u32, uint32_t, SHM_U32) X(i64, int64_t, SHM_I64) X(u64, uint64_t, SHM_U64) X(f32, float, SHM_F32) X(f64, double, SHM_F64)
#define VISIT(T, type, format)                                                     \
	{                                                                          \
		type x = (type)(42 + index), sum;                                  \
		MUST(shm_new_number(s, "number-" #T, format, &x, &v));             \
		x = 0;                                                             \
		MUST(shm_load_##T(&v, &x));                                        \
		WANT(x == (type)(42 + index + k));                                 \
		MUST(shm_add_##T(&v, 1, &sum));                                    \
		WANT(sum == (type)(x + 1));                                        \
		MUST(shm_store_##T(&v, x));                                        \
		MUST(shm_store_##T##_at(&v, 0, sum));                              \
		WANT(shm_load_##T##_at(&v, 1, &x) == -EINVAL);                     \
		WANT(shm_load_##T##_at(&v, UINT64_MAX, &x) == -EINVAL);            \
		MUST(shm_new_array(s, "array-" #T, format, 3, &v));                \
		for (uint64_t i = 0; i < 3; i++) {                                 \
			MUST(shm_load_##T##_at(&v, i, &x));                        \
			WANT(x == (type)(k * (int)(i + 1)));                       \
			MUST(shm_add_##T##_at(&v, i, (type)(i + 1), NULL));        \
		}                                                                  \
		WANT(shm_store_##T##_at(&v, 3, x) == -EINVAL);                     \
		MUST(shm_new_raw_array(s, "raws-" #T, format, 5, &v));             \
		type *p = shm_ptr_##T(&v, &n);                                     \
		WANT(p != NULL && n == 5 && p[4] == (type)k && p[0] == 0);         \
		p[4] = (type)(k + 1);                                              \
		WANT(shm_add_##T(&v, 1, NULL) == SHM_ELAYOUT);                     \
		index++;                                                           \
	}
	EACH(VISIT)

	double pi = 3.25;
	MUST(shm_new_raw(s, "raw", SHM_F64, &pi, &v));
	WANT(shm_ptr_i64(&v, NULL) == NULL);
	WANT(*shm_ptr_f64(&v, NULL) == pi + k);
	int64_t other;
	MUST(shm_find(s, "number-f64", &v));
	WANT(shm_add_i64(&v, 1, NULL) == SHM_ELAYOUT);
	WANT(shm_store_i64(&v, 1) == SHM_ELAYOUT);
	WANT(shm_load_i64(&v, &other) == SHM_ELAYOUT);
	MUST(shm_find(s, "raw", &v));
	*shm_ptr_f64(&v, NULL) += 1;

	struct status st = {100, 0.5, {1, 2, 3, 4}, "host", 1, {0}}, now;
	MUST(shm_new_raw(s, "rawstruct", STATUS, &st, &v));
	struct status *p = (struct status *)shm_ptr(&v, STATUS, sizeof st);
	WANT(p != NULL && p->hits == 100 + k && p->load == 0.5f && p->flags[3] == 4 && strcmp(p->host, "host") == 0 && p->ok == 1);
	p->hits++;
	WANT(shm_ptr(&v, LONGER, sizeof st) == NULL);

	uint64_t init = UINT64_MAX - 1;
	MUST(shm_new_atomic(s, "atomic", SHM_U64, &init, &v));
	WANT(__atomic_fetch_add(shm_ptr_u64(&v, NULL), 1, __ATOMIC_SEQ_CST) == init + (uint64_t)k);

	MUST(shm_new_chars(s, "chars", 20, &v));
	wanted[0] = 0;
	if (k > 0)
		snprintf(wanted, sizeof wanted, "round %d", k);
	WANT(v.count == 20 && strncmp((char *)v.data, wanted, 20) == 0);
	snprintf((char *)v.data, 20, "round %d", k + 1);

	MUST(shm_new_struct(s, "struct", STATUS, sizeof st, &st, &v));
	MUST(shm_read(&v, &now, sizeof now));
	WANT(now.hits == 100 + k && now.load == 0.5f + (float)k && now.flags[2] == 3 && strcmp(now.host, "host") == 0);
	now.hits++;
	now.load += 1;
	MUST(shm_publish(&v, &now, sizeof now));
	WANT(shm_commit(&v, &now, sizeof now) == -EPERM);
	MUST(shm_lock(&v));
	MUST(shm_commit(&v, &st, sizeof st)); /* two commits while the lock is held once */
	MUST(shm_commit(&v, &now, sizeof now));
	MUST(shm_unlock(&v));
	WANT(shm_unlock(&v) == -EPERM);

	MUST(shm_new_string(s, "string", 64, &v));
	memset(wanted, 'a' + k - 1, 64);
	wanted[k == 0 ? 0 : k % 2 == 0 ? 64 : 7] = 0;
	WANT(shm_read_text(&v, text, sizeof text) == (int)strlen(wanted) && strcmp(text, wanted) == 0);
	memset(wanted, 'a' + k, 64);
	wanted[(k + 1) % 2 == 0 ? 64 : 7] = 0;
	MUST(shm_publish_text(&v, wanted));
	char much[66];
	memset(much, 'x', 65);
	much[65] = 0;
	WANT(shm_publish_text(&v, much) == SHM_ETOOLONG);
	WANT(shm_read_text(&v, text, 64) == SHM_ETOOLONG);

	MUST(shm_new_mutex(s, "mutex", &v));
	MUST(shm_lock(&v));
	WANT(shm_trylock(&v) == -EBUSY);
	MUST(shm_unlock(&v));
	MUST(shm_trylock(&v));
	MUST(shm_unlock(&v));

	/* Calls that fail, as the value has another type, or does not exist. */
	WANT(shm_new_number(s, "mutex", SHM_I64, NULL, &v) == SHM_ELAYOUT);
	char words[200];
	MUST(shm_describe(&v, words, sizeof words));
	WANT(strstr(words, "locked mutex") != NULL && strstr(words, "made by") != NULL);
	WANT(shm_new_number(s, "number-i8", SHM_U8, NULL, &v) == SHM_ELAYOUT && v.code == 'b');
	WANT(shm_new_raw(s, "number-i8", SHM_I8, NULL, &v) == SHM_ELAYOUT);
	WANT(shm_new_array(s, "array-i8", SHM_I8, 4, &v) == SHM_ELAYOUT);
	MUST(shm_new_array(s, "array-i8", SHM_I8, 0, &v));
	WANT(v.count == 3);
	WANT(shm_new_struct(s, "struct", NESTED, sizeof(struct nested), NULL, &v) == SHM_ELAYOUT);
	WANT(shm_new_struct(s, "struct", STATUS, sizeof st + 8, NULL, &v) == -EINVAL);
	WANT(shm_new_raw(s, "new", "T{<q:a:<q:a:}", NULL, &v) == -EINVAL);
	WANT(shm_new_raw(s, "new\n", SHM_I8, NULL, &v) == -EINVAL);
	WANT(shm_new_raw(s, "", SHM_I8, NULL, &v) == -EINVAL);
	WANT(shm_new_raw_array(s, "new", SHM_I8, 0, &v) == -ENOENT);
	WANT(shm_new_number(s, "new", SHM_C128, NULL, &v) == -EINVAL);
	WANT(shm_new_raw_array(s, "new", SHM_I64, UINT64_C(1) << 40, &v) == (sizeof v.data == 8 ? SHM_EFULL : -EINVAL));
	WANT(shm_find(s, "new", &v) == -ENOENT);
	MUST(shm_find(s, "struct", &v));
	MUST(shm_is(&v, SHM_PUBLISHED, STATUS));
	WANT(shm_is(&v, SHM_RAW, STATUS) == SHM_ELAYOUT);
	MUST(shm_read(&v, &now, sizeof now));
	WANT(now.hits == 101 + k);
	shm_detach(s);

	/* A read-only attachment. */
	shm_options o;
	memset(&o, 0, sizeof o);
	o.read_only = true;
	MUST(shm_attach(&s, name, &o));
	int64_t x;
	MUST(shm_new_number(s, "number-i64", SHM_I64, NULL, &v));
	MUST(shm_load_i64(&v, &x));
	WANT(shm_store_i64(&v, 1) == -EROFS && shm_unlock(&v) == -EPERM && shm_trylock(&v) == -EROFS);
	MUST(shm_new_struct(s, "struct", STATUS, sizeof st, NULL, &v));
	MUST(shm_read(&v, &now, sizeof now));
	WANT(now.hits == 101 + k);
	WANT(shm_new_number(s, "new", SHM_I64, NULL, &v) == -EROFS);
	shm_detach(s);
}

/* Programs with a shorter and a longer struct use the same value. */
static void grow(const char *name)
{
	shm_segment *s = attach(name);
	shm_value shorter, longer, found;
	struct status a;
	struct longer b;
	MUST(shm_new_struct(s, "struct", STATUS, sizeof a, NULL, &shorter));
	MUST(shm_new_struct(s, "struct", LONGER, sizeof b, NULL, &longer));
	MUST(shm_read(&longer, &b, sizeof b));
	b.level = 5;
	b.extra = 77;
	MUST(shm_publish(&longer, &b, sizeof b));
	MUST(shm_read(&shorter, &a, sizeof a));
	a.hits = 1000;
	for (int slot = 0; slot < 3; slot++) {
		MUST(shm_publish(&shorter, &a, sizeof a));
		MUST(shm_read(&longer, &b, sizeof b));
		WANT(b.hits == 1000 && b.level == 5 && b.extra == 77);
	}
	MUST(shm_find(s, "struct", &found));
	MUST(shm_is(&found, SHM_PUBLISHED, LONGER));
	MUST(shm_new_struct(s, "struct", STATUS, sizeof a, NULL, &shorter));
	say("grown");
	char line[16];
	WANT(fgets(line, sizeof line, stdin) != NULL); /* Go has stored with its shorter type */
	MUST(shm_read(&longer, &b, sizeof b));
	WANT(b.hits == 2000 && b.level == 5 && b.extra == 77);
	say("kept");
}

/* ---- Locks ---- */

struct worker {
	const shm_value *v;
	int64_t *count; /* the lock guards it; may be NULL */
	long n;         /* how many additions; 0 means without end */
};

static void *work(void *arg)
{
	const struct worker *w = (const struct worker *)arg;
	int64_t *p = shm_ptr_i64(w->v, NULL);
	for (long i = 0; w->n == 0 || i < w->n; i++) {
		if (i % 16 == 0 && shm_trylock(w->v) != 0)
			MUST(shm_lock(w->v));
		else if (i % 16 != 0)
			MUST(shm_lock(w->v));
		++*p;
		if (w->count != NULL)
			++*w->count;
		MUST(shm_unlock(w->v));
	}
	return NULL;
}

static void crowd(struct worker *w, int threads)
{
	pthread_t all[64];
	for (int i = 0; i < threads; i++)
		WANT(pthread_create(&all[i], NULL, work, w) == 0);
	for (int i = 0; i < threads; i++)
		WANT(pthread_join(all[i], NULL) == 0);
}

static bool reached(const shm_value *v, void *arg)
{
	int64_t x = 0;
	MUST(shm_load_i64(v, &x));
	return x >= *(long *)arg;
}

/* Obeys commands about the lock of "n", one a line. The Go tests have the same agent, in
 * which abandoned clears the mark; here the command consistent does it. */
static void agent(const char *name)
{
	shm_segment *s = attach(name);
	shm_value v = number(s, "n"), made;
	int64_t *p = shm_ptr_i64(&v, NULL);
	char line[64], verb[32];
	say("ready");
	while (fgets(line, sizeof line, stdin) != NULL) {
		long n = 0;
		sscanf(line, "%31s %ld", verb, &n);
		if (strcmp(verb, "lock") == 0) {
			MUST(shm_lock(&v));
			say("locked");
		} else if (strcmp(verb, "trylock") == 0) {
			say(shm_trylock(&v) == 0 ? "true" : "false");
		} else if (strcmp(verb, "lockFor") == 0) { /* n milliseconds */
			int err = shm_lock_for(&v, (int64_t)n * 1000000);
			WANT(err == 0 || err == -ETIMEDOUT);
			say(err == 0 ? "locked" : "gave up");
		} else if (strcmp(verb, "await") == 0) {
			MUST(shm_await(&v, reached, &n, -1));
			say("saw %" PRId64, *p);
		} else if (strcmp(verb, "awaitFor") == 0) { /* wait n milliseconds for a number that never comes */
			long never = LONG_MAX;
			say(shm_await(&v, reached, &never, (int64_t)n * 1000000) == -ETIMEDOUT ? "gave up" : "saw it");
		} else if (strcmp(verb, "waitFor") == 0) { /* for a value called made */
			MUST(shm_wait_for(s, "made", -1, &made));
			say("made %" PRId64, *shm_ptr_i64(&made, NULL));
		} else if (strcmp(verb, "unlock") == 0) {
			MUST(shm_unlock(&v));
			say("unlocked");
		} else if (strcmp(verb, "abandoned") == 0) {
			say(shm_abandoned(&v) ? "true" : "false");
		} else if (strcmp(verb, "consistent") == 0) {
			shm_consistent(&v);
			say("consistent");
		} else if (strcmp(verb, "add") == 0) {
			while (n-- > 0)
				MUST(shm_add_i64(&v, 1, NULL));
			say("added");
		} else if (strcmp(verb, "addSlowly") == 0) {
			MUST(shm_lock(&v));
			*p += n;
			say("inside");
		} else if (strcmp(verb, "crowd") == 0) { /* n threads add once each */
			struct worker w = {&v, NULL, 1};
			crowd(&w, (int)n);
			say("through");
		} else if (strcmp(verb, "threads") == 0) { /* four threads add n times each */
			struct worker w = {&v, NULL, n};
			crowd(&w, 4);
			say("through");
		} else {
			fail("unknown command %s", verb);
		}
	}
}

/* The parent locks and forks. The child takes an id of its own. */
static void forks(const char *name)
{
	shm_segment *s = attach(name);
	shm_value v = number(s, "n"), other;
	char line[16];
	MUST(shm_new_mutex(s, "mutex", &other));
	MUST(shm_lock(&v));
	alarm(20); /* ends the parent if nobody kills it; the child does not inherit it */
	uint32_t id = s->id;
	pid_t child = fork();
	WANT(child >= 0);
	if (child != 0) {
		MUST(shm_lock(&other)); /* the parent still has its id */
		MUST(shm_unlock(&other));
		for (;;)
			pause();
	}
	WANT(s->id == 0 && s->ctl == -1); /* the child has closed what it inherited */
	WANT(shm_unlock(&v) == -EPERM);
	WANT(shm_trylock(&v) == -EBUSY);
	WANT(s->id != 0 && s->id != id);
	WANT(shm_unlock(&v) == -EPERM);
	MUST(shm_lock(&other));
	MUST(shm_unlock(&other));
	shm_value made;
	MUST(shm_new_number(s, "made by the child", SHM_I64, NULL, &made));
	say("child %d", (int)getpid());
	WANT(fgets(line, sizeof line, stdin) != NULL); /* the parent is dead now */
	MUST(shm_add_i64(&v, 1, NULL));
	say("child added");
	/* A child that was made without fork handlers. */
	uint32_t mine = s->id;
	MUST(shm_lock(&other));
	pid_t raw = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (raw == 0) {
		shm_after_fork();
		_exit(shm_trylock(&other) == -EBUSY && s->id != mine && shm_add_i64(&v, 1, NULL) == 0 ? 0 : 1);
	}
	int status;
	WANT(waitpid(raw, &status, 0) == raw && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	MUST(shm_unlock(&other));
	say("grandchild added");
}

/* ---- Two slots ---- */

enum { STEADY = 40 }; /* five cache lines */
struct steady {
	int64_t n, all[STEADY];
};
#define STEADY_FORMAT "T{" SHM_I64 ":n:(40)" SHM_I64 ":all:}"

static shm_value steady(const char *name)
{
	shm_value v;
	MUST(shm_new_struct(attach(name), "steady", STEADY_FORMAT, sizeof(struct steady), NULL, &v));
	return v;
}

static void step(struct steady *x)
{
	x->n++;
	for (int i = 0; i < STEADY; i++)
		x->all[i] = x->n * (i + 1);
}

static void whole(const struct steady *x, int64_t last)
{
	WANT(x->n >= last);
	for (int i = 0; i < STEADY; i++)
		WANT(x->all[i] == x->n * (i + 1));
}

static void steady_writer(const char *name)
{
	shm_value v = steady(name);
	struct steady x;
	for (;;) {
		MUST(shm_lock(&v));
		MUST(shm_read(&v, &x, sizeof x));
		for (int commits = 0; commits < 2; commits++) {
			step(&x);
			MUST(shm_commit(&v, &x, sizeof x));
		}
		MUST(shm_unlock(&v));
	}
}

/* Reads until its input ends, then prints how often it read and how often the struct had
 * changed. */
static void steady_reader(const char *name)
{
	shm_value v = steady(name);
	struct steady x;
	int64_t last = 0, reads = 0, changes = 0;
	char line[16];
	say("ready");
	fcntl(0, F_SETFL, O_NONBLOCK);
	do {
		for (int k = 0; k < 1000; k++, reads++) {
			MUST(shm_read(&v, &x, sizeof x));
			whole(&x, last);
			changes += x.n != last;
			last = x.n;
		}
	} while (read(0, line, sizeof line) < 0);
	say("%" PRId64 " %" PRId64, reads, changes);
}

/* Reads the number "v" into its own commit counter. So a copy counts as overtaken unless
 * its slot has the value of the counter already. */
static void overtaken(const char *name)
{
	shm_value v;
	MUST(shm_new_struct(attach(name), "v", "T{" SHM_U64 ":n:}", sizeof v.cell->commit, NULL, &v));
	MUST(shm_read(&v, &v.cell->commit, sizeof v.cell->commit));
	say("read");
}

/* Changes all values until it is killed. It prints ready after the first round. */
static void storm(const char *name, int i)
{
	shm_segment *s = attach(name);
	shm_value v = number(s, "n"), changed = steady(name), counts, text;
	struct steady x;
	pthread_t thread;
	size_t n;
	char letters[65];
	MUST(shm_new_raw_array(s, "counts", SHM_I64, 6, &counts));
	MUST(shm_new_string(s, "text", 64, &text));
	int64_t *count = shm_ptr_i64(&counts, &n) + i;
	WANT((size_t)i < n);
	struct worker forever = {&v, count, 0}, four = {&v, count, 4};
	WANT(pthread_create(&thread, NULL, work, &forever) == 0);
	for (int64_t last = 0;;) {
		work(&four);
		MUST(shm_lock(&changed));
		MUST(shm_read(&changed, &x, sizeof x));
		whole(&x, last);
		step(&x);
		MUST(shm_commit(&changed, &x, sizeof x));
		MUST(shm_unlock(&changed));
		MUST(shm_read(&changed, &x, sizeof x));
		whole(&x, last);
		bool first = last == 0;
		last = x.n;
		memset(letters, 'a' + i, sizeof letters);
		letters[1 + last % 64] = 0;
		MUST(shm_publish_text(&text, letters));
		MUST(shm_read_text(&text, letters, sizeof letters));
		char one[2] = {letters[0], 0};
		WANT(one[0] != 0 && strspn(letters, one) == strlen(letters));
		if (first)
			say("ready");
	}
}

/* ---- Rows, locks, cells and streams ---- */

struct row {
	int64_t n, twice;
};
#define ROW "T{" SHM_I64 ":n:" SHM_I64 ":twice:}"

struct longer_row {
	int64_t n, twice, more;
};
#define LONGER_ROW "T{" SHM_I64 ":n:" SHM_I64 ":twice:" SHM_I64 ":more:}"

/* Runs f in a child, which then sleeps. */
static pid_t child_with(shm_value *v, void (*f)(shm_value *))
{
	int done[2];
	char b;
	WANT(pipe(done) == 0);
	pid_t child = fork();
	WANT(child >= 0);
	if (child == 0) {
		f(v);
		WANT(write(done[1], "", 1) == 1);
		alarm(20);
		for (;;)
			pause();
	}
	WANT(read(done[0], &b, 1) == 1);
	close(done[0]);
	close(done[1]);
	return child;
}

static void end(pid_t child)
{
	int status;
	WANT(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
}

static void count_ten(shm_value *v)
{
	for (int i = 0; i < 5; i++)
		MUST(shm_count_i64(v, 2));
}

static void count_floats(shm_value *v)
{
	for (int i = 0; i < 20; i++)
		MUST(shm_count_f64(v, 0.5));
}

static void set_gauge(shm_value *v)
{
	MUST(shm_set_gauge_u64(v, 40));
	MUST(shm_add_gauge_u64(v, 2));
}

static void observe_some(shm_value *v)
{
	const double all[] = {-1, 0, 0.5, 1, 3, 1e300, -1e300};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		MUST(shm_observe(v, all[i]));
}

static void take_any(shm_value *v)
{
	uint64_t i;
	MUST(shm_lock_any(v, -1, &i));
	WANT(i == 2);
}

static void *count_more(void *arg)
{
	for (int i = 0; i < 1000; i++)
		MUST(shm_count_i64((shm_value *)arg, 1));
	return NULL;
}

static void *unlock_soon(void *arg)
{
	struct timespec pause = {0, 30000000};
	nanosleep(&pause, NULL);
	MUST(shm_unlock((shm_value *)arg));
	return NULL;
}

static void shared_cells(shm_segment *s)
{
	shm_value v, copy;
	int64_t n;
	uint64_t u, counts[4], parts[4];
	uint32_t pids[4];
	double x;
	pthread_t threads[4];
	MUST(shm_new_counter(s, "counter", SHM_I64, &v));
	pid_t a = child_with(&v, count_ten), b = child_with(&v, count_ten);
	MUST(shm_count_i64(&v, -3));
	MUST(shm_counted_i64(&v, &n));
	WANT(n == 17 && shm_cells_used_(&v) == 3);
	end(a);
	end(b);
	MUST(shm_counted_i64(&v, &n));
	WANT(n == 17);
	end(child_with(&v, count_ten)); /* inherits a cell */
	MUST(shm_counted_i64(&v, &n));
	WANT(n == 27 && shm_cells_used_(&v) == 3);
	MUST(shm_new_counter(s, "counter", SHM_I64, &copy)); /* has the same cell */
	for (int i = 0; i < 4; i++)
		WANT(pthread_create(&threads[i], NULL, count_more, i % 2 == 0 ? &v : &copy) == 0);
	for (int i = 0; i < 4; i++)
		WANT(pthread_join(threads[i], NULL) == 0);
	MUST(shm_counted_i64(&v, &n));
	WANT(n == 4027 && shm_cells_used_(&v) == 3);
	MUST(shm_count_i64(&v, INT64_MAX));
	MUST(shm_counted_i64(&v, &n));
	WANT(n == INT64_MIN + 4026);
	WANT(shm_count_u64(&v, 1) == SHM_ELAYOUT && shm_set_gauge_i64(&v, 1) == SHM_ELAYOUT && shm_observe(&v, 1) == SHM_ELAYOUT);
	WANT(shm_ptr_i64(&v, NULL) == NULL && shm_ptr(&v, SHM_I64, 8) == NULL && shm_add_i64(&v, 1, NULL) == SHM_ELAYOUT);
	WANT(shm_lock(&v) == -EINVAL);

	MUST(shm_new_counter(s, "floats", SHM_F64, &v));
	end(child_with(&v, count_floats));
	MUST(shm_count_f64(&v, 0.25));
	MUST(shm_counted_f64(&v, &x));
	WANT(x == 10.25);
	WANT(shm_new_counter(s, "no", SHM_I32, &v) == -EINVAL && shm_new_gauge(s, "no", SHM_F32, &v) == -EINVAL);

	MUST(shm_new_gauge(s, "gauge", SHM_U64, &v));
	MUST(shm_load_gauge_u64(&v, &u));
	WANT(u == 0);
	a = child_with(&v, set_gauge);
	MUST(shm_set_gauge_u64(&v, 5));
	MUST(shm_load_gauge_u64(&v, &u));
	WANT(u == 47 && shm_gauge_parts_u64(&v, parts, pids, 4) == 2 && parts[0] == 42 && pids[0] == (uint32_t)a && pids[1] == (uint32_t)getpid());
	end(a);
	for (int tries = 0; u != 5 && tries < 2000; tries++) {
		struct timespec pause = {0, 10000000};
		nanosleep(&pause, NULL);
		MUST(shm_load_gauge_u64(&v, &u));
	}
	WANT(u == 5 && shm_gauge_parts_u64(&v, parts, NULL, 0) == 1 && shm_cell_at_(&v, 1)->owner == 0);
	/* All cells belong to living processes: a gauge is full, and a counter is shared. */
	for (uint64_t i = 1; i < shm_cells_of_(&v); i++)
		shm_cell_at_(&v, i)->owner = s->id | SHM_CLEAN_;
	*shm_high_(&v) = shm_cells_of_(&v) + 7;
	MUST(shm_new_counter(s, "shared", SHM_U64, &copy));
	MUST(shm_count_u64(&copy, 1));
	for (uint64_t i = 1; i < shm_cells_of_(&copy); i++)
		shm_cell_at_(&copy, i)->owner = s->id;
	*shm_high_(&copy) = shm_cells_of_(&copy) - 1;
	pid_t other = fork();
	if (other == 0)
		_exit(shm_set_gauge_u64(&v, 1) == SHM_EFULL && shm_count_u64(&copy, 7) == 0 && shm_cell_at_(&copy, 0)->number == 7 ? 0 : 1);
	int status;
	WANT(waitpid(other, &status, 0) == other && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	MUST(shm_counted_u64(&copy, &u));
	WANT(u == 8);

	const double bounds[] = {0, 1, 2.5}, others[] = {0, 1, 2}, falling[] = {1, 0}, endless[] = {0, HUGE_VAL};
	MUST(shm_new_histogram(s, "histogram", bounds, 3, &v));
	end(child_with(&v, observe_some));
	MUST(shm_observe(&v, HUGE_VAL));
	MUST(shm_observe(&v, -HUGE_VAL));
	MUST(shm_observe(&v, HUGE_VAL - HUGE_VAL)); /* no number */
	MUST(shm_load_histogram(&v, counts, &x));
	WANT(counts[0] == 4 && counts[1] == 2 && counts[2] == 0 && counts[3] == 4 && x != x);
	WANT(shm_new_histogram(s, "histogram", others, 3, &v) == SHM_ELAYOUT && shm_new_histogram(s, "histogram", bounds, 2, &v) == SHM_ELAYOUT);
	MUST(shm_new_histogram(s, "histogram", NULL, 0, &v));
	WANT(v.count == 3 && shm_bounds(&v)[2] == 2.5);
	WANT(shm_new_histogram(s, "no", falling, 2, &v) == -EINVAL && shm_new_histogram(s, "no", endless, 2, &v) == -EINVAL);
	WANT(shm_new_histogram(s, "no", NULL, 3, &v) == -EINVAL && shm_new_histogram(s, "no", bounds, SIZE_MAX, &v) == -EINVAL);
	WANT(shm_new_histogram(s, "no", NULL, 0, &v) == -ENOENT && shm_find(s, "no", &v) == -ENOENT);
}

static void shared(const char *name)
{
	shm_segment *s = attach(name), *ro;
	shm_value v, part, longer;
	shm_options o;
	size_t n;
	uint64_t i, seq;
	struct row x = {3, 6};
	struct longer_row y;
	alarm(60);
	MUST(shm_new_atomic_array(s, "atomics", SHM_I32, 5, &v));
	int32_t *p = shm_ptr_i32(&v, &n);
	WANT(p != NULL && n == 5 && __atomic_fetch_add(p + 4, 7, __ATOMIC_SEQ_CST) == 0);
	MUST(shm_new_atomic_array(s, "atomics", SHM_I32, 0, &v));
	WANT(v.count == 5 && shm_ptr_i32(&v, NULL)[4] == 7 && shm_new_atomic_array(s, "no", SHM_F64, 1, &v) == -EINVAL);

	MUST(shm_new_table(s, "table", ROW, sizeof x, 3, &v));
	MUST(shm_row(&v, 1, &part));
	MUST(shm_publish(&part, &x, sizeof x));
	MUST(shm_new_table(s, "table", LONGER_ROW, sizeof y, 0, &longer));
	WANT(longer.count == 3 && shm_read(&longer, &y, sizeof y) == -EINVAL && shm_lock(&longer) == -EINVAL);
	MUST(shm_row(&longer, 1, &part));
	MUST(shm_read(&part, &y, sizeof y));
	WANT(y.n == 3 && y.twice == 6 && y.more == 0);
	y.more = 5;
	MUST(shm_publish(&part, &y, sizeof y));
	MUST(shm_row(&v, 1, &part));
	x.n = 4, x.twice = 8;
	MUST(shm_publish(&part, &x, sizeof x));
	MUST(shm_row(&longer, 1, &part));
	MUST(shm_read(&part, &y, sizeof y));
	WANT(y.n == 4 && y.more == 5 && shm_row(&v, 3, &part) == -EINVAL);
	MUST(shm_row(&v, 2, &part));
	WANT(part.cell->extent == sizeof x);
	WANT(shm_new_struct(s, "table", ROW, sizeof x, NULL, &part) == SHM_ELAYOUT && shm_new_table(s, "table", ROW, sizeof x, 2, &part) == SHM_ELAYOUT);

	MUST(shm_new_mutexes(s, "locks", 3, &v));
	for (uint64_t k = 0; k < 2; k++) {
		MUST(shm_lock_any(&v, 0, &i));
		WANT(i == k);
	}
	pid_t child = child_with(&v, take_any);
	WANT(shm_lock_any(&v, 10000000, &i) == -ETIMEDOUT);
	end(child);
	MUST(shm_lock_any(&v, -1, &i));
	MUST(shm_mutex_at(&v, 2, &part));
	WANT(i == 2 && shm_abandoned(&part));
	pthread_t thread;
	MUST(shm_mutex_at(&v, 1, &part));
	WANT(pthread_create(&thread, NULL, unlock_soon, &part) == 0);
	MUST(shm_lock_any(&v, -1, &i));
	WANT(i == 1 && pthread_join(thread, NULL) == 0 && shm_mutex_at(&v, 3, &part) == -EINVAL && shm_lock(&v) == -EINVAL);
	WANT(shm_new_mutex(s, "locks", &part) == SHM_ELAYOUT && shm_lock_any(&part, 0, &i) == -ETIMEDOUT && shm_ptr(&v, "", 0) == NULL);

	shm_reader first, later, oldest;
	MUST(shm_new_ring(s, "ring", ROW, sizeof x, 3, &v));
	WANT(shm_last(&v, &x, sizeof x, &seq) == -ENOENT && seq == 0);
	MUST(shm_read_from(&v, SHM_NEXT, &first));
	MUST(shm_read_from(&v, 2, &later));
	for (x.n = 1; x.n <= 2; x.n++) {
		x.twice = 2 * x.n;
		MUST(shm_append(&v, &x, sizeof x, &seq));
		WANT(seq == (uint64_t)x.n);
	}
	for (uint64_t k = 1; k <= 2; k++) {
		MUST(shm_next(&first, &x, sizeof x, 0, &seq));
		WANT(seq == k && x.n == (int64_t)k && x.twice == 2 * x.n);
	}
	WANT(shm_next(&first, &x, sizeof x, 1000000, &seq) == -ETIMEDOUT);
	MUST(shm_next(&later, &x, sizeof x, 0, &seq));
	WANT(seq == 2);
	for (x.n = 3; x.n <= 8; x.n++) {
		x.twice = 2 * x.n;
		MUST(shm_append(&v, &x, sizeof x, NULL));
	}
	MUST(shm_read_from(&v, 0, &oldest));
	MUST(shm_next(&oldest, &x, sizeof x, 0, &seq));
	WANT(seq == 6);
	for (uint64_t k = 6; k <= 8; k++) {
		MUST(shm_next(&first, &x, sizeof x, -1, &seq));
		WANT(seq == k && x.n == (int64_t)k);
	}
	MUST(shm_last(&v, &x, sizeof x, &seq));
	WANT(first.missed == 3 && later.missed == 0 && seq == 8 && x.n == 8);
	WANT(shm_append(&v, &x, 8, NULL) == -EINVAL && shm_publish(&v, &x, sizeof x) == -EINVAL);

	shared_cells(s);
	memset(&o, 0, sizeof o);
	o.read_only = true;
	MUST(shm_attach(&ro, name, &o));
	MUST(shm_find(ro, "counter", &v));
	int64_t sum;
	MUST(shm_counted_i64(&v, &sum));
	WANT(sum == INT64_MIN + 4026 && shm_count_i64(&v, 1) == -EROFS);
	MUST(shm_find(ro, "ring", &v));
	MUST(shm_last(&v, &x, sizeof x, &seq));
	WANT(x.n == 8 && shm_append(&v, &x, sizeof x, NULL) == -EROFS);
	MUST(shm_find(ro, "locks", &v));
	WANT(shm_lock_any(&v, 0, &i) == -EROFS);
	MUST(shm_find(ro, "table", &v));
	MUST(shm_row(&v, 1, &part));
	MUST(shm_read(&part, &y, sizeof y));
	WANT(y.n == 4);
	shm_detach(ro);
	shm_detach(s);
	say("fine");
}

/* Counts, observes, appends and changes rows until it is killed. What is done it notes in
 * its own number afterwards. */
static void share(const char *name, int who)
{
	shm_segment *s = attach(name);
	shm_value counter, floats, histogram, gauge, ring, table, row, acks;
	struct row x;
	shm_reader r;
	uint64_t last = 0, seq;
	size_t n;
	const double bounds[] = {1, 2, 3};
	MUST(shm_new_counter(s, "counter", SHM_I64, &counter));
	MUST(shm_new_counter(s, "floats", SHM_F64, &floats));
	MUST(shm_new_histogram(s, "histogram", bounds, 3, &histogram));
	MUST(shm_new_gauge(s, "gauge", SHM_I64, &gauge));
	MUST(shm_new_ring(s, "ring", ROW, sizeof x, 16, &ring));
	MUST(shm_new_table(s, "table", ROW, sizeof x, 4, &table));
	MUST(shm_new_raw_array(s, "acks", SHM_I64, 6, &acks));
	int64_t *ack = shm_ptr_i64(&acks, &n) + who;
	WANT((size_t)who < n);
	MUST(shm_read_from(&ring, SHM_NEXT, &r));
	MUST(shm_set_gauge_i64(&gauge, 1));
	for (int64_t k = 0;; k++) {
		MUST(shm_count_i64(&counter, 1));
		MUST(shm_count_f64(&floats, 0.5));
		MUST(shm_observe(&histogram, (double)(k % 5)));
		x.n = k;
		x.twice = 2 * k;
		MUST(shm_append(&ring, &x, sizeof x, NULL));
		MUST(shm_row(&table, (uint64_t)k % 4, &row));
		MUST(shm_lock(&row));
		MUST(shm_read(&row, &x, sizeof x));
		WANT(x.twice == 2 * x.n);
		x.n++;
		x.twice += 2;
		MUST(shm_commit(&row, &x, sizeof x));
		MUST(shm_unlock(&row));
		__atomic_store_n(ack, *ack + 1, __ATOMIC_SEQ_CST);
		for (int i = 0; i < 4 && shm_next(&r, &x, sizeof x, 0, &seq) == 0; i++, last = seq)
			WANT(x.twice == 2 * x.n && seq > last);
		if (k == 0)
			say("ready");
	}
}

/* Makes values until it is killed. */
static void maker(const char *name, int who)
{
	shm_segment *s = attach(name);
	shm_value v;
	char value[64];
	say("ready");
	for (int i = 0;; i++) {
		int64_t init = i;
		snprintf(value, sizeof value, "%d of %d", i, who);
		if (i % 2 == 0)
			MUST(shm_new_raw(s, value, SHM_I64, &init, &v));
		else
			MUST(shm_new_string(s, value, 1000, &v));
	}
}

/* ---- Verbs ---- */

/* Adds *arg, unless that is 0. */
static int plus(int64_t *x, void *arg)
{
	*x += *(int64_t *)arg;
	return *(int64_t *)arg == 0 ? 7 : 0;
}

static int half(double *x, void *arg)
{
	(void)arg;
	*x /= 2;
	return 0;
}

static int keep(int64_t *x, void *arg)
{
	(void)x, (void)arg;
	return 0;
}

static int end_thread(int64_t *x, void *arg)
{
	(void)x, (void)arg;
	pthread_exit(NULL);
	return 0;
}

static int unlock_inside(int64_t *x, void *arg)
{
	++*x;
	return shm_unlock((const shm_value *)arg);
}

static int unlock_row(void *x, void *arg)
{
	((struct row *)x)->n++;
	return shm_unlock((const shm_value *)arg);
}

static void *update_and_end(void *v)
{
	(void)!shm_update_i64((const shm_value *)v, end_thread, NULL, -1);
	return NULL;
}

static int step_row(void *x, void *arg)
{
	struct row *r = (struct row *)x;
	r->n++;
	r->twice += 2;
	return arg == NULL ? 0 : -ECANCELED;
}

static int same_row(void *x, void *arg)
{
	(void)x, (void)arg;
	return 0;
}

static void hold(shm_value *v) { MUST(shm_lock(v)); }

static void numbers_change(shm_segment *s)
{
	shm_value v, a;
	int64_t x = 5, old = 0, d = 10;
	double f = 8;
	uint32_t change;
	MUST(shm_new_number(s, "swapped", SHM_I64, &x, &v));
	MUST(shm_swap_i64(&v, 6, &old));
	WANT(old == 5);
	MUST(shm_swap_i64(&v, 7, NULL));
	x = 5;
	WANT(shm_cas_i64(&v, &x, 8) == -EAGAIN && x == 7);
	MUST(shm_cas_i64(&v, &x, 8));
	MUST(shm_update_i64(&v, plus, &d, -1));
	d = 0;
	change = v.cell->change;
	WANT(shm_update_i64(&v, plus, &d, -1) == 7); /* what f returns, and nothing is changed */
	v.cell->change |= SHM_AWAITED_;
	MUST(shm_update_i64(&v, keep, NULL, -1));
	WANT(v.cell->change == (change | SHM_AWAITED_)); /* nobody is told of no change */
	WANT(shm_update_i64(&v, unlock_inside, &v, -1) == -EPERM); /* another process may have the lock by now */
	MUST(shm_load_i64(&v, &x));
	WANT(x == 18 && v.cell->word == 0);
	WANT(shm_swap_i32(&v, 1, NULL) == SHM_ELAYOUT && shm_update_f64(&v, half, NULL, 0) == SHM_ELAYOUT);
	/* A thread that leaves f for good unlocks, and changes nothing. */
	pthread_t thread;
	WANT(pthread_create(&thread, NULL, update_and_end, &v) == 0 && pthread_join(thread, NULL) == 0);
	MUST(shm_load_i64(&v, &old));
	WANT(old == 18 && v.cell->word == 0);
	MUST(shm_new_array(s, "swaps", SHM_F64, 3, &a));
	MUST(shm_swap_f64_at(&a, 2, f, &f));
	MUST(shm_update_f64_at(&a, 2, half, NULL, -1));
	f = 4;
	MUST(shm_cas_f64_at(&a, 2, &f, -0.0));
	f = 0; /* is equal to -0 */
	MUST(shm_cas_f64_at(&a, 2, &f, f - f));
	f = HUGE_VAL - HUGE_VAL;
	WANT(shm_cas_f64_at(&a, 2, &f, 1) == -EAGAIN && shm_cas_f64_at(&a, 3, &f, 1) == -EINVAL && shm_swap_f64_at(&a, 3, 1, NULL) == -EINVAL);
	pid_t child = child_with(&v, hold);
	int64_t start = shm_now_();
	d = 1;
	WANT(shm_update_i64(&v, plus, &d, 20000000) == -ETIMEDOUT && shm_now_() - start >= 20000000);
	end(child);
	MUST(shm_update_i64(&v, plus, &d, -1)); /* from the dead */
	WANT(shm_abandoned(&v));
	MUST(shm_load_i64(&v, &x));
	WANT(x == 19);
}

struct together {
	const shm_value *a, *b, *text;
	struct row x, y;
	char letters[9];
	int calls, fails;
};

static int read_together(void *arg)
{
	struct together *t = (struct together *)arg;
	t->calls++;
	if (t->fails != 0)
		return t->fails;
	MUST(shm_read(t->a, &t->x, sizeof t->x));
	MUST(shm_read(t->b, &t->y, sizeof t->y));
	MUST(shm_read_text(t->text, t->letters, sizeof t->letters));
	return 0;
}

static int read_beside_a_writer(void *arg)
{
	struct together *t = (struct together *)arg;
	int err = shm_update(t->a, step_row, NULL, &t->x, sizeof t->x, 0);
	WANT(err == (t->calls < 64 + 1 ? 0 : -ETIMEDOUT)); /* then the snapshot holds the lock */
	return read_together(arg);
}

static bool stop_moving;

static void *move(void *arg)
{
	const struct together *t = (const struct together *)arg;
	struct row x;
	while (!__atomic_load_n(&stop_moving, __ATOMIC_RELAXED)) { /* b is never ahead of a */
		MUST(shm_update(t->a, step_row, NULL, &x, sizeof x, -1));
		MUST(shm_update(t->b, step_row, NULL, &x, sizeof x, -1));
	}
	return NULL;
}

static void published_changes(shm_segment *s)
{
	shm_value a, b, text, table, row, ring;
	struct row x = {1, 2}, y;
	uint64_t commit = UINT64_MAX, seq;
	MUST(shm_new_struct(s, "a", ROW, sizeof x, &x, &a));
	MUST(shm_next_commit(&a, &commit, 0));
	WANT(commit == 0 && shm_next_commit(&a, &commit, 1000000) == -ETIMEDOUT);
	MUST(shm_update(&a, step_row, NULL, &y, sizeof y, -1));
	WANT(y.n == 2 && y.twice == 4);
	MUST(shm_next_commit(&a, &commit, 0));
	WANT(commit == 1);
	WANT(shm_update(&a, step_row, &x, &y, sizeof y, -1) == -ECANCELED && shm_update(&a, step_row, NULL, &y, 4, -1) == -EINVAL);
	MUST(shm_update(&a, same_row, NULL, &y, sizeof y, -1));
	WANT(shm_update(&a, unlock_row, &a, &y, sizeof y, -1) == -EPERM);
	MUST(shm_read(&a, &y, sizeof y));
	WANT(y.n == 2 && shm_next_commit(&a, &commit, 0) == -ETIMEDOUT && a.cell->word == 0);
	MUST(shm_publish_for(&a, &x, sizeof x, 0));
	pid_t child = child_with(&a, hold);
	WANT(shm_publish_for(&a, &x, sizeof x, 5000000) == -ETIMEDOUT && shm_update(&a, step_row, NULL, &y, sizeof y, 0) == -ETIMEDOUT);
	end(child);
	MUST(shm_new_string(s, "t", 8, &text));
	MUST(shm_publish_text_for(&text, "text", -1));
	MUST(shm_new_table(s, "rows", ROW, sizeof x, 3, &table));
	MUST(shm_row(&table, 2, &row));
	MUST(shm_update(&row, step_row, NULL, &y, sizeof y, -1));
	WANT(y.n == 1 && shm_update(&table, step_row, NULL, &y, sizeof y, -1) == -EINVAL && shm_next_commit(&table, &commit, 0) == -EINVAL);
	MUST(shm_new_ring(s, "r", ROW, sizeof x, 2, &ring));
	commit = 0;
	MUST(shm_append(&ring, &x, sizeof x, &seq));
	MUST(shm_next_commit(&ring, &commit, 0));
	WANT(commit == seq);

	MUST(shm_new_struct(s, "b", ROW, sizeof x, &x, &b));
	MUST(shm_publish(&a, &x, sizeof x));
	const shm_value *all[] = {&b, &table, &a, &text, &a, &ring};
	struct together t;
	memset(&t, 0, sizeof t);
	t.a = &a, t.b = &b, t.text = &text;
	MUST(shm_snapshot(all, 6, read_together, &t));
	WANT(t.calls == 1 && t.x.n == 1 && t.y.n == 1 && strcmp(t.letters, "text") == 0);
	MUST(shm_snapshot(all, 6, read_beside_a_writer, &t));
	WANT(t.calls > 64 && a.cell->word == 0 && b.cell->word == 0);
	t.fails = -ECANCELED;
	WANT(shm_snapshot(all, 6, read_together, &t) == -ECANCELED);
	t.fails = 0;
	MUST(shm_publish(&a, &x, sizeof x));
	MUST(shm_publish(&b, &x, sizeof x));
	pthread_t thread;
	WANT(pthread_create(&thread, NULL, move, &t) == 0);
	struct together u = t;
	for (int i = 0; i < 500; i++) {
		MUST(shm_snapshot(all, 6, read_together, &u));
		WANT(u.x.n == u.y.n || u.x.n == u.y.n + 1);
	}
	__atomic_store_n(&stop_moving, true, __ATOMIC_RELAXED);
	WANT(pthread_join(thread, NULL) == 0);
	shm_value number;
	MUST(shm_find(s, "swapped", &number));
	const shm_value *other[] = {&number};
	WANT(shm_snapshot(other, 1, read_together, &t) == -EINVAL && shm_next_commit(&number, &commit, 0) == -EINVAL);
}

static void is_text(const shm_value *v, const char *wanted)
{
	char text[400], less[4];
	int n = shm_text(v, text, sizeof text);
	MUST(n);
	if (strcmp(text, wanted) != 0 || n != (int)strlen(wanted))
		fail("the text is %s, want %s", text, wanted);
	WANT(shm_text(v, less, sizeof less) == n && shm_text(v, NULL, 0) == n && strlen(less) == (size_t)(n < 3 ? n : 3));
}

static void texts_of_values(shm_segment *s)
{
	shm_value v, row;
	char b[200];
	struct status st = {100, 0.5, {1, 2, 3, 4}, "ho\"st\033", 1, {0}};
	shm_type type;
	MUST(shm_new_struct(s, "status", STATUS, sizeof st, &st, &v));
	is_text(&v, "{hits: 100, load: 0.5, flags: [1, 2, 3, 4], host: \"ho\\\"st\\x1b\", ok: true}");
	MUST(shm_set_text(&v, " {load: 1e3, flags:[2:9 , 0: 0x10], \"host\": \"\\u00e9\\n\", ok: false} ", -1));
	is_text(&v, "{hits: 100, load: 1000, flags: [16, 2, 9, 4], host: \"\303\251\\n\", ok: false}");
	uint64_t commit = v.cell->commit;
	MUST(shm_set_text(&v, "{hits: 0x_6_4}", -1));
	WANT(v.cell->commit == commit);
	const char *const wrong[] = {"", "{", "{hits}", "{hits: }", "{hits: 1,}", "{hits: 1, hits: 2}", "{other: 1}", "{flags: [1, 2, 3]}", "{flags: [4: 1]}", "{flags: [0: 1, 0: 2]}",
		"{flags: [1, 2, 3, 4, 5]}", "{host: text}", "{host: \"a}", "{host: \"\\q\"}", "{host: \"a\\x00b\"}", "{ok: 2}", "{hits: 1} x", "{load: 1,5}", "{load: 0x1}", "{hits: 0x}", "{hits: 1_0}", "{hits: 0x1_}", "{hits: 0x1__0}"};
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		if (shm_set_text(&v, wrong[i], -1) != -EINVAL)
			fail("%s is accepted", wrong[i]);
	WANT(shm_set_text(&v, "{hits: 9223372036854775808}", -1) == -ERANGE && shm_set_text(&v, "{flags: [0: 256]}", -1) == -ERANGE && shm_set_text(&v, "{load: 1e39}", -1) == -ERANGE);
	WANT(shm_set_text(&v, "{host: \"more than sixteen\"}", -1) == SHM_ETOOLONG && v.cell->commit == commit && v.cell->word == 0);
	pid_t child = child_with(&v, hold);
	WANT(shm_set_text(&v, "{hits: 1}", 5000000) == -ETIMEDOUT);
	end(child);
	MUST(shm_new_raw_array(s, "complex", SHM_C128, 2, &v));
	MUST(shm_set_text(&v, "[(1-2.5i), complex(NaN, -Inf)]", -1));
	is_text(&v, "[(1-2.5i), (NaN-Infi)]");
	MUST(shm_new_string(s, "any text", 40, &v));
	MUST(shm_set_text(&v, "no quotes: \"are\" needed", -1));
	is_text(&v, "\"no quotes: \\\"are\\\" needed\"");
	MUST(shm_new_mutexes(s, "two", 2, &v));
	is_text(&v, "[free, free]");
	MUST(shm_mutex_at(&v, 1, &row));
	MUST(shm_lock(&row));
	snprintf(b, sizeof b, "held by \"%.48s\" (pid %d)", program_invocation_short_name, (int)getpid());
	is_text(&row, b);
	shm_lock_info l;
	MUST(shm_lock_state(&row, &l));
	WANT(l.held && l.alive && !l.waiting && !l.abandoned && l.owner.pid == (uint32_t)getpid() && l.owner.id == s->id && shm_alive(s, l.owner.id));
	MUST(shm_unlock(&row));
	MUST(shm_lock_state(&row, &l));
	WANT(!l.held && !l.alive && l.owner.id == 0 && shm_lock_state(&v, &l) == -EINVAL && shm_set_text(&v, "free", -1) == -EINVAL);
	MUST(shm_find(s, "rows", &v));
	MUST(shm_set_text(&v, "[1: {n: 4}]", -1));
	is_text(&v, "[{n: 0, twice: 0}, {n: 4, twice: 0}, {n: 1, twice: 2}]");
	MUST(shm_row(&v, 1, &row));
	is_text(&row, "{n: 4, twice: 0}");
	MUST(shm_set_text(&row, "{twice: 8}", -1));
	is_text(&row, "{n: 4, twice: 8}");
	MUST(shm_find(s, "r", &v));
	is_text(&v, "[{n: 1, twice: 2}]");
	WANT(shm_set_text(&v, "[]", -1) == -EINVAL);
	/* Unit, help and hint; names that a terminal must not see. */
	memset(&type, 0, sizeof type);
	type.access = SHM_LOCKED;
	type.kind = SHM_SINGLE;
	type.format = SHM_I64;
	type.unit = "ns\033";
	type.help = "how long it took";
	type.hint = SHM_HINT_DURATION;
	MUST(shm_make(s, "took\302\205\342\200\256x", &type, &v));
	WANT(v.hint == SHM_HINT_DURATION && v.code == 'q');
	shm_entry e;
	MUST(shm_lookup(s, "took\302\205\342\200\256x", &e));
	WANT(strcmp(e.unit, type.unit) == 0 && strcmp(e.help, type.help) == 0 && e.pid == (uint32_t)getpid() && e.bytes == 8 && e.offset % 64 == 48);
	WANT(shm_quote(e.name, b, sizeof b) == (int)strlen(b) && strcmp(b, "\"took\\u0085\\u202ex\"") == 0);
	WANT(shm_quote("a\\\"\xff\xf0\x9f\x98\x80", b, sizeof b) > 0 && strcmp(b, "\"a\\\\\\\"\\xff\xf0\x9f\x98\x80\"") == 0);
	shm_free_entry(&e);
	MUST(shm_new_raw(s, "field", "T{" SHM_I64 ":a\302\205\342\200\256:}", NULL, &v));
	WANT(shm_describe(&v, b, sizeof b) > 0 && strstr(b, ":a\\u0085\\u202e:}") != NULL);
	is_text(&v, "{\"a\\u0085\\u202e\": 0}");
	MUST(shm_set_text(&v, "{\"a\\u0085\\u202e\" : 3}", -1));
	WANT(shm_lookup(s, "not there", &e) == -ENOENT && e.texts_ == NULL);
	type.format = "";
	WANT(shm_make(s, "no", &type, &v) == -EINVAL);
	type.format = SHM_C128;
	WANT(shm_make(s, "no", &type, &v) == -EINVAL);
	type.kind = SHM_GROWTH_;
	WANT(shm_make(s, "no", &type, &v) == -EINVAL && shm_find(s, "no", &v) == -ENOENT);
	char long_text[5000];
	memset(long_text, 'x', sizeof long_text - 1);
	long_text[sizeof long_text - 1] = 0;
	type.kind = SHM_SINGLE;
	/* What an extent can count is the limit of a struct, and of no other value. */
	if (sizeof(size_t) == 8) {
		static const char large[] = "(4294967296)" SHM_U8;
		const uint64_t size = UINT64_C(1) << 32;
		uint64_t used;
		MUST(shm_used_(s, &used));
		type.access = SHM_PUBLISHED;
		type.format = large;
		WANT(shm_make(s, "no", &type, &v) == -EINVAL && shm_new_struct(s, "no", large, (size_t)size, NULL, &v) == -EINVAL);
		WANT(shm_new_table(s, "no", large, (size_t)size, 1, &v) == -EINVAL && shm_new_ring(s, "no", large, (size_t)size, 1, &v) == SHM_EFULL);
		uint64_t after;
		MUST(shm_used_(s, &after));
		WANT(after == used);
		type.access = SHM_LOCKED;
		type.format = SHM_I64;
	}
	/* First values: a text may be shorter than its memory, and some kinds have none. */
	char *hello = strdup("hello"); /* on the heap, where the sanitizer sees what is read behind it */
	memset(&type, 0, sizeof type);
	type.access = SHM_PUBLISHED;
	type.kind = SHM_CHARS;
	type.format = SHM_CHAR;
	type.count = 4000;
	type.init = hello;
	MUST(shm_make(s, "hello", &type, &v));
	is_text(&v, "\"hello\"");
	type.access = SHM_RAW;
	type.count = 3;
	MUST(shm_make(s, "hel", &type, &v));
	is_text(&v, "\"hel\"");
	type.access = SHM_PUBLISHED;
	type.format = SHM_I64;
	type.kind = SHM_RING;
	WANT(shm_make(s, "no", &type, &v) == -EINVAL);
	type.kind = SHM_ARRAY;
	WANT(shm_make(s, "no", &type, &v) == -EINVAL);
	type.access = SHM_LOCKED;
	type.kind = SHM_MUTEX;
	WANT(shm_make(s, "no", &type, &v) == -EINVAL);
	type.init = NULL; /* and a lock has no type */
	type.count = 0;
	WANT(shm_make(s, "no", &type, &v) == -EINVAL);
	type.count = 2;
	WANT(shm_make(s, "no", &type, &v) == -EINVAL);
	type.init = hello;
	type.access = SHM_ATOMIC;
	type.count = 0;
	type.kind = SHM_COUNTER;
	WANT(shm_make(s, "no", &type, &v) == -EINVAL);
	type.kind = SHM_GAUGE;
	WANT(shm_make(s, "no", &type, &v) == -EINVAL && shm_find(s, "no", &v) == -ENOENT);
	free(hello);
	/* Powers of two, whose neighbours are not equally far. */
	double small = 5.9604644775390625e-08; /* 2^-24 */
	float half = 1.2621774483536189e-29f;  /* 2^-96 */
	MUST(shm_new_raw(s, "2^-24", SHM_F64, &small, &v));
	is_text(&v, "5.960464477539063e-08");
	MUST(shm_new_raw(s, "2^-96", SHM_F32, &half, &v));
	is_text(&v, "1.2621775e-29");
	memset(&type, 0, sizeof type);
	type.access = SHM_LOCKED;
	type.kind = SHM_SINGLE;
	type.format = SHM_I64;
	type.help = long_text;
	WANT(shm_make(s, "no", &type, &v) == SHM_ETOOLONG);
	/* All entries. */
	int n = 0, growths = 0;
	MUST(shm_new_struct(s, "status", LONGER, sizeof(struct longer), NULL, &v));
	memset(&e, 0, sizeof e);
	int err;
	while ((err = shm_next_entry(s, &e)) == 0) {
		n++;
		shm_value found;
		MUST(shm_find(s, e.name, &found));
		WANT(found.record == e.value.record && found.size == e.value.size && (e.bytes > 0) == (e.value.kind != SHM_MUTEX));
		growths += strcmp(e.format, LONGER) == 0;
		if (n == 3) { /* another walk */
			shm_entry other;
			memset(&other, 0, sizeof other);
			MUST(shm_next_entry(s, &other));
			shm_free_entry(&other);
		}
	}
	uint64_t values;
	WANT(err == -ENOENT && e.texts_ == NULL && growths == 1 && shm_unseal_(&s->header->values, &values) && values == (uint64_t)n);
}

static void who_is_there(shm_segment *s)
{
	shm_value v;
	shm_process all[8];
	MUST(shm_find(s, "swapped", &v));
	int before = shm_processes(s, all, 8);
	MUST(before);
	pid_t child = child_with(&v, hold);
	WANT(shm_processes(s, all, 8) == before + 1 && all[before].pid == (uint32_t)child && all[0].id < all[before].id && shm_processes(s, NULL, 0) == before + 1);
	shm_lock_info l;
	MUST(shm_lock_state(&v, &l));
	WANT(l.held && l.alive && l.owner.id == all[before].id && l.owner.pid == (uint32_t)child);
	WANT(shm_await_exit(s, l.owner.id, 5000000) == -ETIMEDOUT && shm_await_exit(s, 0, 0) == -EINVAL);
	end(child);
	MUST(shm_await_exit(s, l.owner.id, -1));
	WANT(!shm_alive(s, l.owner.id) && shm_alive(s, s->id) && !shm_alive(s, 0));
	MUST(shm_lock_state(&v, &l));
	WANT(l.held && !l.alive);
	MUST(shm_lock(&v));
	MUST(shm_lock_state(&v, &l));
	WANT(l.alive && l.abandoned && l.takeovers > 0);
	shm_consistent(&v);
	MUST(shm_unlock(&v));
}

/* The child of an anonymous segment's owner. */
static void inherited(const char *name)
{
	shm_segment *s, *again;
	shm_value v;
	int64_t sum;
	MUST(shm_inherited(&s, name, NULL));
	WANT(strcmp(shm_name(s), name) == 0);
	MUST(shm_new_number(s, "n", SHM_I64, NULL, &v));
	MUST(shm_add_i64(&v, 1, &sum));
	MUST(shm_inherited(&again, name, NULL)); /* more than once */
	shm_detach(again);
	WANT(shm_inherited(&again, "other", NULL) == -ENOENT && again == NULL);
	MUST(shm_lock(&v));
	say("inherited %" PRId64, sum);
	char line[16];
	if (fgets(line, sizeof line, stdin) == NULL) /* killed, or the end: with the lock */
		return;
	MUST(shm_unlock(&v));
	shm_detach(s);
	/* What was handed over stays. */
	MUST(shm_inherited(&s, name, NULL));
	MUST(shm_new_number(s, "n", SHM_I64, NULL, &v));
	MUST(shm_add_i64(&v, 1, &sum));
	shm_detach(s);
	say("again %" PRId64, sum);
}

static void segments_of_all_kinds(const char *name, shm_segment *named)
{
	shm_segment *s, *ro;
	shm_value v;
	shm_options o;
	int64_t n;
	MUST(shm_sync(named));
	WANT(shm_size(named) >= 65536 && strcmp(shm_name(named), name) == 0 && shm_replaced(named) == 0);
	memset(&o, 0, sizeof o);
	o.max_size = 1 << 20;
	MUST(shm_anonymous(&s, &o));
	WANT(strcmp(shm_name(s), "") == 0 && shm_replaced(s) == 0 && ftruncate(s->fd, 100) != 0 && errno == EPERM);
	o.read_only = true;
	WANT(shm_anonymous(&ro, &o) == -EINVAL);
	MUST(shm_new_number(s, "n", SHM_I64, NULL, &v));
	MUST(shm_sync(s));
	shm_passing p;
	MUST(shm_pass(s, &p));
	WANT(p.fd >= 3 && p.socket >= 3 && strncmp(p.variable, "SHM_SEGMENT_=", 13) == 0);
	pid_t child = fork();
	if (child == 0) {
		char *args[] = {program_invocation_name, (char *)(uintptr_t) "inherited", (char *)(uintptr_t) "", NULL};
		int null = open("/dev/null", O_RDWR);
		WANT(dup2(null, 0) == 0 && dup2(null, 1) == 1);
		MUST(shm_pass_on(&p));
		execv("/proc/self/exe", args);
		_exit(1);
	}
	shm_pass_end(&p);
	shm_pass_end(&p);
	int status;
	WANT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	MUST(shm_lock_for(&v, 5000000000)); /* the child ended with the lock: its lease has ended, too */
	WANT(shm_abandoned(&v));
	MUST(shm_unlock(&v));
	MUST(shm_load_i64(&v, &n));
	WANT(n == 1);
	WANT(shm_wait_for(s, "", -1, &v) == -EINVAL && shm_wait_for(s, "a\nb", -1, &v) == -EINVAL);
	shm_detach(s);
	char pipe_name[300];
	snprintf(pipe_name, sizeof pipe_name, "/dev/shm/%s-pipe", name);
	WANT(mkfifo(pipe_name, 0600) == 0 && shm_remove(pipe_name) == SHM_EINSECURE && unlink(pipe_name) == 0);
	MUST(shm_remove(name));
	WANT(shm_replaced(named) == 1);
	MUST(shm_attach(&s, name, NULL));
	WANT(shm_replaced(named) == 1 && shm_replaced(s) == 0);
	shm_detach(s);
}

static void *answer(void *s)
{
	while (!__atomic_load_n(&stop_moving, __ATOMIC_RELAXED)) {
		int err = shm_answer((shm_segment *)s, 50000000);
		WANT(err == 0 || err == -ETIMEDOUT);
	}
	return NULL;
}

struct waiter {
	shm_segment *s;
	long n;
	int err;
};

static void *await_here(void *arg)
{
	struct waiter *w = (struct waiter *)arg;
	shm_value v;
	MUST(shm_find(w->s, "asked", &v));
	w->err = shm_await(&v, reached, &w->n, -1);
	return NULL;
}

static void *await_a_name(void *arg)
{
	struct waiter *w = (struct waiter *)arg;
	shm_value v;
	w->err = shm_wait_for(w->s, "named later", -1, &v);
	return NULL;
}

static void pause_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	nanosleep(&t, NULL);
}

/* A function for shm_await in which the thread can be cancelled. */
static bool never(const shm_value *v, void *arg)
{
	(void)v, (void)arg;
	pause_ms(1);
	return false;
}

static void *await_slowly(void *s)
{
	shm_value v;
	MUST(shm_find((shm_segment *)s, "asked", &v));
	(void)!shm_await(&v, never, NULL, -1);
	return NULL;
}

static bool answered; /* by a thread that is to be cancelled */

/* A thread that answers is not cancelled inside, also while it pauses between two answers. */
static void *answer_twice(void *s)
{
	(void)!shm_answer((shm_segment *)s, 0);
	pthread_cancel(pthread_self());
	(void)!shm_answer((shm_segment *)s, 0);
	answered = true;
	return NULL;
}

static void asks(const char *name, shm_segment *s)
{
	shm_segment *ro;
	shm_value v;
	shm_options o;
	pthread_t threads[3], answerer;
	memset(&o, 0, sizeof o);
	o.read_only = true;
	MUST(shm_new_number(s, "asked", SHM_I64, NULL, &v));
	MUST(shm_attach(&ro, name, &o));
	WANT(shm_answer(ro, 0) == -EROFS && shm_answer(s, 0) == -ETIMEDOUT);
	WANT(pthread_create(&answerer, NULL, answer_twice, s) == 0 && pthread_join(answerer, NULL) == 0 && answered);
	struct waiter one = {ro, 1, -1}, two = {ro, 2, -1}, three = {ro, 0, -1};
	WANT(pthread_create(&threads[0], NULL, await_here, &one) == 0 && pthread_create(&threads[1], NULL, await_here, &two) == 0);
	__atomic_store_n(&stop_moving, false, __ATOMIC_RELAXED);
	WANT(pthread_create(&answerer, NULL, answer, s) == 0);
	for (int i = 0; (__atomic_load_n(&v.cell->change, __ATOMIC_SEQ_CST) & SHM_AWAITED_) == 0; i++, pause_ms(5))
		WANT(i < 2000); /* somebody has announced those who ask */
	MUST(shm_add_i64(&v, 1, NULL));
	WANT(pthread_join(threads[0], NULL) == 0 && one.err == 0);
	for (int i = 0; (__atomic_load_n(&v.cell->change, __ATOMIC_SEQ_CST) & SHM_AWAITED_) == 0; i++, pause_ms(5))
		WANT(i < 2000);
	MUST(shm_add_i64(&v, 1, NULL));
	WANT(pthread_join(threads[1], NULL) == 0 && two.err == 0);
	WANT(pthread_create(&threads[2], NULL, await_a_name, &three) == 0);
	for (int i = 0; (__atomic_load_n(&s->header->names, __ATOMIC_SEQ_CST) & SHM_AWAITED_) == 0; i++, pause_ms(5))
		WANT(i < 2000);
	shm_value made;
	MUST(shm_new_raw(s, "named later", SHM_I64, NULL, &made));
	WANT(pthread_join(threads[2], NULL) == 0 && three.err == 0);
	__atomic_store_n(&stop_moving, true, __ATOMIC_RELAXED);
	WANT(pthread_join(answerer, NULL) == 0);
	/* Nothing is asked any more. A value's bytes that look like a byte of another lock are
	 * refused. */
	struct flock l;
	WANT(ro->askers == NULL && shm_file_lock_(s->fd, F_OFD_GETLK, F_WRLCK, SHM_ASK_BASE_, SHM_ASK_BYTES_, &l) == 0 && l.l_type == F_UNLCK);
	WANT(shm_asked_(s, shm_ask_byte_(&v)) == &v.cell->change && shm_asked_(s, SHM_ASK_BASE_) == &s->header->names && shm_asked_(s, SHM_ASK_BASE_ + 1) == NULL);
	WANT(shm_asked_(s, shm_ask_byte_(&v) + 2) == NULL && shm_asked_(s, shm_ask_byte_(&v) - 2) == NULL);
	/* A thread that ends in what it was given to call asks no more. An answer may have come
	 * after the waiter had left; the change takes that back, and then the thread has to ask. */
	void *result;
	MUST(shm_add_i64(&v, 1, NULL));
	WANT(pthread_create(&threads[0], NULL, await_slowly, ro) == 0);
	for (int i = 0; shm_file_lock_(s->fd, F_OFD_GETLK, F_WRLCK, SHM_ASK_BASE_, SHM_ASK_BYTES_, &l) == 0 && l.l_type == F_UNLCK; i++, pause_ms(1))
		WANT(i < 5000);
	WANT(pthread_cancel(threads[0]) == 0 && pthread_join(threads[0], &result) == 0 && result == PTHREAD_CANCELED && ro->askers == NULL);
	WANT(shm_file_lock_(s->fd, F_OFD_GETLK, F_WRLCK, SHM_ASK_BASE_, SHM_ASK_BYTES_, &l) == 0 && l.l_type == F_UNLCK);
	shm_detach(ro);
}

/* All verbs that need no other program. */
static void verbs(const char *name)
{
	shm_segment *s = attach(name);
	alarm(300);
	numbers_change(s);
	published_changes(s);
	texts_of_values(s);
	who_is_there(s);
	asks(name, s);
	segments_of_all_kinds(name, s);
	shm_detach(s);
	shm_remove(name);
	say("fine");
}

/* Obeys commands about the values of a segment, one a line. */
static void tool(const char *name)
{
	shm_segment *s = attach(name);
	shm_value v;
	char *line = NULL, *text = NULL;
	size_t room = 0;
	ssize_t n;
	say("ready");
	while ((n = getline(&line, &room, stdin)) > 0) {
		line[n - (line[n - 1] == '\n')] = 0;
		char *verb = strtok(line, " "), *value = strtok(NULL, " "), *rest = strtok(NULL, "");
		int err = 0;
		if (strcmp(verb, "list") == 0) {
			shm_entry e;
			memset(&e, 0, sizeof e);
			while ((err = shm_next_entry(s, &e)) == 0) {
				char quoted[4][1100];
				shm_quote(e.name, quoted[0], sizeof quoted[0]);
				shm_quote(e.unit, quoted[1], sizeof quoted[1]);
				shm_quote(e.help, quoted[2], sizeof quoted[2]);
				shm_quote(e.program, quoted[3], sizeof quoted[3]);
				say("%s %s %" PRIu64 " %d %s %s %u %u %s %" PRIu64 " %" PRIu64, quoted[0], *e.format == 0 ? "-" : e.format, e.value.count, e.value.access, quoted[1], quoted[2],
					(unsigned)e.value.hint, (unsigned)e.pid, quoted[3], e.offset, e.bytes);
			}
			say(err == -ENOENT ? "end" : "%s", shm_strerror(err));
			continue;
		}
		if (value == NULL)
			fail("no value in %s", line);
		if (strcmp(verb, "make") == 0) { /* a duration in ns, with a text */
			shm_type type;
			memset(&type, 0, sizeof type);
			int64_t first = 1500;
			type.access = SHM_LOCKED;
			type.kind = SHM_SINGLE;
			type.format = SHM_I64;
			type.init = &first;
			type.unit = "ns";
			type.help = rest;
			type.hint = SHM_HINT_DURATION;
			err = shm_make(s, value, &type, &v);
		} else if ((err = shm_find(s, value, &v)) == 0 && strcmp(verb, "set") == 0) {
			err = shm_set_text(&v, rest == NULL ? "" : rest, -1);
		} else if (err == 0 && strcmp(verb, "show") == 0 && (err = shm_text(&v, NULL, 0)) >= 0) {
			size_t length = (size_t)err + 1;
			char *more = (char *)realloc(text, length);
			WANT(more != NULL);
			text = more;
			WANT(shm_text(&v, text, length) == err);
			say("%s", text);
			continue;
		} else if (err == 0 && strcmp(verb, "owner") == 0) {
			shm_lock_info l;
			if ((err = shm_lock_state(&v, &l)) == 0) {
				say("%d %d %u %s", l.held, l.alive, (unsigned)l.owner.pid, l.held ? l.owner.program : "-");
				continue;
			}
		}
		say("%s", err == 0 ? "done" : shm_strerror(err));
	}
	free(line);
	free(text);
	shm_detach(s);
}

/* Awaits a number in an attachment that may only read. */
static void reader_awaits(const char *name, long n)
{
	shm_segment *s;
	shm_value v;
	shm_options o;
	memset(&o, 0, sizeof o);
	o.read_only = true;
	MUST(shm_attach(&s, name, &o));
	MUST(shm_find(s, "n", &v));
	say("ready");
	MUST(shm_await(&v, reached, &n, -1));
	say("saw it");
	shm_detach(s);
}

/* Answers those who may only read, until its input ends. */
static void answers(const char *name)
{
	shm_segment *s = attach(name);
	pthread_t thread;
	char line[16];
	stop_moving = false;
	WANT(pthread_create(&thread, NULL, answer, s) == 0);
	say("ready");
	(void)!fgets(line, sizeof line, stdin);
	__atomic_store_n(&stop_moving, true, __ATOMIC_RELAXED);
	WANT(pthread_join(thread, NULL) == 0);
	shm_detach(s);
}

/* Hands a segment to the program of the arguments: an anonymous one if the name is "". */
static void passes(const char *name, char **args)
{
	shm_segment *s;
	shm_value v;
	shm_passing p;
	int64_t n;
	MUST(*name == 0 ? shm_anonymous(&s, NULL) : shm_attach(&s, name, NULL));
	MUST(shm_new_number(s, "n", SHM_I64, NULL, &v));
	MUST(shm_pass(s, &p));
	fflush(stdout);
	pid_t child = fork();
	WANT(child >= 0);
	if (child == 0) {
		MUST(shm_pass_on(&p));
		execv(args[0], args);
		_exit(1);
	}
	shm_pass_end(&p);
	int status;
	WANT(waitpid(child, &status, 0) == child);
	MUST(shm_lock_for(&v, 5000000000));
	bool abandoned = shm_abandoned(&v);
	MUST(shm_unlock(&v));
	MUST(shm_load_i64(&v, &n));
	say("the child made it %" PRId64 ", abandoned %d, status %d", n, abandoned, status);
	shm_detach(s);
}

/* ---- Hostile memory ---- */

static uint64_t seed;

static uint64_t dice(uint64_t n) /* xorshift64* */
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * UINT64_C(2685821657736338717) % n;
}

static uint64_t odd_number(void)
{
	static const uint64_t odd[] = {0, 1, 63, 64, 65, 112, 128, 255, 256, 65535, 1 << 20, UINT32_MAX, UINT64_C(1) << 32, UINT64_C(1) << 40, INT64_MAX, UINT64_MAX - 63, UINT64_MAX};
	return odd[dice(sizeof odd / sizeof odd[0])];
}

/* Calls the functions of a value that has rows, locks, cells or a stream. Returns false if
 * it is another one. */
static bool try_parts(shm_segment *s, shm_value *v)
{
	shm_value part;
	shm_reader r;
	uint64_t i, seq, counts[SHM_BOUNDS_MAX_ + 1], used;
	double sum;
	int64_t n;
	if (shm_used_(s, &used) != 0)
		return true;
	bool many = (v->access == SHM_PUBLISHED && v->kind == SHM_ARRAY) || (v->kind == SHM_MUTEX && v->count > 0);
	if (!many && v->kind != SHM_RING && !shm_has_cells_(v->kind))
		return false;
	unsigned char *x = (unsigned char *)malloc(v->size + 8);
	WANT(x != NULL);
	if (v->kind == SHM_MUTEX) {
		if (shm_lock_any(v, 0, &i) == 0 && shm_mutex_at(v, i, &part) == 0)
			(void)shm_unlock(&part);
		if (shm_mutex_at(v, v->count - 1, &part) == 0 && shm_trylock(&part) == 0)
			(void)shm_unlock(&part);
	} else if (many) {
		for (i = 0; i < v->count; i += 1 + v->count / 3)
			if (shm_row(v, i, &part) == 0 && shm_read(&part, x, v->size) == 0 && shm_trylock(&part) == 0)
				(void)(shm_commit(&part, x, v->size) + shm_unlock(&part));
		WANT(shm_row(v, v->count, &part) == -EINVAL);
	} else if (v->kind == SHM_RING) {
		shm_value ring = *v;
		if (shm_trylock(&ring) == 0 && shm_unlock(&ring) == 0)
			(void)(shm_append(v, x, v->size, NULL) + shm_last(v, x, v->size, &seq));
		if (shm_read_from(v, dice(3) == 0 ? dice(UINT64_MAX) : 0, &r) == 0)
			(void)(shm_next(&r, x, v->size, 0, NULL) + shm_next(&r, x, v->size, 0, NULL));
	} else {
		(void)(shm_count_i64(v, 1) + shm_count_f64(v, 1) + shm_counted_i64(v, &n) + shm_counted_f64(v, &sum));
		(void)(shm_set_gauge_i64(v, 1) + shm_load_gauge_i64(v, &n) + shm_observe(v, 1));
		if (v->kind == SHM_HISTOGRAM)
			WANT(shm_load_histogram(v, counts, &sum) == 0);
	}
	free(x);
	return true;
}

/* Attaches to the memory, and calls every function on the values of these names. All
 * calls must return, with values or with errors. Reports whether it could attach. */
static bool try_all(int fd, char (*names)[64], int n)
{
	shm_segment *s;
	shm_value v;
	char text[300];
	if (shm_attach_fd(&s, fd, NULL) != 0)
		return false;
	int64_t *volatile sink = NULL;
	for (int i = 0; i < n; i++) {
		if (shm_find(s, names[i], &v) != 0)
			continue;
		(void)shm_describe(&v, text, sizeof text);
		(void)!shm_text(&v, text, sizeof text);
		if (v.cell == NULL || (shm_trylock(&v) == 0 && shm_unlock(&v) == 0))
			(void)(shm_set_text(&v, "7", 0) + shm_set_text(&v, "{hits: 7}", 0) + shm_set_text(&v, "[0: 7]", 0));
		shm_lock_info l;
		(void)!shm_lock_state(&v, &l);
		if (try_parts(s, &v))
			continue;
		uint64_t bytes = v.kind == SHM_MUTEX ? 0 : shm_length_(&v) * v.size, slots = v.access == SHM_PUBLISHED ? 2 : 1;
		uint64_t used;
		if (shm_used_(s, &used) != 0)
			continue;
		const unsigned char *end = s->mem + used;
		WANT(bytes <= v.capacity && (v.data == NULL || v.data + bytes + (slots - 1) * shm_round_(v.capacity, 64) <= end));
		WANT(v.cell == NULL || (const unsigned char *)(v.cell + 1) <= end);
		sink = shm_ptr_i64(&v, NULL);
		if (v.kind != SHM_MUTEX && v.access != SHM_PUBLISHED)
			for (uint64_t b = 0; b < shm_length_(&v) * v.size; b += 1 + v.size / 2)
				((volatile unsigned char *)v.data)[b]++;
		if (v.access == SHM_PUBLISHED) {
			void *x = malloc(v.size + 1);
			if (x != NULL && shm_read(&v, x, v.size) == 0 && shm_trylock(&v) == 0)
				(void)(shm_commit(&v, x, v.size) + shm_unlock(&v));
			free(x);
			if (shm_read_text(&v, text, sizeof text) >= 0 && shm_trylock(&v) == 0 && shm_unlock(&v) == 0 && shm_publish_text(&v, "text") != 0)
				continue;
		} else if (v.cell != NULL && shm_trylock(&v) == 0) {
			(void)shm_unlock(&v);
		}
	}
	(void)sink;
	shm_entry e;
	memset(&e, 0, sizeof e);
	while (shm_next_entry(s, &e) == 0)
		(void)shm_asked_(s, SHM_ASK_BASE_ + (int64_t)(e.value.record / SHM_LINE_ * 2 * SHM_ASK_LINES_ + 2 * dice(8)));
	(void)(shm_processes(s, NULL, 0) + shm_answer(s, 0));
	if (shm_new_number(s, "a new one", SHM_I64, NULL, &v) == 0 && shm_trylock(&v) == 0)
		(void)shm_unlock(&v);
	shm_detach(s);
	return true;
}

static void hostile(const char *path, int rounds)
{
	static unsigned char good[1 << 20], bad[1 << 20];
	char names[64][64];
	int n = 0, attached = 0;
	uint64_t at[64], size;
	alarm(60);
	shm_segment *s;
	shm_value v;
	const double bounds[] = {1, 2, 3};
	MUST(shm_attach(&s, path, NULL));
	MUST(shm_new_counter(s, "counter", SHM_I64, &v));
	MUST(shm_new_counter(s, "floats", SHM_F64, &v));
	MUST(shm_new_gauge(s, "gauge", SHM_I64, &v));
	MUST(shm_new_histogram(s, "histogram", bounds, 3, &v));
	MUST(shm_new_ring(s, "ring", STATUS, sizeof(struct status), 3, &v));
	MUST(shm_new_table(s, "table", STATUS, sizeof(struct status), 5, &v));
	MUST(shm_new_mutexes(s, "mutexes", 4, &v));
	MUST(shm_new_atomic_array(s, "atomics", SHM_I64, 4, &v));
	shm_detach(s);
	int fd = open(path, O_RDONLY);
	ssize_t length = read(fd, good, sizeof good);
	WANT(fd >= 0 && length > SHM_HEADER_);
	struct shm_header_ *h = (struct shm_header_ *)(void *)good;
	WANT(shm_unseal_bytes_(&h->used, &size));
	for (uint64_t off = SHM_HEADER_; off < size && n < 64; n++) {
		struct shm_fixed_ f;
		memcpy(&f, good + off, sizeof f);
		snprintf(names[n], sizeof names[n], "%.*s", (int)f.name, (char *)good + off + sizeof f);
		at[n] = off;
		off += f.size;
	}
	length = (ssize_t)shm_max_(size, SHM_FIRST_); /* an access past the end is to fault */
	h->allocated = h->used;
	seed = 88172645463325252;
	for (int round = 0; round < rounds; round++) {
		memcpy(bad, good, (size_t)length);
		for (uint64_t changes = round == 0 ? 0 : 1 + dice(3); changes > 0; changes--) {
			uint64_t off = at[dice((uint64_t)n)];
			struct shm_fixed_ f;
			memcpy(&f, good + off, sizeof f);
			switch (dice(7)) {
			case 0: { /* a sealed word of the header */
				uint64_t w = shm_seal_(dice(2) == 0 ? dice(3000) : odd_number() & SHM_SEALED_MAX_);
				memcpy(bad + 64 + 8 * dice(8), &w, 8);
				break;
			}
			case 1: /* any byte */
				bad[dice(size)] = (unsigned char)dice(256);
				break;
			case 2: { /* a word of a lock cell */
				uint64_t w = dice(2) == 0 ? dice(UINT64_MAX) : odd_number();
				memcpy(bad + off + f.meta + 8 * dice(8), &w, 8);
				break;
			}
			case 3: { /* a longer text */
				uint32_t text = (uint32_t)dice((uint64_t)1 << (8 + dice(8))), meta = (uint32_t)shm_round_(112 + (uint64_t)f.name + text + f.unit + f.help, 64);
				memcpy(bad + off + 44, &text, 4);
				memcpy(bad + off + 8, &meta, 4);
				break;
			}
			case 4: { /* a capacity that is too small, with the right check */
				uint64_t less = dice(f.capacity + 1);
				memcpy(bad + off + 32, &less, 8);
				uint32_t check = shm_check_record_(bad + off, f.meta);
				memcpy(bad + off + 12, &check, 4);
				break;
			}
			default: { /* a field of a record, or its texts, with the right check */
				uint64_t w = dice(2) == 0 ? odd_number() : dice(300);
				size_t where = dice(3) == 0 ? 112 + dice(f.meta - 120) : 4 * dice(13);
				memcpy(bad + off + where, &w, (size_t)1 << dice(4));
				uint32_t meta, check;
				memcpy(&meta, bad + off + 8, 4);
				if (meta >= 128 && meta <= 2000) {
					check = shm_check_record_(bad + off, meta);
					memcpy(bad + off + 12, &check, 4);
				}
			}
			}
		}
		int memory = memfd_create("hostile", MFD_CLOEXEC);
		WANT(memory >= 0 && write(memory, bad, (size_t)length) == length);
		bool ok = try_all(memory, names, n);
		WANT(ok || round > 0);
		attached += ok;
		close(memory);
	}
	say("%d of %d", attached, rounds);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "", *name = argc > 2 ? argv[2] : "";
	int n = argc > 3 ? atoi(argv[3]) : 0;
	if (strcmp(mode, "layouts") == 0)
		layouts();
	else if (strcmp(mode, "parse") == 0)
		parse();
	else if (strcmp(mode, "visit") == 0)
		visit(name, n);
	else if (strcmp(mode, "grow") == 0)
		grow(name);
	else if (strcmp(mode, "agent") == 0)
		agent(name);
	else if (strcmp(mode, "storm") == 0)
		storm(name, n);
	else if (strcmp(mode, "forks") == 0)
		forks(name);
	else if (strcmp(mode, "writer") == 0)
		steady_writer(name);
	else if (strcmp(mode, "reader") == 0)
		steady_reader(name);
	else if (strcmp(mode, "overtaken") == 0)
		overtaken(name);
	else if (strcmp(mode, "shared") == 0)
		shared(name);
	else if (strcmp(mode, "share") == 0)
		share(name, n);
	else if (strcmp(mode, "maker") == 0)
		maker(name, n);
	else if (strcmp(mode, "verbs") == 0)
		verbs(name);
	else if (strcmp(mode, "tool") == 0)
		tool(name);
	else if (strcmp(mode, "inherited") == 0)
		inherited(name);
	else if (strcmp(mode, "passes") == 0 && argc > 3)
		passes(name, argv + 3);
	else if (strcmp(mode, "reader awaits") == 0)
		reader_awaits(name, n);
	else if (strcmp(mode, "answers") == 0)
		answers(name);
	else if (strcmp(mode, "hostile") == 0)
		hostile(name, n);
	else
		fail("usage: test MODE ARGUMENTS");
	return 0;
}
