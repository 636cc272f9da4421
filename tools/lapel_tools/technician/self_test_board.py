"""A stopped board whose own self-tests are called: its firmware chosen, its drivers made, its answers read.

Rules that hold here:

- Only a version that the board's own loader finds whole is run.
- What the board prints is believed only where it is marked as the answer, and only where it is a literal.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from lapel_device.slots import SLOT_ROM, SLOTS, slot_folder
from lapel_gateway.devices.self_tests import FAILED, OUTCOMES, PASSED
from lapel_protocol.release import code_of

from .link import BoardLink, LinkError, printable
from .literals import literal
from .ports import BoardFacts
from .self_test_way import Verdict
from .session import make_board

Kinds = tuple[type, ...]

_CHECKED = (str, int, int, str, int, bytes, str)
_MOST_PICTURE_BYTES = 1 << 20
_PIECE_BYTES = 1536

_SECTION = "lapel_device.boards.self_test"
_CHECK = """\
import sys,lapel_board,lapel_loader as _l
_f=_l.Files('')
_s=_l.SlotState(_f)
try:_s.load()
except OSError:pass
_m=None
try:
 for _m in _l.check_slot(_f,{slot},_l.read_key(_f),lapel_board.HARDWARE,_l.code_of(sys.implementation._mpy),_s.floor):
  if _w:_w.feed()
 _o=(_m.version,_m.number,_m.release,'')
except OSError as _e:_o=('',0,b'','empty' if _m is None and _e.errno==2 else 'it cannot be read')
except Exception as _e:_o=('',0,b'',str(_e))
print('='+repr((lapel_board.HARDWARE,_s.active,_s.trial if _s.tries else 0)+_o))
"""
_TESTS = """\
import gc
from lapel_device.boards import self_test
gc.collect()
print('='+repr(board.profile.name))
"""


class BoardTests:
    """One board, its heap fresh. `hardware`: what it is built into, as its files say."""

    def __init__(self, link: BoardLink, facts: BoardFacts) -> None:
        self._link = link
        self._code = code_of(facts.mpy)
        self._slot = 0
        self._release: tuple[int, bytes] = (0, b"")
        self.hardware = facts.hardware

    def choose_firmware(self) -> tuple[bool, Verdict]:
        """Whether there is a version to run, and how the slots are: as the loader chooses, by the loader's own check.

        Raises LinkError and BoardError.
        """
        releases: dict[int, tuple[int, bytes]] = {}
        words = []
        active = trial = 0
        for slot in SLOTS:
            hardware, active, trial, version, number, release, fault = self.ask(_CHECK.format(slot=slot), _CHECKED)
            self.hardware = text_of(hardware)
            if version:
                releases[slot] = (number, release)
                words.append(f"{slot_folder(slot)} has {text_of(version)} ({number})")
            elif fault == "empty" and SLOT_ROM == slot != active:
                continue  # most boards have none
            elif fault == "empty":
                words.append(f"{slot_folder(slot)} is empty")
            else:
                words.append(f"{slot_folder(slot)} is not whole: {text_of(fault)}")
        order = [slot for slot in (trial, active, *SLOTS) if slot in releases]
        found = "; ".join(words)
        if not order:
            return False, (FAILED, "damaged", found)
        self._slot = order[0]
        self._release = releases[self._slot]
        return True, ((FAILED, "not_active", found) if active and active not in releases else (PASSED, "", found))

    def take(self) -> None:
        """Make the board by its own drivers, on a heap that is fresh. Raises LinkError, BoardError."""
        make_board(self._link, [slot_folder(self._slot)])
        self.ask(_TESTS)

    def set_out(self) -> None:
        """Begin anew, and boot the application on the board, for `travel`. Raises LinkError, BoardError."""
        self._link.stop(fresh=True)
        self.take()
        number, release = self._release
        running = (self._slot, False, number, release, self.hardware, self._code)
        self._link.run(f"from {_SECTION}.gateway import RoundTrip\n_t=RoundTrip(board,{running!r})\n")

    def travel(self, ms: int) -> Any:
        """Let it live for so long; what it tells of its way. Raises LinkError, BoardError."""
        return self.ask(f"self_test.run(_t.live,board,{ms})")

    def feed(self) -> None:
        """While somebody is asked. Raises LinkError."""
        self._link.feed()

    def call(self, section: str, function: str, *arguments: object, kinds: Kinds = ()) -> Any:
        """What a function of the board's own self-tests returns; `kinds`: a tuple of these. LinkError, BoardError."""
        given = "".join(f",{argument!r}" for argument in arguments)
        code = f"from {_SECTION} import {section} as _t\nself_test.run(_t.{function},board{given})\n"
        if section != "senses":  # which keeps a picture until it is fetched
            code += f"del _t\nself_test.leave({section!r})\n"
        return self.ask(code, kinds)

    def test(self, section: str, function: str, *arguments: object) -> Verdict:
        """How a test came out. Raises LinkError, BoardError."""
        return verdict_of(self.call(section, function, *arguments))

    def picture(self) -> bytes:
        """The last picture that was taken. Raises LinkError, BoardError."""
        content = bytearray()
        while True:
            size, piece = self.call("senses", "piece", len(content), _PIECE_BYTES, kinds=(int, bytes))
            try:
                got = base64.b64decode(piece, validate=True)
            except (ValueError, binascii.Error):
                raise self.nonsense() from None
            content += got
            if len(content) >= min(size, _MOST_PICTURE_BYTES) or not got:
                return bytes(content)

    def ask(self, code: str, kinds: Kinds = ()) -> Any:
        """The literal that the board marks as its answer; what its drivers say beside it is not for us.

        `kinds`: it is a tuple of these. Raises LinkError, BoardError.
        """
        answers = [line[1:] for line in self._link.run(code).splitlines() if line.startswith(b"=")]
        try:
            answer = literal(answers[-1].decode())
        except (IndexError, ValueError, SyntaxError, MemoryError, RecursionError):
            raise self.nonsense() from None
        if kinds and (not isinstance(answer, tuple) or tuple(map(type, answer)) != kinds):
            raise self.nonsense()
        return answer

    def nonsense(self) -> LinkError:
        """To be raised where an answer is none."""
        return LinkError(f"{self._link.port}: the board answers with what nobody asked for")


def verdict_of(told: Any) -> Verdict:
    """What a test told, if it is what a test tells."""
    if not isinstance(told, tuple) or len(told) != 3 or told[0] not in OUTCOMES:
        return FAILED, "fault", "the board does not say how it came out"
    return told[0], text_of(told[1]), text_of(told[2])


def text_of(told: Any) -> str:
    """A board's text as one line that can be shown."""
    return " ".join(printable(str(told).encode()))
