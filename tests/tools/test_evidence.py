"""lapel verify against every way an exported clip can be tampered with."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lapel_gateway.viewing.export import export_clip
from lapel_protocol.limits import CLIP_END_BYTES, CLIP_HEADER_BYTES
from lapel_protocol.stream import segment_offset
from lapel_tools.evidence import Check, NotAnExport, verify_export
from tests.gateway.footage import ordinary_clip
from tests.gateway.ledgers import new_ledger
from tests.gateway.sealed import NOW_MS, SealedClip, Site

Exports = tuple[Path, SealedClip, SealedClip]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """A folder with the exports "with-key", "without-key" and "other" (another clip, with its key)."""
    folder = tmp_path_factory.mktemp("exports")
    with new_ledger(folder) as engine:
        site = Site(folder, engine)
        plain = ordinary_clip().matroska()
        first = site.seal(plain, 5)
        other = site.seal(plain[: len(plain) // 2], 6, first)
        for sealed, names in ((first, ("with-key", "without-key")), (other, ("other",))):
            site.hold(sealed)
            for name in names:
                with_key = name != "without-key"
                clip = (sealed.device, sealed.clip)
                export_clip(engine, site.vault, site.keys(), clip, folder / name, with_key, NOW_MS)
    return folder, first, other


class Bundle:
    """A copy of an export to tamper with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def results(self, head: str | None = None) -> dict[str, bool | None]:
        return {check.name: check.ok for check in verify_export(self.folder, head)}

    def check(self, name: str) -> Check:
        return next(check for check in verify_export(self.folder) if check.name == name)

    def edit(self, name: str, change: Callable[[bytes], bytes], *, honest: bool = False) -> None:
        """Change a file; unless ``honest``, the manifest is changed to fit, as a careful forger would."""
        path = self.folder / name
        content = change(path.read_bytes())
        path.write_bytes(content)
        if not honest:
            self.edit_manifest(
                lambda manifest: manifest["files"].update(
                    {name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}}
                )
            )

    def edit_manifest(self, change: Callable[[dict[str, Any]], object]) -> None:
        path = self.folder / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))


@pytest.fixture
def bundle(exports: Exports, tmp_path: Path) -> Bundle:
    shutil.copytree(exports[0] / "with-key", tmp_path / "bundle")
    return Bundle(tmp_path / "bundle")


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_an_untouched_export_with_its_key_is_verified_to_the_last_byte(bundle: Bundle, exports: Exports) -> None:
    results = bundle.results(exports[1].heads[-1].hex())
    assert all(results.values()), results
    assert {"files", "header", "statements", "segments", "end", "stream", "content", "head", "recorded head"} <= set(
        results
    )


def test_without_the_key_the_content_is_left_open_and_the_rest_verified(exports: Exports) -> None:
    results = {check.name: check.ok for check in verify_export(exports[0] / "without-key")}
    assert results.pop("content") is None
    assert results.pop("recorded head") is None
    assert all(results.values())


def test_a_head_recorded_elsewhere_that_differs_is_noticed(bundle: Bundle, exports: Exports) -> None:
    assert bundle.results(exports[2].heads[-1].hex())["recorded head"] is False


@pytest.mark.parametrize("name", ["original.lapel", "stream.tink", "clip.mkv", "clip.mp4", "clip.vtt"])
def test_an_altered_file_is_named(bundle: Bundle, name: str) -> None:
    bundle.edit(name, lambda content: flipped(content, len(content) // 2), honest=True)
    found = bundle.check("files")
    assert found.ok is False
    assert f"{name} was altered" in found.detail


@pytest.mark.parametrize("at", [0, 20, CLIP_HEADER_BYTES - 1, CLIP_HEADER_BYTES + 40, segment_offset(1) + 300, -1])
def test_an_altered_original_is_refused_even_if_the_manifest_was_made_to_fit(bundle: Bundle, at: int) -> None:
    bundle.edit("original.lapel", lambda content: flipped(content, at % len(content)))
    results = bundle.results()
    assert results["files"] is True
    assert False in results.values()


def test_a_segment_left_out_is_refused(bundle: Bundle) -> None:
    bundle.edit("original.lapel", lambda content: content[: segment_offset(1)] + content[segment_offset(2) :])
    assert "out of order" in bundle.check("original").detail


def test_two_segments_in_the_wrong_order_are_refused(bundle: Bundle) -> None:
    def swap(content: bytes) -> bytes:
        one, two, three = (segment_offset(index) for index in (1, 2, 3))
        return content[:one] + content[two:three] + content[one:two] + content[three:]

    bundle.edit("original.lapel", swap)
    assert "out of order" in bundle.check("original").detail


def test_a_segment_from_another_clip_is_refused(bundle: Bundle, exports: Exports) -> None:
    foreign = exports[2].segments[1]
    bundle.edit("original.lapel", lambda content: content[: segment_offset(1)] + foreign + content[segment_offset(2) :])
    assert "another clip" in bundle.check("original").detail


def test_segments_after_the_last_one_are_refused(bundle: Bundle) -> None:
    def repeat(content: bytes) -> bytes:
        body, end = content[:-CLIP_END_BYTES], content[-CLIP_END_BYTES:]
        return body + body[segment_offset(1) : segment_offset(2)] + end

    bundle.edit("original.lapel", repeat)
    assert bundle.results()["original"] is False


def test_a_clip_shortened_before_its_end_is_refused(bundle: Bundle, exports: Exports) -> None:
    keep = len(exports[1].segments) - 2
    bundle.edit("original.lapel", lambda content: content[: segment_offset(keep)] + content[-CLIP_END_BYTES:])
    assert "with another head" in bundle.check("end").detail


def test_an_end_record_left_out_is_noticed(bundle: Bundle) -> None:
    bundle.edit("original.lapel", lambda content: content[:-CLIP_END_BYTES])
    assert bundle.results()["end"] is False


def test_a_shortened_clip_whose_manifest_was_made_to_fit_is_caught_by_a_head_recorded_elsewhere(
    bundle: Bundle, exports: Exports
) -> None:
    whole = exports[1]
    keep = len(whole.segments) - 2
    bundle.edit("original.lapel", lambda content: content[: segment_offset(keep)])
    bundle.edit_manifest(
        lambda manifest: manifest["accounting"].update(
            {"segments": keep, "head": whole.heads[keep].hex(), "end_record": False, "cut": True}
        )
    )
    results = bundle.results(whole.heads[-1].hex())
    assert results["head"] is True
    assert results["end"] is None
    assert results["recorded head"] is False


def test_a_stream_that_is_not_the_originals_is_refused(bundle: Bundle, exports: Exports) -> None:
    bundle.edit("stream.tink", lambda content: flipped(content, 100))
    assert bundle.results()["stream"] is False
    bundle.edit("stream.tink", lambda _: (exports[0] / "with-key" / "stream.tink").read_bytes() + b"x")
    assert bundle.results()["stream"] is False


def test_other_associated_data_is_refused(bundle: Bundle) -> None:
    bundle.edit("associated-data.bin", lambda content: flipped(content, 30))
    assert bundle.results()["associated data"] is False


def test_another_video_in_place_of_the_content_is_refused(bundle: Bundle, exports: Exports) -> None:
    bundle.edit("clip.mkv", lambda _: (exports[0] / "other" / "clip.mkv").read_bytes())
    assert bundle.results()["content"] is False


def test_the_key_of_another_clip_is_refused(bundle: Bundle, exports: Exports) -> None:
    bundle.edit("tink-keyset.json", lambda _: (exports[0] / "other" / "tink-keyset.json").read_bytes())
    assert "key of another clip" in bundle.check("original").detail


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda clip: clip["notice"].update(outcome="prompted"), "notice"),
        (lambda clip: clip["started"].update(ms=NOW_MS - 86_400_000), "start"),
        (lambda clip: clip["started"].update(trust="none"), "trust of the start"),
        (lambda clip: clip.update(device="0" * 16), "device"),
        (lambda clip: clip.update(alarm=True), "alarm"),
    ],
)
def test_a_manifest_that_says_something_else_than_the_header_is_refused(
    bundle: Bundle, change: Callable[[dict[str, Any]], object], named: str
) -> None:
    bundle.edit_manifest(lambda manifest: change(manifest["clip"]))
    found = bundle.check("statements")
    assert found.ok is False
    assert found.detail.startswith(f"{named} is")


def test_another_a_or_k_h_is_refused(bundle: Bundle) -> None:
    bundle.edit_manifest(lambda manifest: manifest["verification"].update(K_h="00" * 32))
    assert "another K_h" in bundle.check("header").detail
    bundle.edit_manifest(lambda manifest: manifest["verification"].update(A="00" * 32))
    assert bundle.results()["original"] is False
    bundle.edit_manifest(lambda manifest: manifest["verification"].update(A="xyz"))
    assert bundle.results()["keys"] is False


def test_a_file_slipped_in_is_named(bundle: Bundle) -> None:
    (bundle.folder / "note.txt").write_text("trust me")
    assert "note.txt is not in the manifest" in bundle.check("files").detail


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/b", ".."])
def test_a_manifest_that_names_a_file_elsewhere_is_refused_unread(bundle: Bundle, name: str) -> None:
    bundle.edit_manifest(lambda manifest: manifest["files"].update({name: {"sha256": "", "bytes": 0}}))
    assert "is not a file name" in bundle.check("files").detail


def test_a_link_in_place_of_a_file_is_refused(bundle: Bundle, exports: Exports) -> None:
    (bundle.folder / "clip.mkv").unlink()
    (bundle.folder / "clip.mkv").symlink_to(exports[0] / "with-key" / "clip.mkv")
    assert "clip.mkv is missing" in bundle.check("files").detail


def test_a_missing_original_is_reported(bundle: Bundle) -> None:
    (bundle.folder / "original.lapel").unlink()
    results = bundle.results()
    assert (results["files"], results["original"]) == (False, False)


@pytest.mark.parametrize("content", [None, b"not json", b"[]", b'{"format": "lapel-export/2"}', b"\xff"])
def test_a_folder_that_is_no_export_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(NotAnExport):
        verify_export(tmp_path)
