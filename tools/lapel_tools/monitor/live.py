"""What a terminal knows of a gateway now: the picture, kept up to date by what is told, and whether it still holds.

Rules that hold here
- A picture holds as long as something is heard at least every `AWAY_S`; then it is taken back, all of it.
- The time is the gateway's, as it last told it, and what has passed here since: this machine's clock may be wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lapel_gateway.overview.feed import BEAT, CHANGE, SNAPSHOT
from lapel_gateway.overview.reader import SECTIONS
from lapel_gateway.overview.views import merged

AWAY_S = 4.0
"""Four beats; with the time that it takes to draw, a silence is told within five seconds."""

NOT_YET = "not connected yet"

Words = dict[str, Any]
Change = tuple[str, str, Words | None, Words | None]
"""Section, key, the words before and the words now; None = it was, or is, not there."""


@dataclass
class Live:
    """The picture of now as far as it is known here."""

    monotonic_s: Callable[[], float] = time.monotonic
    sections: dict[str, dict[str, Words]] = field(default_factory=dict)
    cursor: str = ""
    trouble: str = NOT_YET
    """Why nothing is known; "" while something is."""
    _heard_s: float = 0.0
    _told_ms: int = 0
    _told_s: float = 0.0

    def hear(self, kind: str, words: Words) -> list[Change]:
        """Take one event of the stream (`lapel_gateway.overview.feed`); returns what it changed, in people's order."""
        self._heard_s = self.monotonic_s()
        if words.get("time"):
            self._told_ms, self._told_s = words["time"]["ms"], self._heard_s
        if kind == BEAT:
            self.trouble = words["trouble"] or ("" if self.sections else self.trouble)
            return []
        if kind not in (SNAPSHOT, CHANGE):
            return []
        self.cursor = words["cursor"]
        self.trouble = ""
        if kind == SNAPSHOT:
            fresh = {name: words.get(name, {}) for name in SECTIONS}
            changed = {name: _difference(self.sections.get(name, {}), new) for name, new in fresh.items()}
        else:
            changed = {name: self._merged(name, entries) for name, entries in words["changed"].items()}
        return self._apply(changed)

    def lose(self, why: str) -> None:
        """The connection has ended; what is known holds for a moment yet, within which it may be had again."""
        if self.away:
            self.trouble = why

    @property
    def away(self) -> bool:
        """Whether what is known does not hold (any more)."""
        return bool(self.trouble) or self.silent_s > AWAY_S

    @property
    def silent_s(self) -> float:
        """Since when nothing was heard, in seconds; infinite = never anything."""
        return self.monotonic_s() - self._heard_s if self._told_ms else float("inf")

    @property
    def why_away(self) -> str:
        """What to tell about it."""
        return self.trouble or f"nothing heard for {int(self.silent_s)} s"

    @property
    def now_ms(self) -> int:
        """The gateway's time, Unix ms; 0 = not known."""
        return self._told_ms + round((self.monotonic_s() - self._told_s) * 1000) if self._told_ms else 0

    @property
    def heard_ms(self) -> int:
        """When it was last heard of, by its own time; 0 = never."""
        return self._told_ms

    def section(self, name: str) -> dict[str, Words]:
        """One section as it stands; nothing while away."""
        return {} if self.away else self.sections.get(name, {})

    def more(self, name: str) -> int:
        """How many of a section the gateway has not told."""
        counts: dict[str, Any] = self.section("more")
        return int(counts.get(name, 0))

    def _merged(self, name: str, entries: dict[str, Any]) -> dict[str, Words | None]:
        section = self.sections.get(name, {})
        return {key: merged(section.get(key), fields) for key, fields in entries.items()}

    def _apply(self, changed: dict[str, dict[str, Words | None]]) -> list[Change]:
        found = []
        for name in SECTIONS:
            section = self.sections.setdefault(name, {})
            for key, new in changed.get(name, {}).items():
                old = section.get(key)
                if new is None:
                    section.pop(key, None)
                else:
                    section[key] = new
                found.append((name, key, old, new))
        return found


def _difference(old: dict[str, Words], new: dict[str, Words]) -> dict[str, Words | None]:
    changed: dict[str, Words | None] = {key: words for key, words in new.items() if old.get(key) != words}
    return changed | dict.fromkeys(old.keys() - new.keys())
