"""The gateway as a program: its roles as threads of one process, or as processes of their own.

Rules that hold here
- Roles meet in the ledger and the vault only. Alarms, events and clips have a connection each, so that neither a full
  disk nor a flood of clips holds up an alarm or a hello.
- A shell only carries: it hands messages to its core, and what the core returns to the broker. When ledger or vault
  cannot be used it keeps the messages, says so once, and tries again.
- SIGTERM and SIGINT let each role finish what it has begun; nothing else is needed for a clean end, and nothing is lost
  without one.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import IO, Any, NamedTuple, Protocol

import sqlalchemy as sa
import structlog

from lapel_gateway import systemd
from lapel_gateway.alarms.core import AlarmCore
from lapel_gateway.arrivals import Arrival
from lapel_gateway.brokers import Broker, BrokerError, make_broker
from lapel_gateway.brokers.mosquitto import raise_open_files
from lapel_gateway.devices.cutting import read_cut_off
from lapel_gateway.downlink import Outcome
from lapel_gateway.ingest import IngestCore, Message, Sync
from lapel_gateway.keystore import KeyStore, OrganisationKey
from lapel_gateway.ledger import open_ledger
from lapel_gateway.log import Repeats, printable
from lapel_gateway.registry import Registry
from lapel_gateway.settings.config import Config, Role
from lapel_gateway.transport import BrokerLink, Delivery, Link, make_link
from lapel_gateway.updates.offers import UpdateDesk
from lapel_gateway.updates.releases import ReleaseStore
from lapel_gateway.vault import Vault, VaultFull
from lapel_gateway.visits.timers import VisitWatch
from lapel_protocol.topics import LANE_ALARM, LANE_CLIP, LANE_EVENT

LANES = {"alarms": (LANE_ALARM,), "events": (LANE_EVENT,), "ingest": (LANE_CLIP,)}
"""Which lanes each connection of the gateway reads."""

ALARM_POLL_S = 0.1
"""How soon a human's answer, given in another process, leaves for the device."""

ALARM_BATCH = 64
"""Messages of the alarm lane that are taken together; they do not wait for each other."""

ALARMS_WAITING = 1024
"""Read and not taken, because the ledger cannot be used or they are long to verify; the others wait at the broker."""

INGEST_NICE = 5
"""Priority of ingest's work below that of alarms, the broker and the readers, as `nice` counts it."""

DISK_THREADS = 2
"""One waits for the vault's journal, one for the clips' files."""

PREPARED_TOGETHER = 8
"""Messages that are prepared between two looks at whether the sync is over."""

RETRY_S = 1.0
"""Wait before messages that ledger or vault could not take are handed in again."""

SWITCH_INTERVAL_S = 0.0005

STOP_S = 10.0
"""How long a role may take to finish what it has begun."""

BROKER_LOOK_S = 0.5
"""How soon it is noticed that the broker of this process has ended."""

BROKER_RETRY_S = (1.0, 30.0)
"""Wait before it is started again after an attempt that failed; doubles from the first to the last."""

_log = structlog.get_logger("lapel.gateway")
_TROUBLE = (sa.exc.OperationalError, sa.exc.InternalError, sa.exc.TimeoutError, OSError, VaultFull)
"""What passes by itself or by an operator's hand; anything else is an error of this program."""


class ServiceError(Exception):
    """The gateway cannot start; the message says why and what to do."""


class RunningRole(Protocol):
    """A role that was started."""

    def start(self) -> None:
        """Start its threads. Raises what keeps it from starting."""

    def stop(self) -> bool:
        """Finish what it has begun; False when that took too long."""


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

    def _turn(self) -> None:
        raise NotImplementedError

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
        if self._waiting:
            self._hand_in()
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
        if self._waiting:
            self._hand_in()
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


class Gateway:
    """One process of the gateway: a broker if it is to start one, and its roles."""

    def __init__(self, config: Config, roles: Sequence[Role] | None = None) -> None:
        """Open ledger, keys and vault. Raises LedgerError, KeyStoreError, BrokerError, PkiError, ServiceError."""
        self._config = config
        self.roles = list(roles or config.gateway.roles)
        config.data_dir.mkdir(parents=True, exist_ok=True)
        keystore = KeyStore.load(config.master_key_file)
        self.organisation = OrganisationKey.load(config.organisation_key_file)
        broker, self._accesses = make_broker(config, wall_ms())
        self.engine = open_ledger(config.ledger_file)
        self.registry = Registry(self.engine, keystore)
        try:
            self.registry.check_keys()
        except BaseException:
            self.engine.dispose()
            raise
        self._locks: list[IO[str]] = []
        # Where roles are processes of their own, the one with ingest starts the broker.
        self.broker: Broker | None = broker if "ingest" in self.roles else None
        self._cut_trouble = ""
        self._running: list[RunningRole] = []
        self._connections: list[BrokerLink] = []

    def start(self) -> None:
        """Start broker and roles, the alarms first. Raises what keeps one of them from starting, the others stopped."""
        try:
            for role in self.roles:
                if role != "web":
                    self._locks.append(_lock(self._config.data_dir, role))
            if self.broker is not None:
                self.broker.cut(read_cut_off(self.engine))
                self.broker.start()
            for role in ("alarms", "ingest", "deliver", "web"):
                if role in self.roles:
                    running = self._build(role)
                    running.start()
                    self._running.append(running)
        except BaseException:
            self.stop()
            raise
        _log.info("gateway runs", roles=",".join(self.roles), ledger=str(self._config.ledger_file))

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the broker has every subscription; False when that took longer than ``timeout_s`` seconds."""
        deadline = time.monotonic() + timeout_s
        return all(link.ready.wait(max(0.0, deadline - time.monotonic())) for link in self._connections)

    def keep_broker(self, ended: threading.Event) -> None:
        """Start this process's broker again whenever it has ended by itself, and cut off whom the ledger says; returns
        once `ended` is set."""
        wait_s = 0.0
        while not ended.wait(max(BROKER_LOOK_S, wait_s)):
            systemd.notify(systemd.ALIVE)
            if self.broker is None or self.broker.running:
                wait_s = 0.0
                self._cut_off()
                continue
            _log.error("the broker has ended and is started again")
            try:
                self.broker.start()
            except (BrokerError, OSError) as error:
                first, last = BROKER_RETRY_S
                wait_s = min(max(first, 2 * wait_s), last)
                _log.error("the broker does not start", reason=str(error), again_in_s=wait_s)

    def stop(self) -> bool:
        """End the roles, then the broker; returns whether all of them ended in time."""
        ended = [running.stop() for running in reversed(self._running)]
        self._running.clear()
        if self.broker is not None:
            self.broker.stop()
        self.engine.dispose()
        for lock in self._locks:
            lock.close()
        self._locks = []
        return all(ended)

    def _cut_off(self) -> None:
        if self.broker is None:
            return
        try:
            self.broker.cut(read_cut_off(self.engine))
            trouble = ""
        except (BrokerError, sa.exc.SQLAlchemyError) as error:
            trouble = str(error).partition("\n")[0]
        if trouble and trouble != self._cut_trouble:
            _log.error("devices are not cut off at the broker, which is tried again", reason=trouble)
        self._cut_trouble = trouble

    def _build(self, role: str) -> RunningRole:
        config = self._config
        if role == "alarms":
            from lapel_gateway.channels.setup import personal_reach

            notice_ms = config.alarms.unverified_notice_s * 1000
            core = AlarmCore(self.engine, self.registry, notice_window_ms=notice_ms)
            watch = VisitWatch(self.engine, self.registry, config.visits, personal_reach(config))
            return AlarmsRole(core, self._link("alarms"), visits=watch)
        if role == "ingest":
            disk = ThreadPoolExecutor(DISK_THREADS, "ingest-disk")
            ingest = IngestCore(
                self.engine,
                Vault(config.vault_dir, config.ingest.reserve_bytes, beside=disk),
                self.registry,
                self.organisation,
                window_bytes=config.ingest.credit_bytes,
                alarm_window_bytes=config.ingest.alarm_credit_bytes,
                rules=config.visits,
                updates=UpdateDesk(ReleaseStore(self.engine, config.releases_dir)),
            )
            settings = config.ingest
            return IngestRole(
                ingest,
                self._link("events"),
                self._link("ingest"),
                settings.batch_max,
                settings.batch_window_ms,
                disk=disk,
            )
        if role == "deliver":
            from lapel_gateway import deliver

            return deliver.build_role(config, self.engine, self.registry, self.organisation)
        from lapel_gateway.web import server

        return server.build_role(config, self.engine)

    def _link(self, connection: str) -> BrokerLink:
        link = make_link(self._config.broker.reader, self._accesses[connection], LANES[connection])
        self._connections.append(link)
        return link


def calm_collector() -> None:
    """Let Python look for garbage in cycles less often: ingest makes thousands of short-lived objects a second and next
    to no cycles, and to look at everything that was imported again and again costs it a tenth of its time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def run(
    config: Config,
    roles: Sequence[Role] | None = None,
    ready: Callable[[Gateway], None] | None = None,
    beside: AbstractContextManager[object] | None = None,
) -> int:
    """Run the gateway until SIGTERM or SIGINT; returns a process exit status. `ready` is called once it runs.

    `beside` is entered when this process's roles run, and left before they end: the roles of other processes
    (`lapel_gateway.supervise`). Raises what keeps it from starting (see `Gateway`).
    """
    # A thread that waits for the interpreter's lock asks for it after this time: by default 5 ms, a third of what an
    # alarm may take.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    raise_open_files()
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    before: list[tuple[signal.Signals, Any]] = [
        (number, signal.signal(number, end)) for number in (signal.SIGTERM, signal.SIGINT)
    ]
    try:
        gateway = Gateway(config, roles)
        gateway.start()
        calm_collector()
        try:
            with beside or contextlib.nullcontext():
                if ready is not None:
                    ready(gateway)
                systemd.notify(systemd.READY)
                gateway.keep_broker(ended)
                systemd.notify(systemd.STOPPING)
        finally:
            whole = gateway.stop()
        _log.info("gateway ended", in_time=whole)
        return 0 if whole else 1
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _lock(folder: Path, role: str) -> IO[str]:
    """Keep a second process from playing the same role on the same data. Raises ServiceError."""
    file = (folder / f".{role}.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ServiceError(f"another process plays the role {role} on {folder}: end it first") from None
    return file
