# The messages of one connection that is read in blocking style: as lws_gevent/inbox.py, which is the greenlet engine's, for thousands
# of greenlets that wait. What lies on the C stack between a greenlet and its hub is kept for as long as it waits.

@cython.final
cdef class Inbox:
    """A queue with one reader; see :class:`lws_gevent.inbox.Inbox`."""

    cdef object low_water
    cdef list messages
    cdef object reader       # the greenlet that waits
    cdef object reason       # of the end, a str or of a class derived from it; None: more may come
    cdef int code
    cdef bint late           # the reader has waited for long enough
    cdef readonly Py_ssize_t size

    def __cinit__(self, low_water):
        self.low_water = low_water

    cpdef int put(self, message) except -1:
        """Adds a message behind the others and wakes the reader."""
        if self.messages is None:
            self.messages = []
        self.messages.append(message)
        self.size += len(message) + MESSAGE_OVERHEAD
        self.wake()
        return 0

    cpdef int end(self, int code, reason) except -1:
        """No more messages will come: the reader gets those that are there, and ConnectionClosed from then on."""
        if self.reason is None:
            self.code, self.reason = code, reason
            self.wake()
        return 0

    cpdef get(self, timeout=None):
        """The next message; the calling greenlet waits for it at most `timeout` seconds."""
        if timeout is None or self.messages:
            self.wait()
        else:
            self.wait_until(timeout)
        if self.messages:
            return self.take()
        if self.reason is not None:
            raise ConnectionClosed(self.code, self.reason)
        raise TimeoutError("no message within the timeout")

    def __iter__(self):
        return self

    def __next__(self):
        """The next message; the iteration ends on close codes 1000 and 1001."""
        self.wait()
        if self.messages:
            return self.take()
        if self.code in (1000, 1001):
            raise StopIteration
        raise ConnectionClosed(self.code, self.reason)

    cdef take(self):
        cdef Py_ssize_t before = self.size
        message = self.messages.pop(0)
        self.size = before - len(message) - MESSAGE_OVERHEAD
        if before > INBOX_LIMIT // 2 >= self.size:
            self.low_water()
        return message

    cdef int wait(self) except -1:
        """Until there is a message, or the end, or the reader has waited for long enough."""
        cdef PyObject *switched = NULL
        if self.reader is not None:
            raise RuntimeError("another greenlet is already receiving from this connection")
        while not self.messages and self.reason is None and not self.late:  # anybody may switch back
            hub = get_hub()
            self.reader = getcurrent()
            if self.reader is hub:
                self.reader = None
                raise RuntimeError("recv() would block the hub: call it in a greenlet")
            # Not as `try: hub.switch()`: what that keeps on the stack is more than all the rest.
            switched = PyObject_CallMethodNoArgs(hub, SWITCH)
            self.reader = None
            if switched == NULL:
                return -1
            Py_DECREF(<object>switched)
        return 0

    cdef int wait_until(self, timeout) except -1:
        # Not gevent.Timeout: nothing may be thrown into this greenlet once it goes on.
        timer = get_hub().loop.timer(max(timeout, 0))
        timer.start(expire, self, update=True)
        try:
            self.wait()
        finally:
            self.late = False
            timer.stop()
            timer.close()
        return 0

    cdef int wake(self) except -1:
        if self.reader is not None:
            get_hub().loop.run_callback(self)
        return 0

    def __call__(self):
        """In the hub: the reader goes on, if it still waits."""
        if self.reader is None:
            return
        try:
            self.reader.switch()
        except BaseException as error:
            get_hub().handle_error(self, type(error), error, error.__traceback__)


cdef str SWITCH = "switch"


def expire(Inbox inbox not None):
    inbox.late = True
    inbox()
