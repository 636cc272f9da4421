"""What must hold whenever everything is at rest, in the middle of a fault schedule and at its end.

1. No alarm that a device raised is lost: each is in the ledger once, told to whoever is to be told, answered by a
   human, and receipted and resolved on the device. None is there that no device raised.
2. No clip is lost or altered: each that has a durable header on a device, or ever had, is held; its vault file is the
   device's own, byte for byte; it opens; what was assembled of it is its plaintext.
3. Every frame of a clip that ended in order is in it, once, in order; a cut clip holds a prefix of them.
4. No event that a device let go of, or said that it had journalled, is missing from the ledger.
5. Every epoch is accounted for, none is unknown, each clip follows the one before it, and no number was used twice.
6. Nothing that either side keeps in memory is above its bound.
7. Once faults stop, everything comes to rest within a bound (`schedule.SETTLE_MS`).

`promises` holds what must be true at every moment, and `backups` what is promised after a restore. After one, a clip
that its device no longer has may be missing, if it was handed over before, and epochs may be unknown. A cut clip may be
unsettled if the restore took away what settled it and its device has let go of the clip.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import CHAIN_BROKEN, EPOCH_UNKNOWN
from lapel_gateway.ledger.schema import alarm as alarm_table
from lapel_gateway.ledger.schema import clip as clip_table
from lapel_gateway.ledger.schema import epoch as epoch_table
from lapel_gateway.viewing.assembly import MATROSKA
from lapel_gateway.viewing.unseal import unseal
from lapel_protocol import alarm as alarms
from lapel_protocol.limits import CLIP_END_BYTES, CLIP_HEADER_BYTES
from lapel_protocol.names import ALARM_STATE_NAMES
from lapel_protocol.opening import open_clip_end
from lapel_sim.inprocess.broker import Broker

from .bounds import device_sizes, excess, gateway_sizes
from .device_side import DeviceSide
from .gateway_side import GatewaySide
from .promises import HELD, Broken, Promises

_NO_CLIP = ("burned", "lost", "boot")
_CLIPS = sa.select(clip_table).order_by(clip_table.c.device, clip_table.c.clip)


class Watcher:
    """Holds both sides against the invariants."""

    def __init__(self, devices: Sequence[DeviceSide], gateway: GatewaySide, broker: Broker, promises: Promises) -> None:
        self._devices = devices
        self._gateway = gateway
        self._broker = broker
        self._promises = promises
        self._excused_alarms: set[tuple[str, int, int]] = set()
        self._seen: dict[tuple[Any, ...], int] = {}
        self._restored = False

    # -- rest -------------------------------------------------------------------------------------------------------

    def unrest(self) -> str:
        """What is still under way, in words; empty when nothing is."""
        gateway = self._gateway
        if not gateway.alive:
            return "the gateway is down"
        if not gateway.idle:
            return f"{sum(map(len, gateway.inboxes))} messages wait for the gateway, or it has not recovered"
        if not self._broker.quiet:
            return "the broker holds messages back"
        for device in self._devices:
            why = self._unrest_of(device)
            if why:
                return f"{device.name}: {why}"
        return self._unrest_in_ledger()

    def _unrest_of(self, device: DeviceSide) -> str:
        if not device.running:
            return "it is down"
        status = device.app.status()
        if status.fault:
            raise Broken(f"{device.name} is out of service: {status.fault}")
        if device.recording:
            return "it records"
        if not status.welcomed:
            return "the gateway has not answered its hello"
        if status.clips_held:
            return f"{status.clips_held} clips are not receipted"
        if status.events_held:
            return f"{status.events_held} events are not receipted"
        if status.alarm not in (alarms.QUIET, alarms.RESOLVED):
            return f"alarm {status.alarm_boot}/{status.alarm_counter} shows {ALARM_STATE_NAMES[status.alarm]}"
        return ""

    def _unrest_in_ledger(self) -> str:
        view = self._gateway.view
        idle = view.row(
            "SELECT a.id FROM alarm a LEFT JOIN escalation e ON e.alarm_id = a.id "
            "WHERE a.acknowledged_ms IS NULL AND a.resolved_ms IS NULL AND e.next_at_ms IS NULL"
        )
        if idle:
            raise Broken(f"alarm {idle[0]} waits for a human, and no step of its escalation is due")
        if view.row("SELECT 1 FROM alarm WHERE resolved_ms IS NULL"):
            return "an alarm is not resolved"
        if view.row("SELECT 1 FROM outbox WHERE state = 'waiting'"):
            return "something waits in the outbox"
        with reading(self._gateway.engine) as connection:
            clips = {(row.device, row.clip): row for row in connection.execute(_CLIPS)}
            epochs = self._epochs(connection)
        for device in self._devices:
            for clip in device.clips():
                row = clips.get((device.name, clip))
                if row is None or row.state not in HELD:
                    return f"clip {device.name}-{clip} is on its device and not held"
            known = epochs[device.name]
            missing = [epoch for epoch in range(device.app.status().boot + 1) if epoch not in known]
            if missing:
                return f"epochs {missing} of {device.name} are not accounted for"
        return ""

    # -- at rest ----------------------------------------------------------------------------------------------------

    def check(self) -> tuple[int, int]:
        """(clips, alarms) after all invariants were found to hold, everything being at rest. Raises Broken."""
        with reading(self._gateway.engine) as connection:
            clips = connection.execute(_CLIPS).all()
            alarm_rows = connection.execute(sa.select(alarm_table)).all()
            epochs = self._epochs(connection)
        missing = self._promises.missing_events()
        if missing:
            raise Broken(f"events {missing} are neither on their device nor in the ledger")
        self._check_alarms(alarm_rows)
        for device in self._devices:
            unknown = sorted(number for number, what in epochs[device.name].items() if what == EPOCH_UNKNOWN)
            if unknown and not self._restored:
                raise Broken(f"epochs {unknown} of {device.name} are unknown")
            mine = [row for row in clips if row.device == device.name]
            given = 0
            for row in mine:
                given = self._check_clip(device, row, epochs[device.name], given)
            self._check_deleted(device, {row.clip for row in mine})
        self.check_sizes(sum(map(len, epochs.values())), len(clips))
        return len(clips), len(alarm_rows)

    def check_sizes(self, epochs: int, clips: int) -> None:
        """Invariant 6. Raises Broken."""
        over = excess(gateway_sizes(self._gateway, len(self._devices), epochs, clips))
        for device in self._devices:
            if device.running:
                over = over or excess(device_sizes(device))
        if over:
            raise Broken(f"memory is not bounded: {over}")

    def before_restore(self) -> dict[tuple[str, int, int], bool]:
        """Each alarm in the ledger, and whether it is open and its device still holds it."""
        sides = {device.name: device for device in self._devices}
        with reading(self._gateway.engine) as connection:
            rows = connection.execute(sa.select(alarm_table)).all()
        return {
            (row.device, row.boot, row.counter): row.resolved_ms is None
            and sides[row.device].holds_alarm(row.boot, row.counter)
            for row in rows
            if row.boot is not None
        }

    def after_restore(self, before: dict[tuple[str, int, int], bool]) -> None:
        """Alarms that a restore took away are excused where no device holds them any more."""
        with reading(self._gateway.engine) as connection:
            rows = connection.execute(sa.select(alarm_table)).all()
        known = {(row.device, row.boot, row.counter) for row in rows}
        self._restored = True
        self._excused_alarms |= {alarm for alarm, held in before.items() if not held and alarm not in known}

    def _epochs(self, connection: sa.Connection) -> dict[str, dict[int, str]]:
        epochs: dict[str, dict[int, str]] = {device.name: {} for device in self._devices}
        for row in connection.execute(sa.select(epoch_table)):
            epochs[row.device][row.epoch] = row.used_for
        return epochs

    def _check_alarms(self, rows: Sequence[sa.Row[Any]]) -> None:
        known = [(row.device, row.boot, row.counter) for row in rows if row.boot is not None]
        raised = {(device.name, *alarm) for device in self._devices for alarm in device.alarms_raised}
        lost = raised - set(known) - self._excused_alarms
        if lost:
            raise Broken(f"alarms {sorted(lost)} are not in the ledger")
        if len(known) != len(set(known)):
            raise Broken("an alarm is in the ledger twice")
        for row in rows:
            self._check_told(row)

    def _check_told(self, row: sa.Row[Any]) -> None:
        """Somebody was told, or has answered before; whoever was told is told of the end; after it nobody is called."""
        told = self._gateway.receiver.told
        stem = f"alarm-{row.id}-"
        called = any(key.startswith(f"{stem}step-") for key in told)
        if not called and row.acknowledged_by is None:
            raise Broken(f"nobody was told of alarm {row.id}, and nobody had answered it")
        if called and not self._restored:
            untold = [what for what in ("acknowledged", "resolved") if f"{stem}{what}" not in told]
            if untold:
                raise Broken(f"nobody was told that alarm {row.id} was {', '.join(untold)}")
        steps = self._gateway.view.row(
            "SELECT count(*) FROM alarm_log WHERE alarm_id = ? AND step = 'step' AND id > "
            "(SELECT min(id) FROM alarm_log WHERE alarm_id = ? AND step IN ('acknowledged', 'resolved'))",
            (row.id, row.id),
        )
        if steps[0]:
            raise Broken(f"alarm {row.id} went on calling after a human had answered")

    def _check_deleted(self, device: DeviceSide, known: set[int]) -> None:
        for name, clip in sorted(self._promises.deleted):
            if name == device.name and clip not in known and (name, clip) not in self._promises.gone_with_restore:
                raise Broken(f"clip {name}-{clip} was deleted on its device and is unknown to the ledger")

    def _check_clip(self, device: DeviceSide, row: sa.Row[Any], epochs: dict[int, str], given: int) -> int:
        """Invariants 2 and 3 for one clip; returns up to which given frame all clips so far reach."""
        clip = row.clip
        name = f"clip {row.device}-{clip}"
        excused = (row.device, clip) in self._promises.gone_with_restore
        on_device = device.clip_content(clip)
        if on_device is None and excused and row.state not in HELD:
            return given
        if row.header_ms is None:
            if epochs.get(clip) in _NO_CLIP:
                return given
            raise Broken(f"{name} has no header, and its epoch is said to be {epochs.get(clip)}")
        path = self._gateway.vault.path(row.device, clip)
        stored = path.read_bytes()
        seen = (*row, hashlib.sha256(stored).digest(), given)
        if seen in self._seen:
            return self._seen[seen]
        mine = on_device or self._promises.deleted.get((row.device, clip), b"")
        if not mine.startswith(stored):
            raise Broken(f"{name}: the vault's file is not the device's")
        self._promises.seen["clips compared"] += 1
        if row.state not in HELD:
            promises, key = self._promises, (row.device, clip)
            taken = key in promises.cuts_gone or bool(self._gateway.cache.refused)
            if self._restored and on_device is None and key in promises.deleted and taken:
                # The bytes are here; what settled them is in neither ledger nor vault, and nobody can say it again.
                promises.seen["clips left unsettled by a restore"] += 1
                return given
            raise Broken(f"{name} is {row.state}")
        if row.chain == CHAIN_BROKEN and not self._restored:
            raise Broken(f"{name} does not follow the clip before it")
        plain = io.BytesIO()
        with path.open("rb") as file:
            header = file.read(CLIP_HEADER_BYTES)
            file.seek(0)
            keys = self._gateway.keys.of_clip(row.device, clip, header)
            unsealed = unseal(file, keys, row.settled_segments, plain.write)
        if unsealed.head.value != row.settled_head:
            raise Broken(f"{name}: its head is not the settled one")
        view = self._gateway.views.path(row.device, clip, MATROSKA)
        if not view.exists() or not view.read_bytes().startswith(plain.getvalue()):
            raise Broken(f"{name}: what was assembled is not its plaintext")
        if row.settled_by == "end" and open_clip_end(keys.epoch, stored[-CLIP_END_BYTES:]).segments != row.contiguous:
            raise Broken(f"{name}: its end record counts other segments")
        frames = open_clip_end(keys.epoch, stored[-CLIP_END_BYTES:]).frames if row.settled_by == "end" else None
        self._seen[seen] = _check_frames(device, name, plain.getvalue(), frames, given)
        return self._seen[seen]


def _check_frames(device: DeviceSide, name: str, plain: bytes, counted: int | None, given: int) -> int:
    found = at = 0
    gap = False
    frames = device.frames
    for number in range(given, len(frames)):
        where = plain.find(frames[number].jpeg)
        if where < 0:
            gap = gap or bool(found)
            continue
        if gap:
            raise Broken(f"{name}: a frame before frame {number} of those given is missing")
        if where < at or plain.find(frames[number].jpeg, where + 1) >= 0:
            raise Broken(f"{name}: frame {number} of those given is out of order, or there twice")
        found += 1
        at = where + len(frames[number].jpeg)
        given = number + 1
    if counted is not None and counted != found:
        raise Broken(f"{name}: its end record counts other than the {found} frames in it")
    return given
