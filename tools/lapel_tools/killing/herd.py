"""Nothing is left behind: work is done in a child process, and whatever it started ends with it, however it ends.

Rules that hold here
- The keeper (this process) adopts orphans, so that a broker whose gateway was killed is still below it.
- SIGINT and SIGTERM are passed on as SIGTERM, and the work has some seconds to clean up. Then, or when it has ended,
  everything below the keeper is killed.
- Is the keeper killed, the kernel tells the work by SIGTERM. Only both killed at once leave anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CLEAN_UP_S = 20.0
_POLL_S = 0.05


def _control(option: int, argument: int) -> None:
    """prctl(2). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def keep(command: Sequence[str]) -> int:
    """Run `command` below this process, which adopts what it leaves; returns its exit status, 128 + n for signal n."""
    _control(_PR_SET_CHILD_SUBREAPER, 1)
    told: list[int] = []

    def tell(number: int, _frame: FrameType | None) -> None:
        told.append(number)

    before = [(number, signal.signal(number, tell)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        # A session of its own: Ctrl-C in the terminal is for the keeper, which passes it on once.
        work = subprocess.Popen(list(command), start_new_session=True)
        asked_at = 0.0
        while work.poll() is None:
            time.sleep(_POLL_S)
            _reap(work.pid)
            if told and not asked_at:
                asked_at = time.monotonic()
                work.terminate()
            elif asked_at and time.monotonic() - asked_at > _CLEAN_UP_S:
                work.kill()
        if told:
            return 128 + told[0]
        return work.returncode if work.returncode >= 0 else 128 - work.returncode
    finally:
        end_all_below()
        for number, handler in before:
            signal.signal(number, handler)


def end_with(parent: int) -> None:
    """Have the kernel send this process SIGTERM when its `parent` is gone."""
    _control(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it went before the kernel was asked
        os.kill(os.getpid(), signal.SIGTERM)


def below(top: int) -> Iterator[int]:
    """Every process below `top`, zombies aside."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[:2]
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(entry.name))
    waiting = [top]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            yield child
            waiting.append(child)


def end_all_below() -> None:
    """Kill everything below this process, what is adopted meanwhile included."""
    while found := list(below(os.getpid())):
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        _reap()
        time.sleep(_POLL_S)
    _reap()


def _reap(but: int = 0) -> None:
    """Take leave of adopted processes that have ended; `but` one, whose status somebody else waits for."""
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text(encoding="ascii").split():
                if int(child) != but:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(int(child), os.WNOHANG)
