"""Reads figures as Prometheus does: over HTTP, in the text format, parsed by the client library's own parser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from lapel_gateway.metrics.watched import Watched
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.installed import Installed, Scraping
from lapel_gateway.web.server import WebRole
from tests.support.pair import DevicePair

FROM_HERE = Scraping()
"""Who may read the figures by default."""


class Figures:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """The value of one figure. Raises KeyError where there is none."""
        return self._values[f"lapel_{name}", frozenset(labels.items())]

    @property
    def names(self) -> set[str]:
        """Every name that stands there."""
        return {name for name, _ in self._values}


@contextmanager
def watching(
    pair: DevicePair, watched: Watched | None = None, scraping: Scraping | None = FROM_HERE
) -> Iterator[Callable[[], Figures]]:
    """What reads the figures of a gateway, by that gateway's clock."""
    with serving(pair.engine, lambda: pair.now_ms, pair, watched, scraping) as client:
        yield lambda: Figures(client.get("/metrics").raise_for_status().text)


@contextmanager
def serving(
    engine: sa.Engine,
    now_ms: Callable[[], int],
    pair: DevicePair,
    watched: Watched | None = None,
    scraping: Scraping | None = FROM_HERE,
) -> Iterator[httpx.Client]:
    """A client of the web role, as it is really served."""
    about = watched or Watched(pair.folder, pair.vault.root, pair.folder / "views")
    installed = Installed(channels=about.channels, watched=about, scraping=scraping)
    role = WebRole(engine, Views(pair.folder), "127.0.0.1", 0, now_ms, installed)
    role.start()
    try:
        with httpx.Client(base_url=role.url, trust_env=False, timeout=30) as client:
            yield client
    finally:
        assert role.stop()
