"""What Home Assistant needs to find the topics (https://www.home-assistant.io/integrations/mqtt, "MQTT Discovery")."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lapel_gateway.status.words import OFF, ON, OPEN

AVAILABILITY = "gateway/availability"
ONLINE, OFFLINE = "online", "offline"
"""What the availability topic says while this gateway publishes, and when it is gone."""

_BINARY: dict[str, Any] = {"payload_on": ON, "payload_off": OFF}
_GATEWAY: dict[str, tuple[str, dict[str, Any]]] = {
    "gateway/ready": ("binary_sensor", {"name": "Ready", **_BINARY, "entity_category": "diagnostic"}),
    "alarm": (
        "binary_sensor",
        {"name": "Alarm open", "payload_on": OPEN, "payload_off": "none", "device_class": "safety"},
    ),
}
_DEVICE: dict[str, tuple[str, dict[str, Any]]] = {
    "battery": ("sensor", {"name": "Battery", "device_class": "battery", "unit_of_measurement": "%"}),
    "link": ("binary_sensor", {"name": "In contact", **_BINARY, "device_class": "connectivity"}),
    "unsent": ("sensor", {"name": "Unsent clips"}),
    "state": ("sensor", {"name": "State"}),
}
_NUMBERS = frozenset({"battery", "unsent"})
"""Where "unknown" has to become none, since Home Assistant wants a number there."""


def discovery(prefix: str, topic: str, words: Mapping[str, str]) -> dict[str, str]:
    """{config topic: payload} of what is published below ``topic``; "" where a device's state is taken back."""
    found = {}
    for path, text in words.items():
        _, name, part = ("", "", path) if path in _GATEWAY else path.split("/")
        component, told = _DEVICE[part] if name else _GATEWAY[path]
        identity = f"lapel_{name}_{part}" if name else f"lapel_{path.replace('/', '_')}"
        about = {
            **told,
            "unique_id": identity,
            "object_id": identity,
            "state_topic": f"{topic}/{path}",
            "availability_topic": f"{topic}/{AVAILABILITY}",
            "payload_available": ONLINE,
            "payload_not_available": OFFLINE,
            "device": _hardware(name),
        }
        if part in _NUMBERS and name:
            about["value_template"] = "{{ None if value == 'unknown' else value }}"
        found[f"{prefix}/{component}/{identity}/config"] = json.dumps(about, sort_keys=True) if text else ""
    return found


def _hardware(name: str) -> dict[str, Any]:
    if not name:
        return {"identifiers": ["lapel_gateway"], "name": "Lapel gateway"}
    return {"identifiers": [f"lapel_{name}"], "name": f"Lapel {name}", "via_device": "lapel_gateway"}
