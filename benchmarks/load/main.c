/* Commands, one a line on stdin; each is answered by one line of JSON on stdout.
 *
 *   open <clients> <channels> <path>     until there are so many; %u in the path is the channel
 *   silent <clients> <path>              clients that never read
 *   warm <seconds>                       publish until every client has got an event
 *   closed <window> <seconds>            the next event when the last is acknowledged, and clients
 *                                        are no more than window events behind on average
 *   lockstep <burst> <seconds>           the next burst when all clients have all of the last one
 *   rate <a second> <seconds> <bytes>    publish at a fixed rate
 *   watch <events> <seconds>             somebody else publishes so many, from "next_seq" on
 *   fill <events>                        publish so many, whoever is there
 *   gate <tokens> <path>                 POST path, then tokens from 1 on to every client
 *   replay <events> <path> [header]      a client of its own, until it has so many
 *   close                                end all clients
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

enum { EVENTS = 512, MAX_CLIENTS = 120000, AT_ONCE = 32, WARM_BATCH = 100 };
static const uint64_t SECOND = 1000000000ull, MILLISECOND = 1000000ull;
/* So long without any delivery, and the rest counts as lost; a client more may take a bit longer. */
static const uint64_t STALL = 3 * 1000000000ull, STALL_A_CLIENT = 100000;

struct load load = {.channels = 1, .next_seq = 1};

uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

void watch(int fd, uint64_t id, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.u64 = id};
    if (epoll_ctl(load.epoll, operation, fd, &event)) die("epoll_ctl: %s", strerror(errno));
}

enum { STDIN_ID = -2 };

/* Handle what is ready, waiting until `until` at most. Returns whether stdin has something. */
static bool turn(uint64_t until) {
    struct epoll_event events[EVENTS];
    uint64_t now = now_ns();
    /* Rounded up: else the last millisecond is spent spinning. */
    int timeout = until <= now ? 0 : (int)((until - now + MILLISECOND - 1) / MILLISECOND);
    int count = epoll_wait(load.epoll, events, EVENTS, timeout);
    bool command = false;
    for (int index = 0; index < count; index++) {
        uint64_t id = events[index].data.u64;
        if (id == UINT64_MAX) publisher_ready();
        else if (id == (uint64_t)STDIN_ID) command = true;
        else client_ready(&load.clients[id]);
    }
    return command;
}

static uint64_t readers(void) {
    uint64_t count = 0;
    for (size_t index = 0; index < load.clients_size; index++)
        count += load.clients[index].reads && load.clients[index].state != CLOSED;
    return count;
}

/* How many deliveries the events in [since_seq, next_seq) make. */
static uint64_t deliveries_due(void) {
    uint64_t count = 0, first = load.since_seq, end = load.next_seq;
    for (size_t index = 0; index < load.clients_size; index++) {
        struct client *client = &load.clients[index];
        if (!client->reads) continue;
        uint64_t skip = (client->channel + load.channels - first % load.channels) % load.channels;
        if (first + skip < end) count += (end - first - skip - 1) / load.channels + 1;
    }
    return count;
}

/* Wait for `due` deliveries and all answers, until nothing came for `stall` ns. */
static void settle(uint64_t due, uint64_t stall) {
    uint64_t last = now_ns(), seen = load.counters.distinct;
    stall += load.clients_size * STALL_A_CLIENT;
    while ((load.counters.distinct < due || load.answers_due) && now_ns() < last + stall) {
        turn(last + stall);
        if (load.counters.distinct != seen) {
            seen = load.counters.distinct;
            last = now_ns();
        }
    }
}

static double quantile(double share) {
    uint64_t wanted = (uint64_t)(load.counters.distinct * share), seen = 0;
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        seen += load.counters.latency[bucket];
        if (seen > wanted) return bucket_top(bucket) / 1e6;
    }
    return 0;
}

static void report(uint64_t published, uint64_t due) {
    struct counters *counters = &load.counters;
    uint64_t end = counters->last_ns > counters->started_ns ? counters->last_ns : now_ns();
    printf("{\"published\": %llu, \"due\": %llu, \"delivered\": %llu, \"seconds\": %.6f, ",
           (unsigned long long)published, (unsigned long long)due,
           (unsigned long long)counters->distinct, (end - counters->started_ns) / 1e9);
    printf("\"doubled\": %llu, \"disordered\": %llu, \"closed\": %llu, ",
           (unsigned long long)counters->doubled, (unsigned long long)counters->disordered,
           (unsigned long long)counters->closed);
    printf("\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f, \"next_seq\": %llu}\n", quantile(0.5),
           quantile(0.99), counters->max_latency / 1e6, (unsigned long long)load.next_seq);
}

static void open_clients(size_t clients, uint64_t channels, const char *path, const char *header,
                         bool reads) {
    uint64_t last = now_ns();
    size_t seen = load.heads, wanted = reads ? clients : load.clients_size + clients;
    load.channels = channels;
    while (load.clients_size < wanted || load.opening) {
        if (load.clients_size < wanted && load.opening < AT_ONCE) {
            char own[512];
            uint64_t channel = load.clients_size % channels;
            snprintf(own, sizeof own, path, (unsigned)channel);
            client_open(own, channel, header, reads);
            if (load.clients_size % 8) continue;
        }
        turn(now_ns() + 100 * MILLISECOND * (load.opening >= AT_ONCE || load.clients_size >= wanted));
        if (load.heads != seen) seen = load.heads, last = now_ns();
        if (now_ns() > last + 60 * SECOND) die("only %zu of %zu clients got an answer", seen, wanted);
    }
}

static void command_open(size_t clients, uint64_t channels, const char *path, bool reads) {
    uint64_t start = now_ns();
    open_clients(clients, channels, path, "", reads);
    printf("{\"clients\": %llu, \"seconds\": %.6f}\n", (unsigned long long)readers(),
           (now_ns() - start) / 1e9);
}

/* To every channel once; waits for the answers. */
static void publish_round(void) {
    for (uint64_t left = load.channels; left;) {
        uint64_t batch = left < WARM_BATCH ? left : WARM_BATCH, due = now_ns() + 30 * SECOND;
        publish(batch, 100);
        left -= batch;
        while (load.answers_due && now_ns() < due) turn(due);
    }
}

static void command_warm(double seconds) {
    counters_reset();
    uint64_t end = load.counters.started_ns + (uint64_t)(seconds * SECOND);
    do {
        publish_round();
        /* Not all need be there yet: what is missed before the first event is no loss. */
        settle(deliveries_due(), 200 * MILLISECOND);
    } while (now_ns() < end || (load.reached < readers() && now_ns() < end + 30 * SECOND));
    /* What is still under way belongs to no measure. */
    settle(UINT64_MAX, 300 * MILLISECOND);
    printf("{\"reached\": %zu, \"clients\": %llu}\n", load.reached, (unsigned long long)readers());
}

static void command_lockstep(uint64_t burst, double seconds) {
    uint64_t published = 0, due = 0;
    counters_reset();
    uint64_t end = load.counters.started_ns + (uint64_t)(seconds * SECOND);
    do {
        publish(burst, 100);
        published += burst;
        due = deliveries_due();
        settle(due, STALL);
    } while (now_ns() < end);
    report(published, due);
}

static void command_closed(uint64_t window, double seconds) {
    uint64_t published = 0, due = 0;
    counters_reset();
    uint64_t end = load.counters.started_ns + (uint64_t)(seconds * SECOND);
    do {
        publish(1, 100);
        published++;
        due = deliveries_due();
        uint64_t room = window * readers(), stalled = now_ns() + STALL;
        while ((load.answers_due || load.counters.distinct + room < due) && now_ns() < stalled)
            turn(now_ns() + MILLISECOND);
    } while (now_ns() < end);
    settle(due, STALL);
    report(published, due);
}

static void command_rate(double rate, double seconds, uint64_t size) {
    uint64_t published = 0;
    counters_reset();
    uint64_t total = (uint64_t)(rate * seconds), start = load.counters.started_ns;
    while (published < total) {
        uint64_t next = start + (uint64_t)(published * 1e9 / rate);
        while (now_ns() < next) turn(next);
        publish(1, size);
        published++;
    }
    settle(deliveries_due(), STALL);
    report(published, deliveries_due());
}

static void command_watch(uint64_t events, double seconds) {
    counters_reset();
    load.next_seq += events;
    uint64_t due = deliveries_due(), end = now_ns() + (uint64_t)(seconds * SECOND);
    while (load.counters.distinct < due && now_ns() < end) turn(end);
    report(events, due);
}

static void command_fill(uint64_t events) {
    for (uint64_t end = load.next_seq + events; load.next_seq < end;) {
        publish(end - load.next_seq < WARM_BATCH ? end - load.next_seq : WARM_BATCH, 100);
        for (uint64_t due = now_ns() + 30 * SECOND; load.answers_due;)
            if (turn(due), now_ns() > due) die("the server does not answer the publisher");
    }
    printf("{\"next_seq\": %llu}\n", (unsigned long long)load.next_seq);
}

static void command_gate(uint64_t tokens, const char *path) {
    /* Each generator's first event says that it is there; it goes on to the gate after that. */
    for (uint64_t due = now_ns() + 20 * SECOND; load.reached < load.clients_size;)
        if (turn(due), now_ns() > due) die("only %zu generators began", load.reached);
    for (uint64_t due = now_ns() + 100 * MILLISECOND; now_ns() < due;) turn(due);
    load.next_seq = 1;
    counters_reset();
    load.next_seq += tokens;
    post(path);
    settle(tokens * load.clients_size, STALL);
    report(tokens * load.clients_size, tokens * load.clients_size);
}

static void command_replay(uint64_t events, const char *path, const char *header) {
    load.next_seq = 1;
    counters_reset();
    uint64_t start = now_ns();
    open_clients(1, 1, path, header, true);
    settle(events, STALL);
    load.next_seq += events;
    /* The clock starts with the connection. */
    load.counters.started_ns = start;
    report(events, events);
}

static void run(char *line) {
    unsigned long long a, b, c;
    double x, y;
    char path[512], header[512] = "";
    if (sscanf(line, "open %llu %llu %511s", &a, &b, path) == 3) command_open(a, b, path, true);
    else if (sscanf(line, "silent %llu %511s", &a, path) == 2) command_open(a, 1, path, false);
    else if (sscanf(line, "warm %lf", &x) == 1) command_warm(x);
    else if (sscanf(line, "closed %llu %lf", &a, &x) == 2) command_closed(a, x);
    else if (sscanf(line, "lockstep %llu %lf", &a, &x) == 2) command_lockstep(a, x);
    else if (sscanf(line, "rate %lf %lf %llu", &x, &y, &c) == 3) command_rate(x, y, c);
    else if (sscanf(line, "watch %llu %lf", &a, &x) == 2) command_watch(a, x);
    else if (sscanf(line, "fill %llu", &a) == 1) command_fill(a);
    else if (sscanf(line, "gate %llu %511s", &a, path) == 2) command_gate(a, path);
    else if (sscanf(line, "replay %llu %511s %511[^\n]", &a, path, header) >= 2)
        command_replay(a, path, header);
    else if (!strncmp(line, "close", 5)) {
        clients_close();
        puts("{}");
    } else die("unknown command: %s", line);
    fflush(stdout);
}

/* load <port> <publish path> <many|each> */
int main(int count, char **arguments) {
    if (count != 4) die("load <port> <publish path> <many|each>");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    load.clients_room = MAX_CLIENTS;
    load.clients = calloc(MAX_CLIENTS, sizeof *load.clients);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    load.server.sin_family = AF_INET;
    load.server.sin_port = htons((uint16_t)atoi(arguments[1]));
    load.server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    snprintf(load.publish_path, sizeof load.publish_path, "%s", arguments[2]);
    load.each = !strcmp(arguments[3], "each");
    publisher_open();
    watch(0, (uint64_t)STDIN_ID, EPOLLIN, EPOLL_CTL_ADD);
    setvbuf(stdin, NULL, _IONBF, 0);
    char line[2048];
    for (;;) {
        if (!turn(now_ns() + SECOND)) continue;
        if (!fgets(line, sizeof line, stdin)) return 0;
        run(line);
    }
}
