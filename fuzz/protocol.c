/* libFuzzer target: whatever a peer sends, in whatever pieces it arrives, gives the same events, and the state machine keeps the
 * promises of protocol.h. ROLE says which end we are. The first octet of the input chooses limits, the second the pieces. */
#include "protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef ROLE
#define ROLE LWS_SERVER
#endif

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%d: not true: %s\n", __LINE__, #condition);    \
            abort();                                                        \
        }                                                                   \
    } while (0)

/* What came of one run. Events are folded into a digest; a message counts when it is complete, however many parts it had. */
typedef struct {
    lws_protocol protocol;
    uint64_t digest, message;
    size_t left_over, message_length;
    int begun, ended;
} outcome;

static uint64_t fold(uint64_t digest, const void *data, size_t length) {
    const uint8_t *octets = data;
    for (size_t i = 0; i < length; i++)
        digest = (digest ^ octets[i]) * 1099511628211u;
    return digest;
}

static void count(outcome *result, const lws_event *event, const lws_limits *limits) {
    const uint8_t summary[] = {event->kind, event->opcode, event->compressed, (uint8_t)event->code, (uint8_t)(event->code >> 8)};

    REQUIRE(!result->ended);
    REQUIRE((event->kind == LWS_EVENT_ERROR) == (event->problem != NULL));
    if (event->kind == LWS_EVENT_DATA) {
        REQUIRE(event->opcode == LWS_TEXT || event->opcode == LWS_BINARY);
        REQUIRE(event->length > 0 || event->last);
        REQUIRE(event->first == !result->begun);
        REQUIRE(event->last == (event->fin && event->frame_remaining == 0));
        result->begun = 1;
        result->message = fold(result->message, event->data, event->length);
        result->message_length += event->length;
        REQUIRE(event->compressed || result->message_length <= limits->max_payload);
        REQUIRE(limits->max_payload == UINT64_MAX || result->message_length <= 2 * limits->max_payload + 1024);
        if (!event->last)
            return;
        result->digest = fold(result->digest, &result->message, sizeof result->message);
        result->message = 0;
        result->message_length = 0;
        result->begun = 0;
    } else {
        result->ended = event->kind == LWS_EVENT_CLOSE || event->kind == LWS_EVENT_ERROR;
        REQUIRE(event->length <= LWS_MAX_CONTROL_PAYLOAD);
        if (event->kind == LWS_EVENT_CLOSE)
            REQUIRE(event->code == 1005 ? event->length == 0 : lws_close_code_is_valid(event->code));
        result->digest = fold(result->digest, event->data, event->length);
    }
    result->digest = fold(result->digest, summary, sizeof summary);
}

/* Presents `data` in pieces of 1 to `longest` octets, each in memory of exactly its size; SIZE_MAX: at once. */
static outcome play(const uint8_t *data, size_t length, const lws_limits *limits, uint8_t flags, size_t longest,
                    uint32_t seed) {
    outcome result;
    uint8_t left_over[LWS_MAX_LEFTOVER];
    size_t position = 0;

    memset(&result, 0, sizeof result);
    lws_protocol_init(&result.protocol);
    result.protocol.flags |= flags;
    while (position < length) {
        size_t take = longest == SIZE_MAX ? length : 1 + (seed >> 8) % longest, begin = 0, end, taken;
        uint8_t *given;
        lws_event event;

        seed = seed * 1664525u + 1013904223u;
        if (take > length - position)
            take = length - position;
        end = result.left_over + take;
        given = malloc(end);
        REQUIRE(given != NULL);
        memcpy(given, left_over, result.left_over);
        memcpy(given + result.left_over, data + position, take);
        position += take;
        do {
            taken = lws_protocol_receive(&result.protocol, limits, given + begin, end - begin, &event);
            REQUIRE(taken <= end - begin);
            if (event.data != NULL)
                REQUIRE(event.data >= given + begin && event.data + event.length <= given + begin + taken);
            begin += taken;
            REQUIRE(event.kind != LWS_EVENT_NONE || begin == end || taken == 0 || !(result.protocol.flags & LWS_RECEIVE_ENDED));
            if (event.kind != LWS_EVENT_NONE)
                count(&result, &event, limits);
        } while (event.kind != LWS_EVENT_NONE);
        result.left_over = end - begin;
        REQUIRE(result.left_over <= LWS_MAX_LEFTOVER);
        /* what was not taken is as it came */
        REQUIRE(memcmp(given + begin, data + position - result.left_over, result.left_over) == 0);
        memcpy(left_over, given + begin, result.left_over);
        free(given);
    }
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    static const uint64_t payloads[] = {UINT64_MAX, 1000, 10, 0};
    lws_limits limits;
    outcome whole, parts;
    uint8_t flags;

    if (length < 3)
        return 0;
    limits.role = ROLE;
    limits.max_payload = payloads[data[0] & 3];
    limits.max_fragments = data[0] & 4 ? 3 : 0;
    limits.validate_utf8 = !(data[0] & 8);
    flags = data[0] & 16 ? LWS_COMPRESSION_NEGOTIATED : 0;
    whole = play(data + 2, length - 2, &limits, flags, SIZE_MAX, 0);
    for (int round = 0; round < 2; round++) {
        const size_t longest = round ? (size_t)1 << (data[1] & 7) : 1;
        if (round == 0 && length > 200)
            continue; /* octet by octet is slow */
        parts = play(data + 2, length - 2, &limits, flags, longest, data[1]);
        REQUIRE(parts.digest == whole.digest);
        REQUIRE(parts.ended == whole.ended);
        if (whole.ended)
            continue;
        REQUIRE(parts.left_over == whole.left_over);
        REQUIRE(parts.message == whole.message && parts.message_length == whole.message_length);
        REQUIRE(parts.protocol.frame_remaining == whole.protocol.frame_remaining);
        REQUIRE(parts.protocol.message_length == whole.protocol.message_length);
        REQUIRE(parts.protocol.masking_key == whole.protocol.masking_key || whole.protocol.frame_remaining == 0);
        REQUIRE(parts.protocol.fragments == whole.protocol.fragments);
        REQUIRE(parts.protocol.opcode == whole.protocol.opcode);
        REQUIRE(parts.protocol.flags == whole.protocol.flags);
        REQUIRE(parts.protocol.utf8_state == whole.protocol.utf8_state);
    }
    return 0;
}
