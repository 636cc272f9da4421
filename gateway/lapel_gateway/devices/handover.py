"""Handing devices to people and taking them back.

Rules that hold here
- A device is in one person's hands at a time; it is taken back before it is handed to the next.
- What speaks against handing it out (charge, self-test, clips of somebody else still on it) is said and keeps it from
  being handed out, unless whoever does it gives a reason, which is kept.
- Clips are entered under whoever had the device when they began, as far as its clock can be believed; others under
  whoever has it when they arrive: a device that still holds some is not handed on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lapel_gateway.describe import moment
from lapel_gateway.devices import self_tests
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import DEVICE_ACTIVE, handover
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.one_line import one_line
from lapel_gateway.settings.devices import DEFAULT_DEVICE_RULES, DevicesSection
from lapel_protocol.limits import MAX_NAME_BYTES

DAY_MS = 86_400_000
MAX_NOTE_CHARACTERS = 500


class HandoverError(Exception):
    """The device cannot be handed out or taken back; the message says why and what to do."""


@dataclass(frozen=True)
class Check:
    """One thing that is looked at before a device is handed out."""

    name: str
    good: bool
    words: str
    """What was found, and what to do about it where it is not good."""


def checks(engine: sa.Engine, device: str, now_ms: int, rules: DevicesSection = DEFAULT_DEVICE_RULES) -> list[Check]:
    """What speaks for and against handing out a device. Raises HandoverError for one that is none of ours."""
    with reading(engine) as connection:
        return _checks(connection, _row(connection, device), now_ms, rules)


def issue(
    engine: sa.Engine,
    device: str,
    person: str,
    by: str,
    now_ms: int,
    rules: DevicesSection = DEFAULT_DEVICE_RULES,
    in_spite: str = "",
) -> list[Check]:
    """Hand a device to a person; returns what was looked at. ``in_spite`` is a reason to do so whatever speaks against
    it. Raises HandoverError, and then nothing has changed.
    """
    person = _name("the person's name", person)
    by, in_spite = _name("the name of whoever hands it out", by), _note("a reason", in_spite)
    with writing(engine) as connection:
        row = _row(connection, device)
        if row["state"] != DEVICE_ACTIVE:
            raise HandoverError(f"device {row['name']} is {row['state']}: it is not handed out")
        out = _out(connection, device)
        if out is not None:
            raise HandoverError(
                f"{out['person']} has device {row['name']}: take it back first (lapel device return {row['name']})"
            )
        found = _checks(connection, row, now_ms, rules)
        against = [check.words for check in found if not check.good]
        if against and not in_spite:
            raise HandoverError(
                f"device {row['name']} is not handed out: {'; '.join(against)}; "
                "give a reason to hand it out in spite of that (--anyway)"
            )
        connection.execute(
            sa.insert(handover).values(
                device=device,
                person=person,
                issued_ms=now_ms,
                issued_by=by,
                issued_battery=_status(row).get("battery_percent"),
                in_spite=in_spite if against else "",
                note="",
            )
        )
        connection.execute(sa.update(devices).where(devices.c.device == device).values(person=person))
    return found


def take_back(engine: sa.Engine, device: str, by: str, now_ms: int, note: str = "") -> list[str]:
    """Take a device back; returns what has to be done with it before the next. Raises HandoverError."""
    by, note = _name("the name of whoever takes it back", by), _note("a note", note)
    with writing(engine) as connection:
        row = _row(connection, device)
        out = _out(connection, device)
        if out is None:
            raise HandoverError(f"device {row['name']} is in nobody's hands")
        status = _status(row)
        ended = {"returned_ms": now_ms, "returned_by": by, "returned_battery": status.get("battery_percent")}
        connection.execute(sa.update(handover).where(handover.c.id == out["id"]).values(**ended, note=note))
        held = status.get("clips_held") or 0
        if not held:
            connection.execute(sa.update(devices).where(devices.c.device == device).values(person=""))
    if not held:
        return []
    return [f"it holds {held} clips of {out['person']}: keep it switched on and in reach until they are in"]


def list_handovers(engine: sa.Engine, device: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """Who had which device from when to when, newest first; of one device, or of all."""
    query = sa.select(handover, devices.c.name).join(devices, devices.c.device == handover.c.device)
    if device is not None:
        query = query.where(handover.c.device == device)
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(handover.c.id.desc()).limit(limit)).mappings()
        return [
            {
                "device": row["device"],
                "name": row["name"],
                "person": row["person"],
                "issued": {**(moment(row["issued_ms"]) or {}), "by": row["issued_by"]},
                "issued_battery": row["issued_battery"],
                "in_spite": row["in_spite"] or None,
                "returned": row["returned_ms"] and {**(moment(row["returned_ms"]) or {}), "by": row["returned_by"]},
                "returned_battery": row["returned_battery"],
                "note": row["note"] or None,
            }
            for row in rows
        ]


def _checks(connection: sa.Connection, row: sa.RowMapping, now_ms: int, rules: DevicesSection) -> list[Check]:
    status = _status(row)
    heard_ms = status.get("at_ms")
    if heard_ms is None or not -DAY_MS < now_ms - heard_ms < DAY_MS:
        unknown = "it has not been heard of for a day: switch it on where it has a link"
        return [Check("contact", False, unknown), _tested(connection, row["device"], now_ms, rules)]
    battery, held = status.get("battery_percent"), status.get("clips_held") or 0
    charged = battery is not None and battery >= rules.issue_battery_percent
    short = "" if charged else f", less than the {rules.issue_battery_percent} % needed: charge it"
    return [
        Check("contact", True, "heard of within a day"),
        Check("charge", charged, f"charged to {battery} %{short}"),
        Check(
            "clips",
            not held,
            "holds no clips" if not held else f"holds {held} clips of its last wearer: wait until they are in",
        ),
        _tested(connection, row["device"], now_ms, rules),
    ]


def _tested(connection: sa.Connection, device: str, now_ms: int, rules: DevicesSection) -> Check:
    if not rules.self_test_days:
        return Check("self-test", True, "not asked for")
    last = self_tests.latest(connection, device)
    if last is None:
        return Check("self-test", False, "no self-test is on record: lapel device selftest")
    if not last["passed"]:
        return Check("self-test", False, "its last self-test failed: mend it, then lapel device selftest")
    days = (now_ms - last["at_ms"]) // DAY_MS
    if days >= rules.self_test_days:
        return Check("self-test", False, f"its last self-test is {days} days old: lapel device selftest")
    return Check("self-test", True, f"passed {days} days ago")


def _row(connection: sa.Connection, device: str) -> sa.RowMapping:
    row = connection.execute(sa.select(devices).where(devices.c.device == device)).mappings().one_or_none()
    if row is None:
        raise HandoverError(f"there is no device {device}")
    return row


def _out(connection: sa.Connection, device: str) -> sa.RowMapping | None:
    query = sa.select(handover).where(handover.c.device == device, handover.c.returned_ms.is_(None))
    return connection.execute(query.order_by(handover.c.id.desc()).limit(1)).mappings().one_or_none()


def _status(row: sa.RowMapping) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(row["status"])
    return found


def _name(what: str, text: str) -> str:
    return one_line(what, text, MAX_NAME_BYTES, HandoverError, needed=True, in_bytes=True)


def _note(what: str, text: str) -> str:
    return one_line(what, text, MAX_NOTE_CHARACTERS, HandoverError)
