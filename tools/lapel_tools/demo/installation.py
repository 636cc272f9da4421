"""A whole small installation in one folder, made with the same commands that an operator types."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from lapel_gateway.brokers.mosquitto import find_mosquitto
from lapel_tools.console import CommandError

ORGANISATION = "Riverside Homes"
RESPONDER = "Dana Reyes"
_START_S = 40.0
_STOP_S = 20.0
_MARK = "lapel-demo"  # a file that says that the folder is a demo's, and may be replaced


@dataclass(frozen=True)
class Wearer:
    """Who wears which simulated device."""

    name: str
    board: str
    person: str


WEARERS = (
    Wearer("camera-1", "pico_w", "Alex Okafor, housing officer"),
    Wearer("camera-2", "pico_w", "Bo Lindqvist, paramedic"),
    Wearer("camera-3", "pico_w", "Cam Iyer, repairs"),
)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def prepare_folder(folder: Path) -> None:
    """Make `folder` empty for a demo. Raises CommandError when it holds something that is not an earlier demo's."""
    if folder.exists():
        if not folder.is_dir() or (any(folder.iterdir()) and not (folder / _MARK).exists()):
            raise CommandError(f"{folder} holds something else: name a new folder, or an earlier demo's")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / _MARK).touch()


Command = Callable[[list[str]], Any]
"""Runs a `lapel` command with these arguments; returns its exit status, or None."""


class Installation:
    """Gateway, broker, devices and one responder below `folder`. Use as a context manager: at its end they stop."""

    def __init__(self, folder: Path, webhook_url: str, command: Command) -> None:
        self.folder = folder
        self.config = folder / "gateway" / "lapel.toml"
        self.log = folder / "gateway.log"
        self.forwarded = folder / "clips"
        self.mosquitto = find_mosquitto() is not None
        self.web_port = free_port()
        self.webhook_secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        self._webhook_url = webhook_url
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.token_file = folder / "gateway" / "responder.token"
        os.environ |= {
            "LAPEL_CONFIG": str(self.config),
            "LAPEL_WEB__PORT": str(self.web_port),
            "LAPEL_FORWARD__DIRECTORY": str(self.forwarded),
        }

    def lapel(self, *arguments: str) -> str:
        """Run a `lapel` command on this installation and return what it printed. Raises CommandError."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
            status = self._command(list(arguments))
        if status:
            raise CommandError(f"lapel {' '.join(arguments[:3])} failed:\n{printed.getvalue().strip()}", status)
        return printed.getvalue()

    def read(self, *arguments: str) -> Any:
        """The JSON that a `lapel … --json` command prints."""
        return json.loads(self.lapel(*arguments, "--json"))

    def set_up(self) -> None:
        """Write configuration and keys, enter the responder, provision the devices."""
        self.forwarded.mkdir()
        broker = ("mosquitto", free_port()) if self.mosquitto else ("embedded", free_port())
        self.lapel(
            *("gateway", "init", str(self.config), "--organisation", ORGANISATION),
            *("--broker", broker[0], "--port", str(broker[1])),
        )
        secret = self.config.parent / "webhook.secret"
        secret.touch(mode=0o600)
        secret.write_text(self.webhook_secret)
        with self.config.open("a") as file:
            file.write(
                f'\n[[webhook]]\nname = "duty-room"\nurl = "{self._webhook_url}"\nsecret_file = "{secret.name}"\n'
            )
        self.token_file.touch(mode=0o600)
        self.lapel("user", "add", RESPONDER, "--role", "responder", "--role", "evidence")
        self.token_file.write_text(self.read("user", "token", "add", RESPONDER, "demo")["token"])
        for wearer in WEARERS:
            self.lapel(
                *("device", "provision", wearer.name, "--person", wearer.person),
                *("--out", str(self.package(wearer.name))),
            )

    def package(self, name: str) -> Path:
        """Where a device's package is."""
        return self.folder / "packages" / name

    def start(self) -> None:
        """Start the gateway's process and wait until it answers. Raises CommandError with the end of its log."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lapel_tools", "gateway", "run"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/healthz", timeout=1.0).is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.05)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
        raise CommandError(f"the gateway did not start:\n{tail}")

    @property
    def url(self) -> str:
        """Where the gateway's API answers."""
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def pid(self) -> int:
        """The gateway's process."""
        return self._process.pid if self._process else 0

    def stop(self) -> None:
        """End the gateway in order; harmless when it has ended."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __enter__(self) -> Installation:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
