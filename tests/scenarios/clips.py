"""Opens clip files from a device's storage, with the secrets of an offline device, to compare them with the world.

Only what a gateway and an auditor use: lapel_protocol.opening, RSA-OAEP of `cryptography`, PyAV.
"""

import hashlib
import io
from dataclasses import dataclass
from itertools import pairwise

import av
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from lapel_protocol.clip import RECORD_CLIP_END, ClipEnd, ClipHeader, head_of
from lapel_protocol.errors import ProtocolError
from lapel_protocol.keys import EpochKeys, chain_next, chain_start
from lapel_protocol.limits import CLIP_END_BYTES, CLIP_HEADER_BYTES, SEGMENT_HEADER_BYTES, TAG_BYTES
from lapel_protocol.opening import SegmentOpener, decode_clip_header, open_clip_end, open_clip_header, prove_opening
from lapel_protocol.stream import decode_segment_header, segment_body, split_tink_header
from lapel_sim.device import SimDevice
from lapel_sim.hosttime import TICKS_PERIOD
from lapel_sim.package import OfflineDevice
from lapel_sim.provision import list_files, read_files


@dataclass
class OpenedClip:
    """A clip file, verified and decrypted as far as it goes. `end` is None when it was cut short."""

    header: ClipHeader
    end: ClipEnd | None
    segments: int
    head: bytes
    matroska: bytes


@dataclass(frozen=True)
class Frame:
    """One picture: milliseconds since the clip's start, SHA-256 of its JPEG."""

    at_ms: int
    sha256: str


def epoch_keys(device: OfflineDevice, epoch: int) -> EpochKeys:
    """The keys of an epoch, walked from the device's own."""
    chain = chain_start(device.k_dev, device.device)
    for _ in range(epoch):
        chain = chain_next(chain)
    return EpochKeys(chain)


def open_clip(device: OfflineDevice, content: bytes) -> OpenedClip:
    """Verify and open a clip file up to its end record or its torn tail, whatever follows that.

    Raises ProtocolError for a record that is whole and not authentic.
    """
    epoch = decode_clip_header(content[:CLIP_HEADER_BYTES]).clip
    keys = epoch_keys(device, epoch)
    header = open_clip_header(keys, content[:CLIP_HEADER_BYTES])
    assert header.device == device.device
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    stream = prove_opening(header, keys, device.private_key.decrypt(header.wrapped_seed, oaep))
    opener = SegmentOpener(stream, split_tink_header(header.tink_header)[1])
    head = head_of(content[:CLIP_HEADER_BYTES])
    plain, end, at, segments = bytearray(), None, CLIP_HEADER_BYTES, 0
    while at < len(content):
        if content[at] == RECORD_CLIP_END and len(content) - at >= CLIP_END_BYTES:
            end = open_clip_end(keys, content[at : at + CLIP_END_BYTES])
            break
        try:
            segment = decode_segment_header(content[at : at + SEGMENT_HEADER_BYTES])
            size = SEGMENT_HEADER_BYTES + segment.size_bytes
            body = segment_body(segment, content[at : at + size])
        except ProtocolError:
            break  # the check, or what is left of a record, says that it is torn
        assert segment.index == segments
        plain += opener.open(segment, body)
        head.update(bytes(body[-TAG_BYTES:]))
        segments += 1
        at += size
    return OpenedClip(header, end, segments, bytes(head.value), bytes(plain))


def clips_of(device: SimDevice, offline: OfflineDevice) -> list[OpenedClip]:
    """Every clip in the spool of a device, oldest first; switches it off."""
    device.switch_off()
    paths = sorted(path for path in list_files(device) if path.startswith("/spool/") and path.endswith(".clp"))
    contents = read_files(device, paths)
    return [open_clip(offline, contents[path]) for path in paths]


def pictures(clip: OpenedClip) -> list[Frame]:
    """The frames of the video track."""
    return [Frame(at_ms, hashlib.sha256(data).hexdigest()) for at_ms, data in _packets(clip, "video")]


def sound(clip: OpenedClip) -> bytes:
    """The samples of the audio track."""
    return b"".join(data for _, data in _packets(clip, "audio"))


def texts(clip: OpenedClip) -> list[str]:
    """The lines of the event track."""
    return [data.decode() for _, data in _packets(clip, "subtitle")]


def _packets(clip: OpenedClip, kind: str) -> list[tuple[int, bytes]]:
    with av.open(io.BytesIO(clip.matroska), "r", format="matroska") as container:
        [stream] = [stream for stream in container.streams if stream.type == kind]
        return [
            (round(packet.pts * packet.time_base * 1000), bytes(packet))
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None and packet.time_base is not None
        ]


def assert_frames_are_the_cameras(clip: OpenedClip, given: list[dict[str, object]]) -> int:
    """The clip's frames are an unbroken run of what the world gave, at the same distances in time; returns how many."""
    shown = pictures(clip)
    assert shown
    hashes_given = [entry["sha256"] for entry in given]
    start = hashes_given.index(shown[0].sha256)
    run = given[start : start + len(shown)]
    assert [frame.sha256 for frame in shown] == [entry["sha256"] for entry in run]
    for (earlier, later), (before, after) in zip(pairwise(shown), pairwise(run), strict=True):
        ticks = (int(str(after["ticks_of_frame"])) - int(str(before["ticks_of_frame"]))) % TICKS_PERIOD
        assert abs(later.at_ms - earlier.at_ms - ticks) <= 1
    return len(shown)
