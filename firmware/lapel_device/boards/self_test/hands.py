"""Self-tests that need a person: buttons to push, and a light, a buzzer and a motor to see, hear and feel.

What a person sees is asked by the tool; here it is only shown.
"""

from time import ticks_diff  # type: ignore[attr-defined,unused-ignore]

from lapel_device.gestures import ALARM_BUTTON, ALARM_HOLD_MS, CASE_OPEN, RECORD_BUTTON

from . import failed, name_of, passed, pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import Outcome

_LOOK_MS = 20
_FREE_LOOKS = 25
_SETTLED_LOOKS = 3
_UP = 2
_HELD = 3
_SELDOM_MS = 1000


def free(board: "Any") -> "Outcome":
    """Both buttons let go, for half a second."""
    _levels(board)  # a push of before counts no longer
    down = 0
    for _ in range(_FREE_LOOKS):
        down |= _levels(board)
        pause(board, _LOOK_MS)
    stuck = []
    if down & RECORD_BUTTON:
        stuck.append("RECORD")
    if down & ALARM_BUTTON:
        stuck.append("ALARM")
    if stuck:
        return failed("stuck", " and ".join(stuck) + (" is pressed" if len(stuck) == 1 else " are pressed"))
    return passed("both are free" + (", the case is open" if down & CASE_OPEN else ""))


def watch(board: "Any", name: str, what: int, ms: int) -> bool:
    """Look for so long, at most: whether button `name` went down (1) or up (2), or was held and let go (3)."""
    if what == _HELD:
        return _was_held(board, name, ms)
    button = ALARM_BUTTON if name == "ALARM" else RECORD_BUTTON
    other = ALARM_BUTTON + RECORD_BUTTON - button
    seen = 0
    for _ in range(ms // _LOOK_MS):
        mask = _levels(board)
        right = not mask & button if what == _UP else mask & button and not mask & other
        seen = seen + 1 if right else 0
        if seen >= _SETTLED_LOOKS:
            return True
        pause(board, _LOOK_MS)
    return False


def _was_held(board: "Any", name: str, ms: int) -> bool:
    """Whether the board kept the end of a hold by itself: nobody looks but once a second."""
    button = ALARM_BUTTON if name == "ALARM" else RECORD_BUTTON
    pushed: int | None = None
    for _ in range(ms // _SELDOM_MS):
        pause(board, _SELDOM_MS)
        missed = True
        while missed:
            missed = board.buttons.look()
            ticks = board.buttons.ticks
            if board.buttons.mask & button:
                pushed = ticks if pushed is None else pushed
                continue
            if missed and pushed is not None and ticks_diff(ticks, pushed) >= ALARM_HOLD_MS:
                return True
            pushed = None
    return False


def _levels(board: "Any") -> int:
    """The levels of now."""
    while board.buttons.look():
        pass
    mask: int = board.buttons.mask
    return mask


def show(board: "Any", rgb: int, vibrate: bool, buzzer_hz: int, ms: int) -> "Outcome":
    """Show it; for `ms`, or until the next call where that is 0."""
    try:
        board.indicator.set(rgb, vibrate, buzzer_hz)
        if ms:
            pause(board, ms)
            board.indicator.set(0, False, 0)
    except OSError as error:
        return failed("error", "it cannot be driven (%s)" % name_of(error))
    return passed("driven")
