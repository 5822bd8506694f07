#include "frame.h"

#include <string.h>

size_t lws_frame_read_header(const uint8_t *data, size_t length, lws_frame *frame) {
    size_t size = 2;
    uint64_t payload_length;

    if (length < 2)
        return 0;
    frame->fin = data[0] >> 7;
    frame->rsv = data[0] >> 4 & 7;
    frame->opcode = data[0] & 15;
    frame->masked = data[1] >> 7;
    frame->masking_key = 0;
    frame->minimal = 1;
    payload_length = data[1] & 127;
    if (payload_length == 126) {
        if (length < 4)
            return 0;
        payload_length = (uint64_t)data[2] << 8 | data[3];
        frame->minimal = payload_length > 125;
        size = 4;
    } else if (payload_length == 127) {
        if (length < 10)
            return 0;
        payload_length = 0;
        for (size_t i = 2; i < 10; i++)
            payload_length = payload_length << 8 | data[i];
        frame->minimal = payload_length > 65535;
        size = 10;
    }
    if (frame->masked) {
        if (length < size + 4)
            return 0;
        memcpy(&frame->masking_key, data + size, 4);
        size += 4;
    }
    frame->payload_length = payload_length;
    frame->header_length = (uint8_t)size;
    return size;
}

size_t lws_frame_write_header(uint8_t *out, uint8_t opcode, int fin, int rsv1, uint64_t payload_length,
                              const uint32_t *masking_key) {
    const uint8_t mask_bit = masking_key ? 128 : 0;
    size_t size;

    out[0] = (uint8_t)((fin ? 128 : 0) | (rsv1 ? 64 : 0) | (opcode & 15));
    if (payload_length < 126) {
        out[1] = (uint8_t)(mask_bit | payload_length);
        size = 2;
    } else if (payload_length < 65536) {
        out[1] = mask_bit | 126;
        out[2] = (uint8_t)(payload_length >> 8);
        out[3] = (uint8_t)payload_length;
        size = 4;
    } else {
        out[1] = mask_bit | 127;
        for (size_t i = 0; i < 8; i++)
            out[2 + i] = (uint8_t)(payload_length >> (56 - 8 * i));
        size = 10;
    }
    if (masking_key) {
        memcpy(out + size, masking_key, 4);
        size += 4;
    }
    return size;
}

int lws_close_code_is_valid(uint16_t code) {
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}
