"""The roles that hear devices, as threads: alarms, and ingest with its events.

Rules that hold here
- A shell only carries: it hands messages to its core, and what the core returns to the broker. When ledger or vault
  cannot be used it keeps the messages, says so once, and tries again.
- A message that its core cannot take at all is found by taking the batch one by one; it holds up no other.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import sqlalchemy as sa
import structlog

from lapel_gateway.alarms.core import AlarmCore
from lapel_gateway.custody.arrivals import Arrival
from lapel_gateway.custody.downlink import Outcome
from lapel_gateway.custody.ingest import IngestCore, Message, Sync
from lapel_gateway.custody.vault import VaultFull
from lapel_gateway.log import Repeats, printable
from lapel_gateway.progress import Pulse
from lapel_gateway.transport import Delivery, Link
from lapel_gateway.visits.timers import VisitWatch

ALARM_POLL_S = 0.1
"""How soon a human's answer, given in another process, leaves for the device."""

ALARM_BATCH = 64
"""Messages of the alarm lane that are taken together; they do not wait for each other."""

ALARMS_WAITING = 1024
"""Read and not taken, because the ledger cannot be used or they are long to verify; the others wait at the broker."""

INGEST_NICE = 5
"""Priority of ingest's work below that of alarms, the broker and the readers, as `nice` counts it."""

PREPARED_TOGETHER = 8
"""Messages that are prepared between two looks at whether the sync is over."""

RETRY_S = 1.0
"""Wait before messages that ledger or vault could not take are handed in again."""

STOP_S = 10.0
"""How long a role may take to finish what it has begun."""

_log = structlog.get_logger("lapel.gateway")
_TROUBLE = (sa.exc.OperationalError, sa.exc.InternalError, sa.exc.TimeoutError, OSError, VaultFull)
"""What passes by itself or by an operator's hand; anything else is an error of this program."""


def wall_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class _Shell:
    """A thread that runs `_turn` until it is stopped, and keeps going when ledger or vault cannot be used."""

    def __init__(self, name: str, links: Sequence[Link], now_ms: Callable[[], int]) -> None:
        self._links = links
        self._now_ms = now_ms
        self._name = name
        self._stopping = threading.Event()
        self._repeats = Repeats()
        self._turned_ms = now_ms()
        self._held_ms: int | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Connect and start."""
        for link in self._links:
            link.start()
        self._thread.start()

    def stop(self) -> bool:
        """Finish the batch in hand, tell its outcome, and take leave of the broker."""
        self._stopping.set()
        self._thread.join(STOP_S)
        for link in self._links:
            link.stop()
        return not self._thread.is_alive()

    def pulse(self) -> Pulse:
        """When its thread last came round, and since when it holds messages."""
        return Pulse(self._turned_ms, self._held_ms)

    def _turn(self) -> None:
        raise NotImplementedError

    def _note_held(self, waiting: Sequence[object]) -> None:
        """Take note of whether messages wait to be taken, and since when some of them always did."""
        if not waiting:
            self._held_ms = None
        elif self._held_ms is None:
            self._held_ms = self._now_ms()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - a role never ends by itself; the message is logged below
                if not isinstance(error, _TROUBLE):
                    _log.exception("internal error", role=self._name)
                    self._stopping.wait(RETRY_S)
                    continue
                times = self._repeats.tell(self._now_ms(), "trouble")
                if times:
                    reason = str(error).partition("\n")[0]
                    _log.error("messages wait: ledger or vault cannot be used", role=self._name, reason=reason)
                self._stopping.wait(RETRY_S)
            else:
                self._turned_ms = self._now_ms()
                if self._repeats.over("trouble"):
                    _log.info("ledger and vault can be used again", role=self._name)


class AlarmsRole(_Shell):
    """Carries the alarm lane to the alarm core, and humans' answers to the devices."""

    def __init__(
        self, core: AlarmCore, link: Link, now_ms: Callable[[], int] = wall_ms, visits: VisitWatch | None = None
    ) -> None:
        super().__init__("alarms", [link], now_ms)
        self._core = core
        self._visits = visits
        self._link = link
        self._waiting: list[Delivery] = []
        self._answers_at = 0.0
        self._visits_at = 0.0

    def _turn(self) -> None:
        if len(self._waiting) < ALARMS_WAITING:
            self._waiting += self._link.receive(ALARM_BATCH, 0.0 if self._waiting else ALARM_POLL_S, 0.0)
        self._note_held(self._waiting)
        if self._waiting:
            self._hand_in()
            self._note_held(self._waiting)
        if time.monotonic() >= self._answers_at:
            self._answers_at = time.monotonic() + ALARM_POLL_S
            self._link.publish(self._core.untold(self._now_ms()))
            self._watch()

    def _watch(self) -> None:
        """Look after visits; what is wrong with that holds up no alarm."""
        if self._visits is None or time.monotonic() < self._visits_at:
            return
        try:
            self._link.publish(self._visits.turn(self._now_ms()))
        except _TROUBLE:
            raise
        except Exception:  # noqa: BLE001 - it is tried again, alarms meanwhile
            self._visits_at = time.monotonic() + RETRY_S
            _log.exception("internal error", role="alarms", part="visits")

    def _hand_in(self) -> None:
        batch = [(delivery.topic, bytes(delivery.payload)) for delivery in self._waiting]
        try:
            outcome = self._core.take(batch, self._now_ms())
        except _TROUBLE:
            raise
        except Exception:  # noqa: BLE001 - one message must not hold up the others
            _log.exception("internal error", role="alarms")
            outcome = self._one_by_one(batch)
        done = set(outcome.acknowledge)
        taken = [self._waiting[position] for position in outcome.acknowledge]
        self._waiting = [held for position, held in enumerate(self._waiting) if position not in done]
        self._link.publish(outcome.downlinks)
        self._link.acknowledge(taken)
        for identifier in outcome.receipted:
            times = self._repeats.tell(self._now_ms(), "receipt", identifier)
            if times:
                _log.info("alarm receipted to its device", role="alarms", alarm=identifier, times=times)

    def _one_by_one(self, batch: Sequence[tuple[str, bytes]]) -> Outcome:
        """Find the message that the core cannot take: somebody may be pressing all the same, so it is told of."""
        whole = Outcome()
        for position, (topic, payload) in enumerate(batch):
            try:
                outcome = self._core.handle(topic, payload, self._now_ms())
            except _TROUBLE:
                return whole
            except Exception:  # noqa: BLE001 - this is the one
                _log.exception("internal error", role="alarms", topic=printable(topic))
                self._core.fault(topic, self._now_ms())
                outcome = Outcome([0])
            whole.acknowledge += [position] if outcome.acknowledge else []
            whole.downlinks += outcome.downlinks
            whole.receipted += outcome.receipted
        return whole


class _Waiting(NamedTuple):
    """A message that its core has not taken yet; None = not prepared."""

    link: Link
    delivery: Delivery
    arrival: Arrival | None


class IngestRole(_Shell):
    """Carries the event and clip lanes to the ingest core, in batches.

    While the vault waits for the disk, messages of the next batch are prepared.
    """

    def __init__(
        self,
        core: IngestCore,
        events: Link,
        clips: Link,
        batch_max: int,
        batch_window_ms: int,
        now_ms: Callable[[], int] = wall_ms,
        disk: ThreadPoolExecutor | None = None,
    ) -> None:
        """`disk`: threads that wait for the disk; the role ends them with itself."""
        super().__init__("ingest", [events, clips], now_ms)
        self._core = core
        self._events = events
        self._clips = clips
        self._batch_max = batch_max
        self._window_s = batch_window_ms / 1000
        self._waiting: list[_Waiting] = []
        self._next: list[_Waiting] = []
        self._disk = disk or ThreadPoolExecutor(1, "ingest-disk")
        self._recovered = False
        core.carry_out = self._carry_out

    def _run(self) -> None:
        # Of this thread alone, on Linux: an alarm that arrives is to have a processor at once.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), INGEST_NICE)
        super()._run()

    def stop(self) -> bool:
        """Finish the batch in hand and let go of the vault."""
        stopped = super().stop()
        if stopped:
            self._core.close()
            self._disk.shutdown()
        return stopped

    def _turn(self) -> None:
        if not self._recovered:
            downlinks = self._core.recover(self._now_ms())
            self._recovered = True
            self._events.publish(downlinks)
        withheld = bool(self._waiting)
        room = self._batch_max - len(self._waiting)
        # Clips that wait for room leave the events' share of a batch alone.
        events = self._events.receive(max(room, self._batch_max // 4), 0.0, 0.0)
        self._waiting += [_Waiting(self._events, delivery, None) for delivery in events]
        room = max(0, self._batch_max - len(self._waiting))
        prepared, self._next = self._next[:room], self._next[room:]
        self._waiting += prepared
        room -= len(prepared)
        if room > 0:
            clips = self._clips.receive(room, 0.0 if events or prepared else self._window_s, self._window_s)
            self._waiting += [_Waiting(self._clips, delivery, None) for delivery in clips]
        self._note_held(self._waiting)
        if self._waiting:
            self._hand_in()
            self._note_held(self._waiting)
        if withheld and self._waiting:
            self._stopping.wait(RETRY_S)

    def _hand_in(self) -> None:
        try:
            outcome = self._core.take([self._arrival(held) for held in self._waiting], self._now_ms())
        except _TROUBLE:
            raise
        except Exception:  # noqa: BLE001 - nor may one hold up the batch
            _log.exception("internal error", role="ingest")
            outcome = self._one_by_one([(held.delivery.topic, held.delivery.payload) for held in self._waiting])
        done = set(outcome.acknowledge)
        taken = [self._waiting[position] for position in outcome.acknowledge]
        self._waiting = [held for position, held in enumerate(self._waiting) if position not in done]
        self._events.publish(outcome.downlinks)
        for link in (self._events, self._clips):
            link.acknowledge([held.delivery for held in taken if held.link is link])

    def _arrival(self, held: _Waiting) -> Arrival:
        return held.arrival or self._core.prepare(held.delivery.topic, held.delivery.payload)

    def _carry_out(self, sync: Sync) -> None:
        """Let the vault's sync wait for the disk in a thread of its own."""
        under_way = self._disk.submit(sync)
        try:
            while not under_way.done() and len(self._next) < self._batch_max:
                clips = self._clips.receive(PREPARED_TOGETHER, 0.0, 0.0)
                if not clips:
                    break
                # Whatever is wrong with one is found, and told of, when its batch comes.
                self._next += [_Waiting(self._clips, delivery, None) for delivery in clips]
                for at in range(-len(clips), 0):
                    self._next[at] = self._next[at]._replace(arrival=self._arrival(self._next[at]))
        finally:
            under_way.result()

    def _one_by_one(self, batch: Sequence[Message]) -> Outcome:
        """Find the message that the core cannot take, and set it aside: its device still has what it said."""
        whole = Outcome()
        for position, message in enumerate(batch):
            try:
                outcome = self._core.handle([message], self._now_ms())
            except _TROUBLE:
                return whole
            except Exception:  # noqa: BLE001 - this is the one
                _log.exception("message set aside", role="ingest", topic=printable(message[0]), size=len(message[1]))
                outcome = Outcome([0])
            whole.acknowledge += [position] if outcome.acknowledge else []
            whole.downlinks += outcome.downlinks
        return whole
