"""What the device says of itself, and what it believes of the gateway (SPEC section 8).

Rules that hold here:

- a hello with a fresh nonce opens every connection, and is repeated with another until its welcome comes;
- a command counts only under the command keys of this boot; kinds that change something also need the nonce of the
  current hello, a rising counter, and an expiry that this clock can judge;
- whatever is refused is counted by its reason and logged when the count doubles: a flood is a few lines;
- clips, events, alarms and epochs are let go only here, by the gateway's authenticated word.
"""

import struct

from lapel_protocol import command as commands
from lapel_protocol import labels, orders
from lapel_protocol.clip import TRUST_GATEWAY
from lapel_protocol.command import CommandGate, open_command
from lapel_protocol.crypto import Mac
from lapel_protocol.errors import Malformed, ProtocolError, Replayed
from lapel_protocol.event import ALARM_SENDING, HEARTBEAT, HELLO
from lapel_protocol.limits import NONCE_BYTES, TIME_ROUND_TRIP_MS
from lapel_protocol.reports import HEART_BLOCKED, AlarmSending, Heartbeat, Hello

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from .alarm_lane import AlarmLane
    from .boards.contract import Board
    from .clip_lane import ClipLane
    from .epochs import EpochLedger
    from .identity import Identity
    from .journal import Journal
    from .keystore import KeyStore

    class Host(Protocol):
        """The application, as the uplink sees it. None of these may block or raise."""

        def fill_hello(self, hello: Hello, now_ms: int) -> None:
            """Set firmware, battery_* and storage_*."""
            ...

        def fill_heartbeat(self, beat: Heartbeat, now_ms: int) -> None:
            """Set flags (HEART_RECORDING, HEART_STORAGE_FULL), battery_*, storage_free_kib and alarm_*."""
            ...

        def on_alarm_sent(self, boot: int, counter: int, now_ms: int) -> None:
            """The broker has this alarm, which is no evidence that anybody else has."""
            ...

        def on_event_receipted(self, boot: int, counter: int) -> None:
            """The gateway has this event."""
            ...

        def report(self, kind: int, payload: bytes, now_ms: int) -> None:
            """Seal an event, journal it and send it in its turn."""
            ...

        def on_command(self, kind: int, body: Any, now_ms: int) -> None:
            """An authentic, fresh command (command.*) with its decoded payload (orders.*); the uplink did its part."""
            ...


HELLO_AGAIN_MS = TIME_ROUND_TRIP_MS  # a later welcome would be refused
MAX_HELLO_AGAIN_MS = 60_000
BLOCKED_BEAT_MS = 5_000  # a heartbeat asks for credit, so that a lost grant costs no more than this

_DECODERS: "dict[int, Callable[[bytes], Any]]" = {
    commands.WELCOME: orders.decode_welcome,
    commands.CREDIT: orders.decode_credit,
    commands.RECEIPT: orders.decode_receipt,
    commands.WANT: orders.decode_want,
    commands.EVENT_RECEIPT: orders.decode_event_receipt,
    commands.ALARM_RECEIPT: orders.decode_alarm_receipt,
    commands.ALARM_ACK: orders.decode_alarm_ack,
    commands.ALARM_RESOLVED: orders.decode_alarm_resolved,
    commands.UNOPENABLE: orders.decode_unopenable,
    commands.SETTINGS: orders.decode_settings,
    commands.STOP_RECORDING: orders.decode_stop_recording,
    commands.VISIT_STATE: orders.decode_visit_state,
    # Read by update_control, which few devices ever need.
    commands.UPDATE_OFFER: bytes,
    commands.UPDATE_BLOCK: bytes,
}


class Conversation:
    """One boot's conversation. `welcomed` on this connection; `refused` commands in this boot.

    `contact_ms` is the monotonic time of the last authentic command, -1 before the first. `heartbeat_s` is a setting.
    """

    def __init__(
        self,
        board: "Board",
        identity: "Identity",
        keys: "KeyStore",
        ledger: "EpochLedger",
        journal: "Journal",
        alarms: "AlarmLane",
        clips: "ClipLane",
        host: "Host",
    ) -> None:
        self._board = board
        self._identity = identity
        self._keys = keys
        self._ledger = ledger
        self._journal = journal
        self._alarms = alarms
        self._clips = clips
        self._host = host
        self._gate = CommandGate()
        self._pool = Mac(identity.pool)
        self._hellos = 0
        self._hello_ms = 0
        self._hello_at_ms = 0
        self._hello_delay_ms = HELLO_AGAIN_MS
        self._beat_at_ms = 0
        self._challenge = bytes(NONCE_BYTES)
        self._refusals: dict[str, int] = {}
        self.heartbeat_s = 30
        self.welcomed = False
        self.contact_ms = -1
        self.refused = 0

    def reconnected(self, now_ms: int) -> None:
        """A new connection: it begins with a hello."""
        self.welcomed = False
        self._hello_at_ms = now_ms
        self._hello_delay_ms = HELLO_AGAIN_MS
        self._beat_at_ms = now_ms  # answers the welcome's challenge at once: contact is known before the first interval

    def hello(self, now_ms: int) -> "bytes | None":
        """A sealed hello with a fresh nonce when one is due, None when not."""
        if self.welcomed or now_ms < self._hello_at_ms:
            return None
        self._hellos += 1
        nonce = self._pool.digest(labels.POOL_NONCE, struct.pack(">I", self._hellos), self._board.entropy(8))
        hello = Hello()
        hello.nonce = nonce[:NONCE_BYTES]
        self._host.fill_hello(hello, now_ms)
        hello.next_epoch = self._keys.epoch
        hello.epochs = self._ledger.entries()
        self._gate.hello(hello.nonce)
        self._hello_ms = now_ms
        self._hello_at_ms = now_ms + self._hello_delay_ms
        self._hello_delay_ms = min(2 * self._hello_delay_ms, MAX_HELLO_AGAIN_MS)
        return self._identity.seal(HELLO, hello.encode(), now_ms)

    def heartbeat(self, now_ms: int) -> "bytes | None":
        """A sealed heartbeat when one is due; sooner while clips wait for credit."""
        if not self.welcomed:
            return None
        due_ms = self._beat_at_ms
        if self._clips.blocked:
            due_ms -= max(0, self.heartbeat_s * 1000 - BLOCKED_BEAT_MS)
        if now_ms < due_ms:
            return None
        self._beat_at_ms = now_ms + self.heartbeat_s * 1000
        beat = Heartbeat()
        self._host.fill_heartbeat(beat, now_ms)
        beat.challenge = self._challenge
        if self._clips.blocked:
            beat.flags |= HEART_BLOCKED
        beat.clips_held = min(self._clips.held, 0xFFFF)
        beat.refused_commands = self.refused
        return self._identity.seal(HEARTBEAT, beat.encode(), now_ms)

    def command(self, record: memoryview, now_ms: int) -> None:
        """Take a command that the broker delivered; what is not acceptable is refused, counted, and changes nothing."""
        identity = self._identity
        try:
            command = open_command(identity.keys, record, identity.device, identity.boot)
            if command.kind == commands.WELCOME and now_ms - self._hello_ms > TIME_ROUND_TRIP_MS:
                raise Replayed("welcome came too late")
            decode = _DECODERS.get(command.kind)
            if decode is None:
                raise Malformed("command of an unknown kind")
            body: Any = decode(command.payload)
            wall_ms, trust = identity.time.wall(now_ms)
            self._gate.admit(command, wall_ms if trust == TRUST_GATEWAY else 0)
        except ProtocolError as error:
            self._refuse(error.reason)
            return
        self.contact_ms = now_ms
        self._obey(command.kind, body, now_ms)
        self._host.on_command(command.kind, body, now_ms)

    def event_receipted(self, boot: int, counter: int, now_ms: int) -> None:
        """The gateway holds this event, alarm or not, durably."""
        alarm = self._alarms.receipted(boot, counter)
        self._journal.receipt(boot, counter)
        self._host.on_event_receipted(boot, counter)
        if alarm is not None and alarm.after_ms >= 0:
            sending = AlarmSending(counter, min(alarm.after_ms, 0xFFFFFFFF), min(alarm.tries, 0xFFFF))
            self._host.report(ALARM_SENDING, sending.encode(), now_ms)

    def _obey(self, kind: int, body: "Any", now_ms: int) -> None:
        if kind == commands.WELCOME:
            # Half the round trip has passed since the gateway read its clock, give or take the other half.
            wall_ms = body.wall_ms + (now_ms - self._hello_ms) // 2
            if not self._identity.time.adopt(wall_ms, now_ms):
                self._refuse("time")
            self._challenge = body.challenge
            self._ledger.receipted_to(body.ledger_to)
            self.welcomed = True
        elif kind == commands.CREDIT:
            self._challenge = body.challenge
            self._clips.credit(body, now_ms)
        elif kind == commands.RECEIPT:
            if not self._clips.receipt(body):
                self._refuse("receipt")
        elif kind == commands.UNOPENABLE:
            self._clips.park(body.clip)
        elif kind == commands.WANT:
            self._clips.want(body)
        elif kind == commands.EVENT_RECEIPT:
            for boot, counter in body.events:
                self.event_receipted(boot, counter, now_ms)
        elif kind in (commands.ALARM_RECEIPT, commands.ALARM_ACK, commands.ALARM_RESOLVED):
            self.event_receipted(body.boot, body.counter, now_ms)

    def _refuse(self, reason: str) -> None:
        self.refused += 1
        count = self._refusals.get(reason, 0) + 1
        self._refusals[reason] = count
        if not count & (count - 1):
            self._board.log("uplink: command refused: %s (%d)" % (reason, count))
