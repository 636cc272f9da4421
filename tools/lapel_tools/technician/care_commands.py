"""``lapel device settings``, ``logs``, ``factory-reset``, ``shell`` and ``battery``: a bad day at the bench."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from lapel_tools.console import FAILED, NOT_FOUND, CommandError, JsonOption, print_facts, print_json, warn

from .condition import Condition
from .contents import read_contents
from .holding import moved
from .link import BoardError, BoardLink, LinkError
from .ports import named_ports, wait_for_port
from .reset import has_clip_storage, wipe
from .session import SessionError, Stopped, stopped

Port = Annotated[str, typer.Argument(help="Its port, or its USB serial number.")]
AskOption = Annotated[bool, typer.Option("--ask", help="Interrupt a device that runs; it is started again afterwards.")]
BusyOption = Annotated[
    bool, typer.Option("--even-busy", help="Also a device that was recording or has an alarm latched.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_RETURN_TIMEOUT_S = 20.0


def settings(port: Port, ask: AskOption = False, even_busy: BusyOption = False, as_json: JsonOption = False) -> None:
    """Show what a device was given and the settings in force. No key, password or sequence is read or shown."""
    with _session(port, ask, even_busy) as device:
        facts = read_contents(device.link)
        if facts is None:
            raise CommandError(f"{device.port.device}: it was not provisioned", NOT_FOUND)
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)


def logs(
    port: Port,
    seconds: Annotated[float | None, typer.Option("--for", help="End after so many seconds.", min=0)] = None,
) -> None:
    """Show what a device prints, as it comes, until Ctrl-C. It is not disturbed; when it restarts it is followed."""
    (place,) = named_ports([port])
    end = None if seconds is None else time.monotonic() + seconds
    try:
        while end is None or time.monotonic() < end:
            try:
                with BoardLink(place.device) as link:
                    for line in link.lines(end):
                        typer.echo(line)
            except LinkError as error:
                again = moved(place, _RETURN_TIMEOUT_S)
                if again is None:
                    raise CommandError(str(error), NOT_FOUND) from None
                place = again
                warn(f"it started again; it is {place.device} now")
    except KeyboardInterrupt:
        return


def battery(port: Port, ask: AskOption = False, even_busy: BusyOption = False, as_json: JsonOption = False) -> None:
    """Show the charge as the device's own drivers measure it."""
    with _session(port, ask, even_busy) as device:
        device.need_board()
        answer = device.link.ask("print(repr(tuple(board.battery.read())))")
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise CommandError(f"{device.port.device}: the board answers with what nobody asked for", FAILED)
    facts = {"battery_percent": answer[0], "minutes_left": answer[1]}
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)


def factory_reset(
    port: Port,
    lose_clips: Annotated[
        bool, typer.Option("--lose-clips", help="Also when there are clips that the gateway does not have.")
    ] = False,
    ask: AskOption = False,
    even_busy: BusyOption = False,
    yes: YesOption = False,
) -> None:
    """Erase a device's keys, identity and clips. The firmware stays; it must be provisioned anew."""
    with _session(port, ask, even_busy) as device:
        device.need_board()
        condition = device.condition
        if condition.alarm and not even_busy:
            raise CommandError(f"an alarm is latched ({condition.alarm}); --even-busy resets the device all the same")
        _refuse_loss(device, condition, lose_clips)
        if not yes:
            if not sys.stdin.isatty():
                raise CommandError("nothing was erased: say --yes if it is meant")
            if not typer.confirm(f"Erase keys and files of the device at {device.port.device}?", err=True):
                raise CommandError("nothing was erased")
        done = wipe(device)
    typer.echo(f"{done.sectors} key sectors and {done.files} files are erased; provision it anew, retire it here")


def shell(port: Port, ask: AskOption = False, even_busy: BusyOption = False, yes: YesOption = False) -> None:
    """Open MicroPython's prompt on a device. It does not work meanwhile; Ctrl-] ends, and starts it again."""
    warn("whoever is at this prompt can read the device's keys and passwords: type nothing that shows them")
    if not yes:
        if not sys.stdin.isatty():
            raise CommandError("a prompt needs a terminal")
        if not typer.confirm("Go on?", err=True):
            raise CommandError("the device was left alone")
    with _session(port, ask, even_busy, starts_again=False) as device:
        place = device.port
        fed = device.link.leave_raw()
        if not fed:
            warn("its watchdog restarts the device in a few seconds, and ends this")
        device.link.close()
        status = subprocess.call([sys.executable, "-m", "mpremote", "connect", place.device, "repl"])
    # One that restarted meanwhile has another port, or works already.
    place = wait_for_port(place.serial_number, _RETURN_TIMEOUT_S) or place
    try:
        with BoardLink(place.device) as link:
            if link.is_idle():
                link.stop(fresh=False)
                link.reset()
            elif fed:
                warn("it does not wait at its prompt: if its firmware does not run either, restart the device by hand")
    except LinkError as error:
        raise CommandError(f"{error}; start it by hand, it does not work now", FAILED) from None
    if status:
        raise CommandError(f"mpremote ended with {status}", FAILED)


def _refuse_loss(device: Stopped, condition: Condition, lose_clips: bool) -> None:
    if lose_clips:
        return
    if not has_clip_storage(device.link):
        raise CommandError("its card does not answer, so nobody knows what clips are on it; --lose-clips goes on")
    if condition.unsent:
        size = f"{condition.unsent_bytes / 1_000_000:.1f} MB"
        many = "1 clip" if condition.unsent == 1 else f"{condition.unsent} clips"
        raise CommandError(f"{many} ({size}) would be lost: the gateway does not have them; --lose-clips loses them")


@contextmanager
def _session(port: str, ask: bool, even_busy: bool, starts_again: bool = True) -> Iterator[Stopped]:
    try:
        with stopped(port, ask, even_busy, starts_again) as device:
            yield device
    except SessionError as error:
        raise CommandError(str(error)) from None
    except LinkError as error:
        raise CommandError(str(error), FAILED) from None
    except BoardError as error:
        raise CommandError(f"{port}: the device refused: {error}", FAILED) from None
