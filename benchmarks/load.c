/* The load generator: thousands of WebSocket clients in one thread, on epoll.
 *
 *     load echo      --port P [--connections N] [--in-flight K] [--size B] [--text] [--warm-up S] [--seconds S]
 *     load broadcast --port P [--connections N] [--in-flight K] [--size B] [--text] [--warm-up S] [--seconds S]
 *     load connect   --port P [--connections C] [--warm-up S] [--seconds S]
 *     load idle      --port P [--connections N] [--message none|send|echo] [--size B]
 *
 * echo: every connection keeps K messages on their way and sends the next when one comes back.
 * broadcast: the first connection sends, and each message is expected on all N (the sender's own too).
 * connect: C at a time open a connection, shake hands, close with a close frame, and wait until the server has ended
 *     the TCP connection; over and over.
 * idle: N connections are opened, each sends one message (send) and has it answered (echo), and are held until a line
 *     (or the end) comes on stdin. Pings are answered meanwhile.
 * For all: [--host A] [--path P] [--core N: run on that core] [--concurrency C: handshakes at a time] [--sources A: come
 *     from A addresses 127.0.0.1, 127.0.0.2, ...] [--wait] [--timeout S: fail after so long without progress]
 *     [--deflated FILE: permessage-deflate without context takeover
 *     is asked for, and the messages are those of FILE] [--tls: TLS 1.3 with one cipher, whoever the server says it is].
 *
 * The file of --deflated: three numbers of 32 bits, lowest octet first (how many messages, octets of each, octets of each when
 * compressed), all messages, all of them compressed. What comes back must be compressed too, and inflate to what was sent; of
 * each message the ways in which a server compresses it are remembered, for there are few of them.
 *
 * --wait is for measuring the server: after the warm-up everything under way is finished, the line "ready" is printed, and
 * measuring starts with a line on stdin. At the end too everything is finished before the result is printed, and then
 * the connections are held until stdin ends. So what the server did between the two lines belongs to exactly the counted
 * operations. In idle mode "ready" is printed when the connections are held.
 *
 * The result is one line of JSON. Every octet that comes back is compared with what must come; anything else, and a
 * lost connection, ends the program with a message and status 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

#include "histogram.h"
#include "inflate.h"
#include "wire.h"

enum { RECEIVE_SIZE = 512 * 1024, HEAD_SIZE = 4096, BATCH = 512, REQUEST_SIZE = 1024 };

enum mode { ECHO, BROADCAST, CONNECT, IDLE };

enum state {
    UNUSED,
    CONNECTING, /* the TCP connection is not there yet */
    SHAKING,    /* the TLS handshake is under way */
    UPGRADING,  /* the request is sent */
    OPEN,
    CLOSING,    /* our close frame is sent */
    ENDING,     /* the server's close frame is here; the end of the TCP connection is awaited */
};

struct connection {
    int fd;
    enum state state;
    bool watching_output, pong_due, in_message;
    /* sending: `unsent` messages, of the first of which (slot `sending`) sent_octets are out */
    unsigned sending, unsent;
    size_t sent_octets;
    /* receiving */
    unsigned receiving;       /* the slot of the message that must come next */
    size_t message_octets;    /* of it that are here */
    uint64_t payload_missing; /* of the current frame */
    uint8_t header[MAX_FRAME_HEADER];
    uint8_t header_octets;
    uint8_t control[MAX_CONTROL_PAYLOAD], control_octets;
    struct answer *collected; /* the compressed message that is coming */
    char *head; /* an incomplete response head */
    size_t head_octets;
    uint64_t started;
#ifdef WITH_TLS
    SSL *tls;
#endif
};

struct answer {
    struct answer *next;
    size_t length;
    uint8_t octets[];
};

static struct {
    enum mode mode;
    struct sockaddr_in server;
    const char *host, *path, *message, *deflated;
    unsigned connections, in_flight, concurrency, sources;
    size_t size;
    bool text, wait, tls;
    int core;
    double warm_up, seconds, timeout;
} options = {
    .host = "127.0.0.1", .path = "/", .message = "none", .connections = 64, .in_flight = 1, .concurrency = 64,
    .size = 20, .core = -1, .warm_up = 1, .seconds = 3, .timeout = 20,
};

static struct connection *connections;
static int epoll_fd;
static uint8_t buffer[RECEIVE_SIZE];
static char request[REQUEST_SIZE];
static size_t request_length;

/* The messages, all different, in `slots` slots; as the frames that are sent (in_flight more, so that what is to be sent
 * is always one stretch) and as the payloads that must come back. */
static unsigned slots;
static uint8_t *frames, *payloads;
static size_t frame_length;
static size_t sent_size;          /* payload octets of a frame that is sent */
static struct answer **answers;   /* per slot: the ways in which the server has compressed it */
static uint64_t *send_times;      /* per connection and slot; for broadcast per slot */
static unsigned *broadcast_missing; /* per slot: deliveries that are still to come */

static bool running;              /* new operations are started */
static uint64_t opened, operations, under_way, broadcasts, last_progress;
static unsigned opening, next_source;
static struct histogram latencies;

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static unsigned number_of(const struct connection *c)
{
    return (unsigned)(c - connections);
}

static void lost(const struct connection *c, const char *what)
{
    fail("connection %u: %s (%s)", number_of(c), what, errno ? strerror(errno) : "end of stream");
}

/* ---- what moves octets ---- */

static void watch_output(struct connection *c, bool wanted)
{
    if (c->watching_output == wanted)
        return;
    c->watching_output = wanted;
    struct epoll_event event = {.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.u32 = number_of(c)};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

#ifdef WITH_TLS
static SSL_CTX *tls_context;

static void prepare_tls(void)
{
    tls_context = SSL_CTX_new(TLS_client_method());
    /* One cipher, so that all servers work with the same. */
    if (!tls_context || !SSL_CTX_set_min_proto_version(tls_context, TLS1_3_VERSION)
        || !SSL_CTX_set_ciphersuites(tls_context, "TLS_AES_256_GCM_SHA384"))
        fail("TLS cannot be set up");
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_mode(tls_context, SSL_MODE_RELEASE_BUFFERS);
}

/* As the result of send() or recv(), for one of SSL_write, SSL_read and SSL_connect. */
static ssize_t tls_result(struct connection *c, int result)
{
    if (result > 0)
        return result;
    switch (SSL_get_error(c->tls, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    case SSL_ERROR_ZERO_RETURN: return 0;
    default: return errno == ECONNRESET ? -1 : 0;
    }
}
#endif

/* As send(). */
static ssize_t transmit(struct connection *c, const void *data, size_t length)
{
#ifdef WITH_TLS
    if (c->tls)
        return tls_result(c, SSL_write(c->tls, data, length < INT32_MAX ? (int)length : INT32_MAX));
#endif
    return send(c->fd, data, length, MSG_NOSIGNAL);
}

/* As recv(); with TLS all that is there, because epoll does not know of what OpenSSL has read already. */
static ssize_t take(struct connection *c, void *data, size_t length)
{
#ifdef WITH_TLS
    if (c->tls) {
        size_t total = 0;
        while (total < length) {
            ssize_t got = tls_result(c, SSL_read(c->tls, (char *)data + total, (int)(length - total)));
            if (got <= 0)
                return total ? (ssize_t)total : got;
            total += (size_t)got;
        }
        return (ssize_t)total;
    }
#endif
    return recv(c->fd, data, length, 0);
}

/* ---- messages ---- */

static uint32_t read_number(FILE *file)
{
    uint8_t octets[4];
    if (fread(octets, 1, 4, file) != 4)
        fail("%s is too short", options.deflated);
    return (uint32_t)octets[0] | (uint32_t)octets[1] << 8 | (uint32_t)octets[2] << 16 | (uint32_t)octets[3] << 24;
}

static uint8_t *read_octets(FILE *file, size_t length)
{
    uint8_t *octets = malloc(length + 1);
    if (!octets || fread(octets, 1, length, file) != length)
        fail("%s is too short", options.deflated);
    return octets;
}

/* Returns the compressed payloads. */
static uint8_t *read_messages(void)
{
    FILE *file = fopen(options.deflated, "rb");
    if (!file)
        fail("%s: %s", options.deflated, strerror(errno));
    uint32_t count = read_number(file);
    options.size = read_number(file);
    sent_size = read_number(file);
    if (count < slots)
        fail("%s has %u messages, %u are needed", options.deflated, count, slots);
    payloads = read_octets(file, count * options.size);
    uint8_t *deflated = read_octets(file, count * sent_size);
    fclose(file);
    answers = calloc(slots, sizeof *answers);
    if (!answers)
        fail("no memory for %u answers", slots);
    return deflated;
}

static void invent_messages(void)
{
    sent_size = options.size;
    payloads = malloc(slots * options.size + 1);
    if (!payloads)
        fail("no memory for %u messages", slots);
    for (unsigned slot = 0; slot < slots; slot++) {
        uint8_t *payload = payloads + slot * options.size;
        for (size_t i = 0; i < options.size; i++) {
            size_t octet = i == 0 ? slot : i == 1 ? slot / 26 : slot * 31 + i * 7 + i / 251;
            payload[i] = (uint8_t)(options.text ? 'a' + octet % 26 : octet);
        }
    }
}

static void build_messages(void)
{
    uint8_t *deflated = NULL;
    slots = options.in_flight + 1;
    if (options.deflated)
        deflated = read_messages();
    else
        invent_messages();
    uint8_t first = (uint8_t)(FIN | (deflated ? RSV1 : 0) | (options.text ? OPCODE_TEXT : OPCODE_BINARY));
    uint8_t header[MAX_FRAME_HEADER];
    size_t header_length = write_frame_header(header, first, MASK_BIT, sent_size) + 4;
    frame_length = header_length + sent_size;
    frames = malloc((slots + options.in_flight) * frame_length);
    if (!frames)
        fail("no memory for %u messages", slots);
    for (unsigned i = 0; i < slots + options.in_flight; i++) {
        uint8_t *frame = frames + i * frame_length;
        if (i >= slots) { /* the same octets: what was begun in one copy may go on in the other */
            memcpy(frame, frames + (i - slots) * frame_length, frame_length);
            continue;
        }
        memcpy(frame, header, header_length);
        if (getrandom(frame + header_length - 4, 4, 0) != 4)
            fail("getrandom");
        apply_mask(frame + header_length, (deflated ? deflated : payloads) + i % slots * sent_size, sent_size,
                   frame + header_length - 4);
    }
    free(deflated);
}

/* A masked control frame; returns its length. */
static size_t control_frame(uint8_t *out, uint8_t opcode, const uint8_t *payload, size_t length)
{
    size_t header = write_frame_header(out, FIN | opcode, MASK_BIT, length) + 4;
    if (getrandom(out + header - 4, 4, 0) != 4)
        fail("getrandom");
    apply_mask(out + header, payload, length, out + header - 4);
    return header + length;
}

/* ---- sending ---- */

static void send_control(struct connection *c, uint8_t opcode, const uint8_t *payload, size_t length)
{
    uint8_t frame[MAX_FRAME_HEADER + MAX_CONTROL_PAYLOAD];
    size_t total = control_frame(frame, opcode, payload, length);
    if (transmit(c, frame, total) != (ssize_t)total)
        lost(c, "a control frame could not be sent");
}

/* Writes what is to be sent, as far as the kernel takes it. */
static void flush(struct connection *c)
{
    while (c->unsent) {
        const uint8_t *from = frames + c->sending * frame_length + c->sent_octets;
        ssize_t sent = transmit(c, from, c->unsent * frame_length - c->sent_octets);
        if (sent <= 0) {
            if (sent == 0 || errno != EAGAIN)
                lost(c, "send failed");
            watch_output(c, true);
            return;
        }
        size_t total = c->sent_octets + (size_t)sent;
        unsigned whole = (unsigned)(total / frame_length);
        c->unsent -= whole;
        c->sending = (c->sending + whole) % slots;
        c->sent_octets = total % frame_length;
    }
    if (c->pong_due) {
        c->pong_due = false;
        send_control(c, OPCODE_PONG, c->control, c->control_octets);
    }
    watch_output(c, false);
}

/* One more message on its way; flush() writes it. */
static void queue_message(struct connection *c, uint64_t time)
{
    unsigned slot = (c->sending + c->unsent) % slots;
    c->unsent++;
    if (options.mode == BROADCAST) {
        send_times[slot] = time;
        broadcast_missing[slot] = options.connections;
        under_way += options.connections;
    } else {
        send_times[(size_t)number_of(c) * slots + slot] = time;
        under_way++;
    }
}

/* ---- connecting ---- */

static void release(struct connection *c)
{
#ifdef WITH_TLS
    SSL_free(c->tls);
#endif
    close(c->fd);
    free(c->head);
    free(c->collected);
    memset(c, 0, sizeof *c);
    c->fd = -1;
}

static void send_request(struct connection *c)
{
    ssize_t sent = transmit(c, request, request_length);
    if (sent == (ssize_t)request_length) {
        c->state = UPGRADING;
        watch_output(c, false);
    } else if (sent >= 0 || (errno != EAGAIN && errno != ENOTCONN)) {
        lost(c, "the upgrade request could not be sent");
    }
}

/* The TCP connection is there: the TLS handshake, if there is to be one, then the request. */
static void shake_hands(struct connection *c)
{
#ifdef WITH_TLS
    if (options.tls && !c->tls) {
        c->tls = SSL_new(tls_context);
        if (!c->tls || !SSL_set_fd(c->tls, c->fd))
            fail("no memory for TLS");
        c->state = SHAKING;
    }
    if (c->state == SHAKING) {
        errno = 0;
        ssize_t result = tls_result(c, SSL_connect(c->tls));
        if (result <= 0) {
            if (result == 0 || errno != EAGAIN)
                lost(c, "the TLS handshake failed");
            watch_output(c, SSL_want_write(c->tls));
            return;
        }
    }
#endif
    send_request(c);
}

static void open_connection(struct connection *c)
{
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options.mode == CONNECT) {
        /* The server has ended the connection before we close: a reset now leaves no TIME_WAIT to either side. */
        struct linger at_once = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    if (options.sources > 1) {
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + next_source++ % options.sources);
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(c->fd, (struct sockaddr *)&source, sizeof source) < 0)
            fail("bind: %s", strerror(errno));
    }
    c->state = CONNECTING;
    c->started = now();
    opening++;
    if (connect(c->fd, (struct sockaddr *)&options.server, sizeof options.server) < 0 && errno != EINPROGRESS)
        lost(c, "connect failed");
    c->watching_output = true;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = number_of(c)};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
}

static void connection_opened(struct connection *c)
{
    c->state = OPEN;
    opening--;
    opened++;
    last_progress = now();
    if (options.mode == CONNECT) {
        static const uint8_t normal[2] = {1000 >> 8, 1000 & 0xff};
        c->state = CLOSING;
        send_control(c, OPCODE_CLOSE, normal, sizeof normal);
    }
}

/* The octets of the response head; returns how many of them belonged to it. */
static size_t receive_head(struct connection *c, const uint8_t *data, size_t length)
{
    static const char accepted[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; /* to the example key of RFC 6455 section 1.3 */
    if (!c->head)
        c->head = malloc(HEAD_SIZE);
    size_t before = c->head_octets, room = HEAD_SIZE - 1 - before;
    size_t taken = length < room ? length : room;
    memcpy(c->head + before, data, taken);
    c->head_octets += taken;
    c->head[c->head_octets] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) {
        if (taken < length)
            fail("connection %u: an endless response head", number_of(c));
        return length;
    }
    end[2] = 0;
    if (strncmp(c->head, "HTTP/1.1 101 ", 13) || !strstr(c->head, accepted))
        fail("connection %u: the upgrade was not accepted: %s", number_of(c), c->head);
    if (options.deflated && (!strcasestr(c->head, "permessage-deflate") || !strcasestr(c->head, "server_no_context_takeover")))
        fail("connection %u: compression was not accepted: %s", number_of(c), c->head);
    size_t used = (size_t)(end + 4 - c->head) - before;
    free(c->head);
    c->head = NULL;
    connection_opened(c);
    return used;
}

/* ---- receiving ---- */

static void message_received(struct connection *c, uint64_t time)
{
    unsigned slot = c->receiving;
    c->receiving = (slot + 1) % slots;
    c->message_octets = 0;
    c->in_message = false;
    operations++;
    if (!under_way--)
        fail("connection %u: a message that nobody has sent", number_of(c));
    if (options.mode == BROADCAST) {
        histogram_add(&latencies, time - send_times[slot]);
        if (!broadcast_missing[slot]--)
            fail("connection %u: a message that nobody has sent", number_of(c));
        if (!broadcast_missing[slot]) {
            broadcasts++;
            if (running) {
                queue_message(&connections[0], time);
                flush(&connections[0]);
            }
        }
        return;
    }
    histogram_add(&latencies, time - send_times[(size_t)number_of(c) * slots + slot]);
    if (running)
        queue_message(c, time);
}

static void control_received(struct connection *c)
{
    uint8_t opcode = c->header[0] & OPCODE_BITS;
    if (opcode == OPCODE_PING) {
        if (c->sent_octets || c->unsent)
            c->pong_due = true;
        else
            send_control(c, OPCODE_PONG, c->control, c->control_octets);
    } else if (opcode == OPCODE_CLOSE) {
        int code = c->control_octets >= 2 ? c->control[0] << 8 | c->control[1] : 1005;
        if (c->state != CLOSING)
            fail("connection %u: closed by the server with %d %.*s", number_of(c), code,
                 c->control_octets > 2 ? c->control_octets - 2 : 0, c->control + 2);
        if (code != 1000 && code != 1005)
            fail("connection %u: our close 1000 was answered with %d", number_of(c), code);
        c->state = ENDING;
    }
}

static void expect_compressed(struct connection *c, uint64_t length)
{
    size_t room = 2 * options.size + 1024;
    if (!c->in_message && !(c->collected = malloc(sizeof *c->collected + room)))
        fail("no memory for a message");
    if (length > room)
        fail("connection %u: a compressed message of %llu octets", number_of(c), (unsigned long long)length);
}

static void check_header(struct connection *c)
{
    uint8_t first = c->header[0], opcode = first & OPCODE_BITS;
    uint64_t length = frame_payload_length(c->header);
    uint8_t rsv = options.deflated && opcode < OPCODE_CLOSE && !c->in_message ? RSV1 : 0;
    if ((first & RSV_BITS) != rsv || c->header[1] & MASK_BIT)
        fail("connection %u: a frame that is masked or has wrong RSV bits (%02x %02x)", number_of(c), first, c->header[1]);
    if (c->state == ENDING)
        fail("connection %u: a frame after the close frame", number_of(c));
    c->payload_missing = length;
    if (opcode >= OPCODE_CLOSE) {
        if (opcode > OPCODE_PONG || !(first & FIN) || length > MAX_CONTROL_PAYLOAD)
            fail("connection %u: a bad control frame (%02x)", number_of(c), first);
        c->control_octets = 0;
        return;
    }
    uint8_t expected = c->in_message ? OPCODE_CONTINUATION : options.text ? OPCODE_TEXT : OPCODE_BINARY;
    if (opcode != expected)
        fail("connection %u: opcode %d instead of %d", number_of(c), opcode, expected);
    if (options.deflated)
        expect_compressed(c, c->message_octets + length);
    else if (c->message_octets + length > options.size || (first & FIN && c->message_octets + length != options.size))
        fail("connection %u: a message of %llu octets instead of %zu", number_of(c),
             (unsigned long long)(c->message_octets + length), options.size);
    c->in_message = true;
}

/* The payload of a data frame. */
static void payload_received(struct connection *c, const uint8_t *data, size_t length)
{
    if (c->collected)
        memcpy(c->collected->octets + c->message_octets, data, length);
    else if (memcmp(payloads + c->receiving * options.size + c->message_octets, data, length))
        fail("connection %u: other octets came back than were sent", number_of(c));
    c->message_octets += length;
}

/* Is a compressed message the one that was sent? */
static void check_collected(struct connection *c)
{
    struct answer **first = &answers[c->receiving], *collected = c->collected;
    collected->length = c->message_octets;
    c->collected = NULL;
    for (struct answer *known = *first; known; known = known->next) {
        if (known->length == collected->length && !memcmp(known->octets, collected->octets, known->length)) {
            free(collected);
            return;
        }
    }
    uint8_t *inflated = malloc(options.size + 1);
    if (!inflated)
        fail("no memory for a message");
    size_t length = inflate_message(collected->octets, collected->length, inflated, options.size);
    if (length != options.size || memcmp(inflated, payloads + c->receiving * options.size, length))
        fail("connection %u: something else was compressed than was sent", number_of(c));
    free(inflated);
    collected->next = *first;
    *first = collected;
}

static void receive_frames(struct connection *c, const uint8_t *data, size_t length, uint64_t time)
{
    const uint8_t *end = data + length;
    for (;;) {
        size_t header_length = c->header_octets < 2 ? 2 : frame_header_length(c->header);
        if (c->header_octets < header_length) {
            if (data == end)
                return;
            size_t missing = header_length - c->header_octets, there = (size_t)(end - data);
            size_t taken = missing < there ? missing : there;
            memcpy(c->header + c->header_octets, data, taken);
            c->header_octets += (uint8_t)taken;
            data += taken;
            if (c->header_octets >= 2 && c->header_octets == frame_header_length(c->header))
                check_header(c);
            continue;
        }
        bool control = (c->header[0] & OPCODE_BITS) >= OPCODE_CLOSE;
        size_t there = (size_t)(end - data);
        size_t taken = c->payload_missing < there ? (size_t)c->payload_missing : there;
        if (control) {
            memcpy(c->control + c->control_octets, data, taken);
            c->control_octets += (uint8_t)taken;
        } else {
            payload_received(c, data, taken);
        }
        data += taken;
        c->payload_missing -= taken;
        if (c->payload_missing)
            return;
        c->header_octets = 0;
        if (control)
            control_received(c);
        else if (c->header[0] & FIN) {
            if (c->collected)
                check_collected(c);
            message_received(c, time);
        }
    }
}

static void cycle_finished(struct connection *c)
{
    uint64_t time = now();
    histogram_add(&latencies, time - c->started);
    operations++;
    under_way--;
    last_progress = time;
    release(c);
    if (running) {
        under_way++;
        open_connection(c);
    }
}

static void readable(struct connection *c)
{
    errno = 0;
    ssize_t received = take(c, buffer, sizeof buffer);
    if (received < 0 && errno == EAGAIN)
        return;
    if (received <= 0) {
        if (c->state == ENDING)
            cycle_finished(c);
        else
            lost(c, c->state < OPEN ? "lost in the handshake" : "lost");
        return;
    }
    uint64_t time = now();
    last_progress = time;
    const uint8_t *data = buffer;
    size_t length = (size_t)received;
    if (c->state == UPGRADING) {
        size_t used = receive_head(c, data, length);
        data += used;
        length -= used;
    }
    if (length) {
        receive_frames(c, data, length, time);
        if (c->unsent)
            flush(c);
    }
    if (options.tls && (size_t)received == sizeof buffer)
        readable(c); /* OpenSSL may have more, which epoll does not know of */
}

/* ---- the course of a run ---- */

static void turn(int milliseconds)
{
    struct epoll_event events[BATCH];
    int count = epoll_wait(epoll_fd, events, BATCH, milliseconds);
    for (int i = 0; i < count; i++) {
        struct connection *c = &connections[events[i].data.u32];
        if (c->state == CONNECTING) {
            int error = 0;
            socklen_t length = sizeof error;
            getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
            if ((errno = error))
                lost(c, "connect failed");
            shake_hands(c);
            continue;
        }
        if (c->state == SHAKING) {
            shake_hands(c);
            continue;
        }
        if (events[i].events & EPOLLOUT)
            flush(c);
        if (events[i].events & ~(uint32_t)EPOLLOUT)
            readable(c);
    }
    if (!count && now() - last_progress > options.timeout * 1e9)
        fail("nothing happened for %g s (%llu connections open, %llu operations under way)", options.timeout,
             (unsigned long long)opened, (unsigned long long)under_way);
}

static void open_all(void)
{
    unsigned started = 0;
    last_progress = now();
    while (opened < options.connections) {
        while (started < options.connections && opening < options.concurrency)
            open_connection(&connections[started++]);
        turn(100);
    }
}

static void finish_all(void)
{
    last_progress = now();
    while (under_way)
        turn(100);
}

/* Lets the operations run for so many seconds, and those begun then come to their end. Returns the seconds it took. */
static double run_for(double seconds)
{
    uint64_t begin = now(), end = begin + (uint64_t)(seconds * 1e9);
    running = true;
    last_progress = begin;
    for (unsigned i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];
        if (options.mode == CONNECT) {
            under_way++;
            open_connection(c);
        } else if (options.mode == ECHO || i == 0) {
            for (unsigned k = 0; k < options.in_flight; k++)
                queue_message(c, now());
            flush(c);
        }
    }
    while (now() < end)
        turn(10);
    running = false;
    finish_all();
    return (double)(now() - begin) / 1e9;
}

static void wait_for_line(void)
{
    int character;
    while ((character = getchar()) != EOF && character != '\n')
        ;
}

/* As wait_for_line, but the connections are served meanwhile. */
static void hold(void)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 0};
    int both = epoll_create1(EPOLL_CLOEXEC);
    event.data.u32 = 1;
    epoll_ctl(both, EPOLL_CTL_ADD, epoll_fd, &event);
    event.data.u32 = 0;
    bool have_stdin = epoll_ctl(both, EPOLL_CTL_ADD, 0, &event) == 0; /* fails for a file, which is at its end at once */
    puts("ready");
    fflush(stdout);
    while (have_stdin) {
        last_progress = now();
        if (epoll_wait(both, &event, 1, -1) == 1 && event.data.u32 == 0)
            break;
        turn(0);
    }
    close(both);
}

static void report(double seconds)
{
    static const char *const names[] = {"echo", "broadcast", "connect", "idle"};
    printf("{\"mode\": \"%s\", \"connections\": %u, \"in_flight\": %u, \"size\": %zu, \"opcode\": \"%s\", "
           "\"seconds\": %.6f, \"operations\": %llu, ",
           names[options.mode], options.connections, options.in_flight, options.size, options.text ? "text" : "binary",
           seconds, (unsigned long long)operations);
    if (options.mode == BROADCAST)
        printf("\"broadcasts\": %llu, ", (unsigned long long)broadcasts);
    printf("\"throughput\": %.1f, \"latency_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"max\": %.1f}}\n",
           seconds > 0 ? (double)operations / seconds : 0, histogram_percentile(&latencies, 50) / 1e3,
           histogram_percentile(&latencies, 90) / 1e3, histogram_percentile(&latencies, 99) / 1e3,
           (double)latencies.maximum / 1e3);
    fflush(stdout);
}

static void idle(void)
{
    double seconds = 0;
    open_all();
    if (strcmp(options.message, "none")) {
        uint64_t begin = now();
        for (unsigned i = 0; i < options.connections; i++) {
            queue_message(&connections[i], now());
            flush(&connections[i]);
        }
        if (!strcmp(options.message, "echo"))
            finish_all();
        seconds = (double)(now() - begin) / 1e9;
    }
    hold();
    report(seconds);
}

static void measure(void)
{
    if (options.mode != CONNECT)
        open_all();
    if (options.warm_up > 0)
        run_for(options.warm_up);
    if (options.wait) {
        puts("ready");
        fflush(stdout);
        wait_for_line();
    }
    memset(&latencies, 0, sizeof latencies);
    operations = broadcasts = 0;
    report(run_for(options.seconds));
    if (options.wait)
        wait_for_line();
}

/* ---- the command line ---- */

static void parse_options(int argc, char **argv)
{
    enum { HOST, PORT, PATH, CONNECTIONS, IN_FLIGHT, SIZE, TEXT, WARM_UP, SECONDS, CORE, CONCURRENCY, SOURCES, WAIT, MESSAGE, TIMEOUT, DEFLATED, TLS };
    static const struct option names[] = {
        {"host", 1, NULL, HOST}, {"port", 1, NULL, PORT}, {"path", 1, NULL, PATH},
        {"connections", 1, NULL, CONNECTIONS}, {"in-flight", 1, NULL, IN_FLIGHT}, {"size", 1, NULL, SIZE},
        {"text", 0, NULL, TEXT}, {"warm-up", 1, NULL, WARM_UP}, {"seconds", 1, NULL, SECONDS}, {"core", 1, NULL, CORE},
        {"concurrency", 1, NULL, CONCURRENCY}, {"sources", 1, NULL, SOURCES}, {"wait", 0, NULL, WAIT},
        {"message", 1, NULL, MESSAGE}, {"timeout", 1, NULL, TIMEOUT}, {"deflated", 1, NULL, DEFLATED}, {"tls", 0, NULL, TLS},
        {NULL, 0, NULL, 0},
    };
    int port = 0, option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (option) {
        case HOST: options.host = optarg; break;
        case PORT: port = atoi(optarg); break;
        case PATH: options.path = optarg; break;
        case CONNECTIONS: options.connections = (unsigned)atoi(optarg); break;
        case IN_FLIGHT: options.in_flight = (unsigned)atoi(optarg); break;
        case SIZE: options.size = (size_t)atol(optarg); break;
        case TEXT: options.text = true; break;
        case WARM_UP: options.warm_up = atof(optarg); break;
        case SECONDS: options.seconds = atof(optarg); break;
        case CORE: options.core = atoi(optarg); break;
        case CONCURRENCY: options.concurrency = (unsigned)atoi(optarg); break;
        case SOURCES: options.sources = (unsigned)atoi(optarg); break;
        case WAIT: options.wait = true; break;
        case MESSAGE: options.message = optarg; break;
        case TIMEOUT: options.timeout = atof(optarg); break;
        case DEFLATED: options.deflated = optarg; break;
        case TLS: options.tls = true; break;
        default: exit(2);
        }
    }
    const char *mode = optind < argc ? argv[optind] : "";
    if (!strcmp(mode, "echo"))
        options.mode = ECHO;
    else if (!strcmp(mode, "broadcast"))
        options.mode = BROADCAST;
    else if (!strcmp(mode, "connect"))
        options.mode = CONNECT;
    else if (!strcmp(mode, "idle"))
        options.mode = IDLE;
    else
        fail("the first argument is echo, broadcast, connect or idle");
    if (port <= 0 || port > 65535 || !options.connections || !options.in_flight || !options.concurrency)
        fail("--port is needed; --connections, --in-flight and --concurrency are at least 1");
    if (strcmp(options.message, "none") && strcmp(options.message, "send") && strcmp(options.message, "echo"))
        fail("--message is none, send or echo");
    if (!options.sources) /* 28,000 ports per address are usual; in connect mode they are used up in a second or two */
        options.sources = options.mode == CONNECT ? 16 : options.connections / 20000 + 1;
    options.server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, options.host, &options.server.sin_addr) != 1)
        fail("--host is an IPv4 address");
    request_length = (size_t)snprintf(request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", options.path, options.host, port,
        options.deflated ? "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
                           "client_no_context_takeover\r\n" : "");
    if (request_length >= sizeof request)
        fail("--path is too long");
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    if (options.core >= 0) {
        cpu_set_t cores;
        CPU_ZERO(&cores);
        CPU_SET(options.core, &cores);
        if (sched_setaffinity(0, sizeof cores, &cores) < 0)
            fail("core %d: %s", options.core, strerror(errno));
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
#ifdef WITH_TLS
    if (options.tls)
        prepare_tls();
#else
    if (options.tls)
        fail("it was compiled without OpenSSL's headers, so there is no --tls");
#endif
    build_messages();
    connections = calloc(options.connections, sizeof *connections);
    size_t times = options.mode == BROADCAST ? slots : (size_t)options.connections * slots;
    send_times = calloc(times, sizeof *send_times);
    broadcast_missing = calloc(slots, sizeof *broadcast_missing);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!connections || !send_times || !broadcast_missing || epoll_fd < 0)
        fail("no memory for %u connections", options.connections);
    if (options.mode == IDLE)
        idle();
    else
        measure();
    return 0;
}
