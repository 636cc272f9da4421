"""Where a terminal has the picture from: a gateway's API with a token, or the installation's data on this machine.

Rules that hold here
- Answers to alarms need a name: they go through the API only, as everywhere.
- A source goes on for ever: a connection that ends is made again, from the place where it was.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import httpx
import sqlalchemy as sa

from lapel_gateway.overview.feed import BEAT, CHANGE, SNAPSHOT
from lapel_gateway.overview.reader import Picture, Reader
from lapel_gateway.overview.views import WHOLE
from lapel_tools.api import Api
from lapel_tools.console import CommandError, now_ms
from lapel_tools.monitor.live import Change, Live, Words

SILENCE_S = 3.0
"""A connection on which nothing comes for so long is given up: the gateway tells something every second."""

AGAIN_S = 0.1
"""After a stream that ended in order, as each does now and then."""

RETRY_S = 1.0
REFUSED_S = 5.0
LOOK_S = 0.25
RUN = "here"

Hear = Callable[[list[Change]], None]


class Source(Protocol):
    """What the monitor needs of one."""

    name: str
    """For people: which gateway."""
    can_answer: bool

    async def follow(self, live: Live, hear: Hear) -> None:
        """Keep ``live`` up to date for ever; ``hear`` is called after each thing heard, with what it changed."""

    async def acknowledge(self, alarm: str) -> str:
        """Returns what to tell. Raises CommandError."""

    async def resolve(self, alarm: str, reason: str, note: str) -> str:
        """Returns what to tell. Raises CommandError."""

    async def whole(self, kind: str, key: str) -> Words | None:
        """Everything about an alarm, a clip or a device's clips; None where only the picture knows. Raises
        CommandError."""


class ApiSource:
    """A gateway over HTTP, as one user."""

    can_answer = True

    def __init__(self, api: Api) -> None:
        self._api = api
        self.name = api.url

    async def follow(self, live: Live, hear: Hear) -> None:
        """Follow the stream; whatever ends it, it is opened again."""
        timeout = httpx.Timeout(SILENCE_S, connect=SILENCE_S)
        while True:
            wait_s = RETRY_S
            try:
                async with httpx.AsyncClient(timeout=timeout, trust_env=False) as client:
                    headers = {**self._api.headers, **({"Last-Event-ID": live.cursor} if live.cursor else {})}
                    async with client.stream("GET", f"{self.name}/api/v1/stream", headers=headers) as response:
                        if not response.is_success:
                            await response.aread()
                            live.trouble = refusal(response)
                            wait_s = REFUSED_S
                        else:
                            async for kind, words in _events(response):
                                hear(live.hear(kind, words))
                            wait_s = AGAIN_S
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                live.lose(f"the gateway does not answer ({type(error).__name__})")
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                live.trouble = f"{self.name} answers, but is not a Lapel gateway of this version"
                wait_s = REFUSED_S
            hear([])
            await asyncio.sleep(wait_s)

    async def acknowledge(self, alarm: str) -> str:
        words = await asyncio.to_thread(self._api.post, "alarms", alarm, "acknowledge")
        return f"acknowledged by {words['acknowledged']['by']}"

    async def resolve(self, alarm: str, reason: str, note: str) -> str:
        body = {"reason": reason, "note": note}
        words = await asyncio.to_thread(lambda: self._api.post("alarms", alarm, "resolve", body=body))
        return f"resolved as {words['resolution']} by {words['resolved']['by']}"

    async def whole(self, kind: str, key: str) -> Words | None:
        if kind == "devices":
            clips = await asyncio.to_thread(lambda: self._api.get("clips", device=key, limit="20"))
            return {"newest_clips": [f"{clip['id']} {clip['state']}" for clip in clips["clips"]]}
        if kind in ("alarms", "clips", "visits"):
            found: Words = await asyncio.to_thread(self._api.get, kind, key)
            return found
        return None


class SiteSource:
    """The installation's data on this machine: nobody's name, so it shows and answers nothing."""

    can_answer = False

    def __init__(self, reader: Reader, name: str) -> None:
        self._reader = reader
        self.name = name
        self._picture: Picture | None = None
        self._number = 0

    async def follow(self, live: Live, hear: Hear) -> None:
        """Read the ledger whenever it has changed."""
        while True:
            try:
                hear(live.hear(*await asyncio.to_thread(self._look)))
            except sa.exc.SQLAlchemyError as error:
                live.trouble = f"the ledger cannot be read: {str(error).partition(chr(10))[0]}"
                hear([])
            await asyncio.sleep(LOOK_S)

    def _look(self) -> tuple[str, Words]:
        if self._picture is not None and not self._reader.is_due():
            return BEAT, {"time": None, "trouble": self._stopped(self._picture)}
        before, self._picture = self._picture, self._reader.look(now_ms())
        self._number += 1
        words: Words = {"cursor": f"{RUN}-{self._number}", "time": {"ms": self._picture.at_ms}}
        if trouble := self._stopped(self._picture):
            # Begun anew once it runs again.
            self._picture = None
            return BEAT, {**words, "trouble": trouble}
        if before is None:
            return SNAPSHOT, {**words, **self._picture.sections}
        return CHANGE, {**words, "changed": WHOLE.of_changes(self._picture.changes_since(before), before)}

    def _stopped(self, picture: Picture) -> str:
        """The ledger can be read without a gateway, too; then it tells nothing of now."""
        roles = picture.sections["roles"].values()
        return "" if not roles or any(role["alive"] for role in roles) else "the gateway does not run"

    async def acknowledge(self, alarm: str) -> str:
        raise _nameless()

    async def resolve(self, alarm: str, reason: str, note: str) -> str:
        raise _nameless()

    async def whole(self, kind: str, key: str) -> Words | None:
        return None


def refusal(response: httpx.Response) -> str:
    """What a refused request is told, in words."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"refused with {response.status_code}"


async def _events(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    """(kind, words) of each event (WHATWG HTML, "Server-sent events"; every event has one line of data)."""
    kind = "message"
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)
            kind = "message"


def _nameless() -> CommandError:
    return CommandError("in whose name? Put your token in LAPEL_TOKEN and start again: then alarms can be answered")
