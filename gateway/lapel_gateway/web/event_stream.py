"""An answer that goes on: server-sent events (WHATWG HTML, "Server-sent events"), as they come.

Two hundred readers are told several times a second, so that little is done for each: an event comes as it is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import StreamingResponse
from starlette.types import Message, Send


class EventStream(StreamingResponse):
    """Sends what ``events`` makes until it ends or the reader goes."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], send_s: float) -> None:
        """``send_s``: a reader that takes nothing for so many seconds is cut off."""
        # A proxy that gathers answers would keep an alarm back (X-Accel-Buffering: nginx, and those that follow it).
        super().__init__(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._events = events
        self._send_s = send_s

    async def stream_response(self, send: Send) -> None:
        """Send it; ends `events` whatever happens. Raises TimeoutError when the reader takes nothing."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._send_s):
                await send(message)

        async with aclosing(self._events):
            await super().stream_response(send_in_time)
