"""Puts a device package onto a simulated board, as a technician's cable does onto a real one, and works on its files
while it is off.
"""

from collections.abc import Mapping
from pathlib import Path

from .device import SimDevice
from .package import BadPackage, read_package
from .sectors import SECTOR_BYTES
from .server import FileTasks

SLOTS_MODULE = "lapel_sim.board.run_slots"


def provision(device: SimDevice, folder: Path) -> None:
    """Format the (switched off) device's storage, write the package and read it back.

    The file system is made and read by the real MicroPython. Raises BadPackage, or DeviceFailed when the device cannot
    store it.
    """
    package = read_package(folder)
    if len(package.sectors) != len(device.sectors.image()):
        raise BadPackage(
            f"{folder} is for {len(package.sectors) // SECTOR_BYTES} key sectors, the board has {device.sectors.count}"
        )
    tasks = FileTasks()
    tasks.format()
    for path, content in package.files.items():
        tasks.write(path, content)
    for path in package.files:
        tasks.read(path)
    stored = device.do_files(tasks)
    wrong = [path for path, content in package.files.items() if stored.get(path) != content]
    if wrong:
        raise BadPackage(f"{device.name}: {', '.join(wrong)} did not read back as written")
    device.sectors.load(package.sectors)
    device.address = package.broker
    device.note("provisioned", device_id=package.device, files=sorted(package.files))


def flash(device: SimDevice, files: Mapping[str, bytes]) -> None:
    """Write the files of a release onto the (provisioned, switched off) device, which starts by its loader from now on.

    `files` by absolute path, as `lapel_build.release.device_files` gives them. Raises DeviceFailed.
    """
    tasks = FileTasks()
    for path, content in files.items():
        tasks.write(path, content)
    device.do_files(tasks)
    device.module = SLOTS_MODULE
    device.note("flashed", files=len(files))


def list_files(device: SimDevice) -> list[str]:
    """Every file on the (switched off) device."""
    tasks = FileTasks()
    tasks.list()
    return device.do_files(tasks)[""].decode().split()


def read_files(device: SimDevice, paths: list[str]) -> dict[str, bytes]:
    """The content of files of the (switched off) device. Raises DeviceFailed when one is not there."""
    tasks = FileTasks()
    for path in paths:
        tasks.read(path)
    return device.do_files(tasks)


def fill_storage(device: SimDevice, leave_bytes: int, path: str = "/filler.bin") -> None:
    """Leave about `leave_bytes` free on the (switched off) device."""
    tasks = FileTasks()
    tasks.fill(path, leave_bytes)
    device.do_files(tasks, timeout_s=300)


def remove_files(device: SimDevice, paths: list[str]) -> None:
    """Remove files of the (switched off) device. Raises DeviceFailed when one is not there."""
    tasks = FileTasks()
    for path in paths:
        tasks.remove(path)
    device.do_files(tasks)
