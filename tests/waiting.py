"""Waiting for another process, where nothing tells when it is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from lapel_gateway.supervise import APART

POLL_S = 0.1


def wait_until(condition: Callable[[], bool], timeout_s: float) -> None:
    """Return as soon as ``condition`` holds; fail when it does not within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {timeout_s:.0f} s"
        time.sleep(POLL_S)


def whole_gateway_runs(log: Path) -> bool:
    """Whether each process of a `lapel gateway run` with all its roles has said in its log that it has come up."""
    return log.read_bytes().count(b"gateway runs") > len(APART)
