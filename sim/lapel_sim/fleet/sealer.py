"""A protocol-true device: it seals what a real one would, byte for byte, without storage, link or clock.

Everything that a device decides is an argument; everything that the protocol decides is done with `lapel_protocol`
alone. Randomness comes from a seed, so a run can be repeated. Fleets send with it, and tests try the gateway's cores
with it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lapel_protocol import command as commands
from lapel_protocol import orders, updating
from lapel_protocol.clip import (
    END_WEARER,
    FLAG_ALARM,
    NOTICE_ALARM,
    NOTICE_CONFIRMED,
    PREV_NONE,
    PREV_UNSETTLED_HEAD,
    TRUST_GATEWAY,
    ClipEnd,
    ClipHeader,
    head_of,
    seal_clip_end,
    seal_clip_header,
)
from lapel_protocol.command import CommandGate, open_command
from lapel_protocol.event import (
    ALARM_CANCELLED,
    ALARM_RAISED,
    CLIP_CUT,
    HEARTBEAT,
    HELLO,
    Event,
    peek_event,
    seal_event,
)
from lapel_protocol.keys import EpochKeys, chain_next
from lapel_protocol.limits import NEXT_PLAIN_BYTES
from lapel_protocol.reports import (
    ALARM_PANIC,
    EPOCH_BOOT,
    EPOCH_BURNED,
    EPOCH_CLIP,
    WHY_POWER,
    AlarmCancelled,
    AlarmRaised,
    ClipCut,
    Heartbeat,
    Hello,
)
from lapel_protocol.stream import SegmentSealer, tink_header
from lapel_protocol.topics import LANE_ALARM, LANE_CLIP, LANE_DOWN, LANE_EVENT, topic
from lapel_protocol.wrap import wrap_seed

Message = tuple[str, bytes]
"""(topic, payload), as a broker hands it on."""

DECODERS: dict[int, Any] = {
    commands.WELCOME: orders.decode_welcome,
    commands.CREDIT: orders.decode_credit,
    commands.RECEIPT: orders.decode_receipt,
    commands.WANT: orders.decode_want,
    commands.EVENT_RECEIPT: orders.decode_event_receipt,
    commands.ALARM_RECEIPT: orders.decode_alarm_receipt,
    commands.ALARM_ACK: orders.decode_alarm_ack,
    commands.ALARM_RESOLVED: orders.decode_alarm_resolved,
    commands.UNOPENABLE: orders.decode_unopenable,
    commands.SETTINGS: orders.decode_settings,
    commands.STOP_RECORDING: orders.decode_stop_recording,
    commands.VISIT_STATE: orders.decode_visit_state,
    commands.UPDATE_OFFER: updating.decode_update_offer,
    commands.UPDATE_BLOCK: updating.decode_update_block,
}


class SealsTo(Protocol):
    """An organisation's public key, as far as a device has it."""

    @property
    def modulus(self) -> bytes:
        """384 bytes, big-endian."""

    @property
    def key_id(self) -> bytes:
        """8 bytes that clip headers name the key by."""


@dataclass
class SealedClip:
    """One clip as its device holds it. `heads[n]` covers the first n segments."""

    device: bytes
    clip: int
    header: ClipHeader
    header_record: bytes
    segments: list[bytes]
    heads: list[bytes]
    end_record: bytes
    plain: bytes
    settled: tuple[int, bytes] | None = None

    @property
    def name(self) -> str:
        """The clip's id in logs and lists."""
        return f"{self.device.hex()}-{self.clip}"

    @property
    def file(self) -> bytes:
        """The whole clip file."""
        return self.header_record + b"".join(self.segments) + self.end_record

    def messages(self, chunk: int = 4, *, header: bool = True, end: bool = True) -> list[Message]:
        """The clip as messages of its lane, at most `chunk` segments in each, header and end travelling along."""
        parts = [b"".join(self.segments[at : at + chunk]) for at in range(0, len(self.segments), chunk)] or [b""]
        if header:
            parts[0] = self.header_record + parts[0]
        if end:
            parts[-1] += self.end_record
        return [self.message(part) for part in parts if part]

    def message(self, payload: bytes) -> Message:
        """Any bytes on the clip lane of the clip's device."""
        return topic(self.device, LANE_CLIP), payload


class Sealer:
    """One provisioned device. `boot()` first; every boot and clip consumes an epoch."""

    def __init__(self, device: bytes, chain_key: bytes, organisation: SealsTo, seed: int = 0) -> None:
        self.device = device
        self.organisation = organisation
        self.seed = seed
        self.epoch = 0
        self.boot_number = -1
        self.counter = 0
        self.wall_ms = 1_700_000_000_000
        self.mono_ms = 0
        self.ledger: list[tuple[int, int]] = []
        self.last_clip: SealedClip | None = None
        self.trust = TRUST_GATEWAY  # in its clock
        self.challenge = bytes(8)
        self.tail = b""  # behind its hellos: what it runs, if from a slot
        self.gate = CommandGate()
        self._chain = chain_key
        self._chance = random.Random(f"{seed}-{device.hex()}")
        self._keys: EpochKeys | None = None

    @property
    def name(self) -> str:
        """16 hex digits."""
        return self.device.hex()

    @property
    def keys(self) -> EpochKeys:
        """The keys of the current boot."""
        if self._keys is None:
            raise ValueError("boot() the device first")
        return self._keys

    def boot(self) -> int:
        """Start the device anew; returns the boot's number."""
        self.boot_number, self._keys = self._step(EPOCH_BOOT)
        self.counter = 0
        self.mono_ms = 0
        self.gate = CommandGate()
        return self.boot_number

    def burn(self, count: int = 1) -> None:
        """Lose epochs to power cuts."""
        for _ in range(count):
            self._step(EPOCH_BURNED)

    # -- events -----------------------------------------------------------------------------------------------------

    def event(self, kind: int, payload: bytes) -> bytes:
        """Seal the next event of this boot."""
        self.counter += 1
        self.mono_ms += 10
        event = Event(
            kind, self.device, self.boot_number, self.counter, self.wall_ms, self.mono_ms, self.trust, payload
        )
        return seal_event(self.keys, event)

    def on_event_lane(self, record: bytes) -> Message:
        """A record on the device's event lane."""
        return topic(self.device, LANE_EVENT), record

    def on_alarm_lane(self, record: bytes) -> Message:
        """A record on the device's alarm lane."""
        return topic(self.device, LANE_ALARM), record

    def hello(self, epochs: Sequence[tuple[int, int]] | None = None) -> Message:
        """Open a conversation with a fresh nonce; `epochs` defaults to everything that is unreceipted."""
        hello = Hello()
        hello.nonce = self._chance.randbytes(8)
        hello.battery_percent = 80
        hello.next_epoch = self.epoch
        hello.epochs = list(self.ledger if epochs is None else epochs)
        hello.tail = self.tail
        self.gate.hello(hello.nonce)
        return self.on_event_lane(self.event(HELLO, hello.encode()))

    def heartbeat(self, flags: int = 0, alarm: tuple[int, int, int] = (0, 0, 0), clips_held: int = 0) -> Message:
        """A heartbeat that answers the last challenge; `alarm` is (boot, counter, state) as the device shows it."""
        beat = Heartbeat()
        beat.challenge = self.challenge
        beat.flags = flags
        beat.battery_percent = 79
        beat.clips_held = clips_held
        beat.alarm_boot, beat.alarm_counter, beat.alarm_state = alarm
        return self.on_event_lane(self.event(HEARTBEAT, beat.encode()))

    def alarm(self, kind: int = ALARM_PANIC, clip: int = 0, flags: int = 0) -> Message:
        """Raise an alarm. Sending the same message again is the device's repeat."""
        return self.on_alarm_lane(self.event(ALARM_RAISED, AlarmRaised(kind, 77, clip, flags).encode()))

    def cancel(self, alarm: Message) -> Message:
        """The wearer's cancel of one alarm."""
        _, _, boot, counter = peek_event(alarm[1])
        return self.on_alarm_lane(self.event(ALARM_CANCELLED, AlarmCancelled(boot, counter).encode()))

    def cut(self, clip: SealedClip, segments: int) -> Message:
        """Settle a cut clip to its first `segments`, as a restarted device does."""
        clip.settled = (segments, clip.heads[segments])
        payload = ClipCut(clip.clip, segments, WHY_POWER, clip.heads[segments]).encode()
        return self.on_event_lane(self.event(CLIP_CUT, payload))

    # -- clips ------------------------------------------------------------------------------------------------------

    def record(
        self,
        segments: int = 3,
        *,
        plain: bytes | None = None,
        alarm: Message | None = None,
        notice: int = 0,
        organisation: SealsTo | None = None,
        wrapped_seed: bytes | None = None,
        previous: tuple[int, bytes] | None = None,
    ) -> SealedClip:
        """Record a clip: of `plain`, or of so many segments of noise.

        `notice`: how it went, 0 = confirmed, or none given for an alarm. `organisation` and `wrapped_seed` let a clip
        be sealed wrongly; `previous` (clip, head) replaces what the device knows of the clip before.
        """
        clip, keys = self._step(EPOCH_CLIP)
        if plain is None:
            plain = self._chance.randbytes(max(0, segments * NEXT_PLAIN_BYTES - 1000))
        key = organisation or self.organisation
        seed = self._chance.randbytes(32)
        header = ClipHeader()
        header.device, header.clip, header.boot = self.device, clip, self.boot_number
        header.flags = FLAG_ALARM if alarm else 0
        header.wall_ms, header.mono_ms, header.trust = self.wall_ms, self.mono_ms, self.trust
        header.notice = notice or (NOTICE_ALARM if alarm else NOTICE_CONFIRMED)
        header.key_id = key.key_id
        header.previous_clip, header.previous_head = previous or self._previous()
        if alarm:
            _, _, header.alarm_boot, header.alarm_counter = peek_event(alarm[1])
        header.wrapped_seed = wrapped_seed or wrap_seed(seed, self._chance.randbytes(32), key.modulus)
        header.tink_header = tink_header(self._chance.randbytes(32), self._chance.randbytes(7))
        record, stream = seal_clip_header(header, keys, seed)
        head = head_of(record)
        records, heads = [], [head.value]
        sealer = SegmentSealer()
        sealer.begin(self.device, clip, stream, header.prefix)
        at, last = 0, False
        while not last:
            at += sealer.write(plain, at)
            last = at == len(plain)
            if last or sealer.full:
                records.append(bytes(sealer.seal(last)))
                head.update(records[-1][-32:])
                heads.append(head.value)
        end = self._end(clip, len(records), len(plain), head.value)
        sealed = SealedClip(
            self.device,
            clip,
            header,
            record,
            records,
            heads,
            seal_clip_end(end, keys),
            plain,
            (len(records), head.value),
        )
        self.last_clip = sealed
        return sealed

    def unsettle(self, clip: SealedClip) -> None:
        """The clip was cut: its end is not known until `cut`."""
        clip.settled = None

    # -- what the gateway says --------------------------------------------------------------------------------------

    def open(self, record: bytes) -> tuple[int, Any]:
        """(kind, decoded payload) of a command for this boot, obeyed where that is simple.

        Raises ProtocolError for a command that a real device would refuse.
        """
        command = open_command(self.keys, record, self.device, self.boot_number)
        self.gate.admit(command, self.wall_ms)
        body = DECODERS[command.kind](command.payload)
        if command.kind == commands.WELCOME:
            self.ledger = [(epoch, what) for epoch, what in self.ledger if epoch >= body.ledger_to]
        if command.kind in (commands.WELCOME, commands.CREDIT):
            self.challenge = body.challenge
        return command.kind, body

    def take(self, downlinks: Iterable[Message]) -> list[tuple[int, Any]]:
        """Open those of the downlinks that are this device's. Raises ProtocolError as `open` does."""
        mine = topic(self.device, LANE_DOWN)
        return [self.open(record) for name, record in downlinks if name == mine]

    def _previous(self) -> tuple[int, bytes]:
        last = self.last_clip
        if last is None:
            return PREV_NONE, bytes(32)
        return last.clip, last.settled[1] if last.settled else PREV_UNSETTLED_HEAD

    def _end(self, clip: int, segments: int, size_bytes: int, head: bytes) -> ClipEnd:
        end = ClipEnd()
        end.device, end.clip, end.reason, end.segments = self.device, clip, END_WEARER, segments
        end.duration_ms, end.size_bytes, end.frames, end.dropped = 3000, size_bytes, 30, 0
        end.wall_ms, end.mono_ms, end.head = self.wall_ms + 3000, self.mono_ms + 3000, head
        return end

    def _step(self, what: int) -> tuple[int, EpochKeys]:
        keys = EpochKeys(self._chain)
        self._chain = chain_next(self._chain)
        number = self.epoch
        self.ledger.append((number, what))
        self.epoch += 1
        return number, keys
