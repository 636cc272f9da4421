"""The incident: what the three wearers do, what goes wrong, and what is measured on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lapel_sim.device import SimDevice
from lapel_sim.provision import provision
from lapel_sim.world import World
from lapel_tools.demo.duty_room import DutyRoom, Responder
from lapel_tools.demo.installation import RESPONDER, WEARERS, Installation

Say = Callable[[str, str], None]  # (who, what)

_ANSWER_S = 60.0


@dataclass
class AlarmTimes:
    """When each step of the alarm was seen, in ms after the device took the press for one; None = not seen."""

    alarm: str = ""
    sent_ms: int | None = None
    received_ms: int | None = None
    told_ms: int | None = None
    acknowledged_ms: int | None = None


def add_devices(world: World, installation: Installation) -> list[SimDevice]:
    """Three devices with their packages, switched on."""
    devices = []
    for wearer in WEARERS:
        device = world.add_device(wearer.name, wearer.board)
        provision(device, installation.package(wearer.name))
        devices.append(device)
    return devices


def _record(device: SimDevice, say: Say, announced: bool = True) -> None:
    if announced:
        device.press("RECORD")
        device.wait_shown("notice")
        say(device.name, 'RECORD pressed: amber light, "please tell the person that you are about to record"')
        device.press("RECORD")
        device.wait_shown("recording")
        say(device.name, "pressed again: the person was told; recording, sealed as it is recorded")
    else:
        device.hold("RECORD", 1700)
        device.wait_shown("recording")
        say(device.name, "RECORD held: no time to warn; recording at once, and the clip says so")


def _stop(device: SimDevice, say: Say) -> None:
    device.hold("RECORD", 1700)
    device.wait_shown("recording stopped")
    say(device.name, "RECORD held: the clip is closed")


def _frames(world: World, device: SimDevice, more: int) -> None:
    wanted = len(device.frames()) + more
    world.wait_until(lambda: len(device.frames()) >= wanted, 60, f"{more} more frames of {device.name}")


def play(world: World, devices: list[SimDevice], room: DutyRoom, responder: Responder, say: Say) -> AlarmTimes:
    """Play it to its end; everything that was recorded is then on its way. Raises what the simulator raises."""
    first, second, third = devices
    for device in devices:
        device.power_on()
    for device in devices:
        device.wait_shown("idle")
    for device in devices:
        device.wait_quiet()
    say("", "three devices are on: the real firmware in real MicroPython, 192 KiB of heap each")

    _record(first, say)
    _record(second, say)
    _frames(world, first, 6)
    first.link.drop()
    say(first.name, "the link is lost; the clip goes on into the device's own storage")
    _frames(world, first, 6)
    first.link.restore(reset=True)
    say(first.name, "the link is back; what was missed follows")
    _record(third, say, announced=False)

    times = _panic(first, room, responder, say)

    _stop(first, say)
    _stop(second, say)
    _frames(world, third, 4)
    _stop(third, say)

    responder.resolve(times.alarm, "true", "Ambulance called, officer safe")
    first.wait_shown("alarm resolved", timeout_s=_ANSWER_S)
    say(first.name, "the alarm is resolved; the light goes out")

    _record(first, say)
    _frames(world, first, 8)
    first.cut_power()
    say(first.name, "the battery is torn out in the middle of a second clip")
    first.power_on()
    first.wait_shown("idle")
    say(first.name, "on again: the cut clip is settled at its last whole segment")
    return times


def _panic(device: SimDevice, room: DutyRoom, responder: Responder, say: Say) -> AlarmTimes:
    times = AlarmTimes()
    device.hold("ALARM", 2200)
    raised = [entry for entry in device.journal.entries("console", device=device.name) if "raised" in entry["line"]]
    started = raised[-1] if raised else device.journal.entries("button", device=device.name)[-1]
    pressed_ms = int(started["unix_ms"])
    say(device.name, "ALARM held for two seconds")
    device.wait_shown("alarm received", timeout_s=_ANSWER_S)
    times.received_ms = _since(device, "alarm received", pressed_ms)
    times.sent_ms = _since(device, "alarm sent", pressed_ms)
    say(device.name, f"the light says RECEIVED: the gateway has it durably ({times.received_ms} ms)")
    told = room.wait("alarm.raised", _ANSWER_S)
    if told is None:
        return times
    times.told_ms = told[0] - pressed_ms
    times.alarm = told[1]["data"]["alarm"]
    say("duty room", f"signed webhook: panic of {told[1]['data']['person']} ({times.told_ms} ms)")
    responder.acknowledge(times.alarm)
    say("duty room", f"{RESPONDER} acknowledges, by name")
    device.wait_shown("alarm acknowledged", timeout_s=_ANSWER_S)
    times.acknowledged_ms = _since(device, "alarm acknowledged", pressed_ms)
    say(device.name, "the light says ACKNOWLEDGED: a human has seen it")
    return times


def _since(device: SimDevice, pattern: str, pressed_ms: int) -> int | None:
    """When the light first showed a pattern, in ms after the press; None when the next state overtook it."""
    shown = device.journal.entries("indicator", device=device.name, pattern=pattern)
    later = [entry["unix_ms"] for entry in shown if entry["unix_ms"] >= pressed_ms]
    return int(later[0]) - pressed_ms if later else None
