"""Runs the ``lapel`` command in this process, as its users see it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lapel_gateway.accounts.permissions import ROLE_NAMES
from lapel_tools.cli import main


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Lapel:
    """The command, with a configuration of its own in ``folder``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.config = folder / "lapel.toml"
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def token(self, name: str, number: int = 1) -> str:
        """A token of a user who may do everything; the user is added with the first."""
        if number == 1:
            roles = [part for role in ROLE_NAMES for part in ("--role", role)]
            assert self("user", "add", name, *roles).status == 0
        return self("user", "token", "add", name, f"token {number}").out.strip()

    def __call__(self, *arguments: object) -> Result:
        self._capsys.readouterr()
        self._monkeypatch.setattr(sys, "argv", ["lapel", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err, captured.err
        status = ended.value.code
        assert isinstance(status, int)
        return Result(status, captured.out, captured.err)
