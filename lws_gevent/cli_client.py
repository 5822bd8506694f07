"""What the commands that connect to a server have in common (layer 4): their options, and errors of the user's."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["CommandError", "add_client_arguments", "client_options", "number", "seconds"]


class CommandError(Exception):
    """What the user asked for cannot be done; the text is the one line that says why."""


def number(text: str) -> int:
    """An argument that is an int from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def seconds(text: str) -> float:
    """An argument that is a time."""
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")
    return value


def add_client_arguments(parser: argparse.ArgumentParser) -> None:
    """How to connect."""
    parser.add_argument("url", metavar="URL", help="ws://, wss:// or unix:/path:/target")
    parser.add_argument(
        "-H",
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="a header; repeatable",
    )
    parser.add_argument("--subprotocol", action="append", default=[], metavar="NAME", help="offer it; repeatable")
    parser.add_argument("--origin", metavar="ORIGIN", help="the header Origin")
    parser.add_argument("--compression", action="store_true", help="offer permessage-deflate (RFC 7692)")
    parser.add_argument("--insecure", action="store_true", help="take any certificate of anybody")
    parser.add_argument("--ca", metavar="FILE", help="who signs the server's certificate (PEM; default: the system's)")
    parser.add_argument("--cert", metavar="FILE", help="the client's own certificate (PEM)")
    parser.add_argument("--key", metavar="FILE", help="its private key")
    parser.add_argument("--proxy", metavar="URL", help="http://, socks5:// and the like; env: the environment's")
    parser.add_argument("--timeout", type=seconds, default=10, metavar="SECONDS", help="(default: %(default)g)")
    parser.add_argument(
        "--engine", choices=("auto", "parked", "greenlet"), default="auto", help="(default: %(default)s)"
    )


def client_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of `lws_gevent.Client` for them. CommandError for a header that is none."""
    headers = []
    for line in arguments.header:
        name, colon, value = line.partition(":")
        if not colon:
            raise CommandError(f"--header {name!r} is not 'NAME: VALUE'")
        headers.append((name.strip(), value.strip()))
    tls: dict[str, Any] = {key: getattr(arguments, key) for key in ("ca", "cert", "key") if getattr(arguments, key)}
    if arguments.insecure:
        tls["reject_unauthorized"] = False
    return {
        "engine": arguments.engine,
        "headers": headers,
        "subprotocols": arguments.subprotocol,
        "origin": arguments.origin,
        "per_message_deflate": arguments.compression,
        "ssl": tls or None,
        "proxy": True if arguments.proxy == "env" else arguments.proxy,
        "timeout": arguments.timeout,
    }


number.__name__ = "number"
seconds.__name__ = "number of seconds"
