"""Segments taken together come to the same as segments taken one by one, whatever is wrong with some of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from lapel_gateway.custody import arrivals
from lapel_gateway.verify import Stretch, split_records, split_stretches
from lapel_protocol.errors import ProtocolError
from tests.support.device import Message, SealedClip
from tests.support.pair import DevicePair

MakePair = Callable[..., DevicePair]


def mischief(chance: random.Random, clip: SealedClip, other: SealedClip) -> list[Message]:
    """The clip's messages with some of what a broker can do to them."""
    messages = []
    for name, payload in clip.messages(4):
        changed = bytearray(payload)
        what = chance.randrange(8)
        if what == 0:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        elif what == 1:
            del changed[chance.randrange(len(changed)) :]
        elif what == 2:
            changed += other.segments[chance.randrange(len(other.segments))]
        elif what == 3:
            changed = bytearray(b"".join(chance.sample(clip.segments, 3)))
        messages.append((name, bytes(changed)))
        if what == 4:
            messages.append(messages[-1])
    if chance.random() < 0.5:
        chance.shuffle(messages)
    return messages + (clip.messages(4) if chance.random() < 0.5 else [])


def outcome_of(pair: DevicePair, seed: int) -> dict[str, Any]:
    """What a gateway makes of a load of mischief."""
    chance = random.Random(seed)
    clips = [pair.one.record(chance.randint(1, 14)) for _ in range(3)]
    messages = [message for clip in clips for message in mischief(chance, clip, clips[0])]
    downlinks: list[Message] = []
    while messages:
        size = chance.randint(1, 8)
        outcome = pair.ingest.handle(messages[:size], pair.now_ms)
        del messages[:size]
        downlinks += outcome.downlinks
        pair.now_ms += 700
    found: dict[str, Any] = {table: pair.rows(table) for table in ("clip", "tally", "notice", "epoch")}
    found["vault"] = [(key, pair.vault_file(pair.one, key[1])) for key in pair.vault.clips()]
    found["downlinks"] = downlinks
    return found


@pytest.mark.parametrize("seed", range(12))
def test_a_gateway_makes_the_same_of_them(make_pair: MakePair, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    together = make_pair(seed=seed)
    together.greet()
    one_by_one = make_pair(seed=seed)
    one_by_one.greet()
    expected = outcome_of(together, seed)
    with monkeypatch.context() as patch:
        patch.setattr(arrivals, "split_stretches", split_records)
        found = outcome_of(one_by_one, seed)
    assert found == expected
    assert expected["vault"]


def test_full_segments_that_follow_each_other_are_one_stretch(pair: DevicePair) -> None:
    clip = pair.one.record(6)
    payload = clip.header_record + b"".join(clip.segments)
    kinds = [
        (record.first, len(record.crcs)) if isinstance(record, Stretch) else type(record)
        for record in split_stretches(payload)
    ]
    assert kinds[1] == (0, 5)
    assert len(kinds) == 3
    swapped = clip.segments[0] + clip.segments[2] + clip.segments[3]
    assert [record.first for record in split_stretches(swapped) if isinstance(record, Stretch)] == [0, 2]


def test_both_ways_of_splitting_end_at_the_same_byte(pair: DevicePair) -> None:
    clip = pair.one.record(4)
    whole = clip.file
    for end in (*range(0, 700, 7), *range(4_000, len(whole), 501), len(whole)):
        assert whole_bytes(split_records, whole[:end]) == whole_bytes(split_stretches, whole[:end])


def whole_bytes(split: Callable[[bytes], Any], payload: bytes) -> tuple[bytes, str]:
    """(the records that are given out, what is said of the rest)."""
    found = b""
    try:
        for record in split(payload):
            found += bytes(record.view)
    except ProtocolError as error:
        return found, f"{error.reason} {error}"
    return found, ""
