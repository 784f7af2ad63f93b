/* The load generator: one thread, one epoll instance, many event stream clients and one publisher.
 *
 *   client.c     connects, reads the response head and chunks, scans the body for events, keeps count
 *   publisher.c  makes the server publish, over one keep-alive connection
 *   main.c       the commands, each a line on stdin, each answered by a line of JSON on stdout
 *
 * An event's data holds "#<sequence number>@<CLOCK_MONOTONIC, ns>;" somewhere, in whatever format.
 */
#ifndef LOAD_H
#define LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RECENT_WORDS = 16, RECENT = RECENT_WORDS * 64 };
enum { BUCKET_BITS = 7, BUCKETS = 64 << BUCKET_BITS };

enum client_state { HEAD, BODY, SILENT, CLOSED };
enum chunk_state { SIZE, SIZE_END, DATA, DATA_END, TRAILER };
enum scan_state { OUTSIDE, SEQ, AT };

struct client {
    int fd;
    enum client_state state;
    enum chunk_state chunk;
    enum scan_state scan;
    bool chunked;
    bool reads;              /* false: never reads, to see what the server does */
    char *head;              /* the response head while it arrives */
    size_t head_size;
    uint64_t chunk_left;
    uint64_t number, seq;    /* what the scanner is reading */
    uint64_t channel;        /* gets every sequence number that is channel modulo channels */
    uint64_t next;           /* index of the next event expected in its channel; 0: none came yet */
    uint64_t recent[RECENT_WORDS]; /* which of the last RECENT indexes came: double or just late? */
    uint64_t events;
};

struct counters {
    uint64_t distinct, doubled, disordered, closed;
    uint64_t first_ns, last_ns, started_ns, max_latency;
    uint64_t latency[BUCKETS];
};

struct load {
    int epoll;
    struct sockaddr_in server;
    struct client *clients;
    size_t clients_size, clients_room;
    size_t opening, heads, reached;
    uint64_t channels;
    uint64_t since_seq;      /* events before it belong to an earlier measure */
    struct counters counters;
    /* the publisher */
    int publisher;
    bool each;               /* one POST an event (nchan), else one POST for many */
    char publish_path[256];
    uint64_t next_seq;
    uint64_t answers_due;
    char answer[8192];
    size_t answer_size;
    size_t body_left;
};

extern struct load load;

uint64_t now_ns(void);
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
void watch(int fd, uint64_t id, uint32_t events, int operation);

void client_open(const char *path, uint64_t channel, const char *header, bool reads);
void client_ready(struct client *client);
void clients_close(void);
void counters_reset(void);
uint64_t bucket_top(int bucket);

void publisher_open(void);
void publisher_ready(void);
void publish(uint64_t count, uint64_t size);
void post(const char *path);

#endif
