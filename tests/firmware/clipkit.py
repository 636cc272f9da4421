"""Real sealed clips for tests: the protocol's own sealer on made-up content."""

from lapel_protocol.clip import ClipEnd, ClipHeader, head_of, seal_clip_end, seal_clip_header
from lapel_protocol.keys import EpochKeys, chain_next
from lapel_protocol.stream import SegmentSealer, tink_header

DEVICE = bytes.fromhex("0123456789abcdef")
CHAIN_KEY = bytes(range(32))


def keys_of(epoch: int) -> EpochKeys:
    """The keys of an epoch of the chain that starts with CHAIN_KEY."""
    key = CHAIN_KEY
    for _ in range(epoch):
        key = chain_next(key)
    return EpochKeys(key)


class SealedClip:
    """A clip of `segments` segments, the last one short: its records, and the head after each."""

    def __init__(self, clip: int, segments: int, device: bytes = DEVICE, boot: int = 0) -> None:
        keys = keys_of(clip)
        header = ClipHeader()
        header.device = device
        header.clip = clip
        header.boot = boot
        header.wrapped_seed = bytes([clip & 0xFF]) * 384
        header.tink_header = tink_header(bytes(32), b"prefix7")
        self.clip = clip
        self.header, stream = seal_clip_header(header, keys, bytes(32))
        sealer = SegmentSealer()
        sealer.begin(device, clip, stream, b"prefix7")
        head = head_of(self.header)
        self.heads = [head.value]
        self.segments: list[bytes] = []
        for index in range(segments):
            last = index == segments - 1
            sealer.write(bytes([index & 0xFF]) * (100 if last else sealer.room))
            record = bytes(sealer.seal(last))
            self.segments.append(record)
            head.update(record[-32:])
            self.heads.append(head.value)
        end = ClipEnd()
        end.device = device
        end.clip = clip
        end.segments = segments
        end.head = head.value
        self.end = seal_clip_end(end, keys)
        self.head = head.value
        self.file = self.header + b"".join(self.segments) + self.end
