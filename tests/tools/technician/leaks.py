"""Looks for secrets in what was left behind, written in any of the usual ways."""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

_SAMPLE_S = 0.02
_PAGE_BYTES = 4096


def written(secret: bytes) -> Iterator[tuple[str, bytes]]:
    """Each way in which these bytes, 8 or more, could stand somewhere: its name, and what to look for."""
    if len(secret) < 8:
        raise ValueError("so few bytes stand anywhere by chance")
    for name, content in (("", secret), ("reversed ", secret[::-1])):
        yield f"{name}raw", content
        yield f"{name}hex", content.hex().encode()
        yield f"{name}HEX", content.hex().upper().encode()
        for separator in (":", " ", "\\x", ", 0x"):
            yield f"{name}hex with {separator!r}", content.hex("|").replace("|", separator).encode()
        for separator in (", ", ",", " "):
            yield f"{name}decimal with {separator!r}", separator.join(map(str, content)).encode()
        for offset in range(3):
            encoded = base64.b64encode(bytes(offset) + content)
            # Only whole characters of the secret's own: the first and the last ones depend on what stands beside it.
            own = encoded[-(-offset * 8 // 6) : (offset + len(content)) * 8 // 6]
            yield f"{name}base64 at offset {offset}", own
            yield f"{name}url-safe base64 at offset {offset}", own.translate(bytes.maketrans(b"+/", b"-_"))
        yield f"{name}repr", repr(content)[2:-1].encode()


def leaks(secrets: dict[str, bytes], places: dict[str, bytes]) -> list[str]:
    """Where a secret stands, and how. Lines of base64 and of digits are also looked at with their breaks taken out."""
    found = []
    for place, content in places.items():
        text_only = b"\0" not in content
        joined = content.replace(b"\r", b"").replace(b"\n", b"") if text_only else b""
        for name, secret in secrets.items():
            found += [
                f"{name} as {how} in {place}" for how, text in written(secret) if text in content or text in joined
            ]
    return found


def files_below(folder: Path, but: tuple[Path, ...] = ()) -> dict[str, bytes]:
    """Every file below a folder by its path, leaving out what lies below some others. Of what has blank pages, such as
    the image of a card, the others are looked at.
    """
    return {
        str(path): _without_blank_pages(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(path.is_relative_to(other) for other in but)
    }


def _without_blank_pages(content: bytes) -> bytes:
    pages = (content[at : at + _PAGE_BYTES] for at in range(0, len(content), _PAGE_BYTES))
    return b"".join(page for page in pages if page.strip(b"\0") and page.strip(b"\xff"))


class ProcessWatch:
    """Writes down every command line and environment that this machine's processes have while the block lasts."""

    def __init__(self) -> None:
        self.command_lines: set[bytes] = set()
        self.environments: set[bytes] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="process watch", daemon=True)

    def __enter__(self) -> ProcessWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.is_set():
            for process in os.listdir("/proc"):
                if process.isdigit():
                    self.command_lines.add(_read(f"/proc/{process}/cmdline"))
                    self.environments.add(_read(f"/proc/{process}/environ"))
            time.sleep(_SAMPLE_S)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as source:
            return source.read()
    except OSError:
        return b""
