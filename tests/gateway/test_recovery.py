"""Restored backups and damaged vaults: what the ledger claims and what the vault holds are made to agree again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lapel_gateway import alarms
from lapel_protocol.command import ALARM_RECEIPT, CREDIT, RECEIPT, WANT, WELCOME
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
