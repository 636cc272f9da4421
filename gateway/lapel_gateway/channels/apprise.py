"""Everything else that reaches people (SMS, voice, push, chat) by Apprise: one service for each channel.

Rules that hold here
- The service's address is a secret: it carries tokens. Apprise writes addresses into its log and its errors, so its
  log goes nowhere, and what an operator is told is this module's own words and the number that a service answered.
- Each attempt has a thread of its own, because a service cannot be made to give up: one that hangs costs its own
  channel the timeout, and nobody else anything. At most `MAX_HUNG` such threads are left behind.
- A message that was taken after the timeout counts: its next attempt finds that out, and does not send it again.
- Apprise's shared pool of threads is never used, redirects are not followed, and texts are no templates.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Sequence
from datetime import tzinfo

import apprise
from apprise.common import PersistentStoreMode

from lapel_gateway.channels.contract import DeliveryError, Parcel
from lapel_gateway.channels.message import LinkFor, Message, message_of, no_link
from lapel_gateway.channels.secret_file import SecretError
from lapel_gateway.ledger.schema import OUTBOX_ALARM

MAX_HUNG = 4
"""Attempts that may be left behind without an end; then none is begun until one of them ends."""

_LOGGERS = ("apprise", "requests", "urllib3")
"""Where Apprise and what it posts with write addresses to."""

_ANSWERED = re.compile(r"\berror=(\d{3})\b")


class _Answers(logging.Handler):
    """Keeps the status that a service answered, by thread, and nothing else of what Apprise logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._lock = threading.Lock()
        self._statuses: dict[int, int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Look for a status."""
        found = _ANSWERED.search(record.getMessage())
        if found and record.thread is not None:
            with self._lock:
                self._statuses[record.thread] = int(found[1])

    def take(self, thread: int) -> int | None:
        """The last status of a thread, which is then forgotten."""
        with self._lock:
            return self._statuses.pop(thread, None)


_answers = _Answers()


def _silence() -> None:
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.WARNING)
        logger.handlers = [_answers if name == "apprise" else logging.NullHandler()]


class _Sending:
    """One attempt in its own thread."""

    def __init__(self, service: apprise.Apprise, told: Message, key: str, name: str) -> None:
        self.key = key
        self.taken = False
        self.trouble = ""
        self.status: int | None = None
        self._service = service
        self._told = told
        # A daemon: one that hangs must not keep the process from ending.
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        kind = apprise.NotifyType.FAILURE if self._told.urgent else apprise.NotifyType.INFO
        try:
            self.taken = bool(
                self._service.notify(
                    body=self._told.body,
                    title=self._told.subject,
                    notify_type=kind,
                    body_format=apprise.NotifyFormat.TEXT,
                )
            )
        except Exception as error:  # noqa: BLE001 - its words may hold the address
            self.trouble = type(error).__name__
        finally:
            self.status = _answers.take(threading.get_ident())


class AppriseChannel:
    """One service."""

    def __init__(
        self,
        name: str,
        url: str,
        timeout_s: float,
        kinds: Sequence[str] = (OUTBOX_ALARM,),
        link: LinkFor = no_link,
        zone: tzinfo | None = None,
    ) -> None:
        """``name`` as in the configuration; ``url`` as Apprise reads it. Raises SecretError for one that it cannot."""
        self.name = f"apprise:{name}"
        self.kinds = frozenset(kinds)
        self._timeout_s = timeout_s
        self._link = link
        self._zone = zone
        self._service = _service(name, url, timeout_s)
        self._left: list[_Sending] = []

    def deliver(self, parcel: Parcel, now_ms: int) -> None:
        """Hand the parcel to the service once. Raises DeliveryError."""
        self._left = [one for one in self._left if one.thread.is_alive() or one.taken]
        if any(one.taken and one.key == parcel.key for one in self._left):
            self._forget(parcel.key)
            return
        if sum(one.thread.is_alive() for one in self._left) >= MAX_HUNG:
            raise DeliveryError(f"{MAX_HUNG} earlier attempts still hang: is the service's address reachable?")
        told = message_of(parcel, self._link(parcel), self._zone)
        sending = _Sending(self._service, told, parcel.key, f"{self.name} attempt")
        sending.thread.start()
        sending.thread.join(self._timeout_s)
        if sending.thread.is_alive():
            self._left.append(sending)
            raise DeliveryError(f"no answer within {self._timeout_s:g} s")
        if not sending.taken:
            raise _refusal(sending)
        self._forget(parcel.key)

    def _forget(self, key: str) -> None:
        """The parcel is delivered: what was left behind of it matters only while it runs."""
        self._left = [one for one in self._left if one.thread.is_alive() or one.key != key]


def _refusal(sending: _Sending) -> DeliveryError:
    if sending.trouble:
        return DeliveryError(f"the service could not be asked: {sending.trouble}")
    if sending.status is None:
        return DeliveryError("the service did not take it, or cannot be reached: try its address with `apprise -vv`")
    final = 400 <= sending.status < 500 and sending.status not in (408, 425, 429)
    return DeliveryError(f"the service answered {sending.status}", refused=final)


def _service(name: str, url: str, timeout_s: float) -> apprise.Apprise:
    _silence()
    # Without a limit of its own, Apprise calls the service in the thread that asks; its pool is shared by all.
    asset = apprise.AppriseAsset(
        app_id="Lapel",
        app_desc="Lapel alarms",
        async_mode=False,
        http_redirects=False,
        service_timeout=0,
        allow_templates=False,
        storage_mode=PersistentStoreMode.MEMORY,
    )
    try:
        plugin = apprise.Apprise.instantiate(url, asset=asset)
    except Exception:  # noqa: BLE001 - its words may hold the address
        plugin = None
    if plugin is None:
        raise SecretError(
            f"[[apprise]] {name}: no address that Apprise knows is in its url_file: try it with `apprise -vv`"
        )
    # Of each connection and of each silence, so that a hung thread ends where it can.
    plugin.socket_connect_timeout = min(plugin.socket_connect_timeout, timeout_s)
    plugin.socket_read_timeout = timeout_s
    service = apprise.Apprise(asset=asset)
    service.add(plugin)
    return service
