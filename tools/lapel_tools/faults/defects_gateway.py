"""Defects of the gateway: each breaks one rule of order, of durability, or of saying things again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from lapel_gateway import outbox
from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms import escalations, escalator
from lapel_gateway.alarms.book import ShownAlarms
from lapel_gateway.alarms.core import AlarmCore
from lapel_gateway.custody import taking as custody
from lapel_gateway.custody import vault
from lapel_gateway.custody.credit import CreditBook, Windows
from lapel_gateway.custody.downlink import Outcome
from lapel_gateway.custody.ingest import IngestCore
from lapel_gateway.custody.taking import Custody
from lapel_gateway.custody.tracks import ClipTrack
from lapel_gateway.custody.unknown import UnknownEpochs
from lapel_gateway.custody.vault import Vault
from lapel_gateway.custody.vault_journal import VaultJournal
from lapel_gateway.outbox import Outbox
from lapel_protocol.orders import Receipt

from .patching import Defect, Patcher, sometimes


def _vault_loses_a_write(patcher: Patcher) -> None:
    def place(self: Vault, *arguments: Any) -> None:
        if not lose():
            real(self, *arguments)

    lose = sometimes(20)
    real = patcher.set(Vault, "place", place)


def _vault_not_synced(patcher: Patcher) -> None:
    def sync(self: Vault) -> None:
        self._placed.clear()
        self._truncated.clear()

    patcher.set(Vault, "sync", sync)


def _folder_not_synced(patcher: Patcher) -> None:
    patcher.set(vault, "sync_folder", lambda folder: None)


def _journal_not_put_back(patcher: Patcher) -> None:
    patcher.set(VaultJournal, "frames", lambda self: iter(()))


def _journal_freed_early(patcher: Patcher) -> None:
    patcher.set(vault, "_settle", lambda journal, half, handles, folders: journal.free(half))


def _cut_not_kept(patcher: Patcher) -> None:
    def keep_cut(self: Vault, device: str, clip: int, record: bytes) -> None:
        """Leave it to the ledger."""

    patcher.set(Vault, "keep_cut", keep_cut)


def _receipt_before_the_sync(patcher: Patcher) -> None:
    def sync(self: Vault) -> None:
        late, self._placed = self._placed, getattr(self, "_late", [])
        real(self)
        self._late = late  # type: ignore[attr-defined]

    real = patcher.set(Vault, "sync", sync)


def _repeat_appended(patcher: Patcher) -> None:
    def place(self: Vault, device: str, clip: int, offset: int, *parts: bytes | memoryview) -> None:
        real(self, device, clip, max(offset, self.size(device, clip)), *parts)

    real = patcher.set(Vault, "place", place)


def _alarm_acknowledged_before_commit(patcher: Patcher) -> None:
    def handle(self: AlarmCore, topic: str, payload: bytes, now_ms: int) -> Outcome:
        waiting = getattr(self, "_waiting", None)
        self._waiting = (topic, payload)  # type: ignore[attr-defined]
        return real(self, *waiting, now_ms) if waiting else Outcome([0])

    real = patcher.set(AlarmCore, "handle", handle)


def _batch_acknowledged_before_commit(patcher: Patcher) -> None:
    def handle(self: IngestCore, batch: Any, now_ms: int) -> Outcome:
        waiting = getattr(self, "_waiting", [])
        self._waiting = [(topic, bytes(payload)) for topic, payload in batch]  # type: ignore[attr-defined]
        outcome: Outcome = real(self, waiting, now_ms) if waiting else Outcome()
        return Outcome(list(range(len(batch))), outcome.downlinks)

    real = patcher.set(IngestCore, "handle", handle)


class _Undone(Exception):
    pass


def _alarm_answered_without_commit(patcher: Patcher) -> None:
    @contextlib.contextmanager
    def writing(engine: sa.Engine, **how: Any) -> Iterator[sa.Connection]:
        with contextlib.suppress(_Undone), real(engine, **how) as connection:
            yield connection
            if undo():
                raise _Undone

    undo = sometimes(3)
    real = patcher.set(alarms, "writing", writing)


def _credit_never_opened_again(patcher: Patcher) -> None:
    def windows(self: CreditBook, now_ms: int) -> Windows:
        if self.closed:
            self._shut = True  # type: ignore[attr-defined]
        return Windows(0, 0) if getattr(self, "_shut", False) else real(self, now_ms)

    real = patcher.set(CreditBook, "windows", windows)


def _nothing_wanted(patcher: Patcher) -> None:
    patcher.set(Custody, "_order_want", lambda self, *arguments: None)
    patcher.set(Custody, "_want_header", lambda self, *arguments: None)
    _restored_without_asking(patcher)


def _restored_without_asking(patcher: Patcher) -> None:
    patcher.set(UnknownEpochs, "orders", lambda self, trust, now_ms: [])


def _alarm_answers_not_repeated(patcher: Patcher) -> None:
    patcher.set(ShownAlarms, "after_hello", lambda self, *arguments: [])
    patcher.set(ShownAlarms, "by_device", lambda self, *arguments: [])


def _receipt_of_one_segment_more(patcher: Patcher) -> None:
    def encode(self: Receipt) -> bytes:
        if wrong():
            self.segments += 1
        record: bytes = real(self)
        return record

    wrong = sometimes(3)
    real = patcher.set(Receipt, "encode", encode)


def _extent_forgotten(patcher: Patcher) -> None:
    patcher.set(ClipTrack, "_absorb", lambda self, stored: None)


def _segments_remembered_for_ever(patcher: Patcher) -> None:
    def absorb(self: ClipTrack, stored: Any) -> None:
        kept = dict(self._ahead)
        real(self, stored)
        self._ahead.update(kept)

    real = patcher.set(ClipTrack, "_absorb", absorb)


def _no_recovery(patcher: Patcher) -> None:
    patcher.set(IngestCore, "recover", lambda self, now_ms: [])


def _claims_kept_by_the_dead(patcher: Patcher) -> None:
    patcher.set(Outbox, "release", lambda self: 0)


class _WaitsForTheClock:
    def __init__(self, real: Any) -> None:
        self._real = real

    def all(self, connection: sa.Connection, of: dict[str, Any]) -> Any:
        return self._real.all(connection, {**of, "ahead_ms": 1 << 60, "latest_ms": 1 << 60})


def _timers_wait_for_the_clock(patcher: Patcher) -> None:
    patcher.set(outbox, "_NEXT", _WaitsForTheClock(outbox._NEXT))
    patcher.set(custody, "_is_within", lambda now_ms, since_ms, wait_ms: now_ms - since_ms < wait_ms)


def _declined_means_delivered(patcher: Patcher) -> None:
    patcher.set(outbox, "RETRY", outbox.DELIVERED)


def _answers_stop_nothing(patcher: Patcher) -> None:
    patcher.set(escalations, "answered", lambda connection, identifier, who, now_ms: 0)


class _TakesNoNextStep:
    def __init__(self, real: Any) -> None:
        self._real = real

    def run(self, connection: sa.Connection, values: dict[str, Any]) -> int:
        taken: int = self._real.run(connection, {**values, "due_ms": None})
        return taken


def _steps_lead_nowhere(patcher: Patcher) -> None:
    patcher.set(escalator, "_TAKEN", _TakesNoNextStep(escalator._TAKEN))


def _nobody_called_back(patcher: Patcher) -> None:
    patcher.set(escalations, "told_channels", lambda connection, identifier: [])


GATEWAY_DEFECTS = (
    Defect("vault-loses-a-write", "one write in twenty does not reach the vault", _vault_loses_a_write),
    Defect("vault-not-synced", "nothing in the vault is made durable", _vault_not_synced),
    Defect("folder-not-synced", "the names of new vault files are not made durable", _folder_not_synced),
    Defect("journal-not-put-back", "a crash's losses are not put back from the journal", _journal_not_put_back),
    Defect("journal-freed-early", "the journal forgets what is not in the clips' files", _journal_freed_early),
    Defect("receipt-before-sync", "receipts leave one sync too early", _receipt_before_the_sync, ("gateway_killed",)),
    Defect("repeat-appended", "bytes that come again are appended", _repeat_appended),
    Defect("alarm-acked-early", "the broker may forget an alarm before its commit", _alarm_acknowledged_before_commit),
    Defect("batch-acked-early", "the broker may forget a batch before its commit", _batch_acknowledged_before_commit),
    Defect(
        "alarm-not-committed", "an alarm is answered although its transaction is undone", _alarm_answered_without_commit
    ),
    Defect(
        "credit-stays-shut",
        "credit is not opened again after the disk was full",
        _credit_never_opened_again,
        ("disk_full",),
    ),
    Defect("nothing-wanted", "nothing is ever asked for again", _nothing_wanted, ("gateway_restored",)),
    Defect(
        "restored-without-asking",
        "a restored gateway does not ask for what it does not know",
        _restored_without_asking,
        ("gateway_restored",),
    ),
    Defect(
        "answers-not-repeated",
        "an alarm's answers are said once",
        _alarm_answers_not_repeated,
        ("alarm", "broker_loses_queues", "link_lost"),
    ),
    Defect("receipt-names-more", "a receipt names a segment more than there is", _receipt_of_one_segment_more),
    Defect("extent-forgotten", "segments beyond a gap are not taken in when it closes", _extent_forgotten),
    Defect("segments-remembered", "segments beyond a gap stay in memory", _segments_remembered_for_ever),
    Defect("cut-not-kept", "what settled a cut clip is not kept beside it", _cut_not_kept, ("power_cut_now",)),
    Defect("no-recovery", "a start does not compare vault and ledger", _no_recovery, ("gateway_restored",)),
    Defect(
        "dead-claims-kept",
        "what a dead process was delivering stays claimed",
        _claims_kept_by_the_dead,
        ("gateway_killed",),
    ),
    Defect(
        "declined-is-delivered", "a parcel that was declined counts as delivered", _declined_means_delivered, ("alarm",)
    ),
    Defect(
        "timers-wait-for-clock",
        "a clock that was set back makes timers wait for it",
        _timers_wait_for_the_clock,
        ("clock_stepped", "alarm"),
    ),
    Defect("answer-stops-nothing", "an answer does not end the calling", _answers_stop_nothing, ("alarm",)),
    Defect("step-without-next", "a step sets no time for the next one", _steps_lead_nowhere, ("alarm",)),
    Defect("answer-not-told", "whoever was called is not told of the answer", _nobody_called_back, ("alarm",)),
)
