"""The gateway as a program: shells that keep what they could not hand in, and a whole process that starts and ends."""

from __future__ import annotations

import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from lapel_gateway import shells
from lapel_gateway.alarms import core as alarms
from lapel_gateway.custody.arrivals import Arrival
from lapel_gateway.custody.downlink import Outcome
from lapel_gateway.keystore import KeyStore, KeyStoreError
from lapel_gateway.ledger import fresh_ledger, open_ledger
from lapel_gateway.pki import create_organisation_key
from lapel_gateway.service import Gateway, ServiceError
from lapel_gateway.settings.config import Config, GatewaySection, WebSection
from lapel_gateway.settings.visits import DEFAULT_RULES
from lapel_gateway.shells import AlarmsRole, IngestRole
from lapel_gateway.transport import Delivery
from lapel_gateway.visits import plans as visits
from lapel_gateway.visits.plans import Wanted
from lapel_gateway.visits.timers import VisitWatch
from lapel_gateway.web.server import WebError
from lapel_protocol.command import ALARM_ACK, ALARM_RECEIPT, CREDIT, RECEIPT, WELCOME
from lapel_protocol.topics import topic
from tests.gateway.mqtt import MqttClient, connected
from tests.support.device import Message, TrueDevice
from tests.support.pair import DevicePair, bodies

TIMEOUT_S = 15.0


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shells, "RETRY_S", 0.01)


def until(condition: Callable[[], bool]) -> None:
    """Wait until another thread has made the condition true."""
    pause = threading.Event()
    for _ in range(int(TIMEOUT_S / 0.01)):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it did not happen in time")


class MemoryLink:
    """A broker's connection in memory: what was put is received once, what was acknowledged and published is kept."""

    def __init__(self) -> None:
        self.waiting: queue.Queue[Delivery] = queue.Queue()
        self.acknowledged: list[int] = []
        self.published: list[Message] = []
        self.running = False
        self._count = 0

    def put(self, *messages: Message) -> None:
        for name, payload in messages:
            self._count += 1
            self.waiting.put(Delivery(name, payload, self._count, 1, 1))

    def start(self) -> None:
        self.running = True

    def receive(self, most: int, wait_s: float, gather_s: float) -> list[Delivery]:
        found: list[Delivery] = []
        while len(found) < most:
            try:
                found.append(self.waiting.get(block=not found and wait_s > 0, timeout=wait_s or None))
            except queue.Empty:
                break
        return found

    def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        self.acknowledged += [delivery.mid for delivery in deliveries]

    def publish(self, downlinks: Sequence[Message]) -> None:
        self.published += downlinks

    def stop(self) -> None:
        self.running = False


@pytest.fixture
def alarm_role(pair: DevicePair) -> Iterator[tuple[AlarmsRole, MemoryLink]]:
    link = MemoryLink()
    role = AlarmsRole(pair.alarms, link, lambda: pair.now_ms)
    role.start()
    yield role, link
    assert role.stop()


@pytest.fixture
def ingest_role(pair: DevicePair) -> Iterator[tuple[IngestRole, MemoryLink, MemoryLink]]:
    events, clips = MemoryLink(), MemoryLink()
    role = IngestRole(pair.ingest, events, clips, 256, 20, lambda: pair.now_ms)
    role.start()
    yield role, events, clips
    assert role.stop()


AlarmRig = tuple[AlarmsRole, MemoryLink]
IngestRig = tuple[IngestRole, MemoryLink, MemoryLink]


def broken(times: int, then: Callable[..., Any]) -> Callable[..., Any]:
    """A core's method that cannot use the ledger for its first calls."""
    left = times

    def method(*arguments: object) -> object:
        nonlocal left
        if left:
            left -= 1
            raise sa.exc.OperationalError("COMMIT", {}, Exception("database or disk is full"))
        return then(*arguments)

    return method


def test_an_alarm_is_receipted_before_the_broker_may_forget_it(pair: DevicePair, alarm_role: AlarmRig) -> None:
    _, link = alarm_role
    link.put(pair.one.alarm())
    until(lambda: link.acknowledged == [1])
    assert bodies(pair.one.take(link.published), ALARM_RECEIPT)


def test_an_alarm_waits_while_the_ledger_cannot_be_used_and_this_is_told_once(
    pair: DevicePair, alarm_role: AlarmRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, link = alarm_role
    monkeypatch.setattr(pair.alarms, "take", broken(5, pair.alarms.take))
    with capture_logs() as lines:
        link.put(pair.one.alarm(), pair.one.alarm())
        until(lambda: link.acknowledged == [1, 2])
        until(lambda: len(lines) >= 6)
    assert [line["event"] for line in lines] == [
        "messages wait: ledger or vault cannot be used",
        "alarm",
        "alarm",
        "alarm receipted to its device",
        "alarm receipted to its device",
        "ledger and vault can be used again",
    ]
    assert "disk is full" in lines[0]["reason"]
    assert pair.count("alarm") == 2


def test_an_alarm_that_meets_an_error_of_the_program_is_told_of_and_holds_up_no_other(
    pair: DevicePair, alarm_role: AlarmRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, link = alarm_role
    take, poison = pair.alarms.take, pair.one.alarm()

    def faulty(batch: Sequence[tuple[str, bytes]], now_ms: int) -> Outcome:
        if poison in batch:
            raise KeyError("a mistake")
        return take(batch, now_ms)

    monkeypatch.setattr(pair.alarms, "take", faulty)
    link.put(poison, pair.one.alarm())
    until(lambda: link.acknowledged == [1, 2])
    assert pair.count("alarm") == 1
    assert pair.row("notice")["kind"] == "unverified_alarm"


def test_a_humans_answer_leaves_for_the_device_without_any_traffic_from_it(
    pair: DevicePair, alarm_role: AlarmRig
) -> None:
    _, link = alarm_role
    link.put(pair.one.alarm())
    until(lambda: bool(link.acknowledged))
    alarms.acknowledge(pair.engine, pair.row("alarm")["id"], "Sam", pair.now_ms)
    until(lambda: len(link.published) >= 3)
    assert [body.name for body in bodies(pair.one.take(link.published), ALARM_ACK)] == ["Sam"]


def test_events_and_clips_are_acknowledged_on_their_own_connections(pair: DevicePair, ingest_role: IngestRig) -> None:
    _, events, clips = ingest_role
    clip = pair.one.record(9)
    clips.put(*clip.messages())
    events.put(pair.one.hello())
    until(lambda: (len(events.acknowledged), len(clips.acknowledged)) == (1, 3))
    until(lambda: bool(bodies(pair.one.take(events.published[-3:]), RECEIPT)))
    assert clips.published == []


def test_clips_wait_for_room_while_hellos_are_answered(pair: DevicePair, ingest_role: IngestRig) -> None:
    _, events, clips = ingest_role
    pair.vault.reserve_bytes = 1 << 60
    clip = pair.one.record(9)
    clips.put(*clip.messages())
    until(lambda: pair.ingest.full)
    events.put(pair.one.hello())
    until(lambda: events.acknowledged == [1])
    answers = pair.one.take(events.published)
    assert bodies(answers, WELCOME)
    assert [credit.window_bytes for credit in bodies(answers, CREDIT)] == [0]
    assert clips.acknowledged == []
    pair.vault.reserve_bytes = 0
    until(lambda: clips.acknowledged == [1, 2, 3])
    assert pair.vault_file(pair.one, clip.clip) == clip.file


def test_a_batch_waits_while_the_ledger_cannot_be_used(
    pair: DevicePair, ingest_role: IngestRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, events, clips = ingest_role
    monkeypatch.setattr(pair.ingest, "take", broken(3, pair.ingest.take))
    clip = pair.one.record(3)
    clips.put(*clip.messages(1))
    events.put(pair.one.heartbeat())
    until(lambda: (clips.acknowledged, events.acknowledged) == ([1, 2, 3], [1]))
    assert pair.vault_file(pair.one, clip.clip) == clip.file


def test_a_message_that_meets_an_error_of_the_program_is_set_aside_and_holds_up_no_other(
    pair: DevicePair, ingest_role: IngestRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, clips = ingest_role
    clip = pair.one.record(9)
    take, poison = pair.ingest.take, clip.message(b"poison")
    met: list[int] = []

    def faulty(batch: Sequence[Arrival], now_ms: int) -> Outcome:
        if any(arrival.payload == b"poison" for arrival in batch):
            met.append(len(batch))
            raise KeyError("a mistake")
        return take(batch, now_ms)

    monkeypatch.setattr(pair.ingest, "take", faulty)
    clips.put(poison, *clip.messages())
    until(lambda: sorted(clips.acknowledged) == [1, 2, 3, 4])
    assert met[-1] == 1
    assert pair.vault_file(pair.one, clip.clip) == clip.file


def test_the_next_batch_is_prepared_while_this_one_waits_for_the_disk(
    pair: DevicePair, ingest_role: IngestRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, events, clips = ingest_role
    events.put(pair.one.hello())
    until(lambda: events.acknowledged == [1])
    first, *others = pair.one.record(24).messages(4)
    prepared: list[str] = []
    prepare, take, sync = pair.ingest.prepare, pair.ingest.take, pair.vault.sync

    def note(name: str, payload: bytes | memoryview) -> Any:
        prepared.append(name)
        return prepare(name, payload)

    def others_come(batch: Sequence[Arrival], now_ms: int) -> Outcome:
        if len(prepared) == 1:
            clips.put(*others)
        return take(batch, now_ms)

    def wait_for_them() -> None:
        until(lambda: len(prepared) == 1 + len(others))
        sync()

    monkeypatch.setattr(pair.ingest, "prepare", note)
    monkeypatch.setattr(pair.ingest, "take", others_come)
    monkeypatch.setattr(pair.vault, "sync", wait_for_them)
    clips.put(first)
    until(lambda: len(clips.acknowledged) == 1 + len(others))
    assert len(prepared) == 1 + len(others)
    assert pair.row("clip")["state"] == "held"


def test_recovery_comes_before_the_first_batch(pair: DevicePair) -> None:
    clip = pair.one.record(3)
    pair.vault.place(pair.one.name, clip.clip, 0, clip.file)
    events, clips = MemoryLink(), MemoryLink()
    role = IngestRole(pair.ingest, events, clips, 256, 20, lambda: pair.now_ms)
    role.start()
    until(lambda: bool(events.published))
    assert role.stop()
    assert bodies(pair.one.take(events.published), RECEIPT)


def test_a_stop_finishes_what_was_begun_and_leaves_the_rest_to_the_broker(pair: DevicePair) -> None:
    link = MemoryLink()
    role = AlarmsRole(pair.alarms, link, lambda: pair.now_ms)
    link.put(pair.one.alarm())
    role.start()
    until(lambda: bool(link.acknowledged))
    assert role.stop()
    assert not link.running
    link.put(pair.one.alarm())
    assert link.acknowledged == [1]
    assert pair.count("alarm") == 1


# -- a whole gateway with the embedded broker -------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, free_port: int) -> Config:
    data = tmp_path / "data"
    KeyStore.create(data / "keys" / "master.key")
    create_organisation_key(data / "keys" / "private.pem", data / "keys" / "organisation.pem")
    config = Config()
    return config.model_copy(
        update={
            "gateway": GatewaySection(data_dir=data, roles=["alarms", "ingest"]),
            "keys": config.keys.model_copy(update={"organisation_private_key_file": data / "keys" / "private.pem"}),
            "broker": config.broker.model_copy(update={"port": free_port}),
        }
    )


@pytest.fixture
def gateway(config: Config) -> Iterator[Gateway]:
    gateway = Gateway(config)
    gateway.start()
    assert gateway.wait_ready(TIMEOUT_S)
    yield gateway
    gateway.stop()


def provision(gateway: Gateway, port: int) -> TrueDevice:
    now_ms = shells.wall_ms()
    package = gateway.registry.provision(
        "camera 7", "Zoë Quinn", gateway.organisation, "127.0.0.1", port, "", now_ms, now_ms
    )
    device = TrueDevice(package, gateway.organisation)
    device.boot()
    return device


def answered(client: MqttClient, device: TrueDevice, kind: int, count: int) -> list[Any]:
    """Wait for commands of one kind; everything that came is given to a device that has heard nothing yet."""
    found: list[Any] = []

    def arrived() -> bool:
        found[:] = [record for _, record in list(client.received) if _kind(device, record) == kind]
        return len(found) >= count

    until(arrived)
    return found


def _kind(device: TrueDevice, record: bytes) -> int:
    from lapel_protocol.command import open_command

    return open_command(device.keys, record, device.device, device.boot_number).kind


def test_a_press_reaches_a_human_and_a_clip_the_vault(gateway: Gateway, config: Config) -> None:
    device = provision(gateway, config.broker.port)
    clip = device.record(30)
    with connected(config.broker.port, device.name) as client:
        client.subscribe(topic(device.device, "down"))
        client.publish(*device.hello())
        answered(client, device, WELCOME, 1)
        alarm = device.alarm()
        client.publish(*alarm)
        answered(client, device, ALARM_RECEIPT, 1)
        for message in clip.messages():
            client.publish(*message)
        answered(client, device, RECEIPT, 1)
        alarms.acknowledge(gateway.engine, f"{device.name}-0-2", "Sam", shells.wall_ms())
        answered(client, device, ALARM_ACK, 1)
    assert (config.vault_dir / device.name / f"{clip.clip:08x}.lapel").read_bytes() == clip.file


def test_a_second_process_of_a_role_is_refused(gateway: Gateway, config: Config) -> None:
    second = Gateway(config, ["ingest"])
    with pytest.raises(ServiceError, match="another process plays the role ingest"):
        second.start()
    assert gateway.roles == ["alarms", "ingest"]


def test_a_gateway_with_another_master_key_does_not_start(gateway: Gateway, config: Config, tmp_path: Path) -> None:
    provision(gateway, config.broker.port)
    KeyStore.create(tmp_path / "other.key")
    keys = config.keys.model_copy(update={"master_key_file": tmp_path / "other.key"})
    with pytest.raises(KeyStoreError, match="own master key"):
        Gateway(config.model_copy(update={"keys": keys}))


def test_a_role_that_cannot_start_takes_the_others_with_it(config: Config) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        web = WebSection(port=taken.getsockname()[1])
        gateway = Gateway(config.model_copy(update={"web": web}), ["alarms", "ingest", "web"])
        with pytest.raises(WebError, match="web address"):
            gateway.start()
    again = Gateway(config)
    again.start()
    assert again.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_program_cleanly_with_the_batch_in_hand(config: Config, number: signal.Signals) -> None:
    fresh_ledger(config.ledger_file)
    program = (
        "import sys\nfrom pathlib import Path\nfrom lapel_gateway import log, service\n"
        "from lapel_gateway.settings.config import Config\nlog.configure(json_lines=True)\n"
        f"config = Config.model_validate_json({config.model_dump_json()!r})\n"
        "sys.exit(service.run(config, ready=lambda _: print('ready', flush=True)))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert '"event": "gateway ended"' in err
    open_ledger(config.ledger_file).dispose()


def test_time_is_unix_milliseconds() -> None:
    assert abs(shells.wall_ms() - time.time() * 1000) < 2000


def test_the_alarm_role_watches_over_visits_and_tells_their_devices(pair: DevicePair) -> None:
    link = MemoryLink()
    watch = VisitWatch(pair.engine, pair.registry, DEFAULT_RULES)
    role = AlarmsRole(pair.alarms, link, lambda: pair.now_ms, watch)
    role.start()
    try:
        wanted = Wanted("Zoë Quinn", "4 High Street", expected_min=10)
        visits.plan(pair.engine, wanted, "Sam", pair.now_ms, DEFAULT_RULES)
        until(lambda: len(link.published) == 1)
        pair.now_ms += 11 * 60_000
        until(lambda: pair.count("alarm") == 2)
        until(lambda: len(link.published) == 2)
    finally:
        assert role.stop()
    assert {row["state"] for row in pair.rows("visit")} == {"overdue"}
