/* What the parts of the load generator share. main.c tells what it does. */
#ifndef LWS_BENCH_LOAD_H
#define LWS_BENCH_LOAD_H

#define _GNU_SOURCE
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

#include "../histogram.h"
#include "../wire.h"

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

struct options {
    enum mode mode;
    struct sockaddr_in server;
    const char *host, *path, *message, *deflated;
    unsigned connections, in_flight, concurrency, sources;
    size_t size;
    bool text, wait, tls;
    int core;
    double warm_up, seconds, timeout;
};

/* state.c: the options, the connections, what is counted */

extern struct options options;
extern struct connection *connections;
extern int epoll_fd;
extern bool running; /* new operations are started */
extern uint64_t opened, operations, under_way, broadcasts, last_progress;
extern unsigned opening;
extern struct histogram latencies;

_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void lost(const struct connection *c, const char *what);
uint64_t now(void);
unsigned number_of(const struct connection *c);

/* transport.c: octets to and from the kernel, through TLS where that is asked for */

void prepare_tls(void);
ssize_t transmit(struct connection *c, const void *data, size_t length);
ssize_t take(struct connection *c, void *data, size_t length);
bool shake_tls(struct connection *c);
void watch_output(struct connection *c, bool wanted);

/* messages.c: what is sent, and what must come back */

/* The messages, all different, in `slots` slots; as the frames that are sent (in_flight more, so that what is to be sent
 * is always one stretch) and as the payloads that must come back. */
extern unsigned slots;
extern uint8_t *frames, *payloads;
extern size_t frame_length;
extern struct answer **answers;     /* per slot: the ways in which the server has compressed it */
extern uint64_t *send_times;        /* per connection and slot; for broadcast per slot */
extern unsigned *broadcast_missing; /* per slot: deliveries that are still to come */

void build_messages(void);

/* sending.c */

void send_control(struct connection *c, uint8_t opcode, const uint8_t *payload, size_t length);
void queue_message(struct connection *c, uint64_t time);
void flush(struct connection *c);

/* connecting.c: from the socket to the accepted upgrade */

void build_request(int port);
void open_connection(struct connection *c);
void shake_hands(struct connection *c);
size_t receive_head(struct connection *c, const uint8_t *data, size_t length);
void release(struct connection *c);

/* receiving.c: frames, every octet of which is checked */

void readable(struct connection *c);

/* run.c: the course of a measurement */

void idle(void);
void measure(void);

#endif
