/* UTF-8 against what an encoder makes of every character there is. */
#include "check.h"
#include "utf8.h"

/* Which sequences of one, two and three octets begin, or are, the encoding of a character. */
static uint8_t one[256], two[1 << 16], three[1 << 24], complete_two[1 << 16], complete_three[1 << 24];

static size_t encode(uint32_t c, uint8_t out[4]) {
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 63));
        out[2] = (uint8_t)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 63));
    out[3] = (uint8_t)(0x80 | (c & 63));
    return 4;
}

static void accepts_every_character(void) {
    uint8_t octets[4];
    for (uint32_t c = 0; c < 0x110000; c++) {
        size_t size;
        if (c >= 0xD800 && c < 0xE000)
            continue;
        size = encode(c, octets);
        CHECK(lws_utf8_check(LWS_UTF8_ACCEPT, octets, size) == LWS_UTF8_ACCEPT, "U+%04X", c);
        one[octets[0]] = 1;
        if (size >= 2)
            two[octets[0] << 8 | octets[1]] = 1;
        if (size == 2)
            complete_two[octets[0] << 8 | octets[1]] = 1;
        if (size >= 3)
            three[octets[0] << 16 | octets[1] << 8 | octets[2]] = 1;
        if (size == 3)
            complete_three[octets[0] << 16 | octets[1] << 8 | octets[2]] = 1;
    }
}

static void fails_at_the_first_octet_that_nothing_can_repair(void) {
    for (uint32_t a = 0; a < 256; a++) {
        uint8_t octets[4] = {(uint8_t)a, 0, 0, 0};
        uint8_t state1 = lws_utf8_check(LWS_UTF8_ACCEPT, octets, 1);
        CHECK((state1 != LWS_UTF8_REJECT) == one[a], "%02X", a);
        CHECK((state1 == LWS_UTF8_ACCEPT) == (a < 128), "%02X", a);
        if (!one[a] || a < 128)
            continue;
        for (uint32_t b = 0; b < 256; b++) {
            uint32_t ab = a << 8 | b;
            uint8_t state2;
            octets[1] = (uint8_t)b;
            state2 = lws_utf8_check(state1, octets + 1, 1);
            CHECK((state2 != LWS_UTF8_REJECT) == two[ab], "%04X", ab);
            CHECK((state2 == LWS_UTF8_ACCEPT) == complete_two[ab], "%04X", ab);
            CHECK(lws_utf8_check(LWS_UTF8_ACCEPT, octets, 2) == state2, "%04X", ab);
            if (!two[ab] || complete_two[ab])
                continue;
            for (uint32_t c = 0; c < 256; c++) {
                uint32_t abc = ab << 8 | c;
                uint8_t state3;
                octets[2] = (uint8_t)c;
                state3 = lws_utf8_check(state2, octets + 2, 1);
                CHECK((state3 != LWS_UTF8_REJECT) == three[abc], "%06X", abc);
                CHECK((state3 == LWS_UTF8_ACCEPT) == complete_three[abc], "%06X", abc);
                if (!three[abc] || complete_three[abc])
                    continue;
                for (uint32_t d = 0; d < 256; d++) {
                    octets[3] = (uint8_t)d;
                    CHECK(lws_utf8_check(LWS_UTF8_ACCEPT, octets, 4) ==
                              (d >= 0x80 && d < 0xC0 ? LWS_UTF8_ACCEPT : LWS_UTF8_REJECT), "%06X%02X", abc, d);
                }
            }
        }
    }
}

/* The paths for 16 octets and for characters agree with the state machine taken an octet at a time, wherever things lie. */
static void is_the_same_at_once_and_octet_by_octet(void) {
    static const uint32_t characters[] = {'a', 'a', 'a', 'a', 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000,
                                          0x10FFFF, 0x20AC};
    for (int round = 0; round < 60000; round++) {
        uint8_t text[120], *exact, state = LWS_UTF8_ACCEPT, parts;
        size_t length = 0, split;
        const size_t wanted = noise() % 100, plain = noise() % 2 ? 0 : noise() % 60;
        while (length < wanted)
            length += length < plain ? encode('x', text + length)
                                     : encode(characters[noise() % (sizeof characters / sizeof *characters)], text + length);
        if (noise() % 2 && length)
            text[noise() % length] = (uint8_t)noise();
        if (noise() % 4 == 0 && length)
            length -= noise() % length;
        exact = exact_copy(text, length);
        for (size_t i = 0; i < length; i++)
            state = lws_utf8_check(state, exact + i, 1);
        CHECK(lws_utf8_check(LWS_UTF8_ACCEPT, exact, length) == state, "round %d", round);
        split = length ? noise() % length : 0;
        parts = lws_utf8_check(LWS_UTF8_ACCEPT, exact, split);
        parts = lws_utf8_check(parts, exact + split, length - split);
        CHECK(parts == state, "round %d, split at %zu", round, split);
        free(exact);
    }
}

int main(void) {
    CHECK(lws_utf8_check(LWS_UTF8_ACCEPT, NULL, 0) == LWS_UTF8_ACCEPT, "nothing");
    CHECK(lws_utf8_check(LWS_UTF8_REJECT, (const uint8_t *)"a", 1) == LWS_UTF8_REJECT, "invalid stays invalid");
    accepts_every_character();
    fails_at_the_first_octet_that_nothing_can_repair();
    is_the_same_at_once_and_octet_by_octet();
    puts("utf8: ok");
    return 0;
}
