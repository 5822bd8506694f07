#ifndef LWS_REQUEST_HEAD_H
#define LWS_REQUEST_HEAD_H
/* A strict parser of HTTP/1.1 request heads (RFC 9112 sections 2 to 6) and of the opening handshake (RFC 6455 section 4.2.1).
 * It looks at each octet a bounded number of times, allocates nothing, and keeps offsets, never pointers. */
#include <stddef.h>
#include <stdint.h>

#define LWS_MAX_HEADERS 100
#define LWS_MAX_REQUEST_LINE 8192 /* octets, without the line break */
#define LWS_MAX_HEADER_LINE 8192  /* the same, of one header with its name */

typedef struct {
    uint32_t offset;
    uint32_t length;
} lws_span;

typedef struct {
    lws_span name;
    lws_span value; /* without the white space around it */
} lws_header;

typedef struct {
    lws_span method;
    lws_span target; /* path, or path?query, as sent */
    lws_span key;    /* of the one Sec-WebSocket-Key; length 0 when absent */
    lws_span origin;
    lws_span subprotocols; /* of the first Sec-WebSocket-Protocol; length 0 when absent */
    lws_span extensions;   /* of the first Sec-WebSocket-Extensions; length 0 when absent */
    int64_t content_length; /* -1 when absent */
    const char *problem;    /* one sentence when something was refused, else NULL */
    uint16_t header_count;
    uint8_t minor_version;       /* of HTTP/1.x */
    uint8_t method_is_get;
    uint8_t upgrade_websocket;   /* the Upgrade header lists the token websocket */
    uint8_t connection_upgrade;  /* the Connection header lists the token upgrade */
    uint8_t connection_close, connection_keep_alive;
    uint8_t has_transfer_encoding;
    uint8_t chunked;             /* transfer-encoding is exactly chunked */
    uint8_t has_upgrade_header;
    uint8_t expect_continue;
    uint8_t version_count;       /* how many Sec-WebSocket-Version headers */
    uint8_t version_is_13;
    uint8_t key_count;
    uint8_t key_is_valid;        /* base64 of 16 octets */
    lws_header headers[LWS_MAX_HEADERS];
} lws_request;

/* The length of the head including the empty line that ends it, or 0 when it is not all there. `from`: how many octets an earlier
 * call has already seen (so that a dribbled head is scanned once). Also finds heads ended by bare LF, for the parser to refuse. */
size_t lws_request_find_end(const uint8_t *data, size_t length, size_t from);

/* 0, or the HTTP status to refuse with (400, 414, 417, 431, 501, 505); request->problem says why. Of `headers` only the first
 * header_count are written. Reads nothing beyond head_length, whatever is in it. */
int lws_request_parse(const uint8_t *data, size_t head_length, lws_request *request);

/* What the opening handshake deserves: 101; 0 when this is a plain HTTP request (no Upgrade: websocket); else the status to
 * refuse with (400, 405, 417, 426); request->problem says why. Only after lws_request_parse returned 0. */
int lws_request_check_upgrade(lws_request *request);

#endif
