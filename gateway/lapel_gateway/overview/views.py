"""How much of the picture of now somebody is told: by what their permissions open, section by section.

Rules that hold here
- ``see-live`` opens everything. Whoever has it not is told the sections that their other permissions open, as the rest
  of the API tells them; of what they are not to see, not even that it is there.
- Where somebody is, is told to those who may see positions; a telephone number to those who may see people.
- Two people with the same permissions share one view: it is made into JSON once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lapel_gateway.accounts.permissions import Permission
from lapel_gateway.overview.advice import next_thing
from lapel_gateway.overview.reader import SECTIONS, Picture

P = Permission
Words = dict[str, Any]

OPENS: Mapping[Permission, tuple[str, ...]] = {
    P.SEE_LIVE: SECTIONS,
    P.SEE_ALARMS: ("alarms", "more"),
    P.SEE_VISITS: ("visits",),
    P.SEE_CLIPS: ("clips", "more"),
    P.SEE_ALARM_CLIPS: ("clips", "more"),
    P.SEE_DEVICES: ("devices",),
    P.SEE_CHANNELS: ("channels", "deliveries", "lanes", "storage", "roles", "broker"),
}
"""The sections that each permission opens. Whoever has one of these has something to look at."""

WATCHERS = tuple(OPENS)

ALL_CLIPS, ALARM_CLIPS, NO_CLIPS = "all", "alarm", "none"


@dataclass(frozen=True)
class View:
    """What one kind of reader is told."""

    sections: frozenset[str]
    positions: bool
    people: bool
    """Telephone numbers."""
    clips: str

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self == WHOLE

    def of_picture(self, picture: Picture) -> dict[str, Any]:
        """The sections of a picture, as far as they are told."""
        if self.whole:
            return picture.sections
        told: dict[str, Any] = {}
        for name, section in picture.sections.items():
            if name in self.sections:
                words = {key: self._words(name, key, words) for key, words in section.items()}
                told[name] = {key: one for key, one in words.items() if one is not None}
        return told

    def of_changes(self, changed: dict[str, dict[str, Any]], before: Picture) -> dict[str, dict[str, Any]]:
        """What there is to tell of changes that follow ``before``: of an entry that this view had already only the
        fields that differ (`merged` takes them). What looks the same to it is none."""
        told: dict[str, dict[str, Any]] = {}
        for name, changes in changed.items():
            if name not in self.sections:
                continue
            old = before.sections.get(name, {})
            for key, words in changes.items():
                now = None if words is None else self._told(name, key, words)
                was = None if key not in old else self._told(name, key, old[key])
                if now != was:
                    told.setdefault(name, {})[key] = _fields(was, now)
        return told

    def _told(self, name: str, key: str, words: Any) -> Any:
        return words if self.whole else self._words(name, key, words)

    def _words(self, name: str, key: str, words: Any) -> Any:
        """One entry as it is told; None where it is not."""
        if name == "alarms":
            return self._alarm(words)
        if name == "visits":
            hidden = {} if self.positions else {"position": None}
            return {**words, **hidden, **({} if self.people else {"phone": None})}
        if name == "clips":
            return words if self._sees_clip(words) else None
        if name == "more":
            known = key == "alarms" and "alarms" in self.sections
            return words if known or (key == "clips" and self.clips == ALL_CLIPS) else None
        return words

    def _alarm(self, words: Words) -> Words:
        where = words["where"]
        if not self.positions:
            where = {**where, "position": None, "trail": []}
        if "visits" not in self.sections:
            where = {**where, "place": None}
        # An alarm's clip may have run before the alarm, which does not make it less the alarm's (catalogue.one_clip).
        told = {**words, "where": where, "clip": None if self.clips == NO_CLIPS else words["clip"]}
        if not self.people:
            told |= {"phone": None, "todo": next_thing(words, "")}
        return told

    def _sees_clip(self, clip: Words) -> bool:
        return self.clips == ALL_CLIPS or (self.clips == ALARM_CLIPS and clip["alarm"])


def merged(was: Any, fields: Any) -> Any:
    """An entry as it stands after a change; ``was`` None where it was not there, and the result where it is not now."""
    return {**was, **fields} if isinstance(was, dict) and isinstance(fields, dict) else fields


def _fields(was: Any, now: Any) -> Any:
    if not (isinstance(was, dict) and isinstance(now, dict)):
        return now
    # Entries of a section have the same fields; one without a field has nothing to say there.
    return {name: value for name, value in now.items() if name not in was or was[name] != value} | dict.fromkeys(
        was.keys() - now.keys()
    )


WHOLE = View(frozenset(SECTIONS), positions=True, people=True, clips=ALL_CLIPS)


def view_of(permissions: Collection[Permission]) -> View:
    """What somebody with these permissions is told."""
    if P.SEE_LIVE in permissions:
        return WHOLE
    clips = ALL_CLIPS if P.SEE_CLIPS in permissions else ALARM_CLIPS if P.SEE_ALARM_CLIPS in permissions else NO_CLIPS
    sections = frozenset(name for one, names in OPENS.items() if one in permissions for name in names)
    return View(sections, P.SEE_POSITIONS in permissions, P.SEE_PEOPLE in permissions, clips)
