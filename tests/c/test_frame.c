/* Frame headers: what is written is what is read, at every length that matters (RFC 6455 section 5.2). */
#include "check.h"
#include "frame.h"

static void reads_what_was_written(uint8_t opcode, int fin, int rsv1, uint64_t length, const uint32_t *key) {
    uint8_t header[LWS_MAX_HEADER], *exact;
    lws_frame frame;
    const size_t size = lws_frame_write_header(header, opcode, fin, rsv1, length, key);
    const size_t expected = (length < 126 ? 2u : length < 65536 ? 4u : 10u) + (key ? 4u : 0u);

    CHECK(size == expected, "%zu octets for a length of %llu", size, (unsigned long long)length);
    for (size_t part = 0; part < size; part++) {
        exact = exact_copy(header, part);
        CHECK(lws_frame_read_header(exact, part, &frame) == 0, "%zu of %zu octets were enough", part, size);
        free(exact);
    }
    exact = exact_copy(header, size);
    CHECK(lws_frame_read_header(exact, size, &frame) == size, "length %llu", (unsigned long long)length);
    free(exact);
    CHECK(frame.header_length == size, "header_length %d", frame.header_length);
    CHECK(frame.payload_length == length, "%llu", (unsigned long long)frame.payload_length);
    CHECK(frame.opcode == opcode && frame.fin == (fin != 0) && frame.rsv == (rsv1 ? 4 : 0), "first octet");
    CHECK(frame.masked == (key != NULL) && frame.masking_key == (key ? *key : 0), "key");
    CHECK(frame.minimal, "what is written is minimal");
}

static int is_minimal(const char *header, size_t size) {
    lws_frame frame;
    CHECK(lws_frame_read_header((const uint8_t *)header, size, &frame) == size, "a whole header");
    return frame.minimal;
}

int main(void) {
    static const uint64_t lengths[] = {0, 1, 125, 126, 127, 255, 256, 65535, 65536, 65537, UINT32_MAX, INT64_MAX, UINT64_MAX};
    uint32_t key = 0x01020384;
    lws_frame frame;

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (uint8_t opcode = 0; opcode < 16; opcode++)
            for (int bits = 0; bits < 8; bits++)
                reads_what_was_written(opcode, bits & 1, bits & 2, lengths[i], bits & 4 ? &key : NULL);
    CHECK(lws_frame_read_header((const uint8_t *)"\xF1\x00", 2, &frame) == 2 && frame.rsv == 7, "three reserved bits");
    CHECK(!is_minimal("\x82\x7E\x00\x7D", 4), "125 in 16 bits");
    CHECK(is_minimal("\x82\x7E\x00\x7E", 4), "126 in 16 bits");
    CHECK(!is_minimal("\x82\x7F\0\0\0\0\0\0\xFF\xFF", 10), "65535 in 64 bits");
    CHECK(is_minimal("\x82\x7F\0\0\0\0\0\1\0\0", 10), "65536 in 64 bits");
    for (uint32_t code = 0; code < 65536; code++) {
        int valid = 0;
        static const uint16_t ranges[][2] = {{1000, 1003}, {1007, 1014}, {3000, 4999}};
        for (size_t i = 0; i < 3; i++)
            valid |= code >= ranges[i][0] && code <= ranges[i][1];
        CHECK(!lws_close_code_is_valid((uint16_t)code) == !valid, "close code %u", code);
    }
    puts("frame: ok");
    return 0;
}
