"""Roles in processes of their own: started again when they die, and gone when the main process is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lapel_gateway import supervise
from lapel_gateway.keystore import KeyStore
from lapel_gateway.pki import create_organisation_key
from lapel_gateway.settings.template import write_template

WAIT_S = 30.0


@pytest.fixture
def config(tmp_path: Path, free_port: int) -> Path:
    """A gateway whose broker nobody has started: its alarms role waits for it."""
    keys = tmp_path / "data" / "keys"
    KeyStore.create(keys / "master.key")
    create_organisation_key(keys / "private.pem", keys / "organisation.pem")
    file = tmp_path / "lapel.toml"
    write_template(file, {"broker": {"kind": "external", "port": free_port}})
    return file


def until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("it did not happen in time")


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def plays(process: int, config: Path) -> bool:
    """Whether the process holds the lock of its role, and so has come up."""
    lock = config.parent / "data" / ".alarms.lock"
    return lock.exists() and f":{lock.stat().st_ino} " in " ".join(
        line for line in Path("/proc/locks").read_text().splitlines(True) if f" {process} " in line
    )


def test_alarms_deliver_and_web_get_processes_of_their_own_beside_other_roles() -> None:
    assert supervise.divide(["alarms", "ingest", "deliver", "web"]) == (["ingest"], ["alarms", "deliver", "web"])
    assert supervise.divide(["alarms", "deliver"]) == (["alarms"], ["deliver"])
    assert supervise.divide(["alarms"]) == (["alarms"], [])
    assert supervise.divide(["ingest"]) == (["ingest"], [])


def test_a_role_that_is_killed_is_started_again_and_ends_in_order(config: Path) -> None:
    with supervise.Apart(config, ["alarms"]) as apart:
        first = apart.pids["alarms"]
        until(lambda: plays(first, config))
        os.kill(first, signal.SIGKILL)
        until(lambda: apart.pids.get("alarms", first) != first)
        second = apart.pids["alarms"]
        until(lambda: plays(second, config))
    assert not alive(second)


def test_a_role_does_not_outlive_a_main_process_that_was_killed(config: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from lapel_gateway.supervise import Apart\n"
        f"with Apart(Path({str(config)!r}), ['alarms']) as apart:\n"
        "    print(apart.pids['alarms'], flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as main:
        assert main.stdout is not None
        role = int(main.stdout.readline())
        until(lambda: plays(role, config))
        main.kill()
        until(lambda: not alive(role))


def test_a_role_whose_starter_is_gone_already_does_not_begin(config: Path) -> None:
    command = [sys.executable, "-m", "lapel_gateway", str(config), "alarms", "--parent", "1"]
    done = subprocess.run(command, capture_output=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0
    assert not (config.parent / "data" / ".alarms.lock").exists()


def test_a_web_role_without_its_address_says_what_to_do(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [sys.executable, "-m", "lapel_gateway", str(config), "web"],
            env={**os.environ, "LAPEL_WEB__PORT": str(taken.getsockname()[1])},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
    assert done.returncode == 2
    assert "Address already in use; change [web] in lapel.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_role_that_cannot_be_started_for_a_while_is_started_later(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals: list[str] = []
    popen = subprocess.Popen

    def scarce(*arguments: Any, **named: Any) -> Any:
        if len(refusals) < 3:
            refusals.append("EAGAIN")
            raise BlockingIOError("Resource temporarily unavailable")
        return popen(*arguments, **named)

    monkeypatch.setattr(supervise, "FIRST_RETRY_S", 0.01)
    with supervise.Apart(config, ["alarms"]) as apart:
        first = apart.pids["alarms"]
        monkeypatch.setattr(subprocess, "Popen", scarce)
        os.kill(first, signal.SIGKILL)
        until(lambda: apart.pids.get("alarms", first) != first)
    assert len(refusals) == 3
