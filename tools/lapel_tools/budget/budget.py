"""One board's day, from its figures and its data; and what is said of it in words that people and scripts read."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from lapel_tools.budget.day import Shift
from lapel_tools.budget.energy import Energy, energy
from lapel_tools.budget.figures import RECORDING, STANDBY, BoardFigures, Figures
from lapel_tools.budget.traffic import Traffic, traffic

NAMES = {
    "connect": "power-on: first connection",
    "reconnect": "connection made again",
    "beat": "heartbeat",
    "ping": "ping",
    "visit": "visit: told, begun, checked in, ended",
    "position": "position",
    "drill": "alarm test: raised, seen, closed",
    "recording": "recorded minute",
    "standby": "standby",
}


@dataclass(frozen=True)
class Budget:
    """A board's day."""

    board: str
    date: str
    shift: Shift
    figures: BoardFigures
    traffic: Traffic
    energy: Energy

    @property
    def busy_shares(self) -> dict[str, float]:
        """Of the processor's time while something goes on, by what the simulator's table of costs charges for it."""
        found = self.figures.activities
        return {name: found[name].busy_share for name in (STANDBY, RECORDING) if name in found}


def budget_of(board: str, figures: Figures, shift: Shift) -> Budget:
    """Raises KeyError for a board that was not measured."""
    module = importlib.import_module(f"lapel_device.boards.{board}")
    measured = figures.boards[board]
    carried = traffic(measured, module.PROFILE, shift)
    return Budget(board, figures.date, shift, measured, carried, energy(measured, module.BOARD, shift, carried))


def as_json(budget: Budget) -> dict[str, Any]:
    """For scripts: bytes, bits per second, mAh, hours; shares from 0 to 1."""
    carried, charge = budget.traffic, budget.energy
    return {
        "board": budget.board,
        "measured": budget.date,
        "currents": "data sheets, not measured on hardware",
        "shift": vars(budget.shift),
        "bytes": {
            "up": round(carried.up),
            "down": round(carried.down),
            "idle_hour_up": round(carried.idle_hour_up),
            "idle_hour_down": round(carried.idle_hour_down),
            "alarm_up": round(carried.alarm_up),
            "alarm_down": round(carried.alarm_down),
            "activities": {
                line.activity: {
                    "count": line.count,
                    "up": {name: round(value) for name, value in vars(line.up).items()},
                    "down": {name: round(value) for name, value in vars(line.down).items()},
                }
                for line in carried.lines
            },
        },
        "uplink": None if carried.uplink is None else {k: round(v) for k, v in vars(carried.uplink).items()},
        "busy_shares": {name: round(share, 4) for name, share in budget.busy_shares.items()},
        "energy": {
            "mah": {found.activity: round(found.mah, 2) for found in charge.charges},
            "day_mah": round(charge.mah, 1),
            "battery_mah": charge.battery_mah,
            "reserve_mah": round(charge.reserve_mah, 1),
            "hours": round(charge.hours, 1),
            "standby_hours": round(charge.standby_hours, 1),
            "reserve_hours": round(charge.reserve_hours, 1),
            "standby_ma": round(charge.standby_ma, 1),
            "recording_ma": round(charge.recording_ma, 1),
        },
    }


def traffic_rows(budget: Budget) -> list[tuple[str, ...]]:
    """How often, and bytes up by what they are for, and down."""
    rows = [
        (
            NAMES[line.activity],
            size(line.count, ""),
            *(size(value) for value in (line.up.handshake, line.up.tls, line.up.mqtt, line.up.records)),
            size(line.up.total),
            size(line.down.total),
        )
        for line in budget.traffic.lines
    ]
    return [*rows, ("the day", "", "", "", "", "", size(budget.traffic.up), size(budget.traffic.down))]


def facts(budget: Budget) -> list[tuple[str, str]]:
    """What a buyer asks."""
    carried, charge, media = budget.traffic, budget.energy, budget.figures.media
    told = [
        ("idle hour", f"{size(carried.idle_hour_up)} up, {size(carried.idle_hour_down)} down"),
        (
            "alarm",
            f"{size(carried.alarm_up)} up, {size(carried.alarm_down)} down, beside what it records and where it is",
        ),
    ]
    if carried.uplink is not None and media is not None:
        need = carried.uplink
        told += [
            (
                "recorded minute",
                f"{size(need.minute_bytes)} up: {media.frames_per_s:.1f} pictures a second of "
                f"{size(media.frame_bytes)}, "
                f"sound of {size(media.audio_bytes_per_s)} a second",
            ),
            (
                "uplink that keeps up",
                f"{rate(need.typical_bits_per_s)}; {rate(need.most_bits_per_s)} if each picture fills the frame buffer",
            ),
            ("clip whole at the gateway", f"{media.behind_s:.0f} s after its end, on a link faster than the device"),
        ]
    told += [(f"processor in {NAMES[name]}", f"{share:.1%} busy") for name, share in budget.busy_shares.items()]
    told += [
        (
            "draws",
            f"{charge.standby_ma:.0f} mA on standby" + (f", {charge.recording_ma:.0f} mA recording" if media else ""),
        ),
        ("day", f"{charge.mah:.0f} mAh of the cell's {charge.battery_mah} mAh"),
        ("kept for alarms", f"{charge.reserve_mah:.0f} mAh, {charge.reserve_hours:.1f} h of standby"),
        ("lasts", f"{charge.hours:.1f} h of such days above that, {charge.standby_hours:.1f} h on standby alone"),
    ]
    return told


def size(value: float, unit: str = "B") -> str:
    """A number of bytes for people: 1,234 B, 12.3 kB, 4.56 MB."""
    if unit and value >= 1e6:
        return f"{value / 1e6:,.2f} M{unit}"
    if unit and value >= 1e4:
        return f"{value / 1e3:,.1f} k{unit}"
    return f"{value:,.0f} {unit}".rstrip()


def rate(bits_per_s: float) -> str:
    """1.23 Mbit/s or 350 kbit/s."""
    return f"{bits_per_s / 1e6:.2f} Mbit/s" if bits_per_s >= 1e6 else f"{bits_per_s / 1e3:.0f} kbit/s"
