"""One batch on its way through ingest: what was verified, what is to be written, what is to be told afterwards."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import structlog

from lapel_gateway.custody.downlink import Order
from lapel_gateway.custody.tracks import ClipTrack
from lapel_gateway.log import Repeats
from lapel_gateway.verify import Trust
from lapel_protocol.errors import ProtocolError
from lapel_protocol.event import Event
from lapel_protocol.reports import EPOCH_LOST, AlarmSending, ClipCut, Heartbeat, Hello, Location, VisitNote
from lapel_protocol.updating import UpdateAsk, UpdateNote

_log = structlog.get_logger("lapel.ingest")

ClipKey = tuple[str, int]


@dataclass(slots=True)
class Run:
    """Records that follow each other in one clip's file, written at once."""

    key: ClipKey
    offset: int
    end: int
    parts: list[memoryview]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that operators must be told once; `key` makes it one."""

    kind: str
    key: str
    device: str
    subject: str
    detail: str


@dataclass(slots=True)
class Batch:
    """Everything that one group commit is about. `now_ms` is Unix milliseconds."""

    now_ms: int
    repeats: Repeats
    trusts: dict[bytes, Trust] = field(default_factory=dict)
    tallies: Counter[tuple[str, str]] = field(default_factory=Counter)
    notices: list[Notice] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    epochs: set[tuple[str, int, str, bool]] = field(default_factory=set)
    boots: dict[bytes, int] = field(default_factory=dict)
    touched: dict[ClipKey, ClipTrack] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    run_bytes: int = 0
    _last_runs: dict[ClipKey, Run] = field(default_factory=dict)
    events: list[tuple[Trust, Event, bytes]] = field(default_factory=list)
    alarms: list[tuple[Trust, Event, bytes]] = field(default_factory=list)
    cuts: list[tuple[Trust, Event, ClipCut]] = field(default_factory=list)
    visit_notes: list[tuple[Trust, Event, VisitNote, bytes]] = field(default_factory=list)
    sendings: list[tuple[Trust, Event, AlarmSending, bytes]] = field(default_factory=list)
    locations: list[tuple[Trust, Event, Location]] = field(default_factory=list)
    hellos: list[tuple[Trust, Event, Hello]] = field(default_factory=list)
    heartbeats: list[tuple[Trust, Event, Heartbeat]] = field(default_factory=list)
    update_notes: list[tuple[Trust, Event, UpdateNote]] = field(default_factory=list)
    asks: list[tuple[Trust, UpdateAsk]] = field(default_factory=list)
    completed: list[ClipTrack] = field(default_factory=list)
    repeated: set[ClipKey] = field(default_factory=set)

    @property
    def lost_clips(self) -> list[tuple[Trust, int]]:
        """Clips that hellos of the batch say are lost. Old news is true news: a lost clip was lost before too."""
        return [
            (trust, number) for trust, _, hello in self.hellos for number, what in hello.epochs if what == EPOCH_LOST
        ]

    @property
    def writes(self) -> bool:
        """Whether anything has to be written to the ledger."""
        return bool(
            any(track.changed or track.grown for track in self.touched.values())
            or self.events
            or self.alarms
            or self.locations
            or self.hellos
            or self.heartbeats
            or self.repeated
            or self.epochs
            or self.notices
            or self.tallies
        )

    def refuse(self, device: bytes, error: ProtocolError, what: str) -> None:
        """Count something that is not acceptable, and log it unless the same was logged lately."""
        known = device in self.trusts
        self.tallies[device.hex() if known else "", error.reason] += 1
        told = self.repeats.tell(self.now_ms, device.hex(), what, error.reason)
        if told:
            _log.warning("refused", device=device.hex(), what=what, reason=error.reason, detail=str(error), times=told)

    def saw_boot(self, trust: Trust, boot: int) -> None:
        """A genuine record named a boot."""
        self.boots[trust.device] = max(boot, self.boots.get(trust.device, -1))

    def touch(self, track: ClipTrack) -> None:
        """The clip's row has to be written."""
        track.touched_ms = self.now_ms
        self.touched[track.name, track.clip] = track

    def stage(self, key: ClipKey, offset: int, record: memoryview) -> None:
        """Have a record placed in the vault, together with the clip's last one where they are neighbours."""
        size = len(record)
        last = self._last_runs.get(key)
        if last is not None and last.end == offset:
            last.parts.append(record)
            last.end += size
        else:
            run = self._last_runs[key] = Run(key, offset, offset + size, [record])
            self.runs.append(run)
        self.run_bytes += size
