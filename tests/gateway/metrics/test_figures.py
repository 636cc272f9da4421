"""Figures of a gateway whose cores really did what is counted."""

from __future__ import annotations

import json
import os
import sqlite3
from typing import Any

import pytest
import sqlalchemy as sa

from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.escalator import Escalator
from lapel_gateway.alarms.kinds import DISK_LOW
from lapel_gateway.alarms.own import raise_own
from lapel_gateway.alarms.policies import Policies, Reach
from lapel_gateway.channels.contract import DeliveryError
from lapel_gateway.channels.health import LINK, HealthBook
from lapel_gateway.deliver import make_outbox
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.schema import device as devices
from lapel_gateway.metrics.collector import Figures as Collected
from lapel_gateway.metrics.watched import Watched
from lapel_gateway.outbox import RetryPolicy
from lapel_gateway.web.installed import Scraping
from lapel_protocol.reports import VISIT_START
from tests.gateway.metrics.scraping import serving, watching
from tests.gateway.test_outbox import Recorder
from tests.gateway.test_query_plans import GROWING, everything_once, scans, watch
from tests.gateway.visits.day import Day
from tests.support.pair import DevicePair

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 24 * 3_600_000


def step(pair: DevicePair, channels: dict[str, str], error: str = "") -> None:
    """Take the due steps of alarms, and let every channel try what waits for it."""
    escalator = Escalator(pair.engine, Policies(), Reach(channels))
    escalator.advance(pair.now_ms)
    recorders = [Recorder(name, failures=bool(error), error=DeliveryError(error)) for name in channels]
    make_outbox(pair.engine, recorders, RetryPolicy(), escalator, lambda: 0.0).run_due(pair.now_ms)


# --- alarms ---


def test_the_oldest_alarm_that_nobody_acknowledged_is_told_in_seconds_until_somebody_does(pair: DevicePair) -> None:
    with watching(pair) as figures:
        assert figures()("alarm_unacknowledged_oldest_seconds", concern="person") == 0
        pair.raise_alarm(pair.one.alarm())
        pair.now_ms += 90 * SECOND_MS
        now = figures()
        assert now("alarm_unacknowledged_oldest_seconds", concern="person") == 90
        assert now("alarm_untold_oldest_seconds", concern="person") == 90
        assert now("alarms_open", state="received", kind="panic", drill="false") == 1
        alarms.acknowledge(pair.engine, pair.row("alarm")["id"], "Sam", pair.now_ms)
        now = figures()
        assert now("alarm_unacknowledged_oldest_seconds", concern="person") == 0
        assert now("alarms_open", state="acknowledged", kind="panic", drill="false") == 1
        assert now("alarm_steps_total", step="received", kind="panic") == 1
        assert now("alarm_steps_total", step="acknowledged", kind="panic") == 1


def test_an_alarm_of_the_gateway_itself_is_none_about_a_person(pair: DevicePair) -> None:
    with writing(pair.engine) as connection:
        raise_own(connection, DISK_LOW, "/srv", "make room", pair.now_ms)
    pair.now_ms += 5 * SECOND_MS
    with watching(pair) as figures:
        now = figures()
    assert now("alarm_unacknowledged_oldest_seconds", concern="person") == 0
    assert now("alarm_unacknowledged_oldest_seconds", concern="gateway") == 5


# --- deliveries ---


def test_what_waits_for_a_channel_is_told_with_its_age_and_what_attempts_came_to(pair: DevicePair) -> None:
    channels = {"webhook:desk": "", "webhook:spare": ""}
    watched = Watched(pair.folder, channels=channels)
    with watching(pair, watched) as figures:
        assert figures()("outbox_oldest_seconds", channel="webhook:desk", kind="alarm") == 0
        pair.raise_alarm(pair.one.alarm())
        step(pair, channels, "no answer")
        pair.now_ms += 40 * SECOND_MS
        now = figures()
        assert now("outbox_waiting", channel="webhook:desk", kind="alarm") == 1
        assert now("outbox_oldest_seconds", channel="webhook:desk", kind="alarm") >= 40
        assert now("deliveries_total", channel="webhook:desk", outcome="retry") == 1
        assert now("deliveries_total", channel="webhook:desk", outcome="delivered") == 0
        step(pair, channels)
        now = figures()
    assert now("outbox_oldest_seconds", channel="webhook:desk", kind="alarm") == 0
    assert now("deliveries_total", channel="webhook:desk", outcome="delivered") >= 1


def test_a_channel_that_fails_and_the_last_acknowledgement_of_a_receiving_centre_are_told(pair: DevicePair) -> None:
    watched = Watched(channels={"sia:north": "", "webhook:desk": ""}, receivers={"sia:north": 60.0})
    book = HealthBook(pair.engine, watched.channels, lambda: pair.now_ms)
    book.report("sia:north", "", LINK)
    book.report("webhook:desk", "timed out")
    book.write()
    pair.now_ms += 30 * SECOND_MS
    book.report("sia:north", "no answer", LINK)
    book.write()
    pair.now_ms += 70 * SECOND_MS
    with watching(pair, watched) as figures:
        now = figures()
    assert now("receiver_ack_age_seconds", channel="sia:north") == 100
    assert now("receiver_supervision_seconds", channel="sia:north") == 60
    assert now("channel_failing_seconds", channel="sia:north", part="link") == 70
    assert now("channel_failing_seconds", channel="webhook:desk", part="delivery") == 100


# --- clips and room ---


def test_a_clip_counts_as_unreceipted_from_its_first_record_until_it_is_whole(pair: DevicePair) -> None:
    clip = pair.one.record(6)
    first, *rest = clip.messages(2)
    with watching(pair) as figures:
        pair.send(first)
        pair.now_ms += 10 * MINUTE_MS
        now = figures()
        assert now("clips_unreceipted", state="open") == 1
        assert now("custody_oldest_seconds", state="open") == 600
        pair.send(*rest)
        pair.now_ms += MINUTE_MS
        now = figures()
    assert now("clips_unreceipted", state="open") == 0
    assert now("custody_oldest_seconds", state="open") == 0
    assert now("clips_unassembled") == 1
    assert now("assembly_oldest_seconds") == 60


def test_how_long_the_room_lasts_follows_from_what_is_left_and_what_clips_take(pair: DevicePair) -> None:
    watched = Watched(pair.folder, pair.vault.root, None, reserve_bytes=1 << 20)
    with watching(pair, watched) as figures:
        assert figures()("vault_full_in_seconds") == float("inf")
        pair.send(*pair.one.record(9).messages())
        pair.now_ms += 2 * DAY_MS
        now = figures()
    size = pair.row("clip")["sealed_bytes"]
    assert now("vault_fill_bytes_per_second") == pytest.approx(size / (2 * 86_400), rel=0.01)
    state = os.statvfs(pair.vault.root)
    free = state.f_bavail * state.f_frsize - (1 << 20)
    assert now("vault_free_bytes") == pytest.approx(free, rel=0.05)
    assert now("vault_full_in_seconds") == pytest.approx(now("vault_free_bytes") / now("vault_fill_bytes_per_second"))


def test_copies_for_viewing_on_the_vaults_disk_make_it_fill_faster(pair: DevicePair) -> None:
    pair.send(*pair.one.record(9).messages())
    size = pair.row("clip")["sealed_bytes"]
    assembly = {"form": "opened", "files": {"clip.mkv": {"bytes": size}, "clip.mp4": {"bytes": size // 2}}}
    with writing(pair.engine) as connection:
        connection.execute(sa.text("UPDATE clip SET assembly = :words"), {"words": json.dumps(assembly)})
    pair.now_ms += DAY_MS
    (pair.folder / "views").mkdir()
    with watching(pair) as figures:
        assert figures()("vault_fill_bytes_per_second") == pytest.approx(2.5 * size / 86_400, rel=0.01)


# --- devices and visits ---


def test_a_device_that_was_not_in_contact_for_the_set_time_is_silent(pair: DevicePair) -> None:
    with watching(pair, Watched(silent_ms=180 * SECOND_MS)) as figures:
        assert figures()("devices_unheard") == 1
        pair.send(pair.one.heartbeat(clips_held=3))
        now = figures()
        assert (now("devices", state="active"), now("devices_unheard"), now("devices_silent")) == (1, 0, 0)
        assert now("devices_clips_unsent") == 3
        pair.now_ms += 181 * SECOND_MS
        assert figures()("devices_silent") == 1


def test_clocks_and_firmware_are_counted_and_no_device_is_named(pair: DevicePair) -> None:
    pair.send(pair.one.heartbeat())
    status = json.loads(pair.row("device")["status"])
    assert "clock_ahead_ms" in status
    with writing(pair.engine) as connection:
        words = json.dumps({**status, "clock_ahead_ms": -45_000, "firmware": "1.2.3"})
        connection.execute(sa.update(devices).values(status=words))
    with watching(pair) as figures:
        now = figures()
    assert now("devices_clock_off_max_seconds") == 45
    assert [now("devices_clock_off", beyond=bound) for bound in ("2", "30", "300")] == [1, 1, 0]
    assert now("devices_firmware", version="1.2.3") == 1


def test_overdue_visits_are_counted_with_how_long_the_oldest_is(pair: DevicePair) -> None:
    day = Day(pair)
    day.say(VISIT_START, 30)
    with watching(pair) as figures:
        assert figures()("visits", state="active") == 1
        day.pass_time(31)
        pair.now_ms += MINUTE_MS
        now = figures()
    assert (now("visits", state="active"), now("visits", state="overdue")) == (0, 1)
    assert now("visit_overdue_oldest_seconds") >= 60


def test_what_was_refused_is_counted_by_its_reason(pair: DevicePair) -> None:
    pair.send(("nonsense", b""), pair.one.on_event_lane(b"noise"))
    reasons = {row["reason"]: pair.tally(row["reason"]) for row in pair.rows("tally")}
    assert sum(reasons.values()) == 2
    with watching(pair) as figures:
        now = figures()
    assert {reason: now("refused_total", reason=reason) for reason in reasons} == reasons


# --- who may read them, and what they never say ---


def test_nothing_in_the_figures_names_a_person_a_place_or_a_device(pair: DevicePair) -> None:
    everything_once(pair)
    channels = {"smtp:duty:ann@example.org": "Ann Archer", "apprise:ann-phone": "Ann Archer", "webhook:desk": ""}
    book = HealthBook(pair.engine, channels, lambda: pair.now_ms)
    for name in channels:
        book.report(name, f"no answer of {name}")
    book.write()
    step(pair, channels, "no answer")
    with watching(pair, Watched(pair.folder, pair.vault.root, channels=channels)) as figures:
        text = figures().text
    secret = {str(row[column]) for row in pair.rows("device") for column in ("device", "name", "person")}
    secret |= {str(row[column]) for row in pair.rows("visit") for column in ("person", "place", "purpose")}
    secret |= {"Ann", "ann@", "ann-phone", str(pair.folder)}
    assert [word for word in secret if word and word in text] == []
    assert 'channel="smtp:1"' in text
    assert 'channel="apprise:2"' in text
    assert 'channel="webhook:desk"' in text


def test_without_a_token_only_this_machine_is_answered_and_never_through_a_proxy(pair: DevicePair) -> None:
    with serving(pair.engine, lambda: pair.now_ms, pair) as client:
        assert client.get("/metrics").status_code == 200
        for headers in (
            {"X-Forwarded-For": "192.0.2.1"},
            {"Forwarded": "for=192.0.2.1"},
            {"Host": "lapel.example.org"},
            {"Host": "127.0.0.1.example.org"},
            {"Host": "[::1"},
        ):
            refused = client.get("/metrics", headers=headers)
            assert refused.status_code == 403
            assert "token_file" in refused.json()["detail"]
    with serving(pair.engine, lambda: pair.now_ms, pair, scraping=Scraping(proxied=True)) as client:
        assert client.get("/metrics").status_code == 403


def test_with_a_token_nobody_is_answered_without_it(pair: DevicePair) -> None:
    token = "a-token-of-some-length"
    with serving(pair.engine, lambda: pair.now_ms, pair, scraping=Scraping(token)) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": token}):
            refused = client.get("/metrics", headers=headers)
            assert (refused.status_code, token in refused.text) == (401, False)
        assert client.get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert token not in repr(Scraping(token))


def test_figures_that_are_switched_off_are_not_there(pair: DevicePair) -> None:
    with serving(pair.engine, lambda: pair.now_ms, pair, scraping=None) as client:
        assert client.get("/metrics").status_code == 404
        assert client.get("/readyz").status_code == 503


def test_openmetrics_is_spoken_to_whoever_asks_for_it(pair: DevicePair) -> None:
    with serving(pair.engine, lambda: pair.now_ms, pair) as client:
        plain = client.get("/metrics")
        wanted = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert plain.headers["content-type"].startswith("text/plain")
    assert wanted.headers["content-type"].startswith("application/openmetrics-text")
    assert wanted.text.endswith("# EOF\n")


# --- cost ---


def test_reading_the_figures_reads_no_table_whole_that_grows_with_what_was_ever_held(pair: DevicePair) -> None:
    everything_once(pair)
    collected = Collected(pair.engine, Watched(pair.folder, pair.vault.root, pair.folder), lambda: pair.now_ms)
    list(collected.collect())
    seen = watch(pair.engine)
    pair.now_ms += HOUR_MS
    assert len(list(collected.collect())) > 30
    collected.readiness()
    assert len(seen) > 10
    # The registry is read whole, on purpose: it grows with the devices, not with what they do.
    assert "device" in GROWING
    assert [found for found in scans(pair, seen) if not found.startswith("SCAN device:")] == []


def test_reading_the_figures_writes_nothing(pair: DevicePair) -> None:
    everything_once(pair)
    path = pair.folder / "ledger.sqlite"

    def content() -> list[Any]:
        connection = sqlite3.connect(path)
        try:
            return list(connection.iterdump())
        finally:
            connection.close()

    before = content()
    list(Collected(pair.engine, Watched(pair.folder, pair.vault.root), lambda: pair.now_ms).collect())
    assert content() == before
