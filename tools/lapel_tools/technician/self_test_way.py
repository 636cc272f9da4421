"""How far a device came on its way to the gateway: what its own attempt wrote down, and what that means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .link import MAX_LINE_CHARS

Verdict = tuple[str, str, str]
"""Outcome, fault, what was found."""

_LOOK_MS = 50
"""How often the board looks."""

_NO_MEMORY = 12
_CERTIFICATE_WORDS = ("certificate", "cert", "x509", "verify")
_FILE_WORDS = ("cert", "key", "x509", "asn1", "mbedtls")
_TIME_WORDS = ("expired", "future", "validity")


@dataclass(frozen=True)
class Way:
    """What the board tells (`boards/self_test/gateway.py`). Times are ms since its first poll, -1 = not yet.

    ``fault``: why the device is out of service, "" while it is not. ``connected``: TCP stood. ``number`` and ``error``
    are those of the latest error.
    """

    fault: str
    boot: int
    up: bool
    attempts: int
    tls: bool
    opened: bool
    connected: bool
    sent: int
    received: int
    closed: bool
    number: int
    error: str
    online_ms: int
    welcomed_ms: int
    refused: bool

    @classmethod
    def read(cls, told: Any) -> Way:
        """What a board told. Raises ValueError when it is something else."""
        kinds = (str, int, bool, int, bool, bool, bool, int, int, bool, int, str, int, int, bool)
        if not isinstance(told, tuple) or [type(one) for one in told] != list(kinds):
            raise ValueError("not what a round trip tells")
        return cls(*told)

    @property
    def over(self) -> bool:
        """Whether nothing better will come of waiting."""
        return bool(self.fault) or self.welcomed_ms >= 0


def judge_broker(way: Way) -> Verdict:
    """Whether the broker accepted the device, and if not, where it ended."""
    if way.fault:
        return "skipped", "", "the device is out of service"
    if way.online_ms >= 0:
        kind = "TLS, both certificates accepted" if way.tls else "without TLS, which only a test may be"
        return "passed", "", f"{kind}, connected after {way.online_ms} ms"
    if not way.up or not way.attempts:
        return "failed", "no_network", "no network is joined"
    fault = _broker_fault(way)
    return "failed", fault, f"{_BROKER_WORDS[fault]}{f' ({way.error[:MAX_LINE_CHARS]})' if way.error else ''}"


_BROKER_WORDS = {
    "no_name": "the broker's name is not found",
    "refused": "the broker's machine refuses the connection",
    "unreachable": "the broker's machine does not answer",
    "certificate": "the broker's certificate is not accepted",
    "certificate_time": "the broker's certificate is not valid now",
    "certificate_file": "the device's own certificates cannot be read",
    "memory": "the device has no memory left for the connection",
    "tls_refused": "the broker ends the TLS handshake",
    "turned_away": "the broker closes the connection before it accepts the device",
    "silent": "the broker takes the connection and says nothing",
}


def _broker_fault(way: Way) -> str:
    error = way.error.lower()
    about_certificate = any(word in error for word in _CERTIFICATE_WORDS)
    if way.number == _NO_MEMORY:
        return "memory"
    if not way.opened:
        return "certificate_file" if any(word in error for word in _FILE_WORDS) else "no_name"
    if about_certificate and not way.sent:
        return "certificate_time" if any(word in error for word in _TIME_WORDS) else "certificate"
    if not way.connected:
        return "refused" if error or way.closed else "unreachable"
    if way.tls and not way.sent:
        return "tls_refused" if error or way.closed else "silent"
    return "turned_away" if error or way.closed else "silent"


def judge_gateway(way: Way, state: str | None) -> Verdict:
    """Whether the gateway's signed welcome came. ``state``: what this gateway's ledger says of the device, "" = nothing
    is known of it, None where there is no gateway to ask.
    """
    if way.fault:
        return "failed", "out_of_service", way.fault
    if way.online_ms < 0:
        return "skipped", "", "there is no way to the broker"
    if way.welcomed_ms >= 0:
        within_ms = way.welcomed_ms - way.online_ms + _LOOK_MS
        found = f"its signed hello was answered with a signed welcome within {within_ms} ms, boot {way.boot}"
        return "passed", "", found
    if way.refused:
        return "failed", "wrong_keys", "what answers is not signed with this device's keys"
    if state == "":
        return "failed", "unknown", "no welcome comes; this gateway does not know the device"
    if state not in (None, "active"):
        return "failed", "not_active", f"no welcome comes; the device is {state}"
    return "failed", "no_welcome", "no welcome comes from the gateway"
