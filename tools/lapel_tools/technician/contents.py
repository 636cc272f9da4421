"""What a device was given and keeps, as far as it may be shown: its configuration without secrets, settings in force.

Only fields named here are given out. Of sequences it is said whether there are any; keys and passwords lie in files
that are not read.
"""

from __future__ import annotations

import json
from typing import Any

from cryptography import x509

from lapel_device.configuration import CONFIG_PATH
from lapel_device.settings import SETTINGS_PATH
from lapel_device.twofold import TwofoldFile
from lapel_protocol.errors import Malformed
from lapel_protocol.orders import SettingsChange, decode_settings

from .link import BoardLink
from .survey import LinkFiles

_SHOWN = ("device", "key_id", "host", "port", "tls", "server_hostname", "build_ms", "tamper", "drills")
_ONLY_WHETHER = ("cancel_pin", "duress_pin")
_CERTIFICATE_PATH = "/tls/cert.der"
_ROOTS = """\
import os
for _d in ['']+['/'+e[0] for e in os.ilistdir('/') if e[1]&0x4000]:
 try:
  os.stat(_d+'%s')
  print(repr(_d))
 except OSError:pass
"""


class RootedFiles(LinkFiles):
    """A board's files below a folder."""

    def __init__(self, link: BoardLink, root: str) -> None:
        super().__init__(link)
        self._root = root

    def size(self, path: str) -> int:
        return super().size(self._root + path)

    def open(self, path: str, mode: str) -> Any:
        return super().open(self._root + path, mode)


def read_contents(link: BoardLink) -> dict[str, Any] | None:
    """What a stopped device has; None when it was not provisioned. Raises LinkError and BoardError."""
    roots = [str(root) for root in link.ask_lines(_ROOTS % CONFIG_PATH)]
    if not roots:
        return None
    files = RootedFiles(link, roots[0])
    config = _config(files.open(CONFIG_PATH, "rb").read())
    facts: dict[str, Any] = {name: config[name] for name in _SHOWN if name in config}
    facts |= {name: bool(config.get(name)) for name in _ONLY_WHETHER}
    provisioned = SettingsChange()
    own = config.get("settings")
    for name, value in own.items() if isinstance(own, dict) else ():
        if hasattr(provisioned, str(name)) and isinstance(value, int):
            setattr(provisioned, str(name), value)
    kept = _kept(files)
    facts["settings_from"] = "the gateway" if kept is not None else "provisioning"
    facts["settings"] = vars(kept or provisioned)
    facts["certificate"] = _certificate(files)
    return facts


def _config(content: bytes) -> dict[str, Any]:
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _kept(files: RootedFiles) -> SettingsChange | None:
    body = TwofoldFile(files, SETTINGS_PATH).read()  # type: ignore[arg-type]
    try:
        return decode_settings(body) if body else None
    except Malformed:
        return None


def _certificate(files: RootedFiles) -> dict[str, str] | None:
    if files.size(_CERTIFICATE_PATH) < 0:
        return None
    try:
        found = x509.load_der_x509_certificate(files.open(_CERTIFICATE_PATH, "rb").read())
    except ValueError:
        return {"fault": "not a certificate in DER"}
    return {
        "subject": found.subject.rfc4514_string(),
        "issuer": found.issuer.rfc4514_string(),
        "valid_until": found.not_valid_after_utc.isoformat(),
    }
