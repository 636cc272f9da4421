"""Roll-outs: which release which devices are to run, and what became of it.

Rules that hold here
- A device is wanted to run the highest number of the running roll-outs that name it, its wearer's team, or all. One of
  another kind of board, or one that runs that number or a higher one, is left alone.
- A device that gave a release up, or rolled it back, is not offered it again by that roll-out until it is resumed.
- A roll-out that is paused offers nothing and answers nothing; what a device has fetched stays there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.firmware_tables import device_firmware, firmware_release, given_up, rollout
from lapel_gateway.ledger.schema import DEVICE_ACTIVE, device, person
from lapel_gateway.updates.releases import ReleaseInfo, UpdateError

RUNNING = "running"
PAUSED = "paused"
ENDED = "ended"

TO_DEVICE = "device"
TO_TEAM = "team"
TO_ALL = "all"

GIVEN_UP = ("failed", "rolled_back")

_ANYTHING = Direct(
    sa.union_all(
        sa.select(rollout.c.id).where(sa.or_(rollout.c.state == RUNNING, rollout.c.state == PAUSED)),
        sa.select(sa.literal_column("0")).where(device_firmware.c.wanted > ""),
    ).limit(1)
)
"""Whether any of this concerns anybody: asked with every batch of heartbeats, most of which it does not."""

_GOING_ON = (
    sa.select(rollout, firmware_release.c.number, firmware_release.c.hardware, firmware_release.c.content_at)
    .join(firmware_release, firmware_release.c.release == rollout.c.release)
    .where(rollout.c.state.in_((RUNNING, PAUSED)))
)
_DEVICES = (
    sa.select(device_firmware, person.c.team)
    .join(device, device.c.device == device_firmware.c.device)
    .outerjoin(person, person.c.name == device.c.person)
    .where(
        device_firmware.c.device.in_(sa.bindparam("names", expanding=True)),
        device.c.state == DEVICE_ACTIVE,
    )
)
_GIVEN_UP = sa.select(given_up.c.device, given_up.c.release, given_up.c.at_ms).where(
    given_up.c.device.in_(sa.bindparam("names", expanding=True))
)


@dataclass(frozen=True)
class Want:
    """What a device is to run; `paused` where that waits. `release` "" = nothing other than what it runs."""

    release: str = ""
    number: int = 0
    content_at: int = 0
    paused: bool = False


@dataclass(frozen=True)
class RolloutInfo:
    """One roll-out for lists. Times are Unix milliseconds."""

    id: int
    release: str
    number: int
    version: str
    hardware: str
    scope: str
    target: str
    state: str
    made_by: str
    made_ms: int


NOTHING = Want()


def wanted_by(connection: sa.Connection, names: Collection[str]) -> dict[str, tuple[sa.RowMapping, Want]]:
    """What each of these devices has told of itself, and what it is to run; devices that told nothing are not in it,
    and no device is while there is no roll-out and no offer to take back."""
    if not names or not _ANYTHING.all(connection, {}):
        return {}
    going_on = connection.execute(_GOING_ON).mappings().all()
    rows = connection.execute(_DEVICES, {"names": sorted(names)}).mappings().all()
    gave_up = {
        (device, release): at_ms for device, release, at_ms in connection.execute(_GIVEN_UP, {"names": sorted(names)})
    }
    return {row["device"]: (row, _want(row, going_on, gave_up)) for row in rows}


def _want(row: sa.RowMapping, going_on: Collection[sa.RowMapping], gave_up: Mapping[tuple[str, str], int]) -> Want:
    best = NOTHING
    for one in going_on:
        if one["hardware"] != row["hardware"] or one["number"] <= max(row["number"], best.number):
            continue
        named = {TO_DEVICE: row["device"], TO_TEAM: row["team"] or "", TO_ALL: ""}[one["scope"]]
        if named != one["target"] or gave_up.get((row["device"], one["release"]), -1) >= one["changed_ms"]:
            continue
        best = Want(one["release"], one["number"], one["content_at"], one["state"] == PAUSED)
    return best


def begin(engine: sa.Engine, release: ReleaseInfo, scope: str, target: str, who: str, now_ms: int) -> RolloutInfo:
    """Begin a roll-out to one device (its id), one team (its name) or all (target ""). Raises UpdateError."""
    with writing(engine) as connection:
        if (
            scope == TO_TEAM
            and not connection.execute(sa.select(person.c.name).where(person.c.team == target).limit(1)).first()
        ):
            raise UpdateError(f"nobody is of a team called {target!r}: lapel person list shows the teams")
        same = sa.and_(
            rollout.c.release == release.release,
            rollout.c.scope == scope,
            rollout.c.target == target,
            rollout.c.state != ENDED,
        )
        if connection.execute(sa.select(rollout.c.id).where(same)).first():
            raise UpdateError("this roll-out is there already: lapel firmware status shows it")
        values = {
            "release": release.release,
            "scope": scope,
            "target": target,
            "state": RUNNING,
            "made_by": who,
            "made_ms": now_ms,
            "changed_ms": now_ms,
        }
        number = connection.execute(sa.insert(rollout).values(values)).inserted_primary_key
        made = int(number[0]) if number is not None else 0
    return next(one for one in list_rollouts(engine) if one.id == made)


def change(engine: sa.Engine, number: int, state: str, now_ms: int) -> RolloutInfo:
    """Pause, resume or end a roll-out. Raises UpdateError."""
    with writing(engine) as connection:
        found = connection.execute(sa.select(rollout.c.state).where(rollout.c.id == number)).scalar()
        if found is None:
            raise UpdateError(f"there is no roll-out {number}: lapel firmware status shows them")
        if found == ENDED:
            raise UpdateError(f"roll-out {number} is over: begin another")
        changed = sa.update(rollout).where(rollout.c.id == number).values(state=state, changed_ms=now_ms)
        connection.execute(changed)
    return next(one for one in list_rollouts(engine) if one.id == number)


def list_rollouts(engine: sa.Engine) -> list[RolloutInfo]:
    """Every roll-out, the newest first."""
    facts = (firmware_release.c.number, firmware_release.c.version, firmware_release.c.hardware)
    joined = sa.select(rollout, *facts).join(firmware_release, firmware_release.c.release == rollout.c.release)
    with reading(engine) as connection:
        rows = connection.execute(joined.order_by(rollout.c.id.desc())).mappings()
        return [RolloutInfo(**{name: row[name] for name in RolloutInfo.__dataclass_fields__}) for row in rows]


def list_devices(engine: sa.Engine) -> list[dict[str, Any]]:
    """What each active device that says it runs, is to run, and did last. Times are Unix milliseconds."""
    named = (
        sa.select(device_firmware, device.c.name, device.c.person, device.c.contact_ms, firmware_release.c.version)
        .join(device, device.c.device == device_firmware.c.device)
        .outerjoin(firmware_release, firmware_release.c.release == device_firmware.c.release)
        .where(device.c.state == DEVICE_ACTIVE)
        .order_by(device.c.name, device_firmware.c.device)
    )
    with reading(engine) as connection:
        rows = [dict(row) for row in connection.execute(named).mappings()]
        wants = wanted_by(connection, [row["device"] for row in rows])
    for row in rows:
        row["want"] = wants[row["device"]][1] if row["device"] in wants else NOTHING
    return rows
