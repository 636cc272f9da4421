"""Exports made for whoever asked on a clip's page: the same as the command's, there whole or not at all, for a day."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lapel_gateway.durable import sha256_of
from lapel_gateway.viewing import packing as packing_module
from lapel_gateway.viewing.approvals import HOLDS_MS, ask_export, list_requests
from lapel_gateway.viewing.assembly import Assembler
from lapel_gateway.viewing.export import export_clip
from lapel_gateway.viewing.packing import RETRY_MS, ExportArea, Packer
from lapel_gateway.viewing.unseal import KeyRing
from lapel_tools.evidence import verify_export
from lapel_tools.export_archive import unpacked
from tests.gateway.footage import ordinary_clip
from tests.gateway.ledgers import new_ledger
from tests.gateway.sealed import NOW_MS, SealedClip, Site, public_half


class Packing:
    """A site whose exports are made turn by turn, at a time of its own."""

    def __init__(self, folder: Path, site: Site) -> None:
        self.site = site
        self.now_ms = NOW_MS
        self.area = ExportArea(site.views.root)
        self.packer = self.started()

    def started(self, *, two_needed: bool = False, keep_free_bytes: int = 0, keys: KeyRing | None = None) -> Packer:
        """A packer as the next start has it."""
        site = self.site
        return Packer(
            site.engine,
            site.vault,
            site.views,
            self.area,
            keys or site.keys(),
            lambda: self.now_ms,
            two_needed=two_needed,
            keep_free_bytes=keep_free_bytes,
        )

    def ask(self, sealed: SealedClip, *, two_needed: bool = False) -> int:
        key = (sealed.device, sealed.clip)
        asked = ask_export(self.site.engine, key, "hearing", "C-7", "Eve", self.now_ms, two_needed=two_needed)
        number: int = asked["number"]
        return number

    def shown(self, sealed: SealedClip) -> dict[str, Any]:
        return list_requests(self.site.engine, (sealed.device, sealed.clip), self.now_ms)[0]

    def left(self) -> set[str]:
        """What is in the folder."""
        return {path.name for path in self.area.root.iterdir()} if self.area.root.exists() else set()


@pytest.fixture
def packing(tmp_path: Path) -> Iterator[Packing]:
    with new_ledger(tmp_path) as engine:
        yield Packing(tmp_path, Site(tmp_path, engine))


@pytest.fixture
def sealed(packing: Packing) -> SealedClip:
    """A clip with sound and pictures that was assembled."""
    site = packing.site
    made = site.seal(ordinary_clip().matroska(), 5)
    site.hold(made)
    assert Assembler(site.engine, site.vault, site.views, site.keys()).assemble(made.device, made.clip, NOW_MS)
    return made


def test_what_is_made_is_what_the_command_makes_and_verifies_anywhere(
    packing: Packing, sealed: SealedClip, tmp_path: Path
) -> None:
    number = packing.ask(sealed)
    assert packing.packer.turn()
    assert not packing.packer.turn()

    made = packing.area.path(number)
    shown = packing.shown(sealed)
    assert (shown["file"]["bytes"], shown["file"]["sha256"]) == (made.stat().st_size, sha256_of(made))
    assert made.stat().st_mode & 0o777 == 0o600
    assert packing.left() == {f"{number}.zip"}
    site, key, out = packing.site, (sealed.device, sealed.clip), tmp_path / "out"
    export_clip(site.engine, site.vault, site.keys(), key, out, False, NOW_MS, site.views)
    with zipfile.ZipFile(made) as packed:
        assert {name.partition("/")[0] for name in packed.namelist()} == {sealed.name}
        found = {name.partition("/")[2]: packed.read(name) for name in packed.namelist()}
    assert found == {path.name: path.read_bytes() for path in out.iterdir()}
    assert "clip.mp4" in found
    assert not any("keyset" in name for name in found), "the clip's key is not among it"
    with unpacked(made) as folder:
        assert all(check.ok is not False for check in verify_export(folder, sealed.heads[-1].hex()))


def test_nothing_is_made_of_one_persons_wish_where_two_are_needed(packing: Packing, sealed: SealedClip) -> None:
    packing.ask(sealed, two_needed=True)
    packing.ask(sealed, two_needed=False)
    assert not packing.started(two_needed=True).turn()
    assert packing.left() == set()


def test_it_is_gone_when_its_day_is_over_and_what_it_was_stays_on_record(packing: Packing, sealed: SealedClip) -> None:
    packing.ask(sealed)
    packing.packer.turn()
    kept = packing.shown(sealed)["file"]

    packing.now_ms += HOLDS_MS
    assert not packing.packer.turn()

    assert packing.left() == set()
    assert packing.shown(sealed) | {"state": "over", "file": kept} == packing.shown(sealed)


def test_what_a_kill_left_half_made_is_made_anew(packing: Packing, sealed: SealedClip) -> None:
    number = packing.ask(sealed)
    (packing.area.root / f"{number}.folder").mkdir(parents=True)
    (packing.area.root / f"{number}.folder" / "clip.mkv").write_bytes(b"half")
    (packing.area.root / f".{number}.zip.part").write_bytes(b"half")
    (packing.area.root / "99.zip").write_bytes(b"of a ledger that was restored from a backup")

    assert packing.started().turn()

    assert packing.left() == {f"{number}.zip"}
    assert packing.shown(sealed)["file"]["sha256"] == sha256_of(packing.area.path(number))


def test_a_disk_that_it_would_fill_is_named_and_it_is_made_when_there_is_room(
    packing: Packing, sealed: SealedClip
) -> None:
    packing.ask(sealed)
    packer = packing.started(keep_free_bytes=1 << 60)
    assert packer.turn()
    assert "too little room" in packing.shown(sealed)["trouble"]
    assert not packer.turn(), "it waits a minute"
    assert packing.left() == set()

    packer._keep_free_bytes = 0
    packing.now_ms += RETRY_MS
    assert packer.turn()
    assert (packing.shown(sealed)["state"], packing.shown(sealed)["trouble"]) == ("approved", None)


def test_a_clip_that_cannot_be_exported_holds_up_no_other(packing: Packing, sealed: SealedClip) -> None:
    site = packing.site
    damaged = site.seal(b"plain" * 3000, 6, sealed)
    site.hold(damaged)
    path = site.vault.path(damaged.device, damaged.clip)
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)
    packing.ask(damaged)
    packing.ask(sealed)

    assert packing.packer.turn()
    assert packing.packer.turn()
    assert not packing.packer.turn()

    assert "damaged" in packing.shown(damaged)["trouble"]
    assert packing.shown(sealed)["file"] is not None


def test_a_fault_of_our_own_is_told_to_whoever_waits_and_holds_up_no_other(
    packing: Packing, sealed: SealedClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = packing.site
    other = site.seal(b"plain" * 3000, 6, sealed)
    site.hold(other)
    packing.ask(other)
    packing.ask(sealed)

    def fails(*arguments: Any) -> dict[str, Any]:
        if arguments[3] == (other.device, other.clip):
            raise RuntimeError("a fault")
        return export_clip(*arguments)

    monkeypatch.setattr(packing_module, "export_clip", fails)
    assert packing.packer.turn()
    assert packing.packer.turn()
    assert not packing.packer.turn()

    assert "the gateway's log says more" in packing.shown(other)["trouble"]
    assert packing.shown(sealed)["file"] is not None


def test_a_ledger_that_takes_no_word_of_it_does_not_have_it_made_again_and_again(
    packing: Packing, sealed: SealedClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = packing.ask(sealed)

    def full(*_: Any) -> None:
        raise sa.exc.OperationalError("COMMIT", None, Exception("database or disk is full"))

    with monkeypatch.context() as patched:
        patched.setattr(packing_module, "note_made", full)
        with pytest.raises(sa.exc.OperationalError):
            packing.packer.turn()
        assert not packing.packer.turn(), "it waits a minute"
    packing.now_ms += RETRY_MS
    assert packing.packer.turn()
    assert packing.shown(sealed)["file"]["sha256"] == sha256_of(packing.area.path(number))


def test_a_clip_that_cannot_be_opened_is_exported_sealed(packing: Packing) -> None:
    site = packing.site
    locked = site.seal(b"plain" * 3000, 5)
    site.hold(locked)
    packer = packing.started(keys=site.keys(public_half(site.organisation)))
    number = packing.ask(locked)
    assert packer.turn()
    with zipfile.ZipFile(packing.area.path(number)) as packed:
        assert f"{locked.name}/clip.mkv" not in packed.namelist()
        assert f"{locked.name}/original.lapel" in packed.namelist()
