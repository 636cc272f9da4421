"""One role in a process of its own, as `lapel_gateway.supervise` starts it; operators use ``lapel gateway run``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from lapel_gateway import log, service, supervise
from lapel_gateway.brokers import BrokerError
from lapel_gateway.channels.secret_file import SecretError
from lapel_gateway.keystore import KeyStoreError
from lapel_gateway.ledger import LedgerError
from lapel_gateway.pki import PkiError
from lapel_gateway.service import ServiceError
from lapel_gateway.settings.config import ROLES, ConfigError, load_config

USAGE = 2
BACKGROUND = 5
"""Niceness of deliver: encoding a clip for viewing must not take the processor from an alarm or from ingest."""


def main() -> int:
    """Play the role until SIGTERM, or until the process that started this one ends; returns an exit status."""
    parser = argparse.ArgumentParser(prog="python -m lapel_gateway", description=__doc__)
    parser.add_argument("config", type=Path, help="lapel.toml")
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--json-log", action="store_true", help="log lines as JSON")
    parser.add_argument("--parent", type=int, default=0, help="end when this process, which started it, ends")
    asked = parser.parse_args()
    if asked.parent and not supervise.end_with(asked.parent):
        return 0
    if asked.role == "deliver":
        os.nice(BACKGROUND)
    log.configure(json_lines=asked.json_log)
    try:
        return service.run(load_config(asked.config), [asked.role])
    except _refusals(asked.role) as error:
        print(f"lapel: {error}", file=sys.stderr)  # noqa: T201 - the end of a program, not a log line
        return USAGE


def _refusals(role: str) -> tuple[type[Exception], ...]:
    """What keeps a role from starting, and says why and what to do."""
    known = (BrokerError, ConfigError, KeyStoreError, LedgerError, PkiError, SecretError, ServiceError)
    if role != "web":
        return known
    from lapel_gateway.web.server import WebError  # which the other roles need not carry

    return (*known, WebError)


if __name__ == "__main__":
    sys.exit(main())
