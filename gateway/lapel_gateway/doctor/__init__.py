"""``lapel gateway doctor``: what is wrong with an installation, and how to mend it.

Rules that hold here
- Looking changes nothing: no file, no row, no session at the broker. The gateway may run meanwhile, or not.
- Each finding says what is wrong, and then what to do. One check that itself fails is a finding, and ends no other.
- Nothing here prints a secret, or the words of anybody's visit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from lapel_gateway.doctor import contents, machine
from lapel_gateway.settings.check import Finding, check_config
from lapel_gateway.settings.config import Config

__all__ = ["examine"]

Check = Callable[[Config, int], Iterable[Finding]]


def examine(config: Config, now_ms: int) -> list[Finding]:
    """Every finding: the settings first, then the machine, then what the ledger tells. ``now_ms``: Unix time."""
    checks: list[Check] = [_settings, *machine.CHECKS, *contents.CHECKS]
    return [finding for check in checks for finding in _attempted(check, config, now_ms)]


def _settings(config: Config, now_ms: int) -> Iterable[Finding]:
    return check_config(config)


def _attempted(check: Check, config: Config, now_ms: int) -> Iterator[Finding]:
    try:
        yield from check(config, now_ms)
    except Exception as error:  # noqa: BLE001 - whatever is broken is what a doctor is called for
        yield Finding("error", "doctor", f"a check failed ({type(error).__name__}): {str(error).partition(chr(10))[0]}")
