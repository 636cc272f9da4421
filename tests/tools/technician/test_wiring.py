"""The wires of a board: told, drawn, and on the page that people build by."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from lapel_tools.technician.wiring import BOARDS, drawing, markdown, wires
from tests.tools.command import Lapel

DOCS = Path(__file__).parents[3] / "docs"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("board", BOARDS)
def test_every_pin_of_a_board_is_one_straight_line_between_its_names(board: str) -> None:
    picture = ElementTree.fromstring(drawing(board))
    lines = [line.attrib for line in picture.iter(f"{SVG}line")]
    assert len(lines) == len(wires(board))
    assert all(line["y1"] == line["y2"] for line in lines)
    assert len({line["y1"] for line in lines}) == len(lines)
    words = [text.text or "" for text in picture.iter(f"{SVG}text")]
    for wire in wires(board):
        assert any(word.partition("  (")[0] == wire.pin for word in words), wire
        assert wire.goes_to.removeprefix("on the board: ") in words


@pytest.mark.parametrize("board", BOARDS)
def test_no_pin_of_a_board_is_used_twice(board: str) -> None:
    pins = [wire.pin for wire in wires(board)]
    assert len(pins) == len(set(pins))
    headers = [wire.header for wire in wires(board) if wire.header]
    assert len(headers) == len(set(headers))


@pytest.mark.parametrize("board", BOARDS)
def test_the_page_of_boards_shows_the_wires_that_the_drivers_use(board: str) -> None:
    page = (DOCS / "boards.md").read_text(encoding="utf-8")
    assert markdown(board) in page, f"lapel device wiring {board} --out FILE.md, and put it into docs/boards.md"
    assert f"pictures/wiring-{board}.svg" in page
    made = (DOCS / "pictures" / f"wiring-{board}.svg").read_text(encoding="utf-8")
    assert made == drawing(board), f"lapel device wiring {board} --out docs/pictures/wiring-{board}.svg"


def test_a_header_pin_of_a_pico_is_the_makers(bare: Lapel) -> None:
    told = {wire["name"]: wire for wire in bare("device", "wiring", "pico_w", "--json").json}
    assert (told["record_button"]["pin"], told["record_button"]["header"]) == ("GP2", 4)
    assert (told["usb_power"]["on_board"], told["usb_power"]["header"]) == (True, 0)
    shown = bare("device", "wiring", "pico_w").out
    assert "microSD DAT3 (CS)" in shown
    assert "parts: Arducam Mega" in shown


def test_a_picture_is_written_only_under_the_name_of_one(bare: Lapel) -> None:
    assert bare("device", "wiring", "fob_pico_w", "--out", "fob.svg").status == 0
    assert (bare.folder / "fob.svg").read_text().startswith("<svg")
    refused = bare("device", "wiring", "fob_pico_w", "--out", "fob.png")
    assert (refused.status, "ends in .svg" in refused.err) == (2, True)
    assert bare("device", "wiring", "toaster").status == 2
