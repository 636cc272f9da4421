"""Bytes of a day on the link, and the link that they need. Arithmetic alone."""

from __future__ import annotations

from dataclasses import dataclass

from lapel_device.location_watch import ALARM_MS, VISIT_MS
from lapel_device.mqtt import PING_AFTER_MS
from lapel_tools.budget.day import Shift
from lapel_tools.budget.figures import (
    BEAT,
    CONNECT,
    DRILL,
    NO_BYTES,
    PING,
    POSITION,
    RECONNECT,
    RECORDING,
    VISIT,
    BoardFigures,
    Bytes,
)


@dataclass(frozen=True)
class Line:
    """One kind of activity: how often (of recordings: minutes), and what that is each way."""

    activity: str
    count: float
    up: Bytes
    down: Bytes


@dataclass(frozen=True)
class Uplink:
    """What a recorded minute needs. `typical_bits_per_s`: as measured; `most_bits_per_s`: every picture as large as the
    frame buffer.
    """

    minute_bytes: float
    typical_bits_per_s: float
    most_bits_per_s: float


@dataclass(frozen=True)
class Traffic:
    """`lines` in the order of a day. `idle_hour_up`, `idle_hour_down`: heartbeats and pings of an hour."""

    lines: tuple[Line, ...]
    idle_hour_up: float
    idle_hour_down: float
    alarm_up: float
    alarm_down: float
    uplink: Uplink | None

    @property
    def up(self) -> float:
        """Of the whole day."""
        return sum(line.up.total for line in self.lines)

    @property
    def down(self) -> float:
        """Of the whole day."""
        return sum(line.down.total for line in self.lines)


def pings_between(heartbeat_s: int) -> int:
    """Pings between two heartbeats: one whenever nothing was heard for PING_AFTER_MS."""
    return (heartbeat_s * 1000 - 1) // PING_AFTER_MS


def traffic(figures: BoardFigures, profile: dict[str, int], shift: Shift) -> Traffic:
    """A day's. `profile` is the board's."""
    beats = shift.hours * 3600 / shift.heartbeat_s
    counts: dict[str, float] = {
        CONNECT: 1,
        RECONNECT: shift.reconnections,
        BEAT: beats,
        PING: beats * pings_between(shift.heartbeat_s),
        VISIT: shift.visits,
        DRILL: shift.alarm_tests,
    }
    if POSITION in figures.activities:
        # The first of each visit is in it, that of an alarm is not.
        in_visits = shift.visits * max(0, shift.visit_minutes * 60_000 // VISIT_MS - 1)
        counts[POSITION] = in_visits + shift.alarm_tests * (shift.alarm_minutes * 60_000 // ALARM_MS)
    if figures.media is not None:
        counts[RECORDING] = shift.recording_minutes
    lines = tuple(_line(figures, name, count) for name, count in counts.items())
    per_hour = 3600 / shift.heartbeat_s
    beat, ping, drill = (figures.activities[name] for name in (BEAT, PING, DRILL))
    pings = pings_between(shift.heartbeat_s)
    return Traffic(
        lines,
        per_hour * (beat.up.total + pings * ping.up.total),
        per_hour * (beat.down.total + pings * ping.down.total),
        drill.up.total,
        drill.down.total,
        _uplink(figures, profile),
    )


def _line(figures: BoardFigures, name: str, count: float) -> Line:
    found = figures.activities.get(name)
    if found is None:
        return Line(name, count, NO_BYTES, NO_BYTES)
    return Line(name, count, found.up.times(count), found.down.times(count))


def _uplink(figures: BoardFigures, profile: dict[str, int]) -> Uplink | None:
    media = figures.media
    if media is None:
        return None
    minute_bytes = figures.activities[RECORDING].up.total
    most_per_s = profile["max_frame_bytes"] * 1000 / profile["frame_interval_ms"] + 2 * profile["audio_rate_hz"]
    return Uplink(
        minute_bytes,
        minute_bytes * 8 / 60,
        most_per_s * media.per_media_byte * 8,
    )
