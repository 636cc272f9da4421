"""An MQTT 3.1.1 client without I/O (OASIS standard; section numbers in the comments are its own).

Bytes to send are asked for with `outgoing`, acknowledged with `taken`; received bytes are put into `space` and handed
in with `received`; `next` then tells, one by one, what happened. Rules that hold here:

- everything is allocated in the constructor; a peer that stalls or floods makes nothing grow;
- a packet larger than the receive buffer is skipped as it arrives, counted, and acknowledged, so that the broker does
  not send it again; its length is compared with the buffer before anything else is done with it;
- an outgoing payload stays where it is: its header is written into the HEADROOM bytes before it, and one view over
  both is sent, across as many partial writes as it takes;
- a QoS 1 message keeps its slot until PUBACK. When a session is resumed it is sent again with DUP and the same packet
  id (4.4), its payload supplied anew by the caller;
- what the peer does wrong is a FAULT, not an exception.
"""

import struct

OFFLINE = 0
WAITING = 1  # CONNECT is on its way or unanswered
ONLINE = 2
BROKEN = 3  # after a FAULT; `fault` says why

# What `next` returns
NOTHING = 0
ACCEPTED = 1  # CONNACK: `session_present` is set; slots are kept for resending if it is, free if not
ACKED = 2  # PUBACK: `acked` is the slot, free again
MESSAGE = 3  # `topic` and `payload` are views that are valid until the next call of `space`
SUBSCRIBED = 4
PONG = 5
OTHER = 6  # something that is the client's own business; ask again
FAULT = 7

FAULT_NAMES = ("", "malformed", "refused", "unexpected", "subscription_refused", "silent")
MALFORMED = 1
REFUSED = 2  # by CONNACK; `refusal` is its return code (3.2.2.3)
UNEXPECTED = 3  # a packet that this client never asks for
SUBSCRIPTION_REFUSED = 4
SILENT = 5  # nothing heard although a ping was due

HEADROOM = 80  # fixed header 5, topic length 2, topic up to MAX_TOPIC_BYTES, packet id 2, rounded up
MAX_IN_FLIGHT = 10  # slots; the window in bytes is the caller's
KEEP_ALIVE_S = 30  # told to the broker, which gives up after 45 s
PING_AFTER_MS = 10_000  # nothing heard for this long: ping
SILENCE_MS = 10_000  # and this long without any answer: give up. An alarm notices a dead link within 20 s
UNSENT_MS = 20_000  # nothing sent for this long: ping, or the broker's keep-alive runs out
_CONTROL_BYTES = 256
_CONTROL_SPARE = 8  # room for one PUBACK and one PINGREQ; without it nothing more is read
_MAX_TOPIC_BYTES = 64

_CONNACK = 0x20
_PUBLISH = 0x30
_PUBACK = 0x40
_SUBACK = 0x90
_PINGRESP = 0xD0


class Slot:
    """A message sent and not acknowledged. `lane`, `a`, `b`, `c` are the caller's, to name the payload again."""

    def __init__(self) -> None:
        self.packet = 0  # 0: free
        self.order = 0
        self.size = 0
        self.in_flight = 0  # unacknowledged bytes when it was sent, itself included
        self.lane = 0
        self.a = 0
        self.b = 0
        self.c = 0
        self.sent_ms = 0
        self.again = False


class MqttClient:
    """One client of one broker. `receive_bytes` bounds what a packet may have, header included."""

    def __init__(self, client_id: str, receive_bytes: int) -> None:
        self._client_id = client_id.encode()
        self._receive = bytearray(receive_bytes)
        self._view = memoryview(self._receive)
        self._start = 0
        self._end = 0
        self._skip = 0
        self._skip_ack = 0
        self._control = bytearray(_CONTROL_BYTES)
        self._control_view = memoryview(self._control)
        self._control_start = 0
        self._control_end = 0
        self._message = self._control_view[:0]
        self._message_offered = False
        self._packet = 0
        self._order = 0
        self._heard_ms = 0
        self._sent_ms = 0
        self._pinged = False
        self._clean = True
        self.slots = [Slot() for _ in range(MAX_IN_FLIGHT)]
        self.state = OFFLINE
        self.session_present = False
        self.unacked_bytes = 0
        self.acked = self.slots[0]
        self.topic = self._control_view[:0]
        self.payload = self._control_view[:0]
        self.fault = 0
        self.refusal = 0
        self.skipped = 0  # packets larger than the buffer
        self.stray = 0  # PUBACKs for nothing

    # -- connection -------------------------------------------------------------------------------------------------

    def connect(self, clean: bool, now_ms: int) -> None:
        """Begin on a new link: what the old one still had to carry is dropped, slots are kept. `clean`: 3.1.2.4."""
        self._start = self._end = self._skip = self._skip_ack = 0
        self._control_start = self._control_end = 0
        self._message = self._control_view[:0]
        self._message_offered = False
        self._pinged = False
        self._clean = clean
        self._heard_ms = self._sent_ms = now_ms
        self.fault = self.refusal = 0
        self.state = WAITING
        name = self._client_id
        flags = 2 if clean else 0
        self._put(struct.pack(">BBH4sBBHH", 0x10, 12 + len(name), 4, b"MQTT", 4, flags, KEEP_ALIVE_S, len(name)))
        self._put(name)

    def subscribe(self, topic: str) -> None:
        """Ask for a topic at QoS 1; call once after ACCEPTED. SUBSCRIBED follows, or a FAULT."""
        name = topic.encode()
        self._put(struct.pack(">BBHH", 0x82, 5 + len(name), self._next_packet(), len(name)))
        self._put(name + b"\x01")

    def disconnect(self) -> None:
        """Queue a DISCONNECT (3.14): the broker then publishes no will and expects nothing more."""
        if self.state == ONLINE and self._control_room() >= 2:
            self._put(b"\xe0\x00")
        self.state = OFFLINE

    def ping(self) -> bool:
        """Ask for a PONG now; False when one is due already, or there is no room to ask."""
        if self._pinged or self.state != ONLINE or self._control_room() < _CONTROL_SPARE:
            return False
        self._put(b"\xc0\x00")
        self._pinged = True
        return True

    def poll(self, now_ms: int) -> None:
        """Ping when nothing is heard; FAULT (SILENT) when nothing follows. Hand in what was received before."""
        if self.state != ONLINE:
            return
        quiet_ms = now_ms - self._heard_ms
        if quiet_ms >= PING_AFTER_MS + SILENCE_MS:
            self._fail(SILENT)
        elif quiet_ms >= PING_AFTER_MS or now_ms - self._sent_ms >= UNSENT_MS:
            self.ping()

    # -- sending ----------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether a message may be published: none is half sent, and the broker has accepted us."""
        return self.state == ONLINE and not self._message

    def free_slots(self) -> int:
        """How many QoS 1 messages may still be put in flight."""
        free = 0
        for slot in self.slots:
            if not slot.packet:
                free += 1
        return free

    def publish(self, topic: bytes, buffer: memoryview, size: int, now_ms: int) -> Slot:
        """Send `size` bytes at HEADROOM in `buffer` with QoS 1; the buffer is in use until `idle`.

        Returns the slot, for the caller to fill in what the payload was. Raises ValueError when not `idle` or no slot
        is free: ask first.
        """
        for slot in self.slots:
            if not slot.packet:
                break
        else:
            raise ValueError("no free slot")
        if not self.idle:
            raise ValueError("a message is half sent")
        self._order += 1
        slot.packet = self._next_packet()
        slot.order = self._order
        slot.size = size
        slot.sent_ms = now_ms
        slot.again = False
        self.unacked_bytes += size
        slot.in_flight = self.unacked_bytes
        self._frame(0x32, topic, buffer, size, slot.packet)
        return slot

    def publish_unacknowledged(self, topic: bytes, buffer: memoryview, size: int) -> None:
        """Send with QoS 0: no slot, no PUBACK, not queued by the broker for an absent subscriber."""
        if not self.idle:
            raise ValueError("a message is half sent")
        self._frame(0x30, topic, buffer, size, 0)

    def next_again(self) -> "Slot | None":
        """The slot that must be sent again next after a resumed session, in the order of first sending (4.6)."""
        first = None
        for slot in self.slots:
            if slot.again and (first is None or slot.order < first.order):
                first = slot
        return first

    def publish_again(self, slot: Slot, topic: bytes, buffer: memoryview, now_ms: int) -> None:
        """Send a slot's payload again, DUP set, same packet id; the caller has put the same bytes into `buffer`."""
        if not self.idle:
            raise ValueError("a message is half sent")
        slot.again = False
        slot.sent_ms = now_ms
        self._frame(0x3A, topic, buffer, slot.size, slot.packet)

    def forget(self, slot: Slot) -> None:
        """Free a slot whose payload no longer exists, or is no longer wanted."""
        if slot.packet:
            self.unacked_bytes -= slot.size
            slot.packet = 0
            slot.again = False

    def outgoing(self) -> memoryview:
        """What the link should take next, empty if nothing. The same bytes are offered until `taken` says otherwise."""
        if self._message and (self._message_offered or self._control_start == self._control_end):
            self._message_offered = True
            return self._message
        return self._control_view[self._control_start : self._control_end]

    def taken(self, size: int, now_ms: int) -> None:
        """The link has taken the first `size` bytes of `outgoing`."""
        self._sent_ms = now_ms
        if self._message_offered:
            self._message = self._message[size:]
            self._message_offered = len(self._message) > 0
            return
        self._control_start += size
        if self._control_start == self._control_end:
            self._control_start = self._control_end = 0

    # -- receiving --------------------------------------------------------------------------------------------------

    def space(self) -> memoryview:
        """Where received bytes go; empty while answers wait to be sent. Views of the last MESSAGE end here."""
        if self._start:
            left = self._end - self._start
            self._view[:left] = self._view[self._start : self._end]
            self._start = 0
            self._end = left
        if self._control_room() < _CONTROL_SPARE:
            return self._view[:0]
        return self._view[self._end :]

    def received(self, size: int, now_ms: int) -> None:
        """`size` bytes were put into `space`."""
        self._end += size
        self._heard_ms = now_ms
        self._pinged = False

    def next(self) -> int:
        """What happened next; NOTHING when more bytes are needed, or answers must be sent first."""
        if self.state not in (WAITING, ONLINE):
            return NOTHING
        if self._skip and not self._skip_on():
            return NOTHING
        if self._control_room() < _CONTROL_SPARE:
            return NOTHING
        have = self._end - self._start
        length = 0
        at = 1
        while True:
            if at >= have:
                return NOTHING
            byte = self._receive[self._start + at]
            length |= (byte & 0x7F) << (7 * (at - 1))
            at += 1
            if not byte & 0x80:
                break
            if at > 4:  # 2.2.3: at most four length bytes
                return self._fail(MALFORMED)
        if at + length > len(self._receive):
            return self._begin_skip(at, length, have)
        if have < at + length:
            return NOTHING
        first = self._receive[self._start]
        body = self._start + at
        self._start = body + length
        return self._packet_of(first, body, length)

    def _packet_of(self, first: int, body: int, length: int) -> int:
        kind = first & 0xF0
        if kind == _PUBLISH:
            return self._message_of(first, body, length)
        if first & 0x0F:
            return self._fail(MALFORMED)
        if (kind == _CONNACK) != (self.state == WAITING):
            return self._fail(UNEXPECTED)
        if kind == _CONNACK and length == 2:
            return self._accepted(self._receive[body], self._receive[body + 1])
        if kind == _PUBACK and length == 2:
            return self._acked(self._receive[body] << 8 | self._receive[body + 1])
        if kind == _SUBACK and length == 3:
            return self._fail(SUBSCRIPTION_REFUSED) if self._receive[body + 2] & 0x80 else SUBSCRIBED
        if kind == _PINGRESP and length == 0:
            return PONG
        return self._fail(MALFORMED if kind in (_CONNACK, _PUBACK, _SUBACK, _PINGRESP) else UNEXPECTED)

    def _accepted(self, flags: int, code: int) -> int:
        if code:
            self.refusal = code
            return self._fail(REFUSED)
        self.state = ONLINE
        self.session_present = bool(flags & 1) and not self._clean
        for slot in self.slots:
            if not self.session_present:
                self.forget(slot)
            elif slot.packet:
                slot.again = True
        return ACCEPTED

    def _acked(self, packet: int) -> int:
        for slot in self.slots:
            if slot.packet == packet and packet:
                self.forget(slot)
                self.acked = slot
                return ACKED
        self.stray += 1
        return OTHER

    def _message_of(self, first: int, body: int, length: int) -> int:
        qos = first >> 1 & 3
        if self.state != ONLINE or qos > 1 or length < 2:
            return self._fail(UNEXPECTED if length >= 2 else MALFORMED)
        name = self._receive[body] << 8 | self._receive[body + 1]
        at = body + 2 + name
        end = body + length
        payload = at + 2 * qos
        if payload > end:
            return self._fail(MALFORMED)
        self.topic = self._view[body + 2 : at]
        self.payload = self._view[payload:end]
        if qos:
            packet = self._receive[at] << 8 | self._receive[at + 1]
            if not packet:
                return self._fail(MALFORMED)
            self._put(struct.pack(">BBH", _PUBACK, 2, packet))
        return MESSAGE

    def _begin_skip(self, at: int, length: int, have: int) -> int:
        """A packet that does not fit: read over it. Of a PUBLISH the packet id is looked for, to acknowledge it."""
        first = self._receive[self._start]
        if first & 0xF0 != _PUBLISH or first & 0x06 == 0x06 or self.state != ONLINE:
            return self._fail(UNEXPECTED)
        ack = 0
        if first & 0x06:
            if have < at + 2:
                return NOTHING
            name = self._receive[self._start + at] << 8 | self._receive[self._start + at + 1]
            if name > _MAX_TOPIC_BYTES:  # a topic that was never subscribed to
                return self._fail(MALFORMED)
            if have < at + 4 + name:
                return NOTHING
            ack = self._receive[self._start + at + 2 + name] << 8 | self._receive[self._start + at + 3 + name]
        self.skipped += 1
        self._skip = at + length
        self._skip_ack = ack
        return OTHER

    def _skip_on(self) -> bool:
        """Drop what has arrived of a skipped packet; True once it is over."""
        gone = min(self._skip, self._end - self._start)
        self._start += gone
        self._skip -= gone
        if self._skip:
            return False
        if self._skip_ack:
            self._put(struct.pack(">BBH", _PUBACK, 2, self._skip_ack))
            self._skip_ack = 0
        return True

    # -- parts ------------------------------------------------------------------------------------------------------

    def _frame(self, first: int, topic: bytes, buffer: memoryview, size: int, packet: int) -> None:
        """Write the header so that it ends where the payload begins."""
        length = 2 + len(topic) + size + (2 if packet else 0)
        at = HEADROOM
        if packet:
            at -= 2
            struct.pack_into(">H", buffer, at, packet)
        at -= len(topic)
        buffer[at : at + len(topic)] = topic
        at -= 2
        struct.pack_into(">H", buffer, at, len(topic))
        at -= 1 if length < 0x80 else 2 if length < 0x4000 else 3
        start = at - 1
        while True:
            buffer[at] = length & 0x7F | (0x80 if length > 0x7F else 0)
            length >>= 7
            at += 1
            if not length:
                break
        buffer[start] = first
        self._message = buffer[start : HEADROOM + size]
        self._message_offered = False

    def _control_room(self) -> int:
        return _CONTROL_BYTES - self._control_end

    def _put(self, data: bytes) -> None:
        end = self._control_end + len(data)
        self._control[self._control_end : end] = data
        self._control_end = end

    def _next_packet(self) -> int:
        """A packet id that is not in flight, 1..65535."""
        while True:
            self._packet = self._packet % 65535 + 1
            for slot in self.slots:
                if slot.packet == self._packet:
                    break
            else:
                return self._packet

    def _fail(self, fault: int) -> int:
        self.fault = fault
        self.state = BROKEN
        return FAULT
