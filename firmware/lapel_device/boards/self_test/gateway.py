"""Self-test of the way to the gateway: the real application, run until the gateway's authenticated welcome comes.

It is the device itself that boots here: it consumes an epoch, as every boot does, and says hello under its keys. What
became of the connection is only written down; the tool says what it means.
"""

from time import sleep_ms  # type: ignore[attr-defined,unused-ignore]

from lapel_device.application import Application
from lapel_device.runtime import Monotonic

from . import number_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Bytes = bytes | bytearray | memoryview

_POLL_MS = 10
_LOOK_EVERY = 5
_MOST_TEXT = 100
_NEVER_MS = 1 << 40


class Witness:
    """Stands between the application and the board's network, as both network and link, and remembers how far the
    latest attempt came. It sees what is sealed already.
    """

    def __init__(self, network: "Any") -> None:
        self._network = network
        self._link: Any = None
        self.is_up = network.is_up
        self.attempts = 0
        self.tls = False
        self.opened = self.closed = False
        self._connected = False
        self.sent = self.received = 0
        self.number = 0
        self.error = ""

    def open(self, host: str, port: int, tls: "Any") -> "Witness":
        """See contract.Network."""
        self.attempts += 1
        self.tls = tls is not None
        self.opened = self._connected = self.closed = False
        self.sent = self.received = 0
        try:
            self._link = self._network.open(host, port, tls)
        except OSError as error:
            self._failed(error)
            raise
        self.opened = True
        return self

    def send(self, data: memoryview) -> "int | None":
        """See contract.Link."""
        try:
            taken: int | None = self._link.send(data)
        except OSError as error:
            self._failed(error)
            raise
        self.sent += taken or 0
        return taken

    def recv_into(self, buffer: memoryview) -> "int | None":
        """See contract.Link."""
        try:
            got: int | None = self._link.recv_into(buffer)
        except OSError as error:
            self._failed(error)
            raise
        if got == 0:
            self.closed = True
        self.received += got or 0
        return got

    def close(self) -> None:
        """See contract.Link."""
        self._connected = self.connected
        if self._link is not None:
            self._link.close()
            self._link = None

    @property
    def connected(self) -> bool:
        """Whether TCP stood, in the latest attempt."""
        return self._connected or (self._link is not None and bool(getattr(self._link, "connected", True)))

    def _failed(self, error: OSError) -> None:
        self.number = number_of(error)
        self.error = str(error)[:_MOST_TEXT]


class RoundTrip:
    """One boot of the application on this board."""

    def __init__(self, board: "Any", running: "Any" = None) -> None:
        """`running`: what the loader would have chosen, None where firmware is not in slots."""
        self._board = board
        self._witness = board.network = Witness(board.network)
        self._refused = False
        board.log = self._log
        self._time = Monotonic(board.clock.ticks_ms())
        self._began_ms = self._online_ms = self._welcomed_ms = -1
        self._was_up = False
        self._application = Application(board, running)
        self._application.boot(self._now())
        # Wrapping a seed is not what is tested, and takes a third of a second.
        self._application.stage_ms = _NEVER_MS

    def live(self, board: "Any", ms: int) -> "tuple[Any, ...]":
        """Run for so long, or until the welcome comes; everything that is known then."""
        application = self._application
        status = application.status()
        for turn in range(ms // _POLL_MS):
            now_ms = self._now()
            if self._began_ms < 0:
                self._began_ms = now_ms
            application.poll(now_ms)
            board.watchdog.feed()
            if turn % _LOOK_EVERY == 0:
                status = application.status()
                self._was_up = self._was_up or self._witness.is_up()
                if status.online and self._online_ms < 0:
                    self._online_ms = now_ms - self._began_ms
                if status.welcomed:
                    self._welcomed_ms = now_ms - self._began_ms
                    break
                if status.fault:
                    break
            sleep_ms(_POLL_MS)
        seen = self._witness
        return (
            status.fault,
            status.boot,
            self._was_up,
            seen.attempts,
            seen.tls,
            seen.opened,
            seen.connected,
            seen.sent,
            seen.received,
            seen.closed,
            seen.number,
            seen.error,
            self._online_ms,
            self._welcomed_ms,
            self._refused,
        )

    def _now(self) -> int:
        return self._time.now(self._board.clock.ticks_ms())

    def _log(self, line: str) -> None:
        if "command refused" in line:
            self._refused = True
