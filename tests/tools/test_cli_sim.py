"""lapel sim: scenarios under the real MicroPython, and seeded fault schedules."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lapel_tools import sim_commands
from lapel_tools.faults.schedule import Result
from tests.tools.command import Lapel
from tests.waiting import wait_until

WAIT_S = 60.0

SHORT = """
def scenario(world):
    device = next(iter(world.devices.values()))
    device.power_on()
    device.wait_shown("idle")
"""


def test_the_scenarios_are_listed_with_what_happens(bare: Lapel) -> None:
    found = {one["name"]: one["description"] for one in bare("sim", "list", "--json").json}
    assert {"first_clip", "incident", "power_cut"} <= set(found)
    assert all(found.values())


def test_an_unknown_scenario_is_status_2_and_the_known_ones_are_named(bare: Lapel) -> None:
    refused = bare("sim", "run", "first_clop")
    assert refused.status == 2
    assert "first_clip" in refused.err


def test_a_scenario_that_needs_a_gateway_says_so(bare: Lapel) -> None:
    refused = bare("sim", "run", "incident")
    assert (refused.status, "gateway" in refused.err) == (2, True)


@pytest.mark.needs("micropython")
def test_a_scenario_of_ones_own_is_played_and_told(bare: Lapel) -> None:
    (bare.folder / "mine.py").write_text(SHORT)
    played = bare("sim", "run", "mine.py", "--out", "world")
    assert played.status == 0, played.err
    assert "pattern=idle" in played.out
    assert "ended as it should" in played.out
    assert (bare.folder / "world" / "journal.jsonl").is_file()


@pytest.mark.needs("micropython")
def test_a_scenario_that_does_not_end_as_it_should_is_status_1(bare: Lapel) -> None:
    (bare.folder / "mine.py").write_text(SHORT + '    device.wait_shown("recording", timeout_s=0.2)\n')
    assert bare("sim", "run", "mine.py", "--out", "world", "--json").status == 1


@pytest.mark.needs("micropython")
def test_a_mistake_in_a_scenario_of_ones_own_is_told_as_such(bare: Lapel) -> None:
    (bare.folder / "mine.py").write_text(SHORT + "    device.prass()\n")
    played = bare("sim", "run", "mine.py", "--out", "world", "--json")
    assert played.status == 1
    assert "mine.py: AttributeError" in played.err


def test_a_few_seeds_hold_every_invariant(bare: Lapel) -> None:
    run = bare("sim", "soak", "--seeds", "4", "--first", "100", "--json")
    assert run.status == 0, run.err
    assert (run.json["seeds"], run.json["failing"]) == (4, [])
    assert run.json["virtual_ms"] > 0


def test_a_soak_that_is_killed_leaves_no_process_and_no_folder_behind() -> None:
    command = [sys.executable, "-m", "lapel_tools", "sim", "soak", "--seeds", "4000", "--jobs", "1"]
    seen: set[Path] = set()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as soak:
        try:
            # A file is open for a part of each seed only.
            wait_until(lambda: works_in(soak.pid, seen), WAIT_S)
        finally:
            soak.kill()
    wait_until(lambda: not any(folder.exists() for folder in seen), WAIT_S)


def works_in(parent: int, found: set[Path]) -> bool:
    """Add the folders of seeds in which a process that this one started has a file open now; whether any was seen."""
    tasks = Path(f"/proc/{parent}/task")
    for child in [child for task in tasks.iterdir() for child in (task / "children").read_text().split()]:
        with suppress(OSError):
            for file in Path(f"/proc/{child}/fd").iterdir():
                with suppress(OSError):
                    found.update(up for up in file.readlink().parents if up.name.startswith("lapel-seeds-"))
    return bool(found)


def test_a_failing_seed_is_status_1_and_shown_with_what_it_needs(bare: Lapel, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_broken(first: int, count: int, jobs: int | None) -> Iterator[Result]:
        assert (first, count, jobs) == (7, 2, 1)
        yield Result(7)
        yield Result(8, broken="a clip was lost", schedule=["at 3 ms: cut_now"])

    monkeypatch.setattr(sim_commands, "run_soak", one_broken)
    run = bare("sim", "soak", "--seeds", "2", "--first", "7", "--jobs", "1")
    assert run.status == 1
    assert "seed 8: a clip was lost; it needs only: at 3 ms: cut_now" in run.out
