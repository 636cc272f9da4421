"""Apprise against a local HTTP sink: what arrives, what hangs, and that no address is ever shown."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apprise import Apprise

from lapel_gateway.channels.apprise import MAX_HUNG, AppriseChannel
from lapel_gateway.channels.contract import DeliveryError, Parcel
from lapel_gateway.channels.secret_file import SecretError
from lapel_gateway.channels.setup import Links, apprise_channel, build_channels
from lapel_gateway.deliver import DeliverRole
from lapel_gateway.ledger.schema import OUTBOX_ALARM, OUTBOX_NOTICE
from lapel_gateway.outbox import Outbox, RetryPolicy
from lapel_gateway.settings.channels import AppriseSection
from lapel_gateway.settings.check import check_config
from lapel_gateway.settings.config import Config
from tests.gateway.ledgers import new_ledger, queue
from tests.waiting import wait_until

NOW_MS = 1_790_000_000_000
TOKEN = "s3cr3ttoken"
PAYLOAD: dict[str, Any] = {"what": "raised", "alarm": "00112233aabbccdd-4-2", "person": "Zoë <b>Quinn", "kind": "panic"}
LINK = "https://lapel.example.org/ack/abc"


def parcel(attempts: int = 0, key: str = "alarm-1@apprise:ann", **payload: Any) -> Parcel:
    return Parcel(7, OUTBOX_ALARM, "apprise:ann", key, "alarm 1", {**PAYLOAD, **payload}, attempts, NOW_MS)


class Sink:
    """An HTTP service that answers as it is told, remembers what came, and can be waited for."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        self.before_answer: Callable[[str], None] = lambda path: None
        self._came = threading.Condition()
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with sink._came:
                    sink.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                    sink._came.notify_all()
                sink.before_answer(self.path)
                self.send_response(sink.status)
                if 300 <= sink.status < 400:
                    self.send_header("location", f"http://127.0.0.1:{sink.port}/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Silent."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def url(self, path: str = "hook", scheme: str = "json") -> str:
        return f"{scheme}://user:{TOKEN}@127.0.0.1:{self.port}/{path}"

    def wait_for(self, count: int) -> None:
        with self._came:
            assert self._came.wait_for(lambda: len(self.got) >= count, 60), len(self.got)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    sink = Sink()
    yield sink
    sink.close()


def channel(url: str, timeout_s: float = 30.0, **options: Any) -> AppriseChannel:
    return AppriseChannel("ann", url, timeout_s, **options)


def refused(channel: AppriseChannel, one: Parcel | None = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        channel.deliver(one or parcel(), NOW_MS)
    return caught.value


def test_an_alarm_arrives_with_everything_that_a_person_needs(sink: Sink) -> None:
    channel(sink.url(), link=lambda parcel: LINK).deliver(parcel(), NOW_MS)

    ((path, headers, body),) = sink.got
    message = json.loads(body)
    assert path.rstrip("/") == "/hook"
    assert headers["authorization"].startswith("Basic ")
    assert message["title"] == "ALARM panic: Zoë <b>Quinn"
    assert "Zoë <b>Quinn" in message["message"]
    assert LINK in message["message"].splitlines()
    assert message["type"] == "failure"


def test_another_form_of_service_gets_the_same_words(sink: Sink) -> None:
    channel(sink.url(scheme="xml")).deliver(parcel(what="acknowledged", acknowledged_by="Ann"), NOW_MS)

    body = sink.got[0][2].decode()
    assert "ALARM panic: Zoë &lt;b&gt;Quinn: acknowledged by Ann" in body.replace("&amp;", "&")
    assert "<MessageType>info</MessageType>" in body


def test_template_marks_in_a_devices_text_stay_as_they_are(sink: Sink) -> None:
    channel(sink.url()).deliver(parcel(person="{{ app_id }} \\n :smile:"), NOW_MS)

    assert json.loads(sink.got[0][2])["title"] == "ALARM panic: {{ app_id }} \\n :smile:"


@pytest.mark.parametrize(
    ("status", "final"), [(400, True), (401, True), (404, True), (429, False), (500, False), (503, False)]
)
def test_what_the_service_answers_is_told_by_its_number_alone(
    sink: Sink, status: int, final: bool, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    sink.status = status

    error = refused(channel(sink.url(path=f"{TOKEN}/x")))

    assert str(error) == f"the service answered {status}"
    assert error.refused is final
    out, err = capfd.readouterr()
    assert (out, err, caplog.text) == ("", "", "")


def test_a_redirect_is_not_followed(sink: Sink) -> None:
    sink.status = 307

    refused(channel(sink.url()))

    assert [path.rstrip("/") for path, _, _ in sink.got] == ["/hook"]


def test_a_service_that_is_not_there_is_an_error_without_its_address(
    free_port: int, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    error = refused(channel(f"json://user:{TOKEN}@127.0.0.1:{free_port}/"))

    assert "cannot be reached" in str(error)
    assert not error.refused
    assert TOKEN not in repr(error)
    assert (capfd.readouterr(), caplog.text) == (("", ""), "")


def test_a_fault_inside_shows_its_kind_and_not_its_words(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> bool:
        raise ValueError(sink.url())

    one = channel(sink.url())
    monkeypatch.setattr(Apprise, "notify", fail)

    error = refused(one)

    assert str(error) == "the service could not be asked: ValueError"
    assert error.__cause__ is None


def test_a_message_that_was_taken_after_the_timeout_is_not_sent_again(sink: Sink) -> None:
    released = threading.Event()
    sink.before_answer = lambda path: assert_released(released)
    one = channel(sink.url() + "?rto=60", timeout_s=1.0)
    patient(one)

    assert str(refused(one)) == "no answer within 1 s"
    released.set()
    wait_until(lambda: not hung(one), 30)
    one.deliver(parcel(attempts=1), NOW_MS)

    assert len(sink.got) == 1


def test_attempts_that_hang_for_ever_are_bounded(sink: Sink) -> None:
    released = threading.Event()
    sink.before_answer = lambda path: assert_released(released)
    one = channel(sink.url(), timeout_s=0.3)
    patient(one)

    errors = [str(refused(one, parcel(attempts, f"alarm-{attempts // 2}"))) for attempts in range(MAX_HUNG + 2)]

    assert (
        errors
        == ["no answer within 0.3 s"] * MAX_HUNG
        + [f"{MAX_HUNG} earlier attempts still hang: is the service's address reachable?"] * 2
    )
    released.set()
    wait_until(lambda: not hung(one), 30)
    one.deliver(parcel(key="alarm-9"), NOW_MS)
    assert len(sink.got) == MAX_HUNG + 1


def assert_released(released: threading.Event) -> None:
    assert released.wait(60)


def patient(channel: AppriseChannel) -> None:
    """Let the service's own wait be longer than the channel's, as that of one that drips its answer is."""
    for plugin in channel._service:
        plugin.socket_read_timeout = 60.0


def hung(channel: AppriseChannel) -> list[str]:
    return [one.key for one in channel._left if one.thread.is_alive()]


def test_a_service_that_hangs_does_not_hold_up_another(sink: Sink, tmp_path: Path) -> None:
    released = threading.Event()
    order: list[str] = []

    def answer(path: str) -> None:
        if path.startswith("/slow"):
            assert released.wait(60)
            order.append("released")

    sink.before_answer = answer
    sections = [section(tmp_path, sink.url("slow"), name="slow"), section(tmp_path, sink.url("good"), name="good")]
    with new_ledger(tmp_path) as engine:
        channels = build_channels(Config(apprise=sections), Links())
        role = DeliverRole(Outbox(engine, channels, RetryPolicy(600_000), lambda: 0.0))
        queue(engine, OUTBOX_ALARM, "alarm-1", "one", PAYLOAD, NOW_MS)
        role.start()
        sink.wait_for(2)
        queue(engine, OUTBOX_ALARM, "alarm-2", "two", PAYLOAD, NOW_MS)
        sink.wait_for(3)
        order.append("both arrived")
        released.set()
        assert role.stop(60)

    assert order[:2] == ["both arrived", "released"]
    assert [path.rstrip("/") for path, _, _ in sink.got].count("/good") == 2


def section(folder: Path, url: str, name: str = "ann", mode: int = 0o600, **changed: Any) -> AppriseSection:
    file = folder / f"{name}.txt"
    file.write_text(url)
    file.chmod(mode)
    return AppriseSection.model_validate({"name": name, "url_file": file, **changed})


def test_notices_come_only_where_they_are_asked_for(tmp_path: Path) -> None:
    url = "json://127.0.0.1/"
    assert apprise_channel(section(tmp_path, url), Links()).kinds == {OUTBOX_ALARM}
    assert apprise_channel(section(tmp_path, url, notices=True), Links()).kinds == {OUTBOX_ALARM, OUTBOX_NOTICE}


@pytest.mark.parametrize(
    "url",
    [
        f"nothing://{TOKEN}@127.0.0.1/",
        TOKEN,
        f"json://:{TOKEN}@",
        "",
        f"json://a/\njson://{TOKEN}/",
        f"json://{TOKEN}\x07/",
    ],
)
def test_an_address_that_is_none_keeps_the_role_from_starting_and_is_not_shown(
    tmp_path: Path, url: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SecretError) as caught:
        apprise_channel(section(tmp_path, url), Links())

    assert "ddress" in str(caught.value)
    shown = [str(caught.value), repr(caught.value), *capfd.readouterr(), caplog.text]
    assert TOKEN not in "".join(shown)


def test_an_address_that_others_can_read_is_refused(tmp_path: Path) -> None:
    one = section(tmp_path, "json://127.0.0.1/", mode=0o644)
    with pytest.raises(SecretError, match="chmod 600"):
        apprise_channel(one, Links())
    findings = [finding for finding in check_config(Config(apprise=[one])) if "apprise" in finding.setting]
    assert [(finding.level, finding.setting) for finding in findings] == [("error", "[[apprise]] ann")]
