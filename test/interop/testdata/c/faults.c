/*
 * What c/shm.h does beside faults: faults MODE NAME. It needs no other process. If a check
 * fails, it prints a line to standard error and exits with status 1. With status 77 it says
 * that it cannot run here.
 *
 * The calls of the system that creation makes go through hooks, which can refuse them.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
	int interrupt;             /* so many of the next calls that can be are interrupted by a signal */
	int tmpfile, link, rename; /* the error with which the call is refused, or 0 */
	int chmod, waitv;          /* likewise, of fchmod and futex_waitv */
	int waits;                 /* calls of futex_waitv */
	long type;                 /* of all filesystems, or 0 */
	bool cow;                  /* the filesystem has the switch for copy-on-write */
	char log[256];             /* a letter for each call of interest */
	const char *path;          /* of the segment that is made */
} hook;

static void note(char what)
{
	size_t n = strlen(hook.log);
	if (n + 1 < sizeof hook.log)
		hook.log[n] = what;
}

static bool interrupted(void)
{
	if (hook.interrupt <= 0)
		return false;
	hook.interrupt--;
	errno = EINTR;
	return true;
}

static int hooked_open(const char *path, int flags, ...)
{
	if (interrupted())
		return -1;
	va_list args;
	va_start(args, flags);
	mode_t mode = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? (mode_t)va_arg(args, int) : 0;
	va_end(args);
	if ((flags & O_TMPFILE) == O_TMPFILE && hook.tmpfile != 0) {
		errno = hook.tmpfile;
		return -1;
	}
	return open(path, flags, mode);
}

static int hooked_fchmod(int fd, mode_t mode)
{
	if (hook.chmod != 0) {
		errno = hook.chmod;
		return -1;
	}
	return fchmod(fd, mode);
}

static int hooked_linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
	if (hook.link != 0) {
		errno = hook.link;
		return -1;
	}
	note('l');
	return linkat(from_dir, from, to_dir, to, flags);
}

static int hooked_fsync(int fd)
{
	struct stat st;
	if (interrupted())
		return -1;
	note(fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? 'd' : hook.path != NULL && access(hook.path, F_OK) == 0 ? 'F' : 'f');
	return fsync(fd);
}

static int hooked_fstatfs(int fd, struct statfs *st)
{
	int err = fstatfs(fd, st);
	if (err == 0 && hook.type != 0)
		st->f_type = (__typeof__(st->f_type))hook.type;
	return err;
}

static int hooked_ioctl(int fd, unsigned long request, int *flags)
{
	(void)fd;
	if (!hook.cow) {
		errno = ENOTTY;
		return -1;
	}
	if (request == _IOW('f', 2, long))
		note((*flags & 0x00800000) != 0 ? 'c' : 'C');
	else
		*flags = 0x10;
	return 0;
}

static int hooked_fallocate(int fd, int mode, off_t off, off_t n)
{
	if (mode == 0)
		note('a');
	return fallocate(fd, mode, off, n);
}

static long hooked_syscall(long number, ...)
{
	long a[6];
	va_list args;
	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_renameat2 && hook.rename != 0) {
		errno = hook.rename;
		return -1;
	}
	if (number == SYS_renameat2)
		note('r');
#ifdef SYS_futex_waitv
	if (number == SYS_futex_waitv && hook.waitv != 0) {
		hook.waits++;
		errno = hook.waitv;
		return -1;
	}
#endif
	return syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#define open hooked_open
#define linkat hooked_linkat
#define fchmod hooked_fchmod
#define fsync hooked_fsync
#define fstatfs hooked_fstatfs
#define ioctl hooked_ioctl
#define fallocate hooked_fallocate
#define syscall(number, ...) hooked_syscall(number, __VA_ARGS__, 0L, 0L, 0L, 0L, 0L, 0L)
#include "shm.h"
#undef open
#undef fallocate

#include <inttypes.h>

static void want(bool ok, const char *what, int line)
{
	if (ok)
		return;
	fprintf(stderr, "faults.c:%d: not true: %s\n", line, what);
	exit(1);
}

static void is(int err, int wanted, const char *what, int line)
{
	if (err == wanted)
		return;
	fprintf(stderr, "faults.c:%d: %s: %d (%s), want %d\n", line, what, err, shm_strerror(err), wanted);
	exit(1);
}

#define WANT(ok) want(ok, #ok, __LINE__)
#define IS(call, err) is(call, err, #call, __LINE__)
#define MUST(call) is(call, 0, #call, __LINE__)

static void skip(const char *why)
{
	printf("%s\n", why);
	exit(77);
}

static shm_segment *attach(const char *name)
{
	shm_segment *s = NULL;
	MUST(shm_attach(&s, name, NULL));
	return s;
}

static uint64_t word(const uint64_t *p)
{
	uint64_t n = 0;
	WANT(shm_unseal_(p, &n));
	return n;
}

/* Makes the header say that the locks are of another system. */
static void away(shm_segment *s) { shm_store_sealed_(&s->header->home, (word(&s->header->home) + 2) & SHM_SEALED_MAX_); }

/* ---- Structs that have grown ---- */

struct one { int64_t x; };
struct two { int64_t x; int32_t y, pad; };
struct three { int64_t x; int32_t y, z; };
struct four { int64_t x; int32_t y, z; int64_t w; };
#define ONE "T{" SHM_I64 ":x:}"
#define TWO "T{" SHM_I64 ":x:" SHM_I32 ":y:4x}"
#define THREE "T{" SHM_I64 ":x:" SHM_I32 ":y:" SHM_I32 ":z:}"
#define FOUR "T{" SHM_I64 ":x:" SHM_I32 ":y:" SHM_I32 ":z:" SHM_I64 ":w:}"

/* A program that is older than the type finds a struct, and goes on with its own size. */
static void grown(const char *name)
{
	shm_segment *s = attach(name);
	shm_value first, v, newest;
	struct one a = {7};
	struct two b = {1, 2, 99};
	struct three c = {3, 4, 5};
	struct four d = {10, 11, 12, 13};
	MUST(shm_new_struct(s, "s", ONE, sizeof a, &a, &v));
	MUST(shm_find(s, "s", &first));
	MUST(shm_new_struct(s, "s", FOUR, sizeof d, NULL, &newest));
	MUST(shm_publish(&newest, &d, sizeof d));
	for (int round = 0; round < 3; round++) {
		MUST(shm_find(s, "s", &v));
		WANT(v.size == sizeof d);
		MUST(shm_read(&v, &a, sizeof a));
		WANT(a.x == 10 + round);
		a.x++;
		MUST(shm_publish(&v, &a, sizeof a));
		IS(shm_commit(&v, &a, sizeof a), -EPERM);
		MUST(shm_lock(&v));
		MUST(shm_commit(&v, &a, sizeof a));
		MUST(shm_unlock(&v));
		MUST(shm_read(&newest, &d, sizeof d));
		WANT(d.x == 11 + round && d.y == 11 && d.z == 12 && d.w == 13);
	}
	MUST(shm_publish(&first, &a, sizeof a)); /* a handle that is older than the growth */
	/* The size of two is that of three: both may read, and nobody knows who of them publishes. */
	MUST(shm_read(&v, &c, sizeof c));
	WANT(c.y == 11 && c.z == 12);
	IS(shm_publish(&v, &b, sizeof b), SHM_ELAYOUT);
	IS(shm_commit(&v, &b, sizeof b), SHM_ELAYOUT);
	MUST(shm_publish(&v, &d, sizeof d)); /* the type as it is now */
	for (size_t n = 0; n <= sizeof d + 8; n++) {
		char x[sizeof d + 8];
		IS(shm_read(&v, x, n), n == 8 || n == 12 || n == 16 || n == 24 ? 0 : -EINVAL);
	}
	/* It grows into its padding. */
	MUST(shm_new_struct(s, "p", TWO, sizeof b, &b, &v));
	MUST(shm_find(s, "p", &first));
	MUST(shm_new_struct(s, "p", THREE, sizeof c, NULL, &newest));
	MUST(shm_publish(&newest, &c, sizeof c));
	MUST(shm_find(s, "p", &v));
	MUST(shm_read(&v, &b, sizeof b));
	IS(shm_publish(&v, &b, sizeof b), SHM_ELAYOUT);
	b.pad = 99;
	MUST(shm_publish(&first, &b, sizeof b)); /* it was found without z */
	MUST(shm_new_struct(s, "p", TWO, sizeof b, NULL, &v));
	MUST(shm_publish(&v, &b, sizeof b));
	MUST(shm_read(&newest, &c, sizeof c));
	WANT(c.z == 12 && c.y == 11);
	shm_detach(s);
}

/* ---- Constructors ---- */

/* No constructor makes what no constructor of another language attaches to. */
static void refused(const char *name)
{
	shm_segment *s = attach(name);
	shm_value v;
	const char *const odd[] = {SHM_BOOL, SHM_CHAR, "T{" SHM_I32 ":x:}", "(3)" SHM_I32, "(3)T{" SHM_I32 ":x:}", "(8)" SHM_CHAR, "", "q", "x", SHM_I64 SHM_I64, SHM_ORDER};
	for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
		IS(shm_new_raw_array(s, "v", odd[i], 4, &v), -EINVAL);
		IS(shm_new_array(s, "v", odd[i], 4, &v), -EINVAL);
		IS(shm_new_number(s, "v", odd[i], NULL, &v), -EINVAL);
		IS(shm_new_atomic(s, "v", odd[i], NULL, &v), -EINVAL);
	}
	IS(shm_new_array(s, "v", SHM_C128, 4, &v), -EINVAL);
	IS(shm_new_number(s, "v", SHM_C128, NULL, &v), -EINVAL);
	const char *const numbers[] = {SHM_I8, SHM_U16, SHM_F32, SHM_F64, SHM_C64};
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
		IS(shm_new_atomic(s, "v", numbers[i], NULL, &v), -EINVAL);
	IS(shm_new_raw(s, "v", SHM_CHAR, NULL, &v), -EINVAL);
	IS(shm_new_raw(s, "v", "(8)" SHM_CHAR, NULL, &v), -EINVAL);
	IS(shm_new_struct(s, "v", SHM_CHAR, 1, NULL, &v), -EINVAL);
	IS(shm_find(s, "v", &v), -ENOENT);
	MUST(shm_new_raw_array(s, "a", SHM_C128, 4, &v));
	MUST(shm_new_array(s, "b", SHM_C64, 4, &v));
	MUST(shm_new_raw(s, "c", SHM_BOOL, NULL, &v));
	MUST(shm_new_raw(s, "d", "(3)T{(8)" SHM_CHAR ":text:}", NULL, &v));
	MUST(shm_new_struct(s, "e", "(2,3)" SHM_F64, 48, NULL, &v));
	shm_detach(s);
}

/* ---- Threads that are cancelled ---- */

static shm_segment *segment;

static void *make(void *name)
{
	shm_value v;
	(void)!shm_new_number(segment, (const char *)name, SHM_I64, NULL, &v);
	return NULL;
}

static void detach(void *s) { shm_detach((shm_segment *)s); }

static void *attach_and_go(void *name)
{
	shm_segment *s;
	shm_value v;
	if (shm_attach(&s, (const char *)name, NULL) != 0)
		return NULL;
	pthread_cleanup_push(detach, s);
	if (shm_new_number(s, "three", SHM_I64, NULL, &v) == 0)
		(void)!shm_add_i64(&v, 1, NULL);
	pthread_cleanup_pop(1);
	return NULL;
}

/* The thread has been cancelled by the time that it ends to pass the segment on. */
static void *pass_and_go(void *arg)
{
	shm_passing p;
	(void)arg;
	if (shm_pass(segment, &p) != 0)
		return NULL;
	pthread_cancel(pthread_self());
	shm_pass_end(&p);
	pthread_testcancel();
	return NULL;
}

static int open_files(void)
{
	int n = 0;
	for (int i = 0; i < 64; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

static void cancelled(const char *name)
{
	shm_value v;
	struct flock l;
	int before = open_files();
	segment = attach(name);
	int fd = open(segment->path, O_RDWR); /* as another process that makes a value just now */
	MUST(shm_file_lock_(fd, F_OFD_SETLK, F_WRLCK, 0, 1, &l));
	static char one[] = "one", two[] = "two";
	pthread_t t[2];
	MUST(pthread_create(&t[0], NULL, make, one));
	MUST(pthread_create(&t[1], NULL, make, two));
	usleep(100000);
	pid_t child = fork(); /* while one thread waits with the gate locked */
	if (child == 0) {
		close(fd); /* the parent has it still */
		alarm(10);
		IS(shm_find(segment, "one", &v), -ENOENT);
		MUST(shm_new_number(segment, "of the child", SHM_I64, NULL, &v));
		MUST(shm_add_i64(&v, 1, NULL));
		_exit(0);
	}
	for (int i = 0; i < 2; i++)
		pthread_cancel(t[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	close(fd);
	alarm(10);
	MUST(shm_new_number(segment, "four", SHM_I64, NULL, &v));
	int status;
	WANT(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
	/* At any time. */
	alarm(60);
	char copy[256];
	snprintf(copy, sizeof copy, "%s", name);
	for (int i = 0; i < 200; i++) {
		MUST(pthread_create(&t[0], NULL, attach_and_go, copy));
		usleep((useconds_t)(i * 3));
		pthread_cancel(t[0]);
		pthread_join(t[0], NULL);
	}
	WANT(open_files() == before + 2); /* fd and ctl of the segment */
	void *how = NULL;
	MUST(pthread_create(&t[0], NULL, pass_and_go, NULL));
	MUST(pthread_join(t[0], &how));
	WANT(how == PTHREAD_CANCELED && open_files() == before + 2);
	MUST(shm_new_number(segment, "three", SHM_I64, NULL, &v));
	IS(shm_trylock(&v), 0);
	MUST(shm_unlock(&v));
	shm_detach(segment);
}

/* ---- Descriptors ---- */

/* Somebody closes the descriptors, and their numbers become another file's. */
static void closed(const char *name)
{
	shm_segment *s = attach(name);
	shm_value v, w;
	int ready[2], end[2];
	char c;
	MUST(shm_new_mutex(s, "m", &v));
	WANT(pipe(ready) == 0 && pipe(end) == 0);
	pid_t child = fork();
	if (child == 0) {
		close(end[1]);
		MUST(shm_lock(&v));
		WANT(write(ready[1], "r", 1) == 1);
		_exit((int)read(end[0], &c, 1));
	}
	WANT(read(ready[0], &c, 1) == 1);
	IS(shm_trylock(&v), -EBUSY);
	int other = memfd_create("other", 0), ctl = s->ctl, fd = s->fd;
	WANT(dup2(other, ctl) == ctl && dup2(other, fd) == fd);
	for (int i = 0; i < 20; i++) {
		IS(shm_lock_for(&v, 10000000), -ETIMEDOUT);
		IS(shm_trylock(&v), -EBUSY);
	}
	IS(shm_new_raw(s, "new", SHM_I8, NULL, &w), SHM_ECLOSED);
	close(ctl); /* no file at all */
	IS(shm_lock_for(&v, 10000000), -ETIMEDOUT);
	IS(shm_new_raw(s, "new", SHM_I8, NULL, &w), SHM_ECLOSED);
	WANT(dup2(other, ctl) == ctl);
	shm_segment *t = attach(name);
	MUST(shm_find(t, "m", &w));
	IS(shm_find(t, "new", &w), -ENOENT);
	struct stat st;
	WANT(fstat(other, &st) == 0 && st.st_size == 0); /* nothing was reserved in it */
	shm_detach(s);
	WANT(fcntl(ctl, F_GETFD) >= 0 && fcntl(fd, F_GETFD) >= 0); /* they are not the segment's */
	close(end[1]);
	WANT(waitpid(child, NULL, 0) == child);
	shm_detach(t);
}

/* What a program prints that has closed its standard files does not go into a segment. */
static void stdio(const char *name)
{
	shm_segment *s, *t;
	shm_value v, w;
	shm_passing p;
	close(0);
	close(1); /* checks that fail print to 2 */
	MUST(shm_attach(&s, name, NULL));
	MUST(shm_anonymous(&t, NULL));
	MUST(shm_new_mutex(s, "m", &v));
	MUST(shm_new_mutex(t, "m", &w));
	MUST(shm_lock(&v));
	MUST(shm_lock(&w));
	MUST(shm_pass(s, &p));
	WANT(s->fd > 2 && s->ctl > 2 && t->fd > 2 && t->ctl > 2 && p.fd > 2 && p.socket > 2);
	WANT(write(1, "damage", 6) == -1 && errno == EBADF);
	MUST(shm_unlock(&v)); /* no lease has gone with the numbers that were closed */
	shm_pass_end(&p);
	shm_detach(s);
	shm_detach(t);
}

/* A signal interrupts calls of the system. */
static void signals(const char *name)
{
	shm_segment *s, *t;
	shm_value v;
	hook.type = 0xef53; /* a disk, whose files are brought there */
	for (int n = 0; n < 12; n++) {
		hook.interrupt = n;
		MUST(shm_attach(&s, name, NULL));
		hook.interrupt = n;
		MUST(shm_new_mutex(s, "m", &v)); /* opens the file again */
		MUST(shm_attach_fd(&t, s->fd, NULL)); /* has no path */
		hook.interrupt = n;
		MUST(shm_new_mutex(t, "m", &v));
		MUST(shm_lock(&v));
		MUST(shm_unlock(&v));
		hook.interrupt = 0;
		shm_detach(t);
		shm_detach(s);
		MUST(shm_remove(name));
	}
}

/* A process that may not open the file anew makes nothing and locks nothing. */
static void unprivileged(const char *name)
{
	if (geteuid() != 0)
		skip("only root can give up rights");
	shm_segment *s = attach(name), *t;
	shm_value v;
	int64_t x = 5;
	MUST(shm_new_number(s, "n", SHM_I64, &x, &v));
	shm_options o = {0600, 1 << 20, false, false, false};
	uint64_t next = word(&s->header->next_id);
	v.cell->word = (uint32_t)next + 4; /* as in a file that was copied while it was in use */
	away(s);
	shm_close_(s, s->ctl); /* and with it the lease */
	s->ctl = -1;
	int fd = open(s->path, O_RDWR);
	WANT(fd >= 0 && setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
	MUST(shm_attach_fd(&t, fd, &o));
	IS(shm_new_number(t, "n", SHM_I64, NULL, &v), SHM_ENOLEASE);
	IS(shm_new_raw(t, "new", SHM_I8, NULL, &v), SHM_ENOLEASE);
	MUST(shm_find(t, "n", &v));
	MUST(shm_load_i64(&v, &x));
	WANT(x == 5);
	IS(shm_lock(&v), SHM_ENOLEASE);
	IS(shm_find(t, "new", &v), -ENOENT);
	WANT(word(&t->header->next_id) == next + 5 && word(&t->header->home) != t->where); /* only the ids are in order */
	shm_detach(t);
}

/* A process that may only read locks all leases. */
static void blocked(const char *name)
{
	shm_segment *s = attach(name), *t;
	shm_value v;
	struct flock l;
	uint64_t before, after;
	MUST(shm_new_mutex(s, "m", &v));
	int fd = open(s->path, O_RDONLY);
	/* All but those that are held. */
	MUST(shm_file_lock_(fd, F_OFD_SETLK, F_RDLCK, SHM_LEASE_BASE_ + 2, (int64_t)SHM_OWNER_MASK_ - 1, &l));
	t = attach(name);
	WANT(shm_unseal_(&t->header->next_id, &before));
	IS(shm_new_mutex(t, "m", &v), SHM_EBLOCKED);
	MUST(shm_find(t, "m", &v));
	IS(shm_trylock(&v), SHM_EBLOCKED);
	IS(shm_lock(&v), SHM_EBLOCKED);
	WANT(shm_unseal_(&t->header->next_id, &after) && before == after);
	MUST(shm_new_raw(t, "raw", SHM_I8, NULL, &v));
	close(fd);
	MUST(shm_new_mutex(t, "m", &v));
	MUST(shm_trylock(&v));
	shm_detach(t);
	shm_detach(s);
}

/* ---- Files ---- */

/* A process that writes trusts no other user's file, unless it lets others write. */
static void trusted(const char *name)
{
	if (geteuid() != 0)
		skip("only root can give files away");
	shm_segment *s = attach(name), *t;
	WANT(chown(s->path, 1000, 1000) == 0);
	const struct { mode_t file, mode; bool read_only, ok; } cases[] = {
		{0600, 0600, false, false}, {0644, 0644, false, false}, {0640, 0644, false, false}, {0600, 0600, true, false},
		{0644, 0644, true, true}, {0666, 0666, false, true}, {0660, 0660, false, false}, {0660, 0662, false, true}, {0666, 0644, true, false}};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		shm_options o = {cases[i].mode, 0, cases[i].read_only, true, false};
		WANT(chmod(s->path, cases[i].file) == 0);
		IS(shm_attach(&t, name, &o), cases[i].ok ? 0 : SHM_EINSECURE);
		if (cases[i].ok)
			shm_detach(t);
	}
	gid_t group = 1000;
	shm_options shared = {0660, 0, false, true, false};
	WANT(chmod(s->path, 0660) == 0 && setgroups(1, &group) == 0); /* a group that both users are in */
	MUST(shm_attach(&t, name, &shared));
	shm_detach(t);
	WANT(chmod(s->path, 0644) == 0 && chown(s->path, 0, 0) == 0);
	if (setresuid(1000, 1000, 1000) == 0) { /* root's files are trusted */
		shm_options o = {0644, 0, true, true, false};
		MUST(shm_attach(&t, name, &o));
		shm_detach(t);
	}
}

/* Counts the bytes of the segment's mapping that a core dump has. */
static uint64_t dumped(const shm_segment *s)
{
	char *line = NULL;
	size_t room = 0;
	uintptr_t from = 0, to = 0, begin = (uintptr_t)s->mem;
	uint64_t n = 0, all = 0;
	FILE *f = fopen("/proc/self/smaps", "r");
	WANT(f != NULL);
	while (getline(&line, &room, f) > 0) {
		uintptr_t a, b;
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &a, &b) == 2)
			from = a, to = b;
		if (strncmp(line, "VmFlags:", 8) != 0 || from < begin || from >= begin + s->length)
			continue;
		all += to - from;
		if (strstr(line, " dd") == NULL)
			n += to - from;
	}
	fclose(f);
	free(line);
	WANT(all == s->length);
	return n;
}

/* A core dump has what is allocated, also what others have allocated. */
static void dump(const char *name)
{
	shm_segment *s = attach(name), *t = attach(name);
	shm_value v;
	struct stat st;
	WANT(fstat(s->fd, &st) == 0 && dumped(s) == (uint64_t)st.st_size && dumped(t) == (uint64_t)st.st_size);
	MUST(shm_new_raw_array(s, "big", SHM_I64, 1 << 18, &v));
	MUST(shm_find(t, "big", &v));
	WANT(fstat(s->fd, &st) == 0 && st.st_size > 2 << 20 && dumped(s) == (uint64_t)st.st_size && dumped(t) == (uint64_t)st.st_size);
	shm_detach(t);
	shm_detach(s);
}

/* The next who needs space gives back what a process that died had reserved. */
static void gives_back(const char *name)
{
	shm_segment *s = attach(name);
	shm_value v;
	struct stat st;
	uint64_t allocated;
	WANT(shm_unseal_bytes_(&s->header->allocated, &allocated));
	WANT(fallocate(s->fd, 0, (off_t)allocated, 32 << 20) == 0);
	WANT(fstat(s->fd, &st) == 0 && st.st_blocks >= (32 << 20) / 512);
	MUST(shm_new_raw_array(s, "a", SHM_I64, 1 << 13, &v));
	WANT(shm_unseal_bytes_(&s->header->allocated, &allocated) && fstat(s->fd, &st) == 0);
	if ((uint64_t)st.st_blocks * 512 > allocated + (64 << 10))
		want(false, "the space is given back", __LINE__);
	for (uint64_t i = 0; i < 1 << 13; i++)
		WANT(shm_ptr_i64(&v, NULL)[i] == 0);
	shm_detach(s);
}

/* ---- The directory ---- */

/* All records are in the index, and the header says so. */
static void sound(shm_segment *s, int line)
{
	uint64_t used, end, table;
	want(shm_used_(s, &used) == 0 && shm_survey_(s, used, &end, &table) && end == used, "the index is sound", line);
}

#define SOUND(s) sound(s, __LINE__)

static shm_value made(shm_segment *s, int i)
{
	char value[32];
	shm_value v;
	int64_t init = i;
	snprintf(value, sizeof value, "value %d", i);
	MUST(shm_new_raw(s, value, SHM_I64, &init, &v));
	WANT(*shm_ptr_i64(&v, NULL) == i);
	return v;
}

static void found(shm_segment *s, int i, int err)
{
	char value[32];
	shm_value v;
	snprintf(value, sizeof value, "value %d", i);
	IS(shm_find(s, value, &v), err);
	WANT(err != 0 || *shm_ptr_i64(&v, NULL) == i);
}

static uint64_t slots(shm_segment *s)
{
	struct shm_table_ t;
	MUST(shm_index_(s, &t));
	return t.mask + 1;
}

/* The index leads to all values, also once it has grown. */
static void indexes(const char *name)
{
	shm_segment *s = attach(name), *t = attach(name), *r;
	shm_options o = {0600, 0, true, false, false};
	shm_value v, w;
	WANT(slots(s) == SHM_INDEX_SLOTS_ && word(&s->header->used) == 582 && word(&s->header->index) == 516);
	for (int i = 0; i < 3000; i++) {
		(void)made(s, i);
		WANT(word(&s->header->values) == (uint64_t)i + 1 && word(&s->header->indexed) == word(&s->header->used));
		WANT(2 * (uint64_t)(i + 1) <= slots(s) && slots(s) <= shm_max_(SHM_INDEX_SLOTS_, 4 * (uint64_t)i));
		found(t, i, 0);
	}
	SOUND(s);
	MUST(shm_attach(&r, name, &o));
	for (int i = 0; i < 3000; i++)
		found(r, i, 0);
	found(r, 3000, -ENOENT);
	/* A struct that grows keeps its place, and the index leads to its last growth. */
	struct one a = {7};
	MUST(shm_new_struct(s, "s", ONE, sizeof a, &a, &v));
	MUST(shm_new_struct(s, "s", THREE, sizeof(struct three), NULL, &w));
	MUST(shm_new_struct(t, "s", FOUR, sizeof(struct four), NULL, &w));
	WANT(w.record == v.record && word(&s->header->values) == 3001);
	MUST(shm_find(r, "s", &w));
	WANT(w.size == sizeof(struct four) && w.record == v.record && w.data - r->mem == v.data - s->mem);
	MUST(shm_is(&w, SHM_PUBLISHED, FOUR));
	MUST(shm_new_struct(s, "s", ONE, sizeof a, NULL, &w));
	SOUND(s);
	shm_detach(r);
	shm_detach(t);
	shm_detach(s);
}

/* If there is no room for a larger index, the old one serves on until one slot is free. */
static void full(const char *name)
{
	shm_segment *s;
	shm_value v;
	shm_options o = {0600, SHM_HEADER_ + 4224 + 256 * 192 + 300 * 192, false, false, false};
	MUST(shm_attach(&s, name, &o));
	int n = 0, err = 0;
	for (char value[32]; err == 0; n += err == 0) {
		snprintf(value, sizeof value, "value %d", n);
		err = shm_new_raw(s, value, SHM_I64, NULL, &v);
	}
	IS(err, SHM_EFULL);
	SOUND(s);
	for (int i = 0; i < n; i++) {
		char value[32];
		snprintf(value, sizeof value, "value %d", i);
		MUST(shm_find(s, value, &v));
	}
	shm_detach(s);
}

/* The next maker completes what one left that died at each step. */
static void completes(const char *name)
{
	for (int k = 0; k <= 30; k++) {
		char other[256];
		snprintf(other, sizeof other, "%s-%d", name, k);
		shm_segment *s = attach(other);
		shm_remove(other);
		uint64_t end;
		struct shm_record_ r;
		shm_value v;
		int n = k < 10 ? 40 : 256; /* the next name makes the index grow */
		for (int i = 0; i < n; i++)
			(void)made(s, i);
		uint64_t indexed = word(&s->header->indexed);
		if (k % 10 == 9) {
			MUST(shm_new_struct(s, "s", ONE, sizeof(struct one), NULL, &v));
			MUST(shm_new_struct(s, "s", FOUR, sizeof(struct four), NULL, &v));
		}
		for (int i = n; i < n + k % 10; i++)
			(void)made(s, i);
		/* The last ones are not in the index, or not counted. */
		bool entered = k >= 20;
		if (!entered) {
			struct shm_table_ t;
			MUST(shm_index_(s, &t));
			for (uint64_t i = 0; i <= t.mask; i++)
				t.slots[i] = 0;
			MUST(shm_used_(s, &end));
			for (uint64_t off = SHM_HEADER_, values = 0; off < indexed * 64; off += r.length) {
				MUST(shm_decode_(s, off, end, &r));
				if (r.shape.kind != SHM_INDEX_)
					MUST(shm_enter_(s, &r, &values));
				free(r.meta);
			}
		}
		shm_store_sealed_(&s->header->values, entered ? word(&s->header->values) - (uint64_t)(k % 10) / 2 : (uint64_t)n);
		shm_store_sealed_(&s->header->indexed, indexed);
		for (int i = 0; i < n + k % 10; i++)
			found(s, i, 0);
		if (k % 10 == 9) {
			MUST(shm_find(s, "s", &v));
			WANT(v.size == sizeof(struct four));
		}
		(void)made(s, n + k % 10);
		SOUND(s);
		for (int i = 0; i <= n + k % 10; i++)
			found(s, i, 0);
		shm_detach(s);
	}
}

static void repairs(const char *name)
{
	shm_segment *s = attach(name), *t;
	shm_value v, m, n;
	for (int i = 0; i < 400; i++)
		(void)made(s, i);
	MUST(shm_new_mutex(s, "m", &m));
	MUST(shm_new_mutex(s, "n", &n));
	MUST(shm_new_mutex(s, "free", &v));
	uint64_t next = word(&s->header->next_id), used = word(&s->header->used);
	for (int k = 0; k < 9; k++) {
		uint64_t now = 0;
		m.cell->word = (uint32_t)(next + 4) | SHM_KERNEL_WAITERS_; /* of an id that is newer than the header */
		n.cell->word = SHM_OWNER_MASK_ - 5;                      /* of one that never was */
		n.cell->abandoned = 0;
		struct shm_table_ table;
		MUST(shm_index_(s, &table));
		switch (k) {
		case 0: /* nothing is wrong */
			break;
		case 1: /* an old count */
			shm_store_sealed_(&s->header->values, 7);
			break;
		case 2: /* the end of the directory never reached the disk */
			memset(s->mem + (used - 3) * 64, 0, 3 * 64);
			break;
		case 3: /* no index */
			shm_store_sealed_(&s->header->index, used - 1);
			break;
		case 4: /* slots that lead nowhere */
			for (uint64_t i = 0; i <= table.mask; i += 3)
				if (table.slots[i] != 0)
					table.slots[i] ^= UINT64_C(0x12) << (i % 2 * 44);
			break;
		case 5: /* lost slots */
			memset(table.slots, 0, 2048);
			break;
		case 6: /* sizes that do not fit each other */
			shm_store_sealed_(&s->header->allocated, 583);
			break;
		case 7: /* a directory that is older than the index */
			shm_store_sealed_(&s->header->indexed, used + 1);
			break;
		case 8: /* an old index, in which there is no room */
			shm_store_sealed_(&s->header->index, 516);
			break;
		}
		away(s);
		/* It is in use, by a container with another boot id, say: nobody changes it. */
		struct flock l;
		int fd = open(s->path, O_RDWR);
		MUST(shm_file_lock_(fd, F_OFD_SETLK, F_WRLCK, SHM_LEASE_BASE_ + 1000, 1, &l));
		uint64_t home = word(&s->header->home);
		int err = shm_attach(&t, name, NULL);
		WANT(err == 0 || err == SHM_EFORMAT);
		if (err == 0)
			shm_detach(t);
		WANT(word(&s->header->home) == home && n.cell->word == SHM_OWNER_MASK_ - 5);
		close(fd);
		/* Nobody has a lease now. A reader changes nothing. */
		shm_close_(s, s->ctl);
		s->ctl = -1;
		s->id = 0;
		shm_options o = {0600, 0, true, false, false};
		err = shm_attach(&t, name, &o);
		WANT((err == 0 || err == SHM_EFORMAT) && word(&s->header->home) == home);
		if (err == 0)
			shm_detach(t);
		MUST(shm_attach(&t, name, NULL));
		now = word(&t->header->next_id);
		WANT(now == next + 5 && n.cell->word == 0 && n.cell->abandoned != 0);
		WANT(m.cell->word == ((uint32_t)(next + 4) | SHM_KERNEL_WAITERS_)); /* nothing resets it */
		WANT(word(&t->header->home) == t->where && t->where != 0);
		SOUND(t);
		struct stat st;
		WANT(fstat(t->fd, &st) == 0 && word(&t->header->allocated) * 64 <= (uint64_t)st.st_size && word(&t->header->allocated) >= word(&t->header->used));
		for (int i = 0; i < 400; i++)
			found(t, i, 0);
		IS(shm_find(t, "free", &v), k == 2 ? -ENOENT : 0);
		MUST(shm_new_mutex(t, "free", &v));
		MUST(shm_new_mutex(t, "m", &v));
		MUST(shm_lock_for(&v, 5000000000)); /* another round may just have probed the owner */
		WANT(shm_abandoned(&v) && t->id == next + 5);
		shm_consistent(&v);
		MUST(shm_unlock(&v));
		next = word(&t->header->next_id);
		shm_detach(t);
		WANT(k == 8 || word(&s->header->used) == used);
	}
	shm_detach(s);
}

/* Who keeps the allocation lock delays who attaches, and does not block it. */
static void waits_briefly(const char *name)
{
	shm_segment *s = attach(name), *t;
	shm_value m;
	struct flock l;
	MUST(shm_new_mutex(s, "m", &m));
	uint64_t next = word(&s->header->next_id);
	m.cell->word = (uint32_t)next + 4;
	away(s);
	shm_close_(s, s->ctl);
	s->ctl = -1;
	int fd = open(s->path, O_RDONLY);
	MUST(shm_file_lock_(fd, F_OFD_SETLK, F_RDLCK, 0, 1, &l));
	int64_t start = shm_now_();
	MUST(shm_attach(&t, name, NULL));
	WANT(shm_now_() - start < 20 * SHM_SETTLE_NS_);
	WANT(word(&t->header->next_id) == next + 5 && word(&t->header->home) != t->where);
	shm_detach(t);
	shm_store_sealed_(&s->header->allocated, 583);
	IS(shm_attach(&t, name, NULL), SHM_EFORMAT);
	close(fd);
	MUST(shm_attach(&t, name, NULL));
	WANT(word(&t->header->home) == t->where);
	shm_detach(t);
	shm_detach(s);
}

static uint64_t seed = 88172645463325252;

static uint64_t dice(uint64_t n) /* xorshift64* */
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * UINT64_C(2685821657736338717) % n;
}

/* Of a file whose pages are of different moments, what was there at the first moment is
 * there, however much of what came later. */
static void power(const char *name)
{
	enum { PAGE = 4096 };
	shm_segment *s = attach(name), *t;
	shm_value v;
	struct stat st;
	char path[512], value[32];
	snprintf(path, sizeof path, "%s", s->path);
	int opened = 0, n = 150, rounds = 300;
	for (int i = 0; i < n; i++)
		(void)made(s, i);
	MUST(shm_new_struct(s, "s", ONE, sizeof(struct one), NULL, &v));
	WANT(fstat(s->fd, &st) == 0);
	size_t early_size = (size_t)st.st_size;
	unsigned char *early = (unsigned char *)malloc(early_size);
	WANT(early != NULL);
	memcpy(early, s->mem, early_size);
	for (int i = n; i < 2 * n; i++) /* the index grows */
		(void)made(s, i);
	MUST(shm_new_struct(s, "s", FOUR, sizeof(struct four), NULL, &v));
	WANT(fstat(s->fd, &st) == 0);
	size_t size = (size_t)st.st_size;
	unsigned char *late = (unsigned char *)malloc(size), *mixed = (unsigned char *)malloc(size);
	WANT(late != NULL && mixed != NULL);
	memcpy(late, s->mem, size);
	shm_detach(s);
	unlink(path);
	for (int round = 0; round < rounds; round++) {
		size_t length = dice(3) == 0 ? early_size + dice((size - early_size) / PAGE + 1) * PAGE : size;
		for (size_t page = 0; page < length; page += PAGE) {
			bool old = dice(4) < (uint64_t)round % 4 + 1;
			if (!old)
				memcpy(mixed + page, late + page, PAGE);
			else if (page < early_size)
				memcpy(mixed + page, early + page, PAGE);
			else
				memset(mixed + page, 0, PAGE);
		}
		/* A copy has another inode, and so another home. */
		int fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
		WANT(fd >= 0 && write(fd, mixed, length) == (ssize_t)length);
		close(fd);
		int err = shm_attach(&t, path, NULL);
		IS(err, 0);
		opened++;
		SOUND(t);
		for (int i = 0; i < n; i++)
			found(t, i, 0);
		MUST(shm_find(t, "s", &v));
		for (int i = n; i < 2 * n + 5; i++) {
			snprintf(value, sizeof value, "value %d", i);
			int64_t init = i;
			MUST(shm_new_raw(t, value, SHM_I64, &init, &v));
		}
		MUST(shm_new_struct(t, "s", FOUR, sizeof(struct four), NULL, &v));
		SOUND(t);
		shm_detach(t);
		unlink(path);
	}
	free(early);
	free(late);
	free(mixed);
}

/* Makers are killed all the time. */
static void killed(const char *name)
{
	enum { MAKERS = 3 };
	shm_segment *s = attach(name);
	shm_value v;
	pid_t all[MAKERS] = {0};
	alarm(120);
	for (int round = 0; round < 150; round++) {
		int who = round % MAKERS;
		if (all[who] != 0) {
			usleep((useconds_t)dice(3000));
			kill(all[who], SIGKILL);
			WANT(waitpid(all[who], NULL, 0) == all[who]);
		}
		all[who] = fork();
		if (all[who] == 0) {
			for (int i = 0;; i++) {
				char value[64];
				int64_t init = i;
				snprintf(value, sizeof value, "%d of %d", i, round);
				if (i % 3 == 2)
					MUST(shm_new_struct(s, "s", i % 2 == 0 ? ONE : FOUR, i % 2 == 0 ? sizeof(struct one) : sizeof(struct four), NULL, &v));
				else
					MUST(shm_new_number(s, value, SHM_I64, &init, &v));
			}
		}
		(void)made(s, round);
	}
	for (int i = 0; i < MAKERS; i++) {
		kill(all[i], SIGKILL);
		waitpid(all[i], NULL, 0);
	}
	(void)made(s, 1000);
	SOUND(s);
	for (int i = 0; i < 150; i++)
		found(s, i, 0);
	shm_detach(s);
}

static void *makes_and_finds(void *arg)
{
	int me = *(int *)arg;
	shm_value v;
	for (int i = 0; i < 300; i++) {
		(void)made(segment, i);
		(void)made(segment, 1000 * (me + 1) + i);
		found(segment, i / 2, 0);
		MUST(shm_new_struct(segment, "s", i < 150 ? ONE : FOUR, i < 150 ? sizeof(struct one) : sizeof(struct four), NULL, &v));
		MUST(shm_find(segment, "s", &v));
		MUST(shm_new_number(segment, "n", SHM_I64, NULL, &v));
		MUST(shm_add_i64(&v, 1, NULL));
	}
	return NULL;
}

/* Threads of one process make and find values at the same time. */
static void threads(const char *name)
{
	enum { THREADS = 4 };
	pthread_t all[THREADS];
	int me[THREADS];
	int64_t n;
	shm_value v;
	segment = attach(name);
	for (int i = 0; i < THREADS; i++) {
		me[i] = i;
		MUST(pthread_create(&all[i], NULL, makes_and_finds, &me[i]));
	}
	for (int i = 0; i < THREADS; i++)
		MUST(pthread_join(all[i], NULL));
	SOUND(segment);
	MUST(shm_find(segment, "n", &v));
	MUST(shm_load_i64(&v, &n));
	WANT(n == 300 * THREADS && word(&segment->header->values) == 300 * (THREADS + 1) + 2);
	shm_detach(segment);
}

/* What has a second way, or an error that says what is wrong, where the system refuses it. */
static void second_ways(const char *name)
{
	static const int refusals[] = {ENOSYS, EPERM, EACCES, EINVAL, EOPNOTSUPP};
	shm_segment *s, *anonymous;
	shm_value v, m;
	uint64_t i;
	struct stat st;
	/* A file without a name may keep the mode that it has, and others may not. */
	umask(0);
	const shm_options group = {0660, 1 << 20, false, false, true};
	for (size_t k = 0; k < sizeof refusals / sizeof refusals[0]; k++) {
		hook.chmod = refusals[k];
		MUST(shm_anonymous(&anonymous, NULL));
		MUST(shm_new_number(anonymous, "n", SHM_I64, NULL, &v));
		shm_detach(anonymous);
		s = attach(name);
		shm_detach(s);
		MUST(shm_remove(name));
		IS(shm_attach(&s, name, &group), -hook.chmod);
		IS(shm_remove(name), -ENOENT);
	}
	hook.chmod = 0;
	/* A process without futex_waitv waits for locks by sleeping, and does not spin. */
	s = attach(name);
	MUST(shm_new_mutexes(s, "locks", 2, &v));
	pid_t holder = fork();
	if (holder == 0) {
		for (i = 0; i < 2; i++) {
			MUST(shm_mutex_at(&v, i, &m));
			MUST(shm_lock(&m));
		}
		raise(SIGSTOP);
		_exit(0);
	}
	WANT(holder > 0 && waitpid(holder, NULL, WUNTRACED) == holder);
	for (size_t k = 0; k < sizeof refusals / sizeof refusals[0]; k++) {
		hook.waitv = refusals[k];
		hook.waits = 0;
		IS(shm_lock_any(&v, 300000000, &i), -ETIMEDOUT);
		WANT(hook.waits <= 100);
	}
	hook.waitv = 0;
	kill(holder, SIGKILL);
	WANT(waitpid(holder, NULL, 0) == holder);
	shm_detach(s);
	/* At the limit for files there is an error, and no signal. */
	s = attach(name);
	WANT(fstat(s->fd, &st) == 0);
	struct rlimit limit = {(rlim_t)st.st_size, RLIM_INFINITY};
	WANT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	IS(shm_new_raw_array(s, "large", SHM_I64, (uint64_t)st.st_size / 8, &v), -EFBIG);
	MUST(shm_new_number(s, "small", SHM_I64, NULL, &v));
	limit.rlim_cur = 1;
	WANT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	IS(shm_anonymous(&anonymous, NULL), -EFBIG);
	shm_detach(s);
}

static int entries(const char *dir)
{
	int n = 0;
	DIR *d = opendir(dir);
	WANT(d != NULL);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n - 2;
}

/* Each call that creation can do without has a second way. */
static void creation(const char *dir)
{
	char path[512];
	shm_segment *s, *t;
	shm_value v;
	const int tmpfile_refused[] = {0, EOPNOTSUPP, EISDIR, EINVAL, ENOSYS, EACCES};
	const int link_refused[] = {0, EACCES, EPERM, EXDEV, ENOENT, ENOSYS, EOPNOTSUPP};
	const int rename_refused[] = {0, EINVAL, ENOSYS, EPERM, EOPNOTSUPP};
	const shm_options exclusive = {0640, 1 << 20, false, false, true};
	snprintf(path, sizeof path, "%s/segment", dir);
	hook.path = path;
	umask(077);
	for (int i = 0; i < 6; i++)
		for (int j = 0; j < 7; j++)
			for (int k = 0; k < 5; k++) {
				struct stat st;
				bool must_rename = tmpfile_refused[i] != 0 || link_refused[j] != 0;
				hook.tmpfile = tmpfile_refused[i];
				hook.link = link_refused[j];
				hook.rename = rename_refused[k];
				int err = shm_attach(&s, path, &exclusive);
				if (must_rename && hook.rename != 0 && hook.link != 0) {
					IS(err, hook.link == ENOENT ? -ENOENT : SHM_EFILESYSTEM);
					WANT(entries(dir) == 0);
					continue;
				}
				IS(err, 0);
				MUST(shm_new_number(s, "n", SHM_I64, NULL, &v));
				WANT(entries(dir) == 1 && stat(path, &st) == 0 && st.st_nlink == 1 && (st.st_mode & 0777) == 0640);
				IS(shm_attach(&t, path, &exclusive), -EEXIST);
				WANT(entries(dir) == 1);
				shm_detach(s);
				unlink(path);
			}
	/* What creators left that died: a temporary name, and a second one. */
	char temp[600];
	memset(&hook, 0, sizeof hook);
	hook.tmpfile = EOPNOTSUPP;
	hook.rename = EINVAL;
	snprintf(temp, sizeof temp, "%s/.segment.0123abcd.new-segment", dir);
	int fd = open(temp, O_CREAT | O_EXCL | O_RDWR, 0600);
	WANT(fd >= 0 && close(fd) == 0);
	MUST(shm_attach(&s, path, &exclusive));
	WANT(entries(dir) == 1);
	WANT(link(path, temp) == 0);
	shm_options again = {0640, 0, false, true, false};
	MUST(shm_attach(&t, path, &again));
	WANT(entries(dir) == 1);
	shm_detach(t);
	snprintf(temp, sizeof temp, "%s/another", dir);
	WANT(link(path, temp) == 0);
	IS(shm_attach(&t, path, &again), SHM_EINSECURE);
	unlink(temp);
	unlink(path);
	shm_detach(s);
	/* A creator that lives keeps its temporary name. */
	struct flock l;
	snprintf(temp, sizeof temp, "%s/.segment.0123abcd.new-segment", dir);
	fd = open(temp, O_CREAT | O_EXCL | O_RDWR, 0600);
	MUST(shm_file_lock_(fd, F_OFD_SETLK, F_WRLCK, SHM_CREATION_, 1, &l));
	MUST(shm_attach(&s, path, &exclusive));
	WANT(entries(dir) == 2);
	close(fd);
	unlink(temp);
	unlink(path);
	shm_detach(s);
	/* The file is on the disk before its name is, and the name when the call returns.
	 * Memory needs neither. */
	const struct { long type; int tmpfile, rename; const char *log; } orders[] = {
		{SHM_BTRFS_, 0, 0, "cafld"}, {SHM_BTRFS_, EOPNOTSUPP, 0, "cafrd"}, {0xef53, EOPNOTSUPP, EINVAL, "afld"},
		{SHM_TMPFS_, 0, 0, "al"}, {SHM_RAMFS_, EOPNOTSUPP, 0, "ar"}};
	memset(&hook, 0, sizeof hook);
	hook.path = path;
	hook.cow = true; /* copy-on-write goes before any data come */
	for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
		hook.type = orders[i].type;
		hook.tmpfile = orders[i].tmpfile;
		hook.rename = orders[i].rename;
		memset(hook.log, 0, sizeof hook.log);
		MUST(shm_attach(&s, path, NULL));
		shm_detach(s);
		if (strcmp(hook.log, orders[i].log) != 0) {
			fprintf(stderr, "case %zu: the calls are %s, want %s\n", i, hook.log, orders[i].log);
			exit(1);
		}
		unlink(path);
	}
	/* A path is that of the directory in which the process was when it attached. */
	memset(&hook, 0, sizeof hook);
	WANT(chdir(dir) == 0);
	MUST(shm_attach(&s, "./segment", NULL));
	WANT(chdir("/") == 0 && shm_replaced(s) == 0 && s->path[0] == '/' && strcmp(shm_name(s), "./segment") == 0);
	shm_detach(s);
	unlink(path);
	/* Large pages hold no segment. */
	hook.tmpfile = 0;
	hook.type = (long)SHM_HUGETLBFS_;
	IS(shm_attach(&s, path, NULL), SHM_EFILESYSTEM);
	WANT(entries(dir) == 0);
}

int main(int argc, char **argv)
{
	static const struct { const char *mode; void (*run)(const char *); } modes[] = {
		{"grown", grown}, {"refused", refused}, {"cancelled", cancelled}, {"closed", closed}, {"signals", signals}, {"unprivileged", unprivileged},
		{"blocked", blocked}, {"trusted", trusted}, {"dump", dump}, {"gives back", gives_back}, {"creation", creation},
		{"indexes", indexes}, {"full", full}, {"completes", completes}, {"repairs", repairs}, {"waits briefly", waits_briefly}, {"power", power}, {"killed", killed}, {"threads", threads}, {"stdio", stdio}, {"second ways", second_ways}};
	for (size_t i = 0; argc == 3 && i < sizeof modes / sizeof modes[0]; i++)
		if (strcmp(argv[1], modes[i].mode) == 0) {
			modes[i].run(argv[2]);
			return 0;
		}
	fprintf(stderr, "usage: faults MODE NAME\n");
	return 2;
}
