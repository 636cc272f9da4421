"""Events of the event lane: verified, read, written once for ever, receipted.

An authentic journalled event is kept and receipted even when its payload cannot be read: its device would send it for
ever otherwise, and its record is evidence as it stands. A location is no event: `positions` keeps what may be kept.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from lapel_gateway.alarms.book import enter_alarm, enter_event
from lapel_gateway.alarms.sending import take_sending
from lapel_gateway.custody.batch import Batch, Notice
from lapel_gateway.custody.downlink import Order
from lapel_gateway.keystore import OrganisationKey
from lapel_gateway.ledger.devices import Desks
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import EPOCH_BOOT, event, stored
from lapel_gateway.ledger.visits import tell_again
from lapel_gateway.settings.visits import VisitsSection
from lapel_gateway.updates.offers import take_update_notes
from lapel_gateway.verify import Trust, Verifier
from lapel_gateway.visits.events import take_visit_note
from lapel_gateway.visits.orders import NO_VISIT, visit_order
from lapel_gateway.visits.positions import REFUSED, keep_position
from lapel_protocol.command import EVENT_RECEIPT
from lapel_protocol.errors import Malformed, ProtocolError, Replayed
from lapel_protocol.event import (
    ALARM_KINDS,
    ALARM_SENDING,
    CLIP_CUT,
    HEARTBEAT,
    HELLO,
    LOCATION,
    PROBE,
    UPDATE_ASK,
    UPDATE_NOTE,
    VISIT,
    Event,
)
from lapel_protocol.limits import MAX_EVENT_RECEIPTS
from lapel_protocol.names import EVENT_KIND_NAMES
from lapel_protocol.orders import EventReceipt
from lapel_protocol.report_decoders import (
    decode_alarm_sending,
    decode_clip_cut,
    decode_heartbeat,
    decode_hello,
    decode_location,
    decode_probe,
    decode_visit_note,
)
from lapel_protocol.updating import decode_update_ask, decode_update_note
from lapel_protocol.wrap import wrap_seed

_KEEP = Direct(insert(event).on_conflict_do_nothing())


def take_event(
    batch: Batch, verifier: Verifier, organisation: OrganisationKey | None, device: bytes, payload: bytes
) -> None:
    """Verify a message of the event lane and sort it into the batch; what is not acceptable is counted."""
    trust = batch.trusts.get(device)
    try:
        found = verifier.event(trust, device, payload, batch.now_ms)
        if trust is None or found.boot < trust.boot_floor:
            raise Replayed("event of a boot that was closed")
        batch.saw_boot(trust, found.boot)
        batch.epochs.add((trust.name, found.boot, EPOCH_BOOT, True))
        _sort(batch, trust, organisation, found, payload)
    except ProtocolError as error:
        batch.refuse(device, error, "event")


def write_events(connection: sa.Connection, batch: Batch, rules: VisitsSection) -> None:
    """Write the batch's journalled events, alarms and positions; their receipts join the batch's orders."""
    if not (batch.events or batch.alarms or batch.locations):
        return
    _write_visit_notes(connection, batch, rules)
    _write_sendings(connection, batch)
    take_update_notes(connection, batch.update_notes, batch.now_ms)
    rows = [
        {
            "device": trust.name,
            "boot": found.boot,
            "counter": found.counter,
            "kind": found.kind,
            "wall_ms": stored(found.wall_ms),
            "mono_ms": stored(found.mono_ms),
            "trust": found.trust,
            "received_ms": batch.now_ms,
            "payload": found.payload,
            "record": record,
        }
        for trust, found, record in batch.events
    ]
    if rows:
        _KEEP.run_each(connection, rows)
    for trust, found, record in batch.alarms:
        try:
            batch.orders += enter_alarm(connection, trust, found, record, batch.now_ms)
        except ProtocolError as error:
            batch.refuse(trust.device, error, "alarm on the event lane")
    for trust, found, said in batch.locations:
        # After alarms and visits: one that came in the same batch is open already.
        if not keep_position(connection, trust, found, said, batch.now_ms):
            batch.tallies[trust.name, REFUSED] += 1
    for trust in batch.trusts.values():
        named = [(found.boot, found.counter) for owner, found, _ in batch.events if owner is trust]
        for start in range(0, len(named), MAX_EVENT_RECEIPTS):
            receipt = EventReceipt(named[start : start + MAX_EVENT_RECEIPTS])
            batch.orders.append(Order(trust.device, EVENT_RECEIPT, receipt.encode()))


def _write_visit_notes(connection: sa.Connection, batch: Batch, rules: VisitsSection) -> None:
    """Take what devices say of visits, each event once for ever; the device of a refused one is told how it stands."""
    for trust, found, note, record in batch.visit_notes:
        if not enter_event(connection, trust.name, found, record, batch.now_ms):
            continue
        refused = take_visit_note(connection, trust, found, note, rules, batch.now_ms)
        if refused is not None:
            batch.tallies[trust.name, refused] += 1
            if not tell_again(connection, trust.name):
                desks = Desks(connection, [trust.name])
                batch.orders += visit_order(desks[trust.name], trust.device, NO_VISIT, batch.now_ms)
                desks.write(connection)


def _write_sendings(connection: sa.Connection, batch: Batch) -> None:
    """Take what devices say of how alarms left them, each event once for ever."""
    for trust, found, said, record in batch.sendings:
        if enter_event(connection, trust.name, found, record, batch.now_ms):
            refused = take_sending(connection, trust, found, said, batch.now_ms)
            if refused is not None:
                batch.tallies[trust.name, refused] += 1


def _sort(batch: Batch, trust: Trust, organisation: OrganisationKey | None, found: Event, record: bytes) -> None:
    if found.kind == HELLO:
        batch.hellos.append((trust, found, decode_hello(found.payload)))
    elif found.kind == HEARTBEAT:
        batch.heartbeats.append((trust, found, decode_heartbeat(found.payload)))
    elif found.kind == LOCATION:
        batch.locations.append((trust, found, decode_location(found.payload)))
    elif found.kind == UPDATE_ASK:
        batch.asks.append((trust, decode_update_ask(found.payload)))
    elif found.kind in ALARM_KINDS:
        batch.alarms.append((trust, found, record))
    else:
        batch.events.append((trust, found, record))
        try:
            if found.kind == CLIP_CUT:
                batch.cuts.append((trust, found, decode_clip_cut(found.payload)))
            elif found.kind == VISIT:
                batch.visit_notes.append((trust, found, decode_visit_note(found.payload), record))
            elif found.kind == ALARM_SENDING:
                batch.sendings.append((trust, found, decode_alarm_sending(found.payload), record))
            elif found.kind == UPDATE_NOTE:
                batch.update_notes.append((trust, found, decode_update_note(found.payload)))
            elif found.kind == PROBE:
                _check_probe(batch, trust, organisation, found)
        except Malformed as error:
            batch.refuse(trust.device, error, f"payload of {EVENT_KIND_NAMES[found.kind]}")


def _check_probe(batch: Batch, trust: Trust, organisation: OrganisationKey | None, found: Event) -> None:
    """Recompute the device's wrap byte for byte: it shows that clips will open where the private key is elsewhere."""
    if organisation is None:
        return
    probe = decode_probe(found.payload)
    if wrap_seed(probe.seed, probe.oaep_seed, organisation.modulus) != probe.wrapped:
        detail = "its wrap of a test seed is not the one that the organisation's key gives: its clips would not open"
        batch.notices.append(Notice("probe_failed", f"{trust.name}-{found.boot}", trust.name, trust.name, detail))
        batch.tallies[trust.name, "probe_failed"] += 1
