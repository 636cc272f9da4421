"""Buttons to push and things to see, hear and feel: what a person is asked, and what the answers mean."""

from __future__ import annotations

from collections.abc import Iterator

from .self_test_board import BoardTests
from .self_test_person import NobodyAnswers, Person
from .self_test_way import Verdict

_DOWN, _UP, _HELD = 1, 2, 3
_STEP_MS = 3000
_PATIENCE_MS = 21_000
_COLOURS = (("red", 0xFF0000), ("green", 0x00FF00), ("blue", 0x0000FF))
_BUZZER_HZ = 2000
_BUZZ_MS = 600
_VIBRATE_MS = 800
_GLANCE_MS = 150
_NOBODY = "it was driven; nobody was there to say"


def examine_hands(board: BoardTests, person: Person) -> Iterator[tuple[str, Verdict]]:
    """Each part's name and verdict."""
    work = _Hands(board, person)
    for name, test in (
        ("buttons", work.buttons),
        ("light", work.light),
        ("buzzer", work.buzzer),
        ("vibration", work.vibration),
    ):
        try:
            yield name, test()
        except NobodyAnswers:
            yield name, ("skipped", "", _NOBODY)


class _Hands:
    def __init__(self, board: BoardTests, person: Person) -> None:
        self._board = board
        self._person = person

    def buttons(self) -> Verdict:
        """Free first; then each pushed, and a hold of ALARM noticed."""
        free = self._board.test("hands", "free")
        if free[0] != "passed":
            return free
        if not self._person.there:
            return "skipped", "", f"{free[2]}; nobody was there to push them"
        for name in ("RECORD", "ALARM"):
            self._person.tell(f"push {name}, alone, and let it go")
            if not self._seen(name, _DOWN, _STEP_MS):
                return "failed", f"{name.lower()}_dead", f"{name} was not noticed"
            if not self._seen(name, _UP, _STEP_MS):
                return "failed", "stuck", f"{name} does not come back"
        self._person.tell("hold ALARM for three seconds and let it go; no alarm is raised")
        if not self._seen("ALARM", _HELD, _PATIENCE_MS):  # in one call, or a hold over two of them were none
            return "failed", "no_latch", "a hold of ALARM was not noticed"
        return "passed", "", "RECORD, ALARM, and a hold of ALARM were noticed"

    def _seen(self, name: str, what: int, step_ms: int) -> bool:
        steps = _PATIENCE_MS // step_ms
        return any(self._board.call("hands", "watch", name, what, step_ms) is True for _ in range(steps))

    def light(self) -> Verdict:
        """Each of its three colours."""
        verdict = self._shown(0x202020, False, 0, _GLANCE_MS)
        if verdict[0] != "passed" or not self._person.there:
            return _unseen(verdict)
        try:
            for name, rgb in _COLOURS:
                self._shown(rgb, False, 0, 0)
                if not self._person.agrees(f"is the light {name}?", self._board.feed, lambda: None):
                    return "failed", "dead" if name == "red" else "colour", f"it is not {name}"
        finally:
            self._shown(0, False, 0, 0)
        return "passed", "", "red, green and blue were seen"

    def buzzer(self) -> Verdict:
        """A tone of 2 kHz."""
        return self._felt((0, False, _BUZZER_HZ), _BUZZ_MS, "did you hear a tone?", "heard")

    def vibration(self) -> Verdict:
        """The motor."""
        return self._felt((0, True, 0), _VIBRATE_MS, "did it vibrate?", "felt")

    def _felt(self, what: tuple[int, bool, int], ms: int, question: str, word: str) -> Verdict:
        verdict = self._shown(*what, ms if self._person.there else _GLANCE_MS)
        if verdict[0] != "passed" or not self._person.there:
            return _unseen(verdict)
        if not self._person.agrees(question, self._board.feed, lambda: self._shown(*what, ms)):
            return "failed", "dead", f"it was not {word}"
        return "passed", "", f"it was {word}"

    def _shown(self, rgb: int, vibrate: bool, buzzer_hz: int, ms: int) -> Verdict:
        return self._board.test("hands", "show", rgb, vibrate, buzzer_hz, ms)


def _unseen(verdict: Verdict) -> Verdict:
    return verdict if verdict[0] != "passed" else ("skipped", "", _NOBODY)
