"""Policies: which one an alarm gets, and in which order its steps come."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel_gateway.alarms.policies import BUILT_IN, DAYS, EVERYONE, Hours, Plan, Policies, Policy, Reach, Step

LONDON = ZoneInfo("Europe/London")
FIRST, SECOND = Step(("webhook:a",), 60_000), Step(("person:Ann Archer", "sia:north"), 120_000)
DAYTIME = Policy("day", (FIRST,), hours=Hours(frozenset(range(5)), 8 * 60, 18 * 60))
NIGHT = Policy("night", (SECOND,), hours=Hours(frozenset({4}), 18 * 60, 8 * 60))


def at(text: str, zone: ZoneInfo = LONDON) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def chosen(policies: Policies, when: str, team: str = "", kind: str = "panic") -> str:
    return policies.plan_for(team, kind, at(when)).policy


def test_steps_come_in_order_are_repeated_and_end_in_everyone_for_ever() -> None:
    plan = Plan("p", (FIRST, SECOND), 1, 300_000)
    stages = [plan.stage(number) for number in range(7)]
    assert [stage.targets for stage in stages] == [FIRST.targets, SECOND.targets] * 2 + [(EVERYONE,)] * 3
    assert [stage.delay_ms for stage in stages] == [60_000, 120_000] * 2 + [300_000] * 3
    assert [stage.catch_all for stage in stages] == [False] * 4 + [True] * 3
    assert [stages[0].words, stages[3].words, stages[5].words] == [
        "step 1 of 2, round 1 of 2",
        "step 2 of 2, round 2 of 2",
        "everyone, time 2",
    ]


@given(
    steps=st.lists(st.tuples(st.lists(st.text(max_size=9), min_size=1, max_size=3), st.integers(5, 9)), max_size=4),
    repeat=st.integers(0, 20),
)
def test_a_plan_is_kept_in_the_ledger_as_it_was(steps: list[tuple[list[str], int]], repeat: int) -> None:
    plan = Plan("p", tuple(Step(tuple(targets), delay) for targets, delay in steps), repeat, 1_000)
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("text", ["{}", "[]", '{"policy": 1, "steps": [[1]]}', "nonsense"])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"plan|JSON|Expecting|unpack|value"):
        Plan.from_json(text)


def test_the_first_policy_that_fits_is_the_alarms_and_without_one_everyone_is_told() -> None:
    housing = Policy("housing", (FIRST,), teams=frozenset({"housing"}))
    falls = Policy("falls", (SECOND,), kinds=frozenset({"man_down"}))
    policies = Policies([falls, housing], 300_000, LONDON)
    assert chosen(policies, "2026-11-23T10:00", "housing") == "housing"
    assert chosen(policies, "2026-11-23T10:00", "housing", "man_down") == "falls"
    assert chosen(policies, "2026-11-23T10:00", "repairs") == BUILT_IN
    assert policies.plan_for("repairs", "panic", 0).stage(0).targets == (EVERYONE,)


@pytest.mark.parametrize(
    ("when", "name"),
    [
        ("2026-11-23T07:59", BUILT_IN),  # a Monday
        ("2026-11-23T08:00", "day"),
        ("2026-11-23T17:59", "day"),
        ("2026-11-23T18:00", BUILT_IN),
        ("2026-11-27T18:00", "night"),  # Friday
        ("2026-11-28T07:59", "night"),  # what began on Friday
        ("2026-11-28T08:00", BUILT_IN),
        ("2026-11-28T18:00", BUILT_IN),
        ("2026-11-27T07:59", BUILT_IN),  # Thursday's night is not Friday's
    ],
)
def test_hours_belong_to_the_day_on_which_they_begin(when: str, name: str) -> None:
    assert chosen(Policies([DAYTIME, NIGHT], 300_000, LONDON), when) == name


def test_hours_are_those_of_the_clock_on_the_wall_across_a_change_to_summer_time() -> None:
    policies = Policies([Policy("early", (FIRST,), hours=Hours(frozenset(range(7)), 8 * 60, 9 * 60))], 1, LONDON)
    winter, summer = datetime(2026, 3, 28, 8, 30, tzinfo=UTC), datetime(2026, 3, 29, 7, 30, tzinfo=UTC)
    assert [policies.plan_for("", "panic", int(t.timestamp() * 1000)).policy for t in (winter, summer)] == ["early"] * 2


@given(st.sets(st.integers(0, 6), min_size=1), st.integers(0, 1439), st.integers(1, 1440))
def test_a_part_of_a_day_and_the_rest_of_it_leave_no_gap_and_do_not_overlap(
    days: set[int], begin: int, length: int
) -> None:
    end = (begin + length) % 1440
    if begin == end:
        return
    whole = frozenset(range(len(DAYS)))
    one, other = Hours(whole, begin, end or 1440), Hours(whole, end, begin or 1440)
    for minute in {0, 1, begin, end, 719, 1439}:
        local = datetime(2026, 11, 22, minute // 60, minute % 60, tzinfo=LONDON)
        assert one.has(local) != other.has(local)


def test_targets_are_channels_people_and_everyone_each_channel_once() -> None:
    reach = Reach({"webhook:a": "", "smtp:duty:ann@x": "Ann Archer", "apprise:ann": "Ann Archer", "sia:north": ""})
    assert reach.channels(["person:Ann Archer", "apprise:ann"]) == ["smtp:duty:ann@x", "apprise:ann"]
    assert reach.channels([EVERYONE, "webhook:a"]) == list(reach.people)
    assert reach.channels(["webhook:gone", "person:"]) == []


def test_a_channel_that_an_alarm_is_about_is_asked_only_where_there_is_no_other() -> None:
    reach = Reach({"webhook:a": "", "sia:north": ""})
    assert reach.channels([EVERYONE], "webhook:a") == ["sia:north"]
    assert reach.channels(["webhook:a"], "webhook:a") == ["webhook:a"]
