"""What the gateway says and what the device lets go, held against what is durable at that very moment.

1. A receipt leaves only when the vault's durable bytes hold that many segments with that head, and the committed ledger
   says that the clip is held. What settled a cut clip is durable beside it, unless a write there found no room.
2. An event's or alarm's receipt leaves only when the committed ledger has the event; an acknowledgement only when a
   human gave it; a resolution likewise.
3. A message of the alarm or event lane is acknowledged to the broker only when its event is committed.
4. A device deletes a clip only when the gateway's durable bytes are the device's own, or were until a restore.
5. A device counts a clip as the gateway's only when the gateway said so to it.
6. A device lets go of a journalled event only when the gateway has it, or had it until a restore.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lapel_gateway.custody.vault import Vault
from lapel_protocol.clip import head_of
from lapel_protocol.command import (
    ALARM_ACK,
    ALARM_RECEIPT,
    ALARM_RESOLVED,
    EVENT_RECEIPT,
    RECEIPT,
    open_command,
)
from lapel_protocol.event import FLEETING_KINDS, peek_event
from lapel_protocol.keys import EpochKeys, chain_next
from lapel_protocol.limits import CLIP_HEADER_BYTES, SEGMENT_HEADER_BYTES, TAG_BYTES
from lapel_protocol.names import ALARM_STATE_NAMES, CUSTODY_STATE_NAMES
from lapel_protocol.orders import (
    decode_alarm_ack,
    decode_alarm_receipt,
    decode_alarm_resolved,
    decode_event_receipt,
    decode_receipt,
)
from lapel_protocol.stream import decode_segment_header, segment_offset
from lapel_protocol.topics import LANE_ALARM, LANE_EVENT, parse_topic

from .device_side import JOURNAL, DeviceSide, clip_of, events_of
from .gateway_side import GatewaySide

HELD = CUSTODY_STATE_NAMES[3:6]
_RESOLVED = ALARM_STATE_NAMES[-1]
_BOOT_AT = 12
_DECODERS = {
    ALARM_RECEIPT: decode_alarm_receipt,
    ALARM_ACK: decode_alarm_ack,
    ALARM_RESOLVED: decode_alarm_resolved,
}


class Broken(Exception):
    """An invariant does not hold; the message says which and where."""


class Promises:
    """Sees every word of the gateway and every deletion of the devices."""

    def __init__(self, devices: Sequence[DeviceSide], gateway: GatewaySide) -> None:
        self._gateway = gateway
        self._view = gateway.view
        self._chains = {device.package.device: [device.package.chain_key] for device in devices}
        self._epochs: dict[tuple[bytes, int], EpochKeys] = {}
        self._checked: set[tuple[Any, ...]] = set()
        self.seen: Counter[str] = Counter()
        self._devices = devices
        self._receipted: set[tuple[str, int]] = set()
        self.gone_with_restore: set[tuple[str, int]] = set()
        self.cuts_gone: set[tuple[str, int]] = set()  # clips whose settling event a restore took out of the vault
        self.let_go: dict[tuple[str, int, int], bytes] = {}  # events that devices no longer have
        self._had: set[tuple[str, int, int]] = set()  # events in a ledger that a restore replaced
        self.deleted: dict[tuple[str, int], bytes] = {}
        for device in devices:
            device.board.storage.on_remove = lambda path, content, name=device.name: self._removed(name, path, content)

    # -- the gateway's words ----------------------------------------------------------------------------------------

    def said(self, payload: bytes, topic: str) -> None:
        """The gateway publishes a command. Raises Broken when it is more than it may say."""
        device, _ = parse_topic(topic)
        boot = int.from_bytes(payload[_BOOT_AT : _BOOT_AT + 4], "big")
        command = open_command(self._keys(device, boot), payload, device, boot)
        name = device.hex()
        if command.kind == RECEIPT:
            receipt = decode_receipt(command.payload)
            self._receipted.add((name, receipt.clip))
            self._receipt(name, receipt.clip, receipt.segments, receipt.head)
        elif command.kind == EVENT_RECEIPT:
            for event in decode_event_receipt(command.payload).events:
                self._event(name, *event, "it is receipted")
        elif command.kind in _DECODERS:
            body: Any = _DECODERS[command.kind](command.payload)
            self._alarm(name, body.boot, body.counter, command.kind)

    def _receipt(self, name: str, clip: int, segments: int, head: bytes) -> None:
        named = (name, clip, segments, head, self._gateway.generation)
        if named in self._checked:
            return
        row = self._view.row("SELECT state FROM clip WHERE device = ? AND clip = ?", (name, clip))
        if row is None or row[0] not in HELD:
            raise Broken(f"clip {name}-{clip} is receipted while the committed ledger does not hold it")
        content = self._gateway.durable_clip(name, clip)
        if head_over(content, segments) != head:
            raise Broken(f"clip {name}-{clip} is receipted while the durable vault does not have these segments")
        self._check_cut(name, clip)
        self._checked.add(named)
        self.seen["receipts of clips"] += 1

    def _check_cut(self, name: str, clip: int) -> None:
        if (name, clip) in self.cuts_gone or self._gateway.cache.refused:
            return
        query = (
            "SELECT event.record FROM clip JOIN event ON event.device = clip.device AND event.boot = clip.cut_boot"
            " AND event.counter = clip.cut_counter WHERE clip.device = ? AND clip.clip = ? AND clip.settled_by = 'cut'"
        )
        cut = self._view.row(query, (name, clip))
        if cut is None:
            return
        if cut[0] != self._gateway.cache.durable(cut_path(self._gateway.vault, name, clip)):
            raise Broken(f"clip {name}-{clip} is receipted while what settled it is not durable beside it")
        self.seen["receipts of cut clips"] += 1

    def _event(self, name: str, boot: int, counter: int, while_what: str) -> None:
        named = (name, boot, counter, self._gateway.generation)
        if named in self._checked:
            return
        if (
            self._view.row("SELECT 1 FROM event WHERE device = ? AND boot = ? AND counter = ?", (name, boot, counter))
            is None
        ):
            raise Broken(f"event {boot}/{counter} of {name} is not in the committed ledger while {while_what}")
        self._checked.add(named)

    def _alarm(self, name: str, boot: int, counter: int, kind: int) -> None:
        row = self._view.row(
            "SELECT acknowledged_by, state FROM alarm WHERE device = ? AND boot = ? AND counter = ?",
            (name, boot, counter),
        )
        if row is None:
            raise Broken(f"alarm {boot}/{counter} of {name} is answered and not in the committed ledger")
        if (kind == ALARM_ACK and row[0] is None) or (kind == ALARM_RESOLVED and row[1] != _RESOLVED):
            raise Broken(f"alarm {boot}/{counter} of {name} is told to be further than the committed ledger says")

    def acknowledged(self, topic: str, payload: bytes) -> None:
        """The broker may forget a message of the gateway's. Raises Broken when nobody has it then."""
        device, lane = parse_topic(topic)
        if lane not in (LANE_ALARM, LANE_EVENT):
            return
        kind, _, boot, counter = peek_event(payload)
        if kind not in FLEETING_KINDS:
            self._event(device.hex(), boot, counter, "the broker is told to forget it")

    # -- what devices let go ----------------------------------------------------------------------------------------

    def check_devices(self) -> None:
        """Promise 5, now. Raises Broken."""
        for device in self._devices:
            for clip in device.receipted():
                if (device.name, clip) not in self._receipted:
                    raise Broken(f"{device.name} counts clip {clip} as receipted, and nobody told it so")

    def _removed(self, name: str, path: str, content: bytes) -> None:
        if path.startswith(JOURNAL):
            events = events_of(content)
            self.let_go.update({(name, boot, counter): record for boot, counter, record in events})
            self.seen["events let go"] += len(events)
        clip = clip_of(path)
        if clip is None or len(content) < CLIP_HEADER_BYTES:
            return
        self.seen["clips deleted"] += 1
        self.deleted[name, clip] = content
        held = self._gateway.durable_clip(name, clip)
        if (name, clip) not in self.gone_with_restore and (not held or not content.startswith(held)):
            raise Broken(f"clip {clip} was deleted on {name} while the gateway's durable copy differs")

    def before_restore(self) -> dict[tuple[str, int], tuple[bytes, bytes]]:
        """Every clip that the gateway holds durably now, complete or not, with what settled it where it was cut."""
        self._had |= set(self._view.rows("SELECT device, boot, counter FROM event"))
        vault, cache = self._gateway.vault, self._gateway.cache
        return {key: (self._gateway.durable_clip(*key), cache.durable(cut_path(vault, *key))) for key in vault.clips()}

    def after_restore(self, before: dict[tuple[str, int], tuple[bytes, bytes]]) -> None:
        """What a restore took away is excused until it is here again; so are receipts said before it."""
        vault = self._gateway.vault
        for key, (content, cut) in before.items():
            path = vault.path(*key)
            if not path.exists() or path.read_bytes() != content:
                self.gone_with_restore.add(key)
            if vault.cut(*key) != cut:
                self.cuts_gone.add(key)

    # -- parts ------------------------------------------------------------------------------------------------------

    def _keys(self, device: bytes, boot: int) -> EpochKeys:
        keys = self._epochs.get((device, boot))
        if keys is None:
            chain = self._chains[device]
            while len(chain) <= boot:
                chain.append(chain_next(chain[-1]))
            keys = self._epochs[device, boot] = EpochKeys(chain[boot])
        return keys

    def missing_events(self) -> list[tuple[str, int, int]]:
        """Events that a device let go of, or had journalled, everything being at rest now, and the ledger has not."""
        query = "SELECT record FROM event WHERE device = ? AND boot = ? AND counter = ?"
        for device in self._devices:
            self.let_go.update({(device.name, *event): record for event, record in device.journalled.items()})
            device.journalled.clear()
        gone = sorted(self.let_go.keys() - self._had)
        missing = [event for event in gone if self._view.row(query, event) != (self.let_go[event],)]
        self.let_go.clear()
        return missing


def cut_path(vault: Vault, name: str, clip: int) -> Path:
    """Where the vault has what settled a cut clip."""
    return vault.path(name, clip).with_suffix(".cut")


def head_over(content: bytes, segments: int) -> bytes:
    """The head over a clip file's header and its first segments; empty where they are not all there."""
    if len(content) < CLIP_HEADER_BYTES:
        return b""
    head = head_of(content[:CLIP_HEADER_BYTES])
    for index in range(segments):
        offset = segment_offset(index)
        start = content[offset : offset + SEGMENT_HEADER_BYTES]
        if len(start) < SEGMENT_HEADER_BYTES or not any(start):
            return b""
        end = offset + SEGMENT_HEADER_BYTES + decode_segment_header(start).size_bytes
        if len(content) < end:
            return b""
        head.update(content[end - TAG_BYTES : end])
    return head.value
