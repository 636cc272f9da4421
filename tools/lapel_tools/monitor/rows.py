"""The picture in rows for people: what is worst stands first; every state has a shape and a word beside its colour."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from lapel_gateway.alarms.kinds import TECHNICAL_NAMES
from lapel_tools.monitor.live import Live, Words

RED, AMBER, GREEN, GREY = "bold red", "yellow", "green", "bright_black"

LONG_DAYS = 1000
"""Nobody plans further."""

Cell = Text | str
Row = tuple[str, tuple[Cell, ...]]
"""Key of what it is about, and its cells."""


@dataclass(frozen=True)
class Page:
    """One table of the monitor."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: Callable[[Live], list[Row]]
    empty: str


def age(now_ms: int, moment: Words | None) -> str:
    """How long ago, or how long until (with +), in the two largest units."""
    if not moment or not now_ms:
        return "-"
    seconds = (now_ms - moment["ms"]) // 1000
    sign = "+" if seconds < 0 else ""
    seconds = abs(seconds)
    if seconds < 60:
        return f"{sign}{seconds}s"
    if seconds < 3600:
        return f"{sign}{seconds // 60}m{seconds % 60:02}s"
    if seconds < 86_400:
        return f"{sign}{seconds // 3600}h{seconds % 3600 // 60:02}m"
    return f"{sign}{seconds // 86_400}d{seconds % 86_400 // 3600:02}h"


def size(number: float | None) -> str:
    """Bytes to two or three digits."""
    if number is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if number >= 10 or unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.0f} TiB" if number >= 10 else f"{number:.1f} TiB"


def line(text: object, limit: int = 200) -> str:
    """Somebody's text in one line."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())[:limit]


def alarm_rank(words: Words) -> tuple[Any, ...]:
    """As the gateway orders alarms: nobody has answered, somebody is in danger, no drill, newest."""
    received = words["received"]["ms"] if words["received"] else 0
    technical = words["kind"] in TECHNICAL_NAMES
    return (words["acknowledged"] is not None, technical, words["test"], -received, words["id"])


def alarm_mark(words: Words) -> Text:
    """How an alarm stands."""
    if words["acknowledged"] is not None:
        return Text("◆ seen", AMBER)
    if words["test"]:
        return Text("△ drill", AMBER)
    return Text("▲ OPEN", RED)


def alarms(live: Live) -> list[Row]:
    """The open alarms."""
    return [
        (
            words["id"],
            (
                alarm_mark(words),
                line(words["kind"].replace("_", " "), 17),
                line(words["person"] or words["about"] or words["device"] or "-", 18),
                age(live.now_ms, words["received"]),
                _where(live.now_ms, words),
            ),
        )
        for words in sorted(live.section("alarms").values(), key=alarm_rank)
    ]


def visits(live: Live) -> list[Row]:
    """Who is where: the next deadline first, plans at the end."""

    def rank(words: Words) -> tuple[bool, int, int]:
        when = words["deadline"] or words["planned"] or {"ms": 0}
        return (words["deadline"] is None, when["ms"], words["id"])

    return [
        (
            str(words["id"]),
            (
                _visit_mark(words),
                line(words["person"], 18),
                line(words["place"], 24),
                age(live.now_ms, words["deadline"] or words["planned"]),
                age(live.now_ms, words["contact"]),
                line(words["buddy"] or "-", 14),
            ),
        )
        for words in sorted(live.section("visits").values(), key=rank)
    ]


def devices(live: Live) -> list[Row]:
    """The devices: those that are lost or silent first."""
    order = {"silent": 0, "never heard": 1, "in contact": 2}

    def rank(words: Words) -> tuple[Any, ...]:
        return (words["state"] == "active", order.get(words["link"], 0), words["name"], words["device"])

    return [
        (
            words["device"],
            (
                _device_mark(words),
                line(words["name"], 14),
                line(words["person"] or "-", 16),
                age(live.now_ms, words["contact"]),
                _battery(words),
                str(words["unsent_clips"] if words["unsent_clips"] is not None else "-"),
                line(words["firmware"] or "-", 9),
                Text("● REC", RED) if words["recording"] else "",
            ),
        )
        for words in sorted(live.section("devices").values(), key=rank)
    ]


def clips(live: Live) -> list[Row]:
    """What is being received: alarms' clips first."""

    def rank(words: Words) -> tuple[Any, ...]:
        return (not words["alarm"], -(words["first_received"] or {"ms": 0})["ms"], words["id"])

    return [
        (
            words["id"],
            (
                Text("▲ alarm", RED) if words["alarm"] else Text("· clip", GREY),
                words["id"],
                line(words["person"] or "-", 16),
                line(words["state"], 9),
                size(words["bytes"]),
                _progress(words),
                age(live.now_ms, words["first_received"]),
            ),
        )
        for words in sorted(live.section("clips").values(), key=rank)
    ]


def channels(live: Live) -> list[Row]:
    """The channels, those that fail first; then what waits for no channel by name."""
    marks = {"failing": Text("✖ failing", RED), "works": Text("● works", GREEN), "unused": Text("· unused", GREY)}
    rows: list[Row] = []
    for words in sorted(live.section("channels").values(), key=lambda one: (one["state"] != "failing", one["channel"])):
        error = next((part["error"] for name in ("delivery", "link") if (part := words[name]) and part["error"]), "")
        cells = (
            marks.get(words["state"], Text(words["state"])),
            line(words["channel"], 24),
            line(words["person"] or "-", 14),
            str(words["waiting"]),
            age(live.now_ms, words["oldest_waiting"]),
            line(error, 60),
        )
        rows.append((words["channel"], cells))
    for kind, words in sorted(live.section("deliveries").items()):
        waiting = (Text("· waiting", GREY), f"all of {kind}", "-", str(words["waiting"]))
        rows.append((f"all {kind}", (*waiting, age(live.now_ms, words["oldest"]), "")))
    return rows


def machine(live: Live) -> list[Row]:
    """The gateway itself: roles, broker, lanes, disks."""
    return [*_roles(live), *_broker(live), *_lanes(live), *_storage(live)]


PAGES = (
    Page("alarms", "Alarms", ("state", "kind", "who", "since", "where"), alarms, "no open alarms"),
    Page("visits", "Visits", ("state", "who", "place", "late in", "sign", "buddy"), visits, "nobody is on a visit"),
    Page(
        "devices",
        "Devices",
        ("link", "name", "wearer", "heard", "battery", "unsent", "firmware", ""),
        devices,
        "no devices",
    ),
    Page(
        "clips", "Clips", ("", "clip", "who", "state", "here", "segments", "since"), clips, "no clip is being received"
    ),
    Page(
        "channels",
        "Deliveries",
        ("state", "channel", "reaches", "wait", "oldest", "trouble"),
        channels,
        "no channel is configured: nobody is told of an alarm",
    ),
    Page("gateway", "Gateway", ("state", "what", "figures"), machine, "nothing is known"),
)


def headline(live: Live) -> tuple[str, Text]:
    """(how bad, one line) of everything: ``away``, ``alarm``, ``warn`` or ``calm``."""
    if live.away:
        last = f"; last heard of {age(live.now_ms, {'ms': live.heard_ms})} ago" if live.heard_ms else ""
        return "away", Text(f"✖ AWAY: {line(live.why_away, 160)}{last}. Nothing below is known to be so.")
    unseen = [words for words in live.section("alarms").values() if words["acknowledged"] is None]
    urgent = [words for words in unseen if not words["test"]]
    late = [words for words in live.section("visits").values() if words["late"]]
    wrong = [*_dead(live), *_failing(live)]
    if urgent:
        first = min(urgent, key=alarm_rank)
        who = line(first["person"] or first["about"] or first["device"] or "", 40)
        more = f" and {len(urgent) - 1} more" if len(urgent) > 1 else ""
        return "alarm", Text(f"▲ {first['kind'].upper().replace('_', ' ')} {who}{more}: nobody has answered")
    if late or wrong or unseen:
        parts = [f"{len(late)} visit{'s' if len(late) > 1 else ''} late"] if late else []
        parts += [f"{len(unseen)} drill{'s' if len(unseen) > 1 else ''} unanswered"] if unseen else []
        return "warn", Text(f"◆ {'; '.join([*parts, *wrong])}")
    answered = len(live.section("alarms"))
    told = f"{answered} answered and still open" if answered else "no open alarm"
    return "calm", Text(f"● live; {told}")


def matching(rows: Iterable[Row], wanted: str) -> list[Row]:
    """The rows in which every word of ``wanted`` occurs, whatever its case."""
    words = wanted.casefold().split()
    found = []
    for key, cells in rows:
        text = f"{key} {' '.join(str(cell) for cell in cells)}".casefold()
        if all(word in text for word in words):
            found.append((key, cells))
    return found


def _where(now_ms: int, words: Words) -> str:
    where = words["where"]
    position = where["position"]
    place = line(where["place"] or "", 40)
    if position is None:
        return place or "not known"
    near = f"±{position['accuracy_m']}m" if position["accuracy_m"] is not None else ""
    point = f"{position['latitude']:.5f},{position['longitude']:.5f}{near} {age(now_ms, position['measured'])} ago"
    return f"{place} {point}".strip()


def _visit_mark(words: Words) -> Text:
    if words["state"] == "overdue" or words["late"]:
        return Text("▲ LATE", RED)
    if words["state"] == "amber":
        return Text("◐ amber", AMBER)
    return Text("○ plan", GREY) if words["state"] == "planned" else Text("● on it", GREEN)


def _device_mark(words: Words) -> Text:
    if words["state"] != "active":
        return Text(f"✖ {words['state']}", RED)
    return {
        "in contact": Text("● here", GREEN),
        "silent": Text("○ silent", AMBER),
    }.get(words["link"], Text("· never", GREY))


def _battery(words: Words) -> Cell:
    percent = words["battery_percent"]
    if percent is None:
        return "-"
    return Text(f"▼ {percent}%", RED) if percent < 20 else f"{percent}%"


def _progress(words: Words) -> str:
    settled = words["segments_settled"]
    return f"{words['segments']}/{settled if settled is not None else '?'}"


def _roles(live: Live) -> list[Row]:
    rows: list[Row] = []
    for name, words in sorted(live.section("roles").items()):
        late = f"late with {words['late_with']} {age(live.now_ms, words['late_since'])}" if words["late_since"] else ""
        mark = Text("● alive", GREEN) if words["alive"] else Text("✖ silent", RED)
        if words["connected"] is False:
            mark, late = Text("◆ cut off", AMBER), "the broker has not its subscriptions"
        elif words["alive"] and late:
            mark = Text("◆ late", AMBER)
        rows.append((f"role {name}", (mark, f"role {name}", late)))
    return rows


def _broker(live: Live) -> list[Row]:
    rows: list[Row] = []
    for words in live.section("broker").values():
        marks = {True: Text("● here", GREEN), False: Text("✖ away", RED), None: Text("? unknown", GREY)}
        figures = words["figures"] or {}
        told = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in sorted(figures.items()))
        said = told or words["trouble"] or words["why_no_figures"] or ""
        rows.append(("broker", (marks[words["connected"]], "broker", line(said, 160))))
    return rows


def _lanes(live: Live) -> list[Row]:
    rows: list[Row] = []
    for name, words in sorted(live.section("lanes").items()):
        if "bytes_last_minute" in words:
            figures = f"{size(words['bytes_last_minute'])} in the last minute, {words['under_way']} clips under way"
        else:
            figures = f"{words['last_minute']} in the last minute, newest {age(live.now_ms, words['newest'])} ago"
        rows.append((f"lane {name}", (Text("· lane", GREY), f"{name} lane", figures)))
    return rows


def _storage(live: Live) -> list[Row]:
    rows: list[Row] = []
    for name, words in sorted(live.section("storage").items()):
        if words["free_bytes"] is None:
            mark, figures = Text("? unknown", AMBER), line(words["trouble"] or "")
        else:
            mark = Text("▲ low", RED) if words["low"] else Text("● room", GREEN)
            days = "" if words["days"] is None else f", lasts {_days(words['days'])} as clips come now"
            figures = f"{size(words['free_bytes'])} of {size(words['total_bytes'])} free{days}"
        rows.append((f"disk {name}", (mark, f"disk of {name}", figures)))
    return rows


def _days(number: int) -> str:
    if number >= LONG_DAYS:
        return f"over {LONG_DAYS} days"
    return "1 day" if number == 1 else f"{number} days"


def _dead(live: Live) -> list[str]:
    roles = sorted(live.section("roles").items())
    found = [f"role {name} is silent" for name, words in roles if not words["alive"]]
    found += [f"role {name} has no broker" for name, words in roles if words["connected"] is False]
    found += [f"role {name} is late" for name, words in roles if words["late_since"]]
    away = [words for words in live.section("broker").values() if words["connected"] is False]
    found += ["the broker is away"] if away else []
    return found + [f"disk of {name} is low" for name, words in live.section("storage").items() if words["low"]]


def _failing(live: Live) -> list[str]:
    failing = [name for name, words in live.section("channels").items() if words["state"] == "failing"]
    return [f"{', '.join(line(name, 24) for name in failing[:2])} failing"] if failing else []
