"""A real Prometheus that scrapes a real gateway with the files that the gateway wrote for it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.metrics.installation import Installation, installation
from tests.rings import find_program
from tests.waiting import wait_until

LAPEL = Path(sys.executable).with_name("lapel")
TIMEOUT_S = 180.0
TOKEN = "0123456789abcdef-scrape"


class Prometheus:
    """What its API says."""

    def __init__(self, port: int) -> None:
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=20)

    def get(self, path: str, **query: str) -> Any:
        """The data of an answer. Raises httpx.HTTPError."""
        answer = self.client.get(path, params=query).raise_for_status().json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def value(self, expression: str) -> float | None:
        """The first value of a query, None for none, and while nobody answers."""
        try:
            found = self.get("/query", query=expression)["result"]
        except httpx.HTTPError:
            return None
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        return {one["labels"]["alertname"] for one in self.get("/alerts")["alerts"] if one["state"] == "firing"}


@contextmanager
def prometheus(folder: Path, port: int) -> Iterator[Prometheus]:
    """A Prometheus with the configuration in a folder, every fifteen seconds of it made one."""
    program = find_program("prometheus")
    assert program is not None
    config = folder / "prometheus.yml"
    config.write_text(config.read_text().replace("interval: 15s", "interval: 1s"))
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        judge = Prometheus(port)
        try:
            yield judge
        finally:
            judge.client.close()
            process.kill()
            process.wait()


def write_files(site: Installation, folder: Path) -> None:
    """What an operator does: `lapel gateway monitoring`."""
    folder.mkdir()
    command = [str(LAPEL), "gateway", "monitoring", "--out", str(folder), "--config", str(site.config_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.needs("mosquitto", "prometheus", "promtool")
def test_prometheus_scrapes_the_gateway_its_alert_fires_and_every_query_of_the_dashboard_is_answered(
    tmp_path: Path, free_ports: list[int]
) -> None:
    monitoring = tmp_path / "monitoring"
    (tmp_path / "scrape.txt").write_text(TOKEN + "\n")
    (tmp_path / "scrape.txt").chmod(0o600)
    with installation(tmp_path, free_ports, metrics='token_file = "scrape.txt"') as site:
        wait_until(site.ready, TIMEOUT_S)
        write_files(site, monitoring)
        promtool = find_program("promtool")
        assert promtool is not None
        subprocess.run([promtool, "check", "config", monitoring / "prometheus.yml"], check=True, timeout=TIMEOUT_S)
        assert TOKEN not in (monitoring / "prometheus.yml").read_text()
        with prometheus(monitoring, free_ports[3]) as judge:
            wait_until(lambda: judge.value("lapel_ready") == 1, TIMEOUT_S)
            assert judge.value('up{job="lapel"}') == 1
            assert judge.firing() <= {"LapelDiskLow"}

            site.send("alarms", signal.SIGKILL)
            wait_until(lambda: {"LapelRoleDown", "LapelNotReady"} <= judge.firing(), TIMEOUT_S)

            families = set(judge.get("/metadata"))
            known = families | {f"{name}_total" for name in families}
            dashboard = json.loads((monitoring / "lapel-dashboard.json").read_text())
            queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
            for query in queries:
                judge.get("/query", query=query)
                assert set(re.findall(r"\blapel_[a-z_]+\b", query)) <= known, query

            site.start("alarms")
            wait_until(lambda: not {"LapelRoleDown", "LapelNotReady"} & judge.firing(), TIMEOUT_S)
