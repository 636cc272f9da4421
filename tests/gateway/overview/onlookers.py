"""A reader of the stream as any page is one: over HTTP, by the rules of server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Told:
    """One event."""

    kind: str
    cursor: str
    words: dict[str, Any]


class Stream:
    """The events of one open stream, in order."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def next(self) -> Told:
        """The next event. Raises StopIteration when the stream has ended."""
        fields: dict[str, str] = {}
        while True:
            line = next(self._lines)
            if not line and "data" in fields:
                return Told(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
            name, _, value = line.partition(": ")
            fields[name] = value

    def until(self, kind: str, section: str = "") -> Told:
        """The next event of this kind; with ``section``, the next that tells something of it."""
        while True:
            told = self.next()
            if told.kind == kind and (not section or section in told.words.get("changed", {})):
                return told

    def drain(self) -> None:
        """Read until the stream has ended."""
        for _ in self._lines:
            pass


@contextmanager
def streaming(client: httpx.Client, headers: dict[str, str], cursor: str = "") -> Iterator[Stream]:
    """An open stream, from ``cursor`` on."""
    sent = {**headers, **({"Last-Event-ID": cursor} if cursor else {})}
    with client.stream("GET", "/api/v1/stream", headers=sent) as response:
        yield Stream(response)
