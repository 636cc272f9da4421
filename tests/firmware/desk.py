"""A board on a desk: all that the board contract asks for, in memory, and what it takes to open what it seals."""

import asyncio
import errno
import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import av
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from lapel_device.keystore import provision_sectors
from lapel_protocol.clip import ClipEnd, ClipHeader, Head, head_of
from lapel_protocol.event import Event
from lapel_protocol.keys import EpochKeys, chain_next, chain_start
from lapel_protocol.limits import CLIP_END_BYTES, CLIP_HEADER_BYTES, SEGMENT_HEADER_BYTES, TAG_BYTES
from lapel_protocol.opening import SegmentOpener, open_clip_end, open_clip_header, open_event, prove_opening
from lapel_protocol.stream import decode_segment_header, segment_body
from lapel_protocol.wrap import key_id
from tests.firmware import boardkit

if TYPE_CHECKING:
    from lapel_device.boards.contract import Board

DEVICE = bytes.fromhex("0102030405060708")
K_DEV = bytes(range(32))
POOL = bytes(range(100, 132))
BUILD_MS = 1_750_000_000_000
ORGANISATION = rsa.generate_private_key(public_exponent=65537, key_size=3072)
MODULUS = ORGANISATION.public_key().public_numbers().n.to_bytes(384, "big")


class DeskProfile(boardkit.Profile):
    """A small board, so that tests reach its limits soon."""

    max_frame_bytes = 8192
    frame_width = 160
    frame_height = 120
    frame_interval_ms = 100
    chunk_segments = 1
    window_bytes = 16384


class DeskCamera(boardkit.MemoryCamera):
    """Gives the pictures in `ready`, exposed now; an empty one stands for a frame that was too large."""

    def __init__(self, clock: boardkit.MemoryClock) -> None:
        super().__init__()
        self._clock = clock
        self.ready: list[bytes] = []
        self.starts = 0
        self.fault = False
        self.hangs = False
        self.wake = asyncio.Event()

    def start(self, width: int, height: int) -> None:
        super().start(width, height)
        self.starts += 1

    async def capture(self) -> tuple[memoryview, int, int, int]:
        if self.fault:
            raise OSError(errno.EIO)
        if self.hangs:
            await self.wake.wait()
        picture = self.ready.pop(0) if self.ready else b"\xff\xd8\xff\xd9"
        return memoryview(picture), self._clock.ticks_ms(), DeskProfile.frame_width, DeskProfile.frame_height


class DeskMicrophone:
    """Gives the samples in `waiting`."""

    def __init__(self) -> None:
        self.on = False
        self.waiting = bytearray()

    def start(self, rate_hz: int) -> None:
        self.on = True

    def stop(self) -> None:
        self.on = False
        self.waiting.clear()

    def readinto(self, buffer: bytearray | memoryview) -> int:
        size = min(len(buffer), len(self.waiting)) & ~1
        buffer[:size] = self.waiting[:size]
        del self.waiting[:size]
        return size


class DeskBattery:
    def __init__(self) -> None:
        self.percent = 80
        self.minutes = 300

    def read(self) -> tuple[int, int]:
        return self.percent, self.minutes


class DeskIndicator:
    """Every change with its time."""

    def __init__(self, clock: boardkit.MemoryClock) -> None:
        self._clock = clock
        self.changes: list[tuple[int, int, bool, int]] = []

    def set(self, rgb: int, vibrate: bool, buzzer_hz: int) -> None:
        self.changes.append((self._clock.ticks, rgb, vibrate, buzzer_hz))


class DeskStorage(boardkit.MemoryStorage):
    """Storage that can be told to fail: after `fail_after` more operations the next `fail_times` raise `fail_errno`."""

    def __init__(self, size_bytes: int = 8 << 20) -> None:
        super().__init__(size_bytes)
        self.fail_after = -1
        self.fail_times = 1 << 30
        self.fail_errno = errno.EIO

    def check(self) -> None:
        if self.fail_after == 0 and self.fail_times:
            self.fail_times -= 1
            raise OSError(self.fail_errno)

    def operation(self, path: str) -> None:
        super().operation(path)
        if self.fail_after > 0:
            self.fail_after -= 1

    def free_bytes(self) -> int:
        self.check()
        return super().free_bytes()

    def power_cut(self) -> None:
        super().power_cut()
        self.fail_after = -1

    def put(self, path: str, content: bytes) -> None:
        """Place a durable file, as a technician does."""
        self.files[path] = bytearray(content)
        self.durable[path] = content


class DeskBoard(boardkit.MemoryBoard):
    """A provisioned board with no bearer. `power_cut` takes what was not durable; the key sectors stay."""

    def __init__(self, size_bytes: int = 8 << 20, settings: dict[str, int] | None = None, **fields: object) -> None:
        """`fields` go into /config.json."""
        super().__init__()
        self.storage: DeskStorage = DeskStorage(size_bytes)
        self.profile = DeskProfile()
        self.network.up = False
        self.camera: DeskCamera = DeskCamera(self.clock)
        self.desk_microphone = DeskMicrophone()
        self.desk_battery = DeskBattery()
        self.desk_indicator = DeskIndicator(self.clock)
        provision_sectors(self.sectors, chain_start(K_DEV, DEVICE), POOL)
        self.storage.put("/config.json", json.dumps({**config_fields(settings), **fields}).encode())
        self.repeated_entropy = False

    def as_board(self) -> "Board":
        """This board under the contract's types, whose attributes are wider than those that tests look into."""
        self.microphone = self.desk_microphone  # type: ignore[assignment]
        self.battery = self.desk_battery  # type: ignore[assignment]
        self.indicator = self.desk_indicator  # type: ignore[assignment]
        return cast("Board", self)

    def entropy(self, size: int) -> bytes:
        return b"\x5a" * size if self.repeated_entropy else super().entropy(size)

    def power_cut(self) -> None:
        self.storage.power_cut()
        self.clock.ticks = 0
        self.buttons.mask = 0


def spoil(storage: boardkit.MemoryStorage, path: str, at: int) -> None:
    """Change one bit of a stored file."""
    storage.files[path][at] ^= 0x40
    storage.durable[path] = bytes(storage.files[path])


def config_fields(settings: dict[str, int] | None = None) -> dict[str, object]:
    """A good /config.json."""
    return {
        "device": DEVICE.hex(),
        "org_modulus": MODULUS.hex(),
        "key_id": key_id(MODULUS).hex(),
        "host": "broker.test",
        "port": 8883,
        "tls": False,
        "server_hostname": "",
        "build_ms": BUILD_MS,
        "settings": settings or {},
    }


def epoch_keys(epoch: int) -> EpochKeys:
    """The keys that the gateway derives from K_dev."""
    chain_key = chain_start(K_DEV, DEVICE)
    for _ in range(epoch):
        chain_key = chain_next(chain_key)
    return EpochKeys(chain_key)


def unwrap(wrapped: bytes) -> bytes:
    """A seed, opened with the organisation's private key."""
    oaep = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
    return ORGANISATION.decrypt(wrapped, oaep)


class OpenedClip:
    """A clip file, verified and opened the way the gateway does it. `end` is None for a cut clip."""

    def __init__(self, data: bytes) -> None:
        clip = int.from_bytes(data[12:16], "big")
        keys = epoch_keys(clip)
        record = data[:CLIP_HEADER_BYTES]
        self.header: ClipHeader = open_clip_header(keys, record)
        stream = prove_opening(self.header, keys, unwrap(self.header.wrapped_seed))
        opener = SegmentOpener(stream, self.header.prefix)
        self.head: Head = head_of(record)
        self.matroska = b""
        self.last = False
        at = CLIP_HEADER_BYTES
        while at + SEGMENT_HEADER_BYTES <= len(data) and data[at] == 0x02:
            header = decode_segment_header(data[at : at + SEGMENT_HEADER_BYTES])
            end = at + SEGMENT_HEADER_BYTES + header.size_bytes
            if end > len(data):
                break
            assert header.index == self.head.count
            body = segment_body(header, data[at:end])
            self.matroska += opener.open(header, body)
            self.head.update(body[-TAG_BYTES:])
            self.last = header.last
            at = end
        self.end: ClipEnd | None = None
        if data[at : at + 1] == b"\x03":
            self.end = open_clip_end(keys, data[at : at + CLIP_END_BYTES])

    def packets(self, kind: str) -> list[tuple[int, bytes]]:
        """(milliseconds, payload) of the packets of the "video", "audio" or "subtitle" track."""
        return [(at_ms, payload) for track, at_ms, payload in packets(self.matroska) if track == kind]

    @property
    def texts(self) -> list[str]:
        return [payload.decode() for _, payload in self.packets("subtitle")]


def packets(matroska: bytes) -> Iterator[tuple[str, int, bytes]]:
    """(track type, milliseconds, payload) of every packet, up to the end or a cut."""
    with av.open(io.BytesIO(matroska), mode="r") as container:
        try:
            for packet in container.demux():
                if packet.pts is not None and packet.time_base is not None:
                    yield packet.stream.type, int(packet.pts * packet.time_base * 1000), bytes(packet)
        except av.error.InvalidDataError:
            return


def clip_files(board: DeskBoard) -> dict[int, bytes]:
    """The clip files in the spool, by clip number."""
    return {
        int(path.split("/")[-1][:8], 16): bytes(content)
        for path, content in sorted(board.storage.files.items())
        if path.endswith(".clp")
    }


def journalled(board: DeskBoard) -> list[Event]:
    """Every event in the journal, opened with the keys of its boot, oldest first."""
    found = []
    for path in sorted(board.storage.files):
        if not path.startswith("/journal/"):
            continue
        data = bytes(board.storage.files[path])
        at = 0
        while at + 8 <= len(data):
            size = int.from_bytes(data[at + 2 : at + 4], "big")
            record = data[at + 8 : at + 8 + size]
            boot = int.from_bytes(record[12:16], "big")
            found.append(open_event(epoch_keys(boot), record))
            at += 8 + size
    return found
