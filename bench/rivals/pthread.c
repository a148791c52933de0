/* A process-shared mutex of glibc in a file of /dev/shm; with -DROBUST a robust one. */
#define _GNU_SOURCE
#include "shared.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    _Alignas(64) uint64_t count;
    _Alignas(64) record r;
    uint64_t poked;
} memory;

static memory *m;

static void take(void)
{
    int err = pthread_mutex_lock(&m->mutex);
#ifdef ROBUST
    if (err == EOWNERDEAD)
        err = pthread_mutex_consistent(&m->mutex);
#endif
    if (err) {
        fprintf(stderr, "pthread_mutex_lock: %s\n", strerror(err));
        exit(1);
    }
}

static memory *map(const char *dir, int *made)
{
    char path[512];
    snprintf(path, sizeof path, "%s/pthread", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    *made = fd >= 0;
    if (fd < 0)
        fd = open(path, O_RDWR);
    if (fd < 0 || (*made && ftruncate(fd, sizeof(memory)))) {
        perror(path);
        exit(1);
    }
    struct stat s;
    while (!fstat(fd, &s) && s.st_size < (off_t)sizeof(memory))
        usleep(1000);
    memory *p = mmap(NULL, sizeof(memory), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    close(fd);
    return p;
}

static void rival_open(const char *dir)
{
    int made;
    m = map(dir, &made);
    if (!made) /* the league starts the first process alone, so the mutex is complete */
        return;
    pthread_mutexattr_t a;
    pthread_condattr_t c;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
#ifdef ROBUST
    pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
#endif
    pthread_mutex_init(&m->mutex, &a);
    pthread_condattr_init(&c);
    pthread_condattr_setpshared(&c, PTHREAD_PROCESS_SHARED);
    pthread_cond_init(&m->changed, &c);
}

static void rival_add(void)
{
    take();
    m->count++;
    pthread_mutex_unlock(&m->mutex);
}

static uint64_t rival_total(void)
{
    take();
    uint64_t n = m->count;
    pthread_mutex_unlock(&m->mutex);
    return n;
}

static void rival_write(const record *r)
{
    take();
    m->r = *r;
    pthread_mutex_unlock(&m->mutex);
}

static void rival_read(record *r)
{
    take();
    *r = m->r;
    pthread_mutex_unlock(&m->mutex);
}

static void rival_attach(const char *dir)
{
    int made;
    memory *p = map(dir, &made);
    *(volatile uint64_t *)&p->count; /* maps the page */
    munmap(p, sizeof *p);
}

static void rival_lock(void) { take(); }

static int rival_wait(void)
{
    take();
    for (uint64_t seen = m->poked; m->poked == seen;) {
        int err = pthread_cond_wait(&m->changed, &m->mutex);
        if (err && err != EOWNERDEAD)
            exit(1);
    }
    pthread_mutex_unlock(&m->mutex);
    return 1;
}

static void rival_poke(void)
{
    take();
    m->poked++;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->mutex);
}

static const char *rival_mismatch(const char *dir)
{
    static char text[96];
    (void)dir;
    double d;
    memcpy(&d, &m->count, sizeof d);
    snprintf(text, sizeof text, "accepted, garbage: %llu is %g", (unsigned long long)m->count, d);
    return text;
}

int main(int argc, char **argv) { return argc == 2 ? serve(argv[1]) : 2; }
