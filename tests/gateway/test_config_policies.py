"""The settings of escalation: read as they are written, refused with words that help."""

from pathlib import Path

import pytest

from lapel_gateway.alarms.policies import Hours, Policy, Step
from lapel_gateway.settings.config import ConfigError, load_config
from lapel_gateway.settings.policies import find_zone, policies_of


def loaded(folder: Path, text: str) -> Path:
    path = folder / "lapel.toml"
    path.write_text(text)
    return path


GOOD = """\
[[policy]]
name = "night"
teams = ["housing", "repairs"]
kinds = ["panic", "visit_overdue"]
days = ["fri", "sat"]
hours = "18:00-08:00"
steps = [
  { targets = ["webhook:a", "person:Ann Archer"], delay_s = 45 },
  { targets = ["everyone"] },
]
repeat = 2
"""


def test_a_policy_is_what_its_table_says(tmp_path: Path) -> None:
    config = load_config(loaded(tmp_path, GOOD))
    policies = policies_of(config.policy, 120, find_zone("Europe/London"))
    assert policies.everyone_ms == 120_000
    assert list(policies.policies) == [
        Policy(
            "night",
            (Step(("webhook:a", "person:Ann Archer"), 45_000), Step(("everyone",), 60_000)),
            2,
            frozenset({"housing", "repairs"}),
            frozenset({"panic", "visit_overdue"}),
            Hours(frozenset({4, 5}), 18 * 60, 8 * 60),
        )
    ]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('"panic"', '"panick"', "did you mean panic?"),
        ('"18:00-08:00"', '"18:00"', 'must be two times of day, as "08:00-18:00"'),
        ('"18:00-08:00"', '"24:00-08:00"', "two times of day"),
        ('"18:00-08:00"', '"08:00-08:00"', "a part of a day that is not empty"),
        ('"18:00-08:00"', '"08:00-24:30"', "a part of a day that is not empty"),
        ('"webhook:a", "person:Ann Archer"', '"webhook:a", "webhook:a"', "step 1 names a target more than once"),
        ('"webhook:a", "person:Ann Archer"', "", "at least 1 item"),
        ("delay_s = 45", "delay_s = 4", "greater than or equal to 5"),
        ("repeat = 2", "repeat = 21", "less than or equal to 20"),
        ('"fri"', '"friday"', "'mon', 'tue'"),
    ],
)
def test_what_is_wrong_is_named_with_what_it_must_be(tmp_path: Path, before: str, after: str, words: str) -> None:
    assert before in GOOD
    with pytest.raises(ConfigError) as refusal:
        load_config(loaded(tmp_path, GOOD.replace(before, after)))
    assert words in str(refusal.value)
    assert "[policy]" in str(refusal.value)


def test_a_time_zone_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Europe/Londres is not a time zone; Europe/London is one"):
        load_config(loaded(tmp_path, "[alarms]\ntime_zone = 'Europe/Londres'\n"))
    for name in ("../etc/passwd", "/etc/passwd"):
        with pytest.raises(ValueError, match="is not a time zone"):
            find_zone(name)
