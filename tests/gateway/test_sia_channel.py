"""The channel to receiving centres against receivers that answer, refuse, lie, hang and break off."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from lapel_gateway import durable
from lapel_gateway.channels.contract import DeliveryError, NothingToSend, Parcel
from lapel_gateway.channels.secret_file import SecretError
from lapel_gateway.channels.sia_dc09.channel import Centre, SecretKey, SiaChannel
from lapel_gateway.channels.sia_dc09.events import DEFAULT_CODES
from lapel_gateway.channels.sia_dc09.frame import Sender
from lapel_gateway.channels.sia_dc09.key import load_key
from lapel_gateway.channels.sia_dc09.link import Address
from lapel_gateway.channels.sia_dc09.sequence import MAX_REMEMBERED, SequenceNumbers
from lapel_gateway.ledger.schema import OUTBOX_ALARM
from tests.gateway.centre import Receiver, Script, framed

NOW_MS = 1_795_000_000_000
NOW_S = NOW_MS // 1000
KEY = bytes(range(32))
LONG_S = 30.0
SHORT_S = 0.4


class Site:
    """A channel to a main receiver and perhaps a backup."""

    def __init__(self, folder: Path, *, backup: bool = False, key: bytes | None = None) -> None:
        self.folder = folder
        self.key = key
        self.main = Receiver(key=key)
        self.backup = Receiver(key=key) if backup else None
        self.channel = self.connect()

    def connect(self, timeout_s: float = LONG_S, answer_age_s: int = 120, **changes: Any) -> SiaChannel:
        """A channel as after a start of the gateway."""
        receivers = [self.main] if self.backup is None else [self.main, self.backup]
        settings: dict[str, Any] = {
            "name": "north",
            "addresses": tuple(Address("127.0.0.1", receiver.port) for receiver in receivers),
            "sender": Sender("1234AB", "56", "7"),
            "token": "SIA-DCS",
            "codes": DEFAULT_CODES["SIA-DCS"],
            "zones": {},
            "extended": frozenset(),
            "key": None if self.key is None else SecretKey(self.key),
            "timeout_s": timeout_s,
            "supervision_s": 60.0,
            "answer_age_s": answer_age_s,
        }
        self.channel = SiaChannel(Centre(**{**settings, **changes}), self.folder / "sia" / "north.json")
        return self.channel

    def deliver(self, key: str = "a1", what: str = "raised", now_ms: int = NOW_MS, kind: str = "panic") -> None:
        payload = {"what": what, "kind": kind, "alarm": "alarm 1", "device": "d", "received_ms": NOW_MS}
        self.channel.deliver(Parcel(7, OUTBOX_ALARM, self.channel.name, key, "alarm 1", payload, 0, NOW_MS), now_ms)

    def close(self) -> None:
        self.main.close()
        if self.backup is not None:
            self.backup.close()


@pytest.fixture
def make_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(**options: Any) -> Site:
        made.append(Site(tmp_path, **options))
        return made[-1]

    yield make
    for site in made:
        site.close()


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return make_site()


def scripted(*scripts: Script) -> Script:
    """One script for each frame that comes, the last for all others."""
    left = list(scripts)

    def play(frame: bytes, connection: socket.socket) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(frame, connection)

    return play


def saying(answer: bytes) -> Script:
    return lambda frame, connection: connection.sendall(answer)


def nak(receiver: Receiver, unix_s: int) -> Script:
    return saying(receiver.nak(unix_s))


def error_of(site: Site, **options: Any) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        site.deliver(**options)
    return caught.value


@pytest.mark.parametrize("key", [None, KEY])
def test_an_event_that_is_acknowledged_is_delivered(make_site: Callable[..., Site], key: bytes | None) -> None:
    site = make_site(key=key)

    site.deliver()

    found = site.main.read()
    assert (found.idtoken, found.seq, found.encrypted) == ("SIA-DCS", 1, key is not None)
    assert found.data.content == b"#1234AB|Nri1/PA001"
    assert found.timestamp.timestamp() == NOW_S


def test_what_the_centre_is_not_told_of_is_nothing_to_send(site: Site) -> None:
    with pytest.raises(NothingToSend, match="no code for acknowledged"):
        site.deliver("a2", "acknowledged")
    with pytest.raises(NothingToSend, match="no code for cancelled"):
        site.deliver("a3", "cancelled", kind="duress")

    assert site.main.frames == []


# --- the receiver's clock ---


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("ahead_s", [3600, -90, 400 * 86_400])
def test_the_time_in_a_nak_is_adopted_and_the_frame_repeated_at_once(
    make_site: Callable[..., Site], key: bytes | None, ahead_s: int
) -> None:
    site = make_site(key=key)
    site.main.script = scripted(nak(site.main, NOW_S + ahead_s), site.main.accept)

    site.deliver()

    first, second = site.main.read(0), site.main.read(1)
    assert first.timestamp.timestamp() == NOW_S
    assert 0 <= second.timestamp.timestamp() - (NOW_S + ahead_s) <= 5
    assert (first.seq, first.data.content) == (second.seq, second.data.content)


def test_an_adopted_time_stays_adopted_and_is_the_receivers_own(make_site: Callable[..., Site]) -> None:
    site = make_site(backup=True)
    assert site.backup is not None
    site.main.script = scripted(nak(site.main, NOW_S + 3600), site.main.accept)
    site.deliver("a1")

    site.deliver("a2", now_ms=NOW_MS + 60_000)
    site.main.script = saying(b"\n\r")
    site.deliver("a3", now_ms=NOW_MS + 120_000)

    assert [round((site.main.read(at).timestamp.timestamp() - NOW_S) / 60) for at in range(4)] == [0, 60, 61, 62]
    assert round((site.backup.read().timestamp.timestamp() - NOW_S) / 60) == 2


def test_a_nak_at_our_own_time_is_no_matter_of_clocks(site: Site) -> None:
    site.main.script = nak(site.main, NOW_S + 1)

    error = error_of(site)

    assert "is the account, or the key, right?" in str(error)
    assert error.refused
    assert len(site.main.frames) == 1


def test_a_receiver_that_declines_its_own_time_ends_the_attempt(site: Site) -> None:
    times = iter(range(NOW_S + 1000, NOW_S + 100_000, 1000))
    site.main.script = lambda frame, connection: connection.sendall(site.main.nak(next(times)))

    error = error_of(site)

    assert "it answers NAK to its own time" in str(error)
    assert len(site.main.frames) == 3


def test_a_nak_without_a_time_is_a_refusal(site: Site) -> None:
    site.main.script = saying(framed(b'"NAK"0000R0L0A0[]'))

    error = error_of(site)

    assert "it answers NAK and gives no time" in str(error)
    assert error.refused


def test_an_old_encrypted_answer_is_a_recording(make_site: Callable[..., Site]) -> None:
    site = make_site(key=KEY)
    site.deliver("a1")
    recorded = site.main.ack(site.main.frames[0])
    site.main.script = saying(recorded)

    again = error_of(site, key="a1", now_ms=NOW_MS + 600_000)
    assert "its answer is refused: from 600 s before or after" in str(again)
    site.connect(answer_age_s=0)
    site.deliver("a1", now_ms=NOW_MS + 600_000)


# --- receivers that do not take it ---


def test_a_duh_is_a_refusal(site: Site) -> None:
    site.main.script = lambda frame, connection: connection.sendall(site.main.duh(frame))

    error = error_of(site)

    assert "DUH" in str(error)
    assert error.refused


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (framed(b'"ACK"0001R56L7#1234AB[]', crc=0), "its answer is refused: wrong CRC"),
        (framed(b'"ACK"0001R56L7#1234AB[]', length=999), "its answer is refused: its length"),
        (framed(b'"ACK"0002R56L7#1234AB[]'), "its answer is refused: the answer to another frame"),
        (framed(b'"ACK"0001R56L7#9999[]'), "its answer is refused: the answer to another account"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "its answer is refused: not one frame"),
        (b"\n" + b"\x1b[31m" * 150 + b"\r", "its answer is refused: not in the form of a frame"),
        (b"x" * 100_000, "an answer without an end"),
        (b"", "the connection was closed before an answer came"),
        (b'\n0000001A"ACK"00', "the connection was closed before an answer came"),
    ],
)
def test_an_answer_that_is_none_is_refused_by_name(site: Site, answer: bytes, reason: str) -> None:
    site.main.script = saying(answer)

    error = error_of(site)

    assert reason in str(error)
    assert str(error).isprintable()
    assert not error.refused


def test_a_plain_answer_to_an_encrypted_frame_is_refused(make_site: Callable[..., Site]) -> None:
    site = make_site(key=KEY)
    site.main.script = saying(framed(b'"ACK"0001R56L7#1234AB[]'))

    assert "a plain answer to an encrypted frame" in str(error_of(site))


def test_a_receiver_that_breaks_the_connection_is_an_error(site: Site) -> None:
    def reset(frame: bytes, connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    site.main.script = reset

    assert "the connection broke: Connection reset by peer" in str(error_of(site))


def test_a_receiver_that_is_not_there_is_an_error_that_names_it(site: Site, free_port: int) -> None:
    site.connect(addresses=(Address("127.0.0.1", free_port),))

    assert str(error_of(site)) == f"127.0.0.1:{free_port}: no connection: Connection refused"


def test_a_receiver_that_never_answers_costs_no_more_than_the_timeout(site: Site) -> None:
    site.main.script = site.main.hang
    site.connect(timeout_s=SHORT_S)

    started = time.monotonic()
    assert "no answer in time" in str(error_of(site))
    assert time.monotonic() - started < 10


def test_a_receiver_that_drips_its_answer_costs_no_more_than_the_timeout(site: Site) -> None:
    """A time-out of each read alone would start anew with every byte."""
    done = threading.Event()

    def drip(frame: bytes, connection: socket.socket) -> None:
        while not done.wait(0.05):
            connection.sendall(b"\n")

    site.main.script = drip
    site.connect(timeout_s=SHORT_S)

    started = time.monotonic()
    assert "no answer in time" in str(error_of(site))
    assert time.monotonic() - started < 10
    done.set()


def test_a_name_server_that_hangs_costs_no_more_than_the_timeout(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    look_up = socket.getaddrinfo

    def hang(host: str, *arguments: Any, **options: Any) -> Any:
        if host == "receiver.example":
            if options.get("flags"):
                raise socket.gaierror(socket.EAI_NONAME, "no number")
            done.wait(60)
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    site.connect(timeout_s=SHORT_S, addresses=(Address("receiver.example", 7000), Address("127.0.0.1", site.main.port)))
    site.deliver()
    done.set()

    assert len(site.main.frames) == 1


@pytest.mark.parametrize("host", ["", "receiver.invalid", "exa mple", "a" * 70, "\udcff"])
def test_a_host_that_is_none_is_an_error_and_not_a_crash(site: Site, host: str) -> None:
    site.connect(timeout_s=10.0, addresses=(Address(host, 1),))

    assert error_of(site).refused is False


def test_a_name_is_looked_up(site: Site) -> None:
    site.connect(addresses=(Address("localhost", site.main.port),))
    site.deliver()

    assert len(site.main.frames) == 1


# --- main and backup ---


@pytest.mark.parametrize("trouble", ["silent", "closing", "nak", "duh", "lying"])
def test_when_the_main_receiver_fails_the_backup_is_tried_at_once(make_site: Callable[..., Site], trouble: str) -> None:
    site = make_site(backup=True)
    assert site.backup is not None
    scripts: dict[str, Script] = {
        "silent": site.main.hang,
        "closing": saying(b""),
        "nak": nak(site.main, NOW_S),
        "duh": lambda frame, connection: connection.sendall(site.main.duh(frame)),
        "lying": saying(framed(b'"ACK"0001R56L7#1234AB[]', crc=1)),
    }
    site.main.script = scripts[trouble]
    site.connect(timeout_s=SHORT_S if trouble == "silent" else LONG_S)

    site.deliver()

    assert len(site.main.frames) == 1
    assert site.backup.read().data.content == site.main.read().data.content
    assert site.backup.read().seq == site.main.read().seq


def test_when_both_fail_the_error_names_both(make_site: Callable[..., Site]) -> None:
    site = make_site(backup=True)
    assert site.backup is not None
    site.main.script = saying(b"")
    site.backup.script = nak(site.backup, NOW_S)

    error = error_of(site)

    assert f"127.0.0.1:{site.main.port}: the connection was closed" in str(error)
    assert f"127.0.0.1:{site.backup.port}: it answers NAK" in str(error)
    assert not error.refused


def test_a_receiver_that_failed_is_tried_last_until_a_link_test_finds_it_well(make_site: Callable[..., Site]) -> None:
    site = make_site(backup=True)
    assert site.backup is not None
    site.main.script = saying(b"")
    site.deliver("a1")
    site.deliver("a2")
    assert (len(site.main.frames), len(site.backup.frames)) == (1, 2)

    site.main.script = site.main.accept
    site.channel.check(NOW_MS)
    site.deliver("a3")

    assert [site.main.read(at).idtoken for at in range(3)] == ["SIA-DCS", "NULL", "SIA-DCS"]
    assert site.backup.read().idtoken == "NULL"


# --- supervision ---


@pytest.mark.parametrize("key", [None, KEY])
def test_a_link_test_is_a_null_message_to_every_receiver(make_site: Callable[..., Site], key: bytes | None) -> None:
    site = make_site(backup=True, key=key)
    assert site.backup is not None

    site.channel.check(NOW_MS)

    for receiver in (site.main, site.backup):
        found = receiver.read()
        assert (found.idtoken, found.seq, found.data) == ("NULL", 0, None)
        assert (found.account.acct, found.account.rcvr, found.account.pref) == (0x1234AB, 0x56, 0x7)
        assert found.timestamp.timestamp() == NOW_S


def test_a_link_test_says_which_receiver_fails(make_site: Callable[..., Site]) -> None:
    site = make_site(backup=True)
    assert site.backup is not None
    site.backup.script = saying(b"")

    with pytest.raises(DeliveryError) as caught:
        site.channel.check(NOW_MS)

    assert str(caught.value) == f"127.0.0.1:{site.backup.port}: the connection was closed before an answer came"


def test_a_recorded_answer_to_a_link_test_does_not_pass_for_a_link(make_site: Callable[..., Site]) -> None:
    site = make_site(key=KEY)
    site.channel.check(NOW_MS)
    site.main.script = saying(site.main.ack(site.main.frames[0]))

    with pytest.raises(DeliveryError, match="its answer is refused: from 300 s"):
        site.channel.check(NOW_MS + 300_000)


def test_an_alarm_does_not_wait_for_a_link_test(site: Site) -> None:
    arrived = threading.Event()

    def script(frame: bytes, connection: socket.socket) -> None:
        if b"NULL" in frame:
            arrived.set()
            site.main.hang(frame, connection)
        else:
            site.main.accept(frame, connection)

    site.main.script = script
    failed: list[str] = []

    def check() -> None:
        try:
            site.channel.check(NOW_MS)
        except DeliveryError as error:
            failed.append(str(error))

    testing = threading.Thread(target=check)
    testing.start()
    assert arrived.wait(10)
    site.deliver()
    assert testing.is_alive()

    site.main.close()
    testing.join(30)
    assert len(failed) == 1


# --- order and numbers ---


def test_the_end_of_an_alarm_is_not_told_before_the_alarm(site: Site) -> None:
    site.main.script = saying(b"")
    error_of(site, key="raised")
    site.main.script = site.main.accept

    waiting = error_of(site, key="resolved", what="resolved")
    assert "waits for the alarm itself" in str(waiting)
    site.deliver("raised")
    site.deliver("resolved", "resolved")

    assert [site.main.read(at).data.content[-5:] for at in range(3)] == [b"PA001", b"PA001", b"PR001"]


def test_a_repeat_has_the_same_number_also_after_a_restart(site: Site) -> None:
    site.main.script = saying(b"")
    error_of(site, key="a1")
    error_of(site, key="a2")
    site.connect()
    site.main.script = site.main.accept
    site.deliver("a1")
    site.deliver("a2")
    site.deliver("a3")

    assert [site.main.read(at).seq for at in range(5)] == [1, 2, 1, 2, 3]


def test_numbers_go_from_9999_to_1_and_never_to_0(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    file.write_text('{"last": 9997, "given": {}}')
    numbers = SequenceNumbers(file)

    assert [numbers.number(f"m{at}") for at in range(4)] == [9998, 9999, 1, 2]
    assert SequenceNumbers(file).number("m1") == 9999


def test_a_number_is_durable_before_it_is_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    write = durable.write_file

    def noting(path: Path, content: bytes, mode: int = 0o640) -> None:
        write(path, content, mode)
        order.append("written")

    def accept(frame: bytes, connection: socket.socket) -> None:
        order.append("sent")
        site.main.accept(frame, connection)

    site.main.script = accept
    monkeypatch.setattr(durable, "write_file", noting)
    site.deliver()

    assert order == ["written", "sent"]


def test_a_full_disk_does_not_hold_an_alarm_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes, mode: int = 0o640) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(durable, "write_file", full)
    with structlog.testing.capture_logs() as logged:
        site.deliver("a1")
        site.deliver("a1")
        site.deliver("a2")

    assert [site.main.read(at).seq for at in range(3)] == [1, 1, 2]
    assert logged[0]["reason"] == "No space left on device"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"last": 0, "given": {}}',
        b'{"last": 1, "given": {"a": 10000}}',
        b'{"last": 1, "given": []}',
        b'{"last": "1", "given": {}}',
        b'{"last": 7, "given": {}}' + b" " * (1 << 20),
        b"\xff",
    ],
)
def test_numbers_that_cannot_be_read_start_anew_at_random(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "numbers.json"
    file.write_bytes(content)

    with structlog.testing.capture_logs() as logged:
        numbers = SequenceNumbers(file, lambda low, high: 4711)

    assert numbers.number("a") == 4712
    assert logged[0]["event"] == "sequence numbers are started anew"
    assert SequenceNumbers(file).number("b") == 4713


def test_the_file_of_numbers_does_not_grow_without_end(tmp_path: Path) -> None:
    numbers = SequenceNumbers(tmp_path / "n.json")
    for at in range(MAX_REMEMBERED + 20):
        numbers.number(f"m{at}")

    assert numbers.number(f"m{MAX_REMEMBERED}") == MAX_REMEMBERED + 1
    assert numbers.number("m1") == MAX_REMEMBERED + 21
    assert (tmp_path / "n.json").stat().st_size < 100 * MAX_REMEMBERED


# --- keys ---


def key_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("size", [16, 24, 32])
def test_a_key_is_read_in_either_form(tmp_path: Path, size: int) -> None:
    key = bytes(range(200, 200 + size))

    assert load_key(key_file(tmp_path, key.hex().encode() + b"\n"), "hex") == key
    assert load_key(key_file(tmp_path, key), "raw") == key


@pytest.mark.parametrize(
    ("content", "form", "reason"),
    [
        (b"ab" * 15, "hex", "not 32, 48 or 64 hexadecimal digits"),
        (b"zz" * 16, "hex", "not 32, 48 or 64 hexadecimal digits"),
        (b"\xff" * 32, "hex", "not 32, 48 or 64 hexadecimal digits"),
        (b"", "hex", "not 32, 48 or 64 hexadecimal digits"),
        (b"ab" * 16 + b"\n", "raw", "not 16, 24 or 32 bytes"),
        (b"ab" * 500, "raw", "not 16, 24 or 32 bytes"),
    ],
)
def test_a_key_of_another_form_is_refused_without_being_shown(
    tmp_path: Path, content: bytes, form: Any, reason: str
) -> None:
    with pytest.raises(SecretError, match=reason) as caught:
        load_key(key_file(tmp_path, content), form)
    assert "abab" not in str(caught.value)
    assert "zz" not in str(caught.value)


def test_a_key_that_others_can_read_or_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="chmod 600"):
        load_key(key_file(tmp_path, b"ab" * 16, 0o640), "hex")
    with pytest.raises(SecretError, match="No such file"):
        load_key(tmp_path / "missing", "hex")


def test_no_error_and_no_repr_shows_the_key(make_site: Callable[..., Site]) -> None:
    key = b"sixteen letters!"
    site = make_site(key=key)
    site.main.script = nak(site.main, NOW_S)

    error = error_of(site)

    shown = f"{error!r} {site.channel!r} {site.channel._centre!r}"
    assert "sixteen" not in shown
    assert key.hex() not in shown
