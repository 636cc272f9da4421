"""The gateway as a program: its roles as threads of one process, or as processes of their own.

Rules that hold here
- Roles meet in the ledger and the vault only. Alarms, events and clips have a connection each, so that neither a full
  disk nor a flood of clips holds up an alarm or a hello.
- SIGTERM and SIGINT let each role finish what it has begun; nothing else is needed for a clean end, and nothing is lost
  without one.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, Protocol

import sqlalchemy as sa
import structlog

from lapel_gateway import systemd
from lapel_gateway.alarms.core import AlarmCore
from lapel_gateway.brokers import STATUS_CONNECTION, Broker, BrokerError, make_broker
from lapel_gateway.brokers.mosquitto import raise_open_files
from lapel_gateway.custody.ingest import IngestCore
from lapel_gateway.custody.vault import Vault
from lapel_gateway.devices.cutting import read_cut_off
from lapel_gateway.ending import Ending
from lapel_gateway.keystore import KeyStore, OrganisationKey
from lapel_gateway.ledger import open_ledger
from lapel_gateway.progress import ProgressBook, Pulse
from lapel_gateway.registry import Registry
from lapel_gateway.settings.config import Config, Role
from lapel_gateway.shells import AlarmsRole, IngestRole, wall_ms
from lapel_gateway.transport import BrokerLink, make_link
from lapel_gateway.updates.offers import UpdateDesk
from lapel_gateway.updates.releases import ReleaseStore
from lapel_gateway.visits.timers import VisitWatch
from lapel_protocol.topics import LANE_ALARM, LANE_CLIP, LANE_EVENT

LANES = {"alarms": (LANE_ALARM,), "events": (LANE_EVENT,), "ingest": (LANE_CLIP,)}
"""Which lanes each connection of the gateway reads."""

DISK_THREADS = 2
"""One waits for the vault's journal, one for the clips' files."""

SWITCH_INTERVAL_S = 0.0005

BROKER_LOOK_S = 0.5
"""How soon it is noticed that the broker of this process has ended."""

BROKER_RETRY_S = (1.0, 30.0)
"""Wait before it is started again after an attempt that failed; doubles from the first to the last."""

_log = structlog.get_logger("lapel.gateway")


class ServiceError(Exception):
    """The gateway cannot start; the message says why and what to do."""


class RunningRole(Protocol):
    """A role that was started."""

    def start(self) -> None:
        """Start its threads. Raises what keeps it from starting."""

    def stop(self) -> bool:
        """Finish what it has begun; False when that took too long."""

    def pulse(self) -> Pulse:
        """What it says of itself now; returns at once."""


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
        self._progress = ProgressBook(self.engine, wall_ms)

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
                    before = len(self._connections)
                    running = self._build(role)
                    running.start()
                    self._running.append(running)
                    self._progress.add(role, running, self._connections[before:])
            self._progress.start()
        except BaseException:
            self.stop()
            raise
        _log.info("gateway runs", roles=",".join(self.roles), ledger=str(self._config.ledger_file))

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until the broker has every subscription; False when that took longer than ``timeout_s`` seconds."""
        deadline = time.monotonic() + timeout_s
        return all(link.ready.wait(max(0.0, deadline - time.monotonic())) for link in self._connections)

    def keep_broker(self, ending: Ending) -> None:
        """Start this process's broker again whenever it has ended by itself, and cut off whom the ledger says; returns
        once `ending` is asked for."""
        wait_s = again_at = 0.0
        while not ending.wait(BROKER_LOOK_S):
            systemd.notify(systemd.ALIVE)
            if self.broker is None or self.broker.running:
                wait_s = 0.0
                self._cut_off()
                continue
            if time.monotonic() < again_at:
                continue
            _log.error("the broker has ended and is started again")
            try:
                self.broker.start()
            except (BrokerError, OSError) as error:
                first, last = BROKER_RETRY_S
                wait_s = min(max(first, 2 * wait_s), last)
                again_at = time.monotonic() + wait_s
                _log.error("the broker does not start", reason=str(error), again_in_s=wait_s)

    def stop(self) -> bool:
        """End the roles, then the broker; returns whether all of them ended in time."""
        ended = [running.stop() for running in reversed(self._running)]
        self._running.clear()
        self._progress.stop()
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

            status = self._accesses.get(STATUS_CONNECTION)
            return deliver.build_role(config, self.engine, self.registry, self.organisation, status)
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
    with Ending() as ending:
        before: list[tuple[signal.Signals, Any]] = [
            (number, signal.signal(number, ending.ask)) for number in (signal.SIGTERM, signal.SIGINT)
        ]
        try:
            return _run(Gateway(config, roles), ending, ready, beside or contextlib.nullcontext())
        finally:
            for number, handler in before:
                signal.signal(number, handler)


def _run(
    gateway: Gateway,
    ending: Ending,
    ready: Callable[[Gateway], None] | None,
    beside: AbstractContextManager[object],
) -> int:
    gateway.start()
    calm_collector()
    try:
        with beside:
            if ready is not None:
                ready(gateway)
            systemd.notify(systemd.READY)
            gateway.keep_broker(ending)
            systemd.notify(systemd.STOPPING)
    finally:
        whole = gateway.stop()
    _log.info("gateway ended", in_time=whole)
    return 0 if whole else 1


def _lock(folder: Path, role: str) -> IO[str]:
    """Keep a second process from playing the same role on the same data. Raises ServiceError."""
    file = (folder / f".{role}.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise ServiceError(f"another process plays the role {role} on {folder}: end it first") from None
    return file
