"""The gateway in a fault schedule: the real cores, outbox, ledger and vault, and everything that can happen to them.

Its process dies between any two durable steps, also while it recovers; its machine crashes and takes the page cache
along; it comes back from an older backup; vault and ledger find no room; its wall clock drifts and is stepped.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa

from lapel_gateway import steps
from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.core import AlarmCore
from lapel_gateway.custody.downlink import Outcome
from lapel_gateway.custody.ingest import IngestCore
from lapel_gateway.custody.vault import Vault, VaultFull
from lapel_gateway.custody.vault_journal import JOURNAL_NAME
from lapel_gateway.keystore import KeyStore, OrganisationKey
from lapel_gateway.ledger import fresh_ledger, open_ledger, reading
from lapel_gateway.ledger.schema import alarm as alarm_table
from lapel_gateway.registry import Registry
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.viewing.unseal import KeyRing, keys_from_registry
from lapel_protocol.topics import LANE_ALARM, LANE_EVENT, parse_topic
from lapel_sim.inprocess.broker import Inbox, Message

from .backups import Backup, choose, copy_gateway, restore_gateway
from .deliveries import Deliveries, Receiver
from .ledger_view import LedgerView
from .page_cache import PageCache
from .vault_view import durable_frames

EPOCH_MS = 1_780_000_000_000  # the gateway's wall clock at virtual time 0
_JOURNAL_HALVES_BYTES = (8 << 10, 32 << 10, 128 << 10)
_VAULT_RESERVE_BYTES = 1 << 20
_LOOK_MS = 500  # how often the alarms role looks for what humans answered, and the deliver role for what is due
_TROUBLE_MS = 1_000
_TROUBLE = (sa.exc.OperationalError, sa.exc.InternalError, OSError, VaultFull)  # as in lapel_gateway.service
_WORST_DRIFT = 0.0005

_WAITING = (
    "SELECT EXISTS (SELECT 1 FROM outbox WHERE state = 'waiting' AND (next_at_ms <= ?1 OR created_ms > ?1)) OR "
    "EXISTS (SELECT 1 FROM escalation WHERE next_at_ms <= ?1 OR (next_at_ms IS NOT NULL AND taken_ms > ?1))"
)

Publish = Callable[[str, bytes], None]

_engines: dict[Path, sa.Engine] = {}
"""One engine for each ledger file of this process: SQLAlchemy compiles its statements anew for every engine."""


class Killed(BaseException):
    """The gateway's process is gone. Not an Exception: nothing in the gateway may catch it."""


class GatewaySide:
    """Owns the gateway's folder; `alive` says whether its process runs. Messages wait in the broker's inboxes."""

    def __init__(
        self, folder: Path, rng: random.Random, organisation: OrganisationKey, publish: Publish, acknowledged: Publish
    ) -> None:
        self._rng = rng
        self.organisation = organisation
        self._publish = publish
        self._acknowledged = acknowledged
        self.ledger = folder / "ledger.sqlite"
        self._vault_root = folder / "vault"
        self.views = Views(folder / "views")
        self.views.root.mkdir()
        self.cache = PageCache()
        self.receiver = Receiver(rng)
        self.alarms, self.events, self.clips = Inbox(), Inbox(), Inbox()
        self.effects: Counter[str] = Counter()
        self.kills = 0
        self.generation = 0  # changes whenever vault or ledger went back in time
        self.offset_ms = 0
        self._drift = rng.uniform(-_WORST_DRIFT, _WORST_DRIFT)
        self._backups: list[Backup] = []
        self._dies_at = 0
        self._dies_named = ""
        self._crashes = False
        self._dies_in_recovery: list[int] = []
        self._look_ms = 0
        self._trouble_ms = dict.fromkeys(("alarms", "ingest", "deliver"), 0)
        self._answered = True
        self.alive = False
        fresh_ledger(self.ledger)
        self.view = LedgerView(self.ledger)
        self._keystore = KeyStore.create(folder / "master.key")
        self.engine = _open_engine(self.ledger)
        self.registry = Registry(self.engine, self._keystore, entropy=rng.randbytes)
        self.keys = KeyRing(keys_from_registry(self.engine, self.registry), organisation)
        # Small ones, so that they are full again and again.
        self._journal_half_bytes = rng.choice(_JOURNAL_HALVES_BYTES)
        self.vault = self._open_vault()

    @property
    def inboxes(self) -> tuple[Inbox, Inbox, Inbox]:
        """What the broker keeps for the gateway's three connections."""
        return self.alarms, self.events, self.clips

    def wall_ms(self, now_ms: int) -> int:
        """The gateway's wall clock at a virtual time."""
        return EPOCH_MS + self.offset_ms + round(now_ms * (1 + self._drift))

    # -- process and machine ----------------------------------------------------------------------------------------

    def start(self, now_ms: int) -> None:
        """Start the process: everything that only a process remembers is gone."""
        self.engine = _open_engine(self.ledger)
        self.registry = Registry(self.engine, self._keystore, entropy=self._rng.randbytes)
        self.vault = self._open_vault()
        self.alive = True
        self._recovered = False
        self._answered = True
        self._trouble_ms = dict.fromkeys(self._trouble_ms, 0)
        dies_at = self._dies_in_recovery.pop(0) if self._dies_in_recovery else 0
        self.kill_after(dies_at)
        with self._running("alarms", now_ms):
            self.alarm_core = AlarmCore(self.engine, self.registry)
            self.ingest_core = IngestCore(
                self.engine, self.vault, self.registry, self.organisation, entropy=self._rng.randbytes
            )
            self.deliveries = Deliveries(
                self.engine, self.vault, self.views, self.keys, self.receiver, self._rng.random
            )
        if self.alive:
            self._recover(now_ms)
        if dies_at and self.alive:
            self.spare()
        elif dies_at:
            self.effects["gateway_killed_in_recovery"] += 1

    def _open_vault(self) -> Vault:
        return Vault(self._vault_root, reserve_bytes=_VAULT_RESERVE_BYTES, journal_half_bytes=self._journal_half_bytes)

    def durable_clip(self, name: str, clip: int) -> bytes:
        """What a crash of the machine now would leave of a clip's file once the vault has recovered."""
        content = bytearray(self.cache.durable(self.vault.path(name, clip)))
        for placed in durable_frames(self.cache.durable(self._vault_root / JOURNAL_NAME), self._journal_half_bytes):
            if (placed.device, placed.clip) == (name, clip):
                data = b"".join(placed.parts)
                content.extend(bytes(max(0, placed.offset - len(content))))
                content[placed.offset : placed.offset + len(data)] = data
        return bytes(content)

    def _recover(self, now_ms: int) -> None:
        with self._running("ingest", now_ms):
            downlinks = self.ingest_core.recover(self.wall_ms(now_ms))
            self._recovered = True
            self._say(downlinks)

    def kill_after(self, points: int, crash: bool = False) -> None:
        """Die at the `points`-th durable step from now (1 = the next); a `crash` takes the machine along."""
        self._dies_at = points
        self._crashes = crash

    def kill_at(self, point: str, crash: bool = False) -> None:
        """Die at the next durable step of this name."""
        self._dies_named = point
        self._crashes = crash

    def kill_restarts(self, points: list[int]) -> None:
        """Each of the next starts dies at its n-th durable step, if it has so many."""
        self._dies_in_recovery = points

    def spare(self) -> None:
        """Forget a death that was planned and has not come."""
        self._dies_at = 0
        self._dies_named = ""
        self._crashes = False

    def kill(self) -> None:
        """The process ends, wherever it is."""
        self.kills += 1
        self.alive = False
        self.spare()
        self.vault.close()
        self.engine.dispose()

    @contextlib.contextmanager
    def _running(self, role: str, now_ms: int) -> Iterator[None]:
        """A role of the running process does something: it may die of it, or find ledger or vault of no use now."""
        try:
            with steps.hooked(self._reach):
                yield
        except Killed:
            crash = self._crashes
            self.kill()
            if crash:
                self.effects["gateway_crashed"] += bool(self.cache.crash(self._rng))
                self.generation += 1
            else:
                self.effects["gateway_killed"] += 1
        except _TROUBLE as error:
            self.effects["ledger_full"] += isinstance(error, sa.exc.OperationalError)
            self._trouble_ms[role] = now_ms + _TROUBLE_MS

    def _reach(self, name: str) -> None:
        self.effects[f"step {name}"] += 1
        due = name == self._dies_named
        if self._dies_at:
            self._dies_at -= 1
            due = due or not self._dies_at
        if due:
            self.effects[f"killed at {name}"] += 1
            raise Killed(name)

    # -- backups ----------------------------------------------------------------------------------------------------

    def back_up(self) -> None:
        """Make a backup, the process running or not."""
        self._backups.append(copy_gateway(self.ledger, self._vault_root))

    def restore(self, way: str, rng: random.Random) -> None:
        """Come back, stopped, from backups that were made earlier; `way` is one of backups.WAYS."""
        if self.alive:
            self.kill()
        self.view.close()
        self.engine.dispose()
        before = copy_gateway(self.ledger, self._vault_root)
        older, newer = choose(self._backups, rng)
        restore_gateway(way, older, newer, self.ledger, self._vault_root)
        self.cache.settle()
        self.generation += 1
        self.effects["gateway_restored"] += copy_gateway(self.ledger, self._vault_root) != before

    # -- disk -------------------------------------------------------------------------------------------------------

    def fill_disk(self, full: bool) -> None:
        """Leave no room for clips beside the reserve, or room again."""
        self.vault.reserve_bytes = 1 << 60 if full else _VAULT_RESERVE_BYTES

    def fill_in_write(self, room_bytes: int | None) -> None:
        """Let the disk be full in the middle of a write; None = there is room again."""
        self.cache.room_bytes = room_bytes

    def fill_ledger(self, full: bool) -> None:
        """Let the ledger's disk take nothing more, as a full one or one that was remounted after an error; or again."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA query_only={'ON' if full else 'OFF'}")

    # -- its work ---------------------------------------------------------------------------------------------------

    def receive(self, topic: str, payload: bytes) -> None:
        """A device published: the broker keeps it for one of the gateway's connections."""
        lane = parse_topic(topic)[1]
        inbox = self.alarms if lane == LANE_ALARM else self.events if lane == LANE_EVENT else self.clips
        inbox.put(topic, payload)

    @property
    def idle(self) -> bool:
        """Whether it runs, has recovered, and nothing waits for it."""
        return self.alive and self._recovered and not any(self.inboxes)

    def _lives(self) -> bool:
        """Whether what it did last has not been its death."""
        return self.alive

    def step(self, now_ms: int) -> None:
        """Let every role do a little: an alarm or two, one batch, one look at humans and outbox."""
        if not self.alive:
            return
        if self.alarms and now_ms >= self._trouble_ms["alarms"]:
            with self._running("alarms", now_ms):
                self._take_alarms(self.wall_ms(now_ms))
        if self._lives() and now_ms >= self._trouble_ms["ingest"]:
            if not self._recovered:
                self._recover(now_ms)
            elif self.events or self.clips:
                with self._running("ingest", now_ms):
                    self._take_batch(self.wall_ms(now_ms))
                if self.clips and self.ingest_core.full:
                    self.effects["disk_full"] += 1
                    self._trouble_ms["ingest"] = now_ms + _TROUBLE_MS
        if self._lives() and now_ms >= self._look_ms:
            self._look_ms = now_ms + _LOOK_MS
            self._look(now_ms)

    def _look(self, now_ms: int) -> None:
        if self._answered:
            with self._running("alarms", now_ms):
                self._say(self.alarm_core.untold(self.wall_ms(now_ms)))
                self._answered = False
        if self.alive and now_ms >= self._trouble_ms["deliver"]:
            wall_ms = self.wall_ms(now_ms)
            # Asked before the outbox is, which is dearer: whether anything waits at all, and could be due.
            (waiting,) = self.view.row(_WAITING, (wall_ms,))
            if self.deliveries.busy or waiting:
                with self._running("deliver", now_ms):
                    self.deliveries.run_due(wall_ms)

    def _take_alarms(self, wall_ms: int) -> None:
        for message in self.alarms.first(2):
            outcome = self.alarm_core.handle(*message, wall_ms)
            self._say(outcome.downlinks)
            self._acknowledge(self.alarms, [message], {0})

    def _take_batch(self, wall_ms: int) -> None:
        most = self._rng.randint(1, 16)
        events = self.events.first(max(1, most - most // 4))
        clips = self.clips.first(most - len(events))
        outcome: Outcome = self.ingest_core.handle(events + clips, wall_ms)
        self._say(outcome.downlinks)
        done = set(outcome.acknowledge)
        self._acknowledge(self.events, events, {at for at in done if at < len(events)})
        self._acknowledge(self.clips, clips, {at - len(events) for at in done if at >= len(events)})

    def _say(self, downlinks: list[Message]) -> None:
        for topic, payload in downlinks:
            self._publish(topic, payload)

    def _acknowledge(self, inbox: Inbox, messages: list[Message], positions: set[int]) -> None:
        for position in positions:
            self._acknowledged(*messages[position])
        inbox.acknowledge(positions)

    def human(self, now_ms: int) -> None:
        """A responder looks at the alarms and answers one of them."""
        if not self.alive:
            return
        with reading(self.engine) as connection:
            rows = connection.execute(
                sa.select(alarm_table.c.id, alarm_table.c.acknowledged_ms).where(alarm_table.c.resolved_ms.is_(None))
            ).all()
        if not rows:
            return
        row = self._rng.choice(rows)
        with self._running("deliver", now_ms):
            self._answered = True
            if row.acknowledged_ms is None:
                alarms.acknowledge(self.engine, row.id, "Responder", self.wall_ms(now_ms))
                self.effects["human acknowledged"] += 1
            else:
                alarms.resolve(self.engine, row.id, "Responder", "true", "", self.wall_ms(now_ms))
                self.effects["human resolved"] += 1

    def close(self) -> None:
        """End the process in order."""
        if self.alive:
            self.alive = False
            self.vault.close()
        self.view.close()
        self.engine.dispose()


def _open_engine(ledger: Path) -> sa.Engine:
    """The engine of a ledger, opened as the gateway opens it, but made once for each file name."""
    engine = _engines.get(ledger)
    if engine is None:
        engine = _engines[ledger] = open_ledger(ledger)
    return engine
