"""Webhooks: alarms, notices and finished clips posted as JSON, signed as Standard Webhooks says (standardwebhooks.com).

Rules that hold here
- ``webhook-id`` is the same for every attempt, so that a receiver can drop repeats; ``webhook-timestamp`` and the
  signature are the attempt's.
- The body is the same bytes for every attempt.
- An attempt ends within the timeout whatever the other side does: name look-up, connecting, sending and the answer.
- Only 2xx is delivered. Redirects are not followed: they would send an alarm somewhere that nobody configured.
- Neither the secret nor the body appears in an error.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from lapel_gateway.channels.contract import DeliveryError, Parcel
from lapel_gateway.channels.secret_file import MAX_SECRET_FILE_BYTES, SecretError, read_secret
from lapel_gateway.describe import utc
from lapel_gateway.ledger.schema import OUTBOX_ALARM, OUTBOX_NOTICE

USER_AGENT = "lapel-gateway"

MAX_ANSWER_BYTES = 512
"""How much of a refusal is kept for the operator."""

MIN_SECRET_BYTES = 24
"""Standard Webhooks, "Signature scheme": secrets have 24 to 64 bytes."""


def load_secret(path: Path) -> Webhook:
    """Read a signing secret ("whsec_" and base64) from a file that only its owner can read. Raises SecretError."""
    content = read_secret(path, "webhook secret")
    try:
        text = content.decode("ascii").strip()
        signer = Webhook(text)
        strong = len(text) <= MAX_SECRET_FILE_BYTES and len(text.removeprefix("whsec_")) * 3 // 4 >= MIN_SECRET_BYTES
    except (ValueError, EmptyWebhookSecretError):
        strong = False
    if not strong:
        raise SecretError(
            f'webhook secret {path} is not "whsec_" and base64 of {MIN_SECRET_BYTES} or more random bytes'
        )
    return signer


class WebhookChannel:
    """One endpoint."""

    kinds = frozenset({OUTBOX_ALARM, OUTBOX_NOTICE})

    def __init__(self, name: str, url: str, signer: Webhook, timeout_s: float) -> None:
        """``name`` as in the configuration; ``timeout_s`` bounds a whole attempt."""
        self.name = f"webhook:{name}"
        self._url = url
        self._signer = signer
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context()

    def deliver(self, parcel: Parcel, now_ms: int) -> None:
        """Post the parcel once. Raises DeliveryError."""
        body = message_body(parcel)
        at = datetime.fromtimestamp(now_ms // 1000, UTC)
        headers = {
            "content-type": "application/json",
            "user-agent": USER_AGENT,
            "webhook-id": parcel.message_id,
            "webhook-timestamp": str(now_ms // 1000),
            "webhook-signature": self._signer.sign(parcel.message_id, at, body),
        }
        try:
            status, answer, retry_after = asyncio.run(self._post(body.encode(), headers))
        except TimeoutError:
            raise DeliveryError(f"no answer within {self._timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise DeliveryError(f"{type(error).__name__}: {error}"[:MAX_ANSWER_BYTES]) from None
        if 200 <= status < 300:
            return
        raise DeliveryError(
            f"answered {status} {answer}".rstrip(),
            refused=300 <= status < 500 and status not in (408, 425, 429),
            retry_after_ms=_retry_after_ms(retry_after, now_ms),
        )

    async def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, str, str]:
        """(status, start of the answer, Retry-After)."""
        async with (
            asyncio.timeout(self._timeout_s),
            httpx.AsyncClient(verify=self._tls, timeout=self._timeout_s, follow_redirects=False) as client,
            client.stream("POST", self._url, content=body, headers=headers) as response,
        ):
            answer = b""
            if not response.is_success:
                async for part in response.aiter_raw(MAX_ANSWER_BYTES):
                    answer += part
                    if len(answer) >= MAX_ANSWER_BYTES:
                        break
            text = "".join(c if c.isprintable() else " " for c in answer[:MAX_ANSWER_BYTES].decode("utf-8", "replace"))
            return response.status_code, text.strip(), response.headers.get("retry-after", "")


def message_body(parcel: Parcel) -> str:
    """The JSON text of a parcel, the same for every attempt."""
    return json.dumps(message_fields(parcel), ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def message_fields(parcel: Parcel) -> dict[str, Any]:
    """What other systems are told: {"type", "timestamp", "data"}.

    ``type`` is ``alarm.<what happened>`` for an alarm and ``notice.<kind>`` for a notice; ``data`` is its payload.
    """
    what = parcel.payload.get("what" if parcel.kind == OUTBOX_ALARM else "notice", "unknown")
    return {"type": f"{parcel.kind}.{what}", "timestamp": utc(parcel.created_ms), "data": parcel.payload}


def _retry_after_ms(value: str, now_ms: int) -> int | None:
    """Retry-After (RFC 9110 section 10.2.3), seconds or a date, as a wait; None when absent or unreadable."""
    if value.isascii() and value.isdigit():
        return int(value[:9]) * 1000
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # the latter for a year that no calendar has
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0, int(at.timestamp() * 1000) - now_ms)
