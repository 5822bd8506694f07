/* Masking against the definition of RFC 6455 section 5.3, at every alignment and around every width. */
#include "check.h"
#include "mask.h"

enum { SLACK = 16, LONGEST = 700 };

static uint32_t key_of(const uint8_t octets[4]) {
    uint32_t key;
    memcpy(&key, octets, 4);
    return key;
}

static void masks_as_defined(size_t length, size_t from, size_t to, const uint8_t key[4]) {
    uint8_t *source = malloc(from + length + 1), *destination = malloc(to + length + 1);
    CHECK(source && destination, "no memory");
    for (size_t i = 0; i < from + length; i++)
        source[i] = (uint8_t)noise();
    memset(destination, 0xA5, to + length + 1);
    lws_mask(destination + to, source + from, length, key_of(key));
    for (size_t i = 0; i < length; i++)
        CHECK(destination[to + i] == (source[from + i] ^ key[i % 4]), "octet %zu of %zu, from +%zu to +%zu", i, length,
              from, to);
    for (size_t i = 0; i < to; i++)
        CHECK(destination[i] == 0xA5, "wrote in front, length %zu", length);
    CHECK(destination[to + length] == 0xA5, "wrote behind, length %zu", length);
    free(source);
    free(destination);
}

static void masks_in_place_and_in_parts(size_t length, size_t offset, const uint8_t key[4]) {
    uint8_t plain[LONGEST + SLACK], *data;
    for (size_t i = 0; i < length; i++)
        plain[i] = (uint8_t)noise();
    data = malloc(offset + length + 1);
    CHECK(data, "no memory");
    for (size_t split = 0; split <= length; split += 1 + split / 3) {
        uint32_t rest = lws_mask_rotate(key_of(key), split);
        memcpy(data + offset, plain, length);
        lws_mask(data + offset, data + offset, split, key_of(key));
        lws_mask(data + offset + split, data + offset + split, length - split, rest);
        for (size_t i = 0; i < length; i++)
            CHECK(data[offset + i] == (plain[i] ^ key[i % 4]), "octet %zu of %zu, split at %zu", i, length, split);
    }
    free(data);
}

int main(void) {
    static const uint8_t keys[][4] = {{0, 0, 0, 0}, {1, 2, 3, 4}, {0xFF, 0, 0x80, 0x7F}, {0x37, 0xFA, 0x21, 0x3D}};
    const uint8_t *key = keys[3];

    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
        for (size_t length = 0; length < 300; length++)
            masks_as_defined(length, 0, 0, keys[k]);
    for (size_t from = 0; from < SLACK; from++)
        for (size_t to = 0; to < SLACK; to++)
            for (size_t length = 0; length < LONGEST; length += length < 70 ? 1 : 37)
                masks_as_defined(length, from, to, key);
    for (size_t offset = 0; offset < SLACK; offset++)
        for (size_t length = 0; length < LONGEST; length += length < 70 ? 1 : 41)
            masks_in_place_and_in_parts(length, offset, key);
    masks_as_defined(1 << 20, 1, 3, key);
    for (size_t count = 0; count < 20; count++) {
        uint32_t rotated = lws_mask_rotate(key_of(key), count);
        uint8_t octets[4];
        memcpy(octets, &rotated, 4);
        for (size_t i = 0; i < 4; i++)
            CHECK(octets[i] == key[(count + i) % 4], "rotation by %zu", count);
    }
    CHECK(lws_mask_rotate(key_of(key), SIZE_MAX) == lws_mask_rotate(key_of(key), 3), "rotation by SIZE_MAX");
    puts("mask: ok");
    return 0;
}
