"""One member of a fleet: a device's conversation with its gateway over a connection of its own.

Rules that hold here
- Timings are the firmware's (SPEC section 8.10): hello, heartbeat, repeats of alarms, resends, pings, back-off.
- An alarm repeats byte for byte until the gateway's receipt; a clip is kept until a receipt names its head.
- A session begins clean at the member's boot and is resumed within it; what was under way is repeated with DUP.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from dataclasses import dataclass
from typing import Any

from lapel_device.alarm_lane import Alarm, AlarmLane
from lapel_device.conversation import BLOCKED_BEAT_MS, HELLO_AGAIN_MS, MAX_HELLO_AGAIN_MS
from lapel_device.mqtt import KEEP_ALIVE_S, PING_AFTER_MS, SILENCE_MS, UNSENT_MS
from lapel_device.uplink import ALARM_BACKOFF_MS, BACKOFF_MS, CONNECT_MS, MAX_BACKOFF_MS, SPREAD_MS
from lapel_protocol import alarm as alarm_machine
from lapel_protocol import command as commands
from lapel_protocol.errors import ProtocolError, Replayed
from lapel_protocol.event import peek_event
from lapel_protocol.limits import TIME_ROUND_TRIP_MS
from lapel_protocol.reports import HEART_BLOCKED
from lapel_protocol.topics import LANE_ALARM, LANE_CLIP, LANE_DOWN, LANE_EVENT, topic
from lapel_sim.fleet import packets
from lapel_sim.fleet.connection import Connection
from lapel_sim.fleet.sealer import Sealer
from lapel_sim.fleet.tally import Tally
from lapel_sim.fleet.uploads import Uploads

WINDOW_BYTES = 64 << 10
"""Clip bytes under way to the broker without its acknowledgement."""

CHALLENGE_FRESH_MS = 20_000
"""A heartbeat that answers a younger challenge is taken without a word (SPEC section 8.9)."""

_NEVER = 1 << 62


@dataclass(frozen=True)
class Broker:
    """Where the members connect."""

    host: str
    port: int
    server_hostname: str = ""


class Member:
    """A device. `start` it once; afterwards the loop's timers and its connection drive it."""

    def __init__(
        self,
        sealer: Sealer,
        broker: Broker,
        tally: Tally,
        context: ssl.SSLContext | None = None,
        heartbeat_s: int = 30,
    ) -> None:
        """``context`` has the device's certificate; None: plain TCP."""
        self.sealer = sealer
        self.welcomed = False
        self.uploads = Uploads()
        self._broker = broker
        self._tally = tally
        self._context = context
        self._heartbeat_ms = heartbeat_s * 1000
        self._lanes = {lane: topic(sealer.device, lane) for lane in (LANE_ALARM, LANE_EVENT, LANE_CLIP, LANE_DOWN)}
        self._chance = random.Random(sealer.device)
        self._alarms = AlarmLane()
        self._pressed: dict[tuple[int, int], float] = {}
        self._latched: tuple[int, int, int] = (0, 0, 0)
        self._connection: Connection | None = None
        self._online = False
        self._clean = True
        self._failures = 0
        self._opened_ms = self._try_ms = self._heard_ms = self._sent_ms = 0
        self._pinged = False
        self._number = 0
        self._under_way: dict[int, tuple[str, Any, bytes]] = {}
        self._clip_bytes = 0
        self._hello_ms = 0
        self._hello_at_ms = _NEVER
        self._hello_delay_ms = HELLO_AGAIN_MS
        self._beat_at_ms = _NEVER
        self._beat_ms = -1  # when the heartbeat that is to be answered went out
        self._challenge_ms = 0
        self._timer: asyncio.TimerHandle | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._stopped = False

    # -- what the wearer does ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Switch it on: needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self.sealer.boot()
        self._wake()

    def stop(self) -> None:
        """Switch it off."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._dialling is not None:
            self._dialling.cancel()
        if self._connection is not None:
            self._connection.send(packets.DISCONNECT)
            self._connection.close()

    def press(self) -> bool:
        """Raise an alarm; False when the last one is not receipted yet."""
        if self._pressed:
            return False
        pressed = time.perf_counter()
        now_ms = self._clock()
        _, record = self.sealer.alarm()
        _, _, boot, counter = peek_event(record)
        self._alarms.add(boot, counter, record, True)
        self._pressed[boot, counter] = pressed
        self._latched = (boot, counter, alarm_machine.RAISED)
        self._tally.counts["alarms"] += 1
        if self._connection is None:
            self._try_ms = now_ms
        self._wake()
        return True

    def record(self, segments: int) -> None:
        """Record a clip of so many segments, and send it as credit allows."""
        now_ms = self._clock()
        clip = self.sealer.record(segments)
        clip.plain = b""  # only what is sealed is sent
        self.uploads.add(clip, now_ms)
        self._tally.counts["clips"] += 1
        self._wake()

    def waiting_s(self) -> float:
        """For how long its oldest unreceipted alarm has waited; 0 when none does."""
        return time.perf_counter() - min(self._pressed.values()) if self._pressed else 0.0

    # -- what its connection says -----------------------------------------------------------------------------------

    def opened(self) -> None:
        """TCP and TLS are up."""
        self._tally.counts["connections"] += 1
        self._send(packets.connect(self.sealer.name, KEEP_ALIVE_S, self._clean), self._clock())

    def lost(self, reason: str) -> None:
        """The connection is over."""
        self._drop(reason)

    def packet(self, kind: int, flags: int, body: bytes) -> None:
        """The broker sent something."""
        now_ms = self._clock()
        self._heard_ms = now_ms
        self._pinged = False
        if kind == packets.PUBLISH:
            name, number, payload = packets.read_publish(flags, body)
            if number:
                self._send(packets.puback(number), now_ms)
            if name == self._lanes[LANE_DOWN]:
                self._command(payload, now_ms)
        elif kind == packets.PUBACK and len(body) >= 2:
            self._acked(int.from_bytes(body[:2], "big"))
        elif kind == packets.CONNACK and len(body) >= 2:
            if body[1]:
                self._drop(f"refused by the broker ({body[1]})")
                return
            self._accepted(bool(body[0] & 1), now_ms)
        elif kind not in (packets.SUBACK, packets.PINGRESP):
            return
        else:
            return  # nothing is due because of it
        self._wake()

    def _accepted(self, resumed: bool, now_ms: int) -> None:
        self._online = True
        self._clean = False
        self._send(packets.subscribe(self._next_number(), self._lanes[LANE_DOWN]), now_ms)
        self._alarms.reconnected(resumed)
        self.uploads.reconnected(resumed, now_ms)
        if resumed:
            for _, _, packet in self._under_way.values():
                self._send(packets.again(packet), now_ms)
        else:
            self._under_way.clear()
            self._clip_bytes = 0
        self._hello_at_ms = self._beat_at_ms = now_ms
        self._hello_delay_ms = HELLO_AGAIN_MS

    def _acked(self, number: int) -> None:
        lane, name, packet = self._under_way.pop(number, ("", None, b""))
        if lane == LANE_CLIP:
            self._clip_bytes -= len(packet)
        elif lane == LANE_ALARM and self._alarms.acked(*name):
            self._show(name, alarm_machine.SENT)

    # -- what the gateway says --------------------------------------------------------------------------------------

    def _command(self, record: bytes, now_ms: int) -> None:
        try:
            kind, body = self.sealer.open(record)
            if kind == commands.WELCOME and now_ms - self._hello_ms > TIME_ROUND_TRIP_MS:
                raise Replayed("welcome came too late")
        except ProtocolError as error:
            self._tally.refused[error.reason] += 1
            return
        if kind == commands.WELCOME:
            self._welcome(now_ms)
        elif kind == commands.CREDIT:
            self._challenge_ms = now_ms
            self.uploads.credit(body, now_ms)
            if self._beat_ms >= 0:
                self._tally.heartbeat_ms.append(now_ms - self._beat_ms)
                self._beat_ms = -1
        elif kind == commands.RECEIPT:
            self._receipt(body, now_ms)
        elif kind == commands.WANT:
            self._tally.counts["wants"] += 1
            self.uploads.want(body)
        elif kind == commands.ALARM_RECEIPT:
            self._receipted((body.boot, body.counter))
            self._show((body.boot, body.counter), alarm_machine.RECEIVED)
        elif kind == commands.ALARM_ACK:
            self._show((body.boot, body.counter), alarm_machine.ACKNOWLEDGED)
        elif kind == commands.ALARM_RESOLVED:
            self._show((body.boot, body.counter), alarm_machine.RESOLVED)
        elif kind == commands.SETTINGS:
            self._heartbeat_ms = body.heartbeat_s * 1000

    def _welcome(self, now_ms: int) -> None:
        if not self.welcomed:
            self._tally.hello_ms.append(now_ms - self._hello_ms)
        self.welcomed = True
        self._failures = 0
        self._challenge_ms = now_ms
        self._hello_at_ms = _NEVER

    def _receipted(self, name: tuple[int, int]) -> None:
        self._alarms.receipted(*name)
        pressed = self._pressed.pop(name, None)
        if pressed is not None:
            self._tally.counts["alarms_receipted"] += 1
            self._tally.alarm_ms.append((time.perf_counter() - pressed) * 1000)

    def _receipt(self, body: Any, now_ms: int) -> None:
        try:
            upload = self.uploads.receipt(body)
        except ValueError:
            self._tally.counts["wrong_receipts"] += 1
            return
        if upload is not None:
            self._tally.counts["clips_receipted"] += 1
            self._tally.counts["clip_bytes"] += len(upload.clip.file)
            self._tally.clip_ms.append(now_ms - upload.began_ms)

    def _show(self, name: tuple[int, int], state: int) -> None:
        """What the device shows of its latest alarm; it goes out when that is resolved."""
        if name != self._latched[:2] or state <= self._latched[2]:
            return
        if state == alarm_machine.RESOLVED:
            self._tally.counts["alarms_resolved"] += 1
            self._latched = (0, 0, 0)
        else:
            self._latched = (*name, state)

    # -- time -------------------------------------------------------------------------------------------------------

    def _clock(self) -> int:
        """Milliseconds since the boot; also sets what the sealer writes into its records."""
        now_ms = int((self._loop.time() - self._began) * 1000)
        self.sealer.mono_ms = max(self.sealer.mono_ms, now_ms)
        self.sealer.wall_ms = time.time_ns() // 1_000_000
        return now_ms

    def _wake(self) -> None:
        """Do what is due, and come back when the next thing is."""
        if self._stopped:
            return
        now_ms = self._clock()
        due_ms = self._online_work(now_ms) if self._online else self._offline_work(now_ms)
        if self._timer is not None:
            self._timer.cancel()
        # A millisecond late rather than early: the clock is cut to whole ones.
        self._timer = self._loop.call_later(max(1, due_ms - now_ms + 1) / 1000, self._wake)

    def _offline_work(self, now_ms: int) -> int:
        if self._connection is not None:
            if now_ms - self._opened_ms >= CONNECT_MS:
                self._drop("no answer from the broker")
                return self._try_ms
            return self._opened_ms + CONNECT_MS
        if now_ms < self._try_ms:
            return self._try_ms
        self._opened_ms = now_ms
        self._tally.connects[int(self._loop.time())] += 1
        self._connection = connection = Connection(self, self._context, self._broker.server_hostname)
        self._dialling = self._loop.create_task(self._dial(connection))
        return now_ms + CONNECT_MS

    async def _dial(self, connection: Connection) -> None:
        try:
            await self._loop.create_connection(lambda: connection, self._broker.host, self._broker.port)
        except OSError as error:
            if self._connection is connection:
                self._drop(f"cannot connect: {error.strerror or error}")

    def _drop(self, reason: str) -> None:
        """Come back later, as the firmware does."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        was_online = self._online
        self._online = self.welcomed = False
        self._hello_at_ms = self._beat_at_ms = _NEVER
        self._beat_ms = -1
        self._tally.drops[reason] += 1
        now_ms = self._clock()
        delay_ms = min(BACKOFF_MS << min(self._failures, 8), MAX_BACKOFF_MS)
        least_ms = delay_ms // 2
        if was_online and not self._failures:
            delay_ms, least_ms = SPREAD_MS, 0
        if self._alarms.alarms:
            delay_ms = min(delay_ms, ALARM_BACKOFF_MS)
            least_ms = min(least_ms, delay_ms // 2)
        self._failures += 1
        self._try_ms = now_ms + least_ms + (delay_ms - least_ms) * self._chance.getrandbits(16) // 65_536
        self._loop.call_soon(self._wake)

    def _online_work(self, now_ms: int) -> int:
        """Send what is due; returns when the next thing is."""
        if now_ms - self._heard_ms >= PING_AFTER_MS + SILENCE_MS:
            self._drop("the broker is silent")
            return self._try_ms
        alarm = self._alarms.due(now_ms)
        while alarm is not None:
            self._send_alarm(alarm, now_ms)
            alarm = self._alarms.due(now_ms)
        if not self.welcomed and now_ms >= self._hello_at_ms:
            self._send_hello(now_ms)
        beat_at_ms = self._beat_at_ms
        if self.uploads.blocked:
            beat_at_ms -= max(0, self._heartbeat_ms - BLOCKED_BEAT_MS)
        if self.welcomed and now_ms >= beat_at_ms:
            self._send_heartbeat(now_ms)
            beat_at_ms = self._beat_at_ms
        self._send_clips(now_ms)
        if not self._pinged and (now_ms - self._heard_ms >= PING_AFTER_MS or now_ms - self._sent_ms >= UNSENT_MS):
            self._send(packets.PINGREQ, now_ms)
            self._pinged = True
        silent_ms = self._heard_ms + PING_AFTER_MS + (SILENCE_MS if self._pinged else 0)
        due = [silent_ms, self._hello_at_ms, beat_at_ms if self.welcomed else _NEVER]
        due += [alarm.next_ms for alarm in self._alarms.alarms if not alarm.in_flight]
        if self.uploads.clips:
            due.append(now_ms + 1000)
        return max(now_ms, min(due))

    # -- sending ----------------------------------------------------------------------------------------------------

    def _send_alarm(self, alarm: Alarm, now_ms: int) -> None:
        self._alarms.sent(alarm, now_ms)
        self._publish(LANE_ALARM, (alarm.boot, alarm.counter), alarm.record, now_ms)
        self._tally.counts["alarms_sent"] += 1

    def _send_hello(self, now_ms: int) -> None:
        _, record = self.sealer.hello()
        self._publish(LANE_EVENT, None, record, now_ms)
        self._hello_ms = now_ms
        self._hello_at_ms = now_ms + self._hello_delay_ms
        self._hello_delay_ms = min(2 * self._hello_delay_ms, MAX_HELLO_AGAIN_MS)
        self._tally.counts["hellos"] += 1

    def _send_heartbeat(self, now_ms: int) -> None:
        self._beat_at_ms = now_ms + self._heartbeat_ms
        flags = HEART_BLOCKED if self.uploads.blocked else 0
        name, record = self.sealer.heartbeat(flags, self._latched, min(len(self.uploads.clips), 0xFFFF))
        self._send(packets.publish(name, record), now_ms)
        self._tally.counts["heartbeats"] += 1
        if flags or now_ms - self._challenge_ms >= CHALLENGE_FRESH_MS:
            self._tally.counts["heartbeats_to_answer"] += 1
            self._beat_ms = now_ms

    def _send_clips(self, now_ms: int) -> None:
        while self._clip_bytes < WINDOW_BYTES and not self._alarms.urgent:
            payload = self.uploads.take(now_ms)
            if payload is None:
                return
            self._clip_bytes += self._publish(LANE_CLIP, None, payload, now_ms)

    def _publish(self, lane: str, name: Any, payload: bytes, now_ms: int) -> int:
        number = self._next_number()
        packet = packets.publish(self._lanes[lane], payload, number)
        self._under_way[number] = (lane, name, packet)
        self._send(packet, now_ms)
        return len(packet)

    def _send(self, data: bytes, now_ms: int) -> None:
        self._sent_ms = now_ms
        if self._connection is not None:
            self._connection.send(data)

    def _next_number(self) -> int:
        while True:
            self._number = self._number % 0xFFFF + 1
            if self._number not in self._under_way:
                return self._number
