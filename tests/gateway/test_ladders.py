"""Policies as people and the API are told of them."""

from __future__ import annotations

from lapel_gateway.accounts.permissions import ROLE_NAMES, Permission
from lapel_gateway.accounts.role_words import PERMISSION_WORDS, ROLE_WORDS
from lapel_gateway.alarms.ladders import hours_words, ladder_words, ladders_of
from lapel_gateway.alarms.policies import Hours, Policies, Policy, Reach, Step

REACH = Reach({"sms:ann": "Ann Archer", "webhook:room": ""})
STEPS = (Step(("person:Ann Archer",), 60_000), Step(("webhook:room", "pager:gone"), 120_000))


def test_a_ladder_says_when_each_step_is_taken_and_what_it_reaches() -> None:
    policies = Policies([Policy("north", STEPS, 1, frozenset({"North"}))], everyone_ms=300_000)

    north, catch_all = ladders_of(policies, REACH)

    told = ladder_words(north)
    assert told["steps"] == [
        {"after_s": 0, "targets": ["person:Ann Archer"], "channels": ["sms:ann"]},
        {"after_s": 60, "targets": ["webhook:room", "pager:gone"], "channels": ["webhook:room"]},
    ]
    assert told["everyone"] == {"after_s": 360, "targets": ["everyone"], "channels": ["sms:ann", "webhook:room"]}
    assert (told["repeat"], told["everyone_every_s"]) == (1, 300)
    assert (north.concerns("North"), north.concerns("South"), catch_all.concerns("South")) == (True, False, True)
    assert (catch_all.rungs, catch_all.everyone.after_ms) == ((), 0)


def test_a_ladders_times_are_those_at_which_the_plan_takes_its_steps() -> None:
    policies = Policies([Policy("north", STEPS, 2)], everyone_ms=300_000)
    (north, _) = ladders_of(policies, REACH)
    plan = policies.plan_for("", "panic", 0)

    at_ms, taken = 0, 0
    while not plan.stage(taken).catch_all:
        at_ms, taken = at_ms + plan.stage(taken).delay_ms, taken + 1

    assert north.everyone.after_ms == at_ms
    assert [rung.targets for rung in north.rungs] == [plan.stage(number).targets for number in range(2)]


def test_hours_are_said_as_people_say_them() -> None:
    assert hours_words(None) == ""
    assert hours_words(Hours(frozenset(range(5)), 480, 1080)) == "Monday to Friday, 08:00 to 18:00"
    assert hours_words(Hours(frozenset({5, 6}))) == "Saturday, Sunday"
    assert hours_words(Hours(frozenset(range(7)), 18 * 60, 8 * 60)) == "18:00 to 08:00"


def test_every_role_and_every_permission_has_words() -> None:
    assert set(ROLE_WORDS) == set(ROLE_NAMES)
    assert set(PERMISSION_WORDS) == set(Permission)
