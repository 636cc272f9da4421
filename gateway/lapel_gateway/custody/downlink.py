"""What a core wants done after its commit: messages it may acknowledge, and commands for devices."""

from __future__ import annotations

from dataclasses import dataclass, field

from lapel_gateway.verify import Trust, Verifier
from lapel_protocol.command import NO_NONCE, Command
from lapel_protocol.commanding import seal_command
from lapel_protocol.topics import LANE_DOWN, topic

COMMAND_LIFE_MS = 60_000
"""Expiry of a command that changes something: it is meant for the connection it was issued on."""


@dataclass(slots=True)
class Outcome:
    """What may be told once everything it rests on is durable.

    ``acknowledge`` holds the positions in the batch whose messages the broker may forget; the others are handed in
    again. ``downlinks`` are (topic, payload), in order; each may be lost, and is then issued again after a hello.
    ``receipted`` names the alarms that they receipt.
    """

    acknowledge: list[int] = field(default_factory=list)
    downlinks: list[tuple[str, bytes]] = field(default_factory=list)
    receipted: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Order:
    """One command, not sealed yet. Times are Unix milliseconds."""

    device: bytes
    kind: int
    payload: bytes
    nonce: bytes = NO_NONCE
    counter: int = 0
    issued_ms: int = 0
    expires_ms: int = 0


def changing_order(device: bytes, kind: int, payload: bytes, nonce: bytes, counter: int, now_ms: int) -> Order:
    """A command that changes something: for the device's newest hello, under a counter of its own, and not for long."""
    return Order(
        device, kind, payload, nonce=nonce, counter=counter, issued_ms=now_ms, expires_ms=now_ms + COMMAND_LIFE_MS
    )


def seal_order(verifier: Verifier, trust: Trust, order: Order) -> tuple[str, bytes]:
    """(topic, record) of a command for the newest boot of the device."""
    command = Command(
        order.kind,
        trust.device,
        trust.boot,
        order.payload,
        nonce=order.nonce,
        counter=order.counter,
        issued_ms=order.issued_ms,
        expires_ms=order.expires_ms,
    )
    return topic(trust.device, LANE_DOWN), seal_command(verifier.keys(trust, trust.boot), command)
