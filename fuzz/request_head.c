/* libFuzzer target: the end of a head is found at the same place however the head is dribbled, parsing reads nothing beyond it, and
 * what is accepted has none of what must be refused. The first octet of the input chooses the pieces. */
#include "request_head.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)                                                  \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%d: not true: %s\n", __LINE__, #condition);    \
            abort();                                                        \
        }                                                                   \
    } while (0)

static uint8_t *exact_copy(const uint8_t *data, size_t length) {
    uint8_t *copy = malloc(length ? length : 1);
    REQUIRE(copy != NULL);
    if (length)
        memcpy(copy, data, length);
    return copy;
}

static size_t dribble(const uint8_t *data, size_t length, size_t step) {
    size_t seen = 0, end = 0;
    while (!end && seen < length) {
        const size_t now = length - seen < step ? length : seen + step;
        uint8_t *exact = exact_copy(data, now);
        end = lws_request_find_end(exact, now, seen);
        REQUIRE(end == 0 || (end > seen && end <= now)); /* and so it was not there before */
        free(exact);
        seen = now;
    }
    return end;
}

static void is_clean(const uint8_t *data, size_t length, lws_span span) {
    REQUIRE(span.offset <= length && span.length <= length - span.offset);
    for (size_t i = span.offset; i < (size_t)span.offset + span.length; i++)
        REQUIRE((data[i] >= 32 || data[i] == '\t') && data[i] != 127);
}

static void parse(const uint8_t *data, size_t length) {
    static lws_request request;
    uint8_t *exact = exact_copy(data, length);
    const int status = lws_request_parse(exact, length, &request);
    int upgrade;

    REQUIRE(status == 0 || (status >= 400 && status < 600));
    REQUIRE((status != 0) == (request.problem != NULL));
    if (status == 0) {
        REQUIRE(length >= 4 && memcmp(exact + length - 4, "\r\n\r\n", 4) == 0);
        REQUIRE(lws_request_find_end(exact, length, 0) == length);
        REQUIRE(request.header_count <= LWS_MAX_HEADERS);
        is_clean(exact, length, request.method);
        is_clean(exact, length, request.target);
        is_clean(exact, length, request.key);
        is_clean(exact, length, request.origin);
        is_clean(exact, length, request.subprotocols);
        is_clean(exact, length, request.extensions);
        for (unsigned i = 0; i < request.header_count; i++) {
            is_clean(exact, length, request.headers[i].name);
            is_clean(exact, length, request.headers[i].value);
            REQUIRE(request.headers[i].name.length > 0);
            REQUIRE(memchr(exact + request.headers[i].name.offset, ' ', request.headers[i].name.length) == NULL);
            REQUIRE(exact[request.headers[i].name.offset + request.headers[i].name.length] == ':');
        }
        REQUIRE(exact[request.target.offset] == '/');
        REQUIRE(!(request.chunked && request.content_length >= 0));
        REQUIRE(request.content_length >= -1);
        upgrade = lws_request_check_upgrade(&request);
        REQUIRE(upgrade == 0 || upgrade == 101 || (upgrade >= 400 && upgrade < 500));
        if (upgrade == 101)
            REQUIRE(request.key.length == 24 && request.method_is_get && request.minor_version == 1 &&
                    request.content_length <= 0 && !request.chunked);
    }
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length) {
    size_t end, step;

    if (length < 1)
        return 0;
    step = (size_t)data[0] % 64 + 1;
    data++;
    length--;
    end = lws_request_find_end(data, length, 0);
    REQUIRE(end <= length);
    REQUIRE(dribble(data, length, step) == end);
    if (end) {
        parse(data, end);
        if (end > step)
            parse(data, end - step);
    }
    parse(data, length);
    return 0;
}
