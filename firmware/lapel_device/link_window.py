"""How many bytes may be unacknowledged on this link, so that an alarm does not wait behind a video.

An alarm that is published now waits until everything before it is through: unacknowledged bytes / link rate, less what
is already travelling. On a full link one message is always before it; the window keeps what else is near DELAY_MS:

    rate   = the larger of: bytes in flight when a message was sent / its round trip   (a queue: the link is full)
                            its own bytes / (its round trip - a small message's)       (no queue: it had the link alone)
    window = rate * (small round trip + DELAY_MS) + one segment, at most what the board allows

Either estimate is at most the link's rate, and one of them is it. Counting the small round trip in keeps a
slow-to-answer but wide link full; those bytes travel and delay nothing.
"""

DELAY_MS = 15
MESSAGE_MS = 30  # a segment by itself takes 33 on 1 Mbit/s, and is never cut
PROBE_MS = 30_000  # clips pause this often for one small round trip, so that its length is known as it is now
_FIRST_BASE_MS = 50
_MAX_RATE = 1 << 24  # bytes a second: beyond it the board's own limit decides anyway


class LinkWindow:
    """The window of one connection. `limit_bytes` is in force; `rate` (bytes a second) is 0 until it was measured.

    `base_ms` is the round trip of a small message that had the link to itself.
    """

    def __init__(self, least_bytes: int, most_bytes: int) -> None:
        self._least_bytes = least_bytes
        self._most_bytes = max(least_bytes, most_bytes)
        self._probed_ms = 0
        self.base_ms = _FIRST_BASE_MS
        self.rate = 0
        self.limit_bytes = least_bytes

    def reset(self, now_ms: int) -> None:
        """A new connection: nothing is known of it, so it starts with the least."""
        self._probed_ms = now_ms
        self.base_ms = _FIRST_BASE_MS
        self.rate = 0
        self.limit_bytes = self._least_bytes

    def probe_due(self, now_ms: int) -> bool:
        """Whether the small round trip should be measured again, with nothing else in flight."""
        return now_ms - self._probed_ms >= PROBE_MS

    def probed(self, round_trip_ms: int, now_ms: int) -> None:
        """A small message that had the link to itself was answered."""
        self._probed_ms = now_ms
        self.base_ms = round_trip_ms

    def acked(self, size_bytes: int, in_flight_bytes: int, round_trip_ms: int) -> None:
        """A message was acknowledged; `in_flight_bytes`, itself included, were unacknowledged when it was sent."""
        self.base_ms = min(self.base_ms, round_trip_ms)
        alone = size_bytes * 1000 // max(1, round_trip_ms - self.base_ms)
        sample = min(_MAX_RATE, max(alone, in_flight_bytes * 1000 // max(1, round_trip_ms)))
        self.rate = sample if not self.rate else (3 * self.rate + sample) // 4
        wanted = self.rate * (self.base_ms + DELAY_MS) // 1000 + self._least_bytes
        self.limit_bytes = max(self._least_bytes, min(wanted, self._most_bytes))

    def chunk_segments(self, segment_bytes: int, most: int) -> int:
        """Segments to put into one message: an alarm waits for the whole of it, so it takes MESSAGE_MS at most."""
        return max(1, min(most, self.rate * MESSAGE_MS // (1000 * segment_bytes)))
