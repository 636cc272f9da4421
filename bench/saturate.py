"""``python -m bench.saturate``: devices that upload clips without a pause, in a process of their own.

Reads one line of JSON from standard input (broker, organisation, devices), says ``ready``, and uploads within the
gateway's credit, genuinely sealed, until standard input ends; then prints what was taken into custody. It runs at a low
priority: on a real site the devices' processors are elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

from lapel_sim.fleet.fleet import Fleet
from lapel_sim.fleet.member import Broker, Member
from lapel_sim.fleet.sealer import Sealer
from lapel_sim.fleet.tally import Tally

CLIP_SEGMENTS = 1024
"""Four MiB a clip: a quarter of a minute at 2 Mbit/s."""

WAITING_CLIPS = 2
"""Clips that each device has ready, so that only credit holds it up."""

_NICE = 10
_POLL_S = 0.005


@dataclass(frozen=True)
class Organisation:
    """What a device knows of it."""

    modulus: bytes
    key_id: bytes


async def saturate(task: dict[str, Any]) -> Tally:
    """Upload until standard input ends."""
    tally = Tally()
    broker = Broker(task["host"], task["port"])
    organisation = Organisation(bytes.fromhex(task["modulus"]), bytes.fromhex(task["key_id"]))
    members = [
        Member(Sealer(bytes.fromhex(device), bytes.fromhex(key), organisation, number), broker, tally)
        for number, (device, key) in enumerate(task["devices"])
    ]
    fleet = Fleet(members, tally)
    await fleet.switch_on(0.5)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    while not ended.done():
        for member in members:
            if len(member.uploads.clips) < WAITING_CLIPS:
                member.record(CLIP_SEGMENTS)
                await asyncio.sleep(0)
        await asyncio.sleep(_POLL_S)
    await fleet.switch_off()
    return tally


def main() -> None:
    """Run as standard input says."""
    os.nice(_NICE)
    tally = asyncio.run(saturate(json.loads(sys.stdin.readline())))
    print(json.dumps({"clips": tally.counts["clips_receipted"], "bytes": tally.counts["clip_bytes"]}), flush=True)


if __name__ == "__main__":
    main()
