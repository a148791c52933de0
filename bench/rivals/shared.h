/* What the rivals in C and C++ share: the lines that the league says and hears. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

typedef struct {
    uint64_t word[8];
} record;

/* A record is whole if all its words are equal. */
static int whole(const record *r)
{
    for (int i = 1; i < 8; i++)
        if (r->word[i] != r->word[0])
            return 0;
    return 1;
}

static void fill(record *r, uint64_t n)
{
    for (int i = 0; i < 8; i++)
        r->word[i] = n;
}

/* A rival defines these. dir is a directory of this run's own. */
static void rival_open(const char *dir);
static void rival_write(const record *r);
static void rival_read(record *r);
static int rival_wait(void);                      /* until the next poke; 0: not to be had */
static void rival_poke(void);
static const char *rival_mismatch(const char *dir); /* what becomes of a number taken for a double */
#ifndef NO_COUNTER
static void rival_add(void);
static uint64_t rival_total(void);
static void rival_attach(const char *dir); /* anew, by name, and detach */
static void rival_lock(void);
#endif

static int serve(const char *dir)
{
    char line[64], op[16];
    long long n;
    rival_open(dir);
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        n = 0;
        if (sscanf(line, "%15s %lld", op, &n) < 1)
            continue;
        int64_t start = now_ns(), end = start + n * 1000000;
        if (!strcmp(op, "write")) {
            record r;
            long long count = 0;
            do {
                fill(&r, ++count);
                rival_write(&r);
            } while (count % 16 || now_ns() < end);
            printf("%lld %lld\n", count, (long long)(now_ns() - start));
        } else if (!strcmp(op, "read")) {
            record r;
            long long count = 0, torn = 0;
            do {
                rival_read(&r);
                torn += !whole(&r);
                count++;
            } while (count % 16 || now_ns() < end);
            printf("%lld %lld %lld\n", count, (long long)(now_ns() - start), torn);
        } else if (!strcmp(op, "wait")) {
            puts("waiting");
            fflush(stdout);
            if (rival_wait())
                printf("%lld\n", (long long)now_ns());
            else
                puts("none");
        } else if (!strcmp(op, "poke")) {
            int64_t at = now_ns();
            rival_poke();
            printf("%lld\n", (long long)at);
        } else if (!strcmp(op, "mismatch")) {
            puts(rival_mismatch(dir));
#ifndef NO_COUNTER
        } else if (!strcmp(op, "add")) {
            for (long long i = 0; i < n; i++)
                rival_add();
            end = now_ns();
            printf("%lld %lld\n", (long long)(end - start), (long long)end);
        } else if (!strcmp(op, "total")) {
            printf("%llu\n", (unsigned long long)rival_total());
        } else if (!strcmp(op, "attach")) {
            for (long long i = 0; i < n; i++)
                rival_attach(dir);
            printf("%lld\n", (long long)(now_ns() - start));
        } else if (!strcmp(op, "lock")) {
            rival_lock();
            puts("locked");
#endif
        } else {
            puts("none");
        }
        fflush(stdout);
    }
    return 0;
}
