"""What a start looks at: little when ledger and vault are those of the last agreement, everything when they are not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lapel_gateway.custody import doubts
from lapel_gateway.custody.doubts import MARK_NAME, Doubts, read_mark, write_mark
from lapel_gateway.ledger import reading
from tests.support.device import SealedClip
from tests.support.pair import DevicePair


def found(pair: DevicePair, everything: bool = False) -> Doubts:
    with reading(pair.engine) as connection:
        return Doubts(connection, pair.vault, everything)


def settle(pair: DevicePair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that finds everything in order and leaves a new mark behind."""
    with monkeypatch.context() as patch:
        patch.setattr(doubts, "RENEW_AFTER", -1)
        pair.restart()


@contextmanager
def looked_at(pair: DevicePair, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The clips whose size is asked for."""
    asked: list[str] = []
    size = type(pair.vault).size

    def note(self: object, device: str, clip: int) -> int:
        asked.append(f"{device}-{clip}")
        return size(self, device, clip)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(type(pair.vault), "size", note)
        yield asked


def held(pair: DevicePair) -> SealedClip:
    clip = pair.one.record(3)
    pair.send(*clip.messages())
    return clip


def test_a_start_looks_at_the_clips_completed_since_the_mark_and_at_no_other(
    pair: DevicePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = held(pair)
    settle(pair, monkeypatch)
    new = held(pair)
    with looked_at(pair, monkeypatch) as asked:
        pair.restart()
    assert (new.name in asked, old.name in asked) == (True, False)


def test_a_clip_completed_since_the_mark_whose_file_is_gone_is_found(
    pair: DevicePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(pair, monkeypatch)
    clip = held(pair)
    pair.vault.path(pair.one.name, clip.clip).unlink()
    pair.restart()
    assert pair.row("clip")["state"] == "ended"


def test_an_older_clip_that_vanished_under_an_unchanged_mark_is_found_by_a_look_at_everything(
    pair: DevicePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = held(pair)
    settle(pair, monkeypatch)
    pair.vault.path(pair.one.name, clip.clip).unlink()
    pair.restart()
    assert pair.row("clip")["state"] == "held"
    pair.ingest.recover(pair.now_ms, everything=True)
    assert pair.row("clip")["state"] == "ended"


def test_a_vault_without_the_ledgers_mark_is_looked_at_as_a_whole(
    pair: DevicePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = held(pair)
    for replace in (
        lambda mark: mark.unlink(),
        lambda mark: mark.write_bytes(b"short"),
        lambda mark: write_mark(mark.parent),
        lambda mark: os.utime(mark, (1, 1)),
    ):
        settle(pair, monkeypatch)
        assert found(pair).paired
        replace(pair.vault.root / MARK_NAME)
        assert not found(pair).paired
        with looked_at(pair, monkeypatch) as asked:
            pair.restart()
        assert clip.name in asked
        assert found(pair).paired


def test_an_older_vault_put_back_without_its_newest_clips_is_noticed(
    pair: DevicePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = held(pair)
    settle(pair, monkeypatch)
    copy = pair.folder / "copy"
    shutil.copytree(pair.vault.root, copy)
    second = held(pair)
    settle(pair, monkeypatch)
    pair.stop()
    shutil.rmtree(pair.vault.root)
    shutil.copytree(copy, pair.vault.root)
    pair.start()
    assert {row["clip"]: row["state"] for row in pair.rows("clip")} == {first.clip: "held", second.clip: "ended"}


def test_files_that_an_older_ledger_with_the_same_mark_does_not_know_are_taken_up(
    pair: DevicePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(pair, monkeypatch)
    pair.stop()
    copy = (pair.folder / "ledger.sqlite").read_bytes()
    pair.start()
    clip = held(pair)
    pair.stop()
    for leftover in pair.folder.glob("ledger.sqlite*"):
        leftover.unlink()
    (pair.folder / "ledger.sqlite").write_bytes(copy)
    pair.start(recover=False)
    assert found(pair).paired
    pair.ingest.recover(pair.now_ms)
    assert (pair.row("clip")["clip"], pair.row("clip")["state"]) == (clip.clip, "held")


def test_folders_without_a_new_file_are_not_even_listed(pair: DevicePair, monkeypatch: pytest.MonkeyPatch) -> None:
    held(pair)
    settle(pair, monkeypatch)
    mark = read_mark(pair.vault.root)
    assert mark is not None
    folder = pair.vault.root / pair.one.name
    os.utime(folder, (mark.set_s - 1, mark.set_s - 1))
    assert pair.vault.folders(mark.set_s) == []
    held(pair)
    assert pair.vault.folders(mark.set_s) == [pair.one.name]


def test_a_new_mark_is_set_once_enough_was_completed(pair: DevicePair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doubts, "RENEW_AFTER", 2)
    pair.restart()
    before = read_mark(pair.vault.root)
    for count in range(3):
        assert read_mark(pair.vault.root) == before, count
        held(pair)
        pair.restart()
    after = read_mark(pair.vault.root)
    assert after is not None
    assert after != before
    assert found(pair).held == []


def test_a_start_that_ends_between_the_two_marks_is_followed_by_a_look_at_everything(
    pair: DevicePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    held(pair)
    settle(pair, monkeypatch)
    write_mark(pair.vault.root)
    assert not found(pair).paired
    pair.restart()
    assert found(pair).paired
