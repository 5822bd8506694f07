#ifndef CHECK_H
#define CHECK_H
/* What the test programs share: an assertion that says where and why, exact copies in which a sanitizer sees every octet too far,
 * and reproducible noise. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition, ...)                                                        \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: not true: %s: ", __FILE__, __LINE__, #condition); \
            fprintf(stderr, __VA_ARGS__);                                            \
            fputc('\n', stderr);                                                     \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

/* A copy in memory of exactly this size, to be freed. */
static inline uint8_t *exact_copy(const void *data, size_t length) {
    uint8_t *copy = malloc(length ? length : 1);
    CHECK(copy, "no memory");
    if (length)
        memcpy(copy, data, length);
    return copy;
}

static inline uint32_t noise(void) {
    static uint64_t state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

#endif
