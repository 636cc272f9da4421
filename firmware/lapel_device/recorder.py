"""One clip from its start to its end: frames, audio and events -> Matroska -> sealed segments -> spool.

Rules that hold here:

- Plain video never leaves RAM: what reaches the spool is sealed. The keys of a clip are forgotten when it ends.
- The epoch is consumed before the clip is opened, and `started` is marked once its header is durable, so that
  every clip ever started is accounted for.
- Every frame that was captured in the clip's time is in the Matroska or counted as dropped and noted in the text
  track; the last text says both counts, and the end record repeats them.
- OSError means that storage does not take it. The caller ends the clip; nothing already sealed is touched.
- What waits for a full segment does not wait for ever: a segment that has not filled up in SYNC_MS is filled
  with a Matroska Void, sealed and made durable like the others.

Text lines, in English, for people: "recording: ...", "alarm: ...", "frames dropped: ...", "audio: ...", "end: ...".
"""

import gc

from lapel_protocol import labels
from lapel_protocol.clip import (
    CODEC_MATROSKA_MJPEG_PCM,
    CODEC_MATROSKA_PCM,
    FLAG_ALARM,
    PREV_UNSETTLED_HEAD,
    TRUST_NONE,
    ClipEnd,
    ClipHeader,
    make_clip_header,
    seal_clip_end,
)
from lapel_protocol.keys import pool_bytes
from lapel_protocol.limits import MAX_SEGMENTS, PREFIX_BYTES, SALT_BYTES
from lapel_protocol.reports import EPOCH_BURNED, EPOCH_CLIP
from lapel_protocol.stream import SegmentSealer, StreamKeys, tink_header

from .keystore import MARK_CLIP
from .matroska import MatroskaWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lapel_protocol.keys import EpochKeys

    from .boards.contract import Board
    from .epochs import EpochLedger
    from .identity import Identity
    from .keystore import KeyStore
    from .seeds import WrappedSeed
    from .spool import ClipWriter, Spool

SYNC_MS = 2000
"""What a power cut can take from a clip is at most this much, and a part of a segment."""

TEXT_MS = 2000
"""How long a player shows a line of the text track."""

DROP_NOTE_MS = 1000
"""Dropped frames are noted at most this often; every note gives the count so far."""

AUDIO_GAP_MS = 1000
"""Audio time follows the sample count until it is this far from the clock: samples were lost, or clocks drifted."""

LAST_SEGMENTS = 64
"""A clip is ended by its limit this many segments before the protocol's, so that its end always fits."""

# For people, by NOTICE_*, TRUST_* and END_*.
_NOTICE_WORDS = ("", "confirmed", "prompted, timed out", "skipped, no time", "skipped, alarm", "continued")
_TRUST_WORDS = ("not set", "kept by the clock", "from the network", "from the gateway")
_END_WORDS = ("", "wearer", "remote", "storage", "battery", "limit", "unopenable", "restart")
_BYTES_PER_SAMPLE = 2
_MIN_VOID_BYTES = 2


class Recorder:
    """Records one clip at a time. `clip` is its number while `active`; counts are of that clip, or of the last one."""

    def __init__(
        self,
        board: "Board",
        identity: "Identity",
        key_id: bytes,
        keystore: "KeyStore",
        spool: "Spool",
        ledger: "EpochLedger",
    ) -> None:
        self._board = board
        self._profile = board.profile
        self._identity = identity
        self._key_id = key_id
        self._keystore = keystore
        self._spool = spool
        self._ledger = ledger
        self._sealer = SegmentSealer()
        self._matroska = MatroskaWriter(self)
        self._no_keys = StreamKeys(bytes(32), bytes(SALT_BYTES), b"")
        self._writer: ClipWriter | None = None
        self._keys: EpochKeys | None = None
        self.active = False
        self.clip = 0
        self.audio_rate_hz = 0
        self._reset(0)

    def _reset(self, now_ms: int) -> None:
        self.started_ms = now_ms
        self.frames = 0
        self.dropped = 0
        self.size_bytes = 0
        self.segments = 0
        self._noted_dropped = 0
        self._noted_ms = now_ms - DROP_NOTE_MS
        self._audio_from_ms = -1
        self._samples = 0
        self._synced_ms = now_ms
        self._filling_since_ms = -1

    @property
    def at_limit(self) -> bool:
        """Whether the clip must end because the protocol's segment numbers run out."""
        return self.segments >= MAX_SEGMENTS - LAST_SEGMENTS

    def begin(self, header: ClipHeader, audio: bool, seed: "WrappedSeed", now_ms: int) -> None:
        """Consume an epoch and open a clip at `now_ms` (monotonic), with an audio track if `audio`.

        The caller sets in `header` why and how the clip starts (notice, prompted_ms, confirmed_ms, alarm_boot,
        alarm_counter); the rest is set here. Raises KeyStoreFault when the key sectors fail and OSError when storage
        does; nothing is active then, and an epoch that was consumed is reported by the epoch ledger. After these, and
        after a MemoryError, `abandon` what may have been begun.
        """
        gc.collect()  # what a clip keeps open then lies close together
        number = self._keystore.epoch
        try:
            self._begin(header, audio, seed, now_ms)
        except (OSError, MemoryError):
            if self._keystore.epoch > number:
                # The ledger accounts for the epoch whatever became of it; a failed removal leaves the file, so a clip.
                begun = self._writer is not None or self._is_there(number)
                self._ledger.add(number, EPOCH_CLIP if begun else EPOCH_BURNED)
            raise

    def _begin(self, header: ClipHeader, audio: bool, seed: "WrappedSeed", now_ms: int) -> None:
        secret, _, header.wrapped_seed = seed
        alarm = header.alarm_counter != 0
        epoch = self._keystore.step(MARK_CLIP, self._board.entropy(32), self._board.clock.ticks_ms())
        header.device = self._identity.device
        header.clip = epoch.number
        header.boot = self._identity.boot
        header.flags = FLAG_ALARM if alarm else 0
        header.wall_ms, header.trust = self._identity.time.wall(now_ms)
        header.mono_ms = now_ms
        header.codec = CODEC_MATROSKA_MJPEG_PCM if self._profile.frame_width else CODEC_MATROSKA_PCM
        header.key_id = self._key_id
        header.previous_clip, head = self._spool.last()
        if header.previous_clip:
            header.previous_head = head or PREV_UNSETTLED_HEAD
        salt = pool_bytes(epoch.pool, labels.POOL_SALT, SALT_BYTES)
        header.tink_header = tink_header(salt, pool_bytes(epoch.pool, labels.POOL_PREFIX, PREFIX_BYTES))
        record, stream = make_clip_header(header, epoch.keys, secret)
        self._reset(now_ms)
        self._writer = self._spool.create(epoch.number, self._identity.boot, alarm, record)
        self._keystore.started()
        self._ledger.add(epoch.number, EPOCH_CLIP)
        keys = epoch.keys
        # Only the end record is still to be sealed; what could open the clip again is let go now.
        keys.clip_enc = keys.event_auth = keys.event_enc = b""
        keys.command_auth = keys.command_enc = keys.command_iv = b""
        self._keys = keys
        self._sealer.begin(header.device, epoch.number, stream, header.prefix)
        self.clip = epoch.number
        self.active = True
        date_ms = header.wall_ms if header.trust != TRUST_NONE else 0
        profile = self._profile
        self.audio_rate_hz = profile.audio_rate_hz if audio else 0
        self._matroska.begin(profile.frame_width, profile.frame_height, self.audio_rate_hz, date_ms)
        self.note(
            "recording: notice %s, prompted %d ms and confirmed %d ms before the start, time %s"
            % (_NOTICE_WORDS[header.notice], header.prompted_ms, header.confirmed_ms, _TRUST_WORDS[header.trust]),
            now_ms,
        )

    def frame(self, jpeg: memoryview, captured_ms: int, now_ms: int) -> None:
        """A frame captured at `captured_ms`; an empty or oversized one is counted as dropped. Raises OSError.

        A frame that was captured before the clip began is not part of it and is left out without a trace.
        """
        if not self.active or captured_ms < self.started_ms:
            return
        if not jpeg or len(jpeg) > self._profile.max_frame_bytes:
            self.dropped += 1
            if now_ms - self._noted_ms >= DROP_NOTE_MS:
                self._note_dropped(now_ms)
            return
        self._matroska.frame(jpeg, captured_ms - self.started_ms)
        self.frames += 1

    def audio(self, pcm: memoryview, now_ms: int) -> None:
        """Samples of which the last was taken about `now_ms`; their times follow from their number. Raises OSError."""
        rate_hz = self.audio_rate_hz
        if not self.active or not pcm or not rate_hz:
            return
        count = len(pcm) // _BYTES_PER_SAMPLE
        by_clock_ms = max(0, now_ms - self.started_ms - count * 1000 // rate_hz)
        at_ms = self._audio_from_ms + self._samples * 1000 // rate_hz
        if self._audio_from_ms < 0 or abs(by_clock_ms - at_ms) > AUDIO_GAP_MS:
            if self._audio_from_ms >= 0:
                self.note("audio: %d ms between samples and clock" % (by_clock_ms - at_ms), now_ms)
            self._audio_from_ms = by_clock_ms
            self._samples = 0
            at_ms = by_clock_ms
        self._matroska.audio(pcm, at_ms)
        self._samples += count

    def note(self, line: str, now_ms: int) -> None:
        """A line in the text track, at `now_ms`. Raises OSError."""
        if self.active:
            self._matroska.text(line.encode(), now_ms - self.started_ms, TEXT_MS)

    def poll(self, now_ms: int) -> None:
        """Seal and make durable what has waited for SYNC_MS. Raises OSError."""
        if not self.active:
            return
        if self.dropped != self._noted_dropped and now_ms - self._noted_ms >= DROP_NOTE_MS:
            self._note_dropped(now_ms)
        waiting = self._sealer.waiting_bytes
        if not waiting:
            self._filling_since_ms = -1
        elif self._filling_since_ms < 0:
            self._filling_since_ms = now_ms
        elif now_ms - self._filling_since_ms >= SYNC_MS and self._sealer.room >= _MIN_VOID_BYTES:
            self._matroska.void(self._sealer.room)
            self._filling_since_ms = -1
        if now_ms - self._synced_ms >= SYNC_MS:
            self._synced_ms = now_ms
            if self._writer is not None:
                self._writer.sync()

    def finish(self, reason: int, now_ms: int) -> None:
        """Seal the last segment, write the end record (`reason` is an END_* of the protocol) and make it all durable.

        Raises OSError when storage does not take it: then `abandon` it.
        """
        if not self.active or self._writer is None or self._keys is None:
            return
        if self.dropped != self._noted_dropped:
            self._note_dropped(now_ms)
        self.note("end: %s, %d frames, %d dropped" % (_END_WORDS[reason], self.frames, self.dropped), now_ms)
        self._seal(True)
        end = ClipEnd()
        end.device = self._identity.device
        end.clip = self.clip
        end.reason = reason
        end.segments = self.segments
        end.duration_ms = now_ms - self.started_ms
        end.size_bytes = self.size_bytes
        end.frames = self.frames
        end.dropped = self.dropped
        end.wall_ms, _ = self._identity.time.wall(now_ms)
        end.mono_ms = now_ms
        end.head = self._writer.head
        self._writer.finish(seal_clip_end(end, self._keys))
        self._forget()

    def abandon(self, why: int) -> None:
        """Let go of a clip that storage does not take: the spool settles it as cut, for the reason `why` (WHY_*)."""
        if self._writer is None:
            return
        try:
            self._writer.abandon(why)
        except OSError:
            self._board.log("clip %d: storage failed; it is settled after the next restart" % self.clip)
        self._forget()

    def write(self, data: "bytes | bytearray | memoryview") -> None:
        """The Matroska writer's sink: takes everything, sealing each segment as it fills. Raises OSError."""
        size = len(data)
        at = 0
        while at < size:
            at += self._sealer.write(data, at)
            if self._sealer.full:
                self._seal(False)
        self.size_bytes += size

    def _is_there(self, clip: int) -> bool:
        try:
            return self._spool.has(clip)
        except OSError:
            return False

    def _seal(self, last: bool) -> None:
        record = self._sealer.seal(last)
        self._filling_since_ms = -1
        self.segments += 1
        if self._writer is not None:
            self._writer.append(record)

    def _note_dropped(self, now_ms: int) -> None:
        self._noted_ms = now_ms
        self._noted_dropped = self.dropped
        self.note(
            "frames dropped: larger than %d bytes (%d so far)" % (self._profile.max_frame_bytes, self.dropped), now_ms
        )

    def _forget(self) -> None:
        self.active = False
        self._writer = None
        self._keys = None
        # Overwrites the cipher that the sealer holds: a device taken now opens no clip that has ended.
        self._sealer.begin(self._identity.device, 0, self._no_keys, bytes(PREFIX_BYTES))
