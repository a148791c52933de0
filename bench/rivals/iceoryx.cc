// iceoryx: a record of 64 bytes, published by one process. There is no counter and no lock.
#include <iceoryx_posh/popo/publisher.hpp>
#include <iceoryx_posh/popo/subscriber.hpp>
#include <iceoryx_posh/popo/wait_set.hpp>
#include <iceoryx_posh/runtime/posh_runtime.hpp>
#include <string>
#include <unistd.h>

extern "C" {
#define NO_COUNTER
#include "shared.h"
}

static iox::popo::Publisher<record> *publisher;
static iox::popo::Subscriber<record> *subscriber;
static iox::popo::Publisher<uint64_t> *poking;
static iox::popo::Subscriber<uint64_t> *poked;
static record newest;

static void rival_open(const char *dir)
{
    std::string name = "league-" + std::to_string(getpid());
    iox::runtime::PoshRuntime::initRuntime(iox::RuntimeName_t(iox::cxx::TruncateToCapacity, name));
    std::string run(dir);
    iox::capro::IdString_t instance(iox::cxx::TruncateToCapacity, run.substr(run.rfind('/') + 1));
    iox::popo::SubscriberOptions last;
    last.queueCapacity = 1; /* the newest sample, as a value is */
    publisher = new iox::popo::Publisher<record>({"league", instance, "record"});
    subscriber = new iox::popo::Subscriber<record>({"league", instance, "record"}, last);
    poking = new iox::popo::Publisher<uint64_t>({"league", instance, "poked"});
    poked = new iox::popo::Subscriber<uint64_t>({"league", instance, "poked"}, last);
}

static void rival_write(const record *r)
{
    publisher->loan().and_then([&](auto &sample) {
        *sample = *r;
        sample.publish();
    }).or_else([](auto &) { exit(1); });
}

static void rival_read(record *r)
{
    subscriber->take().and_then([&](auto &sample) { newest = *sample; });
    *r = newest;
}

static int rival_wait(void)
{
    iox::popo::WaitSet<> set;
    set.attachState(*poked, iox::popo::SubscriberState::HAS_DATA).or_else([](auto) { exit(1); });
    set.wait();
    poked->releaseQueuedData();
    return 1;
}

static void rival_poke(void)
{
    poking->publishCopyOf(1).or_else([](auto &) { exit(1); });
    poked->releaseQueuedData(); /* a publisher hears itself */
}

static const char *rival_mismatch(const char *dir)
{
    static char text[96];
    std::string run(dir);
    iox::capro::IdString_t instance(iox::cxx::TruncateToCapacity, run.substr(run.rfind('/') + 1));
    iox::popo::Subscriber<double> wrong({"league", instance, "poked"});
    usleep(300000); /* until RouDi has connected it */
    rival_poke();
    wrong.take()
        .and_then([&](auto &sample) { snprintf(text, sizeof text, "accepted, garbage: 1 is %g", *sample); })
        .or_else([&](auto &) { snprintf(text, sizeof text, "nothing arrives"); });
    return text;
}

int main(int argc, char **argv) { return argc == 2 ? serve(argv[1]) : 2; }
