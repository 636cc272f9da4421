"""Reading a sealed clip file: verifying it segment by segment, and opening it where the keys are at hand.

Rules that hold here
- Nothing in the file is trusted because it stands in the vault: every record is verified again before it is used.
- Reading stops at the first record that is not authentic; what came before it stands.
- One segment is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import sqlalchemy as sa

from lapel_gateway.keystore import OrganisationKey
from lapel_gateway.ledger import reading
from lapel_gateway.registry import Registry
from lapel_gateway.verify import Verifier
from lapel_protocol.clip import ClipHeader, Head, head_of
from lapel_protocol.crypto import Mac
from lapel_protocol.errors import Malformed, UnknownDevice, Unopenable
from lapel_protocol.keys import EpochKeys
from lapel_protocol.limits import CLIP_HEADER_BYTES, SEGMENT_HEADER_BYTES, TAG_BYTES
from lapel_protocol.opening import SegmentOpener, open_clip_header, prove_opening, verify_segment
from lapel_protocol.stream import SegmentHeader, StreamKeys, clip_ikm, decode_segment_header, segment_body

KeysOfEpoch = Callable[[str, int], EpochKeys]
"""Gives the keys of a device's epoch: (device id in hexadecimal, epoch). A clip's epoch is its number."""

PRIVATE_KEY_ELSEWHERE = "the organisation's private key is kept elsewhere"
OTHER_ORGANISATION_KEY = "the clip is sealed for another organisation key"
UNOPENABLE = "the wrapped seed does not give this clip's key"


@dataclass(frozen=True)
class ClipKeys:
    """One clip's verified header and what can be done with it. Its ``repr`` shows no key."""

    header: ClipHeader
    header_record: bytes
    epoch: EpochKeys
    stream: StreamKeys | None  # None: the clip can be verified and not opened
    ikm: bytes | None  # Tink's key, where the clip can be opened
    sealed_because: str  # "" where it can be opened

    def __repr__(self) -> str:
        return f"ClipKeys({self.header.device.hex()}-{self.header.clip})"


class KeyRing:
    """Where the keys of clips come from: devices' keys for verifying, the organisation's private key for opening."""

    def __init__(self, keys_of_epoch: KeysOfEpoch, organisation: OrganisationKey | None) -> None:
        self._keys_of_epoch = keys_of_epoch
        self._organisation = organisation

    def of_clip(self, device: str, clip: int, header_record: bytes) -> ClipKeys:
        """Verify a header record and derive the clip's keys as far as possible. Raises ProtocolError."""
        epoch = self._keys_of_epoch(device, clip)
        header = open_clip_header(epoch, header_record)
        if header.device.hex() != device or header.clip != clip:
            raise Malformed(f"the file holds the header of {header.device.hex()}-{header.clip}")
        organisation = self._organisation
        if organisation is None or not organisation.can_open:
            return ClipKeys(header, header_record, epoch, None, None, PRIVATE_KEY_ELSEWHERE)
        if header.key_id != organisation.key_id:
            return ClipKeys(header, header_record, epoch, None, None, OTHER_ORGANISATION_KEY)
        try:
            seed = organisation.unwrap(header.wrapped_seed)
            stream = prove_opening(header, epoch, seed)
        except Unopenable:
            return ClipKeys(header, header_record, epoch, None, None, UNOPENABLE)
        return ClipKeys(header, header_record, epoch, stream, clip_ikm(epoch.clip_enc, seed), "")


def keys_from_registry(engine: sa.Engine, registry: Registry) -> KeysOfEpoch:
    """Keys of epochs from the registry's devices, for one thread. Raises UnknownDevice, KeyStoreError when used."""
    verifier = Verifier()

    def keys(device: str, epoch: int) -> EpochKeys:
        with reading(engine) as connection:
            trust = registry.trust(connection, [bytes.fromhex(device)]).get(bytes.fromhex(device))
        if trust is None:
            raise UnknownDevice(f"device {device} is not in the registry")
        return verifier.keys(trust, epoch)

    return keys


def read_header(file: BinaryIO) -> bytes:
    """The header record at the start of a clip file. Raises Malformed when it is not whole."""
    record = file.read(CLIP_HEADER_BYTES)
    if len(record) != CLIP_HEADER_BYTES:
        raise Malformed("clip file without a whole header")
    return record


def read_segment(file: BinaryIO, header: ClipHeader, index: int) -> tuple[SegmentHeader, memoryview, bytes]:
    """(header, body, record) of the next segment, which must be number ``index`` of this clip; its MAC is not checked.

    Raises ProtocolError.
    """
    start = file.read(SEGMENT_HEADER_BYTES)
    segment = decode_segment_header(start)
    if (segment.device, segment.clip, segment.index) != (header.device, header.clip, index):
        raise Malformed(f"segment {segment.index} of another clip, or out of order, where segment {index} belongs")
    record = start + file.read(segment.size_bytes)
    return segment, segment_body(segment, record), record


def authentic_segments(
    file: BinaryIO, header: ClipHeader, mac: Mac, count: int
) -> Iterator[tuple[SegmentHeader, memoryview, bytes]]:
    """Yield (header, body, tag) of the first ``count`` segments, each verified. The file stands behind the header.

    Raises ProtocolError at the first one that is not authentic.
    """
    for index in range(count):
        segment, body, _ = read_segment(file, header, index)
        yield segment, body, verify_segment(mac, header.prefix, segment, body)


@dataclass(frozen=True)
class Unsealed:
    """What came out of a clip file."""

    head: Head
    plain_bytes: int
    ended: bool  # the stream's own last segment is among them


def unseal(file: BinaryIO, keys: ClipKeys, count: int, write: Callable[[bytearray], object]) -> Unsealed:
    """Open the first ``count`` segments of a clip file, from its start, and hand the plaintext to ``write`` in order.

    Raises ProtocolError where the file is not authentic, Unopenable where the clip's keys are not at hand.
    """
    if keys.stream is None:
        raise Unopenable(keys.sealed_because)
    record = read_header(file)
    if record != keys.header_record:
        raise Malformed("the clip file changed while it was read")
    head = head_of(record)
    opener = SegmentOpener(keys.stream, keys.header.prefix)
    plain_bytes = 0
    ended = False
    for index in range(count):
        segment, body, _ = read_segment(file, keys.header, index)
        plain = opener.open(segment, body)
        head.update(body[-TAG_BYTES:])
        plain_bytes += len(plain)
        ended = segment.last
        write(plain)
    return Unsealed(head, plain_bytes, ended)


def check(file: BinaryIO, keys: ClipKeys, count: int) -> Unsealed:
    """Verify the first ``count`` segments of a clip file, from its start, unopened. Raises ProtocolError."""
    record = read_header(file)
    if record != keys.header_record:
        raise Malformed("the clip file changed while it was read")
    head = head_of(record)
    ended = False
    for segment, _, tag in authentic_segments(file, keys.header, Mac(keys.header.mac_key), count):
        head.update(tag)
        ended = segment.last
    return Unsealed(head, 0, ended)
