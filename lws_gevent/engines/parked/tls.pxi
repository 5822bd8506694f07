# TLS: an SSLObject per connection, over two memory BIOs that all connections share.
#
# Between two calls these BIOs are empty: what OpenSSL cannot use yet, part of a record, waits with the connection, and what it has
# sealed goes to the kernel, or waits there too. So an idle connection has no more than OpenSSL's own state. What was sent and is
# not yet taken by the kernel stands in the connection's output as it does without TLS; at most SEAL_SIZE octets of it, at its
# beginning, are there a second time, sealed.
#
# Nothing here switches greenlets but callbacks of the user's context, which OpenSSL calls in handshakes. A context with one for host
# names gets BIOs for each connection, and no pointer is kept across a step of a handshake (rule 5). But Python's part of it may run
# any code: a signal handler, or what the garbage collector finalises. That may end this very connection, and it may let others run,
# which have to keep away from the shared buffers then (`Reactor.pinned`) and from the BIOs (`lock_tls`).

cdef extern from "Python.h":
    object PyMemoryView_FromMemory(char *memory, Py_ssize_t size, int flags)
    int PyBUF_READ
    int PyBUF_WRITE

cdef object ssl_module = None  # imported when the first engine needs it
cdef object wrap_tls = None


cdef int load_ssl() except -1:
    global ssl_module, wrap_tls
    if ssl_module is None:
        import ssl
        from lws_gevent.tls_transport import wrap
        wrap_tls = wrap
        ssl_module = ssl
    return 0


cdef int begin_tls(Reactor reactor, Socket socket) except -1:
    """For a connection that was accepted: what comes next is TLS. OpenSSL's part is made when the first record is there."""
    rare_of(socket)
    socket.rare.tls = Tls.__new__(Tls)
    return 0


cdef int adopt_tls(Socket socket, state) except -1:
    """For a connection whose handshake was made elsewhere: goes on with that of `TlsTransport.release`."""
    cdef Tls tls = Tls.__new__(Tls)
    cdef bytes received
    load_ssl()
    rare_of(socket)
    socket.rare.tls = tls
    tls.ssl_object = state.ssl_object
    tls.inner = inner_of(tls.ssl_object)
    tls.incoming = state.incoming
    tls.outgoing = state.outgoing
    tls.established = True
    tls.ended = state.ended
    received = state.received
    keep_received(tls, <const uint8_t *>PyBytes_AS_STRING(received), <size_t>PyBytes_GET_SIZE(received))
    if state.sealed:
        tls.sealed = state.sealed
    return 0


cdef inline object octets_of(const uint8_t *data, size_t length):
    """`length` octets for a method that only reads them before it returns. Few are copied: that costs less than a view of them."""
    if length < VIEW_MINIMUM:
        return PyBytes_FromStringAndSize(<const char *>data, <Py_ssize_t>length)
    return PyMemoryView_FromMemory(<char *>data, <Py_ssize_t>length, PyBUF_READ)


cdef inline object view_of(Reactor reactor, uint8_t *target, size_t space):
    """A view of memory that is to be written to. Most is the beginning of the shared buffer: the view of that is made once."""
    if target == reactor.buffer:
        if reactor.buffer_view is None:
            reactor.buffer_view = PyMemoryView_FromMemory(<char *>target, BUFFER_SIZE, PyBUF_WRITE)
        return reactor.buffer_view
    return PyMemoryView_FromMemory(<char *>target, <Py_ssize_t>space, PyBUF_WRITE)


cdef object inner_of(ssl_object):
    """What an SSLObject, which is Python, only passes on to (rule 13)."""
    return getattr(ssl_object, "_sslobj", ssl_object)


cdef int make_ssl_object(Reactor reactor, Socket socket, Tls tls) except -1:
    context = socket.engine.tls_context
    if context.sni_callback is None:
        if reactor.incoming is None:
            reactor.incoming = ssl_module.MemoryBIO()
            reactor.outgoing = ssl_module.MemoryBIO()
        tls.incoming = reactor.incoming
        tls.outgoing = reactor.outgoing
    else:
        tls.incoming = ssl_module.MemoryBIO()
        tls.outgoing = ssl_module.MemoryBIO()
    tls.ssl_object = wrap_tls(context, tls.incoming, tls.outgoing)
    tls.inner = inner_of(tls.ssl_object)
    return 0


cdef size_t whole_records(const uint8_t *data, size_t length, size_t limit) noexcept:
    """How many octets are whole records (RFC 8446 section 5.1): at most `limit` of them, but one record in any case. All when they
    are no TLS at all: what is to be said about them, OpenSSL knows."""
    cdef size_t end = 0
    cdef size_t size
    while length - end >= RECORD_HEADER:
        size = RECORD_HEADER + (<size_t>data[end + 3] << 8 | data[end + 4])
        if data[end] < 20 or data[end] > 24 or size > RECORD_HEADER + RECORD_MAXIMUM:
            return length
        if size > length - end or end > 0 and end + size > limit:
            break
        end += size
    return end


cdef inline bint is_one_record(const uint8_t *data, size_t length) noexcept:
    return length >= RECORD_HEADER and length == RECORD_HEADER + (<size_t>data[3] << 8 | data[4])


cdef int keep_received(Tls tls, const uint8_t *data, size_t length) except -1:
    """Keeps a copy of what OpenSSL has not got yet."""
    if length > 0:
        tls.received = <uint8_t *>PyMem_Malloc(length)
        if tls.received == NULL:
            raise MemoryError()
        memcpy(tls.received, data, length)
    tls.received_length = length
    return 0


cdef inline size_t take_received(Tls tls, uint8_t *target) noexcept:
    cdef size_t length = tls.received_length
    if length > 0:
        memcpy(target, tls.received, length)
        PyMem_Free(tls.received)
        tls.received = NULL
        tls.received_length = 0
    return length


cdef bint lock_tls(Reactor reactor, Socket socket, Tls tls) except -1:
    """Whether the connection may go on. Not in the midst of a callback that a handshake of its own has called; nor, as long as it
    shares its BIOs, in that of another."""
    if tls.working:
        return False
    if reactor.tls_user is not None and (tls.incoming is None or tls.incoming is reactor.incoming):
        push_ready(reactor, socket)
        return False
    tls.working = True
    if tls.incoming is not None and tls.incoming is reactor.incoming:
        if reactor.minds_bios and (tls.incoming.pending or tls.outgoing.pending):
            # Somebody who was interrupted has left it there. What is lost ends his connection, but gets into no other one.
            tls.incoming.read()
            tls.outgoing.read()
        reactor.tls_user = tls
    return True


cdef int unlock_tls(Reactor reactor, Tls tls) except -1:
    tls.working = False
    if reactor.tls_user is tls:
        reactor.tls_user = None
    return 0


cdef int fail_tls(Tls tls) except -1:
    """Nothing can be read nor sealed any more; the alert that OpenSSL has written for the peer may still be."""
    tls.failed = True
    tls.holding = False
    if tls.incoming is not None:
        tls.incoming.read()
    return 0


cdef int abort_tls(Reactor reactor, Tls tls) except -1:
    """After any other exception. Nothing may stay in the BIOs, which belong to others, too."""
    cdef bint before = reactor.minds_bios
    reactor.minds_bios = True  # for good when there is no memory for this either
    fail_tls(tls)
    collect_sealed(tls)
    reactor.minds_bios = before
    return 0


# Receiving

cdef ssize_t tls_read(Reactor reactor, Socket socket, Tls tls, uint8_t *target, size_t space) except -2:
    """As `read_octets`. What is left here when `space` is used up makes the connection ready again by itself (rule 8)."""
    cdef ssize_t filled
    cdef bint reports = False
    cdef int pins
    if socket.flags & REFUSED:  # all that comes is thrown away
        return read_raw(socket, target, space)
    if tls.failed:
        return BROKEN
    if tls.ended and not tls.holding:
        return 0
    if not tls.established and reactor.round_handshakes >= HANDSHAKES:
        push_ready(reactor, socket)
        return WOULD_BLOCK
    if reactor.sealed is NULL:
        load_ssl()
        reactor.sealed = <uint8_t *>PyMem_Malloc(SEALED_SIZE)
        if reactor.sealed == NULL:
            raise MemoryError()
    if not lock_tls(reactor, socket, tls):
        return WOULD_BLOCK
    pins = 1 if tls.established else 0
    reactor.pinned += pins
    try:
        if pins:
            filled = open_records(reactor, socket, tls, target, space)
        else:
            filled = shake_hands(reactor, socket, tls)
            reports = tls.failed
        collect_sealed(tls)
    except BaseException:
        abort_tls(reactor, tls)
        raise
    finally:
        reactor.pinned -= pins
        unlock_tls(reactor, tls)
    if tls.sealed is not None and socket.descriptor >= 0:
        if PyBytes_GET_SIZE(tls.sealed) > SEALED_LIMIT:  # answers to a peer that asks on and on and reads nothing
            fail_tls(tls)
        push_sealed(socket, tls)
    if reports and tls.error is not None and socket.engine is not None:
        error = tls.error
        tls.error = None
        socket.engine.context.report_tls_failure(error, socket)
    if filled > 0:
        if tls.failed or tls.ended:
            push_ready(reactor, socket)  # to hear of the end, for which no event will come
        if tls.reading_first:
            tls.reading_first = False
            mark_dirty(reactor, socket)
        return filled
    if tls.failed:
        return BROKEN
    return 0 if tls.ended else WOULD_BLOCK


cdef ssize_t read_raw(Socket socket, uint8_t *target, size_t space) noexcept:
    cdef ssize_t got
    while True:
        got = recv(socket.descriptor, target, space, MSG_DONTWAIT)
        if got >= 0:
            return got
        if errno == EAGAIN:
            return WOULD_BLOCK
        if errno != EINTR:
            return BROKEN


cdef ssize_t open_records(Reactor reactor, Socket socket, Tls tls, uint8_t *target, size_t space) except -1:
    """Reads from the kernel and opens, until `space` is used up or the kernel has no more; how many octets there are in `target`."""
    cdef uint8_t *sealed = reactor.sealed
    cdef size_t begin = 0
    cdef size_t end = take_received(tls, sealed)
    cdef size_t taken = 0
    cdef size_t whole
    cdef size_t filled = 0
    cdef size_t room
    cdef ssize_t got
    cdef bint drained = False
    if tls.holding:
        filled = open_some(reactor, tls, target, space, False)
    while filled < space and not tls.ended and not tls.failed:
        whole = whole_records(sealed + begin, end - begin, space - filled)
        if whole > 0:
            tls.incoming.write(octets_of(sealed + begin, whole))
            filled += open_some(reactor, tls, target + filled, space - filled, is_one_record(sealed + begin, whole))
            begin += whole
            continue
        if drained:
            break
        if taken >= TURN_OCTETS:  # records without content
            push_ready(reactor, socket)
            break
        if begin > 0:
            memmove(sealed, sealed + begin, end - begin)
            end -= begin
            begin = 0
        # Not much more than what can be opened now: the rest would have to be copied.
        room = SEALED_SIZE - end
        if room > space - filled + RECORD_MAXIMUM:
            room = space - filled + RECORD_MAXIMUM
        got = read_raw(socket, sealed + end, room)
        if got <= 0:
            if got == 0:
                tls.ended = True  # without close_notify: WebSocket has a closing handshake of its own
            elif got == BROKEN:
                fail_tls(tls)
            break
        end += <size_t>got
        taken += <size_t>got
        drained = <size_t>got < room
    keep_received(tls, sealed + begin, end - begin)
    if filled == space and whole_records(sealed + begin, end - begin, 0) > 0:
        tls.holding = True
    return <ssize_t>filled


cdef size_t open_some(Reactor reactor, Tls tls, uint8_t *target, size_t space, bint one_record) except? 0:
    """What the BIO and OpenSSL have, as much as there is room for. `one_record`: the BIO has no more than that."""
    cdef size_t filled = 0
    cdef size_t got
    tls.holding = False
    try:
        while True:
            got = tls.inner.read(space - filled, view_of(reactor, target + filled, space - filled))
            if got == 0:
                tls.ended = True
                tls.incoming.read()
                break
            filled += got
            if filled == space:
                tls.holding = tls.incoming.pending > 0 or tls.inner.pending() > 0
                break
            if one_record or tls.incoming.pending == 0:
                break
    except ssl_module.SSLWantReadError:
        pass
    except ssl_module.SSLZeroReturnError:
        tls.ended = True
        tls.incoming.read()
    except OSError:
        fail_tls(tls)
    return filled


cdef ssize_t shake_hands(Reactor reactor, Socket socket, Tls tls) except -1:
    """One step of the handshake, which takes up to a millisecond. Always 0 octets: what comes behind it is for the next turn."""
    cdef uint8_t *sealed = reactor.sealed
    cdef size_t end = take_received(tls, sealed)
    cdef size_t whole
    cdef ssize_t got = read_raw(socket, sealed + end, SEALED_SIZE - end)
    cdef bytes rest
    if got == 0:
        tls.ended = True
    elif got == BROKEN:
        tls.failed = True
    if got > 0:
        end += <size_t>got
    whole = whole_records(sealed, end, SEALED_SIZE)
    keep_received(tls, sealed + whole, end - whole)
    if whole == 0 or tls.ended or tls.failed:
        return 0
    octets = PyBytes_FromStringAndSize(<const char *>sealed, <Py_ssize_t>whole)
    if tls.ssl_object is None:
        make_ssl_object(reactor, socket, tls)
        if tls.incoming is reactor.incoming:
            reactor.tls_user = tls
    tls.incoming.write(octets)
    octets = None
    reactor.round_handshakes += 1
    try:
        tls.inner.do_handshake()
    except ssl_module.SSLWantReadError:
        return 0
    except OSError as error:
        tls.error = error
        fail_tls(tls)
        return 0
    # From here on nothing is as it was if a callback has let others run.
    tls.established = True
    rest = tls.incoming.read()
    if PyBytes_GET_SIZE(rest) > 0 or tls.received_length > 0:
        end = tls.received_length
        rest += PyBytes_FromStringAndSize(<const char *>tls.received, <Py_ssize_t>end)
        PyMem_Free(tls.received)
        tls.received = NULL
        tls.received_length = 0
        keep_received(tls, <const uint8_t *>PyBytes_AS_STRING(rest), <size_t>PyBytes_GET_SIZE(rest))
        push_ready(reactor, socket)
    return 0


# Sending

cdef int collect_sealed(Tls tls) except -1:
    """Takes what OpenSSL has sealed out of the BIO."""
    cdef size_t length
    if tls.outgoing is None or tls.outgoing.pending == 0:
        return 0
    if tls.sealed is None:
        tls.sealed = tls.outgoing.read()
        tls.sealed_position = 0
    else:
        length = <size_t>PyBytes_GET_SIZE(tls.sealed) - tls.sealed_position
        tls.sealed = PyBytes_FromStringAndSize(
            PyBytes_AS_STRING(tls.sealed) + tls.sealed_position, <Py_ssize_t>length
        ) + tls.outgoing.read()
        tls.sealed_position = 0
    return 0


cdef int push_sealed(Socket socket, Tls tls) except -2:
    """Writes what is sealed: 1 when the kernel has taken all of it, WOULD_BLOCK or BROKEN."""
    cdef ssize_t written
    cdef size_t length
    while tls.sealed is not None:
        length = <size_t>PyBytes_GET_SIZE(tls.sealed) - tls.sealed_position
        written = send(
            socket.descriptor, PyBytes_AS_STRING(tls.sealed) + tls.sealed_position, length, MSG_NOSIGNAL | MSG_DONTWAIT
        )
        if written < 0:
            if errno == EINTR:
                continue
            if errno == EAGAIN:
                return WOULD_BLOCK
            tls.sealed = None
            return BROKEN
        tls.sealed_position += <size_t>written
        if <size_t>written == length:
            tls.sealed = None
    return 1


cdef ssize_t tls_write(Reactor reactor, Socket socket, Tls tls, iovec *vector, size_t count) except -2:
    """As sendmsg. Octets count when the kernel has taken all that they were sealed into; until then the next call begins with them
    again."""
    cdef size_t total = 0
    cdef size_t sealed
    cdef size_t index = 0
    cdef size_t offset = 0
    cdef int status
    if tls.failed or not tls.established:
        return BROKEN
    status = push_sealed(socket, tls)
    if status != 1:
        return status
    if tls.sealed_from > 0:
        total = tls.sealed_from
        tls.sealed_from = 0
        return <ssize_t>total
    while index < count:
        if not lock_tls(reactor, socket, tls):
            break
        reactor.pinned += 1
        try:
            sealed = seal(reactor, tls, vector, count, &index, &offset)
            collect_sealed(tls)
        except BaseException:
            abort_tls(reactor, tls)
            raise
        finally:
            reactor.pinned -= 1
            unlock_tls(reactor, tls)
        if sealed > 0:
            status = push_sealed(socket, tls)
            if status == BROKEN:
                return BROKEN
            if status == WOULD_BLOCK:
                tls.sealed_from = sealed
                break
            total += sealed
        if tls.failed:
            return BROKEN
        if sealed == 0:
            break
    return <ssize_t>total if total > 0 or index >= count else WOULD_BLOCK


cdef size_t seal(Reactor reactor, Tls tls, iovec *vector, size_t count, size_t *index, size_t *offset) except? 0:
    """Seals up to SEAL_SIZE octets from the place in the vector that index and offset say, and moves it on."""
    cdef uint8_t gathered[RECORD_SIZE]
    cdef size_t total = 0
    cdef size_t length
    cdef size_t piece
    cdef uint8_t *data
    try:
        while index[0] < count and total < SEAL_SIZE:
            length = vector[index[0]].iov_len - offset[0]
            data = <uint8_t *>vector[index[0]].iov_base + offset[0]
            if length >= RECORD_SIZE or index[0] == count - 1:
                if length > SEAL_SIZE - total:
                    length = SEAL_SIZE - total
                offset[0] += length
            else:
                # Small pieces go into one record, and what is large begins in it.
                data = gathered
                length = 0
                while index[0] < count and length < RECORD_SIZE:
                    piece = vector[index[0]].iov_len - offset[0]
                    if piece > RECORD_SIZE - length:
                        piece = RECORD_SIZE - length
                    memcpy(gathered + length, <uint8_t *>vector[index[0]].iov_base + offset[0], piece)
                    length += piece
                    offset[0] += piece
                    if offset[0] == vector[index[0]].iov_len:
                        index[0] += 1
                        offset[0] = 0
            if length > 0:
                tls.inner.write(octets_of(data, length))
                total += length
            while index[0] < count and offset[0] == vector[index[0]].iov_len:
                index[0] += 1
                offset[0] = 0
    except ssl_module.SSLWantReadError:
        tls.reading_first = True  # the peer has begun another handshake
    except OSError:
        fail_tls(tls)
    return total


cdef int tls_write_output(Reactor reactor, Socket socket, Tls tls) except -2:
    """Writes what is queued: 1, or BROKEN."""
    cdef iovec vector[TLS_VECTOR]
    cdef Rare rare = socket.rare
    cdef Output *output = &rare.output
    cdef Chunk *chunk
    cdef size_t count
    cdef ssize_t written
    while output.first != NULL:
        count = 0
        chunk = output.first
        while chunk != NULL and count < TLS_VECTOR:
            vector[count].iov_base = chunk.data + chunk.begin
            vector[count].iov_len = chunk.end - chunk.begin
            count += 1
            chunk = chunk.next
        written = tls_write(reactor, socket, tls, vector, count)
        if written == BROKEN:
            return BROKEN
        if written == WOULD_BLOCK:
            return 1
        output_discard(output, <size_t>written)
        if socket.descriptor < 0:
            return BROKEN
    return BROKEN if push_sealed(socket, tls) == BROKEN else 1


cdef int say_goodbye(Reactor reactor, Socket socket, Tls tls) except -1:
    """Tells the peer that nothing more will come (close_notify, RFC 8446 section 6.1), if there is room; its answer is not waited for."""
    if not tls.established or tls.failed or tls.said_goodbye or tls.working:
        return 0
    if push_sealed(socket, tls) != 1 or tls.sealed_from > 0 or not lock_tls(reactor, socket, tls):
        return 0
    tls.said_goodbye = True
    try:
        try:
            tls.ssl_object.unwrap()
        except OSError:
            pass
        collect_sealed(tls)
    except BaseException:
        abort_tls(reactor, tls)
        raise
    finally:
        unlock_tls(reactor, tls)
    if socket.descriptor >= 0:
        push_sealed(socket, tls)
    return 0
