"""Finished clips forwarded into a directory: whole, checked, and again after every kind of trouble."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from lapel_gateway import durable
from lapel_gateway.channels.contract import DeliveryError, Parcel
from lapel_gateway.channels.directory import DirectoryChannel
from lapel_gateway.ledger.schema import OUTBOX_FORWARD

DEVICE = "00112233aabbccdd"
NAME = f"{DEVICE}-5"
CONTENT = {"clip.mkv": b"matroska" * 50_000, "clip.mp4": b"mp4" * 1000, "clip.vtt": b"WEBVTT\n"}


class Share:
    """A clip's files, the directory that they go to, and the parcel that says so."""

    def __init__(self, folder: Path) -> None:
        self.views, self.root = folder / "views", folder / "share"
        self.views.mkdir()
        self.root.mkdir()
        for name, content in CONTENT.items():
            (self.views / name).write_bytes(content)
        self.channel = DirectoryChannel(self.root, lambda device, clip, name: self.views / name)
        files = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in CONTENT.items()
        }
        self.payload: dict[str, Any] = {
            "device": DEVICE,
            "clip": 5,
            "files": files,
            "sidecar": {"id": NAME, "person": "Zoë", "state": "assembled"},
        }

    def deliver(self) -> None:
        parcel = Parcel(1, OUTBOX_FORWARD, "directory", "k", NAME, self.payload, 0, 0)
        self.channel.deliver(parcel, 0)

    def there(self) -> dict[str, bytes]:
        folder = self.root / DEVICE
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())} if folder.exists() else {}


@pytest.fixture
def share(tmp_path: Path) -> Share:
    return Share(tmp_path)


def test_files_and_sidecar_arrive_under_the_clips_name(share: Share) -> None:
    share.deliver()

    there = share.there()
    assert sorted(there) == [f"{NAME}.json", f"{NAME}.mkv", f"{NAME}.mp4", f"{NAME}.vtt"]
    assert there[f"{NAME}.mkv"] == CONTENT["clip.mkv"]
    sidecar = json.loads(there[f"{NAME}.json"])
    assert sidecar["person"] == "Zoë"
    for name, facts in sidecar["files"].items():
        assert facts == {"sha256": hashlib.sha256(there[name]).hexdigest(), "bytes": len(there[name])}


def test_the_sidecar_comes_last(share: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    replace = Path.replace

    def noting(self: Path, target: Path) -> Path:
        order.append(target.suffix)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noting)
    share.deliver()

    assert sorted(order[:-1]) == [".mkv", ".mp4", ".vtt"]
    assert order[-1] == ".json"


def test_every_file_is_durable_before_it_has_its_name(share: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(handle: int) -> None:
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{handle}')).name}")
        fsync(handle)

    def noting_replace(self: Path, target: Path) -> Path:
        done.append(f"name {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    share.deliver()

    for suffix in (".mkv", ".mp4", ".vtt", ".json"):
        named = done.index(f"name {NAME}{suffix}")
        assert done[named - 1] == f"sync .{NAME}{suffix}.part"
        assert done[named + 1] == f"sync {DEVICE}"


def test_a_repeat_copies_nothing_again(share: Share, monkeypatch: pytest.MonkeyPatch) -> None:
    share.deliver()
    before = (share.root / DEVICE / f"{NAME}.mkv").stat()

    share.deliver()

    after = (share.root / DEVICE / f"{NAME}.mkv").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_file_that_was_cut_by_somebody_is_copied_again(share: Share) -> None:
    share.deliver()
    (share.root / DEVICE / f"{NAME}.mkv").write_bytes(b"cut")

    share.deliver()

    assert share.there()[f"{NAME}.mkv"] == CONTENT["clip.mkv"]


def test_leftovers_of_a_kill_are_overwritten(share: Share) -> None:
    (share.root / DEVICE).mkdir()
    (share.root / DEVICE / f".{NAME}.mkv.part").write_bytes(b"half" * 10**6)

    share.deliver()

    assert sorted(share.there()) == [f"{NAME}.json", f"{NAME}.mkv", f"{NAME}.mp4", f"{NAME}.vtt"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "no space left in .*share: free some"),
        (errno.EDQUOT, "no space left in .*share: free some"),
        (errno.EROFS, "share cannot be written .*let this user write"),
        (errno.EACCES, "share cannot be written .*let this user write"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_trouble_with_the_disk_is_told_leaves_nothing_half_and_ends_by_itself(
    share: Share, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def failing(source: BinaryIO, target: BinaryIO) -> str:
        target.write(source.read(1000))
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as trouble:
        trouble.setattr(durable, "copy_hashing", failing)
        with pytest.raises(DeliveryError, match=words):
            share.deliver()
    assert share.there() == {}

    share.deliver()
    assert len(share.there()) == 4


def test_a_share_that_is_not_mounted_is_not_made_up(share: Share) -> None:
    share.root.rmdir()

    with pytest.raises(DeliveryError, match="mount the share"):
        share.deliver()
    assert not share.root.exists()


def test_a_view_file_that_changed_since_assembly_is_not_forwarded(share: Share) -> None:
    (share.views / "clip.mp4").write_bytes(b"XX4" * 1000)

    with pytest.raises(DeliveryError, match="SHA-256 differs"):
        share.deliver()
    assert f"{NAME}.mp4" not in share.there()
    assert f"{NAME}.json" not in share.there()


def test_a_view_file_that_is_gone_is_said_to_be_missing(share: Share) -> None:
    (share.views / "clip.vtt").unlink()

    with pytest.raises(DeliveryError, match="missing from the vault"):
        share.deliver()


# --- what the channel relies on ---


@contextlib.contextmanager
def _failing(path: Path) -> Iterator[None]:
    with durable.replacing(path) as file:
        file.write(b"new")
        yield


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    durable.write_file(path, b"old")

    with pytest.raises(RuntimeError), _failing(path):
        raise RuntimeError

    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("file", b"old")]


def test_a_folder_replaces_an_old_one_as_a_whole(tmp_path: Path) -> None:
    place, built = tmp_path / "place", tmp_path / ".place.part"
    place.mkdir()
    (place / "old").write_bytes(b"")
    built.mkdir()
    (built / "new").write_bytes(b"")

    durable.replace_folder(built, place)

    assert [path.name for path in tmp_path.iterdir()] == ["place"]
    assert [path.name for path in place.iterdir()] == ["new"]
