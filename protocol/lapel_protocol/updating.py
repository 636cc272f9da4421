"""Payloads about updates of firmware, of events and of commands (SPEC sections 7.11, 7.12, 8.11).

Apart from the others, so that a device carries them only while it has to do with an update.
"""

import struct

from .errors import Malformed
from .layout import gateway_only
from .release import ENTRY_BYTES, MAX_RELEASE_FILES, RELEASE_HEADER_BYTES, SIGNATURE_BYTES

UPDATE_BLOCK_BYTES = 1008  # a command's payload has 1,024
MAX_ASK_BYTES = 8064  # eight blocks: what is on its way to a device stays small beside an alarm's answer

# UpdateNote.what
UPDATE_BEGUN = 1
UPDATE_READY = 2
UPDATE_FAILED = 3
UPDATE_ROLLED_BACK = 4
UPDATE_GOOD = 5

# UpdateNote.why
CAUSE_NONE = 0
CAUSE_MALFORMED = 1
CAUSE_BAD_SIGNATURE = 2
CAUSE_WRONG_HARDWARE = 3
CAUSE_WRONG_CODE = 4
CAUSE_BELOW_FLOOR = 5
CAUSE_DAMAGED = 6
CAUSE_OLDER = 7
CAUSE_NO_ROOM = 8
CAUSE_STORAGE = 9
CAUSE_UNANSWERED = 10
CAUSE_REPLACED = 11

# RunningRelease.flags
RELEASE_TRIAL = 1
RELEASE_FIXED = 2


class RunningRelease:
    """What a device runs, behind its hello: `release` is the id, 8 bytes, `hardware` at most 16 ASCII."""

    LAYOUT = ">I8sBBH16s"

    def __init__(self, number: int, release: bytes, flags: int, hardware: str) -> None:
        self.number = number
        self.release = release
        self.flags = flags
        self.hardware = hardware

    def encode(self) -> bytes:
        """The bytes behind a hello."""
        return struct.pack(self.LAYOUT, self.number, self.release, self.flags, 0, 0, self.hardware.encode())


@gateway_only
def decode_running_release(part: bytes) -> RunningRelease:
    """Check and read what follows a hello."""
    if len(part) != struct.calcsize(RunningRelease.LAYOUT):
        raise Malformed("payload length")
    number, release, flags, zero, zero2, hardware = struct.unpack(RunningRelease.LAYOUT, part)
    name = hardware.rstrip(b"\x00")
    if not number or flags not in (0, RELEASE_TRIAL, RELEASE_FIXED) or zero or zero2 or not name:
        raise Malformed("running release field out of range")
    for byte in name:
        if byte not in b"abcdefghijklmnopqrstuvwxyz0123456789_":
            raise Malformed("running release hardware")
    return RunningRelease(number, release, flags, str(name, "ascii"))


class UpdateNote:
    """A step of an update, UPDATE_*, with CAUSE_*; of the release with this number and id."""

    LAYOUT = ">BBHI8s"

    def __init__(self, what: int, why: int, number: int, release: bytes) -> None:
        self.what = what
        self.why = why
        self.number = number
        self.release = release

    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.what, self.why, 0, self.number, self.release)


@gateway_only
def decode_update_note(payload: bytes) -> UpdateNote:
    """Check and read an UpdateNote payload."""
    if len(payload) != struct.calcsize(UpdateNote.LAYOUT):
        raise Malformed("payload length")
    what, why, zero, number, release = struct.unpack(UpdateNote.LAYOUT, payload)
    if zero or not 0 < what <= UPDATE_GOOD or why > CAUSE_REPLACED or not number:
        raise Malformed("update note field out of range")
    return UpdateNote(what, why, number, release)


class UpdateAsk:
    """Please send these bytes of a release file: `size` of them, 1 to MAX_ASK_BYTES, from `offset` on."""

    LAYOUT = ">8sII"

    def __init__(self, release: bytes, offset: int, size: int) -> None:
        self.release = release
        self.offset = offset
        self.size = size

    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.release, self.offset, self.size)


@gateway_only
def decode_update_ask(payload: bytes) -> UpdateAsk:
    """Check and read an UpdateAsk payload."""
    if len(payload) != struct.calcsize(UpdateAsk.LAYOUT):
        raise Malformed("payload length")
    release, offset, size = struct.unpack(UpdateAsk.LAYOUT, payload)
    if not 0 < size <= MAX_ASK_BYTES or offset + size >= 1 << 32:
        raise Malformed("update ask field out of range")
    return UpdateAsk(release, offset, size)


class UpdateOffer:
    """The release that the device is to run: its id, its number, and where its contents begin; all zero: none."""

    LAYOUT = ">8sII"

    def __init__(self, release: bytes, number: int, content_at: int) -> None:
        self.release = release
        self.number = number
        self.content_at = content_at

    @gateway_only
    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.release, self.number, self.content_at)


def decode_update_offer(payload: bytes) -> UpdateOffer:
    """Check and read an UpdateOffer payload."""
    if len(payload) != struct.calcsize(UpdateOffer.LAYOUT):
        raise Malformed("payload length")
    release, number, content_at = struct.unpack(UpdateOffer.LAYOUT, payload)
    count, odd = divmod(content_at - RELEASE_HEADER_BYTES - SIGNATURE_BYTES, ENTRY_BYTES)
    none = payload == bytes(len(payload))
    if not none and (odd or not 0 < count <= MAX_RELEASE_FILES or not number):
        raise Malformed("update offer field out of range")
    return UpdateOffer(release, number, content_at)


class UpdateBlock:
    """Bytes of a release file from `offset` on, at most UPDATE_BLOCK_BYTES."""

    LAYOUT = ">8sI"

    def __init__(self, release: bytes, offset: int, data: bytes) -> None:
        self.release = release
        self.offset = offset
        self.data = data

    @gateway_only
    def encode(self) -> bytes:
        """The payload."""
        return struct.pack(self.LAYOUT, self.release, self.offset) + self.data


def decode_update_block(payload: bytes) -> UpdateBlock:
    """Check and read an UpdateBlock payload."""
    size = struct.calcsize(UpdateBlock.LAYOUT)
    if not size < len(payload) <= size + UPDATE_BLOCK_BYTES:
        raise Malformed("update block length")
    release, offset = struct.unpack_from(UpdateBlock.LAYOUT, payload, 0)
    return UpdateBlock(release, offset, payload[size:])
