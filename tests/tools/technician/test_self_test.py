"""`lapel device selftest` with devices that run the real firmware at the other end of the cable."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sys
import threading
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import sqlalchemy as sa

import lapel_device.boards
from lapel_gateway.brokers import make_broker
from lapel_gateway.ledger.schema import self_test as self_tests
from lapel_gateway.pki import Pki
from lapel_sim.device import DeviceFailed
from lapel_sim.package import offline_package
from lapel_sim.provision import provision
from lapel_sim.tray.device import TrayDevice, add_tray_device
from lapel_sim.world import World
from lapel_tools.gateway_commands import init
from lapel_tools.site import Site
from lapel_tools.technician import self_test_command, self_test_remedies, self_test_session
from lapel_tools.technician.ports import named_ports
from lapel_tools.technician.self_test_person import AtTerminal, NobodyAnswers, somebody
from lapel_tools.technician.self_test_picture import judge_picture
from lapel_tools.technician.self_test_remedies import remedy
from lapel_tools.technician.self_test_session import stop_board
from lapel_tools.technician.self_test_way import Way, judge_broker, judge_gateway
from tests.scenarios.site import GatewaySite, wall_ms
from tests.tools.command import Result
from tests.tools.technician.conftest import Bench
from tests.tools.technician.small_firmware import HARDWARE, release
from tests.tools.technician.working_devices import whole_release
from tests.waiting import wait_until

pytestmark = pytest.mark.needs("micropython")

NAME = "camera"


@pytest.fixture
def site(tmp_path: Path, free_port: int) -> Iterator[GatewaySite]:
    """A gateway on Mosquitto with TLS and client certificates."""
    made = GatewaySite(tmp_path / "gateway", free_port, "mosquitto")
    yield made
    made.stop()


def flashed(bench: Bench, device: TrayDevice) -> TrayDevice:
    """Plug a device in and give it its firmware."""
    bench.tray.boards.append(device.place(bench.folder, f"e6614c311b7c{len(bench.tray.boards):04x}"))
    release = bench.file("whole.lapel", whole_release().data)
    order = ("--release", release, "--signer", bench.signer, "--hardware", HARDWARE)
    done = bench.lapel("device", "flash", *order, device.board.serial_number)
    assert done.status == 0, done.out
    return device


def working(bench: Bench, world: World, site: GatewaySite | None, name: str = NAME) -> TrayDevice:
    """A provisioned device that runs; without a gateway, one of nobody's."""
    device = add_tray_device(world, name)
    if site is None:
        provision(device, offline_package(bench.folder / f"package of {name}").folder)
    else:
        site.provision(world, name)
    flashed(bench, device).wait_shown("idle")
    return device


def selftest(bench: Bench, site: GatewaySite | None, *more: object) -> Result:
    named = () if site is None else ("--config", site.folder / "lapel.toml")
    return bench.lapel("device", "selftest", *named, *more)


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    return {test["name"]: test["outcome"] for test in report["tests"]}


def line(report: dict[str, Any], name: str) -> dict[str, str]:
    found: list[dict[str, str]] = [test for test in report["tests"] if test["name"] == name]
    assert len(found) == 1, (name, report.get("refused"))
    return found[0]


def test_a_whole_device_passes_and_its_report_and_picture_are_kept(
    bench: Bench, world: World, site: GatewaySite
) -> None:
    device = working(bench, world, site)
    device_id = site.device(NAME)["device"]
    picture = bench.folder / "picture.jpg"
    boots = device.boots
    done = selftest(bench, site, "--no-questions", "--picture", picture, "--by", "Kim", "--json")
    [report] = done.json
    assert done.status == 0, done.out
    asked = {"buttons", "light", "buzzer", "vibration"}
    assert {name for name, outcome in outcomes(report).items() if outcome == "skipped"} == asked, done.out
    assert {name for name, outcome in outcomes(report).items() if outcome == "absent"} == {"microSD", "modem"}
    assert len(report["tests"]) == 21
    assert report["device"] == device_id
    assert report["serial"] == device.board.serial_number
    assert report["boot"] > 0
    assert picture.read_bytes()[:2] == b"\xff\xd8"
    kept = bench.lapel("device", "self-tests", device_id, "--config", site.folder / "lapel.toml", "--json").json
    assert [(one["passed"], one["by"]) for one in kept] == [(True, "Kim")]
    assert kept[0]["tests"] == report["tests"]
    device.wait_shown("idle")
    assert device.boots > boots, "it was started again"
    package = site.folder / "packages" / NAME
    sectors = (package / "sectors.bin").read_bytes()
    secrets = [sectors[12:44], sectors[44:76], (package / "tls" / "key.der").read_bytes()[-64:]]
    said = done.out.encode() + done.err.encode() + repr(kept).encode() + bytes(device.board.said)
    for secret in secrets:
        assert len(set(secret)) > 8, "it is a secret that is looked for"
        for spelling in (secret, secret.hex().encode(), b64encode(secret)[:-4], repr(secret)[2:-1].encode()):
            assert spelling not in said
    wait_until(lambda: site.device(NAME)["contact_ms"] is not None, 30)


def test_each_of_several_faults_is_named_with_what_to_do(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_test_session, "_WIFI_STEP_MS", 300)
    device = working(bench, world, None)
    device.camera.broken = True
    device.microphone._sound = bytes(len(device.microphone._sound))
    device.i2c.fail()
    device.link.radio(False)
    bench.tray.add()
    done = selftest(bench, None, "--all", "--no-questions", "--json")
    assert done.status == 1
    assert "there is no Lapel firmware on it: lapel device flash" in done.err
    assert "the report is not kept: there is no gateway on this machine" in done.err
    report, refused = done.json
    assert not report["kept"]
    assert refused["tests"] == []
    failed = {test["name"]: test for test in report["tests"] if test["outcome"] == "failed"}
    assert set(failed) == {"camera", "microphone", "accelerometer", "Wi-Fi"}
    assert "no camera answers" in failed["camera"]["found"]
    assert "all of them are 0" in failed["microphone"]["found"]
    assert all(test["remedy"] for test in failed.values())
    assert not any(test["remedy"] for test in report["tests"] if test["outcome"] != "failed")
    assert outcomes(report)["broker"] == outcomes(report)["gateway"] == "skipped"
    device.camera.broken = False
    device.i2c.heal()
    device.wait_shown("idle")


def test_a_picture_that_shows_nothing_fails_the_camera(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_test_session, "PARTS", (("camera", "senses", "camera"),))
    monkeypatch.setattr(self_test_session, "_WIFI_STEP_MS", 100)
    device = working(bench, world, None)
    device.link.radio(False)
    frames = device.camera._frames
    device.camera._frames = (jpeg(bytes(640 * 480)),)
    [dark] = selftest(bench, None, "--no-questions", "--json").json
    assert "the picture shows nothing" in line(dark, "camera")["found"]
    assert "take the cover off the lens" in line(dark, "camera")["remedy"]
    device.camera._frames = (frames[0][:600] + b"\xff\xd9",)
    [cut] = selftest(bench, None, "--no-questions", "--json").json
    assert "cannot be decoded" in line(cut, "camera")["found"]


def test_where_the_way_to_the_gateway_ends_is_named(
    bench: Bench, world: World, site: GatewaySite, monkeypatch: pytest.MonkeyPatch, free_ports: list[int]
) -> None:
    monkeypatch.setattr(self_test_session, "PARTS", ())
    monkeypatch.setattr(self_test_session, "_BROKER_S", 8.0)
    monkeypatch.setattr(self_test_session, "_WELCOME_S", 6.0)
    device = working(bench, world, site)

    def ends() -> tuple[dict[str, str], dict[str, str]]:
        [report] = selftest(bench, site, "--no-questions", "--json").json
        return line(report, "broker"), line(report, "gateway")

    route = device.link.route
    monkeypatch.setattr(device.link, "route", lambda host, port: free_ports[3])
    broker, gateway = ends()
    assert "refuses the connection" in broker["found"]
    assert "nothing listens there" in broker["remedy"]
    assert gateway["outcome"] == "skipped"
    monkeypatch.setattr(device.link, "route", route)
    device.link.drop()
    broker, gateway = ends()
    assert "takes the connection and says nothing" in broker["found"]
    assert gateway["outcome"] == "skipped"
    device.link.restore(reset=True)


def test_a_gateway_that_does_not_run_and_one_that_does_not_know_the_device_are_told_apart(
    bench: Bench, world: World, site: GatewaySite, monkeypatch: pytest.MonkeyPatch, free_ports: list[int]
) -> None:
    monkeypatch.setattr(self_test_session, "PARTS", ())
    monkeypatch.setattr(self_test_session, "_WELCOME_S", 6.0)
    device = working(bench, world, site)
    strange = bench.folder / "strange" / "lapel.toml"
    init(strange, organisation="Lakeside", data_dir=strange.parent / "data", broker="embedded", port=free_ports[3])
    site.gateway.stop()
    broker, _ = make_broker(site.site.config, wall_ms())
    assert broker is not None
    broker.start()
    try:
        [own] = selftest(bench, site, "--no-questions", "--json").json
        [others] = bench.lapel("device", "selftest", "--config", strange, "--no-questions", "--json").json
    finally:
        broker.stop()
    assert outcomes(own)["broker"] == outcomes(others)["broker"] == "passed"
    assert "no welcome comes from the gateway" in line(own, "gateway")["found"]
    assert "start the gateway" in line(own, "gateway")["remedy"]
    assert "this gateway does not know the device" in line(others, "gateway")["found"]
    assert "provision it at this gateway" in line(others, "gateway")["remedy"]
    with Site(strange).engine.connect() as connection:
        [kept] = connection.execute(sa.select(self_tests))
    assert (kept.device, kept.hardware) == (None, device.board.serial_number), "kept under the board's own number"


def test_a_broker_with_a_certificate_of_another_authority_is_named(
    bench: Bench, world: World, site: GatewaySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_test_session, "PARTS", ())
    device = add_tray_device(world, NAME)
    package = bench.folder / "package"
    site.package(NAME, package)
    other = Pki.ensure(bench.folder / "another authority", "Another")
    (package / "tls" / "ca.der").write_bytes(other.issue_device(bytes(8), 0).ca_der)
    provision(device, package)
    flashed(bench, device).wait_shown("idle")
    done = selftest(bench, site, "--no-questions", "--json")
    [report] = done.json
    assert "the broker's certificate is not accepted" in line(report, "broker")["found"]
    assert "lapel gateway doctor" in line(report, "broker")["remedy"]
    assert outcomes(report)["gateway"] == "skipped"


def test_a_damaged_file_of_the_firmware_is_named_and_nothing_of_it_is_run(bench: Bench, world: World) -> None:
    device = working(bench, world, None)
    with stop_board(named_ports([device.board.serial_number])[0]) as link:
        link.write_file("/a/lapel_device/application.mpy", b"spoilt")
        link.reset()
    wait_until(lambda: device.board.has_said(b"no slot holds"), 30)
    done = selftest(bench, None, "--no-questions")
    assert done.status == 1
    assert "/a is not whole: damaged: /a/lapel_device/application.mpy" in done.out
    assert "flash it: lapel device flash" in done.out
    assert "not passed: firmware" in done.out


def test_a_slot_that_is_to_run_and_is_empty_is_named_while_another_version_runs(bench: Bench, world: World) -> None:
    device = working(bench, world, None)
    newer = bench.file("newer.lapel", release(8).data)
    order = ("--release", newer, "--signer", bench.signer, "--hardware", HARDWARE)
    done = bench.lapel("device", "flash", *order, device.board.serial_number)
    assert done.status == 0, done.out
    boots = device.boots
    with stop_board(named_ports([device.board.serial_number])[0]) as link:
        link.run("import os\nos.remove('/b/manifest')\n")
        link.reset()
    wait_until(lambda: device.boots > boots, 30)
    done = selftest(bench, None, "--no-questions", "--json")
    [report] = done.json
    named = line(report, "firmware")
    assert (named["outcome"], named["found"]) == ("failed", "/a has 0.7.0 (7); /b is empty")
    assert "another runs: flash it again" in named["remedy"]
    assert done.status == 1


def test_a_device_with_an_alarm_is_left_alone(bench: Bench, world: World) -> None:
    device = working(bench, world, None)
    with stop_board(named_ports([device.board.serial_number])[0]) as link:
        record = bytes.fromhex("000000070000000302")
        link.write_file("/alarm.0", record + zlib.crc32(record).to_bytes(4, "big"))
        boots = device.boots
        link.reset()
    wait_until(lambda: device.boots > boots, 30)
    boots = device.boots
    refused = selftest(bench, None, "--no-questions")
    assert refused.status == 1
    assert "an alarm is latched (raised, not received yet); it was started again, and is left alone" in refused.err
    wait_until(lambda: device.boots > boots, 30)


def test_a_board_without_firmware_is_refused_and_which_board_is_meant_is_asked(bench: Bench) -> None:
    nothing = bench.lapel("device", "selftest")
    assert (nothing.status, "no boards" in nothing.err) == (3, True)
    first = bench.tray.add()
    bare = selftest(bench, None, "--no-questions")
    assert bare.status == 1
    assert "there is no Lapel firmware on it: lapel device flash" in bare.err
    bench.tray.add()
    assert "which one?" in selftest(bench, None).err
    assert "name ports, or say --all" in selftest(bench, None, "--all", "--port", first.serial_number).err


class _Somebody:
    """Pushes what is to be pushed, and answers no to one question."""

    there = True

    def __init__(self, device: TrayDevice, sees_not: str) -> None:
        self._device = device
        self._sees_not = sees_not
        self.asked: list[str] = []

    def tell(self, text: str) -> None:
        button = "ALARM" if "ALARM" in text else "RECORD"
        for_ms = 2600 if "hold" in text else 200

        def push() -> None:
            # The board looks at its buttons only until it has seen what it waits for.
            with contextlib.suppress(DeviceFailed):
                self._device.hold(button, for_ms)

        threading.Thread(target=push, daemon=True).start()

    def agrees(self, question: str, feed: Callable[[], None], again: Callable[[], object]) -> bool:
        feed()
        self.asked.append(question)
        return self._sees_not not in question

    def sees(self, jpeg: bytes, feed: Callable[[], None]) -> bool | None:
        return jpeg[:2] == b"\xff\xd8"


def test_buttons_are_asked_for_and_a_light_that_is_not_seen_is_named(
    bench: Bench, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_test_session, "PARTS", ())
    monkeypatch.setattr(self_test_session, "_WIFI_STEP_MS", 100)
    device = working(bench, world, None)
    device.link.radio(False)
    person = _Somebody(device, "green")
    monkeypatch.setattr(self_test_command, "somebody", lambda questions, name="": person)
    [report] = selftest(bench, None, "--json").json
    assert line(report, "buttons")["found"] == "RECORD, ALARM, and a hold of ALARM were noticed"
    assert (line(report, "light")["outcome"], line(report, "light")["found"]) == ("failed", "it is not green")
    assert outcomes(report)["buzzer"] == outcomes(report)["vibration"] == "passed"
    assert [question.split()[-1] for question in person.asked] == ["red?", "green?", "tone?", "vibrate?"]
    shown = [(entry["rgb"], entry["vibrate"], entry["buzzer_hz"]) for entry in world.journal.entries("indicator")]
    assert {("ff0000", False, 0), ("00ff00", False, 0), ("000000", False, 2000), ("000000", True, 0)} <= set(shown)


def test_a_terminal_is_asked_until_it_answers_and_the_board_is_fed_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        person = somebody(True)
        assert isinstance(person, AtTerminal)
        again: list[str] = []
        fed: list[int] = []

        def feed() -> None:
            fed.append(1)
            if len(fed) == 2:
                os.write(ours, b"r\nperhaps\ny\n")

        assert person.agrees("is it?", feed, lambda: again.append("again"))
        assert again == ["again"]
        os.write(ours, b"N\n")
        assert not person.agrees("is it?", lambda: None, lambda: None)
        os.write(ours, b"\x04")
        with pytest.raises(NobodyAnswers):
            person.agrees("is it?", lambda: None, lambda: None)
        assert not somebody(False).there
    os.close(ours)


def test_every_fault_that_a_board_can_name_has_its_own_remedy() -> None:
    folder = Path(lapel_device.boards.__file__).parent / "self_test"
    faults = {path.stem: set(re.findall(r'failed\(\s*"(\w+)"', path.read_text())) for path in folder.glob("*.py")}
    names = {(section, function): name for name, section, function in self_test_session.PARTS}
    assert {section for section, _ in names} <= faults.keys()
    known = {fault for _, fault in self_test_remedies._REMEDIES}
    own = set().union(*faults.values()) - {"error", "fault"}
    assert own <= known, own - known
    for board in ("pico_w", "esp32s3_cam"):
        for test, fault in self_test_remedies._REMEDIES:
            words = remedy(test, fault, board)
            assert words
            assert "{" not in words
    assert "GP18 microSD CLK" in remedy("microSD", "no_card", "pico_w")
    assert "GPIO39 microSD CLK" in remedy("microSD", "no_card", "esp32s3_cam")


def jpeg(grey: bytes) -> bytes:
    """A picture of 640 x 480."""
    done, content = cv2.imencode(".jpg", np.frombuffer(grey, np.uint8).reshape(480, 640))
    assert done
    return bytes(content)


def test_a_picture_is_judged_by_what_it_shows() -> None:
    shown = judge_picture(jpeg(bytes(column * 255 // 640 for _ in range(480) for column in range(640))))
    assert shown is not None
    assert (shown.width, shown.height, shown.uniform) == (640, 480, False)
    for grey in (0, 90, 255):
        flat = judge_picture(jpeg(bytes([grey]) * (640 * 480)))
        assert flat is not None
        assert flat.uniform
        assert abs(flat.brightness - grey) < 4
    noise = np.random.default_rng(1).normal(6, 2, 640 * 480).clip(0, 255).astype(np.uint8)
    covered = judge_picture(jpeg(noise.tobytes()))
    assert covered is not None
    assert covered.uniform, "a covered lens gives noise"
    assert judge_picture(b"\xff\xd8 no picture \xff\xd9") is None
    assert judge_picture(b"") is None


WELCOMED = Way("", 3, True, 1, True, True, True, 900, 700, False, 0, "", 400, 600, False)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, ""),
        ({"fault": "keys", "online_ms": -1}, ""),
        ({"online_ms": -1, "up": False}, "no_network"),
        ({"online_ms": -1, "opened": False, "number": -2, "error": "-2"}, "no_name"),
        ({"online_ms": -1, "opened": False, "error": "invalid key"}, "certificate_file"),
        ({"online_ms": -1, "number": 12, "error": "12"}, "memory"),
        ({"online_ms": -1, "connected": False, "sent": 0, "number": 113, "error": "EHOSTUNREACH"}, "refused"),
        ({"online_ms": -1, "connected": False, "sent": 0}, "unreachable"),
        ({"online_ms": -1, "sent": 0, "error": "The certificate is not signed by the trusted CA"}, "certificate"),
        ({"online_ms": -1, "sent": 0, "error": "The certificate validity has expired"}, "certificate_time"),
        ({"online_ms": -1, "sent": 0, "number": 104, "error": "ECONNRESET"}, "tls_refused"),
        ({"online_ms": -1, "sent": 0}, "silent"),
        ({"online_ms": -1, "closed": True}, "turned_away"),
        ({"online_ms": -1}, "silent"),
    ],
)
def test_how_far_a_device_came_names_what_stopped_it(changes: dict[str, Any], fault: str) -> None:
    way = dataclasses.replace(WELCOMED, welcomed_ms=-1, **changes)
    assert judge_broker(way)[1] == fault
    if fault:
        assert remedy("broker", fault, "pico_w") != remedy("broker", "no such fault", "pico_w")


@pytest.mark.parametrize(
    ("changes", "state", "fault"),
    [
        ({}, None, ""),
        ({"welcomed_ms": -1}, None, "no_welcome"),
        ({"welcomed_ms": -1}, "active", "no_welcome"),
        ({"welcomed_ms": -1}, "retired", "not_active"),
        ({"welcomed_ms": -1}, "", "unknown"),
        ({"welcomed_ms": -1, "refused": True}, "active", "wrong_keys"),
        ({"welcomed_ms": -1, "fault": "no valid key image"}, "active", "out_of_service"),
    ],
)
def test_a_welcome_that_does_not_come_is_told_apart(changes: dict[str, Any], state: str | None, fault: str) -> None:
    outcome, named, _ = judge_gateway(dataclasses.replace(WELCOMED, **changes), state)
    assert (outcome, named) == ("failed" if fault else "passed", fault)
    assert Way.read(dataclasses.astuple(WELCOMED)) == WELCOMED
    for nonsense in (None, (), dataclasses.astuple(WELCOMED)[1:], ("", "3", *dataclasses.astuple(WELCOMED)[2:])):
        with pytest.raises(ValueError, match="not what a round trip tells"):
            Way.read(nonsense)
