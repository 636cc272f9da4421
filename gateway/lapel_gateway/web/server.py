"""The web role: the API served by uvicorn in a thread of its own, with a clean end.

Whoever looks on holds a connection for as long as they do (`live_api`, `MAX_STREAMS`). There are four times as many
connections as such places, so that however many look on, an answer to an alarm finds one.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable

import sqlalchemy as sa
import structlog
import uvicorn

from lapel_gateway.accounts.provider import Provider, ProviderError
from lapel_gateway.accounts.seal import Seal
from lapel_gateway.brokers import watch_access
from lapel_gateway.channels.secret_file import SecretError, read_lines, read_token
from lapel_gateway.channels.setup import ack_links
from lapel_gateway.deliver import VIEWS_FOLDER, wall_ms
from lapel_gateway.metrics.watched import watched_of
from lapel_gateway.overview.broker_watch import BrokerWatch
from lapel_gateway.overview.feed import Feed
from lapel_gateway.overview.surroundings import broker_unwatched, surroundings_of
from lapel_gateway.progress import Pulse
from lapel_gateway.settings.config import Config
from lapel_gateway.settings.policies import find_zone, policies_of
from lapel_gateway.viewing.assembly import Views
from lapel_gateway.web.app import build_app
from lapel_gateway.web.installed import NOTHING_INSTALLED, Installed, Scraping

MAX_HEAD_BYTES = 16_384
"""Of one request's head: far above any token, far below what hurts."""

MAX_CONNECTIONS = 1024
"""Two hundred pages, each with its stream and a few connections that a browser keeps open. Beyond it the answer is 503,
and the rest of the process keeps its memory: an idle connection takes some ten kilobytes."""

KEEP_ALIVE_S = 15
STOP_S = 3
"""How long running requests may take to end when the role is stopped."""

_log = structlog.get_logger("lapel.web")


class WebError(Exception):
    """The API cannot be served; the message says why and what to do."""


class WebRole:
    """Serves the API on one address until it is stopped."""

    def __init__(
        self,
        engine: sa.Engine,
        views: Views,
        host: str,
        port: int,
        now_ms: Callable[[], int] = wall_ms,
        installed: Installed = NOTHING_INSTALLED,
        watch: BrokerWatch | None = None,
    ) -> None:
        """``port`` 0 takes a free one; `port` says which. ``watch`` is started and stopped with the role."""
        self._host = host
        self.port = port
        self._now_ms = now_ms
        self._turned_ms = now_ms()
        self._watch = watch
        app = build_app(engine, views, now_ms, installed)
        self._feed: Feed = app.state.feed
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
            limit_concurrency=MAX_CONNECTIONS,
            lifespan="off",
            proxy_headers=bool(installed.trusted_proxies),
            forwarded_allow_ips=list(installed.trusted_proxies),
        )
        self._server = uvicorn.Server(config)
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen and serve. Raises WebError when the address cannot be had."""
        try:
            self._socket = socket.create_server((self._host, self.port), backlog=128)
        except OSError as error:
            raise WebError(
                f"web address {self._host}:{self.port}: {os.strerror(error.errno or 0)}; change [web] in lapel.toml"
            ) from None
        self.port = self._socket.getsockname()[1]
        if self._watch is not None:
            self._watch.start()
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="web", daemon=True)
        self._thread.start()
        _log.info("web", url=self.url)

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Stop listening, let running requests end, streams at once; False when they did not in time."""
        self._server.should_exit = True
        self._feed.close()
        if self._watch is not None:
            self._watch.stop()
        alive = False
        if self._thread is not None:
            self._thread.join(timeout_s)
            alive = self._thread.is_alive()
        if self._socket is not None:
            self._socket.close()
        return not alive

    def pulse(self) -> Pulse:
        """That its thread lives: when it last came round, whoever asks it over HTTP learns."""
        if self._thread is not None and self._thread.is_alive():
            self._turned_ms = self._now_ms()
        return Pulse(self._turned_ms)

    @property
    def url(self) -> str:
        """Where the API is."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"


def provider_of(config: Config) -> Provider | None:
    """The identity provider as configured, None for none. Raises SecretError, WebError."""
    section = config.oidc
    if section.issuer is None:
        return None
    if config.web.public_url is None or section.client_secret_file is None or not section.roles:
        raise WebError("[oidc] issuer needs client_secret_file, roles, and [web] public_url to come back to")
    form = "one line of text, the client's secret"
    lines = read_lines(section.client_secret_file, "secret of the identity provider's client", form)
    if len(lines) != 1:
        raise SecretError(f"secret of the identity provider's client {section.client_secret_file} is not {form}")
    return Provider(
        section.issuer,
        section.client_id,
        lines[0],
        section.scopes,
        section.name_claim,
        section.roles_claim,
        section.roles,
    )


def build_role(config: Config, engine: sa.Engine) -> WebRole:
    """The web role as configured. Raises KeyStoreError, PkiError, SecretError, WebError."""
    scraping = None
    if config.metrics.enabled:
        token = "" if config.metrics.token_file is None else read_token(config.metrics.token_file)
        scraping = Scraping(token, config.web.public_url is not None)
    access = watch_access(config, wall_ms())
    watch = None if access is None else BrokerWatch(access, wall_ms)
    around = surroundings_of(config, broker_unwatched if watch is None else watch.words)
    installed = Installed(
        links=ack_links(config),
        zone=find_zone(config.alarms.time_zone),
        rules=config.visits,
        channels=around.channels,
        policies=policies_of(config.policy, config.alarms.everyone_s, find_zone(config.alarms.time_zone)),
        watched=watched_of(config),
        scraping=scraping,
        around=around,
        device_rules=config.devices,
        organisation=config.gateway.organisation,
        accounts=config.accounts,
        seal=Seal.load(config.accounts_key_file),
        public_url=(config.web.public_url or "").rstrip("/"),
        provider=provider_of(config),
        trusted_proxies=tuple(config.web.trusted_proxies),
    )
    views = Views(config.data_dir / VIEWS_FOLDER)
    try:
        return WebRole(engine, views, config.web.host, config.web.port, installed=installed, watch=watch)
    except ProviderError as error:
        raise WebError(str(error)) from None
