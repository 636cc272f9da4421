"""A clip in plain words and in drawings: what the pages of clips say beyond the bare facts. No ledger, no network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import sqlalchemy as sa
from markupsafe import Markup

from lapel_gateway.custody.tracks import decode_extents
from lapel_gateway.describe import utc
from lapel_gateway.ledger.clips import UNFINISHED
from lapel_gateway.ledger.schema import (
    CHAIN_BROKEN,
    CHAIN_FIRST,
    CHAIN_LINKED,
    CHAIN_UNKNOWN,
    CHAIN_UNSETTLED,
    CHAIN_WAITING,
    OPENING_PROVED,
    OPENING_UNOPENABLE,
    OPENING_UNTRIED,
    SETTLED_BY_CUT,
    SETTLED_BY_LOST,
)
from lapel_gateway.viewing import catalogue
from lapel_protocol.clip import (
    END_BATTERY,
    END_LIMIT,
    END_REMOTE,
    END_RESTART,
    END_STORAGE,
    END_UNOPENABLE,
    END_WEARER,
    NOTICE_ALARM,
    NOTICE_CONFIRMED,
    NOTICE_CONTINUED,
    NOTICE_NO_TIME,
    NOTICE_PROMPTED,
    TRUST_GATEWAY,
    TRUST_NONE,
    TRUST_NTP,
    TRUST_RTC,
)
from lapel_protocol.reports import WHY_BATTERY, WHY_POWER, WHY_STORAGE_ERROR, WHY_STORAGE_FULL

Row = Mapping[str, Any] | sa.RowMapping

_WANTING = ("does not answer", "between samples", "gap", "pause")
"""What a device's lines have in them that tell of something that is not there."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

CONDITION_WORDS = {
    catalogue.WHOLE: ("good", "Whole"),
    catalogue.CUT_SHORT: ("warn", "Cut short"),
    catalogue.PENDING: ("warn", "Arriving"),
    catalogue.INCOMPLETE: ("bad", "Incomplete"),
    catalogue.SEALED: ("over", "Sealed"),
}
"""The kind of state, and its word."""

NOTICE_WORDS = {
    NOTICE_CONFIRMED: "Notice given, and confirmed",
    NOTICE_PROMPTED: "Notice asked for, not confirmed",
    NOTICE_NO_TIME: "No notice: no time",
    NOTICE_ALARM: "No notice: alarm",
    NOTICE_CONTINUED: "Continues the clip before",
}

TRUST_WORDS = {
    TRUST_NONE: "its clock was never set: the time is when the clip came in",
    TRUST_RTC: "kept by the device's own clock across a restart",
    TRUST_NTP: "from the network, unauthenticated",
    TRUST_GATEWAY: "given by this gateway, authenticated",
}

CHAIN_WORDS = {
    CHAIN_UNKNOWN: ("over", "Not known yet: its header is not here."),
    CHAIN_FIRST: ("good", "It is the first clip of this device."),
    CHAIN_WAITING: ("warn", "The clip before it is not complete here yet."),
    CHAIN_LINKED: ("good", "It names the clip before, exactly as that was received."),
    CHAIN_UNSETTLED: ("warn", "The device did not know how the clip before had ended."),
    CHAIN_BROKEN: ("bad", "It names another clip before it than the one received."),
}

OPENING_WORDS = {
    OPENING_UNTRIED: "The organisation's private key is not on this gateway.",
    OPENING_PROVED: "The organisation's key opens it: that was proved as it came in.",
    OPENING_UNOPENABLE: "The organisation's key does not open it.",
}

END_WORDS = {
    END_WEARER: "Stopped by the wearer",
    END_REMOTE: "Stopped from afar",
    END_STORAGE: "Stopped: its storage was full",
    END_BATTERY: "Stopped: its battery was empty",
    END_LIMIT: "Stopped at the greatest length",
    END_UNOPENABLE: "Stopped: its key was no good, a new clip was begun",
    END_RESTART: "Stopped to begin another clip",
}

CUT_WORDS = {
    WHY_POWER: "its power went",
    WHY_STORAGE_FULL: "its storage was full",
    WHY_STORAGE_ERROR: "its storage failed",
    WHY_BATTERY: "its battery was empty",
}

WIDTH = 1000
"""Units across a drawing."""


@dataclass(frozen=True)
class Span:
    """Segments that follow each other and fare alike, with their place in the drawing."""

    kind: str
    words: str
    first: int
    count: int
    x: float
    width: float


@dataclass(frozen=True)
class Mark:
    """Something that happened within a clip, with its place in the drawing."""

    at_ms: int
    kind: str
    text: str
    x: float

    @property
    def clock(self) -> str:
        """When, on the clip's own clock."""
        return clock_text(self.at_ms)


def time_tag(time_ms: int | None, zone: tzinfo | None, *, seconds: bool = False) -> Markup:
    """A time for people, of ``zone`` (None = this machine's), and for programs."""
    universal = utc(time_ms)
    if time_ms is None or universal is None:
        return Markup("–")
    try:
        local = (_EPOCH + timedelta(milliseconds=time_ms)).astimezone(zone)
    except (OverflowError, ValueError, OSError):
        return Markup("–")
    text = f"{local.day} {local:%b %Y, %H:%M}{f':{local:%S}' if seconds else ''}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(universal, universal, text)


def zone_name(zone: tzinfo | None, now_ms: int) -> str:
    """What the zone of the times is called."""
    local = (_EPOCH + timedelta(milliseconds=now_ms)).astimezone(zone)
    return str(getattr(zone, "key", "")) or str(local.tzname() or local.strftime("UTC%z"))


def clock_text(time_ms: int) -> str:
    """A time within a clip, or a length: 1:02:03.4 or 2:03.4."""
    tenths = max(0, time_ms) // 100
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    begin = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{begin}:{rest // 10:02d}.{rest % 10}"


def length_text(time_ms: int | None) -> str:
    """The length of a clip as lists show it; "" where it is not known."""
    if time_ms is None:
        return ""
    minutes, seconds = divmod(max(0, round(time_ms / 1000)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def length_ms(row: Row, assembly: Row | None) -> int | None:
    """How long a clip is: what can be played of it, else as its device said."""
    content = assembly.get("content") if assembly else None
    found: int | None = content["duration_ms"] if content else row["duration_ms"]
    return found


def assembly_of(row: Row) -> dict[str, Any] | None:
    """What assembly wrote of a clip."""
    found: dict[str, Any] | None = json.loads(row["assembly"]) if row["assembly"] else None
    return found


def no_picture(row: Row, assembly: Row | None, may_see: bool) -> str:
    """Why there is no picture of a clip."""
    if row["header_ms"] is None:
        return "Nothing has arrived yet"
    if assembly is None and row["state"] not in UNFINISHED:
        return "Being made ready to play"
    if assembly is None:
        settled = row["settled_segments"]
        return f"Arriving: {row['contiguous']}{'' if settled is None else f' of {settled}'} segments"
    if assembly["form"] != "opened":
        return "Sealed: the key is elsewhere"
    if not may_see:
        return "Pictures are for those who may play clips"
    return "No picture" if not (assembly.get("content") or {}).get("frames_shown") else "No small picture was kept"


def notice_words(row: Row) -> str:
    """What those who are filmed were told, in a sentence."""
    told, confirmed = _before(row["prompted_ms"]), _before(row["confirmed_ms"])
    if row["notice"] is None:
        return "Not known yet: the clip's header is not here."
    return {
        NOTICE_CONFIRMED: f"The wearer was asked to give notice {told}, and confirmed having given it {confirmed}.",
        NOTICE_PROMPTED: (
            f"The wearer was asked to give notice {told} and did not confirm it; recording began, as is the policy."
        ),
        NOTICE_NO_TIME: "The wearer skipped the notice: there was no time to warn anybody.",
        NOTICE_ALARM: "No notice was given: an alarm started the recording.",
        NOTICE_CONTINUED: "It continues the clip before, whose notice holds for it.",
    }.get(row["notice"], "Its device said something about notice that this gateway does not know.")


def end_words(row: Row) -> str:
    """How a recording came to its end."""
    if row["settled_by"] == SETTLED_BY_LOST:
        return "Not known: the device has lost the rest of it"
    if row["settled_by"] == SETTLED_BY_CUT:
        return f"Cut short: {CUT_WORDS.get(row['cut_why'], 'its device does not say why')}"
    return END_WORDS.get(row["end_reason"], "Not known yet" if row["end_reason"] is None else "Not known")


def marks_of(content: Row, duration_ms: int) -> list[Mark]:
    """What happened within a clip, in order."""
    found = [(at_ms, _kind_of(line), line) for at_ms, text in content["events"] for line in text.split("\n")]
    found += [(at_ms, "warn", "a picture that nothing decodes") for at_ms in content["frames_undecodable_ms"]]
    return [Mark(at_ms, kind, text, _across(at_ms, duration_ms)) for at_ms, kind, text in sorted(found)]


def segments_of(row: Row) -> list[Span]:
    """Every segment of a clip, by how it fares: receipted, here, beyond a gap, missing."""
    held, extents = row["contiguous"], decode_extents(row["extents"])
    reach = sum(extents[-1]) if extents else held
    settled = row["settled_segments"]
    total = max(reach, settled or 0)
    receipted = min(row["receipt_segments"] or 0, held)
    parts = [("receipted", "received, verified, receipted", 0, receipted)]
    parts.append(("held", "received, verified", receipted, held - receipted))
    at = held
    for first, count in extents:
        parts += [("missing", "missing", at, first - at), ("beyond", "received, beyond a gap", first, count)]
        at = first + count
    parts.append(("missing", "missing" if settled is not None else "to come", at, total - at))
    scale = WIDTH / total if total else 0
    return [
        Span(kind, words, first, count, round(first * scale, 2), round(count * scale, 2))
        for kind, words, first, count in parts
        if count > 0
    ]


def _kind_of(line: str) -> str:
    said = line.casefold()
    if "alarm" in said:
        return "bad"
    if said.startswith("frames dropped") or any(word in said for word in _WANTING):
        return "warn"
    return "good" if "notice" in said or "start" in said else "over"


def _across(at_ms: int, duration_ms: int) -> float:
    return round(min(1.0, max(0.0, at_ms / duration_ms if duration_ms else 0.0)) * WIDTH, 2)


def _before(time_ms: int | None) -> str:
    return "at the start" if not time_ms else f"{time_ms / 1000:.1f} s before the start"
