"""The codec in C (layer 1): the sans-IO protocol object, the request parser and frame encoding over c_core/.

The twin in pure Python is _codec_py.py; _codec.pyi documents the interface that both have. Two rules keep this module
safe. An allocation of an object that the garbage collector tracks can run any Python code, so no pointer into a buffer
is used after one: payloads become bytes or str (which are not tracked) first, state is brought up to date next, and
tuples and exceptions are made last. A length that a peer has sent is 64 bits wide and is compared before it is narrowed.
"""
import os
from collections import deque

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport SIZE_MAX, UINT32_MAX, UINT64_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memmove

from lws_gevent._c_core cimport *

from lws_gevent.errors import PayloadTooBig, ProtocolError
from lws_gevent.frames import close_payload
from lws_gevent.handshake import Request, check_no_tls, handshake_error
from lws_gevent.wording import FRAGMENTS_OPEN, NOT_UTF8, too_long_for_control

__all__ = ["Protocol", "apply_mask", "encode_frame", "parse_request"]


cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject **bytes, Py_ssize_t size) except -1
    char *memory_of "PyBytes_AS_STRING"(PyObject *bytes)


cdef enum:
    FIRST_RESERVE = 1024 * 1024   # what a message is given at first at most, however long it says it will be
    STAGE = 4096                  # octets copied at a time out of what was received, to be decoded there
    BY_REFERENCE = 16 * 1024      # from this size on an immutable payload is passed on instead of copied
    KEYS_AT_ONCE = 1024           # octets of masking keys that are asked of the operating system at a time
    INFLATED_AT_ONCE = 64 * 1024  # compressed octets of a long frame that are inflated at a time
    PONGS_KEPT = 128              # answers to pings that wait to be sent before only the latest ping gets another one

include "codec/assembly.pxi"
include "codec/masking_keys.pxi"
include "codec/frames.pxi"
include "codec/protocol.pxi"
include "codec/receiving.pxi"
include "codec/pieces.pxi"
include "codec/inflating.pxi"
include "codec/sending.pxi"
include "codec/request_heads.pxi"
