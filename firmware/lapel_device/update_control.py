"""Updates of a device that runs from slots: fetching in the background, the trial, and what is told of them.

Made while there is something to do (see optional_parts). Rules that hold here:

- Nothing is asked for, written or restarted while the wearer records, an alarm is latched, a visit runs, or the battery
  is low.
- A trial is good by the gateway's authenticated welcome, and by nothing else. Without one the device restarts, and the
  loader counts.
- What became of a release is told by an event, and forgotten only once that is journalled.
"""

from lapel_protocol.command import UPDATE_OFFER
from lapel_protocol.errors import Malformed
from lapel_protocol.event import UPDATE_ASK, UPDATE_NOTE
from lapel_protocol.release import (
    BAD_SIGNATURE,
    BELOW_FLOOR,
    DAMAGED,
    MALFORMED,
    WRONG_CODE,
    WRONG_HARDWARE,
    ReleaseError,
)
from lapel_protocol.updating import (
    CAUSE_DAMAGED,
    CAUSE_NONE,
    CAUSE_OLDER,
    CAUSE_REPLACED,
    CAUSE_STORAGE,
    CAUSE_UNANSWERED,
    UPDATE_BEGUN,
    UPDATE_FAILED,
    UPDATE_GOOD,
    UPDATE_READY,
    UPDATE_ROLLED_BACK,
    UpdateAsk,
    UpdateNote,
    decode_update_block,
    decode_update_offer,
)

from .slots import SLOT_A, SLOT_B, TRIAL_DAMAGED, TRIAL_GOOD, TRIAL_ROLLED_BACK, UNDECIDED, SlotState, read_key
from .update_fill import NO_ROOM, OLDER, SlotFiller, read_floor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from lapel_protocol.updating import UpdateOffer

    from .boards.contract import Board, Storage
    from .identity import Identity
    from .slots import Running
    from .uplink import Uplink

    class Host(Protocol):
        """The application, as an update sees it."""

        def report(self, kind: int, payload: bytes, now_ms: int) -> None: ...


ASK_AGAIN_MS = 5_000
MAX_ASK_AGAIN_MS = 300_000
STORAGE_AGAIN_MS = 30_000
REFUSED_MS = 120_000
"""A release that was given up is not taken for this long: its offer may be repeated before the gateway has heard."""
TRIAL_MS = 600_000
"""A version on trial that the gateway has not answered for this long restarts: it may be what is wrong."""

_STORAGE_TRIES = 3
# CAUSE_… by their number, as release.py and update_fill.py call them
_REASONS = (
    "",
    MALFORMED,
    BAD_SIGNATURE,
    WRONG_HARDWARE,
    WRONG_CODE,
    BELOW_FLOOR,
    DAMAGED,
    OLDER,
    NO_ROOM,
)


class UpdateControl:
    """One boot's updates. `over` once there is nothing left to do."""

    def __init__(
        self,
        board: "Board",
        storage: "Storage",
        identity: "Identity",
        uplink: "Uplink",
        running: "Running",
        host: "Host",
    ) -> None:
        self._board = board
        self._storage = storage
        self._identity = identity
        self._uplink = uplink
        self._slot, self._trial, self._number, self._release, self._hardware, self._code = running
        self._host = host
        self._state = SlotState(storage)
        self._offer: UpdateOffer | None = None
        self._filler: SlotFiller | None = None
        self._refused = b""
        self._refused_ms = 0
        self._troubles = 0
        self._asked_ms = 0
        self._ask_delay_ms = ASK_AGAIN_MS
        self._asked_from = -1
        self._wait_ms = 0
        self._trial_ends_ms = 0
        self._loaded = False
        self._busy = False

    @property
    def over(self) -> bool:
        """Whether this object may go. One that gave a release up stays for a while, and remembers which."""
        return self._loaded and not self._trial and self._offer is None and not self._refused

    @property
    def trial(self) -> bool:
        """Whether what runs is on trial still."""
        return self._trial

    def told(self, kind: int, payload: bytes, now_ms: int) -> None:
        """An offer or a block, authentic and fresh."""
        try:
            if kind == UPDATE_OFFER:
                self._take_offer(decode_update_offer(payload), now_ms)
                return
            block = decode_update_block(payload)
        except Malformed:
            self._board.log("update: a command that cannot be read")
            return
        filler = self._filler
        if self._busy:
            return  # nothing is written now; it is asked for again
        if filler is None or self._offer is None or block.release != self._offer.release:
            return
        try:
            if filler.take(block):
                self._ask_delay_ms = ASK_AGAIN_MS
                self._asked_ms = now_ms
        except (OSError, MemoryError):
            self._trouble(now_ms)

    def poll(self, busy: bool, now_ms: int) -> None:
        """Call every 10 to 20 ms; `busy` while the wearer needs the device for something else."""
        self._busy = busy
        if now_ms < self._wait_ms:
            return
        if self._refused and not self._uplink.welcomed:
            self._refused_ms = now_ms  # the gateway cannot have heard
        if self._refused and now_ms - self._refused_ms >= REFUSED_MS:
            self._refused = b""
        try:
            if not self._loaded:
                self._begin(now_ms)
            if self._trial:
                self._watch_trial(busy, now_ms)
            elif self._offer is not None and not busy:
                self._fill(now_ms)
        except ReleaseError as error:
            self._fail(error, now_ms)
        except (OSError, MemoryError):
            self._trouble(now_ms)

    def _begin(self, now_ms: int) -> None:
        """Tell what became of the last trial."""
        state = self._state
        state.load()
        self._loaded = True
        self._trial = self._trial and state.trial == self._slot
        self._trial_ends_ms = now_ms + TRIAL_MS
        if state.outcome in (TRIAL_ROLLED_BACK, TRIAL_DAMAGED):
            # Its offer may come once more, before the gateway has heard.
            self._refused = state.release
            self._refused_ms = now_ms
        if state.outcome == TRIAL_ROLLED_BACK:
            self._tell(UPDATE_ROLLED_BACK, CAUSE_UNANSWERED, state.number, state.release, now_ms)
        elif state.outcome == TRIAL_DAMAGED:
            self._tell(UPDATE_FAILED, CAUSE_DAMAGED, state.number, state.release, now_ms)
        elif state.outcome == TRIAL_GOOD:
            self._tell(UPDATE_GOOD, CAUSE_NONE, state.number, state.release, now_ms)
        if state.outcome != UNDECIDED:
            state.outcome = UNDECIDED
            state.keep()

    def _watch_trial(self, busy: bool, now_ms: int) -> None:
        if self._uplink.welcomed:
            self._state.end_trial(TRIAL_GOOD, read_floor(self._storage, self._slot))
            self._trial = False
            self._board.log("update: number %d is good" % self._number)
            self._tell(UPDATE_GOOD, CAUSE_NONE, self._number, self._release, now_ms)
            self._state.outcome = UNDECIDED
            self._state.keep()
        elif now_ms >= self._trial_ends_ms and not busy:
            self._board.log("update: number %d has no answer of the gateway" % self._number)
            self._restart(now_ms)

    def _take_offer(self, offer: "UpdateOffer", now_ms: int) -> None:
        before = self._offer
        if before is not None and before.release == offer.release:
            return
        if before is not None:
            self._drop()
            self._tell(UPDATE_FAILED, CAUSE_REPLACED, before.number, before.release, now_ms)
        if not offer.number or offer.release == self._release or offer.release == self._refused:
            return
        if offer.number <= self._number:
            self._refuse(offer, now_ms)
            self._tell(UPDATE_FAILED, CAUSE_OLDER, offer.number, offer.release, now_ms)
            return
        self._offer = offer
        self._troubles = 0

    def _fill(self, now_ms: int) -> None:
        filler = self._filler
        offer = self._offer
        if offer is None:
            return
        if filler is None:
            floor = max(self._state.floor, read_floor(self._storage, self._slot))
            modulus = read_key(self._storage)
            slot = SLOT_A + SLOT_B - self._slot
            if self._state.active != self._slot:
                # The device runs the fallback: the other slot is not to be chosen while it is filled.
                self._state.active = self._slot
                self._state.keep()
            filler = SlotFiller(self._storage, slot, self._slot, modulus, self._hardware, self._code, floor, offer)
            self._filler = filler
            self._asked_from = -1
            if not self._troubles:
                self._board.log("update: number %d begins" % offer.number)
                self._tell(UPDATE_BEGUN, CAUSE_NONE, offer.number, offer.release, now_ms)
        filler.work()
        if filler.ready and filler.manifest is not None:
            self._board.log("update: number %d is whole; %d bytes were fetched" % (offer.number, filler.fetched))
            self._tell(UPDATE_READY, CAUSE_NONE, offer.number, offer.release, now_ms)
            self._state.begin_trial(SLOT_A + SLOT_B - self._slot, filler.manifest)
            self._restart(now_ms)
        elif filler.size and self._uplink.welcomed:
            self._ask(filler, offer, now_ms)

    def _ask(self, filler: SlotFiller, offer: "UpdateOffer", now_ms: int) -> None:
        again = now_ms - self._asked_ms >= self._ask_delay_ms
        if self._asked_from == filler.offset + filler.size and not again:
            return  # its blocks are on their way
        if again:
            self._ask_delay_ms = min(2 * self._ask_delay_ms, MAX_ASK_AGAIN_MS)
        self._asked_from = filler.offset + filler.size
        self._asked_ms = now_ms
        ask = UpdateAsk(offer.release, filler.offset, filler.size).encode()
        self._uplink.publish_fleeting(self._identity.seal(UPDATE_ASK, ask, now_ms))

    def _fail(self, error: ReleaseError, now_ms: int) -> None:
        """This release is not run; another may be offered."""
        offer = self._offer
        self._drop()
        if offer is None:
            return
        self._board.log("update: number %d is given up: %s" % (offer.number, error))
        self._refuse(offer, now_ms)
        for cause in range(1, len(_REASONS)):
            if _REASONS[cause] == error.reason:
                self._tell(UPDATE_FAILED, cause, offer.number, offer.release, now_ms)

    def _trouble(self, now_ms: int) -> None:
        """Storage or memory fails: again in a while, then no more."""
        offer = self._offer
        filler = self._filler
        self._filler = None
        if filler is not None:
            filler.close()
        self._wait_ms = now_ms + STORAGE_AGAIN_MS
        self._troubles += 1
        if offer is not None and self._troubles >= _STORAGE_TRIES:
            self._offer = None
            self._refuse(offer, now_ms)
            self._tell(UPDATE_FAILED, CAUSE_STORAGE, offer.number, offer.release, now_ms)

    def _refuse(self, offer: "UpdateOffer", now_ms: int) -> None:
        self._refused = offer.release
        self._refused_ms = now_ms

    def _drop(self) -> None:
        if self._filler is not None:
            self._filler.close()
        self._filler = None
        self._offer = None

    def _tell(self, what: int, why: int, number: int, release: bytes, now_ms: int) -> None:
        self._host.report(UPDATE_NOTE, UpdateNote(what, why, number, release).encode(), now_ms)

    def _restart(self, now_ms: int) -> None:
        self._drop()
        self._wait_ms = now_ms + STORAGE_AGAIN_MS  # where a reset returns
        self._uplink.close(now_ms)
        self._board.reset()
