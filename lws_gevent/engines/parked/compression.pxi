# permessage-deflate (RFC 7692). What compresses and inflates is Python, so what a call of it needs is copied before, and everything
# is looked up again after it (rule 5).

@cython.final
@cython.no_gc
cdef class Agreed:
    """What connections with the same parameters share: an idle one keeps nothing of its own."""
    cdef object parameters   # DeflateParameters
    cdef object role
    cdef str header          # what Socket.extensions says
    cdef object deflate      # without context takeover in either direction: a Deflate for whole messages; else None


cdef int set_deflate(Socket socket, parameters) except -1:
    """Has an open connection compress as was agreed on; None: not at all."""
    cdef ParkedEngine engine = socket.engine
    cdef Agreed agreed
    cdef Rare rare
    if parameters is None or engine.context.deflaters is None:
        return 0
    role = Role.CLIENT if socket.flags & CLIENT else Role.SERVER
    agreed = engine.agreed.get((role, parameters))
    if agreed is None:
        agreed = Agreed.__new__(Agreed)
        agreed.parameters = parameters
        agreed.role = role
        agreed.header = parameters.header()
        if parameters.server_no_context_takeover and parameters.client_no_context_takeover:
            agreed.deflate = engine.context.new_deflate(parameters, role)
        engine.agreed[(role, parameters)] = agreed
    rare = rare_of(socket)
    rare.extensions = agreed.header
    rare.agreed = agreed
    rare.deflate = agreed.deflate
    socket.protocol.flags |= LWS_COMPRESSION_NEGOTIATED
    return 0


cdef object new_deflate(Socket socket, Agreed agreed):
    return socket.engine.context.new_deflate(agreed.parameters, agreed.role)


cdef inline object deflate_of(Socket socket):
    """What the connection compresses with; None when nothing was agreed on, or it has ended."""
    cdef Rare rare = socket.rare
    if rare is None or rare.agreed is None:
        return None
    if rare.deflate is None:
        rare.deflate = new_deflate(socket, rare.agreed)
    return rare.deflate


cdef inline int forget_deflate(Socket socket) except -1:
    """Nothing is compressed or inflated any more."""
    if socket.rare is not None and socket.rare.agreed is not None:
        socket.rare.agreed = None
        socket.rare.deflate = None
        socket.rare.inflating = None
        socket.rare.inflation = None
    return 0


cdef inline bint is_compressed(Socket socket, size_t length, compress):
    """Whether a message of so many octets is to be compressed; `compress`: what its sender says to that."""
    if socket.rare is None or socket.rare.agreed is None:
        return False
    return length >= socket.engine.threshold if compress is None else bool(compress)


cdef int take_compressed(
    Reactor reactor, Turn turn, Socket socket, bytes part, uint8_t opcode, bint first, bint last
) except -1:
    """Inflates the next part of a compressed message and delivers the message when it is the last. 1: to go on with decoding;
    0: others first, for little that came in has become much."""
    cdef Rare rare = socket.rare
    cdef const uint8_t *octets
    cdef size_t length
    cdef size_t before
    cdef uint64_t limit = limits_of(socket).max_payload
    cdef bint validate = opcode == LWS_TEXT and limits_of(socket).validate_utf8
    if rare is None or rare.agreed is None:
        return 1  # it has ended
    if socket.engine.buffer_size:
        return begin_inflation(socket, part, opcode, first, last)
    before = 0 if rare.assembly is None else rare.assembly.length
    room = None if limit == UINT64_MAX else <object>(limit - before)
    try:
        if first and last:
            deflate = deflate_of(socket)
        else:
            if rare.inflating is None:
                # Between its parts a message needs something of its own.
                rare.inflating = deflate_of(socket) if rare.agreed.deflate is None else new_deflate(socket, rare.agreed)
            deflate = rare.inflating
        inflated = deflate.decompress(part, room, last)
    except ProtocolError as error:
        # Another one: the traceback of this one holds what was inflated, for as long as somebody keeps the error.
        return fail_compressed(reactor, socket, type(error)(error.close_code, error.problem))
    except Exception:  # MemoryError
        return fail_compressed(reactor, socket, ProtocolError(1011, "a compressed message could not be inflated"))
    if socket.rare is not rare or rare.agreed is None:
        return 1
    octets = <const uint8_t *>PyBytes_AS_STRING(inflated)
    length = <size_t>PyBytes_GET_SIZE(inflated)
    if validate:
        rare.inflated_utf8 = lws_utf8_check(LWS_UTF8_ACCEPT if first else rare.inflated_utf8, octets, length)
        if rare.inflated_utf8 == LWS_UTF8_REJECT or (last and rare.inflated_utf8 != LWS_UTF8_ACCEPT):
            return fail_compressed(reactor, socket, ProtocolError(1007, "a text message is not UTF-8"))
    turn.octets -= min(length, turn.octets)
    reactor.round_octets += length
    if first and last:
        if opcode == LWS_TEXT:
            message = PyUnicode_DecodeUTF8(<const char *>octets, <Py_ssize_t>length, b"replace")
        else:
            message = inflated
    else:
        if rare.assembly is None:
            rare.assembly = MessageAssembly.__new__(MessageAssembly)
        rare.assembly.append(octets, length)
        if not last:
            return may_go_on(reactor, turn, socket)
        message = rare.assembly.finish(opcode == LWS_TEXT)
        rare.assembly = None
        rare.inflating = None
    inflated = None
    deflate = None
    deliver_message(reactor, turn, socket, message, opcode == LWS_BINARY)
    return may_go_on(reactor, turn, socket)


cdef int begin_inflation(Socket socket, bytes part, uint8_t opcode, bint first, bint last) except -1:
    """As take_compressed where messages come in pieces: `take_inflated` then inflates no more at a time than a piece needs."""
    cdef Rare rare = socket.rare
    cdef uint64_t limit = limits_of(socket).max_payload
    cdef size_t size = socket.engine.buffer_size
    if first:
        rare.inflated = 0
        rare.inflated_utf8 = LWS_UTF8_ACCEPT
    if rare.inflating is None:
        # Between its pieces a message needs something of its own.
        rare.inflating = deflate_of(socket) if rare.agreed.deflate is None else new_deflate(socket, rare.agreed)
    if rare.assembly is None:
        rare.assembly = MessageAssembly.__new__(MessageAssembly)
    room = None if limit == UINT64_MAX else <object>(limit - rare.inflated)
    rare.inflation_opcode = opcode
    rare.inflation_last = last
    # Behind a cut, as many octets of a text may stay as a character has at most, but one.
    rare.inflation = rare.inflating.inflate(part, room, last, size - 3 if opcode == LWS_TEXT else size)
    return 1


cdef int take_inflated(Reactor reactor, Turn turn, Socket socket) except -1:
    """Inflates some more, and delivers a piece when there is one. 1 and 0 as `take_compressed`."""
    cdef Rare rare = socket.rare
    cdef const uint8_t *octets
    cdef size_t length
    cdef size_t room
    cdef bint text = rare.inflation_opcode == LWS_TEXT
    cdef bint validate = text and limits_of(socket).validate_utf8
    try:
        inflated = next(rare.inflation, None)
    except ProtocolError as error:
        rare.inflation = None
        return fail_compressed(reactor, socket, type(error)(error.close_code, error.problem))
    except Exception:  # MemoryError
        rare.inflation = None
        return fail_compressed(reactor, socket, ProtocolError(1011, "a compressed message could not be inflated"))
    if socket.rare is not rare or rare.agreed is None or rare.assembly is None:
        return 1
    if inflated is None:
        rare.inflation = None
        if not rare.inflation_last:
            return 1
        rare.inflating = None
        if validate and rare.inflated_utf8 != LWS_UTF8_ACCEPT:
            return fail_compressed(reactor, socket, ProtocolError(1007, "a text message ends inside a character"))
        message = rare.assembly.finish(text)
        rare.assembly = None
        deliver_message(reactor, turn, socket, message, not text)
        return may_go_on(reactor, turn, socket)
    octets = <const uint8_t *>PyBytes_AS_STRING(inflated)
    length = <size_t>PyBytes_GET_SIZE(inflated)
    rare.inflated = rare.inflated + length
    if validate:
        rare.inflated_utf8 = lws_utf8_check(rare.inflated_utf8, octets, length)
        if rare.inflated_utf8 == LWS_UTF8_REJECT:
            rare.inflation = None
            return fail_compressed(reactor, socket, ProtocolError(1007, "a text message is not UTF-8"))
    turn.octets -= min(length, turn.octets)
    reactor.round_octets += length
    room = room_of_piece(socket, rare)
    if length <= room or not comes_in_pieces(socket):
        rare.assembly.append(octets, length)
        return may_go_on(reactor, turn, socket)
    rare.assembly.append(octets, room)
    message = rare.assembly.cut(text)
    rare.assembly.append(octets + room, length - room)
    inflated = None
    deliver_message(reactor, turn, socket, message, not text, rare.assembly.length)
    return may_go_on(reactor, turn, socket)


cdef int may_go_on(Reactor reactor, Turn turn, Socket socket) except -1:
    """Rule 8 for what was inflated."""
    if turn.octets > 0:
        return 1
    keep_rest(reactor, socket)
    push_ready(reactor, socket)
    return 0


cdef int fail_compressed(Reactor reactor, Socket socket, error) except -1:
    socket.protocol.flags |= LWS_RECEIVE_ENDED
    fail_with(reactor, socket, error)
    return 1


cdef object send_compressed(Socket socket, bytes octets, uint8_t opcode, bint fin):
    """Compresses and queues a message or a fragment of one, whose sender has met the back-pressure."""
    cdef bytes compressed = deflate_of(socket).compress(octets, fin)
    check_open(socket)
    queue_frame(
        socket, opcode if opcode == LWS_CONTINUATION else opcode | RSV1, fin,
        <const uint8_t *>PyBytes_AS_STRING(compressed), <size_t>PyBytes_GET_SIZE(compressed), compressed,
    )
    return True
