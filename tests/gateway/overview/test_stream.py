"""The picture of now over HTTP: one read for all, changes as they are committed, nothing old as if it were new."""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from lapel_gateway.accounts.users import disable_user
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.schema import alarm
from lapel_gateway.overview import feed
from lapel_gateway.overview.reader import Picture, Reader
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.api import live as live_api
from lapel_gateway.web.server import WebRole
from tests.gateway.ledgers import new_ledger
from tests.gateway.overview.onlookers import Stream, streaming
from tests.gateway.sealed import NOW_MS, Site
from tests.gateway.test_web import LATER_MS, Desk
from tests.support.accounts import BY, token_of
from tests.waiting import wait_until

TIMEOUT_S = 30.0
MEBIBYTE = 1 << 20


class Room(Desk):
    """A desk whose server the test can stop and overtake."""

    role: WebRole

    def stream(self, cursor: str = "") -> Any:
        return streaming(self.client, self.ann, cursor)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with new_ledger(tmp_path) as engine:
        site = Site(tmp_path, engine)
        tokens = [token_of(engine, name, NOW_MS) for name in ("Ann Archer", "Ben")]
        headers = [{"authorization": f"Bearer {token}"} for token in tokens]
        role = WebRole(engine, site.views, "127.0.0.1", 0, now_ms=lambda: LATER_MS)
        role.start()
        with httpx.Client(base_url=role.url, trust_env=False, timeout=TIMEOUT_S) as client:
            room = Room(site, client, headers[0], headers[1])
            room.role = role
            yield room
        assert role.stop()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Picture]:
    """Every picture that is made from now on."""
    made: list[Picture] = []
    look = Reader.look

    def counted(self: Reader, now_ms: int, at_once: bool = False) -> Picture:
        made.append(look(self, now_ms, at_once))
        return made[-1]

    monkeypatch.setattr(Reader, "look", counted)
    return made


def test_the_picture_shows_what_was_committed_before_it_was_asked_for(room: Room) -> None:
    assert room.get("/api/v1/live").json()["alarms"] == {}
    identifier = room.raise_alarm()

    for answer, state in (("acknowledge", "acknowledged"), ("resolve", None)):
        response = room.get("/api/v1/live")
        assert response.headers["cache-control"] == "no-store"
        assert identifier in response.json()["alarms"]
        room.client.post(f"/api/v1/alarms/{identifier}/{answer}", headers=room.ann, json={"reason": "test"})
        found = room.get("/api/v1/live").json()["alarms"]
        assert found.get(identifier, {}).get("state") == state


@pytest.mark.parametrize("path", ["/api/v1/live", "/api/v1/stream"])
def test_nobody_looks_on_without_a_token(room: Room, path: str) -> None:
    assert room.client.get(path).status_code == 401


def test_a_stream_begins_with_everything_and_goes_on_with_what_changes(room: Room) -> None:
    with room.stream() as stream:
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        whole = stream.until("snapshot")
        assert whole.words["alarms"] == {}
        assert list(whole.words["devices"]) == [room.site.device]

        identifier = room.raise_alarm()
        change = stream.until("change", "alarms")
        assert change.words["changed"]["alarms"][identifier]["state"] == "received"
        room.client.post(f"/api/v1/alarms/{identifier}/resolve", headers=room.ben, json={"reason": "false"})
        assert stream.until("change", "alarms").words["changed"]["alarms"] == {identifier: None}


def test_a_reader_that_comes_again_is_told_only_what_it_missed(room: Room) -> None:
    with room.stream() as stream:
        cursor = stream.until("snapshot").cursor
        identifier = room.raise_alarm()
        stream.until("change", "alarms")

    with room.stream(cursor) as stream:
        first = stream.next()
    assert first.kind == "change"
    assert list(first.words["changed"]["alarms"]) == [identifier]


@pytest.mark.parametrize("cursor", ["nonsense", "00000000-1", "-", "x" * 60, "00000000-99999999999999999999"])
def test_a_reader_whose_place_is_not_known_begins_anew(room: Room, cursor: str) -> None:
    with room.stream(cursor) as stream:
        assert [stream.next().kind, stream.next().kind] == ["reload", "snapshot"]


def test_a_cursor_that_no_stream_gave_is_refused_when_it_is_long(room: Room) -> None:
    assert room.client.get("/api/v1/stream", headers={**room.ann, "Last-Event-ID": "x" * 65}).status_code == 422


def test_a_beat_says_when_the_ledger_was_read(room: Room) -> None:
    with room.stream() as stream:
        beats = [stream.until("beat") for _ in range(2)]
    assert [beat.words["trouble"] for beat in beats] == [None, None]
    assert beats[1].words["read"]["ms"] == LATER_MS


def test_the_ledger_is_read_once_however_many_look_on(room: Room, reads: list[Picture]) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(room.stream()) for _ in range(20)]
        for stream in streams:
            stream.until("snapshot")
        before = len(reads)
        room.raise_alarm()
        told = {str(stream.until("change", "alarms").words) for stream in streams}
        assert len(told) == 1
        # One for the change and one for each beat meanwhile, not twenty.
        assert len(reads) - before < len(streams)


def test_nothing_is_read_while_nobody_looks_on(
    room: Room, reads: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "IDLE_S", 0.2)
    assert room.get("/api/v1/live").status_code == 200
    reader = room.role._feed._reader
    wait_until(lambda: reader._connection is None, TIMEOUT_S)
    count = len(reads)
    room.raise_alarm()
    assert len(reads) == count
    assert len(room.get("/api/v1/live").json()["alarms"]) == 1


def test_a_reader_that_is_too_slow_begins_anew_and_nothing_is_kept_for_it(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HISTORY", 2)
    with room.stream() as slow, room.stream() as quick:
        cursor = slow.until("snapshot").cursor
        quick.until("snapshot")
        for counter in range(2, 6):
            room.raise_alarm(counter)
            quick.until("change", "alarms")
    assert [len(told.history) <= 2 for told in room.role._feed._told.values()] == [True]
    with room.stream(cursor) as late:
        assert late.next().kind == "reload"
        assert len(late.until("snapshot").words["alarms"]) == 4


def test_a_ledger_that_cannot_be_read_is_said_and_no_old_picture_is_given(room: Room) -> None:
    path = Path(str(room.site.engine.url.database))
    with room.stream() as stream:
        stream.until("snapshot")
        damage(path, "alarm")
        while stream.until("beat").words["trouble"] is None:
            pass
        response = room.get("/api/v1/live")
        assert response.status_code == 503
        assert "cannot be read" in response.json()["detail"]

        damage(path, "alarm_away", "alarm")
        while stream.until("beat").words["trouble"] is not None:
            pass
    assert room.get("/api/v1/live").status_code == 200


def damage(ledger: Path, table: str, name: str = "alarm_away") -> None:
    """Take a table away, as a fault of the disk does, or bring it back."""
    connection = sqlite3.connect(ledger)
    connection.execute("PRAGMA legacy_alter_table=ON")
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute(f"ALTER TABLE {table} RENAME TO {name}")
    connection.commit()
    connection.close()


def test_a_stream_ends_so_that_its_reader_proves_again_who_it_is(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_api, "STREAM_S", 0.5)
    with room.stream() as stream:
        cursor = stream.until("snapshot").cursor
        disable_user(room.site.engine, "Ann Archer", BY, NOW_MS)
        stream.drain()
    assert room.client.get("/api/v1/stream", headers={**room.ann, "Last-Event-ID": cursor}).status_code == 401


def test_every_stream_ends_when_the_gateway_does(room: Room) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(room.stream()) for _ in range(5)]
        for stream in streams:
            stream.until("snapshot")
        reading = room.role._feed._thread
        assert reading is not None
        assert reading.is_alive()
        stopper = threading.Thread(target=room.role.stop)
        stopper.start()
        for stream in streams:
            stream.drain()
        stopper.join(TIMEOUT_S)
        assert not stopper.is_alive()
    wait_until(lambda: not reading.is_alive(), TIMEOUT_S)


def test_however_many_look_on_an_alarm_can_be_answered(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_api, "MAX_STREAMS", 3)
    identifier = room.raise_alarm()
    with ExitStack() as stack:
        streams = [stack.enter_context(room.stream()) for _ in range(3)]
        for stream in streams:
            stream.until("snapshot")
        refused = room.client.get("/api/v1/stream", headers=room.ben)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        answer = room.client.post(f"/api/v1/alarms/{identifier}/acknowledge", headers=room.ben)
        assert answer.status_code == 200
    wait_until(lambda: room.role._feed.readers == 0, TIMEOUT_S)
    with room.stream() as stream:
        stream.until("snapshot")


def test_a_reader_that_takes_nothing_is_cut_off(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_api, "SEND_S", 0.2)
    room.raise_alarm()
    with socket.socket() as deaf, room.stream() as quick:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", room.role.port))
        request = f"GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {room.ann['authorization']}\r\n\r\n"
        deaf.sendall(request.encode())
        quick.until("snapshot")
        wait_until(lambda: room.role._feed.readers == 2, TIMEOUT_S)
        # More than the kernel keeps for a connection, to be sent again with every change.
        for number in range(8):
            with writing(room.site.engine) as connection:
                connection.execute(sa.update(alarm).values(detail=str(number) * MEBIBYTE))
            quick.until("change", "alarms")
        wait_until(lambda: room.role._feed.readers == 1, TIMEOUT_S)


def test_two_hundred_pages_look_on_and_their_users_still_answer(room: Room) -> None:
    identifier = room.raise_alarm()
    with ExitStack() as stack:
        clients = [
            stack.enter_context(httpx.Client(base_url=room.role.url, trust_env=False, timeout=TIMEOUT_S))
            for _ in range(20)
        ]
        streams: list[Stream] = []
        for client in clients:
            streams += [stack.enter_context(streaming(client, room.ann)) for _ in range(10)]
        for stream in streams:
            stream.until("snapshot")
        assert room.role._feed.readers == 200
        assert room.client.post(f"/api/v1/alarms/{identifier}/acknowledge", headers=room.ben).status_code == 200
        for stream in streams:
            words = stream.until("change", "alarms").words
            assert words["changed"]["alarms"][identifier]["acknowledged"]["by"] == "Ben"


def test_views_are_not_needed_to_look_on(tmp_path: Path) -> None:
    with new_ledger(tmp_path) as engine:
        token = token_of(engine, "Ann Archer", NOW_MS)
        role = WebRole(engine, Views(tmp_path / "none"), "127.0.0.1", 0)
        role.start()
        with httpx.Client(base_url=role.url, trust_env=False, timeout=TIMEOUT_S) as client:
            found = client.get("/api/v1/live", headers={"authorization": f"Bearer {token}"}).json()
        assert role.stop()
    assert (found["alarms"], found["broker"]["broker"]["connected"]) == ({}, None)
