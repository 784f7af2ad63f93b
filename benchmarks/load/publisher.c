/* The publisher: one keep-alive connection on which the server is told to publish. */
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <unistd.h>

void publisher_open(void) {
    int one = 1;
    load.publisher = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(load.publisher, (struct sockaddr *)&load.server, sizeof load.server))
        die("no connection for the publisher: %s", strerror(errno));
    setsockopt(load.publisher, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(load.publisher, UINT64_MAX, EPOLLIN, EPOLL_CTL_ADD);
}

static void send_all(const char *data, size_t size) {
    /* Servers close a connection that was idle for a while. */
    if (load.publisher < 0) publisher_open();
    while (size) {
        ssize_t sent = send(load.publisher, data, size, MSG_NOSIGNAL);
        if (sent < 0) die("the publisher's connection: %s", strerror(errno));
        data += sent, size -= sent;
    }
}

void post(const char *path) {
    char text[1024];
    int size = snprintf(text, sizeof text,
                        "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n", path);
    send_all(text, size);
    load.answers_due++;
}

/* {"event":"#1@2;","pad":"xxx"} of size bytes, the same as the servers make. */
static int make_data(char *text, uint64_t seq, uint64_t size) {
    int used = sprintf(text, "{\"event\":\"#%llu@%llu;\",\"pad\":\"", (unsigned long long)seq,
                       (unsigned long long)now_ns());
    while (used + 2 < (int)size) text[used++] = 'x';
    return used + sprintf(text + used, "\"}");
}

static void publish_each(uint64_t count, uint64_t size) {
    char *text = malloc(count * (size + 512)), *data = malloc(size + 128);
    size_t used = 0;
    for (uint64_t each = 0; each < count; each++) {
        uint64_t seq = load.next_seq + each;
        int length = make_data(data, seq, size);
        used += sprintf(text + used,
                        "POST %s%llu HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s",
                        load.publish_path, (unsigned long long)(seq % load.channels), length, data);
    }
    load.answers_due += count;
    send_all(text, used);
    free(text);
    free(data);
}

void publish(uint64_t count, uint64_t size) {
    char path[512];
    if (load.each) {
        publish_each(count, size);
    } else {
        snprintf(path, sizeof path, "%s?n=%llu&seq=%llu&size=%llu&channels=%llu", load.publish_path,
                 (unsigned long long)count, (unsigned long long)load.next_seq,
                 (unsigned long long)size, (unsigned long long)load.channels);
        post(path);
    }
    load.next_seq += count;
}

/* One answer off the front of what arrived; false when there is no whole one. */
static bool take_answer(void) {
    load.answer[load.answer_size] = 0;
    char *end = strstr(load.answer, "\r\n\r\n");
    if (!end) return false;
    if (load.answer[9] != '2') die("the publisher got: %.300s", load.answer);
    *end = 0;
    char *length = strcasestr(load.answer, "\r\ncontent-length:");
    load.body_left = length ? strtoul(length + 17, NULL, 10) : 0;
    size_t used = end + 4 - load.answer;
    memmove(load.answer, load.answer + used, load.answer_size - used);
    load.answer_size -= used;
    load.answers_due--;
    return true;
}

void publisher_ready(void) {
    ssize_t size = recv(load.publisher, load.answer + load.answer_size,
                        sizeof load.answer - 1 - load.answer_size, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0) {
        if (load.answers_due) die("the server closed the publisher's connection");
        close(load.publisher);
        load.publisher = -1;
        return;
    }
    load.answer_size += size;
    do {
        size_t part = load.body_left < load.answer_size ? load.body_left : load.answer_size;
        memmove(load.answer, load.answer + part, load.answer_size - part);
        load.answer_size -= part;
        load.body_left -= part;
    } while (!load.body_left && take_answer());
}
