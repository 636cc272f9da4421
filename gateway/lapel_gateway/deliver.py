"""The deliver role: threads that empty the outbox.

Rules that hold here
- Every channel has its own thread, and delivers one parcel after the other: a channel that hangs delays nobody else.
  The assembly of clips is such a channel too, so that an alarm never waits for an encoder.
- One more thread does all that is written: it takes the steps of alarms that nobody has answered, settles what the
  channels have tried, all of it in one commit, and gives out what is due. It never waits for a channel.
- A channel has the next few alarms in hand while it delivers one, so that it waits for no commit between them. Whether
  an alarm was answered meanwhile is asked before each.
- A kill at any moment loses nothing: what was claimed is claimed again after the restart.
- A channel that is supervised has a second thread, which tests its link and delays no parcel. That the link fails is an
  alarm of the gateway's own, and that it works again is written into it.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import sqlalchemy as sa
import structlog

from lapel_gateway.alarms.escalator import Escalator
from lapel_gateway.brokers import BrokerAccess
from lapel_gateway.channels.contract import Channel, DeliveryError, Parcel, Supervised
from lapel_gateway.channels.directory import DirectoryChannel
from lapel_gateway.channels.health import LINK, HealthBook
from lapel_gateway.channels.setup import answering_channels, build_channels, links_of, reach_of
from lapel_gateway.custody.vault import Vault
from lapel_gateway.disk_watch import DiskWatch
from lapel_gateway.disposal import Disposal
from lapel_gateway.keystore import OrganisationKey
from lapel_gateway.ledger.schema import OUTBOX_ALARM, OUTBOX_FORWARD
from lapel_gateway.outbox import DELIVERED, RETRY, SKIPPED, Follow, Outbox, Outcome, RetryPolicy
from lapel_gateway.progress import Pulse
from lapel_gateway.registry import Registry
from lapel_gateway.settings.config import Config
from lapel_gateway.settings.policies import find_zone, policies_of
from lapel_gateway.viewing.assembly import Assembler, ClipFiles, Views, mark_delivered
from lapel_gateway.viewing.live_pictures import LiveArea, LivePictures
from lapel_gateway.viewing.packing import ExportArea, Packer
from lapel_gateway.viewing.unseal import KeyRing, keys_from_registry

IN_HAND = 8
"""Parcels that a channel may have at once, the one being delivered included."""

POLL_S = 0.1
"""How soon a new row is seen: in the outbox alone do the roles meet, whichever process made it."""

VIEWS_FOLDER = "views"
"""Below the gateway's data_dir: the opened clips."""

WATCH_S = 30.0
"""Between two looks at the room on the disks."""

LEDGER_WAIT_S = 2.0
"""Between two looks while the ledger cannot be used (locked, disk full)."""

_log = structlog.get_logger("lapel.deliver")


def wall_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def build_role(
    config: Config,
    engine: sa.Engine,
    registry: Registry,
    organisation: OrganisationKey | None,
    status: BrokerAccess | None = None,
) -> DeliverRole:
    """The deliver role as configured: assembly, every channel, the forward directory, status topics; ``status``: how
    these reach the gateway's own broker. Raises SecretError, KeyStoreError for the key of the links in messages,
    and BrokerError for status topics that have no broker."""
    vault = Vault(config.vault_dir, config.ingest.reserve_bytes)
    views = Views(config.data_dir / VIEWS_FOLDER)

    def own_keys() -> KeyRing:  # a key ring is one thread's
        return KeyRing(keys_from_registry(engine, registry), organisation)

    channels: list[Channel] = [Assembler(engine, vault, views, own_keys())]
    channels += build_channels(config, links_of(config))
    if config.forward.directory is not None:
        channels.append(DirectoryChannel(config.forward.directory, ClipFiles(vault, views)))
    policy = RetryPolicy(round(config.deliver.retry_first_s * 1000), round(config.deliver.retry_max_s * 1000))
    policies = policies_of(config.policy, config.alarms.everyone_s, find_zone(config.alarms.time_zone))
    escalator = Escalator(engine, policies, reach_of(config), answering_channels(config))
    watch = DiskWatch(engine, [config.data_dir, config.vault_dir], config.alarms.disk_low_bytes)
    outbox = make_outbox(engine, channels, policy, escalator)
    beside: list[Beside] = [
        LivePictures(engine, vault, LiveArea(views.root), own_keys()),
        Packer(
            engine,
            vault,
            views,
            ExportArea(views.root),
            own_keys(),
            wall_ms,
            two_needed=config.accounts.two_person_export,
            keep_free_bytes=config.alarms.disk_low_bytes,
        ),
        Disposal(engine, config.visits, wall_ms),
    ]
    if config.status.enabled:
        from lapel_gateway.status.setup import build_publisher

        beside.append(build_publisher(config, engine, status, wall_ms))
    return DeliverRole(outbox, escalator=escalator, watch=watch, beside=beside)


def make_outbox(
    engine: sa.Engine,
    channels: Sequence[Channel],
    policy: RetryPolicy,
    escalator: Escalator,
    chance: Callable[[], float] = random.random,
) -> Outbox:
    """The outbox, with what follows in the ledger: an alarm is being told of, or its policy moves on; a clip is at its
    destinations."""
    follow: dict[str, Follow] = {OUTBOX_ALARM: escalator.told, OUTBOX_FORWARD: mark_delivered}
    return Outbox(engine, channels, policy, chance, follow, escalator.failed)


class Beside(Protocol):
    """What runs beside the deliveries."""

    def start(self) -> None:
        """Begin; returns at once."""

    def stop(self) -> None:
        """End, in bounded time."""


class DeliverRole:
    """Runs an outbox until it is stopped."""

    def __init__(
        self,
        outbox: Outbox,
        now_ms: Callable[[], int] = wall_ms,
        escalator: Escalator | None = None,
        watch: DiskWatch | None = None,
        beside: Sequence[Beside] = (),
    ) -> None:
        """``beside``: what runs as long as the role, and delays no delivery."""
        self.outbox = outbox
        self._beside = beside
        self._escalator = escalator
        self._watch = watch
        self._watch_at = 0.0
        self._now_ms = now_ms
        self._turned_ms = now_ms()
        self._wake = threading.Event()
        self._stopping = False
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._held = dict.fromkeys(outbox.channels, 0)
        self._attempts: list[tuple[Parcel, Outcome]] = []
        self._work: dict[str, queue.SimpleQueue[Parcel | None]] = {
            name: queue.SimpleQueue() for name in outbox.channels
        }
        self._health = HealthBook(outbox.engine, outbox.channels, now_ms)
        # Daemons: a channel that hangs must not keep the process from ending, and a kill loses nothing.
        self._workers = [
            threading.Thread(target=self._deliver, args=(name,), name=f"deliver {name}", daemon=True)
            for name in outbox.channels
        ]
        self._workers += [
            threading.Thread(target=self._supervise, args=(channel,), name=f"link test {name}", daemon=True)
            for name, channel in outbox.channels.items()
            if isinstance(channel, Supervised) and channel.supervision_s > 0
        ]
        self._dispatcher = threading.Thread(target=self._dispatch, name="deliver", daemon=True)

    def start(self) -> None:
        """Start the threads. Raises what the ledger raises when it cannot be used at all."""
        released = self.outbox.release()
        if released:
            _log.info("deliveries that were under way at the last stop are repeated", rows=released)
        for channel, rows in self.outbox.stranded().items():
            _log.warning("deliveries wait for a channel that is not configured", channel=channel, rows=rows)
        for thread in (*self._workers, self._dispatcher):
            thread.start()
        for one in self._beside:
            one.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Give out nothing more and wait for what is under way; False when a channel did not end in time."""
        self._stopping = True
        self._ended.set()
        self._wake.set()
        for one in self._beside:
            one.stop()
        deadline = time.monotonic() + timeout_s
        self._dispatcher.join(max(0.0, deadline - time.monotonic()))
        for work in self._work.values():
            work.put(None)
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        if not self._dispatcher.is_alive():
            try:
                self._settle()
                self._health.write()
            except sa.exc.SQLAlchemyError as error:
                self._health.report("ledger", _first_line(error))
        return not any(thread.is_alive() for thread in (*self._workers, self._dispatcher))

    def pulse(self) -> Pulse:
        """When what is due was last given out."""
        return Pulse(self._turned_ms)

    def health(self) -> dict[str, str]:
        """What is wrong now, as `HealthBook.errors`."""
        return self._health.errors()

    def _dispatch(self) -> None:
        while not self._stopping:
            self._wake.clear()
            wait_s = POLL_S
            try:
                self._settle()
                self._look_at_disks()
                if self._escalator is not None:
                    self._escalator.advance(self._now_ms())
                with self._lock:
                    room = {name: IN_HAND - held for name, held in self._held.items()}
                for parcel in self.outbox.claim(self._now_ms(), room):
                    with self._lock:
                        self._held[parcel.channel] += 1
                    self._work[parcel.channel].put(parcel)
                self._health.write()
                self._health.report("ledger", "")
                self._turned_ms = self._now_ms()
            except sa.exc.SQLAlchemyError as error:
                self._health.report("ledger", _first_line(error))
                wait_s = LEDGER_WAIT_S
            except Exception:  # noqa: BLE001 - were this thread to end, no alarm would leave any more
                _log.exception("giving out deliveries failed unexpectedly and is tried again")
                wait_s = LEDGER_WAIT_S
            if wait_s == LEDGER_WAIT_S:
                self._ended.wait(wait_s)
            else:
                self._wake.wait(wait_s)

    def _settle(self) -> None:
        """Write down what was tried since the last time. Raises what the ledger raises.

        Then it is kept and tried again: a row that is left claimed comes up at the end of its lease only, and an alarm
        that a channel declined must not wait for that.
        """
        with self._lock:
            attempts = list(self._attempts)
        if not attempts:
            return
        try:
            self.outbox.settle_all(attempts, self._now_ms())
        except sa.exc.SQLAlchemyError:
            raise
        except Exception:  # noqa: BLE001 - what follows one delivery is at fault; the others must not wait for it
            for parcel, outcome in attempts:
                self._settle_alone(parcel, outcome)
        with self._lock:
            self._attempts = self._attempts[len(attempts) :]
            for parcel, _ in attempts:
                self._held[parcel.channel] -= 1

    def _settle_alone(self, parcel: Parcel, outcome: Outcome) -> None:
        try:
            self.outbox.settle(parcel, outcome, self._now_ms())
        except sa.exc.SQLAlchemyError:
            raise
        except Exception:  # noqa: BLE001 - a row that was delivered stays claimed, and comes up again after the next start
            _log.exception("settling a delivery failed unexpectedly", channel=parcel.channel, **_about(parcel))
            if outcome.outcome not in (DELIVERED, SKIPPED):
                self.outbox.try_again(parcel, outcome, self._now_ms())

    def _look_at_disks(self) -> None:
        if self._watch is None or time.monotonic() < self._watch_at:
            return
        self._watch_at = time.monotonic() + WATCH_S
        try:
            self._watch.look(self._now_ms())
            self._health.report("disk", "")
        except OSError as error:
            self._health.report("disk", error.strerror or str(error), trouble="looking at its room")

    def _deliver(self, channel: str) -> None:
        while (parcel := self._work[channel].get()) is not None:
            if self._stopping:
                continue  # it stays claimed, and is taken up by the next start
            outcome = self._attempt(parcel)
            with self._lock:
                if outcome is None:
                    self._held[channel] -= 1
                else:
                    self._attempts.append((parcel, outcome))
            self._wake.set()

    def _supervise(self, channel: Supervised) -> None:
        told = False
        while not self._ended.is_set():
            try:
                channel.check(self._now_ms())
                error = ""
            except DeliveryError as failure:
                error = str(failure)
            except Exception as failure:  # noqa: BLE001 - were this thread to end, the link would be tested no more
                _log.exception("a link test failed unexpectedly", channel=channel.name)
                error = f"internal error: {type(failure).__name__}"
            self._health.report(channel.name, error, LINK, "link test")
            if told != bool(error) and self._noted(channel.name, error):
                told = bool(error)
            self._ended.wait(channel.supervision_s)

    def _noted(self, channel: str, error: str) -> bool:
        """Raise an alarm about a link that fails, or note that it works again; False when the ledger does not take it
        now."""
        try:
            if self._escalator is not None:
                self._escalator.link(channel, error, self._now_ms())
        except sa.exc.SQLAlchemyError as trouble:
            self._health.report("ledger", _first_line(trouble))
            return False
        return True

    def _attempt(self, parcel: Parcel) -> Outcome | None:
        """What delivering it came to; None where it was not tried, because it is not wanted any more."""
        started = time.monotonic()
        try:
            if parcel.kind == OUTBOX_ALARM and not self.outbox.wanted(parcel):
                return None
            outcome = self.outbox.attempt(parcel, self._now_ms())
        except Exception as error:  # noqa: BLE001 - a fault in one channel must not end its thread
            _log.exception("delivery failed unexpectedly", channel=parcel.channel, **_about(parcel))
            outcome = Outcome(RETRY, f"internal error: {type(error).__name__}")
        took_ms = round((time.monotonic() - started) * 1000)
        self._log_outcome(parcel, outcome, took_ms)
        return Outcome(outcome.outcome, outcome.detail, took_ms, outcome.retry_after_ms)

    def _log_outcome(self, parcel: Parcel, outcome: Outcome, took_ms: int) -> None:
        about = {"channel": parcel.channel, **_about(parcel), "attempts": parcel.attempts + 1, "took_ms": took_ms}
        if outcome.outcome == DELIVERED:
            _log.info("delivered", **about)
        elif parcel.kind == OUTBOX_ALARM:
            # Every try of an alarm has its line; of anything else, that and since when the channel fails.
            _log.info("not delivered", **about, outcome=outcome.outcome, reason=outcome.detail)
        if outcome.outcome != SKIPPED:
            self._health.report(parcel.channel, outcome.detail, **_about(parcel))


def _about(parcel: Parcel) -> dict[str, str]:
    """What a log line calls the thing that is delivered: an alarm by the key that it has in every role's lines."""
    key = "alarm" if parcel.kind == OUTBOX_ALARM else "subject"
    return {key: parcel.subject}


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
