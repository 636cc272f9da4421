"""The work of ``lapel sim kill``, run below its keeper: ``python -m lapel_tools.killing`` with its order as JSON."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import structlog

from lapel_sim.device import DeviceFailed
from lapel_sim.launcher import MicroPythonMissing
from lapel_sim.world import Timeout
from lapel_tools.console import FAILED, OK, CommandError
from lapel_tools.killing.herd import end_with
from lapel_tools.killing.order import Order
from lapel_tools.killing.run import Run, Stopped
from lapel_tools.killing.table import print_report
from lapel_tools.site import close_ledgers


def main(text: str) -> int:
    """Do it; returns the exit status."""
    order = Order.decode(text)
    end_with(order.keeper)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    folder = Path(order.out).resolve() if order.out else Path(tempfile.mkdtemp(prefix="lapel-kill-"))
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder, order.seed, order.devices, order.minutes, order.gap_s)

    def end(_number: int, _frame: FrameType | None) -> None:
        run.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {what}", file=sys.stderr, flush=True)

    try:
        report = run.run(say)
    except Stopped:
        say(f"ended early; what there is, is in {folder}")
        return FAILED
    except (CommandError, DeviceFailed, Timeout, MicroPythonMissing) as error:
        print(f"lapel: {error}\nlapel: what there is, is in {folder}", file=sys.stderr)
        return error.code if isinstance(error, CommandError) else FAILED
    finally:
        close_ledgers()
    if order.json_file:
        Path(order.json_file).write_text(json.dumps(report.words(), indent=2) + "\n", encoding="utf-8")
    print_report(report)
    if report.verdict.good:
        if not order.out:
            shutil.rmtree(folder, ignore_errors=True)
        return OK
    return FAILED


if __name__ == "__main__":
    status = main(sys.argv[1])
    sys.stdout.flush()
    # Threads of simulated hardware may still be in a call; nothing of theirs is needed any more.
    os._exit(status)
