"""``python -m tests.fuzz --runs 10000000 --jobs 2``: fuzz every target, print a table, end with 1 on any finding.

``--target NAME`` (or a beginning of names, such as ``records/``) for some of them, ``--seconds S`` to stop after a
time, ``--replay FILE --target NAME`` to judge one input again, ``--keep`` to add what reached new branches to corpus/.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import harness
from tests.fuzz.campaign import Result, Worker, carry_out, share_out
from tests.fuzz.worker import CORPUS, Job, kept_inputs

KEPT_BYTES = 3000
"""Of one target's corpus: it is committed, and what is short and reaches much is worth most."""

_MEMORY = Path("/dev/shm")
_HEAD = (
    f"{'target':28} {'inputs':>10} {'inputs/s':>9} {'edges':>6} {'read':>9} {'µs':>7} {'slowest':>8} "
    f"{'crashes':>8} {'hangs':>6} {'acceptances':>12}"
)


def _row(result: Result) -> str:
    counters, seconds = result.counters, max(result.seconds, 1e-9)
    mean_us = counters.spent_us / max(1, counters.timed)
    crashes = int(result.finding in ("crash", "memory"))
    hangs, acceptances = int(result.finding == "hang"), int(result.finding == "acceptance")
    return (
        f"{result.job.name:28} {counters.inputs:10,} {counters.inputs / seconds:9,.0f} {result.edges:6,} "
        f"{counters.read:9,} {mean_us:7,.0f} {counters.slowest_us / 1000:6.1f}ms {crashes:8} {hangs:6} {acceptances:12}"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _replay(name: str, file: Path, folder: Path) -> int:
    worker = Worker(folder / "worker.log")
    result = worker.do(Job(name, str(folder / "replay"), replay=str(file.resolve())))
    worker.close()
    _say(result.explanation if result.finding else f"{name}: nothing is wrong with {file}")
    return int(bool(result.finding))


def _keep(results: list[Result]) -> None:
    """Add what reached new branches to the corpus, the shortest first; libFuzzer has made each as short as it could."""
    CORPUS.mkdir(exist_ok=True)
    for result in results:
        paths = (Path(result.job.folder) / "corpus").iterdir()
        found = {path.read_bytes() for path in paths if not path.name.startswith("seed-")}
        lines, size = [], 0
        for data in sorted(found.union(kept_inputs(result.job.name)), key=lambda data: (len(data), data)):
            size += len(data)
            if size > KEPT_BYTES:
                break
            lines.append(data.hex() + "\n")
        (CORPUS / f"{result.job.name.replace('/', '.')}.hex").write_text("".join(lines))


def main() -> int:
    """Fuzz what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz every decoder of both ends.")
    parser.add_argument("--runs", type=int, default=200_000, help="inputs in all, shared out over the targets")
    parser.add_argument("--seconds", type=int, default=0, help="stop after so long, shared out likewise")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--seed", type=int, default=1, help="of libFuzzer's random numbers")
    parser.add_argument(
        "--target", action="append", default=[], help="a target, or a beginning of some; may be repeated"
    )
    parser.add_argument("--replay", type=Path, metavar="FILE", help="judge this input once more")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep logs, corpora and found inputs there")
    parser.add_argument("--keep", action="store_true", help="write what reached new branches to tests/fuzz/corpus")
    asked = parser.parse_args()
    every = harness.load_all()
    targets = [one for one in every if not asked.target or one.name.startswith(tuple(asked.target))]
    if not targets:
        parser.error(f"no such target: they are {', '.join(one.name for one in every)}")
    folder = asked.out or Path(tempfile.mkdtemp(prefix="lapel-fuzz-", dir=_MEMORY if _MEMORY.is_dir() else None))
    folder.mkdir(parents=True, exist_ok=True)
    if asked.replay:
        return _replay(targets[0].name, asked.replay, folder)
    _say(_HEAD)
    started = time.monotonic()
    jobs = share_out(targets, asked.runs, folder, seconds=asked.seconds * asked.jobs, seed=asked.seed)
    results = carry_out(jobs, asked.jobs, folder, lambda result: _say(_row(result)))
    seconds = time.monotonic() - started
    inputs = sum(result.counters.inputs for result in results)
    found = [result for result in results if result.finding]
    kinds = {
        kind: sum(result.finding == kind for result in found) for kind in ("crash", "memory", "hang", "acceptance")
    }
    _say(
        f"{len(results)} targets, {inputs:,} inputs in {seconds:,.0f} s ({inputs / seconds:,.0f}/s over {asked.jobs} "
        f"processes): {kinds['crash'] + kinds['memory']} crashes, {kinds['hang']} hangs, {kinds['acceptance']} "
        "acceptances of anything not sealed by a key holder"
    )
    for result in found:
        _say(f"\n{result.job.name}: {result.finding}\n{result.explanation}")
        if result.found:
            _say(f"again: python -m tests.fuzz --target {result.job.name} --replay {result.found}")
    if asked.keep:
        _keep(results)
    if not found and not asked.out:
        shutil.rmtree(folder)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
