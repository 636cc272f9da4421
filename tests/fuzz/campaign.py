"""A run over all targets: the inputs shared out, workers kept busy, what they found put together."""

from __future__ import annotations

import math
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.harness import Target
from tests.fuzz.worker import Counters, Job

ROOT = Path(__file__).parents[2]
FEWEST = 200
"""Inputs that every target gets, however small its share."""

_HEAVY_FIRST = ("gateway", "files", "web", "device", "records", "card", "technician", "channels", "protocol")
_TIMEOUT_EXIT, _MEMORY_EXIT = 70, 71


@dataclass(frozen=True)
class Result:
    """What came of one job. `finding` is "" or one of crash, hang, acceptance, memory."""

    job: Job
    counters: Counters
    edges: int
    seconds: float
    finding: str
    log: str

    @property
    def found(self) -> Path | None:
        """The input that was found, where there is one."""
        paths = sorted(Path(self.job.folder).glob("found-*"))
        return paths[0] if self.finding and paths else None

    @property
    def explanation(self) -> str:
        """The part of the log that says what happened."""
        at = self.log.find(" === Uncaught Python exception: ===")
        return self.log[at:].strip() if at >= 0 else self.log[-2000:].strip()


def share_out(
    targets: Sequence[Target], runs: int, folder: Path, *, seconds: int = 0, seed: int = 1, fewest: int = FEWEST
) -> list[Job]:
    """Jobs that give `runs` inputs in all, each target its share and at least `fewest`; the slowest rooms first.

    With `seconds`, each job ends after its part of that time instead, if that is earlier.
    """
    total = sum(target.share for target in targets)
    jobs = [
        Job(
            target.name,
            str(folder / target.name.replace("/", ".")),
            runs=max(fewest, math.ceil(runs * target.share / total)) if runs else 0,
            seconds=max(1, seconds // len(targets)) if seconds else 0,
            seed=seed,
        )
        for target in targets
    ]
    return sorted(jobs, key=lambda job: (_HEAVY_FIRST.index(job.name.partition("/")[0]), -job.runs))


class Worker:
    """One process of `tests.fuzz.worker`."""

    def __init__(self, log: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LAPEL_")}
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker"],
                cwd=ROOT,
                env=environment | {"PYTHONHASHSEED": "0"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def do(self, job: Job) -> Result:
        """Carry out one job. Raises RuntimeError when the process is gone."""
        pipe_in, pipe_out = self._process.stdin, self._process.stdout
        if pipe_in is None or pipe_out is None:
            raise RuntimeError("the worker has no pipes")
        started = time.monotonic()
        try:
            pipe_in.write(job.line())
            pipe_in.flush()
            answer = pipe_out.readline().strip()
        except OSError:
            answer = ""
        if not answer:
            raise RuntimeError(f"the fuzz worker ended: {self._log.read_text(errors='replace')[-3000:]}")
        folder = Path(job.folder)
        log = (folder / "log").read_text(errors="replace")
        counters = Counters.load(folder / "counters")
        covered = re.findall(r"cov: (\d+)", log)
        finding = _finding(int(answer), counters, log)
        return Result(job, counters, int(covered[-1]) if covered else 0, time.monotonic() - started, finding, log)

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(30)
        if self._process.stdout is not None:
            self._process.stdout.close()


def _finding(status: int, counters: Counters, log: str) -> str:
    if not status:
        return ""
    if counters.kind:
        return counters.kind
    if status == _TIMEOUT_EXIT or "libFuzzer: timeout" in log:
        return "hang"
    if status == _MEMORY_EXIT or "libFuzzer: out-of-memory" in log:
        return "memory"
    return "crash"


def carry_out(
    jobs: Iterable[Job], workers: int, folder: Path, done: Callable[[Result], None] = lambda result: None
) -> list[Result]:
    """Do the jobs in so many processes at once; `done` hears of each as it ends. Raises RuntimeError."""
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    results: list[Result] = []
    faults: list[RuntimeError] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        worker = Worker(folder / f"worker-{number}.log")
        try:
            while not faults:
                result = worker.do(waiting.get_nowait())
                with lock:
                    results.append(result)
                    done(result)
        except queue.Empty:
            return
        except RuntimeError as error:
            faults.append(error)
        finally:
            worker.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return results
