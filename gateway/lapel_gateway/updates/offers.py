"""The conversation about updates: what a hello tells, what is offered, the pieces sent, and what devices say of it.

Rules that hold here
- An offer is desired state: after every hello, and with each heartbeat until the device has said that it heard. One
  that executes its firmware in place is offered nothing: a cable brings what it is to run.
- A piece is sent only of the release that the device is wanted to run, when it asks, and within a budget that all
  devices share; what is not sent is asked for again. Nothing is written for it.
- A device's word about an update is taken once, and an older one never over a newer one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from lapel_gateway.custody.downlink import Order, changing_order
from lapel_gateway.ledger.devices import Desk, Desks
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.firmware_tables import device_firmware, given_up
from lapel_gateway.ledger.outgoing import add_notice
from lapel_gateway.updates.releases import ReleaseStore
from lapel_gateway.updates.rollouts import GIVEN_UP, NOTHING, Want, wanted_by
from lapel_gateway.verify import Trust
from lapel_protocol.command import UPDATE_BLOCK, UPDATE_OFFER
from lapel_protocol.event import Event
from lapel_protocol.names import UPDATE_WHAT_NAMES, UPDATE_WHY_NAMES
from lapel_protocol.reports import Hello
from lapel_protocol.updating import (
    CAUSE_REPLACED,
    RELEASE_FIXED,
    RELEASE_TRIAL,
    UPDATE_BLOCK_BYTES,
    UPDATE_GOOD,
    UpdateAsk,
    UpdateBlock,
    UpdateNote,
    UpdateOffer,
    decode_running_release,
)

BYTES_PER_S = 256 << 10
"""For all devices together: a tenth of what one core seals, and little on a line that alarms share."""

BURST_BYTES = 128 << 10

UNDER_WAY = ("begun", "ready")

_OF_HELLO = ("hardware", "number", "release", "trial", "fixed", "told_ms", "wanted")
_TOLD = insert(device_firmware)
_TELL = Direct(
    _TOLD.on_conflict_do_update(
        index_elements=["device"],
        set_={name: _TOLD.excluded[name] for name in _OF_HELLO},
    ),
    (
        "device",
        *_OF_HELLO,
        *("step", "step_release", "step_why", "step_ms", "step_boot", "step_counter"),
    ),
)
_FORGET = Direct(sa.delete(device_firmware).where(device_firmware.c.device == sa.bindparam("of_device")))
_OFFERED = Direct(
    sa.update(device_firmware)
    .where(device_firmware.c.device == sa.bindparam("of_device"))
    .values(wanted=sa.bindparam("of_release"))
)
_STEP = Direct(
    sa.update(device_firmware)
    .where(
        device_firmware.c.device == sa.bindparam("of_device"),
        sa.or_(
            device_firmware.c.step_boot < sa.bindparam("of_boot"),
            sa.and_(
                device_firmware.c.step_boot == sa.bindparam("of_boot"),
                device_firmware.c.step_counter < sa.bindparam("of_counter"),
            ),
        ),
    )
    .values(
        step=sa.bindparam("of_step"),
        step_release=sa.bindparam("of_release"),
        step_why=sa.bindparam("of_why"),
        step_ms=sa.bindparam("of_ms"),
        step_boot=sa.bindparam("of_boot"),
        step_counter=sa.bindparam("of_counter"),
    )
)
_TAKEN_BACK = Direct(
    sa.update(device_firmware)
    .where(
        device_firmware.c.device == sa.bindparam("of_device"),
        device_firmware.c.wanted == sa.bindparam("of_release"),
    )
    .values(wanted="")
)
_GAVE_UP = insert(given_up)
_GIVEN_UP_COLUMNS = ("device", "release", "at_ms")
_GIVE_UP = Direct(_GAVE_UP.on_conflict_do_nothing(), _GIVEN_UP_COLUMNS)
_GIVE_UP_AGAIN = Direct(
    _GAVE_UP.on_conflict_do_update(index_elements=["device", "release"], set_={"at_ms": _GAVE_UP.excluded.at_ms}),
    _GIVEN_UP_COLUMNS,
)
_END_TRIAL = Direct(
    sa.update(device_firmware).where(device_firmware.c.device == sa.bindparam("of_device")).values(trial=sa.false())
)


def take_hellos(connection: sa.Connection, said: Iterable[tuple[Trust, Hello]], now_ms: int) -> None:
    """Keep what devices say that they run."""
    tells, forgets = [], []
    for trust, hello in said:
        if not hello.tail:
            forgets.append({"of_device": trust.name})
            continue
        part = decode_running_release(hello.tail)
        tells.append(
            {
                "device": trust.name,
                "hardware": part.hardware,
                "number": part.number,
                "release": part.release.hex(),
                "trial": int(part.flags == RELEASE_TRIAL),
                "fixed": int(part.flags == RELEASE_FIXED),
                "told_ms": now_ms,
                "wanted": "",
                "step": "",
                "step_release": "",
                "step_why": "",
                "step_ms": 0,
                "step_boot": -1,
                "step_counter": -1,
            }
        )
    if tells:
        _TELL.run_each(connection, tells)
    if forgets:
        _FORGET.run_each(connection, forgets)


def offer_updates(
    connection: sa.Connection, desks: Desks, trusts: Collection[Trust], now_ms: int
) -> dict[str, list[Order]]:
    """Offers for devices that have not said that they heard what they are to run; each needs the nonce of a hello."""
    orders: dict[str, list[Order]] = {}
    wants = wanted_by(connection, {trust.name for trust in trusts}) if trusts else {}
    for trust in trusts:
        row, want = wants.get(trust.name, (None, NOTHING))
        desk = desks[trust.name]
        if row is None or want.paused or desk.nonce is None or row["trial"] or row["fixed"]:
            continue
        under_way = row["step_release"] if row["step"] in UNDER_WAY else ""
        if want.release == row["wanted"] and (not want.release or want.release == under_way):
            continue
        orders[trust.name] = [_offer(desk, trust.device, want, now_ms)]
        # What is taken back counts as offered until the device has said that it heard.
        if want.release or row["wanted"] != under_way:
            _OFFERED.run(connection, {"of_device": trust.name, "of_release": want.release})
    return orders


def _offer(desk: Desk, device: bytes, want: Want, now_ms: int) -> Order:
    body = UpdateOffer(bytes.fromhex(want.release) or bytes(8), want.number, want.content_at)
    desk.change(command_counter=desk.command_counter + 1)
    return changing_order(device, UPDATE_OFFER, body.encode(), desk.nonce, desk.command_counter, now_ms)


def take_update_notes(connection: sa.Connection, notes: Sequence[tuple[Trust, Event, UpdateNote]], now_ms: int) -> None:
    """Keep each device's newest word about an update, and tell operators of one that came to nothing."""
    for trust, found, note in notes:
        what, why = UPDATE_WHAT_NAMES[note.what], UPDATE_WHY_NAMES[note.why]
        values = {
            "of_device": trust.name,
            "of_step": "replaced" if note.why == CAUSE_REPLACED else what,
            "of_release": note.release.hex(),
            "of_why": why,
            "of_ms": now_ms,
            "of_boot": found.boot,
            "of_counter": found.counter,
        }
        newer = _STEP.run(connection, values)
        if what in GIVEN_UP and note.why != CAUSE_REPLACED:
            (_GIVE_UP_AGAIN if newer else _GIVE_UP).run(
                connection, {"device": trust.name, "release": note.release.hex(), "at_ms": now_ms}
            )
        if note.why == CAUSE_REPLACED:
            _TAKEN_BACK.run(connection, {"of_device": trust.name, "of_release": note.release.hex()})
        if newer and note.what == UPDATE_GOOD:
            _END_TRIAL.run(connection, {"of_device": trust.name})
        if newer and what in GIVEN_UP and note.why != CAUSE_REPLACED:
            said = f"{what}, {why}".replace("_", " ")
            detail = f"number {note.number}: {said}; it runs the version before"
            key = f"{trust.name}-{found.boot}-{found.counter}"
            add_notice(connection, "update_failed", key, trust.name, trust.name, detail, now_ms)


class UpdateDesk:
    """Answers devices that ask for pieces. One object for the role that reads the event lane."""

    def __init__(self, releases: ReleaseStore, bytes_per_s: int = BYTES_PER_S) -> None:
        self._releases = releases
        self._bytes_per_s = bytes_per_s
        self._left = float(BURST_BYTES)
        self._at_ms = 0

    def answer(self, connection: sa.Connection, asks: Sequence[tuple[Trust, UpdateAsk]], now_ms: int) -> list[Order]:
        """The pieces for these, as far as the budget goes."""
        passed_ms = max(0, now_ms - self._at_ms)
        self._at_ms = now_ms
        self._left = min(BURST_BYTES, self._left + passed_ms * self._bytes_per_s / 1000)
        wants = wanted_by(connection, {trust.name for trust, _ in asks})
        orders: list[Order] = []
        for trust, ask in asks:
            _, want = wants.get(trust.name, (None, NOTHING))
            if want.paused or want.release != ask.release.hex() or ask.size > self._left:
                continue
            data = self._releases.piece(want.release, ask.offset, ask.size)
            self._left -= len(data)
            for at in range(0, len(data), UPDATE_BLOCK_BYTES):
                block = UpdateBlock(ask.release, ask.offset + at, data[at : at + UPDATE_BLOCK_BYTES])
                orders.append(Order(trust.device, UPDATE_BLOCK, block.encode()))
        return orders
