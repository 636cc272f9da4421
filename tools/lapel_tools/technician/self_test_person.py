"""Who sees, hears and pushes while a device is tested: somebody at a terminal, or nobody.

While an answer is waited for, the board's watchdog is fed; without an answer nothing is decided.
"""

from __future__ import annotations

import os
import select
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import typer

Feed = Callable[[], None]

_WAIT_S = 0.5


class Person(Protocol):
    """`there`: whether anybody can be asked."""

    @property
    def there(self) -> bool: ...

    def tell(self, text: str) -> None:
        """Say what is to be done now."""

    def agrees(self, question: str, feed: Feed, again: Callable[[], object]) -> bool:
        """Whether it is so; `again` repeats what the question is about. Raises NobodyAnswers."""

    def sees(self, jpeg: bytes, feed: Feed) -> bool | None:
        """Whether a picture is right; None where it cannot be shown. Raises NobodyAnswers."""


class NobodyAnswers(Exception):
    """The terminal was closed before the answer."""


class Nobody:
    """Whatever needs a person is skipped."""

    there = False

    def tell(self, text: str) -> None:
        """Nobody hears it."""

    def agrees(self, question: str, feed: Feed, again: Callable[[], object]) -> bool:
        """Nobody answers."""
        raise NobodyAnswers

    def sees(self, jpeg: bytes, feed: Feed) -> bool | None:
        """Nobody looks."""
        return None


class AtTerminal:
    """Somebody who answers with y, n or r (again) and Enter. `name` is put before each question."""

    there = True

    def __init__(self, name: str = "") -> None:
        self._name = f"{name}: " if name else ""

    def tell(self, text: str) -> None:
        """On standard error, so that a report can go into a file."""
        typer.echo(f"{self._name}{text}", err=True)

    def agrees(self, question: str, feed: Feed, again: Callable[[], object]) -> bool:
        """Ask until the answer is one."""
        while True:
            typer.echo(f"{self._name}{question} [y/n, r = again] ", err=True, nl=False)
            answer = self._line(feed).strip().lower()
            if answer in ("y", "yes"):
                return True
            if answer in ("n", "no"):
                return False
            if answer in ("r", ""):
                again()

    def sees(self, jpeg: bytes, feed: Feed) -> bool | None:
        """Show it in this desktop's viewer and ask."""
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            return None
        with tempfile.TemporaryDirectory(prefix="lapel-picture-") as folder:
            path = Path(folder) / "picture.jpg"
            path.write_bytes(jpeg)
            if typer.launch(str(path)):
                return None
            return self.agrees(
                "does the picture show what is before the camera?", feed, lambda: typer.launch(str(path))
            )

    def _line(self, feed: Feed) -> str:
        while not select.select([sys.stdin], [], [], _WAIT_S)[0]:
            feed()
        feed()
        line = sys.stdin.readline()
        if not line:
            raise NobodyAnswers
        return line


def somebody(questions: bool, name: str = "") -> Person:
    """Who can be asked here."""
    return AtTerminal(name) if questions and sys.stdin.isatty() else Nobody()
