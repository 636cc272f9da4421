"""Putting a defect into the code under test, and taking it out again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_ABSENT = object()


class Patcher:
    """Replaces attributes and remembers what was there; use it as a context, or `undo` by hand."""

    def __init__(self) -> None:
        self._before: list[tuple[Any, str, Any]] = []

    def set(self, target: Any, name: str, value: Any) -> Any:
        """Replace an attribute of a class or module, which must be there, and return what it was."""
        before = getattr(target, name)
        self._before.append((target, name, vars(target).get(name, _ABSENT)))
        setattr(target, name, value)
        return before

    def undo(self) -> None:
        """Put everything back."""
        while self._before:
            target, name, value = self._before.pop()
            if value is _ABSENT:
                delattr(target, name)
            else:
                setattr(target, name, value)

    def __enter__(self) -> Patcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()


@dataclass(frozen=True)
class Defect:
    """A mistake made on purpose: its name, what it is in words, how it is put in, and steps of a plan that show it.

    `shown_by` decides only in which order seeds are tried.
    """

    name: str
    what: str
    put_in: Callable[[Patcher], None]
    shown_by: tuple[str, ...] = ()


def sometimes(every: int) -> Callable[[], bool]:
    """A function that is True at every `every`-th call: defects need no randomness of their own."""
    calls = 0

    def now() -> bool:
        nonlocal calls
        calls += 1
        return calls % every == 0

    return now
