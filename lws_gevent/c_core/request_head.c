#include "request_head.h"

#include <string.h>

/* Sets of ASCII characters as two words of bits, 0-63 and 64-127; other octets are in none of them. */
typedef struct {
    uint64_t low, high;
} character_set;

/* RFC 9110 section 5.6.2: tchar */
static const character_set token_set = {UINT64_C(0x03FF6CFA00000000), UINT64_C(0x57FFFFFFC7FFFFFE)};
/* RFC 3986 section 3.2.2 and 3.2.3: what a host and port are made of */
static const character_set host_set = {UINT64_C(0x2FFF7FF200000000), UINT64_C(0x47FFFFFEAFFFFFFE)};
/* RFC 4648 section 4, without the padding */
static const character_set base64_set = {UINT64_C(0x03FF880000000000), UINT64_C(0x07FFFFFE07FFFFFE)};

static inline int is_in(character_set set, uint8_t octet) {
    if (octet > 127)
        return 0;
    return (int)((octet < 64 ? set.low >> octet : set.high >> (octet - 64)) & 1);
}

static int all_in(character_set set, const uint8_t *data, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (!is_in(set, data[i]))
            return 0;
    return 1;
}

static inline int is_blank(uint8_t octet) {
    return octet == ' ' || octet == '\t';
}

static inline uint8_t lower(uint8_t octet) {
    return octet >= 'A' && octet <= 'Z' ? (uint8_t)(octet | 32) : octet;
}

/* Whether `data` is `word`, which is in lower case, in any case. */
static int is_word(const uint8_t *data, size_t length, const char *word) {
    if (length != strlen(word))
        return 0;
    for (size_t i = 0; i < length; i++)
        if (lower(data[i]) != (uint8_t)word[i])
            return 0;
    return 1;
}

/* Visible characters, white space inside and obs-text (RFC 9110 section 5.5); no other control character, CR and NUL above all. */
static int is_field_value(const uint8_t *data, size_t length) {
    const uint64_t ones = UINT64_C(0x0101010101010101), high_bits = UINT64_C(0x8080808080808080);
    uint64_t word, del;
    size_t i = 0;

    while (i < length) {
        if (length - i >= 8) {
            memcpy(&word, data + i, 8);
            del = word ^ (ones * 0x7F);
            /* the high bit of an octet that is less than 32, or 127 */
            if (((((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & high_bits) == 0) {
                i += 8;
                continue;
            }
        }
        if ((data[i] < 0x20 && data[i] != '\t') || data[i] == 0x7F)
            return 0;
        i++;
    }
    return 1;
}

/* The next element of a comma-separated list (RFC 9110 section 5.6.1), from *position on; 0 at its end. Elements may be empty. */
static int next_element(const uint8_t *list, size_t length, size_t *position, lws_span *element) {
    size_t begin = *position, end, next;

    if (begin >= length)
        return 0;
    for (end = begin; end < length && list[end] != ',';)
        end++;
    next = end < length ? end + 1 : end;
    while (begin < end && is_blank(list[begin]))
        begin++;
    while (end > begin && is_blank(list[end - 1]))
        end--;
    element->offset = (uint32_t)begin;
    element->length = (uint32_t)(end - begin);
    *position = next;
    return 1;
}

size_t lws_request_find_end(const uint8_t *data, size_t length, size_t from) {
    /* The line break that the empty line follows may be among the last two octets that were seen. */
    size_t position = from > 2 ? from - 2 : 0;

    while (position < length) {
        const uint8_t *found = memchr(data + position, '\n', length - position);
        if (!found)
            return 0;
        position = (size_t)(found - data) + 1;
        if (position < length && data[position] == '\n')
            return position + 1;
        if (position + 1 < length && data[position] == '\r' && data[position + 1] == '\n')
            return position + 2;
    }
    return 0;
}

static int refuse(lws_request *request, int status, const char *problem) {
    request->problem = problem;
    return status;
}

/* Finds the line at `position`. Its length without CR LF and, in *next, where the following one begins; -1: no such line. */
static int64_t find_line(const uint8_t *data, size_t length, size_t position, size_t *next) {
    const uint8_t *found = position < length ? memchr(data + position, '\n', length - position) : NULL;

    if (!found)
        return -1;
    *next = (size_t)(found - data) + 1;
    if (found == data + position || found[-1] != '\r')
        return -1;
    return (int64_t)(found - 1 - (data + position));
}

/* RFC 9112 section 3. */
static int parse_request_line(const uint8_t *data, size_t length, lws_request *request) {
    size_t end = 0, begin;

    if (length > LWS_MAX_REQUEST_LINE)
        return refuse(request, 414, "the request line is too long");
    while (end < length && is_in(token_set, data[end]))
        end++;
    if (end == 0 || end == length || data[end] != ' ')
        return refuse(request, 400, "the request line does not begin with a method and one space");
    request->method.offset = 0;
    request->method.length = (uint32_t)end;
    request->method_is_get = end == 3 && memcmp(data, "GET", 3) == 0;
    begin = ++end;
    while (end < length && data[end] > ' ' && data[end] < 0x7F)
        end++;
    if (end == begin || end == length || data[end] != ' ')
        return refuse(request, 400, "the request target is empty, or has a character that it must not have");
    request->target.offset = (uint32_t)begin;
    request->target.length = (uint32_t)(end - begin);
    data += end + 1;
    length -= end + 1;
    if (length != 8 || memcmp(data, "HTTP/", 5) != 0 || data[5] < '0' || data[5] > '9' || data[6] != '.' ||
        data[7] < '0' || data[7] > '9')
        return refuse(request, 400, "the request line does not end with the version of HTTP");
    if (data[5] != '1')
        return refuse(request, 505, "only HTTP/1.1 is spoken here");
    request->minor_version = data[7] > '0'; /* a higher minor version is read as the highest known, RFC 9110 section 2.5 */
    return 0;
}

typedef struct {
    unsigned hosts, origins;
} header_counts;

static int parse_content_length(const uint8_t *value, size_t length, lws_request *request) {
    int64_t number = 0;

    if (request->content_length >= 0)
        return refuse(request, 400, "more than one Content-Length");
    if (length == 0 || length > 18) /* 18 digits always fit */
        return refuse(request, 400, "the Content-Length is no length");
    for (size_t i = 0; i < length; i++) {
        if (value[i] < '0' || value[i] > '9')
            return refuse(request, 400, "the Content-Length is no length");
        number = number * 10 + (value[i] - '0');
    }
    request->content_length = number;
    return 0;
}

static int parse_transfer_encoding(const uint8_t *value, size_t length, lws_request *request) {
    if (request->has_transfer_encoding)
        return refuse(request, 400, "more than one Transfer-Encoding");
    request->has_transfer_encoding = 1;
    if (!is_word(value, length, "chunked"))
        return refuse(request, 501, "no transfer encoding but chunked is understood");
    request->chunked = 1;
    return 0;
}

static void parse_connection(const uint8_t *value, size_t length, lws_request *request) {
    lws_span element;
    size_t position = 0;

    while (next_element(value, length, &position, &element)) {
        const uint8_t *token = value + element.offset;
        if (is_word(token, element.length, "upgrade"))
            request->connection_upgrade = 1;
        else if (is_word(token, element.length, "close"))
            request->connection_close = 1;
        else if (is_word(token, element.length, "keep-alive"))
            request->connection_keep_alive = 1;
    }
}

static void parse_upgrade(const uint8_t *value, size_t length, lws_request *request) {
    lws_span element;
    size_t position = 0;

    request->has_upgrade_header = 1;
    while (next_element(value, length, &position, &element))
        if (is_word(value + element.offset, element.length, "websocket"))
            request->upgrade_websocket = 1;
}

static inline void count(uint8_t *counter) {
    if (*counter < UINT8_MAX)
        ++*counter;
}

/* What a header means to us. The names are told apart by their length first. */
static int parse_known_header(const uint8_t *data, const lws_header *header, lws_request *request,
                              header_counts *counts) {
    const uint8_t *name = data + header->name.offset, *value = data + header->value.offset;
    const size_t name_length = header->name.length, length = header->value.length;

    switch (name_length) {
    case 4:
        if (is_word(name, name_length, "host")) {
            if (counts->hosts++)
                return refuse(request, 400, "more than one Host");
            if (!all_in(host_set, value, length))
                return refuse(request, 400, "the Host has a character that it must not have");
        }
        break;
    case 6:
        if (is_word(name, name_length, "origin")) {
            if (counts->origins++)
                return refuse(request, 400, "more than one Origin");
            request->origin = header->value;
        } else if (is_word(name, name_length, "expect")) {
            if (!is_word(value, length, "100-continue"))
                return refuse(request, 417, "no expectation but 100-continue is understood");
            request->expect_continue = 1;
        }
        break;
    case 7:
        if (is_word(name, name_length, "upgrade"))
            parse_upgrade(value, length, request);
        break;
    case 10:
        if (is_word(name, name_length, "connection"))
            parse_connection(value, length, request);
        break;
    case 14:
        if (is_word(name, name_length, "content-length"))
            return parse_content_length(value, length, request);
        break;
    case 17:
        if (is_word(name, name_length, "transfer-encoding"))
            return parse_transfer_encoding(value, length, request);
        if (is_word(name, name_length, "sec-websocket-key")) {
            count(&request->key_count);
            request->key = header->value;
            request->key_is_valid =
                length == 24 && all_in(base64_set, value, 22) && value[22] == '=' && value[23] == '=';
        }
        break;
    case 21:
        if (is_word(name, name_length, "sec-websocket-version")) {
            count(&request->version_count);
            request->version_is_13 = is_word(value, length, "13") != 0;
        }
        break;
    case 22:
        if (request->subprotocols.length == 0 && is_word(name, name_length, "sec-websocket-protocol"))
            request->subprotocols = header->value;
        break;
    case 24:
        if (request->extensions.length == 0 && is_word(name, name_length, "sec-websocket-extensions"))
            request->extensions = header->value;
        break;
    default:
        break;
    }
    return 0;
}

/* RFC 9112 section 5: name, colon, value with white space around it. `offset`: of the line in the head. */
static int parse_header_line(const uint8_t *data, size_t offset, size_t length, lws_request *request,
                             lws_header *header) {
    const uint8_t *line = data + offset;
    size_t colon = 0, begin, end = length;

    if (length > LWS_MAX_HEADER_LINE)
        return refuse(request, 431, "a header is too long");
    while (colon < length && is_in(token_set, line[colon]))
        colon++;
    if (colon == 0 && is_blank(line[0]))
        return refuse(request, 400, "a header line begins with white space");
    if (colon == 0 || colon == length || line[colon] != ':')
        return refuse(request, 400, "a header line has no name followed by a colon");
    begin = colon + 1;
    while (begin < end && is_blank(line[begin]))
        begin++;
    while (end > begin && is_blank(line[end - 1]))
        end--;
    if (!is_field_value(line + begin, end - begin))
        return refuse(request, 400, "the value of a header has a control character");
    header->name.offset = (uint32_t)offset;
    header->name.length = (uint32_t)colon;
    header->value.offset = (uint32_t)(offset + begin);
    header->value.length = (uint32_t)(end - begin);
    return 0;
}

int lws_request_parse(const uint8_t *data, size_t head_length, lws_request *request) {
    header_counts counts = {0, 0};
    size_t position = 0, next = 0;
    int64_t length;
    int status;

    memset(request, 0, offsetof(lws_request, headers));
    request->content_length = -1;
    if (head_length > UINT32_MAX)
        return refuse(request, 431, "the head is too long");
    length = find_line(data, head_length, 0, &next);
    if (length < 0)
        return refuse(request, 400, "the request line does not end with CR LF");
    status = parse_request_line(data, (size_t)length, request);
    if (status)
        return status;
    for (;;) {
        lws_header *header;

        position = next;
        length = find_line(data, head_length, position, &next);
        if (length < 0)
            return refuse(request, 400, "a header line does not end with CR LF");
        if (length == 0)
            break;
        if (request->header_count == LWS_MAX_HEADERS)
            return refuse(request, 431, "too many headers");
        header = &request->headers[request->header_count];
        status = parse_header_line(data, position, (size_t)length, request, header);
        if (status == 0) {
            request->header_count++;
            status = parse_known_header(data, header, request, &counts);
        }
        if (status)
            return status;
    }
    if (next != head_length)
        return refuse(request, 400, "the head does not end with its empty line");
    if (counts.hosts == 0 && request->minor_version > 0)
        return refuse(request, 400, "no Host");
    if (request->has_transfer_encoding && request->content_length >= 0)
        return refuse(request, 400, "Content-Length and Transfer-Encoding together");
    if (request->has_transfer_encoding && request->minor_version == 0)
        return refuse(request, 400, "Transfer-Encoding in HTTP/1.0"); /* RFC 9112 section 6.1 */
    if (data[request->target.offset] != '/')
        return refuse(request, 400, "the request target must be a path");
    return 0;
}

int lws_request_check_upgrade(lws_request *request) {
    if (!request->upgrade_websocket)
        return 0;
    if (!request->method_is_get)
        return refuse(request, 405, "an opening handshake is a GET request");
    if (request->minor_version == 0)
        return refuse(request, 400, "an opening handshake needs HTTP/1.1");
    if (!request->connection_upgrade)
        return refuse(request, 400, "the Connection header does not list upgrade");
    if (request->has_transfer_encoding || request->content_length > 0)
        return refuse(request, 400, "an opening handshake has no body");
    if (request->expect_continue)
        return refuse(request, 417, "an opening handshake has nothing to be continued");
    if (request->version_count == 0)
        return refuse(request, 400, "no Sec-WebSocket-Version");
    if (request->version_count > 1)
        return refuse(request, 400, "more than one Sec-WebSocket-Version");
    if (!request->version_is_13)
        return refuse(request, 426, "only version 13 of the protocol is spoken here");
    if (request->key_count == 0)
        return refuse(request, 400, "no Sec-WebSocket-Key");
    if (request->key_count > 1)
        return refuse(request, 400, "more than one Sec-WebSocket-Key");
    if (!request->key_is_valid)
        return refuse(request, 400, "the Sec-WebSocket-Key is not the base64 of 16 octets");
    return 101;
}
