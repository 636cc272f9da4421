"""Exports: judged by the public tink package, and by our own verifier after every kind of tampering."""

from __future__ import annotations

import hashlib
import io
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tink
from tink import json_proto_keyset_format, secret_key_access, streaming_aead

from lapel_gateway.viewing.assembly import Assembler, make_copies
from lapel_gateway.viewing.export import ExportError, export_clip
from lapel_gateway.viewing.tink import KeysetError, keyset_json, read_keyset
from tests.gateway.footage import FRAMES_MS, ordinary_clip
from tests.gateway.ledgers import new_ledger
from tests.gateway.sealed import NOW_MS, SealedClip, Site, public_half

LATER_MS = NOW_MS + 60_000


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with new_ledger(tmp_path) as engine:
        yield Site(tmp_path, engine)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def export(site: Site, sealed: SealedClip, out: Path, with_key: bool = False, private: bool = True) -> dict[str, Any]:
    keys = site.keys(None if private else public_half(site.organisation))
    return export_clip(site.engine, site.vault, keys, (sealed.device, sealed.clip), out, with_key, LATER_MS, site.views)


def held(site: Site, plain: bytes | None = None, clip: int = 5) -> SealedClip:
    sealed = site.seal(ordinary_clip().matroska() if plain is None else plain, clip)
    site.hold(sealed)
    return sealed


def open_with_tink(out: Path) -> tuple[bytes, bool]:
    """(plaintext, whether the stream came to its end) as the public tink package gives them."""
    streaming_aead.register()
    keyset = (out / "tink-keyset.json").read_text()
    handle = json_proto_keyset_format.parse(keyset, secret_key_access.TOKEN)
    primitive = handle.primitive(streaming_aead.StreamingAead)
    stream = primitive.new_decrypting_stream(
        io.BytesIO((out / "stream.tink").read_bytes()), (out / "associated-data.bin").read_bytes()
    )
    plain = b""
    try:
        # Both sizes of a segment's plaintext are multiples of 8: no read straddles the end of a cut stream.
        while piece := stream.read(8):
            plain += piece
    except tink.TinkError:
        return plain, False
    return plain, True


def test_public_tink_decrypts_the_stream_to_exactly_the_matroska(site: Site, out: Path) -> None:
    sealed = held(site)

    export(site, sealed, out, with_key=True)

    plain, whole = open_with_tink(out)
    assert whole
    assert plain == (out / "clip.mkv").read_bytes() == sealed.plain


def test_public_tink_does_with_a_cut_stream_what_the_manifest_says(site: Site, out: Path) -> None:
    sealed = site.seal(ordinary_clip().matroska())
    site.hold(sealed, 7, cut=True)

    manifest = export(site, sealed, out, with_key=True)

    plain, whole = open_with_tink(out)
    assert not whole
    assert plain == (out / "clip.mkv").read_bytes()
    assert manifest["tink"]["note"].startswith("The stream was cut")
    assert "7 segments" in manifest["tink"]["note"]


def test_a_clip_cut_before_its_first_segment_exports_too(site: Site, out: Path) -> None:
    sealed = site.seal(b"plain")
    site.hold(sealed, 0, cut=True)

    manifest = export(site, sealed, out, with_key=True)

    assert open_with_tink(out) == (b"", False)
    assert "before its first segment" in manifest["tink"]["note"]


def test_an_export_has_every_file_with_its_hash(site: Site, out: Path) -> None:
    sealed = held(site)

    manifest = export(site, sealed, out, with_key=True)

    names = {path.name for path in out.iterdir()}
    assert names == {
        "original.lapel",
        "stream.tink",
        "associated-data.bin",
        "tink-keyset.json",
        "clip.mkv",
        "clip.mp4",
        "clip.vtt",
        "manifest.json",
    }
    assert json.loads((out / "manifest.json").read_text()) == manifest
    for name, facts in manifest["files"].items():
        content = (out / name).read_bytes()
        assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert (out / "original.lapel").read_bytes() == sealed.file()


def test_the_manifest_tells_who_when_what_was_said_and_what_is_there(site: Site, out: Path) -> None:
    before = held(site, b"before", 5)
    sealed = site.seal(ordinary_clip().matroska(), 9, before)
    site.hold(sealed)

    manifest = export(site, sealed, out)

    clip = manifest["clip"]
    assert (clip["device"], clip["clip"], clip["person"]) == (sealed.device, 9, "Zoë Quinn")
    assert clip["started"] == {"ms": NOW_MS, "utc": "2025-10-09T08:53:20.000Z", "trust": "gateway"}
    assert clip["notice"] == {
        "outcome": "confirmed",
        "prompted_ms_before_start": 4000,
        "confirmed_ms_before_start": 1500,
    }
    assert (clip["chain"]["previous_clip"], clip["chain"]["previous_head"]) == (5, before.heads[-1].hex())
    assert manifest["accounting"] == {
        "segments": len(sealed.segments),
        "settled": len(sealed.segments),
        "missing": 0,
        "head": sealed.heads[-1].hex(),
        "stream_ended": True,
        "end_record": True,
        "cut": False,
    }
    assert manifest["content"]["frames"] == len(FRAMES_MS)


def test_the_key_leaves_only_when_asked_for_and_only_for_its_owner(site: Site, out: Path, tmp_path: Path) -> None:
    sealed = held(site)

    export(site, sealed, out)
    export(site, sealed, tmp_path / "with", with_key=True)

    assert not (out / "tink-keyset.json").exists()
    for path in out.iterdir():
        assert sealed.ikm.hex().encode() not in path.read_bytes()
    mode = stat.S_IMODE((tmp_path / "with" / "tink-keyset.json").stat().st_mode)
    assert mode == 0o600


def test_keys_of_the_device_and_of_opening_never_leave(site: Site, out: Path) -> None:
    sealed = held(site)
    export(site, sealed, out, with_key=True)

    epoch = site.epoch_keys(sealed.clip)
    later = site.epoch_keys(sealed.clip + 1)
    for path in out.iterdir():
        content = path.read_bytes()
        for secret in (epoch.clip_enc, epoch.event_auth, epoch.command_auth, later.clip_auth):
            assert secret not in content
            assert secret.hex().encode() not in content


def test_without_the_private_key_the_sealed_clip_is_exported_and_says_why(site: Site, out: Path) -> None:
    sealed = held(site)

    manifest = export(site, sealed, out, private=False)

    assert {path.name for path in out.iterdir()} == {
        "original.lapel",
        "stream.tink",
        "associated-data.bin",
        "manifest.json",
    }
    assert manifest["form"] == "verified, sealed"
    assert "kept elsewhere" in manifest["sealed_because"]


def test_the_key_of_a_clip_that_cannot_be_opened_cannot_be_exported(site: Site, out: Path) -> None:
    sealed = held(site)

    with pytest.raises(ExportError, match="cannot be exported: the organisation's private key is kept elsewhere"):
        export(site, sealed, out, with_key=True, private=False)
    assert not out.exists()


def test_copies_made_at_assembly_are_taken_over_when_they_are_of_the_same_matroska(site: Site, out: Path) -> None:
    sealed = held(site)
    assembler = Assembler(site.engine, site.vault, site.views, site.keys(), make_copies)
    assembler.assemble(sealed.device, sealed.clip, LATER_MS)
    view = site.views.path(sealed.device, sealed.clip, "clip.mp4")
    made = view.read_bytes()

    export(site, sealed, out)
    assert (out / "clip.mp4").read_bytes() == made

    view.write_bytes(b"not what assembly made")
    export(site, sealed, out.with_name("again"))
    assert (out.with_name("again") / "clip.mp4").read_bytes() == made


def test_an_export_is_never_merged_into_a_folder_with_something_in_it(site: Site, out: Path) -> None:
    sealed = held(site, b"plain")
    out.mkdir()
    (out / "mine").write_text("")

    with pytest.raises(ExportError, match="not empty"):
        export(site, sealed, out)

    assert [path.name for path in out.iterdir()] == ["mine"]
    assert [path.name for path in out.parent.glob(".out*")] == []


def test_an_export_that_fails_leaves_nothing(site: Site, out: Path) -> None:
    sealed = held(site, b"plain" * 5000)
    path = site.vault.path(sealed.device, sealed.clip)
    content = bytearray(path.read_bytes())
    content[588 + 5000] ^= 1
    path.write_bytes(content)

    with pytest.raises(ExportError, match="damaged"):
        export(site, sealed, out)

    assert not out.exists()
    assert [path.name for path in out.parent.glob(".out*")] == []


def test_a_clip_that_is_not_there_is_said_to_be_missing(site: Site, out: Path) -> None:
    with pytest.raises(ExportError, match="there is no clip"):
        export_clip(site.engine, site.vault, site.keys(), (site.device, 99), out, False, LATER_MS)


# --- verify ---


def test_a_keyset_of_another_kind_is_refused() -> None:
    keyset = json.loads(keyset_json(bytes(32), 7))
    keyset["key"][0]["keyData"]["typeUrl"] = "type.googleapis.com/google.crypto.tink.AesGcmKey"

    with pytest.raises(KeysetError):
        read_keyset(json.dumps(keyset))
    with pytest.raises(KeysetError):
        read_keyset("{}")
    assert read_keyset(keyset_json(bytes(range(32)), 7)) == bytes(range(32))
