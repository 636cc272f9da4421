"""What is wrong with the machine: certificates, modes of files, broker, processes, disks, clock, service."""

from __future__ import annotations

import datetime
import fcntl
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
from cryptography import x509

from lapel_gateway.brokers import external_tls
from lapel_gateway.brokers.broker import accepts_connections, answers_tls, reachable_host
from lapel_gateway.brokers.mosquitto import find_mosquitto
from lapel_gateway.disk_watch import free_bytes
from lapel_gateway.pki import RENEW_DAYS
from lapel_gateway.settings.check import Finding
from lapel_gateway.settings.config import Config
from lapel_gateway.systemd import UNIT_NAME

EARLIEST_MS = 1_735_689_600_000
"""2025-01-01: a clock that shows less was never set."""

HTTP_S = 3.0
PROGRAM_S = 10.0
UNITS = Path("/etc/systemd/system")


def _error(what: str, message: str) -> Finding:
    return Finding("error", what, message)


def _warning(what: str, message: str) -> Finding:
    return Finding("warning", what, message)


def certificates(config: Config, now_ms: int) -> Iterator[Finding]:
    """Certificates that have ended, or end before anybody looks again."""
    if config.broker.kind == "embedded":
        return
    if config.broker.kind == "mosquitto" and not (config.pki_dir / "ca.pem").exists():
        yield _error("certificates", f"{config.pki_dir} has no CA: restore it from its copy; a new one knows no device")
        return
    now = datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC)
    mine = sorted(config.pki_dir.glob("*.pem"))
    if config.broker.kind == "external":
        pairs = (external_tls(config, role) for role in ("alarms", "events", "ingest"))
        mine += [path for pair in pairs if pair for path in (pair.ca_file, pair.certificate_file)]
    for path in dict.fromkeys(mine):
        try:
            ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
        except (OSError, ValueError) as error:
            yield _error("certificates", f"{path} cannot be read ({error}): remove it, and the gateway makes another")
            continue
        days = (ends - now).days
        if days < 0:
            yield _error("certificates", f"{path} ended {-days} days ago: {_renewal(config, path)}")
        elif days < RENEW_DAYS // 12:
            yield _warning("certificates", f"{path} ends in {days} days: {_renewal(config, path)}")


def _renewal(config: Config, path: Path) -> str:
    if path.name == "ca.pem" or config.broker.kind == "external":
        return "ask whoever issued it for another"
    return "restart the gateway, which renews it"


def secret_files(config: Config, now_ms: int) -> Iterator[Finding]:
    """Keys that others on this machine can read."""
    folders = (config.master_key_file.parent, config.pki_dir)
    for path in sorted(path for folder in folders if folder.is_dir() for path in folder.glob("*.key")):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield _error("keys", f"{path} can be read by others (mode {mode:04o}): chmod 600 {path}")
        if path.stat().st_uid != os.geteuid():
            yield _warning("keys", f"{path} belongs to another user than this one: run the doctor as the gateway's")


def broker(config: Config, now_ms: int) -> Iterator[Finding]:
    """Whether the broker answers, by TCP and by TLS."""
    settings = config.broker
    host = reachable_host(settings.host)
    if not accepts_connections(host, settings.port):
        remedy = "start the gateway, which starts it" if settings.kind != "external" else "start it"
        yield _error("broker", f"nothing answers on {host} port {settings.port}: {remedy}, or mend [broker]")
    elif (settings.kind == "mosquitto" or settings.ca_file is not None) and not answers_tls(host, settings.port):
        yield _error("broker", f"what listens on {host} port {settings.port} speaks no TLS: is it another program?")
    if settings.kind != "mosquitto":
        return
    program = find_mosquitto(settings.program)
    if program is not None:
        told = subprocess.run([program, "-h"], capture_output=True, text=True, timeout=PROGRAM_S).stdout
        version = told.split("\n", 1)[0].removeprefix("mosquitto version ").strip()
        if version.startswith("1."):
            yield _error("broker", f"{program} is version {version}: 2.0 or newer is needed")


def roles(config: Config, now_ms: int) -> Iterator[Finding]:
    """Roles that no process plays. Their locks are asked for and given back at once."""
    idle = [role for role in config.gateway.roles if role != "web" and not is_played(config, role)]
    if idle:
        what = "the gateway does not run" if len(idle) == len(config.gateway.roles) - 1 else "not played by anybody"
        yield _error("roles", f"{', '.join(idle)}: {what}: systemctl start {UNIT_NAME}, or lapel gateway run")


def is_played(config: Config, role: str) -> bool:
    """Whether a process plays this role, however well; the web role, of which there may be several, has no lock."""
    path = config.data_dir / f".{role}.lock"
    return path.exists() and not _free(path)


def _free(path: Path) -> bool:
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def web(config: Config, now_ms: int) -> Iterator[Finding]:
    """Whether the API answers."""
    if "web" not in config.gateway.roles:
        return
    address = f"http://{reachable_host(config.web.host)}:{config.web.port}/healthz"
    try:
        answer = httpx.get(address, timeout=HTTP_S)
    except httpx.HTTPError as error:
        yield _error("web", f"{address} does not answer ({type(error).__name__}): start the gateway, or mend [web]")
        return
    if not answer.is_success:
        yield _error("web", f"{address} answers {answer.status_code}: look at the gateway's log")


def disks(config: Config, now_ms: int) -> Iterator[Finding]:
    """Room that gets short."""
    folders = {"data": config.data_dir, "vault": config.vault_dir}
    if config.forward.directory is not None:
        folders["forward"] = config.forward.directory
    for name, folder in folders.items():
        if not folder.is_dir():
            continue
        free, total = free_bytes(folder), shutil.disk_usage(folder).total
        if free <= config.alarms.disk_low_bytes:
            yield _error(f"disk of {name}", f"{free >> 20} MiB of {total >> 20} are free on {folder}: make room")
        elif free < total // 20:
            yield _warning(f"disk of {name}", f"{free >> 20} MiB of {total >> 20} are free on {folder}: make room soon")


def clock(config: Config, now_ms: int) -> Iterator[Finding]:
    """A clock that nobody sets: devices, certificates and every time in evidence go by it."""
    if now_ms < EARLIEST_MS:
        yield _error("clock", "this machine's clock was never set: set it before anything else")
        return
    program = shutil.which("timedatectl")
    if program is None:
        return
    asked = [program, "show", "--property=NTPSynchronized", "--value"]
    told = subprocess.run(asked, capture_output=True, text=True, timeout=PROGRAM_S)
    if told.returncode == 0 and told.stdout.strip() == "no":
        yield _warning("clock", "this machine's clock follows no time server: timedatectl set-ntp true")


def service(config: Config, now_ms: int) -> Iterator[Finding]:
    """Where systemd runs the machine, it should run the gateway too."""
    if Path("/run/systemd/system").is_dir() and not (UNITS / UNIT_NAME).exists():
        yield _warning("service", f"{UNITS / UNIT_NAME} is missing: lapel gateway units --help")


CHECKS = (certificates, secret_files, broker, roles, web, disks, clock, service)
