"""The codec of DC-09 against published frames, siadc09, a CRC by definition and AES by itself."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from siadc09 import message

from lapel_gateway.channels.sia_dc09.events import DEFAULT_CODES, KINDS, Event, event_of
from lapel_gateway.channels.sia_dc09.frame import (
    ACK,
    ADM_CID,
    DUH,
    MAX_FRAME_BYTES,
    NAK,
    NULL,
    SIA_DCS,
    Answer,
    BadFrame,
    Frame,
    FrameTooLong,
    Sender,
    crc16,
    decode_frame,
    encode_frame,
    read_answer,
)
from tests.gateway.centre import framed, slow_crc

AT_S = int(datetime(2026, 9, 22, 3, 7, 43, tzinfo=UTC).timestamp())
AT = b"_03:07:43,09-22-2026"
SENDER = Sender("1234AB", "56", "7")
KEYS = [bytes(range(16)), bytes(range(24)), bytes(range(32))]


def entropy(size: int) -> bytes:
    return bytes(value % 256 for value in range(100, 100 + size))


def encoded(token: str = SIA_DCS, data: bytes = b"#1234AB|Nri1/PA001", **options: Any) -> bytes:
    settings: dict[str, Any] = {"stamp_s": AT_S, "entropy": entropy, **options}
    return encode_frame(token, 12, SENDER, data, **settings)


def opened(frame: bytes, key: bytes) -> bytes:
    """What is encrypted in a frame, by AES alone."""
    digits = frame[frame.index(b"[") + 1 : -1]
    cipher = Cipher(algorithms.AES(key), modes.CBC(bytes(16))).decryptor()
    return cipher.update(bytes.fromhex(digits.decode())) + cipher.finalize()


def test_a_plain_frame_is_written_as_the_standard_says() -> None:
    body = b'"SIA-DCS"0012R56L7#1234AB[#1234AB|Nri1/PA001]' + AT

    assert encoded() == framed(body)
    assert encoded(extended=[b"H03:07:40,09-22-2026"]) == framed(
        b'"SIA-DCS"0012R56L7#1234AB[#1234AB|Nri1/PA001][H03:07:40,09-22-2026]' + AT
    )


def test_receiver_number_and_timestamp_may_be_left_out_of_a_plain_frame() -> None:
    frame = encode_frame(NULL, 0, Sender("000"), b"", stamp_s=None, entropy=entropy)

    assert frame == framed(b'"NULL"0000L0#000[]')


@pytest.mark.parametrize(
    ("raw", "key", "stamp"),
    [
        (b'\n85420026"NULL"0000L0#000[]_21:58:31,08-08-2019\r', "", "2019-08-08 21:58:31"),
        (
            b'\nDE260072"*NULL"0000L0#000[242ff5e1d26993d8ca4a622f7d779a93096ef7ed9b5499dc13de23e1405a5764'
            b"b58737251286f0d81da5134d1eebc238\r",
            "850cba22f7dd4f033405da83e4c5bae9",
            "2026-09-22 03:07:43",
        ),
    ],
    ids=["seen from a panel", "from siadc09's description"],
)
def test_frames_of_others_are_read(raw: bytes, key: str, stamp: str) -> None:
    stamp_s = int(datetime.fromisoformat(stamp + "+00:00").timestamp())

    frame = decode_frame(raw, bytes.fromhex(key) or None)

    assert frame == Frame(NULL, 0, "", "0", "000", b"", (), stamp_s, bool(key))


@given(st.binary(max_size=64))
def test_the_crc_is_what_division_leaves(data: bytes) -> None:
    assert crc16(data) == slow_crc(data)


def test_the_crc_has_its_published_check_value() -> None:
    assert crc16(b"123456789") == 0xBB3D


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"AES-{len(key) * 8}")
@pytest.mark.parametrize("data", [b"", b"#1234AB|Nri1/PA001", b"x" * 7, b"x" * 8, b"x" * 9])
def test_an_encrypted_frame_is_padding_data_and_time_under_aes_cbc(key: bytes, data: bytes) -> None:
    frame = encoded(data=data, key=key)

    plain = opened(frame, key)
    pad, bar, rest = plain.partition(b"|")
    assert (bar, rest) == (b"|", data + b"]" + AT)
    assert 16 <= len(pad) <= 31
    assert not set(pad) & set(b"|[]")
    assert frame == framed(b'"*SIA-DCS"0012R56L7#1234AB[' + frame[frame.index(b"[") + 1 : -1])


def test_equal_events_do_not_look_equal_when_encrypted() -> None:
    first = encoded(key=KEYS[0], entropy=lambda size: b"\x01" * size)
    second = encoded(key=KEYS[0], entropy=lambda size: b"\x02" * size)

    start = first.index(b"[") + 1
    assert first[:start][9:] == second[:start][9:]
    blocks = [(first[at : at + 32], second[at : at + 32]) for at in range(start, len(first) - 1, 32)]
    assert all(one != other for one, other in blocks)


def test_every_random_byte_makes_padding_that_ends_where_it_should() -> None:
    for value in range(256):
        frame = encoded(key=KEYS[0], entropy=lambda size, value=value: bytes([value]) * size)
        assert decode_frame(frame, KEYS[0]).data == b"#1234AB|Nri1/PA001"


def test_an_encrypted_frame_without_a_time_is_not_made() -> None:
    with pytest.raises(ValueError, match="needs a timestamp"):
        encoded(key=KEYS[0], stamp_s=None)


@pytest.mark.parametrize("key", [None, KEYS[2]])
def test_a_frame_that_would_be_too_long_is_refused_and_the_longest_is_whole(key: bytes | None) -> None:
    frame, size = b"", 380
    with contextlib.suppress(FrameTooLong):
        while True:
            frame = encoded(data=b"x" * size, key=key)
            size += 1

    with pytest.raises(FrameTooLong, match=r"a frame of 1\d{3} bytes: 999 are the most"):
        encoded(data=b"x" * size, key=key)
    assert MAX_FRAME_BYTES - 32 < len(frame) <= MAX_FRAME_BYTES
    assert decode_frame(frame, key).data == b"x" * (size - 1)


@pytest.mark.parametrize("data", [b"a]b", b"a[b", b"a\rb", b"a\nb", b"\x00", b"\xc3\xa9"])
def test_data_that_would_break_a_frame_are_not_sent(data: bytes) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        encoded(data=data)
    with pytest.raises(ValueError, match="printable ASCII"):
        encoded(extended=[data])


@pytest.mark.parametrize(
    ("account", "receiver", "line"),
    [
        ("12", "", "0"),
        ("1" * 17, "", "0"),
        ("12ab", "", "0"),
        ("123", "1234567", "0"),
        ("123", "", ""),
        ("123", "G", "0"),
    ],
)
def test_a_sender_that_no_centre_could_know_is_refused(account: str, receiver: str, line: str) -> None:
    with pytest.raises(ValueError, match="hexadecimal digits"):
        Sender(account, receiver, line)


PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="[]"), max_size=60)
DIGITS = "0123456789ABCDEF"


@given(
    token=st.sampled_from([SIA_DCS, ADM_CID, NULL, ACK, NAK, DUH]),
    sequence=st.integers(0, 9999),
    account=st.text(DIGITS, min_size=3, max_size=16),
    receiver=st.text(DIGITS, max_size=6),
    line=st.text(DIGITS, min_size=1, max_size=6),
    data=PRINTABLE,
    extended=st.lists(PRINTABLE, max_size=3),
    stamp_s=st.integers(0, 7_258_118_399),
    key=st.none() | st.sampled_from([16, 24, 32]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    noise=st.binary(min_size=31, max_size=31),
)
def test_what_is_encoded_is_decoded(
    token: str,
    sequence: int,
    account: str,
    receiver: str,
    line: str,
    data: str,
    extended: list[str],
    stamp_s: int,
    key: bytes | None,
    noise: bytes,
) -> None:
    parts = tuple(part.encode() for part in extended)
    frame = encode_frame(
        token,
        sequence,
        Sender(account, receiver, line),
        data.encode(),
        stamp_s=stamp_s,
        extended=parts,
        key=key,
        entropy=lambda size: noise[:size],
    )

    assert decode_frame(frame, key) == Frame(
        token, sequence, receiver, line, account, data.encode(), parts, stamp_s, key is not None
    )
    theirs = message.parse_frame(frame, key)
    # Of a DUH it keeps no time, and of NAK and DUH not whether they were encrypted, which no true one is.
    assert (theirs.idtoken, theirs.timestamp) == (token, None if token == DUH else datetime.fromtimestamp(stamp_s, UTC))
    assert theirs.account.acct == int(account, 16)
    assert token in (NAK, DUH) or theirs.encrypted is (key is not None)


# --- answers ---


def answer(body: bytes, key: bytes | None = None, sequence: int = 12) -> Answer:
    return read_answer(framed(body), SENDER, sequence, key)


def sealed(head: bytes, content: bytes, key: bytes) -> bytes:
    """A body whose content is encrypted, by AES alone."""
    cipher = Cipher(algorithms.AES(key), modes.CBC(bytes(16))).encryptor()
    pad = b"0" * (16 + -len(content) % 16)
    return head + b"[" + (cipher.update(pad + content) + cipher.finalize()).hex().encode()


def test_the_three_answers_are_told_apart() -> None:
    assert answer(b'"ACK"0012R56L7#1234AB[]') == Answer(ACK, None)
    assert answer(b'"DUH"0012R56L7#1234AB[]') == Answer(DUH, None)
    assert answer(b'"NAK"0000R0L0A0[]' + AT) == Answer(NAK, AT_S)
    assert answer(b'"NAK"0000R0L0A0[]') == Answer(NAK, None)
    assert answer(sealed(b'"*ACK"0012R56L7#1234AB', b"]" + AT, KEYS[1]), KEYS[1]) == Answer(ACK, AT_S)
    assert answer(sealed(b'"*ACK"0012R56L7#1234AB', b"|]" + AT, KEYS[1]), KEYS[1]) == Answer(ACK, AT_S)


@pytest.mark.parametrize(
    "body",
    [
        b'"ACK"0012L7#1234AB[]',
        b'"ACK"0012NoneL7#1234AB[]',
        b'"ACK"0012R56L7#001234ab[]',
        b'"ACK"0012R56L7#1234AB[]' + AT,
    ],
)
def test_an_ack_may_be_written_a_little_differently(body: bytes) -> None:
    assert answer(body).kind == ACK


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'"ACK"0013R56L7#1234AB[]', "the answer to another frame"),
        (b'"DUH"0000R56L7#1234AB[]', "the answer to another frame"),
        (b'"ACK"0012R56L7#1234AC[]', "the answer to another account"),
        (b'"ACK"0012R56L7[]', "the answer to another account"),
        (b'"RSP"0012R56L7#1234AB[]', "neither ACK nor NAK nor DUH"),
        (b'"SIA-DCS"0012R56L7#1234AB[]', "neither ACK nor NAK nor DUH"),
        (b'"ACK"0012R56L7#1234AB[', "its data have no end"),
        (b'"ACK"12R56L7#1234AB[]', "not in the form of a frame"),
        (b'"ACK"0012R56L7#1234AB[]trailing', "something else than extended data and a timestamp"),
        (b'"ACK"0012R56L7#1234AB[]_24:00:00,01-01-2026', "a time that no clock shows"),
        (b'"ACK"0012R56L7#1234AB[]_00:00:00,02-30-2026', "a time that no clock shows"),
        (b'"NAK"0000R0L0A0[]_00:00:00,01-01-9999', "a time that no clock shows"),
        (b'"NAK"0000R0L0A0[]_00:00:00,01-01-0000', "a time that no clock shows"),
        (b'"*ACK"0012R56L7#1234AB[00112233445566778899AABBCCDDEEFF', "encrypted, and there is no key"),
        (b"", "not in the form of a frame"),
    ],
)
def test_an_answer_that_is_none_is_refused_with_its_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadFrame, match=reason):
        answer(body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'"ACK"0012R56L7#1234AB[]' + AT, "a plain answer to an encrypted frame"),
        (sealed(b'"*ACK"0012R56L7#1234AB', b"]", KEYS[0]), "an encrypted answer without a time"),
        (sealed(b'"*ACK"0012R56L7#1234AB', b"no end" + AT, KEYS[0]), "does not open with this key"),
        (b'"*ACK"0012R56L7#1234AB[0011', "no whole number of blocks"),
        (b'"*ACK"0012R56L7#1234AB[', "no whole number of blocks"),
        (b'"*ACK"0012R56L7#1234AB[' + b"ZZ" * 16, "no whole number of blocks"),
    ],
)
def test_an_answer_to_an_encrypted_frame_must_be_from_a_holder_of_the_key(body: bytes, reason: str) -> None:
    with pytest.raises(BadFrame, match=reason):
        answer(body, KEYS[0])


def test_wrong_crc_wrong_length_and_wrong_ends_are_refused() -> None:
    body = b'"ACK"0012R56L7#1234AB[]'
    good = framed(body)
    for raw, reason in [
        (framed(body, crc=slow_crc(body) ^ 1), "wrong CRC"),
        (framed(body, length=len(body) + 1), "its length is not the one that it names"),
        (good[1:], "not one frame"),
        (good[:-1], "not one frame"),
        (good + good, "not one frame"),
        (good[:5] + b"\n" + good[5:], "not one frame"),
        (b"", "not one frame"),
        (b"\n\r", "an empty frame"),
        (b"\n" + b"x" * 2000 + b"\r", "longer than 999 bytes"),
    ]:
        with pytest.raises(BadFrame, match=reason):
            read_answer(raw, SENDER, 12)


@given(st.binary(max_size=300), st.sampled_from([None, *KEYS]))
def test_any_bytes_in_a_good_frame_are_read_or_refused(noise: bytes, key: bytes | None) -> None:
    for body in (noise, b'"ACK"0012R56L7#1234AB[' + noise, sealed(b'"*ACK"0012R56L7#1234AB', noise, KEYS[0])):
        try:
            found = answer(body, key)
        except BadFrame:
            continue
        assert found.kind in (ACK, NAK, DUH)


# --- events ---


def payload(kind: str, what: str = "raised", **others: Any) -> dict[str, Any]:
    return {"what": what, "kind": kind, "device": "00112233aabbccdd", "received_ms": AT_S * 1000, **others}


def told(token: str, found: dict[str, Any], extended: tuple[str, ...] = (), **zones: int) -> bytes | None:
    event = event_of(found, DEFAULT_CODES[token], zones, extended)
    return None if event is None else event.data(token, "1234AB")


def test_each_step_of_an_alarm_has_the_event_of_its_kind() -> None:
    assert told(SIA_DCS, payload("panic")) == b"#1234AB|Nri1/PA001"
    assert told(SIA_DCS, payload("panic", "cancelled")) == b"#1234AB|Nri1/OC001"
    assert told(SIA_DCS, payload("panic", "resolved")) == b"#1234AB|Nri1/PR001"
    assert told(SIA_DCS, payload("panic", "acknowledged")) is None
    assert told(ADM_CID, payload("man_down")) == b"#1234AB|1100 01 003"
    assert told(ADM_CID, payload("man_down", "cancelled")) == b"#1234AB|1406 01 003"
    assert told(ADM_CID, payload("man_down", "resolved")) == b"#1234AB|3100 01 003"
    assert told(ADM_CID, payload("panic", "something new")) is None


@pytest.mark.parametrize("token", [SIA_DCS, ADM_CID])
def test_the_cancel_of_a_duress_alarm_is_told_to_nobody(token: str) -> None:
    assert told(token, payload("duress")) is not None
    assert told(token, payload("duress", "cancelled")) is None


def test_a_kind_that_has_no_code_is_told_as_an_alarm_of_no_type() -> None:
    assert told(SIA_DCS, payload("meteorite")) == b"#1234AB|Nri1/UA011"
    assert told(ADM_CID, {"what": "raised"}) == b"#1234AB|1150 01 011"


def test_a_drill_is_told_as_a_test() -> None:
    assert told(SIA_DCS, payload("panic", test=True)) == told(SIA_DCS, payload("test")) == b"#1234AB|Nri1/RX008"
    assert told(SIA_DCS, payload("panic", "resolved", test=True)) is None


def test_a_device_may_have_a_zone_of_its_own() -> None:
    event = event_of(payload("panic"), DEFAULT_CODES[SIA_DCS], {"00112233aabbccdd": 21}, ())

    assert event == Event("PA", 21, 1)


def test_an_area_of_none_is_left_out_of_dcs_and_zero_in_contact_id() -> None:
    assert Event("PA", 7, 0).data(SIA_DCS, "123") == b"#123|NPA007"
    assert Event("1120", 7, 0).data(ADM_CID, "123") == b"#123|1120 00 007"


@pytest.mark.parametrize("token", [SIA_DCS, ADM_CID])
def test_every_kind_has_codes_in_both_forms(token: str) -> None:
    assert set(DEFAULT_CODES[token]) == set(KINDS)
    assert all(entry.raised for entry in DEFAULT_CODES[token].values())
    zones = [entry.zone for entry in DEFAULT_CODES[token].values()]
    assert len(set(zones)) == len(zones)


def test_time_and_place_are_sent_only_where_the_centre_takes_them() -> None:
    place = {"latitude": -45.5, "longitude": -93.391}
    found = payload("panic", raised_wall_ms=(AT_S - 3) * 1000, location=place)
    codes = DEFAULT_CODES[SIA_DCS]

    def parts(payload: dict[str, Any], *extended: str) -> tuple[bytes, ...]:
        event = event_of(payload, codes, {}, extended)
        assert event is not None
        return event.extended

    assert parts(found) == ()
    assert parts(found, "time") == (b"H03:07:40,09-22-2026",)
    assert parts(payload("panic", raised_wall_ms=None), "time") == (b"H03:07:43,09-22-2026",)
    assert parts(found, "location") == (b"X093W23.460", b"Y45S30.000")
    assert parts(payload("panic"), "location") == ()
    assert parts(payload("panic", "resolved", resolved_ms=AT_S * 1000 + 999), "time") == (b"H03:07:43,09-22-2026",)


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        (59.9999999, 0, (b"X000E00.000", b"Y60N00.000")),
        (90, 180, (b"X180E00.000", b"Y90N00.000")),
        (90.1, 0, ()),
        (0, -180.5, ()),
        (float("nan"), 0, ()),
        ("45", 0, ()),
    ],
)
def test_a_place_is_written_in_minutes_or_not_at_all(
    latitude: Any, longitude: Any, expected: tuple[bytes, ...]
) -> None:
    found = payload("panic", location={"latitude": latitude, "longitude": longitude})
    event = event_of(found, DEFAULT_CODES[SIA_DCS], {}, ("location",))

    assert event is not None
    assert event.extended == expected
