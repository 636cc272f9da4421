"""The gateway in a fault schedule: the real cores, ledger and vault, killed at any durable step and started again."""

from __future__ import annotations

import random
import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from lapel_gateway import alarms, steps
from lapel_gateway.alarms import AlarmCore
from lapel_gateway.downlink import Outcome
from lapel_gateway.ingest import IngestCore
from lapel_gateway.keystore import KeyStore, OrganisationKey
from lapel_gateway.ledger import fresh_ledger, open_ledger, reading
from lapel_gateway.ledger.schema import alarm as alarm_table
from lapel_gateway.registry import Registry
from lapel_gateway.vault import Vault
from lapel_protocol.topics import LANE_ALARM, parse_topic

EPOCH_MS = 1_780_000_000_000  # the gateway's wall clock at virtual time 0
_VAULT_RESERVE_BYTES = 1 << 20
_LOOK_MS = 500  # how often the alarms role looks for what humans answered


class Killed(BaseException):
    """The gateway's process is gone. Not an Exception: nothing in the gateway may catch it."""


class GatewaySide:
    """Owns the gateway's folder; `alive` says whether its process runs. Messages wait at the broker until then."""

    def __init__(
        self, folder: Path, rng: random.Random, organisation: OrganisationKey, publish: Callable[[str, bytes], None]
    ) -> None:
        self._rng = rng
        self.organisation = organisation
        self._publish = publish
        self._ledger = folder / "ledger.sqlite"
        self._vault_root = folder / "vault"
        self._master = folder / "master.key"
        fresh_ledger(self._ledger)
        self._keystore = KeyStore.create(self._master)
        self.alarm_queue: deque[tuple[str, bytes]] = deque()
        self.clip_queue: deque[tuple[str, bytes]] = deque()
        self.kills = 0
        self._dies_at = 0
        self._reached = 0
        self._look_ms = 0
        self.alive = False
        self.start(0)

    def start(self, now_ms: int) -> None:
        """Start the process: everything that only a process remembers is gone."""
        self.engine = open_ledger(self._ledger)
        self.registry = Registry(self.engine, self._keystore, entropy=self._rng.randbytes)
        self.vault = Vault(self._vault_root, reserve_bytes=_VAULT_RESERVE_BYTES)
        self._dies_at = 0
        self.alive = True
        try:
            with steps.hooked(self._reach):
                self._alarms = AlarmCore(self.engine, self.registry)
                self._ingest = IngestCore(
                    self.engine, self.vault, self.registry, self.organisation, entropy=self._rng.randbytes
                )
                self._ingest.recover(EPOCH_MS + now_ms)
        except Killed:
            self._die()

    def kill_after(self, points: int) -> None:
        """Die at the `points`-th durable step from now (1 = the next)."""
        self._reached = 0
        self._dies_at = points

    def spare(self) -> None:
        """Forget a death that was planned and has not come."""
        self._dies_at = 0

    def fill_disk(self, full: bool) -> None:
        """Leave no room for clips, or room again."""
        self.vault.reserve_bytes = 1 << 60 if full else _VAULT_RESERVE_BYTES

    def _reach(self, name: str) -> None:
        self._reached += 1
        if self._reached == self._dies_at:
            raise Killed(name)

    def _die(self) -> None:
        self.kills += 1
        self.alive = False
        self.vault.close()
        self.engine.dispose()

    def receive(self, topic: str, payload: bytes) -> None:
        """A device published: the broker keeps it for the gateway, sometimes twice, sometimes out of order."""
        queue = self.alarm_queue if parse_topic(topic)[1] == LANE_ALARM else self.clip_queue
        queue.append((topic, payload))
        chance = self._rng.random()
        if chance < 0.03:
            queue.append((topic, payload))
        elif chance < 0.06 and len(queue) > 1:
            queue[-1], queue[-2] = queue[-2], queue[-1]

    def step(self, now_ms: int) -> None:
        """Let the process do a little: one alarm, one batch, one look at what humans answered."""
        if not self.alive:
            return
        try:
            with steps.hooked(self._reach):
                self._take_alarm(EPOCH_MS + now_ms)
                self._take_batch(EPOCH_MS + now_ms)
                if now_ms >= self._look_ms:
                    self._look_ms = now_ms + _LOOK_MS
                    for topic, payload in self._alarms.untold(EPOCH_MS + now_ms):
                        self._publish(topic, payload)
        except Killed:
            self._die()

    def _take_alarm(self, now_ms: int) -> None:
        if self.alarm_queue:
            outcome = self._alarms.handle(*self.alarm_queue[0], now_ms)
            self.alarm_queue.popleft()
            self._tell(outcome)

    def _take_batch(self, now_ms: int) -> None:
        size = min(len(self.clip_queue), self._rng.randint(1, 12))
        if not size:
            return
        batch = [self.clip_queue.popleft() for _ in range(size)]
        try:
            outcome = self._ingest.handle(batch, now_ms)
        except Killed:
            self.clip_queue.extendleft(reversed(batch))
            raise
        kept = [message for at, message in enumerate(batch) if at not in set(outcome.acknowledge)]
        self.clip_queue.extendleft(reversed(kept))
        self._tell(outcome)

    def _tell(self, outcome: Outcome) -> None:
        for topic, payload in outcome.downlinks:
            self._publish(topic, payload)

    def human(self, now_ms: int) -> None:
        """A responder looks at the alarms and answers one of them."""
        if not self.alive:
            return
        with reading(self.engine) as connection:
            rows = connection.execute(
                sa.select(alarm_table.c.id, alarm_table.c.acknowledged_ms, alarm_table.c.resolved_ms)
            ).all()
        waiting = [row for row in rows if row.resolved_ms is None]
        if not waiting:
            return
        row = self._rng.choice(waiting)
        try:
            with steps.hooked(self._reach):
                if row.acknowledged_ms is None:
                    alarms.acknowledge(self.engine, row.id, "Responder", EPOCH_MS + now_ms)
                else:
                    alarms.resolve(self.engine, row.id, "Responder", "true", "", EPOCH_MS + now_ms)
        except Killed:
            self._die()

    def close(self) -> None:
        """End the process in order and let the folder go."""
        if self.alive:
            self.vault.close()
            self.engine.dispose()
        shutil.rmtree(self._vault_root.parent, ignore_errors=True)
