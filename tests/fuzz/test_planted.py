"""The suite finds what is put in on purpose: each kind of finding once, a forgery on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.campaign import Worker, carry_out
from tests.fuzz.worker import Job

PLANTED = {
    "planted/unchecked-index": ("crash", "IndexError"),
    "planted/event-mac-unchecked": ("acceptance", "Forged"),
    "planted/command-mac-unchecked": ("acceptance", "the device believed a broker"),
    "planted/endless": ("hang", "timeout"),
    "planted/slow": ("hang", "TooSlow"),
    "planted/greedy": ("memory", "TooMuchMemory"),
}


def test_every_kind_of_planted_fault_is_found(tmp_path: Path) -> None:
    jobs = [Job(name, str(tmp_path / name), runs=200_000) for name in PLANTED]

    results = {result.job.name: result for result in carry_out(jobs, 1, tmp_path)}

    for name, (kind, words) in PLANTED.items():
        result = results[name]
        assert result.finding == kind, f"{name}: {result.finding}\n{result.explanation}"
        assert words in result.log, f"{name}: {result.explanation}"
        assert result.found is not None, f"{name}: the input was not kept"


def test_a_found_input_fails_again_when_it_is_replayed_and_another_does_not(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"LPL!\xff\0")
    (tmp_path / "good").write_bytes(b"LPL!\0\0")
    worker = Worker(tmp_path / "worker.log")
    name = "planted/unchecked-index"
    bad = worker.do(Job(name, str(tmp_path / "first"), replay=str(tmp_path / "bad")))
    good = worker.do(Job(name, str(tmp_path / "second"), replay=str(tmp_path / "good")))
    worker.close()

    assert (bad.finding, good.finding) == ("crash", "")
    assert "IndexError" in bad.explanation


def test_a_worker_that_ends_is_an_error_and_no_clean_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"no_such_room"):
        carry_out([Job("no_such_room/x", str(tmp_path / "x"), runs=1)], 1, tmp_path)
