/* The request parser against the checklist of malformed and merely unusual heads. Every head lies in memory of exactly its size. */
#include "check.h"
#include "request_head.h"

#define HOST "Host: example.com\r\n"
#define REST "Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n" KEY
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define GOOD GET HOST UPGRADE REST

static lws_request request;

static void is_judged(int line, const char *head, size_t length, int status, int upgrade) {
    uint8_t *data = exact_copy(head, length);
    const size_t end = lws_request_find_end(data, length, 0);
    int got, got_upgrade = -1;

    CHECK(end == length, "line %d: the head ends at %zu of %zu", line, end, length);
    got = lws_request_parse(data, end, &request);
    CHECK(got == status, "line %d: status %d instead of %d: %s", line, got, status, request.problem);
    CHECK((request.problem != NULL) == (got != 0), "line %d", line);
    if (got == 0) {
        got_upgrade = lws_request_check_upgrade(&request);
        CHECK(got_upgrade == upgrade, "line %d: upgrade status %d instead of %d: %s", line, got_upgrade, upgrade,
              request.problem);
        CHECK((request.problem != NULL) == (got_upgrade >= 400), "line %d", line);
    }
    for (size_t part = 0; part < length; part++) { /* nothing is found, or read, beyond the part that is there */
        uint8_t *exact = exact_copy(head, part);
        CHECK(lws_request_find_end(exact, part, 0) == 0, "line %d: an end within %zu octets", line, part);
        CHECK(lws_request_parse(exact, part, &request) != 0, "line %d: accepted %zu octets", line, part);
        free(exact);
    }
    free(data);
}

#define REFUSED(status, head) is_judged(__LINE__, head, sizeof(head) - 1, status, 0)
#define UPGRADES(status, head) is_judged(__LINE__, head, sizeof(head) - 1, 0, status)

static void request_lines(void) {
    UPGRADES(101, GOOD "\r\n");
    UPGRADES(405, "POST / HTTP/1.1\r\n" HOST UPGRADE REST "\r\n");
    UPGRADES(405, "get / HTTP/1.1\r\n" HOST UPGRADE REST "\r\n");
    UPGRADES(0, "POST / HTTP/1.1\r\n" HOST "\r\n");
    UPGRADES(400, "GET / HTTP/1.0\r\n" HOST UPGRADE REST "\r\n");
    UPGRADES(0, "GET / HTTP/1.0\r\n\r\n");
    REFUSED(400, "GET /\r\n" HOST "\r\n");
    REFUSED(400, "GET / \r\n" HOST "\r\n");
    REFUSED(400, "GET /  HTTP/1.1\r\n" HOST "\r\n");
    REFUSED(400, "GET  / HTTP/1.1\r\n" HOST "\r\n");
    REFUSED(400, " GET / HTTP/1.1\r\n" HOST "\r\n");
    REFUSED(400, "GET\t/ HTTP/1.1\r\n" HOST "\r\n");
    REFUSED(400, "GET / HTTP/1.1 \r\n" HOST "\r\n");
    REFUSED(400, "GET / http/1.1\r\n" HOST "\r\n");
    REFUSED(400, "GET / HTTP/1.10\r\n" HOST "\r\n");
    REFUSED(400, "GET / HTTP/11\r\n" HOST "\r\n");
    REFUSED(400, "G(T / HTTP/1.1\r\n" HOST "\r\n");
    REFUSED(505, "GET / HTTP/2.0\r\n" HOST "\r\n");
    REFUSED(505, "GET / HTTP/0.9\r\n" HOST "\r\n");
    REFUSED(505, "PRI * HTTP/2.0\r\n\r\n");
    UPGRADES(101, "GET /a//b/../%00?q=%0d%0a HTTP/1.1\r\n" HOST UPGRADE REST "\r\n");
    REFUSED(400, "GET /\x80 HTTP/1.1\r\n" HOST "\r\n");
    REFUSED(400, "GET /\x01 HTTP/1.1\r\n" HOST "\r\n");
    REFUSED(400, "GET /\x7F HTTP/1.1\r\n" HOST "\r\n");
    REFUSED(400, "GET /\0 HTTP/1.1\r\n" HOST "\r\n");
    REFUSED(400, "GET http://example.com/ HTTP/1.1\r\n" HOST "\r\n");
    REFUSED(400, "CONNECT example.com:80 HTTP/1.1\r\n" HOST "\r\n");
    REFUSED(400, "\r\n\r\n");
    REFUSED(400, "GET / HTTP/1.1\n" HOST "\r\n");
}

static void header_lines(void) {
    REFUSED(400, GET "\r\n");
    REFUSED(400, GET HOST HOST "\r\n");
    REFUSED(400, GET "Host: a b\r\n\r\n");
    REFUSED(400, GET "Host: a/b\r\n\r\n");
    REFUSED(400, GET "Host: a@b\r\n\r\n");
    UPGRADES(0, GET "hOST:\t[::1]:80 \t\r\n\r\n");
    UPGRADES(0, GET "Host:\r\n\r\n");
    REFUSED(400, GET HOST "X: y\n\r\n");
    REFUSED(400, GET HOST "X: y\r\n\n");
    REFUSED(400, GET HOST "X: y\r\n z\r\n\r\n");
    REFUSED(400, GET HOST "X: y\r\n\tz\r\n\r\n");
    REFUSED(400, GET " X: y\r\n" HOST "\r\n");
    REFUSED(400, GET HOST "X : y\r\n\r\n");
    REFUSED(400, GET HOST "X\t: y\r\n\r\n");
    REFUSED(400, GET HOST ": y\r\n\r\n");
    REFUSED(400, GET HOST "X y\r\n\r\n");
    REFUSED(400, GET HOST "X\r\n\r\n");
    REFUSED(400, GET HOST "X(: y\r\n\r\n");
    REFUSED(400, GET HOST "X\x80: y\r\n\r\n");
    REFUSED(400, GET HOST "X: a\0b\r\n\r\n");
    REFUSED(400, GET HOST "X: a\rb\r\n\r\n");
    REFUSED(400, GET HOST "X: a\r\r\n\r\n");
    REFUSED(400, GET HOST "X: \x01\r\n\r\n");
    REFUSED(400, GET HOST "X: aaaaaaaa\x7F" "aaaaaaaaaaaa\r\n\r\n");
    REFUSED(400, GET HOST "X: aaaaaaaaaaaaaaaa\x1F" "aaa\r\n\r\n");
    UPGRADES(0, GET HOST "X: \x80\xFF tab\there \x7E \r\nY:\r\nZ:z\r\n\r\n");
    REFUSED(400, GET HOST "Origin: a\r\nOrigin: a\r\n\r\n");
}

static void bodies(void) {
    UPGRADES(0, GET HOST "Content-Length: 5\r\n\r\n");
    CHECK(lws_request_parse((const uint8_t *)GET HOST "content-length: 007\r\n\r\n",
                            sizeof(GET HOST "content-length: 007\r\n\r\n") - 1, &request) == 0 &&
              request.content_length == 7, "%lld", (long long)request.content_length);
    UPGRADES(101, GOOD "Content-Length: 0\r\n\r\n");
    UPGRADES(400, GOOD "Content-Length: 1\r\n\r\n");
    UPGRADES(0, GET HOST "Content-Length: 999999999999999999\r\n\r\n");
    REFUSED(400, GET HOST "Content-Length: 9999999999999999999\r\n\r\n");
    REFUSED(400, GET HOST "Content-Length: +5\r\n\r\n");
    REFUSED(400, GET HOST "Content-Length: -1\r\n\r\n");
    REFUSED(400, GET HOST "Content-Length: 0x5\r\n\r\n");
    REFUSED(400, GET HOST "Content-Length: 5 5\r\n\r\n");
    REFUSED(400, GET HOST "Content-Length: 5, 5\r\n\r\n");
    REFUSED(400, GET HOST "Content-Length:\r\n\r\n");
    REFUSED(400, GET HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n");
    REFUSED(400, GET HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n");
    REFUSED(400, GET HOST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n");
    REFUSED(400, GET HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n");
    REFUSED(501, GET HOST "Transfer-Encoding: gzip, chunked\r\n\r\n");
    REFUSED(501, GET HOST "Transfer-Encoding: xchunked\r\n\r\n");
    REFUSED(400, "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    UPGRADES(0, GET HOST "Transfer-Encoding: Chunked\r\n\r\n");
    UPGRADES(400, GOOD "Transfer-Encoding: chunked\r\n\r\n");
    UPGRADES(0, GET HOST "Expect: 100-Continue\r\n\r\n");
    UPGRADES(417, GOOD "Expect: 100-continue\r\n\r\n");
    REFUSED(417, GET HOST "Expect: something\r\n\r\n");
}

static void handshakes(void) {
    UPGRADES(0, GET HOST REST "\r\n");
    UPGRADES(0, GET HOST "Upgrade: h2c\r\n" REST "\r\n");
    UPGRADES(0, GET HOST "Upgrade: websocket2\r\n" REST "\r\n");
    UPGRADES(101, GET HOST "Upgrade: h2c , WebSocket,\r\n" REST "\r\n");
    UPGRADES(101, GET HOST "Upgrade: h2c\r\n" UPGRADE REST "\r\n");
    UPGRADES(400, GET HOST UPGRADE "Sec-WebSocket-Version: 13\r\n" KEY "\r\n");
    UPGRADES(400, GET HOST UPGRADE "Connection: keep-alive\r\nSec-WebSocket-Version: 13\r\n" KEY "\r\n");
    UPGRADES(400, GET HOST UPGRADE "Connection: upgrade-insecure\r\nSec-WebSocket-Version: 13\r\n" KEY "\r\n");
    UPGRADES(101, GET HOST UPGRADE "Connection: ,UPGRADE\r\nSec-WebSocket-Version: 13\r\n" KEY "\r\n");
    UPGRADES(101, GET HOST UPGRADE "Connection: close\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n" KEY "\r\n");
    UPGRADES(400, GET HOST UPGRADE "Connection: upgrade\r\n" KEY "\r\n");
    UPGRADES(426, GET HOST UPGRADE "Connection: upgrade\r\nSec-WebSocket-Version: 8\r\n" KEY "\r\n");
    UPGRADES(426, GET HOST UPGRADE "Connection: upgrade\r\nSec-WebSocket-Version: 13, 8\r\n" KEY "\r\n");
    UPGRADES(400, GOOD "Sec-WebSocket-Version: 13\r\n\r\n");
    UPGRADES(400, GOOD KEY "\r\n");
#define WITH_KEY(key) \
    GET HOST UPGRADE "Connection: upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key:" key "\r\n\r\n"
    UPGRADES(101, WITH_KEY("AAAAAAAAAAAAAAAAAAAAAA=="));
    UPGRADES(101, WITH_KEY("  +/+/AAAAAAAAAAAAAAAAAA==\t"));
    UPGRADES(400, GET HOST UPGRADE "Connection: upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n");
    UPGRADES(400, WITH_KEY(""));
    UPGRADES(400, WITH_KEY("AAAAAAAAAAAAAAAAAAAAAAA="));
    UPGRADES(400, WITH_KEY("AAAAAAAAAAAAAAAAAAAAA==="));
    UPGRADES(400, WITH_KEY("AAAAAAAAAAAAAAAAAAAAAAAA=="));
    UPGRADES(400, WITH_KEY("AAAAAAAAAA-AAAAAAAAAAA=="));
    UPGRADES(400, WITH_KEY("AAAAAAAAAA\xFF" "AAAAAAAAAAA=="));
}

static void spans_and_flags(void) {
    const char head[] = "GET /chat?room=1 HTTP/1.1\r\nHost: h\r\nOrigin: \t o \r\nSec-WebSocket-Protocol: a, b\r\n"
                        "Sec-WebSocket-Protocol: c\r\nSec-WebSocket-Extensions: x; y\r\nConnection: close, keep-alive\r\n\r\n";
    CHECK(lws_request_parse((const uint8_t *)head, sizeof head - 1, &request) == 0, "%s", request.problem);
#define IS(span, text) \
    CHECK(request.span.length == strlen(text) && memcmp(head + request.span.offset, text, strlen(text)) == 0, text)
    IS(method, "GET");
    IS(target, "/chat?room=1");
    IS(origin, "o");
    IS(subprotocols, "a, b");
    IS(extensions, "x; y");
    IS(headers[0].name, "Host");
    IS(headers[1].value, "o");
    IS(headers[3].value, "c");
    CHECK(request.header_count == 6 && request.key.length == 0 && request.content_length == -1, "fields");
    CHECK(request.connection_close && request.connection_keep_alive && !request.connection_upgrade, "connection");
    CHECK(request.minor_version == 1 && request.method_is_get && !request.has_upgrade_header, "flags");
}

/* Builds GET HOST, `count` headers, one header line of `longest` octets (0: none), and the end. */
static char *built(size_t target, unsigned count, size_t longest, size_t *length) {
    char *head = malloc(target + count * 16u + longest + 100), *p = head;
    CHECK(head, "no memory");
    p += sprintf(p, "GET /");
    memset(p, 'a', target);
    p += target;
    p += sprintf(p, " HTTP/1.1\r\nHost: h\r\n");
    for (unsigned i = 0; i < count; i++)
        p += sprintf(p, "X-%u: y\r\n", i);
    if (longest) {
        memset(p, 'v', longest);
        memcpy(p, "Long:", 5);
        p += longest;
        p += sprintf(p, "\r\n");
    }
    p += sprintf(p, "\r\n");
    *length = (size_t)(p - head);
    return head;
}

static void limits(void) {
    const struct {
        size_t target;
        unsigned count;
        size_t longest;
        int status;
    } cases[] = {{LWS_MAX_REQUEST_LINE - 14, 0, 0, 0},   {LWS_MAX_REQUEST_LINE - 13, 0, 0, 414},
                 {1, LWS_MAX_HEADERS - 1, 0, 0},         {1, LWS_MAX_HEADERS, 0, 431},
                 {1, 5000, 0, 431},                      {1, 0, LWS_MAX_HEADER_LINE, 0},
                 {1, 0, LWS_MAX_HEADER_LINE + 1, 431}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t length;
        char *head = built(cases[i].target, cases[i].count, cases[i].longest, &length);
        uint8_t *data = exact_copy(head, length);
        const int status = lws_request_parse(data, length, &request);
        CHECK(status == cases[i].status, "case %zu: %d", i, status);
        free(data);
        free(head);
    }
}

static void a_dribbled_head_is_found_at_the_same_place(void) {
    static const char *heads[] = {GOOD "\r\nand more", "a\n\nb", "a\n\r\nb", "a\r\n\r\n", "\n\n", "\n\r\n\n", "a\nb\n\rc\n\n"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        const size_t length = strlen(heads[i]), whole = lws_request_find_end((const uint8_t *)heads[i], length, 0);
        CHECK(whole > 0, "head %zu", i);
        for (size_t step = 1; step < 8; step++) {
            size_t seen = 0, end = 0;
            while (!end && seen < length) {
                const size_t now = seen + step < length ? seen + step : length;
                uint8_t *exact = exact_copy(heads[i], now);
                end = lws_request_find_end(exact, now, seen);
                seen = now;
                free(exact);
            }
            CHECK(end == whole, "head %zu in steps of %zu: %zu instead of %zu", i, step, end, whole);
        }
    }
}

int main(void) {
    request_lines();
    header_lines();
    bodies();
    handshakes();
    spans_and_flags();
    limits();
    a_dribbled_head_is_found_at_the_same_place();
    puts("request_head: ok");
    return 0;
}
