"""CAP messages, held against the rules of the OASIS standard as this test states them by itself."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from lapel_gateway.alarms.cap import CapError, CapMessage, cap_messages
from lapel_gateway.describe import alarm_words, moment
from lapel_gateway.ledger.schema import alarm as alarm_table
from lapel_protocol.names import ALARM_KIND_NAMES

NS = "{urn:oasis:names:tc:emergency:cap:1.2}"
RAISED_MS = 1_790_000_000_123
SENDER = "lapel.example.org"

# The schema of CAP 1.2: (element, least, most) in its order; None = any number.
ALERT: list[tuple[str, int, int | None]] = [
    *((name, 1, 1) for name in ("identifier", "sender", "sent", "status", "msgType")),
    ("source", 0, 1),
    ("scope", 1, 1),
    ("restriction", 0, 1),
    ("addresses", 0, 1),
    ("code", 0, None),
    ("note", 0, 1),
    ("references", 0, 1),
    ("incidents", 0, 1),
    ("info", 0, None),
]
INFO: list[tuple[str, int, int | None]] = [
    ("language", 0, 1),
    ("category", 1, None),
    ("event", 1, 1),
    ("responseType", 0, None),
    *((name, 1, 1) for name in ("urgency", "severity", "certainty")),
    ("audience", 0, 1),
    ("eventCode", 0, None),
    *((name, 0, 1) for name in ("effective", "onset", "expires", "senderName", "headline", "description")),
    *((name, 0, 1) for name in ("instruction", "web", "contact")),
    ("parameter", 0, None),
    ("resource", 0, None),
    ("area", 0, None),
]
VALUES = {
    "status": "Actual Exercise System Test Draft",
    "msgType": "Alert Update Cancel Ack Error",
    "scope": "Public Restricted Private",
    "category": "Geo Met Safety Security Rescue Fire Health Env Transport Infra CBRNE Other",
    "responseType": "Shelter Evacuate Prepare Execute Avoid Monitor Assess AllClear None",
    "urgency": "Immediate Expected Future Past Unknown",
    "severity": "Extreme Severe Moderate Minor Unknown",
    "certainty": "Observed Likely Possible Unlikely Unknown",
}
TIME = r"\d\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[-+]\d\d:\d\d"
NAME = r"[^\s,<&]+"
FORMS = {
    "identifier": NAME,
    "sender": NAME,
    "sent": TIME,
    "references": rf"{NAME},{NAME},{TIME}( {NAME},{NAME},{TIME})*",
    "addresses": r"(\"[^\"]+\"|[^\s\"]+)( (\"[^\"]+\"|[^\s\"]+))*",
    "language": r"[a-zA-Z]{1,8}(-[a-zA-Z0-9]{1,8})*",
}


def follows(element: ET.Element, rules: list[tuple[str, int, int | None]]) -> None:
    """The element's children are of the schema's kinds, numbers and order, and their values of its forms."""
    names = [child.tag.removeprefix(NS) for child in element]
    assert all(child.tag.startswith(NS) for child in element)
    order = [name for name, _, _ in rules]
    assert names == sorted(names, key=order.index)
    for name, least, most in rules:
        assert least <= names.count(name) <= (most if most is not None else names.count(name)), name
    for name, child in zip(names, element, strict=True):
        text = child.text or ""
        assert name in ("info", "parameter") or text.strip(), name
        assert name not in VALUES or text in VALUES[name].split(), (name, text)
        assert name not in FORMS or re.fullmatch(FORMS[name], text), (name, text)


def checked(message: CapMessage) -> dict[str, str]:
    """The message's values by name, once it was held against the standard."""
    assert message.xml.startswith(b"<?xml version='1.0' encoding='utf-8'?>")
    root = ET.fromstring(message.xml)
    assert root.tag == f"{NS}alert"
    follows(root, ALERT)
    values = {child.tag.removeprefix(NS): child.text or "" for child in root}
    assert values["scope"] != "Private" or values["addresses"]
    assert values["msgType"] == "Alert" or values["references"]
    assert values["identifier"] == message.identifier
    for info in root.iter(f"{NS}info"):
        follows(info, INFO)
        values |= {child.tag.removeprefix(NS): child.text or "" for child in info}
        values["categories"] = " ".join(child.text or "" for child in info.iter(f"{NS}category"))
        for parameter in info.iter(f"{NS}parameter"):
            assert [child.tag for child in parameter] == [f"{NS}valueName", f"{NS}value"]
            values[parameter[0].text or ""] = parameter[1].text or ""
    return values


def words(**changed: Any) -> dict[str, Any]:
    return {
        "id": "00112233aabbccdd-4-2",
        "device": "00112233aabbccdd",
        "person": "Zoë Quinn",
        "device_state": "active",
        "kind": "panic",
        "state": "received",
        "clip_id": "00112233aabbccdd-5",
        "raised": moment(RAISED_MS, 3),
        "raised_mono_ms": 9_000,
        "received": moment(RAISED_MS + 500),
        "cancelled_by_wearer": None,
        "acknowledged": None,
        "resolved": None,
        "resolution": None,
        "note": None,
        "device_shows": None,
        **changed,
    }


def act(after_ms: int, who: str) -> dict[str, Any]:
    return {**(moment(RAISED_MS + after_ms) or {}), "by": who}


def made(**changed: Any) -> list[CapMessage]:
    return cap_messages(words(**changed), SENDER, ["control-room", "duty manager"], "Housing & Care")


ENDED: dict[str, Any] = {
    "cancelled_by_wearer": moment(RAISED_MS + 20_000),
    "acknowledged": act(30_000, "Ann Archer"),
    "resolved": act(90_000, "Ben"),
    "resolution": "false",
    "note": "pressed in a bag",
}


def test_an_alarm_is_an_alert_to_named_addressees() -> None:
    (message,) = made()
    said = checked(message)

    assert (said["status"], said["msgType"], said["scope"]) == ("Actual", "Alert", "Private")
    assert said["sent"] == "2026-09-21T14:13:20-00:00"
    assert said["addresses"] == 'control-room "duty manager"'
    assert (said["urgency"], said["severity"], said["certainty"]) == ("Immediate", "Severe", "Observed")
    assert said["categories"] == "Safety Security"
    assert said["senderName"] == "Housing & Care"
    assert said["headline"] == "panic: Zoë Quinn"
    assert said["lapel:clip"] == "00112233aabbccdd-5"
    assert said["lapel:raised-clock-trust"] == "gateway"


def test_what_happened_since_is_a_chain_of_updates_that_ends_with_a_cancel() -> None:
    chain = made(**ENDED)
    said = [checked(message) for message in chain]

    assert [one["msgType"] for one in said] == ["Alert", "Update", "Update", "Cancel"]
    assert [one["urgency"] for one in said] == ["Immediate", "Immediate", "Expected", "Past"]
    assert [one["certainty"] for one in said] == ["Observed", "Possible", "Observed", "Unlikely"]
    for number, one in enumerate(said[1:], 1):
        before = [f"{SENDER},{message.identifier},{message.sent}" for message in chain[:number]]
        assert one["references"].split(" ") == before
    assert len({one["identifier"] for one in said}) == 4
    assert "acknowledged by Ann Archer" in said[2]["headline"]
    assert "pressed in a bag" in said[3]["description"]
    assert said[3]["note"] == "resolved as false"


def test_messages_stay_as_they_were_when_more_happens() -> None:
    assert made(**ENDED)[:1] == made()
    assert made(**ENDED)[:3] == made(**{**ENDED, "resolved": None, "resolution": None, "note": None})


def test_a_cancel_that_came_after_the_acknowledgement_follows_it() -> None:
    late = made(acknowledged=act(1_000, "Ann"), cancelled_by_wearer=moment(RAISED_MS + 5_000))
    assert [message.step for message in late] == ["raised", "acknowledged", "cancelled"]


def test_a_drill_is_a_test_in_every_message_and_an_alarm_resolved_as_one_is_not() -> None:
    assert {checked(message)["status"] for message in made(test=True, **ENDED)} == {"Test"}
    resolved = made(**{**ENDED, "resolution": "test"})
    assert {checked(message)["status"] for message in resolved} == {"Actual"}
    assert checked(resolved[-1])["note"] == "resolved as test"


@pytest.mark.parametrize("kind", [*ALARM_KIND_NAMES[1:], "unknown", "something new"])
def test_every_kind_of_alarm_is_a_valid_message(kind: str) -> None:
    for message in made(kind=kind, **ENDED):
        assert checked(message)["lapel:kind"] == kind


def test_text_from_elsewhere_stays_text() -> None:
    evil = "</cap:event><alert> & \x00\x1b\u202e\ufffe\ud800 ]]>" + "x" * 5_000
    for message in made(person=evil, note=evil, device_state="lost", **{k: v for k, v in ENDED.items() if k != "note"}):
        said = checked(message)
        assert len(said["headline"]) <= 160
        assert all(character.isprintable() for character in said["headline"] + said["description"])
        assert "in other hands" in said["description"]


@pytest.mark.parametrize(
    ("sender", "addresses"),
    [("a b", ["x"]), ("a,b", ["x"]), ("a&b", ["x"]), ("", ["x"]), ("a", []), ("a", [" "]), ("a", ['x"y'])],
)
def test_names_that_cap_does_not_allow_are_refused(sender: str, addresses: list[str]) -> None:
    with pytest.raises(CapError):
        cap_messages(words(), sender, addresses)


def test_the_words_of_the_ledger_are_what_is_read() -> None:
    """No column was renamed under it: these words are made of a row as the API makes them."""
    row: dict[str, Any] = dict.fromkeys(column.name for column in alarm_table.columns)
    row |= {"id": "a-1-2", "device": "a", "kind": 1, "person": "Zoë", "device_state": "active", "state": "received"}
    row |= {"raised_wall_ms": RAISED_MS, "trust": 0, "received_ms": RAISED_MS}
    (message,) = cap_messages(alarm_words(row), SENDER, ["x"])
    assert checked(message)["event"] == "Personal alarm: panic"
