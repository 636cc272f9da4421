"""What was kept long enough goes by itself, a portion at a time, whatever became of the ledger meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from lapel_gateway import disposal
from lapel_gateway.devices import health
from lapel_gateway.devices.health import HOUR_MS, PORTION
from lapel_gateway.disposal import Disposal
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.schema import device_health
from lapel_gateway.settings.visits import VisitsSection
from tests.gateway.visits.day import DAY_MS, Day
from tests.gateway.visits.test_positions import HERE
from tests.support.pair import DevicePair
from tests.waiting import wait_until

WAIT_S = 30.0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("LOOK_S", "PAUSE_S", "RETRY_S"):
        monkeypatch.setattr(disposal, pause, 0.01)


@pytest.fixture
def made(pair: DevicePair) -> Disposal:
    return Disposal(pair.engine, VisitsSection(keep_days=90, position_keep_days=30), lambda: pair.now_ms)


@contextmanager
def at_work(made: Disposal) -> Iterator[None]:
    made.start()
    try:
        yield
    finally:
        made.stop()


def old_hours(pair: DevicePair) -> int:
    return len(pair.rows("device_health", "hour_ms < :now", now=(PORTION + 10) * HOUR_MS))


def add_hours(pair: DevicePair, hours: int) -> None:
    fixed = {"heartbeats": 1, "boots": 0, "blocked": False, "full": False}
    with writing(pair.engine) as connection:
        rows = [{"device": pair.one.name, "hour_ms": number * HOUR_MS, **fixed} for number in range(hours)]
        connection.execute(device_health.insert(), rows)


def test_visits_positions_and_hours_of_devices_go_when_their_time_is_over(
    pair: DevicePair, made: Disposal, quick: None
) -> None:
    day = Day(pair)
    number = day.start(60, place="Farthing Wood 17")
    pair.send(day.location(*HERE, visit=number))
    day.end(number)
    add_hours(pair, PORTION + 3)
    with at_work(made):
        wait_until(lambda: old_hours(pair) == 0, WAIT_S)
        assert (pair.count("visit"), pair.count("position")) == (1, 1)
        pair.now_ms += 31 * DAY_MS
        wait_until(lambda: pair.count("position") == 0, WAIT_S)
        assert pair.count("visit") == 1
        pair.now_ms += 60 * DAY_MS
        wait_until(lambda: pair.count("visit") == 0, WAIT_S)


def test_a_portion_says_whether_there_may_be_more(pair: DevicePair, made: Disposal) -> None:
    add_hours(pair, PORTION + 1)
    assert made.portion()
    assert old_hours(pair) == 1
    assert not made.portion()
    assert old_hours(pair) == 0


def test_a_ledger_that_cannot_be_used_ends_nothing(
    pair: DevicePair, made: Disposal, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_hours(pair, 3)
    real, tried = health.dispose, []

    def fails(engine: sa.Engine, now_ms: int) -> object:
        tried.append(now_ms)
        if len(tried) == 1:
            raise sa.exc.OperationalError("", None, Exception("database or disk is full"))
        if len(tried) == 2:
            raise RuntimeError
        return real(engine, now_ms)

    monkeypatch.setattr(health, "dispose", fails)
    with at_work(made):
        wait_until(lambda: old_hours(pair) == 0, WAIT_S)
    assert len(tried) >= 3
