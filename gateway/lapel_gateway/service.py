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

import fcntl
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any, Protocol

import sqlalchemy as sa
import structlog

from lapel_gateway.alarms import AlarmCore
from lapel_gateway.brokers import Broker, make_broker
from lapel_gateway.config import Config, Role
from lapel_gateway.downlink import Outcome
from lapel_gateway.ingest import IngestCore
from lapel_gateway.keystore import KeyStore, OrganisationKey
from lapel_gateway.ledger import open_ledger
from lapel_gateway.log import Repeats, printable
from lapel_gateway.registry import Registry
from lapel_gateway.transport import Delivery, Link, MqttLink
from lapel_gateway.vault import Vault, VaultFull
from lapel_protocol.topics import LANE_ALARM, LANE_CLIP, LANE_EVENT

LANES = {"alarms": (LANE_ALARM,), "events": (LANE_EVENT,), "ingest": (LANE_CLIP,)}
"""Which lanes each connection of the gateway reads."""

ALARM_POLL_S = 0.1
"""How soon a human's answer, given in another process, leaves for the device."""

RETRY_S = 1.0
"""Wait before messages that ledger or vault could not take are handed in again."""

STOP_S = 10.0
"""How long a role may take to finish what it has begun."""

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

    def __init__(self, core: AlarmCore, link: Link, now_ms: Callable[[], int] = wall_ms) -> None:
        super().__init__("alarms", [link], now_ms)
        self._core = core
        self._link = link
        self._waiting: list[Delivery] = []

    def _turn(self) -> None:
        if not self._waiting:
            self._waiting = self._link.receive(16, ALARM_POLL_S, 0.0)
        while self._waiting:
            delivery = self._waiting[0]
            try:
                outcome = self._core.handle(delivery.topic, delivery.payload, self._now_ms())
            except _TROUBLE:
                raise
            except Exception:  # noqa: BLE001 - one message must not hold up the alarms behind it
                _log.exception("internal error", role="alarms", topic=printable(delivery.topic))
                self._core.fault(delivery.topic, self._now_ms())
                outcome = Outcome([0])
            self._waiting.pop(0)
            self._link.publish(outcome.downlinks)
            self._link.acknowledge([delivery])
        self._link.publish(self._core.untold(self._now_ms()))


class IngestRole(_Shell):
    """Carries the event and clip lanes to the ingest core, in batches."""

    def __init__(
        self,
        core: IngestCore,
        events: Link,
        clips: Link,
        batch_max: int,
        batch_window_ms: int,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        super().__init__("ingest", [events, clips], now_ms)
        self._core = core
        self._events = events
        self._clips = clips
        self._batch_max = batch_max
        self._window_s = batch_window_ms / 1000
        self._waiting: list[tuple[Link, Delivery]] = []
        self._recovered = False

    def stop(self) -> bool:
        """Finish the batch in hand and let go of the vault."""
        stopped = super().stop()
        if stopped:
            self._core.close()
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
        self._waiting += [(self._events, delivery) for delivery in events]
        room = self._batch_max - len(self._waiting)
        if room > 0:
            clips = self._clips.receive(room, 0.0 if events else self._window_s, self._window_s)
            self._waiting += [(self._clips, delivery) for delivery in clips]
        if self._waiting:
            self._hand_in()
        if withheld and self._waiting:
            self._stopping.wait(RETRY_S)

    def _hand_in(self) -> None:
        batch = [(delivery.topic, delivery.payload) for _, delivery in self._waiting]
        try:
            outcome = self._core.handle(batch, self._now_ms())
        except _TROUBLE:
            raise
        except Exception:  # noqa: BLE001 - nor may one hold up the batch
            _log.exception("internal error", role="ingest")
            outcome = self._one_by_one(batch)
        done = set(outcome.acknowledge)
        taken = [self._waiting[position] for position in outcome.acknowledge]
        self._waiting = [held for position, held in enumerate(self._waiting) if position not in done]
        self._events.publish(outcome.downlinks)
        for link in (self._events, self._clips):
            link.acknowledge([delivery for owner, delivery in taken if owner is link])

    def _one_by_one(self, batch: Sequence[tuple[str, bytes]]) -> Outcome:
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
        self._running: list[RunningRole] = []
        self._connections: list[MqttLink] = []

    def start(self) -> None:
        """Start broker and roles, the alarms first. Raises what keeps one of them from starting, the others stopped."""
        try:
            for role in self.roles:
                if role != "web":
                    self._locks.append(_lock(self._config.data_dir, role))
            if self.broker is not None:
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

    def _build(self, role: str) -> RunningRole:
        config = self._config
        if role == "alarms":
            notice_ms = config.alarms.unverified_notice_s * 1000
            return AlarmsRole(AlarmCore(self.engine, self.registry, notice_window_ms=notice_ms), self._link("alarms"))
        if role == "ingest":
            core = IngestCore(
                self.engine,
                Vault(config.vault_dir, config.ingest.reserve_bytes),
                self.registry,
                self.organisation,
                window_bytes=config.ingest.credit_bytes,
                alarm_window_bytes=config.ingest.alarm_credit_bytes,
            )
            settings = config.ingest
            return IngestRole(
                core, self._link("events"), self._link("ingest"), settings.batch_max, settings.batch_window_ms
            )
        if role == "deliver":
            from lapel_gateway import deliver

            return deliver.build_role(config, self.engine, self.registry, self.organisation)
        from lapel_gateway.web import server

        return server.build_role(config, self.engine)

    def _link(self, connection: str) -> MqttLink:
        link = MqttLink(self._accesses[connection], LANES[connection])
        self._connections.append(link)
        return link


def run(config: Config, roles: Sequence[Role] | None = None, ready: Callable[[Gateway], None] | None = None) -> int:
    """Run the gateway until SIGTERM or SIGINT; returns a process exit status. `ready` is called once it runs.

    Raises what keeps it from starting (see `Gateway`).
    """
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    before: list[tuple[signal.Signals, Any]] = [
        (number, signal.signal(number, end)) for number in (signal.SIGTERM, signal.SIGINT)
    ]
    try:
        gateway = Gateway(config, roles)
        gateway.start()
        try:
            if ready is not None:
                ready(gateway)
            ended.wait()
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
