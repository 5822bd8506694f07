"""The version."""

from __future__ import annotations

from typing import Any

__all__ = ["get_version"]


def get_version(version: tuple[Any, ...] | None = None) -> str:
    """A tuple such as `VERSION` as text (PEP 440)."""
    if version is None:
        from lws_gevent.compat.geventwebsocket import VERSION

        version = VERSION
    if len(version) != 5 or version[3] not in ("alpha", "beta", "rc", "final"):
        raise ValueError("a version is (major, minor, micro, 'alpha', 'beta', 'rc' or 'final', number)")
    main = ".".join(str(part) for part in version[: 2 if version[2] == 0 else 3])
    return (
        main if version[3] == "final" else f"{main}{ {'alpha': 'a', 'beta': 'b', 'rc': 'c'}[version[3]] }{version[4]}"
    )
