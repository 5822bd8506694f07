#ifndef LWS_MASK_H
#define LWS_MASK_H
/* Masking of RFC 6455 section 5.3. A masking key is held as a uint32_t in memory order: its first byte in memory
 * is the key's first octet on the wire, whatever the machine's endianness. */
#include <stddef.h>
#include <stdint.h>

/* destination[i] = source[i] XOR key octet (i mod 4). The two may be the same memory, else they must not overlap. */
void lws_mask(uint8_t *destination, const uint8_t *source, size_t length, uint32_t masking_key);

/* The key to continue with after `count` octets were masked. */
uint32_t lws_mask_rotate(uint32_t masking_key, size_t count);

#endif
