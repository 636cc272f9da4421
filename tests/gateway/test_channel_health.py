"""What is known of a channel's working, in the ledger and in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lapel_gateway.channels.contract import DeliveryError
from lapel_gateway.channels.health import LINK, WRITE_MS, HealthBook, read_health
from lapel_gateway.deliver import DeliverRole
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import OUTBOX_ALARM
from lapel_gateway.outbox import Outbox, RetryPolicy
from tests.gateway.ledgers import new_ledger, queue
from tests.gateway.test_outbox import Recorder
from tests.waiting import wait_until

NOW_MS = 1_760_000_000_000
PEOPLE = {"north": "", "south": "Ann Archer"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    with new_ledger(tmp_path) as engine:
        yield engine


class Clock:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


def told(engine: sa.Engine) -> dict[str, dict[str, Any]]:
    with reading(engine) as connection:
        return {words["channel"]: words for words in read_health(connection, PEOPLE)}


def test_a_channel_that_delivered_nothing_yet_is_not_said_to_work(engine: sa.Engine) -> None:
    HealthBook(engine, PEOPLE, Clock()).write()
    assert told(engine)["south"] == {
        "channel": "south",
        "person": "Ann Archer",
        "state": "unused",
        "waiting": 0,
        "delivery": None,
        "link": None,
    }


def test_since_when_a_channel_fails_outlives_the_process_and_ends_with_the_next_success(engine: sa.Engine) -> None:
    clock = Clock()
    book = HealthBook(engine, PEOPLE, clock)
    book.report("north", "")
    book.write()
    clock.now_ms += 1000
    book.report("north", "connection refused")
    clock.now_ms += 1000
    book.report("north", "connection refused")
    book.write()
    words = told(engine)["north"]
    assert (words["state"], words["delivery"]["error"]) == ("failing", "connection refused")
    assert [words["delivery"][name]["ms"] - NOW_MS for name in ("good", "failing", "tried")] == [0, 1000, 2000]

    later = HealthBook(engine, PEOPLE, clock)
    later.report("north", "no route to host")
    later.write()
    assert told(engine)["north"]["delivery"]["good"]["ms"] == NOW_MS

    later.report("north", "")
    later.write()
    words = told(engine)["north"]
    assert (words["state"], words["delivery"]["error"], words["delivery"]["failing"]) == ("works", None, None)


def test_a_link_that_fails_shows_beside_deliveries_that_worked(engine: sa.Engine) -> None:
    book = HealthBook(engine, PEOPLE, Clock())
    book.report("north", "")
    book.report("north", "timed out", LINK, "link test")
    book.write()
    words = told(engine)["north"]
    assert (words["state"], words["delivery"]["error"], words["link"]["error"]) == ("failing", None, "timed out")
    assert book.errors() == {"north": "", "north link": "timed out"}


def test_a_channel_that_goes_on_as_before_is_written_now_and_then_only(engine: sa.Engine) -> None:
    clock = Clock()
    book = HealthBook(engine, PEOPLE, clock)
    book.report("north", "")
    book.write()
    clock.now_ms += WRITE_MS - 1
    book.report("north", "")
    book.write()
    assert told(engine)["north"]["delivery"]["good"]["ms"] == NOW_MS
    clock.now_ms += 1
    book.write()
    assert told(engine)["north"]["delivery"]["good"]["ms"] == NOW_MS + WRITE_MS - 1


def test_what_is_no_channel_of_this_gateway_is_neither_written_nor_kept(engine: sa.Engine) -> None:
    before = HealthBook(engine, ("gone", "north"), Clock())
    before.report("gone", "")
    before.write()
    book = HealthBook(engine, PEOPLE, Clock())
    book.report("ledger", "locked")
    book.write()
    with reading(engine) as connection:
        assert [words["delivery"] for words in read_health(connection, {"gone": "", "ledger": ""})] == [None, None]


def test_a_running_gateway_writes_down_that_a_channel_fails_how_much_waits_and_that_it_works_again(
    engine: sa.Engine,
) -> None:
    north = Recorder("north", failures=10**6, error=DeliveryError("the door is shut"))
    role = DeliverRole(Outbox(engine, [north], RetryPolicy(first_ms=20, max_ms=20, jitter=0.0), lambda: 0.0))
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {}, NOW_MS)
    role.start()
    try:
        wait_until(lambda: told(engine)["north"]["state"] == "failing", 20)
        words = told(engine)["north"]
        assert (words["delivery"]["error"], words["waiting"]) == ("the door is shut", 1)
        north.failures = 0
        wait_until(lambda: told(engine)["north"]["state"] == "works", 20)
        wait_until(lambda: told(engine)["north"]["waiting"] == 0, 20)
    finally:
        assert role.stop()
