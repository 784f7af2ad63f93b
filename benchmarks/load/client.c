/* Event stream clients. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum { HEAD_MAX = 16384, PER_ADDRESS = 4000, SILENT_BUFFER = 65536 };

static char buffer[1 << 18];

/* A socket bound to an address of its own for every few thousand: ports are per address. */
static int connect_from(size_t index, bool reads) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket: %s (is the limit of open files too low?)", strerror(errno));
    int one = 1, small = SILENT_BUFFER;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    /* Without it the kernel would go on buffering megabytes for a client that never reads. */
    if (!reads) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    struct sockaddr_in own = {.sin_family = AF_INET};
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + index / PER_ADDRESS);
    if (bind(fd, (struct sockaddr *)&own, sizeof own)) die("bind: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&load.server, sizeof load.server) && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    return fd;
}

static void request(struct client *client, const char *path, const char *header) {
    char text[2048];
    /* A non-blocking connect on loopback is done when connect() returns, or the server is not there. */
    int size = snprintf(text, sizeof text,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n%s%s\r\n",
                        path, header, *header ? "\r\n" : "");
    if (send(client->fd, text, size, MSG_NOSIGNAL) != size)
        die("the request was not taken: %s", strerror(errno));
}

void client_open(const char *path, uint64_t channel, const char *header, bool reads) {
    if (load.clients_size == load.clients_room) die("too many clients");
    size_t index = load.clients_size++;
    struct client *client = &load.clients[index];
    memset(client, 0, sizeof *client);
    client->reads = reads;
    client->channel = channel;
    client->state = HEAD;
    client->head = malloc(HEAD_MAX);
    client->fd = connect_from(index, reads);
    load.opening++;
    request(client, path, header);
    watch(client->fd, index, EPOLLIN, EPOLL_CTL_ADD);
}

static void close_client(struct client *client) {
    if (client->state == CLOSED) return;
    if (client->state == HEAD) load.opening--;
    client->state = CLOSED;
    close(client->fd);
    free(client->head);
    client->head = NULL;
    load.counters.closed++;
}

void clients_close(void) {
    for (size_t index = 0; index < load.clients_size; index++) close_client(&load.clients[index]);
    load.clients_size = load.opening = load.heads = load.reached = 0;
}

/* -- counting */

void counters_reset(void) {
    memset(&load.counters, 0, sizeof load.counters);
    load.counters.started_ns = now_ns();
    load.since_seq = load.next_seq;
}

/* Buckets of a relative width of 2^-BUCKET_BITS. */
static int bucket_of(uint64_t value) {
    if (value < 1 << BUCKET_BITS) return (int)value;
    int shift = 63 - __builtin_clzll(value) - BUCKET_BITS;
    return (shift << BUCKET_BITS) + (int)(value >> shift);
}

uint64_t bucket_top(int bucket) {
    if (bucket < 2 << BUCKET_BITS) return bucket;
    int shift = (bucket >> BUCKET_BITS) - 1;
    return ((uint64_t)(bucket - (shift << BUCKET_BITS) + 1) << shift) - 1;
}

static void set_recent(struct client *client, uint64_t index, bool value) {
    uint64_t bit = 1ull << (index % 64), *word = &client->recent[index % RECENT / 64];
    *word = value ? *word | bit : *word & ~bit;
}

static bool is_recent(const struct client *client, uint64_t index) {
    return client->recent[index % RECENT / 64] >> (index % 64) & 1;
}

/* Returns whether the event is new to the client. */
static bool take_place(struct client *client, uint64_t seq) {
    uint64_t index = seq / load.channels + 1;
    if (client->next == 0) {
        client->next = index;
        load.reached++;
    }
    if (index >= client->next) {
        if (index - client->next > RECENT) memset(client->recent, 0, sizeof client->recent);
        else
            for (uint64_t each = client->next; each < index; each++) set_recent(client, each, false);
        client->next = index + 1;
        set_recent(client, index, true);
        return true;
    }
    if (client->next - index > RECENT || is_recent(client, index)) {
        load.counters.doubled++;
        return false;
    }
    load.counters.disordered++;
    set_recent(client, index, true);
    return true;
}

static void take_event(struct client *client, uint64_t seq, uint64_t at, uint64_t now) {
    client->events++;
    if (!take_place(client, seq)) return;
    if (seq < load.since_seq) return;
    struct counters *counters = &load.counters;
    uint64_t latency = now > at ? now - at : 0;
    counters->distinct++;
    counters->latency[bucket_of(latency)]++;
    if (latency > counters->max_latency) counters->max_latency = latency;
    if (!counters->first_ns) counters->first_ns = now;
    counters->last_ns = now;
}

/* -- parsing */

static void scan(struct client *client, const char *data, size_t size, uint64_t now) {
    const char *end = data + size;
    while (data < end) {
        if (client->scan == OUTSIDE) {
            data = memchr(data, '#', end - data);
            if (!data) return;
            client->scan = SEQ;
            client->number = 0;
            data++;
            continue;
        }
        char c = *data++;
        if (c >= '0' && c <= '9') {
            client->number = client->number * 10 + (c - '0');
        } else if (client->scan == SEQ && c == '@') {
            client->seq = client->number;
            client->number = 0;
            client->scan = AT;
        } else {
            if (client->scan == AT && c == ';') take_event(client, client->seq, client->number, now);
            client->scan = OUTSIDE;
        }
    }
}

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One byte of the framing of RFC 9112, section 7.1. Returns false at the end of the body. */
static bool frame_byte(struct client *client, char c) {
    switch (client->chunk) {
    case SIZE:
        if (hex(c) >= 0) {
            client->chunk_left = client->chunk_left * 16 + hex(c);
            return true;
        }
        client->chunk = SIZE_END; /* an extension, or the end of the line */
        /* fall through */
    case SIZE_END:
        if (c != '\n') return true;
        client->chunk = client->chunk_left ? DATA : TRAILER;
        return client->chunk_left != 0;
    case DATA_END:
        if (c == '\n') client->chunk = SIZE;
        return true;
    default: return true;
    }
}

static bool take_body(struct client *client, const char *data, size_t size, uint64_t now) {
    if (!client->chunked) {
        scan(client, data, size, now);
        return true;
    }
    while (size) {
        if (client->chunk != DATA) {
            if (!frame_byte(client, *data)) return false;
            data++, size--;
            continue;
        }
        size_t part = size < client->chunk_left ? size : client->chunk_left;
        scan(client, data, part, now);
        data += part, size -= part, client->chunk_left -= part;
        if (!client->chunk_left) client->chunk = DATA_END;
    }
    return true;
}

static bool take_head(struct client *client, const char *data, size_t size, uint64_t now) {
    if (client->head_size + size >= HEAD_MAX) size = HEAD_MAX - 1 - client->head_size;
    memcpy(client->head + client->head_size, data, size);
    client->head_size += size;
    client->head[client->head_size] = 0;
    char *end = strstr(client->head, "\r\n\r\n");
    if (!end) return client->head_size < HEAD_MAX - 1;
    if (strncmp(client->head + 9, "200", 3)) die("not 200: %.200s", client->head);
    *end = 0;
    client->chunked = strcasestr(client->head, "\r\ntransfer-encoding: chunked") != NULL;
    load.opening--;
    load.heads++;
    client->state = BODY;
    size_t rest = client->head_size - (end + 4 - client->head);
    bool goes_on = take_body(client, end + 4, rest, now);
    free(client->head);
    client->head = NULL;
    return goes_on;
}

void client_ready(struct client *client) {
    if (client->state == CLOSED) return;
    /* While the head comes: no more than fits beside it. */
    size_t room = client->state == HEAD ? HEAD_MAX - 1 - client->head_size : sizeof buffer;
    ssize_t size = recv(client->fd, buffer, room, 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    uint64_t now = now_ns();
    bool goes_on = size > 0 && (client->state == HEAD ? take_head(client, buffer, size, now)
                                                      : take_body(client, buffer, size, now));
    if (!goes_on) {
        close_client(client);
    } else if (!client->reads && client->state == BODY) {
        client->state = SILENT;
        epoll_ctl(load.epoll, EPOLL_CTL_DEL, client->fd, NULL);
    }
}
