"""``python -m bench.peer_http PORT FOLDER``: an HTTP server that takes PUT, writes the body to a file and syncs it."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


def main() -> None:
    """Serve until ended."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    numbers = itertools.count()
    workers = ThreadPoolExecutor(16)

    def keep(body: bytes) -> None:
        handle = os.open(folder / str(next(numbers)), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        try:
            os.write(handle, body)
            os.fdatasync(handle)
        finally:
            os.close(handle)

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await asyncio.get_running_loop().run_in_executor(workers, keep, body)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False, lifespan="off")


if __name__ == "__main__":
    main()
