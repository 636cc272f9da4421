"""A message on its way to a batch: what can be found out about it without the ledger, and before its turn comes.

Rules that hold here
- Nothing is written or remembered: an arrival may be prepared at any time, also while the batch before it is made
  durable, and prepared again.
- What is not known yet (a clip whose header is still to come) is left for the batch to find out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from lapel_gateway.log import printable
from lapel_gateway.verify import ClipRecord, ClipTrust, Stretch, authentic_tags, split_stretches
from lapel_protocol.errors import Malformed, ProtocolError
from lapel_protocol.topics import LANE_ALARM, LANE_CLIP, LANE_DOWN, parse_topic

KNOWN_TOPICS = 8192
"""Topics that are remembered as parsed: two for each of thousands of active devices."""

Believes = Callable[[str, int, int], ClipTrust | None]
"""What the segments of (device, clip) from an index on can be checked with, None when that is for the batch to say."""


@dataclass(slots=True)
class Arrival:
    """A message of the clip or event lane. `fault`: why all or the rest of it is refused, and what of it."""

    device: bytes
    name: str
    lane: str
    payload: bytes | memoryview
    records: list[ClipRecord | Stretch]
    fault: tuple[ProtocolError, str] | None = None


def prepare(topic: str, payload: bytes | memoryview, believes: Believes) -> Arrival:
    """Parse and split a message, and check the MACs of its segments where `believes` knows how. Raises nothing."""
    try:
        device, name, lane = _known_topic(topic)
    except ProtocolError as error:
        return Arrival(b"", "", "", payload, [], (error, printable(topic)))
    arrival = Arrival(device, name, lane, payload, [])
    if lane == LANE_CLIP:
        records = arrival.records
        try:
            for record in split_stretches(payload):
                records.append(record)
                if type(record) is Stretch:
                    trust = believes(name, record.clip, record.first)
                    if trust is not None:
                        record.checked = trust, authentic_tags(trust, record)
        except ProtocolError as error:
            arrival.fault = error, "clip message"
    return arrival


@functools.lru_cache(KNOWN_TOPICS)
def _known_topic(topic: str) -> tuple[bytes, str, str]:
    """(device, its name, lane) of a topic that is ingest's. Raises ProtocolError."""
    device, lane = parse_topic(topic)
    if lane in (LANE_ALARM, LANE_DOWN):
        raise Malformed("a lane that is not ingest's")
    return device, device.hex(), lane
