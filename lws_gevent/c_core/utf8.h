#ifndef LWS_UTF8_H
#define LWS_UTF8_H
/* Incremental check of UTF-8 (RFC 3629), as RFC 6455 section 8.1 asks of text messages: it fails on the first octet
 * that no valid continuation can repair. */
#include <stddef.h>
#include <stdint.h>

#define LWS_UTF8_ACCEPT 0 /* between two characters */
#define LWS_UTF8_REJECT 255

/* The state after `data`, starting from `state`; LWS_UTF8_REJECT once invalid. Any other state is inside a character. */
uint8_t lws_utf8_check(uint8_t state, const uint8_t *data, size_t length);

#endif
