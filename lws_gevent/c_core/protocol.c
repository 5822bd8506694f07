#include "protocol.h"

#include <string.h>

#include "mask.h"
#include "utf8.h"

void lws_protocol_init(lws_protocol *protocol) {
    memset(protocol, 0, sizeof *protocol);
    protocol->utf8_state = LWS_UTF8_ACCEPT;
}

static inline void set_flag(lws_protocol *protocol, enum lws_protocol_flag flag, int on) {
    protocol->flags = (uint8_t)(on ? protocol->flags | flag : protocol->flags & ~flag);
}

/* Ends receiving. Everything that is here counts as taken: nothing of it will be looked at. */
static size_t fail(lws_protocol *protocol, lws_event *event, uint16_t code, const char *problem, size_t length) {
    set_flag(protocol, LWS_RECEIVE_ENDED, 1);
    memset(event, 0, sizeof *event);
    event->kind = LWS_EVENT_ERROR;
    event->code = code;
    event->problem = problem;
    return length;
}

/* What is wrong with a header by itself (RFC 6455 sections 5.1, 5.2, 5.5); NULL: nothing. */
static const char *header_problem(const lws_protocol *protocol, const lws_limits *limits, const lws_frame *frame) {
    const int control = frame->opcode >= LWS_CLOSE;

    if (frame->opcode > LWS_PONG || (frame->opcode > LWS_BINARY && !control))
        return "unknown opcode";
    if (frame->rsv != 0) {
        if (frame->rsv != 4 || !(protocol->flags & LWS_COMPRESSION_NEGOTIATED))
            return "reserved bits must be 0";
        if (control || frame->opcode == LWS_CONTINUATION)
            return "RSV1 is allowed on the first frame of a message only";
    }
    if (frame->masked != (limits->role == LWS_SERVER))
        return frame->masked ? "frames of a server must not be masked" : "frames of a client must be masked";
    if (control) {
        if (!frame->fin)
            return "control frames must not be fragmented";
        if (frame->payload_length > LWS_MAX_CONTROL_PAYLOAD)
            return "control frames must not exceed 125 octets";
    }
    if (!frame->minimal)
        return "the payload length is not in its shortest form";
    if (frame->payload_length >> 63)
        return "the payload length has its most significant bit set";
    if (control)
        return NULL;
    if (frame->opcode == LWS_CONTINUATION && protocol->opcode == 0)
        return "continuation frame without a message to continue";
    if (frame->opcode != LWS_CONTINUATION && protocol->opcode != 0)
        return "new message inside a fragmented message";
    return NULL;
}

static size_t take_control_frame(lws_protocol *protocol, const lws_frame *frame, uint8_t *payload, size_t taken,
                                 size_t length, lws_event *event) {
    const size_t size = (size_t)frame->payload_length;

    if (frame->masked)
        lws_mask(payload, payload, size, frame->masking_key);
    event->data = payload;
    event->length = size;
    if (frame->opcode != LWS_CLOSE) {
        event->kind = frame->opcode == LWS_PING ? LWS_EVENT_PING : LWS_EVENT_PONG;
        return taken;
    }
    event->code = 1005;
    if (size == 1)
        return fail(protocol, event, 1002, "a close payload of one octet", length);
    if (size >= 2) {
        event->code = (uint16_t)(payload[0] << 8 | payload[1]);
        event->data += 2;
        event->length -= 2;
        if (!lws_close_code_is_valid(event->code)) {
            const uint16_t code = event->code;
            fail(protocol, event, 1002, "invalid close code", length);
            event->detail = code;
            return length;
        }
        if (lws_utf8_check(LWS_UTF8_ACCEPT, event->data, event->length) != LWS_UTF8_ACCEPT)
            return fail(protocol, event, 1007, "the close reason is not UTF-8", length);
    }
    event->kind = LWS_EVENT_CLOSE;
    set_flag(protocol, LWS_RECEIVE_ENDED, 1);
    return length;
}

/* Octets of payload that a message's frames may announce. DEFLATE makes nothing longer by more than an eighth and a bit, unless
 * a peer flushes every few octets: what a compressed message inflates to is limited by whoever inflates it, this only
 * ends what cannot be meant. */
static uint64_t most_octets(const lws_limits *limits, int compressed) {
    if (!compressed)
        return limits->max_payload;
    return limits->max_payload > (UINT64_MAX - 1024) / 2 ? UINT64_MAX : 2 * limits->max_payload + 1024;
}

/* Begins a data frame; 0, or the close code to fail with. */
static uint16_t begin_data_frame(lws_protocol *protocol, const lws_limits *limits, const lws_frame *frame,
                                 const char **problem) {
    const int compressed =
        frame->opcode == LWS_CONTINUATION ? protocol->flags & LWS_MESSAGE_COMPRESSED : frame->rsv & 4;

    if (limits->max_fragments && protocol->fragments >= limits->max_fragments) {
        *problem = "too many fragments in a message";
        return 1008;
    }
    /* message_length never exceeds that, so this cannot wrap */
    if (frame->payload_length > most_octets(limits, compressed) - protocol->message_length) {
        *problem = "the message is longer than max_payload";
        return 1009;
    }
    if (protocol->fragments != UINT32_MAX)
        protocol->fragments++;
    protocol->message_length += frame->payload_length;
    protocol->frame_remaining = frame->payload_length;
    protocol->masking_key = frame->masking_key;
    set_flag(protocol, LWS_FRAME_FIN, frame->fin);
    set_flag(protocol, LWS_FRAME_MASKED, frame->masked);
    if (frame->opcode != LWS_CONTINUATION) {
        protocol->opcode = frame->opcode;
        set_flag(protocol, LWS_MESSAGE_COMPRESSED, compressed);
    }
    return 0;
}

static void end_message(lws_protocol *protocol) {
    protocol->message_length = 0;
    protocol->fragments = 0;
    protocol->opcode = 0;
    protocol->utf8_state = LWS_UTF8_ACCEPT;
    protocol->flags &= (uint8_t)~(LWS_MESSAGE_COMPRESSED | LWS_MESSAGE_BEGUN);
}

/* Takes `size` octets of the current data frame's payload, which may be none at the end of a message. */
static size_t take_payload(lws_protocol *protocol, const lws_limits *limits, uint8_t *payload, size_t size,
                           size_t taken, size_t length, lws_event *event) {
    const int compressed = protocol->flags & LWS_MESSAGE_COMPRESSED;
    const int fin = protocol->flags & LWS_FRAME_FIN;

    if (protocol->flags & LWS_FRAME_MASKED) {
        lws_mask(payload, payload, size, protocol->masking_key);
        protocol->masking_key = lws_mask_rotate(protocol->masking_key, size);
    }
    protocol->frame_remaining -= size;
    const int last = fin && protocol->frame_remaining == 0;
    if (protocol->opcode == LWS_TEXT && limits->validate_utf8 && !compressed) {
        protocol->utf8_state = lws_utf8_check(protocol->utf8_state, payload, size);
        if (protocol->utf8_state == LWS_UTF8_REJECT)
            return fail(protocol, event, 1007, "a text message is not UTF-8", length);
        if (last && protocol->utf8_state != LWS_UTF8_ACCEPT)
            return fail(protocol, event, 1007, "a text message ends inside a character", length);
    }
    event->kind = LWS_EVENT_DATA;
    event->data = payload;
    event->length = size;
    event->frame_remaining = protocol->frame_remaining;
    event->opcode = protocol->opcode;
    event->first = !(protocol->flags & LWS_MESSAGE_BEGUN);
    event->last = (uint8_t)last;
    event->fin = fin != 0;
    event->compressed = compressed != 0;
    if (last)
        end_message(protocol);
    else
        set_flag(protocol, LWS_MESSAGE_BEGUN, 1);
    return taken + size;
}

static inline int is_ascii(const uint8_t *data, size_t length) {
    uint64_t word, all = 0;
    size_t i = 0;

    for (; length - i >= 8; i += 8) {
        memcpy(&word, data + i, 8);
        all |= word;
    }
    for (; i < length; i++)
        all |= data[i];
    return (all & UINT64_C(0x8080808080808080)) == 0;
}

/* A short message of a client in one frame that is all there: most of what comes, and a third of the work the general way needs
 * for it. 0: it is anything else, and nothing was touched. */
static inline size_t take_short_message(lws_protocol *protocol, const lws_limits *limits, uint8_t *data, size_t length,
                                        lws_event *event) {
    enum { HEADER = 6, FIN_TEXT = 0x80 | LWS_TEXT, FIN_BINARY = 0x80 | LWS_BINARY };
    uint8_t *payload = data + HEADER;
    uint32_t masking_key;
    uint8_t utf8_state;
    size_t size;

    if (length <= HEADER || (data[0] != FIN_TEXT && data[0] != FIN_BINARY) || data[1] <= 0x80)
        return 0;
    size = data[1] & 0x7f;
    if (size > LWS_MAX_CONTROL_PAYLOAD || size > length - HEADER || size > limits->max_payload ||
        limits->role != LWS_SERVER || protocol->opcode != 0 || protocol->frame_remaining != 0)
        return 0;
    memcpy(&masking_key, data + 2, sizeof masking_key);
    lws_mask(payload, payload, size, masking_key);
    if (data[0] == FIN_TEXT && is_ascii(payload, size)) {
        event->ascii = 1;
    } else if (data[0] == FIN_TEXT && limits->validate_utf8) {
        utf8_state = lws_utf8_check(LWS_UTF8_ACCEPT, payload, size);
        if (utf8_state == LWS_UTF8_REJECT)
            return fail(protocol, event, 1007, "a text message is not UTF-8", length);
        if (utf8_state != LWS_UTF8_ACCEPT)
            return fail(protocol, event, 1007, "a text message ends inside a character", length);
    }
    event->kind = LWS_EVENT_DATA;
    event->data = payload;
    event->length = size;
    event->opcode = data[0] & 0x0f;
    event->first = event->last = event->fin = 1;
    protocol->flags |= LWS_FRAME_FIN | LWS_FRAME_MASKED;
    return HEADER + size;
}

size_t lws_protocol_receive(lws_protocol *protocol, const lws_limits *limits, uint8_t *data, size_t length,
                            lws_event *event) {
    lws_frame frame;
    const char *problem = NULL;
    size_t taken = 0;

    memset(event, 0, sizeof *event);
    if (protocol->flags & LWS_RECEIVE_ENDED)
        return length;
    taken = take_short_message(protocol, limits, data, length, event);
    if (taken > 0)
        return taken;
    for (;;) {
        if (protocol->frame_remaining > 0) {
            const size_t here = length - taken;
            const size_t size = here < protocol->frame_remaining ? here : (size_t)protocol->frame_remaining;
            if (size == 0)
                return taken;
            return take_payload(protocol, limits, data + taken, size, taken, length, event);
        }
        if (lws_frame_read_header(data + taken, length - taken, &frame) == 0)
            return taken;
        problem = header_problem(protocol, limits, &frame);
        if (problem) {
            fail(protocol, event, 1002, problem, length);
            event->detail = frame.rsv != 0 && frame.opcode <= LWS_PONG ? frame.rsv : frame.opcode;
            if (frame.opcode >= LWS_CLOSE && frame.opcode <= LWS_PONG && frame.payload_length > LWS_MAX_CONTROL_PAYLOAD)
                event->detail = frame.payload_length > 0xffff ? 127 : 126; /* as the header says it */
            return length;
        }
        if (frame.opcode >= LWS_CLOSE) {
            const size_t size = frame.header_length + (size_t)frame.payload_length;
            if (length - taken < size)
                return taken;
            return take_control_frame(protocol, &frame, data + taken + frame.header_length, taken + size, length,
                                      event);
        }
        const uint16_t code = begin_data_frame(protocol, limits, &frame, &problem);
        if (code)
            return fail(protocol, event, code, problem, length);
        taken += frame.header_length;
        if (frame.payload_length == 0 && frame.fin)
            return take_payload(protocol, limits, data + taken, 0, taken, length, event);
    }
}
