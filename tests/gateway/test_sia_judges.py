"""Alarms of the gateway in receivers of others: pysiaalarm takes them over TCP, siadc09 reads what was sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pysiaalarm.account import SIAAccount
from pysiaalarm.event import SIAEvent
from pysiaalarm.sync.client import SIAClient
from pysiaalarm.utils.counter import Counter
from siadc09 import message

from lapel_gateway.alarms import core as alarms
from lapel_gateway.alarms.book import get_alarm
from lapel_gateway.alarms.escalator import Escalator
from lapel_gateway.alarms.kinds import CENTRE_SILENT
from lapel_gateway.channels.contract import DeliveryError, Parcel
from lapel_gateway.channels.sia_dc09 import link
from lapel_gateway.channels.sia_dc09.build import build_channel
from lapel_gateway.channels.sia_dc09.channel import SiaChannel
from lapel_gateway.channels.sia_dc09.events import KINDS
from lapel_gateway.deliver import DeliverRole, build_role
from lapel_gateway.ledger import reading
from lapel_gateway.ledger.schema import OUTBOX_ALARM, alarm, alarm_log
from lapel_gateway.settings.config import Config, DeliverSection, GatewaySection
from lapel_gateway.settings.sia import SiaReceiverSection
from tests.gateway.centre import Receiver
from tests.gateway.ledgers import new_ledger, rows
from tests.gateway.sealed import NOW_MS, Site
from tests.gateway.test_delivery import raise_alarm
from tests.waiting import wait_until

ACCOUNT = "1234AB"
KEYS = {"plain": "", "AES-128": "0123456789ABCDEF", "AES-192": "0123456789ABCDEF01234567", "AES-256": "89ABCDEF" * 4}
"""pysiaalarm takes the characters themselves as the key."""

ZONES = {kind: number for number, kind in enumerate(KINDS, 1)}
WAIT_S = 60


class Judge:
    """A pysiaalarm receiver that can be waited for.

    It is started and stopped by hand: its context manager would swallow a failed assertion.
    """

    def __init__(self, key: str = "", account: str = ACCOUNT) -> None:
        self.events: list[SIAEvent] = []
        self._came = threading.Condition()
        self._client = SIAClient("127.0.0.1", 0, [SIAAccount(account, key or None)], self._take)
        self.port = int(self._client.sia_server.server_address[1])
        self._client.start(poll_interval=0.02)

    @property
    def counts(self) -> Counter:
        """What pysiaalarm took and refused."""
        return self._client.counts

    def wait_for(self, number: int) -> SIAEvent:
        """The event of this number, from 1."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.events) >= number, WAIT_S), f"{len(self.events)} events came"
        return self.events[number - 1]

    def close(self) -> None:
        self._client.stop()

    def _take(self, event: SIAEvent) -> None:
        with self._came:
            self.events.append(event)
            self._came.notify_all()


@pytest.fixture
def make_judge() -> Iterator[Callable[..., Judge]]:
    made: list[Judge] = []

    def make(*arguments: Any) -> Judge:
        made.append(Judge(*arguments))
        return made[-1]

    yield make
    for judge in made:
        judge.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every frame that a channel sends from here on; they are sent all the same."""
    frames: list[bytes] = []
    exchange = link.exchange

    def noting(address: Any, frame: bytes, deadline: float) -> bytes:
        frames.append(frame)
        return exchange(address, frame, deadline)

    monkeypatch.setattr(link, "exchange", noting)
    return frames


def section(folder: Path, port: int, key: str = "", **settings: Any) -> SiaReceiverSection:
    key_file = folder / "north.key"
    key_file.write_text(key)
    key_file.chmod(0o600)
    given = {"key_file": key_file, "key_form": "raw"} if key else {}
    address = {"host": "127.0.0.1", "port": port, "account": ACCOUNT, "receiver": "56", "line": "7"}
    return SiaReceiverSection(**{"name": "north", **address, **given, **settings})


def connected(folder: Path, judge: Judge, key: str = "", **settings: Any) -> SiaChannel:
    codes = {kind: {"zone": zone, "area": 3} for kind, zone in ZONES.items()}
    return build_channel(section(folder, judge.port, key, codes=codes, **settings), folder)


def now_ms() -> int:
    return int(time.time() * 1000)


def deliver(channel: SiaChannel, kind: str, what: str = "raised", at_ms: int | None = None) -> None:
    at_ms = now_ms() if at_ms is None else at_ms
    payload = {"what": what, "kind": kind, "device": "d", "received_ms": at_ms, "resolved_ms": at_ms}
    channel.deliver(Parcel(7, OUTBOX_ALARM, channel.name, f"{kind}-{what}", kind, payload, 0, at_ms), at_ms)


def pysiaalarm_says(event: SIAEvent, token: str) -> tuple[str | None, ...]:
    """(account, receiver, line, code, zone, area) of an event, as pysiaalarm has them."""
    if token == "ADM-CID":
        code = f"{event.event_qualifier}{event.event_type}"
        return (event.account, event.receiver, event.line, code, event.ri, event.partition)
    return (event.account, event.receiver, event.line, event.code, event.message, event.ri)


def siadc09_says(frame: bytes, key: str) -> tuple[int | str, ...]:
    """(account, receiver, line, code, zone, area) of a frame, as siadc09 has them."""
    found = message.parse_frame(frame, key.encode() or None)
    head = (found.account.acct, found.account.rcvr, found.account.pref)
    if found.idtoken == "ADM-CID":
        event = found.data.event
        return (*head, event.qualifier + event.code, f"{event.addr:X}", event.group)
    (event,) = found.data.blocks[1].events
    return (*head, event.code, f"{event.addr:X}", event.modifiers["ri"].value)


@pytest.mark.parametrize("token", ["SIA-DCS", "ADM-CID"])
@pytest.mark.parametrize("cipher", KEYS)
def test_both_judges_read_every_event_as_it_was_meant(
    tmp_path: Path, make_judge: Callable[..., Judge], sent: list[bytes], cipher: str, token: str
) -> None:
    key = KEYS[cipher]
    judge = make_judge(key)
    channel = connected(tmp_path, judge, key, token=token)
    meant = channel._centre.codes

    number = 0
    for kind in KINDS:
        for what, code in (("raised", meant[kind].raised), ("resolved", meant[kind].restore)):
            if not code:
                continue
            deliver(channel, kind, what)
            number += 1
            event = judge.wait_for(number)
            zone, area = f"{ZONES[kind]:03d}", ("03" if token == "ADM-CID" else "3")
            assert pysiaalarm_says(event, token) == (ACCOUNT, "R56", "L7", code, zone, area)
            assert event.encrypted is bool(key)
            assert event.sequence == f"{number:04d}"
            assert siadc09_says(sent[-1], key) == (0x1234AB, 0x56, 0x7, code, zone.lstrip("0"), 3)

    assert number == len(sent) > 2 * len(KINDS) - 3
    assert judge.counts.valid_events == judge.counts.events == number


@pytest.mark.parametrize("cipher", KEYS)
def test_a_link_test_is_taken_by_both_judges(
    tmp_path: Path, make_judge: Callable[..., Judge], sent: list[bytes], cipher: str
) -> None:
    judge = make_judge(KEYS[cipher])

    connected(tmp_path, judge, KEYS[cipher]).check(now_ms())

    event = judge.wait_for(1)
    assert (event.account, event.code, event.sequence) == (ACCOUNT, "RP", "0000")
    assert message.parse_frame(sent[-1], KEYS[cipher].encode() or None).idtoken == "NULL"


@pytest.mark.parametrize("cipher", KEYS)
@pytest.mark.parametrize("ahead_s", [-3600, 3600])
def test_a_clock_that_is_wrong_here_is_put_right_by_the_receivers_nak(
    tmp_path: Path, make_judge: Callable[..., Judge], sent: list[bytes], cipher: str, ahead_s: int
) -> None:
    judge = make_judge(KEYS[cipher])
    channel = connected(tmp_path, judge, KEYS[cipher])

    deliver(channel, "panic", at_ms=now_ms() + ahead_s * 1000)
    deliver(channel, "man_down", at_ms=now_ms() + ahead_s * 1000)

    assert [judge.wait_for(number).code for number in (1, 2)] == ["PA", "MA"]
    assert judge.counts.error_timestamp == 1
    assert [message.parse_frame(frame, KEYS[cipher].encode() or None).seq for frame in sent] == [1, 1, 2]


def test_an_account_that_the_receiver_does_not_know_is_a_refusal(
    tmp_path: Path, make_judge: Callable[..., Judge]
) -> None:
    key = KEYS["AES-128"]
    judge = make_judge(key, "AAAA")

    with pytest.raises(DeliveryError, match="is the account, or the key, right") as caught:
        deliver(connected(tmp_path, judge, key), "panic")

    assert caught.value.refused
    assert judge.events == []


def test_a_nak_without_a_frame_around_it_is_no_answer(tmp_path: Path, make_judge: Callable[..., Judge]) -> None:
    """As pysiaalarm gives it to a plain frame of an account that it does not know."""
    judge = make_judge("", "AAAA")

    with pytest.raises(DeliveryError, match="no answer in time"):
        deliver(connected(tmp_path, judge, timeout_s=0.3), "panic")

    assert judge.events == []


@pytest.mark.parametrize(("ours", "theirs"), [("AES-128", "plain"), ("AES-128", "AES-256")])
def test_a_key_that_the_receiver_does_not_have_delivers_nothing(
    tmp_path: Path, make_judge: Callable[..., Judge], ours: str, theirs: str
) -> None:
    judge = make_judge(KEYS[theirs])

    with pytest.raises(DeliveryError, match="NAK"):
        deliver(connected(tmp_path, judge, KEYS[ours]), "panic")

    assert judge.events == []


def test_a_code_that_the_receiver_does_not_know_is_a_refusal(tmp_path: Path, make_judge: Callable[..., Judge]) -> None:
    judge = make_judge()
    channel = build_channel(section(tmp_path, judge.port, codes={"panic": {"code": "ZQ"}}), tmp_path)

    with pytest.raises(DeliveryError, match="DUH") as caught:
        deliver(channel, "panic")

    assert caught.value.refused


def test_a_receiver_without_a_number_is_taken_too(tmp_path: Path, make_judge: Callable[..., Judge]) -> None:
    judge = make_judge()

    deliver(connected(tmp_path, judge, receiver="", line="0"), "panic")

    assert judge.wait_for(1).line == "L0"


# --- in the gateway ---


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with new_ledger(tmp_path) as engine:
        yield Site(tmp_path, engine)


@pytest.fixture
def run(site: Site, tmp_path: Path) -> Iterator[Callable[..., DeliverRole]]:
    started: list[DeliverRole] = []

    def start(*centres: SiaReceiverSection) -> DeliverRole:
        config = Config(
            gateway=GatewaySection(data_dir=tmp_path),
            sia_receiver=list(centres),
            deliver=DeliverSection(retry_first_s=0.05, retry_max_s=0.2),
        )
        role = build_role(config, site.engine, site.registry, site.organisation)
        role.start()
        started.append(role)
        return role

    yield start
    for role in started:
        assert role.stop(WAIT_S)


def test_an_alarm_reaches_the_centre_and_is_acknowledged_by_no_receiver(
    site: Site, run: Callable[..., DeliverRole], tmp_path: Path, make_judge: Callable[..., Judge]
) -> None:
    judge = make_judge(KEYS["AES-256"])
    run(section(tmp_path, judge.port, KEYS["AES-256"], supervision_s=0))

    alarm_id = raise_alarm(site)
    assert judge.wait_for(1).code == "PA"
    wait_until(lambda: [row["state"] for row in rows(site.engine, "sia:north")] == ["done"], WAIT_S)
    with reading(site.engine) as connection:
        row = get_alarm(connection, alarm_id)
    assert (row.state, row.acknowledged_by) == ("notifying", None)

    alarms.acknowledge(site.engine, alarm_id, "Ann", NOW_MS + 900)
    alarms.resolve(site.engine, alarm_id, "Ann", "test", "", NOW_MS + 999)
    assert judge.wait_for(2).code == "PR"
    wait_until(lambda: {row["state"] for row in rows(site.engine, "sia:north")} == {"done"}, WAIT_S)
    assert len(rows(site.engine, "sia:north")) == 3


def silent_centres(site: Site) -> list[str]:
    with reading(site.engine) as connection:
        return list(connection.execute(sa.select(alarm.c.about).where(alarm.c.kind == CENTRE_SILENT)).scalars())


def test_a_receiver_that_goes_away_and_comes_back_shows_in_the_health_of_its_link_and_is_an_alarm(
    site: Site, run: Callable[..., DeliverRole], tmp_path: Path
) -> None:
    receiver = Receiver()
    role = run(section(tmp_path, receiver.port, supervision_s=0.05))
    try:
        wait_until(lambda: role.health().get("sia:north link") == "", WAIT_S)
        receiver.script = lambda frame, connection: None
        wait_until(lambda: "closed before an answer came" in role.health()["sia:north link"], WAIT_S)
        receiver.script = receiver.accept
        wait_until(lambda: role.health()["sia:north link"] == "", WAIT_S)
    finally:
        receiver.close()

    wait_until(lambda: "Connection refused" in role.health()["sia:north link"], WAIT_S)
    assert role.stop(WAIT_S)
    closed = f"127.0.0.1:{receiver.port}: the connection was closed before an answer came"
    with reading(site.engine) as connection:
        own = connection.execute(sa.select(alarm).where(alarm.c.kind == CENTRE_SILENT)).one()
        log = connection.execute(sa.select(alarm_log.c.step, alarm_log.c.detail).where(alarm_log.c.alarm_id == own.id))
        noted = [row.detail for row in log if row.step == "noted"]
    assert (own.about, own.detail) == ("sia:north", f"sia:north does not answer: {closed}")
    assert noted[0] == "it answers again"
    assert "Connection refused" in noted[-1]
    assert "NULL" in {message.parse_frame(frame).idtoken for frame in receiver.frames}


def test_a_link_that_is_not_to_be_supervised_is_left_alone(run: Callable[..., DeliverRole], tmp_path: Path) -> None:
    receiver = Receiver()
    try:
        role = run(section(tmp_path, receiver.port, supervision_s=0))
        assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("link test")]
        assert "sia:north link" not in role.health()
    finally:
        receiver.close()


def test_an_alarm_that_the_ledger_does_not_take_is_raised_as_soon_as_it_does(
    site: Site, run: Callable[..., DeliverRole], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []
    link = Escalator.link

    def full(escalator: Escalator, channel: str, error: str, now_ms: int) -> None:
        if len(refused) < 2:
            refused.append(channel)
            raise sa.exc.OperationalError("insert", {}, Exception("database or disk is full"))
        link(escalator, channel, error, now_ms)

    monkeypatch.setattr(Escalator, "link", full)
    receiver = Receiver(lambda frame, connection: None)
    run(section(tmp_path, receiver.port, supervision_s=0.02))
    try:
        wait_until(lambda: "sia:north" in silent_centres(site), WAIT_S)
    finally:
        receiver.close()

    assert refused == ["sia:north"] * 2
    assert silent_centres(site) == ["sia:north"]


def test_a_fault_in_a_link_test_does_not_end_the_tests(
    run: Callable[..., DeliverRole], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = SiaChannel.check
    faults: list[str] = []

    def faulty(channel: SiaChannel, now_ms: int) -> None:
        if not faults:
            faults.append(channel.name)
            raise RuntimeError("a bug")
        check(channel, now_ms)

    monkeypatch.setattr(SiaChannel, "check", faulty)
    receiver = Receiver()
    try:
        role = run(section(tmp_path, receiver.port, supervision_s=0.05))
        wait_until(lambda: role.health().get("sia:north link") == "", WAIT_S)
    finally:
        receiver.close()

    assert faults == ["sia:north"]
