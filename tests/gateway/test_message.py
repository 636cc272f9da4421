"""What people read of an alarm: nothing missing, nothing forged."""

from __future__ import annotations

import time
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel_gateway.channels.contract import Parcel
from lapel_gateway.channels.message import MAX_SUBJECT, Message, message_of, moment_text
from lapel_gateway.ledger.schema import OUTBOX_ALARM, OUTBOX_NOTICE

ZONE = timezone(timedelta(hours=2), "CEST")
RAISED_MS = 1_790_000_000_000  # 2026-09-21 14:13:20 UTC
LINK = "https://lapel.example.org/ack/abc"

PAYLOAD: dict[str, Any] = {
    "what": "raised",
    "alarm": "00112233aabbccdd-4-2",
    "device": "00112233aabbccdd",
    "device_state": "active",
    "person": "Zoë Quinn",
    "kind": "man_down",
    "state": "received",
    "clip": 5,
    "raised_wall_ms": RAISED_MS,
    "trust": "gateway",
    "battery_percent": 80,
    "received_ms": RAISED_MS + 500,
    "cancelled_ms": None,
    "acknowledged_ms": None,
    "acknowledged_by": None,
    "resolved_ms": None,
    "resolved_by": None,
    "resolution": None,
}


def told(link: str = "", **changed: Any) -> Message:
    payload = {**PAYLOAD, **changed}
    return message_of(Parcel(1, OUTBOX_ALARM, "c", "k", str(payload["alarm"]), payload, 0, 1), link, ZONE)


def notice(**payload: Any) -> Message:
    return message_of(Parcel(1, OUTBOX_NOTICE, "c", "k", "subject", payload, 0, 1), "", ZONE)


def lines(message: Message) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in message.body.splitlines())}


def test_an_alarm_says_who_what_where_and_when() -> None:
    message = told(LINK)

    assert message.subject == "ALARM man down: Zoë Quinn"
    said = lines(message)
    assert (said["Person"], said["Kind"], said["Device"]) == ("Zoë Quinn", "man down", "00112233aabbccdd")
    assert said["Raised"] == (
        "2026-09-21 16:13:20 CEST (2026-09-21 14:13:20 UTC), by the device's clock, set by the gateway"
    )
    assert (said["Clip"], said["Battery"], said["Alarm id"]) == ("00112233aabbccdd-5", "80 %", "00112233aabbccdd-4-2")
    assert LINK in message.body.splitlines()
    assert message.urgent
    assert "TEST" not in message.subject + message.body


def test_a_cancel_is_the_wearers_unverified_word_and_the_alarm_stays_urgent() -> None:
    message = told(LINK, what="cancelled", cancelled_ms=RAISED_MS + 9_000)

    assert message.subject.endswith(": cancelled by its wearer (unverified)")
    assert "unverified: a human still has to answer" in lines(message)["Cancelled"]
    assert message.urgent
    assert LINK in message.body


def test_an_answered_alarm_says_who_answered_and_has_no_link() -> None:
    acknowledged = told(LINK, what="acknowledged", acknowledged_by="Ann", acknowledged_ms=RAISED_MS + 60_000)

    assert acknowledged.subject.endswith(": acknowledged by Ann")
    assert "by Ann, 2026-09-21 16:14:20 CEST" in lines(acknowledged)["Acknowledged"]
    assert LINK not in acknowledged.body
    assert not acknowledged.urgent

    resolved = told(LINK, what="resolved", resolved_by="Ben", resolved_ms=RAISED_MS, resolution="false")
    assert resolved.subject.endswith(": resolved as false by Ben")
    assert LINK not in resolved.body


@pytest.mark.parametrize("changed", [{"test": True}, {"kind": "test"}, {"what": "resolved", "resolution": "test"}])
def test_a_test_says_so_first_and_last(changed: dict[str, Any]) -> None:
    message = told(**changed)

    assert message.subject.startswith("TEST: ")
    assert message.body.startswith("TEST: this is a drill")
    assert message.body.endswith("\nTEST\n")


@pytest.mark.parametrize("state", ["lost", "retired"])
def test_an_alarm_of_a_device_that_is_out_of_service_says_so(state: str) -> None:
    message = told(device_state=state)

    assert f"[{state.upper()} DEVICE]" in message.subject
    assert lines(message)["Warning"].startswith(state.upper())


def test_an_alarm_of_unknown_kind_and_nobody_is_told_all_the_same() -> None:
    assert told(kind="unknown", person="").subject == "ALARM of unknown kind: nobody's device"
    bare = message_of(Parcel(1, OUTBOX_ALARM, "c", "k", "id-1-2", {}, 0, 1))
    assert bare.subject.startswith("ALARM")
    assert lines(bare)["Alarm id"] == "id-1-2"
    assert bare.urgent


@pytest.mark.parametrize(
    "evil",
    [
        "Zoë\nAcknowledged: by Ann",
        "Zoë\r\nBcc: everyone@example.org",
        "\u202egnihton",
        "a\u2066b\u2069",
        "\x1b[2J",
        "\x00",
        "a\u2028b",
        "\ud800",
        "x" * 100_000,
    ],
)
def test_a_forged_line_a_turned_direction_and_a_flood_are_neutralised(evil: str) -> None:
    message = told(person=evil, kind=evil, device=evil, alarm=evil, what=evil, resolution=evil, device_state=evil)

    assert message.subject.isprintable()
    assert all(line.isprintable() for line in message.body.split("\n"))
    assert [line for line in message.body.splitlines() if line.startswith(("Acknowledged:", "Bcc:"))] == []
    assert len(message.subject) <= MAX_SUBJECT
    assert len(message.body) < 3_000
    message.body.encode()


@pytest.mark.parametrize("link", ["https://a.example/\nBcc: x", "https://a.example/" + "x" * 5_000])
def test_a_link_that_is_none_is_left_out(link: str) -> None:
    assert "open this address" not in told(link).body


def test_times_that_no_calendar_has_are_left_out() -> None:
    assert "Raised" not in lines(told(raised_wall_ms=(1 << 63) - 1))
    assert [moment_text(value) for value in (None, -1, True, "5", 1.5, 1 << 80)] == [""] * 6
    last_ms = 253_402_300_799_999
    assert moment_text(last_ms, UTC) == "9999-12-31 23:59:59 UTC"
    assert moment_text(last_ms, ZONE) == ""


def test_the_zone_of_the_machine_is_used_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-3")
    time.tzset()
    try:
        assert moment_text(RAISED_MS) == "2026-09-21 17:13:20 XYZ (2026-09-21 14:13:20 UTC)"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_notice_says_what_it_is_about() -> None:
    message = notice(
        notice="unverified_alarm", device="00aa", subject="camera 7", detail="somebody\nmay need help", at_ms=RAISED_MS
    )

    assert message.subject == "Notice: alarm traffic that cannot be verified: camera 7"
    assert lines(message)["Detail"] == "somebody\\nmay need help"
    assert not message.urgent
    assert notice(notice="disk_low").subject == "Notice: disk low: subject"
    assert lines(notice(notice="clip_ready", clip={"person": "Zoë"}))["Person"] == "Zoë"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("aZ1 ë-%\n\r\x00\x1b\u202e\u2028\ud800"),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([*PAYLOAD, "test", "notice", "detail", "subject", "at_ms"]), json_values))
def test_no_payload_keeps_an_alarm_from_being_told(payload: dict[str, Any]) -> None:
    for kind in (OUTBOX_ALARM, OUTBOX_NOTICE):
        message = message_of(Parcel(1, kind, "c", "k", "subject", payload, 0, 1), LINK)
        assert message.subject.isprintable()
        assert message.subject
        assert all(line.isprintable() for line in message.body.split("\n"))
