"""The monitor as somebody drives it at a terminal of 80 by 24: what is shown is so, what is answered is recorded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from rich.text import Text
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import DataTable, Input, RichLog, Static, TabbedContent

from lapel_gateway.alarms import core as alarms
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.visit_tables import visit
from lapel_tools.monitor import screen
from lapel_tools.monitor.dialogs import Confirmation, Ending, Facts
from lapel_tools.monitor.log_tail import LogTail
from lapel_tools.monitor.screen import MonitorApp
from lapel_tools.monitor.sources import Source
from tests.gateway.visits.day import SAM, ZOE
from tests.tools.monitor.duty import Duty

TIMEOUT_S = 20.0
NO_LOG = LogTail(None, local=False)


class Terminal:
    """A monitor and whoever sits before it."""

    def __init__(self, app: MonitorApp, pilot: Pilot[None]) -> None:
        self.app = app
        self.pilot = pilot

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the screen shows it."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, self.text()
            await self.pilot.pause(0.02)

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        await self.press(*("space" if c == " " else c for c in text))

    def base(self) -> Screen[Any]:
        return self.app.screen_stack[0]

    def headline(self) -> str:
        return str(self.base().query_one("#headline", Static).render())

    def rows(self, page: str = "alarms") -> list[list[str]]:
        table = self.base().query_one(f"#{page}-table", DataTable)
        return [[str(cell) for cell in table.get_row_at(at)] for at in range(table.row_count)]

    def note(self, page: str = "alarms") -> str:
        return str(self.base().query_one(f"#{page}-note", Static).render())

    def text(self) -> str:
        """What is on the screen, colours aside."""
        width, height = self.app.size
        strips = [self.app.screen._compositor.render_strips()[y].text for y in range(height)]
        assert all(len(strip) <= width for strip in strips)
        return "\n".join(strips)


@asynccontextmanager
async def terminal(
    source: Source, log: LogTail = NO_LOG, wanted: str = "", size: tuple[int, int] = (80, 24)
) -> AsyncIterator[Terminal]:
    app = MonitorApp(source, log, wanted)
    async with app.run_test(size=size, notifications=True) as pilot:
        yield Terminal(app, pilot)


def drive(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def test_an_alarm_is_shown_at_once_with_what_to_do_and_acknowledged_in_the_ledger(duty: Duty) -> None:
    async def scene() -> None:
        async with terminal(duty.source()) as desk:
            await desk.until(lambda: "no open alarm" in desk.headline())
            identifier = duty.raise_alarm()
            await desk.until(lambda: bool(desk.rows()))
            ((state, kind, who, *_),) = desk.rows()
            assert (state, kind, who) == ("▲ OPEN", "panic", ZOE)
            assert "▲ PANIC" in desk.headline()
            assert "+44 7700 900123" in desk.note()
            assert "sms:sam waiting" in desk.note()

            await desk.press("a")
            await desk.until(lambda: isinstance(desk.app.screen, Confirmation))
            assert f"Acknowledge panic of {ZOE}?" in desk.text()
            await desk.press("n")
            assert duty.alarm(identifier)["acknowledged_by"] is None

            await desk.press("a")
            await desk.until(lambda: isinstance(desk.app.screen, Confirmation))
            await desk.press("y")
            await desk.until(lambda: desk.rows()[0][0] == "◆ seen")
            assert duty.alarm(identifier)["acknowledged_by"] == duty.answerer
            assert "1 answered and still open" in desk.headline()

    drive(scene())


def test_an_alarm_is_resolved_with_a_reason_and_a_note(duty: Duty) -> None:
    async def scene() -> None:
        async with terminal(duty.source()) as desk:
            identifier = duty.raise_alarm()
            await desk.until(lambda: bool(desk.rows()))
            await desk.press("r")
            await desk.until(lambda: isinstance(desk.app.screen, Ending))
            await desk.press("down", "enter")
            await desk.type("sat on it")
            await desk.press("enter")
            await desk.until(lambda: not desk.rows())
            found = duty.alarm(identifier)
            assert (found["resolution"], found["note"]) == ("false", "sat on it")
            assert found["resolved_by"] == duty.answerer

    drive(scene())


def test_a_resolution_without_a_reason_is_none_and_escape_leaves_everything(duty: Duty) -> None:
    async def scene() -> None:
        async with terminal(duty.source()) as desk:
            identifier = duty.raise_alarm()
            await desk.until(lambda: bool(desk.rows()))
            await desk.press("r")
            await desk.until(lambda: isinstance(desk.app.screen, Ending))
            desk.app.screen.query_one("#note", Input).focus()
            await desk.press("x", "enter")
            assert isinstance(desk.app.screen, Ending)
            await desk.press("escape")
            await desk.until(lambda: not isinstance(desk.app.screen, Ending))
            assert duty.alarm(identifier)["state"] != "resolved"

    drive(scene())


def test_who_was_first_is_told_to_whoever_comes_second(duty: Duty) -> None:
    async def scene() -> None:
        async with terminal(duty.source(), size=(120, 30)) as desk:
            identifier = duty.raise_alarm()
            await desk.until(lambda: bool(desk.rows()))
            await desk.press("a")
            await desk.until(lambda: isinstance(desk.app.screen, Confirmation))
            await asyncio.to_thread(duty.source()._api.post, "alarms", identifier, "acknowledge")
            await desk.press("y")
            await desk.until(lambda: "acknowledged this alarm" in desk.text())

    drive(scene())


def test_a_gateway_that_is_away_is_said_to_be_and_nothing_old_is_shown(duty: Duty, quiet: Callable[[], None]) -> None:
    quiet()

    async def scene() -> None:
        duty.raise_alarm()
        async with terminal(duty.source()) as desk:
            await desk.until(lambda: bool(desk.rows()))
            await asyncio.to_thread(duty.stop)
            await desk.until(lambda: "AWAY" in desk.headline())
            assert all(not desk.rows(page) for page in ("alarms", "visits", "devices", "clips", "channels", "gateway"))
            await desk.press("a")
            assert not isinstance(desk.app.screen, Confirmation)

            await asyncio.to_thread(duty.serve)
            await desk.until(lambda: bool(desk.rows()))
            assert "PANIC" in desk.headline()

    drive(scene())


def test_a_gateway_that_was_never_there_is_said_not_to_be(duty: Duty, quiet: Callable[[], None]) -> None:
    quiet()
    source = duty.source()
    duty.stop()

    async def scene() -> None:
        async with terminal(source) as desk:
            await desk.until(lambda: "does not answer" in desk.headline())

    drive(scene())


def test_a_token_that_is_refused_is_said_to_be(duty: Duty) -> None:
    duty.token = "lapel_wrong"

    async def scene() -> None:
        async with terminal(duty.source()) as desk:
            await desk.until(lambda: "send a token of yours" in desk.headline())
            assert "lapel_wrong" not in desk.text()

    drive(scene())


def test_every_page_fits_a_terminal_of_eighty_columns(duty: Duty) -> None:
    number = duty.day.start()
    duty.pair.send(duty.day.location(515_007_000, -1_246_000, visit=number))
    duty.raise_alarm(clip=True)

    async def scene() -> None:
        async with terminal(duty.source()) as desk:
            await desk.until(lambda: bool(desk.rows()))
            wanted = {"1": "▲ OPEN", "2": "4 High Street", "3": "● here", "4": "▲ alarm", "5": "sms:sam", "6": "lane"}
            for key, text in wanted.items():
                await desk.press(key)
                await desk.until(lambda text=text: text in desk.text())  # type: ignore[misc]
                assert "PANIC" in desk.headline()
            (visit,) = desk.rows("visits")
            assert visit[:3] == ["● on it", ZOE, "4 High Street"]
            ((_, _, _, _, battery, *_),) = desk.rows("devices")
            assert battery == "79%"

    drive(scene())


def test_an_alarm_its_clip_and_its_device_can_be_looked_at_closer(duty: Duty) -> None:
    identifier = duty.raise_alarm(clip=True)

    async def scene() -> None:
        async with terminal(duty.source(), size=(100, 80)) as desk:
            await desk.until(lambda: bool(desk.rows()))
            await desk.press("enter")
            await desk.until(lambda: isinstance(desk.app.screen, Facts) and f"alarm {identifier}" in desk.text())
            assert "todo: acknowledge it" in desk.text()
            assert "received" in desk.text()
            await desk.press("c")
            await desk.until(lambda: f"clip {duty.device}-" in desk.text())
            assert "authentic: 4" in desk.text()
            await desk.press("d")
            await desk.until(lambda: f"device {duty.device}" in desk.text())
            assert "newest clips:" in desk.text()
            await desk.press("escape")
            await desk.until(lambda: not isinstance(desk.app.screen, Facts))

    drive(scene())


def test_the_rows_are_narrowed_by_words_and_shown_again(duty: Duty) -> None:
    for _ in range(3):
        duty.raise_alarm()

    async def scene() -> None:
        async with terminal(duty.source()) as desk:
            await desk.until(lambda: len(desk.rows()) == 3)
            await desk.press("slash")
            await desk.type("zoë panic")
            await desk.until(lambda: len(desk.rows()) == 3)
            await desk.type(" nowhere")
            await desk.until(lambda: desk.rows() == [])
            assert "shows 0 of 3" in desk.note()
            assert "PANIC" in desk.headline()
            await desk.press("enter", "escape")
            await desk.until(lambda: len(desk.rows()) == 3)

    drive(scene())


def test_text_of_people_is_never_markup_and_no_control_character_reaches_the_terminal(duty: Duty) -> None:
    duty.day.start()
    # As no door of the gateway lets it in, but a ledger may have it.
    with writing(duty.pair.engine) as connection:
        connection.execute(sa.update(visit).values(place="[red]4 High[/red] \x1b[31mStreet"))

    async def scene() -> None:
        async with terminal(duty.source(), size=(120, 24)) as desk:
            await desk.press("2")
            await desk.until(lambda: bool(desk.rows("visits")))
            await desk.until(lambda: "4 High" in desk.text())
            assert "[red]4 High[/red]" in desk.text()
            assert "\x1b" not in desk.text()

    drive(scene())


def test_the_end_of_the_log_is_shown(duty: Duty, tmp_path: Path) -> None:
    log = tmp_path / "gateway.log"
    log.write_bytes(b"first line\n\x1b[31mred\x07 [b]second[/b]\n")

    async def scene() -> None:
        async with terminal(duty.source(), LogTail(log, local=True)) as desk:
            await desk.press("7")
            await desk.until(lambda: len(desk.base().query_one("#log-lines", RichLog).lines) >= 2)
            assert "\\x1b[31mred\\x07 [b]second[/b]" in desk.text()

    drive(scene())


def test_the_page_that_is_open_stays_open_and_the_cursor_with_its_row(duty: Duty) -> None:
    first = duty.raise_alarm()

    async def scene() -> None:
        async with terminal(duty.source()) as desk:
            await desk.until(lambda: len(desk.rows()) == 1)
            duty.raise_alarm()
            await desk.until(lambda: len(desk.rows()) == 2)
            assert desk.app._selected("alarms") == first
            await desk.press("3")
            duty.raise_alarm()
            await desk.until(lambda: "and 2 more" in desk.headline())
            assert desk.base().query_one(TabbedContent).active == "devices"
            await desk.press("1")
            await desk.until(lambda: len(desk.rows()) == 3)
            assert desk.app._selected("alarms") == first

    drive(scene())


def test_an_alarm_is_told_over_whatever_is_looked_at(duty: Duty) -> None:
    async def scene() -> None:
        async with terminal(duty.source()) as desk:
            await desk.press("3")
            await desk.until(lambda: bool(desk.rows("devices")))
            await desk.press("enter")
            await desk.until(lambda: isinstance(desk.app.screen, Facts) and "as it was at" in desk.text())
            duty.raise_alarm()
            await desk.until(lambda: f"▲ panic of {ZOE}" in desk.text())

    drive(scene())


def test_a_closer_look_is_taken_back_when_the_gateway_goes_away(duty: Duty, quiet: Callable[[], None]) -> None:
    quiet()
    duty.raise_alarm()

    async def scene() -> None:
        async with terminal(duty.source()) as desk:
            await desk.until(lambda: bool(desk.rows()))
            await desk.press("enter")
            await desk.until(lambda: isinstance(desk.app.screen, Facts))
            await asyncio.to_thread(duty.stop)
            await desk.until(lambda: not isinstance(desk.app.screen, Facts))
            assert "AWAY" in desk.headline()

    drive(scene())


def test_of_very_many_rows_the_worst_are_shown_and_the_others_counted(
    duty: Duty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "MAX_ROWS", 2)
    acknowledged = duty.raise_alarm()
    alarms.acknowledge(duty.pair.engine, acknowledged, SAM, duty.pair.now_ms)
    for _ in range(2):
        duty.raise_alarm()

    async def scene() -> None:
        async with terminal(duty.source()) as desk:
            await desk.until(lambda: [row[0] for row in desk.rows()] == ["▲ OPEN", "▲ OPEN"])
            assert "1 more are not shown: narrow them with /" in desk.note()

    drive(scene())


def test_states_are_told_by_shapes_and_words_too(duty: Duty) -> None:
    duty.raise_alarm()

    async def scene() -> None:
        async with terminal(duty.source()) as desk:
            await desk.until(lambda: bool(desk.rows()))
            table = desk.base().query_one("#alarms-table", DataTable)
            mark = table.get_row_at(0)[0]
            assert isinstance(mark, Text)
            assert (mark.plain, mark.style) == ("▲ OPEN", "bold red")

    drive(scene())
