"""Figures for operators' monitoring: who may read them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from lapel_gateway.settings.section import Section


class MetricsSection(Section):
    """Figures for Prometheus at /metrics of the [web] address: counts and ages only, never a person or a place."""

    enabled: bool = Field(True, description="Whether /metrics is there at all.")
    token_file: Path | None = Field(
        None,
        examples=["secrets/scrape.txt"],
        description="File (mode 0600) with the token that must be sent as Authorization: Bearer. Unset: only this "
        "machine is answered, and nobody where [web] public_url is set, since a proxy passes others' requests on.",
    )
