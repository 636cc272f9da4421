"""The scenarios that the simulator brings, run as `lapel sim run` runs them, and the runner's words for mistakes."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lapel_sim.journal import Entry
from lapel_sim.machine import DeviceFailed
from lapel_sim.scenario import Expectation, ScenarioError, devices_of, load, run_scenario, scenario_names
from lapel_sim.world import World

from .site import GatewaySite, wall_ms

OFFLINE = [name for name, _ in scenario_names() if not getattr(load(name), "NEEDS_GATEWAY", False)]


@pytest.mark.parametrize("name", OFFLINE)
def test_a_scenario_without_a_gateway_ends_as_it_should(name: str, tmp_path: Path) -> None:
    outcome = run_scenario(name, root=tmp_path / "world", seed=3)
    assert outcome.seconds > 1
    assert (outcome.root / "journal.jsonl").read_text().count("\n") > 20
    assert (outcome.root / outcome.devices[0] / "console.log").is_file()


@pytest.fixture
def site(tmp_path: Path, free_port: int) -> Iterator[GatewaySite]:
    made = GatewaySite(tmp_path / "gateway", free_port)
    yield made
    made.stop()


def test_the_incident_ends_as_it_should_with_a_human_who_acknowledges(tmp_path: Path, site: GatewaySite) -> None:
    name, folder = "camera-1", tmp_path / "package"
    site.package(name, folder)
    acknowledged = threading.Event()

    def watch(entry: Entry) -> None:
        if entry.get("pattern") == "alarm received" and not acknowledged.is_set():
            acknowledged.set()
            threading.Thread(target=site.acknowledge, args=(site.alarms()[0], "Dana")).start()

    run_scenario("incident", root=tmp_path / "world", packages={name: folder}, narrate=watch)
    assert acknowledged.is_set()
    assert site.alarms()[0]["acknowledged_by"] == "Dana"
    assert site.alarms()[0]["acknowledged_ms"] <= wall_ms()


def test_a_scenario_that_needs_a_gateway_says_so_without_one(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="gateway"):
        run_scenario("incident", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [("no_such", "no scenario is called 'no_such'; there are: .*first_clip"), ("no/such.py", "not a file")],
)
def test_an_unknown_scenario_is_named_with_what_there_is(name: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        load(name)


def test_a_file_can_be_a_scenario_and_a_missed_expectation_ends_it(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        '"""Mine."""\n'
        "from lapel_sim.scenario import expect\n"
        'DEVICES = {"a": "pico_w", "b": "esp32s3_cam"}\n'
        "def scenario(world):\n"
        '    expect(set(world.devices) == {"a", "b"}, "both devices")\n'
        '    expect(world.devices["a"].running, "a running device")\n'
    )
    assert devices_of(load(str(script))) == {"a": "pico_w", "b": "esp32s3_cam"}
    with pytest.raises(Expectation, match="expected: a running device"):
        run_scenario(str(script), root=tmp_path / "world")


def test_a_wait_for_a_pattern_that_never_comes_fails_with_the_console(world: World) -> None:
    device = world.add_device("blank")
    with pytest.raises(DeviceFailed, match=r"did not show 'recording' within 0\.1 s"):
        device.wait_shown("recording", timeout_s=0.1)
    with pytest.raises(ValueError, match="no pattern is called 'rekording'"):
        device.wait_shown("rekording")
