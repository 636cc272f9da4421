"""The people who wear devices, go on visits and answer: their team, and how to reach them.

A person is known by name, the same in the registry, in visits and as a user. Whoever is not entered here is of no team.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.account_tables import user
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import DEVICE_ACTIVE
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.ledger.schema import person as people
from lapel_gateway.one_line import one_line
from lapel_gateway.verify import Trust
from lapel_protocol.limits import MAX_NAME_BYTES

MAX_TEAM_CHARACTERS = 64
MAX_PHONE_CHARACTERS = 64

_TEAM = Direct(sa.select(people.c.team).where(people.c.name == sa.bindparam("of_name")))


class PersonError(Exception):
    """The request about a person cannot be met; the message says why."""


@dataclass(frozen=True)
class Person:
    """One person; "" where something is not known."""

    name: str
    team: str = ""
    phone: str = ""


@dataclass(frozen=True)
class Held:
    """A device that somebody has; ``contact_ms``: when it was last heard of, Unix milliseconds, None = never."""

    device: str
    name: str
    contact_ms: int | None


def set_person(engine: sa.Engine, name: str, team: str, phone: str, now_ms: int) -> Person:
    """Enter a person, or change what is known. Raises PersonError."""
    made = Person(
        one_line("a name", name, MAX_NAME_BYTES, PersonError, needed=True, in_bytes=True),
        one_line("a team", team, MAX_TEAM_CHARACTERS, PersonError, in_bytes=True),
        one_line("a telephone number", phone, MAX_PHONE_CHARACTERS, PersonError, in_bytes=True),
    )
    values = {"name": made.name, "team": made.team, "phone": made.phone, "changed_ms": now_ms}
    entry = insert(people).values(values)
    with writing(engine) as connection:
        connection.execute(entry.on_conflict_do_update(index_elements=["name"], set_=values))
    return made


def list_people(engine: sa.Engine) -> list[Person]:
    """Everybody, by name."""
    with reading(engine) as connection:
        rows = connection.execute(sa.select(people).order_by(people.c.name))
        return [Person(row.name, row.team, row.phone) for row in rows]


def find_person(connection: sa.Connection, name: str) -> Person:
    """What is known of somebody; a person of no team where nothing is."""
    row = connection.execute(sa.select(people).where(people.c.name == name)).one_or_none()
    return Person(name) if row is None else Person(row.name, row.team, row.phone)


def known_names(connection: sa.Connection) -> list[str]:
    """Everybody who is entered here, wears a device or may log in, by name."""
    entered = sa.select(people.c.name)
    wearers = sa.select(devices.c.person).where(devices.c.state == DEVICE_ACTIVE, devices.c.person != "")
    users = sa.select(user.c.name).where(user.c.disabled_ms.is_(None))
    found = connection.execute(sa.union(entered, wearers, users)).scalars()
    return sorted(found, key=lambda name: (name.casefold(), name))


def devices_of(connection: sa.Connection) -> dict[str, list[Held]]:
    """The devices in use that people have now, by whose they are."""
    query = sa.select(devices.c.device, devices.c.name, devices.c.person, devices.c.contact_ms)
    query = query.where(devices.c.state == DEVICE_ACTIVE, devices.c.person != "")
    found: dict[str, list[Held]] = {}
    for row in connection.execute(query.order_by(devices.c.person, devices.c.name)):
        found.setdefault(row.person, []).append(Held(row.device, row.name, row.contact_ms))
    return found


def list_teams(connection: sa.Connection) -> list[str]:
    """Every team that somebody is of, by name."""
    found = connection.execute(sa.select(people.c.team).where(people.c.team != "").distinct()).scalars()
    return sorted(found, key=lambda name: (name.casefold(), name))


def team_of(connection: sa.Connection, name: str) -> str:
    """Somebody's team; "" = none."""
    return next((str(team) for (team,) in _TEAM.all(connection, {"of_name": name})), "")


def wearer_of(trust: Trust) -> str:
    """Who wears a device; one that nobody was given has a wearer without a name."""
    return trust.person or f"wearer of {trust.name}"
