/* Opens and ends connections in every way that the checklist of failures knows: driver PORT COUNT.
 * Plain blocking sockets, WINDOW of them at a time; it knows nothing of the server but what it may answer.
 * Prints how many connections ended how, one line per kind; status 1 when one did not end as it should. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { WINDOW = 64, SOURCES = 16, BUFFER = 1 << 17 };

/* How the client ends: it closes, resets, or ends its sending half and reads to the end. */
enum end { CLOSE, RESET, HALF };

#define HEAD(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" \
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
#define MASK "\x01\x02\x03\x04"

struct kind {
    const char *name;
    const char *first;       /* sent at once */
    size_t first_length;
    const char *answer;      /* what the answer to it begins with; NULL: none is awaited */
    const char *then;        /* sent behind the answer */
    size_t then_length;
    int to_the_end;          /* whether the server ends the connection: everything is read before the client ends */
    enum end end;
    int every;               /* only each so many turns: it takes its time */
};

#define OCTETS(text) text, sizeof(text) - 1
#define NONE NULL, 0
#define OPEN OCTETS(HEAD("/")), "HTTP/1.1 101"

static const struct kind kinds[] = {
    {"connect, close", NONE, NULL, NONE, 0, CLOSE, 1},
    {"connect, reset", NONE, NULL, NONE, 0, RESET, 1},
    {"connect, end", NONE, NULL, NONE, 1, HALF, 1},
    {"half a head, close", OCTETS("GET / HTTP/1.1\r\nHo"), NULL, NONE, 0, CLOSE, 1},
    {"half a head, reset", OCTETS("GET / HTTP/1.1\r\nHo"), NULL, NONE, 0, RESET, 1},
    {"head, close before the answer", OCTETS(HEAD("/")), NULL, NONE, 0, CLOSE, 1},
    {"head, reset before the answer", OCTETS(HEAD("/")), NULL, NONE, 0, RESET, 1},
    {"nonsense", OCTETS("\0\1\2\3 nonsense\r\n\r\n"), "HTTP/1.1 400", NONE, 1, CLOSE, 1},
    {"POST", OCTETS("POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), "HTTP/1.1 405", NONE, 1, CLOSE, 1},
    {"no Host", OCTETS("GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 400", NONE, 1, RESET, 1},
    {"no upgrade", OCTETS("GET /page HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 200", NONE, 1, CLOSE, 1},
    {"a body", OCTETS("PUT /page HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"), "HTTP/1.1 200", NONE, 1, CLOSE, 1},
    {"half a body", OCTETS("PUT /page HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nhello"), NULL, NONE, 0, RESET, 1},
    {"refused", OCTETS(HEAD("/refuse")), "HTTP/1.1 403", NONE, 1, CLOSE, 1},
    {"upgrade handler raises", OCTETS(HEAD("/raise")), "HTTP/1.1 500", NONE, 1, CLOSE, 1},
    {"octets behind a refused head", OCTETS(HEAD("/refuse") HEAD("/")), "HTTP/1.1 403", NONE, 1, CLOSE, 1},
    {"open, close", OPEN, NONE, 0, CLOSE, 1},
    {"open, reset", OPEN, NONE, 0, RESET, 1},
    {"open, end", OPEN, NONE, 1, HALF, 1},
    {"message, close handshake", OPEN, OCTETS("\x81\x84" MASK "gkma" "\x88\x82" MASK "\x02\xea"), 1, CLOSE, 1},
    {"message, reset", OPEN, OCTETS("\x81\x84" MASK "gkma"), 0, RESET, 1},
    {"compressed message", OPEN, OCTETS("\xc1\x86" MASK "\x4b\xc9\xcf\x4f\x04\x02"), 0, CLOSE, 1},
    {"close handshake", OPEN, OCTETS("\x88\x82" MASK "\x02\xea"), 1, CLOSE, 1},
    {"close frame, reset", OPEN, OCTETS("\x88\x82" MASK "\x02\xea"), 0, RESET, 1},
    {"no UTF-8", OPEN, OCTETS("\x81\x81" MASK "\xfe"), 1, CLOSE, 1},
    {"no UTF-8, reset", OPEN, OCTETS("\x81\x81" MASK "\xfe"), 0, RESET, 1},
    {"unknown opcode", OPEN, OCTETS("\x83\x80" MASK), 1, CLOSE, 1},
    {"reserved bits", OPEN, OCTETS("\xb1\x80" MASK), 1, CLOSE, 1},
    {"unmasked", OPEN, OCTETS("\x81\x04" "fine"), 1, CLOSE, 1},
    {"too big", OPEN, OCTETS("\x82\xff\0\0\1\0\0\0\0\0" MASK), 1, CLOSE, 1},
    {"wrong close", OPEN, OCTETS("\x88\x81" MASK "\2"), 1, CLOSE, 1},
    {"half a frame, close", OPEN, OCTETS("\x82\xfe\x10\0" MASK "some of it"), 0, CLOSE, 1},
    {"half a frame, reset", OPEN, OCTETS("\x82\xfe\x10\0" MASK "some of it"), 0, RESET, 1},
    {"half a message, close", OPEN, OCTETS("\x02\x84" MASK "some"), 0, CLOSE, 1},
    {"half a message, end", OPEN, OCTETS("\x02\x84" MASK "some"), 1, HALF, 1},
    {"ping, reset", OPEN, OCTETS("\x89\x80" MASK), 0, RESET, 1},
    {"subscribed, close", OCTETS(HEAD("/subscribe")), "HTTP/1.1 101", NONE, 0, CLOSE, 1},
    {"handler raises", OPEN, OCTETS("\x82\x81" MASK "\x73"), 1, HALF, 1},                   /* "r" */
    {"handler closes", OPEN, OCTETS("\x82\x81" MASK "\x62"), 1, HALF, 1},                   /* "c" */
    {"handler terminates", OPEN, OCTETS("\x82\x81" MASK "\x75"), 1, CLOSE, 1},              /* "t" */
    {"handler sleeps, close", OPEN, OCTETS("\x82\x81" MASK "\x72"), 0, CLOSE, 1},           /* "s" */
    {"handler sleeps, reset", OPEN, OCTETS("\x82\x81" MASK "\x72"), 0, RESET, 1},
    {"handler receives, close", OPEN, OCTETS("\x82\x81" MASK "\x76" "\x82\x81" MASK "\x40"), 0, CLOSE, 1}, /* "w" */
    {"handler is killed", OPEN, OCTETS("\x82\x81" MASK "\x6a"), 1, HALF, 1},                /* "k" */
    {"handler floods, close", OPEN, OCTETS("\x82\x81" MASK "\x67"), 0, CLOSE, 4},           /* "f" */
    {"a close that is never answered", OPEN, OCTETS("\x82\x81" MASK "\x62"), 1, CLOSE, 80},
    {"silence before the head", NONE, NULL, NONE, 1, CLOSE, 80},
    {"silence in the head", OCTETS("GET / HTTP/1.1\r\nHo"), NULL, NONE, 1, CLOSE, 80},
    {"silence", OPEN, NONE, 1, CLOSE, 80},
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static unsigned long done[KINDS];
static int failed;
static char buffer[BUFFER];

static void fail(const struct kind *kind, const char *what)
{
    fprintf(stderr, "%s: %s (%s)\n", kind->name, what, strerror(errno));
    failed = 1;
}

static int open_connection(int port, unsigned long number)
{
    struct sockaddr_in source = {.sin_family = AF_INET}, server = {.sin_family = AF_INET};
    struct timeval patience = {.tv_sec = 60};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    /* More ports than one address has, with those that wait out their time. */
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(number % SOURCES));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server.sin_port = htons((uint16_t)port);
    if (fd < 0) {
        perror("socket");
        exit(2);
    }
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (bind(fd, (struct sockaddr *)&source, sizeof source) || connect(fd, (struct sockaddr *)&server, sizeof server)) {
        perror("connect");
        exit(2);
    }
    return fd;
}

/* A peer that resets what we send to is not wrong: it may have ended the connection already. */
static void send_octets(int fd, const char *octets, size_t length)
{
    if (length > 0)
        (void)!send(fd, octets, length, MSG_NOSIGNAL);
}

static int begins_with(int fd, const char *answer)
{
    size_t got = 0, wanted = strlen(answer);
    while (got < wanted) {
        ssize_t count = recv(fd, buffer + got, wanted - got, 0);
        if (count <= 0)
            return 0;
        got += (size_t)count;
    }
    return memcmp(buffer, answer, wanted) == 0;
}

static int read_to_the_end(int fd)
{
    for (;;) {
        ssize_t count = recv(fd, buffer, sizeof buffer, 0);
        if (count == 0 || (count < 0 && errno == ECONNRESET))
            return 1;
        if (count < 0 && errno != EINTR)
            return 0;
    }
}

static void end_connection(int fd, enum end end)
{
    struct linger reset = {.l_onoff = 1};
    if (end == RESET)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
}

int main(int argc, char **argv)
{
    unsigned long count, number = 0, turn = 0;
    int port;
    if (argc != 3) {
        fprintf(stderr, "driver PORT COUNT\n");
        return 2;
    }
    port = atoi(argv[1]);
    count = strtoul(argv[2], NULL, 10);
    while (number < count && !failed) {
        int fds[WINDOW];
        unsigned chosen[WINDOW];
        unsigned size = 0, index;
        for (; size < WINDOW && number < count; turn++) {
            unsigned which = (unsigned)(turn % KINDS);
            if (turn / KINDS % (unsigned long)kinds[which].every != 0)
                continue;
            chosen[size] = which;
            fds[size] = open_connection(port, number++);
            send_octets(fds[size], kinds[which].first, kinds[which].first_length);
            size++;
        }
        for (index = 0; index < size; index++) {
            const struct kind *kind = &kinds[chosen[index]];
            if (kind->answer != NULL && !begins_with(fds[index], kind->answer))
                fail(kind, "another answer than expected");
            send_octets(fds[index], kind->then, kind->then_length);
            if (kind->end == HALF)
                shutdown(fds[index], SHUT_WR);
        }
        for (index = 0; index < size; index++) {
            const struct kind *kind = &kinds[chosen[index]];
            if (kind->to_the_end && !read_to_the_end(fds[index]))
                fail(kind, "the server does not end the connection");
            end_connection(fds[index], kind->end);
            done[chosen[index]]++;
        }
    }
    for (number = 0; number < KINDS; number++)
        printf("%lu %s\n", done[number], kinds[number].name);
    return failed;
}
