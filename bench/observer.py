"""``python -m bench.observer HOST PORT``: a subscriber that notes when alarms and their receipts pass the broker.

A process of its own, which does nothing else: what it measures is the gateway's time, not that of whoever presses. Says
``ready`` once it has subscribed; at each line on standard input it prints a line of JSON, the milliseconds from each
alarm's arrival to its receipt since the last line, and begins anew.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from lapel_protocol.command import ALARM_RECEIPT
from lapel_protocol.topics import LANE_ALARM, LANE_DOWN, lane_filter
from lapel_sim.fleet import packets
from lapel_sim.fleet.connection import Connection

_KIND_AT = 2  # of a command record


class Observer:
    """Notes when alarms and their receipts pass the broker."""

    def __init__(self) -> None:
        self.committed_ms: list[float] = []
        self.ready = asyncio.Event()
        self._arrived: dict[str, float] = {}
        self._connection: Connection | None = None

    async def connect(self, host: str, port: int) -> None:
        """Connect and subscribe."""
        connection = Connection(self, None, "")
        self._connection = connection
        await asyncio.get_running_loop().create_connection(lambda: connection, host, port)
        await self.ready.wait()

    def opened(self) -> None:
        """TCP is up."""
        self._send(packets.connect("observer", 0, True))

    def packet(self, kind: int, flags: int, body: bytes) -> None:
        """The broker sent something."""
        now = time.perf_counter()
        if kind == packets.CONNACK:
            self._send(packets.subscribe(1, lane_filter(LANE_ALARM)))
            self._send(packets.subscribe(2, lane_filter(LANE_DOWN)))
        elif kind == packets.SUBACK and body[:2] == b"\0\2":
            self.ready.set()
        elif kind == packets.PUBLISH:
            topic, number, payload = packets.read_publish(flags, body)
            if number:
                self._send(packets.puback(number))
            *_, device, lane = topic.split("/")
            if lane == LANE_ALARM:
                self._arrived.setdefault(device, now)
            elif payload[_KIND_AT] == ALARM_RECEIPT and device in self._arrived:
                self.committed_ms.append((now - self._arrived.pop(device)) * 1000)

    def lost(self, reason: str) -> None:
        """The connection is over."""
        raise RuntimeError(f"the observer was cut off: {reason}")

    def close(self) -> None:
        """Leave."""
        if self._connection is not None:
            self._connection.close()

    def _send(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.send(data)


async def observe(host: str, port: int) -> None:
    """Until standard input ends."""
    observer = Observer()
    await observer.connect(host, port)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(observer.committed_ms), flush=True)
        observer.committed_ms.clear()
    observer.close()


if __name__ == "__main__":
    asyncio.run(observe(sys.argv[1], int(sys.argv[2])))
