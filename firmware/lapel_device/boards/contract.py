"""The board contract: everything the firmware may ask of hardware, as typing Protocols.

A board is a plain object with one attribute per peripheral. The firmware imports this module under `TYPE_CHECKING`
only, so nothing here exists at run time on a device; a board satisfies it by shape, without inheriting.

Rules that hold for every board:

* No method blocks for longer than a flash sector erase (about 50 ms), nothing sleeps, and time is read once by the
  runtime and passed on as an argument.
* `OSError` is the only exception by which a peripheral reports failure.
* Buffers handed in are filled or read in place; a board keeps no reference to them after the call returns.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable
    from typing import Protocol

    Bytes = bytes | bytearray | memoryview
    Writable = bytearray | memoryview
    # (CA certificate, device certificate, device private key, all DER; name to check in the broker's certificate)
    TlsIdentity = tuple[bytes, bytes, bytes, str]

    class Profile(Protocol):
        """Fixed facts about a board; read once at boot, before the large buffers are allocated."""

        name: str  # "pico_w", "esp32s3_cam", "sim" ...
        hardware_id: str  # the maker's own name of this piece of hardware; goes to the registry, never into keys
        max_frame_bytes: int  # size of the single frame buffer; a larger JPEG is dropped, counted and noted
        frame_width: int  # pixels
        frame_height: int  # pixels
        frame_interval_ms: int  # aim between two captures
        audio_rate_hz: int  # 16000, or 0 for a board without a microphone
        audio_block_bytes: int  # bytes the runtime asks the microphone for at once (3200 = 100 ms at 16 kHz)
        chunk_segments: int  # sealed segments in one MQTT message (4, or 1 where memory is small)
        window_bytes: int  # most clip bytes in flight to the broker (unacknowledged MQTT payload)
        storage_reserve_bytes: int  # kept free for the journal and one alarm clip
        sync_segments: int  # the spool file is made durable after this many segments

    class Clock(Protocol):
        """Two clocks: one that only counts, one that may be set."""

        def ticks_ms(self) -> int:
            """Return milliseconds since some start, wrapping at 2**30 (MicroPython's `time.ticks_ms` period)."""
            ...

        def rtc_ms(self) -> int:
            """Return the real-time clock in Unix milliseconds, or 0 when it was never set."""
            ...

        def set_rtc_ms(self, unix_ms: int) -> None:
            """Set the real-time clock. TLS certificate checks read this clock."""
            ...

    class Buttons(Protocol):
        mask: int
        """Level bits, 1 = held: bit 0 RECORD, bit 1 ALARM. Bit 3: the case is open, on boards that can tell."""

        ticks: int
        """When `mask` was so, by the clock's ticks."""

        def look(self) -> bool:
            """Take the next state into `mask` and `ticks`: False for the levels of now, which are not debounced.

            True, and look again, for one that no look has seen: what happened while nobody looked comes first, in its
            order, as a board keeps it from its pins' edges (button_log.py).
            """
            ...

    class Indicator(Protocol):
        def set(self, rgb: int, vibrate: bool, buzzer_hz: int) -> None:
            """Show colour `0xRRGGBB`, switch vibration, sound the buzzer (0 = silent). Called on each change only."""
            ...

    class Camera(Protocol):
        def start(self, width: int, height: int) -> None:
            """Power up for JPEG of this size in pixels. Raises OSError when the camera does not answer."""
            ...

        def stop(self) -> None:
            """Power down. Harmless when already stopped."""
            ...

        async def capture(self) -> "tuple[memoryview, int, int, int]":
            """Return (JPEG bytes, ticks_ms of the exposure, width, height).

            The memoryview belongs to the camera and is valid until the next `capture`. An empty one means that the
            frame was larger than `max_frame_bytes` and was dropped. Raises OSError when the camera stops answering.
            """
            ...

    class Microphone(Protocol):
        def start(self, rate_hz: int) -> None:
            """Start sampling signed 16-bit little-endian mono PCM."""
            ...

        def stop(self) -> None:
            """Stop sampling and drop what was not read. Harmless when already stopped."""
            ...

        def readinto(self, buffer: "Writable") -> int:
            """Copy samples that are there now and return how many bytes (even; 0 = none yet). Never waits."""
            ...

    class Gnss(Protocol):
        """A receiver that writes NMEA sentences. Off until `start`."""

        def start(self) -> None:
            """Power up. Raises OSError when the receiver does not answer."""
            ...

        def stop(self) -> None:
            """Power down and drop what was not read. Harmless when already stopped."""
            ...

        def readinto(self, buffer: "Writable") -> int:
            """Copy bytes that are there now and return how many. Never waits."""
            ...

    class Battery(Protocol):
        def read(self) -> "tuple[int, int]":
            """Return (charge in percent 0..100, estimated minutes left at the present load)."""
            ...

    class Accelerometer(Protocol):
        """Three axes at a steady rate, collected by the sensor itself so that it is visited a few times a second."""

        interval_ms: int  # between two samples; 20 is what man-down detection is made for
        samples: array[int]  # signed 16 bit: x, y, z in mg of the latest burst, oldest first
        behind: int  # samples newer than the latest burst that wait in the sensor
        overruns: int  # bursts before which samples may be missing

        def start(self) -> None:
            """Power up and begin to collect. Raises OSError when the sensor does not answer."""
            ...

        def stop(self) -> None:
            """Power down. Harmless when already stopped; raises OSError when the sensor does not answer."""
            ...

        def read(self) -> int:
            """Put the oldest burst into `samples`; return how many samples it has, 0 = not a whole burst yet.

            Never waits. Raises OSError when the sensor stops answering.
            """
            ...

    class Sectors(Protocol):
        """Raw NOR-flash sectors outside of any file system, for the key store: file systems keep old copies."""

        count: int  # at least 2
        size_bytes: int  # 4096

        def read(self, index: int, offset: int, buffer: "Writable") -> None:
            """Fill `buffer` from sector `index` at byte `offset`."""
            ...

        def erase(self, index: int) -> None:
            """Set the whole sector to 0xFF; durable on return."""
            ...

        def program(self, index: int, offset: int, data: "Bytes") -> None:
            """Clear bits: every stored byte becomes `old & new`; durable on return."""
            ...

    class File(Protocol):
        """An open file of the board's storage. Used as is from MicroPython's `open`."""

        def read(self, __size: int = -1) -> bytes: ...

        def readinto(self, __buffer: "Writable") -> "int | None": ...

        def write(self, __data: "Bytes") -> "int | None": ...

        def seek(self, __offset: int, __whence: int = 0) -> int: ...

        def flush(self) -> None:
            """Make everything written so far durable: after this returns, a power cut does not take it away."""
            ...

        def close(self) -> None:
            """Flush and release."""
            ...

    class Storage(Protocol):
        """Files on microSD or flash. Paths are absolute: `/spool/0000002a.clp`, `/config.json`. No rename: FAT has
        none that a power cut cannot tear (see twofold.py).

        Every method raises OSError when the medium fails or the path does not exist, except where it says otherwise.
        """

        def open(self, path: str, mode: str) -> File:
            """Open with mode `rb`, `wb`, `ab` or `r+b`."""
            ...

        def listdir(self, path: str) -> "Iterable[str]":
            """Yield the names in a folder, in any order, none for an absent folder. Lazy where the heap is small."""
            ...

        def remove(self, path: str) -> None: ...

        def mkdir(self, path: str) -> None:
            """Make a folder; harmless when it exists."""
            ...

        def size(self, path: str) -> int:
            """Return the file's size in bytes, or -1 when it does not exist."""
            ...

        def free_bytes(self) -> int: ...

        def total_bytes(self) -> int: ...

    class Link(Protocol):
        """One non-blocking connection. TCP connect and TLS handshake progress inside `send` and `recv_into`."""

        def send(self, data: memoryview) -> "int | None":
            """Take some bytes; return how many, or None when none can be taken now. Raises OSError when dead."""
            ...

        def recv_into(self, buffer: memoryview) -> "int | None":
            """Fill from the link; return how many bytes, 0 when the peer closed, None when nothing is there.

            Raises OSError when the link is dead.
            """
            ...

        def close(self) -> None:
            """Release the connection. Harmless when already closed; never raises."""
            ...

    class Network(Protocol):
        def is_up(self) -> bool:
            """Say whether a bearer (Wi-Fi, cellular) is joined now. Joining and rejoining is the board's own work."""
            ...

        def open(self, host: str, port: int, tls: "TlsIdentity | None") -> Link:
            """Begin a connection and return at once; `tls` None means plain TCP. OSError when it cannot begin."""
            ...

    class Watchdog(Protocol):
        def feed(self) -> None:
            """Put off the reset for another watchdog period."""
            ...

    class Board(Protocol):
        @property
        def profile(self) -> Profile: ...

        @property
        def clock(self) -> Clock: ...

        @property
        def buttons(self) -> Buttons: ...

        @property
        def indicator(self) -> Indicator: ...

        @property
        def camera(self) -> Camera: ...

        @property
        def microphone(self) -> Microphone: ...

        @property
        def battery(self) -> Battery: ...

        @property
        def sectors(self) -> Sectors: ...

        @property
        def storage(self) -> Storage: ...

        @property
        def network(self) -> Network: ...

        @property
        def watchdog(self) -> Watchdog: ...

        def accelerometer(self) -> "Accelerometer | None":
            """Make the accelerometer, None when there is none. Asked only when a setting needs it: a driver that is
            not used is not on the heap. Raises OSError when its bus does not work.
            """
            ...

        def gnss(self) -> "Gnss | None":
            """Return the receiver, None where there is none. Asked only when location is wanted."""
            ...

        def slots(self) -> "Storage | None":
            """Return the storage that the slots of firmware lie on, None where there are none (docs/updates.md). Asked
            only where a loader chose one.
            """
            ...

        def entropy(self, size: int) -> bytes:
            """Return `size` bytes (1..64) of the best entropy there is. May be weak: keys also mix in a seeded pool."""
            ...

        def log(self, line: str) -> None:
            """Print one line to the service console. Never given a secret."""
            ...

        def reset(self) -> None:
            """Restart the device. Does not return on hardware."""
            ...
