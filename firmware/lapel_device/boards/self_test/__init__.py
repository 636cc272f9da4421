"""Self-tests of a device on the bench: one function for each part, called over the REPL by `lapel device selftest`.

Never imported by the firmware when it runs. Rules that hold here:

- Each function returns (outcome, fault, what was found): three texts. `fault` is the word by which the tool knows what
  to do; it is empty unless the outcome is "failed".
- Each is bounded by counted pauses, not by the clock, which may be what is broken, and feeds the watchdog.
- Nothing found has a key, a password, a network's name or a place in it.
- What a test switches on or writes, it switches off and removes.
"""

import gc
import sys
from time import sleep_ms, ticks_diff, ticks_ms  # type: ignore[attr-defined,unused-ignore]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Outcome = tuple[str, str, str]

_STEP_MS = 50
_TICKS_MASK = (1 << 30) - 1
_SIGN_MS = 1000
_NAMES = {2: "ENOENT", 5: "EIO", 12: "ENOMEM", 19: "ENODEV", 28: "ENOSPC", 30: "EROFS", 110: "ETIMEDOUT"}

_said = ticks_ms()


def passed(found: str) -> "Outcome":
    """The part works."""
    return "passed", "", found


def failed(fault: str, found: str) -> "Outcome":
    """The part does not work, or not well enough."""
    return "failed", fault, found


def absent(found: str = "this board has none") -> "Outcome":
    """There is no such part."""
    return "absent", "", found


def skipped(found: str) -> "Outcome":
    """It cannot be tested now."""
    return "skipped", "", found


def run(test: "Callable[..., Any]", *arguments: object) -> None:
    """Print a mark and what a test returned, as a literal. Whatever it raises is a failure of that part."""
    gc.collect()
    try:
        told: Any = test(*arguments)
    except OSError as error:
        told = failed("error", "it ends with " + name_of(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the tests after it shall run
        told = failed("fault", "the test itself ends with " + type(error).__name__)
    print("=" + repr(told))  # noqa: T201 - the console is how the tool is told


def name_of(error: OSError) -> str:
    """An error's name, or what it says."""
    number = error.args[0] if error.args else 0
    return _NAMES.get(number) or str(error)[:60]


def number_of(error: OSError) -> int:
    """An error's number, 0 where it has none."""
    number = error.args[0] if error.args else 0
    return number if isinstance(number, int) else 0


def feed(board: "Any") -> None:
    """Feed the watchdog, and let whoever waits for the outcome know every second that it goes on."""
    global _said
    board.watchdog.feed()
    if ticks_diff(ticks_ms(), _said) >= _SIGN_MS:
        _said = ticks_ms()
        print(".")  # noqa: T201 - the console is how the tool is told


def pause(board: "Any", ms: int) -> None:
    """Wait, with the watchdog fed."""
    while ms > 0:
        feed(board)
        sleep_ms(min(ms, _STEP_MS))
        ms -= _STEP_MS


def since_ms(board: "Any", ticks: int) -> int:
    """Milliseconds from a reading of the board's ticks until now."""
    passed_ms: int = (board.clock.ticks_ms() - ticks) & _TICKS_MASK
    return passed_ms


def pins_of(board: "Any") -> "dict[str, Any]":
    """The board's wires, none for a board that is not made of data."""
    module = sys.modules.get("lapel_device.boards." + board.profile.name)
    return getattr(module, "PINS", {})


def provisioned(board: "Any") -> bool:
    """Whether the device was given an identity."""
    return bool(board.storage.size("/config.json") > 0)


def leave(section: str) -> None:
    """Give back the heap of a module of tests."""
    sys.modules.pop(__name__ + "." + section, None)
    here = sys.modules[__name__]
    if hasattr(here, section):
        delattr(here, section)
    gc.collect()
