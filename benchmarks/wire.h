/* What the load generator and limit.c both need of RFC 6455: frame headers and masking. */
#ifndef LWS_BENCH_WIRE_H
#define LWS_BENCH_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { OPCODE_CONTINUATION = 0, OPCODE_TEXT = 1, OPCODE_BINARY = 2, OPCODE_CLOSE = 8, OPCODE_PING = 9, OPCODE_PONG = 10 };

enum { FIN = 0x80, RSV_BITS = 0x70, RSV1 = 0x40, OPCODE_BITS = 0x0f, MASK_BIT = 0x80 };

enum { MAX_CONTROL_PAYLOAD = 125, MAX_FRAME_HEADER = 14 };

/* The length of a frame's header as its first two octets announce it (section 5.2). */
static inline size_t frame_header_length(const uint8_t *frame)
{
    size_t length = 2;
    uint8_t announced = frame[1] & 0x7f;
    if (announced == 126)
        length += 2;
    else if (announced == 127)
        length += 8;
    if (frame[1] & MASK_BIT)
        length += 4;
    return length;
}

/* The payload length in a complete header. */
static inline uint64_t frame_payload_length(const uint8_t *frame)
{
    uint64_t length = frame[1] & 0x7f;
    if (length < 126)
        return length;
    int octets = length == 126 ? 2 : 8;
    length = 0;
    for (int i = 0; i < octets; i++)
        length = length << 8 | frame[2 + i];
    return length;
}

/* How long the header of an unmasked frame with this payload is. */
static inline size_t plain_header_length(uint64_t payload_length)
{
    return payload_length < 126 ? 2 : payload_length < 65536 ? 4 : 10;
}

/* Writes a header; mask_bit is 0 or MASK_BIT, and the caller puts the masking key behind it. Returns its length. */
static inline size_t write_frame_header(uint8_t *out, uint8_t first, uint8_t mask_bit, uint64_t payload_length)
{
    out[0] = first;
    if (payload_length < 126) {
        out[1] = mask_bit | (uint8_t)payload_length;
        return 2;
    }
    int octets = payload_length < 65536 ? 2 : 8;
    out[1] = mask_bit | (octets == 2 ? 126 : 127);
    for (int i = 0; i < octets; i++)
        out[2 + i] = (uint8_t)(payload_length >> (8 * (octets - 1 - i)));
    return 2 + octets;
}

typedef uint8_t mask_block __attribute__((vector_size(32)));

/* Masks or unmasks. `to` may be `from` or lie before it: each block is read before it is written. */
static inline void apply_mask(uint8_t *to, const uint8_t *from, size_t length, const uint8_t key[4])
{
    size_t i = 0;
    if (length >= sizeof(mask_block)) {
        mask_block keys, block;
        for (size_t k = 0; k < sizeof keys; k++)
            keys[k] = key[k & 3];
        for (; i + sizeof block <= length; i += sizeof block) {
            memcpy(&block, from + i, sizeof block);
            block ^= keys;
            memcpy(to + i, &block, sizeof block);
        }
    }
    uint32_t key32;
    memcpy(&key32, key, 4);
    for (; i + 4 <= length; i += 4) {
        uint32_t word;
        memcpy(&word, from + i, 4);
        word ^= key32;
        memcpy(to + i, &word, 4);
    }
    for (; i < length; i++)
        to[i] = from[i] ^ key[i & 3];
}

#endif
