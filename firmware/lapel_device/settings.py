"""What the gateway changes after provisioning (SPEC section 8.7).

Settings are accepted as a whole or not at all; a repeat of the version in force changes nothing. What the gateway set
is kept twice and outlives a restart; where both copies are spoilt, /config.json holds.
"""

from lapel_protocol.errors import Malformed
from lapel_protocol.orders import SettingsChange, decode_settings

from .twofold import TwofoldFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .boards.contract import Storage

SETTINGS_PATH = "/settings."


class ConfigError(Exception):
    """/config.json is missing or wrong: the device must be provisioned. The message names the field."""


class Settings:
    """The settings in force, as `current`."""

    def __init__(self, storage: "Storage", provisioned: SettingsChange) -> None:
        self._kept = TwofoldFile(storage, SETTINGS_PATH)
        self.current = provisioned

    def load(self) -> None:
        """Take what the gateway set before, if a good copy of it is there."""
        try:
            body = self._kept.read()
            if body:
                self.current = decode_settings(body)
        except (OSError, Malformed):
            return

    def change(self, wanted: SettingsChange) -> bool:
        """Put checked settings in force and keep them; False when they are the ones in force already.

        Raises OSError when they cannot be kept; they are in force all the same, until the next restart.
        """
        # Freshness is the command's: a gateway restored from a backup counts its versions from a lower one.
        if wanted.version == self.current.version:
            return False
        self.current = wanted
        self._kept.write(wanted.encode())
        return True
