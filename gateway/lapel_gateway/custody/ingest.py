"""Ingest: batches of messages become durable evidence, and only then acknowledgements and receipts.

Order of one batch, each arrow a named step:
    verify -> place in the vault -> make the vault durable -> write the ledger -> commit -> acknowledge and tell devices
A kill anywhere leaves vault bytes that the ledger does not claim (they are verified anew at the next start) or a ledger
that is right and has told nobody (its words are issued again). When the disk is full, nothing of the clip lane is
acknowledged and credit is 0 until there is room; events are still taken.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import sqlalchemy as sa
import structlog

from lapel_gateway import steps
from lapel_gateway.conversation import Entropy, converse, credit_orders
from lapel_gateway.custody.arrivals import Arrival, prepare
from lapel_gateway.custody.batch import Batch, ClipKey, Notice
from lapel_gateway.custody.credit import ALARM_WINDOW_BYTES, WINDOW_BYTES, CreditBook
from lapel_gateway.custody.doubts import Doubts, write_mark
from lapel_gateway.custody.downlink import Outcome, seal_order
from lapel_gateway.custody.events import take_event, write_events
from lapel_gateway.custody.linking import link_alarm, link_clip, name_wearer
from lapel_gateway.custody.receipts import receipts_of
from lapel_gateway.custody.recovery import rebuild, stored_payloads, tail_is_sound
from lapel_gateway.custody.taking import Custody, VaultDamaged
from lapel_gateway.custody.tracks import ClipTrack
from lapel_gateway.custody.unknown import UnknownEpochs
from lapel_gateway.custody.vault import Vault, VaultFull
from lapel_gateway.keystore import OrganisationKey
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.clips import (
    cut_records,
    load_tracks,
    mark_receipted,
    recoverable_clips,
    save_tracks,
    unfinished_clips,
)
from lapel_gateway.ledger.devices import record_seen
from lapel_gateway.ledger.epochs import record_epochs, unknown_epochs
from lapel_gateway.ledger.marks import set_mark
from lapel_gateway.ledger.outgoing import add_notice, add_outbox, add_tallies
from lapel_gateway.ledger.schema import OUTBOX_ASSEMBLE
from lapel_gateway.log import Repeats, printable
from lapel_gateway.registry import Registry
from lapel_gateway.settings.visits import DEFAULT_RULES, VisitsSection
from lapel_gateway.updates.offers import UpdateDesk
from lapel_gateway.verify import Verifier
from lapel_protocol.errors import UnknownDevice
from lapel_protocol.reports import HEART_RECORDING
from lapel_protocol.topics import LANE_CLIP, LANE_EVENT, topic

NOTICE_WINDOW_MS = 3_600_000
"""Operators are told once in this time that the disk is full."""

_log = structlog.get_logger("lapel.ingest")
Message = tuple[str, bytes | memoryview]
"""Topic and payload."""

Sync = Callable[[], None]


class IngestCore:
    """Takes the clip and event lanes in batches. Synchronous; time and entropy are arguments."""

    def __init__(
        self,
        engine: sa.Engine,
        vault: Vault,
        registry: Registry,
        organisation: OrganisationKey | None = None,
        *,
        verifier: Verifier | None = None,
        window_bytes: int = WINDOW_BYTES,
        alarm_window_bytes: int = ALARM_WINDOW_BYTES,
        entropy: Entropy = os.urandom,
        rules: VisitsSection = DEFAULT_RULES,
        updates: UpdateDesk | None = None,
    ) -> None:
        self.carry_out: Callable[[Sync], None] = _at_once
        """Runs the vault's sync to its end, and may have messages prepared meanwhile. Raises what the sync raises."""
        self._engine = engine
        self._vault = vault
        self._registry = registry
        self._organisation = organisation
        self._verifier = verifier or Verifier()
        self._entropy = entropy
        self._rules = rules
        self._updates = updates
        self._custody = Custody(vault, self._verifier, organisation)
        self._repeats = Repeats()
        self._unknown = UnknownEpochs()
        self._credit = CreditBook(window_bytes, alarm_window_bytes)

    @property
    def full(self) -> bool:
        """Whether clips wait for room on the disk."""
        return self._credit.closed

    def handle(self, batch: Sequence[Message], now_ms: int) -> Outcome:
        """`take` of messages that were not prepared."""
        return self.take([self.prepare(*message) for message in batch], now_ms)

    def prepare(self, topic: str, payload: bytes | memoryview) -> Arrival:
        """Do what can be done for a message before its batch, also while another batch is under way."""
        return prepare(topic, payload, self._custody.believes)

    def take(self, arrivals: Sequence[Arrival], now_ms: int) -> Outcome:
        """Take a batch of the clip and event lanes; `now_ms` is Unix milliseconds.

        What the outcome does not acknowledge is handed in again later. Raises what the ledger raises; then nothing of
        the batch was taken.
        """
        self._refuse_strange(arrivals, now_ms)
        told: list[tuple[str, bytes]] = []
        withheld = False
        try:
            if self.full:
                self._vault.check_room(sum(len(arrival.payload) for arrival in arrivals))
                told = self._room_again(now_ms)
            outcome = self._take(arrivals, now_ms)
        except VaultFull as full:
            self._no_room(full, now_ms)
            withheld = True
            outcome = self._take([arrival for arrival in arrivals if arrival.lane != LANE_CLIP], now_ms)
        outcome.acknowledge = [
            position for position, arrival in enumerate(arrivals) if not withheld or arrival.lane != LANE_CLIP
        ]
        outcome.downlinks = told + outcome.downlinks
        return outcome

    def recover(self, now_ms: int, everything: bool = False) -> list[tuple[str, bytes]]:
        """Make vault and ledger agree again; call once before the first batch. Returns downlinks that may be sent.

        Looks at what may be in doubt (`lapel_gateway.custody.doubts`), or at every clip there is.
        """
        downlinks: list[tuple[str, bytes]] = []
        self._vault.recover()
        with reading(self._engine) as connection:
            for name, epochs in unknown_epochs(connection).items():
                self._unknown.learn(name, epochs)
            doubts = Doubts(connection, self._vault, everything)
            damaged = doubts.lost(connection)
            unfinished = unfinished_clips(connection)
        if not doubts.paired:
            self._keep_cuts_again()
        damaged += [key for key in unfinished if not self._sound(key)]
        for key in damaged:
            downlinks += self._rebuild(key, now_ms).downlinks
        known = set(unfinished)
        with reading(self._engine) as connection:
            # An older ledger may know the beginning of a clip whose file has only grown since.
            unclaimed = {*doubts.unclaimed(connection), *unfinished}
        for key in sorted(unclaimed):
            track = self._load_one(key) if key in known else None
            downlinks += self._adopt(key, track.sealed_bytes if track else 0, now_ms)
        if doubts.to_renew:
            mark = write_mark(self._vault.root)
            with writing(self._engine) as connection:
                set_mark(connection, mark)
        return downlinks

    def close(self) -> None:
        """Leave the vault's files whole, as far as that is possible now, and let go of them."""
        try:
            self._vault.checkpoint()
        except (OSError, VaultFull) as error:
            _log.warning("the vault's files are not synced: the next start puts them back", reason=str(error))
        self._vault.close()

    def _keep_cuts_again(self) -> None:
        """Put back beside clips what settled them, where the vault is a copy from before that."""
        with reading(self._engine) as connection:
            settled = cut_records(connection)
        for name, clip, record in settled:
            if self._vault.cut(name, clip) != record:
                self._vault.keep_cut(name, clip, record)
        self._vault.sync()

    def _refuse_strange(self, arrivals: Sequence[Arrival], now_ms: int) -> None:
        """Count messages whose topic is none."""
        strange = [arrival for arrival in arrivals if not arrival.lane]
        if strange:
            refused = Batch(now_ms, self._repeats)
            for arrival in strange:
                if arrival.fault is not None:
                    refused.refuse(b"", *arrival.fault)
            self._write(refused)

    def _take(self, arrivals: Sequence[Arrival], now_ms: int) -> Outcome:
        """Take messages whole; a clip whose vault file turns out damaged is rebuilt first, and they are taken again."""
        downlinks: list[tuple[str, bytes]] = []
        while True:
            try:
                outcome = self._take_once(arrivals, now_ms)
            except VaultDamaged as damaged:
                self._custody.forget()
                downlinks += self._rebuild(damaged.key, now_ms).downlinks
            except BaseException:
                self._custody.forget()
                raise
            else:
                outcome.downlinks = downlinks + outcome.downlinks
                return outcome

    def _take_once(self, arrivals: Sequence[Arrival], now_ms: int) -> Outcome:
        work = Batch(now_ms, self._repeats)
        clips = [arrival for arrival in arrivals if arrival.lane == LANE_CLIP]
        with reading(self._engine) as connection:
            work.trusts = self._registry.trust(connection, {arrival.device for arrival in arrivals if arrival.lane})
            for arrival in arrivals:
                if arrival.lane == LANE_EVENT:
                    take_event(work, self._verifier, self._organisation, arrival.device, bytes(arrival.payload))
            known = [arrival for arrival in clips if arrival.device in work.trusts]
            keys = {(arrival.name, record.clip) for arrival in known for record in arrival.records}
            keys |= {(trust.name, cut.clip) for trust, _, cut in work.cuts}
            keys |= {(trust.name, clip) for trust, clip in work.lost_clips}
            self._custody.load(connection, work.trusts, keys)
        for arrival in clips:
            trust = work.trusts.get(arrival.device)
            if trust is None:
                work.refuse(arrival.device, UnknownDevice("device is not in the registry"), "clip message")
                continue
            if arrival.records:
                self._custody.take_records(work, trust, arrival.records)
            if arrival.fault is not None:
                work.refuse(arrival.device, *arrival.fault)
        for device in dict.fromkeys(arrival.device for arrival in known if arrival.records):
            self._credit.sending(device, now_ms)
        for trust, event, cut in work.cuts:
            self._custody.take_cut(work, trust, event, cut)
        for trust, clip in work.lost_clips:
            self._custody.take_lost(work, trust, clip)
        steps.reach("ingest.verified")
        return self._store(work)

    def _store(self, work: Batch) -> Outcome:
        """Everything from verified records to sealed downlinks."""
        self._custody.place(work)
        self._custody.keep_cuts(work)
        steps.reach("ingest.vault_placed")
        self._custody.finish(work)
        if work.runs or work.completed or work.cuts:
            self.carry_out(self._vault.sync)
        steps.reach("ingest.vault_synced")
        for track in work.touched.values():
            self._custody.want(work, track)
        if work.writes:
            self._write(work)
        if work.asks and self._updates is not None:
            with reading(self._engine) as connection:
                work.orders += self._updates.answer(connection, work.asks, work.now_ms)
        for track in work.completed:
            _log_held(track, work.now_ms)
        # A hello and a completed clip in one batch may ask for the same receipt.
        orders = dict.fromkeys(work.orders)
        # A ledger from a backup may know clips of a device, found in the vault, and no boot of it yet: nothing can be
        # sealed for it before its next word, which brings all of this again.
        known = [order for order in orders if work.trusts[order.device].boot >= 0]
        downlinks = [seal_order(self._verifier, work.trusts[order.device], order) for order in known]
        return Outcome(downlinks=downlinks)

    def _write(self, work: Batch) -> None:
        with writing(self._engine) as connection:
            self._write_clips(connection, work)
            record_epochs(connection, work.epochs, work.now_ms)
            record_seen(connection, ((work.trusts[device], boot) for device, boot in work.boots.items()))
            write_events(connection, work, self._rules)
            self._converse(connection, work)
            untold = self._tell_progress(connection, work)
            for notice in work.notices:
                subject = printable(notice.subject)
                add_notice(connection, notice.kind, notice.key, notice.device, subject, notice.detail, work.now_ms)
            add_tallies(connection, work.tallies, work.now_ms)
            steps.reach("ingest.ledger_written")
        for track in work.touched.values():
            self._unknown.forget(track.name, track.clip)
            track.new = track.changed = track.grown = False
            track.moving = track.unfinished
        self._credit.told(untold)
        steps.reach("ingest.ledger_committed")

    def _write_clips(self, connection: sa.Connection, work: Batch) -> None:
        touched = [track for _, track in sorted(work.touched.items()) if track.changed or track.grown]
        changed = [track for track in touched if track.changed]
        for track in changed:
            if track.header_ms == work.now_ms:
                name_wearer(connection, track)
            link_clip(connection, work, work.trusts[track.device], track)
        save_tracks(connection, touched)
        for track in changed:
            link_alarm(connection, track)
        for track in work.completed:
            payload = {"device": track.name, "clip": track.clip}
            # A clip that was taken back and completed again, as long as before, is assembled again.
            key = f"assemble-{track.readable}-{track.contiguous}-{work.now_ms}"
            add_outbox(connection, OUTBOX_ASSEMBLE, key, track.readable, payload, work.now_ms)
        told = work.repeated | {(track.name, track.clip) for track in work.completed}
        for orders in receipts_of(connection, told).values():
            work.orders += orders
        mark_receipted(connection, told, work.now_ms)

    def _converse(self, connection: sa.Connection, work: Batch) -> None:
        """Hellos and heartbeats, with the batch's own clips already in the ledger."""
        windows = self._credit.windows(work.now_ms)
        answers = converse(connection, work.hellos, work.heartbeats, windows, self._entropy, work.now_ms, self._rules)
        for trust, error in answers.refused:
            work.refuse(trust.device, error, "hello")
        for trust in answers.replayed:
            work.tallies[trust.name, "replayed"] += 1
        work.orders += answers.orders
        for name, epochs in answers.unknown.items():
            self._unknown.learn(name, epochs)
        if not answers.heard:
            return
        for trust, beat in answers.heard:
            if not beat.clips_held and not beat.flags & HEART_RECORDING:
                work.orders += self._unknown.orders(trust, work.now_ms)
        unfinished = recoverable_clips(connection, {trust.name for trust, _ in answers.heard})
        self._custody.load(
            connection, work.trusts, [(name, clip) for name, numbers in unfinished.items() for clip in numbers]
        )
        for trust, beat in answers.heard:
            tracks = [self._custody.track(trust, clip, work.now_ms) for clip in unfinished.get(trust.name, [])]
            self._custody.look_after(work, tracks, beat)

    def _tell_progress(self, connection: sa.Connection, work: Batch) -> dict[bytes, int]:
        """Credit for devices of which enough has arrived; returns what is untold then."""
        sizes: dict[bytes, int] = {}
        for run in work.runs:
            device = bytes.fromhex(run.key[0])
            sizes[device] = sizes.get(device, 0) + run.end - run.offset
        untold = self._credit.arrived(sizes, work.now_ms)
        windows = self._credit.windows(work.now_ms)
        due = [work.trusts[device] for device in sorted(device for device, size in untold.items() if not size)]
        work.orders += credit_orders(connection, due, windows)
        return untold

    def _no_room(self, full: VaultFull, now_ms: int) -> None:
        if not self.full:
            self._credit.closed = True
            if self._repeats.tell(now_ms, "no room"):
                _log.error("clips wait for room", reason=str(full), remedy="free space on the vault's disk")
            notice = Batch(now_ms, self._repeats)
            detail = f"{full}: clips are not taken until there is room; alarms are"
            notice.notices.append(Notice("disk_full", str(now_ms // NOTICE_WINDOW_MS), "", "vault", detail))
            self._write(notice)

    def _room_again(self, now_ms: int) -> list[tuple[str, bytes]]:
        """Clips are taken again: tell the devices that were sending."""
        self._credit.closed = False
        _log.info("there is room for clips")
        windows = self._credit.windows(now_ms)
        with reading(self._engine) as connection:
            trusts = self._registry.trust(connection, self._credit.active)
            orders = credit_orders(connection, (trust for trust in trusts.values() if trust.boot >= 0), windows)
        return [seal_order(self._verifier, trusts[order.device], order) for order in orders]

    def _sound(self, key: ClipKey) -> bool:
        """Whether the vault holds what the ledger claims of an unfinished clip; one without a header claims nothing."""
        track = self._load_one(key)
        if track is None or track.header_ms is None:
            return track is not None
        return tail_is_sound(self._vault, track)

    def _load_one(self, key: ClipKey) -> ClipTrack | None:
        """The track of a clip that the ledger knows; None when its vault file is damaged."""
        with reading(self._engine) as connection:
            trusts = self._registry.trust(connection, [bytes.fromhex(key[0])])
            try:
                self._custody.load(connection, trusts, [key])
            except VaultDamaged:
                return None
            return self._custody.track(trusts[bytes.fromhex(key[0])], key[1], 0)

    def _rebuild(self, key: ClipKey, now_ms: int) -> Outcome:
        """Take a clip back to what the vault is proved to hold, and complete it if that is all of it."""
        work = Batch(now_ms, self._repeats)
        with reading(self._engine) as connection:
            work.trusts = self._registry.trust(connection, [bytes.fromhex(key[0])])
            track = load_tracks(connection, [key])[0]
        trust = work.trusts[track.device]
        rebuild(self._vault, self._verifier, trust, track)
        # A process that was killed may have written what it never synced.
        self._vault.keep(track.name, track.clip)
        self._vault.sync()
        work.touch(track)
        readable = track.readable
        detail = f"the vault did not hold what the ledger claimed; {track.contiguous} segments are authentic"
        _log.error("vault damaged", id=readable, segments=track.contiguous)
        work.notices.append(Notice("vault_damaged", f"{readable}-{now_ms}", track.name, readable, detail))
        outcome = self._store(work)
        self._custody.forget()
        steps.reach("recovery.demoted")
        return outcome

    def _adopt(self, key: ClipKey, offset: int, now_ms: int) -> list[tuple[str, bytes]]:
        """Verify bytes of the vault that the ledger does not claim, as if they had just arrived."""
        try:
            device = bytes.fromhex(key[0])
            name, event_name = topic(device, LANE_CLIP), topic(device, LANE_EVENT)
        except ValueError:
            return []
        downlinks: list[tuple[str, bytes]] = []
        for payload in stored_payloads(self._vault, *key, offset):
            downlinks += self._take([self.prepare(name, payload)], now_ms).downlinks
        cut = self._vault.cut(*key)
        if cut:
            downlinks += self._take([self.prepare(event_name, cut)], now_ms).downlinks
        return downlinks


def _at_once(sync: Sync) -> None:
    sync()


def _log_held(track: ClipTrack, now_ms: int) -> None:
    _log.info(
        "clip held",
        id=track.readable,
        person=track.person,
        alarm=track.alarm_id,
        settled_by=track.settled_by,
        segments=track.receipt_segments,
        bytes=track.sealed_bytes,
        opening=track.opening,
        took_ms=now_ms - (track.header_ms or now_ms),
    )
