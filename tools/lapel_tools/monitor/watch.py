"""``lapel watch``: follows a source and writes a line for each change, until it is told to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lapel_gateway.describe import utc
from lapel_tools.monitor import lines
from lapel_tools.monitor.live import NOT_YET, Change, Live
from lapel_tools.monitor.sources import Source

LOOK_S = 0.25
"""How often it is asked whether the gateway is still heard of."""


async def watch(source: Source, write: Callable[[str], None], wanted: str = "", *, as_json: bool = False) -> None:
    """Write what changes for ever; whatever ``write`` raises ends it. ``wanted``: words that a line has to have."""
    live = Live()
    broken: list[BaseException] = []
    told_away: list[bool] = []
    ended = asyncio.Event()

    def tell(text: str) -> None:
        if not broken:
            try:
                write(text)
            except BaseException as error:  # noqa: BLE001 - raised below, where it ends the whole
                broken.append(error)
                ended.set()

    def tell_presence() -> None:
        if live.trouble != NOT_YET and told_away != [live.away]:
            told_away[:] = [live.away]
            tell(_presence(live, as_json=as_json))

    def hear(changes: list[Change]) -> None:
        tell_presence()
        for change in changes:
            text = lines.as_json(change, live.now_ms) if as_json else lines.describe(change, live.now_ms)
            if text is not None and _has(text, wanted):
                tell(text)

    async def notice_silence() -> None:
        while True:
            tell_presence()
            await asyncio.sleep(LOOK_S)

    tasks = [asyncio.create_task(source.follow(live, hear)), asyncio.create_task(notice_silence())]
    stop = asyncio.create_task(ended.wait())
    try:
        done, _ = await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*tasks, stop):
            task.cancel()
        await asyncio.gather(*tasks, stop, return_exceptions=True)
    if broken:
        raise broken[0]
    for task in done:
        task.result()


def _presence(live: Live, *, as_json: bool) -> str:
    change: Change = ("gateway", "gateway", None, {"away": live.away, "why": live.why_away if live.away else None})
    if as_json:
        return lines.as_json(change, live.now_ms)
    known = f"{(utc(live.now_ms) or '')[:19].replace('T', ' ')} " if live.now_ms else ""
    return f"{known}gateway: {f'away: {live.why_away}' if live.away else 'here'}"


def _has(text: str, wanted: str) -> bool:
    return all(word in text.casefold() for word in wanted.casefold().split())
