"""Runs the demo: sets up, plays, checks, and tells it in the terminal."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lapel_sim.device import DeviceFailed
from lapel_sim.launcher import MicroPythonMissing
from lapel_sim.world import Timeout, World
from lapel_tools.console import FAILED, USAGE, CommandError
from lapel_tools.demo.duty_room import DutyRoom, Responder
from lapel_tools.demo.incident import AlarmTimes, add_devices, play
from lapel_tools.demo.installation import WEARERS, Command, Installation, prepare_folder
from lapel_tools.demo.results import ClipResult, check_clip

_SETTLE_S = 90.0
_EXPECTED_CLIPS = 4
_TABLE_COLUMNS = 110


def run_demo(folder: Path, once: bool, command: Command) -> None:
    """Play the demo below `folder`. With `once` end at the end, else keep the gateway up until Ctrl-C.

    `command` runs a `lapel` command in this process.

    Raises CommandError when anything is not as it should be, its code FAILED.
    """
    folder = folder.resolve()
    console = Console(highlight=False)
    console.width = max(console.width, _TABLE_COLUMNS)
    started = time.monotonic()

    def say(who: str, what: str) -> None:
        line = Text(f"{time.monotonic() - started:6.1f} s  ", style="dim")
        line.append(f"{who:10}", style="bold cyan")
        line.append(what)
        console.print(line, soft_wrap=True)

    prepare_folder(folder)
    room = DutyRoom()
    try:
        with Installation(folder, room.url, command) as installation, World(folder / "world", cost_scale=1.0) as world:
            _set_up(installation, room, say)
            responder = Responder(installation.url, installation.token_file)
            devices = add_devices(world, installation)
            times = play(world, devices, room, responder, say)
            clips = _wait_for_clips(world, installation, say)
            names = {row["device"]: row["name"] for row in installation.read("device", "list")}
            results = [check_clip(installation, world.journal, names[words["device"]], words) for words in clips]
            responder.close()
            for device in devices:
                device.switch_off()
            _tell(console, installation, results, times)
            faults = _faults(results, times, installation, room)
            if faults:
                raise CommandError("not everything is as it should be:\n" + "\n".join(faults), FAILED)
            console.print("everything is verified", style="bold green")
            if not once:
                _stay(console, installation)
    except MicroPythonMissing as error:
        raise CommandError(str(error), USAGE) from None
    except (DeviceFailed, Timeout) as error:
        raise CommandError(f"the incident did not go as it should: {error}", FAILED) from None
    finally:
        room.close()


def _set_up(installation: Installation, room: DutyRoom, say: Any) -> None:
    room.trust(installation.webhook_secret)
    installation.set_up()
    if installation.mosquitto:
        say("", "broker: Mosquitto, TLS with a client certificate for each device and each role")
    else:
        say("", "broker: embedded, loopback only, without client certificates (`make system-deps` installs Mosquitto)")
    installation.start()
    say("", f"gateway: one process, roles alarms, ingest, deliver and web, API at {installation.url}")


def _wait_for_clips(world: World, installation: Installation, say: Any) -> list[dict[str, Any]]:
    clips: list[dict[str, Any]] = []

    def delivered() -> bool:
        nonlocal clips
        clips = installation.read("clip", "list")
        return len(clips) >= _EXPECTED_CLIPS and all(words["state"] == "delivered" for words in clips)

    world.wait_until(delivered, _SETTLE_S, "every clip held, assembled and forwarded")
    say("gateway", f"{len(clips)} clips held, assembled to MP4 and forwarded to {installation.forwarded}")
    return sorted(clips, key=lambda words: words["id"])


def _tell(console: Console, installation: Installation, results: list[ClipResult], times: AlarmTimes) -> None:
    table = Table(title="Clips", title_justify="left")
    for title in ("clip", "worn by", "notice", "captured", "verified", "segments", "ended"):
        table.add_column(
            title, justify="right" if title in ("captured", "verified", "segments") else "left", no_wrap=True
        )
    for result in results:
        words = result.words
        ended = "power cut" if words["cut"] else words["end_reason"]
        table.add_row(
            words["id"],
            words["person"].split(",")[0],
            words["notice"]["outcome"],
            str(result.captured),
            str(result.verified),
            f"{words['segments']['authentic']}/{words['segments']['settled']}",
            f"{ended}{', alarm' if words['alarm'] else ''}",
        )
    console.print(table)
    alarm = Table(title=f"Alarm {times.alarm}", title_justify="left")
    for title in ("sent", "received", "duty room told", "acknowledged, seen by the wearer"):
        alarm.add_column(title, justify="right")
    alarm.add_row(*(_ms(value) for value in (times.sent_ms, times.received_ms, times.told_ms, times.acknowledged_ms)))
    console.print(alarm)
    for result in results:
        console.print(f"play    {result.mp4}", soft_wrap=True)
    console.print(f"prove   lapel verify {installation.folder / 'export' / results[0].words['id']}", soft_wrap=True)
    console.print(f"log     {installation.log}", soft_wrap=True)


def _ms(value: int | None) -> str:
    return "-" if value is None else f"{value} ms"


def _faults(results: list[ClipResult], times: AlarmTimes, installation: Installation, room: DutyRoom) -> list[str]:
    faults = [f"{result.words['id']}: {fault}" for result in results for fault in result.faults]
    if len(results) != _EXPECTED_CLIPS:
        faults.append(f"{len(results)} clips instead of {_EXPECTED_CLIPS}")
    faults += [
        f"{result.words['id']}: {result.verified} of {result.captured} frames verified"
        for result in results
        if result.verified != result.captured or not result.captured
    ]
    if times.acknowledged_ms is None:
        faults.append("the alarm was not acknowledged on the device")
    if room.refused:
        faults.append(f"{room.refused} webhooks had no good signature")
    forwarded = len(list(installation.forwarded.rglob("*.mp4")))
    if forwarded != len(results):
        faults.append(f"{forwarded} MP4s were forwarded")
    return faults


def _stay(console: Console, installation: Installation) -> None:
    console.print(
        f"\nThe gateway stays up; Ctrl-C ends it. In another terminal:  export LAPEL_CONFIG={installation.config}"
    )
    console.print(f"  lapel clip list    lapel alarm list --all    lapel device list  ({len(WEARERS)} devices)")
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
