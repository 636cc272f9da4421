"""The Wi-Fi networks that a device is given: a technician's file in TOML, and what the device reads.

    [[network]]                     # most preferred first
    ssid = "Depot"
    password = "at least eight characters"
    security = "wpa2/wpa3"          # or "wpa2", or "wpa3"; this is the default

Rules that hold here
- The file is a secret: mode 0600, and no message repeats a password.
- What is written is what every board accepts (`lapel_device.boards.wifi_networks`): bounds are checked here as there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lapel_tools.console import CommandError

from .secret_toml import read_secret_toml

WIFI_PATH = "/wifi.json"
SECURITIES = ("wpa2/wpa3", "wpa2", "wpa3")
MAX_NETWORKS = 16
MAX_SSID_BYTES = 32  # IEEE 802.11-2020 section 9.4.2.2
PASSWORD_BYTES = range(8, 64)  # IEEE 802.11-2020 annex J.4.1
MAX_FILE_BYTES = 4096
"""What a device reads of ``/wifi.json``."""


def read_networks(path: Path) -> bytes:
    """The content of a device's ``/wifi.json`` from a technician's file. Raises CommandError."""
    given = read_secret_toml(path, "list of networks")
    networks = given.get("network")
    if not isinstance(networks, list) or set(given) != {"network"} or not 0 < len(networks) <= MAX_NETWORKS:
        raise CommandError(f"{path}: it has 1 to {MAX_NETWORKS} tables [[network]], and nothing else")
    entries = [_entry(path, number, one) for number, one in enumerate(networks, 1)]
    content = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    if len(content) > MAX_FILE_BYTES:
        raise CommandError(f"{path}: these networks are too many for a device: name fewer")
    return content


def _entry(path: Path, number: int, one: Any) -> dict[str, str]:
    fault = _fault(one)
    if fault:
        raise CommandError(f"{path}: network {number}: {fault}")
    return {
        "ssid": one["ssid"],
        "password": one["password"],
        "security": one.get("security", SECURITIES[0]),
    }


def _fault(one: Any) -> str:
    """What is wrong with a table, "" for nothing; never its password."""
    if not isinstance(one, dict) or not {"ssid", "password"} <= set(one) <= {"ssid", "password", "security"}:
        return "it has ssid, password, and perhaps security"
    ssid, password = one["ssid"], one["password"]
    if not isinstance(ssid, str) or not 0 < len(ssid.encode()) <= MAX_SSID_BYTES:
        return f"ssid has 1 to {MAX_SSID_BYTES} bytes"
    if not isinstance(password, str) or len(password.encode()) not in PASSWORD_BYTES:
        return "password has 8 to 63 bytes; an open network is none for a device"
    if one.get("security", SECURITIES[0]) not in SECURITIES:
        return f"security is one of {', '.join(SECURITIES)}"
    return ""
