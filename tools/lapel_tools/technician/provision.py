"""A board on a cable becomes a device: looked at, entered in the registry, given its identity, and started.

Rules that hold here:

- A board is entered only after everything that speaks against it was looked at: firmware, an identity that it has, an
  alarm, clips that nobody else has.
- Whatever breaks from then on, the new entry is retired and the command can be repeated; the board says that it is not
  provisioned.
- It counts when the device itself, started anew, says who it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field

from lapel_gateway.ledger.schema import DEVICE_RETIRED
from lapel_gateway.registry import Package
from lapel_protocol.release import code_of

from .condition import Condition, read_condition
from .holding import RETURN_TIMEOUT_S, hold
from .identity import IdentityError, Say, clear, clear_clips, give, given_of, withdraw
from .link import BoardError, BoardLink, LinkError
from .ports import BoardFacts, SerialPort, read_facts, wait_for_port
from .reset import has_clip_storage
from .session import take_board
from .survey import survey

START_TIMEOUT_S = 60.0
"""From the reset to the line that says who it is; a Pico W takes ten seconds."""

_OUT_OF_SERVICE = b"out of service:"
_NO_FIRMWARE = b"flash this device"

Enter = Callable[[BoardFacts], AbstractContextManager[Package]]
StateOf = Callable[[str], str | None]
"""What the registry says of a device id: its state, None for one of another gateway."""


class Refused(Exception):
    """The board is not provisioned, and was not changed; the message says why and what to do."""


class Broken(Exception):
    """It broke off on the way; the message says so, and that the command can be repeated."""


@dataclass(frozen=True)
class Wishes:
    """`again`: also a device of somebody's; `expected`: the device that is to be at the port, empty where it is new.

    `lose_clips` and `even_busy` are a technician's word for what would be lost; `bearers`, as in `identity.given_of`.
    """

    again: bool = False
    expected: str = ""
    lose_clips: bool = False
    even_busy: bool = False
    bearers: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Provisioned:
    """`fingerprint`: of what the board reads back. `says`: the line with which it started."""

    device: str
    name: str
    hardware: str
    fingerprint: str
    says: str


def provision_board(
    port: SerialPort, wishes: Wishes, enter: Enter, state_of: StateOf, say: Say = lambda what: None
) -> Provisioned:
    """Provision the board at a port. `enter` makes the device of the registry, and retires it when its block raises.

    `say` is told each step before it is taken, and may raise Broken. Raises Refused, Broken, LinkError before anything
    was changed, and what `enter` raises.
    """
    say("looking")
    port, held = hold(port, fresh=False, remedy="flash it first")
    with held as link:
        try:
            has_board = take_board(link)
            condition = read_condition(link)
            facts = read_facts(link)
            if not has_board:
                raise Refused("there is no firmware on it that makes its drivers: lapel device flash")
            _check(condition, facts, wishes, state_of)
            if facts.device and not wishes.lose_clips and not has_clip_storage(link):
                raise Refused(
                    "its card does not answer, so nobody knows what clips are on it: put it in, or give them up with "
                    "--lose-clips"
                )
            link.stop(fresh=True)
            slot = _runs(link, facts)
        except (Refused, BoardError) as error:
            link.reset()
            if isinstance(error, BoardError):
                raise Refused(f"MicroPython refuses to answer: {error}") from None
            raise
        chip = facts.chip.word.lower() if facts.chip else ""
        with _started_again_unless_entered(link, enter(facts)) as package:
            given = given_of(package, wishes.bearers)
            try:
                say("clearing")
                if facts.device or condition.unsent:
                    # First of all it stops being who it was, so that a break from here on never starts the old device.
                    withdraw(link)
                    take_board(link)
                    clear_clips(link)
                    link.stop(fresh=True)
                clear(link, slot, chip)
                fingerprint = give(link, slot, chip, given, say)
                say("starting")
                says = _start(link, port, given.device)
            except Broken:
                _withdraw(link)
                raise
            except BoardError as error:
                _withdraw(link)
                raise Broken(f"MicroPython refused: {error}; it is not provisioned: run the command again") from None
            except IdentityError as error:
                _withdraw(link)
                raise Broken(f"{error}; it is not provisioned") from None
            except LinkError as error:
                words = str(error).removeprefix(f"{link.port}: ")
                raise Broken(f"{words}; it is not provisioned: run the command again") from None
    return Provisioned(given.device, package.name, facts.hardware, fingerprint, says)


@contextmanager
def _started_again_unless_entered(link: BoardLink, entry: AbstractContextManager[Package]) -> Iterator[Package]:
    """The entry's own block; a board whose device is refused by the registry is started as it is."""
    entered = False
    try:
        with entry as package:
            entered = True
            yield package
    except BaseException:
        if not entered:
            link.reset()
        raise


def _check(condition: Condition, facts: BoardFacts, wishes: Wishes, state_of: StateOf) -> None:
    if facts.chip is None:
        raise Refused(f"this is a {facts.machine}, which is no board of ours")
    if condition.alarm and not wishes.even_busy:
        raise Refused(
            f"{'a drill' if condition.drill else 'an alarm'} is latched on it ({condition.alarm}): see to whoever "
            "wears it; --even-busy if you know that it is nobody's"
        )
    if condition.unsent and not wishes.lose_clips:
        raise Refused(
            f"it holds {condition.unsent} clips that nobody else has, and new keys are the end of them: leave it "
            "switched on and in reach of its gateway until they are sent, or give them up with --lose-clips"
        )
    _check_identity(facts.device, wishes, state_of)


def _check_identity(device: str, wishes: Wishes, state_of: StateOf) -> None:
    if not device or wishes.again or device == wishes.expected:
        return
    state = state_of(device)
    if state == DEVICE_RETIRED:
        return
    if wishes.expected:
        raise Refused(f"the board at this port is {device}, not {wishes.expected}: name its port, or say --again")
    if state is None:
        raise Refused(f"it is provisioned already, as {device} of another gateway; --again makes it one of this one")
    raise Refused(f"it is {device} already, which is {state}: lapel device reprovision {device} --port PORT")


def _runs(link: BoardLink, facts: BoardFacts) -> int:
    slot = survey(link).running_slot(facts.hardware, code_of(facts.mpy))
    if slot is None:
        raise Refused("its firmware is not whole: flash it again")
    return slot


def _withdraw(link: BoardLink) -> None:
    """Take the configuration off a board that is not to be a device, as far as it still does what it is told."""
    with suppress(LinkError, BoardError):
        link.stop(fresh=False)
        withdraw(link)
        link.reset()


def _start(link: BoardLink, port: SerialPort, device: str) -> str:
    """Start the device, until it says who it is. Raises LinkError and IdentityError."""
    endings = (f" of {device}".encode(), _OUT_OF_SERVICE, _NO_FIRMWARE)
    try:
        lines = link.restart(endings, START_TIMEOUT_S)
    except LinkError:
        # A watchdog that its firmware left behind may cut the first start short; it starts a second time then.
        now = wait_for_port(port.serial_number, RETURN_TIMEOUT_S)
        if now is None:
            raise
        with BoardLink(now.device) as again:
            lines = again.listen(endings, START_TIMEOUT_S)
    said = [line for line in lines if re.search(rf"\bboot \d+ of {device}$", line)]
    if not said:
        last = next((line for line in reversed(lines) if line.strip()), "nothing")
        raise IdentityError(f"it has all that it needs, but does not start with it; it says: {last}")
    return said[-1]
