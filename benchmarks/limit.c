/* The limit: what a WebSocket echo server costs when there is nothing but epoll, recv, unmask and send.
 *
 * One thread. It answers the handshake, parses frames of every length, echoes them frame by frame (fragments as
 * fragments), answers pings and the close handshake, and stops reading from a peer that does not take its answers.
 * It does what every server must, and nothing that makes one usable: no timeouts, no UTF-8 check, no handlers.
 *
 *     limit [--port N] [--broadcast]
 *
 * prints `listening on ws://127.0.0.1:PORT`. With --broadcast every message goes to every connection.
 *
 * Everything is received into one shared buffer; a connection owns memory only for a frame that is incomplete (of
 * exactly that frame's size, and the rest of it is received straight into it) and for output the kernel did not take.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "sha1.h"
#include "wire.h"

enum { RECEIVE_SIZE = 256 * 1024, MAX_HEAD = 8192, MAX_FRAME = 64 << 20, BATCH = 1024 };

/* Output that the kernel did not take: octets offset..end of memory. */
struct unsent {
    uint8_t *memory;
    size_t offset, end;
};

/* 32 octets, indexed by descriptor. */
struct connection {
    uint8_t *partial;        /* an incomplete frame or request head, or NULL */
    struct unsent *unsent;   /* NULL: everything is sent, and the socket is watched for input */
    uint32_t partial_length; /* octets of it that are there */
    uint32_t partial_total;  /* the length of the whole frame; 0: not known yet */
    bool connected, upgraded, closing;
};

static struct connection *connections;
static int highest_fd;
static int epoll_fd;
static bool broadcasting;
/* In front of the receive buffer there is room for an incomplete head of a frame or a request. */
static uint8_t buffer[MAX_HEAD + RECEIVE_SIZE];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0)
        die("epoll_ctl");
}

static void drop_unsent(struct connection *c)
{
    if (c->unsent) {
        free(c->unsent->memory);
        free(c->unsent);
        c->unsent = NULL;
    }
}

static void end_connection(int fd)
{
    struct connection *c = &connections[fd];
    free(c->partial);
    drop_unsent(c);
    memset(c, 0, sizeof *c);
    close(fd);
}

/* Keeps `length` octets to be sent later. Takes over `owned` when they lie in it. */
static void keep_unsent(int fd, const uint8_t *data, size_t length, uint8_t *owned)
{
    struct connection *c = &connections[fd];
    if (!c->unsent) {
        c->unsent = calloc(1, sizeof *c->unsent);
        watch(fd, EPOLLOUT);
        if (owned) {
            *c->unsent = (struct unsent){owned, (size_t)(data - owned), (size_t)(data - owned) + length};
            return;
        }
    }
    struct unsent *u = c->unsent;
    u->memory = realloc(u->memory, u->end + length);
    if (!u->memory)
        die("realloc");
    memcpy(u->memory + u->end, data, length);
    u->end += length;
    free(owned);
}

/* Sends up to two stretches with one system call. The first may lie in `owned`, which is freed or kept. */
static bool send_all(int fd, struct iovec out[2], uint8_t *owned)
{
    struct connection *c = &connections[fd];
    size_t total = out[0].iov_len + out[1].iov_len;
    ssize_t sent = 0;
    if (!c->unsent && total) {
        if (!out[1].iov_len)
            sent = send(fd, out[0].iov_base, out[0].iov_len, MSG_NOSIGNAL);
        else if (!out[0].iov_len)
            sent = send(fd, out[1].iov_base, out[1].iov_len, MSG_NOSIGNAL);
        else
            sent = writev(fd, out, 2);
        if (sent < 0 && errno != EAGAIN) {
            free(owned);
            end_connection(fd);
            return false;
        }
        if (sent < 0)
            sent = 0;
    }
    for (int i = 0; i < 2; i++) {
        uint8_t *memory = i == 0 ? owned : NULL;
        if ((size_t)sent >= out[i].iov_len) {
            sent -= out[i].iov_len;
            free(memory);
            continue;
        }
        keep_unsent(fd, (uint8_t *)out[i].iov_base + sent, out[i].iov_len - sent, memory);
        sent = 0;
    }
    if (c->closing && !c->unsent) {
        end_connection(fd);
        return false;
    }
    return true;
}

static void broadcast_frame(uint8_t *frame, size_t length)
{
    for (int fd = 0; fd <= highest_fd; fd++)
        if (connections[fd].upgraded && !connections[fd].closing)
            send_all(fd, (struct iovec[2]){{frame, length}, {NULL, 0}}, NULL);
}

/* Turns the complete frame at `frame` into its answer, which ends up at *out if that is not NULL, else in place.
 * Returns the end of the answer and sets *out to its beginning; NULL for a frame that breaks the protocol. */
static uint8_t *answer(struct connection *c, uint8_t *frame, uint8_t **out)
{
    size_t header = frame_header_length(frame);
    uint64_t length = frame_payload_length(frame);
    uint8_t first = frame[0], opcode = first & OPCODE_BITS;
    uint8_t key[4];
    if (!(frame[1] & MASK_BIT) || first & RSV_BITS)
        return NULL;
    memcpy(key, frame + header - 4, 4);
    if (opcode >= OPCODE_CLOSE && (length > MAX_CONTROL_PAYLOAD || !(first & FIN)))
        return NULL;
    if (opcode == OPCODE_PING)
        first = FIN | OPCODE_PONG;
    else if (opcode == OPCODE_CLOSE)
        c->closing = true;
    else if (opcode > OPCODE_BINARY && opcode != OPCODE_PONG)
        return NULL;

    uint8_t *begin = *out ? *out : frame + header - plain_header_length(length);
    uint8_t *payload = begin + plain_header_length(length);
    apply_mask(payload, frame + header, length, key);
    write_frame_header(begin, first, 0, length);
    *out = begin;
    return opcode == OPCODE_PONG ? begin : payload + length;
}

/* Keeps what is left of an incomplete frame: in memory of that frame's size once its header is known. */
static bool keep_partial(struct connection *c, const uint8_t *data, size_t length)
{
    c->partial_length = (uint32_t)length;
    c->partial_total = 0;
    if (c->upgraded && length >= 2 && length >= frame_header_length(data)) {
        uint64_t payload_length = frame_payload_length(data);
        if (payload_length > MAX_FRAME)
            return false;
        c->partial_total = (uint32_t)(frame_header_length(data) + payload_length);
    }
    c->partial = malloc(c->partial_total ? c->partial_total : length);
    if (!c->partial)
        return false;
    memcpy(c->partial, data, length);
    return true;
}

/* The 101 for the request head at data, or 0 when it is no upgrade. */
static size_t handshake(const uint8_t *data, size_t length, char *response)
{
    static const char name[] = "\r\nsec-websocket-key:";
    const char *end = (const char *)data + length;
    for (const char *at = (const char *)data; at + sizeof name - 1 + 24 < end; at++) {
        if (*at != '\r' || strncasecmp(at, name, sizeof name - 1))
            continue;
        at += sizeof name - 1;
        while (*at == ' ')
            at++;
        if (end - at < 24)
            return 0;
        char key[29];
        websocket_accept_key(at, key);
        return (size_t)sprintf(response, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                         "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", key);
    }
    return 0;
}

/* Everything from data to end is decoded; what it answers goes out with one system call. */
static void process(int fd, struct iovec first, uint8_t *owned, uint8_t *data, uint8_t *end)
{
    struct connection *c = &connections[fd];
    char response[256];
    struct iovec out[2] = {first, {NULL, 0}};
    if (!c->upgraded) {
        uint8_t *head_end = memmem(data, (size_t)(end - data), "\r\n\r\n", 4);
        if (!head_end) {
            if (end - data > MAX_HEAD || !keep_partial(c, data, (size_t)(end - data)))
                end_connection(fd);
            return;
        }
        out[0] = (struct iovec){response, handshake(data, (size_t)(head_end + 2 - data), response)};
        if (!out[0].iov_len) {
            end_connection(fd);
            return;
        }
        c->upgraded = true;
        data = head_end + 4;
    }
    uint8_t *begin = NULL, *written = NULL;
    while (!c->closing && end - data >= 2) {
        size_t header = frame_header_length(data);
        if ((size_t)(end - data) < header || (uint64_t)((size_t)(end - data) - header) < frame_payload_length(data))
            break;
        uint8_t *next = data + header + frame_payload_length(data);
        uint8_t *at = broadcasting ? NULL : written;
        uint8_t *done = answer(c, data, &at);
        if (!done) {
            free(owned);
            end_connection(fd);
            return;
        }
        if (broadcasting && (*at & OPCODE_BITS) <= OPCODE_BINARY) {
            broadcast_frame(at, (size_t)(done - at));
            if (!c->connected)
                return;
        } else {
            if (!begin)
                begin = at;
            written = done;
        }
        data = next;
    }
    if (data < end && !c->closing && !keep_partial(c, data, (size_t)(end - data))) {
        free(owned);
        end_connection(fd);
        return;
    }
    if (begin)
        out[1] = (struct iovec){begin, (size_t)(written - begin)};
    send_all(fd, out, owned);
}

static void readable(int fd)
{
    struct connection *c = &connections[fd];
    uint8_t *data = buffer + MAX_HEAD;
    struct iovec first = {NULL, 0};
    uint8_t *owned = NULL;
    ssize_t received;
    if (c->partial && c->partial_total) {
        size_t missing = c->partial_total - c->partial_length;
        struct iovec in[2] = {{c->partial + c->partial_length, missing}, {data, RECEIVE_SIZE}};
        received = readv(fd, in, 2);
        if (received > 0 && (size_t)received < missing) {
            c->partial_length += (uint32_t)received;
            return;
        }
        if (received > 0) {
            received -= (ssize_t)missing;
            owned = c->partial;
            c->partial = NULL;
            uint8_t *begin = NULL, *end = answer(c, owned, &begin);
            if (!end) {
                free(owned);
                end_connection(fd);
                return;
            }
            if (broadcasting && (*begin & OPCODE_BITS) <= OPCODE_BINARY) {
                broadcast_frame(begin, (size_t)(end - begin));
                if (!c->connected) {
                    free(owned);
                    return;
                }
            } else {
                first = (struct iovec){begin, (size_t)(end - begin)};
            }
            process(fd, first, owned, data, data + received);
            return;
        }
    } else {
        received = recv(fd, data, RECEIVE_SIZE, 0);
        if (received > 0 && c->partial) {
            data -= c->partial_length;
            memcpy(data, c->partial, c->partial_length);
            received += c->partial_length;
            free(c->partial);
            c->partial = NULL;
        }
    }
    if (received > 0)
        process(fd, first, owned, data, data + received);
    else if (received == 0 || errno != EAGAIN)
        end_connection(fd);
}

static void writable(int fd)
{
    struct connection *c = &connections[fd];
    struct unsent *u = c->unsent;
    ssize_t sent = send(fd, u->memory + u->offset, u->end - u->offset, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN)
            end_connection(fd);
        return;
    }
    u->offset += (size_t)sent;
    if (u->offset < u->end)
        return;
    drop_unsent(c);
    if (c->closing)
        end_connection(fd);
    else
        watch(fd, EPOLLIN);
}

static void accept_all(int listener)
{
    for (int i = 0; i < 64; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)
                return;
            die("accept4");
        }
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            die("epoll_ctl");
        connections[fd] = (struct connection){.connected = true};
        if (fd > highest_fd)
            highest_fd = fd;
    }
}

static int listen_on(uint16_t port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
    if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 4096) < 0)
        die("listen");
    getsockname(fd, (struct sockaddr *)&address, &length);
    printf("listening on ws://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    int port = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--broadcast"))
            broadcasting = true;
        else if (!strcmp(argv[i], "--port") && i + 1 < argc)
            port = atoi(argv[++i]);
        else {
            fprintf(stderr, "usage: %s [--port N] [--broadcast]\n", argv[0]);
            return 2;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    /* A large message's memory comes from the heap and stays there, so that its pages are faulted in once. */
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 512 << 20);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    /* Straight from the kernel: a page of it counts as used when a connection uses it. */
    connections = mmap(NULL, limit.rlim_cur * sizeof *connections, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_on((uint16_t)port);
    struct epoll_event events[BATCH] = {{.events = EPOLLIN, .data.fd = listener}};
    if (connections == MAP_FAILED || epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, events) < 0)
        die("setting up");
    for (;;) {
        int count = epoll_wait(epoll_fd, events, BATCH, -1);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(listener);
            else if (!connections[fd].connected)
                continue; /* ended by an earlier event of this batch */
            else if (connections[fd].unsent)
                writable(fd);
            else
                readable(fd);
        }
    }
}
