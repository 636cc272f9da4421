"""The settings of visits: how long silence may last, when people are told, how long history is kept."""

from __future__ import annotations

from pydantic import Field

from lapel_gateway.settings.section import Section

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class VisitsSection(Section):
    """Visits of lone workers: when their time is up, and how long their history is kept."""

    default_expected_min: int = Field(
        60, ge=1, le=1440, description="How long a visit is expected to take where nobody said."
    )
    default_extend_min: int = Field(30, ge=1, le=1440, description="How much an extension gives where nobody said.")
    amber_before_s: int = Field(
        300, ge=10, le=3600, description="How long before a visit is overdue its wearer and buddy are told."
    )
    check_in_grace_s: int = Field(
        300, ge=10, le=3600, description="A check-in that is missed for so long makes a visit overdue."
    )
    check_in_gives_min: int = Field(
        15, ge=1, le=120, description="What a check-in gives at least once a visit's time is nearly up, or over."
    )
    contact_lost_s: int = Field(
        120,
        ge=30,
        le=7200,
        description="Silence of a device in a visit that is an alarm; 3 heartbeats and 30 s are, where that is longer.",
    )
    low_battery_percent: int = Field(
        15, ge=1, le=90, description="A battery below it in a visit is an alarm, and one that will not last the visit."
    )
    plan_keep_hours: int = Field(
        24, ge=1, le=720, description="A planned visit that nobody began for so long is cancelled."
    )
    keep_days: int = Field(90, ge=1, le=3650, description="Visits that ended longer ago are deleted with their log.")
    position_keep_days: int = Field(30, ge=1, le=3650, description="Positions are deleted after so long.")

    @property
    def amber_before_ms(self) -> int:
        """`amber_before_s` in milliseconds."""
        return self.amber_before_s * 1000

    @property
    def grace_ms(self) -> int:
        """`check_in_grace_s` in milliseconds."""
        return self.check_in_grace_s * 1000

    @property
    def check_in_gives_ms(self) -> int:
        """`check_in_gives_min` in milliseconds."""
        return self.check_in_gives_min * MINUTE_MS

    @property
    def plan_keep_ms(self) -> int:
        """`plan_keep_hours` in milliseconds."""
        return self.plan_keep_hours * HOUR_MS

    def contact_wait_ms(self, heartbeat_s: int) -> int:
        """The silence that is a loss of contact, of a device that says something every ``heartbeat_s``."""
        return max(self.contact_lost_s * 1000, 3 * heartbeat_s * 1000 + 30_000)


DEFAULT_RULES = VisitsSection()
"""Where no configuration says otherwise."""
