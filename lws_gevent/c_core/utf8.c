#include "utf8.h"

#include <string.h>

/* Inside a character the state says what may come next (RFC 3629 section 4, the table of well-formed sequences). */
enum {
    ONE_MORE = 1,   /* 80..BF ends the character */
    TWO_MORE = 2,   /* 80..BF, then ONE_MORE */
    THREE_MORE = 3, /* 80..BF, then TWO_MORE */
    AFTER_E0 = 4,   /* A0..BF (less would be overlong), then ONE_MORE */
    AFTER_ED = 5,   /* 80..9F (more would be a surrogate), then ONE_MORE */
    AFTER_F0 = 6,   /* 90..BF (less would be overlong), then TWO_MORE */
    AFTER_F4 = 7,   /* 80..8F (more would be beyond U+10FFFF), then TWO_MORE */
};

static inline uint8_t begin_character(uint8_t octet) {
    if (octet < 0x80)
        return LWS_UTF8_ACCEPT;
    if (octet < 0xC2) /* a continuation, or an overlong two-octet form */
        return LWS_UTF8_REJECT;
    if (octet < 0xE0)
        return ONE_MORE;
    if (octet < 0xF0)
        return octet == 0xE0 ? AFTER_E0 : octet == 0xED ? AFTER_ED : TWO_MORE;
    if (octet < 0xF5)
        return octet == 0xF0 ? AFTER_F0 : octet == 0xF4 ? AFTER_F4 : THREE_MORE;
    return LWS_UTF8_REJECT;
}

static inline uint8_t continue_character(uint8_t state, uint8_t octet) {
    static const struct {
        uint8_t low, high, next;
    } rules[] = {
        [ONE_MORE] = {0x80, 0xBF, LWS_UTF8_ACCEPT}, [TWO_MORE] = {0x80, 0xBF, ONE_MORE},
        [THREE_MORE] = {0x80, 0xBF, TWO_MORE},      [AFTER_E0] = {0xA0, 0xBF, ONE_MORE},
        [AFTER_ED] = {0x80, 0x9F, ONE_MORE},        [AFTER_F0] = {0x90, 0xBF, TWO_MORE},
        [AFTER_F4] = {0x80, 0x8F, TWO_MORE},
    };

    if (state > AFTER_F4)
        return LWS_UTF8_REJECT;
    return octet >= rules[state].low && octet <= rules[state].high ? rules[state].next : LWS_UTF8_REJECT;
}

static inline int is_continuation(uint8_t octet) {
    return (octet & 0xC0) == 0x80;
}

/* How many octets the character at `p` has, when four octets can be read there; 0: not well-formed. */
static inline size_t whole_character(const uint8_t *p) {
    const uint8_t state = begin_character(p[0]);

    switch (state) {
    case LWS_UTF8_ACCEPT:
        return 1;
    case LWS_UTF8_REJECT:
        return 0;
    case ONE_MORE:
        return is_continuation(p[1]) ? 2 : 0;
    case TWO_MORE:
        return is_continuation(p[1]) && is_continuation(p[2]) ? 3 : 0;
    case AFTER_E0:
    case AFTER_ED:
        return continue_character(state, p[1]) == ONE_MORE && is_continuation(p[2]) ? 3 : 0;
    default:
        return continue_character(state, p[1]) == TWO_MORE && is_continuation(p[2]) && is_continuation(p[3]) ? 4 : 0;
    }
}

uint8_t lws_utf8_check(uint8_t state, const uint8_t *data, size_t length) {
    const uint64_t high_bits = UINT64_C(0x8080808080808080);
    uint64_t a, b;
    size_t i = 0;

    if (state == LWS_UTF8_REJECT)
        return LWS_UTF8_REJECT;
    while (i < length && state != LWS_UTF8_ACCEPT) {
        state = continue_character(state, data[i++]);
        if (state == LWS_UTF8_REJECT)
            return LWS_UTF8_REJECT;
    }
    while (length - i >= 16) {
        memcpy(&a, data + i, 8);
        memcpy(&b, data + i + 8, 8);
        if (((a | b) & high_bits) == 0) {
            i += 16;
            continue;
        }
        /* Not all ASCII: go on by characters for these 16 octets. At least four octets can be read at each start
         * as long as it lies 4 or more before the end; the loop below does the rest. */
        const size_t stop = i + 12;
        while (i <= stop) {
            const size_t size = whole_character(data + i);
            if (size == 0)
                return LWS_UTF8_REJECT;
            i += size;
        }
    }
    while (i < length) {
        const uint8_t octet = data[i++];
        state = state == LWS_UTF8_ACCEPT ? begin_character(octet) : continue_character(state, octet);
        if (state == LWS_UTF8_REJECT)
            return LWS_UTF8_REJECT;
    }
    return state;
}
