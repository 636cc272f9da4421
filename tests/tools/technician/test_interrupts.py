"""A technician's Ctrl-C comes at any moment, and a board on the tray hears it as a real one: never halfway through
what is done in C, in the file system, or in hardware.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from lapel_sim.tray.board import TrayBoard
from lapel_sim.tray.tray import Tray
from lapel_sim.world import World
from lapel_tools.technician.link import BoardLink
from tests.tools.technician.placing import UNPROVISIONED, flash, place
from tests.waiting import wait_until

pytestmark = pytest.mark.needs("micropython")

TIMES = 40
_ASKING = b"""\
import sys
sys.path[:0]=['/a']
import lapel_board
w=lapel_board.board()._wire
o=bytearray(2048)
print('busy')
while True:
 w.call(28,0x18,0x20,data=b'\\0')
 w.call(1,into=o)
"""
"""A program that does nothing but ask: a write with a payload, and a read with one."""

_ASK = """\
w.call(1,into=o)
print(repr((bytes(o[:w.size]),w.call(2))))
"""

_WRITING = b"""\
import os
print('busy')
n=0
while True:
 try:
  os.mkdir('/made')
 except OSError:
  os.rmdir('/made')
 with open('/numbers','w') as f:
  for i in range(200):
   f.write('%d\\n'%n)
 n+=1
"""
"""A program that does nothing but change files."""

_READ = """\
import os
for f in ('/numbers','/made','/kept'):
 try:
  os.remove(f)
 except OSError:
  pass
with open('/kept','w') as f:
 f.write('x'*9000)
print(repr((os.stat('/kept')[6],sorted(os.listdir('/')))))
"""

_COUNTING = b"""\
print('busy')
try:
 sum(range(60_000_000))
 print('all','counted')
 for i in range(9):
  pass
except KeyboardInterrupt:
 print('then','heard')
while True:
 pass
"""
"""A call that is done in C, and a jump after it."""


def put(board: TrayBoard, program: bytes) -> None:
    """Let the board run this whenever it starts."""
    with BoardLink(str(board.port)) as link:
        link.stop(fresh=True)
        link.write_file("/main.py", program)


def interrupt(board: TrayBoard, after_s: float, then: str) -> object:
    """Start it, stop its program by Ctrl-C that much later, and run `then`, which prints an answer."""
    at = len(board.said)
    board.unplug()
    board.plug()
    wait_until(lambda: b"busy" in board.said[at:], 60)
    time.sleep(after_s)
    with BoardLink(str(board.port)) as link:
        link.stop(fresh=False)
        return link.ask(then)


def test_a_board_that_is_interrupted_anywhere_answers_what_it_is_asked_next(
    tray: Tray, world: World, tmp_path: Path
) -> None:
    device = place(tray, world, tmp_path, "camera")
    flash([device])
    wait_until(lambda: device.console_has(UNPROVISIONED), 60)
    put(device.board, _ASKING)
    chance = random.Random(7)
    for number in range(TIMES):
        answer = interrupt(device.board, chance.random() * 0.02, _ASK)
        assert isinstance(answer, tuple), number
        assert (json.loads(answer[0])["profile"]["name"], answer[1]) == ("pico_w", 0), number


def test_files_are_whole_whenever_a_program_that_changes_them_is_interrupted(tray: Tray) -> None:
    board = tray.add()
    put(board, _WRITING)
    chance = random.Random(8)
    for number in range(TIMES):
        assert interrupt(board, chance.random() * 0.05, _READ) == (9000, ["kept", "main.py"]), number


def test_what_is_done_in_c_is_done_to_its_end_before_an_interrupt_is_heard(tray: Tray) -> None:
    board = tray.add()
    put(board, _COUNTING)
    interrupt(board, 0, "print(1)")
    assert b"all counted\nthen heard\n" in board.said
