/* The kernel's side of scripts/bench.py: echo (7), discard (9) and chargen (19) on ordinary sockets, in one epoll loop.
 * A server that costs so little that what is measured is the kernel's TCP.
 *
 *   cc -O2 -o bench_peer bench_peer.c && ./bench_peer 198.18.0.2
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define ECHO 7
#define DISCARD 9
#define CHARGEN 19
#define LISTENER 0x10000u /* beside a port, in the upper half of an event's data */

static char buffer[1 << 20];
static int epoll;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(int fd, uint32_t role, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.u64 = (uint64_t)role << 32 | (uint32_t)fd };
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

static void serve(const char *address, uint16_t port)
{
    struct sockaddr_in name = { .sin_family = AF_INET, .sin_port = htons(port) };
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (!inet_aton(address, &name.sin_addr))
        die(address);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&name, sizeof name) < 0 || listen(fd, 4096) < 0)
        die("listen");
    watch(fd, LISTENER | port, EPOLLIN);
}

static void welcome(int listener, uint32_t port)
{
    int one = 1, fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(fd, port, port == CHARGEN ? EPOLLOUT : EPOLLIN);
    }
}

/* All of it, waiting for a client that is slow to read; 0 when it is gone. */
static int send_all(int fd, const char *data, ssize_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        struct pollfd wait = { .fd = fd, .events = POLLOUT };
        if (sent > 0) {
            data += sent;
            size -= sent;
        } else if (errno != EAGAIN || poll(&wait, 1, 5000) != 1) {
            return 0;
        }
    }
    return 1;
}

/* 0 when the connection is over. */
static int attend(int fd, uint32_t port)
{
    ssize_t size;

    if (port == CHARGEN)
        return send(fd, buffer, sizeof buffer, MSG_NOSIGNAL) > 0 || errno == EAGAIN;
    size = recv(fd, buffer, sizeof buffer, 0);
    if (size <= 0)
        return size < 0 && errno == EAGAIN;
    return port == DISCARD || send_all(fd, buffer, size);
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];
    struct rlimit files;

    if (argc != 2) {
        fprintf(stderr, "usage: %s ADDRESS\n", argv[0]);
        return 2;
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    memset(buffer, 'x', sizeof buffer);
    epoll = epoll_create1(0);
    serve(argv[1], ECHO);
    serve(argv[1], DISCARD);
    serve(argv[1], CHARGEN);
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = (int)(uint32_t)events[i].data.u64;
            uint32_t role = events[i].data.u64 >> 32;
            if (role & LISTENER)
                welcome(fd, role & ~LISTENER);
            else if (!attend(fd, role))
                close(fd);
        }
    }
}
