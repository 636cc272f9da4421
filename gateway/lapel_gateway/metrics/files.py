"""The files that an operator's Prometheus and Grafana take: alert rules, dashboard, and where to scrape."""

from __future__ import annotations

import json
from pathlib import Path

from lapel_gateway.brokers.broker import reachable_host
from lapel_gateway.settings.config import Config

RULES = "lapel.rules.yml"
DASHBOARD = "lapel-dashboard.json"
PROMETHEUS = "prometheus.yml"

SCRAPE_S = 15


def monitoring_files(config: Config) -> dict[str, str]:
    """The text of each file, by its name. ``prometheus.yml`` scrapes this gateway, whose token it names by its file."""
    here = Path(__file__).parent
    texts = {name: (here / name).read_text(encoding="utf-8") for name in (RULES, DASHBOARD)}
    return {**texts, PROMETHEUS: _scrape_config(config)}


def _scrape_config(config: Config) -> str:
    host = reachable_host(config.web.host)
    target = f"{f'[{host}]' if ':' in host else host}:{config.web.port}"
    token_file = config.metrics.token_file
    access = ""
    if token_file is not None:
        access = f"\n    authorization:\n      credentials_file: {json.dumps(str(token_file))}"
    return f"""\
# Written by `lapel gateway monitoring`. Put the scrape job into a Prometheus that runs already, or start one with this.
global:
  scrape_interval: {SCRAPE_S}s
  evaluation_interval: {SCRAPE_S}s
rule_files:
  - {RULES}
scrape_configs:
  - job_name: lapel
    static_configs:
      - targets: [{json.dumps(target)}]{access}
"""
