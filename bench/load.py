"""A load of genuinely sealed clips, made before the clock starts, and the ledger whose devices sealed them.

Rules that hold here
- Every byte is what a device would send: header, segments and end of each clip, its wrap and its MACs included.
- Devices take turns message by message, as a fleet that uploads at one time does.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lapel_gateway.keystore import KeyStore
from lapel_gateway.ledger import fresh_ledger, open_ledger
from lapel_gateway.registry import Registry
from tests.support.device import Message, SealedClip, TrueDevice, organisation_key

MASTER_KEY = bytes(range(32))
DEVICES = 32
"""Devices that upload at the same time."""

_PROVISIONED_MS = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Load:
    """Messages of the clip lane in the order of sending, and the ledger file that knows their devices."""

    ledger: Path
    messages: list[Message]
    clips: int
    segments: int

    @property
    def payload_bytes(self) -> int:
        """Bytes of all payloads."""
        return sum(len(payload) for _, payload in self.messages)


def make_load(folder: Path, chunk_segments: int, clips: int, clip_segments: int, devices: int = DEVICES) -> Load:
    """Seal ``clips`` clips of ``clip_segments`` segments by ``devices`` devices; ``chunk_segments`` a message."""
    folder.mkdir(parents=True, exist_ok=True)
    ledger = folder / "ledger.sqlite"
    fresh_ledger(ledger)
    engine = open_ledger(ledger)
    chance = random.Random(chunk_segments)
    registry = Registry(engine, KeyStore(MASTER_KEY), chance.randbytes)
    organisation = organisation_key()
    queues: list[list[SealedClip]] = []
    for number in range(devices):
        package = registry.provision(
            f"camera {number}", "", organisation, "broker", 1883, "broker", _PROVISIONED_MS, _PROVISIONED_MS
        )
        device = TrueDevice(package, organisation, number)
        device.boot()
        queues.append([device.record(clip_segments) for _ in range(clips // devices)])
    engine.dispose()
    whole = [clip for queue in queues for clip in queue]
    messages = list(_in_turns([_one_after_the_other(queue, chunk_segments) for queue in queues]))
    return Load(ledger, messages, len(whole), sum(len(clip.segments) for clip in whole))


def _one_after_the_other(queue: list[SealedClip], chunk_segments: int) -> Iterator[Message]:
    for clip in queue:
        yield from clip.messages(chunk_segments)


def _in_turns(sources: list[Iterator[Message]]) -> Iterator[Message]:
    while sources:
        for source in list(sources):
            message = next(source, None)
            if message is None:
                sources.remove(source)
            else:
                yield message
