"""The MQTT client against a peer that splits, floods, stalls, lies and resumes."""

import random
import struct
import tracemalloc

import pytest

from lapel_device import mqtt
from lapel_device.mqtt import HEADROOM, MqttClient, Slot

CONNACK = b"\x20\x02\x00\x00"
RESUMED = b"\x20\x02\x01\x00"
RECEIVE_BYTES = 512


def length(size: int) -> bytes:
    out = b""
    while True:
        byte = size & 0x7F
        size >>= 7
        out += bytes([byte | (0x80 if size else 0)])
        if not size:
            return out


def publication(topic: bytes, payload: bytes, packet: int = 0, flags: int = 0) -> bytes:
    body = struct.pack(">H", len(topic)) + topic
    if packet:
        body += struct.pack(">H", packet)
        flags |= 2
    return bytes([0x30 | flags]) + length(len(body) + len(payload)) + body + payload


def puback(packet: int) -> bytes:
    return struct.pack(">BBH", 0x40, 2, packet)


class Peer:
    """Feeds one client and reads what it sends."""

    def __init__(self) -> None:
        self.client = MqttClient("0123456789abcdef", RECEIVE_BYTES)
        self.now_ms = 0

    def connect(self, clean: bool = True, answer: bytes = CONNACK) -> bytes:
        self.client.connect(clean, self.now_ms)
        sent = self.sent()
        assert self.feed(answer) == [mqtt.ACCEPTED]
        return sent

    def sent(self, piece: int = 1 << 20) -> bytes:
        out = b""
        while len(self.client.outgoing()):
            data = self.client.outgoing()[:piece]
            out += bytes(data)
            self.client.taken(len(data), self.now_ms)
        return out

    def feed(self, data: bytes, piece: int = 1 << 20) -> list[int]:
        """Everything that happens, in order; answers are left unsent."""
        seen: list[int] = []
        while data:
            space = self.client.space()
            if not len(space):
                return seen
            size = min(piece, len(space), len(data))
            space[:size] = data[:size]
            data = data[size:]
            self.client.received(size, self.now_ms)
            happened = self.client.next()
            while happened not in (mqtt.NOTHING, mqtt.FAULT):
                seen.append(happened)
                happened = self.client.next()
            if happened == mqtt.FAULT:
                return [*seen, mqtt.FAULT]
        return seen

    def publish(self, payload: bytes, topic: bytes = b"t/clip") -> tuple[Slot, bytes]:
        buffer = memoryview(bytearray(HEADROOM + len(payload)))
        buffer[HEADROOM:] = payload
        slot = self.client.publish(topic, buffer, len(payload), self.now_ms)
        return slot, self.sent()


def online() -> Peer:
    peer = Peer()
    peer.connect()
    return peer


def test_connect_is_mqtt_3_1_1_with_or_without_a_clean_session() -> None:
    peer = Peer()
    sent = peer.connect(clean=True)
    assert sent == b"\x10\x1c\x00\x04MQTT\x04\x02\x00\x1e\x00\x100123456789abcdef"
    assert peer.connect(clean=False) == sent[:9] + b"\x00" + sent[10:]


def test_a_refused_connection_is_a_fault_with_its_code() -> None:
    peer = Peer()
    peer.client.connect(True, 0)
    assert peer.feed(b"\x20\x02\x00\x05") == [mqtt.FAULT]
    assert (peer.client.fault, peer.client.refusal) == (mqtt.REFUSED, 5)
    assert peer.client.state == mqtt.BROKEN


def test_subscribe_asks_for_qos_1_and_a_refusal_is_a_fault() -> None:
    peer = online()
    peer.client.subscribe("t/down")
    assert peer.sent() == b"\x82\x0b\x00\x01\x00\x06t/down\x01"
    assert peer.feed(b"\x90\x03\x00\x01\x01") == [mqtt.SUBSCRIBED]
    assert peer.feed(b"\x90\x03\x00\x02\x80") == [mqtt.FAULT]
    assert peer.client.fault == mqtt.SUBSCRIPTION_REFUSED


@pytest.mark.parametrize("size", [0, 1, 100, 119, 120, 121, 127, 128, 16371, 16374, 16384, 17164])
def test_a_publication_is_framed_right_at_every_width_of_its_length(size: int) -> None:
    peer = online()
    payload = random.Random(size).randbytes(size)
    slot, sent = peer.publish(payload)
    assert sent == publication(b"t/clip", payload, slot.packet)


def test_a_publication_survives_partial_writes_and_its_payload_is_never_copied() -> None:
    peer = online()
    payload = random.Random(1).randbytes(16_496)
    buffer = memoryview(bytearray(HEADROOM + len(payload)))
    buffer[HEADROOM:] = payload
    slot = peer.client.publish(b"t/clip", buffer, len(payload), 0)
    tracemalloc.start()
    out = bytearray()
    peak = 0
    while len(peer.client.outgoing()):
        tracemalloc.reset_peak()
        piece = peer.client.outgoing()[:1371]
        before, _ = tracemalloc.get_traced_memory()
        peer.client.taken(len(piece), 0)
        peak = max(peak, tracemalloc.get_traced_memory()[1] - before)
        out += piece
    tracemalloc.stop()
    assert bytes(out) == publication(b"t/clip", payload, slot.packet)
    assert peak < 1000


def test_control_packets_wait_for_a_publication_that_has_begun_and_overtake_none() -> None:
    peer = online()
    payload = bytes(3000)
    buffer = memoryview(bytearray(HEADROOM + len(payload)))
    slot = peer.client.publish(b"t/clip", buffer, len(payload), 0)
    assert len(peer.client.outgoing()) > 3000  # offered, although the link takes nothing yet
    peer.feed(publication(b"t/down", b"command", 7))
    assert peer.sent(piece=100) == publication(b"t/clip", payload, slot.packet) + puback(7)


def test_the_same_bytes_are_offered_until_they_are_taken() -> None:
    peer = online()
    peer.feed(publication(b"t/down", b"a", 7))
    assert bytes(peer.client.outgoing()) == puback(7)
    buffer = memoryview(bytearray(HEADROOM + 10))
    peer.client.publish(b"t/clip", buffer, 10, 0)
    peer.feed(publication(b"t/down", b"b", 8))
    assert bytes(peer.client.outgoing())[:4] == puback(7)


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_commands_arrive_whole_however_the_bytes_are_split(piece: int) -> None:
    peer = online()
    seen = []
    stream = b"".join(publication(b"t/down", bytes([i]) * (i * 40), i) for i in range(1, 9)) + b"\xd0\x00"
    while stream:
        size = min(piece, len(peer.client.space()), len(stream))
        peer.client.space()[:size] = stream[:size]
        stream = stream[size:]
        peer.client.received(size, 0)
        happened = peer.client.next()
        while happened != mqtt.NOTHING:
            if happened == mqtt.MESSAGE:
                assert bytes(peer.client.topic) == b"t/down"
                seen.append(bytes(peer.client.payload))
            happened = peer.client.next()
        peer.sent()
    assert seen == [bytes([i]) * (i * 40) for i in range(1, 9)]


def test_every_command_is_acknowledged_once() -> None:
    peer = online()
    assert peer.feed(publication(b"t/down", b"a", 5) + publication(b"t/down", b"b")) == [mqtt.MESSAGE] * 2
    assert peer.sent() == puback(5)


@pytest.mark.parametrize("piece", [1, 13, 400, 512])
def test_a_packet_larger_than_the_buffer_is_skipped_counted_and_acknowledged(piece: int) -> None:
    peer = online()
    stream = publication(b"t/down", bytes(70_000), 9) + publication(b"t/down", b"after", 10)
    seen = peer.feed(stream, piece)
    assert [s for s in seen if s != mqtt.OTHER] == [mqtt.MESSAGE]
    assert bytes(peer.client.payload) == b"after"
    assert peer.client.skipped == 1
    assert peer.sent() == puback(9) + puback(10)


def test_an_oversized_packet_without_qos_is_skipped_without_an_answer() -> None:
    peer = online()
    assert mqtt.FAULT not in peer.feed(publication(b"t/down", bytes(5000)) + b"\xd0\x00")
    assert peer.client.skipped == 1
    assert peer.sent() == b""


def test_a_flood_of_any_kind_makes_nothing_grow() -> None:
    peer = online()
    flood = (publication(b"t/down", bytes(50), 3) + puback(99) + b"\xd0\x00" + publication(b"x", bytes(9000), 4)) * 50
    tracemalloc.start()
    before = 0
    for turn in range(6):
        at = 0
        while at < len(flood):
            space = peer.client.space()
            size = min(len(space), len(flood) - at)
            assert size
            space[:size] = flood[at : at + size]
            at += size
            peer.client.received(size, 0)
            while peer.client.next() != mqtt.NOTHING:
                peer.sent()
            peer.sent()
        if turn == 0:
            before, _ = tracemalloc.get_traced_memory()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peer.client.state == mqtt.ONLINE
    assert peer.client.stray == 300
    assert after - before < 5000


def test_a_peer_that_sends_and_does_not_read_is_held_back_instead_of_buffered() -> None:
    peer = online()
    for packet in range(1, 1000):
        peer.feed(publication(b"t/down", b"x", packet))
    assert len(peer.client.space()) == 0
    assert len(peer.client.outgoing()) <= 256
    taken = len(peer.sent())
    assert taken > 200
    assert len(peer.client.space()) > 0


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x30\xff\xff\xff\xff\x01", mqtt.MALFORMED),  # five length bytes
        (b"\x21\x02\x00\x00", mqtt.MALFORMED),  # reserved flags
        (b"\x20\x02\x00\x00", mqtt.UNEXPECTED),  # a second CONNACK
        (b"\x40\x03\x00\x01\x00", mqtt.MALFORMED),  # PUBACK of the wrong length
        (b"\x50\x02\x00\x01", mqtt.UNEXPECTED),  # PUBREC: we never send QoS 2
        (b"\x34\x05\x00\x01t\x00\x01", mqtt.UNEXPECTED),  # QoS 2
        (b"\x36\x05\x00\x01t\x00\x01", mqtt.UNEXPECTED),  # QoS 3
        (b"\x32\x04\x00\x01t\x00", mqtt.MALFORMED),  # no room for the packet id
        (b"\x32\x05\x00\x01t\x00\x00", mqtt.MALFORMED),  # packet id 0
        (b"\x30\x03\x00\x09t", mqtt.MALFORMED),  # topic longer than the packet
        (b"\x30\x01\x00", mqtt.MALFORMED),
        (b"\x10\x00", mqtt.UNEXPECTED),  # a client's packet
        (b"\x90\xff\x7f", mqtt.UNEXPECTED),  # oversized, and no publication
        (b"\x32\xff\xff\x7f\xff\xff", mqtt.MALFORMED),  # oversized with an impossible topic
    ],
)
def test_what_the_peer_does_wrong_is_a_fault_and_not_an_exception(data: bytes, fault: int) -> None:
    peer = online()
    assert peer.feed(data, 1)[-1:] == [mqtt.FAULT]
    assert peer.client.fault == fault
    assert peer.feed(b"\xd0\x00") == []


def test_random_bytes_never_raise() -> None:
    for seed in range(400):
        chooser = random.Random(seed)
        peer = online()
        stream = bytearray()
        for _ in range(20):
            good = publication(b"t/down", chooser.randbytes(chooser.randrange(900)), chooser.randrange(1, 9))
            part = bytearray(chooser.choice([good, puback(3), b"\xd0\x00", chooser.randbytes(9)]))
            if part and chooser.random() < 0.2:
                part[chooser.randrange(len(part))] ^= 1 << chooser.randrange(8)
            stream += part
        peer.feed(bytes(stream), chooser.randrange(1, 300))
        peer.sent()


def test_unacknowledged_bytes_are_counted_and_puback_frees_its_slot() -> None:
    peer = online()
    first, _ = peer.publish(bytes(1000))
    second, _ = peer.publish(bytes(500))
    assert (peer.client.unacked_bytes, second.in_flight) == (1500, 1500)
    packet = first.packet
    assert peer.feed(puback(packet)) == [mqtt.ACKED]
    assert peer.client.acked is first
    assert peer.client.unacked_bytes == 500
    assert peer.feed(puback(packet) + puback(0)) == [mqtt.OTHER] * 2  # nothing of ours
    assert peer.client.unacked_bytes == 500


def test_only_so_many_messages_are_in_flight_and_ids_of_those_are_not_taken_again() -> None:
    peer = online()
    kept, _ = peer.publish(b"kept")
    for _ in range(70_000):
        slot, _ = peer.publish(b"")
        assert slot.packet not in (0, kept.packet)
        peer.feed(puback(slot.packet))
    for _ in range(mqtt.MAX_IN_FLIGHT - 1):
        peer.publish(b"x")
    assert peer.client.free_slots() == 0
    with pytest.raises(ValueError, match="no free slot"):
        peer.publish(b"x")


def test_a_second_message_is_refused_while_one_is_half_sent() -> None:
    peer = online()
    buffer = memoryview(bytearray(HEADROOM + 10))
    peer.client.publish(b"t", buffer, 10, 0)
    assert not peer.client.idle
    with pytest.raises(ValueError, match="half sent"):
        peer.client.publish(b"t", buffer, 10, 0)
    peer.sent()
    assert peer.client.idle


def test_a_resumed_session_repeats_with_dup_the_same_ids_and_order() -> None:
    peer = online()
    first, _ = peer.publish(b"first")
    second, _ = peer.publish(b"second")
    third, _ = peer.publish(b"third")
    packets = (first.packet, third.packet)
    peer.feed(puback(second.packet))
    peer.connect(clean=False, answer=RESUMED)
    assert peer.client.session_present
    for slot, payload in ((first, b"first"), (third, b"third")):
        again = peer.client.next_again()
        assert again is slot
        buffer = memoryview(bytearray(HEADROOM + len(payload)))
        buffer[HEADROOM:] = payload
        peer.client.publish_again(again, b"t/clip", buffer, 0)
        assert peer.sent() == publication(b"t/clip", payload, again.packet, flags=8)
    assert (first.packet, third.packet) == packets
    assert peer.client.next_again() is None
    assert peer.client.unacked_bytes == len(b"firstthird")


def test_without_the_session_nothing_is_repeated_and_every_slot_is_free() -> None:
    peer = online()
    peer.publish(b"first")
    peer.connect(clean=False, answer=CONNACK)
    assert peer.client.next_again() is None
    assert peer.client.free_slots() == mqtt.MAX_IN_FLIGHT
    assert peer.client.unacked_bytes == 0


def test_a_broker_that_claims_a_session_after_a_clean_start_is_not_believed() -> None:
    peer = online()
    peer.publish(b"first")
    peer.connect(clean=True, answer=RESUMED)
    assert not peer.client.session_present
    assert peer.client.free_slots() == mqtt.MAX_IN_FLIGHT


def test_a_message_cut_in_the_middle_by_a_reconnection_leaves_no_half_behind() -> None:
    peer = online()
    buffer = memoryview(bytearray(HEADROOM + 1000))
    slot = peer.client.publish(b"t", buffer, 1000, 0)
    peer.client.taken(len(peer.client.outgoing()) // 2, 0)
    peer.connect(clean=False, answer=RESUMED)
    assert peer.client.idle
    assert peer.client.next_again() is slot


def test_silence_is_answered_by_a_ping_and_then_by_a_fault() -> None:
    peer = online()
    peer.now_ms = mqtt.PING_AFTER_MS - 1
    peer.client.poll(peer.now_ms)
    assert peer.sent() == b""
    peer.now_ms += 1
    for _ in range(5):
        peer.client.poll(peer.now_ms)
    assert peer.sent() == b"\xc0\x00"
    peer.now_ms += mqtt.SILENCE_MS - 1
    peer.client.poll(peer.now_ms)
    assert peer.client.state == mqtt.ONLINE
    peer.now_ms += 1
    peer.client.poll(peer.now_ms)
    assert (peer.client.state, peer.client.fault) == (mqtt.BROKEN, mqtt.SILENT)


def test_an_answered_ping_starts_the_silence_over() -> None:
    peer = online()
    for _ in range(5):
        peer.now_ms += mqtt.PING_AFTER_MS
        peer.client.poll(peer.now_ms)
        assert peer.sent() == b"\xc0\x00"
        peer.feed(b"\xd0\x00")
    assert peer.client.state == mqtt.ONLINE


def test_a_device_that_only_listens_still_keeps_the_broker_awake() -> None:
    peer = online()
    pings = b""
    for _ in range(100):
        peer.now_ms += 1_000
        peer.feed(publication(b"t/down", b"x"))
        peer.client.poll(peer.now_ms)
        pings += peer.sent()
    assert pings == b"\xc0\x00" * 5


def test_leaving_says_disconnect() -> None:
    peer = online()
    peer.client.disconnect()
    assert peer.sent() == b"\xe0\x00"
    assert peer.client.state == mqtt.OFFLINE
