"""``python -m bench.live_readers PORT COUNT``: readers of the stream, in a process of their own.

The token is in LAPEL_TOKEN. Prints a line of JSON once every reader has had its snapshot; at a line on standard input
another one: the device of each alarm and when it arrived (CLOCK_MONOTONIC), for every reader. Low in priority, as what
uploads is: on a real site the processors of those who look on are elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

NICE = 10
AGAIN_S = 0.1
END = b"\n\n"


class Readers:
    """Some connections, each a reader."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self.token = token
        self.ready = asyncio.Semaphore(0)
        """Released by each reader that has its snapshot."""
        self.arrived: list[tuple[str, float]] = []

    async def read(self) -> None:
        """Follow the stream, and follow it again when it has ended."""
        loop, reader = asyncio.get_running_loop(), _Reader(self)
        while True:
            reader.ended = asyncio.Event()
            try:
                await loop.create_connection(lambda: reader, "127.0.0.1", self.port)
                await reader.ended.wait()
            except OSError:
                await asyncio.sleep(AGAIN_S)


class _Reader(asyncio.Protocol):
    """One of them. It looks into those events alone that may tell of an alarm: reading is not what is measured."""

    def __init__(self, readers: Readers) -> None:
        self.ended = asyncio.Event()
        self._readers = readers
        self._kept = b""
        self._cursor = b""
        self._known: set[str] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the stream from where it was left."""
        self._kept = b""
        head = f"GET /api/v1/stream HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self._readers.token}\r\n"
        last = b"Last-Event-ID: " + self._cursor + b"\r\n" if self._cursor else b""
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(head.encode() + last + b"\r\n")

    def data_received(self, data: bytes) -> None:
        """Take the events that are whole."""
        self._kept += data
        *events, self._kept = self._kept.split(END)
        for event in events:
            self._take(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let it be followed again."""
        self.ended.set()

    def _take(self, event: bytes) -> None:
        # What goes before "event:" is the transfer coding's.
        head, _, data = event.partition(b"\ndata: ")
        if b"\nid: " in head:
            self._cursor = head.rpartition(b"\nid: ")[2]
        if b"event: snapshot" in head:
            self._readers.ready.release()
        elif b"event: change" in head and b'"alarms"' in data:
            now = time.monotonic()
            for words in json.loads(data)["changed"].get("alarms", {}).values():
                # Only one that is new says whose it is; of the others there are but the fields that changed.
                device = (words or {}).get("device")
                if device is not None and device not in self._known:
                    self._known.add(device)
                    self._readers.arrived.append((device, now))


async def main() -> None:
    """Read until told to tell."""
    os.nice(NICE)
    port, count = int(sys.argv[1]), int(sys.argv[2])
    readers = Readers(port, os.environ["LAPEL_TOKEN"])
    began = time.monotonic()
    tasks = [asyncio.create_task(readers.read()) for _ in range(count)]
    for _ in range(count):
        await readers.ready.acquire()
    print(json.dumps({"ready_s": time.monotonic() - began}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps(readers.arrived), flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
