"""The outbox: nothing lost, nothing delayed by another channel, everything tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from lapel_gateway import steps
from lapel_gateway.channels.contract import DeliveryError, NothingToSend, Parcel
from lapel_gateway.deliver import DeliverRole
from lapel_gateway.ledger.schema import OUTBOX_ALARM, OUTBOX_FORWARD, OUTBOX_NOTICE
from lapel_gateway.outbox import DELIVERED, RETRY, Outbox, Outcome, RetryPolicy
from tests.gateway.ledgers import attempts, new_ledger, queue, rows
from tests.waiting import wait_until

NOW_MS = 1_760_000_000_000
POLICY = RetryPolicy(first_ms=1000, max_ms=60_000, jitter=0.0)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    with new_ledger(tmp_path) as engine:
        yield engine


class Recorder:
    """A channel that remembers what it was given and fails as often as it is told to."""

    def __init__(self, name: str, *kinds: str, failures: int = 0, error: DeliveryError | None = None) -> None:
        self.name = name
        self.kinds = frozenset(kinds or (OUTBOX_ALARM,))
        self.failures = failures
        self.error = error or DeliveryError("not now")
        self.got: list[Parcel] = []
        self.on_deliver: Callable[[Parcel], None] = lambda parcel: None

    def deliver(self, parcel: Parcel, now_ms: int) -> None:
        self.got.append(parcel)
        self.on_deliver(parcel)
        if self.failures:
            self.failures -= 1
            raise self.error


class Killed(Exception):
    """What a kill looks like: it ends the process at a named step."""


def kill_at(point: str) -> Callable[[str], None]:
    def hook(reached: str) -> None:
        if reached == point:
            raise Killed

    return hook


def outbox_of(engine: sa.Engine, *channels: Recorder) -> Outbox:
    return Outbox(engine, channels, POLICY, lambda: 0.0)


def test_a_row_for_every_channel_reaches_each_channel_of_its_kind_once(engine: sa.Engine) -> None:
    north, south, share = Recorder("north"), Recorder("south"), Recorder("share", OUTBOX_FORWARD)
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {"step": "raised"}, NOW_MS)

    outbox = outbox_of(engine, north, south, share)
    outbox.run_due(NOW_MS)
    outbox.run_due(NOW_MS + 10_000)

    assert [parcel.payload for parcel in north.got] == [{"step": "raised"}]
    assert [parcel.payload for parcel in south.got] == [{"step": "raised"}]
    assert share.got == []
    assert {row["state"] for row in rows(engine)} == {"done"}


def test_a_row_that_no_channel_takes_is_done_and_says_so(engine: sa.Engine) -> None:
    queue(engine, OUTBOX_FORWARD, "f1", "clip 1", {}, NOW_MS)

    outbox_of(engine, Recorder("north")).run_due(NOW_MS)

    (row,) = rows(engine)
    assert (row["state"], row["last_error"]) == ("done", "no channel is configured for forward")


def test_a_failed_delivery_is_repeated_later_and_later_under_the_same_key(engine: sa.Engine) -> None:
    flaky = Recorder("north", failures=4)
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {}, NOW_MS)
    outbox = outbox_of(engine, flaky)

    due: list[int] = []
    now_ms = NOW_MS
    while outbox.run_due(now_ms):
        due.append(now_ms - NOW_MS)
        now_ms = outbox.next_due_ms() or now_ms

    assert due == [0, 1000, 3000, 7000, 15_000]
    assert len({parcel.message_id for parcel in flaky.got}) == 1
    (row,) = rows(engine, "north")
    assert (row["state"], row["attempts"], row["last_error"]) == ("done", 5, "")
    assert attempts(engine) == [("retry", "not now")] * 4 + [("delivered", "")]


def test_a_failing_delivery_is_never_given_up_and_waits_no_longer_than_the_limit(engine: sa.Engine) -> None:
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {}, NOW_MS)
    outbox = outbox_of(engine, Recorder("north", failures=10_000))
    now_ms = NOW_MS
    for _ in range(100):
        outbox.run_due(now_ms)
        due_ms = outbox.next_due_ms()
        assert due_ms is not None
        assert 0 < due_ms - now_ms <= POLICY.max_ms
        now_ms = due_ms

    (row,) = rows(engine, "north")
    assert (row["state"], row["attempts"]) == ("waiting", 100)


def test_a_refusal_is_repeated_at_the_longest_interval(engine: sa.Engine) -> None:
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {}, NOW_MS)
    refusing = Recorder("north", failures=1, error=DeliveryError("answered 401", refused=True))
    outbox = outbox_of(engine, refusing)

    outbox.run_due(NOW_MS)

    assert outbox.next_due_ms() == NOW_MS + POLICY.max_ms
    assert attempts(engine) == [("refused", "answered 401")]


def test_the_wait_that_a_receiver_asks_for_is_kept_within_the_limit(engine: sa.Engine) -> None:
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {}, NOW_MS)
    queue(engine, OUTBOX_ALARM, "a2", "alarm 2", {}, NOW_MS + 1)
    busy = Recorder("north", failures=1, error=DeliveryError("busy", retry_after_ms=30_000))
    outbox = outbox_of(engine, busy)
    outbox.run_due(NOW_MS)
    assert outbox.next_due_ms() == NOW_MS + 1
    outbox.run_due(NOW_MS + 1)
    assert outbox.next_due_ms() == NOW_MS + 30_000

    endless = Recorder("south", failures=1, error=DeliveryError("busy", retry_after_ms=10**12))
    queue(engine, OUTBOX_ALARM, "a3", "alarm 3", {}, NOW_MS + 100_000)
    later = outbox_of(engine, endless)
    later.run_due(NOW_MS + 100_000)
    assert later.next_due_ms() == NOW_MS + 100_000 + POLICY.max_ms


def test_waits_grow_from_the_first_to_the_longest_and_chance_only_shortens_them() -> None:
    policy = RetryPolicy(first_ms=1000, max_ms=300_000, factor=2.0, jitter=0.25)

    assert [policy.wait_ms(n, 0.0) for n in (1, 2, 3, 9, 10, 1000)] == [1000, 2000, 4000, 256_000, 300_000, 300_000]
    assert policy.wait_ms(1, 0.999) == pytest.approx(750, abs=1)


def test_alarms_go_before_notices_and_notices_before_clips(engine: sa.Engine) -> None:
    everything = Recorder("north", OUTBOX_ALARM, OUTBOX_NOTICE, OUTBOX_FORWARD)
    queue(engine, OUTBOX_FORWARD, "f", "clip", {}, NOW_MS - 3)
    queue(engine, OUTBOX_NOTICE, "n", "notice", {}, NOW_MS - 2)
    queue(engine, OUTBOX_ALARM, "a", "alarm", {}, NOW_MS - 1)

    outbox_of(engine, everything).run_due(NOW_MS)

    assert [parcel.kind for parcel in everything.got] == [OUTBOX_ALARM, OUTBOX_NOTICE, OUTBOX_FORWARD]


def test_a_channel_that_is_not_free_is_given_nothing_more(engine: sa.Engine) -> None:
    north, south = Recorder("north"), Recorder("south")
    outbox = outbox_of(engine, north, south)
    for number in range(3):
        queue(engine, OUTBOX_ALARM, f"a{number}", "alarm", {}, NOW_MS)

    first = outbox.claim(NOW_MS)
    second = outbox.claim(NOW_MS, {"south": 1})

    assert [(parcel.channel, parcel.key) for parcel in first] == [("north", "a0@north"), ("south", "a0@south")]
    assert [(parcel.channel, parcel.key) for parcel in second] == [("south", "a1@south")]


def test_a_channel_has_several_alarms_in_hand_and_nothing_less_urgent_behind_the_first(engine: sa.Engine) -> None:
    north = Recorder("north", OUTBOX_ALARM, OUTBOX_NOTICE)
    outbox = outbox_of(engine, north)
    queue(engine, OUTBOX_NOTICE, "n1", "notice", {}, NOW_MS - 5)
    for number in range(3):
        queue(engine, OUTBOX_ALARM, f"a{number}", "alarm", {}, NOW_MS)

    assert [parcel.key for parcel in outbox.claim(NOW_MS, {"north": 2})] == ["a0@north", "a1@north"]
    assert [parcel.key for parcel in outbox.claim(NOW_MS, {"north": 8})] == ["a2@north"]
    assert [parcel.key for parcel in outbox.claim(NOW_MS, {"north": 8})] == ["n1@north"]


def test_two_processes_do_not_get_the_same_parcel(engine: sa.Engine) -> None:
    queue(engine, OUTBOX_ALARM, "a1", "alarm", {}, NOW_MS)
    one, other = outbox_of(engine, Recorder("north")), outbox_of(engine, Recorder("north"))

    assert len(one.claim(NOW_MS)) == 1
    assert other.claim(NOW_MS) == []


@pytest.mark.parametrize("point", ["outbox.claimed", "outbox.delivered", "outbox.settled"])
def test_a_kill_at_any_step_loses_nothing_and_repeats_carry_the_same_id(engine: sa.Engine, point: str) -> None:
    before, after = Recorder("north"), Recorder("north")
    queue(engine, OUTBOX_ALARM, "a1", "alarm", {"step": "raised"}, NOW_MS)

    with steps.hooked(kill_at(point)), pytest.raises(Killed):
        outbox_of(engine, before).run_due(NOW_MS)
    restarted = outbox_of(engine, after)
    restarted.release()
    restarted.run_due(NOW_MS + 1)

    got = before.got + after.got
    assert len(got) >= 1
    assert len({parcel.message_id for parcel in got}) == 1
    assert [row["state"] for row in rows(engine, "north")] == ["done"]


def test_what_a_dead_process_had_claimed_comes_back_when_its_lease_ends(engine: sa.Engine) -> None:
    queue(engine, OUTBOX_ALARM, "a1", "alarm", {}, NOW_MS)
    outbox_of(engine, Recorder("north")).claim(NOW_MS)
    later = outbox_of(engine, Recorder("north"))

    assert later.run_due(NOW_MS + 60_000) == 0
    assert later.run_due(NOW_MS + 3_600_000) == 1


def test_what_follows_a_delivery_is_told_when_it_was_the_last_one(engine: sa.Engine) -> None:
    followed: list[tuple[str, bool, int]] = []
    slow = Recorder("south", OUTBOX_FORWARD, failures=1)
    outbox = Outbox(
        engine,
        [Recorder("north", OUTBOX_FORWARD), slow],
        POLICY,
        lambda: 0.0,
        {OUTBOX_FORWARD: lambda connection, parcel, last, now_ms: followed.append((parcel.channel, last, now_ms))},
    )
    queue(engine, OUTBOX_FORWARD, "f1", "clip 1", {}, NOW_MS)

    for now_ms in (NOW_MS, NOW_MS + 1000, NOW_MS + 9000):
        outbox.run_due(now_ms)

    assert followed == [("north", False, NOW_MS), ("south", True, NOW_MS + 1000)]


def test_a_row_that_a_channel_has_nothing_to_send_for_is_done_and_told_nobody(engine: sa.Engine) -> None:
    followed: list[str] = []
    silent = Recorder("north")

    def nothing(parcel: Parcel) -> None:
        raise NothingToSend("no code for it")

    silent.on_deliver = nothing
    follow = {OUTBOX_ALARM: lambda connection, parcel, last, now_ms: followed.append(parcel.channel)}
    outbox = Outbox(engine, [silent, Recorder("south")], POLICY, lambda: 0.0, follow)
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {}, NOW_MS)

    outbox.run_due(NOW_MS)
    outbox.run_due(NOW_MS + 60_000)

    assert len(silent.got) == 1
    assert followed == ["south"]
    assert [(row["state"], row["last_error"]) for row in rows(engine, "north")] == [("done", "")]
    assert sorted(attempts(engine)) == [("delivered", ""), ("skipped", "no code for it")]


def test_a_row_of_a_channel_that_is_configured_no_more_waits_and_is_reported(engine: sa.Engine) -> None:
    queue(engine, OUTBOX_ALARM, "a1", "alarm", {}, NOW_MS)
    outbox_of(engine, Recorder("north", failures=1)).run_due(NOW_MS)

    without = outbox_of(engine, Recorder("south"))

    assert without.run_due(NOW_MS + 60_000) == 0
    assert without.stranded() == {"north": 1}
    assert outbox_of(engine, Recorder("north")).run_due(NOW_MS + 60_000) == 1


def test_a_payload_that_is_no_json_object_fails_visibly_and_holds_nobody_up(engine: sa.Engine) -> None:
    north = Recorder("north")
    queue(engine, OUTBOX_ALARM, "a1", "alarm", {}, NOW_MS)
    queue(engine, OUTBOX_ALARM, "a2", "alarm", {}, NOW_MS)
    outbox = outbox_of(engine, north)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE outbox SET payload = '[1' WHERE key = 'a1'")

    outbox.run_due(NOW_MS)
    outbox.run_due(NOW_MS)

    assert [parcel.key for parcel in north.got] == ["a2@north"]
    assert [row["state"] for row in rows(engine, "north")] == ["failed", "done"]


def test_an_error_text_is_capped_before_it_is_stored(engine: sa.Engine) -> None:
    queue(engine, OUTBOX_ALARM, "a1", "alarm", {}, NOW_MS)

    outbox_of(engine, Recorder("north", failures=1, error=DeliveryError("x" * 10_000))).run_due(NOW_MS)

    assert len(rows(engine, "north")[0]["last_error"]) == 500


def test_settling_a_delivered_parcel_twice_changes_nothing(engine: sa.Engine) -> None:
    queue(engine, OUTBOX_ALARM, "a1", "alarm", {}, NOW_MS)
    outbox = outbox_of(engine, Recorder("north"))
    (parcel,) = outbox.claim(NOW_MS)

    outbox.settle(parcel, Outcome(DELIVERED), NOW_MS)
    outbox.settle(parcel, Outcome(RETRY, "late"), NOW_MS + 5)

    (row,) = rows(engine, "north")
    assert (row["state"], row["done_ms"], row["last_error"]) == ("done", NOW_MS, "")


# --- the threads ---


@pytest.fixture
def role(engine: sa.Engine) -> Iterator[Callable[..., DeliverRole]]:
    started: list[DeliverRole] = []

    def start(*channels: Recorder) -> DeliverRole:
        role = DeliverRole(outbox_of(engine, *channels), now_ms=lambda: NOW_MS)
        role.start()
        started.append(role)
        return role

    yield start
    for role in started:
        role.stop()


def test_a_channel_that_hangs_delays_no_other(engine: sa.Engine, role: Callable[..., DeliverRole]) -> None:
    hanging, arrived, let_go = threading.Event(), threading.Event(), threading.Event()
    stuck, good = Recorder("stuck"), Recorder("good")

    def hang(parcel: Parcel) -> None:
        hanging.set()
        let_go.wait(30)

    stuck.on_deliver = hang
    role(stuck, good)
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {}, NOW_MS)
    assert hanging.wait(10)

    good.on_deliver = lambda parcel: arrived.set() if parcel.subject == "alarm 2" else None
    queue(engine, OUTBOX_ALARM, "a2", "alarm 2", {}, NOW_MS)
    assert arrived.wait(10)

    assert [parcel.subject for parcel in stuck.got] == ["alarm 1"]
    let_go.set()


def test_stopping_ends_in_time_although_a_channel_hangs(engine: sa.Engine) -> None:
    hanging, let_go = threading.Event(), threading.Event()
    stuck = Recorder("stuck")

    def hang(parcel: Parcel) -> None:
        hanging.set()
        let_go.wait(30)

    stuck.on_deliver = hang
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {}, NOW_MS)
    role = DeliverRole(outbox_of(engine, stuck), now_ms=lambda: NOW_MS)
    role.start()
    assert hanging.wait(10)

    assert role.stop(timeout_s=0.1) is False
    let_go.set()
    assert role.stop(timeout_s=10) is True


def test_a_fault_in_a_channel_does_not_end_its_thread(engine: sa.Engine, role: Callable[..., DeliverRole]) -> None:
    arrived = threading.Event()
    faulty = Recorder("north")

    def fail_once(parcel: Parcel) -> None:
        if parcel.subject == "alarm 1":
            raise RuntimeError("a bug")
        arrived.set()

    faulty.on_deliver = fail_once
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {}, NOW_MS)
    queue(engine, OUTBOX_ALARM, "a2", "alarm 2", {}, NOW_MS)
    running = role(faulty)

    assert arrived.wait(10)
    assert running.stop()
    assert attempts(engine)[0] == ("retry", "internal error: RuntimeError")


def test_a_fault_in_what_follows_a_delivery_stops_neither_thread(engine: sa.Engine) -> None:
    arrived = threading.Event()
    north = Recorder("north")
    north.on_deliver = lambda parcel: arrived.set() if parcel.subject == "alarm 2" else None

    def faulty(connection: sa.Connection, parcel: Parcel, last: bool, now_ms: int) -> None:
        raise RuntimeError("a bug")

    role = DeliverRole(Outbox(engine, [north], POLICY, lambda: 0.0, {OUTBOX_ALARM: faulty}), now_ms=lambda: NOW_MS)
    role.start()
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {}, NOW_MS)
    queue(engine, OUTBOX_ALARM, "a2", "alarm 2", {}, NOW_MS)

    assert arrived.wait(10)
    assert role.stop(60)
    assert {row["state"] for row in rows(engine, "north")} == {"waiting"}


def test_a_fault_in_what_follows_a_failure_does_not_keep_it_from_being_tried_again(engine: sa.Engine) -> None:
    clock = [NOW_MS]
    north = Recorder("north", failures=1)

    def faulty(connection: sa.Connection, parcel: Parcel, why: str, now_ms: int) -> None:
        raise RuntimeError("a bug")

    role = DeliverRole(Outbox(engine, [north], POLICY, lambda: 0.0, {}, faulty), now_ms=lambda: clock[0])
    role.start()
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {}, NOW_MS)
    wait_until(lambda: [row["attempts"] for row in rows(engine, "north")] == [1], 20.0)
    clock[0] += POLICY.first_ms
    wait_until(lambda: [row["state"] for row in rows(engine, "north")] == ["done"], 20.0)
    assert role.stop(60)


def test_a_restarted_role_takes_up_what_was_under_way(engine: sa.Engine, role: Callable[..., DeliverRole]) -> None:
    arrived = threading.Event()
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {}, NOW_MS)
    outbox_of(engine, Recorder("north")).claim(NOW_MS)
    north = Recorder("north")
    north.on_deliver = lambda parcel: arrived.set()

    running = role(north)

    assert arrived.wait(10)
    assert running.stop()
    assert [row["state"] for row in rows(engine, "north")] == ["done"]


def test_a_clock_that_is_set_back_does_not_keep_anybody_waiting(engine: sa.Engine) -> None:
    """What was made before the step is told at once; what was declined waits no longer than the policy says."""
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {}, NOW_MS)
    declining = Recorder("north", failures=1)
    outbox = outbox_of(engine, declining)
    hour_ago = NOW_MS - 3_600_000
    assert outbox.run_due(hour_ago) == 1
    assert outbox.run_due(hour_ago + POLICY.first_ms - 1) == 0
    assert outbox.run_due(hour_ago + POLICY.first_ms) == 1
    queue(engine, OUTBOX_ALARM, "a2", "alarm 2", {}, NOW_MS)
    declining.failures = 1
    assert outbox.run_due(NOW_MS) == 1
    assert outbox.run_due(hour_ago) == 1
    assert [row["state"] for row in rows(engine) if row["channel"]] == ["done", "done"]


def test_an_outcome_that_the_ledger_does_not_take_is_written_as_soon_as_it_does(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that stayed claimed would come up again at the end of its lease only: a quarter of an hour later."""
    monkeypatch.setattr("lapel_gateway.deliver.LEDGER_WAIT_S", 0.01)
    north = Recorder("north", failures=1)
    outbox = outbox_of(engine, north)
    settle = outbox.settle_all
    refused: list[str] = []

    def full(tried: Sequence[tuple[Parcel, Outcome]], now_ms: int) -> None:
        if len(refused) < 3:
            refused.extend(outcome.outcome for _, outcome in tried)
            raise sa.exc.OperationalError("insert", {}, Exception("database or disk is full"))
        settle(tried, now_ms)

    monkeypatch.setattr(outbox, "settle_all", full)
    queue(engine, OUTBOX_ALARM, "a1", "alarm 1", {}, NOW_MS)
    clock = [NOW_MS]
    role = DeliverRole(outbox, lambda: clock[0])
    role.start()
    try:
        wait_until(lambda: attempts(engine) == [("retry", "not now")], 10.0)
        clock[0] += POLICY.first_ms
        wait_until(lambda: "done" in [row["state"] for row in rows(engine) if row["channel"]], 10.0)
    finally:
        assert role.stop()
    assert refused == ["retry"] * 3
    assert [parcel.attempts for parcel in north.got] == [0, 1]
