#include "mask.h"

#include <string.h>

/* Reading and writing through memcpy is safe at any address and compiles to plain moves. Nothing is touched outside
 * [destination, destination + length) and [source, source + length). */

/* LWS_NO_VECTORS and LWS_NO_AVX2 are for the tests of what other machines and compilers get. */
#if defined(__GNUC__) && !defined(LWS_NO_VECTORS)
#define LWS_HAVE_VECTORS 1
#endif

/* The key repeated to fill a word; the same in memory on either endianness. */
static inline uint64_t repeat(uint32_t masking_key) {
    return (uint64_t)masking_key << 32 | masking_key;
}

static inline void mask_words(uint8_t *destination, const uint8_t *source, size_t length, uint64_t key) {
    uint64_t word;
    uint32_t half;
    uint8_t octets[4];
    size_t i = 0;

    for (; length - i >= 8; i += 8) {
        memcpy(&word, source + i, 8);
        word ^= key;
        memcpy(destination + i, &word, 8);
    }
    if (length - i >= 4) {
        memcpy(&half, source + i, 4);
        half ^= (uint32_t)key;
        memcpy(destination + i, &half, 4);
        i += 4;
    }
    half = (uint32_t)key;
    memcpy(octets, &half, 4);
    for (size_t k = 0; i < length; i++, k++)
        destination[i] = (uint8_t)(source[i] ^ octets[k]);
}

#ifdef LWS_HAVE_VECTORS

typedef uint64_t vector __attribute__((vector_size(32)));

/* 32 octets at a time, four times over. The compiler makes AVX2, two SSE2 or two NEON operations of each, whatever the
 * function that this is inlined into may use. How many octets it did: a multiple of 32, so that the key stays in phase. */
static inline __attribute__((always_inline)) size_t mask_vectors(uint8_t *destination, const uint8_t *source,
                                                                 size_t length, uint64_t key) {
    const vector keys = {key, key, key, key};
    vector a, b, c, d;
    size_t i = 0;

    for (; length - i >= 128; i += 128) {
        memcpy(&a, source + i, 32);
        memcpy(&b, source + i + 32, 32);
        memcpy(&c, source + i + 64, 32);
        memcpy(&d, source + i + 96, 32);
        a ^= keys;
        b ^= keys;
        c ^= keys;
        d ^= keys;
        memcpy(destination + i, &a, 32);
        memcpy(destination + i + 32, &b, 32);
        memcpy(destination + i + 64, &c, 32);
        memcpy(destination + i + 96, &d, 32);
    }
    for (; length - i >= 32; i += 32) {
        memcpy(&a, source + i, 32);
        a ^= keys;
        memcpy(destination + i, &a, 32);
    }
    return i;
}

#if (defined(__x86_64__) || defined(__i386__)) && !defined(LWS_NO_AVX2)
#define LWS_HAVE_AVX2 1
static __attribute__((target("avx2"))) size_t mask_avx2(uint8_t *destination, const uint8_t *source, size_t length,
                                                        uint64_t key) {
    return mask_vectors(destination, source, length, key);
}
#endif

static size_t mask_bulk(uint8_t *destination, const uint8_t *source, size_t length, uint64_t key) {
#ifdef LWS_HAVE_AVX2
    if (__builtin_cpu_supports("avx2"))
        return mask_avx2(destination, source, length, key);
#endif
    return mask_vectors(destination, source, length, key);
}

#endif

void lws_mask(uint8_t *destination, const uint8_t *source, size_t length, uint32_t masking_key) {
    const uint64_t key = repeat(masking_key);
    size_t done = 0;

#ifdef LWS_HAVE_VECTORS
    if (length >= 64)
        done = mask_bulk(destination, source, length, key);
#endif
    if (done < length)
        mask_words(destination + done, source + done, length - done, key);
}

uint32_t lws_mask_rotate(uint32_t masking_key, size_t count) {
    const unsigned shift = (unsigned)(count & 3) * 8;

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return (uint32_t)(repeat(masking_key) << shift >> 32);
#else
    return (uint32_t)(repeat(masking_key) >> shift);
#endif
}
