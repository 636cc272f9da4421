"""What a technician does on a bad day, with devices that run the real firmware."""

import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from lapel_sim.tray.device import TrayDevice
from lapel_sim.tray.tray import Tray
from lapel_sim.world import World
from lapel_tools.technician.link import BoardLink
from tests.tools.technician.conftest import Bench
from tests.tools.technician.working_devices import working
from tests.waiting import wait_until

pytestmark = pytest.mark.needs("micropython")


def _record(device: TrayDevice) -> None:
    device.hold("RECORD", 1700)
    device.wait_shown("recording")


def _stop(device: TrayDevice) -> None:
    device.hold("RECORD", 1700)
    device.wait_shown("recording stopped")
    device.wait_quiet()


def test_settings_shows_what_a_device_was_given_and_nothing_secret(bench: Bench, world: World) -> None:
    device = working(bench, world, "camera")
    number = device.board.serial_number
    alone = bench.lapel("device", "settings", number)
    assert alone.status == 2
    assert "it runs a program, or is silent; --ask interrupts it" in alone.err
    shown = bench.lapel("device", "settings", number, "--ask", "--json")
    assert shown.status == 0, shown.err
    assert shown.json["host"] == "127.0.0.1"
    assert shown.json["settings_from"] == "provisioning"
    assert shown.json["settings"]["heartbeat_s"] == 30
    assert (shown.json["cancel_pin"], shown.json["duress_pin"]) == (False, False)
    secret = device.sectors.image()[:64].hex()
    assert secret not in shown.out
    device.wait_shown("idle")


def test_a_device_that_records_is_not_interrupted_for_a_question(bench: Bench, world: World) -> None:
    device = working(bench, world, "camera")
    _record(device)
    asked = bench.lapel("device", "settings", device.board.serial_number, "--ask")
    assert asked.status == 2
    assert "it was recording, or was cut off while it recorded: it was started again" in asked.err
    device.wait_shown("idle")


def test_a_factory_reset_says_how_many_clips_would_be_lost_and_erases_nothing(bench: Bench, world: World) -> None:
    device = working(bench, world, "camera")
    for _ in range(2):
        _record(device)
        _stop(device)
    number = device.board.serial_number
    refused = bench.lapel("device", "factory-reset", number, "--ask", "--yes")
    assert refused.status == 2
    assert "2 clips (" in refused.err
    assert "would be lost: the gateway does not have them; --lose-clips loses them" in refused.err
    unasked = bench.lapel("device", "factory-reset", number, "--ask", "--lose-clips")
    assert "nothing was erased: say --yes if it is meant" in unasked.err
    # Starting again the device steps its key chain; its keys are there all the same.
    device.wait_shown("idle")
    assert set(device.sectors.image()) != {0xFF}
    done = bench.lapel("device", "factory-reset", number, "--ask", "--lose-clips", "--yes")
    assert done.status == 0, done.err
    assert set(device.sectors.image()) == {0xFF}
    wait_until(lambda: device.console_has("out of service: /config.json is missing"), 30)
    gone = bench.lapel("device", "settings", number, "--ask")
    assert "it was not provisioned" in gone.err


def test_logs_shows_what_a_device_prints_and_follows_it_through_a_reset(bench: Bench, world: World) -> None:
    device = working(bench, world, "camera")
    boots = device.boots
    board = device.board
    board.ask_reset()
    wait_until(lambda: device.boots > boots, 20)
    heard = bench.lapel("device", "logs", board.serial_number, "--for", "3")
    assert heard.status == 0, heard.err
    assert "boot 1 of" in heard.out or "uplink" in heard.out
    assert device.boots == boots + 1


def test_battery_is_read_by_the_devices_own_driver(bench: Bench, world: World) -> None:
    device = working(bench, world, "camera")
    device.battery.percent = 63
    shown = bench.lapel("device", "battery", device.board.serial_number, "--ask", "--json")
    assert shown.json["battery_percent"] == 63
    device.wait_shown("idle")


def test_a_shell_is_mpremotes_own_prompt_and_the_board_starts_again_after_it(bench: Bench, tray: Tray) -> None:
    board = tray.add()
    with BoardLink(str(board.port)) as link:
        link.stop()
        link.reset()
    wait_until(lambda: board.resets[-1:] == ["reset"] and board.port is not None, 20)
    terminal, inside = os.openpty()
    command = [str(Path(sys.executable).parent / "lapel"), "device", "shell", str(board.port), "--yes"]
    shell = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, start_new_session=True)
    os.close(inside)
    shown = bytearray()

    def shows(words: bytes) -> bool:
        with suppress(OSError):
            while select.select([terminal], [], [], 0)[0]:
                shown.extend(os.read(terminal, 4096))
        return words in shown

    wait_until(lambda: shows(b"Ctrl-] "), 60)
    os.write(terminal, b"print(6*7)\r")
    wait_until(lambda: shows(b"\n42"), 20)
    os.write(terminal, b"\x1d")
    wait_until(lambda: shows(b"") and shell.poll() is not None, 60)
    os.close(terminal)
    assert shell.returncode == 0, bytes(shown)
    assert b"can read the device's keys" in shown
    assert "watchdog" not in board.resets
    assert board.resets[-1] == "reset"


def test_a_shell_needs_a_terminal_and_a_board_without_firmware_has_no_drivers(bench: Bench, tray: Tray) -> None:
    board = tray.add()
    opened = bench.lapel("device", "shell", board.serial_number)
    assert "can read the device's keys" in opened.err
    assert "a prompt needs a terminal" in opened.err
    battery = bench.lapel("device", "battery", board.serial_number)
    assert "the device has no firmware that could do this" in battery.err
    settings = bench.lapel("device", "settings", board.serial_number)
    assert settings.status == 3
    assert "it was not provisioned" in settings.err
