"""MQTT brokers: the one that the settings ask for, and how the gateway's connections reach it."""

from __future__ import annotations

import functools

from lapel_gateway.brokers.broker import (
    DASHBOARD,
    GATEWAY_CONNECTIONS,
    STATUS_CONNECTION,
    WATCH_CONNECTION,
    Broker,
    BrokerAccess,
    BrokerError,
    reachable_host,
)
from lapel_gateway.brokers.embedded import EmbeddedBroker
from lapel_gateway.brokers.mosquitto import MosquittoProcess
from lapel_gateway.pki import ROLE_PREFIX, Pki, TlsFiles
from lapel_gateway.settings.config import Config

__all__ = [
    "GATEWAY_CONNECTIONS",
    "STATUS_CONNECTION",
    "Broker",
    "BrokerAccess",
    "BrokerError",
    "make_broker",
    "server_names",
    "status_prefixes",
    "watch_access",
]


def make_broker(config: Config, now_ms: int) -> tuple[Broker | None, dict[str, BrokerAccess]]:
    """The broker to start (None when someone else runs it), and the access of each of the gateway's connections, that
    of the status topics among them where they go to this broker.

    Makes or renews the certificates that Mosquitto needs. Raises BrokerError and PkiError.
    """
    settings = config.broker
    status = status_prefixes(config)
    connections = (*GATEWAY_CONNECTIONS, STATUS_CONNECTION) if status else GATEWAY_CONNECTIONS
    if settings.kind == "embedded":
        embedded = EmbeddedBroker(settings.port, settings.host)
        return embedded, _accesses(embedded.host, embedded.port, dict.fromkeys(connections))
    if settings.kind == "mosquitto":
        pki = Pki.ensure(config.pki_dir, config.gateway.organisation)
        own = pki.ensure_broker(server_names(config), now_ms)
        revoked = functools.partial(pki.revocation_list, now_ms=now_ms)
        mosquitto = MosquittoProcess(
            config.broker_dir, settings.host, settings.port, own, settings.program, revoked, status
        )
        files = {role: pki.ensure_role(role, now_ms) for role in connections}
        if status:
            pki.ensure_role(DASHBOARD, now_ms)
        return mosquitto, _accesses(mosquitto.host, mosquitto.port, {**files})
    return None, _accesses(settings.host, settings.port, {role: external_tls(config, role) for role in connections})


def status_prefixes(config: Config) -> tuple[str, ...]:
    """What status topics begin with on the gateway's own broker; nothing where there are none, or on another broker."""
    section = config.status
    if not section.enabled or section.broker is not None:
        return ()
    return (section.topic, section.discovery_prefix) if section.home_assistant else (section.topic,)


def watch_access(config: Config, now_ms: int) -> BrokerAccess | None:
    """How the web role reaches the broker to look at it; None: an external one for which it has no certificate.

    Raises PkiError.
    """
    settings = config.broker
    files = None
    if settings.kind == "mosquitto":
        files = Pki.ensure(config.pki_dir, config.gateway.organisation).ensure_role(WATCH_CONNECTION, now_ms)
    elif settings.kind == "external":
        files = external_tls(config, WATCH_CONNECTION)
        if files is not None and not (files.certificate_file.is_file() and files.key_file.is_file()):
            return None
    host = reachable_host(settings.host)
    return _accesses(host, settings.port, {WATCH_CONNECTION: files})[WATCH_CONNECTION]


def server_names(config: Config) -> list[str]:
    """Names and addresses that the broker's certificate carries: what devices connect to, and this machine."""
    names = [config.broker.server_name or config.broker.host, config.broker.host, "localhost", "127.0.0.1", "::1"]
    return [name for name in dict.fromkeys(names) if name not in ("0.0.0.0", "::")]


def external_tls(config: Config, role: str) -> TlsFiles | None:
    """Certificate files of one connection to a broker that someone else runs; None: plain TCP."""
    settings = config.broker
    if settings.ca_file is None or settings.certificate_file is None or settings.key_file is None:
        return None
    certificate, key = (
        path.with_name(path.name.replace("{role}", role)) for path in (settings.certificate_file, settings.key_file)
    )
    return TlsFiles(settings.ca_file, certificate, key)


def _accesses(host: str, port: int, tls: dict[str, TlsFiles | None]) -> dict[str, BrokerAccess]:
    return {role: BrokerAccess(host, port, f"{ROLE_PREFIX}{role}", files) for role, files in tls.items()}
