"""The response report: its figures against a naive second computation, and what is in none of them."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapel_gateway.alarms.kinds import DELIVERY_FAILED, TECHNICAL_KINDS, UNKNOWN, VISIT_OVERDUE
from lapel_gateway.ledger import reading
from lapel_gateway.people import set_person
from lapel_gateway.reports.period import Period, PeriodError, local_month, parse_period
from lapel_gateway.reports.response import (
    MET,
    MISSED,
    TARGETS,
    TOO_FEW,
    AlarmTimes,
    Span,
    Target,
    UnknownTeam,
    figures,
    make_report,
    percentile,
    read_alarms,
    read_report,
    span,
)
from lapel_gateway.reports.response_words import unknown_team_words
from lapel_protocol.clip import TRUST_GATEWAY, TRUST_NONE, TRUST_NTP, TRUST_RTC
from lapel_protocol.reports import ALARM_DURESS, ALARM_PANIC
from tests.gateway.test_query_plans import scans, watch
from tests.support.pair import START_MS, DevicePair

LONDON = ZoneInfo("Europe/London")
DAY_MS = 86_400_000
ALWAYS = Period(0, 1 << 60)
ALARM = AlarmTimes(ALARM_PANIC, False, "housing", True, START_MS, TRUST_GATEWAY, START_MS + 300)

times = st.integers(START_MS - 100_000, START_MS + 100_000)
perhaps = st.none() | times
alarms = st.builds(
    AlarmTimes,
    kind=st.sampled_from([UNKNOWN, ALARM_PANIC, ALARM_DURESS, VISIT_OVERDUE, DELIVERY_FAILED]),
    test=st.booleans(),
    team=st.sampled_from(["", "housing", "repairs"]),
    by_device=st.booleans(),
    raised_wall_ms=times,
    trust=st.integers(0, 3),
    received_ms=times,
    notified_ms=perhaps,
    first_channel=st.sampled_from(["one", "two"]),
    cancelled_ms=perhaps,
    acknowledged_ms=perhaps,
    resolution=st.sampled_from([None, "true", "false", "test"]),
    sent_after_ms=st.none() | st.integers(0, 50_000),
)


def naive_percentile(values: list[int], percent: int) -> int | None:
    """The smallest value that at least so many per cent of the values do not exceed."""
    enough = [v for v in values if Fraction(sum(w <= v for w in values), len(values)) >= Fraction(percent, 100)]
    return min(enough, default=None)


# -- percentiles and shares -------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-50, 50)), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[int], percent: int) -> None:
    assert percentile(sorted(values), percent) == naive_percentile(values, percent)


@pytest.mark.parametrize(("count", "expected"), [(1, (1, 1, 1)), (10, (5, 10, 10)), (100, (50, 95, 99))])
def test_percentiles_of_the_first_numbers(count: int, expected: tuple[int, int, int]) -> None:
    found = span(range(1, count + 1))
    assert (found.p50, found.p95, found.p99) == expected


@given(st.lists(st.integers(-1000, 1000)))
def test_a_span_is_of_all_its_values_whatever_their_order(values: list[int]) -> None:
    p50, p90, p95, p99 = (naive_percentile(values, percent) for percent in (50, 90, 95, 99))
    below = len([value for value in values if value < 0])
    expected = Span(len(values), p50, p90, p95, p99, max(values, default=None), below)
    assert span(values) == span(values[::-1]) == expected


@given(st.lists(alarms), st.integers(0, 100_000), st.fractions(0, 1))
def test_a_share_is_of_every_alarm_and_only_an_answer_in_time_is_in_it(
    found: list[AlarmTimes], within_ms: int, aim: Fraction
) -> None:
    [share] = figures(found, [Target(within_ms, float(aim))]).shares
    in_time = 0
    for one in found:
        if one.acknowledged_ms is not None and one.acknowledged_ms in range(
            one.received_ms, one.received_ms + within_ms + 1
        ):
            in_time += 1
    assert (share.within, share.alarms) == (in_time, len(found))
    if not found:
        assert (share.share, share.verdict) == (None, TOO_FEW)
    elif abs(Fraction(in_time, len(found)) - aim) > Fraction(1, 10**12):
        assert share.verdict == (MET if Fraction(in_time, len(found)) > aim else MISSED)


@pytest.mark.parametrize(
    ("within", "alarms", "target", "verdict"),
    [(8, 10, 0, MET), (7, 10, 0, MISSED), (197, 200, 1, MET), (196, 200, 1, MISSED), (0, 1, 1, MISSED)],
)
def test_a_share_that_is_just_the_target_meets_it(within: int, alarms: int, target: int, verdict: str) -> None:
    answered = replace(ALARM, acknowledged_ms=ALARM.received_ms + TARGETS[target].within_ms)
    late = replace(ALARM, acknowledged_ms=ALARM.received_ms + TARGETS[target].within_ms + 1)
    found = figures([answered] * within + [late] * (alarms - within))
    assert found.shares[target].verdict == verdict


@given(st.lists(alarms))
def test_every_alarm_is_in_one_line_of_each_division_and_in_the_total(found: list[AlarmTimes]) -> None:
    report = make_report(found, ALWAYS, zone=UTC)
    total = report.total
    assert total.alarms + report.drills + report.technical == len(found)
    assert total.alarms == total.acknowledged + total.unanswered + total.resolved_only
    assert total.alarms == total.press_to_received.count + total.no_press + total.no_trusted_press
    assert total.alarms == total.received_to_notified.count + total.notified_nobody
    assert total.received_to_notified.count == sum(total.first_notified_by.values())
    ends = total.endings
    assert total.alarms == ends.true + ends.false + ends.test + ends.unresolved
    for groups in (report.by_team, report.by_kind, report.by_month):
        assert sum(group.alarms for group in groups.values()) == total.alarms
        assert sum(group.shares[0].within for group in groups.values()) == total.shares[0].within
        assert sum(group.cancelled.alarms for group in groups.values()) == total.cancelled.alarms


@given(st.lists(alarms), st.sampled_from(["", "housing", "nobody"]))
def test_a_teams_report_has_the_figures_of_its_line_in_everybodys(found: list[AlarmTimes], team: str) -> None:
    everybody, its = make_report(found, ALWAYS, zone=UTC), make_report(found, ALWAYS, team, UTC)
    assert its.total == everybody.by_team.get(team, figures([]))
    assert set(its.by_team) <= {team}


# -- what counts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trust", [TRUST_NONE, TRUST_RTC, TRUST_NTP, TRUST_GATEWAY])
def test_a_press_counts_only_by_a_clock_that_was_set(trust: int) -> None:
    found = figures([replace(ALARM, trust=trust)])
    believed = trust in (TRUST_NTP, TRUST_GATEWAY)
    assert (found.press_to_received.count, found.no_trusted_press) == (int(believed), int(not believed))


@pytest.mark.parametrize("change", [{"by_device": False}, {"kind": UNKNOWN}])
def test_what_no_devices_record_raised_was_not_pressed(change: dict[str, int]) -> None:
    found = figures([replace(ALARM, **change)])  # type: ignore[arg-type]
    assert (found.press_to_received.count, found.no_press, found.no_trusted_press) == (0, 1, 0)


@pytest.mark.parametrize("trust", [TRUST_NONE, TRUST_RTC, TRUST_NTP, TRUST_GATEWAY])
def test_what_a_device_says_of_its_sending_needs_no_clock_that_was_set_and_is_never_zero_where_it_said_nothing(
    trust: int,
) -> None:
    told, silent = replace(ALARM, trust=trust, sent_after_ms=120), replace(ALARM, trust=trust)
    found = figures([told, silent])
    assert (found.press_to_sent.count, found.press_to_sent.p50) == (1, 120)
    believed = trust in (TRUST_NTP, TRUST_GATEWAY)
    assert found.sent_to_received.count == int(believed)
    assert found.sent_to_received.max == (180 if believed else None)
    assert figures([silent]).press_to_sent.p50 is None


def test_a_device_clock_that_is_ahead_is_counted_and_hides_no_alarm() -> None:
    found = figures([ALARM, replace(ALARM, raised_wall_ms=ALARM.received_ms + 40)]).press_to_received
    assert (found.count, found.clock_ahead, found.p50, found.max) == (2, 1, -40, 300)


def test_an_answer_before_its_alarm_came_is_not_one_in_time() -> None:
    found = figures([replace(ALARM, acknowledged_ms=ALARM.received_ms - 1)])
    assert [share.within for share in found.shares] == [0, 0]
    assert found.received_to_acknowledged.clock_ahead == 1


def test_alarms_that_nobody_answered_and_those_only_resolved_are_missed() -> None:
    found = figures([ALARM, replace(ALARM, resolution="false")])
    assert (found.unanswered, found.resolved_only, found.shares[0].verdict) == (1, 1, MISSED)


def test_technical_alarms_and_drills_are_apart() -> None:
    drill = replace(ALARM, test=True)
    technical = [replace(ALARM, kind=kind, test=kind == DELIVERY_FAILED) for kind in TECHNICAL_KINDS]
    report = make_report([ALARM, drill, *technical], ALWAYS, zone=UTC)
    assert (report.total.alarms, report.drills, report.technical) == (1, 1, len(TECHNICAL_KINDS))
    assert list(report.by_kind) == ["panic"]


def test_false_alarms_are_a_share_of_those_that_somebody_judged() -> None:
    found = figures([replace(ALARM, resolution=ending) for ending in ("true", "false", "false", "test", None)])
    assert found.endings.false_rate == 2 / 3
    assert figures([ALARM]).endings.false_rate is None


def test_what_became_of_alarms_that_their_wearer_cancelled_is_told() -> None:
    cancelled = replace(ALARM, cancelled_ms=ALARM.received_ms + 5_000)
    answered = replace(cancelled, acknowledged_ms=ALARM.received_ms + 9_000, resolution="true")
    found = figures([ALARM, cancelled, answered]).cancelled
    assert (found.alarms, found.acknowledged, found.endings.true, found.endings.unresolved) == (2, 1, 1, 1)


# -- periods ----------------------------------------------------------------------------------------------------------


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


NOW_MS = ms("2026-06-15T12:00Z")


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (None, None, (NOW_MS - 30 * DAY_MS, NOW_MS)),
        ("2026-06-01", None, (ms("2026-06-01T00:00+01:00"), NOW_MS)),
        # The last day is in it, and the clocks change on the 29th.
        ("2026-03-29", "2026-03-29", (ms("2026-03-29T00:00Z"), ms("2026-03-30T00:00+01:00"))),
        ("2026-01-01T08:30Z", "2026-01-01T10:00+01:00", (ms("2026-01-01T08:30Z"), ms("2026-01-01T09:00Z"))),
        (None, "2026-05-31", (ms("2026-05-02T00:00+01:00"), ms("2026-06-01T00:00+01:00"))),
        ("2026-05-31T12:00:00.250Z", None, (ms("2026-05-31T12:00Z") + 250, NOW_MS)),
    ],
)
def test_a_period_is_days_of_a_place_or_exact_times(
    begin: str | None, end: str | None, expected: tuple[int, int]
) -> None:
    assert parse_period(begin, end, LONDON, NOW_MS) == Period(*expected)


@pytest.mark.parametrize(
    ("begin", "end", "words"),
    [
        ("2026-06-02", "2026-06-01", r"from \(2026-06-02\) is not before to \(2026-06-01\)"),
        ("2026-06-02T00:00Z", "2026-06-02T00:00Z", "not before"),
        ("2026-06-16", None, r"from \(2026-06-16\) is not before now"),
        ("yesterday", None, "from: yesterday is neither a date"),
        (None, "2026-02-30", "to: 2026-02-30 is neither"),
        (None, "2026-02-03T10:00", "no time zone"),
        (None, "9999-12-31", "to: 9999-12-31"),
        ("", None, "from: "),
        ("\x1b[31m\x00", None, r"from: \\x1b"),
    ],
)
def test_a_period_that_is_none_is_refused_with_what_to_write(begin: str | None, end: str | None, words: str) -> None:
    with pytest.raises(PeriodError, match=words):
        parse_period(begin, end, LONDON, NOW_MS)


times_as_written = st.one_of(
    st.text(max_size=40),
    st.dates().map(str),
    st.datetimes(timezones=st.none() | st.timezones()).map(lambda moment: moment.isoformat()),
)


@given(st.none() | times_as_written, st.none() | times_as_written, st.none() | st.timezones())
def test_whatever_is_written_is_a_period_or_refused(begin: str | None, end: str | None, zone: ZoneInfo | None) -> None:
    with contextlib.suppress(PeriodError):
        period = parse_period(begin, end, zone, NOW_MS)
        assert period.from_ms < period.to_ms < 1 << 63


def test_a_month_is_that_of_the_place() -> None:
    assert local_month(ms("2026-05-31T23:30Z"), LONDON) == "2026-06"
    assert local_month(ms("2026-05-31T23:30Z"), UTC) == "2026-05"


@pytest.mark.parametrize(("received_ms", "alarms"), [(99, 0), (100, 1), (199, 1), (200, 0)])
def test_the_first_moment_is_in_a_period_and_the_last_is_not(received_ms: int, alarms: int) -> None:
    found = [replace(ALARM, received_ms=received_ms)]
    assert make_report(found, Period(100, 200), zone=UTC).total.alarms == alarms


# -- the ledger -------------------------------------------------------------------------------------------------------


def test_a_team_that_is_not_there_is_refused_with_the_closest_name(pair: DevicePair) -> None:
    set_person(pair.engine, "Zoë Quinn", "housing", "", pair.now_ms)
    set_person(pair.engine, "Ann", "repairs", "", pair.now_ms)
    pair.raise_alarm(pair.one.alarm())
    set_person(pair.engine, "Zoë Quinn", "night crew", "", pair.now_ms)
    with reading(pair.engine) as connection:
        for team, alarms in (("housing", 1), ("night crew", 0), ("repairs", 0), ("", 0), (None, 1)):
            assert read_report(connection, ALWAYS, team, UTC).total.alarms == alarms
        with pytest.raises(UnknownTeam) as refused:
            read_report(connection, ALWAYS, "hosing", UTC)
    assert unknown_team_words(refused.value) == "there is no team hosing: did you mean housing?"
    assert unknown_team_words(UnknownTeam("x", refused.value.known)).endswith("there are housing, night crew, repairs")
    assert unknown_team_words(UnknownTeam("x", [])).endswith("nobody is in a team")


def test_reading_a_period_reads_that_period_only(pair: DevicePair) -> None:
    pair.raise_alarm(pair.one.alarm())
    seen = watch(pair.engine)
    with reading(pair.engine) as connection:
        assert len(read_alarms(connection, ALWAYS)) == 1
    assert any("alarm_log" in statement for statement in seen)
    assert scans(pair, seen) == []
