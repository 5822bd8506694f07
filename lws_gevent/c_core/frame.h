#ifndef LWS_FRAME_H
#define LWS_FRAME_H
/* Frame headers of RFC 6455 section 5.2, in both directions. */
#include <stddef.h>
#include <stdint.h>

#define LWS_MAX_HEADER 14
#define LWS_MAX_CONTROL_PAYLOAD 125

enum lws_opcode {
    LWS_CONTINUATION = 0,
    LWS_TEXT = 1,
    LWS_BINARY = 2,
    LWS_CLOSE = 8,
    LWS_PING = 9,
    LWS_PONG = 10,
};

typedef struct {
    uint64_t payload_length;
    uint32_t masking_key; /* in memory order, see mask.h; 0 when not masked */
    uint8_t opcode;
    uint8_t fin;
    uint8_t rsv; /* the three reserved bits: 4 is RSV1, 2 RSV2, 1 RSV3 */
    uint8_t masked;
    uint8_t header_length;
    uint8_t minimal; /* the length is encoded in its shortest form */
} lws_frame;

/* Reads a header. The number of octets it has, or 0 when `length` octets are not all of it. Judges nothing. */
size_t lws_frame_read_header(const uint8_t *data, size_t length, lws_frame *frame);

/* Writes a header of at most LWS_MAX_HEADER octets; how many it wrote. masking_key NULL: not masked. */
size_t lws_frame_write_header(uint8_t *out, uint8_t opcode, int fin, int rsv1, uint64_t payload_length,
                              const uint32_t *masking_key);

/* Whether a close frame may carry this code (RFC 6455 section 7.4): 1000-1003, 1007-1014, 3000-4999. */
int lws_close_code_is_valid(uint16_t code);

#endif
