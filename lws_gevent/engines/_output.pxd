"""What a connection still has to write: a queue of chunks, each either memory of its own or a reference into a bytes object.

A queue holds nothing while it is empty, so that an idle connection costs nothing here. Dropping a reference to a bytes object
runs no Python code, so no function of this file can switch greenlets."""
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset
from lws_gevent.engines._linux cimport EAGAIN, EINTR, MSG_DONTWAIT, MSG_NOSIGNAL, errno, iovec, msghdr, sendmsg

cdef enum:
    CHUNK_MINIMUM = 512
    CHUNK_MAXIMUM = 32768
    VECTOR_LENGTH = 32


cdef struct Chunk:
    Chunk *next
    PyObject *owner  # what `data` lies in, or NULL: the memory behind this struct
    uint8_t *data
    size_t begin
    size_t end
    size_t capacity


cdef struct Output:
    Chunk *first
    Chunk *last
    size_t size  # octets waiting


cdef inline void output_init(Output *output) noexcept:
    output.first = NULL
    output.last = NULL
    output.size = 0


cdef inline void output_link(Output *output, Chunk *chunk) noexcept:
    chunk.next = NULL
    if output.last != NULL:
        output.last.next = chunk
    else:
        output.first = chunk
    output.last = chunk


cdef inline int output_copy(Output *output, const uint8_t *data, size_t length) except -1:
    """Queues a copy."""
    cdef Chunk *last = output.last
    cdef size_t capacity
    if length == 0:
        return 0
    if last == NULL or last.owner != NULL or last.capacity - last.end < length:
        capacity = length
        if capacity < output.size:
            # Many small frames behind each other: chunks that grow with the queue keep their number small.
            capacity = output.size if output.size < CHUNK_MAXIMUM else CHUNK_MAXIMUM
        if capacity < length:
            capacity = length
        if capacity < CHUNK_MINIMUM and output.first != NULL:
            capacity = CHUNK_MINIMUM
        last = <Chunk *>PyMem_Malloc(sizeof(Chunk) + capacity)
        if last == NULL:
            raise MemoryError()
        last.owner = NULL
        last.data = <uint8_t *>last + sizeof(Chunk)
        last.begin = 0
        last.end = 0
        last.capacity = capacity
        output_link(output, last)
    memcpy(last.data + last.end, data, length)
    last.end += length
    output.size += length
    return 0


cdef inline int output_reference(Output *output, object owner, const uint8_t *data, size_t length) except -1:
    """Queues `length` octets at `data`, which lie in the bytes object `owner` and are not copied."""
    cdef Chunk *chunk
    if length == 0:
        return 0
    chunk = <Chunk *>PyMem_Malloc(sizeof(Chunk))
    if chunk == NULL:
        raise MemoryError()
    Py_INCREF(owner)
    chunk.owner = <PyObject *>owner
    chunk.data = <uint8_t *>data
    chunk.begin = 0
    chunk.end = length
    chunk.capacity = length
    output_link(output, chunk)
    output.size += length
    return 0


cdef inline void output_clear(Output *output) noexcept:
    cdef Chunk *chunk = output.first
    cdef Chunk *following
    output_init(output)
    while chunk != NULL:
        following = chunk.next
        Py_XDECREF(chunk.owner)
        PyMem_Free(chunk)
        chunk = following


cdef inline void output_discard(Output *output, size_t length) noexcept:
    """Forgets the first `length` octets: they are written."""
    cdef Chunk *chunk
    output.size -= length
    while output.first != NULL:
        chunk = output.first
        if length < chunk.end - chunk.begin:
            chunk.begin += length
            return
        length -= chunk.end - chunk.begin
        output.first = chunk.next
        if output.first == NULL:
            output.last = NULL
        Py_XDECREF(chunk.owner)
        PyMem_Free(chunk)


cdef inline int output_write(Output *output, int fd) noexcept:
    """Writes what the kernel takes. 0, or the errno that ended the connection; what is left stays in the queue."""
    cdef iovec vector[VECTOR_LENGTH]
    cdef msghdr message
    cdef Chunk *chunk
    cdef size_t count
    cdef size_t offered
    cdef ssize_t written
    while output.first != NULL:
        count = 0
        offered = 0
        chunk = output.first
        while chunk != NULL and count < VECTOR_LENGTH:
            vector[count].iov_base = chunk.data + chunk.begin
            vector[count].iov_len = chunk.end - chunk.begin
            offered += vector[count].iov_len
            count += 1
            chunk = chunk.next
        message_init(&message, vector, count)
        written = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
        if written < 0:
            if errno == EINTR:
                continue
            return 0 if errno == EAGAIN else errno
        output_discard(output, <size_t>written)
        if <size_t>written < offered:
            return 0
    return 0


cdef inline void message_init(msghdr *message, iovec *vector, size_t count) noexcept:
    memset(message, 0, sizeof(msghdr))
    message.msg_iov = vector
    message.msg_iovlen = count
