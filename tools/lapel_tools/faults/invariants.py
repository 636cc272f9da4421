"""What must hold in every fault schedule, whatever went wrong.

1. No alarm that the device raised is lost: each is in the ledger once, and receipted, acknowledged and resolved there
   and on the device.
2. No clip is lost or altered: each that has a durable header is held, its vault file is the device's own, and it opens.
3. Every frame of a clip that ended in order is in it, once, in order; a cut clip holds a prefix of them.
4. Nothing is deleted on the device before the gateway holds the same bytes durably.
5. Every epoch is accounted for, and no clip number was used twice.
6. Once faults stop, everything comes to rest within a bound.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import sqlalchemy as sa

from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import alarm as alarm_table
from lapel_gateway.ledger.schema import clip as clip_table
from lapel_gateway.ledger.schema import epoch as epoch_table
from lapel_gateway.unseal import KeyRing, keys_from_registry, unseal
from lapel_protocol import alarm as alarms
from lapel_protocol.limits import CLIP_END_BYTES, CLIP_HEADER_BYTES
from lapel_protocol.names import ALARM_STATE_NAMES, CUSTODY_STATE_NAMES
from lapel_protocol.opening import open_clip_end

if TYPE_CHECKING:
    from .device_side import DeviceSide
    from .gateway_side import GatewaySide

_SPOOL = "/spool/"
_HELD = CUSTODY_STATE_NAMES[3:6]


class Broken(Exception):
    """An invariant does not hold; the message says which and where."""


class Watcher:
    """Sees what both sides do and holds it against the invariants. `check` is for when everything is at rest."""

    def __init__(self, device: DeviceSide, gateway: GatewaySide) -> None:
        self._device = device
        self._gateway = gateway
        self._seen_headers: dict[int, bytes] = {}
        device.board.storage.on_remove = self._removed

    def _removed(self, path: str, content: bytes) -> None:
        """Invariant 4, at the very moment of deletion."""
        if not path.startswith(_SPOOL) or len(content) < CLIP_HEADER_BYTES:
            return
        clip = int(path[len(_SPOOL) :].split(".")[0], 16)
        vault = self._gateway.vault.path(self._device.name, clip)
        held = vault.read_bytes() if vault.exists() else b""
        if not held or not content.startswith(held):
            raise Broken(f"clip {clip} was deleted on the device while the gateway's copy differs")

    def at_rest(self) -> bool:
        """Whether nothing is left to say on either side."""
        return not self.unrest()

    def unrest(self) -> str:
        """What is still under way, in words; empty when nothing is."""
        device, gateway = self._device, self._gateway
        if not device.running or not gateway.alive:
            return "a side is down"
        if gateway.alarm_queue or gateway.clip_queue:
            return f"{len(gateway.alarm_queue)} alarms and {len(gateway.clip_queue)} messages wait at the broker"
        status = device.app.status()
        if status.fault:
            raise Broken(f"the device is out of service: {status.fault}")
        if not status.welcomed:
            return "the gateway has not answered the device's hello"
        if status.clips_held:
            return f"{status.clips_held} clips are not receipted"
        if status.events_held:
            return f"{status.events_held} events are not receipted"
        if status.alarm not in (alarms.QUIET, alarms.RESOLVED):
            return f"alarm {status.alarm_boot}/{status.alarm_counter} shows {ALARM_STATE_NAMES[status.alarm]}"
        with reading(gateway.engine) as connection:
            if connection.execute(sa.select(alarm_table.c.id).where(alarm_table.c.resolved_ms.is_(None))).first():
                return "an alarm is not resolved"
        return ""

    def check(self) -> tuple[int, int]:
        """(clips, alarms) after all invariants were found to hold. Raises Broken."""
        with reading(self._gateway.engine) as connection:
            clips = connection.execute(sa.select(clip_table).order_by(clip_table.c.clip)).all()
            alarm_rows = connection.execute(sa.select(alarm_table)).all()
            epochs = {
                row.epoch: row.used_for
                for row in connection.execute(sa.select(epoch_table).where(epoch_table.c.device == self._device.name))
            }
        self._check_alarms({(row.boot, row.counter) for row in alarm_rows}, len(alarm_rows))
        self._check_epochs(epochs, {row.clip for row in clips})
        given = 0
        for row in clips:
            given = self._check_clip(row, epochs, given)
        return len(clips), len(alarm_rows)

    def _check_alarms(self, known: set[tuple[int, int]], count: int) -> None:
        lost = self._device.alarms_raised - known
        if lost:
            raise Broken(f"alarms {sorted(lost)} are not in the ledger")
        if count != len(known):
            raise Broken("an alarm is in the ledger twice")

    def _check_epochs(self, epochs: dict[int, str], clips: set[int]) -> None:
        boot = self._device.app.status().boot
        missing = [epoch for epoch in range(boot + 1) if epoch not in epochs]
        if missing:
            raise Broken(f"epochs {missing} of {boot} are not accounted for")
        for path in self._device.board.storage.listdir(_SPOOL):
            clip = int(path.split(".")[0], 16)
            content = self._device.board.storage.content(_SPOOL + path) or b""
            if len(content) >= CLIP_HEADER_BYTES and clip not in clips:
                raise Broken(f"clip {clip} is on the device and unknown to the ledger")

    def _check_clip(self, row: sa.Row[tuple[object, ...]], epochs: dict[int, str], given: int) -> int:
        """Invariants 2 and 3 for one clip; returns up to which given frame all clips so far reach."""
        clip = row.clip
        name = f"clip {clip}"
        if row.header_ms is None:
            if epochs.get(clip) in ("burned", "lost"):
                return given
            raise Broken(f"{name} has no header, and its epoch is said to be {epochs.get(clip)}")
        if row.state not in _HELD:
            raise Broken(f"{name} is {row.state}")
        path = self._gateway.vault.path(self._device.name, clip)
        stored = path.read_bytes()
        on_device = self._device.board.storage.content(f"{_SPOOL}{clip:08x}.lapel")
        if on_device is not None and not on_device.startswith(stored):
            raise Broken(f"{name}: the vault's file is not the device's")
        ring = KeyRing(keys_from_registry(self._gateway.engine, self._gateway.registry), self._gateway.organisation)
        plain = io.BytesIO()
        with path.open("rb") as file:
            header = file.read(CLIP_HEADER_BYTES)
            file.seek(0)
            keys = ring.of_clip(self._device.name, clip, header)
            unsealed = unseal(file, keys, row.settled_segments, plain.write)
        if unsealed.head.value != row.settled_head:
            raise Broken(f"{name}: its head is not the settled one")
        return self._check_frames(row, plain.getvalue(), given)

    def _check_frames(self, row: sa.Row[tuple[object, ...]], plain: bytes, given: int) -> int:
        found = at = 0
        gap = False
        frames = self._device.frames
        for number in range(given, len(frames)):
            where = plain.find(frames[number].jpeg)
            if where < 0:
                gap = gap or bool(found)
                continue
            if gap:
                raise Broken(f"clip {row.clip}: a frame before frame {number} of those given is missing")
            if where < at or plain.find(frames[number].jpeg, where + 1) >= 0:
                raise Broken(f"clip {row.clip}: frame {number} of those given is out of order, or there twice")
            found += 1
            at = where + len(frames[number].jpeg)
            given = number + 1
        if row.settled_by == "end":
            with self._gateway.vault.path(self._device.name, row.clip).open("rb") as file:
                record = file.read()[-CLIP_END_BYTES:]
            keys = keys_from_registry(self._gateway.engine, self._gateway.registry)(self._device.name, row.clip)
            if open_clip_end(keys, record).frames != found:
                raise Broken(f"clip {row.clip}: its end record counts other than the {found} frames in it")
        return given
