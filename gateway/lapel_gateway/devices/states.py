"""Devices as whoever looks after them sees them: each with its link, wearer, update, self-test and what wants a look.

One form for the API, the pages and the command line.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from lapel_gateway.describe import device_words, moment
from lapel_gateway.devices.attention import BAD, WARN, concerns, link_of
from lapel_gateway.devices.handover import HandoverError, checks, list_handovers
from lapel_gateway.devices.self_tests import list_self_tests
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.firmware_tables import device_firmware
from lapel_gateway.ledger.schema import DEVICE_ACTIVE, clip, handover, person, self_test, tally
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.settings.devices import DevicesSection

_older = self_test.alias("older")
_LAST_TEST = (
    sa.select(sa.func.max(_older.c.id)).where(_older.c.device == devices.c.device).correlate(devices).scalar_subquery()
)
_STATES = (
    sa.select(
        devices,
        person.c.team,
        *(device_firmware.c[name].label(f"firmware_{name}") for name in ("number", "trial", "fixed", "wanted", "step")),
        device_firmware.c.step_why.label("firmware_why"),
        self_test.c.at_ms.label("tested_ms"),
        self_test.c.passed.label("tested_passed"),
    )
    .join(person, person.c.name == devices.c.person, isouter=True)
    .join(device_firmware, device_firmware.c.device == devices.c.device, isouter=True)
    .join(self_test, self_test.c.id == _LAST_TEST, isouter=True)
)


@dataclass(frozen=True)
class Judging:
    """What devices are judged by, at a time in Unix milliseconds."""

    now_ms: int
    late_ms: int
    """A device that was not in contact for so long is silent."""
    rules: DevicesSection


def list_states(engine: sa.Engine, by: Judging) -> list[dict[str, Any]]:
    """Every device there ever was in words, by name."""
    with reading(engine) as connection:
        query = _STATES.order_by(devices.c.name, devices.c.provisioned_ms)
        return [_words(row, by) for row in connection.execute(query).mappings()]


def worst_first(states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that want a look before the others, otherwise as they were; who is out of service at the end."""

    def rank(words: dict[str, Any]) -> tuple[bool, int]:
        levels = {one["level"] for one in words["attention"]}
        return words["state"] == "retired", 0 if BAD in levels else 1 if WARN in levels else 2

    return sorted(states, key=rank)


def read_device(engine: sa.Engine, device: str, by: Judging) -> dict[str, Any] | None:
    """Everything that is known of one device; None where there is none."""
    with reading(engine) as connection:
        row = connection.execute(_STATES.where(devices.c.device == device)).mappings().one_or_none()
        if row is None:
            return None
        clips = (
            sa.select(clip.c.state, sa.func.count().label("clips"))
            .where(clip.c.device == device)
            .group_by(clip.c.state)
        )
        counted = {one.state: int(one.clips) for one in connection.execute(clips)}
        refused = connection.execute(sa.select(tally).where(tally.c.device == device).order_by(tally.c.last_ms.desc()))
        faults = [
            {"reason": one.reason, "count": one.count, "first": moment(one.first_ms), "last": moment(one.last_ms)}
            for one in refused
        ]
        last = (
            sa.select(handover.c.returned_ms).where(handover.c.device == device).order_by(handover.c.id.desc()).limit(1)
        )
        returned_ms = connection.execute(last).scalar()
        out = bool(connection.execute(last).first()) and returned_ms is None
    words = _words(row, by)
    looked_at = []
    if row["state"] == DEVICE_ACTIVE and not out:
        try:
            looked_at = [asdict(one) for one in checks(engine, device, by.now_ms, by.rules)]
        except HandoverError:  # gone between the two
            return None
    return words | {
        "out": out,
        "checks": looked_at,
        "handovers": list_handovers(engine, device),
        "self_tests": list_self_tests(engine, device),
        "clips": counted,
        "faults": faults,
    }


def _words(row: sa.RowMapping, by: Judging) -> dict[str, Any]:
    update = None
    if row["firmware_number"] is not None:
        update = {
            "number": row["firmware_number"],
            "trial": bool(row["firmware_trial"]),
            "fixed": bool(row["firmware_fixed"]),
            "wanted": row["firmware_wanted"] or None,
            "step": row["firmware_step"] or None,
            "why": row["firmware_why"] or None,
        }
    tested = None
    if row["tested_ms"] is not None:
        tested = {"at": moment(row["tested_ms"]), "passed": bool(row["tested_passed"])}
    words = device_words(row) | {
        "team": row["team"] or "",
        "link": link_of(row["contact_ms"], by.now_ms, by.late_ms),
        "update": update,
        "self_test": tested,
    }
    return words | {"attention": [asdict(one) for one in concerns(words, by.rules, by.now_ms)]}
