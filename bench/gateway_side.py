"""``python -m bench.gateway_side FOLDER PORT READER``: the ingest role as it is in service, until its input ends."""

from __future__ import annotations

import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from bench.load import MASTER_KEY
from lapel_gateway.brokers.broker import BrokerAccess
from lapel_gateway.custody.ingest import IngestCore
from lapel_gateway.custody.vault import Vault
from lapel_gateway.keystore import KeyStore
from lapel_gateway.ledger import open_ledger
from lapel_gateway.registry import Registry
from lapel_gateway.service import DISK_THREADS, LANES, SWITCH_INTERVAL_S, calm_collector
from lapel_gateway.settings.config import IngestSection
from lapel_gateway.shells import IngestRole
from lapel_gateway.transport import Reader, make_link


def main() -> None:
    """Run the role."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    reader: Reader = "paho" if sys.argv[3] == "paho" else "socket"
    engine = open_ledger(folder / "ledger.sqlite")
    disk = ThreadPoolExecutor(DISK_THREADS)
    core = IngestCore(engine, Vault(folder / "vault", beside=disk), Registry(engine, KeyStore(MASTER_KEY)))
    events, clips = (
        make_link(reader, BrokerAccess("127.0.0.1", port, f"gateway-{name}", None), LANES[name])
        for name in ("events", "ingest")
    )
    settings = IngestSection()
    role = IngestRole(core, events, clips, settings.batch_max, settings.batch_window_ms, disk=disk)
    role.start()
    for link in (events, clips):
        link.ready.wait()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    calm_collector()
    print("ready", flush=True)
    sys.stdin.read()
    role.stop()
    engine.dispose()


if __name__ == "__main__":
    main()
