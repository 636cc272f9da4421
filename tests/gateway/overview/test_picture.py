"""One picture of the ledger and its surroundings: what responders see of alarms, visits, devices and deliveries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lapel_gateway import people
from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.escalator import Escalator
from lapel_gateway.alarms.policies import Policies, Policy, Reach, Step
from lapel_gateway.channels.contract import DeliveryError
from lapel_gateway.deliver import make_outbox
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.schema import OUTBOX_ALARM
from lapel_gateway.ledger.schema import alarm as alarm_table
from lapel_gateway.outbox import RetryPolicy
from lapel_gateway.overview.reader import BUSY_S, GROWTH_S, QUIET_S, STEPS_S, Picture, Reader
from lapel_gateway.overview.surroundings import Surroundings
from lapel_gateway.progress import FRESH_MS, ProgressBook, Pulse
from tests.gateway.test_outbox import Recorder
from tests.gateway.test_query_plans import scans, watch
from tests.gateway.visits.day import MINUTE_MS, SAM, ZOE, Day
from tests.support.pair import DevicePair

REACH = {"sms:sam": SAM, "webhook:desk": ""}
POLICY = Policy("crew", (Step(("sms:sam",), 60_000),))


class Onlooker:
    """A reader whose monotonic clock the test moves."""

    def __init__(self, pair: DevicePair, **around: Any) -> None:
        self.pair = pair
        self.now_s = 1000.0
        self.reader = Reader(pair.engine, Surroundings(REACH, **around), lambda: self.now_s)

    def look(self) -> Picture:
        """Look again after as long as everything is read in."""
        self.now_s += QUIET_S
        return self.reader.look(self.pair.now_ms)

    def section(self, name: str) -> dict[str, Any]:
        return self.look().sections[name]


@pytest.fixture
def onlooker(pair: DevicePair) -> Any:
    made = Onlooker(pair)
    yield made
    made.reader.close()


def wear(pair: DevicePair) -> None:
    """Zoë wears the device, is of a team, and can be called."""
    people.set_person(pair.engine, ZOE, "North", "+44 7700 900123", pair.now_ms)
    pair.registry.assign(pair.one.device.hex(), ZOE)


def test_an_open_alarm_tells_who_where_since_when_who_was_told_and_what_to_do(
    pair: DevicePair, onlooker: Onlooker
) -> None:
    wear(pair)
    day = Day(pair)
    number = day.start()
    message = pair.one.alarm()
    pair.raise_alarm(message)
    escalator = Escalator(pair.engine, Policies((POLICY,)), Reach(REACH))
    escalator.advance(pair.now_ms)
    clip = pair.one.record(9, alarm=message)
    pair.send(*clip.messages(2)[:2])
    pair.send(day.location(515_007_000, -1_246_000, visit=number))

    (alarm,) = onlooker.section("alarms").values()

    assert (alarm["kind"], alarm["state"], alarm["person"], alarm["team"]) == ("panic", "received", ZOE, "North")
    assert alarm["phone"] == "+44 7700 900123"
    assert alarm["where"]["place"] == "4 High Street"
    assert alarm["where"]["position"]["accuracy_m"] == 8
    assert pair.now_ms - alarm["where"]["position"]["measured"]["ms"] < 60_000
    assert alarm["escalation"]["policy"] == "crew"
    assert alarm["escalation"]["stage"] == "step 1 of 1"
    assert [(told["channel"], told["person"], told["state"]) for told in alarm["told"]] == [("sms:sam", SAM, "waiting")]
    assert alarm["todo"] == (
        f"acknowledge it; listen to the clip and call {ZOE} (+44 7700 900123); "
        "no answer or any doubt: send help to where they are"
    )
    assert alarm["clip"]["alarm"] is True
    assert alarm["clip"]["bytes"] > 0


def test_what_is_to_be_done_changes_with_the_alarm_and_a_resolved_one_is_gone(
    pair: DevicePair, onlooker: Onlooker
) -> None:
    wear(pair)
    message = pair.one.alarm()
    pair.raise_alarm(message)
    ((identifier, first),) = onlooker.section("alarms").items()
    assert first["todo"].startswith("acknowledge it; ")

    pair.raise_alarm(pair.one.cancel(message))
    assert "has cancelled it: hear it from them" in onlooker.section("alarms")[identifier]["todo"]

    alarms.acknowledge(pair.engine, identifier, SAM, pair.now_ms)
    acknowledged = onlooker.section("alarms")[identifier]
    assert acknowledged["todo"] == "see it through, then resolve it with what happened"
    assert acknowledged["acknowledged"]["by"] == SAM

    alarms.resolve(pair.engine, identifier, SAM, "false", "", pair.now_ms)
    assert onlooker.section("alarms") == {}


def test_somebody_under_duress_is_not_to_be_called(pair: DevicePair, onlooker: Onlooker) -> None:
    wear(pair)
    pair.raise_alarm(pair.one.alarm())
    with writing(pair.engine) as connection:
        connection.execute(sa.update(alarm_table).values(kind=2, cancelled_ms=pair.now_ms))

    (alarm,) = onlooker.section("alarms").values()

    assert alarm["kind"] == "duress"
    assert "do not call" in alarm["todo"]
    assert "cancelled" not in alarm["todo"]


def test_alarms_that_nobody_has_answered_come_first(pair: DevicePair, onlooker: Onlooker) -> None:
    messages = [pair.one.alarm() for _ in range(3)]
    for message in messages:
        pair.raise_alarm(message)
    first, second, third = (f"{pair.one.device.hex()}-{row['boot']}-{row['counter']}" for row in pair.rows("alarm"))
    alarms.acknowledge(pair.engine, third, SAM, pair.now_ms)

    assert list(onlooker.section("alarms")) == [second, first, third]


def test_a_visit_tells_its_deadline_and_is_late_by_the_clock_alone(pair: DevicePair, onlooker: Onlooker) -> None:
    wear(pair)
    day = Day(pair)
    number = day.start(expected_min=60, check_in_min=20)
    visit = onlooker.section("visits")[str(number)]
    assert (visit["state"], visit["late"], visit["phone"]) == ("active", False, "+44 7700 900123")
    missed_ms = visit["next_check_in"]["ms"] + day.rules.grace_ms
    assert visit["deadline"]["ms"] == missed_ms

    # Nobody watches over visits: the role that would is not run here.
    pair.now_ms = missed_ms
    visit = onlooker.section("visits")[str(number)]
    assert (visit["state"], visit["late"]) == ("active", True)

    day.poll()
    assert onlooker.section("visits")[str(number)]["state"] == "overdue"
    day.end(number)
    assert onlooker.section("visits") == {}


def test_a_device_falls_silent_by_the_clock_alone_and_is_heard_of_again(pair: DevicePair, onlooker: Onlooker) -> None:
    name = pair.one.device.hex()
    assert onlooker.section("devices")[name]["link"] == "never heard"

    pair.send(pair.one.heartbeat(clips_held=3))
    told = onlooker.section("devices")[name]
    assert (told["link"], told["unsent_clips"], told["battery_percent"]) == ("in contact", 3, 79)
    assert told["firmware"]

    pair.now_ms += 180_000
    assert onlooker.section("devices")[name]["link"] == "silent"
    pair.send(pair.one.heartbeat())
    assert onlooker.section("devices")[name]["link"] == "in contact"


def test_a_retired_device_is_not_shown_and_a_lost_one_is(pair: DevicePair, onlooker: Onlooker) -> None:
    name = pair.one.device.hex()
    pair.registry.mark_lost(name, pair.now_ms)
    assert onlooker.section("devices")[name]["state"] == "lost"
    pair.registry.retire(name, pair.now_ms)
    assert onlooker.section("devices") == {}


def test_a_clip_is_shown_while_it_comes_in_and_the_lane_tells_how_fast(pair: DevicePair, onlooker: Onlooker) -> None:
    onlooker.look()
    clip = pair.one.record(9)
    messages = clip.messages(2)
    pair.send(*messages[:3])
    picture = onlooker.look()
    ((identifier, words),) = picture.sections["clips"].items()
    assert identifier == f"{pair.one.device.hex()}-{clip.header.clip}"
    assert (words["state"], words["segments"]) == ("open", 6)
    assert picture.sections["lanes"]["clip"]["bytes_last_minute"] == words["bytes"]

    pair.send(*messages[3:])
    picture = onlooker.look()
    assert picture.sections["clips"] == {}
    assert picture.sections["lanes"]["clip"]["bytes_last_minute"] == pair.rows("clip")[0]["sealed_bytes"]

    pair.now_ms += 60_000
    assert onlooker.section("lanes")["clip"]["bytes_last_minute"] == 0


def test_a_channel_that_fails_tells_what_waits_for_it_and_since_when(pair: DevicePair, onlooker: Onlooker) -> None:
    pair.raise_alarm(pair.one.alarm())
    escalator = Escalator(pair.engine, Policies(), Reach(REACH))
    escalator.advance(pair.now_ms)
    made_ms = pair.now_ms

    desk = onlooker.section("channels")["webhook:desk"]

    assert (desk["waiting"], desk["oldest_waiting"]["ms"], desk["state"]) == (1, made_ms, "unused")
    assert onlooker.section("deliveries")[OUTBOX_ALARM] == {"waiting": 2, "oldest": desk["oldest_waiting"]}

    def refuse(parcel: object, now_ms: int) -> None:
        raise DeliveryError("connection refused")

    broken = Recorder("webhook:desk")
    broken.deliver = refuse  # type: ignore[method-assign]
    make_outbox(pair.engine, [broken], RetryPolicy(), escalator, lambda: 0.0).run_due(pair.now_ms)
    (alarm,) = [alarm for alarm in onlooker.section("alarms").values() if alarm["kind"] == "panic"]
    (told,) = [told for told in alarm["told"] if told["channel"] == "webhook:desk"]
    assert (told["state"], told["attempts"], told["error"]) == ("waiting", 1, "connection refused")


def test_a_role_is_alive_as_long_as_it_says_so_of_itself(pair: DevicePair) -> None:
    class Role:
        def pulse(self) -> Pulse:
            return Pulse(pair.now_ms)

    onlooker = Onlooker(pair, roles=("alarms", "deliver"))
    book = ProgressBook(pair.engine, lambda: pair.now_ms)
    book.add("alarms", Role(), ())
    book.write()
    roles = onlooker.section("roles")
    assert {name: role["alive"] for name, role in roles.items()} == {"alarms": True, "deliver": False}

    pair.now_ms += FRESH_MS + 1
    silent = onlooker.section("roles")["alarms"]
    assert (silent["alive"], silent["last_round"]["ms"]) == (False, pair.now_ms - FRESH_MS - 1)
    book.write()
    assert onlooker.section("roles")["alarms"]["alive"] is True
    onlooker.reader.close()


def test_a_role_that_lives_and_does_nothing_is_told_by_the_work_that_it_leaves(pair: DevicePair) -> None:
    onlooker = Onlooker(pair, roles=("deliver",))
    assert onlooker.section("roles")["deliver"]["late_since"] is None
    pair.raise_alarm(pair.one.alarm())
    raised_ms = pair.now_ms

    pair.now_ms += 11_000

    role = onlooker.section("roles")["deliver"]
    assert (role["late_with"], role["late_since"]["ms"]) == ("telling of alarms", raised_ms)
    onlooker.reader.close()


def test_the_room_on_a_disk_is_told_with_the_days_that_it_lasts(pair: DevicePair, tmp_path: Path) -> None:
    folders = {"vault": pair.folder, "views": tmp_path / "none"}
    onlooker = Onlooker(pair, folders=folders, low_bytes=1 << 20)
    vault = onlooker.section("storage")["vault"]
    assert list(onlooker.section("storage")) == ["vault"]
    assert (vault["low"], vault["days"]) == (False, None)
    assert 0 < vault["free_bytes"] <= vault["total_bytes"]

    pair.send(*pair.one.record(9).messages())
    onlooker.now_s += GROWTH_S
    daily = sum(row["sealed_bytes"] for row in pair.rows("clip"))
    days = onlooker.section("storage")["vault"]["days"]
    assert days == pytest.approx(vault["free_bytes"] / daily, rel=0.2)
    onlooker.reader.close()

    full = Onlooker(pair, folders=folders, low_bytes=1 << 60)
    assert full.section("storage")["vault"]["low"] is True
    full.reader.close()


def test_what_has_not_changed_is_not_told_again(pair: DevicePair, onlooker: Onlooker) -> None:
    onlooker.look()
    before = onlooker.look()
    assert onlooker.look().changes_since(before) == {}

    pair.raise_alarm(pair.one.alarm())
    after = onlooker.look()
    changed = after.changes_since(before)
    (identifier,) = changed["alarms"]
    assert set(changed) <= {"alarms", "lanes"}
    assert before.changes_since(after)["alarms"] == {identifier: None}


def test_an_alarm_and_a_visit_are_told_at_once_and_a_clip_when_everything_is_read_again(
    pair: DevicePair, onlooker: Onlooker
) -> None:
    onlooker.look()
    Day(pair).start()
    pair.raise_alarm(pair.one.alarm())
    pair.send(*pair.one.record(9).messages(2)[:3])
    at_once = onlooker.reader.look(pair.now_ms).sections
    assert (len(at_once["alarms"]), len(at_once["visits"]), at_once["clips"]) == (1, 1, {})
    assert not onlooker.reader.is_due()
    onlooker.now_s += BUSY_S
    assert onlooker.reader.is_due()
    assert len(onlooker.reader.look(pair.now_ms).sections["clips"]) == 1


def test_a_step_that_follows_at_once_waits_for_others_and_for_nobody_who_asks(
    pair: DevicePair, onlooker: Onlooker
) -> None:
    onlooker.look()
    pair.raise_alarm(pair.one.alarm())
    (alarm,) = onlooker.reader.look(pair.now_ms).sections["alarms"].values()
    pair.escalate()
    assert not onlooker.reader.is_due()
    assert onlooker.reader.look(pair.now_ms).sections["alarms"][alarm["id"]] == alarm

    onlooker.now_s += STEPS_S
    assert onlooker.reader.is_due()
    (told,) = onlooker.reader.look(pair.now_ms).sections["alarms"].values()
    assert told != alarm
    alarms.acknowledge(pair.engine, alarm["id"], SAM, pair.now_ms)
    (asked,) = onlooker.reader.look(pair.now_ms, at_once=True).sections["alarms"].values()
    assert asked["acknowledged"]["by"] == SAM


def test_nothing_is_due_while_nothing_is_written_and_no_time_passes(pair: DevicePair, onlooker: Onlooker) -> None:
    onlooker.look()
    assert not onlooker.reader.is_due()
    pair.raise_alarm(pair.one.alarm())
    assert onlooker.reader.is_due()


def test_no_look_reads_a_table_that_grows(pair: DevicePair) -> None:
    seen = watch(pair.engine)
    wear(pair)
    number = Day(pair).start()
    pair.raise_alarm(pair.one.alarm())
    pair.escalate()
    pair.send(Day(pair).location(1, 2, visit=number))
    pair.engine.dispose()
    seen.clear()
    onlooker = Onlooker(pair, roles=("deliver", "alarms"), folders={"vault": pair.folder})
    onlooker.look()
    pair.now_ms += MINUTE_MS
    onlooker.look()
    onlooker.reader.close()

    # Every device is shown; they are as many as there are.
    whole = [step for step in scans(pair, seen) if not re.match(r"SCAN device(?: USING INDEX \w+)?:", step)]
    assert len(seen) > 15
    assert whole == []
