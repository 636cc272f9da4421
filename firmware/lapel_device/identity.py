"""Who this boot of this device is: its keys, its event counter and its clock, which together seal an event.

Events are unique by (device, boot, counter) for ever, so one counter serves every event of a boot, whoever makes it.
"""

from lapel_protocol.event import Event, seal_event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .keystore import Epoch
    from .timekeeper import Timekeeper


class Identity:
    """The device (8-byte id) in the boot whose epoch was consumed for it."""

    def __init__(self, device: bytes, boot: "Epoch", time: "Timekeeper") -> None:
        self.device = device
        self.boot = boot.number
        self.keys = boot.keys
        self.pool = boot.pool
        self.time = time
        self.counter = 0

    def seal(self, kind: int, payload: bytes, now_ms: int) -> bytes:
        """The record of a new event of this boot; `now_ms` is monotonic. Its counter is `counter` afterwards."""
        self.counter += 1
        wall_ms, trust = self.time.wall(now_ms)
        return seal_event(self.keys, Event(kind, self.device, self.boot, self.counter, wall_ms, now_ms, trust, payload))
