"""A full disk: nothing is acknowledged that is not durable, alarms and events go on, and it ends by itself."""

import errno
import os
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from lapel_gateway.custody.downlink import Outcome
from lapel_gateway.custody.vault import Vault
from lapel_protocol.command import ALARM_RECEIPT, CREDIT, EVENT_RECEIPT, RECEIPT, WELCOME
from lapel_protocol.event import RECORDING_NOTE
from lapel_protocol.reports import HEART_BLOCKED, NOTE_STARTED, RecordingNote
from tests.support.pair import DevicePair, bodies

NO_ROOM = 1 << 60
"""A reserve that no disk has."""


def note(pair: DevicePair) -> tuple[str, bytes]:
    return pair.one.on_event_lane(pair.one.event(RECORDING_NOTE, RecordingNote(NOTE_STARTED, 0, 7, 0).encode()))


def windows(pair: DevicePair, outcome: Outcome) -> list[tuple[int, int]]:
    answers = pair.one.take(outcome.downlinks)
    return [(credit.window_bytes, credit.alarm_window_bytes) for credit in bodies(answers, CREDIT)]


def test_clips_are_not_acknowledged_and_events_are_taken(pair: DevicePair) -> None:
    clip = pair.one.record(3)
    pair.vault.reserve_bytes = NO_ROOM
    outcome = pair.outcome(note(pair), *clip.messages(1), pair.one.heartbeat(flags=HEART_BLOCKED))
    assert outcome.acknowledge == [0, 4]
    kinds = [kind for kind, _ in pair.one.take(outcome.downlinks)]
    assert (EVENT_RECEIPT in kinds, RECEIPT in kinds) == (True, False)
    assert windows(pair, outcome) == [(0, 0)]
    assert (pair.count("clip"), pair.count("event")) == (0, 1)
    assert pair.vault.size(pair.one.name, clip.clip) == -1


def test_hellos_are_answered_and_alarms_raised_meanwhile(pair: DevicePair) -> None:
    pair.vault.reserve_bytes = NO_ROOM
    pair.outcome(*pair.one.record(1).messages())
    assert bodies(pair.send(pair.one.hello()), WELCOME)
    assert bodies(pair.raise_alarm(pair.one.alarm()), ALARM_RECEIPT)


def test_it_ends_by_itself_and_waiting_devices_are_told(pair: DevicePair) -> None:
    clip = pair.one.record(3)
    messages = clip.messages()
    pair.vault.reserve_bytes = NO_ROOM
    assert pair.outcome(*messages).acknowledge == []
    assert pair.ingest.full
    pair.vault.reserve_bytes = 0
    outcome = pair.outcome(*messages)
    assert outcome.acknowledge == [0]
    assert not pair.ingest.full
    answers = pair.one.take(outcome.downlinks)
    assert bodies(answers, CREDIT)[0].window_bytes > 0
    assert bodies(answers, RECEIPT)
    assert pair.vault_file(pair.one, clip.clip) == clip.file


def test_it_ends_also_when_only_a_blocked_devices_heartbeat_comes(pair: DevicePair) -> None:
    pair.vault.reserve_bytes = NO_ROOM
    pair.outcome(*pair.one.record(3).messages())
    assert windows(pair, pair.outcome(pair.one.heartbeat(flags=HEART_BLOCKED))) == [(0, 0)]
    pair.vault.reserve_bytes = 0
    granted = windows(pair, pair.outcome(pair.one.heartbeat(flags=HEART_BLOCKED)))
    assert granted
    assert all(window > 0 for window, _ in granted)


def test_the_trouble_is_told_once_and_its_end_once(pair: DevicePair) -> None:
    messages = pair.one.record(3).messages()
    with capture_logs() as lines:
        pair.vault.reserve_bytes = NO_ROOM
        for _ in range(10):
            pair.outcome(*messages)
        pair.vault.reserve_bytes = 0
        pair.outcome(*messages)
    assert [line["event"] for line in lines] == ["clips wait for room", "there is room for clips", "clip held"]
    assert "MiB free" in lines[0]["reason"]
    assert [row["kind"] for row in pair.rows("notice")] == ["disk_full"]


@pytest.mark.parametrize("call", ["pwritev", "fdatasync"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_in_the_middle_of_a_batch_is_the_same(
    pair: DevicePair, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    first, second = pair.one.record(9).messages()[:2]
    pair.send(first)
    real = getattr(os, call)

    def full(handle: int, *rest: object) -> object:
        # The ledger's own files are in the reserve that clips leave alone.
        if "ledger" in os.readlink(f"/proc/self/fd/{handle}"):
            return real(handle, *rest)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        assert pair.outcome(note(pair), second).acknowledge == [0]
    assert pair.row("clip")["contiguous"] == 4
    assert pair.outcome(second).acknowledge == [0]
    assert pair.row("clip")["contiguous"] == 8


def test_a_clip_whose_end_finds_no_room_completes_later(pair: DevicePair, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = pair.one.record(3)
    pair.send(*clip.messages(end=False))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    end = clip.message(clip.end_record)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        assert pair.outcome(end).acknowledge == []
    assert bodies(pair.send(end), RECEIPT)
    assert pair.vault_file(pair.one, clip.clip) == clip.file


def test_a_cut_is_taken_when_there_is_not_even_room_to_keep_it_beside_its_clip(
    pair: DevicePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, other = pair.one.record(3), pair.one.record(3)
    pair.send(*clip.messages(end=False))
    pair.one.unsettle(clip)
    pair.one.boot()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        outcome = pair.outcome(pair.one.hello(), pair.one.cut(clip, 3), *other.messages())
    assert outcome.acknowledge == [0, 1]
    assert bodies(pair.one.take(outcome.downlinks), RECEIPT)
    assert pair.rows("clip")[0]["state"] == "held"


def test_a_full_disk_under_the_ledger_acknowledges_nothing_and_loses_nothing(
    make_pair: Callable[..., DevicePair],
) -> None:
    pair = make_pair()
    pair.greet()
    clip = pair.one.record(3)
    alarm = pair.one.alarm()
    with pair.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    # SQLite's own limit on the size of the file stands in for the disk's.
    sa.event.listen(
        pair.engine, "begin", lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    )
    before, refused = 0, False
    while not refused:
        before = pair.count("event")
        try:
            pair.outcome(*[note(pair) for _ in range(50)])
        except sa.exc.OperationalError as error:
            refused = "full" in str(error)
    assert pair.count("event") == before
    pair.restart()
    assert bodies(pair.raise_alarm(alarm), ALARM_RECEIPT)
    assert bodies(pair.send(*clip.messages()), RECEIPT)


def test_the_reserve_is_left_free_by_clips_and_not_by_alarms(make_pair: Callable[..., DevicePair]) -> None:
    state = os.statvfs("/")
    pair = make_pair(vault=lambda root: Vault(root, 2 * state.f_bavail * state.f_frsize))
    pair.greet()
    assert pair.outcome(*pair.one.record(1).messages()).acknowledge == []
    assert bodies(pair.raise_alarm(pair.one.alarm()), ALARM_RECEIPT)
