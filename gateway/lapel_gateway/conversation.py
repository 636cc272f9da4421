"""The conversation with devices: hello and welcome, heartbeats and contact, credit, and desired state issued again.

Rules that hold here
- A hello that is not newer than the last one of its boot changes nothing. The last one itself is answered again,
  because its answer may have been lost.
- Contact is an answer to one of the last two challenges, given lately, by a heartbeat newer than any before: last
  wills, retained and replayed messages prove nothing.
- Credit is an absolute window of bytes beyond what the gateway says it holds of each clip; repeating it is harmless.
- Commands are returned as orders and leave only after the commit.
- What a batch needs is read at once and written at once: after a restart of the broker a whole fleet says hello within
  seconds, and a welcome that comes after ten of them is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from lapel_gateway.alarms.book import ShownAlarms
from lapel_gateway.alarms.kinds import CLIP_MISSING
from lapel_gateway.alarms.own import Concern, raise_own
from lapel_gateway.custody.credit import Windows
from lapel_gateway.custody.downlink import Order, changing_order
from lapel_gateway.custody.receipts import receipts_of
from lapel_gateway.devices.health import note_health
from lapel_gateway.devices.wanted import to_tell, version_of
from lapel_gateway.ledger.clips import held_lately, open_progress
from lapel_gateway.ledger.devices import Desk, Desks
from lapel_gateway.ledger.epochs import account, missing_clips
from lapel_gateway.ledger.outgoing import add_notice
from lapel_gateway.ledger.schema import EPOCH_LOST, stored
from lapel_gateway.settings.visits import DEFAULT_RULES, VisitsSection
from lapel_gateway.updates.offers import offer_updates, take_hellos
from lapel_gateway.verify import Trust
from lapel_gateway.visits.beats import note_beats
from lapel_gateway.visits.orders import visit_order, visit_states
from lapel_protocol.clip import TRUST_NTP
from lapel_protocol.command import CREDIT, SETTINGS, WELCOME
from lapel_protocol.errors import ProtocolError, UnsupportedVersion
from lapel_protocol.event import Event
from lapel_protocol.limits import MAX_CREDIT_CLIPS, MAX_LEDGER_ENTRIES, NONCE_BYTES
from lapel_protocol.names import EPOCH_NAMES
from lapel_protocol.orders import Credit, VisitState, Welcome
from lapel_protocol.reports import EPOCH_CLIP, HEART_BLOCKED, HEART_FLAGS, Heartbeat, Hello

CHALLENGE_FRESH_MS = 20_000
"""A heartbeat that answers an older challenge is given a new one; below the shortest useful heartbeat interval."""

CONTACT_RECENT_MS = 2 * 3_600_000
"""An answer to a challenge older than this is no contact: twice the longest heartbeat interval that can be set."""

RECEIPTS_AFTER_HELLO = 16
"""The newest clips that came to be held within RECEIPTS_RECENT_MS are receipted again after a hello. A device that
missed the receipt of another clip sends some of it again, and gets it then."""

RECEIPTS_RECENT_MS = 24 * 3_600_000

Entropy = Callable[[int], bytes]
SaidHello = tuple[Trust, Event, Hello]
SaidHeartbeat = tuple[Trust, Event, Heartbeat]


@dataclass(slots=True)
class Answers:
    """What a batch's hellos and heartbeats led to."""

    orders: list[Order] = field(default_factory=list)
    greeted: list[tuple[Trust, Hello]] = field(default_factory=list)
    """Hellos that are answered, each device's newest last."""
    fresh: list[tuple[Trust, Hello, bool]] = field(default_factory=list)
    """Hellos that were news, and whether each was the first of its boot."""
    heard: list[tuple[Trust, Heartbeat]] = field(default_factory=list)
    """Heartbeats that were news."""
    replayed: list[Trust] = field(default_factory=list)
    """Whose hello or heartbeat was old, once for each."""
    refused: list[tuple[Trust, ProtocolError]] = field(default_factory=list)
    """Hellos that are not acceptable."""
    unknown: dict[str, list[int]] = field(default_factory=dict)
    """Epochs of devices of which nobody knows what they were, and clips that are known by the device's word only."""


@dataclass(slots=True)
class _Reply:
    """Orders to one device; those before and after the credit, which is filled in when all devices' is read."""

    trust: Trust
    challenge: bytes | None
    """Of the credit; None = no credit."""
    before: list[Order]
    after: list[Order] = field(default_factory=list)
    clips: frozenset[int] | None = None
    """After a hello: clips that the device still has; their receipts come after the credit."""
    last: list[Order] = field(default_factory=list)


def converse(
    connection: sa.Connection,
    hellos: Sequence[SaidHello],
    heartbeats: Sequence[SaidHeartbeat],
    windows: Windows,
    entropy: Entropy,
    now_ms: int,
    rules: VisitsSection = DEFAULT_RULES,
) -> Answers:
    """Take verified hellos, then verified heartbeats, in the caller's transaction."""
    answers = Answers()
    names = {trust.name for trust, _, _ in hellos} | {trust.name for trust, _, _ in heartbeats}
    if not names:
        return answers
    desks = Desks(connection, names)
    shown = ShownAlarms(connection, names)
    replies: list[_Reply] = []
    visits = visit_states(connection, {trust.name for trust, _, _ in hellos}, now_ms) if hellos else {}
    for wave in _one_each(hellos):
        replies += _take_hellos(connection, desks, shown, visits, wave, entropy, now_ms, answers)
    for trust, event, beat in heartbeats:
        reply = _take_heartbeat(desks[trust.name], shown, trust, event, beat, entropy, now_ms)
        if reply is None:
            answers.replayed.append(trust)
        else:
            answers.heard.append((trust, beat))
            replies.append(reply)
    shown.write(connection, now_ms)
    _offer(connection, desks, replies, answers.greeted, now_ms)
    in_contact = [(trust, beat) for trust, beat in answers.heard if desks[trust.name].contact_ms == now_ms]
    note_beats(connection, in_contact, rules, now_ms)
    note_health(connection, answers.fresh, answers.heard, now_ms)
    desks.write(connection)
    answers.orders = _orders(connection, replies, windows, now_ms)
    return answers


def _offer(
    connection: sa.Connection,
    desks: Desks,
    replies: Sequence[_Reply],
    greeted: Sequence[tuple[Trust, Hello]],
    now_ms: int,
) -> None:
    """Add the offers of firmware that are due, to each device's last reply."""
    newest = {trust.name: (trust, hello) for trust, hello in greeted}
    take_hellos(connection, newest.values(), now_ms)
    last = {reply.trust.name: reply for reply in replies}
    offers = offer_updates(connection, desks, [reply.trust for reply in last.values()], now_ms)
    for name, orders in offers.items():
        last[name].last += orders


def credit_orders(connection: sa.Connection, trusts: Iterable[Trust], windows: Windows) -> list[Order]:
    """Credit for these devices under their current challenges, with what is held of their unfinished clips."""
    wanted = list(trusts)
    names = {trust.name for trust in wanted}
    if not names:
        return []
    desks, progress = Desks(connection, names), open_progress(connection, names, MAX_CREDIT_CLIPS)
    return [
        _credit(trust, desks[trust.name].challenge or bytes(NONCE_BYTES), progress.get(trust.name, []), windows)
        for trust in wanted
    ]


def _orders(connection: sa.Connection, replies: Sequence[_Reply], windows: Windows, now_ms: int) -> list[Order]:
    credited = {reply.trust.name for reply in replies if reply.challenge is not None}
    progress = open_progress(connection, credited, MAX_CREDIT_CLIPS) if credited else {}
    greeted = {reply.trust.name for reply in replies if reply.clips is not None}
    lately = held_lately(connection, greeted, now_ms - RECEIPTS_RECENT_MS, RECEIPTS_AFTER_HELLO) if greeted else {}
    receipts = receipts_of(
        connection,
        {
            (reply.trust.name, clip)
            for reply in replies
            if reply.clips is not None
            for clip in reply.clips | lately.get(reply.trust.name, frozenset())
        },
    )
    orders: list[Order] = []
    for reply in replies:
        orders += reply.before
        if reply.challenge is not None:
            orders.append(_credit(reply.trust, reply.challenge, progress.get(reply.trust.name, []), windows))
        orders += reply.after
        if reply.clips is not None:
            orders += receipts.get(reply.trust.name, [])
        orders += reply.last
    return orders


def _take_hellos(
    connection: sa.Connection,
    desks: Desks,
    shown: ShownAlarms,
    visits: Mapping[str, VisitState],
    hellos: Sequence[SaidHello],
    entropy: Entropy,
    now_ms: int,
    answers: Answers,
) -> list[_Reply]:
    """Answer hellos of different devices."""
    taken: list[SaidHello] = []
    fresh: list[SaidHello] = []
    for trust, event, hello in hellos:
        if hello.suite < trust.minimum_suite:
            detail = f"suite {hello.suite} is below the device's minimum {trust.minimum_suite}"
            answers.refused.append((trust, UnsupportedVersion(detail)))
            continue
        desk = desks[trust.name]
        last = -1 if desk.hello_counter is None else desk.hello_counter
        if event.boot < desk.boot or event.counter < last:
            answers.replayed.append(trust)
            continue
        taken.append((trust, event, hello))
        if event.counter > last:
            fresh.append((trust, event, hello))
    _account(connection, desks, fresh, now_ms, answers)
    for trust, event, hello in fresh:
        desk = desks[trust.name]
        answers.fresh.append((trust, hello, desk.hello_counter is None))
        desk.change(
            hello_counter=event.counter,
            nonce=hello.nonce,
            last_challenge=desk.challenge,
            challenge=entropy(NONCE_BYTES),
            challenge_ms=now_ms,
            status=_status_of_hello(event, hello, now_ms),
        )
    replies = []
    for trust, _, hello in taken:
        answers.greeted.append((trust, hello))
        desk = desks[trust.name]
        challenge = desk.challenge or bytes(NONCE_BYTES)
        welcome = Welcome(now_ms, challenge, desk.ledger_to)
        last = _settings_order(desk, trust, hello.nonce, now_ms)
        if trust.name in visits:
            last += visit_order(desk, trust.device, visits[trust.name], now_ms)
        replies.append(
            _Reply(
                trust,
                challenge,
                before=[Order(trust.device, WELCOME, welcome.encode(), nonce=hello.nonce, issued_ms=now_ms)],
                after=shown.after_hello(trust.name),
                clips=frozenset(epoch for epoch, what in hello.epochs if what == EPOCH_CLIP),
                last=last,
            )
        )
    return replies


def _take_heartbeat(
    desk: Desk, shown: ShownAlarms, trust: Trust, event: Event, beat: Heartbeat, entropy: Entropy, now_ms: int
) -> _Reply | None:
    """Take a verified heartbeat; None for a replayed one."""
    if event.boot != desk.boot or (desk.heartbeat_counter is not None and event.counter <= desk.heartbeat_counter):
        return None
    age_ms = now_ms - (desk.challenge_ms or 0)
    answered = desk.challenge is not None and beat.challenge in (desk.challenge, desk.last_challenge)
    desk.change(heartbeat_counter=event.counter, status=_status_of_heartbeat(desk.status, event, beat, now_ms))
    if answered and age_ms <= CONTACT_RECENT_MS:
        desk.change(contact_ms=now_ms)
    if desk.challenge is None or not 0 <= age_ms < CHALLENGE_FRESH_MS:
        desk.change(last_challenge=desk.challenge, challenge=entropy(NONCE_BYTES), challenge_ms=now_ms)
    orders = shown.by_device(trust, event, beat)
    credit = desk.challenge != beat.challenge or beat.flags & HEART_BLOCKED
    # Changed since its hello. Should they be lost on their way, the next hello brings them again.
    changed = desk.nonce is not None and version_of(desk.settings) != desk.settings_told
    last = _settings_order(desk, trust, desk.nonce, now_ms) if changed else []
    return _Reply(trust, desk.challenge if credit else None, before=orders, last=last)


def _one_each(hellos: Sequence[SaidHello]) -> Iterator[list[SaidHello]]:
    """The hellos in their order, in lists that have at most one of each device."""
    rest = list(hellos)
    while rest:
        wave: dict[str, SaidHello] = {}
        rest = [said for said in rest if wave.setdefault(said[0].name, said) is not said]
        yield list(wave.values())


def _credit(trust: Trust, challenge: bytes, progress: list[tuple[int, int]], windows: Windows) -> Order:
    credit = Credit(challenge, windows.window_bytes, windows.alarm_window_bytes, progress)
    return Order(trust.device, CREDIT, credit.encode())


def _report_end(hello: Hello) -> int:
    """The first epoch that a hello's report does not speak of: the next unused one, unless not all fitted in.

    A device that reports nothing is sure that everything is accounted for. A gateway that came back from an older
    backup knows better.
    """
    return hello.next_epoch if len(hello.epochs) < MAX_LEDGER_ENTRIES else hello.epochs[-1][0] + 1


def _account(
    connection: sa.Connection, desks: Desks, hellos: Sequence[SaidHello], now_ms: int, answers: Answers
) -> None:
    """Enter the devices' reports of their epochs."""
    reports = {
        trust.name: (
            desks[trust.name].ledger_to,
            [(epoch, EPOCH_NAMES[what]) for epoch, what in hello.epochs],
            _report_end(hello),
        )
        for trust, _, hello in hellos
        if hello.epochs or _report_end(hello) > desks[trust.name].ledger_to
    }
    if not reports:
        return
    for name, (ledger_to, unknown) in account(connection, reports, now_ms).items():
        desks[name].change(ledger_to=ledger_to)
        for epoch, used_for in reports[name][1]:
            if used_for == EPOCH_LOST:
                readable = f"{name}-{epoch}"
                detail = "a clip was begun and the device's storage no longer has it"
                raise_own(connection, CLIP_MISSING, readable, detail, now_ms, Concern(device=name))
        if unknown:
            answers.unknown[name] = unknown
            detail = (
                f"{len(unknown)} epochs from {unknown[0]} to {unknown[-1]}: the device no longer knows what they were"
            )
            add_notice(connection, "epochs_unknown", f"{name}-{unknown[0]}", name, name, detail, now_ms)
    clip = EPOCH_NAMES[EPOCH_CLIP]
    said = {name: [epoch for epoch, what in rows if what == clip] for name, (_, rows, _) in reports.items()}
    if any(said.values()):
        for name, missing in missing_clips(connection, said).items():
            answers.unknown[name] = answers.unknown.get(name, []) + missing


def _settings_order(desk: Desk, trust: Trust, nonce: bytes, now_ms: int) -> list[Order]:
    """The settings wanted on the device, if somebody ever changed them; the device ignores a version it has."""
    wanted = to_tell(desk.settings)
    if wanted is None:
        return []
    desk.change(command_counter=desk.command_counter + 1, settings_told=wanted.version)
    return [
        changing_order(trust.device, SETTINGS, wanted.encode(), nonce, desk.command_counter, now_ms),
    ]


def _ahead_ms(event: Event, now_ms: int) -> int | None:
    """How far a device's clock is ahead of the gateway's, its way here included; None where it does not believe it."""
    return stored(event.wall_ms) - now_ms if event.trust >= TRUST_NTP else None


def _status_of_hello(event: Event, hello: Hello, now_ms: int) -> str:
    return json.dumps(
        {
            "at_ms": now_ms,
            "clock_ahead_ms": _ahead_ms(event, now_ms),
            "firmware": ".".join(str(part) for part in hello.firmware),
            "battery_percent": hello.battery_percent,
            "battery_minutes": hello.battery_minutes,
            "storage_free_kib": hello.storage_free_kib,
            "storage_total_kib": hello.storage_total_kib,
        }
    )


def _status_of_heartbeat(before: str, event: Event, beat: Heartbeat, now_ms: int) -> str:
    flags = beat.flags & HEART_FLAGS
    return json.dumps(
        json.loads(before)
        | {
            "at_ms": now_ms,
            "clock_ahead_ms": _ahead_ms(event, now_ms),
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
