"""The device's one connection, and the order in which things go out on it (SPEC section 9).

First an alarm, then what a resumed session must repeat, the hello, journalled events, the heartbeat, pieces of clips.
Rules that hold here:

- an alarm is handed to the connection before anything is written for it, and clips wait until the broker has it;
- nothing is forgotten for a PUBACK;
- a session begins clean at boot and is resumed within the boot;
- everything is allocated in the constructor; one message is in the making at a time, all in the same buffer.
"""

from lapel_protocol.event import ALARM_KINDS, ALARM_RAISED, peek_event
from lapel_protocol.limits import (
    MAX_COMMAND_RECORD_BYTES,
    MAX_EVENT_RECORD_BYTES,
    MAX_SEGMENT_RECORD_BYTES,
    TICKS_PERIOD,
)
from lapel_protocol.topics import LANE_ALARM, LANE_CLIP, LANE_DOWN, LANE_EVENT, topic

from . import mqtt
from .alarm_lane import AlarmLane
from .clip_lane import ClipLane, chunk_bytes
from .conversation import Conversation
from .link_window import LinkWindow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .alarm_lane import Alarm
    from .boards.contract import Board, Link, TlsIdentity
    from .conversation import Host
    from .epochs import EpochLedger
    from .identity import Identity
    from .journal import Journal
    from .keystore import KeyStore
    from .mqtt import Slot
    from .spool import Spool

OFFLINE = 0
CONNECTING = 1
ONLINE = 2  # the broker has accepted us, which says nothing about the gateway

BACKOFF_MS = 1_000  # doubles with every failed connection up to
MAX_BACKOFF_MS = 60_000
SPREAD_MS = 30_000  # the first attempt after a broker was lost: all its devices lost it, and must not come back at once
ALARM_BACKOFF_MS = 3_000  # and no further than this while an alarm waits
CONNECT_MS = 30_000  # TCP, TLS and CONNACK together; a handshake takes an RP2040 some 3 s
EVENTS_IN_FLIGHT = 8  # sent and not receipted
EVENT_AGAIN_MS = 5_000  # no receipt for this long: send again; doubles up to
MAX_EVENT_AGAIN_MS = 300_000
MAX_LOOSE_EVENTS = 4  # events that storage would not take, kept in memory

_RECEIVE_BYTES = MAX_COMMAND_RECORD_BYTES + 128
_ALARM_SLOTS = 2  # of the client's slots, left free for alarms
_SENDS_PER_POLL = 8
_READS_PER_POLL = 4

# Lanes in Slot.lane, and what a, b, c then are.
_ALARM = 1  # boot, counter
_EVENT = 2  # boot, counter
_HELLO = 3
_CLIP = 4  # clip, first, count << 3 | parts


class LinkConfig:
    """Where the broker is. `tls` None is plain TCP, for the embedded broker on loopback only."""

    def __init__(self, host: str, port: int, tls: "TlsIdentity | None") -> None:
        self.host = host
        self.port = port
        self.tls = tls


class Uplink:
    """Made at boot, before memory is cut up; then `poll` it as often as the runtime comes round."""

    def __init__(
        self,
        board: "Board",
        identity: "Identity",
        keys: "KeyStore",
        spool: "Spool",
        journal: "Journal",
        ledger: "EpochLedger",
        config: LinkConfig,
        host: "Host",
    ) -> None:
        profile = board.profile
        self._board = board
        self._config = config
        self._journal = journal
        self._host = host
        self._link: Link | None = None
        self._client = mqtt.MqttClient(identity.device.hex(), _RECEIVE_BYTES)
        self._chunk_segments = profile.chunk_segments
        self._chunk = memoryview(bytearray(mqtt.HEADROOM + chunk_bytes(profile.chunk_segments)))
        self._message = self._chunk[: mqtt.HEADROOM + MAX_EVENT_RECORD_BYTES]
        self._window = LinkWindow(MAX_SEGMENT_RECORD_BYTES, profile.window_bytes)
        self._alarms = AlarmLane()
        self._clips = ClipLane(spool)
        self._loose: list[bytes] = []
        self._conversation = Conversation(board, identity, keys, ledger, journal, self._alarms, self._clips, host)
        self._topics = {}
        for lane, name in ((_ALARM, LANE_ALARM), (_EVENT, LANE_EVENT), (_HELLO, LANE_EVENT), (_CLIP, LANE_CLIP)):
            self._topics[lane] = topic(identity.device, name).encode()
        self._down = topic(identity.device, LANE_DOWN)
        self._down_bytes = self._down.encode()
        self._clean = True
        self._opened_ms = 0
        self._subscribed_ms = 0
        self._probing_ms = -1
        self._try_ms = 0
        self._was_up = False
        self._failures = 0
        self._complained = ""
        self._events_at_ms = 0
        self._events_delay_ms = EVENT_AGAIN_MS
        self._events_receipted = 0
        self._fleeting = b""
        self._writing: Alarm | None = None  # the alarm whose bytes the link is taking
        self._crowded_out = False  # an alarm of the journal found no room in the lane
        self.state = OFFLINE
        self.messages = 0  # handed to the connection in this boot

    @property
    def conversation(self) -> Conversation:
        """What the two ends know of each other: `welcomed`, `contact_ms`, `refused`, `heartbeat_s`."""
        return self._conversation

    @property
    def welcomed(self) -> bool:
        """Whether the gateway has answered on the connection of now."""
        return self.state == ONLINE and self._conversation.welcomed

    @property
    def window(self) -> LinkWindow:
        """The measured link."""
        return self._window

    @property
    def contact_ms(self) -> int:
        """Monotonic time of the gateway's last authentic word, -1 before the first."""
        return self._conversation.contact_ms

    def alarm_sent(self, boot: int, counter: int) -> bool:
        """Whether the broker has this alarm, or the gateway does."""
        alarm = self._alarms.find(boot, counter)
        return alarm is None or alarm.with_broker

    # -- what the application hands over ----------------------------------------------------------------------------

    def publish_alarm(self, record: bytes, now_ms: int, drill: bool = False) -> None:
        """Send an alarm record as soon as bytes can go out, now if possible; it reaches the journal in a later poll."""
        kind, _, boot, counter = peek_event(record)
        if not self._alarms.add(boot, counter, record, False):
            self._board.log("uplink: no room for another alarm; it waits in the journal")
            self.publish_event(record, now_ms, drill)
            return
        alarm = self._alarms.alarms[-1]
        alarm.drill = drill
        if kind == ALARM_RAISED:
            alarm.raised_ms = now_ms
            alarm.raised_ticks = self._board.clock.ticks_ms()
        if self._link is None:
            self._try_ms = now_ms
        else:
            self._send(now_ms)

    def hurry(self, now_ms: int) -> None:
        """An alarm may follow: connect now rather than when it does, so that the handshake goes on during the hold."""
        if self._link is None:
            self._try_ms = now_ms

    def publish_event(self, record: bytes, now_ms: int, drill: bool = False) -> bool:
        """Journal an event and send it in its turn; False when storage would not take it and it is in memory only."""
        if self._journal.append(record, drill):
            return True
        if len(self._loose) >= MAX_LOOSE_EVENTS:
            self._loose.pop(0)
        self._loose.append(record)
        return False

    def publish_fleeting(self, record: bytes) -> None:
        """Send an event that is not kept: soon, on this connection, or never. Empty takes back one that waits."""
        self._fleeting = record

    def clip_changed(self, now_ms: int) -> None:
        """Segments became durable, or a clip began or ended: send what there is without waiting for the next poll."""
        if self._link is not None:
            self._send(now_ms)

    # -- the connection ---------------------------------------------------------------------------------------------

    def poll(self, now_ms: int) -> None:
        """Connect, receive, keep time, send, journal: each a bounded piece of work."""
        if self._link is None:
            self._open(now_ms)
        if self._link is not None:
            self._receive(self._link, now_ms)
        if self._link is not None:
            self._client.poll(now_ms)
            if self._client.state == mqtt.BROKEN:
                self._drop("%s (%d)" % (mqtt.FAULT_NAMES[self._client.fault], self._client.refusal), now_ms)
            elif self.state == CONNECTING and now_ms - self._opened_ms >= CONNECT_MS:
                self._drop("no answer from the broker", now_ms)
            else:
                self._send(now_ms)
        alarm = self._alarms.unjournaled()
        if alarm is not None:
            # One attempt: an alarm that storage does not take is repeated from memory.
            alarm.journal_tried = True
            alarm.journaled = self._journal.append(alarm.record, alarm.drill)

    def close(self, now_ms: int) -> None:
        """Take leave of the broker, as far as the link allows at once, before a restart."""
        if self._link is not None:
            self._client.disconnect()
            self._send(now_ms)
            self._drop("closed", now_ms)

    def _open(self, now_ms: int) -> None:
        up = self._board.network.is_up()
        if up and not self._was_up:
            self._try_ms = now_ms
        self._was_up = up
        if not up or now_ms < self._try_ms:
            return
        self._opened_ms = now_ms
        try:
            self._link = self._board.network.open(self._config.host, self._config.port, self._config.tls)
        except OSError as error:
            self._drop("cannot connect: %s" % error, now_ms)
            return
        self.state = CONNECTING
        self._client.connect(self._clean, now_ms)

    def _drop(self, reason: str, now_ms: int) -> None:
        """Close the link and come back later: exponential back-off with jitter, told once until it works again."""
        if self._link is not None:
            self._link.close()
        self._link = None
        self._writing = None
        self._fleeting = b""
        delay_ms = min(BACKOFF_MS << min(self._failures, 8), MAX_BACKOFF_MS)
        least_ms = delay_ms // 2
        if self.state == ONLINE and not self._failures:
            delay_ms = SPREAD_MS
            least_ms = 0
        if self._alarms.alarms:
            delay_ms = min(delay_ms, ALARM_BACKOFF_MS)
            least_ms = min(least_ms, delay_ms // 2)
        self.state = OFFLINE
        if reason != self._complained:
            self._complained = reason
            self._board.log("uplink: %s" % reason)
        self._failures += 1
        chance = self._board.entropy(2)
        self._try_ms = now_ms + least_ms + (delay_ms - least_ms) * (chance[0] << 8 | chance[1]) // 65536

    def _receive(self, link: "Link", now_ms: int) -> None:
        client = self._client
        for _ in range(_READS_PER_POLL):
            space = client.space()
            if not len(space):
                return
            try:
                got = link.recv_into(space)
            except OSError as error:
                self._drop("connection lost: %s" % error, now_ms)
                return
            if got is None:
                return
            if got == 0:
                self._drop("closed by the broker", now_ms)
                return
            client.received(got, now_ms)
            happened = client.next()
            while happened != mqtt.NOTHING:
                if happened == mqtt.FAULT:
                    return
                self._happened(happened, now_ms)
                if self._link is not link:
                    return
                happened = client.next()

    def _happened(self, what: int, now_ms: int) -> None:
        client = self._client
        if what == mqtt.ACCEPTED:
            resumed = client.session_present
            self._clean = False
            self.state = ONLINE
            client.subscribe(self._down)
            self._subscribed_ms = now_ms
            self._window.reset(now_ms)
            self._probing_ms = -1
            self._alarms.reconnected(resumed)
            self._clips.reconnected(resumed, now_ms)
            self._conversation.reconnected(now_ms)
            if not resumed:
                self._journal.mark_unsent()
            self._events_delay_ms = EVENT_AGAIN_MS
            self._events_at_ms = now_ms + EVENT_AGAIN_MS
        elif what == mqtt.SUBSCRIBED:
            self._window.probed(now_ms - self._subscribed_ms, now_ms)
        elif what == mqtt.PONG and self._probing_ms >= 0:
            self._window.probed(now_ms - self._probing_ms, now_ms)
            self._probing_ms = -1
        elif what == mqtt.ACKED:
            self._acked(client.acked, now_ms)
        elif what == mqtt.MESSAGE and client.topic == self._down_bytes:
            self._conversation.command(client.payload, now_ms)
            if self._conversation.welcomed and self._failures:
                self._failures = 0
                self._complained = ""
                self._board.log("uplink: the gateway answers")

    def _acked(self, slot: "Slot", now_ms: int) -> None:
        if slot.lane == _CLIP:
            self._window.acked(slot.size, slot.in_flight, now_ms - slot.sent_ms)
        if slot.lane == _ALARM and self._alarms.acked(slot.a, slot.b):
            self._host.on_alarm_sent(slot.a, slot.b, now_ms)

    # -- sending ----------------------------------------------------------------------------------------------------

    def _send(self, now_ms: int) -> None:
        """Hand bytes to the link until it takes no more, or nothing is due."""
        client = self._client
        link = self._link
        if link is None:
            return
        for _ in range(_SENDS_PER_POLL):
            data = client.outgoing()
            if not len(data):
                if not client.idle or not self._stage(now_ms):
                    return
                data = client.outgoing()
            try:
                taken = link.send(data)
            except OSError as error:
                self._drop("connection lost: %s" % error, now_ms)
                return
            if not taken:
                return
            client.taken(taken, now_ms)
            if self._writing is not None and client.idle:
                self._written(self._writing, now_ms)
                self._writing = None

    def _written(self, alarm: "Alarm", now_ms: int) -> None:
        """The link has taken all of an alarm. Ticks tell the time within a turn of the loop, but wrap."""
        if alarm.after_ms < 0 <= alarm.raised_ms:
            ticks = (self._board.clock.ticks_ms() - alarm.raised_ticks) & (TICKS_PERIOD - 1)
            alarm.after_ms = max(now_ms - alarm.raised_ms, ticks)

    def _stage(self, now_ms: int) -> bool:
        """Put the next message into the client; False when nothing is due."""
        client = self._client
        free = client.free_slots()
        if free:
            alarm = self._alarms.due(now_ms)
            if alarm is not None:
                self._alarms.sent(alarm, now_ms)
                self._writing = alarm
                self._publish(_ALARM, alarm.record, alarm.boot, alarm.counter, now_ms)
                return True
        again = client.next_again()
        while again is not None:
            if self._again(again, now_ms):
                return True
            client.forget(again)
            again = client.next_again()
        if free <= _ALARM_SLOTS:
            return False
        hello = self._conversation.hello(now_ms)
        if hello is not None:
            self._publish(_HELLO, hello, 0, 0, now_ms)
            return True
        if self._stage_event(now_ms):
            return True
        beat = self._conversation.heartbeat(now_ms)
        if beat is None and self._fleeting:
            beat = self._fleeting
            self._fleeting = b""
        if beat is not None:
            # Late heartbeats prove nothing, so the broker is not to keep them for an absent gateway.
            client.publish_unacknowledged(self._topics[_EVENT], self._message, self._copy(beat))
            self.messages += 1
            return True
        return self._clips.granted and not self._alarms.urgent and self._stage_clip(now_ms)

    def _stage_event(self, now_ms: int) -> bool:
        journal = self._journal
        if not journal.outstanding or journal.receipts != self._events_receipted:
            self._events_receipted = journal.receipts
            self._events_delay_ms = EVENT_AGAIN_MS
            self._events_at_ms = now_ms + EVENT_AGAIN_MS
        elif now_ms >= self._events_at_ms:
            journal.mark_unsent()
            self._events_delay_ms = min(2 * self._events_delay_ms, MAX_EVENT_AGAIN_MS)
            self._events_at_ms = now_ms + self._events_delay_ms
        if self._crowded_out and not self._alarms.full:
            self._crowded_out = False
            journal.mark_unsent()
        while journal.outstanding < EVENTS_IN_FLIGHT:
            row = journal.next_unsent()
            if row < 0:
                break
            journal.mark_sent(row)
            kind, boot, counter = journal.describe(row)
            size = journal.read(row, self._message[mqtt.HEADROOM :])
            if not size:
                continue
            if kind in ALARM_KINDS:
                record = bytes(self._message[mqtt.HEADROOM : mqtt.HEADROOM + size])
                if not self._alarms.add(boot, counter, record, True):
                    self._crowded_out = True
                continue
            self._slot(_EVENT, self._message, size, boot, counter, 0, now_ms)
            return True
        if self._loose:
            record = self._loose.pop(0)
            _, _, boot, counter = peek_event(record)
            self._publish(_EVENT, record, boot, counter, now_ms)
            return True
        return False

    def _stage_clip(self, now_ms: int) -> bool:
        window = self._window
        clips = self._clips
        if self._probing_ms >= 0:
            return False
        if window.probe_due(now_ms):
            if not self._client.unacked_bytes and self._client.ping():
                self._probing_ms = now_ms
            return False
        room = window.limit_bytes - self._client.unacked_bytes
        most = window.chunk_segments(MAX_SEGMENT_RECORD_BYTES, self._chunk_segments)
        if room < most * MAX_SEGMENT_RECORD_BYTES and self._client.unacked_bytes:
            return False
        if not clips.pick(most, now_ms):
            return False
        size = clips.fill(clips.clip, clips.parts, clips.first, clips.count, self._chunk[mqtt.HEADROOM :])
        if not size:
            clips.unreadable(now_ms)
            return False
        clips.sent(now_ms)
        self._slot(_CLIP, self._chunk, size, clips.clip, clips.first, clips.count << 3 | clips.parts, now_ms)
        return True

    def _again(self, slot: "Slot", now_ms: int) -> bool:
        """Repeat a message of the session that was resumed; False when its payload is gone or no longer wanted."""
        buffer = self._message
        payload = buffer[mqtt.HEADROOM :]
        size = 0
        if slot.lane == _ALARM:
            alarm = self._alarms.find(slot.a, slot.b)
            if alarm is not None:
                size = self._copy(alarm.record)
                alarm.tries += 1
                self._writing = alarm
        elif slot.lane == _EVENT:
            row = self._journal.row_of(slot.a, slot.b)
            if row >= 0:
                size = self._journal.read(row, payload)
        elif slot.lane == _CLIP:
            buffer = self._chunk
            size = self._clips.fill(slot.a, slot.c & 7, slot.b, slot.c >> 3, buffer[mqtt.HEADROOM :])
        if size != slot.size:
            return False
        self._client.publish_again(slot, self._topics[slot.lane], buffer, now_ms)
        self.messages += 1
        return True

    def _copy(self, record: bytes) -> int:
        self._message[mqtt.HEADROOM : mqtt.HEADROOM + len(record)] = record
        return len(record)

    def _publish(self, lane: int, record: bytes, a: int, b: int, now_ms: int) -> None:
        self._slot(lane, self._message, self._copy(record), a, b, 0, now_ms)

    def _slot(self, lane: int, buffer: memoryview, size: int, a: int, b: int, c: int, now_ms: int) -> None:
        slot = self._client.publish(self._topics[lane], buffer, size, now_ms)
        slot.lane = lane
        slot.a = a
        slot.b = b
        slot.c = c
        self.messages += 1
