"""The C core by itself: the programs of tests/c under AddressSanitizer and UBSan, and a build without any warning."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from tools import missing, need_program

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "lws_gevent" / "c_core"
SOURCES = sorted(CORE.glob("*.c"))
PROGRAMS = sorted((ROOT / "tests" / "c").glob("test_*.c"))
COMPILERS = ("gcc", "clang", "clang-14")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Werror")


def run(*command: str | Path) -> None:
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}"


@cache
def can_sanitize(compiler: str) -> bool:
    """Whether the compiler has the runtimes of its sanitizers."""
    command = [compiler, *SANITIZERS, "-x", "c", "-", "-o", "/dev/null"]
    return subprocess.run(command, input="int main(void){return 0;}", text=True, capture_output=True).returncode == 0


def sanitizing_compiler() -> str:
    need_program(*COMPILERS)
    for compiler in COMPILERS:
        if shutil.which(compiler) and can_sanitize(compiler):
            return compiler
    missing("no compiler has AddressSanitizer and UBSan")


def build_and_run(program: Path, folder: Path, *flags: str) -> None:
    binary = folder / program.stem
    options = ("-std=c11", "-O1", "-g", *SANITIZERS, *flags, f"-I{CORE}")
    run(sanitizing_compiler(), *options, program, *SOURCES, "-o", binary)
    run(binary)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_passes_its_own_checks_under_sanitizers(program: Path, tmp_path: Path) -> None:
    build_and_run(program, tmp_path)


@pytest.mark.parametrize("flag", ["-DLWS_NO_VECTORS", "-DLWS_NO_AVX2"])
def test_masks_right_on_machines_and_compilers_that_have_less(flag: str, tmp_path: Path) -> None:
    build_and_run(ROOT / "tests" / "c" / "test_mask.c", tmp_path, flag)


@pytest.mark.parametrize("names", [("gcc",), ("clang", "clang-14")], ids=["gcc", "clang"])
def test_compiles_without_a_warning(names: tuple[str, ...]) -> None:
    compiler = need_program(*names)
    for source in SOURCES:
        run(compiler, "-std=c11", "-O2", *WARNINGS, "-c", source, "-o", "/dev/null")


def test_every_part_has_a_program() -> None:
    assert {program.stem.removeprefix("test_") for program in PROGRAMS} == {source.stem for source in SOURCES}


def test_knows_nothing_of_python() -> None:
    for file in CORE.iterdir():
        assert "Python.h" not in file.read_text()
