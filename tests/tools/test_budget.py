"""What a day costs a board: the arithmetic, the page that people read it on, and the commands."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from lapel_device.battery_watch import ALARMS_ONLY_MINUTES, ALARMS_ONLY_PERCENT
from lapel_tools.budget.budget import Budget, budget_of
from lapel_tools.budget.currents import CURRENTS, current_of, radio_of
from lapel_tools.budget.day import Shift, read_shift
from lapel_tools.budget.energy import energy
from lapel_tools.budget.figures import FIGURES_FILE, Activity, BoardFigures, Bytes, Media, read_figures
from lapel_tools.budget.page import section
from lapel_tools.budget.traffic import pings_between, traffic
from lapel_tools.console import CommandError
from lapel_tools.technician.wiring import BOARDS
from tests.tools.command import Lapel

PAGE = Path(__file__).parents[2] / "docs" / "boards.md"
CAMERA_PROFILE = {"max_frame_bytes": 10_000, "frame_interval_ms": 500, "audio_rate_hz": 16_000}


def bytes_of(total: float) -> Bytes:
    return Bytes(0, total / 4, total / 4, total / 2)


def figures(camera: bool = False) -> BoardFigures:
    """A board whose every activity costs a round number."""
    activities = {
        name: Activity(bytes_of(up), bytes_of(down), 2.0)
        for name, up, down in (
            ("connect", 2000, 1000),
            ("reconnect", 1000, 500),
            ("beat", 100, 40),
            ("ping", 20, 20),
            ("visit", 800, 400),
            ("drill", 600, 300),
        )
    }
    activities["standby"] = Activity(bytes_of(0), bytes_of(0), 10.0)
    if not camera:
        return BoardFigures({**activities, "position": Activity(bytes_of(160), bytes_of(0))}, None)
    activities["recording"] = Activity(bytes_of(3_000_000), bytes_of(30_000), 60.0, {"storage": 6000.0, "seal": 9000.0})
    return BoardFigures(activities, Media(2.0, 9000.0, 32_000.0, 1.04, 5.0))


def of_board(name: str, shift: Shift) -> Budget:
    return budget_of(name, read_figures(), shift)


def test_a_days_bytes_are_each_activity_so_often_as_it_happens() -> None:
    day = Shift(hours=1, visits=2, visit_minutes=10, alarm_tests=1, alarm_minutes=2, reconnections=3, heartbeat_s=30)
    found = traffic(figures(), CAMERA_PROFILE, day)
    counts = {line.activity: line.count for line in found.lines}
    assert counts == {
        "connect": 1,
        "reconnect": 3,
        "beat": 120,
        "ping": 240,
        "visit": 2,
        # Two minutes apart in a visit, whose first is in the visit; half a minute apart in an alarm.
        "position": 2 * 4 + 4,
        "drill": 1,
    }
    assert found.up == 2000 + 3 * 1000 + 120 * 100 + 240 * 20 + 2 * 800 + 12 * 160 + 600
    assert found.down == 1000 + 3 * 500 + 120 * 40 + 240 * 20 + 2 * 400 + 300
    assert found.idle_hour_up == 120 * 100 + 240 * 20
    assert found.uplink is None, "it records nothing"


@pytest.mark.parametrize(("heartbeat_s", "pings"), [(5, 0), (10, 0), (11, 1), (20, 1), (30, 2), (60, 5)])
def test_there_is_a_ping_for_each_ten_seconds_in_which_nothing_is_heard(heartbeat_s: int, pings: int) -> None:
    assert pings_between(heartbeat_s) == pings


def test_the_uplink_that_keeps_up_is_a_recorded_minutes_bytes_in_a_minute() -> None:
    day = Shift(recording_minutes=20, clips=6)
    found = traffic(figures(camera=True), CAMERA_PROFILE, day)
    assert found.uplink is not None
    assert found.uplink.typical_bits_per_s == 3_000_000 * 8 / 60
    assert found.uplink.most_bits_per_s == pytest.approx((10_000 * 2 + 32_000) * 1.04 * 8)
    [minutes] = [line for line in found.lines if line.activity == "recording"]
    assert minutes.up.total == 60_000_000


def test_charge_is_currents_times_times_and_the_reserve_is_the_firmwares() -> None:
    facts = {"chip": "rp2040", "parts": ("Arducam Mega", "microSD"), "battery_mah": 1000}
    day = Shift(hours=10, visits=0, recording_minutes=60, clips=1, alarm_tests=0, reconnections=0)
    measured = figures(camera=True)
    found = energy(measured, facts, day, traffic(measured, CAMERA_PROFILE, day))
    mah = {charge.activity: charge.mah for charge in found.charges}
    always = sum(
        current_of(part, state)
        for part, state in (
            ("rp2040", "idle"),
            ("CYW43439", "dozing"),
            ("WS2812", "dark"),
            ("Arducam Mega", "asleep"),
            ("microSD", "idle"),
        )
    )
    assert mah["being on"] == pytest.approx(10 * always)
    awake = current_of("CYW43439", "awake") - current_of("CYW43439", "dozing")
    camera = current_of("Arducam Mega", "on") - current_of("Arducam Mega", "asleep")
    card = 0.1 * (current_of("microSD", "writing") - current_of("microSD", "idle"))  # 6 of 60 s
    least = awake + camera + card + current_of("WS2812", "one colour")
    assert least < mah["recording"] < least + 10, "an hour of it; sending and the reminder come on top"
    assert mah["visits"] == mah["alarm tests"] == 0
    assert mah["rest of uploads"] == pytest.approx(awake * 5 / 3600)
    assert found.reserve_mah == max(ALARMS_ONLY_PERCENT * 10, found.recording_ma * ALARMS_ONLY_MINUTES / 60)
    assert found.hours == pytest.approx((1000 - found.reserve_mah) / (found.mah / 10))


def test_minutes_decide_the_reserve_of_a_small_cell() -> None:
    facts = {"chip": "rp2040", "parts": ("Arducam Mega", "microSD"), "battery_mah": 300}
    measured, day = figures(camera=True), Shift()
    found = energy(measured, facts, day, traffic(measured, CAMERA_PROFILE, day))
    assert found.reserve_mah > 300 * ALARMS_ONLY_PERCENT / 100
    assert found.reserve_mah == found.recording_ma * ALARMS_ONLY_MINUTES / 60


@pytest.mark.parametrize("board", BOARDS)
def test_a_longer_recording_costs_more_of_everything_on_boards_that_record(board: str) -> None:
    less, more = (of_board(board, Shift(recording_minutes=minutes)) for minutes in (10, 100))
    assert (more.traffic.up > less.traffic.up) is (less.figures.media is not None)
    assert (more.energy.mah > less.energy.mah) is (less.figures.media is not None)


@pytest.mark.parametrize("board", BOARDS)
def test_a_gauge_begins_with_no_more_minutes_than_the_budget_has(board: str) -> None:
    """What the wearer is told before the cell has fallen far enough to be reckoned from."""
    nominal = importlib.import_module(f"lapel_device.boards.{board}").BOARD["battery_minutes"]
    assert nominal <= of_board(board, Shift()).energy.hours * 60


@pytest.mark.parametrize("board", BOARDS)
def test_every_part_of_a_board_has_its_current_with_a_source(board: str) -> None:
    facts = importlib.import_module(f"lapel_device.boards.{board}").BOARD
    known = {current.part for current in CURRENTS}
    assert {*facts["parts"], facts["chip"], radio_of(facts["chip"])} <= known
    assert all(current.source and current.basis and current.ma >= 0 for current in CURRENTS)
    assert len({(current.part, current.state) for current in CURRENTS}) == len(CURRENTS)


def test_the_page_of_boards_shows_the_budget_of_the_measured_figures() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert section(read_figures(), Shift()) in page, "lapel device budget --out FILE.md, and put it into docs/boards.md"
    assert set(read_figures().boards) == set(BOARDS)


def test_a_day_is_read_from_a_file_and_changed_by_word(tmp_path: Path) -> None:
    file = tmp_path / "shift.toml"
    file.write_text("hours = 10\nrecording_minutes = 40\n")
    assert read_shift(file, ["hours=12", "visits = 0"]) == Shift(hours=12, visits=0, recording_minutes=40)
    assert read_shift(None) == Shift()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("hours = 0", "hours is a whole number from 1 to 48"),
        ("hours = true", "hours is a whole number"),
        ("heartbeat_s = 2", "from 5 to 3600"),
        ("minutes = 3", "it has: hours, visits"),
        ("hours = ", "is not TOML"),
        ("hours = 1\nvisits = 9", "last longer than the shift"),
        ("clips = 0", "at least one of clips"),
    ],
)
def test_a_day_that_cannot_be_is_refused_with_what_is_wrong(tmp_path: Path, text: str, word: str) -> None:
    file = tmp_path / "shift.toml"
    file.write_text(text)
    with pytest.raises(CommandError, match=word):
        read_shift(file)


def test_a_board_is_told_to_people_and_to_scripts(bare: Lapel) -> None:
    told = bare("device", "budget", "pico_w", "--set", "recording_minutes=0", "--json").json
    assert told["board"] == "pico_w"
    assert told["bytes"]["activities"]["recording"]["up"]["records"] == 0
    assert told["energy"]["mah"]["recording"] == 0
    assert "not measured on hardware" in told["currents"]
    shown = bare("device", "budget", "pico_w").out
    assert "not measured on hardware" in shown
    assert "uplink that keeps up" in shown
    assert "kept for alarms" in shown
    compared = bare("device", "budget").out
    assert all(board in compared for board in BOARDS)


def test_figures_that_are_none_and_boards_that_were_not_measured_are_said(bare: Lapel, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    for content in ("[]", "{}", "nonsense"):
        file.write_text(content)
        refused = bare("device", "budget", "pico_w", "--figures", file)
        assert refused.status == 2
        assert "lapel sim budget" in refused.err
    known = json.loads(FIGURES_FILE.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**known, "boards": {}}))
    assert "has no figures of pico_w" in bare("device", "budget", "pico_w", "--figures", file).err
    assert bare("device", "budget", "--out", "page.txt").status == 2
    assert "no board is called" in bare("sim", "budget", "pico_x", "--out", file).err
