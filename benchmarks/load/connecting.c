/* From the socket to the accepted upgrade. */
#include "load.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_SIZE = 4096, REQUEST_SIZE = 1024 };

static char request[REQUEST_SIZE];
static size_t request_length;
static unsigned next_source;

void build_request(int port)
{
    request_length = (size_t)snprintf(request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n", options.path, options.host, port,
        options.deflated ? "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
                           "client_no_context_takeover\r\n" : "");
    if (request_length >= sizeof request)
        fail("--path is too long");
}

void release(struct connection *c)
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
void shake_hands(struct connection *c)
{
    if (options.tls && !shake_tls(c))
        return;
    send_request(c);
}

void open_connection(struct connection *c)
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
size_t receive_head(struct connection *c, const uint8_t *data, size_t length)
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
    size_t head_length = (size_t)(end - c->head) + 4;
    free(c->head);
    c->head = NULL;
    connection_opened(c);
    return head_length - before;
}
