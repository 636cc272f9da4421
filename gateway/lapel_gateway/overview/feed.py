"""One reader for all who look on: reads the ledger in a thread of its own, and hands each change to every stream.

Rules that hold here
- However many look on, the ledger is read once. A change is made into JSON once for each view (`overview.views`), of
  which there are as many as there are kinds of reader looking on.
- Nothing is kept for a reader: each remembers how far it is in one short history that all of its view share. Whoever
  has fallen out of it is told to begin anew, and costs no memory meanwhile.
- Something is told at least every `BEAT_S`: a change, or a beat, which says when the ledger was last read. Both come of
  the thread that reads: where that hangs there is neither, and whoever hears nothing for `AWAY_S` says so. Where the
  ledger cannot be read a beat says why.
- Nobody looks on: nothing is read.

History and streams belong to the event loop's thread; the reading thread only hands its findings over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
import structlog

from lapel_gateway.describe import moment
from lapel_gateway.overview.reader import Picture, Reader
from lapel_gateway.overview.views import WHOLE, View

POLL_S = 0.05
"""How often the ledger is asked whether something was written: a third of what a reader may wait, at most."""

REST = 2.0
"""Waits this many times as long as the last look took: a busy ledger costs a third of a processor at most."""

BEAT_S = 1.0
AWAY_S = 5.0
"""A reader that heard nothing for so long must not show what it has as what is."""

IDLE_S = 10.0
"""Without anybody who looks on for so long, the ledger is let go of."""

READ_TIMEOUT_S = 5.0
HISTORY = 512
HISTORY_BYTES = 4 << 20
"""How many changes are kept for each view, and how large those of all views are together, for readers that are behind
or come again."""

SNAPSHOT, CHANGE, BEAT, RELOAD = "snapshot", "change", "beat", "reload"
"""Kinds of event in a stream."""

_log = structlog.get_logger("lapel.overview")


class OverviewError(Exception):
    """There is no picture of now; the message says why."""


@dataclass(frozen=True)
class Item:
    """One event of a stream; ``cursor`` "" where it moves nobody on."""

    kind: str
    cursor: str
    data: str
    wire: bytes
    """As it is sent (WHATWG HTML, "Server-sent events"): made once, whoever it goes to."""


class _Told:
    """What is told to those of one view: its newest changes, and the whole."""

    def __init__(self, view: View, name: str) -> None:
        self.view = view
        self.name = name
        self.number = 0
        self.history: deque[tuple[int, Item]] = deque()
        self.history_bytes = 0
        self.snapshot: Item | None = None
        self.readers = 0
        self.used_s = time.monotonic()

    def cursor(self, number: int) -> str:
        return f"{self.name}-{number}"

    def place(self, cursor: str) -> int | None:
        """The number that a cursor stands for, where what follows it is still known."""
        name, _, number = cursor.rpartition("-")
        if name != self.name or not number.isascii() or not number.isdigit() or len(number) > 18:
            return None
        first = self.history[0][0] if self.history else self.number + 1
        return int(number) if first - 1 <= int(number) <= self.number else None

    def change(self, changed: dict[str, dict[str, Any]], at_ms: int) -> None:
        """Tell of changes."""
        self.number += 1
        cursor = self.cursor(self.number)
        item = _item(CHANGE, cursor, {"cursor": cursor, "time": moment(at_ms), "changed": changed})
        self.history.append((self.number, item))
        self.history_bytes += len(item.wire)
        while len(self.history) > max(1, HISTORY):
            self.forget()

    def forget(self) -> None:
        """Let go of the oldest change."""
        _, oldest = self.history.popleft()
        self.history_bytes -= len(oldest.wire)


class Feed:
    """The picture of now and its changes, for one event loop."""

    def __init__(self, reader: Reader, now_ms: Callable[[], int]) -> None:
        self._reader = reader
        self._now_ms = now_ms
        self._run = secrets.token_hex(4)
        self._told: dict[View, _Told] = {}
        self._views = 0  # that there were: none is taken for another that came later
        self._picture: Picture | None = None
        self._looked_ms: int | None = None
        self._trouble = ""
        self._beats = 0
        self._newest_beat: tuple[int, Item | None] = (0, None)
        self._begun = 0  # looks, counted by the reading thread
        self._done = 0  # the last of them that was handed over
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._told_s = 0.0  # when those who wait were last woken
        self._thread: threading.Thread | None = None
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._readers = 0
        self._used_s = 0.0

    @property
    def readers(self) -> int:
        """Streams that are open."""
        return self._readers

    async def snapshot(self, view: View = WHOLE) -> str:
        """The picture as JSON, read after this was asked for. Raises OverviewError where it cannot be read."""
        wanted = self._begin()
        deadline = time.monotonic() + READ_TIMEOUT_S
        while self._done < wanted:
            if self._closed.is_set() or time.monotonic() >= deadline:
                raise OverviewError("the ledger was not read in time")
            await self._news.wait()
        if self._trouble:
            raise OverviewError(self._trouble)
        return self._whole(self._telling(view)).data

    async def stream(self, cursor: str, until_s: float, view: View = WHOLE) -> AsyncGenerator[Item, None]:
        """What a reader is to be told, for ``until_s`` seconds: the changes since ``cursor`` or, where that is not one
        of the history's, a snapshot; then each change as it comes, and beats. Ends early when the feed is closed."""
        wanted = self._begin()
        told = self._telling(view)
        self._readers += 1
        told.readers += 1
        deadline = time.monotonic() + until_s
        beats = self._beats
        try:
            at = told.place(cursor)
            if at is None and cursor:
                yield self._reload("what has changed since is not known any more")
            while time.monotonic() < deadline and not self._closed.is_set():
                self._used_s = time.monotonic()
                if at is None:
                    if self._done >= wanted and not self._trouble:
                        at = told.number
                        yield self._whole(told)
                        continue
                elif at < told.number:
                    if not told.history or told.history[0][0] > at + 1:
                        at = None
                        yield self._reload("this reader is too slow")
                        continue
                    at += 1
                    # A change says as well that the ledger was read; that it cannot be read, only a beat says.
                    beats = beats if self._trouble else self._beats
                    yield told.history[at - told.history[0][0]][1]
                    continue
                if beats != self._beats:
                    beats = self._beats
                    yield self._beat()
                    continue
                await self._news.wait()
        finally:
            self._readers -= 1
            told.readers -= 1
            told.used_s = time.monotonic()

    def close(self) -> None:
        """End every stream and the thread; from any other thread than the event loop's."""
        self._closed.set()
        self._wanted.set()
        self._hand_over(self._tell_all)
        if self._thread is not None:
            self._thread.join(READ_TIMEOUT_S)

    # -- in the event loop's thread ---------------------------------------------------------------------------------

    def _begin(self) -> int:
        """Somebody looks on; returns the number of the look that begins after this."""
        self._used_s = time.monotonic()
        wanted = self._begun + 1
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._tick()
            self._thread = threading.Thread(target=self._read_on, name="overview", daemon=True)
            self._thread.start()
        self._wanted.set()
        return wanted

    def _tick(self) -> None:
        """Let those who wait look at the time, even where the reading thread hangs."""
        if self._loop is not None and not self._closed.is_set():
            self._loop.call_later(BEAT_S, self._tick)
            if time.monotonic() - self._told_s >= BEAT_S:
                self._tell_all()

    def _tell_all(self) -> None:
        self._told_s = time.monotonic()
        told, self._news = self._news, asyncio.Event()
        told.set()

    def _telling(self, view: View) -> _Told:
        told = self._told.get(view)
        if told is None:
            self._views += 1
            told = self._told[view] = _Told(view, f"{self._run}-{self._views}")
        told.used_s = time.monotonic()
        return told

    def _whole(self, told: _Told) -> Item:
        if told.snapshot is None:
            if self._picture is None:
                raise OverviewError("nothing was read yet")
            cursor = told.cursor(told.number)
            words = {"time": moment(self._picture.at_ms), **told.view.of_picture(self._picture)}
            told.snapshot = _item(SNAPSHOT, cursor, {"cursor": cursor, **words})
        return told.snapshot

    def _beat(self) -> Item:
        number, item = self._newest_beat
        if item is None or number != self._beats:
            words = {"time": moment(self._now_ms()), "read": moment(self._looked_ms), "trouble": self._trouble or None}
            item = _item(BEAT, "", words)
            self._newest_beat = (self._beats, item)
        return item

    def _reload(self, why: str) -> Item:
        return _item(RELOAD, "", {"time": moment(self._now_ms()), "why": why})

    def _looked(self, number: int, picture: Picture, beat: bool, asked: bool) -> None:
        before, self._picture = self._picture, picture
        self._looked_ms, self._trouble, self._done = picture.at_ms, "", number
        changed = picture.changes_since(before) if before is not None else {}
        now_s = time.monotonic()
        news = beat or asked
        for view, told in list(self._told.items()):
            if changed or asked:
                told.snapshot = None
            if not told.readers and now_s - told.used_s > IDLE_S:
                del self._told[view]
            elif changed and before is not None and (seen := view.of_changes(changed, before)):
                told.change(seen, picture.at_ms)
                news = True
        while sum(told.history_bytes for told in self._told.values()) > HISTORY_BYTES:
            largest = max(self._told.values(), key=lambda told: told.history_bytes)
            if len(largest.history) < 2:
                break
            largest.forget()
        self._beats += beat
        if news:
            self._tell_all()

    def _failed(self, number: int, trouble: str) -> None:
        self._trouble, self._done = trouble, number
        self._beats += 1
        self._tell_all()

    # -- in the reading thread --------------------------------------------------------------------------------------

    def _read_on(self) -> None:
        wait_s, beat_at, told = POLL_S, 0.0, ""
        while not self._closed.is_set():
            asked = self._wanted.wait(wait_s)
            if asked:
                self._wanted.clear()
            wait_s = POLL_S
            began = time.monotonic()
            beat = began >= beat_at
            if not asked and not self._readers and began - self._used_s > IDLE_S:
                self._reader.close()
                wait_s = IDLE_S
                continue
            trouble = ""
            try:
                if not (asked or beat or self._reader.is_due()):
                    continue
                self._begun += 1
                picture = self._reader.look(self._now_ms(), at_once=asked)
                self._hand_over(partial(self._looked, self._begun, picture, beat, asked))
            except sa.exc.SQLAlchemyError as error:
                trouble = f"the ledger cannot be read: {str(error).partition(chr(10))[0]}"
            except Exception as error:  # noqa: BLE001 - were this thread to end, nobody would be told anything any more
                if not told:
                    _log.exception("the picture of now cannot be made")
                trouble = f"internal error: {type(error).__name__}"
            if beat:
                beat_at = began + BEAT_S
            if trouble:
                self._hand_over(partial(self._failed, self._begun, trouble))
            if trouble and not told:
                _log.error("nobody sees what is going on", reason=trouble)
            elif told and not trouble:
                _log.info("the picture of now can be made again")
            told = trouble
            self._closed.wait(BEAT_S if trouble else REST * (time.monotonic() - began))
        self._reader.close()

    def _hand_over(self, do: Callable[[], None]) -> None:
        if self._loop is not None:
            # The loop may have ended, and every stream with it.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(do)


def _item(kind: str, cursor: str, words: object) -> Item:
    data = json.dumps(words, ensure_ascii=False, separators=(",", ":"))
    name = f"id: {cursor}\n" if cursor else ""
    return Item(kind, cursor, data, f"event: {kind}\n{name}data: {data}\n\n".encode())
