"""What is left of every clip, alarm and epoch after a run, judged from its folder alone.

Rules that hold here
- A clip is lost when the witness saw its header durable on the device and the gateway does not hold it; it is altered
  when the vault's file has another SHA-256 than the witness's copy up to the end of its sealed records.
- The judge derives nothing from what the gateway says of a clip where the witness or the world's journal can say it.
- An alarm is owed when it stood in the device's journal on the medium, or was raised and its power stayed on.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import av
import sqlalchemy as sa

from lapel_gateway import durable
from lapel_gateway.custody.vault import Vault
from lapel_gateway.describe import clip_name
from lapel_gateway.ledger import reading
from lapel_gateway.ledger import schema as tables
from lapel_gateway.viewing.unseal import KeyRing, keys_from_registry, unseal
from lapel_protocol.errors import ProtocolError
from lapel_protocol.limits import CLIP_HEADER_BYTES
from lapel_protocol.names import CUSTODY_STATE_NAMES
from lapel_sim.hosttime import TICKS_PERIOD
from lapel_tools.killing.witness import CLIP_SUFFIX, FACTS, Sealed, sealed_part
from lapel_tools.site import Site

RUN_FACTS = "run.json"
"""Beside the witness's folders: device ids by name."""

FAILED = "failed"
RAISING_MS = 2_000
"""An alarm whose device lost its power so soon after it was raised may not have reached its journal."""

_HELD = CUSTODY_STATE_NAMES[3:6]
_RAISED = re.compile(r"alarm (\d+)/(\d+) raised")
_BOOT = re.compile(r"boot (\d+) of ")
_TOLERANCE_MS = 1
_TROUBLE = re.compile("MemoryError|stopped by|Traceback|out of service")


@dataclass
class Verdict:
    """Counts of what was compared, and what is wrong, in words. `faults` are neither a lost nor an altered clip.

    `refused`: clips that did not get beyond their header and that their devices took back.
    """

    clips: int = 0
    cut: int = 0
    deleted: int = 0
    refused: int = 0
    segments: int = 0
    bytes: int = 0
    frames: int = 0
    mp4s: int = 0
    alarms: int = 0
    unfinished_alarms: int = 0
    epochs: int = 0
    lost: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.altered or self.faults)

    def words(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def judge(folder: Path) -> Verdict:
    """Compare everything that a finished run left below `folder`; evidence of a failing clip goes to ``failed/``."""
    return _Judge(folder).judge()


class _Judge:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._verdict = Verdict()
        self._site = Site(folder / "gateway" / "lapel.toml")
        self._vault = Vault(self._site.config.vault_dir, 0)
        keys = keys_from_registry(self._site.engine, self._site.registry)
        self._ring = KeyRing(keys, self._site.organisation)
        self._entries: dict[str, list[dict[str, Any]]] = defaultdict(list)
        with (folder / "world" / "journal.jsonl").open(encoding="utf-8") as lines:
            for line in lines:
                entry = json.loads(line)
                self._entries[entry.get("device", "")].append(entry)

    def judge(self) -> Verdict:
        facts = json.loads((self._folder / RUN_FACTS).read_text(encoding="utf-8"))
        with reading(self._site.engine) as connection:
            clips = connection.execute(sa.select(tables.clip)).all()
            alarms = connection.execute(sa.select(tables.alarm)).all()
            epochs = connection.execute(sa.select(tables.epoch)).all()
            told = set(
                connection.execute(
                    sa.select(tables.outbox.c.subject).where(
                        tables.outbox.c.kind == tables.OUTBOX_ALARM,
                        tables.outbox.c.state == tables.OUTBOX_DONE,
                        tables.outbox.c.withdrawn_ms.is_(None),
                    )
                ).scalars()
            )
        for name, device in facts["devices"].items():
            witness = json.loads((self._folder / "witness" / name / FACTS).read_text(encoding="utf-8"))
            self._verdict.faults += [f"{name}: {fault}" for fault in witness["faults"]]
            self._verdict.deleted += len(witness["gone"])
            rows = {row.clip: row for row in clips if row.device == device}
            known = {row.epoch: row.used_for for row in epochs if row.device == device}
            refused = {clip for clip in witness["gone"] if known.get(clip) == tables.EPOCH_BURNED}
            self._clips_of(name, device, rows, refused)
            self._alarms_of(name, [row for row in alarms if row.device == device], witness["alarms"], told)
            self._epochs_of(name, known)
            self._console_of(name)
        self._leftovers()
        return self._verdict

    # -- clips --

    def _clips_of(self, name: str, device: str, rows: dict[int, Any], refused: set[int]) -> None:
        """`refused`: clips that the device took back and says were never recorded, as it may of bare headers."""
        given: Given = {}
        for at, entry in enumerate(e for e in self._entries[name] if e["kind"] == "frame" and e["fits"]):
            given.setdefault(entry["sha256"], []).append((at, entry["ticks_of_frame"]))
        seen = set()
        for copy in sorted((self._folder / "witness" / name).glob(f"*{CLIP_SUFFIX}")):
            clip = int(copy.stem, 16)
            content = copy.read_bytes()
            sealed = sealed_part(content)
            if sealed is None:
                continue  # its header was never whole on the medium: nothing was recorded
            seen.add(clip)
            if clip in refused and sealed.size == CLIP_HEADER_BYTES and clip not in rows:
                self._verdict.refused += 1
                continue
            self._verdict.clips += 1
            self._clip(name, device, clip, content[: sealed.size], sealed, rows.get(clip), given)
        for clip, row in rows.items():
            if clip not in seen and row.header_ms is not None:
                self._verdict.faults.append(f"{clip_name(device, clip)}: never seen on the medium of {name}")

    def _clip(
        self,
        name: str,
        device: str,
        clip: int,
        content: bytes,
        sealed: Sealed,
        row: Any,
        given: Given,
    ) -> None:
        verdict, what = self._verdict, f"{clip_name(device, clip)} of {name}"
        path = self._vault.path(device, clip)
        if row is None or row.state not in _HELD or not path.exists():
            state = "unknown to the ledger" if row is None else row.state
            self._failed(verdict.lost, f"{what}: {state}, {len(content)} bytes on the device", path, content)
            return
        stored = path.read_bytes()
        digest, wanted = (hashlib.sha256(data).hexdigest() for data in (stored, content))
        if digest != wanted:
            lengths = f"{len(stored)} bytes in the vault, {len(content)} on the device"
            self._failed(verdict.altered, f"{what}: SHA-256 {digest[:16]}, {wanted[:16]}; {lengths}", path, content)
            return
        if row.receipt_segments != sealed.segments or (row.settled_by == "end") != sealed.ended:
            fault = f"{what}: settled by {row.settled_by} at {row.receipt_segments} of {sealed.segments} segments"
            self._failed(verdict.faults, fault, path, content)
        verdict.segments += sealed.segments
        verdict.bytes += len(content)
        verdict.cut += not sealed.ended
        frames = self._open(what, device, clip, path, content, row, given)
        self._files(what, device, clip, row, frames)

    def _failed(self, where: list[str], fault: str, path: Path, content: bytes) -> None:
        """Note a fault and keep both sides' bytes."""
        kept = self._folder / FAILED / f"{path.parent.name}-{path.stem}"
        kept.mkdir(parents=True, exist_ok=True)
        (kept / "device.lapel").write_bytes(content)
        if path.exists():
            shutil.copyfile(path, kept / "vault.lapel")
        (kept / "fault.txt").write_text(fault + "\n", encoding="utf-8")
        where.append(fault)
        self._verdict.evidence.append(str(kept))

    def _open(
        self,
        what: str,
        device: str,
        clip: int,
        path: Path,
        content: bytes,
        row: Any,
        given: Given,
    ) -> int:
        """Open the vault's file with the organisation's key and compare its frames with the camera's; their number."""
        verdict, plain = self._verdict, io.BytesIO()
        try:
            keys = self._ring.of_clip(device, clip, content[:CLIP_HEADER_BYTES])
            with path.open("rb") as file:
                unsealed = unseal(file, keys, row.receipt_segments, plain.write)
            if unsealed.head.value != row.settled_head:
                raise ProtocolError("its head is not the settled one")
        except ProtocolError as error:
            self._failed(verdict.altered, f"{what}: does not open: {error}", path, content)
            return 0
        frames = matroska_frames(plain.getvalue())
        fault = compare_frames(frames, given)
        if not fault and row.settled_by == "end" and row.frames != len(frames):
            fault = f"its end record counts {row.frames} frames, {len(frames)} are in it"
        if fault:
            self._failed(verdict.altered, f"{what}: {fault}", path, content)
        verdict.frames += len(frames)
        return len(frames)

    def _files(self, what: str, device: str, clip: int, row: Any, frames: int) -> None:
        """The forwarded copies are those that assembly named, and the MP4 has a picture for each frame."""
        if row.assembly is None:
            self._verdict.faults.append(f"{what}: not assembled")
            return
        for name, facts in json.loads(row.assembly)["files"].items():
            copy = self._folder / "forwarded" / device / f"{clip_name(device, clip)}{Path(name).suffix}"
            if not copy.is_file() or durable.sha256_of(copy) != facts["sha256"]:
                self._verdict.faults.append(f"{what}: {copy.name} was not forwarded whole")
            elif copy.suffix == ".mp4":
                self._verdict.mp4s += 1
                shown = _pictures(copy)
                if shown != frames:
                    self._verdict.faults.append(f"{what}: its MP4 shows {shown} of {frames} frames")

    def _leftovers(self) -> None:
        """Half a file that nothing will finish any more."""
        for top in (self._folder / "forwarded", self._site.config.views_dir):
            self._verdict.faults += [f"left behind: {path}" for path in top.rglob(".*")]

    # -- alarms and epochs --

    def _alarms_of(self, name: str, rows: list[Any], journalled: list[list[int]], told: set[str]) -> None:
        verdict = self._verdict
        known = {(row.boot, row.counter) for row in rows}
        owed = {(boot, counter) for boot, counter in journalled}
        raised: dict[tuple[int, int], int] = {}
        off = [e["at_ms"] for e in self._entries[name] if e["kind"] == "power" and not e["on"]]
        for entry in self._entries[name]:
            found = _RAISED.search(entry["line"]) if entry["kind"] == "console" else None
            if found:
                alarm = int(found[1]), int(found[2])
                raised[alarm] = entry["at_ms"]
                if not any(0 <= at - entry["at_ms"] <= RAISING_MS for at in off):
                    owed.add(alarm)
        verdict.unfinished_alarms += len(set(raised) - owed - known)
        verdict.alarms += len(rows)
        if len(known) != len(rows):
            verdict.faults.append(f"{name}: an alarm is in the ledger twice")
        verdict.faults += [f"{name}: alarm {boot}/{counter} is lost" for boot, counter in sorted(owed - known)]
        verdict.faults += [
            f"{name}: alarm {boot}/{counter} was never raised" for boot, counter in sorted(known - owed - set(raised))
        ]
        shown = [
            (entry["at_ms"], entry["pattern"])
            for entry in self._entries[name]
            if entry["kind"] == "indicator" and entry["pattern"] in _ANSWERED
        ]
        for row in rows:
            since = raised.get((row.boot, row.counter), 0)
            if row.resolved_ms is None or row.untold:
                verdict.faults.append(f"{name}: alarm {row.boot}/{row.counter} is {row.state}")
            if row.id not in told and row.acknowledged_by is None:
                verdict.faults.append(f"{name}: nobody was told of alarm {row.boot}/{row.counter}")
            if not any(at >= since for at, _ in shown):
                verdict.faults.append(f"{name}: alarm {row.boot}/{row.counter} was not receipted on the device")

    def _epochs_of(self, name: str, epochs: dict[int, str]) -> None:
        boots = [int(found[1]) for entry in self._console(name) if (found := _BOOT.search(entry["line"]))]
        missing = [number for number in range(max(boots) + 1) if number not in epochs]
        unknown = [number for number, what in epochs.items() if what == tables.EPOCH_UNKNOWN]
        self._verdict.epochs += len(epochs)
        if missing or unknown:
            self._verdict.faults.append(f"{name}: epochs {sorted(missing + unknown)} are not accounted for")

    def _console_of(self, name: str) -> None:
        lines = [entry["line"] for entry in self._console(name) if _TROUBLE.search(entry["line"])]
        lines += [entry["error"] for entry in self._entries[name] if entry["kind"] == "fault"]
        self._verdict.faults += [f"{name} said: {line}" for line in lines]

    def _console(self, name: str) -> list[dict[str, Any]]:
        return [entry for entry in self._entries[name] if entry["kind"] == "console"]


_ANSWERED = ("alarm received", "alarm acknowledged", "alarm resolved")


def matroska_frames(plain: bytes) -> list[tuple[str, int]]:
    """(SHA-256, milliseconds) of each picture of an opened clip; of one cut short, as far as it goes."""
    found: list[tuple[str, int]] = []
    try:
        with av.open(io.BytesIO(plain), "r", format="matroska") as container:
            for packet in container.demux(container.streams.video):
                if packet.size and packet.pts is not None and packet.time_base is not None:
                    at_ms = round(packet.pts * packet.time_base * 1000)
                    found.append((hashlib.sha256(bytes(packet)).hexdigest(), at_ms))
    except av.FFmpegError:
        return found  # cut before its first picture, or in the middle of one
    return found


Given = dict[str, list[tuple[int, int]]]
"""{SHA-256 of a picture: (its place among all that the camera gave, its ticks)}. A picture shows its ticks, which begin
anew with each boot: two boots may give the same one."""


def compare_frames(frames: list[tuple[str, int]], given: Given) -> str:
    """What is wrong with a clip's frames, held against those that the camera gave; "" when they are its own."""
    before: list[tuple[int, int]] = []
    before_ms = 0
    for number, (digest, at_ms) in enumerate(frames):
        if digest not in given:
            return f"frame {number} is none that the camera gave"
        here = given[digest]
        if number:
            here = [one for one in here if any(one[0] > earlier[0] for earlier in before)]
            if not here:
                return f"frame {number} is out of order"
            here = [one for one in here if any(_follows(one, earlier, at_ms - before_ms) for earlier in before)]
            if not here:
                return f"frame {number} has another time than on the device"
        before, before_ms = here, at_ms
    return ""


def _follows(one: tuple[int, int], earlier: tuple[int, int], elapsed_ms: int) -> bool:
    """Whether a frame came after another one, and so much later."""
    ticks = (one[1] - earlier[1]) % TICKS_PERIOD
    return one[0] > earlier[0] and abs(elapsed_ms - ticks) <= _TOLERANCE_MS


def _pictures(path: Path) -> int:
    with av.open(str(path)) as container:
        if not container.streams.video:
            return 0
        return sum(1 for packet in container.demux(container.streams.video[0]) if packet.size)
