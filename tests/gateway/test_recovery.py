"""Restored backups and damaged vaults: what the ledger claims and what the vault holds are made to agree again."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lapel_gateway.alarms import core as alarms
from lapel_gateway.custody.doubts import MARK_NAME
from lapel_protocol.command import ALARM_RECEIPT, CREDIT, RECEIPT, WANT, WELCOME
from lapel_protocol.event import CLIP_CUT
from lapel_protocol.orders import WANT_END, WANT_HEADER, WANT_SEGMENTS
from tests.support.device import SealedClip
from tests.support.pair import DevicePair, bodies


def backup(pair: DevicePair) -> Path:
    """Copy the ledger as a backup does, the gateway at rest."""
    pair.stop()
    copy = pair.folder / "backup.sqlite"
    shutil.copy(pair.folder / "ledger.sqlite", copy)
    pair.start()
    return copy


def restore(pair: DevicePair, copy: Path) -> None:
    """Put the older ledger back in place; the vault is as it was."""
    pair.stop()
    for leftover in pair.folder.glob("ledger.sqlite*"):
        leftover.unlink()
    shutil.copy(copy, pair.folder / "ledger.sqlite")
    pair.start()


@pytest.fixture
def held(pair: DevicePair) -> SealedClip:
    clip = pair.one.record(9)
    pair.send(*clip.messages())
    return clip


def test_a_clip_in_the_vault_that_an_older_ledger_does_not_know_is_verified_and_taken_up(pair: DevicePair) -> None:
    copy = backup(pair)
    clip = pair.one.record(9)
    pair.send(*clip.messages())
    restore(pair, copy)
    row = pair.row("clip")
    assert (row["state"], row["contiguous"], row["head"]) == ("held", 9, clip.heads[9])
    assert pair.vault_file(pair.one, clip.clip) == clip.file
    assert pair.count("outbox", "kind = 'assemble'") == 1


def test_an_older_ledger_and_an_older_vault_ask_a_device_for_what_it_still_has(pair: DevicePair) -> None:
    copy = backup(pair)
    first, second = pair.one.record(3), pair.one.record(3)
    pair.send(*first.messages())
    pair.vault.path(pair.one.name, first.clip).unlink()
    restore(pair, copy)
    # The device believes the first clip to be safe, and sends the second one only.
    pair.send(pair.one.hello())
    pair.send(*second.messages())
    pair.now_ms += 20_000
    (want,) = bodies(pair.send(pair.one.heartbeat()), WANT)
    assert (want.clip, want.parts) == (first.clip, WANT_HEADER | WANT_SEGMENTS | WANT_END)
    assert pair.row("notice")["kind"] == "clip_missing"
    assert bodies(pair.send(*first.messages()), RECEIPT)
    assert [row["state"] for row in pair.rows("clip")] == ["held", "held"]


def test_an_older_ledger_answers_a_device_whose_later_boot_it_has_not_heard_of(pair: DevicePair) -> None:
    copy = backup(pair)
    for _ in range(3):
        pair.greet()
    restore(pair, copy)
    answers = pair.send(pair.one.hello())
    assert {WELCOME, CREDIT} <= {kind for kind, _ in answers}
    assert pair.row("device")["boot"] == pair.one.boot_number


def test_an_alarm_that_an_older_ledger_lost_is_taken_again_from_a_device_that_repeats_it(pair: DevicePair) -> None:
    copy = backup(pair)
    alarm = pair.one.alarm()
    pair.raise_alarm(alarm)
    alarms.acknowledge(pair.engine, pair.row("alarm")["id"], "Sam", pair.now_ms)
    restore(pair, copy)
    assert bodies(pair.raise_alarm(alarm), ALARM_RECEIPT)
    assert pair.row("alarm")["state"] == "received"


def cut_and_hand_over(pair: DevicePair, segments: int) -> SealedClip:
    """A clip of nine segments that lost power after so many, settled, receipted, and deleted by its device."""
    clip = pair.one.record(9)
    pair.send(*clip.messages(end=False))
    pair.one.unsettle(clip)
    pair.one.boot()
    assert bodies(pair.send(pair.one.hello(), pair.one.cut(clip, segments)), RECEIPT)
    return clip


def settlement(pair: DevicePair) -> tuple[object, ...]:
    row = pair.row("clip")
    return row["state"], row["settled_by"], row["settled_segments"], row["settled_head"], row["contiguous"]


@pytest.mark.parametrize("segments", [9, 4])
def test_a_cut_clip_that_its_device_has_deleted_is_settled_again_under_an_older_ledger(
    pair: DevicePair, segments: int
) -> None:
    copy = backup(pair)
    clip = cut_and_hand_over(pair, segments)
    (cut,) = pair.rows("event", "kind = :kind", kind=CLIP_CUT)
    restore(pair, copy)
    assert settlement(pair) == ("held", "cut", segments, clip.heads[segments], 9)
    assert [row["record"] for row in pair.rows("event")] == [cut["record"]]


def test_an_older_ledger_that_knows_the_beginning_of_a_cut_clip_settles_it(
    pair: DevicePair,
) -> None:
    clip = pair.one.record(9)
    first, *rest = clip.messages(end=False)
    pair.send(first)
    copy = backup(pair)
    pair.send(*rest)
    pair.one.unsettle(clip)
    pair.one.boot()
    pair.send(pair.one.hello(), pair.one.cut(clip, 9))
    restore(pair, copy)
    assert settlement(pair) == ("held", "cut", 9, clip.heads[9], 9)


def test_the_later_of_two_cuts_is_the_one_that_an_older_ledger_learns(pair: DevicePair) -> None:
    copy = backup(pair)
    clip = cut_and_hand_over(pair, 8)
    earlier = pair.one.cut(clip, 6)
    pair.send(pair.one.cut(clip, 5))
    pair.send(earlier)
    restore(pair, copy)
    assert settlement(pair) == ("held", "cut", 5, clip.heads[5], 9)


@pytest.mark.parametrize("damage", [b"", b"\x10", bytes(116)])
def test_what_settled_a_clip_is_believed_only_as_its_device_sealed_it(pair: DevicePair, damage: bytes) -> None:
    copy = backup(pair)
    clip = cut_and_hand_over(pair, 9)
    path = pair.vault.path(pair.one.name, clip.clip).with_suffix(".cut")
    record = bytearray(path.read_bytes())
    record[-1] ^= 1
    path.write_bytes(damage or record)
    restore(pair, copy)
    assert settlement(pair) == ("open", None, None, None, 9)


def test_what_settled_another_clip_settles_that_one(pair: DevicePair) -> None:
    copy = backup(pair)
    first, second = cut_and_hand_over(pair, 9), cut_and_hand_over(pair, 9)
    paths = [pair.vault.path(pair.one.name, clip.clip).with_suffix(".cut") for clip in (first, second)]
    paths[0].write_bytes(paths[1].read_bytes())
    restore(pair, copy)
    assert [row["state"] for row in pair.rows("clip")] == ["open", "held"]


def test_a_clip_whose_file_has_grown_under_an_unchanged_folder_is_taken_up_again(pair: DevicePair) -> None:
    clip = pair.one.record(9)
    first, *rest = clip.messages()
    pair.send(first)
    copy = backup(pair)
    mark, folder = pair.vault.root / MARK_NAME, pair.vault.path(pair.one.name, clip.clip).parent
    pair.send(*rest)
    # Nothing was added to the folder since the mark, which a ledger copied later than that carries too.
    before = mark.stat().st_mtime - 60
    os.utime(folder, (before, before))
    restore(pair, copy)
    assert settlement(pair) == ("held", "end", 9, clip.heads[9], 9)
    assert pair.vault_file(pair.one, clip.clip) == clip.file


def test_a_finished_clip_whose_file_is_gone_is_wanted_again_and_completes(pair: DevicePair, held: SealedClip) -> None:
    pair.vault.path(pair.one.name, held.clip).unlink()
    pair.restart()
    row = pair.row("clip")
    assert (row["state"], row["contiguous"], row["header_ms"], row["receipt_ms"]) == ("ended", 0, None, None)
    assert pair.row("notice")["kind"] == "vault_damaged"
    pair.now_ms += 20_000
    (want,) = bodies(pair.send(pair.one.heartbeat()), WANT)
    assert (want.clip, want.parts, want.first, want.count) == (held.clip, WANT_HEADER | WANT_SEGMENTS, 0, 9)
    assert bodies(pair.send(*held.messages(end=False)), RECEIPT)
    assert pair.vault_file(pair.one, held.clip) == held.file


def test_a_finished_clip_that_was_cut_short_keeps_what_is_authentic(pair: DevicePair, held: SealedClip) -> None:
    pair.stop()
    pair.vault.path(pair.one.name, held.clip).write_bytes(held.file[:20_000])
    pair.start()
    row = pair.row("clip")
    assert (row["state"], row["contiguous"], row["head"]) == ("ended", 4, held.heads[4])
    pair.now_ms += 20_000
    (want,) = bodies(pair.send(pair.one.heartbeat()), WANT)
    assert (want.parts, want.first, want.count) == (WANT_SEGMENTS, 4, 5)
    assert bodies(pair.send(held.message(b"".join(held.segments[4:]))), RECEIPT)
    assert pair.vault_file(pair.one, held.clip) == held.file


@pytest.mark.parametrize("at", [100, 700, 5000, 13_000])
def test_an_unfinished_clip_whose_bytes_were_altered_goes_back_to_what_is_authentic(pair: DevicePair, at: int) -> None:
    clip = pair.one.record(9)
    pair.send(*clip.messages()[:2])
    pair.stop()
    path = pair.vault.path(pair.one.name, clip.clip)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    pair.start()
    sound = 0 if at < 588 else 1 + (at - 588 - 4084) // 4124 if at >= 588 + 4084 else 0
    assert pair.row("clip")["contiguous"] == sound
    assert pair.row("clip")["header_ms"] is None or at > 588
    assert bodies(pair.send(*clip.messages()), RECEIPT)
    assert pair.vault_file(pair.one, clip.clip) == clip.file


def test_segments_beyond_a_gap_are_verified_anew_too(pair: DevicePair) -> None:
    clip = pair.one.record(9)
    pair.send(clip.message(clip.header_record + clip.segments[0] + clip.segments[5] + clip.segments[6]))
    pair.restart()
    assert pair.row("clip")["extents"] == bytes.fromhex("0000000500000002")
    pair.stop()
    path = pair.vault.path(pair.one.name, clip.clip)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    pair.start()
    assert (pair.row("clip")["contiguous"], pair.row("clip")["extents"]) == (1, b"")
    assert bodies(pair.send(*clip.messages()), RECEIPT)
    assert pair.vault_file(pair.one, clip.clip) == clip.file


def test_damage_that_is_met_in_service_is_repaired_without_a_restart(pair: DevicePair) -> None:
    clip = pair.one.record(9)
    pair.send(clip.message(clip.header_record + clip.segments[0] + clip.segments[5]))
    pair.restart()
    with pair.vault.path(pair.one.name, clip.clip).open("r+b") as file:
        file.truncate(588 + 4084)
    assert bodies(pair.send(*clip.messages()), RECEIPT) or bodies(pair.send(*clip.messages()), RECEIPT)
    assert pair.vault_file(pair.one, clip.clip) == clip.file
    assert pair.row("notice")["kind"] == "vault_damaged"


def test_a_start_with_everything_in_order_changes_nothing(pair: DevicePair, held: SealedClip) -> None:
    unfinished = pair.one.record(9)
    pair.send(unfinished.messages()[0])
    tables = ("clip", "notice", "outbox", "tally", "epoch", "device")
    before = {name: pair.rows(name) for name in tables}
    assert pair.restart() == []
    assert {name: pair.rows(name) for name in tables} == before
    assert pair.vault_file(pair.one, held.clip) == held.file


def test_files_of_devices_that_nobody_knows_are_left_alone(pair: DevicePair) -> None:
    for name in ("0011223344556677", "not-a-device"):
        folder = pair.vault.root / name
        folder.mkdir()
        (folder / "00000001.lapel").write_bytes(b"\x01" * 700)
    pair.restart()
    assert pair.count("clip") == 0
    assert len(list(pair.vault.root.rglob("*.lapel"))) == 2


@pytest.mark.parametrize("restarted", [False, True])
def test_a_clip_that_assembly_has_moved_on_keeps_its_state_when_it_is_sent_again(
    make_pair: Callable[..., DevicePair], restarted: bool
) -> None:
    pair = make_pair()
    pair.greet()
    clip = pair.one.record(3)
    pair.send(*clip.messages())
    with pair.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE clip SET state = 'delivered', assembled_ms = 5")
    if restarted:
        pair.restart()
    pair.send(*clip.messages())
    pair.one.boot()
    pair.send(pair.one.hello(), pair.one.cut(clip, 1))
    row = pair.row("clip")
    assert (row["state"], row["assembled_ms"], row["settled_segments"]) == ("delivered", 5, 1)
