"""What the API knows of the installation that it stands in, beside the ledger and the view area."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo

from lapel_gateway.alarms.ack_links import AckLinks
from lapel_gateway.settings.visits import DEFAULT_RULES, VisitsSection


@dataclass(frozen=True)
class Installed:
    """By default an installation without channels."""

    links: AckLinks | None = None
    """Reads the links to acknowledge with; None: none is answered."""
    zone: tzinfo | None = None
    """In which the days of reports are counted; None: this machine's."""
    rules: VisitsSection = DEFAULT_RULES
    channels: Mapping[str, str] = field(default_factory=dict)
    """The channels that take alarms, by name, with whom each reaches, "" for nobody by name."""


NOTHING_INSTALLED = Installed()
