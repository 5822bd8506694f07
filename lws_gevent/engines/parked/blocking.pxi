# Blocking style: `recv` and iteration.

cdef Inbox claim(Socket socket):
    """The inbox of a connection in blocking style; the first call makes it."""
    cdef Rare rare = socket.rare
    if rare is not None and rare.inbox is not None:
        return rare.inbox
    # A client that was closed waits for the server to end the connection: what was received before is there to be had.
    if not (socket.flags & CLIENT and socket.flags & CLOSE_RECEIVED and socket.descriptor >= 0) or socket.flags & (OWN_CLOSE | FAILED):
        check_open(socket)
    check_thread(socket.engine.reactor)
    make_inbox(socket)
    if socket.flags & CLOSE_RECEIVED and (socket.rare.pending_end == 0):
        end_inbox(socket.engine.reactor, socket)
    socket.flags |= CLAIMED
    current = getcurrent()
    socket.rare.claimed_by_handler = type(current) is HandlerGreenlet and (<Turn>current.turn).socket is socket
    update_interest(socket.engine.reactor, socket)
    push_ready(socket.engine.reactor, socket)
    return socket.rare.inbox


cdef int make_inbox(Socket socket) except -1:
    cdef Rare rare = rare_of(socket)
    rare.low_water = LowWater.__new__(LowWater, socket)
    rare.inbox = Inbox(rare.low_water)
    return 0


cdef class LowWater:
    """Called by an inbox when there is room again: its connection is read from again."""

    cdef Socket socket

    def __cinit__(self, Socket socket):
        self.socket = socket

    def __call__(self):
        cdef Socket socket = self.socket
        if socket is None:
            return  # it has ended: what waits in the inbox is all there is
        if socket.descriptor >= 0 and socket.engine is not None and not socket.interest & INTEREST_READ:
            update_interest(socket.engine.reactor, socket)
            push_ready(socket.engine.reactor, socket)
