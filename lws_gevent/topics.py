"""Topics (layer 3): who has subscribed to what, and messages to all of them.

A connection that has subscribed to nothing is not known here and costs nothing. The others stand in one table by topic,
which publishing walks, and in one by connection, by which the end of a connection finds what it was subscribed to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lws_gevent.engines.interface import Engine, Socket
    from lws_gevent.prepared import Prepared

__all__ = ["Topics", "check_slow"]


class Topics:
    """The subscriptions of one server's connections. Nothing in here blocks or runs user code.

    Engines call `add` for open connections only, and `forget` for each that was ever added, once its ``close`` handlers
    have returned.
    """

    __slots__ = ("_by_socket", "_by_topic", "_engine", "_prepare", "on_publish")

    def __init__(self, engine: Engine, prepare: Callable[[Any, bool | None], Prepared]) -> None:
        """`prepare` encodes a message, or gives a Prepared the kind that is asked for."""
        self._engine = engine
        self._prepare = prepare
        #: Called before each `publish`, when it is not None.
        self.on_publish: Callable[[], None] | None = None
        self._by_topic: dict[str, dict[Socket, None]] = {}
        #: One topic by itself, several as the keys of a dict: most connections have one, and many share its name.
        self._by_socket: dict[Socket, str | dict[str, None]] = {}

    def add(self, socket: Socket, topic: str) -> bool:
        """Subscribes; whether it was not subscribed before. TypeError: a topic that is no str."""
        subscribers = self._by_topic.get(_checked(topic))
        if subscribers is None:
            subscribers = self._by_topic[topic] = {}
        elif socket in subscribers:
            return False
        subscribers[socket] = None
        topics = self._by_socket.get(socket)
        if topics is None:
            self._by_socket[socket] = topic
        elif isinstance(topics, str):
            self._by_socket[socket] = {topics: None, topic: None}
        else:
            topics[topic] = None
        return True

    def discard(self, socket: Socket, topic: str) -> bool:
        """Undoes `add`; whether it was subscribed. TypeError: a topic that is no str."""
        subscribers = self._by_topic.get(_checked(topic))
        if subscribers is None or socket not in subscribers:
            return False
        self._leave(socket, topic)
        topics = self._by_socket[socket]
        if isinstance(topics, dict) and len(topics) > 1:
            del topics[topic]
        else:
            del self._by_socket[socket]
        return True

    def forget(self, socket: Socket) -> None:
        """The connection has ended: it is subscribed to nothing. Does nothing when it was not."""
        topics = self._by_socket.pop(socket, ())
        for topic in (topics,) if isinstance(topics, str) else topics:
            self._leave(socket, topic)

    def clear(self) -> None:
        """Forgets all connections."""
        self._by_topic.clear()
        self._by_socket.clear()

    def _leave(self, socket: Socket, topic: str) -> None:
        subscribers = self._by_topic[topic]
        del subscribers[socket]
        if not subscribers:
            del self._by_topic[topic]

    def of(self, socket: Socket) -> list[str]:
        """What it is subscribed to, in the order of subscribing."""
        topics = self._by_socket.get(socket, ())
        return [topics] if isinstance(topics, str) else list(topics)

    def subscribers(self, topic: str) -> list[Socket]:
        """Who is subscribed, a snapshot in the order of subscribing; connections that have ended are left out."""
        return [socket for socket in self._by_topic.get(_checked(topic), ()) if not socket.closed]

    def publish(
        self,
        topic: str,
        message: str | bytes | Prepared,
        binary: bool | None = None,
        exclude: Collection[Socket] = (),
        slow: str = "close",
    ) -> int:
        """Sends to those that are subscribed when it is called; see `Server.publish`. A message for nobody is not even
        encoded."""
        check_slow(slow)
        if self.on_publish is not None:
            self.on_publish()
        subscribers = self._by_topic.get(_checked(topic))
        if not subscribers:
            return 0
        return self._engine.broadcast(self._prepare(message, binary), exclude, slow, list(subscribers))


def _checked(topic: str) -> str:
    if not isinstance(topic, str):
        raise TypeError(f"a topic must be a str, not {type(topic).__name__}")
    return topic


def check_slow(slow: str) -> None:
    """ValueError when `slow` does not say what becomes of a receiver that is over its limit."""
    if slow not in ("close", "drop"):
        raise ValueError(f"slow must be 'close' or 'drop', not {slow!r}")
