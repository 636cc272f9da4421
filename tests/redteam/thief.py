"""A thief with a stolen device's images, everything that the broker saw, and the public organisation key.

Two searches, which do not trust each other:

- `Thief` knows formats and no secret. It takes every 32-byte window of the images, and of what hexadecimal text in them
  says, for a chain key, a pool, an epoch key, a clip's `ikm`, an AES key or a MAC key, derives what follows from each,
  and tries it on the clips and events. Windows that cannot be a key (too few different bytes) and the bodies of
  authentic segments (ciphertext, which the broker has anyway) are left out.
- `Secrets` knows everything, and looks for it byte for byte: every window, nothing left out.

A find has a name that says what it is and what it opens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from lapel_protocol import labels
from lapel_protocol.clip import RECORD_CLIP_HEADER
from lapel_protocol.errors import ProtocolError
from lapel_protocol.event import RECORD_EVENT, peek_event
from lapel_protocol.keys import EpochKeys, chain_next
from lapel_protocol.limits import (
    CLIP_HEADER_BYTES,
    EVENT_HEADER_BYTES,
    KEY_BYTES,
    RSA_BYTES,
    SEGMENT_HEADER_BYTES,
    TAG_BYTES,
)
from lapel_protocol.opening import decode_clip_header
from lapel_protocol.stream import (
    RECORD_SEGMENT,
    SegmentHeader,
    StreamKeys,
    clip_ikm,
    decode_segment_header,
    segment_body,
    segment_nonce,
)

MATROSKA = b"\x1a\x45\xdf\xa3"
LEAST_DIFFERENT_BYTES = 18
"""Of 32 random bytes some 30 differ; fewer than 18 do once in 10^13 keys."""

_WRAPPED_AT = 100
_MAC_AT = 556
_PAGE_BYTES = 512
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_HEX = re.compile(rb"[0-9a-f]{64,}")


@dataclass
class Clip:
    """A clip as it lies on a stolen card, or as a broker saw it."""

    number: int
    header: bytes
    first: bytes = b""  # segment records; empty while none was found
    shortest: bytes = b""  # quick to try keys on

    @property
    def salt(self) -> bytes:
        return self.header[485:517]

    @property
    def prefix(self) -> bytes:
        return self.header[517:524]

    @property
    def associated_data(self) -> bytes:
        return self.header[:484]

    def nonce(self, segment: SegmentHeader) -> bytes:
        return bytes(segment_nonce(self.prefix, segment.index, segment.last))


@dataclass
class Haystack:
    """Images by name (raw media, files, what a broker heard), with what can be read in them without any key."""

    device: bytes
    images: dict[str, bytes]
    known: dict[str, bytes] = field(default_factory=dict)
    """What the thief has beside them: tried keys are tried on it, and no keys are looked for in it."""
    clips: dict[int, Clip] = field(default_factory=dict)
    events: dict[tuple[int, int], bytes] = field(default_factory=dict)
    ciphertext: set[bytes] = field(default_factory=set)
    """Every 32 bytes of the authentic segments' bodies."""

    def __post_init__(self) -> None:
        for image in (*self.images.values(), *self.known.values()):
            self._find_headers(image)
            self._find_events(image)
        for image in (*self.images.values(), *self.known.values()):
            self._find_segments(image)

    def _find_headers(self, image: bytes) -> None:
        """By form alone, wherever they lie."""
        for at in _all(image, bytes([RECORD_CLIP_HEADER, 1, 1])):
            record = image[at : at + CLIP_HEADER_BYTES]
            if record[4:12] != self.device or len(record) < CLIP_HEADER_BYTES:
                continue
            try:
                number = decode_clip_header(record).clip
            except ProtocolError:
                continue
            self.clips.setdefault(number, Clip(number, record))

    def _find_segments(self, image: bytes) -> None:
        """Those that lie in one piece and whose check is right."""
        for at in _all(image, bytes([RECORD_SEGMENT, 1])):
            if image[at + 4 : at + 12] != self.device:
                continue
            try:
                segment = decode_segment_header(image[at : at + SEGMENT_HEADER_BYTES])
                record = image[at : at + SEGMENT_HEADER_BYTES + segment.size_bytes]
                body = bytes(segment_body(segment, record))
            except ProtocolError:
                continue
            self.ciphertext.update(body[start : start + KEY_BYTES] for start in range(len(body) - KEY_BYTES + 1))
            clip = self.clips.get(segment.clip)
            if clip is not None:
                if segment.index == 0:
                    clip.first = record
                if not clip.shortest or len(record) < len(clip.shortest):
                    clip.shortest = record

    def _find_events(self, image: bytes) -> None:
        for at in _all(image, bytes([RECORD_EVENT, 1])):
            if image[at + 4 : at + 12] != self.device:
                continue
            size = int.from_bytes(image[at + 38 : at + 40], "big")
            record = image[at : at + EVENT_HEADER_BYTES + size + TAG_BYTES]
            try:
                _, _, boot, counter = peek_event(record)
            except ProtocolError:
                continue
            self.events.setdefault((boot, counter), record)

    def windows(self) -> dict[bytes, str]:
        """Every 32 bytes that could be a key, and where they are."""
        found: dict[bytes, str] = {}
        seen: set[bytes] = set()
        for name, image in self.images.items():
            self._windows(image, name, found, seen)
            for match in _HEX.finditer(image):
                text = match.group()
                raw = bytes.fromhex(text[: len(text) // 2 * 2].decode())
                self._windows(raw, f"hexadecimal text in {name}", found, seen)
        return found

    def _windows(self, image: bytes, name: str, found: dict[bytes, str], seen: set[bytes]) -> None:
        """Page by page, with as much behind each as a window needs; a page that was seen before holds nothing new."""
        for start in range(0, len(image), _PAGE_BYTES):
            page = image[start : start + _PAGE_BYTES + KEY_BYTES - 1]
            if page in seen:
                continue
            seen.add(page)
            for at in range(len(page) - KEY_BYTES + 1):
                window = page[at : at + KEY_BYTES]
                if window not in self.ciphertext and len(set(window)) >= LEAST_DIFFERENT_BYTES:
                    found.setdefault(window, f"byte {start + at} of {name}")


def _all(image: bytes, needle: bytes) -> Iterator[int]:
    at = image.find(needle)
    while at >= 0:
        yield at
        at = image.find(needle, at + 1)


class Key:
    """HMAC-SHA256 with one key and many messages: the pads are hashed once."""

    def __init__(self, key: bytes) -> None:
        block = key + bytes(64 - len(key))
        self._inner = sha256(block.translate(_INNER))
        self._outer = sha256(block.translate(_OUTER))

    def digest(self, message: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()


class Thief:
    """Tries windows as keys on clips and events. `seeds` are a leak from elsewhere: clips' seeds by number."""

    def __init__(self, haystack: Haystack, steps: int, seeds: dict[int, bytes] | None = None) -> None:
        """`steps`: how many epochs a chain key is walked forward."""
        self._steps = steps
        self._seeds = seeds or {}
        self._clips = [clip for clip in haystack.clips.values() if clip.first]
        newest = {boot: (boot, record) for (boot, _), record in haystack.events.items()}
        self._events = list(newest.values())  # one event of each boot is enough: they share their keys
        self._salts = [Key(clip.salt) for clip in self._clips]
        self._starts = b"".join(clip.nonce(decode_segment_header(clip.first)) for clip in self._clips)
        self._first = [clip.first[SEGMENT_HEADER_BYTES : SEGMENT_HEADER_BYTES + 4] for clip in self._clips]
        self._tagged = [self._tagged_part(clip) for clip in self._clips]
        self.tried = 0

    @staticmethod
    def _tagged_part(clip: Clip) -> tuple[bytes, bytes]:
        """What K_h authenticates of the shortest segment, and its tag."""
        body = clip.shortest[SEGMENT_HEADER_BYTES:]
        return clip.nonce(decode_segment_header(clip.shortest)) + body[:-TAG_BYTES], body[-TAG_BYTES:]

    def finds(self, windows: dict[bytes, str]) -> list[str]:
        """What opens what, in words; empty when nothing does."""
        found = []
        for window, where in windows.items():
            self.tried += 1
            key = Key(window)
            whats = [
                *self._as_stream_key(window, key),
                *self._as_pool(window, key),
                *self._as_epoch_key(key),
                *self._as_chain_key(key),
            ]
            found += [f"{what} at {where}" for what in whats]
        return found

    def _as_stream_key(self, window: bytes, key: Key) -> Iterator[str]:
        """ikm, K_h or AES key of a clip."""
        cipher = Cipher(algorithms.AES(window), modes.ECB()).encryptor()
        blocks = cipher.update(self._starts)
        for at, clip in enumerate(self._clips):
            start = bytes(a ^ b for a, b in zip(blocks[16 * at : 16 * at + 4], self._first[at], strict=True))
            if start == MATROSKA:
                yield f"AES key of clip {clip.number}"
            message, tag = self._tagged[at]
            if key.digest(message) == tag:
                yield f"K_h of clip {clip.number}"
            if self._ikm_opens(window, at):
                yield f"ikm of clip {clip.number}"

    def _ikm_opens(self, ikm: bytes, at: int) -> bool:
        """HKDF by hand up to K_h, which is what can be checked."""
        associated_data = self._clips[at].associated_data
        expand = Key(self._salts[at].digest(ikm))
        one = expand.digest(associated_data + b"\x01")
        message, tag = self._tagged[at]
        return Key(expand.digest(one + associated_data + b"\x02")).digest(message) == tag

    def _as_pool(self, window: bytes, key: Key) -> Iterator[str]:
        """A pool gives salts, which headers show, and seeds."""
        salt, seed = key.digest(labels.POOL_SALT), key.digest(labels.POOL_SEED)
        for clip in self._clips:
            if clip.salt == salt:
                yield f"pool of clip {clip.number}"
            if seed == self._seeds.get(clip.number):
                yield f"pool that gave the seed of clip {clip.number}"
            if window == self._seeds.get(clip.number):
                yield f"seed of clip {clip.number}"

    def _as_epoch_key(self, key: Key) -> Iterator[str]:
        """A, E, or a boot's event keys."""
        for at, clip in enumerate(self._clips):
            if key.digest(clip.header[:_MAC_AT]) == clip.header[_MAC_AT:]:
                yield f"A of clip {clip.number}"
            seed = self._seeds.get(clip.number)
            if seed is not None and self._ikm_opens(key.digest(seed), at):
                yield f"E of clip {clip.number}"
        for boot, record in self._events:
            if key.digest(record[:-TAG_BYTES]) == record[-TAG_BYTES:]:
                yield f"event key of boot {boot}"

    def _as_chain_key(self, key: Key) -> Iterator[str]:
        """CK of any epoch, walked forward: whoever has one has every later one, so the last clip and boot tell."""
        last = max(self._clips, key=lambda clip: clip.number)
        for step in range(self._steps):
            if Key(key.digest(labels.CLIP_AUTH)).digest(last.header[:_MAC_AT]) == last.header[_MAC_AT:]:
                yield f"chain key {step} epochs before clip {last.number}"
            event_key = Key(key.digest(labels.EVENT_AUTH))
            for boot, record in self._events:
                if event_key.digest(record[:-TAG_BYTES]) == record[-TAG_BYTES:]:
                    yield f"chain key {step} epochs before boot {boot}"
            key = Key(key.digest(labels.CHAIN_NEXT))


@dataclass
class Secrets:
    """Everything that would open the clips and events of a device, from K_dev and the private key."""

    values: dict[bytes, str]
    seeds: dict[int, bytes]

    @classmethod
    def of(
        cls, chain_start: bytes, epochs: int, clips: Iterable[Clip], private_key: rsa.RSAPrivateKey, spare: int = -1
    ) -> Secrets:
        """Secrets of epochs 0 to `epochs` - 1. `spare`: an epoch left out, whose clip may be open (being recorded)."""
        values: dict[bytes, str] = {}
        keys: dict[int, EpochKeys] = {}
        chain = chain_start
        for epoch in range(epochs):
            keys[epoch] = EpochKeys(chain)
            if epoch != spare:
                values[chain] = f"CK of epoch {epoch}"
                for name, value in vars(keys[epoch]).items():
                    values[bytes(value)] = f"{name} of epoch {epoch}"
            chain = chain_next(chain)
        seeds = {}
        for clip in clips:
            seed = unwrap(clip, private_key)
            seeds[clip.number] = seed
            if clip.number == spare:
                continue
            ikm = clip_ikm(keys[clip.number].clip_enc, seed)
            stream = StreamKeys(ikm, clip.salt, clip.associated_data)
            values[seed] = f"seed of clip {clip.number}"
            values[bytes(ikm)] = f"ikm of clip {clip.number}"
            values[bytes(stream.mac_key)] = f"K_h of clip {clip.number}"
            values[bytes(stream.aes_key)] = f"AES key of clip {clip.number}"
        return cls(values, seeds)

    def found_in(self, images: dict[str, bytes]) -> list[str]:
        """Which of them lie where, raw or as hexadecimal text."""
        return [
            f"{what} in {name}"
            for name, image in images.items()
            for secret, what in self.values.items()
            if secret in image or secret.hex().encode() in image
        ]


def unwrap(clip: Clip, private_key: rsa.RSAPrivateKey) -> bytes:
    """The seed of a clip, as the organisation finds it."""
    wrapped = clip.header[_WRAPPED_AT : _WRAPPED_AT + RSA_BYTES]
    sha256 = hashes.SHA256()
    return private_key.decrypt(wrapped, padding.OAEP(padding.MGF1(sha256), sha256, None))
