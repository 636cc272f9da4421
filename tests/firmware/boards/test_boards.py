"""Every board: its data as tools read it, and the whole firmware booted on it under the real MicroPython."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest

from lapel_device import feedback
from lapel_protocol.alarm import RAISED
from lapel_protocol.clip import END_WEARER, NOTICE_ALARM
from lapel_protocol.keys import chain_start
from lapel_protocol.recording import IDLE
from lapel_sim.chips.arducam_mega import default_frame
from lapel_sim.hardware import BOARDS as SIMULATED
from tests.firmware.boards.onboard import console, told_in
from tests.firmware.desk import DEVICE, K_DEV, POOL, OpenedClip, config_fields

NAMES = ["pico_w", "pico2_w", "esp32s3_cam", "fob_pico_w", "fob_esp32s3"]
CAMERAS = NAMES[:3]
FOBS = NAMES[3:]
PASSWORD = "depot-password"
WIFI = [{"ssid": "Depot", "password": PASSWORD, "security": "wpa2/wpa3"}]
on_micropython = pytest.mark.needs("micropython")

Told = list[dict[str, Any]]


def booted(names: list[str]) -> list[Any]:
    """One process of the tests for each board: its boots are shared."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]


def module(name: str) -> ModuleType:
    return import_module(f"lapel_device.boards.{name}")


@functools.cache
def boot(name: str, what: str, tamper: bool = False, account: str = "") -> Told:
    """What the board told of one boot; the same one for every test that asks."""
    fields = {**config_fields(), "host": "127.0.0.1", "tamper": tamper}
    files = {"/config.json": json.dumps(fields), "/wifi.json": json.dumps(WIFI)}
    if account:
        files["/modem.json"] = account
    chain_key = chain_start(K_DEV, DEVICE)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(files, file)
        file.flush()
        text = console(["boot_device", name, what, file.name, chain_key.hex(), POOL.hex()], 300)
    for secret in (PASSWORD, chain_key.hex(), POOL.hex()):
        assert secret not in text
    return told_in(text)


def told_of(told: Told, key: str) -> dict[str, Any]:
    return next(line for line in told if key in line)


def clips_of(told: Told) -> list[OpenedClip]:
    content: dict[str, bytearray] = {}
    for line in told:
        if "piece" in line:
            content.setdefault(line["clip"], bytearray()).extend(bytes.fromhex(line["piece"]))
    return [OpenedClip(bytes(content[name])) for name in sorted(content)]


def as_driven(pattern: int) -> int:
    """A pattern's colour as it is driven at the light's brightness of 96 of 255."""
    start = feedback.STARTS[pattern]
    rgb = feedback.ROWS[start] << 8 | feedback.ROWS[start + 1]
    return sum((rgb >> shift & 0xFF) * 96 // 255 << shift for shift in (16, 8, 0))


def colours(told: Told) -> set[int]:
    return {line["rgb"] for line in told if "rgb" in line}


def pins_in_use(name: str) -> Iterator[tuple[str, int | str]]:
    for wire, (pin, _, _) in module(name).PINS.items():
        yield wire, pin


# -- data --


@pytest.mark.parametrize("name", NAMES)
def test_no_pin_of_a_board_has_two_wires(name: str) -> None:
    pins = [pin for _, pin in pins_in_use(name)]
    assert len(pins) == len(set(pins))


@pytest.mark.parametrize("name", NAMES)
def test_a_boards_data_is_complete(name: str) -> None:
    data = module(name)
    assert data.BOARD["name"] == name
    assert data.BOARD["hardware_id"] == f"lapel-{name}-1"
    assert data.BOARD["chip"] in ("rp2040", "rp2350", "esp32s3")
    assert data.BOARD["flash_bytes"] in (2 << 20, 4 << 20, 8 << 20)
    assert {"record_button", "alarm_button", "light", "vibration", "buzzer", "battery"} <= data.PINS.keys()
    for wire, (_, bus, goes_to) in data.PINS.items():
        assert bus, wire
        assert goes_to, wire
    assert json.loads(json.dumps(data.BOARD))


def test_a_wire_has_the_same_name_on_every_board() -> None:
    every = set().union(*(module(name).PINS for name in NAMES))
    own_to_a_parallel_camera = {f"camera_d{bit}" for bit in range(8)} | {
        f"camera_{wire}" for wire in ("sda", "scl", "vsync", "href", "pclk", "xclk")
    }
    assert every - own_to_a_parallel_camera == module("pico_w").PINS.keys()
    assert module("fob_pico_w").PINS.items() <= module("pico_w").PINS.items()


@pytest.mark.parametrize("name", CAMERAS)
def test_a_board_has_the_figures_that_it_is_simulated_with(name: str) -> None:
    simulated = SIMULATED[name].profile("")
    figures = module(name).PROFILE
    smaller = {"max_frame_bytes"} if name == "esp32s3_cam" else set()  # its frames lie in PSRAM
    assert {key: figures[key] for key in figures.keys() - smaller} == {
        key: simulated[key] for key in figures.keys() - smaller
    }


@pytest.mark.parametrize("name", FOBS)
def test_a_fob_says_that_it_has_neither_pictures_nor_sound(name: str) -> None:
    figures = module(name).PROFILE
    assert (figures["frame_width"], figures["frame_height"], figures["audio_rate_hz"]) == (0, 0, 0)


# -- booted --


@on_micropython
@pytest.mark.parametrize("name", booted(CAMERAS))
def test_a_camera_records_what_its_parts_gave_and_shows_it(name: str) -> None:
    told = boot(name, "record")
    end = told_of(told, "fault")
    assert (end["fault"], end["recording"], end["up"]) == ("", IDLE, True)
    assert as_driven(feedback.RECORDING) in colours(told)
    [clip] = clips_of(told)
    assert clip.end is not None
    assert (clip.end.reason, clip.end.dropped) == (END_WEARER, 0)
    frames = [bytes(payload) for _, payload in clip.packets("video")]
    assert len(frames) >= 5
    first = next(number for number in range(1, 4) if default_frame(number, 640, 480) == frames[0])
    assert frames == [default_frame(number, 640, 480) for number in range(first, first + len(frames))]
    sound = b"".join(payload for _, payload in clip.packets("audio"))
    seconds = clip.end.duration_ms / 1000
    assert abs(len(sound) / 32000 - seconds) < 0.3, "no sample is lost"
    levels = [int.from_bytes(sound[at : at + 2], "little", signed=True) for at in range(0, len(sound), 2)]
    turns = [at for at in range(1, len(levels) - 1) if levels[at - 1] < levels[at] > levels[at + 1]]
    assert {after - before for before, after in pairwise(turns)} == {32}, "an unbroken 500 Hz"


@on_micropython
@pytest.mark.parametrize("name", booted(NAMES))
def test_a_hold_of_alarm_raises_it_and_is_shown(name: str) -> None:
    told = boot(name, "alarm")
    end = told_of(told, "fault")
    assert (end["fault"], end["alarm"]) == ("", RAISED)
    assert as_driven(feedback.ALARM_RAISED) in colours(told)
    assert any(line["vibrating"] for line in told if "vibrating" in line)
    if name in CAMERAS:
        [clip] = clips_of(told)
        assert clip.header.notice == NOTICE_ALARM


@on_micropython
@pytest.mark.parametrize("name", booted(FOBS))
def test_a_fob_refuses_to_record_and_never_says_that_it_does(name: str) -> None:
    told = boot(name, "record")
    end = told_of(told, "fault")
    assert (end["fault"], end["recording"], end["clip"]) == ("", IDLE, 0)
    assert as_driven(feedback.REFUSED) in colours(told)
    assert not {as_driven(feedback.RECORDING), as_driven(feedback.NOTICE)} & colours(told)
    told = boot(name, "alarm")
    assert as_driven(feedback.RECORDING) not in colours(told)


@on_micropython
@pytest.mark.parametrize("name", booted(NAMES))
def test_a_board_whose_parts_are_all_broken_still_raises_an_alarm(name: str) -> None:
    told = boot(name, "broken")
    end = told_of(told, "fault")
    assert (end["fault"], end["alarm"], end["recording"]) == ("", RAISED, IDLE)
    assert {as_driven(feedback.ALARM_RAISED), as_driven(feedback.REFUSED)} <= colours(told)
    assert as_driven(feedback.RECORDING) not in colours(told)


@on_micropython
@pytest.mark.parametrize("name", ["pico_w", "esp32s3_cam"])
def test_parts_that_are_pulled_while_recording_end_the_clip_and_nothing_else(name: str) -> None:
    told = boot(name, "unplugged")
    end = told_of(told, "fault")
    assert (end["fault"], end["recording"]) == ("", IDLE)
    assert as_driven(feedback.REFUSED) in colours(told)


@on_micropython
def test_an_opened_case_is_an_alarm() -> None:
    told = boot("fob_pico_w", "tamper", tamper=True)
    assert told_of(told, "fault")["alarm"] == RAISED


@on_micropython
@pytest.mark.parametrize("name", booted(NAMES))
def test_a_boards_parts_say_what_they_are_and_how_they_do(name: str) -> None:
    told = boot(name, "nothing")
    parts = told_of(told, "entropy")
    assert parts["camera"] == "", "nobody has started it"
    assert (parts["card"], parts["capacity"]) == (("LPL16", 16 << 20) if name in CAMERAS else ("", 0))
    assert (parts["wifi"], parts["rssi"]) == (1, -60)
    assert parts["battery"] == 73
    assert 3900 < parts["millivolts"] < 4000
    assert parts["entropy"] == 3
    assert parts["overruns"] == 0
    assert not parts["modem"], "there is no account"
    if "motion_sda" in module(name).PINS:
        assert parts["samples"] >= 150
        assert parts["mg"] == [0, 0, 1000]
    assert parts["gnss"] == ("gnss_rx" in module(name).PINS)


@on_micropython
@pytest.mark.parametrize("name", ["pico_w", "fob_esp32s3"])
def test_a_board_with_a_modems_account_uses_its_modem(name: str) -> None:
    told = boot(name, "nothing", account=json.dumps({"apn": "iot.example"}))
    assert told_of(told, "entropy")["modem"]


@on_micropython
@pytest.mark.parametrize("name", booted(NAMES))
def test_a_board_comes_up_quickly_and_its_drivers_leave_the_heap_to_the_firmware(name: str) -> None:
    told = boot(name, "nothing")
    begun = told_of(told, "boot_ms")
    assert begun["boot_ms"] < 2000
    frame_bytes = module(name).PROFILE["max_frame_bytes"] if name.startswith("pico") else 0
    # With pointers twice as wide as a board's, and with the models' pins, buses and blocks of the card.
    assert begun["heap"] - frame_bytes < (24 if name in FOBS else 42) * 1024
