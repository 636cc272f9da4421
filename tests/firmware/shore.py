"""The other end of the device's connection: an MQTT broker with one session, and a gateway that keeps its word.

The gateway holds K_dev's chain, verifies with the protocol's own readers, and answers as SPEC section 8 says. Tests
switch single duties off.
"""

import struct

from lapel_protocol import command as commands
from lapel_protocol import event as events
from lapel_protocol.clip import RECORD_CLIP_END, RECORD_CLIP_HEADER
from lapel_protocol.command import Command
from lapel_protocol.commanding import seal_command
from lapel_protocol.event import ALARM_KINDS, FLEETING_KINDS, Event
from lapel_protocol.limits import CLIP_END_BYTES, CLIP_HEADER_BYTES, SEGMENT_HEADER_BYTES
from lapel_protocol.opening import open_clip_end, open_clip_header, open_event
from lapel_protocol.orders import LEVEL_VERIFIED, AlarmReceipt, Credit, EventReceipt, Receipt, Welcome
from lapel_protocol.report_decoders import decode_clip_cut, decode_heartbeat, decode_hello
from lapel_protocol.reports import Heartbeat, Hello
from lapel_protocol.stream import decode_segment_header
from lapel_protocol.topics import topic

from .boardkit import MemoryLink
from .clipkit import DEVICE, keys_of

WALL_MS = 1_800_000_000_000


class HeldClip:
    """What the gateway holds of a clip."""

    def __init__(self) -> None:
        self.header = b""
        self.segments: dict[int, bytes] = {}
        self.end = -1
        self.head = b""

    @property
    def contiguous(self) -> int:
        count = 0
        while count in self.segments:
            count += 1
        return count


class Shore:
    """Broker and gateway. `carry` moves what is there; `published` lists (topic, payload, packet id, dup)."""

    def __init__(self) -> None:
        self.link: MemoryLink | None = None
        self.session = False
        self.subscribed = False
        self.accept = True
        self.puback = True
        self.welcome = True
        self.credit = True
        self.receipts = True
        self.deaf = False  # the broker takes nothing from the link
        self.lose_clips = False  # the broker acknowledges clip messages and drops them
        self.window_bytes = 1 << 20
        self.alarm_window_bytes = 1 << 20
        self.connects: list[bool] = []
        self.published: list[tuple[str, bytes, int, bool]] = []
        self.hellos: list[Hello] = []
        self.heartbeats: list[Heartbeat] = []
        self.events: dict[tuple[int, int], Event] = {}
        self.event_records: dict[tuple[int, int], list[bytes]] = {}
        self.clips: dict[int, HeldClip] = {}
        self.nonce = b""
        self.boot = 0
        self.now_ms = 0
        self._challenge = 0
        self._rest = b""

    def attach(self, link: MemoryLink) -> None:
        self.link = link
        self._rest = b""
        self.subscribed = False

    def lanes(self) -> list[str]:
        return [name.rsplit("/", 1)[1] for name, _, _, _ in self.published]

    # -- broker -----------------------------------------------------------------------------------------------------

    def carry(self, now_ms: int) -> None:
        self.now_ms = now_ms
        link = self.link
        if link is None or link.closed or link.dead or self.deaf:
            return
        self._rest += bytes(link.to_broker)
        link.to_broker.clear()
        while self._packet(link):
            pass

    def _packet(self, link: MemoryLink) -> bool:
        data = self._rest
        size = shift = 0
        at = 1
        while True:
            if at >= len(data):
                return False
            size |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not data[at - 1] & 0x80:
                break
        if len(data) < at + size:
            return False
        body = data[at : at + size]
        self._rest = data[at + size :]
        kind = data[0] & 0xF0
        if kind == 0x10:
            clean = bool(body[7] & 2)
            self.connects.append(clean)
            present = self.session and not clean
            self.session = not clean
            if self.accept:
                link.feed(b"\x20\x02" + bytes([present, 0]))
        elif kind == 0x80:
            self.subscribed = True
            link.feed(b"\x90\x03" + body[:2] + b"\x01")
        elif kind == 0xC0:
            link.feed(b"\xd0\x00")
        elif kind == 0x30:
            self._publication(link, data[0], body)
        return True

    def _publication(self, link: MemoryLink, first: int, body: bytes) -> None:
        (size,) = struct.unpack_from(">H", body, 0)
        name = body[2 : 2 + size].decode()
        payload = body[2 + size :]
        packet = 0
        if first & 6:
            (packet,) = struct.unpack_from(">H", payload, 0)
            payload = payload[2:]
            if self.puback:
                link.feed(struct.pack(">BBH", 0x40, 2, packet))
        self.arrived(name, payload, packet, bool(first & 8))

    # -- gateway ----------------------------------------------------------------------------------------------------

    def arrived(self, name: str, payload: bytes, packet: int = 0, dup: bool = False) -> None:
        """The broker hands the gateway a message."""
        self.published.append((name, payload, packet, dup))
        if name.endswith("/clip"):
            if not self.lose_clips:
                self._clip(payload)
        else:
            self._event(payload)

    def tell(self, kind: int, payload: bytes, **fields: int) -> bytes:
        """Seal a command for the current boot and deliver it."""
        nonce = self.nonce if kind in (commands.WELCOME, *commands.GUARDED_KINDS) else commands.NO_NONCE
        command = Command(kind, DEVICE, self.boot, payload, nonce=nonce, **fields)
        record = seal_command(keys_of(self.boot), command)
        self.deliver(record)
        return record

    def deliver(self, record: bytes) -> None:
        """Publish any bytes to the device's down topic, QoS 1."""
        if self.link is None or not self.subscribed:
            return
        name = topic(DEVICE, "down").encode()
        body = struct.pack(">H", len(name)) + name + b"\x00\x01" + record
        size = len(body)
        out = b"\x32"
        while True:
            out += bytes([size & 0x7F | (0x80 if size > 0x7F else 0)])
            size >>= 7
            if not size:
                break
        self.link.feed(out + body)

    def grant(self) -> None:
        self._challenge += 1
        clips = [(clip, held.contiguous) for clip, held in self.clips.items()]
        challenge = struct.pack(">Q", self._challenge)
        credit = Credit(challenge, self.window_bytes, self.alarm_window_bytes, clips)
        self.tell(commands.CREDIT, credit.encode())

    def _event(self, record: bytes) -> None:
        _, _, boot, counter = events.peek_event(record)
        event = open_event(keys_of(boot), record)
        name = (boot, counter)
        self.event_records.setdefault(name, []).append(record)
        if event.kind == events.HELLO:
            hello = decode_hello(event.payload)
            self.hellos.append(hello)
            self.nonce = hello.nonce
            self.boot = boot
            if self.welcome:
                welcome = Welcome(WALL_MS + self.now_ms, b"hello%03d" % len(self.hellos), hello.next_epoch)
                self.tell(commands.WELCOME, welcome.encode())
                if self.credit:
                    self.grant()
        elif event.kind == events.HEARTBEAT:
            self.heartbeats.append(decode_heartbeat(event.payload))
        if event.kind in FLEETING_KINDS:
            return
        self.events[name] = event
        if event.kind == events.CLIP_CUT:
            cut = decode_clip_cut(event.payload)
            held = self.clips.setdefault(cut.clip, HeldClip())
            held.end = cut.segments
            held.head = cut.head
        if not self.receipts:
            return
        if event.kind in ALARM_KINDS:
            self.tell(commands.ALARM_RECEIPT, AlarmReceipt(boot, counter, WALL_MS + self.now_ms).encode())
        else:
            self.tell(commands.EVENT_RECEIPT, EventReceipt([name]).encode())
        self._receipt_clips()

    def _clip(self, payload: bytes) -> None:
        while payload:
            clip = int.from_bytes(payload[12:16], "big")
            held = self.clips.setdefault(clip, HeldClip())
            if payload[0] == RECORD_CLIP_HEADER:
                open_clip_header(keys_of(clip), payload[:CLIP_HEADER_BYTES])
                held.header = payload[:CLIP_HEADER_BYTES]
                payload = payload[CLIP_HEADER_BYTES:]
            elif payload[0] == RECORD_CLIP_END:
                end = open_clip_end(keys_of(clip), payload[:CLIP_END_BYTES])
                held.end = end.segments
                held.head = end.head
                payload = payload[CLIP_END_BYTES:]
            else:
                header = decode_segment_header(payload)
                size = SEGMENT_HEADER_BYTES + header.size_bytes
                assert len(payload) >= size, "a message holds whole records only"
                if held.header:
                    held.segments[header.index] = payload[:size]
                payload = payload[size:]
        if self.credit:
            self.grant()
        self._receipt_clips()

    def _receipt_clips(self) -> None:
        for clip, held in self.clips.items():
            if self.receipts and held.end >= 0 and held.header and held.contiguous >= held.end:
                self.tell(commands.RECEIPT, Receipt(clip, held.end, LEVEL_VERIFIED, held.head).encode())
