"""The world around simulated devices: it owns their hardware, their links and the journal of everything that it gave
and saw.
"""

import random
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from .device import SimDevice
from .footage import default_footage
from .hardware import BOARDS, Hardware
from .hostile import BrokerTap, Heard
from .hosttime import host_ms
from .journal import Journal
from .link import LinkThread

_POLL_S = 0.05  # for conditions outside the journal, such as a gateway's


class Timeout(Exception):
    """A condition that a scenario waits for did not come true; the message has the devices' consoles."""


class World:
    """Use as a context manager: at its end every device is switched off and every process is gone.

    `root`: folder for images, journal and consoles (default: a new temporary one, kept). `broker`: where every
    connection of every device leads; None = wherever the device was provisioned to connect. `cost_scale`: 1 = the
    board's own slowness, 0 = as fast as the host.
    """

    def __init__(
        self,
        root: Path | None = None,
        seed: int = 1,
        broker: tuple[str, int] | None = None,
        cost_scale: float = 0.0,
        footage: Path | None = None,
    ) -> None:
        self.root = root if root is not None else Path(tempfile.mkdtemp(prefix="lapel-world-"))
        self.root.mkdir(parents=True, exist_ok=True)
        self.seed = seed
        self.broker = broker
        self.cost_scale = cost_scale
        self.footage = footage if footage is not None else default_footage()
        self.journal = Journal(self.root / "journal.jsonl")
        self.devices: dict[str, SimDevice] = {}
        self._links = LinkThread()
        self._tap: BrokerTap | None = None

    def add_device(
        self,
        name: str,
        board: str | Hardware = "pico_w",
        seeded_entropy: bool = False,
        heap_bytes: int | None = None,
        make: type[SimDevice] = SimDevice,
    ) -> SimDevice:
        """A device of a kind in hardware.BOARDS (or of one's own), switched off; blank unless its images are in `root`
        already. `make`: a class of devices that have another processor.
        """
        if name in self.devices:
            raise ValueError(f"there is a device {name} already")
        if isinstance(board, str) and board not in BOARDS:
            raise ValueError(f"no board is called {board!r}; there are: {', '.join(BOARDS)}")
        hardware = BOARDS[board] if isinstance(board, str) else board
        device = make(
            name=name,
            folder=self.root / name,
            hardware=hardware,
            journal=self.journal,
            links=self._links,
            rng=random.Random(f"{self.seed} {name}"),
            footage=self.footage,
            cost_scale=self.cost_scale,
            broker=self.broker,
            seeded_entropy=seeded_entropy,
            heap_bytes=heap_bytes or hardware.heap_bytes,
        )
        self.devices[name] = device
        return device

    def tap(self) -> BrokerTap:
        """Hear and keep every message at the devices' broker from now on; it must be one without certificates.

        Raises ValueError when no device is known to have a broker, OSError when that one cannot be listened to.
        """
        if self._tap is None:
            address = self.broker or next((d.address for d in self.devices.values() if d.address is not None), None)
            if address is None:
                raise ValueError("no device of this world was provisioned with a broker")
            self._tap = BrokerTap(*address)
        return self._tap

    def replay(self, messages: Iterable[Heard]) -> int:
        """Say again what the tap heard, in this order and now; returns how many messages the broker took.

        Raises OSError when the broker does not take one.
        """
        said = list(messages)
        count = self.tap().replay(said)
        self.journal.write("replay", messages=count, lanes=sorted({message.lane for message in said}))
        return count

    def wait_until(self, condition: Callable[[], object], timeout_s: float = 30.0, what: str = "") -> float:
        """Wait until `condition()` is true; returns the seconds it took. Raises Timeout, with `what` was waited for."""
        started = host_ms()
        while not condition():
            if host_ms() - started > timeout_s * 1000:
                tails = "\n".join(
                    f"--- console of {device.name} ---\n{device.console_tail()}" for device in self.devices.values()
                )
                raise Timeout(f"{what or 'a condition'}: not within {timeout_s} s\n{tails}")
            self.journal.wait(_POLL_S)
        return (host_ms() - started) / 1000

    def close(self) -> None:
        """Switch everything off."""
        if self._tap is not None:
            self._tap.close()
        for device in self.devices.values():
            device.close()
        self._links.close()
        self.journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
