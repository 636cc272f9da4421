"""The account of a cellular modem, from `/modem.json` of the board's file system; without that file there is no modem.

    {"apn": "iot.example", "pin": "1234", "user": "", "password": ""}

All but `apn` may be left out. Nothing of it is ever logged.
"""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .contract import Storage

PATH = "/modem.json"
_MAX_FILE_BYTES = 1024
_MAX_CHARS = 63
_NAMES = ("apn", "pin", "user", "password")


def load_account(storage: "Storage", log: "Callable[[str], None]") -> "dict[str, str] | None":
    """The account, None where there is none or it cannot be used. Never raises."""
    try:
        size = storage.size(PATH)
        if size < 0:
            return None
        file = storage.open(PATH, "rb")
        try:
            fields = json.loads(file.read(_MAX_FILE_BYTES)) if size <= _MAX_FILE_BYTES else None
        finally:
            file.close()
    except OSError as error:
        log("%s cannot be read: %s" % (PATH, error))
        return None
    except (ValueError, RuntimeError):  # the latter for brackets nested too deep
        fields = None
    if not isinstance(fields, dict) or not fields.get("apn"):
        log("%s is not a JSON object with an apn, or longer than %d bytes" % (PATH, _MAX_FILE_BYTES))
        return None
    for name in _NAMES:
        value = fields.get(name, "")
        if not isinstance(value, str) or len(value) > _MAX_CHARS or not _plain(value):
            log("%s: %s is not text of at most %d characters without quotes" % (PATH, name, _MAX_CHARS))
            return None
    return {name: fields.get(name, "") for name in _NAMES}


def _plain(value: str) -> bool:
    """Whether a value may stand in an AT command."""
    return all(" " <= char <= "~" and char not in '";' for char in value)
