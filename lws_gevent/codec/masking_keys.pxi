# Masking keys: unpredictable (RFC 6455 section 10.3), and not one for two frames.

# RFC 6455 section 5.3: a fresh, unpredictable key for every frame. They are read from the operating system in batches.
cdef bytes _keys = b""
cdef Py_ssize_t _keys_used = 0


cdef uint32_t new_masking_key() except? 0:
    global _keys, _keys_used
    cdef uint32_t key
    cdef bytes fresh
    if _keys_used + 4 > PyBytes_GET_SIZE(_keys):
        fresh = os.urandom(KEYS_AT_ONCE)  # another thread may come in between; from here on none can
        _keys = fresh
        _keys_used = 0
    memcpy(&key, PyBytes_AS_STRING(_keys) + _keys_used, 4)
    _keys_used += 4
    return key


def _forget_masking_keys():
    """In a forked child: parent and child must not use the same keys."""
    global _keys
    _keys = b""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_masking_keys)
