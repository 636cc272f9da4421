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

LINE_BYTES = 64 << 20
NICE = 10


class Readers:
    """Some connections, each a reader."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self.ready = asyncio.Semaphore(0)
        """Released by each reader that has its snapshot."""
        self.arrived: list[tuple[str, float]] = []

    async def read(self) -> None:
        """Follow the stream, and follow it again when it has ended."""
        cursor, known = "", set[str]()
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=LINE_BYTES)
            head = f"GET /api/v1/stream HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {self._token}\r\n"
            writer.write(f"{head}{f'Last-Event-ID: {cursor}' if cursor else 'X-First: 1'}\r\n\r\n".encode())
            kind = ""
            while line := await reader.readline():
                if line.startswith(b"event: "):
                    kind = line[7:].decode().strip()
                elif line.startswith(b"id: "):
                    cursor = line[4:].decode().strip()
                elif line.startswith(b"data: ") and kind == "snapshot":
                    self.ready.release()
                elif line.startswith(b"data: ") and kind == "change" and b'"alarms"' in line:
                    now = time.monotonic()
                    for words in json.loads(line[6:])["changed"].get("alarms", {}).values():
                        if words is not None and words["device"] not in known:
                            known.add(words["device"])
                            self.arrived.append((words["device"], now))
            writer.close()


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
