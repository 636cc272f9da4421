"""The gateway against its broker and against a hostile device.

`…/forged`: everything is thrown at the cores but genuine records; afterwards the ledger must believe what it believed
before. `…/keyed`: the device itself is hostile and seals whatever the input says; nothing may be raised, and a receipt
must name what the vault really holds.
"""

from __future__ import annotations

import struct
from pathlib import Path

from lapel_gateway.custody.tracks import ClipTrack, decode_extents
from lapel_gateway.describe import parse_clip_name
from lapel_gateway.devices.wanted import WantedError, check_settings, settings_of
from lapel_gateway.keystore import KeyStore, KeyStoreError
from lapel_gateway.ledger.schema import DEVICE_ACTIVE
from lapel_gateway.log import printable
from lapel_gateway.transport import wire
from lapel_gateway.verify import ClipTrust, SegmentMac, Trust, Verifier, check_segment, split_records
from lapel_gateway.web.pages.device_settings import CHANGED_HERE, parse_form
from lapel_protocol import custody
from lapel_protocol.clip import HEADER_MAC_AT
from lapel_protocol.crypto import AesCtr, Mac
from lapel_protocol.errors import ProtocolError, Unopenable
from lapel_protocol.event import LOCATION
from lapel_protocol.limits import MAX_MESSAGE_BYTES, TAG_BYTES
from lapel_protocol.machine import Machine
from lapel_protocol.reports import ClipCut
from lapel_protocol.stream import segment_nonce
from tests.fuzz import genuine
from tests.fuzz.harness import READ, REFUSED, Built, Finding, forged, target
from tests.fuzz.mutation import PartMutator, RecordMutator, framed, frames, with_right_crc
from tests.fuzz.site import ALARM_TOPIC, CLIP_TOPIC, DEVICE_NAME, EVENT_TOPIC, NOW_MS, Message, Site
from tests.support.segments import with_check


class Untrue(Finding):
    """The gateway says something that is not so."""


@target("gateway/split", share=4, max_bytes=9000)
def split(_scratch: Path) -> Built:
    """Messages of the clip lane taken apart."""

    def one(data: bytes) -> int:
        taken = 0
        try:
            for record in split_records(data):
                if bytes(record.view) != data[taken : taken + len(record.view)]:
                    raise Untrue("a record that is not in the message")
                if record.clip != int.from_bytes(record.view[12:16], "big"):
                    raise Untrue("a record of another clip than it names")
                taken += len(record.view)
        except ProtocolError:
            return READ if taken else REFUSED
        if taken != len(data) or len(data) > MAX_MESSAGE_BYTES:
            raise Untrue("bytes were left over")
        return READ

    small = genuine.clip(7, 1)
    records = [small.header, small.segments[0], small.end]
    seeds = [b"".join(records), small.header + small.end, *records, bytes(9000)]
    return Built(one, seeds, RecordMutator([*seeds, *genuine.all_clip_records()]))


def _trust() -> Trust:
    return Trust(genuine.DEVICE, DEVICE_NAME, DEVICE_ACTIVE, "", 1, genuine.BOOT, 0, genuine.BOOT, genuine.K_DEV)


@target("gateway/verifier", share=1, max_bytes=4200, cpu_ms=2000)
def verifier(_scratch: Path) -> Built:
    """The verifier as a whole: any record, on the topic of the device or of another."""
    clip = genuine.clip()
    known = frozenset([*genuine.all_events(), *genuine.all_clip_records()])
    judge, trust = Verifier(), _trust()
    clip_trust = ClipTrust(genuine.DEVICE, genuine.CLIP, clip.fields.prefix, SegmentMac(clip.stream.mac_key))

    def one(data: bytes) -> int:
        if not data:
            return REFUSED
        device, record = (genuine.OTHER if data[0] & 1 else genuine.DEVICE), data[1:]
        view = memoryview(record)
        kind = record[0] if record else 0
        try:
            if kind == 0x10:
                judge.event(trust, device, record, NOW_MS)
            elif kind == 1:
                judge.clip_header(trust, device, view, NOW_MS)
            elif kind == 3:
                judge.clip_end(trust, device, view, NOW_MS)
            else:
                for found in split_records(record):
                    if found.segment is not None:
                        check_segment(clip_trust, found.segment, found.view)
                    if bytes(found.view) not in known:
                        forged("segment")
                return READ
        except ProtocolError:
            return REFUSED
        if record not in known:
            forged(record[:40].hex())
        return READ

    pieces = [b"\0" + record for record in known if record[4:12] == genuine.DEVICE]
    seeds = [*sorted(pieces), *(b"\1" + piece[1:] for piece in sorted(pieces)[:4])]
    records = RecordMutator(sorted(known))

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        return data[:1] + records(bytes(data[1:]), max_size - 1, seed) if data else b"\0" + records(b"", 4000, seed)

    return Built(one, seeds, mutate)


def _arrived() -> list[Message]:
    """A hello, a clip that is held, one that lacks its middle, one that is not settled, and an alarm."""
    clip, held, begun = genuine.clip(), genuine.clip(genuine.CLIP + 1, 2, alarm=True), genuine.clip(9, 3)
    return [
        (EVENT_TOPIC, genuine.event(1, genuine.payloads("hello")[0], 1)),
        (CLIP_TOPIC, clip.header + clip.segments[0] + clip.segments[2] + clip.end),
        (CLIP_TOPIC, begun.header + begun.segments[0]),
        (CLIP_TOPIC, held.header + b"".join(held.segments) + held.end),
        (ALARM_TOPIC, genuine.event(3, genuine.payloads("alarm_raised")[0], 2)),
    ]


def _genuine_parts() -> frozenset[bytes]:
    begun = genuine.clip(9, 3)
    every = [*genuine.all_events(), *genuine.all_clip_records(), begun.header, *begun.segments, begun.end]
    return frozenset([*every, *(payload for _, payload in _arrived())])


def _is_genuine(known: frozenset[bytes], payload: bytes) -> bool:
    """Whether a message holds a record that somebody with a key made."""
    if payload in known:
        return True
    try:
        return any(bytes(record.view) in known for record in split_records(payload))
    except ProtocolError:
        # What came before the fault stands on its own.
        return any(record in payload for record in known)


@target("gateway/ingest/forged", share=0.25, max_bytes=16_600, cpu_ms=2000, kib=4096)
def ingest_forged(scratch: Path) -> Built:
    """Batches of the clip and event lanes: parts are messages, the tag chooses the topic and where a batch ends."""
    site = Site(scratch, _arrived())
    known = _genuine_parts()
    others = (ALARM_TOPIC, EVENT_TOPIC.replace("18/", "19/"), "lapel/v1/zz/x/clip", "")
    before = site.believed()

    def one(data: bytes) -> int:
        site.restore()
        batch: list[Message] = []
        short: list[tuple[int, int, bytes]] = []
        read = REFUSED
        parts = [(tag, payload) for tag, payload in frames(data) if not _is_genuine(known, payload)][:24]
        for number, (tag, payload) in enumerate(parts):
            name = others[tag >> 3 & 3] if tag & 7 == 7 else CLIP_TOPIC if tag & 1 else EVENT_TOPIC
            batch.append((name, payload))
            if tag & 0x80 or number == len(parts) - 1:
                site.now_ms += 1000
                outcome = site.ingest.handle(batch, site.now_ms)
                if outcome.acknowledge != list(range(len(batch))):
                    raise Untrue("a message that is not acceptable stays with the broker for ever")
                short += list(site.receipts(outcome.downlinks, genuine.BOOT))
                read, batch = READ, []
        if short:
            _is_short_and_passes(site, short)
        elif site.believed() != before:
            forged(f"the ledger believes {site.believed()}, and believed {before}")
        return read

    clip = genuine.clip()
    records = [*genuine.all_events(), *genuine.all_clip_records(), *genuine.strangers()]
    seeds = [framed([(tag, record[:-1] + bytes([record[-1] ^ 1]))]) for record in records for tag in (0, 1)]
    joined = b"".join(segment[:-1] + b"\0" for segment in clip.segments)
    middle = clip.segments[1][:-1] + bytes([clip.segments[1][-1] ^ 1])
    crc_fits = with_right_crc(middle)
    seeds += [framed([(tag, crc_fits)] * 4) for tag in (1, 0x81)]
    seeds += [framed([(1, joined)]), framed([(7, b"x"), (0x87, b"y"), (1, clip.header[:-4] + bytes(4) + clip.end)])]
    return Built(one, seeds, PartMutator(records, 256), site.close)


def _is_short_and_passes(site: Site, receipts: list[tuple[int, int, bytes]]) -> None:
    """Forged segments may make a receipt name a shorter prefix, which no device takes, until true ones come.

    Raises Forged.
    """
    clip = genuine.clip()
    for number, segments, head in receipts:
        if number != genuine.CLIP or segments >= len(clip.segments) or site.head_in_vault(number, segments) != head:
            forged("a receipt was given for a forgery")
    outcome = site.ingest.handle([(CLIP_TOPIC, b"".join(clip.segments[1:]) + clip.end)], site.now_ms + 1000)
    if (genuine.CLIP, 3, clip.end[56:88]) not in list(site.receipts(outcome.downlinks, genuine.BOOT)):
        forged("after forged segments the true ones are no longer taken")
    if site.vault.path(DEVICE_NAME, genuine.CLIP).read_bytes() != clip.file:
        forged("after forged segments the vault does not hold the clip")


@target("gateway/alarms/forged", share=0.15, max_bytes=4000, cpu_ms=2000, kib=4096)
def alarms_forged(scratch: Path) -> Built:
    """Messages on the alarm lane: nothing is raised that no device sealed."""
    site = Site(scratch, _arrived())
    known = _genuine_parts()
    others = (EVENT_TOPIC, ALARM_TOPIC.replace("18/", "19/"), "lapel/v1/zz/x/alarm", "\0")
    before = site.believed()

    def one(data: bytes) -> int:
        read = REFUSED
        for tag, payload in frames(data)[:24]:
            if payload in known:
                continue
            name = others[tag >> 3 & 3] if tag & 7 == 7 else ALARM_TOPIC
            site.now_ms += 100
            if site.alarms.handle(name, payload, site.now_ms).downlinks:
                forged("an alarm that nobody raised was answered")
            read = READ
        if site.believed() != before:
            forged("the ledger believes a forged alarm")
        return read

    events = [*genuine.all_events(), *genuine.strangers()]
    seeds = [framed([(tag, event[:-1] + bytes([event[-1] ^ 1]))]) for event in events for tag in (0, 7)]
    return Built(one, seeds, PartMutator([*events, genuine.clip().header], 256), site.close)


class Hostile:
    """A device that seals whatever the parts of an input say, under its own true keys."""

    def __init__(self) -> None:
        self.counter = 100
        self._clips = {number: genuine.clip(number, count) for number, count in ((5, 3), (8, 1), (9, 3))}

    def message(self, tag: int, body: bytes) -> Message:
        """The message that a part stands for."""
        way = tag & 7
        number = (5, 8, 9, 5)[tag >> 3 & 3]
        clip = self._clips[number]
        keys = genuine.keys(number)
        if way == 0:
            self.counter += 1
            boot = genuine.BOOT + (tag >> 3 & 3)
            return EVENT_TOPIC, genuine.event(body[0] % 12 if body else 1, body[1:1025], self.counter, boot)
        if way == 1:
            self.counter += 1
            kind, payload = (4 if body[:1] > b"\x7f" else 3), body[1:60]
            return ALARM_TOPIC, genuine.event(kind, payload, self.counter)
        if way == 2:
            return CLIP_TOPIC, _patched(clip.header[:HEADER_MAC_AT], body, Mac(keys.clip_auth))
        if way == 3:
            return CLIP_TOPIC, _patched(clip.end[:-TAG_BYTES], body, Mac(keys.clip_auth))
        if way == 4:
            return CLIP_TOPIC, _segment(clip, body)
        if way == 5:
            self.counter += 1
            segments = (body[0] if body else 0) % 4
            head = clip.end[56:88] if tag & 0x40 else bytes(body[1:33].ljust(32, b"\0"))
            cut = ClipCut(number, segments, 2, head).encode()
            return EVENT_TOPIC, genuine.event(6, cut, self.counter, genuine.BOOT + 2)
        records = [clip.header, *clip.segments, clip.end]
        if way == 6:
            return CLIP_TOPIC, records[(body[0] if body else 0) % len(records)]
        return CLIP_TOPIC, b"".join(records)


def _patched(body: bytes, patch: bytes, mac: Mac) -> bytes:
    """A record with bytes put in at an offset (the patch's first two bytes), sealed anew."""
    at = int.from_bytes(patch[:2], "big") % len(body)
    changed = (body[:at] + patch[2:] + body[at + len(patch[2:]) :])[: len(body)] if len(patch) > 2 else body
    return changed + mac.digest(changed)


def _segment(clip: genuine.Clip, body: bytes) -> bytes:
    """An authentic segment of this clip with an index, a flag and a content of the input's choice."""
    index, last = (body[0] % 6 if body else 0), bool(body[1:2] > b"\x7f")
    size = (4024 if index == 0 else 4064) if not last else len(body[2:200])
    plain = bytearray(body[2:].ljust(size, b"\0")[:size])
    nonce = segment_nonce(clip.fields.prefix, index, last)
    AesCtr(clip.stream.aes_key).apply(nonce, memoryview(plain))
    sealed = bytes(plain) + Mac(clip.stream.mac_key).digest(nonce, plain)
    form = struct.pack(">BBBB8sIII", 2, 1, last, 0, genuine.DEVICE, clip.fields.clip, index, len(sealed))
    return with_check(form + bytes(4) + sealed)


@target("gateway/keyed", share=0.15, max_bytes=3000, cpu_ms=3000, kib=8192)
def hostile_device(scratch: Path) -> Built:
    """Both cores with a device whose keys are right and whose word is not."""
    site = Site(scratch, _arrived()[:1])

    def taken(batch: list[Message]) -> None:
        boot = max([genuine.BOOT, site.live.execute("select boot from device").fetchone()[0]])
        outcome = site.ingest.handle(batch, site.now_ms)
        if outcome.acknowledge != list(range(len(batch))):
            raise Untrue("a message that is not acceptable stays with the broker for ever")
        newest = site.live.execute("select boot from device").fetchone()[0]
        if newest < boot:
            raise Untrue("the newest boot went back")
        if site.live.execute("select count(*) from event where kind = ?", (LOCATION,)).fetchone()[0]:
            raise Untrue("a location was kept")
        for clip, segments, head in site.receipts(outcome.downlinks, newest):
            if site.head_in_vault(clip, segments) != head:
                raise Untrue(f"a receipt for {segments} segments of clip {clip} that the vault does not hold")

    def one(data: bytes) -> int:
        site.restore()
        device = Hostile()
        batch: list[Message] = []
        for tag, body in frames(data)[:24]:
            message = device.message(tag, body)
            if message[0] == ALARM_TOPIC:
                site.alarms.handle(*message, site.now_ms)
                continue
            batch.append(message)
            if tag & 0x80:
                site.now_ms += 1000
                taken(batch)
                batch = []
        taken(batch)
        site.alarms.untold(site.now_ms)
        return READ

    reports = [bytes([kind]) + payload for name, kind in genuine.EVENT_KINDS.items() for payload in _few(name)]
    far = bytes([1]) + genuine.payloads("hello")[0][:29]
    far += struct.pack(">IHIB", 0xFFFFFFFF, 1, 0xFFFFFFFE, 4)
    seeds = [framed([(0, report)]) for report in reports]
    seeds += [framed([(0, far)])]
    seeds += [framed([(tag, bytes([piece])) for piece in range(5)]) for tag in (6, 0x86, 0x8E, 0x96)]
    seeds += [framed([(0x87, b""), (0x45, b"\3"), (0x85, b"\2")]), framed([(4, b"\0"), (4, b"\1"), (4, b"\2\xff")])]
    seeds += [framed([(2, struct.pack(">HB", at, 1))]) for at in (3, 19, 37, 38, 39, 63, 71, 99, 100, 484, 530)]
    seeds += [framed([(6, b"\0"), (3, struct.pack(">HI", at, 2))]) for at in (2, 12, 16, 20, 56)]
    return Built(one, seeds, PartMutator([*reports, b"\0\x13\1", b"\3", b"\1\0\0"], 256), site.close)


def _few(name: str) -> list[bytes]:
    return genuine.payloads(name)[:2]


@target("gateway/words", share=1.5, max_bytes=200)
def words(_scratch: Path) -> Built:
    """Ids and text that come from outside: a clip's id, what is logged of a topic, a track's extents."""

    def one(data: bytes) -> int:
        text = data.decode("utf-8", "surrogateescape")
        shown = printable(text)
        if any(not c.isprintable() for c in shown):
            raise Untrue("text that is not printable is shown")
        machine = Machine(custody.TRANSITIONS, custody.OPEN)
        track = ClipTrack(genuine.DEVICE, DEVICE_NAME, 1, "", 0, machine)
        for index in data[:12]:
            track._add_extent(index)
        if decode_extents(track.encode_extents()) != track.extents:
            raise Untrue("extents come back otherwise")
        named = parse_clip_name(text)
        if named is None:
            return REFUSED
        if f"{named[0]}-{named[1]}" != text:
            raise Untrue("two spellings of a clip's id")
        return READ

    return Built(one, [b"a1b2c3d4e5f60718-5", b"A1B2C3D4E5F60718-5", b"a1b2c3d4e5f60718-05", b"\xff\xfe\x00"])


@target("gateway/settings", share=0.5, max_bytes=120)
def settings_form(_scratch: Path) -> Built:
    """What a form says of a device's settings: refused by name, or settings that the device takes, in JSON as well."""
    before = settings_of("")

    def one(data: bytes) -> int:
        lines = data.decode("utf-8", "surrogateescape").split("\n")
        said = {setting.name: text for setting, text in zip(CHANGED_HERE, lines, strict=False)}
        try:
            changes = parse_form(said, before)
        except WantedError:
            return REFUSED
        try:
            check_settings(changes)
        except WantedError as error:
            raise Untrue(f"a form's settings that no device takes: {error}") from None
        if any(not setting.words(changes.get(setting.name, before[setting.name])) for setting in CHANGED_HERE):
            raise Untrue("a setting without words")
        return READ

    good = [b"1\n7.5\n0\n20\n60\n1\n5", b"0\n3\n1\n240\n3600\n0\n240", b"\n60,0\n\n1\n5"]
    return Built(one, [*good, b"2", b"\nnan", b"\n1e999", b"\n-0", b"\n" + b"9" * 100, b"\n\n0.5", "\n７".encode()])


@target("gateway/keys", share=0.2, max_bytes=400, cpu_ms=500)
def keys(_scratch: Path) -> Built:
    """What the key store opens: sealed device keys, wrapped seeds. Only what was sealed with these keys opens."""
    store, organisation, clip = KeyStore(bytes(32)), genuine.organisation(), genuine.clip()
    sealed = store.seal(genuine.DEVICE, genuine.K_DEV)
    wrapped = clip.fields.wrapped_seed

    def one(data: bytes) -> int:
        if data[:1] < b"\x80":
            try:
                store.open(genuine.DEVICE, data[1:])
            except KeyStoreError:
                return REFUSED
            if data[1:] != sealed:
                forged("a sealed key")
            return READ
        try:
            seed = organisation.unwrap(data[1:])
        except Unopenable:
            return REFUSED
        if data[1:] != wrapped and seed == clip.seed:
            forged("another wrap of the same seed")
        return READ

    return Built(one, [b"\0" + sealed, b"\xff" + wrapped, b"\xff" + bytes(384), b"\xff" + organisation.modulus])


@target("gateway/wire", share=0.5, max_bytes=2000, cpu_ms=1000, kib=4096)
def wire_packets(_scratch: Path) -> Built:
    """The gateway's own MQTT reader: what it reads must not depend on how the bytes were cut on the way.

    Parts are raw bytes, or messages whose payload is the part's, many times over.
    """

    def fed(stream: bytes, piece: int) -> tuple[bool, list[tuple[object, ...]]]:
        inbound = wire.Inbound(1)
        found: list[tuple[object, ...]] = []
        try:
            for at in range(0, len(stream), piece):
                messages = inbound.take(stream[at : at + piece])
                found += [(one.topic, bytes(one.payload), one.mid, one.qos) for one in messages]
                if len(inbound._rest) > MAX_MESSAGE_BYTES + 1024:
                    raise Untrue("more is kept than the longest message has")
            for control in inbound.controls:
                found.append((control.kind, control.body))
                if control.kind == wire.CONNACK:
                    wire.connack_of(control.body)
                elif control.kind == wire.SUBACK:
                    wire.suback_of(control.body)
                elif control.kind == wire.PUBACK:
                    wire.puback_of(control.body)
        except wire.MqttFault:
            return True, []
        return False, found

    def one(data: bytes) -> int:
        stream = b""
        for number, (tag, body) in enumerate(frames(data[1:])[:6]):
            if tag & 3:
                size = (1, 200, 4096, 33_100 if number < 2 else 90)[tag & 3]
                payload = (body * (size // max(1, len(body)) + 1))[:size]
                stream += wire.publish("lapel/v1/6b/x/clip", payload, 1 + (tag >> 2))
            else:
                stream += body
        whole = fed(stream, len(stream) or 1)
        if whole != fed(stream, 1 + max((data[0] if data else 0) * 7, len(stream) // 512)):
            raise Untrue("the same bytes are read in two ways")
        for message in whole[1]:
            if len(message) == 4 and len(bytes(message[1])) > MAX_MESSAGE_BYTES + 300:  # type: ignore[call-overload]
                raise Untrue("a message longer than any is handed out")
        return READ if whole[1] else REFUSED

    small = wire.publish("lapel/v1/6b/x/event", b"hello", 7)
    controls = b"\x20\x02\0\0\x90\x05\0\1\1\1\1\x40\x02\0\1\xd0\0"
    seeds = [
        bytes([piece]) + framed(parts)
        for piece in (0, 9, 250)
        for parts in (
            [(0, controls), (0, small), (2, b"ab"), (0, small)],
            [(0, small + small), (3, b"x"), (0, small)],
            [(0, b"\x32\xff\xff\xff\x7f"), (3, b"y"), (3, b"z")],
            [(0, b"\x30\x80\x80\x80\x80\x01"), (0, b"\x36\x05")],
            [(0, small[:7]), (0, small[7:]), (0, b"\x90\xff\x20")],
        )
    ]
    return Built(one, seeds, PartMutator([small, controls, b"x"], 64))
