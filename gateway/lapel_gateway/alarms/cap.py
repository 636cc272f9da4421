"""Alarms as CAP 1.2 messages (OASIS Common Alerting Protocol, 1 July 2010), for control rooms that exchange them.

Rules that hold here
- An alarm is a chain of messages: an Alert when it came, an Update for what happened since, a Cancel when it was
  resolved. Each refers to all before it, and is the same whenever it is made.
- The scope is Private and the addressees are named: an alarm tells of one person's emergency.
- A drill has the status Test in every message of its chain; how an alarm was resolved does not change its status.
- Texts are printable and capped as in messages to people; what XML cannot hold is escaped there.
- Nothing here reads a clock, a file or the ledger.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lapel_gateway.channels.message import kind_text
from lapel_gateway.log import printable

NAMESPACE = "urn:oasis:names:tc:emergency:cap:1.2"
LANGUAGE = "en"

RAISED = "raised"
CANCELLED = "cancelled"
ACKNOWLEDGED = "acknowledged"
RESOLVED = "resolved"
STEPS = (RAISED, CANCELLED, ACKNOWLEDGED, RESOLVED)

MAX_HEADLINE = 160
"""Section 3.2.2: longer headlines are cut off by some receivers."""

_MESSAGE_TYPES = {RAISED: "Alert", CANCELLED: "Update", ACKNOWLEDGED: "Update", RESOLVED: "Cancel"}
_URGENCY = {RAISED: "Immediate", CANCELLED: "Immediate", ACKNOWLEDGED: "Expected", RESOLVED: "Past"}
_RESPONSE = {RAISED: "Assess", CANCELLED: "Assess", ACKNOWLEDGED: "Monitor", RESOLVED: "AllClear"}
_WAS_TRUE = {"true": "Observed", "false": "Unlikely", "test": "Unlikely"}

_KINDS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "panic": (("Safety", "Security"), "Severe", "Observed"),
    "duress": (("Security", "Safety"), "Severe", "Observed"),
    "man_down": (("Health", "Safety"), "Severe", "Likely"),
    "low_battery": (("Safety",), "Minor", "Observed"),
    "tamper": (("Security",), "Moderate", "Observed"),
    "visit_overdue": (("Safety",), "Severe", "Possible"),
    "contact_lost": (("Safety",), "Severe", "Possible"),
    "visit_low_battery": (("Safety",), "Moderate", "Observed"),
    "delivery_failed": (("Infra",), "Severe", "Observed"),
    "clip_missing": (("Infra",), "Moderate", "Observed"),
    "disk_low": (("Infra",), "Severe", "Observed"),
    "centre_silent": (("Infra",), "Severe", "Observed"),
}
"""Categories, severity and certainty of each kind (section 3.2.2)."""

_KIND_UNKNOWN = (("Safety",), "Unknown", "Unknown")

_NAME = re.compile(r"[^\s,<&\x00-\x1f]{1,200}")
"""What an identifier or a sender may be (section 3.2.1: no spaces, commas, "<" or "&")."""


class CapError(Exception):
    """An alarm cannot be made a CAP message; the message says why."""


@dataclass(frozen=True)
class CapMessage:
    """One message of an alarm's chain."""

    step: str
    """Of `STEPS`."""
    identifier: str
    sent: str
    xml: bytes
    """The document, UTF-8."""


def cap_messages(
    words: Mapping[str, Any], sender: str, addresses: Sequence[str], sender_name: str = ""
) -> list[CapMessage]:
    """The chain of an alarm's messages so far, the oldest first.

    ``words`` is the alarm as `lapel_gateway.describe.alarm_words` gives it; ``sender`` names this gateway in all the
    world, such as a host name; ``addresses`` are the addressees. Raises CapError.
    """
    if not _NAME.fullmatch(sender):
        raise CapError("a CAP sender has no spaces, commas, < or &: a host name is one")
    if not addresses or any(not address.strip() or '"' in address for address in addresses):
        raise CapError("a private CAP message needs addressees, and none may have quotes in its name")
    happened = [(words["received"], RAISED)]
    later = [
        (moment, step)
        for step, moment in (
            (CANCELLED, words["cancelled_by_wearer"]),
            (ACKNOWLEDGED, words["acknowledged"]),
        )
        if moment is not None
    ]
    happened += sorted(later, key=lambda one: (int(one[0]["ms"]), STEPS.index(one[1])))
    if words["resolved"] is not None:
        happened.append((words["resolved"], RESOLVED))
    messages: list[CapMessage] = []
    for moment, step in happened:
        identifier, sent = f"{words['id']}-{step}", _sent(moment)
        if not _NAME.fullmatch(identifier):
            raise CapError(f"{printable(str(words['id']))} cannot name a CAP message")
        references = " ".join(f"{sender},{one.identifier},{one.sent}" for one in messages)
        alert = _alert(words, step, identifier, sender, sent, addresses, references)
        alert.append(_info(words, step, sender_name))
        xml = ET.tostring(alert, encoding="utf-8", xml_declaration=True, default_namespace=NAMESPACE)
        messages.append(CapMessage(step, identifier, sent, xml + b"\n"))
    return messages


def _alert(
    words: Mapping[str, Any],
    step: str,
    identifier: str,
    sender: str,
    sent: str,
    addresses: Sequence[str],
    references: str,
) -> ET.Element:
    alert = ET.Element(f"{{{NAMESPACE}}}alert")
    test = words.get("test") is True or words["kind"] == "test"
    _add(alert, "identifier", identifier)
    _add(alert, "sender", sender)
    _add(alert, "sent", sent)
    _add(alert, "status", "Test" if test else "Actual")
    _add(alert, "msgType", _MESSAGE_TYPES[step])
    _add(alert, "scope", "Private")
    _add(alert, "addresses", " ".join(_quoted(address) for address in addresses))
    if test or step == RESOLVED:
        _add(alert, "note", "TEST: a drill" if test else f"resolved as {words['resolution']}")
    if references:
        _add(alert, "references", references)
    _add(alert, "incidents", str(words["id"]))
    return alert


def _info(words: Mapping[str, Any], step: str, sender_name: str) -> ET.Element:
    categories, severity, certainty = _KINDS.get(str(words["kind"]), _KIND_UNKNOWN)
    if step == RESOLVED:
        certainty = _WAS_TRUE.get(str(words["resolution"]), certainty)
    elif step == CANCELLED:
        certainty = "Possible"  # the wearer's unverified word against the alarm
    info = ET.Element(f"{{{NAMESPACE}}}info")
    _add(info, "language", LANGUAGE)
    for category in categories:
        _add(info, "category", category)
    kind, person = kind_text(words["kind"]), _text(words["person"]) or "nobody's device"
    _add(info, "event", f"Personal alarm: {kind}")
    _add(info, "responseType", _RESPONSE[step])
    _add(info, "urgency", _URGENCY[step])
    _add(info, "severity", severity)
    _add(info, "certainty", certainty)
    if sender_name.strip():
        _add(info, "senderName", _text(sender_name))
    headline = f"{kind}: {person}{_since(words, step)}"
    _add(info, "headline", headline if len(headline) <= MAX_HEADLINE else headline[: MAX_HEADLINE - 1] + "…")
    _add(info, "description", _description(words, step, person, kind))
    for name, value in _parameters(words):
        parameter = _add(info, "parameter")
        _add(parameter, "valueName", name)
        _add(parameter, "value", value)
    return info


def _since(words: Mapping[str, Any], step: str) -> str:
    if step == RAISED:
        return ""
    if step == CANCELLED:
        return ", cancelled by its wearer (unverified)"
    who = _text(words[step]["by"])
    return f", acknowledged by {who}" if step == ACKNOWLEDGED else f", resolved as {words['resolution']} by {who}"


def _description(words: Mapping[str, Any], step: str, person: str, kind: str) -> str:
    state = words["device_state"]
    sentences = [f"{person}'s device raised an alarm: {kind}{_since(words, step)}."]
    if state != "active":
        sentences.append(f"The device is {_text(state)}: it may be in other hands.")
    if step == CANCELLED:
        sentences.append("A human still has to answer it.")
    if step == RESOLVED and words["note"]:
        sentences.append(f"Note: {_text(words['note'], 500)}")
    return " ".join(sentences)


def _parameters(words: Mapping[str, Any]) -> list[tuple[str, str]]:
    raised = words["raised"] or {}
    known = {
        "alarm": words["id"],
        "device": words["device"],
        "device-state": words["device_state"],
        "person": words["person"],
        "kind": words["kind"],
        "clip": words["clip_id"],
        "raised": raised.get("utc"),
        "raised-clock-trust": raised.get("trust"),
    }
    return [(f"lapel:{name}", _text(value)) for name, value in known.items() if value]


def _sent(moment: Mapping[str, Any]) -> str:
    """A time as section 3.3.2 writes it: no fractions, and UTC is -00:00, never Z."""
    if not moment["utc"]:
        raise CapError("the alarm has a time that no calendar has")
    return f"{str(moment['utc'])[:19]}-00:00"


def _quoted(address: str) -> str:
    """One of several addressees; one with spaces is quoted (section 3.2.1)."""
    text = _text(address)
    return f'"{text}"' if " " in text else text


def _text(value: object, limit: int = 120) -> str:
    return printable(str(value).strip()[: limit + 1], limit)


def _add(parent: ET.Element, name: str, text: str | None = None) -> ET.Element:
    child = ET.SubElement(parent, f"{{{NAMESPACE}}}{name}")
    child.text = text
    return child
