"""Who is told what of the picture of now: what their permissions open, and of the rest not even that it is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from lapel_gateway.accounts.permissions import ROLES, Permission, RoleName
from lapel_gateway.alarms.core import acknowledge
from lapel_gateway.ledger import writing
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.overview import feed
from lapel_gateway.overview.reader import SECTIONS, Picture
from lapel_gateway.overview.views import WHOLE, View, merged, view_of
from tests.browser.scene import Scene
from tests.gateway.accounts.office import Office, opened
from tests.gateway.overview.onlookers import Stream, streaming
from tests.waiting import wait_until

P = Permission
GATEWAY = {"channels", "deliveries", "lanes", "storage", "roles", "broker"}
TOLD: dict[RoleName, set[str]] = {
    "responder": set(SECTIONS),
    "auditor": {"alarms", "visits", "clips", "devices", "more"} | GATEWAY,
    "evidence": {"alarms", "clips", "devices", "more"},
    "technician": {"devices"} | GATEWAY,
    "operator": {"devices"} | GATEWAY,
    "wearer": set(),
}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with opened(tmp_path) as office:
        yield office


@pytest.fixture
def scene(tmp_path: Path, office: Office) -> Scene:
    return Scene(tmp_path, office)


@pytest.fixture
def client(office: Office) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=office.url, trust_env=False, timeout=30) as client:
        yield client


def as_role(office: Office, role: RoleName) -> dict[str, str]:
    office.add(role, [role])
    return {"cookie": f"lapel-session={office.session(role)}"}


@pytest.mark.parametrize("role", TOLD)
def test_a_role_is_told_the_sections_that_its_permissions_open(
    office: Office, client: httpx.Client, role: RoleName
) -> None:
    answer = client.get("/api/v1/live", headers=as_role(office, role))

    assert view_of(ROLES[role]).sections == TOLD[role]
    if not TOLD[role]:
        assert answer.status_code == 403
        return
    assert set(answer.json()) - {"cursor", "time"} == TOLD[role]


def test_where_somebody_is_is_told_to_those_who_may_see_positions(
    office: Office, scene: Scene, client: httpx.Client
) -> None:
    zoe = scene.worker("Zoë Quinn")
    scene.visit(zoe)
    identifier = scene.alarm(zoe)
    scene.walk(zoe, identifier, 4)

    whole = client.get("/api/v1/live", headers=as_role(office, "responder")).json()["alarms"][identifier]
    audited = client.get("/api/v1/live", headers=as_role(office, "auditor")).json()["alarms"][identifier]
    evident = client.get("/api/v1/live", headers=as_role(office, "evidence")).json()["alarms"][identifier]

    assert (whole["where"]["position"]["accuracy_m"], len(whole["where"]["trail"])) == (18, 3)
    assert audited["where"] == {"place": "4 High Street, back entrance", "position": None, "trail": []}
    assert evident["where"] == {"place": None, "position": None, "trail": []}


def test_a_token_for_alarms_alone_is_told_no_telephone_number_and_no_clip(scene: Scene) -> None:
    zoe = scene.worker("Zoë Quinn")
    identifier = scene.alarm(zoe)
    reader = scene.reader()
    try:
        picture = reader.look(scene.now_ms)
    finally:
        reader.close()
    phone = "+44 20 7946 0018"
    assert phone in str(WHOLE.of_picture(picture))

    told = view_of({P.SEE_ALARMS}).of_picture(picture)

    assert set(told) == {"alarms", "more"}
    assert set(told["more"]) == {"alarms"}
    assert told["alarms"][identifier]["phone"] is None
    assert "call Zoë Quinn" in told["alarms"][identifier]["todo"]
    assert phone not in str(told)


def test_an_alarms_clip_that_ran_before_it_is_told_to_whoever_sees_the_clips_of_alarms(scene: Scene) -> None:
    zoe = scene.worker("Zoë Quinn")
    ran_already = scene.site.seal(b"x" * 9000, 9)
    scene.site.arrive(ran_already, 0, 1)
    with writing(scene.engine) as connection:
        connection.execute(sa.update(clips).values(device=zoe.device))
    identifier = scene.alarm(zoe, clip=9)
    reader = scene.reader()
    try:
        picture = reader.look(scene.now_ms)
    finally:
        reader.close()
    told = view_of({P.SEE_ALARMS, P.SEE_ALARM_CLIPS}).of_picture(picture)
    assert told["alarms"][identifier]["clip"]["id"] == f"{zoe.device}-9"
    assert view_of({P.SEE_ALARMS}).of_picture(picture)["alarms"][identifier]["clip"] is None


def test_who_sees_the_clips_of_alarms_alone_is_told_of_no_other_neither_coming_nor_going(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lapel_gateway.overview.reader.BUSY_S", 0.0)
    alarms_clip = scene.site.seal(b"x" * 9000, 5, alarm=(4, 2))
    other = scene.site.seal(b"x" * 9000, 6, alarms_clip)
    view = view_of({P.SEE_ALARM_CLIPS})
    reader = scene.reader()
    try:
        empty = reader.look(scene.now_ms)
        for sealed in (alarms_clip, other):
            scene.site.arrive(sealed, 0, 1)
        both = reader.look(scene.now_ms)
        with writing(scene.engine) as connection:
            connection.execute(sa.update(clips).values(state="assembled"))
        gone = reader.look(scene.now_ms)
    finally:
        reader.close()

    assert set(both.sections["clips"]) == {alarms_clip.name, other.name}
    assert set(view.of_picture(both)["clips"]) == {alarms_clip.name}
    assert set(view.of_changes(both.changes_since(empty), empty)["clips"]) == {alarms_clip.name}
    assert view.of_changes(gone.changes_since(both), both)["clips"] == {alarms_clip.name: None}


_ENTRIES = st.dictionaries(
    st.sampled_from(["1", "2", "3"]),
    st.fixed_dictionaries(
        {"link": st.sampled_from(["in contact", "silent"]), "battery": st.none() | st.integers(0, 2)}
    ),
)
_PICTURES = st.lists(
    st.fixed_dictionaries({"devices": _ENTRIES, "more": st.fixed_dictionaries({"clips": st.integers(0, 1)})}),
    min_size=2,
    max_size=6,
)


@given(_PICTURES, st.sampled_from([WHOLE, view_of({P.SEE_DEVICES}), view_of({P.SEE_CLIPS})]))
def test_whoever_takes_every_change_has_the_whole_and_was_told_nothing_twice(
    pictures: list[dict[str, Any]], view: View
) -> None:
    made = [Picture(0, sections) for sections in pictures]
    known: dict[str, dict[str, Any]] = json.loads(json.dumps(view.of_picture(made[0])))
    for before, after in pairwise(made):
        for name, changes in view.of_changes(after.changes_since(before), before).items():
            for key, fields in changes.items():
                was = known[name].pop(key, None)
                now = merged(was, fields)
                assert now != was
                if isinstance(was, dict) and isinstance(fields, dict):
                    assert all(was[field] != value for field, value in fields.items())
                if now is not None:
                    known[name][key] = now
        assert known == view.of_picture(after)


def test_of_a_device_that_is_heard_again_only_what_is_new_is_told(
    office: Office, scene: Scene, client: httpx.Client
) -> None:
    zoe = scene.worker("Zoë Quinn")
    with streaming(client, as_role(office, "responder")) as stream:
        whole = stream.until("snapshot").words["devices"]
        scene.contact(zoe, 12)
        changed = stream.until("change", "devices").words["changed"]["devices"]
    fields, device = changed[zoe.device], whole[zoe.device]
    assert 0 < len(fields) < len(device) / 2
    assert fields["battery_percent"] == 12 != device["battery_percent"]


def test_streams_tell_each_reader_its_view_and_nothing_where_that_did_not_change(
    office: Office, scene: Scene, client: httpx.Client
) -> None:
    zoe = scene.worker("Zoë Quinn")
    roles: tuple[RoleName, ...] = ("responder", "auditor", "technician")
    heads = {role: as_role(office, role) for role in roles}
    with (
        streaming(client, heads["responder"]) as responder,
        streaming(client, heads["auditor"]) as auditor,
        streaming(client, heads["technician"]) as technician,
    ):
        streams = [responder, auditor, technician]
        assert [sorted(_whole(one)) for one in streams] == [sorted(TOLD[role]) for role in heads]
        identifier = scene.alarm(zoe)
        for one in (responder, auditor):
            told = one.until("change", "alarms").words["changed"]["alarms"]
            # Its first step of calling follows, or comes with it.
            if told[identifier]["escalation"] is None:
                told = one.until("change", "alarms").words["changed"]["alarms"]
            assert list(told) == [identifier]
        scene.walk(zoe, identifier, 1)
        assert responder.until("change", "alarms").words["changed"]["alarms"][identifier]["where"]["position"]
        acknowledge(office.engine, identifier, "Sam Ortega", scene.now_ms)
        # The position before it was no news to the auditor: the next thing told is the acknowledgement.
        assert auditor.until("change", "alarms").words["changed"]["alarms"][identifier]["acknowledged"]
        scene.contact(zoe, 12)
        seen = technician.until("change", "devices").words["changed"]
        assert set(seen) & {"alarms", "visits", "clips", "more"} == set()


def test_the_cursor_of_one_view_is_no_place_in_another(office: Office, scene: Scene, client: httpx.Client) -> None:
    with streaming(client, as_role(office, "responder")) as responder:
        cursor = responder.until("snapshot").cursor
        with streaming(client, as_role(office, "technician"), cursor) as technician:
            assert [technician.next().kind, technician.next().kind] == ["reload", "snapshot"]


def test_what_all_views_keep_has_one_bound_and_a_view_that_nobody_has_is_forgotten(
    office: Office, scene: Scene, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HISTORY_BYTES", 4_000)
    monkeypatch.setattr(feed, "IDLE_S", 0.2)
    told = office.feed._told
    responder, auditor = as_role(office, "responder"), as_role(office, "auditor")
    with streaming(client, responder) as one:
        one.until("snapshot")
        with streaming(client, auditor) as two:
            two.until("snapshot")
            zoe = scene.worker("Zoë Quinn")
            for counter in range(2, 9):
                scene.alarm(zoe, counter)
                one.until("change", "alarms")
            assert len(told) == 2
            largest = max(len(item.wire) for each in told.values() for _, item in each.history)
            assert sum(each.history_bytes for each in told.values()) <= 4_000 + 2 * largest
        wait_until(lambda: len(told) == 1, 30)


def test_who_is_told_positions_is_in_the_audit_log_once_in_a_while(office: Office, client: httpx.Client) -> None:
    responder, technician = as_role(office, "responder"), as_role(office, "technician")
    for headers in (responder, technician, responder):
        assert client.get("/api/v1/live", headers=headers).status_code == 200

    assert [line for line in office.lines() if line[1] == "look on"] == [("responder", "look on", "allowed")]
    office.clock[0] += 3_600_001
    session = {"cookie": f"lapel-session={office.session('responder')}"}
    assert client.get("/api/v1/live", headers=session).status_code == 200
    assert len([line for line in office.lines() if line[1] == "look on"]) == 2


def _whole(stream: Stream) -> list[str]:
    return [name for name in stream.until("snapshot").words if name not in ("cursor", "time")]
