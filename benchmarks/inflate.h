/* Inflating (RFC 1951), for the load generator's check of what a server has compressed. Small and slow: each different answer
 * is inflated once. */
#ifndef LWS_BENCH_INFLATE_H
#define LWS_BENCH_INFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { MAX_CODE_BITS = 15, LENGTH_SYMBOLS = 288, DISTANCE_SYMBOLS = 32 };

struct inflating {
    const uint8_t *in, *in_end;
    uint8_t *out;
    size_t length, room;
    uint32_t bits;
    unsigned bit_count;
    bool failed;
};

/* A canonical Huffman code: how many codes there are of each length, and their symbols in order. */
struct huffman {
    uint16_t counts[MAX_CODE_BITS + 1], symbols[LENGTH_SYMBOLS];
};

static unsigned take_bits(struct inflating *s, unsigned count)
{
    while (s->bit_count < count) {
        if (s->in == s->in_end) {
            s->failed = true;
            return 0;
        }
        s->bits |= (uint32_t)*s->in++ << s->bit_count;
        s->bit_count += 8;
    }
    unsigned value = s->bits & ((1u << count) - 1);
    s->bits >>= count;
    s->bit_count -= count;
    return value;
}

static void build_huffman(struct huffman *code, const uint8_t *lengths, unsigned count)
{
    uint16_t offsets[MAX_CODE_BITS + 2] = {0};
    memset(code->counts, 0, sizeof code->counts);
    for (unsigned i = 0; i < count; i++)
        code->counts[lengths[i]]++;
    code->counts[0] = 0;
    for (unsigned i = 1; i <= MAX_CODE_BITS; i++)
        offsets[i + 1] = (uint16_t)(offsets[i] + code->counts[i]);
    for (unsigned i = 0; i < count; i++)
        if (lengths[i])
            code->symbols[offsets[lengths[i]]++] = (uint16_t)i;
}

static unsigned take_symbol(struct inflating *s, const struct huffman *code)
{
    unsigned value = 0, first = 0, index = 0;
    for (unsigned length = 1; length <= MAX_CODE_BITS && !s->failed; length++) {
        value |= take_bits(s, 1);
        unsigned count = code->counts[length];
        if (value < first + count)
            return code->symbols[index + value - first];
        index += count;
        first = (first + count) << 1;
        value <<= 1;
    }
    s->failed = true;
    return 0;
}

static void put(struct inflating *s, uint8_t octet)
{
    if (s->length == s->room)
        s->failed = true;
    else
        s->out[s->length++] = octet;
}

static void inflate_codes(struct inflating *s, const struct huffman *literals, const struct huffman *distances)
{
    while (!s->failed) {
        unsigned symbol = take_symbol(s, literals);
        if (s->failed || symbol == 256)
            return;
        if (symbol < 256) {
            put(s, (uint8_t)symbol);
            continue;
        }
        symbol -= 257;
        /* lengths 3 to 10 one by one, then four of each number of extra bits; 258 has a symbol of its own */
        unsigned extra = symbol < 8 || symbol == 28 ? 0 : symbol / 4 - 1;
        unsigned length = symbol == 28 ? 258 : symbol < 8 ? symbol + 3 : ((4 + symbol % 4) << extra) + 3;
        length += take_bits(s, extra);
        symbol = take_symbol(s, distances);
        extra = symbol < 4 ? 0 : symbol / 2 - 1;
        unsigned distance = (symbol < 4 ? symbol : (2 + symbol % 2) << extra) + 1;
        distance += take_bits(s, extra);
        if (symbol > 29 || distance > s->length)
            s->failed = true;
        while (length-- && !s->failed)
            put(s, s->out[s->length - distance]);
    }
}

static void inflate_stored(struct inflating *s)
{
    s->bits = 0; /* the rest of its octet is padding: never more than seven bits are kept between two steps */
    s->bit_count = 0;
    if (s->in_end - s->in < 4) {
        s->failed = true;
        return;
    }
    unsigned length = s->in[0] | (unsigned)s->in[1] << 8, inverse = s->in[2] | (unsigned)s->in[3] << 8;
    if ((length ^ inverse) != 0xffff || length > (size_t)(s->in_end - s->in) - 4) {
        s->failed = true;
        return;
    }
    s->in += 4;
    while (length-- && !s->failed)
        put(s, *s->in++);
}

static void inflate_dynamic(struct inflating *s)
{
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[LENGTH_SYMBOLS + DISTANCE_SYMBOLS] = {0};
    struct huffman code, literals, distances;
    unsigned literal_count = take_bits(s, 5) + 257, distance_count = take_bits(s, 5) + 1, order_count = take_bits(s, 4) + 4;
    for (unsigned i = 0; i < order_count; i++)
        lengths[order[i]] = (uint8_t)take_bits(s, 3);
    build_huffman(&code, lengths, 19);
    memset(lengths, 0, sizeof lengths);
    for (unsigned i = 0; i < literal_count + distance_count && !s->failed;) {
        unsigned symbol = take_symbol(s, &code), repeat = 1;
        uint8_t value = (uint8_t)symbol;
        if (symbol == 16) {
            if (i == 0) {
                s->failed = true;
                return;
            }
            value = lengths[i - 1];
            repeat = 3 + take_bits(s, 2);
        } else if (symbol > 16) {
            value = 0;
            repeat = symbol == 17 ? 3 + take_bits(s, 3) : 11 + take_bits(s, 7);
        }
        if (i + repeat > literal_count + distance_count) {
            s->failed = true;
            return;
        }
        while (repeat--)
            lengths[i++] = value;
    }
    build_huffman(&literals, lengths, literal_count > LENGTH_SYMBOLS ? LENGTH_SYMBOLS : literal_count);
    build_huffman(&distances, lengths + literal_count, distance_count);
    if (!s->failed)
        inflate_codes(s, &literals, &distances);
}

static void inflate_fixed(struct inflating *s)
{
    uint8_t lengths[LENGTH_SYMBOLS];
    struct huffman literals, distances;
    memset(lengths, 8, 144);
    memset(lengths + 144, 9, 112);
    memset(lengths + 256, 7, 24);
    memset(lengths + 280, 8, 8);
    build_huffman(&literals, lengths, LENGTH_SYMBOLS);
    memset(lengths, 5, DISTANCE_SYMBOLS);
    build_huffman(&distances, lengths, DISTANCE_SYMBOLS);
    inflate_codes(s, &literals, &distances);
}

/* Inflates the payload of a message (RFC 7692 section 7.2.2), whose last four octets are not sent. How many octets of `out` it
 * fills; more than `room` when it is wrong or too long. */
static size_t inflate_message(const uint8_t *payload, size_t length, uint8_t *out, size_t room)
{
    struct inflating s = {.in = payload, .in_end = payload + length, .out = out, .room = room};
    bool last = false;
    while (!s.failed && !last && s.in < s.in_end) {
        last = take_bits(&s, 1);
        unsigned type = take_bits(&s, 2);
        if (type == 0 && s.in == s.in_end)
            break; /* the block whose length is not sent */
        if (type == 0)
            inflate_stored(&s);
        else if (type == 1)
            inflate_fixed(&s);
        else if (type == 2)
            inflate_dynamic(&s);
        else
            s.failed = true;
    }
    return s.failed ? room + 1 : s.length;
}

#endif
