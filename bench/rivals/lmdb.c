/* LMDB without syncs, in a directory of its own. */
#include "shared.h"

#include <lmdb.h>
#include <sys/stat.h>

static MDB_env *env;
static MDB_dbi dbi;

static void must(int err, const char *what)
{
    if (err) {
        fprintf(stderr, "%s: %s\n", what, mdb_strerror(err));
        exit(1);
    }
}

static MDB_env *env_at(const char *dir)
{
    char path[512];
    snprintf(path, sizeof path, "%s/lmdb", dir);
    mkdir(path, 0700);
    MDB_env *e;
    must(mdb_env_create(&e), "mdb_env_create");
    /* Pages that a reader may still see are not used again, and a reader that the scheduler
     * interrupts keeps them for long: 16 MiB were not enough. */
    must(mdb_env_set_mapsize(e, (size_t)1 << 30), "mdb_env_set_mapsize");
    must(mdb_env_open(e, path, MDB_WRITEMAP | MDB_NOSYNC | MDB_NOTLS, 0600), "mdb_env_open");
    return e;
}

static void get(MDB_env *e, MDB_txn *txn, MDB_dbi d, const char *name, void *to, size_t n)
{
    MDB_val key = {strlen(name), (void *)name}, value;
    (void)e;
    int err = mdb_get(txn, d, &key, &value);
    memset(to, 0, n);
    if (err != MDB_NOTFOUND) {
        must(err, "mdb_get");
        memcpy(to, value.mv_data, n < value.mv_size ? n : value.mv_size);
    }
}

static void put(MDB_txn *txn, const char *name, const void *from, size_t n)
{
    MDB_val key = {strlen(name), (void *)name}, value = {n, (void *)from};
    must(mdb_put(txn, dbi, &key, &value, 0), "mdb_put");
}

static MDB_txn *begin(MDB_env *e, int flags)
{
    MDB_txn *txn;
    must(mdb_txn_begin(e, NULL, flags, &txn), "mdb_txn_begin");
    return txn;
}

static void rival_open(const char *dir)
{
    env = env_at(dir);
    MDB_txn *txn = begin(env, 0);
    must(mdb_dbi_open(txn, NULL, 0, &dbi), "mdb_dbi_open");
    must(mdb_txn_commit(txn), "mdb_txn_commit");
}

static void rival_add(void)
{
    uint64_t n;
    MDB_txn *txn = begin(env, 0);
    get(env, txn, dbi, "count", &n, sizeof n);
    n++;
    put(txn, "count", &n, sizeof n);
    must(mdb_txn_commit(txn), "mdb_txn_commit");
}

static uint64_t rival_total(void)
{
    uint64_t n;
    MDB_txn *txn = begin(env, MDB_RDONLY);
    get(env, txn, dbi, "count", &n, sizeof n);
    mdb_txn_abort(txn);
    return n;
}

static void rival_write(const record *r)
{
    MDB_txn *txn = begin(env, 0);
    put(txn, "record", r, sizeof *r);
    must(mdb_txn_commit(txn), "mdb_txn_commit");
}

static void rival_read(record *r)
{
    MDB_txn *txn = begin(env, MDB_RDONLY);
    get(env, txn, dbi, "record", r, sizeof *r);
    mdb_txn_abort(txn);
}

static void rival_attach(const char *dir)
{
    /* LMDB forbids to open an environment twice in a process, so the other one is closed. */
    mdb_env_close(env);
    rival_open(dir);
    rival_total();
}

static void rival_lock(void) { begin(env, 0); }
static int rival_wait(void) { return 0; }
static void rival_poke(void) {}

static const char *rival_mismatch(const char *dir)
{
    static char text[96];
    (void)dir;
    double d;
    uint64_t n;
    MDB_txn *txn = begin(env, MDB_RDONLY);
    get(env, txn, dbi, "count", &n, sizeof n);
    memcpy(&d, &n, sizeof d);
    mdb_txn_abort(txn);
    snprintf(text, sizeof text, "accepted, garbage: %llu is %g", (unsigned long long)n, d);
    return text;
}

int main(int argc, char **argv) { return argc == 2 ? serve(argv[1]) : 2; }
