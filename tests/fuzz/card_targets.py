"""The device against its own card and flash: contents that a power cut tore, or that somebody wrote there.

A CRC finds torn writes and proves nothing, so half of these inputs get the CRC that fits: then whatever stands there
may cost the device what the card held, and nothing else. It starts, talks to its gateway in a form that the gateway
reads, and keeps what it is given next.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lapel_build.release import slot_files
from lapel_device.alarm_control import LATCH_PATH, AlarmControl
from lapel_device.clip_lane import END, HEADER, SEGMENTS, ClipLane
from lapel_device.clip_writer import NOTE_BYTES, SpoolClip, decode_note, encode_note
from lapel_device.configuration import CONFIG_PATH, load_config, load_tls
from lapel_device.epochs import EpochLedger
from lapel_device.feedback import Feedback
from lapel_device.journal import Journal
from lapel_device.keystore import MARK_BOOT, MARK_CLIP, KeyStore, KeyStoreFault, KeyStoreLost, provision_sectors
from lapel_device.settings import SETTINGS_PATH, ConfigError, Settings
from lapel_device.slots import KEY_PATH, SLOT_A, SLOT_B, SlotState, choose_slot, read_key
from lapel_device.spool import Spool
from lapel_device.timekeeper import MAX_WALL_MS, Timekeeper
from lapel_device.update_fill import read_floor
from lapel_device.visit_control import VISIT_PATH, VisitControl
from lapel_protocol.alarm import QUIET, RESOLVED
from lapel_protocol.crypto import crc32, sha256
from lapel_protocol.limits import CLIP_HEADER_BYTES, MAX_EVENT_RECORD_BYTES
from lapel_protocol.orders import VISIT_OVERDUE, Credit, SettingsChange, decode_settings
from lapel_protocol.releasing import open_release
from lapel_protocol.report_decoders import decode_heartbeat, decode_hello
from lapel_protocol.reports import Heartbeat, Hello
from tests.firmware.boardkit import MemoryClock, MemoryIndicator
from tests.fuzz import genuine
from tests.fuzz.card import Card, Flash
from tests.fuzz.harness import READ, REFUSED, Built, Finding, target
from tests.fuzz.mutation import PartMutator, framed, frames

if TYPE_CHECKING:
    from lapel_device.alarm_calls import AlarmCalls
    from lapel_device.identity import Identity

_BUILD_MS = 1_750_000_000_000


class Spoilt(Finding):
    """What stood on the card cost more than what the card held."""


def _with_crc(body: bytes) -> bytes:
    return body + struct.pack(">I", crc32(body))


def good_config() -> dict[str, Any]:
    """A device's /config.json."""
    organisation = genuine.organisation()
    return {
        "device": genuine.DEVICE.hex(),
        "org_modulus": organisation.modulus.hex(),
        "key_id": organisation.key_id.hex(),
        "host": "broker.example.org",
        "port": 8883,
        "tls": True,
        "server_hostname": "broker.example.org",
        "build_ms": _BUILD_MS,
        "cancel_pin": "SLSS",
        "duress_pin": "SLLSLLSL",
        "tamper": True,
        "settings": {"heartbeat_s": 30, "silent": 1},
    }


@target("card/config", share=1, max_bytes=4200, kib=1024)
def config(_scratch: Path) -> Built:
    """/config.json, and beside it certificates and key of any length."""
    modulus = genuine.organisation().modulus.hex().encode()

    def one(data: bytes) -> int:
        # The modulus is long for a mutation to keep: a short word stands for it.
        content = data.replace(b"MODULUS", modulus)
        try:
            card = Card({CONFIG_PATH: content} | dict.fromkeys(("/tls/ca.der", "/tls/cert.der", "/tls/key.der"), data))
            found = load_config(card)
            load_tls(found, card)
        except ConfigError:
            return REFUSED
        decode_settings(found.settings.encode())
        if (len(found.device), len(found.modulus), len(found.key_id)) != (8, 384, 8) or not found.host:
            raise Spoilt("a configuration that no device can use")
        return READ

    good = good_config()
    variants = [good, good | {"tls": False}, good | {"port": 70000}, good | {"settings": []}, {}, []]
    seeds = [json.dumps(variant).encode().replace(modulus, b"MODULUS") for variant in variants]
    return Built(one, [*seeds, b"[" * 4000, b'{"a":' * 800])


@target("card/state", share=1, max_bytes=400)
def state(_scratch: Path) -> Built:
    """Settings, latched alarm, time, epoch ledger and visit, each a small file with a CRC."""
    twofold = [stem + copy for stem in (SETTINGS_PATH, LATCH_PATH) for copy in "01"]
    visit_paths = (VISIT_PATH + "0", VISIT_PATH + "1")
    paths = (*twofold, "/time.0", "/time.1", "/epochs.0", "/epochs.1", *visit_paths)
    flash = Flash()
    provision_sectors(flash, genuine.chain_key(0), bytes(32))
    store = KeyStore(flash)
    store.load()
    for mark in (MARK_BOOT, MARK_CLIP, MARK_BOOT):
        store.step(mark, bytes(32), 0)

    def one(data: bytes) -> int:
        card = Card({})
        for tag, body in frames(data):
            card.files[paths[(tag & 0x7F) % len(paths)]] = _with_crc(body) if tag & 0x80 else body
        settings = Settings(card, SettingsChange())
        settings.load()
        decode_settings(settings.current.encode())
        alarm = AlarmControl(Feedback(MemoryIndicator()), card)
        read = alarm.load(5)
        alarm.keep()
        if read is (alarm.state in (QUIET, RESOLVED)):
            raise Spoilt("an alarm that is latched and is not")
        visits = _visits(card)
        if visits.number or visits.state > VISIT_OVERDUE:
            raise Spoilt("a visit with a place that no gateway has spoken of")
        clock = MemoryClock()
        timekeeper = Timekeeper(clock, card, _BUILD_MS)
        timekeeper.boot(5)
        if not _BUILD_MS <= timekeeper.wall(5)[0] < MAX_WALL_MS:
            raise Spoilt("a time before the firmware, or after 2100")
        ledger = EpochLedger(card)
        ledger.load(store, lambda clip: clip == 1)
        _told(ledger, store.epoch, alarm)
        last = store.epoch - 1
        if not any(epoch == last for epoch, _ in ledger.entries()):
            raise Spoilt("the latest epoch is not accounted for")
        if not ledger.add(store.epoch, 1):
            raise Spoilt("the ledger takes no more epochs")
        _told(ledger, store.epoch + 1, alarm)
        return READ if read or settings.current.version else REFUSED

    wanted = SettingsChange()
    wanted.version = 7
    entries = bytes([1, 2, 1])
    good = [
        (0x80, wanted.encode()),
        (0x82, struct.pack(">IIB", 2, 9, 3)),
        (0x83, struct.pack(">IIB", 2, 9, 5)),
        (0x84, struct.pack(">Q", _BUILD_MS + 5)),
        (0x85, struct.pack(">Q", _BUILD_MS + 9)),
        (0x86, struct.pack(">III", 4, 0, 3) + entries),
        (0x87, struct.pack(">III", 5, 1, 2) + entries[1:]),
        (0x88, struct.pack(">IBBHQQII", 12, 2, 0, 900, _BUILD_MS, _BUILD_MS, 0, 0)),
        (0x89, struct.pack(">IBBHQQII", 0, 4, 1, 0, 1 << 63, 1, 2, 9)),
    ]
    hostile = [(0x87, struct.pack(">III", 0xFFFFFFFF, 0xFFFFFFFE, 1) + b"\x09"), (0x82, struct.pack(">IIB", 2, 9, 6))]
    seeds = [framed(good), *(framed([part]) for part in [*good, *hostile]), framed([(3, b"torn")])]
    return Built(one, seeds, PartMutator([body for _, body in [*good, *hostile]], 256))


def _visits(card: Card) -> VisitControl:
    """What the device makes of a visit's file: taken up, ticked, kept again."""
    journal = cast("Journal", _Unanswered())
    calls = cast("AlarmCalls", _Unanswered())
    visits = VisitControl(Feedback(MemoryIndicator()), card, cast("Identity", None), journal, calls, _Unanswered())
    visits.load(5)
    visits.poll(_BUILD_MS, True, 10)
    visits.keep()
    return visits


class _Unanswered:
    """A journal in which every event still waits, and alarms that go nowhere."""

    def row_of(self, boot: int, counter: int) -> int:
        return 0

    def send_low_battery(self, now_ms: int) -> None:
        """Nobody hears it."""

    def report(self, kind: int, payload: bytes, now_ms: int) -> None:
        """Nobody hears it."""


def _told(ledger: EpochLedger, next_epoch: int, alarm: AlarmControl) -> None:
    """What the device would say now must be what a gateway reads. Raises ProtocolError."""
    hello = Hello()
    hello.next_epoch = next_epoch
    hello.epochs = ledger.entries()
    decode_hello(hello.encode())
    beat = Heartbeat()
    beat.alarm_boot, beat.alarm_counter, beat.alarm_state = alarm.boot, alarm.counter, alarm.state
    decode_heartbeat(beat.encode())


@target("card/slots", share=0.5, max_bytes=3000, kib=1024)
def slots(_scratch: Path) -> Built:
    """State and slots of firmware: whatever stands there, what is run is a release of the signer, whole."""
    shared = json.loads((genuine.VECTORS / "release.json").read_text())["shared"]
    modulus = bytes.fromhex(shared["test_only_rsa_3072_modulus"])
    good = open_release(bytes.fromhex(shared["whole"]), modulus)
    facts = good.manifest
    paths = (*good.files, "manifest", "lapel_device/extra.mpy", "os.py")

    def one(data: bytes) -> int:
        card = Card({KEY_PATH: modulus, **slot_files(good, SLOT_A), **slot_files(good, SLOT_B)})
        for tag, body in frames(data):
            if tag & 0x80:
                card.files["/slots." + "01"[tag & 1]] = _with_crc(body)
            else:
                card.files[f"/{'ab'[tag & 1]}/{paths[(tag >> 1) % len(paths)]}"] = body
        before = SlotState(card)
        before.load()
        running = choose_slot(card, read_key(card), facts.hardware, facts.code, lambda line: None)
        after = SlotState(card)
        after.load()
        if after.floor < before.floor or (before.trial and after.trial and after.tries != before.tries - 1):
            raise Spoilt("a floor that sank, or a boot of a trial that was not counted")
        if running is None:
            return REFUSED
        folder = "/" + "?ab"[running[0]] + "/"
        if read_floor(card, running[0]) != facts.floor:
            raise Spoilt("another floor than the manifest's")
        lying = {path[3:]: content for path, content in card.files.items() if path.startswith(folder)}
        if lying != {**good.files, "manifest": good.signed_manifest} or facts.number < before.floor:
            raise Spoilt("firmware was run that nobody signed")
        return READ

    states = [struct.pack(">BBBBBBHI8sI", 1, *rest, 0, 0, 5, facts.release, 7) for rest in ((1, 2, 3, 0), (2, 0, 0, 3))]
    states += [
        struct.pack(">BBBBBBHI8sI", 1, 1, 2, 0, 0, 0, 0, 8, facts.release, 7),
        # Nothing is known to be good, and yet there is a floor, above that of the releases that are there.
        struct.pack(">BBBBBBHI8sI", 1, 0, 0, 0, 1, 0, 0, facts.number, facts.release, facts.number),
        states[0][:-1],
        b"\x02" + states[0][1:],
    ]
    pieces = [*states, good.signed_manifest, *good.files.values()]
    seeds = [framed([(0x80, state), (0x81, state)]) for state in states]
    seeds += [framed([(tag, b"")]) for tag in range(12)] + [framed([(6, good.signed_manifest)]), b""]
    return Built(one, seeds, PartMutator(pieces, 256))


@target("card/journal", share=0.5, max_bytes=3000)
def journal(_scratch: Path) -> Built:
    """Journal files: parts are a file name's number, a new entry with a CRC that fits, or raw bytes."""
    record = genuine.all_events()[0]

    def one(data: bytes) -> int:
        card = Card({})
        number = 1
        for tag, body in frames(data):
            path = f"/journal/{number:08x}.log"
            if tag & 3 == 0:
                number = int.from_bytes(body[:4], "big")
                continue
            entry = struct.pack(">BBHI", 0x4A, 0, len(body), crc32(body)) + body if tag & 3 == 1 else body
            card.files[path] = card.files.get(path, b"") + entry
        held = Journal(card)
        held.load()
        buffer = memoryview(bytearray(MAX_EVENT_RECORD_BYTES))
        read = held.count
        for _ in range(read):
            row = held.next_unsent()
            held.mark_sent(row)
            kind, boot, counter = held.describe(row)
            size = held.read(row, buffer)
            if not size or (buffer[2], bytes(buffer[12:20])) != (kind, struct.pack(">II", boot, counter)):
                raise Spoilt("the journal gives out another event than it names")
        taken = held.append(record)
        files = len([name for name in card.files if name.startswith("/journal/")])
        if not taken and files < 32:
            raise Spoilt("the journal takes no more events")
        while held.count:
            if not held.receipt(*held.describe(0)[1:]):
                raise Spoilt("an event of the window cannot be receipted")
        return READ if read else REFUSED

    events = genuine.all_events()
    seeds = [
        framed([(1, event) for event in events[:3]]),
        framed([(1, events[0]), (0, b"\0\0\0\x07"), (1, events[1]), (2, events[2][:50])]),
        framed([(0, b"\xff\xff\xff\xff"), (1, events[0])]),
        framed([(1, events[0]) for _ in range(12)]),
    ]
    return Built(one, seeds, PartMutator(events, 4))


@target("card/spool", share=0.5, max_bytes=9500)
def spool(_scratch: Path) -> Built:
    """Clip files, with their notes: parts are a clip's number, records, notes with a CRC that fits, or raw bytes."""
    clip = genuine.clip(2)

    def one(data: bytes) -> int:
        card = Card({})
        number = 2
        for tag, body in frames(data):
            path = f"/spool/{number:08x}.clp"
            if tag & 3 == 0:
                number = int.from_bytes(body[:4], "big")
            else:
                more = _with_crc(body[: NOTE_BYTES - 4].ljust(NOTE_BYTES - 4, b"\0")) if tag & 3 == 1 else body
                card.files[path] = card.files.get(path, b"") + more
        before = dict(card.files)
        held = Spool(card, genuine.DEVICE, 4)
        held.scan()
        lane = ClipLane(held)
        lane.reconnected(False, 0)
        buffer = memoryview(bytearray(CLIP_HEADER_BYTES + 4 * 4124 + 120))
        for _ in range(24):
            cut = held.work()
            if cut is not None:
                held.settled(cut)
        lane.credit(Credit(bytes(8), 1 << 20, 1 << 20, [(one.clip, 0) for one in held.clips()]), 0)
        sent = 0
        while lane.pick(4, 0) and sent < 24:
            sent += 1
            size = lane.fill(lane.clip, lane.parts, lane.first, lane.count, buffer)
            if not size:
                lane.unreadable(0)
                continue
            if not 0 < size <= len(buffer):
                raise Spoilt(f"a message of {size} bytes")
            content = before.get(f"/spool/{lane.clip:08x}.clp", b"")
            if bytes(buffer[:size]) not in content or not lane.parts & (HEADER | SEGMENTS | END):
                raise Spoilt("a message that is not in the clip's file")
            lane.sent(0)
        for name, content in before.items():
            if len(content) >= CLIP_HEADER_BYTES and card.files.get(name, b"")[: len(content)] != content:
                raise Spoilt("a clip went without a receipt")
        held.make_room(1 << 10)
        return READ if sent else REFUSED

    def note(segments: int, content: int, flags: int = 1, level: int = 0) -> bytes:
        return struct.pack(">4sBBHII32s", b"LPSN", flags, level, 0, segments, content, clip.end[56:88])

    whole = [(2, clip.header), *((2, record) for record in clip.segments), (2, clip.end)]
    length = len(clip.header) + sum(map(len, clip.segments))
    first = framed([(2, clip.header), (2, clip.segments[-1]), (2, clip.end)])
    small = genuine.clip(3, 1)
    other = [(0, b"\0\0\0\3"), (2, small.header), (2, small.segments[0]), (2, small.end)]
    notes = [note(3, length), note(3, length, 3, 1), note(900_000, 0xFFFFFFFF), note(0, 0, 0), note(2, 9)]
    seeds = [
        framed([*other, (1, note(1, len(small.header) + len(small.segments[0])))]),
        framed(other),
        framed(other[:3]),
        first,
        *(framed([*other, (1, one)]) for one in notes),
        framed([(2, clip.header[:100])]),
        framed(whole)[:9000],
    ]
    return Built(one, seeds, PartMutator([*notes, small.header, small.segments[0], small.end, clip.header], 4))


@target("card/note", share=2, max_bytes=60)
def note(_scratch: Path) -> Built:
    """A note by itself: read whole or not at all."""

    def one(data: bytes) -> int:
        body = data[: NOTE_BYTES - 4].ljust(NOTE_BYTES - 4, b"\0")
        content = memoryview(_with_crc(body) if len(data) & 1 else body + data[-4:].ljust(4, b"\0"))
        entry = SpoolClip(2, 1, False)
        if not decode_note(content, entry):
            return REFUSED
        if not entry.settled or entry.segments < 0:
            raise Spoilt("a note that settles nothing")
        if encode_note(entry, content[4])[:4] != content[:4]:
            raise Spoilt("a note that reads otherwise than it is written")
        return READ

    entry = SpoolClip(2, 1, False)
    entry.head = bytes(32)
    return Built(one, [encode_note(entry, flags)[:48] + bytes(more) for flags in range(4) for more in range(2)])


@target("card/keystore", share=0.7, max_bytes=260)
def keystore(_scratch: Path) -> Built:
    """The key sectors: a valid epoch is found and consumed, or the store says that it is lost."""
    flash = Flash()
    provision_sectors(flash, genuine.chain_key(0), bytes(32))
    images = [bytes(flash.sectors[0][:128])]
    store = KeyStore(flash)
    store.load()
    for _ in range(3):
        store.step(MARK_BOOT, bytes(32), 0)
        images += [bytes(sector[:128]) for sector in flash.sectors]

    def image(data: bytes) -> bytes:
        """The first bit says whether the check is made to fit."""
        if not data or not data[0] & 1:
            return data[1:]
        fields = data[1:77].ljust(76, b"\0")
        return fields + sha256(b"lapel/v1 keystore", fields) + data[109:]

    def one(data: bytes) -> int:
        found = Flash(image(data[:129]), image(data[129:]))
        held = KeyStore(found)
        try:
            held.load()
            epoch = held.epoch
            pool = held.step(MARK_CLIP, bytes(32), 7)
            held.started()
        except (KeyStoreLost, KeyStoreFault):
            return REFUSED
        if pool.number != epoch or held.epoch != epoch + 1:
            raise Spoilt("another epoch was handed out than was next")
        again = KeyStore(found)
        again.load()
        if again.epoch != epoch + 1 or not again.last_started:
            raise Spoilt("an epoch would be handed out twice")
        return READ

    seeds = [b"\0" + one_image + b"\0" + other for one_image in images for other in (b"", images[0], images[-1])]
    highest = struct.pack(">4sIB3s64s", b"LKS1", 0xFFFFFFFE, 2, bytes(3), bytes(64))
    return Built(one, [*seeds, b"\1" + highest + bytes(53), b"\1" + images[1] + b"\1" + images[0]])
