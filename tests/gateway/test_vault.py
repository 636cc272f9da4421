"""The vault's files: placed by offset, durable before they count, room kept for the ledger."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from lapel_gateway.vault import OPEN_FILES, Vault, VaultFull

DEVICE = "00112233aabbccdd"


def test_parts_land_one_after_the_other_at_their_offset_in_any_order(tmp_path: Path) -> None:
    vault = Vault(tmp_path, 0)
    vault.place(DEVICE, 7, 6, b"ghi")
    vault.place(DEVICE, 7, 0, b"abc", memoryview(b"def"))
    vault.sync()
    assert vault.path(DEVICE, 7).read_bytes() == b"abcdefghi"
    assert vault.path(DEVICE, 7) == tmp_path / DEVICE / "00000007.lapel"
    assert (vault.size(DEVICE, 7), vault.size(DEVICE, 8)) == (9, -1)
    vault.close()


def test_reading_gives_what_is_there_and_no_more(tmp_path: Path) -> None:
    vault = Vault(tmp_path, 0)
    vault.place(DEVICE, 7, 0, b"abcdef")
    assert (vault.read(DEVICE, 7, 2, 2), vault.read(DEVICE, 7, 4, 100), vault.read(DEVICE, 8, 0, 1)) == (
        b"cd",
        b"ef",
        b"",
    )
    vault.close()


def test_a_sync_touches_each_file_once_and_new_names_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def note(kind: str) -> object:
        def sync(handle: int) -> None:
            synced.append(f"{kind} {Path(os.readlink(f'/proc/self/fd/{handle}')).name}")

        return sync

    monkeypatch.setattr(os, "fdatasync", note("data"))
    monkeypatch.setattr(os, "fsync", note("name"))
    vault = Vault(tmp_path / "vault", 0)
    for clip in (7, 7, 8):
        vault.place(DEVICE, clip, 0, b"x")
    vault.sync()
    assert synced == ["data 00000007.lapel", "data 00000008.lapel", "name vault", f"name {DEVICE}"]
    synced.clear()
    vault.place(DEVICE, 7, 1, b"y")
    vault.sync()
    vault.sync()
    assert synced == ["data 00000007.lapel"]
    vault.close()


def test_a_sync_that_fails_is_done_again_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Vault(tmp_path, 0)
    vault.place(DEVICE, 7, 0, b"x")

    def fail(_handle: int) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail)
        with pytest.raises(OSError, match="broken"):
            vault.sync()
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    vault.sync()
    assert len(synced) == 1
    vault.close()


def test_a_short_write_is_carried_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(handle: int, parts: Sequence[bytes], offset: int) -> int:
        return os.pwrite(handle, b"".join(parts)[:4], offset)

    monkeypatch.setattr(os, "pwritev", short)
    vault = Vault(tmp_path, 0)
    vault.place(DEVICE, 7, 3, b"abc", b"def", b"ghi")
    assert vault.path(DEVICE, 7).read_bytes() == b"\0\0\0abcdefghi"
    vault.close()


def test_many_parts_are_written_in_as_many_calls_as_the_kernel_wants(tmp_path: Path) -> None:
    vault = Vault(tmp_path, 0)
    vault.place(DEVICE, 7, 0, *[bytes([number % 256]) for number in range(3000)])
    assert vault.path(DEVICE, 7).read_bytes() == bytes(number % 256 for number in range(3000))
    vault.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    vault = Vault(tmp_path, 0)
    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(VaultFull, match=str(tmp_path)):
        vault.place(DEVICE, 7, 0, b"x")
    vault.close()


def test_clips_leave_the_reserve_to_the_ledger(tmp_path: Path) -> None:
    state = os.statvfs(tmp_path)
    free = state.f_bavail * state.f_frsize
    Vault(tmp_path, free // 2).check_room(1)
    with pytest.raises(VaultFull, match="MiB free"):
        Vault(tmp_path, 2 * free).check_room(1)


def test_more_clips_than_handles_stay_readable_and_unsynced_ones_stay_open(tmp_path: Path) -> None:
    vault = Vault(tmp_path, 0)
    before = len(os.listdir("/proc/self/fd"))
    for clip in range(OPEN_FILES + 20):
        vault.place(DEVICE, clip, 0, clip.to_bytes(4, "big"))
    vault.sync()
    for clip in range(OPEN_FILES + 20):
        assert vault.read(DEVICE, clip, 0, 4) == clip.to_bytes(4, "big")
    assert len(os.listdir("/proc/self/fd")) - before <= OPEN_FILES
    vault.close()


def test_clips_are_listed_in_order_and_strange_files_left_out(tmp_path: Path) -> None:
    vault = Vault(tmp_path, 0)
    for clip in (300, 7):
        vault.place(DEVICE, clip, 0, b"x")
    (tmp_path / DEVICE / "notes.txt").write_text("x")
    (tmp_path / DEVICE / "zzzzzzzz.lapel").write_text("x")
    (tmp_path / "README").write_text("x")
    assert list(vault.clips()) == [(DEVICE, 7), (DEVICE, 300)]
    vault.close()


def test_cutting_a_file_leaves_what_is_before_the_cut(tmp_path: Path) -> None:
    vault = Vault(tmp_path, 0)
    vault.place(DEVICE, 7, 0, b"abcdef")
    vault.truncate(DEVICE, 7, 4)
    vault.sync()
    assert vault.path(DEVICE, 7).read_bytes() == b"abcd"
    vault.close()
