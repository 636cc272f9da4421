"""The settings that are wanted on a device (SPEC 8.7): what it was provisioned with, and what was changed since.

Rules that hold here
- A device takes its settings as a whole. So what it was provisioned with is kept here too: a change of one setting
  leaves the others as they are.
- What the device would refuse is refused here, and changes nothing.
- A device is told once somebody changed anything: at its next sign of life, and after every hello.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Mapping

import sqlalchemy as sa

from lapel_gateway.ledger import writing
from lapel_gateway.ledger.schema import DEVICE_ACTIVE
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.ledger.schema import person as people
from lapel_protocol.errors import Malformed
from lapel_protocol.orders import SettingsChange, decode_settings

VERSION = "version"
"""How often somebody changed them; what the device was provisioned with has none."""

NAMES = tuple(name for name in vars(SettingsChange()) if name != VERSION)
"""Of the settings, as in SPEC 8.7."""


class WantedError(Exception):
    """The settings cannot be wanted; the message says why and what to do."""


def settings_of(text: str) -> dict[str, int]:
    """All settings that are wanted, by name, of a row's ``settings``."""
    return {name: value for name, value in vars(_whole(json.loads(text or "{}"))).items() if name != VERSION}


def version_of(text: str) -> int:
    """How often somebody changed them, of a row's ``settings``; 0 = the device has what it was provisioned with."""
    version: int = json.loads(text or "{}").get(VERSION, 0)
    return version


def to_tell(text: str) -> SettingsChange | None:
    """What the device is to be told, of a row's ``settings``; None = nothing, nobody ever changed any."""
    return _whole(json.loads(text)) if version_of(text) else None


def check_settings(settings: Mapping[str, int]) -> None:
    """Refuse settings that a device would refuse. Raises WantedError."""
    unknown = sorted(set(settings) - set(NAMES))
    if unknown:
        raise WantedError(f"there is no device setting {unknown[0]!r}: they are {', '.join(sorted(NAMES))}")
    try:
        decode_settings(_whole(settings).encode())
    except (Malformed, struct.error):
        raise WantedError("a device setting is out of range: docs/technicians.md has their bounds") from None


def change_settings(engine: sa.Engine, device: str, changes: Mapping[str, int]) -> None:
    """Want other settings on a device, in a transaction of its own. Raises WantedError."""
    with writing(engine) as connection:
        want(connection, device, changes)


def want(connection: sa.Connection, device: str, changes: Mapping[str, int]) -> None:
    """Want other settings on a device. Raises WantedError."""
    check_settings(changes)
    if not _change(connection, [device], changes):
        raise WantedError(f"there is no device {device}")


def want_of_team(connection: sa.Connection, team: str, changes: Mapping[str, int]) -> list[str]:
    """Want other settings on the devices that the people of a team have now; returns them. Raises WantedError."""
    check_settings(changes)
    query = sa.select(devices.c.device).join(people, people.c.name == devices.c.person)
    worn = query.where(people.c.team == team, people.c.team != "", devices.c.state == DEVICE_ACTIVE)
    found = list(connection.execute(worn.order_by(devices.c.name)).scalars())
    if not found:
        raise WantedError(f"nobody of the team {team!r} has a device now")
    return _change(connection, found, changes)


def _change(connection: sa.Connection, names: Collection[str], changes: Mapping[str, int]) -> list[str]:
    """Returns the devices that there are; those that are to have what they have already are told nothing."""
    query = sa.select(devices.c.device, devices.c.settings).where(devices.c.device.in_(names))
    texts = {row.device: row.settings for row in connection.execute(query)}
    for device, text in texts.items():
        known = json.loads(text)
        wanted = {**known, **changes}
        if settings_of(json.dumps(wanted)) == settings_of(text):
            continue
        check_settings({name: value for name, value in wanted.items() if name != VERSION})
        wanted[VERSION] = version_of(text) + 1
        connection.execute(sa.update(devices).where(devices.c.device == device).values(settings=json.dumps(wanted)))
    return [device for device in names if device in texts]


def _whole(settings: Mapping[str, int]) -> SettingsChange:
    change = SettingsChange()
    for name, value in settings.items():
        setattr(change, name, value)
    return change
