"""`lapel device provision --port` with real MicroPython boards at the other end of the cable."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lapel_gateway.ledger import open_ledger, writing
from lapel_gateway.ledger.schema import device as devices
from lapel_sim.tray.device import TrayDevice
from lapel_sim.tray.kinds import ESP32S3, PICO_W, BoardKind
from lapel_sim.tray.tray import Tray
from lapel_sim.world import World
from lapel_tools.technician.link import BoardLink, LinkError
from tests.tools.command import Lapel, Result
from tests.tools.technician.placing import UNPROVISIONED, flash, place
from tests.waiting import wait_until

pytestmark = pytest.mark.needs("micropython")

WIFI = '[[network]]\nssid = "Depot"\npassword = "correct horse 9"\n'
PLACES = int(os.environ.get("LAPEL_PROVISION_BREAKS", "4"))
"""So many places of a provisioning are broken, in each direction."""


@pytest.fixture
def lapel(bare: Lapel, organisation_key: Path) -> Lapel:
    """The command beside a gateway whose broker asks for certificates."""
    made = bare("gateway", "init", "--broker", "mosquitto", "--public-key", organisation_key / "public.pem")
    assert made.status == 0, made.err
    return bare


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world") as made:
        yield made


@pytest.fixture
def camera(tray: Tray, world: World, tmp_path: Path) -> TrayDevice:
    """A flashed board that says that it is not provisioned."""
    device = place(tray, world, tmp_path, "camera")
    flash([device])
    wait_until(lambda: device.console_has(UNPROVISIONED), 60)
    return device


def provision(lapel: Lapel, device: TrayDevice, name: str = "camera 1", *more: object) -> Result:
    return lapel("device", "provision", name, "--port", device.board.serial_number, "--json", *more)


@contextmanager
def held(device: TrayDevice) -> Iterator[BoardLink]:
    """A board that was stopped, and starts again afterwards. On a busy machine its watchdog may be quicker, once."""
    for attempt in range(3):
        link = BoardLink(str(device.board.port))
        try:
            link.stop()
            break
        except LinkError:
            link.close()
            if attempt == 2:
                raise
    with link:
        yield link
        link.reset()


def states(lapel: Lapel) -> list[str]:
    return [row["state"] for row in lapel("device", "list", "--all", "--json").json]


def files(device: TrayDevice) -> dict[str, bytes]:
    """What lies in the flash of a board that is unplugged for it; it runs again afterwards."""
    board = device.board
    board.unplug()
    found = board.files()
    at = len(board.said)
    board.plug()
    wait_until(lambda: any(words in board.said[at:] for words in (b"boot ", b"out of service", b"flash this")), 60)
    return found


@pytest.mark.parametrize("kind", [PICO_W, ESP32S3], ids=lambda kind: str(kind.name))
def test_a_flashed_board_becomes_a_device_that_says_who_it_is(
    lapel: Lapel, tray: Tray, world: World, tmp_path: Path, kind: BoardKind
) -> None:
    device = place(tray, world, tmp_path, "camera", kind)
    flash([device])
    wifi = tmp_path / "networks.toml"
    wifi.write_text(WIFI)
    wifi.chmod(0o600)
    made = provision(lapel, device, "camera 1", "--wifi", wifi, "--label", "label.pdf")
    assert made.status == 0, made.err
    assert made.json["says"] == f"boot 0 of {made.json['device']}"
    assert len(made.json["fingerprint"]) == 64
    assert (lapel.folder / "label.pdf").read_bytes().startswith(b"%PDF")
    device.wait_shown("idle")
    there = files(device)
    assert json.loads(there["/config.json"])["device"] == made.json["device"]
    assert json.loads(there["/wifi.json"]) == [
        {"ssid": "Depot", "password": "correct horse 9", "security": "wpa2/wpa3"}
    ]
    assert {"/tls/ca.der", "/tls/cert.der", "/tls/key.der", "/keys.0", "/keys.1", "/keys.map"} <= set(there)
    assert not [path for path in there if path.endswith(".new")]
    [row] = lapel("device", "list", "--json").json
    assert (row["device"], row["name"]) == (made.json["device"], "camera 1")


def test_a_board_that_is_a_device_already_is_left_alone_unless_it_is_retired_or_that_is_asked_for(
    lapel: Lapel, camera: TrayDevice
) -> None:
    first = provision(lapel, camera).json["device"]
    refused = provision(lapel, camera, "camera 2")
    assert refused.status == 1
    assert f"it is {first} already, which is active: lapel device reprovision {first}" in refused.err
    assert states(lapel) == ["active"]
    wait_until(lambda: camera.console_has(f"boot 1 of {first}"), 60)
    other = lapel("device", "reprovision", first, "--port", camera.board.serial_number, "--json")
    assert other.status == 0, other.err
    assert other.json["name"] == "camera 1"
    assert sorted(states(lapel)) == ["active", "retired"]
    assert lapel("device", "retire", "camera 1").status == 0
    third = provision(lapel, camera, "camera 3")
    assert third.status == 0, third.err
    asked = provision(lapel, camera, "camera 4", "--again")
    assert asked.status == 0, asked.err
    assert sorted(states(lapel)) == ["active", "retired", "retired", "retired"]
    wait_until(lambda: camera.console_has(f"boot 0 of {asked.json['device']}"), 60)


def test_a_device_of_another_gateway_is_left_alone_unless_that_is_asked_for(lapel: Lapel, camera: TrayDevice) -> None:
    with held(camera) as link:
        link.write_file("/config.json", b'{"device": "00112233445566aa"}')
    refused = provision(lapel, camera)
    assert "it is provisioned already, as 00112233445566aa of another gateway; --again" in refused.err
    assert states(lapel) == []
    assert provision(lapel, camera, "camera 1", "--again").status == 0


def test_another_device_than_the_one_that_is_named_is_left_alone(
    lapel: Lapel, camera: TrayDevice, tray: Tray, world: World, tmp_path: Path
) -> None:
    assert provision(lapel, camera).status == 0
    made = lapel("device", "provision", "camera 9", "--out", "package")
    assert made.status == 0
    refused = lapel("device", "reprovision", "camera 9", "--port", camera.board.serial_number)
    assert refused.status == 1
    assert "the board at this port is" in refused.err
    assert states(lapel) == ["active", "active"]


def test_a_latched_alarm_and_clips_that_nobody_else_has_are_left_alone(lapel: Lapel, camera: TrayDevice) -> None:
    record = bytes.fromhex("000000070000000302")

    def put(path: str, content: bytes) -> None:
        with held(camera) as link:
            link.run("import os\ntry:\n os.mkdir('/spool')\nexcept OSError:pass")
            link.write_file(path, content)

    put("/alarm.0", record + zlib.crc32(record).to_bytes(4, "big"))
    latched = provision(lapel, camera)
    assert "an alarm is latched on it (raised, not received yet)" in latched.err
    put("/alarm.0", b"")
    put("/spool/00000001.clp", bytes(8192))
    full = provision(lapel, camera)
    assert "it holds 1 clips that nobody else has" in full.err
    assert states(lapel) == []
    assert "/spool/00000001.clp" in files(camera)
    done = provision(lapel, camera, "camera 1", "--lose-clips")
    assert done.status == 0, done.err
    assert not {"/spool/00000001.clp", "/alarm.0"} & set(files(camera))


def test_what_was_the_former_devices_does_not_become_the_new_ones(lapel: Lapel, camera: TrayDevice) -> None:
    modem = lapel.folder / "modem.toml"
    modem.write_text('apn = "iot.example"\npin = "4711"\n')
    modem.chmod(0o600)
    first = provision(lapel, camera, "camera 1", "--setting", "man_down=1", "--modem", modem).json["device"]
    camera.wait_shown("idle")
    before = files(camera)
    wait_until(lambda: camera.console_has(f"boot 1 of {first}"), 60)
    with held(camera) as link:
        for path in ("/settings.0", "/epochs.0", "/epochs.1", "/journal/leftover", "/leftover"):
            link.write_file(path, b"x" * 40)
    again = lapel("device", "reprovision", "camera 1", "--port", camera.board.serial_number, "--json")
    assert again.status == 0, again.err
    after = files(camera)
    assert not {"/journal/leftover", "/leftover", "/settings.0"} & set(after)
    assert json.loads(before["/modem.json"]) == {"apn": "iot.example", "pin": "4711", "user": "", "password": ""}
    assert after["/modem.json"] == before["/modem.json"], "its SIM is the board's"
    assert json.loads(after["/config.json"])["settings"]["man_down"] == 1, "what it was given at first stays"
    kept = ("/main.py", "/lapel_board.py", "/lapel_loader.mpy", "/update.key", "/slots.0", "/a/manifest")
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}
    for name in ("/tls/key.der", "/tls/cert.der"):
        assert after[name] != before[name]
    keys, former = (found["/keys.0"] + found["/keys.1"] for found in (after, before))
    assert b"LKS1" in keys
    assert b"LKS1" in former
    assert keys != former


def test_a_board_without_firmware_is_not_entered(lapel: Lapel, tray: Tray) -> None:
    board = tray.add()
    bare_board = lapel("device", "provision", "camera 1", "--port", board.serial_number)
    assert bare_board.status == 1
    assert "there is no firmware on it that makes its drivers: lapel device flash" in bare_board.err
    nobody = lapel("device", "provision", "camera 1", "--port", "/dev/ttyLAPEL9")
    assert "there is no such port" in nobody.err
    assert states(lapel) == []


def test_firmware_that_is_not_whole_is_not_provisioned(lapel: Lapel, camera: TrayDevice) -> None:
    with held(camera) as link:
        link.write_file("/a/lapel_device/runtime.mpy", b"spoilt")
    refused = provision(lapel, camera)
    assert "its firmware is not whole: flash it again" in refused.err
    assert "/config.json" not in files(camera)
    assert states(lapel) == []


def test_a_name_that_is_taken_changes_nothing_on_the_board(lapel: Lapel, camera: TrayDevice) -> None:
    assert lapel("device", "provision", "camera 1", "--out", "package").status == 0
    with held(camera) as link:
        link.run("import os\ntry:\n os.mkdir('/spool')\nexcept OSError:pass")
        link.write_file("/spool/00000001.clp", bytes(8192))
    before = files(camera)
    at = len(camera.board.said)
    refused = provision(lapel, camera, "camera 1", "--lose-clips")
    assert "an active device is called 'camera 1'" in refused.err
    wait_until(lambda: UNPROVISIONED.encode() in camera.board.said[at:], 60)
    assert files(camera) == before


def test_another_board_takes_the_place_of_a_device_only_where_that_holds_no_clips(
    lapel: Lapel, camera: TrayDevice
) -> None:
    made = lapel("device", "provision", "camera 9", "--out", "package", "--json")
    elsewhere = made.json["device"]
    engine = open_ledger(lapel.folder / "data" / "ledger.sqlite")
    with writing(engine) as connection:
        status = json.dumps({"at_ms": 1, "clips_held": 3})
        connection.execute(sa.update(devices).where(devices.c.device == elsewhere).values(status=status))
    engine.dispose()
    refused = lapel("device", "reprovision", "camera 9", "--port", camera.board.serial_number)
    assert "holds 3 clips that are not here" in refused.err
    assert states(lapel) == ["active"]
    done = lapel("device", "reprovision", "camera 9", "--port", camera.board.serial_number, "--lose-clips")
    assert done.status == 0, done.err
    assert sorted(states(lapel)) == ["active", "retired"]


def test_a_board_that_is_in_service_does_not_take_the_place_of_another(lapel: Lapel, camera: TrayDevice) -> None:
    assert provision(lapel, camera).status == 0
    assert lapel("device", "provision", "camera 9", "--out", "package").status == 0
    refused = lapel("device", "reprovision", "camera 9", "--port", camera.board.serial_number, "--again")
    assert "which is in service: retire it first" in refused.err
    assert states(lapel) == ["active", "active"]


def test_a_label_that_cannot_be_written_keeps_back_nothing_of_what_was_done(lapel: Lapel, camera: TrayDevice) -> None:
    told = provision(lapel, camera, "camera 1", "--label", lapel.folder / "nowhere" / "label.pdf")
    assert told.status == 1
    assert "No such file" in told.err
    assert (told.json["name"], len(told.json["fingerprint"])) == ("camera 1", 64)


@pytest.mark.parametrize("towards_board", [True, False], ids=["to the board", "from the board"])
def test_a_break_at_any_byte_leaves_a_retired_entry_and_a_board_that_can_be_provisioned(
    lapel: Lapel, camera: TrayDevice, towards_board: bool
) -> None:
    board = camera.board
    before = board.cable.counts[towards_board]
    old = provision(lapel, camera).json["device"]
    total = board.cable.counts[towards_board] - before
    for number in range(PLACES):
        # From where it is looked at to where it has started, the very last bytes among them.
        place_of = 1 + (total - 200) * (number + 1) // PLACES
        board.cable.break_at(place_of, towards_board, takes_power=bool(number % 2))
        broken = lapel("device", "reprovision", "camera 1", "--port", board.serial_number)
        board.unplug()
        assert broken.status == 1, (place_of, broken.out)
        rows = lapel("device", "list", "--all", "--json").json
        active = [row["device"] for row in rows if row["state"] == "active"]
        there = board.files()
        if active:
            assert active == [old], "it broke before anything was entered"
            assert json.loads(there["/config.json"])["device"] == old
        else:
            assert "/config.json" not in there or number == PLACES - 1
        at = len(board.said)
        board.plug()
        words = f" of {old}" if active else UNPROVISIONED
        if "/config.json" not in there or active:
            wait_until(lambda: words.encode() in board.said[at:], 60)  # noqa: B023
        again: dict[str, Any] = lapel("device", "reprovision", "camera 1", "--port", board.serial_number, "--json").json
        assert again["good"], again
        old = again["device"]
        assert again["says"] == f"boot 0 of {old}"
        rows = lapel("device", "list", "--all", "--json").json
        assert [row["device"] for row in rows if row["state"] == "active"] == [old]


def entries(lapel: Lapel) -> int:
    """How many devices the ledger has; none while there is no ledger."""
    path = lapel.folder / "data" / "ledger.sqlite"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as ledger:
            return int(ledger.execute("SELECT count(*) FROM device").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_ctrl_c_leaves_an_entry_and_a_board_that_agree(lapel: Lapel, camera: TrayDevice) -> None:
    lapel_command = str(Path(sys.executable).with_name("lapel"))
    process = subprocess.Popen(
        [lapel_command, "device", "provision", "camera 1", "--port", str(camera.board.port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # What runs in the background of a shell ignores it, and its children do.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    # The ledger is asked and not the command line, which takes as long as the rest of the provisioning does.
    wait_until(lambda: entries(lapel) > 0, 120)
    at = len(camera.board.said)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert b"Traceback" not in err
    [left] = lapel("device", "list", "--all", "--json").json
    if left["state"] == "retired":
        assert process.returncode != 0, out
        assert b"run the command again" in err or b"broken off" in err, err
        wait_until(lambda: UNPROVISIONED.encode() in camera.board.said[at:], 60)
        assert provision(lapel, camera).status == 0
    else:
        # It came too late: the board had all that it needs, and was on its way up; what was done is told.
        assert left["device"].encode() in out
        wait_until(lambda: f"boot 0 of {left['device']}".encode() in camera.board.said, 60)
        assert left["state"] == "active"


def test_a_file_of_boards_is_checked_whole_before_anything_is_done(lapel: Lapel) -> None:
    path = lapel.folder / "tray.csv"
    for text, words in (
        ("", "its first line names the columns"),
        ("board,name,colour\nx,y,z\n", "its first line names the columns"),
        ("board,name\n", "1 to 200 boards"),
        ("board,name\nx\n", "line 2: it has another number of columns"),
        ("board,name\nx,camera 1\nx,camera 2\n", "line 3: its board or its name is in the file already"),
        ("board,name,person,team\nx,camera 1,,North\n", "name the person, too"),
        ("board,name\nx,\n", "board and name are needed"),
    ):
        path.write_text(text)
        refused = lapel("device", "provision", "--batch", path)
        assert (refused.status, words in refused.err) == (2, True), refused.err
    assert "say NAME and --port PORT, or --batch FILE" in lapel("device", "provision", "camera 1").err
    assert states(lapel) == []
