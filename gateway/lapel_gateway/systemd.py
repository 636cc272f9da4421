"""Running under systemd: the unit's file, and telling it that the gateway is ready and alive (sd_notify(3)).

Rules that hold here
- Outside systemd all of this does nothing.
- The watchdog is told from the thread that looks after the broker. A role that hangs in its own thread or process does
  not end the others: systemd restarts a gateway that has stopped looking, not one that is slow.
- The unit gives the gateway its data folder to write to, and nothing else of the machine.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

UNIT_NAME = "lapel-gateway.service"
WATCHDOG_S = 30
_STOP_S = 60
_START_S = 1800
"""An upgrade copies the ledger first, and a vault that was put back by hand is looked through: minutes for a million
clips."""

READY = "READY=1"
ALIVE = "WATCHDOG=1"
STOPPING = "STOPPING=1"


def notify(state: str) -> bool:
    """Tell systemd a state; False where nobody wants to know. Never raises: the gateway runs on without an answer."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.connect("\0" + address[1:] if address[0] == "@" else address)
            to.sendall(state.encode())
    except OSError:
        return False
    return True


def unit(program: Path, config_file: Path, data_dir: Path, user: str, writable: tuple[Path, ...] = ()) -> str:
    """The unit that runs ``program`` (``lapel``) with a configuration, as ``user``; ``writable`` are folders beside
    ``data_dir`` that it writes to."""
    folders = " ".join(_quoted(path) for path in (data_dir, *writable))
    return f"""\
# Written by `lapel gateway units`. Install as {UNIT_NAME}.
[Unit]
Description=Lapel gateway: alarms, clips and their delivery
Documentation=https://www.freedesktop.org/software/systemd/man/systemd.service.html
After=network-online.target time-sync.target
Wants=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={_quoted(program)} gateway run --json-log --config {_quoted(config_file)}
User={user}
Restart=always
RestartSec=2
WatchdogSec={WATCHDOG_S}
TimeoutStartSec={_START_S}
TimeoutStopSec={_STOP_S}
KillMode=mixed
LimitNOFILE=65536
UMask=0077
NoNewPrivileges=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectSystem=strict
ProtectHome=read-only
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
ReadWritePaths={folders}

[Install]
WantedBy=multi-user.target
"""


def _quoted(path: Path) -> str:
    """A path as a unit's file spells it: quoted, with % and the shell's own marks escaped (systemd.syntax(7))."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if any(mark in text for mark in " \t\"\\;'") else text
