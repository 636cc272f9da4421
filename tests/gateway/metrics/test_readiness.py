"""Health and readiness tell the truth: about real processes that are killed, and about rows that grow old."""

from __future__ import annotations

import signal
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from lapel_gateway.channels.health import HealthBook
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import role_progress
from lapel_gateway.metrics import readiness
from lapel_gateway.metrics.readiness import Readiness, look
from lapel_gateway.metrics.watched import Watched
from lapel_gateway.progress import BEAT_S, FRESH_MS, ProgressBook, Pulse, read_progress
from lapel_gateway.settings.config import ROLES
from tests.gateway.ledgers import new_ledger
from tests.gateway.metrics.installation import Installation, installation
from tests.waiting import wait_until

START_S = 180.0
KNOWN_S = 30.0
"""Until a machine that is busy with other tests has answered; how soon it is known follows from the bounds below."""

NOW_MS = 1_760_000_000_000
CHANNELS = {"webhook:desk": "", "webhook:spare": ""}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        probes = (one, two, three)
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        ports = [probe.getsockname()[1] for probe in probes]
    with installation(tmp_path_factory.mktemp("site"), ports) as running:
        yield running


@pytest.fixture
def well(site: Installation) -> Installation:
    """The gateway, ready."""
    site.wait_until_ready(START_S)
    return site


together = [pytest.mark.needs("mosquitto"), pytest.mark.xdist_group("readiness")]


class TestRealProcesses:
    pytestmark = together

    @pytest.mark.parametrize("role", ["alarms", "ingest", "deliver"])
    def test_a_role_that_is_killed_is_named(self, well: Installation, role: str) -> None:
        well.send(role, signal.SIGKILL)
        wait_until(lambda: well.unwell() == {role}, KNOWN_S)
        assert f'lapel_role_up{{role="{role}"}} 0.0' in well.client.get("/metrics").text
        assert well.client.get("/healthz").status_code == 200
        well.start(role)
        well.wait_until_ready(START_S)

    def test_a_role_that_hangs_is_named(self, well: Installation) -> None:
        well.send("alarms", signal.SIGSTOP)
        try:
            wait_until(lambda: well.unwell() == {"alarms"}, KNOWN_S)
        finally:
            well.send("alarms", signal.SIGCONT)
        well.wait_until_ready(START_S)

    def test_a_role_that_is_ended_in_order_does_not_run(self, well: Installation) -> None:
        well.send("deliver", signal.SIGTERM)
        assert well.roles["deliver"].wait(START_S) == 0
        wait_until(lambda: well.unwell() == {"deliver"}, KNOWN_S)
        assert "deliver: it does not run" in well.readiness()[1]["detail"]
        well.start("deliver")
        well.wait_until_ready(START_S)

    def test_a_broker_that_is_killed_is_named(self, well: Installation) -> None:
        well.broker.kill()
        wait_until(lambda: well.unwell() == {"broker"}, KNOWN_S)
        # The other roles may have said so first.
        away = 'lapel_role_broker_connected{role="alarms"} 0.0'
        wait_until(lambda: away in well.client.get("/metrics").text, KNOWN_S)
        well.broker.start()
        well.wait_until_ready(START_S)

    def test_a_ledger_that_takes_nothing_is_named(self, well: Installation) -> None:
        keeper = sqlite3.connect(well.config.ledger_file, isolation_level=None)
        try:
            keeper.execute("BEGIN IMMEDIATE")
            wait_until(lambda: "ledger" in well.unwell(), KNOWN_S)
        finally:
            keeper.close()
        well.wait_until_ready(START_S)

    def test_what_is_said_to_anybody_names_no_channel_no_folder_and_nobody(self, well: Installation) -> None:
        status, body = well.readiness()
        assert status == 200
        assert set(body["checks"]) == {"ledger", *readiness.NEEDED, "broker", "disk", "vault", "channels"} - (
            set() if well.config.vault_dir.is_dir() else {"vault"}
        )
        assert "desk" not in str(body)
        assert str(well.folder) not in str(body)


# --- what counts, without processes ---


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    with new_ledger(tmp_path) as engine:
        yield engine


def rows(engine: sa.Engine, now_ms: int, connected: bool = True) -> None:
    """Every role has come round now."""
    with writing(engine) as connection:
        connection.execute(sa.delete(role_progress))
        for role in ROLES:
            has = connected if role in ("alarms", "ingest") else None
            values = {"role": role, "started_ms": now_ms, "turned_ms": now_ms, "connected": has, "backlog_bytes": 0}
            connection.execute(sa.insert(role_progress).values(values))


def looked(engine: sa.Engine, watched: Watched, now_ms: int = NOW_MS) -> Readiness:
    with reading(engine) as connection:
        return look(connection, watched, now_ms)


def faults(found: Readiness) -> dict[str, str]:
    return {check.name: check.detail for check in found.checks if not check.well}


def test_a_gateway_that_could_tell_nobody_is_not_ready(engine: sa.Engine, tmp_path: Path) -> None:
    rows(engine, NOW_MS)
    assert "nobody would be told" in faults(looked(engine, Watched(tmp_path)))["channels"]
    book = HealthBook(engine, CHANNELS, lambda: NOW_MS)
    book.report("webhook:desk", "no answer")
    book.write()
    assert looked(engine, Watched(tmp_path, channels=CHANNELS)).ready
    book.report("webhook:spare", "no answer")
    book.write()
    assert faults(looked(engine, Watched(tmp_path, channels=CHANNELS))) == {
        "channels": "none works: nobody would be told of an alarm"
    }


def test_clips_that_wait_for_room_are_told_of_and_alarms_are_taken(engine: sa.Engine, tmp_path: Path) -> None:
    rows(engine, NOW_MS)
    found = looked(engine, Watched(tmp_path, tmp_path, reserve_bytes=1 << 60, channels=CHANNELS))
    assert found.ready
    assert faults(found) == {"vault": "clips wait for room; alarms are taken"}


def test_a_full_disk_of_the_ledger_is_named(engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows(engine, NOW_MS)
    monkeypatch.setattr(readiness, "LEAST_FREE_BYTES", 1 << 60)
    found = looked(engine, Watched(tmp_path, channels=CHANNELS))
    assert not found.ready
    assert set(faults(found)) == {"disk"}


def test_that_a_role_has_died_is_known_within_five_seconds(engine: sa.Engine, tmp_path: Path) -> None:
    rows(engine, NOW_MS)
    watched = Watched(tmp_path, channels=CHANNELS)
    assert looked(engine, watched, NOW_MS + round(2 * BEAT_S * 1000)).ready
    assert not looked(engine, watched, NOW_MS + 5_000 - round(BEAT_S * 1000)).ready


def test_a_clock_that_is_set_back_keeps_no_dead_role_alive(engine: sa.Engine, tmp_path: Path) -> None:
    rows(engine, NOW_MS)
    watched = Watched(tmp_path, channels=CHANNELS)
    assert looked(engine, watched, NOW_MS + FRESH_MS).ready
    assert not looked(engine, watched, NOW_MS + FRESH_MS + 1).ready
    assert not looked(engine, watched, NOW_MS - 3_600_000).ready


class Turning:
    """A role that comes round when it is asked."""

    def pulse(self) -> Pulse:
        return Pulse(NOW_MS, NOW_MS - 250)


def test_a_role_that_ends_in_order_takes_its_row_with_it(engine: sa.Engine) -> None:
    def known() -> dict[str, int | None]:
        with reading(engine) as connection:
            return {name: one.waiting_ms for name, one in read_progress(connection).items()}

    book = ProgressBook(engine, lambda: NOW_MS)
    book.add("ingest", Turning(), [])
    book.start()
    wait_until(lambda: known() == {"ingest": NOW_MS - 250}, KNOWN_S)
    book.stop()
    assert known() == {}
