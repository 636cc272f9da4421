"""What a self-test found on one board."""

from __future__ import annotations

from dataclasses import dataclass, field

from lapel_gateway.devices.self_tests import FAILED, PASSED


@dataclass(frozen=True)
class Finding:
    """One line of a report; `remedy` is what to do about a failure."""

    name: str
    outcome: str
    found: str
    remedy: str = ""


@dataclass
class BoardReport:
    """What became of one board. ``device``: its id, "" while it has none; ``hardware``: what it is built into;
    ``serial``: the chip's own number. ``boot``: the epoch that the round trip consumed, -1 = none. ``refused``: why it
    was not tested, or not to the end.
    """

    port: str
    serial: str = ""
    hardware: str = ""
    device: str = ""
    boot: int = -1
    findings: list[Finding] = field(default_factory=list)
    picture: bytes = field(default=b"", repr=False)
    kept: bool = False
    refused: str = ""

    @property
    def passed(self) -> bool:
        """At least one test passed and none failed."""
        outcomes = {finding.outcome for finding in self.findings}
        return not self.refused and PASSED in outcomes and FAILED not in outcomes
