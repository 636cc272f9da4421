"""``python -m bench [GROUP …]``: runs the measurements and prints a table; ``--json FILE`` writes it too.

Every ratio is between two figures of the same run on the same machine. A missed bound is printed as such and does not
fail the run: a benchmark is no test.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from bench.report import Report, machine

GROUPS = ("paths", "device", "uplink", "clips", "ingest", "growth", "alarms", "notify", "live", "pages", "fleet")
"""Modules of this package with a `measure(report)`, in the order in which they run."""


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Lapel side by side with its peers.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as JSON")
    parser.add_argument("--quick", action="store_true", help="a short run, to see that everything works")
    asked = parser.parse_args()
    unknown = sorted(set(asked.groups) - set(GROUPS))
    if unknown:
        parser.error(f"no such group: {', '.join(unknown)}; groups are {', '.join(GROUPS)}")
    report = Report(asked.quick)
    where = machine()
    print("{date}, {cores} cores, {memory_gib} GiB, {architecture}, Python {python}".format(**where))
    for name in GROUPS:
        if not asked.groups or name in asked.groups:
            importlib.import_module(f"bench.{name}").measure(report)
    for figure in report.missed():
        print(f"missed: {figure.group}: {figure.name} {figure.value:.2f} {figure.unit}, wanted {figure.bound}")
    if asked.json:
        report.write(asked.json)
        print(f"written to {asked.json}")


if __name__ == "__main__":
    main()
