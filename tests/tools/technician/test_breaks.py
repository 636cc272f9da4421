"""The cable breaks at any byte of a flash, in either direction, with and without the power: repeated, it ends whole.

Every STEP-th byte is tried; LAPEL_BREAK_STEP changes that (1 tries them all and takes hours).
"""

import os
import shutil
from pathlib import Path

import pytest

from lapel_sim.tray.board import TrayBoard
from lapel_sim.tray.kinds import PICO_W, PICO_W_WITH_ROM, BoardKind
from lapel_sim.tray.tray import Tray
from lapel_tools.technician.bench import BROKEN, FLASHED, Order, Result, flash_board
from lapel_tools.technician.ports import named_ports
from tests.tools.technician.small_firmware import HARDWARE_OF, carries, order
from tests.waiting import wait_until

pytestmark = pytest.mark.needs("micropython")

STEP = int(os.environ.get("LAPEL_BREAK_STEP", "0"))
PLACES = 5
"""Without a step: so many places of each flash, the first and the last bytes among them."""

_RUNS_OLD = b"lapel: runs number 1 from"
_RUNS_NEW = b"lapel: runs number 2 from"
_NOTHING_YET = b"flash this device"
_BARE = b'Type "help()"'


def _flash(board: TrayBoard, what: Order) -> Result:
    (port,) = named_ports([board.serial_number])
    return flash_board(port, what)


def _start(board: TrayBoard) -> bytes:
    """Give it power anew; what it says of itself when it has started."""
    board.unplug()
    at = len(board.said)
    board.plug()
    wait_until(lambda: any(word in board.said[at:] for word in (_RUNS_OLD, _RUNS_NEW, _NOTHING_YET, _BARE)), 30)
    return bytes(board.said[at:])


@pytest.mark.parametrize("has_old", [False, True], ids=["bare", "with an old version"])
@pytest.mark.parametrize("kind", [PICO_W, PICO_W_WITH_ROM], ids=["slots", "ROM"])
@pytest.mark.parametrize("towards_board", [True, False], ids=["to the board", "from the board"])
def test_a_break_at_any_byte_leaves_the_old_version_or_none_and_is_mended_by_flashing_again(
    tray: Tray, tmp_path: Path, kind: BoardKind, towards_board: bool, has_old: bool
) -> None:
    board = tray.add(kind)
    old, new = order(1, hardware=HARDWARE_OF[kind.name]), order(2, hardware=HARDWARE_OF[kind.name])
    if has_old:
        assert _flash(board, old).state == FLASHED
    board.unplug()
    image = tmp_path / "before.flash"
    shutil.copy(board.flash, image)
    board.plug()
    before = board.cable.counts
    done = _flash(board, new)
    assert done.state == FLASHED, done
    total = board.cable.counts[towards_board] - before[towards_board]
    places = range(1, total, STEP) if STEP else [1 + (total - 2) * n // (PLACES - 1) for n in range(PLACES)]
    for place in places:
        board.unplug()
        shutil.copy(image, board.flash)
        board.plug()
        board.cable.break_at(place, towards_board, takes_power=bool(place % 2))
        # The last bytes only say that all is well; there it may be whole already.
        broken = _flash(board, new)
        assert broken.state in (BROKEN, FLASHED), (place, broken)
        said = _start(board)
        if has_old:
            # Of a ROM partition there is only one: a board says that it has nothing to run while it is written.
            assert _RUNS_OLD in said or _RUNS_NEW in said or (kind.rom_bytes and _NOTHING_YET in said), (place, said)
        else:
            assert _RUNS_NEW in said or _NOTHING_YET in said or _has_no_main(board), (place, said)
        again = _flash(board, new)
        assert again.good, (place, again)
        board.unplug()
        assert carries(board, 2), place


def _has_no_main(board: TrayBoard) -> bool:
    """A board onto which nothing was put that starts: bare MicroPython, whose prompt a tool finds."""
    board.unplug()
    bare = "/main.py" not in board.files()
    board.plug()
    return bare
