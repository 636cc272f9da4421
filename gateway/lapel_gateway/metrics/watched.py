"""What the figures are about, beside the ledger: this installation's folders, channels and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lapel_gateway.channels.setup import reach_of
from lapel_gateway.settings.config import Config

OWN_CHANNELS = frozenset({"assembly", "directory"})
"""Of the gateway itself: clips are assembled and forwarded through them."""


@dataclass(frozen=True)
class Watched:
    """By default an installation without folders and channels."""

    data_dir: Path | None = None
    vault_dir: Path | None = None
    views_dir: Path | None = None
    reserve_bytes: int = 0
    """Free space that clips may not take."""
    silent_ms: int = 180_000
    """After this time without contact a device counts as silent."""
    channels: Mapping[str, str] = field(default_factory=dict)
    """The channels that take alarms, by name, with whom each reaches, "" for nobody by name."""
    receivers: Mapping[str, float] = field(default_factory=dict)
    """Of these the receiving centres, with the seconds between two tests of their link, 0 for none."""

    def label(self, channel: str) -> str:
        """A channel's name for figures: of mail and of what reaches a person by name only its kind and its number."""
        if channel in OWN_CHANNELS:
            return channel
        if channel not in self.channels:
            return "other"
        kind = channel.partition(":")[0]
        if not self.channels[channel] and kind != "smtp":
            return channel
        return f"{kind}:{list(self.channels).index(channel) + 1}"


def watched_of(config: Config) -> Watched:
    """This installation, as configured."""
    return Watched(
        config.data_dir,
        config.vault_dir,
        config.views_dir,
        config.ingest.reserve_bytes,
        config.alarms.heartbeat_late_s * 1000,
        dict(reach_of(config).people),
        {f"sia:{centre.name}": centre.supervision_s for centre in config.sia_receiver},
    )
