"""What the topics say, read from the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from lapel_gateway.alarms.kinds import TECHNICAL_KINDS
from lapel_gateway.ledger.direct import Direct
from lapel_gateway.ledger.schema import DEVICE_ACTIVE, alarm
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.metrics.readiness import look
from lapel_gateway.metrics.watched import Watched
from lapel_protocol import alarm as protocol_alarm
from lapel_protocol.names import ALARM_STATE_NAMES

ON, OFF = "on", "off"
OPEN, NONE = "open", "none"
UNKNOWN = "unknown"

IDLE, RECORDING, FULL = "idle", "recording", "storage full"
"""What a device does, as far as it last told."""

DEVICE_TOPICS = ("battery", "link", "unsent", "state")

_STATES: list[sa.ColumnClause[str]] = [
    sa.literal_column(f"'{ALARM_STATE_NAMES[state]}'")
    for state in (protocol_alarm.RECEIVED, protocol_alarm.NOTIFYING, protocol_alarm.ACKNOWLEDGED)
]
_OPEN = Direct(
    sa.select(alarm.c.id)
    .where(
        alarm.c.state.in_(_STATES),
        alarm.c.test == sa.literal_column("0"),
        alarm.c.kind.not_in([sa.literal_column(str(kind)) for kind in sorted(TECHNICAL_KINDS)]),
    )
    .limit(1)
)
_DEVICES = Direct(sa.select(devices.c.device, devices.c.state, devices.c.contact_ms, devices.c.status))


def read_words(connection: sa.Connection, watched: Watched, now_ms: int) -> dict[str, str]:
    """{topic below the prefix: payload}; "" takes back what was retained of a device that is out of service."""
    words = {
        "gateway/ready": ON if look(connection, watched, now_ms).ready else OFF,
        "alarm": OPEN if _OPEN.all(connection, {}) else NONE,
    }
    for name, state, contact_ms, status in _DEVICES.all(connection, {}):
        said = json.loads(status) if status else {}
        of = _device(said, contact_ms, watched.silent_ms, now_ms)
        for topic in DEVICE_TOPICS:
            words[f"device/{name}/{topic}"] = of[topic] if state == DEVICE_ACTIVE else ""
    return words


def _device(said: Mapping[str, Any], contact_ms: int | None, silent_ms: int, now_ms: int) -> dict[str, str]:
    in_contact = contact_ms is not None and abs(now_ms - contact_ms) <= silent_ms
    doing = IDLE
    if said.get("recording"):
        doing = RECORDING
    elif said.get("storage_full"):
        doing = FULL
    return {
        "battery": str(said.get("battery_percent", UNKNOWN)),
        "link": ON if in_contact else OFF,
        "unsent": str(said.get("clips_held", UNKNOWN)),
        # What a device that is out of contact does now, nobody knows.
        "state": doing if in_contact else UNKNOWN,
    }
