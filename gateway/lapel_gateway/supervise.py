"""Roles beside the main process: each in a process of its own, started with it, started again when it dies.

Threads of one Python process hold each other up by milliseconds whenever they are busy. An alarm must not wait for
clips that are being verified, nor ingest for clips that are being assembled or for hundreds of pages that look on:
`lapel gateway run` starts these roles apart.

Rules that hold here
- The processes meet in ledger and vault only, as roles always do; each holds the lock of its role.
- A process that dies is started again after a moment, however often, and told of each time.
- When the main process ends in order it ends the others first; when it is killed, the kernel ends them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import structlog

from lapel_gateway.settings.config import Role

APART: tuple[Role, ...] = ("alarms", "deliver", "web")
"""Roles that get a process of their own where the main process plays others too."""

FIRST_RETRY_S = 0.5
LAST_RETRY_S = 30.0
"""Wait before a process that died is started again; doubles while it dies within STEADY_S."""

STEADY_S = 60.0
STOP_S = 15.0

_PR_SET_PDEATHSIG = 1
_log = structlog.get_logger("lapel.gateway")


def divide(roles: Sequence[Role]) -> tuple[list[Role], list[Role]]:
    """(roles of the main process, roles to start apart)."""
    apart = [role for role in roles if role in APART]
    main = [role for role in roles if role not in APART]
    return (main, apart) if main else (apart[:1], apart[1:])


class Apart:
    """The processes of some roles. Use as a context manager: at its end they have ended."""

    def __init__(self, config_file: Path, roles: Sequence[Role], *, json_log: bool = False) -> None:
        options = ["--json-log"] if json_log else []
        self._children = [
            _Child(role, [sys.executable, "-m", "lapel_gateway", str(config_file), role, *options]) for role in roles
        ]

    def __enter__(self) -> Apart:
        for child in self._children:
            child.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for child in self._children:
            child.ask_to_end()
        for child in self._children:
            child.join()

    @property
    def pids(self) -> dict[str, int]:
        """The processes that live now, by role."""
        return {child.role: child.pid for child in self._children if child.pid}


class _Child:
    """One role's process and the thread that looks after it."""

    def __init__(self, role: Role, command: Sequence[str]) -> None:
        self.role = role
        self._command = command
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._look_after, name=f"{role} process", daemon=True)

    @property
    def pid(self) -> int:
        """0 while there is none."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else 0

    def start(self) -> None:
        self._spawn()
        self._thread.start()

    def ask_to_end(self) -> None:
        with self._lock:
            self._ending.set()
            if self._process is not None:
                self._process.terminate()

    def join(self) -> None:
        """Wait until it has ended; killed if it does not."""
        process = self._process
        if process is not None:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                _log.error("a role does not end and is killed", role=self.role)
                process.kill()
        self._thread.join()

    def _look_after(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            began = time.monotonic()
            status = self._process.wait() if self._process is not None else 0
            if self._ending.is_set():
                return
            if time.monotonic() - began >= STEADY_S:
                retry_s = FIRST_RETRY_S
            _log.error("a role's process has died and is started again", role=self.role, status=status)
            started = False
            while not started:
                if self._ending.wait(retry_s):
                    return
                retry_s = min(2 * retry_s, LAST_RETRY_S)
                try:
                    self._spawn()
                    started = True
                except OSError as error:
                    # No memory or no process to be had now: this thread must not end with it.
                    _log.error("a role cannot be started, and is tried again", role=self.role, reason=str(error))

    def _spawn(self) -> None:
        with self._lock:
            if not self._ending.is_set():
                # A group of its own: Ctrl-C reaches the main process, which ends this one.
                self._process = subprocess.Popen(
                    [*self._command, "--parent", str(os.getpid())], stdin=subprocess.DEVNULL, process_group=0
                )


def end_with(parent: int) -> bool:
    """Have the kernel send this process SIGTERM when its parent ends; False when the parent has ended already."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    return os.getppid() == parent
