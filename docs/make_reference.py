"""Writes docs/reference from the docstrings of the public names: ``make reference``.

``--check`` writes nothing and says whether the pages are what the docstrings say.
"""

from __future__ import annotations

import enum
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

from gevent.server import StreamServer

import lws_gevent

FOLDER = Path(__file__).parent / "reference"

#: Page -> what it is about. Every public name stands on the first page whose rule takes it.
PAGES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "server": ("The server", lambda thing: thing is lws_gevent.Server),
    "client": ("The client", lambda thing: thing in (lws_gevent.Client, lws_gevent.connect, lws_gevent.reconnecting)),
    "socket": ("A connection", lambda thing: thing is lws_gevent.Socket),
    "errors": ("Errors", lambda thing: inspect.isclass(thing) and issubclass(thing, BaseException)),
    "values": ("Values", lambda thing: True),
}

#: Pages beside those, written by hand.
BY_HAND = {
    "options.md": "The options of a server",
    "events.md": "Its events",
    "client-options.md": "The options of a client",
    "engines.md": "The engines",
    "wsgi.md": "WSGI",
    "compat.md": "Interfaces of other libraries",
    "environment.md": "Environment variables",
    "commands.md": "The command lws-gevent",
}


#: What gevent's servers have too, with something to be said of it here.
DOCUMENTED_OF_GEVENT = ("start", "stop", "close", "serve_forever", "init_socket", "__enter__")


def public_names() -> list[str]:
    return [name for name in lws_gevent.__all__ if not name.startswith("__")]


def page_of(thing: object) -> str:
    return next(page for page, (_, takes) in PAGES.items() if takes(thing))


def text_of(thing: object) -> str:
    """The docstring, with reStructuredText's roles and double backquotes turned into Markdown's code."""
    text = inspect.getdoc(thing) or ""
    text = re.sub(r":\w+:`~?(?:lws_gevent\.)?([^`]+)`", r"`\1`", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


class Unquoted:
    """An annotation that is a string (they are not evaluated), shown without its quotes."""

    def __new__(cls, annotation: object) -> typing.Any:
        return super().__new__(cls) if isinstance(annotation, str) else annotation

    def __init__(self, annotation: object) -> None:
        self.annotation = annotation

    def __repr__(self) -> str:
        return str(self.annotation)


def signature_of(thing: Callable[..., object]) -> str:
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return "(...)"
    parameters = [
        parameter.replace(annotation=Unquoted(parameter.annotation))
        for name, parameter in signature.parameters.items()
        if name != "self"
    ]
    text = str(signature.replace(parameters=parameters, return_annotation=Unquoted(signature.return_annotation)))
    text = re.sub(r"ForwardRef\('([^']*)'\)", r"\1", text)  # the annotations of a NamedTuple
    text = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", text)
    text = re.sub(r"<\w+\.\w+: (\d+)>", r"\1", text)  # a member of an enumeration: its value
    return re.sub(r"\b(?:typing|collections\.abc|lws_gevent(?:\.\w+)*|gevent(?:\.\w+)*)\.(?=[A-Z])", "", text)


def members(cls: type) -> Iterator[tuple[str, object]]:
    """The public attributes that lws_gevent itself defines, in the order of their definition, bases last; without what
    is there for gevent, or for other modules, to call."""
    seen: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] != "lws_gevent":
            continue
        for name, value in vars(base).items():
            hook = (
                name in ("after_fork_in_child", "become_worker")
                or issubclass(cls, StreamServer)
                and (name == "handle" or (hasattr(StreamServer, name) and name not in DOCUMENTED_OF_GEVENT))
            )
            public = not name.startswith("_") or name in ("__iter__", "__enter__")
            if public and not hook and name not in seen:
                seen.add(name)
                if inspect.getdoc(getattr(cls, name, value)) and (callable(value) or isinstance(value, property)):
                    yield name, value


def describe(name: str, thing: object) -> Iterator[str]:
    """The lines of one public name."""
    if not inspect.isclass(thing):
        yield from (f"## `{name}{signature_of(thing) if callable(thing) else ''}`", "", text_of(thing), "")
        return
    if issubclass(thing, enum.Enum):
        yield from (f"## `{name}`", "", text_of(thing), "", "| | |", "|---|---|")
        yield from (f"| `{member.name}` | {member.value} |" for member in thing)
        yield ""
        return
    constructor = "" if inspect.isabstract(thing) or typing.is_typeddict(thing) else signature_of(thing)
    yield from (f"## `{name}{constructor.partition(' -> ')[0]}`", "", text_of(thing), "")
    if issubclass(thing, BaseException):
        return
    for member, value in members(thing):
        call = "" if isinstance(value, property) else signature_of(typing.cast(Callable[..., object], value))
        yield from (f"### `{member}{call}`", "", text_of(value), "")


def pages() -> dict[str, str]:
    """File name -> its text."""
    lines: dict[str, list[str]] = {page: [f"# {title}", ""] for page, (title, _) in PAGES.items()}
    index = ["# Reference", "", "| | |", "|---|---|"]
    for name in public_names():
        thing = getattr(lws_gevent, name)
        page = page_of(thing)
        lines[page] += describe(name, thing)
        index.append(
            f"| [`{name}`]({page}.md) | {text_of(thing).partition(chr(10) + chr(10))[0].replace(chr(10), ' ')} |"
        )
    index += ["", *(f"- [{title}]({page})" for page, title in BY_HAND.items())]
    texts = {f"{page}.md": "\n".join(rows).rstrip() + "\n" for page, rows in lines.items()}
    return {"index.md": "\n".join(index) + "\n", **texts}


def main() -> int:
    """Write the pages, or with --check compare; the exit status."""
    check = "--check" in sys.argv[1:]
    stale = []
    for name, text in pages().items():
        path = FOLDER / name
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if not check:
                path.write_text(text)
    if check and stale:
        print(f"not what the docstrings say: {', '.join(stale)}; run make reference", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
