"""Wearers see what is their own, responders the clips of alarms; all else is as if it were not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from lapel_gateway.accounts.users import set_roles
from lapel_gateway.alarms.core import AlarmCore
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.account_tables import audit
from lapel_gateway.ledger.schema import clip
from lapel_gateway.ledger.visit_tables import position, visit
from lapel_gateway.viewing.assembly import Assembler
from lapel_gateway.web.server import WebRole
from lapel_protocol.clip import TRUST_GATEWAY
from lapel_protocol.event import ALARM_RAISED, Event, seal_event
from lapel_protocol.reports import ALARM_PANIC, AlarmRaised
from lapel_protocol.topics import LANE_ALARM, topic
from tests.gateway.footage import ordinary_clip
from tests.gateway.ledgers import new_ledger
from tests.gateway.sealed import BOOT, NOW_MS, Site
from tests.support.accounts import BY, token_of

WEARER = "Zoë Quinn"
"""Who wears the device of `Site`."""


@dataclass
class Desk:
    """The API with an alarm, two clips and a visit of one wearer."""

    site: Site
    client: httpx.Client
    tokens: dict[str, str]
    alarm: str

    def ask(self, who: str, path: str, method: str = "GET", **body: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.tokens[who]}", "X-Lapel-Reason": "an incident"}
        return self.client.request(method, f"/api/v1/{path}", headers=headers, json=body or None)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with new_ledger(tmp_path) as engine:
        site = Site(tmp_path, engine)
        for number in (5, 6):
            site.hold(site.seal(ordinary_clip().matroska(), number))
            Assembler(engine, site.vault, site.views, site.keys()).assemble(site.device, number, NOW_MS)
        with writing(engine) as connection:
            connection.execute(sa.update(clip).where(clip.c.clip == 5).values(alarm=True))
        device = bytes.fromhex(site.device)
        event = Event(
            ALARM_RAISED, device, BOOT, 2, NOW_MS, 9_000, TRUST_GATEWAY, AlarmRaised(ALARM_PANIC, 80, 5).encode()
        )
        AlarmCore(engine, site.registry).handle(
            topic(device, LANE_ALARM), seal_event(site.epoch_keys(BOOT), event), NOW_MS
        )
        names = {WEARER: "wearer", "Wim": "wearer", "Rita": "responder", "Eve": "evidence", "Otto": "auditor"}
        tokens = {name: token_of(engine, name, NOW_MS, [role]) for name, role in names.items()}
        role = WebRole(engine, site.views, "127.0.0.1", 0, now_ms=lambda: NOW_MS)
        role.start()
        try:
            with httpx.Client(base_url=role.url, trust_env=False, timeout=30) as client:
                desk = Desk(site, client, tokens, f"{site.device}-{BOOT}-2")
                assert desk.ask(WEARER, "visits", "POST", place="4 High Street").status_code == 201
                where = {"visit": 1, "device": site.device, "boot": 1, "counter": 9, "measured_ms": NOW_MS}
                with writing(engine) as connection:
                    connection.execute(
                        sa.insert(position).values(received_ms=NOW_MS, latitude_e7=1, longitude_e7=2, **where)
                    )
                yield desk
        finally:
            assert role.stop()


def test_a_wearer_sees_what_is_their_own_and_nothing_else_is_there(desk: Desk) -> None:
    own = f"{desk.site.device}-6"
    for path in (f"alarms/{desk.alarm}", f"clips/{own}", f"clips/{own}/media/mkv", "visits/1"):
        assert desk.ask(WEARER, path).status_code == 200, path
        missing = desk.ask("Wim", path.replace("visits/1", "visits/77") if "visits" in path else "clips/none")
        hidden = desk.ask("Wim", path)
        assert hidden.status_code == 404, path
        if "visits" in path or path.startswith("clips"):
            assert hidden.json() == missing.json()
    for path in ("alarms", "clips", "visits"):
        assert len(desk.ask(WEARER, path).json()[path]) == {"alarms": 1, "clips": 2, "visits": 1}[path]
        assert desk.ask("Wim", path).json()[path] == []
    assert desk.ask("Wim", f"visits?person={WEARER}").json()["visits"] == []


@pytest.mark.parametrize("step", ["start", "check-in", "extend", "end", "cancel"])
def test_a_wearer_runs_their_own_visits_and_nobody_elses(desk: Desk, step: str) -> None:
    body = {} if step in ("start", "check-in") else {"minutes": 5} if step == "extend" else {"note": "x"}
    assert desk.ask("Wim", f"visits/1/{step}", "POST", **body).status_code == 404
    assert desk.ask(WEARER, f"visits/1/{step}", "POST", **body).status_code in (200, 409)
    assert desk.ask("Rita", f"visits/1/{step}", "POST", **body).status_code in (200, 409)


def test_a_wearer_plans_no_visit_of_somebody_else(desk: Desk) -> None:
    refused = desk.ask("Wim", "visits", "POST", place="4 High Street", person="Sam")
    assert refused.status_code == 403
    assert "run-visits" in refused.json()["detail"]
    assert desk.ask("Rita", "visits", "POST", place="4 High Street", person="Sam").status_code == 201
    with reading(desk.site.engine) as connection:
        assert list(connection.execute(sa.select(visit.c.person).order_by(visit.c.id)).scalars()) == [WEARER, "Sam"]


def test_nobody_acknowledges_an_alarm_of_their_own_whatever_their_roles(desk: Desk) -> None:
    set_roles(desk.site.engine, WEARER, ["wearer", "responder", "operator"], BY, NOW_MS)
    assert desk.ask(WEARER, f"alarms/{desk.alarm}/acknowledge", "POST").status_code == 403
    assert desk.ask("Rita", f"alarms/{desk.alarm}/acknowledge", "POST").status_code == 200


def test_a_responder_sees_and_plays_the_clips_of_alarms_and_no_others(desk: Desk) -> None:
    listed = [one["clip"] for one in desk.ask("Rita", "clips").json()["clips"]]
    assert listed == [5]
    assert desk.ask("Rita", f"clips/{desk.site.device}-5/media/mkv").status_code == 200
    assert desk.ask("Rita", f"clips/{desk.site.device}-6/media/mkv").status_code == 404
    assert desk.ask("Eve", f"clips/{desk.site.device}-6/media/mkv").status_code == 200


def test_an_auditor_sees_that_there_are_clips_and_plays_none_and_sees_visits_without_positions(desk: Desk) -> None:
    assert len(desk.ask("Otto", "clips").json()["clips"]) == 2
    assert desk.ask("Otto", f"clips/{desk.site.device}-5/media/mkv").status_code == 403
    assert desk.ask("Otto", "visits/1").json()["positions"] == []
    assert len(desk.ask("Rita", "visits/1").json()["positions"]) == 1
    assert len(desk.ask(WEARER, "visits/1").json()["positions"]) == 1


def test_who_played_a_clip_or_looked_at_positions_is_in_the_audit_log(desk: Desk) -> None:
    desk.ask("Rita", "visits/1")
    desk.ask("Eve", f"clips/{desk.site.device}-6/media/mkv")
    with reading(desk.site.engine) as connection:
        lines = connection.execute(sa.select(audit.c.who, audit.c.what, audit.c.about).order_by(audit.c.id)).all()
    assert [tuple(line) for line in lines[-2:]] == [
        ("Rita", "see positions", "1"),
        ("Eve", "media", f"{desk.site.device}-6 mkv"),
    ]
