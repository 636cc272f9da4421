"""A program that is asked to end by signals, at any instant of its waiting."""

from __future__ import annotations

import signal
import subprocess
import sys

from lapel_gateway.ending import Ending

UNDER_FIRE = """
import signal
from lapel_gateway.ending import Ending

for turn in range(10_000):
    with Ending() as ending:
        signal.signal(signal.SIGALRM, ending.ask)
        signal.setitimer(signal.ITIMER_REAL, 0.00005 + turn % 97 * 0.000001)
        while not ending.wait(0.00001):
            pass
print("ended")
"""


def test_a_signal_may_come_at_any_instant_of_the_wait() -> None:
    program = subprocess.run([sys.executable, "-c", UNDER_FIRE], capture_output=True, text=True, timeout=60)
    assert (program.returncode, program.stdout, program.stderr) == (0, "ended\n", "")


def test_what_was_asked_for_stays_so() -> None:
    with Ending() as ending:
        assert not ending.wait(0.0)
        ending.ask(signal.SIGTERM)
        ending.ask(signal.SIGINT)
        assert [ending.wait(0.0) for _ in range(3)] == [True] * 3
