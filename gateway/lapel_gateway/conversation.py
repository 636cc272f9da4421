"""The conversation with a device: hello and welcome, heartbeats and contact, credit, and desired state issued again.

Rules that hold here
- A hello that is not newer than the last one of its boot changes nothing. The last one itself is answered again,
  because its answer may have been lost.
- Contact is an answer to one of the last two challenges, given lately, by a heartbeat newer than any before: last
  wills, retained and replayed messages prove nothing.
- Credit is an absolute window of bytes beyond what the gateway says it holds of each clip; repeating it is harmless.
- Commands are returned as orders and leave only after the commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from lapel_gateway.alarm_book import answers_after_hello, shown_by_device
from lapel_gateway.credit import Windows
from lapel_gateway.downlink import Order
from lapel_gateway.ledger.clips import UNFINISHED
from lapel_gateway.ledger.devices import change_device, get_device
from lapel_gateway.ledger.epochs import account
from lapel_gateway.ledger.outgoing import add_notice
from lapel_gateway.ledger.schema import EPOCH_LOST, OPENING_PROVED, OPENING_UNOPENABLE
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.verify import Trust
from lapel_protocol.command import CREDIT, RECEIPT, SETTINGS, UNOPENABLE, WELCOME
from lapel_protocol.errors import UnsupportedVersion
from lapel_protocol.event import Event
from lapel_protocol.limits import MAX_CREDIT_CLIPS, NONCE_BYTES
from lapel_protocol.names import EPOCH_NAMES
from lapel_protocol.orders import (
    LEVEL_OPENED,
    LEVEL_VERIFIED,
    Credit,
    Receipt,
    SettingsChange,
    UnopenableNotice,
    Welcome,
)
from lapel_protocol.reports import EPOCH_CLIP, HEART_BLOCKED, HEART_FLAGS, Heartbeat, Hello

CHALLENGE_FRESH_MS = 20_000
"""A heartbeat that answers an older challenge is given a new one; below the shortest useful heartbeat interval."""

CONTACT_RECENT_MS = 2 * 3_600_000
"""An answer to a challenge older than this is no contact: twice the longest heartbeat interval that can be set."""

COMMAND_LIFE_MS = 60_000
"""Expiry of a command that changes something: it is meant for the connection it was issued on."""

RECEIPTS_AFTER_HELLO = 16
"""The newest clips that came to be held within RECEIPTS_RECENT_MS are receipted again after a hello. A device that
missed the receipt of another clip sends some of it again, and gets it then."""

RECEIPTS_RECENT_MS = 24 * 3_600_000

Entropy = Callable[[int], bytes]


def take_hello(
    connection: sa.Connection, trust: Trust, event: Event, hello: Hello, windows: Windows, entropy: Entropy, now_ms: int
) -> list[Order] | None:
    """Answer a verified hello in the caller's transaction; None for a replayed one.

    Raises UnsupportedVersion for a device that offers less than its pinned suite.
    """
    if hello.suite < trust.minimum_suite:
        raise UnsupportedVersion(f"suite {hello.suite} is below the device's minimum {trust.minimum_suite}")
    row = get_device(connection, trust.name)
    last = -1 if row.hello_counter is None else row.hello_counter
    if event.boot < row.boot or event.counter < last:
        return None
    challenge, ledger_to = row.challenge, row.ledger_to
    report_end = hello.epochs[-1][0] + 1 if hello.epochs else ledger_to
    if event.counter > last:
        challenge = entropy(NONCE_BYTES)
        ledger_to = _account(connection, trust, hello, report_end, now_ms)
        change_device(
            connection,
            trust.name,
            hello_counter=event.counter,
            nonce=hello.nonce,
            challenge=challenge,
            challenge_ms=now_ms,
            last_challenge=row.challenge,
            ledger_to=ledger_to,
            status=_status_of_hello(hello, now_ms),
        )
    reported = frozenset(epoch for epoch, what in hello.epochs if what == EPOCH_CLIP)
    welcome = Welcome(now_ms, challenge, ledger_to)
    orders = [Order(trust.device, WELCOME, welcome.encode(), nonce=hello.nonce, issued_ms=now_ms)]
    orders.append(credit_order(connection, trust, challenge, windows))
    orders += answers_after_hello(connection, trust)
    orders += receipts_of(connection, trust, reported | _lately_held(connection, trust, now_ms))
    orders += _settings_order(connection, trust, row.settings, hello.nonce, now_ms)
    return orders


def take_heartbeat(
    connection: sa.Connection,
    trust: Trust,
    event: Event,
    beat: Heartbeat,
    windows: Windows,
    entropy: Entropy,
    now_ms: int,
) -> list[Order] | None:
    """Take a verified heartbeat in the caller's transaction and return what to answer; None for a replayed one."""
    row = get_device(connection, trust.name)
    if event.boot != row.boot or (row.heartbeat_counter is not None and event.counter <= row.heartbeat_counter):
        return None
    values: dict[str, object] = {
        "heartbeat_counter": event.counter,
        "status": _status_of_heartbeat(row.status, beat, now_ms),
    }
    age_ms = now_ms - (row.challenge_ms or 0)
    answered = row.challenge is not None and beat.challenge in (row.challenge, row.last_challenge)
    if answered and age_ms <= CONTACT_RECENT_MS:
        values["contact_ms"] = now_ms
    challenge = row.challenge
    if challenge is None or age_ms >= CHALLENGE_FRESH_MS:
        challenge = entropy(NONCE_BYTES)
        values.update(challenge=challenge, challenge_ms=now_ms, last_challenge=row.challenge)
    change_device(connection, trust.name, **values)
    orders = shown_by_device(connection, trust, beat.alarm_boot, beat.alarm_counter, beat.alarm_state)
    if challenge != beat.challenge or beat.flags & HEART_BLOCKED:
        orders.append(credit_order(connection, trust, challenge, windows))
    return orders


def credit_order(connection: sa.Connection, trust: Trust, challenge: bytes | None, windows: Windows) -> Order:
    """The device's credit, with what is held of each of its unfinished clips; `challenge` None = the current one."""
    if challenge is None:
        challenge = get_device(connection, trust.name).challenge or bytes(NONCE_BYTES)
    held = connection.execute(
        sa.select(clips.c.clip, clips.c.contiguous)
        .where(clips.c.device == trust.name, clips.c.state.in_(UNFINISHED), clips.c.header_ms.is_not(None))
        .order_by(clips.c.alarm.desc(), clips.c.clip)
        .limit(MAX_CREDIT_CLIPS)
    )
    progress = [(row.clip, row.contiguous) for row in held]
    credit = Credit(challenge, windows.window_bytes, windows.alarm_window_bytes, progress)
    return Order(trust.device, CREDIT, credit.encode())


def receipts_of(connection: sa.Connection, trust: Trust, numbers: frozenset[int]) -> list[Order]:
    """Receipts (or notices that it cannot be opened) for those of these clips that the gateway holds."""
    if not numbers:
        return []
    rows = connection.execute(
        sa.select(clips).where(clips.c.device == trust.name, clips.c.clip.in_(sorted(numbers))).order_by(clips.c.clip)
    ).all()
    return [order for row in rows for order in custody_orders(trust.device, row)]


def _lately_held(connection: sa.Connection, trust: Trust, now_ms: int) -> frozenset[int]:
    query = sa.select(clips.c.clip).where(
        clips.c.device == trust.name, clips.c.verified_ms > now_ms - RECEIPTS_RECENT_MS
    )
    newest = query.order_by(clips.c.clip.desc()).limit(RECEIPTS_AFTER_HELLO)
    return frozenset(connection.execute(newest).scalars())


def custody_orders(device: bytes, row: sa.Row[Any]) -> list[Order]:
    """What the device must know of the custody of one clip, from its row: nothing while it is unfinished."""
    if row.opening == OPENING_UNOPENABLE:
        return [Order(device, UNOPENABLE, UnopenableNotice(row.clip).encode())]
    if row.state in UNFINISHED or row.receipt_segments is None:
        return []
    # A receipt for fewer segments than the device settled names the head of the shorter, authentic prefix.
    head = row.settled_head if row.receipt_segments == row.settled_segments else row.head
    level = LEVEL_OPENED if row.opening == OPENING_PROVED else LEVEL_VERIFIED
    return [Order(device, RECEIPT, Receipt(row.clip, row.receipt_segments, level, head).encode())]


def _account(connection: sa.Connection, trust: Trust, hello: Hello, report_end: int, now_ms: int) -> int:
    """Enter the device's report; returns the first epoch that is not accounted for."""
    reported = [(epoch, EPOCH_NAMES[what]) for epoch, what in hello.epochs]
    ledger_to, unknown = account(connection, trust.name, reported, report_end, now_ms)
    for epoch, used_for in reported:
        if used_for == EPOCH_LOST:
            detail = "a clip was begun and the device's storage no longer has it"
            add_notice(
                connection, "clip_lost", f"{trust.name}-{epoch}", trust.name, f"{trust.name}-{epoch}", detail, now_ms
            )
    if unknown:
        detail = f"{len(unknown)} epochs from {unknown[0]} to {unknown[-1]}: the device no longer knows what they were"
        add_notice(connection, "epochs_unknown", f"{trust.name}-{unknown[0]}", trust.name, trust.name, detail, now_ms)
    return ledger_to


def _settings_order(connection: sa.Connection, trust: Trust, text: str, nonce: bytes, now_ms: int) -> list[Order]:
    """The settings wanted on the device, if an operator ever changed them; the device ignores a version it has."""
    wanted = json.loads(text)
    if not wanted:
        return []
    change = SettingsChange()
    for name, value in wanted.items():
        setattr(change, name, value)
    counter = get_device(connection, trust.name).command_counter + 1
    change_device(connection, trust.name, command_counter=counter)
    return [
        Order(
            trust.device,
            SETTINGS,
            change.encode(),
            nonce=nonce,
            counter=counter,
            issued_ms=now_ms,
            expires_ms=now_ms + COMMAND_LIFE_MS,
        )
    ]


def _status_of_hello(hello: Hello, now_ms: int) -> str:
    return json.dumps(
        {
            "at_ms": now_ms,
            "firmware": ".".join(str(part) for part in hello.firmware),
            "battery_percent": hello.battery_percent,
            "battery_minutes": hello.battery_minutes,
            "storage_free_kib": hello.storage_free_kib,
            "storage_total_kib": hello.storage_total_kib,
        }
    )


def _status_of_heartbeat(before: str, beat: Heartbeat, now_ms: int) -> str:
    flags = beat.flags & HEART_FLAGS
    return json.dumps(
        json.loads(before)
        | {
            "at_ms": now_ms,
            "battery_percent": beat.battery_percent,
            "battery_minutes": beat.battery_minutes,
            "storage_free_kib": beat.storage_free_kib,
            "clips_held": beat.clips_held,
            "refused_commands": beat.refused_commands,
            "blocked": bool(flags & 1),
            "recording": bool(flags & 2),
            "storage_full": bool(flags & 4),
        }
    )
