"""The commented ``lapel.toml`` that ``lapel gateway init`` writes, made from the settings so that it cannot drift."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from lapel_gateway.settings.config import Config, ConfigError, repeated_section
from lapel_gateway.settings.section import Section

_HEAD = """\
# Lapel gateway. Every setting is shown with its default; lines that start with `#` and a name are unset.
# Any of them can be given in the environment instead: LAPEL_SECTION__KEY, as in LAPEL_BROKER__PORT=8883.
# Relative paths start at the folder of this file. `lapel gateway check-config` says what is wrong.
"""
_EXAMPLES: dict[str, dict[str, Any]] = {
    "webhook": {
        "name": "control-room",
        "url": "https://example.org/lapel",
        "secret_file": "secrets/control-room.txt",
    },
    "sia_receiver": {
        "name": "north-arc",
        "host": "192.0.2.10",
        "port": 7000,
        "backup_host": "198.51.100.10",
        "backup_port": 7000,
        "account": "1234AB",
        "key_file": "secrets/north-arc.key",
        "zones": {"00112233aabbccdd": 21},
        "codes": {"man_down": {"code": "MA", "restore": "MR", "zone": 3}, "tamper": {"code": ""}},
    },
    "smtp": {
        "name": "duty",
        "host": "mail.example.org",
        "port": 587,
        "security": "starttls",
        "allow_plain": False,
        "ca_file": "/etc/lapel/mail-ca.pem",
        "login_file": "secrets/mail.txt",
        "sender": "Lapel <lapel@example.org>",
        "to": ["Ann Archer <ann@example.org>", "duty@example.org"],
        "notices": False,
        "timeout_s": 30.0,
    },
    "mqtt_out": {
        "name": "dashboard",
        "host": "mqtt.example.org",
        "port": 8883,
        "topic": "lapel/alarms",
        "retain": False,
        "version": "5",
        "security": "tls",
        "allow_plain": False,
        "ca_file": "/etc/lapel/dashboard-ca.pem",
        "certificate_file": "/etc/lapel/dashboard.pem",
        "key_file": "/etc/lapel/dashboard.key",
        "login_file": "secrets/dashboard.txt",
        "notices": True,
        "timeout_s": 10.0,
    },
    "policy": {
        "name": "housing-day",
        "teams": ["housing"],
        "kinds": [],
        "days": ["mon", "tue", "wed", "thu", "fri"],
        "hours": "08:00-18:00",
        "steps": [
            {"targets": ["webhook:control-room", "person:Ann Archer"], "delay_s": 60},
            {"targets": ["sia:north-arc"], "delay_s": 120},
        ],
        "repeat": 1,
    },
    "apprise": {
        "name": "ann-phone",
        "url_file": "secrets/ann-phone.txt",
        "person": "Ann Archer",
        "notices": False,
        "timeout_s": 30.0,
    },
}
"""Of the tables that there may be several of, or none."""


def render_template(overrides: dict[str, dict[str, Any]] | None = None) -> str:
    """The text of a default file; ``overrides`` gives other values, as in ``{"broker": {"kind": "mosquitto"}}``."""
    overrides = overrides or {}
    parts = [_HEAD]
    defaults = Config.model_construct()
    for name in Config.model_fields:
        default = getattr(defaults, name)
        if isinstance(default, Section):
            parts.append(_table(name, default, overrides.get(name, {})))
        else:
            parts.append(_repeated(name))
    return "\n".join(parts)


def write_template(path: Path, overrides: dict[str, dict[str, Any]] | None = None) -> None:
    """Write the default file to ``path``. Raises ConfigError when it exists or cannot be written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(render_template(overrides))
    except FileExistsError:
        raise ConfigError(f"{path} exists and is not replaced: remove it, or name another file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def _table(name: str, default: Section, overrides: dict[str, Any]) -> str:
    lines = [*_comment(type(default).__doc__ or ""), f"[{name}]"]
    for key, field in type(default).model_fields.items():
        lines += _comment(field.description or "")
        value = overrides.get(key, getattr(default, key))
        if value is None:
            lines.append(f"#{key} = {_toml((field.examples or [''])[0])}")
        else:
            lines.append(f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _repeated(name: str) -> str:
    """A [[table]] that may be given several times, as an example; its optional settings too."""
    section = repeated_section(name)
    lines = [*_comment(section.__doc__ or ""), f"#[[{name}]]"]
    for key, field in section.model_fields.items():
        lines += [f"#{key} = {_toml(_EXAMPLES[name].get(key, field.default))}  # {_one_line(field)}"]
    return "\n".join(lines) + "\n"


def _one_line(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _comment(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 110, initial_indent="# ", subsequent_indent="#   ")


def _toml(value: object) -> str:
    """A TOML value; JSON's spelling of strings, numbers, booleans and lists is TOML's too."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value, ensure_ascii=False)
