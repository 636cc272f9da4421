"""What a person reads when a setting is wrong: where it stands, which it is, what it must be, the closest name.

Values are never repeated: an address may carry a password that somebody put there.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Explanation:
    """Explains the faults of one file and of this process's environment."""

    sections: Mapping[str, list[str]]
    """Names of the settings that exist, by section."""
    env_prefix: str
    env_delimiter: str
    path: Path
    text: str

    def unknown_variables(self) -> list[str]:
        """Faults of variables that look like settings of a section that does not exist."""
        faults = []
        for variable in sorted(os.environ):
            if not variable.upper().startswith(self.env_prefix):
                continue
            section, delimiter, _ = variable[len(self.env_prefix) :].lower().partition(self.env_delimiter)
            if delimiter and section not in self.sections:
                hint = _closest(section, self.sections)
                faults.append(f"environment {variable}: there is no section {section}{hint}")
        return faults

    def fault(self, fault: Any) -> str:
        """One line for one of pydantic's faults (an entry of ``ValidationError.errors()``)."""
        location: tuple[str | int, ...] = fault["loc"]
        section, key = self._names(location)
        where, named = self._where(location), f"[{section}] {key}".rstrip()
        if fault["type"] == "extra_forbidden":
            if not key:
                return f"{where}: there is no section or setting {section}{_closest(section, self.sections)}"
            if len(location) > 3:  # within a table of its own, as in [[section]] key.….name
                return f"{where}: {named}.{'.'.join(map(str, location[3:]))} is not a setting"
            return f"{where}: {named} is not a setting{_closest(key, self.sections[section])}"
        if fault["type"] == "missing":
            return f"{where}: {named} must be given"
        message = str(fault["msg"]).replace("Input should be", "must be").removeprefix("Value error, ")
        return f"{where}: {named}: {message}"

    def _where(self, location: tuple[str | int, ...]) -> str:
        """The variable, or the file and line, that a faulty setting came from."""
        section, key = self._names(location)
        for keys in ((section, key), (section,)):
            variable = self.env_prefix + self.env_delimiter.join(keys).upper()
            if variable in os.environ:
                return f"environment {variable}"
        index = next((part for part in location if isinstance(part, int)), 0)
        line = _line_of(self.text, section, key, index)
        return f"{self.path} line {line}" if line else str(self.path)

    @staticmethod
    def _names(location: tuple[str | int, ...]) -> tuple[str, str]:
        """(section, key) of a fault; key is "" for a fault of the whole section."""
        names = [str(part) for part in location if not isinstance(part, int)]
        return names[0], names[1] if len(names) > 1 else ""


def _closest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {matches[0]}?" if matches else f"; there are {', '.join(known)}"


def _line_of(text: str, section: str, key: str, index: int) -> int | None:
    """Number of the line that sets ``key``, else of the section's header; ``index`` counts repeated [[tables]]."""
    header_line, seen, inside = None, -1, False
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\[?\s*([\w-]+)\s*\]", line)
        if header:
            inside = False
            if header[1] == section:
                seen += 1
                if "[[" not in line or seen == index:
                    inside, header_line = True, number
        elif inside and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
        elif header_line is None and re.match(rf"\s*{re.escape(section)}\s*(=|\.)", line):
            header_line = number
    return header_line
