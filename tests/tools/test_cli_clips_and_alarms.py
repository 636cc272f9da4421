"""lapel clip, lapel verify and lapel alarm, over a gateway that holds a clip and an alarm."""

from __future__ import annotations

import random
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization

from lapel_gateway.accounts.audit import read_lines
from lapel_gateway.alarms.escalations import begin
from lapel_gateway.ledger import fresh_ledger, open_ledger, reading, writing
from lapel_gateway.ledger.schema import alarm as alarms
from lapel_gateway.viewing.approvals import approve_export, ask_export
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.server import WebRole
from tests.gateway.footage import ordinary_clip
from tests.gateway.sealed import NOW_MS, SealedClip, Site
from tests.tools.command import Lapel

SEED = 11


@pytest.fixture
def engine(bare: Lapel, organisation_key: Path) -> Iterator[sa.Engine]:
    """The ledger of a gateway whose master key is the one that `Site` seals device keys under."""
    keys = bare.folder / "data" / "keys"
    keys.mkdir(parents=True)
    (keys / "master.key").write_text(random.Random(SEED).randbytes(32).hex())
    (keys / "master.key").chmod(0o600)
    assert bare("gateway", "init", "--public-key", organisation_key / "public.pem").status == 0
    fresh_ledger(bare.folder / "data" / "ledger.sqlite")
    engine = open_ledger(bare.folder / "data" / "ledger.sqlite")
    yield engine
    engine.dispose()


@pytest.fixture
def site(bare: Lapel, engine: sa.Engine) -> Site:
    return Site(bare.folder / "data", engine, SEED)


@pytest.fixture
def clip(site: Site) -> SealedClip:
    sealed = site.seal(ordinary_clip().matroska())
    site.hold(sealed)
    return sealed


@pytest.fixture
def with_private_key(bare: Lapel, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The organisation's private key is at hand."""
    path = bare.folder / "private.pem"
    private = site.organisation._private
    assert private is not None
    path.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)
    monkeypatch.setenv("LAPEL_KEYS__ORGANISATION_PRIVATE_KEY_FILE", str(path))


def test_a_clip_is_listed_and_shown(bare: Lapel, clip: SealedClip) -> None:
    [listed] = bare("clip", "list", "--json").json
    assert (listed["id"], listed["segments"]["authentic"]) == (clip.name, len(clip.segments))
    shown = bare("clip", "show", clip.device[:5])
    assert shown.status == 0
    assert f"id: {clip.name}" in shown.out
    assert "outcome: confirmed" in shown.out
    assert bare("clip", "list", "--device", "camera 7", "--json").json == [listed]


@pytest.mark.parametrize("name", ["nothing", "0000000000000000-5", "0000000000000000-x", "%", ""])
def test_a_clip_that_is_not_there_is_status_3(bare: Lapel, clip: SealedClip, name: str) -> None:
    assert bare("clip", "show", name).status == (0 if name == "" else 3)


def test_a_name_that_fits_two_clips_is_refused(bare: Lapel, site: Site, clip: SealedClip) -> None:
    site.hold(site.seal(clip.plain, 6, clip))
    assert "names several clips" in bare("clip", "show", clip.device).err
    assert bare("clip", "show", f"{clip.device[:6]}-6", "--json").json["clip"] == 6


def test_it_is_entered_to_whom_a_clip_was_passed_on(bare: Lapel, clip: SealedClip) -> None:
    assert "passed on to nobody" in bare("clip", "passed", clip.name).out
    refused = bare("clip", "passed", clip.name, "--recipient", "DC Hale")
    assert (refused.status, "say what the recipient is" in refused.err) == (2, True)
    whom = ("--to", "police", "--recipient", "DC Hale", "--reference", "CR-17", "--by", "Vic")
    told = bare("clip", "passed", clip.name, *whom, "--on", "2026-05-31", "--json").json
    assert [(one["recipient"], one["entered"]["by"], one["passed"]["utc"][:7]) for one in told] == [
        ("DC Hale", "Vic", "2026-05")
    ]
    assert "neither a date" in bare("clip", "passed", clip.name, *whom, "--on", "yesterday").err
    assert "CR-17" in bare("clip", "passed", clip.name).out


@pytest.mark.usefixtures("with_private_key")
def test_an_export_with_its_key_is_verified_against_the_head_in_the_ledger(bare: Lapel, clip: SealedClip) -> None:
    exported = bare("clip", "export", clip.name, "--out", "evidence", "--with-key", "--json")
    assert exported.status == 0
    assert {"original.lapel", "stream.tink", "tink-keyset.json", "clip.mkv"} <= set(exported.json["files"])
    assert (bare.folder / "evidence" / "clip.mkv").read_bytes() == clip.plain
    checked = bare("verify", "evidence", "--head", clip.heads[-1].hex(), "--json")
    assert (checked.status, checked.json["ok"]) == (0, True)
    assert all(check["ok"] for check in checked.json["checks"])


def test_without_the_private_key_a_clip_is_exported_sealed_and_still_verified(bare: Lapel, clip: SealedClip) -> None:
    exported = bare("clip", "export", clip.name, "--out", "evidence")
    assert (exported.status, "verified, sealed" in exported.out) == (0, True)
    checked = bare("verify", "evidence")
    assert checked.status == 0
    assert checked.out.endswith("verified\n")


def test_where_an_export_needs_two_people_it_is_refused_until_the_second_agreed(
    bare: Lapel, site: Site, clip: SealedClip
) -> None:
    settings = bare.config.read_text()
    assert "\ntwo_person_export = false\n" in settings
    bare.config.write_text(settings.replace("\ntwo_person_export = false\n", "\ntwo_person_export = true\n"))
    export = ("clip", "export", clip.name, "--out", "evidence")
    here, now = (clip.device, clip.clip), time.time_ns() // 1_000_000
    refused = bare(*export)
    assert (refused.status, "--request" in refused.err) == (2, True)
    number = ask_export(site.engine, here, "hearing", "", "Eve", now, two_needed=True)["number"]
    waiting = bare(*export, "--request", number)
    assert (waiting.status, "nobody has agreed" in waiting.err) == (2, True)
    assert not (bare.folder / "evidence").exists()
    approve_export(site.engine, here, number, "Emil", now)

    assert bare(*export, "--request", number).status == 0

    with reading(site.engine) as connection:
        lines = read_lines(connection, 10)
    assert [(line.how, line.what, line.about, line.detail) for line in lines] == [
        ("command", "export clip", clip.name, f"request {number}")
    ]


def test_a_key_that_is_not_there_cannot_be_exported(bare: Lapel, clip: SealedClip) -> None:
    refused = bare("clip", "export", clip.name, "--out", "evidence", "--with-key")
    assert refused.status == 1
    assert not (bare.folder / "evidence").exists()


def test_a_tampered_export_is_status_1(bare: Lapel, clip: SealedClip) -> None:
    bare("clip", "export", clip.name, "--out", "evidence")
    path = bare.folder / "evidence" / "original.lapel"
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    checked = bare("verify", "evidence")
    assert checked.status == 1
    assert "FAIL  files: original.lapel was altered" in checked.out
    assert checked.out.endswith("NOT verified\n")


def packed(bare: Lapel, name: str = "fetched.zip", way: int = zipfile.ZIP_STORED, top: str = "a-clip/") -> Path:
    """The exported folder as one file, as a clip's page hands it out."""
    path = bare.folder / name
    with zipfile.ZipFile(path, "w", way) as file:
        for part in sorted((bare.folder / "evidence").iterdir()):
            file.write(part, f"{top}{part.name}")
    return path


def test_an_export_in_one_file_is_verified_as_its_folder_is(bare: Lapel, clip: SealedClip) -> None:
    bare("clip", "export", clip.name, "--out", "evidence")
    path = packed(bare)
    checked = bare("verify", path, "--head", clip.heads[-1].hex())
    assert (checked.status, checked.out.endswith("\nverified\n")) == (0, True)
    assert {one.name for one in bare.folder.iterdir()} >= {"evidence", "fetched.zip"}

    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    altered = bare("verify", path)
    assert (altered.status, "not a whole ZIP file" in altered.err, altered.out) == (3, True, "")
    path.write_bytes(content[:-40])
    assert bare("verify", path).status == 3


def test_a_zip_file_that_is_no_export_is_refused_and_unpacked_nowhere(bare: Lapel, clip: SealedClip) -> None:
    bare("clip", "export", clip.name, "--out", "evidence")
    before = {one.name for one in bare.folder.parent.iterdir()}
    for way, top in ((zipfile.ZIP_DEFLATED, "a/"), *((zipfile.ZIP_STORED, top) for top in ("../", "a/b/", ""))):
        refused = bare("verify", packed(bare, "bad.zip", way, top))
        assert (refused.status, "is not an export" in refused.err) == (3, True), (way, top)
    assert {one.name for one in bare.folder.parent.iterdir()} == before


def test_a_folder_that_is_no_export_is_status_3(bare: Lapel) -> None:
    assert bare("verify", bare.folder).status == 3


@pytest.fixture
def alarm(site: Site, engine: sa.Engine) -> str:
    """An alarm as the alarms role enters it."""
    name = f"{site.device}-4-2"
    with writing(engine) as connection:
        connection.execute(
            sa.insert(alarms).values(
                id=name,
                device=site.device,
                boot=4,
                counter=2,
                kind=1,
                about="",
                detail="",
                test=False,
                team="housing",
                state="notifying",
                person="Zoë Quinn",
                device_state="active",
                raised_wall_ms=NOW_MS,
                raised_mono_ms=60_000,
                trust=3,
                battery_percent=80,
                received_ms=NOW_MS + 200,
                untold=False,
            )
        )
        begin(connection, name, NOW_MS + 200)
    return name


@pytest.fixture
def api(bare: Lapel, engine: sa.Engine, free_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The gateway's API on the port that the configuration says, and Ann's token in the environment."""
    monkeypatch.setenv("LAPEL_WEB__PORT", str(free_port))
    role = WebRole(engine, Views(bare.folder / "data" / "views"), "127.0.0.1", free_port)
    role.start()
    monkeypatch.setenv("LAPEL_TOKEN", bare.token("Ann Boyle"))
    yield
    assert role.stop()


@pytest.mark.usefixtures("api")
def test_an_alarm_is_acknowledged_and_resolved_in_the_users_name(bare: Lapel, engine: sa.Engine, alarm: str) -> None:
    assert bare("alarm", "list", "--json").json[0]["state"] == "notifying"
    acknowledged = bare("alarm", "ack", alarm)
    assert acknowledged.status == 0, acknowledged.err
    assert "(panic, Zoë Quinn): acknowledged by Ann Boyle" in acknowledged.out
    resolved = bare("alarm", "resolve", alarm[:8], "--reason", "test", "--note", "a drill", "--json")
    assert (resolved.status, resolved.json["resolution"], resolved.json["note"]) == (0, "test", "a drill")
    with reading(engine) as connection:
        row = connection.execute(sa.select(alarms)).one()
    assert (row.acknowledged_by, row.resolved_by, row.untold) == ("Ann Boyle", "Ann Boyle", True)
    assert bare("alarm", "list", "--json").json == []
    shown = bare("alarm", "show", alarm)
    assert "resolution: test" in shown.out
    assert "Ann Boyle" in shown.out


@pytest.mark.usefixtures("api")
def test_whoever_is_second_is_told_who_was_first_with_status_1(
    bare: Lapel, alarm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare("alarm", "ack", alarm)
    monkeypatch.setenv("LAPEL_TOKEN", bare.token("Bo Chen"))
    second = bare("alarm", "ack", alarm)
    assert second.status == 1
    assert "Ann Boyle acknowledged this alarm at" in second.err


@pytest.mark.usefixtures("api")
def test_an_alarm_is_printed_as_a_cap_message_with_those_before_it(bare: Lapel, alarm: str) -> None:
    to = ("--address", "control-room", "--sender", "lapel.example.org")
    first = bare("alarm", "cap", alarm, *to)
    assert first.status == 0, first.err
    assert "<msgType>Alert</msgType>" in first.out
    assert "<addresses>control-room</addresses>" in first.out
    assert bare("alarm", "cap", alarm, *to, "--step", "acknowledged").status == 3
    bare("alarm", "ack", alarm)
    update = bare("alarm", "cap", alarm, *to).out
    assert f"<references>lapel.example.org,{alarm}-raised," in update
    assert bare("alarm", "cap", alarm, *to, "--step", "raised").out == first.out
    assert "no spaces" in bare("alarm", "cap", alarm, "--address", "x", "--sender", "a b").err
    assert bare("alarm", "cap", alarm).status == 2


@pytest.mark.usefixtures("api")
def test_an_unknown_alarm_is_status_3(bare: Lapel, alarm: str) -> None:
    assert bare("alarm", "ack", alarm[:-1] + "9").status == 3
    assert "fits no alarm" in bare("alarm", "ack", "ffff").err


@pytest.mark.usefixtures("api")
def test_a_bad_token_is_refused_and_never_repeated(bare: Lapel, alarm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAPEL_TOKEN", "lapel_of_somebody_else")
    refused = bare("alarm", "ack", alarm)
    assert refused.status == 2
    assert "somebody_else" not in refused.err + refused.out


@pytest.mark.usefixtures("api")
def test_a_token_file_must_be_private(bare: Lapel, alarm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bare.folder / "token"
    path.write_text(bare.token("Ann Boyle", 2))
    path.chmod(0o644)
    monkeypatch.delenv("LAPEL_TOKEN")
    assert "chmod 600" in bare("alarm", "ack", alarm, "--token-file", path).err
    path.chmod(0o600)
    assert bare("alarm", "ack", alarm, "--token-file", path).status == 0


def test_an_answer_needs_a_token(bare: Lapel, alarm: str) -> None:
    refused = bare("alarm", "ack", alarm)
    assert (refused.status, "LAPEL_TOKEN" in refused.err) == (2, True)


def test_a_gateway_that_does_not_run_is_status_4(
    bare: Lapel, alarm: str, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAPEL_TOKEN", "lapel_x")
    refused = bare("alarm", "ack", alarm, "--url", f"http://127.0.0.1:{free_port}")
    assert refused.status == 4
    assert "does `lapel gateway run` run there?" in refused.err


def test_without_a_token_the_alarms_are_read_from_the_ledger(bare: Lapel, alarm: str) -> None:
    assert [one["id"] for one in bare("alarm", "list", "--json").json] == [alarm]


@pytest.mark.parametrize("url", ["ftp://example.org", "example.org", "http://"])
def test_an_address_that_is_none_is_refused(bare: Lapel, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAPEL_TOKEN", "lapel_x")
    assert bare("alarm", "list", "--url", url).status == 2
