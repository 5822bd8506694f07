#ifndef LWS_PROTOCOL_H
#define LWS_PROTOCOL_H
/* The receiving half of a WebSocket connection as a sans-IO state machine (RFC 6455 sections 5 to 8): it is given octets and
 * gives events; it never allocates, never keeps a pointer, and holds 32 octets of state, so that a parked connection can
 * embed it. What it does not consume (part of a header or of a control frame, at most LWS_MAX_LEFTOVER octets) the
 * caller keeps and presents again in front of what follows. */
#include <stddef.h>
#include <stdint.h>

#include "frame.h"

#define LWS_MAX_LEFTOVER (LWS_MAX_HEADER + LWS_MAX_CONTROL_PAYLOAD - 1)

enum lws_role { LWS_SERVER = 0, LWS_CLIENT = 1 };

/* What is the same for every connection of a server; shared, never copied into a connection. */
typedef struct {
    uint64_t max_payload;   /* octets of one message, fragments together; UINT64_MAX: no limit. A compressed one may have twice as many
                               and 1024 on the wire: what it inflates to is the caller's to limit */
    uint32_t max_fragments; /* frames of one message; 0: no limit */
    uint8_t role;           /* enum lws_role: ours */
    uint8_t validate_utf8;
} lws_limits;

enum lws_protocol_flag {
    LWS_FRAME_FIN = 1,              /* the data frame being received is its message's last */
    LWS_FRAME_MASKED = 2,
    LWS_MESSAGE_COMPRESSED = 4,     /* RSV1 was set on the message's first frame */
    LWS_COMPRESSION_NEGOTIATED = 8, /* set by the caller when permessage-deflate is in use */
    LWS_RECEIVE_ENDED = 16,         /* a close frame or an error was reported: everything after it is ignored */
    LWS_MESSAGE_BEGUN = 32,         /* a DATA event of this message was given */
};

typedef struct {
    uint64_t frame_remaining; /* payload octets of the data frame being received that are still to come */
    uint64_t message_length;  /* payload octets of the message being received, all its frames' headers so far */
    uint32_t masking_key;     /* rotated to the next octet */
    uint32_t fragments;
    uint8_t utf8_state;
    uint8_t opcode; /* of the message being received, LWS_TEXT or LWS_BINARY; 0: between two messages */
    uint8_t flags;
} lws_protocol;

enum lws_event_kind {
    LWS_EVENT_NONE = 0,  /* needs more octets */
    LWS_EVENT_DATA = 1,  /* payload of a message, unmasked in place */
    LWS_EVENT_PING = 2,
    LWS_EVENT_PONG = 3,
    LWS_EVENT_CLOSE = 4, /* code (1005 when absent), data and length: the reason, checked to be UTF-8 */
    LWS_EVENT_ERROR = 5, /* code: the close code to fail the connection with; problem: one sentence */
};

typedef struct {
    uint8_t *data;
    size_t length;
    uint64_t frame_remaining; /* DATA: payload octets of this frame still to come */
    const char *problem;
    uint16_t detail; /* of an error: the opcode, reserved bits, payload length or close code that was wrong */
    uint16_t code;
    uint8_t kind;
    uint8_t opcode;     /* DATA: LWS_TEXT or LWS_BINARY */
    uint8_t first;      /* DATA: begins its message */
    uint8_t last;       /* DATA: ends its message; `length` may be 0 */
    uint8_t fin;        /* DATA: belongs to the message's last frame */
    uint8_t compressed; /* DATA: of a compressed message; its UTF-8 and its inflated length are the caller's to check */
    uint8_t ascii;      /* DATA: a whole text message that is known to be ASCII; 0: it may be or not */
} lws_event;

void lws_protocol_init(lws_protocol *protocol);

/* Takes octets from `data`, which it may unmask in place, up to and including the next event. How many it took; the rest is to be
 * presented again. An error is reported as soon as the header, or the octet of text, that causes it is there. Once receiving
 * has ended it takes everything and reports nothing. A DATA event is given for every non-empty part of a payload that is there,
 * and for the end of a message even when that part is empty; not for an empty part that ends nothing. */
size_t lws_protocol_receive(lws_protocol *protocol, const lws_limits *limits, uint8_t *data, size_t length,
                            lws_event *event);

#endif
