"""Counts work instead of time: hashes and statements are the same on every machine, and however busy it is."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import sqlalchemy as sa


@dataclass
class Work:
    """What was done. An HMAC in one call counts as the two hashes that it is made of; `writes` are transactions that
    may change something, each with its sync.
    """

    hashes: int = 0
    statements: int = 0
    writes: int = 0


@contextmanager
def measured(engine: sa.Engine | None = None) -> Iterator[Work]:
    """Counts everything in this process until the block ends; the functions counted do their work as ever."""
    work = Work()
    sha256, digest = hashlib.sha256, hmac.digest

    def counted_sha256(*arguments: Any, **options: Any) -> Any:
        work.hashes += 1
        return sha256(*arguments, **options)

    def counted_digest(*arguments: Any, **options: Any) -> bytes:
        work.hashes += 2
        return digest(*arguments, **options)

    def statement(_connection: Any, _cursor: Any, text: str, *_more: Any) -> None:
        work.statements += 1
        work.writes += text == "BEGIN IMMEDIATE"

    if engine is not None:
        sa.event.listen(engine, "before_cursor_execute", statement)
    try:
        with mock.patch.object(hashlib, "sha256", counted_sha256), mock.patch.object(hmac, "digest", counted_digest):
            yield work
    finally:
        if engine is not None:
            sa.event.remove(engine, "before_cursor_execute", statement)
