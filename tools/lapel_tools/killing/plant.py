"""What is killed: the gateway's roles as processes of their own, and Mosquitto, in one folder.

Mosquitto runs in one of two ways. OWN: the gateway's ingest role writes the configuration and starts it, as an
installation does; what happens to it then is the gateway's business. DEFAULTS: it is somebody else's broker, with the
same certificates and access list but Mosquitto's own persistence settings (saved every 30 minutes, so a kill forgets
everything), and it is started again here.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from lapel_gateway.accounts.audit import command_line
from lapel_gateway.accounts.tokens import add_token
from lapel_gateway.accounts.users import add_user
from lapel_gateway.brokers import server_names
from lapel_gateway.brokers.mosquitto import MosquittoProcess, find_mosquitto
from lapel_gateway.pki import ROLE_PREFIX
from lapel_gateway.settings.config import ROLES
from lapel_tools.console import CommandError, now_ms
from lapel_tools.demo.installation import free_port
from lapel_tools.gateway_commands import init
from lapel_tools.provisioning import provision_device
from lapel_tools.site import Site

OWN = "generated"
DEFAULTS = "defaults"
RESPONDER = "Dana Reyes"

_OUR_PERSISTENCE = ("autosave_on_changes", "autosave_interval")
_STOP_S = 20.0
_START_S = 60.0


class Process:
    """One program that is killed and started again. `ended` counts how often it ended by itself, which is a finding."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.environment = environment
        self.ended: list[str] = []
        self.starts = 0
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def wanted(self) -> bool:
        """Whether it was started and not killed or stopped since."""
        return self._process is not None

    def start(self) -> None:
        """Start it unless it is wanted already."""
        if self._process is not None:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.starts += 1

    def kill(self) -> bool:
        """SIGKILL; False when there is nothing to kill."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            self._note_end(process)
            return False
        process.kill()
        process.wait()
        return True

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that does not end it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def check(self) -> bool:
        """Notice an end that nobody asked for; True when it has ended, and may be started again."""
        if self._process is None or self._process.poll() is None:
            return False
        process, self._process = self._process, None
        self._note_end(process)
        return True

    def _note_end(self, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
            self.ended.append(f"{self.name} ended by itself, status {process.returncode}: {' / '.join(lines[-2:])}")


class Plant:
    """A gateway below `folder`. Use as a context manager: at its end everything is stopped."""

    def __init__(self, folder: Path, webhook_url: str) -> None:
        """Make configuration, keys, certificates and a user. Raises CommandError, and what those raise."""
        program = find_mosquitto()
        if program is None:
            raise CommandError("mosquitto is not installed: make system-deps")
        self.folder = folder
        self.config_file = folder / "gateway" / "lapel.toml"
        self.forwarded = folder / "forwarded"
        self.forwarded.mkdir()
        self.port, self._web_port = free_port(), free_port()
        self.mode = OWN
        self.webhook_secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            init(self.config_file, organisation="Riverside Homes", broker="mosquitto", port=self.port)
        self._add_webhook(webhook_url)
        self.site = Site(self.config_file)
        add_user(self.site.engine, RESPONDER, ["responder", "evidence"], command_line(), now_ms())
        token = add_token(self.site.engine, RESPONDER, "test of killing", command_line(), now_ms())
        self._client = httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=5.0)
        self._mosquitto = self._with_defaults()
        logs = folder / "logs"
        logs.mkdir()
        self.broker = Process(
            "mosquitto",
            [str(program), "-c", str(self._mosquitto.config_file)],
            dict(os.environ),
            logs / "mosquitto.log",
        )
        command = [sys.executable, "-m", "lapel_tools", "gateway", "run", "--config", str(self.config_file)]
        self.roles: dict[str, Process] = {
            role: Process(role, [*command, "--role", role], self._environment(), logs / f"{role}.log") for role in ROLES
        }

    def _add_webhook(self, url: str) -> None:
        secret = self.config_file.parent / "webhook.secret"
        secret.touch(mode=0o600)
        secret.write_text(self.webhook_secret, encoding="ascii")
        with self.config_file.open("a", encoding="utf-8") as file:
            file.write(f'\n[[webhook]]\nname = "duty-room"\nurl = "{url}"\nsecret_file = "{secret.name}"\n')

    def _with_defaults(self) -> MosquittoProcess:
        """The generated configuration in a folder of its own, with Mosquitto's default persistence."""
        own = self.site.pki.ensure_broker(server_names(self.site.config), now_ms())
        broker = MosquittoProcess(self.folder / "default-broker", self.site.config.broker.host, self.port, own)
        broker.write_config()
        lines = broker.config_file.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not line.startswith(_OUR_PERSISTENCE)]
        broker.config_file.write_text("\n".join(kept) + "\n", encoding="utf-8")
        return broker

    def _environment(self) -> dict[str, str]:
        """The roles' environment: this one's without other installations' settings, and what the mode wants."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LAPEL_")}
        kept |= {"LAPEL_WEB__PORT": str(self._web_port), "LAPEL_FORWARD__DIRECTORY": str(self.forwarded)}
        if self.mode == DEFAULTS:
            role = self.site.config.pki_dir / f"{ROLE_PREFIX}{{role}}"
            kept |= {
                "LAPEL_BROKER__KIND": "external",
                "LAPEL_BROKER__CA_FILE": str(self.site.pki.ca_file),
                "LAPEL_BROKER__CERTIFICATE_FILE": f"{role}.pem",
                "LAPEL_BROKER__KEY_FILE": f"{role}.key",
            }
        return kept

    def package(self, name: str) -> Path:
        """Enter a device at the gateway; returns the folder of its package."""
        out = self.folder / "packages" / name
        with contextlib.redirect_stdout(io.StringIO()):
            provision_device(self.site, name, f"wearer of {name}", out, now_ms())
        return out

    @property
    def url(self) -> str:
        """Where the gateway's API answers."""
        return f"http://127.0.0.1:{self._web_port}"

    def start(self) -> None:
        """Start everything and wait until it answers. Raises CommandError with the end of a log."""
        if self.mode == DEFAULTS:
            self.broker.start()
        for role in self.roles.values():
            role.start()
        deadline = time.monotonic() + _START_S
        while not self.answers():
            over = [role for role in self.roles.values() if role.check()]
            if over or time.monotonic() > deadline:
                said = "; ".join(role.ended[-1] for role in over)
                raise CommandError(f"the gateway did not start: {said or f'no answer in {_START_S:.0f} s'}")
            time.sleep(0.1)

    def answers(self) -> bool:
        """Whether the API answers."""
        with contextlib.suppress(httpx.HTTPError):
            return self._client.get("/healthz", timeout=1.0).is_success
        return False

    def kill_broker(self) -> bool:
        """SIGKILL Mosquitto, whoever started it; False when there is none."""
        if self.mode == DEFAULTS:
            return self.broker.kill()
        try:
            pid = int((self.site.config.broker_dir / "mosquitto.pid").read_text(encoding="ascii"))
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"mosquitto" not in command:
                return False
            os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            return False
        return True

    def change_mode(self, mode: str) -> list[str]:
        """Kill everything at once and change how Mosquitto is run; returns what was killed. To be started again."""
        killed = [role.name for role in self.roles.values() if role.kill()]
        killed += ["mosquitto"] if self.kill_broker() else []
        self.mode = mode
        for role in self.roles.values():
            role.environment = self._environment()
        return killed

    def read(self, path: str) -> Any:
        """An answer of the API. Raises httpx.HTTPError."""
        answer = self._client.get(path)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: dict[str, str] | None = None) -> None:
        """A change by the API. Raises httpx.HTTPError; a conflict (done before) is none."""
        answer = self._client.post(path, json=body)
        if answer.status_code != httpx.codes.CONFLICT:
            answer.raise_for_status()

    def stop(self) -> None:
        """End everything in order."""
        for role in self.roles.values():
            role.stop()
        self.broker.stop()
        self._client.close()

    def __enter__(self) -> Plant:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
