"""A gateway of real processes, one a role, with a real Mosquitto: whatever is killed stays dead until it is started."""

from __future__ import annotations

import base64
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from lapel_gateway.brokers.mosquitto import MosquittoProcess
from lapel_gateway.keystore import KeyStore
from lapel_gateway.pki import create_organisation_key
from lapel_gateway.settings.config import ROLES, Config, load_config
from lapel_gateway.settings.template import write_template

WEBHOOK_SECRET_BYTES = 32


class Installation:
    """Its folder, its processes and what its web role answers."""

    def __init__(self, folder: Path, ports: Sequence[int], channels: str = "", metrics: str = "") -> None:
        """``channels``: tables of lapel.toml, by default one webhook, which nobody listens to; ``metrics``: a line of
        its [metrics]."""
        broker_port, web_port, hook_port = ports[:3]
        self.folder = folder
        self.config_file = folder / "lapel.toml"
        keys = folder / "data" / "keys"
        KeyStore.create(keys / "master.key")
        create_organisation_key(keys / "private.pem", keys / "organisation.pem")
        write_template(
            self.config_file,
            {"broker": {"kind": "external", "port": broker_port}, "web": {"port": web_port}},
        )
        text = self.config_file.read_text()
        self.config_file.write_text(text.replace("[metrics]\n", f"[metrics]\n{metrics}\n"))
        with self.config_file.open("a") as file:
            file.write(channels or self.webhook(hook_port))
        self.config: Config = load_config(self.config_file)
        self.broker = MosquittoProcess(folder / "broker", "127.0.0.1", broker_port, None)
        self.roles: dict[str, subprocess.Popen[bytes]] = {}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{web_port}", trust_env=False, timeout=10)

    def webhook(self, port: int) -> str:
        """A [[webhook]] table, its secret beside it."""
        secret = self.folder / "webhook.secret"
        secret.write_text(f"whsec_{base64.b64encode(secrets.token_bytes(WEBHOOK_SECRET_BYTES)).decode()}\n")
        secret.chmod(0o600)
        return f'\n[[webhook]]\nname = "desk"\nurl = "http://127.0.0.1:{port}/"\nsecret_file = "webhook.secret"\n'

    def log(self, role: str) -> Path:
        """What the role's process has logged, of all its starts."""
        return self.folder / f"{role}.log"

    def start(self, role: str) -> None:
        """Start one role in a process of its own."""
        command = [sys.executable, "-m", "lapel_gateway", str(self.config_file), role, "--json-log"]
        with self.log(role).open("ab") as log:
            self.roles[role] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def send(self, role: str, number: signal.Signals) -> None:
        """Send a role's process a signal; after SIGKILL it is gone."""
        os.kill(self.roles[role].pid, number)
        if number == signal.SIGKILL:
            self.roles[role].wait()

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """Status and body of /readyz; status 0 where nobody answers."""
        try:
            response = self.client.get("/readyz")
        except httpx.TransportError:
            return 0, {}
        return response.status_code, response.json()

    def ready(self) -> bool:
        """Whether /readyz says so."""
        return self.readiness()[0] == 200

    def wait_until_ready(self, timeout_s: float) -> None:
        """Return as soon as it is ready; fail with what /readyz last said when it is not within ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while (told := self.readiness())[0] != 200:
            assert time.monotonic() < deadline, f"not ready within {timeout_s:.0f} s: {told}"
            time.sleep(0.1)

    def unwell(self) -> set[str]:
        """What keeps it from being ready, as /readyz names it; empty where it is, and where nobody answers."""
        status, body = self.readiness()
        checks = body.get("checks", {})
        return (
            {name for name, check in checks.items() if not check["well"] and check["needed"]}
            if status == 503
            else set()
        )


@contextmanager
def installation(folder: Path, ports: Sequence[int], channels: str = "", metrics: str = "") -> Iterator[Installation]:
    """A gateway that runs, ended with everything that it started."""
    site = Installation(folder, ports, channels, metrics)
    try:
        site.broker.start()
        for role in ROLES:
            site.start(role)
        yield site
    finally:
        for process in site.roles.values():
            process.kill()
            process.wait()
        site.broker.stop()
        site.client.close()
