"""``lapel monitor``: the picture of now in a terminal, alarms first, and the keys to answer them.

Rules that hold here
- Whatever is shown is so now, or it is not shown: a gateway that is away empties every table and says so.
- Nobody's text is read as markup. A state is told by a shape and a word, too: colours are not seen by everybody, nor
  by every terminal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import ClassVar, Literal

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Input, RichLog, Static, TabbedContent, TabPane

from lapel_gateway.describe import utc
from lapel_tools.console import CommandError
from lapel_tools.monitor.dialogs import Confirmation, Ending, Facts
from lapel_tools.monitor.live import Change, Live, Words
from lapel_tools.monitor.log_tail import LogTail
from lapel_tools.monitor.rows import PAGES, Cell, Page, headline, line, matching
from lapel_tools.monitor.sources import Source

REDRAW_S = 0.5
"""Ages count on."""

HEARD_S = 0.05
"""What is heard is drawn so soon, and everything heard meanwhile with it."""

MAX_ROWS = 300
"""Of one table, the worst first: beyond that it is narrowed, not scrolled through."""

LOG_S = 2.0
LOG_PAGE = "log"
FIRST = ("todo", "person", "phone", "where", "state", "kind", "escalation", "told", "clip", "clip_id")
"""What a closer look begins with."""


class MonitorApp(App[None]):
    """One gateway on one screen."""

    TITLE = "Lapel"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(at), f"page('{page.name}')", page.title, show=False) for at, page in enumerate(PAGES, 1)),
        Binding(str(len(PAGES) + 1), f"page('{LOG_PAGE}')", "Log", show=False),
        Binding("i", "look", "Closer", key_display="Enter"),
        Binding("a", "acknowledge", "Acknowledge"),
        Binding("r", "resolve", "Resolve"),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("escape", "clear", "Clear", show=False),
        Binding("q", "quit", "Quit"),
    ]
    CSS = """
    Screen { overflow: hidden; }
    TabbedContent, ContentSwitcher, TabPane { height: 1fr; }
    #headline { height: auto; max-height: 3; padding: 0 1; text-style: bold; }
    #headline.calm { background: $success-darken-3; }
    #headline.warn { background: $warning-darken-2; color: $text; }
    #headline.alarm { background: $error; color: $text; }
    #headline.away { background: $error-darken-3; color: $text; text-style: bold reverse; }
    #filter { display: none; height: 3; }
    #filter.shown { display: block; }
    TabPane { padding: 0; }
    DataTable { height: 1fr; }
    .note { height: auto; max-height: 6; padding: 0 1; }
    ModalScreen { align: center middle; }
    .dialog { width: 72; max-width: 100%; height: auto; padding: 1 2; border: heavy $accent; background: $surface; }
    .dialog OptionList { height: 5; }
    .page { width: 100%; height: 100%; padding: 0 1; background: $surface; }
    .title { text-style: bold; }
    .hint { color: $text-muted; }
    """

    def __init__(self, source: Source, log: LogTail, wanted: str = "") -> None:
        """``wanted``: the filter to begin with."""
        super().__init__()
        self.live = Live()
        self._source = source
        self._log_tail = log
        self._wanted = wanted
        self._known = False
        self._due = False
        self._shown: dict[str, list[str]] = {}

    def compose(self) -> ComposeResult:
        yield Static(id="headline")
        with TabbedContent(initial=PAGES[0].name):
            for at, page in enumerate(PAGES, 1):
                with TabPane(f"{at} {page.title}", id=page.name):
                    yield DataTable(id=f"{page.name}-table", cursor_type="row", zebra_stripes=True)
                    yield Static(id=f"{page.name}-note", classes="note")
            with TabPane(f"{len(PAGES) + 1} Log", id=LOG_PAGE):
                yield RichLog(id="log-lines", wrap=True, markup=False, max_lines=400)
        yield Input(value=self._wanted, placeholder="show rows with all of these words", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        for page in PAGES:
            table = self._table(page.name)
            for name in page.columns:
                table.add_column(Text(name), key=name or "mark")
        self._table(PAGES[0].name).focus()
        self.set_interval(REDRAW_S, self.draw)
        self.set_interval(LOG_S, self._draw_log)
        self.run_worker(self._source.follow(self.live, self._heard), exclusive=True, group="follow")
        self.draw()

    # -- drawing ----------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Show what is known now."""
        if not self._open:
            return
        level, words = headline(self.live)
        head = self.screen_stack[0].query_one("#headline", Static)
        head.set_classes(level)
        head.update(Text.assemble(words, f"  [{line(self._source.name, 60)}]"))
        if self.live.away and isinstance(self.screen, Facts):
            self.screen.dismiss("")
        for page in PAGES:
            # What is not looked at costs nothing, unless it has to be taken back.
            if self.live.away or page.name == self._active:
                self._draw_page(page)

    def _draw_page(self, page: Page) -> None:
        every = page.rows(self.live)
        found = matching(every, self._wanted)
        # A table reads plain strings as markup.
        rows = [(key, tuple(_text(cell) for cell in cells)) for key, cells in found[:MAX_ROWS]]
        table = self._table(page.name)
        keys = [key for key, _ in rows]
        if keys == self._shown.get(page.name):
            for key, cells in rows:
                for name, cell in zip(page.columns, cells, strict=True):
                    if table.get_cell(key, name or "mark") != cell:
                        table.update_cell(key, name or "mark", cell, update_width=True)
        else:
            before = self._selected(page.name)
            table.clear()
            for key, cells in rows:
                table.add_row(*cells, key=key)
            if before in keys:
                table.move_cursor(row=keys.index(before))
            self._shown[page.name] = keys
        note = self.screen_stack[0].query_one(f"#{page.name}-note", Static)
        note.update(Text(self._note(page, len(every), len(found))))

    def _note(self, page: Page, every: int, shown: int) -> str:
        if self.live.away:
            return ""
        more = self.live.more(page.name) + max(0, shown - MAX_ROWS)
        parts = [f"{more} more are not shown: narrow them with /" if more else ""]
        if self._wanted:
            parts.append(f"filter “{line(self._wanted, 30)}” shows {shown} of {every}; Esc clears it")
        elif not every:
            parts.append(page.empty)
        elif page.name == "alarms" and (chosen := self._chosen_alarm()):
            told = ", ".join(f"{one['channel']} {one['state']}" for one in chosen["told"]) or "nobody yet"
            parts.append(f"{chosen['todo']}\ntold: {told}")
        return "; ".join(part for part in parts if part)

    def _draw_log(self) -> None:
        if self._open and self._active == LOG_PAGE:
            self.run_worker(self._read_log(), exclusive=True, group="log")

    async def _read_log(self) -> None:
        lines = await asyncio.to_thread(self._log_tail.lines)
        log = self.screen_stack[0].query_one("#log-lines", RichLog)
        log.clear()
        for text in lines:
            log.write(Text(text))

    def _heard(self, changes: list[Change]) -> None:
        if not self._open:
            return
        for section, _key, old, new in changes:
            if section == "alarms" and self._known and old is None and new is not None and not new["acknowledged"]:
                # Over whatever is looked at now.
                self.bell()
                self._tell(f"▲ {new['kind'].replace('_', ' ')} of {new['person'] or new['about'] or '-'}", "error")
        self._known = self._known or bool(changes)
        if not self._due:
            self._due = True
            self.set_timer(HEARD_S, self._draw_heard)

    def _draw_heard(self) -> None:
        self._due = False
        self.draw()

    @property
    def _open(self) -> bool:
        """Whether there is a screen to draw on: what is heard while it ends is not drawn."""
        return self.is_running and bool(self.screen_stack)

    @property
    def _active(self) -> str:
        """Name of the page that is shown."""
        return self.screen_stack[0].query_one(TabbedContent).active

    def on_tabbed_content_tab_activated(self) -> None:
        """Another page is shown, by whatever way."""
        self.draw()

    # -- what is chosen ---------------------------------------------------------------------------------------------

    def _table(self, name: str) -> DataTable[Text]:
        return self.screen_stack[0].query_one(f"#{name}-table", DataTable)

    def _selected(self, name: str) -> str:
        """Key of the row that the cursor is on; "" = none."""
        keys = self._shown.get(name, [])
        row = self._table(name).cursor_row
        return keys[row] if 0 <= row < len(keys) else ""

    def _chosen_alarm(self) -> Words | None:
        return self.live.section("alarms").get(self._selected("alarms"))

    # -- keys -------------------------------------------------------------------------------------------------------

    def action_page(self, name: str) -> None:
        """Show another page."""
        self.query_one(TabbedContent).active = name
        if name == LOG_PAGE:
            self._draw_log()
            self.query_one("#log-lines").focus()
        else:
            self._table(name).focus()

    def action_filter(self) -> None:
        """Ask which rows to show."""
        field = self.query_one("#filter", Input)
        field.add_class("shown")
        field.focus()

    def action_clear(self) -> None:
        """Show every row again."""
        field = self.query_one("#filter", Input)
        field.value = self._wanted = ""
        self._close_filter(field)

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "filter":
            self._wanted = event.value
            self.draw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "filter":
            self._close_filter(event.input)

    def _close_filter(self, field: Input) -> None:
        field.remove_class("shown")
        if self._active != LOG_PAGE:
            self._table(self._active).focus()
        self.draw()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        name = (event.data_table.id or "").removesuffix("-table")
        if event.row_key.value is not None:
            self.run_worker(self._look_closer(name, event.row_key.value), group="closer")

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        if self._open and event.data_table.id == "alarms-table":
            page = PAGES[0]
            every = page.rows(self.live)
            note = self._note(page, len(every), len(matching(every, self._wanted)))
            self.screen_stack[0].query_one("#alarms-note", Static).update(Text(note))

    def action_look(self) -> None:
        """Look closer at the chosen row, whatever has the focus."""
        name = self._active
        if name != LOG_PAGE and (key := self._selected(name)):
            self.run_worker(self._look_closer(name, key), group="closer")

    def action_acknowledge(self) -> None:
        """Acknowledge the chosen alarm, once it is confirmed."""
        if alarm := self._alarm_to_answer():
            self.run_worker(self._acknowledge(alarm), group="answer")

    def action_resolve(self) -> None:
        """Resolve the chosen alarm with a reason and a note."""
        if alarm := self._alarm_to_answer():
            self.run_worker(self._resolve(alarm), group="answer")

    def _alarm_to_answer(self) -> Words | None:
        alarm = None
        if self.live.away:
            self._tell("the gateway is away: nothing can be answered here now", "error")
        elif self._active != "alarms":
            self._tell("alarms are answered on page 1", "warning")
        elif not self._source.can_answer:
            self._tell("in whose name? Put your token in LAPEL_TOKEN and start again", "error")
        else:
            alarm = self._chosen_alarm()
        return alarm

    async def _acknowledge(self, alarm: Words) -> None:
        who = line(alarm["person"] or alarm["about"] or "nobody known", 60)
        question = f"Acknowledge {alarm['kind'].replace('_', ' ')} of {who}? Nobody else is told of it then."
        if await self.push_screen_wait(Confirmation(question)):
            await self._answer(alarm, self._source.acknowledge(alarm["id"]))

    async def _resolve(self, alarm: Words) -> None:
        who = line(alarm["person"] or alarm["about"] or "nobody known", 60)
        ended = await self.push_screen_wait(Ending(f"How did {alarm['kind'].replace('_', ' ')} of {who} end?"))
        if ended is not None:
            await self._answer(alarm, self._source.resolve(alarm["id"], *ended))

    async def _answer(self, alarm: Words, asking: Awaitable[str]) -> None:
        try:
            done = await asking
        except CommandError as error:
            self._tell(str(error), "error")
        else:
            self._tell(f"{alarm['id']}: {done}", "information")

    async def _look_closer(self, name: str, key: str) -> None:
        while key:
            known = self.live.section(name).get(key, {})
            try:
                found = await self._source.whole(name, key) or {}
            except CommandError as error:
                self._tell(str(error), "error")
                found = {}
            first = {title: known[title] for title in FIRST if title in known}
            words = {**first, **known, **found}
            if not words:
                return
            now = (utc(self.live.now_ms) or "")[11:19]
            next_name = await self.push_screen_wait(
                Facts(f"{name.removesuffix('s')} {key}, as it was at {now} UTC", words)
            )
            key = _related(next_name, words)
            name = next_name

    def _tell(self, message: str, severity: Literal["information", "warning", "error"]) -> None:
        self.notify(line(message, 400), severity=severity, markup=False)


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def _related(name: str, words: Words) -> str:
    """Key of the clip or device that something has to do with; "" = none is known."""
    if name == "devices":
        return str(words.get("device") or "")
    if name == "clips":
        clip = words.get("clip")
        return str(words.get("clip_id") or (clip["id"] if isinstance(clip, dict) else "") or "")
    return ""
