"""The C core (lws_gevent/c_core/*.h) as Cython sees it. The headers are the reference; nothing is explained twice."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "c_core/mask.h" nogil:
    void lws_mask(uint8_t *destination, const uint8_t *source, size_t length, uint32_t masking_key) noexcept
    uint32_t lws_mask_rotate(uint32_t masking_key, size_t count) noexcept


cdef extern from "c_core/utf8.h" nogil:
    enum:
        LWS_UTF8_ACCEPT
        LWS_UTF8_REJECT

    uint8_t lws_utf8_check(uint8_t state, const uint8_t *data, size_t length) noexcept


cdef extern from "c_core/frame.h" nogil:
    enum:
        LWS_MAX_HEADER
        LWS_MAX_CONTROL_PAYLOAD

    enum lws_opcode:
        LWS_CONTINUATION
        LWS_TEXT
        LWS_BINARY
        LWS_CLOSE
        LWS_PING
        LWS_PONG

    ctypedef struct lws_frame:
        uint64_t payload_length
        uint32_t masking_key
        uint8_t opcode
        uint8_t fin
        uint8_t rsv
        uint8_t masked
        uint8_t header_length
        uint8_t minimal

    size_t lws_frame_read_header(const uint8_t *data, size_t length, lws_frame *frame) noexcept
    size_t lws_frame_write_header(uint8_t *out, uint8_t opcode, int fin, int rsv1, uint64_t payload_length,
                                  const uint32_t *masking_key) noexcept
    int lws_close_code_is_valid(uint16_t code) noexcept


cdef extern from "c_core/protocol.h" nogil:
    enum:
        LWS_MAX_LEFTOVER

    enum lws_role:
        LWS_SERVER
        LWS_CLIENT

    ctypedef struct lws_limits:
        uint64_t max_payload
        uint32_t max_fragments
        uint8_t role
        uint8_t validate_utf8

    enum lws_protocol_flag:
        LWS_FRAME_FIN
        LWS_FRAME_MASKED
        LWS_MESSAGE_COMPRESSED
        LWS_COMPRESSION_NEGOTIATED
        LWS_RECEIVE_ENDED
        LWS_MESSAGE_BEGUN

    ctypedef struct lws_protocol:
        uint64_t frame_remaining
        uint64_t message_length
        uint32_t masking_key
        uint32_t fragments
        uint8_t utf8_state
        uint8_t opcode
        uint8_t flags

    enum lws_event_kind:
        LWS_EVENT_NONE
        LWS_EVENT_DATA
        LWS_EVENT_PING
        LWS_EVENT_PONG
        LWS_EVENT_CLOSE
        LWS_EVENT_ERROR

    ctypedef struct lws_event:
        uint8_t *data
        size_t length
        uint64_t frame_remaining
        const char *problem
        uint16_t detail
        uint16_t code
        uint8_t kind
        uint8_t opcode
        uint8_t first
        uint8_t last
        uint8_t fin
        uint8_t compressed
        uint8_t ascii

    void lws_protocol_init(lws_protocol *protocol) noexcept
    size_t lws_protocol_receive(lws_protocol *protocol, const lws_limits *limits, uint8_t *data, size_t length,
                                lws_event *event) noexcept


cdef extern from "c_core/request_head.h" nogil:
    enum:
        LWS_MAX_HEADERS
        LWS_MAX_REQUEST_LINE

    ctypedef struct lws_span:
        uint32_t offset
        uint32_t length

    ctypedef struct lws_header:
        lws_span name
        lws_span value

    ctypedef struct lws_request:
        lws_span method
        lws_span target
        lws_span key
        lws_span origin
        lws_span subprotocols
        lws_span extensions
        int64_t content_length
        const char *problem
        uint16_t header_count
        uint8_t minor_version
        uint8_t method_is_get
        uint8_t upgrade_websocket
        uint8_t connection_upgrade
        uint8_t connection_close
        uint8_t connection_keep_alive
        uint8_t has_transfer_encoding
        uint8_t chunked
        uint8_t has_upgrade_header
        uint8_t expect_continue
        uint8_t version_count
        uint8_t version_is_13
        uint8_t key_count
        uint8_t key_is_valid
        lws_header headers[LWS_MAX_HEADERS]

    size_t lws_request_find_end(const uint8_t *data, size_t length, size_t scanned) noexcept
    int lws_request_parse(const uint8_t *data, size_t head_length, lws_request *request) noexcept
    int lws_request_check_upgrade(lws_request *request) noexcept
