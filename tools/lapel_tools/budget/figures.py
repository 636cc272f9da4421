"""What a run measured (`figures.json` beside this module): bytes and times of each thing that a device does.

`lapel sim budget` writes it anew; a test measures again and holds the bytes to it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FIGURES_FILE = Path(__file__).with_name("figures.json")

CONNECT, RECONNECT, BEAT, PING = "connect", "reconnect", "beat", "ping"
VISIT, POSITION, DRILL = "visit", "position", "drill"
RECORDING, STANDBY = "recording", "standby"


@dataclass(frozen=True)
class Bytes:
    """Bytes in one direction, by what they are for. Without TCP and IP, which add some 4 % to full segments."""

    handshake: float
    tls: float
    mqtt: float
    records: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.handshake + self.tls + self.mqtt + self.records

    def times(self, count: float) -> Bytes:
        """So many of it."""
        return Bytes(self.handshake * count, self.tls * count, self.mqtt * count, self.records * count)

    def plus(self, other: Bytes) -> Bytes:
        """Both together."""
        return Bytes(
            self.handshake + other.handshake,
            self.tls + other.tls,
            self.mqtt + other.mqtt,
            self.records + other.records,
        )


NO_BYTES = Bytes(0, 0, 0, 0)


@dataclass(frozen=True)
class Activity:
    """One time of something, of a recording one minute at the board's own rates.

    `busy_ms`: processor time that the simulator's table of costs charged, by its work; `seconds`: how long it took.
    """

    up: Bytes
    down: Bytes
    seconds: float = 0.0
    busy_ms: dict[str, float] = field(default_factory=dict)

    @property
    def busy_share(self) -> float:
        """Of the time that it took, 0 to 1; 0 for what takes none."""
        return sum(self.busy_ms.values()) / 1000 / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Media:
    """What a recording is made of: rates from the board's data, the size of a picture as measured.

    `per_media_byte`: bytes carried up for each byte of picture and sound; `behind_s`: how long after its end the
    gateway had the clip whole, on a link faster than the device.
    """

    frames_per_s: float
    frame_bytes: float
    audio_bytes_per_s: float
    per_media_byte: float
    behind_s: float


@dataclass(frozen=True)
class BoardFigures:
    """One board's. `media` is None for a board that does not record."""

    activities: dict[str, Activity]
    media: Media | None


@dataclass(frozen=True)
class Figures:
    """All boards', measured on `date` (ISO 8601)."""

    date: str
    boards: dict[str, BoardFigures]


def read_figures(path: Path = FIGURES_FILE) -> Figures:
    """Read a file of figures. Raises OSError, ValueError for a file that is none."""
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        boards = {name: _board(board) for name, board in fields["boards"].items()}
        return Figures(str(fields["date"]), boards)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path} holds no figures of a measurement ({error}): make it anew with lapel sim budget"
        ) from None


def write_figures(figures: Figures, path: Path) -> None:
    """Write them. Raises OSError."""
    path.write_text(json.dumps(_rounded(asdict(figures)), indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _board(fields: dict[str, Any]) -> BoardFigures:
    activities = {
        name: Activity(Bytes(**found["up"]), Bytes(**found["down"]), found["seconds"], found["busy_ms"])
        for name, found in fields["activities"].items()
    }
    return BoardFigures(activities, Media(**fields["media"]) if fields["media"] else None)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(found) for name, found in value.items()}
    return round(value, 3) if isinstance(value, float) else value
