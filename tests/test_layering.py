"""The layers of the library, held against its sources: a module imports from lower layers, or from rows above its own.

A new module needs a row here. Modules of one group (`lws_gevent.engines.*`) may import each other, but not in circles.
Imports inside functions count as well; those for type checkers alone (`if TYPE_CHECKING`) do not run and do not count.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lws_gevent

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lws_gevent"

#: Layer and module, from the bottom to the top. A name that ends with .* is a group.
ROWS: tuple[tuple[int, str], ...] = (
    (0, "lws_gevent._version"),
    (0, "lws_gevent.errors"),
    (0, "lws_gevent.wording"),
    (0, "lws_gevent.frames"),
    (0, "lws_gevent.events"),
    (1, "lws_gevent._c_core"),
    (1, "lws_gevent.handshake"),
    (1, "lws_gevent.proxy_protocol"),
    (1, "lws_gevent.forwarded"),
    (1, "lws_gevent.extensions"),
    (1, "lws_gevent.deflate"),
    (1, "lws_gevent.url"),
    (1, "lws_gevent.client_handshake"),
    (1, "lws_gevent._codec"),
    (1, "lws_gevent._request_head_py"),
    (1, "lws_gevent._codec_py"),
    (1, "lws_gevent.codec"),
    (1, "lws_gevent.prepared"),
    (2, "lws_gevent.after_fork"),
    (2, "lws_gevent.listening"),
    (2, "lws_gevent.access_log"),
    (2, "lws_gevent.tls"),
    (2, "lws_gevent.tls_transport"),
    (2, "lws_gevent.options"),
    (2, "lws_gevent.adopting"),
    (2, "lws_gevent.foreign_request"),
    (2, "lws_gevent.wsgi_socket"),
    (2, "lws_gevent.wsgi_upgrade"),
    (2, "lws_gevent.tls_blocking"),
    (2, "lws_gevent.tls_relay"),
    (2, "lws_gevent.wsgi_handler"),
    (2, "lws_gevent.wsgi_service"),
    (2, "lws_gevent.taken_requests"),
    (2, "lws_gevent.context"),
    (2, "lws_gevent.streams"),
    (2, "lws_gevent.proxies"),
    (2, "lws_gevent.client_options"),
    (2, "lws_gevent.inbox"),
    (2, "lws_gevent.waiting_senders"),
    (2, "lws_gevent.engines.*"),
    (3, "lws_gevent.topics"),
    (3, "lws_gevent.endpoint"),
    (3, "lws_gevent.workers"),
    (3, "lws_gevent.server"),
    (3, "lws_gevent.connecting"),
    (3, "lws_gevent.client"),
    (3, "lws_gevent.reconnecting"),
    (3, "lws_gevent"),  # its __init__.py: the public names
    (4, "lws_gevent.wsgi_websocket"),
    (4, "lws_gevent.wsgi"),
    (4, "lws_gevent.flask"),
    (4, "lws_gevent.gunicorn"),
    (4, "lws_gevent.cli_page"),
    (4, "lws_gevent.cli_client"),
    (4, "lws_gevent.cli_connect"),
    (4, "lws_gevent.cli_bench"),
    (4, "lws_gevent.cli"),
    (4, "lws_gevent.__main__"),
)

#: What layers 0 and 1 never import: they know nothing of input, output, threads and time.
FORBIDDEN_BELOW_2 = frozenset(
    {"gevent", "greenlet", "socket", "_socket", "ssl", "_ssl", "select", "selectors", "threading", "_thread", "time"}
)

#: Which packages of others each layer may import.
OTHERS = {
    0: frozenset[str](),
    1: frozenset({"wsproto", "h11", "isal"}),
    2: frozenset({"gevent", "greenlet"}),
    3: frozenset({"gevent", "greenlet"}),
    4: frozenset({"flask", "gevent", "greenlet", "gunicorn", "matplotlib", "rich"}),
}

_CYTHON_IMPORT = re.compile(
    r"^[ \t]*(?:from\s+(?P<package>[\w.]+)\s+c?import\s+(?:\((?P<list>[^)]*)\)|(?P<names>[^\n#(]*))"
    r"|c?import\s+(?P<module>[\w.]+))",
    re.MULTILINE,
)


def module_name(path: Path) -> str:
    """The dotted name of a source file."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> list[Path]:
    """Every Python and Cython source of the library; compat has rules of its own."""
    found = [path for kind in ("*.py", "*.pyx", "*.pxd") for path in PACKAGE.rglob(kind)]
    return sorted(path for path in found if "compat" not in path.relative_to(PACKAGE).parts)


MODULES = {module_name(path) for path in sources()}


def test_the_table_of_the_design_has_the_same_modules_in_the_same_order() -> None:
    rows = re.findall(r"^\| (\d) \| (`.*?) \|", (ROOT / "docs" / "design.md").read_text(), re.MULTILINE)
    told = [(int(layer), name) for layer, names in rows for name in re.findall(r"`([\w.*]+)`", names)]
    held = [(layer, name.removeprefix("lws_gevent.")) for layer, name in ROWS if name != "lws_gevent"]
    assert [(layer, name) for layer, name in told if name != "_c_core.pxd"] == [
        (layer, name) for layer, name in held if name != "_c_core"
    ]


def row_of(module: str) -> int:
    """The index of the module's row; KeyError when it has none."""
    for index, (_, name) in enumerate(ROWS):
        group = name.removesuffix(".*")
        if module == name or (name.endswith(".*") and (module == group or module.startswith(group + "."))):
            return index
    raise KeyError(module)


def resolve(package: str, name: str) -> str:
    """What ``from package import name`` imports: a module, or a name out of the package."""
    return f"{package}.{name}" if f"{package}.{name}" in MODULES or package == "lws_gevent.compat" else package


def python_imports(node: ast.AST) -> Iterator[str]:
    """The modules that a piece of Python source imports when it runs."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0 and node.module, f"line {node.lineno}: imports are absolute"
        yield from (resolve(node.module, alias.name) for alias in node.names)
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for statement in node.orelse:
            yield from python_imports(statement)
    else:
        for child in ast.iter_child_nodes(node):
            yield from python_imports(child)


def cython_imports(text: str) -> Iterator[str]:
    """The modules that a Cython source imports or cimports."""
    for match in _CYTHON_IMPORT.finditer(text):
        if match["module"]:
            yield match["module"]
        else:
            names = [name.split(" as ")[0].strip() for name in (match["list"] or match["names"]).split(",")]
            yield from {resolve(match["package"], name) for name in names if name}


def imports_of(path: Path) -> set[str]:
    """Everything that a source of the library imports, by its dotted name."""
    text = path.read_text(encoding="utf-8")
    for part in re.findall(r'^include "(.+)"$', text, re.MULTILINE):
        text += (path.parent / part).read_text(encoding="utf-8")
    if path.suffix == ".py":
        return set(python_imports(ast.parse(text, str(path))))
    return {name for name in cython_imports(text) if name.split(".")[0] not in ("cython", "cpython", "libc")}


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_only_what_stands_below_it(path: Path) -> None:
    module = module_name(path)
    own_row = row_of(module)
    layer = ROWS[own_row][0]
    for imported in sorted(imports_of(path)):
        top = imported.split(".")[0]
        assert layer >= 2 or top not in FORBIDDEN_BELOW_2, f"layer {layer} must not import {imported}"
        if top != "lws_gevent":
            assert top in sys.stdlib_module_names or top in OTHERS[layer], f"layer {layer} must not import {imported}"
            continue
        assert not imported.startswith("lws_gevent.compat"), "the library does not know its compat modules"
        row = row_of(imported)
        in_the_group = row == own_row and (ROWS[row][1].endswith(".*") or imported == module)
        assert row < own_row or in_the_group, f"{imported} does not stand below {module}"


def test_imports_in_a_group_do_not_go_round_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    for path in sources():
        module = module_name(path)
        graph.setdefault(module, set()).update(name for name in imports_of(path) if name in MODULES and name != module)
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above, module))
        if module not in done:
            for imported in sorted(graph.get(module, ())):
                visit(imported, (*above, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


def test_every_row_is_a_module() -> None:
    for _, name in ROWS:
        assert any(row_of(module) == row_of(name.removesuffix(".*")) for module in MODULES), f"there is no {name}"
    layers = [layer for layer, _ in ROWS]
    assert layers == sorted(layers)


def test_the_c_core_knows_nothing_of_python() -> None:
    included = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)', re.MULTILINE)
    own = {path.name for path in (PACKAGE / "c_core").iterdir()}
    for path in (PACKAGE / "c_core").glob("*.[ch]"):
        for bracket, name in included.findall(path.read_text(encoding="utf-8")):
            assert (name in own) if bracket == '"' else (name not in ("Python.h", "sys/socket.h", "unistd.h")), (
                path.name
            )


def test_compat_stands_on_public_names_only() -> None:
    for path in sorted((ROOT / "compat").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0 and node.module, f"{path.name}: imports are absolute"
                if node.module == "lws_gevent":
                    private = {alias.name for alias in node.names} - {*lws_gevent.__all__, "compat", "wsgi"}
                    assert not private, f"{path.name} imports {private}"
                    continue
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                top = name.split(".")[0]
                assert top != "compat", f"{path.name}: from lws_gevent.compat import ..."
                public = name in ("lws_gevent", "lws_gevent.gunicorn") or name.startswith("lws_gevent.compat")
                assert top != "lws_gevent" or public, f"{path.name} imports {name}"


# The checks themselves


def test_the_checker_sees_imports_wherever_they_stand() -> None:
    source = """
import os, lws_gevent.errors
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from lws_gevent.server import Server
else:
    import json
def f():
    try:
        from lws_gevent import codec, Server
    except ImportError:
        import ssl
"""
    found = set(python_imports(ast.parse(source)))
    assert found == {"os", "lws_gevent.errors", "typing", "json", "lws_gevent.codec", "lws_gevent", "ssl"}


def test_the_checker_sees_cython_imports() -> None:
    source = "cimport cython\nfrom lws_gevent._codec cimport (\n    A,\n    B)\n"
    source += "from lws_gevent import errors as e\n  import time\n"
    assert set(cython_imports(source)) == {"cython", "lws_gevent._codec", "lws_gevent.errors", "time"}
