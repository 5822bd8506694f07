# Whole frames and masks; payloads as buffers.

cdef int _get_octets(object payload, Py_buffer *view) except -1:
    """Opens a buffer of single contiguous octets; anything else would count its length in another unit."""
    try:
        PyObject_GetBuffer(payload, view, PyBUF_SIMPLE)
    except BufferError as error:
        raise ValueError("a payload must be contiguous octets") from error
    if view.itemsize != 1:
        PyBuffer_Release(view)
        raise ValueError("a payload must be octets (itemsize 1)")
    return 0


cdef uint32_t _key_of(object key) except? 0:
    """A masking key in memory order, see mask.h."""
    cdef uint32_t masking_key
    cdef bytes octets = <bytes>key if type(key) is bytes else bytes(memoryview(key))
    if PyBytes_GET_SIZE(octets) != 4:
        raise ValueError("a masking key has four octets")
    memcpy(&masking_key, PyBytes_AS_STRING(octets), 4)
    return masking_key


def encode_frame(payload, int opcode, bint fin=True, bint rsv1=False, masking_key=None):
    """One complete frame (RFC 6455 section 5.2) as bytes; see _codec.pyi."""
    cdef Py_buffer view
    cdef uint8_t header[LWS_MAX_HEADER]
    cdef uint32_t key = 0
    cdef size_t header_length
    cdef bytes frame
    cdef uint8_t *out
    if not 0 <= opcode <= 15:
        raise ValueError("an opcode has four bits")
    if masking_key is not None:
        key = _key_of(masking_key)
    _get_octets(payload, &view)
    try:
        if view.len > PY_SSIZE_T_MAX - <Py_ssize_t>LWS_MAX_HEADER:
            raise MemoryError()
        header_length = lws_frame_write_header(header, <uint8_t>opcode, fin, rsv1, <uint64_t>view.len,
                                               &key if masking_key is not None else NULL)
        frame = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>header_length + view.len)
        out = <uint8_t *>PyBytes_AS_STRING(frame)
        memcpy(out, header, header_length)
        _copy_payload(out + header_length, <const uint8_t *>view.buf, <size_t>view.len, key)
        return frame
    finally:
        PyBuffer_Release(&view)


cdef inline void _copy_payload(uint8_t *out, const uint8_t *payload, size_t length, uint32_t key) noexcept:
    if length == 0:
        return  # an empty buffer may have no address
    if key:
        lws_mask(out, payload, length, key)
    else:
        memcpy(out, payload, length)


def apply_mask(data, key):
    """`data` masked or unmasked with the four octets `key` (RFC 6455 section 5.3), as bytes; see _codec.pyi."""
    cdef Py_buffer view
    cdef uint32_t masking_key = _key_of(key)
    cdef bytes result
    _get_octets(data, &view)
    try:
        result = PyBytes_FromStringAndSize(NULL, view.len)
        _copy_payload(<uint8_t *>PyBytes_AS_STRING(result), <const uint8_t *>view.buf, <size_t>view.len, masking_key)
        return result
    finally:
        PyBuffer_Release(&view)
