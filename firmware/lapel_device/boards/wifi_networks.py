"""The networks that a device may join, from `/wifi.json` of its file system, most preferred first.

    [{"ssid": "Depot", "password": "...", "security": "wpa2"}, {"ssid": "Yard", "password": "...", "security": "wpa3"}]

`security` is "wpa2", "wpa3" or "wpa2/wpa3" (the default). Open networks are refused. An entry that is wrong is left out
and named by its number; names and passwords are never logged.
"""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .contract import Storage

    Network = tuple[str, str, str]  # name, password, security

PATH = "/wifi.json"
_MAX_FILE_BYTES = 4096
_MAX_NETWORKS = 16
_MAX_SSID_BYTES = 32  # IEEE 802.11-2020, section 9.4.2.2
_MIN_PASSWORD = 8  # IEEE 802.11-2020, annex J.4.1
_MAX_PASSWORD = 63
_SECURITIES = ("wpa2", "wpa3", "wpa2/wpa3")


def load_networks(storage: "Storage", log: "Callable[[str], None]") -> "list[Network]":
    """The good entries of the file; none when there is no file, or it cannot be used. Never raises."""
    try:
        if not 0 < storage.size(PATH) <= _MAX_FILE_BYTES:
            log("%s is missing or longer than %d bytes" % (PATH, _MAX_FILE_BYTES))
            return []
        file = storage.open(PATH, "rb")
        try:
            entries = json.loads(file.read(_MAX_FILE_BYTES))
        finally:
            file.close()
    except OSError as error:
        log("%s cannot be read: %s" % (PATH, error))
        return []
    except (ValueError, RuntimeError):  # the latter for brackets nested too deep
        log("%s is not JSON" % PATH)
        return []
    if not isinstance(entries, list):
        log("%s is not a list of networks" % PATH)
        return []
    found = []
    for number in range(min(len(entries), _MAX_NETWORKS)):
        fault = _fault(entries[number])
        if fault:
            log("%s: network %d: %s" % (PATH, number + 1, fault))
        else:
            entry = entries[number]
            found.append((entry["ssid"], entry["password"], entry.get("security", "wpa2/wpa3")))
    if len(entries) > _MAX_NETWORKS:
        log("%s: only the first %d networks are used" % (PATH, _MAX_NETWORKS))
    return found


def _fault(entry: object) -> str:
    """What is wrong with an entry, empty when it is good."""
    if not isinstance(entry, dict):
        return "is not an object"
    ssid = entry.get("ssid")
    if not isinstance(ssid, str) or not 0 < len(ssid.encode()) <= _MAX_SSID_BYTES:
        return "ssid has not 1 to %d bytes" % _MAX_SSID_BYTES
    password = entry.get("password")
    if not isinstance(password, str) or not _MIN_PASSWORD <= len(password.encode()) <= _MAX_PASSWORD:
        return "password has not %d to %d characters" % (_MIN_PASSWORD, _MAX_PASSWORD)
    if entry.get("security", "wpa2/wpa3") not in _SECURITIES:
        return "security is none of wpa2, wpa3, wpa2/wpa3"
    return ""
