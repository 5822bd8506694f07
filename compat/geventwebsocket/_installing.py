"""``import geventwebsocket`` finds the compatible package."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_NAME, _OURS = "geventwebsocket", "lws_gevent.compat.geventwebsocket"


class _Loader(Loader):
    """Gives a module of ours for another name; it is one module under two names."""

    def __init__(self, ours: str) -> None:
        self._ours = ours
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._ours)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has written that of the other name over it


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_NAME + "."):
            return None
        ours = _OURS + fullname[len(_NAME) :]
        if importlib.util.find_spec(ours) is None:
            return None
        return ModuleSpec(fullname, _Loader(ours))


_finder = _Finder()


def install(package: ModuleType) -> None:
    """See `lws_gevent.compat.geventwebsocket.install`."""
    if sys.modules.get(_NAME, package) is not package:
        raise RuntimeError("install() has to be called before gevent-websocket is imported")
    sys.modules[_NAME] = package
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
