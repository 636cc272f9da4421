"""The label of a device: who it belongs to, what it is called, and its id as a QR code. A page of PDF, label-sized.

Nothing on it is a secret: whoever finds the device may read it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from reportlab.graphics import renderPDF
from reportlab.graphics.barcode.qr import QrCodeWidget
from reportlab.graphics.shapes import Drawing
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

WIDTH_MM = 62.0
HEIGHT_MM = 29.0
"""A common size of address labels on a roll."""

QR_MM = 25.0
QR_PREFIX = "lapel:"
"""Before the device id in the code: a reader that looks for a device takes no other code for one."""

_MARGIN = 2 * mm
_LINE = 1.2
_TEXT_LEFT = (QR_MM + 3) * mm
_FONT, _BOLD = "LapelSans", "LapelSansBold"


@dataclass(frozen=True)
class Label:
    """What one label says."""

    name: str
    """As the device is called: the largest word."""
    device: str
    """Its id, 16 hexadecimal digits."""
    organisation: str
    """Whom it belongs to."""
    return_to: str = ""
    """Where a finder turns to; "" = nothing is said of it."""


def render_labels(labels: Sequence[Label]) -> bytes:
    """One page for each label, as a PDF."""
    _fonts()
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=(WIDTH_MM * mm, HEIGHT_MM * mm), invariant=1)
    canvas.setTitle("Lapel device labels")
    for label in labels:
        _draw(canvas, label)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def _draw(canvas: Canvas, label: Label) -> None:
    code = QrCodeWidget(QR_PREFIX + label.device, barLevel="Q", barBorder=2)
    left, bottom, right, top = code.getBounds()
    side = QR_MM * mm
    drawing = Drawing(side, side, transform=[side / (right - left), 0, 0, side / (top - bottom), 0, 0])
    drawing.add(code)
    renderPDF.draw(drawing, canvas, _MARGIN, (HEIGHT_MM * mm - side) / 2)

    # Two lines of each but the id fill the height.
    lines = [(_BOLD, 10.5, label.name), (_FONT, 7.0, _grouped(label.device)), (_FONT, 6.5, label.organisation)]
    if label.return_to:
        lines.append((_FONT, 5.5, f"If found: {label.return_to}"))
    at = HEIGHT_MM * mm - _MARGIN
    for font, size, text in lines:
        for piece in _wrapped(text, font, size, WIDTH_MM * mm - _TEXT_LEFT - _MARGIN):
            at -= size * _LINE
            canvas.setFont(font, size)
            canvas.drawString(_TEXT_LEFT, at, piece)


def _grouped(device: str) -> str:
    """An id in fours, which people can read to each other."""
    return " ".join(device[at : at + 4] for at in range(0, len(device), 4))


def _wrapped(text: str, font: str, size: float, width: float) -> list[str]:
    """At most two lines that fit; what does not fit ends with an ellipsis."""
    lines: list[str] = []
    rest = text
    for last in (False, True):
        piece = _fitting(rest, font, size, width)
        if piece == rest:
            return [*lines, rest]
        if last:
            while piece and pdfmetrics.stringWidth(f"{piece}…", font, size) > width:
                piece = piece[:-1]
            return [*lines, f"{piece}…"]
        at = piece.rfind(" ")
        piece = piece[:at] if at > 0 else piece
        lines.append(piece)
        rest = rest[len(piece) :].lstrip()
    return lines


def _fitting(text: str, font: str, size: float, width: float) -> str:
    end = len(text)
    while end and pdfmetrics.stringWidth(text[:end], font, size) > width:
        end -= 1
    return text[:end]


def _fonts() -> None:
    """The fonts that the library carries: they know Latin letters with all their accents."""
    if _FONT not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(TTFont(_FONT, "Vera.ttf"))
        pdfmetrics.registerFont(TTFont(_BOLD, "VeraBd.ttf"))
