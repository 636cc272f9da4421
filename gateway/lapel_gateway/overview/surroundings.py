"""What the overview knows of the installation beside the ledger: its folders, roles, channels, rules and broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lapel_gateway.channels.setup import reach_of
from lapel_gateway.settings.config import Config
from lapel_gateway.settings.visits import DEFAULT_RULES, VisitsSection

HEARTBEAT_LATE_MS = 180_000
"""Where no configuration says otherwise."""

BrokerWords = Callable[[], dict[str, Any]]


def broker_unknown() -> dict[str, Any]:
    """What is said of the broker by a reader that is not the web role."""
    return _not_looked_at("only the gateway's web role looks at the broker")


def broker_unwatched() -> dict[str, Any]:
    """What is said of an external broker that knows no certificate of ours for this."""
    return _not_looked_at("[broker] certificate_file and key_file name no certificate of {role} watch")


def _not_looked_at(why: str) -> dict[str, Any]:
    return {"connected": None, "since": None, "trouble": None, "figures": None, "why_no_figures": why}


@dataclass(frozen=True)
class Surroundings:
    """By default none: a ledger alone."""

    channels: Mapping[str, str] = field(default_factory=dict)
    """Channels that take alarms, by name, with whom each reaches, "" for nobody by name."""
    rules: VisitsSection = DEFAULT_RULES
    heartbeat_late_ms: int = HEARTBEAT_LATE_MS
    folders: Mapping[str, Path] = field(default_factory=dict)
    """What is kept where, by a name for people."""
    low_bytes: int = 0
    """Room below which a disk is low."""
    roles: tuple[str, ...] = ()
    """Those that this installation has."""
    broker: BrokerWords = broker_unknown


def surroundings_of(config: Config, broker: BrokerWords = broker_unknown) -> Surroundings:
    """As the settings say."""
    folders = {"data": config.data_dir, "vault": config.vault_dir}
    if config.forward.directory is not None:
        folders["forward"] = config.forward.directory
    return Surroundings(
        reach_of(config).people,
        config.visits,
        config.alarms.heartbeat_late_s * 1000,
        folders,
        config.alarms.disk_low_bytes,
        tuple(config.gateway.roles),
        broker,
    )
