"""The technicians' page, from the gateway to a device's end: every command of it is run, to the letter, in its order.

Only places are put in: the port at which a board is found, and the address of this machine. The sections on images and
firmware have a test of their own.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lapel_sim.tray.device import TrayDevice
from lapel_sim.tray.tray import Tray
from lapel_sim.world import World
from tests.tools.command import Lapel
from tests.tools.technician.placing import flash, place
from tests.waiting import wait_until, whole_gateway_runs

pytestmark = pytest.mark.needs("micropython", "mosquitto")

PAGE = Path(__file__).parents[3] / "docs" / "technicians.md"
LAPEL = Path(sys.executable).with_name("lapel")
HERE = {"192.0.2.10": "127.0.0.1"}
NAME = '"camera 1"'
TIMEOUT_S = 120.0


def section(title: str) -> str:
    """A section of the page by its title."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def commands(title: str) -> list[str]:
    """The commands of a section, as they are typed."""
    return re.findall(r"^    \$ (lapel .*)$", section(title), re.MULTILINE)


def block(title: str, language: str) -> str:
    """What a section says to write into a file."""
    [text] = re.findall(rf"^```{language}\n(.*?)^```$", section(title), re.MULTILINE | re.DOTALL)
    return str(text)


class Follower:
    """Somebody who does what the page says, in a folder of their own."""

    def __init__(self, lapel: Lapel, folder: Path) -> None:
        self._lapel = lapel
        self.folder = folder
        self.places = dict(HERE)
        self.done: list[str] = []

    def does(self, command: str) -> str:
        """Type a command; it ends well."""
        done = self._lapel(*self.words(command)[1:])
        assert done.status == 0, (command, done.err, done.out)
        self.done.append(command)
        return done.out

    def does_when_it_may(self, command: str) -> None:
        """Type a command whose success the page says to wait for, until it ends well."""
        wait_until(lambda: self._lapel(*self.words(command)[1:]).status == 0, TIMEOUT_S)
        self.done.append(command)

    def words(self, command: str) -> list[str]:
        """A command as the shell gives it on."""
        for example, here in self.places.items():
            command = command.replace(example, here)
        return shlex.split(command)

    @contextmanager
    def running(self, command: str) -> Iterator[None]:
        """Leave a command running in another terminal."""
        log = self.folder / "gateway.log"
        with log.open("wb") as out:
            process = subprocess.Popen([LAPEL, *self.words(command)[1:]], cwd=self.folder, stderr=out, stdout=out)
            self.done.append(command)
            try:
                wait_until(lambda: whole_gateway_runs(log), TIMEOUT_S)
                yield
            finally:
                process.terminate()
                process.wait(TIMEOUT_S)

    def rows(self) -> dict[str, dict[str, object]]:
        """The newest device of each name."""
        rows = self._lapel("device", "list", "--all", "--json").json
        return {row["name"]: row for row in rows}


def test_the_page_brings_a_board_from_its_firmware_to_a_shoulder_and_back(
    bare: Lapel, tray: Tray, tmp_path: Path, free_ports: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAPEL_BROKER__PORT", str(free_ports[0]))
    monkeypatch.setenv("LAPEL_WEB__PORT", str(free_ports[1]))
    follower = Follower(bare, tmp_path)
    titles = re.findall(r"^## (.*)$", PAGE.read_text(), re.MULTILINE)
    elsewhere = ("Find the board", "Base image: MicroPython itself", "Firmware")
    typed = [command for title in titles if title not in elsewhere for command in commands(title)]
    [init, run, doctor] = commands("The gateway, once")
    [one, batch] = commands("Provision")
    [label] = commands("Label")
    [test] = commands("Self-test")
    [issue, take_back] = commands("Issue and return")
    [health] = commands("How a device fared")
    [lost, found] = commands("Lost and found")
    [again, retire] = commands("New keys, and the end")
    wifi = tmp_path / "wifi.toml"
    wifi.write_text(block("Provision", "toml"))
    wifi.chmod(0o600)
    (tmp_path / "tray.csv").write_text(block("Provision", "csv"))
    with World(tmp_path / "world") as world:
        devices = [place(tray, world, tmp_path, name) for name in ("camera 1", "camera 2", "camera 3")]
        flash(devices)
        follower.places["/dev/ttyACM0"] = devices[0].board.serial_number
        batch_file = tmp_path / "tray.csv"
        for device, number in zip(devices[1:], ("e6614c311b7a0002", "e6614c311b7a0003"), strict=True):
            batch_file.write_text(batch_file.read_text().replace(number, device.board.serial_number))
        follower.does(init)
        with follower.running(run):
            follower.does_when_it_may(doctor)
            follower.does(one)
            follower.does(batch)
            follower.does(label)
            for device in devices:
                wait_until(lambda: bool(follower.rows()[device.name]["boot"] is not None), TIMEOUT_S)  # noqa: B023
            in_contact(follower, devices[0])
            for device in devices[1:]:
                device.board.unplug()
            follower.does(test)
            follower.does(issue)
            assert follower.rows()["camera 1"]["person"] == "Dana Osei"
            follower.does(take_back)
            follower.does(health)
            follower.does(lost)
            assert follower.rows()["camera 1"]["state"] == "lost"
            follower.does(found)
            follower.does(again)
            follower.does(retire)
    assert follower.done == typed
    assert all((tmp_path / name).read_bytes().startswith(b"%PDF") for name in ("camera-1.pdf", "labels.pdf"))
    assert {row["state"] for name, row in follower.rows().items() if name != "camera 1"} == {"active"}


def in_contact(follower: Follower, device: TrayDevice) -> None:
    """Leave a device on until the list says that it was heard of."""
    device.wait_shown("idle")
    wait_until(lambda: bool(follower.rows()[device.name]["status"] or {}), TIMEOUT_S)
