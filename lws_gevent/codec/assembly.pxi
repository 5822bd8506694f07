# Memory for what comes, or is put together, in parts.

cdef inline size_t _doubled(size_t capacity) noexcept:
    return capacity * 2  # a capacity is at most PY_SSIZE_T_MAX


@cython.final
@cython.freelist(8)
cdef class MessageAssembly:
    """Octets that come in parts, in private memory that becomes the final bytes object without a copy.

    The memory is the size that is known to be needed, but at most 1 MiB before there is anything to put in it, and doubles
    from there: a peer that announces much and sends little costs little. It holds at most about twice what has arrived.
    Pointers that it gives are good until the next call of any method but room().
    """

    def __dealloc__(self):
        self.clear()

    cdef int _resize(self, size_t capacity) except -1:
        if capacity > <size_t>PY_SSIZE_T_MAX:
            raise MemoryError()
        if self._bytes == NULL:
            self._bytes = new_bytes(NULL, <Py_ssize_t>capacity)
        else:
            try:
                _PyBytes_Resize(&self._bytes, <Py_ssize_t>capacity)
            except:  # it has freed the object and set the pointer to NULL
                self.length = self._capacity = self._announced = 0
                raise
        self._capacity = capacity
        return 0

    cdef uint8_t *reserve(self, size_t upcoming) except NULL:
        """Where the next octets may be put: at least one, room() says how many. `upcoming`: how many are known to come."""
        cdef size_t wanted
        if upcoming > <size_t>PY_SSIZE_T_MAX - self.length:
            raise MemoryError()
        wanted = self.length + max(upcoming, <size_t>1)
        if self._capacity == self.length:
            if wanted > self._announced:  # the first part, or a further fragment
                self._announced = wanted
                self._resize(max(min(wanted, <size_t>FIRST_RESERVE), _doubled(self._capacity)))
            else:
                self._resize(min(wanted, _doubled(self._capacity)))
        return <uint8_t *>memory_of(self._bytes) + self.length

    cdef int adopt(self, bytes octets) except -1:
        """Uses the memory of `octets`, whose length is that of the message to come, and which nobody but the caller holds: the caller
        gives it up. For an empty assembly."""
        self.clear()
        Py_INCREF(octets)
        self._bytes = <PyObject *>octets
        self._capacity = self._announced = <size_t>PyBytes_GET_SIZE(octets)
        return 0

    cdef uint8_t *extend(self, size_t count) except NULL:
        """Where `count` octets can be put, all of them."""
        if count > <size_t>PY_SSIZE_T_MAX - self.length:
            raise MemoryError()
        if self._capacity - self.length < count or self._capacity == 0:
            self._resize(max(self.length + max(count, <size_t>1), _doubled(self._capacity)))
        return <uint8_t *>memory_of(self._bytes) + self.length

    cdef int commit(self, size_t count) except -1:
        """Counts `count` octets in that were put where reserve() or extend() had said."""
        if count > self._capacity - self.length:
            raise ValueError("more octets than there was room for")
        self.length += count
        return 0

    cdef int append(self, const uint8_t *data, size_t length) except -1:
        if length:
            memcpy(self.extend(length), data, length)
            self.length += length
        return 0

    cdef object finish(self, bint text):
        """The message as str or bytes; the assembly is empty afterwards. Text that is not UTF-8, which happens only where nobody
        has checked it, has U+FFFD in the place of what is wrong."""
        cdef object result
        if self.length == 0:
            self.clear()
            return "" if text else b""
        if text:
            try:
                return PyUnicode_DecodeUTF8(memory_of(self._bytes), <Py_ssize_t>self.length, "replace")
            finally:
                self.clear()
        if self._capacity != self.length:
            self._resize(self.length)
        result = <object>self._bytes  # a second reference; the first one is given up, and the name before it
        self._bytes = NULL
        self.length = self._capacity = self._announced = 0
        Py_DECREF(result)
        return result

    cdef object cut(self, bint text):
        """What is here as a piece of the message. Of text all whole characters; the octets of one that is not complete stay."""
        cdef uint8_t tail[3]
        cdef size_t keep = 0
        cdef const uint8_t *end
        cdef object piece
        if not text:
            return self.finish(False)
        if self.length == 0:
            return ""
        end = <const uint8_t *>memory_of(self._bytes) + self.length
        for back in range(1, 4 if self.length > 3 else <int>self.length + 1):
            if end[-back] >= 0xc0:  # the first octet of a character
                if back < (2 if end[-back] < 0xe0 else 3 if end[-back] < 0xf0 else 4):
                    keep = <size_t>back
                break
            if end[-back] < 0x80:
                break
        if keep:
            memcpy(tail, end - keep, keep)
        try:
            piece = PyUnicode_DecodeUTF8(memory_of(self._bytes), <Py_ssize_t>(self.length - keep), "replace")
        except:
            self.clear()
            raise
        self.length = 0
        self.append(tail, keep)
        return piece

    cdef void clear(self) noexcept:
        cdef PyObject *memory = self._bytes
        self._bytes = NULL
        self.length = self._capacity = self._announced = 0
        if memory != NULL:
            Py_DECREF(<object>memory)
