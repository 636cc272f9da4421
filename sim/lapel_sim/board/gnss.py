"""The board's GNSS receiver. A module of its own: it is loaded only when location is wanted."""

from . import ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .wire import Wire

    Writable = bytearray | memoryview


class Gnss:
    """A thin caller of the world's receiver."""

    def __init__(self, wire: "Wire") -> None:
        self._wire = wire

    def start(self) -> None:
        self._wire.call(ops.GNSS_POWER, 1)

    def stop(self) -> None:
        self._wire.call(ops.GNSS_POWER, 0)

    def readinto(self, buffer: "Writable") -> int:
        return self._wire.call(ops.GNSS_READ, into=buffer)
