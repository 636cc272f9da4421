"""The clips of one member on their way to custody: credit, progress, wants, and sending again (SPEC section 9.3).

The firmware's clip lane does the same from storage and for clips that are still growing; here a clip is whole, in
memory, and let go when its receipt names its head.
"""

from __future__ import annotations

from lapel_protocol.limits import MAX_CHUNK_SEGMENTS, MAX_SEGMENT_RECORD_BYTES
from lapel_protocol.orders import WANT_END, WANT_HEADER, WANT_SEGMENTS, Credit, Receipt, Want
from lapel_sim.fleet.sealer import SealedClip

STALL_MS = 10_000
MAX_STALL_MS = 320_000
"""Nothing moved for this long: send again from what the gateway holds; doubles with every time."""


class Upload:
    """One clip: what the gateway holds of it, and what was sent."""

    def __init__(self, clip: SealedClip, now_ms: int) -> None:
        self.clip = clip
        self.began_ms = now_ms
        self.held = 0
        self.next = 0
        self.high = 0
        self.header_sent = False
        self.end_sent = False
        self.stalls = 0
        self.progress_ms = now_ms

    def again(self) -> None:
        """Go back to what the gateway holds."""
        self.next = self.held
        self.header_sent = self.held > 0 and self.stalls < 2
        self.end_sent = False


class Uploads:
    """The unreceipted clips of one member, oldest first."""

    def __init__(self) -> None:
        self.clips: dict[int, Upload] = {}
        self.granted = False
        self.blocked = False
        """Whether the last `take` found something to send and no credit for it."""
        self._window_bytes = 0
        self._wants: list[Want] = []

    def add(self, clip: SealedClip, now_ms: int) -> None:
        """A clip was recorded."""
        self.clips[clip.clip] = Upload(clip, now_ms)

    def reconnected(self, resumed: bool, now_ms: int) -> None:
        """A new connection: credit is granted anew; without its old session what is not confirmed goes again."""
        self._window_bytes = 0
        self.granted = self.blocked = False
        self._wants = []
        for upload in self.clips.values():
            upload.progress_ms = now_ms
            if not resumed:
                upload.again()

    def credit(self, credit: Credit, now_ms: int) -> None:
        """The gateway's window, and what it holds of each clip."""
        self._window_bytes = credit.window_bytes
        self.granted = True
        for number, contiguous in credit.clips:
            upload = self.clips.get(number)
            if upload is None or contiguous == upload.held or contiguous > len(upload.clip.segments):
                continue
            went_back = contiguous < upload.held
            upload.held = contiguous
            if went_back:
                upload.again()
            else:
                upload.stalls = 0
                upload.progress_ms = now_ms
                upload.next = max(upload.next, contiguous)
                upload.high = max(upload.high, contiguous)

    def receipt(self, receipt: Receipt) -> Upload | None:
        """The clip that this receipt takes into custody; None for one that is gone already. Raises ValueError.

        A receipt that names another head or another number of segments takes nothing.
        """
        upload = self.clips.get(receipt.clip)
        if upload is None:
            return None
        if (receipt.segments, receipt.head) != upload.clip.settled:
            raise ValueError("a receipt that names another head")
        return self.clips.pop(receipt.clip)

    def want(self, want: Want) -> None:
        """The gateway asks for parts of a clip again."""
        if want.clip in self.clips:
            self._wants.append(want)

    def take(self, now_ms: int) -> bytes | None:
        """The next message of the clip lane; None when there is nothing to send, or no credit for it."""
        self.blocked = False
        if not self.granted:
            return None
        while self._wants:
            payload = self._wanted(self._wants.pop(0))
            if payload:
                return payload
        for upload in self.clips.values():
            self._stall(upload, now_ms)
            payload = self._next(upload, now_ms)
            if payload:
                return payload
        return None

    def _wanted(self, want: Want) -> bytes:
        upload = self.clips.get(want.clip)
        if upload is None:
            return b""
        if want.parts & WANT_SEGMENTS:
            # What follows is sent in its turn; sending again costs no credit.
            upload.next = min(want.first, upload.next)
            upload.end_sent = False
        parts = upload.clip.header_record if want.parts & WANT_HEADER else b""
        return parts + (upload.clip.end_record if want.parts & WANT_END else b"")

    def _next(self, upload: Upload, now_ms: int) -> bytes:
        segments = upload.clip.segments
        count = min(MAX_CHUNK_SEGMENTS, len(segments) - upload.next)
        fresh = upload.next + count - upload.high
        if fresh > 0:
            affordable = max(0, self._left_bytes()) // MAX_SEGMENT_RECORD_BYTES
            if affordable < fresh:
                self.blocked = True
                count = max(0, count - fresh + affordable)
        last = upload.next + count == len(segments)
        if not count and not (last and not upload.end_sent):
            return b""
        payload = b"" if upload.header_sent or upload.next else upload.clip.header_record
        payload += b"".join(segments[upload.next : upload.next + count])
        if last and not upload.end_sent:
            payload += upload.clip.end_record
            upload.end_sent = True
        upload.header_sent = True
        upload.next += count
        upload.high = max(upload.high, upload.next)
        upload.progress_ms = now_ms
        return payload

    def _stall(self, upload: Upload, now_ms: int) -> None:
        if upload.high <= upload.held and not upload.end_sent:
            return
        if now_ms - upload.progress_ms >= min(STALL_MS << min(upload.stalls, 8), MAX_STALL_MS):
            upload.stalls += 1
            upload.progress_ms = now_ms
            upload.again()

    def _left_bytes(self) -> int:
        under_way = sum(max(0, upload.high - upload.held) for upload in self.clips.values())
        return self._window_bytes - under_way * MAX_SEGMENT_RECORD_BYTES
