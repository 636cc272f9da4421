"""Mosquitto: its configuration and access list (SPEC, "Broker"), and the process.

Rules that hold here
- A client is who its certificate says: the common name becomes user name *and* client id. Without the latter another
  device's certificate could take over a session by naming its client id.
- A device writes its own uplink lanes and reads its own downlink lane, nothing else. A refused publish looks like a
  success in MQTT 3.1.1; the missing receipt tells.
- Who is cut off is denied by name in the access list, which Mosquitto reads anew when it is told to, and by the list of
  revoked certificates, which it reads at its start only.
- What the broker holds is bounded in bytes, not in messages: by default Mosquitto drops silently past 1,000 messages.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lapel_gateway.brokers.broker import (
    DASHBOARD,
    GATEWAY_CONNECTIONS,
    READY_TIMEOUT_S,
    STATUS_CONNECTION,
    STOP_TIMEOUT_S,
    WATCH_CONNECTION,
    BrokerError,
    accepts_connections,
    answers_tls,
    check_port_free,
    is_loopback,
    last_lines,
    reachable_host,
)
from lapel_gateway.devices.cutting import CUT_TO_ALARMS, NOBODY, CutOff
from lapel_gateway.durable import write_file
from lapel_gateway.pki import ROLE_PREFIX, TlsFiles
from lapel_protocol.limits import MAX_MESSAGE_BYTES

MAX_PACKET_BYTES = MAX_MESSAGE_BYTES + 1024
"""A message with its topic and MQTT header; a longer packet ends the connection before it is read into memory."""

MAX_QUEUED_BYTES = 64 << 20
"""For one client that is away: an hour of a whole team's alarms and events, far above all credit for clips."""

MAX_QUEUED_MESSAGES = 1_000_000
"""Out of reach: the limit in bytes decides. 0 would say the same, but makes 2.0.11 cut off whoever it refuses."""

MEMORY_LIMIT_BYTES = 512 << 20
"""Above this the broker refuses new data instead of falling to the kernel."""

MAX_INFLIGHT = 512
"""Messages under way to one client: two of ingest's groups of 256, so that one fills while one is written."""

AUTOSAVE_S = 60
"""The whole store is rewritten at each save, tens of megabytes while clips arrive, and Mosquitto's only thread does
nothing else meanwhile: saving by changes held alarms up four times a second. What a crash loses is sent again, because
only a receipt ends a resend."""

SYS_INTERVAL_S = 5
"""How often it tells its figures to whoever watches."""

REVOKED = "revoked.crl"

DEVICE_WRITES = ("alarm", "event", "clip")
ROLE_READS = {"alarms": ("alarm",), "events": ("event",), "ingest": ("clip",)}

_DAEMON_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/sbin")
_POLL_S = 0.02


def find_mosquitto(program: str = "mosquitto") -> Path | None:
    """Path of the program, or None; Debian installs it where an ordinary user's PATH does not look."""
    found = shutil.which(program, path=os.pathsep.join([*os.get_exec_path(), *_DAEMON_FOLDERS]))
    return Path(found) if found else None


def render_acl(cut_off: CutOff = NOBODY, status: Sequence[str] = ()) -> str:
    """The access list: each device its own branch, each connection of the gateway its lanes, who is cut off nothing.

    ``status``: what status topics begin with, if there are any; the dashboard reads them, and nothing else.
    """
    lines = ["# Written by lapel. %u is the common name of the client's certificate."]
    lines += [f"pattern write lapel/v1/+/%u/{lane}" for lane in DEVICE_WRITES]
    lines += ["pattern read lapel/v1/+/%u/down"]
    for role in GATEWAY_CONNECTIONS:
        lines += ["", f"user {ROLE_PREFIX}{role}"]
        lines += [f"topic read lapel/v1/+/+/{lane}" for lane in ROLE_READS[role]]
        lines += ["topic write lapel/v1/+/+/down"]
    for who, what in ((STATUS_CONNECTION, "write"), (DASHBOARD, "read")) if status else ():
        lines += ["", f"user {ROLE_PREFIX}{who}", *(f"topic {what} {prefix}/#" for prefix in status)]
    lines += ["", f"user {ROLE_PREFIX}{WATCH_CONNECTION}", "topic read $SYS/broker/#"]
    for device, cut in cut_off.devices.items():
        lanes = ("event", "clip") if cut == CUT_TO_ALARMS else ("#",)
        lines += ["", f"user {device}", *(f"topic deny lapel/v1/+/{device}/{lane}" for lane in lanes)]
    return "\n".join(lines) + "\n"


def render_config(
    host: str, port: int, tls: TlsFiles | None, directory: Path, *, revoking: bool = False, retaining: bool = False
) -> str:
    """``mosquitto.conf`` for a TLS listener on ``host:port`` that keeps its state and access list in ``directory``.
    ``revoking``: there is a list of revoked certificates too; ``retaining``: messages may be retained.

    Without ``tls`` it asks nobody who they are, which only a measurement on loopback may want.
    """
    return f"""\
# Written by lapel at every start; change lapel.toml instead.
per_listener_settings false
user {pwd.getpwuid(os.geteuid()).pw_name}

listener {port} {host}
protocol mqtt
{_identities(tls, directory, revoking)}
message_size_limit {MAX_MESSAGE_BYTES}
max_packet_size {MAX_PACKET_BYTES}
max_queued_messages {MAX_QUEUED_MESSAGES}
max_queued_bytes {MAX_QUEUED_BYTES}
max_inflight_messages {MAX_INFLIGHT}
memory_limit {MEMORY_LIMIT_BYTES}
queue_qos0_messages false
retain_available {"true" if retaining else "false"}
set_tcp_nodelay true
sys_interval {SYS_INTERVAL_S}

persistence true
persistence_location {directory}/
persistence_file mosquitto.db
autosave_on_changes false
autosave_interval {AUTOSAVE_S}
persistent_client_expiration 14d

log_dest stderr
log_type error
log_type warning
log_type notice
log_timestamp_format %Y-%m-%dT%H:%M:%S
"""


def _identities(tls: TlsFiles | None, directory: Path, revoking: bool) -> str:
    """The part of the configuration that says who may connect and what each may do."""
    if tls is None:
        return "allow_anonymous true\n"
    return f"""\
cafile {tls.ca_file}
certfile {tls.certificate_file}
keyfile {tls.key_file}
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {directory / "acl"}
{f"crlfile {directory / REVOKED}" if revoking else ""}
"""


def raise_open_files() -> int:
    """Let this process and its children open as many files as the system permits: a broker needs one for each device.

    Returns how many that are. The usual soft limit of 1,024 would stop at some thousand devices.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


class MosquittoProcess:
    """One Mosquitto with everything it needs in one folder: configuration, access list, store, log, pid file."""

    def __init__(
        self,
        directory: Path,
        host: str,
        port: int,
        tls: TlsFiles | None,
        program: str = "mosquitto",
        revoked: Callable[[Sequence[int]], bytes] | None = None,
        status: Sequence[str] = (),
    ) -> None:
        """``directory`` is made at the start; ``tls`` is the broker's own certificate and the CA of its clients.
        ``revoked`` makes that CA's list of revoked certificates (PEM) of serial numbers; without it none is revoked.
        ``status``: what status topics begin with; without them nothing is retained.

        None is plain TCP without identities, for measuring: raises BrokerError beyond loopback.
        """
        if tls is None and not is_loopback(host):
            raise BrokerError(f"a broker without certificates listens on loopback only, not on {host}")
        self.directory = directory.resolve()
        self.host = reachable_host(host)
        self.port = port
        self._listen_host = host
        self._tls = tls and TlsFiles(*(path.resolve() for path in (tls.ca_file, tls.certificate_file, tls.key_file)))
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._revoked = revoked
        self._status = tuple(status)
        self._cut_off = NOBODY

    @property
    def tls(self) -> bool:
        """Whether clients must show a certificate."""
        return self._tls is not None

    @property
    def pid(self) -> int:
        """The process that this object started, 0 = none."""
        return self._process.pid if self._process else 0

    @property
    def config_file(self) -> Path:
        """The generated ``mosquitto.conf``, usable for a Mosquitto that another supervisor starts."""
        return self.directory / "mosquitto.conf"

    @property
    def log_file(self) -> Path:
        """What Mosquitto printed, this start's only."""
        return self.directory / "mosquitto.log"

    @property
    def running(self) -> bool:
        """Whether the process that this object started is alive."""
        return self._process is not None and self._process.poll() is None

    def write_config(self) -> None:
        """Write configuration and access list. Raises BrokerError."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Mosquitto warns about access lists that others can read.
            write_file(self.directory / "acl", render_acl(self._cut_off, self._status).encode(), 0o600)
            if self._revoked is not None:
                write_file(self.directory / REVOKED, self._revoked(self._cut_off.serials), 0o600)
            text = render_config(
                self._listen_host,
                self.port,
                self._tls,
                self.directory,
                revoking=self._revoked is not None,
                retaining=bool(self._status),
            )
            write_file(self.config_file, text.encode())
        except OSError as error:
            raise BrokerError(f"{self.directory}: the broker's files cannot be written: {error.strerror}") from None

    def cut(self, cut_off: CutOff) -> None:
        """Cut these off, and nobody else, from now on. Raises BrokerError; say it again then."""
        if cut_off == self._cut_off:
            return
        before, self._cut_off = self._cut_off, cut_off
        try:
            self.write_config()
        except BrokerError:
            self._cut_off = before
            raise
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGHUP)

    def start(self) -> None:
        """Write the configuration, start Mosquitto and wait until it accepts connections. Raises BrokerError."""
        if self.running:
            return
        program = find_mosquitto(self._program)
        if program is None:
            raise BrokerError(
                f"{self._program} is not installed: apt install mosquitto, "
                'or try the embedded broker ([broker] kind = "embedded")'
            )
        self.write_config()
        self._stop_leftover()
        check_port_free(self._listen_host, self.port)
        raise_open_files()
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [program, "-c", self.config_file],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._pid_file.write_text(str(self._process.pid), encoding="ascii")
        self._wait_ready(self._process)

    def stop(self) -> None:
        """Ask Mosquitto to save and end; killed if it does not within ten seconds."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """End Mosquitto as a crash would: nothing is saved."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            self._pid_file.unlink(missing_ok=True)

    @property
    def _pid_file(self) -> Path:
        return self.directory / "mosquitto.pid"

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                self._process = None
                raise BrokerError(f"mosquitto ended with status {process.returncode}: {last_lines(self.log_file)}")
            if (answers_tls if self.tls else accepts_connections)(self.host, self.port):
                return
            time.sleep(_POLL_S)
        self.stop()
        raise BrokerError(
            f"mosquitto does not answer on {self.host} port {self.port} after {READY_TIMEOUT_S:.0f} s: "
            f"{last_lines(self.log_file)}"
        )

    def _stop_leftover(self) -> None:
        """End the Mosquitto of a gateway that was killed; it would hold the port and the store.

        It is known by its configuration: a gateway killed right after it started Mosquitto has left no pid file.
        """
        for pid in _running_with(self.config_file):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline and not _is_zombie(pid):
                time.sleep(_POLL_S)


def _running_with(config_file: Path) -> list[int]:
    """Processes that were started with this configuration file as an argument."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes().split(b"\0")
                if command[-3:] == [b"-c", os.fsencode(config_file), b""]:
                    found.append(int(folder.name))
    return found


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] == "Z"
    except (OSError, IndexError):
        return True
