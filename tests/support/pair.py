"""A gateway's real cores joined to protocol-true devices: what one end says is what the other end hears.

The ledger and the vault are real and in a folder of their own; only broker, clock and entropy are replaced. A gateway
can be killed between any two durable steps and started again on what it left behind.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lapel_gateway import steps
from lapel_gateway.alarms.core import AlarmCore
from lapel_gateway.alarms.escalator import Escalator
from lapel_gateway.alarms.policies import Policies, Reach
from lapel_gateway.custody.credit import ALARM_WINDOW_BYTES, WINDOW_BYTES
from lapel_gateway.custody.downlink import Outcome
from lapel_gateway.custody.ingest import IngestCore
from lapel_gateway.custody.vault import Vault
from lapel_gateway.keystore import KeyStore, OrganisationKey
from lapel_gateway.ledger import fresh_ledger, open_ledger, reading
from lapel_gateway.registry import Registry
from lapel_gateway.updates.offers import UpdateDesk
from lapel_gateway.updates.releases import ReleaseStore
from tests.support.device import Message, TrueDevice, organisation_key

START_MS = 1_700_000_000_000


class Killed(BaseException):
    """The gateway was killed here."""


class DevicePair:
    """One gateway and its devices. `now_ms` is the gateway's clock; the test moves it."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 0,
        organisation: OrganisationKey | None = None,
        devices: int = 1,
        vault: Callable[[Path], Vault] | None = None,
        window_bytes: int = WINDOW_BYTES,
        alarm_window_bytes: int = ALARM_WINDOW_BYTES,
    ) -> None:
        """`organisation` is the gateway's half of the key, by default with the private one."""
        self.folder = folder
        self.now_ms = START_MS
        self.organisation = organisation or organisation_key()
        self._chance = random.Random(seed)
        self._master_key = self._chance.randbytes(32)
        self._make_vault = vault or (lambda root: Vault(root, reserve_bytes=0))
        self._windows = window_bytes, alarm_window_bytes
        folder.mkdir(parents=True, exist_ok=True)
        fresh_ledger(folder / "ledger.sqlite")
        self.start()
        self.devices = [self.provision(seed) for _ in range(devices)]
        self.device = self.devices[0] if devices else None

    def start(self, recover: bool = True) -> list[Message]:
        """Start the gateway's cores on what is in the folder; returns the downlinks of its recovery."""
        self.engine = open_ledger(self.folder / "ledger.sqlite")
        self.vault = self._make_vault(self.folder / "vault")
        self.registry = Registry(self.engine, KeyStore(self._master_key), self._chance.randbytes)
        self.releases = ReleaseStore(self.engine, self.folder / "releases")
        self.ingest = IngestCore(
            self.engine,
            self.vault,
            self.registry,
            self.organisation,
            window_bytes=self._windows[0],
            alarm_window_bytes=self._windows[1],
            entropy=self._chance.randbytes,
            updates=UpdateDesk(self.releases),
        )
        self.alarms = AlarmCore(self.engine, self.registry)
        return self.ingest.recover(self.now_ms) if recover else []

    def stop(self) -> None:
        """Let go of everything that the process held; nothing is finished first, as at a kill."""
        self.ingest.close()
        self.engine.dispose()

    def restart(self) -> list[Message]:
        """Kill and start."""
        self.stop()
        return self.start()

    def provision(self, seed: int = 0, name: str | None = None, person: str = "Zoë Quinn") -> TrueDevice:
        """A new device of this gateway."""
        number = self.count("device") + 1
        package = self.registry.provision(
            name or f"camera {number}", person, self.organisation, "127.0.0.1", 1883, "", self.now_ms, self.now_ms
        )
        return TrueDevice(package, self.organisation, seed)

    @property
    def one(self) -> TrueDevice:
        """The first device."""
        if self.device is None:
            raise ValueError("this pair has no device")
        return self.device

    # -- traffic ----------------------------------------------------------------------------------------------------

    def outcome(self, *messages: Message) -> Outcome:
        """Hand one batch to ingest."""
        self.now_ms += 5
        return self.ingest.handle(list(messages), self.now_ms)

    def send(self, *messages: Message, device: TrueDevice | None = None) -> list[tuple[int, Any]]:
        """Hand one batch to ingest and give its answers to a device (the first by default): [(command kind, body)]."""
        return (device or self.one).take(self.outcome(*messages).downlinks)

    def raise_alarm(self, message: Message, device: TrueDevice | None = None) -> list[tuple[int, Any]]:
        """Hand a message to the alarm role and give its answers to a device."""
        self.now_ms += 5
        return (device or self.one).take(self.alarms.handle(*message, self.now_ms).downlinks)

    def escalate(self, channel: str = "webhook:duty-room") -> int:
        """Take the steps that are due, with one channel and no policy; returns how many were."""
        return Escalator(self.engine, Policies(), Reach({channel: ""})).advance(self.now_ms)

    def greet(self, device: TrueDevice | None = None) -> list[tuple[int, Any]]:
        """Boot a device and let it say hello."""
        device = device or self.one
        device.boot()
        return self.send(device.hello(), device=device)

    def killed_at(self, step: str, *messages: Message, times: int = 1) -> None:
        """Hand a batch to ingest and kill the gateway when it reaches `step` for the n-th time; then start it again."""
        left = times

        def hook(reached: str) -> None:
            nonlocal left
            if reached == step:
                left -= 1
                if not left:
                    raise Killed

        try:
            with steps.hooked(hook):
                self.outcome(*messages)
        except Killed:
            self.restart()
        else:
            raise AssertionError(f"{step} was not reached")

    # -- what the ledger says ---------------------------------------------------------------------------------------

    def rows(self, table: str, where: str = "1", **values: object) -> list[dict[str, Any]]:
        """Rows of a table, as dictionaries."""
        with reading(self.engine) as connection:
            query = sa.text(f"SELECT * FROM {table} WHERE {where} ORDER BY 1, 2").bindparams(**values)
            return [dict(row._mapping) for row in connection.execute(query)]

    def row(self, table: str, where: str = "1", **values: object) -> dict[str, Any]:
        """The only such row."""
        (row,) = self.rows(table, where, **values)
        return row

    def count(self, table: str, where: str = "1", **values: object) -> int:
        """How many such rows there are."""
        return len(self.rows(table, where, **values))

    def tally(self, reason: str) -> int:
        """How often something was counted, over all devices."""
        return sum(row["count"] for row in self.rows("tally", "reason = :reason", reason=reason))

    def vault_file(self, device: TrueDevice, clip: int) -> bytes:
        """The sealed original as it is in the vault."""
        return self.vault.path(device.name, clip).read_bytes()


def bodies(answers: Iterable[tuple[int, Any]], kind: int) -> list[Any]:
    """The bodies of the commands of one kind."""
    return [body for found, body in answers if found == kind]
