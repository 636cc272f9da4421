"""The gateway killed between any two durable steps: nothing acknowledged is lost, nothing is accepted twice."""

from collections.abc import Callable

import pytest

from lapel_gateway.custody.downlink import Outcome
from lapel_gateway.steps import POINTS
from lapel_protocol.command import EVENT_RECEIPT, RECEIPT, WELCOME
from lapel_protocol.event import RECORDING_NOTE
from lapel_protocol.reports import NOTE_STARTED, RecordingNote
from tests.support.device import Message, SealedClip
from tests.support.pair import DevicePair, Killed, bodies

INGEST_POINTS = sorted(point for point in POINTS if point.startswith("ingest."))


def batches_of(pair: DevicePair, clip: SealedClip) -> list[list[Message]]:
    note = pair.one.on_event_lane(pair.one.event(RECORDING_NOTE, RecordingNote(NOTE_STARTED, 0, 7, 0).encode()))
    messages = [*clip.messages(2), note]
    return [messages[:2], messages[2:3], messages[3:]]


@pytest.mark.parametrize("point", INGEST_POINTS)
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_a_batch_that_was_not_acknowledged_is_handed_in_again_and_completes(
    pair: DevicePair, point: str, batch: int
) -> None:
    clip = pair.one.record(7)
    batches = batches_of(pair, clip)
    answers = []
    for number, messages in enumerate(batches):
        if number == batch:
            pair.killed_at(point, *messages)
        answers += pair.send(*messages)
    assert [(body.segments, body.head) for body in bodies(answers, RECEIPT)] == [(7, clip.heads[7])]
    assert len(bodies(answers, EVENT_RECEIPT)) == 1
    assert pair.vault_file(pair.one, clip.clip) == clip.file
    assert (pair.count("clip"), pair.count("event"), pair.count("outbox"), pair.count("notice")) == (1, 1, 1, 0)
    assert [row["used_for"] for row in pair.rows("epoch")] == ["boot", "clip"]


@pytest.mark.parametrize("point", INGEST_POINTS)
def test_bytes_that_the_ledger_does_not_claim_are_verified_anew_and_not_lost(pair: DevicePair, point: str) -> None:
    clip = pair.one.record(7)
    pair.killed_at(point, *clip.messages())
    # The end record follows the last segment when the clip is complete, so the earliest kills leave it to the device.
    found = [(row["contiguous"], row["state"]) for row in pair.rows("clip")]
    expected = {"ingest.verified": [], "ingest.vault_placed": [(7, "open")]}
    assert found == expected.get(point, [(7, "held")])
    answers = pair.send(*clip.messages())
    assert [body.head for body in bodies(answers, RECEIPT)] == [clip.heads[7]]
    assert pair.vault_file(pair.one, clip.clip) == clip.file


@pytest.mark.parametrize("point", ["ingest.ledger_written", "ingest.ledger_committed"])
def test_a_hello_is_answered_by_the_gateway_that_comes_back(pair: DevicePair, point: str) -> None:
    pair.one.boot()
    hello = pair.one.hello()
    pair.killed_at(point, hello)
    (welcome,) = bodies(pair.send(hello), WELCOME)
    assert welcome.ledger_to == 2


def test_half_written_bytes_in_the_vault_are_never_believed(pair: DevicePair) -> None:
    clip = pair.one.record(7)
    pair.send(*clip.messages(2)[:2])
    path = pair.vault.path(pair.one.name, clip.clip)
    pair.stop()
    torn = clip.segments[4][:1000] + bytes(3124)
    path.write_bytes(path.read_bytes() + torn + clip.segments[5])
    pair.start()
    assert pair.row("clip")["contiguous"] == 4
    answers = pair.send(*clip.messages(2)[2:])
    assert bodies(answers, RECEIPT)
    assert pair.vault_file(pair.one, clip.clip) == clip.file


def test_an_error_inside_a_batch_leaves_memory_as_the_ledger_is(pair: DevicePair) -> None:
    clip = pair.one.record(7)
    first, second = clip.messages()
    pair.send(first)

    def broken(*_: object) -> None:
        raise OSError("the disk is gone")

    sync, pair.vault.sync = pair.vault.sync, broken  # type: ignore[method-assign]
    with pytest.raises(OSError, match="disk is gone"):
        pair.send(second)
    pair.vault.sync = sync  # type: ignore[method-assign]
    assert pair.row("clip")["contiguous"] == 4
    assert bodies(pair.send(second), RECEIPT)
    assert pair.vault_file(pair.one, clip.clip) == clip.file


def test_kills_during_recovery_are_recovered_from(pair: DevicePair) -> None:
    clip = pair.one.record(7)
    pair.send(*clip.messages())
    path = pair.vault.path(pair.one.name, clip.clip)
    for point in (*INGEST_POINTS, "recovery.demoted"):
        pair.stop()
        path.write_bytes(clip.file[:12_000])
        pair.start(recover=False)
        _killed_in_recovery(pair, point)
        pair.restart()
        assert pair.row("clip")["contiguous"] == 2
        assert pair.vault.size(pair.one.name, clip.clip) == 12_000
        assert bodies(pair.send(*clip.messages()), RECEIPT)
        assert pair.vault_file(pair.one, clip.clip) == clip.file


def _killed_in_recovery(pair: DevicePair, point: str) -> None:
    from lapel_gateway import steps

    def hook(reached: str) -> None:
        if reached == point:
            raise Killed

    with steps.hooked(hook):
        try:
            pair.ingest.recover(pair.now_ms)
        except Killed:
            return
        assert point == "ingest.verified", f"{point} was not reached"


def test_the_outcome_acknowledges_every_message_that_was_settled(make_pair: Callable[..., DevicePair]) -> None:
    pair = make_pair()
    pair.greet()
    clip = pair.one.record(3)
    outcome = pair.outcome(("nonsense", b""), *clip.messages(1), pair.one.on_event_lane(b"noise"))
    assert isinstance(outcome, Outcome)
    assert outcome.acknowledge == [0, 1, 2, 3, 4]
