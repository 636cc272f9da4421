"""A provisioned device that seals clips, and a gateway that holds them, for tests of what happens afterwards."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric import rsa

from lapel_gateway.custody.ingest import IngestCore
from lapel_gateway.custody.vault import Vault
from lapel_gateway.keystore import KeyStore, OrganisationKey
from lapel_gateway.registry import Registry
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.viewing.unseal import KeyRing, keys_from_registry
from lapel_protocol.clip import (
    END_WEARER,
    FLAG_ALARM,
    NOTICE_CONFIRMED,
    PREV_NONE,
    TRUST_GATEWAY,
    ClipEnd,
    ClipHeader,
    head_of,
    seal_clip_end,
    seal_clip_header,
)
from lapel_protocol.crypto import Mac
from lapel_protocol.event import CLIP_CUT, Event, seal_event
from lapel_protocol.keys import EpochKeys, chain_next
from lapel_protocol.reports import WHY_POWER, ClipCut
from lapel_protocol.stream import SegmentSealer, tink_header
from lapel_protocol.topics import LANE_CLIP, LANE_EVENT, topic
from lapel_protocol.wrap import wrap_seed

NOW_MS = 1_760_000_000_000
BOOT = 4
CHUNK_RECORDS = 4


@functools.cache
def organisation(number: int = 0) -> OrganisationKey:
    """An organisation's key pair; another one for each number."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    return OrganisationKey(private.public_key(), private)


def public_half(key: OrganisationKey) -> OrganisationKey:
    """The same key as a gateway has it where the private half is kept elsewhere."""
    modulus = int.from_bytes(key.modulus, "big")
    return OrganisationKey(rsa.RSAPublicNumbers(65537, modulus).public_key(), None)


@dataclass
class SealedClip:
    """One clip as a device made it."""

    device: str
    clip: int
    header: ClipHeader
    header_record: bytes
    segments: list[bytes]
    heads: list[bytes]  # heads[n] covers n segments
    end_record: bytes
    plain: bytes
    ikm: bytes

    @property
    def name(self) -> str:
        return f"{self.device}-{self.clip}"

    def file(self, segments: int | None = None, ended: bool = True) -> bytes:
        """The clip file with its first segments (all by default)."""
        body = b"".join(self.segments[:segments])
        return self.header_record + body + (self.end_record if ended else b"")


class Site:
    """A gateway's registry, ledger, vault and view area, and one device whose clips it holds."""

    def __init__(self, folder: Path, engine: sa.Engine, seed: int = 1) -> None:
        self.engine = engine
        self.vault = Vault(folder / "vault", reserve_bytes=0)
        self.views = Views(folder / "views")
        self.organisation = organisation()
        self._chance = random.Random(seed)
        self.registry = Registry(engine, KeyStore(self._chance.randbytes(32)), self._chance.randbytes)
        package = self.registry.provision(
            "camera 7", "Zoë Quinn", self.organisation, "broker", 1883, "broker", NOW_MS, NOW_MS
        )
        self.device = package.device.hex()
        self._chain = package.chain_key

    @property
    def chain(self) -> bytes:
        """The device's chain key, as it was provisioned."""
        return self._chain

    def keys(self, organisation: OrganisationKey | None = None) -> KeyRing:
        """The gateway's keys, with this organisation key (its own, private half included, by default)."""
        return KeyRing(keys_from_registry(self.engine, self.registry), organisation or self.organisation)

    def epoch_keys(self, epoch: int) -> EpochKeys:
        chain = self._chain
        for _ in range(epoch):
            chain = chain_next(chain)
        return EpochKeys(chain)

    def seal(
        self, plain: bytes, clip: int = 5, previous: SealedClip | None = None, alarm: tuple[int, int] | None = None
    ) -> SealedClip:
        """Seal ``plain`` as the device would; ``alarm``: (boot, counter) of the alarm that it was begun for."""
        keys = self.epoch_keys(clip)
        seed = self._chance.randbytes(32)
        header = ClipHeader()
        header.device, header.clip, header.boot = bytes.fromhex(self.device), clip, BOOT
        header.wall_ms, header.mono_ms, header.trust = NOW_MS, 12_345, TRUST_GATEWAY
        header.notice, header.prompted_ms, header.confirmed_ms = NOTICE_CONFIRMED, 4000, 1500
        header.key_id = self.organisation.key_id
        if alarm is not None:
            header.flags, (header.alarm_boot, header.alarm_counter) = FLAG_ALARM, alarm
        header.previous_clip = previous.clip if previous else PREV_NONE
        header.previous_head = previous.heads[-1] if previous else bytes(32)
        header.wrapped_seed = wrap_seed(seed, self._chance.randbytes(32), self.organisation.modulus)
        header.tink_header = tink_header(self._chance.randbytes(32), self._chance.randbytes(7))
        record, stream = seal_clip_header(header, keys, seed)
        header.mac_key = stream.mac_key
        head = head_of(record)
        segments, heads = [], [head.value]
        sealer = SegmentSealer()
        sealer.begin(header.device, clip, stream, header.prefix)
        at = 0
        while True:
            at += sealer.write(plain, at)
            last = at == len(plain)
            if last or sealer.full:
                segment = bytes(sealer.seal(last))
                segments.append(segment)
                head.update(segment[-32:])
                heads.append(head.value)
            if last:
                break
        end = ClipEnd()
        end.device, end.clip, end.reason, end.segments = header.device, clip, END_WEARER, len(segments)
        end.size_bytes, end.head, end.duration_ms = len(plain), head.value, 3000
        end.wall_ms, end.mono_ms, end.frames = NOW_MS + 3000, 15_345, 16
        ikm = Mac(keys.clip_enc).digest(seed)
        return SealedClip(
            self.device, clip, header, record, segments, heads, seal_clip_end(end, keys), bytes(plain), ikm
        )

    def hold(
        self, sealed: SealedClip, segments: int | None = None, *, cut: bool = False, now_ms: int = NOW_MS + 4000
    ) -> None:
        """Let the clip arrive as its device sends it, with its first segments (all by default), until it is held."""
        device = bytes.fromhex(self.device)
        count = len(sealed.segments) if segments is None else segments
        records = [sealed.header_record, *sealed.segments[:count]] + ([] if cut else [sealed.end_record])
        messages = [
            (topic(device, LANE_CLIP), b"".join(records[at : at + CHUNK_RECORDS]))
            for at in range(0, len(records), CHUNK_RECORDS)
        ]
        if cut:
            settled = ClipCut(sealed.clip, count, WHY_POWER, sealed.heads[count])
            event = Event(CLIP_CUT, device, sealed.clip + 1, 1, NOW_MS, 700, TRUST_GATEWAY, settled.encode())
            messages.append((topic(device, LANE_EVENT), seal_event(self.epoch_keys(sealed.clip + 1), event)))
        core = IngestCore(self.engine, self.vault, self.registry, self.organisation)
        outcome = core.handle(messages, now_ms)
        core.close()
        assert outcome.acknowledge == list(range(len(messages)))

    def arrive(self, sealed: SealedClip, first: int, count: int, *, end: bool = False) -> None:
        """Some of a clip's segments arrive, with its header before the first and its end behind the last."""
        records = sealed.segments[first : first + count]
        name = topic(bytes.fromhex(self.device), LANE_CLIP)
        chunks = [b"".join(records[at : at + CHUNK_RECORDS]) for at in range(0, len(records), CHUNK_RECORDS)]
        if not first:
            chunks[0] = sealed.header_record + chunks[0]
        core = IngestCore(self.engine, self.vault, self.registry, self.organisation)
        core.handle([(name, chunk) for chunk in [*chunks, *([sealed.end_record] if end else [])]], NOW_MS + 4000)
        core.close()
