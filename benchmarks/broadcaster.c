/* The limit: a server that does nothing but write the same bytes to every client.
 *
 *   GET /stream                          an event stream, chunked
 *   POST /publish?n=1&seq=1&size=100     n events, made once, in one write to every client
 *   GET /generate                        an event stream; POST /go?tokens=200 starts them all:
 *                                        each token is a write of its own to its own client
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FD = 200000, EVENTS = 512, REQUEST = 4096 };

struct connection {
    enum { REQUESTS, STREAM, GENERATOR } kind;
    char *request;
    size_t request_size;
    char *pending; /* what the socket did not take */
    size_t pending_size;
};

static struct connection *connections;
static int epoll, last_fd;
static char *burst;
static size_t burst_room;

static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char DONE[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int fd, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll, operation, fd, &event)) fail("epoll_ctl");
}

static void drop(int fd) {
    free(connections[fd].pending);
    free(connections[fd].request);
    memset(&connections[fd], 0, sizeof connections[fd]);
    close(fd);
}

static void write_to(int fd, const char *data, size_t size) {
    struct connection *c = &connections[fd];
    ssize_t sent = 0;
    if (!c->pending_size) sent = send(fd, data, size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return;
    if (sent < 0) sent = 0;
    if ((size_t)sent == size) return;
    c->pending = realloc(c->pending, c->pending_size + size - sent);
    memcpy(c->pending + c->pending_size, data + sent, size - sent);
    c->pending_size += size - sent;
    watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

static void flush(int fd) {
    struct connection *c = &connections[fd];
    ssize_t sent = send(fd, c->pending, c->pending_size, MSG_NOSIGNAL);
    if (sent < 0) return;
    memmove(c->pending, c->pending + sent, c->pending_size - sent);
    c->pending_size -= sent;
    if (!c->pending_size) watch(fd, EPOLLIN, EPOLL_CTL_MOD);
}

static uint64_t argument(const char *request, const char *name, uint64_t otherwise) {
    const char *end = strchr(request, '\r'), *found = strstr(request, name);
    return found && found < end ? strtoull(found + strlen(name), NULL, 10) : otherwise;
}

/* One frame in a chunk of its own; returns its size. */
static size_t make_frame(char *text, uint64_t seq, uint64_t size) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    char data[128];
    int used = sprintf(data, "{\"event\":\"#%llu@%llu;\",\"pad\":\"", (unsigned long long)seq,
                       now.tv_sec * 1000000000ull + now.tv_nsec);
    int pad = (int)size - used - 2 > 0 ? (int)size - used - 2 : 0;
    size_t length = sprintf(text, "%x\r\ndata: %s", used + pad + 2 + 8, data);
    memset(text + length, 'x', pad);
    return length + pad + sprintf(text + length + pad, "\"}\n\n\r\n");
}

static void publish(const char *request) {
    uint64_t n = argument(request, "n=", 1), seq = argument(request, "seq=", 1);
    uint64_t size = argument(request, "size=", 100);
    if (n * (size + 256) > burst_room) burst = realloc(burst, burst_room = n * (size + 256));
    size_t used = 0;
    for (uint64_t each = 0; each < n; each++) used += make_frame(burst + used, seq + each, size);
    for (int fd = 0; fd <= last_fd; fd++)
        if (connections[fd].kind == STREAM) write_to(fd, burst, used);
}

static void generate(uint64_t tokens) {
    char text[512];
    for (uint64_t seq = 1; seq <= tokens; seq++)
        for (int fd = 0; fd <= last_fd; fd++)
            if (connections[fd].kind == GENERATOR) write_to(fd, text, make_frame(text, seq, 40));
}

static void answer(int fd, const char *request) {
    struct connection *c = &connections[fd];
    if (!strncmp(request, "GET /stream", 11)) c->kind = STREAM;
    if (!strncmp(request, "GET /generate", 13)) c->kind = GENERATOR;
    if (!strncmp(request, "POST /publish", 13)) publish(request);
    if (!strncmp(request, "POST /go", 8)) generate(argument(request, "tokens=", 200));
    if (c->kind == REQUESTS) write_to(fd, DONE, sizeof DONE - 1);
    else write_to(fd, STREAM_HEAD, sizeof STREAM_HEAD - 1);
    char ready[512];
    if (c->kind == GENERATOR) write_to(fd, ready, make_frame(ready, 0, 40));
}

static void readable(int fd) {
    struct connection *c = &connections[fd];
    if (!c->request) c->request = malloc(REQUEST);
    ssize_t size = recv(fd, c->request + c->request_size, REQUEST - 1 - c->request_size, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
        drop(fd);
        return;
    }
    c->request_size += size;
    c->request[c->request_size] = 0;
    /* One or more: requests may come before the last one is answered. */
    for (char *end; c->request && (end = strstr(c->request, "\r\n\r\n"));) {
        answer(fd, c->request);
        c->request_size -= end + 4 - c->request;
        memmove(c->request, end + 4, c->request_size + 1);
    }
    if (c->request_size) return;
    free(c->request);
    c->request = NULL;
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= MAX_FD) fail("too many connections");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (fd > last_fd) last_fd = fd;
        watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static int listen_on(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096)) fail("listen");
    return fd;
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    connections = calloc(MAX_FD, sizeof *connections);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on((uint16_t)atoi(arguments[1]));
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    struct epoll_event events[EVENTS];
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int index = 0; index < ready; index++) {
            int fd = events[index].data.fd;
            if (fd == listener) accept_all(fd);
            else {
                if (events[index].events & EPOLLOUT && connections[fd].pending_size) flush(fd);
                if (events[index].events & ~EPOLLOUT) readable(fd);
            }
        }
    }
}
