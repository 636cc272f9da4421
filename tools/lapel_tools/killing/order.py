"""What a run is to do, handed from the keeper to the work below it on its command line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Order:
    """`keeper` is the pid that the work ends with; `out` and `json_file` are paths, or ""."""

    keeper: int
    minutes: float
    seed: int
    devices: int
    gap_s: tuple[float, float]
    out: str
    json_file: str

    def encode(self) -> str:
        """For a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Order:
        """What `encode` gave."""
        facts = json.loads(text)
        return cls(**{**facts, "gap_s": tuple(facts["gap_s"])})
