"""The distribution: what is in the sdist and the wheel, and that they install and work outside the source tree.

These build and install, which takes a minute: they run where tools are required, and skip elsewhere.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tools import REQUIRED, missing

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.13")
SLOW = "takes a minute: runs with CI=true or LWS_GEVENT_REQUIRE_TOOLS=1"

#: Run by the installed package in an empty folder: the command's server, and a client that shares nothing with it.
SMOKE = """
import base64, os, socket, subprocess, sys
import lws_gevent, lws_gevent.compat
from lws_gevent import codec
assert not lws_gevent.__file__.startswith(sys.argv[1]), lws_gevent.__file__
assert codec.load().name == sys.argv[2], codec.load().name
program = os.path.join(os.path.dirname(sys.executable), "lws-gevent")
server = subprocess.Popen([program, "echo", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
port = int(server.stdout.readline().rpartition(":")[2])
client = socket.create_connection(("127.0.0.1", port), 20)
client.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
               b"Sec-WebSocket-Version: 13\\r\\n"
               b"Sec-WebSocket-Key: " + base64.b64encode(os.urandom(16)) + b"\\r\\n\\r\\n")
answers = client.makefile("rb")
assert b" 101 " in answers.readline()
while answers.readline() != b"\\r\\n":
    pass
client.sendall(b"\\x81\\x85\\0\\0\\0\\0hello")
assert answers.read(7) == b"\\x81\\x05hello"
server.terminate()
client.sendall(b"\\x88\\x82\\0\\0\\0\\0\\x03\\xe9")
_, errors = server.communicate(timeout=30)
assert server.returncode == 0, errors
assert f"codec {sys.argv[2]}" in errors, errors
print("smoke test passed")
"""

pytestmark = [pytest.mark.packaging, pytest.mark.timeout_factor(12)]


@pytest.fixture(autouse=True)
def _only_where_tools_are_required() -> None:
    if not REQUIRED:
        pytest.skip(SLOW)


def find_python(version: str) -> str:
    """An interpreter of this version that works."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True),
    ]
    for candidate in filter(None, candidates):
        command = [str(candidate), "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.strip() == version:
            return str(candidate)
    missing(f"there is no Python {version}")


def run(*command: object, cwd: Path, **variables: str) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LWS_GEVENT_"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**env, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))} failed\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources as a fresh clone has them, without what was built in place."""
    copy = tmp_path_factory.mktemp("packaging") / "source"
    ignored = shutil.ignore_patterns(
        ".git",
        ".venv*",
        "build",
        "dist",
        "reports",
        "node_modules",
        "*.egg-info",
        "*.so",
        "__pycache__",
        ".*_cache",
        ".hypothesis",
    )
    shutil.copytree(ROOT, copy, symlinks=True, ignore=ignored)
    for generated in [*copy.glob("lws_gevent/*.c"), *copy.glob("lws_gevent/engines/*.c")]:
        generated.unlink()
    return copy


@pytest.fixture(scope="module")
def sdist(source: Path) -> Path:
    """The sdist, built from the copy."""
    if not REQUIRED:
        pytest.skip(SLOW)
    run(sys.executable, "-m", "build", "--sdist", ".", cwd=source)
    (archive,) = source.glob("dist/*.tar.gz")
    return archive


def environment_of(version: str, folder: Path) -> Path:
    """A fresh virtual environment of this version of Python; its interpreter."""
    run(find_python(version), "-m", "venv", folder / "venv", cwd=folder)
    return folder / "venv" / "bin" / "python"


def smoke(python: Path, source: Path, codec: str, folder: Path) -> None:
    outside = folder / "outside"
    outside.mkdir()
    assert "smoke test passed" in run(python, "-c", SMOKE, source, codec, cwd=outside)


@pytest.fixture(scope="module")
def wheels(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The wheel that a version of Python makes of the sdist; made once."""
    made: dict[str, Path] = {}

    def wheel(version: str) -> Path:
        if version not in made:
            folder = tmp_path_factory.mktemp("wheel")
            python = environment_of(version, folder)
            command = [python, *"-m pip wheel --quiet --no-deps --wheel-dir wheels".split(), sdist]
            run(*command, cwd=folder, LWS_GEVENT_REQUIRE_C="1")
            (made[version],) = folder.glob("wheels/*.whl")
        return made[version]

    return wheel


def test_the_sdist_holds_what_a_build_and_the_tests_need(sdist: Path, source: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    suffixes = {".c", ".h", ".java", ".json", ".md", ".mjs", ".pxd", ".pxi", ".py", ".pyi", ".pyx", ".typed"}
    needed = {
        path.relative_to(source).as_posix()
        for folder in ("lws_gevent", "compat", "tests", "examples", "docs")
        for path in (source / folder).rglob("*")
        if path.is_file() and path.suffix in suffixes
    }
    generated = {path.relative_to(source).with_suffix(".c").as_posix() for path in source.rglob("*.pyx")}
    needed = {name for name in needed - generated if not name.startswith("lws_gevent/compat/")}
    assert needed - names == set()
    assert {"setup.py", "setup.cfg", "pyproject.toml", "Makefile", "LICENSE", "README.md"} <= names


def test_the_wheel_holds_modules_types_and_extensions_and_no_sources(wheels: Callable[[str], Path]) -> None:
    with zipfile.ZipFile(wheels(VERSIONS[0])) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {"lws_gevent/__init__.py", "lws_gevent/compat/__init__.py", "lws_gevent/engines/__init__.py"} <= names
    assert {"lws_gevent/py.typed", "lws_gevent/_codec.pyi"} <= names
    assert any(re.fullmatch(r"lws_gevent/_codec\..*so", name) for name in names)
    assert {Path(name).suffix for name in names} <= {".py", ".pyi", ".so", ".typed"}
    assert all(name.startswith("lws_gevent/") for name in names)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_sdist_installs_with_a_compiler_and_works_elsewhere(
    version: str, sdist: Path, source: Path, tmp_path: Path
) -> None:
    python = environment_of(version, tmp_path)
    fast = {"CFLAGS": "-O0 -g0"}  # the wheel is built as users build it
    run(python, "-m", "pip", "install", "--quiet", sdist, cwd=tmp_path, LWS_GEVENT_REQUIRE_C="1", **fast)
    smoke(python, source, "c", tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wheel_installs_and_works_elsewhere(
    version: str, wheels: Callable[[str], Path], source: Path, tmp_path: Path
) -> None:
    python = environment_of(version, tmp_path)
    run(python, "-m", "pip", "install", "--quiet", wheels(version), cwd=tmp_path)
    smoke(python, source, "c", tmp_path)


@pytest.mark.parametrize("version", VERSIONS)
def test_it_installs_without_a_compiler_and_uses_the_twin(version: str, source: Path, tmp_path: Path) -> None:
    python = environment_of(version, tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(source, copy, symlinks=True)
    run(python, "-m", "pip", "install", "--quiet", ".", cwd=copy, CC="/bin/false")
    smoke(python, source, "python", tmp_path)


def test_a_required_extension_that_cannot_be_built_fails_the_installation(source: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="failed"):
        run(
            *(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, source),
            cwd=tmp_path, CC="/bin/false", LWS_GEVENT_REQUIRE_C="1",
        )  # fmt: skip


def test_compat_is_one_tree_under_one_name() -> None:
    assert (ROOT / "lws_gevent" / "compat").resolve() == ROOT / "compat"
    code = "import lws_gevent.compat, sys; assert 'compat' not in sys.modules; print(lws_gevent.compat.__name__)"
    assert run(sys.executable, "-c", code, cwd=ROOT).strip() == "lws_gevent.compat"
