"""Alarms and notices in words for people: a short subject and a plain-text body, the same for mail, SMS and push.

Rules that hold here
- A parcel's text comes from devices, brokers and people: every piece of it is made printable and capped. Control
  characters, line breaks and marks that turn the direction of writing are escaped, so that none can forge a line.
- What is not known, or is of the wrong form, is left out. Nothing in a payload can keep an alarm from being told.
- The same parcel makes the same text at every attempt: times are the parcel's, never the attempt's.
- A test says TEST in its subject and in its first line, before anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from lapel_gateway.alarms.kinds import TECHNICAL_NAMES
from lapel_gateway.channels.contract import Parcel
from lapel_gateway.ledger.schema import DEVICE_LOST, DEVICE_RETIRED, OUTBOX_ALARM
from lapel_gateway.log import printable

MAX_SUBJECT = 150
"""Characters; what a phone's lock screen and a mail client's list still show."""

MAX_PIECE = 100
"""Characters of one piece of foreign text, such as a name."""

MAX_DETAIL = 1_500
"""Characters of what is wrong and what to do: of a visit, everything that a responder needs."""

MAX_LINK = 2_000
"""Characters of an address; a longer one is none of ours."""

LinkFor = Callable[[Parcel], str]
"""Gives the address at which the one who is told can acknowledge the parcel's alarm; "" = none."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS = {
    "panic": "panic",
    "duress": "duress",
    "man_down": "man down",
    "low_battery": "low battery",
    "tamper": "tamper",
    "visit_overdue": "visit overdue",
    "contact_lost": "contact lost in a visit",
    "visit_low_battery": "low battery in a visit",
    "delivery_failed": "alarms are not delivered",
    "clip_missing": "a clip is missing",
    "disk_low": "the gateway's disk is nearly full",
    "centre_silent": "a receiving centre does not answer",
    "unknown": "of unknown kind",
}
_NOTICES = {
    "unverified_alarm": "alarm traffic that cannot be verified",
    "unopenable": "a clip that cannot be opened",
    "clip_lost": "a clip was lost",
    "clip_ready": "a clip is ready",
    "update_failed": "a device gave up an update of its firmware",
    "epochs_unknown": "records of a device are missing",
    "visit_amber": "a visit is nearly overdue",
}
_STATES = {
    DEVICE_LOST: "LOST device: it may be in other hands",
    DEVICE_RETIRED: "RETIRED device: it should not be in use",
}


@dataclass(frozen=True)
class Message:
    """What a person reads."""

    subject: str
    """One printable line, at most `MAX_SUBJECT` characters."""
    body: str
    """Plain text, lines ended by "\\n", every one printable."""
    urgent: bool
    """Whether somebody has to act now: an alarm that nobody has acknowledged."""


def no_link(_parcel: Parcel) -> str:
    """A `LinkFor` where alarms are not acknowledged by links."""
    return ""


def is_test(payload: dict[str, Any]) -> bool:
    """Whether an alarm is a drill, as its payload says: by itself, by its kind, or as it was resolved."""
    return payload.get("test") is True or "test" in (payload.get("kind"), payload.get("resolution"))


def is_open(payload: dict[str, Any]) -> bool:
    """Whether an alarm waits for a human, as its payload says."""
    return payload.get("acknowledged_by") is None and payload.get("resolved_by") is None


def moment_text(time_ms: object, zone: tzinfo | None = None) -> str:
    """A Unix time in milliseconds, in ``zone`` (None = this machine's) and in UTC; "" for what is no such time."""
    if not isinstance(time_ms, int) or isinstance(time_ms, bool) or time_ms < 0:
        return ""
    try:
        at = _EPOCH + timedelta(seconds=time_ms // 1000)
        local = at.astimezone(zone)
        universal = f"{at:%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):  # later than any calendar, or than this machine's
        return ""
    return universal if local.tzname() == "UTC" else f"{local:%Y-%m-%d %H:%M:%S %Z} ({universal})"


def message_of(parcel: Parcel, link: str = "", zone: tzinfo | None = None) -> Message:
    """The parcel in words; ``link`` is where its alarm can be acknowledged, ``zone`` as in `moment_text`."""
    if parcel.kind == OUTBOX_ALARM:
        return _alarm(parcel, link, zone)
    return _notice(parcel, zone)


def _alarm(parcel: Parcel, link: str, zone: tzinfo | None) -> Message:
    payload = parcel.payload
    test, person = is_test(payload), _concerned(payload)
    kind = kind_text(payload.get("kind"))
    happened = _happened(payload)
    device_state = str(payload.get("device_state"))
    lost = f" [{device_state.upper()} DEVICE]" if device_state in _STATES else ""
    subject = f"{'TEST: ' if test else ''}ALARM {kind}: {person}{lost}{f': {happened}' if happened else ''}"
    lines = ["TEST: this is a drill, nobody needs help." if test else "", f"ALARM {kind}: {person}"]
    if happened:
        lines.append(f"What happened: {happened}")
    lines.append("")
    lines += _facts(
        ("Person", _piece(payload.get("person"))),
        ("Team", _piece(payload.get("team"))),
        ("Kind", kind),
        ("Detail", _piece(payload.get("detail"), MAX_DETAIL)),
        ("Device", _piece(payload.get("device"))),
        ("Warning", _STATES.get(device_state, "")),
        ("Raised", _said(moment_text(payload.get("raised_wall_ms"), zone), _trust(payload))),
        ("Received", moment_text(payload.get("received_ms"), zone)),
        ("Cancelled", _cancelled(payload, zone)),
        ("Acknowledged", _act(payload, "acknowledged", zone)),
        ("Resolved", _act(payload, "resolved", zone)),
        ("Resolution", _piece(payload.get("resolution"))),
        ("Clip", _clip(payload)),
        ("Battery", _battery(payload)),
        ("Escalation", _stage(payload)),
        ("Alarm id", _piece(payload.get("alarm") or parcel.subject)),
    )
    waits = is_open(payload)
    lines.append("")
    lines.append("Nobody has acknowledged this alarm yet." if waits else _answered(payload))
    if waits and link and len(link) <= MAX_LINK and printable(link, MAX_LINK) == link:
        lines += ["", "To acknowledge it, open this address and press the button there. It is for you alone:", link]
    if test:
        lines += ["", "TEST"]
    return Message(_subject(subject), _text(lines), waits)


def _notice(parcel: Parcel, zone: tzinfo | None) -> Message:
    payload = parcel.payload
    kind = _piece(payload.get("notice"))
    what = _NOTICES.get(kind, kind.replace("_", " ") or "unnamed")
    about = _piece(payload.get("subject") or parcel.subject)
    clip = payload.get("clip")
    person = _piece(clip.get("person")) if isinstance(clip, dict) else ""
    lines = [f"Notice: {what}", ""]
    lines += _facts(
        ("About", about),
        ("Device", _piece(payload.get("device"))),
        ("Person", person),
        ("At", moment_text(payload.get("at_ms"), zone)),
        ("Detail", _piece(payload.get("detail"), MAX_DETAIL)),
    )
    return Message(_subject(f"Notice: {what}{f': {about}' if about else ''}"), _text(lines), False)


def _concerned(payload: dict[str, Any]) -> str:
    """Whom or what an alarm is about, for its first line."""
    person = _piece(payload.get("person"))
    if not person and _piece(payload.get("kind")) in TECHNICAL_NAMES:
        return _piece(payload.get("about")) or "this gateway"
    return person or "nobody's device"


def kind_text(kind: object) -> str:
    """An alarm's kind in words for people; one without words here is shown as it is named."""
    named = _piece(kind)
    return _KINDS.get(named, named.replace("_", " ") or _KINDS["unknown"])


def _happened(payload: dict[str, Any]) -> str:
    """What a parcel of an alarm tells, beside that there is one; "" when that is all."""
    what, who = _piece(payload.get("what")), ""
    if what == "raised":
        return ""
    if what == "unanswered":
        return "nobody has answered yet"
    if what == "completed":
        return "its device has told the rest"
    if what == "cancelled":
        return "cancelled by its wearer (unverified)"
    if what in ("acknowledged", "resolved"):
        who = _piece(payload.get(f"{what}_by"))
    as_what = _piece(payload.get("resolution")) if what == "resolved" else ""
    return f"{what.replace('_', ' ')}{f' as {as_what}' if as_what else ''}{f' by {who}' if who else ''}"


def _cancelled(payload: dict[str, Any], zone: tzinfo | None) -> str:
    if payload.get("cancelled_ms") is None:
        return ""
    at = moment_text(payload["cancelled_ms"], zone)
    return f"{f'{at}, ' if at else ''}by its wearer (unverified: a human still has to answer)"


def _act(payload: dict[str, Any], what: str, zone: tzinfo | None) -> str:
    who = _piece(payload.get(f"{what}_by"))
    at = moment_text(payload.get(f"{what}_ms"), zone)
    return f"by {who}{f', {at}' if at else ''}" if who else ""


def _answered(payload: dict[str, Any]) -> str:
    if payload.get("resolved_by") is not None:
        return f"This alarm is resolved ({_piece(payload.get('resolution')) or 'no reason given'})."
    return f"{_piece(payload['acknowledged_by'])} has acknowledged this alarm."


def _clip(payload: dict[str, Any]) -> str:
    clip = payload.get("clip")
    return f"{_piece(payload.get('device'))}-{clip}" if isinstance(clip, int) and clip > 0 else ""


def _stage(payload: dict[str, Any]) -> str:
    policy, stage = _piece(payload.get("policy")), _piece(payload.get("stage"))
    return f"{policy}: {stage}" if policy and stage else ""


def _battery(payload: dict[str, Any]) -> str:
    percent = payload.get("battery_percent")
    return f"{percent} %" if isinstance(percent, int) and 0 <= percent <= 100 else ""


def _trust(payload: dict[str, Any]) -> str:
    """How far the time on the device's clock can be believed; it is another's word where nothing is said."""
    source = {"none": "never set", "rtc": "not checked lately", "ntp": "set by NTP", "gateway": "set by the gateway"}
    said = source.get(str(payload.get("trust")), "")
    return f"by the device's clock{f', {said}' if said else ''}"


def _said(moment: str, by: str) -> str:
    return f"{moment}, {by}" if moment else ""


def _facts(*facts: tuple[str, str]) -> list[str]:
    return [f"{f'{name}:':<14}{value}" for name, value in facts if value]


def _piece(value: object, limit: int = MAX_PIECE) -> str:
    """Foreign text for one place in a message; "" for what is no text or number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return printable(str(value).strip()[: limit + 1], limit)


def _subject(text: str) -> str:
    return text if len(text) <= MAX_SUBJECT else text[: MAX_SUBJECT - 1] + "…"


def _text(lines: list[str]) -> str:
    return "\n".join(lines).strip("\n") + "\n"
