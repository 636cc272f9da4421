"""Assembly: from sealed segments to files that play, through kills, cuts, missing keys and damage."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import sqlalchemy as sa

from lapel_gateway import steps
from lapel_gateway.channels.directory import DirectoryChannel
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import OUTBOX_ASSEMBLE, OUTBOX_FORWARD, OUTBOX_NOTICE
from lapel_gateway.ledger.schema import clip as clips
from lapel_gateway.outbox import Outbox, RetryPolicy
from lapel_gateway.viewing.assembly import (
    MATROSKA,
    MP4,
    VTT,
    Assembler,
    AssemblyError,
    ClipFiles,
    Copies,
    make_copies,
    mark_delivered,
)
from lapel_gateway.viewing.unseal import KeyRing
from tests.gateway.footage import FRAMES_MS, ordinary_clip
from tests.gateway.ledgers import new_ledger, rows
from tests.gateway.sealed import NOW_MS, SealedClip, Site, organisation, public_half

LATER_MS = NOW_MS + 60_000


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with new_ledger(tmp_path) as engine:
        yield Site(tmp_path, engine)


def assembler(site: Site, keys: KeyRing | None = None, copies: Callable[[Path], Copies] = make_copies) -> Assembler:
    return Assembler(site.engine, site.vault, site.views, keys or site.keys(), copies)


def clip_row(site: Site, sealed: SealedClip) -> sa.RowMapping:
    with reading(site.engine) as connection:
        query = sa.select(clips).where(clips.c.device == sealed.device, clips.c.clip == sealed.clip)
        return connection.execute(query).mappings().one()


def assembly_of(site: Site, sealed: SealedClip) -> dict[str, Any]:
    words: dict[str, Any] = json.loads(clip_row(site, sealed)["assembly"])
    return words


def view(site: Site, sealed: SealedClip, name: str) -> Path:
    return site.views.path(sealed.device, sealed.clip, name)


class Killed(Exception):
    """What a kill looks like."""


def kill_at(point: str) -> Callable[[str], None]:
    def hook(reached: str) -> None:
        if reached == point:
            raise Killed

    return hook


def test_a_held_clip_becomes_the_matroska_that_the_device_made_and_copies_that_play(site: Site) -> None:
    sealed = site.seal(ordinary_clip().matroska())
    site.hold(sealed)

    assert assembler(site).assemble(sealed.device, sealed.clip, LATER_MS)

    assert view(site, sealed, MATROSKA).read_bytes() == sealed.plain
    assert view(site, sealed, VTT).read_text().startswith("WEBVTT\n")
    with av.open(str(view(site, sealed, MP4))) as container:
        times = [
            1000 * frame.pts * (frame.time_base or 0) for frame in container.decode(video=0) if frame.pts is not None
        ]
    assert times == list(FRAMES_MS)
    row = clip_row(site, sealed)
    assert (row["state"], row["assembled_ms"]) == ("assembled", LATER_MS)
    words = assembly_of(site, sealed)
    assert (words["form"], words["segments"], words["cut"], words["stream_ended"]) == (
        "opened",
        len(sealed.segments),
        False,
        True,
    )
    assert words["content"]["frames"] == words["content"]["frames_shown"] == len(FRAMES_MS)


def test_the_sealed_original_stays_as_it_was(site: Site) -> None:
    sealed = site.seal(ordinary_clip().matroska())
    site.hold(sealed)

    assembler(site).assemble(sealed.device, sealed.clip, LATER_MS)

    assert site.vault.path(sealed.device, sealed.clip).read_bytes() == sealed.file()


def test_forwarding_and_the_word_that_it_is_ready_are_queued_with_the_new_state(site: Site) -> None:
    sealed = site.seal(ordinary_clip().matroska())
    site.hold(sealed)

    assembler(site).assemble(sealed.device, sealed.clip, LATER_MS)

    queued = {row["kind"]: json.loads(row["payload"]) for row in rows(site.engine) if row["kind"] != OUTBOX_ASSEMBLE}
    assert set(queued) == {OUTBOX_FORWARD, OUTBOX_NOTICE}
    assert set(queued[OUTBOX_FORWARD]["files"]) == {MATROSKA, MP4, VTT}
    assert queued[OUTBOX_FORWARD]["sidecar"]["person"] == "Zoë Quinn"
    assert queued[OUTBOX_FORWARD]["sidecar"]["notice"]["outcome"] == "confirmed"
    assert queued[OUTBOX_FORWARD]["sidecar"]["started"]["trust"] == "gateway"
    assert (queued[OUTBOX_NOTICE]["notice"], queued[OUTBOX_NOTICE]["clip"]["id"]) == ("clip_ready", sealed.name)


def test_a_cut_clip_is_assembled_and_marked_with_how_many_segments_are_authentic(site: Site) -> None:
    sealed = site.seal(ordinary_clip().matroska())
    count = len(sealed.segments) // 2
    site.hold(sealed, count, cut=True)

    assembler(site).assemble(sealed.device, sealed.clip, LATER_MS)

    words = assembly_of(site, sealed)
    assert (words["cut"], words["segments"], words["stream_ended"]) == (True, count, False)
    assert words["content"]["torn"]
    plain = view(site, sealed, MATROSKA).read_bytes()
    assert plain == sealed.plain[: len(plain)]
    assert len(plain) == 4024 + 4064 * (count - 1)
    assert 0 < words["content"]["frames_shown"] < len(FRAMES_MS)


def test_a_clip_cut_before_its_first_segment_is_assembled_as_an_empty_one(site: Site) -> None:
    sealed = site.seal(ordinary_clip().matroska())
    site.hold(sealed, 0, cut=True)

    assembler(site).assemble(sealed.device, sealed.clip, LATER_MS)

    assert view(site, sealed, MATROSKA).read_bytes() == b""
    assert not view(site, sealed, MP4).exists()
    assert set(assembly_of(site, sealed)["files"]) == {MATROSKA, VTT}


def test_without_the_private_key_the_clip_is_verified_and_stays_sealed(site: Site) -> None:
    sealed = site.seal(ordinary_clip().matroska())
    site.hold(sealed)

    assembler(site, site.keys(public_half(site.organisation))).assemble(sealed.device, sealed.clip, LATER_MS)

    words = assembly_of(site, sealed)
    assert words["form"] == "verified, sealed"
    assert "kept elsewhere" in words["reason"]
    assert set(words["files"]) == {"original.lapel"}
    assert clip_row(site, sealed)["state"] == "assembled"
    assert not site.views.folder(sealed.device, sealed.clip).exists()


def test_a_clip_for_another_organisation_key_stays_sealed_and_says_so(site: Site) -> None:
    sealed = site.seal(b"plain")
    site.hold(sealed)

    assembler(site, site.keys(organisation(1))).assemble(sealed.device, sealed.clip, LATER_MS)

    assert "another organisation key" in assembly_of(site, sealed)["reason"]


def test_a_sealed_clip_is_forwarded_as_its_original(site: Site, tmp_path: Path) -> None:
    share = tmp_path / "share"
    share.mkdir()
    sealed = site.seal(b"plain")
    site.hold(sealed)
    keys = site.keys(public_half(site.organisation))

    everything(site, assembler(site, keys), share).run_due(LATER_MS)

    folder = share / sealed.device
    assert (folder / f"{sealed.name}.lapel").read_bytes() == sealed.file()
    sidecar = json.loads((folder / f"{sealed.name}.json").read_text())
    assert sidecar["assembly"]["form"] == "verified, sealed"
    assert clip_row(site, sealed)["state"] == "delivered"


def everything(site: Site, assembling: Assembler, share: Path) -> Outbox:
    """The whole way out: assembly, then the forward directory."""
    directory = DirectoryChannel(share, ClipFiles(site.vault, site.views))
    return Outbox(site.engine, [assembling, directory], RetryPolicy(), lambda: 0.0, {OUTBOX_FORWARD: mark_delivered})


@pytest.mark.parametrize(
    "point",
    [
        "assembly.opened",
        "assembly.copied",
        "assembly.published",
        "assembly.committed",
        "outbox.claimed",
        "outbox.delivered",
        "outbox.settled",
    ],
)
def test_a_kill_between_any_two_steps_is_repaired_by_a_restart(site: Site, tmp_path: Path, point: str) -> None:
    share = tmp_path / "share"
    share.mkdir()
    sealed = site.seal(ordinary_clip().matroska())
    site.hold(sealed)

    with steps.hooked(kill_at(point)), pytest.raises(Killed):
        everything(site, assembler(site), share).run_due(LATER_MS)
    restarted = everything(site, assembler(site), share)
    restarted.release()
    restarted.run_due(LATER_MS + 1)

    assert clip_row(site, sealed)["state"] == "delivered"
    assert view(site, sealed, MATROSKA).read_bytes() == sealed.plain
    assert (share / sealed.device / f"{sealed.name}.mkv").read_bytes() == sealed.plain
    assert [path.name for path in (site.views.root / sealed.device).iterdir()] == [f"{sealed.clip:08x}"]
    kinds = [row["kind"] for row in rows(site.engine)]
    assert kinds.count(OUTBOX_NOTICE) == 1
    assert kinds.count(OUTBOX_FORWARD) == 2  # for all destinations, and for the directory
    recorded = assembly_of(site, sealed)["files"]
    assert {path.name for path in site.views.folder(sealed.device, sealed.clip).iterdir()} == set(recorded)


def test_a_clip_is_assembled_once(site: Site) -> None:
    sealed = site.seal(b"plain")
    site.hold(sealed)

    assert assembler(site).assemble(sealed.device, sealed.clip, LATER_MS)
    assert not assembler(site).assemble(sealed.device, sealed.clip, LATER_MS + 5)

    assert clip_row(site, sealed)["assembled_ms"] == LATER_MS


def damage(site: Site, sealed: SealedClip, offset: int) -> None:
    path = site.vault.path(sealed.device, sealed.clip)
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "offset", [20, 588 + 10, 588 + 2000, 588 + 4084 + 4124 + 4000], ids=["header", "segment header", "first", "third"]
)
@pytest.mark.parametrize("private", [True, False], ids=["opened", "sealed"])
def test_a_vault_file_that_rotted_is_never_assembled(site: Site, offset: int, private: bool) -> None:
    sealed = site.seal(ordinary_clip().matroska())
    site.hold(sealed)
    damage(site, sealed, offset)
    keys = site.keys(None if private else public_half(site.organisation))

    with pytest.raises(AssemblyError, match="damaged"):
        assembler(site, keys).assemble(sealed.device, sealed.clip, LATER_MS)

    assert clip_row(site, sealed)["state"] == "held"
    assert not site.views.folder(sealed.device, sealed.clip).exists()


def test_a_segment_of_another_clip_in_the_vault_is_refused(site: Site) -> None:
    one, other = site.seal(b"one" * 5000, 5), site.seal(b"two" * 5000, 6)
    site.hold(one)
    path = site.vault.path(one.device, one.clip)
    path.write_bytes(one.header_record + one.segments[0] + other.segments[1] + b"".join(one.segments[2:]))

    with pytest.raises(AssemblyError, match="damaged"):
        assembler(site).assemble(one.device, one.clip, LATER_MS)


def test_a_shorter_but_authentic_file_than_the_ledger_claims_is_refused(site: Site) -> None:
    sealed = site.seal(b"plain" * 5000)
    site.hold(sealed)
    site.vault.path(sealed.device, sealed.clip).write_bytes(sealed.file(2, ended=False))

    with pytest.raises(AssemblyError, match="damaged"):
        assembler(site).assemble(sealed.device, sealed.clip, LATER_MS)


def test_a_whole_other_clip_in_its_place_is_refused(site: Site) -> None:
    one, other = site.seal(b"one", 5), site.seal(b"two", 6)
    site.hold(one)
    site.vault.path(one.device, one.clip).write_bytes(other.file())

    with pytest.raises(AssemblyError, match="damaged"):
        assembler(site).assemble(one.device, one.clip, LATER_MS)


def test_a_missing_vault_file_and_a_full_disk_are_told_and_tried_again(site: Site) -> None:
    sealed = site.seal(ordinary_clip().matroska())
    site.hold(sealed)
    path = site.vault.path(sealed.device, sealed.clip)
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(AssemblyError, match="No such file"):
        assembler(site).assemble(sealed.device, sealed.clip, LATER_MS)
    path.write_bytes(content)

    def full(folder: Path) -> Copies:
        raise OSError(28, "No space left on device", str(folder))

    with pytest.raises(AssemblyError, match="No space left"):
        assembler(site, copies=full).assemble(sealed.device, sealed.clip, LATER_MS)
    assert assembler(site).assemble(sealed.device, sealed.clip, LATER_MS)


def test_the_disks_reserve_is_left_to_the_ledger(site: Site) -> None:
    sealed = site.seal(b"plain" * 3000)
    site.hold(sealed)
    state = os.statvfs(site.vault.root)
    site.vault.reserve_bytes = 2 * state.f_bavail * state.f_frsize

    with pytest.raises(AssemblyError, match="free some"):
        assembler(site).assemble(sealed.device, sealed.clip, LATER_MS)

    assert clip_row(site, sealed)["state"] == "held"
    assert not site.views.folder(sealed.device, sealed.clip).exists()


def test_a_failed_assembly_waits_in_the_outbox_with_its_reason(site: Site) -> None:
    sealed = site.seal(b"plain")
    site.hold(sealed)
    damage(site, sealed, 30)
    outbox = Outbox(site.engine, [assembler(site)], RetryPolicy(), lambda: 0.0)

    outbox.run_due(LATER_MS)

    (row,) = rows(site.engine, "assembly")
    assert (row["state"], row["attempts"]) == ("waiting", 1)
    assert "damaged" in row["last_error"]
    assert "restore" in row["last_error"]


def test_no_key_appears_in_the_ledger_or_the_view_area(site: Site, tmp_path: Path) -> None:
    sealed = site.seal(b"plain")
    site.hold(sealed)
    keys = site.keys()
    assembler(site, keys).assemble(sealed.device, sealed.clip, LATER_MS)
    with site.vault.path(sealed.device, sealed.clip).open("rb") as file:
        shown = repr(keys.of_clip(sealed.device, sealed.clip, file.read(588)))
    site.engine.dispose()

    secrets = [sealed.ikm, site.epoch_keys(sealed.clip).clip_enc, sealed.header.mac_key]
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        for secret in secrets:
            assert secret not in content
            assert secret.hex().encode() not in content
    assert all(secret.hex() not in shown for secret in secrets)
