"""Charts: their scales and labels, and what is drawn of nothing, of one value, of few and of huge ones."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest

from lapel_gateway.web import charts
from lapel_gateway.web.charts import Chart, Level, Plan, Series

MONTHS = ["Jan", "Feb", "Mar"]


def drawn(chart: Chart) -> ElementTree.Element:
    """The chart as what it is: well-formed."""
    return ElementTree.fromstring(str(chart.svg))


def texts(chart: Chart, kind: str) -> list[str]:
    return [one.text or "" for one in drawn(chart).iter("text") if one.get("class") == kind]


def columns_of(chart: Chart) -> list[float]:
    """The heights of the solid columns."""
    return [
        float(one.get("height") or 0)
        for one in drawn(chart).iter("rect")
        if (one.get("class") or "").startswith("s") and one.get("class") != "swatch"
    ]


@pytest.mark.parametrize(
    ("most", "last"), [(1, 1), (3, 3), (4, 4), (7, 8), (10, 10), (99, 100), (101, 125), (1e6, 1e6), (7.3e9, 8e9)]
)
def test_an_axis_begins_at_zero_and_ends_with_the_first_round_number_that_holds_everything(
    most: float, last: float
) -> None:
    found = charts.ticks(most)
    assert found[0] == 0
    assert found[-1] == last
    assert 2 <= len(found) <= 7
    assert all(after > before for before, after in itertools.pairwise(found))


@pytest.mark.parametrize("most", [0, -5, float("inf"), float("nan")])
def test_an_axis_of_nothing_is_an_axis_all_the_same(most: float) -> None:
    assert charts.ticks(most) == [0.0, 1.0]


def test_an_axis_of_counts_has_whole_numbers_only() -> None:
    for most in range(1, 400):
        assert all(value == int(value) for value in charts.ticks(most))


def test_an_axis_of_what_can_be_parted_has_parts() -> None:
    assert charts.ticks(1.2, whole=False) == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1.25])


def test_columns_are_as_high_as_their_values_are_large() -> None:
    chart = charts.columns(Plan("k", "Alarms", MONTHS), [Series("alarms", [2, 4, 8])])
    low, middle, high = columns_of(chart)
    assert middle == pytest.approx(2 * low, abs=0.2)
    assert high == pytest.approx(4 * low, abs=0.4)
    assert texts(chart, "value") == ["2", "4", "8"]
    assert texts(chart, "label")[-3:] == MONTHS


def test_what_is_stacked_adds_up_and_each_kind_has_its_own_pattern() -> None:
    chart = charts.columns(Plan("k", "Alarms", MONTHS), [Series("true", [1, 0, 2], 1), Series("false", [3, 1, 0], 2)])
    assert texts(chart, "value") == ["4", "1", "2"]
    assert [name for _, name in chart.legend] == ["true", "false"]
    assert 'id="k-p2"' in str(chart.svg)
    assert str(chart.svg).count("url(#k-p2)") == 2


def test_what_is_not_known_is_not_drawn_as_nothing() -> None:
    chart = charts.columns(Plan("k", "Share", MONTHS), [Series("share", [None, 0, 50])])
    assert texts(chart, "value") == ["0", "50"]
    assert "Jan: not known; Feb: 0; Mar: 50" in str(chart.svg)
    line = charts.lines(Plan("k", "Share", [*MONTHS, "Apr"]), [Series("share", [10, None, 20, 30])])
    assert len([one for one in drawn(line).iter("path") if (one.get("class") or "").startswith("line")]) == 2


@pytest.mark.parametrize(
    "chart",
    [
        charts.columns(Plan("k", "Alarms", MONTHS), [Series("alarms", [None, None, None])]),
        charts.columns(Plan("k", "Alarms", []), []),
        charts.groups(Plan("k", "Alarms", []), [Series("alarms", [])]),
        charts.lines(Plan("k", "Alarms", []), [Series("alarms", [])]),
        charts.bars(Plan("k", "Alarms", []), [], []),
    ],
)
def test_a_chart_of_nothing_says_so(chart: Chart) -> None:
    assert texts(chart, "label") == ["Nothing to tell of this period."]
    assert chart.title == "Alarms"


def test_one_value_is_a_chart() -> None:
    assert texts(charts.columns(Plan("k", "Alarms", ["Jan"]), [Series("alarms", [1])]), "value") == ["1"]
    line = charts.lines(Plan("k", "Alarms", ["Jan"]), [Series("alarms", [1])])
    assert len(list(drawn(line).iter("circle"))) == 1
    assert texts(line, "value") == ["1"]


def test_huge_values_have_axes_that_fit_beside_them() -> None:
    chart = charts.columns(Plan("k", "Bytes", MONTHS), [Series("bytes", [9.1e12, 1, 5e12])])
    assert texts(chart, "label")[:6] == ["0", "2 T", "4 T", "6 T", "8 T", "10 T"]
    assert max(columns_of(chart)) <= charts.HEIGHT - charts.TOP - charts.BOTTOM


def test_many_labels_do_not_run_into_each_other_and_many_columns_have_no_figures() -> None:
    names = [f"M{number:02}" for number in range(48)]
    chart = charts.columns(Plan("k", "Alarms", names), [Series("alarms", [1.0] * 48)])
    placed = [float(one.get("x") or 0) for one in drawn(chart).iter("text") if (one.text or "").startswith("M")]
    assert 5 < len(placed) < 20
    assert min(after - before for before, after in itertools.pairwise(placed)) > 3 * charts.CHARACTER
    assert texts(chart, "value") == []


def test_a_target_is_drawn_at_its_height_and_is_on_the_axis() -> None:
    chart = charts.columns(
        Plan("k", "In time", MONTHS, levels=[Level(80, "80 %"), Level(98.5, "98.5 %", 1)]), [Series("share", [1, 2, 3])]
    )
    assert texts(chart, "level-words") == ["80 %", "98.5 %"]
    assert float(texts(chart, "label")[4].replace(",", "")) >= 98.5 or "100" in texts(chart, "label")


def test_columns_that_stand_for_few_are_outlined_and_it_is_said() -> None:
    chart = charts.columns(Plan("k", "Share", MONTHS), [Series("share", [10, 20, 30])], [True, False, False])
    assert str(chart.svg).count("hollow") == 1
    assert chart.note == "Outlined: fewer than ten."


def test_a_share_is_never_rounded_up_to_its_target() -> None:
    assert charts.percent(79.99) == "79 %"
    assert charts.percent(100 * 0.29) == "29 %"


def test_names_from_outside_are_text_and_long_ones_are_cut() -> None:
    chart = charts.bars(Plan("k", "<b>", ["<script>x</script>", "a very long name of a team"]), [1, 2], ["1", '"2"'])
    found = drawn(chart)
    assert [one.tag for one in found.iter() if one.tag in ("script", "b")] == []
    assert texts(chart, "label")[1] == "a very long nam…"
    assert "a very long name of a team" in (found.findtext("desc") or "")
    assert re.search(r'aria-labelledby="k-t k-d"', str(chart.svg))
