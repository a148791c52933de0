/* SQLite with a write-ahead log, and without syncs. */
#include "shared.h"

#include <sqlite3.h>
#include <unistd.h>

static sqlite3 *db;
static sqlite3_stmt *add, *total, *set, *get;

static void must(int err, int want, const char *what)
{
    if (err != want) {
        fprintf(stderr, "%s: %s\n", what, sqlite3_errmsg(db));
        exit(1);
    }
}

static void run(const char *sql) { must(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, sql); }

static sqlite3_stmt *prepare(const char *sql)
{
    sqlite3_stmt *s;
    must(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK, sql);
    return s;
}

static void rival_open(const char *dir)
{
    char path[512];
    snprintf(path, sizeof path, "%s/sqlite", dir);
    must(sqlite3_open(path, &db), SQLITE_OK, path);
    sqlite3_busy_timeout(db, 10000);
    run("PRAGMA journal_mode=WAL");
    run("PRAGMA synchronous=OFF");
    run("CREATE TABLE IF NOT EXISTS v (name TEXT PRIMARY KEY, value)");
    run("INSERT OR IGNORE INTO v VALUES ('count', 0), ('record', zeroblob(64))");
    add = prepare("UPDATE v SET value = value + 1 WHERE name = 'count'");
    total = prepare("SELECT value FROM v WHERE name = 'count'");
    set = prepare("UPDATE v SET value = ? WHERE name = 'record'");
    get = prepare("SELECT value FROM v WHERE name = 'record'");
}

/* Beside other writers a statement may fail at once, and is to be tried again. */
static void step(sqlite3_stmt *s)
{
    int err;
    while ((err = sqlite3_step(s)) == SQLITE_BUSY)
        sqlite3_reset(s);
    if (err != SQLITE_DONE && err != SQLITE_ROW)
        must(err, SQLITE_DONE, "sqlite3_step");
}

static void rival_add(void)
{
    step(add);
    sqlite3_reset(add);
}

static uint64_t rival_total(void)
{
    step(total);
    uint64_t n = sqlite3_column_int64(total, 0);
    sqlite3_reset(total);
    return n;
}

static void rival_write(const record *r)
{
    sqlite3_bind_blob(set, 1, r, sizeof *r, SQLITE_STATIC);
    step(set);
    sqlite3_reset(set);
}

static void rival_read(record *r)
{
    step(get);
    memcpy(r, sqlite3_column_blob(get, 0), sizeof *r);
    sqlite3_reset(get);
}

static void rival_attach(const char *dir)
{
    sqlite3_finalize(add);
    sqlite3_finalize(total);
    sqlite3_finalize(set);
    sqlite3_finalize(get);
    sqlite3_close(db);
    rival_open(dir);
    rival_total();
}

static void rival_lock(void) { run("BEGIN IMMEDIATE"); }
static int rival_wait(void) { return 0; }
static void rival_poke(void) {}

static const char *rival_mismatch(const char *dir)
{
    static char text[96];
    (void)dir;
    run("INSERT OR REPLACE INTO v VALUES ('word', 'abc')");
    run("UPDATE v SET value = value + 1 WHERE name = 'word'");
    sqlite3_stmt *s = prepare("SELECT value FROM v WHERE name = 'word'");
    step(s);
    snprintf(text, sizeof text, "accepted: 'abc' + 1 is %s", (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return text;
}

int main(int argc, char **argv) { return argc == 2 ? serve(argv[1]) : 2; }
