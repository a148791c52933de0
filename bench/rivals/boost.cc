// Boost.Interprocess: a managed segment with a mutex and values by name.
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/interprocess_condition.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>
#include <string>

extern "C" {
#include "shared.h"
}

namespace bip = boost::interprocess;
typedef bip::scoped_lock<bip::interprocess_mutex> scoped;

static bip::managed_shared_memory *segment;
static bip::interprocess_mutex *mutex_;
static bip::interprocess_condition *changed;
static uint64_t *count_, *poked;
static record *shared_record;

// The name of a segment, which is in /dev/shm whatever dir is, ends as dir does.
static std::string name_of(const char *dir)
{
    std::string d(dir);
    return "shm-league-" + d.substr(d.rfind('/') + 1);
}

static void rival_open(const char *dir)
{
    segment = new bip::managed_shared_memory(bip::open_or_create, name_of(dir).c_str(), 65536);
    mutex_ = segment->find_or_construct<bip::interprocess_mutex>("mutex")();
    changed = segment->find_or_construct<bip::interprocess_condition>("changed")();
    count_ = segment->find_or_construct<uint64_t>("count")(0);
    poked = segment->find_or_construct<uint64_t>("poked")(0);
    shared_record = segment->find_or_construct<record>("record")();
}

static void rival_add(void) { scoped l(*mutex_); ++*count_; }
static uint64_t rival_total(void) { scoped l(*mutex_); return *count_; }
static void rival_write(const record *r) { scoped l(*mutex_); *shared_record = *r; }
static void rival_read(record *r) { scoped l(*mutex_); *r = *shared_record; }
static void rival_lock(void) { mutex_->lock(); }

static void rival_attach(const char *dir)
{
    bip::managed_shared_memory s(bip::open_only, name_of(dir).c_str());
    if (!s.find<uint64_t>("count").first)
        exit(1);
}

static int rival_wait(void)
{
    scoped l(*mutex_);
    for (uint64_t seen = *poked; *poked == seen;)
        changed->wait(l);
    return 1;
}

static void rival_poke(void)
{
    scoped l(*mutex_);
    ++*poked;
    changed->notify_all();
}

static const char *rival_mismatch(const char *)
{
    static char text[96];
    double *d = segment->find<double>("count").first;
    if (!d)
        return "refused";
    snprintf(text, sizeof text, "accepted, garbage: %llu is %g", (unsigned long long)*count_, *d);
    return text;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[2], "remove"))
        return !bip::shared_memory_object::remove(name_of(argv[1]).c_str());
    return argc == 2 ? serve(argv[1]) : 2;
}
