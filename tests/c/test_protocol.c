/* The receiving state machine. Each conversation is presented whole and in pieces of every size, in memory of exactly that
 * size, and must give the same messages, control frames and end. */
#include <stdarg.h>

#include "check.h"
#include "frame.h"
#include "mask.h"
#include "protocol.h"

enum { ROOM = 4096 };

typedef struct {
    uint8_t data[ROOM];
    size_t length;
} octets;

static int role = LWS_SERVER;

/* Appends a frame as the peer of `role` would send it. `first`: the whole first octet. */
static void add(octets *to, uint8_t first, const char *payload, size_t length) {
    const uint32_t key = noise();
    size_t size = lws_frame_write_header(to->data + to->length, first & 15, first & 128, first & 64, length,
                                         role == LWS_SERVER ? &key : NULL);
    to->data[to->length] = first;
    to->length += size;
    lws_mask(to->data + to->length, (const uint8_t *)payload, length, role == LWS_SERVER ? key : 0);
    to->length += length;
}

static void add_raw(octets *to, const char *data, size_t length) {
    memcpy(to->data + to->length, data, length);
    to->length += length;
}

static void note(char *log, const char *format, ...) {
    va_list arguments;
    const size_t length = strlen(log);
    va_start(arguments, format);
    vsnprintf(log + length, ROOM * 4 - length, format, arguments);
    va_end(arguments);
}

/* Plays `sent` in pieces of at most `piece` octets and writes into `log` what came of it. */
static void play(const octets *sent, const lws_limits *limits, uint8_t flags, size_t piece, char *log) {
    lws_protocol protocol;
    char message[ROOM] = "";
    uint8_t left_over[LWS_MAX_LEFTOVER];
    size_t left = 0, message_length = 0, position = 0;

    lws_protocol_init(&protocol);
    protocol.flags |= flags;
    log[0] = 0;
    while (position < sent->length) {
        const size_t take = piece < sent->length - position ? piece : sent->length - position;
        uint8_t *given = malloc(left + take);
        size_t begin = 0, end = left + take;
        CHECK(given, "no memory");
        memcpy(given, left_over, left);
        memcpy(given + left, sent->data + position, take);
        position += take;
        for (;;) {
            lws_event event;
            /* presented in memory that ends where it ends */
            uint8_t *exact = exact_copy(given + begin, end - begin);
            const size_t taken = lws_protocol_receive(&protocol, limits, exact, end - begin, &event);
            CHECK(taken <= end - begin, "took %zu of %zu", taken, end - begin);
            begin += taken;
            CHECK(!event.data || (event.data >= exact && event.data + event.length <= exact + taken), "outside");
            if (event.kind == LWS_EVENT_DATA) {
                CHECK(event.length || event.last, "an empty part that ends nothing");
                if (event.ascii) {
                    CHECK(event.opcode == LWS_TEXT && event.first && event.last, "ASCII that is no whole text");
                    for (size_t i = 0; i < event.length; i++)
                        CHECK(event.data[i] < 0x80, "ASCII that is none");
                }
                CHECK(event.first == (message_length == 0 && message[ROOM - 1] == 0), "first");
                message[ROOM - 1] = 1;
                memcpy(message + message_length, event.data, event.length);
                message_length += event.length;
                if (event.last) {
                    note(log, "%s%s:%.*s ", event.opcode == LWS_TEXT ? "text" : "binary", event.compressed ? "*" : "",
                         (int)message_length, message);
                    message_length = 0;
                    message[ROOM - 1] = 0;
                }
            } else if (event.kind == LWS_EVENT_PING || event.kind == LWS_EVENT_PONG) {
                note(log, "%s:%.*s ", event.kind == LWS_EVENT_PING ? "ping" : "pong", (int)event.length,
                     (const char *)event.data);
            } else if (event.kind == LWS_EVENT_CLOSE) {
                note(log, "close:%d:%.*s ", event.code, (int)event.length,
                     event.data ? (const char *)event.data : "");
            } else if (event.kind == LWS_EVENT_ERROR) {
                CHECK(event.problem, "an error without a problem");
                note(log, "error:%d ", event.code);
            }
            free(exact);
            if (event.kind == LWS_EVENT_NONE)
                break;
        }
        left = end - begin;
        CHECK(left <= LWS_MAX_LEFTOVER, "%zu octets left over", left);
        memcpy(left_over, given + begin, left);
        free(given);
    }
}

static void gives(const octets *sent, lws_limits limits, uint8_t flags, const char *expected) {
    static char log[ROOM * 4];
    for (size_t piece = sent->length; piece > 0; piece = piece > 300 ? piece / 2 : piece - 1) {
        play(sent, &limits, flags, piece, log);
        CHECK(strcmp(log, expected) == 0, "role %d, pieces of %zu: expected \"%s\", got \"%s\"", role, piece, expected,
              log);
    }
}

#define FIN 128
#define TEXT(octets) octets, sizeof octets - 1

static void conversations(void) {
    const lws_limits limits = {1000, 4, (uint8_t)role, 1};
    lws_limits other;
    octets o;

#define CONVERSATION(expected, ...) \
    o.length = 0;                   \
    __VA_ARGS__;                    \
    gives(&o, limits, 0, expected)
    CONVERSATION("text:hello binary:\1 text: binary: ", add(&o, FIN | 1, TEXT("hello")); add(&o, FIN | 2, TEXT("\1"));
                 add(&o, FIN | 1, "", 0); add(&o, FIN | 2, "", 0));
    CONVERSATION("ping:in the middle pong: text:abc ", add(&o, 1, TEXT("a")); add(&o, FIN | 9, TEXT("in the middle"));
                 add(&o, 0, "", 0); add(&o, FIN | 10, "", 0); add(&o, FIN | 0, TEXT("bc")));
    CONVERSATION("text: ", add(&o, 1, "", 0); add(&o, 0, "", 0); add(&o, FIN | 0, "", 0));
    CONVERSATION("text:\xF0\x9D\x84\x9E\xE2\x82\xAC ", add(&o, 1, TEXT("\xF0")); add(&o, 0, TEXT("\x9D\x84"));
                 add(&o, FIN | 0, TEXT("\x9E\xE2\x82\xAC")));
    /* F12: the text of a message */
    CONVERSATION("error:1007 ", add(&o, FIN | 1, TEXT("a\xC0\xAF")));
    CONVERSATION("error:1007 ", add(&o, FIN | 1, TEXT("\xED\xA0\x80")));
    CONVERSATION("error:1007 ", add(&o, FIN | 1, TEXT("ends inside \xE2\x82")));
    CONVERSATION("error:1007 ", add(&o, 1, TEXT("\xE2\x82")); add(&o, FIN | 0, "", 0));
    CONVERSATION("error:1007 ", add(&o, 1, TEXT("\xF4\x90")); add(&o, FIN | 9, TEXT("is never answered")));
    CONVERSATION("binary:\xFF\xFE ", add(&o, FIN | 2, TEXT("\xFF\xFE")));
    /* F2, F3: reserved bits and opcodes */
    for (uint8_t bit = 16; bit <= 64; bit = (uint8_t)(bit * 2)) {
        CONVERSATION("text:a error:1002 ", add(&o, FIN | 1, TEXT("a")); add(&o, FIN | bit | 1, TEXT("b")));
        CONVERSATION("error:1002 ", add(&o, FIN | bit | 9, "", 0));
    }
    for (uint8_t opcode = 3; opcode < 16; opcode++)
        if (opcode < 8 || opcode > 10) {
            CONVERSATION("error:1002 ", add(&o, FIN | opcode, TEXT("x")));
        }
    /* F4: control frames */
    CONVERSATION("error:1002 ", add(&o, 9, "", 0));
    CONVERSATION("error:1002 ", add(&o, FIN | 9, (const char[126]){0}, 126));
    /* F5: the order of fragments */
    CONVERSATION("error:1002 ", add(&o, FIN | 0, TEXT("nothing to continue")));
    CONVERSATION("error:1002 ", add(&o, 0, TEXT("nothing to continue")));
    CONVERSATION("error:1002 ", add(&o, 1, TEXT("a")); add(&o, FIN | 1, TEXT("b")));
    CONVERSATION("text:ab error:1002 ", add(&o, 1, TEXT("a")); add(&o, FIN, TEXT("b")); add(&o, FIN, TEXT("c")));
    /* F7, F10, F11: limits */
    CONVERSATION("error:1009 ", add(&o, FIN | 2, (const char[1001]){0}, 1001));
    CONVERSATION("error:1009 ", add(&o, 2, (const char[600]){0}, 600); add(&o, 0, (const char[401]){0}, 401));
    CONVERSATION("error:1008 ", add(&o, 2, "", 0); add(&o, 0, "", 0); add(&o, 0, "", 0); add(&o, 0, "", 0); add(&o, FIN, "", 0));
    /* F13, F14, F15: close */
    CONVERSATION("close:1005: ", add(&o, FIN | 8, "", 0); add(&o, FIN | 1, TEXT("ignored")));
    CONVERSATION("close:1000:bye \xE2\x82\xAC ", add(&o, FIN | 8, TEXT("\x03\xE8" "bye \xE2\x82\xAC")); add(&o, FIN | 9, "", 0));
    CONVERSATION("close:4999: ", add(&o, 1, TEXT("begun")); add(&o, FIN | 8, TEXT("\x13\x87")));
    CONVERSATION("error:1002 ", add(&o, FIN | 8, TEXT("\x03")));
    CONVERSATION("error:1002 ", add(&o, FIN | 8, TEXT("\x03\xED")));
    CONVERSATION("error:1002 ", add(&o, FIN | 8, TEXT("\x13\x88")); add_raw(&o, TEXT("whatever")));
    CONVERSATION("error:1007 ", add(&o, FIN | 8, TEXT("\x03\xE8\xE2\x82")));

    /* F1: masking the wrong way round */
    o.length = 0;
    role = !role;
    add(&o, FIN | 1, TEXT("x"));
    role = !role;
    gives(&o, limits, 0, "error:1002 ");

    /* F6, F7, F8: on the header alone, without its payload */
#define HEADER_ALONE(expected, server, client)                                                     \
    o.length = 0;                                                                                  \
    add_raw(&o, role == LWS_SERVER ? server "key!" : client, sizeof server - 1 + (role == LWS_SERVER ? 4 : 0)); \
    gives(&o, limits, 0, expected)
    HEADER_ALONE("error:1002 ", "\x82\xFF\x80\0\0\0\0\0\0\0", "\x82\x7F\x80\0\0\0\0\0\0\0");
    HEADER_ALONE("error:1009 ", "\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "\x82\x7F\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF");
    HEADER_ALONE("error:1009 ", "\x82\xFF\0\0\0\1\0\0\0\2", "\x82\x7F\0\0\0\1\0\0\0\2");
    HEADER_ALONE("error:1009 ", "\x82\xFE\x03\xE9", "\x82\x7E\x03\xE9");
    HEADER_ALONE("error:1002 ", "\x82\xFE\0\x7D", "\x82\x7E\0\x7D");
    HEADER_ALONE("error:1002 ", "\x82\xFF\0\0\0\0\0\0\xFF\xFF", "\x82\x7F\0\0\0\0\0\0\xFF\xFF");
    HEADER_ALONE("error:1002 ", "\x89\xFE\0\x7E", "\x89\x7E\0\x7E");
    HEADER_ALONE("", "\x82\xFE\x03\xE8", "\x82\x7E\x03\xE8");

    /* two frames of 2^63-1 octets do not wrap around when there is no limit */
    other = limits;
    other.max_payload = UINT64_MAX;
    other.max_fragments = 0;
    {
        lws_protocol protocol;
        lws_event event;
        uint8_t header[LWS_MAX_HEADER];
        const uint32_t key = 7, *mask = role == LWS_SERVER ? &key : NULL;
        const uint16_t expected[] = {0, 0, 1009};
        lws_protocol_init(&protocol);
        for (int i = 0; i < 3; i++) {
            const size_t size = lws_frame_write_header(header, i ? LWS_CONTINUATION : LWS_BINARY, 0, 0, INT64_MAX, mask);
            CHECK(lws_protocol_receive(&protocol, &other, header, size, &event) == size, "frame %d", i);
            CHECK(event.code == expected[i], "frame %d: %d", i, event.code);
            protocol.frame_remaining = 0; /* as if it had all come */
        }
    }

    /* unchecked text */
    other = limits;
    other.validate_utf8 = 0;
    o.length = 0;
    add(&o, FIN | 1, TEXT("\xFF"));
    add(&o, FIN | 8, TEXT("\x03\xE8\xFF"));
    gives(&o, other, 0, "text:\xFF error:1007 ");

    /* permessage-deflate was negotiated: RSV1 on the first frame of a message only (RFC 7692 section 6) */
    o.length = 0;
    add(&o, FIN | 64 | 1, TEXT("\xFF"));
    add(&o, FIN | 1, TEXT("plain"));
    add(&o, 64 | 2, TEXT("a"));
    add(&o, FIN | 9, "", 0);
    add(&o, FIN, TEXT("b"));
    gives(&o, limits, LWS_COMPRESSION_NEGOTIATED, "text*:\xFF text:plain ping: binary*:ab ");
    /* on the wire, max_payload leaves room for what DEFLATE cannot make smaller */
    other = limits;
    other.max_payload = 10;
    char long_payload[1045] = "";
    memset(long_payload, 'z', sizeof long_payload);
    o.length = 0;
    add(&o, 64 | 2, long_payload, 44);
    add(&o, FIN, long_payload, 1000);
    add(&o, FIN | 64 | 2, long_payload, 1045);
    char accepted[1100] = "binary*:";
    memset(accepted + 8, 'z', 1044);
    strcpy(accepted + 8 + 1044, " error:1009 ");
    gives(&o, other, LWS_COMPRESSION_NEGOTIATED, accepted);
    o.length = 0;
    add(&o, FIN | 2, long_payload, 11);
    gives(&o, other, LWS_COMPRESSION_NEGOTIATED, "error:1009 ");
    o.length = 0;
    add(&o, 64 | 2, TEXT("a"));
    add(&o, FIN | 64, TEXT("b"));
    gives(&o, limits, LWS_COMPRESSION_NEGOTIATED, "error:1002 ");
    o.length = 0;
    add(&o, FIN | 64 | 9, "", 0);
    gives(&o, limits, LWS_COMPRESSION_NEGOTIATED, "error:1002 ");
    o.length = 0;
    add(&o, FIN | 32 | 1, "", 0);
    gives(&o, limits, LWS_COMPRESSION_NEGOTIATED, "error:1002 ");
}

int main(void) {
    CHECK(sizeof(lws_protocol) == 32, "a parked connection embeds it: %zu octets", sizeof(lws_protocol));
    for (role = LWS_SERVER; role <= LWS_CLIENT; role++)
        conversations();
    puts("protocol: ok");
    return 0;
}
