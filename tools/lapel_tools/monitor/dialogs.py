"""The monitor's questions and closer looks: is it to be acknowledged, how did it end, everything about one thing."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from lapel_tools.console import plain
from lapel_tools.monitor.live import Words
from lapel_tools.monitor.rows import line

REASONS = {"true": "true: help was needed", "false": "false: it was not", "test": "test: a drill"}
MAX_NOTE = 2000
MAX_LIST = 40


class Confirmation(ModalScreen[bool]):
    """A question that is answered by one key: what it leads to cannot be taken back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape", "answer(False)", "no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(Text(self._question))
            yield Label(Text("y yes   n no"), classes="hint")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


class Ending(ModalScreen[tuple[str, str] | None]):
    """How an alarm ended: the reason, then a note; Enter goes on, Escape leaves everything as it is."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave")]

    def __init__(self, title: str) -> None:
        super().__init__()
        self._title = title
        self._reason = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(Text(self._title))
            yield OptionList(*(Option(Text(words), id=reason) for reason, words in REASONS.items()))
            yield Input(placeholder="what happened, for the record", max_length=MAX_NOTE, id="note")
            yield Label(Text("↑↓ Enter choose, Enter after the note resolves, Esc leaves"), classes="hint")

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._reason = event.option.id or ""
        self.query_one("#note", Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if not self._reason:
            self.query_one(OptionList).focus()
            return
        self.dismiss((self._reason, event.value))

    def action_leave(self) -> None:
        self.dismiss(None)


class Facts(ModalScreen[str]):
    """Everything about one thing. Ends with what is to be looked at next, "" for nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "leave", "back"),
        Binding("c", "go('clips')", "its clip"),
        Binding("d", "go('devices')", "its device"),
    ]

    def __init__(self, title: str, words: Words) -> None:
        super().__init__()
        self._title = title
        self._words = words

    def compose(self) -> ComposeResult:
        with Vertical(classes="page"):
            yield Label(Text(self._title), classes="title")
            with VerticalScroll():
                yield Static(Text("\n".join(facts(self._words))), id="facts")
            yield Label(Text("↑↓ scroll   c its clip   d its device   Esc back"), classes="hint")

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_leave(self) -> None:
        self.dismiss("")

    def action_go(self, kind: str) -> None:
        self.dismiss(kind)


def facts(words: Any, indent: int = 0) -> list[str]:
    """Nested words as indented lines, as `lapel … show` prints them."""
    lines: list[str] = []
    margin = "  " * indent
    for name, value in words.items():
        title = f"{margin}{str(name).replace('_', ' ')}:"
        if isinstance(value, dict) and set(value) >= {"utc", "ms"}:
            extra = ", ".join(str(value[key]) for key in ("trust", "by") if value.get(key))
            lines.append(f"{title} {value['utc'] or value['ms']}{f' ({line(extra)})' if extra else ''}")
        elif isinstance(value, dict):
            lines += [title, *facts(value, indent + 1)]
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            lines.append(title)
            lines += [f"{margin}  {_brief(one)}" for one in value[-MAX_LIST:]]
        elif isinstance(value, list):
            lines.append(f"{title} {line(', '.join(map(str, value)), 2000) or '-'}")
        else:
            lines.append(f"{title} {line(plain(value), 2000)}")
    return lines


def _brief(words: Words) -> str:
    """One entry of a list: times to the second, then what there is."""
    parts = []
    for value in words.values():
        if isinstance(value, dict):
            value = (value.get("utc") or "")[11:19]
        if value not in (None, "", 0):
            parts.append(line(plain(value), 160))
    return "  ".join(parts)
