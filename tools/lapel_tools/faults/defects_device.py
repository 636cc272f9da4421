"""Defects of the device: each takes away one thing that its firmware does so that nothing is lost."""

from __future__ import annotations

from typing import Any

from lapel_device import uplink
from lapel_device.alarm_lane import Alarm, AlarmLane
from lapel_device.application import Application
from lapel_device.clip_lane import END
from lapel_device.clip_writer import ClipWriter
from lapel_device.conversation import Conversation
from lapel_device.epochs import EpochLedger
from lapel_device.identity import Identity
from lapel_device.journal import Journal
from lapel_device.keystore import KeyStore
from lapel_device.spool import Spool
from lapel_device.uplink import Uplink
from lapel_protocol.orders import LEVEL_OPENED

from .patching import Defect, Patcher, sometimes


def _ratchet_not_in_flash(patcher: Patcher) -> None:
    def step(self: KeyStore, mark: int, entropy: bytes, ticks: int) -> Any:
        sectors: Any = self._sectors
        before = [bytes(sector) for sector in sectors._sectors]
        epoch = real(self, mark, entropy, ticks)
        for sector, content in zip(sectors._sectors, before, strict=True):
            sector[:] = content
        return epoch

    real = patcher.set(KeyStore, "step", step)


def _alarm_said_once(patcher: Patcher) -> None:
    def sent(self: AlarmLane, alarm: Alarm, now_ms: int) -> None:
        real(self, alarm, now_ms)
        self.receipted(alarm.boot, alarm.counter)

    real = patcher.set(AlarmLane, "sent", sent)


def _offered_before_durable(patcher: Patcher) -> None:
    def sync(self: ClipWriter) -> None:
        self._entry.segments = self._head.count
        self._entry.content_bytes = self._content_bytes

    patcher.set(ClipWriter, "sync", sync)


def _deleted_on_puback(patcher: Patcher) -> None:
    def acked(self: Uplink, slot: Any, now_ms: int) -> None:
        real(self, slot, now_ms)
        if slot.lane == uplink._CLIP and slot.c & END:
            spool = self._clips._spool
            entry = spool.find(slot.a)
            if entry is not None and entry.ended:
                spool.mark_receipted(entry, LEVEL_OPENED)

    real = patcher.set(Uplink, "_acked", acked)


def _event_let_go_on_puback(patcher: Patcher) -> None:
    def acked(self: Uplink, slot: Any, now_ms: int) -> None:
        real(self, slot, now_ms)
        if slot.lane == uplink._EVENT:
            self._journal.receipt(slot.a, slot.b)

    real = patcher.set(Uplink, "_acked", acked)


def _unreceipted_clip_deleted_for_room(patcher: Patcher) -> None:
    def delete_oldest(self: Spool) -> bool:
        if real(self):
            return True
        for entry in self.clips():
            if entry.settled and not entry.live:
                self.mark_receipted(entry, LEVEL_OPENED)
                return bool(real(self))
        return False

    real = patcher.set(Spool, "_delete_oldest", delete_oldest)


def _resumed_session_repeats_nothing(patcher: Patcher) -> None:
    patcher.set(Uplink, "_again", lambda self, slot, now_ms: False)


def _event_never_sent_again(patcher: Patcher) -> None:
    patcher.set(Journal, "mark_unsent", lambda self: None)


def _hello_said_once(patcher: Patcher) -> None:
    def hello(self: Conversation, now_ms: int) -> bytes | None:
        record: bytes | None = real(self, now_ms)
        if record is not None:
            self._hello_at_ms = 1 << 60
        return record

    real = patcher.set(Conversation, "hello", hello)


def _epoch_report_dropped(patcher: Patcher) -> None:
    patcher.set(EpochLedger, "entries", lambda self: [])


def _event_counter_used_twice(patcher: Patcher) -> None:
    def seal(self: Identity, *arguments: Any) -> bytes:
        if again():
            self.counter -= 1
        record: bytes = real(self, *arguments)
        return record

    again = sometimes(5)
    real = patcher.set(Identity, "seal", seal)


def _previous_head_wrong(patcher: Patcher) -> None:
    def last(self: Spool) -> tuple[int, bytes | None]:
        clip, head = real(self)
        return clip, head and bytes(reversed(head))

    real = patcher.set(Spool, "last", last)


def _cut_not_reported(patcher: Patcher) -> None:
    patcher.set(Application, "_report_cut", lambda self, cut, now_ms: True)


def _journal_entry_torn_off(patcher: Patcher) -> None:
    def append(self: Journal, record: bytes | memoryview, drill: bool = False) -> bool:
        return True if forget() else bool(real(self, record, drill))

    forget = sometimes(4)
    real = patcher.set(Journal, "append", append)


DEVICE_DEFECTS = (
    Defect(
        "ratchet-not-in-flash",
        "a ratchet step is handed out although the flash does not have it",
        _ratchet_not_in_flash,
        ("power_cut_now", "power_cut_at_operation"),
    ),
    Defect(
        "alarm-said-once",
        "an alarm is forgotten once it was sent",
        _alarm_said_once,
        ("alarm", "broker_loses_queues", "broker_forgets", "queue_overflows"),
    ),
    Defect(
        "offered-before-durable",
        "segments are offered before storage has them",
        _offered_before_durable,
        ("power_cut_now", "power_cut_at_operation"),
    ),
    Defect(
        "deleted-on-puback",
        "the broker's acknowledgement makes a clip deletable",
        _deleted_on_puback,
        ("broker_loses_queues", "broker_forgets", "queue_overflows"),
    ),
    Defect(
        "event-let-go-on-puback",
        "a journal entry goes before its receipt",
        _event_let_go_on_puback,
        ("broker_loses_queues", "broker_forgets", "queue_overflows"),
    ),
    Defect(
        "unreceipted-deleted",
        "an unreceipted clip makes room",
        _unreceipted_clip_deleted_for_room,
        ("half_open", "slow_link", "disk_full", "link_lost"),
    ),
    Defect(
        "resend-dropped",
        "a resumed session repeats nothing",
        _resumed_session_repeats_nothing,
        ("link_lost", "latency"),
    ),
    Defect(
        "event-never-again",
        "an event without receipt is not sent again",
        _event_never_sent_again,
        ("broker_loses_queues", "queue_overflows"),
    ),
    Defect(
        "hello-said-once",
        "a hello without welcome is not repeated",
        _hello_said_once,
        ("broker_loses_queues", "delays"),
    ),
    Defect(
        "epoch-report-dropped",
        "the hello reports no epochs",
        _epoch_report_dropped,
        ("power_cut_now", "power_cut_at_operation"),
    ),
    Defect("event-counter-twice", "two events have one counter", _event_counter_used_twice),
    Defect("previous-head-wrong", "a clip names another head for the one before it", _previous_head_wrong),
    Defect("cut-not-reported", "a cut clip is settled and nobody is told", _cut_not_reported, ("power_cut_now",)),
    Defect(
        "journal-loses-entry",
        "an event is said to be journalled and is not",
        _journal_entry_torn_off,
        ("power_cut_now",),
    ),
)
