"""The simulated board: an object of the shape that lapel_device.boards.contract.Board describes."""

import os

from lapel_device.boards.vfs import VfsStorage

from . import ops
from .disk import MOUNT_POINT
from .network import RoutedNetwork
from .peripherals import Battery, Buttons, Camera, Clock, Indicator, Microphone, Profile, Sectors, Watchdog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lapel_device.boards import contract

    from .wire import Wire


def _clock(options: "dict[str, object]") -> Clock:
    base_ms = int(str(options["base_ms"]))
    if options["tls_clock"]:
        from .rtc import TlsClock

        return TlsClock(base_ms)
    return Clock(base_ms)


class SimBoard:
    """Every peripheral is a thin caller of the world; see the sibling modules."""

    def __init__(self, wire: "Wire", options: "dict[str, object]") -> None:
        """`options`: what the world says of this boot; the file system is mounted already."""
        self._wire = wire
        self._world_entropy = bool(options["world_entropy"])
        profile = Profile(options["profile"])  # type: ignore[arg-type]
        clock = _clock(options)
        self.profile: contract.Profile = profile
        self.clock: contract.Clock = clock
        self.buttons: contract.Buttons = Buttons(wire)
        self.indicator: contract.Indicator = Indicator(wire)
        self.camera: contract.Camera = Camera(wire, profile.max_frame_bytes)
        self.microphone: contract.Microphone = Microphone(wire)
        self.battery: contract.Battery = Battery(wire)
        self.sectors: contract.Sectors = Sectors(wire, int(str(options["sectors"])))
        self.storage: contract.Storage = VfsStorage(MOUNT_POINT)
        self.network: contract.Network = RoutedNetwork(wire, options)
        self.watchdog: contract.Watchdog = Watchdog(wire, clock)

    def accelerometer(self) -> "contract.Accelerometer | None":
        """The real driver on the world's bus."""
        from lapel_device.boards.lis3dh import Lis3dh

        from .bus import I2C

        return Lis3dh(I2C(self._wire))

    def gnss(self) -> "contract.Gnss | None":
        """The world's receiver."""
        from .gnss import Gnss

        return Gnss(self._wire)

    def slots(self) -> "contract.Storage | None":
        """The disk, where the loader chose a slot on it."""
        return self.storage

    def entropy(self, size: int) -> bytes:
        """The system's, unless the world gives its own so that a run can be repeated."""
        if not self._world_entropy:
            return os.urandom(size)
        content = bytearray(size)
        self._wire.call(ops.ENTROPY, into=content)
        return bytes(content)

    def log(self, line: str) -> None:
        """The console is the pipe that the world reads."""
        print(line)  # noqa: T201

    def reset(self) -> None:
        """Does not return: the world kills this process and starts it anew."""
        self._wire.call(ops.RESET)
