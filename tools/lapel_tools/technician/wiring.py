"""Where each wire goes: a board's pins as a table and as a picture, from the same data that its drivers are made of.

In the picture the board stands on the left, the parts on the right, in the order of their wires: no two cross.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

BOARDS = ("pico_w", "pico2_w", "esp32s3_cam", "fob_pico_w", "fob_esp32s3")

_BOARDS_PACKAGE = "lapel_device.boards"
_ON_BOARD = "on the board: "
# Raspberry Pi Pico W data sheet, section 2.1: the header pin of each GPIO.
_PICO_HEADER = {
    0: 1,
    1: 2,
    2: 4,
    3: 5,
    4: 6,
    5: 7,
    6: 9,
    7: 10,
    8: 11,
    9: 12,
    10: 14,
    11: 15,
    12: 16,
    13: 17,
    14: 19,
    15: 20,
    16: 21,
    17: 22,
    18: 24,
    19: 25,
    20: 26,
    21: 27,
    22: 29,
    26: 31,
    27: 32,
    28: 34,
}
_PARTS = {
    "record_button": "buttons",
    "alarm_button": "buttons",
    "tamper": "case switch",
    "light": "light",
    "vibration": "motor",
    "buzzer": "buzzer",
    "battery": "battery",
    "usb_power": "USB power",
    "motion": "accelerometer",
    "gnss": "GNSS receiver",
    "modem": "modem",
    "card": "microSD",
    "camera": "camera",
    "microphone": "microphone",
}
_COLOURS = (
    "#c0392b",
    "#1f6fb2",
    "#1e8449",
    "#7d3c98",
    "#b9770e",
    "#117a65",
    "#884ea0",
    "#2e4053",
    "#a04000",
    "#5d6d7e",
)

_ROW, _TOP, _BOARD_LEFT, _BOARD_RIGHT, _PART_LEFT, _WIDTH = 22, 64, 20, 300, 460, 900


@dataclass(frozen=True)
class Wire:
    """One pin of a board. `pin` as the maker numbers it; `header`: the header's pin, 0 where that is not known."""

    name: str
    part: str
    pin: str
    header: int
    bus: str
    goes_to: str

    @property
    def on_board(self) -> bool:
        """Whether the board itself has this connection: nobody solders it."""
        return self.goes_to.startswith(_ON_BOARD)


def wires(board: str) -> list[Wire]:
    """The pins of a board, those of one part side by side. Raises KeyError for a board that is none."""
    if board not in BOARDS:
        raise KeyError(board)
    pins = importlib.import_module(f"{_BOARDS_PACKAGE}.{board}").PINS
    order = list(dict.fromkeys(_PARTS.values()))
    pico = facts(board)["chip"] in ("rp2040", "rp2350")
    found = [_wire(name, entry, pico) for name, entry in pins.items()]
    return sorted(found, key=lambda wire: order.index(wire.part))


def facts(board: str) -> dict[str, object]:
    """What a board's module says of it (`BOARD`)."""
    found: dict[str, object] = importlib.import_module(f"{_BOARDS_PACKAGE}.{board}").BOARD
    return found


def _wire(name: str, entry: tuple[int | str, str, str], pico: bool) -> Wire:
    pin, bus, goes_to = entry
    part = _PARTS.get(name) or _PARTS[name.partition("_")[0]]
    header = _PICO_HEADER.get(pin, 0) if pico and isinstance(pin, int) else 0
    return Wire(name, part, f"{'GP' if pico else 'GPIO'}{pin}" if isinstance(pin, int) else pin, header, bus, goes_to)


def markdown(board: str) -> str:
    """The wires that have to be made, as a table of Markdown."""
    made = [wire for wire in wires(board) if not wire.on_board]
    numbered = any(wire.header for wire in made)
    head = ["part", "pin", *(["header"] if numbered else []), "bus", "goes to"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for wire in made:
        cells = [wire.part, wire.pin, *([str(wire.header or "")] if numbered else []), wire.bus, wire.goes_to]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def drawing(board: str) -> str:
    """The picture, as SVG."""
    shown = wires(board)
    height = _TOP + _ROW * (len(shown) + len({wire.part for wire in shown})) + 40
    body = "\n".join(_shapes(board, shown, height))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12" role="img">\n<title>Wiring of {escape(board)}</title>\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _shapes(board: str, shown: list[Wire], height: int) -> Iterator[str]:
    made_of = facts(board)
    yield _text(_BOARD_LEFT, 26, f"{board}: {made_of['chip']}, MicroPython {made_of['micropython']}", 16, bold=True)
    yield _text(
        _BOARD_LEFT, 46, "3V3 and ground go to every part as its own data sheet says; grey: on the board already."
    )
    yield _box(_BOARD_LEFT, _TOP, _BOARD_RIGHT - _BOARD_LEFT, height - _TOP - 20, "#eef3ee")
    at = _TOP
    for number, part in enumerate(dict.fromkeys(wire.part for wire in shown)):
        rows = [wire for wire in shown if wire.part == part]
        colour = "#9aa0a6" if all(wire.on_board for wire in rows) else _COLOURS[number % len(_COLOURS)]
        yield _box(_PART_LEFT, at + 4, _WIDTH - _PART_LEFT - 20, _ROW * len(rows) + 14, "#f6f6f8")
        yield _text(_WIDTH - 30, at + 18, part, 12, anchor="end", bold=True)
        for wire in rows:
            at += _ROW
            y = at - 4
            header = f"  (header {wire.header})" if wire.header else ""
            yield _text(_BOARD_LEFT + 10, y + 4, wire.bus, 11, fill="#5d6d7e")
            yield _text(_BOARD_RIGHT - 10, y + 4, f"{wire.pin}{header}", 12, anchor="end")
            yield f'<line x1="{_BOARD_RIGHT}" y1="{y}" x2="{_PART_LEFT}" y2="{y}" stroke="{colour}" stroke-width="2"/>'
            yield f'<circle cx="{_BOARD_RIGHT}" cy="{y}" r="3" fill="{colour}"/>'
            yield f'<circle cx="{_PART_LEFT}" cy="{y}" r="3" fill="{colour}"/>'
            yield _text(_PART_LEFT + 12, y + 4, wire.goes_to.removeprefix(_ON_BOARD))
        at += _ROW


def _text(
    x: int, y: int, text: str, size: int = 12, *, anchor: str = "start", bold: bool = False, fill: str = "#1c1c1c"
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{fill}"{weight}>{escape(text)}</text>'
    )


def _box(x: int, y: int, width: int, height: int, fill: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="#5d6d7e"/>'
