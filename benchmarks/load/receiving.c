/* Receiving: frames, every octet of which is checked. */
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../inflate.h"

enum { RECEIVE_SIZE = 512 * 1024 };

static uint8_t buffer[RECEIVE_SIZE];

static void message_received(struct connection *c, uint64_t time)
{
    unsigned slot = c->receiving;
    c->receiving = (slot + 1) % slots;
    c->message_octets = 0;
    c->in_message = false;
    operations++;
    if (!under_way--)
        fail("connection %u: a message that nobody has sent", number_of(c));
    if (options.mode == BROADCAST) {
        histogram_add(&latencies, time - send_times[slot]);
        if (!broadcast_missing[slot]--)
            fail("connection %u: a message that nobody has sent", number_of(c));
        if (!broadcast_missing[slot]) {
            broadcasts++;
            if (running) {
                queue_message(&connections[0], time);
                flush(&connections[0]);
            }
        }
        return;
    }
    histogram_add(&latencies, time - send_times[(size_t)number_of(c) * slots + slot]);
    if (running)
        queue_message(c, time);
}

static void control_received(struct connection *c)
{
    uint8_t opcode = c->header[0] & OPCODE_BITS;
    if (opcode == OPCODE_PING) {
        if (c->sent_octets || c->unsent)
            c->pong_due = true;
        else
            send_control(c, OPCODE_PONG, c->control, c->control_octets);
    } else if (opcode == OPCODE_CLOSE) {
        int code = c->control_octets >= 2 ? c->control[0] << 8 | c->control[1] : 1005;
        if (c->state != CLOSING)
            fail("connection %u: closed by the server with %d %.*s", number_of(c), code,
                 c->control_octets > 2 ? c->control_octets - 2 : 0, c->control + 2);
        if (code != 1000 && code != 1005)
            fail("connection %u: our close 1000 was answered with %d", number_of(c), code);
        c->state = ENDING;
    }
}

static void expect_compressed(struct connection *c, uint64_t length)
{
    size_t room = 2 * options.size + 1024;
    if (!c->in_message && !(c->collected = malloc(sizeof *c->collected + room)))
        fail("no memory for a message");
    if (length > room)
        fail("connection %u: a compressed message of %llu octets", number_of(c), (unsigned long long)length);
}

static void check_header(struct connection *c)
{
    uint8_t first = c->header[0], opcode = first & OPCODE_BITS;
    uint64_t length = frame_payload_length(c->header);
    uint8_t rsv = options.deflated && opcode < OPCODE_CLOSE && !c->in_message ? RSV1 : 0;
    if ((first & RSV_BITS) != rsv || c->header[1] & MASK_BIT)
        fail("connection %u: a frame that is masked or has wrong RSV bits (%02x %02x)", number_of(c), first, c->header[1]);
    if (c->state == ENDING)
        fail("connection %u: a frame after the close frame", number_of(c));
    c->payload_missing = length;
    if (opcode >= OPCODE_CLOSE) {
        if (opcode > OPCODE_PONG || !(first & FIN) || length > MAX_CONTROL_PAYLOAD)
            fail("connection %u: a bad control frame (%02x)", number_of(c), first);
        c->control_octets = 0;
        return;
    }
    uint8_t expected = c->in_message ? OPCODE_CONTINUATION : options.text ? OPCODE_TEXT : OPCODE_BINARY;
    if (opcode != expected)
        fail("connection %u: opcode %d instead of %d", number_of(c), opcode, expected);
    if (options.deflated)
        expect_compressed(c, c->message_octets + length);
    else if (c->message_octets + length > options.size || (first & FIN && c->message_octets + length != options.size))
        fail("connection %u: a message of %llu octets instead of %zu", number_of(c),
             (unsigned long long)(c->message_octets + length), options.size);
    c->in_message = true;
}

/* The payload of a data frame. */
static void payload_received(struct connection *c, const uint8_t *data, size_t length)
{
    if (c->collected)
        memcpy(c->collected->octets + c->message_octets, data, length);
    else if (memcmp(payloads + c->receiving * options.size + c->message_octets, data, length))
        fail("connection %u: other octets came back than were sent", number_of(c));
    c->message_octets += length;
}

/* Is a compressed message the one that was sent? */
static void check_collected(struct connection *c)
{
    struct answer **first = &answers[c->receiving], *collected = c->collected;
    collected->length = c->message_octets;
    c->collected = NULL;
    for (struct answer *known = *first; known; known = known->next) {
        if (known->length == collected->length && !memcmp(known->octets, collected->octets, known->length)) {
            free(collected);
            return;
        }
    }
    uint8_t *inflated = malloc(options.size + 1);
    if (!inflated)
        fail("no memory for a message");
    size_t length = inflate_message(collected->octets, collected->length, inflated, options.size);
    if (length != options.size || memcmp(inflated, payloads + c->receiving * options.size, length))
        fail("connection %u: something else was compressed than was sent", number_of(c));
    free(inflated);
    collected->next = *first;
    *first = collected;
}

static void receive_frames(struct connection *c, const uint8_t *data, size_t length, uint64_t time)
{
    const uint8_t *end = data + length;
    for (;;) {
        size_t header_length = c->header_octets < 2 ? 2 : frame_header_length(c->header);
        if (c->header_octets < header_length) {
            if (data == end)
                return;
            size_t missing = header_length - c->header_octets, there = (size_t)(end - data);
            size_t taken = missing < there ? missing : there;
            memcpy(c->header + c->header_octets, data, taken);
            c->header_octets += (uint8_t)taken;
            data += taken;
            if (c->header_octets >= 2 && c->header_octets == frame_header_length(c->header))
                check_header(c);
            continue;
        }
        bool control = (c->header[0] & OPCODE_BITS) >= OPCODE_CLOSE;
        size_t there = (size_t)(end - data);
        size_t taken = c->payload_missing < there ? (size_t)c->payload_missing : there;
        if (control) {
            memcpy(c->control + c->control_octets, data, taken);
            c->control_octets += (uint8_t)taken;
        } else {
            payload_received(c, data, taken);
        }
        data += taken;
        c->payload_missing -= taken;
        if (c->payload_missing)
            return;
        c->header_octets = 0;
        if (control)
            control_received(c);
        else if (c->header[0] & FIN) {
            if (c->collected)
                check_collected(c);
            message_received(c, time);
        }
    }
}

static void cycle_finished(struct connection *c)
{
    uint64_t time = now();
    histogram_add(&latencies, time - c->started);
    operations++;
    under_way--;
    last_progress = time;
    release(c);
    if (running) {
        under_way++;
        open_connection(c);
    }
}

void readable(struct connection *c)
{
    errno = 0;
    ssize_t received = take(c, buffer, sizeof buffer);
    if (received < 0 && errno == EAGAIN)
        return;
    if (received <= 0) {
        if (c->state == ENDING)
            cycle_finished(c);
        else
            lost(c, c->state < OPEN ? "lost in the handshake" : "lost");
        return;
    }
    uint64_t time = now();
    last_progress = time;
    const uint8_t *data = buffer;
    size_t length = (size_t)received;
    if (c->state == UPGRADING) {
        size_t used = receive_head(c, data, length);
        data += used;
        length -= used;
    }
    if (length) {
        receive_frames(c, data, length, time);
        if (c->unsent)
            flush(c);
    }
    if (options.tls && (size_t)received == sizeof buffer)
        readable(c); /* OpenSSL may have more, which epoll does not know of */
}
