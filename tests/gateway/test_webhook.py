"""Webhooks against a real HTTP server on loopback."""

from __future__ import annotations

import base64
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from lapel_gateway.channels.contract import DeliveryError, Parcel
from lapel_gateway.channels.secret_file import SecretError
from lapel_gateway.channels.webhook import WebhookChannel, load_secret
from lapel_gateway.ledger.schema import OUTBOX_ALARM, OUTBOX_NOTICE

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PAYLOAD: dict[str, Any] = {"what": "raised", "alarm": "00112233aabbccdd-4-2", "person": "Zoë"}


def parcel(kind: str = OUTBOX_ALARM, payload: dict[str, Any] | None = None, attempts: int = 0) -> Parcel:
    return Parcel(7, kind, "webhook:test", "alarm-1@webhook:test", "alarm 1", payload or PAYLOAD, attempts, 1_760_000)


class Receiver:
    """An HTTP endpoint that answers as it is told and remembers what came."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[http.server.BaseHTTPRequestHandler], None] = lambda handler: handler.send_response(204)
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                receiver.answer(self)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    receiver = Receiver()
    yield receiver
    receiver.close()


def channel(url: str, timeout_s: float = 5.0) -> WebhookChannel:
    return WebhookChannel("test", url, Webhook(SECRET), timeout_s)


def now_ms() -> int:
    return int(time.time() * 1000)


def test_a_receiver_with_the_secret_can_verify_the_message(receiver: Receiver) -> None:
    channel(receiver.url).deliver(parcel(), now_ms())

    ((headers, body),) = receiver.got
    message = Webhook(SECRET).verify(body, headers)
    assert message == {"type": "alarm.raised", "timestamp": "1970-01-01T00:29:20.000Z", "data": PAYLOAD}
    assert headers["content-type"] == "application/json"


def test_a_changed_body_or_another_secret_does_not_verify(receiver: Receiver) -> None:
    channel(receiver.url).deliver(parcel(), now_ms())

    ((headers, body),) = receiver.got
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"raised", b"solved"), headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + base64.b64encode(bytes(32)).decode()).verify(body, headers)


def test_a_repeat_has_the_same_id_and_body_and_a_new_signature_time(receiver: Receiver) -> None:
    at_ms = now_ms()
    channel(receiver.url).deliver(parcel(), at_ms - 60_000)
    channel(receiver.url).deliver(parcel(attempts=1), at_ms)

    (first, first_body), (second, second_body) = receiver.got
    assert first["webhook-id"] == second["webhook-id"]
    assert first_body == second_body
    assert first["webhook-timestamp"] != second["webhook-timestamp"]
    Webhook(SECRET).verify(second_body, second)


def test_a_notice_is_named_by_its_kind(receiver: Receiver) -> None:
    channel(receiver.url).deliver(parcel(OUTBOX_NOTICE, {"notice": "clip_ready", "id": "c"}), now_ms())

    assert json.loads(receiver.got[0][1])["type"] == "notice.clip_ready"


@pytest.mark.parametrize(
    ("status", "refused"),
    [(400, True), (401, True), (410, True), (408, False), (429, False), (500, False), (503, False)],
)
def test_an_answer_that_is_no_success_is_an_error_with_its_words(
    receiver: Receiver, status: int, refused: bool
) -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("connection", "close")
        handler.end_headers()
        handler.wfile.write(b"try \x1b[31mlater" + b"x" * 10_000)

    receiver.answer = answer

    with pytest.raises(DeliveryError) as caught:
        channel(receiver.url).deliver(parcel(), now_ms())

    assert str(caught.value).startswith(f"answered {status} try  [31mlater")
    assert len(str(caught.value)) < 600
    assert caught.value.refused is refused


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(307)
        handler.send_header("location", receiver.url + "/elsewhere")

    receiver.answer = answer

    with pytest.raises(DeliveryError, match="answered 307"):
        channel(receiver.url).deliver(parcel(), now_ms())
    assert len(receiver.got) == 1


def test_the_wait_that_the_receiver_asks_for_is_handed_on(receiver: Receiver) -> None:
    waits: list[int | None] = []
    for value in ("120", "Wed, 21 Oct 2015 07:28:30 GMT", "soon", "-5"):

        def answer(handler: http.server.BaseHTTPRequestHandler, value: str = value) -> None:
            handler.send_response(503)
            handler.send_header("retry-after", value)

        receiver.answer = answer
        with pytest.raises(DeliveryError) as caught:
            channel(receiver.url).deliver(parcel(), 1_445_412_480_000)
        waits.append(caught.value.retry_after_ms)

    assert waits == [120_000, 30_000, None, None]


def test_an_endpoint_that_is_not_there_is_an_error_that_says_so(free_port: int) -> None:
    with pytest.raises(DeliveryError, match="ConnectError"):
        channel(f"http://127.0.0.1:{free_port}/").deliver(parcel(), now_ms())


def test_an_endpoint_that_never_answers_costs_no_more_than_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        started = time.monotonic()
        with pytest.raises(DeliveryError, match=r"no answer within 0\.3 s"):
            channel(url, timeout_s=0.3).deliver(parcel(), now_ms())
        assert time.monotonic() - started < 3


def test_an_endpoint_that_drips_its_answer_costs_no_more_than_the_timeout() -> None:
    """A read timeout alone would start anew with every byte."""
    done = threading.Event()

    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 500 Slow\r\ncontent-length: 100000\r\n\r\n")
            while not done.wait(0.05):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip, args=(server,))
        dripping.start()
        started = time.monotonic()
        with pytest.raises(DeliveryError, match="no answer within"):
            channel(f"http://127.0.0.1:{server.getsockname()[1]}/", timeout_s=0.5).deliver(parcel(), now_ms())
        assert time.monotonic() - started < 3
        done.set()
        dripping.join()


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://exa mple/", "ftp://127.0.0.1/"])
def test_an_address_that_is_none_is_an_error_and_not_a_crash(url: str) -> None:
    with pytest.raises(DeliveryError):
        channel(url).deliver(parcel(), now_ms())


def test_errors_show_neither_secret_nor_body(receiver: Receiver) -> None:
    receiver.answer = lambda handler: handler.send_response(500)

    with pytest.raises(DeliveryError) as caught:
        channel(receiver.url).deliver(parcel(), now_ms())

    assert "Zo" not in str(caught.value)
    assert SECRET.removeprefix("whsec_") not in str(caught.value)


@pytest.mark.parametrize("content", ["", "whsec_", "whsec_AAAA", "whsec_%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%%", "\xff"])
def test_a_secret_that_is_missing_short_or_no_base64_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "secret"
    file.write_text(content, encoding="latin-1")
    file.chmod(0o600)

    with pytest.raises(SecretError, match="base64 of 24 or more"):
        load_secret(file)


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    file.chmod(0o640)

    with pytest.raises(SecretError, match="chmod 600"):
        load_secret(file)
    with pytest.raises(SecretError, match="No such file"):
        load_secret(tmp_path / "missing")


def test_a_good_secret_signs_as_its_receiver_expects(tmp_path: Path, receiver: Receiver) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)

    WebhookChannel("test", receiver.url, load_secret(file), 5.0).deliver(parcel(), now_ms())

    ((headers, body),) = receiver.got
    Webhook(SECRET).verify(body, headers)
