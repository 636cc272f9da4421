"""Epochs of which nobody knows what they were: asked for as if they were clips, because some may be.

A gateway restored from an older backup does not know the clips that its devices handed over since. They do not speak of
them any more, and still have the newest of them. Rules that hold here
- An unknown epoch is asked for when its device is in contact and has nothing of its own to send, newest first: a device
  deletes its oldest clips first.
- It is asked for a few times and then left alone until the gateway starts again: most were no clips, or are gone.
- Memory is bounded for each device, and holds nothing for a device without unknown epochs.
"""

from __future__ import annotations

from collections.abc import Iterable

from lapel_gateway.custody.downlink import Order
from lapel_gateway.verify import Trust
from lapel_protocol.command import WANT
from lapel_protocol.limits import MAX_SEGMENTS
from lapel_protocol.orders import WANT_END, WANT_HEADER, WANT_SEGMENTS, Want

MOST_REMEMBERED = 4096
"""Unknown epochs remembered of one device: as many as one report can leave."""

ASKED_AT_ONCE = 4
"""Wants that a device keeps at a time (SPEC section 9.3 leaves it to the device; ours keeps four)."""

TIMES_ASKED = 3

ASK_AGAIN_MS = 10_000
"""Wait before an epoch is asked for again; doubles once."""

_PARTS = WANT_HEADER | WANT_SEGMENTS | WANT_END


class UnknownEpochs:
    """What is still to be asked for: by device, by epoch, how often it was asked and when. Times are Unix ms."""

    def __init__(self) -> None:
        self._asked: dict[str, dict[int, tuple[int, int]]] = {}

    def learn(self, name: str, epochs: Iterable[int]) -> None:
        """These epochs of a device are unknown; those that are remembered already stay as they are."""
        asked = self._asked.setdefault(name, {})
        for number in epochs:
            asked.setdefault(number, (0, 0))
        for number in sorted(asked)[: max(0, len(asked) - MOST_REMEMBERED)]:
            del asked[number]
        if not asked:
            del self._asked[name]

    def forget(self, name: str, number: int) -> None:
        """It is known now."""
        asked = self._asked.get(name)
        if asked is not None and asked.pop(number, None) is not None and not asked:
            del self._asked[name]

    def orders(self, trust: Trust, now_ms: int) -> list[Order]:
        """What to ask a device for that is in contact and has nothing to send."""
        asked = self._asked.get(trust.name)
        if asked is None:
            return []
        due = [number for number, (times, at_ms) in asked.items() if _is_due(times, at_ms, now_ms)]
        chosen = sorted(due, reverse=True)[:ASKED_AT_ONCE]
        for number in chosen:
            times = asked[number][0] + 1
            if times == TIMES_ASKED:
                self.forget(trust.name, number)
            else:
                asked[number] = times, now_ms
        return [Order(trust.device, WANT, Want(number, _PARTS, 0, MAX_SEGMENTS).encode()) for number in chosen]


def _is_due(times: int, at_ms: int, now_ms: int) -> bool:
    # A clock that was set back must not make it wait.
    return not times or not 0 <= now_ms - at_ms < ASK_AGAIN_MS << (times - 1)
