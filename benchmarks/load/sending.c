/* Sending: whole stretches of messages, and control frames between them. */
#include "load.h"

#include <errno.h>
#include <sys/random.h>

/* A masked control frame; returns its length. */
static size_t control_frame(uint8_t *out, uint8_t opcode, const uint8_t *payload, size_t length)
{
    size_t header = write_frame_header(out, FIN | opcode, MASK_BIT, length) + 4;
    if (getrandom(out + header - 4, 4, 0) != 4)
        fail("getrandom");
    apply_mask(out + header, payload, length, out + header - 4);
    return header + length;
}

void send_control(struct connection *c, uint8_t opcode, const uint8_t *payload, size_t length)
{
    uint8_t frame[MAX_FRAME_HEADER + MAX_CONTROL_PAYLOAD];
    size_t total = control_frame(frame, opcode, payload, length);
    if (transmit(c, frame, total) != (ssize_t)total)
        lost(c, "a control frame could not be sent");
}

/* Writes what is to be sent, as far as the kernel takes it. */
void flush(struct connection *c)
{
    while (c->unsent) {
        const uint8_t *from = frames + c->sending * frame_length + c->sent_octets;
        ssize_t sent = transmit(c, from, c->unsent * frame_length - c->sent_octets);
        if (sent <= 0) {
            if (sent == 0 || errno != EAGAIN)
                lost(c, "send failed");
            watch_output(c, true);
            return;
        }
        size_t total = c->sent_octets + (size_t)sent;
        unsigned whole = (unsigned)(total / frame_length);
        c->unsent -= whole;
        c->sending = (c->sending + whole) % slots;
        c->sent_octets = total % frame_length;
    }
    if (c->pong_due) {
        c->pong_due = false;
        send_control(c, OPCODE_PONG, c->control, c->control_octets);
    }
    watch_output(c, false);
}

/* One more message on its way; flush() writes it. */
void queue_message(struct connection *c, uint64_t time)
{
    unsigned slot = (c->sending + c->unsent) % slots;
    c->unsent++;
    if (options.mode == BROADCAST) {
        send_times[slot] = time;
        broadcast_missing[slot] = options.connections;
        under_way += options.connections;
    } else {
        send_times[(size_t)number_of(c) * slots + slot] = time;
        under_way++;
    }
}
