"""What reads bytes without a key: names, topics, payloads, forms of records, state machines.

Whatever is read must be spelt the one way that its encoder spells it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lapel_protocol import alarm, custody, orders, recording, report_decoders, updating, visit
from lapel_protocol.clip import peek_clip
from lapel_protocol.errors import BadTransition, ProtocolError
from lapel_protocol.event import peek_event
from lapel_protocol.machine import Machine
from lapel_protocol.opening import decode_clip_header
from lapel_protocol.stream import decode_segment_header, segment_body, split_tink_header, tink_header
from lapel_protocol.topics import parse_topic, topic
from lapel_protocol.wrap import key_id
from tests.fuzz import genuine
from tests.fuzz.harness import READ, REFUSED, Built, Finding, target
from tests.fuzz.mutation import RecordMutator
from tests.support.segments import with_check

REPORTS: dict[str, Callable[[bytes], Any]] = {
    "hello": report_decoders.decode_hello,
    "heartbeat": report_decoders.decode_heartbeat,
    "alarm_raised": report_decoders.decode_alarm_raised,
    "alarm_cancelled": report_decoders.decode_alarm_cancelled,
    "recording_note": report_decoders.decode_recording_note,
    "clip_cut": report_decoders.decode_clip_cut,
    "storage_note": report_decoders.decode_storage_note,
    "probe": report_decoders.decode_probe,
    "visit": report_decoders.decode_visit_note,
    "location": report_decoders.decode_location,
    "update_note": updating.decode_update_note,
    "update_ask": updating.decode_update_ask,
    "alarm_sending": report_decoders.decode_alarm_sending,
}
ORDERS: dict[str, Callable[[bytes], Any]] = {
    "welcome": orders.decode_welcome,
    "credit": orders.decode_credit,
    "receipt": orders.decode_receipt,
    "want": orders.decode_want,
    "event_receipt": orders.decode_event_receipt,
    "alarm_receipt": orders.decode_alarm_receipt,
    "alarm_ack": orders.decode_alarm_ack,
    "alarm_resolved": orders.decode_alarm_resolved,
    "unopenable": orders.decode_unopenable,
    "settings": orders.decode_settings,
    "stop_recording": orders.decode_stop_recording,
    "visit_state": orders.decode_visit_state,
    "update_offer": updating.decode_update_offer,
    "update_block": updating.decode_update_block,
}


class TwoSpellings(Finding):
    """Something was read that its encoder spells otherwise."""


def _payload_target(decoders: dict[str, Callable[[bytes], Any]]) -> Built:
    """The first byte chooses the decoder, the rest is its payload."""
    readers = list(decoders.values())
    seeds = [
        bytes([number]) + payload
        for number, name in enumerate(decoders)
        for expect in ("ok", "malformed")
        for payload in genuine.payloads(name, expect)
    ]

    def one(data: bytes) -> int:
        if not data:
            return REFUSED
        payload = data[1:]
        try:
            decoded = readers[data[0] % len(readers)](payload)
        except ProtocolError:
            return REFUSED
        if decoded.encode() != payload:
            raise TwoSpellings(type(decoded).__name__)
        return READ

    return Built(one, seeds)


@target("protocol/reports", share=14)
def reports(_scratch: Path) -> Built:
    """Payloads of events."""
    return _payload_target(REPORTS)


@target("protocol/orders", share=14)
def orders_of_the_gateway(_scratch: Path) -> Built:
    """Payloads of commands."""
    return _payload_target(ORDERS)


@target("protocol/topics", share=8, max_bytes=96)
def topics(_scratch: Path) -> Built:
    """Topic names."""

    def one(data: bytes) -> int:
        name = data.decode("utf-8", "surrogateescape")
        try:
            device, lane = parse_topic(name)
        except ProtocolError:
            return REFUSED
        if topic(device, lane) != name:
            raise TwoSpellings(name)
        return READ

    seeds = [case["topic"].encode("utf-8", "surrogatepass") for case in genuine.vectors("topic") if "topic" in case]
    return Built(one, seeds)


@target("protocol/forms", share=8, max_bytes=4200)
def forms(_scratch: Path) -> Built:
    """What is read of a record before its MAC is looked at, and what needs none."""
    records = [*genuine.all_events(), *genuine.all_commands(), *genuine.all_clip_records()]

    def event_named(data: bytes) -> None:
        kind, device, boot, counter = peek_event(data)
        if data[2] != kind or data[4:20] != device + struct.pack(">II", boot, counter):
            raise TwoSpellings("event")

    def clip_named(data: bytes) -> None:
        device, clip = peek_clip(data)
        if data[4:16] != device + struct.pack(">I", clip):
            raise TwoSpellings("clip")

    def clip_header(data: bytes) -> None:
        header = decode_clip_header(data)
        if header.associated_data() != data[:484] or header.tink_header != data[484:524]:
            raise TwoSpellings("clip header")

    def segment(data: bytes) -> None:
        header = decode_segment_header(data)
        body = segment_body(header, data)
        flags = 1 if header.last else 0
        form = struct.pack(">BBBB8sIII", 2, 1, flags, 0, header.device, header.clip, header.index, header.size_bytes)
        if with_check(form + bytes(4) + bytes(body)) != data:
            raise TwoSpellings("segment")

    def tink(data: bytes) -> None:
        if tink_header(*split_tink_header(data)) != data:
            raise TwoSpellings("Tink header")

    def modulus(data: bytes) -> None:
        try:
            key_id(data)
        except ValueError:
            return

    readers = (event_named, clip_named, clip_header, segment, tink, modulus)

    def one(data: bytes) -> int:
        read = REFUSED
        for reader in readers:
            try:
                reader(data)
            except ProtocolError:
                continue
            read = READ
        return read

    seeds = [*records, genuine.clip().fields.tink_header, genuine.organisation().modulus]
    return Built(one, seeds, RecordMutator(records))


@target("protocol/machines", share=3, max_bytes=64)
def machines(_scratch: Path) -> Built:
    """The state machines: the first byte chooses one, each other byte is an event."""
    tables = (
        (alarm.TRANSITIONS, alarm.QUIET),
        (custody.TRANSITIONS, custody.OPEN),
        (recording.TRANSITIONS, recording.IDLE),
        (visit.TRANSITIONS, visit.PLANNED),
    )

    def one(data: bytes) -> int:
        if not data:
            return REFUSED
        machine = Machine(*tables[data[0] % len(tables)])
        read = REFUSED
        for happened in data[1:]:
            before = machine.state
            try:
                machine.handle(happened)
            except BadTransition:
                if machine.state != before or machine.allows(happened):
                    raise Finding("a refused event changed the state") from None
                continue
            read = READ
        return read

    return Built(one, [bytes([table, *range(12)]) for table in range(len(tables))])
