"""What the page of a device shows of its settings, and takes: those that people decide on, in people's units.

The others (how a fall is felt, when a clip's last copy may go) are a technician's: ``lapel device set``, and the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lapel_gateway.devices.wanted import WantedError

YES_NO = {1: "yes", 0: "no"}

NOTICE = {0: "it does not record", 1: "it records all the same"}
"""What a device does when nobody confirms that notice was given, by ``notice_policy``."""


@dataclass(frozen=True)
class Setting:
    """One setting as people know it: a choice, or a number of a unit, ``scale`` of the device's making one."""

    name: str
    label: str
    hint: str = ""
    choices: Mapping[int, str] | None = None
    unit: str = ""
    scale: int = 1
    least: int = 0
    most: int = 0
    here: bool = True
    """Whether it is changed on the page. A device without lights tells nobody around it that it records: that is not
    switched on in passing."""

    def words(self, value: int) -> str:
        """A value of the device's in words."""
        if self.choices is not None:
            return self.choices.get(value, str(value))
        if not value and self.name == "no_movement_min":
            return "never"
        return f"{value / self.scale:g} {self.unit}"

    def shown(self, value: int) -> str:
        """A value of the device's as the form has it."""
        return str(value) if self.choices is not None else f"{value / self.scale:g}"

    def parse(self, text: str) -> int:
        """The device's value of what the form says. Raises WantedError."""
        try:
            value = float(text.strip().replace(",", ".")) * self.scale
        except ValueError:
            value = -1.0
        if self.choices is not None:
            good, what = value in self.choices, "choose " + " or ".join(self.choices.values())
        else:
            good, what = self.least * self.scale <= value <= self.most * self.scale, self._bounds()
        if not good:
            raise WantedError(f"{self.label[:1].lower()}{self.label[1:]}: {what}")
        return round(value)

    def _bounds(self) -> str:
        return f"it is {self.least} to {self.most} {self.unit}"


NOTICE_POLICY = Setting("notice_policy", "When nobody confirms the notice", choices=NOTICE)

SETTINGS = (
    NOTICE_POLICY,
    Setting("notice_timeout_ms", "Time to confirm it", "3 to 60 s", unit="s", scale=1000, least=3, most=60),
    Setting("audio", "Records sound", choices=YES_NO),
    Setting("silent", "Silent, without lights and sounds", choices=YES_NO, here=False),
    Setting("clip_limit_s", "Longest clip", "1 to 240 min", unit="min", scale=60, least=1, most=240),
    Setting("heartbeat_s", "Sign of life every", "5 to 3600 s", unit="s", least=5, most=3600),
    Setting("man_down", "Man-down, on devices that can feel a fall", choices=YES_NO),
    Setting("no_movement_min", "No movement warns after", "0 to 240 min; 0: never", unit="min", most=240),
)

CHANGED_HERE = tuple(one for one in SETTINGS if one.here)


def rows_of(settings: Mapping[str, int]) -> list[tuple[str, str]]:
    """(label, value in words) of each."""
    return [(one.label, one.words(settings[one.name])) for one in SETTINGS]


def parse_form(said: Mapping[str, str], before: Mapping[str, int]) -> dict[str, int]:
    """What the form changes. Raises WantedError, naming the setting."""
    changes = {}
    for one in CHANGED_HERE:
        text = said.get(one.name)
        if text is not None and text != one.shown(before[one.name]):
            changes[one.name] = one.parse(text)
    return {name: value for name, value in changes.items() if value != before[name]}
