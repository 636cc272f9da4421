"""A short run of every target, with libFuzzer's random numbers fixed, and the committed inputs among its seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import harness
from tests.fuzz.campaign import carry_out, share_out
from tests.fuzz.worker import CORPUS

HALVES = {
    "cores": ("gateway", "web"),
    "files": ("protocol", "records", "device", "card", "files", "channels", "technician"),
}
"""Two tests, so that two processes share them; the shared half of the imports is cheap."""

RUNS = {"cores": 1_000, "files": 12_000}
MAX_CORPUS_BYTES = 200 << 10


@pytest.mark.parametrize("half", HALVES)
def test_no_decoder_crashes_hangs_or_accepts_a_forgery_in_a_short_run(half: str, tmp_path: Path) -> None:
    targets = [one for one in harness.load_all() if one.name.partition("/")[0] in HALVES[half]]
    jobs = share_out(targets, RUNS[half], tmp_path, fewest=10)

    results = carry_out(jobs, 1, tmp_path)

    assert [f"{result.job.name}: {result.finding}\n{result.explanation}" for result in results if result.finding] == []
    assert {result.job.name for result in results} == {one.name for one in targets}
    for result in results:
        assert result.counters.inputs >= result.job.runs, result.job.name
        assert result.edges > 0, f"{result.job.name}: no branch of ours was seen"
        assert result.counters.read > 0, f"{result.job.name}: nothing was ever read, so nothing behind it was reached"


def test_every_target_is_in_one_half() -> None:
    rooms = [room for half in HALVES.values() for room in half]
    assert sorted(rooms) == sorted(harness.ROOMS)


def test_the_corpus_is_small_and_every_file_of_it_has_a_target() -> None:
    files = sorted(CORPUS.glob("*")) if CORPUS.exists() else []
    assert sum(path.stat().st_size for path in files) <= MAX_CORPUS_BYTES
    names = {f"{one.name.replace('/', '.')}.hex" for one in harness.load_all()}
    assert {path.name for path in files} <= names
