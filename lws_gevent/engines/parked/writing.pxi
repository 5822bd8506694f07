# Writing: what was sent reaches the kernel at once, or when a handler ends or blocks, and the rest when there is room.

cdef int mark_dirty(Reactor reactor, Socket socket) except -1:
    if not socket.flags & DIRTY:
        socket.flags |= DIRTY
        reactor.dirty.append(socket)
    return 0


cdef int flush_output(Reactor reactor) except -1:
    """Writes what handlers have sent (rule 2)."""
    cdef Socket socket
    if reactor.cork_owner is not None:
        uncork(reactor, reactor.cork_owner)
    while reactor.dirty:
        dirty = reactor.dirty
        reactor.dirty = []
        for socket in dirty:
            socket.flags &= ~<uint32_t>DIRTY
            if socket.descriptor >= 0:
                write_output(reactor, socket)
            if socket.rare is not None and not socket.flags & BUSY and rare_is_empty(socket.rare):
                socket.rare = None
    return 0


cdef int uncork(Reactor reactor, Socket socket) except -1:
    """Writes what is in the cork; it is free for the next connection afterwards."""
    cdef size_t length = reactor.cork_length
    cdef ssize_t written
    reactor.cork_owner = None
    reactor.cork_length = 0
    if socket.descriptor < 0 or length == 0:
        return 0
    written = write_octets(reactor, socket, reactor.cork, length)
    if socket.descriptor < 0 or socket.flags & LOST:
        return forget_output(socket)
    if written == BROKEN:
        return lose_connection(reactor, socket)
    if written == WOULD_BLOCK:
        written = 0
    if <size_t>written < length:
        output_copy(&rare_of(socket).output, reactor.cork + written, length - <size_t>written)
        note_over(socket)
        update_interest(reactor, socket)
    elif socket.flags & (OVER | CLOSE_RECEIVED | REFUSED):
        after_write(reactor, socket)
    return 0


cdef int write_through(
    Reactor reactor, Socket socket, const uint8_t *header, size_t header_length, const uint8_t *payload, size_t length, object owner
) except -1:
    """Writes at once what the kernel takes and queues the rest; a large payload is never copied when it can be referred to."""
    cdef iovec vector[3]
    cdef ssize_t written = 0
    cdef size_t corked = 0
    cdef Rare rare
    if socket.flags & LOST:
        return 0
    if socket.rare is None or socket.rare.output.first == NULL:
        if reactor.cork_owner is socket:
            corked = reactor.cork_length
            reactor.cork_owner = None
            reactor.cork_length = 0
        vector[0].iov_base = reactor.cork
        vector[0].iov_len = corked
        vector[1].iov_base = <void *>header
        vector[1].iov_len = header_length
        vector[2].iov_base = <void *>payload
        vector[2].iov_len = length
        if corked == 0 and header_length == 0:
            written = write_octets(reactor, socket, payload, length)
        else:
            written = write_vector(reactor, socket, vector, 3)
        if socket.descriptor < 0 or socket.flags & LOST:
            return forget_output(socket)
        if written == BROKEN:
            return lose_connection(reactor, socket)
        if written == WOULD_BLOCK:
            written = 0
        if <size_t>written == corked + header_length + length:
            return 0
        if socket.rare is not None and socket.rare.output.first != NULL:
            return lose_connection(reactor, socket)  # something was queued meanwhile, which would get in between
    rare = rare_of(socket)
    if <size_t>written < corked:
        output_copy(&rare.output, reactor.cork + written, corked - <size_t>written)
        written = 0
    else:
        written -= <ssize_t>corked
    if <size_t>written < header_length:
        output_copy(&rare.output, header + written, header_length - <size_t>written)
        written = 0
    else:
        written -= <ssize_t>header_length
    if owner is not None and length - <size_t>written >= CHUNK_MINIMUM:
        output_reference(&rare.output, owner, payload + written, length - <size_t>written)
    else:
        output_copy(&rare.output, payload + written, length - <size_t>written)
    note_over(socket)
    update_interest(reactor, socket)
    return 0


cdef int write_output(Reactor reactor, Socket socket) except -1:
    """Writes what is queued, as far as the kernel takes it."""
    cdef uint64_t before
    cdef int problem
    cdef Rare rare
    if reactor.cork_owner is socket:
        uncork(reactor, socket)
    if socket.descriptor < 0:
        return 0
    rare = socket.rare
    if rare is not None and (rare.output.first != NULL or wants_to_write(rare)):
        before = rare.output.size
        if rare.tls is not None:
            problem = tls_write_output(reactor, socket, rare.tls) == BROKEN
            if socket.descriptor < 0 or socket.flags & LOST:
                output_clear(&rare.output)
                return forget_output(socket)
            if before < rare.output.size:
                before = rare.output.size
        else:
            problem = output_write(&rare.output, socket.descriptor)
        if problem != 0:
            return lose_connection(reactor, socket)
        rare.progress += before - rare.output.size
    after_write(reactor, socket)
    return 0


cdef int forget_output(Socket socket) except -1:
    """What runs in the midst of TLS has ended the connection: nothing that is unsent is of use any more."""
    if socket.rare is not None:
        drop_output(socket.rare)
    return 0


cdef int drop_output(Rare rare) except -1:
    """Forgets what is unsent. While TLS is at work on it, whoever has called that does it, behind it."""
    if rare.tls is None or not rare.tls.working:
        output_clear(&rare.output)
    return 0


cdef int after_write(Reactor reactor, Socket socket) except -1:
    """What becomes possible when the kernel has taken something."""
    cdef size_t left = buffered(socket)
    cdef Rare rare = socket.rare
    if left == 0:
        if rare is not None and rare.late_pong is not None:
            payload = rare.late_pong
            rare.late_pong = None
            answer_ping(reactor, socket, payload)
        if socket.flags & CLOSE_RECEIVED and socket.flags & CLOSE_SENT:
            end_transport(reactor, socket)
            if socket.descriptor < 0:
                return 0
        elif socket.flags & REFUSED:
            if rare is not None and rare.tls is not None:
                say_goodbye(reactor, socket, rare.tls)
            if socket.descriptor >= 0:
                shutdown(socket.descriptor, SHUT_WR)
        if socket.descriptor < 0:
            return 0
    if socket.flags & OVER and left <= socket.engine.max_backpressure // 2:
        socket.flags &= ~<uint32_t>OVER
        if socket.state == OPEN:
            deliver_later(reactor, socket, "drain", ())
    if rare is not None and rare.waiting is not None and left <= socket.engine.max_backpressure:
        rare.waiting.wake()
    update_interest(reactor, socket)
    return 0


cdef int lose_connection(Reactor reactor, Socket socket) except -1:
    """Nothing can be sent any more. What was received, the peer's close frame perhaps, is still delivered."""
    if socket.flags & LOST:
        return 0
    socket.flags |= LOST
    if socket.code == 0:
        socket.code = 1006
    if reactor.cork_owner is socket:
        reactor.cork_owner = None
        reactor.cork_length = 0
    if socket.rare is not None:
        drop_output(socket.rare)
        if socket.rare.tls is not None:
            socket.rare.tls.said_goodbye = True  # it cannot be, behind part of a record
            socket.rare.tls.sealed = None
            socket.rare.tls.sealed_from = 0
        socket.rare.late_pong = None
    end_waiting(reactor, socket)
    if socket.descriptor >= 0:
        update_interest(reactor, socket)
        push_ready(reactor, socket)
    return 0


cdef int end_waiting(Reactor reactor, Socket socket) except -1:
    if socket.rare is not None and socket.rare.waiting is not None:
        socket.rare.waiting.end(ConnectionClosed(socket.code or 1006, socket.rare.reason or ""))
    return 0


cdef int end_inbox(Reactor reactor, Socket socket) except -1:
    if socket.rare is not None and socket.rare.inbox is not None:
        socket.rare.inbox.end(socket.code or 1006, socket.rare.reason or "")
    return 0
