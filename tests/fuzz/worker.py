"""The process that fuzzes: libFuzzer by way of atheris, which takes a process over and never gives it back.

Reads one line of JSON for each job from its standard input, forks, and lets the child be the fuzzer; so the imports and
their instrumentation are paid once. The child leaves in the job's folder: `log` (libFuzzer's own words), `counters`
(see `Counters`), the input that was found, and in `corpus` what reached new branches.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

import atheris

from tests.fuzz import harness
from tests.fuzz.harness import Finding, Judge

FINDING_EXIT = 77  # atheris ends with it after an exception
CORPUS = Path(__file__).parent / "corpus"
_KINDS = ("", "crash", "acceptance", "hang", "memory")
_LAYOUT = "<QQQQQQQ"


@dataclass(frozen=True)
class Job:
    """One target to be fuzzed. `runs` inputs or `seconds`, whichever comes first (0: no bound)."""

    name: str
    folder: str
    runs: int = 0
    seconds: int = 0
    seed: int = 1
    replay: str = ""
    """A file with one input: it is judged once instead."""

    def line(self) -> str:
        """As the worker reads it."""
        return json.dumps(asdict(self)) + "\n"


@dataclass(frozen=True)
class Counters:
    """What a child counted, written after every input, so that it is right whatever ends the child."""

    inputs: int = 0
    read: int = 0
    timed: int = 0
    spent_us: int = 0
    slowest_us: int = 0
    most_bytes: int = 0
    kind: str = ""

    @classmethod
    def load(cls, path: Path) -> Counters:
        """From the file that the child left; zeros when it left none."""
        try:
            inputs, read, timed, spent_us, slowest_us, most_bytes, kind = struct.unpack_from(_LAYOUT, path.read_bytes())
        except (OSError, struct.error):
            return cls()
        return cls(inputs, read, timed, spent_us, slowest_us, most_bytes, _KINDS[kind])


def kept_inputs(name: str) -> list[bytes]:
    """The committed inputs of a target: one in hexadecimal a line."""
    path = CORPUS / f"{name.replace('/', '.')}.hex"
    return [bytes.fromhex(line) for line in path.read_text().split()] if path.exists() else []


def _fuzz(job: Job) -> None:
    folder = Path(job.folder)
    corpus, scratch = folder / "corpus", folder / "scratch"
    for path in (corpus, scratch):
        path.mkdir(parents=True, exist_ok=True)
    chosen = harness.TARGETS[job.name]
    built = chosen.build(scratch)
    for number, seed in enumerate([*built.seeds, *kept_inputs(job.name)]):
        (corpus / f"seed-{number:04}").write_bytes(seed)
    judge = Judge(chosen, built)
    if job.replay:
        judge.measure(Path(job.replay).read_bytes())
        judge(Path(job.replay).read_bytes())
        return
    counters = _mapped(folder / "counters")

    def one_input(data: bytes) -> None:
        kind = ""
        try:
            judge(data)
        except BaseException as error:
            kind = error.kind if isinstance(error, Finding) else "crash"
            (folder / "found-here").write_bytes(data)
            raise
        finally:
            struct.pack_into(
                _LAYOUT,
                counters,
                0,
                judge.inputs,
                judge.read,
                judge.timed,
                judge.spent_ns // 1000,
                judge.slowest_ns // 1000,
                judge.most_bytes,
                _KINDS.index(kind),
            )

    arguments = [
        job.name,
        f"-seed={job.seed}",
        f"-max_len={chosen.max_bytes}",
        f"-artifact_prefix={folder}/found-",
        f"-timeout={chosen.hang_s}",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    arguments += [f"-runs={job.runs or -1}", f"-max_total_time={job.seconds}", str(corpus)]
    more = {"custom_mutator": built.mutator} if built.mutator else {}
    atheris.Setup(arguments, one_input, **more)
    atheris.Fuzz()


def _mapped(path: Path) -> mmap.mmap:
    with path.open("w+b") as file:
        file.truncate(mmap.PAGESIZE)
        return mmap.mmap(file.fileno(), mmap.PAGESIZE)


def _child(job: Job) -> None:
    folder = Path(job.folder)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        _fuzz(job)
    except BaseException:  # noqa: BLE001 - libFuzzer's own end is a SystemExit, and the child must not go on
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(FINDING_EXIT)
    os._exit(0)


def main() -> None:
    """Do the jobs on standard input, one after the other; after each, a line with its exit status."""
    for line in sys.stdin:
        job = Job(**json.loads(line))
        Path(job.folder).mkdir(parents=True, exist_ok=True)
        with atheris.instrument_imports(include=harness.INSTRUMENTED):
            harness.load(job.name)
        child = os.fork()
        if not child:
            _child(job)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
