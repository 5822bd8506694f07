# Request heads as Python objects.

def parse_request(data, size_t max_header_size, size_t scanned=0):
    """A request and the length of its head, or how much was looked at when it is not all there; see _codec.pyi."""
    cdef Py_buffer view
    cdef lws_request request
    cdef const uint8_t *octets
    cdef size_t length, end
    cdef int status, upgrade_status
    _get_octets(data, &view)
    try:
        octets = <const uint8_t *>view.buf
        length = <size_t>view.len
        if length > 0 and octets[0] == 22:  # so that all others need not ask in Python
            check_no_tls(data)
        end = lws_request_find_end(octets, min(length, max_header_size), scanned)
        if end == 0:
            if length > LWS_MAX_REQUEST_LINE + 1 and memchr(octets, c"\n", LWS_MAX_REQUEST_LINE + 2) == NULL:
                raise handshake_error(414, "the request line is too long")
            if length > max_header_size:
                raise handshake_error(431, "the head of the request is too long")
            return <object>length
        status = lws_request_parse(octets, end, &request)
        upgrade_status = 0 if status else lws_request_check_upgrade(&request)
        problem = "" if request.problem == NULL else (<bytes>request.problem).decode("ascii")
        if status:
            raise handshake_error(status, problem)
        result = Request(
            _text(octets, request.method),
            _text(octets, request.target),
            PyBytes_FromStringAndSize(<const char *>octets, <Py_ssize_t>end),
            request.minor_version,
            None if request.content_length < 0 else request.content_length,
            request.chunked != 0,
            not request.connection_close and (request.minor_version > 0 or request.connection_keep_alive),
            upgrade_status,
            problem,
            PyBytes_FromStringAndSize(<const char *>octets + request.key.offset, request.key.length)
            if request.key_count == 1 else b"",
        )
        return result, <object>end
    finally:
        PyBuffer_Release(&view)


cdef str _text(const uint8_t *data, lws_span span):
    return PyUnicode_DecodeUTF8(<const char *>data + span.offset, span.length, NULL)
