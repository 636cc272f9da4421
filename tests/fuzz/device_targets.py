"""The device against a hostile broker: any bytes on its connection, any record on its topic."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from lapel_device import mqtt
from lapel_device.epochs import EpochLedger
from lapel_device.identity import Identity
from lapel_device.journal import Journal
from lapel_device.keystore import MARK_BOOT, KeyStore, provision_sectors
from lapel_device.mqtt import MqttClient
from lapel_device.nmea import Nmea
from lapel_device.spool import Spool
from lapel_device.timekeeper import Timekeeper
from lapel_device.uplink import LinkConfig, Uplink
from lapel_protocol import command as commands
from lapel_protocol.command import Command
from lapel_protocol.commanding import seal_command
from lapel_protocol.event import ALARM_RAISED
from lapel_protocol.keys import EpochKeys
from lapel_protocol.orders import Credit, Receipt, Welcome
from lapel_protocol.reports import AlarmRaised
from lapel_protocol.topics import topic
from tests.firmware.boardkit import MemoryLink
from tests.firmware.uplinkkit import Host
from tests.fuzz import genuine
from tests.fuzz.card import Board, Card, Flash
from tests.fuzz.harness import READ, REFUSED, Built, Finding, forged, target
from tests.fuzz.mutation import PartMutator, framed, frames

_DOWN = topic(genuine.DEVICE, "down").encode()
_RECEIVE_BYTES = 200
_CONNACK = b"\x20\x02\x00\x00"
_SUBACK = b"\x90\x03\x00\x01\x01"


class Unfaithful(Finding):
    """The parser gave out something else than was on the wire, or lost count."""


def publication(payload: bytes, name: bytes = _DOWN, packet: int = 1, first: int = 0x32) -> bytes:
    """A PUBLISH packet."""
    body = struct.pack(">H", len(name)) + name + (struct.pack(">H", packet) if first & 6 else b"") + payload
    size, length = len(body), b""
    while True:
        length += bytes([size & 0x7F | (0x80 if size > 0x7F else 0)])
        size >>= 7
        if not size:
            return bytes([first]) + length + body


def _fed(stream: bytes, piece: int, flags: int) -> list[tuple[Any, ...]]:
    """What an MQTT client says happened while a stream came in pieces of this size; raises Unfaithful."""
    client = MqttClient("0123456789abcdef", _RECEIVE_BYTES)
    buffer = memoryview(bytearray(mqtt.HEADROOM + 8))
    client.connect(bool(flags & 1), 0)
    happened: list[tuple[Any, ...]] = []
    at = turns = 0
    while client.state != mqtt.BROKEN:
        turns += 1
        if turns > 4 * len(stream) + 64:
            raise Unfaithful("the parser does not come to an end")
        out = client.outgoing()
        while len(out):
            client.taken(min(len(out), 19), 0)
            out = client.outgoing()
        what = client.next()
        if what == mqtt.MESSAGE:
            happened.append((what, bytes(client.topic), bytes(client.payload)))
        elif what == mqtt.FAULT:
            happened.append((what, client.fault, client.refusal))
        elif what in (mqtt.ACCEPTED, mqtt.ACKED, mqtt.SUBSCRIBED, mqtt.PONG):
            happened.append((what, client.session_present))
        if what == mqtt.ACCEPTED and flags & 2:
            for number in range(flags >> 2 & 7):
                client.publish(b"t", buffer, number, 0)
                while len(client.outgoing()):
                    client.taken(len(client.outgoing()), 0)
        if what == mqtt.NOTHING:
            space = client.space()
            take = min(piece, len(space), len(stream) - at)
            if not take:
                break
            space[:take] = stream[at : at + take]
            client.received(take, 0)
            at += take
    if client.unacked_bytes != sum(slot.size for slot in client.slots if slot.packet):
        raise Unfaithful("unacknowledged bytes are miscounted")
    return [*happened, (client.skipped, client.stray, client.state)]


@target("device/mqtt", share=1.5, max_bytes=400)
def mqtt_packets(_scratch: Path) -> Built:
    """The device's own MQTT client: what it reads must not depend on how the bytes were cut on the way."""

    def one(data: bytes) -> int:
        if len(data) < 2:
            return REFUSED
        piece, flags, stream = 1 + data[0] % 96, data[1], data[2:]
        happened = _fed(stream, piece, flags)
        if happened != _fed(stream, len(stream) or 1, flags):
            raise Unfaithful(f"pieces of {piece} bytes are read in another way than the whole")
        return READ if len(happened) > 2 else REFUSED

    start = _CONNACK + _SUBACK
    big = publication(bytes(300))
    seeds = [
        bytes([7, 2 + 12]) + start + publication(b"hello") + publication(b"again", first=0x30) + b"\x40\x02\x00\x02",
        bytes([63, 0]) + start + publication(b"x" * 100, b"lapel/other") + big + publication(b"after") + b"\xd0\x00",
        bytes([1, 1]) + b"\x20\x02\x00\x05",
        bytes([30, 3 + 28]) + _CONNACK + b"\x90\x03\x00\x01\x80",
        bytes([30, 2]) + b"\x20\x02\x01\x00" + b"\x32\xff\xff\xff\xff\x7f",
        bytes([3, 0]) + start + publication(bytes(250), first=0x30) + publication(b"", packet=0),
    ]
    return Built(one, seeds)


class Desk:
    """One device, booted, with a clip to give away and an alarm to be answered, on a broker that the input plays."""

    def __init__(self, flash: Flash, files: dict[str, bytes]) -> None:
        flash = Flash(*map(bytes, flash.sectors))
        self.card = Card(dict(files))
        self.board = Board(self.card, flash)
        self.now_ms = 1000
        self.keystore = KeyStore(flash)
        self.keystore.load()
        self.spool = Spool(self.card, genuine.DEVICE, 4)
        self.spool.scan()
        self.journal = Journal(self.card)
        self.journal.load()
        self.ledger = EpochLedger(self.card)
        self.ledger.load(self.keystore, self.spool.has)
        self.time = Timekeeper(self.board.clock, self.card, genuine.WALL_MS - 1000)
        self.time.boot(self.now_ms)
        epoch = self.keystore.step(MARK_BOOT, bytes(32), 0)
        self.keys: EpochKeys = epoch.keys
        self.identity = Identity(genuine.DEVICE, epoch, self.time)
        self.host = Host()
        self.uplink = Uplink(
            self.board,
            self.identity,
            self.keystore,
            self.spool,
            self.journal,
            self.ledger,
            LinkConfig("broker", 1883, None),
            self.host,
        )
        record = self.identity.seal(ALARM_RAISED, AlarmRaised(1, 50, 0).encode(), self.now_ms)
        self.uplink.publish_alarm(record, self.now_ms)
        self.run()

    @property
    def link(self) -> MemoryLink:
        return self.board.network.links[-1]

    def run(self, step_ms: int = 10) -> None:
        """Let a moment pass."""
        self.now_ms += step_ms
        self.uplink.poll(self.now_ms)
        self.spool.work()

    def feed(self, data: bytes) -> None:
        """The broker sends this."""
        self.link.feed(data)
        self.run()

    def nonce(self) -> bytes:
        """Of the latest hello, which a gateway would have read."""
        return self.uplink.conversation._gate.nonce

    def sealed(self, kind: int, payload: bytes, counter: int = 1) -> bytes:
        """A command of the true gateway."""
        guarded = kind in commands.GUARDED_KINDS
        nonce = self.nonce() if guarded or kind == commands.WELCOME else commands.NO_NONCE
        expires = genuine.WALL_MS + 3_600_000 if guarded else 0
        command = Command(kind, genuine.DEVICE, self.identity.boot, payload[:1024], nonce, counter, 0, expires)
        return seal_command(self.keys, command)

    def held(self) -> tuple[int, int, int]:
        """What only the gateway's word may change: clips unreceipted, alarms repeated, entries of the epoch ledger."""
        return self.spool.count, len(self.uplink._alarms.alarms), len(self.ledger.entries())


def _prepared() -> tuple[Flash, dict[str, bytes]]:
    """Flash at the epoch `genuine.BOOT`, and a card with one clip that the gateway does not have."""
    flash = Flash()
    provision_sectors(flash, genuine.chain_key(0), bytes(32))
    store = KeyStore(flash)
    store.load()
    for _ in range(genuine.BOOT):
        store.step(MARK_BOOT, bytes(32), 0)
    card = Card({})
    spool = Spool(card, genuine.DEVICE, 1)
    spool.scan()
    clip = genuine.clip(2)
    writer = spool.create(2, 1, False, clip.header)
    for segment in clip.segments:
        writer.append(segment)
    writer.finish(clip.end)
    return flash, card.files


def _played(desk: Desk, parts: list[tuple[int, bytes]], keyed: bool) -> None:
    """Let the broker do what the parts say."""
    counter = 0
    for tag, payload in parts[:64]:
        way = tag & 7
        if way == 0:
            desk.feed(payload)
        elif way == 1:
            desk.run(int.from_bytes(payload[:2], "big") + 1)
        elif way == 2 and tag & 0x80:
            desk.link.ended = True
            desk.run()
        elif way == 3 and tag & 0x80:
            desk.run(30_000)
            desk.feed(_CONNACK)
            desk.feed(_SUBACK)
        elif keyed and payload:
            counter += 1
            desk.feed(publication(desk.sealed(payload[0] % 13, payload[1:], counter)))
        else:
            desk.feed(publication(payload))


@target("device/link/forged", share=0.1, max_bytes=4000)
def link_forged(_scratch: Path) -> Built:
    """The uplink with a broker that lacks the keys: nothing that it does changes what the device holds."""
    flash, files = _prepared()
    strangers = [*genuine.strangers(), *genuine.all_events(), genuine.clip().header]
    # Under the right device's keys of other boots, and under another device's of this boot.
    others = [
        seal_command(genuine.keys(boot, device), Command(kind, device, boot, payload, nonce))
        for device, boot in ((genuine.DEVICE, 2), (genuine.DEVICE, 4), (genuine.OTHER, genuine.BOOT))
        for name, kind in genuine.COMMAND_KINDS.items()
        for payload in genuine.payloads(name)[:1]
        for nonce in (commands.NO_NONCE, genuine.NONCE)
    ]

    def one(data: bytes) -> int:
        desk = Desk(flash, files)
        before = desk.held()
        desk.feed(_CONNACK)
        desk.feed(_SUBACK)
        _played(desk, frames(data), keyed=False)
        conversation = desk.uplink.conversation
        if desk.held() != before or desk.host.commands or conversation.contact_ms >= 0:
            forged("the device believed a broker")
        return READ if conversation.refused else REFUSED

    seeds = [framed([(4, record), (1, b"\0\x20")]) for record in (*others[:8], *genuine.strangers())]
    seeds += [framed([(0, b"\x40\x02\x00\x02"), (0x82, b""), (0x83, b""), (4, strangers[0])])]
    return Built(one, seeds, PartMutator([*others, *strangers], 8))


@target("device/link/keyed", share=0.1, max_bytes=4000)
def link_keyed(_scratch: Path) -> Built:
    """The uplink with a gateway gone wrong: arbitrary payloads under the right keys; a clip goes on its head only."""
    flash, files = _prepared()
    clip = genuine.clip(2)
    head = clip.end[56:88]

    def one(data: bytes) -> int:
        desk = Desk(flash, files)
        desk.feed(_CONNACK)
        desk.feed(_SUBACK)
        parts = frames(data)
        _played(desk, parts, keyed=True)
        receipted = not desk.spool.count
        if receipted and not any(head in payload for _, payload in parts):
            forged("a clip was let go without its head")
        return READ if desk.host.commands else REFUSED

    welcome = bytes([commands.WELCOME]) + Welcome(genuine.WALL_MS, bytes(8), 3).encode()
    credit = bytes([commands.CREDIT]) + Credit(bytes(8), 1 << 20, 1 << 20, [(2, 1)]).encode()
    receipt = bytes([commands.RECEIPT]) + Receipt(2, len(clip.segments), 1, head).encode()
    every = [bytes([kind]) + p for name, kind in genuine.COMMAND_KINDS.items() for p in genuine.payloads(name)[:3]]
    seeds = [framed([(4, welcome), (4, credit), (1, b"\0\x20"), (4, receipt)])]
    seeds += [framed([(4, welcome), (4, order)]) for order in every]
    return Built(one, seeds, PartMutator([welcome, credit, receipt, *every], 8))


@target("device/nmea", max_bytes=300)
def nmea_sentences(_scratch: Path) -> Built:
    """A location receiver's line: what is read must not depend on pieces, and stays within the world."""

    def state(receiver: Nmea) -> tuple[int, ...]:
        return tuple(value for name, value in sorted(vars(receiver).items()) if not name.startswith("_"))

    def checked(stream: bytes) -> bytes:
        """The input's lines as bodies of sentences, each with its checksum."""
        made = b""
        for body in stream.split(b"\n"):
            check = 0
            for byte in body:
                check ^= byte
            made += b"$%s*%02X\r\n" % (body, check)
        return made

    def one(data: bytes) -> int:
        if len(data) < 2:
            return REFUSED
        piece, stream = 1 + data[0] % 96, data[2:] if data[1] & 1 else checked(data[2:])
        whole, pieces = Nmea(), Nmea()
        whole.feed(stream, 5)
        for at in range(0, len(stream), piece):
            pieces.feed(stream[at : at + piece], 5)
        if state(whole) != state(pieces):
            raise Unfaithful(f"pieces of {piece} bytes are read in another way than the whole")
        if abs(whole.latitude) > 900_000_000 or abs(whole.longitude) > 1_800_000_000:
            raise Unfaithful("a place that is not in the world")
        return READ if whole.accepted else REFUSED

    fix = b"GNGGA,092725.00,4717.11399,N,00833.91590,E,1,08,1.01,499.6,M,48.0,M,,"
    date = b"GPRMC,083559.00,A,4717.11437,N,00833.91522,E,0.004,77.52,091202,,,A"
    lost = b"GNGGA,,,,,,0,00,99.99,,,,,,"
    seeds = [bytes([7, 0]) + fix, bytes([95, 0]) + fix + b"\n" + date + b"\n" + lost, bytes([3, 1]) + checked(date)]
    return Built(one, seeds)
