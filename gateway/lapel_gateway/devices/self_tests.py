"""Self-tests of devices, as they were reported: kept for ever, since they say what a device was like when it was used.

The report is a list of tests, each with a name, an outcome (`OUTCOMES`) and words: what was found, and what to do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from lapel_gateway.describe import moment
from lapel_gateway.ledger import reading, writing
from lapel_gateway.ledger.schema import self_test
from lapel_gateway.log import printable

PASSED = "passed"
FAILED = "failed"
ABSENT = "absent"
"""The board has no such part."""

SKIPPED = "skipped"
"""It was not tested: a person was not there to be asked, or what it needs was not."""

OUTCOMES = (PASSED, FAILED, ABSENT, SKIPPED)
MAX_TESTS = 64
MAX_CHARACTERS = 500


class SelfTestError(Exception):
    """The report is none; the message says why."""


def keep_self_test(
    engine: sa.Engine, device: str | None, hardware: str, report: Sequence[Mapping[str, str]], by: str, now_ms: int
) -> bool:
    """Enter a report; returns whether it was passed: at least one test passed and none failed.

    ``device`` is None for hardware that is not provisioned; ``hardware`` the board's own serial number. Raises
    SelfTestError.
    """
    tests = [_checked(one) for one in report]
    if not 0 < len(tests) <= MAX_TESTS:
        raise SelfTestError(f"a report has 1 to {MAX_TESTS} tests")
    outcomes = {one["outcome"] for one in tests}
    passed = PASSED in outcomes and FAILED not in outcomes
    with writing(engine) as connection:
        connection.execute(
            sa.insert(self_test).values(
                device=device,
                hardware=_text(hardware),
                at_ms=now_ms,
                by=_text(by),
                passed=passed,
                report=json.dumps(tests),
            )
        )
    return passed


def list_self_tests(engine: sa.Engine, device: str, limit: int = 20) -> list[dict[str, Any]]:
    """A device's reports in words, newest first."""
    query = sa.select(self_test).where(self_test.c.device == device).order_by(self_test.c.id.desc()).limit(limit)
    with reading(engine) as connection:
        return [self_test_words(row) for row in connection.execute(query).mappings()]


def latest(connection: sa.Connection, device: str) -> sa.RowMapping | None:
    """The newest report on a device, None where there is none."""
    query = sa.select(self_test).where(self_test.c.device == device).order_by(self_test.c.id.desc()).limit(1)
    return connection.execute(query).mappings().one_or_none()


def self_test_words(row: sa.RowMapping) -> dict[str, Any]:
    """A report in words."""
    return {
        "device": row["device"],
        "hardware": row["hardware"],
        "at": moment(row["at_ms"]),
        "by": row["by"],
        "passed": row["passed"],
        "tests": json.loads(row["report"]),
    }


def _checked(one: Mapping[str, str]) -> dict[str, str]:
    found = {name: _text(str(one.get(name, ""))) for name in ("name", "outcome", "found", "remedy")}
    if not found["name"] or found["outcome"] not in OUTCOMES:
        raise SelfTestError(f"a test has a name and an outcome: {', '.join(OUTCOMES)}")
    return found


def _text(text: str) -> str:
    return printable(" ".join(text.split()))[:MAX_CHARACTERS]
