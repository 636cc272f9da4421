"""The vault's files: placed by offset, durable before they count, room kept for the ledger."""

import errno
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lapel_gateway.custody.vault import OPEN_FILES, Vault, VaultFull

DEVICE = "00112233aabbccdd"


def note_syncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced from now on: `data` of a file, or `name`s in a folder."""
    synced: list[str] = []

    def note(kind: str) -> object:
        def sync(handle: int) -> None:
            synced.append(f"{kind} {Path(os.readlink(f'/proc/self/fd/{handle}')).name}")

        return sync

    monkeypatch.setattr(os, "fdatasync", note("data"))
    monkeypatch.setattr(os, "fsync", note("name"))
    return synced


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


def test_a_sync_makes_one_file_durable_however_many_clips_it_is_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(tmp_path / "vault", 0)
    vault.recover()
    synced = note_syncs(monkeypatch)
    for clip in (7, 7, 8):
        vault.place(DEVICE, clip, 0, b"x")
    vault.sync()
    assert synced == ["data .journal"]
    vault.sync()
    assert synced == ["data .journal"]
    vault.close()


def test_files_and_new_names_are_durable_before_half_of_the_journal_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(tmp_path / "vault", 0, journal_half_bytes=8192)
    vault.recover()
    synced = note_syncs(monkeypatch)
    for clip in (7, 8, 9):
        vault.place(DEVICE, clip, 0, b"x")
        vault.sync()
    # The third is placed already, and its frame follows in the other half.
    clips = [f"data 0000000{clip}.lapel" for clip in (7, 8, 9)]
    files = [*clips, "name vault", f"name {DEVICE}", "data .journal"]
    assert synced == ["data .journal", "data .journal", *files, "data .journal"]
    vault.close()


def test_what_settled_a_clip_is_durable_beside_it_and_counts_as_no_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(tmp_path / "vault", 0)
    vault.recover()
    synced = note_syncs(monkeypatch)
    vault.keep_cut(DEVICE, 7, b"a longer record")
    vault.sync()
    assert synced == ["data 00000007.cut", "name vault", f"name {DEVICE}", "data .journal"]
    vault.keep_cut(DEVICE, 7, b"a later one")
    assert (vault.cut(DEVICE, 7), vault.cut(DEVICE, 8)) == (b"a later one", b"")
    assert list(vault.clips()) == []
    vault.close()


def test_what_does_not_fit_the_journal_is_made_durable_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(tmp_path, 0, journal_half_bytes=8192)
    vault.recover()
    synced = note_syncs(monkeypatch)
    vault.place(DEVICE, 7, 0, bytes(10_000))
    vault.sync()
    assert synced[0] == "data 00000007.lapel"
    assert synced[-1] == "data .journal"
    vault.close()


@pytest.mark.parametrize("call", ["fdatasync", "pwritev"])
def test_a_sync_that_fails_claims_nothing_and_what_is_placed_again_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    vault = Vault(tmp_path, 0)
    vault.place(DEVICE, 7, 0, b"claimed")
    vault.sync()

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    vault.place(DEVICE, 7, 7, b"lost")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="broken"):
            vault.sync()
    vault.place(DEVICE, 7, 7, b"found")
    vault.sync()
    assert vault.read(DEVICE, 7, 0, 100) == b"claimedfound"
    vault.close()
    vault.path(DEVICE, 7).write_bytes(b"claimed")  # a crash of the machine takes what was not synced
    again = Vault(tmp_path, 0)
    again.recover()
    assert again.read(DEVICE, 7, 0, 100) == b"claimedfound"
    again.close()


def test_a_crash_takes_nothing_that_was_synced(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "vault", 0, journal_half_bytes=8192)
    for clip in range(6):
        vault.place(DEVICE, clip, 0, b"header", b"record")
        vault.place(DEVICE, clip, 12, bytes([clip]) * 100)
        vault.sync()
    vault.close()
    # Two halves of two frames each: the files of the first four clips were synced.
    for clip in (4, 5):
        vault.path(DEVICE, clip).unlink()
    again = Vault(tmp_path / "vault", 0, journal_half_bytes=8192)
    again.recover()
    assert [again.read(DEVICE, clip, 0, 200) for clip in range(6)] == [
        b"headerrecord" + bytes([clip]) * 100 for clip in range(6)
    ]
    again.close()


def test_a_journal_of_another_size_is_put_back_as_well(tmp_path: Path) -> None:
    vault = Vault(tmp_path, 0, journal_half_bytes=8192)
    for clip in range(3):
        vault.place(DEVICE, clip, 0, b"bytes")
        vault.sync()
    vault.close()
    vault.path(DEVICE, 2).unlink()  # the only one whose file was not synced after its frame
    for half_bytes in (4096, 65_536):
        again = Vault(tmp_path, 0, journal_half_bytes=half_bytes)
        again.recover()
        assert again.read(DEVICE, 2, 0, 10) == b"bytes"
        again.place(DEVICE, 3, 0, b"more")
        again.sync()
        again.close()
        again.path(DEVICE, 3).unlink()
    last = Vault(tmp_path, 0)
    last.recover()
    assert last.read(DEVICE, 3, 0, 10) == b"more"
    last.close()


def test_a_cut_of_a_batch_that_failed_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = Vault(tmp_path, 0)
    vault.place(DEVICE, 7, 0, b"abcdef")
    vault.truncate(DEVICE, 7, 4)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        with pytest.raises(VaultFull):
            vault.place(DEVICE, 8, 0, b"x")
    vault.place(DEVICE, 7, 0, b"abcdefghi")
    vault.sync()
    assert vault.read(DEVICE, 7, 0, 20) == b"abcdefghi"
    vault.close()


def test_a_clean_end_leaves_whole_files_and_an_empty_journal(tmp_path: Path) -> None:
    vault = Vault(tmp_path, 0)
    vault.place(DEVICE, 7, 0, b"abc")
    vault.sync()
    vault.checkpoint()
    vault.close()
    vault.path(DEVICE, 7).unlink()
    again = Vault(tmp_path, 0)
    again.recover()
    assert again.size(DEVICE, 7) == -1
    again.close()


def test_frames_of_an_earlier_life_of_the_journal_are_not_put_back(tmp_path: Path) -> None:
    vault = Vault(tmp_path, 0)
    for clip in range(3):
        vault.place(DEVICE, clip, 0, b"old")
        vault.sync()
    vault.checkpoint()
    vault.close()
    for clip in range(3):
        vault.path(DEVICE, clip).unlink()
    vault = Vault(tmp_path, 0)
    vault.recover()
    vault.place(DEVICE, 7, 0, b"new")
    vault.sync()
    vault.close()
    again = Vault(tmp_path, 0)
    again.recover()
    assert list(again.clips()) == [(DEVICE, 7)]
    again.close()


def test_a_frame_that_could_not_be_appended_is_not_put_back_over_what_came_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = Vault(tmp_path, 0)
    vault.place(DEVICE, 7, 0, b"claimed")
    vault.sync()

    def torn(handle: int, parts: Sequence[bytes], offset: int) -> int:
        # The head and the table arrive, the data does not.
        os.pwrite(handle, b"".join(parts[:3]) + bytes(64), offset)
        raise OSError(errno.EIO, "broken")

    vault.place(DEVICE, 7, 7, b"lost")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", torn)
        with pytest.raises(OSError, match="broken"):
            vault.sync()
    vault.place(DEVICE, 7, 7, b"found")
    vault.truncate(DEVICE, 7, 12)
    vault.sync()
    assert vault.path(DEVICE, 7).read_bytes() == b"claimedfound"
    vault.close()


def test_files_that_cannot_be_synced_beside_are_put_back_from_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []
    real = os.fdatasync

    def fail_once(handle: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{handle}")).name
        if name.endswith(".lapel") and not failed:
            # What the kernel does after a write error: the page counts as clean, and is not on the disk.
            os.pwrite(handle, bytes(5), 0)
            failed.append(name)
            raise OSError(errno.EIO, "broken")
        real(handle)

    monkeypatch.setattr(os, "fdatasync", fail_once)
    with ThreadPoolExecutor(1) as beside:
        vault = Vault(tmp_path, 0, journal_half_bytes=8192, beside=beside)
        vault.recover()
        for clip in range(7):
            vault.place(DEVICE, clip, 0, b"bytes")
            vault.sync()
        assert failed == ["00000000.lapel"]
        assert [vault.read(DEVICE, clip, 0, 10) for clip in range(7)] == [b"bytes"] * 7
        vault.close()


def test_what_a_killed_process_wrote_can_be_made_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = Vault(tmp_path, 0)
    killed.place(DEVICE, 7, 0, b"x")
    killed.close()
    vault = Vault(tmp_path, 0)
    vault.recover()
    synced = note_syncs(monkeypatch)
    vault.keep(DEVICE, 7)
    vault.sync()
    assert "data 00000007.lapel" in synced
    vault.keep(DEVICE, 8)
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
    vault.checkpoint()
    assert vault.read(DEVICE, 0, 0, 4) == bytes(4)
    assert len(os.listdir("/proc/self/fd")) - before <= OPEN_FILES + 1
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
