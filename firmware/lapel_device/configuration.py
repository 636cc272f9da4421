"""What a device is told at provisioning (/config.json): read and checked at a boot, and let go of after it.

The configuration is not secret and not trusted blindly: every field is checked once, here.
"""

import json

from lapel_protocol.errors import Malformed
from lapel_protocol.limits import DEVICE_ID_BYTES, RSA_BYTES
from lapel_protocol.orders import SettingsChange, decode_settings
from lapel_protocol.wrap import key_id

from .settings import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .boards.contract import Storage, TlsIdentity

CONFIG_PATH = "/config.json"
_MAX_CONFIG_BYTES = 4096
_MAX_HOST_CHARS = 253  # RFC 1035
_TLS_FILES = ("/tls/ca.der", "/tls/cert.der", "/tls/key.der")
_MAX_TLS_FILE_BYTES = 4096
_NAMES = (
    "notice_policy",
    "delete_level",
    "notice_timeout_ms",
    "frame_interval_ms",
    "heartbeat_s",
    "silent",
    "audio",
    "clip_limit_s",
    "man_down",
    "no_movement_min",
    "fall_dip_mg",
    "fall_impact_mg",
    "fall_turn_deg",
    "fall_still_s",
)


class Config:
    """/config.json, checked: `device` 8 bytes, `modulus` 384, `key_id` 8, `build_ms` Unix milliseconds.

    `cancel_pin`, `duress_pin`: short and long pushes of RECORD like "SLSS", empty = off. `tamper`: whether an opened
    case is an alarm. `drills`: whether both buttons together are a drill, rather than an alarm.
    """

    def __init__(self, fields: "dict[str, object]") -> None:
        self.device = _hex(fields, "device", DEVICE_ID_BYTES)
        self.modulus = _hex(fields, "org_modulus", RSA_BYTES)
        self.key_id = _hex(fields, "key_id", 8)
        self.host = _text(fields, "host")
        self.port = _number(fields, "port", 1, 65535)
        self.tls = bool(fields.get("tls", True))
        self.server_hostname = _text(fields, "server_hostname") if self.tls else ""
        self.build_ms = _number(fields, "build_ms", 0, 1 << 43)
        try:
            good = key_id(self.modulus) == self.key_id
        except ValueError:
            good = False
        if not good:
            raise ConfigError("org_modulus is not the key that key_id names")
        self.tamper = bool(fields.get("tamper", False))
        self.drills = bool(fields.get("drills", False))
        self.cancel_pin = _pin(fields, "cancel_pin")
        self.duress_pin = _pin(fields, "duress_pin")
        if self.cancel_pin and self.cancel_pin == self.duress_pin:
            raise ConfigError("cancel_pin and duress_pin are the same")
        self.settings = SettingsChange()
        overrides = fields.get("settings", {})
        if not isinstance(overrides, dict):
            raise ConfigError("settings is not an object")
        for name in overrides:
            if name not in _NAMES:
                raise ConfigError("unknown setting %s" % name)
            setattr(self.settings, name, _number(overrides, name, 0, 65535))
        try:
            decode_settings(self.settings.encode())
        except Malformed:
            raise ConfigError("a setting is out of range")


def load_config(storage: "Storage") -> Config:
    """Read and check /config.json; raises ConfigError, or OSError when the medium fails."""
    size = storage.size(CONFIG_PATH)
    if size < 0:
        raise ConfigError("%s is missing" % CONFIG_PATH)
    if size > _MAX_CONFIG_BYTES:
        raise ConfigError("%s is longer than %d bytes" % (CONFIG_PATH, _MAX_CONFIG_BYTES))
    file = storage.open(CONFIG_PATH, "rb")
    try:
        data = file.read(_MAX_CONFIG_BYTES)
    finally:
        file.close()
    try:
        fields = json.loads(data)
    except (ValueError, RuntimeError):  # the latter for brackets nested too deep
        raise ConfigError("%s is not JSON" % CONFIG_PATH)
    if not isinstance(fields, dict):
        raise ConfigError("%s is not a JSON object" % CONFIG_PATH)
    return Config(fields)


def load_tls(config: Config, storage: "Storage") -> "TlsIdentity | None":
    """The device's certificates and key, None for plain TCP; raises ConfigError, or OSError when the medium fails."""
    if not config.tls:
        return None
    parts = []
    for path in _TLS_FILES:
        size = storage.size(path)
        if not 0 < size <= _MAX_TLS_FILE_BYTES:
            raise ConfigError("%s is missing or too long" % path)
        file = storage.open(path, "rb")
        try:
            parts.append(file.read(_MAX_TLS_FILE_BYTES))
        finally:
            file.close()
    return parts[0], parts[1], parts[2], config.server_hostname


def _hex(fields: "dict[str, object]", name: str, size: int) -> bytes:
    value = fields.get(name)
    if not isinstance(value, str) or len(value) != 2 * size:
        raise ConfigError("%s is not %d hexadecimal digits" % (name, 2 * size))
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise ConfigError("%s is not hexadecimal" % name)


def _text(fields: "dict[str, object]", name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_HOST_CHARS:
        raise ConfigError("%s is missing or too long" % name)
    return value


def _pin(fields: "dict[str, object]", name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str) or value.strip("SL") or not (len(value) in range(4, 9) or not value):
        raise ConfigError("%s is not 4 to 8 letters S and L" % name)
    return value


def _number(fields: "dict[str, object]", name: str, low: int, high: int) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or not low <= value <= high:
        raise ConfigError("%s is not a number from %d to %d" % (name, low, high))
    return int(value)
