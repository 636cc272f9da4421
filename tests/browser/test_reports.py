"""The report of a trial in a real browser: six months of one, as it is read, printed and taken along."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pypdfium2
import pytest
from playwright.sync_api import Page, expect

from lapel_gateway.settings.accounts import AccountsSection
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.installed import Installed
from lapel_gateway.web.pages.trial_view import figure
from lapel_gateway.web.server import WebRole
from tests.browser.desks import Desk, scrolls_sideways, severe_faults, shoot
from tests.gateway.accounts.office import Office
from tests.tools.trial_months import TrialMonths

PERIOD = "from=2023-11-01&to=2024-05-31"


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """The gateway at the end of a trial of six months."""
    folder = tmp_path_factory.mktemp("trial")
    months = TrialMonths(folder)
    months.play()
    installed = Installed(accounts=AccountsSection(requests_per_min=100_000), organisation="Harbour Housing")
    clock = [months.pair.now_ms]
    role = WebRole(months.pair.engine, Views(folder / "views"), "127.0.0.1", 0, lambda: clock[0], installed)
    role.start()
    office = Office(months.pair.engine, role.url, installed, clock)
    office.add("Olga Orr", ["operator"])
    yield office
    assert role.stop()
    months.pair.stop()


@pytest.fixture
def office(trial: Office) -> Office:
    """The desk's people sit at this gateway."""
    return trial


def fetched(office: Office, path: str) -> httpx.Response:
    cookie = f"lapel-session={office.session('Olga Orr')}"
    return httpx.get(f"{office.url}{path}", headers={"cookie": cookie}, trust_env=False, timeout=60)


def opened_report(page: Page) -> None:
    page.goto(f"/reports?{PERIOD}")
    expect(page.get_by_role("heading", name="Do the cameras add safety?")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("phone", [True, False], ids=["phone", "desktop"])
def test_the_report_keeps_nobody_out(desk: Desk, phone: bool, scheme: Literal["light", "dark"]) -> None:
    page = desk.sit("Olga Orr", phone=phone, scheme=scheme)
    opened_report(page)
    assert not scrolls_sideways(page)
    shoot(page, f"report-{'phone' if phone else 'desktop'}-{scheme}")

    for summary in page.locator("summary").all():
        summary.click()

    assert severe_faults(page) == []
    assert not scrolls_sideways(page)


def test_every_figure_of_the_tables_is_the_apis_to_the_digit(desk: Desk) -> None:
    words: dict[str, Any] = fetched(desk.office, f"/api/v1/reports/trial?{PERIOD}").json()
    page = desk.sit("Olga Orr")
    opened_report(page)
    shown: list[tuple[str, str, str]] = page.evaluate(
        "[...document.querySelectorAll('td[data-figure] data')].map(one => ["
        "one.closest('tr').dataset.place, one.parentElement.dataset.figure, one.value])"
    )
    assert len(shown) > 800
    for place, path, value in shown:
        group = words
        for step in json.loads(place):
            group = group[step]
        assert str(figure(group, path)) == value, (place, path)
    groups = {place for place, _, _ in shown}
    months = sum(len(each) for each in words["by_team_and_month"].values())
    assert len(groups) == 1 + len(words["by_month"]) + len(words["by_team"]) + months
    answered = page.locator(".incidents data").evaluate_all("all => all.map(one => one.value)")
    wanted = [one["acknowledged_after_ms"] for one in words["incidents"]]
    assert answered == [str(each) for each in wanted if each is not None]


def test_a_chart_says_in_words_what_its_table_says(desk: Desk) -> None:
    words = fetched(desk.office, f"/api/v1/reports/trial?{PERIOD}").json()
    page = desk.sit("Olga Orr")
    opened_report(page)
    chart = page.get_by_role("img", name="Answered by then, of all alarms")
    told = chart.locator("desc").text_content() or ""
    count = words["total"]["alarms"]["count"]
    for step, name in ((0, "5 s"), (1, "10 s"), (3, "40 s")):
        assert f"{name}: {100 * words['answers'][step]['alarms'] // count} %" in told
    assert page.get_by_role("img").count() == page.locator("figure.chart").count() == 11


def test_somebody_chooses_the_team_and_the_period_without_a_script(desk: Desk) -> None:
    page = desk.sit("Olga Orr")
    opened_report(page)
    page.get_by_label("Team", exact=True).select_option("housing")
    page.get_by_label("First day").fill("2024-01-01")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".report-of")).to_contain_text("1 Jan 2024 to 31 May 2024 · housing")
    expect(page.locator("#uptake-title ~ details tbody")).to_have_count(1)

    page.get_by_role("link", name="This month").click()
    expect(page.locator(".report-of")).to_contain_text("1 May 2024 to")
    expect(page.get_by_label("Team", exact=True)).to_have_value("housing")


def test_a_period_that_cannot_be_is_answered_with_words_and_the_usual_one(desk: Desk) -> None:
    page = desk.sit("Olga Orr")
    desk.expected.append("422")
    page.goto("/reports?from=2024-05-01&to=2024-04-01")
    expect(page.get_by_role("alert")).to_contain_text("is not before to")
    expect(page.get_by_role("heading", name="Are the cameras worn?")).to_be_visible()


def test_a_month_without_anything_says_so(desk: Desk) -> None:
    page = desk.sit("Olga Orr")
    page.goto("/reports?from=2020-01-01&to=2020-01-31")
    expect(page.get_by_text("No alarm of this period was resolved as true.")).to_be_visible()
    expect(page.get_by_role("img", name="Answered by then, of all alarms")).to_contain_text("Nothing to tell")
    assert severe_faults(page) == []


def test_spreadsheets_have_the_figures_of_each_table_and_of_all(desk: Desk) -> None:
    words = fetched(desk.office, f"/api/v1/reports/trial?{PERIOD}").json()
    everything = fetched(desk.office, f"/reports/trial.csv?{PERIOD}")
    assert everything.headers["content-disposition"] == (
        'attachment; filename="lapel-trial-all-2023-11-01-to-2024-05-31.csv"'
    )
    *lines, total = csv.DictReader(io.StringIO(everything.content.decode("utf-8-sig")))
    assert len(lines) == sum(len(each) for each in words["by_team_and_month"].values())
    assert total["uptake_worn_share"] == str(words["total"]["uptake"]["worn_share"])
    for line in lines:
        found = words["by_team_and_month"][line["team"]][line["month"]]
        assert line["alarms_count"] == str(found["alarms"]["count"])
        assert line["faults_storage"] == str(found["faults"]["storage"])
    page = desk.sit("Olga Orr")
    opened_report(page)
    page.locator("summary").first.click()
    with page.expect_download() as waited:
        page.get_by_role("link", name="These figures (CSV)").first.click()
    *rows, total = csv.DictReader(io.StringIO(Path(waited.value.path()).read_text("utf-8-sig")))
    assert list(total)[4:] == [f"uptake_{name}" for name in words["total"]["uptake"]]
    assert len(rows) == len(lines)
    incidents = fetched(desk.office, f"/reports/trial.csv?{PERIOD}&part=incidents").content.decode("utf-8-sig")
    assert [one["alarm"] for one in csv.DictReader(io.StringIO(incidents))] == [
        one["alarm"] for one in words["incidents"]
    ]


def test_on_paper_it_says_whose_it_is_and_has_every_chart_and_every_table(desk: Desk, tmp_path: Path) -> None:
    page = desk.sit("Olga Orr")
    opened_report(page)
    page.emulate_media(media="print")
    paper = tmp_path / "report.pdf"
    page.pdf(path=paper, format="A4", prefer_css_page_size=True)

    with pypdfium2.PdfDocument(paper) as document:
        texts = [sheet.get_textpage().get_text_range() for sheet in document]
        width, height = document[0].get_size()
        shoot_paper(document)
    assert (round(width), round(height)) == (595, 842)
    assert "Harbour Housing" in texts[0]
    assert "1 Nov 2023 to 31 May 2024" in texts[0]
    assert "Made 20" in texts[0]
    told = "".join(texts)
    assert "Can the devices be relied on?" in told
    assert told.count("May 2024") > 20
    assert "Log out" not in told
    assert "Last 6 months" not in told


def shoot_paper(document: pypdfium2.PdfDocument) -> None:
    """Leave pictures of the sheets where pictures are asked for."""
    if folder := os.environ.get("LAPEL_SHOTS"):
        for number, sheet in enumerate(document):
            sheet.render(scale=1.6).to_pil().save(Path(folder) / f"report-paper-{number + 1}.png")
