"""The devices in service, or lost: state, battery, link, what they have still to send, firmware, wearer.

A row of two thousand is made into words again only when it has changed.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from lapel_gateway.describe import moment
from lapel_gateway.devices.attention import link_of
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.firmware_tables import device_firmware
from lapel_gateway.ledger.schema import DEVICE_RETIRED, device, person

_NAMES = ("device", "name", "person", "state", "cut", "contact_ms", "boot", "status")
_FIRMWARE = ("number", "trial", "wanted", "step")
_ALL = Direct(
    sa.select(*(device.c[name] for name in _NAMES), person.c.team, *(device_firmware.c[name] for name in _FIRMWARE))
    .join(person, person.c.name == device.c.person, isouter=True)
    .join(device_firmware, device_firmware.c.device == device.c.device, isouter=True)
    .where(device.c.state != sa.bindparam("retired"))
    .order_by(device.c.name, device.c.device)
)
_TITLES = (*_NAMES, "team", *_FIRMWARE)
_CONTACT_AT = _NAMES.index("contact_ms")


class DeviceReader:
    """Reads the devices again and again."""

    def __init__(self, late_ms: int) -> None:
        """``late_ms``: a device that was not in contact for so long is silent."""
        self._late_ms = late_ms
        self._rows: list[tuple[Any, ...]] = []
        self._known: dict[str, tuple[tuple[Any, ...], str, dict[str, Any]]] = {}
        self.words: dict[str, Any] = {}
        """{device: words}"""

    @property
    def newest_contact_ms(self) -> int | None:
        """When a device was last heard of."""
        return max((row[_CONTACT_AT] for row in self._rows if row[_CONTACT_AT] is not None), default=None)

    def read(self, connection: sa.Connection) -> None:
        """Read what the ledger says; `judge` makes words of it."""
        self._rows = _ALL.all(connection, {"retired": DEVICE_RETIRED})

    def judge(self, now_ms: int) -> dict[str, Any]:
        """The devices in words as they stand at this time."""
        known, words = {}, {}
        for row in self._rows:
            link = link_of(row[_CONTACT_AT], now_ms, self._late_ms)
            before = self._known.get(row[0])
            if before is None or before[0] != row or before[1] != link:
                before = (row, link, _words(dict(zip(_TITLES, row, strict=True)), link))
            known[row[0]] = before
            words[row[0]] = before[2]
        self._known, self.words = known, words
        return words


def _words(row: dict[str, Any], link: str) -> dict[str, Any]:
    status = json.loads(row["status"]) if row["status"] else {}
    return {
        "device": row["device"],
        "name": row["name"],
        "person": row["person"],
        "team": row["team"] or "",
        "state": row["state"],
        "cut_off": row["cut"] or None,
        "link": link,
        "contact": moment(row["contact_ms"]),
        "boot": row["boot"],
        "battery_percent": status.get("battery_percent"),
        "battery_minutes": status.get("battery_minutes"),
        "recording": bool(status.get("recording")),
        "unsent_clips": status.get("clips_held"),
        "blocked": bool(status.get("blocked")),
        "storage_full": bool(status.get("storage_full")),
        "storage_free_kib": status.get("storage_free_kib"),
        "storage_total_kib": status.get("storage_total_kib"),
        "firmware": status.get("firmware"),
        "firmware_trial": bool(row["trial"]),
        "update_wanted": row["wanted"] or None,
        "update_step": row["step"] or None,
    }
