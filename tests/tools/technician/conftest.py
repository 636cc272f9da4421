"""A bench for each test."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from serial.tools import list_ports

from lapel_sim.tray.tray import Tray
from lapel_sim.world import World
from lapel_tools.technician import drives
from tests.tools.command import Lapel, Result
from tests.tools.technician.small_firmware import release, write_public_key


@dataclass(frozen=True)
class Bench:
    """The real commands, a tray, and files that a technician has."""

    lapel: Lapel
    tray: Tray
    folder: Path

    def release(self, number: int, floor: int = 0, which: int = 0, hardware: str = "tray") -> Path:
        """A release file."""
        path = self.folder / f"{hardware}-{number}-{which}.lapel"
        path.write_bytes(release(number, floor, which, hardware).data)
        return path

    @property
    def signer(self) -> Path:
        """The public key of signer 0."""
        path = self.folder / "signer.pem"
        write_public_key(path)
        return path

    def file(self, name: str, content: bytes) -> Path:
        """Any file."""
        path = self.folder / name
        path.write_bytes(content)
        return path

    def flash(self, number: int, *more: object) -> Result:
        """`lapel device flash` with a release of signer 0 for simulated boards."""
        named = ("--release", self.release(number), "--signer", self.signer, "--hardware", "tray")
        return self.lapel("device", "flash", *named, *more)


@pytest.fixture
def tray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tray]:
    """An empty tray; what is put onto it is what this machine's USB shows."""
    folder = tmp_path / "tray"
    folder.mkdir()
    with Tray(folder) as made:
        monkeypatch.setattr(list_ports, "comports", made.comports)
        monkeypatch.setattr(drives, "mounted_folders", made.mounted_folders)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        yield made


@pytest.fixture
def bench(bare: Lapel, tray: Tray, tmp_path: Path) -> Bench:
    """The commands beside a tray, on a machine without a gateway."""
    return Bench(bare, tray, tmp_path)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Hardware around the boards of a tray."""
    with World(tmp_path / "world") as made:
        yield made
