/* Octets to and from the kernel, through TLS where that is asked for. */
#include "load.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

void watch_output(struct connection *c, bool wanted)
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

void prepare_tls(void)
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

/* Whether the TLS handshake is over; otherwise it goes on when epoll says so. */
bool shake_tls(struct connection *c)
{
    if (!c->tls) {
        c->tls = SSL_new(tls_context);
        if (!c->tls || !SSL_set_fd(c->tls, c->fd))
            fail("no memory for TLS");
        c->state = SHAKING;
    }
    errno = 0;
    ssize_t result = tls_result(c, SSL_connect(c->tls));
    if (result > 0)
        return true;
    if (result == 0 || errno != EAGAIN)
        lost(c, "the TLS handshake failed");
    watch_output(c, SSL_want_write(c->tls));
    return false;
}
#else
void prepare_tls(void)
{
    fail("it was compiled without OpenSSL's headers, so there is no --tls");
}

bool shake_tls(struct connection *c)
{
    (void)c;
    return false;
}
#endif

/* As send(). */
ssize_t transmit(struct connection *c, const void *data, size_t length)
{
#ifdef WITH_TLS
    if (c->tls)
        return tls_result(c, SSL_write(c->tls, data, length < INT32_MAX ? (int)length : INT32_MAX));
#endif
    return send(c->fd, data, length, MSG_NOSIGNAL);
}

/* As recv(); with TLS all that is there, because epoll does not know of what OpenSSL has read already. */
ssize_t take(struct connection *c, void *data, size_t length)
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
