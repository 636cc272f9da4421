"""Slots for firmware, `/a`, `/b` and `/rom`: which one runs, which one is on trial, and whether one is whole.

`/rom` is a partition that code is executed in place from, where a device has one. Nothing but a cable writes it, so it
is never on trial.

Rules that hold here:

- A slot is run only after its manifest's signature, every file's size and hash, and that there is no other file were
  checked, by the code that runs it.
- What is decided at a boot is kept, twice, before it is acted upon: a boot of a trial is counted before it begins.
- A version floor only rises.
- A device's loader carries a copy of this module: it imports nothing but what goes with it.
"""

import hashlib
import struct

from lapel_protocol.release import DAMAGED, RELEASE_ID_BYTES, ReleaseError, entries, verify_manifest

from .twofold import TwofoldFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lapel_protocol.release import Manifest

    from .boards.contract import Storage

    Code = tuple[int, int, int]
    Log = Callable[[str], None]
    # slot, whether it is on trial, its number, its release's id, hardware, code
    Running = tuple[int, bool, int, bytes, str, Code]

NO_SLOT = 0
SLOT_A = 1
SLOT_B = 2
SLOT_ROM = 3
SLOTS = (SLOT_A, SLOT_B, SLOT_ROM)

# SlotState.outcome: what became of the last trial
UNDECIDED = 0
TRIAL_GOOD = 1
TRIAL_ROLLED_BACK = 2  # none of its boots was answered by the gateway
TRIAL_DAMAGED = 3  # it was not whole when it was to be run

TRIAL_BOOTS = 3
KEY_PATH = "/update.key"

_STATE_PATH = "/slots."
_STATE_LAYOUT = ">BBBBBBHI8sI"  # form, active, trial, tries, outcome, zero, zero, floor, release, number
_STATE_FORM = 1
_CHUNK_BYTES = 1024
_MANIFEST = "manifest"


def slot_folder(slot: int) -> str:
    """The folder of a slot."""
    return ("", "/a", "/b", "/rom")[slot]


def manifest_path(slot: int) -> str:
    """The manifest of a slot, its signature behind it."""
    return slot_folder(slot) + "/" + _MANIFEST


def read_key(storage: "Storage") -> bytes:
    """The modulus of the firmware signer's key; raises OSError."""
    file = storage.open(KEY_PATH, "rb")
    try:
        return file.read(512)
    finally:
        file.close()


class SlotState:
    """What is kept: `active` is known to be good, `trial` has `tries` boots left, none runs that is below `floor`.

    `outcome` of the trial of `release` (its id, and its `number`) waits to be told. The default is a device on which
    nothing was decided yet.
    """

    def __init__(self, storage: "Storage") -> None:
        self._file = TwofoldFile(storage, _STATE_PATH)
        self.active = NO_SLOT
        self.trial = NO_SLOT
        self.tries = 0
        self.floor = 0
        self.outcome = UNDECIDED
        self.release = bytes(RELEASE_ID_BYTES)
        self.number = 0

    def load(self) -> None:
        """Take what is kept; raises OSError when storage fails for both copies."""
        record = self._file.read()
        if len(record) != struct.calcsize(_STATE_LAYOUT) or record[0] != _STATE_FORM:
            return
        _, active, trial, tries, outcome, _, _, floor, release, number = struct.unpack(_STATE_LAYOUT, record)
        if (
            active > SLOT_ROM
            or trial > SLOT_B
            or tries > TRIAL_BOOTS
            or outcome > TRIAL_DAMAGED
            or active == trial != 0
        ):
            return
        self.active, self.trial, self.tries, self.outcome = active, trial, tries, outcome
        self.floor, self.release, self.number = floor, release, number

    def keep(self) -> None:
        """Keep it; raises OSError when that did not succeed, and then both copies may differ."""
        self._file.write(
            struct.pack(
                _STATE_LAYOUT,
                _STATE_FORM,
                self.active,
                self.trial,
                self.tries,
                self.outcome,
                0,
                0,
                self.floor,
                self.release,
                self.number,
            )
        )

    def begin_trial(self, slot: int, manifest: "Manifest") -> None:
        """Run this slot at the next boots, and the other one again if nothing comes of it. Raises OSError."""
        self.active = SLOT_A + SLOT_B - slot
        self.trial = slot
        self.tries = TRIAL_BOOTS
        self.outcome = UNDECIDED
        self.release = manifest.release
        self.number = manifest.number
        self.keep()

    def end_trial(self, outcome: int, floor: int = 0) -> None:
        """The slot on trial is the active one from now on, or is not run again; nothing without one. Raises OSError."""
        if self.trial == NO_SLOT:
            return
        if outcome == TRIAL_GOOD:
            self.active = self.trial
            self.floor = max(self.floor, floor)
        self.trial = NO_SLOT
        self.tries = 0
        self.outcome = outcome
        self.keep()


def check_slot(
    storage: "Storage", slot: int, modulus: bytes, hardware: str, code: "Code", floor: int
) -> "Iterator[Manifest]":
    """Verify a slot whole, a chunk at each turn. Gives its manifest at every turn; it is good when the turns end.

    Raises ReleaseError or OSError.
    """
    file = storage.open(manifest_path(slot), "rb")
    try:
        manifest = verify_manifest(file, modulus)
        file.seek(manifest.content_at)
        if file.read(1):
            raise ReleaseError(DAMAGED, "something follows the manifest")
        manifest.check_for(hardware, code, floor)
        yield manifest
        for path, size, digest in entries(file, manifest):
            for _ in check_file(storage, slot_folder(slot) + "/" + path, size, digest):
                yield manifest
    finally:
        file.close()
    if count_files(storage, slot_folder(slot)) != manifest.count + 1:
        raise ReleaseError(DAMAGED, "there is a file that the manifest does not name")


def check_file(storage: "Storage", path: str, size: int, digest: bytes) -> "Iterator[int]":
    """Compare a file with its size and SHA-256, a chunk at each turn. Raises ReleaseError or OSError."""
    if storage.size(path) != size:
        raise ReleaseError(DAMAGED, path)
    state = hashlib.sha256()
    file = storage.open(path, "rb")
    try:
        left = size
        while left:
            chunk = file.read(min(left, _CHUNK_BYTES))
            if not chunk:
                break
            state.update(chunk)
            left -= len(chunk)
            yield left
    finally:
        file.close()
    if state.digest() != digest:
        raise ReleaseError(DAMAGED, path)


def count_files(storage: "Storage", folder: str) -> int:
    """Files below a folder, by the rule that only files' names have a dot. Raises OSError."""
    count = 0
    for name in storage.listdir(folder):
        if "." in name or name == _MANIFEST:
            count += 1
        else:
            count += count_files(storage, folder + "/" + name)
    return count


def choose_slot(storage: "Storage", modulus: bytes, hardware: str, code: "Code", log: "Log") -> "Running | None":
    """The slot to run at this boot, verified whole; None when none can be. Keeps what it decides.

    A tuple and no object, which would keep the loader's code alive behind its class. Raises ValueError when `modulus`
    is no key. Storage that cannot keep that a trial's boot is counted runs no trial.
    """
    state = SlotState(storage)
    known = True
    try:
        state.load()
    except OSError as error:
        known = False  # and is not written over: the floor would fall
        log("slots: state cannot be read: %s" % error)
    if state.trial != NO_SLOT:
        found = _try(storage, state, modulus, hardware, code, log)
        if found is not None:
            return state.trial, True, found.number, found.release, hardware, code
    best = None
    floor = 0
    order = [slot for slot in SLOTS if slot != state.active]
    if state.active != NO_SLOT:
        order.insert(0, state.active)
    for slot in order:
        if slot == SLOT_ROM and storage.size(manifest_path(slot)) < 0:
            continue  # most boards have none
        manifest = _whole(storage, slot, modulus, hardware, code, state.floor, log)
        # Where nothing is known of them, the newest one.
        if manifest is not None and (best is None or manifest.number > best[2]):
            best = slot, False, manifest.number, manifest.release, hardware, code
            floor = manifest.floor
            if state.active != NO_SLOT:
                break
    if known and best is not None and state.active == NO_SLOT:
        state.active = best[0]
        state.floor = max(state.floor, floor)
        try:
            state.keep()
        except OSError as error:
            log("slots: state cannot be kept: %s" % error)
    return best


def _try(
    storage: "Storage", state: SlotState, modulus: bytes, hardware: str, code: "Code", log: "Log"
) -> "Manifest | None":
    """The manifest of the slot on trial, if it is to be run; its boot is counted before it is looked at."""
    try:
        if not state.tries:
            log("slots: number %d had its trial, and no answer of the gateway" % state.number)
            state.end_trial(TRIAL_ROLLED_BACK)
            return None
        state.tries -= 1
        state.keep()
        manifest = _whole(storage, state.trial, modulus, hardware, code, state.floor, log)
        if manifest is None:
            state.end_trial(TRIAL_DAMAGED)
    except OSError as error:
        log("slots: state cannot be kept: %s" % error)
        return None
    return manifest


def _whole(
    storage: "Storage",
    slot: int,
    modulus: bytes,
    hardware: str,
    code: "Code",
    floor: int,
    log: "Log",
) -> "Manifest | None":
    manifest = None
    try:
        for found in check_slot(storage, slot, modulus, hardware, code, floor):
            manifest = found
    except ReleaseError as error:
        log("slots: %s is not run: %s" % (slot_folder(slot), error))
        return None
    except OSError as error:
        log("slots: %s cannot be read: %s" % (slot_folder(slot), error))
        return None
    return manifest
