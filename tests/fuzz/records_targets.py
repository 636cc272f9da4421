"""Sealed records, twice each.

`…/forged`: the harness holds the keys and gives none away. Inputs are records as an attacker makes them, from genuine
ones that are at hand: whatever is accepted must be one of those, byte for byte.

`…/keyed`, the positive control: the harness seals whatever the input says, so that what is behind the MAC is reached
with arbitrary content. What is accepted must be spelt the one way that its sealer spells it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lapel_protocol.clip import (
    HEADER_MAC_AT,
    RECORD_CLIP_END,
    RECORD_CLIP_HEADER,
    ClipHeader,
    seal_clip_end,
)
from lapel_protocol.command import GUARDED_KINDS, WELCOME, Command, CommandGate, open_command
from lapel_protocol.commanding import seal_command
from lapel_protocol.crypto import AesCtr, Mac
from lapel_protocol.errors import ProtocolError, Replayed, Unopenable
from lapel_protocol.event import Event, seal_event
from lapel_protocol.limits import TAG_BYTES
from lapel_protocol.opening import (
    SegmentOpener,
    open_clip_end,
    open_clip_header,
    open_event,
    prove_opening,
    verify_segment,
)
from lapel_protocol.stream import SegmentHeader, decode_segment_header, segment_body, segment_nonce
from tests.fuzz import genuine
from tests.fuzz.harness import READ, REFUSED, Built, Finding, forged, target
from tests.fuzz.mutation import RecordMutator
from tests.fuzz.protocol_targets import ORDERS, REPORTS, TwoSpellings
from tests.support.segments import with_check

BOOT_KEYS = genuine.keys(genuine.BOOT)
CLIP_KEYS = genuine.keys(genuine.CLIP)
REPORT_OF = {kind: REPORTS[name] for name, kind in genuine.EVENT_KINDS.items()}
ORDER_OF = {kind: ORDERS[name] for name, kind in genuine.COMMAND_KINDS.items()}


def _forging(reader: Callable[[bytes], object], own: Sequence[bytes], others: Sequence[bytes]) -> Built:
    """A target whose `reader` must accept `own` records only; `others` are genuine elsewhere."""
    known = frozenset(own)

    def one(data: bytes) -> int:
        try:
            reader(data)
        except ProtocolError:
            if data in known:
                raise Finding("a genuine record was refused") from None
            return REFUSED
        if data not in known:
            forged(data[:40].hex())
        return READ

    return Built(one, [*own, *others], RecordMutator([*own, *others]))


@target("records/event/forged", share=5)
def event_forged(_scratch: Path) -> Built:
    """Events of one boot."""
    every = genuine.all_events()
    own = [record for record in every if _opens(_event, record)]
    others = [record for record in every if record not in own] + genuine.all_commands()[:4] + genuine.strangers()
    return _forging(_event, own, others)


@target("records/event/keyed", share=5)
def event_keyed(_scratch: Path) -> Built:
    """Events whose device is hostile: any header and payload under the right keys."""
    mac = Mac(BOOT_KEYS.event_auth)

    def one(data: bytes) -> int:
        record = data + mac.digest(data)
        try:
            event = open_event(BOOT_KEYS, record)
        except ProtocolError:
            return REFUSED
        if seal_event(BOOT_KEYS, event) != record:
            raise TwoSpellings("event")
        try:
            report = REPORT_OF[event.kind](event.payload)
        except ProtocolError:
            return REFUSED
        if report.encode() != event.payload:
            raise TwoSpellings(type(report).__name__)
        return READ

    return Built(one, [record[:-TAG_BYTES] for record in genuine.all_events()])


@target("records/command/forged", share=4)
def command_forged(_scratch: Path) -> Built:
    """Commands to one boot of one device."""
    every = genuine.all_commands()
    own = [record for record in every if _opens(_command, record)]
    others = [record for record in every if record not in own] + genuine.all_events()[:4] + genuine.strangers()
    return _forging(_command, own, others)


@target("records/command/keyed", share=5)
def command_keyed(_scratch: Path) -> Built:
    """Commands of a gateway gone wrong: any header and payload under the right keys, through the gate of freshness."""
    mac, iv = Mac(BOOT_KEYS.command_auth), Mac(BOOT_KEYS.command_iv)

    def one(data: bytes) -> int:
        record = data + mac.digest(data)
        try:
            command = _command(record)
            gate = CommandGate()
            gate.hello(genuine.NONCE)
            gate.admit(command, genuine.WALL_MS)
        except ProtocolError:
            return REFUSED
        try:
            gate.admit(command, genuine.WALL_MS)
            if command.nonce == genuine.NONCE and command.kind in (WELCOME, *GUARDED_KINDS):
                raise Finding("a guarded command was taken twice")
        except Replayed:
            pass
        # The IV is a PRF of the content where the gateway is sane; a device takes any.
        if record[48:60] == iv.digest(record[:48], command.payload)[:12] and seal_command(BOOT_KEYS, command) != record:
            raise TwoSpellings("command")
        try:
            order = ORDER_OF[command.kind](command.payload)
        except ProtocolError:
            return REFUSED
        if order.encode() != command.payload:
            raise TwoSpellings(type(order).__name__)
        return READ

    return Built(one, [record[:-TAG_BYTES] for record in genuine.all_commands()])


@target("records/clip-header/forged", share=3)
def clip_header_forged(_scratch: Path) -> Built:
    """Headers of one epoch."""
    records = genuine.all_clip_records()
    own = [genuine.clip().header]
    others = [record for record in records if record[0] == RECORD_CLIP_HEADER and record not in own]
    return _forging(lambda data: open_clip_header(CLIP_KEYS, data), own, others)


@target("records/clip-header/keyed", share=2)
def clip_header_keyed(_scratch: Path) -> Built:
    """Headers of a hostile device, and the proof of opening with the seed of a genuine one."""
    mac, seed, true = Mac(CLIP_KEYS.clip_auth), genuine.clip().seed, genuine.clip().header[:HEADER_MAC_AT]

    def one(data: bytes) -> int:
        body = (data + true[len(data) :])[:HEADER_MAC_AT]
        record = body + mac.digest(body)
        try:
            header = open_clip_header(CLIP_KEYS, record)
        except ProtocolError:
            return REFUSED
        if header.associated_data() + header.tink_header != body[:524]:
            raise TwoSpellings("clip header")
        try:
            prove_opening(header, CLIP_KEYS, seed)
        except Unopenable:
            return REFUSED
        if body != true:
            forged("a header that was changed still proves its opening")
        return READ

    return Built(one, [true])


@target("records/clip-end/forged", share=3)
def clip_end_forged(_scratch: Path) -> Built:
    """Ends of one epoch."""
    records = genuine.all_clip_records()
    own = [genuine.clip().end]
    others = [record for record in records if record[0] == RECORD_CLIP_END and record not in own]
    return _forging(lambda data: open_clip_end(CLIP_KEYS, data), own, others)


@target("records/clip-end/keyed", share=2)
def clip_end_keyed(_scratch: Path) -> Built:
    """Ends of a hostile device."""
    mac = Mac(CLIP_KEYS.clip_auth)

    def one(data: bytes) -> int:
        record = data + mac.digest(data)
        try:
            end = open_clip_end(CLIP_KEYS, record)
        except ProtocolError:
            return REFUSED
        if seal_clip_end(end, CLIP_KEYS) != record:
            raise TwoSpellings("clip end")
        return READ

    return Built(one, [genuine.clip().end[:-TAG_BYTES]])


@target("records/segment/forged", share=3, max_bytes=4200)
def segment_forged(_scratch: Path) -> Built:
    """Segments of one clip."""
    clip = genuine.clip()
    verifying, opener = Mac(clip.stream.mac_key), SegmentOpener(clip.stream, clip.fields.prefix)
    others = [record for record in genuine.all_clip_records() if record[0] == 2 and record not in clip.segments]

    def reader(data: bytes) -> None:
        header, body = _segment(clip.fields, data)
        verify_segment(verifying, clip.fields.prefix, header, body)
        opener.open(header, body)

    return _forging(reader, clip.segments, others)


@target("records/segment/keyed", share=3, max_bytes=4200)
def segment_keyed(_scratch: Path) -> Built:
    """Segments that a holder of K_h makes: index, flag and ciphertext are the input's, form, check and tag right."""
    clip = genuine.clip()
    mac, cipher = Mac(clip.stream.mac_key), AesCtr(clip.stream.aes_key)
    opener = SegmentOpener(clip.stream, clip.fields.prefix)

    def one(data: bytes) -> int:
        index, last, cipher_text = int.from_bytes(data[:4], "big"), bool(data[4:5] > b"\x7f"), data[5:]
        nonce = segment_nonce(clip.fields.prefix, index, last)
        body = cipher_text + mac.digest(nonce, cipher_text)
        form = b"\x02\x01" + bytes([last, 0]) + clip.segments[0][4:16] + data[:4].rjust(4, b"\0")
        form += len(body).to_bytes(4, "big")
        record = with_check(form + bytes(4) + body)
        try:
            header, view = _segment(clip.fields, record)
            plain = opener.open(header, view)
        except ProtocolError:
            return REFUSED
        cipher.apply(nonce, memoryview(plain))
        if plain != cipher_text:
            raise TwoSpellings("segment")
        return READ

    seeds = []
    for record in clip.segments:
        header = decode_segment_header(record)
        seeds.append(record[16:20] + (b"\xff" if header.last else b"\0") + record[28:-TAG_BYTES])
    return Built(one, seeds)


def _event(record: bytes) -> Event:
    return open_event(BOOT_KEYS, record)


def _command(record: bytes) -> Command:
    return open_command(BOOT_KEYS, record, genuine.DEVICE, genuine.BOOT)


def _segment(clip: ClipHeader, record: bytes) -> tuple[SegmentHeader, memoryview]:
    """Form, check and names of a segment (SPEC 5.4), as every reader checks them before the tag."""
    header = decode_segment_header(record)
    body = segment_body(header, record)
    if header.device != clip.device or header.clip != clip.clip:
        raise ProtocolError("segment of another clip")
    return header, body


def _opens(reader: Callable[[bytes], object], record: bytes) -> bool:
    try:
        reader(record)
    except ProtocolError:
        return False
    return True
