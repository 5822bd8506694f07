"""What other extension modules of the library take from the codec at C speed (the C core itself: _c_core.pxd)."""
cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from lws_gevent._c_core cimport lws_protocol


@cython.final
cdef class MessageAssembly:
    """One message that arrives in parts, or output that is put together, in memory of its own; codec/assembly.pxi says how."""
    cdef size_t length      # octets that are here
    cdef size_t _capacity   # octets that fit without growing
    cdef size_t _announced  # octets that it had been said to become when it last grew
    cdef PyObject *_bytes   # the bytes object that holds them, owned, named by nobody else; NULL: none yet

    cdef inline size_t room(self) noexcept:
        """How many octets fit at what reserve() or extend() returned."""
        return self._capacity - self.length

    cdef uint8_t *reserve(self, size_t upcoming) except NULL
    cdef int adopt(self, bytes octets) except -1
    cdef uint8_t *extend(self, size_t count) except NULL
    cdef int append(self, const uint8_t *data, size_t length) except -1
    cdef int commit(self, size_t count) except -1
    cdef object finish(self, bint text)
    cdef object cut(self, bint text)
    cdef void clear(self) noexcept
    cdef int _resize(self, size_t capacity) except -1


cdef size_t piece_window(
    const lws_protocol *protocol, const uint8_t *data, size_t length, size_t held, size_t size, uint64_t *due
) noexcept
cdef uint32_t new_masking_key() except? 0
