"""Rings: which tests this machine can run, and an honest word about those it cannot.

A ring is the folder below ``tests/`` (or what ``@pytest.mark.ring`` says). A test that needs a program says so with
``@pytest.mark.needs("mosquitto")``. Where the program is missing the test is left out and the summary names the ring,
the program and the remedy. ``LAPEL_RINGS`` changes that:

- ``LAPEL_RINGS=all``: nothing may be left out; a missing program, a skip or an xfail makes the run fail.
- ``LAPEL_RINGS=protocol,gateway``: the same, for these rings alone; the others are left out on request.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

RINGS = ("protocol", "firmware", "gateway", "tools", "redteam", "fuzz", "scenarios", "browser", "e2e", "seeded")
RING_NEEDS = {"scenarios": ("micropython",), "browser": ("chromium",), "e2e": ("micropython",)}
REMEDIES = {
    "micropython": "the test extra brings it on x86-64 Linux; elsewhere set LAPEL_MICROPYTHON to the program",
    "mosquitto": "make system-deps",
    "ffmpeg": "make system-deps",
    "prometheus": "make system-deps",
    "promtool": "make system-deps",
    "chromium": "make system-deps",
}
# Debian installs daemons where an ordinary user's PATH does not look.
_DAEMON_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")
_LEFT_OUT = "lapel_left_out"


def find_program(name: str) -> str | None:
    """Path of a program, or None. Looks at LAPEL_<NAME>, beside this Python, on PATH and where Debian puts daemons."""
    named = os.environ.get(f"LAPEL_{name.upper()}")
    if named:
        return named if os.access(named, os.X_OK) else None
    folders = [str(Path(sys.executable).parent), *os.get_exec_path(), *_DAEMON_FOLDERS]
    return shutil.which(name, path=os.pathsep.join(folders))


class Rings:
    """Leaves out what the machine cannot run and reports it; one object in each test process."""

    def __init__(self, wanted: str, tests: Path) -> None:
        self.tests = tests
        self.strict = bool(wanted)
        self.asked = frozenset(RINGS if wanted in ("", "all") else (name.strip() for name in wanted.split(",")))
        unknown = self.asked - frozenset(RINGS)
        if unknown:
            raise pytest.UsageError(
                f"LAPEL_RINGS names no such ring: {', '.join(sorted(unknown))}; rings are all or {', '.join(RINGS)}"
            )
        self.left_out: Counter[tuple[str, str]] = Counter()
        self.skipped: list[str] = []

    def ring_of(self, item: pytest.Item) -> str:
        """The ring of a test; a test outside every ring is a mistake in the tree."""
        marker = item.get_closest_marker("ring")
        if marker is not None:
            name = str(marker.args[0])
        else:
            try:
                name = item.path.relative_to(self.tests).parts[0]
            except ValueError:
                name = item.path.name
        if name not in RINGS:
            raise pytest.UsageError(f"{item.nodeid}: {name} is not a ring; rings are {', '.join(RINGS)}")
        return name

    def missing_for(self, item: pytest.Item) -> list[str]:
        """Programs that the test needs and this machine lacks."""
        needed = {name for marker in item.iter_markers("needs") for name in marker.args}
        needed.update(RING_NEEDS.get(self.ring_of(item), ()))
        unknown = needed - REMEDIES.keys()
        if unknown:
            raise pytest.UsageError(f"{item.nodeid}: needs() knows nothing of {', '.join(sorted(unknown))}")
        return sorted(name for name in needed if find_program(name) is None)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept = [item for item in items if self.ring_of(item) in self.asked]
        dropped = [item for item in items if self.ring_of(item) not in self.asked]
        if dropped:
            config.hook.pytest_deselected(items=dropped)
            items[:] = kept

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        missing = self.missing_for(item)
        if not missing:
            return
        if self.strict:
            pytest.fail(f"{', '.join(missing)} not found ({_remedies(missing)})", pytrace=False)
        item.user_properties.append((_LEFT_OUT, f"{self.ring_of(item)}:{','.join(missing)}"))
        pytest.skip(f"{', '.join(missing)} not found")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.skipped:
            return
        for name, value in report.user_properties:
            if name == _LEFT_OUT:
                ring, programs = str(value).split(":")
                self.left_out[ring, programs] += 1
                return
        self.skipped.append(f"{report.nodeid}: {_reason(report)}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skipped.append(f"{report.nodeid}: {_reason(report)}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.strict and self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        not_asked = [name for name in RINGS if name not in self.asked]
        if not_asked or self.left_out:
            terminalreporter.section("rings left out", yellow=True)
        if not_asked:
            terminalreporter.line(f"{', '.join(not_asked)}: LAPEL_RINGS does not ask for them")
        for (ring, programs), count in sorted(self.left_out.items()):
            names = programs.split(",")
            terminalreporter.line(f"{ring}: {count} tests need {', '.join(names)} ({_remedies(names)})")
        if self.strict and self.skipped:
            terminalreporter.section("skipped although LAPEL_RINGS is set: the run fails", red=True)
            for line in self.skipped:
                terminalreporter.line(line)


def _remedies(programs: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(REMEDIES[name] for name in programs))


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if hasattr(report, "wasxfail"):
        return f"xfail {report.wasxfail}".rstrip()
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return str(report.longrepr)


def pytest_configure(config: pytest.Config) -> None:
    """Called by pytest: one `Rings` for this process."""
    tests = config.rootpath / "tests"
    config.pluginmanager.register(Rings(os.environ.get("LAPEL_RINGS", "").strip(), tests), "lapel-rings")
