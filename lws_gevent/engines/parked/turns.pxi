# Handlers run in pooled greenlets, one turn after the other (rule 3).

cdef extern from "Python.h":
    PyObject **_PyObject_GetDictPtr(object thing)


cdef bint has_attributes(object greenlet):
    """Whether a handler has set attributes of its own on the greenlet, `name` among them. Does not make the dict that it looks at."""
    cdef PyObject **attributes = _PyObject_GetDictPtr(greenlet)
    return attributes != NULL and attributes[0] != NULL and len(<dict>attributes[0]) > 0


class HandlerGreenlet(Greenlet):
    """A pooled greenlet in which handlers run. `repr` and `gevent.util.print_run_info` show the handler and the connection."""

    __slots__ = ("turn",)

    def __init__(self, turn):
        Greenlet.__init__(self)
        self.turn = turn

    def _run(self):
        (<Turn>self.turn).run()

    def throw(self, *args):
        """As that of any greenlet; whoever kills a greenlet waits for its end, so it is not pooled again."""
        (<Turn>self.turn).retired = True
        return Greenlet.throw(self, *args)

    def _formatinfo(self):
        return (<Turn>self.turn).describe()


@cython.final
cdef class Turn:
    """One pooled greenlet and what it is doing."""
    cdef Reactor reactor
    cdef object greenlet
    cdef object switch
    cdef Socket socket
    cdef object event            # name of the event whose handler runs
    cdef bint assigned
    cdef bint retired
    cdef Py_ssize_t idle_references
    cdef size_t calls            # handler calls left for this connection in this turn
    cdef size_t octets           # octets to read left for this connection in this turn

    def __cinit__(self, Reactor reactor):
        self.reactor = reactor

    cdef str describe(self):
        if self.socket is None:
            return "idle handler greenlet"
        return f"{self.event or 'no'} handler of {self.socket!r}"

    cdef int run(self) except -1:
        """Parks until the reactor assigns a round to it, works, parks again. Whatever arrives while it is parked only retires it."""
        cdef Reactor reactor = self.reactor
        try:
            while not self.retired:
                try:
                    reactor.hub_switch()
                except BaseException:
                    break
                if self.assigned:  # and not a stray switch by something that a handler has left behind
                    self.assigned = False
                    work_off(reactor, self)
                    if reactor.registered == 0 or len(reactor.pool) >= POOL_SIZE:
                        self.retired = True  # nothing is left that it could be kept for
                    elif lws_has_context() or self.greenlet.has_links():
                        self.retired = True  # marked; what else marks it shows when nobody runs it, in take_turn
                    if not self.retired:
                        reactor.pool.append(self)
        finally:
            self.retired = True
            reactor.turns.discard(self)
            if self in reactor.pool:
                reactor.pool.remove(self)
            self.switch = None
            self.greenlet = None
        return 0

    cdef bint is_marked(self, Py_ssize_t references):
        """Whether a handler has left something on this greenlet that the next connection must not see (rule 3)."""
        return (
            lws_references(self.greenlet) != references
            or lws_has_weak_references(self.greenlet)
            or has_attributes(self.greenlet)
            or self.greenlet.has_links()
        )
