/* What is sent, and what must come back. */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

unsigned slots;
uint8_t *frames, *payloads;
size_t frame_length;
struct answer **answers;
uint64_t *send_times;
unsigned *broadcast_missing;

static size_t sent_size; /* payload octets of a frame that is sent */

static uint32_t read_number(FILE *file)
{
    uint8_t octets[4];
    if (fread(octets, 1, 4, file) != 4)
        fail("%s is too short", options.deflated);
    return (uint32_t)octets[0] | (uint32_t)octets[1] << 8 | (uint32_t)octets[2] << 16 | (uint32_t)octets[3] << 24;
}

static uint8_t *read_octets(FILE *file, size_t length)
{
    uint8_t *octets = malloc(length + 1);
    if (!octets || fread(octets, 1, length, file) != length)
        fail("%s is too short", options.deflated);
    return octets;
}

/* Returns the compressed payloads. */
static uint8_t *read_messages(void)
{
    FILE *file = fopen(options.deflated, "rb");
    if (!file)
        fail("%s: %s", options.deflated, strerror(errno));
    uint32_t count = read_number(file);
    options.size = read_number(file);
    sent_size = read_number(file);
    if (count < slots)
        fail("%s has %u messages, %u are needed", options.deflated, count, slots);
    payloads = read_octets(file, count * options.size);
    uint8_t *deflated = read_octets(file, count * sent_size);
    fclose(file);
    answers = calloc(slots, sizeof *answers);
    if (!answers)
        fail("no memory for %u answers", slots);
    return deflated;
}

static void invent_messages(void)
{
    sent_size = options.size;
    payloads = malloc(slots * options.size + 1);
    if (!payloads)
        fail("no memory for %u messages", slots);
    for (unsigned slot = 0; slot < slots; slot++) {
        uint8_t *payload = payloads + slot * options.size;
        for (size_t i = 0; i < options.size; i++) {
            size_t octet = i == 0 ? slot : i == 1 ? slot / 26 : slot * 31 + i * 7 + i / 251;
            payload[i] = (uint8_t)(options.text ? 'a' + octet % 26 : octet);
        }
    }
}

void build_messages(void)
{
    uint8_t *deflated = NULL;
    slots = options.in_flight + 1;
    if (options.deflated)
        deflated = read_messages();
    else
        invent_messages();
    uint8_t first = (uint8_t)(FIN | (deflated ? RSV1 : 0) | (options.text ? OPCODE_TEXT : OPCODE_BINARY));
    uint8_t header[MAX_FRAME_HEADER];
    size_t header_length = write_frame_header(header, first, MASK_BIT, sent_size) + 4;
    frame_length = header_length + sent_size;
    frames = malloc((slots + options.in_flight) * frame_length);
    if (!frames)
        fail("no memory for %u messages", slots);
    for (unsigned i = 0; i < slots + options.in_flight; i++) {
        uint8_t *frame = frames + i * frame_length;
        if (i >= slots) { /* the same octets: what was begun in one copy may go on in the other */
            memcpy(frame, frames + (i - slots) * frame_length, frame_length);
            continue;
        }
        memcpy(frame, header, header_length);
        if (getrandom(frame + header_length - 4, 4, 0) != 4)
            fail("getrandom");
        apply_mask(frame + header_length, (deflated ? deflated : payloads) + i % slots * sent_size, sent_size,
                   frame + header_length - 4);
    }
    free(deflated);
    size_t times = options.mode == BROADCAST ? slots : (size_t)options.connections * slots;
    send_times = calloc(times, sizeof *send_times);
    broadcast_missing = calloc(slots, sizeof *broadcast_missing);
    if (!send_times || !broadcast_missing)
        fail("no memory for the times of %zu messages", times);
}
