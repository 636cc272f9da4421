"""What an installation asks of people who log in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How long a session lasts, in milliseconds."""

    idle_ms: int
    absolute_ms: int


@dataclass(frozen=True)
class Rules:
    """Of passwords, authenticators and sessions."""

    limits: Limits
    least_characters: int
    """Of a password."""
    code_roles: frozenset[str]
    """Roles that need an authenticator."""
