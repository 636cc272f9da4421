"""Genuine records of one device, made the same at every run: what mutations start from and acceptances are held to."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from lapel_gateway.keystore import OrganisationKey
from lapel_protocol import command as commands
from lapel_protocol import event as events
from lapel_protocol.clip import (
    FLAG_ALARM,
    NOTICE_ALARM,
    NOTICE_CONFIRMED,
    TRUST_GATEWAY,
    ClipEnd,
    ClipHeader,
    head_of,
    seal_clip_end,
    seal_clip_header,
)
from lapel_protocol.command import Command
from lapel_protocol.commanding import seal_command
from lapel_protocol.crypto import Mac, sha256
from lapel_protocol.event import Event, seal_event
from lapel_protocol.keys import EpochKeys, chain_next, chain_start
from lapel_protocol.limits import NEXT_PLAIN_BYTES, TAG_BYTES
from lapel_protocol.stream import SegmentSealer, StreamKeys, tink_header
from lapel_protocol.wrap import wrap_seed

DEVICE = bytes.fromhex("a1b2c3d4e5f60718")
OTHER = bytes.fromhex("a1b2c3d4e5f60719")
K_DEV = sha256(b"K_dev of the fuzz targets")
BOOT = 3
CLIP = 5
WALL_MS = 1_760_000_000_000
NONCE = bytes.fromhex("8577c49754f91cbb")
VECTORS = Path(__file__).parents[2] / "protocol" / "vectors"

EVENT_KINDS = {
    "hello": events.HELLO,
    "heartbeat": events.HEARTBEAT,
    "alarm_raised": events.ALARM_RAISED,
    "alarm_cancelled": events.ALARM_CANCELLED,
    "recording_note": events.RECORDING_NOTE,
    "clip_cut": events.CLIP_CUT,
    "storage_note": events.STORAGE_NOTE,
    "probe": events.PROBE,
    "visit": events.VISIT,
    "location": events.LOCATION,
    "update_note": events.UPDATE_NOTE,
    "update_ask": events.UPDATE_ASK,
    "alarm_sending": events.ALARM_SENDING,
}
COMMAND_KINDS = {
    "welcome": commands.WELCOME,
    "credit": commands.CREDIT,
    "receipt": commands.RECEIPT,
    "want": commands.WANT,
    "event_receipt": commands.EVENT_RECEIPT,
    "alarm_receipt": commands.ALARM_RECEIPT,
    "alarm_ack": commands.ALARM_ACK,
    "alarm_resolved": commands.ALARM_RESOLVED,
    "unopenable": commands.UNOPENABLE,
    "settings": commands.SETTINGS,
    "stop_recording": commands.STOP_RECORDING,
    "visit_state": commands.VISIT_STATE,
    "update_offer": commands.UPDATE_OFFER,
    "update_block": commands.UPDATE_BLOCK,
}


@functools.cache
def vectors(name: str) -> list[dict[str, Any]]:
    """The cases of one file of protocol/vectors."""
    cases: list[dict[str, Any]] = json.loads((VECTORS / f"{name}.json").read_text())["cases"]
    return cases


def payloads(kind: str, expect: str = "ok") -> list[bytes]:
    """Payloads of one type that the vectors call good (or whatever else they call them)."""
    return [
        bytes.fromhex(case["payload"])
        for case in vectors("payload")
        if case["type"] == kind and case["expect"] == expect and "payload" in case
    ]


def chain_key(epoch: int, device: bytes = DEVICE) -> bytes:
    """CK of an epoch."""
    key = chain_start(K_DEV, device)
    for _ in range(epoch):
        key = chain_next(key)
    return key


@functools.cache
def keys(epoch: int, device: bytes = DEVICE) -> EpochKeys:
    """The keys of an epoch of a device."""
    return EpochKeys(chain_key(epoch, device))


def event(kind: int, payload: bytes, counter: int, boot: int = BOOT, device: bytes = DEVICE) -> bytes:
    """A sealed event."""
    return seal_event(keys(boot, device), Event(kind, device, boot, counter, WALL_MS, 60_000, TRUST_GATEWAY, payload))


@functools.cache
def all_events() -> list[bytes]:
    """An event of every kind and of every good payload of the vectors, and some of another boot and device."""
    made = [
        event(kind, payload, 1 + counter)
        for name, kind in EVENT_KINDS.items()
        for counter, payload in enumerate(payloads(name)[:6])
    ]
    payload = payloads("alarm_raised")[0]
    return [*made, event(3, payload, 7, boot=BOOT + 1), event(3, payload, 7, device=OTHER)]


@functools.cache
def all_commands() -> list[bytes]:
    """A command of every kind, to the boot, and some to another boot and device."""
    made = []
    for name, kind in COMMAND_KINDS.items():
        guarded = kind in commands.GUARDED_KINDS
        nonce = NONCE if guarded or kind == commands.WELCOME else commands.NO_NONCE
        for number, payload in enumerate(payloads(name)[:4]):
            more = (nonce, 9 + number, WALL_MS, WALL_MS + 60_000) if guarded else (nonce, 0, WALL_MS, 0)
            made.append(seal_command(keys(BOOT), Command(kind, DEVICE, BOOT, payload, *more)))
    payload = payloads("receipt")[0]
    for device, boot in ((DEVICE, BOOT + 1), (OTHER, BOOT)):
        made.append(seal_command(keys(boot, device), Command(commands.RECEIPT, device, boot, payload)))
    return made


@functools.cache
def strangers() -> list[bytes]:
    """Events and commands in the name of the device and of its boot, sealed with keys of somebody's own."""
    own = EpochKeys(sha256(b"a stranger"))
    made = [
        seal_event(own, Event(kind, DEVICE, BOOT, 5, WALL_MS, 1, TRUST_GATEWAY, payload))
        for name, kind in EVENT_KINDS.items()
        for payload in payloads(name)[:1]
    ]
    for name, kind in COMMAND_KINDS.items():
        made += [seal_command(own, Command(kind, DEVICE, BOOT, payload)) for payload in payloads(name)[:1]]
    return made


@dataclass(frozen=True)
class Clip:
    """A sealed clip and the secrets that its maker knew."""

    fields: ClipHeader
    header: bytes
    segments: Sequence[bytes]
    end: bytes
    plain: bytes
    seed: bytes
    stream: StreamKeys

    @property
    def file(self) -> bytes:
        """The whole clip file."""
        return self.header + b"".join(self.segments) + self.end


@functools.cache
def clip(number: int = CLIP, segments: int = 3, device: bytes = DEVICE, alarm: bool = False) -> Clip:
    """A clip of so many segments, the last one short."""
    secret = Mac(sha256(b"clip", device, bytes([number])))
    plain = (secret.digest(b"plain") * (segments * NEXT_PLAIN_BYTES // 32))[: segments * NEXT_PLAIN_BYTES - 3900]
    fields = ClipHeader()
    fields.device, fields.clip, fields.boot = device, number, BOOT
    fields.wall_ms, fields.mono_ms, fields.trust = WALL_MS, 60_000, TRUST_GATEWAY
    fields.flags, fields.notice = (FLAG_ALARM, NOTICE_ALARM) if alarm else (0, NOTICE_CONFIRMED)
    fields.key_id = organisation().key_id
    seed = secret.digest(b"seed")
    fields.wrapped_seed = wrap_seed(seed, secret.digest(b"oaep"), organisation().modulus)
    fields.tink_header = tink_header(secret.digest(b"salt"), secret.digest(b"prefix")[:7])
    header, stream = seal_clip_header(fields, keys(number, device), seed)
    fields.mac_key = stream.mac_key
    head = head_of(header)
    records = []
    sealer = SegmentSealer()
    sealer.begin(device, number, stream, fields.prefix)
    at, last = 0, False
    while not last:
        at += sealer.write(plain, at)
        last = at == len(plain)
        if last or sealer.full:
            records.append(bytes(sealer.seal(last)))
            head.update(records[-1][-TAG_BYTES:])
    end = ClipEnd()
    end.device, end.clip, end.segments, end.size_bytes = device, number, len(records), len(plain)
    end.wall_ms, end.mono_ms, end.duration_ms, end.head = WALL_MS + 9_000, 69_000, 9_000, head.value
    return Clip(fields, header, records, seal_clip_end(end, keys(number, device)), plain, seed, stream)


@functools.cache
def all_clip_records() -> list[bytes]:
    """The records of three clips: two of the device, one of another."""
    made = []
    for one in (clip(), clip(CLIP + 1, 2, alarm=True), clip(CLIP, 2, OTHER)):
        made += [one.header, *one.segments, one.end]
    return made


@functools.cache
def organisation() -> OrganisationKey:
    """The TEST-ONLY key of the vectors, private half included. Its primes can be computed by anyone.

    The vectors' script looks for them, which takes seconds; how far it had to look is written here instead.
    """
    p, q = _start("TEST-ONLY p") + _STEPS[0], _start("TEST-ONLY q") + _STEPS[1]
    exponent = 65537
    public = rsa.RSAPublicNumbers(exponent, p * q)
    d = pow(exponent, -1, (p - 1) * (q - 1))
    private = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()
    return OrganisationKey(private.public_key(), private)


_STEPS = (492, 1636)


def _start(label: str) -> int:
    """Where the vectors' script begins to look for a prime."""
    blocks = (sha256(label.encode(), b"/", number.to_bytes(4, "big")) for number in range(6))
    return int.from_bytes(b"".join(blocks), "big") | 3 << 1534 | 1
