"""Which piece of which clip goes out next (SPEC section 9): credit, progress, wants, and sending again.

Rules that hold here:

- a segment that was never sent costs credit; sending it again costs nothing;
- an alarm's clips come first and have their own credit; the others follow oldest first;
- what the gateway does not confirm is sent again, later each time: a broker's acknowledgement is no evidence;
- a clip becomes deletable only by a receipt that names its number of segments and its own head.
"""

from lapel_protocol.limits import (
    CLIP_END_BYTES,
    CLIP_HEADER_BYTES,
    MAX_CHUNK_SEGMENTS,
    MAX_SEGMENT_RECORD_BYTES,
)
from lapel_protocol.orders import WANT_END, WANT_HEADER, WANT_SEGMENTS
from lapel_protocol.stream import segment_offset

from .clip_writer import SpoolClip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lapel_protocol.orders import Credit, Receipt, Want

    from .spool import Spool

STALL_MS = 10_000  # nothing moved for this long: send again from what the gateway holds; doubles with every time
MAX_STALL_MS = 320_000
MAX_WANTS = 4  # the gateway asks again for what does not fit
_HEADER_AGAIN_STALLS = 2  # a gateway that lost everything learns from the header what it lacks

# Parts of a message; the same bits as in a Want.
HEADER = WANT_HEADER
END = WANT_END
SEGMENTS = WANT_SEGMENTS


def chunk_bytes(segments: int) -> int:
    """The largest message with this many segments: header and end may travel along."""
    return CLIP_HEADER_BYTES + segments * MAX_SEGMENT_RECORD_BYTES + CLIP_END_BYTES


class ClipLane:
    """The clips of one spool on their way. After `pick`, the message is (`clip`, `parts`, `first`, `count`).

    `blocked` tells that the last `pick` found work and no credit for it, `refused` counts receipts that did not fit.
    """

    def __init__(self, spool: "Spool") -> None:
        self._spool = spool
        self._wants: list[list[int]] = []  # clip, parts, first, count
        self._wanted: SpoolClip | None = None
        self.credit_bytes = 0
        self.alarm_credit_bytes = 0
        self.granted = False
        self.blocked = False
        self.refused = 0
        self.clip = 0
        self.parts = 0
        self.first = 0
        self.count = 0

    @property
    def held(self) -> int:
        """Clips on the device that are not receipted."""
        return self._spool.count

    def reconnected(self, resumed: bool, now_ms: int) -> None:
        """A new connection: credit is granted anew. Without its old session, whatever is not confirmed goes again."""
        self.credit_bytes = self.alarm_credit_bytes = 0
        self.granted = False
        self.blocked = False
        self._wants = []
        for clip in self._spool.clips():
            clip.progress_ms = now_ms
            clip.parked = False
            if not resumed:
                clip.next = clip.held
                clip.header_sent = clip.held > 0
                clip.end_sent = False

    # -- what the gateway says --------------------------------------------------------------------------------------

    def credit(self, credit: "Credit", now_ms: int) -> None:
        """The gateway's window and what it holds of each clip. It may hold less than before, if it was restored."""
        self.credit_bytes = credit.window_bytes
        self.alarm_credit_bytes = credit.alarm_window_bytes
        self.granted = True
        for number, contiguous in credit.clips:
            clip = self._find_loaded(number)
            if clip is None or contiguous == clip.held or contiguous > clip.segments:
                continue
            if contiguous > clip.held:
                clip.stalls = 0
                clip.progress_ms = now_ms
                clip.header_sent = True
                clip.next = max(clip.next, contiguous)
                clip.high = max(clip.high, contiguous)
            else:
                clip.next = contiguous
                clip.header_sent = contiguous > 0
                clip.end_sent = False
            clip.held = contiguous

    def receipt(self, receipt: "Receipt") -> bool:
        """Custody of a clip has passed, if the receipt names its own end and head; False when it does not."""
        clip = self._spool.find(receipt.clip)
        if clip is None:
            return True
        if clip.live or not clip.settled or receipt.segments != clip.segments or receipt.head != clip.head:
            self.refused += 1
            return False
        self._spool.mark_receipted(clip, receipt.level)
        return True

    def park(self, number: int) -> None:
        """The gateway cannot open this clip: keep it, and send no more of it on this connection, unless wanted."""
        clip = self._find_loaded(number)
        if clip is not None:
            clip.parked = True
            clip.high = clip.next = clip.held

    def want(self, want: "Want") -> None:
        """The gateway asks for parts of a clip again, receipted or not. Beyond MAX_WANTS it has to ask again."""
        for waiting in self._wants:
            if waiting[0] == want.clip:
                waiting[1] |= want.parts
                if want.parts & SEGMENTS:
                    waiting[2] = want.first
                    waiting[3] = want.count
                return
        if len(self._wants) < MAX_WANTS:
            self._wants.append([want.clip, want.parts, want.first, want.count])

    # -- what goes out ----------------------------------------------------------------------------------------------

    def pick(self, most_segments: int, now_ms: int) -> bool:
        """Choose the next message with at most this many segments; False when there is nothing, or no credit."""
        self.blocked = False
        most = min(most_segments, MAX_CHUNK_SEGMENTS)
        if self._pick_wanted(most):
            return True
        for clip in self._spool.clips():
            self._stall(clip, now_ms)
            if self._pick_from(clip, most):
                return True
        return False

    def fill(self, number: int, parts: int, first: int, count: int, buffer: memoryview) -> int:
        """Copy a message's records into `buffer`: its size, or 0 when the clip is gone or storage fails."""
        clip = self._find(number)
        if clip is None or first + count > clip.segments:
            return 0
        start = 0 if parts & HEADER else segment_offset(first) if count else clip.content_bytes
        end = CLIP_HEADER_BYTES
        if count:
            end = clip.content_bytes if first + count == clip.segments else segment_offset(first + count)
        if parts & END:
            if not clip.ended:
                return 0
            end = clip.content_bytes + CLIP_END_BYTES
        return self._spool.read(clip, start, end - start, buffer)

    def sent(self, now_ms: int) -> None:
        """The message of the last `pick` is on its way."""
        clip = self._find_loaded(self.clip)
        if self._wants and self._wants[0][0] == self.clip:
            self._want_served(self._wants[0])
        if clip is None:
            return
        clip.progress_ms = now_ms
        clip.header_sent = clip.header_sent or bool(self.parts & HEADER)
        clip.end_sent = clip.end_sent or bool(self.parts & END)
        if self.parts & SEGMENTS and self.first <= clip.next:
            clip.next = max(clip.next, self.first + self.count)
            clip.high = max(clip.high, clip.next)

    def unreadable(self, now_ms: int) -> None:
        """Storage did not give the message of the last `pick`: leave that clip for a while."""
        if self._wants and self._wants[0][0] == self.clip:
            self._wants.pop(0)
        clip = self._find_loaded(self.clip)
        if clip is not None:
            clip.header_sent = clip.end_sent = True
            clip.next = clip.segments
            clip.progress_ms = now_ms
            clip.stalls += 1

    def _pick_from(self, clip: SpoolClip, most: int) -> bool:
        if clip.parked or (not clip.live and not clip.settled):
            return False  # not wanted, or how far it goes is still being found out
        self.clip = clip.clip
        self.parts = 0 if clip.header_sent else HEADER
        self.first = clip.next
        self.count = min(most, clip.segments - clip.next)
        if self.parts and clip.next:
            self.count = 0  # the header by itself: it does not lie beside these segments
        fresh = self.first + self.count - clip.high
        if fresh > 0:
            affordable = self._left(clip.alarm) // MAX_SEGMENT_RECORD_BYTES
            if affordable < fresh:
                self.blocked = True
                self.count -= fresh - max(0, affordable)
        if self.count > 0:
            self.parts |= SEGMENTS
        else:
            self.count = 0
        if clip.ended and not clip.end_sent and self.first + self.count == clip.segments and self.parts != HEADER:
            self.parts |= END
        # A header goes out only with credit for what follows it, or the gateway keeps it for nothing.
        return self.parts > HEADER or (self.parts == HEADER and not self.blocked)

    def _pick_wanted(self, most: int) -> bool:
        while self._wants:
            want = self._wants[0]
            clip = self._find(want[0])
            if clip is None:
                self._wants.pop(0)
                continue
            self.clip = want[0]
            self.first = want[2]
            self.count = 0
            if want[1] & HEADER:
                self.parts = HEADER
                self.first = 0
                return True
            if want[1] & SEGMENTS:
                self.count = min(most, want[3], clip.segments - self.first)
                if self.count > 0:
                    self.parts = SEGMENTS
                    return True
                want[1] &= ~SEGMENTS
            if want[1] & END and clip.ended:
                self.parts = END
                self.first = clip.segments
                self.count = 0
                return True
            self._wants.pop(0)
        self._wanted = None
        return False

    def _want_served(self, want: "list[int]") -> None:
        if self.parts & SEGMENTS:
            want[2] += self.count
            want[3] -= self.count
        else:
            want[1] &= ~self.parts
        if not want[1] or (want[1] == SEGMENTS and want[3] <= 0):
            self._wants.pop(0)

    def _stall(self, clip: SpoolClip, now_ms: int) -> None:
        """Go back to what the gateway holds when nothing has moved for too long."""
        done = clip.settled and clip.next >= clip.segments and clip.header_sent and clip.end_sent == clip.ended
        if clip.parked or (clip.high <= clip.held and not done):
            return
        if now_ms - clip.progress_ms < min(STALL_MS << min(clip.stalls, 8), MAX_STALL_MS):
            return
        clip.stalls += 1
        clip.progress_ms = now_ms
        clip.end_sent = False
        clip.next = min(clip.held, clip.segments)
        if clip.next == clip.segments and not clip.ended:
            clip.next = max(0, clip.segments - 1)  # something must go out, for the gateway to answer
        if clip.stalls >= _HEADER_AGAIN_STALLS or not clip.segments:
            clip.header_sent = False

    def _left(self, alarm: bool) -> int:
        """Credit that is not spent on segments that the gateway does not hold yet."""
        left = self.alarm_credit_bytes if alarm else self.credit_bytes
        for clip in self._spool.clips():
            if clip.alarm == alarm and clip.high > clip.held:
                left -= segment_offset(clip.high) - segment_offset(clip.held)
        return left

    def _find_loaded(self, number: int) -> "SpoolClip | None":
        for clip in self._spool.clips():
            if clip.clip == number:
                return clip
        return None

    def _find(self, number: int) -> "SpoolClip | None":
        """A clip by number; one that is not loaded is read from storage once while it is wanted."""
        clip = self._find_loaded(number)
        if clip is None:
            if self._wanted is None or self._wanted.clip != number:
                self._wanted = self._spool.find(number)
            clip = self._wanted
        return clip
