"""The publisher of status topics that the settings ask for."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import sqlalchemy as sa

from lapel_gateway.brokers import BrokerAccess, BrokerError
from lapel_gateway.channels.setup import mqtt_target
from lapel_gateway.metrics.watched import watched_of
from lapel_gateway.settings.config import Config
from lapel_gateway.status.publisher import StatusPublisher, StatusTarget


def build_publisher(
    config: Config, engine: sa.Engine, own: BrokerAccess | None, now_ms: Callable[[], int]
) -> StatusPublisher:
    """Publishes to the named broker, or to the gateway's ``own``. Raises BrokerError, and SecretError for a login."""
    return StatusPublisher(engine, watched_of(config), _target(config, own), now_ms)


def _target(config: Config, own: BrokerAccess | None) -> StatusTarget:
    section = config.status
    prefix = section.discovery_prefix if section.home_assistant else ""
    if section.broker is None:
        if own is None:
            raise BrokerError("[status] has no broker to publish to: name an [[mqtt_out]] in broker")
        try:
            return StatusTarget(own.host, own.port, section.topic, prefix, own.client_id, tls=_verifying(own))
        except OSError as error:
            words = error.strerror or "no usable PEM files"
            raise BrokerError(f"certificates of the connection for [status]: {words}") from None
    for out in config.mqtt_out:
        if out.name == section.broker:
            there = mqtt_target(out)
            return StatusTarget(there.host, there.port, section.topic, prefix, login=there.login, tls=there.tls)
    raise BrokerError(f"[status] broker: there is no [[mqtt_out]] {section.broker}: add one, or unset it")


def _verifying(access: BrokerAccess) -> ssl.SSLContext | None:
    """How the gateway's own broker is verified; None: plain TCP. Raises OSError."""
    if access.tls is None:
        return None
    context = ssl.create_default_context(cafile=str(access.tls.ca_file))
    context.load_cert_chain(access.tls.certificate_file, access.tls.key_file)
    return context
