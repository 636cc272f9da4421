"""What reaches the channels from outside: answers of receivers, links that come back, settings and files of people."""

from __future__ import annotations

from pathlib import Path

import atheris

from lapel_gateway.alarms.ack_links import AckLinks, Claim, LinkRefused
from lapel_gateway.alarms.policies import Plan
from lapel_gateway.channels.mailbox import parse_mailbox
from lapel_gateway.channels.secret_file import SecretError, read_lines, read_login
from lapel_gateway.channels.sia_dc09.frame import (
    ACK,
    DUH,
    MAX_FRAME_BYTES,
    NAK,
    BadFrame,
    Sender,
    crc16,
    decode_frame,
    encode_frame,
    read_answer,
)
from lapel_gateway.keystore import KeyStoreError
from lapel_gateway.local_times import LocalTimeError, parse_moment
from lapel_gateway.reports.period import PeriodError, parse_bound, parse_period
from tests.fuzz.harness import READ, REFUSED, Built, Finding, forged, target

_SENDER = Sender("1234AB", "56", "7")
_KEYS = (None, bytes(range(16)), bytes(range(24)), bytes(range(32)))
_AT_S = 1_790_046_463


class Misread(Finding):
    """An answer that was read as something that it does not say."""


def reframed(raw: bytes) -> bytes:
    """The frame with the length and CRC that its body should have."""
    body = raw[9:-1]
    return b"\n%04X%04X%b\r" % (crc16(body), len(body) & 0xFFFF, body)


@target("channels/sia", share=0.3, max_bytes=1100)
def sia(_scratch: Path) -> Built:
    """Answers of a DC-09 receiver: the first byte chooses the key, and whether CRC and length are put right."""

    def one(data: bytes) -> int:
        if not data:
            return REFUSED
        key, raw = _KEYS[data[0] & 3], data[1:]
        if data[0] & 4:
            raw = reframed(raw)
        try:
            answer = read_answer(raw, _SENDER, 12, key)
        except BadFrame as error:
            if not str(error).isprintable():
                raise Misread("an error that repeats what came") from error
            return REFUSED
        if answer.kind not in (ACK, NAK, DUH) or len(raw) > MAX_FRAME_BYTES:
            raise Misread(answer.kind)
        frame = decode_frame(raw, key)
        if answer.kind != NAK and (frame.sequence != 12 or int(frame.account, 16) != 0x1234AB):
            raise Misread("the answer to something else")
        if answer.kind == ACK and key is not None and not (frame.encrypted and answer.stamp_s is not None):
            raise Misread("a plain answer to an encrypted frame")
        return READ

    seeds = []
    for number, key in enumerate(_KEYS):
        for token in (ACK, NAK, DUH, "RSP"):
            sealing = key if token == ACK else None
            frame = encode_frame(token, 12, _SENDER, b"", stamp_s=_AT_S, key=sealing, entropy=bytes)
            seeds += [bytes([number]) + frame, bytes([number | 4]) + frame]
    full = encode_frame(
        ACK, 12, _SENDER, b"#1234AB|x", stamp_s=_AT_S, extended=[b"H00", b"K"], key=_KEYS[3], entropy=bytes
    )
    seeds += [b"\7" + full, b"\0\n\r", b"\4" + b"x" * 1000, b'\4\n00000000"ACK"0012NoneL7#1234AB[]\r', b""]

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        head, bracket, content = data.partition(b"[")
        if seed & 3 == 0 or not bracket:
            return bytes(atheris.Mutate(data, max_size))
        # Without a CRC that fits and a head in its form, nothing behind them is ever reached.
        room = max(1, max_size - len(head) - 2)
        changed = bytes(atheris.Mutate(content[:-1], room)) if seed & 4 else content[:-1]
        if seed & 8:
            head = bytes(atheris.Mutate(head, max(1, max_size - len(content) - 1)))
        return (bytes([(head[:1] or b"\0")[0] | 4]) + head[1:] + b"[" + changed + b"\r")[:max_size]

    return Built(one, seeds, mutate)


@target("channels/link", share=0.2, max_bytes=500)
def acknowledge_link(_scratch: Path) -> Built:
    """What somebody puts behind the address of acknowledge links: only what this gateway made is honoured."""
    links = AckLinks(bytes(range(32)))
    true = Claim("00112233aabbccdd-3-7", "Ann Archer", 1_790_000_000_000)
    token = links.make(true.alarm, true.recipient, true.expires_ms)

    def one(data: bytes) -> int:
        text = data.decode("utf-8", "replace")
        try:
            claim = links.read(text, true.expires_ms - 1)
        except LinkRefused as refusal:
            if refusal.claim is not None and refusal.claim != true:
                forged("the claim of a link")
            return REFUSED
        if text != token or claim != true:
            forged("an acknowledge link")
        return READ

    raw = token.encode()
    return Built(one, [raw, raw[:-1], raw + b"=", raw[:40], raw.swapcase(), b"", "\N{SNOWMAN}".encode(), b"A" * 450])


@target("channels/texts", share=0.2, max_bytes=5000)
def texts(scratch: Path) -> Built:
    """Mailboxes in settings, files with secrets, kept plans: read whole, or refused in words that repeat nothing."""
    scratch.mkdir(parents=True, exist_ok=True)
    file = scratch / "secret"
    file.touch(mode=0o600)

    def mailbox(data: bytes) -> bool:
        try:
            found = parse_mailbox(data.decode("utf-8", "replace"))
        except ValueError:
            return False
        if not found.address.isprintable() or any(c in found.address + found.person for c in "\r\n<>"):
            raise Misread("an address that can forge a header")
        return True

    def secret(data: bytes) -> bool:
        file.write_bytes(data)
        read = 0
        for reader in (
            lambda: read_lines(file, "secret", "lines"),
            lambda: read_login(file, "secret"),
            lambda: AckLinks.load(file),
        ):
            try:
                reader()
                read += 1
            except (SecretError, KeyStoreError) as error:
                if not str(error).replace("\n", "").isprintable() or (len(data) > 8 and data in str(error).encode()):
                    raise Misread("an error that repeats a secret") from error
        return bool(read)

    def plan(data: bytes) -> bool:
        try:
            found = Plan.from_json(data.decode("utf-8", "replace"))
        except ValueError:
            return False
        return found.stage(0).delay_ms is not None

    def times(data: bytes) -> bool:
        first, _, second = data.decode("utf-8", "replace").partition("|")
        read = 0
        for reader in (
            lambda: parse_moment(first, second),
            lambda: parse_period(first, second or None, None, _AT_S * 1000),
            lambda: parse_bound(first, None, last=bool(second)),
        ):
            try:
                reader()
                read += 1
            except (LocalTimeError, PeriodError) as error:
                if not str(error).isprintable():
                    raise Misread("an error that repeats what came") from error
        return bool(read)

    readers = (mailbox, secret, plan, times)

    def one(data: bytes) -> int:
        return READ if data and readers[data[0] % len(readers)](data[1:]) else REFUSED

    kept = Plan("day", (), 0, 300_000).to_json().encode()
    seeds = [b"\0Ann Archer <ann@example.org>", b"\0ann@example.org", b'\0"A" <a@b>', b"\1user\npassword\n"]
    seeds += [b"\1" + b"ab" * 32, b"\1json://user:token@host/\n# words\n", b"\1\xff\xfe", b"\2" + kept, b"\2[]", b""]
    seeds += [
        b"\3" + text for text in (b"2026-03-29T14:30|Europe/London", b"2026-03-01|2026-03-31", b"2026-10-25T01:30Z|x")
    ]
    return Built(one, seeds)
