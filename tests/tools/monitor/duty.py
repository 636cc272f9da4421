"""A gateway on duty: its real cores, ledger and API, with a worker on a visit and somebody who answers."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from lapel_gateway import people
from lapel_gateway.alarms.escalator import Escalator
from lapel_gateway.alarms.policies import Policies, Policy, Reach, Step
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import alarm as alarms
from lapel_gateway.overview.surroundings import Surroundings
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.installed import Installed
from lapel_gateway.web.server import WebRole
from lapel_tools.api import Api
from lapel_tools.monitor.sources import ApiSource
from tests.gateway.visits.day import SAM, ZOE, Day
from tests.support.accounts import token_of
from tests.support.pair import DevicePair

CHANNELS = {"sms:sam": SAM, "webhook:desk": ""}
POLICY = Policy("crew", (Step(("sms:sam",), 60_000),))


class Duty:
    """`answerer` is who looks at the monitor."""

    answerer = "Ann Archer"

    def __init__(self, folder: Path) -> None:
        self.pair = DevicePair(folder / "gateway")
        self.day = Day(self.pair)
        people.set_person(self.pair.engine, ZOE, "North", "+44 7700 900123", self.pair.now_ms)
        self.pair.registry.assign(self.pair.one.device.hex(), ZOE)
        self.pair.greet()
        self.pair.send(self.pair.one.heartbeat())
        self.token = token_of(self.pair.engine, self.answerer, self.pair.now_ms)
        self._folder = folder
        self._role: WebRole | None = None
        self._port = 0
        self.serve()

    def serve(self) -> None:
        """Start the API, at the same address as before."""
        around = Surroundings(CHANNELS, folders={"vault": self._folder})
        installed = Installed(channels=CHANNELS, around=around)
        views = Views(self._folder / "views")
        self._role = WebRole(
            self.pair.engine, views, "127.0.0.1", self._port, lambda: self.pair.now_ms, installed=installed
        )
        self._role.start()
        self._port = self._role.port

    def stop(self) -> None:
        """The gateway goes away."""
        role, self._role = self._role, None
        if role is not None:
            assert role.stop()

    def close(self) -> None:
        self.stop()
        self.pair.stop()

    def role_has_readers(self) -> bool:
        """Whether somebody looks on."""
        return self._role is not None and self._role._feed.readers > 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def device(self) -> str:
        return self.pair.one.device.hex()

    def source(self) -> ApiSource:
        return ApiSource(Api(self.url, self.token))

    def raise_alarm(self, *, clip: bool = False) -> str:
        """Zoë presses; returns the alarm's id. ``clip``: some of its clip comes in."""
        message = self.pair.one.alarm()
        self.pair.raise_alarm(message)
        Escalator(self.pair.engine, Policies((POLICY,)), Reach(CHANNELS)).advance(self.pair.now_ms)
        if clip:
            self.pair.send(*self.pair.one.record(9, alarm=message).messages(2)[:2])
        with reading(self.pair.engine) as connection:
            newest = sa.select(alarms.c.id).order_by(alarms.c.received_ms.desc()).limit(1)
            return str(connection.execute(newest).scalar_one())

    def alarm(self, identifier: str) -> sa.RowMapping:
        """The alarm in the ledger."""
        with reading(self.pair.engine) as connection:
            return connection.execute(sa.select(alarms).where(alarms.c.id == identifier)).mappings().one()
