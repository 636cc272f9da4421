"""A technician's afternoon with nothing but the command line: set up, provision, record, export, verify."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until, whole_gateway_runs

LAPEL = Path(sys.executable).with_name("lapel")
TIMEOUT_S = 120.0


class Machine:
    """A folder with a gateway, and the installed command run in it."""

    def __init__(self, folder: Path, web_port: int) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LAPEL_")}
        self.environment = {**kept, "LAPEL_WEB__PORT": str(web_port)}

    def lapel(self, *arguments: str, status: int = 0) -> str:
        run = subprocess.run(
            [LAPEL, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert run.returncode == status, run.stderr
        return run.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.lapel(*arguments, "--json"))

    @contextmanager
    def gateway(self) -> Iterator[None]:
        """`lapel gateway run`, ended by SIGTERM."""
        log = (self.folder / "gateway.log").open("wb")
        process = subprocess.Popen([LAPEL, "gateway", "run"], cwd=self.folder, env=self.environment, stderr=log)
        try:
            wait_until(lambda: whole_gateway_runs(self.folder / "gateway.log"), TIMEOUT_S)
            yield
        finally:
            process.terminate()
            assert process.wait(TIMEOUT_S) == 0
            log.close()


@pytest.mark.needs("micropython", "mosquitto")
def test_a_clip_recorded_over_tls_is_held_exported_and_verified(tmp_path: Path, free_ports: list[int]) -> None:
    broker_port, web_port = free_ports[:2]
    machine = Machine(tmp_path, web_port)
    machine.lapel("gateway", "init", "--broker", "mosquitto", "--port", str(broker_port))
    machine.lapel("gateway", "check-config")
    with machine.gateway():
        machine.lapel("sim", "run", "first_clip", "--with-gateway", "--out", "world", "--json")
        wait_until(lambda: [clip["state"] for clip in machine.json("clip", "list")] == ["assembled"], TIMEOUT_S)
    [clip] = machine.json("clip", "list")
    assert (clip["notice"]["outcome"], clip["cut"]) == ("confirmed", False)
    machine.lapel("clip", "export", clip["id"], "--out", "evidence", "--with-key")
    checked = machine.json("verify", "evidence", "--head", clip["chain"]["head"])
    assert all(check["ok"] for check in checked["checks"]), checked
    machine.lapel("verify", "evidence", "--head", "00" * 32, status=1)
